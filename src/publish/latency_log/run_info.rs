//! What the latency log says of a run at its start.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

/// What stays the same as long as the program runs.
#[derive(Clone, Debug, PartialEq)]
pub struct RunInfo {
    /// The program's version.
    pub version: String,
    /// Short name of the model.
    pub model: String,
    /// When the program started, by the wall clock of then.
    pub started: Timestamp,
    /// `cpu`, or the kind of the workers: `edgetpu`, `delegate`.
    pub engine: String,
}

impl RunInfo {
    /// Tells this run from every other: eight hexadecimal digits of a digest of the board's boot, the process and its start.
    pub(super) fn run_id(&self) -> String {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let text = format!("{boot} {} {}", std::process::id(), self.started.as_nanosecond());
        Sha256::digest(text.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The board's name in the network.
pub(super) fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}
