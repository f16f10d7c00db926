//! What the stage threads tell of themselves: counts, signs of life, the camera's state, how the run ended.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Engines;
use crate::clock::Instant;
use crate::telemetry::Counters;

/// State that all threads see.
#[derive(Debug)]
pub struct Shared {
    /// Frames by fate.
    pub counters: Counters,
    /// Signs of life.
    pub beats: Beats,
    /// What runs the model.
    pub engines: Engines,
    has_published: AtomicBool,
    words: Mutex<Words>,
    ending: Mutex<Option<Ending>>,
}

#[derive(Debug, Default)]
struct Words {
    camera: String,
    speed: String,
}

/// When each stage last went round its loop.
#[derive(Debug)]
pub struct Beats {
    capture: AtomicU64,
    /// One for each lane.
    infer: Box<[AtomicU64]>,
    publish: AtomicU64,
}

/// Why a run came to its end. The first reason stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The source had no more frames and every result was published.
    SourceEnded {
        /// Results that a sink lost.
        lost: u64,
    },
    /// A source that ends by itself failed before its end.
    SourceFailed(String),
    /// Nobody can receive results any more.
    SinksGone,
    /// A stage thread panicked.
    Panicked,
}

impl Shared {
    pub(super) fn new(now: Instant, lanes: usize, engines: Engines) -> Self {
        let beat = || AtomicU64::new(now.as_nanos());
        Self {
            counters: Counters::default(),
            beats: Beats { capture: beat(), infer: (0..lanes).map(|_| beat()).collect(), publish: beat() },
            engines,
            has_published: AtomicBool::new(false),
            words: Mutex::new(Words::default()),
            ending: Mutex::new(None),
        }
    }

    /// True once the first class map went to the sinks.
    pub fn has_published(&self) -> bool {
        self.has_published.load(Ordering::Relaxed)
    }

    pub(super) fn note_published(&self) {
        self.has_published.store(true, Ordering::Relaxed);
    }

    pub(super) fn set_camera(&self, words: &str) {
        let mut guard = lock(&self.words);
        guard.camera.clear();
        guard.camera.push_str(words);
    }

    /// Keeps the buffer, so that this costs no allocation.
    pub(super) fn set_speed(&self, fps: f64, latency: Duration) {
        let mut guard = lock(&self.words);
        guard.speed.clear();
        // Writing to a String can't fail.
        let _ = write!(guard.speed, "{fps:.1} fps, {:.1} ms end to end", latency.as_secs_f64() * 1e3);
    }

    /// One line about the present, for `STATUS=`.
    pub fn status(&self) -> String {
        let words = lock(&self.words);
        let engine = self.engines.status().unwrap_or_default();
        let parts = [words.speed.as_str(), &engine, words.camera.as_str()];
        let said: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        if said.is_empty() {
            return "starting".to_owned();
        }
        said.join("; ")
    }

    /// Notes why the run ends, unless that is known already.
    pub(super) fn end(&self, ending: Ending) {
        lock(&self.ending).get_or_insert(ending);
    }

    /// Why the run ended by itself; None while it runs, and where it was told to stop.
    pub fn ending(&self) -> Option<Ending> {
        lock(&self.ending).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves its value whole, so a panic elsewhere doesn't spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Beats {
    pub(super) fn capture(&self, now: Instant) {
        self.capture.store(now.as_nanos(), Ordering::Relaxed);
    }

    pub(super) fn infer(&self, lane: usize, now: Instant) {
        if let Some(beat) = self.infer.get(lane) {
            beat.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    pub(super) fn publish(&self, now: Instant) {
        self.publish.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// The stage that has been silent longest, and for how long.
    pub fn slowest(&self, now: Instant) -> (&'static str, Duration) {
        let age = |name, beat: &AtomicU64| (name, now.since(Instant::from_nanos(beat.load(Ordering::Relaxed))));
        let lanes = self.infer.iter().map(|beat| age("infer", beat));
        lanes.chain([age("publish", &self.publish)]).fold(age("capture", &self.capture), |slowest, stage| {
            if stage.1 > slowest.1 {
                stage
            } else {
                slowest
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_silent_stage_is_found() {
        let shared = Shared::new(Instant::from_nanos(0), 2, Engines::new("cpu", 0, true));
        let later = Instant::from_nanos(5_000_000_000);
        shared.beats.capture(later);
        shared.beats.publish(later);
        shared.beats.infer(0, later);
        assert_eq!(shared.beats.slowest(later), ("infer", Duration::from_secs(5)));
        shared.beats.infer(1, later);
        assert_eq!(shared.beats.slowest(later).1, Duration::ZERO);
    }

    #[test]
    fn the_first_ending_stays() {
        let shared = Shared::new(Instant::default(), 1, Engines::new("cpu", 0, true));
        shared.end(Ending::SinksGone);
        shared.end(Ending::Panicked);
        assert_eq!(shared.ending(), Some(Ending::SinksGone));
    }

    #[test]
    fn the_status_tells_speed_and_camera() {
        let shared = Shared::new(Instant::default(), 1, Engines::new("cpu", 0, true));
        assert_eq!(shared.status(), "starting");
        shared.set_camera("camera: waiting: gone");
        shared.set_speed(9.96, Duration::from_micros(52_340));
        assert_eq!(shared.status(), "10.0 fps, 52.3 ms end to end; camera: waiting: gone");
    }
}
