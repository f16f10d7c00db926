//! `pspnetd top` against running daemons, against what only pretends to be one, and in a terminal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use support::{as_nobody, colours, finish, media, needs, pspnetd, run, with, Finished, Running, Signal, LIMIT};

/// A daemon on the test picture with its socket at `socket`, once it is ready.
fn daemon(socket: &Path, more: &[&str]) -> Running {
    daemon_on("pattern:96x64", socket, more)
}

fn daemon_on(camera: &str, socket: &Path, more: &[&str]) -> Running {
    let mut command = with(run(&colours(), camera), ["camera.rate=20", "telemetry.interval=1"]);
    command.args(["--set", &format!("http.socket={}", socket.display())]);
    for setting in more {
        command.args(["--set", setting]);
    }
    let running = Running::start(command);
    running.stderr.wait_for(&format!("http: listening on {}", socket.display()));
    running.stdout.wait_for_count(3);
    running
}

fn top(arguments: &[&str]) -> Command {
    let mut command = pspnetd(["top"]);
    // Neither this machine's service nor its user's daemon.
    command.args(arguments).env_remove("XDG_RUNTIME_DIR").env_remove("RUNTIME_DIRECTORY");
    command
}

fn once(arguments: &[&str]) -> Finished {
    let mut command = top(arguments);
    command.arg("--once");
    finish(command)
}

/// The value of `key` in the text of `--once`.
#[track_caller]
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let of = |line: &'a str| line.strip_prefix(key)?.strip_prefix(": ");
    text.lines().find_map(of).unwrap_or_else(|| panic!("no {key} in\n{text}"))
}

#[test]
fn once_prints_the_state_of_a_running_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let running = daemon(&socket, &[]);
    // The figures of the last seconds come a little later than the first result.
    let end = Instant::now() + LIMIT;
    let text = loop {
        let text = once(&["--socket", socket.to_str().unwrap()]).expect(0).stdout;
        if value(&text, "latency.end_to_end.n") != "0" && value(&text, "ready") == "yes" {
            break text;
        }
        assert!(Instant::now() < end, "{text}");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(value(&text, "pid"), running.id().to_string());
    assert_eq!(value(&text, "version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(value(&text, "camera.state"), "running");
    assert_eq!(value(&text, "engine.kind"), "cpu");
    assert!(value(&text, "frames.published").parse::<u64>().unwrap() >= 3, "{text}");
    // One of the eight bars of the test picture.
    assert!((0.1..0.15).contains(&value(&text, "class.red").parse::<f64>().unwrap()), "{text}");
    assert!(value(&text, "latency.end_to_end.p50_ms").parse::<f64>().unwrap() > 0.0, "{text}");
    assert!(text.lines().all(|line| line.contains(": ") || line.ends_with(':')), "{text}");
    // The same by the configuration that the daemon has.
    let config = folder.path().join("pspnetd.toml");
    std::fs::write(&config, format!("[http]\nsocket = '{}'\n", socket.display())).unwrap();
    let text = once(&["--config", config.to_str().unwrap()]).expect(0).stdout;
    assert_eq!(value(&text, "pid"), running.id().to_string());
    // And with `auto`, from the user's folder.
    let users = folder.path().join("pspnetd.sock");
    let second = daemon(&users, &[]);
    let mut command = top(&["--once"]);
    command.env("XDG_RUNTIME_DIR", folder.path());
    let text = finish(command).expect(0).stdout;
    assert_eq!(value(&text, "pid"), second.id().to_string());
}

#[test]
fn once_asks_over_http_too_and_shows_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "correct-horse-battery\n").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let setting = format!("http.token_file={}", token.display());
    let running = daemon(&folder.path().join("s"), &["http.listen=127.0.0.1:0", &setting]);
    let line = running.stderr.wait_for("http: listening on http://");
    let url = line.split("listening on ").nth(1).unwrap().trim();
    let text = once(&["--url", url, "--token-file", token.to_str().unwrap()]).expect(0).stdout;
    assert_eq!(value(&text, "pid"), running.id().to_string());
    once(&["--url", url]).expect(78).says(["token", "--token-file"]);
    std::fs::write(&token, "wrong-horse-battery\n").unwrap();
    let refused = once(&["--url", url, "--token-file", token.to_str().unwrap()]).expect(78).says(["token"]);
    assert!(!refused.stderr.contains("horse"), "{}", refused.stderr);
}

#[test]
fn without_a_daemon_it_says_where_it_looked_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let path = socket.to_str().unwrap();
    once(&["--socket", path]).expect(69).says([path, "systemctl status pspnetd", "--config"]);
    // What a daemon that was killed leaves.
    drop(UnixListener::bind(&socket).unwrap());
    once(&["--socket", path]).expect(69).says([path, "Connection refused"]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    once(&["--url", &format!("http://127.0.0.1:{port}")]).expect(69).says(["http.listen"]);
    once(&["--set", "http.socket=off"]).expect(78).says(["http.socket", "--socket"]);
    once(&["--url", "https://127.0.0.1"]).expect(2).says(["ssh"]);
}

#[test]
fn a_socket_of_others_is_refused_with_the_group_that_may() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let running = daemon(&socket, &[]);
    let mut command = top(&["--once", "--socket", socket.to_str().unwrap()]);
    if rustix::process::geteuid().is_root() {
        // Root may everything: somebody else asks.
        command = as_nobody(folder.path());
        command.args(["top", "--once", "--socket", socket.to_str().unwrap()]);
    } else {
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o000)).unwrap();
    }
    finish(command).expect(69).says(["permission denied", "group", "usermod -aG"]);
    drop(running);
}

/// Answers the first request at a Unix socket with `bytes`, and closes.
fn pretender(folder: &Path, bytes: Vec<u8>) -> PathBuf {
    let socket = folder.join("pretender");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        // The other end may hang up in the middle.
        let _ = stream.write_all(&bytes);
    });
    socket
}

#[test]
fn what_only_pretends_to_be_a_daemon_is_told_and_never_believed() {
    let folder = tempfile::tempdir().unwrap();
    let ok = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes();
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &vec![b' '; 9 << 20]].concat();
    let answers: [(Vec<u8>, &str); 8] = [
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "no HTTP"),
        (Vec::new(), "no HTTP"),
        (ok("{}"), "version"),
        (ok("\u{0}\u{1}"), "version"),
        (ok(&"[".repeat(100_000)), "version"),
        (endless, "too long"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(), "something else"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 19\r\n\r\n{\"detail\":\"\\u001b\"}".to_vec(), "\\u{1b}"),
    ];
    for (answer, words) in answers {
        let socket = pretender(folder.path(), answer);
        let finished = once(&["--socket", socket.to_str().unwrap()]).expect(69).says([words]);
        assert!(!finished.stderr.contains('\u{1b}'), "{:?}", finished.stderr);
    }
}

#[test]
fn one_that_never_answers_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let _silent = UnixListener::bind(&socket).unwrap();
    once(&["--socket", socket.to_str().unwrap()]).expect(69).says(["no answer within 5 s"]);
}

#[test]
fn hostile_names_and_lines_reach_a_pipe_as_escapes() {
    let folder = tempfile::tempdir().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/state.json");
    let mut state: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    state["result"]["classes"][0]["name"] = "\u{1b}]0;owned\u{7}".into();
    state["events"][0]["text"] = "one\nready: no\u{9b}2J".into();
    let body = state.to_string();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let socket = pretender(folder.path(), answer.into_bytes());
    let text = once(&["--socket", socket.to_str().unwrap()]).expect(0).stdout;
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    assert!(text.contains("class.\\u{1b}]0;owned\\u{7}: 0.412000"), "{text}");
    assert!(text.contains("one\\nready_ no") || text.contains("one\\nready: no\\u{9b}2J"), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("ready: ")).count(), 1, "{text}");
}

#[test]
fn without_a_terminal_it_says_how_to_get_text() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let _running = daemon(&socket, &[]);
    finish(top(&["--socket", socket.to_str().unwrap()])).expect(74).says(["--once"]);
}

#[test]
fn a_reader_that_leaves_ends_it_in_order() {
    if !needs::program("/usr/bin/python3", "python3") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let _running = daemon(&socket, &[]);
    let mut command = top(&["--once", "--socket", socket.to_str().unwrap()]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let running = Running::start_as_set(command.stdout(writer));
    drop(command);
    running.finish().expect(74).says(["closed"]);
}

/// `top` in a terminal, taken through `steps` by tests/top/terminal.py.
fn in_terminal(socket: &Path, steps: &[&str], environment: &[(&str, &str)]) -> Running {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/top/terminal.py");
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script).args(steps).arg("--").arg(env!("CARGO_BIN_EXE_pspnetd"));
    command.args(["top", "--socket", socket.to_str().unwrap()]);
    command
        .env("TERM", "xterm-256color")
        .env("LC_ALL", "C.UTF-8")
        .env_remove("NO_COLOR")
        .env("PSPNETD_CONFIG", "/dev/null");
    command.envs(environment.iter().copied()).stdin(Stdio::null());
    Running::start(command)
}

/// How it ended: what it wrote, after its status and the terminal's modes were found right.
#[track_caller]
fn ended_well(running: Running) -> String {
    let finished = running.finish().expect(0);
    let last = finished.stdout.lines().last().unwrap_or_default();
    let told: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{}{}", finished.stdout, finished.stderr));
    assert_eq!(told["status"], 0, "{told}");
    assert_eq!(told["same_modes"], true, "{told}");
    told["output"].as_str().unwrap().to_owned()
}

/// The alternate screen was left, and the cursor is there again.
#[track_caller]
fn left_the_screen(output: &str) {
    let last = |sequence: &str| output.rfind(sequence);
    assert!(last("\u{1b}[?1049l") > last("\u{1b}[?1049h"), "{output:?}");
    assert!(last("\u{1b}[?25h") > last("\u{1b}[?25l"), "{output:?}");
}

#[test]
fn in_a_terminal_it_shows_everything_and_q_leaves_it_as_it_was() {
    if !needs::program("/usr/bin/python3", "python3") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    // A picture that stays: six stripes, one of them yellow.
    let still = folder.path().join("still");
    std::fs::create_dir(&still).unwrap();
    std::fs::copy(media("colours/1_vertical.png"), still.join("1.png")).unwrap();
    let _running = daemon_on(&format!("replay:{}", still.display()), &socket, &["camera.loop=true"]);
    let steps = [
        "shows:READY",
        "shows:end_to_end",
        "shows:yellow 16.7 %",
        "send:?",
        "shows:this help",
        "send:?",
        "hides:this help",
        "send:s\u{1b}[B\u{1b}[A\u{1b}[5~\u{1b}[6~x",
        "resize:40x10",
        "hides:end_to_end",
        "resize:1x1",
        "resize:120x50",
        "shows:Board",
        "send:q",
    ];
    let output = ended_well(in_terminal(&socket, &steps, &[]));
    left_the_screen(&output);
    assert!(output.contains("38;5;"), "there are colours");
}

#[test]
fn no_color_has_no_colours() {
    if !needs::program("/usr/bin/python3", "python3") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let _running = daemon(&socket, &[]);
    let output = ended_well(in_terminal(&socket, &["shows:READY", "send:\u{3}"], &[("NO_COLOR", "1")]));
    left_the_screen(&output);
    assert!(!output.contains("38;5;") && !output.contains("38;2;"), "{output:?}");
}

#[test]
fn signals_leave_the_terminal_as_it_was() {
    if !needs::program("/usr/bin/python3", "python3") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let _running = daemon(&socket, &[]);
    for signal in ["SIGTERM", "SIGHUP", "SIGINT"] {
        let steps = ["shows:READY", &format!("signal:{signal}")];
        left_the_screen(&ended_well(in_terminal(&socket, &steps, &[])));
    }
    // A connection that broke: the terminal itself is gone.
    ended_well(in_terminal(&socket, &["shows:READY", "hang-up"], &[]));
}

#[test]
fn it_survives_a_restart_of_the_daemon() {
    if !needs::program("/usr/bin/python3", "python3") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let first = daemon(&socket, &[]);
    let steps =
        ["shows:READY", "say:seen", "shows:NO CONNECTION", "say:lost", "hides:NO CONNECTION", "shows:READY", "send:q"];
    let watching = in_terminal(&socket, &steps, &[]);
    watching.stdout.wait_for("seen");
    first.stop(Signal::TERM).0.expect(0);
    watching.stdout.wait_for("lost");
    let _second = daemon(&socket, &[]);
    left_the_screen(&ended_well(watching));
}
