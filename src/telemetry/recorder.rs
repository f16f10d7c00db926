//! Latency histograms and the log lines made of them.
//!
//! The lines are `key=value`, one per stage, with the unit in the key, so that grep and awk can read them:
//! `latency stage=infer n=98 p50_ms=47.10 p90_ms=48.02 p99_ms=51.20 max_ms=60.13`.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::{Counts, Stage, Timings};
use crate::clock::Instant;

/// Values are kept in microseconds with three digits, up to an hour.
const HIGHEST_US: u64 = 3_600_000_000;
const DIGITS: u8 = 3;

/// While nothing comes at all, one line so often is enough: a service that waits for a camera must not fill the journal.
const IDLE_EVERY: Duration = Duration::from_secs(3600);

/// Histograms of every stage, for the running interval and since the start.
#[derive(Debug)]
pub struct Recorder {
    interval: Histograms,
    total: Histograms,
    every: Duration,
    started: Instant,
    interval_started: Instant,
    interval_counts: Counts,
    idle_said: Option<Instant>,
}

/// A histogram with bounds that this file's constants don't allow.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("latency histograms can't be made")]
pub struct RecorderError;

impl Recorder {
    /// A recorder whose lines are due every `every`; zero never.
    ///
    /// # Errors
    /// Never with this file's constants.
    pub fn new(every: Duration, now: Instant) -> Result<Self, RecorderError> {
        Ok(Self {
            interval: Histograms::new()?,
            total: Histograms::new()?,
            every,
            started: now,
            interval_started: now,
            interval_counts: Counts::default(),
            idle_said: None,
        })
    }

    /// Adds one frame.
    pub fn record(&mut self, timings: &Timings) {
        self.interval.record(timings);
        self.total.record(timings);
    }

    /// Median end-to-end latency of the running interval, or of the whole run before the first frame of an interval.
    pub fn end_to_end_p50(&self) -> Duration {
        let histogram = match self.interval.of(Stage::EndToEnd) {
            interval if interval.is_empty() => self.total.of(Stage::EndToEnd),
            interval => interval,
        };
        Duration::from_micros(histogram.value_at_quantile(0.5))
    }

    /// The interval's lines once it is over; the next interval begins. None before. An interval in which nothing was counted
    /// has the line of counts alone, and those that follow it have none for an hour.
    pub fn interval_lines(&mut self, now: Instant, counts: &Counts) -> Option<Vec<String>> {
        let elapsed = now.since(self.interval_started);
        if self.every.is_zero() || elapsed < self.every {
            return None;
        }
        let added = counts.since(&self.interval_counts);
        let is_idle = added == Counts::default();
        let is_repeated = is_idle && self.idle_said.is_some_and(|said| now.since(said) < IDLE_EVERY);
        let mut lines = Vec::new();
        if !is_repeated {
            lines.push(frames_line(&added, elapsed));
            self.idle_said = is_idle.then_some(now);
        }
        if !is_idle {
            lines.extend(self.interval.lines());
        }
        self.interval.clear();
        self.interval_started = now;
        self.interval_counts = *counts;
        Some(lines)
    }

    /// The whole run as a table for people.
    pub fn table(&self, now: Instant, counts: &Counts) -> Vec<String> {
        let mut rows =
            vec![format!("{:<11}{:>9}{:>11}{:>11}{:>11}{:>11}", "stage", "n", "p50 ms", "p90 ms", "p99 ms", "max ms")];
        rows.extend(Stage::ALL.iter().map(|&stage| {
            let histogram = self.total.of(stage);
            let figures = match quantiles(histogram) {
                Some(figures) => figures.map(|ms| format!("{ms:.2}")),
                None => ["-", "-", "-", "-"].map(str::to_owned),
            };
            let [p50, p90, p99, max] = figures;
            format!("{:<11}{:>9}{p50:>11}{p90:>11}{p99:>11}{max:>11}", stage.name(), histogram.len())
        }));
        rows.push(frames_line(counts, now.since(self.started)));
        rows
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

/// p50, p90, p99 and maximum in milliseconds; None where nothing was recorded, which is not zero.
fn quantiles(histogram: &Histogram<u32>) -> Option<[f64; 4]> {
    let milliseconds = |microseconds: u64| microseconds as f64 / 1000.0;
    let at = |quantile| milliseconds(histogram.value_at_quantile(quantile));
    (!histogram.is_empty()).then(|| [at(0.5), at(0.9), at(0.99), milliseconds(histogram.max())])
}

#[derive(Debug)]
struct Histograms(Vec<Histogram<u32>>);

impl Histograms {
    fn new() -> Result<Self, RecorderError> {
        Stage::ALL
            .iter()
            .map(|_| Histogram::new_with_max(HIGHEST_US, DIGITS).map_err(|_| RecorderError))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn of(&self, stage: Stage) -> &Histogram<u32> {
        &self.0[stage as usize]
    }

    fn record(&mut self, timings: &Timings) {
        for stage in Stage::ALL {
            let microseconds = u64::try_from(timings.of(stage).as_micros()).unwrap_or(u64::MAX);
            self.0[stage as usize].saturating_record(microseconds);
        }
    }

    fn clear(&mut self) {
        self.0.iter_mut().for_each(Histogram::reset);
    }

    fn lines(&self) -> impl Iterator<Item = String> + '_ {
        Stage::ALL.iter().map(|&stage| {
            let histogram = self.of(stage);
            let start = format!("latency stage={} n={}", stage.name(), histogram.len());
            match quantiles(histogram) {
                Some([p50, p90, p99, max]) => {
                    format!("{start} p50_ms={p50:.2} p90_ms={p90:.2} p99_ms={p99:.2} max_ms={max:.2}")
                }
                None => start,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timings(infer_ms: u64) -> Timings {
        let mut timings = Timings::default();
        timings.set(Stage::Infer, Duration::from_millis(infer_ms));
        timings
    }

    #[test]
    fn lines_come_once_per_interval_and_start_anew() {
        let start = Instant::from_nanos(0);
        let mut recorder = Recorder::new(Duration::from_secs(10), start).unwrap();
        for ms in 1..=100 {
            recorder.record(&timings(ms));
        }
        let counts = Counts { frames_in: 120, inferred: 100, published: 100, replaced: 20, ..Counts::default() };
        assert!(recorder.interval_lines(start.after(Duration::from_secs(9)), &counts).is_none());
        let now = start.after(Duration::from_secs(10));
        let lines = recorder.interval_lines(now, &counts).unwrap();
        assert_eq!(
            lines[0],
            "frames in=120 inferred=100 published=100 replaced=20 skipped=0 corrupt=0 failed=0 fps=10.00 seconds=10.0"
        );
        let infer = lines.iter().find(|line| line.contains("stage=infer")).unwrap();
        assert!(infer.starts_with("latency stage=infer n=100 p50_ms=50.0"), "{infer}");
        assert!(infer.ends_with("max_ms=100.03"), "{infer}");
    }

    #[test]
    fn a_stage_without_frames_has_no_figures() {
        let start = Instant::from_nanos(0);
        let mut recorder = Recorder::new(Duration::from_secs(10), start).unwrap();
        let counts = Counts { frames_in: 1, ..Counts::default() };
        let lines = recorder.interval_lines(start.after(Duration::from_secs(10)), &counts).unwrap();
        assert_eq!(lines[4], "latency stage=infer n=0");
    }

    #[test]
    fn while_nothing_comes_one_line_an_hour_is_enough() {
        let mut now = Instant::from_nanos(0);
        let mut recorder = Recorder::new(Duration::from_secs(10), now).unwrap();
        let mut lines_after = |counts: &Counts, seconds| {
            now = now.after(Duration::from_secs(seconds));
            recorder.interval_lines(now, counts).unwrap()
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
        let start = Instant::from_nanos(0);
        let mut recorder = Recorder::new(Duration::ZERO, start).unwrap();
        recorder.record(&timings(5));
        let now = start.after(Duration::from_secs(2));
        assert!(recorder.interval_lines(now, &Counts::default()).is_none());
        let table = recorder.table(now, &Counts { published: 1, ..Counts::default() });
        assert_eq!(table.len(), 9);
        assert!(table[4].starts_with("infer              1       5.00"), "{}", table[4]);
        assert!(table[8].contains("fps=0.50"), "{}", table[8]);
    }
}
