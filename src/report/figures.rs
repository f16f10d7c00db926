//! The figures of a report: what the text, the JSON and the page show.

use base::rounding::rounded;
use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde::Serialize;

use super::log_lines::{LogLines, Told};
use super::outages::{Kind, Outage, Run};
use super::record::seconds_between;
use super::summary::Summary;
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::tests::{line, read};
    use crate::report::Range;

    fn start(time: &str, run: &str, [host, model, engine]: [&str; 3]) -> String {
        let about = json!({"kind": "event", "what": "start", "host": host, "model": model, "engine": {"kind": engine}});
        line(time, run, &about)
    }

    fn stop(time: &str, run: &str) -> String {
        line(time, run, &json!({"kind": "event", "what": "stop"}))
    }

    fn remarks(lines: &[String]) -> Vec<String> {
        read(lines, Range::default()).unwrap().figures.remarks
    }

    #[test]
    fn what_is_summed_up_though_it_differs_is_told() {
        let one = start("00:00", "a", ["pi", "m", "cpu"]);
        for (other, expected) in [
            (["pi", "m", "cpu"], None),
            (["", "", ""], None),
            (["pe", "m", "cpu"], Some("2 boards in one report: pe, pi")),
            (["pi", "n", "cpu"], Some("2 models in one report: m, n")),
            (["pi", "m", "edgetpu"], Some("2 engines in one report: cpu, edgetpu")),
        ] {
            let lines = [one.clone(), start("01:00", "b", other)];
            assert_eq!(remarks(&lines), expected.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn runs_that_overlap_by_more_than_a_second_are_told() {
        let why = "several boards, or a clock that was set back";
        let run = |run: &str, from: &str, to: &str| [stop(from, run), stop(to, run)];
        for (from, expected) in
            [("00:59", vec![]), ("00:58", vec![format!("a run overlaps the one before, by up to 2 s: {why}")])]
        {
            assert_eq!(remarks(&[run("a", "00:00", "01:00"), run("b", from, "02:00")].concat()), expected);
        }
        let three = [run("a", "00:00", "01:00"), run("b", "00:50", "02:00"), run("c", "01:57", "03:00")];
        assert_eq!(remarks(&three.concat()), [format!("2 runs overlap the one before, by up to 10 s: {why}")]);
    }

    #[test]
    fn a_clock_that_nobody_had_set_is_told() {
        for (time, expected) in [
            ("2020-01-01T00:00:00Z", vec![]),
            ("2019-12-31T23:59:59Z", vec!["run a began before its clock was set: 2019-12-31T23:59:59Z"]),
        ] {
            let line = format!("{}\n", json!({"time": time, "kind": "event", "run": "a", "what": "stop"}));
            assert_eq!(remarks(&[line]), expected);
        }
    }

    #[test]
    fn what_comes_from_log_lines_is_told() {
        let frames = "frames in=1 inferred=1 published=1 replaced=0 skipped=0 corrupt=0 failed=0 fps=1 seconds=60.0";
        let told = "from log lines: p50 is the median of the intervals', p99 and max the worst interval's";
        let twice = "log lines and a latency log are added up: where both tell of one time, it counts twice";
        let untimed = "log lines without time stamps: times are the intervals' seconds, from 1970 on";
        let yearless = "log lines without a year: the last one that fits; their times are taken for UTC";
        let record = line("00:00", "a", &json!({"kind": "interval", "seconds": 60}));
        let stamped = format!("[2026-11-22T10:05:00Z INFO ] {frames}\n");
        for (lines, expected) in [
            (vec![record.clone()], vec![]),
            (vec![stamped.clone()], vec![told]),
            (vec![record, stamped], vec![told, twice]),
            (vec![format!("{frames}\n")], vec![told, untimed]),
            (vec![format!("Oct 01 10:00:00 pi pspnetd[7]: {frames}\n")], vec![told, yearless]),
        ] {
            assert_eq!(remarks(&lines), expected);
        }
    }

    #[test]
    fn runs_and_outages_are_those_that_meet_the_range() {
        let event = |time: &str, run: &str, what: &str, state: &str| {
            line(time, run, &json!({"kind": "event", "what": what, "state": state}))
        };
        let interval = |time: &str| line(time, "a", &json!({"kind": "interval", "seconds": 30}));
        let lines = [
            vec![start("00:00", "a", ["pi", "m", "cpu"]), interval("00:30"), interval("01:00")],
            vec![event("01:00", "a", "camera", "waiting"), interval("01:30"), event("02:00", "a", "camera", "running")],
            vec![interval("02:00"), interval("02:30"), interval("03:00"), stop("03:00", "a")],
            vec![start("05:00", "b", ["pi", "m", "cpu"]), event("06:00", "b", "engine", "down")],
            vec![line("08:00", "b", &json!({"kind": "interval", "seconds": 30, "uptime": 180}))],
        ];
        let at = |time: &str| Some(format!("2026-11-22T10:{time}Z").parse().unwrap());
        let met = |from: Option<Timestamp>, to: Option<Timestamp>| {
            let figures = read(&lines.concat(), Range { from, to }).unwrap().figures;
            let runs: Vec<_> = figures.runs.iter().map(|run| run.run.as_str()).collect();
            let outages: Vec<_> = figures.outages.iter().map(|outage| outage.kind.short_name()).collect();
            (runs.join(" "), outages.join(" "))
        };
        for (from, to, runs, outages) in [
            (None, None, "a b", "camera daemon no record engine"),
            (at("02:00"), None, "a b", "camera daemon no record engine"),
            (at("02:01"), None, "a b", "daemon no record engine"),
            (at("03:00"), at("08:00"), "a b", "daemon no record engine"),
            (at("03:01"), None, "b", "daemon no record engine"),
            (at("07:50"), None, "b", "engine"),
            (None, at("05:00"), "a b", "camera daemon no record"),
            (None, at("04:59"), "a", "camera daemon"),
            (None, at("01:00"), "a", "camera"),
            (None, at("00:59"), "a", ""),
        ] {
            assert_eq!(met(from, to), (runs.to_owned(), outages.to_owned()), "{from:?} {to:?}");
        }
    }
}
