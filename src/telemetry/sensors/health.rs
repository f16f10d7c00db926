//! What is said in the log about a thing that does not answer: once when it begins, once when it ends.

use std::time::Duration;

use base::clock::Instant;

/// Looks in a row that must fail before it is worth a line: one lost answer on a bus is not.
const PATIENCE: u32 = 3;
/// Time between two lines about the same thing, however often it comes and goes.
const QUIET: Duration = Duration::from_secs(600);

/// How one thing is.
#[derive(Debug, Default)]
pub(super) struct Health {
    failures: u32,
    told: Option<Instant>,
    is_told: bool,
    reason: Option<String>,
}

impl Health {
    /// It answered.
    pub(super) fn good(&mut self, what: &str) {
        self.failures = 0;
        self.reason = None;
        if std::mem::take(&mut self.is_told) {
            log::info!("{what}: answers again");
        }
    }

    /// It did not, for the `reason`.
    pub(super) fn failed(&mut self, what: &str, reason: String, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= PATIENCE {
            self.tell(what, &reason, now);
        }
        self.reason = Some(reason);
    }

    /// It has no value, which is worth no line: it never had one, or the line is another's.
    pub(super) fn quiet(&mut self, reason: String) {
        self.reason = Some(reason);
    }

    /// It answered what can't be: that is said at once.
    pub(super) fn faulty(&mut self, what: &str, reason: String, now: Instant) {
        self.tell(what, &reason, now);
        self.reason = Some(reason);
    }

    /// Why there is no value, where the last look had none.
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    fn tell(&mut self, what: &str, reason: &str, now: Instant) {
        if self.is_told || self.told.is_some_and(|told| now.since(told) < QUIET) {
            return;
        }
        (self.is_told, self.told) = (true, Some(now));
        log::warn!("{what}: {reason}");
    }
}

#[cfg(test)]
impl Health {
    /// The log's last line about it says that it does not answer.
    pub(super) const fn is_told(&self) -> bool {
        self.is_told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_failure_is_told_when_it_lasts_and_at_most_once_in_ten_minutes() {
        let mut health = Health::default();
        let mut told = Vec::new();
        for second in 0..1300u64 {
            // Comes and goes: five failures, then one answer.
            if second % 6 == 5 {
                health.good("rail");
            } else {
                let before = health.is_told;
                health.failed("rail", "no answer".to_owned(), at(second));
                if health.is_told && !before {
                    told.push(second);
                }
            }
        }
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(told[0], 2, "the third failure in a row");
        assert!(told.windows(2).all(|pair| pair[1] - pair[0] >= 600), "{told:?}");
    }

    #[test]
    fn the_third_failure_in_a_row_is_told_and_again_ten_minutes_after_the_last_words() {
        let mut health = Health::default();
        let fail = |health: &mut Health, second| {
            health.failed("rail", format!("at {second}"), at(second));
            health.is_told
        };
        assert_eq!([fail(&mut health, 0), fail(&mut health, 1)], [false, false]);
        health.good("rail");
        assert_eq!([fail(&mut health, 2), fail(&mut health, 3), fail(&mut health, 4)], [false, false, true]);
        assert_eq!(health.reason(), Some("at 4"));
        health.good("rail");
        for (second, is_told) in [(600, false), (603, false), (604, true)] {
            health.faulty("rail", "hot".to_owned(), at(second));
            assert_eq!((health.is_told, health.reason()), (is_told, Some("hot")), "{second}");
        }
        // What is quiet has its reason, and changes nothing else.
        health.quiet("no answer".to_owned());
        assert_eq!((health.is_told, health.reason()), (true, Some("no answer")));
    }

    #[test]
    fn a_fault_is_told_at_once() {
        let mut health = Health::default();
        health.faulty("apex_0", "-89.7 °C".to_owned(), at(0));
        assert!(health.is_told && health.reason() == Some("-89.7 °C"));
        health.good("apex_0");
        assert!(!health.is_told && health.reason().is_none());
    }
}
