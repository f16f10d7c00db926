//! Whether a file of lines could be opened, told without making or changing it.

use std::io;
use std::path::Path;

use rustix::fs::{access, statfs, Access, FsWord, PROC_SUPER_MAGIC};
use rustix::io::Errno;

use super::{remedy, Place};
use crate::failure::SettingError;

/// Bytes of a file's name, at most.
pub const LONGEST_NAME: usize = 255;
/// Links that Linux follows.
const MOST_LINKS: usize = 40;
/// Of `linux/magic.h`.
const SYSFS_MAGIC: FsWord = 0x6265_6572;

/// Whether the file of `place` could be appended to; true of standard output. Nothing is made or changed. What the program waits
/// for, such as a disk that can't be written now, is a warning.
///
/// # Errors
/// Why not, where waiting doesn't mend it.
pub fn check(place: &Place) -> Result<(), SettingError> {
    if place.path == "-" {
        return Ok(());
    }
    let path = Path::new(&place.path);
    let outcome = match path.metadata() {
        Ok(meta) if meta.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => access(path, Access::WRITE_OK).map_err(io::Error::from),
        Err(_) => can_be_made(path, MOST_LINKS),
    };
    let Err(error) = outcome else { return Ok(()) };
    match remedy(&error) {
        Some(hint) => Err(SettingError::new(place.key, place.path.clone(), format!("{error}{hint}"))),
        None => {
            log::warn!("{}: {}: {error}; the program would try again with every line", place.name, place.path);
            Ok(())
        }
    }
}

/// Whether a file can be made at `path`, where there is none. A link to nowhere is followed, as it is when the file is made.
fn can_be_made(path: &Path, links: usize) -> io::Result<()> {
    if path.file_name().is_some_and(|name| name.len() > LONGEST_NAME) {
        return Err(Errno::NAMETOOLONG.into());
    }
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match path.read_link() {
        Ok(_) if links == 0 => Err(Errno::LOOP.into()),
        Ok(target) => can_be_made(&folder.join(target), links - 1),
        Err(_) => takes_files(folder),
    }
}

/// Whether files can be made in `folder`.
///
/// # Errors
/// Why not.
pub fn takes_files(folder: &Path) -> io::Result<()> {
    if !folder.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    // There, root may write everything but make nothing.
    if matches!(statfs(folder)?.f_type, PROC_SUPER_MAGIC | SYSFS_MAGIC) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(access(folder, Access::WRITE_OK)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_could_be_made_is_told_from_one_that_could_not() {
        let top = tempfile::tempdir().unwrap();
        let path = |name: &str| top.path().join(name);
        for (target, link) in [("round", "round"), ("away/file", "astray"), ("file", "here"), ("here", "twice")] {
            std::os::unix::fs::symlink(target, path(link)).unwrap();
        }
        let made = |name: &str| can_be_made(&path(name), MOST_LINKS).map_err(|error| error.kind());
        for name in ["file", "here", "twice"] {
            assert_eq!(made(name), Ok(()), "{name}");
        }
        assert_eq!(made("astray"), Err(io::ErrorKind::NotFound));
        assert!(made("round").is_err());
        assert_eq!(made(&"x".repeat(300)), Err(io::ErrorKind::InvalidFilename));
        for name in ["/proc/file", "/sys/file"] {
            assert_eq!(can_be_made(Path::new(name), MOST_LINKS).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
        assert!(!path("file").exists());
    }
}
