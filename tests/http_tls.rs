//! TLS of the real binary, with certificates made here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs::Permissions;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertifiedKey, KeyPair};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, Error, RootCertStore, StreamOwned};

use support::http::{serve, token_file, Reply, Web};
use support::{colours, finish, run, LIMIT};

/// A certificate of one's own for `name`, in two files.
struct Own {
    folder: tempfile::TempDir,
    der: CertificateDer<'static>,
}

fn own(name: &str) -> Own {
    let own = Own { folder: tempfile::tempdir().unwrap(), der: Vec::new().into() };
    own.renewed(name)
}

impl Own {
    fn renewed(mut self, name: &str) -> Self {
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        self.write(&cert.pem(), &signing_key);
        self.der = cert.der().clone();
        self
    }

    fn write(&self, certificate: &str, key: &KeyPair) {
        std::fs::write(self.path("certificate.pem"), certificate).unwrap();
        std::fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
        std::fs::set_permissions(self.path("key.pem"), Permissions::from_mode(0o600)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self) -> [String; 2] {
        let path = |name| self.path(name).display().to_string();
        [format!("http.tls_certificate={}", path("certificate.pem")), format!("http.tls_key={}", path("key.pem"))]
    }

    /// Asks `web` for `target` as a client that trusts this certificate alone.
    fn ask(&self, web: &Web, target: &str, fields: &str) -> Result<Reply, String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("camera.example").unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).map_err(|error: Error| error.to_string())?;
        let mut socket = web.connect();
        while client.is_handshaking() {
            client.complete_io(&mut socket).map_err(|error| error.to_string())?;
        }
        let mut stream = StreamOwned::new(client, socket);
        let request = format!("GET {target} HTTP/1.1\r\nHost: camera.example\r\n{fields}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        Ok(Reply::read(stream))
    }
}

/// With a token, so that any name is served.
fn serve_with(own: &Own) -> Web {
    let token = token_file(own.folder.path(), "correct-horse-battery-staple");
    let [certificate, key] = own.settings();
    serve([certificate, key, format!("http.token_file={token}")])
}

#[test]
fn state_comes_over_tls_with_a_token() {
    let own = own("camera.example");
    let web = serve_with(&own);
    assert!(web.running.stderr.text().contains("https://"), "{}", web.running.stderr.text());
    assert_eq!(own.ask(&web, "/livez", "").unwrap().status, 200);
    own.ask(&web, "/api/v1/state", "").unwrap().is_problem(401, []);
    let state = own.ask(&web, "/api/v1/state", "Authorization: Bearer correct-horse-battery-staple\r\n").unwrap();
    assert!(state.json()["program"]["pid"].is_u64());
    // A large answer too, in many records.
    let long = own.ask(&web, "/api/v1/openapi.json", "Authorization: Bearer correct-horse-battery-staple\r\n").unwrap();
    assert_eq!(long.body.len().to_string(), long.field("content-length").unwrap());
    let before = web.running.stdout.count();
    web.running.stdout.wait_for_count(before + 5);
}

#[test]
fn who_speaks_plain_http_is_told() {
    let own = own("camera.example");
    let web = serve_with(&own);
    web.get("/livez").is_problem(400, ["https://"]);
    // Nobody else is held up by what is no TLS, or never goes on.
    let mut half = web.connect();
    half.write_all(b"\x16\x03\x01\x02").unwrap();
    let mut wrong = web.connect();
    wrong.write_all(b"\x16\x03\x01\0\x05hello hello hello").unwrap();
    let silent: Vec<TcpStream> = (0..200).map(|_| web.connect()).collect();
    assert_eq!(own.ask(&web, "/livez", "").unwrap().status, 200);
    let start = Instant::now();
    Reply::read(half);
    let took = start.elapsed();
    assert!((Duration::from_secs(1)..LIMIT).contains(&took), "a handshake ends after 10 s, or for a new one: {took:?}");
    drop((wrong, silent));
}

#[test]
fn a_renewed_certificate_is_read_and_a_broken_one_is_not() {
    let first = own("camera.example");
    let web = serve_with(&first);
    assert_eq!(first.ask(&web, "/livez", "").unwrap().status, 200);
    std::fs::write(first.path("certificate.pem"), "half writ").unwrap();
    let start = Instant::now();
    while !web.running.stderr.text().contains("stays in use") {
        assert!(start.elapsed() < LIMIT, "{}", web.running.stderr.text());
        assert_eq!(first.ask(&web, "/livez", "").unwrap().status, 200);
        std::thread::sleep(Duration::from_millis(500));
    }
    let second = first.renewed("camera.example");
    let start = Instant::now();
    while second.ask(&web, "/livez", "").is_err() {
        assert!(start.elapsed() < LIMIT, "{}", web.running.stderr.text());
        std::thread::sleep(Duration::from_millis(500));
    }
    web.running.stderr.wait_for("read again");
    let said = web.running.stderr.text();
    assert_eq!(said.matches("stays in use").count(), 1, "{said}");
}

#[test]
fn files_that_cannot_be_used_end_the_start_with_what_to_do() {
    let (one, other) = (own("camera.example"), own("camera.example"));
    let ends = |certificate: &str, key: &str| {
        let mut command = run(&colours(), "pattern:320x240");
        command.args(["--set", "http.listen=127.0.0.1:0"]);
        command.args(["--set", &format!("http.tls_certificate={certificate}")]);
        command.args(["--set", &format!("http.tls_key={key}")]);
        finish(command).expect(78)
    };
    let path = |own: &Own, name: &str| own.path(name).display().to_string();
    let (certificate, key) = (path(&one, "certificate.pem"), path(&one, "key.pem"));
    ends("/nonexistent", &key).says(["http.tls_certificate /nonexistent", "PEM"]);
    ends(&certificate, "/nonexistent").says(["http.tls_key /nonexistent", "PEM"]);
    ends(&key, &key).says(["http.tls_certificate", "no certificate"]);
    ends(&certificate, &certificate).says(["http.tls_key", "private key"]);
    ends(&certificate, &path(&other, "key.pem")).says(["http.tls_key", "can't be used with"]);
}

/// The first message of a TLS client that asks for a server called `name`.
fn client_hello(name: &str) -> Vec<u8> {
    let with_length = |bytes: &[u8], width: usize| [&bytes.len().to_be_bytes()[8 - width..], bytes].concat();
    let names = with_length(&[vec![0], with_length(name.as_bytes(), 2)].concat(), 2);
    // server_name, supported_groups, signature_algorithms
    let groups = with_length(&[0, 29, 0, 23], 2);
    let algorithms = with_length(&[4, 3, 8, 4, 4, 1], 2);
    let extension = |kind: u16, bytes: &[u8]| [kind.to_be_bytes().to_vec(), with_length(bytes, 2)].concat();
    let extensions = [extension(0, &names), extension(10, &groups), extension(13, &algorithms)].concat();
    let hello = [
        vec![3, 3],
        vec![7; 32],
        vec![0],
        with_length(&[0xc0, 0x2b, 0xc0, 0x2f], 2),
        vec![1, 0],
        with_length(&extensions, 2),
    ];
    let message = [vec![1], with_length(&hello.concat(), 3)].concat();
    [vec![0x16, 3, 1], with_length(&message, 2)].concat()
}

#[test]
fn strangers_speak_neither_in_the_log_nor_in_its_last_lines() {
    let own = own("camera.example");
    let web = serve_with(&own);
    for number in 0..100 {
        let name = ["10.9.8.7", "forged_by_stranger!", "a b", "\u{1b}[31m", "-"][number % 5];
        let mut stream = web.connect();
        stream.write_all(&client_hello(name)).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        drop(Reply::read(stream));
    }
    let state = own.ask(&web, "/api/v1/state", "Authorization: Bearer correct-horse-battery-staple\r\n").unwrap();
    let events = state.json()["events"].to_string();
    let log = web.running.stderr.text();
    // They were there, and that is all that is told of them, once a minute.
    assert!((1..=3).contains(&log.matches("lines not shown").count()), "{log}");
    for text in [&events, &log] {
        for word in ["forged_by_stranger", "SNI", "WARN"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }
    assert!(!events.contains("rustls") && events.contains("listening"), "{events}");
}

/// At the level that shows them, they are escaped and limited.
#[test]
fn at_level_debug_a_library_has_twenty_lines_a_minute() {
    let own = own("camera.example");
    let [certificate, key] = own.settings();
    let web = serve([certificate, key, "log.level=debug".to_owned()]);
    for _ in 0..100 {
        let mut stream = web.connect();
        stream.write_all(&client_hello("10.9.8.7")).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        drop(Reply::read(stream));
    }
    let log = web.running.stderr.text();
    let shown = log.matches("SNI").count();
    assert!((1..=60).contains(&shown), "{shown}: {log}");
    assert!(!log.contains("WARN"), "{log}");
}
