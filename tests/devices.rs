//! `pspnetd devices`: cameras of this machine, and Edge TPUs of a tree of files in place of /sys and /dev.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{symlink, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{json, Value};

use support::fake_edgetpu::{library, FakeEdgeTpu, Stick};
use support::{as_nobody, finish, pspnetd};

/// A tree of files in place of /sys and /dev, that anybody may read.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A stick as sysfs shows it: a link to a folder elsewhere.
    fn stick(&self, port: &str, id: (&str, &str), bus: u32, device: u32, speed: u32) {
        let folder = format!("sys/devices/usb/{port}");
        let values = [("busnum", bus.to_string()), ("devnum", device.to_string()), ("speed", speed.to_string())];
        for (name, value) in [("idVendor", id.0.to_owned()), ("idProduct", id.1.to_owned())].into_iter().chain(values) {
            self.write(&format!("{folder}/{name}"), &format!("{value}\n"));
        }
        let links = self.root().join("sys/bus/usb/devices");
        fs::create_dir_all(&links).unwrap();
        symlink(format!("../../../devices/usb/{port}"), links.join(port)).unwrap();
        self.write(&format!("dev/bus/usb/{bus:03}/{device:03}"), "");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = pspnetd(["devices"]);
        command.args(arguments).envs([("PSPNETD_ROOT", self.root()), ("PSPNETD_ENGINE_LIBRARY", library())]);
        command
    }

    fn text(&self) -> String {
        let finished = finish(self.command(&[])).expect(0);
        assert_eq!(finished.stderr, "", "PSPNETD_ROOT is no setting, and no reason for a warning");
        finished.stdout
    }

    fn json(&self) -> Value {
        serde_json::from_str(&finish(self.command(&["--json"])).expect(0).stdout).unwrap()
    }
}

const FRESH: (&str, &str) = ("1a6e", "089a");
const READY: (&str, &str) = ("18d1", "9302");

#[test]
fn cameras_are_listed_as_text_and_as_json() {
    let tree = Tree::new();
    let (listed, text) = (tree.json(), tree.text());
    let cameras = listed["cameras"].as_array().unwrap();
    for camera in cameras {
        assert!(text.contains(camera["path"].as_str().unwrap()), "{text}");
    }
    assert!(!cameras.is_empty() || text.contains("no V4L2 devices"), "{text}");
    assert!(text.contains("no Edge TPU: no USB device 1a6e:089a or 18d1:9302, no /dev/apex_0\n"), "{text}");
    assert_eq!(listed["edge_tpus"], json!({ "devices": [], "library": null, "problem": null }));
}

#[test]
fn edge_tpus_are_listed_by_port_with_what_is_worth_knowing() {
    let tree = Tree::new();
    tree.stick("2-1", READY, 2, 7, 5000);
    tree.stick("1-1.4", FRESH, 1, 12, 480);
    tree.write("sys/class/apex/apex_0/temp", "48250\n");
    tree.write("dev/apex_0", "");
    let listed = tree.json();
    let devices = listed["edge_tpus"]["devices"].as_array().unwrap();
    let of = |index: usize, key: &str| devices[index][key].clone();
    assert_eq!(devices.len(), 3, "{listed}");
    assert_eq!([of(0, "device"), of(1, "device"), of(2, "device")], ["pci:0", "usb:0", "usb:1"]);
    assert_eq!((of(0, "temperature_c"), of(0, "id")), (json!(48.25), Value::Null));
    assert_eq!([of(1, "path"), of(1, "node")], ["/sys/bus/usb/devices/1-1.4", "/dev/bus/usb/001/012"]);
    assert_eq!((of(1, "id"), of(1, "speed_mbit_per_s")), (json!("1a6e:089a"), json!(480)));
    let text = tree.text();
    for words in [
        "usb:0  Edge TPU at /sys/bus/usb/devices/1-1.4 (/dev/bus/usb/001/012, 1a6e:089a, 480 Mbit/s): ",
        "    --set engine.device=usb:0\n    It gets its firmware when it is first used",
        "    It is connected as USB 2",
        "usb:1  Edge TPU at /sys/bus/usb/devices/2-1 (/dev/bus/usb/002/007, 18d1:9302, 5000 Mbit/s): ",
        "pci:0  Edge TPU at /dev/apex_0 (48.2 °C): ",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
}

#[test]
fn a_stick_that_this_user_may_not_open_is_told_with_the_group_to_join() {
    let tree = Tree::new();
    tree.stick("2-1", READY, 2, 7, 5000);
    tree.write("etc/passwd", "root:x:0:0::/root:/bin/sh\nsomebody:x:65534:65534::/:/bin/sh\n");
    // This machine's own group of the file is called plugdev there.
    let node = tree.root().join("dev/bus/usb/002/007");
    let is_root = rustix::process::geteuid().is_root();
    let group = std::os::unix::fs::MetadataExt::gid(&fs::metadata(&node).unwrap());
    tree.write("etc/group", &format!("plugdev:x:{group}:\n"));
    fs::set_permissions(&node, Permissions::from_mode(if is_root { 0o660 } else { 0o060 })).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = || {
        let mut command = tree.command(&[]);
        if is_root {
            // Root may everything: somebody else asks.
            command = as_nobody(folder.path());
            let double = folder.path().join("libedgetpu.so.1");
            fs::copy(library(), &double).unwrap();
            command.arg("devices").envs([("PSPNETD_ROOT", tree.root()), ("PSPNETD_ENGINE_LIBRARY", &double)]);
        }
        finish(command).expect(0).stdout
    };
    let said = text();
    assert!(said.contains("not usable: User ") && said.contains("may not open /dev/bus/usb/002/007 ("), "{said}");
    assert!(said.contains(":plugdev 0"), "{said}");
    if is_root {
        assert!(said.contains("add it to the group (`sudo usermod -aG plugdev somebody`)"), "{said}");
        fs::set_permissions(&node, Permissions::from_mode(0o600)).unwrap();
        let said = text();
        assert!(said.contains("its udev rules are missing"), "{said}");
    }
}

#[test]
fn a_stick_that_another_program_has_is_told_with_its_name() {
    let tree = Tree::new();
    tree.stick("2-1", READY, 2, 7, 5000);
    let held = File::open(tree.root().join("dev/bus/usb/002/007")).unwrap();
    let mut other = Command::new("sleep").arg("60").stdin(held).stdout(Stdio::null()).spawn().unwrap();
    let listed = tree.json();
    other.kill().unwrap();
    other.wait().unwrap();
    let reason = listed["edge_tpus"]["devices"][0]["unusable"].as_str().unwrap_or_default().to_owned();
    assert!(
        reason.contains(&format!("in use by sleep ({})", other.id())) && reason.contains("one at a time"),
        "{listed}"
    );
}

#[test]
fn devices_without_node_or_driver_are_told() {
    let tree = Tree::new();
    tree.write("sys/bus/pci/devices/0000:01:00.0/vendor", "0x1ac1\n");
    tree.write("sys/bus/pci/devices/0000:01:00.0/device", "0x089a\n");
    let text = tree.text();
    assert!(text.contains("no Edge TPU: The card at PCI address 0000:01:00.0 has no driver"), "{text}");
    tree.stick("2-1", READY, 2, 7, 5000);
    fs::remove_file(tree.root().join("dev/bus/usb/002/007")).unwrap();
    let text = tree.text();
    assert!(text.contains("not usable: /dev/bus/usb/002/007 is not here"), "{text}");
}

/// `pspnetd devices` with the double for a library, as text and JSON.
fn with_library(double: &FakeEdgeTpu, library: &Path) -> (String, Value) {
    let ask = |arguments: &[&str]| {
        let mut command = pspnetd(["devices", "--set"]);
        command.arg(format!("engine.library={}", library.display())).args(arguments).envs(double.environment());
        finish(command).expect(0).stdout
    };
    (ask(&[]), serde_json::from_str(&ask(&["--json"])).unwrap())
}

#[test]
fn what_the_library_sees_is_held_against_what_the_kernel_shows() {
    let double = FakeEdgeTpu::new();
    double.plug(1, Stick::Ready);
    double.plug(2, Stick::Fresh);
    double.put_card(0);
    double.tell("version BuildLabel(fake), RuntimeVersion(14)\n");
    let (text, listed) = with_library(&double, library());
    for device in listed["edge_tpus"]["devices"].as_array().unwrap() {
        assert_eq!(device["unusable"], Value::Null, "{listed}");
    }
    assert_eq!(listed["edge_tpus"]["library"]["version"], "BuildLabel(fake), RuntimeVersion(14)");
    assert!(text.contains("BuildLabel(fake), RuntimeVersion(14)\n"), "{text}");
    // The names that the library is asked for, by port, though it lists the stick without firmware first.
    for (name, port) in [("usb:0", 1), ("usb:1", 2)] {
        assert!(text.contains(&format!("{name}  Edge TPU at /sys/bus/usb/devices/1-{port} (")), "{text}");
    }
}

#[test]
fn a_library_that_is_missing_is_told_with_what_to_install() {
    let double = FakeEdgeTpu::new();
    double.plug(1, Stick::Ready);
    let missing = Path::new("/nonexistent/libedgetpu.so.1");
    let (text, listed) = with_library(&double, missing);
    assert!(text.contains("not usable: its library, /nonexistent/libedgetpu.so.1, is not usable"), "{text}");
    let reason = listed["edge_tpus"]["library"]["unusable"].as_str().unwrap();
    for words in ["can't be loaded", "No such file", "Install libedgetpu built for TensorFlow Lite 2."] {
        assert!(reason.contains(words) && text.contains(words), "no {words:?}: {reason}");
    }
    // One that is none, and no device: its library was asked for by name, and is told all the same.
    double.unplug(1);
    let (text, _) = with_library(&double, missing);
    assert!(text.contains("no Edge TPU: no USB device 1a6e:089a or 18d1:9302, no /dev/apex_0\n"), "{text}");
    let mut command = pspnetd(["devices", "--set", "engine.kind=edgetpu", "--set", "engine.library=libc.so.6"]);
    command.envs(double.environment());
    let text = finish(command).expect(0).stdout;
    assert!(
        text.contains("no Edge TPU: no USB device") && text.contains("libc.so.6 has no function edgetpu_"),
        "{text}"
    );
}
