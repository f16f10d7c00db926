use std::path::{Path, PathBuf};

use base::line_file::detached;
use base::outbox::OutboxHealth;
use base::values::{Bytes, Seconds};
use base64::prelude::{Engine as _, BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::Value;

use super::*;
use crate::scene::Outcome;
use crate::telemetry::sensors::{Board, Causes, Rail, Temperature, Throttle};
use crate::telemetry::state::CameraState;
use crate::telemetry::{Counts, EngineReport, Histograms, Journey, Stage, Timings, What};

const LIMIT: Duration = Duration::from_secs(20);

fn about() -> RunInfo {
    let (version, model, engine) = ("0.1.0".to_owned(), "m".to_owned(), "cpu".to_owned());
    RunInfo { version, model, started: Timestamp::UNIX_EPOCH, engine }
}

fn config(path: &Path) -> Config {
    Config { path: path.to_string_lossy().into_owned(), ..Config::default() }
}

fn open(config: &Config) -> LatencyLog {
    LatencyLog::open(config, &about()).unwrap().unwrap()
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latency.jsonl");
    (folder, path)
}

fn records(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn timings(milliseconds: u64) -> Timings {
    let mut timings = Timings::default();
    timings.set(Stage::Infer, Duration::from_millis(milliseconds));
    timings
}

/// A record of ten seconds with these frames.
fn interval(log: &mut LatencyLog, latency: &Histograms, board: Option<&Board>) {
    log.interval(&IntervalRecord {
        time: Timestamp::UNIX_EPOCH,
        seconds: 10.0,
        counts: Counts { frames_in: 5, inferred: 3, replaced: 2, ..Counts::default() },
        dropped: 1,
        latency,
        board,
        joules: board.and_then(|board| board.joules),
        throttled_seconds: board.and_then(|board| board.throttle).map(|_| 2.5),
        camera: CameraState::Running,
        engine: &EngineReport { kind: "cpu", ..EngineReport::default() },
    });
}

fn published(sink: &mut dyn Sink, sequence: u64) {
    let mut outcome = Outcome::example();
    let engine = EngineReport { kind: "edgetpu", workers: 1, up: 1, ..EngineReport::default() };
    outcome.sequence = sequence;
    outcome.journey = Journey { timings: timings(7), engine, worker: Some(0), ..Journey::default() };
    sink.publish(&outcome);
}

#[test]
fn without_a_path_there_is_no_log() {
    assert!(LatencyLog::open(&Config::default(), &about()).unwrap().is_none());
}

#[test]
fn the_file_is_kept_as_the_configuration_says() {
    for (sync, policy) in [
        (Sync::Interval, SyncPolicy::OnDemand),
        (Sync::Rotate, SyncPolicy::AtRotation),
        (Sync::Never, SyncPolicy::Never),
    ] {
        let (path, max_bytes, max_age) = ("/x".to_owned(), Bytes(2), Seconds::new(3));
        let config = Config { path: path.clone(), max_bytes, max_age, keep: 4, sync, ..Config::default() };
        let (name, key) = ("latency_log", "telemetry.latency_log.path");
        assert_eq!(place(&config), Place { name, key, path, max_bytes, max_age, keep: 4, sync: policy });
    }
}

#[test]
fn every_record_but_those_of_frames_asks_to_be_synced() {
    let ((inlet, mut lines), (frames, mut frame_lines)) = (detached(8), detached(1));
    let config = Config { interval: Seconds::new(90), ..Config::default() };
    let mut log = LatencyLog::begin(inlet, Some(frames), &config, &about());
    log.opened = log.opened.checked_sub(Duration::from_secs(5)).unwrap();
    interval(&mut log, &Histograms::new().unwrap(), None);
    log.event(&EventRecord { time: Timestamp::UNIX_EPOCH, what: What::Camera, state: "running", text: "" });
    let mut sink = log.frames().unwrap();
    (3..5).for_each(|sequence| published(sink.as_mut(), sequence));
    let mut next = |kind: &str| {
        let (line, is_synced) = lines.next().unwrap();
        let record: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&record["kind"], &record["run"], is_synced), (&kind.into(), &about().run_id().into(), true));
        record
    };
    let start = next("event");
    assert_eq!((&start["what"], &start["interval"], &start["uptime"]), (&"start".into(), &90.0.into(), &0.0.into()));
    for record in [next("interval"), next("event")] {
        let uptime = record["uptime"].as_f64().unwrap();
        assert!((5.0..5.0 + LIMIT.as_secs_f64()).contains(&uptime), "{uptime}");
    }
    let (frame, is_synced) = frame_lines.next().unwrap();
    assert!(frame.contains("\"kind\":\"frame\"") && frame.contains(&about().run_id()) && !is_synced, "{frame}");
    // The second frame found no buffer; what is lost of frames is the sink's.
    assert_eq!((sink.name(), sink.health(), log.lost()), ("latency_log", OutboxHealth { dropped: 1, gone: false }, 0));
    assert_eq!(sink.close(Closing::Within(Duration::ZERO)).dropped, 1);
    // What is not written when the time is over is lost.
    log.event(&EventRecord { time: Timestamp::UNIX_EPOCH, what: What::Stop, state: "stopped", text: "" });
    assert_eq!(Box::new(log).close(Duration::ZERO), 1);
}

#[test]
fn a_path_that_can_never_work_is_an_error() {
    for path in ["/nonexistent/x", "/", "-"] {
        let error = LatencyLog::open(&config(Path::new(path)), &about()).err().unwrap().to_string();
        assert!(error.starts_with(&format!("telemetry.latency_log.path {path}: ")), "{error}");
    }
}

#[test]
fn a_run_begins_with_what_runs_and_ends_with_its_stop() {
    let (_folder, path) = file();
    let mut log = open(&config(&path));
    let time = Timestamp::UNIX_EPOCH;
    log.event(&EventRecord { time, what: What::Camera, state: "waiting", text: "no \"camera\"\n" });
    log.event(&EventRecord { time, what: What::Stop, state: "stopped", text: "SIGTERM" });
    assert_eq!(Box::new(log).close(LIMIT), 0);
    let records = records(&path);
    let [start, camera, stop] = &records[..] else { panic!("{records:?}") };
    assert_eq!((&start["what"], &start["model"], &start["interval"]), (&"start".into(), &"m".into(), &60.0.into()));
    assert_eq!(start["run"].as_str().unwrap().len(), 8);
    assert_eq!(start["host"], std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    assert_eq!((&camera["what"], &camera["text"]), (&"camera".into(), &"no \"camera\"\n".into()));
    assert_eq!((&stop["what"], &stop["run"]), (&"stop".into(), &start["run"]));
}

#[test]
fn a_histogram_comes_back_as_it_was() {
    let (_folder, path) = file();
    let mut latency = Histograms::new().unwrap();
    (1..=100).for_each(|ms| latency.record(&timings(ms)));
    let mut log = open(&config(&path));
    interval(&mut log, &latency, None);
    assert_eq!(Box::new(log).close(LIMIT), 0);
    let record = &records(&path)[1];
    assert_eq!(
        (&record["kind"], &record["seconds"], &record["frames"]["replaced"]),
        (&"interval".into(), &10.0.into(), &2.into())
    );
    let infer = &record["latency"]["infer"];
    assert_eq!((&infer["n"], &infer["p50_ms"]), (&100.into(), &50.015.into()));
    let bytes = BASE64_STANDARD.decode(infer["hdr"].as_str().unwrap()).unwrap();
    let read: hdrhistogram::Histogram<u32> =
        hdrhistogram::serialization::Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
    assert_eq!(&read, latency.of(Stage::Infer));
    // What isn't known has no key.
    assert!(record.get("power").is_none() && record.get("celsius").is_none() && record.get("throttled").is_none());
}

#[test]
fn an_interval_without_frames_has_no_stage() {
    let (_folder, path) = file();
    let mut log = open(&config(&path));
    interval(&mut log, &Histograms::new().unwrap(), None);
    Box::new(log).close(LIMIT);
    assert_eq!(records(&path)[1]["latency"], serde_json::json!({}));
}

#[test]
fn the_board_stands_beside_it_and_what_is_unknown_is_null() {
    let (_folder, path) = file();
    let rail = |name: &str, watts| Rail { name: name.to_owned(), watts, ..Rail::default() };
    let degrees = |name: &str, celsius| Temperature { name: name.to_owned(), celsius, ..Temperature::default() };
    let board = Board {
        rails: vec![rail("vdd_in", Some(4.143_21)), rail("usb", None)],
        watts: Some(4.143_21),
        joules: Some(41.4),
        temperatures: vec![degrees("soc", Some(52.12)), degrees("apex_0", None)],
        throttle: Some(Throttle {
            now: Causes::default(),
            has_occurred: Causes { under_voltage: true, ..Causes::default() },
        }),
        ..Board::default()
    };
    let mut log = open(&config(&path));
    interval(&mut log, &Histograms::new().unwrap(), Some(&board));
    Box::new(log).close(LIMIT);
    let record = &records(&path)[1];
    let power = serde_json::json!({"watts": 4.143, "joules": 41.4, "rails": {"vdd_in": 4.143, "usb": null}});
    assert_eq!(record["power"], power);
    assert_eq!(record["celsius"], serde_json::json!({"soc": 52.1, "apex_0": null}));
    let throttled = serde_json::json!({"seconds": 2.5, "now": "none", "has_occurred": "under_voltage"});
    assert_eq!(record["throttled"], throttled);
}

#[test]
fn frames_have_a_sink_where_they_are_wanted_and_only_once() {
    let (_folder, path) = file();
    assert!(open(&config(&path)).frames().is_none());
    let log = open(&Config { frames: true, ..config(&path) });
    let mut sink = log.frames().unwrap();
    assert!(log.frames().is_none());
    published(sink.as_mut(), 3);
    assert_eq!(sink.close(Closing::Drain).dropped, 0);
    assert_eq!(Box::new(log).close(LIMIT), 0);
    let records = records(&path);
    let frame = records.iter().find(|record| record["kind"] == "frame").unwrap();
    assert_eq!((&frame["sequence"], &frame["ran"], &frame["worker"]), (&3.into(), &"edgetpu".into(), &1.into()));
    assert_eq!(frame["latency_ms"]["infer"], 7.0);
}

#[test]
fn a_log_whose_sink_for_frames_nobody_took_ends_at_once() {
    let (_folder, path) = file();
    let log = open(&Config { frames: true, ..config(&path) });
    let start = Instant::now();
    assert_eq!(Box::new(log).close(LIMIT), 0);
    assert!(start.elapsed() < LIMIT / 2);
}

#[test]
fn a_full_disk_is_counted() {
    let mut log = open(&config(Path::new("/dev/full")));
    interval(&mut log, &Histograms::new().unwrap(), None);
    assert_eq!(Box::new(log).close(LIMIT), 2);
}

#[test]
fn a_disk_that_stands_still_holds_nobody() {
    let (_folder, path) = file();
    // A pipe that nobody reads: the writer waits for ever.
    let status = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(status.success());
    let mut log = open(&Config { frames: true, ..config(&path) });
    let mut sink = log.frames().unwrap();
    let start = Instant::now();
    (0..200).for_each(|_| interval(&mut log, &Histograms::new().unwrap(), None));
    (0..2000).for_each(|sequence| published(sink.as_mut(), sequence));
    // The start is one of the 64 that wait; frames have a queue of their own.
    assert_eq!((log.lost(), sink.health().dropped), (201 - 64, 2000 - 1024));
    assert_eq!(sink.close(Closing::Within(Duration::ZERO)).dropped, 2000);
    assert_eq!(Box::new(log).close(Duration::from_millis(50)), 201);
    assert!(start.elapsed() < LIMIT / 2);
}

#[test]
fn a_file_is_rotated_by_size_and_by_the_age_of_its_first_record() {
    let (folder, path) = file();
    let aged = |seconds: u64| Config { max_age: Seconds::new(seconds), ..config(&path) };
    // The first record says 1970.
    Box::new(open(&aged(0))).close(LIMIT);
    Box::new(open(&aged(3600))).close(LIMIT);
    let lines = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap().lines().count();
    assert_eq!((lines("latency.jsonl"), lines("latency.jsonl.1")), (1, 1));
    Box::new(open(&Config { max_bytes: Bytes(10), ..aged(0) })).close(LIMIT);
    assert_eq!((lines("latency.jsonl.1"), lines("latency.jsonl.2")), (2, 1));
    assert!(!path.exists());
}

#[test]
fn two_runs_are_told_apart() {
    let (first, second) = (about(), RunInfo { started: Timestamp::now(), ..about() });
    assert_ne!(first.run_id(), second.run_id());
    assert_eq!(first.run_id(), first.run_id());
    let id = first.run_id();
    assert!(id.len() == 8 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{id}");
}
