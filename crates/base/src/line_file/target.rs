//! Where lines end: standard output, or a file that is appended to and rotated.
//!
//! A write that fails costs its line and nothing else: the next one is tried again, and a line that was torn in the middle
//! is closed with a newline so that it can't swallow the next. A file that was deleted or moved away is made anew.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;

use super::age::{first_line_time, is_older};
use super::{rotated, Place, SyncPolicy};
use crate::failure::SettingError;

/// Time between two looks whether the path still names the open file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where lines end.
pub struct Target {
    end: End,
    name: &'static str,
    max_bytes: u64,
    max_age: Duration,
    keep: u32,
    sync: SyncPolicy,
    /// Syncing failed, and that was said.
    unsynced: bool,
    /// The last write stopped in the middle of a line.
    torn: bool,
    /// The last write failed, and that was said.
    failing: bool,
    gone: bool,
    looked: Instant,
}

enum End {
    Stdout,
    File { path: PathBuf, file: Option<Open> },
}

struct Open {
    file: File,
    size: u64,
    /// When its first line was written; None while there is none.
    first: Option<SystemTime>,
}

impl Target {
    /// Opens what `place` names.
    ///
    /// # Errors
    /// When the path can't be written for a reason that waiting doesn't mend.
    pub fn open(place: &Place) -> Result<Self, SettingError> {
        let (end, torn) = if place.path == "-" { (End::Stdout, false) } else { Self::open_file(place)? };
        Ok(Self {
            end,
            name: place.name,
            max_bytes: place.max_bytes.0,
            max_age: place.max_age.0,
            keep: place.keep,
            sync: place.sync,
            unsynced: false,
            torn,
            failing: false,
            gone: false,
            looked: Instant::now(),
        })
    }

    fn open_file(place: &Place) -> Result<(End, bool), SettingError> {
        let name = place.name;
        let path = PathBuf::from(&place.path);
        if path.metadata().is_ok_and(|meta| meta.file_type().is_fifo()) {
            // Opening a named pipe waits for its reader: that is for the writer's thread, not for the start.
            log::info!("{name}: {} is a named pipe; nothing is written before it has a reader", path.display());
            return Ok((End::File { path, file: None }, false));
        }
        match append(&path) {
            Ok((open, torn)) => Ok((End::File { path, file: Some(open) }, torn)),
            Err(error) => match remedy(&error) {
                Some(hint) => Err(SettingError::new(place.key, place.path.clone(), format!("{error}{hint}"))),
                None => {
                    log::warn!("{name}: {}: {error}; trying again with every line", path.display());
                    Ok((End::File { path, file: None }, false))
                }
            },
        }
    }

    /// Writes one line. False when it is lost.
    pub fn write(&mut self, line: &[u8]) -> bool {
        if self.gone {
            return false;
        }
        let outcome = self.try_write(line);
        match &outcome {
            Ok(()) if self.failing => {
                log::info!("{}: {}: writing again", self.name, self.path());
                self.failing = false;
            }
            Ok(()) => {}
            Err(error) => self.failed(error),
        }
        outcome.is_ok()
    }

    fn try_write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.looked.elapsed() >= LOOK_EVERY {
            self.looked = Instant::now();
            // A torn last line went with its file.
            self.torn &= !self.end.follow_path(self.name);
        }
        self.rotate_when_due(false);
        if self.torn {
            self.end.write_counted(b"\n").map_err(|(error, _)| error)?;
            self.torn = false;
        }
        self.end.write_counted(line).map_err(|(error, written)| {
            self.torn = written > 0;
            error
        })?;
        self.rotate_when_due(true);
        Ok(())
    }

    fn failed(&mut self, error: &io::Error) {
        if error.kind() == ErrorKind::BrokenPipe && matches!(self.end, End::Stdout) {
            log::error!("{}: standard output was closed by its reader; no more lines can be written there", self.name);
            self.gone = true;
        } else if !self.failing {
            let (name, path) = (self.name, self.path());
            log::error!("{name}: {path}: {error}; lines are lost and counted until it can be written again");
            self.failing = true;
        }
    }

    /// True when nothing can ever be written again.
    pub const fn is_gone(&self) -> bool {
        self.gone
    }

    fn path(&self) -> String {
        match &self.end {
            End::Stdout => "standard output".to_owned(),
            End::File { path, .. } => path.display().to_string(),
        }
    }

    /// By age before a line is written, so that it begins the new file; by size after it, so that no file stays too large.
    fn rotate_when_due(&mut self, is_written: bool) {
        let End::File { path, file: Some(open) } = &self.end else { return };
        let is_due = if is_written {
            self.max_bytes > 0 && open.size >= self.max_bytes
        } else {
            !self.max_age.is_zero() && open.first.is_some_and(|first| is_older(first, self.max_age))
        };
        if !is_due || !open.file.metadata().is_ok_and(|meta| meta.is_file()) {
            return;
        }
        let path = path.clone();
        if self.sync >= SyncPolicy::AtRotation {
            self.sync_now();
        }
        if let Err(error) = rotate(&path, self.keep) {
            log::warn!("{}: {} can't be rotated: {error}; it grows on", self.name, path.display());
            // Asking again with every line would say this with every line.
            let (bytes, age) = (self.max_bytes.saturating_mul(2), self.max_age.saturating_mul(2));
            (self.max_bytes, self.max_age) = if is_written { (bytes, self.max_age) } else { (self.max_bytes, age) };
            return;
        }
        self.end = End::File { path, file: None };
        // A torn last line went with its file.
        self.torn = false;
    }

    /// Makes sure that what was written so far survives a power cut, where the policy says so.
    pub fn sync_on_demand(&mut self) {
        if self.sync >= SyncPolicy::OnDemand {
            self.sync_now();
        }
    }

    /// The same at the end.
    pub fn finish(&mut self) {
        if self.sync >= SyncPolicy::AtEnd {
            self.sync_now();
        }
    }

    fn sync_now(&mut self) {
        let End::File { file: Some(open), .. } = &self.end else { return };
        let Err(error) = open.file.sync_data() else {
            self.unsynced = false;
            return;
        };
        // Devices and pipes can't sync; there is nothing to keep then.
        if error.kind() != ErrorKind::InvalidInput && !self.unsynced {
            self.unsynced = true;
            log::warn!("{}: {} can't be synced to disk: {error}; a power cut may lose lines", self.name, self.path());
        }
    }
}

/// What to do about a path that can't be opened, for errors that waiting doesn't mend; None for all others.
pub fn remedy(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::NotFound => Some("; make its folder first"),
        ErrorKind::PermissionDenied => Some("; the user who runs pspnetd must be able to write there"),
        ErrorKind::IsADirectory | ErrorKind::NotADirectory => Some(""),
        // A name that is too long, or has a NUL in it.
        ErrorKind::InvalidFilename | ErrorKind::InvalidInput => Some(""),
        _ if Errno::from_io_error(error) == Some(Errno::LOOP) => Some(""),
        _ => None,
    }
}

/// Renames `path` to `path.1`, that to `path.2`, and so on; of these `keep` stay.
fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |n: u32| rotated(path, n);
    let taken = (1..keep).take_while(|n| numbered(*n).exists()).last().unwrap_or(0);
    for n in (1..=taken).rev() {
        // What can't be moved is overwritten by the next, which no message would mend.
        let _ = std::fs::rename(numbered(n), numbered(n + 1));
    }
    if keep == 0 {
        std::fs::remove_file(path)
    } else {
        std::fs::rename(path, numbered(1))
    }
}

impl End {
    /// Lets go of a file that its path no longer names: deleted, or moved away by a log rotator. The next write makes it
    /// anew.
    fn follow_path(&mut self, name: &str) -> bool {
        let Self::File { path, file } = self else { return false };
        let Some(open) = file else { return false };
        let place = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
        let (Ok(ours), theirs) = (open.file.metadata().map(place), path.metadata().map(place)) else { return false };
        if theirs.is_ok_and(|theirs| theirs == ours) {
            return false;
        }
        log::warn!("{name}: {} was deleted or moved away; it is made anew", path.display());
        *file = None;
        true
    }

    /// Writes all of `bytes`, or says how far it came.
    fn write_counted(&mut self, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
        match self {
            Self::Stdout => {
                // Past the standard library's line buffer, so that an error belongs to this line and not to the next.
                write_all_counted(|rest| Ok(rustix::io::write(rustix::stdio::stdout(), rest)?), bytes)
            }
            Self::File { path, file } => {
                let open = match file {
                    Some(open) => open,
                    None => {
                        let (mut open, is_torn) = append(path).map_err(|error| (error, 0))?;
                        if is_torn {
                            write_all_counted(|rest| open.file.write(rest), b"\n").map_err(|(error, _)| (error, 0))?;
                            open.size += 1;
                        }
                        file.insert(open)
                    }
                };
                let outcome = write_all_counted(|rest| open.file.write(rest), bytes);
                let written = outcome.as_ref().map_or_else(|(_, written)| *written, |()| bytes.len());
                open.size += written as u64;
                if written > 0 && open.first.is_none() {
                    open.first = Some(SystemTime::now());
                }
                outcome
            }
        }
    }
}

fn write_all_counted(
    mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    bytes: &[u8],
) -> Result<(), (io::Error, usize)> {
    let mut written = 0;
    while written < bytes.len() {
        match write(&bytes[written..]) {
            Ok(0) => return Err((ErrorKind::WriteZero.into(), written)),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err((error, written)),
        }
    }
    Ok(())
}

/// Opens `path` for appending, and says whether its last line has no end (a power cut).
fn append(path: &PathBuf) -> io::Result<(Open, bool)> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    let meta = file.metadata()?;
    let has_lines = meta.is_file() && meta.len() > 0;
    let torn = has_lines && !ends_with_newline(path, meta.len()).unwrap_or(true);
    let first = if has_lines { first_line_time(path) } else { None };
    Ok((Open { file, size: meta.len(), first }, torn))
}

fn ends_with_newline(path: &PathBuf, length: u64) -> io::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let mut last = [0];
    File::open(path)?.read_exact_at(&mut last, length - 1)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests;
