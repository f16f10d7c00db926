//! Runs a model on a tensor: the [`Engine`] trait, and what an engine tells of its model.

mod accelerator;
mod buffer;
mod contract;
mod delegate;
pub mod edgetpu;
mod interpose;
mod tflite;
pub mod worker;

use std::sync::Arc;

use crate::frame::Size;
use crate::model::ModelError;
use crate::segment::OutputSpec;

pub(crate) use accelerator::is_same_device;
pub use accelerator::{DelegateKind, DelegateSpec, DeviceChoice, Fault, Phase};
pub use buffer::{InputTensor, InputTensors};
pub use contract::{check, io, TensorInfo, TensorType};
pub use delegate::{list, Bus, Delegate, Listed, Listing};
pub use tflite::TfliteEngine;

/// Something that turns an input tensor into an output tensor.
pub trait Engine: Send {
    /// Shapes and types of both ends.
    fn io(&self) -> &ModelIo;

    /// One line for the log: what runs where, with how many threads.
    fn describe(&self) -> String;

    /// Runs the model once. `input` is NHWC `[1, h, w, 3]`, int8 or uint8 as [`ModelIo::input`] says; `output` takes the
    /// bytes of the whole output tensor, [`OutputSpec::bytes`] of them.
    ///
    /// # Errors
    /// When the runtime fails. The caller drops the engine and makes another.
    fn infer(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), InferError>;
}

/// Makes an engine, again and again: after a failure the pipeline asks for another.
pub type EngineMaker = Arc<dyn Fn() -> Result<Box<dyn Engine>, ModelError> + Send + Sync>;

/// Both ends of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelIo {
    /// The input tensor.
    pub input: InputSpec,
    /// The output tensor.
    pub output: OutputSpec,
}

/// The input tensor: NHWC `[1, height, width, 3]`, R G B.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputSpec {
    /// Width and height.
    pub size: Size,
    /// int8 rather than uint8.
    pub signed: bool,
    /// real = scale * (value - `zero_point`). Zero where the model doesn't say.
    pub scale: f32,
    /// The value that means 0.
    pub zero_point: i32,
}

impl InputSpec {
    /// Bytes of the whole tensor.
    pub const fn bytes(&self) -> usize {
        self.size.pixels() * 3
    }
}

/// An inference that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("inference failed: {0}")]
pub struct InferError(pub String);

/// Inference threads when nobody says: one less than the cores, so that capture and publishing have one; at least one.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
}
