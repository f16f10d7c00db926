//! `[engine]`: what runs the model, and how a device that can fail is looked after.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::values::{text_value, Auto, Seconds};

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
    /// The CPU runs the model while the device can't.
    pub cpu_fallback: bool,
    /// A device that does not answer for so long is taken for hung. `auto` is 5 times the 99th percentile of its own times,
    /// at least 500 ms. Zero: never.
    pub deadline: Auto<Seconds>,
    /// A device that is not ready so long after its start is taken for hung. Zero: never.
    pub start_limit: Seconds,
    /// The longest pause before a device that keeps failing is tried again. Pauses start at 0.2 s and double.
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
            cpu_fallback: true,
            deadline: Auto::Auto,
            start_limit: Seconds::new(20),
            longest_pause: Seconds::new(30),
        }
    }
}

/// What runs the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// The Edge TPU where the model has a compiled file, else the CPU.
    #[default]
    Auto,
    /// The CPU, in this process.
    Cpu,
    /// An Edge TPU.
    EdgeTpu,
    /// A TensorFlow Lite delegate plug-in, by its path.
    Delegate(PathBuf),
}

impl FromStr for EngineKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "edgetpu" => Ok(Self::EdgeTpu),
            _ => text
                .strip_prefix("delegate:")
                .filter(|path| !path.is_empty() && !path.contains('\0'))
                .map(|path| Self::Delegate(path.into()))
                .ok_or_else(|| format!("engine {text:?}: expected auto, cpu, edgetpu or delegate:/path/to/library.so")),
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::EdgeTpu => f.write_str("edgetpu"),
            Self::Delegate(path) => write!(f, "delegate:{}", path.display()),
        }
    }
}

/// One Edge TPU: `usb:0` is the first stick by port, `pci:0` the first card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum TpuDevice {
    /// A stick.
    Usb(u8),
    /// A PCIe or M.2 card.
    Pci(u8),
}

impl FromStr for TpuDevice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let device = match text.split_once(':') {
            Some(("usb", number)) => number.parse().ok().map(Self::Usb),
            Some(("pci", number)) => number.parse().ok().map(Self::Pci),
            _ => None,
        };
        device.ok_or_else(|| format!("Edge TPU {text:?}: expected usb:0 or pci:0, with the device's number"))
    }
}

impl fmt::Display for TpuDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usb(number) => write!(f, "usb:{number}"),
            Self::Pci(number) => write!(f, "pci:{number}"),
        }
    }
}

/// Edge TPUs in the order in which workers take them; at least one, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices(pub Vec<TpuDevice>);

impl FromStr for Devices {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let devices: Vec<TpuDevice> = text.split(',').map(|part| part.trim().parse()).collect::<Result<_, _>>()?;
        match devices.iter().enumerate().find(|(index, device)| devices[..*index].contains(device)) {
            Some((_, twice)) => Err(format!("Edge TPU {twice} is named twice; only one worker can have it")),
            None => Ok(Self(devices)),
        }
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&names.join(","))
    }
}

/// Options of a delegate, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DelegateOptions(pub Vec<(String, String)>);

impl FromStr for DelegateOptions {
    type Err = String;

    /// Words are parted by blanks; quotes keep blanks together, as in a shell.
    fn from_str(text: &str) -> Result<Self, String> {
        let words = shlex::split(text).filter(|_| !text.contains('\0'));
        let words = words.ok_or_else(|| format!("options {text:?}: a quote is not closed, or there is a zero byte"))?;
        let pair = |word: &String| {
            word.split_once('=')
                .filter(|(key, _)| !key.is_empty())
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .ok_or_else(|| format!("option {word:?}: expected KEY=VALUE, such as Performance=Max"))
        };
        words.iter().map(pair).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for DelegateOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        // Only a zero byte can't be quoted, and there is none.
        f.write_str(&shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default())
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

text_value!([] EngineKind, [] Devices, [] DelegateOptions, [] Workers);

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
    fn kinds_parse_and_print_the_same() {
        for text in ["auto", "cpu", "edgetpu", "delegate:/usr/lib/libarmnnDelegate.so"] {
            assert_eq!(text.parse::<EngineKind>().unwrap().to_string(), text);
        }
        for text in ["", "tpu", "delegate:", "CPU"] {
            assert!(text.parse::<EngineKind>().unwrap_err().contains("expected auto, cpu, edgetpu"), "{text}");
        }
    }

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
    fn no_zero_byte_reaches_the_dynamic_loader() {
        assert!("delegate:a\0b".parse::<EngineKind>().is_err());
        assert!("a=b\0c".parse::<DelegateOptions>().unwrap_err().contains("zero byte"));
    }

    #[test]
    fn devices_are_named_once_each() {
        let devices: Devices = "usb:0, pci:1".parse().unwrap();
        assert_eq!(devices.0, [TpuDevice::Usb(0), TpuDevice::Pci(1)]);
        assert_eq!(devices.to_string(), "usb:0,pci:1");
        assert!("usb:0,usb:0".parse::<Devices>().unwrap_err().contains("named twice"));
        for text in ["", "usb", "usb:", "usb:-1", "usb:256", "isa:0", "usb:0,"] {
            assert!(text.parse::<Devices>().unwrap_err().contains("expected usb:0"), "{text}");
        }
    }

    #[test]
    fn options_are_words_with_a_value() {
        let options: DelegateOptions = "Performance=Max backends='GpuAcc, CpuAcc' empty=".parse().unwrap();
        let wanted = [("Performance", "Max"), ("backends", "GpuAcc, CpuAcc"), ("empty", "")];
        assert_eq!(options.0, wanted.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(options.to_string().parse::<DelegateOptions>().unwrap(), options);
        assert_eq!("".parse::<DelegateOptions>().unwrap().to_string(), "");
        for text in ["Performance", "=Max", "a='b"] {
            assert!(text.parse::<DelegateOptions>().is_err(), "{text}");
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
