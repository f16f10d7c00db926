//! A camera that is a program: its frames in every format, its end and its silence, its words in the log, and that nothing
//! of it stays behind. The programs are small shell scripts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use support::clips::{expect_areas, jpegs, stripes, COLOURS};
use support::{colours, finish, media, model, pspnetd, run, with, Running, Signal, LIMIT};

/// A script in a folder of its own, with what it needs beside it. `$here` is the folder.
struct Script {
    folder: tempfile::TempDir,
}

impl Script {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("here='{}'\nmedia='{}'\n{text}\n", folder.path().display(), media("").display());
        std::fs::write(folder.path().join("script"), text).unwrap();
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn source(&self) -> String {
        format!("command:sh '{}'", self.file("script").display())
    }

    fn run<const N: usize>(&self, settings: [&str; N]) -> Command {
        with(run(&colours(), &self.source()), settings)
    }

    fn start<const N: usize>(&self, settings: [&str; N]) -> Running {
        Running::start(self.run(settings))
    }

    /// The process ids that the script wrote to a file, once there are `count`.
    fn pids(&self, count: usize) -> Vec<String> {
        let start = Instant::now();
        loop {
            let text = std::fs::read_to_string(self.file("pids")).unwrap_or_default();
            let pids: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            if text.ends_with('\n') && pids.len() >= count {
                return pids;
            }
            assert!(start.elapsed() < LIMIT, "{pids:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A zombie is gone as well: its new parent sees to it, where there is one that does.
fn is_gone(pid: &str) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']))
}

#[track_caller]
fn expect_gone(pids: &[String]) {
    let start = Instant::now();
    while !pids.iter().all(|pid| is_gone(pid)) {
        assert!(start.elapsed() < LIMIT, "left behind: {pids:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Processes whose parent is `parent`, zombies too.
fn children(parent: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    let of = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    tasks.flat_map(|task| of(task.unwrap()).split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The colour clip's frame `frame` as raw bytes of one of the formats, BT.601, full range.
fn raw(format: &str, frame: usize) -> Vec<u8> {
    let (width, height) = (96, 64);
    let rgb = |x: usize| COLOURS[(frame + x / 16) % 8].map(f64::from);
    let yuv = |x: usize| {
        let [r, g, b] = rgb(x);
        let y = 0.299 * r + 0.587 * g + 0.114 * b;
        [y, (b - y) / 1.772 + 128.0, (r - y) / 1.402 + 128.0].map(|value| value.round().clamp(0.0, 255.0) as u8)
    };
    let row = |of: &dyn Fn(usize) -> Vec<u8>, step: usize| (0..width).step_by(step).flat_map(of).collect::<Vec<u8>>();
    let luma = row(&|x| vec![yuv(x)[0]], 1).repeat(height);
    match format {
        "YU12" => {
            let plane = |index: usize| row(&|x| vec![yuv(x)[index]], 2).repeat(height / 2);
            [luma, plane(1), plane(2)].concat()
        }
        "NV12" => [luma, row(&|x| yuv(x)[1..].to_vec(), 2).repeat(height / 2)].concat(),
        "YUYV" => row(&|x| vec![yuv(x)[0], yuv(x)[1], yuv(x + 1)[0], yuv(x)[2]], 2).repeat(height),
        "UYVY" => row(&|x| vec![yuv(x)[1], yuv(x)[0], yuv(x)[2], yuv(x + 1)[0]], 2).repeat(height),
        "RGB3" => row(&|x| rgb(x).map(|value| value as u8).to_vec(), 1).repeat(height),
        "BGR3" => row(&|x| rgb(x).iter().rev().map(|value| *value as u8).collect(), 1).repeat(height),
        other => panic!("{other}"),
    }
}

#[test]
fn mjpeg_and_y4m_are_told_apart_and_every_frame_has_its_areas() {
    for (clip, words) in [("colours.mjpeg", "MJPEG 96x64 YU12"), ("colours.y4m", "Y4M 96x64 YU12")] {
        let script = Script::new(&format!("cat \"$media/{clip}\"; exec sleep 600"));
        let running = script.start([]);
        running.stderr.wait_for(words);
        running.stdout.wait_for_count(1);
        let finished = running.stop(Signal::TERM).0.expect(0).says(["camera: command sh"]);
        for record in finished.records() {
            expect_areas(&record, &stripes(record["sequence"].as_u64().unwrap()), 1e-6);
        }
    }
}

#[test]
fn frames_that_come_one_by_one_are_all_published() {
    let script = Script::new("for n in 0 1 2 3 4; do cat \"$here/$n.jpg\"; sleep 0.2; done; exec sleep 600");
    for (n, jpeg) in jpegs().iter().enumerate() {
        std::fs::write(script.file(&format!("{n}.jpg")), jpeg).unwrap();
    }
    let running = script.start([]);
    running.stdout.wait_for_count(5);
    let records = running.stop(Signal::TERM).0.expect(0).records();
    assert_eq!(records.len(), 5);
    for (frame, record) in records.iter().enumerate() {
        assert_eq!(record["sequence"], frame);
        expect_areas(record, &stripes(frame as u64), 1e-6);
    }
}

#[test]
fn raw_frames_of_every_format_give_the_right_areas() {
    for format in ["YU12", "NV12", "YUYV", "UYVY", "RGB3", "BGR3"] {
        let script = Script::new("for n in 0 1 2; do cat \"$here/$n\"; sleep 0.1; done; exec sleep 600");
        for frame in 0..3 {
            std::fs::write(script.file(&frame.to_string()), raw(format, frame)).unwrap();
        }
        let running = script.start([&format!("camera.format={format}"), "camera.size=96x64"]);
        running.stderr.wait_for(&format!("camera: command sh, raw 96x64 {format}"));
        running.stdout.wait_for_count(2);
        for record in running.stop(Signal::TERM).0.expect(0).records() {
            expect_areas(&record, &stripes(record["sequence"].as_u64().unwrap()), 1e-6);
        }
    }
}

/// `rows` of `length` bytes each, with `padding` bytes that are no pixels behind each.
fn padded(rows: &[u8], length: usize, padding: usize) -> Vec<u8> {
    rows.chunks(length).flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(99, padding))).collect()
}

#[test]
fn padded_rows_are_read_by_their_stride() {
    for (format, stride) in [("YU12", 128), ("NV12", 128), ("YUYV", 256), ("RGB3", 320)] {
        let script = Script::new("for n in 0 1 2; do cat \"$here/$n\"; sleep 0.1; done; exec sleep 600");
        for frame in 0..3 {
            let packed = raw(format, frame);
            let bytes = match format {
                "YU12" => [padded(&packed[..96 * 64], 96, 32), padded(&packed[96 * 64..], 48, 16)].concat(),
                "NV12" => padded(&packed, 96, 32),
                "YUYV" => padded(&packed, 192, 64),
                _ => padded(&packed, 288, 32),
            };
            std::fs::write(script.file(&frame.to_string()), bytes).unwrap();
        }
        let settings = [&format!("camera.format={format}"), "camera.size=96x64", &format!("camera.stride={stride}")];
        let running = script.start(settings);
        running.stderr.wait_for(&format!("camera: command sh, raw 96x64 {format}, rows of {stride} bytes"));
        running.stdout.wait_for_count(2);
        for record in running.stop(Signal::TERM).0.expect(0).records() {
            expect_areas(&record, &stripes(record["sequence"].as_u64().unwrap()), 1e-6);
        }
    }
}

#[test]
fn rows_of_another_length_than_was_said_are_warned_of_once() {
    let picture = camera::picture::load(&media("../../docs/images/walkway.jpg")).unwrap();
    let (width, height) = (picture.size.width, picture.size.height);
    let green: Vec<u8> = picture.pixels.chunks(3).map(|pixel| pixel[1]).collect();
    // The program ends after each five frames and is started again.
    let script = Script::new("for n in 1 2 3 4 5; do cat \"$here/frame\"; sleep 0.1; done");
    std::fs::write(script.file("frame"), padded(&green, width, 64)).unwrap();
    let (size, stride) = (format!("camera.size={width}x{height}"), format!("camera.stride={}", width + 64));
    let count = |settings: [&str; 3]| {
        let running = script.start(settings);
        running.stdout.wait_for_count(12);
        running.stop(Signal::TERM).0.expect(0).stderr.matches("look slanted").count()
    };
    assert_eq!(count(["camera.format=GREY", &size, &stride]), 0);
    let running = script.start(["camera.format=GREY", &size]);
    running.stderr.wait_for(&format!("as if their rows had about {} bytes instead of {width}", width + 64));
    running.stdout.wait_for_count(12);
    let words = running.stop(Signal::TERM).0.expect(0).stderr;
    assert_eq!(words.matches("look slanted").count(), 1, "{words}");
}

#[test]
fn a_program_that_ends_is_started_again_and_masks_come_again() {
    let script = Script::new("echo 'the cable is loose' >&2; cat \"$media/colours.mjpeg\"; exit 3");
    let running = script.start([]);
    running.stdout.wait_for_count(4);
    let line = running.stderr.wait_for("camera: waiting");
    assert!(line.contains("command:sh: ended with exit status: 3; it last said: the cable is loose"), "{line}");
    let records = running.stop(Signal::TERM).0.expect(0).records();
    let numbers: Vec<u64> = records.iter().map(|record| record["sequence"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "numbers go on: {numbers:?}");
}

#[test]
fn a_program_that_fails_again_and_again_is_told_once() {
    let script = Script::new("echo run >> \"$here/runs\"; echo 'no camera' >&2; exit 1");
    let running = script.start([]);
    let start = Instant::now();
    while std::fs::read_to_string(script.file("runs")).unwrap_or_default().lines().count() < 4 {
        assert!(start.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(20));
    }
    let finished = running.stop(Signal::TERM).0.expect(0);
    assert_eq!(finished.stderr.matches("camera: waiting").count(), 1, "{}", finished.stderr);
    assert_eq!(finished.stderr.matches("camera: command sh").count(), 1, "{}", finished.stderr);
}

#[test]
fn a_program_that_takes_one_picture_and_ends_does_not_fill_the_log() {
    let script = Script::new("echo run >> \"$here/runs\"; cat \"$here/0\"; sleep 0.1");
    std::fs::write(script.file("0"), &jpegs()[0]).unwrap();
    let running = script.start([]);
    running.stdout.wait_for_count(6);
    let finished = running.stop(Signal::TERM).0.expect(0);
    for words in ["camera: waiting", "camera: command sh, MJPEG or Y4M", "camera: command sh, MJPEG 96x64"] {
        assert_eq!(finished.stderr.matches(words).count(), 1, "{words}: {}", finished.stderr);
    }
}

#[test]
fn a_program_that_recovers_after_failures_that_were_not_said_is_said_again() {
    let script = Script::new(
        "echo run >> \"$here/runs\"; cat \"$here/0\"; [ $(wc -l < \"$here/runs\") -gt 3 ] || exit 1
         while :; do sleep 0.1; cat \"$here/0\"; done",
    );
    std::fs::write(script.file("0"), &jpegs()[0]).unwrap();
    let running = script.start([]);
    let good = |line: &String| line.contains("INFO") && line.contains("camera: command sh, MJPEG 96x64");
    running.stderr.wait_until("word of its recovery", |lines| lines.iter().filter(|line| good(line)).count() == 2);
    running.stop(Signal::TERM).0.expect(0);
}

#[test]
fn a_silent_program_is_killed_and_started_again() {
    let script = Script::new("echo $$ >> \"$here/pids\"; cat \"$media/colours.mjpeg\"; exec sleep 600");
    let running = script.start(["camera.silent_after=500ms"]);
    let pids = script.pids(3);
    let line = running.stderr.wait_for("camera: waiting");
    assert!(line.contains("silent: no frame for"), "{line}");
    expect_gone(&pids[..2]);
    running.stdout.wait_for_count(3);
    running.stop(Signal::TERM).0.expect(0);
    expect_gone(&script.pids(3));
}

#[test]
fn what_it_says_stands_in_the_log_and_a_flood_is_cut_and_counted() {
    let script = Script::new(
        "echo 'camera ready' >&2; printf 'odd \\033[1m \\377 bytes\\n' >&2; head -c 100000 /dev/zero | tr '\\0' x >&2; echo >&2
         for n in 0 1 2 3 4 5; do head -c 1000000 /dev/zero | tr '\\0' '\\n' | sed 's/^/flood/' >&2
         cat \"$media/colours.mjpeg\"; done; echo 'the last words' >&2; exit 1",
    );
    let running = script.start([]);
    let line = running.stderr.wait_for("camera: waiting");
    assert!(line.contains("it last said: the last words"), "{line}");
    running.stdout.wait_for_count(3);
    let finished = running.stop(Signal::TERM).0.expect(0);
    let finished =
        finished.says(["INFO", "sh: camera ready", "sh: odd \\u{1b}[1m \\xff bytes", "more lines, left out"]);
    assert!(finished.stderr.lines().count() < 200, "{} lines", finished.stderr.lines().count());
    assert!(finished.stderr.lines().all(|line| line.len() < 1000), "a long line");
}

#[test]
fn garbage_between_frames_and_a_frame_cut_by_the_end_are_counted() {
    let script = Script::new(
        "head -c 5000 /dev/zero | tr '\\0' g > \"$here/garbage\"; cat \"$here/0\"; sleep 0.2; cat \"$here/garbage\" \"$here/1\"
         sleep 0.2; head -c 400 \"$here/2\"; exit 1",
    );
    for (n, jpeg) in jpegs().iter().enumerate() {
        std::fs::write(script.file(&n.to_string()), jpeg).unwrap();
    }
    let running = script.start(["telemetry.interval=1s"]);
    running.stderr.wait_for("frame skipped: byte");
    running.stderr.wait_for("camera: waiting");
    let finished = running.stop(Signal::TERM).0.expect(0);
    assert!(finished.count("corrupt") >= 2, "{}", finished.stderr);
    assert!(finished.stderr.contains("5000 bytes that are no frame"), "{}", finished.stderr);
}

#[test]
fn h264_and_unknown_bytes_are_told_with_what_to_do() {
    for (bytes, words) in [
        (
            "\\000\\000\\000\\001\\047\\144\\000\\050xxxx",
            "this is H.264 or H.265 video, which is not taken (MJPEG and Y4M",
        ),
        (
            "Usage: cam [options]",
            "begins with \"Usage: cam\", which is neither MJPEG nor Y4M (raw frames need camera.format",
        ),
    ] {
        let script = Script::new(&format!("printf '{bytes}'; exec sleep 600"));
        let running = script.start([]);
        let line = running.stderr.wait_for("camera: waiting");
        assert!(line.contains(words), "{line}");
        running.stop(Signal::TERM).0.expect(0);
        finish(check(&script.source())).expect(69).says([words]);
    }
}

fn check(source: &str) -> Command {
    let mut command = pspnetd(["check", "--camera", source]);
    command.arg("--model").arg(colours());
    command
}

#[test]
fn check_starts_it_says_what_came_and_ends_it() {
    let script = Script::new("echo $$ > \"$here/pids\"; cat \"$media/colours.mjpeg\"; exec sleep 600");
    let finished = finish(check(&script.source())).expect(0);
    assert!(finished.stdout.contains("# camera: good: command sh, MJPEG 96x64"), "{}", finished.stdout);
    assert!(finished.stdout.contains("source = \"command:sh "), "{}", finished.stdout);
    expect_gone(&script.pids(1));
    let script = Script::new("echo $$ > \"$here/pids\"; exec sleep 600");
    let command = with(check(&script.source()), ["camera.silent_after=300ms"]);
    finish(command).expect(69).says(["silent: no frame for"]);
    expect_gone(&script.pids(1));
    let script = Script::new("echo 'no cameras available' >&2; exit 255");
    finish(check(&script.source())).expect(69).says(["exit status: 255; it last said: no cameras available"]);
}

#[test]
fn what_only_another_configuration_can_mend_is_exit_78() {
    let both = |arguments: &[&str], words: &[&str]| {
        for subcommand in ["run", "check"] {
            let mut command = pspnetd([subcommand]);
            command.arg("--model").arg(colours()).args(arguments);
            let finished = finish(command).expect(78);
            for word in words {
                assert!(finished.stderr.contains(word), "no {word:?} in {}", finished.stderr);
            }
        }
    };
    both(&["--camera", "command:rpicam-vid-is-not-here -t 0"], &["rpicam-vid-is-not-here", "rpicam-apps"]);
    both(&["--camera", "command:/dev/null"], &["can't be started: Permission denied"]);
    both(&["--camera", "command:cat 'x"], &["--camera: camera.source: command \"cat 'x\": a quote is not closed"]);
    both(&["--camera", "command: "], &["names no program"]);
    both(&["--camera", "command:cat", "--set", "camera.format=YU12"], &["camera.format = \"YU12\" needs camera.size"]);
    both(&["--camera", "command:cat", "--set", "camera.format=H264"], &["pixel format H264 is not taken"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pspnetd.toml");
    std::fs::write(&path, "[camera]\n\nsource = \"command:sh -c 'exit\"\n").unwrap();
    both(&["--config", path.to_str().unwrap()], &[":3: camera.source: command \"sh -c 'exit\": a quote is not closed"]);
}

#[test]
fn a_rate_has_no_effect_and_that_is_said() {
    let script = Script::new("cat \"$media/colours.mjpeg\"; exec sleep 600");
    let running = script.start(["camera.rate=5"]);
    running.stderr.wait_for("camera.rate has no effect on a command");
    running.stdout.wait_for_count(1);
    running.stop(Signal::TERM).0.expect(0);
}

/// A script that ignores SIGTERM, as does its child; both of their ids are in the file.
const STUBBORN: &str = "trap '' TERM; (while :; do sleep 600; done) & echo $$ $! > \"$here/pids\"
    cat \"$media/colours.mjpeg\"; while :; do sleep 600; done";

#[test]
fn a_program_that_is_told_to_stop_as_well_is_no_failure() {
    let script = Script::new("echo $$ > \"$here/pids\"; while :; do cat \"$media/colours.mjpeg\"; sleep 0.1; done");
    let running = script.start([]);
    running.stdout.wait_for_count(1);
    let program = rustix::process::Pid::from_raw(script.pids(1)[0].parse().unwrap()).unwrap();
    running.signal(Signal::TERM);
    rustix::process::kill_process(program, Signal::TERM).unwrap();
    let finished = running.finish().expect(0).says(["stopping: SIGTERM"]);
    assert!(!finished.stderr.contains("camera: waiting"), "{}", finished.stderr);
}

#[test]
fn the_stop_takes_less_than_a_second_in_every_state_and_leaves_nothing() {
    let slow = model("colours_320x240_int8_slow");
    let frames = "while :; do cat \"$media/colours.mjpeg\"; sleep 0.02; done";
    for (text, model, ready) in [
        (frames, colours(), "MJPEG 96x64"),
        (frames, slow, "MJPEG 96x64"),
        ("exec sleep 600", colours(), "MJPEG or Y4M"),
        ("exit 1", colours(), "camera: waiting"),
        (STUBBORN, colours(), "MJPEG 96x64"),
        ("yes flood >&2 & yes; exit 1", colours(), "camera: "),
        ("cat \"$media/colours.mjpeg\"; exec >&- 2>&-; exec sleep 600", colours(), "camera: waiting"),
    ] {
        let script = Script::new(&format!("echo $$ >> \"$here/pids\"; {text}"));
        let running = Running::start(run(&model, &script.source()));
        running.stderr.wait_for(ready);
        // The program may be said to be there before its shell has come to its first command.
        script.pids(1);
        running.stop_in_time(Signal::TERM).expect(0).says(["stopping: SIGTERM"]);
        expect_gone(&script.pids(1));
    }
}

#[test]
fn a_program_that_ignores_sigterm_goes_with_its_children() {
    let script = Script::new(STUBBORN);
    let running = script.start([]);
    running.stdout.wait_for_count(1);
    let mut pids = script.pids(2);
    pids.extend(children(running.id()));
    assert!(!pids.iter().any(|pid| is_gone(pid)), "{pids:?}");
    running.stop(Signal::TERM).0.expect(0);
    expect_gone(&pids);
}

#[test]
fn a_second_signal_leaves_no_program_behind() {
    let script = Script::new(STUBBORN);
    let running = Running::start(run(&model("colours_320x240_int8_slow"), &script.source()));
    let pids = script.pids(2);
    running.stdout.wait_for_count(1);
    running.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(310));
    running.stop(Signal::INT);
    expect_gone(&pids);
}

#[test]
fn a_daemon_that_is_killed_leaves_no_program_behind() {
    for text in [
        "echo $$ > \"$here/pids\"; trap '' TERM; cat \"$media/colours.mjpeg\"; exec sleep 600",
        // A child of a shell, that goes on although nobody reads it any more.
        "trap '' TERM; echo $$ > \"$here/pids\"; (while :; do cat \"$media/colours.mjpeg\"; sleep 0.05; done) & echo $! >> \"$here/pids\"; wait",
    ] {
        let script = Script::new(text);
        let running = script.start([]);
        running.stdout.wait_for_count(1);
        let mut pids = script.pids(1);
        // The guard too.
        pids.extend(children(running.id()));
        assert!(pids.len() >= 3 && !pids.iter().any(|pid| is_gone(pid)), "{pids:?}");
        running.stop(Signal::KILL);
        expect_gone(&pids);
    }
}

/// Descriptors, threads, KiB of memory.
fn held(running: &Running) -> (usize, usize, u64) {
    let process = format!("/proc/{}", running.id());
    let count = |name: &str| std::fs::read_dir(format!("{process}/{name}")).unwrap().count();
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
    let rss = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    (count("fd"), count("task"), rss.split_whitespace().nth(1).unwrap().parse().unwrap())
}

#[test]
fn a_hundred_restarts_leave_no_descriptor_no_zombie_and_no_memory() {
    let script = Script::new(
        "echo run >> \"$here/runs\"; echo $$ > \"$here/pids\"; echo hello >&2; cat \"$media/colours.mjpeg\"
         test -e \"$here/stay\" && exec sleep 600; exit 1",
    );
    let running = script.start(["telemetry.interval=0", "camera.silent_after=10min"]);
    let runs = || std::fs::read_to_string(script.file("runs")).unwrap_or_default().lines().count();
    // Measured while a program runs that stays, so that the state is the same both times.
    let measure = |after: usize| {
        let start = Instant::now();
        while runs() < after {
            assert!(start.elapsed() < 4 * LIMIT, "{} runs", runs());
            std::thread::sleep(Duration::from_millis(20));
        }
        std::fs::write(script.file("stay"), "").unwrap();
        let mut last = (0, Vec::new());
        loop {
            // The newest program stays when no further one is started for longer than the longest pause.
            std::thread::sleep(Duration::from_millis(1500));
            let now = (runs(), children(running.id()));
            if now == last {
                assert_eq!(now.1.len(), 3, "the program, its guard and what runs the model: {:?}", now.1);
                return (held(&running), script.pids(1)[0].parse().unwrap());
            }
            assert!(start.elapsed() < 8 * LIMIT);
            last = now;
        }
    };
    let (early, pid) = measure(10);
    std::fs::remove_file(script.file("stay")).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    let (late, _) = measure(runs() + 100);
    assert_eq!((early.0, early.1), (late.0, late.1), "{early:?} {late:?}");
    assert!(late.2 < early.2 + 2048, "{early:?} {late:?}");
    running.stop(Signal::TERM).0.expect(0);
}
