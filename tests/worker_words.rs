//! What a worker says comes out in this program's log, and by that what it may not do: the sandbox is tried from within a
//! worker, in the middle of an inference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;
#[path = "support/unruly.rs"]
mod unruly;

use std::sync::{Mutex, Once};

use infer::worker::{Job, Worker};
use infer::{Engine as _, InputTensors, TfliteEngine};
use log::{Level, Log, Metadata, Record};
use model::ModelFile;

use support::{model, needs, LIMIT};
use unruly::unruly;

/// Keeps what is logged.
struct Kept(Mutex<Vec<(Level, String)>>);

static KEPT: Kept = Kept(Mutex::new(Vec::new()));

impl Log for Kept {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0.lock().unwrap().push((record.level(), record.args().to_string()));
    }

    fn flush(&self) {}
}

/// What the log has of a worker that does `what` at its first frame, once the worker is gone. `name` must be its own.
fn words(name: &str, what: &str) -> Vec<(Level, String)> {
    static START: Once = Once::new();
    START.call_once(|| {
        log::set_logger(&KEPT).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
    });
    let file = ModelFile::load(&model("colours")).unwrap();
    let engine = TfliteEngine::new(&file, 1).unwrap();
    let inputs = InputTensors::shared(&engine.io().input, 1).unwrap();
    let name = format!("{name}: {what} 2");
    let job = Job { program: unruly(), ..Job::new(name.clone(), &file, engine.io().clone(), 1) };
    let (mut worker, _) = Worker::start(&job, &inputs, LIMIT, &mut || true).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.id())).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let (input, mut output) = (inputs.take().unwrap(), vec![0; engine.io().output.bytes()]);
    worker.infer(&input, &mut output, LIMIT, &mut || true).unwrap();
    // Its listener ends with it, and has put everything into the log then.
    drop(worker);
    let prefix = format!("{name}: ");
    let kept = KEPT.0.lock().unwrap();
    kept.iter().filter_map(|(level, line)| Some((*level, line.strip_prefix(&prefix)?.to_owned()))).collect()
}

#[test]
fn its_lines_have_its_name_and_their_level() {
    let words = words("levels", "levels");
    for (level, line) in [
        (Level::Debug, "INFO: i"),
        (Level::Warn, "WARNING: w"),
        (Level::Error, "E0101 a.cc:1] e"),
        (Level::Info, "plain \\u{1b}[31m"),
    ] {
        assert!(words.contains(&(level, line.to_owned())), "{line}: {words:?}");
    }
}

#[test]
fn what_goes_to_standard_output_is_heard_as_well() {
    assert!(words("out", "print").contains(&(Level::Info, "on standard output".to_owned())));
}

#[test]
fn a_flood_is_cut_and_counted() {
    let words = words("flooding", "flood");
    assert!(words.iter().filter(|(_, line)| line.starts_with("line ")).count() < 100, "{}", words.len());
    let last = &words.last().unwrap().1;
    assert!(last.ends_with("more lines, left out"), "{last}");
}

#[test]
fn the_sandbox_refuses_what_no_device_needs() {
    let words = words("sandboxed", "everything");
    let lacks_landlock = words.iter().any(|(_, line)| line.contains("sandbox: landlock: this kernel has none"));
    let outcome = |what: &str| {
        let prefix = format!("tried {what}: ");
        let line = words.iter().find_map(|(_, line)| line.strip_prefix(&prefix));
        line.unwrap_or_else(|| panic!("no {what:?} in {words:?}")).to_owned()
    };
    for free in [
        "socket netlink",
        "socket unix",
        "write /dev/null",
        "fopen /dev/null",
        "read a file",
        "signal itself",
        "a thread",
    ] {
        assert_eq!(outcome(free), "done", "{free}");
    }
    for refused in [
        "execve",
        "fork",
        "posix_spawn",
        "socket inet",
        "socket inet6",
        "socket packet",
        "a socket on a thread",
        "signal the parent",
        "signal its group",
        "ptrace",
        "leave the group",
        "type (TIOCSTI)",
        "type by a longer number",
        "paste (TIOCLINUX)",
        "take a terminal (TIOCSCTTY)",
        "take the console (TIOCCONS)",
        "load a line discipline (TIOCSETD)",
        "set a key (KDSKBENT)",
        "switch the console (VT_ACTIVATE)",
        "have another process signalled (F_SETOWN)",
        "have it killed (F_SETSIG)",
        "have another process signalled (F_SETOWN_EX)",
        "have another process signalled (FIOSETOWN)",
        "have another process signalled (SIOCSPGRP)",
        "outlive the parent",
        "a call by its x32 number",
    ] {
        assert_eq!(outcome(refused), "EPERM", "{refused}");
    }
    if needs::needs(
        !lacks_landlock,
        "this kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, and lsm=landlock,… at boot)",
    ) {
        for refused in
            ["write a file", "write /proc", "read the parent's memory", "write to a terminal", "read a terminal"]
        {
            assert_eq!(outcome(refused), "EACCES", "{refused}");
        }
    }
}
