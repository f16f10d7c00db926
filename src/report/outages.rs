//! When nothing came, and why: the daemon was not running, the camera or the engine was away, the board was throttled, records
//! are missing. Put together from events, and from the records of intervals where events were lost.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::record::{seconds_between, shown, Record};

/// A longer hole between two records of a run means that something is missing, in seconds; with a tenth of the interval.
const HOLE: f64 = 2.0;
/// More of them are only counted.
const MOST: usize = 20_000;

/// A time in which something was not as it should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Outage {
    pub(super) kind: Kind,
    pub(super) from: Timestamp,
    /// None where it lasted when the log ended.
    pub(super) to: Option<Timestamp>,
    /// Seconds of it that are known of.
    pub(super) seconds: f64,
    pub(super) text: String,
}

/// What an outage is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// The program was not running.
    Daemon,
    /// The camera was waited for.
    Camera,
    /// The camera was closed on purpose.
    Paused,
    /// No worker was up.
    Engine,
    /// The board was slowed down.
    Throttled,
    /// Records are missing.
    Missing,
    /// The clock was set, or the board slept: the wall clock's jump.
    Clock,
}

impl Kind {
    /// All, in the order of the plot.
    pub(super) const ALL: [Self; 7] =
        [Self::Daemon, Self::Camera, Self::Paused, Self::Engine, Self::Throttled, Self::Missing, Self::Clock];

    /// In words.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Daemon => "daemon not running",
            Self::Camera => "camera away",
            Self::Paused => "paused",
            Self::Engine => "engine down",
            Self::Throttled => "throttled",
            Self::Missing => "records missing",
            Self::Clock => "clock jumped",
        }
    }

    /// The same for narrow places.
    pub(super) const fn short_name(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::Camera => "camera",
            Self::Paused => "paused",
            Self::Engine => "engine",
            Self::Throttled => "throttled",
            Self::Missing => "no record",
            Self::Clock => "clock",
        }
    }
}

/// A run of the program.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Run {
    pub(super) run: String,
    pub(super) host: String,
    pub(super) version: String,
    pub(super) model: String,
    pub(super) engine: String,
    /// Of its first record.
    pub(super) from: Timestamp,
    /// Of its last.
    pub(super) to: Timestamp,
    /// It told its end.
    pub(super) is_stopped: bool,
    #[serde(skip)]
    tracked: Tracked,
}

/// What is open in a run, and where it came to.
#[derive(Clone, Debug, Default)]
struct Tracked {
    open: BTreeMap<Kind, (Timestamp, String)>,
    last_uptime: Option<f64>,
    last_end: Option<Timestamp>,
    stop: String,
}

/// Every run and every outage so far.
#[derive(Debug, Default)]
pub(super) struct Outages {
    runs: BTreeMap<String, Run>,
    ended: Vec<Outage>,
    /// Outages that were too many to be kept.
    pub(super) uncounted: u64,
}

impl Outages {
    /// Takes in a record of any kind. Records of one run come in order.
    pub(super) fn take(&mut self, record: &Record<'_>) {
        let Record { time, .. } = *record;
        if !self.runs.contains_key(record.run.as_ref()) {
            self.runs.insert(record.run.to_string(), Run::new(shown(&record.run), time));
        }
        let Some(run) = self.runs.get_mut(record.run.as_ref()) else { return };
        run.to = run.to.max(time);
        let ended = &mut self.ended;
        let mut end = |outage: Outage| if ended.len() < MOST { ended.push(outage) } else { self.uncounted += 1 };
        match record.kind.as_ref() {
            "interval" => run.interval(record, &mut end),
            "event" => run.event(record, &mut end),
            _ => {}
        }
    }

    /// All runs and outages, by time; what is open in a run ends with it.
    pub(super) fn finish(mut self) -> (Vec<Run>, Vec<Outage>) {
        let mut runs: Vec<Run> = std::mem::take(&mut self.runs).into_values().collect();
        runs.sort_by_key(|run| (run.from, run.to));
        let mut all = self.ended;
        let mut last: BTreeMap<&str, &Run> = BTreeMap::new();
        for run in &runs {
            if let Some(before) = last.get(run.host.as_str()) {
                all.extend(not_running(before, run));
            }
            let is_later = last.get(run.host.as_str()).is_none_or(|before| before.to <= run.to);
            if is_later {
                last.insert(&run.host, run);
            }
        }
        for run in &runs {
            // What was open when a run ended lasted no longer than that, unless it is the last of its board.
            let is_last = last.get(run.host.as_str()).is_some_and(|last| std::ptr::eq(*last, run));
            let to = (!is_last).then_some(run.to);
            let open = run.tracked.open.iter().map(|(&kind, (from, text))| (kind, *from, text.clone()));
            all.extend(open.map(|(kind, from, text)| {
                let seconds = seconds_between(from, run.to);
                Outage { kind, from, to, seconds, text }
            }));
        }
        all.sort_by_key(|outage| (outage.from, outage.kind));
        (runs, all)
    }
}

/// Between two runs of one board.
fn not_running(before: &Run, run: &Run) -> Option<Outage> {
    let seconds = seconds_between(before.to, run.from);
    let text = match (&before.tracked.stop, before.is_stopped) {
        (stop, true) if !stop.is_empty() => format!("stopped: {stop}"),
        (_, true) => "stopped".to_owned(),
        (_, false) => "ended without a word after this time: power cut, crash, or killed".to_owned(),
    };
    let outage = Outage { kind: Kind::Daemon, from: before.to, to: Some(run.from), seconds, text };
    (seconds >= 0.0).then_some(outage)
}

impl Run {
    fn new(run: String, time: Timestamp) -> Self {
        let (host, version, model, engine) = Default::default();
        let (is_stopped, tracked) = Default::default();
        Self { run, host, version, model, engine, from: time, to: time, is_stopped, tracked }
    }

    fn interval(&mut self, record: &Record<'_>, end: &mut impl FnMut(Outage)) {
        let seconds = record.seconds.unwrap_or(0.0);
        let begin = seconds_before(record.time, seconds);
        if self.from == record.time {
            // The run's first record: what stood before was in another file.
            self.from = begin;
            self.tracked.last_end = None;
        }
        self.find_hole(record, begin, seconds, end);
        self.tracked.last_end = (!record.is_idle).then_some(record.time);
        self.tracked.last_uptime = record.uptime;
        if let Some(engine) = &record.engine {
            if self.engine.is_empty() {
                self.engine = shown(&engine.kind);
            }
            if engine.workers > 0 {
                let reason = engine.reason.as_deref().unwrap_or("");
                self.set(Kind::Engine, engine.up == 0, begin, record.time, reason, end);
            }
        }
        if let Some(camera) = &record.camera {
            self.set(
                Kind::Camera,
                matches!(camera.as_str(), "waiting" | "opening" | "damaged"),
                begin,
                record.time,
                "",
                end,
            );
            self.set(Kind::Paused, camera == "paused", begin, record.time, "", end);
        }
    }

    /// Records that are missing before this one, and jumps of the wall clock.
    fn find_hole(&self, record: &Record<'_>, begin: Timestamp, seconds: f64, end: &mut impl FnMut(Outage)) {
        let Some(last_end) = self.tracked.last_end else { return };
        let by_clock = seconds_between(last_end, begin);
        let by_uptime = match (self.tracked.last_uptime, record.uptime) {
            (Some(last), Some(uptime)) => uptime - seconds - last,
            _ => by_clock,
        };
        let least = HOLE + seconds / 10.0;
        if by_uptime > least {
            let text = "lost, or damaged in the file".to_owned();
            end(Outage { kind: Kind::Missing, from: last_end, to: Some(begin), seconds: by_uptime, text });
        }
        let jump = by_clock - by_uptime;
        if jump.abs() > least {
            let how = if jump > 0.0 { "set forward, or the board slept" } else { "set back" };
            let (from, to) = (last_end.min(begin), last_end.max(begin));
            end(Outage { kind: Kind::Clock, from, to: Some(to), seconds: jump.abs(), text: how.to_owned() });
        }
    }

    fn event(&mut self, record: &Record<'_>, end: &mut impl FnMut(Outage)) {
        let time = record.time;
        let state = record.state.as_deref().unwrap_or("");
        let text = shown(record.text.as_deref().unwrap_or(""));
        match record.what.as_deref().unwrap_or("") {
            "start" => {
                let known = |value: &Option<String>| shown(value.as_deref().unwrap_or(""));
                (self.host, self.version, self.model) =
                    (known(&record.host), known(&record.version), known(&record.model));
                self.engine = record.engine.as_ref().map(|engine| shown(&engine.kind)).unwrap_or_default();
                self.tracked.last_end = Some(time);
                self.tracked.last_uptime = record.uptime;
            }
            "stop" => {
                self.is_stopped = true;
                self.tracked.stop = text;
            }
            // `opening` goes on with what was before.
            "camera" if state != "opening" => {
                self.set(Kind::Camera, matches!(state, "waiting" | "damaged"), time, time, &text, end);
                self.set(Kind::Paused, state == "paused", time, time, &text, end);
            }
            "engine" => self.set(Kind::Engine, state == "down", time, time, &text, end),
            // Who can't tell any more says nothing of throttling.
            "throttle" => {
                self.set(Kind::Throttled, !matches!(state, "none" | "unknown"), time, time, &shown(state), end);
            }
            _ => {}
        }
    }

    /// From here on it is so, or no more: `begin` is when that may have begun, `time` when it was said.
    fn set(
        &mut self,
        kind: Kind,
        is_so: bool,
        begin: Timestamp,
        time: Timestamp,
        text: &str,
        end: &mut impl FnMut(Outage),
    ) {
        let open = &mut self.tracked.open;
        match (is_so, open.contains_key(&kind)) {
            (true, false) => {
                open.insert(kind, (begin, shown(text)));
            }
            (true, true) => {
                if let Some((_, known)) = open.get_mut(&kind).filter(|(_, known)| known.is_empty()) {
                    *known = shown(text);
                }
            }
            (false, true) => {
                if let Some((from, text)) = open.remove(&kind) {
                    let seconds = seconds_between(from, time).max(0.0);
                    end(Outage { kind, from, to: Some(time.max(from)), seconds, text });
                }
            }
            (false, false) => {}
        }
    }
}

fn seconds_before(time: Timestamp, seconds: f64) -> Timestamp {
    let seconds = if seconds.is_finite() { seconds.clamp(0.0, 1e9) } else { 0.0 };
    time.checked_sub(jiff::SignedDuration::from_secs_f64(seconds)).unwrap_or(time)
}

#[cfg(test)]
mod tests;
