//! The thread before a [`Target`], and the inlets that hand it lines without ever waiting for it.
//!
//! Buffers circulate between an inlet and the thread. Where an inlet has none free, the reader or the disk is too slow, and
//! its line is dropped and counted. Each inlet has buffers of its own, so that one can't take another's place.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, Sender};

use super::{Place, Target};
use crate::failure::SettingError;
use crate::outbox::{Closing, OutboxHealth};

/// A drain gives up when nothing was written for this long.
const STALLED: Duration = Duration::from_secs(5);
/// Time between two looks whether everything is written.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where lines are handed to the writer's thread.
pub struct Inlet {
    name: &'static str,
    full: Sender<Line>,
    free: Receiver<Vec<u8>>,
    back: Sender<Vec<u8>>,
    /// Buffers that exist; they are made when they are first needed.
    made: usize,
    queue: usize,
    dropped: u64,
    said: bool,
    counts: Arc<Counts>,
    /// Inlets of this writer that are open, this one included.
    open: Arc<AtomicUsize>,
    finished: Receiver<()>,
}

struct Line {
    bytes: Vec<u8>,
    is_synced: bool,
    back: Sender<Vec<u8>>,
    counts: Arc<Counts>,
}

/// What became of an inlet's lines.
#[derive(Debug, Default)]
struct Counts {
    taken: AtomicU64,
    written: AtomicU64,
    lost: AtomicU64,
    gone: AtomicBool,
}

/// Starts the thread.
pub struct Writer;

impl Writer {
    /// Opens `place` and starts the thread before it; one inlet for each entry of `queues`, which is how many lines may wait
    /// there. The thread ends with the last of them.
    ///
    /// # Errors
    /// When the path can't be written for a reason that waiting doesn't mend.
    pub fn start(place: &Place, queues: &[usize]) -> Result<Vec<Inlet>, SettingError> {
        let target = Target::open(place)?;
        let (full, lines) = bounded::<Line>(queues.iter().map(|&queue| queue.max(1)).sum());
        let (finish, finished) = bounded::<()>(0);
        let writer = move || {
            write_lines(target, &lines);
            drop(finish);
        };
        thread::Builder::new().name(place.name.to_owned()).spawn(writer).map_err(|error| SettingError {
            key: place.key.into(),
            value: place.path.clone(),
            reason: format!("no thread can be started: {error}"),
        })?;
        let open = Arc::new(AtomicUsize::new(queues.len()));
        let inlet = |&queue: &usize| {
            let queue = queue.max(1);
            let (back, free) = bounded::<Vec<u8>>(queue);
            Inlet {
                name: place.name,
                full: full.clone(),
                free,
                back,
                made: 0,
                queue,
                dropped: 0,
                said: false,
                counts: Arc::default(),
                open: Arc::clone(&open),
                finished: finished.clone(),
            }
        };
        Ok(queues.iter().map(inlet).collect())
    }
}

impl Inlet {
    /// Hands over the line that `fill` writes, with its newline, or drops and counts it. True when it was taken. A line that
    /// `is_synced` is on the disk before the next, where the file's policy has that.
    pub fn put(&mut self, is_synced: bool, fill: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Some(mut bytes) = self.buffer() else {
            self.drop_one("the reader or the disk is slower than the frames");
            return false;
        };
        fill(&mut bytes);
        bytes.push(b'\n');
        self.counts.taken.fetch_add(1, Ordering::Relaxed);
        let line = Line { bytes, is_synced, back: self.back.clone(), counts: Arc::clone(&self.counts) };
        if self.full.try_send(line).is_err() {
            self.counts.taken.fetch_sub(1, Ordering::Relaxed);
            self.drop_one("the writer has ended");
            return false;
        }
        self.said = false;
        true
    }

    fn buffer(&mut self) -> Option<Vec<u8>> {
        if let Ok(buffer) = self.free.try_recv() {
            return Some(buffer);
        }
        if self.made < self.queue {
            self.made += 1;
            return Some(Vec::with_capacity(1024));
        }
        None
    }

    fn drop_one(&mut self, why: &str) {
        self.dropped += 1;
        if !self.said {
            self.said = true;
            log::warn!("{}: {why}; lines are dropped and counted until that changes", self.name);
        }
    }

    /// Lines that were dropped or lost, and whether nothing can ever be written again.
    pub fn health(&self) -> OutboxHealth {
        OutboxHealth {
            dropped: self.dropped + self.counts.lost.load(Ordering::Relaxed),
            gone: self.counts.gone.load(Ordering::Relaxed),
        }
    }

    /// Waits until what was handed over is written, as far as `closing` allows; with the last inlet, until the file is
    /// synced as well.
    pub fn close(self, closing: Closing) -> OutboxHealth {
        let Self { name, full, dropped, counts, open: others, finished, .. } = self;
        others.fetch_sub(1, Ordering::Relaxed);
        drop(full);
        let start = Instant::now();
        let mut progress = Progress { done: counts.done(), since: start };
        loop {
            let is_over = finished.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Disconnected);
            let (done, now) = (counts.done(), Instant::now());
            let is_stalled = progress.is_stalled(done, now);
            let is_written = done == counts.taken.load(Ordering::Relaxed);
            let is_enough = match closing {
                // Somebody else's inlet keeps the thread going.
                _ if is_written && others.load(Ordering::Relaxed) > 0 => true,
                Closing::Within(limit) => now.duration_since(start) >= limit,
                Closing::Drain => is_stalled,
            };
            if is_over || is_enough {
                break;
            }
        }
        let unwritten = counts.taken.load(Ordering::Relaxed).saturating_sub(counts.done());
        if unwritten > 0 {
            log::error!("{name}: {unwritten} lines could not be written before the end");
        }
        OutboxHealth {
            dropped: dropped + counts.lost.load(Ordering::Relaxed) + unwritten,
            gone: counts.gone.load(Ordering::Relaxed),
        }
    }
}

impl Counts {
    fn done(&self) -> u64 {
        self.written.load(Ordering::Relaxed) + self.lost.load(Ordering::Relaxed)
    }
}

/// How far a drain has come.
struct Progress {
    done: u64,
    /// When the last line was written.
    since: Instant,
}

impl Progress {
    /// Whether nothing was written for too long, where `done` lines are written `now`.
    fn is_stalled(&mut self, done: u64, now: Instant) -> bool {
        if done != self.done {
            *self = Self { done, since: now };
        }
        now.duration_since(self.since) > STALLED
    }
}

fn write_lines(mut target: Target, lines: &Receiver<Line>) {
    lines.into_iter().for_each(|line| write_line(&mut target, line));
    target.finish();
}

fn write_line(target: &mut Target, line: Line) {
    let Line { mut bytes, is_synced, back, counts } = line;
    let is_written = target.write(&bytes);
    if is_written && is_synced {
        target.sync_on_demand();
    }
    let counter = if is_written { &counts.written } else { &counts.lost };
    counter.fetch_add(1, Ordering::Relaxed);
    if target.is_gone() {
        counts.gone.store(true, Ordering::Relaxed);
    }
    bytes.clear();
    // There is room for every buffer that was made; when the inlet is closed nobody wants it back.
    let _ = back.try_send(bytes);
}

#[cfg(any(test, feature = "testing"))]
pub(super) mod testing;
#[cfg(test)]
mod tests;
