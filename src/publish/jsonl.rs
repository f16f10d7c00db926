//! JSON Lines to standard output or to a file that is rotated by size.
//!
//! One line per frame, handed to the thread that writes them ([`base::line_file`]). The line's format is described in
//! `docs/json-lines.md`.

use base::failure::SettingError;
use base::line_file::{Inlet, Place, SyncPolicy, Writer};
use base::outbox::{Closing, OutboxHealth};
use base::values::Seconds;
use serde::ser::{SerializeMap, Serializer};
use serde::Serialize;

use super::{class_areas, group_areas, rounded, Published, Sink};
use crate::config::Jsonl;
use crate::telemetry::Stage;

/// The sink's half in the publish thread.
pub struct JsonlSink(Inlet);

impl JsonlSink {
    /// Opens the target and starts the writer. None where `config` turns the sink off.
    ///
    /// # Errors
    /// When the path can't be written for a reason that waiting doesn't mend.
    pub fn open(config: &Jsonl) -> Result<Option<Self>, SettingError> {
        if config.path.is_empty() {
            return Ok(None);
        }
        let place = Place {
            name: "jsonl",
            key: "publish.jsonl.path",
            path: config.path.clone(),
            max_bytes: config.max_bytes,
            max_age: Seconds::new(0),
            keep: config.keep,
            sync: SyncPolicy::AtEnd,
        };
        Ok(Writer::start(&place, &[usize::from(config.queue)])?.pop().map(Self))
    }
}

impl Sink for JsonlSink {
    fn name(&self) -> &'static str {
        "jsonl"
    }

    fn publish(&mut self, result: &Published<'_>) {
        self.0.put(false, |line| {
            // Writing to a Vec can't fail, and the record has no map keys that JSON lacks.
            let _ = serde_json::to_writer(line, &Record(result));
        });
    }

    fn health(&self) -> OutboxHealth {
        self.0.health()
    }

    fn close(self: Box<Self>, closing: Closing) -> OutboxHealth {
        self.0.close(closing)
    }
}

/// Serialises without allocating.
struct Record<'a>(&'a Published<'a>);

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let result = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &Micros(result.time))?;
        map.serialize_entry("sequence", &result.sequence)?;
        map.serialize_entry("model", result.model)?;
        map.serialize_entry("classes", &Areas(result))?;
        if !result.labels.groups().is_empty() {
            map.serialize_entry("groups", &Groups(result))?;
        }
        map.serialize_entry("confidence", &result.summary.confidence.map(|value| rounded(f64::from(value), 1e4)))?;
        map.serialize_entry("engine", &Engine(result))?;
        map.serialize_entry("latency_ms", &Latency(result))?;
        map.serialize_entry("drops", &Drops(result))?;
        map.end()
    }
}

/// A time stamp with six digits of the second, always as long.
pub(crate) struct Micros(pub(crate) jiff::Timestamp);

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.6}", self.0))
    }
}

struct Areas<'a>(&'a Published<'a>);

impl Serialize for Areas<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(class_areas(self.0.labels, self.0.summary))
    }
}

struct Groups<'a>(&'a Published<'a>);

impl Serialize for Groups<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(group_areas(self.0.labels, self.0.summary))
    }
}

struct Engine<'a>(&'a Published<'a>);

impl Serialize for Engine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Published { engine, worker, .. } = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ran", if worker.is_some() { engine.kind } else { "cpu" })?;
        if engine.is_cpu_alone() {
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

/// Milliseconds of every stage but the one that is under way.
pub(crate) struct Latency<'a>(pub(crate) &'a Published<'a>);

impl Serialize for Latency<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for stage in Stage::ALL.into_iter().filter(|&stage| stage != Stage::Publish) {
            let milliseconds = self.0.timings.of(stage).as_secs_f64() * 1e3;
            map.serialize_entry(stage.name(), &rounded(milliseconds, 1e3))?;
        }
        map.end()
    }
}

struct Drops<'a>(&'a Published<'a>);

impl Serialize for Drops<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counts = self.0.counts;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("replaced", &counts.replaced)?;
        map.serialize_entry("skipped", &counts.skipped)?;
        map.serialize_entry("corrupt", &counts.corrupt)?;
        map.serialize_entry("failed", &counts.failed)?;
        map.serialize_entry("sinks", &self.0.dropped)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::{Counts, EngineReport, Timings};
    use base::values::Bytes;
    use model::{LabelMap, Manifest};
    use pixels::frame::Size;
    use pixels::segment::Summary;

    fn publish(sink: &mut JsonlSink, sequence: u64) {
        publish_as(sink, sequence, &LabelMap::new(Some(2), None).unwrap());
    }

    fn publish_as(sink: &mut JsonlSink, sequence: u64, labels: &LabelMap) {
        let mut summary = Summary::default();
        summary.counts[0] = 1;
        summary.counts[1] = 2;
        summary.counts[255] = 1;
        summary.confidence = Some(0.75);
        let mut timings = Timings::default();
        timings.set(Stage::Infer, Duration::from_micros(1500));
        sink.publish(&Published {
            sequence,
            time: jiff::Timestamp::UNIX_EPOCH,
            model: "m",
            labels,
            summary: &summary,
            timings: &timings,
            counts: &Counts { replaced: 7, ..Counts::default() },
            engine: &EngineReport { kind: "cpu", ..EngineReport::default() },
            worker: None,
            dropped: 0,
            mask: &[],
            mask_size: Size::new(2, 2),
            picture: None,
        });
    }

    fn config(path: &std::path::Path) -> Jsonl {
        Jsonl { path: path.to_string_lossy().into_owned(), ..Jsonl::default() }
    }

    #[test]
    fn a_line_holds_what_the_format_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let mut sink = JsonlSink::open(&config(&path)).unwrap().unwrap();
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
        let labels = LabelMap::new(Some(1), None).unwrap();
        let result = Published {
            sequence: 8,
            time: jiff::Timestamp::from_microsecond(1_700_000_000_000_042).unwrap(),
            model: "m",
            labels: &labels,
            summary: &Summary::default(),
            timings: &timings,
            counts: &Counts { replaced: 10, skipped: 11, corrupt: 12, failed: 13, ..Counts::default() },
            engine: &engine,
            worker: Some(1),
            dropped: 14,
            mask: &[],
            mask_size: Size::new(0, 0),
            picture: None,
        };
        let latency = r#""latency_ms":{"sensor":1.001,"convert":2.002,"queue":3.003,"infer":4.004,"decode":5.005,"end_to_end":7.007}"#;
        let drops = r#""drops":{"replaced":10,"skipped":11,"corrupt":12,"failed":13,"sinks":14}"#;
        let line = |ran: &str| {
            format!(
                r#"{{"time":"2023-11-14T22:13:20.000042Z","sequence":8,"model":"m","classes":{{"class_0":0.0}},"confidence":null,"engine":{{{ran},"workers":4,"up":3,"starts":5,"faults":6,"fallback_frames":7,"reason":"usb:1 is \"gone\""}},{latency},{drops}}}"#
            )
        };
        assert_eq!(serde_json::to_string(&Record(&result)).unwrap(), line(r#""ran":"edgetpu","worker":2"#));
        let by_the_cpu = Published { worker: None, ..result };
        assert_eq!(serde_json::to_string(&Record(&by_the_cpu)).unwrap(), line(r#""ran":"cpu""#));
    }

    #[test]
    fn groups_stand_beside_the_classes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let manifest: Manifest = toml::from_str(
            "name = 'm'\n[[classes]]\nname = 'sky'\n[[classes]]\nname = 'car'\ngroup = 'vehicle'\n\
             [[classes]]\nname = 'road'\ngroup = 'flat'\n[[classes]]\nname = 'bus'\ngroup = 'vehicle'\n",
        )
        .unwrap();
        let labels = LabelMap::new(Some(4), Some(&manifest)).unwrap();
        let mut sink = JsonlSink::open(&config(&path)).unwrap().unwrap();
        // One pixel of class 0, two of class 1, one of none.
        publish_as(&mut sink, 0, &labels);
        Box::new(sink).close(Closing::Drain);
        let line = std::fs::read_to_string(&path).unwrap();
        let expected = "\"classes\":{\"sky\":0.25,\"car\":0.5,\"road\":0.0,\"bus\":0.0,\"void\":0.25},\
                        \"groups\":{\"vehicle\":0.5,\"flat\":0.0},\"confidence\":";
        assert!(line.contains(expected), "{line}");
    }

    #[test]
    fn a_full_file_is_rotated_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let config = Jsonl { max_bytes: Bytes(600), keep: 2, ..config(&path) };
        let mut sink = JsonlSink::open(&config).unwrap().unwrap();
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
        let mut sink = JsonlSink::open(&config(std::path::Path::new("/dev/full"))).unwrap().unwrap();
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
        let error = JsonlSink::open(&config(std::path::Path::new("/nonexistent/x.jsonl"))).err().unwrap();
        assert!(error.to_string().contains("publish.jsonl.path /nonexistent/x.jsonl: "), "{error}");
        assert!(JsonlSink::open(&Jsonl { path: String::new(), ..Jsonl::default() }).unwrap().is_none());
    }
}
