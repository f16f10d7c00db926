//! A log whose every value is another one, so that no figure of its report can be taken for another; and what other tests
//! make logs of.

use base64::prelude::{Engine as _, BASE64_STANDARD};
use hdrhistogram::serialization::{Serializer as _, V2Serializer};
use hdrhistogram::Histogram;
use serde_json::{json, Map, Value};

use super::*;
use crate::telemetry::Stage;

/// The file of logs that [`read`] makes.
pub(super) const NAME: &str = "latency.jsonl";

/// A record of run `run` at `time` past ten o'clock, minutes and seconds; `rest` are its other keys.
pub(super) fn line(time: &str, run: &str, rest: &Value) -> String {
    let mut record = json!({"time": format!("2026-11-22T10:{time}Z"), "run": run});
    record.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    format!("{record}\n")
}

/// Reads a log of these lines.
pub(super) fn read(lines: &[String], range: Range) -> Result<Report, Failure> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    std::fs::write(&path, lines.concat()).unwrap();
    let mut report = Report::read(std::slice::from_ref(&path), range)?;
    let shown = path.display().to_string();
    let Figures { files, remarks, .. } = &mut report.figures;
    files.iter_mut().chain(remarks).for_each(|text| *text = text.replace(&shown, NAME));
    Ok(report)
}

/// Histograms of every stage: the first has these microseconds, each further one 100 more.
pub(super) fn latency(microseconds: impl Iterator<Item = u64>) -> Value {
    let microseconds: Vec<u64> = microseconds.collect();
    let stage = |(index, stage): (usize, Stage)| {
        let mut histogram = Histogram::<u64>::new_with_max(3_600_000_000, 3).unwrap();
        microseconds.iter().for_each(|us| histogram.record(us + 100 * index as u64).unwrap());
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&histogram, &mut bytes).unwrap();
        (stage.name().to_owned(), json!({"hdr": BASE64_STANDARD.encode(bytes)}))
    };
    Stage::ALL.into_iter().enumerate().map(stage).collect::<Map<String, Value>>().into()
}

/// Counts in the order of the table in docs/latency-log.md.
fn frames(counts: [u64; 7]) -> Value {
    let [frames_in, inferred, published, replaced, skipped, corrupt, failed] = counts;
    json!({"frames_in": frames_in, "inferred": inferred, "published": published, "replaced": replaced, "skipped": skipped,
        "corrupt": corrupt, "failed": failed})
}

/// Two runs, the second of which goes on; three intervals of the first and one of the second; a camera that went away.
pub(super) fn example() -> Vec<String> {
    let about = json!({"kind": "event", "what": "start", "state": "running", "uptime": 0, "version": "1.2.3", "host": "pi",
        "model": "m", "engine": {"kind": "edgetpu"}});
    let interval = |seconds: u32, rest: Value| {
        let mut interval = json!({"kind": "interval", "seconds": seconds});
        interval.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        interval
    };
    let engine = json!({"kind": "edgetpu", "workers": 1, "up": 1});
    let camera = |state: &str| json!({"kind": "event", "what": "camera", "state": state, "text": "<gone>"});
    vec![
        line("00:00", "a", &about),
        line(
            "01:00",
            "a",
            &interval(
                60,
                json!({"uptime": 60, "camera": "running", "engine": engine, "dropped": 7, "throttled": {"seconds": 6},
                    "frames": frames([1000, 900, 600, 40, 20, 3, 5]), "power": {"watts": 5.5, "joules": 240},
                    "celsius": {"soc": 50, "apex_0": null, "gpu": 40.04}, "latency": latency(1..=999)}),
            ),
        ),
        line("01:30", "a", &camera("waiting")),
        line("01:45", "a", &camera("running")),
        line("01:50", "a", &json!({"kind": "frame", "sequence": 3})),
        line(
            "02:00",
            "a",
            &interval(
                60,
                json!({"uptime": 120, "camera": "running", "engine": engine, "dropped": 2, "throttled": {"seconds": 9},
                    "frames": frames([100, 90, 61, 4, 2, 1, 6]), "power": {"watts": 3}, "celsius": {"soc": 53.3},
                    "latency": latency(1000..=1000)}),
            ),
        ),
        line(
            "03:30",
            "a",
            &interval(
                90,
                json!({"uptime": 210, "camera": "running", "engine": engine, "dropped": 1,
                    "frames": frames([10, 10, 9, 0, 0, 0, 0]), "power": {"watts": null, "joules": 450},
                    "celsius": {"soc": 49}}),
            ),
        ),
        line("03:40", "a", &json!({"kind": "event", "what": "stop", "state": "stopped", "text": "SIGTERM"})),
        line("05:00", "b", &about),
        line("06:00", "b", &interval(60, json!({"uptime": 60, "engine": {"kind": "edgetpu", "workers": 1, "up": 0}}))),
    ]
}

#[test]
fn every_figure_of_a_report_is_what_its_name_says() {
    let report = read(&example(), Range::default()).unwrap();
    let time = |time: &str| format!("2026-11-22T10:{time}Z");
    let stages: Vec<Value> = Stage::ALL
        .into_iter()
        .map(|stage| {
            let ms = |us: u64| (100 * stage as u64 + us) as f64 / 1000.0;
            json!({"stage": stage.name(), "n": 1000, "p50_ms": ms(500), "p90_ms": ms(900), "p99_ms": ms(990),
                "p999_ms": ms(999), "max_ms": ms(1000)})
        })
        .collect();
    let run = |run: &str, from: &str, to: &str, is_stopped: bool| {
        json!({"run": run, "host": "pi", "version": "1.2.3", "model": "m", "engine": "edgetpu", "from": time(from),
            "to": time(to), "is_stopped": is_stopped})
    };
    let outage = |kind: &str, from: &str, to: Option<&str>, seconds: f64, text: &str| json!({"kind": kind, "from": time(from), "to": to.map(time), "seconds": seconds, "text": text});
    assert_eq!(
        serde_json::from_str::<Value>(&report.json().unwrap()).unwrap(),
        json!({
            "files": [NAME],
            "from": time("00:00"),
            "to": time("06:00"),
            "intervals": 4,
            "frame_records": 1,
            "seconds": 270.0,
            "stages": stages,
            "frames": frames([1110, 1000, 670, 44, 22, 4, 11]),
            "sinks_dropped": 10,
            // 670 / 270
            "fps": 2.481,
            // 690 J in the 150 s of two intervals that know them, with 910 inferred frames.
            "power": {"joules": 690.0, "joules_per_frame": 0.758_242, "mean_watts": 4.6, "max_watts": 5.5, "known": 0.5556},
            "temperatures": [
                {"name": "gpu", "mean_celsius": 40.0, "max_celsius": 40.0},
                {"name": "soc", "mean_celsius": 50.8, "max_celsius": 53.3},
            ],
            "throttled_minutes": 0.25,
            "runs": [run("a", "00:00", "03:40", true), run("b", "05:00", "06:00", false)],
            "outages": [
                outage("camera", "01:30", Some("01:45"), 15.0, "<gone>"),
                outage("daemon", "03:40", Some("05:00"), 80.0, "stopped: SIGTERM"),
                outage("engine", "05:00", None, 60.0, ""),
            ],
            "outages_left_out": 0,
            "remarks": [],
        })
    );
}

#[test]
fn the_text_has_every_figure_at_its_place() {
    let expected = "\
2026-11-22 10:00:00 to 2026-11-22 10:06:00 UTC, 4 intervals (4 min 30 s), 2 runs
board pi, model m, engine edgetpu, pspnetd 1.2.3

stage                n     p50 ms     p90 ms     p99 ms   p99.9 ms     max ms
sensor            1000       0.50       0.90       0.99       1.00       1.00
convert           1000       0.60       1.00       1.09       1.10       1.10
queue             1000       0.70       1.10       1.19       1.20       1.20
infer             1000       0.80       1.20       1.29       1.30       1.30
decode            1000       0.90       1.30       1.39       1.40       1.40
publish           1000       1.00       1.40       1.49       1.50       1.50
end_to_end        1000       1.10       1.50       1.59       1.60       1.60

frames: 1110 in, 1000 inferred, 670 published, 2.48 per second
drops: 44 replaced, 22 skipped, 4 corrupt, 11 failed, 10 by sinks
power: 4.600 W mean, 5.500 W max, 0.7582 J per frame, 0.690 kJ, known for 55.6 % of the time
temperature gpu: 40.0 °C mean, 40.0 °C max
temperature soc: 50.8 °C mean, 53.3 °C max
throttled: 0.2 min

restarts: 1
outages: 1 × daemon not running (1 min 20 s), 1 × camera away (15.0 s), 1 × engine down (1 min 0 s)
  from (UTC)           to                          for  what
  2026-11-22 10:01:30  2026-11-22 10:01:45      15.0 s  camera away: <gone>
  2026-11-22 10:03:40  2026-11-22 10:05:00  1 min 20 s  daemon not running: stopped: SIGTERM
  2026-11-22 10:05:00  lasts                 1 min 0 s  engine down";
    let report = read(&example(), Range::default()).unwrap();
    assert_eq!(report.text(), expected.lines().collect::<Vec<_>>());
}

#[test]
fn what_is_not_known_is_null_in_a_report() {
    let lines = [line("01:00", "a", &json!({"kind": "interval", "seconds": 0, "power": {"joules": 9}}))];
    let report: Value = serde_json::from_str(&read(&lines, Range::default()).unwrap().json().unwrap()).unwrap();
    for key in ["fps", "power", "throttled_minutes"] {
        assert_eq!(report[key], Value::Null, "{key}");
    }
    let none = json!({"stage": "sensor", "n": 0, "p50_ms": null, "p90_ms": null, "p99_ms": null, "p999_ms": null,
        "max_ms": null});
    assert_eq!(report["stages"][0], none);
    // The highest record alone is known of this power; the mean of an interval may be the highest.
    for (power, expected) in [
        (
            json!({"watts": 7.0}),
            json!({"joules": null, "joules_per_frame": null, "mean_watts": null, "max_watts": 7.0, "known": 0.0}),
        ),
        (
            json!({"watts": 7.0, "joules": 600}),
            json!({"joules": 600.0, "joules_per_frame": null, "mean_watts": 10.0, "max_watts": 10.0, "known": 1.0}),
        ),
    ] {
        let lines = [line("01:00", "a", &json!({"kind": "interval", "seconds": 60, "power": power}))];
        let report: Value = serde_json::from_str(&read(&lines, Range::default()).unwrap().json().unwrap()).unwrap();
        assert_eq!(report["power"], expected);
    }
}

#[test]
fn every_further_report_is_compared_with_the_first() {
    let reports = ["a", "b", "c"].map(|_| read(&example(), Range::default()).unwrap());
    let names = ["one", "two", "three"].map(str::to_owned);
    let comparison = Comparison::new(&names, &reports);
    let heads: Vec<String> = comparison.text().into_iter().filter(|line| line.contains(": ")).collect();
    assert_eq!(heads.iter().filter(|line| line.starts_with("first:  one")).count(), 2);
    assert_eq!(
        heads.iter().filter(|line| line.starts_with("second: ")).cloned().collect::<Vec<_>>(),
        ["second: two", "second: three"]
    );
    let pairs: Value = serde_json::from_str(&comparison.json().unwrap()).unwrap();
    assert_eq!((&pairs[1]["first"], &pairs[1]["second"]), (&"one".into(), &"three".into()));
    assert!(Comparison::new(&[], &[]).text().is_empty());
}
