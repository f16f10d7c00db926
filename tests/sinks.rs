//! What happens to results when the disk is full, the reader gone or slow: the pipeline goes on or ends in order, losses
//! are counted, and what was written before stays whole.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::clips::{files, jpegs, read_png};
use support::{colours, finish, needs, pspnetd, records, replay, run, with, Running, Signal};

/// The colour clip at full speed, once.
fn once() -> Command {
    with(run(&colours(), &replay("colours.mjpeg")), ["camera.rate=max"])
}

/// The colour clip at full speed, for ever.
fn endless() -> Command {
    with(once(), ["camera.loop=true"])
}

fn to_file(command: Command, path: &Path) -> Command {
    with(command, [&format!("publish.jsonl.path={}", path.display())])
}

/// A clip of `frames` frames.
fn clip(folder: &Path, frames: usize) -> String {
    let path = folder.join("clip.mjpeg");
    let five = jpegs();
    std::fs::write(&path, (0..frames).flat_map(|n| five[n % 5].clone()).collect::<Vec<u8>>()).unwrap();
    format!("replay:{}", path.display())
}

#[test]
fn lines_are_written_at_the_interval_and_when_something_changes() {
    let lines = |settings: &[&str]| {
        let command = settings.iter().fold(once(), |command, setting| with(command, [setting]));
        let finished = finish(command).expect(0);
        assert_eq!(finished.count("published"), 5);
        records(&finished.stdout)
    };
    let sequences = |records: &[serde_json::Value]| -> Vec<u64> {
        records.iter().map(|record| record["sequence"].as_u64().unwrap()).collect()
    };
    let share = |record: &serde_json::Value, class: &str| record["classes"][class].as_f64().unwrap();
    let all = lines(&["publish.jsonl.interval=0"]);
    assert_eq!(sequences(&all), [0, 1, 2, 3, 4]);
    assert_eq!(sequences(&lines(&["publish.jsonl.interval=1h"])), [0]);

    // What a reader of all lines would call a change since the last that was written.
    let classes: Vec<&String> = all[0]["classes"].as_object().unwrap().keys().collect();
    let change = |one: usize, other: usize| {
        let moved = classes.iter().map(|class| (share(&all[one], class) - share(&all[other], class)).abs());
        moved.fold(0.0, f64::max)
    };
    let mut far = vec![0];
    let least = (1..5).map(|frame| change(frame - 1, frame)).fold(0.0, f64::max);
    assert!(least > 0.01, "the clip doesn't move: {all:?}");
    (1..5).filter(|&frame| change(frame - 1, frame) > 0.0).for_each(|frame| {
        if change(*far.last().unwrap(), frame) >= least - 1e-6 {
            far.push(frame);
        }
    });
    let settings = ["publish.jsonl.interval=1h", &format!("publish.jsonl.min_change={}", least - 1e-6)];
    assert_eq!(sequences(&lines(&settings)), far.iter().map(|&frame| frame as u64).collect::<Vec<_>>());
    assert!(far.len() > 1);

    // A rule halfway between the least and the most that a class covers: it changes at least once.
    let (least, most, class) = classes
        .iter()
        .map(|class| {
            let shares = || all.iter().map(|record| share(record, class));
            (shares().fold(1.0, f64::min), shares().fold(0.0, f64::max), class)
        })
        .max_by(|one, other| (one.1 - one.0).total_cmp(&(other.1 - other.0)))
        .unwrap();
    let above = f64::midpoint(least, most);
    let on: Vec<bool> = all.iter().map(|record| share(record, class) >= above).collect();
    let changes: Vec<u64> = (0..5).filter(|&n| n == 0 || on[n] != on[n - 1]).map(|n| n as u64).collect();
    let settings = [&format!("rules.r.class={class}"), &format!("rules.r.above={above}"), "publish.jsonl.interval=1h"];
    assert_eq!(sequences(&lines(&settings)), changes);
    assert!(changes.len() > 1);
}

#[test]
fn a_full_disk_costs_lines_but_not_the_run() {
    let finished = finish(to_file(once(), Path::new("/dev/full"))).expect(74).says([
        "jsonl: /dev/full: No space left on device",
        "5 results were dropped",
        "5 results could not be delivered",
    ]);
    assert_eq!(finished.count("published"), 5);
    let running = Running::start(with(to_file(endless(), Path::new("/dev/full")), ["telemetry.interval=100ms"]));
    running.stderr.wait_for("lines are lost and counted");
    // The pipeline goes on: a later interval still publishes.
    running.stderr.wait_until("three intervals", |lines| {
        lines.iter().filter(|line| line.contains("frames in=") && !line.contains("published=0")).count() >= 3
    });
    let finished = running.stop(Signal::TERM).0.expect(0);
    assert_eq!(finished.stderr.matches("No space left").count(), 1, "said once:\n{}", finished.stderr);
}

/// Runs `script` in a shell that has a file system of 64 KiB of its own at `$0`; the program and its arguments are `$@`.
/// None where that isn't possible here: the test is left out.
#[track_caller]
fn on_small_disk(script: &str, disk: &Path, program: &Command) -> Option<support::Finished> {
    std::fs::create_dir(disk).unwrap();
    let mount = format!("mount -t tmpfs -o size=64k tmpfs \"$0\" || exit 99\n{script}");
    let mut command = needs::own_mounts()?;
    command.args(["sh", "-c", &mount]).arg(disk).arg(program.get_program()).args(program.get_args());
    command.env("PSPNETD_CONFIG", "/dev/null");
    Some(finish(command))
}

#[test]
fn a_disk_that_fills_up_keeps_every_line_written_before() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    let camera = clip(folder.path(), 400);
    let program = to_file(with(run(&colours(), &camera), ["camera.rate=max"]), &disk.join("out.jsonl"));
    let script = r#""$@"; code=$?; cat "$0/out.jsonl"; exit $code"#;
    let Some(finished) = on_small_disk(script, &disk, &program) else { return };
    let finished = finished.expect(74).says(["No space left on device"]);
    // The last line may be torn, where the disk ended; all before are whole, in order and without gaps.
    let (whole, torn) = finished.stdout.rsplit_once('\n').unwrap();
    let written = records(&format!("{whole}\n"));
    assert!(written.len() > 50 && torn.len() < 1000, "{} lines and {torn:?}", written.len());
    for (index, record) in written.iter().enumerate() {
        assert_eq!(record["sequence"], index as u64);
    }
    let lost = 400 - written.len();
    assert!(finished.stderr.contains(&format!("{lost} results could not be delivered")), "{}", finished.stderr);
}

#[test]
fn a_disk_that_gets_room_again_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    let program = with(to_file(endless(), &disk.join("out.jsonl")), ["camera.rate=40"]);
    // Something else fills the disk, and is deleted once that was noticed.
    let script = r#"
        head -c 50000 /dev/zero >"$0/other"
        "$@" 2>"$0.log" & pid=$!
        await() { for _ in $(seq 400); do grep -q "$1" "$0.log" && return; sleep 0.1; done; kill $pid; exit 98; }
        await 'No space left on device'
        rm "$0/other"
        await 'writing again'
        sleep 0.2
        kill -TERM $pid; wait $pid; code=$?
        cat "$0/out.jsonl"; cat "$0.log" >&2; exit $code"#;
    let Some(finished) = on_small_disk(script, &disk, &program) else { return };
    let finished = finished.expect(0);
    let lines: Vec<&str> = finished.stdout.lines().collect();
    let is_whole = |line: &&str| serde_json::from_str::<serde_json::Value>(line).is_ok();
    // The line that ended where the disk did doesn't swallow the next. (None is torn where one ended right there.)
    if let Some(torn) = lines.iter().position(|line| !is_whole(line)) {
        assert!(lines[torn].matches("\"time\"").count() <= 1, "{lines:#?}");
    }
    assert!(lines.len() > 20, "{lines:#?}");
}

#[test]
fn a_reader_that_leaves_ends_the_run() {
    let mut command = endless();
    let (reader, writer) = std::io::pipe().unwrap();
    let running = Running::start_as_set(command.stdout(writer));
    // Holds the writing end too.
    drop(command);
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    records(&line);
    drop(reader);
    running.finish().expect(74).says(["standard output was closed by its reader", "nobody receives results"]);
}

#[test]
fn a_reader_that_leaves_does_not_end_a_run_with_another_sink() {
    let folder = tempfile::tempdir().unwrap();
    let dir = format!("publish.snapshot.dir={}", folder.path().display());
    let mut command = with(endless(), [&dir, "publish.snapshot.interval=50ms", "telemetry.interval=100ms"]);
    let (reader, writer) = std::io::pipe().unwrap();
    let running = Running::start_as_set(command.stdout(writer));
    drop((command, reader));
    running.stderr.wait_for("standard output was closed by its reader");
    let so_far = running.stderr.text().matches("snapshot: /").count();
    running.stderr.wait_until("more snapshots", |lines| {
        lines.iter().filter(|line| line.contains("snapshot: /")).count() > so_far + 2
    });
    running.stop(Signal::TERM).0.expect(0).says(["results were dropped"]);
}

#[test]
fn a_reader_that_does_not_read_does_not_hold_the_pipeline() {
    let mut command = with(endless(), ["publish.jsonl.queue=8", "telemetry.interval=100ms"]);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let running = Running::start_as_set(command.stdout(writer));
    drop(command);
    running.stderr.wait_for("slower than the frames");
    let intervals = |lines: &[String]| {
        lines.iter().filter(|line| line.contains("frames in=") && !line.contains("published=0 ")).count()
    };
    let so_far = intervals(&running.stderr.text().lines().map(str::to_owned).collect::<Vec<_>>());
    running.stderr.wait_until("more intervals", |lines| intervals(lines) > so_far + 2);
    let finished = running.stop(Signal::TERM).0.expect(0).says(["results were dropped in this run"]);
    let dropped = finished.stderr.split("jsonl: ").find_map(|part| part.split_once(" results were dropped"));
    let dropped: u64 = dropped.unwrap().0.parse().unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    // The pipe's last line is torn where the program left; the ones before are whole.
    let written = records(text.rsplit_once('\n').map(|(whole, _)| format!("{whole}\n")).as_deref().unwrap());
    assert!(!written.is_empty());
    assert_eq!(written.len() as u64 + dropped, finished.count("published"), "{}", finished.stderr);
}

#[test]
fn a_slow_reader_of_a_finite_source_gets_every_line() {
    let folder = tempfile::tempdir().unwrap();
    let camera = clip(folder.path(), 900);
    let mut command = with(run(&colours(), &camera), ["camera.rate=max"]);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let running = Running::start_as_set(command.stdout(writer));
    drop(command);
    // More than a pipe holds, less than the queue of 1024: the end waits for the reader.
    running.stderr.wait_for("camera: MJPEG clip");
    assert!(!running.has_ended(Duration::from_secs(1)));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    running.finish().expect(0);
    assert_eq!(records(&text).len(), 900);
}

#[test]
fn a_finite_source_whose_reader_sleeps_ends_and_says_what_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let camera = clip(folder.path(), 900);
    let mut command = with(run(&colours(), &camera), ["camera.rate=max"]);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let running = Running::start_as_set(command.stdout(writer));
    drop(command);
    let finished = running.finish().expect(74).says(["lines could not be written before the end"]);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let written = records(text.rsplit_once('\n').map(|(whole, _)| format!("{whole}\n")).as_deref().unwrap());
    let lost = 900 - written.len();
    assert!(finished.stderr.contains(&format!("{lost} results could not be delivered")), "{}", finished.stderr);
}

#[test]
fn commands_that_print_fail_where_they_cannot() {
    let model = colours();
    let model = ["--model", model.to_str().unwrap()];
    let image = support::media("colours/1_vertical.png");
    for arguments in [
        &["check", "--keys"][..],
        &["man"],
        &["completions", "bash"],
        &["devices"],
        &["check", "--camera", "pattern:64x64", model[0], model[1]],
        &["predict", image.to_str().unwrap(), "--json", model[0], model[1]],
        &["bench", "--seconds", "0.1", "--json", model[0], model[1]],
    ] {
        let mut command = pspnetd(arguments);
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        Running::start_as_set(command.stdout(full)).finish().expect(74).says(["No space left on device"]);
    }
}

#[test]
fn a_file_is_rotated_and_no_line_is_lost_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let camera = clip(folder.path(), 60);
    let command =
        with(run(&colours(), &camera), ["camera.rate=max", "publish.jsonl.max_bytes=4KiB", "publish.jsonl.keep=50"]);
    finish(to_file(command, &path)).expect(0);
    let numbered = |n: usize| folder.path().join(format!("out.jsonl.{n}"));
    let oldest = (1..).take_while(|&n| numbered(n).exists()).last().unwrap();
    assert!(oldest >= 3);
    let newest = Some(path).filter(|path| path.exists());
    let all: String =
        (1..=oldest).rev().map(numbered).chain(newest).map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let sequences: Vec<u64> = records(&all).iter().map(|record| record["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (0..60).collect::<Vec<u64>>());
    let few =
        with(run(&colours(), &camera), ["camera.rate=max", "publish.jsonl.max_bytes=1KiB", "publish.jsonl.keep=2"]);
    let other = tempfile::tempdir().unwrap();
    finish(to_file(few, &other.path().join("few.jsonl"))).expect(0);
    let kept = files(other.path()).len();
    assert!(kept <= 3, "{kept} files where 2 old ones are kept");
}

#[test]
fn a_line_that_was_torn_by_a_power_cut_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    std::fs::write(&path, "{\"sequence\":1}\n{\"seque").unwrap();
    finish(to_file(once(), &path)).expect(0);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["{\"sequence\":1}", "{\"seque"]);
    assert_eq!(records(&text[text.find("{\"time").unwrap()..]).len(), 5);
    // A second run goes on after the first.
    finish(to_file(once(), &path)).expect(0);
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 12);
}

#[test]
fn a_disk_that_cannot_be_written_now_is_waited_for_by_every_output_and_check_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    let path = |name: &str| disk.join(name).display().to_string();
    let settings = [
        &format!("publish.jsonl.path={}", path("masks.jsonl")),
        &format!("telemetry.latency_log.path={}", path("latency.jsonl")),
        &format!("publish.snapshot.dir={}", path("pictures")),
        "publish.snapshot.interval=50ms",
        "telemetry.interval=100ms",
        "telemetry.latency_log.interval=100ms",
    ];
    let program =
        settings.into_iter().fold(with(endless(), ["camera.rate=20"]), |command, setting| with(command, [setting]));
    // $1 is the program, $2 its subcommand.
    let script = r#"
        mount -o remount,ro "$0"
        program=$1; shift 2
        "$program" check "$@" || exit 98
        "$program" run "$@" 2>"$0.log" & pid=$!
        await() { for _ in $(seq 600); do eval "$1" && return; sleep 0.1; done; kill $pid; exit 97; }
        await 'grep -q "pictures are lost" "$0.log"'
        sleep 0.3
        mount -o remount,rw "$0"
        await 'grep -q "snapshot: .*writing again" "$0.log" && [ -s "$0/masks.jsonl" ] && [ -s "$0/latency.jsonl" ]'
        kill -TERM $pid; wait $pid; code=$?
        ls "$0/pictures"; cat "$0.log" >&2; exit $code"#;
    let Some(finished) = on_small_disk(script, &disk, &program) else { return };
    let finished = finished.expect(0).says(["jsonl: ", "latency_log: ", "snapshot: ", "Read-only file system"]);
    assert!(finished.stdout.contains("overlay-000000-"), "{}", finished.stderr);
    assert_eq!(finished.stderr.matches("pictures are lost and counted").count(), 1, "{}", finished.stderr);
}

#[test]
fn snapshots_are_whole_pictures_and_old_ones_go() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("a/b");
    let dir = format!("publish.snapshot.dir={}", pictures.display());
    let running = Running::start(with(endless(), [&dir, "publish.snapshot.interval=20ms", "publish.snapshot.keep=3"]));
    running
        .stderr
        .wait_until("eight snapshots", |lines| lines.iter().filter(|line| line.contains("snapshot: /")).count() >= 8);
    running.stop(Signal::TERM).0.expect(0);
    let kept: Vec<_> = files(&pictures).into_iter().filter(|path| path.extension().unwrap() == "png").collect();
    assert!(kept.len() == 3 || kept.len() == 4, "{kept:?}");
    for path in kept {
        let (size, pixels, kind) = read_png(&path);
        assert_eq!((size, kind), ((96, 64), png::ColorType::Rgb));
        assert!(pixels.iter().any(|&value| value > 0));
    }
}

#[test]
fn paths_that_cannot_be_written_are_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let below_file = file.join("x").display().to_string();
    for (key, path) in [
        ("publish.jsonl.path", "/nonexistent/out.jsonl"),
        ("publish.jsonl.path", folder.path().to_str().unwrap()),
        ("publish.jsonl.path", &below_file),
        ("publish.snapshot.dir", &below_file),
    ] {
        let setting = format!("{key}={path}");
        let words = |subcommand: &str| {
            let mut command = pspnetd([subcommand, "--camera", "pattern:64x64", "--set", &setting]);
            command.arg("--model").arg(colours());
            let finished = finish(command).expect(78);
            let last = finished.stderr.lines().last().unwrap_or_default().to_owned();
            assert!(last.starts_with(&format!("pspnetd: --set: {key} {path}: ")), "{subcommand}: {last}");
        };
        words("run");
        words("check");
    }
}

#[test]
fn without_sinks_the_run_only_measures() {
    let finished = finish(with(once(), ["publish.jsonl.path="])).expect(0);
    assert_eq!(finished.stdout, "");
    assert_eq!(finished.count("published"), 5);
}

#[test]
fn a_named_pipe_is_written_once_it_has_a_reader() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("lines");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read_to_string(pipe).unwrap()
    });
    let path = format!("publish.jsonl.path={}", pipe.display());
    let mut command = pspnetd(["run", "--set", "camera.rate=max", "--set", &path]);
    command.arg("--model").arg(colours()).arg("--camera").arg(replay("colours.y4m"));
    finish(command).expect(0);
    assert_eq!(reader.join().unwrap().lines().count(), 5);
}

#[test]
fn a_file_that_is_deleted_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lines");
    let path = format!("publish.jsonl.path={}", file.display());
    let mut command = run(&colours(), "pattern:64x48");
    command.args(["--set", &path]);
    let running = Running::start(command);
    let wait_for = |what: &dyn Fn() -> bool| {
        let start = std::time::Instant::now();
        while !what() {
            assert!(start.elapsed() < Duration::from_secs(20), "nothing happened");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let has_lines = || std::fs::read_to_string(&file).is_ok_and(|text| text.lines().count() > 3);
    wait_for(&has_lines);
    std::fs::remove_file(&file).unwrap();
    running.stderr.wait_for("was deleted or moved away");
    wait_for(&has_lines);
    running.stop(Signal::TERM).0.expect(0);
    records(&std::fs::read_to_string(&file).unwrap());
}
