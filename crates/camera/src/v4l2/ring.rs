//! The buffers that a driver fills: mapped, queued, dequeued, queued again, and freed in the right order.
//!
//! Made of the `v4l` crate's calls rather than its `Stream`, which requeues a buffer only when the next one is waited
//! for, requeues one it doesn't hold after a time-out, and panics in two destructors at once where STREAMOFF fails.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::time::Duration;
use std::{io, slice};

use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;
use rustix::time::Timespec;
use v4l::v4l2::vidioc;
use v4l::v4l_sys as sys;

use super::errors::Fault;
use super::node::{Node, Plain, CAPTURE};

/// PROT_READ and MAP_SHARED of `mmap`, the same on every Linux.
const PROT_READ: std::os::raw::c_int = 1;
const MAP_SHARED: std::os::raw::c_int = 1;

/// What waiting for a frame came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// Nothing came in time.
    No,
    /// A buffer is there.
    Yes,
    /// The driver has given up, or the device is gone: a dequeue tells why.
    Failed,
}

/// A source of filled buffers: a [`Ring`], or a test's own.
pub(super) trait Queue: Send {
    /// Waits at most `limit` for a filled buffer.
    fn wait(&mut self, limit: Duration) -> Result<Ready, Fault>;
    /// Takes the oldest filled buffer, if there is one.
    fn dequeue(&mut self) -> Result<Option<Filled>, Fault>;
    /// The bytes that the driver wrote.
    fn bytes<'a>(&'a self, filled: &'a Filled) -> &'a [u8];
    /// Gives a buffer back.
    fn requeue(&mut self, filled: Filled) -> Result<(), Fault>;
    /// Number of buffers.
    fn count(&self) -> usize;
}

/// What a [`Ring`] needs of a device: a [`Node`], or a test's own driver.
pub(super) trait Driver: Send {
    /// For the log.
    fn path(&self) -> &Path;
    /// For `poll` and `mmap`.
    fn fd(&self) -> BorrowedFd<'_>;
    /// Sends `request` with `argument`, which the driver reads and fills in.
    fn ioctl<T: Plain>(&self, request: vidioc::_IOC_TYPE, argument: &mut T) -> io::Result<()>;
}

impl Driver for Node {
    fn path(&self) -> &Path {
        self.path()
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }

    fn ioctl<T: Plain>(&self, request: vidioc::_IOC_TYPE, argument: &mut T) -> io::Result<()> {
        self.ioctl(request, argument)
    }
}

/// A buffer that is ours until it is queued again. Only one exists for each buffer that the driver handed out.
#[derive(Debug)]
pub(super) struct Filled {
    index: usize,
    /// Bytes that the driver wrote.
    pub used: usize,
    /// `V4L2_BUF_FLAG_*`.
    pub flags: u32,
    /// The driver's count of frames.
    pub sequence: u32,
    /// Seconds and microseconds of the time stamp.
    pub stamp: (i64, i64),
}

struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

/// The buffers of a streaming device. Dropping it stops the stream and frees them, whatever state the device is in.
pub(super) struct Ring<D: Driver = Node> {
    mappings: Vec<Mapping>,
    // After the buffers: the node closes last, which makes the kernel let go even where a call failed.
    node: D,
}

// SAFETY: the mappings are plain shared memory, tied to no thread.
unsafe impl<D: Driver> Send for Ring<D> {}

impl<D: Driver> Ring<D> {
    /// Asks for `count` buffers, maps and queues them, and starts the stream.
    pub(super) fn start(node: D, count: u32) -> Result<Self, Fault> {
        let mut request = sys::v4l2_requestbuffers::zeroed();
        request.count = count;
        request.type_ = CAPTURE;
        request.memory = sys::v4l2_memory_V4L2_MEMORY_MMAP;
        node.ioctl(vidioc::VIDIOC_REQBUFS, &mut request).map_err(Fault::in_call("VIDIOC_REQBUFS"))?;
        let mut ring = Self { mappings: Vec::new(), node };
        for index in 0..request.count {
            let mapping = ring.map(index)?;
            ring.mappings.push(mapping);
        }
        for index in 0..ring.mappings.len() {
            ring.queue(index)?;
        }
        let mut kind = CAPTURE as std::os::raw::c_int;
        ring.node.ioctl(vidioc::VIDIOC_STREAMON, &mut kind).map_err(Fault::in_call("VIDIOC_STREAMON"))?;
        Ok(ring)
    }

    fn map(&self, index: u32) -> Result<Mapping, Fault> {
        let mut buffer = descriptor(index);
        self.node.ioctl(vidioc::VIDIOC_QUERYBUF, &mut buffer).map_err(Fault::in_call("VIDIOC_QUERYBUF"))?;
        let length = buffer.length as usize;
        // SAFETY: for mapped memory the kernel filled in the offset; it is a plain integer.
        let offset = unsafe { buffer.m.offset };
        let device = self.node.fd().as_raw_fd();
        // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing that exists.
        let start =
            unsafe { v4l::v4l2::mmap(std::ptr::null_mut(), length, PROT_READ, MAP_SHARED, device, offset.into()) };
        let start = start.map_err(Fault::in_call("mmap"))?;
        match NonNull::new(start.cast()) {
            Some(start) => Ok(Mapping { start, length }),
            None => Err(Fault::in_call("mmap")(Errno::NOMEM.into())),
        }
    }

    fn queue(&self, index: usize) -> Result<(), Fault> {
        let mut buffer = descriptor(index as u32);
        self.node.ioctl(vidioc::VIDIOC_QBUF, &mut buffer).map_err(Fault::in_call("VIDIOC_QBUF"))
    }
}

impl<D: Driver> Queue for Ring<D> {
    fn wait(&mut self, limit: Duration) -> Result<Ready, Fault> {
        let limit = Timespec::try_from(limit).unwrap_or(Timespec { tv_sec: i64::from(i32::MAX), tv_nsec: 0 });
        let mut fds = [PollFd::from_borrowed_fd(self.node.fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&limit)) {
            // A signal came: the caller looks at the shutdown token and waits again.
            Ok(0) | Err(Errno::INTR) => Ok(Ready::No),
            Ok(_) if fds[0].revents().contains(PollFlags::IN) => Ok(Ready::Yes),
            Ok(_) => Ok(Ready::Failed),
            Err(error) => Err(Fault::in_call("poll")(error.into())),
        }
    }

    fn dequeue(&mut self) -> Result<Option<Filled>, Fault> {
        let mut buffer = descriptor(0);
        if let Err(error) = self.node.ioctl(vidioc::VIDIOC_DQBUF, &mut buffer) {
            if error.kind() == io::ErrorKind::WouldBlock {
                return Ok(None);
            }
            return Err(Fault::in_call("VIDIOC_DQBUF")(error));
        }
        let index = buffer.index as usize;
        let Some(mapping) = self.mappings.get(index) else {
            return Err(Fault::in_call("VIDIOC_DQBUF")(Errno::PROTO.into()));
        };
        Ok(Some(Filled {
            index,
            used: (buffer.bytesused as usize).min(mapping.length),
            flags: buffer.flags,
            sequence: buffer.sequence,
            stamp: (buffer.timestamp.tv_sec, buffer.timestamp.tv_usec),
        }))
    }

    fn bytes<'a>(&'a self, filled: &'a Filled) -> &'a [u8] {
        let mapping = &self.mappings[filled.index];
        // SAFETY: the mapping is that long and lives as long as self. The kernel gave the buffer out with `filled` and
        // writes to it only after `requeue`, which consumes `filled` and so ends this borrow.
        unsafe { slice::from_raw_parts(mapping.start.as_ptr(), filled.used.min(mapping.length)) }
    }

    fn requeue(&mut self, filled: Filled) -> Result<(), Fault> {
        self.queue(filled.index)
    }

    fn count(&self) -> usize {
        self.mappings.len()
    }
}

impl<D: Driver> Drop for Ring<D> {
    fn drop(&mut self) {
        let mut kind = CAPTURE as std::os::raw::c_int;
        let stopped = self.node.ioctl(vidioc::VIDIOC_STREAMOFF, &mut kind);
        for mapping in self.mappings.drain(..) {
            // SAFETY: mapped by us, unmapped only here, and no slice of it outlives self.
            let unmapped = unsafe { v4l::v4l2::munmap(mapping.start.as_ptr().cast(), mapping.length) };
            if let Err(error) = unmapped {
                log::warn!("{}: munmap: {error}", self.node.path().display());
            }
        }
        let mut request = sys::v4l2_requestbuffers::zeroed();
        request.type_ = CAPTURE;
        request.memory = sys::v4l2_memory_V4L2_MEMORY_MMAP;
        let freed = self.node.ioctl(vidioc::VIDIOC_REQBUFS, &mut request);
        // An unplugged device refuses both; closing the node, which follows, ends the stream and frees the rest.
        for (call, result) in [("VIDIOC_STREAMOFF", stopped), ("VIDIOC_REQBUFS", freed)] {
            if let Err(error) = result {
                log::debug!("{}: {call} at the end: {error}", self.node.path().display());
            }
        }
    }
}

fn descriptor(index: u32) -> sys::v4l2_buffer {
    let mut buffer = sys::v4l2_buffer::zeroed();
    buffer.index = index;
    buffer.type_ = CAPTURE;
    buffer.memory = sys::v4l2_memory_V4L2_MEMORY_MMAP;
    buffer
}

#[cfg(test)]
impl Filled {
    /// A buffer of a test's own queue.
    pub(super) fn new(index: usize, used: usize, flags: u32, sequence: u32, stamp: (i64, i64)) -> Self {
        Self { index, used, flags, sequence, stamp }
    }

    /// Which buffer it is.
    pub(super) fn index(&self) -> usize {
        self.index
    }
}

#[cfg(test)]
mod tests;
