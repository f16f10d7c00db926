//! Everything that is kept of a log while it is read, line by line: memory that doesn't grow with its length.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use base::failure::{Failure, Kind};
use hdrhistogram::Histogram;
use jiff::Timestamp;

use super::files::{self, Found, Input};
use super::hdr;
use super::log_lines::{self, LogLines, Told};
use super::outages::Outages;
use super::record::{shown, Record};
use super::timeline::{add_counts, higher, Timeline};
use crate::telemetry::{Counts, Stage};

const HIGHEST_US: u64 = 3_600_000_000;
/// A file that has so much without one record is no log.
const FOREIGN_BYTES: u64 = 16 << 20;
/// More sensors than this are damage.
const MOST_SENSORS: usize = 64;

/// Which part of the log counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Range {
    /// Intervals that end later than this.
    pub from: Option<Timestamp>,
    /// Intervals that end at this time or earlier.
    pub to: Option<Timestamp>,
}

impl Range {
    /// True where a record of this time counts.
    pub(super) fn contains(&self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| time > from) && self.to.is_none_or(|to| time <= to)
    }
}

/// What a log says.
pub(super) struct Summary {
    pub(super) range: Range,
    /// By stage, microseconds.
    pub(super) latency: Vec<Histogram<u64>>,
    /// By stage, as lines of the text log tell it.
    pub(super) told: Vec<Told>,
    pub(super) counts: Counts,
    pub(super) dropped: u64,
    pub(super) intervals: u64,
    /// Of these, intervals of the text log.
    pub(super) told_intervals: u64,
    pub(super) frame_records: u64,
    /// Seconds that the records of intervals cover.
    pub(super) seconds: f64,
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
    pub(super) joules: f64,
    /// Seconds in which joules were known, and frames of those.
    pub(super) joule_seconds: f64,
    pub(super) joule_frames: u64,
    pub(super) most_watts: Option<f64>,
    /// By sensor: sum and number of values, and the highest.
    pub(super) celsius: BTreeMap<String, (f64, u64, f64)>,
    pub(super) throttled_seconds: Option<f64>,
    pub(super) timeline: Timeline,
    pub(super) outages: Outages,
    pub(super) files: Vec<String>,
    /// What is wrong with the files, in words.
    pub(super) remarks: Vec<String>,
    pub(super) log_lines: LogLines,
    buffer: Vec<u8>,
    /// Stage, counter, value and count of a record's histograms: all of them are good before one is added.
    values: Vec<(usize, usize, u64, u64)>,
}

impl Summary {
    /// Reads the logs that `paths` name, with the files that were rotated away from them.
    ///
    /// # Errors
    /// When a file isn't there, can't be read, or none has a record.
    pub(super) fn read(paths: &[PathBuf], range: Range) -> Result<Self, Failure> {
        let mut summary = Self::new(range)?;
        let mut seen = HashSet::new();
        let mut logs = Vec::new();
        for path in paths {
            let mut inputs = files::open(path, &mut seen)?.into_iter();
            let mut line = Vec::new();
            // By the time of the first record, so that the order of the names doesn't matter.
            let Some(mut first) = inputs.next() else { continue };
            let found = first.next(&mut line).map_err(|error| failed(&first.name, &error))?;
            let record = serde_json::from_slice::<Record<'_>>(&line);
            let time = record.map_or_else(|_| log_lines::time_of(&line), |record| Some(record.time));
            let begun = if first.put_away() { None } else { Some((found, line)) };
            logs.push((time, (first, begun), inputs.map(|input| (input, None)).collect::<Vec<_>>()));
        }
        logs.sort_by_key(|(time, ..)| *time);
        for (_, first, rest) in logs {
            for (input, begun) in std::iter::once(first).chain(rest) {
                summary.read_file(input, begun)?;
            }
        }
        if summary.intervals == 0 && summary.files.is_empty() {
            let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            return Err(Failure::new(Kind::Data, format!("{}: no records: the log is empty", names.join(", "))));
        }
        if summary.intervals == 0 && (range.from.is_some() || range.to.is_some()) {
            let reason = "no interval of these logs ends in the time that --from and --to leave";
            return Err(Failure::new(Kind::Data, reason));
        }
        Ok(summary)
    }

    fn new(range: Range) -> Result<Self, Failure> {
        let histogram = || Histogram::new_with_max(HIGHEST_US, 3);
        let latency = Stage::ALL.iter().map(|_| histogram()).collect::<Result<_, _>>();
        let told = Stage::ALL.iter().map(|_| histogram().map(Told::new)).collect::<Result<_, _>>();
        let bounds = |_| Failure::new(Kind::Software, "latency histograms can't be made");
        Ok(Self {
            range,
            latency: latency.map_err(bounds)?,
            told: told.map_err(bounds)?,
            counts: Counts::default(),
            dropped: 0,
            intervals: 0,
            told_intervals: 0,
            frame_records: 0,
            seconds: 0.0,
            from: None,
            to: None,
            joules: 0.0,
            joule_seconds: 0.0,
            joule_frames: 0,
            most_watts: None,
            celsius: BTreeMap::new(),
            throttled_seconds: None,
            timeline: Timeline::default(),
            outages: Outages::default(),
            files: Vec::new(),
            remarks: Vec::new(),
            log_lines: LogLines::default(),
            buffer: Vec::new(),
            values: Vec::new(),
        })
    }

    fn read_file(&mut self, mut input: Input, begun: Option<(Found, Vec<u8>)>) -> Result<(), Failure> {
        let mut tally = Tally::default();
        let (mut found, mut line) = match begun {
            Some(begun) => begun,
            None => {
                let mut line = Vec::new();
                (input.next(&mut line).map_err(|error| failed(&input.name, &error))?, line)
            }
        };
        while found != Found::End {
            tally.number += 1;
            tally.lines += u64::from(found == Found::TooLong || !line.is_empty());
            tally.bytes += line.len() as u64 + 1;
            match found {
                Found::TooLong => {
                    tally.damaged("it is longer than 1 MiB");
                    tally.bytes += 1 << 20;
                    tally.bytes += input.skip_line(FOREIGN_BYTES).map_err(|error| failed(&input.name, &error))?;
                }
                _ if line.is_empty() => {}
                Found::Line if self.take_log_line(&line) => {
                    (tally.records, tally.has_log_lines) = (tally.records + 1, true);
                }
                _ => match self.take(&line) {
                    Ok(()) => tally.records += 1,
                    // Cut off by a power cut, or just being written.
                    Err(_) if found == Found::Torn && tally.records > 0 => tally.torn = true,
                    // The text log says much else.
                    Err(why) if line.first() != Some(&b'{') => tally.other(&why),
                    Err(why) => tally.damaged(&why),
                },
            }
            if tally.records == 0 && tally.bytes > FOREIGN_BYTES {
                break;
            }
            found = input.next(&mut line).map_err(|error| failed(&input.name, &error))?;
        }
        if let Some(record) = self.log_lines.finish() {
            self.take_told(&record);
        }
        self.conclude(&input.name, tally.concluded())
    }

    fn conclude(&mut self, name: &str, tally: Tally) -> Result<(), Failure> {
        if tally.records == 0 && tally.lines > 0 {
            let (number, why) = tally.first_damage.unwrap_or_default();
            let lines = if tally.lines == 1 { "line" } else { "lines" };
            let what = format!("no latency log: none of {} {lines} is a record; line {number}: {why}", tally.lines);
            return Err(Failure::new(Kind::Data, format!("{name}: {what}")));
        }
        if tally.records == 0 {
            self.remarks.push(format!("{name}: empty"));
            return Ok(());
        }
        self.files.push(name.to_owned());
        if let Some((number, why)) = &tally.first_damage {
            let n = tally.damaged;
            let lines = if n == 1 { "line is" } else { "lines are" };
            self.remarks.push(format!("{name}: {n} damaged {lines} left out; the first, line {number}: {why}"));
        }
        if tally.torn {
            self.remarks
                .push(format!("{name}: the last line has no end (a power cut, or it is being written); left out"));
        }
        Ok(())
    }

    /// Takes in a line of the text log. False where it is none that tells of figures.
    fn take_log_line(&mut self, line: &[u8]) -> bool {
        let mut done = Vec::new();
        let is_one = self.log_lines.take(line, &mut done);
        done.iter().for_each(|record| self.take_told(record));
        is_one
    }

    /// Takes in what lines of the text log told.
    fn take_told(&mut self, record: &Record<'_>) {
        if record.is_told {
            // An interval of impossible length is no record.
            if self.range.contains(record.time) && self.interval(record).is_err() {
                return;
            }
        }
        self.outages.take(record);
    }

    /// Takes in one line of a latency log.
    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        let record: Record<'_> = serde_json::from_slice(line).map_err(|error| described(line, &error))?;
        match record.kind.as_ref() {
            "interval" => {
                if self.range.contains(record.time) {
                    self.interval(&record)?;
                }
            }
            "frame" => {
                self.frame_records += u64::from(self.range.contains(record.time));
                return Ok(());
            }
            "event" => {}
            kind => return Err(format!("kind \"{}\" is none that this version knows", shown(kind))),
        }
        self.outages.take(&record);
        Ok(())
    }

    fn interval(&mut self, record: &Record<'_>) -> Result<(), String> {
        let seconds = record.seconds.filter(|seconds| (0.0..1e7).contains(seconds));
        let seconds = seconds.ok_or("an interval without its length, or with an impossible one")?;
        let counts = Counts::from(record.frames.unwrap_or_default());
        let time = record.time.as_microsecond() as f64 / 1e6;
        let Self { values, buffer, .. } = self;
        values.clear();
        for (stage, text) in record.latency.stages().into_iter().enumerate().filter(|(_, text)| !text.is_empty()) {
            hdr::read(text, buffer, |index, value, count| values.push((stage, index, value, count)))?;
        }
        let slot = self.timeline.slot(time, seconds);
        for &(stage, index, value, count) in &*values {
            self.latency[stage].saturating_record_n(value, count);
            slot.latency[stage].add(index, count);
        }
        record.stages.iter().for_each(|line| log_lines::add(&mut self.told, line));
        self.told_intervals += u64::from(record.is_told);
        self.intervals += 1;
        self.seconds += seconds;
        slot.seconds += seconds;
        add_counts(&mut self.counts, &counts);
        add_counts(&mut slot.counts, &counts);
        self.dropped = self.dropped.saturating_add(record.dropped);
        slot.dropped = slot.dropped.saturating_add(record.dropped);
        let begin = record.time.checked_sub(jiff::SignedDuration::from_secs_f64(seconds)).unwrap_or(record.time);
        self.from = Some(self.from.map_or(begin, |from| from.min(begin)));
        self.to = Some(self.to.map_or(record.time, |to| to.max(record.time)));
        if let Some(power) = &record.power {
            let mean = power.joules.filter(|_| seconds > 0.0).map(|joules| joules / seconds);
            let most = higher(mean, power.watts);
            (self.most_watts, slot.most_watts) = (higher(self.most_watts, most), higher(slot.most_watts, most));
            if let Some(joules) = power.joules {
                self.joules += joules;
                self.joule_seconds += seconds;
                self.joule_frames = self.joule_frames.saturating_add(counts.inferred);
                slot.joules += joules;
                slot.joule_seconds += seconds;
            }
        }
        for (name, celsius) in record.celsius.iter().filter_map(|(name, value)| Some((name, (*value)?))) {
            if self.celsius.len() < MOST_SENSORS || self.celsius.contains_key(name) {
                let (sum, n, most) = self.celsius.entry(shown(name)).or_insert((0.0, 0, f64::MIN));
                (*sum, *n, *most) = (*sum + celsius, *n + 1, most.max(celsius));
                let (sum, n, most) = slot.celsius.entry(shown(name)).or_insert((0.0, 0, f64::MIN));
                (*sum, *n, *most) = (*sum + celsius, *n + 1, most.max(celsius));
            }
        }
        if let Some(throttled) = &record.throttled {
            *self.throttled_seconds.get_or_insert(0.0) += throttled.seconds;
        }
        Ok(())
    }
}

/// How a file's lines were.
#[derive(Default)]
struct Tally {
    /// Of the line that was read last.
    number: u64,
    /// Lines that are not empty.
    lines: u64,
    bytes: u64,
    records: u64,
    damaged: u64,
    /// The first damaged line, and why.
    first_damage: Option<(u64, String)>,
    torn: bool,
    /// The text log's lines of figures were found.
    has_log_lines: bool,
    /// Lines that are neither those nor JSON, the first of them, and why that is no record.
    others: u64,
    first_other: Option<(u64, String)>,
}

impl Tally {
    fn other(&mut self, why: &str) {
        self.others += 1;
        if self.first_other.is_none() {
            self.first_other = Some((self.number, why.to_owned()));
        }
    }

    /// Other lines are damage in a latency log, and what the program says besides in the text log.
    fn concluded(mut self) -> Self {
        if !self.has_log_lines {
            self.damaged += self.others;
            let first = [self.first_damage.take(), self.first_other.take()].into_iter().flatten();
            self.first_damage = first.min_by_key(|(line, _)| *line);
        }
        self
    }

    fn damaged(&mut self, why: &str) {
        self.damaged += 1;
        if self.first_damage.is_none() {
            self.first_damage = Some((self.number, why.to_owned()));
        }
    }
}

fn failed(name: &str, error: &std::io::Error) -> Failure {
    Failure::new(Kind::Io, format!("{name}: {error}"))
}

fn described(line: &[u8], error: &serde_json::Error) -> String {
    match line {
        [b'{', ..]
            if line.windows(10).any(|part| part == b"\"MESSAGE\":")
                || line.windows(11).any(|part| part == b"\"__REALTIME") =>
        {
            "this is journalctl's JSON; -o short-iso has what is read here".to_owned()
        }
        [0, ..] => "it begins with zero bytes (a power cut while the file grew)".to_owned(),
        [0x1f, 0x8b, ..] => "this is compressed by gzip; unpack it first".to_owned(),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "this is compressed by zstd; unpack it first".to_owned(),
        _ if line.starts_with(b"{\"time\":") && line.windows(9).any(|part| part == b"\"classes\"") => {
            "this is a result of publish.jsonl; telemetry.latency_log.path names the latency log".to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
