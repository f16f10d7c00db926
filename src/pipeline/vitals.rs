//! What the stage threads tell of themselves: counts, signs of life, the camera's state, how the run ended.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use base::clock::Instant;
use base::sync::lock;
use base::text::shown;

use super::EngineStatus;
use crate::telemetry::state::{Camera, CameraState, SinkState};
use crate::telemetry::{Counters, HistogramError, Recorder};

/// State that all threads see.
#[derive(Debug)]
pub struct Vitals {
    /// Frames by fate.
    pub counters: Counters,
    /// Signs of life.
    pub beats: Beats,
    /// What runs the model.
    pub engines: EngineStatus,
    /// Times of the frames.
    pub latency: Recorder,
    /// By place; without a name those that only look on.
    sinks: OnceLock<Box<[SinkCounter]>>,
    has_published: AtomicBool,
    words: Mutex<Words>,
    ending: Mutex<Option<Ending>>,
}

/// A sink's name, none for one that only looks on, and what it has lost so far.
type SinkCounter = (Option<&'static str>, AtomicU64);

#[derive(Debug, Default)]
struct Words {
    camera_state: CameraState,
    camera: String,
    speed: String,
}

/// When each stage last went round its loop.
#[derive(Debug)]
pub struct Beats {
    capture: AtomicU64,
    /// One for each lane.
    infer: Box<[AtomicU64]>,
    publish: AtomicU64,
}

/// Why a run came to its end. The first reason stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The source had no more frames and every result was published.
    SourceEnded {
        /// Results that a sink lost.
        lost: u64,
    },
    /// A source that ends by itself failed before its end.
    SourceFailed(String),
    /// Nobody can receive results any more.
    SinksGone,
    /// A stage thread panicked.
    Panicked,
}

impl Vitals {
    /// The state before the first frame: what runs the model is of `kind`, with so many workers, and the CPU where `has_cpu`.
    ///
    /// # Errors
    /// When there is no memory for the histograms.
    pub fn new(now: Instant, engines: EngineStatus) -> Result<Self, HistogramError> {
        let beat = || AtomicU64::new(now.as_nanos());
        Ok(Self {
            counters: Counters::default(),
            beats: Beats { capture: beat(), infer: (0..engines.lanes()).map(|_| beat()).collect(), publish: beat() },
            engines,
            latency: Recorder::new()?,
            sinks: OnceLock::new(),
            has_published: AtomicBool::new(false),
            words: Mutex::new(Words::default()),
            ending: Mutex::new(None),
        })
    }

    /// Notes where results go: a name for each sink, none for those that only look on. The first call counts.
    pub(super) fn set_sinks(&self, names: impl Iterator<Item = Option<&'static str>>) {
        let _ = self.sinks.set(names.map(|name| (name, AtomicU64::new(0))).collect());
    }

    fn sink_counters(&self) -> &[SinkCounter] {
        self.sinks.get().map_or(&[], |sinks| sinks)
    }

    /// True once the first class map went to the sinks.
    pub fn has_published(&self) -> bool {
        self.has_published.load(Ordering::Relaxed)
    }

    pub(super) fn note_published(&self) {
        self.has_published.store(true, Ordering::Relaxed);
    }

    /// Notes what the sink in this place has lost so far.
    pub(super) fn set_dropped(&self, place: usize, dropped: u64) {
        if let Some((_, counter)) = self.sink_counters().get(place) {
            counter.store(dropped, Ordering::Relaxed);
        }
    }

    /// Every sink that results go to, with what it has lost so far.
    pub fn sinks(&self) -> Vec<SinkState> {
        let state = |(name, dropped): &SinkCounter| {
            name.map(|name| SinkState { name: name.to_owned(), dropped: dropped.load(Ordering::Relaxed) })
        };
        self.sink_counters().iter().filter_map(state).collect()
    }

    /// `words` say which camera it is, why it is waited for, or what its frames lack.
    pub(super) fn set_camera(&self, state: CameraState, words: &str) {
        let mut guard = lock(&self.words);
        guard.camera_state = state;
        guard.camera.clear();
        guard.camera.push_str(words);
    }

    /// The camera.
    pub fn camera(&self) -> Camera {
        let opens = self.counters.camera_opens.load(Ordering::Relaxed);
        let words = lock(&self.words);
        Camera { state: words.camera_state, text: words.camera.clone(), opens }
    }

    /// The camera's state, without the words.
    pub fn camera_state(&self) -> CameraState {
        lock(&self.words).camera_state
    }

    /// Results per second and median end-to-end latency, for `STATUS=`.
    pub fn set_speed(&self, fps: f64, latency: Duration) {
        let mut guard = lock(&self.words);
        guard.speed.clear();
        // Writing to a String can't fail.
        let _ = write!(guard.speed, "{fps:.1} fps, {:.1} ms end to end", latency.as_secs_f64() * 1e3);
    }

    /// One line about the present, for `STATUS=`.
    pub fn status(&self) -> String {
        let words = lock(&self.words);
        let engine = self.engines.status().unwrap_or_default();
        let camera = camera_line(words.camera_state, &words.camera);
        let parts = [words.speed.as_str(), &engine, &camera];
        let said: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        if said.is_empty() {
            return "starting".to_owned();
        }
        // systemd takes each line as another word to it.
        shown(&said.join("; ")).into_owned()
    }

    /// Notes why the run ends, unless that is known already.
    pub(super) fn end(&self, ending: Ending) {
        lock(&self.ending).get_or_insert(ending);
    }

    /// Why the run ended by itself; None while it runs, and where it was told to stop.
    pub fn ending(&self) -> Option<Ending> {
        lock(&self.ending).clone()
    }
}

/// `camera: HD Webcam`, `camera: waiting: no such device`, `camera: damaged: 9 of 9 frames …`, `camera: paused`; nothing before the first attempt.
pub(super) fn camera_line(state: CameraState, words: &str) -> String {
    match state {
        CameraState::Opening if words.is_empty() => String::new(),
        CameraState::Running | CameraState::Opening => format!("camera: {words}"),
        CameraState::Damaged => format!("camera: damaged: {words}"),
        CameraState::Waiting => format!("camera: waiting: {words}"),
        CameraState::Paused => "camera: paused".to_owned(),
    }
}

impl Beats {
    /// The beat of a stage that has ended, or that waits for an end which has a limit of its own.
    pub(super) const LAST: Instant = Instant::from_nanos(u64::MAX);

    pub(super) fn capture(&self, now: Instant) {
        self.capture.store(now.as_nanos(), Ordering::Relaxed);
    }

    pub(super) fn infer(&self, lane: usize, now: Instant) {
        if let Some(beat) = self.infer.get(lane) {
            beat.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    pub(super) fn publish(&self, now: Instant) {
        self.publish.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// The stage that has been silent longest, and for how long.
    pub fn slowest(&self, now: Instant) -> (&'static str, Duration) {
        let age = |name, beat: &AtomicU64| (name, now.since(Instant::from_nanos(beat.load(Ordering::Relaxed))));
        let lanes = self.infer.iter().map(|beat| age("infer", beat));
        lanes.chain([age("publish", &self.publish)]).fold(age("capture", &self.capture), |slowest, stage| {
            if stage.1 > slowest.1 {
                stage
            } else {
                slowest
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vitals(lanes: usize) -> Vitals {
        let vitals = Vitals::new(Instant::default(), EngineStatus::new("cpu", lanes - 1, true)).unwrap();
        vitals.set_sinks([None, Some("jsonl")].into_iter());
        vitals
    }

    #[test]
    fn what_a_sink_lost_stands_under_its_name() {
        let vitals = vitals(1);
        vitals.set_dropped(1, 7);
        assert_eq!(vitals.sinks(), [SinkState { name: "jsonl".to_owned(), dropped: 7 }]);
    }

    #[test]
    fn the_silent_stage_is_found() {
        let vitals = vitals(2);
        let later = Instant::from_nanos(5_000_000_000);
        vitals.beats.capture(later);
        vitals.beats.publish(later);
        vitals.beats.infer(0, later);
        assert_eq!(vitals.beats.slowest(later), ("infer", Duration::from_secs(5)));
        vitals.beats.infer(1, later);
        assert_eq!(vitals.beats.slowest(later).1, Duration::ZERO);
        // What has ended is not silent.
        vitals.beats.capture(Beats::LAST);
        let latest = Instant::from_nanos(9_000_000_000);
        vitals.beats.infer(1, Beats::LAST);
        vitals.beats.infer(0, Beats::LAST);
        assert_eq!(vitals.beats.slowest(latest), ("publish", Duration::from_secs(4)));
    }

    #[test]
    fn the_first_ending_stays() {
        let vitals = vitals(1);
        vitals.end(Ending::SinksGone);
        vitals.end(Ending::Panicked);
        assert_eq!(vitals.ending(), Some(Ending::SinksGone));
    }

    #[test]
    fn the_status_tells_speed_and_camera() {
        let vitals = vitals(1);
        assert_eq!(vitals.status(), "starting");
        vitals.set_camera(CameraState::Waiting, "gone");
        vitals.set_speed(9.96, Duration::from_micros(52_340));
        assert_eq!(vitals.status(), "10.0 fps, 52.3 ms end to end; camera: waiting: gone");
    }
}
