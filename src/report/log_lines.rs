//! The program's own log as text, from a file or from journalctl: its lines of figures become the records that a latency log
//! has, less the histograms. `docs/log.md` describes the lines.

use std::borrow::Cow;

use hdrhistogram::Histogram;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::record::{seconds_between, EngineRecord, Frames, Power, Record, StageLine, Throttled};
use crate::telemetry::log_format::{CameraLine, StartLine};
use crate::telemetry::{Counts, Stage};

/// More sensors in one interval are damage.
const MOST_SENSORS: usize = 64;

/// Latency of a stage by all of its lines.
pub(super) struct Told {
    pub(super) n: u64,
    /// The intervals' medians, microseconds.
    p50: Histogram<u64>,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl Told {
    pub(super) const fn new(p50: Histogram<u64>) -> Self {
        Self { n: 0, p50, p99_ms: 0.0, max_ms: 0.0 }
    }

    pub(super) fn p50_ms(&self) -> f64 {
        self.p50.value_at_quantile(0.5) as f64 / 1000.0
    }
}

/// Adds a line to those of its stage in `all`.
pub(super) fn add(all: &mut [Told], line: &StageLine) {
    if let Some(told) = all.get_mut(line.stage) {
        told.n = told.n.saturating_add(line.n);
        told.p50.saturating_record((line.p50_ms * 1000.0).round() as u64);
        (told.p99_ms, told.max_ms) = (told.p99_ms.max(line.p99_ms), told.max_ms.max(line.max_ms));
    }
}

/// What is kept from one line to the next.
#[derive(Debug, Default)]
pub(super) struct LogLines {
    /// Runs so far; each has its number for a name.
    runs: u64,
    /// Of the last line that told something. Without time stamps: the intervals' seconds, from 1970 on.
    time: Timestamp,
    /// The interval whose lines are being read.
    pending: Option<Record<'static>>,
    /// Counted in this run so far, and the seconds of that; None where the log doesn't have the run's start.
    so_far: Option<(Counts, f64)>,
    /// Rows of the table at a run's end.
    table: Option<Vec<StageLine>>,
    is_slowed: Option<bool>,
    slowed_since: Timestamp,
    slowed_seconds: f64,
    /// Lines had no time stamps.
    pub(super) is_untimed: bool,
    /// Time stamps had no year.
    pub(super) is_yearless: bool,
}

impl LogLines {
    /// Takes in a line, and puts what is complete now into `done`. False where the line tells nothing of what a report has.
    pub(super) fn take(&mut self, line: &[u8], done: &mut Vec<Record<'static>>) -> bool {
        if line.first().is_none_or(|byte| *byte == b'{') {
            return false;
        }
        let line = String::from_utf8_lossy(line);
        let Split { time, is_yearless, message } = split(&line);
        let Some(word) = message.split_whitespace().next() else { return false };
        let value = |key: &str| message.split_whitespace().find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        let number = |key: &str| value(key)?.parse().ok().filter(|number: &f64| number.is_finite());
        let now = time.unwrap_or(self.time);
        match word {
            "pspnetd" => {
                let Some(line) = StartLine::read(message) else { return false };
                self.start(now, line.version, done);
            }
            "frames" => {
                let frames = Frames::of(|key| value(key)?.parse().ok());
                let (Some(frames), Some(seconds)) = (frames, number("seconds")) else { return false };
                self.frames(time, frames.into(), seconds, done);
            }
            "stage" if message.contains("p50 ms") => self.table = Some(Vec::new()),
            "latency" => {
                let Some(stage) = value("stage").and_then(stage_of) else { return false };
                let figures = [number("p50_ms"), number("p99_ms"), number("max_ms")];
                if let (Some(record), Some(n), [Some(p50_ms), Some(p99_ms), Some(max_ms)]) =
                    (&mut self.pending, value("n").and_then(|n| n.parse().ok()), figures)
                {
                    record.stages.push(StageLine { stage, n, p50_ms, p99_ms, max_ms });
                }
            }
            "power" if value("rail") == Some("total") => {
                let power = Power { watts: number("watts"), joules: number("joules") };
                if let Some(record) = &mut self.pending {
                    record.power = Some(power);
                }
            }
            "thermal" => {
                let Some(name) = value("sensor") else { return false };
                let pending = self.pending.as_mut().filter(|record| record.celsius.len() < MOST_SENSORS);
                if let Some(record) = pending {
                    record.celsius.insert(name.to_owned(), number("celsius"));
                }
            }
            "engine" => {
                let count = |key| value(key).and_then(|count| count.parse::<u64>().ok());
                let (Some(kind), Some(workers), Some(up)) = (value("kind"), count("workers"), count("up")) else {
                    return false;
                };
                let engine = EngineRecord { kind: kind.to_owned(), workers, up, reason: None };
                if let Some(record) = &mut self.pending {
                    record.engine = Some(engine);
                }
            }
            "throttled" => {
                let Some(causes) = value("now") else { return false };
                self.throttled(now, causes, done);
            }
            "camera:" => {
                let Some(line) = CameraLine::read(message) else { return false };
                let Some((state, text)) = camera_state(line) else { return true };
                done.push(self.event(now, "camera", state, text));
            }
            _ => return self.row(message),
        }
        self.time = self.time.max(now);
        self.is_yearless |= is_yearless;
        true
    }

    /// At the end of a file: what its last interval has.
    pub(super) fn finish(&mut self) -> Option<Record<'static>> {
        self.pending.take()
    }

    fn start(&mut self, now: Timestamp, version: &str, done: &mut Vec<Record<'static>>) {
        done.extend(self.pending.take());
        self.runs += 1;
        (self.so_far, self.table, self.is_slowed) = (Some((Counts::default(), 0.0)), None, None);
        let version = Some(version.to_owned());
        done.push(Record { version, ..self.event(now, "start", "running", "") });
    }

    /// An interval's first line; or the last line of a run's table, which has the counts of the whole run.
    fn frames(&mut self, stamp: Option<Timestamp>, counts: Counts, seconds: f64, done: &mut Vec<Record<'static>>) {
        done.extend(self.pending.take());
        let Some(table) = self.table.take() else {
            if let Some((so_far, covered)) = &mut self.so_far {
                super::timeline::add_counts(so_far, &counts);
                *covered += seconds;
            }
            return self.interval(stamp, counts, seconds, Vec::new());
        };
        // The last, unfinished interval has no lines; its counts are what the whole run has more.
        let rest = self.so_far.take().and_then(|(so_far, covered)| Some((less(counts, so_far)?, covered)));
        if let Some((rest, covered)) = rest.filter(|(rest, _)| *rest != Counts::default()) {
            let table = if covered > 0.0 { Vec::new() } else { table };
            self.interval(stamp, rest, (seconds - covered).max(0.0), table);
        }
        done.extend(self.pending.take());
        let now = stamp.unwrap_or(self.time);
        done.push(self.event(now, "stop", "stopped", ""));
    }

    fn interval(&mut self, stamp: Option<Timestamp>, counts: Counts, seconds: f64, stages: Vec<StageLine>) {
        let length = SignedDuration::try_from_secs_f64(seconds.clamp(0.0, 1e7)).unwrap_or_default();
        let now = stamp.or_else(|| self.time.checked_add(length).ok()).unwrap_or(self.time);
        self.is_untimed |= stamp.is_none();
        self.time = self.time.max(now);
        self.add_slowed(now);
        let slowed = std::mem::take(&mut self.slowed_seconds);
        let throttled = self.is_slowed.map(|_| Throttled { seconds: slowed });
        let is_idle = counts == Counts::default();
        let (frames, seconds) = (Some(counts.into()), Some(seconds));
        let record = self.record(now, "interval");
        // Silent intervals have a line once an hour, so what follows this one may be missing.
        self.pending = Some(Record { frames, seconds, throttled, stages, is_told: true, is_idle, ..record });
    }

    fn throttled(&mut self, now: Timestamp, causes: &str, done: &mut Vec<Record<'static>>) {
        self.add_slowed(now);
        self.is_slowed = (causes != "unknown").then_some(causes != "none");
        done.push(self.event(now, "throttle", causes, ""));
    }

    fn add_slowed(&mut self, now: Timestamp) {
        if self.is_slowed == Some(true) {
            self.slowed_seconds += seconds_between(self.slowed_since, now).max(0.0);
        }
        self.slowed_since = now;
    }

    /// A row of the table at a run's end: stage, frames, p50, p90, p99, max.
    fn row(&mut self, message: &str) -> bool {
        let Some(table) = self.table.as_mut().filter(|table| table.len() < Stage::ALL.len()) else { return false };
        let words: Vec<&str> = message.split_whitespace().collect();
        let &[name, n, p50, _, p99, max] = words.as_slice() else { return false };
        let (Some(stage), Ok(n)) = (stage_of(name), n.parse()) else { return false };
        let ms = |text: &str| text.parse().ok().filter(|ms: &f64| ms.is_finite());
        if let (Some(p50_ms), Some(p99_ms), Some(max_ms)) = (ms(p50), ms(p99), ms(max)) {
            table.push(StageLine { stage, n, p50_ms, p99_ms, max_ms });
        }
        true
    }

    fn event(&self, time: Timestamp, what: &str, state: &str, text: &str) -> Record<'static> {
        let (what, state, text) = (Some(what.to_owned()), Some(state.to_owned()), Some(text.to_owned()));
        Record { what, state, text, ..self.record(time, "event") }
    }

    fn record(&self, time: Timestamp, kind: &'static str) -> Record<'static> {
        Record::new(time, Cow::Borrowed(kind), Cow::Owned(format!("log {}", self.runs.max(1))))
    }
}

/// The state that a line of the camera tells, and what else it says; `None` where the state stays as it was.
fn camera_state(line: CameraLine<'_>) -> Option<(&'static str, &str)> {
    match line {
        CameraLine::Waiting(why) | CameraLine::StillWaiting(why) => Some(("waiting", why)),
        CameraLine::Paused => Some(("paused", "")),
        CameraLine::Damaged(why) => Some(("damaged", why)),
        CameraLine::Running(text) => Some(("running", text)),
        CameraLine::Whole(_) => Some(("running", "")),
        CameraLine::FrameSkipped(_) | CameraLine::FramesDamaged(_) | CameraLine::Resumed => None,
    }
}

fn stage_of(name: &str) -> Option<usize> {
    Stage::ALL.iter().position(|stage| stage.name() == name)
}

/// None where there is less of one of them in `all` than in `part`: then it is no part of that.
fn less(all: Counts, part: Counts) -> Option<Counts> {
    let fields = |it: Counts| {
        [it.frames_in, it.skipped, it.corrupt, it.replaced, it.inferred, it.failed, it.published].into_iter()
    };
    fields(all).zip(fields(part)).all(|(all, part)| all >= part).then(|| all.since(&part))
}

/// A line's parts.
struct Split<'a> {
    time: Option<Timestamp>,
    is_yearless: bool,
    message: &'a str,
}

/// When a line was written, where it says that.
pub(super) fn time_of(line: &[u8]) -> Option<Timestamp> {
    split(&String::from_utf8_lossy(line)).time
}

/// The time stamp and the message of a line: of the program's own (`[2026-11-22T22:16:25.941Z INFO ] …`), of journalctl's
/// `short-iso` and `short`, or of none (`cat`).
fn split(line: &str) -> Split<'_> {
    let whole = Split { time: None, is_yearless: false, message: line };
    if let Some((head, message)) = line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        return Split { time: head.split(' ').next().and_then(|time| time.parse().ok()), message, ..whole };
    }
    // `<6>` of standard error under systemd.
    let line = line.strip_prefix('<').and_then(|rest| rest.split_once('>')).map_or(line, |(_, message)| message);
    let first = line.split(' ').next().unwrap_or("");
    let (time, is_yearless) = match first.parse() {
        Ok(time) => (Some(time), false),
        Err(_) => (line.get(..15).and_then(without_year), true),
    };
    // Board and program stand before the message: `pi pspnetd[77]: `.
    let Some((_, message)) = line.split_once(": ").filter(|_| time.is_some()) else {
        return Split { message: line, ..whole };
    };
    Split { time, is_yearless, message }
}

/// `Nov 22 22:16:25`, in the last of the years in which that lies before tomorrow.
fn without_year(text: &str) -> Option<Timestamp> {
    let now = Timestamp::now();
    let latest = now.checked_add(SignedDuration::from_hours(24)).unwrap_or(now);
    let year = TimeZone::UTC.to_datetime(latest).year();
    let words: Vec<&str> = text.split_whitespace().collect();
    (0..8).find_map(|back| {
        let dated = format!("{} {}", year - back, words.join(" "));
        let time = DateTime::strptime("%Y %b %d %H:%M:%S", dated).ok()?;
        TimeZone::UTC.to_timestamp(time).ok().filter(|time| *time <= latest)
    })
}

#[cfg(test)]
mod tests;
