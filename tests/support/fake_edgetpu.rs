//! The test double of libedgetpu (fake-edgetpu/README.md): built when a test first needs it, its devices, its orders.

#![allow(dead_code, unreachable_pub)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tempfile::TempDir;

/// The library. It is built once for all tests, and again when its source changes.
pub fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fake-edgetpu");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libedgetpu.so.1");
        let changed = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified());
        let newest = ["fake_edgetpu.c", "tflite_opaque.h", "build"].map(|name| changed(&source.join(name)).unwrap());
        if changed(&library).is_ok_and(|built| newest.iter().all(|changed| *changed < built)) {
            return library;
        }
        let status = Command::new(source.join("build")).arg(&library).status().unwrap();
        assert!(status.success(), "the test double of libedgetpu can't be built");
        library
    })
}

/// A double with devices and orders of its own: processes that get [`FakeEdgeTpu::environment`] see it.
pub struct FakeEdgeTpu {
    folder: TempDir,
}

/// What a stick is to USB.
#[derive(Clone, Copy, Debug)]
pub enum Stick {
    /// 1a6e:089a: powered up, without firmware.
    Fresh,
    /// 18d1:9302: ready.
    Ready,
}

impl FakeEdgeTpu {
    /// No device, all well.
    pub fn new() -> Self {
        let double = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(double.root().join("sys/bus/usb/devices")).unwrap();
        library();
        double
    }

    /// Stands for `/` when devices are looked for.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// What a process needs to see this double.
    pub fn environment(&self) -> [(&'static str, PathBuf); 2] {
        // Where a worker may read: of all files, its sandbox leaves a device's library these.
        [("PSPNETD_ROOT", self.root()), ("FAKE_EDGETPU", self.root().join("sys/orders"))]
    }

    /// New orders, all at once; the text replaces what was said before.
    pub fn tell(&self, orders: &str) {
        let [_, (_, path)] = self.environment();
        let partial = path.with_extension("partial");
        std::fs::write(&partial, orders).unwrap();
        std::fs::rename(partial, path).unwrap();
    }

    /// Plugs a stick in, or changes one: port 1 is `1-1`, with the device number 11.
    pub fn plug(&self, port: u8, stick: Stick) {
        let (vendor, product) = match stick {
            Stick::Fresh => ("1a6e", "089a"),
            Stick::Ready => ("18d1", "9302"),
        };
        let folder = self.stick(port);
        std::fs::create_dir_all(&folder).unwrap();
        let number = (10 + port).to_string();
        let facts = [("idProduct", product), ("busnum", "1"), ("devnum", &number), ("speed", "5000")];
        for (name, value) in facts.into_iter().chain([("idVendor", vendor)]) {
            std::fs::write(folder.join(name), format!("{value}\n")).unwrap();
        }
        let node = self.node(port);
        std::fs::create_dir_all(node.parent().unwrap()).unwrap();
        std::fs::write(node, "").unwrap();
    }

    /// Pulls the stick out.
    pub fn unplug(&self, port: u8) {
        std::fs::remove_dir_all(self.stick(port)).unwrap();
        std::fs::remove_file(self.node(port)).unwrap();
    }

    /// The stick's device node.
    pub fn node(&self, port: u8) -> PathBuf {
        self.root().join(format!("dev/bus/usb/001/{:0>3}", 10 + port))
    }

    /// The stick's folder, which is also its name in the library's list.
    pub fn stick(&self, port: u8) -> PathBuf {
        self.root().join(format!("sys/bus/usb/devices/1-{port}"))
    }

    /// Puts a PCIe card in: card 0 is `apex_0`, at 50 degrees.
    pub fn put_card(&self, number: u8) {
        let folder = self.card(number);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("temp"), "50000\n").unwrap();
        let node = self.root().join(format!("dev/apex_{number}"));
        std::fs::create_dir_all(node.parent().unwrap()).unwrap();
        std::fs::write(node, "").unwrap();
    }

    /// The card's folder, which is also its name in the library's list.
    pub fn card(&self, number: u8) -> PathBuf {
        self.root().join(format!("sys/class/apex/apex_{number}"))
    }
}

/// A double that this very process sees. Only one test at a time has it.
pub struct Here {
    double: FakeEdgeTpu,
    _alone: MutexGuard<'static, ()>,
}

impl Here {
    pub fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let double = FakeEdgeTpu::new();
        for (name, value) in double.environment() {
            std::env::set_var(name, value);
        }
        Self { double, _alone: alone }
    }
}

impl std::ops::Deref for Here {
    type Target = FakeEdgeTpu;

    fn deref(&self) -> &FakeEdgeTpu {
        &self.double
    }
}
