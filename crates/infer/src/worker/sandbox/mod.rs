//! What a worker may do: what the engine and a device's library need, by [`Role`], and nothing else. `files` has what it may
//! open, `calls` what it may ask of the kernel.
//!
//! Entered before a library is loaded, so that it holds for all of the library's threads. What this kernel, or the unit's own
//! filter, does not allow to be set up is left out and told: a worker without a sandbox is better than none.

mod calls;
mod files;

use std::path::Path;

/// What runs in a worker.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role<'a> {
    /// TensorFlow Lite on the CPU.
    Cpu,
    /// The library of an Edge TPU, at this path or found by its name.
    EdgeTpu(&'a Path),
    /// Some other delegate, whose devices nobody knows: its library and its options, which may name files.
    Plugin(&'a Path, &'a [(String, String)]),
}

impl Role<'_> {
    const fn is_cpu(self) -> bool {
        matches!(self, Role::Cpu)
    }
}

/// Enters the sandbox for good. Returns what is missing of it, and what that means.
pub(super) fn enter(role: Role<'_>) -> Vec<String> {
    let files = files::restrict(role).err();
    let calls = calls::restrict(role).err();
    files.into_iter().chain(calls).collect()
}
