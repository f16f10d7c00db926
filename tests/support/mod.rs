//! What the tests of the program share: starting the real binary, watching its two streams, ending it, and reading what
//! it wrote. Each test file uses a part of it.
#![allow(dead_code, unreachable_pub)]

pub mod clips;
pub mod coral;
pub mod fake_edgetpu;
pub mod fake_v4l2;
pub mod film;
pub mod hang;
pub mod held;
pub mod http;
pub mod needs;
pub mod nginx;
pub mod stopping;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::process::{pidfd_open, pidfd_send_signal, Pid, PidfdFlags};
use serde_json::Value;

pub use rustix::process::Signal;

/// What any wait may take before the test fails: far more than a quiet machine needs.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Waits until something is so.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LIMIT, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `tests/media/<name>`.
pub fn media(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media").join(name)
}

/// `tests/models/<name>.tflite`, or `tests/models/<name>/model.tflite` where that is a folder.
pub fn model(name: &str) -> PathBuf {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    let folder = models.join(name);
    if folder.is_dir() {
        return folder.join("model.tflite");
    }
    models.join(format!("{name}.tflite"))
}

/// The models of tests/models, but for the one that takes along the process that runs it.
pub fn models() -> Vec<PathBuf> {
    let all = models_below("tests/models");
    all.into_iter().filter(|path| *path != model("refused_aborts")).collect()
}

/// Each `NAME.tflite` and `NAME/model.tflite` in a folder of the repository.
pub fn models_below(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let models = paths.map(|path| if path.is_dir() { path.join("model.tflite") } else { path });
    models.filter(|path| path.extension() == Some(OsStr::new("tflite")) && path.is_file()).collect()
}

/// The colour model with its manifest: class ids and names of `tests/models/README.md`.
pub fn colours() -> PathBuf {
    model("colours")
}

/// The colour model in a folder of its own, with its manifest as `edit` changes it.
pub fn colours_with(edit: impl Fn(&str) -> String) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(colours(), folder.path().join("model.tflite")).unwrap();
    let text = std::fs::read_to_string(colours().with_file_name("manifest.toml")).unwrap();
    std::fs::write(folder.path().join("manifest.toml"), edit(&text)).unwrap();
    folder
}

/// The colour model with two groups: "bright" of white, yellow, cyan and magenta, "primary" of red, green and blue. Black is
/// in neither.
pub fn grouped_colours() -> tempfile::TempDir {
    colours_with(|text| {
        let bright = ["white", "yellow", "cyan", "magenta"].map(|name| (name, "bright"));
        let primary = ["red", "green", "blue"].map(|name| (name, "primary"));
        bright.into_iter().chain(primary).fold(text.to_owned(), |text, (name, group)| {
            let line = format!("name = \"{name}\"");
            assert_eq!(text.matches(&line).count(), 1, "{text}");
            text.replace(&line, &format!("{line}\ngroup = \"{group}\""))
        })
    })
}

/// The program with `arguments`, free of this machine's configuration and service manager.
pub fn pspnetd(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = freed(Command::new(env!("CARGO_BIN_EXE_pspnetd")));
    command.args(arguments);
    command
}

fn freed(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PSPNETD_") {
            command.env_remove(name);
        }
    }
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "RUST_LOG"] {
        command.env_remove(name);
    }
    // Reads as an empty file, so that an installed /etc/pspnetd/pspnetd.toml counts for nothing.
    command.env("PSPNETD_CONFIG", "/dev/null").stdin(Stdio::null());
    command
}

/// `pspnetd run` of `model` on `camera`, with one inference thread: the tests run side by side.
pub fn run(model: &Path, camera: &str) -> Command {
    let mut command = pspnetd(["run", "--camera", camera, "--set", "model.threads=1"]);
    command.arg("--model").arg(model);
    command
}

/// The source `replay:tests/media/<name>`.
pub fn replay(name: &str) -> String {
    format!("replay:{}", media(name).display())
}

/// Adds `--set setting` for each.
pub fn with<const N: usize>(mut command: Command, settings: [&str; N]) -> Command {
    for setting in settings {
        command.args(["--set", setting]);
    }
    command
}

/// The program, copied to `folder` because it may lie where only root comes to, as the user nobody. Only root can do that.
pub fn as_nobody(folder: &Path) -> Command {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("native/tflite").join(std::env::consts::ARCH);
    // By a process of its own: what is started meanwhile would hold it open for writing, and such a program can't run.
    let mut copy = Command::new("cp");
    copy.arg(env!("CARGO_BIN_EXE_pspnetd")).arg(library.join("libtensorflowlite_c.so")).arg(folder);
    assert!(copy.status().unwrap().success());
    let mut command = freed(Command::new(folder.join("pspnetd")));
    command.env("LD_LIBRARY_PATH", folder).uid(65534).gid(65534).current_dir("/");
    command
}

/// Runs `command` to its end.
pub fn finish(command: Command) -> Finished {
    Running::start(command).finish()
}

/// A folder with one file in it.
pub fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// `run` and `check` with the same arguments must end with `code` and the same last words, which are returned.
#[track_caller]
pub fn run_and_check(arguments: &[&str], environment: &[(&str, &str)], code: i32) -> String {
    let last_words = |subcommand: &str| {
        let mut command = pspnetd([subcommand]);
        command.args(arguments).envs(environment.iter().copied());
        let finished = finish(command).expect(code);
        finished.stderr.lines().last().unwrap_or_default().to_owned()
    };
    let words = last_words("run");
    assert_eq!(words, last_words("check"));
    words
}

/// What a configuration file with `text` in it leads to.
#[track_caller]
pub fn configured(text: &str) -> (String, PathBuf) {
    let (_folder, path) = file("pspnetd.toml", text.as_bytes());
    (run_and_check(&["--config", path.to_str().unwrap()], &[], 78), path)
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// When it ended.
    pub at: Instant,
}

impl Finished {
    /// Fails unless the program ended by itself with exit code `code`, without a panic.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.status.signal(), None, "killed by a signal; standard error:\n{}", self.stderr);
        assert_eq!(self.status.code(), Some(code), "exit code; standard error:\n{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// Fails unless standard error has all of `words`.
    #[track_caller]
    pub fn says<const N: usize>(self, words: [&str; N]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in standard error:\n{}", self.stderr);
        }
        self
    }

    /// Standard output as JSON Lines.
    #[track_caller]
    pub fn records(&self) -> Vec<Value> {
        records(&self.stdout)
    }

    /// A count of the last `frames in=… inferred=…` line, the one under the table.
    #[track_caller]
    pub fn count(&self, name: &str) -> u64 {
        let line = self.stderr.lines().rev().find(|line| line.contains("frames in=")).expect("no frames line");
        line.split(&format!(" {name}=")).nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).expect("no count")
    }
}

/// Every line of `text` as JSON; the last must end as well.
#[track_caller]
pub fn records(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line has no end: {:?}", text.lines().last());
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Area of one class in a record.
#[track_caller]
pub fn area(record: &Value, class: &str) -> f64 {
    record["classes"][class].as_f64().unwrap_or_else(|| panic!("no class {class} in {record}"))
}

/// A running program. It is killed where a test fails before its end.
pub struct Running {
    child: Child,
    pidfd: OwnedFd,
    /// Standard output, line by line.
    pub stdout: Lines,
    /// Standard error, line by line.
    pub stderr: Lines,
}

impl Running {
    /// Starts `command` and reads both of its streams, as far as the command doesn't redirect them itself.
    pub fn start(mut command: Command) -> Self {
        Self::start_as_set(command.stdout(Stdio::piped()))
    }

    /// The same, with standard output as `command` has it.
    pub fn start_as_set(command: &mut Command) -> Self {
        Self::start_bare(command.stderr(Stdio::piped()))
    }

    /// The same, with both streams as `command` has them.
    pub fn start_bare(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("start the program");
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("pidfd");
        let stdout = child.stdout.take().map(Lines::read).unwrap_or_default();
        let stderr = child.stderr.take().map(Lines::read).unwrap_or_default();
        Self { child, pidfd, stdout, stderr }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        pidfd_send_signal(&self.pidfd, signal).expect("send a signal");
    }

    /// True once the program has ended, waiting at most `limit` for it.
    pub fn has_ended(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).expect("a time");
        poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&limit)).expect("poll") > 0
    }

    /// Waits for the program's end.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        if !self.has_ended(LIMIT) {
            self.signal(Signal::KILL);
            panic!("still running after {LIMIT:?}; standard error:\n{}", self.stderr.text());
        }
        let at = Instant::now();
        let status = self.child.wait().expect("wait");
        let (stdout, stderr) = (self.stdout.join(), self.stderr.join());
        Finished { status, stdout, stderr, at }
    }

    /// Sends `signal`, waits for the end, and says how long that took.
    #[track_caller]
    pub fn stop(self, signal: Signal) -> (Finished, Duration) {
        let sent = Instant::now();
        self.signal(signal);
        let finished = self.finish();
        let took = finished.at - sent;
        (finished, took)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What a stream has given so far.
#[derive(Default)]
pub struct Lines {
    shared: Arc<(Mutex<SoFar>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct SoFar {
    lines: Vec<String>,
    /// When each of them came.
    times: Vec<Instant>,
    has_ended: bool,
}

impl Lines {
    fn read(stream: impl Read + Send + 'static) -> Self {
        let shared = Arc::<(Mutex<SoFar>, Condvar)>::default();
        let theirs = Arc::clone(&shared);
        let reader = std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            // Bytes, so that nothing that a broken program may write stops this.
            while stream.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                {
                    let mut so_far = theirs.0.lock().unwrap();
                    so_far.lines.push(String::from_utf8_lossy(&line).into_owned());
                    so_far.times.push(Instant::now());
                }
                theirs.1.notify_all();
                line.clear();
            }
            theirs.0.lock().unwrap().has_ended = true;
            theirs.1.notify_all();
        });
        Self { shared, reader: Some(reader) }
    }

    /// Waits until `enough` says so of the lines so far.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut enough: impl FnMut(&[String]) -> bool) {
        let (so_far, changed) = &*self.shared;
        let mut is_enough = false;
        let waiting = |so_far: &mut SoFar| {
            is_enough = enough(&so_far.lines);
            !is_enough && !so_far.has_ended
        };
        let (so_far, _) = changed.wait_timeout_while(so_far.lock().unwrap(), LIMIT, waiting).unwrap();
        assert!(is_enough, "waited in vain for {what}; so far:\n{}", so_far.lines.concat());
    }

    /// Waits for a line with `words` in it.
    #[track_caller]
    pub fn wait_for(&self, words: &str) -> String {
        let mut found = String::new();
        self.wait_until(words, |lines| {
            lines.iter().find(|line| line.contains(words)).is_some_and(|line| {
                found.clone_from(line);
                true
            })
        });
        found
    }

    /// Waits for a JSON record that `is_it` says yes to, from line `from` on; its line's number, and the record.
    #[track_caller]
    pub fn wait_for_record(&self, from: usize, what: &str, is_it: impl Fn(&Value) -> bool) -> (usize, Value) {
        let mut at = from;
        let mut found = None;
        self.wait_until(what, |lines| {
            while found.is_none() && at < lines.len() {
                let record: Value = serde_json::from_str(&lines[at]).expect("a record");
                found = is_it(&record).then_some((at, record));
                at += 1;
            }
            found.is_some()
        });
        found.expect("a record")
    }

    /// Waits for `count` lines.
    #[track_caller]
    pub fn wait_for_count(&self, count: usize) {
        self.wait_until(&format!("{count} lines"), |lines| lines.len() >= count);
    }

    /// How many lines there are so far.
    pub fn count(&self) -> usize {
        self.shared.0.lock().unwrap().lines.len()
    }

    /// When the line with this number came, from 0.
    pub fn time(&self, number: usize) -> Instant {
        self.shared.0.lock().unwrap().times[number]
    }

    /// The lines so far.
    pub fn text(&self) -> String {
        self.shared.0.lock().unwrap().lines.concat()
    }

    fn join(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reader");
        }
        self.text()
    }
}
