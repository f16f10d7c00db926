use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, Sender as Teller};

use base::clock::ManualClock;

use super::testing::{
    cpu, crew, edition, frame, imposter, job, scene, Act, Gate, Kept, ToldCamera, ToldEngine, ToldSink, Work, LIMIT,
    SETTINGS, SIDE,
};
use super::*;
use crate::telemetry::state::SinkState;
use crate::telemetry::{Counts, EngineReport, Stage as Step};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A pipeline whose camera, engine and sink do what they are told, and whose clock only the test moves.
struct Run {
    pipeline: Pipeline,
    clock: Arc<ManualClock>,
    shutdown: Shutdown,
    camera: Teller<Act>,
    engine: Gate<u8>,
    sink: Gate<Kept>,
    /// EngineStatus that were made after the first.
    made: Arc<AtomicUsize>,
}

impl Run {
    fn start(settings: Settings, crew: Option<Crew>) -> Self {
        let clock = Arc::new(ManualClock::default());
        let (tell_camera, camera) = ToldCamera::new();
        let (engine, told_engine) = ToldEngine::new(&clock);
        let (sink, _, told_sink) = ToldSink::new("kept", &clock);
        // Nobody tells this one to wait.
        let (_, _, mut onlooker) = ToldSink::new("onlooker", &clock);
        onlooker.is_onlooker = true;
        let made = Arc::new(AtomicUsize::new(0));
        let (count, another) = (Arc::clone(&made), told_engine.again());
        let make: infer::EngineMaker = Arc::new(move |_, _| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(another.again()))
        });
        let edition = edition();
        let (kind, workers) = crew.as_ref().map_or(("cpu", 0), |crew| (crew.kind, crew.jobs.len()));
        let status = EngineStatus::new(kind, workers, true);
        let parts = Parts {
            camera: Some(Box::new(camera)),
            open_camera: Arc::new(|| Err(CameraError::retry("test", "there is no other", ""))),
            editions: CurrentEdition::new(Arc::clone(&edition)),
            cpu: Some(cpu(told_engine, make)),
            crew,
            scene: scene(&edition),
            sinks: vec![Box::new(onlooker), Box::new(told_sink)],
            pause: Pause::default(),
            gates: Vec::new(),
            vitals: Arc::new(Vitals::new(clock.now(), status).unwrap()),
            settings,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
        };
        let shutdown = Shutdown::default();
        let pipeline = Pipeline::start(parts, &shutdown).unwrap();
        Self { pipeline, clock, shutdown, camera: tell_camera, engine, sink, made }
    }

    fn live() -> Self {
        Self::start(SETTINGS, None)
    }

    fn counts(&self) -> Counts {
        self.pipeline.vitals().counters.read()
    }

    #[track_caller]
    fn wait_for(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let start = std::time::Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < LIMIT, "waited in vain for {what}: {:?}", self.counts());
            thread::sleep(ms(1));
        }
    }

    /// A frame that is taken, and converted, now.
    #[track_caller]
    fn take(&self, number: u8) {
        let frames_in = self.counts().frames_in;
        self.camera.send(frame(number, self.clock.now())).unwrap();
        self.wait_for(&format!("frame {number}"), |run| run.counts().frames_in > frames_in);
    }

    /// Waits until `stage` has been silent for at least so long, and every other for less than it.
    #[track_caller]
    fn wait_for_slowest(&self, stage: &str, silence: Duration) {
        self.wait_for(&format!("the {stage} stage to be the slowest"), |run| {
            let slowest = run.pipeline.vitals().beats.slowest(run.clock.now());
            slowest.0 == stage && slowest.1 >= silence
        });
    }

    /// Waits until each stage, and each lane, has begun another round.
    #[track_caller]
    fn wait_for_a_round_of_each(&self) {
        self.clock.advance(Duration::from_secs(3600));
        self.wait_for("a sign of life of each", |run| {
            run.pipeline.vitals().beats.slowest(run.clock.now()).1 == Duration::ZERO
        });
    }

    /// The source ends, whatever waits is let through, and so does the run.
    #[track_caller]
    fn end(self) -> Option<Ending> {
        let Self { pipeline, camera, engine, sink, .. } = self;
        drop((camera, engine, sink));
        assert!(pipeline.wait(LIMIT));
        let vitals = Arc::clone(pipeline.vitals());
        pipeline.join();
        vitals.ending()
    }
}

#[test]
fn a_model_that_is_slower_than_the_camera_runs_on_the_newest_frame_and_the_others_are_counted() {
    let run = Run::live();
    run.take(0);
    assert_eq!(run.engine.frame(), 0);
    for number in 1..=5 {
        run.clock.advance(ms(100));
        run.take(number);
    }
    // Counted when the newest has taken the place of the one before.
    run.wait_for("the newest", |run| run.counts().replaced == 4);
    run.engine.pass();
    assert_eq!(run.engine.frame(), 5);
    let first = run.sink.frame();
    run.sink.pass();
    run.engine.pass();
    let kept = [first, run.sink.frame()];
    run.sink.pass();
    assert_eq!(kept.each_ref().map(|kept| kept.sequence), [0, 5]);
    // The first waited for the model; the second is as old as the camera's pace makes it, however slow the model is.
    assert_eq!(kept.each_ref().map(|kept| kept.timings.of(Step::EndToEnd)), [ms(500), Duration::ZERO]);
    run.wait_for("two results", |run| run.counts().published == 2);
    assert_eq!(run.pipeline.vitals().sinks(), [SinkState { name: "kept".to_owned(), dropped: 0 }]);
    let counts = Counts { frames_in: 6, replaced: 4, inferred: 2, published: 2, ..Counts::default() };
    assert_eq!(run.counts(), counts);
    assert_eq!(run.end(), Some(Ending::SourceEnded { lost: 0 }));
}

#[test]
fn where_publishing_is_slower_than_the_model_the_newest_result_is_published_and_the_others_are_counted() {
    let run = Run::live();
    for number in 0..=4 {
        run.engine.pass();
        run.take(number);
        run.wait_for("the model", |run| run.counts().inferred == u64::from(number) + 1);
        if number == 0 {
            assert_eq!(run.sink.frame().sequence, 0);
        }
    }
    run.wait_for("the newest", |run| run.counts().replaced == 3);
    run.sink.pass();
    let newest = run.sink.frame();
    assert_eq!((newest.sequence, newest.mask), (4, vec![4; SIDE.pixels()]));
    assert_eq!(newest.counts.replaced, 3);
    run.sink.pass();
    run.wait_for("two results", |run| run.counts().published == 2);
    let counts = Counts { frames_in: 5, replaced: 3, inferred: 5, published: 2, ..Counts::default() };
    assert_eq!(run.counts(), counts);
    assert_eq!(run.end(), Some(Ending::SourceEnded { lost: 0 }));
}

#[test]
fn a_source_that_waits_for_the_pipeline_loses_nothing() {
    let run = Run::start(Settings { delivery: Delivery::Every, ..SETTINGS }, None);
    for number in 0..20 {
        run.camera.send(frame(number, Instant::default())).unwrap();
    }
    for number in 0..20 {
        assert_eq!(run.engine.frame(), number);
        run.engine.pass();
        run.sink.pass();
    }
    for number in 0..20 {
        assert_eq!(run.sink.frame().sequence, number);
    }
    run.wait_for("every result", |run| run.counts().published == 20);
    assert_eq!(run.counts(), Counts { frames_in: 20, inferred: 20, published: 20, ..Counts::default() });
    assert_eq!(run.end(), Some(Ending::SourceEnded { lost: 0 }));
}

#[test]
fn a_frame_brings_the_time_that_each_stage_took() {
    let run = Run::live();
    run.take(0);
    run.engine.frame();
    run.clock.advance(ms(1000));
    let now = run.clock.now();
    let ago = |time: u64| Instant::from_nanos(now.as_nanos() - time * 1_000_000);
    let meta = FrameMeta { sequence: 1, captured: ago(50), dequeued: ago(20) };
    run.camera.send(Act::Frame(SIDE, 1, meta)).unwrap();
    run.wait_for("the frame", |run| run.counts().frames_in == 2);
    // It waits for the model, which has another.
    run.clock.advance(ms(70));
    run.engine.pass();
    assert_eq!(run.engine.frame(), 1);
    run.sink.frame();
    run.sink.pass();
    run.engine.work.send(Work::Take(ms(40))).unwrap();
    let Kept { timings, engine, worker, .. } = run.sink.frame();
    assert_eq!((engine, worker), (EngineReport { kind: "cpu", ..EngineReport::default() }, None));
    assert_eq!(Step::ALL.map(|step| timings.of(step)), [30, 20, 70, 40, 0, 0, 50 + 70 + 40].map(ms));
    assert_eq!(run.end(), Some(Ending::SourceEnded { lost: 0 }));
}

#[test]
fn an_inference_that_fails_costs_its_frame_and_the_engine_is_made_anew() {
    let run = Run::live();
    run.engine.work.send(Work::Fail).unwrap();
    run.take(0);
    run.engine.frame();
    run.wait_for("the failure", |run| run.counts().failed == 1);
    run.wait_for("another engine, after the pause", |run| {
        run.clock.advance(ms(10));
        run.made.load(Ordering::SeqCst) == 1
    });
    run.take(1);
    assert_eq!(run.engine.frame(), 1);
    run.engine.pass();
    assert_eq!((run.sink.frame().sequence, run.made.load(Ordering::SeqCst)), (1, 1));
    let counts = Counts { frames_in: 2, inferred: 1, failed: 1, ..Counts::default() };
    assert_eq!(run.counts(), counts);
    assert_eq!(run.end(), Some(Ending::SourceEnded { lost: 0 }));
}

/// Two workers that can't be started.
fn hopeless() -> Crew {
    crew(vec![job("delegate", "/nonexistent/pspnetd".as_ref()); 2])
}

/// Two workers that answer every frame with class 0.
fn steady() -> Crew {
    crew(vec![job("delegate steady", &imposter()); 2])
}

#[test]
fn while_nothing_happens_every_stage_and_every_lane_shows_signs_of_life() {
    for (crew, up) in [(None, 0), (Some(hopeless()), 0), (Some(steady()), 2)] {
        let run = Run::start(SETTINGS, crew);
        run.wait_for("the workers", |run| run.pipeline.vitals().engines.report().up == up);
        for _ in 0..2 {
            run.wait_for_a_round_of_each();
        }
        run.end();
    }
}

#[test]
fn while_no_worker_is_up_the_cpu_runs_the_model_and_its_frames_are_counted() {
    let run = Run::start(SETTINGS, Some(hopeless()));
    for number in 0..3 {
        run.engine.pass();
        run.sink.pass();
        run.take(number);
        let kept = run.sink.frame();
        assert_eq!((kept.sequence, kept.worker, kept.engine.kind), (number.into(), None, "delegate"));
    }
    let report = run.pipeline.vitals().engines.report();
    assert_eq!((report.workers, report.up, report.starts, report.fallback_frames), (2, 0, 0, 3));
    run.wait_for("both to fail", |run| run.pipeline.vitals().engines.report().faults >= 2);
    assert_eq!(run.end(), Some(Ending::SourceEnded { lost: 0 }));
}

#[test]
fn while_a_worker_is_up_the_cpu_rests_and_frames_leave_in_order() {
    let run = Run::start(SETTINGS, Some(steady()));
    run.wait_for("the workers", |run| run.pipeline.vitals().engines.report().up == 2);
    // The CPU's lane may have looked for a frame before they were up.
    run.wait_for_a_round_of_each();
    for number in 1..=6 {
        run.sink.pass();
        run.take(number);
        let kept = run.sink.frame();
        assert_eq!((kept.sequence, kept.mask), (number.into(), vec![0; SIDE.pixels()]));
        assert!(kept.worker.is_some());
    }
    let report = run.pipeline.vitals().engines.report();
    assert_eq!((report.starts, report.faults, report.fallback_frames), (2, 0, 0));
    assert!(run.engine.entered.try_recv().is_err());
    assert_eq!(run.end(), Some(Ending::SourceEnded { lost: 0 }));
}

#[test]
fn a_stage_that_hangs_is_found_while_the_others_go_round() {
    let hour = Duration::from_secs(3600);
    for crew in [None, Some(hopeless())] {
        let run = Run::start(SETTINGS, crew);
        let ((begin, begun), (end, ended)) = (channel(), channel());
        run.camera.send(Act::Hang(begin, ended)).unwrap();
        begun.recv_timeout(LIMIT).unwrap();
        run.clock.advance(hour);
        run.wait_for_slowest("capture", hour);
        drop(end);
        run.wait_for("the camera", |run| run.pipeline.vitals().beats.slowest(run.clock.now()).1 < hour);

        run.take(0);
        run.engine.frame();
        run.clock.advance(hour);
        run.wait_for_slowest("infer", hour);
        run.engine.pass();

        run.sink.frame();
        run.clock.advance(hour);
        run.wait_for_slowest("publish", hour);
        run.sink.pass();
        run.wait_for("the sink", |run| run.pipeline.vitals().beats.slowest(run.clock.now()).1 < hour);
        run.end();
    }
}

#[test]
fn a_stage_that_panics_ends_the_run_whatever_the_others_do() {
    // Which of them: the camera, the engine, the sink.
    for culprit in 0..3 {
        let run = Run::live();
        match culprit {
            0 => run.camera.send(Act::Panic).unwrap(),
            1 => run.engine.work.send(Work::Panic).unwrap(),
            _ => run.sink.work.send(Work::Panic).unwrap(),
        }
        if culprit > 0 {
            run.camera.send(frame(0, Instant::default())).unwrap();
        }
        if culprit > 1 {
            run.engine.pass();
        }
        run.wait_for("the stop", |run| run.shutdown.is_pulled());
        assert_eq!(run.pipeline.vitals().ending(), Some(Ending::Panicked), "culprit {culprit}");
        // The first reason stays, also where the others then come to their end.
        assert_eq!(run.end(), Some(Ending::Panicked), "culprit {culprit}");
    }
}

/// A stage's mailbox: what its end tells to the others comes with this.
struct Mailbox(Arc<Vitals>, Teller<Option<Ending>>);

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.1.send(self.0.ending()).unwrap();
    }
}

#[test]
fn a_stage_that_panics_gives_the_alarm_before_its_mailboxes_go_with_it() {
    let stage = testing::stage(Arc::new(ManualClock::default()), SETTINGS);
    let (tell, told) = channel();
    let mailbox = Mailbox(Arc::clone(&stage.vitals), tell);
    let thread = stage.spawn("test", mailbox, |_| panic!("on purpose")).unwrap();
    assert_eq!(told.recv_timeout(LIMIT), Ok(Some(Ending::Panicked)));
    assert!(thread.join().is_err() && stage.shutdown.is_pulled());
}

#[test]
fn a_stage_that_ends_by_itself_gives_no_alarm() {
    let stage = testing::stage(Arc::new(ManualClock::default()), SETTINGS);
    stage.spawn("test", (), |()| ()).unwrap().join().unwrap();
    assert_eq!((stage.vitals.ending(), stage.shutdown.is_pulled()), (None, false));
}

#[test]
fn a_pool_lends_what_it_has_and_no_more() {
    let pool = Pool::try_filled(3, || Ok(1)).unwrap();
    let taken: Vec<_> = (0..3).map(|_| pool.take(Duration::ZERO).unwrap()).collect();
    assert_eq!(pool.take(Duration::from_millis(1)), None);
    pool.give_back(taken[0]);
    assert_eq!(pool.take(Duration::ZERO), Some(1));
}
