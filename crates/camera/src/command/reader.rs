//! The thread that reads the frames that a command writes, of which the newest waits to be taken. It reads as fast as the
//! command writes, so that a slow pipeline never holds it.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::ChildStdout;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base::child::{is_readable, never_wait};
use base::clock::{Clock, Instant};
use base::sync::lock;

use super::super::mjpeg::BUFFER;
use super::frames::{Cut, Cutter, Expected, Found, Refusal};

/// What the pipe may hold: a raw VGA frame and more, so that it comes in few pieces. Its default is 64 KiB.
const PIPE: usize = 1 << 20;

/// A frame as it came.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    /// Its bytes, still compressed where they are.
    pub(super) bytes: Vec<u8>,
    /// When its first byte was read.
    pub(super) at: Instant,
    /// Its number, from 0; frames that can't be used count.
    pub(super) sequence: u64,
}

/// Where the reading thread and the pipeline meet.
#[derive(Default)]
pub(super) struct Meeting {
    state: Mutex<Heard>,
    changed: Condvar,
    stop: AtomicBool,
}

/// What waits to be taken.
#[derive(Default)]
pub(super) struct Heard {
    /// What the command was found to send.
    pub(super) found: Option<Found>,
    newest: Option<Arrived>,
    spare: Vec<Vec<u8>>,
    next: u64,
    skipped: u64,
    faults: u64,
    fault: String,
    end: Option<Result<(), Refusal>>,
}

/// What [`Meeting::take`] found.
pub(super) enum Taken {
    Frame(Arrived),
    Fault(String),
    /// Nothing more will come; the error says why where it was not the command's doing.
    End(Result<(), Refusal>),
    Nothing,
}

impl Meeting {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        // Every critical section leaves the state whole.
        lock(&self.state)
    }

    /// Waits at most `limit` for something to take.
    pub(super) fn take(&self, limit: Duration) -> (Taken, Option<Found>) {
        let nothing = |state: &mut Heard| state.newest.is_none() && state.faults == 0 && state.end.is_none();
        let waited = self.changed.wait_timeout_while(self.lock(), limit, nothing);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let found = state.found;
        if state.faults > 0 {
            state.faults -= 1;
            return (Taken::Fault(state.fault.clone()), found);
        }
        if let Some(frame) = state.newest.take() {
            return (Taken::Frame(frame), found);
        }
        match &mut state.end {
            // Taken once; asked for again, there is nothing to add.
            Some(end) => (Taken::End(std::mem::replace(end, Ok(()))), found),
            None => (Taken::Nothing, found),
        }
    }

    /// Gives a frame's buffer back.
    pub(super) fn give_back(&self, buffer: Vec<u8>) {
        self.lock().spare.push(buffer);
    }

    /// Frames that a newer one replaced, since the last call.
    pub(super) fn take_skipped(&self) -> u64 {
        std::mem::take(&mut self.lock().skipped)
    }

    /// Makes the thread end soon.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Makes `buffer` the newest frame; returns the buffer for the next.
    fn put(&self, bytes: Vec<u8>, at: Instant) -> Vec<u8> {
        let mut state = self.lock();
        let arrived = Arrived { bytes, at, sequence: state.next };
        state.next += 1;
        let old = state.newest.replace(arrived);
        state.skipped += u64::from(old.is_some());
        let buffer = old.map(|old| old.bytes).or_else(|| state.spare.pop());
        drop(state);
        self.changed.notify_one();
        buffer.unwrap_or_default()
    }

    fn fault(&self, reason: String) {
        let mut state = self.lock();
        state.next += 1;
        state.faults += 1;
        state.fault = reason;
        drop(state);
        self.changed.notify_one();
    }

    fn end(&self, end: Result<(), Refusal>) {
        self.lock().end = Some(end);
        self.changed.notify_one();
    }
}

/// A pipe that is read until its end or the order to stop.
struct Pipe<F> {
    pipe: F,
    meeting: Arc<Meeting>,
    clock: Arc<dyn Clock>,
    /// When something was read last.
    last: Instant,
}

impl<F: Read + AsFd> Pipe<F> {
    fn is_stopped(&self) -> bool {
        self.meeting.stop.load(Ordering::SeqCst)
    }
}

impl<F: Read + AsFd> Read for Pipe<F> {
    /// The order to stop looks like the end.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !self.is_stopped() {
            if !is_readable(&self.pipe)? {
                continue;
            }
            match self.pipe.read(out) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => {
                    self.last = self.clock.now();
                    return read;
                }
            }
        }
        Ok(0)
    }
}

/// Starts the thread that cuts `stdout` into frames.
pub(super) fn read_frames(
    stdout: ChildStdout,
    expected: Expected,
    meeting: &Arc<Meeting>,
    clock: &Arc<dyn Clock>,
) -> io::Result<JoinHandle<()>> {
    never_wait(&stdout)?;
    // Without leave to make it larger it stays as it is, and works as well.
    let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE);
    let length = match expected {
        Expected::Raw(raw) => raw.bytes(),
        Expected::Any | Expected::Jpeg => BUFFER,
    };
    // One is filled here, one waits, one is looked at.
    meeting.lock().spare = (0..2).map(|_| Vec::with_capacity(length)).collect();
    let pipe = Pipe { pipe: stdout, meeting: Arc::clone(meeting), clock: Arc::clone(clock), last: clock.now() };
    let meeting = Arc::clone(meeting);
    let body = move || {
        let end = cut_frames(pipe, expected, &meeting, Vec::with_capacity(length));
        meeting.end(end);
    };
    thread::Builder::new().name("command-out".to_owned()).spawn(body)
}

fn cut_frames(
    pipe: Pipe<ChildStdout>,
    expected: Expected,
    meeting: &Meeting,
    mut frame: Vec<u8>,
) -> Result<(), Refusal> {
    let Some(mut cutter) = Cutter::open(pipe, expected)? else { return Ok(()) };
    meeting.lock().found = Some(cutter.found());
    loop {
        let found = cutter.find()?;
        let at = cutter.input().last;
        let next = match found {
            Some(other) => other,
            None => cutter.cut(&mut frame)?,
        };
        match next {
            Cut::Frame => frame = meeting.put(frame, at),
            // The order to stop cuts a frame as well, and that is nobody's fault.
            Cut::Broken(reason) if !cutter.input().is_stopped() => meeting.fault(reason),
            Cut::Broken(_) => {}
            Cut::End => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_frame_waits_and_the_others_are_counted() {
        let meeting = Meeting::default();
        let mut buffer = Vec::new();
        for value in 0..5u8 {
            buffer.clear();
            buffer.push(value);
            buffer = meeting.put(buffer, Instant::from_nanos(u64::from(value)));
        }
        let (Taken::Frame(frame), _) = meeting.take(Duration::ZERO) else { panic!() };
        assert_eq!((frame.bytes, frame.at, frame.sequence), (vec![4], Instant::from_nanos(4), 4));
        assert_eq!((meeting.take_skipped(), meeting.take_skipped()), (4, 0));
        assert!(matches!(meeting.take(Duration::ZERO).0, Taken::Nothing));
    }

    #[test]
    fn faults_are_all_told_and_the_end_comes_last() {
        let meeting = Meeting::default();
        let _ = meeting.put(vec![7], Instant::default());
        meeting.fault("one".to_owned());
        meeting.fault("two".to_owned());
        meeting.end(Ok(()));
        for _ in 0..2 {
            let (Taken::Fault(reason), _) = meeting.take(Duration::ZERO) else { panic!() };
            assert_eq!(reason, "two");
        }
        assert!(matches!(meeting.take(Duration::ZERO).0, Taken::Frame(_)));
        assert!(matches!(meeting.take(Duration::ZERO).0, Taken::End(Ok(()))));
    }

    #[test]
    fn buffers_circulate() {
        let meeting = Meeting::default();
        meeting.lock().spare = vec![Vec::with_capacity(100), Vec::with_capacity(100)];
        let mut buffer = Vec::with_capacity(100);
        for value in 0..20u8 {
            buffer.clear();
            buffer.push(value);
            buffer = meeting.put(buffer, Instant::default());
            assert_eq!(buffer.capacity(), 100);
            if value % 3 == 0 {
                let (Taken::Frame(frame), _) = meeting.take(Duration::ZERO) else { panic!() };
                meeting.give_back(frame.bytes);
            }
        }
    }
}
