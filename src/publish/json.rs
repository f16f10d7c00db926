//! Values that JSON Lines and the latency log write alike.

use base::rounding::rounded;
use serde::ser::{SerializeMap, Serializer};
use serde::Serialize;

use crate::scene::Outcome;
use crate::telemetry::Stage;

/// A time stamp with six digits of the second, always as long.
pub(super) struct Micros(pub(super) jiff::Timestamp);

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.6}", self.0))
    }
}

/// Milliseconds of every stage but the one that is under way.
pub(super) struct StageMilliseconds<'a>(pub(super) &'a Outcome);

impl Serialize for StageMilliseconds<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for stage in Stage::ALL.into_iter().filter(|&stage| stage != Stage::Publish) {
            let milliseconds = self.0.journey.timings.of(stage).as_secs_f64() * 1e3;
            map.serialize_entry(stage.name(), &rounded(milliseconds, 1e3))?;
        }
        map.end()
    }
}
