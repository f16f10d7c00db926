//! V4L2 devices in user space (fake-v4l2/README.md): built when a test first needs them, what they are, what was done to them.
#![allow(dead_code, unreachable_pub)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use super::{needs, LIMIT};

/// A `/dev` of its own, which is `$0`, for a program that finds the devices there.
const NAMESPACE: &str = r#"set -e
for node in null zero full random urandom tty; do
    : > "$0/$node"
    mount --bind "/dev/$node" "$0/$node"
done
ln -sfn /proc/self/fd "$0/fd"
mount --rbind "$0" /dev
exec "$@""#;

/// The library. It is built once for each test program.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fake-v4l2/build");
        // One for each test program: they run side by side.
        let name = format!("fake_v4l2-{}.so", env!("CARGO_CRATE_NAME"));
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let status = Command::new(build).arg(&library).status().unwrap();
        assert!(status.success(), "the V4L2 devices of the tests can't be built");
        library
    })
}

/// Devices of a test's own.
pub struct FakeV4l2 {
    folder: TempDir,
}

impl FakeV4l2 {
    /// No device.
    pub fn new() -> Self {
        library();
        let fake = Self { folder: tempfile::tempdir().unwrap() };
        for folder in ["devices", "dev/shm", "dev/v4l/by-id", "dev/v4l/by-path"] {
            std::fs::create_dir_all(fake.folder.path().join(folder)).unwrap();
        }
        fake
    }

    /// Makes /dev/videoN, or makes another device of it; the program learns of that when it opens the device again.
    pub fn plug(&self, number: u8, description: &str) {
        let path = self.description(number);
        let partial = path.with_extension("partial");
        std::fs::write(&partial, description).unwrap();
        std::fs::rename(partial, path).unwrap();
        let node = std::fs::File::create(self.node(number)).unwrap();
        // A node that is new would be one that udev may not have named yet.
        node.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    }

    /// Pulls a device out.
    pub fn unplug(&self, number: u8) {
        std::fs::remove_file(self.node(number)).unwrap();
        std::fs::remove_file(self.description(number)).unwrap();
    }

    /// Links a device as udev does: `by-id/usb-Maker_Cam-video-index0`. Its path.
    pub fn link(&self, name: &str, number: u8) -> String {
        symlink(format!("../../video{number}"), self.folder.path().join("dev/v4l").join(name)).unwrap();
        format!("/dev/v4l/{name}")
    }

    /// A file with `bytes` for a description's `frame`.
    pub fn frame(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        format!("frame {}\n", path.display())
    }

    /// What was done to a device so far, a line each.
    pub fn log(&self, number: u8) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("devices/video{number}.log"))).unwrap_or_default()
    }

    /// Waits until `words` stand so often in what was done to a device.
    #[track_caller]
    pub fn wait_for(&self, number: u8, words: &str, count: usize) {
        let start = Instant::now();
        while self.log(number).matches(words).count() < count {
            assert!(start.elapsed() < LIMIT, "waited in vain for {words}:\n{}", self.log(number));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `program` where these are the only V4L2 devices. None where this machine can't do that: the test is left out.
    #[track_caller]
    pub fn command(&self, program: &Command) -> Option<Command> {
        let mut command = needs::own_mounts()?;
        command.args(["sh", "-c", NAMESPACE]).arg(self.folder.path().join("dev"));
        // Of the program alone: no tool of the script has a part in it.
        command.arg("env").arg(format!("LD_PRELOAD={}", library().display()));
        command.arg(program.get_program()).args(program.get_args());
        command.stdin(Stdio::null()).env("FAKE_V4L2", self.folder.path().join("devices"));
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Some(command)
    }

    fn description(&self, number: u8) -> PathBuf {
        self.folder.path().join(format!("devices/video{number}"))
    }

    fn node(&self, number: u8) -> PathBuf {
        self.folder.path().join(format!("dev/video{number}"))
    }
}
