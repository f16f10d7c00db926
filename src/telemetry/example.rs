//! A state for tests: `tests/data/state.json` and `history.json`, which the tests of the program have as well.

use super::state::{History, Observe, StageBuckets, State};
use super::Stage;

/// Everything known, and one dead Edge TPU.
pub(crate) fn state() -> State {
    serde_json::from_str(include_str!("../../tests/data/state.json")).unwrap()
}

/// Ten points of two classes.
pub(crate) fn history() -> History {
    serde_json::from_str(include_str!("../../tests/data/history.json")).unwrap()
}

/// A program that stands still in this state.
pub(crate) struct Example(pub(crate) State);

impl Observe for Example {
    fn state(&self) -> State {
        self.0.clone()
    }

    fn history(&self) -> History {
        history()
    }

    /// 210 frames of 50 ms and two of a minute.
    fn buckets(&self, bounds: &[f64]) -> Vec<StageBuckets> {
        let counts = |value: f64, count: u64| {
            let at = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
            (0..=bounds.len()).map(move |index| if index == at { count } else { 0 })
        };
        let of = |stage: &Stage| StageBuckets {
            stage: stage.name(),
            counts: counts(0.05, 210).zip(counts(60.0, 2)).map(|(some, others)| some + others).collect(),
            count: 212,
            sum_seconds: 210.0 * 0.05 + 120.0,
        };
        Stage::ALL.iter().map(of).collect()
    }

    fn liveness(&self) -> Result<(), String> {
        Ok(())
    }
}
