//! Cameras through V4L2: finds the device, agrees on a format, starts the stream.
//!
//! The parts: `devices` and `names` find cameras, `auto` chooses one, `set_up` opens one, `negotiate` picks the format from the `offers`, `format`
//! sets it, `controls` sets exposure and the like, `node` talks to the driver, `ring` holds the buffers, `reader` makes frames of
//! them, `pace` counts them, `errors` finds the words, `said` keeps the log short. docs/v4l2.md describes the behaviour.
//! Opening again after an error is left to the pipeline.

mod auto;
mod color;
mod controls;
mod devices;
mod errors;
mod format;
mod names;
mod negotiate;
mod node;
mod offers;
mod pace;
mod reader;
mod ring;
mod said;
mod set_up;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::clock::Clock;
use pixels::frame::Size;

use self::names::Place;
use self::negotiate::{Request, DEFAULT_RATE, DEFAULT_SIZE};
use self::set_up::open_at;
use super::{Camera, CameraError};

pub use self::controls::{ControlInfo, ControlKind, ControlValue, Controls, MenuItem};
pub use self::devices::{list, list_with_controls, DeviceInfo};
pub use self::names::stable_name;
pub use self::negotiate::{Extent, FormatInfo, Interval, Rates, SizeInfo};
pub use crate::FourCc;

/// Which camera.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selector {
    /// The first that can be used, in the order of [`list`].
    #[default]
    Auto,
    /// A node as /dev/video0, or a link to one as /dev/v4l/by-id/….
    Path(PathBuf),
}

/// What is wanted of a camera.
#[derive(Clone, Debug, PartialEq)]
pub struct V4l2Options {
    /// Which camera.
    pub device: Selector,
    /// This pixel format and no other; `None` takes the cheapest.
    pub format: Option<FourCc>,
    /// Frame size; the nearest that the camera has is taken. `None` means 640x480.
    pub size: Option<Size>,
    /// Frames per second; the nearest that the camera has is taken. `None` means 30.
    pub frame_rate: Option<f64>,
    /// A camera that sends no frame for this long is taken for dead.
    pub silent_after: Duration,
    /// Size of the model's input: JPEG pictures that are much larger are decoded at reduced scale.
    pub wanted: Option<Size>,
    /// Bytes per row, for trying padded rows on drivers that take a wish. 0 leaves it to the driver.
    pub stride: usize,
    /// What to set of exposure, focus and the like.
    pub controls: Controls,
    /// A control that the camera doesn't have, or a value that it doesn't take, is an error of the configuration; otherwise it
    /// is said, and frames come without it.
    pub strict: bool,
}

impl Default for V4l2Options {
    fn default() -> Self {
        Self {
            device: Selector::Auto,
            format: None,
            size: None,
            frame_rate: None,
            silent_after: Duration::from_secs(5),
            wanted: None,
            stride: 0,
            controls: Controls::default(),
            strict: false,
        }
    }
}

impl V4l2Options {
    fn request(&self) -> Request {
        Request {
            format: self.format,
            size: self.size.unwrap_or(DEFAULT_SIZE),
            rate: self.frame_rate.unwrap_or(DEFAULT_RATE),
        }
    }

    fn check(&self) -> Result<(), CameraError> {
        let source = match &self.device {
            Selector::Auto => "auto".into(),
            Selector::Path(path) => path.display().to_string(),
        };
        if let Some(format) = self.format.filter(|format| format.cost().is_none()) {
            let taken: Vec<_> = FourCc::TAKEN.iter().map(FourCc::to_string).collect();
            let hint = format!("taken are {}", taken.join(", "));
            return Err(CameraError::config(source, format!("pixel format {format} is not taken"), hint));
        }
        let Request { size, rate, .. } = self.request();
        if size.width == 0 || size.height == 0 || size.width > 1 << 16 || size.height > 1 << 16 {
            return Err(CameraError::config(source, format!("there are no pictures of {size}"), ""));
        }
        if !(0.001..=100_000.0).contains(&rate) {
            return Err(CameraError::config(source, format!("{rate} is no frame rate"), ""));
        }
        Ok(())
    }
}

/// Opens a camera and starts its stream.
///
/// # Errors
/// When there is no such camera, it is used by another program, it offers no format that is taken, or the driver fails:
/// all of that can pass. A format that is never taken, a size or rate that can't be, or, where the options are strict, a control
/// that the camera doesn't take, is an error of configuration.
pub fn open(options: &V4l2Options, clock: Arc<dyn Clock>) -> Result<Box<dyn Camera>, CameraError> {
    options.check()?;
    match &options.device {
        Selector::Auto => auto::open(options, &clock),
        Selector::Path(path) => match names::locate(path) {
            Place::Here(place) => {
                let camera = open_at(&place, options, clock)?;
                names::remember(path, stable_name(&place).as_deref());
                Ok(camera)
            }
            Place::Away(link) => Err(CameraError::retry(
                path.display().to_string(),
                format!("the camera is away: {} is gone, and this is another device now", link.display()),
                "plug the camera in again; to take the other device, restart pspnetd",
            )),
            Place::Unnamed => {
                let reason = "a device has just come, and udev has not named it yet";
                Err(CameraError::retry(path.display().to_string(), reason, ""))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::CameraErrorKind;

    #[test]
    fn without_options_640x480_at_30_is_asked_for() {
        let plain = V4l2Options::default().request();
        assert_eq!(plain, Request { format: None, size: Size::new(640, 480), rate: 30.0 });
        let format = Some(FourCc(*b"NV12"));
        let (size, rate) = (Size::new(320, 200), 12.5);
        let options = V4l2Options { format, size: Some(size), frame_rate: Some(rate), ..V4l2Options::default() };
        assert_eq!(options.request(), Request { format, size, rate });
        options.check().unwrap();
    }

    #[test]
    fn what_no_camera_can_have_is_an_error_of_the_configuration() {
        let check = |options: V4l2Options| options.check();
        let size = |width, height| V4l2Options { size: Some(Size::new(width, height)), ..V4l2Options::default() };
        let rate = |rate| V4l2Options { frame_rate: Some(rate), ..V4l2Options::default() };
        for good in [size(1, 65_536), size(65_536, 1), rate(0.001), rate(100_000.0)] {
            check(good).unwrap();
        }
        for bad in [size(0, 1), size(1, 0), size(65_537, 1), size(1, 65_537)] {
            assert!(check(bad).unwrap_err().reason.starts_with("there are no pictures of "));
        }
        for bad in [0.0, 0.0009, 100_001.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(check(rate(bad)).unwrap_err().reason, format!("{bad} is no frame rate"));
        }
        let device = Selector::Path("/dev/video7".into());
        let raw = V4l2Options { device, format: Some(FourCc(*b"H264")), ..V4l2Options::default() };
        let error = check(raw).unwrap_err();
        assert_eq!((error.source_name.as_str(), error.kind), ("/dev/video7", CameraErrorKind::Config));
        assert_eq!(error.reason, "pixel format H264 is not taken");
        assert_eq!(error.hint, "taken are YUYV, UYVY, NV12, YU12, RGB3, BGR3, GREY, MJPG, JPEG");
    }
}
