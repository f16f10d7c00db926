//! Tells when it is worth trying a device again before its pause is over: something about it or its library has changed.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::clock::Instant;
use infer::edgetpu::{self, Sight};
use infer::{DelegateKind, DelegateSpec};

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(250);

/// Looks at one device and its library.
pub(super) struct Watch {
    root: Option<PathBuf>,
    library: PathBuf,
    seen: Seen,
    looked: Instant,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    sight: Sight,
    /// Device, inode, change time and size of the library's file.
    library: Option<(u64, u64, i64, i64, u64)>,
}

impl Watch {
    /// Of what `delegate` needs. `root` stands before `/sys` and `/dev`.
    pub(super) fn new(delegate: Option<&DelegateSpec>, root: &Path) -> Self {
        let is_edgetpu = delegate.is_some_and(|delegate| matches!(delegate.kind, DelegateKind::EdgeTpu(_)));
        Self {
            root: is_edgetpu.then(|| root.to_owned()),
            library: delegate.map(|delegate| delegate.library.clone()).unwrap_or_default(),
            seen: Seen::default(),
            looked: Instant::default(),
        }
    }

    /// Remembers how things are, and returns what is to be seen of devices.
    pub(super) fn remember(&mut self, now: Instant) -> &Sight {
        self.looked = now;
        self.seen = self.look();
        &self.seen.sight
    }

    /// What is to be seen of devices now; None for a delegate that has none of its own.
    pub(super) fn sight(&self) -> Option<Sight> {
        self.root.as_deref().map(edgetpu::look)
    }

    /// Whether anything is other than it was remembered, and by now worth an attempt. Looks a few times a second at most.
    pub(super) fn has_changed(&mut self, now: Instant) -> bool {
        if now.since(self.looked) < EVERY {
            return false;
        }
        self.looked = now;
        let seen = self.look();
        let has_changed = seen != self.seen;
        self.seen = seen;
        has_changed
    }

    fn look(&self) -> Seen {
        let library = library_file(&self.library);
        Seen {
            sight: self.root.as_deref().map(edgetpu::look).unwrap_or_default(),
            library: library.map(|meta| (meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec(), meta.len())),
        }
    }
}

/// Where the dynamic loader looks for a library without a path, beside what ldconfig knows.
const PLACES: [&str; 5] = [
    "/usr/local/lib",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/arm-linux-gnueabihf",
    "/usr/lib",
];

fn library_file(library: &Path) -> Option<Metadata> {
    if library.components().count() > 1 {
        return library.metadata().ok();
    }
    PLACES.iter().find_map(|place| Path::new(place).join(library).metadata().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use infer::DeviceChoice;

    #[test]
    fn a_library_without_a_path_is_found_where_the_loader_finds_it() {
        assert!(library_file(Path::new("libc.so.6")).is_some());
        assert!(library_file(Path::new("libpspnetd-none.so")).is_none());
        assert!(library_file(Path::new("./libc.so.6")).is_none(), "a path is one from here");
    }

    #[test]
    fn a_library_that_comes_and_a_device_that_comes_are_changes() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("lib.so");
        let delegate = DelegateSpec {
            library: library.clone(),
            kind: DelegateKind::EdgeTpu(DeviceChoice::at(0)),
            options: Vec::new(),
        };
        let mut watch = Watch::new(Some(&delegate), folder.path());
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        watch.remember(at(0));
        assert!(!watch.has_changed(at(1)));
        std::fs::write(&library, "x").unwrap();
        assert!(!watch.has_changed(at(1)), "looked at too often");
        assert!(watch.has_changed(at(2)));
        assert!(!watch.has_changed(at(3)));
        let device = folder.path().join("sys/bus/usb/devices/1-1");
        std::fs::create_dir_all(&device).unwrap();
        for (name, text) in [("idVendor", "18d1\n"), ("idProduct", "9302\n"), ("busnum", "1\n"), ("devnum", "4\n")] {
            std::fs::write(device.join(name), text).unwrap();
        }
        assert!(watch.has_changed(at(4)));
        std::fs::write(device.join("devnum"), "5\n").unwrap();
        assert!(watch.has_changed(at(5)), "plugged in again");
    }
}
