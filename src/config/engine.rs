//! `[engine]`: what runs the model, and how a device that can fail is looked after.

use std::fmt;
use std::str::FromStr;

use base::text_value;
use base::values::{Auto, Seconds};
use infer::{DelegateOptions, Devices, EngineKind, Isolation};
use serde::{Deserialize, Serialize};

/// Where Debian's loader finds the Edge TPU's runtime library.
const EDGETPU_LIBRARY: &str = "libedgetpu.so.1";
/// The most children that one program starts.
const MOST_WORKERS: usize = 16;

/// `[engine]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Engine {
    /// `cpu`; `edgetpu`; `delegate:/path/to/library.so`, any TensorFlow Lite delegate plug-in; or `auto`: the Edge TPU where
    /// the model has a compiled file, else the CPU.
    pub kind: EngineKind,
    /// The Edge TPU's runtime library: a path, or a name that the dynamic loader finds.
    pub library: String,
    /// Edge TPUs to use: `auto` (each worker one that is free), or `usb:0`, `pci:1`, separated by commas: cards and sticks each
    /// count from 0, sticks by port.
    pub device: Auto<Devices>,
    /// Options of the delegate, `KEY=VALUE` separated by blanks: `Performance=Max Usb.AlwaysDfu=False`.
    pub options: DelegateOptions,
    /// Processes that run the model side by side, one for each device. Without effect on the CPU.
    pub workers: Workers,
    /// `process`: a model that crashes, hangs or eats memory on the CPU takes only a process of its own with it; `none`: the CPU
    /// runs the model in this process. Devices always have a process of their own.
    pub isolation: Isolation,
    /// The CPU runs the model while the device can't.
    pub cpu_fallback: bool,
    /// A worker that does not answer for so long is taken for hung. `auto` is 5 times the 99th percentile of its own times, at
    /// least 500 ms, on the CPU at least 5 s. Zero: never.
    pub deadline: Auto<Seconds>,
    /// A worker that is not ready so long after its start is taken for hung. Zero: never.
    pub start_limit: Seconds,
    /// The longest pause before a worker that keeps failing is tried again. Pauses start at 0.2 s and double.
    /// Not zero.
    pub longest_pause: Seconds,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            kind: EngineKind::Auto,
            library: EDGETPU_LIBRARY.to_owned(),
            device: Auto::Auto,
            options: DelegateOptions::default(),
            workers: Workers(1),
            isolation: Isolation::Process,
            cpu_fallback: true,
            deadline: Auto::Auto,
            start_limit: Seconds::new(20),
            longest_pause: Seconds::new(30),
        }
    }
}

/// A number of worker processes, 1 to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers(pub usize);

impl FromStr for Workers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let count = text.parse().ok().filter(|count| (1..=MOST_WORKERS).contains(count));
        count.map(Self).ok_or_else(|| format!("workers {text:?}: expected 1 to {MOST_WORKERS}"))
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_value!([] Workers);

impl Engine {
    /// What can't be together, as key and reason. The key is one that was set.
    pub(super) fn contradiction(&self) -> Option<(&'static str, String)> {
        if self.longest_pause.0.is_zero() {
            let reason = "a device that fails would be tried again without a pause; expected more than 0, such as 30s";
            return Some(("engine.longest_pause", reason.to_owned()));
        }
        let devices = self.device.as_set()?;
        if self.workers.0 < devices.0.len() {
            let count = devices.0.len();
            let reason = format!(
                "{devices} are {count} devices for {} worker{}; set engine.workers = {count}, or name fewer",
                self.workers,
                if self.workers.0 == 1 { "" } else { "s" },
            );
            return Some(("engine.device", reason));
        }
        (self.workers.0 > devices.0.len()).then(|| {
            let reason = format!(
                "{} workers, but engine.device names {devices} only; each worker needs a device of its own",
                self.workers
            );
            ("engine.workers", reason)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_1_to_16_workers() {
        for text in ["1", "16"] {
            assert_eq!(text.parse::<Workers>().unwrap().to_string(), text);
        }
        for text in ["0", "17", "-1", "two"] {
            assert!(text.parse::<Workers>().unwrap_err().contains("expected 1 to 16"), "{text}");
        }
    }

    #[test]
    fn every_worker_needs_a_device_of_its_own() {
        let engine = |text: &str| toml::from_str::<Engine>(text).unwrap();
        assert_eq!(engine("workers = 2").contradiction(), None);
        assert_eq!(engine("workers = 2\ndevice = 'usb:0,usb:1'").contradiction(), None);
        assert_eq!(engine("device = 'pci:0'").contradiction(), None);
        let (key, reason) = engine("device = 'usb:0,usb:1'").contradiction().unwrap();
        assert!(key == "engine.device" && reason.contains("set engine.workers = 2"), "{key}: {reason}");
        let (key, reason) = engine("workers = 3\ndevice = 'usb:0,usb:1'").contradiction().unwrap();
        assert!(key == "engine.workers" && reason.contains("usb:0,usb:1 only"), "{key}: {reason}");
    }

    #[test]
    fn a_device_that_fails_is_never_tried_again_without_a_pause() {
        let engine = toml::from_str::<Engine>("longest_pause = 0\ndeadline = 0\nstart_limit = 0").unwrap();
        let (key, reason) = engine.contradiction().unwrap();
        assert!(key == "engine.longest_pause" && reason.contains("more than 0"), "{key}: {reason}");
    }
}
