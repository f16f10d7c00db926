//! A folder of pictures, or a single one, as a source: sorted by name, sizes may differ.
//! Reading a picture is left to `capture::picture`.

use std::path::{Path, PathBuf};

use pixels::frame::{Picture, PictureFormat, Size};

use super::super::jpeg::JpegDecoder;
use super::super::paced::{Advance, Sequence};
use super::super::picture::{self, RgbPicture};
use super::super::CameraError;
use super::{file_name, io_error, name};

/// Pictures as a source. The list is made when the folder is opened.
pub(super) struct Folder {
    path: PathBuf,
    is_single: bool,
    files: Vec<PathBuf>,
    /// Number of the next picture.
    next: usize,
    decoder: JpegDecoder,
    picture: RgbPicture,
}

impl Folder {
    /// The pictures in the folder at `path`, not in those below it.
    pub(super) fn open(path: &Path) -> Result<Self, CameraError> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(|error| io_error(path, &error))? {
            let file = entry.map_err(|error| io_error(path, &error))?.path();
            // Follows links; what can't be looked at is left to be reported when its turn comes. Opening a named pipe
            // would wait for its writer and hold the capture thread.
            if is_picture_name(&file) && file.metadata().map_or(true, |meta| meta.is_file()) {
                files.push(file);
            }
        }
        if files.is_empty() {
            let hint = format!("looked for {}", picture::EXTENSIONS.map(|e| format!(".{e}")).join(", "));
            return Err(CameraError::config(name(path), "there are no pictures in this folder", hint));
        }
        files.sort();
        Self::new(path, false, files)
    }

    /// The picture at `path` as a folder of one.
    pub(super) fn single(path: &Path) -> Result<Self, CameraError> {
        Self::new(path, true, vec![path.to_owned()])
    }

    fn new(path: &Path, is_single: bool, files: Vec<PathBuf>) -> Result<Self, CameraError> {
        let decoder = JpegDecoder::new().map_err(|error| CameraError::retry(name(path), error.to_string(), ""))?;
        let picture = RgbPicture { size: Size::new(0, 0), pixels: Vec::new() };
        Ok(Self { path: path.to_owned(), is_single, files, next: 0, decoder, picture })
    }
}

/// By its extension, in either case. Hidden files are none.
fn is_picture_name(path: &Path) -> bool {
    let is_hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    !is_hidden && extension.is_some_and(|extension| picture::EXTENSIONS.contains(&extension.as_str()))
}

impl Sequence for Folder {
    fn advance(&mut self) -> Result<Advance, CameraError> {
        if self.next == self.files.len() {
            return Ok(Advance::End);
        }
        self.next += 1;
        Ok(Advance::Ready)
    }

    fn picture(&mut self) -> Result<Picture<'_>, String> {
        let index = self.next.saturating_sub(1);
        let Some(file) = self.files.get(index) else { return Err("no picture was asked for".to_owned()) };
        let at = |error: &dyn std::fmt::Display| format!("frame {index}, {}: {error}", file_name(file));
        self.picture = picture::load_with(&mut self.decoder, file).map_err(|error| at(&error))?;
        self.picture.as_picture().map_err(|error| at(&error))
    }

    fn rewind(&mut self) -> Result<(), CameraError> {
        self.next = 0;
        Ok(())
    }

    fn native_fps(&self) -> Option<f64> {
        None
    }

    fn name(&self) -> String {
        name(&self.path)
    }

    fn describe(&self) -> String {
        if self.is_single {
            return format!("picture {}", file_name(&self.path));
        }
        let count = self.files.len();
        format!("folder {}, {count} picture{}", file_name(&self.path), if count == 1 { "" } else { "s" })
    }

    fn format(&self) -> Option<PictureFormat> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::paced::tests::poll_once;
    use super::super::super::{CameraErrorKind, Poll};
    use super::super::{open, Rate, ReplayOptions};
    use super::*;
    use crate::testing::encode;
    use base::clock::ManualClock;
    use std::sync::Arc;
    use std::time::Duration;

    const MAX: ReplayOptions = ReplayOptions { rate: Rate::Max, repeat: false, wanted: None };

    #[test]
    fn pictures_come_by_name_whatever_their_size() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        write("b.JPG", &encode(20, 10, turbojpeg::Subsamp::Sub2x2));
        image::RgbImage::new(7, 5).save(dir.path().join("a.png")).unwrap();
        write("c.ppm", b"P6 1 1 255\nabc");
        write("notes.txt", b"no picture");
        write(".hidden.png", b"no picture");
        std::fs::create_dir(dir.path().join("d.png")).unwrap();
        let pipe = dir.path().join("e.png");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let mut camera = open(dir.path(), &MAX, Arc::new(ManualClock::default())).unwrap();
        assert!(camera.describe().contains("3 pictures"));
        assert_eq!(camera.format(), None);
        let mut sizes = Vec::new();
        while camera.poll(Duration::ZERO, &mut |frame| sizes.push(frame.picture.format().size)).unwrap() != Poll::End {}
        assert_eq!(sizes, [Size::new(7, 5), Size::new(20, 10), Size::new(1, 1)]);
    }

    #[test]
    fn an_unreadable_picture_is_named_and_the_next_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("1.png", &b"hello"[..]), ("2.ppm", b"P6 1 1 255\nabc"), ("3.ppm", b"P6 1 1 255\nab")] {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let mut camera = open(dir.path(), &MAX, Arc::new(ManualClock::default())).unwrap();
        let Err(Poll::Corrupt(reason)) = poll_once(&mut *camera) else { panic!() };
        assert!(reason.starts_with("frame 0, 1.png: not a picture"), "{reason}");
        assert_eq!(poll_once(&mut *camera).unwrap().sequence, 1);
        let Err(Poll::Corrupt(reason)) = poll_once(&mut *camera) else { panic!() };
        assert!(reason.starts_with("frame 2, 3.ppm: "), "{reason}");
        assert_eq!(poll_once(&mut *camera), Err(Poll::End));
    }

    #[test]
    fn an_empty_folder_says_what_was_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let error = open(dir.path(), &MAX, Arc::new(ManualClock::default())).err().unwrap();
        assert_eq!(error.kind, CameraErrorKind::Config);
        assert!(error.to_string().contains("no pictures in this folder (looked for .bmp, .jpeg,"), "{error}");
    }

    #[test]
    fn a_single_picture_is_a_folder_of_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("only.bmp");
        image::RgbImage::new(4, 4).save(&path).unwrap();
        let options = ReplayOptions { repeat: true, ..MAX };
        let mut camera = open(&path, &options, Arc::new(ManualClock::default())).unwrap();
        for sequence in 0..3 {
            assert_eq!(poll_once(&mut *camera).unwrap().sequence, sequence);
        }
    }
}
