//! The format of the latency log: each function writes one record, without its newline. `docs/latency-log.md` describes it.
//!
//! What isn't known is left out or null, never 0.

use std::time::Duration;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Serializer as _, V2Serializer};
use jiff::Timestamp;
use serde::ser::{SerializeMap, Serializer};
use serde::Serialize;

use super::records::{host, EventRecord, IntervalRecord, RunInfo, What};
use crate::publish::jsonl::Micros;
use crate::publish::{rounded, Published};
use crate::telemetry::sensors::Board;
use crate::telemetry::{EngineReport, Histograms, Stage};

/// Buffers that the record of an interval needs.
#[derive(Default)]
pub struct Writing {
    encoder: V2Serializer,
    encoded: Vec<Vec<u8>>,
}

impl Writing {
    /// Writes the record of an interval, `uptime` after the start of `run`.
    pub fn interval(&mut self, line: &mut Vec<u8>, run: &str, uptime: Duration, record: &IntervalRecord<'_>) {
        self.encoded.resize_with(Stage::ALL.len(), Vec::new);
        for (stage, encoded) in Stage::ALL.into_iter().zip(&mut self.encoded) {
            encoded.clear();
            let histogram = record.latency.of(stage);
            // Counts of 32 bits and these bounds can be encoded, and writing to a Vec can't fail.
            if !histogram.is_empty() && self.encoder.serialize(histogram, encoded).is_err() {
                encoded.clear();
            }
        }
        let power = record.board.filter(|board| !board.rails.is_empty()).map(|board| (board, record));
        write(line, |map| {
            begin(map, record.time, "interval", run, uptime)?;
            map.serialize_entry("seconds", &rounded(record.seconds, 1e3))?;
            map.serialize_entry("frames", &record.counts)?;
            map.serialize_entry("dropped", &record.dropped)?;
            map.serialize_entry("camera", record.camera.name())?;
            map.serialize_entry("engine", &Engine(record.engine))?;
            if let Some((board, record)) = power {
                map.serialize_entry("power", &Power { board, record })?;
            } else if let Some(joules) = record.joules {
                map.serialize_entry("power", &JoulesAlone { joules: rounded(joules, 1e3) })?;
            }
            if let Some(board) = record.board {
                about_board(map, board)?;
            }
            if let Some(seconds) = record.throttled_seconds {
                let throttle = record.board.and_then(|board| board.throttle);
                let now = throttle.map(|throttle| throttle.now.to_string());
                let has_occurred = throttle.map(|throttle| throttle.has_occurred.to_string());
                let seconds = rounded(seconds, 1e3);
                map.serialize_entry("throttled", &Throttled { seconds, now, has_occurred })?;
            }
            map.serialize_entry("latency", &Latency(record.latency, &self.encoded))
        });
    }
}

/// Writes the event that begins a run: how long its intervals are, and what runs.
pub fn start(line: &mut Vec<u8>, run: &str, interval: f64, about: &RunInfo) {
    let RunInfo { version, model, started, engine } = about;
    write(line, |map| {
        begin(map, *started, "event", run, Duration::ZERO)?;
        map.serialize_entry("what", What::Start.name())?;
        map.serialize_entry("state", "running")?;
        map.serialize_entry("text", &format_args!("pspnetd {version}"))?;
        map.serialize_entry("version", version)?;
        map.serialize_entry("host", &host())?;
        map.serialize_entry("model", model)?;
        map.serialize_entry("engine", &EngineKind { kind: engine })?;
        map.serialize_entry("interval", &rounded(interval, 1e3))
    });
}

/// Writes any other event.
pub fn event(line: &mut Vec<u8>, run: &str, uptime: Duration, event: &EventRecord<'_>) {
    write(line, |map| {
        begin(map, event.time, "event", run, uptime)?;
        map.serialize_entry("what", event.what.name())?;
        map.serialize_entry("state", event.state)?;
        map.serialize_entry("text", event.text)
    });
}

/// Writes the record of a frame. Allocates nothing.
pub(super) fn frame(line: &mut Vec<u8>, run: &str, result: &Published<'_>) {
    write(line, |map| {
        map.serialize_entry("time", &Micros(result.time))?;
        map.serialize_entry("kind", "frame")?;
        map.serialize_entry("run", run)?;
        map.serialize_entry("sequence", &result.sequence)?;
        map.serialize_entry("ran", if result.worker.is_some() { result.engine.kind } else { "cpu" })?;
        if let Some(number) = result.worker {
            map.serialize_entry("worker", &(number + 1))?;
        }
        map.serialize_entry("latency_ms", &crate::publish::jsonl::Latency(result))
    });
}

type JsonMap<'a> = <&'a mut serde_json::Serializer<&'a mut Vec<u8>> as Serializer>::SerializeMap;

fn write(line: &mut Vec<u8>, fill: impl FnOnce(&mut JsonMap<'_>) -> Result<(), serde_json::Error>) {
    let mut json = serde_json::Serializer::new(line);
    // Writing to a Vec can't fail, and no record has map keys that JSON lacks.
    let _ = json.serialize_map(None).and_then(|mut map| {
        fill(&mut map)?;
        map.end()
    });
}

fn begin<M: SerializeMap>(
    map: &mut M,
    time: Timestamp,
    kind: &str,
    run: &str,
    uptime: Duration,
) -> Result<(), M::Error> {
    map.serialize_entry("time", &Micros(time))?;
    map.serialize_entry("kind", kind)?;
    map.serialize_entry("run", run)?;
    map.serialize_entry("uptime", &rounded(uptime.as_secs_f64(), 1e3))
}

fn about_board<M: SerializeMap>(map: &mut M, board: &Board) -> Result<(), M::Error> {
    if !board.temperatures.is_empty() {
        map.serialize_entry("celsius", &Celsius(board))?;
    }
    if let Some(hertz) = board.cpu_hertz {
        map.serialize_entry("cpu_hertz", &hertz)?;
    }
    map.serialize_entry("process", &board.process)
}

#[derive(Serialize)]
struct EngineKind<'a> {
    kind: &'a str,
}

struct Engine<'a>(&'a EngineReport);

impl Serialize for Engine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let EngineReport { kind, workers, up, reason, faults, starts, fallback_frames } = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", kind)?;
        if *workers > 0 {
            map.serialize_entry("workers", workers)?;
            map.serialize_entry("up", up)?;
            map.serialize_entry("starts", starts)?;
            map.serialize_entry("faults", faults)?;
            map.serialize_entry("fallback_frames", fallback_frames)?;
        }
        if let Some(reason) = reason {
            map.serialize_entry("reason", reason.as_ref())?;
        }
        map.end()
    }
}

struct Power<'a> {
    board: &'a Board,
    record: &'a IntervalRecord<'a>,
}

impl Serialize for Power<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let milli = |value: Option<f64>| value.map(|value| rounded(value, 1e3));
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("watts", &milli(self.board.watts))?;
        map.serialize_entry("joules", &milli(self.record.joules))?;
        map.serialize_entry("rails", &Rails(self.board))?;
        map.end()
    }
}

#[derive(Serialize)]
struct JoulesAlone {
    joules: f64,
}

struct Rails<'a>(&'a Board);

impl Serialize for Rails<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let watts = |watts: Option<f64>| watts.map(|watts| rounded(watts, 1e3));
        serializer.collect_map(self.0.rails.iter().map(|rail| (&rail.name, watts(rail.watts))))
    }
}

struct Celsius<'a>(&'a Board);

impl Serialize for Celsius<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let celsius = |celsius: Option<f64>| celsius.map(|celsius| rounded(celsius, 10.0));
        serializer.collect_map(self.0.temperatures.iter().map(|sensor| (&sensor.name, celsius(sensor.celsius))))
    }
}

#[derive(Serialize)]
struct Throttled {
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    has_occurred: Option<String>,
}

struct Latency<'a>(&'a Histograms, &'a [Vec<u8>]);

impl Serialize for Latency<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (stage, encoded) in Stage::ALL.into_iter().zip(self.1).filter(|(_, encoded)| !encoded.is_empty()) {
            map.serialize_entry(stage.name(), &StageLatency { histograms: self.0, stage, encoded })?;
        }
        map.end()
    }
}

struct StageLatency<'a> {
    histograms: &'a Histograms,
    stage: Stage,
    encoded: &'a [u8],
}

impl Serialize for StageLatency<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let histogram = self.histograms.of(self.stage);
        let milliseconds = |microseconds: u64| microseconds as f64 / 1000.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("n", &histogram.len())?;
        map.serialize_entry("p50_ms", &milliseconds(histogram.value_at_quantile(0.5)))?;
        map.serialize_entry("p99_ms", &milliseconds(histogram.value_at_quantile(0.99)))?;
        map.serialize_entry("max_ms", &milliseconds(histogram.max()))?;
        map.serialize_entry("hdr", &format_args!("{}", Base64Display::new(self.encoded, &STANDARD)))?;
        map.end()
    }
}
