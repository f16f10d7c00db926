//! What the board tells of itself at one moment: power, heat, clock, throttling, and what this process takes of it.
//!
//! What isn't known is None, never 0.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One look at the board.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Board {
    /// Every rail that was found, in a stable order.
    pub rails: Vec<Rail>,
    /// Watts of the rails that make the total (`counted`), where every one of them is known now.
    pub watts: Option<f64>,
    /// Joules of the counted rails since the start of the program, as far as their power was known; None where none ever was.
    pub joules: Option<f64>,
    /// Temperatures, the processor's first.
    pub temperatures: Vec<Temperature>,
    /// The processor's clock now, the fastest of its policies.
    pub cpu_hertz: Option<u64>,
    /// What slows a Raspberry Pi down; None where nothing tells.
    pub throttle: Option<Throttle>,
    /// This process.
    pub process: Process,
}

impl Board {
    /// What is left of it when the looks stop, as on a bus that hangs: the same rails and sensors, without values. Joules so
    /// far stay what they were, and this process looks at itself.
    pub fn forgotten(mut self) -> Self {
        for rail in &mut self.rails {
            (rail.volts, rail.amps, rail.watts) = (None, None, None);
        }
        for temperature in &mut self.temperatures {
            (temperature.celsius, temperature.fault) = (None, None);
        }
        Self { watts: None, cpu_hertz: None, throttle: None, process: super::process::look(), ..self }
    }

    /// The processor's temperature in °C.
    pub fn soc_celsius(&self) -> Option<f64> {
        self.temperatures.iter().find(|temperature| temperature.name == "soc").and_then(|soc| soc.celsius)
    }
}

/// A power rail.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rail {
    /// Stable and unique: `vdd_in`, `ina219@1-0040`, `package-0`, `3V3_SYS`.
    pub name: String,
    /// What measures it: `hwmon ina219`, `iio ina219`, `powercap intel-rapl:0`, `pmic`.
    pub source: String,
    /// It is part of the board's total.
    pub counted: bool,
    /// Volts.
    pub volts: Option<f64>,
    /// Amperes.
    pub amps: Option<f64>,
    /// Watts: the chip's own figure, or volts times amperes, or joules over time.
    pub watts: Option<f64>,
    /// Joules since the start of the program, watts integrated over the time in which they were known; None before the first.
    pub joules: Option<f64>,
}

/// A temperature.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Temperature {
    /// Stable and unique: `soc`, `apex_0`, the name of another thermal zone or hwmon chip.
    pub name: String,
    /// Degrees Celsius.
    pub celsius: Option<f64>,
    /// What is wrong with the device, where its value is impossible (-89.7 °C of a dead Edge TPU).
    pub fault: Option<String>,
}

/// A Raspberry Pi's throttle word, or what of it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// At this moment.
    pub now: Causes,
    /// At some time since the board's start.
    pub has_occurred: Causes,
}

/// What slows the board down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Causes {
    /// The supply's voltage is too low.
    pub under_voltage: bool,
    /// The clock is capped.
    pub frequency_capped: bool,
    /// The clock is throttled.
    pub throttled: bool,
    /// The soft temperature limit is reached.
    pub soft_temperature_limit: bool,
}

impl Causes {
    /// Every cause with its name.
    pub const fn named(&self) -> [(&'static str, bool); 4] {
        [
            ("under_voltage", self.under_voltage),
            ("frequency_capped", self.frequency_capped),
            ("throttled", self.throttled),
            ("soft_temperature_limit", self.soft_temperature_limit),
        ]
    }

    /// True where there is one.
    pub fn any(&self) -> bool {
        self.named().iter().any(|(_, is_on)| *is_on)
    }
}

/// The causes by name, separated by commas; `none`.
impl fmt::Display for Causes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.named().into_iter().filter(|(_, is_on)| *is_on).map(|(name, _)| name).collect();
        f.write_str(if names.is_empty() { "none".to_owned() } else { names.join(",") }.as_str())
    }
}

/// What this process takes. Worker processes are not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Processor time since its start, all threads, user and system, seconds.
    pub cpu_seconds: Option<f64>,
    /// Resident memory, bytes.
    pub resident_bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_that_is_not_looked_at_keeps_its_rails_and_sensors_without_values() {
        let (name, source) = ("x".to_owned(), "pmic".to_owned());
        let rail = Rail { name, source, counted: true, volts: None, amps: None, watts: None, joules: Some(4.0) };
        let soc = Temperature { name: "soc".to_owned(), celsius: None, fault: None };
        let board = Board {
            rails: vec![Rail { volts: Some(1.0), amps: Some(2.0), watts: Some(3.0), ..rail.clone() }],
            watts: Some(5.0),
            joules: Some(6.0),
            temperatures: vec![
                Temperature { celsius: Some(50.0), ..soc.clone() },
                Temperature { fault: Some("dead".to_owned()), ..soc.clone() },
            ],
            cpu_hertz: Some(7),
            throttle: Some(Throttle::default()),
            process: Process::default(),
        };
        let forgotten = board.forgotten();
        assert!(forgotten.process.cpu_seconds.is_some() && forgotten.process.resident_bytes.is_some());
        let expected = Board {
            rails: vec![rail],
            joules: Some(6.0),
            temperatures: vec![soc.clone(), soc],
            process: forgotten.process,
            ..Board::default()
        };
        assert_eq!(forgotten, expected);
    }

    #[test]
    fn the_processors_temperature_is_found_by_its_name() {
        let degrees = |name: &str, celsius| Temperature { name: name.to_owned(), celsius, fault: None };
        let soc = |temperatures: &[Temperature]| {
            Board { temperatures: temperatures.into(), ..Board::default() }.soc_celsius()
        };
        assert_eq!(soc(&[degrees("gpu", Some(40.0)), degrees("soc", Some(50.0))]), Some(50.0));
        assert_eq!((soc(&[degrees("gpu", Some(40.0))]), soc(&[degrees("soc", None)])), (None, None));
    }
}
