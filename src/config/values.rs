//! The value types of the configuration: each parses itself and says what it would have accepted.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{de, Deserialize, Deserializer, Serialize, Serializer};

use super::CommandLine;
use crate::frame::Size;

/// Where frames come from: `auto`, `v4l2:/dev/video0`, `command:PROGRAM ARGUMENTS`, `replay:PATH` or `pattern:WxH`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The first usable V4L2 camera.
    #[default]
    Auto,
    /// A V4L2 device by path, best one under `/dev/v4l/by-id/`.
    V4l2(PathBuf),
    /// A program that writes frames to its standard output.
    Command(CommandLine),
    /// A folder of pictures, a Y4M file, an MJPEG file or one picture.
    Replay(PathBuf),
    /// A moving test picture.
    Pattern(Size),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected auto, v4l2:/dev/videoN, command:PROGRAM ARGUMENTS, replay:PATH or pattern:WxH";
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match text.split_once(':') {
            Some((_, "")) => Err(format!("camera source {text:?} has nothing after the colon; {EXPECTED}")),
            Some(("v4l2", path)) => Ok(Self::V4l2(path.into())),
            Some(("command", line)) => line.parse().map(Self::Command),
            Some(("replay", path)) => Ok(Self::Replay(path.into())),
            Some(("pattern", size)) => Ok(Self::Pattern(parse_size(size)?)),
            _ if text.starts_with("/dev/") => Ok(Self::V4l2(text.into())),
            _ => Err(format!("unknown camera source {text:?}; {EXPECTED}")),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::V4l2(path) => write!(f, "v4l2:{}", path.display()),
            Self::Command(line) => write!(f, "command:{line}"),
            Self::Replay(path) => write!(f, "replay:{}", path.display()),
            Self::Pattern(size) => write!(f, "pattern:{size}"),
        }
    }
}

/// How fast frames come: `native`, a number of frames per second, or `max`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Rate {
    /// The source's own rate; a camera is asked for 30.
    #[default]
    Native,
    /// This many per second.
    Fps(f64),
    /// As fast as the pipeline goes; a replayed source then waits for it and no frame is replaced.
    Max,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "native" => Ok(Self::Native),
            "max" => Ok(Self::Max),
            _ => text.parse::<f64>().ok().filter(|rate| (0.001..=1000.0).contains(rate)).map_or_else(
                || Err(format!("frame rate {text:?}: expected native, max or frames per second (0.001 to 1000)")),
                |rate| Ok(Self::Fps(rate)),
            ),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => f.write_str("native"),
            Self::Fps(rate) => write!(f, "{rate}"),
            Self::Max => f.write_str("max"),
        }
    }
}

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

/// A picture size in text: `WxH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeText(pub Size);

impl FromStr for SizeText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_size(text).map(Self)
    }
}

impl fmt::Display for SizeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn parse_size(text: &str) -> Result<Size, String> {
    const LIMIT: std::ops::RangeInclusive<usize> = 1..=16_384;
    text.split_once('x')
        .and_then(|(w, h)| Some(Size::new(w.parse().ok()?, h.parse().ok()?)))
        .filter(|size| LIMIT.contains(&size.width) && LIMIT.contains(&size.height))
        .ok_or_else(|| format!("size {text:?}: expected WIDTHxHEIGHT, each 1 to 16384, such as 640x480"))
}

/// Size of the class map: `picture` (the camera's own), or `WxH`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaskSize {
    /// As large as the camera's picture.
    #[default]
    Picture,
    /// This size.
    Fixed(Size),
}

impl FromStr for MaskSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "picture" => Ok(Self::Picture),
            _ => parse_size(text).map(Self::Fixed).map_err(|reason| format!("{reason}, or picture")),
        }
    }
}

impl fmt::Display for MaskSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Picture => f.write_str("picture"),
            Self::Fixed(size) => size.fmt(f),
        }
    }
}

/// A number of inference threads, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads(pub usize);

impl FromStr for Threads {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .ok()
            .filter(|count| (1..=64).contains(count))
            .map(Self)
            .ok_or_else(|| format!("threads {text:?}: expected 1 to 64"))
    }
}

impl fmt::Display for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A V4L2 pixel format by its four characters, such as `YUYV` or `MJPG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FourCc(pub [u8; 4]);

impl FromStr for FourCc {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        <[u8; 4]>::try_from(text.to_ascii_uppercase().as_bytes())
            .ok()
            .filter(|code| code.iter().all(u8::is_ascii_graphic))
            .map(Self)
            .ok_or_else(|| format!("pixel format {text:?}: expected four characters such as YUYV or MJPG"))
    }
}

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Bit 31 marks a big-endian variant; the other bytes are ASCII, "Y16 " ends in a space.
        let [a, b, c, d] = self.0;
        let name: String = [a, b, c, d & 0x7f].iter().map(|byte| char::from(*byte)).collect();
        let variant = if d & 0x80 == 0 { "" } else { "-BE" };
        write!(f, "{}{variant}", name.trim_end().escape_default())
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

/// Accepts a TOML string or number and parses its text; writes itself as text.
macro_rules! text_value {
    ($([$($p:ident)?] $type:ty),+ $(,)?) => {$(
        impl<'de $(, $p: FromStr<Err = String>)?> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any($crate::config::values::Text)?.parse().map_err(serde::de::Error::custom)
            }
        }
        impl $(<$p: fmt::Display>)? Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )+};
}

pub(super) use text_value;

text_value!([] Source, [] Rate, [T] Auto<T>, [] MaskSize, [] Seconds, [] Bytes, [] Pin, [] Fraction);

impl Serialize for FourCc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Takes a string or a number as text.
pub(super) struct Text;

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

#[cfg(test)]
mod tests;
