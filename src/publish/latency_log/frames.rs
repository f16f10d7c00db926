//! The sink that writes a record for every frame into the latency log.

use base::line_file::Inlet;
use base::outbox::{Closing, OutboxHealth};

use super::lines;
use crate::publish::latency_log::LatencyLog;
use crate::publish::Sink;
use crate::scene::Outcome;

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

    fn publish(&mut self, outcome: &Outcome) {
        let Self { inlet, run } = self;
        inlet.put(false, |line| lines::frame(line, run, outcome));
    }

    fn health(&self) -> OutboxHealth {
        self.inlet.health()
    }

    fn close(self: Box<Self>, closing: Closing) -> OutboxHealth {
        self.inlet.close(closing)
    }
}
