//! Damaged frames: when the camera itself counts as damaged, and how often the log says so.

use std::time::Duration;

use base::clock::Instant;

/// Without a whole frame for so long, and with so many damaged ones, the camera counts as damaged.
const LONG_ENOUGH: Duration = Duration::from_secs(1);
const ENOUGH: u64 = 3;
/// The words of the state are renewed this often.
const RENEWED: Duration = Duration::from_secs(1);
/// Pauses between two lines of the log: at first, and at last.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// After so long without a damaged frame the next one is news.
const QUIET: Duration = Duration::from_secs(600);

/// What is known of the damaged frames.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// Those since the last whole frame, and when the first of them came.
    in_a_row: Option<(u64, Instant)>,
    /// When the words of the state were made; None while the camera doesn't count as damaged.
    told: Option<Instant>,
    /// When the log last had that the camera counts as damaged, and the pause to the next time.
    said: Option<(Instant, Duration)>,
    /// The log has of this time that the camera counts as damaged.
    is_said: bool,
    log: Option<Log>,
}

/// What the log doesn't have yet.
#[derive(Debug)]
struct Log {
    /// The last line.
    at: Instant,
    /// To the next.
    pause: Duration,
    /// The last damaged frame.
    newest: Instant,
    damaged: u64,
    frames: u64,
}

/// What there is to say of a damaged frame.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// The reason belongs into the log, as it is.
    pub(super) is_first: bool,
    /// The log's next line: damaged frames, all frames, the time in which they came.
    pub(super) counts: Option<(u64, u64, Duration)>,
    /// The camera counts as damaged, by so many frames in a row; true where that belongs into the log.
    pub(super) state: Option<(u64, bool)>,
}

/// A whole frame came where the camera counted as damaged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recovered {
    /// Damaged frames in a row until then.
    pub(super) damaged: u64,
    /// The log has that the camera counted as damaged.
    pub(super) is_said: bool,
}

impl Damage {
    /// The camera was opened anew.
    pub(super) fn opened(&mut self) {
        (self.in_a_row, self.told) = (None, None);
    }

    /// Notes a whole frame; what that ends.
    pub(super) fn whole(&mut self) -> Option<Recovered> {
        if let Some(log) = &mut self.log {
            log.frames += 1;
        }
        let (damaged, _) = self.in_a_row.take()?;
        self.told.take().map(|_| Recovered { damaged, is_said: std::mem::take(&mut self.is_said) })
    }

    /// Whether the log is told again that the camera counts as damaged: a camera that goes to and fro doesn't fill it.
    fn may_say(&mut self, now: Instant) -> bool {
        let pause = match self.said {
            Some((at, pause)) if now.since(at) < pause => return false,
            Some((at, pause)) if now.since(at) < pause + QUIET => (pause * 2).min(LONGEST_PAUSE),
            _ => FIRST_PAUSE,
        };
        self.said = Some((now, pause));
        self.is_said = true;
        true
    }

    /// Notes a damaged frame.
    pub(super) fn damaged(&mut self, now: Instant) -> News {
        let mut news = News::default();
        let (count, since) = self.in_a_row.map_or((1, now), |(count, since)| (count + 1, since));
        self.in_a_row = Some((count, since));
        let is_due = self.told.is_none_or(|told| now.since(told) >= RENEWED);
        if count >= ENOUGH && now.since(since) >= LONG_ENOUGH && is_due {
            let is_new = self.told.replace(now).is_none();
            news.state = Some((count, is_new && self.may_say(now)));
        }
        match &mut self.log {
            Some(log) if now.since(log.newest) < QUIET => {
                (log.newest, log.damaged, log.frames) = (now, log.damaged + 1, log.frames + 1);
                let passed = now.since(log.at);
                if passed >= log.pause {
                    news.counts = Some((log.damaged, log.frames, passed));
                    (log.at, log.pause) = (now, (log.pause * 2).min(LONGEST_PAUSE));
                    (log.damaged, log.frames) = (0, 0);
                }
            }
            log => {
                *log = Some(Log { at: now, pause: FIRST_PAUSE, newest: now, damaged: 0, frames: 0 });
                news.is_first = true;
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame each 100 ms; the marks say of each second what its ten frames are: damaged (x), whole (.), or every other (/).
    fn told(marks: &str) -> Vec<(usize, News)> {
        let mut damage = Damage::default();
        let mut said = Vec::new();
        for (second, mark) in marks.chars().enumerate() {
            for tenth in 0..10 {
                let now = Instant::from_nanos(((second * 10 + tenth) as u64) * 100_000_000);
                if mark == 'x' || (mark == '/' && tenth % 2 == 0) {
                    let news = damage.damaged(now);
                    if news != News::default() {
                        said.push((second, news));
                    }
                } else {
                    damage.whole();
                }
            }
        }
        said
    }

    #[test]
    fn the_first_is_said_at_once_and_then_rarer_with_counts() {
        let lines: Vec<_> =
            told(&"x".repeat(200)).into_iter().filter(|(_, news)| news.is_first || news.counts.is_some()).collect();
        let seconds: Vec<usize> = lines.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [0, 10, 30, 70, 150]);
        assert!(lines[0].1.is_first);
        let counts: Vec<_> = lines.iter().filter_map(|(_, news)| news.counts).collect();
        assert_eq!(counts[1], (200, 200, Duration::from_secs(20)));
        // Whole frames between are counted as well.
        let counts: Vec<_> = told(&"/".repeat(11)).into_iter().filter_map(|(_, news)| news.counts).collect();
        assert_eq!(counts, [(50, 100, Duration::from_secs(10))]);
    }

    #[test]
    fn a_camera_that_goes_to_and_fro_is_told_rarer_and_rarer() {
        let seconds = |marks: String| -> Vec<usize> {
            let said = told(&marks).into_iter().filter(|(_, news)| news.state.is_some_and(|(_, is_said)| is_said));
            said.map(|(second, _)| second).collect()
        };
        assert_eq!(seconds("xx.".repeat(60)), [1, 13, 34, 76, 157]);
        // After a long time without it, it is said at once.
        assert_eq!(seconds(format!("xx{}xx.xx", ".".repeat(700))), [1, 703]);
        // Each end belongs to a beginning.
        let mut damage = Damage::default();
        let mut ends = Vec::new();
        for tenth in 0..200u64 {
            let now = Instant::from_nanos(tenth * 100_000_000);
            if tenth % 20 < 15 {
                damage.damaged(now);
            } else {
                ends.extend(damage.whole().map(|recovered| recovered.is_said));
            }
        }
        assert_eq!(ends, [true, false, false, false, false, true, false, false, false, false]);
    }

    #[test]
    fn a_pause_never_grows_past_an_hour_and_after_ten_quiet_minutes_it_is_news() {
        let mut damage = Damage::default();
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        let lines: Vec<u64> =
            (0..40_000).step_by(10).filter(|&second| damage.damaged(at(second)).counts.is_some()).collect();
        assert!(lines.windows(2).all(|pair| pair[1] - pair[0] <= 3600), "{lines:?}");
        assert_eq!(lines.windows(2).last().map(|pair| pair[1] - pair[0]), Some(3600));
        assert!(!damage.damaged(at(40_500)).is_first);
        assert!(damage.damaged(at(41_100)).is_first);
    }

    #[test]
    fn a_camera_counts_as_damaged_after_a_second_without_a_whole_frame() {
        let states = |marks: &str| -> Vec<_> {
            told(marks).into_iter().filter_map(|(second, news)| Some((second, news.state?))).collect()
        };
        assert_eq!(states("xxx."), [(1, (11, true)), (2, (21, false))]);
        assert_eq!(states("x.x.x."), []);
        assert_eq!(states("//////"), []);
        // Soon after the first time it is in the state, and not in the log.
        assert_eq!(states("xx.xx"), [(1, (11, true)), (4, (11, false))]);
        // A slow camera: two are too few.
        let mut damage = Damage::default();
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        assert_eq!([0, 5, 10].map(|second| damage.damaged(at(second)).state), [None, None, Some((3, true))]);
        assert_eq!((damage.whole(), damage.whole()), (Some(Recovered { damaged: 3, is_said: true }), None));
        damage.damaged(at(11));
        damage.opened();
        assert_eq!(damage.whole(), None);
    }
}
