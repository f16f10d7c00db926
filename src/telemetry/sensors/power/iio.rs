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
