//! The running program as others see it: puts [`State`] together from what the threads leave behind.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::clock::{Clock, Instant};
use base::logging;
use base::outbox::{Closing, OutboxHealth};
use base::rounding::rounded;
use base::sync::lock;
use jiff::Timestamp;
use model::{CurrentEdition, Edition};
use pixels::frame::Size;
use pixels::segment::Summary;

use crate::pipeline::Vitals;
use crate::publish::Sink;
use crate::scene::{Areas, Outcome};
use crate::telemetry::sensors::Board;
use crate::telemetry::state::{
    Area, CameraState, Class, EngineState, History, LastResult, Model, Observe, Program, Series, SinkState,
    StageBuckets, StageFigures, State,
};
use crate::telemetry::{EngineReport, HistogramError, Latency};

/// Results that are older than this are no sign of life, unless they come more rarely by themselves.
const STALE: Duration = Duration::from_secs(10);
/// A thread that has not gone round its loop for so long hangs.
const HANGS: Duration = Duration::from_secs(30);

/// What the threads leave for those who look.
pub(super) struct Live {
    pub(super) vitals: Arc<Vitals>,
    pub(super) latency: Mutex<Latency>,
    clock: Arc<dyn Clock>,
    started: (Timestamp, Instant),
    editions: CurrentEdition,
    seen: Arc<Seen>,
    /// The last look, and until when it tells of the present.
    board: Mutex<Option<(Board, Instant)>>,
    present: Mutex<Present>,
    /// A result that is older than this is a reason not to be ready.
    stale: Duration,
}

/// What the monitor works out now and then.
#[derive(Debug, Default)]
struct Present {
    fps: Option<f64>,
    figures: Vec<StageFigures>,
    joules_per_frame: Option<f64>,
    /// Records that each journal has lost.
    lost: Vec<SinkState>,
    points: VecDeque<Point>,
}

/// One point of the history.
#[derive(Clone, Debug, Default)]
struct Point {
    time: f64,
    /// By class id; empty where nothing was published since the point before.
    shares: Vec<f64>,
    fps: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    watts: Option<f64>,
    soc_celsius: Option<f64>,
}

impl Live {
    pub(super) fn new(
        vitals: Arc<Vitals>,
        clock: Arc<dyn Clock>,
        editions: CurrentEdition,
        frame_time: Duration,
    ) -> Result<Self, HistogramError> {
        Ok(Self {
            started: (clock.wall(), clock.now()),
            latency: Mutex::new(Latency::new()?),
            vitals,
            clock,
            editions,
            seen: Arc::default(),
            board: Mutex::default(),
            present: Mutex::default(),
            stale: STALE.max(frame_time * 3),
        })
    }

    /// The sink that notes every result for the state.
    pub(super) fn sink(&self) -> SeenSink {
        SeenSink::new(Arc::clone(&self.seen), Arc::clone(&self.clock))
    }

    pub(super) fn started(&self) -> (Timestamp, Instant) {
        self.started
    }

    /// Notes a look at the board, which is of the present `until` then.
    pub(super) fn set_board(&self, board: Board, until: Instant) {
        *lock(&self.board) = Some((board, until));
    }

    /// The board now; what was known of it is unknown where no look came for too long.
    pub(super) fn board(&self) -> Option<Board> {
        let (board, until) = lock(&self.board).clone()?;
        Some(if self.clock.now() > until { board.forgotten() } else { board })
    }

    /// True where the looks at the board have stopped.
    pub(super) fn is_board_lost(&self) -> bool {
        lock(&self.board).as_ref().is_some_and(|(_, until)| self.clock.now() > *until)
    }

    pub(super) fn set_joules_per_frame(&self, joules: Option<f64>) {
        lock(&self.present).joules_per_frame = joules;
    }

    /// Notes how many records the journal called `name` has lost so far.
    pub(super) fn set_lost(&self, name: &'static str, dropped: u64) {
        let mut present = lock(&self.present);
        match present.lost.iter_mut().find(|journal| journal.name == name) {
            Some(journal) => journal.dropped = dropped,
            None => present.lost.push(SinkState { name: name.to_owned(), dropped }),
        }
    }

    /// Notes what the last window brought, `fps` results per second with these times, as the newest point of the history.
    pub(super) fn close_window(&self, fps: f64, figures: Vec<StageFigures>) {
        let board = self.board();
        let end_to_end = figures.last();
        let mut point = Point {
            time: self.clock.wall().as_millisecond() as f64 / 1e3,
            shares: Vec::new(),
            fps: Some(rounded(fps, 100.0)),
            p50_ms: end_to_end.and_then(|stage| stage.p50_ms),
            p99_ms: end_to_end.and_then(|stage| stage.p99_ms),
            watts: board.as_ref().and_then(|board| board.watts),
            soc_celsius: board.as_ref().and_then(Board::soc_celsius),
        };
        if fps > 0.0 {
            if let Some(seen) = self.seen.last() {
                let share = |class| rounded(seen.summary.area(class), 1e4);
                point.shares = (0..seen.edition.labels.len()).map(share).collect();
            }
        }
        let mut present = lock(&self.present);
        present.fps = Some(fps);
        present.figures = figures;
        if present.points.len() == History::POINTS {
            present.points.pop_front();
        }
        present.points.push_back(point);
    }

    fn last_result(&self, now: Instant) -> Option<LastResult> {
        let seen = self.seen.last()?;
        let labels = &seen.edition.labels;
        let area = |(name, share): (&str, f64)| Area { name: name.to_owned(), share };
        Some(LastResult {
            sequence: seen.sequence,
            time: seen.time,
            age_seconds: now.since(seen.published).as_secs_f64(),
            width: seen.size.width,
            height: seen.size.height,
            confidence: seen.summary.confidence.map(|confidence| rounded(f64::from(confidence), 1e4)),
            classes: seen.areas.classes(labels).map(area).collect(),
            groups: seen.areas.groups(labels).map(area).collect(),
        })
    }

    /// Why no results come, as far as that is known; empty where they do.
    fn reasons(&self, now: Instant) -> Vec<String> {
        let camera = self.vitals.camera();
        let last = lock(&self.seen.0).as_ref().map(|seen| now.since(seen.published));
        let mut reasons = Vec::new();
        match camera.state {
            CameraState::Running => {}
            CameraState::Opening => reasons.push("the camera is being opened".to_owned()),
            CameraState::Damaged => reasons.push(format!("camera: damaged: {}", camera.text)),
            CameraState::Waiting => reasons.push(format!("camera: waiting: {}", camera.text)),
            CameraState::Paused => reasons.push("camera: paused".to_owned()),
        }
        match last {
            None => reasons.push("no result yet".to_owned()),
            Some(age) if age > self.stale => reasons.push(format!("no result for {:.0} s", age.as_secs_f64())),
            Some(_) => return reasons,
        }
        let engine = self.vitals.engines.report();
        if engine.up < engine.workers || !engine.can_run() {
            reasons.extend(self.vitals.engines.status());
        }
        reasons
    }

    /// Where results go, and journals, which may be sinks as well.
    fn sinks(&self, journals: Vec<SinkState>) -> Vec<SinkState> {
        let mut sinks = self.vitals.sinks();
        for journal in journals {
            match sinks.iter_mut().find(|sink| sink.name == journal.name) {
                Some(sink) => sink.dropped += journal.dropped,
                None => sinks.push(journal),
            }
        }
        sinks
    }

    fn classes(&self) -> Vec<Class> {
        let seen = self.seen.last();
        let edition = self.editions.now();
        let labels = &edition.labels;
        let occurs = |id: usize| seen.as_ref().is_some_and(|seen| seen.summary.counts[id] > 0);
        let names = (0..=u8::MAX).zip(labels.names());
        let shown = names.filter(|(id, _)| labels.is_known() || occurs(usize::from(*id)));
        let class = |(id, name): (u8, &String)| {
            let [red, green, blue] = labels.color(id);
            Class { id, name: name.clone(), color: format!("#{red:02x}{green:02x}{blue:02x}") }
        };
        shown.map(class).collect()
    }
}

impl Observe for Live {
    fn state(&self) -> State {
        let now = self.clock.now();
        let reasons = self.reasons(now);
        let present = lock(&self.present);
        let figures =
            if present.figures.is_empty() { lock(&self.latency).window.figures() } else { present.figures.clone() };
        let (fps, joules_per_frame, journals) = (present.fps, present.joules_per_frame, present.lost.clone());
        drop(present);
        State {
            program: Program {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                started: self.started.0,
                uptime_seconds: now.since(self.started.1).as_secs_f64(),
            },
            time: self.clock.wall(),
            ready: reasons.is_empty(),
            reasons,
            model: Model { name: self.editions.now().name.clone(), classes: self.classes() },
            camera: self.vitals.camera(),
            engine: engine(&self.vitals.engines.report()),
            fps,
            frames: self.vitals.counters.read(),
            latency: figures,
            result: self.last_result(now),
            board: self.board(),
            joules_per_frame,
            sinks: self.sinks(journals),
            events: logging::last_lines(),
        }
    }

    fn history(&self) -> History {
        let present = lock(&self.present);
        let mut history = History::default();
        let points = &present.points;
        history.times = points.iter().map(|point| point.time).collect();
        history.fps = points.iter().map(|point| point.fps).collect();
        history.end_to_end_p50_ms = points.iter().map(|point| point.p50_ms).collect();
        history.end_to_end_p99_ms = points.iter().map(|point| point.p99_ms).collect();
        history.watts = points.iter().map(|point| point.watts).collect();
        history.soc_celsius = points.iter().map(|point| point.soc_celsius).collect();
        let series = |class: Class| Series {
            values: points.iter().map(|point| point.shares.get(usize::from(class.id)).copied()).collect(),
            name: class.name,
        };
        history.classes = self.classes().into_iter().map(series).collect();
        history
    }

    fn buckets(&self, bounds: &[f64]) -> Vec<StageBuckets> {
        let mut latency = lock(&self.latency);
        latency.catch_up(&self.vitals.latency);
        latency.buckets(bounds)
    }

    fn liveness(&self) -> Result<(), String> {
        let (stage, silence) = self.vitals.beats.slowest(self.clock.now());
        if silence > HANGS {
            return Err(format!("the {stage} stage has not answered for {:.0} s", silence.as_secs_f64()));
        }
        Ok(())
    }
}

fn engine(report: &EngineReport) -> EngineState {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    EngineState {
        kind: report.kind.to_owned(),
        workers: count(report.workers),
        up: count(report.up),
        reason: report.reason.as_deref().map(str::to_owned),
        faults: report.faults,
        starts: report.starts,
        fallback_frames: report.fallback_frames,
    }
}

/// The last result; None before the first.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Option<LastSeen>>);

impl Seen {
    /// A copy, so that the publish thread, which comes first, never waits for more than that.
    fn last(&self) -> Option<LastSeen> {
        lock(&self.0).clone()
    }
}

#[derive(Clone, Debug)]
struct LastSeen {
    edition: Arc<Edition>,
    sequence: u64,
    time: Timestamp,
    published: Instant,
    size: Size,
    summary: Summary,
    areas: Areas,
}

/// The publish thread's half: notes every result, which costs a copy of its figures.
pub(super) struct SeenSink {
    seen: Arc<Seen>,
    clock: Arc<dyn Clock>,
}

impl SeenSink {
    pub(super) fn new(seen: Arc<Seen>, clock: Arc<dyn Clock>) -> Self {
        Self { seen, clock }
    }
}

impl Sink for SeenSink {
    fn name(&self) -> &'static str {
        "state"
    }

    fn is_onlooker(&self) -> bool {
        true
    }

    fn publish(&mut self, outcome: &Outcome) {
        let published = self.clock.now();
        let mut seen = lock(&self.seen.0);
        let seen = seen.get_or_insert_with(|| LastSeen {
            edition: Arc::clone(&outcome.edition),
            sequence: 0,
            time: outcome.time,
            published,
            size: outcome.size,
            summary: Summary::default(),
            areas: Areas::default(),
        });
        seen.edition = Arc::clone(&outcome.edition);
        (seen.sequence, seen.time, seen.published, seen.size) =
            (outcome.sequence, outcome.time, published, outcome.size);
        // Into the buffers that are there.
        seen.summary.clone_from(&outcome.summary);
        seen.areas.clone_from(&outcome.areas);
    }

    fn health(&self) -> OutboxHealth {
        OutboxHealth::default()
    }

    fn close(self: Box<Self>, _closing: Closing) -> OutboxHealth {
        OutboxHealth::default()
    }
}

#[cfg(test)]
mod tests;
