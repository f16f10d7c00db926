//! Cuts a stream of bytes into JPEGs by their marker segments: files of them, and what a camera program writes.
//! Decoding them is left to `capture::jpeg`.

use std::io::{self, Read, Seek};

use super::window::Window;

/// What a buffer for a frame starts with, so that frames of ordinary cameras never make it grow.
pub(super) const BUFFER: usize = 256 << 10;
/// What a JPEG starts with: SOI, and the first byte of the next marker.
pub(super) const MAGIC: &[u8] = &[0xFF, 0xD8, 0xFF];
/// A frame longer than this has lost its end.
const MAX_FRAME: usize = 32 << 20;
const SOS: u8 = 0xDA;
/// Longest SOS segment: four components.
const MAX_SOS: usize = 14;
/// Bytes between two frames that are passed over in silence: padding, or the part headers of an HTTP stream.
const MAX_GAP: u64 = 1024;
/// Without a frame in so many bytes they are reported at once rather than at the next frame, which may never come.
const LONGEST_GAP: u64 = 1 << 20;

/// What [`Splitter::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A frame from SOI to EOI.
    Frame {
        /// Where it begins.
        offset: u64,
    },
    /// Bytes that should be a frame and aren't.
    Broken {
        /// Where they begin.
        offset: u64,
        /// What is wrong with them.
        reason: String,
    },
    /// The end of the stream.
    End,
}

/// Cuts a stream of bytes into JPEGs.
pub(super) struct Splitter<R> {
    window: Window<R>,
    /// The last frame was broken: what follows is the rest of it.
    is_lost: bool,
}

/// Why a frame can't be cut out, and how far behind its start to look for the next.
struct Fault {
    reason: String,
    resume: usize,
}

/// How the search for the next SOI ended.
enum Search {
    Found,
    /// Not yet; the stream goes on.
    Longer,
    End,
}

impl<R: Read> Splitter<R> {
    pub(super) const fn new(window: Window<R>) -> Self {
        Self { window, is_lost: false }
    }

    /// What the bytes come from.
    pub(super) const fn input(&self) -> &R {
        self.window.input()
    }

    /// Where the stream is looked at next.
    pub(super) const fn offset(&self) -> u64 {
        self.window.offset()
    }

    /// Copies the next frame to `frame`, which stays as it is when there is none.
    pub(super) fn next(&mut self, frame: &mut Vec<u8>) -> io::Result<Item> {
        match self.find()? {
            Some(other) => Ok(other),
            None => self.cut(frame),
        }
    }

    /// Moves to the start of the next frame. Anything but `None` is what stands in the way.
    pub(super) fn find(&mut self) -> io::Result<Option<Item>> {
        loop {
            let gap_start = self.offset();
            let (search, is_padding) = self.find_start()?;
            let gap = self.offset() - gap_start;
            if gap > MAX_GAP && !is_padding && !std::mem::take(&mut self.is_lost) {
                return Ok(Some(Item::Broken { offset: gap_start, reason: format!("{gap} bytes that are no frame") }));
            }
            match search {
                Search::Found => return Ok(None),
                Search::End => return Ok(Some(Item::End)),
                Search::Longer => {}
            }
        }
    }

    /// Copies the frame that [`Self::find`] moved to.
    pub(super) fn cut(&mut self, frame: &mut Vec<u8>) -> io::Result<Item> {
        let offset = self.offset();
        match self.walk()? {
            Ok(length) => {
                frame.clear();
                frame.extend_from_slice(&self.window.bytes()[..length]);
                self.window.consume(length);
                self.is_lost = false;
                Ok(Item::Frame { offset })
            }
            Err(Fault { reason, resume }) => {
                self.window.consume(resume.min(self.window.bytes().len()));
                self.is_lost = true;
                Ok(Item::Broken { offset, reason })
            }
        }
    }

    /// Moves to the next SOI marker that another marker follows, or to the end, or past [`LONGEST_GAP`]. Tells which, and
    /// whether only padding was passed.
    fn find_start(&mut self) -> io::Result<(Search, bool)> {
        let begin = self.offset();
        let mut is_padding = true;
        while self.window.fill(MAGIC.len())? {
            let rest = self.window.bytes();
            let found = rest.windows(MAGIC.len()).position(|bytes| bytes == MAGIC);
            let passed = found.unwrap_or(rest.len() - (MAGIC.len() - 1));
            is_padding &= rest[..passed].iter().all(|&byte| byte == 0 || byte == 0xFF);
            self.window.consume(passed);
            if found.is_some() {
                return Ok((Search::Found, is_padding));
            }
            if self.offset() - begin > LONGEST_GAP {
                return Ok((Search::Longer, is_padding));
            }
        }
        Ok((Search::End, is_padding))
    }

    /// Length of the frame that the window begins with, from SOI to EOI.
    fn walk(&mut self) -> io::Result<Result<usize, Fault>> {
        // `at` stands on the 0xFF of a marker, or somewhere in a scan. `segment` is the start of the last segment: its
        // length may be wrong, those before it led to a marker.
        let (mut at, mut segment, mut in_scan) = (2, 2, false);
        let reason = loop {
            if at > MAX_FRAME {
                break format!("no end within {} MiB", MAX_FRAME >> 20);
            }
            if !self.window.fill(at + 2)? {
                break "the data ends within the frame".to_owned();
            }
            let rest = &self.window.bytes()[at..];
            let here = self.offset() + at as u64;
            if rest[0] != 0xFF {
                if !in_scan {
                    break format!("{:#04x} at byte {here}, where a marker should be", rest[0]);
                }
                at += find_ff(rest);
                continue;
            }
            match rest[1] {
                // Markers may be preceded by any number of 0xFF.
                0xFF => at += 1,
                // A byte 0xFF of the scan itself.
                0x00 if in_scan => at += 2,
                0x00 => break format!("no marker at byte {here}"),
                0x01 | 0xD0..=0xD7 => at += 2,
                0xD8 => break format!("a new frame begins at byte {here}, before this one ends"),
                0xD9 => return Ok(Ok(at + 2)),
                code => {
                    (segment, in_scan) = (at, false);
                    if !self.window.fill(at + 4)? {
                        break "the data ends within the frame".to_owned();
                    }
                    let length = &self.window.bytes()[at + 2..][..2];
                    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                    if length < 2 || code == SOS && length > MAX_SOS {
                        break format!("segment of {length} bytes at byte {here}");
                    }
                    in_scan = code == SOS;
                    at += 2 + length;
                }
            }
        };
        let resume = if in_scan { at } else { segment };
        Ok(Err(Fault { reason, resume }))
    }
}

impl<R: Read + Seek> Splitter<R> {
    pub(super) fn rewind(&mut self) -> io::Result<()> {
        self.is_lost = false;
        self.window.rewind_to(0)
    }
}

/// Index of the first 0xFF, or the length. Looks at blocks first: the compiler makes one comparison of each.
fn find_ff(bytes: &[u8]) -> usize {
    let blocks = bytes.chunks_exact(32).take_while(|block| !block.iter().fold(false, |any, &b| any | (b == 0xFF)));
    let done = blocks.count() * 32;
    bytes[done..].iter().position(|&b| b == 0xFF).map_or(bytes.len(), |index| done + index)
}

#[cfg(test)]
mod tests {
    use super::super::window::tests::Drip;
    use super::*;
    use crate::testing::{compress, encode};
    use turbojpeg::Subsamp;

    /// Frames and faults of a stream that is read in pieces of `step` bytes.
    fn split_in(bytes: &[u8], step: usize) -> Vec<(u64, Result<Vec<u8>, String>)> {
        let mut splitter = Splitter::new(Window::new(Drip(bytes, step)));
        let (mut frame, mut found) = (Vec::new(), Vec::new());
        loop {
            match splitter.next(&mut frame).unwrap() {
                Item::Frame { offset } => found.push((offset, Ok(frame.clone()))),
                Item::Broken { offset, reason } => found.push((offset, Err(reason))),
                Item::End => {
                    assert_eq!(splitter.next(&mut frame).unwrap(), Item::End);
                    return found;
                }
            }
        }
    }

    fn split(bytes: &[u8]) -> Vec<(u64, Result<Vec<u8>, String>)> {
        let found = split_in(bytes, usize::MAX);
        assert_eq!(found, split_in(bytes, 97));
        found
    }

    fn jpeg() -> Vec<u8> {
        encode(32, 24, Subsamp::Sub2x2)
    }

    /// `jpeg` with a segment right behind SOI.
    fn with_segment(jpeg: &[u8], marker: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len() + 2).unwrap();
        [&jpeg[..2], &[0xFF, marker], &length.to_be_bytes(), payload, &jpeg[2..]].concat()
    }

    #[test]
    fn frames_are_cut_at_their_own_markers() {
        let plain = jpeg();
        // Noise makes 0xFF bytes in the scan.
        let noise: Vec<u8> = (0..64 * 64 * 3u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let noisy = compress(&noise, 64, 64, Subsamp::None);
        assert!(noisy.windows(2).any(|pair| pair == [0xFF, 0x00]));
        let thumbnail = with_segment(&plain, 0xE1, &plain);
        let comment = with_segment(&plain, 0xFE, &[0xFF, 0xD9, 0xFF, 0xD8, 0xFF, 0xC0]);
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for frame in [&plain, &noisy, &thumbnail, &comment, &plain] {
            expected.push((bytes.len() as u64, Ok(frame.clone())));
            bytes.extend_from_slice(frame);
        }
        for step in [1, 2, 3, 4096, usize::MAX] {
            assert_eq!(split_in(&bytes, step), expected);
        }
    }

    #[test]
    fn restart_markers_and_fill_bytes_do_not_end_a_frame() {
        let frame = [
            0xFF, 0xD8, 0xFF, 0xFF, 0xDB, 0, 3, 9, 0xFF, 0xDA, 0, 2, 1, 0xFF, 0xD0, 2, 0xFF, 0, 3, 0xFF, 0xD7, 0xFF,
            0xFF, 0xFF, 0xD9,
        ];
        assert_eq!(split(&frame), [(0, Ok(frame.to_vec()))]);
    }

    #[test]
    fn padding_and_short_part_headers_between_frames_are_passed_over() {
        let frame = jpeg();
        let header = b"\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n";
        let bytes = [header, &frame[..], &[0; 5000], &frame, header, &frame, &[0xFF; 3000]].concat();
        let found = split(&bytes);
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|(_, item)| item.as_ref() == Ok(&frame)));
    }

    #[test]
    fn a_long_run_of_other_bytes_is_reported() {
        let frame = jpeg();
        let bytes = [&frame[..], &[7; 2000], &frame, &[7; 2000]].concat();
        let found = split(&bytes);
        assert_eq!(found[1], (frame.len() as u64, Err("2000 bytes that are no frame".to_owned())));
        assert_eq!(found[2].1.as_ref(), Ok(&frame));
        assert!(found[3].1.is_err());
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn a_stream_without_frames_is_reported_while_it_goes_on() {
        let found = split_in(&vec![7; 3 << 20], usize::MAX);
        assert!(found.len() >= 2, "{}", found.len());
        assert!(found.iter().all(|(_, item)| item.as_ref().is_err_and(|reason| reason.contains("no frame"))));
        assert!(split_in(&vec![0; 3 << 20], usize::MAX).is_empty(), "padding is silent");
    }

    #[test]
    fn a_truncated_frame_costs_only_itself() {
        let frame = jpeg();
        let scan = frame.windows(2).position(|pair| pair == [0xFF, 0xDA]).unwrap() + 14;
        for cut in 3..frame.len() - 1 {
            let bytes = [&frame[..], &frame[..cut], &frame, &frame].concat();
            let found = split(&bytes);
            let is_good = |(_, item): &(u64, Result<Vec<u8>, String>)| item.as_ref() == Ok(&frame);
            assert!(is_good(&found[0]) && found.last().is_some_and(is_good), "cut at {cut}");
            assert_eq!(found[1].0, frame.len() as u64);
            // A segment that was cut may end where a marker of the next frame happens to stand; a scan can't.
            if cut >= scan {
                assert!(found[1].1.is_err());
                assert_eq!((found.len(), found.iter().filter(|item| is_good(item)).count()), (4, 3), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_wrong_segment_length_costs_only_that_frame() {
        let frame = jpeg();
        let mut bad = frame.clone();
        (bad[4], bad[5]) = (0x7F, 0xFF);
        let found = split(&[&bad[..], &frame, &frame].concat());
        assert_eq!(found.len(), 3);
        assert!(found[0].1.is_err() && found[1].1.is_ok() && found[2].1.is_ok());
    }

    #[test]
    fn find_ff_finds_the_first() {
        for len in 0..100 {
            let mut bytes = vec![0xFE; len];
            assert_eq!(find_ff(&bytes), len);
            for at in (0..len).rev() {
                bytes[at] = 0xFF;
                assert_eq!(find_ff(&bytes), at);
            }
        }
    }
}
