//! The system calls of a worker, by seccomp: an allow list for each [`Role`]. Any other call ends the process, after a line that
//! names it. Of some that are on the list, arguments that reach beyond this process are refused with EPERM: libraries try them
//! and can do without.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{c_int, c_long, c_void};
use std::io;

use seccompiler::{apply_filter_all_threads, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp};
use seccompiler::{SeccompCondition, SeccompFilter, SeccompRule};
use syscall_numbers::native::sys_call_name;

use super::Role;

/// What every worker calls: memory, threads, files, messages, clocks, and what it asks of itself.
#[rustfmt::skip]
const ALWAYS: &[c_long] = &[
    libc::SYS_brk, libc::SYS_clock_getres, libc::SYS_clock_gettime, libc::SYS_clock_nanosleep, libc::SYS_clone,
    libc::SYS_clone3, libc::SYS_close, libc::SYS_close_range, libc::SYS_dup, libc::SYS_dup3, libc::SYS_exit,
    libc::SYS_exit_group, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_fadvise64, libc::SYS_fcntl, libc::SYS_fstat,
    libc::SYS_fstatfs, libc::SYS_futex, libc::SYS_get_robust_list, libc::SYS_getcpu, libc::SYS_getcwd,
    libc::SYS_getdents64, libc::SYS_getegid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getpgid, libc::SYS_getpid,
    libc::SYS_getppid, libc::SYS_getpriority, libc::SYS_getrandom, libc::SYS_getrlimit, libc::SYS_getrusage,
    libc::SYS_getsid, libc::SYS_gettid, libc::SYS_gettimeofday, libc::SYS_getuid, libc::SYS_ioctl, libc::SYS_kill,
    libc::SYS_lseek, libc::SYS_madvise, libc::SYS_membarrier, libc::SYS_mincore, libc::SYS_mlock, libc::SYS_mlock2,
    libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_mremap, libc::SYS_munlock, libc::SYS_munmap, libc::SYS_nanosleep,
    libc::SYS_newfstatat, libc::SYS_openat, libc::SYS_ppoll, libc::SYS_prctl, libc::SYS_pread64, libc::SYS_preadv,
    libc::SYS_prlimit64, libc::SYS_pwrite64, libc::SYS_read, libc::SYS_readlinkat, libc::SYS_readv, libc::SYS_recvfrom,
    libc::SYS_recvmsg, libc::SYS_restart_syscall, libc::SYS_rseq, libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn, libc::SYS_rt_sigsuspend, libc::SYS_rt_sigtimedwait, libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min, libc::SYS_sched_getaffinity, libc::SYS_sched_getattr, libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler, libc::SYS_sched_setaffinity, libc::SYS_sched_setattr, libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler, libc::SYS_sched_yield, libc::SYS_sendmsg, libc::SYS_sendto, libc::SYS_set_robust_list,
    libc::SYS_setpriority, libc::SYS_sigaltstack, libc::SYS_socket, libc::SYS_statfs, libc::SYS_statx, libc::SYS_sysinfo,
    libc::SYS_tgkill, libc::SYS_uname, libc::SYS_write, libc::SYS_writev,
];
/// The same by the names that only this processor still has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALWAYS_HERE: &[c_long] = &[
    libc::SYS_access, libc::SYS_arch_prctl, libc::SYS_dup2, libc::SYS_getdents, libc::SYS_getpgrp, libc::SYS_lstat,
    libc::SYS_open, libc::SYS_pause, libc::SYS_poll, libc::SYS_readlink, libc::SYS_stat, libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const ALWAYS_HERE: &[c_long] = &[];
/// What libraries of devices call besides: events, timers, pipes, memory that the device sees, and the kernel's word of devices
/// that come and go.
#[rustfmt::skip]
const DEVICES: &[c_long] = &[
    libc::SYS_bind, libc::SYS_connect, libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait,
    libc::SYS_eventfd2, libc::SYS_flock, libc::SYS_ftruncate, libc::SYS_getpeername, libc::SYS_getsockname,
    libc::SYS_getsockopt, libc::SYS_inotify_add_watch, libc::SYS_inotify_init1, libc::SYS_inotify_rm_watch,
    libc::SYS_memfd_create, libc::SYS_msync, libc::SYS_pipe2, libc::SYS_pselect6, libc::SYS_recvmmsg, libc::SYS_sendmmsg,
    libc::SYS_setsockopt, libc::SYS_shutdown, libc::SYS_signalfd4, libc::SYS_timerfd_create, libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
];
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const DEVICES_HERE: &[c_long] = &[
    libc::SYS_epoll_create, libc::SYS_epoll_wait, libc::SYS_eventfd, libc::SYS_pipe, libc::SYS_select,
];
#[cfg(not(target_arch = "x86_64"))]
const DEVICES_HERE: &[c_long] = &[];

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
const SIGNAL_OWNERS: [c_int; 3] = [libc::F_SETOWN, F_SETSIG, F_SETOWN_EX];
const F_SETSIG: c_int = 10;
const F_SETOWN_EX: c_int = 15;
const SCHED_DEADLINE: c_int = 6;
/// Whose scheduling is asked about, in the first argument; 0 is the thread that asks.
const SCHEDULING: [c_long; 4] =
    [libc::SYS_sched_setaffinity, libc::SYS_sched_setattr, libc::SYS_sched_setparam, libc::SYS_sched_setscheduler];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Refuses all calls but those of `role`.
///
/// # Errors
/// What is missing of that.
pub(super) fn restrict(role: Role<'_>) -> Result<(), String> {
    filter(role)
        .map_err(|error| format!("seccomp: {error}: what runs the model could use all of the kernel's interface"))
}

fn filter(role: Role<'_>) -> Result<(), String> {
    name_the_refused().map_err(|error| error.to_string())?;
    let refuse = |error: c_int| SeccompAction::Errno(error.cast_unsigned());
    apply(beyond(role)?, SeccompAction::Allow, refuse(libc::EPERM))?;
    // Its flags lie in memory, where no filter sees them. Told that it isn't there, the C library takes clone.
    apply([(libc::SYS_clone3, Vec::new())].into(), SeccompAction::Allow, refuse(libc::ENOSYS))?;
    // Last of all: seccomp itself is not on the list.
    let mut allowed = [ALWAYS, ALWAYS_HERE].concat();
    if !role.is_cpu() {
        allowed.extend([DEVICES, DEVICES_HERE].concat());
    }
    let allowed = allowed.into_iter().map(|call| (call, Vec::new())).collect();
    apply(allowed, SeccompAction::Trap, SeccompAction::Allow)
}

/// Calls on the list whose arguments reach beyond this process, or would change what it is.
fn beyond(role: Role<'_>) -> Result<Rules, String> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let own = u64::from(std::process::id());
    let word = |value: c_int| u64::from(value.cast_unsigned());
    let mut rules = Rules::new();
    // Threads, but no processes.
    rules.insert(libc::SYS_clone, vec![rule(&[(0, MaskedEq(word(libc::CLONE_THREAD)), 0)])?]);
    // Signals to itself only: abort() sends one.
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        rules.insert(call, vec![rule(&[(0, Ne, own)])?]);
    }
    rules.insert(libc::SYS_prlimit64, vec![rule(&[(0, Ne, 0), (0, Ne, own)])?]);
    for call in SCHEDULING {
        rules.insert(call, vec![rule(&[(0, Ne, 0)])?]);
    }
    let real_time = [libc::SCHED_FIFO, libc::SCHED_RR, SCHED_DEADLINE].map(|policy| rule(&[(1, Eq, word(policy))]));
    let others = rules.entry(libc::SYS_sched_setscheduler).or_default();
    for policy in real_time {
        others.push(policy?);
    }
    rules.insert(libc::SYS_setpriority, vec![rule(&[(0, Ne, word(0))])?, rule(&[(1, Ne, 0)])?]);
    let request = |request: &libc::Ioctl| rule(&[(1, Eq, u64::from(*request as u32))]);
    let class = |class: &u32| rule(&[(1, MaskedEq(0xFFFF_FF00), u64::from(*class))]);
    let requests = REQUESTS.iter().map(request).chain(CONSOLE_REQUESTS.iter().map(class));
    rules.insert(libc::SYS_ioctl, requests.collect::<Result<_, _>>()?);
    let owner = |command: &c_int| rule(&[(1, Eq, word(*command))]);
    rules.insert(libc::SYS_fcntl, SIGNAL_OWNERS.iter().map(owner).collect::<Result<_, _>>()?);
    // The program that started this one must be able to rely on its end.
    rules.insert(libc::SYS_prctl, vec![rule(&[(0, Eq, word(libc::PR_SET_PDEATHSIG))])?]);
    // libusb asks the kernel for devices that come and go by a netlink socket.
    let sockets = if role.is_cpu() { Vec::new() } else { vec![rule(&[(0, Ne, word(libc::AF_NETLINK))])?] };
    rules.insert(libc::SYS_socket, sockets);
    // Who is told of a refused call stays the same.
    rules.insert(libc::SYS_rt_sigaction, vec![rule(&[(0, Eq, word(libc::SIGSYS))])?]);
    let (write, execute) = (word(libc::PROT_WRITE), word(libc::PROT_EXEC));
    let both = write | execute;
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![rule(&[(2, MaskedEq(both), both)])?]);
    }
    if role.is_cpu() {
        // Everything that it runs is loaded already.
        let code = || rule(&[(2, MaskedEq(execute), execute)]);
        rules.insert(libc::SYS_mprotect, vec![code()?]);
        // Its limit of memory counts what is private and doesn't grow by itself.
        let has = |flags: c_int| rule(&[(3, MaskedEq(word(flags)), word(flags))]);
        rules.insert(
            libc::SYS_mmap,
            vec![code()?, has(libc::MAP_SHARED | libc::MAP_ANONYMOUS)?, has(libc::MAP_GROWSDOWN)?],
        );
        // Whether a stream is a terminal, and how much is there to read.
        let questions = [libc::TCGETS, libc::FIONREAD, libc::FIONBIO, libc::TIOCGWINSZ];
        let others = questions.map(|request| (1, Ne, u64::from(request as u32)));
        rules.insert(libc::SYS_ioctl, vec![rule(&others)?]);
        // Descriptors are for the program to send.
        rules.insert(libc::SYS_sendmsg, Vec::new());
        rules.insert(libc::SYS_sched_setattr, Vec::new());
    }
    rules.insert(libc::SYS_openat, opening(role, 2)?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, opening(role, 1)?);
    Ok(rules)
}

/// What may not be opened, by the flags in this argument: no file is made. On the CPU nothing is written either, so that the
/// memory of the program that started this one can't be, through /proc, where the kernel has no Landlock.
fn opening(role: Role<'_>, flags: u8) -> Result<Vec<SeccompRule>, String> {
    use SeccompCmpOp::MaskedEq;
    let with = |mask: c_int, value: c_int| {
        let word = |value: c_int| u64::from(value.cast_unsigned());
        rule(&[(flags, MaskedEq(word(mask)), word(value))])
    };
    let mut rules = vec![with(libc::O_CREAT, libc::O_CREAT)?, with(libc::O_TMPFILE, libc::O_TMPFILE)?];
    if role.is_cpu() {
        for mode in [libc::O_WRONLY, libc::O_RDWR, libc::O_ACCMODE] {
            rules.push(with(libc::O_ACCMODE, mode)?);
        }
    }
    Ok(rules)
}

fn rule(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, String> {
    let condition = |(argument, operator, value): &(u8, SeccompCmpOp, u64)| {
        SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, operator.clone(), *value)
    };
    let conditions = conditions.iter().map(condition).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    SeccompRule::new(conditions).map_err(|error| error.to_string())
}

/// Does `matching` with the calls of `rules` and `other` with the rest, on all threads.
fn apply(rules: Rules, other: SeccompAction, matching: SeccompAction) -> Result<(), String> {
    let text = |error: seccompiler::BackendError| error.to_string();
    let architecture = std::env::consts::ARCH.try_into().map_err(text)?;
    let filter = SeccompFilter::new(rules, other, matching, architecture);
    let program: BpfProgram = filter.and_then(TryInto::try_into).map_err(text)?;
    apply_filter_all_threads(&program).map_err(|error| error.to_string())
}

/// Has [`refused`] run when the list refuses a call.
fn name_the_refused() -> io::Result<()> {
    // The first one is the last: afterwards SIGSYS does what it does by default. It isn't blocked meanwhile, so that it can.
    let flags = libc::SA_SIGINFO | libc::SA_RESETHAND | libc::SA_NODEFER;
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = refused;
    // SAFETY: all zero is a valid sigaction, whose mask is empty; the handler has the type that SA_SIGINFO asks for, and does
    // only what is allowed in a signal handler.
    let outcome = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = flags;
        libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut())
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Names the call that was refused, and ends the process by the signal that says so.
extern "C" fn refused(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    /// Where the number of the call lies, counted in ints: behind three ints, a gap, and an address.
    const CALL: usize = 6;
    // SAFETY: the kernel hands over a whole siginfo_t.
    let number = unsafe { info.cast::<c_int>().add(CALL).read() };
    let name = sys_call_name(c_long::from(number)).unwrap_or("of an unknown number");
    for part in ["FATAL: sandbox: the system call ", name, " is refused here\n"] {
        // SAFETY: it reads the bytes of a text. Nobody may be left to hear it.
        unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
    }
    // SAFETY: two calls that take numbers.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGSYS);
        libc::_exit(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_that_starts_programs_or_reaches_others_is_on_a_list() {
        let all = [ALWAYS, ALWAYS_HERE, DEVICES, DEVICES_HERE].concat();
        for call in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_getfd,
            libc::SYS_shmget,
            libc::SYS_shmat,
            libc::SYS_msgget,
            libc::SYS_semget,
            libc::SYS_mq_open,
            libc::SYS_io_uring_setup,
            libc::SYS_bpf,
            libc::SYS_seccomp,
            libc::SYS_unlinkat,
            libc::SYS_mkdirat,
            libc::SYS_renameat2,
            libc::SYS_linkat,
            libc::SYS_symlinkat,
            libc::SYS_fchmodat,
            libc::SYS_mount,
            libc::SYS_setuid,
            libc::SYS_setns,
            libc::SYS_unshare,
            libc::SYS_chroot,
            libc::SYS_personality,
            libc::SYS_userfaultfd,
            libc::SYS_keyctl,
            libc::SYS_process_mrelease,
            libc::SYS_setsid,
            libc::SYS_accept4,
            libc::SYS_listen,
            libc::SYS_socketpair,
            libc::SYS_memfd_secret,
        ] {
            assert!(!all.contains(&call), "{call}");
        }
        for call in DEVICES {
            assert!(!ALWAYS.contains(call), "{call} is there twice");
        }
    }

    #[test]
    fn calls_have_names() {
        assert_eq!(sys_call_name(libc::SYS_execve), Some("execve"));
    }
}
