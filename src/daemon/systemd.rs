//! What systemd is told: READY after the first class map, WATCHDOG while every stage makes progress, STATUS in words.

use std::time::Duration;

use base::clock::Instant;
use sd_notify::NotifyState;

use crate::pipeline::Vitals;

/// Time between two STATUS lines.
const STATUS_EVERY: Duration = Duration::from_secs(2);

/// Tells systemd, where there is one. Without `NOTIFY_SOCKET` every call does nothing.
pub(super) struct Supervisor {
    watchdog: Option<Duration>,
    ready: bool,
    last_watchdog: Option<Instant>,
    last_status: Option<Instant>,
    said_hung: bool,
}

/// Something that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Ready,
    Watchdog,
    Status(String),
    /// For the log: this stage hangs.
    Hangs(&'static str),
}

impl Supervisor {
    /// Reads what systemd asks for.
    pub(super) fn from_environment() -> Self {
        Self::new(sd_notify::watchdog_enabled())
    }

    /// systemd wants a sign of life within each `watchdog`, where it wants any.
    fn new(watchdog: Option<Duration>) -> Self {
        Self { watchdog, ready: false, last_watchdog: None, last_status: None, said_hung: false }
    }

    /// Sends what is due.
    pub(super) fn tell(&mut self, vitals: &Vitals, now: Instant) {
        self.say(vitals, now, |word| match word {
            Word::Ready => notify(&NotifyState::Ready),
            Word::Watchdog => notify(&NotifyState::Watchdog),
            Word::Status(status) => notify(&NotifyState::Status(&status)),
            Word::Hangs(stage) => log::error!("the {stage} stage hangs; the watchdog will start the program again"),
        });
    }

    fn say(&mut self, vitals: &Vitals, now: Instant, mut say: impl FnMut(Word)) {
        if !self.ready && vitals.has_published() {
            self.ready = true;
            say(Word::Ready);
        }
        let due = |last: Option<Instant>, every| last.is_none_or(|last| now.since(last) >= every);
        if let Some(limit) = self.watchdog {
            let (stage, silence) = vitals.beats.slowest(now);
            // Half the limit, so that the restart comes at most one and a half limits after a stage hung.
            if silence >= limit / 2 {
                if !self.said_hung {
                    say(Word::Hangs(stage));
                }
                self.said_hung = true;
            } else if due(self.last_watchdog, limit / 4) {
                self.said_hung = false;
                self.last_watchdog = Some(now);
                say(Word::Watchdog);
            }
        }
        if due(self.last_status, STATUS_EVERY) {
            self.last_status = Some(now);
            say(Word::Status(vitals.status()));
        }
    }

    /// The program is on its way out.
    pub(super) fn stopping() {
        notify(&NotifyState::Stopping);
    }
}

fn notify(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        log::debug!("systemd can't be told: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing::{self, ByHand as _};
    use crate::telemetry::state::CameraState;
    use base::shutdown::TICK;

    const LIMIT: Duration = Duration::from_secs(30);
    const LANES: usize = 2;
    /// Capture, the lanes, publish, in the order of [`testing::ByHand::beat_all_but`].
    const STAGES: [&str; LANES + 2] = ["capture", "infer", "infer", "publish"];

    /// Time that passes a tick after the other, as in the main thread, and what is said meanwhile.
    struct Watched {
        supervisor: Supervisor,
        vitals: std::sync::Arc<Vitals>,
        now: Instant,
        silent: Option<usize>,
        said: Vec<(Instant, Word)>,
    }

    impl Watched {
        fn new(watchdog: Option<Duration>) -> Self {
            let vitals = testing::vitals(testing::engines("edgetpu", LANES - 1, true), &[]);
            let (supervisor, now) = (Supervisor::new(watchdog), Instant::default());
            Self { supervisor, vitals, now, silent: None, said: Vec::new() }
        }

        /// What is said in `time`, with what is said at its beginning.
        fn pass(&mut self, time: Duration) -> Vec<(Instant, Word)> {
            let end = self.now.after(time);
            let before = self.said.len();
            while self.now < end {
                self.vitals.beat_all_but(self.silent, LANES, self.now);
                let (said, now) = (&mut self.said, self.now);
                self.supervisor.say(&self.vitals, now, |word| said.push((now, word)));
                self.now = now.after(TICK);
            }
            self.said[before..].to_vec()
        }
    }

    fn times(said: &[(Instant, Word)], of: &Word) -> Vec<Instant> {
        said.iter().filter(|(_, word)| word == of).map(|(at, _)| *at).collect()
    }

    /// The times between all that follow each other.
    fn gaps(times: &[Instant]) -> Vec<Duration> {
        times.windows(2).map(|pair| pair[1].since(pair[0])).collect()
    }

    #[test]
    fn the_watchdog_is_fed_at_once_and_then_every_quarter_of_its_limit() {
        for limit in [1, 2, 4, 30, 3600].map(Duration::from_secs) {
            let mut watched = Watched::new(Some(limit));
            let said = watched.pass(limit * 4);
            let fed = times(&said, &Word::Watchdog);
            assert_eq!(fed.first(), Some(&Instant::default()), "{limit:?}");
            let gaps = gaps(&fed);
            assert!(gaps.len() >= 12, "{limit:?}: {gaps:?}");
            let quarter = limit / 4;
            assert!(gaps.iter().all(|gap| (quarter..quarter + TICK).contains(gap)), "{limit:?}: {gaps:?}");
        }
    }

    #[test]
    fn no_watchdog_is_fed_that_nobody_asked_for() {
        let mut watched = Watched::new(None);
        watched.silent = Some(0);
        let said = watched.pass(LIMIT * 4);
        assert!(said.iter().all(|(_, word)| matches!(word, Word::Status(_))), "{said:?}");
    }

    #[test]
    fn whichever_stage_hangs_is_named_once_and_the_watchdog_starves_until_it_goes_on() {
        for (place, stage) in STAGES.iter().enumerate() {
            let mut watched = Watched::new(Some(LIMIT));
            watched.pass(LIMIT);
            for _ in 0..2 {
                let last_sign = Instant::from_nanos(watched.now.as_nanos() - TICK.as_nanos() as u64);
                watched.silent = Some(place);
                let said = watched.pass(LIMIT * 3);
                let fed = times(&said, &Word::Watchdog);
                assert!(fed.iter().all(|at| at.since(last_sign) < LIMIT / 2), "{stage}: {fed:?}");
                let named: Vec<_> = said.iter().filter(|(_, word)| matches!(word, Word::Hangs(_))).collect();
                assert_eq!(named, [&(last_sign.after(LIMIT / 2), Word::Hangs(stage))]);
                // It goes on: the watchdog is fed again at once, and the next time is news.
                watched.silent = None;
                let (goes_on, said) = (watched.now, watched.pass(LIMIT));
                assert_eq!(times(&said, &Word::Watchdog).first(), Some(&goes_on), "{stage}");
                assert_eq!(times(&said, &Word::Hangs(stage)), [], "{stage}");
            }
        }
    }

    #[test]
    fn ready_is_said_once_after_the_first_result() {
        let mut watched = Watched::new(Some(LIMIT));
        assert_eq!(times(&watched.pass(LIMIT), &Word::Ready), []);
        watched.vitals.publish_first();
        let now = watched.now;
        assert_eq!(times(&watched.pass(LIMIT), &Word::Ready), [now]);
    }

    #[test]
    fn the_status_is_said_every_two_seconds_and_is_that_of_the_moment() {
        let mut watched = Watched::new(None);
        watched.vitals = testing::vitals(testing::engines("cpu", 0, true), &[]);
        watched.pass(Duration::from_secs(10));
        watched.vitals.turn_camera(CameraState::Waiting, "gone");
        watched.pass(Duration::from_secs(10));
        let status = |text: &str| Word::Status(text.to_owned());
        let said: Vec<_> = watched.said.iter().map(|(_, word)| word.clone()).collect();
        assert_eq!(said, [vec![status("starting"); 5], vec![status("camera: waiting: gone"); 5]].concat());
        let when: Vec<_> = watched.said.iter().map(|(at, _)| *at).collect();
        assert_eq!(gaps(&when), [STATUS_EVERY; 9]);
    }
}
