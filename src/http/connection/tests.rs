//! Connections over pipes in memory, at a clock and with timers that move only when the test moves them: each limit by
//! itself, to the second.

use base::clock::{Clock, ManualClock};
use camera::jpeg::JpegDecoder;
use model::LabelMap;
use pixels::frame::Size;
use tokio::io::{duplex, DuplexStream};
use tokio::time::sleep;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::super::access::Sites;
use super::*;
use crate::config::Several;
use crate::publish::view::{self, Gallery};
use crate::publish::Sink;
use crate::scene::Outcome;
use crate::telemetry::example::{self, Example};
use crate::telemetry::state::{History, Observe, StageBuckets, State};

/// What the system takes for a peer that doesn't read: less than the head of an answer.
const PIPE: usize = 256;
/// With paused timers nothing is left to be done when it has passed.
const MOMENT: Duration = Duration::from_millis(1);
/// An answer that the pipe can't hold.
const LONG: &str = "GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
const SHORT: &str = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";

impl Stream for DuplexStream {
    fn prepare(&self) {}

    async fn first_byte(&self) -> io::Result<Option<u8>> {
        Ok(Some(TLS_HANDSHAKE))
    }
}

/// A host without pictures that serves whoever comes without a token.
pub(in crate::http) fn host(places: usize) -> Host {
    let bench = Bench::with(places, Arc::new(Example(example::state())), None);
    let Ok(host) = Arc::try_unwrap(bench.host) else { unreachable!("nobody else has it") };
    host
}

struct Bench {
    clock: Arc<ManualClock>,
    host: Arc<Host>,
}

impl Bench {
    fn new() -> Self {
        Self::with(8, Arc::new(Example(example::state())), None)
    }

    fn with(places: usize, observed: Arc<dyn Observe>, tls: Option<Tls>) -> Self {
        let clock = Arc::new(ManualClock::default());
        let services = Services { observed, gallery: None, predictor: None };
        let connections = Connections::new(places, clock.clone());
        let (access, framing) = (Access::local(Sites::default()), Framing::by(&Several::default()));
        Self { host: Arc::new(Host { services, access, connections, tls, framing }), clock }
    }

    /// The same with pictures.
    fn showing(self, gallery: Arc<Gallery>) -> Self {
        let connections = Arc::clone(&self.host.connections);
        let services = Services { gallery: Some(gallery), ..self.host.services.clone() };
        let (access, framing) = (Access::local(Sites::default()), self.host.framing.clone());
        Self { host: Arc::new(Host { services, access, connections, tls: None, framing }), ..self }
    }

    /// The peer's end of a new connection.
    fn connect(&self) -> DuplexStream {
        let (ours, theirs) = duplex(PIPE);
        admit(theirs, None, &self.host);
        ours
    }

    /// A connection that has sent `bytes`.
    async fn sent(&self, bytes: &str) -> DuplexStream {
        let mut peer = self.connect();
        send(&mut peer, bytes).await;
        peer
    }

    async fn after(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.host.connections.sweep();
        sleep(MOMENT).await;
    }

    /// The seconds after which `peer`, which does nothing, is cut off.
    async fn lives(&self, peer: &mut DuplexStream) -> Option<u64> {
        for second in 1..=300 {
            self.after(1).await;
            if is_gone(peer).await {
                return Some(second);
            }
        }
        None
    }
}

async fn send(peer: &mut (impl AsyncWrite + Unpin), bytes: &str) {
    peer.write_all(bytes.as_bytes()).await.unwrap();
    peer.flush().await.unwrap();
    sleep(MOMENT).await;
}

/// Whether the program has left the connection, and not only ended its side of it.
async fn is_gone(peer: &mut DuplexStream) -> bool {
    matches!(timeout(MOMENT, peer.write(&[])).await, Ok(Err(_)))
}

/// All that can be read now.
async fn bytes_taken(peer: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    while let Ok(Ok(1..)) = timeout(MOMENT, peer.read_buf(&mut all)).await {}
    all
}

async fn taken(peer: &mut (impl AsyncRead + Unpin)) -> String {
    String::from_utf8_lossy(&bytes_taken(peer).await).into_owned()
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_ends_after_30_seconds_which_every_answer_begins_anew() {
    let bench = Bench::new();
    let mut peer = bench.connect();
    assert_eq!(bench.lives(&mut peer).await, Some(30));
    let mut peer = bench.connect();
    for _ in 0..3 {
        bench.after(29).await;
        send(&mut peer, SHORT).await;
        assert!(taken(&mut peer).await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
    assert_eq!(bench.lives(&mut peer).await, Some(30));
}

#[tokio::test(start_paused = true)]
async fn a_head_has_10_seconds_from_its_first_byte_however_often_another_comes() {
    let bench = Bench::new();
    let mut peer = bench.connect();
    bench.after(20).await;
    for byte in "GET /livez".split_inclusive(|_| true) {
        assert_eq!(taken(&mut peer).await, "");
        send(&mut peer, byte).await;
        bench.after(1).await;
    }
    let told = taken(&mut peer).await;
    let (head, body) = told.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        head,
        format!(
            "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
             retry-after: 1\r\ncache-control: no-store\r\nconnection: close",
            body.len()
        )
    );
    assert!(body.contains("\"status\":408") && body.contains("the request did not come in time"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn after_the_last_answer_a_peer_that_does_not_close_is_read_for_2_seconds() {
    let bench = Bench::new();
    let mut peer = bench.sent("GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(taken(&mut peer).await.ends_with("\r\n\r\nok\n"));
    sleep(Duration::from_millis(1900)).await;
    // What it still sends is read, so that it has the answer by the time that it could get a reset.
    peer.write_all(&[0; 10 * PIPE]).await.unwrap();
    assert!(!is_gone(&mut peer).await);
    sleep(Duration::from_millis(200)).await;
    assert!(is_gone(&mut peer).await);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_of_its_answer_is_cut_after_30_seconds() {
    let bench = Bench::new();
    let mut peer = bench.sent(LONG).await;
    assert_eq!(bench.lives(&mut peer).await, Some(30));
    assert_eq!(taken(&mut peer).await.len(), PIPE, "what the pipe held, and no farewell");
    // The same where many short answers have filled the pipe.
    let mut peer = bench.sent(&SHORT.repeat(4)).await;
    assert_eq!(bench.lives(&mut peer).await, Some(30));
    // A byte begins the time anew.
    let mut peer = bench.sent(LONG).await;
    bench.after(29).await;
    peer.read_exact(&mut [0]).await.unwrap();
    sleep(MOMENT).await;
    assert_eq!(bench.lives(&mut peer).await, Some(30));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_a_byte_a_second_has_120_seconds_for_its_answer() {
    // An answer that waits behind another one has its end too.
    for requests in [LONG.to_owned(), LONG.repeat(2)] {
        let bench = Bench::new();
        let mut peer = bench.connect();
        bench.after(25).await;
        send(&mut peer, &requests).await;
        for second in 1..=120 {
            assert!(!is_gone(&mut peer).await, "after {second} seconds");
            peer.read_exact(&mut [0]).await.unwrap();
            sleep(MOMENT).await;
            bench.after(1).await;
        }
        assert!(is_gone(&mut peer).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_not_cut_and_its_time_does_not_count_for_its_answer() {
    let (_sink, _gate, gallery) =
        view::open(&crate::config::Http::default(), Arc::new(ManualClock::default())).unwrap();
    let bench = Bench::new().showing(gallery);
    // No camera is there, so a still picture is waited for, and the stream shows nothing.
    let mut peer = bench.sent("GET /api/v1/frame.jpg HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut viewer = bench.sent("GET /stream.mjpg HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(taken(&mut viewer).await.starts_with("HTTP/1.1 200 OK\r\n"));
    for _ in 0..200 {
        bench.after(1).await;
        assert!(!is_gone(&mut peer).await && !is_gone(&mut viewer).await);
    }
    assert_eq!(taken(&mut peer).await, "");
    sleep(Duration::from_secs(5)).await;
    let told = taken(&mut peer).await;
    assert!(
        told.starts_with("HTTP/1.1 503 Service Unavailable\r\n") && told.contains("\r\nretry-after: 1\r\n"),
        "{told}"
    );
    assert!(!is_gone(&mut peer).await);
    assert_eq!(bench.lives(&mut peer).await, Some(30));
    // Its boundary was taken, and there is nothing else to be taken.
    bench.after(3600).await;
    assert!(!is_gone(&mut viewer).await);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_answers_that_have_an_end_and_for_nothing_else() {
    let (_sink, _gate, gallery) =
        view::open(&crate::config::Http::default(), Arc::new(ManualClock::default())).unwrap();
    let bench = Bench::new().showing(gallery);
    let mut others = [
        bench.connect(),
        bench.sent("GET /li").await,
        bench.sent("GET /stream.mjpg HTTP/1.1\r\nHost: x\r\n\r\n").await,
    ];
    let mut answered = bench.sent(&format!("{LONG}{SHORT}")).await;
    bench.host.connections.close();
    sleep(MOMENT).await;
    for peer in &mut others {
        assert!(is_gone(peer).await);
    }
    assert!(!is_gone(&mut answered).await);
    let text = taken(&mut answered).await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}", body.len())), "whole, and the only one: {head}");
    assert!(is_gone(&mut answered).await);
}

#[tokio::test(start_paused = true)]
async fn one_whose_place_is_needed_goes_at_once_also_in_its_last_seconds() {
    let bench = Bench::with(1, Arc::new(Example(example::state())), None);
    let mut told = bench.sent("GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(taken(&mut told).await.ends_with("ok\n") && !is_gone(&mut told).await);
    let mut idle = bench.connect();
    sleep(MOMENT).await;
    assert!(is_gone(&mut told).await && !is_gone(&mut idle).await);
    let mut busy = bench.sent(LONG).await;
    assert!(is_gone(&mut idle).await);
    // Nobody gives way to the next one, which is told so, unless it only asks whether the program lives.
    let mut peer = bench.sent("GET /api/v1/state HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let refused = taken(&mut peer).await;
    assert!(refused.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{refused}");
    assert!(refused.contains("http.max_connections") && refused.contains("connection: close"), "{refused}");
    let lives = taken(&mut bench.sent(SHORT).await).await;
    assert!(lives.starts_with("HTTP/1.1 200 OK\r\n") && lives.contains("connection: close"), "{lives}");
    assert!(!is_gone(&mut busy).await);
    // One that takes nothing for a second does.
    bench.after(1).await;
    assert!(taken(&mut bench.sent(SHORT).await).await.ends_with("ok\n") && is_gone(&mut busy).await);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_costs_its_own_request_only() {
    struct Broken;

    impl Observe for Broken {
        fn state(&self) -> State {
            panic!("the test breaks this handler")
        }

        fn history(&self) -> History {
            example::history()
        }

        fn buckets(&self, _: &[f64]) -> Vec<StageBuckets> {
            Vec::new()
        }

        fn liveness(&self) -> Result<(), String> {
            Ok(())
        }
    }

    let bench = Bench::with(1, Arc::new(Broken), None);
    let mut peer = bench.sent("GET /api/v1/state HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let told = taken(&mut peer).await;
    assert!(told.starts_with("HTTP/1.1 500 Internal Server Error\r\n") && told.contains("its log has more"), "{told}");
    send(&mut peer, SHORT).await;
    assert!(taken(&mut peer).await.ends_with("ok\n"));
}

/// How much of the first pixel of a JPEG is the class's colour, in percent; the rest is the grey of [`publish`].
fn colour(jpeg: &[u8]) -> i32 {
    let (_, pixels) = JpegDecoder::new().unwrap().decode_rgb(jpeg).unwrap();
    let (grey, colour) = (100, LabelMap::new(Some(2), None).unwrap().color(0).map(i32::from));
    // By the channel that differs most.
    let channel = (0..3).max_by_key(|&channel| (colour[channel] - grey).abs()).unwrap();
    (i32::from(pixels[channel]) - grey) * 100 / (colour[channel] - grey)
}

#[tokio::test(start_paused = true)]
async fn every_path_gives_its_own() {
    let clock = Arc::new(ManualClock::default());
    let (mut sink, _gate, gallery) = view::open(&crate::config::Http::default(), clock.clone()).unwrap();
    let with_pictures = Bench::new().showing(Arc::clone(&gallery));
    for (path, kind, body) in [
        ("/", "text/html; charset=utf-8", "<!doctype html>"),
        ("/livez", "text/plain; charset=utf-8", "ok\n"),
        ("/readyz", "text/plain; charset=utf-8", "ready\n"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8", "# HELP pspnetd_build_info "),
        ("/api/v1/state", "application/json", "{\"program\":"),
        ("/api/v1/history", "application/json", "{\"times\":"),
        ("/api/v1/openapi.json", "application/json", "{\n  \"openapi\":"),
        ("/api/v1/mask.png", "image/png", "\u{FFFD}PNG\r\n"),
        ("/api/v1/frame.jpg", "image/jpeg", "0"),
        ("/api/v1/overlay.jpg", "image/jpeg", "50"),
        ("/api/v1/overlay.jpg?opacity=1", "image/jpeg", "100"),
        ("/stream.mjpg", "multipart/x-mixed-replace; boundary=pspnetd-next-picture", "--pspnetd-next-picture\r\n"),
    ] {
        let request = format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n");
        let mut peer = with_pictures.sent(&request).await;
        let is_picture = kind.starts_with("image/");
        if is_picture {
            publish(sink.as_mut(), &clock, &gallery);
        }
        let told = bytes_taken(&mut peer).await;
        let end = told.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let (head, rest) = (String::from_utf8_lossy(&told[..end]), &told[end + 4..]);
        assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{path}: {head}");
        assert!(format!("{head}\r\n").contains(&format!("\r\ncontent-type: {kind}\r\n")), "{path}: {head}");
        if is_picture {
            let second = clock.wall().as_second();
            let fields = format!(
                "\r\ncache-control: no-store\r\nx-sequence: {}\r\nx-timestamp: {second}.000000\r\n",
                second + 100
            );
            assert!(head.contains(&fields), "{path}: {head}");
        }
        match body.parse::<i32>() {
            Ok(percent) => assert!((colour(rest) - percent).abs() < 10, "{path}: {} %", colour(rest)),
            Err(_) => assert!(String::from_utf8_lossy(rest).starts_with(body), "{path}"),
        }
        // Where pictures are switched off.
        let told = taken(&mut Bench::new().sent(&request).await).await;
        let is_off = told.contains(" 404 Not Found\r\n") && told.contains("http.pictures = false");
        assert_eq!(is_off, is_picture || path == "/stream.mjpg", "{path}: {told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_of_2048_bytes_is_read_and_a_longer_one_is_not() {
    let bench = Bench::new();
    for (length, status) in [(2048, "200 OK"), (2049, "414 URI Too Long")] {
        let target = format!("/livez?{}", "x".repeat(length - "/livez?".len()));
        let mut peer = bench.connect();
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        peer.write_all(request.as_bytes()).await.unwrap();
        let told = taken(&mut peer).await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{length}: {told}");
    }
}

/// A certificate of its own, and a client that trusts it.
fn tls() -> (Tls, TlsConnector, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = |name: &str, text: String| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name).to_str().unwrap().to_owned()
    };
    let (certificate, key) = (file("c.pem", made.cert.pem()), file("k.pem", made.signing_key.serialize_pem()));
    let tls = Tls::read(&certificate, &key).unwrap().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(tokio_rustls::rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (tls, TlsConnector::from(Arc::new(client)), folder)
}

#[tokio::test(start_paused = true)]
async fn the_same_limits_hold_for_tls_and_a_handshake_has_10_seconds() {
    let (tls, connector, _folder) = tls();
    let bench = Bench::with(8, Arc::new(Example(example::state())), Some(tls));
    let open = async || -> TlsStream<DuplexStream> {
        let stream = connector.connect(ServerName::try_from("localhost").unwrap(), bench.connect()).await.unwrap();
        // The last flight is the client's.
        sleep(MOMENT).await;
        stream
    };
    let mut silent = bench.connect();
    assert_eq!(bench.lives(&mut silent).await, Some(30));
    let mut half = bench.connect();
    half.write_all(b"\x16\x03\x01\x02\0\x01").await.unwrap();
    sleep(MOMENT).await;
    for second in 1..=10 {
        assert!(!is_gone(&mut half).await, "after {second} seconds");
        half.write_all(b"x").await.unwrap();
        bench.after(1).await;
    }
    assert!(is_gone(&mut half).await);
    assert_eq!(taken(&mut half).await, "", "there is no way to say it");
    let mut idle = open().await;
    assert_eq!(bench.lives(idle.get_mut().0).await, Some(30));
    let mut peer = open().await;
    bench.after(25).await;
    send(&mut peer, SHORT).await;
    assert!(taken(&mut peer).await.ends_with("ok\n"));
    send(&mut peer, LONG).await;
    assert_eq!(bench.lives(peer.get_mut().0).await, Some(30));
}

#[tokio::test(start_paused = true)]
async fn where_tls_is_spoken_nobody_is_refused_in_plain_text() {
    let (tls, connector, _folder) = tls();
    let bench = Bench::with(1, Arc::new(Example(example::state())), Some(tls));
    let client = |stream| connector.connect(ServerName::try_from("localhost").unwrap(), stream);
    let mut busy = client(bench.connect()).await.unwrap();
    send(&mut busy, LONG).await;
    let mut guest = client(bench.connect()).await.unwrap();
    send(&mut guest, "GET /api/v1/state HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let told = taken(&mut guest).await;
    assert!(told.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{told}");
    drop(guest);
    // Where those with a token have every place, there is none to shake hands in.
    let connections = &bench.host.connections;
    let holder = || {
        let place = connections.admit()?;
        connections.has_shown_token(&place.watch);
        place.watch.has_request();
        Some(place)
    };
    let _holders: Vec<_> = std::iter::from_fn(holder).collect();
    let mut refused = bench.connect();
    assert_eq!((taken(&mut refused).await.as_str(), is_gone(&mut refused).await), ("", true));
}

/// Publishes a result with its picture, and waits until it is encoded for those who watch.
fn publish(sink: &mut dyn Sink, clock: &ManualClock, gallery: &Gallery) {
    clock.advance(Duration::from_secs(1));
    let before = gallery.encoded();
    let mut outcome = Outcome::example().sized(Size::new(16, 16), 0, Some(100));
    (outcome.sequence, outcome.time) = (clock.wall().as_second().unsigned_abs() + 100, clock.wall());
    sink.publish(&outcome);
    let start = std::time::Instant::now();
    while gallery.encoded() == before {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing is encoded");
        std::thread::sleep(MOMENT);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_viewer_has_one_part_under_way_however_small_and_then_gets_the_newest() {
    let clock = Arc::new(ManualClock::default());
    let (mut sink, _gate, gallery) = view::open(&crate::config::Http::default(), clock.clone()).unwrap();
    let bench = Bench::new().showing(Arc::clone(&gallery));
    let mut viewer = bench.sent("GET /stream.mjpg?layer=frame HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut show = async |count: u32| {
        for _ in 0..count {
            publish(sink.as_mut(), &clock, &gallery);
            sleep(MOMENT).await;
        }
    };
    let times = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix("X-Timestamp: ")).map(str::to_owned).collect()
    };
    // While the answer's head and the first boundary are on their way no picture is taken.
    show(6).await;
    assert_eq!(times(&taken(&mut viewer).await), ["6.000000"]);
    // Part of the first goes into the pipe, and the rest waits.
    show(6).await;
    assert_eq!(times(&taken(&mut viewer).await), ["7.000000", "12.000000"]);
    // One that reads gets every one of them.
    for second in 13..16 {
        show(1).await;
        assert_eq!(times(&taken(&mut viewer).await), [format!("{second}.000000")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_takes_nothing_is_cut_after_30_seconds_and_one_that_trickles_is_not() {
    let clock = Arc::new(ManualClock::default());
    let (mut sink, _gate, gallery) = view::open(&crate::config::Http::default(), clock.clone()).unwrap();
    let bench = Bench::new().showing(Arc::clone(&gallery));
    let mut viewer = bench.sent("GET /stream.mjpg?layer=frame HTTP/1.1\r\nHost: x\r\n\r\n").await;
    taken(&mut viewer).await;
    publish(sink.as_mut(), &clock, &gallery);
    sleep(MOMENT).await;
    for _ in 0..200 {
        bench.after(1).await;
        assert!(!is_gone(&mut viewer).await);
        viewer.read_exact(&mut [0]).await.unwrap();
        sleep(MOMENT).await;
    }
    assert_eq!(bench.lives(&mut viewer).await, Some(30));
}
