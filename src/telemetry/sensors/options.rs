//! What the configuration says of the sensors.

use std::fmt;
use std::str::FromStr;

use base::command_line::CommandLine;
use base::text_value;
use base::values::{Auto, Seconds};

/// Which sensors are looked at, how often, and by which programs. `auto` is what suits the board.
#[derive(Clone, Debug, PartialEq)]
pub struct SensorOptions {
    /// Time between two looks.
    pub interval: Seconds,
    /// Rails whose watts make the board's total.
    pub power_rails: Auto<RailNames>,
    /// Program that prints the rails of a power chip.
    pub pmic_command: Auto<SensorCommand>,
    /// Program that prints the throttle word.
    pub throttle_command: Auto<SensorCommand>,
}

impl Default for SensorOptions {
    fn default() -> Self {
        Self {
            interval: Seconds::new(1),
            power_rails: Auto::Auto,
            pmic_command: Auto::Auto,
            throttle_command: Auto::Auto,
        }
    }
}

/// Names of power rails, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RailNames(pub Vec<String>);

impl FromStr for RailNames {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(String::is_empty) {
            return Err(format!("power rails {text:?}: expected names separated by commas"));
        }
        Ok(Self(names))
    }
}

impl fmt::Display for RailNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

/// A program that prints what a sensor measures, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SensorCommand {
    /// None is run.
    Off,
    /// This one.
    Run(CommandLine),
}

impl FromStr for SensorCommand {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => text.parse().map(Self::Run),
        }
    }
}

impl fmt::Display for SensorCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Run(line) => line.fmt(f),
        }
    }
}

text_value!([] RailNames, [] SensorCommand);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rails_and_commands_parse_and_print_the_same() {
        assert_eq!("a, b,c".parse::<RailNames>().unwrap().to_string(), "a,b,c");
        for text in ["", "a,", ",a", "a,,b"] {
            assert!(text.parse::<RailNames>().unwrap_err().contains("names separated by commas"), "{text:?}");
        }
        assert_eq!("off".parse::<SensorCommand>().unwrap(), SensorCommand::Off);
        for text in ["off", "vcgencmd pmic_read_adc"] {
            assert_eq!(text.parse::<SensorCommand>().unwrap().to_string(), text);
        }
        assert!("".parse::<SensorCommand>().is_err());
    }
}
