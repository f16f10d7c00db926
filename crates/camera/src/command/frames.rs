//! From what a command writes to frames: recognises the format by the first bytes, and cuts.
//! The thread that does it and the hand-over of the frames are left to `reader`.

use std::io::{self, Read};

use pixels::frame::PictureFormat;

use super::super::mjpeg::{self, Splitter};
use super::super::window::Window;
use super::super::y4m::{self, HeaderError};

/// The start codes of H.264 and H.265 streams.
const START_CODES: [&[u8]; 2] = [&[0, 0, 0, 1], &[0, 0, 1]];

/// Frames of equal length, without anything between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raw {
    /// What they are.
    pub(super) format: PictureFormat,
    /// Bytes from row to row of the first plane.
    pub(super) stride: usize,
}

impl Raw {
    /// Frames whose rows have no padding.
    pub(super) const fn packed(format: PictureFormat) -> Self {
        Self { format, stride: format.layout.plane_extent(0, format.size).0 }
    }

    /// Bytes of a frame; its last row has its padding too.
    pub(super) fn bytes(&self) -> usize {
        self.format.layout.bytes_in_rows(self.format.size, self.stride)
    }
}

/// What a command is expected to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// MJPEG or Y4M, by the first bytes.
    Any,
    /// JPEGs, whatever stands between them.
    Jpeg,
    /// Such frames and nothing else.
    Raw(Raw),
}

/// What a command was found to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// JPEGs.
    Jpeg,
    /// Uncompressed frames of a Y4M stream.
    Y4m(PictureFormat),
    /// Uncompressed frames.
    Raw(Raw),
}

/// Why a stream can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) hint: String,
}

impl Refusal {
    fn new(reason: impl Into<String>, hint: &str) -> Self {
        Self { reason: reason.into(), hint: hint.to_owned() }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::new(format!("its output can't be read: {error}"), "")
    }
}

/// What [`Cutter::next`] came upon.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// A frame.
    Frame,
    /// Bytes that should be a frame and aren't.
    Broken(String),
    /// The end.
    End,
}

/// Cuts a stream into frames.
pub(super) enum Cutter<R> {
    /// JPEGs.
    Jpeg(Splitter<R>),
    /// Y4M.
    Y4m(y4m::Frames<R>),
    /// Frames of equal length, without anything between them.
    Raw {
        /// The stream.
        window: Window<R>,
        /// What they are.
        raw: Raw,
    },
}

impl<R: Read> Cutter<R> {
    /// Looks at the first bytes of `input`, and waits for them. `None` when there are none.
    pub(super) fn open(input: R, expected: Expected) -> Result<Option<Self>, Refusal> {
        let mut window = Window::new(input);
        if let Expected::Raw(raw) = expected {
            // What came first is enough to look at: a small frame may be all there is for a while.
            if !window.fill(1)? {
                return Ok(None);
            }
            if window.bytes().starts_with(y4m::MAGIC) {
                let hint = "leave camera.format at \"auto\": Y4M says itself what it holds";
                return Err(Refusal::new("camera.format says raw frames, and this is Y4M", hint));
            }
            return Ok(Some(Self::Raw { window, raw }));
        }
        if !window.fill(y4m::MAGIC.len())? && window.bytes().is_empty() {
            return Ok(None);
        }
        let start = window.bytes();
        if START_CODES.iter().any(|code| start.starts_with(code)) {
            let hint = "MJPEG and Y4M are taken: for rpicam-vid add --codec mjpeg";
            return Err(Refusal::new("this is H.264 or H.265 video, which is not taken", hint));
        }
        if expected == Expected::Jpeg || start.starts_with(mjpeg::MAGIC) {
            return Ok(Some(Self::Jpeg(Splitter::new(window))));
        }
        if start.starts_with(y4m::MAGIC) {
            return match y4m::Frames::open(window) {
                Ok(frames) => Ok(Some(Self::Y4m(frames))),
                Err(HeaderError::Io(error)) => Err(error.into()),
                Err(HeaderError::Bad(reason)) => Err(Refusal::new(reason, "")),
            };
        }
        let shown = start[..start.len().min(y4m::MAGIC.len())].escape_ascii();
        let reason = format!("its output begins with \"{shown}\", which is neither MJPEG nor Y4M");
        let hint = "raw frames need camera.format and camera.size, JPEGs between other bytes camera.format = \"MJPG\"";
        Err(Refusal::new(reason, hint))
    }

    /// What the stream holds.
    pub(super) const fn found(&self) -> Found {
        match self {
            Self::Jpeg(_) => Found::Jpeg,
            Self::Y4m(frames) => Found::Y4m(frames.header().format),
            Self::Raw { raw, .. } => Found::Raw(*raw),
        }
    }

    /// What the bytes come from.
    pub(super) const fn input(&self) -> &R {
        match self {
            Self::Jpeg(splitter) => splitter.input(),
            Self::Y4m(frames) => frames.input(),
            Self::Raw { window, .. } => window.input(),
        }
    }

    /// Waits until the next frame begins. Anything but `None` is what came instead.
    pub(super) fn find(&mut self) -> io::Result<Option<Cut>> {
        Ok(match self {
            Self::Jpeg(splitter) => splitter.find()?.map(Cut::from),
            Self::Y4m(frames) => (!frames.find()?).then_some(Cut::End),
            Self::Raw { window, .. } => (!window.fill(1)?).then_some(Cut::End),
        })
    }

    /// Reads the frame that [`Self::find`] came upon. What `frame` held is lost.
    pub(super) fn cut(&mut self, frame: &mut Vec<u8>) -> io::Result<Cut> {
        Ok(match self {
            Self::Jpeg(splitter) => splitter.cut(frame)?.into(),
            Self::Y4m(frames) => match frames.next(frame)? {
                y4m::Item::Frame => Cut::Frame,
                y4m::Item::Broken { offset, reason } => Cut::Broken(format!("byte {offset}: {reason}")),
                y4m::Item::End => Cut::End,
            },
            Self::Raw { window, raw } => {
                let needed = raw.bytes();
                frame.resize(needed, 0);
                match window.read_to(frame)? {
                    0 => Cut::End,
                    filled if filled < needed => {
                        Cut::Broken(format!("the data ends after {filled} of the frame's {needed} bytes"))
                    }
                    _ => Cut::Frame,
                }
            }
        })
    }
}

impl From<mjpeg::Item> for Cut {
    fn from(item: mjpeg::Item) -> Self {
        match item {
            mjpeg::Item::Frame { .. } => Self::Frame,
            mjpeg::Item::Broken { offset, reason } => Self::Broken(format!("byte {offset}: {reason}")),
            mjpeg::Item::End => Self::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::encode;
    use pixels::frame::{Colorimetry, Layout, Size};
    use turbojpeg::Subsamp;

    fn grey(width: usize, height: usize) -> Raw {
        let size = Size::new(width, height);
        Raw::packed(PictureFormat { layout: Layout::Grey, size, color: Colorimetry::JPEG })
    }

    /// What comes of `bytes`, frame by frame.
    fn cut(bytes: &[u8], expected: Expected) -> Result<Vec<Result<Vec<u8>, String>>, Refusal> {
        let Some(mut cutter) = Cutter::open(bytes, expected)? else { return Ok(Vec::new()) };
        let (mut found, mut frame) = (Vec::new(), Vec::new());
        loop {
            let next = match cutter.find()? {
                Some(other) => other,
                None => cutter.cut(&mut frame)?,
            };
            match next {
                Cut::Frame => found.push(Ok(frame.clone())),
                Cut::Broken(reason) => found.push(Err(reason)),
                Cut::End => return Ok(found),
            }
        }
    }

    #[test]
    fn the_format_is_told_by_the_first_bytes() {
        let jpeg = encode(16, 16, Subsamp::Sub2x2);
        let bytes = [&jpeg[..], &jpeg].concat();
        assert_eq!(cut(&bytes, Expected::Any), Ok(vec![Ok(jpeg.clone()), Ok(jpeg.clone())]));
        let y4m = b"YUV4MPEG2 W2 H2 F25:1 Cmono\nFRAME\nabcdFRAME\nef";
        let found = cut(y4m, Expected::Any).unwrap();
        assert_eq!(found[0], Ok(b"abcd".to_vec()));
        assert!(found[1].as_ref().is_err_and(|reason| reason.contains("2 of the frame's 4 bytes")), "{found:?}");
        assert_eq!(cut(b"", Expected::Any), Ok(Vec::new()));
        let parts = [b"--part\r\nContent-Type: image/jpeg\r\n\r\n".as_slice(), &jpeg, b"\r\n--part--"].concat();
        assert_eq!(cut(&parts, Expected::Jpeg), Ok(vec![Ok(jpeg)]));
    }

    #[test]
    fn what_is_not_taken_is_named_with_what_to_do() {
        for (bytes, reason, hint) in [
            (&b"\x00\x00\x00\x01\x27\x64\x00\x28"[..], "H.264", "--codec mjpeg"),
            (b"\x00\x00\x01\x27", "H.264", "--codec mjpeg"),
            (b"usage: cam [options]", "\"usage: cam\"", "camera.format"),
            (b"RIFF\xff\x00", "\"RIFF\\xff\\x00\"", "camera.format"),
            (b"YUV4MPEG2 W4 H4 C420p10\n", "C420p10", ""),
        ] {
            let refusal = cut(bytes, Expected::Any).unwrap_err();
            assert!(refusal.reason.contains(reason) && refusal.hint.contains(hint), "{refusal:?}");
        }
    }

    #[test]
    fn y4m_that_was_called_raw_is_no_picture() {
        let y4m = b"YUV4MPEG2 W2 H2 F25:1 Cmono\nFRAME\nabcd";
        let refusal = cut(y4m, Expected::Raw(grey(2, 2))).unwrap_err();
        assert!(refusal.reason.contains("this is Y4M") && refusal.hint.contains("auto"), "{refusal:?}");
    }

    #[test]
    fn raw_frames_are_cut_by_their_length() {
        assert_eq!(cut(b"", Expected::Raw(grey(2, 2))), Ok(Vec::new()));
        let found = cut(b"abcdefghi", Expected::Raw(grey(2, 2))).unwrap();
        assert_eq!(found[..2], [Ok(b"abcd".to_vec()), Ok(b"efgh".to_vec())]);
        assert!(found[2].as_ref().is_err_and(|reason| reason.contains("1 of the frame's 4 bytes")));
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn padded_rows_are_part_of_a_frame() {
        let frame = Raw { stride: 3, ..grey(2, 2) };
        assert_eq!(
            cut(b"ab.cd.ef.gh.", Expected::Raw(frame)),
            Ok(vec![Ok(b"ab.cd.".to_vec()), Ok(b"ef.gh.".to_vec())])
        );
        let format = PictureFormat { layout: Layout::YU12, ..frame.format };
        // Chroma rows have half the bytes of luma rows, rounded up.
        assert_eq!([4, 5].map(|stride| Raw { format, stride }.bytes()), [8 + 2 * 2, 10 + 2 * 3]);
        assert_eq!(Raw { format: PictureFormat { layout: Layout::Nv12, ..format }, stride: 4 }.bytes(), 8 + 4);
    }
}
