//! Which results get a line of JSON Lines: all of them, or one every so often and those in which something changed.

use std::sync::Arc;
use std::time::Duration;

use base::clock::Instant;
use model::Edition;

use crate::config::Jsonl;
use crate::scene::rules::Verdict;
use crate::scene::{Areas, Outcome};

/// Chooses results.
#[derive(Debug)]
pub(super) struct Pace {
    /// Zero takes every result.
    interval: Duration,
    /// 1 looks at no share.
    min_change: f64,
    last: Option<Last>,
}

/// What the last chosen result said.
#[derive(Debug)]
struct Last {
    at: Instant,
    edition: Arc<Edition>,
    areas: Areas,
    /// Of each rule, whether it was met.
    rules: Vec<bool>,
}

impl Pace {
    /// As the configuration asks for.
    pub(super) const fn new(config: &Jsonl) -> Self {
        Self { interval: config.interval.0, min_change: config.min_change.0, last: None }
    }

    /// Whether `outcome`, which comes `now`, gets a line. `rules` are the verdicts that stand in it.
    pub(super) fn takes<'a>(
        &mut self,
        outcome: &Outcome,
        rules: impl Iterator<Item = &'a Verdict> + Clone,
        now: Instant,
    ) -> bool {
        if self.interval.is_zero() {
            return true;
        }
        let is_met = rules.map(|verdict| verdict.judgement.is_on);
        let Some(last) = &mut self.last else {
            let (edition, areas) = (Arc::clone(&outcome.edition), outcome.areas.clone());
            self.last = Some(Last { at: now, edition, areas, rules: is_met.collect() });
            return true;
        };
        let is_due = now.since(last.at) >= self.interval;
        let is_other = !Arc::ptr_eq(&last.edition, &outcome.edition) || !is_met.clone().eq(last.rules.iter().copied());
        let moved = self.min_change < 1.0 && last.areas.change(&outcome.areas) >= self.min_change;
        if !(is_due || is_other || moved) {
            return false;
        }
        // A steady source keeps its rhythm: a frame that comes a little late doesn't put off all that follow.
        let next = last.at.after(self.interval);
        last.at = if is_due && now.since(next) < self.interval { next } else { now };
        last.edition.clone_from(&outcome.edition);
        last.areas.clone_from(&outcome.areas);
        last.rules.clear();
        last.rules.extend(is_met);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::testing::{classes, edition, judged};
    use base::values::{Fraction, Seconds};

    const MS: u64 = 1_000_000;

    fn pace(interval: Duration, min_change: f64) -> Pace {
        Pace::new(&Jsonl { interval: Seconds(interval), min_change: Fraction(min_change), ..Jsonl::default() })
    }

    /// The times, in ms, of those that are taken of results at `times`, each with `count` pixels of 100 of class 0.
    fn taken(pace: &mut Pace, results: &[(u64, u64)]) -> Vec<u64> {
        let edition = edition(classes(2));
        let take = |&(time, count): &(u64, u64)| {
            let outcome = Outcome::empty(Arc::clone(&edition)).seen(&[(0, count), (1, 100 - count)]);
            pace.takes(&outcome, outcome.rules.iter(), Instant::from_nanos(time * MS)).then_some(time)
        };
        results.iter().filter_map(take).collect()
    }

    #[test]
    fn without_an_interval_every_result_is_taken() {
        let results: Vec<_> = (0..10).map(|n| (n, 50)).collect();
        assert_eq!(taken(&mut pace(Duration::ZERO, 1.0), &results).len(), 10);
        assert_eq!(taken(&mut pace(Duration::ZERO, 0.5), &results).len(), 10);
    }

    #[test]
    fn with_one_the_first_is_taken_and_one_in_each() {
        // 20 per second, each up to 9 ms late; one line a second.
        let results: Vec<_> = (0..200).map(|n| (n * 50 + n * 7 % 10, 50)).collect();
        let taken = taken(&mut pace(Duration::from_secs(1), 1.0), &results);
        assert_eq!((taken.len(), taken[0]), (10, 0), "{taken:?}");
        // After a gap it begins anew, and makes up for nothing.
        let results = [(0, 50), (5000, 50), (5400, 50), (5999, 50), (6000, 50)];
        assert_eq!(self::taken(&mut pace(Duration::from_secs(1), 1.0), &results), [0, 5000, 6000]);
    }

    #[test]
    fn a_share_that_moved_far_enough_since_the_last_line_is_taken_at_once() {
        let results =
            [(0, 50), (50, 54), (100, 55), (150, 59), (200, 60), (250, 55), (300, 56), (1199, 56), (1250, 56)];
        // From 50 to 55, from there to 60, back to 55; then the second is over.
        assert_eq!(taken(&mut pace(Duration::from_secs(1), 0.05), &results), [0, 100, 200, 250, 1250]);
        // It is each share's own change: class 1 loses what class 0 wins.
        assert_eq!(taken(&mut pace(Duration::from_secs(9), 0.11), &results), [0]);
    }

    #[test]
    fn a_rule_that_changes_its_mind_and_another_edition_are_taken_at_once() {
        let rule = "[r]\nclass = 'class_0'\nabove = 0.5\n";
        let outcome = |count| judged(rule, Vec::new(), classes(2), &[(0, count), (1, 100 - count)]).unwrap();
        let mut pace = pace(Duration::from_secs(60), 1.0);
        let edition = edition(classes(2));
        let mut takes = |time, count| {
            let mut outcome = outcome(count);
            outcome.edition = Arc::clone(&edition);
            pace.takes(&outcome, outcome.rules.iter(), Instant::from_nanos(time * MS))
        };
        let taken = [(0, 10), (1, 20), (2, 60), (3, 70), (4, 40), (5, 40)].map(|(time, count)| takes(time, count));
        assert_eq!(taken, [true, false, true, false, true, false]);
        let other = outcome(40);
        assert!(pace.takes(&other, other.rules.iter(), Instant::from_nanos(6 * MS)));
    }
}
