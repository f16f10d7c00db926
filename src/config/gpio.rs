//! `[gpio]`: which pins do what, and what of that contradicts itself.

use std::fmt;
use std::str::FromStr;

use base::text_value;
use base::values::{Fraction, Seconds};
use serde::{Deserialize, Serialize};

use super::Publish;

/// `[gpio]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gpio {
    /// BCM number of an LED that blinks while results come, or `off`.
    pub heartbeat: Pin,
    /// BCM number of the output that is active while `alarm_class` covers enough of the picture, or `off`.
    pub alarm: Pin,
    /// The class, or the group of classes, that raises the alarm.
    pub alarm_class: String,
    /// The share of the picture, more than 0 and up to 1, from which on the alarm is raised.
    pub alarm_above: Fraction,
    /// How long the alarm stays after the class has gone.
    pub alarm_hold: Seconds,
    /// Level of the alarm's pin while there is an alarm: `high`, or `low` for most relay boards.
    pub alarm_active: Level,
    /// BCM number of a button, or `off`.
    pub button: Pin,
    /// The pin's own resistor: `up` for a button to ground, `down` for a button to 3.3 V.
    pub button_pull: Pull,
    /// What the button does: `snapshot` or `pause`.
    pub button_action: ButtonAction,
}

impl Default for Gpio {
    fn default() -> Self {
        Self {
            heartbeat: Pin::OFF,
            alarm: Pin::OFF,
            alarm_class: String::new(),
            alarm_above: Fraction(0.1),
            alarm_hold: Seconds::new(2),
            alarm_active: Level::High,
            button: Pin::OFF,
            button_pull: Pull::Up,
            button_action: ButtonAction::Snapshot,
        }
    }
}

/// A pin of the 40-pin header by its BCM number, 0 to 27, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin(Option<u8>);

impl Pin {
    /// No pin.
    pub const OFF: Self = Self(None);
    /// The last pin of the header.
    const LAST: u8 = 27;

    /// The BCM number; None for `off`.
    pub const fn number(self) -> Option<u8> {
        self.0
    }
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::OFF);
        }
        let number = text.parse().ok().filter(|number| *number <= Self::LAST);
        number
            .map(|number| Self(Some(number)))
            .ok_or_else(|| format!("pin {text:?}: expected a BCM number, 0 to {}, or off", Self::LAST))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => number.fmt(f),
            None => f.write_str("off"),
        }
    }
}

text_value!([] Pin);

/// An electrical level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// 3.3 V.
    High,
    /// 0 V.
    Low,
}

/// The resistor inside the chip that gives an open input its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pull {
    /// To 3.3 V: the pin is low while the button is pressed.
    Up,
    /// To ground: the pin is high while the button is pressed.
    Down,
}

/// What the button does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ButtonAction {
    /// A snapshot of the next frame, whatever the interval.
    Snapshot,
    /// Closes the camera; pressed again, opens it.
    Pause,
}

impl Gpio {
    /// True where any pin has something to do.
    pub fn is_used(&self) -> bool {
        [self.heartbeat, self.alarm, self.button].iter().any(|pin| pin.number().is_some())
    }

    /// What can't be together, as key and reason. The key is one that was set.
    pub(super) fn contradiction(&self, publish: &Publish) -> Option<(&'static str, String)> {
        let pins = [("gpio.heartbeat", self.heartbeat), ("gpio.alarm", self.alarm), ("gpio.button", self.button)];
        for (index, (key, pin)) in pins.iter().enumerate() {
            let Some(number) = pin.number() else { continue };
            if let Some((other, _)) = pins[..index].iter().find(|(_, earlier)| earlier.number() == Some(number)) {
                return Some((key, format!("pin {number} is {other} already; each needs a pin of its own")));
            }
        }
        if self.alarm.number().is_some() && self.alarm_class.is_empty() {
            let reason = "gpio.alarm_class is empty; expected the class or group that raises the alarm";
            return Some(("gpio.alarm", reason.to_owned()));
        }
        let shoots = self.button.number().is_some() && self.button_action == ButtonAction::Snapshot;
        if shoots && publish.snapshot.dir.is_empty() {
            let reason = "the button takes snapshots, but publish.snapshot.dir is empty; set that folder, or \
                          gpio.button_action = \"pause\"";
            return Some(("gpio.button", reason.to_owned()));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contradiction(text: &str) -> Option<(&'static str, String)> {
        let config: super::super::Config = toml::from_str(text).unwrap();
        config.gpio.contradiction(&config.publish)
    }

    #[test]
    fn nothing_is_wired_unless_it_is_said() {
        assert!(!Gpio::default().is_used());
        assert_eq!(contradiction(""), None);
        assert!(Gpio { heartbeat: "0".parse().unwrap(), ..Gpio::default() }.is_used());
    }

    #[test]
    fn a_pin_has_one_function() {
        let (key, reason) =
            contradiction("[gpio]\nheartbeat = 17\nalarm = 27\nalarm_class = 'a'\nbutton = 17").unwrap();
        assert_eq!(key, "gpio.button");
        assert!(reason.starts_with("pin 17 is gpio.heartbeat already"), "{reason}");
        let (key, _) = contradiction("[gpio]\nheartbeat = 17\nalarm = '17'\nalarm_class = 'a'").unwrap();
        assert_eq!(key, "gpio.alarm");
    }

    #[test]
    fn a_function_has_all_it_needs() {
        let (key, reason) = contradiction("[gpio]\nalarm = 5").unwrap();
        assert!(key == "gpio.alarm" && reason.contains("gpio.alarm_class"), "{key}: {reason}");
        let (key, reason) = contradiction("[gpio]\nbutton = 5").unwrap();
        assert!(key == "gpio.button" && reason.contains("publish.snapshot.dir"), "{key}: {reason}");
        assert_eq!(contradiction("[gpio]\nbutton = 5\nbutton_action = 'pause'"), None);
        assert_eq!(contradiction("[gpio]\nbutton = 5\n[publish.snapshot]\ndir = 'x'"), None);
        // Without a button its action needs nothing.
        assert_eq!(contradiction("[gpio]\nbutton_action = 'snapshot'"), None);
    }

    #[test]
    fn pins_are_those_of_the_header() {
        for text in ["off", "0", "27"] {
            assert_eq!(text.parse::<Pin>().unwrap().to_string(), text);
        }
        for text in ["28", "-1", "GPIO17", "", "2.5", "300", "Off", "256"] {
            assert!(text.parse::<Pin>().unwrap_err().contains("BCM number, 0 to 27, or off"), "{text}");
        }
    }
}
