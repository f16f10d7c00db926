//! What is taken of a log and what is left out of it, with the words that say so.

use serde_json::{json, Value};

use super::*;
use crate::report::tests::{latency, line, read, NAME};
use crate::report::Report;

fn interval(time: &str, rest: &Value) -> String {
    let mut record = json!({"kind": "interval", "seconds": 60});
    record.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    line(time, "a", &record)
}

fn whole(lines: &[String]) -> Report {
    read(lines, Range::default()).unwrap()
}

fn at(time: &str) -> Timestamp {
    format!("2026-11-22T10:{time}Z").parse().unwrap()
}

/// What is wrong with a log of these lines, less the name of its file.
fn wrong(lines: &[String], range: Range) -> String {
    let failure = read(lines, range).err().unwrap();
    assert_eq!(failure.exit_code(), 65);
    let text = failure.to_string();
    text.split_once(&format!("{NAME}: ")).map_or_else(|| text.clone(), |(_, words)| words.to_owned())
}

#[test]
fn a_range_has_its_end_and_not_its_beginning() {
    let (from, to) = (Some(at("02:00")), Some(at("04:00")));
    for (range, expected) in [
        (Range { from, to }, [false, true, true, false]),
        (Range { from, to: None }, [false, true, true, true]),
        (Range { from: None, to }, [true, true, true, false]),
        (Range { from: None, to: None }, [true; 4]),
    ] {
        assert_eq!(["02:00", "03:00", "04:00", "04:01"].map(|time| range.contains(at(time))), expected, "{range:?}");
    }
}

#[test]
fn only_what_lies_in_the_range_counts() {
    let minute = |time: &str| interval(time, &json!({"dropped": 1}));
    let mut lines: Vec<String> = (1..6).map(|n| minute(&format!("0{n}:00"))).collect();
    lines.extend((1..6).map(|n| line(&format!("0{n}:00"), "a", &json!({"kind": "frame"}))));
    let (from, to) = (Some(at("01:00")), Some(at("04:00")));
    let figures = read(&lines, Range { from, to }).unwrap().figures;
    assert_eq!((figures.intervals, figures.frame_records, figures.sinks_dropped), (3, 3, 3));
    assert_eq!((figures.from, figures.to), (Some(at("01:00")), Some(at("04:00"))));
    // The text log's intervals as well.
    let frames = "frames in=1 inferred=1 published=1 replaced=0 skipped=0 corrupt=0 failed=0 fps=1 seconds=60.0";
    let lines: Vec<String> = (1..6).map(|n| format!("[2026-11-22T10:0{n}:00Z INFO ] {frames}\n")).collect();
    assert_eq!(read(&lines, Range { from, to }).unwrap().figures.intervals, 3);
}

#[test]
fn a_log_without_anything_in_the_range_is_an_error_and_one_without_intervals_is_not() {
    let lines = [interval("03:00", &json!({}))];
    let nothing = "no interval of these logs ends in the time that --from and --to leave";
    for range in [Range { from: Some(at("03:00")), to: None }, Range { from: None, to: Some(at("02:59")) }] {
        assert_eq!(wrong(&lines, range), nothing);
    }
    let stop = [line("03:00", "a", &json!({"kind": "event", "what": "stop"}))];
    let figures = whole(&stop).figures;
    assert_eq!((figures.intervals, figures.from, figures.to, figures.runs.len()), (0, None, None, 1));
}

#[test]
fn the_order_of_logs_and_of_their_records_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, lines: &[String]| {
        let path = folder.path().join(name);
        std::fs::write(&path, lines.concat()).unwrap();
        path
    };
    let text = |second: u32, message: &str| format!("[2026-11-22T10:05:{second:02}Z INFO ] {message}\n");
    let paths = [
        write("first", &[interval("03:00", &json!({"dropped": 1})), interval("02:00", &json!({"dropped": 1}))]),
        write("second", &[text(0, "camera: waiting: gone"), text(9, "camera: back")]),
        write("third", &[line("06:00", "b", &json!({"kind": "event", "what": "stop"}))]),
    ];
    let json = |order: [usize; 3]| {
        let report = Report::read(&order.map(|index| paths[index].clone()), Range::default()).unwrap();
        serde_json::from_str::<Value>(&report.json().unwrap()).unwrap()
    };
    let expected = json([0, 1, 2]);
    assert_eq!(
        (&expected["from"], &expected["to"]),
        (&at("01:00").to_string().into(), &at("03:00").to_string().into())
    );
    let names = paths.each_ref().map(|path| path.display().to_string());
    assert_eq!(expected["files"], json!(names));
    for order in [[2, 1, 0], [1, 2, 0], [1, 0, 2]] {
        assert_eq!(json(order), expected, "{order:?}");
    }
}

#[test]
fn a_record_is_added_to_the_slot_of_its_time() {
    let record = |power: Value, soc: u32| {
        json!({"dropped": 7, "power": power, "celsius": {"soc": soc, "apex_0": null}, "latency": latency(1..=3),
            "frames": {"frames_in": 1, "skipped": 2, "corrupt": 3, "replaced": 4, "inferred": 5, "failed": 6, "published": 7}})
    };
    // Two records of half a minute after one of a minute, so that they share a slot.
    let half = |time: &str, power: Value, soc: u32| {
        let mut record = record(power, soc);
        record["seconds"] = 30.into();
        interval(time, &record)
    };
    let report = whole(&[
        interval("01:00", &record(json!({"watts": 3.0}), 40)),
        half("01:30", json!({"watts": 3.0, "joules": 60}), 50),
        half("02:00", json!({"watts": 2.5, "joules": 120}), 55),
    ]);
    let begin = at("00:00").as_second() as f64;
    let slots: Vec<_> = report.timeline.slots().collect();
    let [(first, _), (second, slot)] = &slots[..] else { panic!("{slots:?}") };
    assert_eq!((report.timeline.width(), first - begin, second - begin), (60.0, 0.0, 60.0));
    let counts = Counts { frames_in: 2, skipped: 4, corrupt: 6, replaced: 8, inferred: 10, failed: 12, published: 14 };
    assert_eq!((slot.seconds, slot.counts, slot.dropped), (60.0, counts, 14));
    assert_eq!((slot.joules, slot.joule_seconds, slot.most_watts), (180.0, 60.0, Some(4.0)));
    assert_eq!(slot.celsius.iter().collect::<Vec<_>>(), [(&"soc".to_owned(), &(105.0, 2, 55.0))]);
    assert_eq!(slot.latency.each_ref().map(super::super::timeline::Coarse::len), [6; 7]);
}

#[test]
fn an_interval_has_a_possible_length() {
    for (seconds, is_good) in
        [(json!(0), true), (json!(9_999_999), true), (json!(1e7), false), (json!(-1), false), (json!(null), false)]
    {
        let figures = whole(&[interval("01:00", &json!({})), interval("02:00", &json!({"seconds": seconds}))]).figures;
        assert_eq!(figures.intervals, if is_good { 2 } else { 1 }, "{seconds}");
        let why = format!("{NAME}: 1 damaged line is left out; the first, line 2: an interval without its length, or with an impossible one");
        assert_eq!(figures.remarks, if is_good { vec![] } else { vec![why] });
    }
}

#[test]
fn a_record_with_one_damaged_histogram_adds_nothing() {
    let mut latency = latency(1..=3);
    latency["end_to_end"]["hdr"] = "AAAA".into();
    let figures =
        whole(&[interval("01:00", &json!({})), interval("02:00", &json!({"dropped": 1, "latency": latency}))]).figures;
    assert_eq!((figures.intervals, figures.sinks_dropped, figures.stages[0].n), (1, 0, 0));
}

#[test]
fn more_sensors_than_a_board_has_are_left_out() {
    let sensors = |from: usize, to: usize| {
        let named = (from..to).map(|n| (format!("s{n:02}"), json!(n)));
        json!({"celsius": named.collect::<serde_json::Map<String, Value>>()})
    };
    let report = whole(&[interval("01:00", &sensors(0, 63)), interval("02:00", &sensors(0, 66))]);
    let temperatures = &report.figures.temperatures;
    let last = temperatures.last().unwrap();
    assert_eq!((temperatures.len(), last.name.as_str(), last.mean_celsius), (64, "s63", 63.0));
    // Those that are known go on.
    let report =
        whole(&[interval("01:00", &sensors(0, 64)), interval("02:00", &json!({"celsius": {"s00": 9, "x": 1}}))]);
    assert_eq!((report.figures.temperatures.len(), report.figures.temperatures[0].mean_celsius), (64, 4.5));
}

#[test]
fn what_is_left_out_is_told_with_its_first_line() {
    let (good, damaged, other, empty) = (interval("01:00", &json!({})), "{x\n", "x\n", "\n");
    let first = |number: u32| format!("the first, line {number}: ");
    for (lines, expected) in [
        (vec![good.as_str(), damaged], Some(("1 damaged line is left out; ", first(2)))),
        (vec![&good, damaged, other], Some(("2 damaged lines are left out; ", first(2)))),
        (vec![&good, other, damaged, damaged], Some(("3 damaged lines are left out; ", first(2)))),
        // An empty line is nothing, and has a number all the same.
        (vec![empty, &good, empty, damaged], Some(("1 damaged line is left out; ", first(4)))),
        (vec![&good, empty], None),
        (
            vec![&good, "{\"time\":"],
            Some(("the last line has no end (a power cut, or it is being written); left out", String::new())),
        ),
    ] {
        let lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
        let remarks = whole(&lines).figures.remarks;
        assert_eq!(remarks.len(), usize::from(expected.is_some()), "{remarks:?}");
        if let Some((what, first)) = expected {
            assert!(remarks[0].starts_with(&format!("{NAME}: {what}{first}")), "{remarks:?}");
        }
    }
    // The text log says much besides, which is no damage; JSON that is damaged is.
    let frames = "frames in=1 inferred=1 published=1 replaced=0 skipped=0 corrupt=0 failed=0 fps=1 seconds=60.0\n";
    let remarks = whole(&[other, frames, other, damaged].map(str::to_owned)).figures.remarks;
    assert!(remarks[0].starts_with(&format!("{NAME}: 1 damaged line is left out; the first, line 4: ")), "{remarks:?}");
}

#[test]
fn a_file_without_a_record_is_no_log() {
    let text = |text: &str| wrong(&[text.to_owned()], Range::default());
    assert_eq!(text(""), "no records: the log is empty");
    assert_eq!(text("\n\n"), "no records: the log is empty");
    for (lines, words) in [
        ("x\n", "none of 1 line is a record; line 1: "),
        ("\nx\ny\n", "none of 2 lines is a record; line 2: "),
        // What is cut off is only left out where there is a record before it.
        ("{\"time\":", "none of 1 line is a record; line 1: "),
    ] {
        assert!(text(lines).starts_with(&format!("no latency log: {words}")), "{}", text(lines));
    }
    // An empty file beside a log is only told.
    let folder = tempfile::tempdir().unwrap();
    let (log, empty) = (folder.path().join("l"), folder.path().join("e"));
    std::fs::write(&log, interval("01:00", &json!({}))).unwrap();
    std::fs::write(&empty, "").unwrap();
    let figures = Report::read(&[log, empty.clone()], Range::default()).unwrap().figures;
    assert_eq!((figures.files.len(), figures.remarks), (1, vec![format!("{}: empty", empty.display())]));
}

#[test]
fn a_file_is_given_up_after_16_mebibytes_without_a_record() {
    let record = interval("01:00", &json!({}));
    let long = |bytes: usize| "x".repeat(bytes - 1) + "\n";
    let mebibyte = long(1 << 20);
    for (text, is_read) in [
        (mebibyte.repeat(16), true),
        (mebibyte.repeat(16) + "x\n", false),
        (long(16 << 20), true),
        (long((16 << 20) + 1), false),
    ] {
        assert_eq!(read(&[text, record.clone()], Range::default()).is_ok(), is_read);
    }
}

#[test]
fn a_record_that_is_none_is_told_with_what_it_is() {
    let described = |line: &[u8]| {
        let error = serde_json::from_slice::<Record<'_>>(line).unwrap_err();
        described(line, &error)
    };
    let journal = "this is journalctl's JSON; -o short-iso has what is read here";
    for (line, words) in [
        (&b"{\"MESSAGE\":\"x\"}"[..], journal),
        (b"{\"a\":1,\"__REALTIME_TIMESTAMP\":\"1\"}", journal),
        (b"\0{\"MESSAGE\":", "it begins with zero bytes (a power cut while the file grew)"),
        (b"\x1f\x8b\x08", "this is compressed by gzip; unpack it first"),
        (b"\x28\xb5\x2f\xfd\x00", "this is compressed by zstd; unpack it first"),
        (
            b"{\"time\":\"x\",\"classes\":{}}",
            "this is a result of publish.jsonl; telemetry.latency_log.path names the latency log",
        ),
        (b"{\"x\":1,\"classes\":{}}", "missing field `time` at line 1 column 20"),
        (b"{\"time\":\"2026-11-22T10:00:00Z\"}", "missing field `kind` at line 1 column 31"),
    ] {
        assert_eq!(described(line), words);
    }
    let figures = whole(&[interval("01:00", &json!({})), line("02:00", "a", &json!({"kind": "dream\u{1b}"}))]).figures;
    let why = "kind \"dream\\u{1b}\" is none that this version knows";
    assert_eq!(figures.remarks, [format!("{NAME}: 1 damaged line is left out; the first, line 2: {why}")]);
}
