//! `pspnetd run` on files and on the test picture: every frame once, in order, with the right class areas.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;

use support::clips::{expect_areas, jpegs, plain, ppm, stripes, COLOURS};
use support::{area, colours, finish, grouped_colours, media, model, replay, run, with, Finished, Running, Signal};

/// Area figures are rounded to six digits.
const EXACT: f64 = 1e-6;

/// Runs a source at full speed to its end.
fn whole(model: &Path, camera: &str, settings: &[&str]) -> Finished {
    let mut command = with(run(model, camera), ["camera.rate=max"]);
    settings.iter().for_each(|setting| _ = command.args(["--set", setting]));
    finish(command)
}

fn replay_path(path: &Path) -> String {
    format!("replay:{}", path.display())
}

#[track_caller]
fn expect_stripes(finished: &Finished, frames: &[u64]) {
    let records = finished.records();
    let sequences: Vec<u64> = records.iter().map(|record| record["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, frames);
    for (record, &frame) in records.iter().zip(frames) {
        expect_areas(record, &stripes(frame), EXACT);
    }
}

#[test]
fn every_frame_of_a_clip_is_published_once_and_in_order() {
    for clip in ["colours.y4m", "colours.mjpeg"] {
        let finished = whole(&colours(), &replay(clip), &[]).expect(0);
        expect_stripes(&finished, &[0, 1, 2, 3, 4]);
        let counts = ["in", "inferred", "published", "replaced", "skipped", "corrupt", "failed"];
        assert_eq!(counts.map(|name| finished.count(name)), [5, 5, 5, 0, 0, 0, 0], "{}", finished.stderr);
        assert!(!finished.stderr.contains("ERROR"), "{}", finished.stderr);
    }
}

#[test]
fn a_record_has_every_documented_field() {
    let finished = whole(&colours(), &replay("colours.y4m"), &[]).expect(0);
    let mut last = String::new();
    for record in finished.records() {
        let keys: Vec<&String> = record.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["time", "sequence", "model", "classes", "confidence", "engine", "latency_ms", "drops"]);
        assert_eq!(record["model"], "colours");
        let time = record["time"].as_str().unwrap();
        assert!(time.len() == 27 && time.ends_with('Z') && time > last.as_str(), "{time} after {last}");
        time.clone_into(&mut last);
        let classes = record["classes"].as_object().unwrap();
        assert_eq!(classes.len(), 8, "{record}");
        let sum: f64 = classes.values().map(|area| area.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{record}");
        let confidence = record["confidence"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&confidence), "{record}");
        let latency = &record["latency_ms"];
        let ms = |stage: &str| latency[stage].as_f64().unwrap_or_else(|| panic!("no {stage} in {record}"));
        let parts: f64 = ["sensor", "convert", "queue", "infer", "decode"].map(ms).iter().sum();
        assert!(ms("infer") > 0.0 && ms("end_to_end") >= parts - 0.01, "{record}");
        for cause in ["replaced", "skipped", "corrupt", "failed", "sinks"] {
            assert_eq!(record["drops"][cause], 0, "{record}");
        }
    }
}

#[test]
fn a_record_has_the_manifests_groups() {
    let model = grouped_colours();
    let finished = whole(&model.path().join("model.tflite"), &replay("colours.y4m"), &[]).expect(0);
    for record in finished.records() {
        let keys: Vec<&String> = record.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            ["time", "sequence", "model", "classes", "groups", "confidence", "engine", "latency_ms", "drops"]
        );
        let groups: Vec<&String> = record["groups"].as_object().unwrap().keys().collect();
        // White is the first class of a group.
        assert_eq!(groups, ["bright", "primary"]);
        let sum = |classes: &[&str]| classes.iter().map(|class| area(&record, class)).sum::<f64>();
        for (group, classes) in
            [("bright", &["white", "yellow", "cyan", "magenta"][..]), ("primary", &["red", "green", "blue"])]
        {
            let share = record["groups"][group].as_f64().unwrap();
            assert!(share > 0.0 && (share - sum(classes)).abs() < 1e-5, "{group} in {record}");
        }
    }
}

#[test]
fn a_looped_clip_starts_again_at_its_first_frame() {
    let running =
        Running::start(with(run(&colours(), &replay("colours.mjpeg")), ["camera.rate=max", "camera.loop=true"]));
    running.stdout.wait_for_count(23);
    let (finished, _) = running.stop(Signal::TERM);
    let finished = finished.expect(0);
    for (index, record) in finished.records().iter().enumerate().take(23) {
        assert_eq!(record["sequence"], index as u64);
        expect_areas(record, &stripes(index as u64 % 5), EXACT);
    }
}

#[test]
fn a_clip_keeps_its_own_rate_where_the_model_keeps_up() {
    // 5 frames at 10 fps: the last is due 400 ms after the first.
    let finished = finish(run(&colours(), &replay("colours.y4m"))).expect(0);
    let records = finished.records();
    let first = records.first().unwrap()["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let last = records.last().unwrap()["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let sequence = records.last().unwrap()["sequence"].as_i64().unwrap() - records[0]["sequence"].as_i64().unwrap();
    let error = last.duration_since(first).as_millis() - i128::from(sequence) * 100;
    assert!(error.abs() < 90, "{error} ms off the clip's own time");
}

#[test]
fn a_model_slower_than_the_camera_costs_frames_and_every_one_is_counted() {
    let slow = model("colours_320x240_int8_slow");
    let frames = 60;
    let camera = {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.mjpeg");
        std::fs::write(&path, jpegs().concat().repeat(frames / 5)).unwrap();
        (folder, replay_path(&path))
    };
    let finished = finish(with(run(&slow, &camera.1), ["camera.rate=100"])).expect(0);
    let records = finished.records();
    let sequences: Vec<u64> = records.iter().map(|record| record["sequence"].as_u64().unwrap()).collect();
    assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]), "{sequences:?}");
    assert!(sequences.len() < frames, "the slow model kept up");
    assert_eq!(sequences.last(), Some(&(frames as u64 - 1)), "the newest frame must win");
    let lost = finished.count("replaced") + finished.count("skipped");
    assert_eq!(records.len() as u64 + lost, frames as u64, "{}", finished.stderr);
    let told = |record: &serde_json::Value, cause: &str| record["drops"][cause].as_u64().unwrap();
    let last = records.last().unwrap();
    assert_eq!(told(last, "replaced") + told(last, "skipped"), lost);
}

#[test]
fn a_broken_jpeg_in_the_middle_costs_one_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mjpeg");
    let frames = jpegs();
    let garbage: Vec<u8> = frames[2].iter().map(|byte| byte ^ 0x55).collect();
    for broken in [&frames[2][..frames[2].len() / 2], &frames[2][..40], &[&frames[2][..200], &garbage[200..]].concat()]
    {
        let clip = [&frames[0], &frames[1], broken, &frames[3], &frames[4]].concat();
        std::fs::write(&path, clip).unwrap();
        let finished = whole(&colours(), &replay_path(&path), &[]).expect(0).says(["frame skipped", "frame 2"]);
        expect_stripes(&finished, &[0, 1, 3, 4]);
        assert_eq!(finished.count("corrupt"), 1, "{}", finished.stderr);
        assert_eq!(finished.records()[3]["drops"]["corrupt"], 1);
    }
}

#[test]
fn an_unreadable_picture_in_a_folder_is_named_and_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    plain(&folder.path().join("1.ppm"), 96, 64, 2);
    std::fs::write(folder.path().join("2.png"), b"no picture").unwrap();
    plain(&folder.path().join("3.ppm"), 96, 64, 3);
    let finished = whole(&colours(), &replay_path(folder.path()), &[]).expect(0).says(["2.png", "frame skipped"]);
    let records = finished.records();
    assert_eq!(records.len(), 2);
    assert_eq!((area(&records[0], "red"), area(&records[1], "green")), (1.0, 1.0));
    assert_eq!(finished.count("corrupt"), 1);
}

#[test]
fn pictures_of_changing_size_are_all_published() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = [(96, 64), (640, 480), (7, 5), (33, 200), (96, 64), (1, 1)];
    for (index, &(width, height)) in sizes.iter().enumerate() {
        plain(&folder.path().join(format!("{index}.ppm")), width, height, index);
    }
    let finished = whole(&colours(), &replay_path(folder.path()), &[]).expect(0);
    let records = finished.records();
    assert_eq!(records.len(), sizes.len());
    for (index, record) in records.iter().enumerate() {
        let mut areas = [0.0; 8];
        areas[index] = 1.0;
        expect_areas(record, &areas, EXACT);
    }
}

#[test]
fn letterbox_keeps_the_shape_and_counts_no_bars() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("square.ppm");
    // Left half red, right half blue; 96x64 holds it between bars of 16 columns, which are no part of the picture.
    ppm(&path, 64, 64, |x, _| COLOURS[if x < 32 { 2 } else { 4 }]);
    for fit in ["model.fit=letterbox", "model.fit=stretch"] {
        let record = whole(&colours(), &replay_path(&path), &[fit]).expect(0).records().remove(0);
        let slack = if fit.ends_with("stretch") { 0.02 } else { EXACT };
        expect_areas(&record, &[0.0, 0.0, 0.5, 0.0, 0.5, 0.0, 0.0, 0.0], slack);
    }
}

#[test]
fn a_mask_of_another_size_gives_the_same_areas() {
    for size in ["segment.mask=12x8", "segment.mask=picture", "segment.mask=48x32"] {
        let finished = whole(&colours(), &replay("colours.y4m"), &[size]).expect(0);
        expect_stripes(&finished, &[0, 1, 2, 3, 4]);
    }
}

#[test]
fn every_accepted_kind_of_model_gives_the_right_areas() {
    for name in [
        "colours",
        "colours-imagenet",
        "colours_96x64_int8",
        "colours_96x64_uint8",
        "colours_96x64_uint8_wrapped",
        "colours_96x64_uint8_in_int8_out",
        "colours_96x64_int8_stride4",
        "colours_96x64_int8_stride16",
        "colours_96x64_int8_signed",
        "colours_320x240_int8",
        "argmax_96x64_int64",
        "argmax_96x64_int32",
        "argmax_96x64_uint8",
        "argmax_96x64_int64_rank4",
        "argmax_96x64_int64_full",
    ] {
        let finished = whole(&model(name), &replay("colours.y4m"), &[]).expect(0);
        let records = finished.records();
        assert_eq!(records.len(), 5, "{name}");
        // The larger input's cells don't end where the stripes do.
        let slack = if name.contains("320x240") { 0.01 } else { EXACT };
        for (frame, record) in records.iter().enumerate() {
            expect_areas(record, &stripes(frame as u64), slack);
        }
    }
}

#[test]
fn a_model_without_scale_is_fed_plain_bytes() {
    // Its classes are the largest channel: red 0, green 1, blue 2.
    let folder = tempfile::tempdir().unwrap();
    ppm(&folder.path().join("p.ppm"), 96, 64, |x, _| [[200, 10, 20], [10, 200, 20], [10, 20, 200]][x / 32]);
    let record = whole(&model("unscaled_96x64_int8"), &replay_path(folder.path()), &[]).expect(0).records().remove(0);
    for class in ["class_0", "class_1", "class_2"] {
        assert!((area(&record, class) - 1.0 / 3.0).abs() < EXACT, "{record}");
    }
}

#[test]
fn the_test_picture_shows_its_bars() {
    let running = Running::start(with(run(&model("colours_320x240_int8"), "pattern:640x480"), ["camera.rate=max"]));
    running.stdout.wait_for_count(3);
    let finished = running.stop(Signal::TERM).0.expect(0);
    let record = &finished.records()[0];
    // Eight bars of 75 % brightness, each the colour of one class, and a white block of 1/64.
    let classes = record["classes"].as_object().unwrap();
    for (name, area) in classes {
        assert!((area.as_f64().unwrap() - 0.125).abs() < 0.025, "{name} in {record}");
    }
}

#[test]
fn every_interval_has_a_line_per_stage_and_the_end_a_table() {
    let settings = ["camera.rate=max", "camera.loop=true", "telemetry.interval=200ms"];
    let running = Running::start(with(run(&colours(), &replay("colours.mjpeg")), settings));
    running.stderr.wait_until("three intervals", |lines| {
        lines.iter().filter(|line| line.contains("latency stage=end_to_end")).count() >= 3
    });
    let log = running.stop(Signal::TERM).0.expect(0).stderr;
    let (intervals, table) = log.split_once("stage              n     p50 ms").expect("no table");
    for stage in ["sensor", "convert", "queue", "infer", "decode", "publish", "end_to_end"] {
        let line = intervals.lines().find(|line| line.contains(&format!("latency stage={stage} "))).unwrap();
        let values: Vec<f64> = line.split(' ').filter_map(|field| field.split_once('=')?.1.parse().ok()).collect();
        let [n, p50, p90, p99, max] = values[..] else { panic!("{line}") };
        assert!(n > 0.0 && p50 <= p90 && p90 <= p99 && p99 <= max, "{line}");
        assert!(["p50_ms=", "p90_ms=", "p99_ms=", "max_ms="].iter().all(|field| line.contains(field)), "{line}");
        assert!(table.lines().any(|row| row.contains(&format!("INFO ] {stage} "))), "{stage} is missing in {table}");
    }
    let frames = intervals.lines().find(|line| line.contains("frames in=")).unwrap();
    let fields = ["inferred=", "published=", "replaced=0", "skipped=0", "corrupt=0", "failed=0", "fps=", "seconds="];
    assert!(fields.iter().all(|field| frames.contains(field)), "{frames}");
    let quiet = whole(&colours(), &replay("colours.mjpeg"), &["telemetry.interval=0"]).expect(0).stderr;
    assert!(!quiet.contains("latency stage=") && quiet.contains("p50 ms"), "{quiet}");
}

#[test]
fn the_bundled_clip_runs_with_the_bundled_model() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/street-bootstrap/model.tflite");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("start.mjpeg");
    // The first frames are enough; the whole clip takes long on a slow machine.
    std::fs::write(&path, &std::fs::read(media("walkway.mjpeg")).unwrap()[..200_000]).unwrap();
    let finished = whole(&model, &replay_path(&path), &[]).expect(0);
    let records = finished.records();
    assert!(records.len() >= 5 && finished.count("corrupt") == 1, "{}", finished.stderr);
    for record in records {
        let sum: f64 = record["classes"].as_object().unwrap().values().map(|area| area.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{record}");
    }
}
