use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::Arc;

use base::clock::{Clock, Instant, ManualClock};
use base::mailbox::{mailbox, Delivery, Outlet};
use base::shutdown::Shutdown;
use pixels::frame::Size;
use pixels::segment::Region;
use serde_json::{json, Value};

use super::*;
use crate::config::Jsonl;
use crate::pipeline::testing::{self, labels, pool, result_slot, Gate, Kept, ToldSink, Work, SETTINGS, SIDE};
use crate::pipeline::EngineStatus;
use crate::publish::jsonl::JsonlSink;
use crate::telemetry::state::SinkState;
use crate::telemetry::{Counts, Latency};

/// What one reading of the clock takes: without it, decoding would take no time.
const READING: Duration = Duration::from_millis(3);
/// 2026-10-01T00:00:00Z, when the monotonic clock stood at 0.
const WALL: i64 = 1_790_812_800;

/// A clock that only readings of it and sinks move.
struct Stepping(Arc<ManualClock>);

impl Clock for Stepping {
    fn now(&self) -> Instant {
        self.0.advance(READING);
        self.0.now()
    }

    fn wall(&self) -> jiff::Timestamp {
        let start = jiff::Timestamp::from_second(WALL).unwrap();
        start + jiff::SignedDuration::try_from(self.0.now().since(Instant::default())).unwrap()
    }
}

/// The stage, and what stands around it.
struct Rig {
    publish: PublishStage,
    clock: Arc<ManualClock>,
    outlet: Outlet<ResultSlot>,
    stage: Stage,
}

impl Rig {
    fn new(engines: EngineStatus, sinks: impl FnOnce(&Arc<ManualClock>) -> Vec<Box<dyn Sink>>) -> Self {
        let clock = Arc::new(ManualClock::default());
        let sinks = sinks(&clock);
        let names: Vec<_> = sinks.iter().map(|sink| (!sink.is_onlooker()).then(|| sink.name())).collect();
        let vitals = testing::vitals(engines, &names);
        let clocks = Arc::new(Stepping(Arc::clone(&clock)));
        let stage = Stage { vitals, shutdown: Shutdown::default(), clock: clocks, settings: SETTINGS };
        let (outlet, inlet) = mailbox(Delivery::Every, 4);
        let results = pool(4, result_slot);
        let publish = PublishStage::new(stage.clone(), testing::scene(&testing::edition()), sinks, results, inlet);
        Self { publish, clock, outlet, stage }
    }

    fn cpu(sinks: impl FnOnce(&Arc<ManualClock>) -> Vec<Box<dyn Sink>>) -> Self {
        Self::new(EngineStatus::new("cpu", 0, true), sinks)
    }

    fn put(&self, slot: ResultSlot) {
        self.outlet.put(slot, &self.stage.shutdown);
    }

    /// Runs the stage to its end, and returns what was published and failed.
    fn run(mut self) -> (Stage, Counts) {
        drop(self.outlet);
        self.publish.run();
        let counts = self.stage.vitals.counters.read();
        (self.stage, counts)
    }
}

/// A sink that does this with each result.
fn sink(name: &'static str, clock: &Arc<ManualClock>, works: Vec<Work>) -> (Gate<Kept>, Receiver<Closing>, ToldSink) {
    let (mut gate, closed, sink) = ToldSink::new(name, clock);
    works.into_iter().for_each(|work| gate.work.send(work).unwrap());
    // From then on it takes everything at once.
    gate.work = std::sync::mpsc::channel().0;
    (gate, closed, sink)
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn records(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A frame that was taken at 100 ms, of which each step took another time.
fn timed() -> ResultSlot {
    let mut slot = result_slot();
    let captured = Instant::default().after(ms(100));
    slot.about.meta.sequence = 41;
    slot.about.meta.captured = captured;
    slot.about.meta.dequeued = captured.after(ms(7));
    slot.about.converted = slot.about.meta.dequeued.after(ms(11));
    slot.infer_started = slot.about.converted.after(ms(13));
    slot.infer_ended = slot.infer_started.after(ms(17));
    slot
}

const CAPTURED_TO_INFERRED: u64 = 7 + 11 + 13 + 17;

fn jsonl(path: &Path) -> JsonlSink {
    let settings = Jsonl { path: path.display().to_string(), ..Jsonl::default() };
    JsonlSink::open(&settings, Arc::new(base::clock::SystemClock)).unwrap().unwrap()
}

#[test]
fn every_stage_has_its_own_time_in_the_result_in_the_json_and_in_the_histograms() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let jsonl = jsonl(&path);
    let mut gate = None;
    let mut rig = Rig::cpu(|clock| {
        let (kept, _, told) = sink("kept", clock, vec![Work::Take(ms(29))]);
        gate = Some(kept);
        vec![Box::new(told), Box::new(jsonl)]
    });
    // Another 19 ms until this thread has it, and a reading each before and after decoding.
    rig.clock.advance(ms(100 + CAPTURED_TO_INFERRED + 19));
    rig.publish.publish(&mut timed()).unwrap();
    let decoded = CAPTURED_TO_INFERRED + 19 + 3 + 3;

    let kept = gate.unwrap().frame();
    let stages = Step::ALL.map(|step| kept.timings.of(step));
    assert_eq!(stages, [7, 11, 13, 17, 3, 0, decoded].map(ms));
    // When the picture was taken, by the wall clock: not when it was dequeued, and not now.
    let taken = jiff::Timestamp::from_millisecond(WALL * 1000 + 100).unwrap();
    assert_eq!(kept.time, taken);

    let mut latency = Latency::new().unwrap();
    latency.catch_up(&rig.stage.vitals.latency);
    let sums = latency.buckets(&[]).iter().map(|stage| (stage.count, stage.sum_seconds)).collect::<Vec<_>>();
    let published = 29 + 3;
    assert_eq!(sums, [7, 11, 13, 17, 3, published, decoded + published].map(|time| (1, ms(time).as_secs_f64())));

    rig.run();
    let record = records(&path).remove(0);
    assert_eq!(record["time"], "2026-10-01T00:00:00.100000Z");
    let latency = json!({"sensor": 7.0, "convert": 11.0, "queue": 13.0, "infer": 17.0, "decode": 3.0,
                         "end_to_end": decoded as f64});
    assert_eq!(record["latency_ms"], latency);
}

#[test]
fn a_result_has_what_was_seen_what_ran_it_and_what_was_lost_so_far() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let jsonl = jsonl(&path);
    let engines = EngineStatus::new("edgetpu", 2, true);
    engines.came_up(0, None);
    engines.failed(1, "gone");
    (0..3).for_each(|_| engines.fell_back());
    let report = engines.report();
    let mut gate = None;
    let mut rig = Rig::new(engines, |clock| {
        let (kept, _, mut told) = sink("kept", clock, vec![]);
        told.health.dropped = 5;
        let (_, _, mut other) = sink("other", clock, vec![]);
        other.health.dropped = 6;
        gate = Some(kept);
        vec![Box::new(told), Box::new(jsonl), Box::new(other)]
    });
    let counters = &rig.stage.vitals.counters;
    let counts = [
        (&counters.frames_in, 101),
        (&counters.skipped, 102),
        (&counters.corrupt, 103),
        (&counters.replaced, 104),
        (&counters.inferred, 105),
        (&counters.failed, 106),
        (&counters.published, 107),
        (&counters.camera_opens, 108),
    ];
    counts.iter().for_each(|(counter, count)| counter.store(*count, Ordering::Relaxed));
    let mut slot = timed();
    slot.engine = Some(1);
    // The picture lies in the middle half of the input, which is class 1 on the left and 2 on the right; around it is 9.
    slot.output.copy_from_slice(&[[9; 4], [1, 1, 2, 2], [1, 1, 2, 2], [9; 4]].concat());
    slot.about.region = Region { y: 0.25, height: 0.5, ..Region::WHOLE };
    slot.about.mask_size = Some(Size::new(8, 2));
    slot.about.picture = vec![77; 48];
    slot.about.has_picture = true;
    rig.publish.publish(&mut slot).unwrap();

    let kept = gate.as_ref().unwrap().frame();
    assert_eq!((kept.sequence, kept.model.as_str(), kept.classes, kept.worker), (41, "m", labels().len(), Some(1)));
    assert_eq!((kept.mask_size, kept.mask), (Size::new(8, 2), [1, 1, 1, 1, 2, 2, 2, 2].repeat(2)));
    assert_eq!((kept.summary.counts[1], kept.summary.counts[2], kept.summary.counts[9]), (8, 8, 0));
    assert_eq!(kept.picture, Some(vec![77; 48]));
    assert_eq!((kept.engine, kept.dropped), (report, 5 + 6));
    let Counts { frames_in, skipped, corrupt, replaced, inferred, failed, published } = kept.counts;
    let read = [frames_in, skipped, corrupt, replaced, inferred, failed, published];
    assert_eq!(read, [101, 102, 103, 104, 105, 106, 107]);
    assert_eq!(rig.stage.vitals.counters.read().published, 108);
    let lost = |name: &str, dropped| SinkState { name: name.to_owned(), dropped };
    assert_eq!(rig.stage.vitals.sinks(), [lost("kept", 5), lost("jsonl", 0), lost("other", 6)]);

    // The buffer of a picture travels on with frames that have none.
    slot.about.has_picture = false;
    slot.about.mask_size = None;
    slot.engine = None;
    rig.publish.publish(&mut slot).unwrap();
    let kept = gate.unwrap().frame();
    assert_eq!((kept.picture, kept.mask_size, kept.worker), (None, SIDE, None));

    rig.run();
    let records = records(&path);
    let engine = json!({"ran": "edgetpu", "worker": 2, "workers": 2, "up": 1, "starts": 1, "faults": 1,
                        "fallback_frames": 3, "reason": "gone"});
    assert_eq!((&records[0]["engine"], &records[1]["engine"]["ran"]), (&engine, &"cpu".into()));
    let drops = json!({"replaced": 104, "skipped": 102, "corrupt": 103, "failed": 106, "sinks": 11});
    assert_eq!(records[0]["drops"], drops);
    assert_eq!((&records[0]["sequence"], &records[0]["model"]), (&41.into(), &"m".into()));
}

#[test]
fn a_result_that_cannot_be_decoded_costs_itself_alone() {
    let mut gate = None;
    let rig = Rig::cpu(|clock| {
        let (kept, _, told) = sink("kept", clock, vec![]);
        gate = Some(kept);
        vec![Box::new(told)]
    });
    let results = rig.publish.results.clone();
    for mask in [Size::new(2, 2), Size::new(0, 2), Size::new(4, 2)] {
        let mut slot = results.take(Duration::ZERO).unwrap();
        slot.about.mask_size = Some(mask);
        rig.put(slot);
    }
    assert!(!rig.stage.vitals.has_published());
    let (stage, counts) = rig.run();
    assert_eq!((counts.published, counts.failed), (2, 1));
    assert!(stage.vitals.has_published());
    let gate = gate.unwrap();
    assert_eq!([gate.frame(), gate.frame()].map(|kept| kept.mask_size), [Size::new(2, 2), Size::new(4, 2)]);
    // Every slot came back.
    assert_eq!(std::iter::from_fn(|| results.take(Duration::ZERO)).count(), 4);
}

#[test]
fn at_the_sources_end_sinks_are_drained_and_what_they_lost_is_told() {
    let mut closings = Vec::new();
    let rig = Rig::cpu(|clock| {
        let mut make = |name, dropped, is_onlooker| {
            let (_, closed, mut told) = sink(name, clock, vec![]);
            told.health.dropped = dropped;
            told.is_onlooker = is_onlooker;
            closings.push(closed);
            Box::new(told) as Box<dyn Sink>
        };
        vec![make("first", 3, false), make("onlooker", 0, true), make("last", 4, false)]
    });
    let (stage, _) = rig.run();
    assert_eq!(closings.iter().map(|closed| closed.try_recv().unwrap()).collect::<Vec<_>>(), [Closing::Drain; 3]);
    assert_eq!(stage.vitals.ending(), Some(Ending::SourceEnded { lost: 7 }));
    let lost = |name: &str, dropped| SinkState { name: name.to_owned(), dropped };
    assert_eq!(stage.vitals.sinks(), [lost("first", 3), lost("last", 4)]);
    assert!(!stage.vitals.has_published(), "there was no result");
}

#[test]
fn a_stop_gives_sinks_little_time_and_is_no_end_of_the_source() {
    let mut closings = Vec::new();
    let rig = Rig::cpu(|clock| {
        let mut make = |name| {
            let (_, closed, told) = sink(name, clock, vec![]);
            closings.push(closed);
            Box::new(told) as Box<dyn Sink>
        };
        vec![make("first"), make("last")]
    });
    rig.stage.shutdown.pull();
    let (stage, _) = rig.run();
    // The first may take half of it, and takes next to nothing here.
    for (closed, most) in closings.iter().zip([STOP_LIMIT / 2, STOP_LIMIT]) {
        let closing = closed.try_recv().unwrap();
        let is_near = |given: Duration| given <= most && given > most * 9 / 10;
        assert!(matches!(closing, Closing::Within(given) if is_near(given)), "{closing:?}, not {most:?}");
    }
    assert_eq!(stage.vitals.ending(), None);
}

#[test]
fn the_run_ends_when_the_last_sink_but_onlookers_is_gone() {
    let run = |works: [Option<Work>; 3], are_onlookers: [bool; 3]| {
        let rig = Rig::cpu(|clock| {
            let make = |(work, is_onlooker): (Option<Work>, bool)| {
                let (_, _, mut told) = sink("kept", clock, work.into_iter().collect());
                told.is_onlooker = is_onlooker;
                Box::new(told) as Box<dyn Sink>
            };
            works.into_iter().zip(are_onlookers).map(make).collect()
        });
        rig.put(result_slot());
        let (stage, counts) = rig.run();
        assert_eq!(counts.published, 1);
        (stage.vitals.ending(), stage.shutdown.is_pulled())
    };
    let gone = || Some(Work::Fail);
    let ended = (Some(Ending::SourceEnded { lost: 0 }), false);
    assert_eq!(run([gone(), None, gone()], [false, true, false]), (Some(Ending::SinksGone), true));
    assert_eq!(run([gone(), None, None], [false, true, false]), ended, "one is left");
    assert_eq!(run([None, gone(), None], [false, true, false]), ended, "an onlooker does not count");
    assert_eq!(run([gone(), gone(), gone()], [true; 3]), ended, "there were none");
}
