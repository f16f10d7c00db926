//! Wrong configuration and unusable sources: a clear message, exit code 78, no panic, and `check` says what `run` says.
//! Models are left to `bad_models.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;

use support::{colours, configured, file, finish, media, pspnetd, run_and_check, with, Finished, Running, Signal};

/// What a source leads to that can't be used.
#[track_caller]
fn refused_source(path: &Path) -> String {
    let camera = format!("replay:{}", path.display());
    let model = colours();
    run_and_check(&["--model", model.to_str().unwrap(), "--camera", &camera], &[], 78)
}

#[test]
fn text_that_is_no_toml_is_refused_with_its_line() {
    let (words, path) = configured("[camera]\nrate = = 3\n");
    assert!(words.starts_with(&format!("pspnetd: {}:2: ", path.display())), "{words}");
    let (words, _) = configured("[camera\n");
    assert!(words.contains("pspnetd.toml:1: "), "{words}");
    let (_folder, path) = file("pspnetd.toml", b"[log]\nlevel = '\xff\xfe'\n");
    let words = run_and_check(&["--config", path.to_str().unwrap()], &[], 78);
    assert!(words.contains("pspnetd.toml: can't read"), "{words}");
}

#[test]
fn an_unknown_key_is_refused_with_line_and_the_nearest_key() {
    let (words, path) = configured("# a comment\n[camera]\nloop = true\nraet = 3\n");
    assert_eq!(words, format!("pspnetd: {}:4: camera.raet: unknown key; did you mean camera.rate?", path.display()));
    let (words, _) = configured("[publish.jsonl]\nmax_byte = 3\n");
    assert!(
        words.contains(":2: publish.jsonl.max_byte: unknown key; did you mean publish.jsonl.max_bytes?"),
        "{words}"
    );
    let (words, _) = configured("[zebra]\n");
    assert!(words.contains(":1: zebra: unknown key"), "{words}");
}

#[test]
fn a_wrong_value_is_refused_with_line_key_and_what_is_expected() {
    for (text, expected) in [
        ("[model]\nthreads = 0\n", ":2: model.threads: threads \"0\": expected 1 to 64"),
        ("[camera]\nsource = 'webcam'\n", ":2: camera.source: unknown camera source \"webcam\"; expected auto, v4l2:"),
        ("[camera]\n\nrate = -1\n", ":3: camera.rate: frame rate \"-1\": expected native, max or frames per second"),
        ("[camera]\nloop = 'maybe'\n", ":2: camera.loop: "),
        ("[segment]\nmask = '0x5'\n", ":2: segment.mask: size \"0x5\": expected WIDTHxHEIGHT"),
        ("[log]\nlevel = 'loud'\n", ":2: log.level: log level \"loud\": expected off, error"),
        ("[telemetry]\ninterval = '5 weeks'\n", ":2: telemetry.interval: time \"5 weeks\": expected seconds"),
        ("[publish.jsonl]\nmax_bytes = '3 MB'\n", ":2: publish.jsonl.max_bytes: "),
    ] {
        let (words, _) = configured(text);
        assert!(words.contains(expected), "{words}");
    }
}

#[test]
fn a_value_that_only_the_run_can_refuse_is_named_with_its_line_too() {
    let (words, path) = configured("[camera]\nsource = 'pattern:64x48'\n[rules.gate]\nclass = 'zebra'\n");
    let expected = format!("pspnetd: {}:4: rules.gate.class \"zebra\": the model has no class", path.display());
    assert!(words.starts_with(&expected), "{words}");
    let (words, path) = configured("[camera]\nsource = 'pattern:64x48'\n[rules.gate]\nabove = 0.5\n");
    let expected = format!("pspnetd: {}:3: rules.gate.class \"\": expected a class or a group", path.display());
    assert!(words.starts_with(&expected), "{words}");
    let folder = tempfile::tempdir().unwrap();
    let long = format!("publish.snapshot.dir={}/{}", folder.path().display(), "x".repeat(300));
    let words = run_and_check(&["--set", &long], &[], 78);
    assert!(words.contains("--set: publish.snapshot.dir ") && words.contains("too long"), "{words}");
}

#[test]
fn a_missing_or_unreadable_configuration_is_refused() {
    let words = run_and_check(&["--config", "/nonexistent/p.toml"], &[], 78);
    assert!(words.starts_with("pspnetd: /nonexistent/p.toml: can't read the configuration: No such file"), "{words}");
    let words = run_and_check(&[], &[("PSPNETD_CONFIG", "/nonexistent/q.toml")], 78);
    assert!(words.contains("/nonexistent/q.toml"), "{words}");
    let folder = tempfile::tempdir().unwrap();
    let words = run_and_check(&["--config", folder.path().to_str().unwrap()], &[], 78);
    assert!(words.contains("directory"), "{words}");
}

#[test]
fn a_file_that_the_disk_fails_to_give_is_no_wrong_configuration() {
    // Its first page isn't mapped, and reading there is an I/O error.
    let broken = "/proc/self/mem";
    let error = "Input/output error (os error 5)";
    let words = run_and_check(&["--config", broken], &[], 74);
    assert_eq!(words, format!("pspnetd: {broken}: can't read the configuration: {error}"));
    let words = run_and_check(&["--model", broken], &[], 74);
    assert_eq!(words, format!("pspnetd: model {broken}: {error}"));

    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.tflite");
    std::fs::copy(colours(), &model).unwrap();
    std::os::unix::fs::symlink(broken, folder.path().join("manifest.toml")).unwrap();
    let words = run_and_check(&["--model", model.to_str().unwrap()], &[], 74);
    assert!(words.starts_with("pspnetd: manifest ") && words.ends_with(error), "{words}");

    let listen = ["--set", "http.listen=127.0.0.1:0", "--set", &format!("http.token_file={broken}")];
    let words = run_and_check(&[&["--model", colours().to_str().unwrap()], &listen[..]].concat(), &[], 74);
    assert!(words.contains("http.token_file") && words.contains(error), "{words}");
}

#[test]
fn a_wrong_environment_or_argument_is_refused_with_its_origin() {
    let words = run_and_check(&[], &[("PSPNETD_CAMERA_RATE", "quick")], 78);
    assert!(words.contains("environment PSPNETD_CAMERA_RATE: camera.rate: frame rate \"quick\": expected"), "{words}");
    let words = run_and_check(&["--set", "camera.rate=quick"], &[], 78);
    assert!(words.contains("--set: camera.rate: frame rate \"quick\": expected"), "{words}");
    let words = run_and_check(&["--set", "camera.raet=1"], &[], 78);
    assert!(words.ends_with("--set: camera.raet: unknown key; did you mean camera.rate?"), "{words}");
    let words = run_and_check(&["--camera", "webcam"], &[], 78);
    assert!(words.contains("--camera: camera.source: unknown camera source"), "{words}");
    finish(pspnetd(["run", "--set", "camera.rate"])).expect(2).says(["expected KEY=VALUE"]);
    finish(pspnetd(["run", "--camrea", "auto"])).expect(2).says(["--camera"]);
}

#[test]
fn names_that_are_no_text_are_refused_as_such() {
    use std::os::unix::ffi::OsStrExt as _;

    let folder = tempfile::tempdir().unwrap();
    let strange = folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    std::fs::create_dir(&strange).unwrap();
    let (model, config) = (strange.join("model.tflite"), strange.join("pspnetd.toml"));
    std::fs::copy(colours(), &model).unwrap();
    std::fs::write(&config, "[model]\npath = 'model.tflite'\n").unwrap();
    for subcommand in ["run", "check", "bench"] {
        let mut command = pspnetd([subcommand, "--model"]);
        command.arg(&model);
        let words = finish(command).expect(2).stderr;
        assert!(words.contains("invalid UTF-8"), "{words}");
        let mut command = pspnetd([subcommand, "--config"]);
        command.arg(&config);
        let words = finish(command).expect(78).stderr;
        assert!(words.contains("isn't UTF-8"), "{words}");
    }
}

#[test]
fn an_unknown_variable_is_only_a_warning() {
    let model = colours();
    let mut command = pspnetd(["check", "--camera", "pattern:64x64", "--model", model.to_str().unwrap()]);
    command.env("PSPNETD_CAMERA_RAET", "1");
    finish(command).expect(0).says(["PSPNETD_CAMERA_RAET is no known setting; did you mean PSPNETD_CAMERA_RATE?"]);
}

#[test]
fn sources_that_hold_no_frame_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refused_source(folder.path()).contains("there are no pictures in this folder"));
    assert!(refused_source(&folder.path().join("none")).contains("no such file or folder"));
    assert!(refused_source(Path::new("/dev/null")).contains("neither a file nor a folder"));
    for (name, bytes, expected) in [
        ("a.y4m", &b"YUV4MPEG2 W6 H4 F25:1 C420jpeg\n"[..], "the video has a header but no frames"),
        ("a.y4m", b"YUV4MPEG2 W6 H4 F25:1 C420jpeg", "the Y4M header has no end"),
        ("a.y4m", b"YUV4MPEG2 W0 H4 F25:1 C420jpeg\nFRAME\n", "W0"),
        ("a.y4m", b"YUV4MPEG2 W99999 H99999 F25:1\nFRAME\n", "99999"),
        ("a.y4m", b"YUV4MPEG2 W6 H4 F25:1 C420p12\nFRAME\n", "-pix_fmt yuv420p"),
        ("a.y4m", b"YUV4MPEG2 W6 H4 It F25:1\nFRAME\n", "-vf yadif"),
        ("a.y4m", b"", "the file is empty"),
        ("a.mjpeg", b"", "the file is empty"),
        ("a.mjpeg", b"hello, this is no clip", "no JPEG frame in it"),
        ("a.txt", b"hello", "not a kind of file that can be replayed"),
    ] {
        let (_folder, path) = file(name, bytes);
        let words = refused_source(&path);
        assert!(words.contains(expected) && words.contains(name), "{words}");
    }
}

#[test]
fn pictures_that_cannot_be_are_refused() {
    let model = colours();
    for (size, expected) in [("8x8", "not possible"), ("0x5", "expected WIDTHxHEIGHT"), ("64", "expected WIDTHxHEIGHT")]
    {
        let camera = format!("pattern:{size}");
        let words = run_and_check(&["--model", model.to_str().unwrap(), "--camera", &camera], &[], 78);
        assert!(words.contains(expected), "{words}");
    }
}

/// A source at full speed with the colour model.
fn replayed(path: &Path) -> Finished {
    finish(with(support::run(&colours(), &format!("replay:{}", path.display())), ["camera.rate=max"]))
}

#[test]
fn a_y4m_cut_short_gives_its_whole_frames() {
    let bytes = std::fs::read(media("colours.y4m")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.y4m");
    // A frame is its 6-byte line and 9216 bytes.
    let header = bytes.len() - 5 * 9222;
    for (length, whole) in [
        (header + 1, 0),
        (header + 6, 0),
        (header + 9221, 0),
        (header + 9222, 1),
        (header + 9223, 1),
        (header + 2 * 9222 + 700, 2),
        (bytes.len() - 1, 4),
    ] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let finished = replayed(&path).expect(if whole == 0 { 65 } else { 0 });
        assert_eq!(finished.records().len(), whole, "cut to {length}");
        let cut = u64::from(!(length - header).is_multiple_of(9222));
        assert_eq!(finished.count("corrupt"), cut, "cut to {length}:\n{}", finished.stderr);
    }
}

#[test]
fn an_mjpeg_cut_short_gives_its_whole_frames() {
    let frames = support::clips::jpegs();
    let clip = frames.concat();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.mjpeg");
    let two = frames[0].len() + frames[1].len();
    let third = two + frames[2].len();
    // The third is whole already without its end marker.
    let cuts =
        [(two, 2), (two + 3, 2), (two + 100, 2), (third - 3, 2), (third - 2, 3), (third - 1, 3), (clip.len(), 5)];
    for (length, whole) in cuts {
        std::fs::write(&path, &clip[..length]).unwrap();
        assert_eq!(replayed(&path).expect(0).records().len(), whole, "cut to {length}");
    }
}

#[test]
fn a_looped_clip_that_is_emptied_under_the_program_is_waited_for() {
    let (_folder, path) = file("clip.y4m", &std::fs::read(media("colours.y4m")).unwrap());
    let camera = format!("replay:{}", path.display());
    let running = Running::start(with(support::run(&colours(), &camera), ["camera.rate=max", "camera.loop=true"]));
    running.stdout.wait_for_count(3);
    std::fs::write(&path, b"").unwrap();
    running.stderr.wait_for("camera: waiting");
    std::fs::write(&path, std::fs::read(media("colours.y4m")).unwrap()).unwrap();
    let before = running.stdout.text().lines().count();
    running.stdout.wait_for_count(before + 3);
    let finished = running.stop(Signal::TERM).0.expect(0);
    assert!(finished.records().len() > before);
}

#[test]
fn a_source_without_one_usable_frame_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("bad.mjpeg");
    std::fs::write(&clip, b"\xff\xd8\xff\xd9".repeat(5)).unwrap();
    let camera = format!("replay:{}", clip.display());
    for arguments in [&["run", "--set", "camera.rate=max"][..], &["check"], &["bench", "--seconds", "0.1"]] {
        let mut command = pspnetd(arguments);
        command.arg("--model").arg(colours()).arg("--camera").arg(&camera);
        finish(command).expect(65).says(["frame"]);
    }
}

#[test]
fn a_section_that_is_no_table_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    for text in ["camera = ['pattern:64x64']\n", "[[camera]]\nrate = 5\n"] {
        std::fs::write(&path, text).unwrap();
        let mut command = pspnetd(["check", "--config"]);
        command.arg(&path);
        finish(command).expect(78).says([":1: camera: expected a section, written [camera]"]);
    }
    finish(pspnetd(["check", "--config", "/dev/zero"])).expect(78).says(["larger than"]);
}

#[test]
fn two_writers_of_one_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l");
    let set = |key: &str, path: &std::path::Path| format!("{key}={}", path.display());
    let other = folder.path().join(".").join("l");
    let words = run_and_check(
        &["--set", &set("publish.jsonl.path", &path), "--set", &set("telemetry.latency_log.path", &other)],
        &[],
        78,
    );
    assert!(words.contains("is publish.jsonl.path already; each needs a file of its own"), "{words}");
    assert!(!path.exists());
}
