//! Two logs against each other: what got better or worse, and where the samples don't tell.
//!
//! Frames that follow each other are alike, so their number says little. What is compared is slots of time (an interval or
//! longer): whether those of one log lie above those of the other, by the rank-sum test (Mann and Whitney 1947).

use base::rounding::rounded;
use serde::Serialize;

use super::timeline::{Slot, Timeline};
use super::{text, Report};
use crate::telemetry::Stage;

/// Fewer slots with a value than this on one side tell nothing.
const FEWEST_SLOTS: usize = 8;
/// Values beyond a quantile that each side must have for it to be more than chance.
const FEWEST_BEYOND: f64 = 10.0;
/// A difference beyond this many standard deviations of the rank sum is no chance: 1 in 100, both sides.
const Z: f64 = 2.576;
/// A smaller change than this is none that anybody would notice.
const LEAST_CHANGE: f64 = 0.02;

/// The second log against the first.
#[derive(Debug, Serialize)]
pub(super) struct Pair {
    first: String,
    second: String,
    figures: Vec<Change>,
    caveats: Vec<String>,
}

/// One figure in both.
#[derive(Debug, Serialize)]
struct Change {
    figure: String,
    unit: &'static str,
    first: Option<f64>,
    second: Option<f64>,
    /// Second less first, as a share of the first.
    change: Option<f64>,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Better,
    Worse,
    /// No difference that is larger than chance and 2 %.
    Same,
    /// Too few samples to tell.
    TooFew,
    /// Missing on one side.
    Unknown,
}

impl Verdict {
    const fn words(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "no clear difference",
            Self::TooFew => "too few samples to tell",
            Self::Unknown => "unknown",
        }
    }
}

/// Which way is better.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Good {
    Low,
    High,
}

impl Pair {
    pub(super) fn new((first, before): (&String, &Report), (second, after): (&String, &Report)) -> Self {
        let mut figures = Vec::new();
        let mut figure =
            |name: String, unit, good, values: [Option<f64>; 2], is_enough, of: &dyn Fn(&Slot) -> Option<f64>| {
                figures.push(Change::new(
                    name,
                    unit,
                    good,
                    values,
                    is_enough,
                    &[samples(&before.timeline, of), samples(&after.timeline, of)],
                ));
            };
        let (a, b) = (&before.figures, &after.figures);
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            let (x, y) = (&a.stages[index], &b.stages[index]);
            for (name, quantile, values) in [
                ("p50", 0.5, [x.p50_ms, y.p50_ms]),
                ("p99", 0.99, [x.p99_ms, y.p99_ms]),
                ("p99.9", 0.999, [x.p999_ms, y.p999_ms]),
            ] {
                let is_enough = x.n.min(y.n) as f64 * (1.0 - quantile) >= FEWEST_BEYOND;
                let of = |slot: &Slot| slot.latency[index].quantile_ms(quantile);
                figure(format!("{} {name}", stage.name()), "ms", Good::Low, values, is_enough, &of);
            }
        }
        let per_second = |slot: &Slot, count: u64| (slot.seconds > 0.0).then(|| count as f64 / slot.seconds);
        figure("fps".to_owned(), "1/s", Good::High, [a.fps, b.fps], true, &|slot| {
            per_second(slot, slot.counts.published)
        });
        // A log may hold any counts, and their sums stop at the largest.
        let lost = |counts: &crate::telemetry::Counts| {
            [counts.replaced, counts.skipped, counts.corrupt, counts.failed].into_iter().fold(0, u64::saturating_add)
        };
        let lost_rate = |figures: &super::figures::Figures| {
            (figures.seconds > 0.0).then(|| rounded(lost(&figures.frames) as f64 / figures.seconds, 1e4))
        };
        figure("frames lost".to_owned(), "1/s", Good::Low, [lost_rate(a), lost_rate(b)], true, &|slot| {
            per_second(slot, lost(&slot.counts))
        });
        let joules = [a, b].map(|side| side.power.as_ref().and_then(|power| power.joules_per_frame));
        figure("energy per frame".to_owned(), "J", Good::Low, joules, true, &|slot| {
            (slot.joule_seconds > 0.0 && slot.counts.inferred > 0).then(|| slot.joules / slot.counts.inferred as f64)
        });
        let watts = [a, b].map(|side| side.power.as_ref().and_then(|power| power.mean_watts));
        figure("mean power".to_owned(), "W", Good::Low, watts, true, &Slot::watts);
        let soc = |side: &super::figures::Figures| {
            side.temperatures.iter().find(|sensor| sensor.name == "soc").map(|soc| soc.mean_celsius)
        };
        figure("temperature soc".to_owned(), "°C", Good::Low, [soc(a), soc(b)], true, &|slot| slot.celsius("soc"));
        Self { first: first.clone(), second: second.clone(), figures, caveats: caveats(before, after) }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("first:  {}", self.first),
            format!("second: {}", self.second),
            String::new(),
            format!("{:<20}{:>6}{:>12}{:>12}{:>10}  the second is", "figure", "unit", "first", "second", "change"),
        ];
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        let shown = self.figures.iter().filter(|figure| figure.first.is_some() || figure.second.is_some());
        lines.extend(shown.map(|figure| {
            let change = figure.change.map_or_else(|| "-".to_owned(), |change| format!("{:+.1} %", change * 100.0));
            let Change { figure: name, unit, first, second, verdict, .. } = figure;
            format!("{name:<20}{unit:>6}{:>12}{:>12}{change:>10}  {}", number(*first), number(*second), verdict.words())
        }));
        lines.push(String::new());
        lines.extend(self.caveats.iter().map(|caveat| format!("note: {caveat}")));
        lines
    }
}

impl Change {
    fn new(
        figure: String,
        unit: &'static str,
        good: Good,
        [first, second]: [Option<f64>; 2],
        is_enough: bool,
        samples: &[Vec<f64>; 2],
    ) -> Self {
        let change = match (first, second) {
            (Some(first), Some(second)) if first != 0.0 => Some(rounded((second - first) / first.abs(), 1e4)),
            (Some(_), Some(0.0)) => Some(0.0),
            _ => None,
        };
        let verdict = match (first, second) {
            (Some(first), Some(second)) => {
                let [a, b] = samples;
                let z = rank_sum(a, b);
                let is_large = (second - first).abs() > LEAST_CHANGE * first.abs();
                match z {
                    _ if !is_enough || a.len().min(b.len()) < FEWEST_SLOTS => Verdict::TooFew,
                    // The whole logs and their slots must say the same.
                    z if is_large && z.abs() > Z && (z > 0.0) == (second > first) => {
                        let is_better = (second < first) == (good == Good::Low);
                        if is_better {
                            Verdict::Better
                        } else {
                            Verdict::Worse
                        }
                    }
                    _ => Verdict::Same,
                }
            }
            _ => Verdict::Unknown,
        };
        Self { figure, unit, first, second, change, verdict }
    }
}

fn samples(timeline: &Timeline, of: &dyn Fn(&Slot) -> Option<f64>) -> Vec<f64> {
    timeline.slots().filter_map(|(_, slot)| of(slot)).collect()
}

/// How many standard deviations the ranks of `b` lie above those that chance would give them; ties share their ranks.
fn rank_sum(a: &[f64], b: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> =
        a.iter().map(|&value| (value, false)).chain(b.iter().map(|&value| (value, true))).collect();
    all.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut sum, mut ties, mut begin) = (0.0, 0.0, 0);
    while begin < all.len() {
        let end = begin + all[begin..].iter().take_while(|(value, _)| *value == all[begin].0).count().max(1);
        let (rank, length) = ((begin + end + 1) as f64 / 2.0, (end - begin) as f64);
        sum += rank * all[begin..end].iter().filter(|(_, is_b)| *is_b).count() as f64;
        ties += length.powi(3) - length;
        begin = end;
    }
    let (n, m) = (a.len() as f64, b.len() as f64);
    let total = n + m;
    let variance = n * m / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)).max(1.0));
    if variance <= 0.0 {
        return 0.0;
    }
    (sum - m * (total + 1.0) / 2.0) / variance.sqrt()
}

fn caveats(before: &Report, after: &Report) -> Vec<String> {
    let mut caveats = vec![
        "a verdict needs slots of time that differ by more than chance (rank-sum test, 1 in 100) and a change of more than 2 %"
            .to_owned(),
    ];
    for (which, report) in [("first", before), ("second", after)] {
        let slots = report.timeline.slots().count();
        let covered = text::duration(report.figures.seconds);
        caveats.push(format!(
            "the {which} log has {slots} slots of {} ({covered})",
            text::duration(report.timeline.width())
        ));
        if slots < FEWEST_SLOTS {
            caveats.push(format!(
                "fewer than {FEWEST_SLOTS} slots tell nothing: let it run longer, or choose a shorter interval"
            ));
        }
        caveats.extend(report.figures.remarks.iter().map(|remark| format!("the {which} log: {remark}")));
    }
    let about = |report: &Report| text::about(&report.figures);
    if about(before) != about(after) {
        let words = |report| about(report).unwrap_or_else(|| "unknown".to_owned());
        caveats.push(format!("first: {}; second: {}", words(before), words(after)));
    }
    caveats
}

#[cfg(test)]
mod tests;
