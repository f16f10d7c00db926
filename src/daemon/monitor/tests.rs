use std::path::PathBuf;
use std::sync::atomic::Ordering;

use base::clock::ManualClock;
use base::values::Seconds;
use model::{CurrentEdition, LabelMap};
use serde_json::{json, Value};

use super::*;
use crate::config::{LatencyLog as LogConfig, Sync};
use crate::pipeline::testing::{self, ByHand as _, LIMIT};
use crate::pipeline::{EngineStatus, Vitals};
use crate::publish::latency_log::{LatencyLog, RunInfo};
use crate::scene::testing::edition;
use crate::telemetry::sensors::{Causes, Rail, Temperature};
use crate::telemetry::state::Observe as _;
use crate::telemetry::Timings;

const SECOND: Duration = Duration::from_secs(1);

/// The monitor without its thread, over a state that the test moves.
struct Rig {
    monitoring: Monitoring,
    live: Arc<Live>,
    vitals: Arc<Vitals>,
    clock: Arc<ManualClock>,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Rig {
    /// Lines in the log, and records in the latency log, every ten seconds.
    fn new(engines: EngineStatus) -> Self {
        let clock = Arc::new(ManualClock::default());
        // What counts from the start must not look like what counts from the clock's.
        clock.advance(SECOND * 1000);
        let vitals = testing::vitals(engines, &[Some("jsonl"), None, Some("snapshot")]);
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("latency.jsonl");
        let path = log.display().to_string();
        let config = Telemetry {
            interval: Seconds::new(10),
            latency_log: LogConfig { path, interval: Seconds::new(10), sync: Sync::Never, ..LogConfig::default() },
            ..Telemetry::default()
        };
        let about =
            RunInfo { version: "1".to_owned(), model: "m".to_owned(), started: clock.wall(), engine: "cpu".to_owned() };
        let latency_log = LatencyLog::open(&config.latency_log, &about).unwrap();
        let clocks = Arc::clone(&clock) as Arc<dyn Clock>;
        let labels = LabelMap::new(Some(2), None).unwrap();
        let live =
            Live::new(Arc::clone(&vitals), Arc::clone(&clocks), CurrentEdition::new(edition(labels)), Duration::ZERO);
        let live = Arc::new(live.unwrap());
        let journals = latency_log.into_iter().map(|log| Box::new(log) as Box<dyn Journal>).collect();
        let monitoring = Monitoring::new(&live, journals, &config, &clocks);
        Self { monitoring, live, vitals, clock, log, _folder: folder }
    }

    fn cpu() -> Self {
        Self::new(testing::engines("cpu", 0, true))
    }

    /// A look after another second.
    fn look(&mut self) -> Vec<String> {
        self.clock.advance(SECOND);
        self.monitoring.look()
    }

    /// The lines that come in so many seconds.
    fn looks(&mut self, seconds: u32) -> Vec<String> {
        (0..seconds).flat_map(|_| self.look()).collect()
    }

    fn set_board(&self, board: Board) {
        self.live.set_board(board, self.clock.now().after(SECOND * 3600));
    }

    /// Frames whose inference took so long, and three times that from end to end.
    fn publish(&self, frames: u64, infer: Duration) {
        let mut timings = Timings::default();
        timings.set(Stage::Infer, infer);
        timings.set(Stage::EndToEnd, infer * 3);
        (0..frames).for_each(|_| self.vitals.latency.record(&timings));
        self.vitals.counters.published.fetch_add(frames, Ordering::Relaxed);
    }

    /// Adds to every count another number.
    fn count(&self, [frames_in, skipped, corrupt, replaced, inferred, failed]: [u64; 6]) {
        let counters = &self.vitals.counters;
        for (counter, count) in [
            (&counters.frames_in, frames_in),
            (&counters.skipped, skipped),
            (&counters.corrupt, corrupt),
            (&counters.replaced, replaced),
            (&counters.inferred, inferred),
            (&counters.failed, failed),
        ] {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Ends the run; the latency log's records of one kind.
    fn records(mut self, kind: &str) -> Vec<Value> {
        self.monitoring.close_diary();
        self.read(kind)
    }

    fn read(&self, kind: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap();
        let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.filter(|record| record["kind"] == kind).collect()
    }
}

fn board(joules: f64, watts: Option<f64>, throttled: bool) -> Board {
    let rail =
        Rail { name: "vdd_in".to_owned(), source: "hwmon ina219".to_owned(), counted: true, watts, ..Rail::default() };
    let soc = Temperature { name: "soc".to_owned(), celsius: Some(50.0), fault: None };
    let now = Causes { throttled, ..Causes::default() };
    Board {
        rails: vec![rail],
        watts,
        joules: Some(joules),
        temperatures: vec![soc],
        throttle: Some(Throttle { now, has_occurred: now }),
        ..Board::default()
    }
}

#[test]
fn every_record_of_the_latency_log_is_about_its_own_interval() {
    let mut rig = Rig::cpu();
    rig.vitals.turn_camera(CameraState::Running, "told");
    // The first two seconds of ten.
    rig.set_board(board(0.0, Some(4.0), true));
    rig.looks(2);
    rig.set_board(board(20.0, Some(4.0), false));
    rig.looks(3);
    rig.set_board(board(40.0, Some(4.0), false));
    rig.count([101, 102, 103, 104, 105, 106]);
    rig.publish(2, Duration::from_millis(10));
    rig.vitals.drop_results(0, 3);
    rig.vitals.drop_results(2, 2);
    rig.looks(5);
    // Seven of the second, from its start on.
    rig.set_board(board(90.0, Some(5.0), true));
    rig.looks(7);
    rig.set_board(board(95.0, Some(5.0), false));
    rig.count([11, 12, 13, 14, 15, 16]);
    rig.publish(1, Duration::from_millis(30));
    rig.vitals.drop_results(0, 7);
    rig.vitals.turn_camera(CameraState::Waiting, "gone");
    rig.looks(3);
    // Nothing in the third, of which the power is unknown; the fourth is not over.
    rig.set_board(board(95.0, None, false));
    rig.looks(10);
    rig.count([1, 0, 0, 0, 0, 0]);
    rig.looks(4);
    let end = rig.clock.wall();

    let records = rig.records("interval");
    let frames = |[frames_in, skipped, corrupt, replaced, inferred, failed]: [u64; 6], published: u64| {
        json!({"frames_in": frames_in, "skipped": skipped, "corrupt": corrupt, "replaced": replaced,
               "inferred": inferred, "failed": failed, "published": published})
    };
    let none = frames([0; 6], 0);
    let each = |key: &dyn Fn(&Value) -> Value| records.iter().map(key).collect::<Vec<_>>();
    assert_eq!(each(&|record| record["seconds"].clone()), [10.0, 10.0, 10.0, 4.0]);
    let counts = [
        frames([101, 102, 103, 104, 105, 106], 2),
        frames([11, 12, 13, 14, 15, 16], 1),
        none,
        frames([1, 0, 0, 0, 0, 0], 0),
    ];
    assert_eq!(each(&|record| record["frames"].clone()), counts);
    assert_eq!(each(&|record| record["dropped"].clone()), [5, 4, 0, 0]);
    assert_eq!(each(&|record| record["throttled"]["seconds"].clone()), [2.0, 7.0, 0.0, 0.0]);
    assert_eq!(each(&|record| record["power"]["joules"].clone()), [json!(40.0), json!(55.0), Value::Null, Value::Null]);
    let infer = |record: &Value| json!([record["latency"]["infer"]["n"], record["latency"]["infer"]["max_ms"]]);
    let times = each(&infer);
    assert_eq!(times[..2].iter().map(|infer| infer[0].clone()).collect::<Vec<_>>(), [2, 1]);
    assert!(times[0][1].as_f64().unwrap() < 11.0 && times[1][1].as_f64().unwrap() > 29.0, "{times:?}");
    assert_eq!(times[2..], [json!([null, null]), json!([null, null])]);
    assert_eq!(each(&|record| record["camera"].clone()), ["running", "waiting", "waiting", "waiting"]);
    let ends: Vec<jiff::Timestamp> =
        each(&|record| record["time"].clone()).iter().map(|time| time.as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(ends.iter().map(|at| end.as_second() - at.as_second()).collect::<Vec<_>>(), [24, 14, 4, 0]);
}

#[test]
fn where_nothing_tells_of_the_board_records_have_neither_power_nor_throttling() {
    let mut rig = Rig::cpu();
    rig.looks(10);
    let record = &rig.records("interval")[0];
    assert!(record.get("power").is_none() && record.get("throttled").is_none(), "{record}");
}

#[test]
fn what_changes_is_an_event_of_the_latency_log_once() {
    let mut rig = Rig::new(testing::engines("delegate", 1, true));
    rig.looks(2);
    for (state, words) in [(CameraState::Running, "told"), (CameraState::Waiting, "gone"), (CameraState::Paused, "")] {
        rig.vitals.turn_camera(state, words);
        rig.looks(2);
    }
    // While it is being started, nobody knows yet.
    rig.vitals.fail(0, "no library");
    rig.looks(2);
    rig.vitals.bring_up(0);
    rig.looks(2);
    for throttled in [false, true, false] {
        rig.set_board(board(0.0, None, throttled));
        rig.looks(2);
    }
    // The looks at the board have stopped.
    rig.clock.advance(SECOND * 3600);
    rig.looks(2);
    rig.monitoring.close_diary();
    let engine = json!({"kind": "delegate", "workers": 1, "up": 1, "starts": 1, "faults": 1, "fallback_frames": 0});
    assert_eq!(rig.read("interval").last().unwrap()["engine"], engine);
    let events: Vec<String> = rig
        .read("event")
        .iter()
        .map(|event| format!("{} {}: {}", event["what"], event["state"], event["text"]).replace('"', ""))
        .collect();
    let throttle = |state: &str| format!("throttle {state}: throttled now={state} has_occurred={state}");
    let expected = [
        "start running: pspnetd 1".to_owned(),
        "camera running: told".to_owned(),
        "camera waiting: gone".to_owned(),
        "camera paused: ".to_owned(),
        "engine down: no library".to_owned(),
        "engine up: ".to_owned(),
        throttle("none"),
        throttle("throttled"),
        throttle("none"),
        throttle("unknown"),
        "stop stopped: ".to_owned(),
    ];
    assert_eq!(events, expected);
}

#[test]
fn every_window_tells_of_its_own_two_seconds() {
    let mut rig = Rig::cpu();
    rig.set_board(board(0.0, Some(4.5), false));
    let state = rig.live.state();
    assert_eq!((state.fps, state.latency.len()), (None, Stage::ALL.len()));
    let near = |value: Option<f64>, expected: f64| value.is_some_and(|value| (value / expected - 1.0).abs() < 0.002);
    for (published, infer) in [(6, 10), (2, 40)] {
        // One of them takes its time.
        rig.publish(published - 1, Duration::from_millis(infer));
        rig.publish(1, Duration::from_millis(infer * 7));
        rig.look();
        // A look in its middle ends no window.
        rig.look();
        let state = rig.live.state();
        assert_eq!(state.fps, Some(published as f64 / 2.0));
        let [figures, end_to_end] = [Stage::Infer, Stage::EndToEnd].map(|stage| &state.latency[stage as usize]);
        assert_eq!((figures.n, end_to_end.n), (published, published));
        assert!(near(figures.p50_ms, infer as f64) && near(end_to_end.p99_ms, 21.0 * infer as f64), "{state:?}");
        let status = rig.vitals.status();
        let words = format!("{:.1} fps, {}.", published as f64 / 2.0, 3 * infer);
        assert!(status.starts_with(&words) && status.contains(" ms end to end"), "{status}");
    }
    rig.looks(2);
    let history = rig.live.history();
    assert_eq!(history.times, [1002.0, 1004.0, 1006.0]);
    assert_eq!(history.fps, [Some(3.0), Some(1.0), Some(0.0)]);
    let p50 = &history.end_to_end_p50_ms;
    assert!(near(p50[0], 30.0) && near(p50[1], 120.0) && p50[2].is_none(), "{p50:?}");
    let p99 = &history.end_to_end_p99_ms;
    assert!(near(p99[0], 210.0) && near(p99[1], 840.0) && p99[2].is_none(), "{p99:?}");
    assert_eq!((history.watts, history.soc_celsius), (vec![Some(4.5); 3], vec![Some(50.0); 3]));
}

#[test]
fn the_history_keeps_its_newest_points() {
    let mut rig = Rig::cpu();
    for _ in 0..History::POINTS + 5 {
        rig.looks(2);
    }
    let times = rig.live.history().times;
    assert_eq!((times.len(), times[0]), (History::POINTS, 1000.0 + 2.0 * 6.0));
}

#[test]
fn the_logs_lines_are_of_their_own_interval_and_the_table_is_of_the_whole_run() {
    let mut rig = Rig::cpu();
    rig.set_board(board(0.0, Some(4.0), false));
    assert!(rig.looks(9).is_empty());
    rig.count([9, 0, 0, 1, 8, 0]);
    rig.publish(8, Duration::from_millis(10));
    rig.set_board(board(40.0, Some(4.0), false));
    let lines = rig.look();
    let line = |lines: &[String], start: &str| {
        lines.iter().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {lines:?}")).clone()
    };
    assert_eq!(
        lines[0],
        "frames in=9 inferred=8 published=8 replaced=1 skipped=0 corrupt=0 failed=0 fps=0.80 seconds=10.0"
    );
    assert!(line(&lines, "latency stage=infer").starts_with("latency stage=infer n=8 p50_ms=10.0"));
    assert_eq!(line(&lines, "energy"), "energy joules_per_frame=5.000 joules=40.0 frames=8");
    assert_eq!(rig.live.state().joules_per_frame, Some(5.0));
    assert!(!lines.iter().any(|line| line.starts_with("engine")), "{lines:?}");

    rig.count([4, 0, 0, 0, 4, 0]);
    rig.publish(4, Duration::from_millis(20));
    rig.set_board(board(50.0, Some(1.0), false));
    let lines = rig.looks(10);
    assert_eq!(
        lines[0],
        "frames in=4 inferred=4 published=4 replaced=0 skipped=0 corrupt=0 failed=0 fps=0.40 seconds=10.0"
    );
    assert!(line(&lines, "latency stage=infer").starts_with("latency stage=infer n=4 p50_ms=20.0"));
    assert_eq!(line(&lines, "energy"), "energy joules_per_frame=2.500 joules=10.0 frames=4");
    assert_eq!(rig.live.state().joules_per_frame, Some(2.5));

    rig.looks(5);
    let rows = rig.monitoring.run_lines();
    assert!(line(&rows, "infer").starts_with("infer             12      10.0"), "{rows:?}");
    assert_eq!(
        rows.last().unwrap(),
        "frames in=13 inferred=12 published=12 replaced=1 skipped=0 corrupt=0 failed=0 fps=0.48 seconds=25.0"
    );
}

#[test]
fn the_engine_has_a_line_where_there_are_workers_and_none_while_nothing_happens() {
    let mut rig = Rig::new(testing::engines("edgetpu", 2, true));
    rig.vitals.bring_up(1);
    rig.vitals.fail(0, "gone");
    let line = "engine kind=edgetpu workers=2 up=1 faults=1 starts=1 fallback_frames=0";
    assert_eq!(rig.looks(10).last().unwrap(), line);
    assert!(rig.looks(10).is_empty());
    assert_eq!(rig.monitoring.run_lines().last().unwrap(), line);
}

#[test]
fn the_monitors_end_closes_the_latency_log() {
    let rig = Rig::cpu();
    let (finish, finished) = bounded(1);
    let Rig { monitoring, log, _folder, .. } = rig;
    drop::<Sender<()>>(finish);
    monitoring.run(&finished);
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.lines().last().unwrap().contains("\"what\":\"stop\""), "{text}");
}

#[test]
fn a_thread_that_fails_is_over_for_those_who_wait_for_it() {
    let (end, ended) = bounded::<()>(1);
    let fail = move || {
        let _end = end;
        panic!("on purpose");
    };
    spawn("test", "nothing", fail).unwrap();
    assert_eq!(ended.recv_timeout(LIMIT), Err(RecvTimeoutError::Disconnected));
}
