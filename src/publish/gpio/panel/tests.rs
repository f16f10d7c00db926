//! The panel on a board that the test looks at, at times that the test sets.

use base::clock::ManualClock;

use super::super::board::fake::FakeBoard;
use super::*;
use crate::config::Gpio;
use crate::publish::PictureGate;

const LED: u8 = 17;
const RELAY: u8 = 27;
const BUTTON: u8 = 22;

struct Bench {
    panel: Panel,
    board: FakeBoard,
    clock: Arc<ManualClock>,
    requests: Requests,
}

fn config(text: &str) -> Gpio {
    toml::from_str(text).unwrap()
}

const ALL: &str = "heartbeat = 17\nalarm = 27\nalarm_class = 'person'\nalarm_hold = '1s'\nbutton = 22\n";

fn bench(text: &str, board: FakeBoard) -> Bench {
    let clock = Arc::new(ManualClock::default());
    clock.advance(Duration::from_secs(1000));
    let requests = Requests::default();
    let panel =
        Panel::new(&config(text), requests.clone(), Box::new(board.clone()), Arc::clone(&clock) as Arc<dyn Clock>);
    Bench { panel, board, clock, requests }
}

impl Bench {
    fn tick(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.clock.advance(TICK);
            self.panel.tick(self.clock.now());
        }
    }

    fn result(&self, share: f64, is_above: bool) {
        self.panel.readings.note(self.clock.now(), share, is_above);
    }

    fn press(&mut self, high: bool) {
        self.board.drive(BUTTON, high);
        self.tick(10);
        self.board.drive(BUTTON, !high);
        self.tick(10);
    }
}

#[test]
fn outputs_start_inactive_and_are_never_anything_else_before() {
    assert_eq!(bench(ALL, FakeBoard::default()).board.writes(), [(LED, false), (RELAY, false)]);
    let low = bench(&format!("{ALL}alarm_active = 'low'\n"), FakeBoard::default());
    assert_eq!(low.board.writes(), [(LED, false), (RELAY, true)]);
}

#[test]
fn the_relay_follows_the_alarm_in_both_wirings() {
    for (active, level) in [("high", true), ("low", false)] {
        let mut bench = bench(&format!("{ALL}alarm_active = '{active}'\n"), FakeBoard::default());
        bench.result(0.01, false);
        bench.tick(5);
        assert_eq!(bench.board.level(RELAY), Some(!level));
        bench.result(0.2, true);
        bench.tick(1);
        assert_eq!(bench.board.level(RELAY), Some(level));
        bench.result(0.01, false);
        bench.tick(45);
        assert_eq!(bench.board.level(RELAY), Some(level), "held for a second");
        bench.tick(10);
        assert_eq!(bench.board.level(RELAY), Some(!level));
        // Written when it changes, not with every tick.
        assert_eq!(bench.board.writes().iter().filter(|(pin, _)| *pin == RELAY).count(), 3);
    }
}

#[test]
fn the_light_beats_with_the_results_and_is_dark_without() {
    let mut bench = bench(ALL, FakeBoard::default());
    let beats = |bench: &Bench| bench.board.writes().iter().filter(|(pin, _)| *pin == LED).count();
    bench.tick(100);
    assert_eq!(beats(&bench), 1, "only the first level");
    for _ in 0..10 {
        bench.result(0.0, false);
        bench.tick(50);
    }
    assert!((20..=22).contains(&beats(&bench)), "{} changes in ten seconds", beats(&bench));
    bench.tick(250);
    let before = beats(&bench);
    assert_eq!(bench.board.level(LED), Some(false));
    bench.tick(250);
    assert_eq!(beats(&bench), before);
}

#[test]
fn a_press_asks_for_a_snapshot_and_a_release_does_not() {
    for (pull, pressed) in [("up", false), ("down", true)] {
        let mut bench = bench(&format!("{ALL}button_pull = '{pull}'\n"), FakeBoard::default());
        let gate = Arc::clone(&bench.requests.snapshot);
        // Each time the gate is far from due, so that only the button can make it so.
        let mut asked = |level: Option<bool>, ticks| {
            gate.postpone(bench.clock.now().after(Duration::from_secs(3600)));
            level.into_iter().for_each(|high| bench.board.drive(BUTTON, high));
            bench.tick(ticks);
            gate.is_due(bench.clock.now())
        };
        assert!(!asked(None, 20), "{pull}: nobody pressed");
        assert!(!asked(Some(pressed), 2), "{pull}: the contacts may still bounce");
        assert!(asked(None, 1), "{pull}: pressed");
        assert!(!asked(None, 100), "{pull}: held");
        assert!(!asked(Some(!pressed), 20), "{pull}: released");
        assert!(asked(Some(pressed), 20), "{pull}: pressed again");
        assert!(!bench.requests.pause.is_on());
    }
}

#[test]
fn a_button_that_is_held_at_start_counts_only_after_a_release() {
    for (pull, pressed) in [("up", false), ("down", true)] {
        let board = FakeBoard::default();
        board.drive(BUTTON, pressed);
        let mut bench = bench(&format!("{ALL}button_pull = '{pull}'\nbutton_action = 'pause'\n"), board);
        bench.tick(20);
        assert!(!bench.requests.pause.is_on(), "{pull}");
        bench.board.drive(BUTTON, !pressed);
        bench.tick(20);
        assert!(!bench.requests.pause.is_on(), "{pull}");
        bench.board.drive(BUTTON, pressed);
        bench.tick(20);
        assert!(bench.requests.pause.is_on(), "{pull}");
    }
}

#[test]
fn a_press_pauses_and_another_goes_on() {
    let mut bench = bench(&format!("{ALL}button_action = 'pause'\n"), FakeBoard::default());
    bench.press(false);
    assert!(bench.requests.pause.is_on());
    bench.press(false);
    assert!(!bench.requests.pause.is_on());
}

#[test]
fn a_pause_ends_light_and_alarm_at_once_and_for_good() {
    let mut bench = bench(
        &format!("{ALL}button_action = 'pause'\nalarm_hold = '1h'\n").replace("alarm_hold = '1s'\n", ""),
        FakeBoard::default(),
    );
    bench.result(0.9, true);
    bench.tick(2);
    assert_eq!(bench.board.level(RELAY), Some(true));
    bench.press(false);
    assert_eq!((bench.board.level(RELAY), bench.board.level(LED)), (Some(false), Some(false)));
    // A frame that was on its way, and one look later the end of the pause.
    bench.result(0.9, true);
    bench.tick(1);
    assert_eq!(bench.board.level(RELAY), Some(false));
    bench.press(false);
    assert!(!bench.requests.pause.is_on());
    assert_eq!(bench.board.level(RELAY), Some(false), "what was seen before the pause");
    bench.result(0.9, true);
    bench.tick(1);
    assert_eq!(bench.board.level(RELAY), Some(true));
}

#[test]
fn a_busy_pin_costs_its_own_function_only() {
    let with_busy = |pin| bench(ALL, FakeBoard::with_busy(pin));
    let mut bench = with_busy(RELAY);
    bench.result(0.9, true);
    bench.tick(60);
    assert_eq!(bench.board.level(RELAY), None);
    assert!(bench.board.writes().len() > 1, "the heartbeat works");
    let mut bench = with_busy(BUTTON);
    bench.result(0.9, true);
    bench.tick(1);
    assert_eq!(bench.board.level(RELAY), Some(true));
    let bench = with_busy(LED);
    assert!(bench.panel.readings().is_some());
    let bench = self::bench("button = 22\n", FakeBoard::default());
    assert!(bench.panel.readings().is_none(), "a button shows no results");
}

/// A panel with its relay on, in a thread of its own.
fn attended(shutdown: &Shutdown) -> (Attended, FakeBoard, Arc<Readings>) {
    let bench = bench(&format!("{ALL}alarm_active = 'low'\n"), FakeBoard::default());
    bench.result(0.9, true);
    let readings = Arc::clone(&bench.panel.readings);
    let board = bench.board.clone();
    let attended = bench.panel.start(shutdown).unwrap();
    wait_for(|| board.level(RELAY) == Some(false));
    (attended, board, readings)
}

fn wait_for(mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_stop_leaves_the_outputs_inactive_before_it_returns() {
    let (attended, board, _) = attended(&Shutdown::default());
    drop(attended);
    assert_eq!((board.level(RELAY), board.level(LED)), (Some(true), Some(false)));
}

#[test]
fn a_shutdown_leaves_the_outputs_inactive_though_nobody_waits() {
    let shutdown = Shutdown::default();
    let (_attended, board, _) = attended(&shutdown);
    shutdown.pull();
    wait_for(|| board.level(RELAY) == Some(true));
}

#[test]
fn a_thread_that_panics_leaves_the_outputs_inactive() {
    let (_attended, board, _) = attended(&Shutdown::default());
    board.fail();
    wait_for(|| board.level(RELAY) == Some(true));
}

#[test]
fn a_panel_that_never_starts_leaves_the_outputs_inactive() {
    let mut bench = bench(ALL, FakeBoard::default());
    bench.result(0.9, true);
    bench.tick(1);
    assert_eq!(bench.board.level(RELAY), Some(true));
    drop(bench.panel);
    assert_eq!(bench.board.level(RELAY), Some(false));
}
