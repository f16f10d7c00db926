//! Child processes of this program, whatever they are for: started in a session and a group of their own, without a terminal
//! and with nothing else that they should not inherit, killed as a group, always reaped, and never left behind when this
//! program dies.
//!
//! `listener` reads what they say. What a child runs, and how it is asked to stop, is left to those who start it.
#![allow(unsafe_code)]

mod listener;
mod words;

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStderr, ChildStdout, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard};
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    getpid, getppid, kill_process_group, set_parent_process_death_signal, setsid, waitpid, Pid, Signal, WaitOptions,
};

use crate::sync::lock;

pub use self::listener::LogLimit;
pub use self::listener::{is_readable, never_wait, Listener};

/// Time for SIGKILL to work. A process takes longer that hangs in the kernel, or has no processor to end on.
const LIMIT: Duration = Duration::from_millis(200);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// What of a service manager's is meant for this program and not for its children.
const NOT_INHERITED: [&str; 4] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"];

/// What the reaper's thread needs.
const REAPERS_STACK: usize = 64 << 10;

/// Groups that run.
static HELD: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn held() -> MutexGuard<'static, Vec<Pid>> {
    lock(&HELD)
}

/// Kills the children that run, at once and without a word: for a program that leaves without its threads.
pub fn kill_all() {
    for group in held().iter() {
        let _ = kill_process_group(*group, Signal::KILL);
    }
}

/// A process that runs. Dropping it kills its group and reaps it.
pub struct Child {
    child: std::process::Child,
    /// The group: the leader's id, and its children's unless they leave it.
    group: Pid,
    name: String,
    /// The process itself has ended, and how, where that could be learned.
    has_ended: bool,
    status: Option<ExitStatus>,
    is_killed: bool,
}

impl Child {
    /// Starts `command`, which is called `name` in messages, in a session and a group of its own.
    ///
    /// The system kills it when the calling thread ends, so that thread must outlive it.
    pub fn spawn(command: &mut Command, name: &str) -> io::Result<Self> {
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        in_its_own_session(command);
        let parent = getpid();
        // SAFETY: between fork and exec only system calls are made: no memory is allocated, no lock is taken.
        unsafe { command.pre_exec(move || prepare(parent)) };
        let child = command.spawn()?;
        let group = Pid::from_child(&child);
        held().push(group);
        Ok(Self { child, group, name: name.to_owned(), has_ended: false, status: None, is_killed: false })
    }

    /// Its standard output and error, where they are pipes that nobody has taken yet.
    pub fn take_pipes(&mut self) -> Option<(ChildStdout, ChildStderr)> {
        self.child.stdout.take().zip(self.child.stderr.take())
    }

    /// Its process id, which is its group's.
    pub const fn group(&self) -> Pid {
        self.group
    }

    /// Whether the process itself has ended; children of it may go on.
    pub fn has_ended(&mut self) -> bool {
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
    pub const fn status(&self) -> Option<ExitStatus> {
        self.status
    }

    /// Waits at most `limit` for the process to end by itself.
    pub fn wait(&mut self, limit: Duration) -> bool {
        self.look_until(limit, Self::has_ended)
    }

    /// Looks again and again, for at most `limit`, whether something is so.
    pub fn look_until(&mut self, limit: Duration, mut is_so: impl FnMut(&mut Self) -> bool) -> bool {
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

    /// Kills every process of its group and reaps it. Takes little more than [`LIMIT`], whatever they do.
    pub fn kill(&mut self) {
        if std::mem::replace(&mut self.is_killed, true) {
            return;
        }
        // Also where the process itself is gone: children of it are not ours to wait for.
        let may_not = kill_process_group(self.group, Signal::KILL) == Err(Errno::PERM);
        if !self.wait(LIMIT) {
            let reason =
                if may_not { "it runs as another user" } else { "it hangs in the kernel, or the machine is busy" };
            let seconds = LIMIT.as_secs_f32();
            log::warn!(
                "{} (process {}) is killed and has not ended after {seconds} s: {reason}",
                self.name,
                self.child.id()
            );
            reap_when_it_ends(self.group);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        held().retain(|group| *group != self.group);
    }
}

/// Reaps `leader` as soon as it ends. A thread of its own waits for that, since no other has the time.
fn reap_when_it_ends(leader: Pid) {
    let reap = move || while matches!(waitpid(Some(leader), WaitOptions::empty()), Err(Errno::INTR)) {};
    let thread = Builder::new().name("reaper".to_owned()).stack_size(REAPERS_STACK);
    if let Err(error) = thread.spawn(reap) {
        log::warn!("process {leader} is not reaped before this program ends: no thread can be started: {error}");
    }
}

/// Makes `command` start in a session of its own, and with it in a group of its own: the terminal from which this program was
/// started is not its controlling terminal. So it can't type into that (TIOCSTI), read from it by /dev/tty, or change who is in
/// its foreground. [`Child::spawn`] does it by itself.
pub fn in_its_own_session(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec one system call is made: no memory is allocated, no lock is taken.
    unsafe { command.pre_exec(|| Ok(setsid().map(|_| ())?)) }
}

/// Runs in the new process, between fork and exec.
fn prepare(parent: Pid) -> io::Result<()> {
    die_with(parent)?;
    // Whatever was opened without O_CLOEXEC, by a library or by who started this program, is closed by exec. Kernels
    // before 5.11 can't; what is opened here has the flag anyway.
    // SAFETY: a system call that takes three numbers and marks descriptors.
    let _ = unsafe {
        let (last, flag) = (libc::c_ulong::from(libc::c_uint::MAX), libc::c_ulong::from(libc::CLOSE_RANGE_CLOEXEC));
        libc::syscall(libc::SYS_close_range, 3 as libc::c_ulong, last, flag)
    };
    Ok(())
}

/// Makes the system kill this process when the thread that started it ends.
pub fn die_with(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the signal was asked for.
    if getppid() != Some(parent) {
        return Err(Errno::SRCH.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Stdio;

    fn spawn(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Child::spawn(&mut command, "test").unwrap()
    }

    #[test]
    fn a_child_that_is_killed_is_reaped_and_its_children_are_gone() {
        let mut child = spawn("sleep 600 & sleep 600");
        assert!(!child.has_ended() && child.take_pipes().is_some() && child.take_pipes().is_none());
        let group = child.group();
        child.kill();
        assert!(child.has_ended());
        assert_eq!(child.status().unwrap().signal(), Some(libc::SIGKILL));
        // The shell's child is killed with it, and reaped by whoever takes orphans.
        let is_gone = |_: &mut Child| rustix::process::test_kill_process_group(group) == Err(Errno::SRCH);
        assert!(child.look_until(Duration::from_secs(30), is_gone));
    }

    #[test]
    fn a_child_leads_a_session_without_a_terminal() {
        let mut child = spawn("cut -d' ' -f5-7 /proc/$$/stat; exec sleep 600");
        let (stdout, _stderr) = child.take_pipes().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        // Group, session, and the number of the controlling terminal.
        let id = child.group().as_raw_nonzero();
        assert_eq!(line.trim_end(), format!("{id} {id} 0"));
    }

    #[test]
    fn a_child_that_ends_by_itself_tells_how() {
        let mut child = spawn("exit 5");
        assert!(child.wait(Duration::from_secs(30)));
        assert_eq!(child.status().unwrap().code(), Some(5));
    }

    #[test]
    fn a_child_that_outlives_its_kill_is_reaped_when_it_ends() {
        let child = Command::new("sh").args(["-c", "read line"]).stdin(Stdio::piped()).spawn().unwrap();
        let process = Pid::from_child(&child);
        reap_when_it_ends(process);
        assert!(rustix::process::test_kill_process(process).is_ok());
        // Its standard input ends, and it with that. A process that is not reaped could still be signalled.
        drop(child);
        let start = Instant::now();
        while rustix::process::test_kill_process(process).is_ok() {
            assert!(start.elapsed() < Duration::from_secs(30), "it is left");
            std::thread::sleep(LOOK);
        }
    }

    #[test]
    fn a_dropped_child_is_held_no_more() {
        let child = spawn("sleep 600");
        let group = child.group();
        assert!(held().contains(&group));
        drop(child);
        assert!(!held().contains(&group));
        assert!(rustix::process::test_kill_process(group).is_err());
    }
}
