//! The format of an open node: asks for one, and reads what the driver made of it.
#![allow(unsafe_code)]

use std::io;

use pixels::frame::Size;
use rustix::io::Errno;
use v4l::v4l2::vidioc;
use v4l::v4l_sys as sys;

use super::color::ColorFields;
use super::node::{Node, Plain, Planes};
use crate::FourCc;

/// The format that the driver really set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PixelFormat {
    pub fourcc: FourCc,
    pub size: Size,
    /// Bytes from row to row; 0 for compressed formats.
    pub stride: usize,
    pub color: ColorFields,
    /// Pieces of memory that a picture is in.
    pub planes: usize,
    /// How the lines of two moments lie, where the camera is interlaced.
    pub fields: Fields,
}

/// Lines of which moments a picture has (`enum v4l2_field`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fields {
    /// Of one moment.
    One,
    /// Of two moments in turn: what moves has combs.
    Interlaced,
    /// Half a picture each, one above the other or one after the other.
    Apart,
}

impl Fields {
    fn of(field: u32) -> Self {
        match field {
            sys::v4l2_field_V4L2_FIELD_INTERLACED
            | sys::v4l2_field_V4L2_FIELD_INTERLACED_TB
            | sys::v4l2_field_V4L2_FIELD_INTERLACED_BT => Self::Interlaced,
            sys::v4l2_field_V4L2_FIELD_SEQ_TB
            | sys::v4l2_field_V4L2_FIELD_SEQ_BT
            | sys::v4l2_field_V4L2_FIELD_ALTERNATE => Self::Apart,
            _ => Self::One,
        }
    }
}

/// Sets format, size, and the bytes of a row (0: the driver's choice). The answer is what the driver made of them: it may
/// differ in everything.
pub(super) fn set(node: &Node, planes: Planes, fourcc: FourCc, size: Size, stride: usize) -> io::Result<PixelFormat> {
    let number = |value: usize| u32::try_from(value).map_err(|_| io::Error::from(Errno::INVAL));
    let (width, height, bytesperline) = (number(size.width)?, number(size.height)?, number(stride)?);
    let mut raw = sys::v4l2_format::zeroed();
    raw.type_ = planes.buffer_type();
    // The buffer size stays zero: the driver chooses it. A stride from earlier would be kept as padding.
    match planes {
        Planes::Single => raw.fmt.pix = single(fourcc, width, height, bytesperline),
        Planes::Multi => {
            let plane = |bytesperline| sys::v4l2_plane_pix_format { sizeimage: 0, bytesperline, reserved: [0; 6] };
            let mut planes = [plane(0); 8];
            planes[0] = plane(bytesperline);
            raw.fmt.pix_mp.width = width;
            raw.fmt.pix_mp.height = height;
            raw.fmt.pix_mp.pixelformat = u32::from_le_bytes(fourcc.0);
            raw.fmt.pix_mp.field = sys::v4l2_field_V4L2_FIELD_NONE;
            raw.fmt.pix_mp.num_planes = 1;
            raw.fmt.pix_mp.plane_fmt = planes;
        }
    }
    node.ioctl(vidioc::VIDIOC_S_FMT, &mut raw)?;
    // SAFETY: the kernel filled in the member that the type names; both are plain integers, whatever their bits.
    let (pix, pix_mp) = unsafe { (raw.fmt.pix, raw.fmt.pix_mp) };
    Ok(match planes {
        Planes::Single => read_single(&pix),
        Planes::Multi => read_multi(&pix_mp),
    })
}

fn single(fourcc: FourCc, width: u32, height: u32, bytesperline: u32) -> sys::v4l2_pix_format {
    sys::v4l2_pix_format {
        width,
        height,
        pixelformat: u32::from_le_bytes(fourcc.0),
        field: sys::v4l2_field_V4L2_FIELD_NONE,
        bytesperline,
        sizeimage: 0,
        colorspace: sys::v4l2_colorspace_V4L2_COLORSPACE_DEFAULT,
        priv_: sys::V4L2_PIX_FMT_PRIV_MAGIC,
        flags: 0,
        __bindgen_anon_1: sys::v4l2_pix_format__bindgen_ty_1 { ycbcr_enc: 0 },
        quantization: 0,
        xfer_func: 0,
    }
}

fn read_single(pix: &sys::v4l2_pix_format) -> PixelFormat {
    // Without the magic number the driver knows nothing of the fields behind it.
    let extended = pix.priv_ == sys::V4L2_PIX_FMT_PRIV_MAGIC;
    let known = |field: u32| if extended { field } else { 0 };
    PixelFormat {
        fourcc: FourCc(pix.pixelformat.to_le_bytes()),
        size: Size::new(pix.width as usize, pix.height as usize),
        stride: pix.bytesperline as usize,
        color: ColorFields {
            colorspace: pix.colorspace,
            // SAFETY: both members are the same integer.
            ycbcr_enc: known(unsafe { pix.__bindgen_anon_1.ycbcr_enc }),
            quantization: known(pix.quantization),
        },
        planes: 1,
        fields: Fields::of(pix.field),
    }
}

fn read_multi(pix: &sys::v4l2_pix_format_mplane) -> PixelFormat {
    // The structure is packed: its fields are copied out.
    let (width, height, colorspace, plane) = (pix.width, pix.height, pix.colorspace, pix.plane_fmt[0]);
    let field = pix.field;
    PixelFormat {
        fourcc: FourCc(pix.pixelformat.to_le_bytes()),
        size: Size::new(width as usize, height as usize),
        stride: plane.bytesperline as usize,
        color: ColorFields {
            colorspace,
            // SAFETY: both members are the same integer.
            ycbcr_enc: unsafe { pix.__bindgen_anon_1.ycbcr_enc }.into(),
            quantization: pix.quantization.into(),
        },
        planes: usize::from(pix.num_planes),
        fields: Fields::of(field),
    }
}
