//! What systemd is told: READY after the first class map, WATCHDOG while every stage makes progress, STATUS in words.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::clock::Instant;
use crate::pipeline::Shared;

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

impl Supervisor {
    /// Reads what systemd asks for.
    pub(super) fn from_environment() -> Self {
        let watchdog = sd_notify::watchdog_enabled();
        Self { watchdog, ready: false, last_watchdog: None, last_status: None, said_hung: false }
    }

    /// Sends what is due.
    pub(super) fn tell(&mut self, shared: &Shared, now: Instant) {
        if !self.ready && shared.has_published() {
            self.ready = true;
            notify(&[NotifyState::Ready]);
        }
        let due = |last: Option<Instant>, every| last.is_none_or(|last| now.since(last) >= every);
        if let Some(limit) = self.watchdog {
            let (stage, silence) = shared.beats.slowest(now);
            // Half the limit, so that the restart comes at most one and a half limits after a stage hung.
            if silence >= limit / 2 {
                if !self.said_hung {
                    log::error!("the {stage} stage hangs; the watchdog will start the program again");
                }
                self.said_hung = true;
            } else if due(self.last_watchdog, limit / 4) {
                self.said_hung = false;
                self.last_watchdog = Some(now);
                notify(&[NotifyState::Watchdog]);
            }
        }
        if due(self.last_status, STATUS_EVERY) {
            self.last_status = Some(now);
            notify(&[NotifyState::Status(&shared.status())]);
        }
    }

    /// The program is on its way out.
    pub(super) fn stopping() {
        notify(&[NotifyState::Stopping]);
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("systemd can't be told: {error}");
    }
}
