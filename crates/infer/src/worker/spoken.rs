//! What a worker and the libraries in it say on their standard error: how grave a line is, and which lines tell why it died.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::clock::Instant;
use base::sync::lock;
use log::Level;

/// Lines that a fault carries, at most.
const TOLD: usize = 4;
/// Different lines that are remembered.
const REMEMBERED: usize = 64;
/// Time after which the same line is told again.
const AGAIN: Duration = Duration::from_secs(3600);

/// What earlier runs of a worker told already: a device that fails every half minute says the same for months.
#[derive(Clone, Debug, Default)]
pub struct Told {
    lines: Arc<Mutex<VecDeque<Line>>>,
    run: u32,
}

#[derive(Debug)]
struct Line {
    hash: u64,
    told: Instant,
    run: u32,
}

impl Told {
    /// For the run of the process `run`.
    pub(crate) fn by(&self, run: u32) -> Self {
        Self { lines: Arc::clone(&self.lines), run }
    }

    /// Whether no earlier run told `line` within the last hour. Numbers don't make it another: times, process ids, addresses.
    pub(crate) fn is_news(&self, line: &str, now: Instant) -> bool {
        let mut hasher = DefaultHasher::new();
        line.split(|letter: char| letter.is_ascii_digit())
            .filter(|part| !part.is_empty())
            .for_each(|part| part.hash(&mut hasher));
        let hash = hasher.finish();
        let mut lines = lock(&self.lines);
        lines.retain(|line| now.since(line.told) < AGAIN);
        if let Some(known) = lines.iter().find(|line| line.hash == hash) {
            return known.run == self.run;
        }
        if lines.len() == REMEMBERED {
            lines.pop_front();
        }
        lines.push_back(Line { hash, told: now, run: self.run });
        true
    }
}

/// How grave a line is, by the prefixes of glog (`E0217 12:00:00.000000 …]`, `F 12345 …]`), TensorFlow Lite (`ERROR: …`) and
/// libusb (`libusb: error …`). What a library tells of its normal doings is of no interest to users.
pub(crate) fn level(line: &str) -> Level {
    let begins = |words: &[&str]| words.iter().any(|word| line.starts_with(word));
    if begins(&["ERROR:", "FATAL:", "libusb: error", "terminate called", "thread '"]) {
        return Level::Error;
    }
    if begins(&["WARNING:", "libusb: warning"]) {
        return Level::Warn;
    }
    if begins(&["INFO:", "VERBOSE:", "DEBUG:", "libusb: info", "libusb: debug"]) {
        return Level::Debug;
    }
    let mut characters = line.chars();
    let (first, second) = (characters.next(), characters.next());
    let is_glog = line.contains(']') && second.is_some_and(|second| second == ' ' || second.is_ascii_digit());
    match first.filter(|_| is_glog) {
        Some('E' | 'F') => Level::Error,
        Some('W') => Level::Warn,
        Some('I') => Level::Debug,
        _ => Level::Info,
    }
}

/// The lines that tell most of an end: from the first error on, else the last ones; without stack frames.
pub(super) fn telling(mut lines: Vec<String>) -> Vec<String> {
    lines.retain(|line| !is_frame(line) && level(line) != Level::Debug);
    let start = lines.iter().position(|line| level(line) == Level::Error);
    let start = start.unwrap_or(lines.len().saturating_sub(TOLD));
    lines.drain(..start);
    lines.truncate(TOLD);
    lines
}

fn is_frame(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("@ ") || line.starts_with("*** ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_follow_the_prefixes() {
        for (line, expected) in [
            ("F 12345 usb/usb_driver.cc:857] transfer on tag 1 failed. Abort.", Level::Error),
            ("E0217 12:00:00.123456  4242 driver.cc:257] HIB Error.", Level::Error),
            ("ERROR: Node number 2 (EdgeTpuDelegateForCustomOp) failed to invoke.", Level::Error),
            ("libusb: error [get_usbfs_fd] libusb couldn't open USB device, errno=13", Level::Error),
            ("W :124] Runtime version mismatch", Level::Warn),
            ("WARNING: something", Level::Warn),
            ("I1122 18:41:04.1 7 a.cc:1] opened", Level::Debug),
            ("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.", Level::Debug),
            ("Everything is fine", Level::Info),
            ("F", Level::Info),
            ("É]", Level::Info),
            ("", Level::Info),
        ] {
            assert_eq!(level(line), expected, "{line}");
        }
    }

    #[test]
    fn what_an_earlier_run_told_is_told_once_an_hour_whatever_its_numbers() {
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        let all = Told::default();
        let (first, second) = (all.by(4242), all.by(4250));
        assert!(first.is_news("E0217 12:00:00 4242 usb.cc:857] failed", at(0)));
        assert!(first.is_news("E0217 12:00:01 4242 usb.cc:857] failed", at(1)), "the same run may go on");
        assert!(!second.is_news("E0217 12:00:30 4250 usb.cc:857] failed", at(30)));
        assert!(second.is_news("E0217 12:00:30 4250 usb.cc:857] refused", at(30)));
        assert!(!second.is_news("E0217 12:59:59 4250 usb.cc:857] failed", at(3599)));
        assert!(second.is_news("E0217 13:00:00 4250 usb.cc:857] failed", at(3600)));
        let line = |number: usize| "x".repeat(number + 1);
        assert!((0..2 * REMEMBERED).all(|number| first.is_news(&line(number), at(3600))));
        assert!(second.is_news(&line(0), at(3600)), "remembers so many and no more");
    }

    #[test]
    fn the_reason_is_found_among_stack_frames() {
        let lines = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
        let died = "INFO: a|one|F 1 usb.cc:8] transfer failed|*** Check failure stack trace: ***|    @     0x7f x|two";
        assert_eq!(telling(lines(died)), ["F 1 usb.cc:8] transfer failed", "two"]);
        assert_eq!(telling(lines("1|2|3|4|5|6")), ["3", "4", "5", "6"]);
        assert_eq!(telling(lines("ERROR: 1|2|3|4|5|6")), ["ERROR: 1", "2", "3", "4"]);
        assert!(telling(Vec::new()).is_empty());
    }
}
