//! What an open node offers: its formats, with their sizes and frame rates, as the driver lists them.
#![allow(unsafe_code)]

use pixels::frame::Size;
use v4l::v4l2::vidioc;
use v4l::v4l_sys as sys;

use super::negotiate::{Extent, FormatInfo, Interval, Rates, SizeInfo};
use super::node::{text, Node, Plain, Planes};
use crate::FourCc;

/// More formats than any driver lists: ends the enumeration of one that never says "no more". The same of sizes and rates.
const MOST: u32 = 128;

/// Lists formats, sizes and rates. Rates of a range of sizes are those at the size nearest to `wanted`.
pub(super) fn formats(node: &Node, planes: Planes, wanted: Size) -> Vec<FormatInfo> {
    let mut formats = Vec::new();
    for index in 0..MOST {
        let mut raw = sys::v4l2_fmtdesc { index, type_: planes.buffer_type(), ..sys::v4l2_fmtdesc::zeroed() };
        if node.ioctl(vidioc::VIDIOC_ENUM_FMT, &mut raw).is_err() {
            break;
        }
        let fourcc = FourCc(raw.pixelformat.to_le_bytes());
        let taken = fourcc.cost().is_some();
        let sizes = sizes(node, fourcc, wanted);
        formats.push(FormatInfo { fourcc, description: text(&raw.description), taken, sizes });
    }
    formats
}

fn sizes(node: &Node, fourcc: FourCc, wanted: Size) -> Vec<SizeInfo> {
    let mut sizes = Vec::new();
    for index in 0..MOST {
        let pixel_format = u32::from_le_bytes(fourcc.0);
        let mut raw = sys::v4l2_frmsizeenum { index, pixel_format, ..sys::v4l2_frmsizeenum::zeroed() };
        if node.ioctl(vidioc::VIDIOC_ENUM_FRAMESIZES, &mut raw).is_err() {
            break;
        }
        let Some(extent) = extent(&raw) else { break };
        sizes.push(SizeInfo { extent, rates: rates(node, fourcc, extent.nearest(wanted)) });
        if raw.type_ != sys::v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_DISCRETE {
            // A range is all there is.
            break;
        }
    }
    sizes
}

fn extent(raw: &sys::v4l2_frmsizeenum) -> Option<Extent> {
    // SAFETY: the kernel filled in the member that the type names; both are integers.
    let (discrete, range) = unsafe { (raw.__bindgen_anon_1.discrete, raw.__bindgen_anon_1.stepwise) };
    match raw.type_ {
        sys::v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_DISCRETE => {
            Some(Extent::Discrete { width: discrete.width as usize, height: discrete.height as usize })
        }
        sys::v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_CONTINUOUS | sys::v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_STEPWISE => {
            Some(Extent::Stepwise {
                min_width: range.min_width as usize,
                max_width: range.max_width as usize,
                step_width: range.step_width as usize,
                min_height: range.min_height as usize,
                max_height: range.max_height as usize,
                step_height: range.step_height as usize,
            })
        }
        _ => None,
    }
}

fn rates(node: &Node, fourcc: FourCc, size: Size) -> Rates {
    let mut discrete = Vec::new();
    let (Ok(width), Ok(height)) = (u32::try_from(size.width), u32::try_from(size.height)) else {
        return Rates::Discrete(discrete);
    };
    for index in 0..MOST {
        let pixel_format = u32::from_le_bytes(fourcc.0);
        let mut raw = sys::v4l2_frmivalenum { index, pixel_format, width, height, ..sys::v4l2_frmivalenum::zeroed() };
        if node.ioctl(vidioc::VIDIOC_ENUM_FRAMEINTERVALS, &mut raw).is_err() {
            break;
        }
        // SAFETY: the kernel filled in the member that the type names; both are integers.
        let (one, range) = unsafe { (raw.__bindgen_anon_1.discrete, raw.__bindgen_anon_1.stepwise) };
        match raw.type_ {
            sys::v4l2_frmivaltypes_V4L2_FRMIVAL_TYPE_DISCRETE => discrete.push(interval(one)),
            sys::v4l2_frmivaltypes_V4L2_FRMIVAL_TYPE_CONTINUOUS | sys::v4l2_frmivaltypes_V4L2_FRMIVAL_TYPE_STEPWISE => {
                return Rates::Range { slowest: interval(range.max), fastest: interval(range.min) };
            }
            _ => break,
        }
    }
    Rates::Discrete(discrete)
}

fn interval(fraction: sys::v4l2_fract) -> Interval {
    Interval { numerator: fraction.numerator, denominator: fraction.denominator }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_file_that_is_no_device_offers_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let node = Node::open(file.path()).unwrap();
        assert!(formats(&node, Planes::Single, Size::new(640, 480)).is_empty());
    }

    #[test]
    fn a_kind_of_size_that_nobody_knows_yet_is_passed_over() {
        let mut raw = sys::v4l2_frmsizeenum::zeroed();
        raw.type_ = sys::v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_DISCRETE;
        raw.__bindgen_anon_1.discrete = sys::v4l2_frmsize_discrete { width: 640, height: 480 };
        assert_eq!(extent(&raw), Some(Extent::Discrete { width: 640, height: 480 }));
        raw.type_ = 99;
        assert_eq!(extent(&raw), None);
    }
}
