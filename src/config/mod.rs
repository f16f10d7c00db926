//! The configuration: one TOML file as types, every key documented where it is declared.
//!
//! [`load`] merges the layers (command line over environment over file over default) and reports what is wrong with
//! file, line and key. What a key means at run time is left to the module that uses it.

pub(crate) mod credentials;
mod engine;
mod error;
mod gpio;
mod http;
mod keys;
mod layers;
mod named;
mod origins;
mod outputs;
mod sites;
mod spans;
mod telemetry;

use std::path::PathBuf;

use base::values::{Auto, Bytes, Fraction, Seconds};
use camera::v4l2::Controls;
use camera::{FourCc, Rate, Source, Stride};

use crate::scene::rules::Rules;
pub use engine::{Engine, Workers};
pub use error::ConfigError;
pub use gpio::{ButtonAction, Gpio, Level, Pin, Pull};
pub use http::{Http, Listen, SocketPath, StreamRate};
use infer::Threads;
pub use layers::{load, Loaded};
pub use origins::{Origins, Override};
use pixels::frame::Size;
use pixels::orientation::{Flip, Orientation, Rotate};
use pixels::preprocess::Fit;
use pixels::segment::MaskSize;
use serde::{Deserialize, Serialize};
pub use sites::{Ancestor, HostName, Several};
pub use telemetry::{LatencyLog, Sync, Telemetry};

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where frames come from.
    pub camera: Camera,
    /// What is run on them.
    pub model: Model,
    /// What runs it.
    pub engine: Engine,
    /// What is made of the model's output.
    pub segment: Segment,
    /// What is to be known of each result, by name: `[rules.NAME]`.
    pub rules: Rules,
    /// Where results go.
    pub publish: Publish,
    /// Lights, relays and buttons on the board's pins.
    pub gpio: Gpio,
    /// The web page, metrics and API.
    pub http: Http,
    /// Latency, power and heat.
    pub telemetry: Telemetry,
    /// The program's own log.
    pub log: Log,
}

/// `[camera]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Camera {
    /// `auto` (the first usable V4L2 camera), `v4l2:/dev/v4l/by-id/…`, `command:PROGRAM ARGUMENTS`, `replay:PATH` or
    /// `pattern:WxH`.
    pub source: Source,
    /// Picture size asked of a V4L2 camera, `WxH`; the nearest it has is taken. `auto` asks for 640x480. The size of a
    /// command's raw frames.
    pub size: Auto<Size>,
    /// Pixel format asked of a V4L2 camera, such as `YUYV` or `MJPG`. `auto` takes what costs least. What a command sends;
    /// `auto` tells MJPEG and Y4M by their first bytes.
    pub format: Auto<FourCc>,
    /// Bytes from row to row of a command's raw frames, whose rows may end with bytes that are no pixels. `auto`: none do.
    pub stride: Auto<Stride>,
    /// Degrees by which the camera's picture is turned clockwise: 0, 90, 180 or 270. All that follows sees it turned.
    pub rotate: Rotate,
    /// Mirrors the picture after it was turned: `off`, `horizontal` (left and right) or `vertical` (top and bottom).
    pub flip: Flip,
    /// `native`, frames per second, or `max`. A V4L2 camera is asked for it; a replayed source is paced by it, and with
    /// `max` goes as fast as the pipeline without losing a frame. Without effect on a command, which has its own pace.
    pub rate: Rate,
    /// Start a replayed source again at its end.
    #[serde(rename = "loop")]
    pub repeat: bool,
    /// A V4L2 camera or a command that sends nothing for so long is closed and opened again; 0 never.
    pub silent_after: Seconds,
    /// `[camera.controls]`: a V4L2 camera's exposure, focus and the like, by the names that `pspnetd devices --controls` lists.
    #[serde(skip_serializing_if = "Controls::is_empty")]
    pub controls: Controls,
}

impl Default for Camera {
    fn default() -> Self {
        Self {
            source: Source::Auto,
            size: Auto::Auto,
            format: Auto::Auto,
            stride: Auto::Auto,
            rotate: Rotate::None,
            flip: Flip::Off,
            rate: Rate::Native,
            repeat: false,
            silent_after: Seconds::new(5),
            controls: Controls::default(),
        }
    }
}

impl Camera {
    /// How its pictures are turned upright.
    pub const fn orientation(&self) -> Orientation {
        Orientation::new(self.rotate, self.flip)
    }
}

/// `[model]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    /// The TensorFlow Lite file. `auto` looks for `models/*/model.tflite` beside the program, in the installed place and
    /// in the current folder. A `manifest.toml` beside the file is read too.
    pub path: Auto<ModelPath>,
    /// Inference threads. `auto` is one less than the cores, at least one.
    pub threads: Auto<Threads>,
    /// How a picture of another shape fits the model's input: `stretch`, or `letterbox` (bars, shape kept).
    pub fit: Fit,
}

/// A path to a model file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPath(pub PathBuf);

impl std::str::FromStr for ModelPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("model path is empty; expected a .tflite file".to_owned());
        }
        Ok(Self(text.into()))
    }
}

impl std::fmt::Display for ModelPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.display().fmt(f)
    }
}

/// `[segment]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Segment {
    /// Size of the class map: `picture` (the upright picture's size), or `WxH`.
    pub mask: MaskSize,
}

/// `[publish]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Publish {
    /// JSON objects, one per frame or one in each interval.
    pub jsonl: Jsonl,
    /// Pictures of what was seen.
    pub snapshot: Snapshot,
}

/// `[publish.jsonl]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Jsonl {
    /// `-` is standard output; a path is a file that is appended to and rotated; empty turns it off.
    pub path: String,
    /// A file that has grown past this is renamed to `<path>.1`, and so on. 0 never rotates.
    pub max_bytes: Bytes,
    /// Rotated files to keep.
    pub keep: u32,
    /// Lines that may wait for a slow disk or reader; further ones are dropped and counted.
    pub queue: u16,
    /// At most one line in this time, beside those that a change brings. 0 writes one for each result.
    pub interval: Seconds,
    /// With an interval: a line at once when the share of a class or group has moved by so much since the last. 1 turns it off.
    pub min_change: Fraction,
}

impl Default for Jsonl {
    fn default() -> Self {
        Self {
            path: "-".to_owned(),
            max_bytes: Bytes(64 << 20),
            keep: 4,
            queue: 1024,
            interval: Seconds::new(0),
            min_change: Fraction(1.0),
        }
    }
}

/// `[publish.snapshot]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Snapshot {
    /// Folder for overlay pictures; empty turns them off.
    pub dir: String,
    /// Time between two pictures. The first comes with the first frame.
    pub interval: Seconds,
    /// Pictures to keep; the oldest are deleted. 0 keeps all.
    pub keep: u32,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { dir: String::new(), interval: Seconds::new(10), keep: 10 }
    }
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,pspnetd_camera=debug`.
    pub level: LogFilter,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LogFilter("info".to_owned()) }
    }
}

/// A log filter that is known to be well formed: `LEVEL` or `MODULE=LEVEL`, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct LogFilter(String);

impl LogFilter {
    /// The filter as env_logger reads it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for LogFilter {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let good = |part: &str| part.rsplit('=').next().is_some_and(|level| level.parse::<log::LevelFilter>().is_ok());
        if text.split(',').all(good) {
            return Ok(Self(text));
        }
        Err(serde::de::Error::custom(format!(
            "log level {text:?}: expected off, error, warn, info, debug or trace, or module=level, separated by commas"
        )))
    }
}
