//! Where frames come from: the [`Camera`] trait, and one file per kind of source.
//!
//! A camera hands each frame to a callback, borrowed from its own buffer, and takes the buffer back when the callback
//! returns. It never keeps frames for later: of several that wait, it hands over the newest and counts the rest.

pub mod command;
mod exif;
pub mod jpeg;
mod mjpeg;
mod paced;
pub mod pattern;
pub mod picture;
pub mod replay;
mod source;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod v4l2;
mod window;
mod y4m;

use std::fmt;
use std::time::Duration;

pub use paced::DEFAULT_FPS;
pub use source::{FourCc, Rate, Source, Stride};

use base::failure::{Failure, Kind, SettingError};
use pixels::frame::{Frame, PictureFormat};

/// A source of frames.
pub trait Camera: Send {
    /// Waits at most `wait` for a frame. Calls `take` at most once, with the newest frame there is; the buffer goes back
    /// to the source when `take` returns.
    ///
    /// # Errors
    /// When the source can't go on. The caller drops the camera and opens it anew; no further call is allowed.
    fn poll(&mut self, wait: Duration, take: &mut dyn FnMut(&Frame<'_>)) -> Result<Poll, CameraError>;

    /// One line for the log: device, format, size, rate.
    fn describe(&self) -> String;

    /// Format of the frames that will come, where it is known before the first.
    fn format(&self) -> Option<PictureFormat>;

    /// Frames that were there but were not handed over since the last call: dropped by the kernel (gaps in its sequence
    /// numbers) or skipped in favour of a newer one.
    fn take_skipped(&mut self) -> u64;

    /// How long after its opening a frame shows that the source is well. What happens to it before that is no news when it
    /// happens again, and is not said each time.
    fn proven_after(&self) -> Duration {
        Duration::ZERO
    }
}

/// How a [`Camera::poll`] ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Poll {
    /// `take` was called with a frame.
    Taken,
    /// No frame came in time. The source may still be well.
    Idle,
    /// A frame came that can't be used; the text says why. The stream goes on.
    Corrupt(String),
    /// The source has no more frames, and never will.
    End,
}

/// Why a source can't be opened, or can't go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}: {reason}{}", Hint(.hint))]
pub struct CameraError {
    /// The device or path.
    pub source_name: String,
    /// What happened, with the system's own text.
    pub reason: String,
    /// What the user can do, or empty.
    pub hint: String,
    /// What the pipeline should do.
    pub kind: CameraErrorKind,
    /// The configuration key that it is about, with its value, if it is about one in particular.
    pub setting: Option<Box<(String, String)>>,
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameraErrorKind {
    /// Missing, busy, unplugged, an I/O error: open it again after a pause.
    Retry,
    /// The configuration asks for something that can't be: say so at start and end.
    Config,
}

struct Hint<'a>(&'a str);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", self.0)
    }
}

impl CameraError {
    /// An error after which the source is opened again.
    pub fn retry(source: impl Into<String>, reason: impl Into<String>, hint: impl Into<String>) -> Self {
        let kind = CameraErrorKind::Retry;
        Self { source_name: source.into(), reason: reason.into(), hint: hint.into(), kind, setting: None }
    }

    /// An error that only another configuration can mend.
    pub fn config(source: impl Into<String>, reason: impl Into<String>, hint: impl Into<String>) -> Self {
        let kind = CameraErrorKind::Config;
        Self { source_name: source.into(), reason: reason.into(), hint: hint.into(), kind, setting: None }
    }
}

impl CameraError {
    /// An error of one setting: `key`, which is `value` now.
    pub fn setting(
        source: impl Into<String>,
        key: impl Into<String>,
        value: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self { setting: Some(Box::new((key.into(), value.into()))), ..Self::config(source, reason, "") }
    }
}

impl From<CameraError> for Failure {
    fn from(error: CameraError) -> Self {
        if let Some(setting) = error.setting {
            let (key, value) = *setting;
            return SettingError::new(key, value, error.reason).into();
        }
        let kind = match error.kind {
            CameraErrorKind::Config => Kind::Config,
            CameraErrorKind::Retry => Kind::Unavailable,
        };
        Self::new(kind, format!("camera {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_camera_has_its_kind_and_keeps_its_words() {
        for (error, kind) in [
            (CameraError::config("v4l2:/x", "busy", ""), Kind::Config),
            (CameraError::retry("v4l2:/x", "busy", ""), Kind::Unavailable),
        ] {
            let failure = Failure::from(error);
            assert_eq!((failure.kind(), failure.to_string().as_str()), (kind, "camera v4l2:/x: busy"));
        }
        let failure =
            Failure::from(CameraError::setting("v4l2:/x", "camera.controls.gain", "300", "expected 0 to 255"));
        assert_eq!((failure.kind(), failure.setting()), (Kind::Config, Some("camera.controls.gain")));
        assert_eq!(failure.to_string(), "camera.controls.gain 300: expected 0 to 255");
    }
}
