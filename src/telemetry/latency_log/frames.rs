//! The sink that writes a record for every frame into the latency log.

use base::line_file::Inlet;
use base::outbox::{Closing, OutboxHealth};

use super::{lines, LatencyLog};
use crate::publish::{Published, Sink};

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

    fn health(&self) -> OutboxHealth {
        self.inlet.health()
    }

    fn close(self: Box<Self>, closing: Closing) -> OutboxHealth {
        self.inlet.close(closing)
    }
}
