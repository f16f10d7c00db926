//! Pictures over HTTP from the real binary: what they show, how often they are made, and pictures that are sent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use camera::jpeg::JpegDecoder;
use pixels::frame::Size;
use serde_json::Value;

use support::clips::{files, jpegs, ppm, read_png, COLOURS};
use support::film::Film;
use support::held::{children, workers};
use support::http::{Reply, Web};
use support::{colours, colours_with, finish, grouped_colours, media, model, pspnetd, run, with, Signal, LIMIT};

const TICK: Duration = Duration::from_millis(20);

/// `model` on `camera`, with everything in the log that can be.
fn serve(model: &Path, camera: &str, settings: &[&str]) -> Web {
    let mut command = run(model, camera);
    for setting in ["http.listen=127.0.0.1:0", "http.socket=off", "log.level=debug"].iter().chain(settings) {
        command.args(["--set", setting]);
    }
    Web::start(command)
}

/// The same on one picture, again and again.
fn serve_picture(model: &Path, folder: &Path, settings: &[&str]) -> Web {
    let settings = [&["camera.loop=true", "camera.rate=20"], settings].concat();
    serve(model, &format!("replay:{}", folder.display()), &settings)
}

/// A folder with one picture, red on the left and green on the right.
fn red_and_green() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    ppm(&folder.path().join("picture.ppm"), 96, 64, |x, _| COLOURS[if x < 48 { 2 } else { 3 }]);
    folder
}

/// One pixel on the left and one on the right.
fn sides(jpeg: &[u8]) -> [[u8; 3]; 2] {
    let (size, pixels) = JpegDecoder::new().unwrap().decode_rgb(jpeg).unwrap();
    assert_eq!(size, Size::new(96, 64));
    [(10, 20), (80, 50)].map(|(x, y)| pixels[(y * 96 + x) * 3..][..3].try_into().unwrap())
}

#[track_caller]
fn expect_sides(jpeg: &[u8], expected: [[u8; 3]; 2]) {
    let found = sides(jpeg);
    let is_near = found.iter().flatten().zip(expected.iter().flatten()).all(|(a, b)| a.abs_diff(*b) < 12);
    assert!(is_near, "{found:?}, expected {expected:?}");
}

/// A PNG's size, pixels and palette.
fn png(bytes: &[u8]) -> ((u32, u32), Vec<u8>, png::ColorType) {
    let (_folder, path) = support::file("picture.png", bytes);
    read_png(&path)
}

/// The lines that tell of an encoding.
fn encodings(web: &Web) -> Vec<String> {
    let text = web.running.stderr.text();
    text.lines()
        .filter_map(|line| Some(line.split_once("view: ")?.1.to_owned()))
        .filter(|line| line.starts_with("frame "))
        .collect()
}

fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

#[track_caller]
fn post(web: &Web, body: &[u8], lines: &[&str]) -> Reply {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!(
        "POST /api/v1/predict HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n{lines}Connection: close\r\n\r\n",
        web.address,
        body.len()
    );
    web.send([head.as_bytes(), body].concat())
}

#[test]
fn still_pictures_show_what_the_camera_and_the_model_see() {
    // Red is drawn as blue, so that picture and overlay differ.
    let repainted = colours_with(|text| text.replace("\"#ff0000\"", "\"#0000ff\""));
    let folder = red_and_green();
    let web = serve_picture(&repainted.path().join("model.tflite"), folder.path(), &[]);
    let [red, green, blue, half] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [127, 0, 128]];
    for (target, expected) in [
        ("frame.jpg", [red, green]),
        ("overlay.jpg", [half, green]),
        ("overlay.jpg?opacity=0", [red, green]),
        ("overlay.jpg?t=5&opacity=0.25", [[191, 0, 64], green]),
        ("overlay.jpg?opacity=1", [blue, green]),
    ] {
        let reply = web.get(&format!("/api/v1/{target}"));
        assert_eq!((reply.status, reply.field("content-type")), (200, Some("image/jpeg")), "{target}");
        assert_eq!(reply.field("cache-control"), Some("no-store"));
        let age = now() - reply.field("x-timestamp").unwrap().parse::<f64>().unwrap();
        assert!(age > -1.0 && age < LIMIT.as_secs_f64(), "{age}");
        expect_sides(&reply.body, expected);
    }
    let mask = web.get("/api/v1/mask.png");
    assert_eq!(mask.field("content-type"), Some("image/png"));
    let (size, ids, kind) = png(&mask.body);
    assert_eq!((size, kind), ((96, 64), png::ColorType::Indexed));
    assert!(ids.iter().enumerate().all(|(at, &id)| id == if at % 96 < 48 { 2 } else { 3 }), "not the classes");
    let head = web.ask("HEAD", "/api/v1/frame.jpg", &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    for opacity in ["2", "-0.1", "nan", "half", ""] {
        web.get(&format!("/api/v1/overlay.jpg?opacity={opacity}")).is_problem(400, ["opacity", "0 (all picture)"]);
    }
    web.get("/stream.mjpg?opacity=30").is_problem(400, ["opacity", "0, 25, 50, 75 or 100"]);
    web.get("/stream.mjpg?layer=mask").is_problem(400, ["layer", "frame or overlay"]);
    web.ends_well();
}

#[test]
fn a_stream_shows_its_layer() {
    let repainted = colours_with(|text| text.replace("\"#ff0000\"", "\"#0000ff\""));
    let folder = red_and_green();
    let web = serve_picture(&repainted.path().join("model.tflite"), folder.path(), &[]);
    for (query, left) in
        [("", [127, 0, 128]), ("?opacity=75", [64, 0, 191]), ("?layer=frame", [255, 0, 0]), ("?opacity=0", [255, 0, 0])]
    {
        let part = Film::open(&web, &format!("/stream.mjpg{query}")).next();
        expect_sides(&part.jpeg, [left, [0, 255, 0]]);
    }
    web.ends_well();
}

#[test]
fn a_frame_is_encoded_once_however_many_watch() {
    let web = serve(&colours(), "pattern:96x64", &["camera.rate=30"]);
    let times: Vec<BTreeSet<u64>> = std::thread::scope(|scope| {
        let watch = || {
            let mut film = Film::open(&web, "/stream.mjpg");
            (0..15).map(|_| (film.next().time * 1e6) as u64).collect()
        };
        let viewers: Vec<_> = (0..6).map(|_| scope.spawn(watch)).collect();
        viewers.into_iter().map(|viewer| viewer.join().unwrap()).collect()
    });
    let encoded = encodings(&web);
    let numbers: BTreeSet<&str> = encoded.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(numbers.len(), encoded.len(), "a frame was encoded twice: {encoded:?}");
    assert!(encoded.iter().all(|line| line.contains("overlay at 50 %")), "{encoded:?}");
    // They watched the same pictures, each of which came at a time of its own.
    let different: BTreeSet<u64> = times.iter().flatten().copied().collect();
    assert!(different.len() <= encoded.len(), "{} pictures, {} encodings", different.len(), encoded.len());
    assert!(times.iter().all(|times| times.len() == 15), "a picture came twice");
    web.ends_well();
}

#[test]
fn a_stream_keeps_to_its_rate() {
    let web = serve(&colours(), "pattern:96x64", &["camera.rate=30", "http.stream_fps=4"]);
    let mut film = Film::open(&web, "/stream.mjpg");
    let first = film.next().time;
    let last = (0..11).map(|_| film.next().time).last().unwrap();
    // 11 pictures take 2.75 s, less what frames come early by.
    assert!(last - first > 2.4, "11 pictures in {} s", last - first);
    web.ends_well();
}

#[test]
fn while_nobody_watches_nothing_is_encoded() {
    let web = serve(&colours(), "pattern:96x64", &["camera.rate=60"]);
    web.running.stdout.wait_for_count(60);
    assert_eq!(encodings(&web), [""; 0]);
    let mut film = Film::open(&web, "/stream.mjpg?layer=frame");
    film.next();
    drop(film);
    // The server finds out with what it sends next.
    let start = Instant::now();
    loop {
        let before = encodings(&web).len();
        let results = web.running.stdout.count();
        web.running.stdout.wait_for_count(results + 60);
        if encodings(&web).len() == before {
            break;
        }
        assert!(start.elapsed() < LIMIT, "it goes on encoding");
    }
    web.ends_well();
}

#[test]
fn a_slow_viewer_skips_pictures_and_holds_up_nobody() {
    // Noise, so that pictures are large.
    let folder = tempfile::tempdir().unwrap();
    let mut state = 1u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    let mut pixels = Vec::new();
    pixels.resize_with(640 * 480, || [noise(), noise(), noise()]);
    ppm(&folder.path().join("noise.ppm"), 640, 480, |x, y| pixels[y * 640 + x]);
    let web = serve_picture(&colours(), folder.path(), &[]);
    let mut slow = Film::open(&web, "/stream.mjpg?layer=frame");
    let size = slow.next().jpeg.len();
    let mut fast = Film::open(&web, "/stream.mjpg?layer=frame");
    for _ in 0..40 {
        fast.next();
    }
    let resumed = fast.next().time;
    let mut old = 0;
    while slow.next().time < resumed {
        old += 1;
    }
    // What lay in the buffers of both systems, and no more.
    assert!(old < 20, "{old} pictures of {size} bytes were kept for a viewer that didn't look");
    let part = slow.next();
    assert!(part.time > resumed && part.jpeg.starts_with(&[0xFF, 0xD8]));
    web.ends_well();
}

#[test]
fn a_stream_says_that_the_camera_is_gone_and_goes_on_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("there");
    std::fs::write(&there, "").unwrap();
    let (there_text, clip) = (there.display(), media("colours.mjpeg"));
    let script = format!("while test -e '{there_text}'; do cat '{}'; sleep 0.02; done", clip.display());
    let web = serve(&colours(), &format!("command:sh -c \"{script}\""), &[]);
    let mut films = ["/stream.mjpg", "/stream.mjpg?layer=frame"].map(|target| Film::open(&web, target));
    let size = |jpeg: &[u8]| JpegDecoder::new().unwrap().decode_rgb(jpeg).unwrap().0;
    for film in &mut films {
        assert_eq!(size(&film.next().jpeg), Size::new(96, 64));
    }
    std::fs::remove_file(&there).unwrap();
    web.running.stderr.wait_for("camera: waiting: ");
    let gone = now();
    for film in &mut films {
        // Again and again, so that no proxy takes the connection for dead.
        let notices = [film.next_notice(), film.part(), film.part()];
        for notice in &notices {
            assert_eq!(notice.notice.as_deref(), Some("waiting"));
            // Too small for words as it was, so each side is four times as long.
            assert_eq!(size(&notice.jpeg), Size::new(384, 256));
        }
        assert!(notices[0].time >= gone - 0.1 && notices[2].time > notices[0].time + 5.0, "not made anew");
        assert_ne!(notices[2].jpeg, notices[0].jpeg, "the time since the last picture is the same");
    }
    let asked = Instant::now();
    let reply = web.get("/api/v1/frame.jpg");
    reply.is_problem(503, ["no picture came within 5 s", "/api/v1/state"]);
    assert!(asked.elapsed() >= Duration::from_secs(4) && reply.field("retry-after") == Some("1"));
    std::fs::write(&there, "").unwrap();
    for film in &mut films {
        assert_eq!(size(&film.next().jpeg), Size::new(96, 64));
        film.next();
    }
    // A stop ends the stream, and the stream doesn't hold up the stop.
    web.running.stop_in_time(Signal::TERM).expect(0);
    films.into_iter().for_each(Film::expect_end);
}

#[test]
fn a_stream_of_a_camera_whose_frames_are_all_damaged_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let whole = jpegs().swap_remove(0);
    let cut = [&whole[..whole.len() - whole.len() / 4], &[0xFF, 0xD9]].concat();
    std::fs::write(path("frame"), cut).unwrap();
    let script = format!("cd '{}'; while :; do cat frame; sleep 0.05; done", folder.path().display());
    std::fs::write(path("camera.sh"), script).unwrap();
    let web = serve(&colours(), &format!("command:sh '{}'", path("camera.sh").display()), &[]);
    let mut film = Film::open(&web, "/stream.mjpg");
    while film.next_notice().notice.as_deref() != Some("damaged") {}
    std::fs::write(path("whole"), &whole).unwrap();
    std::fs::rename(path("whole"), path("frame")).unwrap();
    film.next();
    web.running.stop_in_time(Signal::TERM).expect(0);
}

/// Whether something lies there to be read.
trait Peek {
    fn peek_ready(&self) -> bool;
}

impl Peek for TcpStream {
    fn peek_ready(&self) -> bool {
        self.set_read_timeout(Some(TICK)).unwrap();
        let outcome = self.peek(&mut [0]).is_ok_and(|count| count > 0);
        self.set_read_timeout(Some(LIMIT)).unwrap();
        outcome
    }
}

#[test]
fn what_is_switched_off_is_not_there() {
    let web = serve(&colours(), "pattern:96x64", &["http.pictures=false", "http.predict=false"]);
    for target in ["/api/v1/frame.jpg", "/api/v1/mask.png", "/api/v1/overlay.jpg", "/stream.mjpg"] {
        web.get(target).is_problem(404, ["http.pictures = false"]);
    }
    post(&web, b"", &[]).is_problem(404, ["http.predict = false"]);
    web.ends_well();
}

#[test]
fn a_picture_that_is_sent_is_answered_as_predict_answers_it() {
    let grouped = grouped_colours();
    let grouped = grouped.path().join("model.tflite");
    let web = serve(&grouped, "pattern:320x240", &["camera.rate=20"]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    for path in files(&media("colours")) {
        let mut command = with(pspnetd(["predict", "--json", "-o", out]), ["model.threads=1"]);
        command.arg(&path).arg("--model").arg(&grouped);
        let theirs = finish(command).expect(0).records().remove(0);
        let bytes = std::fs::read(&path).unwrap();
        let reply = post(&web, &bytes, &[]);
        assert_eq!((reply.status, reply.field("content-type")), (200, Some("application/json")), "{}", reply.text());
        let figures: Value = reply.json();
        for key in ["width", "height", "classes", "groups", "confidence"] {
            assert_eq!(figures[key], theirs[key], "{key}");
        }
        assert!(
            figures["groups"].is_object() && figures["times_ms"]["infer"].is_number() && figures["model"] == "colours"
        );
        let mask = post(&web, &bytes, &["Accept: image/png"]);
        assert_eq!(mask.field("content-type"), Some("image/png"));
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(mask.body == std::fs::read(folder.path().join(format!("{stem}_mask.png"))).unwrap(), "{stem}");
    }
    web.ends_well();
}

/// A PNG of which only a beginning is there.
fn png_of(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_chunk(png::chunk::IDAT, &[0x78, 0x9C]).unwrap();
    bytes
}

/// A small PNG with 250,000 texts of one letter: almost 4 MiB.
fn full_of_texts() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 64, 64);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().unwrap();
    for _ in 0..250_000 {
        writer.write_chunk(png::chunk::tEXt, b"k\0x").unwrap();
    }
    writer.write_image_data(&[0; 64 * 64]).unwrap();
    drop(writer);
    assert!((3 << 20..4 << 20).contains(&bytes.len()), "{}", bytes.len());
    bytes
}

#[test]
fn bombs_and_what_is_no_picture_are_refused_in_little_memory() {
    let web = serve(&colours(), "pattern:320x240", &["camera.rate=20"]);
    let whole = std::fs::read(media("colours/5_double.jpg")).unwrap();
    assert_eq!(post(&web, &whole, &[]).status, 200);
    let [process] = workers(&web.running, "predict")[..] else { panic!("{:?}", children(&web.running)) };
    let (before, runner) = (peak(web.running.id()), peak(process));
    let mut announced = whole.clone();
    let sof = announced.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    announced[sof + 5..sof + 9].copy_from_slice(&[0xC3, 0x50, 0xC3, 0x50]);
    for bomb in [png_of(50_000, 50_000), png_of(16_384, 16_384), png_of(1921, 1080), announced] {
        post(&web, &bomb, &[]).is_problem(413, ["http.max_pixels allows 2073600 pixels"]);
    }
    post(&web, &whole[..whole.len() / 2], &[]).is_problem(422, ["the picture can't be decoded"]);
    post(&web, b"GIF89a of some kind", &[]).is_problem(415, ["neither as a JPEG nor as a PNG"]);
    post(&web, b"", &[]).is_problem(415, ["empty"]);
    post(&web, &whole, &["Content-Type: image/png"]).is_problem(415, ["Content-Type says PNG", "JPEG"]);
    post(&web, &whole, &["Content-Type: multipart/form-data; boundary=x"]).is_problem(415, ["--data-binary"]);
    post(&web, &whole, &["Accept: text/html"]).is_problem(406, ["image/png"]);
    web.get("/api/v1/predict").is_problem(405, ["POST"]);
    // Announced too long, too long without being announced, and one that fits in but for a byte.
    let ask = |lines: &str| format!("POST /api/v1/predict HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", web.address);
    web.send(ask("Content-Length: 100000000\r\n")).is_problem(413, ["4194304 bytes", "http.max_body"]);
    let chunk = [&b"10000\r\n\xFF\xD8\xFF"[..], &[0; 0x10000 - 3], b"\r\n"].concat();
    let endless = [ask("Transfer-Encoding: chunked\r\n").into_bytes(), chunk.repeat(300)].concat();
    web.send(endless).is_problem(413, ["http.max_body"]);
    // The largest that is taken.
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large.png");
    let mut encoder = png::Encoder::new(std::fs::File::create(&large).unwrap(), 1920, 1080);
    encoder.set_color(png::ColorType::Rgba);
    encoder.write_header().unwrap().write_image_data(&vec![0; 1920 * 1080 * 4]).unwrap();
    let reply = post(&web, &std::fs::read(&large).unwrap(), &[]);
    assert_eq!((reply.status, &reply.json()["classes"]["black"]), (200, &1.0.into()), "{}", reply.text());
    // What stands beside the pixels takes nothing.
    assert_eq!(post(&web, &full_of_texts(), &[]).status, 200);
    // 11 bytes for each pixel in the process that runs pictures, and nothing in the program.
    let [process] = workers(&web.running, "predict")[..] else { panic!("{:?}", children(&web.running)) };
    assert!(peak(process) < runner + 11 * 1920 * 1080 / 1024, "{} KiB, before {runner}", peak(process));
    assert!(peak(web.running.id()) < before + 4 * 1024, "{} KiB, before {before}", peak(web.running.id()));
    web.ends_well();
}

/// The most memory of a process that was resident, KiB.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_picture_that_does_not_come_is_given_up() {
    let web = serve(&colours(), "pattern:96x64", &["camera.rate=20"]);
    let mut stream = web.connect();
    write!(stream, "POST /api/v1/predict HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000\r\n\r\n\u{89}P", web.address)
        .unwrap();
    let start = Instant::now();
    // Others are served meanwhile.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.png");
    let mut encoder = png::Encoder::new(std::fs::File::create(&path).unwrap(), 8, 8);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(&[0; 64]).unwrap();
    assert_eq!(post(&web, &std::fs::read(&path).unwrap(), &[]).status, 200);
    Reply::read(&stream).is_problem(408, ["did not come within 30 s"]);
    assert!(start.elapsed() >= Duration::from_secs(25));
    web.ends_well();
}

#[test]
fn one_picture_is_run_at_a_time_and_a_stop_does_not_wait_for_it() {
    let web = serve(&model("colours_320x240_int8_slow"), "pattern:320x240", &["camera.rate=5"]);
    web.running.stdout.wait_for_count(1);
    let bytes = std::fs::read(media("colours/5_double.jpg")).unwrap();
    let mut streams: Vec<TcpStream> = (0..2).map(|_| web.connect()).collect();
    for stream in &mut streams {
        let head = format!(
            "POST /api/v1/predict HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            web.address,
            bytes.len()
        );
        stream.write_all(&[head.as_bytes(), &bytes].concat()).unwrap();
    }
    // One of them is told at once; the other's picture takes its time.
    let start = Instant::now();
    let refused = loop {
        if let Some(at) = streams.iter().position(Peek::peek_ready) {
            break streams.remove(at);
        }
        assert!(start.elapsed() < LIMIT);
    };
    let reply = Reply::read(refused);
    reply.is_problem(503, ["one at a time"]);
    assert_eq!(reply.field("retry-after"), Some("1"));
    let lines = web.running.stdout.count();
    web.running.stdout.wait_for_count(lines + 1);
    web.running.stop_in_time(Signal::TERM).expect(0);
}
