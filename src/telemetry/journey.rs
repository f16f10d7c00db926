//! [`Journey`]: how one frame got from the camera to the sinks.

use super::{Counts, EngineReport, Timings};

/// How one frame got to the sinks, and what became of the frames before it.
#[derive(Clone, Debug, Default)]
pub struct Journey {
    /// Time of each stage so far; `publish` is still zero, `end_to_end` reaches to this moment.
    pub timings: Timings,
    /// Frames lost so far.
    pub counts: Counts,
    /// What runs the model, at this moment.
    pub engine: EngineReport,
    /// The worker that ran this frame, from 0; None is the CPU in this process.
    pub worker: Option<usize>,
    /// Results that this run's sinks have dropped so far.
    pub dropped: u64,
}
