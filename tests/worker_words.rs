//! What a worker says comes out in this program's log, and by that what it may not do: the sandbox is tried from within a
//! worker, in the middle of an inference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;
#[path = "support/unruly.rs"]
mod unruly;

use std::sync::{Mutex, Once};

use infer::worker::{Job, Worker};
use infer::{Engine as _, Fault, InputTensors, TfliteEngine};
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
    let (words, ended) = words_of(name, what);
    assert!(ended.is_none(), "{ended:?}");
    words
}

/// The same, and how the worker ended, if it did.
fn words_of(name: &str, what: &str) -> (Vec<(Level, String)>, Option<Fault>) {
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
    let ended = worker.infer(&input, &mut output, LIMIT, &mut || true).err();
    // Its listener ends with it, and has put everything into the log then.
    drop(worker);
    let prefix = format!("{name}: ");
    let kept = KEPT.0.lock().unwrap();
    let words = kept.iter().filter_map(|(level, line)| Some((*level, line.strip_prefix(&prefix)?.to_owned())));
    (words.collect(), ended)
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

/// What came of an attempt at something in a worker.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// It could be done, or the system said no by this error.
    Said(String),
    /// The process was ended for the call of this name.
    Ended(String),
}

/// Has a worker try `what` at its first frame. Also whether the kernel has Landlock.
fn outcome(what: &str) -> (Outcome, bool) {
    let (words, ended) = words_of(&format!("trying {what}"), &format!("try-{what}"));
    let has_landlock = !words.iter().any(|(_, line)| line.contains("sandbox: landlock: this kernel has none"));
    let find = |prefix: &str, suffix: &str| {
        words.iter().find_map(|(_, line)| Some(line.strip_prefix(prefix)?.strip_suffix(suffix)?.to_owned()))
    };
    let outcome = match ended {
        None => find(&format!("tried {what}: "), "").map(Outcome::Said),
        Some(fault) => {
            assert!(matches!(&fault, Fault::Died { how, .. } if how == "SIGSYS"), "{what}: {fault}");
            find("FATAL: sandbox: the system call ", " is refused here").map(Outcome::Ended)
        }
    };
    (outcome.unwrap_or_else(|| panic!("{what}: {words:?}")), has_landlock)
}

fn said(text: &str) -> Outcome {
    Outcome::Said(text.to_owned())
}

#[test]
fn what_the_engine_needs_is_there() {
    for what in ["read-processor", "use-null", "signal-itself", "thread", "map", "own-processors"] {
        assert_eq!(outcome(what).0, said("done"), "{what}");
    }
}

#[test]
fn a_call_that_no_engine_needs_ends_the_process_by_its_name() {
    for (what, call) in [
        ("execve", "execve"),
        ("execveat", "execveat"),
        ("ptrace", "ptrace"),
        ("read-memory", "process_vm_readv"),
        ("pidfd", "pidfd_open"),
        ("reap-memory", "process_mrelease"),
        ("setsid", "setsid"),
        ("unshare", "unshare"),
        ("mount", "mount"),
        ("chroot", "chroot"),
        ("setuid", "setuid"),
        ("shmget", "shmget"),
        ("msgget", "msgget"),
        ("mq_open", "mq_open"),
        ("io_uring", "io_uring_setup"),
        ("bpf", "bpf"),
        ("keyctl", "keyctl"),
        ("syslog", "syslog"),
        ("clock", "clock_settime"),
        ("perf", "perf_event_open"),
        ("userfaultfd", "userfaultfd"),
        ("personality", "personality"),
        ("seccomp", "seccomp"),
    ] {
        assert_eq!(outcome(what).0, Outcome::Ended(call.to_owned()), "{what}");
    }
    // Under other names on other processors.
    for what in ["unlink", "mkdir", "rename", "chmod"] {
        assert!(
            matches!(outcome(what).0, Outcome::Ended(call) if call.starts_with(what) || call == format!("f{what}at")),
            "{what}"
        );
    }
    if cfg!(target_arch = "x86_64") {
        assert!(matches!(outcome("x32").0, Outcome::Ended(_)));
    }
}

#[test]
fn what_reaches_beyond_the_process_is_refused() {
    for what in [
        "fork",
        "socket-inet",
        "socket-inet6",
        "socket-packet",
        "socket-vsock",
        "socket-unix",
        "socket-thread",
        "signal-parent",
        "signal-group",
        "parents-processors",
        "parents-policy",
        "parents-priority",
        "users-priority",
        "parents-limits",
        "write-null",
        "write-and-read-null",
        "parents-memory-to-write",
        "write-proc",
        "kernel-log",
        "pseudo-terminal",
        "map-executable",
        "map-code",
        "map-shared",
        "map-growing",
        "own-policy",
        "make-a-nameless-file",
        "interfaces",
        "send-a-descriptor",
        "make-executable",
        "make-a-file",
        "type",
        "type-long",
        "paste",
        "take-terminal",
        "take-console",
        "discipline",
        "set-key",
        "switch-console",
        "owner",
        "owners-signal",
        "owner-ex",
        "owner-ioctl",
        "group-ioctl",
        "outlive",
        "own-refusals",
    ] {
        assert_eq!(outcome(what).0, said("EPERM"), "{what}");
    }
}

#[test]
fn no_file_can_be_opened_that_no_engine_needs() {
    let has_landlock = outcome("thread").1;
    if needs::needs(has_landlock, "this kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, and lsm=landlock,… at boot)")
    {
        for what in [
            "parents-memory",
            "parents-environment",
            "list-processes",
            "list-root",
            "read-passwords",
            "read-shadow",
            "read-configuration",
            "read-a-program",
            "terminal",
            "shared-memory",
        ] {
            assert_eq!(outcome(what).0, said("EACCES"), "{what}");
        }
    }
}
