//! A file of JPEGs one after another, as `ffmpeg -c copy x.mjpeg` or a camera writes it: read in a stream, so that its
//! length doesn't matter. Finds the frames by their marker segments; decoding them is left to `capture::jpeg`.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use super::super::jpeg::JpegDecoder;
use super::super::paced::{Advance, Source};
use super::super::CameraError;
use super::{file_name, io_error, name};
use crate::frame::{Picture, PictureFormat, Size};

/// Bytes asked of the file at once.
const CHUNK: usize = 64 << 10;
/// Buffers start with this much, so that frames of ordinary cameras never make them grow.
const BUFFER: usize = 256 << 10;
/// A frame longer than this has lost its end.
const MAX_FRAME: usize = 32 << 20;
/// A file must have a whole frame within this many bytes.
const MAX_SEARCH: u64 = 64 << 20;
const SOS: u8 = 0xDA;
/// Longest SOS segment: four components.
const MAX_SOS: usize = 14;
/// Bytes between two frames that are passed over in silence: padding, or the part headers of an HTTP stream.
const MAX_GAP: u64 = 1024;

/// An MJPEG file as a source.
pub(super) struct Mjpeg {
    path: PathBuf,
    splitter: Splitter<File>,
    decoder: JpegDecoder,
    frame: Vec<u8>,
    /// Number of the next frame in the file, and where the last one began.
    next: u64,
    offset: u64,
    format: Option<PictureFormat>,
}

impl Mjpeg {
    pub(super) fn open(path: &Path, wanted: Option<Size>) -> Result<Self, CameraError> {
        let file = File::open(path).map_err(|error| io_error(path, &error))?;
        let mut decoder = JpegDecoder::new().map_err(|error| CameraError::retry(name(path), error.to_string(), ""))?;
        decoder.set_wanted(wanted);
        let mut source = Self {
            path: path.to_owned(),
            splitter: Splitter::new(file),
            decoder,
            frame: Vec::with_capacity(BUFFER),
            next: 0,
            offset: 0,
            format: None,
        };
        let mut first_fault = None;
        while source.splitter.offset < MAX_SEARCH {
            match source.advance()? {
                Advance::Ready => {
                    source.format = source.picture().ok().map(|picture| picture.format());
                    source.rewind()?;
                    return Ok(source);
                }
                Advance::Corrupt(reason) => first_fault = first_fault.or(Some(reason)),
                Advance::End => break,
            }
        }
        let reason = match first_fault {
            Some(fault) => format!("no whole JPEG frame in it; {fault}"),
            None => "no JPEG frame in it".to_owned(),
        };
        Err(CameraError::config(name(path), reason, "an MJPEG file is JPEGs one after another, without a container"))
    }
}

impl Source for Mjpeg {
    fn advance(&mut self) -> Result<Advance, CameraError> {
        match self.splitter.next(&mut self.frame).map_err(|error| io_error(&self.path, &error))? {
            Item::Frame { offset } => {
                (self.next, self.offset) = (self.next + 1, offset);
                Ok(Advance::Ready)
            }
            Item::Broken { offset, reason } => {
                self.next += 1;
                Ok(Advance::Corrupt(format!("frame {} at byte {offset}: {reason}", self.next - 1)))
            }
            Item::End => Ok(Advance::End),
        }
    }

    fn picture(&mut self) -> Result<Picture<'_>, String> {
        let place = (self.next.saturating_sub(1), self.offset);
        match self.decoder.decode(&self.frame) {
            Ok(decoded) => Ok(decoded.picture),
            Err(error) => Err(format!("frame {} at byte {}: {error}", place.0, place.1)),
        }
    }

    fn rewind(&mut self) -> Result<(), CameraError> {
        self.next = 0;
        self.splitter.rewind().map_err(|error| io_error(&self.path, &error))
    }

    fn native_fps(&self) -> Option<f64> {
        None
    }

    fn name(&self) -> String {
        name(&self.path)
    }

    fn describe(&self) -> String {
        let format = self.format.map(|format| format!(", {} {}", format.size, format.layout)).unwrap_or_default();
        format!("MJPEG clip {}{format}", file_name(&self.path))
    }

    fn format(&self) -> Option<PictureFormat> {
        self.format
    }
}

/// What [`Splitter::next`] found.
#[derive(Debug, PartialEq, Eq)]
enum Item {
    /// A frame from SOI to EOI.
    Frame { offset: u64 },
    /// Bytes from `offset` on that should be a frame and aren't.
    Broken { offset: u64, reason: String },
    /// The end of the file.
    End,
}

/// Cuts a stream of bytes into JPEGs.
struct Splitter<R> {
    input: R,
    /// Bytes read; those before `start` are done with.
    buffer: Vec<u8>,
    start: usize,
    /// Offset of `buffer[start]` in the file.
    offset: u64,
    at_end: bool,
    /// The last frame was broken: what follows is the rest of it.
    is_lost: bool,
}

/// Why a frame can't be cut out, and how far behind its start to look for the next.
struct Fault {
    reason: String,
    resume: usize,
}

impl<R: Read> Splitter<R> {
    fn new(input: R) -> Self {
        let buffer = Vec::with_capacity(BUFFER);
        Self { input, buffer, start: 0, offset: 0, at_end: false, is_lost: false }
    }

    /// Copies the next frame to `frame`, which stays as it is when there is none.
    fn next(&mut self, frame: &mut Vec<u8>) -> io::Result<Item> {
        let gap_start = self.offset;
        let (found, is_padding) = self.find_start()?;
        let gap = self.offset - gap_start;
        if gap > MAX_GAP && !is_padding && !std::mem::take(&mut self.is_lost) {
            return Ok(Item::Broken { offset: gap_start, reason: format!("{gap} bytes that are no frame") });
        }
        if !found {
            return Ok(Item::End);
        }
        let offset = self.offset;
        match self.walk()? {
            Ok(length) => {
                frame.clear();
                frame.extend_from_slice(&self.buffer[self.start..self.start + length]);
                self.consume(length);
                self.is_lost = false;
                Ok(Item::Frame { offset })
            }
            Err(Fault { reason, resume }) => {
                self.consume(resume.min(self.buffer.len() - self.start));
                self.is_lost = true;
                Ok(Item::Broken { offset, reason })
            }
        }
    }

    /// Moves to the next SOI marker that another marker follows, or to the end. Tells whether there is one, and whether
    /// only padding was passed.
    fn find_start(&mut self) -> io::Result<(bool, bool)> {
        let mut is_padding = true;
        while self.fill(3)? {
            let rest = &self.buffer[self.start..];
            let found = rest.windows(3).position(|bytes| bytes == [0xFF, 0xD8, 0xFF]);
            let passed = found.unwrap_or(rest.len() - 2);
            is_padding &= rest[..passed].iter().all(|&byte| byte == 0 || byte == 0xFF);
            self.consume(passed);
            if found.is_some() {
                return Ok((true, is_padding));
            }
        }
        Ok((false, is_padding))
    }

    /// Length of the frame at `start`, from SOI to EOI.
    fn walk(&mut self) -> io::Result<Result<usize, Fault>> {
        // `at` stands on the 0xFF of a marker, or somewhere in a scan. `segment` is the start of the last segment: its
        // length may be wrong, those before it led to a marker.
        let (mut at, mut segment, mut in_scan) = (2, 2, false);
        let reason = loop {
            if at > MAX_FRAME {
                break format!("no end within {} MiB", MAX_FRAME >> 20);
            }
            if !self.fill(at + 2)? {
                break "the file ends within the frame".to_owned();
            }
            let rest = &self.buffer[self.start + at..];
            let here = self.offset + at as u64;
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
                    if !self.fill(at + 4)? {
                        break "the file ends within the frame".to_owned();
                    }
                    let length = &self.buffer[self.start + at + 2..][..2];
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

    /// Makes sure that `buffer` has `count` bytes from `start` on. False when the file ends before.
    fn fill(&mut self, count: usize) -> io::Result<bool> {
        while self.buffer.len() - self.start < count {
            if self.at_end {
                return Ok(false);
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            let filled = self.buffer.len();
            self.buffer.resize(filled + CHUNK, 0);
            let read = loop {
                match self.input.read(&mut self.buffer[filled..]) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            self.buffer.truncate(filled + read.as_ref().map_or(0, |&bytes| bytes));
            self.at_end = read? == 0;
        }
        Ok(true)
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }
}

impl<R: Read + Seek> Splitter<R> {
    fn rewind(&mut self) -> io::Result<()> {
        self.input.rewind()?;
        self.buffer.clear();
        (self.start, self.offset, self.at_end, self.is_lost) = (0, 0, false, false);
        Ok(())
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
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::super::super::jpeg::tests::{compress, encode};
    use super::super::super::paced::tests::poll_once;
    use super::super::super::{Camera, CameraErrorKind, Poll};
    use super::super::{open, Rate, ReplayOptions};
    use super::*;
    use crate::clock::ManualClock;
    use std::sync::Arc;
    use std::time::Duration;
    use turbojpeg::Subsamp;

    /// Gives `step` bytes at a time.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let take = self.1.min(out.len()).min(self.0.len());
            out[..take].copy_from_slice(&self.0[..take]);
            self.0 = &self.0[take..];
            Ok(take)
        }
    }

    /// Frames and faults of a stream that is read in pieces of `step` bytes.
    fn split_in(bytes: &[u8], step: usize) -> Vec<(u64, Result<Vec<u8>, String>)> {
        let mut splitter = Splitter::new(Drip(bytes, step));
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

    fn camera(bytes: &[u8], options: &ReplayOptions) -> Result<Box<dyn Camera>, CameraError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clip.mjpeg");
        std::fs::write(&path, bytes).unwrap();
        // The open file outlives its name.
        open(&path, options, Arc::new(ManualClock::default()))
    }

    const MAX: ReplayOptions = ReplayOptions { rate: Rate::Max, repeat: false, wanted: None };

    #[test]
    fn a_broken_frame_is_named_by_number_and_offset_and_the_next_goes_on() {
        let frame = jpeg();
        let mut undecodable = frame.clone();
        let end = undecodable.len() - 2;
        undecodable.drain(end - 40..end);
        let bytes = [&frame[..], &frame[..frame.len() / 2], &undecodable, &frame].concat();
        let mut camera = camera(&bytes, &MAX).unwrap();
        assert_eq!(poll_once(&mut *camera).unwrap().sequence, 0);
        let Err(Poll::Corrupt(reason)) = poll_once(&mut *camera) else { panic!() };
        assert!(reason.starts_with(&format!("frame 1 at byte {}: ", frame.len())), "{reason}");
        let Err(Poll::Corrupt(reason)) = poll_once(&mut *camera) else { panic!() };
        assert!(reason.starts_with("frame 2 at byte ") && reason.contains("Corrupt JPEG data"), "{reason}");
        assert_eq!(poll_once(&mut *camera).unwrap().sequence, 3);
        assert_eq!(poll_once(&mut *camera), Err(Poll::End));
    }

    #[test]
    fn a_file_without_a_frame_is_a_configuration_error() {
        let frame = jpeg();
        for bytes in [&b"hello world"[..], &[0; 5000], &frame[..frame.len() / 2]] {
            let error = camera(bytes, &MAX).err().unwrap();
            assert_eq!(error.kind, CameraErrorKind::Config);
            assert!(error.reason.contains("JPEG frame in it"), "{error}");
        }
    }

    #[test]
    fn it_repeats_and_decodes_at_reduced_scale() {
        let bytes = [jpeg(), jpeg()].concat();
        let options = ReplayOptions { repeat: true, wanted: Some(Size::new(16, 12)), ..MAX };
        let mut camera = camera(&bytes, &options).unwrap();
        assert_eq!(camera.format().unwrap().size, Size::new(16, 12));
        for sequence in 0..7 {
            let mut found = None;
            let mut take =
                |frame: &crate::frame::Frame<'_>| found = Some((frame.meta.sequence, frame.picture.format()));
            camera.poll(Duration::ZERO, &mut take).unwrap();
            assert_eq!(found, Some((sequence, camera.format().unwrap())));
        }
    }

    #[test]
    fn the_bundled_clip_has_150_good_frames() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media/walkway.mjpeg");
        let mut camera = open(&path, &MAX, Arc::new(ManualClock::default())).unwrap();
        assert_eq!(camera.describe(), "MJPEG clip walkway.mjpeg, 640x480 YU12, as fast as it goes");
        for sequence in 0..150 {
            assert_eq!(poll_once(&mut *camera).unwrap().sequence, sequence);
        }
        assert_eq!(poll_once(&mut *camera), Err(Poll::End));
    }
}
