//! The Unix socket: where it is, and its file.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::values::Auto;
use rustix::fs::{flock, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{bind, connect, listen, socket_with, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::config::SocketPath;

/// Its owner and the group may connect.
const MODE: u32 = 0o660;

/// How often, and after what pause, the lock on the socket's folder is tried for. Making a socket takes far less than a pause.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// The socket's name in the service's or the user's runtime folder.
const NAME: &str = "pspnetd.sock";

/// Where the socket is: as configured, or for `auto` `pspnetd.sock` in the service's runtime folder (`$RUNTIME_DIRECTORY`), else in
/// the user's (`$XDG_RUNTIME_DIR`). None where it is off, and where there is neither.
pub(crate) fn socket_path(configured: &Auto<SocketPath>) -> Option<PathBuf> {
    match configured {
        Auto::Set(SocketPath::Off) => None,
        Auto::Set(SocketPath::At(path)) => Some(path.clone()),
        Auto::Auto => {
            let folder = |name| std::env::var_os(name).filter(|folder| !folder.is_empty());
            let service = folder("RUNTIME_DIRECTORY").map(|folders| first_of(&folders.to_string_lossy()));
            service.or_else(|| folder("XDG_RUNTIME_DIR").map(PathBuf::from)).map(|folder| folder.join(NAME))
        }
    }
}

/// systemd separates several folders by colons.
fn first_of(folders: &str) -> PathBuf {
    folders.split(':').next().unwrap_or_default().into()
}

/// Makes the socket at `path`. A file that a dead daemon left is replaced. Of several daemons that do this at the same instant,
/// one gets the socket.
///
/// # Errors
/// `AddrInUse` where a living daemon answers, or where the path is another kind of file; what the system says otherwise.
pub(super) fn open(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    // Until the socket answers. Otherwise a second daemon could take it for a dead one's, and remove it.
    let _alone = alone_in(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")));
    clear(path)?;
    let socket = new_socket()?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    let meta = fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.to_owned(), identity: (meta.dev(), meta.ino()) };
    // Before anybody can connect, whatever the umask.
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    listen(&socket, 64)?;
    Ok((UnixListener::from(socket), file))
}

/// Keeps other daemons from making a socket in `folder` until the lock is dropped. None where the folder can't be locked, or
/// where somebody else keeps it locked: then the socket is made without.
fn alone_in(folder: &Path) -> Option<File> {
    // Whatever else is at the path, such as a pipe, is not opened: that could wait for ever, or have an effect.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = File::from(rustix::fs::open(folder, flags, Mode::empty()).ok()?);
    for _ in 0..LOCK_TRIES {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(folder),
            Err(Errno::AGAIN) => std::thread::sleep(LOCK_PAUSE),
            Err(_) => return None,
        }
    }
    None
}

/// Makes sure that nothing is at `path`.
fn clear(path: &Path) -> io::Result<()> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let taken = |words: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, words.to_owned()));
    if !meta.file_type().is_socket() {
        return taken("there is a file that is no socket; remove it, or set another http.socket");
    }
    match connect(&new_socket()?, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED) => match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        },
        Err(Errno::NOENT) => Ok(()),
        // One that hangs takes no connection, and a connect that waits would wait as long as it does.
        Ok(()) | Err(Errno::AGAIN) => {
            taken("another program answers there, likely another pspnetd; set another http.socket, or off")
        }
        Err(error) => Err(error.into()),
    }
}

/// A socket that is not connected or bound yet, and never waits.
fn new_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// The socket's file; its drop removes it, unless somebody else has put another one there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = |meta: &fs::Metadata| (meta.dev(), meta.ino()) == self.identity;
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| is_ours(&meta)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stale_file_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let (listener, file) = open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        UnixStream::connect(&path).unwrap();
        let error = open(&path).unwrap_err();
        assert!(error.kind() == io::ErrorKind::AddrInUse && error.to_string().contains("http.socket"), "{error}");
        UnixStream::connect(&path).unwrap();
        drop((listener, file));
        assert!(!path.exists());
    }

    #[test]
    fn of_several_that_start_at_the_same_instant_one_gets_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        for round in 0..50 {
            if round % 2 == 0 {
                drop(UnixListener::bind(&path).unwrap());
            }
            let start = std::sync::Barrier::new(4);
            let made: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(|| {
                            start.wait();
                            open(&path)
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let (won, lost): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
            assert_eq!(won.len(), 1, "round {round}: {lost:?}");
            assert!(lost.iter().all(|lost| lost.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)));
            // What is at the path is the one that was made.
            UnixStream::connect(&path).unwrap();
            drop(won);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_program_that_hangs_there_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let socket = new_socket().unwrap();
        bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        // Room for one that waits, and nobody takes it.
        listen(&socket, 0).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        let (done, tried) = crossbeam_channel::bounded(1);
        let theirs = path.clone();
        std::thread::spawn(move || done.send(open(&theirs).map(drop)));
        let error = tried.recv_timeout(Duration::from_secs(20)).expect("it waits").unwrap_err();
        assert!(error.kind() == io::ErrorKind::AddrInUse && path.exists(), "{error}");
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        fs::write(&path, "mine").unwrap();
        assert!(open(&path).unwrap_err().to_string().contains("no socket"));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn a_pipe_in_place_of_the_folder_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("p");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || tell.send(open(&pipe.join("s")).map(drop).map_err(|error| error.kind())));
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(Err(io::ErrorKind::NotADirectory)));
    }

    #[test]
    fn a_socket_that_somebody_put_there_later_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (_listener, file) = open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "theirs").unwrap();
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn a_configured_path_is_taken_as_it_is() {
        assert_eq!(socket_path(&Auto::Set("/x/y".parse().unwrap())), Some("/x/y".into()));
        assert_eq!(socket_path(&Auto::Set(SocketPath::Off)), None);
        assert_eq!(first_of("/run/a:/run/b"), Path::new("/run/a"));
    }
}
