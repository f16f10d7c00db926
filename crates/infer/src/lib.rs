//! Runs a model on a tensor: the [`Engine`] trait, and what an engine tells of its model.

mod accelerator;
mod buffer;
mod choice;
mod crew;
mod delegate;
pub mod edgetpu;
mod interpose;
mod printed;
mod runtime;
mod tflite;
pub mod worker;

use std::sync::Arc;
use std::time::Duration;

use model::{Edition, ModelError, ModelIo};

pub use accelerator::{is_same_device, DelegateKind, DelegateSpec, DeviceChoice, Fault, Phase};
pub use buffer::{InputTensor, InputTensors, SealedBytes};
pub use choice::{DelegateOptions, Devices, EngineKind, Isolation, Threads, TpuDevice};
pub use crew::{Cpu, Crew};
pub use delegate::{list, Bus, Delegate, Listed, Listing};
pub use printed::log_what_is_printed;
pub use runtime::{runtime_of, MakeEngine, Runtime, RUNTIMES};
pub use tflite::TfliteEngine;

/// Something that turns an input tensor into an output tensor.
pub trait Engine: Send {
    /// Shapes and types of both ends.
    fn io(&self) -> &ModelIo;

    /// One line for the log: what runs where, with how many threads.
    fn describe(&self) -> String;

    /// Runs the model once. `input` is NHWC `[1, h, w, 3]`, int8 or uint8 as [`ModelIo::input`] says; `output` takes the
    /// bytes of the whole output tensor, [`OutputSpec::bytes`](pixels::segment::OutputSpec::bytes) of them.
    ///
    /// # Errors
    /// When the runtime fails. The caller drops the engine and makes another.
    fn infer(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), InferError>;

    /// As [`Engine::infer`], without a copy where the engine's own process sees `input`. There the answer may take `limit`, and
    /// `go_on` is asked at least every 100 ms; when it says no, the inference is given up. An engine in this process can't be
    /// interrupted.
    ///
    /// # Errors
    /// As [`Engine::infer`].
    fn infer_within(
        &mut self,
        input: &InputTensor,
        output: &mut [u8],
        limit: Duration,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<(), InferError> {
        let _ = (limit, go_on);
        self.infer(input, output)
    }

    /// Whether it can run a frame, as far as is known: asked between two frames.
    ///
    /// # Errors
    /// How its process ended.
    fn is_alive(&mut self) -> Result<(), InferError> {
        Ok(())
    }

    /// Time of its first inference, where it runs in a process of its own.
    fn process_try_out(&self) -> Option<Duration> {
        None
    }
}

/// Asked while an engine is made, at least every 100 ms: false gives it up.
pub type GoOn<'a> = &'a mut dyn FnMut() -> bool;

/// Makes an engine for an edition, again and again: after a failure, or for another edition, the pipeline asks for one.
pub type EngineMaker = Arc<dyn Fn(&Edition, GoOn<'_>) -> Result<Box<dyn Engine>, ModelError> + Send + Sync>;

/// An inference that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("inference failed: {0}")]
pub struct InferError(pub String);

/// Inference threads when nobody says: one less than the cores, so that capture and publishing have one; at least one.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
}
