//! The infer stage: tensor to output, by one lane or several.
//!
//! A lane is a thread with something that runs the model: the CPU ([`cpu`]), or a worker process that looks
//! after a device ([`worker`]). Whichever lane is free takes the next frame; results leave in order ([`order`]). The CPU's
//! lane rests while a worker is up.

mod care;
mod cpu;
mod order;
mod watch;
mod worker;

use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use base::mailbox::{Inlet, Outlet, Take};
use base::shutdown::TICK;
use base::sync::lock;
use infer::{Cpu, Crew, InputTensors};
use model::Edition;

use super::{Beats, Pool, ResultSlot, Stage, TensorSlot};
use crate::telemetry::Counters;
use cpu::CpuLane;
use order::Order;
use worker::WorkerLane;

/// Looks at the clock that an inference in another process gets to end by itself once the program stops.
const LAST_TICKS: u32 = 3;

/// What the lanes are made of.
pub(super) struct Ends {
    pub(super) tensors: Pool<TensorSlot>,
    pub(super) results: Pool<ResultSlot>,
    pub(super) inlet: Inlet<TensorSlot>,
    pub(super) outlet: Outlet<ResultSlot>,
}

/// Starts every lane. The stage ends when the capture thread has ended and its last frame is through.
pub(super) fn start(
    stage: &Stage,
    ends: Ends,
    cpu: Option<Cpu>,
    crew: Option<Crew>,
    inputs: &InputTensors,
    edition: &Arc<Edition>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let Ends { tensors, results, inlet, outlet } = ends;
    let order = Order::new(outlet, results.clone(), results.size());
    let work = Arc::new(Work {
        stage: stage.clone(),
        tensors,
        results,
        inlet,
        turn: Pool::try_filled(1, || Ok(0))?,
        order: Mutex::new(order),
    });
    let mut threads = Vec::new();
    let mut lanes = 0;
    if let Some(crew) = crew {
        let crew = Arc::new(crew);
        for number in 0..crew.jobs.len() {
            let lane = WorkerLane::new(Lane::new(&work, number), Arc::clone(&crew), number, inputs, edition.io.output);
            threads.push(stage.spawn("infer", lane, WorkerLane::run)?);
        }
        lanes = crew.jobs.len();
    }
    if let Some(cpu) = cpu {
        let lane = CpuLane::new(Lane::new(&work, lanes), cpu, Arc::clone(edition));
        threads.push(stage.spawn("infer", lane, CpuLane::run)?);
    }
    Ok(threads)
}

/// What all lanes share.
struct Work {
    stage: Stage,
    tensors: Pool<TensorSlot>,
    results: Pool<ResultSlot>,
    inlet: Inlet<TensorSlot>,
    /// The ticket of the next frame, lent to the lane whose turn it is to take that. No lock: lanes that wait for a lock have
    /// no limit, and one that lets it go and takes it again at once, as while no frame comes, keeps the others waiting.
    turn: Pool<u64>,
    order: Mutex<Order>,
}

/// One lane's share of the work.
struct Lane {
    work: Arc<Work>,
    /// Its place among the signs of life.
    beat: usize,
    spare: Option<ResultSlot>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.stage().vitals.beats.infer(self.beat, Beats::LAST);
    }
}

/// A frame that a lane has taken, with a place for its result.
struct Taken {
    ticket: u64,
    tensor: TensorSlot,
    result: ResultSlot,
}

/// How a look for work ended.
// A frame is moved once; a box would be an allocation for each.
#[allow(clippy::large_enum_variant)]
enum Look {
    Frame(Taken),
    Nothing,
    Over,
}

impl Lane {
    fn new(work: &Arc<Work>, beat: usize) -> Self {
        Self { work: Arc::clone(work), beat, spare: None }
    }

    fn stage(&self) -> &Stage {
        &self.work.stage
    }

    fn alive(&self) {
        self.stage().vitals.beats.infer(self.beat, self.stage().now());
    }

    /// True when no frame will come any more.
    fn is_over(&self) -> bool {
        self.work.inlet.is_over()
    }

    /// Takes the next frame. Waits a tick at most for each of the three: a free result, its turn, and the frame.
    fn look(&mut self) -> Look {
        let Some(result) = self.spare.take().or_else(|| self.work.results.take(TICK)) else { return self.nothing() };
        let Some(ticket) = self.work.turn.take(TICK) else {
            self.spare = Some(result);
            return self.nothing();
        };
        let (look, next) = match self.work.inlet.take(TICK, &self.stage().shutdown) {
            Take::Item(tensor) => (Look::Frame(Taken { ticket, tensor, result }), ticket + 1),
            Take::Empty => {
                self.spare = Some(result);
                (Look::Nothing, ticket)
            }
            Take::Closed => (Look::Over, ticket),
        };
        self.work.turn.give_back(next);
        look
    }

    fn nothing(&self) -> Look {
        if self.is_over() {
            Look::Over
        } else {
            Look::Nothing
        }
    }

    /// Gives the tensor back and hands the result on, or the result slot back where the frame failed.
    fn finish(&mut self, taken: Taken, is_good: bool) {
        let Taken { ticket, mut tensor, mut result } = taken;
        // The picture's buffer travels on; the slot gets the one that came back.
        std::mem::swap(&mut tensor.about, &mut result.about);
        self.work.tensors.give_back(tensor);
        let counters = &self.work.stage.vitals.counters;
        Counters::count(if is_good { &counters.inferred } else { &counters.failed });
        let result = if is_good {
            Some(result)
        } else {
            self.spare = Some(result);
            None
        };
        lock(&self.work.order).finish(ticket, result, counters, &self.stage().shutdown);
    }
}

#[cfg(test)]
mod tests;
