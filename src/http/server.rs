//! The thread `http`: opened from the configuration, started with what it shows, stopped with the program.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use base::clock::SystemClock;
use base::failure::SettingError;
use base::priority;
use base::shutdown::{Shutdown, TICK};
use crossbeam_channel::{bounded, Receiver};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use super::access::{Access, Sites};
use super::connection::Host;
use super::connections::Connections;
use super::headers::Framing;
use super::listener::{self, Binder, Bindings, Bound};
use super::socket::socket_path;
use super::tls::Tls;
use super::token::Token;
use super::Predictor;
use crate::config::{self, Listen};
use crate::publish::view::Gallery;
use crate::telemetry::state::Observe;

/// What answers in progress get when the program stops.
const GRACE: Duration = Duration::from_millis(300);

/// How long a drop waits for the thread: the grace and some ticks.
const STOP_LIMIT: Duration = Duration::from_millis(700);

/// Connections over the Unix socket at the same time. They don't count as `http.max_connections`, so that `pspnetd top` works
/// while the network is busy.
const SOCKET_CONNECTIONS: usize = 16;

/// What is served.
#[derive(Clone)]
pub(super) struct Services {
    /// The program's state.
    pub observed: Arc<dyn Observe>,
    /// What the camera sees; None where that isn't shown.
    pub gallery: Option<Arc<Gallery>>,
    /// Runs pictures that are sent; None where none are taken.
    pub predictor: Option<Arc<Predictor>>,
}

/// A server that is ready to start: its token and its certificate are read.
#[derive(Debug)]
pub(super) struct Server {
    listen: Option<SocketAddr>,
    socket: Option<PathBuf>,
    token: Option<Token>,
    tls: Option<Tls>,
    max_connections: usize,
    sites: Sites,
    framing: Framing,
}

impl Server {
    /// Reads the token and the certificate. None where neither an address nor a socket is configured.
    ///
    /// # Errors
    /// A token or certificate that can't be read or used: the key, the file, and what to do.
    pub(super) fn open(config: &config::Http) -> Result<Option<Self>, SettingError> {
        let listen = match config.listen {
            Listen::Off => None,
            Listen::At(address) => Some(address),
        };
        let socket = socket_path(&config.socket);
        if listen.is_none() && socket.is_none() {
            return Ok(None);
        }
        let named = |key: &'static str| match key {
            "http.token_file" => &config.token_file,
            "http.tls_key" => &config.tls_key,
            _ => &config.tls_certificate,
        };
        let config = &config.with_credentials().map_err(|(key, reason)| SettingError::new(key, named(key), reason))?;
        let token = Token::read(&config.token_file)?;
        let tls = Tls::read(&config.tls_certificate, &config.tls_key)?;
        let max_connections = usize::from(config.max_connections);
        let sites = Sites { hosts: config.hosts.clone(), framed: !config.frame_ancestors.0.is_empty() };
        let framing = Framing::by(&config.frame_ancestors);
        Ok(Some(Self { listen, socket, token, tls, max_connections, sites, framing }))
    }

    /// What is served where, and who gets it.
    pub(super) fn describe(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let token = if self.token.is_some() { " with a token" } else { "" };
        let network = self.listen.map(|address| format!("{scheme}://{address}/{token}"));
        let socket = self.socket.as_ref().map(|path| path.display().to_string());
        network.into_iter().chain(socket).collect::<Vec<_>>().join(", ")
    }

    /// Starts the thread. An address or a socket that can't be had now is no error: it is said once and tried again.
    ///
    /// # Errors
    /// When the system gives no thread, or nothing to wait with.
    pub(super) fn start(self, services: Services, shutdown: &Shutdown) -> io::Result<Serving> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let bindings = Arc::new(Bindings::default());
        // The first try is made here, so that the address is known when this returns.
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let tcp = self.listen.map(|address| Binder::tcp(address, scheme, Arc::clone(&bindings)).tried());
        let unix = self.socket.clone().map(|path| Binder::unix(path, Arc::clone(&bindings)).tried());
        let (done, ended) = bounded(1);
        let running = Running { server: self, services, shutdown: shutdown.clone(), bindings: Arc::clone(&bindings) };
        let thread = thread::Builder::new().name("http".to_owned()).spawn(move || {
            priority::lower(priority::SIDE);
            running.run(&runtime, tcp, unix);
            // Drops what is left of the connections.
            drop(runtime);
            let _ = done.send(());
        })?;
        Ok(Serving { bindings, ended, thread: Some(thread) })
    }
}

struct Running {
    server: Server,
    services: Services,
    shutdown: Shutdown,
    bindings: Arc<Bindings>,
}

impl Running {
    fn run(self, runtime: &Runtime, tcp: Option<Bound>, unix: Option<Bound>) {
        let Self { server, services, shutdown, bindings } = self;
        let token = server.token.map(Arc::new);
        let clock = Arc::new(SystemClock);
        let network = Connections::new(server.max_connections, clock.clone());
        let local = Connections::new(SOCKET_CONNECTIONS, clock.clone());
        let tables = [Arc::clone(&network), Arc::clone(&local)];
        runtime.block_on(async move {
            if let Some(bound) = tcp {
                let access = Access::network(token, clock, server.sites.clone());
                let (services, framing) = (services.clone(), server.framing.clone());
                let host = Host { services, access, connections: network, tls: server.tls, framing };
                tokio::spawn(listener::serve(bound, host));
            }
            if let Some(bound) = unix {
                let access = Access::local(server.sites);
                let host = Host { services, access, connections: local, tls: None, framing: server.framing };
                tokio::spawn(listener::serve(bound, host));
            }
            while !shutdown.is_pulled() {
                tokio::select! {
                    () = bindings.stop.notified() => break,
                    () = sleep(TICK) => {}
                }
                tables.iter().for_each(|table| table.sweep());
            }
            // Nobody new; the file goes first, so that the next daemon finds its place free.
            drop(bindings.take_socket());
            tables.iter().for_each(|table| table.close());
            let all_gone = async {
                while tables.iter().any(|table| !table.is_empty()) {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            let _ = tokio::time::timeout(GRACE, all_gone).await;
        });
    }
}

/// A running server. Its drop stops it within 0.7 s, and removes the socket's file.
#[derive(Debug)]
pub(super) struct Serving {
    bindings: Arc<Bindings>,
    ended: Receiver<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Serving {
    /// Where TCP connections are taken; None while the address can't be had, and where none is configured.
    #[cfg(test)]
    fn address(&self) -> Option<SocketAddr> {
        self.bindings.address.get().copied()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.bindings.stop.notify_one();
        // Disconnected is ended as well: the thread panicked.
        if let Err(crossbeam_channel::RecvTimeoutError::Timeout) = self.ended.recv_timeout(STOP_LIMIT) {
            log::warn!("http: the thread has not answered for {} ms; leaving without it", STOP_LIMIT.as_millis());
        } else if let Some(thread) = self.thread.take() {
            if thread.join().is_err() {
                log::error!("http: the thread failed; nothing was served since then");
            }
        }
        drop(self.bindings.take_socket());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::telemetry::example::{self, Example};

    fn open(text: &str) -> Result<Option<Server>, SettingError> {
        Server::open(&toml::from_str(text).unwrap())
    }

    #[test]
    fn what_is_configured_is_opened_and_described() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "0123456789abcdef").unwrap();
        let token = format!("token_file = '{}'\n", token.display());
        let (listen, socket) = ("listen = '127.0.0.1:8088'\n", "socket = '/run/x.sock'\n");
        let off = "socket = 'off'\n";
        for (text, described) in [
            (off.to_owned(), None),
            (format!("{off}{token}"), None),
            (format!("{off}{listen}"), Some("http://127.0.0.1:8088/")),
            (format!("{off}{listen}{token}"), Some("http://127.0.0.1:8088/ with a token")),
            (socket.to_owned(), Some("/run/x.sock")),
            (format!("{socket}{listen}"), Some("http://127.0.0.1:8088/, /run/x.sock")),
        ] {
            let server = open(&text).unwrap();
            assert_eq!(server.map(|server| server.describe()).as_deref(), described, "{text}");
        }
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let [certificate, key] =
            [("c", made.cert.pem()), ("k", made.signing_key.serialize_pem())].map(|(name, text)| {
                std::fs::write(folder.path().join(name), text).unwrap();
                folder.path().join(name)
            });
        let tls = format!("tls_certificate = '{}'\ntls_key = '{}'\n", certificate.display(), key.display());
        let server = open(&format!("{off}{listen}{token}{tls}")).unwrap().unwrap();
        assert_eq!(server.describe(), "https://127.0.0.1:8088/ with a token");
        let missing = |key| open(&format!("{listen}{off}{key} = '/nonexistent'\ntls_key = '/nonexistent'\n"));
        assert_eq!(open(&format!("{listen}token_file = '/nonexistent'\n")).unwrap_err().key, "http.token_file");
        assert_eq!(missing("tls_certificate").unwrap_err().key, "http.tls_certificate");
        assert!(open(&format!("{off}tls_key = '/x'\ntls_certificate = '/x'\n")).unwrap().is_none());
    }

    fn status(mut stream: impl std::io::Read + std::io::Write, authorization: &str) -> String {
        let request = format!("GET /api/v1/state HTTP/1.0\r\nHost: localhost\r\n{authorization}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    }

    #[test]
    fn address_and_socket_are_served_side_by_side_and_left_with_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let [token, socket] = ["token", "socket"].map(|name| folder.path().join(name));
        std::fs::write(&token, "0123456789abcdef").unwrap();
        let text = format!(
            "listen = '127.0.0.1:0'\nsocket = '{}'\ntoken_file = '{}'\nmax_connections = 1\n",
            socket.display(),
            token.display()
        );
        let services = Services { observed: Arc::new(Example(example::state())), gallery: None, predictor: None };
        let serving = open(&text).unwrap().unwrap().start(services, &Shutdown::default()).unwrap();
        let address = serving.address().unwrap();
        let (tcp, unix) = (|| TcpStream::connect(address), || UnixStream::connect(&socket));
        assert_eq!(status(tcp().unwrap(), ""), "401");
        assert_eq!(status(tcp().unwrap(), "Authorization: Bearer 0123456789abcdef\r\n"), "200");
        // It needs no token, and has places of its own.
        let mut others: Vec<UnixStream> = (0..SOCKET_CONNECTIONS).map(|_| unix().unwrap()).collect();
        assert_eq!(status(tcp().unwrap(), ""), "401");
        for other in others.drain(..SOCKET_CONNECTIONS / 2) {
            assert_eq!(status(other, ""), "200");
        }
        drop(serving);
        assert!(unix().is_err() && !socket.exists());
        // A drop doesn't wait for a thread that has no time.
        let start = std::time::Instant::now();
        while tcp().is_ok() {
            assert!(start.elapsed() < Duration::from_secs(60), "it still listens");
        }
        for mut other in others {
            assert_eq!(other.read(&mut [0]).unwrap(), 0, "cut");
        }
    }

    #[test]
    fn a_shutdown_ends_it_though_nobody_drops_it() {
        let services = Services { observed: Arc::new(Example(example::state())), gallery: None, predictor: None };
        let shutdown = Shutdown::default();
        let serving =
            open("listen = '127.0.0.1:0'\nsocket = 'off'\n").unwrap().unwrap().start(services, &shutdown).unwrap();
        let address = serving.address().unwrap();
        let mut idle = TcpStream::connect(address).unwrap();
        shutdown.pull();
        assert_eq!(idle.read(&mut [0]).unwrap_or_default(), 0);
        serving.ended.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(TcpStream::connect(address).is_err());
    }
}
