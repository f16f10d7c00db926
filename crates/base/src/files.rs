//! Files that are read and written as this program does it everywhere: nothing is waited for that is no file, nothing is
//! written through a link or over an input, and nobody ever sees half a file, after a power cut neither.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// What tells a file from others: device and inode.
pub type Identity = (u64, u64);

/// Opens a file for reading, at once: a pipe that nobody writes to, or another kind of file, is an error.
///
/// # Errors
/// The system's; `InvalidInput` for what is no regular file.
pub fn open(path: &Path) -> io::Result<File> {
    // Whatever is at the path when it is opened: it can have become a pipe since somebody looked.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !meta.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is a pipe, a socket or a device, not a file"));
    }
    Ok(file)
}

/// The identity of what `path` names, through links.
pub fn identity(path: &Path) -> Option<Identity> {
    let meta = path.metadata().ok()?;
    Some((meta.dev(), meta.ino()))
}

/// Which of `inputs` is the file that `output` names now, under whatever name.
pub fn same_file<'a>(output: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Option<&'a Path> {
    let output = identity(output)?;
    inputs.into_iter().find(|input| identity(input) == Some(output))
}

/// Writes a file whole or not at all: `content` goes to `<path>.partial`, a new file that no link leads to, reaches the disk, and
/// then takes the place of what is at `path`. Its mode is what the process's umask leaves of 0666.
///
/// # Errors
/// The system's. `path` then is what it was, and nothing is left beside it.
pub fn write(path: &Path, content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    write_with(path, content, sync)
}

fn write_with(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    sync: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let partial = partial(path);
    let file = create_new(&partial)?;
    let outcome = file.metadata().and_then(|meta| {
        let mut writer = BufWriter::new(file);
        content(&mut writer)?;
        writer.flush()?;
        sync(writer.get_ref())?;
        // Somebody else who writes the same file has removed ours.
        let ours = (meta.dev(), meta.ino());
        if partial.symlink_metadata().map(|meta| (meta.dev(), meta.ino())).ok() != Some(ours) {
            return Err(io::Error::new(ErrorKind::ResourceBusy, "another program writes the same file"));
        }
        std::fs::rename(&partial, path)
    });
    match &outcome {
        // The name too: a power cut must not bring back the file that was there before. Some file systems can't.
        Ok(()) => drop(File::open(folder(path)).and_then(|folder| folder.sync_all())),
        // The first error is the one worth telling.
        Err(_) => drop(std::fs::remove_file(&partial)),
    }
    outcome
}

/// Where the file at `path` is written until it is whole.
pub fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// A new file. What a stop in the middle left there goes; a link goes itself, and not what it leads to.
fn create_new(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let create = || OpenOptions::new().write(true).create_new(true).mode(0o666).custom_flags(flags).open(path);
    match create() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            std::fs::remove_file(path)?;
            create()
        }
        outcome => outcome,
    }
}

/// Some file systems have nothing to sync; a disk that fails is an error.
fn sync(file: &File) -> io::Result<()> {
    match file.sync_data() {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        outcome => outcome,
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::{symlink, PermissionsExt as _};

    use rustix::fs::{mknodat, FileType, Mode, CWD};

    use super::*;

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_is_written_whole_through_no_link_and_with_the_mode_of_any_file() {
        let folder = tempfile::tempdir().unwrap();
        let [path, victim, plain] = ["out", "victim", "plain"].map(|name| folder.path().join(name));
        std::fs::write(&victim, "precious").unwrap();
        std::fs::write(&plain, "").unwrap();
        symlink(&victim, partial(&path)).unwrap();
        symlink(&victim, &path).unwrap();
        write(&path, |file| file.write_all(b"new")).unwrap();
        assert_eq!((text(&victim), text(&path)), ("precious".to_owned(), "new".to_owned()));
        assert!(path.symlink_metadata().unwrap().is_file() && !partial(&path).exists());
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
    }

    #[test]
    fn what_fails_in_the_middle_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        std::fs::write(&path, "old").unwrap();
        let outcome = write(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("the content ends"))
        });
        assert_eq!(outcome.unwrap_err().to_string(), "the content ends");
        let busy = write(&path, |_| std::fs::remove_file(partial(&path)));
        assert_eq!(busy.unwrap_err().kind(), ErrorKind::ResourceBusy);
        assert_eq!((text(&path), std::fs::read_dir(folder.path()).unwrap().count()), ("old".to_owned(), 1));
    }

    #[test]
    fn what_takes_the_name_is_on_disk_and_a_disk_that_fails_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        std::fs::write(&path, "old").unwrap();
        let before_rename = |file: &File| {
            assert_eq!((text(&path), text(&partial(&path))), ("old".to_owned(), "new".to_owned()));
            file.sync_data()
        };
        write_with(&path, |file| file.write_all(b"new"), before_rename).unwrap();
        assert_eq!(text(&path), "new");
        let fails = write_with(&path, |file| file.write_all(b"lost"), |_| Err(ErrorKind::StorageFull.into()));
        assert_eq!(fails.unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!((text(&path), std::fs::read_dir(folder.path()).unwrap().count()), ("new".to_owned(), 1));
    }

    #[test]
    fn only_files_are_opened_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let [file, pipe, link] = ["file", "pipe", "link"].map(|name| folder.path().join(name));
        std::fs::write(&file, "x").unwrap();
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        symlink(&file, &link).unwrap();
        let mut read = String::new();
        open(&link).unwrap().read_to_string(&mut read).unwrap();
        assert_eq!(read, "x");
        let error = open(&pipe).unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("pipe"), "{error}");
        assert_eq!(open(Path::new("/dev/zero")).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(open(folder.path()).unwrap_err().kind(), ErrorKind::IsADirectory);
    }

    #[test]
    fn a_file_is_known_under_every_name() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, other] = ["file", "link", "other"].map(|name| folder.path().join(name));
        std::fs::write(&file, "").unwrap();
        std::fs::hard_link(&file, &link).unwrap();
        let inputs = || [other.as_path(), file.as_path()];
        assert_eq!(same_file(&link, inputs()), Some(file.as_path()));
        assert_eq!(same_file(&other, inputs()), None, "what is not there yet is nobody's");
    }
}
