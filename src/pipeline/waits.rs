//! What is said of something that is waited for: each reason once, and reasons without end not for ever.

use std::time::Duration;

use base::clock::Instant;

/// Different reasons to wait that are said as they come. A reason that is never twice the same, with the time in it, is
/// said every [`SAID_EVERY`] from then on.
const SAID_AT_ONCE: u32 = 5;
/// Time between two of them.
const SAID_EVERY: Duration = Duration::from_secs(60);
/// After so long without a word, reasons are said as they come again.
const QUIET: Duration = Duration::from_secs(600);

/// What was said of the absence of something.
#[derive(Debug, Default)]
pub(super) struct Waits {
    said: String,
    count: u32,
    last: Option<Instant>,
}

impl Waits {
    /// Whether `text` is to be said: it is another than the last, and there were not too many others.
    pub(super) fn is_news(&mut self, text: &str, now: Instant) -> bool {
        let silence = self.last.map(|last| now.since(last));
        if silence.is_some_and(|silence| silence >= QUIET) {
            self.count = 0;
        }
        let is_soon = silence.is_some_and(|silence| silence < SAID_EVERY);
        if text == self.said || self.count >= SAID_AT_ONCE && is_soon {
            return false;
        }
        text.clone_into(&mut self.said);
        self.count += 1;
        self.last = Some(now);
        true
    }

    /// It is well again, and whatever comes next is news.
    pub(super) fn forget(&mut self) {
        self.said.clear();
        self.count = 0;
    }

    /// It is well again: the same reason is news the next time. What comes and goes all day does not fill the log for that.
    pub(super) fn is_back(&mut self) {
        self.said.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_once_and_ever_new_ones_not_for_ever() {
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        let mut waits = Waits::default();
        assert_eq!([0, 1, 2].map(|time| waits.is_news("busy", at(time))), [true, false, false]);
        let said = (0..100).filter(|time| waits.is_news(&format!("at {time}"), at(*time))).count();
        // The first four at once, then one after a minute.
        assert_eq!(said, 5);
        waits.forget();
        assert!(waits.is_news("at 99", at(200)));
    }

    #[test]
    fn what_comes_and_goes_all_day_is_said_now_and_then() {
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        let mut waits = Waits::default();
        let falls = |waits: &mut Waits, time| {
            waits.is_back();
            waits.is_news("it fell", at(time))
        };
        // Five at once, then one a minute.
        assert_eq!((0..3600).step_by(10).filter(|time| falls(&mut waits, *time)).count(), 4 + 60);
        assert_eq!(
            [4200, 4201, 4202, 4203, 4204, 4205]
                .map(|time| falls(&mut waits, time))
                .iter()
                .filter(|said| **said)
                .count(),
            5
        );
    }
}
