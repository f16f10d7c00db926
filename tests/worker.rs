//! An engine in a process of its own: it answers as the engine in this process does, and whatever it does, this process goes
//! on and nothing of it is left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;
#[path = "support/unruly.rs"]
mod unruly;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use infer::worker::{check_answer, test_picture, Job, Ready, Worker};
use infer::{Engine, Fault, InputTensors, Phase, TfliteEngine};
use model::ModelFile;
use rustix::process::{kill_process, Pid, Signal};

use support::{model, wait_until, Running, LIMIT};
use unruly::{imposter, unruly};

const PSPNETD: &str = env!("CARGO_BIN_EXE_pspnetd");

/// Inferences before a worker is ready.
const WARM_UP: usize = 1;

/// A model, and the engine that runs it in this process.
struct Here {
    file: ModelFile,
    engine: TfliteEngine,
    inputs: InputTensors,
}

impl Here {
    fn new(name: &str) -> Self {
        let file = ModelFile::load(&model(name)).unwrap();
        let engine = TfliteEngine::new(&file, 1).unwrap();
        let inputs = InputTensors::shared(&engine.io().input, 3).unwrap();
        Self { file, engine, inputs }
    }

    fn job(&self, name: &str, program: impl Into<PathBuf>) -> Job {
        Job { program: program.into(), ..Job::new(name, &self.file, self.engine.io().clone(), 1) }
    }

    fn start(&self, name: &str, program: impl Into<PathBuf>) -> Result<(Worker, Ready), Fault> {
        Worker::start(&self.job(name, program), &self.inputs, LIMIT, &mut || true)
    }

    /// Room for an answer.
    fn output(&self) -> Vec<u8> {
        vec![0; self.engine.io().output.bytes()]
    }

    /// One frame through `worker`.
    fn infer(&self, worker: &mut Worker, limit: Duration) -> Result<Duration, Fault> {
        let (input, mut output) = (self.inputs.take().unwrap(), self.output());
        worker.infer(&input, &mut output, limit, &mut || true)
    }
}

#[track_caller]
fn failed<T>(outcome: Result<T, Fault>) -> Fault {
    outcome.err().expect("it should fail")
}

fn is_there(id: u32) -> bool {
    Path::new(&format!("/proc/{id}")).exists()
}

fn signal(worker: &Worker, signal: Signal) {
    kill_process(Pid::from_raw(worker.id().cast_signed()).unwrap(), signal).unwrap();
}

#[test]
fn it_answers_what_the_engine_in_this_process_answers() {
    for name in ["colours", "colours_96x64_uint8", "argmax_96x64_int64"] {
        let mut here = Here::new(name);
        let (mut worker, ready) = here.start("cpu 1", PSPNETD).unwrap();
        let io = here.engine.io().clone();
        let mut expected = vec![0; io.output.bytes()];
        here.engine.infer(&test_picture(&io.input), &mut expected).unwrap();
        assert_eq!(ready.answer, expected);
        check_answer(&io.output, Some(&expected[..]), &ready.answer).unwrap();
        assert_eq!(ready.describe, here.engine.describe());
        assert!(ready.try_out > Duration::ZERO && ready.version.is_none());
        // From all places, with another picture each time.
        let mut inputs: Vec<_> = (0..3).map(|_| here.inputs.take().unwrap()).collect();
        let mut output = here.output();
        for round in 0..9usize {
            let input = &mut inputs[round % 3];
            input.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * (round + 3) / 17) as u8);
            output.fill(0xAA);
            let took = worker.infer(input, &mut output, LIMIT, &mut || true).unwrap();
            here.engine.infer(input, &mut expected).unwrap();
            assert!(output[..] == expected[..], "{name}, round {round}");
            assert!(took > Duration::ZERO && took < LIMIT);
            worker.is_alive().unwrap();
        }
    }
}

#[test]
fn a_model_that_is_not_the_expected_one_is_refused() {
    let (colours, other) = (Here::new("colours"), Here::new("colours_96x64_uint8"));
    let fault = failed(Worker::start(
        &Job { io: other.engine.io().clone(), ..colours.job("w", PSPNETD) },
        &other.inputs,
        LIMIT,
        &mut || true,
    ));
    // What it has instead is told, by which another worker can be started.
    let Fault::Ends { inputs, outputs } = &fault else { panic!("{fault:?}") };
    assert_eq!(model::check(inputs, outputs).unwrap(), *colours.engine.io());
    let broken = Job { model: colours.file.bytes[..1000].into(), ..colours.job("w", PSPNETD) };
    let fault = failed(Worker::start(&broken, &colours.inputs, LIMIT, &mut || true));
    assert!(fault.to_string().contains("damaged TensorFlow Lite file"), "{fault}");
}

#[test]
fn what_cannot_be_started_is_a_fault_of_the_system() {
    let here = Here::new("colours");
    let fault = failed(here.start("w", "/nonexistent/pspnetd"));
    assert!(matches!(&fault, Fault::System { text } if text.contains("/nonexistent/pspnetd: No such file")), "{fault}");
    let heap = InputTensors::heap(&here.engine.io().input);
    let fault = failed(Worker::start(&here.job("w", PSPNETD), &heap, LIMIT, &mut || true));
    assert!(matches!(fault, Fault::System { .. }), "{fault:?}");
    let (ours, foreign) = (here.inputs.take().unwrap(), heap.take().unwrap());
    let (right, short) = (here.output(), here.output()[1..].to_vec());
    for (input, mut output) in [(foreign, right), (ours, short)] {
        let (mut worker, _) = here.start("w", PSPNETD).unwrap();
        let fault = failed(worker.infer(&input, &mut output, LIMIT, &mut || true));
        assert!(matches!(fault, Fault::System { .. }) && !is_there(worker.id()), "{fault:?}");
    }
}

#[test]
fn a_killed_worker_is_told_with_its_signal() {
    let here = Here::new("colours");
    let (mut worker, _) = here.start("w", PSPNETD).unwrap();
    here.infer(&mut worker, LIMIT).unwrap();
    signal(&worker, Signal::KILL);
    wait_until("it is noticed", || worker.is_alive().is_err());
    let fault = failed(worker.is_alive());
    assert_eq!(fault, Fault::Died { when: Phase::Idle, how: "SIGKILL".to_owned(), words: Vec::new() });
    assert_eq!(failed(here.infer(&mut worker, LIMIT)), fault, "and stays told");
    assert!(!is_there(worker.id()));
}

#[test]
fn a_terminal_that_goes_takes_no_worker_along() {
    let here = Here::new("colours");
    let (mut worker, _) = here.start("w", PSPNETD).unwrap();
    signal(&worker, Signal::HUP);
    for _ in 0..3 {
        here.infer(&mut worker, LIMIT).unwrap();
    }
}

#[test]
fn the_end_of_a_worker_is_told_with_phase_signal_and_last_words() {
    let here = Here::new("colours");
    let words = "F 12345 usb/usb_driver.cc:857] transfer on tag 1 failed. Abort. [LibUsbDataOutCallback]";
    for (what, how, words) in
        [("abort", "SIGABRT", &[words][..]), ("segfault", "SIGSEGV", &[]), ("exit", "exit code 7", &[])]
    {
        let words: Vec<String> = words.iter().map(|&line| line.to_owned()).collect();
        let died = |when| Fault::Died { when, how: how.to_owned(), words: words.clone() };
        let fault = failed(here.start(&format!("w: {what} {WARM_UP}"), unruly()));
        assert_eq!(fault, died(Phase::Starting));
        let (mut worker, _) = here.start(&format!("w: {what} {}", WARM_UP + 2), unruly()).unwrap();
        here.infer(&mut worker, LIMIT).unwrap();
        assert_eq!(failed(here.infer(&mut worker, LIMIT)), died(Phase::Inferring));
        assert!(!is_there(worker.id()), "{what}");
    }
}

#[test]
fn a_worker_that_does_not_answer_is_late_and_gone() {
    let here = Here::new("colours");
    let short = Duration::from_millis(300);
    let late = |when| Fault::Late { when, after: short };
    let hanging = here.job("w: hang 1", unruly());
    let fault = failed(Worker::start(&hanging, &here.inputs, short, &mut || true));
    assert_eq!(fault, late(Phase::Starting));

    let (mut worker, _) = here.start("w", PSPNETD).unwrap();
    signal(&worker, Signal::STOP);
    let start = Instant::now();
    assert_eq!(failed(here.infer(&mut worker, short)), late(Phase::Inferring));
    assert!(start.elapsed() >= short && !is_there(worker.id()));

    let (mut worker, _) = here.start(&format!("w: hang {}", WARM_UP + 1), unruly()).unwrap();
    assert_eq!(failed(here.infer(&mut worker, short)), late(Phase::Inferring));
    assert!(!is_there(worker.id()));
}

#[test]
fn a_wait_ends_when_the_program_stops() {
    let here = Here::new("colours");
    let mut asked = 0;
    let mut go_on = || {
        asked += 1;
        asked < 3
    };
    let hanging = here.job("w: hang 1", unruly());
    let start = Instant::now();
    assert_eq!(failed(Worker::start(&hanging, &here.inputs, LIMIT, &mut go_on)), Fault::Stopped);
    assert!(start.elapsed() < LIMIT / 2);
    let (mut worker, _) = here.start(&format!("w: hang {}", WARM_UP + 1), unruly()).unwrap();
    let (input, mut output) = (here.inputs.take().unwrap(), here.output());
    assert_eq!(failed(worker.infer(&input, &mut output, LIMIT, &mut || false)), Fault::Stopped);
    assert!(!is_there(worker.id()));
}

#[test]
fn an_inference_that_fails_is_told() {
    let here = Here::new("colours");
    let (mut worker, _) = here.start(&format!("w: error {}", WARM_UP + 1), unruly()).unwrap();
    let fault = failed(here.infer(&mut worker, LIMIT));
    assert!(matches!(&fault, Fault::Inference { words } if !words.is_empty()), "{fault:?}");
    assert!(!is_there(worker.id()));
}

#[test]
fn a_flood_of_words_holds_nobody() {
    let here = Here::new("colours");
    let (mut worker, _) = here.start(&format!("w: flood {}", WARM_UP + 1), unruly()).unwrap();
    for _ in 0..3 {
        here.infer(&mut worker, LIMIT).unwrap();
    }
}

#[test]
fn an_imposter_hurts_nobody() {
    let here = Here::new("colours");
    let start = |what: &str| here.start(&format!("w {what}"), imposter());
    let how = |fault: &Fault| match fault {
        Fault::Died { how, .. } => how.clone(),
        other => panic!("{other:?}"),
    };
    for what in ["garbage", "stopped", "other", "long", "flood"] {
        assert!(how(&failed(start(what))).contains("makes no sense"), "{what}");
    }
    assert_eq!(how(&failed(start("exits"))), "exit code 3");
    assert!(how(&failed(start("closes"))).contains("closed its socket"));
    let fault = failed(start("fault"));
    assert_eq!(fault.to_string(), "the library /x.so can't be loaded: \\u{7}not there");

    for (what, says) in [("short", "no sense"), ("number", "no sense"), ("json", "no sense")] {
        let (mut worker, ready) = start(what).unwrap();
        // What was never written is zero, which the comparison with the CPU refuses.
        assert!(ready.answer.iter().all(|&byte| byte == 0), "{what}");
        assert_eq!(ready.version.unwrap(), "1\\u{1b}[31m");
        let fault = failed(here.infer(&mut worker, LIMIT));
        assert!(how(&fault).contains(says) && !is_there(worker.id()), "{what}: {fault:?}");
    }
    let (mut worker, _) = start("ages").unwrap();
    assert_eq!(here.infer(&mut worker, LIMIT).unwrap(), LIMIT);
    let (mut worker, _) = start("talks").unwrap();
    wait_until("the message is there", || worker.is_alive().is_err());
    assert!(how(&failed(worker.is_alive())).contains("no sense"));
    let (mut worker, _) = start("leaves").unwrap();
    wait_until("its end is noticed", || worker.is_alive().is_err());
    let words = vec!["E 1 x.cc:1] gone".to_owned()];
    assert_eq!(failed(worker.is_alive()), Fault::Died { when: Phase::Idle, how: "exit code 4".to_owned(), words });
}

#[test]
fn a_dropped_worker_is_gone() {
    let here = Here::new("colours");
    let (worker, _) = here.start("w", PSPNETD).unwrap();
    let id = worker.id();
    assert!(is_there(id));
    drop(worker);
    assert!(!is_there(id));
}

#[test]
fn started_by_hand_it_says_what_it_is() {
    let finished = support::finish(support::pspnetd(["worker", "w"])).expect(70);
    finished.says(["a part of pspnetd that it starts itself"]);
    // With a socket, but without an order.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut command = support::pspnetd(["worker", "w"]);
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
    let running = Running::start(command);
    (&ours).write_all(b"no order").unwrap();
    running.finish().expect(70).says(["worker: ", "starts itself"]);
}

#[test]
fn it_is_seen_by_its_name_and_leaves_no_core_file() {
    let here = Here::new("colours");
    let (worker, _) = here.start("w", PSPNETD).unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", worker.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    let command = std::fs::read_to_string(format!("/proc/{}/cmdline", worker.id())).unwrap();
    assert_eq!(command, "pspnetd\0worker\0w\0");
}

/// Not a test: the program that the next test kills. It ends with its standard input.
#[test]
#[ignore = "started by the next test"]
fn a_program_with_a_worker() {
    let here = Here::new("colours");
    let (worker, _) = here.start(&format!("w: hang {}", WARM_UP + 1), unruly()).unwrap();
    writeln!(std::io::stdout(), "worker {}", worker.id()).unwrap();
    let mut worker = worker;
    let (input, mut output) = (here.inputs.take().unwrap(), here.output());
    let _ = worker.infer(&input, &mut output, LIMIT, &mut || true);
}

#[test]
fn a_program_that_is_killed_leaves_no_worker() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_program_with_a_worker", "--ignored", "--nocapture"]).stdin(Stdio::null());
    let running = Running::start(command);
    let line = running.stdout.wait_for("worker ");
    let id: u32 = line.split("worker ").nth(1).unwrap().trim().parse().unwrap();
    assert!(is_there(id));
    running.signal(Signal::KILL);
    assert!(running.has_ended(LIMIT));
    // Reaped by whoever takes orphans; until then it may be a zombie.
    let state = || std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    wait_until("the worker is gone", || {
        let stat = state();
        stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ")
    });
}
