//! Memory that the predictor's process sees: the picture that was sent, and the mask that goes back. Both are files without a
//! name, so that they are there once, however many processes look at them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use rustix::fs::{fcntl_add_seals, ftruncate, memfd_create, MemfdFlags, SealFlags};

/// Bytes of an answer that are read at a time.
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

/// Where a mask is written to: so many bytes at most, of which only those that are written take memory.
pub(super) struct Room {
    file: File,
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
        Ok(Self { file })
    }

    /// Its first `length` bytes as the body of an answer.
    pub(super) fn into_body(self, length: usize) -> MemoryBody {
        MemoryBody { file: self.file, at: 0, length: length as u64 }
    }
}

impl AsFd for Room {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn memory(name: &str) -> io::Result<File> {
    Ok(memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?.into())
}

/// A body that is read piece by piece from memory. Reading never waits.
pub(super) struct MemoryBody {
    file: File,
    at: u64,
    length: u64,
}

impl MemoryBody {
    fn next(&mut self) -> io::Result<Bytes> {
        let left = usize::try_from(self.length - self.at).unwrap_or(PIECE);
        let mut piece = vec![0; left.min(PIECE)];
        self.file.read_exact_at(&mut piece, self.at)?;
        self.at += piece.len() as u64;
        Ok(piece.into())
    }
}

impl hyper::body::Body for MemoryBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(self.next().map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.length
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length - self.at)
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

    #[tokio::test]
    async fn a_mask_has_its_room_and_no_more_and_goes_back_in_pieces() {
        let length = 2 * PIECE + 5;
        let room = Room::new(length).unwrap();
        let written: Vec<u8> = (0..length).map(|at| at as u8).collect();
        room.file.write_all_at(&written, 0).unwrap();
        assert!(room.file.write_all_at(b"x", length as u64).is_err());
        let body = room.into_body(length - 1);
        assert_eq!(hyper::body::Body::size_hint(&body).exact(), Some(length as u64 - 1));
        assert_eq!(body.collect().await.unwrap().to_bytes(), written[..length - 1]);
    }
}
