//! Opens one device: format, frame rate, controls, buffers, in the order in which drivers want them.

use std::path::Path;
use std::sync::Arc;

use base::clock::Clock;
use log::Level;
use pixels::frame::{Matrix, PictureFormat, Range, Size};

use super::controls::Desk;
use super::devices;
use super::errors::Fault;
use super::format::{self, Fields, PixelFormat};
use super::names::stable_name;
use super::negotiate::{choose, Choice, Interval, Request};
use super::node::{Capability, Node};
use super::offers::formats;
use super::reader::{Pixels, Reader};
use super::ring::Ring;
use super::said::say;
use super::V4l2Options;
use crate::jpeg::JpegDecoder;
use crate::{Camera, CameraError};

/// Buffers that are asked for: one is read, one is filled, two absorb a late thread.
const BUFFERS: u32 = 4;

/// Opens the device at `path`, sets it up as `options` say, and starts its stream.
pub(super) fn open_at(
    path: &Path,
    options: &V4l2Options,
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn Camera>, CameraError> {
    let fault = |fault: Fault| fault.into_camera_error(path);
    let node = Node::open(path).map_err(Fault::in_call("open")).map_err(fault)?;
    let capability = node.capability().map_err(Fault::in_call("VIDIOC_QUERYCAP")).map_err(fault)?;
    let refuse = |reason: String| CameraError::retry(path.display().to_string(), reason, "see `pspnetd devices`");
    if let Some(reason) = devices::refusal(&capability) {
        return Err(CameraError::retry(path.display().to_string(), reason, ""));
    }
    let request = options.request();
    let planes = capability.planes();
    let offers = formats(&node, planes, request.size);
    let Some(choice) = choose(&offers, &request) else {
        let taken: Vec<_> = offers.iter().filter(|offer| offer.taken).map(|offer| offer.fourcc.to_string()).collect();
        return Err(refuse(match (devices::no_format(&capability, &offers), request.format) {
            (None, Some(format)) => format!("doesn't offer {format}; it has {}", taken.join(", ")),
            (reason, _) => reason.unwrap_or_default(),
        }));
    };
    let mut desk = Desk::new(&node, &options.controls);
    desk.set_layout(&node);
    let set = format::set(&node, planes, choice.fourcc, choice.size, options.stride)
        .map_err(Fault::in_call("VIDIOC_S_FMT"))
        .map_err(fault)?;
    if set.planes > 1 {
        let reason = format!("the driver puts {} into {} pieces of memory; pspnetd reads one", set.fourcc, set.planes);
        return Err(refuse(reason));
    }
    if set.fields == Fields::Apart {
        let reason = "sends half pictures: the lines of two moments lie above or behind each other (interlaced video)";
        return Err(refuse(reason.to_owned()));
    }
    let interval = node.set_interval(planes, choice.interval);
    desk.set(&node);
    if let Some(wrong) = desk.refused().iter().find(|refused| options.strict && refused.is_wrong) {
        let reason = format!("{}: {}", path.display(), wrong.reason);
        return Err(CameraError::setting(path.display().to_string(), wrong.key(), &wrong.value, reason));
    }
    let pixels = pixels(&set, options.wanted).map_err(refuse)?;
    let ring = Ring::start(node, planes, BUFFERS).map_err(fault)?;
    desk.keep(ring.driver());
    let found = differences(&request, &choice, &set, interval).into_iter().map(|line| (Level::Info, line));
    let lines = found.chain(interlaced(&set)).chain(words(&desk));
    say(path, &lines.map(|(level, line)| (level, format!("{}: {line}", path.display()))).collect::<Vec<_>>());
    let description = format!("{}{}", describe(path, &capability, &set, interval), desk.describe());
    let reader = Reader::new(ring, pixels, clock, options.silent_after, path.to_owned(), description);
    Ok(Box::new(reader.expecting(interval.map(Interval::rate))))
}

/// What is said of a picture that is interlaced.
fn interlaced(set: &PixelFormat) -> Option<(Level, String)> {
    let words =
        "the picture is interlaced: odd and even lines are of different moments, so what moves has jagged edges";
    (set.fields == Fields::Interlaced).then(|| (Level::Warn, words.to_owned()))
}

/// What is said of the controls that are not as they were wished.
fn words<'a>(desk: &'a Desk) -> impl Iterator<Item = (Level, String)> + 'a {
    let refused = desk.refused().iter().map(|refused| (Level::Warn, refused.to_string()));
    refused.chain(desk.rounded().map(|rounded| (Level::Info, rounded)))
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

/// Where the camera gives something else than was asked for.
fn differences(request: &Request, choice: &Choice, set: &PixelFormat, interval: Option<Interval>) -> Vec<String> {
    let size = (set.size != request.size).then(|| format!("{} is the nearest it has to {}", set.size, request.size));
    let format = (set.fourcc != choice.fourcc)
        .then(|| format!("the driver sends {} where {} was asked for", set.fourcc, choice.fourcc));
    let rate = interval.map(Interval::rate).filter(|rate| (rate / request.rate - 1.0).abs() > 0.02);
    let rate = rate.map(|rate| {
        let (rate, wanted) = (readable(rate), request.rate);
        format!("{rate} fps is the nearest it has to {wanted} in {} {}", set.fourcc, set.size)
    });
    [size, format, rate].into_iter().flatten().collect()
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

    use super::*;
    use crate::v4l2::color::ColorFields;
    use crate::FourCc;
    use pixels::frame::Layout;

    fn set(name: &[u8; 4], stride: usize) -> PixelFormat {
        let color = ColorFields { colorspace: 8, ycbcr_enc: 2, quantization: 1 };
        PixelFormat { fourcc: FourCc(*name), size: Size::new(64, 48), stride, color, planes: 1, fields: Fields::One }
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
