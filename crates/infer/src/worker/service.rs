//! A worker that does work of the program's own with a model: what it is asked and what it answers is the program's. For work on
//! what strangers send, so that whatever that does to a decoder or to the model ends this process alone.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use super::wire::{Serve, Task};
use super::{cpu, Job, Link, Ready};
use crate::{Engine, Fault, GoOn, Phase};

/// The GNU C library gives blocks of a mebibyte or more back to the system as soon as they are freed. By itself it begins to keep
/// such blocks once one was freed, so that a large request would go on costing memory.
pub(super) const ENVIRONMENT: [(&str, &str); 1] = [("MALLOC_MMAP_THRESHOLD_", "1048576")];

/// The worker's half: answers requests, one after the other.
pub trait Service: Send {
    /// The answer to a request, which came with these descriptors. At most 64 KiB.
    fn answer(&mut self, request: &[u8], files: Vec<OwnedFd>) -> Vec<u8>;
}

/// Makes a [`Service`] of its settings and of an engine that ran its test picture. Called in the sandbox.
pub type MakeService = fn(&str, Box<dyn Engine>) -> Result<Box<dyn Service>, String>;

/// A process with a [`Service`] in it. Dropping it kills and reaps it.
pub struct ServiceWorker {
    link: Link,
    memory: Option<u64>,
}

impl ServiceWorker {
    /// Starts the process and waits until it is ready, at most `limit`. `go_on` is asked at least every 100 ms; when it says no,
    /// the process is killed. The system kills the process when the calling thread ends.
    ///
    /// # Errors
    /// Why it is not ready. It is gone then.
    pub fn start(job: &Job, settings: String, limit: Duration, go_on: GoOn<'_>) -> Result<(Self, Ready), Fault> {
        let task = Task::Serve(Box::new(Serve { load: job.load(), settings }));
        let (link, ready) = job.start(task, &[], limit, go_on)?;
        Ok((Self { link, memory: job.memory }, ready))
    }

    /// What the service answers to `request`, which goes with at most three descriptors, within `limit`.
    ///
    /// # Errors
    /// What went wrong. The process is gone then, and further calls give the same error.
    pub fn ask(
        &mut self,
        request: &[u8],
        files: &[BorrowedFd<'_>],
        limit: Duration,
        go_on: GoOn<'_>,
    ) -> Result<&[u8], Fault> {
        self.link.expect_open()?;
        self.link.send_with(request, files, Phase::Idle)?;
        self.link.wait(Phase::Inferring, limit, go_on)
    }

    /// Whether the process still lives: to be asked before a request.
    ///
    /// # Errors
    /// How it ended. The process is gone then, and further calls give the same error.
    pub fn is_alive(&mut self) -> Result<(), Fault> {
        self.link.expect_silence()
    }

    /// Ends the process, whose answer makes no sense.
    pub fn end_for_nonsense(&mut self) -> Fault {
        self.link.end_for_nonsense(Phase::Inferring)
    }

    /// What `fault` means.
    pub fn advice(&self, fault: &Fault) -> String {
        cpu::advice(fault, self.memory)
    }
}
