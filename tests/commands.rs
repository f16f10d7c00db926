//! The other commands, the help, and the order in which settings win.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::Write as _;
use std::process::{Command, Stdio};

use support::{colours, colours_with, finish, needs, pspnetd};

/// `check` of the colour model and the test picture; its output without the lines that are no TOML.
fn checked(arguments: &[&str], environment: &[(&str, &str)]) -> toml::Table {
    let mut command = pspnetd(["check"]);
    command.args(arguments).envs(environment.iter().copied());
    finish(command).expect(0).stdout.parse().unwrap()
}

#[test]
fn check_prints_a_configuration_that_reads_back_as_itself() {
    let folder = tempfile::tempdir().unwrap();
    let model = colours();
    let model = model.to_str().unwrap();
    let first = checked(
        &[
            "--model",
            model,
            "--camera",
            "pattern:320x240",
            "--set",
            "camera.rate=12.5",
            "--set",
            "model.threads=3",
            "--set",
            "model.fit=letterbox",
            "--set",
            "segment.mask=80x60",
            "--set",
            "publish.jsonl.max_bytes=3MiB",
            "--set",
            "publish.snapshot.interval=90s",
            "--set",
            "telemetry.interval=250ms",
            "--set",
            "log.level=warn",
            "--set",
            "camera.format=YUYV",
            "--set",
            "camera.size=800x600",
            "--set",
            "camera.loop=true",
        ],
        &[],
    );
    assert_eq!(first["camera"]["source"].as_str(), Some("pattern:320x240"));
    assert_eq!(first["publish"]["jsonl"]["max_bytes"].as_str(), Some("3MiB"));
    let path = folder.path().join("written.toml");
    std::fs::write(&path, toml::to_string(&first).unwrap()).unwrap();
    let second = checked(&["--config", path.to_str().unwrap()], &[]);
    assert_eq!(first, second);
}

#[test]
fn the_default_keys_are_listed_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("defaults.toml");
    let listed = finish(pspnetd(["check", "--keys"])).expect(0).stdout;
    std::fs::write(&path, &listed).unwrap();
    let model = colours();
    let with_file =
        ["--config", path.to_str().unwrap(), "--model", model.to_str().unwrap(), "--camera", "pattern:64x64"];
    assert_eq!(checked(&with_file, &[]), checked(&with_file[2..], &[]));
}

#[test]
fn check_says_what_it_found_good_and_every_problem() {
    let mut command = pspnetd(["check", "--camera", "pattern:64x64", "--model"]);
    command.arg(colours());
    let good = finish(command).expect(0).stdout;
    for words in [
        "# model: good: colours on the CPU",
        "input 96x64, 8 classes",
        "# camera: good: test pattern, 64x64",
        "# sinks: good",
    ] {
        assert!(good.contains(words), "no {words:?} in {good}");
    }
    let arguments =
        ["check", "--camera", "replay:/none", "--model", "/none.tflite", "--set", "publish.jsonl.path=/none/x"];
    let bad = finish(pspnetd(arguments)).expect(78).stdout;
    for words in [
        "# problem: model /none.tflite",
        "# problem: camera replay:/none",
        "# problem: --set: publish.jsonl.path /none/x",
    ] {
        assert!(bad.contains(words), "no {words:?} in {bad}");
    }
    // A camera that isn't there now is no wrong configuration: `run` would wait for it.
    let mut command = pspnetd(["check", "--camera", "v4l2:/dev/video-none", "--model"]);
    command.arg(colours());
    finish(command).expect(69).says(["/dev/video-none"]);
}

#[test]
fn check_names_every_output_that_could_not_be_opened() {
    let outputs = ["publish.jsonl.path", "publish.snapshot.dir", "telemetry.latency_log.path"];
    let mut command = pspnetd(["check", "--camera", "pattern:64x64"]);
    // Below a file there is no folder.
    command.args(outputs.iter().flat_map(|key| ["--set".to_owned(), format!("{key}=/dev/null/{key}")]));
    let stdout = finish(command).expect(78).stdout;
    for key in outputs {
        assert!(stdout.contains(&format!("# problem: --set: {key} /dev/null/{key}: ")), "{key}:\n{stdout}");
    }
}

#[test]
fn check_ends_with_the_highest_exit_code_of_its_problems() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("bad.mjpeg");
    std::fs::write(&clip, b"\xff\xd8\xff\xd9").unwrap();
    let no_frame = format!("camera.source=replay:{}", clip.display());
    let no_camera = "camera.source=v4l2:/dev/video-none";
    let pattern = "camera.source=pattern:64x64";
    let model = format!("model.path={}", colours().display());
    let (no_model, no_sink) = ("model.path=/none.tflite", "publish.jsonl.path=/none/x");
    let no_token = "http.token_file=/none";
    for (settings, code, problems) in [
        (&[pattern, &model][..], 0, &[][..]),
        (&[&no_frame, &model], 65, &["replay:"]),
        (&[no_camera, &model], 69, &["camera /dev/video-none"]),
        (&[no_camera, no_model], 78, &["model /none.tflite", "camera /dev/video-none"]),
        (&[&no_frame, &model, no_sink], 78, &["replay:", "publish.jsonl.path"]),
        (
            &[no_camera, &model, "http.listen=127.0.0.1:0", no_token],
            78,
            &["camera /dev/video-none", "http.token_file /none"],
        ),
        (
            &[no_camera, &model, "gpio.alarm=4", "gpio.alarm_class=x"],
            78,
            &["camera /dev/video-none", "gpio.alarm_class"],
        ),
    ] {
        let mut command = pspnetd(["check"]);
        settings.iter().for_each(|setting| {
            command.args(["--set", setting]);
        });
        let finished = finish(command).expect(code);
        let found: Vec<_> = finished.stdout.lines().filter_map(|line| line.strip_prefix("# problem: ")).collect();
        assert_eq!(found.len(), problems.len(), "{settings:?}: {}", finished.stdout);
        for (found, expected) in found.iter().zip(problems) {
            let found = found.strip_prefix("--set: ").unwrap_or(found);
            assert!(found.starts_with(expected), "{settings:?}: {found}");
        }
    }
}

#[test]
fn check_says_the_licences_of_the_model_and_of_its_data() {
    let checked = |extra: &'static str| {
        let model = colours_with(|text| format!("{text}\n{extra}"));
        let mut command = pspnetd(["check", "--camera", "pattern:64x64", "--model"]);
        command.arg(model.path().join("model.tflite"));
        finish(command).expect(0).stdout
    };
    let plain = checked("");
    assert!(plain.contains("\n# licence: MIT OR Apache-2.0\n"), "{plain}");
    assert!(!plain.contains("# training data"), "{plain}");
    // What is long is one line all the same, so that the output stays TOML.
    let said = checked("[training]\ndata = \"CamVid\"\nlicence = \"research only,\\nsee\\u001b[1m README\"\n");
    for line in ["# licence: MIT OR Apache-2.0", "# training data: CamVid"] {
        assert!(said.lines().any(|found| found == line), "no {line:?} in {said}");
    }
    assert!(said.contains("\n# training data licence: research only,\\nsee\\u{1b}[1m README\n"), "{said}");
    said.parse::<toml::Table>().unwrap();
}

#[test]
fn the_command_line_wins_over_the_environment_over_the_file_over_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.toml");
    std::fs::write(&path, "[camera]\nrate = 5\nsource = 'pattern:64x64'\n[model]\nthreads = 5\nfit = 'letterbox'\n")
        .unwrap();
    let (model, path) = (colours(), path.to_str().unwrap().to_owned());
    let model = model.to_str().unwrap();
    let environment = [("PSPNETD_CAMERA_RATE", "6"), ("PSPNETD_MODEL_THREADS", "6"), ("PSPNETD_MODEL_PATH", "/none")];
    let arguments = ["--config", &path, "--set", "camera.rate=7", "--set", "camera.source=auto", "--model", model];
    let arguments = [&arguments[..], &["--camera", "pattern:32x32"]].concat();
    let table = checked(&arguments, &environment);
    let text = |section: &str, key: &str| match &table[section][key] {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    assert_eq!(text("camera", "rate"), "7");
    assert_eq!(text("model", "threads"), "6");
    assert_eq!(text("model", "fit"), "letterbox");
    assert_eq!(text("segment", "mask"), "picture");
    assert_eq!(text("model", "path"), model);
    assert_eq!(text("camera", "source"), "pattern:32x32");
    // The file may come from the environment; a named one wins.
    let table = checked(&["--model", model], &[("PSPNETD_CONFIG", &path)]);
    assert_eq!(table["camera"]["source"].as_str(), Some("pattern:64x64"));
}

#[test]
fn bench_measures_every_stage_and_the_pipeline() {
    let mut command = pspnetd(["bench", "--json", "--seconds", "0.2", "--threads", "1", "--model"]);
    command.arg(colours());
    let record = finish(command).expect(0).records().remove(0);
    assert!(record["pipeline"]["frames_per_s"].as_f64().unwrap() > 0.0, "{record}");
    let stages = record["stages"].as_object().unwrap();
    assert_eq!(stages.len(), 4);
    for name in ["source", "preprocess", "infer", "decode"] {
        let stage = &stages[name];
        let of = |key: &str| stage[key].as_f64().unwrap_or_else(|| panic!("no {key} in {stage}"));
        assert!(of("n") >= 1.0 && of("median_ms") > 0.0, "{name}: {stage}");
        assert!(of("min_ms") <= of("median_ms") && of("median_ms") <= of("p90_ms") && of("p90_ms") <= of("max_ms"));
    }
    let mut command = pspnetd(["bench", "--seconds", "0.2", "--model"]);
    command.arg(colours());
    let table = finish(command).expect(0).stdout;
    assert!(table.contains("median ms") && table.contains("frames per second"), "{table}");
    let mut command = pspnetd(["bench", "--camera", "auto", "--model"]);
    command.arg(colours());
    finish(command).expect(78).says(["pattern:WxH or replay:PATH"]);
    finish(pspnetd(["bench", "--seconds", "0"])).expect(2).says(["expected 0.1 to 3600"]);
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = finish(pspnetd(["completions", shell])).expect(0).stdout;
        for word in ["run", "check", "devices", "predict", "eval", "bench", "camera", "model", "inspect"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
    let script = finish(pspnetd(["completions", "bash"])).expect(0).stdout;
    let mut bash = Command::new("bash").args(["-n"]).stdin(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(bash.wait().unwrap().success(), "bash can't parse its completions");
    finish(pspnetd(["completions", "dos"])).expect(2);
}

#[test]
fn the_man_page_covers_every_command() {
    let page = finish(pspnetd(["man"])).expect(0).stdout;
    for words in
        [".TH pspnetd", "predict", "\\-\\-camera", "\\-\\-void", "PSPNETD_CAMERA_RATE", "78 wrong configuration"]
    {
        assert!(page.contains(words), "no {words:?} in the man page");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pspnetd.1");
    std::fs::write(&path, page).unwrap();
    if !needs::program("man", "man-db") {
        return;
    }
    let shown = Command::new("man").args(["--warnings", "-E", "UTF-8", "-l"]).arg(&path).output().unwrap();
    assert!(shown.status.success());
    assert!(String::from_utf8_lossy(&shown.stdout).contains("A camera daemon"));
    assert_eq!(String::from_utf8_lossy(&shown.stderr), "", "the page has faults");
}

#[test]
fn every_page_that_the_man_page_refers_to_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("new/man1");
    let mut command = pspnetd(["man", "--output", pages.to_str().unwrap()]);
    command.env("SOURCE_DATE_EPOCH", "86400");
    finish(command).expect(0);
    let main = std::fs::read_to_string(pages.join("pspnetd.1")).unwrap();
    let named: Vec<_> = main.lines().filter_map(|line| line.strip_suffix("(1)")).collect();
    assert_eq!(named.len(), 11, "{named:?}");
    for name in named {
        let name = name.replace("\\-", "-");
        let page = std::fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(&format!("\n.TH {name} 1 1970-01-02 ")), "{name}: {page}");
    }
    assert!(pages.join("pspnetd-model-inspect.1").is_file());
    assert_eq!(std::fs::read_dir(&pages).unwrap().count(), 13);

    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = finish(pspnetd(["man", "--output", file.to_str().unwrap()])).expect(74);
    assert!(refused.stderr.contains("file:"), "{}", refused.stderr);
}

#[test]
fn the_help_of_every_command_mentions_its_flags() {
    let general = finish(pspnetd(["--help"])).expect(0).stdout;
    for (command, flags) in [
        ("run", &["--model", "--camera", "replay:PATH", "pattern:WxH"][..]),
        ("check", &["--model", "--camera", "--keys"]),
        ("devices", &["--json"]),
        ("predict", &["--model", "-o", "--output", "--json", "IMAGE"]),
        ("eval", &["--model", "--images", "--labels", "--void", "--json"]),
        ("bench", &["--model", "--camera", "--threads", "--seconds", "--json"]),
        ("model", &["inspect"]),
        ("completions", &["bash", "zsh", "fish"]),
        ("man", &["man page"]),
    ] {
        assert!(general.contains(&format!("  {command}")), "{command} is missing in\n{general}");
        let help = finish(pspnetd([command, "--help"])).expect(0).stdout;
        let settings =
            if ["model", "completions", "man"].contains(&command) { &[][..] } else { &["--config", "--set"] };
        for flag in flags.iter().chain(settings) {
            assert!(help.contains(flag), "{command}: no {flag} in\n{help}");
        }
    }
    for code in ["65", "66", "69", "70", "74", "78"] {
        assert!(general.contains(&format!("{code} ")), "exit code {code} is missing in\n{general}");
    }
    let version = finish(pspnetd(["--version"])).expect(0).stdout;
    assert_eq!(version, format!("pspnetd {}\n", env!("CARGO_PKG_VERSION")));
}
