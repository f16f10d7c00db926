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
use super::node::{Node, Plain, Planes};

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
    /// Bytes before the picture, which a multi-planar driver may put there.
    start: usize,
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
    planes: Planes,
    // After the buffers: the node closes last, which makes the kernel let go even where a call failed.
    node: D,
}

// SAFETY: the mappings are plain shared memory, tied to no thread.
unsafe impl<D: Driver> Send for Ring<D> {}

impl<D: Driver> Ring<D> {
    /// Asks for `count` buffers, maps and queues them, and starts the stream.
    pub(super) fn start(node: D, planes: Planes, count: u32) -> Result<Self, Fault> {
        let mut request = sys::v4l2_requestbuffers::zeroed();
        request.count = count;
        request.type_ = planes.buffer_type();
        request.memory = sys::v4l2_memory_V4L2_MEMORY_MMAP;
        node.ioctl(vidioc::VIDIOC_REQBUFS, &mut request).map_err(Fault::in_call("VIDIOC_REQBUFS"))?;
        let mut ring = Self { mappings: Vec::new(), planes, node };
        for index in 0..request.count {
            let mapping = ring.map(index)?;
            ring.mappings.push(mapping);
        }
        for index in 0..ring.mappings.len() {
            ring.queue(index)?;
        }
        let mut kind = planes.buffer_type() as std::os::raw::c_int;
        ring.node.ioctl(vidioc::VIDIOC_STREAMON, &mut kind).map_err(Fault::in_call("VIDIOC_STREAMON"))?;
        Ok(ring)
    }

    /// What it streams from.
    pub(super) fn driver(&self) -> &D {
        &self.node
    }

    fn map(&self, index: u32) -> Result<Mapping, Fault> {
        let about = self.exchange(vidioc::VIDIOC_QUERYBUF, index).map_err(Fault::in_call("VIDIOC_QUERYBUF"))?;
        let length = about.length;
        let device = self.node.fd().as_raw_fd();
        let offset = about.offset.into();
        // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe { v4l::v4l2::mmap(std::ptr::null_mut(), length, PROT_READ, MAP_SHARED, device, offset) };
        let start = start.map_err(Fault::in_call("mmap"))?;
        match NonNull::new(start.cast()) {
            Some(start) => Ok(Mapping { start, length }),
            None => Err(Fault::in_call("mmap")(Errno::NOMEM.into())),
        }
    }

    fn queue(&self, index: usize) -> Result<(), Fault> {
        self.exchange(vidioc::VIDIOC_QBUF, index as u32).map(drop).map_err(Fault::in_call("VIDIOC_QBUF"))
    }

    /// Sends `request` about a buffer; what the driver says of it.
    fn exchange(&self, request: vidioc::_IOC_TYPE, index: u32) -> io::Result<About> {
        let mut plane = sys::v4l2_plane::zeroed();
        let mut buffer = sys::v4l2_buffer::zeroed();
        buffer.index = index;
        buffer.type_ = self.planes.buffer_type();
        buffer.memory = sys::v4l2_memory_V4L2_MEMORY_MMAP;
        if self.planes == Planes::Multi {
            // Of this type of buffer the kernel reads and writes as many planes as `length` says: this one, which outlives
            // the request.
            buffer.m.planes = &raw mut plane;
            buffer.length = 1;
        }
        self.node.ioctl(request, &mut buffer)?;
        let (start, used, length) = match self.planes {
            Planes::Single => (0, buffer.bytesused, buffer.length),
            Planes::Multi => (plane.data_offset, plane.bytesused.saturating_sub(plane.data_offset), plane.length),
        };
        // SAFETY: integers, whatever their bits: for mapped memory the kernel filled in the one that the type of buffer has.
        let (of_buffer, of_plane) = unsafe { (buffer.m.offset, plane.m.mem_offset) };
        let offset = if self.planes == Planes::Single { of_buffer } else { of_plane };
        let (index, start, used) = (buffer.index as usize, start as usize, used as usize);
        let stamp = (buffer.timestamp.tv_sec, buffer.timestamp.tv_usec);
        let filled = Filled { index, start, used, flags: buffer.flags, sequence: buffer.sequence, stamp };
        Ok(About { filled, offset, length: length as usize })
    }
}

/// What a driver says of a buffer.
struct About {
    filled: Filled,
    /// Where to map it.
    offset: u32,
    /// Its bytes.
    length: usize,
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
        let mut filled = match self.exchange(vidioc::VIDIOC_DQBUF, 0) {
            Ok(about) => about.filled,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(Fault::in_call("VIDIOC_DQBUF")(error)),
        };
        let Some(mapping) = self.mappings.get(filled.index) else {
            return Err(Fault::in_call("VIDIOC_DQBUF")(Errno::PROTO.into()));
        };
        filled.start = filled.start.min(mapping.length);
        filled.used = filled.used.min(mapping.length - filled.start);
        Ok(Some(filled))
    }

    fn bytes<'a>(&'a self, filled: &'a Filled) -> &'a [u8] {
        let mapping = &self.mappings[filled.index];
        let start = filled.start.min(mapping.length);
        let length = filled.used.min(mapping.length - start);
        // SAFETY: the mapping is that long and lives as long as self. The kernel gave the buffer out with `filled` and
        // writes to it only after `requeue`, which consumes `filled` and so ends this borrow.
        unsafe { slice::from_raw_parts(mapping.start.as_ptr().add(start), length) }
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
        let mut kind = self.planes.buffer_type() as std::os::raw::c_int;
        let stopped = self.node.ioctl(vidioc::VIDIOC_STREAMOFF, &mut kind);
        for mapping in self.mappings.drain(..) {
            // SAFETY: mapped by us, unmapped only here, and no slice of it outlives self.
            let unmapped = unsafe { v4l::v4l2::munmap(mapping.start.as_ptr().cast(), mapping.length) };
            if let Err(error) = unmapped {
                log::warn!("{}: munmap: {error}", self.node.path().display());
            }
        }
        let mut request = sys::v4l2_requestbuffers::zeroed();
        request.type_ = self.planes.buffer_type();
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

#[cfg(test)]
impl Filled {
    /// A buffer of a test's own queue.
    pub(super) fn new(index: usize, used: usize, flags: u32, sequence: u32, stamp: (i64, i64)) -> Self {
        Self { index, start: 0, used, flags, sequence, stamp }
    }

    /// Which buffer it is.
    pub(super) fn index(&self) -> usize {
        self.index
    }
}

#[cfg(test)]
mod tests;
