//! The panel: the configured lights and buttons on a board, looked after by a thread of its own.
//!
//! The thread reads what the sink has noted and never makes the pipeline wait. However it ends, its outputs go to their
//! inactive level.

use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use base::clock::{Clock, Instant};
use base::shutdown::Shutdown;
use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, Sender};

use super::board::Board;
use super::signals::{heartbeat, Alarm, Button, Readings};
use crate::config::{self, ButtonAction, Level, Pull};
use crate::publish::requests::Requests;

/// Time between two looks at button and readings.
const TICK: Duration = Duration::from_millis(20);
/// What the thread may take to end; it never waits for anything.
const END_LIMIT: Duration = Duration::from_millis(200);

/// Lights and buttons that were found to work.
pub(super) struct Panel {
    board: Box<dyn Board>,
    clock: Arc<dyn Clock>,
    readings: Arc<Readings>,
    requests: Requests,
    heartbeat: Option<Output>,
    alarm: Option<(Output, Alarm)>,
    button: Option<Input>,
}

struct Output {
    pin: u8,
    active_high: bool,
    is_on: bool,
}

struct Input {
    pin: u8,
    pressed_high: bool,
    button: Button,
    action: ButtonAction,
}

impl Panel {
    /// Sets up what `config` names. A pin that can't be had is said in a warning, and the others work.
    pub(super) fn new(
        config: &config::Gpio,
        requests: Requests,
        mut board: Box<dyn Board>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let working = |what: &str, outcome: Result<(), String>| {
            outcome.map_err(|reason| log::warn!("gpio: no {what}: {reason}")).is_ok()
        };
        let mut output = |what: &str, pin: Option<u8>, level: Level| {
            let (pin, active_high) = (pin?, level == Level::High);
            let works = working(what, board.make_output(pin, !active_high));
            works.then_some(Output { pin, active_high, is_on: false })
        };
        let heartbeat = output("heartbeat", config.heartbeat.number(), Level::High);
        let alarm = output("alarm", config.alarm.number(), config.alarm_active)
            .map(|output| (output, Alarm::new(config.alarm_hold.0)));
        let pin = config.button.number().filter(|&pin| working("button", board.make_input(pin, config.button_pull)));
        let button = pin.map(|pin| {
            let pressed_high = config.button_pull == Pull::Down;
            let button = Button::new(board.is_high(pin) == pressed_high);
            Input { pin, pressed_high, button, action: config.button_action }
        });
        let said = [
            heartbeat.as_ref().map(|output| format!("heartbeat on pin {}", output.pin)),
            alarm.as_ref().map(|(output, _)| {
                let (class, above) = (&config.alarm_class, config.alarm_above);
                format!("alarm on pin {} from {above} of {class} on", output.pin)
            }),
            button.as_ref().map(|input| format!("button ({:?}) on pin {}", input.action, input.pin).to_lowercase()),
        ];
        let said: Vec<String> = said.into_iter().flatten().collect();
        if !said.is_empty() {
            log::info!("gpio: {}", said.join(", "));
        }
        Self { board, clock, readings: Arc::default(), requests, heartbeat, alarm, button }
    }

    /// What the outputs show; None where there is no output.
    pub(super) fn readings(&self) -> Option<Arc<Readings>> {
        (self.heartbeat.is_some() || self.alarm.is_some()).then(|| Arc::clone(&self.readings))
    }

    /// One look at everything.
    fn tick(&mut self, now: Instant) {
        if let Some(input) = &mut self.button {
            let is_down = self.board.is_high(input.pin) == input.pressed_high;
            if input.button.was_pressed(is_down, now) {
                act(input.action, &self.requests);
            }
        }
        let paused = self.requests.pause.is_on();
        if paused {
            // What was seen before the pause says nothing about what comes after it.
            self.readings.forget();
        }
        if let Some(output) = &mut self.heartbeat {
            output.set(self.board.as_mut(), heartbeat(&self.readings, now));
        }
        if let Some((output, alarm)) = &mut self.alarm {
            if paused {
                alarm.clear();
            }
            // A result may still come between the two looks at the readings.
            let is_on = alarm.is_on(&self.readings, now) && !paused;
            if is_on && !output.is_on {
                log::warn!("gpio: alarm on: the class covers {:.3} of the picture", self.readings.share());
            } else if output.is_on && !is_on {
                log::info!("gpio: alarm off");
            }
            output.set(self.board.as_mut(), is_on);
        }
    }

    /// Starts the thread. It ends when `shutdown` is pulled or the [`Attended`] is dropped.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(super) fn start(mut self, shutdown: &Shutdown) -> io::Result<Attended> {
        let shutdown = shutdown.clone();
        let (stop, stopped) = bounded::<()>(0);
        let (end, ended) = bounded::<()>(0);
        thread::Builder::new().name("gpio".to_owned()).spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) && !shutdown.is_pulled() {
                self.tick(self.clock.now());
            }
            // Before `end`: who waits for that finds the outputs inactive.
            drop(self);
            drop(end);
        })?;
        Ok(Attended { stop: Some(stop), ended })
    }
}

impl Drop for Panel {
    /// Whether the run ends, fails to start, or the panel's thread panics: nothing stays switched on.
    fn drop(&mut self) {
        if thread::panicking() {
            log::error!("gpio: the thread failed; lights and buttons are off for the rest of the run");
        }
        if let Some(output) = &mut self.heartbeat {
            output.set(self.board.as_mut(), false);
        }
        if let Some((output, _)) = &mut self.alarm {
            if output.is_on {
                log::info!("gpio: alarm off: the program stops");
            }
            output.set(self.board.as_mut(), false);
        }
    }
}

impl Output {
    fn set(&mut self, board: &mut dyn Board, is_on: bool) {
        if is_on != self.is_on {
            self.is_on = is_on;
            board.write(self.pin, is_on == self.active_high);
        }
    }
}

fn act(action: ButtonAction, requests: &Requests) {
    match action {
        ButtonAction::Snapshot => {
            log::info!("gpio: button pressed: a snapshot of the next frame");
            requests.snapshot.ask();
        }
        ButtonAction::Pause => {
            let words = if requests.pause.toggle() { "pause" } else { "going on" };
            log::info!("gpio: button pressed: {words}");
        }
    }
}

/// A panel at work. Dropping it ends the thread, with the outputs inactive.
#[derive(Debug)]
pub(super) struct Attended {
    stop: Option<Sender<()>>,
    ended: Receiver<()>,
}

impl Drop for Attended {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Disconnection is the good end; there is nothing to be done about the other one.
        let _ = self.ended.recv_timeout(END_LIMIT);
    }
}

#[cfg(test)]
mod tests;
