//! The infer thread: tensor to output, and the engine's coming and going.

use std::time::Duration;

use super::{BackOff, Pool, ResultSlot, Stage, TensorSlot};
use crate::infer::{Engine, EngineMaker};
use crate::mailbox::{Inlet, Outlet, Put, Take};
use crate::shutdown::TICK;
use crate::telemetry::Counters;

/// The longest pause before a failed engine is made anew.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct InferStage {
    pub(super) stage: Stage,
    pub(super) engine: Option<Box<dyn Engine>>,
    pub(super) make_engine: EngineMaker,
    pub(super) tensors: Pool<TensorSlot>,
    pub(super) results: Pool<ResultSlot>,
    pub(super) inlet: Inlet<TensorSlot>,
    pub(super) outlet: Outlet<ResultSlot>,
}

impl InferStage {
    /// Ends when the capture thread has ended and its last frame is through.
    pub(super) fn run(mut self) {
        let mut back_off = BackOff::new(LONGEST_PAUSE);
        let mut spare = None;
        if let Some(engine) = &self.engine {
            log::info!("model: {}", engine.describe());
        }
        loop {
            self.stage.shared.beats.infer(self.stage.now());
            if self.engine.is_none() && !self.revive(&mut back_off) {
                if self.stage.shutdown.is_pulled() {
                    break;
                }
                continue;
            }
            let Some(result) = spare.take().or_else(|| self.results.take(TICK)) else { continue };
            match self.inlet.take(TICK, &self.stage.shutdown) {
                Take::Item(slot) => spare = self.infer(slot, result, &mut back_off),
                Take::Empty => spare = Some(result),
                Take::Closed => break,
            }
        }
    }

    fn revive(&mut self, back_off: &mut BackOff) -> bool {
        if self.stage.shutdown.sleep(back_off.pause()) {
            return false;
        }
        match (self.make_engine)() {
            Ok(engine) => {
                log::info!("model: again {}", engine.describe());
                self.engine = Some(engine);
                true
            }
            Err(error) => {
                log::error!("model: can't be loaded again: {error}");
                false
            }
        }
    }

    /// Runs one frame through the engine. Gives back a result slot that is free again.
    fn infer(&mut self, mut slot: TensorSlot, mut result: ResultSlot, back_off: &mut BackOff) -> Option<ResultSlot> {
        let engine = self.engine.as_mut()?;
        result.infer_started = self.stage.clock.now();
        let outcome = engine.infer(&slot.tensor, &mut result.output);
        result.infer_ended = self.stage.clock.now();
        // The picture's buffer travels on; the slot gets the one that came back.
        std::mem::swap(&mut slot.about, &mut result.about);
        self.tensors.give_back(slot);
        let counters = &self.stage.shared.counters;
        match outcome {
            Ok(()) => {
                back_off.reset();
                Counters::count(&counters.inferred);
            }
            Err(error) => {
                log::error!("model: {error}; loading it again");
                Counters::count(&counters.failed);
                self.engine = None;
                return Some(result);
            }
        }
        match self.outlet.put(result, &self.stage.shutdown) {
            Put::Stored => None,
            Put::Replaced(old) => {
                Counters::count(&counters.replaced);
                Some(old)
            }
            Put::Closed(back) => Some(back),
        }
    }
}
