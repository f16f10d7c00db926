//! `[telemetry]`: latency figures, power and heat, and the file that keeps them.

use std::path::{Path, PathBuf};

use base::line_file::rotated;
use base::values::{Auto, Bytes, Seconds};
use serde::{Deserialize, Serialize};

use super::Publish;
use crate::telemetry::sensors::{RailNames, SensorCommand, SensorOptions};

/// `[telemetry]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Time between two groups of latency lines in the log. 0 turns them off.
    pub interval: Seconds,
    /// Time between two looks at power, temperature, clock and throttling. 0 turns them off.
    pub sensors: Seconds,
    /// Rails whose watts make the board's total: `auto` (all of the best source that is there), or names separated by commas,
    /// as `pspnetd devices` lists them.
    pub power_rails: Auto<RailNames>,
    /// Program that prints the rails of a Raspberry Pi 5's power chip. `auto` runs `vcgencmd pmic_read_adc` on a Pi 5; `off` none.
    pub pmic_command: Auto<SensorCommand>,
    /// Program that prints a Raspberry Pi's throttle word. `auto` runs `vcgencmd get_throttled` on a Pi whose kernel has no
    /// file for it, as today's have none; `off` none.
    pub throttle_command: Auto<SensorCommand>,
    /// Latency histograms and power in a file, for `pspnetd report`.
    pub latency_log: LatencyLog,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            interval: Seconds::new(10),
            sensors: Seconds::new(1),
            power_rails: Auto::Auto,
            pmic_command: Auto::Auto,
            throttle_command: Auto::Auto,
            latency_log: LatencyLog::default(),
        }
    }
}

/// `[telemetry.latency_log]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LatencyLog {
    /// A file that is appended to and rotated; empty turns it off.
    pub path: String,
    /// Time that one record covers. Not zero.
    pub interval: Seconds,
    /// A file that has grown past this is renamed to `<path>.1`, and so on. 0 never rotates by size.
    pub max_bytes: Bytes,
    /// A file whose first record is older than this is renamed too. 0 never rotates by age.
    pub max_age: Seconds,
    /// Rotated files to keep.
    pub keep: u32,
    /// One record per frame as well.
    pub frames: bool,
    /// When the file is synced to disk: `interval` (after each record of an interval), `rotate` (when it is rotated, and at the
    /// end), or `never`.
    pub sync: Sync,
}

impl Default for LatencyLog {
    fn default() -> Self {
        Self {
            path: String::new(),
            interval: Seconds::new(60),
            max_bytes: Bytes(16 << 20),
            max_age: Seconds::new(24 * 3600),
            keep: 32,
            frames: false,
            sync: Sync::Interval,
        }
    }
}

/// When a file is synced to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    /// After each record of an interval.
    #[default]
    Interval,
    /// When it is rotated, and at the end.
    Rotate,
    /// Never; the system writes it when it likes.
    Never,
}

impl Telemetry {
    /// What of it is for the sensors.
    pub fn sensor_options(&self) -> SensorOptions {
        SensorOptions {
            interval: self.sensors,
            power_rails: self.power_rails.clone(),
            pmic_command: self.pmic_command.clone(),
            throttle_command: self.throttle_command.clone(),
        }
    }

    /// The first key that can't be as it is, and why.
    pub(super) fn contradiction(&self, publish: &Publish) -> Option<(&'static str, String)> {
        let log = &self.latency_log;
        let is_file = |path: &str| !path.is_empty() && path != "-";
        if is_file(&log.path) && is_file(&publish.jsonl.path) {
            let (one, other) = (real(&log.path), real(&publish.jsonl.path));
            let reason = if one == other {
                Some("publish.jsonl.path already")
            } else if is_rotated(&one, &other, publish.jsonl.keep) {
                Some("where publish.jsonl.path is rotated to")
            } else if is_rotated(&other, &one, log.keep) {
                Some("rotated to publish.jsonl.path")
            } else {
                None
            };
            if let Some(reason) = reason {
                let reason = format!("{} is {reason}; each needs a file of its own", log.path);
                return Some(("telemetry.latency_log.path", reason));
            }
        }
        if !log.path.is_empty() && log.interval.0.is_zero() {
            let reason = "a record covers more than no time; an empty telemetry.latency_log.path turns the file off";
            return Some(("telemetry.latency_log.interval", reason.to_owned()));
        }
        None
    }
}

/// The file that `path` leads to, by links and dots, or would if it were there.
fn real(path: &str) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    let in_folder = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(in_folder).unwrap_or(path)
}

/// Whether `path` is among the `keep` names that `file` is rotated to.
fn is_rotated(path: &Path, file: &Path, keep: u32) -> bool {
    let number = path.extension().and_then(|digits| digits.to_str()?.parse().ok());
    number.is_some_and(|number: u32| (1..=keep).contains(&number) && rotated(file, number) == path)
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn a_latency_log_has_a_file_of_its_own_and_covers_some_time() {
        let key = |jsonl: &str, log: &str, interval: &str| {
            let text = format!(
                "[publish.jsonl]\npath = '{jsonl}'\n[telemetry.latency_log]\npath = '{log}'\ninterval = '{interval}'\n"
            );
            let config: Config = toml::from_str(&text).unwrap();
            config.telemetry.contradiction(&config.publish).map(|(key, _)| key)
        };
        let (path, interval) = (Some("telemetry.latency_log.path"), Some("telemetry.latency_log.interval"));
        for (jsonl, log, time, expected) in [
            ("a", "b", "1s", None),
            ("a", "a", "1s", path),
            ("a", "./a", "1s", path),
            ("a/../b", "b", "1s", None),
            ("src/../b", "b", "1s", path),
            ("a.1", "a", "1s", path),
            ("a.32", "a", "1s", path),
            ("a.33", "a", "1s", None),
            ("a", "a.4", "1s", path),
            ("a", "a.5", "1s", None),
            ("a", "a.0", "1s", None),
            ("a", "a.01", "1s", None),
            ("a", "b.1", "1s", None),
            ("a", "a.log", "1s", None),
            ("/x/a", "/x/./a", "1s", path),
            ("-", "-", "1s", None),
            ("", "", "1s", None),
            ("a", "b", "0", interval),
            ("a", "-", "0", interval),
            ("a", "", "0", None),
            ("a", "a", "0", path),
        ] {
            assert_eq!(key(jsonl, log, time), expected, "{jsonl:?} {log:?} {time}");
        }
    }

    #[test]
    fn a_link_leads_to_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("a"), "").unwrap();
        std::os::unix::fs::symlink(path("a"), path("link")).unwrap();
        std::os::unix::fs::symlink(folder.path(), path("folder")).unwrap();
        assert_eq!(super::real(&path("link")), super::real(&path("a")));
        assert_eq!(super::real(&path("folder/new")), super::real(&path("new")));
        assert_ne!(super::real(&path("b")), super::real(&path("a")));
    }
}
