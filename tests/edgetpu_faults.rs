//! Every fault of an Edge TPU at every moment, through the real binary and the test double of libedgetpu: the program goes
//! on, masks come again within two seconds, nothing leaks, every frame is accounted for.
//!
//! `cargo test` runs a selection; `scripts/edgetpu-faults` all of it, and prints the table for docs/reliability.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod support;

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use support::coral::{pair, Coral};
use support::fake_edgetpu::Stick;
use support::held::{children, held, workers};
use support::{run, wait_until, with, Running, Signal};

/// Longest time without a mask: after the fault where the CPU may take over, else after the device's return.
const RECOVERY: Duration = Duration::from_secs(2);
/// How long a fault lasts that somebody has to mend, such as a missing library.
const LASTS: Duration = Duration::from_millis(1500);
/// Cells that run at the same time.
const SIDE_BY_SIDE: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    InvokeError,
    Abort,
    Segfault,
    Hang,
    Slow,
    Unplug,
    Late,
    WrongVersion,
    LibraryMissing,
    Denied,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    AtStart,
    FirstFrame,
    After100,
    HandBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    fault: Fault,
    moment: Moment,
    /// The CPU may take over.
    fallback: bool,
}

const FAULTS: [Fault; 10] = [
    Fault::InvokeError,
    Fault::Abort,
    Fault::Segfault,
    Fault::Hang,
    Fault::Slow,
    Fault::Unplug,
    Fault::Late,
    Fault::WrongVersion,
    Fault::LibraryMissing,
    Fault::Denied,
];
const MOMENTS: [Moment; 4] = [Moment::AtStart, Moment::FirstFrame, Moment::After100, Moment::HandBack];

impl Fault {
    /// It needs a new worker to show: the running one has the library and the device already.
    const fn waits_for_a_start(self) -> bool {
        matches!(self, Self::WrongVersion | Self::LibraryMissing | Self::Denied)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::InvokeError => "invoke error",
            Self::Abort => "abort",
            Self::Segfault => "segfault",
            Self::Hang => "hang",
            Self::Slow => "slow",
            Self::Unplug => "unplug",
            Self::Late => "late at boot",
            Self::WrongVersion => "wrong version",
            Self::LibraryMissing => "library missing",
            Self::Denied => "permission denied",
        }
    }

    /// What the log must say of it.
    const fn words(self, moment: Moment) -> &'static str {
        match self {
            // Without a worker that has it, nobody sees it go; else its end is told, and what follows from it is not told again.
            Self::Unplug | Self::Late if matches!(moment, Moment::AtStart | Moment::HandBack) => "no such device",
            Self::Late => "SIGABRT",
            Self::InvokeError => "the inference failed",
            Self::Abort | Self::Unplug => "SIGABRT",
            Self::Segfault | Self::WrongVersion => "SIGSEGV",
            Self::Hang | Self::Slow => "no answer",
            Self::LibraryMissing => "can't be loaded",
            Self::Denied => "can't be opened",
        }
    }
}

impl Moment {
    const fn name(self) -> &'static str {
        match self {
            Self::AtStart => "at start",
            Self::FirstFrame => "first frame",
            Self::After100 => "after 100 frames",
            Self::HandBack => "during hand-back",
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fallback = if self.fallback { "CPU" } else { "no CPU" };
        write!(f, "{} / {} / {fallback}", self.fault.name(), self.moment.name())
    }
}

/// What a cell measured.
struct Measured {
    /// Without masks, as [`RECOVERY`] counts: where the CPU may take over the longest silence from the fault to the device's
    /// first mask afterwards, else the time from the device's return.
    recovery: Duration,
    /// From the fault's end to the device's first mask.
    device: Duration,
}

/// Makes the fault happen, and ends it.
struct Cause<'a> {
    coral: &'a Coral,
    fault: Fault,
}

impl Cause<'_> {
    fn begin(&self, moment: Moment) {
        // The test picture is the first inference of every worker: with `after 1` the first frame is hit.
        let at_invoke = |fault: &str| self.coral.double.tell(&format!("at invoke\nafter 1\n{fault}\n"));
        let at = |place: &str, fault: &str| self.coral.double.tell(&format!("at {place}\nfault {fault}\n"));
        match self.fault {
            Fault::InvokeError if moment == Moment::AtStart => at("invoke", "error"),
            Fault::Abort if moment == Moment::AtStart => at("create", "abort"),
            Fault::Segfault if moment == Moment::AtStart => at("create", "segfault"),
            Fault::Hang if moment == Moment::AtStart => at("create", "hang"),
            Fault::Slow if moment == Moment::AtStart => self.coral.double.tell("at create\nslow_ms 60000\n"),
            Fault::InvokeError => at_invoke("fault error"),
            Fault::Abort => at_invoke("fault abort"),
            Fault::Segfault => at_invoke("fault segfault"),
            Fault::Hang => at_invoke("fault hang"),
            Fault::Slow => at_invoke("slow_ms 60000"),
            Fault::Unplug | Fault::Late => {
                self.coral.double.unplug(1);
                if self.fault == Fault::Unplug {
                    at_invoke("fault abort");
                } else {
                    at_invoke("fault error");
                }
            }
            Fault::WrongVersion => at("prepare", "segfault"),
            Fault::LibraryMissing => self.coral.take_library(),
            Fault::Denied => {
                self.coral.set_mode(1, 0o600);
                at("create", "denied");
            }
        }
    }

    fn end(&self) {
        self.coral.double.tell("");
        match self.fault {
            Fault::Unplug => self.coral.double.plug(1, Stick::Ready),
            // As it comes after a power cut; then with its firmware, as another device.
            Fault::Late => self.coral.double.plug(1, Stick::Fresh),
            Fault::LibraryMissing | Fault::WrongVersion => self.coral.put_library(),
            Fault::Denied => self.coral.set_mode(1, 0o660),
            _ => {}
        }
    }
}

/// The running program and what came out of it.
struct Watched {
    running: Running,
    fallback: bool,
    /// Every child that was ever seen.
    seen: BTreeSet<u32>,
}

impl Watched {
    fn start(coral: &Coral, fallback: bool) -> Self {
        let setting = format!("engine.cpu_fallback={fallback}");
        let mut command = run(&pair(), "pattern:96x64");
        command = with(command, ["engine.kind=edgetpu", &setting, "engine.start_limit=1", "telemetry.interval=0"]);
        coral.attach(&mut command);
        Self { running: Running::start(command), fallback, seen: BTreeSet::new() }
    }

    fn records(&self) -> usize {
        self.running.stdout.count()
    }

    /// Waits for a record after the first `from` lines that `is_it` says yes to; when it came.
    fn wait_for_record(&mut self, from: usize, what: &str, is_it: impl Fn(&Value) -> bool) -> Instant {
        self.look_at_children();
        let (number, _) = self.running.stdout.wait_for_record(from, what, is_it);
        self.look_at_children();
        self.running.stdout.time(number)
    }

    /// The longest time without a mask between these two.
    fn longest_silence(&self, from: Instant, to: Instant) -> Duration {
        let times = (0..self.records()).map(|number| self.running.stdout.time(number));
        let between: Vec<Instant> = times.filter(|time| (from..=to).contains(time)).collect();
        let ends = between.iter().copied().chain([to]);
        [from].into_iter().chain(between.iter().copied()).zip(ends).map(|(one, next)| next - one).max().unwrap()
    }

    fn look_at_children(&mut self) {
        self.seen.extend(children(&self.running));
    }

    /// Kills the worker, so that a new one has to start.
    fn kill_worker(&mut self) {
        self.look_at_children();
        for id in workers(&self.running, "edgetpu") {
            let pid = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }

    fn faults(&self) -> usize {
        self.running.stderr.text().lines().filter(|line| line.contains("next attempt in")).count()
    }

    fn wait_for_fault(&self, before: usize) {
        self.running.stderr.wait_until("a fault in the log", |lines| {
            lines.iter().filter(|line| line.contains("next attempt in")).count() > before
        });
    }
}

fn ran(engine: &'static str) -> impl Fn(&Value) -> bool {
    move |record| record["engine"]["ran"] == engine
}

/// Runs one cell, and fails where a promise is broken.
fn run_cell(cell: Cell) -> Measured {
    let Cell { fault, moment, fallback } = cell;
    let coral = Coral::new(1);
    let cause = Cause { coral: &coral, fault };
    if moment == Moment::AtStart {
        cause.begin(moment);
    }
    let started = Instant::now();
    let mut watched = Watched::start(&coral, fallback);
    let before = match moment {
        Moment::AtStart => None,
        Moment::FirstFrame => {
            watched.wait_for_record(0, "the device's first mask", ran("edgetpu"));
            Some(held(&watched.running))
        }
        Moment::After100 | Moment::HandBack => {
            let count =
                |record: &Value| record["engine"]["ran"] == "edgetpu" && record["sequence"].as_u64() >= Some(100);
            watched.wait_for_record(0, "100 masks of the device", count);
            Some(held(&watched.running))
        }
    };
    if moment == Moment::HandBack {
        // A first fault; the one that counts comes while the device is being brought back.
        let faults = watched.faults();
        watched.kill_worker();
        watched.wait_for_fault(faults);
    }
    let mut began = started;
    let mut from = 0;
    if moment != Moment::AtStart {
        from = watched.records();
        began = Instant::now();
        cause.begin(moment);
        if fault.waits_for_a_start() && moment != Moment::HandBack {
            watched.kill_worker();
        }
    }
    // The fault shows in the log with its own words.
    let words = fault.words(moment);
    watched
        .running
        .stderr
        .wait_until(words, |lines| lines.iter().any(|line| line.contains(words) && line.contains("next attempt in")));
    let needs_mending = fault.waits_for_a_start() || matches!(fault, Fault::Unplug | Fault::Late);
    if fallback {
        watched.wait_for_record(from, "the CPU's mask", ran("cpu"));
    }
    if needs_mending {
        std::thread::sleep(LASTS.saturating_sub(began.elapsed()));
    }
    let from = watched.records();
    cause.end();
    let ended = Instant::now();
    let back = watched.wait_for_record(from, "the device's mask after the fault", ran("edgetpu"));
    if fault == Fault::Late {
        // It has its firmware now, which makes it another device of the same port; the worker that has it goes on.
        coral.double.unplug(1);
        coral.double.plug(1, Stick::Ready);
    }
    // It stays.
    let from = watched.records();
    watched.wait_for_record(from + 20, "20 more masks", ran("edgetpu"));
    let recovery = if fallback { watched.longest_silence(began, back) } else { back - ended };
    let measured = Measured { recovery, device: back - ended };
    finish(watched, before.map(|held| held.descriptors));
    assert!(recovery <= RECOVERY, "{recovery:.2?} without a mask");
    measured
}

/// Ends the program and looks at what it leaves.
fn finish(mut watched: Watched, descriptors: Option<usize>) {
    watched.look_at_children();
    let expected = 1 + usize::from(watched.fallback);
    wait_until("there is one of each kind, and none waits to be reaped", || {
        children(&watched.running).len() == expected
    });
    if let Some(before) = descriptors {
        assert_eq!(held(&watched.running).descriptors, before, "descriptors");
    }
    let seen = watched.seen;
    let finished = watched.running.stop_in_time(Signal::TERM).expect(0);
    for id in seen {
        wait_until(&format!("process {id} is gone"), || !std::path::Path::new(&format!("/proc/{id}")).exists());
    }
    let [taken, published, replaced, failed] =
        ["in", "published", "replaced", "failed"].map(|name| finished.count(name));
    assert_eq!(taken, published + replaced + failed, "{}", finished.stderr);
    assert_eq!(published, finished.records().len() as u64);
    let numbers: Vec<u64> = finished.records().iter().map(|record| record["sequence"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "out of order");
}

/// How a cell ended: its times, or what was broken.
type Outcome = (Cell, Result<Measured, String>);

/// Runs cells side by side.
fn run_cells(cells: &[Cell]) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(cell) = cells.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let outcome = catch_unwind(AssertUnwindSafe(|| run_cell(*cell))).map_err(|panic| {
                        let text = panic.downcast_ref::<String>().cloned();
                        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
                    });
                    outcomes.lock().unwrap().push((*cell, outcome));
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

/// Fails with everything that was broken.
#[track_caller]
fn expect_all_survived(outcomes: &[Outcome]) {
    let failed: Vec<String> = outcomes
        .iter()
        .filter_map(|(cell, outcome)| outcome.as_ref().err().map(|text| format!("{cell}: {text}")))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// The tables of docs/reliability.md.
fn print_tables(outcomes: &[Outcome]) {
    for fallback in [true, false] {
        println!("\n{}", if fallback { "The CPU may take over:" } else { "The CPU may not take over:" });
        println!("\n| fault | {} |", MOMENTS.map(Moment::name).join(" | "));
        println!("| --- |{}", " --- |".repeat(MOMENTS.len()));
        for fault in FAULTS {
            let cells = MOMENTS.map(|moment| {
                let cell = Cell { fault, moment, fallback };
                match outcomes.iter().find(|(other, _)| *other == cell) {
                    Some((_, Ok(Measured { recovery, device }))) if fallback => {
                        format!("{:.2} / {:.2}", recovery.as_secs_f64(), device.as_secs_f64())
                    }
                    Some((_, Ok(Measured { recovery, .. }))) => format!("{:.2}", recovery.as_secs_f64()),
                    Some((_, Err(_))) => "FAILED".to_owned(),
                    None => String::new(),
                }
            });
            println!("| {} | {} |", fault.name(), cells.join(" | "));
        }
    }
}

#[test]
fn a_selection_of_faults_is_survived() {
    let cell = |fault, moment, fallback| Cell { fault, moment, fallback };
    let outcomes = run_cells(&[
        cell(Fault::InvokeError, Moment::FirstFrame, true),
        cell(Fault::Abort, Moment::After100, true),
        cell(Fault::Abort, Moment::FirstFrame, false),
        cell(Fault::Hang, Moment::FirstFrame, true),
        cell(Fault::Hang, Moment::AtStart, true),
        cell(Fault::Unplug, Moment::FirstFrame, false),
        cell(Fault::Late, Moment::AtStart, false),
        cell(Fault::WrongVersion, Moment::AtStart, true),
        cell(Fault::LibraryMissing, Moment::HandBack, false),
        cell(Fault::Denied, Moment::AtStart, false),
        cell(Fault::Segfault, Moment::HandBack, true),
    ]);
    expect_all_survived(&outcomes);
}

#[test]
#[ignore = "takes minutes: scripts/edgetpu-faults"]
fn every_fault_at_every_moment_is_survived() {
    let cells: Vec<Cell> = [true, false]
        .into_iter()
        .flat_map(|fallback| {
            FAULTS.into_iter().flat_map(move |fault| MOMENTS.map(|moment| Cell { fault, moment, fallback }))
        })
        .collect();
    let outcomes = run_cells(&cells);
    print_tables(&outcomes);
    let passed = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count();
    println!("\n{passed} of {} cells passed", cells.len());
    expect_all_survived(&outcomes);
}
