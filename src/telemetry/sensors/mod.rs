//! Power, heat, clock and throttling of the board, and what this process takes of it.
//!
//! [`Sensors`] finds what there is, again and again, as chips and zones come and go. Nothing here fails: what can't be read is
//! None, and the log says once why. When to look, and what becomes of it, is left to others.

mod board;
mod clock;
mod command;
mod energy;
mod files;
mod health;
mod heat;
mod lines;
mod options;
mod power;
mod process;
mod throttling;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use board::{Board, Causes, Process, Rail, Temperature, Throttle};
pub use lines::{joules, joules_per_frame, lines, throttled_line, Interval};
pub use options::{RailNames, SensorCommand, SensorOptions};

use base::clock::Instant;
use clock::Clocks;
use heat::Heat;
use power::Power;
use throttling::Throttling;

/// Time between two searches for what came since.
const SEARCH: Duration = Duration::from_secs(10);
/// Rails, and temperatures, that are taken at most: a server may have hundreds, a board has a dozen.
const MOST: usize = 64;

/// What measures on this board.
pub struct Sensors {
    root: PathBuf,
    power: Power,
    heat: Heat,
    clocks: Clocks,
    throttling: Throttling,
    searched: Option<Instant>,
}

impl Sensors {
    /// Finds what there is below `root` (`/sys`), and starts the commands that are to be asked, in threads of their own.
    pub fn new(config: &SensorOptions, root: &Path) -> Self {
        // Told to look never, it is asked for the present all the same (`pspnetd devices`).
        let interval = if config.interval.0.is_zero() { Duration::from_secs(1) } else { config.interval.0 };
        let model = files::model(root);
        let mut sensors = Self {
            root: root.to_path_buf(),
            power: Power::new(config, interval, &model),
            heat: Heat::default(),
            clocks: Clocks::default(),
            throttling: Throttling::new(config, interval, &model, root),
            searched: None,
        };
        sensors.search();
        sensors
    }

    /// Reads everything. Takes as long as the chips' buses: milliseconds; commands are not waited for.
    pub fn look(&mut self, now: Instant) -> Board {
        let searched = *self.searched.get_or_insert(now);
        if now.since(searched) >= SEARCH {
            self.searched = Some(now);
            let new = self.search();
            if !new.is_empty() {
                log::info!("sensors: found {}", new.join(", "));
            }
        }
        let (rails, watts, joules) = self.power.look(now);
        Board {
            rails,
            watts,
            joules,
            temperatures: self.heat.look(now),
            cpu_hertz: self.clocks.look(),
            throttle: self.throttling.look(now),
            process: process::look(),
        }
    }

    /// A line for each thing that was found, with its values of the last look: for the log at the start, and for
    /// `pspnetd devices`. Nothing where nothing was found.
    pub fn describe(&self) -> Vec<String> {
        let lines = self.power.describe().into_iter().chain(self.heat.describe());
        lines.chain(self.clocks.describe()).chain(self.throttling.describe()).collect()
    }

    /// Looks until everything that takes time has answered or failed once, at most for `limit`: commands, and counters of
    /// energy, which tell a power only at the second look. For programs that look once.
    pub fn settle(&mut self, clock: &dyn base::clock::Clock, limit: Duration) -> Board {
        let start = clock.now();
        loop {
            // Asked first: an answer that comes during the look is not in it.
            let has_heard = self.power.has_heard() && self.throttling.has_heard();
            let board = self.look(clock.now());
            if has_heard && !self.power.is_counting() || clock.now().since(start) >= limit {
                return board;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Names of what is new.
    fn search(&mut self) -> Vec<String> {
        let mut new = self.power.search(&self.root);
        new.extend(self.heat.search(&self.root));
        self.clocks.search(&self.root);
        self.throttling.search(&self.root);
        new
    }
}

#[cfg(test)]
mod tests;
