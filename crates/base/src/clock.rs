//! The only place that asks what time it is.
//!
//! Intervals and deadlines use the kernel's monotonic clock, the one that V4L2 stamps frames with; the wall clock is
//! only ever printed. Code that needs time takes a [`Clock`], so that a test can hand in [`ManualClock`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{clock_gettime, ClockId};

/// A reading of `CLOCK_MONOTONIC`, in nanoseconds since an arbitrary start (on Linux: boot).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// An instant from the kernel's seconds and microseconds, as V4L2 buffers carry them.
    pub const fn from_timeval(seconds: u64, microseconds: u64) -> Self {
        Self(seconds * 1_000_000_000 + microseconds * 1_000)
    }

    /// An instant that lies `nanoseconds` after the clock's start.
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since the clock's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero where `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `self` moved by `by` into the future.
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The monotonic clock, for intervals.
    fn now(&self) -> Instant;
    /// The wall clock, for printing.
    fn wall(&self) -> jiff::Timestamp;
}

/// The kernel's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        let t = clock_gettime(ClockId::Monotonic);
        // CLOCK_MONOTONIC starts at zero and never runs back, so both fields are non-negative.
        Instant(t.tv_sec.unsigned_abs() * 1_000_000_000 + t.tv_nsec.unsigned_abs())
    }

    fn wall(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug, Default)]
pub struct ManualClock {
    nanos: AtomicU64,
}

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.nanos.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant(self.nanos.load(Ordering::SeqCst))
    }

    fn wall(&self) -> jiff::Timestamp {
        let nanos = i128::from(self.nanos.load(Ordering::SeqCst));
        jiff::Timestamp::from_nanosecond(nanos).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_back() {
        let early = Instant::from_timeval(2, 500_000);
        let late = early.after(Duration::from_millis(250));
        assert_eq!(late.since(early), Duration::from_millis(250));
        assert_eq!(early.since(late), Duration::ZERO);
        let clock = SystemClock;
        assert!(clock.now() <= clock.now());
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::default();
        let start = clock.now();
        clock.advance(Duration::from_secs(3));
        assert_eq!(clock.now().since(start), Duration::from_secs(3));
        assert_eq!(clock.wall().as_second(), 3);
    }
}
