//! The CPU runs the model in a process of its own: what that process does to itself is a fault with a name and an advice, and
//! the program goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{kill_process, Pid};
use serde_json::Value;

use support::held::{children, held, workers};
use support::{colours, finish, media, model, pspnetd, replay, run, with, Finished, Running, Signal};

const QUICK: [&str; 2] = ["camera.rate=100", "telemetry.interval=0"];

fn start(settings: &[&str]) -> Running {
    let mut command = with(run(&colours(), "pattern:96x64"), QUICK);
    settings.iter().for_each(|setting| {
        command.args(["--set", setting]);
    });
    Running::start(command)
}

/// Sends `signal` to the process that runs the model, whose id is returned.
fn strike(running: &Running, signal: Signal) -> u32 {
    let [id] = workers(running, "cpu")[..] else { panic!("{:?}", children(running)) };
    let process = Pid::from_raw(id.try_into().unwrap()).unwrap();
    kill_process(process, signal).unwrap();
    if signal == Signal::SEGV {
        // Rust's own handler takes the first one away, since the instruction that faulted does so again.
        std::thread::sleep(Duration::from_millis(200));
        let _ = kill_process(process, signal);
    }
    id
}

/// Whether the process that runs the model is there, after so many faults. A frame that was inferred before a fault may be
/// published after it, and then has its reason.
fn is_up_after(faults: u64) -> impl Fn(&Value) -> bool {
    move |record| {
        let engine = &record["engine"];
        engine["faults"].as_u64().unwrap_or_default() == faults && engine.get("reason").is_none()
    }
}

/// A copy of `path` with the bytes at the only place of `was` replaced.
fn edited(folder: &Path, path: &Path, was: &[u8], becomes: &[u8]) -> PathBuf {
    let mut bytes = std::fs::read(path).unwrap();
    let places: Vec<usize> = (0..bytes.len() - was.len()).filter(|&at| bytes[at..].starts_with(was)).collect();
    let [at] = places[..] else { panic!("{places:?}: the model was made anew") };
    bytes[at..at + becomes.len()].copy_from_slice(becomes);
    let path = folder.join("m.tflite");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_process_that_dies_costs_frames_that_are_counted_and_comes_again() {
    for (signal, words) in [(Signal::KILL, "SIGKILL"), (Signal::SEGV, "SIGSEGV"), (Signal::ABORT, "SIGABRT")] {
        let running = start(&[]);
        running.stdout.wait_for_count(20);
        let before = held(&running);
        let died = strike(&running, signal);
        let line = running.stderr.wait_for(words);
        assert!(line.contains("model: the process ended") && line.contains("next attempt in 0.2 s"), "{line}");
        let from = running.stdout.count();
        let (_, record) = running.stdout.wait_for_record(from, "a mask afterwards", is_up_after(1));
        assert_eq!((record["engine"]["ran"].as_str(), record["engine"]["starts"].as_u64()), (Some("cpu"), Some(2)));
        running.stdout.wait_for_count(from + 20);
        assert_ne!(workers(&running, "cpu")[0], died);
        assert_eq!((children(&running).len(), held(&running).descriptors), (1, before.descriptors));
        let finished = running.stop_in_time(Signal::TERM).expect(0);
        let [taken, published, replaced, failed] =
            ["in", "published", "replaced", "failed"].map(|name| finished.count(name));
        assert_eq!(taken, published + replaced + failed, "{}", finished.stderr);
        // 0.2 s at 100 frames per second, on a machine that may be busy.
        assert!(failed >= 3, "{failed} frames failed:\n{}", finished.stderr);
        finished.says(["engine kind=cpu workers=0 up=0 faults=1 starts=2"]);
    }
}

#[test]
fn a_process_that_hangs_is_told_after_its_deadline() {
    let running = start(&["engine.deadline=0.3"]);
    running.stdout.wait_for_count(5);
    strike(&running, Signal::STOP);
    let line = running.stderr.wait_for("no answer during an inference within 0.3 s");
    assert!(line.contains("engine.deadline says how long an answer may take"), "{line}");
    let from = running.stdout.count();
    running.stdout.wait_for_record(from, "a mask afterwards", is_up_after(1));
    running.stop_in_time(Signal::TERM).expect(0);
}

#[test]
fn pauses_grow_while_the_process_keeps_dying() {
    let running = start(&["log.level=debug"]);
    for (number, pause) in [(1, "0.2"), (2, "0.4"), (3, "0.8")] {
        let from = running.stdout.count();
        running.stdout.wait_for_record(from, "a mask", is_up_after(number - 1));
        strike(&running, Signal::KILL);
        running.stderr.wait_for(&format!("next attempt in {pause} s"));
    }
    running.stop_in_time(Signal::TERM).expect(0);
}

#[test]
fn a_program_that_is_killed_leaves_no_process() {
    let running = start(&[]);
    running.stdout.wait_for_count(5);
    let process = format!("/proc/{}", workers(&running, "cpu")[0]);
    running.stop(Signal::KILL);
    let gone = std::time::Instant::now();
    while Path::new(&process).exists() {
        assert!(gone.elapsed() < support::LIMIT, "{process} is left");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn without_isolation_there_is_no_process() {
    let running = start(&["engine.isolation=none"]);
    running.stdout.wait_for_count(5);
    assert_eq!(children(&running).len(), 0);
    running.stop_in_time(Signal::TERM).expect(0);
    let mut command = pspnetd(["check", "--camera", "pattern:64x64", "--set", "engine.isolation=thread"]);
    command.arg("--model").arg(colours());
    finish(command).expect(78).says(["isolation \"thread\": expected process or none"]);
}

/// Everything that `predict` gives of a picture, but for the times.
fn predicted(model: &Path, isolation: &str, masks: &Path) -> (i32, Vec<u8>) {
    let setting = format!("engine.isolation={isolation}");
    let mut command = pspnetd(["predict", "--set", "model.threads=1", "--set", &setting, "--model"]);
    command.arg(model).arg(media("colours/1_vertical.png")).arg("-o").arg(masks);
    let finished = finish(command);
    let code = finished.status.code().expect("no signal");
    (code, std::fs::read(masks.join("1_vertical_mask.png")).unwrap_or_default())
}

#[test]
fn masks_are_the_same_in_a_process_as_without() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut models = vec![root.join("models/street-nano/model.tflite"), root.join("models/scene-fast/model.tflite")];
    models.extend(support::models());
    let mut taken = 0;
    for model in models {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let none = predicted(&model, "none", here.path());
        assert_eq!(predicted(&model, "process", there.path()), none, "{}", model.display());
        taken += usize::from(none.0 == 0);
    }
    assert!(taken >= 15, "{taken} models ran");
}

#[test]
fn a_clip_gives_the_same_records_and_the_end_is_the_same() {
    let records = |isolation: &str| {
        let command = with(run(&colours(), &replay("colours.y4m")), ["camera.rate=max", isolation]);
        let finished = finish(command).expect(0);
        let classes: Vec<Value> = finished.records().iter().map(|record| record["classes"].clone()).collect();
        assert_eq!(finished.count("failed"), 0);
        classes
    };
    let there = records("engine.isolation=process");
    assert!(!there.is_empty());
    assert_eq!(there, records("engine.isolation=none"));
}

/// `run`, `check` and `predict` refuse `model` with exit code 78 and the same words, which are returned.
#[track_caller]
fn refusal(model: &Path) -> String {
    let last = |finished: Finished| finished.expect(78).stderr.lines().last().unwrap_or_default().to_owned();
    let of = |subcommand: &[&str]| {
        let mut command = pspnetd(subcommand);
        command.args(["--set", "model.threads=1", "--model"]).arg(model);
        command
    };
    let words = last(finish(of(&["check", "--camera", "pattern:64x64"])));
    assert_eq!(last(finish(of(&["run", "--camera", "pattern:64x64"]))), words);
    let mut command = of(&["predict", "--json"]);
    command.arg(media("colours/1_vertical.png"));
    assert_eq!(last(finish(command)), words);
    words
}

#[test]
fn a_model_that_ends_tensorflow_lite_is_refused_with_the_signal() {
    let words = refusal(&model("refused_aborts"));
    assert!(
        words.contains(": a model that ends TensorFlow Lite's process while it is loaded: SIGABRT; expected one"),
        "{words}"
    );
    assert!(words.contains(" that TensorFlow Lite "), "{words}");
}

#[test]
fn a_model_that_eats_memory_ends_its_process_at_a_limit_from_its_own_size() {
    let folder = tempfile::tempdir().unwrap();
    let sides = |side: i32| [side, side].map(i32::to_le_bytes).concat();
    // Tensors of so many rows and columns of floats, of which the file says nothing: 1.6 GB each.
    let path = edited(folder.path(), &model("colours_96x64_int8_grows"), &sides(20), &sides(20_000));
    let words = refusal(&path);
    assert!(words.contains("while it is loaded: SIG") && words.contains(" can run in 584 MiB of memory"), "{words}");
}
