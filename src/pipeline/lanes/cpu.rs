//! The CPU's lane: an engine in this process or in one of its own, made anew after a failure.

use std::sync::Arc;
use std::time::Duration;

use base::clock::Instant;
use base::mailbox::Delivery;
use base::shutdown::TICK;
use infer::{Cpu, Engine, EngineMaker};
use model::Edition;

use super::care::{Deadline, Patience};
use super::{Lane, Look, Stage, Taken, LAST_TICKS};
use crate::pipeline::waits::Waits;

/// A deadline that is worked out is never shorter. The only thing that hangs here is the model, or the whole machine.
const SHORTEST_DEADLINE: Duration = Duration::from_secs(5);
/// Nothing is to be said of the frames before a device that is there so soon after the start.
const WORTH_A_WORD: Duration = Duration::from_secs(1);

pub(super) struct CpuLane {
    lane: Lane,
    engine: Option<Box<dyn Engine>>,
    /// The edition that the engine runs, or that it is made anew for.
    edition: Arc<Edition>,
    make: EngineMaker,
    deadline: Deadline,
    patience: Patience,
    /// An engine that failed is not made anew before this.
    again: Instant,
    down_since: Option<Instant>,
    waits: Waits,
    /// When it ran the first frame that a worker should have had.
    first: Option<Instant>,
    is_told: bool,
}

impl CpuLane {
    pub(super) fn new(lane: Lane, cpu: Cpu, edition: Arc<Edition>) -> Self {
        Self {
            lane,
            engine: Some(cpu.engine),
            edition,
            make: cpu.make,
            deadline: Deadline::new(cpu.deadline, SHORTEST_DEADLINE),
            patience: Patience::new(cpu.longest_pause),
            again: Instant::default(),
            down_since: None,
            waits: Waits::default(),
            first: None,
            is_told: false,
        }
    }

    pub(super) fn run(&mut self) {
        if let Some(engine) = self.engine.take() {
            log::info!("model: {}", engine.describe());
            self.is_up(engine);
        }
        loop {
            self.lane.alive();
            let rests = self.lane.stage().vitals.engines.wait_while_up(TICK);
            if rests && self.lane.is_over() {
                break;
            }
            if self.engine.is_none() && !self.revive(rests) {
                if self.lane.stage().shutdown.is_pulled() || self.lane.is_over() {
                    break;
                }
                continue;
            }
            // Between two frames, so that a process that died meanwhile doesn't cost one.
            if let Some(Err(error)) = self.engine.as_mut().map(|engine| engine.is_alive()) {
                self.failed(&error.0);
                continue;
            }
            if rests {
                continue;
            }
            match self.lane.look() {
                Look::Frame(taken) => self.infer(taken),
                Look::Nothing => {}
                Look::Over => break,
            }
        }
    }

    /// Makes an engine once the pause is over. False where there is none yet; that took a tick at most, or the attempt.
    fn revive(&mut self, rests: bool) -> bool {
        if self.lane.stage().shutdown.is_pulled() {
            return false;
        }
        let left = self.again.since(self.lane.stage().now());
        if !left.is_zero() {
            self.wait(left, rests);
            return false;
        }
        match Self::make(&self.make, &self.lane, &self.edition) {
            Ok(engine) => {
                let after = self.down_since.map_or(Duration::ZERO, |since| self.lane.stage().now().since(since));
                log::info!("model: again {}, after {:.1} s", engine.describe(), after.as_secs_f64());
                self.is_up(engine);
                true
            }
            Err(error) => {
                self.failed(&format!("can't be loaded again: {error}"));
                false
            }
        }
    }

    /// Waits a tick at most. A frame that comes meanwhile has failed, unless its source waits for every frame, or others run it.
    fn wait(&mut self, left: Duration, rests: bool) {
        if rests || self.lane.stage().settings.delivery == Delivery::Every {
            self.lane.stage().shutdown.sleep(left.min(TICK));
        } else if let Look::Frame(taken) = self.lane.look() {
            self.lane.finish(taken, false);
        }
    }

    fn make(make: &EngineMaker, lane: &Lane, edition: &Edition) -> Result<Box<dyn Engine>, model::ModelError> {
        make(edition, &mut || {
            lane.alive();
            !lane.stage().shutdown.is_pulled() && !lane.is_over()
        })
    }

    fn is_up(&mut self, engine: Box<dyn Engine>) {
        let stage = self.lane.stage();
        self.patience.up(stage.now());
        if let Some(try_out) = engine.process_try_out() {
            self.deadline.begin(try_out);
            stage.vitals.engines.cpu_came_up();
        }
        stage.vitals.engines.cpu_is_well();
        self.waits.is_back();
        self.down_since = None;
        self.engine = Some(engine);
    }

    /// The engine is gone, or could not be made: says why, and leaves it alone for a while.
    fn failed(&mut self, text: &str) {
        self.engine = None;
        let stage = self.lane.stage().clone();
        if stage.shutdown.is_pulled() {
            return;
        }
        let now = stage.now();
        self.down_since.get_or_insert(now);
        let engines = &stage.vitals.engines;
        engines.cpu_failed(text);
        let pause = self.patience.down(now);
        self.again = now.after(pause);
        let level = if self.waits.is_news(text, now) { log::Level::Error } else { log::Level::Debug };
        let meanwhile = engines.meanwhile();
        log::log!(level, "model: {text} ({meanwhile}; next attempt in {:.1} s)", pause.as_secs_f64());
    }

    /// Says once that this lane fills in for a device that takes its time to start. Whoever fails says so itself.
    fn tell(&mut self, stage: &Stage) {
        if self.is_told {
            return;
        }
        let now = stage.now();
        let report = stage.vitals.engines.report();
        self.is_told = stage.vitals.engines.worker_starts_and_faults() > 0;
        if !self.is_told && now.since(*self.first.get_or_insert(now)) >= WORTH_A_WORD {
            self.is_told = true;
            log::info!("engine: the CPU runs the model until {} can", report.kind);
        }
    }

    /// Makes an engine for the frame's edition where that is another than the last frame's. False where that fails; the next
    /// frame tries again.
    fn is_for(&mut self, taken: &Taken) -> bool {
        let Some(edition) = taken.tensor.about.edition.as_ref().filter(|edition| !Arc::ptr_eq(edition, &self.edition))
        else {
            return true;
        };
        match Self::make(&self.make, &self.lane, edition) {
            Ok(engine) => {
                log::info!("model: {}", engine.describe());
                self.edition = Arc::clone(edition);
                self.is_up(engine);
                true
            }
            Err(error) => {
                log::error!("model: {} can't be loaded: {error}", edition.name);
                false
            }
        }
    }

    fn infer(&mut self, mut taken: Taken) {
        let stage = self.lane.work.stage.clone();
        let engines = &stage.vitals.engines;
        if engines.workers() > 0 {
            engines.fell_back();
            self.tell(&stage);
        }
        if !self.is_for(&taken) {
            return self.lane.finish(taken, false);
        }
        let Some(engine) = self.engine.as_mut() else { return self.lane.finish(taken, false) };
        taken.result.output.resize(self.edition.io.output.bytes(), 0);
        taken.result.engine = None;
        let lane = &self.lane;
        let mut last_ticks = LAST_TICKS;
        let mut go_on = || {
            lane.alive();
            if stage.shutdown.is_pulled() {
                last_ticks = last_ticks.saturating_sub(1);
            }
            last_ticks > 0
        };
        taken.result.infer_started = stage.clock.now();
        let (input, output) = (&taken.tensor.tensor, &mut taken.result.output);
        let outcome = engine.infer_within(input, output, self.deadline.now(), &mut go_on);
        taken.result.infer_ended = stage.clock.now();
        let is_process = engine.process_try_out().is_some();
        if outcome.is_ok() && is_process {
            self.deadline.note(taken.result.infer_ended.since(taken.result.infer_started));
        }
        self.lane.finish(taken, outcome.is_ok());
        if let Err(error) = outcome {
            // What became of a process is a sentence of its own.
            self.failed(&if is_process { error.0 } else { error.to_string() });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::Arc;

    use super::super::tests::{taken, Rig};
    use super::*;
    use crate::pipeline::testing::{cpu, edition, ToldEngine, Work};
    use base::back_off::BackOff;
    use base::clock::{Clock as _, ManualClock};
    use model::ModelError;

    #[test]
    fn an_engine_that_fails_is_made_anew_after_pauses_that_ten_good_seconds_end() {
        let clock = Arc::new(ManualClock::default());
        let rig = Rig::new(0, true, Arc::clone(&clock) as Arc<dyn base::clock::Clock>);
        let (gate, engine) = ToldEngine::new(&clock);
        let (made, another) = (Arc::new(AtomicUsize::new(0)), engine.again());
        let theirs = Arc::clone(&made);
        let make: EngineMaker = Arc::new(move |_, _| match theirs.fetch_add(1, Ordering::SeqCst) {
            0 => Err(ModelError::unfit("m.tflite".as_ref(), "nothing", "a model")),
            _ => Ok(Box::new(another.again())),
        });
        let mut lane = CpuLane::new(Lane::new(&rig.work, 0), cpu(engine, make), edition());
        let run = |lane: &mut CpuLane, work| {
            gate.work.send(work).unwrap();
            rig.put(0);
            let mut frame = taken(&mut lane.lane);
            // As of the last frame that this place for a result was used for.
            frame.result.engine = Some(3);
            lane.infer(frame);
        };
        let pause = |lane: &CpuLane| lane.again.since(clock.now());
        run(&mut lane, Work::Fail);
        assert!(lane.engine.is_none());
        assert_eq!(pause(&lane), BackOff::FIRST);
        // A frame that comes in a pause has failed.
        rig.put(1);
        assert!(!lane.revive(false));
        assert_eq!((made.load(Ordering::SeqCst), rig.counts().failed), (0, 2));
        clock.advance(BackOff::FIRST);
        assert!(!lane.revive(false), "it could not be made");
        assert_eq!((made.load(Ordering::SeqCst), pause(&lane)), (1, 2 * BackOff::FIRST));
        assert!(rig.work.stage.vitals.engines.status().unwrap().contains("waiting for the CPU (can't be loaded again"));
        clock.advance(2 * BackOff::FIRST);
        assert!(lane.revive(false) && lane.engine.is_some());
        assert_eq!(rig.work.stage.vitals.engines.status(), None);
        run(&mut lane, Work::Take(Duration::ZERO));
        assert_eq!(rig.publish().unwrap().engine, None);
        run(&mut lane, Work::Fail);
        assert_eq!(pause(&lane), 4 * BackOff::FIRST);
        clock.advance(4 * BackOff::FIRST);
        assert!(lane.revive(false));
        clock.advance(Duration::from_secs(10));
        run(&mut lane, Work::Fail);
        assert_eq!(pause(&lane), BackOff::FIRST);
        assert_eq!((rig.counts().inferred, rig.counts().failed), (1, 4));
    }

    #[test]
    fn a_frame_of_another_edition_is_run_by_an_engine_for_that() {
        let clock = Arc::new(ManualClock::default());
        let rig = Rig::new(0, true, Arc::clone(&clock) as Arc<dyn base::clock::Clock>);
        let (gate, engine) = ToldEngine::new(&clock);
        // Nobody tells the engine to wait.
        drop(gate);
        let made = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (theirs, another) = (Arc::clone(&made), engine.again());
        let make: EngineMaker = Arc::new(move |edition, _| {
            theirs.lock().unwrap().push(edition.name.clone());
            match edition.name.as_str() {
                "broken" => Err(ModelError::unfit("m.tflite".as_ref(), "nothing", "a model")),
                _ => Ok(Box::new(another.again())),
            }
        });
        let mut lane = CpuLane::new(Lane::new(&rig.work, 0), cpu(engine, make), edition());
        for name in ["other", "broken", "other"] {
            rig.put(0);
            let mut frame = taken(&mut lane.lane);
            frame.tensor.about.edition = Some(Arc::new(Edition { name: name.to_owned(), ..(*edition()).clone() }));
            lane.infer(frame);
        }
        // The one that can't be loaded costs its frames and nothing else.
        assert_eq!(*made.lock().unwrap(), ["other", "broken", "other"]);
        assert_eq!((rig.counts().inferred, rig.counts().failed), (2, 1));
    }
}
