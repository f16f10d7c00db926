//! One line of a latency log, as it is read. Keys that this version doesn't know are passed over; missing ones are None.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use crate::telemetry::Counts;

/// A record of any kind: the keys of all of them.
#[derive(Debug, Deserialize)]
pub(super) struct Record<'a> {
    pub(super) time: Timestamp,
    #[serde(borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) run: Cow<'a, str>,
    pub(super) uptime: Option<f64>,

    pub(super) seconds: Option<f64>,
    pub(super) frames: Option<Frames>,
    #[serde(default)]
    pub(super) dropped: u64,
    pub(super) camera: Option<String>,
    pub(super) engine: Option<EngineRecord>,
    pub(super) power: Option<Power>,
    #[serde(default)]
    pub(super) celsius: BTreeMap<String, Option<f64>>,
    pub(super) throttled: Option<Throttled>,
    #[serde(borrow, default)]
    pub(super) latency: Latency<'a>,

    pub(super) what: Option<String>,
    pub(super) state: Option<String>,
    pub(super) text: Option<String>,
    pub(super) version: Option<String>,
    pub(super) model: Option<String>,
    pub(super) host: Option<String>,

    /// Latency as lines of the text log tell it, which have no histograms.
    #[serde(skip)]
    pub(super) stages: Vec<StageLine>,
    /// It comes from the text log.
    #[serde(skip)]
    pub(super) is_told: bool,
    /// Nothing was counted in an interval of the text log; those that follow may have no lines.
    #[serde(skip)]
    pub(super) is_idle: bool,
}

impl<'a> Record<'a> {
    /// A record without anything.
    pub(super) fn new(time: Timestamp, kind: Cow<'a, str>, run: Cow<'a, str>) -> Self {
        Self {
            time,
            kind,
            run,
            uptime: None,
            seconds: None,
            frames: None,
            dropped: 0,
            camera: None,
            engine: None,
            power: None,
            celsius: BTreeMap::new(),
            throttled: None,
            latency: Latency::default(),
            what: None,
            state: None,
            text: None,
            version: None,
            model: None,
            host: None,
            stages: Vec::new(),
            is_told: false,
            is_idle: false,
        }
    }
}

/// Frames by fate.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Frames {
    frames_in: u64,
    skipped: u64,
    corrupt: u64,
    replaced: u64,
    inferred: u64,
    failed: u64,
    published: u64,
}

impl Frames {
    /// Those of a line of the text log; None where one is missing.
    pub(super) fn of(value: impl Fn(&str) -> Option<u64>) -> Option<Self> {
        let (frames_in, skipped, corrupt) = (value("in")?, value("skipped")?, value("corrupt")?);
        let (replaced, inferred, failed) = (value("replaced")?, value("inferred")?, value("failed")?);
        Some(Self { frames_in, skipped, corrupt, replaced, inferred, failed, published: value("published")? })
    }
}

impl From<Counts> for Frames {
    fn from(counts: Counts) -> Self {
        let Counts { frames_in, skipped, corrupt, replaced, inferred, failed, published } = counts;
        Self { frames_in, skipped, corrupt, replaced, inferred, failed, published }
    }
}

impl From<Frames> for Counts {
    fn from(frames: Frames) -> Self {
        let Frames { frames_in, skipped, corrupt, replaced, inferred, failed, published } = frames;
        Self { frames_in, skipped, corrupt, replaced, inferred, failed, published }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EngineRecord {
    pub(super) kind: String,
    pub(super) workers: u64,
    pub(super) up: u64,
    pub(super) reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Power {
    pub(super) watts: Option<f64>,
    pub(super) joules: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Throttled {
    pub(super) seconds: f64,
}

/// Histograms by stage, in base64.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Latency<'a> {
    #[serde(borrow)]
    sensor: Stage<'a>,
    #[serde(borrow)]
    convert: Stage<'a>,
    #[serde(borrow)]
    queue: Stage<'a>,
    #[serde(borrow)]
    infer: Stage<'a>,
    #[serde(borrow)]
    decode: Stage<'a>,
    #[serde(borrow)]
    publish: Stage<'a>,
    #[serde(borrow)]
    end_to_end: Stage<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stage<'a> {
    #[serde(borrow)]
    hdr: Cow<'a, str>,
}

impl Latency<'_> {
    /// In the order of [`crate::telemetry::Stage::ALL`]; empty where a stage had no frames.
    pub(super) fn stages(&self) -> [&str; 7] {
        let Self { sensor, convert, queue, infer, decode, publish, end_to_end } = self;
        [sensor, convert, queue, infer, decode, publish, end_to_end].map(|stage| stage.hdr.as_ref())
    }
}

/// Text from a file as it may be shown, and not longer than a line.
pub(super) fn shown(text: &str) -> String {
    base::text::shown(text).chars().take(300).collect()
}

/// Latency of a stage as one line tells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct StageLine {
    pub(super) stage: usize,
    pub(super) n: u64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

/// Seconds from one time to a later one; negative where it is earlier.
pub(super) fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_not_copied_and_unknown_keys_are_passed_over() {
        let line = r#"{"time":"2026-11-22T10:00:00Z","kind":"interval","run":"a","new":[1,{}],"seconds":60,
            "frames":{"frames_in":3,"eaten":1},"latency":{"infer":{"n":1,"hdr":"AAAA"},"other":{}}}"#;
        let record: Record<'_> = serde_json::from_str(line).unwrap();
        assert_eq!(record.latency.stages()[3], "AAAA");
        assert!(matches!(record.latency.infer.hdr, Cow::Borrowed(_)));
        assert_eq!(Counts::from(record.frames.unwrap()), Counts { frames_in: 3, ..Counts::default() });
    }

    #[test]
    fn what_comes_from_a_file_does_not_reach_the_terminal_as_it_is() {
        assert_eq!(shown("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(shown(&"é".repeat(999)).chars().count(), 300);
    }
}
