//! Lines of the log that `pspnetd report` reads again: each is written and read by one definition, here. Lines of figures
//! (`frames …`, `latency …`) are words and `key=value` pairs, which `docs/log.md` declares.

use std::fmt;
use std::path::Path;

/// The first line of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartLine<'a> {
    /// The program's version.
    pub version: &'a str,
    /// The configuration that was read; None where there is no file.
    pub configuration: Option<&'a Path>,
}

const CONFIGURATION: &str = ", configuration ";
const NO_CONFIGURATION: &str = ", no configuration file: defaults";

impl fmt::Display for StartLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pspnetd {}", self.version)?;
        match self.configuration {
            Some(path) => write!(f, "{CONFIGURATION}{}", path.display()),
            None => f.write_str(NO_CONFIGURATION),
        }
    }
}

impl<'a> StartLine<'a> {
    /// Reads one; None where `line` is another.
    pub fn read(line: &'a str) -> Option<Self> {
        let rest = line.strip_prefix("pspnetd ")?;
        match rest.split_once(CONFIGURATION) {
            Some((version, path)) => Some(Self { version, configuration: Some(Path::new(path)) }),
            None => Some(Self { version: rest.strip_suffix(NO_CONFIGURATION)?, configuration: None }),
        }
    }
}

/// A line about the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameraLine<'a> {
    /// It was opened: which one, format, size, rate.
    Running(&'a str),
    /// It is not there: why, and what to do.
    Waiting(&'a str),
    /// The same, at the level `debug`.
    StillWaiting(&'a str),
    /// A button closed it.
    Paused,
    /// The pause is over; it is opened again.
    Resumed,
    /// A frame could not be used: why.
    FrameSkipped(&'a str),
    /// Of so many frames so many could not be used, and why the last.
    FramesDamaged(&'a str),
    /// No frame can be used: how many, and why.
    Damaged(&'a str),
    /// A frame could be used again: after how many.
    Whole(&'a str),
}

const PREFIX: &str = "camera: ";
const WAITING: &str = "waiting: ";
const STILL_WAITING: &str = "still waiting: ";
const PAUSED: &str = "paused: it is closed until the pause ends";
const RESUMED: &str = "the pause has ended";
const FRAME_SKIPPED: &str = "frame skipped: ";
const FRAMES_DAMAGED: &str = "frames damaged: ";
const DAMAGED: &str = "damaged: ";
const WHOLE: &str = "frames are whole again ";

impl fmt::Display for CameraLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, text) = match self {
            Self::Running(text) => ("", *text),
            Self::Waiting(text) => (WAITING, *text),
            Self::StillWaiting(text) => (STILL_WAITING, *text),
            Self::Paused => (PAUSED, ""),
            Self::Resumed => (RESUMED, ""),
            Self::FrameSkipped(text) => (FRAME_SKIPPED, *text),
            Self::FramesDamaged(text) => (FRAMES_DAMAGED, *text),
            Self::Damaged(text) => (DAMAGED, *text),
            Self::Whole(text) => (WHOLE, *text),
        };
        write!(f, "{PREFIX}{what}{text}")
    }
}

impl<'a> CameraLine<'a> {
    /// Reads one; None where `line` is another.
    pub fn read(line: &'a str) -> Option<Self> {
        let text = line.strip_prefix(PREFIX)?;
        Some(match text {
            // Another version may say it in other words.
            _ if text.split(':').next() == Some("paused") => Self::Paused,
            RESUMED => Self::Resumed,
            _ => {
                let line = |begin: &str, line: fn(&'a str) -> Self| text.strip_prefix(begin).map(line);
                line(WAITING, Self::Waiting)
                    .or_else(|| line(STILL_WAITING, Self::StillWaiting))
                    .or_else(|| line(FRAME_SKIPPED, Self::FrameSkipped))
                    .or_else(|| line(FRAMES_DAMAGED, Self::FramesDamaged))
                    .or_else(|| line(DAMAGED, Self::Damaged))
                    .or_else(|| line(WHOLE, Self::Whole))
                    .unwrap_or(Self::Running(text))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_as_it_was_written() {
        for line in [
            CameraLine::Running("HD Webcam (/dev/video0): MJPG 640x480 at 30 fps"),
            CameraLine::Waiting("/dev/video0: no such device (plug it in)"),
            CameraLine::StillWaiting("/dev/video0: busy"),
            CameraLine::Paused,
            CameraLine::Resumed,
            CameraLine::FrameSkipped("short: 3 of 4 bytes"),
            CameraLine::FramesDamaged("3 of 30 in 10 s, the last: short"),
            CameraLine::Damaged("30 of 30 frames damaged: short"),
            CameraLine::Whole("after 30 damaged ones"),
        ] {
            assert_eq!(CameraLine::read(&line.to_string()), Some(line));
        }
        for line in [
            StartLine { version: "0.1.0", configuration: Some(Path::new("/etc/pspnetd/a, b.toml")) },
            StartLine { version: "0.1.0", configuration: None },
        ] {
            assert_eq!(StartLine::read(&line.to_string()), Some(line));
        }
    }

    #[test]
    fn other_lines_are_none_of_these() {
        for line in ["", "frames seconds=10", "pspnetd 0.1.0", "pspnetd: stopping", "the camera: gone", "camera waits"]
        {
            assert_eq!((CameraLine::read(line), StartLine::read(line)), (None, None), "{line}");
        }
    }

    /// As they stand in docs/log.md and in logs that users have.
    #[test]
    fn the_words_stay_what_they_were() {
        assert_eq!(CameraLine::Waiting("gone").to_string(), "camera: waiting: gone");
        assert_eq!(CameraLine::Paused.to_string(), "camera: paused: it is closed until the pause ends");
        assert_eq!(CameraLine::read("camera: paused: by hand"), Some(CameraLine::Paused));
        assert_eq!(CameraLine::FrameSkipped("torn").to_string(), "camera: frame skipped: torn");
        let start = StartLine { version: "1", configuration: None };
        assert_eq!(start.to_string(), "pspnetd 1, no configuration file: defaults");
    }
}
