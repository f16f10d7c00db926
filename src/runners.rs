//! From the configuration to an edition and to what runs it: the CPU, worker processes for devices, or both.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::failure::{Failure, Kind};
use base::values::Auto;
use infer::edgetpu::{self, advice};
use infer::worker::{check_answer, test_picture, CpuProcess, Job, Worker, WorkerEngine};
use infer::{
    default_threads, runtime_of, Cpu, Crew, DelegateKind, DelegateSpec, DeviceChoice, Engine, EngineKind, EngineMaker,
    Fault, GoOn, InputTensors, Isolation, Runtime,
};
use model::{find_default, Edition, ModelError, ModelFile, Want};

use crate::config::{self, Config};

/// A loaded model, and what the configuration has run it.
pub(crate) struct Runners {
    /// The model.
    pub edition: Arc<Edition>,
    /// The CPU as an engine, where it is to run the model, alone or now and then.
    pub cpu: Option<Cpu>,
    config: config::Engine,
    threads: usize,
}

impl Runners {
    /// Reads the model that `config` names, or the default one, and loads it for the CPU where that is to run it.
    ///
    /// # Errors
    /// When there is none, or it can't run on the engine that is configured. A device that isn't there now is no error.
    pub(crate) fn load(config: &Config) -> Result<Self, Failure> {
        Self::load_for(config, &|_, _| 1)
    }

    /// As [`Runners::load`], for a daemon that has `slots` input tensors, told from the number of workers and whether there is a
    /// CPU: a process that runs the model reads them there.
    ///
    /// # Errors
    /// As [`Runners::load`].
    pub(crate) fn load_for(config: &Config, slots: &dyn Fn(usize, bool) -> usize) -> Result<Self, Failure> {
        let path = match &config.model.path {
            Auto::Auto => find_default()?,
            Auto::Set(path) => path.0.clone(),
        };
        let want = match config.engine.kind {
            EngineKind::Auto => Want::Auto,
            EngineKind::EdgeTpu => Want::EdgeTpu,
            EngineKind::Cpu | EngineKind::Delegate(_) => Want::Cpu,
        };
        let file = ModelFile::load_for(&path, want)?;
        if config.engine.kind == EngineKind::Auto && file.is_compiled {
            let expected =
                "the CPU model that it was compiled from, or engine.kind = \"edgetpu\" for an Edge TPU alone";
            let found = "a model compiled for the Edge TPU, with no model for the CPU beside it";
            return Err(ModelError::unfit(&file.path, found, expected).into());
        }
        let runtime = runtime_of(&file)?;
        let threads = config.model.threads.as_set().map_or_else(default_threads, |threads| threads.0);
        let has_device = match config.engine.kind {
            EngineKind::Cpu => false,
            EngineKind::Auto | EngineKind::EdgeTpu => file.for_edgetpu().is_some(),
            EngineKind::Delegate(_) => true,
        };
        (runtime.vet)(&file)?;
        file.for_edgetpu().map(|half| (runtime.vet)(&half)).transpose()?;
        let for_cpu = file.for_cpu().filter(|_| !has_device || config.engine.cpu_fallback);
        let workers = if has_device { config.engine.workers.0 } else { 0 };
        let loader = CpuLoader::new(&config.engine, "cpu", threads, slots(workers, true));
        let cpu = for_cpu.map(|file| loader.cpu(runtime, file, &config.engine)).transpose()?;
        // What the engine says counts: it works out shapes that a file may have wrong.
        let io = match &cpu {
            Some(cpu) => cpu.engine.io().clone(),
            None => (runtime.io)(&file)?,
        };
        let edition = Arc::new(Edition::new(file, runtime.name, io)?);
        Ok(Self { edition, cpu, config: config.engine.clone(), threads })
    }

    /// The workers of a daemon; None where the CPU alone runs the model.
    ///
    /// # Errors
    /// When the model fails on the CPU.
    pub(crate) fn crew(&mut self) -> Result<Option<Crew>, Failure> {
        let jobs = self.jobs();
        if jobs.is_empty() {
            return Ok(None);
        }
        if self.cpu.is_none() && self.config.cpu_fallback {
            log::warn!(
                "engine.cpu_fallback: there is no model for the CPU beside {}; nothing fills in while the device is away",
                self.edition.file.path.display()
            );
        }
        let expected = self.expected()?;
        let engine = &self.config;
        Ok(Some(Crew {
            kind: if matches!(engine.kind, EngineKind::Delegate(_)) { "delegate" } else { "edgetpu" },
            jobs,
            deadline: deadline(engine),
            start_limit: limit(engine.start_limit.0),
            longest_pause: engine.longest_pause.0,
            expected,
            is_optional: engine.kind == EngineKind::Auto,
        }))
    }

    /// One engine for pictures that somebody waits for: the CPU, unless a device is asked for by name or the model has no
    /// other half.
    ///
    /// # Errors
    /// When the model can't run there, or the device can't be used now.
    pub(crate) fn engine(&mut self) -> Result<Box<dyn Engine>, Failure> {
        let wants_device = matches!(self.config.kind, EngineKind::EdgeTpu | EngineKind::Delegate(_));
        let expected = if wants_device { self.expected()? } else { None };
        match (self.cpu.take().filter(|_| !wants_device), self.jobs().into_iter().next()) {
            (Some(cpu), _) => Ok(cpu.engine),
            (None, Some(job)) => {
                let engine = WorkerEngine::start(&job, limit(self.config.start_limit.0)).and_then(|engine| {
                    check_answer(&self.edition.io.output, expected.as_deref(), engine.answer()).map(|()| engine)
                });
                Ok(Box::new(engine.map_err(|fault| unusable(&job, &fault))?))
            }
            // A compiled file always has a job, and every other is one for the CPU.
            (None, None) => Err(Failure::new(Kind::Software, "nothing can run this model")),
        }
    }

    /// Starts every worker and ends them again. Says of each what it runs, or why it can't now and what to do; nothing where no
    /// device is configured, or `auto` finds no compiled model.
    ///
    /// # Errors
    /// When the model fails on the CPU, or there is no memory.
    pub(crate) fn try_workers(&mut self) -> Result<Vec<Result<String, Failure>>, Failure> {
        let expected = self.expected()?;
        let inputs = InputTensors::shared(&self.edition.io.input, 1)?;
        // Those that are up keep their devices until all were tried.
        let (mut up, mut devices, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for mut job in self.jobs() {
            if let Some(DelegateSpec { kind: DelegateKind::EdgeTpu(DeviceChoice::Free { taken, .. }), .. }) =
                &mut job.delegate
            {
                taken.clone_from(&devices);
            }
            let started = Worker::start(&job, &inputs, limit(self.config.start_limit.0), &mut || true).and_then(
                |(worker, ready)| {
                    check_answer(&self.edition.io.output, expected.as_deref(), &ready.answer).map(|()| (worker, ready))
                },
            );
            let outcome = started.map(|(worker, ready)| {
                up.push(worker);
                devices.extend(ready.device);
                format!("{}, test picture in {:.1} ms", ready.describe, ready.try_out.as_secs_f64() * 1e3)
            });
            told.push(outcome.map_err(|fault| unusable(&job, &fault)));
        }
        Ok(told)
    }

    /// What the CPU makes of the test picture.
    fn expected(&mut self) -> Result<Option<Arc<[u8]>>, Failure> {
        let Some(cpu) = &mut self.cpu else { return Ok(None) };
        let mut output = vec![0; self.edition.io.output.bytes()];
        cpu.engine
            .infer(&test_picture(&self.edition.io.input), &mut output)
            .map_err(|error| Failure::new(Kind::Software, error.to_string()))?;
        Ok(Some(output.into()))
    }

    /// What workers are to do, one for each; none where the CPU alone runs the model.
    fn jobs(&self) -> Vec<Job> {
        let engine = &self.config;
        let (file, kind, library) = match &engine.kind {
            EngineKind::Cpu => return Vec::new(),
            EngineKind::Auto | EngineKind::EdgeTpu => {
                let Some(file) = self.edition.file.for_edgetpu() else { return Vec::new() };
                (file, "edgetpu", PathBuf::from(&engine.library))
            }
            EngineKind::Delegate(library) => (self.edition.file.clone(), "delegate", library.clone()),
        };
        let job = |number: usize| Job {
            delegate: Some(DelegateSpec {
                library: library.clone(),
                kind: match (&engine.kind, &engine.device) {
                    (EngineKind::Delegate(_), _) => DelegateKind::Plugin,
                    (_, Auto::Set(devices)) => DelegateKind::EdgeTpu(DeviceChoice::Named(devices.0[number])),
                    (_, Auto::Auto) => DelegateKind::EdgeTpu(DeviceChoice::at(number)),
                },
                options: engine.options.0.clone(),
            }),
            ..Job::new(format!("{kind} {}", number + 1), &file, self.edition.io.clone(), self.threads)
        };
        (0..engine.workers.0).map(job).collect()
    }
}

/// As with other times of the configuration, zero turns a limit off.
const fn limit(configured: Duration) -> Duration {
    if configured.is_zero() {
        return Duration::MAX;
    }
    configured
}

/// How a process called `name` runs models on the CPU.
pub(crate) fn cpu_process(config: &config::Engine, name: &'static str, threads: usize) -> CpuProcess {
    CpuProcess { name, threads, slots: 1, start_limit: limit(config.start_limit.0) }
}

/// Loads models on the CPU, in this process or in one of their own.
#[derive(Clone)]
pub(crate) struct CpuLoader {
    process: CpuProcess,
    isolation: Isolation,
}

impl CpuLoader {
    /// Its processes are called `name` and have `slots` input tensors.
    pub(crate) fn new(config: &config::Engine, name: &'static str, threads: usize, slots: usize) -> Self {
        Self { process: CpuProcess { slots, ..cpu_process(config, name, threads) }, isolation: config.isolation }
    }

    /// An engine for `file`, with the input tensors that its process sees, where it has one: `inputs` if they fit.
    ///
    /// # Errors
    /// When the model can't run there.
    pub(crate) fn load(
        &self,
        runtime: &Runtime,
        file: &ModelFile,
        inputs: Option<&InputTensors>,
        go_on: GoOn<'_>,
    ) -> Result<(Box<dyn Engine>, Option<InputTensors>), ModelError> {
        // Before anything else sees the file.
        let needs = (runtime.vet)(file)?;
        match self.isolation {
            Isolation::None => Ok(((runtime.engine)(file, self.process.threads)?, None)),
            Isolation::Process => {
                let (engine, inputs) = self.process.load(file, needs, (runtime.io)(file).ok(), inputs, go_on)?;
                Ok((Box::new(engine), Some(inputs)))
            }
        }
    }

    /// The CPU of a daemon, and how it is looked after.
    fn cpu(self, runtime: &'static Runtime, file: &ModelFile, config: &config::Engine) -> Result<Cpu, ModelError> {
        let (engine, inputs) = self.load(runtime, file, None, &mut || true)?;
        let ours = inputs.clone();
        // Engines for whatever edition comes.
        let make: EngineMaker = Arc::new(move |edition, go_on| {
            let runtime = if edition.runtime == runtime.name { runtime } else { runtime_of(&edition.file)? };
            self.load(runtime, &edition.file, ours.as_ref(), go_on).map(|(engine, _)| engine)
        });
        let (deadline, longest_pause) = (deadline(config), config.longest_pause.0);
        Ok(Cpu { engine, make, inputs, deadline, longest_pause })
    }
}

/// Longest time for an answer; None works it out.
fn deadline(config: &config::Engine) -> Option<Duration> {
    config.deadline.as_set().map(|deadline| limit(deadline.0))
}

fn unusable(job: &Job, fault: &Fault) -> Failure {
    let sight = edgetpu::look(&edgetpu::root());
    let hint = job.delegate.as_ref().map(|delegate| advice(fault, &sight, delegate)).unwrap_or_default();
    Failure::new(Kind::Unavailable, format!("{}: {fault}. {hint}", job.name))
}
