//! [`Predictor`]: the process that runs the pictures that are sent, the thread that looks after it, and the one place in front
//! of it.
//!
//! A stranger's picture meets a decoder and a model, so both are in a worker process: whatever it does to them costs its own
//! request. The process never touches a device: the model's half for the CPU runs with one thread, at the lowest priority, so
//! that the camera's frames go first. It is started by the first picture, with the edition that runs the camera's frames, and
//! ended when none has come for a while.

mod memory;
mod message;
mod service;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base::priority;
use base::rounding::rounded;
use base::sync::lock;
use base::text::plain_json;
use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, Sender};
use http_body_util::BodyExt as _;
use hyper::{Response, StatusCode};
use infer::worker::{CpuProcess, ServiceWorker};
use infer::{runtime_of, Fault};
use model::{CurrentEdition, Edition, ModelFile};
use pixels::preprocess::Fit;
use serde_json::{json, Value};
use tokio::sync::oneshot;

pub(super) use self::memory::Received;
use self::memory::{Budget, Held, HeldBody, Picture, Room};
pub(super) use self::message::Wanted;
use self::message::{Figures, Made, Reply, Settings};
pub(crate) use self::service::picture_service;
use super::body::{typed, whole, Body, Problem};
use crate::config::Config;
use crate::runners::cpu_process;
use crate::scene::{object, Areas};

/// Threads of the engine. The camera's frames come first.
const THREADS: usize = 1;
/// Characters of what the process says of a picture that failed.
const LONGEST_REASON: usize = 300;
/// How long the thread has to say what became of a picture, beyond the time for running it.
const LAST_WORD: Duration = Duration::from_secs(1);
/// How long what may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// From a request's head to the last byte of its picture.
    pub(super) receive: Duration,
    /// From there to the answer.
    pub(super) run: Duration,
    /// The model is freed when no picture came for so long.
    pub(super) keep: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { receive: Duration::from_secs(30), run: Duration::from_secs(30), keep: Duration::from_secs(60) }
    }
}

/// A picture on its way to the thread.
struct Job {
    picture: Picture,
    wanted: Wanted,
    answer: oneshot::Sender<Result<Response<Body>, Problem>>,
    /// Held until the thread is done, also when nobody waits any more.
    _turn: Turn,
}

/// What runs pictures: a process.
trait Runner: Send {
    /// What it answers to a request that goes with `files`, within `limit`.
    fn ask(&mut self, request: &[u8], files: &[BorrowedFd<'_>], limit: Duration) -> Result<Vec<u8>, Fault>;
    /// Whether it is still there. It may have been killed between two pictures.
    fn is_alive(&mut self) -> bool;
    /// Ends it, since its answer makes no sense.
    fn end_for_nonsense(&mut self) -> Fault;
    /// What `fault` means.
    fn advice(&self, fault: &Fault) -> String;
}

impl Runner for ServiceWorker {
    fn ask(&mut self, request: &[u8], files: &[BorrowedFd<'_>], limit: Duration) -> Result<Vec<u8>, Fault> {
        self.ask(request, files, limit, &mut || true).map(<[u8]>::to_vec)
    }

    fn is_alive(&mut self) -> bool {
        let alive = self.is_alive();
        alive.inspect_err(|fault| log::warn!("predict: {fault}; another one is started")).is_ok()
    }

    fn end_for_nonsense(&mut self) -> Fault {
        self.end_for_nonsense()
    }

    fn advice(&self, fault: &Fault) -> String {
        self.advice(fault)
    }
}

/// Starts a [`Runner`] for an edition.
type StartRunner = Arc<dyn Fn(&Edition, &Settings) -> Result<Box<dyn Runner>, Problem> + Send + Sync>;

/// Runs pictures, one at a time.
pub(super) struct Predictor {
    max_body: usize,
    max_pixels: usize,
    fit: Fit,
    start: StartRunner,
    pub(super) editions: CurrentEdition,
    pub(super) limits: Limits,
    jobs: Mutex<Option<Sender<Job>>>,
    busy: Arc<AtomicBool>,
    /// Of pictures that are being received: twice the largest.
    received: Budget,
    /// Of masks that are being sent: twice the largest.
    sent: Budget,
}

impl Predictor {
    /// A predictor for whichever of `editions` is the current one. Nothing is loaded or started yet.
    pub(super) fn new(config: &Config, editions: CurrentEdition) -> Self {
        let process = cpu_process(&config.engine, "predict", THREADS);
        let room = room(config.http.max_pixels as usize);
        Self::with(config, editions, Arc::new(move |edition, settings| start(&process, edition, settings, room)))
    }

    fn with(config: &Config, editions: CurrentEdition, start: StartRunner) -> Self {
        let max_body = usize::try_from(config.http.max_body.0).unwrap_or(usize::MAX);
        let max_pixels = config.http.max_pixels as usize;
        Self {
            max_body,
            max_pixels,
            fit: config.model.fit,
            start,
            editions,
            limits: Limits::default(),
            jobs: Mutex::new(None),
            busy: Arc::new(AtomicBool::new(false)),
            received: Budget::new(max_body.saturating_mul(2)),
            sent: Budget::new(max_mask(max_pixels).saturating_mul(2)),
        }
    }

    /// Largest picture that is taken, in bytes.
    pub(super) const fn max_body(&self) -> usize {
        self.max_body
    }

    /// A place for the bytes of a picture that is being received.
    pub(super) fn hold(&self) -> Held {
        self.received.hold()
    }

    /// Whether a picture is being run.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// Runs a picture: JPEG or PNG.
    ///
    /// # Errors
    /// When another one is being run, this one is unusable or takes too long, or there is no model that can run here.
    pub(super) async fn run(&self, picture: Received, wanted: Wanted) -> Result<Response<Body>, Problem> {
        let turn = Turn::take(&self.busy).ok_or_else(busy)?;
        let picture = picture.seal().map_err(|error| fault(format!("the picture can't be handed on: {error}")))?;
        let (answer, answered) = oneshot::channel();
        self.send(Job { picture, wanted, answer, _turn: turn })?;
        match tokio::time::timeout(self.limits.run + LAST_WORD, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(fault("the picture could not be run; the program's log has more")),
            Err(_) => {
                let detail =
                    format!("the picture took longer than {} s: the processor has no time", self.limits.run.as_secs());
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
            }
        }
    }

    /// Hands `job` to the thread, which is started with the first one, and again if it failed.
    fn send(&self, job: Job) -> Result<(), Problem> {
        let mut jobs = lock(&self.jobs);
        let unsent = match jobs.as_ref() {
            None => job,
            // Whoever has the turn is alone, so there is room.
            Some(sender) => match sender.try_send(job) {
                Ok(()) => return Ok(()),
                Err(unsent) => unsent.into_inner(),
            },
        };
        let (sender, received) = bounded(1);
        let _ = sender.try_send(unsent);
        let worker = Worker {
            fit: self.fit,
            max_pixels: self.max_pixels,
            sent: self.sent.clone(),
            start: Arc::clone(&self.start),
            editions: self.editions.clone(),
            limits: self.limits,
            running: None,
        };
        let thread = thread::Builder::new().name("predict".to_owned());
        match thread.spawn(move || worker.run(&received)) {
            Ok(_) => *jobs = Some(sender),
            Err(error) => return Err(fault(format!("no thread can be started: {error}"))),
        }
        Ok(())
    }
}

/// The answer while another picture is being run.
pub(super) fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "another picture is being run; one at a time is. Try again")
}

pub(super) fn no_memory(what: &str, error: &io::Error) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("there is no memory for {what}: {error}"))
}

fn fault(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
}

/// The right to run a picture.
struct Turn(Arc<AtomicBool>);

impl Turn {
    fn take(busy: &Arc<AtomicBool>) -> Option<Self> {
        (!busy.swap(true, Ordering::AcqRel)).then(|| Self(Arc::clone(busy)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The thread's half. The system ends the process with the thread that started it.
struct Worker {
    fit: Fit,
    max_pixels: usize,
    sent: Budget,
    start: StartRunner,
    editions: CurrentEdition,
    limits: Limits,
    running: Option<Running>,
}

/// A process, and what it runs and writes to.
struct Running {
    edition: Arc<Edition>,
    runner: Box<dyn Runner>,
    room: Room,
}

impl Worker {
    fn run(mut self, jobs: &Receiver<Job>) {
        // The process inherits it.
        priority::lower(priority::LAST);
        loop {
            let job = match self.running {
                Some(_) => jobs.recv_timeout(self.limits.keep),
                None => jobs.recv().map_err(Into::into),
            };
            match job {
                // Who asked may have gone meanwhile.
                Ok(job) if job.answer.is_closed() => {}
                Ok(Job { picture, wanted, answer, _turn: turn }) => {
                    let made = self.answer(&picture, wanted);
                    // Whoever has the answer may ask again at once.
                    drop((picture, turn));
                    let _ = answer.send(made);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.running = None;
                    log::debug!("predict: no picture for {} s; its process is ended", self.limits.keep.as_secs());
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    fn answer(&mut self, picture: &Picture, wanted: Wanted) -> Result<Response<Body>, Problem> {
        let mut running = self.take_running()?;
        let request = serde_json::to_vec(&wanted).unwrap_or_default();
        let files = [picture.as_fd(), running.room.as_fd()];
        let reply = match running.runner.ask(&request, &files, self.limits.run) {
            Ok(bytes) => {
                let checked = parse(&bytes, self.max_pixels, self.limits.run);
                checked.ok_or_else(|| running.runner.end_for_nonsense())
            }
            Err(fault) => Err(fault),
        };
        // Of a process that failed, nothing is kept: the next picture gets another.
        let reply = reply.map_err(|found| {
            let text = format!("{found}. {}", running.runner.advice(&found));
            log::error!("predict: {text}");
            fault(format!("the process that runs pictures failed on this one: {text}"))
        })?;
        let answer = match reply {
            Checked::Failed(reason) => {
                log::error!("predict: {reason}");
                return Err(fault(reason));
            }
            Checked::Refused(status, detail) => Err(Problem::new(status, detail)),
            Checked::Made(figures, mask_bytes) => match wanted {
                Wanted::Figures => {
                    let figures = as_json(&running.edition, &figures).to_string();
                    Ok(whole("application/json", plain_json(figures).into_bytes()))
                }
                Wanted::Mask => self.mask(&running.room, mask_bytes),
            },
        };
        self.running = Some(running);
        answer
    }

    /// The first `length` bytes of `room` as an answer.
    fn mask(&self, room: &Room, length: usize) -> Result<Response<Body>, Problem> {
        let mut held = self.sent.hold();
        if !held.grow(length) {
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many masks are being sent. Try again"));
        }
        let bytes = room.take(length).map_err(|error| no_memory("a mask", &error))?;
        Ok(typed("image/png", HeldBody::new(bytes, held).boxed()))
    }

    /// What runs the current edition on the CPU: the last picture's process, unless another edition runs by now.
    fn take_running(&mut self) -> Result<Running, Problem> {
        let edition = self.editions.now();
        let running = self.running.take().filter(|running| Arc::ptr_eq(&running.edition, &edition));
        if let Some(mut running) = running {
            if running.runner.is_alive() {
                return Ok(running);
            }
        }
        let settings = Settings {
            fit: self.fit,
            normalisation: edition.normalisation(),
            palette: edition.labels.colors().into(),
            max_pixels: self.max_pixels,
        };
        let room = Room::new(max_mask(self.max_pixels)).map_err(|error| no_memory("masks", &error))?;
        let runner = (self.start)(&edition, &settings)?;
        Ok(Running { edition, runner, room })
    }
}

/// Starts the process.
fn start(process: &CpuProcess, edition: &Edition, settings: &Settings, room: u64) -> Result<Box<dyn Runner>, Problem> {
    let file = for_cpu(edition)?;
    let settings = serde_json::to_string(settings).map_err(|error| fault(error.to_string()))?;
    let started = runtime_of(file).and_then(|runtime| {
        let needs = (runtime.vet)(file)?;
        process.serve(file, needs, edition.io.clone(), (settings, room), &mut || true)
    });
    let (worker, ready) = started.map_err(|error| {
        log::error!("predict: {error}");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("the model can't be loaded now: {error}"))
    })?;
    log::info!("predict: a process runs the pictures that are sent: {}", ready.describe);
    Ok(Box::new(worker))
}

/// The model's half for the CPU.
fn for_cpu(edition: &Edition) -> Result<&ModelFile, Problem> {
    edition.file.for_cpu().ok_or_else(|| {
        let path = edition.file.path.display();
        let detail = format!("pictures are run on the CPU, and there is no model for it beside {path}");
        Problem::new(StatusCode::NOT_IMPLEMENTED, detail)
    })
}

/// Bytes that a picture of `max_pixels` may take in the process: as it is stored, as RGB, as a class map and as a PNG.
const fn room(max_pixels: usize) -> u64 {
    /// A progressive JPEG without subsampling is kept as three coefficients of two bytes for each pixel. Deep pixels of a PNG
    /// that take more than four bytes are refused.
    const STORED: u64 = 6;
    const RGB_MAP_AND_PNG: u64 = 3 + 1 + 1;
    (STORED + RGB_MAP_AND_PNG) * max_pixels as u64
}

/// The most bytes of a mask's PNG: all its rows with what PNG writes between them. There are 2^14 rows at most.
const fn max_mask(max_pixels: usize) -> usize {
    max_pixels + max_pixels / 16 + (128 << 10)
}

/// A reply that can be true.
enum Checked {
    /// The figures, and how long the mask is.
    Made(Box<Figures>, usize),
    Refused(StatusCode, String),
    Failed(String),
}

/// What the process said, in so many words at most.
fn parse(bytes: &[u8], max_pixels: usize, limit: Duration) -> Option<Checked> {
    let cut = |text: String| text.chars().take(LONGEST_REASON).collect::<String>();
    Some(match serde_json::from_slice(bytes).ok()? {
        Reply::Made(made) => {
            let Made { mask_bytes, .. } = made;
            Checked::Made(Box::new(made.checked(max_pixels, max_mask(max_pixels), limit)?), mask_bytes)
        }
        Reply::TooLarge(found) => {
            let (bytes, found) = (4 * max_pixels, cut(found));
            let detail = format!(
                "the picture is too large: {found}; http.max_pixels allows {max_pixels} pixels, and {bytes} bytes once they are \
                 decoded. Scale it down, or raise http.max_pixels (docs/pictures.md)"
            );
            Checked::Refused(StatusCode::PAYLOAD_TOO_LARGE, detail)
        }
        Reply::NoMemory(reason) => Checked::Refused(StatusCode::SERVICE_UNAVAILABLE, cut(reason)),
        Reply::Broken(reason) => {
            Checked::Refused(StatusCode::UNPROCESSABLE_ENTITY, format!("the picture can't be decoded: {}", cut(reason)))
        }
        Reply::Failed(reason) => Checked::Failed(cut(reason)),
    })
}

fn as_json(edition: &Edition, of: &Figures) -> Value {
    let ms = |time: Duration| rounded(time.as_secs_f64() * 1e3, 1e3);
    let areas = Areas::of(&edition.labels, &of.summary);
    let mut figures = json!({
        "model": edition.name,
        "width": of.size.width,
        "height": of.size.height,
        "classes": object(areas.classes(&edition.labels)),
    });
    if !edition.labels.groups().is_empty() {
        figures["groups"] = object(areas.groups(&edition.labels));
    }
    figures["confidence"] = json!(of.summary.confidence.map(|value| rounded(f64::from(value), 1e4)));
    let times = of.times;
    figures["times_ms"] = json!({"convert": ms(times.convert), "infer": ms(times.infer), "decode": ms(times.decode)});
    figures
}

#[cfg(test)]
mod testing {
    //! A process that is none: the service in this one.

    use infer::worker::Service;

    use super::*;

    struct Here(Box<dyn Service>);

    impl Runner for Here {
        fn ask(&mut self, request: &[u8], files: &[BorrowedFd<'_>], _: Duration) -> Result<Vec<u8>, Fault> {
            let files = files.iter().map(|file| file.try_clone_to_owned().unwrap()).collect();
            Ok(self.0.answer(request, files))
        }

        fn is_alive(&mut self) -> bool {
            true
        }

        fn end_for_nonsense(&mut self) -> Fault {
            Fault::Stopped
        }

        fn advice(&self, _: &Fault) -> String {
            String::new()
        }
    }

    impl Predictor {
        /// As [`Predictor::new`], but pictures are run in this process: a test has no worker in it.
        pub(in crate::http) fn without_process(config: &Config, editions: CurrentEdition) -> Self {
            let start: StartRunner = Arc::new(|edition, settings| {
                let file = for_cpu(edition)?;
                let engine = (runtime_of(file).unwrap().engine)(file, THREADS).unwrap();
                Ok(Box::new(Here(picture_service(&serde_json::to_string(settings).unwrap(), engine).unwrap())))
            });
            Self::with(config, editions, start)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_turn_has_it_alone() {
        let busy = Arc::new(AtomicBool::new(false));
        let turn = Turn::take(&busy);
        assert!(turn.is_some() && Turn::take(&busy).is_none());
        drop(turn);
        assert!(Turn::take(&busy).is_some());
    }
}
