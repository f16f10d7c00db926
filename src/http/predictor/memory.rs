//! Memory that the predictor's process sees: the picture that was sent, and the mask that goes back. Both are files without a
//! name, so that they are there once, however many processes look at them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use rustix::fs::{fallocate, fcntl_add_seals, ftruncate, memfd_create, FallocateFlags, MemfdFlags, SealFlags};

/// Bytes of an answer that go out at a time.
const PIECE: usize = 64 << 10;

/// A picture that is being received.
pub(in crate::http) struct Received {
    file: File,
    length: usize,
}

impl Received {
    /// No bytes yet.
    ///
    /// # Errors
    /// When the system has no descriptor for it.
    pub(in crate::http) fn new() -> io::Result<Self> {
        Ok(Self { file: memory("pspnetd-picture")?, length: 0 })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// When the system has no memory for them.
    pub(in crate::http) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.length as u64)?;
        self.length += bytes.len();
        Ok(())
    }

    /// How many there are.
    pub(in crate::http) const fn len(&self) -> usize {
        self.length
    }

    /// The picture as it is now, for good.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn seal(self) -> io::Result<Picture> {
        fcntl_add_seals(&self.file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        Ok(Picture(self.file))
    }
}

/// A picture that nobody can change any more.
pub(super) struct Picture(File);

impl AsFd for Picture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Where masks are written to, one after the other: so many bytes at most, of which only those that are written take memory.
pub(super) struct Room {
    file: File,
    length: usize,
}

impl Room {
    /// Room for `length` bytes.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn new(length: usize) -> io::Result<Self> {
        let file = memory("pspnetd-mask")?;
        ftruncate(&file, length as u64)?;
        fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        Ok(Self { file, length })
    }

    /// Its first `length` bytes, copied out of there once. Then it is empty.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub(super) fn take(&self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length)?;
        bytes.resize(length, 0);
        self.file.read_exact_at(&mut bytes, 0)?;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&self.file, hole, 0, self.length as u64)?;
        Ok(bytes)
    }
}

impl AsFd for Room {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Memory for pictures that are being received and masks that are being sent: so many bytes of each kind for all clients
/// together, so that many slow ones can't fill it.
#[derive(Clone)]
pub(super) struct Budget {
    held: Arc<AtomicUsize>,
    most: usize,
}

impl Budget {
    /// `most` bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { held: Arc::default(), most }
    }

    /// A part of it that has no bytes yet.
    pub(super) fn hold(&self) -> Held {
        Held { budget: self.clone(), bytes: 0 }
    }
}

/// A part of a [`Budget`], given back when it is dropped.
pub(in crate::http) struct Held {
    budget: Budget,
    bytes: usize,
}

impl Held {
    /// Room for `bytes` more. False where there is none now.
    pub(in crate::http) fn grow(&mut self, bytes: usize) -> bool {
        let all = self.budget.held.fetch_add(bytes, Ordering::AcqRel).saturating_add(bytes);
        self.bytes += bytes;
        all <= self.budget.most
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

fn memory(name: &str) -> io::Result<File> {
    Ok(memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?.into())
}

/// A body that goes out in pieces and counts until it has gone, or who asked has.
pub(super) struct HeldBody {
    bytes: Bytes,
    _held: Held,
}

impl HeldBody {
    /// `bytes`, which `held` counts.
    pub(super) fn new(bytes: Vec<u8>, held: Held) -> Self {
        Self { bytes: bytes.into(), _held: held }
    }
}

impl hyper::body::Body for HeldBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.bytes.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.bytes.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use infer::SealedBytes;

    #[test]
    fn a_picture_is_what_came_and_stays_that() {
        let mut received = Received::new().unwrap();
        received.push(b"abc").unwrap();
        received.push(b"de").unwrap();
        assert_eq!(received.len(), 5);
        let picture = received.seal().unwrap();
        assert_eq!(&*SealedBytes::new(&picture).unwrap(), b"abcde");
        assert!(rustix::io::pwrite(&picture, b"x", 0).is_err());
    }

    #[test]
    fn a_mask_has_its_room_and_no_more_and_leaves_it_empty() {
        let length = 3 * PIECE;
        let room = Room::new(length).unwrap();
        let written: Vec<u8> = (0..length).map(|at| at as u8).collect();
        room.file.write_all_at(&written, 0).unwrap();
        assert!(room.file.write_all_at(b"x", length as u64).is_err());
        assert_eq!(room.take(length - 1).unwrap(), written[..length - 1]);
        assert_eq!(rustix::fs::fstat(&room).unwrap().st_blocks, 0, "it takes no memory");
        assert!(room.take(length + 1).is_err());
    }

    #[tokio::test]
    async fn a_body_counts_until_it_has_gone() {
        let budget = Budget::new(PIECE + 5);
        let mut held = budget.hold();
        assert!(held.grow(PIECE + 5) && !budget.hold().grow(1));
        let body = HeldBody::new(vec![7; PIECE + 5], held);
        assert_eq!(hyper::body::Body::size_hint(&body).exact(), Some(PIECE as u64 + 5));
        assert_eq!(body.collect().await.unwrap().to_bytes(), vec![7; PIECE + 5]);
        assert!(budget.hold().grow(PIECE + 5));
    }

    #[test]
    fn all_clients_together_hold_so_much() {
        let budget = Budget::new(200);
        let (mut one, mut other) = (budget.hold(), budget.hold());
        assert!(one.grow(60) && one.grow(40) && other.grow(100));
        assert!(!budget.hold().grow(1));
        drop(one);
        assert!(other.grow(100) && !other.grow(1));
        drop(other);
        assert!(budget.hold().grow(200));
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }
}
