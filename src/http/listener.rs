//! Taking connections: an address or a socket that can't be had is tried again, and so is a failing accept.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use base::back_off::BackOff;
use base::sync::lock;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::connection::{self, Host};
use super::socket::{self, SocketFile};

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// When a peer that says nothing is asked whether it is still there, and how often: a viewer that vanished goes within a minute.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_TRIES: u32 = 3;
/// What the system takes for a peer that doesn't read: a viewer who is slow shall skip pictures, not get old ones.
const SEND_BUFFER: usize = 64 << 10;

/// What the thread and its owner share.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    pub(super) stop: Notify,
    pub(super) address: OnceLock<SocketAddr>,
    pub(super) socket: Mutex<Option<SocketFile>>,
}

impl Bindings {
    pub(super) fn take_socket(&self) -> Option<SocketFile> {
        lock(&self.socket).take()
    }
}

/// Binds one address or socket, as often as it takes.
pub(super) struct Binder {
    place: Place,
    bindings: Arc<Bindings>,
    failed: bool,
}

enum Place {
    Tcp(SocketAddr, &'static str),
    Unix(PathBuf),
}

enum Listener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// A binder that has tried once.
pub(super) struct Bound {
    binder: Binder,
    outcome: Option<Listener>,
}

impl Binder {
    pub(super) fn tcp(address: SocketAddr, scheme: &'static str, bindings: Arc<Bindings>) -> Self {
        Self { place: Place::Tcp(address, scheme), bindings, failed: false }
    }

    pub(super) fn unix(path: PathBuf, bindings: Arc<Bindings>) -> Self {
        Self { place: Place::Unix(path), bindings, failed: false }
    }

    pub(super) fn tried(mut self) -> Bound {
        let outcome = self.attempt();
        Bound { binder: self, outcome }
    }

    /// One try. Says the outcome, a failure once.
    fn attempt(&mut self) -> Option<Listener> {
        match self.bind() {
            Ok(listener) => Some(listener),
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    log::warn!("http: {} can't be had, tried again until it can: {}", self.name(), because(&error));
                }
                None
            }
        }
    }

    fn bind(&self) -> io::Result<Listener> {
        match &self.place {
            Place::Tcp(address, scheme) => {
                let listener = std::net::TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                let _ = self.bindings.address.set(address);
                log::info!("http: listening on {scheme}://{address}/");
                Ok(Listener::Tcp(listener))
            }
            Place::Unix(path) => {
                let (listener, file) = socket::open(path)?;
                *lock(&self.bindings.socket) = Some(file);
                log::info!("http: listening on {}", path.display());
                Ok(Listener::Unix(listener))
            }
        }
    }

    fn name(&self) -> String {
        match &self.place {
            Place::Tcp(address, _) => format!("http.listen {address}"),
            Place::Unix(path) => format!("http.socket {}", path.display()),
        }
    }
}

/// The system's words, with what to do.
fn because(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse if error.raw_os_error().is_some() => "; another program has it",
        io::ErrorKind::AddrNotAvailable => "; no network interface has this address now",
        io::ErrorKind::PermissionDenied => {
            "; a port below 1024 needs CAP_NET_BIND_SERVICE, a socket a folder to write to"
        }
        io::ErrorKind::NotFound => "; its folder isn't there",
        _ => "",
    };
    format!("{error}{advice}")
}

/// Takes connections until the runtime ends.
pub(super) async fn serve(bound: Bound, host: Host) {
    let Bound { mut binder, mut outcome } = bound;
    let mut back_off = BackOff::new(LONGEST_PAUSE);
    let listener = loop {
        match outcome.take() {
            Some(listener) => break listener,
            None => sleep(back_off.pause()).await,
        }
        outcome = binder.attempt();
    };
    let host = Arc::new(host);
    let name = binder.name();
    let outcome = match listener {
        Listener::Tcp(listener) => match TcpListener::from_std(listener) {
            Ok(listener) => {
                accept(&name, host, || async { listener.accept().await.map(|(s, peer)| (s, Some(peer))) }).await
            }
            Err(error) => Err(error),
        },
        Listener::Unix(listener) => match UnixListener::from_std(listener) {
            Ok(listener) => accept(&name, host, || async { listener.accept().await.map(|(s, _)| (s, None)) }).await,
            Err(error) => Err(error),
        },
    };
    if let Err(error) = outcome {
        log::error!("http: {name} is not served: {error}");
    }
}

/// Accepts for ever. What goes wrong with one connection is passed over; what goes wrong here (no descriptors left) is said
/// once, and tried again after a pause.
async fn accept<S: connection::Stream, F: Future<Output = io::Result<(S, Option<SocketAddr>)>>>(
    name: &str,
    host: Arc<Host>,
    mut next: impl FnMut() -> F,
) -> io::Result<()> {
    let mut back_off = BackOff::new(LONGEST_PAUSE);
    let mut is_failing = false;
    loop {
        match next().await {
            Ok((stream, peer)) => {
                if std::mem::take(&mut is_failing) {
                    log::info!("http: {name}: connections are taken again");
                }
                back_off.reset();
                stream.prepare();
                connection::admit(stream, peer, &host);
                // Many that come at once are looked at one by one: a request that is there is read before its connection could
                // be given up for the next.
                tokio::task::yield_now().await;
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    log::warn!("http: {name}: connections can't be taken, tried again until they can: {error}");
                }
                sleep(back_off.pause()).await;
            }
        }
    }
}

impl connection::Stream for TcpStream {
    fn prepare(&self) {
        // All of them are for comfort: a failure costs nothing that matters.
        let _ = self.set_nodelay(true);
        let _ = sockopt::set_socket_send_buffer_size(self, SEND_BUFFER);
        let _ = sockopt::set_socket_keepalive(self, true);
        let _ = sockopt::set_tcp_keepidle(self, KEEPALIVE);
        let _ = sockopt::set_tcp_keepintvl(self, KEEPALIVE_EVERY);
        let _ = sockopt::set_tcp_keepcnt(self, KEEPALIVE_TRIES);
    }

    async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        Ok((self.peek(&mut byte).await? == 1).then_some(byte[0]))
    }
}

impl connection::Stream for tokio::net::UnixStream {
    fn prepare(&self) {}

    async fn first_byte(&self) -> io::Result<Option<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::io::{duplex, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::time::{timeout, Instant};

    use super::super::connection::tests::host;
    use super::*;

    #[test]
    fn what_the_system_says_comes_with_what_to_do() {
        use rustix::io::Errno;
        for (error, advice) in [
            (Errno::ADDRINUSE, "; another program has it"),
            (Errno::ADDRNOTAVAIL, "; no network interface has this address now"),
            (Errno::ACCESS, "; a port below 1024 needs CAP_NET_BIND_SERVICE, a socket a folder to write to"),
            (Errno::NOENT, "; its folder isn't there"),
            (Errno::NOBUFS, ""),
        ] {
            let error = io::Error::from(error);
            assert_eq!(because(&error), format!("{error}{advice}"));
        }
        // The socket says itself who has it.
        let taken = io::Error::new(io::ErrorKind::AddrInUse, "set another http.socket");
        assert_eq!(because(&taken), "set another http.socket");
    }

    #[test]
    fn an_address_and_a_socket_are_named_by_their_keys() {
        let bindings = Arc::<Bindings>::default();
        let tcp = Binder::tcp("127.0.0.1:8088".parse().unwrap(), "https", Arc::clone(&bindings));
        assert_eq!(tcp.name(), "http.listen 127.0.0.1:8088");
        assert_eq!(Binder::unix("/x/y".into(), bindings).name(), "http.socket /x/y");
    }

    #[tokio::test(start_paused = true)]
    async fn an_accept_that_fails_is_tried_again_after_pauses_that_begin_anew_with_a_connection() {
        let host = Arc::new(host(8));
        let (mut peer, theirs) = duplex(4096);
        let fails = |kind: io::ErrorKind| -> io::Result<(DuplexStream, _)> { Err(kind.into()) };
        // One connection that was given up meanwhile costs no pause; having no descriptors does.
        let script = [io::ErrorKind::ConnectionAborted, io::ErrorKind::Other, io::ErrorKind::Other]
            .map(fails)
            .into_iter()
            .chain([Ok((theirs, None))])
            .chain([io::ErrorKind::Other, io::ErrorKind::ConnectionAborted, io::ErrorKind::Other].map(fails));
        let (start, script, asked) = (Instant::now(), RefCell::new(script), RefCell::new(Vec::new()));
        let next = || {
            asked.borrow_mut().push(start.elapsed().as_millis());
            let outcome = script.borrow_mut().next();
            async move {
                match outcome {
                    Some(outcome) => outcome,
                    None => std::future::pending().await,
                }
            }
        };
        let accepting = timeout(Duration::from_secs(60), accept("x", host, next));
        let asking = async {
            peer.write_all(b"GET /livez HTTP/1.0\r\nHost: x\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            peer.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let (ended, answer) = tokio::join!(accepting, asking);
        assert!(ended.is_err() && answer.ends_with("\r\n\r\nok\n"), "{answer}");
        assert_eq!(*asked.borrow(), [0, 0, 200, 600, 600, 800, 800, 1200]);
    }

    #[tokio::test]
    async fn a_connection_sends_at_once_keeps_little_and_notices_a_peer_that_vanished() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        connection::Stream::prepare(&stream);
        assert!(stream.nodelay().unwrap() && sockopt::socket_keepalive(&stream).unwrap());
        let keepalive = [sockopt::tcp_keepidle(&stream).unwrap(), sockopt::tcp_keepintvl(&stream).unwrap()];
        assert_eq!(keepalive, [KEEPALIVE, KEEPALIVE_EVERY]);
        assert_eq!(sockopt::tcp_keepcnt(&stream).unwrap(), KEEPALIVE_TRIES);
        // Linux doubles it for its own needs.
        let kept = sockopt::socket_send_buffer_size(&stream).unwrap();
        assert!((SEND_BUFFER..=2 * SEND_BUFFER).contains(&kept), "{kept}");
        // The first byte stays there.
        peer.write_all(b"xy").await.unwrap();
        for _ in 0..2 {
            assert_eq!(connection::Stream::first_byte(&stream).await.unwrap(), Some(b'x'));
        }
        drop(peer);
        let mut stream = stream;
        assert_eq!(stream.read_u16().await.unwrap(), u16::from_be_bytes(*b"xy"));
        assert_eq!(connection::Stream::first_byte(&stream).await.unwrap(), None);
    }
}
