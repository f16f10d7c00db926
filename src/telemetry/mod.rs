//! Latency per stage and counts of frames: what is measured, and the one place that keeps it.
//!
//! [`Timings`] travel with a frame; the publish thread records them in a [`Recorder`]. [`Counters`] are shared by all
//! stages.

mod engine;
#[cfg(test)]
pub(crate) mod example;
mod histograms;
mod journey;
mod lines;
pub mod log_format;
mod recorder;
mod records;
pub mod sensors;
pub mod state;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use engine::EngineReport;
pub use histograms::{HistogramError, Histograms};
pub use journey::Journey;
pub use lines::{table, Lines, Reporter};
pub use recorder::{Latency, Recorder};
pub use records::{EventRecord, IntervalRecord, What};

/// A step on a frame's way, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Kernel time stamp to dequeue.
    Sensor,
    /// Dequeue to finished tensor: JPEG decoding, colour, resize, quantisation.
    Convert,
    /// Finished tensor to start of inference: waiting for the infer thread.
    Queue,
    /// The model.
    Infer,
    /// Output tensor to class map and areas.
    Decode,
    /// Class map to every sink having it.
    Publish,
    /// Kernel time stamp to published. More than the sum of the others by the hand-over to the publish thread.
    EndToEnd,
}

impl Stage {
    /// Every stage in order.
    pub const ALL: [Self; 7] =
        [Self::Sensor, Self::Convert, Self::Queue, Self::Infer, Self::Decode, Self::Publish, Self::EndToEnd];

    /// The name in logs and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sensor => "sensor",
            Self::Convert => "convert",
            Self::Queue => "queue",
            Self::Infer => "infer",
            Self::Decode => "decode",
            Self::Publish => "publish",
            Self::EndToEnd => "end_to_end",
        }
    }
}

/// How long each stage of one frame took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings([Duration; Stage::ALL.len()]);

impl Timings {
    /// Sets the time of one stage.
    pub fn set(&mut self, stage: Stage, time: Duration) {
        self.0[stage as usize] = time;
    }

    /// Time of one stage.
    pub const fn of(&self, stage: Stage) -> Duration {
        self.0[stage as usize]
    }
}

/// What happened to frames since the start. Every field only grows.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames that the camera handed over.
    pub frames_in: AtomicU64,
    /// Frames that the kernel dropped, or that were passed over in favour of a newer one before they were read.
    pub skipped: AtomicU64,
    /// Frames that came damaged or short.
    pub corrupt: AtomicU64,
    /// Frames that were converted but replaced by a newer one before the next stage took them.
    pub replaced: AtomicU64,
    /// Frames that went through the model.
    pub inferred: AtomicU64,
    /// Inferences that failed; their frames are lost.
    pub failed: AtomicU64,
    /// Frames whose class map went to the sinks.
    pub published: AtomicU64,
    /// Times that a camera was opened.
    pub camera_opens: AtomicU64,
}

/// The values of [`Counters`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// See [`Counters::frames_in`].
    pub frames_in: u64,
    /// See [`Counters::skipped`].
    pub skipped: u64,
    /// See [`Counters::corrupt`].
    pub corrupt: u64,
    /// See [`Counters::replaced`].
    pub replaced: u64,
    /// See [`Counters::inferred`].
    pub inferred: u64,
    /// See [`Counters::failed`].
    pub failed: u64,
    /// See [`Counters::published`].
    pub published: u64,
}

impl Counters {
    /// Adds one to `counter`.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The values now.
    pub fn read(&self) -> Counts {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            frames_in: value(&self.frames_in),
            skipped: value(&self.skipped),
            corrupt: value(&self.corrupt),
            replaced: value(&self.replaced),
            inferred: value(&self.inferred),
            failed: value(&self.failed),
            published: value(&self.published),
        }
    }
}

impl Counts {
    /// What was added since `earlier`.
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            frames_in: self.frames_in - earlier.frames_in,
            skipped: self.skipped - earlier.skipped,
            corrupt: self.corrupt - earlier.corrupt,
            replaced: self.replaced - earlier.replaced,
            inferred: self.inferred - earlier.inferred,
            failed: self.failed - earlier.failed,
            published: self.published - earlier.published,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_its_name_and_its_time() {
        let names = ["sensor", "convert", "queue", "infer", "decode", "publish", "end_to_end"];
        assert_eq!(Stage::ALL.map(Stage::name), names);
        let mut timings = Timings::default();
        let seconds = |stage: Stage| Duration::from_secs(stage as u64 + 1);
        Stage::ALL.into_iter().for_each(|stage| timings.set(stage, seconds(stage)));
        assert_eq!(Stage::ALL.map(|stage| timings.of(stage).as_secs()), [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn every_counter_is_read_under_its_own_name_and_compared_with_its_own_past() {
        let counters = Counters::default();
        let Counters { frames_in, skipped, corrupt, replaced, inferred, failed, published, camera_opens } = &counters;
        let all = [frames_in, skipped, corrupt, replaced, inferred, failed, published, camera_opens];
        let count = |times: fn(usize) -> usize| {
            for (index, counter) in all.into_iter().enumerate() {
                (0..times(index)).for_each(|_| Counters::count(counter));
            }
            counters.read()
        };
        let earlier = count(|index| index + 1);
        let expected =
            Counts { frames_in: 1, skipped: 2, corrupt: 3, replaced: 4, inferred: 5, failed: 6, published: 7 };
        assert_eq!((earlier, camera_opens.load(Ordering::Relaxed)), (expected, 8));
        let added =
            Counts { frames_in: 20, skipped: 19, corrupt: 18, replaced: 17, inferred: 16, failed: 15, published: 14 };
        assert_eq!(count(|index| 20 - index).since(&earlier), added);
    }
}
