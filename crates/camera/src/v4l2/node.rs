//! One open V4L2 device node: what it is, its frame rate, and the way for every request to it. What it offers is in
//! `offers.rs`, its format in `format.rs`, streaming in `ring.rs`.
//!
//! The `v4l` crate opens the node and brings the kernel's structures and request numbers. Its own requests are not used: they
//! go through `syscall`, past libraries that stand before the C library's `ioctl`, as `libcamerify` puts one there; its types
//! panic on text that is no UTF-8 and on numbers newer than the crate; and it leaves out the colour encoding.
#![allow(unsafe_code)]

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::{io, mem};

use rustix::io::{Errno, FdFlags};
use v4l::v4l2::vidioc;
use v4l::{v4l_sys as sys, Device};

use super::negotiate::Interval;

/// V4L2_CAP_IO_MC, which older headers lack: what is captured is set up through the media controller.
const CAP_IO_MC: u32 = 0x2000_0000;

/// Which of V4L2's two interfaces a device is asked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Planes {
    /// A picture is one piece of memory.
    Single,
    /// A picture may be in several.
    Multi,
}

impl Planes {
    /// The type of buffer, as every request names it.
    pub(super) fn buffer_type(self) -> u32 {
        match self {
            Self::Single => sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE,
            Self::Multi => sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE,
        }
    }
}

/// Structures that the kernel fills in: any bits are valid values of them, all zeroes among them.
///
/// # Safety
/// Implement it only for plain C structures without references. Where the kernel follows a pointer of one, the code that fills
/// in the pointer answers for what it points to.
pub(super) unsafe trait Plain: Sized {
    /// The structure with every byte zero.
    fn zeroed() -> Self {
        // SAFETY: all zeroes are a valid value, the trait promises.
        unsafe { mem::zeroed() }
    }
}

/// Structures of integers, byte arrays, unions of these, and pointers.
macro_rules! plain {
    ($($structure:ty),+ $(,)?) => {
        $(
            // SAFETY: integers, byte arrays, unions of these, and raw pointers: any bits are valid.
            unsafe impl Plain for $structure {}
        )+
    };
}

plain!(
    sys::v4l2_capability,
    sys::v4l2_fmtdesc,
    sys::v4l2_frmsizeenum,
    sys::v4l2_frmivalenum,
    sys::v4l2_format,
    sys::v4l2_streamparm,
    sys::v4l2_requestbuffers,
    sys::v4l2_buffer,
    sys::v4l2_plane,
    sys::v4l2_queryctrl,
    sys::v4l2_query_ext_ctrl,
    sys::v4l2_querymenu,
    sys::v4l2_control,
    sys::v4l2_ext_control,
    sys::v4l2_ext_controls,
    std::os::raw::c_int,
);

/// What `VIDIOC_QUERYCAP` tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Capability {
    pub driver: String,
    pub card: String,
    pub bus: String,
    /// `V4L2_CAP_*` of this node, not of the whole device.
    pub flags: u32,
}

impl Capability {
    /// Whether it has any of these `V4L2_CAP_*`.
    pub(super) fn has(&self, flags: u32) -> bool {
        self.flags & flags != 0
    }

    /// The interface to ask it through: the multi-planar one where it has nothing else.
    pub(super) fn planes(&self) -> Planes {
        if self.has(sys::V4L2_CAP_VIDEO_CAPTURE) {
            Planes::Single
        } else {
            Planes::Multi
        }
    }

    /// Whether it is one end of a pipeline that programs set up through the media controller.
    pub(super) fn needs_media_controller(&self) -> bool {
        self.has(CAP_IO_MC)
    }
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
        // Through the C library's own function, which a preloaded library may stand before.
        // SAFETY: the argument is exclusively borrowed, as large as the request says, and any bits are valid in it.
        let result = unsafe { libc::ioctl(self.raw_fd(), request, argument) };
        if result == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
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

    /// Sets the frame interval, where `wanted` names one, and tells which one holds. Nothing for a driver that has none.
    pub(super) fn set_interval(&self, planes: Planes, wanted: Option<Interval>) -> Option<Interval> {
        let asked = |request, interval: Interval| {
            let mut raw = sys::v4l2_streamparm::zeroed();
            raw.type_ = planes.buffer_type();
            raw.parm.capture.timeperframe =
                sys::v4l2_fract { numerator: interval.numerator, denominator: interval.denominator };
            self.ioctl(request, &mut raw).ok()?;
            // SAFETY: the type is capture, so the kernel filled in `capture`; all of it is integers.
            let held = unsafe { raw.parm.capture.timeperframe };
            Some(Interval { numerator: held.numerator, denominator: held.denominator })
        };
        let set = wanted.and_then(|wanted| asked(vidioc::VIDIOC_S_PARM, wanted));
        let nothing = Interval { numerator: 0, denominator: 0 };
        set.or_else(|| asked(vidioc::VIDIOC_G_PARM, nothing)).filter(|held| held.rate() > 0.0)
    }

    /// Whether somebody streams from the device: only the owner of its buffers, if there is one, may free none of them.
    pub(super) fn is_busy(&self, planes: Planes) -> bool {
        let mut raw = sys::v4l2_requestbuffers::zeroed();
        raw.type_ = planes.buffer_type();
        raw.memory = sys::v4l2_memory_V4L2_MEMORY_MMAP;
        let freed = self.ioctl(vidioc::VIDIOC_REQBUFS, &mut raw);
        freed.is_err_and(|error| Errno::from_io_error(&error) == Some(Errno::BUSY))
    }
}

/// Text of a fixed field: up to the first zero, whatever its encoding.
pub(super) fn text(field: &[u8]) -> String {
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
        assert!(!node.is_busy(Planes::Single));
        assert_eq!(node.set_interval(Planes::Single, Some(Interval { numerator: 1, denominator: 30 })), None);
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
