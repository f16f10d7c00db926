//! `pspnetd report` on logs with known content, and on files that are none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/latency.rs"]
mod latency;
mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base::values::Bytes;
use pspnetd::publish::latency_log::LatencyLog;
use pspnetd::publish::Journal as _;
use pspnetd::telemetry::EngineReport;
use pspnetd::telemetry::What;
use serde_json::Value;

use latency::{about, begin, board, config, frames, minute, Log};
use support::{colours, file, finish, pspnetd, replay, run, with, Finished, Running, Signal, LIMIT};

fn report(arguments: &[&str]) -> Finished {
    finish(pspnetd([&["report"], arguments].concat()))
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&report(&["--json", path.to_str().unwrap()]).expect(0).stdout).unwrap()
}

fn stage<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["stages"].as_array().unwrap().iter().find(|stage| stage["stage"] == name).unwrap()
}

/// A log of `minutes` with 100 frames each: 1 to 100 ms.
fn plain(minutes: usize) -> Log {
    let mut log = Log::new("aaaaaaaa", 0);
    let latency = frames(1..=100);
    (0..minutes).for_each(|_| {
        log.minute(&latency);
    });
    log
}

#[test]
fn a_log_is_summed_up_in_a_table() {
    let (_folder, path) = file("l", &plain(3).text);
    let text = report(&[path.to_str().unwrap()]).expect(0).stdout;
    assert!(
        text.starts_with("2026-10-01 00:00:00 to 2026-10-01 00:03:00 UTC, 3 intervals (3 min 0 s), 1 run\n"),
        "{text}"
    );
    for line in [
        "infer              300      50.02      90.05      99.01     100.03     100.03",
        "frames: 330 in, 300 inferred, 300 published, 1.67 per second",
        "drops: 30 replaced, 0 skipped, 0 corrupt, 0 failed, 3 by sinks",
        "power: 4.000 W mean, 4.000 W max, 2.4000 J per frame, 0.720 kJ",
        "temperature soc: 50.0 °C mean, 50.0 °C max",
        "throttled: 0.3 min",
        "restarts: 0",
        "outages: none",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
    }
}

#[test]
fn rotated_files_are_taken_along_and_merge_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, max_bytes: u64| {
        let path = folder.path().join(name);
        let config = pspnetd::config::LatencyLog { max_bytes: Bytes(max_bytes), ..config(&path) };
        let mut log = LatencyLog::open(&config, &about(begin())).unwrap().unwrap();
        let (board, engine) = (board(), EngineReport { kind: "cpu", ..EngineReport::default() });
        for n in 1..=20_u64 {
            let time = begin().checked_add(jiff::SignedDuration::from_mins(n as i64)).unwrap();
            log.interval(&minute(time, &frames((1..=200).map(|ms| ms * n)), &board, &engine));
        }
        assert_eq!(Box::new(log).close(Duration::from_secs(20)), 0);
        path
    };
    let (whole, parts) = (write("whole", 0), write("parts", 4096));
    assert!(folder.path().join("parts.3").exists() && !folder.path().join("whole.1").exists());
    let (whole, parts) = (json(&whole), json(&parts));
    assert_eq!(whole["stages"], parts["stages"]);
    assert_eq!(stage(&whole, "infer")["n"], 4000);
    // One that was named by itself is read alone.
    let last = json(&folder.path().join("parts.1"));
    assert!(stage(&last, "infer")["n"].as_u64().unwrap() < 4000);
}

#[test]
fn a_power_cut_loses_nothing_of_what_stood_before() {
    let whole = plain(3).text;
    let begin_of_last = whole[..whole.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
    for cut in [begin_of_last + 1, begin_of_last + 50, whole.len() - 2] {
        let (_folder, path) = file("l", &whole[..cut]);
        let report = json(&path);
        assert_eq!(stage(&report, "infer")["n"], 200);
        assert!(report["remarks"][0].as_str().unwrap().contains("the last line has no end"), "{report}");
    }
    // The next run closes the line; a file system that lost the data leaves zero bytes.
    let mut text = [&whole[..begin_of_last + 50], b"\n", &[0; 5000], b"\n"].concat();
    text.extend(Log::new("bbbbbbbb", 10).minute(&frames([7])).text.clone());
    let (_folder, path) = file("l", &text);
    let report = json(&path);
    assert_eq!(stage(&report, "infer")["n"], 201);
    let remark = report["remarks"][0].as_str().unwrap();
    assert!(remark.contains("2 damaged lines are left out; the first, line 4: "), "{remark}");
}

#[test]
fn a_damaged_histogram_costs_its_record_alone() {
    let text = String::from_utf8(plain(2).text).unwrap();
    let at = text.find("\"hdr\":\"").unwrap() + 30;
    let damaged = format!("{}////{}", &text[..at], &text[at + 4..]);
    let (_folder, path) = file("l", damaged.as_bytes());
    let report = json(&path);
    assert_eq!((&stage(&report, "infer")["n"], &report["intervals"]), (&100.into(), &1.into()));
    assert!(report["remarks"][0].as_str().unwrap().contains("1 damaged line is left out"), "{report}");
}

#[test]
fn a_line_without_end_is_passed_over() {
    let mut text = plain(1).text;
    text.extend(std::iter::repeat_n(b'{', 5 << 20));
    text.push(b'\n');
    text.extend(Log::new("bbbbbbbb", 10).minute(&frames([7])).text.clone());
    let (_folder, path) = file("l", &text);
    let report = json(&path);
    assert_eq!(stage(&report, "infer")["n"], 101);
    assert!(report["remarks"][0].as_str().unwrap().contains("line 3: it is longer than 1 MiB"), "{report}");
}

#[test]
fn files_that_are_no_logs_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let results = br#"{"time":"2026-11-22T10:00:00.000000Z","sequence":3,"model":"m","classes":{"a":1.0}}"#;
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("text", b"Dear reader,\nthis is no log.\n"),
        ("results", results),
        ("gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03"),
        ("nul", &[0; 100_000]),
        ("json", b"[1,2,3]\n"),
        ("deep", &[b'['; 100_000]),
    ] {
        std::fs::write(path(name), bytes).unwrap();
    }
    std::fs::create_dir(path("folder")).unwrap();
    let binary = env!("CARGO_BIN_EXE_pspnetd");
    for (what, code, words) in [
        (path("empty"), 65, "no records: the log is empty"),
        (path("text"), 65, "no latency log: none of 2 lines is a record; line 1: "),
        (path("results"), 65, "a result of publish.jsonl; telemetry.latency_log.path names"),
        (path("gz"), 65, "unpack it first"),
        (path("nul"), 65, "zero bytes"),
        (path("json"), 65, "no latency log"),
        (path("deep"), 65, "no latency log"),
        (PathBuf::from(binary), 65, "no latency log"),
        (PathBuf::from("/dev/zero"), 65, "longer than 1 MiB"),
        (path("missing"), 66, "No such file or directory (os error 2); telemetry.latency_log.path"),
        (path("folder"), 66, "is a folder"),
    ] {
        let finished = report(&[what.to_str().unwrap()]).expect(code);
        let last = finished.stderr.lines().last().unwrap();
        assert!(last.starts_with("pspnetd: ") && last.contains(words), "{}: {last}", what.display());
        assert_eq!(finished.stdout, "");
    }
    report(&[]).expect(2);
    report(&["--compare", "a"]).expect(2);
    report(&["a", "--from", "soon"]).expect(2).says(["expected 2026-11-22"]);
}

#[test]
fn outages_and_restarts_are_a_list() {
    let latency = frames([10]);
    let mut first = Log::new("bbbbbbbb", 0);
    first.minute(&latency).event(What::Camera, "waiting", "unplugged").minute(&latency).minute(&latency);
    first.event(What::Camera, "running", "cam").event(What::Engine, "down", "no answer").minute(&latency);
    first.event(What::Engine, "up", "").event(What::Throttle, "under_voltage,throttled", "").minute(&latency);
    first.event(What::Throttle, "none", "");
    // A power cut, and five minutes later a new run, which still waits for its camera.
    let mut second = Log::new("aaaaaaaa", 10);
    second.minute(&latency).event(What::Camera, "waiting", "gone \u{1b}[31m").minute(&latency);
    let (folder, path) = file("l.1", &first.text);
    std::fs::write(folder.path().join("l"), &second.text).unwrap();
    let path = path.with_extension("");
    let text = report(&[path.to_str().unwrap()]).expect(0).stdout;
    for line in [
        "restarts: 1",
        "  2026-10-01 00:01:00  2026-10-01 00:03:00   2 min 0 s  camera away: unplugged",
        "  2026-10-01 00:03:00  2026-10-01 00:04:00   1 min 0 s  engine down: no answer",
        "  2026-10-01 00:04:00  2026-10-01 00:05:00   1 min 0 s  throttled: under_voltage,throttled",
        "  2026-10-01 00:05:00  2026-10-01 00:10:00   5 min 0 s  daemon not running: ended without a word after this time: \
         power cut, crash, or killed",
        "  2026-10-01 00:11:00  lasts                 1 min 0 s  camera away: gone \\u{1b}[31m",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
    }
}

#[test]
fn the_page_needs_nothing_else_and_text_in_it_is_only_text() {
    let mut log = plain(30);
    log.event(What::Camera, "waiting", "<script>alert('&')</script>").minute(&frames([7]));
    let (folder, path) = file("l", &log.text);
    let page = folder.path().join("report.html");
    report(&[path.to_str().unwrap(), "--html", page.to_str().unwrap()]).expect(0);
    let html = std::fs::read_to_string(page).unwrap();
    for outside in ["<script", "src=", "href=", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    // The name of SVG's own vocabulary is the only address.
    assert_eq!(html.matches("://").count(), html.matches("xmlns=\"http://www.w3.org/2000/svg\"").count());
    assert!(html.contains("&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;"));
    for title in
        ["Outages", "End-to-end latency", "Distribution of end-to-end latency", "Frames", "Power", "Temperature"]
    {
        assert!(html.contains(&format!("<svg role=\"img\" aria-label=\"{title}\" ")), "{title}");
    }
    assert!(html.len() < 2 << 20, "{} bytes", html.len());
    report(&[path.to_str().unwrap(), "--html", "/nonexistent/x.html"]).expect(74).says(["/nonexistent/x.html: "]);
}

#[test]
fn a_part_of_the_log_can_be_chosen() {
    let (_folder, path) = file("l", &plain(10).text);
    let n = |from: &str, to: &str| {
        let finished = report(&["--json", "--from", from, "--to", to, path.to_str().unwrap()]).expect(0);
        serde_json::from_str::<Value>(&finished.stdout).unwrap()["intervals"].as_u64().unwrap()
    };
    assert_eq!(n("2026-10-01T00:02", "2026-10-01T00:05:00Z"), 3);
    report(&["--from", "2026-10-02", path.to_str().unwrap()]).expect(65).says(["--from and --to"]);
}

#[test]
fn a_comparison_says_what_is_better_and_where_there_is_too_little() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, minutes: i64, milliseconds: u64| {
        let mut log = Log::new(name, 0);
        for n in 0..minutes {
            log.minute(&frames((0..500).map(|frame| milliseconds + frame % 7 + u64::try_from(n).unwrap() % 3)));
        }
        let path = folder.path().join(name);
        std::fs::write(&path, &log.text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (slow, fast, same, short) =
        (write("slow", 40, 60), write("fast", 40, 45), write("same", 40, 60), write("short", 3, 45));
    let verdicts = |second: &str| {
        let text = report(&["--compare", &slow, second]).expect(0).stdout;
        let verdict = |figure: &str| {
            let line = text.lines().find(|line| line.starts_with(figure)).unwrap_or_else(|| panic!("{text}"));
            line.rsplit("  ").next().unwrap().to_owned()
        };
        [verdict("infer p50"), verdict("infer p99 "), verdict("mean power")]
    };
    assert_eq!(verdicts(&fast), ["better", "better", "no clear difference"]);
    assert_eq!(verdicts(&same), ["no clear difference", "no clear difference", "no clear difference"]);
    assert_eq!(verdicts(&short), ["too few samples to tell", "too few samples to tell", "too few samples to tell"]);
    let text = report(&["--compare", &slow, &fast, "--json"]).expect(0).stdout;
    let pairs: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(pairs[0]["figures"].as_array().unwrap().iter().filter(|it| it["verdict"] == "worse").count(), 0);
}

#[test]
fn a_log_that_is_being_written_and_standard_input_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l");
    let mut log = LatencyLog::open(&config(&path), &about(begin())).unwrap().unwrap();
    let (board, engine, latency) = (board(), EngineReport { kind: "cpu", ..EngineReport::default() }, frames([10]));
    // The writer has a pace of its own.
    let start = std::time::Instant::now();
    while std::fs::metadata(&path).unwrap().len() == 0 {
        assert!(start.elapsed() < LIMIT, "nothing was written");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut seen = 0;
    for n in 1..=5 {
        (0..10).for_each(|k| {
            let time = begin().checked_add(jiff::SignedDuration::from_mins(10 * n + k)).unwrap();
            log.interval(&minute(time, &latency, &board, &engine));
        });
        let so_far = json(&path)["intervals"].as_u64().unwrap_or(0);
        assert!(so_far >= seen);
        seen = so_far;
    }
    assert_eq!(Box::new(log).close(Duration::from_secs(20)), 0);
    assert_eq!(json(&path)["intervals"], 50);
    let mut command = pspnetd(["report", "-", "--json"]);
    let input = std::fs::File::open(&path).unwrap();
    let finished = Running::start_as_set(command.stdin(input).stdout(Stdio::piped())).finish().expect(0);
    assert_eq!(serde_json::from_str::<Value>(&finished.stdout).unwrap()["intervals"], 50);
}

#[test]
fn logs_of_several_boards_are_told_apart() {
    let (folder, one) = file("one", &plain(5).text);
    let mut other = Log::new("bbbbbbbb", 2);
    other.minute(&frames([1]));
    let other_board = String::from_utf8(other.text).unwrap();
    let host = other_board.split("\"host\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let other_board = other_board.replace(&format!("\"host\":\"{host}\""), "\"host\":\"other-board\"");
    let two = folder.path().join("two");
    std::fs::File::create(&two).unwrap().write_all(other_board.as_bytes()).unwrap();
    let text = report(&[two.to_str().unwrap(), one.to_str().unwrap()]).expect(0).stdout;
    assert!(
        text.contains("note: 2 boards in one report: ") && text.contains("note: a run overlaps the one before"),
        "{text}"
    );
    assert!(!text.contains("daemon not running"), "{text}");
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let (_folder, path) = file("l", &plain(1).text);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = pspnetd(["report", path.to_str().unwrap()]);
    Running::start_as_set(command.stdout(full)).finish().expect(74).says(["No space left on device"]);
}

/// The text log of a board that lost its camera, its power and its heat for a while; `stamp` makes a line's beginning from
/// the seconds since 10 o'clock.
fn text_log(stamp: impl Fn(u32) -> String) -> String {
    let mut text = String::new();
    let mut say = |second: u32, lines: &[&str]| {
        lines.iter().for_each(|line| text.push_str(&format!("{}{line}\n", stamp(second))));
    };
    let frames = |n: u32| {
        format!(
            "frames in={n} inferred={n} published={n} replaced=1 skipped=2 corrupt=0 failed=0 fps=10.00 seconds=10.0"
        )
    };
    let latency = |n: u32, ms: u32| {
        format!("latency stage=infer n={n} p50_ms={ms}.00 p90_ms=90.00 p99_ms={ms}9.00 max_ms={ms}99.00")
    };
    let (power, none) = ("power rail=total watts=4.000 joules=40.5", "power rail=total watts=unknown joules=unknown");
    say(0, &["pspnetd 0.1.0, configuration /etc/pspnetd/pspnetd.toml", "camera: Pi Camera at /dev/video0: 640x480"]);
    say(10, &[&frames(100), &latency(100, 2), power, "thermal sensor=soc celsius=51.0"]);
    say(12, &["throttled now=under_voltage has_occurred=under_voltage"]);
    say(20, &[&frames(100), &latency(100, 7), power, "thermal sensor=soc celsius=unknown"]);
    say(24, &["throttled now=none has_occurred=under_voltage", "camera: waiting: /dev/video0: gone"]);
    say(30, &[&frames(40), &latency(40, 3), none, "thermal sensor=soc celsius=53.0"]);
    say(40, &["frames in=0 inferred=0 published=0 replaced=0 skipped=0 corrupt=0 failed=0 fps=0.00 seconds=10.0"]);
    // The silence after it has no lines.
    say(100, &["camera: Pi Camera at /dev/video0: 640x480"]);
    say(110, &[&frames(60), "stopping: SIGTERM"]);
    say(
        113,
        &["stage              n     p50 ms     p90 ms     p99 ms     max ms", "infer  300  3.00  90.00  29.00  299.00"],
    );
    say(
        113,
        &["frames in=330 inferred=330 published=330 replaced=4 skipped=8 corrupt=0 failed=0 fps=2.92 seconds=113.0"],
    );
    say(200, &["pspnetd 0.1.0, no configuration file: defaults", "sensors: none"]);
    say(210, &[&frames(10), power]);
    text
}

#[test]
fn the_log_as_text_is_read_in_every_form_that_it_comes_in() {
    let time = |second: u32| format!("10:{:02}:{:02}", second / 60, second % 60);
    let own = |second| format!("[2026-10-01T{}.000Z INFO ] ", time(second));
    let iso = |second| format!("2026-10-01T{}+0000 pi pspnetd[77]: ", time(second));
    let short = |second| format!("Oct 01 {} pi pspnetd[77]: ", time(second));
    for (name, text) in [("own", text_log(own)), ("iso", text_log(iso)), ("short", text_log(short))] {
        let (_folder, path) = file("log", text.as_bytes());
        let report = json(&path);
        assert_eq!(
            (&report["intervals"], &report["frames"]["published"]),
            (&7.into(), &340.into()),
            "{name}: {report:#}"
        );
        assert_eq!((&report["frames"]["replaced"], &report["frames"]["skipped"]), (&5.into(), &10.into()), "{name}");
        let infer = stage(&report, "infer");
        let near = |value: &Value, expected: f64| (value.as_f64().unwrap() - expected).abs() < expected * 1e-3;
        assert_eq!((&infer["n"], &infer["p90_ms"]), (&240.into(), &Value::Null), "{name}");
        assert!(
            near(&infer["p50_ms"], 3.0) && near(&infer["p99_ms"], 79.0) && near(&infer["max_ms"], 799.0),
            "{infer}"
        );
        // 121.5 J in the three intervals that knew them, with 210 frames.
        assert!(near(&report["power"]["joules"], 121.5), "{name}: {report:#}");
        assert!(near(&report["power"]["joules_per_frame"], 121.5 / 210.0), "{name}: {report:#}");
        assert_eq!(report["temperatures"][0]["mean_celsius"], 52.0, "{name}");
        assert!(near(&report["throttled_minutes"], 0.2), "{name}: {report:#}");
        let outages: Vec<String> = report["outages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| format!("{} {} {}", it["kind"].as_str().unwrap(), it["seconds"], it["text"].as_str().unwrap()))
            .collect();
        let expected = ["throttled 12.0 under_voltage", "camera 76.0 /dev/video0: gone", "daemon 87.0 stopped"];
        assert_eq!(outages, expected, "{name}");
        assert_eq!(report["runs"].as_array().unwrap().len(), 2, "{name}");
        let remarks = report["remarks"].to_string();
        assert!(remarks.contains("p50 is the median of the intervals', p99 and max the worst interval's"), "{remarks}");
        assert_eq!(remarks.contains("without a year"), name == "short", "{remarks}");
        assert!(!remarks.contains("damaged"), "{remarks}");
        let page = path.with_extension("html");
        self::report(&[path.to_str().unwrap(), "--html", page.to_str().unwrap()]).expect(0);
    }
    let (_folder, path) = file("log", text_log(|_| String::new()).as_bytes());
    let report = json(&path);
    assert_eq!((&report["frames"]["published"], &report["intervals"]), (&340.into(), &7.into()), "{report:#}");
    assert!(report["remarks"].to_string().contains("without time stamps"), "{report:#}");
    let (_folder, path) = file("log", b"{\"MESSAGE\":\"frames in=3\",\"__REALTIME_TIMESTAMP\":\"1\"}\n");
    self::report(&[path.to_str().unwrap()]).expect(65).says(["journalctl's JSON; -o short-iso"]);
}

#[test]
fn the_log_of_a_real_run_adds_up_to_what_was_published() {
    let settings = ["camera.rate=20", "camera.loop=true", "telemetry.interval=500ms"];
    let running = Running::start(with(run(&colours(), &replay("colours.mjpeg")), settings));
    running.stdout.wait_for_count(40);
    let finished = running.stop(Signal::TERM).0.expect(0);
    let (_folder, path) = file("log", finished.stderr.as_bytes());
    let report = json(&path);
    assert_eq!(report["frames"]["published"], finished.records().len(), "{}", finished.stderr);
    assert_eq!(report["frames"]["frames_in"], finished.count("in"), "{}", finished.stderr);
    assert_eq!((report["runs"].as_array().unwrap().len(), &report["runs"][0]["is_stopped"]), (1, &true.into()));
    assert!(stage(&report, "infer")["p50_ms"].as_f64().unwrap() > 0.0, "{report:#}");
}
