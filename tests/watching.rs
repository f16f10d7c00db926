//! What the running program shows of itself: state, history, readiness, the latency log of a run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use support::http::{serve, Web};
use support::{colours, records, replay, run, with, Running, Signal, LIMIT};

/// Asks for the state until `is_it` says yes to it.
#[track_caller]
fn wait_for_state(web: &Web, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let state = web.get("/api/v1/state").json();
        if is_it(&state) {
            return state;
        }
        assert!(start.elapsed() < LIMIT, "waited in vain for {what}: {state:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn lines_of(log: &Path, kind: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    records(&text).into_iter().filter(|record| record["kind"] == kind).collect()
}

#[test]
fn the_state_has_what_is_seen_how_fast_and_what_happened() {
    let web = serve(["telemetry.interval=1"]).ready();
    let state = wait_for_state(&web, "a rate", |state| state["fps"].as_f64().is_some_and(|fps| fps > 1.0));
    let names = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&state["model"]["classes"]), names(&state["result"]["classes"]));
    let shares: f64 =
        state["result"]["classes"].as_array().unwrap().iter().filter_map(|area| area["share"].as_f64()).sum();
    assert!((shares - 1.0).abs() < 1e-4, "{shares}");
    assert_eq!((&state["result"]["width"], &state["result"]["height"]), (&320.into(), &240.into()));
    assert_eq!((&state["ready"], &state["camera"]["state"]), (&true.into(), &"running".into()));
    assert_eq!(state["program"]["pid"], web.running.id());
    assert!(state["latency"].as_array().unwrap().iter().all(|stage| stage["p50_ms"].is_number()), "{state:#}");
    // Which of them this machine has is its own affair; the process itself is always known.
    assert!(state["board"]["process"]["resident_bytes"].as_u64().unwrap() > 1 << 20, "{state:#}");
    // What happened, without the figures that come again and again.
    web.running.stderr.wait_for("latency stage=");
    let state = web.get("/api/v1/state").json();
    let events: Vec<&str> =
        state["events"].as_array().unwrap().iter().map(|event| event["text"].as_str().unwrap()).collect();
    assert!(events.iter().any(|text| text.starts_with("camera: ")), "{events:?}");
    assert!(!events.iter().any(|text| text.starts_with("latency ") || text.starts_with("frames ")), "{events:?}");
    web.ends_well();
}

#[test]
fn the_history_has_a_value_of_each_class_at_each_time() {
    let web = serve([""; 0]).ready();
    let start = Instant::now();
    let history = loop {
        let history = web.get("/api/v1/history").json();
        if history["times"].as_array().unwrap().len() >= 2 {
            break history;
        }
        assert!(start.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(100));
    };
    let points = history["times"].as_array().unwrap().len();
    for list in ["fps", "end_to_end_p50_ms", "end_to_end_p99_ms", "watts", "soc_celsius"] {
        assert_eq!(history[list].as_array().unwrap().len(), points, "{list}");
    }
    let classes = history["classes"].as_array().unwrap();
    assert!(!classes.is_empty());
    for class in classes {
        assert_eq!(class["values"].as_array().unwrap().len(), points, "{class}");
    }
    let sum: f64 = classes.iter().filter_map(|class| class["values"][points - 1].as_f64()).sum();
    assert!((sum - 1.0).abs() < 0.01, "{history:#}");
    web.ends_well();
}

#[test]
fn without_a_camera_it_lives_and_says_why_it_is_not_ready() {
    let settings = ["http.listen=127.0.0.1:0", "http.socket=off"];
    let web = Web::start(with(run(&colours(), "v4l2:/dev/no-such-camera"), settings));
    let state = wait_for_state(&web, "a camera that is waited for", |state| state["camera"]["state"] == "waiting");
    assert_eq!(
        (&state["ready"], &state["result"], &state["fps"].as_f64().unwrap_or(0.0)),
        (&false.into(), &Value::Null, &0.0)
    );
    let ready = web.get("/readyz");
    assert_eq!(ready.status, 503);
    for words in ["/dev/no-such-camera", "no result yet"] {
        assert!(ready.text().contains(words), "{}", ready.text());
    }
    assert_eq!(web.get("/livez").status, 200);
    let metrics = web.get("/metrics").text();
    assert!(metrics.contains("\npspnetd_camera_up 0\n") || metrics.contains("\npspnetd_camera_up 0.0\n"), "{metrics}");
    web.running.stop(Signal::TERM).0.expect(0);
}

#[test]
fn everybody_who_watches_is_left_in_time() {
    let web = serve([""; 0]).ready();
    let mut streams: Vec<_> = (0..4).map(|_| web.connect()).collect();
    for stream in &mut streams {
        write!(stream, "GET /stream.mjpg HTTP/1.1\r\nHost: {}\r\n\r\n", web.address).unwrap();
        stream.read_exact(&mut [0; 4096]).unwrap();
    }
    // This one asks, and never reads what comes.
    let mut sleeper = web.connect();
    write!(sleeper, "GET /stream.mjpg HTTP/1.1\r\nHost: {}\r\n\r\n", web.address).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    web.running.stop_in_time(Signal::TERM).expect(0);
}

#[test]
fn the_latency_log_of_a_run_adds_up_to_what_was_published() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("latency.jsonl");
    let path = format!("telemetry.latency_log.path={}", log.display());
    let settings = [
        "camera.rate=20",
        "camera.loop=true",
        &path,
        "telemetry.latency_log.interval=500ms",
        "telemetry.latency_log.frames=true",
    ];
    let running = Running::start(with(run(&colours(), &replay("colours.mjpeg")), settings));
    running.stdout.wait_for_count(30);
    let finished = running.stop(Signal::TERM).0.expect(0);
    let intervals = lines_of(&log, "interval");
    let of = |count: &str| -> u64 { intervals.iter().map(|record| record["frames"][count].as_u64().unwrap()).sum() };
    let published = finished.records().len() as u64;
    assert!(intervals.len() > 1, "{intervals:?}");
    assert_eq!((of("published"), of("frames_in")), (published, finished.count("in")));
    let recorded: u64 = intervals.iter().filter_map(|record| record["latency"]["end_to_end"]["n"].as_u64()).sum();
    assert_eq!(recorded, published);
    assert_eq!(lines_of(&log, "frame").len() as u64, published);
    let events: Vec<String> = lines_of(&log, "event")
        .iter()
        .map(|event| format!("{} {}", event["what"].as_str().unwrap(), event["state"].as_str().unwrap()))
        .collect();
    assert_eq!(events, ["start running", "camera running", "stop stopped"]);
}

#[test]
fn a_full_disk_under_the_latency_log_is_said_once_and_holds_nobody() {
    let settings = [
        "telemetry.latency_log.path=/dev/full",
        "telemetry.latency_log.interval=200ms",
        "telemetry.latency_log.frames=true",
    ];
    let web = serve(settings).ready();
    let lost = |state: &Value| -> u64 {
        let sinks = state["sinks"].as_array().unwrap();
        sinks.iter().find(|sink| sink["name"] == "latency_log").map_or(0, |sink| sink["dropped"].as_u64().unwrap())
    };
    let state = wait_for_state(&web, "lost records", |state| lost(state) > 3);
    let names: Vec<&Value> = state["sinks"].as_array().unwrap().iter().map(|sink| &sink["name"]).collect();
    assert_eq!(names, ["jsonl", "latency_log"]);
    web.running.stdout.wait_for_count(web.running.stdout.count() + 20);
    let finished = web.running.stop(Signal::TERM).0.expect(0);
    assert_eq!(finished.stderr.matches("No space left").count(), 1, "{}", finished.stderr);
    assert!(finished.stderr.contains("records were lost in this run"), "{}", finished.stderr);
}

/// A board with one rail and one temperature.
fn board() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (file, text) in [
        ("hwmon/hwmon0/name", "ina219"),
        ("hwmon/hwmon0/in1_input", "5000"),
        ("hwmon/hwmon0/curr1_input", "800"),
        ("hwmon/hwmon0/power1_input", "4000000"),
        ("thermal/thermal_zone0/type", "cpu-thermal"),
        ("thermal/thermal_zone0/temp", "51000"),
    ] {
        let path = root.path().join("sys/class").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root
}

#[test]
fn what_a_board_no_longer_tells_is_unknown_and_neither_0_nor_old() {
    let (root, folder) = (board(), tempfile::tempdir().unwrap());
    let log = folder.path().join("l");
    let path = format!("telemetry.latency_log.path={}", log.display());
    let settings = [
        "http.listen=127.0.0.1:0",
        "http.socket=off",
        "camera.rate=20",
        "camera.loop=true",
        "telemetry.sensors=50ms",
        "telemetry.interval=500ms",
        &path,
        "telemetry.latency_log.interval=300ms",
    ];
    let mut command = with(run(&colours(), &replay("colours.mjpeg")), settings);
    command.env("PSPNETD_ROOT", root.path());
    let web = Web::start(command);
    wait_for_state(&web, "joules", |state| state["joules_per_frame"].as_f64().is_some_and(|joules| joules > 0.0));
    // The rail's chip goes: frames without known joules have none.
    std::fs::remove_dir_all(root.path().join("sys/class/hwmon")).unwrap();
    let state = wait_for_state(&web, "no power", |state| state["joules_per_frame"].is_null());
    assert_eq!((&state["board"]["watts"], &state["board"]["temperatures"][0]["celsius"]), (&Value::Null, &51.0.into()));
    let intervals = lines_of(&log, "interval").len();
    wait_for_state(&web, "more intervals", |_| lines_of(&log, "interval").len() > intervals + 2);
    let joules: Vec<Value> = lines_of(&log, "interval").iter().map(|it| it["power"]["joules"].clone()).collect();
    assert!(joules.iter().any(|joules| joules.as_f64().is_some_and(|joules| joules > 0.5)), "{joules:?}");
    assert!(joules.last().unwrap().is_null() && !joules.contains(&0.0.into()), "{joules:?}");
    // A driver that never answers: reading a named pipe waits for its writer.
    let temperature = root.path().join("sys/class/thermal/thermal_zone0/temp");
    std::fs::remove_file(&temperature).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&temperature).status().unwrap().success());
    let state = wait_for_state(&web, "no heat", |state| {
        let heat = &state["board"]["temperatures"][0];
        heat["name"] == "soc" && heat["celsius"].is_null() && state["events"].to_string().contains("does not end")
    });
    assert!(state["board"]["process"]["resident_bytes"].as_u64().unwrap() > 1 << 20, "{state:#}");
    std::fs::write(&temperature, "52000").unwrap();
    web.running.stderr.wait_for("sensors: looking again");
    web.running.stop(Signal::TERM).0.expect(0);
}
