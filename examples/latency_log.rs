//! Writes a latency log as a board would have written it, in the real format, to standard output: for
//! `scripts/bench-report` and for looking at reports.
//!
//! `latency_log DAYS [INTERVAL_SECONDS [FRAMES_PER_SECOND [SLOWER]]]`: latency is SLOWER times as long (1). Every day has its
//! noon heat, a camera that goes for some minutes; every week a power cut, and a stick that hangs.
#![allow(clippy::print_stderr)]

use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pspnetd::publish::latency_log::lines::{event, start, Writing};
use pspnetd::publish::latency_log::RunInfo;
use pspnetd::telemetry::sensors::{Board, Causes, Process, Rail, Temperature, Throttle};
use pspnetd::telemetry::state::CameraState;
use pspnetd::telemetry::{Counts, EngineReport, Histograms, Stage, Timings};
use pspnetd::telemetry::{EventRecord, IntervalRecord, What};

/// Medians in microseconds, and how far values stray from them.
const STAGES: [(Stage, f64, f64); 6] = [
    (Stage::Sensor, 4_200.0, 0.25),
    (Stage::Convert, 6_100.0, 0.08),
    (Stage::Queue, 90.0, 0.6),
    (Stage::Infer, 41_000.0, 0.04),
    (Stage::Decode, 2_300.0, 0.1),
    (Stage::Publish, 60.0, 0.5),
];
const DAY: u64 = 86_400;

fn main() -> ExitCode {
    let numbers: Vec<f64> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let at = |index: usize, default: f64| numbers.get(index).copied().unwrap_or(default);
    let made = Maker { interval: at(1, 60.0) as u64, fps: at(2, 15.0), slower: at(3, 1.0), random: 0x9e37_79b9 }
        .make(at(0, 1.0));
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("latency_log: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Maker {
    interval: u64,
    fps: f64,
    slower: f64,
    random: u64,
}

impl Maker {
    fn make(&mut self, days: f64) -> io::Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        // 2026-10-01T00:00:00Z
        let begin = Timestamp::from_second(1_790_812_800).map_err(io::Error::other)?;
        let after =
            |seconds: u64| begin.checked_add(SignedDuration::from_secs(seconds as i64)).map_err(io::Error::other);
        let mut latency = Histograms::new().map_err(io::Error::other)?;
        let mut writing = Writing::default();
        let mut line = Vec::new();
        let (mut now, mut started, mut number) = (0, 0, 0);
        let mut engine = EngineReport { kind: "edgetpu", workers: 1, up: 1, starts: 1, ..EngineReport::default() };
        let mut joules = 0.0;
        while now < (days * DAY as f64) as u64 {
            // After a power cut: twelve minutes of nothing, then a new run.
            let is_power_cut = number > 0 && now % (7 * DAY) < self.interval;
            if number == 0 || is_power_cut {
                now += if number > 0 { 720 } else { 0 };
                (started, number) = (now, number + 1);
                start(&mut line, &format!("{number:08x}"), self.interval as f64, &self.about(after(now)?));
                line.push(b'\n');
                event(
                    &mut line,
                    &format!("{number:08x}"),
                    Duration::ZERO,
                    &camera(after(now)?, "running", "HD Webcam"),
                );
                line.push(b'\n');
            }
            let run = format!("{number:08x}");
            now += self.interval;
            let (time, uptime) = (after(now)?, Duration::from_secs(now - started));
            let hour = (now % DAY) as f64 / 3600.0;
            let heat = ((hour - 15.0) / 24.0 * std::f64::consts::TAU).cos().max(-0.4);
            let is_hot = heat > 0.95 && (now / DAY).is_multiple_of(3);
            let is_away = (now % DAY) / 600 == 20 && (now / DAY) % 2 == 1;
            let is_hung = now % (7 * DAY) / 1200 == 250;
            if is_away != ((now - self.interval) % DAY / 600 == 20 && (now - self.interval) / DAY % 2 == 1) {
                let (state, text) = if is_away {
                    ("waiting", "the camera is gone; plug it in again")
                } else {
                    ("running", "HD Webcam")
                };
                event(&mut line, &run, uptime, &camera(time, state, text));
                line.push(b'\n');
            }
            if is_hung == (engine.up == 1) {
                (engine.up, engine.reason) = if is_hung { (0, Some(Arc::from("no answer in 2 s"))) } else { (1, None) };
                let (state, text) = if is_hung { ("down", "no answer in 2 s") } else { ("up", "") };
                event(&mut line, &run, uptime, &EventRecord { time, what: What::Engine, state, text });
                line.push(b'\n');
            }
            latency.clear();
            let frames = if is_away { 0 } else { (self.fps * self.interval as f64) as u64 };
            let slower = self.slower
                * if is_hung {
                    4.0
                } else if is_hot {
                    1.4
                } else {
                    1.0 + 0.05 * heat
                };
            (0..frames).for_each(|_| latency.record(&self.frame(slower)));
            let watts = 3.1 + 0.9 * f64::from(u8::from(frames > 0)) + 0.15 * heat + 0.1 * self.uniform();
            joules += watts * self.interval as f64;
            let board = self.board(watts, joules, heat, is_hot, uptime);
            let counts = Counts {
                frames_in: frames * 2,
                replaced: frames,
                inferred: frames,
                published: frames,
                ..Counts::default()
            };
            writing.interval(
                &mut line,
                &run,
                uptime,
                &IntervalRecord {
                    time,
                    seconds: self.interval as f64,
                    counts,
                    dropped: 0,
                    latency: &latency,
                    board: Some(&board),
                    joules: Some(watts * self.interval as f64),
                    throttled_seconds: Some(if is_hot { self.interval as f64 } else { 0.0 }),
                    camera: if is_away { CameraState::Waiting } else { CameraState::Running },
                    engine: &engine,
                },
            );
            line.push(b'\n');
            out.write_all(&line)?;
            line.clear();
        }
        out.flush()
    }

    fn about(&self, started: Timestamp) -> RunInfo {
        let (version, model, engine) = (env!("CARGO_PKG_VERSION").into(), "street-fast".into(), "edgetpu".into());
        RunInfo { version, model, started, engine }
    }

    fn frame(&mut self, slower: f64) -> Timings {
        let mut timings = Timings::default();
        let mut sum = Duration::ZERO;
        for (stage, median, spread) in STAGES {
            // One frame in 200 waits for the scheduler.
            let late = if self.uniform() < 0.005 { 1.0 + 2.0 * self.uniform() } else { 1.0 };
            let normal = (0..6).map(|_| self.uniform()).sum::<f64>() - 3.0;
            let time = Duration::from_micros((median * slower * late * (normal * spread * 1.4).exp()) as u64);
            timings.set(stage, time);
            sum += time;
        }
        timings.set(Stage::EndToEnd, sum);
        timings
    }

    fn board(&mut self, watts: f64, joules: f64, heat: f64, is_hot: bool, uptime: Duration) -> Board {
        let degrees = |name: &str, celsius: f64| Temperature { name: name.into(), celsius: Some(celsius), fault: None };
        let now = Causes { throttled: is_hot, ..Causes::default() };
        Board {
            rails: vec![Rail {
                name: "vdd_in".into(),
                source: "hwmon ina219".into(),
                counted: true,
                volts: Some(5.1),
                amps: Some(watts / 5.1),
                watts: Some(watts),
                joules: Some(joules),
            }],
            watts: Some(watts),
            joules: Some(joules),
            temperatures: vec![
                degrees("soc", 58.0 + 14.0 * heat + self.uniform()),
                degrees("apex_0", 49.0 + 9.0 * heat),
            ],
            cpu_hertz: Some(if is_hot { 1_000_000_000 } else { 1_500_000_000 }),
            throttle: Some(Throttle { now, has_occurred: now }),
            process: Process { cpu_seconds: Some(uptime.as_secs_f64() * 0.4), resident_bytes: Some(40_000_000) },
        }
    }

    /// 0 to 1, the same on every machine.
    fn uniform(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn camera<'a>(time: Timestamp, state: &'a str, text: &'a str) -> EventRecord<'a> {
    EventRecord { time, what: What::Camera, state, text }
}
