//! The seams of the program are real: plugs of this test's own take part in a run as the program's own do.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base::failure::{Failure, SettingError};
use base::outbox::{Closing, OutboxHealth};
use base::shutdown::Shutdown;
use base::values::Auto;
use camera::{Rate, Source};
use infer::Threads;
use model::Edition;
use pixels::frame::Size;
use pspnetd::config::{Config, ModelPath};
use pspnetd::daemon::{assemble, Assembly};
use pspnetd::pipeline::Pipeline;
use pspnetd::publish::plug::{Context, Guard, Plug, Plugged, Start};
use pspnetd::publish::requests::Requests;
use pspnetd::publish::Sink;
use pspnetd::scene::Outcome;
use pspnetd::telemetry::state::Observe;

const LIMIT: Duration = Duration::from_secs(60);

fn config() -> Config {
    // This program, the test, has no worker in it.
    infer::worker::use_program(env!("CARGO_BIN_EXE_pspnetd").as_ref());
    let mut config = Config::default();
    config.camera.source = Source::Pattern(Size::new(64, 64));
    config.camera.rate = Rate::Fps(50.0);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/colours/model.tflite");
    config.model.path = Auto::Set(ModelPath(model));
    config.model.threads = Auto::Set(Threads(1));
    config
}

/// Runs `assembly` until `is_so`, with the threads of its plugs.
fn run_until(assembly: Assembly, shutdown: &Shutdown, is_so: impl Fn() -> bool) {
    let Assembly { pipeline, starts, .. } = assembly;
    let pipeline = Pipeline::start(pipeline, shutdown).unwrap();
    let guards: Vec<Guard> = starts.into_iter().map(|start| start().unwrap()).collect();
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LIMIT, "waited in vain: {}", pipeline.vitals().status());
        std::thread::sleep(Duration::from_millis(2));
    }
    shutdown.pull();
    assert!(pipeline.wait(LIMIT));
    pipeline.join();
    drop(guards);
}

/// What a sink of this test saw: of each result its number, and the number that the state had at that moment.
type Seen = Arc<Mutex<Vec<(u64, Option<u64>)>>>;

/// A sink that asks for the state while it takes a result, as one that publishes over a network does.
struct Asking {
    observe: Arc<dyn Observe>,
    seen: Seen,
}

impl Sink for Asking {
    fn name(&self) -> &'static str {
        "asking"
    }

    fn publish(&mut self, outcome: &Outcome) {
        let state = self.observe.state();
        assert_eq!(state.model.name, outcome.edition.name);
        self.seen.lock().unwrap().push((outcome.sequence, state.result.map(|result| result.sequence)));
    }

    fn health(&self) -> OutboxHealth {
        OutboxHealth::default()
    }

    fn close(self: Box<Self>, _closing: Closing) -> OutboxHealth {
        OutboxHealth::default()
    }
}

#[derive(Default)]
struct AskingPlug {
    seen: Seen,
    requests: Mutex<Option<Requests>>,
    /// Threads of this plug that run.
    running: Arc<AtomicUsize>,
    was_started: Arc<AtomicBool>,
}

/// Counts down when it is dropped.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Plug for AskingPlug {
    fn name(&self) -> &'static str {
        "asking"
    }

    fn check(&self, _config: &Config, _edition: Option<&Edition>) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    fn build(&self, context: &Context<'_>) -> Result<Plugged, Failure> {
        // The state can be asked for before the pipeline runs.
        assert!(context.observe.state().result.is_none() && !context.observe.state().ready);
        assert_eq!((context.engine, context.editions.now().name.as_str()), ("cpu", "colours"));
        *self.requests.lock().unwrap() = Some(context.requests.clone());
        let sink = Asking { observe: Arc::clone(&context.observe), seen: Arc::clone(&self.seen) };
        let (running, was_started) = (Arc::clone(&self.running), Arc::clone(&self.was_started));
        let start: Start = Box::new(move || {
            running.fetch_add(1, Ordering::SeqCst);
            was_started.store(true, Ordering::SeqCst);
            Ok(Box::new(Running(running)) as Guard)
        });
        Ok(Plugged { start: Some(start), ..Plugged::sink(sink) })
    }
}

#[test]
fn a_sink_that_needs_the_state_finds_the_result_that_it_takes_there() {
    let plug = AskingPlug::default();
    let shutdown = Shutdown::default();
    let assembly = assemble(&config(), &[&plug], &shutdown).unwrap();
    assert!(!plug.was_started.load(Ordering::SeqCst), "nothing starts before everything is built");
    run_until(assembly, &shutdown, || plug.seen.lock().unwrap().len() >= 5);
    let seen = plug.seen.lock().unwrap();
    assert!(seen.iter().all(|(taken, known)| *known == Some(*taken)), "{seen:?}");
    assert!(plug.was_started.load(Ordering::SeqCst));
    assert_eq!(plug.running.load(Ordering::SeqCst), 0, "the guard ends the threads");
}

#[test]
fn a_plug_can_ask_for_a_pause_and_for_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.publish.snapshot.dir = folder.path().to_str().unwrap().to_owned();
    config.publish.snapshot.interval.0 = Duration::from_secs(3600);
    let plug = AskingPlug::default();
    let shutdown = Shutdown::default();
    let assembly = assemble(&config, &[&pspnetd::publish::snapshot::SnapshotPlug, &plug], &shutdown).unwrap();
    let requests = plug.requests.lock().unwrap().clone().unwrap();
    let pictures = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|it| it == "png"))
            .collect()
    };
    // The first picture comes by itself, the second in an hour unless somebody asks.
    let asked = AtomicBool::new(false);
    run_until(assembly, &shutdown, || {
        if pictures().len() == 1 && !asked.swap(true, Ordering::SeqCst) {
            requests.snapshot.ask();
        }
        pictures().len() >= 2
    });
    assert!(requests.pause.toggle() && requests.pause.is_on());
}

/// A plug that can't be built.
struct Broken;

impl Plug for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn check(&self, _config: &Config, _edition: Option<&Edition>) -> Result<Option<String>, Failure> {
        Ok(Some("never good".to_owned()))
    }

    fn build(&self, _context: &Context<'_>) -> Result<Plugged, Failure> {
        Err(SettingError::new("broken.key", "/x", "no").into())
    }
}

#[test]
fn a_plug_that_cannot_be_built_ends_the_start_with_its_own_words_and_starts_nothing() {
    let plug = AskingPlug::default();
    let failure = assemble(&config(), &[&plug, &Broken], &Shutdown::default()).err().unwrap();
    assert_eq!((failure.to_string().as_str(), failure.exit_code()), ("broken.key /x: no", 78));
    assert!(!plug.was_started.load(Ordering::SeqCst));
}
