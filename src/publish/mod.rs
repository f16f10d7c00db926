//! Where results go: the [`Sink`] trait, and one file per kind of sink.
//!
//! A sink never holds the pipeline. It hands work to a thread of its own, and what that thread can't take is dropped and
//! counted.

pub mod gpio;
pub mod images;
mod json;
pub mod jsonl;
pub mod latency_log;
mod pace;
pub mod plug;
pub mod requests;
pub mod snapshot;
pub mod view;

use std::time::Duration;

use base::clock::Instant;
use base::outbox::{Closing, OutboxHealth};

use crate::scene::Outcome;
use crate::telemetry::{EventRecord, IntervalRecord};

/// Somewhere results go.
pub trait Sink: Send {
    /// A name for the log.
    fn name(&self) -> &'static str;

    /// Takes one result, or drops and counts it. Must not block.
    fn publish(&mut self, outcome: &Outcome);

    /// Drops so far, and whether the sink is beyond help.
    fn health(&self) -> OutboxHealth;

    /// True for a sink that only looks on: while all others are gone, results reach nobody.
    fn is_onlooker(&self) -> bool {
        false
    }

    /// Finishes what was taken, as far as `closing` allows.
    fn close(self: Box<Self>, closing: Closing) -> OutboxHealth;
}

/// Something that takes the records of intervals, and of what happens. No call waits.
pub trait Journal: Send {
    /// A name for the log and among the sinks.
    fn name(&self) -> &'static str;

    /// Takes the record of an interval, or drops and counts it.
    fn interval(&mut self, record: &IntervalRecord<'_>);

    /// Takes an event, or drops and counts it.
    fn event(&mut self, event: &EventRecord<'_>);

    /// Records that were lost so far.
    fn lost(&self) -> u64;

    /// Waits up to `limit` for what was taken to arrive, and says how many records were lost in all.
    fn close(self: Box<Self>, limit: Duration) -> u64;
}

/// Says when frames are to carry their picture to the sinks. The capture thread asks, once for every frame, so both calls
/// must be quick and never wait.
pub trait PictureGate: Send + Sync {
    /// True when a frame that is converted now should carry its picture.
    fn is_due(&self, now: Instant) -> bool;

    /// The frame that carries the picture asked for at `converted` is on its way through the model. Until this is said, a
    /// newer frame may still replace it, and should then carry its own.
    fn taken(&self, _converted: Instant) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sink_has_its_name_and_counts_as_a_receiver() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let jsonl = crate::config::Jsonl { path: path("x"), ..crate::config::Jsonl::default() };
        let snapshot = crate::config::Snapshot { dir: path("y"), ..crate::config::Snapshot::default() };
        let clock = std::sync::Arc::new(base::clock::ManualClock::default());
        let sinks: [Box<dyn Sink>; 2] = [
            Box::new(jsonl::JsonlSink::open(&jsonl, std::sync::Arc::new(base::clock::SystemClock)).unwrap().unwrap()),
            Box::new(snapshot::SnapshotSink::open(&snapshot, std::sync::Arc::default(), clock).unwrap().unwrap()),
        ];
        assert_eq!(sinks.map(|sink| (sink.name(), sink.is_onlooker())), [("jsonl", false), ("snapshot", false)]);
    }
}
