//! Files as cameras: an MJPEG stream, a Y4M video, a folder of pictures or a single one.
//! This file decides which it is; each kind has its own file; the pace is left to `capture::paced`.

mod folder;
mod mjpeg;
mod y4m;

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use base::clock::Clock;
use base::files;
use pixels::frame::Size;

use super::paced::{Paced, Sequence};
use super::{picture, Camera, CameraError};

pub use crate::Rate;

/// How to replay.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplayOptions {
    /// How fast.
    pub rate: Rate,
    /// Whether to start again at the end.
    pub repeat: bool,
    /// The model's input size: MJPEG is decoded at reduced scale where the picture stays at least this large.
    pub wanted: Option<Size>,
}

/// Opens the file or folder at `path` as a camera.
///
/// A folder is a list of pictures. A file is Y4M or MJPEG by its first bytes; a JPEG counts as MJPEG only by its name
/// (`.mjpeg`, `.mjpg`), otherwise it is a picture, like any other file that ends like one.
///
/// # Errors
/// [`CameraError::config`] when there is nothing at `path` or nothing in it that can be replayed; [`CameraError::retry`]
/// when it can't be read right now.
pub fn open(path: &Path, options: &ReplayOptions, clock: Arc<dyn Clock>) -> Result<Box<dyn Camera>, CameraError> {
    let metadata = std::fs::metadata(path).map_err(|error| io_error(path, &error))?;
    if metadata.is_dir() {
        return paced(folder::Folder::open(path)?, options, clock);
    }
    if !metadata.is_file() {
        return Err(CameraError::config(name(path), "neither a file nor a folder", KINDS));
    }
    if metadata.len() == 0 {
        return Err(CameraError::config(name(path), "the file is empty", ""));
    }
    let mut magic = Vec::new();
    let file = files::open(path).map_err(|error| io_error(path, &error))?;
    file.take(10).read_to_end(&mut magic).map_err(|error| io_error(path, &error))?;
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    match extension.as_str() {
        _ if magic.starts_with(super::y4m::MAGIC) => paced(y4m::Y4m::open(path)?, options, clock),
        "y4m" => Err(CameraError::config(name(path), "a Y4M file starts with YUV4MPEG2, this one doesn't", "")),
        "mjpeg" | "mjpg" => paced(mjpeg::Mjpeg::open(path, options.wanted)?, options, clock),
        other if picture::EXTENSIONS.contains(&other) => paced(folder::Folder::single(path)?, options, clock),
        _ if magic.starts_with(super::mjpeg::MAGIC) => paced(mjpeg::Mjpeg::open(path, options.wanted)?, options, clock),
        _ => Err(CameraError::config(name(path), "not a kind of file that can be replayed", KINDS)),
    }
}

const KINDS: &str = "a folder of pictures, a picture, .y4m, or .mjpeg";

fn paced<S: Sequence + 'static>(
    source: S,
    options: &ReplayOptions,
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn Camera>, CameraError> {
    Ok(Box::new(Paced::new(source, options.rate, options.repeat, clock)?))
}

/// A path as it stands in messages.
fn name(path: &Path) -> String {
    format!("replay:{}", path.display())
}

/// The file name as it stands in descriptions.
fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn io_error(path: &Path, error: &io::Error) -> CameraError {
    match error.kind() {
        io::ErrorKind::NotFound => CameraError::config(name(path), "no such file or folder", ""),
        io::ErrorKind::PermissionDenied => CameraError::config(name(path), error.to_string(), ""),
        _ => CameraError::retry(name(path), error.to_string(), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CameraErrorKind, Poll};
    use super::*;
    use crate::testing::encode;
    use base::clock::ManualClock;
    use std::time::Duration;
    use turbojpeg::Subsamp;

    const MAX: ReplayOptions = ReplayOptions { rate: Rate::Max, repeat: false, wanted: None };

    fn describe(path: &Path) -> String {
        open(path, &MAX, Arc::new(ManualClock::default())).unwrap().describe()
    }

    #[test]
    fn the_kind_is_told_by_content_then_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let jpeg = encode(16, 16, Subsamp::Sub2x2);
        let y4m = b"YUV4MPEG2 W2 H2 F25:1 Cmono\nFRAME\nabcd";
        assert!(describe(&write("a.MJPG", &jpeg)).starts_with("MJPEG clip a.MJPG, 16x16 YU12"));
        assert!(describe(&write("no_extension", &jpeg)).starts_with("MJPEG clip"));
        assert!(describe(&write("a.jpg", &jpeg)).starts_with("picture a.jpg"));
        assert!(describe(&write("video.dat", y4m)).starts_with("Y4M video video.dat, 2x2 GREY"));
        assert!(describe(dir.path()).contains("1 picture"));
    }

    #[test]
    fn what_cannot_be_replayed_is_a_configuration_error() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        for (path, text) in [
            (dir.path().join("missing"), "no such file"),
            (write("empty.mjpeg", b""), "is empty"),
            (write("a.y4m", b"hello"), "starts with YUV4MPEG2"),
            (write("a.txt", b"hello"), "not a kind of file"),
            ("/dev/null".into(), "neither a file nor a folder"),
        ] {
            let error = open(&path, &MAX, Arc::new(ManualClock::default())).err().unwrap();
            assert!(error.to_string().contains(text), "{error}");
            assert_eq!(error.kind, CameraErrorKind::Config);
            assert!(error.to_string().starts_with("replay:"), "{error}");
        }
    }

    /// Drives a damaged file to its end, or a while where it repeats. Neither may panic or hang.
    fn drive(path: &Path, repeat: bool) {
        let options = ReplayOptions { repeat, ..MAX };
        let Ok(mut camera) = open(path, &options, Arc::new(ManualClock::default())) else { return };
        let mut polls = 0;
        while !matches!(camera.poll(Duration::ZERO, &mut |_| {}), Ok(Poll::End) | Err(_)) {
            polls += 1;
            if repeat && polls == 20 {
                return;
            }
            assert!(polls < 1000, "no end in sight");
        }
    }

    #[test]
    fn damaged_streams_neither_panic_nor_hang() {
        let dir = tempfile::tempdir().unwrap();
        let mjpeg: Vec<u8> = (0..3).flat_map(|_| encode(16, 16, Subsamp::Sub2x2)).collect();
        let mut y4m = b"YUV4MPEG2 W6 H4 F30000:1001 Ip A1:1 C420mpeg2 XCOLORRANGE=FULL\n".to_vec();
        for value in 0..3u8 {
            y4m.extend_from_slice(b"FRAME Ip\n");
            y4m.extend_from_slice(&[value; 36]);
        }
        for (name, bytes) in [("clip.mjpeg", mjpeg), ("clip.y4m", y4m)] {
            let path = dir.path().join(name);
            let mut cases: Vec<Vec<u8>> = (0..bytes.len()).step_by(11).map(|cut| bytes[..cut].to_vec()).collect();
            for at in (0..bytes.len()).step_by(7) {
                for flip in [0x01, 0x80, 0xFF] {
                    let mut flipped = bytes.clone();
                    flipped[at] ^= flip;
                    cases.push(flipped);
                }
            }
            for (index, case) in cases.iter().enumerate() {
                std::fs::write(&path, case).unwrap();
                drive(&path, index % 2 == 0);
            }
        }
    }
}
