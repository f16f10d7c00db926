//! An engine in a process of its own: what can abort, hang or crash takes only that process with it.
//!
//! This side starts the process, hands it frames through shared memory, copies its answers out of there once, waits with a limit, and kills and reaps it when
//! something is wrong. `inside` is the other side, `wire` what they say to each other, `sandbox` what the process may not do,
//! `spoken` what its words mean, `service` what a worker does that is the program's own work. When to start it again is left to the pipeline.

mod cpu;
mod engine;
mod inside;
mod link;
mod picture;
mod sandbox;
mod service;
mod spoken;
mod wire;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use model::{ModelFile, ModelIo};
use rustix::fs::{fcntl_add_seals, SealFlags};
use serde::{Deserialize, Serialize};

use self::link::Link;
use self::wire::{Answer, Load, Order, Reply, Request, Run, Task};
use super::buffer::{sealed_file, Arena, SharedOutput};
use super::{DelegateSpec, Fault, GoOn, InputTensor, InputTensors, Listing, Phase};

pub use self::cpu::CpuProcess;
pub use self::engine::WorkerEngine;
pub use self::inside::run as run_inside;
pub use self::picture::{check_answer, test_picture};
pub use self::service::{MakeService, Service, ServiceWorker};
pub(crate) use self::spoken::level;
pub use self::spoken::Told;
pub use base::child::LogLimit;

/// The program that runs, also where its file was replaced meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Names the program that has the worker in it, for programs that haven't: tests and benches. The first call counts.
pub fn use_program(program: &Path) {
    let _ = PROGRAM.set(program.to_owned());
}

fn program() -> PathBuf {
    PROGRAM.get().cloned().unwrap_or_else(|| THIS_PROGRAM.into())
}

/// What a worker is to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name in the log: `edgetpu 1`.
    pub name: String,
    /// The program that has the worker in it: this one.
    pub program: PathBuf,
    /// The model's name in [`Ready::describe`].
    pub model_name: String,
    /// The model's file, for messages.
    pub path: PathBuf,
    /// The model.
    pub model: Arc<[u8]>,
    /// Inference threads.
    pub threads: usize,
    /// Where it runs; None is the CPU.
    pub delegate: Option<DelegateSpec>,
    /// Both ends, which must be these.
    pub io: ModelIo,
    /// Bytes of data that the process may have; None sets no limit, as for a delegate, whose needs nobody knows.
    pub memory: Option<u64>,
    /// How much of its words still goes into the log. Clones of a job share it.
    pub log_limit: LogLimit,
    /// Which of its words are in the log already. Clones of a job share it.
    pub told: Told,
}

impl Job {
    /// A worker called `name` that runs `file` on the CPU, in this program unless [`use_program`] names another.
    pub fn new(name: impl Into<String>, file: &ModelFile, io: ModelIo, threads: usize) -> Self {
        Self {
            name: name.into(),
            program: program(),
            model_name: file.name(),
            path: file.path.clone(),
            model: Arc::clone(&file.bytes),
            threads,
            delegate: None,
            io,
            memory: None,
            log_limit: LogLimit::default(),
            told: Told::default(),
        }
    }

    /// What a worker is told of the model.
    fn load(&self) -> Load {
        Load {
            model_name: self.model_name.clone(),
            path: self.path.clone(),
            threads: self.threads,
            delegate: self.delegate.clone(),
            io: format!("{:?}", self.io),
            memory: self.memory,
        }
    }

    /// Starts the process, sends it `task` with the model and `files`, and waits until it is ready.
    fn start(
        &self,
        task: Task,
        files: &[BorrowedFd<'_>],
        limit: Duration,
        go_on: GoOn<'_>,
    ) -> Result<(Link, Ready), Fault> {
        let model = model_file(&self.model).map_err(|error| system("memory for the model", error))?;
        let environment: &[_] = if matches!(task, Task::Serve(_)) { &service::ENVIRONMENT } else { &[] };
        let mut link = Link::open(&self.name, &self.program, environment, &self.log_limit, &self.told)?;
        link.send_order(&Order::new(task), &[&[model.as_fd()], files].concat())?;
        drop(model);
        match Answer::parse(link.wait(Phase::Starting, limit, go_on)?) {
            Some(Answer::Ready(ready)) => Ok((link, ready)),
            Some(Answer::Failed(fault)) => Err(link.end_with(fault)),
            Some(Answer::Listed(_)) | None => Err(link.end_for_nonsense(Phase::Starting)),
        }
    }
}

/// What a worker tells of itself when it is ready.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Ready {
    /// The library's version, where it tells one.
    pub version: Option<String>,
    /// The Edge TPU's path, as its library names it.
    pub device: Option<String>,
    /// What runs where, for the log.
    pub describe: String,
    /// Time of one inference, that of the test picture.
    pub try_out: Duration,
    /// The answer to [`test_picture`], the bytes of one output tensor.
    // Too long for a message; it comes through the shared memory.
    #[serde(skip)]
    pub answer: Vec<u8>,
}

/// A process that runs a model. Dropping it kills and reaps it.
pub struct Worker {
    link: Link,
    inputs: Arena,
    /// Its own: a process that should be gone already can't write into another's answers.
    output: SharedOutput,
    /// The last request's.
    number: u64,
}

impl Worker {
    /// Starts a process and waits until it is ready, at most `limit`. `go_on` is asked at least every 100 ms; when it says no,
    /// the process is killed.
    ///
    /// The system kills the process when the calling thread ends, so that thread must outlive it.
    ///
    /// # Errors
    /// Why it is not ready. It is gone then.
    pub fn start(
        job: &Job,
        inputs: &InputTensors,
        limit: Duration,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<(Self, Ready), Fault> {
        let arena = inputs.arena();
        let inputs = arena.ok_or_else(|| system("tensors", "they lie on the heap, where no process sees them"))?;
        let length = job.io.output.bytes();
        let output = SharedOutput::new(length).map_err(|error| system("memory for the output", error))?;
        let task = Task::Run(Box::new(Run { load: job.load(), inputs: inputs.layout() }));
        let (link, ready) = job.start(task, &[inputs.file(), output.file()], limit, go_on)?;
        let mut answer = vec![0; length];
        output.copy_to(&mut answer).map_err(|error| system("its answer", error))?;
        let worker = Self { link, inputs: inputs.clone(), output, number: 0 };
        Ok((worker, Ready { answer, ..ready }))
    }

    /// Runs the model once on `input`, one of the [`InputTensors`] that the worker was started with, and copies its answer to
    /// `output`, which is as long as the model's output. Returns the time of the inference itself. `go_on` is asked at least every 100 ms; when it says no, the process is killed.
    ///
    /// # Errors
    /// What went wrong. The process is gone then, and further calls give the same error.
    pub fn infer(
        &mut self,
        input: &InputTensor,
        output: &mut [u8],
        limit: Duration,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Duration, Fault> {
        self.link.expect_open()?;
        let place = input.place_in(&self.inputs).and_then(|index| u32::try_from(index).ok());
        let Some(input) = place else {
            return Err(self.link.end_with(system("a tensor", "it lies where this process doesn't see it")));
        };
        self.number += 1;
        self.link.send(&Request { number: self.number, input }.to_bytes())?;
        let took = match Reply::parse(self.link.wait(Phase::Inferring, limit, go_on)?) {
            // Longer than the wait would be a lie, and could upset sums.
            Some(Reply { number, outcome: Ok(took) }) if number == self.number => took.min(limit),
            Some(Reply { number, outcome: Err(fault) }) if number == self.number => {
                return Err(self.link.end_with(fault));
            }
            Some(_) | None => return Err(self.link.end_for_nonsense(Phase::Inferring)),
        };
        // Whatever the worker does to its output from now on, this copy is what everybody looks at.
        self.output.copy_to(output).map_err(|error| self.link.end_with(system("its answer", error)))?;
        Ok(took)
    }

    /// Whether `input` is one of the tensors that it was started with.
    pub(super) fn sees(&self, input: &InputTensor) -> bool {
        input.place_in(&self.inputs).is_some()
    }

    /// Whether it still lives: to be asked between frames. Costs one system call.
    ///
    /// # Errors
    /// How it ended. The process is gone then, and further calls give the same error.
    pub fn is_alive(&mut self) -> Result<(), Fault> {
        self.link.expect_silence()
    }

    /// Its process id.
    pub const fn id(&self) -> u32 {
        self.link.id()
    }
}

/// What the library of an Edge TPU says of itself, asked in a process of its own: a library that was built for another
/// TensorFlow Lite, or that hangs on a dead device, hurts only that.
///
/// # Errors
/// Why it doesn't answer within `limit`.
pub fn probe(library: &Path, limit: Duration) -> Result<Listing, Fault> {
    probe_with(&program(), library, limit)
}

/// [`probe`] in `program`, which has the worker in it.
///
/// # Errors
/// As for [`probe`].
pub fn probe_with(program: &Path, library: &Path, limit: Duration) -> Result<Listing, Fault> {
    let mut link = Link::open("edgetpu probe", program, &[], &LogLimit::default(), &Told::default())?;
    link.send_order(&Order::new(Task::List { library: library.to_owned() }), &[])?;
    match Answer::parse(link.wait(Phase::Starting, limit, &mut || true)?) {
        Some(Answer::Listed(listing)) => Ok(listing),
        Some(Answer::Failed(fault)) => Err(link.end_with(fault)),
        Some(Answer::Ready(_)) | None => Err(link.end_for_nonsense(Phase::Starting)),
    }
}

fn system(what: &str, why: impl std::fmt::Display) -> Fault {
    Fault::System { text: format!("{what}: {why}") }
}

/// The model in memory that nobody can change any more.
fn model_file(model: &[u8]) -> io::Result<File> {
    let file = File::from(sealed_file("pspnetd-model", model.len())?);
    file.write_all_at(model, 0)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SEAL)?;
    Ok(file)
}
