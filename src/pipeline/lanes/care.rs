//! When a device counts as hung, and how long one that fails is left alone.

use std::time::Duration;

use base::back_off::BackOff;
use base::clock::Instant;

/// How many times the usual an answer may take.
const FACTOR: u32 = 5;
/// A device's deadline that is worked out is never shorter: a busy machine must not look like a broken device.
pub(super) const SHORTEST: Duration = Duration::from_millis(500);
/// Times that the 99th percentile is taken of.
const KEPT: usize = 256;
/// New times after which it is worked out again.
const EVERY: usize = 16;
/// A device that answers for so long has recovered: its next failure is a new one.
const PROVEN: Duration = Duration::from_secs(10);
/// Changes that end a pause at once: what it takes to unplug a device, plug it in again and give it its firmware.
const HASTY: u32 = 5;
/// Time after which one more may. More than that are a loose cable, or a file that somebody keeps touching, and no reason to
/// hurry.
const REFILL: Duration = Duration::from_secs(10);

/// How long one worker may take for an answer.
#[derive(Debug)]
pub(super) struct Deadline {
    fixed: Option<Duration>,
    micros: [u32; KEPT],
    noted: usize,
    shortest: Duration,
    worked_out: Duration,
}

impl Deadline {
    /// `fixed` where it is configured, else at least `shortest`.
    pub(super) fn new(fixed: Option<Duration>, shortest: Duration) -> Self {
        Self { fixed, micros: [0; KEPT], noted: 0, shortest, worked_out: shortest }
    }

    /// Starts anew, from the time that the test picture took.
    pub(super) fn begin(&mut self, first: Duration) {
        self.noted = 0;
        self.note(first);
        self.work_out();
    }

    /// Adds the time of one answer.
    pub(super) fn note(&mut self, time: Duration) {
        self.micros[self.noted % KEPT] = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        self.noted += 1;
        if self.noted.is_multiple_of(EVERY) {
            self.work_out();
        }
    }

    /// The time that the next answer may take.
    pub(super) fn now(&self) -> Duration {
        self.fixed.unwrap_or(self.worked_out)
    }

    fn work_out(&mut self) {
        let mut sorted = self.micros;
        let kept = &mut sorted[..self.noted.min(KEPT)];
        let rank = (kept.len() * 99).div_ceil(100).saturating_sub(1);
        let (_, p99, _) = kept.select_nth_unstable(rank);
        self.worked_out = self.shortest.max(FACTOR * Duration::from_micros(u64::from(*p99)));
    }
}

/// Pauses between the attempts to bring one device up.
#[derive(Debug)]
pub(super) struct Patience {
    back_off: BackOff,
    up_since: Option<Instant>,
    /// Changes that may still end a pause at once, and since when there is one more.
    hasty: u32,
    refilled: Option<Instant>,
}

impl Patience {
    /// Pauses up to `longest`.
    pub(super) const fn new(longest: Duration) -> Self {
        Self { back_off: BackOff::new(longest), up_since: None, hasty: HASTY, refilled: None }
    }

    /// The device works.
    pub(super) fn up(&mut self, now: Instant) {
        self.up_since = Some(now);
    }

    /// The device failed: how long it is left alone.
    pub(super) fn down(&mut self, now: Instant) -> Duration {
        if self.up_since.take().is_some_and(|since| now.since(since) >= PROVEN) {
            self.back_off.reset();
        }
        self.back_off.pause()
    }

    /// The device has come back or changed: whether it is worth an attempt at once. Whatever happened before is past then,
    /// unless this happens all the time.
    pub(super) fn returned(&mut self, now: Instant) -> bool {
        let since = *self.refilled.get_or_insert(now);
        let refills = now.since(since).as_nanos() / REFILL.as_nanos();
        if refills > 0 {
            self.hasty = self.hasty.saturating_add(u32::try_from(refills).unwrap_or(u32::MAX)).min(HASTY);
            self.refilled = Some(now);
        }
        if self.hasty == 0 {
            return false;
        }
        if self.hasty == HASTY {
            self.back_off.reset();
        }
        self.hasty -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_deadline_follows_the_slowest_hundredth_but_not_one_outlier() {
        let mut deadline = Deadline::new(None, SHORTEST);
        deadline.begin(ms(20));
        assert_eq!(deadline.now(), SHORTEST);
        for _ in 0..KEPT - 1 {
            deadline.note(ms(200));
        }
        deadline.note(ms(900));
        assert_eq!(deadline.now(), ms(1000));
        for _ in 0..KEPT {
            deadline.note(ms(30));
        }
        assert_eq!(deadline.now(), SHORTEST);
        // A slow model has the time that it needs from its first frame on.
        deadline.begin(ms(2_000));
        assert_eq!(deadline.now(), ms(10_000));
    }

    #[test]
    fn a_configured_deadline_stays() {
        let mut deadline = Deadline::new(Some(ms(50)), SHORTEST);
        deadline.begin(ms(20));
        assert_eq!(deadline.now(), ms(50));
    }

    #[test]
    fn pauses_grow_until_a_device_has_proven_itself() {
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let mut patience = Patience::new(ms(1000));
        assert_eq!([0, 1, 2, 3, 4].map(|_| patience.down(at(0))), [200, 400, 800, 1000, 1000].map(ms));
        patience.up(at(0));
        assert_eq!(patience.down(at(9_999)), ms(1000));
        patience.up(at(20_000));
        assert_eq!(patience.down(at(30_000)), ms(200));
        assert_eq!(patience.down(at(30_000)), ms(400));
        assert!(patience.returned(at(31_000)));
        assert_eq!(patience.down(at(31_000)), ms(200));
        assert!(patience.returned(at(31_500)));
        assert_eq!(patience.down(at(31_500)), ms(400), "a loose cable");
    }

    #[test]
    fn what_changes_all_the_time_is_left_alone_all_the_same() {
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let mut patience = Patience::new(ms(30_000));
        // A change every 250 ms for an hour.
        let hurried = (0..4 * 3600).filter(|change| patience.returned(at(change * 250))).count();
        assert!((360..=370).contains(&hurried), "{hurried} attempts in an hour");
        let pauses: Vec<Duration> = (0..10).map(|_| patience.down(at(3_600_000))).collect();
        assert_eq!(pauses[9], ms(30_000));
        // Quiet for a while: a return is news again.
        assert!(patience.returned(at(3_700_000)));
        assert_eq!(patience.down(at(3_700_000)), ms(200));
    }
}
