//! A file of JPEGs one after another, as `ffmpeg -c copy x.mjpeg` or a camera writes it: read in a stream, so that its
//! length doesn't matter. Cutting it into frames is left to `capture::mjpeg`, decoding them to `capture::jpeg`.

use std::fs::File;
use std::path::{Path, PathBuf};

use base::files;
use pixels::frame::{Picture, PictureFormat, Size};

use super::super::jpeg::JpegDecoder;
use super::super::mjpeg::{Item, Splitter, BUFFER, EOI};
use super::super::paced::{Advance, Sequence};
use super::super::window::Window;
use super::super::CameraError;
use super::{file_name, io_error, name};

/// A file must have a whole frame within this many bytes.
const MAX_SEARCH: u64 = 64 << 20;

/// An MJPEG file as a source.
pub(super) struct Mjpeg {
    path: PathBuf,
    splitter: Splitter<File>,
    decoder: JpegDecoder,
    frame: Vec<u8>,
    /// Number of the next frame in the file, and where the last one began.
    next: u64,
    offset: u64,
    /// Of the first frame, as it is decoded and as it is in the file.
    first: Option<(PictureFormat, Size)>,
}

impl Mjpeg {
    pub(super) fn open(path: &Path, wanted: Option<Size>) -> Result<Self, CameraError> {
        let file = files::open(path).map_err(|error| io_error(path, &error))?;
        let mut decoder = JpegDecoder::new().map_err(|error| CameraError::retry(name(path), error.to_string(), ""))?;
        decoder.set_wanted(wanted);
        let mut source = Self {
            path: path.to_owned(),
            splitter: Splitter::new(Window::new(file)),
            decoder,
            frame: Vec::with_capacity(BUFFER),
            next: 0,
            offset: 0,
            first: None,
        };
        let mut first_fault = None;
        while source.splitter.offset() < MAX_SEARCH {
            match source.advance()? {
                Advance::Ready => {
                    let first = source.picture().map(|picture| (picture.format(), picture.full_size()));
                    // What has no end may be anything that begins like a frame.
                    let has_end = source.frame.ends_with(&EOI);
                    match first {
                        Err(reason) if !has_end => first_fault = first_fault.or(Some(reason)),
                        other => {
                            source.first = other.ok();
                            source.rewind()?;
                            return Ok(source);
                        }
                    }
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

impl Sequence for Mjpeg {
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
        let format = self.first.map(|(format, full)| format!(", {full} {}", format.layout)).unwrap_or_default();
        format!("MJPEG clip {}{format}", file_name(&self.path))
    }

    fn format(&self) -> Option<PictureFormat> {
        self.first.map(|(format, _)| format)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::paced::tests::poll_once;
    use super::super::super::{Camera, CameraErrorKind, Poll};
    use super::super::{open, Rate, ReplayOptions};
    use super::*;
    use crate::testing::encode;
    use base::clock::ManualClock;
    use std::sync::Arc;
    use std::time::Duration;
    use turbojpeg::Subsamp;

    fn jpeg() -> Vec<u8> {
        encode(32, 24, Subsamp::Sub2x2)
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
        assert!(reason.starts_with("frame 2 at byte ") && reason.contains("JWRN_HIT_MARKER"), "{reason}");
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
                |frame: &pixels::frame::Frame<'_>| found = Some((frame.meta.sequence, frame.picture.format()));
            camera.poll(Duration::ZERO, &mut take).unwrap();
            assert_eq!(found, Some((sequence, camera.format().unwrap())));
        }
    }

    #[test]
    fn the_bundled_clip_has_150_good_frames() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/media/walkway.mjpeg");
        let mut camera = open(&path, &MAX, Arc::new(ManualClock::default())).unwrap();
        assert_eq!(camera.describe(), "MJPEG clip walkway.mjpeg, 640x480 YU12, as fast as it goes");
        let reduced = ReplayOptions { wanted: Some(Size::new(288, 192)), ..MAX };
        let reduced = open(&path, &reduced, Arc::new(ManualClock::default())).unwrap();
        assert_eq!((reduced.describe(), reduced.format().unwrap().size), (camera.describe(), Size::new(320, 240)));
        for sequence in 0..150 {
            assert_eq!(poll_once(&mut *camera).unwrap().sequence, sequence);
        }
        assert_eq!(poll_once(&mut *camera), Err(Poll::End));
    }
}
