//! Chips that the kernel's hwmon drivers serve, found by the name in `name`: the number of a folder says nothing.

use std::path::{Path, PathBuf};

use super::super::files;
use super::{Class, Found, Meter, Reading};

/// Channels of a chip that are looked for.
const CHANNELS: u32 = 16;

/// One channel of a chip.
pub(in super::super) struct Channel {
    /// `inN_input`, millivolts.
    millivolts: Option<PathBuf>,
    /// `currN_input`, milliamperes.
    milliamps: Option<PathBuf>,
    /// `powerN_input` or `powerN_average`, microwatts.
    microwatts: Option<PathBuf>,
}

/// Every channel that tells a power, or voltage and current.
pub(super) fn search(root: &Path) -> Vec<Found> {
    files::folders(root, "sys/class/hwmon", "hwmon").iter().flat_map(|folder| channels(folder)).collect()
}

fn channels(folder: &Path) -> Vec<Found> {
    let Some(chip) = files::label(folder, "name") else {
        return Vec::new();
    };
    // A chip without a device has only its folder's number.
    let place = files::device(folder).unwrap_or_else(|| files::name(folder));
    // The device tree may name a chip, or each channel of it.
    let of_chip = files::label(folder, "label");
    let all: Vec<(u32, Channel)> =
        (1..=CHANNELS).filter_map(|number| Some((number, Channel::find(folder, number)?))).collect();
    let is_single = all.len() == 1;
    let with = |(number, channel): (u32, Channel)| {
        let label = files::label(folder, &format!("in{number}_label"))
            .or_else(|| files::label(folder, &format!("power{number}_label")));
        let base = of_chip.clone().unwrap_or_else(|| format!("{chip}@{place}"));
        let name = label.unwrap_or_else(|| if is_single { base } else { format!("{base}:{number}") });
        Found {
            key: format!("hwmon {chip} {place} {number}"),
            name,
            device: if is_single { place.clone() } else { format!("{place}:{number}") },
            source: format!("hwmon {chip}"),
            class: if is_power_monitor(&chip) { Class::Chip } else { Class::Other },
            meter: Meter::Hwmon(channel),
        }
    };
    all.into_iter().map(with).collect()
}

/// Texas Instruments' family: ina219, ina220, ina226, ina230, ina231, ina238, ina260, ina3221 ...
pub(super) fn is_power_monitor(chip: &str) -> bool {
    chip.strip_prefix("ina").is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
}

impl Channel {
    fn find(folder: &Path, number: u32) -> Option<Self> {
        let file = |name: String| Some(folder.join(name)).filter(|path| path.exists());
        // An INA3221 whose channel is switched off answers nothing there.
        if files::number(&folder.join(format!("in{number}_enable"))) == Ok(0) {
            return None;
        }
        let microwatts = file(format!("power{number}_input")).or_else(|| file(format!("power{number}_average")));
        let millivolts = file(format!("in{number}_input"));
        let milliamps = file(format!("curr{number}_input"));
        let is_measured = microwatts.is_some() || millivolts.is_some() && milliamps.is_some();
        is_measured.then_some(Self { millivolts, milliamps, microwatts })
    }

    /// Volts, amperes and watts; an error where nothing of it can be read.
    pub(super) fn read(&self) -> Result<Reading, String> {
        let mut reason = None;
        let mut value = |path: &Option<PathBuf>, unit: f64| {
            let number = files::number(path.as_ref()?).map_err(|error| reason = Some(error)).ok()?;
            Some(number as f64 * unit)
        };
        let (volts, amps) = (value(&self.millivolts, 1e-3), value(&self.milliamps, 1e-3));
        let own = value(&self.microwatts, 1e-6);
        // A chip's own figure has no sign; that of the current tells the direction.
        let own = own.map(|watts| if amps.is_some_and(|amps| amps < 0.0) { -watts.abs() } else { watts });
        let product = || volts.zip(amps).map(|(volts, amps)| volts * amps);
        let watts = if self.microwatts.is_some() { own } else { product() };
        match reason {
            Some(reason) if watts.is_none() => Err(reason),
            _ => Ok(Reading { volts, amps, watts }),
        }
    }
}
