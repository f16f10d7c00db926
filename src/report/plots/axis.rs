//! Axes with ticks where people expect them: round numbers, powers of ten with their 2 and 5, and whole hours and days.

use std::ops::Range;

use jiff::Timestamp;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// Steps between ticks of time, seconds.
const STEPS: [f64; 19] = [
    1.0,
    5.0,
    15.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    900.0,
    1800.0,
    3600.0,
    7200.0,
    10_800.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    604_800.0,
    2_419_200.0,
];
const MOST_TICKS: f64 = 9.0;

/// An axis with its ticks.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
    ticks: Vec<f64>,
    /// Seconds between ticks of time; 0 on other axes.
    step: f64,
}

impl Axis {
    /// Time, seconds since 1970.
    pub(super) fn time(low: f64, high: f64) -> Self {
        let high = high.max(low + 1.0);
        let fits = |step: &f64| (high - low) / step <= MOST_TICKS;
        let step =
            STEPS.into_iter().find(fits).unwrap_or_else(|| ((high - low) / MOST_TICKS / 86_400.0).ceil() * 86_400.0);
        Self { low, high, is_log: false, ticks: multiples(step, low, high), step }
    }

    /// From zero to at least `most`.
    pub(super) fn from_zero(most: f64) -> Self {
        Self::linear(0.0, most)
    }

    /// From a round number below `low` to one above `high`.
    pub(super) fn linear(low: f64, high: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let rough = (high - low) / 6.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= rough).unwrap_or(10.0 * power);
        let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        Self { low, high, is_log: false, ticks: multiples(step, low, high), step: 0.0 }
    }

    /// Rows of equal height, without ticks.
    pub(super) fn rows(count: usize) -> Self {
        Self { low: 0.0, high: count as f64, is_log: false, ticks: Vec::new(), step: 0.0 }
    }

    /// Logarithmic, with ticks at 1, 2 and 5 times powers of ten.
    pub(super) fn log(low: f64, high: f64) -> Self {
        let low = low.max(1e-3);
        let high = high.max(low * 2.0);
        let decades = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
        let is_long = high / low > 1e4;
        let factors: &[f64] = if is_long { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let all = decades.flat_map(|decade| factors.iter().map(move |factor| factor * 10_f64.powi(decade)));
        let ticks = all.filter(|tick| (low..=high).contains(tick)).collect();
        Self { low, high, is_log: true, ticks, step: 0.0 }
    }

    pub(super) const fn low(&self) -> f64 {
        self.low
    }

    pub(super) const fn high(&self) -> f64 {
        self.high
    }

    /// Where `share` (0 to 1) of the axis lies.
    pub(super) fn at(&self, share: f64) -> f64 {
        if self.is_log {
            self.low * (self.high / self.low).powf(share)
        } else {
            self.low + (self.high - self.low) * share
        }
    }

    /// 0 to 1; beyond that outside of the axis.
    pub(super) fn share(&self, value: f64) -> f64 {
        if self.is_log {
            (value.max(1e-9) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    /// A tick's label.
    pub(super) fn label(&self, value: f64) -> String {
        if self.step > 0.0 {
            let Ok(time) = Timestamp::from_second(value as i64) else { return String::new() };
            let format = match self.step {
                step if step < 60.0 => "%H:%M:%S",
                step if step < 86_400.0 && value as i64 % 86_400 == 0 => "%b %d",
                step if step < 86_400.0 => "%H:%M",
                step if step < 2_419_200.0 => "%b %d",
                _ => "%Y-%m-%d",
            };
            return time.strftime(format).to_string();
        }
        let digits = if value == 0.0 || value.abs() >= 1.0 && value.fract().abs() < 1e-9 { 0 } else { 3 };
        let text = format!("{value:.digits$}");
        if digits == 0 {
            text
        } else {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

fn multiples(step: f64, low: f64, high: f64) -> Vec<f64> {
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last.min(first + 100)).map(|n| n as f64 * step).collect()
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = self.share(*value).clamp(-0.1, 1.1);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, _hint: H) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|tick| axis.label(*tick)).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&Axis::from_zero(5.3)), ["0", "1", "2", "3", "4", "5", "6"]);
        assert_eq!(labels(&Axis::linear(48.3, 50.1)), ["48", "48.5", "49", "49.5", "50", "50.5"]);
        assert_eq!(labels(&Axis::log(0.03, 3.0)), ["0.05", "0.1", "0.2", "0.5", "1", "2"]);
        let day = Axis::time(1_700_000_000.0, 1_700_086_400.0);
        assert_eq!(labels(&day), ["Nov 15", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00"]);
    }

    #[test]
    fn time_has_at_most_nine_steps_of_a_length_that_people_use() {
        for (seconds, step) in [
            (9.0, 1.0),
            (10.0, 5.0),
            (45.0, 5.0),
            (46.0, 15.0),
            (9.0 * 3600.0, 3600.0),
            (86_400.0, 10_800.0),
            (9.0 * 86_400.0, 86_400.0),
            (9.0 * 2_419_200.0, 2_419_200.0),
            // Beyond that whole days.
            (9.0 * 2_419_200.0 + 1.0, 2_419_200.0 + 86_400.0),
        ] {
            let axis = Axis::time(0.0, seconds);
            assert_eq!((axis.step, axis.low(), axis.high(), axis.is_log), (step, 0.0, seconds, false), "{seconds}");
        }
        assert_eq!(Axis::time(5.0, 5.0).high(), 6.0);
    }

    #[test]
    fn a_time_is_shown_as_exactly_as_its_steps_are() {
        let midnight = 1_700_006_400.0;
        for (step, time, label) in [
            (30.0, midnight, "00:00:00"),
            (59.0, midnight + 61.0, "00:01:01"),
            (60.0, midnight, "Nov 15"),
            (60.0, midnight + 3660.0, "01:01"),
            (86_399.0, midnight + 3660.0, "01:01"),
            (86_400.0, midnight + 3660.0, "Nov 15"),
            (604_800.0, midnight, "Nov 15"),
            (2_419_200.0, midnight, "2023-11-15"),
            (60.0, 1e18, ""),
        ] {
            let axis = Axis { step, ..Axis::time(0.0, 1.0) };
            assert_eq!(axis.label(time), label, "{step} {time}");
        }
    }

    #[test]
    fn a_number_is_shown_with_the_digits_that_it_has() {
        let axis = Axis::linear(0.0, 1.0);
        for (value, label) in [
            (0.0, "0"),
            (1.0, "1"),
            (-2.0, "-2"),
            (100.0, "100"),
            (0.5, "0.5"),
            (0.25, "0.25"),
            (-0.5, "-0.5"),
            (1.5, "1.5"),
            (10.75, "10.75"),
            (0.001, "0.001"),
            (3.0 + 1e-10, "3"),
        ] {
            assert_eq!(axis.label(value), label);
        }
    }

    #[test]
    fn an_axis_begins_and_ends_at_round_numbers() {
        for (axis, low, high, ticks) in [
            (Axis::from_zero(0.0), 0.0, 1.0, vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
            (Axis::from_zero(-3.0), 0.0, 1.0, vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
            (Axis::from_zero(6.0), 0.0, 6.0, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            (Axis::from_zero(6.1), 0.0, 8.0, vec![0.0, 2.0, 4.0, 6.0, 8.0]),
            (Axis::from_zero(12.1), 0.0, 15.0, vec![0.0, 5.0, 10.0, 15.0]),
            (Axis::from_zero(31.0), 0.0, 40.0, vec![0.0, 10.0, 20.0, 30.0, 40.0]),
            (Axis::linear(-7.0, 7.0), -10.0, 10.0, vec![-10.0, -5.0, 0.0, 5.0, 10.0]),
            (Axis::linear(60.0, 60.0), 60.0, 61.0, vec![60.0, 60.2, 60.4, 60.6, 60.8, 61.0]),
            (Axis::log(2.0, 60.0), 2.0, 60.0, vec![2.0, 5.0, 10.0, 20.0, 50.0]),
            (Axis::log(3.0, 4.0), 3.0, 6.0, vec![5.0]),
            (Axis::log(0.0, 0.0015), 0.001, 0.002, vec![0.001, 0.002]),
            // Over four powers of ten these alone are enough.
            (
                Axis::log(1.0, 1e4),
                1.0,
                1e4,
                vec![1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4],
            ),
            (Axis::log(1.0, 1.1e4), 1.0, 1.1e4, vec![1.0, 10.0, 100.0, 1e3, 1e4]),
        ] {
            assert_eq!((axis.low(), axis.high(), axis.range()), (low, high, low..high));
            assert_eq!(axis.ticks.len(), ticks.len(), "{:?}", axis.ticks);
            assert!(axis.ticks.iter().zip(&ticks).all(|(one, other)| (one - other).abs() < 1e-9), "{:?}", axis.ticks);
            assert_eq!(axis.key_points(plotters::coord::ranged1d::BoldPoints(9)), axis.ticks);
            assert_eq!(axis.step, 0.0);
        }
        let rows = Axis::rows(3);
        assert_eq!((rows.low(), rows.high(), rows.ticks.len(), rows.step), (0.0, 3.0, 0, 0.0));
        assert_eq!(multiples(1.0, 0.0, 1000.0).len(), 101);
        assert_eq!(multiples(0.1, 0.3, 0.6).len(), 4, "ends that are not exact are ticks all the same");
    }

    #[test]
    fn a_value_has_its_place_on_the_axis() {
        let (linear, log) = (Axis::linear(0.0, 10.0), Axis::log(10.0, 1000.0));
        for (axis, value, share) in [
            (&linear, 0.0, 0.0),
            (&linear, 2.5, 0.25),
            (&linear, 10.0, 1.0),
            (&linear, 20.0, 2.0),
            (&linear, -10.0, -1.0),
            (&log, 10.0, 0.0),
            (&log, 100.0, 0.5),
            (&log, 1000.0, 1.0),
            (&log, 10_000.0, 1.5),
            (&log, 1.0, -0.5),
        ] {
            assert!((axis.share(value) - share).abs() < 1e-9 && (axis.at(share) - value).abs() < 1e-9, "{value}");
            // Pixels count downwards where the axis goes up, and what lies far outside is drawn a little outside.
            let beyond = share.clamp(-0.1, 1.1);
            assert_eq!(axis.map(&value, (210, 10)), 210 - (200.0 * beyond).round() as i32, "{value}");
        }
        assert!((log.share(-5.0) - -5.0).abs() < 1e-9, "less than nothing has no logarithm");
        let offset = Axis::linear(40.0, 60.0);
        assert_eq!((offset.share(45.0), offset.at(0.75)), (0.25, 55.0));
    }

    #[test]
    fn any_range_has_ticks_and_not_too_many() {
        for seconds in [0.0, 1.0, 59.0, 4_000.0, 2.6e6, 1e8, 1e11] {
            let axis = Axis::time(1.7e9, 1.7e9 + seconds);
            assert!(axis.ticks.len() <= 10, "{seconds}: {:?}", axis.ticks);
        }
        for (low, high) in [(0.0, 0.0), (-5.0, 5.0), (60.0, 60.0), (0.0, 1e12)] {
            let axis = Axis::linear(low, high);
            assert!((2..=12).contains(&axis.ticks.len()), "{low} {high}: {:?}", axis.ticks);
            assert!(axis.low() <= low && axis.high() >= high);
        }
    }
}
