//! Cameras whose JPEGs don't keep to the standard: every picture that is whole is shown, from files and from camera programs, and
//! what is damaged is counted and told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::process::Command;

use camera::testing::{compress_with, intervals, joined, with_segment, RESTART};
use turbojpeg::Subsamp;

use support::clips::{expect_areas, stripes, COLOURS};
use support::{colours, file, finish, pspnetd, run, with, Finished, Running, Signal};

/// Area figures are rounded to six digits.
const EXACT: f64 = 1e-6;

/// The colour clip's frame `frame` as a JPEG with restart intervals of three MCUs.
fn jpeg(frame: usize) -> Vec<u8> {
    let row: Vec<u8> = (0..96).flat_map(|x| COLOURS[(frame + x / 16) % 8]).collect();
    compress_with(&row.repeat(64), (96, 64), Subsamp::Sub2x1, &[(RESTART, 3)])
}

/// A frame as a kind of camera sends it.
type Kind = fn(Vec<u8>) -> Vec<u8>;

/// Kinds of cameras, by what is odd about their frames.
const KINDS: [(&str, Kind); 8] = [
    ("stray bytes in front of restart markers", |jpeg| {
        let (header, mut parts) = intervals(&jpeg);
        parts.iter_mut().step_by(3).for_each(|part| part.extend([0x12, 0x34, 0x56]));
        joined(&header, &parts)
    }),
    ("two SOI markers", |jpeg| [&jpeg[..2], &jpeg].concat()),
    ("two SOI markers with APP0 between them", |jpeg| {
        [&with_segment(&jpeg[..2], 2, 0xE0, b"AVI1"), &jpeg[..]].concat()
    }),
    ("no EOI marker", without_end),
    ("no EOI marker, a comment in its place", |jpeg| {
        [&without_end(jpeg)[..], &with_segment(&[], 0, 0xFE, b"of the next")].concat()
    }),
    ("608 bytes and a comment in front of EOI", |jpeg| {
        [&without_end(jpeg), &[0x55; 608][..], &with_segment(&[], 0, 0xFE, b"abcdef"), &[0xFF, 0xD9]].concat()
    }),
    ("a thumbnail in front and behind", |jpeg| {
        let with_one = with_segment(&jpeg, 2, 0xE1, &jpeg);
        with_segment(&with_one, with_one.len() - 2, 0xE1, &jpeg)
    }),
    ("zeroes behind EOI", |jpeg| [&jpeg[..], &[0; 700]].concat()),
];

fn without_end(mut jpeg: Vec<u8>) -> Vec<u8> {
    jpeg.truncate(jpeg.len() - 2);
    jpeg
}

fn whole(command: Command) -> Finished {
    finish(with(command, ["camera.rate=max", "telemetry.interval=0"]))
}

/// Five frames, as one camera sends them.
fn clip(kind: Kind) -> Vec<u8> {
    (0..5).flat_map(|frame| kind(jpeg(frame))).collect()
}

#[test]
fn every_whole_picture_of_a_replayed_stream_is_shown() {
    for (name, kind) in KINDS {
        let (_folder, path) = file("clip.mjpeg", &clip(kind));
        let finished = whole(run(&colours(), &format!("replay:{}", path.display()))).expect(0);
        assert_eq!((finished.records().len(), finished.count("corrupt")), (5, 0), "{name}: {}", finished.stderr);
        for (frame, record) in finished.records().iter().enumerate() {
            expect_areas(record, &stripes(frame as u64), EXACT);
        }
    }
}

#[test]
fn every_whole_picture_of_a_camera_program_is_shown() {
    for (name, kind) in KINDS {
        // One frame after another, so that none replaces another; the last is repeated, since only a next frame ends it.
        let (folder, path) = file("0", &kind(jpeg(0)));
        std::fs::write(folder.path().join("1"), kind(jpeg(1))).unwrap();
        let script = format!("cd '{}'; while :; do cat 0; sleep 0.2; cat 1; sleep 0.2; done", folder.path().display());
        let (_scripts, script) = file("script", script.as_bytes());
        let running = Running::start(run(&colours(), &format!("command:sh '{}'", script.display())));
        running.stdout.wait_for_count(4);
        let finished = running.stop(Signal::TERM).0.expect(0);
        assert_eq!(finished.count("corrupt"), 0, "{name}, {}: {}", path.display(), finished.stderr);
        for record in finished.records() {
            let frame = record["sequence"].as_u64().unwrap() % 2;
            expect_areas(&record, &stripes(frame), EXACT);
        }
    }
}

#[test]
fn a_single_picture_is_read_whatever_is_odd_about_it() {
    for (name, kind) in KINDS {
        let (folder, path) = file("odd.jpg", &kind(jpeg(0)));
        let clean = folder.path().join("clean.jpg");
        std::fs::write(&clean, jpeg(0)).unwrap();
        let mut command = pspnetd(["predict", "--set", "model.threads=1"]);
        command.arg(&path).arg(&clean).arg("--model").arg(colours()).arg("-o").arg(folder.path().join("out"));
        finish(command).expect(0);
        let mask = |stem: &str| std::fs::read(folder.path().join(format!("out/{stem}_mask.png"))).unwrap();
        assert!(mask("odd") == mask("clean"), "{name}");
    }
}

#[test]
fn damaged_frames_are_counted_told_by_what_was_found_and_cost_no_other() {
    let good = jpeg(0);
    let (header, parts) = intervals(&good);
    let half = &good[..good.len() - 40];
    let lacking = joined(&header, &[&parts[..3], &parts[6..]].concat());
    for (broken, words) in [
        (half.to_vec(), "the data end before the picture does (JWRN_HIT_MARKER"),
        (lacking, "restart markers are missing or out of order (JWRN_MUST_RESYNC"),
        ([half, &[0; 60_000]].concat(), "damaged: "),
    ] {
        let bare = without_end(good.clone());
        let clip = [&bare[..], &broken, &bare, &good, &broken].concat();
        let (_folder, path) = file("clip.mjpeg", &clip);
        let finished =
            whole(run(&colours(), &format!("replay:{}", path.display()))).expect(0).says(["frame skipped", words]);
        assert_eq!((finished.records().len(), finished.count("corrupt")), (3, 2), "{words}: {}", finished.stderr);
        for record in finished.records() {
            expect_areas(&record, &stripes(0), EXACT);
        }
        let (_folder, path) = file("broken.jpg", &broken);
        let mut command = pspnetd(["predict", "--json"]);
        command.arg(&path).arg("--model").arg(colours());
        finish(command).expect(65).says([words]);
    }
}
