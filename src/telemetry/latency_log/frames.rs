//! The sink that writes a record for every frame into the latency log.

use super::lines;
use super::LatencyLog;
use crate::lines::Inlet;
use crate::publish::{Closing, Published, Sink, SinkHealth};

/// The sink's half in the publish thread.
pub(super) struct FramesSink {
    inlet: Inlet,
    run: String,
}

impl FramesSink {
    /// A sink that hands records of `run` to `inlet`.
    pub(super) const fn new(inlet: Inlet, run: String) -> Self {
        Self { inlet, run }
    }
}

impl Sink for FramesSink {
    fn name(&self) -> &'static str {
        LatencyLog::NAME
    }

    fn publish(&mut self, result: &Published<'_>) {
        let Self { inlet, run } = self;
        inlet.put(false, |line| lines::frame(line, run, result));
    }

    fn health(&self) -> SinkHealth {
        self.inlet.health()
    }

    fn close(self: Box<Self>, closing: Closing) -> SinkHealth {
        self.inlet.close(closing)
    }
}
