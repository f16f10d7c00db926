//! Everything that the program shows of itself, as one value: what `/api/v1/state`, the page and `pspnetd top` are made of.
//!
//! [`Observe`] is how those who show it get it; putting it together is the daemon's.

use base::logging::LogLine;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::sensors::Board;
use super::Counts;

/// Where the state comes from. Every call is cheap enough for once a second and many readers, and never holds the pipeline.
pub trait Observe: Send + Sync {
    /// The present.
    fn state(&self) -> State;

    /// The last minutes.
    fn history(&self) -> History;

    /// Latency since the start, one entry per stage in order, counted into buckets with these upper bounds (seconds, ascending).
    fn buckets(&self, bounds: &[f64]) -> Vec<StageBuckets>;

    /// Whether every thread of the program goes round its loop.
    ///
    /// # Errors
    /// Which does not, and for how long.
    fn liveness(&self) -> Result<(), String>;
}

/// The present of a running program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The program.
    pub program: Program,
    /// When this was put together.
    pub time: Timestamp,
    /// Results come.
    pub ready: bool,
    /// Why not; empty when ready.
    pub reasons: Vec<String>,
    /// What is run.
    pub model: Model,
    /// The camera.
    pub camera: Camera,
    /// What runs the model.
    pub engine: EngineState,
    /// Results per second over the last seconds; None before the first.
    pub fps: Option<f64>,
    /// Frames by fate since the start.
    pub frames: Counts,
    /// Latency over the last seconds, one entry per stage in order.
    pub latency: Vec<StageFigures>,
    /// The last result; None before the first.
    pub result: Option<LastResult>,
    /// Power, heat and the rest; None while no sensor was looked at, and where `telemetry.sensors` is 0.
    pub board: Option<Board>,
    /// Joules of the counted rails per inferred frame, over the last `telemetry.interval`.
    pub joules_per_frame: Option<f64>,
    /// Where results go.
    pub sinks: Vec<SinkState>,
    /// The log's last lines, oldest first, without the lines of figures.
    pub events: Vec<LogLine>,
}

/// The program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started, by the wall clock of then.
    pub started: Timestamp,
    /// Seconds since then, by the monotonic clock.
    pub uptime_seconds: f64,
}

/// What is run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Its short name.
    pub name: String,
    /// Names and colours by class id. For a model whose number of classes is unknown: those that occurred.
    pub classes: Vec<Class>,
}

/// One class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Class {
    /// Value in masks.
    pub id: u8,
    /// Name.
    pub name: String,
    /// `#rrggbb`
    pub color: String,
}

/// The camera.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Camera {
    /// How it is.
    pub state: CameraState,
    /// That in words: `HD Webcam …`, or why it is waited for and what to do.
    pub text: String,
    /// Times that it was opened.
    pub opens: u64,
}

/// How the camera is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CameraState {
    /// Not tried yet.
    #[default]
    Opening,
    /// It is open.
    Running,
    /// It is open, and every frame is damaged.
    Damaged,
    /// It isn't there, or fails; it is tried again and again.
    Waiting,
    /// Closed on purpose.
    Paused,
}

impl CameraState {
    /// The word in JSON, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Running => "running",
            Self::Damaged => "damaged",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
        }
    }
}

/// What runs the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineState {
    /// `cpu`, or the kind of the workers: `edgetpu`, `delegate`.
    pub kind: String,
    /// Workers that are configured; 0 where the CPU alone runs the model.
    pub workers: u64,
    /// Those that are up.
    pub up: u64,
    /// Why the first of the others is not, where that is known; else why the CPU's engine is gone.
    pub reason: Option<String>,
    /// Times that a worker, or the CPU's engine, failed or could not be brought up.
    pub faults: u64,
    /// Times that a worker, or the CPU's process, came up.
    pub starts: u64,
    /// Frames that the CPU ran because no worker was up.
    pub fallback_frames: u64,
}

/// Latency of one stage, milliseconds; None where nothing was recorded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageFigures {
    /// [`super::Stage::name`].
    pub stage: String,
    /// Frames.
    pub n: u64,
    /// Median.
    pub p50_ms: Option<f64>,
    /// 90th percentile.
    pub p90_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
    /// Maximum.
    pub max_ms: Option<f64>,
}

/// What was seen last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LastResult {
    /// Number of the frame.
    pub sequence: u64,
    /// When the picture was taken.
    pub time: Timestamp,
    /// Seconds since it was published.
    pub age_seconds: f64,
    /// Size of the class map in pixels.
    pub width: usize,
    /// See `width`.
    pub height: usize,
    /// Mean softmax probability of the winning class.
    pub confidence: Option<f64>,
    /// Share of the class map, 0 to 1, by class; with `void` for pixels without one.
    pub classes: Vec<Area>,
    /// The same for groups of classes.
    pub groups: Vec<Area>,
}

/// Share of the class map.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Area {
    /// Of this class or group.
    pub name: String,
    /// 0 to 1.
    pub share: f64,
}

/// One place that results go to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SinkState {
    /// Its name: `jsonl`, `snapshot`, `latency_log`.
    pub name: String,
    /// Results that it lost since the start.
    pub dropped: u64,
}

/// The last minutes: one point every [`History::SECONDS`]. Every list is as long as `times`; what was unknown is None.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Unix time of each point, seconds, oldest first.
    pub times: Vec<f64>,
    /// Share of each class.
    pub classes: Vec<Series>,
    /// Results per second.
    pub fps: Vec<Option<f64>>,
    /// Median end-to-end latency.
    pub end_to_end_p50_ms: Vec<Option<f64>>,
    /// 99th percentile of it.
    pub end_to_end_p99_ms: Vec<Option<f64>>,
    /// Power.
    pub watts: Vec<Option<f64>>,
    /// The processor's temperature.
    pub soc_celsius: Vec<Option<f64>>,
}

impl History {
    /// Time between two points.
    pub const SECONDS: u64 = 2;
    /// Points that are kept: ten minutes.
    pub const POINTS: usize = 300;
}

/// One class over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The class.
    pub name: String,
    /// Share, 0 to 1.
    pub values: Vec<Option<f64>>,
}

/// Latency of one stage since the start, as a histogram with given bounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageBuckets {
    /// [`super::Stage::name`].
    pub stage: &'static str,
    /// Frames of each bucket (not added up); the last entry counts those above every bound.
    pub counts: Vec<u64>,
    /// All frames.
    pub count: u64,
    /// Sum of their times.
    pub sum_seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_the_camera_has_one_word_everywhere() {
        use CameraState::{Damaged, Opening, Paused, Running, Waiting};
        for (state, word) in
            [(Opening, "opening"), (Running, "running"), (Damaged, "damaged"), (Waiting, "waiting"), (Paused, "paused")]
        {
            assert_eq!((state.name(), serde_json::to_value(state).unwrap()), (word, word.into()));
        }
        assert_eq!(CameraState::default(), Opening);
    }

    #[test]
    fn the_history_is_ten_minutes() {
        assert_eq!(History::SECONDS * History::POINTS as u64, 600);
    }
}
