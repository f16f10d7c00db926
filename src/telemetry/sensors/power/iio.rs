//! INA2xx chips under the kernel's other driver for them, which is of the kind for converters (`ina2xx-adc`).

use std::path::{Path, PathBuf};

use super::super::files;
use super::hwmon::is_power_monitor;
use super::{Class, Found, Meter, Reading};

/// A chip, with its channels' files less the ending: `…/in_voltage1`.
pub(in super::super) struct Chip {
    /// The bus voltage; the other one is the shunt's.
    voltage: PathBuf,
    current: PathBuf,
    power: PathBuf,
}

pub(super) fn search(root: &Path) -> Vec<Found> {
    files::folders(root, "sys/bus/iio/devices", "iio:device").iter().filter_map(|folder| chip(folder)).collect()
}

fn chip(folder: &Path) -> Option<Found> {
    let chip = files::label(folder, "name")?;
    let channel = |name: &str| Some(folder.join(name)).filter(|path| with(path, "_raw").exists());
    let meter =
        Chip { voltage: channel("in_voltage1")?, power: channel("in_power2")?, current: channel("in_current3")? };
    if !is_power_monitor(&chip) {
        return None;
    }
    let device = device(folder);
    Some(Found {
        key: format!("iio {chip} {device}"),
        name: files::label(folder, "label").unwrap_or_else(|| format!("{chip}@{device}")),
        source: format!("iio {chip}"),
        device,
        class: Class::Chip,
        meter: Meter::Iio(meter),
    })
}

/// The chip on its bus. An IIO device has no link to it: it lies in the chip's folder.
fn device(folder: &Path) -> String {
    let chip = std::fs::canonicalize(folder).ok().and_then(|path| Some(files::name(path.parent()?)));
    let is_chip = |name: &String| name.contains('-');
    files::word(&chip.filter(is_chip).unwrap_or_else(|| files::name(folder)))
}

fn with(path: &Path, ending: &str) -> PathBuf {
    path.with_file_name(files::name(path) + ending)
}

impl Chip {
    /// Millivolts, milliamperes and milliwatts are raw values times their scales.
    pub(super) fn read(&self) -> Result<Reading, String> {
        let value = |channel: &Path| {
            Ok::<_, String>(files::decimal(&with(channel, "_raw"))? * files::decimal(&with(channel, "_scale"))? * 1e-3)
        };
        let (volts, amps, watts) = (value(&self.voltage)?, value(&self.current)?, value(&self.power)?);
        let watts = if amps < 0.0 { -watts.abs() } else { watts };
        Ok(Reading { volts: Some(volts), amps: Some(amps), watts: Some(watts) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::Tree;
    use super::*;

    const FOLDER: &str = "sys/bus/iio/devices/iio:device0";

    /// A chip with 5.1 V, so many raw amperes and 4.08 W.
    fn tree(name: &str, current: i32) -> Tree {
        let tree = Tree::new();
        for (file, value) in [
            ("name", name),
            ("in_voltage1_raw", "1275"),
            ("in_voltage1_scale", "4.000000000"),
            ("in_power2_raw", "204"),
            ("in_power2_scale", "20.000000000"),
            ("in_current3_scale", "0.500000000"),
        ] {
            tree.write(&format!("{FOLDER}/{file}"), value);
        }
        tree.write(&format!("{FOLDER}/in_current3_raw"), current);
        tree
    }

    #[test]
    fn a_chip_has_a_sign_by_its_current() {
        for (current, amps, watts) in [(1600, 0.8, 4.08), (0, 0.0, 4.08), (-1600, -0.8, -4.08)] {
            let tree = tree("ina219", current);
            let [found] = &search(tree.root())[..] else { panic!("one chip") };
            let Meter::Iio(chip) = &found.meter else { panic!("of this kind") };
            let reading = chip.read().unwrap();
            let near = |value: Option<f64>, expected: f64| (value.unwrap() - expected).abs() < 1e-9;
            assert!(near(reading.volts, 5.1) && near(reading.amps, amps) && near(reading.watts, watts), "{reading:?}");
        }
    }

    #[test]
    fn a_chip_is_named_by_its_label_or_else_by_its_place() {
        let tree = tree("ina219", 1);
        let found = || {
            let [found] = &search(tree.root())[..] else { panic!("one chip") };
            (found.key.clone(), found.name.clone(), found.source.clone(), found.device.clone(), found.class)
        };
        let expected = |name: &str| {
            let (key, device) = ("iio ina219 iio:device0".to_owned(), "iio:device0".to_owned());
            (key, name.to_owned(), "iio ina219".to_owned(), device, Class::Chip)
        };
        assert_eq!(found(), expected("ina219@iio:device0"));
        tree.write(&format!("{FOLDER}/label"), "vdd main");
        assert_eq!(found(), expected("vdd_main"));
    }

    #[test]
    fn other_converters_and_chips_without_a_channel_are_none() {
        assert!(search(tree("ads1015", 1).root()).is_empty());
        for channel in ["in_voltage1_raw", "in_power2_raw", "in_current3_raw"] {
            let tree = tree("ina219", 1);
            tree.remove(&format!("{FOLDER}/{channel}"));
            assert!(search(tree.root()).is_empty(), "{channel}");
        }
        let tree = tree("ina219", 1);
        tree.remove(&format!("{FOLDER}/in_power2_scale"));
        let [found] = &search(tree.root())[..] else { panic!("one chip") };
        let Meter::Iio(chip) = &found.meter else { panic!("of this kind") };
        assert!(chip.read().unwrap_err().contains("in_power2_scale"));
    }
}
