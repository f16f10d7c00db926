//! Where results go: the [`Sink`] trait, and one file per kind of sink.
//!
//! A sink never holds the pipeline. It hands work to a thread of its own, and what that thread can't take is dropped and
//! counted.

pub mod gpio;
pub mod http;
pub mod images;
pub mod jsonl;
pub mod snapshot;
pub mod view;

use base::clock::Instant;
use base::outbox::{Closing, OutboxHealth};
use model::LabelMap;
use pixels::frame::Size;
use pixels::segment::Summary;

use crate::telemetry::{Counts, EngineReport, Timings};

/// One frame's result, borrowed for the time of a [`Sink::publish`].
#[derive(Clone, Copy, Debug)]
pub struct Published<'a> {
    /// Number of the frame as its source counts them.
    pub sequence: u64,
    /// When the picture was taken.
    pub time: jiff::Timestamp,
    /// Short name of the model.
    pub model: &'a str,
    /// Names and colours.
    pub labels: &'a LabelMap,
    /// Class areas and confidence.
    pub summary: &'a Summary,
    /// Stages so far; `publish` is still zero, `end_to_end` reaches to this moment.
    pub timings: &'a Timings,
    /// Frames lost so far.
    pub counts: &'a Counts,
    /// What runs the model, at this moment.
    pub engine: &'a EngineReport,
    /// The worker that ran this frame, from 0; None is the CPU in this process.
    pub worker: Option<usize>,
    /// Results that this run's sinks have dropped so far.
    pub dropped: u64,
    /// Class id per pixel.
    pub mask: &'a [u8],
    /// Size of the mask.
    pub mask_size: Size,
    /// The picture in RGB at the mask's size, when a sink asked for it.
    pub picture: Option<&'a [u8]>,
}

/// Somewhere results go.
pub trait Sink: Send {
    /// A name for the log.
    fn name(&self) -> &'static str;

    /// Takes one result, or drops and counts it. Must not block.
    fn publish(&mut self, result: &Published<'_>);

    /// Drops so far, and whether the sink is beyond help.
    fn health(&self) -> OutboxHealth;

    /// True for a sink that only looks on: while all others are gone, results reach nobody.
    fn is_onlooker(&self) -> bool {
        false
    }

    /// Finishes what was taken, as far as `closing` allows.
    fn close(self: Box<Self>, closing: Closing) -> OutboxHealth;
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

/// Fraction of the mask by class name, to six digits. Where the number of classes is unknown, only those that occur; with
/// an entry `void` for pixels without a class, where there are any.
pub fn class_areas<'a>(labels: &'a LabelMap, summary: &'a Summary) -> impl Iterator<Item = (&'a str, f64)> {
    let pixels = summary.counts.iter().sum::<u64>();
    let named: u64 = summary.counts.iter().take(labels.len()).sum();
    let void = (pixels > named).then(|| ("void", share(pixels - named, pixels)));
    labels
        .names()
        .iter()
        .zip(summary.counts)
        .filter(|(_, count)| labels.is_known() || *count > 0)
        .map(move |(name, count)| (name.as_str(), share(count, pixels)))
        .chain(void)
}

/// Fraction of the mask that the classes of each group cover together, to six digits.
pub fn group_areas<'a>(labels: &'a LabelMap, summary: &'a Summary) -> impl Iterator<Item = (&'a str, f64)> {
    let pixels = summary.counts.iter().sum::<u64>();
    labels.groups().iter().map(move |group| (group.name.as_str(), share(count(&group.classes, summary), pixels)))
}

/// Fraction of the mask that `classes` cover together, to six digits.
pub fn area_of(classes: &[u8], summary: &Summary) -> f64 {
    share(count(classes, summary), summary.counts.iter().sum())
}

fn count(classes: &[u8], summary: &Summary) -> u64 {
    classes.iter().map(|&class| summary.counts[usize::from(class)]).sum()
}

fn share(count: u64, pixels: u64) -> f64 {
    rounded(count as f64 / pixels.max(1) as f64, 1e6)
}

/// Areas as a JSON object.
pub(crate) fn object<'a>(areas: impl Iterator<Item = (&'a str, f64)>) -> serde_json::Value {
    areas.map(|(name, area)| (name.to_owned(), serde_json::json!(area))).collect()
}

/// `value` to the nearest `1 / steps`.
pub(crate) fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Manifest;

    fn summary(counts: &[(usize, u64)]) -> Summary {
        let mut summary = Summary::default();
        counts.iter().for_each(|&(id, count)| summary.counts[id] = count);
        summary
    }

    #[test]
    fn every_known_class_has_its_area_and_what_is_none_is_void_where_there_is_any() {
        let areas = |classes, counts: &[(usize, u64)]| {
            let (labels, summary) = (LabelMap::new(classes, None).unwrap(), summary(counts));
            object(class_areas(&labels, &summary)).to_string()
        };
        assert_eq!(areas(Some(2), &[]), r#"{"class_0":0.0,"class_1":0.0}"#);
        assert_eq!(areas(Some(2), &[(0, 1), (1, 2)]), r#"{"class_0":0.333333,"class_1":0.666667}"#);
        assert_eq!(
            areas(Some(2), &[(0, 1), (2, 1), (255, 1)]),
            r#"{"class_0":0.333333,"class_1":0.0,"void":0.666667}"#
        );
        // Where their number is not known, those that occur.
        assert_eq!(areas(None, &[(3, 1), (7, 3)]), r#"{"class_3":0.25,"class_7":0.75}"#);
    }

    #[test]
    fn an_area_is_rounded_to_six_digits_and_of_no_pixels_zero() {
        let summary = summary(&[(0, 1), (1, 1), (255, 1)]);
        let areas = [&[0][..], &[0, 1], &[7], &[]].map(|classes| area_of(classes, &summary));
        assert_eq!(areas, [0.333_333, 0.666_667, 0.0, 0.0]);
        assert_eq!(area_of(&[0], &Summary::default()), 0.0);
        assert_eq!([rounded(1.2346, 1e3), rounded(-1.2344, 1e3), rounded(2.5, 1.0)], [1.235, -1.234, 3.0]);
    }

    #[test]
    fn every_sink_has_its_name_and_counts_as_a_receiver() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let jsonl = crate::config::Jsonl { path: path("x"), ..crate::config::Jsonl::default() };
        let snapshot = crate::config::Snapshot { dir: path("y"), ..crate::config::Snapshot::default() };
        let clock = std::sync::Arc::new(base::clock::ManualClock::default());
        let sinks: [Box<dyn Sink>; 2] = [
            Box::new(jsonl::JsonlSink::open(&jsonl).unwrap().unwrap()),
            Box::new(snapshot::SnapshotSink::open(&snapshot, clock).unwrap().unwrap().0),
        ];
        assert_eq!(sinks.map(|sink| (sink.name(), sink.is_onlooker())), [("jsonl", false), ("snapshot", false)]);
    }

    #[test]
    fn a_group_covers_what_its_classes_cover_together() {
        let class = |name: &str, group: &str| format!("[[classes]]\nname = '{name}'\ngroup = '{group}'\n");
        let classes =
            [class("car", "vehicle"), class("road", "flat"), class("bus", "vehicle"), class("van", "vehicle")];
        let manifest: Manifest = toml::from_str(&format!("name = 'm'\n{}", classes.concat())).unwrap();
        let labels = LabelMap::new(Some(4), Some(&manifest)).unwrap();
        let mut summary = Summary::default();
        assert_eq!(group_areas(&labels, &summary).collect::<Vec<_>>(), [("vehicle", 0.0), ("flat", 0.0)]);
        // Two sixths: the sum is rounded, not what is summed, which would make 2 x 0.166667.
        for (id, count) in [(0, 1), (1, 1), (2, 1), (255, 3)] {
            summary.counts[id] = count;
        }
        assert_eq!(group_areas(&labels, &summary).collect::<Vec<_>>(), [("vehicle", 0.333_333), ("flat", 0.166_667)]);
    }
}
