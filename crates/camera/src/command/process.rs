//! The process of a command and its end: asked to stop as a group before it is killed, with a guard for its children.

use std::io;
use std::process::{ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use base::child::{in_its_own_session, Child};
use base::command_line::CommandLine;
use rustix::io::Errno;
use rustix::process::{kill_process_group, test_kill_process_group, Pid, Signal};

/// Time between SIGTERM and SIGKILL. The whole stop of the program takes less than 1 s.
const GRACE: Duration = Duration::from_millis(250);

/// What a guard runs: it sleeps until its standard input ends, which this program holds open, then kills the group.
const GUARD: &str = "read line; kill -s KILL -- \"-$1\"";

/// A command that runs. Dropping it stops it.
pub(super) struct Process {
    child: Child,
    guard: Option<std::process::Child>,
    is_stopped: bool,
}

impl Process {
    /// Starts `line` without a shell, with nothing on its standard input.
    ///
    /// The system kills it when the calling thread ends, so that thread must outlive it.
    pub(super) fn start(line: &CommandLine) -> io::Result<(Self, ChildStdout, ChildStderr)> {
        let mut command = Command::new(line.program());
        command.args(line.arguments()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Child::spawn(&mut command, line.name())?;
        let pipes = child.take_pipes();
        let no_guard = |error| log::debug!("{} has no guard: {error}", line.name());
        let guard = guard(child.group()).map_err(no_guard).ok();
        let process = Self { child, guard, is_stopped: false };
        let (stdout, stderr) = pipes.ok_or_else(|| io::Error::other("its output could not be taken"))?;
        Ok((process, stdout, stderr))
    }

    /// Whether the command itself has ended; children of it may go on.
    pub(super) fn has_ended(&mut self) -> bool {
        self.child.has_ended()
    }

    /// How it ended.
    pub(super) const fn status(&self) -> Option<ExitStatus> {
        self.child.status()
    }

    /// Waits at most `limit` for the command to end by itself.
    pub(super) fn wait(&mut self, limit: Duration) -> bool {
        self.child.wait(limit)
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
    /// [`GRACE`] and a fifth of a second together, whatever they do.
    pub(super) fn stop(&mut self) {
        if std::mem::replace(&mut self.is_stopped, true) {
            return;
        }
        let group = self.child.group();
        let _ = kill_process_group(group, Signal::TERM);
        self.child.look_until(GRACE, |child| {
            // True when the command is reaped and nothing of its group is left.
            child.has_ended() && test_kill_process_group(group) == Err(Errno::SRCH)
        });
        self.child.kill();
        self.dismiss_guard();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts what kills `group` when this program dies, however it dies. The system does that for the command itself, but not
/// for children of it: a shell script's, for example.
fn guard(group: Pid) -> io::Result<std::process::Child> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", GUARD, "sh", &group.as_raw_nonzero().to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    in_its_own_session(&mut command).spawn()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::time::Instant;

    fn start(line: &str) -> (Process, ChildStdout, ChildStderr) {
        Process::start(&line.parse().unwrap()).unwrap()
    }

    #[test]
    fn it_starts_in_its_own_group_with_three_descriptors_and_no_input() {
        let leaked = std::fs::File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
        let (mut process, mut stdout, _stderr) =
            start("sh -c 'read x; echo $?; echo /proc/self/fd/*; echo \"[$NOTIFY_SOCKET]\"; sleep 0.2'");
        assert_eq!(rustix::process::getpgid(Some(process.child.group())).unwrap(), process.child.group());
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
    fn neither_it_nor_its_guard_has_a_terminal() {
        let (process, _stdout, _stderr) = start("sleep 600");
        for id in [process.child.group().as_raw_nonzero().get(), process.guard.as_ref().unwrap().id().cast_signed()] {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
            // Behind the name and the state: parent, group, session, and the number of the controlling terminal.
            let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
            assert_eq!(fields[2..5], [&id.to_string(), &id.to_string(), "0"], "{stat}");
        }
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
