//! A machine with Edge TPUs for the whole program: the test double's devices, and a library that can be taken away.
#![allow(dead_code, unreachable_pub)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::fake_edgetpu::{library, FakeEdgeTpu, Stick};
use super::model;

/// Edge TPUs that break when they are told to, and their library.
pub struct Coral {
    /// Devices and orders.
    pub double: FakeEdgeTpu,
    folder: tempfile::TempDir,
}

impl Coral {
    /// With `sticks` of them plugged in at the ports from 1 on, all well.
    pub fn new(sticks: u8) -> Self {
        let coral = Self { double: FakeEdgeTpu::new(), folder: tempfile::tempdir().unwrap() };
        coral.put_library();
        (1..=sticks).for_each(|port| coral.double.plug(port, Stick::Ready));
        coral
    }

    /// The library's path, whether it is there or not.
    pub fn library(&self) -> PathBuf {
        self.folder.path().join("libedgetpu.so.1")
    }

    /// Installs the library.
    pub fn put_library(&self) {
        let partial = self.folder.path().join("partial.so");
        std::fs::copy(library(), &partial).unwrap();
        std::fs::rename(partial, self.library()).unwrap();
    }

    /// Takes the library away.
    pub fn take_library(&self) {
        std::fs::remove_file(self.library()).unwrap();
    }

    /// The permission bits of a stick's node.
    pub fn set_mode(&self, port: u8, mode: u32) {
        std::fs::set_permissions(self.double.node(port), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Makes `command` live on this machine.
    pub fn attach(&self, command: &mut Command) {
        command.envs(self.double.environment());
        command.arg("--set").arg(format!("engine.library={}", self.library().display()));
    }
}

/// A colour model for the CPU with its compiled half.
pub fn pair() -> PathBuf {
    model("colours-pair")
}
