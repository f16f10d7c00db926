//! [`Pace`]: at most so many pictures per second, as evenly as the frames allow.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::clock::Instant;

/// When the next one is due. Frames that come a little late don't push the following ones back, so that the rate stays what
/// was asked for although it is no fraction of the camera's.
#[derive(Debug)]
pub(super) struct Pace {
    every: Duration,
    due_nanos: AtomicU64,
}

impl Pace {
    /// One for every `every`; the first is due at once.
    pub(super) fn new(every: Duration) -> Self {
        Self { every, due_nanos: AtomicU64::new(0) }
    }

    /// Time between two.
    pub(super) fn every(&self) -> Duration {
        self.every
    }

    /// True where the next one is due at `now`, or `hurry` later.
    pub(super) fn is_due(&self, now: Instant, hurry: Duration) -> bool {
        now.after(hurry).as_nanos() >= self.due_nanos.load(Ordering::Relaxed)
    }

    /// One was taken at `now`.
    pub(super) fn take(&self, now: Instant) {
        let due = Instant::from_nanos(self.due_nanos.load(Ordering::Relaxed));
        // After a rest nothing is made up for.
        let next = if now.since(due) > self.every { now } else { due }.after(self.every);
        self.due_nanos.store(next.as_nanos(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of a camera's frames are taken in `seconds`.
    fn taken(pace: &Pace, fps: u64, from: u64, seconds: u64) -> usize {
        let frames = (0..fps * seconds).map(|frame| Instant::from_nanos(from + frame * 1_000_000_000 / fps));
        frames
            .filter(|&now| {
                pace.is_due(now, Duration::ZERO) && {
                    pace.take(now);
                    true
                }
            })
            .count()
    }

    #[test]
    fn the_rate_holds_whatever_the_cameras_is() {
        for (fps, every, expected) in [(30, 100, 100), (25, 100, 100), (30, 50, 200), (7, 100, 70), (60, 1000, 10)] {
            let pace = Pace::new(Duration::from_millis(every));
            let count = taken(&pace, fps, 1_000_000_000, 10);
            assert!(count.abs_diff(expected) <= 1 + expected / 50, "{fps} fps, every {every} ms: {count}");
            // After a rest as before, without a burst.
            let count = taken(&pace, fps, 100_000_000_000, 10);
            assert!(count.abs_diff(expected) <= 1 + expected / 50, "{fps} fps, every {every} ms: {count} after a rest");
        }
    }

    #[test]
    fn one_that_is_late_by_less_than_a_turn_keeps_the_beat_and_a_later_one_begins_anew() {
        let at = Instant::from_nanos;
        for (now, next) in [(1000, 1100), (1099, 1100), (1100, 1100), (1101, 1201), (5000, 5100)] {
            let pace = Pace { every: Duration::from_nanos(100), due_nanos: AtomicU64::new(1000) };
            assert!(pace.is_due(at(now), Duration::ZERO) && !pace.is_due(at(999), Duration::ZERO));
            pace.take(at(now));
            assert_eq!(pace.due_nanos.into_inner(), next, "taken at {now}");
        }
    }

    #[test]
    fn who_is_in_a_hurry_need_not_wait_for_the_pace() {
        let (pace, now) = (Pace::new(Duration::from_secs(10)), Instant::from_nanos(20_000_000_000));
        pace.take(now);
        assert!(!pace.is_due(now.after(Duration::from_secs(1)), Duration::ZERO));
        assert!(pace.is_due(now.after(Duration::from_secs(1)), Duration::from_millis(9800)));
    }
}
