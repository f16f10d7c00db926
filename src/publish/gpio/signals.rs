//! When a light is on and a button pressed: the rules, free of pins and threads. Time comes in from outside.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use base::clock::Instant;

/// A result older than this says nothing about the present: the camera is gone, or the pipeline hangs.
pub(super) const STALE: Duration = Duration::from_secs(5);
/// Half a period of the heartbeat.
const HALF_BEAT: Duration = Duration::from_millis(500);
/// A button's level counts once it has stayed so long. Contacts bounce for some milliseconds.
const STEADY: Duration = Duration::from_millis(40);

/// What the publish thread knows, for the panel's thread to read. Zero nanoseconds are "never".
#[derive(Debug, Default)]
pub(super) struct Readings {
    result: AtomicU64,
    above: AtomicU64,
    share: AtomicU32,
}

impl Readings {
    /// Notes a result of `now`, of which the watched class covers `share`. Without a class that is zero and not above.
    pub(super) fn note(&self, now: Instant, share: f64, is_above: bool) {
        // The last digits of the share are only printed.
        self.share.store((share as f32).to_bits(), Ordering::Relaxed);
        let nanos = now.as_nanos().max(1);
        // Before the result itself: who sees the new result sees whether it was above. Who sees the old result and the
        // new "above" still sees that the newest result is above.
        if is_above {
            self.above.store(nanos, Ordering::Release);
        }
        self.result.store(nanos, Ordering::Release);
    }

    /// Forgets what was seen.
    pub(super) fn forget(&self) {
        self.result.store(0, Ordering::Release);
        self.above.store(0, Ordering::Release);
    }

    /// The share in the newest result.
    pub(super) fn share(&self) -> f64 {
        f64::from(f32::from_bits(self.share.load(Ordering::Relaxed)))
    }

    fn is_fresh(&self, now: Instant) -> bool {
        let result = self.result.load(Ordering::Acquire);
        result > 0 && now.since(Instant::from_nanos(result)) < STALE
    }
}

/// Whether the heartbeat's light is on: half a second on, half a second off, while results come.
pub(super) fn heartbeat(readings: &Readings, now: Instant) -> bool {
    readings.is_fresh(now) && (now.as_nanos() / HALF_BEAT.as_nanos() as u64).is_multiple_of(2)
}

/// The alarm: on while the newest result is above, and for `hold` after that.
#[derive(Debug)]
pub(super) struct Alarm {
    hold: Duration,
    until: Instant,
    seen: u64,
}

impl Alarm {
    pub(super) fn new(hold: Duration) -> Self {
        Self { hold, until: Instant::default(), seen: 0 }
    }

    /// True where there is an alarm at `now`. Not even a single result between two calls is overlooked.
    pub(super) fn is_on(&mut self, readings: &Readings, now: Instant) -> bool {
        // The result comes first: `above` can only have grown since, so a newer result is never taken for an older one.
        let (fresh, result) = (readings.is_fresh(now), readings.result.load(Ordering::Acquire));
        let above = readings.above.load(Ordering::Acquire);
        let is_news = above > self.seen;
        self.seen = self.seen.max(above);
        if is_news || (above > 0 && above >= result && fresh) {
            self.until = now.after(self.hold);
            return true;
        }
        now < self.until
    }

    /// Ends the alarm, whatever was left of it.
    pub(super) fn clear(&mut self) {
        self.until = Instant::default();
    }
}

/// A button whose contacts bounce.
#[derive(Debug)]
pub(super) struct Button {
    is_down: bool,
    /// Since when the level is another than `is_down`.
    differs_since: Option<Instant>,
}

impl Button {
    /// A button that is `is_down` now. One that is held at start is not pressed: that takes a release first.
    pub(super) const fn new(is_down: bool) -> Self {
        Self { is_down, differs_since: None }
    }

    /// Takes a look. True once per press.
    pub(super) fn was_pressed(&mut self, is_down: bool, now: Instant) -> bool {
        if is_down == self.is_down {
            self.differs_since = None;
            return false;
        }
        let since = *self.differs_since.get_or_insert(now);
        if now.since(since) < STEADY {
            return false;
        }
        self.is_down = is_down;
        self.differs_since = None;
        is_down
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        // Not at the clock's zero, where `since` could not tell "never".
        Instant::from_nanos(1_000_000_000_000 + millis * 1_000_000)
    }

    #[test]
    fn the_heart_beats_once_a_second_while_results_come() {
        let readings = Readings::default();
        assert!((0..40).all(|step| !heartbeat(&readings, at(step * 50))), "no result yet");
        let lit = |from: u64| (0..40).filter(|step| heartbeat(&readings, at(from + step * 50))).count();
        readings.note(at(0), 0.0, false);
        assert_eq!(lit(0), 20, "half of two seconds");
        let changes = (1..80)
            .filter(|step| heartbeat(&readings, at(step * 50)) != heartbeat(&readings, at((step - 1) * 50)))
            .count();
        assert_eq!(changes, 7, "of four seconds");
        assert!(lit(2900) > 0);
        assert_eq!(lit(5000), 0, "no result for five seconds");
        readings.note(at(9000), 0.0, false);
        assert_eq!(lit(9000), 20);
    }

    #[test]
    fn a_machine_that_has_only_just_started_has_no_result_either() {
        let (readings, mut alarm) = (Readings::default(), Alarm::new(Duration::from_secs(2)));
        let just_started = Instant::from_nanos(1);
        assert!(!heartbeat(&readings, just_started) && !alarm.is_on(&readings, just_started));
        readings.note(Instant::from_nanos(0), 0.5, true);
        assert!(heartbeat(&readings, just_started) && alarm.is_on(&readings, just_started));
    }

    #[test]
    fn an_alarm_stays_while_the_class_is_there_and_is_held_after() {
        let (readings, mut alarm) = (Readings::default(), Alarm::new(Duration::from_secs(2)));
        assert!(!alarm.is_on(&readings, at(0)));
        readings.note(at(0), 0.05, false);
        assert!(!alarm.is_on(&readings, at(10)));
        readings.note(at(100), 0.5, true);
        assert!(alarm.is_on(&readings, at(110)));
        assert_eq!(readings.share(), 0.5);
        // One slow frame: still there, far past the hold.
        assert!(alarm.is_on(&readings, at(4000)));
        readings.note(at(4010), 0.0, false);
        assert!(alarm.is_on(&readings, at(4020)));
        // Two seconds from the last look at which it was there.
        assert!(alarm.is_on(&readings, at(5999)));
        assert!(!alarm.is_on(&readings, at(6000)));
        assert!(!alarm.is_on(&readings, at(60_000)));
    }

    #[test]
    fn a_class_that_comes_back_within_the_hold_starts_it_anew() {
        let (readings, mut alarm) = (Readings::default(), Alarm::new(Duration::from_secs(2)));
        for second in 0..10 {
            readings.note(at(second * 1000), 0.0, second % 2 == 0);
            assert!(alarm.is_on(&readings, at(second * 1000 + 20)), "second {second}");
        }
    }

    #[test]
    fn without_a_hold_the_alarm_goes_with_the_class_and_sees_every_frame_of_it() {
        let (readings, mut alarm) = (Readings::default(), Alarm::new(Duration::ZERO));
        // Both between two looks.
        readings.note(at(1), 0.9, true);
        readings.note(at(11), 0.0, false);
        assert!(alarm.is_on(&readings, at(20)));
        assert!(!alarm.is_on(&readings, at(40)));
    }

    #[test]
    fn an_alarm_ends_when_results_stay_away() {
        let (readings, mut alarm) = (Readings::default(), Alarm::new(Duration::from_secs(2)));
        readings.note(at(0), 1.0, true);
        assert!(alarm.is_on(&readings, at(4980)));
        assert!(alarm.is_on(&readings, at(6900)));
        assert!(!alarm.is_on(&readings, at(7000)));
    }

    #[test]
    fn what_is_cleared_and_forgotten_does_not_come_back() {
        let (readings, mut alarm) = (Readings::default(), Alarm::new(Duration::from_secs(60)));
        readings.note(at(0), 1.0, true);
        assert!(alarm.is_on(&readings, at(10)));
        readings.forget();
        alarm.clear();
        assert!(!alarm.is_on(&readings, at(20)));
        assert!(!heartbeat(&readings, at(20)));
        readings.note(at(30), 1.0, true);
        assert!(alarm.is_on(&readings, at(40)));
    }

    /// Presses that are counted while the level follows `levels`, one per 20 ms.
    fn presses(button: &mut Button, from: u64, levels: &[bool]) -> usize {
        (0..).zip(levels).filter(|(step, &down)| button.was_pressed(down, at(from + step * 20))).count()
    }

    #[test]
    fn a_press_counts_once_however_long_and_bouncing() {
        let mut button = Button::new(false);
        assert_eq!(presses(&mut button, 0, &[false; 10]), 0);
        assert_eq!(presses(&mut button, 1000, &[true, false, true, false, true, true, true]), 1);
        assert_eq!(presses(&mut button, 2000, &[true; 100]), 0);
        assert_eq!(presses(&mut button, 9000, &[false, true, false, true, false, false, false]), 0);
        assert_eq!(presses(&mut button, 9500, &[true, true, true]), 1);
    }

    #[test]
    fn spikes_are_no_presses() {
        let mut button = Button::new(false);
        let spikes: Vec<bool> = (0..100).map(|step| step % 3 != 0).collect();
        assert_eq!(presses(&mut button, 0, &spikes), 0, "two looks are 20 ms apart, less than 40");
    }

    #[test]
    fn a_button_that_is_held_at_start_is_not_pressed() {
        let mut button = Button::new(true);
        assert_eq!(presses(&mut button, 0, &[true; 50]), 0);
        assert_eq!(presses(&mut button, 1000, &[false; 50]), 0);
        assert_eq!(presses(&mut button, 2000, &[true; 50]), 1);
    }
}
