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

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(volts: Option<f64>, amps: Option<f64>, watts: Option<f64>) -> Reading {
        Reading { volts, amps, watts }
    }

    #[test]
    fn a_line_is_a_value_in_the_form_that_the_command_prints() {
        for (line, expected) in [
            ("  VDD_CORE_A current(7)=0.5A", Some(("VDD_CORE", true, 0.5))),
            ("VDD_CORE_V volt(15)=0.72V\r", Some(("VDD_CORE", false, 0.72))),
            ("EXT5V_V   volt(24)=5.1V", Some(("EXT5V", false, 5.1))),
            ("main volt(1)=-0.5V", Some(("main", false, -0.5))),
            // A name that ends as the other kind does keeps that.
            ("X_A volt(1)=1V", Some(("X_A", false, 1.0))),
            ("X_V current(1)=1A", Some(("X_V", true, 1.0))),
            ("a,b_A current(1)=1A", Some(("a_b", true, 1.0))),
            ("_A current(1)=1A", None),
            ("X_A current(1)=1V", None),
            ("X_V volt(1)=1A", None),
            ("X_V temp(1)=1V", None),
            ("X_V volt(1)=infV", None),
            ("X_V volt(1)=NaNV", None),
            ("X_V volt(1)=1.0.0V", None),
            ("X_V volt(1) 1V", None),
            ("X_V", None),
            ("", None),
        ] {
            let expected =
                expected.map(|(name, is_current, number): (&str, bool, f64)| (name.to_owned(), is_current, number));
            assert_eq!(value(line), expected, "{line}");
        }
    }

    #[test]
    fn volts_and_amperes_of_one_name_are_one_rail() {
        let text = "A_A current(0)=0.5A\nB_A current(1)=2A\nnonsense\nB_V volt(2)=3V\nA_V volt(3)=4V\nC_V volt(4)=5V\n";
        let expected = [
            ("A".to_owned(), reading(Some(4.0), Some(0.5), Some(2.0))),
            ("B".to_owned(), reading(Some(3.0), Some(2.0), Some(6.0))),
            ("C".to_owned(), reading(Some(5.0), None, None)),
        ];
        assert_eq!(rails(text).unwrap(), expected);
        let error = "it printed no rail (NAME_V volt(8)=3.3V, NAME_A current(0)=0.1A) but \"error=1\"";
        assert_eq!(rails(" error=1\n").unwrap_err(), error);
        assert!(rails(&"x".repeat(1000)).unwrap_err().ends_with(&format!(" but {:?}", "x".repeat(100))));
    }

    #[test]
    fn more_rails_than_a_chip_has_are_left_out() {
        let line = |n: usize, ending: &str| format!("R{n:02}_{ending}\n");
        let mut text: String = (0..MOST + 2).map(|n| line(n, "V volt(1)=2V")).collect();
        // Those that are known go on.
        text += &line(0, "A current(1)=3A");
        text += &line(MOST - 1, "A current(1)=4A");
        text += &line(MOST, "A current(1)=5A");
        let rails = rails(&text).unwrap();
        assert_eq!(rails.len(), MOST);
        assert_eq!([rails[0].1.watts, rails[1].1.watts, rails[MOST - 1].1.watts], [Some(6.0), None, Some(8.0)]);
    }

    #[test]
    fn a_rail_with_a_power_is_of_the_chip_and_a_voltage_alone_is_not() {
        let rails = vec![
            ("A".to_owned(), reading(Some(4.0), Some(0.5), Some(2.0))),
            ("C".to_owned(), reading(Some(5.0), None, None)),
        ];
        let found: Vec<_> =
            found(&rails).into_iter().map(|it| (it.key, it.name, it.device, it.source, it.class)).collect();
        let expected = [("A", Class::Pmic), ("C", Class::Other)].map(|(name, class)| {
            (format!("pmic {name}"), name.to_owned(), "pmic".to_owned(), "pmic".to_owned(), class)
        });
        assert_eq!(found, expected);
        let failed = Err("why".to_owned());
        let answer = Ok(rails);
        for (name, answer, expected) in [
            ("C", Some(&answer), Ok(reading(Some(5.0), None, None))),
            ("D", Some(&answer), Err("the power chip tells of it no more".to_owned())),
            ("C", Some(&failed), Err("why".to_owned())),
            ("C", None, Err("nobody asks the power chip".to_owned())),
        ] {
            assert_eq!(read(name, answer), expected);
        }
    }
}
