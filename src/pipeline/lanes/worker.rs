//! A worker's lane: brings a worker process up, gives it frames, notices when it fails, and leaves it alone for a while.

use std::sync::Arc;
use std::time::Duration;

use base::clock::Instant;
use base::shutdown::TICK;
use infer::edgetpu::{self, advice, Sight};
use infer::worker::{check_answer, Job, Ready, Worker};
use infer::{Crew, DelegateKind, DelegateSpec, DeviceChoice, Fault, InputTensors};
use pixels::segment::OutputSpec;

use super::care::{Deadline, Patience, SHORTEST};
use super::watch::Watch;
use super::{Lane, Look, Taken, LAST_TICKS};
use crate::pipeline::waits::Waits;
use crate::pipeline::Stage;

pub(super) struct WorkerLane {
    lane: Lane,
    crew: Arc<Crew>,
    job: Job,
    number: usize,
    inputs: InputTensors,
    output: OutputSpec,
    worker: Option<Worker>,
    deadline: Deadline,
    patience: Patience,
    watch: Watch,
    waits: Waits,
    /// The failure that was told last left nothing plugged in.
    told_gone: bool,
    down_since: Option<Instant>,
    /// Its last end was worth a line.
    was_told: bool,
    /// As it was told when it came up last.
    described: String,
}

impl WorkerLane {
    pub(super) fn new(lane: Lane, crew: Arc<Crew>, number: usize, inputs: &InputTensors, output: OutputSpec) -> Self {
        let job = crew.jobs[number].clone();
        Self {
            lane,
            number,
            inputs: inputs.clone(),
            output,
            worker: None,
            deadline: Deadline::new(crew.deadline, SHORTEST),
            patience: Patience::new(crew.longest_pause),
            watch: Watch::new(job.delegate.as_ref(), &edgetpu::root()),
            waits: Waits::default(),
            told_gone: false,
            down_since: None,
            was_told: true,
            described: String::new(),
            job,
            crew,
        }
    }

    pub(super) fn run(&mut self) {
        self.watch.remember(self.lane.stage().now());
        loop {
            self.lane.alive();
            let outcome = match &mut self.worker {
                None if self.lane.stage().shutdown.is_pulled() || self.lane.is_over() => break,
                None => self.bring_up(),
                // Between two frames, so that a worker that died meanwhile doesn't cost one.
                Some(worker) => match worker.is_alive() {
                    Err(fault) => Err(fault),
                    Ok(()) => match self.lane.look() {
                        Look::Frame(taken) => self.infer(taken),
                        Look::Nothing => Ok(()),
                        Look::Over => break,
                    },
                },
            };
            if let Err(fault) = outcome {
                self.failed(&fault);
            }
        }
    }

    fn bring_up(&mut self) -> Result<(), Fault> {
        if let Some(sight) = self.watch.sight() {
            // Why it is no use to start a worker now, as far as that can be seen from outside.
            sight.obstacle().map_or(Ok(()), Err)?;
            self.claim(&sight)?;
        }
        let lane = &self.lane;
        let mut go_on = || {
            lane.alive();
            !lane.stage().shutdown.is_pulled() && !lane.is_over()
        };
        let (worker, ready) = Worker::start(&self.job, &self.inputs, self.crew.start_limit, &mut go_on)?;
        check_answer(&self.output, self.crew.expected.as_deref(), &ready.answer)?;
        self.worker = Some(worker);
        self.is_up(&ready);
        Ok(())
    }

    /// Chooses a device that no other worker has or is about to open, where none is configured.
    fn claim(&mut self, sight: &Sight) -> Result<(), Fault> {
        let Some(DelegateSpec { kind: DelegateKind::EdgeTpu(choice), .. }) = &mut self.job.delegate else {
            return Ok(());
        };
        let DeviceChoice::Free { preferred, taken } = choice else { return Ok(()) };
        let engines = &self.lane.work.stage.vitals.engines;
        match engines.claim(self.number, self.number, &sight.usable_paths()) {
            Ok((place, others)) => (*preferred, *taken) = (place, others),
            Err(others) => {
                *taken = others;
                let listed: Vec<String> = sight.names().iter().map(ToString::to_string).collect();
                return Err(Fault::NoDevice { wanted: choice.to_string(), listed: listed.join(", ") });
            }
        }
        Ok(())
    }

    fn is_up(&mut self, ready: &Ready) {
        let now = self.lane.stage().now();
        // Its own word: a worker gone wrong may say anything.
        self.deadline.begin(ready.try_out.min(self.crew.start_limit));
        self.patience.up(now);
        self.waits.is_back();
        self.told_gone = false;
        let again = match self.down_since.take() {
            Some(since) => format!("runs the model again after {:.1} s: ", now.since(since).as_secs_f64()),
            None => "runs the model: ".to_owned(),
        };
        // Versions and paths are told once, and when they have changed.
        let is_known = self.described == ready.describe;
        let what = if is_known { String::new() } else { format!("{}; ", ready.describe) };
        let try_out = ready.try_out.as_secs_f64() * 1e3;
        // Who did not hear of its end need not hear of its return.
        let level = if self.was_told { log::Level::Info } else { log::Level::Debug };
        log::log!(level, "{}: {again}{what}test picture in {try_out:.1} ms", self.job.name);
        self.described.clone_from(&ready.describe);
        self.lane.stage().vitals.engines.came_up(self.number, ready.device.clone());
    }

    fn infer(&mut self, mut taken: Taken) -> Result<(), Fault> {
        // There is one: the caller looked.
        let Some(worker) = self.worker.as_mut() else {
            self.lane.finish(taken, false);
            return Ok(());
        };
        let lane = &self.lane;
        let mut last_ticks = LAST_TICKS;
        let mut go_on = || {
            lane.alive();
            if lane.stage().shutdown.is_pulled() {
                last_ticks = last_ticks.saturating_sub(1);
            }
            last_ticks > 0
        };
        let clock = &lane.stage().clock;
        taken.result.engine = Some(self.number);
        taken.result.infer_started = clock.now();
        let outcome =
            worker.infer(&taken.tensor.tensor, &mut taken.result.output, self.deadline.now(), &mut go_on).map(|_| ());
        taken.result.infer_ended = clock.now();
        if outcome.is_ok() {
            self.deadline.note(taken.result.infer_ended.since(taken.result.infer_started));
        }
        self.lane.finish(taken, outcome.is_ok());
        outcome
    }

    /// The worker is gone: says why and what to do, and leaves it alone for a while.
    fn failed(&mut self, fault: &Fault) {
        // What it holds is given back before anything else; a worker that failed is killed and reaped already.
        self.worker = None;
        if *fault == Fault::Stopped {
            return;
        }
        let stage = self.lane.stage().clone();
        let now = stage.now();
        let was_up = self.down_since.is_none();
        self.down_since.get_or_insert(now);
        let text = fault.to_string();
        let sight = self.watch.remember(now);
        let is_gone = sight.is_empty();
        let hint = self.job.delegate.as_ref().map(|delegate| advice(fault, sight, delegate)).unwrap_or_default();
        stage.vitals.engines.failed(self.number, &text);
        let pause = self.patience.down(now);
        let is_old = matches!(fault, Fault::NoDevice { .. }) && is_gone && self.told_gone;
        // What it means and what to do is said once, also where the same happens at another moment.
        let known = if hint.is_empty() { &text } else { &hint };
        let is_news = !is_old && self.waits.is_news(known, now);
        self.told_gone = is_gone && (self.told_gone || is_news);
        self.was_told = is_news || self.was_told && !was_up;
        let level = match fault {
            _ if !is_news => log::Level::Debug,
            Fault::Library { .. } | Fault::NoDevice { .. } if self.crew.is_optional => log::Level::Info,
            _ => log::Level::Warn,
        };
        let next = format!("next attempt in {:.1} s, or when something changes", pause.as_secs_f64());
        let meanwhile = stage.vitals.engines.meanwhile();
        log::log!(level, "{}: {text}. {hint} ({meanwhile}; {next})", self.job.name);
        self.leave_alone(&stage, pause);
    }

    /// Waits, but not past a change of the device or its library.
    fn leave_alone(&mut self, stage: &Stage, pause: Duration) {
        let end = stage.now().after(pause);
        let mut has_changed = false;
        loop {
            self.lane.alive();
            let now = stage.now();
            let left = end.since(now);
            if left.is_zero() || self.lane.is_over() || stage.shutdown.sleep(left.min(TICK)) {
                return;
            }
            // Asked at most as often as the watch looks; a change that may not end the pause yet ends it later.
            has_changed |= self.watch.has_changed(now);
            if has_changed && self.patience.returned(now) {
                log::debug!("{}: its device or its library has changed: trying it again", self.job.name);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::tests::{taken, Rig};
    use super::*;
    use crate::pipeline::testing::{crew, imposter, io, job, LIMIT};
    use crate::pipeline::SlotCounts;
    use base::clock::{Clock, ManualClock};

    const READING: Duration = Duration::from_millis(450);
    /// More than five times as slow as the test picture.
    const SLOW: Duration = Duration::from_secs(40);
    const SHORT: Duration = Duration::from_millis(2700);
    const LONG: Duration = Duration::from_secs(60);

    /// A clock of which every reading takes so long: longer than the watch wants between two looks.
    struct Ticking(ManualClock, Duration);

    impl Clock for Ticking {
        fn now(&self) -> Instant {
            self.0.advance(self.1);
            self.0.now()
        }

        fn wall(&self) -> jiff::Timestamp {
            self.0.wall()
        }
    }

    /// A lane with the worker that `name` says, and its library, which isn't there.
    struct Lone {
        rig: Rig,
        lane: WorkerLane,
        clock: Arc<Ticking>,
        library: PathBuf,
        _folder: tempfile::TempDir,
    }

    impl Lone {
        /// With the imposter that does what the name says.
        fn new(name: &str, reading: Duration, deadline: Option<Duration>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let library = folder.path().join("lib.so");
            let delegate = DelegateSpec { library: library.clone(), kind: DelegateKind::Plugin, options: Vec::new() };
            let job = Job { delegate: Some(delegate), ..job(name, &imposter()) };
            let crew = Crew { deadline, longest_pause: LONG, ..crew(vec![job]) };
            let clock = Arc::new(Ticking(ManualClock::default(), reading));
            let counts = SlotCounts::new(1, true);
            let inputs = InputTensors::shared(&io().input, counts.tensors).unwrap();
            let rig = Rig::with(1, true, Arc::clone(&clock) as Arc<dyn Clock>, &inputs);
            let lane = Lane::new(&rig.work, 0);
            let mut lane = WorkerLane::new(lane, Arc::new(crew), 0, &inputs, io().output);
            lane.watch.remember(clock.now());
            Self { rig, lane, clock, library, _folder: folder }
        }

        /// A frame through the worker.
        fn infer(&mut self, sequence: u64) -> Result<(), Fault> {
            self.rig.put(sequence);
            let frame = taken(&mut self.lane.lane);
            self.lane.infer(frame)
        }

        /// The library becomes another.
        fn change(&self) {
            let length = self.library.metadata().map_or(0, |meta| meta.len()) as usize;
            std::fs::write(&self.library, "x".repeat(length + 1)).unwrap();
        }

        /// How long the lane leaves its worker alone, where it may do so for `pause`.
        fn leave_alone(&mut self, pause: Duration) -> Duration {
            let stage = self.lane.lane.stage().clone();
            let start = self.clock.0.now();
            self.lane.leave_alone(&stage, pause);
            self.clock.0.now().since(start)
        }
    }

    #[test]
    fn a_pause_lasts_as_long_as_nothing_changes_and_a_stop_ends_it() {
        let mut lone = Lone::new("w exits", READING, None);
        let lasted = lone.leave_alone(SHORT);
        assert!(lasted >= SHORT && lasted < 2 * SHORT, "{lasted:?}");
        // No frame will come any more.
        let outlet =
            std::mem::replace(&mut lone.rig.outlet, base::mailbox::mailbox(base::mailbox::Delivery::Newest, 1).0);
        drop(outlet);
        assert!(lone.leave_alone(LONG) < SHORT);
        let mut lone = Lone::new("w exits", READING, None);
        lone.rig.shutdown.pull();
        assert!(lone.leave_alone(LONG) < SHORT);
    }

    #[test]
    fn a_change_ends_a_pause_at_once_but_not_one_pause_after_the_other() {
        let mut lone = Lone::new("w exits", READING, None);
        for hurry in 0..5 {
            lone.change();
            let lasted = lone.leave_alone(LONG);
            assert!(lasted < SHORT, "{hurry}: {lasted:?}");
        }
        // A file that somebody keeps touching is no reason to hurry.
        lone.change();
        let lasted = lone.leave_alone(SHORT);
        assert!(lasted >= SHORT, "{lasted:?}");
        // One more is due 10 s after the first, and the change that came before that counts then.
        lone.change();
        let lasted = lone.leave_alone(LONG);
        assert!(lasted < Duration::from_secs(10), "{lasted:?}");
    }

    #[test]
    fn a_result_says_which_worker_ran_it_and_how_long_that_took() {
        let mut lone = Lone::new("w steady", SLOW, None);
        lone.lane.bring_up().unwrap();
        let report = lone.lane.lane.stage().vitals.engines.report();
        assert_eq!((report.up, report.starts, report.faults), (1, 1, 0));
        // Five times what the test picture took, which leaves a busy machine the time to answer.
        assert_eq!(lone.lane.deadline.now(), Duration::from_secs(30));
        // With that there are sixteen times, of which the deadline is worked out anew.
        for sequence in 0..15 {
            let before = lone.clock.0.now();
            lone.infer(sequence).unwrap();
            let result = lone.rig.publish().unwrap();
            assert_eq!((result.about.meta.sequence, result.engine), (sequence, Some(0)));
            assert!(result.infer_started > before && result.infer_ended.since(result.infer_started) >= SLOW);
            lone.rig.work.results.give_back(result);
        }
        assert_eq!((lone.rig.counts().inferred, lone.rig.counts().failed), (15, 0));
        assert!(lone.lane.deadline.now() >= 5 * SLOW, "{:?}", lone.lane.deadline);
    }

    #[test]
    fn a_worker_that_fails_costs_its_frame_and_is_gone() {
        let mut lone = Lone::new("w short", READING, Some(LIMIT));
        lone.lane.bring_up().unwrap();
        let fault = lone.infer(0).unwrap_err();
        assert!(lone.rig.publish().is_none());
        assert_eq!((lone.rig.counts().inferred, lone.rig.counts().failed), (0, 1));
        lone.lane.failed(&fault);
        let report = lone.lane.lane.stage().vitals.engines.report();
        assert_eq!((report.up, report.starts, report.faults), (0, 1, 1));
        assert!(report.reason.unwrap().contains("makes no sense") && lone.lane.worker.is_none());
        // A stop is no failure.
        lone.lane.failed(&Fault::Stopped);
        assert_eq!(lone.lane.lane.stage().vitals.engines.report().faults, 1);
    }
}
