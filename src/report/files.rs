//! From the names on the command line to lines: rotated files are taken along, oldest first, and no line is too long.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base::failure::{Failure, Kind};
use base::files::{self, Identity};
use base::line_file::rotated;
use base::text::shown;

/// A longer line is no record, and is passed over without being kept.
const LONGEST_LINE: usize = 1 << 20;
const BUFFER: usize = 256 << 10;

/// Files that are held open before their turn comes, so that those that are rotated meanwhile are read all the same.
const MOST_HELD: usize = 64;

/// A file of a log.
pub(super) struct Input {
    /// For messages.
    pub(super) name: String,
    /// None of one that waits for its turn.
    reader: Option<BufReader<Box<dyn Read>>>,
    place: Option<Place>,
}

/// Where a file was found that is opened again when its turn comes.
struct Place {
    log: PathBuf,
    number: u32,
    identity: Identity,
}

/// What came of reading a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A line that ends with a newline.
    Line,
    /// The last one, without a newline: a power cut, or it is being written.
    Torn,
    /// A line that is too long to be a record; its bytes are gone.
    TooLong,
    /// Nothing more.
    End,
}

/// Opens what `path` names with the files that were rotated away from it, oldest first; what is in `seen` is left out. `-` is
/// standard input.
///
/// # Errors
/// When there is none of them, or one can't be read.
pub(super) fn open(path: &Path, seen: &mut HashSet<Identity>) -> Result<Vec<Input>, Failure> {
    if path == Path::new("-") {
        return Ok(vec![Input::new("standard input".to_owned(), Box::new(io::stdin()))]);
    }
    // The newest first: a file that is rotated meanwhile is then met twice rather than not at all.
    let mut inputs = Vec::new();
    let mut missing = None;
    for number in 0.. {
        let name = numbered(path, number);
        // Who names a pipe waits for it; what only lies beside the log is not waited for.
        let opened = if number == 0 { File::open(&name) } else { files::open(&name) };
        let opened = opened.and_then(|file| file.metadata().map(|meta| (file, meta)));
        let (file, meta) = match opened {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => match number {
                // Just now rotated; the next line makes it anew.
                0 => {
                    missing = Some(error);
                    continue;
                }
                _ => break,
            },
            Err(error) => return Err(unreadable(&name, &error)),
        };
        if meta.is_dir() {
            let what = "is a folder; name the file that telemetry.latency_log.path names";
            return Err(Failure::new(Kind::NoInput, format!("{}: {what}", name.display())));
        }
        let identity = (meta.dev(), meta.ino());
        if seen.insert(identity) {
            let mut input = Input::new(shown(&name.to_string_lossy()).into_owned(), Box::new(file));
            // What is no file gives what it has only once.
            if seen.len() > MOST_HELD && meta.is_file() {
                input.place = Some(Place { log: path.to_owned(), number, identity });
                input.reader = None;
            }
            inputs.push(input);
        }
    }
    if let (true, Some(error)) = (inputs.is_empty(), missing) {
        return Err(unreadable(path, &error));
    }
    inputs.reverse();
    Ok(inputs)
}

fn numbered(log: &Path, number: u32) -> PathBuf {
    if number == 0 {
        log.to_owned()
    } else {
        rotated(log, number)
    }
}

impl Place {
    /// The file, under a higher number where it was rotated meanwhile.
    fn open(&self) -> io::Result<File> {
        for number in self.number.. {
            let file = files::open(&numbered(&self.log, number)).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => io::Error::new(error.kind(), "it was deleted while it was to be read"),
                _ => error,
            })?;
            let meta = file.metadata()?;
            if (meta.dev(), meta.ino()) == self.identity {
                return Ok(file);
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let (kind, hint) = match error.kind() {
        io::ErrorKind::NotFound => (Kind::NoInput, "; telemetry.latency_log.path names the log where there is one"),
        io::ErrorKind::PermissionDenied => (Kind::NoInput, "; its user or group, or root, can read it"),
        _ => (Kind::Io, ""),
    };
    Failure::new(kind, format!("{}: {error}{hint}", path.display()))
}

impl Input {
    fn new(name: String, reader: Box<dyn Read>) -> Self {
        Self { name, reader: Some(BufReader::with_capacity(BUFFER, reader)), place: None }
    }

    /// Closes a file that is to wait for its turn, and forgets what was read of it. False where it is held open.
    pub(super) fn put_away(&mut self) -> bool {
        if self.place.is_some() {
            self.reader = None;
        }
        self.place.is_some()
    }

    fn reader(&mut self) -> io::Result<&mut BufReader<Box<dyn Read>>> {
        let reader = match (self.reader.take(), &self.place) {
            (Some(reader), _) => reader,
            (None, Some(place)) => {
                let file: Box<dyn Read> = Box::new(place.open()?);
                BufReader::with_capacity(BUFFER, file)
            }
            (None, None) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(self.reader.insert(reader))
    }

    /// The next line, without its newline.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Found> {
        line.clear();
        let limit = LONGEST_LINE as u64 + 1;
        if self.reader()?.by_ref().take(limit).read_until(b'\n', line)? == 0 {
            return Ok(Found::End);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
            return Ok(Found::Line);
        }
        if line.len() <= LONGEST_LINE {
            return Ok(Found::Torn);
        }
        line.clear();
        Ok(Found::TooLong)
    }

    /// Passes over the rest of a line that is too long, up to `limit` bytes; how many there were.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(super) fn skip_line(&mut self, limit: u64) -> io::Result<u64> {
        let reader = self.reader()?;
        let mut skipped = 0;
        while skipped < limit {
            let available = reader.fill_buf()?;
            let (length, is_over) = match available.iter().position(|&byte| byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (available.len(), available.is_empty()),
            };
            reader.consume(length);
            skipped += length as u64;
            if is_over {
                break;
            }
        }
        Ok(skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: Vec<u8>) -> Input {
        Input::new("x".to_owned(), Box::new(io::Cursor::new(bytes)))
    }

    #[test]
    fn lines_come_one_by_one_and_a_torn_one_last() {
        let mut input = input(b"a\n\nbc".to_vec());
        let mut line = Vec::new();
        let mut next = || (input.next(&mut line).unwrap(), String::from_utf8(line.clone()).unwrap());
        assert_eq!(next(), (Found::Line, "a".to_owned()));
        assert_eq!(next(), (Found::Line, String::new()));
        assert_eq!(next(), (Found::Torn, "bc".to_owned()));
        assert_eq!(next(), (Found::End, String::new()));
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let mut input = input([vec![b'x'; 3 * LONGEST_LINE], b"\nb\n".to_vec()].concat());
        let mut line = Vec::new();
        assert_eq!(input.next(&mut line).unwrap(), Found::TooLong);
        assert!(line.is_empty());
        assert_eq!(input.skip_line(u64::MAX).unwrap(), 2 * LONGEST_LINE as u64);
        assert_eq!((input.next(&mut line).unwrap(), &line[..]), (Found::Line, &b"b"[..]));
    }

    #[test]
    fn a_line_is_too_long_from_one_byte_more_than_a_mebibyte_on() {
        for (length, ending, expected) in [
            (LONGEST_LINE, "\n", Found::Line),
            (LONGEST_LINE, "", Found::Torn),
            (LONGEST_LINE + 1, "\n", Found::TooLong),
            (LONGEST_LINE + 1, "", Found::TooLong),
        ] {
            let mut input = input([vec![b'x'; length].as_slice(), ending.as_bytes()].concat());
            let mut line = Vec::new();
            assert_eq!(input.next(&mut line).unwrap(), expected, "{length} {ending:?}");
            assert_eq!(line.len(), if expected == Found::TooLong { 0 } else { LONGEST_LINE });
            // The rest of it is its newline, or nothing.
            let rest = if expected == Found::TooLong { ending.len() } else { 0 };
            assert_eq!(input.skip_line(u64::MAX).unwrap(), rest as u64);
            assert_eq!(input.next(&mut line).unwrap(), Found::End);
        }
    }

    #[test]
    fn no_more_of_a_line_is_passed_over_than_is_wanted() {
        for (limit, skipped) in [(0, 0), (1, BUFFER), (BUFFER, BUFFER), (BUFFER + 1, 2 * BUFFER)] {
            let mut input = input(vec![b'x'; 3 * BUFFER]);
            assert_eq!(input.skip_line(limit as u64).unwrap(), skipped as u64, "{limit}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_with_what_to_do() {
        let missing = "/x: entity not found; telemetry.latency_log.path names the log where there is one";
        let denied = "/x: permission denied; its user or group, or root, can read it";
        for (kind, code, words) in [
            (io::ErrorKind::NotFound, 66, missing),
            (io::ErrorKind::PermissionDenied, 66, denied),
            (io::ErrorKind::OutOfMemory, 74, "/x: out of memory"),
        ] {
            let failure = unreadable(Path::new("/x"), &kind.into());
            assert_eq!((failure.exit_code(), failure.to_string().as_str()), (code, words));
        }
        // Only a file that isn't there ends the search for those that were rotated.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l");
        std::fs::write(&path, "x").unwrap();
        std::os::unix::fs::symlink("l.1", folder.path().join("l.1")).unwrap();
        assert_eq!(open(&path, &mut HashSet::new()).err().unwrap().exit_code(), 74);
        assert_eq!(open(&path.join("x"), &mut HashSet::new()).err().unwrap().exit_code(), 74);
    }

    #[test]
    fn rotated_files_come_first_and_none_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l");
        for name in ["l", "l.1", "l.2", "l.4"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let mut seen = HashSet::new();
        let mut names = |path: &Path| -> Vec<String> {
            let inputs = open(path, &mut seen).unwrap();
            inputs.into_iter().map(|input| input.name.rsplit_once('/').unwrap().1.to_owned()).collect()
        };
        assert_eq!(names(&path), ["l.2", "l.1", "l"]);
        assert_eq!(names(&folder.path().join("l.2")), [""; 0]);
    }

    #[test]
    fn a_log_that_was_rotated_just_now_is_no_missing_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("l.1"), "x").unwrap();
        assert_eq!(open(&folder.path().join("l"), &mut HashSet::new()).unwrap().len(), 1);
        let error = open(&folder.path().join("m"), &mut HashSet::new()).err().unwrap();
        assert_eq!(error.exit_code(), 66);
    }
}
