//! What the monitor hands to journals: a record of each interval, and of each thing that changes.

use jiff::Timestamp;

use super::sensors::Board;
use super::state::CameraState;
use super::{Counts, EngineReport, Histograms};

/// One interval.
#[derive(Clone, Copy, Debug)]
pub struct IntervalRecord<'a> {
    /// Its end.
    pub time: Timestamp,
    /// How long it was, by the monotonic clock.
    pub seconds: f64,
    /// Frames of the interval by fate.
    pub counts: Counts,
    /// Results of the interval that sinks dropped.
    pub dropped: u64,
    /// Latency of the interval.
    pub latency: &'a Histograms,
    /// The board at its end; None where it isn't looked at.
    pub board: Option<&'a Board>,
    /// Joules of the counted rails in the interval; None where they aren't known.
    pub joules: Option<f64>,
    /// Seconds of the interval in which the board was throttled (any cause); None where nothing tells.
    pub throttled_seconds: Option<f64>,
    /// The camera at its end.
    pub camera: CameraState,
    /// What runs the model, at its end.
    pub engine: &'a EngineReport,
}

/// Something that changed.
#[derive(Clone, Copy, Debug)]
pub struct EventRecord<'a> {
    /// When.
    pub time: Timestamp,
    /// What.
    pub what: What,
    /// How it is now, one word: for the camera `opening`, `running`, `waiting`, `paused`; for the engine `up`, `down`; for
    /// throttling its causes separated by commas, or `none`; for the program `running`, `stopped`.
    pub state: &'a str,
    /// That in words: the camera's name, or why.
    pub text: &'a str,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The program starts. The log writes that by itself.
    Start,
    /// The program was told to stop, or its camera's clip came to its end.
    Stop,
    /// The camera came, went, was paused.
    Camera,
    /// A worker came up, or the last of them went down.
    Engine,
    /// The causes of throttling changed.
    Throttle,
}

impl What {
    /// The word in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Camera => "camera",
            Self::Engine => "engine",
            Self::Throttle => "throttle",
        }
    }
}
