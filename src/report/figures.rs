//! The figures of a report: what the text, the JSON and the page show.

use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde::Serialize;

use super::log_lines::{LogLines, Told};
use super::outages::{seconds_between, Kind, Outage, Run};
use super::summary::Summary;
use crate::publish::rounded;
use crate::telemetry::{Counts, Stage};

/// A whole report. None is unknown.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) files: Vec<String>,
    /// Of the first record's beginning; None where no interval lies in the range.
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
    pub(super) intervals: u64,
    pub(super) frame_records: u64,
    /// Seconds that the intervals cover.
    pub(super) seconds: f64,
    pub(super) stages: Vec<StageFigures>,
    pub(super) frames: Counts,
    /// Results that sinks dropped.
    pub(super) sinks_dropped: u64,
    /// Published frames per second of the intervals.
    pub(super) fps: Option<f64>,
    pub(super) power: Option<Power>,
    pub(super) temperatures: Vec<Temperature>,
    pub(super) throttled_minutes: Option<f64>,
    pub(super) runs: Vec<Run>,
    pub(super) outages: Vec<Outage>,
    /// Outages that are not in the list, which has its limit.
    pub(super) outages_left_out: u64,
    pub(super) remarks: Vec<String>,
}

/// Latency of a stage over the whole log.
#[derive(Clone, Debug, Serialize)]
pub(super) struct StageFigures {
    pub(super) stage: &'static str,
    pub(super) n: u64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p90_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) p999_ms: Option<f64>,
    pub(super) max_ms: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Power {
    pub(super) joules: Option<f64>,
    pub(super) joules_per_frame: Option<f64>,
    pub(super) mean_watts: Option<f64>,
    /// The highest of the records: means of intervals, and samples at their ends.
    pub(super) max_watts: Option<f64>,
    /// Share of the time in which it was known.
    pub(super) known: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Temperature {
    pub(super) name: String,
    pub(super) mean_celsius: f64,
    pub(super) max_celsius: f64,
}

impl Figures {
    pub(super) fn new(summary: Summary) -> Self {
        let Summary { range, seconds, counts, joules, joule_seconds, joule_frames, .. } = summary;
        let uncounted = summary.outages.uncounted;
        let (runs, outages) = summary.outages.finish();
        let is_met = |from: Timestamp, to: Timestamp| {
            range.to.is_none_or(|end| from <= end) && range.from.is_none_or(|begin| to >= begin)
        };
        let runs: Vec<Run> = runs.into_iter().filter(|run| is_met(run.from, run.to)).collect();
        let outages = outages.into_iter().filter(|it| is_met(it.from, it.to.unwrap_or(Timestamp::MAX))).collect();
        let mut remarks = summary.remarks;
        remarks.extend(remarks_on(&runs, summary.log_lines.is_untimed));
        remarks.extend(remarks_on_lines(summary.told_intervals, summary.intervals, &summary.log_lines));
        let has_power = joule_seconds > 0.0 || summary.most_watts.is_some();
        let power = has_power.then(|| Power {
            joules: (joule_seconds > 0.0).then(|| rounded(joules, 1e3)),
            joules_per_frame: (joule_frames > 0).then(|| rounded(joules / joule_frames as f64, 1e6)),
            mean_watts: (joule_seconds > 0.0).then(|| rounded(joules / joule_seconds, 1e3)),
            max_watts: summary.most_watts.map(|watts| rounded(watts, 1e3)),
            known: if seconds > 0.0 { rounded(joule_seconds / seconds, 1e4) } else { 0.0 },
        });
        let temperature = |(name, (sum, n, most)): (String, (f64, u64, f64))| Temperature {
            name,
            mean_celsius: rounded(sum / n.max(1) as f64, 10.0),
            max_celsius: rounded(most, 10.0),
        };
        Self {
            files: summary.files,
            from: summary.from,
            to: summary.to,
            intervals: summary.intervals,
            frame_records: summary.frame_records,
            seconds: rounded(seconds, 1e3),
            stages: Stage::ALL
                .into_iter()
                .zip(summary.latency.iter().zip(&summary.told))
                .map(|(stage, (latency, told))| StageFigures::new(stage, latency, told))
                .collect(),
            frames: counts,
            sinks_dropped: summary.dropped,
            fps: (seconds > 0.0).then(|| rounded(counts.published as f64 / seconds, 1e3)),
            power,
            temperatures: summary.celsius.into_iter().map(temperature).collect(),
            throttled_minutes: summary.throttled_seconds.map(|seconds| rounded(seconds / 60.0, 1e3)),
            runs,
            outages,
            outages_left_out: uncounted,
            remarks,
        }
    }

    /// How many outages of a kind there are, and their seconds.
    pub(super) fn total(&self, kind: Kind) -> (usize, f64) {
        let of_kind = self.outages.iter().filter(|outage| outage.kind == kind);
        (of_kind.clone().count(), of_kind.map(|outage| outage.seconds).sum())
    }
}

impl StageFigures {
    /// Those of the histograms; where there are none, what lines of the text log tell.
    fn new(stage: Stage, latency: &Histogram<u64>, told: &Told) -> Self {
        if latency.is_empty() && told.n > 0 {
            let (p50_ms, p99_ms, max_ms) = (Some(told.p50_ms()), Some(told.p99_ms), Some(told.max_ms));
            return Self { stage: stage.name(), n: told.n, p50_ms, p90_ms: None, p99_ms, p999_ms: None, max_ms };
        }
        let ms = |us: u64| (!latency.is_empty()).then(|| us as f64 / 1000.0);
        let at = |quantile| ms(latency.value_at_quantile(quantile));
        Self {
            stage: stage.name(),
            n: latency.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: ms(latency.max()),
        }
    }
}

/// What a reader should know of figures that come from log lines.
fn remarks_on_lines(told: u64, intervals: u64, lines: &LogLines) -> Vec<String> {
    let mut remarks = Vec::new();
    if told > 0 {
        remarks
            .push("from log lines: p50 is the median of the intervals', p99 and max the worst interval's".to_owned());
    }
    if told > 0 && told < intervals {
        remarks
            .push("log lines and a latency log are added up: where both tell of one time, it counts twice".to_owned());
    }
    if lines.is_untimed {
        remarks.push("log lines without time stamps: times are the intervals' seconds, from 1970 on".to_owned());
    }
    if lines.is_yearless {
        remarks.push("log lines without a year: the last one that fits; their times are taken for UTC".to_owned());
    }
    remarks
}

/// What a reader should know before trusting sums over these runs.
fn remarks_on(runs: &[Run], is_untimed: bool) -> Vec<String> {
    let mut remarks = Vec::new();
    let mut several = |what: &str, of: fn(&Run) -> &String| {
        let mut names: Vec<&str> = runs.iter().map(|run| of(run).as_str()).filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > 1 {
            remarks.push(format!("{} {what} in one report: {}", names.len(), names.join(", ")));
        }
    };
    several("boards", |run| &run.host);
    several("models", |run| &run.model);
    several("engines", |run| &run.engine);
    let overlaps: Vec<f64> = runs
        .windows(2)
        .map(|pair| seconds_between(pair[1].from, pair[0].to))
        .filter(|overlap| *overlap > 1.0)
        .collect();
    if !overlaps.is_empty() {
        let longest = overlaps.iter().copied().fold(0.0, f64::max);
        let n = overlaps.len();
        let runs = if n == 1 { "a run overlaps" } else { "runs overlap" };
        let n = if n == 1 { String::new() } else { format!("{n} ") };
        let why = "several boards, or a clock that was set back";
        remarks.push(format!("{n}{runs} the one before, by up to {longest:.0} s: {why}"));
    }
    if let Some(run) = runs.iter().find(|run| run.from.as_second() < UNSET && !is_untimed) {
        remarks.push(format!("run {} began before its clock was set: {}", run.run, run.from));
    }
    remarks
}

/// 2020-01-01: an earlier time is of a clock that nobody had set.
pub(super) const UNSET: i64 = 1_577_836_800;
