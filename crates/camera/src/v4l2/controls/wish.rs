//! What the user wishes of a control, and the number that the driver gets for it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};

use super::list::{ControlInfo, ControlKind};

/// The wished values by the controls' names: `[camera.controls]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Controls(BTreeMap<String, ControlValue>);

impl Controls {
    /// Whether nothing is wished.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &ControlValue)> {
        self.0.iter()
    }
}

impl<const N: usize> From<[(&str, ControlValue); N]> for Controls {
    fn from(wishes: [(&str, ControlValue); N]) -> Self {
        Self(wishes.map(|(name, value)| (name.to_owned(), value)).into())
    }
}

/// A value as the user writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ControlValue {
    /// A number, also of a menu's entry.
    Integer(i64),
    /// Off or on.
    Boolean(bool),
    /// The words of a menu's entry.
    Text(String),
}

impl fmt::Display for ControlValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => number.fmt(f),
            Self::Boolean(is_on) => is_on.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for ControlValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl Visitor<'_> for AnyValue {
    type Value = ControlValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, true, false, or the words of a menu's entry")
    }

    fn visit_bool<E: Error>(self, is_on: bool) -> Result<ControlValue, E> {
        Ok(ControlValue::Boolean(is_on))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<ControlValue, E> {
        Ok(ControlValue::Integer(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<ControlValue, E> {
        i64::try_from(number).map(ControlValue::Integer).map_err(|_| E::custom(format!("{number} is too large")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ControlValue, E> {
        Ok(ControlValue::Text(text.to_owned()))
    }
}

impl ControlValue {
    /// The number that stands for it in `control`, or why it can't be.
    pub(super) fn number_for(&self, control: &ControlInfo) -> Result<i64, String> {
        if control.read_only {
            return Err("the camera has it as read-only: it can't be set".to_owned());
        }
        let number = match (control.kind, self) {
            (ControlKind::Boolean, Self::Boolean(is_on)) => Some(i64::from(*is_on)),
            (ControlKind::Boolean, Self::Integer(number)) => Some(*number).filter(|number| [0, 1].contains(number)),
            (ControlKind::Button, Self::Boolean(true) | Self::Integer(1)) => Some(1),
            (ControlKind::Button | ControlKind::Text, _) => None,
            (ControlKind::Menu | ControlKind::IntegerMenu, Self::Text(words)) => entry(control, words),
            (ControlKind::Menu | ControlKind::IntegerMenu, Self::Integer(number)) if !control.items.is_empty() => {
                control.items.iter().any(|item| item.index == *number).then_some(*number)
            }
            (ControlKind::Bitmask, Self::Integer(number)) => {
                Some(*number).filter(|number| *number >= 0 && number & !control.maximum == 0)
            }
            (_, Self::Integer(number)) => {
                Some(*number).filter(|number| (control.minimum..=control.maximum).contains(number))
            }
            (_, Self::Boolean(_) | Self::Text(_)) => None,
        };
        number.ok_or_else(|| {
            let default = match control.kind {
                ControlKind::Button | ControlKind::Text => String::new(),
                ControlKind::Boolean => format!("; the default is {}", control.default != 0),
                _ => format!("; the default is {}", control.shown(control.default)),
            };
            format!("expected {}{default}", control.expected())
        })
    }
}

/// The entry of a menu with these words.
fn entry(control: &ControlInfo, words: &str) -> Option<i64> {
    let same = |item: &&super::MenuItem| item.text.trim().eq_ignore_ascii_case(words.trim());
    control.items.iter().find(same).map(|item| item.index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ControlValue::{Boolean, Integer, Text};

    fn number(control: &ControlInfo, value: &ControlValue) -> Result<i64, String> {
        value.number_for(control)
    }

    #[test]
    fn every_kind_of_control_takes_its_values_and_no_others() {
        let control = ControlInfo::of_a_test;
        let mode = [(1, "Manual Mode"), (3, "Aperture Priority Mode")];
        for (control, good, bad) in [
            (
                control("gain", ControlKind::Integer, (0, 255), &[]),
                vec![(Integer(0), 0), (Integer(255), 255)],
                vec![Integer(-1), Integer(256), Boolean(true), Text("7".into())],
            ),
            (
                control("focus_auto", ControlKind::Boolean, (0, 1), &[]),
                vec![(Boolean(true), 1), (Boolean(false), 0), (Integer(1), 1)],
                vec![Integer(2), Text("on".into())],
            ),
            (
                control("exposure_auto", ControlKind::Menu, (0, 3), &mode),
                vec![(Integer(3), 3), (Text("manual mode ".into()), 1)],
                vec![Integer(0), Integer(2), Boolean(true), Text("Manual".into())],
            ),
            (
                control("link_frequency", ControlKind::IntegerMenu, (0, 1), &[(0, "456000000"), (1, "912000000")]),
                vec![(Integer(1), 1), (Text("456000000".into()), 0)],
                vec![Integer(2), Integer(456_000_000)],
            ),
            (
                control("unlisted", ControlKind::Menu, (0, 3), &[]),
                vec![(Integer(3), 3)],
                vec![Integer(4), Text("x".into())],
            ),
            (
                control("pixel_rate", ControlKind::Integer64, (0, 1 << 40), &[]),
                vec![(Integer(1 << 40), 1 << 40)],
                vec![Integer((1 << 40) + 1)],
            ),
            (
                control("lights", ControlKind::Bitmask, (0, 0xf0), &[]),
                vec![(Integer(0), 0), (Integer(0x30), 0x30)],
                vec![Integer(0x31), Integer(-16), Boolean(true)],
            ),
            (
                control("focus_now", ControlKind::Button, (0, 0), &[]),
                vec![(Boolean(true), 1), (Integer(1), 1)],
                vec![Boolean(false), Integer(0)],
            ),
            (control("label", ControlKind::Text, (0, 32), &[]), vec![], vec![Integer(1), Text("x".into())]),
        ] {
            for (value, expected) in good {
                assert_eq!(number(&control, &value), Ok(expected), "{} {value}", control.name);
            }
            for value in bad {
                let reason = number(&control, &value).unwrap_err();
                assert!(reason.starts_with(&format!("expected {}", control.expected())), "{value}: {reason}");
            }
            let fixed = ControlInfo { read_only: true, ..control };
            assert!(number(&fixed, &Integer(1)).unwrap_err().contains("read-only"));
        }
    }

    #[test]
    fn a_refusal_says_what_is_taken() {
        let mode = [(1, "Manual Mode"), (3, "Aperture Priority Mode")];
        let menu = ControlInfo::of_a_test("exposure_auto", ControlKind::Menu, (1, 3), &mode);
        let said = number(&menu, &Integer(2)).unwrap_err();
        assert_eq!(said, "expected 1 (Manual Mode), 3 (Aperture Priority Mode); the default is 1 (Manual Mode)");
        let steps = ControlInfo { step: 10, ..ControlInfo::of_a_test("t", ControlKind::Integer, (2000, 6500), &[]) };
        let said = number(&steps, &Integer(7000)).unwrap_err();
        assert_eq!(said, "expected 2000 to 6500 in steps of 10; the default is 2000");
    }

    #[test]
    fn values_are_read_as_they_are_written() {
        #[derive(Deserialize)]
        struct One {
            v: ControlValue,
        }
        let read = |text: &str| toml::from_str::<One>(&format!("v = {text}")).map(|one| one.v);
        for (text, expected) in
            [("-3", Integer(-3)), ("0x10", Integer(16)), ("true", Boolean(true)), ("'50 Hz'", Text("50 Hz".into()))]
        {
            assert_eq!(read(text).unwrap(), expected, "{text}");
        }
        for text in ["1.5", "[1]", "{}", "2026-12-01"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
