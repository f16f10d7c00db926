//! Where the publish thread leaves the times of a frame, and what others make of them.
//!
//! The publish thread takes one lock per frame and adds seven numbers. Who tells of latency swaps the histograms for empty
//! ones and adds them to its own, at its own pace.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use base::sync::lock;

use super::state::StageBuckets;
use super::{HistogramError, Histograms, Stage, Timings};

/// The times of frames since somebody took them.
#[derive(Debug)]
pub struct Recorder(Mutex<Recorded>);

#[derive(Debug)]
struct Recorded {
    fresh: Histograms,
    sums: [Duration; Stage::ALL.len()],
}

impl Recorder {
    /// An empty one.
    ///
    /// # Errors
    /// As [`Histograms::new`].
    pub fn new() -> Result<Self, HistogramError> {
        Ok(Self(Mutex::new(Recorded { fresh: Histograms::new()?, sums: Default::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        // A panic of who held it leaves at worst one frame half counted.
        lock(&self.0)
    }

    /// Adds one frame.
    pub fn record(&self, timings: &Timings) {
        let mut recorded = self.lock();
        recorded.fresh.record(timings);
        for (sum, stage) in recorded.sums.iter_mut().zip(Stage::ALL) {
            *sum += timings.of(stage);
        }
    }

    /// Swaps what was recorded for `empty`, and says what all times since the start add up to.
    fn take(&self, empty: &mut Histograms) -> [Duration; Stage::ALL.len()] {
        let mut recorded = self.lock();
        std::mem::swap(&mut recorded.fresh, empty);
        recorded.sums
    }
}

/// Latency over every time that somebody asks for.
#[derive(Debug)]
pub struct Latency {
    /// Since the running window began.
    pub window: Histograms,
    /// Since the last group of lines in the log.
    pub interval: Histograms,
    /// Since the last record of the latency log.
    pub logged: Histograms,
    /// Since the start.
    pub total: Histograms,
    fresh: Histograms,
    sums: [Duration; Stage::ALL.len()],
}

impl Latency {
    /// Nothing recorded yet.
    ///
    /// # Errors
    /// As [`Histograms::new`].
    pub fn new() -> Result<Self, HistogramError> {
        Ok(Self {
            window: Histograms::new()?,
            interval: Histograms::new()?,
            logged: Histograms::new()?,
            total: Histograms::new()?,
            fresh: Histograms::new()?,
            sums: Default::default(),
        })
    }

    /// Takes what `recorder` has.
    pub fn catch_up(&mut self, recorder: &Recorder) {
        self.sums = recorder.take(&mut self.fresh);
        if self.fresh.is_empty() {
            return;
        }
        for histograms in [&mut self.window, &mut self.interval, &mut self.logged, &mut self.total] {
            histograms.add(&self.fresh);
        }
        self.fresh.clear();
    }

    /// Latency since the start, counted into buckets with these upper bounds (seconds, ascending).
    pub fn buckets(&self, bounds: &[f64]) -> Vec<StageBuckets> {
        let stage = |stage: Stage| {
            let mut counts = vec![0; bounds.len() + 1];
            let histogram = self.total.of(stage);
            for value in histogram.iter_recorded() {
                // Of the values that a place stands for the lowest, so that a round bound is in its own bucket.
                let seconds = histogram.lowest_equivalent(value.value_iterated_to()) as f64 / 1e6;
                let bucket = bounds.partition_point(|bound| *bound < seconds);
                counts[bucket] += value.count_since_last_iteration();
            }
            StageBuckets {
                stage: stage.name(),
                count: counts.iter().sum(),
                counts,
                sum_seconds: self.sums[stage as usize].as_secs_f64(),
            }
        };
        Stage::ALL.into_iter().map(stage).collect()
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
    fn every_time_is_kept_for_every_reader_until_that_one_forgets_it() {
        let recorder = Recorder::new().unwrap();
        let mut latency = Latency::new().unwrap();
        for _ in 0..2 {
            (1..=10).for_each(|ms| recorder.record(&timings(ms)));
            latency.catch_up(&recorder);
            latency.catch_up(&recorder);
            assert_eq!(latency.interval.of(Stage::Infer).len(), 10);
            latency.interval.clear();
        }
        let Latency { window, logged, total, .. } = &latency;
        assert_eq!([window, logged, total].map(|kept| kept.of(Stage::Infer).len()), [20; 3]);
    }

    #[test]
    fn every_stage_has_its_own_buckets_and_sum() {
        let recorder = Recorder::new().unwrap();
        let mut latency = Latency::new().unwrap();
        let mut timings = Timings::default();
        Stage::ALL.into_iter().for_each(|stage| timings.set(stage, Duration::from_secs(stage as u64 + 1)));
        for _ in 0..2 {
            recorder.record(&timings);
            latency.catch_up(&recorder);
        }
        let expected = Stage::ALL.map(|stage| StageBuckets {
            stage: stage.name(),
            counts: if (stage as u64) < 3 { vec![2, 0] } else { vec![0, 2] },
            count: 2,
            sum_seconds: 2.0 * (stage as u64 + 1) as f64,
        });
        assert_eq!(latency.buckets(&[3.0]), expected);
    }

    #[test]
    fn buckets_have_every_frame_once_and_the_exact_sum() {
        let recorder = Recorder::new().unwrap();
        let mut latency = Latency::new().unwrap();
        (1..=100).for_each(|ms| recorder.record(&timings(ms)));
        latency.catch_up(&recorder);
        let infer = &latency.buckets(&[0.010, 0.050])[Stage::Infer as usize];
        assert_eq!((infer.stage, &infer.counts[..], infer.count), ("infer", &[10, 40, 50][..], 100));
        assert!((infer.sum_seconds - 5.05).abs() < 1e-9, "{}", infer.sum_seconds);
    }
}
