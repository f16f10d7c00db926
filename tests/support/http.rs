//! A running program that serves HTTP, and a client that sends exactly the bytes it is given.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{colours, run, Running, LIMIT};

/// A running program and where it listens.
pub struct Web {
    /// The program.
    pub running: Running,
    /// Its address.
    pub address: SocketAddr,
}

/// The colour model on the test picture at 20 frames per second, with its results on standard output, listening on a free port.
#[track_caller]
pub fn serve<S: AsRef<str>>(settings: impl IntoIterator<Item = S>) -> Web {
    let mut command = run(&colours(), "pattern:320x240");
    command.args(["--set", "camera.rate=20", "--set", "http.listen=127.0.0.1:0", "--set", "http.socket=off"]);
    for setting in settings {
        command.args(["--set", setting.as_ref()]);
    }
    Web::start(command)
}

impl Web {
    /// Starts `command`, and waits until it listens.
    #[track_caller]
    pub fn start(command: Command) -> Self {
        let running = Running::start(command);
        let line = running.stderr.wait_for("http: listening on http");
        let address = line.split("://").nth(1).unwrap().trim_end().trim_end_matches('/').parse().unwrap();
        Self { running, address }
    }

    /// A connection whose reads and writes have a limit.
    #[track_caller]
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connect");
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Sends `bytes` and reads to the end.
    #[track_caller]
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> Reply {
        exchange(self.connect(), bytes)
    }

    /// One request without a body, with these header lines.
    #[track_caller]
    pub fn ask(&self, method: &str, target: &str, lines: &[&str]) -> Reply {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let host = if lines.contains("Host:") { String::new() } else { format!("Host: {}\r\n", self.address) };
        self.send(format!("{method} {target} HTTP/1.1\r\n{host}{lines}Connection: close\r\n\r\n"))
    }

    /// `GET`
    #[track_caller]
    pub fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, &[])
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> u64 {
        super::held::held(&self.running).rss_kib
    }

    /// Waits until results come.
    #[track_caller]
    pub fn ready(self) -> Self {
        let start = Instant::now();
        while self.get("/readyz").status != 200 {
            assert!(start.elapsed() < LIMIT, "not ready: {}", self.running.stderr.text());
            std::thread::sleep(Duration::from_millis(50));
        }
        self
    }

    /// The same where a token is needed.
    #[track_caller]
    pub fn ready_with(self, token: &str) -> Self {
        let start = Instant::now();
        while self.ask("GET", "/readyz", &[&format!("Authorization: Bearer {token}")]).status != 200 {
            assert!(start.elapsed() < LIMIT, "not ready: {}", self.running.stderr.text());
            std::thread::sleep(Duration::from_millis(50));
        }
        self
    }

    /// Fails unless it still serves, results still come, and it stops as it should.
    #[track_caller]
    pub fn ends_well(self) {
        let lines = self.running.stdout.count();
        assert_eq!(self.get("/livez").status, 200);
        self.running.stdout.wait_for_count(lines + 5);
        let (finished, took) = self.running.stop(super::Signal::TERM);
        finished.expect(0);
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}

/// Sends `bytes` over `stream` and reads to the end.
#[track_caller]
pub fn exchange(mut stream: impl Read + Write, bytes: impl AsRef<[u8]>) -> Reply {
    // The answer may come, and the connection close, before all is sent.
    let _ = stream.write_all(bytes.as_ref());
    Reply::read(stream)
}

/// An answer, or several.
#[derive(Debug)]
pub struct Reply {
    /// The status; 0 where the connection was closed without an answer.
    pub status: u16,
    /// Status line and header fields, names in small letters.
    pub head: String,
    /// What comes after the first head.
    pub body: Vec<u8>,
}

impl Reply {
    /// Reads to the end.
    #[track_caller]
    pub fn read(mut stream: impl Read) -> Self {
        let mut bytes = Vec::new();
        let mut piece = [0; 65536];
        loop {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => bytes.extend_from_slice(&piece[..count]),
                Err(error) if [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof].contains(&error.kind()) => break,
                Err(error) => panic!("no end of the answer: {error}; so far {}", String::from_utf8_lossy(&bytes)),
            }
        }
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |end| end + 4);
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head, body: bytes[end..].to_vec() }
    }

    /// The value of a field, whose name is in small letters.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails unless this is a problem with `status` whose detail has all of `words`.
    #[track_caller]
    pub fn is_problem<const N: usize>(&self, status: u16, words: [&str; N]) -> &Self {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.text());
        assert_eq!(self.field("content-type"), Some("application/problem+json"), "{}", self.head);
        let problem = self.json();
        assert_eq!(problem["status"], status);
        let detail = problem["detail"].as_str().unwrap();
        for word in words {
            assert!(detail.contains(word), "no {word:?} in {detail:?}");
        }
        self
    }
}

/// A file with a token, readable by its owner alone.
pub fn token_file(folder: &Path, token: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("token");
    std::fs::write(&path, format!("{token}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}
