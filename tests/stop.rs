//! SIGTERM, SIGINT and SIGHUP end the program within 1 s from any state, with exit code 0 and nothing lost that was written.
//! A stage that panics ends it in the same order, with an exit code of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unsafe_code)]

mod support;

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::stopping::PROMISE;
use support::{colours, hang, model, records, replay, run, with, Finished, Running, Signal, LIMIT};

/// Stops a program in order and in time, with exit code 0. It says why before it says its last words.
#[track_caller]
fn stop(running: Running, signal: Signal) -> Finished {
    let finished = running.stop_in_time(signal).expect(0);
    let place = |words: &str| finished.stderr.rfind(words);
    assert!(place("stopping: ").is_some_and(|reason| Some(reason) < place("frames in=")), "{}", finished.stderr);
    finished
}

/// A source at full speed that never ends.
fn endless() -> Command {
    with(run(&colours(), &replay("colours.mjpeg")), ["camera.rate=max", "camera.loop=true"])
}

/// `inner`, started by the program of `command`.
fn through(command: &mut Command, inner: &Command) -> Command {
    let mut whole = Command::new(command.get_program());
    whole.args(command.get_args()).arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => whole.env(name, value),
            None => whole.env_remove(name),
        };
    }
    whole
}

#[test]
fn signals_that_were_blocked_by_who_started_it_are_taken() {
    let mut command = run(&colours(), "pattern:96x64");
    // SAFETY: system calls alone between fork and exec.
    unsafe {
        command.pre_exec(|| {
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            match libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut()) {
                0 => Ok(()),
                error => Err(std::io::Error::from_raw_os_error(error)),
            }
        });
    }
    let running = Running::start(command);
    running.stdout.wait_for_count(1);
    running.stop_in_time(Signal::TERM).expect(0);
}

#[test]
fn both_signals_stop_a_running_pipeline() {
    for signal in [Signal::TERM, Signal::INT] {
        let running = Running::start(endless());
        running.stdout.wait_for_count(50);
        let finished = stop(running, signal);
        assert!(finished.records().len() >= 50);
        finished.says(["stage              n     p50 ms", "end_to_end", "frames in="]);
    }
}

#[test]
fn a_terminal_that_goes_stops_it_in_order_as_well() {
    // As a shell starts it, also where these tests run under nohup themselves.
    let running = Running::start(through(Command::new("env").arg("--default-signal=HUP"), &endless()));
    running.stdout.wait_for_count(50);
    stop(running, Signal::HUP).says(["stopping: SIGHUP", "frames in="]);
}

#[test]
fn under_nohup_it_goes_on_without_a_terminal() {
    let command = through(&mut Command::new("nohup"), &endless());
    let running = Running::start(command);
    running.stdout.wait_for_count(1);
    running.signal(Signal::HUP);
    assert!(!running.has_ended(Duration::from_millis(700)));
    stop(running, Signal::TERM).says(["stopping: SIGTERM"]);
}

#[test]
fn a_missing_camera_is_waited_for_and_the_wait_ends_at_once() {
    let running = Running::start(run(&colours(), "v4l2:/dev/video-none"));
    let line = running.stderr.wait_for("camera: waiting");
    assert!(line.contains("/dev/video-none") && line.contains("plug the camera in"), "{line}");
    // Long enough for several attempts, which come 0.2, 0.4 and 0.8 s apart.
    assert!(!running.has_ended(Duration::from_millis(1700)));
    let finished = stop(running, Signal::TERM);
    let said = finished.stderr.matches("camera: waiting").count();
    assert_eq!(said, 1, "the same reason is said once:\n{}", finished.stderr);
    assert_eq!(finished.stdout, "");
}

#[test]
fn a_silent_camera_is_left_at_once() {
    // The second frame is due after 100 s.
    let command = || with(run(&colours(), &replay("colours.mjpeg")), ["camera.rate=0.01"]);
    for signal in [Signal::TERM, Signal::INT] {
        let running = Running::start(command());
        running.stdout.wait_for_count(1);
        assert_eq!(stop(running, signal).records().len(), 1);
    }
}

#[test]
fn an_inference_that_takes_longer_is_left_behind() {
    let slow = model("colours_320x240_int8_slow");
    for rate in ["camera.rate=max", "camera.rate=30"] {
        let running = Running::start(with(run(&slow, &replay("colours.mjpeg")), [rate, "camera.loop=true"]));
        running.stdout.wait_for_count(2);
        assert!(stop(running, Signal::TERM).records().len() >= 2);
    }
}

#[test]
fn a_stage_that_hangs_is_left_behind() {
    // The second frame is due after 100 s.
    let running = Running::start(with(run(&colours(), "pattern:96x64"), ["camera.rate=0.01"]));
    running.stdout.wait_for_count(1);
    hang::thread(running.id(), "capture");
    let finished = stop(running, Signal::TERM).says(["the capture stage has not answered", "leaving without it"]);
    assert_eq!(finished.records().len(), 1, "what was published before is written");
}

#[test]
fn a_reader_that_does_not_read_is_left_behind() {
    let mut command = with(endless(), ["publish.jsonl.queue=8", "telemetry.interval=100ms"]);
    // A pipe that nobody reads, held open by this process.
    let (_reader, writer) = std::io::pipe().unwrap();
    let running = Running::start_as_set(command.stdout(writer));
    running.stderr.wait_for("lines are dropped and counted");
    stop(running, Signal::TERM);
}

#[test]
fn an_ended_source_whose_reader_sleeps_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mjpeg");
    std::fs::write(&path, support::clips::jpegs().concat().repeat(180)).unwrap();
    let camera = format!("replay:{}", path.display());
    let mut command = with(run(&colours(), &camera), ["camera.rate=max"]);
    // Held open, never read: 900 lines don't fit the pipe, so the end of the source waits for the reader.
    let (_reader, writer) = std::io::pipe().unwrap();
    let running = Running::start_as_set(command.stdout(writer));
    drop(command);
    running.stderr.wait_for("camera: MJPEG clip");
    assert!(!running.has_ended(Duration::from_secs(1)));
    stop(running, Signal::TERM);
}

#[test]
fn a_snapshot_that_is_being_written_does_not_hold_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let dir = format!("publish.snapshot.dir={}", folder.path().display());
    // A large picture at every frame: one is nearly always under way.
    let settings = [&dir, "publish.snapshot.interval=0", "camera.rate=max"];
    let running = Running::start(with(run(&colours(), "pattern:4096x3072"), settings));
    running.stderr.wait_for("snapshot: /");
    stop(running, Signal::TERM);
    for file in support::clips::files(folder.path()) {
        // What was under way may be left as .partial, but what has its name is whole.
        if file.extension().is_some_and(|extension| extension == "png") {
            assert_eq!(support::clips::read_png(&file).0, (4096, 3072), "{}", file.display());
        }
    }
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    let slow = model("colours_320x240_int8_slow");
    let running = Running::start(with(run(&slow, &replay("colours.mjpeg")), ["camera.rate=max", "camera.loop=true"]));
    running.stdout.wait_for_count(1);
    running.signal(Signal::INT);
    running.stderr.wait_for("stopping: SIGINT");
    // Two that come together are one.
    std::thread::sleep(Duration::from_millis(350));
    let finished = running.stop_in_time(Signal::INT);
    // 128 + SIGINT, unless the first signal was already through.
    assert!(matches!(finished.status.code(), Some(130 | 0)), "{:?}\n{}", finished.status, finished.stderr);
    records(&finished.stdout);
}

#[test]
fn no_process_is_left_behind() {
    let running = Running::start(endless());
    running.stdout.wait_for_count(5);
    // All of them, whichever thread started them.
    let children = || -> Vec<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", running.id())).unwrap();
        let lists = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
        lists.flat_map(|list| list.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<_>>()).collect()
    };
    let [worker] = children()[..] else { panic!("expected the CPU's process alone: {:?}", children()) };
    stop(running, Signal::TERM);
    assert!(!std::path::Path::new(&format!("/proc/{worker}")).exists());
}

#[test]
fn a_signal_before_the_first_frame_stops_as_well() {
    let mut command = endless();
    command.stdout(Stdio::null());
    let running = Running::start_as_set(&mut command);
    running.stderr.wait_for("camera: MJPEG clip");
    stop(running, Signal::TERM);
}

#[test]
fn a_full_standard_error_holds_neither_the_pictures_nor_the_end() {
    // As when the journal is stopped: a pipe that nobody reads.
    let (_reader, writer) = std::io::pipe().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    let mut command = with(endless(), ["camera.rate=50", "telemetry.interval=200ms"]);
    command.stdout(std::fs::File::create(&results).unwrap()).stderr(writer.try_clone().unwrap());
    let running = Running::start_bare(&mut command);
    let lines = || std::fs::read_to_string(&results).unwrap().lines().count();
    let wait_for = |count: usize| {
        let start = Instant::now();
        while lines() < count {
            assert!(start.elapsed() < LIMIT, "{} of {count}", lines());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for(1);
    // The monitor fills it to the last line, and waits from then on.
    let mut other = std::fs::OpenOptions::new();
    let other = std::os::unix::fs::OpenOptionsExt::custom_flags(other.write(true), 0o4000);
    let mut other = other.open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer))).unwrap();
    for size in [4096, 1] {
        while other.write(&vec![b'\n'; size]).is_ok() {}
    }
    wait_for(lines() + 100);
    running.stop_in_time(Signal::TERM).expect(0);
}

/// What the other tests rest on: the machine's part of a stop is told from the program's.
#[test]
fn a_program_that_takes_its_time_is_late_however_busy_the_machine_is() {
    let mut late = Command::new("sh");
    late.args(["-c", "trap 'sleep 1.1; exit 0' TERM; echo ready; while :; do sleep 0.01; done"]);
    let running = Running::start(late);
    running.stdout.wait_for_count(1);
    let (finished, stop) = running.stop_measured(Signal::TERM);
    finished.expect(0);
    assert!(stop.own() >= PROMISE, "{stop:?}");
}

/// A library that makes one thread of the program panic.
fn no_clock(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/unruly/no_clock.c");
    let library = folder.join("no_clock.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wall", "-Werror", "-O1"]).arg(source).arg("-o").arg(&library);
    assert!(cc.status().expect("a C compiler").success());
    library
}

#[test]
fn a_stage_that_panics_ends_the_program_in_order_with_exit_code_70() {
    let folder = tempfile::tempdir().unwrap();
    let library = no_clock(folder.path());
    for stage in ["capture", "infer", "publish"] {
        let when = folder.path().join(stage);
        let mut command = with(run(&colours(), &replay("colours.mjpeg")), ["camera.rate=20", "camera.loop=true"]);
        command.env("LD_PRELOAD", &library).env("NO_CLOCK_IN", stage).env("NO_CLOCK_WHEN", &when);
        let running = Running::start(command);
        running.stdout.wait_for_count(3);
        std::fs::write(when, "").unwrap();
        let finished = running.finish();
        assert_eq!(finished.status.code(), Some(70), "{stage}: {}", finished.stderr);
        assert!(finished.stderr.contains(&format!("thread '{stage}'")), "{}", finished.stderr);
        // What was published is whole, the table is told, and the reason comes last.
        assert!(finished.records().len() >= 3);
        let said = format!("the {stage} thread failed; stopping");
        let finished = finished.says([&said, "frames in=", "pspnetd: a stage failed"]);
        assert!(finished.stderr.lines().last().unwrap().starts_with("pspnetd: a stage failed"), "{}", finished.stderr);
    }
}
