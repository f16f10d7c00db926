//! What systemd hears and reads: READY, STATUS, WATCHDOG and STOPPING on a socket that stands in for its own, and the
//! log with priorities where standard error is the journal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::coral::{pair, Coral};
use support::{colours, hang, model, replay, run, with, Finished, Running, Signal, LIMIT};

/// Stands in for systemd's end of `NOTIFY_SOCKET`.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
    heard: Vec<(Instant, String)>,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Self { socket, folder, heard: Vec::new() }
    }

    fn start(&self, mut command: Command) -> Running {
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        Running::start(command)
    }

    /// With a watchdog, as systemd announces it.
    fn start_watched(&self, mut command: Command, watchdog: Duration) -> Running {
        command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        self.start(command)
    }

    /// The next message within `limit`.
    fn hear(&mut self, limit: Duration) -> Option<String> {
        let mut buffer = [0; 4096];
        self.socket.set_read_timeout(Some(limit.max(Duration::from_millis(1)))).unwrap();
        let length = self.socket.recv(&mut buffer).ok()?;
        let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
        self.heard.push((Instant::now(), message.clone()));
        Some(message)
    }

    /// Waits for a message that `matches`.
    #[track_caller]
    fn wait_for(&mut self, what: &str, matches: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + LIMIT;
        while Instant::now() < until {
            match self.hear(until - Instant::now()) {
                Some(message) if message.lines().any(&matches) => return message,
                _ => {}
            }
        }
        panic!("waited in vain for {what}; heard {:?}", self.heard);
    }

    /// What comes within `time`.
    fn listen(&mut self, time: Duration) -> Vec<String> {
        let until = Instant::now() + time;
        let mut heard = Vec::new();
        while Instant::now() < until {
            heard.extend(self.hear(until.saturating_duration_since(Instant::now())));
        }
        heard
    }
}

fn endless() -> Command {
    with(run(&colours(), &replay("colours.mjpeg")), ["camera.rate=20", "camera.loop=true"])
}

fn is_ready(message: &str) -> bool {
    message.lines().any(|line| line == "READY=1")
}

fn is_watchdog(message: &str) -> bool {
    message.lines().any(|line| line == "WATCHDOG=1")
}

#[test]
fn ready_comes_once_and_not_before_the_first_mask() {
    let mut manager = Manager::new();
    // The second frame is due after 100 s, so READY can only come from the first.
    let running = manager.start(with(run(&colours(), &replay("colours.mjpeg")), ["camera.rate=0.01"]));
    manager.wait_for("READY", is_ready);
    let later = manager.listen(Duration::from_millis(500));
    assert!(!later.iter().any(|message| is_ready(message)), "{later:?}");
    running.stdout.wait_for_count(1);
    running.signal(Signal::TERM);
    manager.wait_for("STOPPING", |line| line == "STOPPING=1");
    running.finish().expect(0);
}

#[test]
fn a_camera_that_is_missing_is_told_and_never_ready() {
    let mut manager = Manager::new();
    let running = manager.start(run(&colours(), "v4l2:/dev/video-none"));
    let status = manager.wait_for("STATUS", |line| line.starts_with("STATUS=camera: waiting"));
    assert!(status.contains("/dev/video-none"), "{status}");
    let later = manager.listen(Duration::from_secs(1));
    assert!(!manager.heard.iter().any(|(_, message)| is_ready(message)), "{:?} {later:?}", manager.heard);
    running.stop(Signal::TERM).0.expect(0);
}

#[test]
fn the_status_has_fps_latency_and_camera() {
    let mut manager = Manager::new();
    let running = manager.start(endless());
    let status =
        manager.wait_for("a STATUS with figures", |line| line.starts_with("STATUS=") && line.contains("ms end"));
    assert!(status.contains(" ms end to end; camera: MJPEG clip colours.mjpeg"), "{status}");
    let fps: f64 = status.trim_start_matches("STATUS=").split(' ').next().unwrap().parse().unwrap();
    assert!(fps > 0.0 && fps < 30.0, "{status}");
    running.stop(Signal::TERM).0.expect(0);
}

#[test]
fn the_status_says_what_runs_the_model_and_why() {
    let mut manager = Manager::new();
    let coral = Coral::new(1);
    let mut command = with(run(&pair(), "pattern:96x64"), ["engine.kind=edgetpu"]);
    coral.attach(&mut command);
    let running = manager.start(command);
    manager.wait_for("the device", |line| line.starts_with("STATUS=") && line.contains("; engine: edgetpu; camera:"));
    coral.double.unplug(1);
    let status =
        manager.wait_for("the CPU", |line| line.starts_with("STATUS=") && line.contains("engine: CPU instead of"));
    assert!(status.contains("engine: CPU instead of edgetpu (no such device"), "{status}");
    running.stop(Signal::TERM).0.expect(0);
}

#[test]
fn a_hanging_device_is_no_reason_for_the_watchdog() {
    let mut manager = Manager::new();
    let coral = Coral::new(1);
    coral.double.tell("at create\nfault hang");
    let settings = ["engine.kind=edgetpu", "engine.cpu_fallback=false", "engine.start_limit=60"];
    let mut command = with(run(&pair(), "pattern:96x64"), settings);
    coral.attach(&mut command);
    let running = manager.start_watched(command, Duration::from_secs(2));
    for _ in 0..6 {
        manager.wait_for("WATCHDOG", is_watchdog);
    }
    running.stop(Signal::TERM).0.expect(0);
}

#[test]
fn the_watchdog_is_fed_while_the_stages_go_round() {
    let mut manager = Manager::new();
    let running = manager.start_watched(endless(), Duration::from_secs(4));
    for _ in 0..3 {
        manager.wait_for("WATCHDOG", is_watchdog);
    }
    running.stop(Signal::TERM).0.expect(0);
    let fed: Vec<Instant> =
        manager.heard.iter().filter(|(_, message)| is_watchdog(message)).map(|(at, _)| *at).collect();
    // Fed at a quarter of the limit, not with every turn of the loop.
    assert!(fed[2] - fed[0] > Duration::from_millis(1500), "{:?}", fed[2] - fed[0]);
}

#[test]
fn the_watchdog_is_fed_while_the_camera_is_missing() {
    let mut manager = Manager::new();
    let running = manager.start_watched(run(&colours(), "v4l2:/dev/video-none"), Duration::from_secs(4));
    for _ in 0..3 {
        manager.wait_for("WATCHDOG", is_watchdog);
    }
    let finished = running.stop(Signal::TERM).0.expect(0);
    assert!(!finished.stderr.contains("hangs"), "{}", finished.stderr);
}

#[test]
fn no_watchdog_is_fed_that_nobody_asked_for() {
    let mut manager = Manager::new();
    let running = manager.start(endless());
    manager.wait_for("READY", is_ready);
    let heard = manager.listen(Duration::from_millis(600));
    assert!(!heard.iter().any(|message| is_watchdog(message)), "{heard:?}");
    running.stop(Signal::TERM).0.expect(0);
}

#[test]
fn the_watchdog_starves_when_a_stage_hangs() {
    let command = with(run(&colours(), "pattern:96x64"), ["camera.rate=1"]);
    let mut manager = Manager::new();
    let running = manager.start_watched(command, Duration::from_secs(2));
    running.stdout.wait_for_count(1);
    hang::thread(running.id(), "capture");
    running.stderr.wait_for("the capture stage hangs; the watchdog will start the program again");
    while manager.hear(Duration::from_millis(1)).is_some() {}
    let later = manager.listen(Duration::from_secs(2));
    assert!(!later.iter().any(|message| is_watchdog(message)), "{later:?}");
    // systemd sends SIGABRT then; SIGTERM ends it as well.
    running.stop(Signal::TERM).0.expect(0);
}

#[test]
fn the_watchdog_starves_when_an_inference_takes_too_long_and_recovers() {
    let slow = model("colours_320x240_int8_slow");
    let mut manager = Manager::new();
    // Half of it is shorter than one inference, which takes more than 30 ms on any machine.
    let watchdog = Duration::from_millis(20);
    // In a process of its own the model would have a deadline, and a wait for it is no hang.
    let settings = ["camera.rate=max", "camera.loop=true", "engine.isolation=none"];
    let running = manager.start_watched(with(run(&slow, &replay("colours.mjpeg")), settings), watchdog);
    running.stderr.wait_for("the infer stage hangs");
    manager.wait_for("WATCHDOG", is_watchdog);
    running.stop(Signal::TERM).0.expect(0);
}

#[test]
fn a_log_that_goes_to_the_journal_has_priorities_and_no_times() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("journal");
    let stderr_to = |value: &dyn Fn(&std::fs::Metadata) -> String| {
        let file = std::fs::File::create(&log).unwrap();
        let mut command = with(run(&colours(), "v4l2:/dev/video-none"), ["log.level=debug"]);
        command.env("JOURNAL_STREAM", value(&file.metadata().unwrap()));
        let mut child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
        let until = Instant::now() + LIMIT;
        while !std::fs::read_to_string(&log).unwrap().contains("still waiting") && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let text = std::fs::read_to_string(&log).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let lines = stderr_to(&|meta| format!("{}:{}", meta.dev(), meta.ino()));
    let of =
        |words: &str| lines.iter().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{words}: {lines:?}"));
    assert!(of("camera: waiting").starts_with("<4>camera: waiting"));
    assert!(of("pspnetd 0.").starts_with("<6>pspnetd 0."));
    assert!(of("still waiting").starts_with("<7>camera: still"));
    assert!(of("stopping").starts_with("<6>stopping: SIGTERM"));
    assert!(lines.iter().all(|line| line.starts_with('<')), "{lines:?}");
    for other in ["1:2", "nonsense", ""] {
        let lines = stderr_to(&|_| other.to_owned());
        let line = lines.iter().find(|line| line.contains("camera: waiting")).unwrap();
        assert!(line.starts_with("[20") && line.contains("WARN "), "{line}");
    }
}

#[test]
fn a_socket_that_is_gone_costs_nothing() {
    let mut command = with(run(&colours(), &replay("colours.mjpeg")), ["camera.rate=max"]);
    command.env("NOTIFY_SOCKET", "/nonexistent/notify");
    let finished: Finished = support::finish(command).expect(0);
    assert_eq!(finished.records().len(), 5);
}
