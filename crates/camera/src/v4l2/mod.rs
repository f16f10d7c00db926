//! Cameras through V4L2: finds the device, agrees on a format, starts the stream.
//!
//! The parts: `devices` and `names` find cameras, `negotiate` picks the format, `node` talks to the driver, `ring` holds
//! the buffers, `reader` makes frames of them, `errors` finds the words. docs/v4l2.md describes the behaviour.
//! Opening again after an error is left to the pipeline.

mod color;
mod devices;
mod errors;
mod names;
mod negotiate;
mod node;
mod reader;
mod ring;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::clock::Clock;
use pixels::frame::{Matrix, PictureFormat, Range, Size};

use self::errors::Fault;
use self::names::Place;
use self::negotiate::{choose, Choice, Request, DEFAULT_RATE, DEFAULT_SIZE};
use self::node::{Capability, Node, PixelFormat};
use self::reader::{Pixels, Reader};
use self::ring::Ring;
use super::jpeg::JpegDecoder;
use super::{Camera, CameraError};

pub use self::devices::{list, DeviceInfo};
pub use self::names::stable_name;
pub use self::negotiate::{Extent, FormatInfo, Interval, Rates, SizeInfo};
pub use crate::FourCc;

/// Buffers that are asked for: one is read, one is filled, two absorb a late thread.
const BUFFERS: u32 = 4;

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
/// all of that can pass. A format that is never taken, or a size or rate that can't be, is an error of configuration.
pub fn open(options: &V4l2Options, clock: Arc<dyn Clock>) -> Result<Box<dyn Camera>, CameraError> {
    options.check()?;
    match &options.device {
        Selector::Auto => open_at(&first_usable(options)?, options, clock),
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

fn first_usable(options: &V4l2Options) -> Result<PathBuf, CameraError> {
    let request = options.request();
    let mut refused = Vec::new();
    for device in devices::list_for(request.size) {
        let reason = match device.unusable {
            Some(reason) => reason,
            None if choose(&device.formats, &request).is_some() => return Ok(device.path),
            None => "doesn't offer the wanted pixel format".into(),
        };
        refused.push(format!("{}: {reason}", device.path.display()));
    }
    let reason = match refused.as_slice() {
        [] => "there are no V4L2 devices".to_owned(),
        _ => format!("no device can be used: {}", refused.join("; ")),
    };
    Err(CameraError::retry("auto", reason, "plug a camera in, or name one; `pspnetd devices` lists them"))
}

fn open_at(path: &Path, options: &V4l2Options, clock: Arc<dyn Clock>) -> Result<Box<dyn Camera>, CameraError> {
    let fault = |fault: Fault| fault.into_camera_error(path);
    let node = Node::open(path).map_err(Fault::in_call("open")).map_err(fault)?;
    let capability = node.capability().map_err(Fault::in_call("VIDIOC_QUERYCAP")).map_err(fault)?;
    let refuse = |reason: String| CameraError::retry(path.display().to_string(), reason, "see `pspnetd devices`");
    if let Some(reason) = devices::refusal(&capability) {
        return Err(refuse(reason.to_owned()));
    }
    let request = options.request();
    let offers = node.formats(request.size);
    let Some(choice) = choose(&offers, &request) else {
        let taken: Vec<_> = offers.iter().filter(|offer| offer.taken).map(|offer| offer.fourcc.to_string()).collect();
        return Err(refuse(match (devices::no_format(&offers), request.format) {
            (None, Some(format)) => format!("doesn't offer {format}; it has {}", taken.join(", ")),
            (reason, _) => reason.unwrap_or_default(),
        }));
    };
    let set = node
        .set_format(choice.fourcc, choice.size, options.stride)
        .map_err(Fault::in_call("VIDIOC_S_FMT"))
        .map_err(fault)?;
    let interval = node.set_interval(choice.interval);
    let pixels = pixels(&set, options.wanted).map_err(refuse)?;
    report(path, &request, &choice, &set, interval);
    let description = describe(path, &capability, &set, interval);
    let ring = Ring::start(node, BUFFERS).map_err(fault)?;
    let reader = Reader::new(ring, pixels, clock, options.silent_after, path.to_owned(), description);
    Ok(Box::new(reader))
}

fn pixels(set: &PixelFormat, wanted: Option<Size>) -> Result<Pixels, String> {
    if let Some(layout) = set.fourcc.layout() {
        let format = PictureFormat { layout, size: set.size, color: set.color.resolve(layout, set.size) };
        // A few old drivers leave the stride out where rows have no padding.
        let stride = if set.stride == 0 { layout.plane_extent(0, set.size).0 } else { set.stride };
        return Ok(Pixels::Plain { format, stride });
    }
    if set.fourcc.cost().is_none() {
        return Err(format!("the driver set pixel format {} instead of the one that was asked for", set.fourcc));
    }
    let mut decoder = JpegDecoder::new().map_err(|error| error.to_string())?;
    decoder.set_wanted(wanted);
    Ok(Pixels::Jpeg { decoder: Box::new(decoder), last: None })
}

/// Logs where the camera gives something else than was asked for.
fn report(path: &Path, request: &Request, choice: &Choice, set: &PixelFormat, interval: Option<Interval>) {
    let path = path.display();
    if set.size != request.size {
        log::info!("{path}: {} is the nearest it has to {}", set.size, request.size);
    }
    if set.fourcc != choice.fourcc {
        log::info!("{path}: the driver sends {} where {} was asked for", set.fourcc, choice.fourcc);
    }
    if let Some(rate) = interval.map(Interval::rate).filter(|rate| (rate / request.rate - 1.0).abs() > 0.02) {
        log::info!(
            "{path}: {} fps is the nearest it has to {} in {} {}",
            readable(rate),
            request.rate,
            set.fourcc,
            set.size
        );
    }
}

/// A rate as people write it: 30, 29.97, 0.2.
fn readable(rate: f64) -> f64 {
    (rate * 1000.0).round() / 1000.0
}

fn describe(path: &Path, capability: &Capability, set: &PixelFormat, interval: Option<Interval>) -> String {
    let rate = interval.map_or_else(String::new, |interval| format!(" at {} fps", readable(interval.rate())));
    let color = match set.fourcc.layout() {
        Some(layout) if layout.is_yuv() => {
            let color = set.color.resolve(layout, set.size);
            let matrix = if color.matrix == Matrix::Bt709 { "BT.709" } else { "BT.601" };
            let range = if color.range == Range::Full { "full" } else { "limited" };
            format!(", {matrix} {range} range")
        }
        _ => String::new(),
    };
    let name = match stable_name(path) {
        Some(name) if name == path => "this name is stable".to_owned(),
        Some(name) => format!("stable name {}", name.display()),
        None => "no stable name".to_owned(),
    };
    let Capability { card, bus, .. } = capability;
    format!("{} ({card}, {bus}): {} {}{rate}{color}; {name}", path.display(), set.fourcc, set.size)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::color::ColorFields;
    use super::*;
    use crate::CameraErrorKind;
    use pixels::frame::Layout;

    fn set(name: &[u8; 4], stride: usize) -> PixelFormat {
        let color = ColorFields { colorspace: 8, ycbcr_enc: 2, quantization: 1 };
        PixelFormat { fourcc: FourCc(*name), size: Size::new(64, 48), stride, color }
    }

    #[test]
    fn rows_have_the_drivers_stride_or_none_where_it_names_none() {
        for (name, layout, bytes) in [
            (b"YUYV", Layout::Yuyv, 128),
            (b"NV12", Layout::Nv12, 64),
            (b"YU12", Layout::YU12, 64),
            (b"BGR3", Layout::Bgr, 192),
            (b"GREY", Layout::Grey, 64),
        ] {
            for (said, expected) in [(0, bytes), (bytes, bytes), (bytes + 32, bytes + 32)] {
                let set = set(name, said);
                let Ok(Pixels::Plain { format, stride }) = pixels(&set, None) else { panic!("{name:?}") };
                let color = set.color.resolve(layout, set.size);
                assert_eq!((stride, format), (expected, PictureFormat { layout, size: set.size, color }));
            }
        }
        for name in [b"MJPG", b"JPEG"] {
            assert!(matches!(pixels(&set(name, 0), None), Ok(Pixels::Jpeg { last: None, .. })));
        }
        let refused = pixels(&set(b"H264", 0), None).err().unwrap();
        assert_eq!(refused, "the driver set pixel format H264 instead of the one that was asked for");
    }

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

    #[test]
    fn one_line_says_what_a_camera_is_and_sends() {
        let capability = Capability { card: "Cam".into(), bus: "usb-1".into(), ..Capability::default() };
        let path = Path::new("/dev/video-none");
        let said = |name, interval| describe(path, &capability, &set(name, 0), interval);
        let ntsc = Some(Interval { numerator: 1001, denominator: 30_000 });
        assert_eq!(
            said(b"YUYV", ntsc),
            "/dev/video-none (Cam, usb-1): YUYV 64x48 at 29.97 fps, BT.709 full range; no stable name"
        );
        assert_eq!(said(b"MJPG", None), "/dev/video-none (Cam, usb-1): MJPG 64x48; no stable name");
    }
}
