//! The process of a command, its children and its end: started in a group of its own, stopped as a group, always reaped,
//! and never left behind when this program dies.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{getpid, getppid, kill_process_group, set_parent_process_death_signal, test_kill_process_group};
use rustix::process::{waitpid, Pid, Signal, WaitOptions};

use crate::config::CommandLine;

/// Time between SIGTERM and SIGKILL. The whole stop of the program takes less than 1 s.
const GRACE: Duration = Duration::from_millis(250);
/// Time for SIGKILL to work. Only a process that hangs in the kernel takes longer.
const LIMIT: Duration = Duration::from_millis(200);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// What a guard runs: it sleeps until its standard input ends, which this program holds open, then kills the group.
const GUARD: &str = "read line; kill -s KILL -- \"-$1\"";

/// What of a service manager's is meant for this program and not for its children.
const NOT_INHERITED: [&str; 4] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"];

/// Groups that run, and leaders that outlived even SIGKILL and are still to be reaped.
static HELD: Mutex<Held> = Mutex::new(Held { groups: Vec::new(), stuck: Vec::new() });

struct Held {
    groups: Vec<Pid>,
    stuck: Vec<Pid>,
}

fn held() -> MutexGuard<'static, Held> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills the commands that run, at once and without a word: for a program that leaves without its threads.
pub fn kill_all() {
    for group in &held().groups {
        let _ = kill_process_group(*group, Signal::KILL);
    }
}

/// A command that runs. Dropping it stops it.
pub(super) struct Process {
    child: Child,
    guard: Option<Child>,
    /// The group: the leader's id, and its children's unless they leave it.
    group: Pid,
    name: String,
    /// The command itself has ended, and how, where that could be learned.
    has_ended: bool,
    status: Option<ExitStatus>,
    is_stopped: bool,
}

impl Process {
    /// Starts `line` without a shell, with nothing on its standard input.
    ///
    /// The system kills it when the calling thread ends, so that thread must outlive it.
    pub(super) fn start(line: &CommandLine) -> io::Result<(Self, ChildStdout, ChildStderr)> {
        held().stuck.retain(|leader| matches!(waitpid(Some(*leader), WaitOptions::NOHANG), Ok(None)));
        let mut command = Command::new(line.program());
        command.args(line.arguments()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        command.process_group(0);
        let parent = getpid();
        // SAFETY: between fork and exec only system calls are made: no memory is allocated, no lock is taken.
        unsafe { command.pre_exec(move || prepare(parent)) };
        let mut child = command.spawn()?;
        let group = Pid::from_child(&child);
        held().groups.push(group);
        let pipes = child.stdout.take().zip(child.stderr.take());
        let name = line.name().to_owned();
        let guard = guard(group).map_err(|error| log::debug!("{name} has no guard: {error}")).ok();
        let process = Self { child, guard, group, name, has_ended: false, status: None, is_stopped: false };
        let (stdout, stderr) = pipes.ok_or_else(|| io::Error::other("its output could not be taken"))?;
        Ok((process, stdout, stderr))
    }

    /// Whether the command itself has ended; children of it may go on.
    pub(super) fn has_ended(&mut self) -> bool {
        if !self.has_ended {
            // An error means that there is nothing to wait for: the system was told to forget children.
            (self.has_ended, self.status) = match self.child.try_wait() {
                Ok(status) => (status.is_some(), status),
                Err(_) => (true, None),
            };
        }
        self.has_ended
    }

    /// How it ended.
    pub(super) const fn status(&self) -> Option<ExitStatus> {
        self.status
    }

    /// Waits at most `limit` for the command to end by itself.
    pub(super) fn wait(&mut self, limit: Duration) -> bool {
        self.look_until(limit, Self::has_ended)
    }

    fn look_until(&mut self, limit: Duration, mut is_so: impl FnMut(&mut Self) -> bool) -> bool {
        let start = Instant::now();
        loop {
            if is_so(self) {
                return true;
            }
            if start.elapsed() >= limit {
                return false;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Ends the guard, which has nothing to do any more.
    fn dismiss_guard(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            // Killed before its input ends, so that it kills nobody. A shell that sleeps is gone at once.
            let _ = guard.kill();
            let _ = guard.wait();
        }
    }

    /// Ends the command and every process of its group: SIGTERM, and SIGKILL for those that stay. Takes less than
    /// [`GRACE`] and [`LIMIT`] together, whatever they do.
    pub(super) fn stop(&mut self) {
        if std::mem::replace(&mut self.is_stopped, true) {
            return;
        }
        let may_not = kill_process_group(self.group, Signal::TERM) == Err(Errno::PERM);
        self.look_until(GRACE, Self::is_gone);
        // Also where the command itself is gone: children of it are not ours to wait for.
        let _ = kill_process_group(self.group, Signal::KILL);
        if !self.look_until(LIMIT, Self::has_ended) {
            let reason = if may_not { "it runs as another user" } else { "it hangs in the kernel" };
            log::warn!("{} (process {}) can't be ended: {reason}", self.name, self.child.id());
            held().stuck.push(self.group);
        }
        self.dismiss_guard();
    }

    /// True when the command is reaped and nothing of its group is left.
    fn is_gone(&mut self) -> bool {
        self.has_ended() && test_kill_process_group(self.group) == Err(Errno::SRCH)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
        held().groups.retain(|group| *group != self.group);
    }
}

/// Starts what kills `group` when this program dies, however it dies. The system does that for the command itself, but not
/// for children of it: a shell script's, for example.
fn guard(group: Pid) -> io::Result<Child> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", GUARD, "sh", &group.as_raw_nonzero().to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn()
}

/// Runs in the new process, between fork and exec.
fn prepare(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the signal was asked for.
    if getppid() != Some(parent) {
        return Err(Errno::SRCH.into());
    }
    // Whatever was opened without O_CLOEXEC, by a library or by who started this program, is closed by exec. Kernels
    // before 5.11 can't; what is opened here has the flag anyway.
    // SAFETY: a system call that takes three numbers and marks descriptors.
    let _ = unsafe {
        let (last, flag) = (libc::c_ulong::from(libc::c_uint::MAX), libc::c_ulong::from(libc::CLOSE_RANGE_CLOEXEC));
        libc::syscall(libc::SYS_close_range, 3 as libc::c_ulong, last, flag)
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn start(line: &str) -> (Process, ChildStdout, ChildStderr) {
        Process::start(&line.parse().unwrap()).unwrap()
    }

    #[test]
    fn it_starts_in_its_own_group_with_three_descriptors_and_no_input() {
        let leaked = std::fs::File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
        let (mut process, mut stdout, _stderr) =
            start("sh -c 'read x; echo $?; echo /proc/self/fd/*; echo \"[$NOTIFY_SOCKET]\"; sleep 0.2'");
        assert_eq!(rustix::process::getpgid(Some(process.group)).unwrap(), process.group);
        let mut said = String::new();
        stdout.read_to_string(&mut said).unwrap();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!((lines[0], lines[2]), ("1", "[]"), "standard input has an end: {said}");
        // The shell itself opens the folder as a further one.
        assert!(lines[1].split(' ').count() <= 4, "{said}");
        assert!(process.wait(Duration::from_secs(30)) && process.status().unwrap().success());
        drop(leaked);
    }

    #[test]
    fn the_whole_group_goes_even_if_it_ignores_sigterm() {
        let (mut process, mut stdout, _stderr) =
            start("sh -c 'trap \"\" TERM; sh -c \"trap \\\"\\\" TERM; while :; do sleep 1; done\" & echo $!; wait'");
        let mut byte = [0; 16];
        let read = stdout.read(&mut byte).unwrap();
        assert!(read > 1);
        let began = Instant::now();
        process.stop();
        // Generous for a loaded machine; what counts is that it ends.
        assert!(began.elapsed() < Duration::from_secs(20));
        assert!(process.has_ended());
        assert_eq!(process.status().unwrap().code(), None, "ended by a signal");
        // The pipe's other end is held by nobody any more.
        assert_eq!(stdout.read(&mut byte).unwrap(), 0);
    }

    #[test]
    fn what_cannot_be_started_is_an_error() {
        for (line, kind) in [
            ("/nonexistent/cam -o -", io::ErrorKind::NotFound),
            ("pspnetd-no-such-program", io::ErrorKind::NotFound),
            ("/dev/null", io::ErrorKind::PermissionDenied),
        ] {
            let error = Process::start(&line.parse().unwrap()).err().unwrap();
            assert_eq!(error.kind(), kind, "{line}: {error}");
        }
    }
}
