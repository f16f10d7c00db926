use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base::clock::{Clock, SystemClock};
use base::mailbox::{mailbox, Delivery, Put};
use base::shutdown::Shutdown;

use super::*;
use crate::pipeline::testing::{self, io, pool, result_slot, tensor_slot_in, SETTINGS};
use crate::pipeline::{EngineStatus, SlotCounts};

/// What lanes share, as a pipeline with so many workers, with or without the CPU beside them, has it; and the ends that
/// belong to the other stages.
pub(super) struct Rig {
    pub(super) work: Arc<Work>,
    pub(super) shutdown: Shutdown,
    pub(super) outlet: Outlet<TensorSlot>,
    inlet: Inlet<ResultSlot>,
}

impl Rig {
    /// With tensors on the heap, which no worker process sees.
    pub(super) fn new(workers: usize, has_cpu: bool, clock: Arc<dyn Clock>) -> Self {
        Self::with(workers, has_cpu, clock, &InputTensors::heap(&io().input))
    }

    /// With as many of the tensors among `inputs` as a pipeline has.
    pub(super) fn with(workers: usize, has_cpu: bool, clock: Arc<dyn Clock>, inputs: &InputTensors) -> Self {
        let counts = SlotCounts::new(workers, has_cpu);
        let shutdown = Shutdown::default();
        let vitals = testing::vitals(EngineStatus::new("edgetpu", workers, has_cpu), &[]);
        let stage = Stage { vitals, shutdown: shutdown.clone(), clock, settings: SETTINGS };
        let tensors = pool(counts.tensors, || tensor_slot_in(inputs));
        let results = pool(counts.results, result_slot);
        let (outlet, from_capture) = mailbox(Delivery::Newest, 1);
        let (to_publish, inlet) = mailbox(Delivery::Newest, workers);
        let order = Order::new(to_publish, results.clone(), counts.results);
        let turn = Pool::try_filled(1, || Ok(0)).unwrap();
        let work = Work { stage, tensors, results, inlet: from_capture, turn, order: Mutex::new(order) };
        Self { work: Arc::new(work), shutdown, outlet, inlet }
    }

    /// A frame that waits for a lane.
    #[track_caller]
    pub(super) fn put(&self, sequence: u64) {
        let mut slot = self.work.tensors.take(Duration::ZERO).expect("a free tensor");
        slot.about.meta.sequence = sequence;
        assert!(matches!(self.outlet.put(slot, &self.shutdown), Put::Stored));
    }

    /// What publishing takes next.
    pub(super) fn publish(&self) -> Option<ResultSlot> {
        match self.inlet.take(Duration::ZERO, &self.shutdown) {
            Take::Item(slot) => Some(slot),
            Take::Empty | Take::Closed => None,
        }
    }

    pub(super) fn counts(&self) -> crate::telemetry::Counts {
        self.work.stage.vitals.counters.read()
    }
}

/// The frame that a lane takes now.
#[track_caller]
pub(super) fn taken(lane: &mut Lane) -> Taken {
    match lane.look() {
        Look::Frame(taken) => taken,
        Look::Nothing => panic!("nothing to be had"),
        Look::Over => panic!("it is over"),
    }
}

#[test]
fn while_one_lane_is_slow_the_others_run_as_many_frames_ahead_as_there_are_lanes() {
    for (workers, has_cpu) in [(0, true), (1, false), (1, true), (2, false), (2, true), (3, false)] {
        let rig = Rig::new(workers, has_cpu, Arc::new(SystemClock));
        let count = EngineStatus::new("edgetpu", workers, has_cpu).lanes();
        let mut lanes: Vec<Lane> = (0..count).map(|lane| Lane::new(&rig.work, lane)).collect();
        let mut frames = 0..;
        let mut next = |lane: &mut Lane| {
            rig.put(frames.next().unwrap());
            taken(lane)
        };
        // One result is being published, and the mailbox before that is full.
        let places = workers.max(1);
        let mut published = Vec::new();
        for place in 0..=places {
            let frame = next(&mut lanes[0]);
            lanes[0].finish(frame, true);
            if place == 0 {
                published.push(rig.publish().unwrap());
            }
        }
        // The first lane takes its time.
        let slow = next(&mut lanes[0]);
        if count > 1 {
            for _ in 0..count {
                let frame = next(&mut lanes[1]);
                lanes[1].finish(frame, true);
            }
        }
        let busy: Vec<Taken> = lanes[1..].iter_mut().map(&mut next).collect();
        // Meanwhile a frame waits, and capture has a place for the one that will replace it.
        rig.put(frames.next().unwrap());
        let newer = rig.work.tensors.take(Duration::ZERO).expect("a tensor for capture");
        let old = rig.outlet.put(newer, &rig.shutdown);
        assert!(matches!(old, Put::Replaced(_)), "{workers} {has_cpu}");
        // There are no more buffers than that takes.
        assert!(rig.work.tensors.take(Duration::ZERO).is_none() && rig.work.results.take(Duration::ZERO).is_none());
        assert_eq!(rig.counts().replaced, 0);
        drop((slow, busy));
    }
}

#[test]
fn a_frame_that_is_done_gives_its_tensor_back_and_its_picture_to_the_result() {
    let rig = Rig::new(0, true, Arc::new(SystemClock));
    let mut lane = Lane::new(&rig.work, 0);
    let free = rig.work.tensors.take.len();
    rig.put(7);
    let mut frame = taken(&mut lane);
    frame.tensor.about.picture = vec![1; 3];
    frame.tensor.about.has_picture = true;
    frame.result.about.picture = Vec::with_capacity(100);
    assert_eq!(rig.work.tensors.take.len(), free - 1);
    lane.finish(frame, true);
    let result = rig.publish().unwrap();
    assert_eq!((result.about.meta.sequence, &result.about.picture[..]), (7, &[1, 1, 1][..]));
    assert!(result.about.has_picture);
    // The buffer that came with the result is used again.
    let tensors: Vec<TensorSlot> = std::iter::from_fn(|| rig.work.tensors.take(Duration::ZERO)).collect();
    assert_eq!(tensors.len(), free);
    assert_eq!(tensors.last().unwrap().about.picture.capacity(), 100);
    assert_eq!((rig.counts().inferred, rig.counts().failed), (1, 0));
}

#[test]
fn a_frame_that_fails_is_counted_publishes_nothing_and_holds_nobody_up() {
    let rig = Rig::new(2, false, Arc::new(SystemClock));
    let free = (rig.work.tensors.take.len(), rig.work.results.take.len());
    let (mut one, mut other) = (Lane::new(&rig.work, 0), Lane::new(&rig.work, 1));
    rig.put(0);
    let first = taken(&mut one);
    rig.put(1);
    let second = taken(&mut other);
    other.finish(second, true);
    assert!(rig.publish().is_none(), "the first may still come");
    one.finish(first, false);
    let published = rig.publish().unwrap();
    assert_eq!(published.about.meta.sequence, 1);
    assert_eq!((rig.counts().inferred, rig.counts().failed, rig.counts().replaced), (1, 1, 0));
    // The failed frame's place for a result is used for the next.
    rig.work.results.give_back(published);
    rig.put(2);
    let third = taken(&mut one);
    one.finish(third, true);
    rig.work.results.give_back(rig.publish().unwrap());
    assert_eq!((rig.work.tensors.take.len(), rig.work.results.take.len()), free);
}

#[test]
fn when_the_source_has_ended_the_last_frame_is_run_and_every_lane_ends() {
    let rig = Rig::new(2, false, Arc::new(SystemClock));
    let (mut one, mut other) = (Lane::new(&rig.work, 0), Lane::new(&rig.work, 1));
    rig.put(0);
    let Rig { outlet, inlet, work, shutdown } = rig;
    drop(outlet);
    assert!(!one.is_over());
    let frame = taken(&mut one);
    assert!(one.is_over() && matches!(other.look(), Look::Over));
    one.finish(frame, true);
    assert!(matches!(one.look(), Look::Over) && matches!(other.look(), Look::Over));
    assert_eq!(work.turn.take.len(), 1, "nobody waits for a turn that does not come back");
    // Also where every place for a result is still in use.
    let used: Vec<ResultSlot> = std::iter::from_fn(|| work.results.take(Duration::ZERO)).collect();
    assert!(matches!(Lane::new(&work, 1).look(), Look::Over) && !used.is_empty());
    assert!(matches!(inlet.take(Duration::ZERO, &shutdown), Take::Item(_)));
    // Publishing ends with the last lane.
    drop((one, other, work));
    assert!(matches!(inlet.take(Duration::ZERO, &shutdown), Take::Closed));
}

#[test]
fn while_no_frame_comes_no_lane_keeps_another_from_looking_after_its_device() {
    let Rig { work, outlet, .. } = Rig::new(2, false, Arc::new(SystemClock));
    let is_over = Arc::new(AtomicBool::new(false));
    let others: Vec<_> = (0..2)
        .map(|number| {
            let (mut lane, is_over) = (Lane::new(&work, number), Arc::clone(&is_over));
            std::thread::spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    assert!(matches!(lane.look(), Look::Nothing));
                }
            })
        })
        .collect();
    let lane = Lane::new(&work, 2);
    let mut waited = Duration::ZERO;
    for _ in 0..20 {
        let start = Instant::now();
        assert!(!lane.is_over());
        waited += start.elapsed();
        std::thread::sleep(Duration::from_millis(10));
    }
    is_over.store(true, Ordering::SeqCst);
    others.into_iter().for_each(|other| other.join().unwrap());
    // Each of them kept one place for a result all the time.
    assert_eq!(work.results.take.len(), work.results.size() - 2);
    drop(outlet);
    assert!(lane.is_over());
    assert!(waited < Duration::from_secs(2), "{waited:?} for 20 looks");
}
