//! Whether a camera sends as many frames as were set. Counts what the driver numbers, not what we take.

use std::time::Duration;

use base::clock::Instant;

/// What is looked at together.
const WINDOW: Duration = Duration::from_secs(10);
/// At slow rates a window lasts until so many frames are due.
const FEWEST_DUE: f64 = 5.0;
/// Fewer than this share of the frames is news.
const SLOW: f64 = 0.9;
/// From this share on all is well again.
const WELL: f64 = 0.95;
/// At dusk a camera may change between two rates for a while.
const QUIET: Duration = Duration::from_secs(3600);

/// What is worth saying.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum News {
    /// It sends this many frames per second, which is fewer than set.
    Slow(f64),
    /// It was slow, and sends this many now.
    Well(f64),
}

/// Counts the frames of a camera that was set to a rate.
#[derive(Debug)]
pub(super) struct Pace {
    /// Frames per second.
    set: f64,
    window: Duration,
    /// When the window began, and the number of the frame that came then.
    began: Option<(Instant, u64)>,
    is_slow: bool,
    said: Option<Instant>,
}

impl Pace {
    /// For a camera that was set to so many frames per second.
    pub(super) fn new(set: f64) -> Self {
        let window = Duration::try_from_secs_f64(FEWEST_DUE / set).unwrap_or(Duration::MAX).max(WINDOW);
        Self { set, window, began: None, is_slow: false, said: None }
    }

    /// The rate that was set.
    pub(super) fn set(&self) -> f64 {
        self.set
    }

    /// Frames may have been lost because nobody took them in time: the window begins anew.
    pub(super) fn disturbed(&mut self) {
        self.began = None;
    }

    /// The frame with this number came.
    pub(super) fn frame(&mut self, number: u64, now: Instant) -> Option<News> {
        let Some((began, first)) = self.began else {
            self.began = Some((now, number));
            return None;
        };
        let passed = now.since(began);
        if passed < self.window {
            return None;
        }
        self.began = Some((now, number));
        let rate = number.saturating_sub(first) as f64 / passed.as_secs_f64();
        if rate >= self.set * WELL {
            return std::mem::take(&mut self.is_slow).then_some(News::Well(rate));
        }
        let is_quiet = self.said.is_some_and(|said| now.since(said) < QUIET);
        if rate >= self.set * SLOW || self.is_slow || is_quiet {
            return None;
        }
        self.is_slow = true;
        self.said = Some(now);
        Some(News::Slow(rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `count` frames, `apart` from each other; what was said.
    fn send(pace: &mut Pace, from: (Duration, u64), count: u64, apart: Duration) -> (Vec<News>, (Duration, u64)) {
        let (mut at, mut number) = from;
        let mut said = Vec::new();
        for _ in 0..count {
            at += apart;
            number += 1;
            said.extend(pace.frame(number, Instant::default().after(at)));
        }
        (said, (at, number))
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn half_the_frames_are_news_once_and_so_is_their_return() {
        let mut pace = Pace::new(30.0);
        let (said, at) = send(&mut pace, (Duration::ZERO, 0), 600, 66 * MS);
        let [News::Slow(rate)] = said[..] else { panic!("{said:?}") };
        assert!((15.0..15.3).contains(&rate), "{rate}");
        let (said, at) = send(&mut pace, at, 900, 33 * MS);
        assert!(matches!(said[..], [News::Well(rate)] if rate > 30.0), "{said:?}");
        let (said, at) = send(&mut pace, at, 600, 66 * MS);
        assert_eq!(said, [], "within the hour");
        let (said, _) = send(&mut pace, (at.0 + QUIET, at.1 + 30 * 3600), 600, 66 * MS);
        assert_eq!(said.len(), 1, "{said:?}");
    }

    #[test]
    fn a_little_less_is_no_news() {
        for apart in [33 * MS, 36 * MS] {
            assert_eq!(send(&mut Pace::new(30.0), (Duration::ZERO, 0), 3000, apart).0, []);
        }
    }

    #[test]
    fn slow_rates_are_counted_for_longer() {
        let mut pace = Pace::new(0.2);
        assert_eq!(send(&mut pace, (Duration::ZERO, 0), 60, Duration::from_secs(5)).0, []);
        let mut pace = Pace::new(0.2);
        let (said, _) = send(&mut pace, (Duration::ZERO, 0), 60, Duration::from_secs(10));
        assert_eq!(said, [News::Slow(0.1)]);
    }

    #[test]
    fn what_we_lose_ourselves_is_not_the_cameras_fault() {
        let mut pace = Pace::new(30.0);
        let mut at = (Duration::ZERO, 0);
        for _ in 0..100 {
            let (said, next) = send(&mut pace, at, 30, 66 * MS);
            assert_eq!(said, []);
            at = next;
            pace.disturbed();
        }
    }
}
