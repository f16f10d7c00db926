//! What runs the model at this moment, and why: told by the lanes, read by everybody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::sync::lock;
use infer::is_same_device;

use crate::telemetry::EngineReport;

/// The state of every worker, and counts.
#[derive(Debug)]
pub struct EngineStatus {
    kind: &'static str,
    has_cpu: bool,
    workers: Mutex<Vec<WorkerState>>,
    /// The device that each worker has, or is about to open.
    claims: Mutex<Vec<Option<String>>>,
    changed: Condvar,
    /// Why the CPU's engine is gone; None while it is there.
    cpu: Mutex<Option<Arc<str>>>,
    /// Of the CPU's engine, which is none of the workers.
    cpu_faults: AtomicU64,
    cpu_starts: AtomicU64,
    faults: AtomicU64,
    starts: AtomicU64,
    fallback_frames: AtomicU64,
}

#[derive(Clone, Debug)]
enum WorkerState {
    Starting,
    Up,
    Down(Arc<str>),
}

impl EngineStatus {
    /// `workers` of `kind`, none of them up; `has_cpu` where the CPU fills in.
    pub fn new(kind: &'static str, workers: usize, has_cpu: bool) -> Self {
        Self {
            kind,
            has_cpu,
            workers: Mutex::new(vec![WorkerState::Starting; workers]),
            claims: Mutex::new(vec![None; workers]),
            changed: Condvar::new(),
            cpu: Mutex::new(None),
            cpu_faults: AtomicU64::new(0),
            cpu_starts: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            starts: AtomicU64::new(0),
            fallback_frames: AtomicU64::new(0),
        }
    }

    /// Threads that run the model: one for each worker, and one for the CPU.
    pub fn lanes(&self) -> usize {
        self.workers() + usize::from(self.has_cpu)
    }

    /// How many workers there should be.
    pub fn workers(&self) -> usize {
        self.states().len()
    }

    fn states(&self) -> MutexGuard<'_, Vec<WorkerState>> {
        lock(&self.workers)
    }

    fn set(&self, number: usize, state: WorkerState) {
        if let Some(place) = self.states().get_mut(number) {
            *place = state;
        }
        self.changed.notify_all();
    }

    pub(super) fn came_up(&self, number: usize, device: Option<String>) {
        self.starts.fetch_add(1, Ordering::Relaxed);
        self.set_claim(number, device);
        self.set(number, WorkerState::Up);
    }

    /// Takes one of `devices` for a worker: the one at `preferred`, unless another worker has it or is about to open it; then
    /// the first that is free. Returns its place, and what the others have. Two that open the same stick reset it under each
    /// other.
    ///
    /// # Errors
    /// What the others have, when that is all.
    pub(super) fn claim(
        &self,
        number: usize,
        preferred: usize,
        devices: &[(usize, String)],
    ) -> Result<(usize, Vec<String>), Vec<String>> {
        let mut claims = self.claims();
        let others = claims.iter().enumerate().filter(|(other, _)| *other != number);
        let taken: Vec<String> = others.filter_map(|(_, claim)| claim.clone()).collect();
        let mut free = devices.iter().filter(|(_, device)| !taken.iter().any(|taken| is_same_device(taken, device)));
        let first = free.clone().next();
        let Some((place, device)) = free.find(|(place, _)| *place == preferred).or(first) else { return Err(taken) };
        if let Some(claim) = claims.get_mut(number) {
            *claim = Some(device.clone());
        }
        Ok((*place, taken))
    }

    fn claims(&self) -> MutexGuard<'_, Vec<Option<String>>> {
        lock(&self.claims)
    }

    fn set_claim(&self, number: usize, device: Option<String>) {
        if let Some(claim) = self.claims().get_mut(number) {
            *claim = device;
        }
    }

    pub(super) fn failed(&self, number: usize, reason: &str) {
        self.faults.fetch_add(1, Ordering::Relaxed);
        self.set_claim(number, None);
        self.set(number, WorkerState::Down(one_line(reason)));
    }

    /// A process of the CPU's came up.
    pub(super) fn cpu_came_up(&self) {
        self.cpu_starts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn cpu_is_well(&self) {
        *lock(&self.cpu) = None;
    }

    pub(super) fn cpu_failed(&self, reason: &str) {
        self.cpu_faults.fetch_add(1, Ordering::Relaxed);
        *lock(&self.cpu) = Some(one_line(reason));
    }

    /// What has become of the workers so far, up and down.
    pub(super) fn worker_starts_and_faults(&self) -> u64 {
        self.starts.load(Ordering::Relaxed) + self.faults.load(Ordering::Relaxed)
    }

    pub(super) fn fell_back(&self) {
        self.fallback_frames.fetch_add(1, Ordering::Relaxed);
    }

    /// True while a worker is up; waits at most `limit` for that to end.
    pub(super) fn wait_while_up(&self, limit: Duration) -> bool {
        let is_up = |states: &mut Vec<WorkerState>| states.iter().any(|state| matches!(state, WorkerState::Up));
        let waited = self.changed.wait_timeout_while(self.states(), limit, is_up);
        is_up(&mut waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// What becomes of frames while one worker is down, for the line that tells of it.
    pub(super) fn meanwhile(&self) -> &'static str {
        match self.report().up {
            0 if self.has_cpu && lock(&self.cpu).is_none() => "the CPU runs the model",
            0 => "no masks meanwhile",
            _ => "the others go on",
        }
    }

    /// The state now.
    pub fn report(&self) -> EngineReport {
        let states = self.states();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let of_workers = states.iter().find_map(|state| match state {
            WorkerState::Down(reason) => Some(Arc::clone(reason)),
            _ => None,
        });
        EngineReport {
            kind: self.kind,
            workers: states.len(),
            up: states.iter().filter(|state| matches!(state, WorkerState::Up)).count(),
            reason: of_workers.or_else(|| lock(&self.cpu).clone()),
            faults: count(&self.faults) + count(&self.cpu_faults),
            starts: count(&self.starts) + count(&self.cpu_starts),
            fallback_frames: count(&self.fallback_frames),
        }
    }

    /// One phrase for `STATUS=`; None where the CPU alone runs the model, and can.
    pub fn status(&self) -> Option<String> {
        let EngineReport { kind, workers, up, reason, .. } = self.report();
        let because = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        match (workers, up) {
            (0, _) => lock(&self.cpu).as_ref().map(|reason| format!("engine: waiting for the CPU ({reason})")),
            (1, 1) => Some(format!("engine: {kind}")),
            (_, 0) if self.has_cpu && lock(&self.cpu).is_none() => {
                Some(format!("engine: CPU instead of {kind}{because}"))
            }
            (_, 0) => Some(format!("engine: waiting for {kind}{because}")),
            _ => Some(format!("engine: {up} of {workers} {kind}{because}")),
        }
    }
}

/// One line in STATUS=, whatever is in a path.
fn one_line(reason: &str) -> Arc<str> {
    reason.replace(char::is_control, " ").into()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};

    use super::*;
    use crate::pipeline::testing::LIMIT;

    #[test]
    fn the_status_says_what_runs_and_why() {
        let cpu = EngineStatus::new("cpu", 0, true);
        assert_eq!(cpu.status(), None);
        cpu.cpu_failed("SIGSEGV\n");
        assert_eq!(cpu.status().unwrap(), "engine: waiting for the CPU (SIGSEGV )");
        assert_eq!((cpu.report().reason.as_deref(), cpu.meanwhile()), (Some("SIGSEGV "), "no masks meanwhile"));
        cpu.cpu_came_up();
        cpu.cpu_is_well();
        assert_eq!((cpu.status(), cpu.report().faults, cpu.report().starts), (None, 1, 1));
        let engines = EngineStatus::new("edgetpu", 2, true);
        assert_eq!(
            (engines.status().unwrap().as_str(), engines.meanwhile()),
            ("engine: CPU instead of edgetpu", "the CPU runs the model")
        );
        engines.came_up(0, Some("/dev/apex_0".to_owned()));
        engines.failed(1, "no answer");
        assert_eq!(engines.status().unwrap(), "engine: 1 of 2 edgetpu (no answer)");
        assert_eq!(engines.meanwhile(), "the others go on");
        let report = engines.report();
        assert_eq!((report.up, report.workers, report.faults, report.starts), (1, 2, 1, 1));
        let alone = EngineStatus::new("edgetpu", 1, false);
        alone.failed(0, "no\nlibrary");
        assert_eq!(alone.meanwhile(), "no masks meanwhile");
        assert_eq!(alone.status().unwrap(), "engine: waiting for edgetpu (no library)");
        alone.came_up(0, None);
        assert_eq!(alone.status().unwrap(), "engine: edgetpu");
    }

    #[test]
    fn no_two_workers_claim_the_same_device() {
        let engines = EngineStatus::new("edgetpu", 3, true);
        let devices = [(0, "/dev/apex_0".to_owned()), (2, "/sys/bus/usb/devices/1-2".to_owned())];
        let taken = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        // The second prefers one that can't be used, and gets the first that is free.
        assert_eq!(engines.claim(0, 0, &devices), Ok((0, taken(&[]))));
        assert_eq!(engines.claim(1, 1, &devices), Ok((2, taken(&["/dev/apex_0"]))));
        assert_eq!(engines.claim(2, 2, &devices), Err(taken(&["/dev/apex_0", "/sys/bus/usb/devices/1-2"])));
        assert_eq!(engines.claim(0, 0, &devices), Ok((0, taken(&["/sys/bus/usb/devices/1-2"]))), "its own again");
        engines.came_up(0, Some("/root/of/a/test/dev/apex_0".to_owned()));
        engines.failed(1, "gone");
        assert_eq!(engines.claim(2, 0, &devices).unwrap().0, 2);
    }

    /// A thread that waits for the last worker's end, an hour at most, and what it then says. It waits already.
    fn waiter(engines: &Arc<EngineStatus>) -> Receiver<bool> {
        let ((begin, begun), (end, ended)) = (channel(), channel());
        let theirs = Arc::clone(engines);
        std::thread::spawn(move || {
            begin.send(rustix::thread::gettid()).unwrap();
            // The test may be over.
            let _ = end.send(theirs.wait_while_up(Duration::from_secs(3600)));
        });
        let thread = begun.recv().unwrap().as_raw_nonzero();
        // Field 3 is the state; the thread has nothing else to sleep for.
        let stat = || std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
        let until = std::time::Instant::now() + LIMIT;
        while !stat().contains(") S ") && std::time::Instant::now() < until {
            std::thread::yield_now();
        }
        ended
    }

    #[test]
    fn who_waits_for_the_last_worker_hears_of_its_end_at_once() {
        let engines = Arc::new(EngineStatus::new("edgetpu", 2, true));
        assert!(!engines.wait_while_up(LIMIT), "none is up yet");
        engines.came_up(0, None);
        engines.came_up(1, None);
        assert!(engines.wait_while_up(Duration::from_millis(1)));
        let ended = waiter(&engines);
        engines.failed(0, "gone");
        assert_eq!(ended.recv_timeout(Duration::from_millis(20)), Err(RecvTimeoutError::Timeout), "one is left");
        engines.failed(1, "gone");
        assert_eq!(ended.recv_timeout(LIMIT), Ok(false));
        // The device that is back.
        engines.came_up(1, None);
        assert!(engines.wait_while_up(Duration::from_millis(1)));
        let ended = waiter(&engines);
        engines.failed(1, "gone again");
        assert_eq!(ended.recv_timeout(LIMIT), Ok(false));
    }
}
