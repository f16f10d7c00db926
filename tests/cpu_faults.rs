//! Every end of the process that runs the model on the CPU, at every moment, through the real binary: at start the program ends
//! with exit code 78 and the reason; later it goes on, masks come again within two seconds, nothing leaks, every frame is
//! accounted for.
//!
//! `cargo test` runs a selection; `scripts/edgetpu-faults` all of it, and prints the table for docs/reliability.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::{kill_process, Pid};

use support::held::{children, held, workers};
use support::{colours, run, with, Running, Signal, LIMIT};

/// Longest time without a mask.
const RECOVERY: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Abort,
    Segfault,
    Killed,
    Hang,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    AtStart,
    FirstFrame,
    After100,
    Restart,
}

const FAULTS: [Fault; 4] = [Fault::Abort, Fault::Segfault, Fault::Killed, Fault::Hang];
const MOMENTS: [Moment; 4] = [Moment::AtStart, Moment::FirstFrame, Moment::After100, Moment::Restart];

impl Fault {
    const fn signal(self) -> Signal {
        match self {
            Self::Abort => Signal::ABORT,
            Self::Segfault => Signal::SEGV,
            Self::Killed => Signal::KILL,
            Self::Hang => Signal::STOP,
        }
    }

    /// What the log says of it once the program runs.
    const fn words(self) -> &'static str {
        match self {
            Self::Abort => "SIGABRT",
            Self::Segfault => "SIGSEGV",
            Self::Killed => "SIGKILL",
            Self::Hang => "no answer",
        }
    }

    /// Exit code and words where it happens at the start. That somebody killed it is no fault of the model's.
    const fn at_start(self) -> (i32, &'static str) {
        match self {
            Self::Abort => (78, "while it is loaded: SIGABRT"),
            Self::Segfault => (78, "while it is loaded: SIGSEGV"),
            Self::Killed => (69, "the process that loads it was killed"),
            Self::Hang => (78, "a model that isn't ready within 1.0 s"),
        }
    }
}

fn start() -> Running {
    let settings = ["camera.rate=30", "engine.deadline=0.5", "engine.start_limit=1", "telemetry.interval=0"];
    Running::start(with(run(&colours(), "pattern:96x64"), settings))
}

/// Strikes the process that runs the model as soon as there is one other than `before`.
fn strike(running: &Running, fault: Fault, before: Option<u32>) -> u32 {
    let start = Instant::now();
    loop {
        if let Some(id) = workers(running, "cpu").into_iter().find(|id| Some(*id) != before) {
            let process = Pid::from_raw(id.try_into().unwrap()).unwrap();
            kill_process(process, fault.signal()).unwrap();
            if fault == Fault::Segfault {
                // Rust's own handler takes the first for a look at the stack's guard page, and finds no instruction to repeat.
                std::thread::sleep(Duration::from_millis(2));
                let _ = kill_process(process, fault.signal());
            }
            return id;
        }
        assert!(start.elapsed() < LIMIT, "no process runs the model");
        std::thread::yield_now();
    }
}

/// Strikes while the model is loaded. Where the machine was so busy that the load was over by then, it is tried again.
fn strike_at_start(fault: Fault) {
    for _ in 0..20 {
        let running = start();
        strike(&running, fault, None);
        while running.stdout.count() == 0 {
            if running.has_ended(Duration::from_millis(10)) {
                let (code, words) = fault.at_start();
                running.finish().expect(code).says([words]);
                return;
            }
        }
    }
    panic!("the model was always loaded before the process could be struck");
}

/// The longest time without a mask after the fault; None where it is at the start.
fn run_cell(fault: Fault, moment: Moment) -> Option<Duration> {
    if moment == Moment::AtStart {
        strike_at_start(fault);
        return None;
    }
    let running = start();
    running.stdout.wait_for_count(if moment == Moment::After100 { 100 } else { 1 });
    let descriptors = held(&running).descriptors;
    let from = running.stdout.count();
    let mut began = Instant::now();
    let mut seen = BTreeSet::from([strike(&running, fault, None)]);
    if moment == Moment::Restart {
        // The one that counts strikes the process that is being started.
        let first = seen.first().copied();
        seen.insert(strike(&running, fault, first));
        began = Instant::now();
    }
    running.stderr.wait_for(fault.words());
    let faults = if moment == Moment::Restart { 2 } else { 1 };
    // A frame that was inferred before the fault may be published after it, and then has its reason.
    let came_back = |record: &serde_json::Value| {
        record["engine"]["faults"].as_u64() == Some(faults) && record["engine"].get("reason").is_none()
    };
    let (number, _) = running.stdout.wait_for_record(from, "a mask after the fault", came_back);
    let silence = running.stdout.time(number).saturating_duration_since(began);
    running.stdout.wait_for_count(number + 20);
    seen.extend(workers(&running, "cpu"));
    assert_eq!(children(&running).len(), 1, "none waits to be reaped");
    assert!(held(&running).descriptors <= descriptors, "a descriptor is left");
    let finished = running.stop_in_time(Signal::TERM).expect(0);
    for id in seen {
        assert!(!std::path::Path::new(&format!("/proc/{id}")).exists(), "process {id} is left");
    }
    let [taken, published, replaced, failed] =
        ["in", "published", "replaced", "failed"].map(|name| finished.count(name));
    assert_eq!(taken, published + replaced + failed, "{}", finished.stderr);
    assert_eq!(published, finished.records().len() as u64);
    assert!(silence <= RECOVERY, "{fault:?} {moment:?}: {silence:.2?} without a mask:\n{}", finished.stderr);
    Some(silence)
}

#[test]
fn each_end_at_one_moment_is_survived() {
    for (fault, moment) in FAULTS.into_iter().zip(MOMENTS) {
        run_cell(fault, moment);
    }
    run_cell(Fault::Hang, Moment::AtStart);
}

#[test]
#[ignore = "takes a while: scripts/edgetpu-faults"]
fn every_end_at_every_moment_is_survived() {
    println!("\nThe CPU's process: seconds without a mask\n\n| fault | at start | first frame | after 100 frames | during restart |");
    println!("| --- |{}", " --- |".repeat(MOMENTS.len()));
    for fault in FAULTS {
        let cells = MOMENTS.map(|moment| match run_cell(fault, moment) {
            Some(silence) => format!("{:.2}", silence.as_secs_f64()),
            None => format!("exit {}", fault.at_start().0),
        });
        println!("| {} | {} |", format!("{fault:?}").to_lowercase(), cells.join(" | "));
    }
}
