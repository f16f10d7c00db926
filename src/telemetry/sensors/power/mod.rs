//! The power rails: what measures them, which of them make the board's total, and their energy.

mod hwmon;
mod iio;
mod pmic;
mod powercap;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use base::clock::Instant;

use super::command::Repeated;
use super::energy::Energy;
use super::health::Health;
use super::options::{SensorCommand, SensorOptions};
use super::{files, Rail, MOST};

/// Looks that may fail one after the other before a rail's energy has a gap.
const GAP: u32 = 5;
/// A shunt in which nothing flows measures a little of either sign.
const NOISE: f64 = 0.1;

/// A rail that was found.
pub(super) struct Found {
    /// What it is, however its folder is called this time.
    key: String,
    /// The name that it would like to have.
    name: String,
    /// Tells it from another one of that name.
    device: String,
    source: String,
    class: Class,
    meter: Meter,
}

/// Which rails make the total, where the configuration doesn't say: those of the lowest class that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Chips that were put there to measure this board.
    Chip,
    /// The power chip of a Raspberry Pi 5.
    Pmic,
    /// The processor's own counters.
    Processor,
    /// Everything else: batteries, graphics cards, a part of another rail.
    Other,
}

/// How a rail is read.
pub(super) enum Meter {
    Hwmon(hwmon::Channel),
    Iio(iio::Chip),
    Powercap(powercap::Zone),
    Pmic,
}

/// What a meter says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Reading {
    volts: Option<f64>,
    amps: Option<f64>,
    watts: Option<f64>,
}

/// A rail with what became of it.
struct Held {
    found: Found,
    /// Its own for good.
    name: String,
    energy: Energy,
    health: Health,
    reversed: Health,
    last: Rail,
}

/// All rails.
pub(super) struct Power {
    rails: Vec<Held>,
    wanted: Option<BTreeSet<String>>,
    is_complaint_due: bool,
    pmic: Option<Repeated<pmic::Rails>>,
    longest: Duration,
    joules: Option<f64>,
}

impl Power {
    pub(super) fn new(config: &SensorOptions, interval: Duration, model: &str) -> Self {
        let command = match config.pmic_command.as_set() {
            Some(SensorCommand::Off) => None,
            Some(SensorCommand::Run(line)) => Some(line.clone()),
            None => files::is_pi_5(model).then(|| pmic::COMMAND.parse().ok()).flatten(),
        };
        let wanted = config.power_rails.as_set().map(|names| names.0.iter().cloned().collect());
        Self {
            rails: Vec::new(),
            is_complaint_due: wanted.is_some(),
            wanted,
            pmic: command.map(|line| Repeated::start("pmic", line, interval, pmic::rails)),
            longest: interval * GAP,
            joules: None,
        }
    }

    /// Looks for rails that are new, and for those that came back elsewhere. Returns the names of the new ones.
    pub(super) fn search(&mut self, root: &Path) -> Vec<String> {
        let found = hwmon::search(root).into_iter().chain(iio::search(root)).chain(powercap::search(root));
        self.take(found.collect())
    }

    fn take(&mut self, found: Vec<Found>) -> Vec<String> {
        let mut new = Vec::new();
        for found in found {
            if let Some(held) = self.rails.iter_mut().find(|held| held.found.key == found.key) {
                held.found.meter = found.meter;
            } else if self.rails.len() < MOST {
                let is_taken = |name: &str| name == "total" || self.rails.iter().any(|held| held.name == name);
                let name = files::unique(&found.name, &found.device, is_taken);
                new.push(format!("power rail {name} ({})", found.source));
                self.rails.push(Held::new(found, name));
            }
        }
        if !new.is_empty() {
            self.count();
        }
        new
    }

    /// Decides which rails make the total.
    fn count(&mut self) {
        // The part of a chip that measures the board's supply is the whole of the chip's others.
        let best = self.rails.iter().map(|held| held.found.class).filter(|class| *class != Class::Other).min();
        let is_best = |held: &Held| Some(held.found.class) == best;
        let has_input =
            best == Some(Class::Chip) && self.rails.iter().any(|held| is_best(held) && is_input(&held.name));
        let counted: Vec<bool> = self
            .rails
            .iter()
            .map(|held| match &self.wanted {
                Some(names) => names.contains(&held.name),
                None => is_best(held) && (!has_input || is_input(&held.name)),
            })
            .collect();
        for (held, counted) in self.rails.iter_mut().zip(counted) {
            held.last.counted = counted;
        }
    }

    /// Reads every rail: the rails, the total's watts, and its joules.
    pub(super) fn look(&mut self, now: Instant) -> (Vec<Rail>, Option<f64>, Option<f64>) {
        // Asked first: an answer that comes in between is the next look's.
        let has_heard = self.has_heard();
        let answer = self.pmic.as_ref().map(Repeated::latest);
        if let Some(Ok(rails)) = &answer {
            let new = self.take(pmic::found(rails));
            if !new.is_empty() {
                log::info!("sensors: found {}", new.join(", "));
            }
        }
        let mut added = 0.0;
        for held in &mut self.rails {
            let reading = match &held.found.meter {
                Meter::Hwmon(channel) => channel.read(),
                Meter::Iio(chip) => chip.read(),
                Meter::Pmic => pmic::read(&held.found.name, answer.as_ref()),
                Meter::Powercap(zone) => zone.read().map(|(joules, range)| {
                    let (new, watts) = held.energy.counted(now, joules, range);
                    added += if held.last.counted { new } else { 0.0 };
                    Reading { watts, ..Reading::default() }
                }),
            };
            let new = held.take(reading, now, self.longest);
            added += if held.last.counted { new } else { 0.0 };
        }
        if self.rails.iter().any(|held| held.last.counted && held.last.joules.is_some()) {
            *self.joules.get_or_insert(0.0) += added;
        }
        if has_heard {
            self.complain();
        }
        (self.rails.iter().map(|held| held.last.clone()).collect(), self.watts(), self.joules)
    }

    /// The total now, where every rail of it is known, and those that the configuration names are there.
    fn watts(&self) -> Option<f64> {
        let counted = || self.rails.iter().filter(|held| held.last.counted);
        let is_whole = self.wanted.as_ref().is_none_or(|names| names.len() == counted().count());
        // Less than nothing flows into a battery, or a shunt is wired the wrong way round: no sum of it would be true.
        let known = |held: &Held| held.last.watts.filter(|watts| *watts >= 0.0);
        (is_whole && counted().count() > 0).then(|| counted().map(known).sum()).flatten()
    }

    /// Says once which names of the configuration are no rails of this board.
    fn complain(&mut self) {
        if std::mem::take(&mut self.is_complaint_due) {
            self.complaint().into_iter().for_each(|complaint| log::warn!("telemetry.power_rails: {complaint}"));
        }
    }

    fn complaint(&self) -> Option<String> {
        let names: Vec<&str> = self.rails.iter().map(|held| held.name.as_str()).collect();
        let wanted = self.wanted.iter().flatten().map(String::as_str);
        let missing: Vec<&str> = wanted.filter(|name| !names.contains(name)).collect();
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        (!missing.is_empty()).then(|| {
            format!("this board has no {} now, so that the total is unknown. Its rails: {there}", missing.join(", "))
        })
    }

    /// The command has answered or failed.
    pub(super) fn has_heard(&self) -> bool {
        self.pmic.as_ref().is_none_or(Repeated::has_tried)
    }

    /// A counter was read once, and tells a power only at the next look.
    pub(super) fn is_counting(&self) -> bool {
        self.rails.iter().any(|held| held.last.watts.is_none() && held.last.joules.is_some())
    }

    pub(super) fn describe(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.rails.iter().map(Held::describe).collect();
        if let Some(Err(reason)) = self.pmic.as_ref().map(Repeated::latest) {
            lines.push(format!("power rails of the power chip: {reason}"));
        }
        lines
    }
}

/// Whether a rail's name says that it is the supply of all others, as on NVIDIA's boards: VDD_IN, POM_5V_IN.
fn is_input(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.split('@').next().unwrap_or_default();
    name == "vin" || name.ends_with("_in")
}

impl Held {
    fn new(found: Found, name: String) -> Self {
        let last = Rail { name: name.clone(), source: found.source.clone(), ..Rail::default() };
        let (health, reversed) = (Health::default(), Health::default());
        Self { found, name, energy: Energy::default(), health, reversed, last }
    }

    /// Takes what the meter said. Returns the joules that came by a power.
    fn take(&mut self, reading: Result<Reading, String>, now: Instant, longest: Duration) -> f64 {
        let what = format!("power rail {}", self.name);
        let reading = match reading {
            Ok(reading) => {
                self.health.good(&what);
                reading
            }
            Err(reason) => {
                match self.found.meter {
                    // Its command tells of its failures itself, once for all rails.
                    Meter::Pmic => self.health.quiet(reason),
                    _ => self.health.failed(&what, reason, now),
                }
                Reading::default()
            }
        };
        let watts = reading.watts.map(|watts| if (-NOISE..0.0).contains(&watts) { 0.0 } else { watts });
        let is_reversed = watts.is_some_and(|watts| watts < 0.0);
        if is_reversed {
            let reason =
                "power flows backwards, and is not counted: a battery that is charged, or a chip whose IN+ and \
                          IN- are swapped";
            self.reversed.failed(&what, reason.to_owned(), now);
        } else if watts.is_some() {
            self.reversed.good(&format!("{what}: direction of power"));
        }
        let is_counter = matches!(self.found.meter, Meter::Powercap(_));
        let power = watts.filter(|_| !is_counter && !is_reversed);
        let added = self.energy.measured(now, power, longest);
        self.last.volts = reading.volts;
        self.last.amps = reading.amps;
        self.last.watts = watts;
        self.last.joules = self.energy.joules();
        added
    }

    fn describe(&self) -> String {
        let (last, mut values) = (&self.last, Vec::new());
        values.extend(last.volts.map(|volts| format!("{volts:.3} V")));
        values.extend(last.amps.map(|amps| format!("{amps:.3} A")));
        values.extend(last.watts.map(|watts| format!("{watts:.3} W")));
        if let Some(reason) = self.health.reason() {
            values.push(format!("not readable: {reason}"));
        }
        if values.is_empty() {
            values.push("unknown".to_owned());
        }
        let counted = if last.counted { "; in the total" } else { "" };
        format!("power rail {} ({}): {}{counted}", self.name, last.source, values.join(", "))
    }
}

#[cfg(test)]
mod tests;
