//! The format of the latency log: each function writes one record, without its newline. `docs/latency-log.md` describes it.
//!
//! What isn't known is left out or null, never 0.

use std::time::Duration;

use base::rounding::rounded;
use base::text::escape_json;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Serializer as _, V2Serializer};
use jiff::Timestamp;
use serde::ser::{SerializeMap, Serializer};
use serde::Serialize;

use super::run_info::{host, RunInfo};
use crate::publish::json::{Micros, StageMilliseconds};
use crate::scene::Outcome;
use crate::telemetry::sensors::Board;
use crate::telemetry::{EngineReport, EventRecord, Histograms, IntervalRecord, Stage, What};

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
            map.serialize_entry("engine", &EngineFigures(record.engine))?;
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
pub(super) fn frame(line: &mut Vec<u8>, run: &str, outcome: &Outcome) {
    let journey = &outcome.journey;
    write(line, |map| {
        map.serialize_entry("time", &Micros(outcome.time))?;
        map.serialize_entry("kind", "frame")?;
        map.serialize_entry("run", run)?;
        map.serialize_entry("sequence", &outcome.sequence)?;
        map.serialize_entry("ran", if journey.worker.is_some() { journey.engine.kind } else { "cpu" })?;
        if let Some(number) = journey.worker {
            map.serialize_entry("worker", &(number + 1))?;
        }
        map.serialize_entry("latency_ms", &StageMilliseconds(outcome))
    });
}

type JsonMap<'a> = <&'a mut serde_json::Serializer<&'a mut Vec<u8>> as Serializer>::SerializeMap;

fn write(line: &mut Vec<u8>, fill: impl FnOnce(&mut JsonMap<'_>) -> Result<(), serde_json::Error>) {
    let start = line.len();
    let mut json = serde_json::Serializer::new(&mut *line);
    // Writing to a Vec can't fail, and no record has map keys that JSON lacks.
    let _ = json.serialize_map(None).and_then(|mut map| {
        fill(&mut map)?;
        map.end()
    });
    escape_json(line, start);
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

struct EngineFigures<'a>(&'a EngineReport);

impl Serialize for EngineFigures<'_> {
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

#[cfg(test)]
mod tests {
    use serde_json::{json, Value};

    use super::*;
    use crate::telemetry::sensors::{Causes, Process, Rail, Temperature, Throttle};
    use crate::telemetry::state::CameraState;
    use crate::telemetry::Journey;
    use crate::telemetry::{Counts, Timings};

    const TIME: &str = "1970-01-01T00:00:00.000000Z";

    /// Frames of which the first stage took 1, 2, … 100 microseconds, the next 100 microseconds more, and so on.
    fn latency() -> Histograms {
        let mut latency = Histograms::new().unwrap();
        (1..=100).for_each(|more| latency.record(&timings(more)));
        latency
    }

    fn timings(more: u64) -> Timings {
        let mut timings = Timings::default();
        Stage::ALL.into_iter().for_each(|stage| timings.set(stage, Duration::from_micros(stage as u64 * 100 + more)));
        timings
    }

    fn engine() -> EngineReport {
        let (kind, reason) = ("edgetpu", Some("no answer".into()));
        EngineReport { kind, workers: 6, up: 5, reason, faults: 4, starts: 3, fallback_frames: 2 }
    }

    fn record<'a>(latency: &'a Histograms, engine: &'a EngineReport) -> IntervalRecord<'a> {
        IntervalRecord {
            time: Timestamp::UNIX_EPOCH,
            seconds: 10.0126,
            counts: Counts { frames_in: 1, skipped: 2, corrupt: 3, replaced: 4, inferred: 5, failed: 6, published: 7 },
            dropped: 8,
            latency,
            board: None,
            joules: None,
            throttled_seconds: None,
            camera: CameraState::Running,
            engine,
        }
    }

    /// A record as it stands in the file. Its time comes first.
    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Value {
        let mut line = Vec::new();
        write(&mut line);
        assert!(line.starts_with(format!("{{\"time\":\"{TIME}\",").as_bytes()), "{}", line.escape_ascii());
        serde_json::from_slice(&line).unwrap()
    }

    fn interval(record: &IntervalRecord<'_>) -> Value {
        written(|line| Writing::default().interval(line, "abc", Duration::from_micros(61_234_567), record))
    }

    #[test]
    fn a_record_of_an_interval_has_everything_under_its_name() {
        let (latency, engine) = (latency(), engine());
        let rail = |name: &str, watts| Rail { name: name.to_owned(), watts, ..Rail::default() };
        let degrees = |name: &str, celsius| Temperature { name: name.to_owned(), celsius, fault: None };
        let (frequency, voltage) = (
            Causes { frequency_capped: true, ..Causes::default() },
            Causes { under_voltage: true, ..Causes::default() },
        );
        let board = Board {
            rails: vec![rail("vdd_in", Some(4.143_21)), rail("usb", None)],
            watts: Some(4.2346),
            joules: Some(1e6),
            temperatures: vec![degrees("soc", Some(52.17)), degrees("apex_0", None)],
            cpu_hertz: Some(1_500_000_000),
            throttle: Some(Throttle { now: frequency, has_occurred: voltage }),
            process: Process { cpu_seconds: Some(1.5), resident_bytes: Some(4096) },
        };
        let stage = |stage: Stage| {
            let mut bytes = Vec::new();
            V2Serializer::new().serialize(latency.of(stage), &mut bytes).unwrap();
            let ms = |more: u64| (stage as u64 * 100 + more) as f64 / 1000.0;
            let hdr = Base64Display::new(&bytes, &STANDARD).to_string();
            (
                stage.name().to_owned(),
                json!({"n": 100, "p50_ms": ms(50), "p99_ms": ms(99), "max_ms": ms(100), "hdr": hdr}),
            )
        };
        let stages: serde_json::Map<String, Value> = Stage::ALL.into_iter().map(stage).collect();
        let (board, joules, throttled_seconds) = (Some(&board), Some(41.4567), Some(2.3456));
        assert_eq!(
            interval(&IntervalRecord { board, joules, throttled_seconds, ..record(&latency, &engine) }),
            json!({
                "time": TIME, "kind": "interval", "run": "abc", "uptime": 61.235, "seconds": 10.013,
                "frames": {"frames_in": 1, "skipped": 2, "corrupt": 3, "replaced": 4, "inferred": 5, "failed": 6,
                    "published": 7},
                "dropped": 8,
                "camera": "running",
                "engine": {"kind": "edgetpu", "workers": 6, "up": 5, "starts": 3, "faults": 4, "fallback_frames": 2,
                    "reason": "no answer"},
                "power": {"watts": 4.235, "joules": 41.457, "rails": {"vdd_in": 4.143, "usb": null}},
                "celsius": {"soc": 52.2, "apex_0": null},
                "cpu_hertz": 1_500_000_000,
                "process": {"cpu_seconds": 1.5, "resident_bytes": 4096},
                "throttled": {"seconds": 2.346, "now": "frequency_capped", "has_occurred": "under_voltage"},
                "latency": stages,
            })
        );
    }

    #[test]
    fn what_is_not_known_of_an_interval_has_no_key() {
        let (latency, engine) = (Histograms::new().unwrap(), EngineReport { kind: "cpu", ..EngineReport::default() });
        let without = record(&latency, &engine);
        let (none, some) = (Board::default(), Board { watts: Some(1.0), joules: Some(2.0), ..Board::default() });
        let process = || json!({"cpu_seconds": null, "resident_bytes": null});
        let (joules, throttled_seconds) = (Some(41.4567), Some(2.3456));
        for (record, expected) in [
            (without, json!({})),
            (IntervalRecord { board: Some(&none), ..without }, json!({"process": process()})),
            (IntervalRecord { board: Some(&some), ..without }, json!({"process": process()})),
            (IntervalRecord { joules, ..without }, json!({"power": {"joules": 41.457}})),
            (IntervalRecord { throttled_seconds, ..without }, json!({"throttled": {"seconds": 2.346}})),
        ] {
            let mut written = interval(&record);
            let map = written.as_object_mut().unwrap();
            assert_eq!((map.remove("engine"), map.remove("latency")), (Some(json!({"kind": "cpu"})), Some(json!({}))));
            for key in ["time", "kind", "run", "uptime", "seconds", "frames", "dropped", "camera"] {
                assert!(map.remove(key).is_some(), "{key}");
            }
            assert_eq!(written, expected);
        }
    }

    #[test]
    fn events_have_their_words() {
        let about = RunInfo {
            version: "1.2.3".to_owned(),
            model: "m".to_owned(),
            started: Timestamp::UNIX_EPOCH,
            engine: "delegate".to_owned(),
        };
        assert_eq!(
            written(|line| start(line, "abc", 30.0006, &about)),
            json!({
                "time": TIME, "kind": "event", "run": "abc", "uptime": 0.0, "what": "start", "state": "running",
                "text": "pspnetd 1.2.3", "version": "1.2.3", "host": host(), "model": "m",
                "engine": {"kind": "delegate"}, "interval": 30.001,
            })
        );
        for (what, word) in [
            (What::Start, "start"),
            (What::Stop, "stop"),
            (What::Camera, "camera"),
            (What::Engine, "engine"),
            (What::Throttle, "throttle"),
        ] {
            let record = EventRecord { time: Timestamp::UNIX_EPOCH, what, state: "so", text: "why" };
            assert_eq!(
                written(|line| event(line, "abc", Duration::from_micros(1_234_567), &record)),
                json!({"time": TIME, "kind": "event", "run": "abc", "uptime": 1.235, "what": word, "state": "so",
                    "text": "why"})
            );
        }
    }

    #[test]
    fn a_record_of_a_frame_says_what_ran_it() {
        for (worker, ran) in [
            (None, json!({"ran": "cpu"})),
            (Some(0), json!({"ran": "edgetpu", "worker": 1})),
            (Some(2), json!({"ran": "edgetpu", "worker": 3})),
        ] {
            let mut outcome = Outcome::example();
            outcome.sequence = 7;
            outcome.journey = Journey { timings: timings(1), engine: engine(), worker, ..Journey::default() };
            let mut expected = json!({
                "time": TIME, "kind": "frame", "run": "abc", "sequence": 7,
                "latency_ms": {"sensor": 0.001, "convert": 0.101, "queue": 0.201, "infer": 0.301, "decode": 0.401,
                    "end_to_end": 0.601},
            });
            expected.as_object_mut().unwrap().extend(ran.as_object().unwrap().clone());
            assert_eq!(written(|line| frame(line, "abc", &outcome)), expected);
        }
    }
}
