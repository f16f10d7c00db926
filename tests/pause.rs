//! A pause through the whole pipeline: the camera is closed and released, the threads show signs of life, and frames come
//! again when it ends. What pauses is the button of `[gpio]`; here the test holds the switch.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::clock::{Clock as _, SystemClock};
use base::pause::Pause;
use base::shutdown::Shutdown;
use base::values::Auto;
use camera::{Camera, CameraError, Poll, Rate, Source};
use infer::Threads;
use pixels::frame::{Frame, PictureFormat, Size};
use pspnetd::config::{Config, ModelPath};
use pspnetd::daemon::assemble;
use pspnetd::pipeline::Pipeline;
use pspnetd::plugs::PLUGS;

use support::{colours, records, LIMIT};

/// What the test sees of the cameras that the pipeline opened.
#[derive(Default)]
struct Seen {
    open: AtomicUsize,
    opened: AtomicUsize,
    missing: AtomicBool,
}

/// The test picture, which says when it is closed.
struct Watched(Box<dyn Camera>, Arc<Seen>);

impl Camera for Watched {
    fn poll(&mut self, wait: Duration, take: &mut dyn FnMut(&Frame<'_>)) -> Result<Poll, CameraError> {
        self.0.poll(wait, take)
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn format(&self) -> Option<PictureFormat> {
        self.0.format()
    }

    fn take_skipped(&mut self) -> u64 {
        self.0.take_skipped()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.1.open.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Run {
    pipeline: Pipeline,
    pause: Pause,
    shutdown: Shutdown,
    seen: Arc<Seen>,
}

impl Run {
    fn start(lines: &Path) -> Self {
        // This program, the test, has no worker in it.
        infer::worker::use_program(env!("CARGO_BIN_EXE_pspnetd").as_ref());
        let mut config = Config::default();
        config.camera.source = Source::Pattern(Size::new(64, 64));
        config.camera.rate = Rate::Fps(50.0);
        config.model.path = Auto::Set(ModelPath(colours()));
        config.model.threads = Auto::Set(Threads(1));
        config.publish.jsonl.path = lines.to_str().unwrap().to_owned();
        let mut parts = assemble(&config, PLUGS, &Shutdown::default()).unwrap().pipeline;
        let seen = Arc::new(Seen::default());
        let (theirs, open) = (Arc::clone(&seen), Arc::clone(&parts.open_camera));
        parts.open_camera = Arc::new(move || {
            if theirs.missing.load(Ordering::SeqCst) {
                return Err(CameraError::retry("test", "unplugged", "plug it in"));
            }
            let camera = open()?;
            theirs.open.fetch_add(1, Ordering::SeqCst);
            theirs.opened.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(Watched(camera, Arc::clone(&theirs))) as Box<dyn Camera>)
        });
        parts.camera = None;
        let (pause, shutdown) = (parts.pause.clone(), Shutdown::default());
        let pipeline = Pipeline::start(parts, &shutdown).unwrap();
        Self { pipeline, pause, shutdown, seen }
    }

    fn published(&self) -> u64 {
        self.pipeline.vitals().counters.read().published
    }

    fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    #[track_caller]
    fn wait_for(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < LIMIT, "waited in vain for {what}: {}", self.pipeline.vitals().status());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[track_caller]
    fn wait_for_more_frames(&self) {
        let enough = self.published() + 5;
        self.wait_for("frames", |run| run.published() >= enough);
    }

    #[track_caller]
    fn wait_for_status(&self, words: &str) {
        self.wait_for(words, |run| run.pipeline.vitals().status().contains(words));
    }

    fn stop(self) {
        self.shutdown.pull();
        assert!(self.pipeline.wait(LIMIT));
        self.pipeline.join();
    }
}

#[test]
fn a_paused_camera_is_closed_and_the_stages_live_on_until_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("out.jsonl");
    let run = Run::start(&lines);
    run.wait_for_more_frames();
    assert_eq!(run.open(), 1);
    assert!(run.pause.toggle());
    run.wait_for_status("camera: paused");
    assert_eq!(run.open(), 0, "released");
    // What was on its way gets through; then nothing comes.
    run.wait_for("the last frames", |run| {
        let counts = run.pipeline.vitals().counters.read();
        counts.frames_in == counts.published + counts.replaced + counts.failed
    });
    let paused = run.published();
    std::thread::sleep(Duration::from_secs(2));
    // Far less than the pause so far, and than half the watchdog's time, 15 s in the unit.
    let silence = |run: &Run| run.pipeline.vitals().beats.slowest(SystemClock.now()).1;
    run.wait_for("signs of life", |run| silence(run) < Duration::from_millis(500));
    assert_eq!(run.published(), paused);
    assert!(run.pipeline.vitals().has_published(), "READY stays");
    assert_eq!((run.open(), run.seen.opened.load(Ordering::SeqCst)), (0, 1), "nobody opened it meanwhile");
    assert!(run.pipeline.vitals().status().contains("camera: paused"));

    assert!(!run.pause.toggle());
    run.wait_for_more_frames();
    assert_eq!((run.open(), run.seen.opened.load(Ordering::SeqCst)), (1, 2));
    assert!(!run.pipeline.vitals().status().contains("paused"), "{}", run.pipeline.vitals().status());
    let seen = Arc::clone(&run.seen);
    run.stop();
    assert_eq!(seen.open.load(Ordering::SeqCst), 0);
    // The numbers of the frames go on over the pause.
    let numbers: Vec<u64> = records(&std::fs::read_to_string(&lines).unwrap())
        .iter()
        .map(|record| record["sequence"].as_u64().unwrap())
        .collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
}

#[test]
fn a_camera_that_is_missing_can_be_paused_and_is_looked_for_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::start(&folder.path().join("out.jsonl"));
    run.wait_for_more_frames();
    run.seen.missing.store(true, Ordering::SeqCst);
    run.pause.toggle();
    run.wait_for_status("camera: paused");
    run.pause.toggle();
    run.wait_for_status("camera: waiting: test: unplugged");
    run.pause.toggle();
    run.wait_for_status("camera: paused");
    run.seen.missing.store(false, Ordering::SeqCst);
    run.pause.toggle();
    run.wait_for_more_frames();
    run.stop();
}

#[test]
fn a_pause_ends_with_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::start(&folder.path().join("out.jsonl"));
    run.pause.toggle();
    run.wait_for_status("camera: paused");
    run.stop();
}
