//! The thread that reads what a child says on its standard error, as fast as it says it, and puts it into the log.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::words::{Limit, Words};
use crate::clock::Clock;
use crate::shutdown::TICK;
use crate::sync::lock;

/// What is read at once.
const PIECE: usize = 4096;
/// Pieces that are still read after the order to stop: the child is gone then, but a child of it may go on writing.
const LAST_PIECES: usize = 16;

/// How much of what a program says still goes into the log: 50 lines at once, then one in 5 s. One for all runs of it, so that
/// a program that fails again and again doesn't fill the log.
#[derive(Clone, Debug, Default)]
pub struct LogLimit(Arc<Mutex<Limit>>);

/// Reads until the stream's end, or until it is dropped.
pub struct Listener {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    last: Mutex<Vec<String>>,
}

impl Listener {
    /// Starts the thread. `log` gets every line that the limit admits.
    pub fn start(
        thread_name: &str,
        stream: impl Read + AsFd + Send + 'static,
        limit: &LogLimit,
        clock: Arc<dyn Clock>,
        log: impl FnMut(&str) + Send + 'static,
    ) -> io::Result<Self> {
        never_wait(&stream)?;
        let shared = Arc::<Shared>::default();
        let (theirs, words) = (Arc::clone(&shared), Words::new(Arc::clone(&limit.0)));
        let body = move || read(stream, words, clock.as_ref(), &theirs, log);
        let thread = thread::Builder::new().name(thread_name.to_owned()).spawn(body)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The last lines so far, also those that were left out of the log; all of them after [`Self::stop`].
    pub fn last_lines(&self) -> Vec<String> {
        lock(&self.shared.last).clone()
    }

    /// Reads what is there and ends.
    pub fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic of it was printed by itself; there is nothing to add.
            let _ = thread.join();
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop();
    }
}

fn read(mut stream: impl Read + AsFd, mut words: Words, clock: &dyn Clock, shared: &Shared, mut log: impl FnMut(&str)) {
    let mut piece = [0; PIECE];
    let mut left = LAST_PIECES;
    let keep = |words: &Words| {
        let mut last = lock(&shared.last);
        last.clear();
        last.extend(words.last().iter().cloned());
    };
    while left > 0 {
        let is_stopped = shared.stop.load(Ordering::SeqCst);
        match is_readable(&stream) {
            Ok(false) if is_stopped => break,
            Ok(false) => continue,
            Ok(true) => {}
            Err(_) => break,
        }
        match stream.read(&mut piece) {
            Ok(count) if count > 0 => words.feed(&piece[..count], clock.now(), &mut log),
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Ok(_) | Err(_) => break,
        }
        keep(&words);
        left -= usize::from(is_stopped);
    }
    words.end(clock.now(), &mut log);
    keep(&words);
}

/// Makes reads of `stream` end at once where nothing is there. Between a look and the read a child may take back what it wrote:
/// it can open its end of a pipe for reading.
///
/// # Errors
/// The system's.
pub fn never_wait(stream: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(stream, true)?)
}

/// Whether there is something to read, or the end, within [`TICK`].
pub fn is_readable(stream: impl AsFd) -> io::Result<bool> {
    let limit = Timespec::try_from(TICK).unwrap_or_default();
    match poll(&mut [PollFd::new(&stream, PollFlags::IN)], Some(&limit)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use std::io::Write as _;
    use std::time::{Duration, Instant};

    fn listen(stream: io::PipeReader) -> (Listener, Arc<Mutex<Vec<String>>>) {
        let (lines, clock) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(SystemClock));
        let theirs = Arc::clone(&lines);
        let log = move |line: &str| theirs.lock().unwrap().push(line.to_owned());
        (Listener::start("test", stream, &LogLimit::default(), clock, log).unwrap(), lines)
    }

    #[test]
    fn what_was_said_before_the_end_is_heard() {
        let (reader, mut writer) = io::pipe().unwrap();
        let (mut listener, lines) = listen(reader);
        writer.write_all(b"one\ntwo\nthr").unwrap();
        drop(writer);
        listener.stop();
        assert_eq!(*lines.lock().unwrap(), ["one", "two", "thr"]);
        assert_eq!(listener.last_lines(), ["one", "two", "thr"]);
    }

    #[test]
    fn a_child_that_reads_its_own_words_holds_nobody() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut thief = reader.try_clone().unwrap();
        let (mut listener, _) = listen(reader);
        for _ in 0..2000 {
            writer.write_all(b"x").unwrap();
            let _ = thief.read(&mut [0]);
        }
        let start = Instant::now();
        listener.stop();
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_stream_that_others_hold_open_is_left() {
        let (reader, mut writer) = io::pipe().unwrap();
        let (mut listener, _) = listen(reader);
        writer.write_all(b"one\n").unwrap();
        let start = Instant::now();
        listener.stop();
        assert!(start.elapsed() < Duration::from_secs(30));
        assert_eq!(listener.last_lines(), ["one"]);
    }
}
