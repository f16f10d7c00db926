//! [`Outbox`]: a queue with a thread behind it, for whatever leaves the pipeline.
//!
//! Whoever puts something in never waits. Items circulate between the outbox and its thread, so that nothing is allocated once
//! as many exist as were ever needed at the same time. Where none is free, the other end is too slow, and what should be put in
//! is dropped and counted. Several outboxes can share one thread; each has items of its own, so that one can't take another's
//! place.

#[cfg(any(test, feature = "testing"))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, Sender};

/// A drain gives up when nothing was carried for this long.
const STALLED: Duration = Duration::from_secs(5);
/// Drops that are no further apart than this are told once. A reader that is only a little too slow makes room again and again.
const SPELL: Duration = Duration::from_secs(10);
/// Time between two looks whether everything is carried.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How much time an outbox gets to finish what it has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// As long as it makes progress: a replayed source came to its end.
    Drain,
    /// This long: the program was told to stop.
    Within(Duration),
}

/// How an outbox is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxHealth {
    /// Items that were not taken or got lost on the way, so far.
    pub dropped: u64,
    /// Nothing will ever arrive there again.
    pub gone: bool,
}

/// What became of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrived.
    Carried,
    /// It is lost; the next may arrive.
    Lost,
    /// It is lost, and so is whatever comes after it.
    Gone,
}

/// The thread's half: carries items to where they go.
pub trait Carrier<T>: Send + 'static {
    /// Runs once, on the thread, before the first item.
    fn begin(&mut self) {}

    /// Carries one item, and leaves it ready to be filled again.
    fn carry(&mut self, item: &mut T) -> Fate;

    /// Nothing came for [`Words::rest_after`]; items that lie unused are freed by then.
    fn rest(&mut self) {}

    /// Runs once, after the last item.
    fn finish(&mut self) {}
}

/// What an outbox is called, and what is said of it.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// Its name in the log, and its thread's.
    pub name: &'static str,
    /// What its items are, in the plural.
    pub items: &'static str,
    /// Why nothing more can be put in, when that happens.
    pub slow: &'static str,
    /// Items that lie unused are freed after so long; None keeps them.
    pub rest_after: Option<Duration>,
}

/// A queue with a thread behind it.
#[derive(Debug)]
pub struct Outbox<T> {
    words: Words,
    full: Sender<Item<T>>,
    free: Receiver<T>,
    back: Sender<T>,
    /// Items that exist; they are made when they are first needed.
    made: Arc<AtomicUsize>,
    queue: usize,
    dropped: u64,
    /// When the last item was dropped.
    last_drop: Option<Instant>,
    counts: Arc<Counts>,
    /// Outboxes before this thread that are open, this one included.
    open: Arc<AtomicUsize>,
    finished: Receiver<()>,
}

#[derive(Debug)]
struct Item<T> {
    value: T,
    back: Sender<T>,
    counts: Arc<Counts>,
}

/// What became of an outbox's items.
#[derive(Debug, Default)]
struct Counts {
    taken: AtomicU64,
    carried: AtomicU64,
    lost: AtomicU64,
    gone: AtomicBool,
}

impl Counts {
    fn done(&self) -> u64 {
        self.carried.load(Ordering::Relaxed) + self.lost.load(Ordering::Relaxed)
    }
}

impl<T: Default + Send + 'static> Outbox<T> {
    /// Starts the thread of `carrier` with one outbox for each entry of `queues`, which is how many items may wait there. The
    /// thread ends with the last of them.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub fn start(words: Words, queues: &[usize], carrier: impl Carrier<T>) -> io::Result<Vec<Self>> {
        let (full, items) = bounded::<Item<T>>(queues.iter().map(|&queue| queue.max(1)).sum());
        let (finish, finished) = bounded::<()>(0);
        let open = Arc::new(AtomicUsize::new(queues.len()));
        let outbox = |&queue: &usize| {
            let queue = queue.max(1);
            let (back, free) = bounded(queue);
            Self {
                words,
                full: full.clone(),
                free,
                back,
                made: Arc::default(),
                queue,
                dropped: 0,
                last_drop: None,
                counts: Arc::default(),
                open: Arc::clone(&open),
                finished: finished.clone(),
            }
        };
        let outboxes: Vec<Self> = queues.iter().map(outbox).collect();
        let spare: Vec<_> = outboxes.iter().map(|outbox| (outbox.free.clone(), Arc::clone(&outbox.made))).collect();
        thread::Builder::new().name(words.name.to_owned()).spawn(move || {
            // Dropped with the thread, however that ends.
            let _finish = finish;
            run(carrier, &items, words.rest_after, &spare);
        })?;
        Ok(outboxes)
    }

    /// Puts in what `fill` makes of an item, or drops and counts it. True when it was taken.
    pub fn put(&mut self, fill: impl FnOnce(&mut T)) -> bool {
        match self.try_put(fill) {
            Ok(()) => true,
            Err(why) => {
                self.drop_one(why, Instant::now());
                false
            }
        }
    }

    /// As [`Outbox::put`], where it is no loss that there is no room.
    pub fn offer(&mut self, fill: impl FnOnce(&mut T)) -> bool {
        self.try_put(fill).is_ok()
    }

    fn try_put(&mut self, fill: impl FnOnce(&mut T)) -> Result<(), &'static str> {
        let Some(mut value) = self.item() else { return Err(self.words.slow) };
        fill(&mut value);
        self.counts.taken.fetch_add(1, Ordering::Relaxed);
        let item = Item { value, back: self.back.clone(), counts: Arc::clone(&self.counts) };
        if let Err(unsent) = self.full.try_send(item) {
            self.counts.taken.fetch_sub(1, Ordering::Relaxed);
            self.counts.gone.store(true, Ordering::Relaxed);
            let _ = self.back.try_send(unsent.into_inner().value);
            return Err("its thread has ended");
        }
        Ok(())
    }

    fn item(&self) -> Option<T> {
        if let Ok(item) = self.free.try_recv() {
            return Some(item);
        }
        if self.made.load(Ordering::Relaxed) < self.queue {
            self.made.fetch_add(1, Ordering::Relaxed);
            return Some(T::default());
        }
        None
    }

    fn drop_one(&mut self, why: &str, now: Instant) {
        self.dropped += 1;
        if self.begins_spell(now) {
            let Words { name, items, .. } = self.words;
            log::warn!("{name}: {why}; {items} are dropped and counted until that changes");
        }
    }

    /// Whether a drop `now` is the first of several.
    fn begins_spell(&mut self, now: Instant) -> bool {
        self.last_drop.replace(now).is_none_or(|last| now.duration_since(last) > SPELL)
    }

    /// Tells others whether there is room.
    pub fn room(&self) -> Room<T> {
        Room { free: self.free.clone(), made: Arc::clone(&self.made), queue: self.queue }
    }

    /// Items that were dropped or lost, and whether nothing can ever arrive again.
    pub fn health(&self) -> OutboxHealth {
        OutboxHealth {
            dropped: self.dropped + self.counts.lost.load(Ordering::Relaxed),
            gone: self.counts.gone.load(Ordering::Relaxed),
        }
    }

    /// Waits until what was put in is carried, as far as `closing` allows; with the last outbox of a thread, until that has
    /// finished as well.
    pub fn close(self, closing: Closing) -> OutboxHealth {
        let Self { words, full, dropped, counts, open: others, finished, .. } = self;
        others.fetch_sub(1, Ordering::Relaxed);
        drop(full);
        let start = Instant::now();
        let mut progress = Progress { done: counts.done(), since: start };
        loop {
            let is_over = finished.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Disconnected);
            let (done, now) = (counts.done(), Instant::now());
            let is_stalled = progress.is_stalled(done, now);
            let is_carried = done == counts.taken.load(Ordering::Relaxed);
            let is_enough = match closing {
                // Another outbox keeps the thread going.
                _ if is_carried && others.load(Ordering::Relaxed) > 0 => true,
                Closing::Within(limit) => now.duration_since(start) >= limit,
                Closing::Drain => is_stalled,
            };
            if is_over || is_enough {
                break;
            }
        }
        let left = counts.taken.load(Ordering::Relaxed).saturating_sub(counts.done());
        if left > 0 {
            log::error!("{}: {left} {} could not be written before the end", words.name, words.items);
        }
        OutboxHealth {
            dropped: dropped + counts.lost.load(Ordering::Relaxed) + left,
            gone: counts.gone.load(Ordering::Relaxed),
        }
    }
}

/// Whether an outbox has room, for those who would make something only then.
#[derive(Debug)]
pub struct Room<T> {
    free: Receiver<T>,
    made: Arc<AtomicUsize>,
    queue: usize,
}

impl<T> Room<T> {
    /// Whether something could be put in now.
    pub fn is_there(&self) -> bool {
        !self.free.is_empty() || self.made.load(Ordering::Relaxed) < self.queue
    }
}

/// How far a drain has come.
struct Progress {
    done: u64,
    /// When the last item was carried.
    since: Instant,
}

impl Progress {
    /// Whether nothing was carried for too long, where `done` items are `now`.
    fn is_stalled(&mut self, done: u64, now: Instant) -> bool {
        if done != self.done {
            *self = Self { done, since: now };
        }
        now.duration_since(self.since) > STALLED
    }
}

fn run<T: Default>(
    mut carrier: impl Carrier<T>,
    items: &Receiver<Item<T>>,
    rest_after: Option<Duration>,
    spare: &[(Receiver<T>, Arc<AtomicUsize>)],
) {
    carrier.begin();
    let mut is_warm = false;
    loop {
        let item = match rest_after.filter(|_| is_warm) {
            Some(limit) => items.recv_timeout(limit),
            None => items.recv().map_err(Into::into),
        };
        match item {
            Ok(item) => {
                carry(&mut carrier, item);
                is_warm = true;
            }
            Err(RecvTimeoutError::Timeout) => {
                is_warm = false;
                carrier.rest();
                for (free, made) in spare {
                    free.try_iter().for_each(|_| {
                        made.fetch_sub(1, Ordering::Relaxed);
                    });
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    carrier.finish();
}

fn carry<T>(carrier: &mut impl Carrier<T>, item: Item<T>) {
    let Item { mut value, back, counts } = item;
    let fate = carrier.carry(&mut value);
    let counter = if fate == Fate::Carried { &counts.carried } else { &counts.lost };
    counter.fetch_add(1, Ordering::Relaxed);
    if fate == Fate::Gone {
        counts.gone.store(true, Ordering::Relaxed);
    }
    // There is room for every item that was made; when the outbox is closed nobody wants it back.
    let _ = back.try_send(value);
}
