//! Latency logs with known content, written by the program's own writer.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pspnetd::config::LatencyLog as Config;
use pspnetd::publish::latency_log::lines::{event, start, Writing};
use pspnetd::publish::latency_log::RunInfo;
use pspnetd::telemetry::sensors::{Board, Rail, Temperature};
use pspnetd::telemetry::state::CameraState;
use pspnetd::telemetry::{Counts, EngineReport, Histograms, Stage, Timings};
use pspnetd::telemetry::{EventRecord, IntervalRecord, What};

/// 2026-10-01T00:00:00Z
pub fn begin() -> Timestamp {
    "2026-10-01T00:00:00Z".parse().unwrap()
}

/// What runs.
pub fn about(started: Timestamp) -> RunInfo {
    RunInfo { version: "9.9.9".to_owned(), model: "colours".to_owned(), started, engine: "cpu".to_owned() }
}

/// A log at `path` with the defaults.
pub fn config(path: &Path) -> Config {
    Config { path: path.to_str().unwrap().to_owned(), ..Config::default() }
}

/// Frames whose inference took these milliseconds.
pub fn frames(milliseconds: impl IntoIterator<Item = u64>) -> Histograms {
    let mut latency = Histograms::new().unwrap();
    for ms in milliseconds {
        let mut timings = Timings::default();
        timings.set(Stage::Infer, Duration::from_millis(ms));
        timings.set(Stage::EndToEnd, Duration::from_millis(ms + 5));
        latency.record(&timings);
    }
    latency
}

/// A board that takes 4 W, with its processor at 50 °C.
pub fn board() -> Board {
    let rail = Rail { name: "vdd_in".to_owned(), counted: true, watts: Some(4.0), ..Rail::default() };
    let soc = Temperature { name: "soc".to_owned(), celsius: Some(50.0), fault: None };
    Board { rails: vec![rail], watts: Some(4.0), temperatures: vec![soc], ..Board::default() }
}

/// A record of a minute that ends at `time`, in which every frame was inferred and each tenth was replaced before.
pub fn minute<'a>(
    time: Timestamp,
    latency: &'a Histograms,
    board: &'a Board,
    engine: &'a EngineReport,
) -> IntervalRecord<'a> {
    let n = latency.of(Stage::Infer).len();
    IntervalRecord {
        time,
        seconds: 60.0,
        counts: Counts { frames_in: n + n / 10, replaced: n / 10, inferred: n, published: n, ..Counts::default() },
        dropped: 1,
        latency,
        board: Some(board),
        joules: Some(240.0),
        throttled_seconds: Some(6.0),
        camera: CameraState::Running,
        engine,
    }
}

/// Text of a log with times of one's own: a run, then intervals and events, minute by minute.
pub struct Log {
    /// The lines so far.
    pub text: Vec<u8>,
    /// Minutes since [`begin`].
    pub minute: i64,
    run: String,
    started: i64,
    camera: CameraState,
    writing: Writing,
}

impl Log {
    /// Starts run `run` at `minute`.
    pub fn new(run: &str, minute: i64) -> Self {
        let mut log = Self {
            text: Vec::new(),
            minute,
            run: run.to_owned(),
            started: minute,
            camera: CameraState::Running,
            writing: Writing::default(),
        };
        let about = about(log.now());
        start(&mut log.text, run, 60.0, &about);
        log.text.push(b'\n');
        log
    }

    fn now(&self) -> Timestamp {
        begin().checked_add(SignedDuration::from_mins(self.minute)).unwrap()
    }

    fn uptime(&self) -> Duration {
        Duration::from_secs(60 * u64::try_from(self.minute - self.started).unwrap())
    }

    /// The next minute, with these frames.
    pub fn minute(&mut self, latency: &Histograms) -> &mut Self {
        self.minute += 1;
        let (time, uptime, board) = (self.now(), self.uptime(), board());
        let engine = EngineReport { kind: "cpu", ..EngineReport::default() };
        self.writing.interval(
            &mut self.text,
            &self.run,
            uptime,
            &IntervalRecord { camera: self.camera, ..minute(time, latency, &board, &engine) },
        );
        self.text.push(b'\n');
        self
    }

    /// An event now.
    pub fn event(&mut self, what: What, state: &str, text: &str) -> &mut Self {
        if what == What::Camera {
            self.camera = if state == "running" { CameraState::Running } else { CameraState::Waiting };
        }
        let (time, uptime) = (self.now(), self.uptime());
        event(&mut self.text, &self.run, uptime, &EventRecord { time, what, state, text });
        self.text.push(b'\n');
        self
    }
}
