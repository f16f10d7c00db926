//! Pictures that are posted meet the decoder and the model in a process of their own: whatever becomes of it, the program and the
//! camera's masks go on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::Write as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{kill_process, Pid};

use support::held::{children, held, workers};
use support::http::{Reply, Web};
use support::{colours, media, model, run, Signal, LIMIT};

/// `command` with a server, once that listens.
fn serve(mut command: Command, settings: &[&str]) -> Web {
    for setting in ["http.listen=127.0.0.1:0", "http.socket=off", "log.level=debug"].iter().chain(settings) {
        command.args(["--set", setting]);
    }
    let web = Web::start(command);
    web.running.stdout.wait_for_count(1);
    web
}

fn slow() -> Web {
    serve(run(&model("colours_320x240_int8_slow"), "pattern:320x240"), &["camera.rate=5"])
}

fn picture() -> Vec<u8> {
    std::fs::read(media("colours/5_double.jpg")).unwrap()
}

fn post(web: &Web, picture: &[u8]) -> Reply {
    let head = format!(
        "POST /api/v1/predict HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        web.address,
        picture.len()
    );
    web.send([head.as_bytes(), picture].concat())
}

/// The process that runs pictures, once it is there and has been asked: it uses the processor.
fn the_runner(web: &Web) -> Pid {
    let start = Instant::now();
    loop {
        if let [id] = workers(&web.running, "predict")[..] {
            return Pid::from_raw(id.cast_signed()).unwrap();
        }
        assert!(start.elapsed() < LIMIT, "{:?}", children(&web.running));
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until there is nothing left of `process` but its exit status.
fn wait_for_the_end_of(process: Pid) {
    let start = Instant::now();
    let stat = format!("/proc/{}/stat", process.as_raw_nonzero());
    while !std::fs::read_to_string(&stat).unwrap_or_default().contains(") Z ") {
        assert!(start.elapsed() < LIMIT);
        thread::sleep(Duration::from_millis(5));
    }
}

/// The answer to a picture over which its `runner` gets `signal`.
fn struck_in_the_middle(web: &Web, runner: Pid, signal: Signal) -> Reply {
    let stat = format!("/proc/{}/stat", runner.as_raw_nonzero());
    let runs = || std::fs::read_to_string(&stat).unwrap().contains(") R ");
    thread::scope(|scope| loop {
        let asked = scope.spawn(|| post(web, &picture()));
        while !runs() && !asked.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        // Stopped while it runs, it has a picture, unless it was just done with it; then the answer comes nonetheless.
        kill_process(runner, Signal::STOP).unwrap();
        let start = Instant::now();
        while !asked.is_finished() && start.elapsed() < Duration::from_secs(2) {
            thread::sleep(Duration::from_millis(10));
        }
        let is_done = asked.is_finished();
        if !is_done {
            kill_process(runner, signal).unwrap();
        }
        kill_process(runner, Signal::CONT).unwrap();
        let reply = asked.join().unwrap();
        if !is_done {
            return reply;
        }
    })
}

#[test]
fn a_process_that_dies_over_a_picture_costs_that_request_alone() {
    let web = slow();
    for (signal, name) in [(Signal::KILL, "SIGKILL"), (Signal::ABORT, "SIGABRT"), (Signal::SYS, "SIGSYS")] {
        // The first has it started.
        assert_eq!(post(&web, &picture()).status, 200);
        let died = the_runner(&web);
        let reply = struck_in_the_middle(&web, died, signal);
        reply.is_problem(500, ["the process that runs pictures failed on this one", name]);
        let from = web.running.stdout.count();
        assert_eq!(post(&web, &picture()).status, 200);
        assert_ne!(the_runner(&web), died);
        web.running.stdout.wait_for_count(from + 1);
    }
    web.running.stop_in_time(Signal::TERM).expect(0);
}

#[test]
fn a_process_that_dies_between_two_pictures_costs_none() {
    let web = serve(run(&colours(), "pattern:96x64"), &["camera.rate=20"]);
    assert_eq!(post(&web, &picture()).status, 200);
    let descriptors = held(&web.running).descriptors;
    for _ in 0..5 {
        let died = the_runner(&web);
        kill_process(died, Signal::KILL).unwrap();
        wait_for_the_end_of(died);
        assert_eq!(post(&web, &picture()).status, 200);
        assert_ne!(the_runner(&web), died);
    }
    // The camera's own, and that.
    assert_eq!(children(&web.running).len(), 2, "none waits to be reaped");
    // That of the last connection may take its time.
    let start = Instant::now();
    while held(&web.running).descriptors > descriptors {
        assert!(start.elapsed() < LIMIT, "a descriptor is left");
        thread::sleep(Duration::from_millis(20));
    }
    web.running.stop_in_time(Signal::TERM).expect(0).says(["predict: the process ended between two frames: SIGKILL"]);
}

#[test]
fn it_is_in_the_sandbox_and_sees_neither_camera_nor_network() {
    let web = serve(run(&colours(), "pattern:96x64"), &["camera.rate=20"]);
    assert_eq!(post(&web, &picture()).status, 200);
    let process = format!("/proc/{}", the_runner(&web).as_raw_nonzero());
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
    let limits = std::fs::read_to_string(format!("{process}/limits")).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert!(files.split_whitespace().any(|word| word == "16"), "{files}");
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    assert_eq!(std::fs::read_to_string(format!("{process}/oom_score_adj")).unwrap().trim(), "500");
    let data = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
    assert!(!data.contains("unlimited"), "{data}");
    // Its own socket, its words, and what is nothing; the picture's memory is given back.
    let files = std::fs::read_dir(format!("{process}/fd")).unwrap().map(|file| {
        let target = std::fs::read_link(file.unwrap().path()).unwrap().display().to_string();
        target.split(':').next().unwrap().to_owned()
    });
    let mut files: Vec<_> = files.collect();
    files.sort();
    files.dedup();
    assert_eq!(files, ["/dev/null", "pipe", "socket"]);
    web.running.stop_in_time(Signal::TERM).expect(0);
}

#[test]
fn where_there_is_no_memory_for_a_picture_the_request_is_told_and_the_camera_goes_on() {
    // As `ulimit -v` sets it. The picture needs 256 MiB as it is stored and 192 MiB more as RGB.
    let plain = run(&colours(), "pattern:96x64");
    let mut command = Command::new("prlimit");
    command.arg(format!("--as={}", 400 << 20)).arg(plain.get_program()).args(plain.get_args());
    let web = serve(command, &["camera.rate=20", "http.max_pixels=67108864"]);
    let bytes = large();
    for _ in 0..3 {
        assert_eq!(post(&web, &picture()).status, 200);
        let reply = post(&web, &bytes);
        reply.is_problem(503, ["there is no memory for 8192x8192 pixels"]);
    }
    let from = web.running.stdout.count();
    web.running.stdout.wait_for_count(from + 5);
    web.running.stop_in_time(Signal::TERM).expect(0);
}

/// A PNG of 8192 x 8192 pixels of four bytes: some hundred kilobytes.
fn large() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 8192, 8192);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_compression(png::Compression::Fast);
    let row = vec![0; 8192 * 4];
    let mut writer = encoder.write_header().unwrap();
    let mut rows = writer.stream_writer().unwrap();
    for _ in 0..8192 {
        rows.write_all(&row).unwrap();
    }
    rows.finish().unwrap();
    drop(writer);
    assert!(bytes.len() < 2 << 20, "{}", bytes.len());
    bytes
}
