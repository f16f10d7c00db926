//! The stage threads and their life: capture, infer, publish, joined by mailboxes that replace.
//!
//! Tensors and results live in small pools and circulate, so nothing is allocated per frame once every buffer exists.
//! The main thread watches the [`Vitals`] state; what it does about it (signals, systemd) is left to `daemon`.

mod capture;
mod engine_status;
mod lanes;
mod publish;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod vitals;
mod waits;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base::clock::{Clock, Instant};
use base::mailbox::{mailbox, Delivery};
use base::pause::Pause;
use base::shutdown::Shutdown;
use camera::{Camera, CameraError};
use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, Sender};
use infer::{Cpu, Crew, InputTensor, InputTensors};
use model::{CurrentEdition, Edition};
use pixels::frame::{FrameMeta, Size};
use pixels::orientation::Orientation;
use pixels::preprocess::Fit;
use pixels::segment::{MaskSize, Region};

use crate::publish::{PictureGate, Sink};
use crate::scene::Scene;

pub use engine_status::EngineStatus;
pub use vitals::{Beats, Ending, Vitals};

/// Opens the camera, again and again.
pub type CameraMaker = Arc<dyn Fn() -> Result<Box<dyn Camera>, CameraError> + Send + Sync>;

/// What a pipeline is made of.
pub struct Parts {
    /// The camera, if it could be opened already.
    pub camera: Option<Box<dyn Camera>>,
    /// Opens it again after a failure.
    pub open_camera: CameraMaker,
    /// The model that runs now.
    pub editions: CurrentEdition,
    /// The CPU as an engine: alone, or for the time that no worker is up. There is one of the two at least.
    pub cpu: Option<Cpu>,
    /// Worker processes that run the model.
    pub crew: Option<Crew>,
    /// What class maps mean.
    pub scene: Scene,
    /// Where results go.
    pub sinks: Vec<Box<dyn Sink>>,
    /// While it is on, the camera is closed.
    pub pause: Pause,
    /// They say when a frame's picture is wanted; each frame carries its own when any of them wants it.
    pub gates: Vec<Arc<dyn PictureGate>>,
    /// What the threads tell of themselves.
    pub vitals: Arc<Vitals>,
    /// The rest.
    pub settings: Settings,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// How a pipeline behaves.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Replace frames, or wait for each.
    pub delivery: Delivery,
    /// How the camera's pictures are turned upright.
    pub orientation: Orientation,
    /// How pictures fit the model's input.
    pub fit: Fit,
    /// Size of the class map.
    pub mask: MaskSize,
    /// The source ends by itself; its failure ends the run rather than being waited out.
    pub finite: bool,
}

/// A frame on its way to the infer thread.
#[derive(Debug)]
struct TensorSlot {
    tensor: InputTensor,
    about: About,
}

/// A frame on its way to the publish thread.
#[derive(Debug)]
struct ResultSlot {
    /// The bytes of the output tensor.
    output: Vec<u8>,
    about: About,
    /// The worker that ran it; None is the CPU in this process.
    engine: Option<usize>,
    infer_started: Instant,
    infer_ended: Instant,
}

impl ResultSlot {
    /// With room for an output tensor of `bytes`.
    fn new(bytes: usize) -> Self {
        let never = Instant::default();
        Self { output: vec![0; bytes], about: About::default(), engine: None, infer_started: never, infer_ended: never }
    }
}

/// What travels with a frame from stage to stage.
#[derive(Debug, Default)]
struct About {
    /// The model that the frame is converted for, run by and decoded with; None before the slot's first frame.
    edition: Option<Arc<Edition>>,
    meta: FrameMeta,
    converted: Instant,
    mask_size: Option<Size>,
    region: Region,
    /// RGB at the mask's size; empty when nobody wants it. The buffer is kept.
    picture: Vec<u8>,
    has_picture: bool,
}

/// A running pipeline.
pub struct Pipeline {
    vitals: Arc<Vitals>,
    threads: Vec<JoinHandle<()>>,
    done: Receiver<()>,
}

impl Pipeline {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system refuses a thread, or memory that worker processes can share.
    pub fn start(parts: Parts, shutdown: &Shutdown) -> io::Result<Self> {
        let Parts {
            camera, open_camera, editions, cpu, crew, scene, vitals, sinks, gates, pause, settings, clock, ..
        } = parts;
        let edition = editions.now();
        let io = &edition.io;
        let workers = crew.as_ref().map_or(0, |crew| crew.jobs.len());
        let counts = SlotCounts::new(workers, cpu.is_some());
        let inputs = match (cpu.as_ref().and_then(|cpu| cpu.inputs.clone()), workers) {
            // The CPU's process sees them already.
            (Some(inputs), _) => inputs,
            (None, 0) => InputTensors::heap(&io.input),
            (None, _) => InputTensors::shared(&io.input, counts.tensors)?,
        };
        let tensors =
            Pool::try_filled(counts.tensors, || Ok(TensorSlot { tensor: inputs.take()?, about: About::default() }))?;
        let results = Pool::try_filled(counts.results, || Ok(ResultSlot::new(io.output.bytes())))?;
        let (to_infer, from_capture) = mailbox(settings.delivery, 1);
        let (to_publish, from_infer) = mailbox(settings.delivery, workers);
        let (done_sender, done) = bounded::<()>(0);
        vitals.set_sinks(sinks.iter().map(|sink| (!sink.is_onlooker()).then(|| sink.name())));

        let stage = Stage { vitals: Arc::clone(&vitals), shutdown: shutdown.clone(), clock, settings };
        let capture = capture::CaptureStage::new(
            stage.clone(),
            capture::Source { camera, open: open_camera, pause },
            capture::Conversion { editions: editions.clone(), gates },
            tensors.clone(),
            to_infer,
        );
        let ends = lanes::Ends { tensors, results: results.clone(), inlet: from_capture, outlet: to_publish };
        let publish = publish::PublishStage::new(stage.clone(), scene, sinks, results, from_infer);
        let mut threads = lanes::start(&stage, ends, cpu, crew, &inputs, &edition)?;
        threads.push(stage.spawn("capture", capture, capture::CaptureStage::run)?);
        threads.push(stage.spawn("publish", (publish, done_sender), |(publish, _)| publish.run())?);
        Ok(Self { vitals, threads, done })
    }

    /// What the threads tell of themselves.
    pub const fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }

    /// Waits at most `limit` for the last result to be published. True when it was.
    pub fn wait(&self, limit: Duration) -> bool {
        matches!(self.done.recv_timeout(limit), Err(RecvTimeoutError::Disconnected))
    }

    /// Waits for the threads, which is short once [`Pipeline::wait`] said true.
    pub fn join(self) {
        for thread in self.threads {
            // A panic was noted by the thread itself, in `Vitals`.
            let _ = thread.join();
        }
    }
}

/// Input tensors that circulate with so many workers, and with the CPU.
pub fn tensor_slots(workers: usize, has_cpu: bool) -> usize {
    SlotCounts::new(workers, has_cpu).tensors
}

/// How many buffers circulate.
struct SlotCounts {
    tensors: usize,
    results: usize,
}

impl SlotCounts {
    fn new(workers: usize, has_cpu: bool) -> Self {
        let lanes = workers + usize::from(has_cpu);
        // One with each thread at either end of a mailbox, and those that lie in it.
        let tensors = lanes + 1 + 1;
        let results = lanes + workers.max(1) + 1;
        // With several lanes one more each, for results that wait for their turn.
        Self { tensors, results: if lanes > 1 { results + lanes } else { results } }
    }
}

/// What every stage has.
#[derive(Clone)]
struct Stage {
    vitals: Arc<Vitals>,
    shutdown: Shutdown,
    clock: Arc<dyn Clock>,
    settings: Settings,
}

impl Stage {
    /// Starts a thread that runs `stage` and drops it at its end. Dropping a stage closes its mailboxes, which the next stage
    /// takes for the end of the source; after a panic, the alarm must therefore come first.
    fn spawn<T: Send + 'static>(
        &self,
        name: &'static str,
        stage: T,
        run: impl FnOnce(&mut T) + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let alarm = PanicAlarm { name, vitals: Arc::clone(&self.vitals), shutdown: self.shutdown.clone() };
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut stage = stage;
            // Declared after the stage, so dropped before it.
            let _alarm = alarm;
            run(&mut stage);
        })
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }
}

/// A stage that panics takes the program down in order: the others stop, what was published is flushed, and systemd
/// starts the program again.
struct PanicAlarm {
    name: &'static str,
    vitals: Arc<Vitals>,
    shutdown: Shutdown,
}

impl Drop for PanicAlarm {
    fn drop(&mut self) {
        if thread::panicking() {
            log::error!("the {} thread failed; stopping", self.name);
            self.vitals.end(Ending::Panicked);
            self.shutdown.pull();
        }
    }
}

/// Buffers that circulate between two threads.
#[derive(Debug)]
struct Pool<T> {
    give: Sender<T>,
    take: Receiver<T>,
}

impl<T> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Self { give: self.give.clone(), take: self.take.clone() }
    }
}

impl<T> Pool<T> {
    fn try_filled(size: usize, mut make: impl FnMut() -> io::Result<T>) -> io::Result<Self> {
        let (give, take) = bounded(size);
        for _ in 0..size {
            // The channel is as long as the pool.
            let _ = give.try_send(make()?);
        }
        Ok(Self { give, take })
    }

    /// How many buffers there are.
    fn size(&self) -> usize {
        self.give.capacity().unwrap_or(0)
    }

    /// Takes a buffer, waiting at most `limit`.
    fn take(&self, limit: Duration) -> Option<T> {
        self.take.recv_timeout(limit).ok()
    }

    fn give_back(&self, item: T) {
        // There is room for every buffer that exists.
        let _ = self.give.try_send(item);
    }
}
