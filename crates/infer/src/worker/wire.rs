//! What this program and a worker say to each other, over a socket that keeps messages apart. Tensors don't go through it:
//! they lie in shared memory.
//!
//! First an [`Order`] with descriptors, answered by an [`Answer`]; then [`Request`] after [`Request`], each answered by a
//! [`Reply`]. What a service is asked and answers is the program's own. A message is copied whole when it is received, so what was checked can't change any more, and each side's end
//! has its own flags: nothing that a worker does can make this program wait without limit.

use std::path::PathBuf;
use std::time::Duration;

use base::text::escape;
use serde::{Deserialize, Serialize};

use super::super::buffer::Layout;
use super::super::{DelegateSpec, Fault, Listing};
use super::Ready;

/// The longest message.
pub(super) const LONGEST: usize = 64 << 10;
/// Descriptors that go with a message, at most.
pub(super) const MOST_FILES: usize = 3;
/// Bytes of a text that come through.
const LONGEST_TEXT: usize = 1000;

/// What a worker is for.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Order {
    /// The process that it belongs to.
    pub(super) parent: i32,
    pub(super) task: Task,
}

impl Order {
    /// An order of this process.
    pub(super) fn new(task: Task) -> Self {
        Self { parent: std::process::id().cast_signed(), task }
    }

    /// The model that is to be loaded, if any.
    pub(super) fn load(&self) -> Option<&Load> {
        match &self.task {
            Task::Run(run) => Some(&run.load),
            Task::Serve(serve) => Some(&serve.load),
            Task::List { .. } => None,
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Task {
    /// Comes with three descriptors: the model, the inputs, the output.
    Run(Box<Run>),
    /// Comes with one descriptor: the model.
    Serve(Box<Serve>),
    /// The devices that a library sees.
    List { library: PathBuf },
}

/// A model to run on tensors.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Run {
    pub(super) load: Load,
    pub(super) inputs: Layout,
}

/// A model to run in a service of the program's own.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Serve {
    pub(super) load: Load,
    /// What the service is to know.
    pub(super) settings: String,
}

/// A model to load.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Load {
    pub(super) model_name: String,
    pub(super) path: PathBuf,
    pub(super) threads: usize,
    pub(super) delegate: Option<DelegateSpec>,
    /// What the model's ends must be, as Debug prints them.
    pub(super) io: String,
    /// Bytes of data that the process may have; None sets no limit.
    pub(super) memory: Option<u64>,
}

/// The answer to an order.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Answer {
    Ready(Ready),
    Listed(Listing),
    Failed(Fault),
}

impl Answer {
    /// What a worker sent. Texts come without control characters and no longer than what a log line should be.
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let mut value = serde_json::from_slice(message).ok()?;
        clean(&mut value);
        match serde_json::from_value(value).ok()? {
            Self::Failed(fault) if !is_its_own(&fault) => None,
            answer => Some(answer),
        }
    }
}

/// A frame to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) number: u64,
    /// The place of its input tensor.
    pub(super) input: u32,
}

impl Request {
    pub(super) const BYTES: usize = 12;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..].copy_from_slice(&self.input.to_le_bytes());
        bytes
    }

    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let (number, input) = message.split_first_chunk()?;
        Some(Self { number: u64::from_le_bytes(*number), input: u32::from_le_bytes(input.try_into().ok()?) })
    }
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    /// The request's.
    pub(super) number: u64,
    /// The time of the inference itself.
    pub(super) outcome: Result<Duration, Fault>,
}

impl Reply {
    /// Appends the message to `bytes`: number, nanoseconds, and where it failed the fault as JSON.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let took = self.outcome.as_ref().map_or(u64::MAX, |took| u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(took.to_le_bytes());
        if let Err(fault) = &self.outcome {
            // Writing to memory can't fail, and a fault has no key that JSON can't have.
            let _ = serde_json::to_writer(bytes, fault);
        }
    }

    /// What a worker sent.
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let (number, rest) = message.split_first_chunk()?;
        let (took, fault) = rest.split_first_chunk()?;
        let outcome = match fault {
            [] => Ok(Duration::from_nanos(u64::from_le_bytes(*took))),
            json => match Answer::parse(&[b"{\"Failed\":", json, b"}"].concat())? {
                Answer::Failed(fault) => Err(fault),
                Answer::Ready(_) | Answer::Listed(_) => return None,
            },
        };
        Some(Self { number: u64::from_le_bytes(*number), outcome })
    }
}

/// Whether a worker can know of this fault by itself. That it died or is late is found by others.
const fn is_its_own(fault: &Fault) -> bool {
    match fault {
        Fault::Library { .. }
        | Fault::Symbol { .. }
        | Fault::NoDevice { .. }
        | Fault::NotOpened { .. }
        | Fault::Model { .. }
        | Fault::Ends { .. }
        | Fault::Inference { .. }
        | Fault::System { .. } => true,
        Fault::Died { .. } | Fault::Late { .. } | Fault::Nonsense { .. } | Fault::Stopped => false,
    }
}

/// Escapes and cuts every text of `value`.
fn clean(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => {
            let mut cleaned = String::with_capacity(text.len().min(LONGEST_TEXT));
            escape(&text.as_bytes()[..text.len().min(LONGEST_TEXT)], &mut cleaned);
            *text = cleaned;
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(clean),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(clean),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Phase;
    use proptest::prelude::*;

    fn fault() -> Fault {
        Fault::Model { text: "no\u{1b}[31m".to_owned(), words: vec!["x".repeat(5000)] }
    }

    #[test]
    fn requests_and_replies_come_back_as_they_went() {
        let request = Request { number: u64::MAX - 3, input: u32::MAX - 7 };
        assert_eq!(Request::parse(&request.to_bytes()), Some(request));
        assert_eq!(Request::parse(&request.to_bytes()[1..]), None);
        for outcome in [Ok(Duration::from_micros(1234)), Err(Fault::Inference { words: vec!["one".to_owned()] })] {
            let (reply, mut bytes) = (Reply { number: 5, outcome }, Vec::new());
            reply.write(&mut bytes);
            assert_eq!(Reply::parse(&bytes), Some(reply));
        }
    }

    #[test]
    fn texts_of_a_worker_are_made_fit_for_the_log() {
        let mut bytes = Vec::new();
        Reply { number: 1, outcome: Err(fault()) }.write(&mut bytes);
        let Some(Reply { outcome: Err(Fault::Model { text, words }), .. }) = Reply::parse(&bytes) else { panic!() };
        assert_eq!((text.as_str(), words[0].len()), ("no\\u{1b}[31m", LONGEST_TEXT));
    }

    #[test]
    fn a_worker_cannot_claim_what_it_cannot_know() {
        let died = Fault::Died { when: Phase::Idle, how: "SIGABRT".to_owned(), words: Vec::new() };
        for fault in [Fault::Stopped, died, Fault::Late { when: Phase::Idle, after: Duration::ZERO }] {
            let message = serde_json::to_vec(&Answer::Failed(fault)).unwrap();
            assert!(Answer::parse(&message).is_none());
        }
        assert!(Answer::parse(&serde_json::to_vec(&Answer::Failed(fault())).unwrap()).is_some());
    }

    proptest! {
        #[test]
        fn whatever_a_worker_sends_is_taken_or_refused(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Answer::parse(&message), Reply::parse(&message), Request::parse(&message));
        }
    }
}
