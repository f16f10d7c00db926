//! [`Predictor`]: the thread that runs the pictures that are sent, and the one place in front of it.
//!
//! It never touches a device: the model's half for the CPU runs with one thread, at the lowest priority, so that the camera's
//! frames go first. It is loaded with the first picture, from the bytes of the
//! edition that runs the camera's frames, and freed when none has come for a while.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base::priority;
use base::rounding::rounded;
use base::sync::lock;
use base::text::plain_json;
use camera::jpeg::JpegError;
use camera::picture::{self, PictureError};
use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, Sender};
use hyper::StatusCode;
use infer::runtime_of;
use model::CurrentEdition;
use pixels::frame::Size;
use pixels::preprocess::Fit;
use serde_json::{json, Value};
use tokio::sync::oneshot;

use super::body::Problem;
use crate::config::Config;
use crate::one_picture::{PictureRunner, StepTimes};
use crate::publish::images;
use crate::runners::CpuLoader;
use crate::scene::object;

/// Most pixels of a picture: 16.7 million, 4096 x 4096.
pub(super) const MOST_PIXELS: usize = 1 << 24;
/// Threads of the engine. The camera's frames come first.
const THREADS: usize = 1;
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

/// What is made of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Class areas and more, as JSON.
    Figures,
    /// The class map as a palette PNG.
    Mask,
}

/// A picture on its way to the thread.
struct Job {
    picture: Vec<u8>,
    wanted: Wanted,
    answer: oneshot::Sender<Result<Vec<u8>, Problem>>,
    /// Held until the thread is done, also when nobody waits any more.
    _turn: Turn,
}

/// Runs pictures, one at a time.
pub(super) struct Predictor {
    max_body: usize,
    fit: Fit,
    loader: CpuLoader,
    pub(super) editions: CurrentEdition,
    pub(super) limits: Limits,
    jobs: Mutex<Option<Sender<Job>>>,
    busy: Arc<AtomicBool>,
    /// Bytes of pictures that are being received.
    held: AtomicUsize,
}

impl Predictor {
    /// A predictor for whichever of `editions` is the current one. Nothing is loaded or started yet.
    pub(super) fn new(config: &Config, editions: CurrentEdition) -> Self {
        Self {
            max_body: usize::try_from(config.http.max_body.0).unwrap_or(usize::MAX),
            fit: config.model.fit,
            loader: CpuLoader::new(&config.engine, "predict", THREADS, 1),
            editions,
            limits: Limits::default(),
            jobs: Mutex::new(None),
            busy: Arc::new(AtomicBool::new(false)),
            held: AtomicUsize::new(0),
        }
    }

    /// Largest picture that is taken, in bytes.
    pub(super) const fn max_body(&self) -> usize {
        self.max_body
    }

    /// A place for the bytes of a picture that is being received.
    pub(super) fn hold(&self) -> Held<'_> {
        Held { predictor: self, bytes: 0 }
    }

    /// Whether a picture is being run.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// Runs a picture: JPEG or PNG.
    ///
    /// # Errors
    /// When another one is being run, this one is unusable or takes too long, or there is no model that can run here.
    pub(super) async fn run(&self, picture: Vec<u8>, wanted: Wanted) -> Result<Vec<u8>, Problem> {
        let turn = Turn::take(&self.busy).ok_or_else(busy)?;
        let (answer, answered) = oneshot::channel();
        self.send(Job { picture, wanted, answer, _turn: turn })?;
        match tokio::time::timeout(self.limits.run, answered).await {
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
            loader: self.loader.clone(),
            editions: self.editions.clone(),
            keep: self.limits.keep,
            runner: None,
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

/// Memory for pictures that are being received: twice the largest, for all senders together, so that many slow ones can't
/// fill it.
pub(super) struct Held<'a> {
    predictor: &'a Predictor,
    bytes: usize,
}

impl Held<'_> {
    /// Room for `bytes` more. False where there is none now.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let most = self.predictor.max_body().saturating_mul(2);
        let all = self.predictor.held.fetch_add(bytes, Ordering::AcqRel).saturating_add(bytes);
        self.bytes += bytes;
        all <= most
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.predictor.held.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// The thread's half.
struct Worker {
    fit: Fit,
    loader: CpuLoader,
    editions: CurrentEdition,
    keep: Duration,
    runner: Option<PictureRunner>,
}

impl Worker {
    fn run(mut self, jobs: &Receiver<Job>) {
        priority::lower(priority::LAST);
        loop {
            let job = match self.runner {
                Some(_) => jobs.recv_timeout(self.keep),
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
                    self.runner = None;
                    log::debug!("predict: no picture for {} s; the model is freed", self.keep.as_secs());
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    fn answer(&mut self, picture: &[u8], wanted: Wanted) -> Result<Vec<u8>, Problem> {
        let picture = picture::decode(picture, MOST_PIXELS).map_err(|error| unusable(&error))?;
        let mut runner = self.take_runner()?;
        // An engine that fails is dropped, and made anew for the next picture.
        let times = runner.run_rgb(&picture).map_err(|failure| {
            log::error!("predict: {failure}");
            fault(failure.to_string())
        })?;
        let made = match wanted {
            Wanted::Figures => Ok(plain_json(figures(&runner, picture.size, &times).to_string()).into_bytes()),
            Wanted::Mask => images::encode_mask(runner.mask(), picture.size, &runner.edition().labels.colors())
                .map_err(|error| fault(error.to_string())),
        };
        self.runner = Some(runner);
        made
    }

    /// What runs the current edition on the CPU: the last picture's, unless another edition runs by now.
    fn take_runner(&mut self) -> Result<PictureRunner, Problem> {
        let edition = self.editions.now();
        if let Some(runner) = self.runner.take().filter(|runner| Arc::ptr_eq(runner.edition(), &edition)) {
            return Ok(runner);
        }
        let Some(file) = edition.file.for_cpu() else {
            let detail = format!(
                "pictures are run on the CPU, and there is no model for it beside {}",
                edition.file.path.display()
            );
            return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, detail));
        };
        let loaded = runtime_of(file).and_then(|runtime| self.loader.load(runtime, file, None, &mut || true));
        let (engine, _) = loaded.map_err(|error| {
            log::error!("predict: {error}");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("the model can't be loaded now: {error}"))
        })?;
        Ok(PictureRunner::new(edition, engine, self.fit))
    }
}

fn unusable(error: &PictureError) -> Problem {
    let is_too_large = match error {
        PictureError::TooLarge(_) | PictureError::TooManyPixels { .. } => true,
        PictureError::Jpeg(error) => matches!(error, JpegError::TooLarge(_)),
        PictureError::Image(error) => matches!(error, image::ImageError::Limits(_)),
        PictureError::Io(_) | PictureError::Unknown => false,
    };
    if is_too_large {
        let detail = format!("a picture that is too large: {error}; at most {MOST_PIXELS} pixels are taken");
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail);
    }
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the picture can't be decoded: {error}"))
}

fn figures(runner: &PictureRunner, size: Size, times: &StepTimes) -> Value {
    let ms = |time: Duration| rounded(time.as_secs_f64() * 1e3, 1e3);
    let (edition, areas) = (runner.edition(), runner.areas());
    let mut figures = json!({
        "model": edition.name,
        "width": size.width,
        "height": size.height,
        "classes": object(areas.classes(&edition.labels)),
    });
    if !edition.labels.groups().is_empty() {
        figures["groups"] = object(areas.groups(&edition.labels));
    }
    figures["confidence"] = json!(runner.summary().confidence.map(|value| rounded(f64::from(value), 1e4)));
    figures["times_ms"] = json!({"convert": ms(times.convert), "infer": ms(times.infer), "decode": ms(times.decode)});
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_senders_together_hold_twice_the_largest_picture() {
        let mut config = Config::default();
        config.http.max_body = base::values::Bytes(100);
        let editions = CurrentEdition::new(crate::scene::testing::edition(crate::scene::testing::classes(2)));
        let predictor = Predictor::new(&config, editions);
        let (mut one, mut other) = (predictor.hold(), predictor.hold());
        assert!(one.grow(60) && one.grow(40) && other.grow(100));
        assert!(!predictor.hold().grow(1));
        drop(one);
        assert!(other.grow(100) && !other.grow(1));
        drop(other);
        assert!(predictor.hold().grow(200));
        assert_eq!(predictor.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn who_has_the_turn_has_it_alone() {
        let busy = Arc::new(AtomicBool::new(false));
        let turn = Turn::take(&busy);
        assert!(turn.is_some() && Turn::take(&busy).is_none());
        drop(turn);
        assert!(Turn::take(&busy).is_some());
    }
}
