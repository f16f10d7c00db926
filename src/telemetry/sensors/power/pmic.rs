//! The power chip of a Raspberry Pi 5, by what `vcgencmd pmic_read_adc` prints:
//!
//! ```text
//! VDD_CORE_A current(7)=0.71846000A
//! VDD_CORE_V volt(15)=0.72118070V
//! ```

use super::super::files;
use super::{Class, Found, Meter, Reading};

/// Raspberry Pi OS has it.
pub(super) const COMMAND: &str = "vcgencmd pmic_read_adc";
/// Rails that are taken; there are fourteen.
const MOST: usize = 32;

/// The rails in the order in which they were printed.
pub(super) type Rails = Vec<(String, Reading)>;

/// What the command printed. Lines that are no values are passed over; without any it is an error.
pub(super) fn rails(text: &str) -> Result<Rails, String> {
    let mut rails = Rails::new();
    for (name, is_current, value) in text.lines().filter_map(value) {
        let place = rails.iter().position(|(other, _)| *other == name);
        let place = place.unwrap_or_else(|| {
            rails.push((name, Reading::default()));
            rails.len() - 1
        });
        if let Some((_, reading)) = rails.get_mut(place).filter(|_| place < MOST) {
            *(if is_current { &mut reading.amps } else { &mut reading.volts }) = Some(value);
        }
    }
    rails.truncate(MOST);
    if rails.is_empty() {
        let said: String = text.trim().chars().take(100).collect();
        return Err(format!("it printed no rail (NAME_V volt(8)=3.3V, NAME_A current(0)=0.1A) but {said:?}"));
    }
    for (_, reading) in &mut rails {
        reading.watts = reading.volts.zip(reading.amps).map(|(volts, amps)| volts * amps);
    }
    Ok(rails)
}

/// Name, whether it is a current, volts or amperes.
fn value(line: &str) -> Option<(String, bool, f64)> {
    let (name, rest) = line.trim().split_once(char::is_whitespace)?;
    let (kind, value) = rest.trim().split_once('=')?;
    let (ending, unit) = if kind.starts_with("current(") { ("_A", 'A') } else { ("_V", 'V') };
    if ending == "_V" && !kind.starts_with("volt(") {
        return None;
    }
    let value: f64 = value.strip_suffix(unit)?.parse().ok()?;
    let name = files::word(name.strip_suffix(ending).unwrap_or(name));
    (value.is_finite() && !name.is_empty()).then_some((name, ending == "_A", value))
}

/// The rails of an answer. A voltage without a current, as that of the supply, is no part of the total.
pub(super) fn found(rails: &Rails) -> Vec<Found> {
    let one = |(name, reading): &(String, Reading)| Found {
        key: format!("pmic {name}"),
        name: name.clone(),
        device: "pmic".to_owned(),
        source: "pmic".to_owned(),
        class: if reading.watts.is_some() { Class::Pmic } else { Class::Other },
        meter: Meter::Pmic,
    };
    rails.iter().map(one).collect()
}

/// One rail of the last answer.
pub(super) fn read(name: &str, answer: Option<&Result<Rails, String>>) -> Result<Reading, String> {
    match answer {
        Some(Ok(rails)) => {
            let rail = rails.iter().find(|(other, _)| other == name);
            rail.map(|(_, reading)| *reading).ok_or_else(|| "the power chip tells of it no more".to_owned())
        }
        Some(Err(reason)) => Err(reason.clone()),
        None => Err("nobody asks the power chip".to_owned()),
    }
}
