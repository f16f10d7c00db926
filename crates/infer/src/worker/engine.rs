//! A worker as an [`Engine`]: for commands that run one picture after the other.

use std::time::Duration;

use model::ModelIo;

use super::{Job, Worker};
use crate::edgetpu::{self, advice};
use crate::{DelegateSpec, Engine, Fault, InferError, InputTensor, InputTensors};

/// Longest time for one picture.
const LIMIT: Duration = Duration::from_secs(60);

/// A worker with an input tensor.
pub struct WorkerEngine {
    worker: Worker,
    input: InputTensor,
    io: ModelIo,
    describe: String,
    answer: Vec<u8>,
    delegate: Option<DelegateSpec>,
}

impl WorkerEngine {
    /// Starts a worker and waits until it is ready, at most `limit`.
    ///
    /// # Errors
    /// As [`Worker::start`].
    pub fn start(job: &Job, limit: Duration) -> Result<Self, Fault> {
        let no_memory = |error: std::io::Error| Fault::System { text: error.to_string() };
        let inputs = InputTensors::shared(&job.io.input, 1).map_err(no_memory)?;
        let input = inputs.take().map_err(no_memory)?;
        let (worker, ready) = Worker::start(job, &inputs, limit, &mut || true)?;
        Ok(Self {
            worker,
            input,
            io: job.io.clone(),
            describe: ready.describe,
            answer: ready.answer,
            delegate: job.delegate.clone(),
        })
    }

    /// Its answer to the test picture.
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }

    /// A fault with what it means.
    fn told(&self, fault: &Fault) -> String {
        let sight = edgetpu::look(&edgetpu::root());
        let hint = self.delegate.as_ref().map(|delegate| advice(fault, &sight, delegate)).unwrap_or_default();
        format!("{fault}. {hint}")
    }
}

impl Engine for WorkerEngine {
    fn io(&self) -> &ModelIo {
        &self.io
    }

    fn describe(&self) -> String {
        self.describe.clone()
    }

    fn infer(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), InferError> {
        if input.len() != self.input.len() || output.len() != self.io.output.bytes() {
            return Err(InferError("a tensor of another size than the model's".to_owned()));
        }
        self.input.copy_from_slice(input);
        let outcome = self.worker.infer(&self.input, output, LIMIT, &mut || true);
        outcome.map(|_| ()).map_err(|fault| InferError(self.told(&fault)))
    }
}
