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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A frame whose stages took `more` more than 0, 100, 200 … microseconds.
    fn timings(more: u64) -> Timings {
        let mut timings = Timings::default();
        Stage::ALL.into_iter().for_each(|stage| timings.set(stage, Duration::from_micros(stage as u64 * 100 + more)));
        timings
    }

    #[test]
    fn every_stage_has_its_own_percentiles() {
        let mut histograms = Histograms::new().unwrap();
        (1..=100).for_each(|more| histograms.record(&timings(more)));
        let figures = histograms.figures();
        assert_eq!(figures.len(), Stage::ALL.len());
        for (stage, figures) in Stage::ALL.into_iter().zip(figures) {
            let ms = |more: u64| Some((stage as u64 * 100 + more) as f64 / 1000.0);
            let (p50_ms, p90_ms, p99_ms, max_ms) = (ms(50), ms(90), ms(99), ms(100));
            assert_eq!(
                figures,
                StageFigures { stage: stage.name().to_owned(), n: 100, p50_ms, p90_ms, p99_ms, max_ms }
            );
        }
        let empty = StageFigures { stage: "sensor".to_owned(), ..StageFigures::default() };
        assert_eq!(Histograms::new().unwrap().figures()[0], empty);
    }

    #[test]
    fn frames_are_added_and_forgotten_stage_by_stage() {
        let (mut sum, mut one) = (Histograms::new().unwrap(), Histograms::new().unwrap());
        assert!(sum.is_empty());
        one.record(&timings(1));
        assert!(!one.is_empty());
        sum.add(&one);
        sum.add(&one);
        sum.add(&Histograms::new().unwrap());
        let seen = Stage::ALL.map(|stage| (sum.of(stage).len(), sum.of(stage).max()));
        assert_eq!(seen, [(2, 1), (2, 101), (2, 201), (2, 301), (2, 401), (2, 501), (2, 601)]);
        sum.clear();
        assert!(sum.is_empty() && sum.of(Stage::EndToEnd).is_empty() && !one.is_empty());
    }

    #[test]
    fn a_frame_that_took_more_than_an_hour_counts_as_one_of_an_hour() {
        let mut histograms = Histograms::new().unwrap();
        let mut timings = timings(0);
        timings.set(Stage::Infer, Duration::from_secs(7200));
        histograms.record(&timings);
        let infer = &histograms.figures()[Stage::Infer as usize];
        let hours = infer.max_ms.unwrap() / 3_600_000.0;
        assert!(infer.n == 1 && (1.0..1.2).contains(&hours), "{infer:?}");
    }
}
