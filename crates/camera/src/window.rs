//! A stream of bytes that can be looked into before it is consumed: what the cutters of MJPEG and Y4M read through.
//! Never goes back, so that it works on pipes as well as on files. What the bytes mean is left to the cutters.

use std::io::{self, Read, Seek};

/// Bytes asked of the input at once.
const CHUNK: usize = 64 << 10;
/// The buffer starts with this much, so that frames of ordinary cameras never make it grow.
const BUFFER: usize = 256 << 10;

/// The bytes of `R` from some offset on, as many as were asked for.
pub(super) struct Window<R> {
    input: R,
    /// Bytes read; those before `start` are done with.
    buffer: Vec<u8>,
    start: usize,
    /// Offset of `buffer[start]` in the stream.
    offset: u64,
    at_end: bool,
}

impl<R: Read> Window<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, buffer: Vec::with_capacity(BUFFER), start: 0, offset: 0, at_end: false }
    }

    /// What the bytes come from.
    pub(super) const fn input(&self) -> &R {
        &self.input
    }

    /// Where the window begins, counted from the start of the stream.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes that are there already.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Makes sure that there are `count` bytes. False when the stream ends before.
    pub(super) fn fill(&mut self, count: usize) -> io::Result<bool> {
        while self.buffer.len() - self.start < count {
            if self.at_end {
                return Ok(false);
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            let filled = self.buffer.len();
            self.buffer.resize(filled + CHUNK, 0);
            let read = read(&mut self.input, &mut self.buffer[filled..]);
            self.buffer.truncate(filled + read.as_ref().map_or(0, |&bytes| bytes));
            self.at_end = read? == 0;
        }
        Ok(true)
    }

    /// Passes over `bytes` bytes that are there.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Consumes as many bytes as `out` takes, past the buffer where it has none. Fewer only at the end of the stream.
    pub(super) fn read_to(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = out.len().min(self.bytes().len());
        out[..filled].copy_from_slice(&self.bytes()[..filled]);
        self.consume(filled);
        while filled < out.len() && !self.at_end {
            let count = read(&mut self.input, &mut out[filled..])?;
            self.at_end = count == 0;
            self.offset += count as u64;
            filled += count;
        }
        Ok(filled)
    }
}

impl<R: Read + Seek> Window<R> {
    /// Goes back to byte `offset` of the input.
    pub(super) fn rewind_to(&mut self, offset: u64) -> io::Result<()> {
        self.input.seek(io::SeekFrom::Start(offset))?;
        self.buffer.clear();
        (self.start, self.offset, self.at_end) = (0, offset, false);
        Ok(())
    }
}

fn read(input: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Gives `step` bytes at a time.
    pub(in super::super) struct Drip<'a>(pub(in super::super) &'a [u8], pub(in super::super) usize);

    impl Read for Drip<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let take = self.1.min(out.len()).min(self.0.len());
            out[..take].copy_from_slice(&self.0[..take]);
            self.0 = &self.0[take..];
            Ok(take)
        }
    }

    #[test]
    fn bytes_come_once_and_in_order_however_they_are_asked_for() {
        let all: Vec<u8> = (0..200u8).collect();
        for step in [1, 7, 300] {
            let mut window = Window::new(Drip(&all, step));
            assert!(window.fill(10).unwrap());
            assert_eq!(window.bytes()[..10], all[..10]);
            window.consume(4);
            let mut out = [0; 100];
            assert_eq!(window.read_to(&mut out).unwrap(), 100);
            assert_eq!((out.as_slice(), window.offset()), (&all[4..104], 104));
            assert!(window.fill(96).unwrap() && !window.fill(97).unwrap());
            let mut rest = [0; 100];
            assert_eq!(window.read_to(&mut rest).unwrap(), 96);
            assert_eq!((&rest[..96], window.offset()), (&all[104..], 200));
            assert_eq!(window.read_to(&mut rest).unwrap(), 0);
        }
    }
}
