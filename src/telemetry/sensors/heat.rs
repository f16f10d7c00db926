//! The temperatures: the kernel's thermal zones, hwmon chips that are none of them, Edge TPU cards.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use base::clock::Instant;

use super::health::Health;
use super::{files, Temperature, MOST};

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

#[cfg(test)]
mod tests {
    use super::super::tests::{at, Tree};
    use super::*;

    /// Every temperature that has a value, with its value.
    fn values(tree: &Tree) -> Vec<(String, f64)> {
        let mut heat = Heat::default();
        heat.search(tree.root());
        heat.look(at(0)).into_iter().map(|one| (one.name, one.celsius.unwrap())).collect()
    }

    fn names(tree: &Tree) -> Vec<String> {
        values(tree).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn the_processors_zone_is_the_one_that_is_best_called_so() {
        let kinds = |kinds: &[&str]| soc(&kinds.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>());
        for (zones, expected) in [
            (&["gpu", "cpu-thermal", "cpu_thermal"][..], Some(1)),
            (&["cpu_thermal", "cpu-thermal"], Some(1)),
            (&["bcm2835_thermal", "x86_pkg_temp"], Some(0)),
            (&["x86_pkg_temp", "soc_thermal"], Some(1)),
            (&["CPU-therm", "x86_pkg_temp"], Some(1)),
            // A name that only begins so comes after the others.
            (&["cpu0-thermal", "soc-thermal"], Some(1)),
            (&["gpu", "CPU0", "soc"], Some(1)),
            (&["gpu", "bigcore0-thermal"], Some(1)),
            (&["gpu", "acpitz"], None),
            (&[], None),
        ] {
            assert_eq!(kinds(zones), expected, "{zones:?}");
        }
    }

    #[test]
    fn a_temperature_is_possible_from_55_degrees_of_frost_to_150_of_heat() {
        let tree = Tree::new();
        for (millidegrees, expected) in
            [(-55_000, Some(-55.0)), (-55_001, None), (150_000, Some(150.0)), (150_001, None), (1, Some(0.001))]
        {
            tree.zone(0, "cpu-thermal", millidegrees);
            let mut heat = Heat::default();
            heat.search(tree.root());
            let look = heat.look(at(0));
            assert_eq!((look[0].celsius, look[0].fault.is_some()), (expected, expected.is_none()), "{millidegrees}");
        }
    }

    #[test]
    fn zones_of_one_kind_are_told_apart_and_the_processor_comes_first() {
        let tree = Tree::new();
        for (number, kind) in ["acpitz", "acpitz", "cpu-thermal", "cpu-thermal", "total"].into_iter().enumerate() {
            tree.zone(number as u32, kind, 1000 * number as i32);
        }
        let expected =
            [("soc", 2.0), ("acpitz", 0.0), ("acpitz@thermal_zone1", 1.0), ("cpu-thermal", 3.0), ("total", 4.0)];
        assert_eq!(values(&tree), expected.map(|(name, celsius)| (name.to_owned(), celsius)));
    }

    #[test]
    fn a_chip_is_left_out_where_it_shows_what_a_zone_shows_or_is_too_slow() {
        let is_there = |chip: &str, device: &str, zone: &str| {
            let tree = Tree::new();
            tree.zone(0, zone, 1000);
            tree.chip(0, chip, device, &[("temp1_input", "2000"), ("temp1_label", "Package id 0")]);
            names(&tree).len() == 2
        };
        for (chip, device, zone, expected) in [
            ("tmp105", "1-0048", "gpu-thermal", true),
            ("gpu_thermal", "1-0048", "gpu-thermal", false),
            ("gpu-thermal", "1-0048", "gpu-thermal", true),
            ("acpitz", "thermal_zone0", "gpu-thermal", false),
            ("w1_slave_temp", "28-0000", "gpu-thermal", false),
            ("coretemp", "coretemp.0", "x86_pkg_temp", false),
            ("coretemp", "coretemp.0", "gpu-thermal", true),
            ("k10temp", "0000:00:18.3", "x86_pkg_temp", true),
        ] {
            assert_eq!(is_there(chip, device, zone), expected, "{chip} {device} beside {zone}");
        }
    }

    #[test]
    fn a_chips_temperatures_are_named_by_its_label_or_place_and_theirs() {
        let found = |chip: &str, files: &[(&str, &str)]| {
            let tree = Tree::new();
            tree.zone(0, "cpu-thermal", 1000);
            tree.chip(0, chip, "1-0048", files);
            names(&tree)[1..].to_vec()
        };
        let (one, three) = (("temp1_input", "1"), ("temp3_input", "3"));
        for (files, expected) in [
            (&[one][..], &["tmp105@1-0048"][..]),
            (&[one, ("temp1_label", "board")], &["tmp105@1-0048"]),
            (&[one, ("label", "the board")], &["the_board"]),
            (&[one, three], &["tmp105@1-0048:temp1", "tmp105@1-0048:temp3"]),
            (&[one, three, ("label", "x"), ("temp3_label", "hot")], &["x:temp1", "x:hot"]),
            (&[("temp16_input", "1")], &["tmp105@1-0048"]),
            (&[("temp17_input", "1")], &[]),
            (&[("temp0_input", "1")], &[]),
            (&[], &[]),
        ] {
            assert_eq!(found("tmp105", files), expected);
        }
        // Sixteen cores of Intel's are one processor.
        let cores = [one, ("temp1_label", "Core 0"), three, ("temp3_label", "Package id 0"), ("temp4_input", "4")];
        assert_eq!(found("coretemp", &cores), ["coretemp@1-0048:Package_id_0"]);
        assert_eq!(found("k10temp", &[one, ("temp1_label", "Tctl")]), ["k10temp@1-0048"]);
        // A chip without a device has the name of its folder.
        let tree = Tree::new();
        tree.chip(7, "tmp105", "1-0048", &[one]);
        tree.remove("sys/class/hwmon/hwmon7/device");
        assert_eq!(names(&tree), ["tmp105@hwmon7"]);
    }

    #[test]
    fn a_chip_is_the_processors_where_no_zone_is() {
        for (chip, expected) in [("k10temp", "soc"), ("coretemp", "soc"), ("tmp105", "tmp105@1-0048")] {
            let tree = Tree::new();
            tree.zone(0, "acpitz", 1000);
            tree.chip(0, chip, "1-0048", &[("temp1_input", "2000"), ("temp1_label", "Package id 0")]);
            assert!(names(&tree).contains(&expected.to_owned()), "{chip}: {:?}", names(&tree));
        }
    }

    #[test]
    fn what_comes_back_elsewhere_is_the_same() {
        let tree = Tree::new();
        tree.zone(0, "acpitz", 1000);
        tree.zone(1, "acpitz", 2000);
        tree.chip(0, "tmp105", "1-0048", &[("temp1_input", "3000")]);
        tree.write("sys/class/apex/apex_0/temp", 4000);
        // A card that tells no temperature is none.
        tree.write("sys/class/apex/apex_1/x", 1);
        let mut heat = Heat::default();
        let mut new = heat.search(tree.root());
        assert_eq!(
            new,
            [
                "temperature acpitz (thermal zone acpitz)",
                "temperature acpitz@thermal_zone1 (thermal zone acpitz)",
                "temperature tmp105@1-0048 (hwmon tmp105)",
                "temperature apex_0 (Edge TPU card)",
            ]
        );
        assert!(heat.describe().iter().all(|line| line.ends_with(": unknown")), "{:?}", heat.describe());
        tree.remove("sys/class/hwmon/hwmon0");
        tree.chip(5, "tmp105", "1-0048", &[("temp1_input", "5000")]);
        new = heat.search(tree.root());
        assert!(new.is_empty(), "{new:?}");
        let celsius: Vec<_> = heat.look(at(0)).into_iter().map(|one| one.celsius).collect();
        assert_eq!(celsius, [1.0, 2.0, 5.0, 4.0].map(Some));
        assert_eq!(heat.describe()[2], "temperature tmp105@1-0048 (hwmon tmp105): 5.0 °C");
        tree.remove("sys/class/hwmon/hwmon5");
        heat.look(at(1000));
        assert!(heat.describe()[2].contains("/temp1_input: No such file"), "{:?}", heat.describe());
    }

    #[test]
    fn the_log_tells_what_answered_once_and_fails_and_nothing_of_what_never_did() {
        let tree = Tree::new();
        tree.zone(0, "acpitz", 1000);
        tree.write("sys/class/thermal/thermal_zone1/type", "iwlwifi");
        tree.write("sys/class/thermal/thermal_zone1/temp", "");
        let mut heat = Heat::default();
        heat.search(tree.root());
        heat.look(at(0));
        tree.write("sys/class/thermal/thermal_zone0/temp", "");
        (1..4).for_each(|second| drop(heat.look(at(1000 * second))));
        assert_eq!(heat.0.iter().map(|held| held.health.is_told()).collect::<Vec<_>>(), [true, false]);
        tree.zone(0, "acpitz", 1000);
        heat.look(at(5000));
        assert!(!heat.0[0].health.is_told());
        // A fault is told at once.
        tree.zone(1, "iwlwifi", -89_700);
        heat.look(at(6000));
        assert!(heat.0[1].health.is_told());
    }
}
