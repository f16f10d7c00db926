//! JSON Lines to standard output or to a file that is rotated by size.
//!
//! One line per frame, handed to the thread that writes them ([`base::line_file`]). The line's format is described in
//! `docs/json-lines.md`.

use std::sync::Arc;

use base::clock::Clock;
use base::failure::{Failure, SettingError};
use base::line_file::{check, Inlet, Place, SyncPolicy, Writer};
use base::outbox::{Closing, OutboxHealth};
use base::rounding::rounded;
use base::text::escape_json;
use base::values::Seconds;
use model::Edition;
use serde::ser::{SerializeMap, Serializer};
use serde::Serialize;

use super::json::{Micros, StageMilliseconds};
use super::pace::Pace;
use super::plug::{Context, Plug, Plugged};
use super::Sink;
use crate::config::{Config, Jsonl};
use crate::scene::rules::{Judgement, Verdict};
use crate::scene::Outcome;
use crate::telemetry::Journey;

/// The sink's half in the publish thread.
pub struct JsonlSink {
    inlet: Inlet,
    pace: Pace,
    clock: Arc<dyn Clock>,
}

impl JsonlSink {
    /// Opens the target and starts the writer. None where `config` turns the sink off.
    ///
    /// # Errors
    /// When the path can't be written for a reason that waiting doesn't mend.
    pub fn open(config: &Jsonl, clock: Arc<dyn Clock>) -> Result<Option<Self>, SettingError> {
        if config.path.is_empty() {
            return Ok(None);
        }
        let inlet = Writer::start(&place(config), &[usize::from(config.queue)])?.pop();
        Ok(inlet.map(|inlet| Self { inlet, pace: Pace::new(config), clock }))
    }
}

fn place(config: &Jsonl) -> Place {
    Place {
        name: "jsonl",
        key: "publish.jsonl.path",
        path: config.path.clone(),
        max_bytes: config.max_bytes,
        max_age: Seconds::new(0),
        keep: config.keep,
        sync: SyncPolicy::AtEnd,
    }
}

/// JSON Lines as a plug.
#[derive(Debug)]
pub struct JsonlPlug;

impl Plug for JsonlPlug {
    fn name(&self) -> &'static str {
        "sinks"
    }

    fn check(&self, config: &Config, _edition: Option<&Edition>) -> Result<Option<String>, Failure> {
        let config = &config.publish.jsonl;
        if !config.path.is_empty() {
            check(&place(config))?;
        }
        Ok(None)
    }

    fn build(&self, context: &Context<'_>) -> Result<Plugged, Failure> {
        let sink = JsonlSink::open(&context.config.publish.jsonl, Arc::clone(&context.clock))?;
        Ok(sink.map(Plugged::sink).unwrap_or_default())
    }
}

impl Sink for JsonlSink {
    fn name(&self) -> &'static str {
        "jsonl"
    }

    fn publish(&mut self, outcome: &Outcome) {
        if !self.pace.takes(outcome, user_rules(outcome), self.clock.now()) {
            return;
        }
        self.inlet.put(false, |line| {
            // Writing to a Vec can't fail, and the record has no map keys that JSON lacks.
            let start = line.len();
            let _ = serde_json::to_writer(&mut *line, &Record(outcome));
            escape_json(line, start);
        });
    }

    fn health(&self) -> OutboxHealth {
        self.inlet.health()
    }

    fn close(self: Box<Self>, closing: Closing) -> OutboxHealth {
        self.inlet.close(closing)
    }
}

/// Serialises without allocating.
struct Record<'a>(&'a Outcome);

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let outcome = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &Micros(outcome.time))?;
        map.serialize_entry("sequence", &outcome.sequence)?;
        map.serialize_entry("model", &outcome.edition.name)?;
        map.serialize_entry("classes", &Classes(outcome))?;
        if !outcome.edition.labels.groups().is_empty() {
            map.serialize_entry("groups", &Groups(outcome))?;
        }
        if user_rules(outcome).next().is_some() {
            map.serialize_entry("rules", &RuleVerdicts(outcome))?;
        }
        map.serialize_entry("confidence", &outcome.summary.confidence.map(|value| rounded(f64::from(value), 1e4)))?;
        map.serialize_entry("engine", &EngineFigures(outcome))?;
        map.serialize_entry("latency_ms", &StageMilliseconds(outcome))?;
        map.serialize_entry("drops", &Drops(outcome))?;
        map.end()
    }
}

struct Classes<'a>(&'a Outcome);

impl Serialize for Classes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.areas.classes(&self.0.edition.labels))
    }
}

struct Groups<'a>(&'a Outcome);

impl Serialize for Groups<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.areas.groups(&self.0.edition.labels))
    }
}

/// What the rules of `[rules]` say. Those that other sections ask for, such as the alarm of `[gpio]`, have their own outputs.
struct RuleVerdicts<'a>(&'a Outcome);

impl Serialize for RuleVerdicts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(user_rules(self.0).map(|verdict| (&verdict.name, RuleFigures(verdict.judgement))))
    }
}

fn user_rules(outcome: &Outcome) -> impl Iterator<Item = &Verdict> + Clone {
    outcome.rules.iter().filter(|verdict| !verdict.name.contains('.'))
}

struct RuleFigures(Judgement);

impl Serialize for RuleFigures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("on", &self.0.is_on)?;
        map.serialize_entry("share", &self.0.share)?;
        map.end()
    }
}

struct EngineFigures<'a>(&'a Outcome);

impl Serialize for EngineFigures<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Journey { engine, worker, .. } = &self.0.journey;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ran", if worker.is_some() { engine.kind } else { "cpu" })?;
        if engine.is_cpu_alone() && engine.faults == 0 {
            return map.end();
        }
        if let Some(number) = worker {
            map.serialize_entry("worker", &(number + 1))?;
        }
        map.serialize_entry("workers", &engine.workers)?;
        map.serialize_entry("up", &engine.up)?;
        map.serialize_entry("starts", &engine.starts)?;
        map.serialize_entry("faults", &engine.faults)?;
        map.serialize_entry("fallback_frames", &engine.fallback_frames)?;
        if let Some(reason) = &engine.reason {
            map.serialize_entry("reason", reason.as_ref())?;
        }
        map.end()
    }
}

struct Drops<'a>(&'a Outcome);

impl Serialize for Drops<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counts = &self.0.journey.counts;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("replaced", &counts.replaced)?;
        map.serialize_entry("skipped", &counts.skipped)?;
        map.serialize_entry("corrupt", &counts.corrupt)?;
        map.serialize_entry("failed", &counts.failed)?;
        map.serialize_entry("sinks", &self.0.journey.dropped)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::publish::gpio;
    use crate::scene::testing::{classes, edition, judged, named};
    use crate::telemetry::{Counts, EngineReport, Stage, Timings};
    use base::clock::SystemClock;
    use base::values::Bytes;
    use model::LabelMap;

    fn publish(sink: &mut JsonlSink, sequence: u64) {
        publish_as(sink, sequence, classes(2));
    }

    /// One pixel of class 0, two of class 1, one of none.
    fn publish_as(sink: &mut JsonlSink, sequence: u64, labels: LabelMap) {
        let mut outcome = Outcome::empty(edition(labels)).seen(&[(0, 1), (1, 2), (255, 1)]);
        outcome.sequence = sequence;
        outcome.summary.confidence = Some(0.75);
        outcome.journey.timings.set(Stage::Infer, Duration::from_micros(1500));
        outcome.journey.counts.replaced = 7;
        outcome.journey.engine.kind = "cpu";
        sink.publish(&outcome);
    }

    fn open(config: &Jsonl) -> Result<Option<JsonlSink>, SettingError> {
        JsonlSink::open(config, Arc::new(SystemClock))
    }

    fn config(path: &std::path::Path) -> Jsonl {
        Jsonl { path: path.to_string_lossy().into_owned(), ..Jsonl::default() }
    }

    #[test]
    fn a_line_holds_what_the_format_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let mut sink = open(&config(&path)).unwrap().unwrap();
        publish(&mut sink, 3);
        assert_eq!(Box::new(sink).close(Closing::Drain), OutboxHealth::default());
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\"time\":\"1970-01-01T00:00:00.000000Z\",\"sequence\":3,\"model\":\"m\",\
             \"classes\":{\"class_0\":0.25,\"class_1\":0.5,\"void\":0.25},\"confidence\":0.75,\
             \"engine\":{\"ran\":\"cpu\"},\"latency_ms\":{\"sensor\":0.0,\"convert\":0.0,\"queue\":0.0,\"infer\":1.5,\"decode\":0.0,\
             \"end_to_end\":0.0},\
             \"drops\":{\"replaced\":7,\"skipped\":0,\"corrupt\":0,\"failed\":0,\"sinks\":0}}\n"
        );
    }

    #[test]
    fn a_line_of_a_worker_says_which_and_how_all_of_them_are() {
        let mut outcome = Outcome::empty(edition(classes(1)));
        outcome.sequence = 8;
        outcome.time = jiff::Timestamp::from_microsecond(1_700_000_000_000_042).unwrap();
        let mut timings = Timings::default();
        (1..).zip(Stage::ALL).for_each(|(number, stage)| timings.set(stage, Duration::from_micros(number * 1001)));
        let engine = EngineReport {
            kind: "edgetpu",
            workers: 4,
            up: 3,
            starts: 5,
            faults: 6,
            fallback_frames: 7,
            reason: Some("usb:1 is \"gone\"".into()),
        };
        let counts = Counts { replaced: 10, skipped: 11, corrupt: 12, failed: 13, ..Counts::default() };
        outcome.journey = Journey { timings, counts, engine, worker: Some(1), dropped: 14 };
        let latency = r#""latency_ms":{"sensor":1.001,"convert":2.002,"queue":3.003,"infer":4.004,"decode":5.005,"end_to_end":7.007}"#;
        let drops = r#""drops":{"replaced":10,"skipped":11,"corrupt":12,"failed":13,"sinks":14}"#;
        let line = |ran: &str| {
            format!(
                r#"{{"time":"2023-11-14T22:13:20.000042Z","sequence":8,"model":"m","classes":{{"class_0":0.0}},"confidence":null,"engine":{{{ran},"workers":4,"up":3,"starts":5,"faults":6,"fallback_frames":7,"reason":"usb:1 is \"gone\""}},{latency},{drops}}}"#
            )
        };
        assert_eq!(serde_json::to_string(&Record(&outcome)).unwrap(), line(r#""ran":"edgetpu","worker":2"#));
        outcome.journey.worker = None;
        assert_eq!(serde_json::to_string(&Record(&outcome)).unwrap(), line(r#""ran":"cpu""#));
    }

    #[test]
    fn groups_stand_beside_the_classes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let labels = named(&["sky", "car/vehicle", "road/flat", "bus/vehicle"]);
        let mut sink = open(&config(&path)).unwrap().unwrap();
        publish_as(&mut sink, 0, labels);
        Box::new(sink).close(Closing::Drain);
        let line = std::fs::read_to_string(&path).unwrap();
        let expected = "\"classes\":{\"sky\":0.25,\"car\":0.5,\"road\":0.0,\"bus\":0.0,\"void\":0.25},\
                        \"groups\":{\"vehicle\":0.5,\"flat\":0.0},\"confidence\":";
        assert!(line.contains(expected), "{line}");
    }

    #[test]
    fn the_rules_of_the_user_stand_in_a_line_and_those_of_other_sections_do_not() {
        let alarm = gpio::alarm_rule(&toml::from_str("alarm = 4\nalarm_class = 'sky'").unwrap());
        let rules = "[near]\nclass = 'car'\nabove = 0.4\n[far]\nclass = 'car'\nabove = 0.6";
        let labels = named(&["sky", "car"]);
        let outcome = judged(rules, alarm.into_iter().collect(), labels, &[(0, 1), (1, 1)]).unwrap();
        assert_eq!(outcome.rules.len(), 3);
        let line = serde_json::to_value(Record(&outcome)).unwrap();
        let expected = serde_json::json!({"far": {"on": false, "share": 0.5}, "near": {"on": true, "share": 0.5}});
        assert_eq!(line["rules"], expected);
        assert!(serde_json::to_value(Record(&Outcome::example())).unwrap().get("rules").is_none());
    }

    #[test]
    fn a_full_file_is_rotated_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let config = Jsonl { max_bytes: Bytes(600), keep: 2, ..config(&path) };
        let mut sink = open(&config).unwrap().unwrap();
        (0..21).for_each(|sequence| publish(&mut sink, sequence));
        Box::new(sink).close(Closing::Drain);
        let mut names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["out.jsonl", "out.jsonl.1", "out.jsonl.2"]);
        let newest = std::fs::read_to_string(folder.path().join("out.jsonl.1")).unwrap();
        let last = newest.lines().last().unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(last).is_ok(), "{last}");
    }

    #[test]
    fn a_full_disk_is_counted_and_not_fatal() {
        let mut sink = open(&config(std::path::Path::new("/dev/full"))).unwrap().unwrap();
        publish(&mut sink, 1);
        publish(&mut sink, 2);
        let start = std::time::Instant::now();
        while sink.health().dropped < 2 {
            assert!(start.elapsed() < Duration::from_secs(60), "{:?}", sink.health());
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(Box::new(sink).close(Closing::Drain).dropped, 2);
    }

    #[test]
    fn a_path_that_can_never_work_is_an_error() {
        let error = open(&config(std::path::Path::new("/nonexistent/x.jsonl"))).err().unwrap();
        assert!(error.to_string().contains("publish.jsonl.path /nonexistent/x.jsonl: "), "{error}");
        assert!(open(&Jsonl { path: String::new(), ..Jsonl::default() }).unwrap().is_none());
    }
}
