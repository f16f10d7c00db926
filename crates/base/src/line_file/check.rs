//! Whether a file of lines could be opened, told without making or changing it.

use std::io;
use std::path::Path;

use rustix::fs::{access, Access};

use super::{remedy, Place};
use crate::failure::SettingError;

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
        Err(_) => takes_files(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))),
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

/// Whether files can be made in `folder`.
///
/// # Errors
/// Why not.
pub fn takes_files(folder: &Path) -> io::Result<()> {
    match folder.metadata()?.is_dir() {
        true => Ok(access(folder, Access::WRITE_OK)?),
        false => Err(io::ErrorKind::NotADirectory.into()),
    }
}
