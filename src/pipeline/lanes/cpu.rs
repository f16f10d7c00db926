//! The CPU's lane: an engine in this process, made anew after a failure.

use std::sync::Arc;
use std::time::Duration;

use base::back_off::BackOff;
use base::clock::Instant;
use base::shutdown::TICK;
use infer::{Cpu, Engine, EngineMaker};
use model::Edition;

use super::{Lane, Look, Stage, Taken};

/// The longest pause before a failed engine is made anew.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Nothing is to be said of the frames before a device that is there so soon after the start.
const WORTH_A_WORD: Duration = Duration::from_secs(1);

pub(super) struct CpuLane {
    lane: Lane,
    engine: Option<Box<dyn Engine>>,
    /// The edition that the engine runs, or that it is made anew for.
    edition: Arc<Edition>,
    make: EngineMaker,
    back_off: BackOff,
    /// When it ran the first frame that a worker should have had.
    first: Option<Instant>,
    is_told: bool,
}

impl CpuLane {
    pub(super) fn new(lane: Lane, cpu: Cpu, edition: Arc<Edition>) -> Self {
        let back_off = BackOff::new(LONGEST_PAUSE);
        Self { lane, engine: Some(cpu.engine), edition, make: cpu.make, back_off, first: None, is_told: false }
    }

    pub(super) fn run(&mut self) {
        if let Some(engine) = &self.engine {
            log::info!("model: {}", engine.describe());
        }
        loop {
            self.lane.alive();
            if self.lane.stage().vitals.engines.wait_while_up(TICK) {
                if self.lane.is_over() {
                    break;
                }
                continue;
            }
            if self.engine.is_none() && !self.revive() {
                if self.lane.stage().shutdown.is_pulled() {
                    break;
                }
                continue;
            }
            match self.lane.look() {
                Look::Frame(taken) => self.infer(taken),
                Look::Nothing => {}
                Look::Over => break,
            }
        }
    }

    fn revive(&mut self) -> bool {
        if self.lane.stage().shutdown.sleep(self.back_off.pause()) {
            return false;
        }
        match (self.make)(&self.edition) {
            Ok(engine) => {
                log::info!("model: again {}", engine.describe());
                self.engine = Some(engine);
                true
            }
            Err(error) => {
                log::error!("model: can't be loaded again: {error}");
                false
            }
        }
    }

    /// Says once that this lane fills in for a device that takes its time to start. Whoever fails says so itself.
    fn tell(&mut self, stage: &Stage) {
        if self.is_told {
            return;
        }
        let now = stage.now();
        let report = stage.vitals.engines.report();
        self.is_told = report.starts + report.faults > 0;
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
        match (self.make)(edition) {
            Ok(engine) => {
                log::info!("model: {}", engine.describe());
                (self.engine, self.edition) = (Some(engine), Arc::clone(edition));
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
        taken.result.infer_started = stage.clock.now();
        let outcome = engine.infer(&taken.tensor.tensor, &mut taken.result.output);
        taken.result.infer_ended = stage.clock.now();
        match &outcome {
            Ok(()) => self.back_off.reset(),
            Err(error) => {
                log::error!("model: {error}; loading it again");
                self.engine = None;
            }
        }
        self.lane.finish(taken, outcome.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::Arc;

    use super::super::tests::{taken, Rig};
    use super::*;
    use crate::pipeline::testing::{edition, ToldEngine, Work};
    use base::clock::ManualClock;
    use model::ModelError;

    #[test]
    fn an_engine_that_fails_is_made_anew_after_pauses_that_a_success_ends() {
        let clock = Arc::new(ManualClock::default());
        let rig = Rig::new(0, true, Arc::clone(&clock) as Arc<dyn base::clock::Clock>);
        let (gate, engine) = ToldEngine::new(&clock);
        let (made, another) = (Arc::new(AtomicUsize::new(0)), engine.again());
        let theirs = Arc::clone(&made);
        let make: EngineMaker = Arc::new(move |_| match theirs.fetch_add(1, Ordering::SeqCst) {
            0 => Err(ModelError::unfit("m.tflite".as_ref(), "nothing", "a model")),
            _ => Ok(Box::new(another.again())),
        });
        let mut lane = CpuLane::new(Lane::new(&rig.work, 0), Cpu { engine: Box::new(engine), make }, edition());
        let run = |lane: &mut CpuLane, work| {
            gate.work.send(work).unwrap();
            rig.put(0);
            let mut frame = taken(&mut lane.lane);
            // As of the last frame that this place for a result was used for.
            frame.result.engine = Some(3);
            lane.infer(frame);
        };
        run(&mut lane, Work::Fail);
        assert!(lane.engine.is_none());
        assert!(!lane.revive(), "it could not be made");
        assert!(lane.revive() && lane.engine.is_some());
        assert_eq!((made.load(Ordering::SeqCst), lane.back_off.pause()), (2, BackOff::FIRST * 4));
        run(&mut lane, Work::Take(Duration::ZERO));
        assert_eq!((lane.back_off.pause(), rig.publish().unwrap().engine), (BackOff::FIRST, None));
        // Nothing is made for a program that stops.
        rig.shutdown.pull();
        run(&mut lane, Work::Fail);
        assert!(!lane.revive());
        assert_eq!(made.load(Ordering::SeqCst), 2);
        assert_eq!((rig.counts().inferred, rig.counts().failed), (1, 2));
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
        let make: EngineMaker = Arc::new(move |edition| {
            theirs.lock().unwrap().push(edition.name.clone());
            match edition.name.as_str() {
                "broken" => Err(ModelError::unfit("m.tflite".as_ref(), "nothing", "a model")),
                _ => Ok(Box::new(another.again())),
            }
        });
        let mut lane = CpuLane::new(Lane::new(&rig.work, 0), Cpu { engine: Box::new(engine), make }, edition());
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
