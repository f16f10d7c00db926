//! The latency log on a disk that fills up and gets room again, under a logger that listens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/latency.rs"]
mod latency;
#[path = "support/needs.rs"]
mod needs;

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pspnetd::publish::latency_log::LatencyLog;
use pspnetd::publish::Journal as _;
use pspnetd::report::{Range, Report};
use pspnetd::telemetry::EngineReport;

use latency::{about, board, config, frames, minute};

const LIMIT: Duration = Duration::from_secs(60);
const DISK: &str = "PSPNETD_TEST_DISK";

/// What was logged.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Listener;

impl log::Log for Listener {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        SAID.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

#[test]
fn a_disk_that_gets_room_again_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=64k tmpfs \"$0\" || exit 99; exec \"$@\"";
    let Some(mut command) = needs::own_mounts() else { return };
    command.args(["sh", "-c", script]).arg(folder.path()).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "on_a_small_disk", "--ignored", "--nocapture"]).env(DISK, folder.path());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "the test above runs it, in a file system of its own"]
fn on_a_small_disk() {
    log::set_logger(&Listener).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    let disk = std::env::var_os(DISK).expect("only on a disk of its own");
    let disk = Path::new(&disk);
    std::fs::write(disk.join("other"), vec![0; 45_000]).unwrap();
    let path = disk.join("latency.jsonl");
    let mut log = LatencyLog::open(&config(&path), &about(Timestamp::now())).unwrap().unwrap();
    let (latency, board, engine) = (frames(1..=500), board(), EngineReport { kind: "cpu", ..EngineReport::default() });
    let mut handed = 1;
    let mut write_until = |log: &mut LatencyLog, what: &dyn Fn(&LatencyLog) -> bool| {
        let start = Instant::now();
        while !what(log) {
            assert!(start.elapsed() < LIMIT, "{:?}", SAID.lock().unwrap());
            let before = Instant::now();
            log.interval(&minute(Timestamp::now(), &latency, &board, &engine));
            assert!(before.elapsed() < LIMIT / 10, "handing a record over waited for the disk");
            handed += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    write_until(&mut log, &|log| log.lost() > 5);
    std::fs::remove_file(disk.join("other")).unwrap();
    let lines = || std::fs::read_to_string(&path).unwrap().lines().count();
    let before = lines();
    write_until(&mut log, &|_| lines() > before + 4);
    let lost = Box::new(log).close(LIMIT);
    let said = SAID.lock().unwrap().join("\n");
    assert_eq!(said.matches("No space left on device").count(), 1, "{said}");
    assert_eq!(said.matches("writing again").count(), 1, "{said}");
    // Every record is in the file or counted as lost, and the line that ended where the disk did swallows no other.
    let report = Report::read(&[path], Range::default()).unwrap().json().unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["intervals"].as_u64().unwrap() + 1 + lost, handed, "{report}");
}
