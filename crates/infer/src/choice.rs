//! What is to run the model, as the configuration says it: a runtime, its devices, its options.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use base::text_value;
use serde::{Deserialize, Serialize};

/// What runs the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// The Edge TPU where the model has a compiled file, else the CPU.
    #[default]
    Auto,
    /// The CPU.
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

/// What keeps the CPU's runtime away from this program. Devices always run in a process of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// A process of its own: a model that crashes, hangs or eats memory there takes only that process with it.
    #[default]
    Process,
    /// Nothing: it runs in this process.
    None,
}

impl FromStr for Isolation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "process" => Ok(Self::Process),
            "none" => Ok(Self::None),
            _ => Err(format!("isolation {text:?}: expected process or none")),
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process => "process",
            Self::None => "none",
        })
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

/// A number of inference threads, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads(pub usize);

impl FromStr for Threads {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .ok()
            .filter(|count| (1..=64).contains(count))
            .map(Self)
            .ok_or_else(|| format!("threads {text:?}: expected 1 to 64"))
    }
}

impl fmt::Display for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_value!([] EngineKind, [] Isolation, [] Devices, [] DelegateOptions, [] Threads);

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
    fn isolation_parses_and_prints_the_same() {
        for text in ["process", "none"] {
            assert_eq!(text.parse::<Isolation>().unwrap().to_string(), text);
        }
        assert_eq!(Isolation::default(), Isolation::Process);
        assert!("off".parse::<Isolation>().unwrap_err().contains("expected process or none"));
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
    fn there_are_1_to_64_threads() {
        for text in ["1", "64"] {
            assert_eq!(text.parse::<Threads>().unwrap().to_string(), text);
        }
        for text in ["0", "65", "-1", "1.5"] {
            assert!(text.parse::<Threads>().unwrap_err().contains("expected 1 to 64"), "{text}");
        }
    }
}
