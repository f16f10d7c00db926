//! The temperatures: the kernel's thermal zones, hwmon chips that are none of them, Edge TPU cards.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::health::Health;
use super::{files, Temperature, MOST};
use crate::clock::Instant;

/// What a device of a board can have, °C. Beyond it is no temperature but a broken device: a dead Edge TPU has -89.7, a
/// sensor without power -274 or 200.
const POSSIBLE: RangeInclusive<f64> = -55.0..=150.0;
/// Temperatures of a chip that are looked for.
const CHANNELS: u32 = 16;
/// Names of the zone that is the processor's, the best first.
const SOC: [&str; 7] =
    ["cpu-thermal", "cpu_thermal", "bcm2835_thermal", "soc-thermal", "soc_thermal", "x86_pkg_temp", "CPU-therm"];
/// Beginnings of such names.
const SOC_BEGINNINGS: [&str; 3] = ["cpu", "soc", "bigcore"];
/// A chip whose every reading takes most of a second: a DS18B20 on a 1-Wire bus.
const SLOW: &str = "w1_slave_temp";
/// The processor's temperature in [`Temperature::name`].
const SOC_NAME: &str = "soc";

/// A temperature that was found.
struct Found {
    /// What it is, however its folder is called this time.
    key: String,
    /// The name that it would like to have.
    name: String,
    /// Tells it from another one of that name.
    device: String,
    source: String,
    /// In m°C.
    file: PathBuf,
}

struct Held {
    found: Found,
    /// Its own for good.
    name: String,
    health: Health,
    /// It had a value, or a fault, once. What never had one is not there: the zone of a radio that is off.
    is_known: bool,
    last: Option<f64>,
    fault: Option<String>,
}

/// All temperatures.
#[derive(Default)]
pub(super) struct Heat(Vec<Held>);

impl Heat {
    /// Looks for what is new, and for what came back elsewhere. Returns the names of the new ones.
    pub(super) fn search(&mut self, root: &Path) -> Vec<String> {
        let mut new = Vec::new();
        for found in search(root) {
            if let Some(held) = self.0.iter_mut().find(|held| held.found.key == found.key) {
                held.found.file = found.file;
            } else if self.0.len() < MOST {
                let is_taken = |name: &str| self.0.iter().any(|held| held.name == name);
                let name = files::unique(&found.name, &found.device, is_taken);
                new.push(format!("temperature {name} ({})", found.source));
                self.0.push(Held { found, name, health: Health::default(), is_known: false, last: None, fault: None });
            }
        }
        self.0.sort_by_key(|held| held.name != SOC_NAME);
        new
    }

    /// Reads every temperature.
    pub(super) fn look(&mut self, now: Instant) -> Vec<Temperature> {
        self.0.iter_mut().for_each(|held| held.look(now));
        let known = self.0.iter().filter(|held| held.is_known);
        let temperature =
            |held: &Held| Temperature { name: held.name.clone(), celsius: held.last, fault: held.fault.clone() };
        known.map(temperature).collect()
    }

    pub(super) fn describe(&self) -> Vec<String> {
        let value = |held: &Held| match held.last {
            Some(celsius) => format!("{celsius:.1} °C"),
            None => held.health.reason().unwrap_or("unknown").to_owned(),
        };
        self.0
            .iter()
            .map(|held| format!("temperature {} ({}): {}", held.name, held.found.source, value(held)))
            .collect()
    }
}

impl Held {
    fn look(&mut self, now: Instant) {
        let what = format!("temperature {}", self.name);
        (self.last, self.fault) = (None, None);
        match files::number(&self.found.file) {
            Ok(value) => {
                let celsius = value as f64 / 1000.0;
                self.is_known = true;
                if POSSIBLE.contains(&celsius) {
                    self.health.good(&what);
                    self.last = Some(celsius);
                } else {
                    let fault = format!(
                        "{celsius:.1} °C can't be: the device does not answer any more, or is broken ({})",
                        self.found.source
                    );
                    self.health.faulty(&what, fault.clone(), now);
                    self.fault = Some(fault);
                }
            }
            // What never answered is nothing that went wrong now.
            Err(reason) if self.is_known => self.health.failed(&what, reason, now),
            Err(reason) => self.health.quiet(reason),
        }
    }
}

fn search(root: &Path) -> Vec<Found> {
    let (mut found, types) = zones(root);
    found.extend(chips(root, &types));
    // Where no zone is the processor's, a chip may be: AMD's, or Intel's without its zone.
    if !found.iter().any(|found| found.name == SOC_NAME) {
        let is_soc = |found: &&mut Found| found.source == "hwmon k10temp" || found.source == "hwmon coretemp";
        if let Some(soc) = found.iter_mut().find(is_soc) {
            SOC_NAME.clone_into(&mut soc.name);
        }
    }
    found.extend(cards(root));
    found
}

/// Every thermal zone, and the types of all.
fn zones(root: &Path) -> (Vec<Found>, Vec<String>) {
    let with_type = |folder: PathBuf| Some((files::label(&folder, "type")?, folder));
    let folders = files::folders(root, "sys/class/thermal", "thermal_zone");
    let zones: Vec<(String, PathBuf)> = folders.into_iter().filter_map(with_type).collect();
    let types: Vec<String> = zones.iter().map(|(kind, _)| kind.clone()).collect();
    let soc = soc(&types);
    let found = zones.into_iter().enumerate().map(|(place, (kind, folder))| {
        let earlier = types.iter().take(place).filter(|other| **other == kind).count();
        Found {
            key: format!("zone {kind} {earlier}"),
            name: if soc == Some(place) { SOC_NAME.to_owned() } else { kind.clone() },
            device: files::name(&folder),
            source: format!("thermal zone {kind}"),
            file: folder.join("temp"),
        }
    });
    (found.collect(), types)
}

/// Which zone is the processor's.
fn soc(types: &[String]) -> Option<usize> {
    let named = SOC.iter().find_map(|name| types.iter().position(|kind| kind == name));
    let begins = |kind: &String| {
        let kind = kind.to_ascii_lowercase();
        SOC_BEGINNINGS.iter().any(|beginning| kind.starts_with(beginning))
    };
    named.or_else(|| types.iter().position(begins))
}

/// The temperatures of hwmon chips, less those that are only another view of a zone.
fn chips(root: &Path, types: &[String]) -> Vec<Found> {
    files::folders(root, "sys/class/hwmon", "hwmon").iter().flat_map(|folder| of_chip(folder, types)).collect()
}

fn of_chip(folder: &Path, types: &[String]) -> Vec<Found> {
    let Some(chip) = files::label(folder, "name") else {
        return Vec::new();
    };
    let is_zone = |kind: &String| kind.replace('-', "_") == chip;
    let has_package = types.iter().any(|kind| kind == "x86_pkg_temp");
    let device = files::device(folder);
    if device.as_ref().is_some_and(|device| device.starts_with("thermal_zone"))
        || types.iter().any(is_zone)
        || chip == SLOW
        || chip == "coretemp" && has_package
    {
        return Vec::new();
    }
    let place = device.unwrap_or_else(|| files::name(folder));
    let base = files::label(folder, "label").unwrap_or_else(|| format!("{chip}@{place}"));
    let all = (1..=CHANNELS).map(|number| (number, folder.join(format!("temp{number}_input"))));
    let all: Vec<(u32, PathBuf)> = all.filter(|(_, file)| file.exists()).collect();
    let is_single = all.len() == 1;
    let with = |(number, file): (u32, PathBuf)| {
        let label = files::label(folder, &format!("temp{number}_label"));
        // Sixteen cores are one processor.
        if chip == "coretemp" && !label.as_ref().is_some_and(|label| label.starts_with("Package")) {
            return None;
        }
        let label = label.unwrap_or_else(|| format!("temp{number}"));
        Some(Found {
            key: format!("hwmon {chip} {place} {number}"),
            name: if is_single { base.clone() } else { format!("{base}:{label}") },
            device: format!("{place}:{number}"),
            source: format!("hwmon {chip}"),
            file,
        })
    };
    all.into_iter().filter_map(with).collect()
}

/// Edge TPUs on PCIe.
fn cards(root: &Path) -> Vec<Found> {
    let card = |folder: PathBuf| {
        let name = files::word(&files::name(&folder));
        Found {
            key: format!("card {name}"),
            device: "apex".to_owned(),
            source: "Edge TPU card".to_owned(),
            file: folder.join("temp"),
            name,
        }
    };
    files::folders(root, "sys/class/apex", "apex_").into_iter().map(card).filter(|card| card.file.exists()).collect()
}
