//! Every metric: name, unit, type, labels, meaning, and where its samples come from. docs/metrics.md has the same for users,
//! held together by a test.
//!
//! What is unknown has no sample: a 0 would be a value.

use std::collections::BTreeMap;

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::Snapshot;
use crate::telemetry::sensors::{Board, Rail};
use crate::telemetry::state::{Area, CameraState, LastResult, StageBuckets};

/// Upper bounds of the buckets of every stage's time, seconds.
pub(super) const BOUNDS: [f64; 21] = [
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0,
    5.0, 10.0,
];

/// One metric.
pub(super) struct Family {
    /// Between the prefix and the unit.
    pub(super) name: &'static str,
    /// The unit as it stands in the name; empty where there is none.
    pub(super) unit: &'static str,
    pub(super) kind: Kind,
    /// Names of the labels, in order, as a test holds samples and documentation to them.
    #[cfg_attr(not(test), allow(dead_code))]
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
    pub(super) samples: fn(&Snapshot) -> Samples,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
}

/// Labels of one sample.
pub(super) type Labels = Vec<(&'static str, String)>;

/// What a metric says at one moment.
pub(super) enum Samples {
    Values(Vec<(Labels, f64)>),
    Histograms(Vec<StageBuckets>),
}

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "build",
        unit: "",
        kind: Kind::Info,
        labels: &["version"],
        help: "The program that runs",
        samples: |s| labelled([("version", s.state.program.version.clone(), Some(1.0))]),
    },
    Family {
        name: "model",
        unit: "",
        kind: Kind::Info,
        labels: &["name"],
        help: "The model that runs",
        samples: |s| labelled([("name", s.state.model.name.clone(), Some(1.0))]),
    },
    gauge("ready", "", &[], "1 while results come, else 0", |s| one(flag(s.state.ready))),
    gauge("live", "", &[], "1 while every thread goes round its loop, else 0", |s| one(flag(s.is_live))),
    gauge("uptime", "seconds", &[], "Time since the program's start, by the monotonic clock", |s| {
        one(s.state.program.uptime_seconds)
    }),
    gauge("process_start_time", "seconds", &[], "Unix time of the program's start, by the wall clock of then", |s| {
        one(s.state.program.started.as_millisecond() as f64 / 1000.0)
    }),
    counter("process_cpu", "seconds", &[], "Processor time of the process without its workers, user and system", |s| {
        maybe(s.board().and_then(|board| board.process.cpu_seconds))
    }),
    gauge("process_resident_memory", "bytes", &[], "Resident memory of the process without its workers", |s| {
        maybe(s.board().and_then(|board| board.process.resident_bytes).map(|bytes| bytes as f64))
    }),
    gauge("camera_up", "", &[], "1 while the camera is open, else 0", |s| {
        one(flag(matches!(s.state.camera.state, CameraState::Running | CameraState::Damaged)))
    }),
    gauge("camera_state", "", &["state"], "1 for the state that the camera is in, 0 for the others", |s| {
        let states = [
            CameraState::Opening,
            CameraState::Running,
            CameraState::Damaged,
            CameraState::Waiting,
            CameraState::Paused,
        ];
        let is_in = |state| Some(flag(s.state.camera.state == state));
        labelled(states.map(|state| ("state", state.name().to_owned(), is_in(state))))
    }),
    counter("camera_opens", "", &[], "Times that the camera was opened", |s| one(s.state.camera.opens as f64)),
    counter("camera_frames", "", &[], "Frames that the camera handed over", |s| one(s.state.frames.frames_in as f64)),
    counter("inferred_frames", "", &[], "Frames that went through the model", |s| one(s.state.frames.inferred as f64)),
    counter("frames", "", &["fate"], "Frames by what became of them; each ends in one fate", |s| {
        let frames = &s.state.frames;
        let fates = [
            ("published", frames.published),
            ("replaced", frames.replaced),
            ("skipped", frames.skipped),
            ("corrupt", frames.corrupt),
            ("failed", frames.failed),
        ];
        labelled(fates.map(|(fate, count)| ("fate", fate.to_owned(), Some(count as f64))))
    }),
    counter("sink_dropped", "", &["sink"], "Results that a sink lost", |s| {
        labelled(s.state.sinks.iter().map(|sink| ("sink", sink.name.clone(), Some(sink.dropped as f64))))
    }),
    Family {
        name: "stage_duration",
        unit: "seconds",
        kind: Kind::Histogram,
        labels: &["stage"],
        help: "Time that published frames took in each stage",
        samples: |s| Samples::Histograms(s.stages.clone()),
    },
    gauge("result_age", "seconds", &[], "Time since the last result", |s| {
        maybe(s.result().map(|result| result.age_seconds))
    }),
    gauge("class_area", "ratio", &["class"], "Share of the last class map that the class covers", |s| {
        areas("class", s.result().map(|result| result.classes.as_slice()))
    }),
    gauge("group_area", "ratio", &["group"], "Share of the last class map that the group of classes covers", |s| {
        areas("group", s.result().map(|result| result.groups.as_slice()))
    }),
    gauge("confidence", "ratio", &[], "Mean softmax probability of the winning class in the last result", |s| {
        maybe(s.result().and_then(|result| result.confidence))
    }),
    Family {
        name: "engine",
        unit: "",
        kind: Kind::Info,
        labels: &["kind"],
        help: "What runs the model",
        samples: |s| labelled([("kind", s.state.engine.kind.clone(), Some(1.0))]),
    },
    gauge("engine_workers", "", &[], "Workers that are configured; 0 where the CPU alone runs the model", |s| {
        one(s.state.engine.workers as f64)
    }),
    gauge("engine_workers_up", "", &[], "Workers that can run the model now", |s| one(s.state.engine.up as f64)),
    counter(
        "engine_faults",
        "",
        &[],
        "Times that a worker, or the CPU's process, failed or could not be brought up",
        |s| one(s.state.engine.faults as f64),
    ),
    counter("engine_starts", "", &[], "Times that a worker, or the CPU's process, came up", |s| {
        one(s.state.engine.starts as f64)
    }),
    counter("engine_fallback_frames", "", &[], "Frames that the CPU ran because no worker was up", |s| {
        one(s.state.engine.fallback_frames as f64)
    }),
    gauge("power", "watts", &["rail"], "Power of a rail", |s| rails(s, |rail| rail.watts)),
    gauge("rail", "volts", &["rail"], "Voltage of a rail", |s| rails(s, |rail| rail.volts)),
    gauge("rail", "amperes", &["rail"], "Current of a rail", |s| rails(s, |rail| rail.amps)),
    counter("energy", "joules", &["rail"], "Energy of a rail while its power was known", |s| {
        rails(s, |rail| rail.joules)
    }),
    gauge("board_power", "watts", &[], "Power of the rails that make the board's total", |s| {
        maybe(s.board().and_then(|board| board.watts))
    }),
    counter("board_energy", "joules", &[], "Energy of the rails that make the board's total", |s| {
        maybe(s.board().and_then(|board| board.joules))
    }),
    gauge("frame_energy", "joules", &[], "Energy per inferred frame over the last telemetry.interval", |s| {
        maybe(s.state.joules_per_frame)
    }),
    gauge("temperature", "celsius", &["sensor"], "Temperature", |s| {
        let all = s.board().map(|board| board.temperatures.as_slice()).unwrap_or_default();
        labelled(all.iter().map(|one| ("sensor", one.name.clone(), one.celsius)))
    }),
    gauge("temperature_fault", "", &["sensor"], "1 while a sensor's value is impossible, else 0", |s| {
        let all = s.board().map(|board| board.temperatures.as_slice()).unwrap_or_default();
        labelled(all.iter().map(|one| ("sensor", one.name.clone(), Some(flag(one.fault.is_some())))))
    }),
    gauge("cpu_frequency", "hertz", &[], "Clock of the processor's fastest cores", |s| {
        maybe(s.board().and_then(|board| board.cpu_hertz).map(|hertz| hertz as f64))
    }),
    gauge(
        "throttled",
        "",
        &["cause", "when"],
        "1 where the cause slows the board down now, or has since its start",
        |s| {
            let throttle = s.board().and_then(|board| board.throttle);
            let each =
                throttle.iter().flat_map(|throttle| [("now", throttle.now), ("has_occurred", throttle.has_occurred)]);
            let all = each.flat_map(|(when, causes)| causes.named().map(|(cause, is_on)| (cause, when, is_on)));
            let labels = |cause: &str, when: &str| vec![("cause", cause.to_owned()), ("when", when.to_owned())];
            Samples::Values(all.map(|(cause, when, is_on)| (labels(cause, when), flag(is_on))).collect())
        },
    ),
];

const fn gauge(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    samples: fn(&Snapshot) -> Samples,
) -> Family {
    Family { name, unit, kind: Kind::Gauge, labels, help, samples }
}

const fn counter(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    samples: fn(&Snapshot) -> Samples,
) -> Family {
    Family { name, unit, kind: Kind::Counter, labels, help, samples }
}

impl Family {
    pub(super) fn unit(&self) -> Option<Unit> {
        (!self.unit.is_empty()).then(|| Unit::Other(self.unit.to_owned()))
    }
}

impl Kind {
    pub(super) const fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
            Self::Info => MetricType::Info,
        }
    }
}

impl Samples {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Values(values) => values.is_empty(),
            Self::Histograms(histograms) => histograms.is_empty(),
        }
    }
}

impl Snapshot {
    fn board(&self) -> Option<&Board> {
        self.state.board.as_ref()
    }

    fn result(&self) -> Option<&LastResult> {
        self.state.result.as_ref()
    }
}

/// The one sample of a metric without labels.
fn one(value: f64) -> Samples {
    maybe(Some(value))
}

/// The same where the value may be unknown.
fn maybe(value: Option<f64>) -> Samples {
    Samples::Values(value.filter(|value| value.is_finite()).map(|value| (Labels::new(), value)).into_iter().collect())
}

/// A sample for each value of one label, where it is known.
fn labelled(all: impl IntoIterator<Item = (&'static str, String, Option<f64>)>) -> Samples {
    let known =
        all.into_iter().filter_map(|(label, name, value)| Some((label, name, value.filter(|v| v.is_finite())?)));
    Samples::Values(known.map(|(label, name, value)| (vec![(label, name)], value)).collect())
}

fn rails(snapshot: &Snapshot, value: fn(&Rail) -> Option<f64>) -> Samples {
    let all = snapshot.board().map(|board| board.rails.as_slice()).unwrap_or_default();
    labelled(all.iter().map(|rail| ("rail", rail.name.clone(), value(rail))))
}

/// Names may be there twice (a model may call a class `void`): they cover what they cover together.
fn areas(label: &'static str, all: Option<&[Area]>) -> Samples {
    let mut shares: BTreeMap<&str, f64> = BTreeMap::new();
    for area in all.unwrap_or_default() {
        *shares.entry(&area.name).or_default() += area.share;
    }
    labelled(shares.into_iter().map(|(name, share)| (label, name.to_owned(), Some(share))))
}

fn flag(is_on: bool) -> f64 {
    f64::from(u8::from(is_on))
}
