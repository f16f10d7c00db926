//! Y4M (YUV4MPEG2) video: uncompressed planar YUV with a one-line header, as `ffmpeg x.y4m` or `yuv4mpeg(5)` tools write it.
//! Read in a stream, one frame in memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::super::jpeg::{MAX_PIXELS, MAX_SIDE};
use super::super::paced::{Advance, Source};
use super::super::CameraError;
use super::{file_name, io_error, name};
use crate::frame::{Colorimetry, Layout, Matrix, Picture, PictureFormat, Range, Siting, Size};

/// What the file starts with.
pub(super) const MAGIC: &[u8] = b"YUV4MPEG2 ";
const FRAME: &[u8] = b"FRAME";
/// Longest line, header or frame. Real ones have less than 200 bytes.
const MAX_LINE: usize = 4096;
const COLOUR_SPACES: &str = "C420jpeg, C420mpeg2, C420paldv, C420, C422, C444 or Cmono";

/// A Y4M file as a source.
pub(super) struct Y4m {
    path: PathBuf,
    input: BufReader<File>,
    header: Header,
    /// Offset of the first frame.
    first: u64,
    /// Offset of what is read next.
    offset: u64,
    /// Number of the next frame in the file.
    next: u64,
    line: Vec<u8>,
    frame: Vec<u8>,
    /// Where a frame is read to, so that a truncated last one leaves `frame` alone.
    incoming: Vec<u8>,
}

impl Y4m {
    pub(super) fn open(path: &Path) -> Result<Self, CameraError> {
        let io = |error: io::Error| io_error(path, &error);
        let bad = |reason: String, hint: &str| CameraError::config(name(path), reason, hint);
        let mut input = BufReader::with_capacity(64 << 10, File::open(path).map_err(io)?);
        let mut line = Vec::with_capacity(MAX_LINE);
        if !read_line(&mut input, &mut line).map_err(io)? {
            return Err(bad("the Y4M header has no end".to_owned(), ""));
        }
        let header = Header::parse(&line).map_err(|reason| bad(reason, ""))?;
        if input.fill_buf().map_err(io)?.is_empty() {
            return Err(bad("the video has a header but no frames".to_owned(), ""));
        }
        let first = line.len() as u64 + 1;
        let bytes = header.frame_bytes();
        Ok(Self {
            path: path.to_owned(),
            input,
            header,
            first,
            offset: first,
            next: 0,
            line,
            frame: vec![0; bytes],
            incoming: vec![0; bytes],
        })
    }

    fn corrupt(&mut self, at: u64, reason: &str) -> Advance {
        self.next += 1;
        Advance::Corrupt(format!("frame {} at byte {at}: {reason}", self.next - 1))
    }

    /// Moves to the next `FRAME` line start. The caller reports what is skipped.
    fn resynchronise(&mut self) -> io::Result<()> {
        let mut matched = 0;
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(());
            }
            let mut used = 0;
            for &byte in buffer {
                used += 1;
                // No prefix of FRAME ends like another begins, so one byte decides.
                matched = if byte == FRAME[matched] { matched + 1 } else { usize::from(byte == FRAME[0]) };
                if matched == FRAME.len() {
                    break;
                }
            }
            self.input.consume(used);
            self.offset += used as u64;
            if matched == FRAME.len() {
                self.offset -= FRAME.len() as u64;
                self.input.seek_relative(-(FRAME.len() as i64))?;
                return Ok(());
            }
        }
    }

    fn read_frame(&mut self) -> io::Result<Advance> {
        let at = self.offset;
        if self.input.fill_buf()?.is_empty() {
            return Ok(Advance::End);
        }
        self.line.clear();
        let has_end = read_line(&mut self.input, &mut self.line)?;
        self.offset += self.line.len() as u64 + u64::from(has_end);
        let parameters = self.line.strip_prefix(FRAME);
        if !has_end || !parameters.is_some_and(|rest| rest.is_empty() || rest[0] == b' ') {
            let is_start = FRAME.starts_with(&self.line[..self.line.len().min(FRAME.len())]);
            if is_start && !has_end && self.input.fill_buf()?.is_empty() {
                return Ok(self.corrupt(at, "the file ends within the frame"));
            }
            // The next frame may begin in what was taken for a line.
            self.input.seek_relative(at as i64 + 1 - self.offset as i64)?;
            self.offset = at + 1;
            self.resynchronise()?;
            return Ok(self.corrupt(at, "no FRAME line where one should be"));
        }
        let mut filled = 0;
        while filled < self.incoming.len() {
            match self.input.read(&mut self.incoming[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.offset += filled as u64;
        if filled < self.incoming.len() {
            let reason = format!("the file ends after {filled} of the frame's {} bytes", self.incoming.len());
            return Ok(self.corrupt(at, &reason));
        }
        std::mem::swap(&mut self.frame, &mut self.incoming);
        self.next += 1;
        Ok(Advance::Ready)
    }
}

impl Source for Y4m {
    fn advance(&mut self) -> Result<Advance, CameraError> {
        self.read_frame().map_err(|error| io_error(&self.path, &error))
    }

    fn picture(&mut self) -> Result<Picture<'_>, String> {
        let format = self.header.format;
        Picture::contiguous(format, format.size.width, &self.frame).map_err(|error| error.to_string())
    }

    fn rewind(&mut self) -> Result<(), CameraError> {
        self.input.seek(SeekFrom::Start(self.first)).map_err(|error| io_error(&self.path, &error))?;
        (self.offset, self.next) = (self.first, 0);
        Ok(())
    }

    fn native_fps(&self) -> Option<f64> {
        self.header.fps
    }

    fn name(&self) -> String {
        name(&self.path)
    }

    fn describe(&self) -> String {
        let PictureFormat { size, layout, .. } = self.header.format;
        format!("Y4M video {}, {size} {layout}", file_name(&self.path))
    }

    fn format(&self) -> Option<PictureFormat> {
        Some(self.header.format)
    }
}

/// Appends a line without its end to `line`. False when the file, or the patience, ends before the line does.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    input.take(MAX_LINE as u64).read_until(b'\n', line)?;
    Ok(line.pop_if(|byte| *byte == b'\n').is_some())
}

/// The first line.
#[derive(Debug, PartialEq)]
struct Header {
    format: PictureFormat,
    /// `None` where the file says that it doesn't know.
    fps: Option<f64>,
}

impl Header {
    /// Reads W, H, F, C and X; interlacing (I) and pixel aspect (A) make no difference here.
    fn parse(line: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(line).map_err(|_| "the Y4M header is not text".to_owned())?;
        let (mut width, mut height, mut fps) = (None, None, None);
        let mut layout = Layout::YU12;
        let mut color = Colorimetry { matrix: Matrix::Bt601, range: Range::Limited, siting: Siting::Center };
        for word in text.split(' ').skip(1).filter(|word| !word.is_empty()) {
            let (tag, value) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
            match tag {
                "W" => width = Some(side("W", value)?),
                "H" => height = Some(side("H", value)?),
                "F" => fps = Some(rate(value)?),
                "C" => (layout, color.siting) = colour_space(value)?,
                "X" if value == "COLORRANGE=FULL" => color.range = Range::Full,
                "X" if value == "COLORRANGE=LIMITED" => color.range = Range::Limited,
                // Unknown words are for others.
                _ => {}
            }
        }
        let (Some(width), Some(height)) = (width, height) else {
            return Err("the Y4M header names no width (W) or no height (H)".to_owned());
        };
        let size = Size::new(width, height);
        if size.pixels() > MAX_PIXELS {
            return Err(format!("the Y4M header announces {size} pixels, more than 64 megapixels"));
        }
        Ok(Self { format: PictureFormat { layout, size, color }, fps: fps.flatten() })
    }

    fn frame_bytes(&self) -> usize {
        let PictureFormat { layout, size, .. } = self.format;
        (0..layout.planes())
            .map(|plane| {
                let (row, rows) = layout.plane_extent(plane, size);
                row * rows
            })
            .sum()
    }
}

fn side(tag: &str, value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(side @ 1..=MAX_SIDE) => Ok(side),
        _ => Err(format!("{tag}{value} in the Y4M header: expected 1 to {MAX_SIDE}")),
    }
}

fn rate(value: &str) -> Result<Option<f64>, String> {
    let parsed = value.split_once(':').and_then(|(n, d)| Some((n.parse::<u32>().ok()?, d.parse::<u32>().ok()?)));
    match parsed {
        Some((0, _) | (_, 0)) => Ok(None),
        Some((numerator, denominator)) => Ok(Some(f64::from(numerator) / f64::from(denominator))),
        None => Err(format!("F{value} in the Y4M header: expected frames and seconds, as in F30000:1001")),
    }
}

fn colour_space(value: &str) -> Result<(Layout, Siting), String> {
    Ok(match value {
        "420jpeg" | "420" => (Layout::YU12, Siting::Center),
        // PAL-DV puts each chroma line on a luma line, which nothing here tells apart: half a line at most.
        "420mpeg2" | "420paldv" => (Layout::YU12, Siting::Left),
        "422" => (Layout::Planar { h: 2, v: 1 }, Siting::Left),
        "444" => (Layout::Planar { h: 1, v: 1 }, Siting::Left),
        "mono" => (Layout::Grey, Siting::Left),
        other => return Err(format!("colour space C{other} is not supported: expected {COLOUR_SPACES}")),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::super::super::paced::tests::poll_once;
    use super::super::super::{Camera, CameraErrorKind, Poll};
    use super::super::{open, Rate, ReplayOptions};
    use super::*;
    use crate::clock::ManualClock;
    use std::sync::Arc;
    use std::time::Duration;

    const MAX: ReplayOptions = ReplayOptions { rate: Rate::Max, repeat: false, wanted: None };

    fn camera(bytes: &[u8], options: &ReplayOptions) -> Result<Box<dyn Camera>, CameraError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clip.y4m");
        std::fs::write(&path, bytes).unwrap();
        open(&path, options, Arc::new(ManualClock::default()))
    }

    fn frame(parameters: &str, bytes: &[u8]) -> Vec<u8> {
        [b"FRAME", parameters.as_bytes(), b"\n", bytes].concat()
    }

    fn parse(line: &str) -> Result<Header, String> {
        Header::parse(line.as_bytes())
    }

    #[test]
    fn headers_are_read() {
        let header =
            parse("YUV4MPEG2 W640 H480 F30000:1001 Ip A1:1 C420mpeg2 XYSCSS=420MPEG2 XCOLORRANGE=FULL").unwrap();
        assert_eq!(header.format.size, Size::new(640, 480));
        assert_eq!((header.format.layout, header.format.color.siting), (Layout::YU12, Siting::Left));
        assert_eq!(header.format.color.range, Range::Full);
        assert!((header.fps.unwrap() - 29.97).abs() < 0.001);
        let header = parse("YUV4MPEG2 H3 W5").unwrap();
        assert_eq!((header.format.layout, header.format.color.siting), (Layout::YU12, Siting::Center));
        assert_eq!((header.format.color.range, header.fps), (Range::Limited, None));
        assert_eq!(header.frame_bytes(), 15 + 2 * 3 * 2);
        for (space, layout, bytes) in [
            ("C420jpeg", Layout::YU12, 27),
            ("C420paldv", Layout::YU12, 27),
            ("C420", Layout::YU12, 27),
            ("C422", Layout::Planar { h: 2, v: 1 }, 33),
            ("C444", Layout::Planar { h: 1, v: 1 }, 45),
            ("Cmono", Layout::Grey, 15),
        ] {
            let header = parse(&format!("YUV4MPEG2 W5 H3 {space}")).unwrap();
            assert_eq!((header.format.layout, header.frame_bytes()), (layout, bytes), "{space}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (words, text) in [
            ("W4 H4 C420p10", "C420p10"),
            ("W4 H4 C444alpha", "C444alpha"),
            ("W4 H4 Cmono16", "Cmono16"),
            ("W0 H4", "W0"),
            ("W4 H-3", "H-3"),
            ("W4 H99999", "H99999"),
            ("W16384 H16384", "megapixels"),
            ("W4", "no height"),
            ("W4 H4 F25", "F25"),
            ("W4 H4 Fx:1", "Fx:1"),
        ] {
            let error = camera(format!("YUV4MPEG2 {words}\nFRAME\n").as_bytes(), &MAX).err().unwrap();
            assert!(error.reason.contains(text), "{words}: {error}");
            assert_eq!(error.kind, CameraErrorKind::Config);
        }
        let error = camera(b"YUV4MPEG2 W4 H4 F25:1\n", &MAX).err().unwrap();
        assert!(error.reason.contains("has a header but no frames"), "{error}");
        assert_eq!(error.kind, CameraErrorKind::Config);
        let error = camera(&[b"YUV4MPEG2 ".as_slice(), &[b'X'; 9000]].concat(), &MAX).err().unwrap();
        assert!(error.reason.contains("no end"), "{error}");
    }

    #[test]
    fn planes_and_frame_parameters() {
        let planes: Vec<u8> = (1..=15).chain([50; 6]).chain([60; 6]).collect();
        let bytes = [b"YUV4MPEG2 W5 H3 F25:1\n".to_vec(), frame(" Ip XFOO=BAR", &planes), frame("", &[9; 27])].concat();
        let mut camera = camera(&bytes, &MAX).unwrap();
        let mut rows = Vec::new();
        let mut take = |frame: &crate::frame::Frame<'_>| {
            rows.push((frame.picture.row(0, 1).to_vec(), frame.picture.row(1, 1)[0], frame.picture.row(2, 0)[2]));
        };
        for _ in 0..2 {
            assert_eq!(camera.poll(Duration::ZERO, &mut take).unwrap(), Poll::Taken);
        }
        assert_eq!(rows, [(vec![6, 7, 8, 9, 10], 50, 60), (vec![9; 5], 9, 9)]);
        assert_eq!(poll_once(&mut *camera), Err(Poll::End));
        assert!(camera.describe().starts_with("Y4M video clip.y4m, 5x3 YU12"));
    }

    #[test]
    fn a_truncated_last_frame_is_corrupt_and_then_it_ends() {
        let bytes = [b"YUV4MPEG2 W4 H2 F25:1 Cmono\n".to_vec(), frame("", &[1; 8]), frame("", &[2; 8])].concat();
        for cut in 1..=13 {
            let mut camera = camera(&bytes[..bytes.len() - cut], &MAX).unwrap();
            poll_once(&mut *camera).unwrap();
            let Err(Poll::Corrupt(reason)) = poll_once(&mut *camera) else { panic!("cut {cut}") };
            assert!(reason.starts_with("frame 1 at byte 42: the file ends"), "{reason}");
            assert_eq!(poll_once(&mut *camera), Err(Poll::End));
        }
    }

    #[test]
    fn a_damaged_frame_line_costs_one_frame() {
        let head = b"YUV4MPEG2 W4 H2 F25:1 Cmono\n".to_vec();
        let whole = [head, frame("", &[1; 8]), frame("", b"FFRAFRAM"), frame("", &[3; 8])].concat();
        for damaged in 42..48 {
            let mut bytes = whole.clone();
            bytes[damaged] = b'?';
            one_frame_is_lost(&bytes);
        }
    }

    fn one_frame_is_lost(bytes: &[u8]) {
        let mut camera = camera(bytes, &MAX).unwrap();
        assert_eq!(poll_once(&mut *camera).unwrap().sequence, 0);
        let Err(Poll::Corrupt(reason)) = poll_once(&mut *camera) else { panic!() };
        assert!(reason.starts_with("frame 1 at byte 42: no FRAME line"), "{reason}");
        let mut found = None;
        camera
            .poll(Duration::ZERO, &mut |frame| found = Some((frame.meta.sequence, frame.picture.row(0, 0)[0])))
            .unwrap();
        assert_eq!(found, Some((2, 3)));
        assert_eq!(poll_once(&mut *camera), Err(Poll::End));
    }

    #[test]
    fn it_repeats_at_its_own_rate() {
        let bytes = [b"YUV4MPEG2 W4 H2 F50:1 Cmono\n".to_vec(), frame("", &[1; 8]), frame("", &[2; 8])].concat();
        let options = ReplayOptions { rate: Rate::Native, repeat: true, wanted: None };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clip.y4m");
        std::fs::write(&path, bytes).unwrap();
        let clock = Arc::new(ManualClock::default());
        let mut camera = open(&path, &options, clock.clone()).unwrap();
        for sequence in 0..6 {
            assert_eq!(poll_once(&mut *camera).unwrap().sequence, sequence);
            assert_eq!(poll_once(&mut *camera), Err(Poll::Idle));
            clock.advance(Duration::from_millis(20));
        }
    }
}
