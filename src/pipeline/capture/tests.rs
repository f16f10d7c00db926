use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, Sender};
use std::sync::Mutex;

use base::clock::{Clock, ManualClock};
use base::mailbox::{mailbox, Delivery, Inlet, Take};
use pixels::frame::FrameMeta;
use pixels::orientation::{Flip, Rotate};
use pixels::segment::Region;

use super::*;
use crate::pipeline::testing::{self, frame, pool, tensor_slot, Act, ToldCamera, LIMIT, SETTINGS, SIDE};
use crate::pipeline::Settings;
use crate::telemetry::{state, Counts};

const MS: Duration = Duration::from_millis(1);

/// The stage with a camera that does what it is told, run by the test's own thread.
struct Rig {
    capture: CaptureStage,
    stage: Stage,
    clock: Arc<ManualClock>,
    camera: Sender<Act>,
    tensors: Pool<TensorSlot>,
    inlet: Inlet<TensorSlot>,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        Self::with(settings, Vec::new(), 3)
    }

    fn with(settings: Settings, gates: Vec<Arc<dyn PictureGate>>, slots: usize) -> Self {
        let clock = Arc::new(ManualClock::default());
        let stage = testing::stage(Arc::clone(&clock) as Arc<dyn Clock>, settings);
        let (tell, camera) = ToldCamera::new();
        let open: CameraMaker = Arc::new(|| panic!("opened again"));
        let source = Source { camera: Some(Box::new(camera)), open, pause: Pause::default() };
        let conversion = Conversion { editions: CurrentEdition::new(testing::edition()), gates };
        let tensors = pool(slots, tensor_slot);
        let (outlet, inlet) = mailbox(settings.delivery, 1);
        let capture = CaptureStage::new(stage.clone(), source, conversion, tensors.clone(), outlet);
        Self { capture, stage, clock, camera: tell, tensors, inlet }
    }

    fn tell(&self, acts: impl IntoIterator<Item = Act>) {
        acts.into_iter().for_each(|act| self.camera.send(act).unwrap());
    }

    /// One turn of the loop, with what the camera does in it.
    #[track_caller]
    fn turn(&mut self, act: Act) {
        self.camera.send(act).unwrap();
        assert!(matches!(self.capture.run_once(), Ok(Step::GoOn)));
    }

    /// The frame that waits.
    #[track_caller]
    fn frame(&self) -> TensorSlot {
        match self.inlet.take(Duration::ZERO, &self.stage.shutdown) {
            Take::Item(slot) => slot,
            Take::Empty | Take::Closed => panic!("no frame"),
        }
    }

    fn counts(&self) -> Counts {
        self.stage.vitals.counters.read()
    }
}

/// Runs the stage to its end.
#[track_caller]
fn run(mut capture: CaptureStage) {
    let (end, ended) = channel();
    std::thread::spawn(move || {
        capture.run();
        drop(capture);
        let _ = end.send(());
    });
    ended.recv_timeout(LIMIT).expect("the end of the source");
}

#[test]
fn every_frame_is_counted_by_what_became_of_it() {
    let rig = Rig::new(SETTINGS);
    let now = rig.clock.now();
    let empty = Act::Frame(Size::new(0, 4), 9, FrameMeta::default());
    rig.tell([frame(0, now), Act::Corrupt, frame(1, now), Act::Skip(7), empty, frame(2, now), Act::Corrupt]);
    rig.tell([frame(3, now), Act::Skip(3), Act::End]);
    let Rig { capture, stage, inlet, tensors, .. } = rig;
    run(capture);
    let counts = stage.vitals.counters.read();
    assert_eq!(counts, Counts { frames_in: 4, replaced: 3, corrupt: 3, skipped: 10, ..Counts::default() });
    assert_eq!(stage.vitals.camera(), state::Camera { state: CameraState::Running, text: "told".to_owned(), opens: 1 });
    // That the source has ended is told by who publishes its last frame.
    assert_eq!(stage.vitals.ending(), None);
    let Take::Item(slot) = inlet.take(Duration::ZERO, &stage.shutdown) else { panic!("no frame") };
    assert_eq!((slot.about.meta.sequence, &slot.tensor[..]), (3, &[3; 48][..]));
    // One lay in the mailbox, one was at hand.
    assert_eq!(std::iter::from_fn(|| tensors.take(Duration::ZERO)).count(), 1);
}

#[test]
fn a_frame_says_when_it_was_taken_and_where_it_lies_in_the_tensor() {
    let at = |time: u64| Instant::default().after(MS * time as u32);
    let meta = FrameMeta { sequence: 5, captured: at(10), dequeued: at(12) };
    let letterbox = Settings { fit: Fit::Letterbox, mask: MaskSize::Picture, ..SETTINGS };
    let on_its_side = Settings { orientation: Orientation::new(Rotate::Right, Flip::Off), ..letterbox };
    for (settings, mask, region) in [
        (SETTINGS, SIDE, Region::WHOLE),
        (on_its_side, Size::new(4, 8), Region { x: 0.25, width: 0.5, ..Region::WHOLE }),
        (letterbox, Size::new(8, 4), Region { y: 0.25, height: 0.5, ..Region::WHOLE }),
    ] {
        let mut rig = Rig::new(settings);
        rig.clock.advance(MS * 20);
        rig.turn(Act::Frame(Size::new(8, 4), 100, meta));
        let slot = rig.frame();
        assert_eq!((slot.about.meta, slot.about.converted), (meta, at(20)));
        assert_eq!((slot.about.mask_size, slot.about.region, slot.about.has_picture), (Some(mask), region, false));
        let bars = if settings.fit == Fit::Letterbox { PAD } else { 100 };
        assert_eq!((slot.tensor[0], slot.tensor[27], slot.tensor[47]), (bars, 100, bars));
    }
}

/// A clock of which every reading takes a millisecond.
struct Ticking(ManualClock);

impl Clock for Ticking {
    fn now(&self) -> Instant {
        self.0.advance(MS);
        self.0.now()
    }

    fn wall(&self) -> jiff::Timestamp {
        self.0.wall()
    }
}

#[test]
fn a_frame_is_converted_when_the_conversion_has_ended() {
    let mut rig = Rig::with(SETTINGS, vec![Arc::new(Asked::default())], 3);
    let asked = Arc::new(Asked::default());
    rig.capture.converter.conversion.gates = vec![Arc::clone(&asked) as Arc<dyn PictureGate>];
    rig.capture.stage.clock = Arc::new(Ticking(ManualClock::default()));
    rig.turn(frame(0, Instant::default()));
    // The gate is asked in the middle of it.
    assert!(rig.frame().about.converted > asked.asked.lock().unwrap()[0]);
}

/// A gate that the test opens, and what it was asked and told.
#[derive(Default)]
struct Asked {
    is_due: AtomicBool,
    asked: Mutex<Vec<Instant>>,
    taken: Mutex<Vec<Instant>>,
}

impl PictureGate for Asked {
    fn is_due(&self, now: Instant) -> bool {
        self.asked.lock().unwrap().push(now);
        self.is_due.load(Ordering::SeqCst)
    }

    fn taken(&self, converted: Instant) {
        self.taken.lock().unwrap().push(converted);
    }
}

#[test]
fn a_picture_that_is_asked_for_travels_with_a_frame_and_counts_as_taken_with_that() {
    let gates = [Arc::new(Asked::default()), Arc::new(Asked::default())];
    let asked = gates.iter().map(|gate| Arc::clone(gate) as Arc<dyn PictureGate>).collect();
    let mut rig = Rig::with(SETTINGS, asked, 3);
    let taken = |gate: &Asked| gate.taken.lock().unwrap().clone();
    let turn = |rig: &mut Rig, number| {
        rig.clock.advance(MS);
        rig.turn(frame(number, rig.clock.now()));
        rig.clock.now()
    };
    // Any of them is enough.
    gates[1].is_due.store(true, Ordering::SeqCst);
    turn(&mut rig, 1);
    let second = turn(&mut rig, 2);
    assert_eq!(taken(&gates[0]), [], "the first was replaced, and the second still waits");
    let slot = rig.frame();
    assert_eq!((slot.about.has_picture, slot.about.picture), (true, vec![2; 48]));
    gates[1].is_due.store(false, Ordering::SeqCst);
    turn(&mut rig, 3);
    for gate in &gates {
        assert_eq!(taken(gate), [second]);
    }
    assert!(!rig.frame().about.has_picture);
    let last = turn(&mut rig, 4);
    assert_eq!(taken(&gates[0]), [second], "the third had no picture");
    assert_eq!(gates[0].asked.lock().unwrap().last(), Some(&last));
}

#[test]
fn a_camera_that_fails_is_told_waited_for_and_opened_again_and_its_numbers_go_on() {
    let mut rig = Rig::new(SETTINGS);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (theirs, vitals) = (Arc::clone(&seen), Arc::clone(&rig.stage.vitals));
    rig.capture.source.open = Arc::new(move || {
        theirs.lock().unwrap().push(vitals.camera());
        let (tell, camera) = ToldCamera::new();
        tell.send(frame(0, Instant::default())).unwrap();
        Ok(Box::new(camera))
    });
    let now = rig.clock.now();
    rig.tell([frame(0, now), frame(1, now), Act::Fail]);
    let Rig { capture, stage, inlet, .. } = rig;
    run(capture);
    let waiting = state::Camera { state: CameraState::Waiting, text: "test: unplugged".to_owned(), opens: 1 };
    assert_eq!(*seen.lock().unwrap(), [waiting]);
    assert_eq!(stage.vitals.camera(), state::Camera { state: CameraState::Running, text: "told".to_owned(), opens: 2 });
    let Take::Item(slot) = inlet.take(Duration::ZERO, &stage.shutdown) else { panic!("no frame") };
    assert_eq!(slot.about.meta.sequence, 2);
    assert_eq!(stage.vitals.ending(), None);
}

#[test]
fn the_failure_of_a_source_that_ends_by_itself_is_the_end_of_the_run() {
    let rig = Rig::new(Settings { finite: true, ..SETTINGS });
    rig.tell([frame(0, rig.clock.now()), Act::Fail]);
    run(rig.capture);
    assert_eq!(rig.stage.vitals.ending(), Some(Ending::SourceFailed("test: unplugged".to_owned())));
}

#[test]
fn a_camera_that_ends_because_of_the_stop_has_not_failed() {
    let mut rig = Rig::new(SETTINGS);
    let shutdown = rig.stage.shutdown.clone();
    rig.capture.source.open = Arc::new(move || {
        shutdown.pull();
        Err(CameraError::retry("test", "told to end", ""))
    });
    rig.capture.source.camera = None;
    run(rig.capture);
    assert_eq!(rig.stage.vitals.camera_state(), CameraState::Opening);
    assert_eq!(rig.stage.vitals.ending(), None);
}

#[test]
fn without_a_place_for_it_no_frame_is_taken_from_the_source() {
    let mut rig = Rig::with(Settings { delivery: Delivery::Every, ..SETTINGS }, Vec::new(), 1);
    let now = rig.clock.now();
    rig.turn(frame(0, now));
    let slot = rig.frame();
    rig.turn(frame(1, now));
    assert_eq!(rig.counts().frames_in, 1);
    rig.tensors.give_back(slot);
    // It has waited in the source.
    assert!(matches!(rig.capture.run_once(), Ok(Step::GoOn)));
    assert_eq!((rig.counts().frames_in, rig.frame().about.meta.sequence), (2, 1));
}

#[test]
fn a_stop_ends_the_wait_for_who_takes_frames() {
    let rig = Rig::new(Settings { delivery: Delivery::Every, ..SETTINGS });
    let now = rig.clock.now();
    rig.tell([frame(0, now), frame(1, now)]);
    let Rig { mut capture, stage, inlet, camera, .. } = rig;
    let thread = std::thread::spawn(move || capture.run());
    stage.shutdown.pull();
    thread.join().unwrap();
    drop((camera, inlet));
    assert_eq!(stage.vitals.counters.read().replaced, 0);
}

#[test]
fn a_frame_ends_the_growth_of_pauses() {
    let mut rig = Rig::new(SETTINGS);
    let pauses = [(); 3].map(|()| rig.capture.back_off.pause());
    assert_eq!(pauses, [BackOff::FIRST, BackOff::FIRST * 2, BackOff::FIRST * 4]);
    rig.turn(Act::Corrupt);
    assert_eq!(rig.capture.back_off.pause(), LONGEST_PAUSE, "it gives nothing that can be used");
    rig.turn(frame(0, Instant::default()));
    assert_eq!(rig.capture.back_off.pause(), BackOff::FIRST);
}

#[test]
fn numbers_go_on_when_a_camera_starts_anew() {
    let mut numbers = Numbers::default();
    numbers.reopened();
    assert_eq!([0, 1, 4].map(|sequence| numbers.number(sequence)), [0, 1, 4]);
    numbers.reopened();
    assert_eq!([0, 1].map(|sequence| numbers.number(sequence)), [5, 6]);
}

#[test]
fn a_frame_after_a_replacement_is_converted_for_the_new_edition() {
    let mut rig = Rig::new(SETTINGS);
    rig.turn(frame(1, Instant::default()));
    let first = rig.frame();
    let (size, before) = (Size::new(8, 2), testing::edition());
    let mut other = (*before).clone();
    (other.name, other.io.input.size, other.io.input.signed) = ("other".to_owned(), size, true);
    other.pixel_map = PixelMap::Flip;
    rig.capture.converter.conversion.editions.replace(Arc::new(other));
    rig.turn(frame(2, Instant::default()));
    let second = rig.frame();
    let name = |slot: &TensorSlot| slot.about.edition.as_ref().unwrap().name.clone();
    assert_eq!((name(&first).as_str(), &first.tensor[..]), ("m", &[1; 48][..]));
    assert_eq!((name(&second).as_str(), &second.tensor[..]), ("other", &[2 ^ 0x80; 48][..]));
}
