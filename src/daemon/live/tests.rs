use base::clock::ManualClock;
use model::{LabelMap, Manifest};
use pixels::frame::Size;

use super::*;
use crate::pipeline::testing::{self, ByHand as _};
use crate::pipeline::EngineStatus;
use crate::scene::testing::edition;
use crate::telemetry::sensors::{Causes, Temperature, Throttle};
use crate::telemetry::Timings;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// A state that the test moves, and the sink that notes its results.
struct Rig {
    live: Live,
    vitals: Arc<Vitals>,
    clock: Arc<ManualClock>,
    sink: SeenSink,
    editions: CurrentEdition,
}

impl Rig {
    fn new(engines: EngineStatus, sinks: &[Option<&'static str>], labels: LabelMap, frame_time: Duration) -> Self {
        let clock = Arc::new(ManualClock::default());
        clock.advance(SECOND * 1000);
        let vitals = testing::vitals(engines, sinks);
        let editions = CurrentEdition::new(edition(labels));
        let clocks = Arc::clone(&clock) as Arc<dyn Clock>;
        let live = Live::new(Arc::clone(&vitals), clocks, editions.clone(), frame_time).unwrap();
        let sink = live.sink();
        Self { live, vitals, clock, sink, editions }
    }

    /// A camera that runs, with frames so far apart.
    fn running(frame_time: Duration) -> Self {
        let labels = LabelMap::new(Some(3), None).unwrap();
        let rig = Self::new(testing::engines("cpu", 0, true), &[Some("jsonl")], labels, frame_time);
        rig.vitals.turn_camera(CameraState::Running, "told");
        rig
    }

    /// A result of now: so many pixels of each class.
    fn publish(&mut self, sequence: u64, pixels: &[(usize, u64)]) {
        let mut outcome = Outcome::empty(self.editions.now()).seen(pixels).sized(Size::new(20, 10), 0, None);
        outcome.summary.confidence = Some(0.123_456);
        outcome.sequence = sequence;
        self.sink.publish(&outcome);
    }

    /// Whether it is ready, and why not.
    #[track_caller]
    fn reasons(&self) -> Vec<String> {
        let State { ready, reasons, .. } = self.live.state();
        assert_eq!(ready, reasons.is_empty(), "{reasons:?}");
        reasons
    }
}

#[test]
fn it_is_ready_while_results_come() {
    // Frames that come more rarely by themselves may be three times as old.
    for (frame_time, stale) in [(Duration::ZERO, STALE), (SECOND, STALE), (SECOND * 20, SECOND * 60)] {
        let mut rig = Rig::running(frame_time);
        assert_eq!(rig.reasons(), ["no result yet"]);
        for sequence in 0..2 {
            rig.publish(sequence, &[(0, 1)]);
            assert!(rig.reasons().is_empty());
            rig.clock.advance(stale);
            assert!(rig.reasons().is_empty(), "{frame_time:?}");
            rig.clock.advance(MS);
            assert_eq!(rig.reasons(), [format!("no result for {} s", stale.as_secs())]);
            rig.clock.advance(SECOND * 3600);
            assert_eq!(rig.reasons(), [format!("no result for {} s", stale.as_secs() + 3600)]);
        }
    }
}

#[test]
fn it_says_what_it_waits_for() {
    let mut rig =
        Rig::new(testing::engines("edgetpu", 2, false), &[], LabelMap::new(Some(3), None).unwrap(), Duration::ZERO);
    assert_eq!(rig.reasons(), ["the camera is being opened", "no result yet", "engine: waiting for edgetpu"]);
    rig.vitals.turn_camera(CameraState::Waiting, "no such device");
    assert_eq!(rig.reasons()[0], "camera: waiting: no such device");
    rig.vitals.turn_camera(CameraState::Running, "told");
    rig.vitals.bring_up(0);
    rig.vitals.fail(1, "gone");
    assert_eq!(rig.reasons(), ["no result yet", "engine: 1 of 2 edgetpu (gone)"]);
    rig.publish(0, &[]);
    assert!(rig.reasons().is_empty(), "the other worker does");
    rig.clock.advance(STALE + SECOND);
    assert_eq!(rig.reasons(), ["no result for 11 s", "engine: 1 of 2 edgetpu (gone)"]);
    rig.vitals.bring_up(1);
    assert_eq!(rig.reasons(), ["no result for 11 s"]);
    // Also while the last result is new.
    rig.publish(1, &[]);
    rig.vitals.turn_camera(CameraState::Paused, "");
    assert_eq!(rig.reasons(), ["camera: paused"]);
}

#[test]
fn it_lives_while_every_stage_goes_round() {
    let rig = Rig::running(Duration::ZERO);
    for (place, stage) in ["capture", "infer", "publish"].into_iter().enumerate() {
        rig.vitals.beat_all_but(None, 1, rig.clock.now());
        assert_eq!(rig.live.liveness(), Ok(()));
        rig.clock.advance(HANGS);
        rig.vitals.beat_all_but(Some(place), 1, rig.clock.now());
        assert_eq!(rig.live.liveness(), Ok(()));
        rig.clock.advance(MS);
        let hangs = Err(format!("the {stage} stage has not answered for 30 s"));
        assert_eq!(rig.live.liveness(), hangs);
    }
}

#[test]
fn the_state_has_the_last_result_and_its_age() {
    let classes: String = ["car", "road", "bus"]
        .map(|name| {
            format!("[[classes]]\nname = '{name}'\ngroup = '{}'\n", if name == "road" { "flat" } else { "vehicle" })
        })
        .concat();
    let manifest: Manifest = toml::from_str(&format!("name = 'm'\n{classes}")).unwrap();
    let labels = LabelMap::new(Some(3), Some(&manifest)).unwrap();
    let mut rig = Rig::new(testing::engines("cpu", 0, true), &[], labels, Duration::ZERO);
    assert_eq!(rig.live.state().result, None);
    rig.publish(6, &[(1, 200)]);
    rig.publish(7, &[(0, 50), (1, 100), (2, 25), (255, 25)]);
    rig.clock.advance(MS * 2500);
    let state = rig.live.state();
    let result = state.result.unwrap();
    assert_eq!((result.sequence, result.time, result.age_seconds), (7, Timestamp::UNIX_EPOCH, 2.5));
    assert_eq!((result.width, result.height, result.confidence), (20, 10, Some(0.1235)));
    let area = |name: &str, share| Area { name: name.to_owned(), share };
    assert_eq!(result.classes, [area("car", 0.25), area("road", 0.5), area("bus", 0.125), area("void", 0.125)]);
    assert_eq!(result.groups, [area("vehicle", 0.375), area("flat", 0.5)]);
    let started = (state.program.started.as_second(), state.program.uptime_seconds, state.time.as_millisecond());
    assert_eq!(started, (1000, 2.5, 1_002_500));
    assert_eq!(state.program.pid, std::process::id());
}

#[test]
fn classes_whose_number_is_unknown_are_those_that_were_seen() {
    let mut rig = Rig::new(testing::engines("cpu", 0, true), &[], LabelMap::new(None, None).unwrap(), Duration::ZERO);
    assert_eq!(rig.live.state().model.classes, []);
    rig.publish(0, &[(2, 5), (254, 1)]);
    let [two, last] = &rig.live.state().model.classes[..] else { panic!("two classes") };
    assert_eq!((two.id, two.name.as_str(), last.id, last.name.as_str()), (2, "class_2", 254, "class_254"));
    let [red, green, blue] = rig.editions.now().labels.color(2);
    assert_eq!(two.color, format!("#{red:02x}{green:02x}{blue:02x}"));
    let known = Rig::running(Duration::ZERO);
    assert_eq!(known.live.state().model.classes.iter().map(|class| class.id).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_history_point_has_the_shares_of_the_last_result_where_there_was_one() {
    let mut rig = Rig::running(Duration::ZERO);
    rig.live.close_window(0.0, Vec::new());
    rig.publish(0, &[(0, 3), (2, 1)]);
    rig.live.close_window(1.234_567, Vec::new());
    rig.clock.advance(SECOND * 2);
    rig.live.close_window(0.0, Vec::new());
    let history = rig.live.history();
    let values: Vec<_> = history.classes.iter().map(|series| (series.name.as_str(), series.values.clone())).collect();
    let seen = |share| vec![None, Some(share), None];
    assert_eq!(values, [("class_0", seen(0.75)), ("class_1", seen(0.0)), ("class_2", seen(0.25))]);
    assert_eq!((history.fps, history.times), (vec![Some(0.0), Some(1.23), Some(0.0)], vec![1000.0, 1000.0, 1002.0]));
    assert_eq!((history.end_to_end_p50_ms, history.watts), (vec![None; 3], vec![None; 3]));
}

#[test]
fn the_board_is_known_until_the_next_look_is_overdue() {
    let rig = Rig::running(Duration::ZERO);
    assert!(rig.live.board().is_none() && !rig.live.is_board_lost());
    let throttle = Throttle { now: Causes { throttled: true, ..Causes::default() }, ..Throttle::default() };
    let soc = Temperature { name: "soc".to_owned(), celsius: Some(50.0), fault: None };
    let board = Board {
        watts: Some(4.0),
        joules: Some(8.0),
        temperatures: vec![soc],
        throttle: Some(throttle),
        ..Board::default()
    };
    rig.live.set_board(board.clone(), rig.clock.now().after(SECOND));
    rig.clock.advance(SECOND);
    assert_eq!(rig.live.board(), Some(board));
    assert!(!rig.live.is_board_lost());
    rig.clock.advance(MS);
    assert!(rig.live.is_board_lost());
    let board = rig.live.state().board.unwrap();
    assert_eq!((board.watts, board.soc_celsius(), board.throttle, board.joules), (None, None, None, Some(8.0)));
}

#[test]
fn the_latency_log_counts_once_among_the_sinks() {
    let sinks = |names: &[Option<&'static str>]| {
        let labels = LabelMap::new(Some(3), None).unwrap();
        let rig = Rig::new(testing::engines("cpu", 0, true), names, labels, Duration::ZERO);
        rig.vitals.drop_results(0, 2);
        rig.vitals.drop_results(1, 3);
        let sinks = |live: &Live| -> Vec<(String, u64)> {
            live.state().sinks.into_iter().map(|sink| (sink.name, sink.dropped)).collect()
        };
        let before = sinks(&rig.live);
        rig.live.set_lost("latency_log", 39);
        rig.live.set_lost("latency_log", 40);
        (before, sinks(&rig.live))
    };
    let named = |lost: &[(&str, u64)]| lost.iter().map(|(name, lost)| ((*name).to_owned(), *lost)).collect::<Vec<_>>();
    let (before, after) = sinks(&[Some("jsonl"), Some("latency_log")]);
    assert_eq!(before, named(&[("jsonl", 2), ("latency_log", 3)]));
    assert_eq!(after, named(&[("jsonl", 2), ("latency_log", 43)]));
    let (before, after) = sinks(&[Some("jsonl"), None]);
    assert_eq!(before, named(&[("jsonl", 2)]));
    assert_eq!(after, named(&[("jsonl", 2), ("latency_log", 40)]));
}

#[test]
fn the_state_says_what_runs_the_model() {
    let labels = LabelMap::new(Some(3), None).unwrap();
    let rig = Rig::new(testing::engines("edgetpu", 3, true), &[], labels, Duration::ZERO);
    rig.vitals.bring_up(0);
    rig.vitals.bring_up(2);
    rig.vitals.fail(1, "gone");
    (0..4).for_each(|_| rig.vitals.fall_back());
    let expected = EngineState {
        kind: "edgetpu".to_owned(),
        workers: 3,
        up: 2,
        reason: Some("gone".to_owned()),
        faults: 1,
        starts: 2,
        fallback_frames: 4,
    };
    assert_eq!(rig.live.state().engine, expected);
}

#[test]
fn buckets_have_every_frame_since_the_start() {
    let rig = Rig::running(Duration::ZERO);
    for round in 1..=2 {
        let mut timings = Timings::default();
        timings.set(crate::telemetry::Stage::Infer, MS * 30);
        rig.vitals.latency.record(&timings);
        let buckets = rig.live.buckets(&[0.01, 0.1]);
        let infer = buckets.iter().find(|stage| stage.stage == "infer").unwrap();
        assert_eq!((infer.count, infer.counts.as_slice()), (round, &[0, round, 0][..]));
    }
}
