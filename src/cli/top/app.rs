//! What is shown, and what keys do to it.

use base::clock::Instant;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::telemetry::state::{History, State};

/// News from the daemon.
pub(super) enum Update {
    State(Box<State>),
    History(History),
    /// It could not be asked, and why.
    Lost(String),
}

/// What a key asks of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Go,
    Quit,
    Suspend,
    /// From scratch, where something else wrote to the terminal.
    Redraw,
}

pub(super) struct App {
    pub(super) state: State,
    pub(super) history: History,
    /// Where the daemon is.
    pub(super) place: String,
    /// Since when there is no connection, and why.
    pub(super) lost: Option<(Instant, String)>,
    /// Processor time of the daemon over time, between the last two states, percent of one core.
    pub(super) process_percent: Option<f64>,
    /// The first class that is shown.
    pub(super) first_class: usize,
    /// Events between the newest and the last that is shown.
    pub(super) events_back: usize,
    /// Classes stand in the order of their share rather than the model's.
    pub(super) by_share: bool,
    pub(super) shows_help: bool,
}

impl App {
    pub(super) fn new(state: State, history: History, place: String) -> Self {
        Self {
            state,
            history,
            place,
            lost: None,
            process_percent: None,
            first_class: 0,
            events_back: 0,
            by_share: false,
            shows_help: false,
        }
    }

    /// Takes news that came at `now`.
    pub(super) fn take(&mut self, update: Update, now: Instant) {
        match update {
            Update::State(state) => {
                self.process_percent = percent(&self.state, &state);
                self.keep_place(&state);
                self.state = *state;
                self.lost = None;
            }
            Update::History(history) => self.history = history,
            Update::Lost(reason) => {
                let since = self.lost.take().map_or(now, |(since, _)| since);
                self.lost = Some((since, reason));
            }
        }
    }

    /// While somebody looks at older events, new ones don't move them.
    fn keep_place(&mut self, new: &State) {
        let newest = self.state.events.last().map(|event| event.number);
        if self.events_back > 0 && self.state.program.pid == new.program.pid {
            let more = new.events.iter().filter(|event| Some(event.number) > newest).count();
            // Home has gone as far as it goes, and may not have been drawn yet.
            self.events_back = self.events_back.saturating_add(more);
        }
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Flow {
        if key.kind == KeyEventKind::Release {
            return Flow::Go;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c' | 'd') => Flow::Quit,
                KeyCode::Char('z') => Flow::Suspend,
                KeyCode::Char('l') => Flow::Redraw,
                _ => Flow::Go,
            };
        }
        if self.shows_help && matches!(key.code, KeyCode::Esc | KeyCode::Char('q')) {
            self.shows_help = false;
            return Flow::Go;
        }
        // What goes too far is brought back where it is drawn, which knows how much there is room for.
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Flow::Quit,
            KeyCode::Char('?' | 'h') => self.shows_help = !self.shows_help,
            KeyCode::Char('s') => {
                self.by_share = !self.by_share;
                self.first_class = 0;
            }
            KeyCode::Up | KeyCode::Char('k') => self.first_class = self.first_class.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.first_class = self.first_class.saturating_add(1),
            KeyCode::PageUp => self.events_back = self.events_back.saturating_add(3),
            KeyCode::PageDown => self.events_back = self.events_back.saturating_sub(3),
            KeyCode::Home => self.events_back = usize::MAX,
            KeyCode::End => self.events_back = 0,
            _ => {}
        }
        Flow::Go
    }
}

/// Processor time over time between two states of the same process.
fn percent(before: &State, now: &State) -> Option<f64> {
    let cpu = |state: &State| state.board.as_ref()?.process.cpu_seconds;
    let seconds = now.program.uptime_seconds - before.program.uptime_seconds;
    let is_same = now.program.pid == before.program.pid && seconds > 0.0;
    let taken = cpu(now)? - cpu(before)?;
    (is_same && taken >= 0.0).then(|| 100.0 * taken / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::example;
    use base::logging::LogLine;

    fn app() -> App {
        App::new(example::state(), example::history(), "/s".to_owned())
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn keys_do_what_the_help_says() {
        let mut app = app();
        let mut press = |code| app.press(KeyEvent::from(code));
        for key in [KeyCode::Char('q'), KeyCode::Esc] {
            assert_eq!(press(key), Flow::Quit);
        }
        assert_eq!(press(KeyCode::Char('?')), Flow::Go);
        assert_eq!(press(KeyCode::Esc), Flow::Go, "it closes the help first");
        assert_eq!(press(KeyCode::Esc), Flow::Quit);
        for key in [KeyCode::Up, KeyCode::Down, KeyCode::Down, KeyCode::PageUp, KeyCode::Char('x')] {
            assert_eq!(press(key), Flow::Go);
        }
        assert_eq!((app.first_class, app.events_back), (2, 3));
        app.press(KeyEvent::from(KeyCode::Home));
        app.press(KeyEvent::from(KeyCode::PageUp));
        assert_eq!(app.events_back, usize::MAX);
        app.press(KeyEvent::from(KeyCode::End));
        assert_eq!(app.events_back, 0);
        let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        assert_eq!(app.press(control('c')), Flow::Quit);
        assert_eq!(app.press(control('z')), Flow::Suspend);
        assert_eq!(app.press(control('l')), Flow::Redraw);
    }

    #[test]
    fn a_loss_is_told_from_its_beginning_until_the_daemon_is_back() {
        let mut app = app();
        app.take(Update::Lost("gone".to_owned()), at(10));
        app.take(Update::Lost("still gone".to_owned()), at(20));
        assert_eq!(app.lost, Some((at(10), "still gone".to_owned())));
        let mut state = example::state();
        state.program.pid += 1;
        app.take(Update::State(Box::new(state)), at(30));
        assert_eq!((app.lost, app.process_percent), (None, None));
    }

    #[test]
    fn processor_time_is_of_the_time_between_two_states() {
        let mut app = app();
        let mut state = example::state();
        state.program.uptime_seconds += 2.0;
        *state.board.as_mut().unwrap().process.cpu_seconds.as_mut().unwrap() += 1.0;
        app.take(Update::State(Box::new(state)), at(1));
        let percent = app.process_percent.unwrap();
        assert!((percent - 50.0).abs() < 1e-6, "{percent}");
    }

    #[test]
    fn new_events_do_not_move_the_older_ones_that_are_looked_at() {
        let mut app = app();
        app.events_back = 2;
        let mut state = example::state();
        let newest = state.events.last().unwrap().clone();
        state.events.push(LogLine { number: newest.number + 5, ..newest });
        app.take(Update::State(Box::new(state.clone())), at(1));
        assert_eq!(app.events_back, 3);
        app.events_back = 0;
        app.take(Update::State(Box::new(state.clone())), at(2));
        assert_eq!(app.events_back, 0);
        // At the oldest one, which the next picture finds, there is no further.
        app.press(KeyEvent::from(KeyCode::Home));
        let newest = state.events.last().unwrap().clone();
        state.events.push(LogLine { number: newest.number + 1, ..newest });
        app.take(Update::State(Box::new(state)), at(3));
        assert_eq!(app.events_back, usize::MAX);
    }
}
