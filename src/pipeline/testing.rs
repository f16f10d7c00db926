//! What the tests of the pipeline, and of those who watch it, share: a model of a few pixels, a camera, an engine and a
//! sink that do what the test says, and a state that the test moves by hand.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::sync::Arc;
use std::time::Duration;

use base::clock::{Clock, Instant, ManualClock};
use base::mailbox::Delivery;
use base::outbox::{Closing, OutboxHealth};
use base::shutdown::Shutdown;
use camera::{Camera, CameraError, Poll};
use infer::worker::{Job, LogLimit, Told};
use infer::{Cpu, Crew, Engine, EngineMaker, InferError, InputTensors};
use model::{Edition, InputSpec, LabelMap, ModelIo};
use pixels::frame::{Colorimetry, Frame, FrameMeta, Layout, Picture, PictureFormat, Size};
use pixels::orientation::Orientation;
use pixels::preprocess::Fit;
use pixels::segment::{LabelType, MaskSize, OutputKind, OutputSpec, Summary};

use super::{About, EngineStatus, Pool, ResultSlot, Settings, Stage, TensorSlot, Vitals};
use crate::publish::Sink;
use crate::scene::rules::Rules;
use crate::scene::{Outcome, Scene};
use crate::telemetry::state::CameraState;
use crate::telemetry::{Counts, EngineReport, Timings};

/// What any wait may take before a test fails: far more than a busy machine needs.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Input and output of the model.
pub(super) const SIDE: Size = Size::new(4, 4);

/// The state of a pipeline with these sinks, on the CPU, with one lane, from the clock's start on.
pub(crate) fn vitals(engines: EngineStatus, sinks: &[Option<&'static str>]) -> Arc<Vitals> {
    let vitals = Vitals::new(Instant::default(), engines).unwrap();
    vitals.set_sinks(sinks.iter().copied());
    Arc::new(vitals)
}

/// EngineStatus as a pipeline has them at its start.
pub(crate) fn engines(kind: &'static str, workers: usize, has_cpu: bool) -> EngineStatus {
    EngineStatus::new(kind, workers, has_cpu)
}

/// What only the pipeline's threads may do to its state, for tests that stand in for them.
pub(crate) trait ByHand {
    /// The first result went to the sinks.
    fn publish_first(&self);
    /// The sink in this place has lost so many.
    fn drop_results(&self, place: usize, dropped: u64);
    /// The camera is so.
    fn turn_camera(&self, state: CameraState, words: &str);
    /// This worker is up.
    fn bring_up(&self, worker: usize);
    /// This worker failed.
    fn fail(&self, worker: usize, reason: &str);
    /// The CPU ran a frame in a worker's place.
    fn fall_back(&self);
    /// Every stage went round its loop, but for the one in this place: capture, the lanes, publish.
    fn beat_all_but(&self, silent: Option<usize>, lanes: usize, now: Instant);
}

impl ByHand for Vitals {
    fn publish_first(&self) {
        self.note_published();
    }

    fn drop_results(&self, place: usize, dropped: u64) {
        self.set_dropped(place, dropped);
    }

    fn turn_camera(&self, state: CameraState, words: &str) {
        self.set_camera(state, words);
    }

    fn bring_up(&self, worker: usize) {
        self.engines.came_up(worker, None);
    }

    fn fail(&self, worker: usize, reason: &str) {
        self.engines.failed(worker, reason);
    }

    fn fall_back(&self) {
        self.engines.fell_back();
    }

    fn beat_all_but(&self, silent: Option<usize>, lanes: usize, now: Instant) {
        if silent != Some(0) {
            self.beats.capture(now);
        }
        for lane in (0..lanes).filter(|lane| silent != Some(lane + 1)) {
            self.beats.infer(lane, now);
        }
        if silent != Some(lanes + 1) {
            self.beats.publish(now);
        }
    }
}

/// A model whose answer to a grey picture is that grey as the class of every pixel.
pub(crate) fn io() -> ModelIo {
    let input = InputSpec { size: SIDE, signed: false, scale: 1.0, zero_point: 0 };
    let kind = OutputKind::Labels { label: LabelType::Uint8 };
    ModelIo { input, output: OutputSpec { height: SIDE.height, width: SIDE.width, kind } }
}

/// Names of its classes.
pub(super) fn labels() -> LabelMap {
    LabelMap::new(Some(200), None).unwrap()
}

/// The model.
pub(super) fn edition() -> Arc<Edition> {
    Arc::new(Edition::of("m", io(), labels()))
}

/// A scene without rules.
pub(super) fn scene(edition: &Arc<Edition>) -> Scene {
    Scene::new(&Rules::default(), Vec::new(), edition).unwrap()
}

/// A place for a frame, on the heap.
pub(super) fn tensor_slot() -> TensorSlot {
    tensor_slot_in(&InputTensors::heap(&io().input))
}

/// A place for a result, on the heap.
pub(super) fn result_slot() -> ResultSlot {
    let mut slot = ResultSlot::new(io().output.bytes());
    slot.about.edition = Some(edition());
    slot
}

/// A place for a frame among `inputs`.
pub(super) fn tensor_slot_in(inputs: &InputTensors) -> TensorSlot {
    TensorSlot { tensor: inputs.take().unwrap(), about: About::default() }
}

/// So many of what `make` makes.
pub(super) fn pool<T>(size: usize, make: impl Fn() -> T) -> Pool<T> {
    Pool::try_filled(size, || Ok(make())).unwrap()
}

/// What a worker called `name` is to run: `program`, with nothing that makes sense to it.
pub(super) fn job(name: &str, program: &Path) -> Job {
    Job {
        name: name.to_owned(),
        program: program.to_owned(),
        model_name: "m".to_owned(),
        path: "m.tflite".into(),
        model: Arc::from([]),
        threads: 1,
        delegate: None,
        io: io(),
        memory: None,
        log_limit: LogLimit::default(),
        told: Told::default(),
    }
}

/// A program that is no worker, and sends what the worker's name says behind the blank: `w steady` answers every frame with
/// class 0, `w short` with half an answer, `w exits` ends.
pub(super) fn imposter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/unruly/imposter")
}

/// Workers that do these jobs.
pub(super) fn crew(jobs: Vec<Job>) -> Crew {
    Crew {
        jobs,
        kind: "delegate",
        deadline: None,
        start_limit: LIMIT,
        longest_pause: Duration::from_secs(1),
        expected: None,
        is_optional: true,
    }
}

/// Every picture fills the input, and masks have its size.
pub(super) const SETTINGS: Settings = Settings {
    delivery: Delivery::Newest,
    orientation: Orientation::UPRIGHT,
    fit: Fit::Stretch,
    mask: MaskSize::Fixed(SIDE),
    finite: false,
};

/// What a stage has, with `clock` and one sink `kept`.
pub(super) fn stage(clock: Arc<dyn Clock>, settings: Settings) -> Stage {
    let vitals = vitals(EngineStatus::new("cpu", 0, true), &[Some("kept")]);
    Stage { vitals, shutdown: Shutdown::default(), clock, settings }
}

/// What a camera does at a poll.
pub(super) enum Act {
    /// Hands over a picture of this size and grey.
    Frame(Size, u8, FrameMeta),
    /// Hands over nothing that can be used.
    Corrupt,
    /// Fails.
    Fail,
    /// Ends.
    End,
    /// Panics.
    Panic,
    /// Says that it hangs, and does so until the other end is dropped.
    Hang(Sender<()>, Receiver<()>),
    /// Hands over nothing, and says that it passed over so many.
    Skip(u64),
}

/// A frame of the model's size that was taken and dequeued at `now`.
pub(super) fn frame(number: u8, now: Instant) -> Act {
    Act::Frame(SIDE, number, FrameMeta { sequence: number.into(), captured: now, dequeued: now })
}

/// A camera that does what it is told, and ends with whoever tells it.
pub(super) struct ToldCamera {
    acts: Receiver<Act>,
    skipped: u64,
}

impl ToldCamera {
    pub(super) fn new() -> (Sender<Act>, Self) {
        let (sender, acts) = channel();
        (sender, Self { acts, skipped: 0 })
    }
}

impl Camera for ToldCamera {
    fn poll(&mut self, wait: Duration, take: &mut dyn FnMut(&Frame<'_>)) -> Result<Poll, CameraError> {
        let act = match self.acts.recv_timeout(wait) {
            Ok(act) => act,
            Err(RecvTimeoutError::Timeout) => return Ok(Poll::Idle),
            Err(RecvTimeoutError::Disconnected) => return Ok(Poll::End),
        };
        match act {
            Act::Frame(size, grey, meta) => {
                let format = PictureFormat { layout: Layout::Rgb, size, color: Colorimetry::default() };
                let bytes = vec![grey; size.pixels() * 3];
                let picture = Picture::contiguous(format, size.width * 3, &bytes).unwrap();
                take(&Frame { picture, meta });
                return Ok(Poll::Taken);
            }
            Act::Corrupt => return Ok(Poll::Corrupt("torn".to_owned())),
            Act::Fail => return Err(CameraError::retry("test", "unplugged", "")),
            Act::End => return Ok(Poll::End),
            Act::Panic => panic!("on purpose"),
            Act::Hang(begun, end) => {
                begun.send(()).unwrap();
                let _ = end.recv();
            }
            Act::Skip(count) => self.skipped += count,
        }
        Ok(Poll::Idle)
    }

    fn describe(&self) -> String {
        "told".to_owned()
    }

    fn format(&self) -> Option<PictureFormat> {
        None
    }

    fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }
}

/// What an engine, or a sink, does with a frame.
pub(super) enum Work {
    /// Its work, which takes so long by the clock.
    Take(Duration),
    /// It fails; a sink then is gone.
    Fail,
    /// It panics.
    Panic,
}

/// The end that says what is done with each frame, and hears which frame it is: by its grey, or its sequence.
pub(super) struct Gate<T> {
    pub(super) entered: Receiver<T>,
    pub(super) work: Sender<Work>,
}

impl<T> Gate<T> {
    fn new() -> (Self, Gated<T>) {
        let ((enter, entered), (work, told)) = (channel(), channel());
        (Self { entered, work }, Gated { enter, told })
    }

    /// The next frame that comes to it, where it waits.
    #[track_caller]
    pub(super) fn frame(&self) -> T {
        self.entered.recv_timeout(LIMIT).expect("a frame")
    }

    /// Lets the frame that waits, or the next one, pass.
    pub(super) fn pass(&self) {
        self.work.send(Work::Take(Duration::ZERO)).unwrap();
    }
}

/// The end that is told.
struct Gated<T> {
    enter: Sender<T>,
    told: Receiver<Work>,
}

impl<T> Gated<T> {
    /// Waits for what to do; once nobody tells, it is done at once.
    fn wait(&self, frame: T) -> Work {
        // Nobody may listen any more.
        let _ = self.enter.send(frame);
        self.told.recv().unwrap_or(Work::Take(Duration::ZERO))
    }
}

/// An engine that waits at every frame for what it is to do.
pub(super) struct ToldEngine {
    gated: Arc<std::sync::Mutex<Gated<u8>>>,
    io: ModelIo,
    clock: Arc<ManualClock>,
}

impl ToldEngine {
    pub(super) fn new(clock: &Arc<ManualClock>) -> (Gate<u8>, Self) {
        let (gate, gated) = Gate::new();
        (gate, Self { gated: Arc::new(gated.into()), io: io(), clock: Arc::clone(clock) })
    }

    /// Another one behind the same gate.
    pub(super) fn again(&self) -> Self {
        Self { gated: Arc::clone(&self.gated), io: io(), clock: Arc::clone(&self.clock) }
    }
}

impl Engine for ToldEngine {
    fn io(&self) -> &ModelIo {
        &self.io
    }

    fn describe(&self) -> String {
        "told".to_owned()
    }

    fn infer(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), InferError> {
        let work = self.gated.lock().unwrap().wait(input[0]);
        match work {
            Work::Take(time) => {
                self.clock.advance(time);
                output.fill(input[0]);
                Ok(())
            }
            Work::Fail => Err(InferError("on purpose".to_owned())),
            Work::Panic => panic!("on purpose"),
        }
    }
}

/// An engine in this process as the CPU.
pub(super) fn cpu(engine: ToldEngine, make: EngineMaker) -> Cpu {
    let longest_pause = Duration::from_secs(30);
    Cpu { engine: Box::new(engine), make, inputs: None, deadline: None, longest_pause }
}

/// What a sink was given.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) sequence: u64,
    pub(super) time: jiff::Timestamp,
    pub(super) model: String,
    pub(super) classes: usize,
    pub(super) summary: Summary,
    pub(super) timings: Timings,
    pub(super) counts: Counts,
    pub(super) engine: EngineReport,
    pub(super) worker: Option<usize>,
    pub(super) dropped: u64,
    pub(super) mask: Vec<u8>,
    pub(super) mask_size: Size,
    pub(super) picture: Option<Vec<u8>>,
}

/// A sink that tells what it is given, and waits each time for what it is to do.
pub(super) struct ToldSink {
    gated: Gated<Kept>,
    clock: Arc<ManualClock>,
    closed: Sender<Closing>,
    pub(super) name: &'static str,
    pub(super) is_onlooker: bool,
    pub(super) health: OutboxHealth,
}

impl ToldSink {
    /// The second tells how it is closed.
    pub(super) fn new(name: &'static str, clock: &Arc<ManualClock>) -> (Gate<Kept>, Receiver<Closing>, Self) {
        let (gate, gated) = Gate::new();
        let (close, closed) = channel();
        let health = OutboxHealth::default();
        (gate, closed, Self { gated, clock: Arc::clone(clock), closed: close, name, is_onlooker: false, health })
    }
}

impl Sink for ToldSink {
    fn name(&self) -> &'static str {
        self.name
    }

    fn publish(&mut self, outcome: &Outcome) {
        let journey = &outcome.journey;
        let kept = Kept {
            sequence: outcome.sequence,
            time: outcome.time,
            model: outcome.edition.name.clone(),
            classes: outcome.edition.labels.len(),
            summary: outcome.summary.clone(),
            timings: journey.timings,
            counts: journey.counts,
            engine: journey.engine.clone(),
            worker: journey.worker,
            dropped: journey.dropped,
            mask: outcome.mask.clone(),
            mask_size: outcome.size,
            picture: outcome.picture().map(<[u8]>::to_vec),
        };
        match self.gated.wait(kept) {
            Work::Take(time) => self.clock.advance(time),
            Work::Fail => self.health.gone = true,
            Work::Panic => panic!("on purpose"),
        }
    }

    fn health(&self) -> OutboxHealth {
        self.health
    }

    fn is_onlooker(&self) -> bool {
        self.is_onlooker
    }

    fn close(self: Box<Self>, closing: Closing) -> OutboxHealth {
        let _ = self.closed.send(closing);
        self.health
    }
}
