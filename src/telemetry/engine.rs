//! What runs the model, as it is told to the outside.

use std::fmt;
use std::sync::Arc;

/// What is told of the engines with every result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineReport {
    /// `cpu`, or the kind of the workers: `edgetpu`, `delegate`.
    pub kind: &'static str,
    /// Workers that are configured; 0 where the CPU alone runs the model.
    pub workers: usize,
    /// Those that are up.
    pub up: usize,
    /// Why the first of the others is not, where that is known; else why the CPU's engine is gone.
    pub reason: Option<Arc<str>>,
    /// Times that a worker, or the CPU's engine, failed or could not be brought up.
    pub faults: u64,
    /// Times that a worker, or the CPU's process, came up.
    pub starts: u64,
    /// Frames that the CPU ran because no worker was up.
    pub fallback_frames: u64,
}

impl EngineReport {
    /// True where something can run the model, as far as is known.
    pub const fn can_run(&self) -> bool {
        self.up > 0 || self.is_cpu_alone() && self.reason.is_none()
    }

    /// True where the CPU is all there is.
    pub const fn is_cpu_alone(&self) -> bool {
        self.workers == 0
    }
}

/// The line for the log: `engine kind=edgetpu workers=1 up=1 faults=0 starts=1 fallback_frames=0`.
impl fmt::Display for EngineReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, workers, up, faults, starts, fallback_frames, .. } = self;
        write!(
            f,
            "engine kind={kind} workers={workers} up={up} faults={faults} starts={starts} \
             fallback_frames={fallback_frames}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_every_count_under_its_name() {
        let mut report = EngineReport {
            kind: "edgetpu",
            workers: 6,
            up: 5,
            reason: Some("no answer".into()),
            faults: 4,
            starts: 3,
            fallback_frames: 2,
        };
        let line = "engine kind=edgetpu workers=6 up=5 faults=4 starts=3 fallback_frames=2";
        assert_eq!((report.to_string().as_str(), report.is_cpu_alone()), (line, false));
        report.workers = 0;
        assert!(report.is_cpu_alone());
    }
}
