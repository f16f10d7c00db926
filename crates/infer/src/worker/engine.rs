//! A worker as an [`Engine`]: for commands that run one picture after the other, and for the CPU of a daemon.

use std::time::Duration;

use model::ModelIo;

use super::{cpu, Job, Worker};
use crate::edgetpu::{self, advice};
use crate::{DelegateSpec, Engine, Fault, GoOn, InferError, InputTensor, InputTensors};

/// Longest time for one picture that somebody waits for.
const LIMIT: Duration = Duration::from_secs(60);

/// A worker with input tensors.
pub struct WorkerEngine {
    worker: Worker,
    inputs: InputTensors,
    io: ModelIo,
    describe: String,
    answer: Vec<u8>,
    try_out: Duration,
    delegate: Option<DelegateSpec>,
    memory: Option<u64>,
}

impl WorkerEngine {
    /// Starts a worker and waits until it is ready, at most `limit`.
    ///
    /// # Errors
    /// As [`Worker::start`].
    pub fn start(job: &Job, limit: Duration) -> Result<Self, Fault> {
        let inputs = InputTensors::shared(&job.io.input, 1);
        let inputs = inputs.map_err(|error| Fault::System { text: error.to_string() })?;
        Self::start_on(job, inputs, limit, &mut || true)
    }

    /// As [`WorkerEngine::start`], with input tensors that are there already; while one of them is free, `infer` takes a slice.
    /// `go_on` is asked at least every 100 ms; when it says no, the process is killed.
    ///
    /// # Errors
    /// As [`Worker::start`].
    pub fn start_on(job: &Job, inputs: InputTensors, limit: Duration, go_on: GoOn<'_>) -> Result<Self, Fault> {
        let (worker, ready) = Worker::start(job, &inputs, limit, go_on)?;
        Ok(Self {
            worker,
            inputs,
            io: job.io.clone(),
            describe: ready.describe,
            answer: ready.answer,
            // Its own word: a worker gone wrong may say anything.
            try_out: ready.try_out.min(limit),
            delegate: job.delegate.clone(),
            memory: job.memory,
        })
    }

    /// Its answer to the test picture.
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }

    /// A fault with what it means.
    fn told(&self, fault: &Fault) -> InferError {
        let hint = match &self.delegate {
            Some(delegate) => advice(fault, &edgetpu::look(&edgetpu::root()), delegate),
            None => cpu::advice(fault, self.memory),
        };
        InferError(format!("{fault}. {hint}"))
    }

    fn run(
        &mut self,
        input: &InputTensor,
        output: &mut [u8],
        limit: Duration,
        go_on: GoOn<'_>,
    ) -> Result<(), InferError> {
        if output.len() != self.io.output.bytes() {
            return Err(InferError(format!("output has {} bytes, expected {}", output.len(), self.io.output.bytes())));
        }
        let outcome = self.worker.infer(input, output, limit, go_on);
        outcome.map(|_| ()).map_err(|fault| self.told(&fault))
    }

    /// Copies `input` to where the worker sees it, and runs that.
    fn run_copy(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        limit: Duration,
        go_on: GoOn<'_>,
    ) -> Result<(), InferError> {
        let mut tensor = self.inputs.take().map_err(|error| InferError(error.to_string()))?;
        if input.len() != tensor.len() {
            return Err(InferError(format!("input has {} bytes, expected {}", input.len(), tensor.len())));
        }
        tensor.copy_from_slice(input);
        self.run(&tensor, output, limit, go_on)
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
        self.run_copy(input, output, LIMIT, &mut || true)
    }

    fn infer_within(
        &mut self,
        input: &InputTensor,
        output: &mut [u8],
        limit: Duration,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<(), InferError> {
        match self.worker.sees(input) {
            true => self.run(input, output, limit, go_on),
            false => self.run_copy(input, output, limit, go_on),
        }
    }

    fn is_alive(&mut self) -> Result<(), InferError> {
        self.worker.is_alive().map_err(|fault| self.told(&fault))
    }

    fn process_try_out(&self) -> Option<Duration> {
        Some(self.try_out)
    }
}
