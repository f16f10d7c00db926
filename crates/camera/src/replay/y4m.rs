//! A Y4M file as a source. Read in a stream, one frame in memory; cutting it into frames is left to `capture::y4m`.

use std::fs::File;
use std::path::{Path, PathBuf};

use base::files;
use pixels::frame::{Picture, PictureFormat};

use super::super::paced::{Advance, Sequence};
use super::super::window::Window;
use super::super::y4m::{Frames, HeaderError, Item};
use super::super::CameraError;
use super::{file_name, io_error, name};

/// A Y4M file as a source.
pub(super) struct Y4m {
    path: PathBuf,
    frames: Frames<File>,
    /// Offset of the first frame.
    first: u64,
    /// Number of the next frame in the file.
    next: u64,
    frame: Vec<u8>,
    /// Where a frame is read to, so that a truncated last one leaves `frame` alone.
    incoming: Vec<u8>,
}

impl Y4m {
    pub(super) fn open(path: &Path) -> Result<Self, CameraError> {
        let file = files::open(path).map_err(|error| io_error(path, &error))?;
        let mut frames = Frames::open(Window::new(file)).map_err(|error| match error {
            HeaderError::Io(error) => io_error(path, &error),
            HeaderError::Bad(reason) => CameraError::config(name(path), reason, ""),
        })?;
        if !frames.find().map_err(|error| io_error(path, &error))? {
            return Err(CameraError::config(name(path), "the video has a header but no frames", ""));
        }
        let PictureFormat { layout, size, .. } = frames.header().format;
        let (first, bytes) = (frames.offset(), layout.bytes(size));
        Ok(Self { path: path.to_owned(), frames, first, next: 0, frame: vec![0; bytes], incoming: vec![0; bytes] })
    }
}

impl Sequence for Y4m {
    fn advance(&mut self) -> Result<Advance, CameraError> {
        match self.frames.next(&mut self.incoming).map_err(|error| io_error(&self.path, &error))? {
            Item::Frame => {
                std::mem::swap(&mut self.frame, &mut self.incoming);
                self.next += 1;
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
        let format = self.frames.header().format;
        Picture::contiguous(format, format.size.width, &self.frame).map_err(|error| error.to_string())
    }

    fn rewind(&mut self) -> Result<(), CameraError> {
        self.next = 0;
        self.frames.rewind_to(self.first).map_err(|error| io_error(&self.path, &error))
    }

    fn native_fps(&self) -> Option<f64> {
        self.frames.header().fps
    }

    fn name(&self) -> String {
        name(&self.path)
    }

    fn describe(&self) -> String {
        let PictureFormat { size, layout, .. } = self.frames.header().format;
        format!("Y4M video {}, {size} {layout}", file_name(&self.path))
    }

    fn format(&self) -> Option<PictureFormat> {
        Some(self.frames.header().format)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::paced::tests::poll_once;
    use super::super::super::{Camera, CameraErrorKind, Poll};
    use super::super::{open, Rate, ReplayOptions};
    use super::*;
    use base::clock::ManualClock;
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
        let mut take = |frame: &pixels::frame::Frame<'_>| {
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
            assert!(reason.starts_with("frame 1 at byte 42: the data ends"), "{reason}");
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
