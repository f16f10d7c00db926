//! Runs and outages of logs, told by their times: minutes of one hour, and seconds.

use super::*;

/// Feeds lines whose times are minutes of one hour: `(minute, run, rest of the record)`.
fn outages(lines: &[(u32, &str, &str)]) -> Vec<(Kind, String, Option<String>, f64)> {
    let shown = |outage: Outage| (outage.kind, minute(outage.from), outage.to.map(minute), outage.seconds);
    taken(lines).finish().1.into_iter().map(shown).collect()
}

fn taken(lines: &[(u32, &str, &str)]) -> Outages {
    let mut outages = Outages::default();
    for (minute, run, rest) in lines {
        let line = format!(r#"{{"time":"2026-11-22T10:{minute:02}:00Z","run":"{run}",{rest}}}"#);
        outages.take(&serde_json::from_str(&line).unwrap());
    }
    outages
}

fn minute(time: Timestamp) -> String {
    time.strftime("%M:%S").to_string()
}

/// The same as words: `camera 03:00-08:00 300 no camera`.
fn words(lines: &[(u32, &str, &str)]) -> Vec<String> {
    let shown = |outage: Outage| {
        let (from, to) = (minute(outage.from), outage.to.map_or_else(|| "lasts".to_owned(), minute));
        format!("{} {from}-{to} {} {}", outage.kind.short_name(), outage.seconds, outage.text).trim_end().to_owned()
    };
    taken(lines).finish().1.into_iter().map(shown).collect()
}

/// The runs as words: `a 00:00-02:00 stopped pi 1.2.3 m cpu`.
fn runs(lines: &[(u32, &str, &str)]) -> Vec<String> {
    let shown = |run: Run| {
        let Run { run: name, host, version, model, engine, from, to, is_stopped, .. } = run;
        let end = if is_stopped { "stopped" } else { "goes on" };
        let words = format!("{name} {}-{} {end} {host} {version} {model} {engine}", minute(from), minute(to));
        words.trim_end().to_owned()
    };
    taken(lines).finish().0.into_iter().map(shown).collect()
}

const START: &str = r#""kind":"event","what":"start","uptime":0"#;
const STOP: &str = r#""kind":"event","what":"stop","state":"stopped","text":"SIGTERM""#;
const MINUTE: &str = r#""kind":"interval","seconds":60,"camera":"running""#;
const WAITING: &str = r#""kind":"event","what":"camera","state":"waiting","text":"no camera""#;
const RUNNING: &str = r#""kind":"event","what":"camera","state":"running","text":"cam""#;

fn at(text: &str) -> String {
    format!("{text}:00")
}

#[test]
fn a_run_without_trouble_has_no_outage() {
    assert_eq!(outages(&[(0, "a", START), (1, "a", MINUTE), (2, "a", MINUTE), (2, "a", STOP)]), []);
}

#[test]
fn a_camera_that_goes_and_comes_is_one_outage() {
    let found = outages(&[(0, "a", START), (3, "a", WAITING), (5, "a", WAITING), (8, "a", RUNNING)]);
    assert_eq!(found, [(Kind::Camera, at("03"), Some(at("08")), 300.0)]);
}

#[test]
fn what_still_lasts_has_no_end() {
    let found = outages(&[
        (0, "a", START),
        (3, "a", WAITING),
        (5, "a", r#""kind":"interval","seconds":300,"camera":"waiting""#),
    ]);
    assert_eq!(found, [(Kind::Camera, at("03"), None, 120.0)]);
}

#[test]
fn between_two_runs_the_daemon_was_not_running() {
    let found = outages(&[(0, "b", START), (1, "b", MINUTE), (1, "b", STOP), (7, "a", START), (8, "a", MINUTE)]);
    assert_eq!(found, [(Kind::Daemon, at("01"), Some(at("07")), 360.0)]);
}

#[test]
fn what_was_open_when_the_power_went_ends_there() {
    let found = outages(&[(0, "b", START), (1, "b", WAITING), (7, "a", START), (8, "a", RUNNING)]);
    let camera = (Kind::Camera, at("01"), Some(at("01")), 0.0);
    assert_eq!(found, [(Kind::Daemon, at("01"), Some(at("07")), 360.0), camera]);
}

#[test]
fn a_hole_between_records_is_told() {
    let found = outages(&[(0, "a", START), (1, "a", MINUTE), (4, "a", MINUTE)]);
    assert_eq!(found, [(Kind::Missing, at("01"), Some(at("03")), 120.0)]);
}

#[test]
fn a_clock_that_is_set_is_no_hole() {
    let after = |uptime: u32| format!(r#""uptime":{uptime},{MINUTE}"#);
    let found = outages(&[(0, "a", START), (1, "a", &after(60)), (30, "a", &after(120)), (5, "a", &after(180))]);
    let jumps = [(Kind::Clock, at("01"), Some(at("29")), 1680.0), (Kind::Clock, at("04"), Some(at("30")), 1560.0)];
    assert_eq!(found, jumps);
    // It was set between the start and the first record.
    let found = outages(&[(0, "a", START), (11, "a", &after(60))]);
    assert_eq!(found, [(Kind::Clock, at("00"), Some(at("10")), 600.0)]);
}

#[test]
fn an_engine_that_is_down_is_seen_without_its_event_too() {
    let up = |n: u32| format!(r#"{MINUTE},"engine":{{"kind":"edgetpu","workers":1,"up":{n}}}"#);
    let found = outages(&[(0, "a", START), (1, "a", &up(1)), (2, "a", &up(0)), (3, "a", &up(0)), (4, "a", &up(1))]);
    assert_eq!(found, [(Kind::Engine, at("01"), Some(at("04")), 180.0)]);
}

#[test]
fn throttling_has_its_causes() {
    let throttle = |state: &str| format!(r#""kind":"event","what":"throttle","state":"{state}""#);
    let found = outages(&[(0, "a", START), (2, "a", &throttle("under_voltage")), (4, "a", &throttle("none"))]);
    assert_eq!(found, [(Kind::Throttled, at("02"), Some(at("04")), 120.0)]);
}

#[test]
fn a_board_that_tells_nothing_of_throttling_is_not_throttled() {
    let throttle = |state: &str| format!(r#""kind":"event","what":"throttle","state":"{state}""#);
    assert_eq!(outages(&[(0, "a", START), (2, "a", &throttle("unknown")), (4, "a", &throttle("none"))]), []);
}

#[test]
fn every_kind_has_its_names() {
    let names = Kind::ALL.map(|kind| (kind.name(), kind.short_name(), serde_json::to_value(kind).unwrap()));
    let expected = [
        ("daemon not running", "daemon", "daemon"),
        ("camera away", "camera", "camera"),
        ("paused", "paused", "paused"),
        ("engine down", "engine", "engine"),
        ("throttled", "throttled", "throttled"),
        ("records missing", "no record", "missing"),
        ("clock jumped", "clock", "clock"),
    ];
    assert_eq!(names, expected.map(|(name, short, json)| (name, short, json.into())));
}

#[test]
fn a_run_lasts_from_the_beginning_of_its_first_record_to_its_last() {
    let start = format!(r#"{START},"host":"pi","version":"1.2.3","model":"m","engine":{{"kind":"edgetpu"}}"#);
    let interval = |seconds: u32| format!(r#""kind":"interval","seconds":{seconds},"engine":{{"kind":"delegate"}}"#);
    for (lines, expected) in [
        // Its start stands in a file that is gone.
        (&[(5, "a", interval(120).as_str()), (7, "a", &interval(120))][..], "a 03:00-07:00 goes on    delegate"),
        (&[(2, "a", &start), (3, "a", &interval(60))], "a 02:00-03:00 goes on pi 1.2.3 m edgetpu"),
        (&[(2, "a", &start), (3, "a", &interval(60)), (4, "a", STOP)], "a 02:00-04:00 stopped pi 1.2.3 m edgetpu"),
        (&[(2, "a", WAITING), (3, "a", &interval(60))], "a 02:00-03:00 goes on    delegate"),
        // A clock that was set back doesn't make it shorter.
        (&[(2, "a", &start), (9, "a", RUNNING), (3, "a", RUNNING)], "a 02:00-09:00 goes on pi 1.2.3 m edgetpu"),
        (&[(2, "\\u001b", RUNNING)], "\\u{1b} 02:00-02:00 goes on"),
    ] {
        assert_eq!(runs(lines), [expected]);
    }
    // By their time, and not by their names.
    assert_eq!(runs(&[(3, "a", STOP), (2, "b", STOP)]), ["b 02:00-02:00 stopped", "a 03:00-03:00 stopped"]);
}

#[test]
fn a_record_at_the_head_of_a_file_has_no_hole_before_it() {
    assert_eq!(words(&[(9, "a", MINUTE), (10, "a", MINUTE)]), [""; 0]);
    // Between the start and the first record there is one.
    assert_eq!(words(&[(0, "a", START), (4, "a", MINUTE)]), ["no record 00:00-03:00 180 lost, or damaged in the file"]);
}

#[test]
fn between_two_runs_of_a_board_it_is_told_how_the_first_ended() {
    let start = |host: &str| format!(r#"{START},"host":"{host}""#);
    let (pi, other) = (start("pi"), start("other"));
    const STOPPED: &str = r#""kind":"event","what":"stop","state":"stopped","text":"""#;
    const DIED: &str = "ended without a word after this time: power cut, crash, or killed";
    let (one, two) = ((0, "a", pi.as_str()), (7, "b", pi.as_str()));
    for (lines, expected) in [
        (&[one, (3, "a", STOP), two][..], &["daemon 03:00-07:00 240 stopped: SIGTERM"][..]),
        (&[one, (3, "a", STOPPED), two], &["daemon 03:00-07:00 240 stopped"]),
        (&[one, (3, "a", RUNNING), two], &[&format!("daemon 03:00-07:00 240 {DIED}")]),
        // It may have no length, but not less than that: then the runs overlap.
        (&[one, (7, "a", STOP), two], &["daemon 07:00-07:00 0 stopped: SIGTERM"]),
        (&[one, (8, "a", STOP), two], &[]),
        // Boards are kept apart.
        (&[one, (3, "a", STOP), (7, "b", &other)], &[]),
        (
            &[one, (3, "a", STOP), (1, "c", &other), (4, "c", STOP), (5, "d", &other), two],
            &["daemon 03:00-07:00 240 stopped: SIGTERM", "daemon 04:00-05:00 60 stopped: SIGTERM"],
        ),
        // Of runs that overlap the one counts that ended last.
        (&[one, (5, "a", STOP), (1, "c", &pi), (2, "c", STOPPED), two], &["daemon 05:00-07:00 120 stopped: SIGTERM"]),
        (&[one, (2, "a", STOP), (1, "c", &pi), (2, "c", STOPPED), two], &["daemon 02:00-07:00 300 stopped"]),
    ] {
        assert_eq!(words(lines), expected);
    }
}

#[test]
fn what_lasts_at_the_end_of_a_run_lasts_only_where_it_is_the_last_of_its_board() {
    let start = |host: &str| format!(r#"{START},"host":"{host}""#);
    let (pi, other) = (start("pi"), start("other"));
    let (first, second) = ([(0, "a", pi.as_str()), (1, "a", WAITING), (3, "a", STOP)], (4, "b", pi.as_str()));
    let (ended, stopped) = ("camera 01:00-03:00 120 no camera", "daemon 03:00-04:00 60 stopped: SIGTERM");
    assert_eq!(words(&first), ["camera 01:00-lasts 120 no camera"]);
    assert_eq!(words(&[&first[..], &[second]].concat()), [ended, stopped]);
    // Another board's log ends at the same moment.
    let other = [(1, "c", other.as_str()), (2, "c", WAITING), (3, "c", WAITING)];
    let expected = [ended, "camera 02:00-lasts 60 no camera", stopped];
    assert_eq!(words(&[&first[..], &[second], &other].concat()), expected);
}

#[test]
fn outages_are_told_by_the_records_of_intervals_where_events_are_missing() {
    let camera = |state: &str| format!(r#""kind":"interval","seconds":60,"camera":"{state}""#);
    let engine = |workers: u32, up: u32| {
        let engine = format!(r#"{{"kind":"edgetpu","workers":{workers},"up":{up},"reason":"no answer"}}"#);
        format!(r#""kind":"interval","seconds":60,"engine":{engine}"#)
    };
    let lines = |one: String, two: String| words(&[(0, "a", START), (1, "a", MINUTE), (2, "a", &one), (3, "a", &two)]);
    for (one, two, expected) in [
        (camera("waiting"), camera("running"), &["camera 01:00-03:00 120"][..]),
        (camera("opening"), camera("running"), &["camera 01:00-03:00 120"]),
        (camera("paused"), camera("running"), &["paused 01:00-03:00 120"]),
        (camera("paused"), camera("waiting"), &["paused 01:00-03:00 120", "camera 02:00-lasts 60"]),
        (engine(2, 0), engine(2, 1), &["engine 01:00-03:00 120 no answer"]),
        (engine(1, 1), engine(1, 0), &["engine 02:00-lasts 60 no answer"]),
        // The CPU alone has no worker that could be up.
        (engine(0, 0), engine(0, 0), &[]),
    ] {
        assert_eq!(lines(one, two), expected);
    }
}

#[test]
fn events_begin_and_end_outages_of_their_kind() {
    let event = |what: &str, state: &str, text: &str| {
        format!(r#""kind":"event","what":"{what}","state":"{state}","text":"{text}""#)
    };
    let (opening, waiting, running, paused) = (
        event("camera", "opening", ""),
        event("camera", "waiting", ""),
        event("camera", "running", ""),
        event("camera", "paused", "by hand"),
    );
    let (down, down_why, up) = (event("engine", "down", ""), event("engine", "down", "why"), event("engine", "up", ""));
    for (lines, expected) in [
        (&[(1, "a", waiting.as_str()), (2, "a", &opening), (3, "a", &running)][..], &["camera 01:00-03:00 120"][..]),
        (&[(1, "a", &running), (2, "a", &opening), (3, "a", &running)], &[]),
        (
            &[(1, "a", &paused), (2, "a", &waiting), (4, "a", &running)],
            &["paused 01:00-02:00 60 by hand", "camera 02:00-04:00 120"],
        ),
        // The reason may come later; the first that is known stays.
        (&[(1, "a", &down), (2, "a", &down_why), (3, "a", &up)], &["engine 01:00-03:00 120 why"]),
        (
            &[
                (1, "a", &waiting),
                (2, "a", WAITING),
                (3, "a", &event("camera", "waiting", "other")),
                (4, "a", &running),
            ],
            &["camera 01:00-04:00 180 no camera"],
        ),
        // A clock that was set back makes no outage of less than nothing.
        (&[(5, "a", &down), (3, "a", &up)], &["engine 05:00-05:00 0"]),
        (&[(1, "a", &event("weather", "waiting", "rain"))], &[]),
    ] {
        assert_eq!(words(lines), expected);
    }
}

#[test]
fn a_hole_is_longer_than_two_seconds_and_a_tenth_of_the_interval() {
    // After a record that ends at 10:01:00, one of a minute with a hole of so many seconds before it, by both clocks.
    let told = |by_clock: u32, by_uptime: u32| {
        let mut outages = taken(&[(0, "a", START), (1, "a", &format!(r#""uptime":60,{MINUTE}"#))]);
        let uptime = 120 + by_uptime;
        let line = format!(r#"{{"time":"2026-11-22T10:02:{by_clock:02}Z","run":"a","uptime":{uptime},{MINUTE}}}"#);
        outages.take(&serde_json::from_str(&line).unwrap());
        outages.finish().1.into_iter().map(|it| (it.kind, it.seconds, it.text)).collect::<Vec<_>>()
    };
    let missing = |seconds: f64| (Kind::Missing, seconds, "lost, or damaged in the file".to_owned());
    let clock = |seconds: f64, how: &str| (Kind::Clock, seconds, how.to_owned());
    assert_eq!(told(8, 8), []);
    assert_eq!(told(9, 9), [missing(9.0)]);
    assert_eq!(told(8, 0), []);
    assert_eq!(told(9, 0), [clock(9.0, "set forward, or the board slept")]);
    assert_eq!(told(0, 8), []);
    assert_eq!(told(0, 9), [missing(9.0), clock(9.0, "set back")]);
    assert_eq!(told(9, 17), [missing(17.0)]);
}

#[test]
fn outages_are_in_the_order_of_their_beginnings() {
    let throttled = r#""kind":"event","what":"throttle","state":"throttled""#;
    let lines = [(3, "a", throttled), (3, "a", WAITING), (1, "b", WAITING), (2, "b", RUNNING)];
    assert_eq!(
        words(&lines),
        [
            "camera 01:00-02:00 60 no camera",
            "daemon 02:00-03:00 60 ended without a word after this time: power cut, crash, or killed",
            "camera 03:00-lasts 0 no camera",
            "throttled 03:00-lasts 0 throttled"
        ]
    );
}

#[test]
fn more_outages_than_a_list_holds_are_only_counted() {
    let mut outages = Outages::default();
    let time = Timestamp::UNIX_EPOCH;
    for n in 0..2 * 20_003 {
        let state = Some(if n % 2 == 0 { "waiting" } else { "running" }.to_owned());
        let what = Some("camera".to_owned());
        outages.take(&Record { what, state, ..Record::new(time, "event".into(), "a".into()) });
    }
    assert_eq!((outages.uncounted, outages.finish().1.len()), (3, 20_000));
}
