//! Lines of the text log, one by one, and the records that they become.

use super::*;

#[test]
fn every_form_of_a_line_has_its_time_and_message() {
    let at: Timestamp = "2026-11-22T22:16:25Z".parse().unwrap();
    for line in [
        "[2026-11-22T22:16:25Z INFO ] frames in=3",
        "2026-11-22T22:16:25+0000 pi pspnetd[77]: frames in=3",
        "2026-11-22T23:16:25+01:00 pi pspnetd[77]: frames in=3",
    ] {
        let Split { time, is_yearless, message } = split(line);
        assert_eq!((time, is_yearless, message), (Some(at), false, "frames in=3"), "{line}");
    }
    for line in ["frames in=3", "<6>frames in=3"] {
        assert!(matches!(split(line), Split { time: None, is_yearless: false, message: "frames in=3" }), "{line}");
    }
    let short = split("Feb  2 22:16:25 pi pspnetd[77]: camera: waiting: x");
    let words = short.time.unwrap().strftime("%m-%d %H:%M:%S").to_string();
    assert_eq!((words.as_str(), short.is_yearless), ("02-02 22:16:25", true));
    assert_eq!(short.message, "camera: waiting: x");
    assert_eq!(split("camera: waiting: x").message, "camera: waiting: x");
}

#[test]
fn no_line_makes_it_panic() {
    let mut lines = LogLines::default();
    for line in [
        "",
        "[",
        "[]",
        "<",
        "<6>",
        "é é é é é é é é",
        "stage p50 ms",
        "frames",
        "infer 1 2 3 4 nan",
        "throttled now=",
        "frames in=1 inferred=1 published=1 replaced=0 skipped=0 corrupt=0 failed=0 fps=1 seconds=1e300",
        "frames in=18446744073709551615 inferred=1 published=1 replaced=0 skipped=0 corrupt=0 failed=0 seconds=-1",
        "latency stage=infer n=-1 p50_ms=inf",
        "thermal sensor=",
        "camera:",
        "power rail=total watts=nan joules=1e999",
    ] {
        let _ = lines.take(line.as_bytes(), &mut Vec::new());
    }
}

const FRAMES: &str = "frames in=1 inferred=2 published=3 replaced=4 skipped=5 corrupt=6 failed=7 fps=0.30 seconds=10.0";
const START: &str = "pspnetd 0.1.0, configuration /etc/pspnetd/pspnetd.toml";

/// Feeds lines that begin with the seconds of a minute; the records as words.
fn told(lines: &[(u32, &str)]) -> Vec<String> {
    let stamped = lines.iter().map(|(second, line)| format!("[2026-11-22T10:00:{second:02}.000Z INFO ] {line}"));
    taken(&stamped.collect::<Vec<_>>()).1
}

/// The state after these lines, and the records as words.
fn taken(lines: &[String]) -> (LogLines, Vec<String>) {
    let (mut all, mut records) = (LogLines::default(), Vec::new());
    for line in lines {
        assert!(all.take(line.as_bytes(), &mut records), "{line}");
    }
    records.extend(all.finish());
    assert!(all.finish().is_none());
    (all, records.iter().map(words).collect())
}

fn words(record: &Record<'_>) -> String {
    let time = record.time.strftime("%M:%S");
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    if record.kind == "event" {
        let words = [&record.what, &record.state, &record.text, &record.version].map(text).join(" ");
        return format!("{} {time} {}", record.run, words.trim_end());
    }
    assert!(record.is_told && record.kind == "interval");
    let Counts { frames_in, skipped, corrupt, replaced, inferred, failed, published } = record.frames.unwrap().into();
    let counts = [frames_in, inferred, published, replaced, skipped, corrupt, failed].map(|count| count.to_string());
    let mut words = format!("{} {time} {} s: {}", record.run, record.seconds.unwrap(), counts.join(" "));
    for StageLine { stage, n, p50_ms, p99_ms, max_ms } in &record.stages {
        words += &format!(", {} {n} {p50_ms} {p99_ms} {max_ms}", Stage::ALL[*stage].name());
    }
    if let Some(Power { watts, joules }) = record.power {
        words += &format!(", {watts:?} W {joules:?} J");
    }
    record.celsius.iter().for_each(|(name, celsius)| words += &format!(", {name} {celsius:?}"));
    if let Some(Throttled { seconds }) = record.throttled {
        words += &format!(", throttled {seconds}");
    }
    if let Some(EngineRecord { kind, workers, up, reason }) = &record.engine {
        words += &format!(", {kind} {workers} {up} {reason:?}");
    }
    words + if record.is_idle { ", idle" } else { "" }
}

#[test]
fn the_lines_of_an_interval_become_one_record() {
    let lines = [
        (0, START),
        (10, FRAMES),
        (10, "latency stage=sensor n=0"),
        (10, "latency stage=infer n=9 p50_ms=1.5 p90_ms=2.5 p99_ms=3.5 max_ms=4.5"),
        (10, "latency stage=end_to_end n=8 p50_ms=5.5 p90_ms=6.5 p99_ms=7.5 max_ms=8.5"),
        (10, "power rail=total watts=4.0 joules=40.5"),
        (10, "thermal sensor=soc celsius=51.0"),
        (10, "thermal sensor=apex_0 celsius=unknown"),
        (10, "engine kind=edgetpu workers=3 up=2 faults=4 starts=5 fallback_frames=6"),
        (20, "frames in=0 inferred=0 published=0 replaced=0 skipped=0 corrupt=0 failed=0 fps=0.00 seconds=10.0"),
        (20, "power rail=total watts=unknown joules=unknown"),
        (30, "pspnetd 0.2.0, no configuration file: defaults"),
    ];
    let expected = [
        "log 1 00:00 start running  0.1.0",
        "log 1 00:10 10 s: 1 2 3 4 5 6 7, infer 9 1.5 3.5 4.5, end_to_end 8 5.5 7.5 8.5, Some(4.0) W Some(40.5) J, \
         apex_0 None, soc Some(51.0), edgetpu 3 2 None",
        "log 1 00:20 10 s: 0 0 0 0 0 0 0, None W None J, idle",
        "log 2 00:30 start running  0.2.0",
    ];
    assert_eq!(told(&lines), expected);
    // A log that begins in the middle of a run is one of the first.
    assert_eq!(told(&[(10, FRAMES)]), ["log 1 00:10 10 s: 1 2 3 4 5 6 7"]);
}

#[test]
fn other_lines_tell_nothing() {
    for line in [
        "",
        "{\"time\":1}",
        "sensors: none",
        "pspnetd is told to stop",
        "frames in=1 inferred=2",
        &FRAMES.replace("seconds=10.0", "seconds=long"),
        &FRAMES.replace("failed=7 ", ""),
        "stage of the play",
        "latency stage=lunch n=1 p50_ms=1 p99_ms=1 max_ms=1",
        "power rail=vdd_in volts=5.000 amps=1.000 watts=5.000 joules=50.0",
        "thermal celsius=51.0",
        "engine kind=edgetpu workers=1",
        "throttled has_occurred=none",
        "infer 1 2 3 4 5",
    ] {
        let mut done = Vec::new();
        assert!(!LogLines::default().take(line.as_bytes(), &mut done) && done.is_empty(), "{line}");
    }
}

#[test]
fn a_camera_is_told_by_its_lines() {
    let camera = |line: &str| told(&[(7, &format!("camera: {line}"))]).concat();
    for (line, expected) in [
        ("waiting: /dev/video0: gone", "log 1 00:07 camera waiting /dev/video0: gone"),
        ("still waiting: no camera", "log 1 00:07 camera waiting no camera"),
        ("paused: by hand", "log 1 00:07 camera paused"),
        ("Pi Camera at /dev/video0: 640x480", "log 1 00:07 camera running Pi Camera at /dev/video0: 640x480"),
        ("pattern", "log 1 00:07 camera running pattern"),
        ("frame skipped: it is damaged", ""),
        ("the pause has ended", ""),
    ] {
        assert_eq!(camera(line), expected);
    }
}

#[test]
fn the_time_in_which_the_board_was_throttled_is_added_up() {
    let (slow, fine, unknown) = (
        "throttled now=under_voltage has_occurred=none",
        "throttled now=none has_occurred=none",
        "throttled now=unknown has_occurred=unknown",
    );
    let intervals = |lines: &[(u32, &str)]| {
        let told = told(lines).into_iter().filter(|line| line.contains(" s: "));
        told.map(|line| line.split_once(" 7").unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    let lines = [(0, FRAMES), (3, slow), (10, FRAMES), (14, fine), (20, FRAMES), (25, unknown), (30, FRAMES)];
    assert_eq!(intervals(&lines), ["", ", throttled 7", ", throttled 4", ""]);
    // A new run knows nothing of it, and a clock that was set back takes nothing away.
    assert_eq!(intervals(&[(3, slow), (4, START), (10, FRAMES)]), [""]);
    assert_eq!(intervals(&[(9, slow), (5, fine), (10, FRAMES)]), [", throttled 0"]);
    assert_eq!(told(&[(9, slow)]), ["log 1 00:09 throttle under_voltage"]);
}

#[test]
fn what_a_runs_table_has_more_than_its_intervals_is_the_last_of_them() {
    let counts = |n: u32, seconds: &str| {
        format!(
            "frames in={n} inferred={n} published={n} replaced={n} skipped={n} corrupt={n} failed={n} fps=1 seconds={seconds}"
        )
    };
    let (head, row) = ("stage   n   p50 ms   p90 ms   p99 ms   max ms", "infer   5   1.00   2.00   3.00   4.00");
    let (one, two, whole) = (counts(1, "10.0"), counts(2, "10.0"), counts(5, "24.5"));
    let stop = "log 1 00:25 stop stopped";
    let ended = |lines: &[(u32, &str)]| told(lines).into_iter().skip(1).collect::<Vec<_>>();
    // The table is of the whole run, so its latency is nothing that an interval could add.
    assert_eq!(
        ended(&[(0, START), (10, &one), (20, &two), (25, head), (25, row), (25, &whole)]),
        [
            "log 1 00:10 10 s: 1 1 1 1 1 1 1",
            "log 1 00:20 10 s: 2 2 2 2 2 2 2",
            "log 1 00:25 4.5 s: 2 2 2 2 2 2 2",
            stop
        ]
    );
    // A run without an interval has nothing but its table.
    assert_eq!(
        ended(&[(0, START), (25, head), (25, row), (25, "decode 0 - - - -"), (25, &whole)]),
        ["log 1 00:25 24.5 s: 5 5 5 5 5 5 5, infer 5 1 3 4", stop]
    );
    // Nothing is left, or less than nothing; or the log doesn't have the run's start.
    assert_eq!(ended(&[(0, START), (10, &one), (25, head), (25, &one)]), ["log 1 00:10 10 s: 1 1 1 1 1 1 1", stop]);
    assert_eq!(ended(&[(0, START), (10, &two), (25, head), (25, &one)]), ["log 1 00:10 10 s: 2 2 2 2 2 2 2", stop]);
    assert_eq!(told(&[(10, &one), (25, head), (25, &whole)]), ["log 1 00:10 10 s: 1 1 1 1 1 1 1", stop]);
    // More rows than there are stages are none of its.
    let mut lines = LogLines::default();
    assert!(lines.take(head.as_bytes(), &mut Vec::new()));
    let taken: Vec<bool> = (0..8).map(|_| lines.take(row.as_bytes(), &mut Vec::new())).collect();
    assert_eq!(taken, [true, true, true, true, true, true, true, false]);
}

#[test]
fn lines_without_time_stamps_have_the_seconds_of_their_intervals() {
    let lines = [START, FRAMES, "camera: pattern", FRAMES].map(str::to_owned);
    let (state, records) = taken(&lines);
    let interval = |time: &str| format!("log 1 {time} 10 s: 1 2 3 4 5 6 7");
    // What an interval's lines say is complete with the next one's.
    let (start, camera) = ("log 1 00:00 start running  0.1.0", "log 1 00:10 camera running pattern");
    assert_eq!(records, [start, camera, &interval("00:10"), &interval("00:20")]);
    assert_eq!((state.is_untimed, state.is_yearless), (true, false));
    let (state, _) = taken(&[format!("[2026-11-22T10:00:00Z INFO ] {FRAMES}")]);
    assert_eq!((state.is_untimed, state.is_yearless), (false, false));
    let yearless =
        [format!("Oct 01 10:00:00 pi pspnetd[7]: {FRAMES}"), format!("[2026-11-22T10:00:00Z INFO ] {FRAMES}")];
    let (state, _) = taken(&yearless);
    assert_eq!((state.is_untimed, state.is_yearless), (false, true));
}

#[test]
fn more_sensors_than_a_board_has_are_left_out() {
    let sensors = (0..66).map(|n| format!("thermal sensor=s{n:02} celsius={n}"));
    let (_, records) = taken(&[FRAMES.to_owned()].into_iter().chain(sensors).collect::<Vec<_>>());
    assert!(records[0].ends_with(", s62 Some(62.0), s63 Some(63.0)"), "{records:?}");
}

#[test]
fn a_stage_is_told_by_the_median_of_its_medians_and_its_worst_interval() {
    let mut all = Stage::ALL.map(|_| Told::new(Histogram::new_with_max(3_600_000_000, 3).unwrap()));
    for (p50_ms, p99_ms, max_ms) in [(1.0, 9.0, 10.0), (0.5, 2.0, 30.0), (1.9, 3.0, 20.0)] {
        add(&mut all, &StageLine { stage: 3, n: 5, p50_ms, p99_ms, max_ms });
    }
    let told = &all[3];
    assert_eq!((told.n, told.p50_ms(), told.p99_ms, told.max_ms), (15, 1.0, 9.0, 30.0));
    assert_eq!(all[2].n + all[4].n, 0);
}

#[test]
fn a_line_without_a_year_is_of_the_last_one_that_fits() {
    let (now, day) = (Timestamp::now(), SignedDuration::from_hours(24));
    let found = |time: Timestamp| without_year(&time.strftime("%b %d %H:%M:%S").to_string()).unwrap();
    let year = |time: Timestamp| TimeZone::UTC.to_datetime(time).year();
    let second = |time: Timestamp| time.as_second();
    for past in [now, now.checked_sub(day * 180).unwrap()] {
        assert_eq!(second(found(past)), second(past));
    }
    // What lies further ahead than a clock may be wrong is of the year before.
    let ahead = [2, 3].map(|days| now.checked_add(day * days).unwrap());
    let ahead = ahead.into_iter().find(|time| time.strftime("%b %d").to_string() != "Feb 29").unwrap();
    assert_eq!(year(found(ahead)), year(ahead) - 1);
    assert_eq!(without_year("Nov 31 10:00:00"), None);
    assert!(without_year("Feb 29 10:00:00").is_some());
}
