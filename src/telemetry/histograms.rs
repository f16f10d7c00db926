//! One HdrHistogram per stage: what everything that tells of latency is made of.

use hdrhistogram::Histogram;

use super::state::StageFigures;
use super::{Stage, Timings};

/// Values are kept in microseconds with three digits, up to an hour.
const HIGHEST_US: u64 = 3_600_000_000;
const DIGITS: u8 = 3;

/// A histogram with bounds that this file's constants don't allow.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("latency histograms can't be made")]
pub struct HistogramError;

/// Latency of every stage, in microseconds.
#[derive(Clone, Debug)]
pub struct Histograms(Vec<Histogram<u32>>);

impl Histograms {
    /// Empty ones.
    ///
    /// # Errors
    /// Never with this file's constants.
    pub fn new() -> Result<Self, HistogramError> {
        Stage::ALL
            .iter()
            .map(|_| Histogram::new_with_max(HIGHEST_US, DIGITS).map_err(|_| HistogramError))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// That of one stage.
    pub fn of(&self, stage: Stage) -> &Histogram<u32> {
        &self.0[stage as usize]
    }

    /// Adds one frame.
    pub fn record(&mut self, timings: &Timings) {
        for stage in Stage::ALL {
            let microseconds = u64::try_from(timings.of(stage).as_micros()).unwrap_or(u64::MAX);
            self.0[stage as usize].saturating_record(microseconds);
        }
    }

    /// Adds every frame of `other`.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            if !theirs.is_empty() {
                // All have the same bounds.
                let _ = mine.add(theirs);
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.iter_mut().filter(|histogram| !histogram.is_empty()).for_each(Histogram::reset);
    }

    /// True where no frame was recorded.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Histogram::is_empty)
    }

    /// Percentiles of every stage, in order.
    pub fn figures(&self) -> Vec<StageFigures> {
        let of = |&stage: &Stage| {
            let histogram = self.of(stage);
            let milliseconds = |microseconds: u64| (!histogram.is_empty()).then(|| microseconds as f64 / 1000.0);
            let at = |quantile| milliseconds(histogram.value_at_quantile(quantile));
            StageFigures {
                stage: stage.name().to_owned(),
                n: histogram.len(),
                p50_ms: at(0.5),
                p90_ms: at(0.9),
                p99_ms: at(0.99),
                max_ms: milliseconds(histogram.max()),
            }
        };
        Stage::ALL.iter().map(of).collect()
    }
}
