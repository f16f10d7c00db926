//! The ring on a driver whose buffers are a file's pages: what it asks of a device, in which order, and what it makes of the
//! answers.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::VecDeque;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use super::*;

/// Bytes of a buffer, and from one to the next: a multiple of every page size.
const LENGTH: usize = 4096;
const APART: usize = 1 << 16;

/// What a test and its driver share.
#[derive(Default)]
struct Log {
    calls: Vec<String>,
    /// Answers to dequeues; none waiting is `EAGAIN`.
    filled: VecDeque<Result<Filled, Errno>>,
    /// The call that fails, as `calls` names it.
    failing: Option<(&'static str, Errno)>,
    mapped_when_freed: Option<usize>,
}

/// A driver with `count` buffers, whose bytes are the number of the buffer.
struct Fake {
    log: Arc<Mutex<Log>>,
    count: u32,
    /// Bytes before the picture of a multi-planar driver's buffers.
    before: Option<u32>,
    memory: OwnedFd,
    /// Its name as /proc/self/maps shows it.
    name: String,
}

impl Fake {
    fn new(count: u32) -> (Self, Arc<Mutex<Log>>) {
        let file = tempfile::tempfile().unwrap();
        for index in 0..count as usize {
            file.write_all_at(&[index as u8; LENGTH], (index * APART) as u64).unwrap();
        }
        let fd = OwnedFd::from(file);
        let name = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
        let log = Arc::<Mutex<Log>>::default();
        (Self { log: Arc::clone(&log), count, before: None, memory: fd, name: name.to_str().unwrap().to_owned() }, log)
    }

    fn planes(&self) -> Planes {
        self.before.map_or(Planes::Single, |_| Planes::Multi)
    }

    /// What a request of a multi-planar driver's buffer points to.
    #[allow(clippy::mut_from_ref)] // it lies beside the buffer, and the caller of the request has lent it
    fn plane(&self, buffer: &sys::v4l2_buffer) -> Option<&mut sys::v4l2_plane> {
        self.before?;
        assert_eq!(buffer.length, 1, "planes");
        // SAFETY: a request of this type comes with a pointer to as many planes as the length says.
        Some(unsafe { &mut *buffer.m.planes })
    }

    /// How many of its buffers are mapped.
    fn mapped(&self) -> usize {
        std::fs::read_to_string("/proc/self/maps").unwrap().matches(&self.name).count()
    }

    fn answer(&self, log: &mut Log, request: vidioc::_IOC_TYPE, argument: *mut u8) -> io::Result<()> {
        let buffers = || {
            // SAFETY: `ioctl` checked the size, and these requests come with this structure.
            let buffers = unsafe { &mut *argument.cast::<sys::v4l2_requestbuffers>() };
            assert_eq!(
                (buffers.type_, buffers.memory),
                (self.planes().buffer_type(), sys::v4l2_memory_V4L2_MEMORY_MMAP)
            );
            buffers
        };
        let buffer = || {
            // SAFETY: as above.
            let buffer = unsafe { &mut *argument.cast::<sys::v4l2_buffer>() };
            assert_eq!((buffer.type_, buffer.memory), (self.planes().buffer_type(), sys::v4l2_memory_V4L2_MEMORY_MMAP));
            buffer
        };
        // SAFETY: as above.
        let kind = || unsafe { *argument.cast::<std::os::raw::c_int>() };
        let call = match request {
            vidioc::VIDIOC_REQBUFS => {
                let buffers = buffers();
                if buffers.count == 0 {
                    log.mapped_when_freed = Some(self.mapped());
                }
                let call = format!("REQBUFS {}", buffers.count);
                buffers.count = buffers.count.min(self.count);
                call
            }
            vidioc::VIDIOC_QUERYBUF => {
                let buffer = buffer();
                match self.plane(buffer) {
                    Some(plane) => {
                        plane.length = LENGTH as u32;
                        plane.m.mem_offset = buffer.index * APART as u32;
                    }
                    None => {
                        buffer.length = LENGTH as u32;
                        buffer.m.offset = buffer.index * APART as u32;
                    }
                }
                format!("QUERYBUF {}", buffer.index)
            }
            vidioc::VIDIOC_QBUF => format!("QBUF {}", buffer().index),
            vidioc::VIDIOC_DQBUF => {
                let filled = log.filled.pop_front().unwrap_or(Err(Errno::AGAIN))?;
                let buffer = buffer();
                buffer.index = filled.index as u32;
                (buffer.bytesused, buffer.flags, buffer.sequence) = (filled.used as u32, filled.flags, filled.sequence);
                match self.plane(buffer) {
                    Some(plane) => {
                        // What the other interface would have said counts for nothing.
                        (buffer.bytesused, plane.bytesused) = (7, filled.used as u32);
                        plane.data_offset = self.before.unwrap();
                    }
                    None => buffer.length = LENGTH as u32,
                }
                (buffer.timestamp.tv_sec, buffer.timestamp.tv_usec) = filled.stamp;
                return Ok(());
            }
            vidioc::VIDIOC_STREAMON => format!("STREAMON {}", kind()),
            vidioc::VIDIOC_STREAMOFF => format!("STREAMOFF {}", kind()),
            other => panic!("request {other:#x}"),
        };
        let failing = log.failing.filter(|(failing, _)| *failing == call);
        log.calls.push(call);
        failing.map_or(Ok(()), |(_, errno)| Err(errno.into()))
    }
}

impl Driver for Fake {
    fn path(&self) -> &Path {
        Path::new("/dev/video9")
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    fn ioctl<T: Plain>(&self, request: vidioc::_IOC_TYPE, argument: &mut T) -> io::Result<()> {
        assert_eq!((request >> 16) & 0x3fff, size_of::<T>() as vidioc::_IOC_TYPE);
        let argument: *mut T = argument;
        self.answer(&mut self.log.lock().unwrap(), request, argument.cast())
    }
}

/// A buffer of which the driver says that it filled so many bytes.
fn filled(index: usize, used: usize) -> Filled {
    Filled::new(index, used, 0, 0, (0, 0))
}

fn calls(log: &Mutex<Log>) -> Vec<String> {
    std::mem::take(&mut log.lock().unwrap().calls)
}

#[test]
fn what_is_no_camera_fails_at_the_first_call_and_names_it() {
    let node = Node::open(Path::new("/dev/null")).unwrap();
    let fault = Ring::start(node, Planes::Single, 4).err().unwrap();
    assert_eq!(fault.to_string(), "VIDIOC_REQBUFS: Inappropriate ioctl for device (os error 25)");
}

#[test]
fn buffers_are_mapped_and_queued_before_the_stream_starts_and_unmapped_before_they_are_freed() {
    let (fake, log) = Fake::new(3);
    // The driver has fewer than it was asked for.
    let ring = Ring::start(fake, Planes::Single, 4).unwrap();
    assert_eq!((ring.count(), ring.node.mapped()), (3, 3));
    let expected = ["REQBUFS 4", "QUERYBUF 0", "QUERYBUF 1", "QUERYBUF 2", "QBUF 0", "QBUF 1", "QBUF 2", "STREAMON 1"];
    assert_eq!(calls(&log), expected);
    drop(ring);
    assert_eq!(calls(&log), ["STREAMOFF 1", "REQBUFS 0"]);
    assert_eq!(log.lock().unwrap().mapped_when_freed, Some(0));
}

#[test]
fn a_multi_planar_drivers_picture_is_its_plane_without_what_stands_before_it() {
    let (mut fake, log) = Fake::new(2);
    fake.before = Some(64);
    let mut ring = Ring::start(fake, Planes::Multi, 2).unwrap();
    assert_eq!(calls(&log), ["REQBUFS 2", "QUERYBUF 0", "QUERYBUF 1", "QBUF 0", "QBUF 1", "STREAMON 9"]);
    for (index, said, used) in [(1, 164, 100), (0, 64, 0), (1, 10, 0), (0, 4096, 4032), (1, 9999, 4032)] {
        log.lock().unwrap().filled.push_back(Ok(filled(index, said)));
        let filled = ring.dequeue().unwrap().unwrap();
        assert_eq!(ring.bytes(&filled), vec![index as u8; used], "{said} bytes");
        ring.requeue(filled).unwrap();
    }
    drop(ring);
    assert_eq!(log.lock().unwrap().calls[5..], ["STREAMOFF 9", "REQBUFS 0"]);
}

#[test]
fn a_start_that_fails_anywhere_names_the_call_and_leaves_nothing_behind() {
    for (failing, named) in [
        ("REQBUFS 4", "VIDIOC_REQBUFS"),
        ("QUERYBUF 2", "VIDIOC_QUERYBUF"),
        ("QBUF 1", "VIDIOC_QBUF"),
        ("STREAMON 1", "VIDIOC_STREAMON"),
    ] {
        let (fake, log) = Fake::new(4);
        log.lock().unwrap().failing = Some((failing, Errno::NODEV));
        let fault = Ring::start(fake, Planes::Single, 4).err().unwrap();
        assert_eq!((fault.call, Errno::from_io_error(&fault.error)), (named, Some(Errno::NODEV)));
        let calls = calls(&log);
        if failing == "REQBUFS 4" {
            assert_eq!(calls, ["REQBUFS 4"], "there is nothing to free");
            continue;
        }
        assert_eq!(calls[calls.len() - 3..], [failing, "STREAMOFF 1", "REQBUFS 0"]);
        assert_eq!(log.lock().unwrap().mapped_when_freed, Some(0), "{failing}");
    }
}

#[test]
fn a_frame_is_as_long_as_the_driver_says_and_never_longer_than_its_buffer() {
    let (fake, log) = Fake::new(3);
    let mut ring = Ring::start(fake, Planes::Single, 3).unwrap();
    for (index, said, used) in
        [(1, 100, 100), (2, 0, 0), (0, 4095, 4095), (2, 4096, 4096), (1, 4097, 4096), (0, u32::MAX as usize, 4096)]
    {
        log.lock().unwrap().filled.push_back(Ok(filled(index, said)));
        let filled = ring.dequeue().unwrap().unwrap();
        assert_eq!((filled.index(), filled.used), (index, used), "{said} bytes");
        // The buffer's own bytes, those of no other.
        assert_eq!(ring.bytes(&filled), vec![index as u8; used], "{said} bytes");
        ring.requeue(filled).unwrap();
    }
    // One that says more of itself than was dequeued.
    assert_eq!(ring.bytes(&filled(1, 9999)).len(), LENGTH);
}

#[test]
fn what_a_driver_says_of_a_frame_arrives_and_its_buffer_goes_back() {
    let (fake, log) = Fake::new(4);
    let mut ring = Ring::start(fake, Planes::Single, 4).unwrap();
    let told = Filled::new(2, 7, sys::V4L2_BUF_FLAG_ERROR, 4_000_000_000, (123, 456_789));
    log.lock().unwrap().filled.extend([Ok(told), Ok(filled(0, 1))]);
    calls(&log);
    let first = ring.dequeue().unwrap().unwrap();
    assert_eq!((first.index(), first.used), (2, 7));
    assert_eq!((first.flags, first.sequence), (sys::V4L2_BUF_FLAG_ERROR, 4_000_000_000));
    assert_eq!(first.stamp, (123, 456_789));
    let second = ring.dequeue().unwrap().unwrap();
    assert!(ring.dequeue().unwrap().is_none(), "EAGAIN: there is no third");
    ring.requeue(second).unwrap();
    ring.requeue(first).unwrap();
    assert_eq!(calls(&log), ["QBUF 0", "QBUF 2"]);
}

#[test]
fn a_dequeue_that_fails_or_names_a_buffer_that_is_none_is_a_fault() {
    let (fake, log) = Fake::new(2);
    let mut ring = Ring::start(fake, Planes::Single, 2).unwrap();
    log.lock().unwrap().filled.extend([
        Err(Errno::NODEV),
        Err(Errno::IO),
        Ok(filled(2, 1)),
        Ok(filled(u32::MAX as usize, 1)),
    ]);
    for errno in [Errno::NODEV, Errno::IO, Errno::PROTO, Errno::PROTO] {
        let fault = ring.dequeue().unwrap_err();
        assert_eq!((fault.call, Errno::from_io_error(&fault.error)), ("VIDIOC_DQBUF", Some(errno)));
    }
    log.lock().unwrap().failing = Some(("QBUF 1", Errno::IO));
    let fault = ring.requeue(filled(1, 0)).unwrap_err();
    assert_eq!(fault.call, "VIDIOC_QBUF");
}

#[test]
fn waiting_tells_a_frame_from_silence_and_from_a_device_that_is_gone() {
    let (mut driver, device) = UnixStream::pair().unwrap();
    let (mut fake, _) = Fake::new(0);
    fake.memory = device.into();
    let mut ring = Ring::start(fake, Planes::Single, 4).unwrap();
    let wait = |ring: &mut Ring<Fake>| ring.wait(Duration::from_millis(1)).unwrap();
    assert_eq!(wait(&mut ring), Ready::No);
    driver.write_all(b"a frame").unwrap();
    assert_eq!(wait(&mut ring), Ready::Yes);
    // A time that the kernel's own can't hold is a long one.
    assert_eq!(ring.wait(Duration::MAX).unwrap(), Ready::Yes);
    // The writing end of a pipe whose reader is gone has nothing to read, and an error.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    ring.node.memory = writer.into();
    assert_eq!(wait(&mut ring), Ready::Failed);
}
