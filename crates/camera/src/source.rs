//! Which camera, how fast, in which pixel format: values of the configuration.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use base::command_line::CommandLine;
use base::text_value;
use pixels::frame::Size;
use serde::{Serialize, Serializer};

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
            Some(("pattern", size)) => Ok(Self::Pattern(size.parse()?)),
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

/// Bytes from the start of one row to the start of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stride(pub usize);

impl FromStr for Stride {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .ok()
            .filter(|bytes| (1..=65_536).contains(bytes))
            .map(Self)
            .ok_or_else(|| format!("stride {text:?}: expected the bytes of a row with its padding, 1 to 65536"))
    }
}

impl fmt::Display for Stride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_value!([] Source, [] Rate, [] Stride);

impl Serialize for FourCc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use base::values::testing::{refused, taken};

    use super::*;

    #[test]
    fn sources_parse_and_print_the_same() {
        for text in ["auto", "v4l2:/dev/video0", "command:cam -o 'a b' -", "replay:/tmp/a:b.mjpeg", "pattern:640x480"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        assert_eq!("/dev/video3".parse::<Source>().unwrap(), Source::V4l2("/dev/video3".into()));
        for text in
            ["", "rtsp://x", "replay:", "command:", "command: ", "command:cam '", "pattern:640", "pattern:0x480"]
        {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }

    #[test]
    fn rates_take_words_and_numbers() {
        assert_eq!("native".parse::<Rate>().unwrap(), Rate::Native);
        assert_eq!("12.5".parse::<Rate>().unwrap(), Rate::Fps(12.5));
        for text in ["0", "-1", "nan", "fast", "1e9"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_range_has_its_ends() {
        taken::<Rate>(&["0.001", "1000", "native", "max"]);
        refused::<Rate>(&["0.0009", "1000.1", "", "Max"]);
        taken::<Stride>(&["1", "65536"]);
        refused::<Stride>(&["0", "65537", "-1", "64.5", ""]);
        taken::<FourCc>(&["YUYV", "mjpg", "Y16-"]);
        refused::<FourCc>(&["YUV", "YUYV2", "Y16 ", "Y\u{e9}Y"]);
    }

    #[test]
    fn pixel_formats_are_printed_as_they_are_typed() {
        for (text, printed) in [("yuyv", "YUYV"), ("MJPG", "MJPG"), ("a\"b.", "A\\\"B.")] {
            assert_eq!(text.parse::<FourCc>().unwrap().to_string(), printed);
        }
        assert_eq!(
            [FourCc(*b"Y16 "), FourCc([b'Y', b'1', b'6', b' ' | 0x80])].map(|code| code.to_string()),
            ["Y16", "Y16-BE"]
        );
    }

    #[test]
    fn a_number_counts_as_its_text_and_nothing_else_does() {
        #[derive(Debug, serde::Deserialize)]
        struct One {
            value: Rate,
        }
        let read = |text: &str| toml::from_str::<One>(&format!("value = {text}")).map(|one| one.value);
        for text in ["12", "12.0", "'12'"] {
            assert_eq!(read(text).unwrap(), Rate::Fps(12.0), "{text}");
        }
        for text in ["true", "[12]", "2026-11-22"] {
            let error = read(text).unwrap_err();
            assert!(error.message().contains("a string or a number"), "{error}");
        }
    }
}
