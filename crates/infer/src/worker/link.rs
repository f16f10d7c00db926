//! The process of a worker, the socket to it and the thread that reads its words; how to wait for it, and how it ends.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base::child::{Child, Listener};
use base::clock::{Clock, SystemClock};
use base::shutdown::TICK;
use base::text::is_secret;
use log::Level;
use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    recv, send, sendmsg, socketpair, AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketFlags, SocketType,
};
use rustix::process::{pidfd_open, PidfdFlags};
use rustix::time::Timespec;

use super::wire::{Order, LONGEST, MOST_FILES};
use super::{spoken, system, Fault, LogLimit, Phase, Told};

/// How long a process that closed its socket may take to end: its exit status tells more than the kill would.
const LAST_MOMENTS: Duration = Duration::from_millis(500);
/// What a look of one tick counts for, at most.
const LONGEST_LOOK: Duration = Duration::from_millis(2 * TICK.as_millis() as u64);

/// A worker's process. Dropping it kills and reaps it.
pub(super) struct Link {
    socket: OwnedFd,
    pidfd: OwnedFd,
    // The process first: its end is the end of the stream that the listener reads.
    child: Child,
    listener: Listener,
    message: Box<[u8]>,
    /// Why the process is gone.
    fault: Option<Fault>,
    id: u32,
}

impl Link {
    /// Starts `program` as a worker called `name`, with `environment` beside this program's own.
    pub(super) fn open(
        name: &str,
        program: &Path,
        environment: &[(&str, &str)],
        limit: &LogLimit,
        told: &Told,
    ) -> Result<Self, Fault> {
        let no_socket = |error: Errno| system("a socket", error);
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(no_socket)?;
        let (words, their_words) = io::pipe().map_err(|error| system("a pipe", error))?;
        let their_output = their_words.try_clone().map_err(|error| system("a pipe", error))?;
        let mut command = Command::new(program);
        // Without it libusb says nothing, not even that a device may not be opened.
        if std::env::var_os("LIBUSB_DEBUG").is_none() {
            command.env("LIBUSB_DEBUG", "1");
        }
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_private(name)) {
            command.env_remove(name);
        }
        command.envs(environment.iter().copied());
        // Libraries that write to the standard output are heard as well.
        command.arg0("pspnetd").args(["worker", name]).stdin(Stdio::from(theirs));
        command.stdout(Stdio::from(their_output)).stderr(Stdio::from(their_words));
        let child = Child::spawn(&mut command, name);
        // It has our copies of the process's ends: while they are open, there is no end of stream.
        drop(command);
        let child = child.map_err(|error| system(&program.display().to_string(), error))?;
        let pidfd = pidfd_open(child.group(), PidfdFlags::empty()).map_err(|error| system("pidfd", error))?;
        let name = name.to_owned();
        let told = told.by(child.group().as_raw_nonzero().get().unsigned_abs());
        let log = move |line: &str| {
            let is_news = told.is_news(line, SystemClock.now());
            let level = if is_news { spoken::level(line) } else { Level::Debug };
            log::log!(level, "{name}: {line}");
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let listener =
            Listener::start("worker-err", words, limit, clock, log).map_err(|error| system("a thread", error))?;
        let id = child.group().as_raw_nonzero().get().unsigned_abs();
        Ok(Self { socket, pidfd, child, listener, message: vec![0; LONGEST].into(), fault: None, id })
    }

    /// Its process id.
    pub(super) const fn id(&self) -> u32 {
        self.id
    }

    /// Sends the first message.
    pub(super) fn send_order(&mut self, order: &Order, files: &[BorrowedFd<'_>]) -> Result<(), Fault> {
        let message = serde_json::to_vec(order).map_err(|error| system("the order", error))?;
        self.send_with(&message, files, Phase::Starting)
    }

    /// Sends a message. A worker that doesn't take it is not waited for.
    pub(super) fn send(&mut self, message: &[u8]) -> Result<(), Fault> {
        let sent = send(&self.socket, message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(|_| ());
        self.check_sent(sent, Phase::Idle)
    }

    /// The same with descriptors.
    pub(super) fn send_with(&mut self, message: &[u8], files: &[BorrowedFd<'_>], when: Phase) -> Result<(), Fault> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(system("a message to it", "too many descriptors"));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = sendmsg(&self.socket, &[IoSlice::new(message)], &mut control, flags).map(|_| ());
        self.check_sent(sent, when)
    }

    fn check_sent(&mut self, sent: rustix::io::Result<()>, when: Phase) -> Result<(), Fault> {
        match sent {
            Ok(()) => Ok(()),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(self.end_ended(when)),
            Err(error) => Err(self.end_with(system("a message to it", error))),
        }
    }

    /// Waits at most `limit` for a message.
    pub(super) fn wait(
        &mut self,
        when: Phase,
        limit: Duration,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<&[u8], Fault> {
        let mut left = limit;
        loop {
            let start = SystemClock.now();
            let (has_message, has_ended) = self.look(left.min(TICK));
            if has_message {
                match recv(&self.socket, &mut *self.message, RecvFlags::DONTWAIT) {
                    Ok((0, _)) | Err(Errno::CONNRESET) => return Err(self.end_ended(when)),
                    Ok((length, _)) => return Ok(&self.message[..length]),
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(error) => return Err(self.end_with(system("its socket", error))),
                }
            } else if has_ended {
                return Err(self.end_ended(when));
            }
            if !go_on() {
                return Err(self.end_with(Fault::Stopped));
            }
            // Where a look took much longer than it may, this program stood still (a container that is paused, a machine
            // that is out of memory), and the other most likely too.
            left = left.saturating_sub(SystemClock.now().since(start).min(LONGEST_LOOK));
            if left.is_zero() {
                return Err(self.end_with(Fault::Late { when, after: limit }));
            }
        }
    }

    /// Whether there is a message (or the end of them), and whether the process has ended, within `limit`.
    fn look(&self, limit: Duration) -> (bool, bool) {
        let mut looks = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.pidfd, PollFlags::IN)];
        let limit = Timespec::try_from(limit).unwrap_or_default();
        // A signal, or a kernel without memory: as if nothing had come, and the next look tells.
        let _ = poll(&mut looks, Some(&limit));
        (!looks[0].revents().is_empty(), !looks[1].revents().is_empty())
    }

    /// Whether the process is there, as far as is known.
    pub(super) fn expect_open(&self) -> Result<(), Fault> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    /// Whether the process is there and says nothing, as it should between frames.
    pub(super) fn expect_silence(&mut self) -> Result<(), Fault> {
        self.expect_open()?;
        match self.look(Duration::ZERO) {
            (false, false) => Ok(()),
            (_, true) => Err(self.end_ended(Phase::Idle)),
            (true, false) => match recv(&self.socket, &mut *self.message, RecvFlags::DONTWAIT) {
                Ok((1.., _)) => Err(self.end_for_nonsense(Phase::Idle)),
                Ok(_) | Err(_) => Err(self.end_ended(Phase::Idle)),
            },
        }
    }

    /// The process has ended, or is about to: how, and with which words.
    fn end_ended(&mut self, when: Phase) -> Fault {
        let by_itself = self.child.wait(LAST_MOMENTS);
        let how = match self.child.status().filter(|_| by_itself) {
            Some(status) => describe(status),
            None if by_itself => "it is gone".to_owned(),
            None => "it closed its socket and was killed".to_owned(),
        };
        self.end(|words| Fault::Died { when, how, words })
    }

    /// What it sent is no message.
    pub(super) fn end_for_nonsense(&mut self, when: Phase) -> Fault {
        let how = "it was killed for a message that makes no sense".to_owned();
        self.end(|words| Fault::Died { when, how, words })
    }

    /// Ends the process because of `fault`, which gets its last words where it has none of its own.
    pub(super) fn end_with(&mut self, fault: Fault) -> Fault {
        self.end(|last| match fault {
            Fault::NotOpened { words } if words.is_empty() => Fault::NotOpened { words: last },
            Fault::Model { text, words } if words.is_empty() => Fault::Model { text, words: last },
            Fault::Inference { words } if words.is_empty() => Fault::Inference { words: last },
            other => other,
        })
    }

    fn end(&mut self, fault: impl FnOnce(Vec<String>) -> Fault) -> Fault {
        self.child.kill();
        // Descriptors that it sent and nobody received, such as the other end of its words, go with their messages.
        while recv(&self.socket, &mut *self.message, RecvFlags::DONTWAIT).is_ok_and(|(length, _)| length > 0) {}
        self.listener.stop();
        let fault = fault(spoken::telling(self.listener.last_lines()));
        self.fault = Some(fault.clone());
        fault
    }
}

/// Whether a variable is none of a worker's business: settings of this program, and what is a secret by its name.
fn is_private(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let is_setting = name.starts_with("PSPNETD_") && name != "PSPNETD_ROOT";
    is_setting || name == "CREDENTIALS_DIRECTORY" || is_secret(&name)
}

/// `SIGABRT`, `exit code 1`.
fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            signal_hook::low_level::signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
        }
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_has_no_setting_and_no_secret_of_the_program() {
        for name in ["PSPNETD_HTTP_TOKEN_FILE", "CREDENTIALS_DIRECTORY", "MQTT_PASSWORD", "API_KEY", "db_secret"] {
            assert!(is_private(OsStr::new(name)), "{name}");
        }
        for name in ["PSPNETD_ROOT", "PATH", "LD_LIBRARY_PATH", "LIBUSB_DEBUG", "TZ", "OCL_ICD_VENDORS"] {
            assert!(!is_private(OsStr::new(name)), "{name}");
        }
    }
}
