//! What runs the model of a daemon: an engine on the CPU, worker processes that look after devices, or both.

use std::sync::Arc;
use std::time::Duration;

use crate::worker::Job;
use crate::{Engine, EngineMaker, InputTensors};

/// The CPU as an engine.
pub struct Cpu {
    /// Ready to run.
    pub engine: Box<dyn Engine>,
    /// Makes another after a failure.
    pub make: EngineMaker,
    /// Input tensors that the engine's process sees; None where it runs in this process.
    pub inputs: Option<InputTensors>,
    /// Longest time for an answer of the engine's process; None works it out.
    pub deadline: Option<Duration>,
    /// Longest pause before an engine that keeps failing is made anew.
    pub longest_pause: Duration,
}

/// Worker processes, and how they are looked after.
pub struct Crew {
    /// What each of them does.
    pub jobs: Vec<Job>,
    /// Its kind in log lines and JSON: `edgetpu`, `delegate`.
    pub kind: &'static str,
    /// Longest time for an answer; None works it out.
    pub deadline: Option<Duration>,
    /// Longest time to get ready.
    pub start_limit: Duration,
    /// Longest pause between two attempts.
    pub longest_pause: Duration,
    /// What the CPU makes of the test picture, where there is a CPU model.
    pub expected: Option<Arc<[u8]>>,
    /// A device that was never there is no reason for a warning.
    pub is_optional: bool,
}
