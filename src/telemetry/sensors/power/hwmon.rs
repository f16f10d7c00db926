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

#[cfg(test)]
mod tests {
    use super::super::super::tests::Tree;
    use super::*;

    fn chip(name: &str, files: &[(&str, &str)]) -> Tree {
        let tree = Tree::new();
        tree.chip(0, name, "1-0040", files);
        tree
    }

    fn names(tree: &Tree) -> Vec<String> {
        search(tree.root()).into_iter().map(|found| found.name).collect()
    }

    /// What the chip's first channel says.
    fn read(files: &[(&str, &str)]) -> Result<Reading, String> {
        let tree = chip("ina219", files);
        let found = search(tree.root());
        let Meter::Hwmon(channel) = &found[0].meter else { panic!("of this kind") };
        channel.read()
    }

    #[test]
    fn a_channel_tells_a_power_or_voltage_and_current() {
        let (volts, amps, own, mean) =
            (("in1_input", "5000"), ("curr1_input", "500"), ("power1_input", "1"), ("power1_average", "2"));
        for (files, is_one) in [
            (&[volts][..], false),
            (&[amps], false),
            (&[volts, amps], true),
            (&[own], true),
            (&[mean], true),
            (&[volts, amps, ("in1_enable", "0")], false),
            (&[volts, amps, ("in1_enable", "1")], true),
            (&[("in16_input", "1"), ("curr16_input", "1")], true),
            (&[("in17_input", "1"), ("curr17_input", "1")], false),
            (&[("in0_input", "1"), ("curr0_input", "1")], false),
        ] {
            assert_eq!(names(&chip("ina219", files)).len(), usize::from(is_one), "{files:?}");
        }
    }

    #[test]
    fn a_channel_is_named_by_its_label_its_chip_or_its_place() {
        let files = |more: &[(&'static str, &'static str)]| [&[("power1_input", "1")], more].concat();
        for (more, expected) in [
            (&[][..], &["ina219@1-0040"][..]),
            (&[("label", "vdd main")], &["vdd_main"]),
            (&[("label", "vdd"), ("power1_label", "cpu")], &["cpu"]),
            (&[("in1_label", "in"), ("power1_label", "cpu")], &["in"]),
            (&[("power3_input", "1")], &["ina219@1-0040:1", "ina219@1-0040:3"]),
            (&[("power3_input", "1"), ("label", "vdd"), ("power3_label", "cpu")], &["vdd:1", "cpu"]),
        ] {
            assert_eq!(names(&chip("ina219", &files(more))), expected);
        }
        let devices = |more: &[(&'static str, &'static str)]| {
            let found = search(chip("ina219", &files(more)).root());
            found.into_iter().map(|it| (it.key, it.device)).collect::<Vec<_>>()
        };
        let key = |n: u32| format!("hwmon ina219 1-0040 {n}");
        assert_eq!(devices(&[]), [(key(1), "1-0040".to_owned())]);
        let both = [(key(1), "1-0040:1".to_owned()), (key(3), "1-0040:3".to_owned())];
        assert_eq!(devices(&[("power3_input", "1")]), both);
        // A chip without a device has the name of its folder.
        let tree = chip("ina219", &files(&[]));
        tree.remove("sys/class/hwmon/hwmon0/device");
        assert_eq!(names(&tree), ["ina219@hwmon0"]);
        tree.remove("sys/class/hwmon/hwmon0/name");
        assert!(names(&tree).is_empty());
    }

    #[test]
    fn chips_that_measure_a_board_are_known_by_their_name() {
        for (chip, expected) in
            [("ina219", true), ("ina3221", true), ("ina", false), ("inax", false), ("BAT0", false), ("xina219", false)]
        {
            assert_eq!(is_power_monitor(chip), expected, "{chip}");
        }
        let class = |name: &str| search(chip(name, &[("power1_input", "1")]).root())[0].class;
        assert_eq!((class("ina219"), class("amdgpu")), (Class::Chip, Class::Other));
    }

    #[test]
    fn a_power_is_the_chips_own_or_else_volts_times_amperes() {
        let (volts, own) = (("in1_input", "5000"), ("power1_input", "4000000"));
        let reading = |volts, amps, watts| Ok(Reading { volts, amps, watts });
        for (files, expected) in [
            (&[volts, ("curr1_input", "500")][..], reading(Some(5.0), Some(0.5), Some(2.5))),
            (&[volts, ("curr1_input", "-500")], reading(Some(5.0), Some(-0.5), Some(-2.5))),
            (&[volts, ("curr1_input", "500"), own], reading(Some(5.0), Some(0.5), Some(4.0))),
            // Its own figure has no sign.
            (&[volts, ("curr1_input", "-500"), own], reading(Some(5.0), Some(-0.5), Some(-4.0))),
            (&[volts, ("curr1_input", "0"), own], reading(Some(5.0), Some(0.0), Some(4.0))),
            (&[own], reading(None, None, Some(4.0))),
            (&[("power1_average", "3000000")], reading(None, None, Some(3.0))),
            (&[("power1_average", "3000000"), own], reading(None, None, Some(4.0))),
            // What can't be read is missing, as long as the power is not.
            (&[("in1_input", "x"), ("curr1_input", "500"), own], reading(None, Some(0.5), Some(4.0))),
        ] {
            assert_eq!(read(files), expected, "{files:?}");
        }
        for (files, file) in [
            (&[volts, ("curr1_input", "500"), ("power1_input", "x")][..], "power1_input"),
            (&[volts, ("curr1_input", "x")], "curr1_input"),
            (&[("in1_input", "x"), ("curr1_input", "500")], "in1_input"),
        ] {
            assert!(read(files).unwrap_err().contains(&format!("/{file}: ")), "{file}");
        }
    }
}
