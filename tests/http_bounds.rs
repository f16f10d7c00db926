//! What clients can't do to the program over HTTP: hold it up, fill its memory, slow its camera, or confuse it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use rustix::process::{prlimit, Pid, Resource, Rlimit};

use support::http::{exchange, serve, token_file, Reply, Web};
use support::LIMIT;

/// Memory that the program may take more than before, KiB, whatever clients do.
const MORE_MEMORY: u64 = 24 << 10;

/// Fails if memory has grown by more than it may since `before`.
#[track_caller]
fn is_bounded(web: &Web, before: u64) {
    let now = web.resident();
    assert!(now < before + MORE_MEMORY, "{before} KiB have become {now} KiB");
}

#[test]
fn what_is_no_http_gets_a_4xx_or_nothing_and_costs_nobody_else() {
    let web = serve([""; 0]).ready();
    let before = web.resident();
    let long = "x".repeat(100_000);
    let host = "Host: localhost\r\n";
    let corpus: Vec<(&str, String)> = vec![
        ("no words", "\r\n\r\n\r\n\r\n".into()),
        ("one word", "GARBAGE\r\n\r\n".into()),
        ("no version", format!("GET /livez\r\n{host}\r\n")),
        ("another version", format!("GET /livez HTTP/9.9\r\n{host}\r\n")),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()),
        ("a tab", format!("GET\t/livez\tHTTP/1.1\r\n{host}\r\n")),
        ("a method of brackets", format!("G(T /livez HTTP/1.1\r\n{host}\r\n")),
        ("a target without a slash", format!("GET livez HTTP/1.1\r\n{host}\r\n")),
        ("a space in the target", format!("GET /li vez HTTP/1.1\r\n{host}\r\n")),
        ("a NUL in the target", format!("GET /livez\0 HTTP/1.1\r\n{host}\r\n")),
        ("a NUL in a field", format!("GET /livez HTTP/1.1\r\n{host}X: a\0b\r\n\r\n")),
        ("a field without a colon", format!("GET /livez HTTP/1.1\r\n{host}nocolon\r\n\r\n")),
        ("a space before the colon", format!("GET /livez HTTP/1.1\r\n{host}X : a\r\n\r\n")),
        ("a folded field", format!("GET /livez HTTP/1.1\r\n{host}X: a\r\n b\r\n\r\n")),
        ("a field without a name", format!("GET /livez HTTP/1.1\r\n{host}: a\r\n\r\n")),
        ("a carriage return alone", format!("GET /livez HTTP/1.1\r\n{host}X: a\rb\r\n\r\n")),
        ("no length that is one", format!("POST /livez HTTP/1.1\r\n{host}Content-Length: abc\r\n\r\n")),
        ("a negative length", format!("POST /livez HTTP/1.1\r\n{host}Content-Length: -1\r\n\r\n")),
        (
            "a length that overflows",
            format!("POST /livez HTTP/1.1\r\n{host}Content-Length: 99999999999999999999\r\n\r\n"),
        ),
        ("two lengths", format!("POST /livez HTTP/1.1\r\n{host}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx")),
        (
            "chunks of no size",
            format!("POST /api/v1/predict HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n"),
        ),
        (
            "a chunk that overflows",
            format!("POST /api/v1/predict HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx"),
        ),
        ("an unknown encoding", format!("POST /livez HTTP/1.1\r\n{host}Transfer-Encoding: zip\r\n\r\n")),
        ("a long target", format!("GET /{long} HTTP/1.1\r\n{host}\r\n")),
        ("a target that is just too long", format!("GET /{} HTTP/1.1\r\n{host}\r\n", &long[..3000])),
        ("a long field", format!("GET /livez HTTP/1.1\r\n{host}X: {long}\r\n\r\n")),
        ("many fields", format!("GET /livez HTTP/1.1\r\n{host}{}\r\n", "X: a\r\n".repeat(1000))),
        ("a long method", format!("{long} /livez HTTP/1.1\r\n{host}\r\n")),
        ("a TLS handshake", "\x16\x03\x01\x02\0\x01\0\x01\u{7f}\x03\x03".into()),
        ("a proxy's request", format!("CONNECT example.org:443 HTTP/1.1\r\n{host}\r\n")),
        ("an asterisk", format!("OPTIONS * HTTP/1.1\r\n{host}\r\n")),
    ];
    for (name, request) in corpus {
        let stream = web.connect();
        let shut = stream.try_clone().unwrap();
        let mut stream = stream;
        let _ = stream.write_all(request.as_bytes());
        // All is said: what waits for more finds that there is none.
        let _ = shut.shutdown(std::net::Shutdown::Write);
        let reply = Reply::read(stream);
        assert!(reply.status == 0 || (400..500).contains(&reply.status), "{name}: {}", reply.head);
        if reply.status != 0 {
            reply.is_problem(reply.status, []);
        }
        assert_eq!(web.get("/livez").status, 200, "{name}");
    }
    let random: Vec<u8> = (0..200_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let reply = exchange(web.connect(), &random);
    assert!(reply.status == 0 || reply.status == 400, "{}", reply.head);
    // A length and chunks together, with a request hidden behind: it may be taken for no second one.
    let smuggled = "POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
                    0\r\n\r\nGET /api/v1/state HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert!(!web.send(smuggled).text().contains("\"program\""), "the connection ends with a request that has both");
    is_bounded(&web, before);
    web.ends_well();
}

#[test]
fn heads_have_limits_and_say_so() {
    let web = serve([""; 0]);
    let ask = |target: &str, fields: &str| web.ask("GET", target, &[fields]);
    assert_eq!(ask("/livez", &format!("X: {}", "a".repeat(10_000))).status, 200);
    ask("/livez", &format!("X: {}", "a".repeat(20_000))).is_problem(431, ["16 KiB"]);
    assert_eq!(ask("/livez", &["X: a"; 90].join("\r\n")).status, 200);
    ask("/livez", &["X: a"; 110].join("\r\n")).is_problem(431, ["100 fields"]);
    ask(&format!("/livez?{}", "a".repeat(3000)), "X: a").is_problem(414, ["2048"]);
    web.ends_well();
}

#[test]
fn a_thousand_idle_connections_cost_neither_memory_nor_service() {
    let web = serve([""; 0]).ready();
    let before = web.resident();
    let mut idle: Vec<TcpStream> = Vec::new();
    for number in 0..1000 {
        let mut stream = web.connect();
        // Every other one has had an answer before it falls silent.
        if number % 2 == 0 {
            let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
        }
        idle.push(stream);
        if number % 100 == 0 {
            assert_eq!(web.get("/livez").status, 200);
        }
    }
    assert_eq!(web.get("/api/v1/state").status, 200);
    let descriptors = support::held::held(&web.running).descriptors;
    assert!(descriptors < 200, "{descriptors} descriptors");
    is_bounded(&web, before);
    // The last ones are still there.
    let mut last = idle.pop().unwrap();
    last.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(Reply::read(last).status, 200);
    drop(idle);
    web.ends_well();
}

#[test]
fn who_has_the_answer_and_does_not_close_keeps_no_descriptor_from_the_others() {
    let web = serve(["http.max_connections=8"]).ready();
    let before = support::held::held(&web.running).descriptors;
    let mut most = before;
    // The program waits for such a peer, but only while it can.
    let told: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = web.connect();
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = [0; 4096];
            let count = stream.read(&mut answer).unwrap();
            assert!(answer[..count].starts_with(b"HTTP/1.1 200"));
            most = most.max(support::held::held(&web.running).descriptors);
            stream
        })
        .collect();
    assert!(most <= before + 8 + 4, "{before} descriptors have become {most}");
    drop(told);
    web.ends_well();
}

#[test]
fn heads_that_trickle_hold_no_place() {
    let web = serve(["http.max_connections=8"]).ready();
    let mut slow: Vec<TcpStream> = (0..8).map(|_| web.connect()).collect();
    let start = Instant::now();
    let mut answered = 0;
    while start.elapsed() < Duration::from_secs(5) {
        for stream in &mut slow {
            let _ = stream.write_all(b"G");
        }
        std::thread::sleep(Duration::from_millis(500));
        answered += u32::from(web.get("/livez").status == 200);
    }
    // Only those that are younger than a second keep their place against a new one.
    assert!(answered >= 3, "{answered} of 10 requests were answered beside them");
    web.ends_well();
}

/// The other limits are held to the second by the unit tests of `http::connection`, at a clock of their own. This
/// one shows that the running program looks at its connections, those of the socket too.
#[test]
fn a_head_that_does_not_come_to_its_end_has_ten_seconds_over_tcp_and_over_the_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let web = serve([format!("http.socket={}", socket.display())]);
    web.running.stderr.wait_for(&format!("listening on {}", socket.display()));
    let mut local = UnixStream::connect(&socket).unwrap();
    local.set_read_timeout(Some(LIMIT)).unwrap();
    let mut remote = web.connect();
    let start = Instant::now();
    local.write_all(b"GET /livez HTTP/1.1\r\nHo").unwrap();
    remote.write_all(b"GET /livez HTTP/1.1\r\nHo").unwrap();
    for reply in [Reply::read(remote), Reply::read(local)] {
        reply.is_problem(408, ["did not come in time"]);
        assert!(start.elapsed() >= Duration::from_secs(9), "{:?}", start.elapsed());
    }
    web.ends_well();
}

#[test]
fn readers_that_take_nothing_cost_little_memory_and_no_service() {
    let web = serve([""; 0]).ready();
    let before = web.resident();
    // Far more answers are asked for than the kernel keeps for somebody who doesn't read.
    let requests = "GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2000);
    let greedy: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = web.connect();
            stream.set_nonblocking(true).unwrap();
            let _ = stream.write(requests.as_bytes());
            stream
        })
        .collect();
    for stream in &greedy {
        stream.set_nonblocking(false).unwrap();
        assert_eq!(stream.peek(&mut [0]).unwrap(), 1, "its answers have begun to come");
    }
    for _ in 0..10 {
        assert_eq!(web.get("/livez").status, 200);
        is_bounded(&web, before);
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(greedy);
    web.ends_well();
}

#[test]
fn who_has_the_token_is_served_beside_those_that_read_nothing() {
    const TOKEN: &str = "correct-horse-battery-staple";
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let settings = [
        format!("http.token_file={}", token_file(folder.path(), TOKEN)),
        format!("http.socket={}", socket.display()),
        "http.max_connections=64".to_owned(),
    ];
    let web = serve(settings).ready_with(TOKEN);
    let mut crowd: Vec<TcpStream> = (0..64).map(|_| web.connect()).collect();
    let requests = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
    for stream in &mut crowd {
        sockopt::set_socket_recv_buffer_size(&mut *stream, 4096).unwrap();
        stream.set_nonblocking(true).unwrap();
    }
    // Until nothing more is taken from any of them: all wait for a reader.
    let mut silent = 0;
    while silent < 20 {
        let taken: usize = crowd.iter_mut().map(|stream| stream.write(requests.as_bytes()).unwrap_or(0)).sum();
        silent = if taken == 0 { silent + 1 } else { 0 };
        std::thread::sleep(Duration::from_millis(10));
    }
    let holder = format!("Authorization: Bearer {TOKEN}");
    // More of them than there are places for holders alone.
    for _ in 0..50 {
        assert_eq!(web.ask("GET", "/api/v1/state", &[&holder]).status, 200);
        assert_eq!(web.get("/livez").status, 200);
    }
    let held: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = web.connect();
            let ask = format!("GET /api/v1/state HTTP/1.1\r\nHost: localhost\r\n{holder}\r\n\r\n");
            stream.write_all(ask.as_bytes()).unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
            stream
        })
        .collect();
    assert_eq!(web.get("/livez").status, 200);
    web.get("/api/v1/state").is_problem(401, ["a token is needed"]);
    let over_socket = UnixStream::connect(&socket).unwrap();
    let ask = "GET /api/v1/state HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(over_socket, ask).status, 200);
    drop((crowd, held));
    web.ends_well();
}

#[test]
fn a_hundred_megabytes_are_refused_unread() {
    let web = serve([""; 0]).ready();
    let before = web.resident();
    let megabyte = vec![0; 1 << 20];
    for path in ["/livez", "/api/v1/state", "/api/v1/predict", "/nothing"] {
        for length in ["Content-Length: 104857600", "Transfer-Encoding: chunked"] {
            let mut stream = web.connect();
            let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            let mut sent = 0;
            while sent < 100 {
                let chunk = if length.starts_with('T') { &b"100000\r\n"[..] } else { b"" };
                let end = if chunk.is_empty() { &b""[..] } else { b"\r\n" };
                let piece = [chunk, &megabyte, end].concat();
                if stream.write_all(&piece).is_err() {
                    break;
                }
                sent += 1;
            }
            let reply = Reply::read(stream);
            assert!([0, 404, 405, 413, 415].contains(&reply.status), "{path}: {}", reply.head);
            is_bounded(&web, before);
        }
    }
    // Who asks first is told before a byte of it is sent.
    let mut polite = web.connect();
    let head = "POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857600\r\nExpect: 100-continue\r\n\r\n";
    polite.write_all(head.as_bytes()).unwrap();
    Reply::read(polite).is_problem(405, []);
    web.ends_well();
}

#[test]
fn requests_in_one_piece_are_answered_in_order() {
    let web = serve([""; 0]).ready();
    let mut requests =
        "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200);
    requests += "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let reply = web.send(&requests);
    let text = reply.head.to_uppercase() + &reply.text();
    let statuses: Vec<_> = text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect();
    assert_eq!(statuses.len(), 401);
    assert!(statuses[..400].chunks(2).all(|two| two == ["200", "404"]) && statuses[400] == "200");
    web.ends_well();
}

#[test]
fn where_no_descriptor_is_left_connections_wait_and_masks_go_on() {
    let web = serve(["http.max_connections=1000"]).ready();
    let pid = Pid::from_raw(i32::try_from(web.running.id()).unwrap());
    let held = support::held::held(&web.running).descriptors as u64;
    let few = Rlimit { current: Some(held + 5), maximum: Some(4096) };
    let before = prlimit(pid, Resource::Nofile, few).unwrap();
    let crowd: Vec<_> = (0..50).map(|_| web.connect()).collect();
    web.running.stderr.wait_for("connections can't be taken");
    let lines = web.running.stdout.count();
    web.running.stdout.wait_for_count(lines + 40);
    assert_eq!(web.running.stderr.text().matches("connections can't be taken").count(), 1, "said once");
    prlimit(pid, Resource::Nofile, Rlimit { current: before.current.min(Some(1024)), maximum: Some(4096) }).unwrap();
    drop(crowd);
    web.running.stderr.wait_for("connections are taken again");
    web.ends_well();
}

#[test]
fn the_camera_keeps_its_rate_while_clients_do_their_worst() {
    let web = serve([""; 0]).ready();
    let address = web.address;
    let end = Instant::now() + Duration::from_secs(5);
    let clients: Vec<_> = (0..4)
        .map(|number: u32| {
            std::thread::spawn(move || {
                let mut asked = 0;
                while Instant::now() < end {
                    let Ok(mut stream) = TcpStream::connect(address) else { continue };
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                    let request = match number {
                        0 => "GET /api/v1/state HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                        1 => "GET /api/v1/history HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                        2 => "GARBAGE\r\n\r\n",
                        _ => "GET / HT",
                    };
                    let _ = stream.write_all(request.as_bytes());
                    if number < 2 {
                        let _ = stream.read(&mut [0; 4096]);
                    }
                    asked += 1;
                    // A flood for the server, not for the machine that runs the test.
                    std::thread::sleep(Duration::from_millis(2));
                }
                asked
            })
        })
        .collect();
    let (lines, start) = (web.running.stdout.count(), Instant::now());
    let asked: u32 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    let rate = (web.running.stdout.count() - lines) as f64 / start.elapsed().as_secs_f64();
    assert!(asked > 100, "{asked} requests");
    // 20 by the configuration; what is left out is what a loaded machine may cost.
    assert!(rate > 12.0, "{rate:.1} frames per second during {asked} requests");
    web.ends_well();
}
