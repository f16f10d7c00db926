//! How long a stop takes, without what the machine adds to it.
//!
//! The promise is less than 1 s from the signal to the process's end, and every stop is held to it, at the first attempt. The
//! tests run side by side on machines that do other things too, where a thread that could run waits for a CPU now and then.
//! Linux tells how long each thread did (`/proc/PID/task/TID/schedstat`). That time is subtracted, as far as it can have
//! delayed the stop:
//!
//! - of the threads that a stop goes through, one after the other: `signals` takes the signal, the main thread waits for the
//!   stages, `guard` ends what hangs;
//! - of those that have the last word ([`LAST`]), but only once the main thread waits for them;
//! - of any, once the main thread has ended: the kernel ends the others then, each when it is its turn to run;
//! - of this test, before it saw the end; and what the host of a virtual machine took.
//!
//! What is left is what the program did: it ran, it slept, it waited for something. The threads that do the work are not asked.
//! The program waits for them for a fixed time only; on a busy machine they always wait for a CPU, which would excuse anything.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Finished, Running, LIMIT};

/// From the signal to the process's end.
pub const PROMISE: Duration = Duration::from_secs(1);

/// Beside the main thread, whatever its name.
const FIRST: [&str; 2] = ["signals", "guard"];
/// The main thread waits for these when the stages have ended or are left behind. They run at a low priority.
const LAST: [&str; 3] = ["monitor", "http", "gpio"];
/// The threads of the stages.
const STAGES: [&str; 3] = ["capture", "infer", "publish"];

/// How often the threads are looked at: what they wait for in their last moments goes unseen, and counts against the program.
const LOOK: Duration = Duration::from_millis(5);

impl Running {
    /// Sends `signal` and waits for the end, which must keep the promise.
    #[track_caller]
    pub fn stop_in_time(self, signal: Signal) -> Finished {
        let (finished, stop) = self.stop_measured(signal);
        assert!(stop.own() < PROMISE, "{signal:?} to the end: {stop:?}; standard error:\n{}", finished.stderr);
        finished
    }

    /// The same, without judging.
    #[track_caller]
    pub fn stop_measured(self, signal: Signal) -> (Finished, Stop) {
        let mut watch = Watch::new(self.id());
        let stolen = stolen();
        let sent = Instant::now();
        self.signal(signal);
        let late = loop {
            let before = waited("/proc/thread-self").0;
            if self.has_ended(LOOK) || sent.elapsed() > LIMIT {
                break waited("/proc/thread-self").0.saturating_sub(before);
            }
            watch.look(self.stderr.text().contains("leaving without it"));
        };
        // The main thread can still be asked: nobody has waited for the process yet.
        watch.look(true);
        let machine = watch.machine + late + self::stolen().saturating_sub(stolen);
        let finished = self.finish();
        let stop = Stop { wall: finished.at - sent, machine };
        (finished, stop)
    }
}

/// What a stop took.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// From the signal to the end.
    pub wall: Duration,
    /// What of it was the machine's.
    pub machine: Duration,
}

impl Stop {
    /// What of it was the program's.
    pub fn own(&self) -> Duration {
        self.wall.saturating_sub(self.machine)
    }
}

/// The threads of a process, and how long they held its stop because they had no CPU.
struct Watch {
    process: u32,
    threads: BTreeMap<u32, Thread>,
    are_stages_over: bool,
    looked: Instant,
    machine: Duration,
}

struct Thread {
    name: String,
    /// How often it got a CPU and how long it ran: while these stay, it does not run.
    progress: (u64, Duration),
    /// Since when it could run and has not.
    ready: Option<Instant>,
    waited: Duration,
}

impl Watch {
    fn new(process: u32) -> Self {
        let (looked, machine) = (Instant::now(), Duration::ZERO);
        let mut watch = Self { process, threads: BTreeMap::new(), are_stages_over: false, looked, machine };
        watch.look(false);
        Self { machine, ..watch }
    }

    fn look(&mut self, are_stages_over: bool) {
        let folder = format!("/proc/{}/task", self.process);
        let tasks = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let ids: Vec<u32> = tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect();
        self.threads.retain(|id, _| ids.contains(id));
        let has_ended = state(&format!("/proc/{0}/task/{0}", self.process)) == Some('Z');
        let mut waited = Duration::ZERO;
        for id in ids {
            let more = self.look_at(id);
            let name = self.threads[&id].name.as_str();
            let is_last = self.are_stages_over && LAST.contains(&name);
            if has_ended || id == self.process || FIRST.contains(&name) || is_last {
                waited += more;
            }
        }
        // Two may have waited at once.
        self.machine += waited.min(self.looked.elapsed());
        self.looked = Instant::now();
        let is_over = !self.threads.values().any(|thread| STAGES.contains(&thread.name.as_str()));
        self.are_stages_over = are_stages_over || is_over;
    }

    /// How long a thread has waited since the last look.
    fn look_at(&mut self, id: u32) -> Duration {
        let path = format!("/proc/{}/task/{id}", self.process);
        let (waited, progress) = waited(&path);
        let is_ready = state(&path) == Some('R');
        let thread = self.threads.entry(id).or_insert_with(|| {
            let name = std::fs::read_to_string(format!("{path}/comm")).unwrap_or_default();
            Thread { name: name.trim_end().to_owned(), progress, ready: None, waited: Duration::ZERO }
        });
        if !is_ready || thread.progress != progress {
            thread.ready = None;
        }
        let ready = is_ready.then(|| *thread.ready.get_or_insert_with(Instant::now));
        // The kernel adds what a thread waits for when that is over, which may be its end.
        let waited = waited + ready.map_or(Duration::ZERO, |since| since.elapsed());
        let more = waited.saturating_sub(thread.waited);
        (thread.progress, thread.waited) = (progress, waited);
        more
    }
}

/// What a thread does, in the kernel's letter.
fn state(thread: &str) -> Option<char> {
    std::fs::read_to_string(format!("{thread}/stat")).unwrap_or_default().rsplit(") ").next()?.chars().next()
}

/// How long a thread has waited for a CPU, how often it got one, and how long it ran; nothing where the kernel doesn't say.
fn waited(thread: &str) -> (Duration, (u64, Duration)) {
    let text = std::fs::read_to_string(format!("{thread}/schedstat")).unwrap_or_default();
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [ran, waited, times] => (Duration::from_nanos(waited), (times, Duration::from_nanos(ran))),
        _ => Default::default(),
    }
}

/// How long the host ran something else in place of this machine, per CPU.
fn stolen() -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let cpus = text.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count();
    let ticks = text.lines().next().and_then(|line| line.split_whitespace().nth(8)?.parse::<u32>().ok());
    TICK * ticks.unwrap_or_default() / u32::try_from(cpus).unwrap_or_default().max(1)
}
