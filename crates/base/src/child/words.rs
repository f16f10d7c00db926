//! What a child says on its standard error, line by line, on its way into our log: cut where it is long, escaped where it
//! is no text, limited where it floods.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::Instant;
use crate::sync::lock;
use crate::text::{escape, masked, masked_cut};

/// Bytes of a line that are kept.
const LONGEST: usize = 400;
/// Lines that may come at once.
const BURST: u32 = 50;
/// Time after which one more line may come.
const REFILL: Duration = Duration::from_secs(5);
/// Last lines that are kept.
const KEPT: usize = 12;

/// How many lines may go into the log. One for all runs of a program, so that one that fails again and again doesn't fill
/// the log either.
#[derive(Debug)]
pub(super) struct Limit {
    left: u32,
    refilled: Option<Instant>,
    left_out: u64,
}

impl Default for Limit {
    fn default() -> Self {
        Self { left: BURST, refilled: None, left_out: 0 }
    }
}

impl Limit {
    /// Whether a line may go into the log now, and how many before it could not. Those that may not are counted.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let since = *self.refilled.get_or_insert(now);
        let refills = now.since(since).as_nanos() / REFILL.as_nanos();
        if refills > 0 {
            self.left = self.left.saturating_add(u32::try_from(refills).unwrap_or(u32::MAX)).min(BURST);
            self.refilled = Some(now);
        }
        if self.left == 0 {
            self.left_out += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// The lines of one run of a program.
pub(super) struct Words {
    limit: Arc<Mutex<Limit>>,
    line: Vec<u8>,
    is_cut: bool,
    last: VecDeque<String>,
}

impl Words {
    pub(super) fn new(limit: Arc<Mutex<Limit>>) -> Self {
        Self { limit, line: Vec::with_capacity(LONGEST), is_cut: false, last: VecDeque::with_capacity(KEPT) }
    }

    /// Takes what the program wrote and hands every line that is whole to `log`.
    pub(super) fn feed(&mut self, bytes: &[u8], now: Instant, log: &mut dyn FnMut(&str)) {
        let mut parts = bytes.split(|byte| matches!(byte, b'\n' | b'\r'));
        // The part behind the last line's end is the start of the next.
        let rest = parts.next_back().unwrap_or_default();
        for part in parts {
            self.append(part);
            self.end_line(now, log);
        }
        self.append(rest);
    }

    /// The stream has ended: what is left is a line as well, and what was left out is told.
    pub(super) fn end(&mut self, now: Instant, log: &mut dyn FnMut(&str)) {
        self.end_line(now, log);
        let left_out = std::mem::take(&mut lock(&self.limit).left_out);
        tell_left_out(left_out, log);
    }

    /// The last lines, also those that were left out of the log.
    pub(super) fn last(&self) -> &VecDeque<String> {
        &self.last
    }

    fn append(&mut self, part: &[u8]) {
        let room = LONGEST - self.line.len();
        self.is_cut |= part.len() > room;
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end_line(&mut self, now: Instant, log: &mut dyn FnMut(&str)) {
        let (line, is_cut) = (std::mem::take(&mut self.line), std::mem::take(&mut self.is_cut));
        if !line.iter().all(u8::is_ascii_whitespace) {
            let mut text = if self.last.len() == KEPT { self.last.pop_front() } else { None }.unwrap_or_default();
            text.clear();
            escape(line.trim_ascii_end(), &mut text);
            // ffmpeg, for one, tells the URL that it opens.
            if let Cow::Owned(masked) = if is_cut { masked_cut(&text) } else { masked(&text) } {
                text = masked;
            }
            text.push_str(if is_cut { "…" } else { "" });
            let admitted = lock(&self.limit).admit(now);
            if let Some(left_out) = admitted {
                tell_left_out(left_out, log);
                log(&text);
            }
            self.last.push_back(text);
        }
        self.line = line;
        self.line.clear();
    }
}

fn tell_left_out(count: u64, log: &mut dyn FnMut(&str)) {
    if count > 0 {
        log(&format!("{count} more lines, left out"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn words() -> Words {
        Words::new(Arc::default())
    }

    #[test]
    fn lines_come_whole_whatever_the_pieces() {
        let (mut words, mut lines) = (words(), Vec::new());
        let mut log = |line: &str| lines.push(line.to_owned());
        for piece in ["on", "e\ntwo\n\n", "  \n3%\r4%\r\nla", "st"] {
            words.feed(piece.as_bytes(), at(0), &mut log);
        }
        assert_eq!(words.last().back().unwrap(), "4%");
        words.end(at(0), &mut log);
        assert_eq!(lines, ["one", "two", "3%", "4%", "last"]);
        assert_eq!(words.last(), &["one", "two", "3%", "4%", "last"]);
    }

    #[test]
    fn bytes_that_are_no_text_are_escaped_and_long_lines_cut() {
        let (mut words, mut lines) = (words(), Vec::new());
        let mut log = |line: &str| lines.push(line.to_owned());
        words.feed(b"\x1b[31mr\xc3\xa4d\xff\x00\tend\n", at(0), &mut log);
        for _ in 0..1000 {
            words.feed(&[b'x'; 1000], at(0), &mut log);
        }
        words.feed(b"\nnext\n", at(0), &mut log);
        assert_eq!(lines[0], "\\u{1b}[31mräd\\xff\\u{0} end");
        assert_eq!(lines[1], format!("{}…", "x".repeat(LONGEST)));
        assert_eq!(lines[2], "next");
    }

    #[test]
    fn no_length_cuts_a_secret_so_that_it_is_not_known() {
        let url = "rtsp://joe:s3cretpassword@cam/1";
        for length in LONGEST - url.len()..LONGEST {
            let (mut words, mut lines) = (words(), Vec::new());
            words.feed(format!("{} {url}\n", "x".repeat(length)).as_bytes(), at(0), &mut |line| {
                lines.push(line.to_owned());
            });
            assert!(!lines[0].contains("s3c"), "{}", lines[0]);
        }
    }

    #[test]
    fn a_flood_is_limited_and_counted_over_all_runs() {
        let limit: Arc<Mutex<Limit>> = Arc::default();
        let mut lines = Vec::new();
        let mut log = |line: &str| lines.push(line.to_owned());
        for _ in 0..2 {
            let mut words = Words::new(Arc::clone(&limit));
            words.feed("a\n".repeat(1000).as_bytes(), at(1), &mut log);
            words.end(at(1), &mut log);
        }
        let mut words = Words::new(limit);
        words.feed(b"b\nc\nd\n", at(7), &mut log);
        words.feed(b"e\n", at(12), &mut log);
        assert_eq!(words.last(), &["b", "c", "d", "e"], "also those that were left out");
        let burst = BURST as usize;
        assert_eq!(lines[burst - 1], "a");
        assert_eq!(lines[burst], "950 more lines, left out");
        assert_eq!(lines[burst + 1], "1000 more lines, left out");
        assert_eq!(lines[burst + 2..], ["b", "2 more lines, left out", "e"]);
    }
}
