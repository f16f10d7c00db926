//! Starts the program's own log on standard error, and keeps its last lines for those who look at the running program.
//!
//! Under systemd each line carries its priority as `<N>` and no time stamp, since the journal has its own; elsewhere it
//! carries time and level.
//!
//! A record is one line, whatever is in it: text from outside can't begin another, steer a terminal, or show a secret
//! ([`crate::text`]). Text of several lines is told as several records.
//!
//! What libraries log can be about strangers, one line for each that comes, and in the stranger's words: see [`foreign`].

mod foreign;
mod panics;

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::Mutex;

use jiff::Timestamp;
use log::{Level, Log, Metadata, Record, RecordBuilder};
use serde::{Deserialize, Serialize};

use self::foreign::{Foreign, Verdict};
pub use self::panics::tell_panics;
use crate::clock::{Clock as _, SystemClock};
use crate::sync::lock;
use crate::text::shown;

/// Target of lines that come again and again, such as figures: they are in the log, and not among the last lines.
pub const FIGURES: &str = "pspnetd::figures";

/// Lines that are kept.
const KEPT: usize = 100;
/// Characters of each.
const LONGEST: usize = 500;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Counts from 0; what is missing in between was a line of figures or below the log's level.
    pub number: u64,
    /// When it was written.
    pub time: Timestamp,
    /// `error`, `warn`, `info`.
    pub level: String,
    /// The line.
    pub text: String,
}

static LAST: Mutex<Last> = Mutex::new(Last { next: 0, lines: VecDeque::new() });

struct Last {
    next: u64,
    lines: VecDeque<LogLine>,
}

/// Starts the log with a filter such as `info`. A second call changes nothing.
pub fn start(filter: &str) {
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(filter).target(env_logger::Target::Stderr);
    if to_journal() {
        builder.format(|out, record| writeln!(out, "<{}>{}", priority(record), record.args()));
    } else {
        builder.format_target(false).format_timestamp_millis();
    }
    let logger = builder.build();
    let level = logger.filter();
    // Only a logger that is already there makes this fail.
    if log::set_boxed_logger(Box::new(Remembering(logger))).is_ok() {
        log::set_max_level(level);
    }
}

/// The last lines of the log at level info and above, oldest first, without the figures.
pub fn last_lines() -> Vec<LogLine> {
    lock(&LAST).lines.iter().cloned().collect()
}

static FOREIGN: Mutex<Foreign> = Mutex::new(Foreign::new());

/// A logger that keeps what it writes.
struct Remembering(env_logger::Logger);

impl Log for Remembering {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if foreign::is_foreign(record.target()) {
            self.log_foreign(record);
        } else if self.0.matches(record) {
            let text = self.write(record, record.level());
            if record.level() <= Level::Info && record.target() != FIGURES {
                remember(record.level(), &text);
            }
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

impl Remembering {
    /// Writes a record at `level`; its text as it may be shown.
    fn write(&self, record: &Record<'_>, level: Level) -> String {
        let text = shown(&record.args().to_string()).into_owned();
        self.0.log(&like(record).level(level).args(format_args!("{text}")).build());
        text
    }

    /// A library's record is never more than a detail, and never among the last lines. That there are warnings is told.
    fn log_foreign(&self, record: &Record<'_>) {
        let level = record.level().max(Level::Debug);
        let is_shown = self.0.matches(&like(record).level(level).build());
        if !is_shown && record.level() > Level::Warn {
            return;
        }
        let verdict = lock(&FOREIGN).judge(is_shown, SystemClock.now());
        if let Some(words) = verdict.words(record.target()) {
            let (level, words) = (Level::Info, format_args!("{words}"));
            self.0.log(&Record::builder().level(level).target(FIGURES).args(words).build());
        }
        if verdict == Verdict::Show {
            self.write(record, level);
        }
    }
}

/// Everything of `record` but its text.
fn like<'a>(record: &Record<'a>) -> RecordBuilder<'a> {
    let mut builder = Record::builder();
    builder.metadata(record.metadata().clone());
    builder.module_path(record.module_path()).file(record.file()).line(record.line());
    builder
}

fn remember(level: Level, whole: &str) {
    let mut text: String = whole.chars().take(LONGEST).collect();
    if text.len() < whole.len() {
        text.push('…');
    }
    let level = level.as_str().to_ascii_lowercase();
    let mut last = lock(&LAST);
    let number = last.next;
    last.next += 1;
    if last.lines.len() == KEPT {
        last.lines.pop_front();
    }
    last.lines.push_back(LogLine { number, time: SystemClock.wall(), level, text });
}

/// True when standard error is the journal's own stream: systemd says which device and inode that is.
fn to_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Some((device, inode)) = stream.split_once(':') else { return false };
    rustix::fs::fstat(rustix::stdio::stderr())
        .is_ok_and(|stat| device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino))
}

/// syslog's priorities, as sd-daemon(3) prescribes.
fn priority(record: &Record<'_>) -> u8 {
    match record.level() {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_cut_where_they_are_long() {
        for number in 0..KEPT + 20 {
            remember(Level::Warn, &format!("line {number} {}", "x".repeat(LONGEST)));
        }
        let lines = last_lines();
        assert_eq!(lines.len(), KEPT);
        let last = &lines[KEPT - 1];
        assert!(last.text.starts_with("line 119 xx") && last.text.ends_with("x…"), "{}", last.text);
        assert_eq!((last.level.as_str(), last.number), ("warn", lines[0].number + KEPT as u64 - 1));
    }
}
