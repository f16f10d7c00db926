//! The HTTP server of the real binary: what is answered, to whom, and where it listens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use base64::prelude::{Engine as _, BASE64_STANDARD};

use support::http::{exchange, serve, token_file, Reply, Web};
use support::{colours, file, finish, pspnetd, run, with, Running, Signal, LIMIT};

const TOKEN: &str = "correct-horse-battery-staple";

fn over(socket: &Path, target: &str) -> Reply {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    exchange(stream, format!("GET {target} HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n"))
}

#[test]
fn health_state_and_history_are_told() {
    let web = serve([""; 0]).ready();
    let live = web.get("/livez");
    assert_eq!((live.status, live.text().as_str()), (200, "ok\n"));
    assert_eq!(web.get("/readyz").text(), "ready\n");
    let state = web.get("/api/v1/state");
    assert_eq!((state.status, state.field("content-type")), (200, Some("application/json")));
    let state = state.json();
    assert_eq!(state["ready"], true);
    assert_eq!(state["program"]["pid"], web.running.id());
    assert!(state["frames"]["published"].as_u64() > Some(0), "{state}");
    assert!(web.get("/api/v1/history").json()["times"].is_array());
    assert_eq!(web.get("/api/v1/openapi.json").json()["openapi"], "3.1.0");
    web.ends_well();
}

#[test]
fn a_daemon_without_results_is_alive_and_not_ready() {
    let mut command = run(&colours(), "v4l2:/dev/video-that-is-not-there");
    command.args(["--set", "http.listen=127.0.0.1:0", "--set", "http.socket=off"]);
    let web = Web::start(command);
    assert_eq!(web.get("/livez").status, 200);
    let ready = web.get("/readyz");
    assert_eq!((ready.status, ready.field("content-type")), (503, Some("text/plain; charset=utf-8")));
    assert!(!ready.text().trim().is_empty(), "no reason");
}

#[test]
fn every_answer_forbids_what_a_browser_should_not_do_with_it() {
    let web = serve([""; 0]);
    for target in ["/livez", "/api/v1/state", "/api/v1/openapi.json", "/nothing"] {
        let reply = web.get(target);
        assert_eq!(reply.field("x-content-type-options"), Some("nosniff"), "{target}");
        assert_eq!(reply.field("referrer-policy"), Some("no-referrer"), "{target}");
        assert_eq!(reply.field("cross-origin-resource-policy"), Some("same-origin"), "{target}");
        assert_eq!(reply.field("cache-control"), Some("no-store"), "{target}");
        assert!(reply.field("content-security-policy").unwrap().contains("frame-ancestors 'none'"), "{target}");
    }
    web.ends_well();
}

#[test]
fn head_is_get_without_the_body_and_other_methods_are_told_what_is_expected() {
    let web = serve([""; 0]);
    for target in ["/livez", "/api/v1/openapi.json"] {
        let (head, get) = (web.ask("HEAD", target, &[]), web.get(target));
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.field("content-length"), get.field("content-length"));
        assert_eq!(get.field("content-length").unwrap(), get.body.len().to_string());
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        let reply = web.ask(method, "/api/v1/state", &["Content-Length: 0"]);
        assert_eq!(reply.is_problem(405, [method, "GET"]).field("allow"), Some("get, head"));
    }
    assert_eq!(web.get("/api/v1/predict").is_problem(405, ["POST"]).field("allow"), Some("post"));
    web.ends_well();
}

#[test]
fn no_path_leads_anywhere_else() {
    let web = serve([""; 0]);
    let tricks = [
        "/livez/",
        "//livez",
        "/./livez",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/%6civez",
        "/LIVEZ",
        "/livez%00",
        "/livez;x",
        "/api/v1/state/..",
        "/api/v1/../v1/state",
        "/.git/config",
        "/api/v2/state",
        "/\\livez",
        "*",
        "/%c0%ae%c0%ae/etc/passwd",
    ];
    for trick in tricks {
        let reply = web.get(trick);
        assert!([400, 404].contains(&reply.status), "{trick}: {}", reply.head);
    }
    // A query changes nothing where none is looked at, nor does a fragment that no client should send.
    assert_eq!(web.get("/livez?x=../../etc/passwd").status, 200);
    web.get("/nothing").is_problem(404, ["/api/v1/openapi.json"]);
    web.ends_well();
}

#[test]
fn without_a_token_only_this_machine_is_served() {
    let web = serve([""; 0]);
    for fine in ["localhost", "127.0.0.1:1", "[::1]:8088"] {
        assert_eq!(web.ask("GET", "/livez", &[&format!("Host: {fine}")]).status, 200, "{fine}");
    }
    for foreign in ["evil.example", "localhost.evil.example:80", "127.0.0.1.nip.io"] {
        web.ask("GET", "/livez", &[&format!("Host: {foreign}")]).is_problem(403, ["http.token_file"]);
    }
    web.send("GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .is_problem(403, []);
    web.send("GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n").is_problem(400, ["Host"]);
    web.ask("GET", "/livez", &["Host: localhost", "Host: evil.example"]).is_problem(400, ["Host"]);
    for site in ["cross-site", "same-site"] {
        web.ask("GET", "/livez", &[&format!("Sec-Fetch-Site: {site}")]).is_problem(403, ["another site"]);
    }
    for site in ["same-origin", "none"] {
        assert_eq!(web.ask("GET", "/livez", &[&format!("Sec-Fetch-Site: {site}")]).status, 200);
    }
    web.ask("POST", "/api/v1/predict", &["Origin: http://evil.example"]).is_problem(403, ["another site"]);
    web.ends_well();
}

#[test]
fn with_a_token_everything_but_liveness_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = token_file(folder.path(), TOKEN);
    let web = serve([format!("http.token_file={path}")]).ready_with(TOKEN);
    assert_eq!(web.get("/livez").status, 200);
    for target in ["/readyz", "/api/v1/state", "/api/v1/frame.jpg", "/stream.mjpg", "/nothing"] {
        let reply = web.get(target);
        reply.is_problem(401, ["token"]);
        assert!(reply.head.contains("www-authenticate: basic") && reply.head.contains("www-authenticate: bearer"));
    }
    let basic = |user: &str, password: &str| {
        format!("Authorization: Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
    };
    let right = [format!("Authorization: Bearer {TOKEN}"), basic("", TOKEN), basic("anybody", TOKEN)];
    for right in right {
        assert_eq!(web.ask("GET", "/api/v1/state", &[&right]).status, 200, "{right}");
        assert_eq!(web.ask("GET", "/api/v1/state", &[&right, "Host: camera.example"]).status, 200, "any name");
        web.ask("GET", "/api/v1/state", &[&right, "Sec-Fetch-Site: cross-site"]).is_problem(403, []);
    }
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    let wrong = [bearer(""), bearer("x"), bearer(&TOKEN[1..]), basic(TOKEN, ""), "Authorization: ".to_owned()];
    for wrong in wrong {
        web.ask("GET", "/api/v1/state", &[&wrong]).is_problem(401, []);
    }
    // In the address it would end in logs and histories.
    web.get(&format!("/api/v1/state?token={TOKEN}")).is_problem(401, []);
    web.running.stderr.wait_for("brought a wrong token");
    let said = web.running.stderr.text();
    assert_eq!(said.matches("brought a wrong token").count(), 1, "once a minute:\n{said}");
    assert!(said.contains("127.0.0.1:") && !said.contains(TOKEN), "{said}");
    assert!(!said.contains("everybody on this machine can read it"), "{said}");
    web.ends_well();
}

#[test]
fn a_token_and_a_key_come_as_credentials_of_systemd() {
    let folder = tempfile::tempdir().unwrap();
    let handed = folder.path().join("pspnetd_token");
    std::fs::write(&handed, TOKEN).unwrap();
    std::fs::set_permissions(&handed, std::fs::Permissions::from_mode(0o400)).unwrap();
    let settings = ["http.listen=127.0.0.1:0", "http.socket=off", "http.token_file=credential:token"];
    let mut command = with(run(&colours(), "pattern:96x64"), settings);
    command.env("CREDENTIALS_DIRECTORY", folder.path());
    let web = Web::start(command).ready_with(TOKEN);
    web.get("/api/v1/state").is_problem(401, []);
    web.ends_well();
    let mut command = with(run(&colours(), "pattern:96x64"), settings);
    command.args(["--set", "http.token_file=credential:other"]).env("CREDENTIALS_DIRECTORY", folder.path());
    finish(command)
        .expect(78)
        .says(["http.token_file credential:other: systemd handed over no credential", "LoadCredential="]);
}

#[test]
fn a_token_that_cannot_be_used_ends_the_start_with_what_to_do() {
    let ends = |path: &str| {
        let mut command = run(&colours(), "pattern:320x240");
        command.args(["--set", "http.listen=127.0.0.1:0", "--set", &format!("http.token_file={path}")]);
        finish(command).expect(78)
    };
    ends("/nonexistent/token").says(["http.token_file /nonexistent/token", "first line"]);
    let (_folder, short) = file("token", b"short\n");
    ends(short.to_str().unwrap()).says(["5 characters", "16", "openssl rand"]);
}

#[test]
fn an_address_that_is_taken_is_told_once_and_had_as_soon_as_it_is_free() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let command = with(run(&colours(), "pattern:320x240"), ["camera.rate=20", "http.socket=off"]);
    let mut command = command;
    command.args(["--set", &format!("http.listen={address}")]);
    let running = Running::start(command);
    running.stderr.wait_for("another program has it");
    // Masks come all the same.
    running.stdout.wait_for_count(40);
    assert_eq!(running.stderr.text().matches("can't be had").count(), 1);
    drop(other);
    running.stderr.wait_for(&format!("http: listening on http://{address}/"));
    support::http::Web { running, address }.ends_well();
}

#[test]
fn the_socket_needs_no_token_and_goes_with_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    // What a daemon that was killed leaves behind.
    drop(UnixListener::bind(&socket).unwrap());
    let token = token_file(folder.path(), TOKEN);
    let web = serve([format!("http.token_file={token}"), format!("http.socket={}", socket.display())]);
    web.running.stderr.wait_for(&format!("listening on {}", socket.display()));
    assert_eq!(over(&socket, "/api/v1/state").status, 200);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    // A second daemon leaves the first one's socket alone.
    let second = serve([format!("http.socket={}", socket.display())]);
    second.running.stderr.wait_for("another program answers there");
    second.ends_well();
    assert_eq!(over(&socket, "/livez").status, 200);
    web.ends_well();
    assert!(!socket.exists());
}

#[test]
fn of_two_daemons_that_start_at_the_same_instant_one_has_the_socket_and_the_other_takes_it_over() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    for _ in 0..3 {
        // What a daemon that was killed leaves behind.
        drop(UnixListener::bind(&socket).unwrap());
        let start = || {
            let command = run(&colours(), "pattern:320x240");
            Running::start(with(command, ["camera.rate=20", &format!("http.socket={}", socket.display())]))
        };
        let both = [start(), start()];
        let pid = || {
            let state: serde_json::Value = serde_json::from_slice(&over(&socket, "/api/v1/state").body).unwrap();
            state["program"]["pid"].as_u64().unwrap()
        };
        both.iter().for_each(|running| running.stdout.wait_for_count(5));
        let listens = |running: &Running| running.stderr.text().contains("http: listening on");
        assert_eq!(both.iter().filter(|running| listens(running)).count(), 1);
        let (has, waits) = if listens(&both[0]) { (0, 1) } else { (1, 0) };
        assert_eq!(pid(), u64::from(both[has].id()));
        both[waits].stderr.wait_for("another program answers there");
        let [first, second] = both;
        let (first, second) = if has == 0 { (first, second) } else { (second, first) };
        first.stop(Signal::TERM).0.expect(0);
        second.stderr.wait_for("http: listening on");
        assert_eq!(pid(), u64::from(second.id()));
        second.stop(Signal::TERM).0.expect(0);
    }
}

#[test]
fn behind_a_tunnel_to_the_socket_the_pages_of_others_get_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let web = serve([format!("http.socket={}", socket.display())]);
    web.running.stderr.wait_for(&format!("listening on {}", socket.display()));
    let status = |lines: &str| {
        let stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        exchange(stream, format!("GET /api/v1/state HTTP/1.1\r\n{lines}Connection: close\r\n\r\n")).status
    };
    assert_eq!(status("Host: localhost:8088\r\nSec-Fetch-Site: same-origin\r\n"), 200);
    // By a name that resolves to this machine, and by a link.
    assert_eq!(status("Host: evil.example:8088\r\n"), 403);
    assert_eq!(status("Host: localhost:8088\r\nSec-Fetch-Site: cross-site\r\n"), 403);
    web.ends_well();
}

#[test]
fn the_socket_lies_in_the_services_folder_else_in_the_users() {
    for name in ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = run(&colours(), "pattern:320x240");
        command.env_remove("RUNTIME_DIRECTORY").env_remove("XDG_RUNTIME_DIR").env(name, folder.path());
        let running = Running::start(command);
        let socket = folder.path().join("pspnetd.sock");
        running.stderr.wait_for(&format!("http: listening on {}", socket.display()));
        assert_eq!(over(&socket, "/livez").status, 200);
        running.stop(Signal::TERM).0.expect(0);
        assert!(!socket.exists());
    }
}

#[test]
fn what_listens_nowhere_has_no_thread_for_it() {
    let mut command = run(&colours(), "pattern:320x240");
    command.env_remove("RUNTIME_DIRECTORY").env_remove("XDG_RUNTIME_DIR");
    let running = Running::start(command);
    running.stdout.wait_for_count(1);
    let threads = std::fs::read_dir(format!("/proc/{}/task", running.id())).unwrap();
    let names = threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")).unwrap());
    assert!(!names.collect::<String>().contains("http"));
    running.stop(Signal::TERM).0.expect(0);
}

#[test]
fn beyond_this_machine_there_must_be_a_token() {
    let mut command = pspnetd(["check", "--camera", "pattern:320x240", "--set", "http.listen=0.0.0.0:8088"]);
    command.arg("--model").arg(colours());
    finish(command).expect(78).says(["http.listen", "http.token_file"]);
}

#[test]
fn a_token_that_everybody_can_read_is_told_and_one_of_the_owner_is_not() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = token_file(folder.path(), TOKEN);
    let words = "everybody on this machine can read it; chmod o=";
    for (mode, is_told) in [(0o600, false), (0o640, false), (0o604, true), (0o644, true)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let web = serve([format!("http.token_file={path}")]).ready_with(TOKEN);
        let stderr = web.running.stop(Signal::TERM).0.expect(0).stderr;
        assert_eq!(stderr.contains(words), is_told, "{mode:o}:\n{stderr}");
    }
}

#[test]
fn open_connections_do_not_hold_the_stop() {
    let web = serve([""; 0]);
    let idle: Vec<_> = (0..20).map(|_| web.connect()).collect();
    let mut half = web.connect();
    std::io::Write::write_all(&mut half, b"GET /livez HT").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    web.running.stop_in_time(Signal::TERM).expect(0);
    drop((idle, half));
}
