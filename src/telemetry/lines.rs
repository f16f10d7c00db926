//! The lines of figures in the log, and the table at its end.
//!
//! The lines are `key=value`, one per stage, with the unit in the key, so that grep and awk can read them:
//! `latency stage=infer n=98 p50_ms=47.10 p90_ms=48.02 p99_ms=51.20 max_ms=60.13`.

use std::time::Duration;

use base::clock::Instant;

use super::state::StageFigures;
use super::{Counts, Histograms};

/// While nothing comes at all, one line so often is enough: a service that waits for a camera must not fill the journal.
const IDLE_EVERY: Duration = Duration::from_secs(3600);

/// Says when lines are due, and of what time they tell.
#[derive(Debug)]
pub struct Reporter {
    every: Duration,
    interval_started: Instant,
    counts: Counts,
    idle_said: Option<Instant>,
}

/// What an interval's lines are made of.
#[derive(Clone, Debug)]
pub struct Lines {
    /// The lines; empty where the same silence was told within the hour.
    pub lines: Vec<String>,
    /// Length of the interval.
    pub seconds: f64,
    /// What was counted in it.
    pub counts: Counts,
}

impl Reporter {
    /// A reporter whose lines are due every `every`; zero never.
    pub fn new(every: Duration, now: Instant) -> Self {
        Self { every, interval_started: now, counts: Counts::default(), idle_said: None }
    }

    /// True once the interval is over.
    pub fn is_due(&self, now: Instant) -> bool {
        !self.every.is_zero() && now.since(self.interval_started) >= self.every
    }

    /// The interval's lines; the next interval begins. An interval in which nothing was counted has the line of counts alone,
    /// and those that follow it have none for an hour.
    pub fn lines(&mut self, now: Instant, counts: &Counts, latency: &Histograms) -> Lines {
        let elapsed = now.since(self.interval_started);
        let added = counts.since(&self.counts);
        let is_idle = added == Counts::default();
        let is_repeated = is_idle && self.idle_said.is_some_and(|said| now.since(said) < IDLE_EVERY);
        let mut lines = Vec::new();
        if !is_repeated {
            lines.push(frames_line(&added, elapsed));
            self.idle_said = is_idle.then_some(now);
        }
        if !is_idle {
            lines.extend(latency.figures().iter().map(latency_line));
        }
        self.interval_started = now;
        self.counts = *counts;
        Lines { lines, seconds: elapsed.as_secs_f64(), counts: added }
    }
}

fn frames_line(counts: &Counts, elapsed: Duration) -> String {
    let Counts { frames_in, skipped, corrupt, replaced, inferred, failed, published } = counts;
    let seconds = elapsed.as_secs_f64();
    let fps = if seconds > 0.0 { *published as f64 / seconds } else { 0.0 };
    format!(
        "frames in={frames_in} inferred={inferred} published={published} replaced={replaced} skipped={skipped} \
         corrupt={corrupt} failed={failed} fps={fps:.2} seconds={seconds:.1}"
    )
}

fn latency_line(figures: &StageFigures) -> String {
    let StageFigures { stage, n, .. } = figures;
    let start = format!("latency stage={stage} n={n}");
    match percentiles(figures) {
        Some([p50, p90, p99, max]) => {
            format!("{start} p50_ms={p50:.2} p90_ms={p90:.2} p99_ms={p99:.2} max_ms={max:.2}")
        }
        None => start,
    }
}

/// None where nothing was recorded, which is not zero.
fn percentiles(figures: &StageFigures) -> Option<[f64; 4]> {
    Some([figures.p50_ms?, figures.p90_ms?, figures.p99_ms?, figures.max_ms?])
}

/// A whole run, `elapsed` long, as a table for people.
pub fn table(latency: &Histograms, counts: &Counts, elapsed: Duration) -> Vec<String> {
    let mut rows =
        vec![format!("{:<11}{:>9}{:>11}{:>11}{:>11}{:>11}", "stage", "n", "p50 ms", "p90 ms", "p99 ms", "max ms")];
    rows.extend(latency.figures().iter().map(|figures| {
        let [p50, p90, p99, max] = match percentiles(figures) {
            Some(figures) => figures.map(|ms| format!("{ms:.2}")),
            None => ["-", "-", "-", "-"].map(str::to_owned),
        };
        format!("{:<11}{:>9}{p50:>11}{p90:>11}{p99:>11}{max:>11}", figures.stage, figures.n)
    }));
    rows.push(frames_line(counts, elapsed));
    rows
}

#[cfg(test)]
mod tests {
    use super::super::{Stage, Timings};
    use super::*;

    fn latency(infer_ms: impl IntoIterator<Item = u64>) -> Histograms {
        let mut histograms = Histograms::new().unwrap();
        for ms in infer_ms {
            let mut timings = Timings::default();
            timings.set(Stage::Infer, Duration::from_millis(ms));
            histograms.record(&timings);
        }
        histograms
    }

    #[test]
    fn lines_come_once_per_interval() {
        let start = Instant::from_nanos(0);
        let mut reporter = Reporter::new(Duration::from_secs(10), start);
        let counts = Counts { frames_in: 120, inferred: 100, published: 100, replaced: 20, ..Counts::default() };
        assert!(!reporter.is_due(start.after(Duration::from_secs(9))));
        let now = start.after(Duration::from_secs(10));
        assert!(reporter.is_due(now));
        let told = reporter.lines(now, &counts, &latency(1..=100));
        assert_eq!(
            told.lines[0],
            "frames in=120 inferred=100 published=100 replaced=20 skipped=0 corrupt=0 failed=0 fps=10.00 seconds=10.0"
        );
        let infer = told.lines.iter().find(|line| line.contains("stage=infer")).unwrap();
        assert!(infer.starts_with("latency stage=infer n=100 p50_ms=50.0"), "{infer}");
        assert!(infer.ends_with("max_ms=100.03"), "{infer}");
        assert_eq!((told.counts, told.seconds), (counts, 10.0));
        assert!(!reporter.is_due(now));
    }

    #[test]
    fn a_reporter_that_is_never_due_has_no_interval() {
        let reporter = Reporter::new(Duration::ZERO, Instant::from_nanos(0));
        assert!(!reporter.is_due(Instant::from_nanos(u64::MAX)));
    }

    #[test]
    fn an_interval_tells_what_was_added_since_the_last() {
        let start = Instant::from_nanos(0);
        let mut reporter = Reporter::new(Duration::from_secs(10), start);
        let counts = |n: u64| Counts {
            frames_in: n,
            inferred: 2 * n,
            published: 3 * n,
            replaced: 4 * n,
            skipped: 5 * n,
            corrupt: 6 * n,
            failed: 7 * n,
        };
        let mut told = |seconds, n| reporter.lines(start.after(Duration::from_secs(seconds)), &counts(n), &latency([]));
        for (told, line) in [
            (told(10, 1), "in=1 inferred=2 published=3 replaced=4 skipped=5 corrupt=6 failed=7 fps=0.30 seconds=10.0"),
            (
                told(30, 3),
                "in=2 inferred=4 published=6 replaced=8 skipped=10 corrupt=12 failed=14 fps=0.30 seconds=20.0",
            ),
            // An interval without a length has no rate.
            (told(30, 4), "in=1 inferred=2 published=3 replaced=4 skipped=5 corrupt=6 failed=7 fps=0.00 seconds=0.0"),
        ] {
            assert_eq!(told.lines[0], format!("frames {line}"));
        }
    }

    #[test]
    fn a_line_of_latency_has_each_percentile_under_its_name() {
        let [p50_ms, p90_ms, p99_ms, max_ms] = [1.114, 2.225, 3.336, 4.447].map(Some);
        let figures = StageFigures { stage: "infer".to_owned(), n: 5, p50_ms, p90_ms, p99_ms, max_ms };
        let line = "latency stage=infer n=5 p50_ms=1.11 p90_ms=2.23 p99_ms=3.34 max_ms=4.45";
        assert_eq!(latency_line(&figures), line);
    }

    #[test]
    fn a_stage_without_frames_has_no_figures() {
        let start = Instant::from_nanos(0);
        let mut reporter = Reporter::new(Duration::from_secs(10), start);
        let counts = Counts { frames_in: 1, ..Counts::default() };
        let told = reporter.lines(start.after(Duration::from_secs(10)), &counts, &latency([]));
        assert_eq!(told.lines[4], "latency stage=infer n=0");
    }

    #[test]
    fn while_nothing_comes_one_line_an_hour_is_enough() {
        let mut now = Instant::from_nanos(0);
        let mut reporter = Reporter::new(Duration::from_secs(10), now);
        let mut lines_after = |counts: &Counts, seconds| {
            now = now.after(Duration::from_secs(seconds));
            reporter.lines(now, counts, &latency([])).lines
        };
        let mut counts = Counts::default();
        let first = lines_after(&counts, 10);
        assert_eq!(first.len(), 1, "{first:?}");
        assert!(first[0].starts_with("frames in=0 "), "{first:?}");
        assert!(lines_after(&counts, 10).is_empty());
        assert_eq!(lines_after(&counts, 3590).len(), 1);
        assert!(lines_after(&counts, 10).is_empty());
        // Whatever comes ends the silence, and its end is said again.
        counts.corrupt = 1;
        assert!(lines_after(&counts, 10).len() > 1);
        assert_eq!(lines_after(&counts, 10).len(), 1);
    }

    #[test]
    fn the_table_covers_the_whole_run() {
        let rows = table(&latency(1..=100), &Counts { published: 1, ..Counts::default() }, Duration::from_secs(2));
        assert_eq!(rows.len(), 9);
        for (row, text) in [
            (0, "stage              n     p50 ms     p90 ms     p99 ms     max ms"),
            (4, "infer            100      50.02      90.05      99.01     100.03"),
            (8, "frames in=0 inferred=0 published=1 replaced=0 skipped=0 corrupt=0 failed=0 fps=0.50 seconds=2.0"),
        ] {
            assert_eq!(rows[row], text);
        }
        let empty = table(&latency([]), &Counts::default(), Duration::ZERO);
        assert_eq!(empty[7], "end_to_end         0          -          -          -          -");
    }
}
