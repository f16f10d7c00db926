//! The monitor's thread: tells of latency, power and heat in the log, and keeps the present up to date for those who look.
//!
//! It looks ten times a second for what has changed, and works out figures when a window or an interval is over. Whatever
//! it waits for, the pipeline goes on.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use base::clock::{Clock, Instant};
use base::logging::FIGURES;
use base::priority;
use base::shutdown::{Shutdown, TICK};
use base::sync::lock;
use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, Sender};

use super::live::Live;
use crate::config::Telemetry;
use crate::publish::Journal;
use crate::telemetry::sensors::{self, Board, Sensors, Throttle};
use crate::telemetry::state::{CameraState, History};
use crate::telemetry::{table, Counts, EngineReport, EventRecord, IntervalRecord, Reporter, Stage, What};

/// Time between two points of the history, and two updates of the speed in `STATUS=`.
const WINDOW: Duration = Duration::from_secs(History::SECONDS);
/// Time that each journal gets for its last records. SIGTERM to exit takes less than 1 s.
const STOP_LIMIT: Duration = Duration::from_millis(150);
/// Time that the monitor gets for all of its last words. It may wait for a standard error that nobody reads.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// A look at the board takes milliseconds; one that comes so much later than it should hangs.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// The running threads.
pub(super) struct Monitor {
    // Nothing is ever sent: dropping the one says that the pipeline has ended, the other's end that the thread has.
    finish: Sender<()>,
    ended: Receiver<()>,
}

impl Monitor {
    /// Starts the monitor, and the thread that looks at the board.
    pub(super) fn start(
        live: &Arc<Live>,
        journals: Vec<Box<dyn Journal>>,
        config: &Telemetry,
        root: &Path,
        clock: &Arc<dyn Clock>,
        shutdown: &Shutdown,
    ) -> io::Result<Self> {
        watch_board(live, config, root, clock, shutdown)?;
        let (finish, finished) = bounded(1);
        let monitoring = Monitoring::new(live, journals, config, clock);
        let (end, ended) = bounded(1);
        let loss = "the log, the latency log and the state get no more figures; the pipeline goes on";
        spawn("monitor", loss, move || {
            // Dropped with the thread, however that ends.
            let _end: Sender<()> = end;
            monitoring.run(&finished);
        })?;
        Ok(Self { finish, ended })
    }

    /// Tells of the last, unfinished interval and of the whole run, and ends the thread.
    pub(super) fn finish(self) {
        drop(self.finish);
        let _ = self.ended.recv_timeout(LAST_WORDS);
    }
}

/// Starts a thread whose panic ends nothing but itself; the log then says what is lost by it.
fn spawn(name: &'static str, loss: &'static str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let guarded = move || {
        if catch_unwind(AssertUnwindSafe(body)).is_err() {
            log::error!("{name}: failed by a fault of pspnetd: {loss}");
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(guarded).map(drop)
}

/// Looks at the board every `telemetry.sensors`, in a thread of its own: a bus that hangs holds nobody else.
fn watch_board(
    live: &Arc<Live>,
    config: &Telemetry,
    root: &Path,
    clock: &Arc<dyn Clock>,
    shutdown: &Shutdown,
) -> io::Result<()> {
    let every = config.sensors.0;
    if every.is_zero() {
        return Ok(());
    }
    let (live, clock, shutdown) = (Arc::clone(live), Arc::clone(clock), shutdown.clone());
    let (config, root) = (config.sensor_options(), root.to_owned());
    let look = move || {
        priority::lower(priority::SIDE);
        let mut sensors = Sensors::new(&config, &root);
        for line in sensors.describe() {
            log::info!("sensors: {line}");
        }
        loop {
            let board = sensors.look(clock.now());
            live.set_board(board, clock.now().after(every * 3 + LOOK_LIMIT));
            if shutdown.sleep(every) {
                return;
            }
        }
    };
    spawn("sensors", "power, heat and throttling are unknown from now on", look)
}

struct Monitoring {
    live: Arc<Live>,
    clock: Arc<dyn Clock>,
    reporter: Reporter,
    /// The board when the interval of the log's lines began.
    board_then: Board,
    window: (Instant, u64),
    told: Told,
    diary: Option<Diary>,
}

/// What was told last, so that a change is news.
#[derive(Default)]
struct Told {
    throttle: Option<Throttle>,
    camera: CameraState,
    has_engine: bool,
    is_board_lost: bool,
}

/// The journals, and where their running interval began.
struct Diary {
    journals: Vec<Box<dyn Journal>>,
    every: Duration,
    since: Instant,
    counts: Counts,
    dropped: u64,
    board: Board,
    throttled: Duration,
    looked: Instant,
}

impl Monitoring {
    fn new(live: &Arc<Live>, journals: Vec<Box<dyn Journal>>, config: &Telemetry, clock: &Arc<dyn Clock>) -> Self {
        let now = clock.now();
        let every = config.latency_log.interval.0;
        Self {
            live: Arc::clone(live),
            clock: Arc::clone(clock),
            reporter: Reporter::new(config.interval.0, now),
            board_then: Board::default(),
            window: (now, 0),
            told: Told { has_engine: true, ..Told::default() },
            diary: (!journals.is_empty()).then(|| Diary::new(journals, every, now)),
        }
    }

    fn run(mut self, finished: &Receiver<()>) {
        priority::lower(priority::SIDE);
        while finished.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            tell(&self.look());
        }
        tell(&self.run_lines());
        self.close_diary();
    }

    /// Tells what has changed, and closes what is over by now. Returns the lines of an interval of the log that is.
    fn look(&mut self) -> Vec<String> {
        let now = self.clock.now();
        self.tell_changes(now);
        if now.since(self.window.0) >= WINDOW {
            self.close_window(now);
        }
        let lines = if self.reporter.is_due(now) { self.interval_lines(now) } else { Vec::new() };
        if self.diary.as_ref().is_some_and(|diary| now.since(diary.since) >= diary.every) {
            self.write_interval(now);
        }
        lines
    }

    fn counts(&self) -> Counts {
        self.live.vitals.counters.read()
    }

    /// At once, since it explains what happens to the frames.
    fn tell_changes(&mut self, now: Instant) {
        let is_board_lost = self.live.is_board_lost();
        match (is_board_lost, self.told.is_board_lost) {
            (true, false) => {
                log::warn!("sensors: the last look does not end (a bus, or a driver, hangs): all is unknown");
            }
            (false, true) => log::info!("sensors: looking again"),
            _ => {}
        }
        self.told.is_board_lost = is_board_lost;
        let throttle = self.live.board().and_then(|board| board.throttle);
        if let Some(diary) = &mut self.diary {
            diary.note_throttling(now, throttle.as_ref());
        }
        if throttle != self.told.throttle {
            let is_bad = throttle.is_some_and(|throttle| throttle.now.any());
            let line = sensors::throttled_line(throttle.as_ref());
            log::log!(if is_bad { log::Level::Warn } else { log::Level::Info }, "{line}");
            let causes = throttle.map_or_else(|| "unknown".to_owned(), |throttle| throttle.now.to_string());
            self.note(What::Throttle, &causes, &line);
            self.told.throttle = throttle;
        }
        let state = self.live.vitals.camera_state();
        if state != self.told.camera {
            self.note(What::Camera, state.name(), &self.live.vitals.camera().text);
            self.told.camera = state;
        }
        let engine = self.live.vitals.engines.report();
        let has_engine = engine.can_run();
        // While it is being started nobody knows yet.
        if has_engine != self.told.has_engine && (has_engine || engine.reason.is_some()) {
            let reason = engine.reason.as_deref().unwrap_or_default();
            self.note(What::Engine, if has_engine { "up" } else { "down" }, reason);
            self.told.has_engine = has_engine;
        }
    }

    /// An event for the journals.
    fn note(&mut self, what: What, state: &str, text: &str) {
        if let Some(diary) = &mut self.diary {
            let event = EventRecord { time: self.clock.wall(), what, state, text };
            diary.journals.iter_mut().for_each(|journal| journal.event(&event));
        }
    }

    fn close_window(&mut self, now: Instant) {
        let (began, before) = self.window;
        let published = self.counts().published;
        let fps = (published - before) as f64 / now.since(began).as_secs_f64();
        let figures = {
            let mut latency = lock(&self.live.latency);
            latency.catch_up(&self.live.vitals.latency);
            let figures = latency.window.figures();
            latency.window.clear();
            figures
        };
        let median = figures.get(Stage::EndToEnd as usize).and_then(|stage| stage.p50_ms).unwrap_or_default();
        self.live.vitals.set_speed(fps, Duration::from_secs_f64(median / 1e3));
        self.live.close_window(fps, figures);
        if let Some(diary) = &self.diary {
            diary.journals.iter().for_each(|journal| self.live.set_lost(journal.name(), journal.lost()));
        }
        self.window = (now, published);
    }

    /// The lines of the log's interval; the next one begins.
    fn interval_lines(&mut self, now: Instant) -> Vec<String> {
        let counts = self.counts();
        let told = {
            let mut latency = lock(&self.live.latency);
            latency.catch_up(&self.live.vitals.latency);
            let told = self.reporter.lines(now, &counts, &latency.interval);
            latency.interval.clear();
            told
        };
        let board = self.live.board();
        let interval = sensors::Interval { seconds: told.seconds, inferred: told.counts.inferred };
        let mut lines = told.lines;
        if let Some(board) = &board {
            self.live.set_joules_per_frame(sensors::joules_per_frame(board, &self.board_then, told.counts.inferred));
            if !lines.is_empty() {
                lines.extend(sensors::lines(board, &self.board_then, &interval));
            }
        }
        if !lines.is_empty() {
            lines.extend(self.engine_line());
        }
        self.board_then = board.unwrap_or_default();
        lines
    }

    /// None where the CPU alone runs the model and never failed: then there is nothing to tell.
    fn engine_line(&self) -> Option<String> {
        let report = self.live.vitals.engines.report();
        (!report.is_cpu_alone() || report.faults > 0).then(|| report.to_string())
    }

    /// The record of the latency log's interval; the next one begins.
    fn write_interval(&mut self, now: Instant) {
        let Some(diary) = &mut self.diary else { return };
        let vitals = &self.live.vitals;
        let (counts, board) = (vitals.counters.read(), self.live.board());
        let dropped: u64 = vitals.sinks().iter().map(|sink| sink.dropped).sum();
        let engine: EngineReport = vitals.engines.report();
        let joules = board.as_ref().and_then(|board| sensors::joules(board, &diary.board));
        let mut latency = lock(&self.live.latency);
        latency.catch_up(&vitals.latency);
        let record = IntervalRecord {
            time: self.clock.wall(),
            seconds: now.since(diary.since).as_secs_f64(),
            counts: counts.since(&diary.counts),
            dropped: dropped.saturating_sub(diary.dropped),
            latency: &latency.logged,
            board: board.as_ref(),
            joules,
            throttled_seconds: board.as_ref().and_then(|board| board.throttle).map(|_| diary.throttled.as_secs_f64()),
            camera: vitals.camera_state(),
            engine: &engine,
        };
        diary.journals.iter_mut().for_each(|journal| journal.interval(&record));
        latency.logged.clear();
        drop(latency);
        (diary.since, diary.counts, diary.dropped) = (now, counts, dropped);
        diary.board = board.unwrap_or_default();
        diary.throttled = Duration::ZERO;
    }

    /// The record of the unfinished interval, and the end of the run.
    fn close_diary(&mut self) {
        self.write_interval(self.clock.now());
        self.note(What::Stop, "stopped", "");
        let Some(diary) = self.diary.take() else { return };
        for journal in diary.journals {
            let name = journal.name();
            let lost = journal.close(STOP_LIMIT);
            if lost > 0 {
                log::warn!("{name}: {lost} records were lost in this run");
            }
        }
    }

    /// The table of the whole run.
    fn run_lines(&self) -> Vec<String> {
        let elapsed = self.clock.now().since(self.live.started().1);
        let mut latency = lock(&self.live.latency);
        latency.catch_up(&self.live.vitals.latency);
        let mut rows = table(&latency.total, &self.counts(), elapsed);
        rows.extend(self.engine_line());
        rows
    }
}

fn tell(figures: &[String]) {
    for line in figures {
        log::info!(target: FIGURES, "{line}");
    }
}

impl Diary {
    fn new(journals: Vec<Box<dyn Journal>>, every: Duration, now: Instant) -> Self {
        let (counts, throttled) = (Counts::default(), Duration::ZERO);
        Self { journals, every, since: now, counts, dropped: 0, board: Board::default(), throttled, looked: now }
    }

    /// The time since the last look counts by what is seen now.
    fn note_throttling(&mut self, now: Instant, throttle: Option<&Throttle>) {
        if throttle.is_some_and(|throttle| throttle.now.any()) {
            self.throttled += now.since(self.looked);
        }
        self.looked = now;
    }
}

#[cfg(test)]
mod tests;
