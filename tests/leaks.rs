//! Months of running in small: hundreds of passes and reopenings leave descriptors, threads and memory where they were.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use support::held::{held, Held};
use support::{colours, media, replay, run, with, Running, Signal, LIMIT};

/// Frames published so far, from the last record of the output file.
fn frames(path: &std::path::Path) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let last = text.rsplit_once('\n').map_or("", |(whole, _)| whole.rsplit('\n').next().unwrap_or_default());
    serde_json::from_str::<serde_json::Value>(last).map_or(0, |record| record["sequence"].as_u64().unwrap())
}

fn wait_for_frames(path: &std::path::Path, count: u64) {
    let start = Instant::now();
    while frames(path) < count {
        assert!(start.elapsed() < LIMIT, "{} of {count} frames", frames(path));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn expect_flat(early: &Held, late: &Held) {
    assert_eq!((early.descriptors, early.threads), (late.descriptors, late.threads), "{early:?} {late:?}");
    // Pages that are touched late for the first time, not a frame's worth each pass.
    assert!(late.rss_kib < early.rss_kib + 2048, "{early:?} {late:?}");
}

#[test]
fn two_hundred_passes_through_a_clip_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let sink = format!("publish.jsonl.path={}", path.display());
    let settings =
        ["camera.rate=max", "camera.loop=true", &sink, "publish.jsonl.max_bytes=64KiB", "publish.jsonl.keep=1"];
    let running = Running::start(with(run(&colours(), &replay("colours.mjpeg")), settings));
    wait_for_frames(&path, 100);
    let early = held(&running);
    wait_for_frames(&path, 100 + 200 * 5);
    let late = held(&running);
    expect_flat(&early, &late);
    running.stop(Signal::TERM).0.expect(0);
}

#[test]
fn a_source_that_fails_and_comes_back_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("clip.y4m");
    let whole = std::fs::read(media("colours.y4m")).unwrap();
    // Replaced in one step, as a file that a recorder writes anew.
    let put = |bytes: &[u8]| {
        let partial = folder.path().join("partial");
        std::fs::write(&partial, bytes).unwrap();
        std::fs::rename(&partial, &clip).unwrap();
    };
    std::fs::write(&clip, &whole).unwrap();
    let camera = format!("replay:{}", clip.display());
    let running = Running::start(with(run(&colours(), &camera), ["camera.rate=max", "camera.loop=true"]));
    running.stderr.wait_for("camera: Y4M video");
    let lines_with = |words: &str| running.stderr.text().matches(words).count();
    let cycle = || {
        let (waited, opened) = (lines_with("camera: waiting"), lines_with("camera: Y4M video"));
        let more = |words: &'static str, than: usize| {
            let count = |lines: &[String]| lines.iter().filter(|line| line.contains(words)).count();
            running.stderr.wait_until(words, |lines| count(lines) > than);
        };
        // Emptied under the reader: a pass ends without a frame, the camera is given up and opened again.
        std::fs::write(&clip, b"").unwrap();
        more("camera: waiting", waited);
        put(&whole);
        more("camera: Y4M video", opened);
    };
    cycle();
    let early = held(&running);
    (1..8).for_each(|_| cycle());
    let late = held(&running);
    expect_flat(&early, &late);
    running.stop(Signal::TERM).0.expect(0);
}
