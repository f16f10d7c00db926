//! What a worker may not do: start programs, write outside /dev or to a terminal, use the network, look into other processes or
//! signal them.
//!
//! Entered before a library is loaded, so that it holds for all of the library's threads. What this kernel, or the unit's own
//! filter, does not allow to be set up is left out and told: a worker without a sandbox is better than none.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::FileTypeExt as _;

use landlock::{Access, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr};
use landlock::{RulesetError, RulesetStatus, Scope, ABI};
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
/// line discipline into the kernel (`TIOCSETD`).
const TERMINAL_REQUESTS: [libc::Ioctl; 5] =
    [libc::TIOCSTI, libc::TIOCLINUX, libc::TIOCSCTTY, libc::TIOCCONS, libc::TIOCSETD];

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

/// Reading is free, since libraries lie anywhere; writing only beneath /dev, where the devices are, but to no terminal. Nothing
/// is executed.
fn restrict_files() -> Result<RulesetStatus, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?;
    // A path that is not there needs no rule.
    let rules = match PathFd::new("/") {
        Ok(root) => rules.add_rule(PathBeneath::new(root, read))?,
        Err(_) => rules,
    };
    // Each by itself, since a rule for a folder holds for all of it. What a device makes later lies in a folder that is there,
    // such as /dev/bus; a worker that misses its device starts anew anyway.
    let rules = std::fs::read_dir("/dev").into_iter().flatten().flatten().try_fold(rules, |rules, entry| {
        // Links are left out: they lead to what has a rule of its own, or to pipes, which can't have one.
        let Ok(kind) = entry.file_type() else { return Ok(rules) };
        let access = match kind.is_dir() {
            true => device | AccessFs::ReadDir,
            false if kind.is_char_device() || kind.is_block_device() => device,
            false => return Ok(rules),
        };
        match PathFd::new(entry.path()) {
            Ok(opened) if !is_terminal(&entry.file_name()) => rules.add_rule(PathBeneath::new(opened, access)),
            Ok(_) | Err(_) => Ok(rules),
        }
    })?;
    Ok(rules.restrict_self()?.ruleset)
}

/// Whether a file or folder in /dev with this name is a terminal, or has terminals in it: consoles, virtual consoles and what
/// they show, pseudo terminals. Serial ports are none, since accelerators may be behind them.
fn is_terminal(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    let numbered = |prefix: &[u8]| name.strip_prefix(prefix).is_some_and(|rest| rest.iter().all(u8::is_ascii_digit));
    matches!(name, b"console" | b"ptmx" | b"pts") || numbered(b"tty") || name.starts_with(b"vcs")
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
    let terminal = |request: &libc::Ioctl| rule(&[(1, SeccompCmpOp::Eq, u64::from(*request as u32))]);
    rules.insert(libc::SYS_ioctl, TERMINAL_REQUESTS.iter().map(terminal).collect::<Result<_, _>>()?);
    // libusb asks the kernel for devices that come and go by a netlink socket.
    let (unix, netlink) = (libc::AF_UNIX as u64, libc::AF_NETLINK as u64);
    rules.insert(libc::SYS_socket, vec![rule(&[(0, SeccompCmpOp::Ne, unix), (0, SeccompCmpOp::Ne, netlink)])?]);
    apply(rules, permission)?;
    // Its flags lie in memory, where no filter sees them. Told that it isn't there, the C library takes clone.
    apply([(libc::SYS_clone3, Vec::new())].into(), missing)
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
    fn terminals_are_known_by_their_names_and_devices_are_none() {
        for name in ["console", "ptmx", "pts", "tty", "tty0", "tty63", "vcs", "vcs1", "vcsa", "vcsu7"] {
            assert!(is_terminal(OsStr::new(name)), "{name}");
        }
        for name in ["ttyS0", "ttyUSB1", "ttyAMA0", "apex_0", "bus", "dri", "mali0", "dma_heap", "null", "video0", "pt"]
        {
            assert!(!is_terminal(OsStr::new(name)), "{name}");
        }
    }
}
