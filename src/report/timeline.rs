//! The log over time, in a few hundred slots of equal length, whatever its own length: what the plots and the comparison
//! are made of. Latency is kept more coarsely here (1.6 %) than in the table.

use std::collections::BTreeMap;

use crate::report::hdr;
use crate::telemetry::{Counts, Stage};

/// With more slots than this, each is made twice as long.
const MOST_SLOTS: usize = 480;
/// Neighbouring counters of a histogram that become one.
const COARSE_BITS: u32 = 4;

/// The log over time.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// Seconds of a slot; 0 while there is none.
    width: i64,
    slots: BTreeMap<i64, Slot>,
}

/// What happened in one slot.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Seconds that records cover.
    pub(super) seconds: f64,
    pub(super) counts: Counts,
    pub(super) dropped: u64,
    pub(super) latency: [Coarse; Stage::ALL.len()],
    /// Joules, and the seconds in which they were known.
    pub(super) joules: f64,
    pub(super) joule_seconds: f64,
    /// The highest power of a record.
    pub(super) most_watts: Option<f64>,
    /// By sensor: the sum of values, how many there are, the highest.
    pub(super) celsius: BTreeMap<String, (f64, u32, f64)>,
}

/// A histogram whose counters stand for 1.6 % of their value each.
#[derive(Clone, Debug, Default)]
pub(super) struct Coarse(Vec<u32>);

impl Coarse {
    /// Adds `count` values of the counter with this index of a fine histogram.
    pub(super) fn add(&mut self, fine_index: usize, count: u64) {
        let index = fine_index >> COARSE_BITS;
        if index >= self.0.len() {
            self.0.resize(index + 1, 0);
        }
        self.0[index] = self.0[index].saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    }

    fn merge(&mut self, other: &Self) {
        if other.0.len() > self.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine = mine.saturating_add(*theirs));
    }

    /// How many values there are.
    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|&count| u64::from(count)).sum()
    }

    /// The value in milliseconds that a share of `quantile` of all doesn't exceed; None without any.
    pub(super) fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        let wanted = ((self.len() as f64 * quantile).ceil() as u64).max(1);
        let mut sum = 0;
        self.values()
            .find(|(_, count)| {
                sum += *count;
                sum >= wanted
            })
            .map(|(value, _)| value)
    }

    /// Every value in milliseconds with its count, ascending.
    pub(super) fn values(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.0.iter().enumerate().filter(|(_, count)| **count > 0).map(|(index, &count)| {
            let last = ((index as u64 + 1) << COARSE_BITS) - 1;
            (hdr::highest_value(last) as f64 / 1000.0, u64::from(count))
        })
    }
}

impl Timeline {
    /// The slot of a record that ends at `time` (seconds since 1970) and covers `seconds`.
    pub(super) fn slot(&mut self, time: f64, seconds: f64) -> &mut Slot {
        if self.width == 0 {
            self.width = (seconds.ceil() as i64).clamp(1, 86_400);
        }
        // The middle of the record: its end may be the beginning of the next slot.
        let middle = (time - seconds / 2.0).floor() as i64;
        while self.slots.len() >= MOST_SLOTS && !self.slots.contains_key(&middle.div_euclid(self.width)) {
            self.coarsen();
        }
        self.slots.entry(middle.div_euclid(self.width)).or_default()
    }

    fn coarsen(&mut self) {
        self.width *= 2;
        for (index, slot) in std::mem::take(&mut self.slots) {
            self.slots.entry(index.div_euclid(2)).or_default().merge(slot);
        }
    }

    /// Seconds of a slot.
    pub(super) fn width(&self) -> f64 {
        self.width as f64
    }

    /// Beginning (seconds since 1970) and content of every slot that has records, in order.
    pub(super) fn slots(&self) -> impl Iterator<Item = (f64, &Slot)> {
        self.slots.iter().map(|(&index, slot)| ((index * self.width) as f64, slot))
    }
}

impl Slot {
    fn merge(&mut self, other: Self) {
        self.seconds += other.seconds;
        add_counts(&mut self.counts, &other.counts);
        self.dropped += other.dropped;
        self.latency.iter_mut().zip(&other.latency).for_each(|(mine, theirs)| mine.merge(theirs));
        self.joules += other.joules;
        self.joule_seconds += other.joule_seconds;
        self.most_watts = higher(self.most_watts, other.most_watts);
        for (name, (sum, n, highest)) in other.celsius {
            let mine = self.celsius.entry(name).or_insert((0.0, 0, f64::MIN));
            *mine = (mine.0 + sum, mine.1 + n, mine.2.max(highest));
        }
    }

    /// Mean of a sensor's temperatures.
    pub(super) fn celsius(&self, sensor: &str) -> Option<f64> {
        self.celsius.get(sensor).map(|(sum, n, _)| sum / f64::from((*n).max(1)))
    }

    /// Mean power.
    pub(super) fn watts(&self) -> Option<f64> {
        (self.joule_seconds > 0.0).then(|| self.joules / self.joule_seconds)
    }
}

/// Adds `more` to `sum`.
pub(super) fn add_counts(sum: &mut Counts, more: &Counts) {
    let Counts { frames_in, skipped, corrupt, replaced, inferred, failed, published } = sum;
    for (sum, more) in [
        (frames_in, more.frames_in),
        (skipped, more.skipped),
        (corrupt, more.corrupt),
        (replaced, more.replaced),
        (inferred, more.inferred),
        (failed, more.failed),
        (published, more.published),
    ] {
        *sum = sum.saturating_add(more);
    }
}

/// The higher of two values that may be unknown.
pub(super) fn higher(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.max(other)),
        _ => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_records_make_few_slots_and_lose_nothing() {
        let mut timeline = Timeline::default();
        // Backwards in time, as a second board's log may be read.
        for n in (0..10_000_i64).rev() {
            let slot = timeline.slot(1.7e9 + 60.0 * n as f64, 60.0);
            slot.seconds += 60.0;
            slot.latency[3].add(100, 2);
        }
        let slots: Vec<_> = timeline.slots().collect();
        assert!(slots.len() <= MOST_SLOTS && slots.len() > MOST_SLOTS / 4, "{}", slots.len());
        assert_eq!(slots.iter().map(|(_, slot)| slot.seconds).sum::<f64>(), 600_000.0);
        assert_eq!(slots.iter().map(|(_, slot)| slot.latency[3].len()).sum::<u64>(), 20_000);
        assert!(slots.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn a_slot_is_as_long_as_the_first_record_and_holds_those_whose_middle_lies_in_it() {
        for (seconds, width) in [(0.0, 1.0), (0.4, 1.0), (1.0, 1.0), (1.2, 2.0), (60.0, 60.0), (1e6, 86_400.0)] {
            let mut timeline = Timeline::default();
            assert_eq!(timeline.width(), 0.0);
            timeline.slot(1000.0, seconds);
            timeline.slot(2000.0, 3600.0);
            assert_eq!(timeline.width(), width, "{seconds}");
        }
        let mut timeline = Timeline::default();
        for (end, seconds) in
            [(60.0, 60.0), (119.9, 60.0), (120.0, 60.0), (150.0, 60.0), (179.9, 60.0), (180.0, 60.0), (-1.0, 1.0)]
        {
            timeline.slot(end, seconds).dropped += 1;
        }
        let slots: Vec<_> = timeline.slots().map(|(begin, slot)| (begin, slot.dropped)).collect();
        assert_eq!(slots, [(-60.0, 1), (0.0, 1), (60.0, 2), (120.0, 3)]);
    }

    #[test]
    fn slots_become_twice_as_long_when_there_are_too_many() {
        let mut timeline = Timeline::default();
        let mut add = |n: usize| timeline.slot(n as f64 + 0.9, 1.0).dropped += 1;
        (0..480).for_each(&mut add);
        // A slot that is there already is no new one.
        add(7);
        let told = |timeline: &Timeline| {
            (timeline.width(), timeline.slots().count(), timeline.slots().map(|(_, slot)| slot.dropped).sum())
        };
        assert_eq!(told(&timeline), (1.0, 480, 481));
        timeline.slot(480.9, 1.0).dropped += 1;
        assert_eq!(told(&timeline), (2.0, 241, 482));
        timeline.slot(1e6, 1.0);
        assert_eq!(timeline.width(), 2.0);
        let first: Vec<_> = timeline.slots().take(4).map(|(begin, slot)| (begin, slot.dropped)).collect();
        assert_eq!(first, [(0.0, 2), (2.0, 2), (4.0, 2), (6.0, 3)]);
    }

    #[test]
    fn two_slots_become_one_with_everything_of_both() {
        let slot = |n: u64| {
            let mut latency: [Coarse; Stage::ALL.len()] = Default::default();
            latency[3].add(100 * n as usize, n);
            let number = n as f64;
            let counts = Counts {
                frames_in: n,
                skipped: 2 * n,
                corrupt: 3 * n,
                replaced: 4 * n,
                inferred: 5 * n,
                failed: 6 * n,
                published: 7 * n,
            };
            let celsius = [
                (format!("only {n}"), (number, 1, number)),
                ("soc".to_owned(), (40.0 * number, n as u32, 50.0 - number)),
            ];
            Slot {
                seconds: number,
                counts,
                dropped: 8 * n,
                latency,
                joules: 9.0 * number,
                joule_seconds: 10.0 * number,
                most_watts: Some(20.0 - number),
                celsius: celsius.into(),
            }
        };
        for (mut one, other) in [(slot(1), slot(2)), (slot(2), slot(1))] {
            one.merge(other);
            let counts =
                Counts { frames_in: 3, skipped: 6, corrupt: 9, replaced: 12, inferred: 15, failed: 18, published: 21 };
            assert_eq!((one.seconds, one.counts, one.dropped), (3.0, counts, 24));
            assert_eq!((one.joules, one.joule_seconds, one.most_watts), (27.0, 30.0, Some(19.0)));
            let celsius: Vec<_> = one.celsius.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            assert_eq!(celsius, [("only 1", (1.0, 1, 1.0)), ("only 2", (2.0, 1, 2.0)), ("soc", (120.0, 3, 49.0))]);
            let values: Vec<_> = one.latency.iter().map(|latency| latency.values().collect::<Vec<_>>()).collect();
            assert_eq!(values[3], [(0.111, 1), (0.207, 2)]);
            assert!(values[2].is_empty() && values[4].is_empty());
        }
    }

    #[test]
    fn means_and_the_highest_power_are_known_where_they_were_measured() {
        let of = |joules, joule_seconds| Slot { joules, joule_seconds, ..Slot::default() }.watts();
        assert_eq!((of(8.0, 2.0), of(8.0, 0.0), of(0.0, 2.0)), (Some(4.0), None, Some(0.0)));
        let slot = Slot { celsius: [("soc".to_owned(), (90.0, 2, 60.0))].into(), ..Slot::default() };
        assert_eq!((slot.celsius("soc"), slot.celsius("gpu")), (Some(45.0), None));
        for (one, other, expected) in [
            (Some(1.0), Some(2.0), Some(2.0)),
            (Some(2.0), Some(1.0), Some(2.0)),
            (Some(1.0), None, Some(1.0)),
            (None, Some(2.0), Some(2.0)),
            (None, None, None),
        ] {
            assert_eq!(higher(one, other), expected);
        }
    }

    #[test]
    fn a_counter_stands_for_sixteen_and_a_quantile_is_one_of_them() {
        let mut coarse = Coarse::default();
        for (fine_index, count) in [(0, 1), (15, 1), (16, 3), (47, 5), (1023, u64::MAX)] {
            coarse.add(fine_index, count);
        }
        let most = u64::from(u32::MAX);
        assert_eq!(coarse.values().collect::<Vec<_>>(), [(0.015, 2), (0.031, 3), (0.047, 5), (1.023, most)]);
        coarse.add(1023, 1);
        assert_eq!(coarse.len(), most + 10);
        let mut few = Coarse::default();
        [(0, 2), (16, 3), (47, 5)].into_iter().for_each(|(fine_index, count)| few.add(fine_index, count));
        for (quantile, expected) in
            [(0.0, 0.015), (0.2, 0.015), (0.21, 0.031), (0.5, 0.031), (0.51, 0.047), (1.0, 0.047)]
        {
            assert_eq!(few.quantile_ms(quantile), Some(expected), "{quantile}");
        }
    }

    #[test]
    fn a_quantile_is_near_the_true_one() {
        let mut coarse = Coarse::default();
        assert_eq!(coarse.quantile_ms(0.5), None);
        // Below 2048 µs a fine counter is its value.
        (1..=2000).for_each(|us| coarse.add(us, 1));
        let p50 = coarse.quantile_ms(0.5).unwrap();
        assert!((1.0..1.02).contains(&p50), "{p50}");
        assert!((2.0..2.04).contains(&coarse.quantile_ms(1.0).unwrap()));
    }
}
