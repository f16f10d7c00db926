//! The capture thread: camera to tensor, and the camera's coming and going.

mod damage;

use std::sync::Arc;
use std::time::Duration;

use base::back_off::BackOff;
use base::clock::Instant;
use base::mailbox::{Outlet, Put};
use base::pause::Pause;
use base::shutdown::TICK;
use camera::{Camera, CameraError, Poll};
use infer::InputTensor;
use model::{CurrentEdition, Edition};
use pixels::frame::{Frame, Picture, Size};
use pixels::orientation::Orientation;
use pixels::preprocess::{Converter, Fit, PixelMap, PreprocessError, Preprocessor, PAD};
use pixels::segment::MaskSize;

use self::damage::Damage;
use super::waits::Waits;
use super::{About, Beats, CameraMaker, Ending, Pool, Stage, TensorSlot};
use crate::publish::PictureGate;
use crate::telemetry::log_format::CameraLine;
use crate::telemetry::state::CameraState;
use crate::telemetry::Counters;

/// The longest pause before a camera is tried again. Frames come within 2 s of a camera's return.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where frames come from.
pub(super) struct Source {
    pub(super) camera: Option<Box<dyn Camera>>,
    pub(super) open: CameraMaker,
    pub(super) pause: Pause,
}

/// What is made of a frame.
pub(super) struct Conversion {
    pub(super) editions: CurrentEdition,
    pub(super) gates: Vec<Arc<dyn PictureGate>>,
}

pub(super) struct CaptureStage {
    stage: Stage,
    source: Source,
    converter: FrameConverter,
    tensors: Pool<TensorSlot>,
    outlet: Outlet<TensorSlot>,
    slot: Option<TensorSlot>,
    /// When the picture was asked for of the newest frame that carries one, until that frame was taken.
    untaken: Option<Instant>,
    back_off: BackOff,
    resting: bool,
    waits: Waits,
    /// What was opened last, while it has not shown that it is well.
    fruitless: String,
    opened_at: Instant,
    /// That it was opened was not said, and is said when it has shown that it is well.
    unsaid: bool,
    damage: Damage,
    numbers: Numbers,
}

/// Frame numbers that go on where a camera that was opened again starts anew.
#[derive(Debug, Default)]
struct Numbers {
    base: u64,
    next: u64,
}

impl Numbers {
    fn reopened(&mut self) {
        self.base = self.next;
    }

    fn number(&mut self, sequence: u64) -> u64 {
        let number = self.base + sequence;
        self.next = number + 1;
        number
    }
}

/// How a look at the camera ended.
enum Step {
    GoOn,
    Ended,
}

impl CaptureStage {
    pub(super) fn new(
        stage: Stage,
        source: Source,
        conversion: Conversion,
        tensors: Pool<TensorSlot>,
        outlet: Outlet<TensorSlot>,
    ) -> Self {
        let converter = FrameConverter {
            orientation: stage.settings.orientation,
            fit: stage.settings.fit,
            mask: stage.settings.mask,
            conversion,
            to_tensor: None,
            to_picture: None,
        };
        let back_off = BackOff::new(LONGEST_PAUSE);
        Self {
            stage,
            source,
            converter,
            tensors,
            outlet,
            slot: None,
            untaken: None,
            back_off,
            resting: false,
            waits: Waits::default(),
            fruitless: String::new(),
            opened_at: Instant::default(),
            unsaid: false,
            damage: Damage::default(),
            numbers: Numbers::default(),
        }
    }

    pub(super) fn run(&mut self) {
        if let Some(camera) = self.source.camera.take() {
            self.opened(camera.as_ref());
            self.source.camera = Some(camera);
        }
        while !self.stage.shutdown.is_pulled() {
            self.stage.vitals.beats.capture(self.stage.now());
            if self.source.pause.is_on() {
                self.rest();
                continue;
            }
            self.resume();
            match self.run_once() {
                Ok(Step::GoOn) => {}
                Ok(Step::Ended) => break,
                Err(error) if self.stage.settings.finite => {
                    log::error!("camera: {error}");
                    self.stage.vitals.end(Ending::SourceFailed(error.to_string()));
                    break;
                }
                // Who stops us may have told a camera program as well; that it ended then is no failure.
                Err(_) if self.stage.shutdown.is_pulled() => {}
                Err(error) => self.wait_after(&error),
            }
        }
        self.stage.vitals.beats.capture(Beats::LAST);
    }

    fn run_once(&mut self) -> Result<Step, CameraError> {
        let Some(mut camera) = self.source.camera.take() else {
            let camera = (self.source.open)()?;
            self.opened(camera.as_ref());
            self.source.camera = Some(camera);
            return Ok(Step::GoOn);
        };
        // A camera that returns an error is dropped here, with its buffers and its descriptor.
        let step = self.poll(camera.as_mut())?;
        self.source.camera = Some(camera);
        Ok(step)
    }

    /// Gives the camera up, so that others can have it, and waits a little.
    fn rest(&mut self) {
        if !self.resting {
            self.resting = true;
            self.source.camera = None;
            self.stage.vitals.set_camera(CameraState::Paused, "");
            log::info!("{}", CameraLine::Paused);
        }
        self.stage.shutdown.sleep(TICK);
    }

    /// The camera is opened by the next turn of the loop; a camera that is not there then is said anew.
    fn resume(&mut self) {
        if self.resting {
            self.resting = false;
            self.waits.forget();
            self.fruitless.clear();
            self.back_off.reset();
            self.stage.vitals.set_camera(CameraState::Opening, "opening");
            log::info!("{}", CameraLine::Resumed);
        }
    }

    fn opened(&mut self, camera: &dyn Camera) {
        let words = camera.describe();
        // A camera that opens and gives nothing, again and again, is told once, as one that doesn't open is.
        let is_news = words != self.fruitless;
        let level = if is_news { log::Level::Info } else { log::Level::Debug };
        log::log!(level, "{}", CameraLine::Running(&words));
        self.opened_at = self.stage.now();
        self.unsaid = !is_news && !camera.proven_after().is_zero();
        self.stage.vitals.set_camera(CameraState::Running, &words);
        self.fruitless = words;
        self.damage.opened();
        self.numbers.reopened();
        Counters::count(&self.stage.vitals.counters.camera_opens);
    }

    /// Frames come: the next failure is news again.
    fn is_well(&mut self, camera: &dyn Camera) {
        self.waits.forget();
        self.fruitless.clear();
        if std::mem::take(&mut self.unsaid) {
            log::info!("{}", CameraLine::Running(&camera.describe()));
        }
    }

    fn wait_after(&mut self, error: &CameraError) {
        let text = error.to_string();
        if self.waits.is_news(&text, self.stage.now()) {
            log::warn!("{}", CameraLine::Waiting(&text));
        } else {
            log::debug!("{}", CameraLine::StillWaiting(&text));
        }
        self.stage.vitals.set_camera(CameraState::Waiting, &text);
        self.stage.shutdown.sleep(self.back_off.pause());
    }

    fn poll(&mut self, camera: &mut dyn Camera) -> Result<Step, CameraError> {
        // The buffer comes first: a source that waits for the pipeline must not give up a frame that has no place.
        let Some(mut slot) = self.slot.take().or_else(|| self.tensors.take(TICK)) else {
            return Ok(Step::GoOn);
        };
        let counters = &self.stage.vitals.counters;
        let (converter, clock) = (&mut self.converter, &self.stage.clock);
        let (outlet, untaken) = (&self.outlet, &mut self.untaken);
        let mut outcome = Ok(());
        let mut take = |frame: &Frame<'_>| {
            let now = clock.now();
            if let Some(asked) = untaken.take_if(|_| outlet.is_empty()) {
                converter.conversion.gates.iter().for_each(|gate| gate.taken(asked));
            }
            outcome = converter.convert(frame, &mut slot, now);
            if outcome.is_ok() && slot.about.has_picture {
                *untaken = Some(now);
            }
            slot.about.converted = clock.now();
        };
        let polled = camera.poll(TICK, &mut take);
        counters.skipped.fetch_add(camera.take_skipped(), std::sync::atomic::Ordering::Relaxed);
        let polled = match polled {
            Ok(polled) => polled,
            Err(error) => {
                self.slot = Some(slot);
                return Err(error);
            }
        };
        match polled {
            Poll::Taken => {
                self.back_off.reset();
                if self.stage.now().since(self.opened_at) >= camera.proven_after() {
                    self.is_well(camera);
                }
                match outcome {
                    Ok(()) => {
                        self.whole(camera);
                        slot.about.meta.sequence = self.numbers.number(slot.about.meta.sequence);
                        return Ok(self.send(slot));
                    }
                    Err(error) => self.corrupt(&error.to_string()),
                }
            }
            Poll::Corrupt(reason) => self.corrupt(&reason),
            Poll::Idle => {}
            Poll::End => {
                self.slot = Some(slot);
                return Ok(Step::Ended);
            }
        }
        self.slot = Some(slot);
        Ok(Step::GoOn)
    }

    /// Says it at once, then rarer and rarer, so that a bad cable doesn't fill the log; the counter has them all.
    fn corrupt(&mut self, reason: &str) {
        Counters::count(&self.stage.vitals.counters.corrupt);
        let news = self.damage.damaged(self.stage.now());
        if news.is_first {
            log::warn!("{}", CameraLine::FrameSkipped(reason));
        }
        // The lines below say it themselves.
        let reason = reason.strip_prefix("damaged: ").unwrap_or(reason);
        if let Some((damaged, frames, time)) = news.counts {
            let text = format!("{damaged} of {frames} in {:.0} s, the last: {reason}", time.as_secs_f64());
            log::warn!("{}", CameraLine::FramesDamaged(&text));
        }
        if let Some((count, is_new)) = news.state {
            let text = format!("{count} of {count} frames damaged: {reason}");
            if is_new {
                log::warn!("{}", CameraLine::Damaged(&text));
            }
            self.stage.vitals.set_camera(CameraState::Damaged, &text);
        }
    }

    /// Ends what damaged frames began.
    fn whole(&mut self, camera: &dyn Camera) {
        if let Some(recovered) = self.damage.whole() {
            if recovered.is_said {
                log::info!("{}", CameraLine::Whole(&format!("after {} damaged ones", recovered.damaged)));
            }
            self.stage.vitals.set_camera(CameraState::Running, &camera.describe());
        }
    }

    fn send(&mut self, slot: TensorSlot) -> Step {
        let counters = &self.stage.vitals.counters;
        Counters::count(&counters.frames_in);
        match self.outlet.put(slot, &self.stage.shutdown) {
            Put::Stored => {}
            Put::Replaced(old) => {
                Counters::count(&counters.replaced);
                self.slot = Some(old);
            }
            Put::Closed(_) => return Step::Ended,
        }
        Step::GoOn
    }
}

/// Prepared conversions, made anew when the camera's format or the edition changes.
struct FrameConverter {
    orientation: Orientation,
    fit: Fit,
    mask: MaskSize,
    conversion: Conversion,
    to_tensor: Option<(Arc<Edition>, Converter)>,
    to_picture: Option<Preprocessor>,
}

impl FrameConverter {
    fn convert(&mut self, frame: &Frame<'_>, slot: &mut TensorSlot, now: Instant) -> Result<(), PreprocessError> {
        // From here on everything is upright.
        let picture = &frame.picture.turned(self.orientation);
        let edition = self.conversion.editions.now();
        let input = &edition.io.input;
        let to_tensor = match &mut self.to_tensor {
            Some((prepared, converter)) if Arc::ptr_eq(prepared, &edition) => converter,
            stale => {
                let converter = Converter::new(input.size, self.fit, edition.pixel_map.clone());
                &mut stale.insert((Arc::clone(&edition), converter)).1
            }
        };
        if slot.tensor.len() != input.bytes() {
            slot.tensor = InputTensor::of(input);
        }
        let about = &mut slot.about;
        about.region = to_tensor.convert(picture, &mut slot.tensor)?;
        let full = picture.upright_size();
        let mask_size = match self.mask {
            MaskSize::Picture => full,
            MaskSize::Fixed(size) => size,
        };
        about.edition = Some(edition);
        about.meta = frame.meta;
        about.mask_size = Some(mask_size);
        about.has_picture = self.conversion.gates.iter().any(|gate| gate.is_due(now));
        if about.has_picture {
            self.keep_picture(picture, mask_size, &mut slot.about)?;
        }
        Ok(())
    }

    fn keep_picture(&mut self, picture: &Picture<'_>, size: Size, about: &mut About) -> Result<(), PreprocessError> {
        let (source, map) = (picture.into(), PixelMap::Identity);
        let to_picture = Preprocessor::renew(&mut self.to_picture, source, size, Fit::Stretch, &map, PAD)?;
        about.picture.resize(size.pixels() * 3, 0);
        to_picture.run(picture, &mut about.picture)
    }
}

#[cfg(test)]
mod tests;
