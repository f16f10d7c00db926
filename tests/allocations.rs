//! No allocation per frame once every buffer exists: the pipeline runs in this process, under an allocator that counts.
//! What the C libraries (TensorFlow Lite, the JPEG decoder) allocate for themselves is not seen here.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::shutdown::Shutdown;
use base::values::{Auto, Seconds};
use camera::{Rate, Source};
use infer::{EngineKind, Threads};
use pixels::frame::Size;
use pixels::orientation::{Flip, Rotate};
use pspnetd::config::{Config, Http, ModelPath};
use pspnetd::daemon::assemble;
use pspnetd::pipeline::{Parts, Pipeline};
use pspnetd::plugs::PLUGS;
use pspnetd::publish::view::{self, Layer, Opacity};

use counting::ALLOCATIONS;
use support::coral::pair;
use support::fake_edgetpu::{library, Here, Stick};
use support::{grouped_colours, media, LIMIT};

/// Frames that fill every pool, buffer and thread's cache.
const WARM_UP: u64 = 50;
/// Frames that are counted.
const COUNTED: u64 = 300;

fn config(source: Source, model: &Path, lines: &Path) -> Config {
    // This program, the test, has no worker in it.
    infer::worker::use_program(env!("CARGO_BIN_EXE_pspnetd").as_ref());
    let mut config = Config::default();
    config.camera.source = source;
    config.camera.rate = Rate::Max;
    config.camera.repeat = true;
    config.model.path = Auto::Set(ModelPath(model.to_owned()));
    config.model.threads = Auto::Set(Threads(1));
    // Line buffers are made when a slow disk needs them, this many at most: few, so that the warm-up makes them all.
    config.publish.jsonl.queue = 4;
    config.publish.jsonl.path = lines.to_str().unwrap().to_owned();
    config.telemetry.interval = Seconds::new(0);
    config
}

/// A program that writes a clip again and again; a Y4M clip's header only once.
fn endless(clip: &str) -> Source {
    let path = media(clip);
    let header = std::fs::read(&path).unwrap().iter().position(|&byte| byte == b'\n').unwrap() + 2;
    let start = if clip.ends_with(".y4m") { header } else { 1 };
    let path = path.display();
    let script = format!("cat '{path}'; while sleep 0.01; do tail -c +{start} '{path}'; done");
    format!("command:sh -c \"{script}\"").parse().unwrap()
}

/// What a run of `config` is made of.
fn parts(config: &Config) -> Parts {
    assemble(config, PLUGS, &Shutdown::default()).unwrap().pipeline
}

/// Allocations while the pipeline publishes [`COUNTED`] frames.
fn allocations(config: &Config) -> u64 {
    allocations_of(parts(config), || ()).0
}

/// The same of `parts`, and what `count` counts at the beginning and at the end.
fn allocations_of<T>(parts: Parts, count: impl Fn() -> T) -> (u64, T, T) {
    let shutdown = Shutdown::default();
    let workers = parts.crew.as_ref().map_or(0, |crew| crew.jobs.len());
    let pipeline = Pipeline::start(parts, &shutdown).unwrap();
    let wait_for = |frames: u64| {
        let start = Instant::now();
        while pipeline.vitals().counters.read().published < frames {
            assert!(start.elapsed() < LIMIT, "{:?}", pipeline.vitals());
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    // A worker that comes up allocates.
    let start = Instant::now();
    while pipeline.vitals().engines.report().up < workers {
        assert!(start.elapsed() < LIMIT, "{:?}", pipeline.vitals());
        std::thread::sleep(Duration::from_millis(1));
    }
    wait_for(pipeline.vitals().counters.read().published + WARM_UP);
    let start = pipeline.vitals().counters.read().published;
    let (before, first) = (ALLOCATIONS.load(Ordering::Relaxed), count());
    wait_for(start + COUNTED);
    let (after, last) = (ALLOCATIONS.load(Ordering::Relaxed), count());
    shutdown.pull();
    assert!(pipeline.wait(LIMIT));
    pipeline.join();
    (after - before, first, last)
}

/// Allocations while `layers` are watched, and pictures that were encoded meanwhile.
fn watched(config: &Config, layers: &[Layer]) -> (u64, u64) {
    let mut parts = parts(config);
    let http = Http { stream_fps: "60".parse().unwrap(), ..Http::default() };
    let (sink, gate, gallery) = view::open(&http, Arc::clone(&parts.clock)).unwrap();
    parts.sinks.push(sink);
    parts.gates.push(gate);
    let _viewers: Vec<_> = layers.iter().map(|&layer| gallery.subscribe(layer)).collect();
    let (count, first, last) = allocations_of(parts, || gallery.encoded());
    (count, last - first)
}

// One test, not several: the count is the whole process's.
#[test]
fn no_frame_costs_an_allocation_after_warm_up() {
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("out.jsonl");
    let model = grouped_colours();
    let model = model.path().join("model.tflite");
    // The counter counts.
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    drop(std::hint::black_box(Box::new(7)));
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 1);

    let mut failures = Vec::new();
    for source in [
        Source::Pattern(Size::new(640, 480)),
        Source::Replay(media("colours.y4m")),
        Source::Replay(media("colours.mjpeg")),
        Source::Replay(media("walkway.mjpeg")),
        endless("colours.y4m"),
        endless("walkway.mjpeg"),
    ] {
        let name = source.to_string();
        let count = allocations(&config(source, &model, &lines));
        println!("{name}: {count} allocations in {COUNTED} frames");
        // Nothing per frame; a thread that blocks for the first time, or a wait list that grows, costs a few.
        if count > COUNTED / 10 {
            failures.push(format!("{name}: {count}"));
        }
    }
    for (rotate, flip) in [(Rotate::Half, Flip::Off), (Rotate::Right, Flip::Horizontal)] {
        let mut turned = config(Source::Replay(media("walkway.mjpeg")), &model, &lines);
        (turned.camera.rotate, turned.camera.flip) = (rotate, flip);
        let count = allocations(&turned);
        println!("turned by {rotate}: {count} allocations in {COUNTED} frames");
        if count > COUNTED / 10 {
            failures.push(format!("turned by {rotate}: {count}"));
        }
    }
    // Two workers with a device each, the CPU beside them: frames go through other processes and wait for their turn.
    let double = Here::new();
    double.plug(1, Stick::Ready);
    double.plug(2, Stick::Ready);
    let mut by_workers = config(Source::Pattern(Size::new(640, 480)), &pair(), &folder.path().join("by_workers.jsonl"));
    by_workers.engine.kind = EngineKind::EdgeTpu;
    by_workers.engine.library = library().to_str().unwrap().to_owned();
    by_workers.engine.workers = "2".parse().unwrap();
    let count = allocations(&by_workers);
    println!("two workers: {count} allocations in {COUNTED} frames");
    if count > COUNTED / 10 {
        failures.push(format!("two workers: {count}"));
    }

    // With the page's half there and nobody who looks: nothing. With viewers only what the encoder makes for each picture:
    // its bytes.
    let mut viewed = config(Source::Pattern(Size::new(640, 480)), &model, &folder.path().join("viewed.jsonl"));
    viewed.camera.rate = Rate::Fps(60.0);
    let overlay = Layer::overlay(Opacity::HALF);
    for layers in [&[][..], &[Layer::Frame], &[Layer::Frame, overlay, overlay]] {
        let (count, encoded) = watched(&viewed, layers);
        println!("{layers:?}: {count} allocations, {encoded} pictures in {COUNTED} frames");
        assert!(if layers.is_empty() { encoded == 0 } else { encoded > COUNTED / 4 }, "{layers:?}: {encoded} pictures");
        if count > encoded + COUNTED / 10 {
            failures.push(format!("{layers:?}: {count} allocations, {encoded} pictures"));
        }
    }

    let written = std::fs::read_to_string(&lines).unwrap();
    // Some may be dropped, with so short a queue; most are not.
    assert!(written.lines().count() as u64 >= 2 * COUNTED, "the sink took no part");
    assert!(written.lines().all(|line| line.contains("\"groups\":{\"bright\":")), "lines without groups");
    assert_eq!(failures, Vec::<String>::new(), "allocations in {COUNTED} frames");
}
