//! The end of the JSON Lines: standard output, or a file that is appended to and rotated.
//!
//! A write that fails costs its line and nothing else: the next one is tried again, and a line that was torn in the middle
//! is closed with a newline so that it can't swallow the next. A file that was deleted or moved away is made anew.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::config::Jsonl;
use crate::publish::SinkError;

/// Time between two looks whether the path still names the open file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where lines end.
pub(super) struct Target {
    end: End,
    max_bytes: u64,
    keep: u32,
    /// The last write stopped in the middle of a line.
    torn: bool,
    /// The last write failed, and that was said.
    failing: bool,
    gone: bool,
    looked: Instant,
}

enum End {
    Stdout,
    File { path: PathBuf, file: Option<File>, size: u64 },
}

impl Target {
    /// Opens what `config` names.
    pub(super) fn open(config: &Jsonl) -> Result<Self, SinkError> {
        let end = if config.path == "-" { End::Stdout } else { Self::open_file(config)? };
        let max_bytes = config.max_bytes.0;
        Ok(Self { end, max_bytes, keep: config.keep, torn: false, failing: false, gone: false, looked: Instant::now() })
    }

    fn open_file(config: &Jsonl) -> Result<End, SinkError> {
        let path = PathBuf::from(&config.path);
        let failed = |error: &io::Error| {
            let hint = match error.kind() {
                ErrorKind::NotFound => "; make its folder first",
                ErrorKind::PermissionDenied => "; the user who runs pspnetd must be able to write there",
                _ => "",
            };
            SinkError { key: "publish.jsonl.path", path: config.path.clone(), reason: format!("{error}{hint}") }
        };
        if path.metadata().is_ok_and(|meta| meta.file_type().is_fifo()) {
            // Opening a named pipe waits for its reader: that is for the writer's thread, not for the start.
            log::info!("jsonl: {} is a named pipe; nothing is written before it has a reader", path.display());
            return Ok(End::File { path, file: None, size: 0 });
        }
        match append(&path) {
            Ok((file, size, torn)) => {
                let mut end = End::File { path, file: Some(file), size };
                if torn {
                    close_torn_line(&mut end);
                }
                Ok(end)
            }
            // Nobody mends these by waiting.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound
                        | ErrorKind::PermissionDenied
                        | ErrorKind::IsADirectory
                        | ErrorKind::NotADirectory
                ) =>
            {
                Err(failed(&error))
            }
            Err(error) => {
                log::warn!("jsonl: {}: {error}; trying again with every line", path.display());
                Ok(End::File { path, file: None, size: 0 })
            }
        }
    }

    /// Writes one line. False when it is lost.
    pub(super) fn write(&mut self, line: &[u8]) -> bool {
        if self.gone {
            return false;
        }
        let outcome = self.try_write(line);
        match &outcome {
            Ok(()) if self.failing => {
                log::info!("jsonl: {}: writing again", self.name());
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
            self.end.follow_path();
        }
        if self.torn {
            self.end.write_counted(b"\n").map_err(|(error, _)| error)?;
            self.torn = false;
        }
        self.end.write_counted(line).map_err(|(error, written)| {
            self.torn = written > 0;
            error
        })?;
        self.rotate_when_full();
        Ok(())
    }

    fn failed(&mut self, error: &io::Error) {
        if error.kind() == ErrorKind::BrokenPipe && matches!(self.end, End::Stdout) {
            log::error!("jsonl: standard output was closed by its reader; no more lines can be written there");
            self.gone = true;
        } else if !self.failing {
            log::error!("jsonl: {}: {error}; lines are lost and counted until it can be written again", self.name());
            self.failing = true;
        }
    }

    /// True when nothing can ever be written again.
    pub(super) const fn is_gone(&self) -> bool {
        self.gone
    }

    fn name(&self) -> String {
        match &self.end {
            End::Stdout => "standard output".to_owned(),
            End::File { path, .. } => path.display().to_string(),
        }
    }

    fn rotate_when_full(&mut self) {
        let End::File { path, file, size } = &mut self.end else { return };
        let is_file = || file.as_ref().is_some_and(|file| file.metadata().is_ok_and(|meta| meta.is_file()));
        if self.max_bytes == 0 || *size < self.max_bytes || !is_file() {
            return;
        }
        let numbered = |n: u32| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        let taken = (1..self.keep).take_while(|n| numbered(*n).exists()).last().unwrap_or(0);
        for n in (1..=taken).rev() {
            // What can't be moved is overwritten by the next, which the message below would not mend.
            let _ = std::fs::rename(numbered(n), numbered(n + 1));
        }
        let moved = if self.keep == 0 { std::fs::remove_file(&*path) } else { std::fs::rename(&*path, numbered(1)) };
        if let Err(error) = moved {
            log::warn!("jsonl: {} can't be rotated: {error}; it grows on", path.display());
            // Asking again with every line would say this with every line.
            self.max_bytes = self.max_bytes.saturating_mul(2);
            return;
        }
        *file = None;
        *size = 0;
    }

    /// Makes sure that what was written survives a power cut.
    pub(super) fn finish(&mut self) {
        if let End::File { file: Some(file), .. } = &self.end {
            // Devices and pipes can't sync; there is nothing to keep then.
            let _ = file.sync_data();
        }
    }
}

impl End {
    /// Lets go of a file that its path no longer names: deleted, or moved away by a log rotator. The next write makes it
    /// anew.
    fn follow_path(&mut self) {
        let Self::File { path, file, size } = self else { return };
        let Some(open) = file else { return };
        let place = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
        let (Ok(ours), theirs) = (open.metadata().map(place), path.metadata().map(place)) else { return };
        if theirs.is_ok_and(|theirs| theirs == ours) {
            return;
        }
        log::warn!("jsonl: {} was deleted or moved away; it is made anew", path.display());
        (*file, *size) = (None, 0);
    }

    /// Writes all of `bytes`, or says how far it came.
    fn write_counted(&mut self, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
        match self {
            Self::Stdout => {
                // Past the standard library's line buffer, so that an error belongs to this line and not to the next.
                write_all_counted(|rest| Ok(rustix::io::write(rustix::stdio::stdout(), rest)?), bytes)
            }
            Self::File { path, file, size } => {
                if file.is_none() {
                    let (opened, length, _) = append(path).map_err(|error| (error, 0))?;
                    (*file, *size) = (Some(opened), length);
                }
                let Some(open) = file else { return Err((ErrorKind::NotFound.into(), 0)) };
                let outcome = write_all_counted(|rest| open.write(rest), bytes);
                *size += match &outcome {
                    Ok(()) => bytes.len() as u64,
                    Err((_, written)) => *written as u64,
                };
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

/// Opens `path` for appending: the file, its length, and whether its last line has no end (a power cut).
fn append(path: &PathBuf) -> io::Result<(File, u64, bool)> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    let meta = file.metadata()?;
    let torn = meta.is_file() && meta.len() > 0 && !ends_with_newline(path, meta.len()).unwrap_or(true);
    Ok((file, meta.len(), torn))
}

fn ends_with_newline(path: &PathBuf, length: u64) -> io::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let mut last = [0];
    File::open(path)?.read_exact_at(&mut last, length - 1)?;
    Ok(last == *b"\n")
}

fn close_torn_line(end: &mut End) {
    // When this fails the first line will fail too, and say so.
    let _ = end.write_counted(b"\n");
}
