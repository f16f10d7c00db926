//! The thread `http`: opened from the configuration, started with what it shows, stopped with the program.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{bounded, Receiver};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::access::Access;
use super::connection::Host;
use super::connections::Connections;
use super::listener::{self, Binder, Bound};
use super::socket::{socket_path, SocketFile};
use super::tls::Tls;
use super::token::Token;
use super::{HttpError, Predictor};
use crate::clock::SystemClock;
use crate::config::{self, Listen};
use crate::priority;
use crate::publish::view::Gallery;
use crate::shutdown::{Shutdown, TICK};
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
pub struct Services {
    /// The program's state.
    pub observed: Arc<dyn Observe>,
    /// What the camera sees; None where that isn't shown.
    pub gallery: Option<Arc<Gallery>>,
    /// Runs pictures that are sent; None where none are taken.
    pub predictor: Option<Arc<Predictor>>,
}

/// A server that is ready to start: its token and its certificate are read.
#[derive(Debug)]
pub struct Server {
    listen: Option<SocketAddr>,
    socket: Option<PathBuf>,
    token: Option<Token>,
    tls: Option<Tls>,
    max_connections: usize,
}

impl Server {
    /// Reads the token and the certificate. None where neither an address nor a socket is configured.
    ///
    /// # Errors
    /// A token or certificate that can't be read or used: the key, the file, and what to do.
    pub fn open(config: &config::Http) -> Result<Option<Self>, HttpError> {
        let listen = match config.listen {
            Listen::Off => None,
            Listen::At(address) => Some(address),
        };
        let socket = socket_path(&config.socket);
        if listen.is_none() && socket.is_none() {
            return Ok(None);
        }
        let token = Token::read(&config.token_file)?;
        let tls = Tls::read(&config.tls_certificate, &config.tls_key)?;
        let max_connections = usize::from(config.max_connections);
        Ok(Some(Self { listen, socket, token, tls, max_connections }))
    }

    /// What is served where, and who gets it.
    pub fn describe(&self) -> String {
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
    pub fn start(self, services: Services, shutdown: &Shutdown) -> io::Result<Serving> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::new(Shared::default());
        // The first try is made here, so that the address is known when this returns.
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let tcp = self.listen.map(|address| Binder::tcp(address, scheme, Arc::clone(&shared)).tried());
        let unix = self.socket.clone().map(|path| Binder::unix(path, Arc::clone(&shared)).tried());
        let (done, ended) = bounded(1);
        let running = Running { server: self, services, shutdown: shutdown.clone(), shared: Arc::clone(&shared) };
        let thread = thread::Builder::new().name("http".to_owned()).spawn(move || {
            priority::lower(priority::SIDE);
            running.run(&runtime, tcp, unix);
            // Drops what is left of the connections.
            drop(runtime);
            let _ = done.send(());
        })?;
        Ok(Serving { shared, ended, thread: Some(thread) })
    }
}

/// What the thread and its owner share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    stop: Notify,
    pub(super) address: OnceLock<SocketAddr>,
    pub(super) socket: Mutex<Option<SocketFile>>,
}

struct Running {
    server: Server,
    services: Services,
    shutdown: Shutdown,
    shared: Arc<Shared>,
}

impl Running {
    fn run(self, runtime: &Runtime, tcp: Option<Bound>, unix: Option<Bound>) {
        let Self { server, services, shutdown, shared } = self;
        let token = server.token.map(Arc::new);
        let clock = Arc::new(SystemClock);
        let network = Connections::new(server.max_connections, clock.clone());
        let local = Connections::new(SOCKET_CONNECTIONS, clock.clone());
        let tables = [Arc::clone(&network), Arc::clone(&local)];
        runtime.block_on(async move {
            if let Some(bound) = tcp {
                let access = Access::network(token, clock);
                let host = Host { services: services.clone(), access, connections: network, tls: server.tls };
                tokio::spawn(listener::serve(bound, host));
            }
            if let Some(bound) = unix {
                let host = Host { services, access: Access::local(), connections: local, tls: None };
                tokio::spawn(listener::serve(bound, host));
            }
            while !shutdown.is_pulled() {
                tokio::select! {
                    () = shared.stop.notified() => break,
                    () = sleep(TICK) => {}
                }
                tables.iter().for_each(|table| table.sweep());
            }
            // Nobody new; the file goes first, so that the next daemon finds its place free.
            drop(shared.take_socket());
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

impl Shared {
    fn take_socket(&self) -> Option<SocketFile> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A running server. Its drop stops it within 0.7 s, and removes the socket's file.
#[derive(Debug)]
pub struct Serving {
    shared: Arc<Shared>,
    ended: Receiver<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Serving {
    /// Where TCP connections are taken; None while the address can't be had, and where none is configured.
    pub fn address(&self) -> Option<SocketAddr> {
        self.shared.address.get().copied()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.shared.stop.notify_one();
        // Disconnected is ended as well: the thread panicked.
        if let Err(crossbeam_channel::RecvTimeoutError::Timeout) = self.ended.recv_timeout(STOP_LIMIT) {
            log::warn!("http: the thread has not answered for {} ms; leaving without it", STOP_LIMIT.as_millis());
        } else if let Some(thread) = self.thread.take() {
            if thread.join().is_err() {
                log::error!("http: the thread failed; nothing was served since then");
            }
        }
        drop(self.shared.take_socket());
    }
}
