//! Values of the configuration that no single part owns: times, amounts, fractions. Each parses itself and says what it would
//! have accepted. Values that belong to one part (a camera's source, a runtime) stand with that part.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de;

/// A value that the program may choose itself: `auto`, or the value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auto<T> {
    /// The program chooses.
    #[default]
    Auto,
    /// This one.
    Set(T),
}

impl<T> Auto<T> {
    /// The value that was set.
    pub fn as_set(&self) -> Option<&T> {
        match self {
            Self::Auto => None,
            Self::Set(value) => Some(value),
        }
    }
}

impl<T: FromStr<Err = String>> FromStr for Auto<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => text.parse().map(Self::Set).map_err(|reason| format!("{reason}, or auto")),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Auto<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Set(value) => value.fmt(f),
        }
    }
}

/// A length of time: a number of seconds, or text with a unit (`500ms`, `10s`, `5min`, `1h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl Seconds {
    /// A whole number of seconds.
    pub const fn new(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let factor = match unit {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "min" => 60.0,
            "h" => 3600.0,
            _ => f64::NAN,
        };
        let seconds = number.trim().parse::<f64>().map_or(f64::NAN, |n| n * factor);
        if (0.0..=31_536_000.0).contains(&seconds) {
            return Ok(Self(Duration::from_secs_f64(seconds)));
        }
        Err(format!("time {text:?}: expected seconds, or a number with ms, s, min or h, up to a year"))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0.as_secs_f64())
    }
}

/// A number of bytes: a number, or text with a unit (`KiB`, `MiB`, `GiB`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let shift = match unit {
            "" | "B" => Some(0),
            "KiB" => Some(10),
            "MiB" => Some(20),
            "GiB" => Some(30),
            _ => None,
        };
        shift
            .zip(number.trim().parse::<u64>().ok())
            .and_then(|(shift, n)| n.checked_mul(1 << shift))
            .map(Self)
            .ok_or_else(|| format!("size {text:?}: expected bytes, or a number with KiB, MiB or GiB"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1 << 20 && n % (1 << 20) == 0 => write!(f, "{}MiB", n >> 20),
            n if n >= 1 << 10 && n % (1 << 10) == 0 => write!(f, "{}KiB", n >> 10),
            n => write!(f, "{n}"),
        }
    }
}

/// A part of a whole: more than 0, at most 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fraction(pub f64);

impl FromStr for Fraction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|number| *number > 0.0 && *number <= 1.0);
        number
            .map(Self)
            .ok_or_else(|| format!("fraction {text:?}: expected more than 0 and at most 1, such as 0.1 for a tenth"))
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Takes a string or a number as text; for [`text_value!`](crate::text_value).
#[derive(Debug)]
pub struct Text;

impl de::Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

/// Makes types that parse from text and print themselves configuration values: a TOML string or number is parsed, and the
/// value is written as text. `text_value!([] Seconds, [T] Auto<T>)`.
#[macro_export]
macro_rules! text_value {
    ($([$($p:ident)?] $type:ty),+ $(,)?) => {$(
        impl<'de $(, $p: ::std::str::FromStr<Err = String>)?> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = deserializer.deserialize_any($crate::values::Text)?;
                text.parse().map_err(::serde::de::Error::custom)
            }
        }
        impl $(<$p: ::std::fmt::Display>)? ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )+};
}

text_value!([T] Auto<T>, [] Seconds, [] Bytes, [] Fraction);

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
