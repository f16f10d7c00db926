//! One open V4L2 device node: what it is, what it offers, and its format. Streaming is `ring.rs`'s.
//!
//! The `v4l` crate opens the node and lists sizes and rates. Capabilities, formats and pixel formats are asked for
//! directly with its structures, because its own types panic on text that is no UTF-8 and on numbers newer than the
//! crate, and leave out the colour encoding.
#![allow(unsafe_code)]

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::{io, mem};

use pixels::frame::Size;
use rustix::io::{Errno, FdFlags};
use v4l::frameinterval::FrameIntervalEnum;
use v4l::framesize::FrameSizeEnum;
use v4l::v4l2::vidioc;
use v4l::video::Capture;
use v4l::{v4l_sys as sys, Device, Fraction};

use super::color::ColorFields;
use super::negotiate::{Extent, FormatInfo, Interval, Rates, SizeInfo};
use crate::FourCc;

/// Buffer type of single-planar capture, as every request names it.
pub(super) const CAPTURE: u32 = sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE;

/// More formats than any driver lists: ends the enumeration of one that never says "no more".
const MOST_FORMATS: u32 = 128;

/// Structures that the kernel fills in: any bits are valid values of them, all zeroes among them.
///
/// # Safety
/// Implement it only for plain C structures without references, whose pointers nothing here follows.
pub(super) unsafe trait Plain: Sized {
    /// The structure with every byte zero.
    fn zeroed() -> Self {
        // SAFETY: all zeroes are a valid value, the trait promises.
        unsafe { mem::zeroed() }
    }
}

// SAFETY: integers and byte arrays.
unsafe impl Plain for sys::v4l2_capability {}
// SAFETY: integers and byte arrays.
unsafe impl Plain for sys::v4l2_fmtdesc {}
// SAFETY: integers, and a union whose pointers belong to overlays, which nothing here uses.
unsafe impl Plain for sys::v4l2_format {}
// SAFETY: integers and byte arrays.
unsafe impl Plain for sys::v4l2_requestbuffers {}
// SAFETY: integers, and a union whose pointers belong to memory types that nothing here uses.
unsafe impl Plain for sys::v4l2_buffer {}
// SAFETY: an integer.
unsafe impl Plain for std::os::raw::c_int {}

/// What `VIDIOC_QUERYCAP` tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Capability {
    pub driver: String,
    pub card: String,
    pub bus: String,
    /// `V4L2_CAP_*` of this node, not of the whole device.
    pub flags: u32,
}

/// The format that the driver really set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PixelFormat {
    pub fourcc: FourCc,
    pub size: Size,
    /// Bytes from row to row; 0 for compressed formats.
    pub stride: usize,
    pub color: ColorFields,
}

/// An open device node. It is closed when this is dropped, and not inherited by child processes.
pub(super) struct Node {
    device: Device,
    path: PathBuf,
}

impl Node {
    /// Opens `path` for reading and writing, without blocking.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str().as_encoded_bytes().contains(&0) {
            // The crate would panic on it.
            return Err(Errno::NOENT.into());
        }
        let node = Self { device: Device::with_path(path)?, path: path.to_owned() };
        // The crate opens without O_CLOEXEC: a child process that outlives us would keep the camera busy.
        rustix::io::fcntl_setfd(node.fd(), FdFlags::CLOEXEC)?;
        Ok(node)
    }

    /// The path that it was opened by.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor, for `poll` and `mmap`.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the device owns the descriptor and closes it when it is dropped, which the borrow of self rules out.
        unsafe { BorrowedFd::borrow_raw(self.raw_fd()) }
    }

    fn raw_fd(&self) -> std::os::raw::c_int {
        self.device.handle().fd()
    }

    /// Sends `request` with `argument`, which the kernel reads and fills in.
    pub(super) fn ioctl<T: Plain>(&self, request: vidioc::_IOC_TYPE, argument: &mut T) -> io::Result<()> {
        // Bits 16 to 29 of a request are the size of its argument.
        if (request >> 16) & 0x3fff != mem::size_of::<T>() as vidioc::_IOC_TYPE {
            return Err(Errno::INVAL.into());
        }
        let argument: *mut T = argument;
        // SAFETY: the argument is exclusively borrowed, as large as the request says, and any bits are valid in it.
        unsafe { v4l::v4l2::ioctl(self.raw_fd(), request, argument.cast()) }
    }

    /// Asks what the device is.
    pub(super) fn capability(&self) -> io::Result<Capability> {
        let mut raw = sys::v4l2_capability::zeroed();
        self.ioctl(vidioc::VIDIOC_QUERYCAP, &mut raw)?;
        let of_node = raw.capabilities & sys::V4L2_CAP_DEVICE_CAPS != 0;
        Ok(Capability {
            driver: text(&raw.driver),
            card: text(&raw.card),
            bus: text(&raw.bus_info),
            flags: if of_node { raw.device_caps } else { raw.capabilities },
        })
    }

    /// Lists formats, sizes and rates. Rates of a range of sizes are those at the size nearest to `wanted`.
    pub(super) fn formats(&self, wanted: Size) -> Vec<FormatInfo> {
        let mut formats = Vec::new();
        for index in 0..MOST_FORMATS {
            let mut raw = sys::v4l2_fmtdesc { index, type_: CAPTURE, ..sys::v4l2_fmtdesc::zeroed() };
            if self.ioctl(vidioc::VIDIOC_ENUM_FMT, &mut raw).is_err() {
                break;
            }
            let fourcc = FourCc(raw.pixelformat.to_le_bytes());
            let taken = fourcc.cost().is_some();
            let sizes = self.sizes(fourcc, wanted);
            formats.push(FormatInfo { fourcc, description: text(&raw.description), taken, sizes });
        }
        formats
    }

    fn sizes(&self, fourcc: FourCc, wanted: Size) -> Vec<SizeInfo> {
        let listed = self.device.enum_framesizes(v4l::FourCC::new(&fourcc.0)).unwrap_or_default();
        let info = |size: FrameSizeEnum| {
            let extent = extent(&size);
            SizeInfo { extent, rates: self.rates(fourcc, extent.nearest(wanted)) }
        };
        listed.into_iter().map(|listed| info(listed.size)).collect()
    }

    fn rates(&self, fourcc: FourCc, size: Size) -> Rates {
        let (Ok(width), Ok(height)) = (u32::try_from(size.width), u32::try_from(size.height)) else {
            return Rates::Discrete(Vec::new());
        };
        let listed = self.device.enum_frameintervals(v4l::FourCC::new(&fourcc.0), width, height);
        let mut discrete = Vec::new();
        for listed in listed.unwrap_or_default() {
            match listed.interval {
                FrameIntervalEnum::Discrete(fraction) => discrete.push(interval(fraction)),
                FrameIntervalEnum::Stepwise(range) => {
                    return Rates::Range { slowest: interval(range.max), fastest: interval(range.min) };
                }
            }
        }
        Rates::Discrete(discrete)
    }

    /// Sets format, size, and the bytes of a row (0: the driver's choice). The answer is what the driver made of them: it may
    /// differ in everything.
    pub(super) fn set_format(&self, fourcc: FourCc, size: Size, stride: usize) -> io::Result<PixelFormat> {
        let number = |value: usize| u32::try_from(value).map_err(|_| io::Error::from(Errno::INVAL));
        // The buffer size stays zero: the driver chooses it. A stride from earlier would be kept as padding.
        let pix = sys::v4l2_pix_format {
            width: number(size.width)?,
            height: number(size.height)?,
            pixelformat: u32::from_le_bytes(fourcc.0),
            field: sys::v4l2_field_V4L2_FIELD_NONE,
            bytesperline: number(stride)?,
            sizeimage: 0,
            colorspace: sys::v4l2_colorspace_V4L2_COLORSPACE_DEFAULT,
            priv_: sys::V4L2_PIX_FMT_PRIV_MAGIC,
            flags: 0,
            __bindgen_anon_1: sys::v4l2_pix_format__bindgen_ty_1 { ycbcr_enc: 0 },
            quantization: 0,
            xfer_func: 0,
        };
        let mut raw = sys::v4l2_format::zeroed();
        raw.type_ = CAPTURE;
        raw.fmt.pix = pix;
        self.ioctl(vidioc::VIDIOC_S_FMT, &mut raw)?;
        // SAFETY: the type is single-planar capture, so the kernel filled in `pix`; all of it is plain integers.
        let (pix, ycbcr_enc) = unsafe { (raw.fmt.pix, raw.fmt.pix.__bindgen_anon_1.ycbcr_enc) };
        // Without the magic number the driver knows nothing of the fields behind it.
        let extended = pix.priv_ == sys::V4L2_PIX_FMT_PRIV_MAGIC;
        let known = |field: u32| if extended { field } else { 0 };
        Ok(PixelFormat {
            fourcc: FourCc(pix.pixelformat.to_le_bytes()),
            size: Size::new(pix.width as usize, pix.height as usize),
            stride: pix.bytesperline as usize,
            color: ColorFields {
                colorspace: pix.colorspace,
                ycbcr_enc: known(ycbcr_enc),
                quantization: known(pix.quantization),
            },
        })
    }

    /// Sets the frame interval, where `wanted` names one, and tells which one holds. Nothing for a driver that has none.
    pub(super) fn set_interval(&self, wanted: Option<Interval>) -> Option<Interval> {
        let set = wanted.map(|wanted| {
            let fraction = Fraction::new(wanted.numerator, wanted.denominator);
            self.device.set_params(&v4l::video::capture::Parameters::new(fraction))
        });
        let params = match set {
            Some(Ok(params)) => Some(params),
            Some(Err(_)) | None => self.device.params().ok(),
        };
        let held = interval(params?.interval);
        (held.rate() > 0.0).then_some(held)
    }

    /// Whether somebody streams from the device: only the owner of its buffers, if there is one, may free none of them.
    pub(super) fn is_busy(&self) -> bool {
        let mut raw = sys::v4l2_requestbuffers::zeroed();
        raw.type_ = CAPTURE;
        raw.memory = sys::v4l2_memory_V4L2_MEMORY_MMAP;
        let freed = self.ioctl(vidioc::VIDIOC_REQBUFS, &mut raw);
        freed.is_err_and(|error| Errno::from_io_error(&error) == Some(Errno::BUSY))
    }
}

fn interval(fraction: Fraction) -> Interval {
    Interval { numerator: fraction.numerator, denominator: fraction.denominator }
}

fn extent(size: &FrameSizeEnum) -> Extent {
    match size {
        FrameSizeEnum::Discrete(size) => Extent::Discrete { width: size.width as usize, height: size.height as usize },
        FrameSizeEnum::Stepwise(range) => Extent::Stepwise {
            min_width: range.min_width as usize,
            max_width: range.max_width as usize,
            step_width: range.step_width as usize,
            min_height: range.min_height as usize,
            max_height: range.max_height as usize,
            step_height: range.step_height as usize,
        },
    }
}

/// Text of a fixed field: up to the first zero, whatever its encoding.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    #[test]
    fn text_ends_at_the_first_zero_and_may_be_no_utf8() {
        assert_eq!(text(b"uvcvideo\0\0junk"), "uvcvideo");
        assert_eq!(text(b"Kamera \xc3\0"), "Kamera \u{fffd}");
        assert_eq!(text(b"0123"), "0123");
    }

    #[test]
    fn a_file_that_is_no_device_is_told_by_its_errno() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let node = Node::open(file.path()).unwrap();
        let error = node.capability().unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::NOTTY));
        assert!(node.formats(Size::new(640, 480)).is_empty());
        assert!(!node.is_busy());
        let flags = rustix::io::fcntl_getfd(node.fd()).unwrap();
        assert!(flags.contains(FdFlags::CLOEXEC));
    }

    #[test]
    fn a_path_with_a_zero_byte_is_just_missing() {
        let error = Node::open(Path::new("/dev/vid\0eo0")).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_request_of_another_size_is_not_sent() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let node = Node::open(file.path()).unwrap();
        let error = node.ioctl(vidioc::VIDIOC_QUERYCAP, &mut sys::v4l2_fmtdesc::zeroed()).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::INVAL));
    }
}
