//! One [`Target`] at a time, on files, pipes and folders that are in its way.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::pipe::{pipe_with, PipeFlags};

use super::*;
use crate::values::{Bytes, Seconds};

/// A target that is never rotated or synced, unless a test changes that.
fn place(path: &Path) -> Place {
    Place {
        name: "test",
        key: "test.path",
        path: path.display().to_string(),
        max_bytes: Bytes(0),
        max_age: Seconds::new(0),
        keep: 1,
        sync: SyncPolicy::Never,
    }
}

impl Target {
    /// Whether `what` syncs the file: a sync that succeeds ends the trouble of the last one.
    pub(in crate::line_file) fn is_synced_by(&mut self, what: impl FnOnce(&mut Self)) -> bool {
        self.unsynced = true;
        what(self);
        !self.unsynced
    }
}

/// A folder, and the path of the file that lines go to.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l");
    (folder, path)
}

/// The names in a folder, each with the text of its file.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

fn named<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    files.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}

/// A target in place of whose file there is a pipe that takes what it has room for, and that pipe.
fn piped(path: &Path) -> (Target, File) {
    let (reader, writer) = pipe_with(PipeFlags::NONBLOCK).unwrap();
    (holding(path, writer), File::from(reader))
}

/// A target that holds `file` open in place of what `path` names.
fn holding(path: &Path, file: OwnedFd) -> Target {
    let mut target = Target::open(&place(path)).unwrap();
    target.end = End::File { path: path.to_owned(), file: Some(Open { file: File::from(file), size: 0, first: None }) };
    // It doesn't look where the path leads now.
    target.looked = Instant::now() + Duration::from_secs(1000);
    target
}

/// Everything that is in the pipe.
fn drained(pipe: &mut File) -> Vec<u8> {
    let mut all = Vec::new();
    // What is left when it is empty is the error that it would have to wait.
    let _ = pipe.read_to_end(&mut all);
    all
}

/// Puts what can't be opened in the place of a file, with an error that tells nobody to mend anything (ENXIO): a socket that is left.
fn hinder(path: &Path) {
    drop(std::os::unix::net::UnixListener::bind(path).unwrap());
}

#[test]
fn a_torn_line_is_closed_also_where_the_file_could_not_be_opened_at_the_start() {
    let (_folder, path) = folder();
    hinder(&path);
    let mut target = Target::open(&place(&path)).unwrap();
    assert!(!target.write(b"lost\n"));
    std::fs::remove_file(&path).unwrap();
    // Cut in the middle of a letter.
    std::fs::write(&path, b"{\"text\":\"52 \xc2").unwrap();
    assert!(target.write(b"next\n"));
    assert_eq!(std::fs::read(&path).unwrap(), b"{\"text\":\"52 \xc2\nnext\n");
}

#[test]
fn a_path_is_refused_where_waiting_mends_nothing_and_tried_again_elsewhere() {
    for (kind, hint) in [
        (ErrorKind::NotFound, Some("; make its folder first")),
        (ErrorKind::PermissionDenied, Some("; the user who runs pspnetd must be able to write there")),
        (ErrorKind::IsADirectory, Some("")),
        (ErrorKind::NotADirectory, Some("")),
        (ErrorKind::StorageFull, None),
        (ErrorKind::ReadOnlyFilesystem, None),
    ] {
        assert_eq!(remedy(&kind.into()), hint, "{kind}");
    }
    let (folder, path) = folder();
    std::fs::write(&path, "").unwrap();
    for (path, reason) in [
        (folder.path().join("a/b"), "No such file or directory (os error 2); make its folder first"),
        (folder.path().to_owned(), "Is a directory (os error 21)"),
        (path.join("b"), "Not a directory (os error 20)"),
    ] {
        let expected = SettingError::new("test.path", path.display().to_string(), reason);
        assert_eq!(Target::open(&place(&path)).err(), Some(expected));
    }
}

#[test]
fn a_file_is_rotated_as_soon_as_its_size_reaches_the_limit() {
    // What is in the file before, the lines (nine letters and a newline each), and what the files hold then. The limit is 30.
    let line = "123456789\n";
    for (before, lines, newest, rotated) in [
        ("", 2, 20, None),
        ("", 3, 0, Some(30)),
        ("", 5, 20, Some(30)),
        // A file that is opened again counts whole.
        ("1234567890123456789\n", 0, 20, None),
        ("1234567890123456789\n", 1, 0, Some(30)),
        ("123456789012345678\n", 1, 29, None),
        // So does the newline that closes a torn line.
        ("1234567890123456789", 1, 0, Some(30)),
        ("123456789012345678", 1, 29, None),
    ] {
        let (folder, path) = folder();
        if !before.is_empty() {
            std::fs::write(&path, before).unwrap();
        }
        let mut target = Target::open(&Place { max_bytes: Bytes(30), ..place(&path) }).unwrap();
        (0..lines).for_each(|_| assert!(target.write(line.as_bytes())));
        let sizes = |name: &str| folder.path().join(name).metadata().ok().map(|meta| meta.len());
        assert_eq!((sizes("l").unwrap_or(0), sizes("l.1")), (newest, rotated), "{lines} lines after {before:?}");
    }
    // A limit of 0 is none.
    let (folder, path) = folder();
    let mut target = Target::open(&place(&path)).unwrap();
    (0..100).for_each(|_| assert!(target.write(line.as_bytes())));
    assert_eq!(files(folder.path()), named([("l", line.repeat(100).as_str())]));
}

#[test]
fn a_file_that_was_opened_late_counts_whole_as_well() {
    for (before, rotated) in [("1234567890123456789", true), ("123456789012345678", false)] {
        let (folder, path) = folder();
        hinder(&path);
        let mut target = Target::open(&Place { max_bytes: Bytes(30), ..place(&path) }).unwrap();
        std::fs::remove_file(&path).unwrap();
        // Its torn line is closed with a newline, which counts too.
        std::fs::write(&path, before).unwrap();
        assert!(target.write(b"123456789\n"));
        assert_eq!(folder.path().join("l.1").exists(), rotated, "{before}");
    }
}

#[test]
fn a_file_is_rotated_by_the_age_of_its_first_line_before_the_next_is_written() {
    const OLD: &str = "{\"time\":\"1970-01-01T00:00:00.000000Z\"}\n";
    let (folder, path) = folder();
    std::fs::write(&path, OLD).unwrap();
    let mut target = Target::open(&Place { max_age: Seconds::new(3600), ..place(&path) }).unwrap();
    assert!(target.write(b"new\n"));
    assert!(target.write(b"newer\n"));
    assert_eq!(files(folder.path()), named([("l", "new\nnewer\n"), ("l.1", OLD)]));
    // The line that is torn goes with its file, and the new one doesn't begin with the newline that would close it.
    std::fs::write(&path, &OLD[..OLD.len() - 1]).unwrap();
    let mut target = Target::open(&Place { max_age: Seconds::new(3600), ..place(&path) }).unwrap();
    assert!(target.write(b"new\n"));
    assert_eq!(files(folder.path()), named([("l", "new\n"), ("l.1", OLD.trim_end())]));
    // An age of 0 makes nothing old.
    std::fs::write(&path, OLD).unwrap();
    let mut target = Target::open(&place(&path)).unwrap();
    assert!(target.write(b"new\n"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{OLD}new\n"));
}

#[test]
fn a_file_is_as_old_as_its_first_line_and_not_as_its_last() {
    let first = |target: &Target| match &target.end {
        End::File { file: Some(open), .. } => open.first,
        _ => None,
    };
    let (_folder, path) = folder();
    let mut target = Target::open(&place(&path)).unwrap();
    assert_eq!(first(&target), None);
    let before = SystemTime::now();
    assert!(target.write(b"first\n"));
    let begun = first(&target).unwrap();
    assert!(begun >= before && begun <= SystemTime::now());
    assert!(target.write(b"second\n"));
    assert_eq!(first(&target), Some(begun));
}

#[test]
fn rotation_moves_each_file_on_by_one_and_keeps_as_many_as_are_wanted() {
    for (keep, before, after) in [
        (0, &["l", "l.1"][..], &[("l.1", "l.1")][..]),
        (1, &["l"], &[("l.1", "l")]),
        (1, &["l", "l.1"], &[("l.1", "l")]),
        (2, &["l", "l.1"], &[("l.1", "l"), ("l.2", "l.1")]),
        (2, &["l", "l.1", "l.2"], &[("l.1", "l"), ("l.2", "l.1")]),
        (3, &["l", "l.1", "l.2"], &[("l.1", "l"), ("l.2", "l.1"), ("l.3", "l.2")]),
        // What stands behind a gap stays where it is.
        (4, &["l", "l.1", "l.3"], &[("l.1", "l"), ("l.2", "l.1"), ("l.3", "l.3")]),
    ] {
        let (folder, path) = folder();
        before.iter().for_each(|name| std::fs::write(folder.path().join(name), name).unwrap());
        rotate(&path, keep).unwrap();
        assert_eq!(files(folder.path()), named(after.iter().copied()), "{keep} of {before:?}");
    }
}

#[test]
fn a_file_that_cannot_be_rotated_grows_to_twice_its_limit_before_it_is_tried_again() {
    let hour = Duration::from_secs(3600);
    let (folder, path) = folder();
    let obstacle = folder.path().join("l.1");
    std::fs::create_dir_all(obstacle.join("x")).unwrap();
    let mut target =
        Target::open(&Place { max_bytes: Bytes(10), max_age: Seconds::new(3600), ..place(&path) }).unwrap();
    assert!(target.write(b"123456789\n"));
    assert_eq!((target.max_bytes, target.max_age), (20, hour));
    // The same with its age.
    let End::File { file: Some(open), .. } = &mut target.end else { panic!("the file is open") };
    open.first = Some(SystemTime::now() - hour);
    assert!(target.write(b"1\n"));
    assert_eq!((target.max_bytes, target.max_age), (20, 2 * hour));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "123456789\n1\n");
    std::fs::remove_dir_all(&obstacle).unwrap();
    assert!(target.write(b"1234567\n"));
    assert_eq!(files(folder.path()), named([("l.1", "123456789\n1\n1234567\n")]));
}

#[test]
fn a_named_pipe_is_never_rotated() {
    let (folder, path) = folder();
    let status = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(status.success());
    // Open for both, so that nobody waits for a reader.
    let mut pipe = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut target = Target::open(&Place { max_bytes: Bytes(1), ..place(&path) }).unwrap();
    for _ in 0..2 {
        assert!(target.write(b"line\n"));
        let mut line = [0; 5];
        pipe.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"line\n");
    }
    assert!(path.exists() && !folder.path().join("l.1").exists());
}

#[test]
fn a_file_that_its_path_no_longer_names_is_made_anew_within_a_second() {
    let (folder, path) = folder();
    let away = folder.path().join("away");
    std::fs::write(&path, "torn").unwrap();
    let mut target = Target::open(&place(&path)).unwrap();
    let second = Duration::from_secs(1);
    let look = |target: &mut Target| target.looked = Instant::now().checked_sub(second).unwrap();
    // Before it looks again it writes where it did, and closes the torn line there.
    std::fs::rename(&path, &away).unwrap();
    target.looked = Instant::now() + 1000 * second;
    assert!(target.write(b"moved\n"));
    assert_eq!(files(folder.path()), named([("away", "torn\nmoved\n")]));
    look(&mut target);
    let before = target.looked;
    assert!(target.write(b"new\n"));
    assert_eq!(files(folder.path()), named([("away", "torn\nmoved\n"), ("l", "new\n")]));
    assert!(target.looked >= before + second, "it looks again after another second");
    // Where another file has taken the place, that one is gone on with; a file that is still there is kept.
    std::fs::remove_file(&away).unwrap();
    std::fs::write(&away, "other\n").unwrap();
    std::fs::rename(&away, &path).unwrap();
    for (line, text) in [("a\n", "other\na\n"), ("b\n", "other\na\nb\n")] {
        look(&mut target);
        assert!(target.write(line.as_bytes()));
        assert_eq!(files(folder.path()), named([("l", text)]));
    }
}

#[test]
fn a_torn_line_stays_torn_until_it_is_closed_and_goes_with_its_file() {
    let (_folder, path) = folder();
    for (is_deleted, expected) in [(false, "torn\nnext\n"), (true, "next\n")] {
        std::fs::write(&path, "torn").unwrap();
        let mut target = Target::open(&place(&path)).unwrap();
        if is_deleted {
            std::fs::remove_file(&path).unwrap();
        }
        target.looked = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        assert!(target.write(b"next\n"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }
}

#[test]
fn a_line_that_was_written_in_part_is_closed_and_one_that_was_not_written_is_not() {
    let (_folder, path) = folder();
    let (mut target, mut pipe) = piped(&path);
    // More than any pipe holds.
    assert!(!target.write(&vec![b'x'; 4 << 20]));
    assert!(!target.write(b"lost\n"));
    let written = drained(&mut pipe);
    assert!(!written.is_empty() && written.iter().all(|byte| *byte == b'x'));
    assert!(target.write(b"next\n") && target.write(b"more\n"));
    assert_eq!(drained(&mut pipe), b"\nnext\nmore\n");
    // As many whole lines as there is room for, and one more.
    let line = [[b'x'; 4095].as_slice(), b"\n"].concat();
    while target.write(&line) {}
    drained(&mut pipe);
    assert!(target.write(b"next\n"));
    assert_eq!(drained(&mut pipe), b"next\n");
}

#[test]
fn a_failure_ends_with_the_next_line_that_is_written() {
    let (_folder, path) = folder();
    let (mut target, mut pipe) = piped(&path);
    assert!(target.write(b"line\n") && !target.failing);
    assert!(!target.write(&vec![b'x'; 4 << 20]) && target.failing);
    drained(&mut pipe);
    assert!(target.write(b"line\n") && !target.failing);
    // Only standard output is gone for ever with its reader.
    drop(pipe);
    assert!(!target.write(b"line\n") && target.failing && !target.is_gone());
}

#[test]
fn nothing_is_written_where_nobody_will_ever_read_it() {
    let (_folder, path) = folder();
    let mut target = Target::open(&place(&path)).unwrap();
    assert!(!target.is_gone());
    target.gone = true;
    assert!(!target.write(b"line\n") && target.is_gone());
    assert_eq!(std::fs::read(&path).unwrap(), b"");
}

#[test]
fn what_was_written_is_counted_up_to_the_error() {
    let outcome = |answers: &[io::Result<usize>]| {
        let mut answers = answers.iter();
        let mut asked = Vec::new();
        let write = |rest: &[u8]| {
            asked.push(String::from_utf8(rest.to_vec()).unwrap());
            match answers.next().unwrap() {
                Ok(count) => Ok(*count),
                Err(error) => Err(error.kind().into()),
            }
        };
        let outcome = write_all_counted(write, b"abcde").map_err(|(error, written)| (error.kind(), written));
        (outcome, asked.join(" "))
    };
    let interrupted = || Err(ErrorKind::Interrupted.into());
    assert_eq!(outcome(&[Ok(5)]), (Ok(()), "abcde".to_owned()));
    assert_eq!(outcome(&[Ok(2), interrupted(), Ok(3)]), (Ok(()), "abcde cde cde".to_owned()));
    assert_eq!(outcome(&[Ok(2), Ok(0)]), (Err((ErrorKind::WriteZero, 2)), "abcde cde".to_owned()));
    let full = Err(ErrorKind::StorageFull.into());
    assert_eq!(outcome(&[Ok(1), Ok(3), full]), (Err((ErrorKind::StorageFull, 4)), "abcde bcde e".to_owned()));
}

#[test]
fn a_file_is_synced_when_its_policy_says_so() {
    use SyncPolicy::{AtEnd, AtRotation, Never, OnDemand};
    for (sync, on_demand, at_rotation, at_end) in [
        (Never, false, false, false),
        (AtEnd, false, false, true),
        (AtRotation, false, true, true),
        (OnDemand, true, true, true),
    ] {
        let (_folder, path) = folder();
        let mut target = Target::open(&Place { sync, max_bytes: Bytes(20), ..place(&path) }).unwrap();
        assert!(!target.is_synced_by(|target| assert!(target.write(b"123456789\n"))), "{sync:?}");
        assert_eq!(target.is_synced_by(Target::sync_on_demand), on_demand, "{sync:?}");
        assert_eq!(target.is_synced_by(Target::finish), at_end, "{sync:?}");
        assert_eq!(target.is_synced_by(|target| assert!(target.write(b"123456789\n"))), at_rotation, "{sync:?}");
    }
}

#[test]
fn what_cannot_be_synced_is_only_told_of_a_file() {
    let (_folder, path) = folder();
    let (mut pipe, _reader) = piped(&path);
    pipe.sync_now();
    assert!(!pipe.unsynced, "there is nothing to keep of a pipe");
    // A handle that is only good for naming the file can't be synced.
    let named = rustix::fs::open(&path, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    let mut file = holding(&path, named);
    file.sync_now();
    assert!(file.unsynced);
}
