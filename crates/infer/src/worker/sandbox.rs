//! What a worker may not do: start programs, write outside /dev, use a terminal, a keyboard or a camera, use the network, look
//! into other processes or signal them, outlive the program that started it.
//!
//! Entered before a library is loaded, so that it holds for all of the library's threads. What this kernel, or the unit's own
//! filter, does not allow to be set up is left out and told: a worker without a sandbox is better than none.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::DirEntry;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use landlock::{
    Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, ABI,
};
#[cfg(target_arch = "x86_64")]
use seccompiler::sock_filter;
use seccompiler::{apply_filter_all_threads, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp};
use seccompiler::{SeccompCondition, SeccompFilter, SeccompRule};

/// The newest set of rules that is asked for. Older kernels take a part of it.
const LANDLOCK: ABI = ABI::V6;

/// Starts of programs and of processes in other name spaces; other processes' memory; what only an administrator needs; and
/// io_uring, which could do what is refused here.
const REFUSED: [libc::c_long; 50] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_tkill,
    libc::SYS_setsid,
    libc::SYS_setpgid,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_by_handle_at,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
];

/// Requests to a terminal that act as its user, or take it away from the user: to type (`TIOCSTI`; on a virtual console also
/// `TIOCLINUX`, which pastes), to make it one's own (`TIOCSCTTY`), to get what the console is told (`TIOCCONS`), and to load a
/// line discipline into the kernel (`TIOCSETD`). Also those that make the kernel signal another process, when a descriptor is
/// ready.
const REQUESTS: [libc::Ioctl; 7] =
    [libc::TIOCSTI, libc::TIOCLINUX, libc::TIOCSCTTY, libc::TIOCCONS, libc::TIOCSETD, FIOSETOWN, SIOCSPGRP];
const FIOSETOWN: libc::Ioctl = 0x8901;
const SIOCSPGRP: libc::Ioctl = 0x8902;
/// The keyboard and the screen of virtual consoles, by the upper of the two bytes: what a key types is set there.
const CONSOLE_REQUESTS: [u32; 2] = [0x4B00, 0x5600];
/// The same of `fcntl`: who is signalled, and by which signal.
const SIGNAL_OWNERS: [libc::c_int; 3] = [libc::F_SETOWN, F_SETSIG, F_SETOWN_EX];
const F_SETSIG: libc::c_int = 10;
const F_SETOWN_EX: libc::c_int = 15;

/// Enters the sandbox for good. Returns what is missing of it, and why.
pub(super) fn enter() -> Vec<String> {
    let mut missing = Vec::new();
    match restrict_files() {
        Ok(RulesetStatus::FullyEnforced) => {}
        Ok(RulesetStatus::PartiallyEnforced) => {
            missing.push("landlock: this kernel knows a part of the rules".to_owned());
        }
        Ok(RulesetStatus::NotEnforced) => missing.push("landlock: this kernel has none".to_owned()),
        Err(error) => missing.push(format!("landlock: {error}")),
    }
    missing.extend(restrict_calls().err().map(|error| format!("seccomp: {error}")));
    missing
}

/// Reading is free, since libraries lie anywhere, but of /dev only what is no terminal, no keyboard and no camera; writing is for
/// those devices alone. Nothing is executed.
fn restrict_files() -> Result<RulesetStatus, RulesetError> {
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?;
    let rules = allow(rules, Path::new("/"), AccessFs::ReadDir.into())?;
    // A rule for a folder holds for all of it, and none takes anything back. So every entry has its own.
    let rules = entries("/").filter(|entry| entry.file_name() != "dev").try_fold(rules, |rules, entry| {
        // Links are left out: what they lead to has a rule of its own, or is a pipe, which can't have one.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() || kind.is_file() => allow(rules, &entry.path(), AccessFs::ReadFile.into()),
            Ok(_) | Err(_) => Ok(rules),
        }
    })?;
    // What a device makes later lies in a folder that is there, such as /dev/bus; a worker that misses its device starts anew
    // anyway.
    let terminals = own_terminals();
    let rules =
        entries("/dev").filter(|entry| !is_private(&entry.file_name())).try_fold(rules, |rules, entry| match entry
            .metadata()
        {
            Ok(meta) if meta.is_dir() => allow(rules, &entry.path(), device),
            Ok(meta) if meta.rdev() != 0 && !terminals.contains(&meta.rdev()) => allow(rules, &entry.path(), device),
            Ok(_) | Err(_) => Ok(rules),
        })?;
    Ok(rules.restrict_self()?.ruleset)
}

fn entries(folder: &str) -> impl Iterator<Item = DirEntry> {
    std::fs::read_dir(folder).into_iter().flatten().flatten()
}

/// Adds a rule; a path that can't be opened needs none.
fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(opened) => rules.add_rule(PathBeneath::new(opened, access)),
        Err(_) => Ok(rules),
    }
}

/// The devices behind the standard streams of the program that started this one, and its controlling terminal: that may be a
/// serial line, which is no terminal by its name.
fn own_terminals() -> Vec<u64> {
    let parent = std::os::unix::process::parent_id();
    let streams = (0..3).filter_map(|fd| std::fs::metadata(format!("/proc/{parent}/fd/{fd}")).ok());
    let mut found: Vec<u64> =
        streams.filter(|meta| meta.file_type().is_char_device()).map(|meta| meta.rdev()).collect();
    // /dev/null is no terminal.
    found.retain(|device| libc::major(*device) != 1);
    let stat = std::fs::read_to_string(format!("/proc/{parent}/stat")).unwrap_or_default();
    // Behind the name: state, parent, group, session, terminal.
    let terminal = stat.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(4)?.parse::<u64>().ok());
    found.extend(terminal);
    found
}

/// Whether a file or folder in /dev is none of a worker's business by its name: terminals (consoles, virtual consoles and what
/// they show, pseudo terminals), what types into them (input devices), and cameras, whose buffers the program reads. Serial
/// ports are not, since accelerators may be behind them.
fn is_private(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    let is_numbered = |prefix: &[u8]| name.strip_prefix(prefix).is_some_and(|rest| rest.iter().all(u8::is_ascii_digit));
    matches!(name, b"console" | b"ptmx" | b"pts" | b"input" | b"uinput" | b"uhid")
        || is_numbered(b"tty")
        || is_numbered(b"media")
        || [&b"vcs"[..], b"video", b"v4l"].iter().any(|prefix| name.starts_with(prefix))
}

fn restrict_calls() -> Result<(), String> {
    let (permission, missing) = (libc::EPERM.cast_unsigned(), libc::ENOSYS.cast_unsigned());
    let own = u64::from(std::process::id());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.map(|call| (call, Vec::new())).into();
    #[cfg(target_arch = "x86_64")]
    rules.extend([libc::SYS_fork, libc::SYS_vfork].map(|call| (call, Vec::new())));
    // Threads, but no processes.
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(libc::SYS_clone, vec![rule(&[(0, SeccompCmpOp::MaskedEq(thread), 0)])?]);
    // Signals to itself only: abort() sends one.
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        rules.insert(call, vec![rule(&[(0, SeccompCmpOp::Ne, own)])?]);
    }
    rules.insert(libc::SYS_prlimit64, vec![rule(&[(0, SeccompCmpOp::Ne, 0), (0, SeccompCmpOp::Ne, own)])?]);
    let request = |request: &libc::Ioctl| rule(&[(1, SeccompCmpOp::Eq, u64::from(*request as u32))]);
    let class = |class: &u32| rule(&[(1, SeccompCmpOp::MaskedEq(0xFFFF_FF00), u64::from(*class))]);
    let requests = REQUESTS.iter().map(request).chain(CONSOLE_REQUESTS.iter().map(class));
    rules.insert(libc::SYS_ioctl, requests.collect::<Result<_, _>>()?);
    let owner = |command: &libc::c_int| rule(&[(1, SeccompCmpOp::Eq, u64::from(command.cast_unsigned()))]);
    rules.insert(libc::SYS_fcntl, SIGNAL_OWNERS.iter().map(owner).collect::<Result<_, _>>()?);
    // The program that started this one must be able to rely on its end.
    let death_signal = u64::from(libc::PR_SET_PDEATHSIG.cast_unsigned());
    rules.insert(libc::SYS_prctl, vec![rule(&[(0, SeccompCmpOp::Eq, death_signal)])?]);
    // libusb asks the kernel for devices that come and go by a netlink socket.
    let (unix, netlink) = (libc::AF_UNIX as u64, libc::AF_NETLINK as u64);
    rules.insert(libc::SYS_socket, vec![rule(&[(0, SeccompCmpOp::Ne, unix), (0, SeccompCmpOp::Ne, netlink)])?]);
    apply(rules, permission)?;
    // Its flags lie in memory, where no filter sees them. Told that it isn't there, the C library takes clone.
    apply([(libc::SYS_clone3, Vec::new())].into(), missing)?;
    #[cfg(target_arch = "x86_64")]
    refuse_x32()?;
    Ok(())
}

/// The x32 interface has numbers of its own for the same calls, with bit 30 set, which the other filters don't know.
#[cfg(target_arch = "x86_64")]
fn refuse_x32() -> Result<(), String> {
    const RETURN: u16 = 0x06;
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let program = [
        // The call's number.
        step(0x20, 0, 0, 0),
        // At least this: go on. Less: skip one.
        step(0x35, 0, 1, 0x4000_0000),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned()),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    apply_filter_all_threads(&program).map_err(|error| error.to_string())
}

fn rule(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, String> {
    let condition = |(argument, operator, value): &(u8, SeccompCmpOp, u64)| {
        SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, operator.clone(), *value)
    };
    let conditions = conditions.iter().map(condition).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    SeccompRule::new(conditions).map_err(|error| error.to_string())
}

/// Makes the calls fail with `error`, on all threads.
fn apply(rules: BTreeMap<i64, Vec<SeccompRule>>, error: u32) -> Result<(), String> {
    let text = |error: seccompiler::BackendError| error.to_string();
    let architecture = std::env::consts::ARCH.try_into().map_err(text)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(error), architecture);
    let program: BpfProgram = filter.and_then(TryInto::try_into).map_err(text)?;
    apply_filter_all_threads(&program).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_keyboards_and_cameras_are_known_by_their_names_and_devices_are_none() {
        let terminals = ["console", "ptmx", "pts", "tty", "tty0", "tty63", "vcs", "vcs1", "vcsa", "vcsu7"];
        let others = ["input", "uinput", "uhid", "video0", "video11", "media0", "v4l", "v4l-subdev0"];
        for name in terminals.into_iter().chain(others) {
            assert!(is_private(OsStr::new(name)), "{name}");
        }
        for name in ["ttyS0", "ttyUSB1", "ttyAMA0", "apex_0", "bus", "dri", "mali0", "dma_heap", "null", "pt", "mediax"]
        {
            assert!(!is_private(OsStr::new(name)), "{name}");
        }
    }
}
