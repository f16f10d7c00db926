//! What a worker process is asked to run a model with, and how that can fail. Both travel between the processes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::TensorInfo;
use serde::{Deserialize, Serialize};

use crate::TpuDevice;

/// A TensorFlow Lite delegate to be loaded from a library.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct DelegateSpec {
    /// A path, or a name that the dynamic loader finds.
    pub library: PathBuf,
    /// Which of the library's functions make it.
    pub kind: DelegateKind,
    /// Keys and values for the library, in order.
    pub options: Vec<(String, String)>,
}

/// Kinds of libraries.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum DelegateKind {
    /// libedgetpu's own functions (`edgetpu_create_delegate`), with this device.
    EdgeTpu(DeviceChoice),
    /// The general plug-in pair `tflite_plugin_create_delegate` and `tflite_plugin_destroy_delegate`.
    Plugin,
}

/// One Edge TPU out of those that the library lists.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum DeviceChoice {
    /// The one at this place of the list, from 0, unless that is taken; then the first that isn't.
    Free {
        /// The place.
        preferred: usize,
        /// Paths of devices that other workers have.
        taken: Vec<String>,
    },
    /// By kind and number.
    Named(TpuDevice),
}

/// Whether two paths name the same device. The last part alone does that: a port, or a card's node.
pub fn is_same_device(one: &str, other: &str) -> bool {
    Path::new(one).file_name() == Path::new(other).file_name()
}

/// Orders `2-1.10` after `2-1.9`, and `apex_10` after `apex_9`.
pub(super) fn port(path: &Path) -> Vec<u32> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.split(|letter: char| !letter.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

impl DeviceChoice {
    /// The one at this place of the list, or another while none is taken.
    pub const fn at(preferred: usize) -> Self {
        Self::Free { preferred, taken: Vec::new() }
    }
}

/// Empty where any device will do.
impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free { taken, .. } if taken.is_empty() => Ok(()),
            Self::Free { taken, .. } => write!(f, "a device other than {}", taken.join(" and ")),
            Self::Named(device) => device.fmt(f),
        }
    }
}

/// Why a worker doesn't run, or no longer. What it means to the user and what to do is told elsewhere; this is what happened.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, thiserror::Error)]
pub enum Fault {
    /// The library can't be loaded: the loader's text.
    #[error("the library {} can't be loaded: {}", library.display(), without(text, library))]
    Library {
        /// As configured.
        library: PathBuf,
        /// The loader's own words.
        text: String,
    },
    /// The library lacks a function, so it is another one.
    #[error("{} has no function {symbol}", library.display())]
    Symbol {
        /// As configured.
        library: PathBuf,
        /// The missing function.
        symbol: String,
    },
    /// The library lists no device, or not this one.
    #[error("no such device{}", Listed(wanted, listed))]
    NoDevice {
        /// What was asked for; empty where any would do.
        wanted: String,
        /// What the library lists: `none`, or names; empty where it was not asked, since nothing is plugged in.
        listed: String,
    },
    /// The library made no delegate.
    #[error("the device can't be opened{}", Told(words))]
    NotOpened {
        /// What the library said meanwhile, if anything.
        words: Vec<String>,
    },
    /// TensorFlow Lite refused the model with this delegate.
    #[error("the model can't be run there: {text}{}", Told(words))]
    Model {
        /// Why.
        text: String,
        /// The error reporter's words.
        words: Vec<String>,
    },
    /// TensorFlow Lite has other tensors at the model's ends than its file says. What they are is for who asked.
    #[error("the model's input and output are not what its file says")]
    Ends {
        /// The input tensors.
        inputs: Vec<TensorInfo>,
        /// The output tensors.
        outputs: Vec<TensorInfo>,
    },
    /// An inference failed, and the worker still lives.
    #[error("the inference failed{}", Told(words))]
    Inference {
        /// The error reporter's words.
        words: Vec<String>,
    },
    /// The worker ended.
    #[error("the process ended {when}: {how}{}", Told(words))]
    Died {
        /// In which phase.
        when: Phase,
        /// `SIGABRT`, `exit code 1`.
        how: String,
        /// The last lines that it wrote to standard error.
        words: Vec<String>,
    },
    /// The worker did not answer in time.
    #[error("no answer {when} within {:.1} s", after.as_secs_f64())]
    Late {
        /// In which phase.
        when: Phase,
        /// The deadline.
        after: Duration,
    },
    /// What it answers has nothing to do with what the CPU answers.
    #[error("its answer to the test picture is not the CPU's: {text}")]
    Nonsense {
        /// How far apart they are.
        text: String,
    },
    /// The system refused a process, memory or a descriptor.
    #[error("the worker process can't be started: {text}")]
    System {
        /// The system's words.
        text: String,
    },
    /// The program stops; nothing is wrong.
    #[error("stopped")]
    Stopped,
}

/// What a worker was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Phase {
    /// Loading the library, opening the device, running the test picture.
    Starting,
    /// Waiting for a frame.
    Idle,
    /// A frame.
    Inferring,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "while it started",
            Self::Idle => "between two frames",
            Self::Inferring => "during an inference",
        })
    }
}

/// The loader's text without the library's name before it.
fn without<'a>(text: &'a str, library: &Path) -> &'a str {
    let rest = library.to_str().and_then(|name| text.strip_prefix(name));
    rest.and_then(|rest| rest.strip_prefix(": ")).unwrap_or(text)
}

struct Listed<'a>(&'a str, &'a str);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(wanted, listed) = self;
        match (wanted.is_empty(), listed.is_empty()) {
            (_, true) => Ok(()),
            (true, false) => write!(f, ": the library lists {listed}"),
            (false, false) => write!(f, ": {wanted} is wanted, the library lists {listed}"),
        }
    }
}

struct Told<'a>(&'a [String]);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", self.0.join("; "))
    }
}
