//! How old a file's first line is, also after a restart: by the line's own `time`, since a file system keeps no time of that.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A line's beginning: `{"time":"2026-11-22T21:55:47.123456Z"`.
const BEGINNING: usize = 64;

/// When the first line of the file at `path` was written: as it says itself, or else when the file was last changed. None
/// where that can't be known.
pub(super) fn first_line_time(path: &Path) -> Option<SystemTime> {
    let file = File::open(path).ok()?;
    let mut beginning = [0; BEGINNING];
    let length = file.read_at(&mut beginning, 0).ok()?;
    said(&beginning[..length]).or_else(|| file.metadata().ok()?.modified().ok())
}

fn said(line: &[u8]) -> Option<SystemTime> {
    let text = line.strip_prefix(b"{\"time\":\"")?;
    let text = &text[..text.iter().position(|&byte| byte == b'"')?];
    let time: jiff::Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(SystemTime::from(time))
}

/// True where `first` lies `limit` or more in the past. A clock that was set back since then makes nothing old.
pub(super) fn is_older(first: SystemTime, limit: Duration) -> bool {
    first.elapsed().is_ok_and(|age| age >= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_its_time_and_anything_else_does_not() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
        assert_eq!(said(b"{\"time\":\"1970-01-01T00:00:01.500000Z\",\"x\":1}"), Some(at));
        for other in
            [&b""[..], b"{\"time\":\"", b"{\"time\":\"yesterday\"}", b"{\"a\":1}", b"\0\0\0", b"{\"time\":\"\xff\"}"]
        {
            assert_eq!(said(other), None);
        }
    }

    #[test]
    fn a_file_whose_first_line_tells_no_time_is_as_old_as_its_last_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        assert_eq!(first_line_time(&path), None);
        std::fs::write(&path, "torn").unwrap();
        assert_eq!(first_line_time(&path), Some(path.metadata().unwrap().modified().unwrap()));
    }

    #[test]
    fn a_time_in_the_future_is_not_old() {
        let now = SystemTime::now();
        assert!(!is_older(now + Duration::from_secs(1000), Duration::from_secs(1)));
        assert!(!is_older(now, Duration::from_secs(1000)));
        assert!(is_older(now - Duration::from_secs(10), Duration::from_secs(10)));
    }
}
