//! Files of lines: appended to, rotated by size and age, written by a thread of their own.
//!
//! [`Target`] is the file, [`Writer`] the thread before it. What the lines say is for those who use them: JSON Lines, the
//! latency log.

mod age;
mod check;
mod target;
mod writer;

use std::path::{Path, PathBuf};

use crate::values::{Bytes, Seconds};

pub use check::{check, takes_files, LONGEST_NAME};
pub use target::{remedy, Target};
#[cfg(any(test, feature = "testing"))]
pub use writer::detached;
pub use writer::{Inlet, Writer};

/// Where lines go, and how the file is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Who writes, for the log and the thread's name.
    pub name: &'static str,
    /// The configuration key of `path`.
    pub key: &'static str,
    /// A file; `-` is standard output.
    pub path: String,
    /// A file that has grown past this is rotated. 0 never.
    pub max_bytes: Bytes,
    /// A file whose first line is older than this is rotated. 0 never.
    pub max_age: Seconds,
    /// Rotated files to keep.
    pub keep: u32,
    /// When the file is synced to disk.
    pub sync: SyncPolicy,
}

/// When a file is synced to disk: each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncPolicy {
    /// Never; the system writes it when it likes.
    Never,
    /// At the end of the program.
    AtEnd,
    /// When it is rotated.
    AtRotation,
    /// After each line that asks for it.
    OnDemand,
}

/// The name of the file at `path` after it was rotated `n` times.
pub fn rotated(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}
