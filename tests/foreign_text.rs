//! Text from outside through the real binary: whatever a model, a file, a key, a camera program, a device or an argument is
//! called, nothing of it steers a terminal, begins a line, turns what stands around it, or shows a secret.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::{json, Value};

use support::http::{exchange, Reply, Web};
use support::{colours, colours_with, finish, media, pspnetd, replay, run, with, Finished, Running, Signal};

/// What begins the line that hostile text would forge.
const FORGED: &str = "forged";
const TURNING_OR_HIDING: &str =
    "\u{ad}\u{61c}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\
     \u{2060}\u{2066}\u{2067}\u{2068}\u{2069}\u{feff}";

/// All of C0 but NUL, DEL, all of C1, sequences that a terminal obeys, bidi controls, line breaks, markup. A file can have
/// this name.
fn hostile() -> String {
    let controls: String = ('\u{1}'..=' ').chain('\u{7f}'..='\u{9f}').collect();
    let breaks = format!("\r\n{FORGED}\n{FORGED}\r{FORGED}\u{85}{FORGED}\u{2028}{FORGED}");
    // What is cut short has the line of its own.
    format!("x{breaks}<i>{controls}\u{1b}]0;t\u{7}\u{1b}[2J\u{9b}1m\u{9d}0;t\u{9c}{TURNING_OR_HIDING}")
}

/// Nothing of [`hostile`] is left in `text`, and it was there.
#[track_caller]
fn is_harmless(what: &str, text: &str) {
    let harmful = |c: char| (c.is_control() && c != '\n') || TURNING_OR_HIDING.contains(c);
    let found = text.char_indices().find(|(_, c)| harmful(*c));
    assert!(found.is_none(), "{what}: {found:?} in {text:?}");
    assert!(!text.lines().any(|line| line.trim_start().starts_with(FORGED)), "{what}: {text}");
}

/// The same, and the text was told.
#[track_caller]
fn is_told(what: &str, text: &str) {
    is_harmless(what, text);
    assert!(text.contains(FORGED), "{what} does not tell it: {text}");
}

#[track_caller]
fn both_are_harmless(what: &str, finished: &Finished) {
    is_harmless(what, &finished.stdout);
    is_harmless(what, &finished.stderr);
}

fn toml_string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The colour model under a name, with a licence and a class that are hostile.
fn hostile_model() -> tempfile::TempDir {
    let name = toml_string(&hostile());
    colours_with(|text| {
        let text = text.replace("name = \"colours\"", &format!("name = {name}"));
        text.replace("name = \"red\"", &format!("name = {name}")).replace("\"MIT OR Apache-2.0\"", &name)
    })
}

/// A folder with a file of a hostile name that holds `bytes`.
fn hostile_file(ending: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    support::file(&format!("{}{ending}", hostile()), bytes)
}

fn words<const N: usize>(words: [&dyn AsRef<std::ffi::OsStr>; N]) -> Finished {
    finish(pspnetd(words.map(|word| word.as_ref().to_owned())))
}

/// `run` with HTTP on a free port.
fn serving(command: Command) -> Web {
    Web::start(with(command, ["http.listen=127.0.0.1:0", "http.socket=off"]))
}

#[test]
fn names_in_a_model_are_shown_as_escapes_by_every_command() {
    let folder = hostile_model();
    let model = folder.path().join("model.tflite");
    let picture = media("colours/1_vertical.png");
    let pictures = [media("colours"), media("colours-labels")];
    let [images, labels] = &pictures;
    for (what, code, told, arguments) in [
        (
            "check",
            0,
            true,
            vec![&"check" as &dyn AsRef<std::ffi::OsStr>, &"--camera", &"pattern:64x48", &"--model", &model],
        ),
        ("inspect", 0, true, vec![&"model", &"inspect", &model]),
        ("inspect --json", 0, true, vec![&"model", &"inspect", &"--json", &model]),
        ("predict", 0, true, vec![&"predict", &"--json", &"--model", &model, &picture]),
        ("eval", 0, true, vec![&"eval", &"--images", images, &"--labels", labels, &"--model", &model]),
        (
            "eval --json",
            0,
            true,
            vec![&"eval", &"--json", &"--images", images, &"--labels", labels, &"--model", &model],
        ),
        (
            "a rule",
            78,
            true,
            vec![&"check", &"--set", &"rules.a.class=x", &"--set", &"rules.a.above=0.5", &"--model", &model],
        ),
    ] {
        let mut command = pspnetd([""; 0]);
        command.args(&arguments);
        let finished = finish(command).expect(code);
        both_are_harmless(what, &finished);
        assert!(!told || (finished.stdout + &finished.stderr).contains(FORGED), "{what} does not tell the name");
    }
    let finished = finish(run(&model, &replay("colours"))).expect(0);
    is_told("JSON Lines", &finished.stdout);
    is_harmless("the log", &finished.stderr);
    // Only escaped: who reads the JSON gets what stands in the manifest.
    let record = &finished.records()[0];
    assert_eq!(record["model"], hostile());
    assert!(record["classes"].get(hostile()).is_some(), "{record}");
}

#[test]
fn names_in_a_model_are_shown_as_escapes_over_http() {
    let folder = hostile_model();
    let command = run(&folder.path().join("model.tflite"), "pattern:64x48");
    let web = serving(with(command, ["camera.rate=20"])).ready();
    let state = web.get("/api/v1/state");
    is_told("the state", &state.text());
    assert_eq!(state.json()["model"]["name"], hostile());
    is_told("the history", &web.get("/api/v1/history").text());
    is_told("the metrics", &web.get("/metrics").text());
    let picture = fs::read(media("colours/1_vertical.png")).unwrap();
    let head = format!(
        "POST /api/v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        picture.len()
    );
    is_told("predict", &web.send([head.as_bytes(), &picture].concat()).text());
    web.ends_well();
}

#[test]
fn names_of_files_are_shown_as_escapes() {
    let model = colours();
    let (_junk, junk) = hostile_file(".png", b"junk");
    let finished = words([&"predict", &"--json", &"--model", &model, &junk]).expect(65);
    is_told("predict", &finished.stderr);
    is_told("predict", &words([&"predict", &"--json", &"--model", &junk, &junk]).expect(78).stderr);
    let finished = words([&"check", &"--camera", &"pattern:64x48", &"--model", &junk]).expect(78);
    is_told("check", &finished.stderr);
    is_told("check", &finished.stdout);
    is_told("inspect", &words([&"model", &"inspect", &junk]).expect(78).stderr);
    // What is replayed: told by name and passed over.
    let good = junk.with_file_name("a.png");
    fs::copy(media("colours/1_vertical.png"), good).unwrap();
    let source = format!("replay:{}", junk.parent().unwrap().display());
    is_told("replay", &finish(run(&model, &source)).expect(0).stderr);
    is_told("a configuration", &words([&"check", &"--config", &junk]).expect(78).stderr);
    let (_log, log) = hostile_file(".jsonl", b"{}\n");
    is_told("report", &words([&"report", &log]).expect(65).stderr);
}

#[test]
fn keys_values_and_arguments_are_shown_as_escapes() {
    let text = hostile();
    let key = toml_string(&text);
    for configuration in [
        format!("{key} = 1"),
        format!("[camera]\n{key} = 1"),
        format!("[rules.{key}]\nclass = 'a'"),
        format!("[camera]\nrate = {key}"),
        format!("[log]\nlevel = {key}"),
        format!("[[{key}]]\n[{key}]\n"),
        text.clone(),
    ] {
        let (_folder, path) = support::file("c.toml", configuration.as_bytes());
        let finished = words([&"check", &"--config", &path]).expect(78);
        both_are_harmless(&configuration, &finished);
    }
    for (manifest, code) in [
        (format!("name = 'm'\n{key} = 1\n"), 78),
        (format!("name = {key}\nversion = 1\n"), 78),
        // It describes another file, and is passed over.
        (format!("name = {key}\n[file]\npath = {key}\n"), 0),
    ] {
        let folder = colours_with(|_| manifest.clone());
        let model = folder.path().join("model.tflite");
        let finished = words([&"check", &"--camera", &"pattern:64x48", &"--model", &model]).expect(code);
        both_are_harmless(&manifest, &finished);
    }
    let setting = format!("camera.rate={text}");
    is_told("--set", &words([&"check", &"--set", &setting]).expect(78).stderr);
    is_told("an unknown key", &words([&"check", &"--set", &format!("{text}=1")]).expect(78).stderr);
    for arguments in [
        vec![text.clone()],
        vec![format!("--{text}")],
        vec!["report".into(), "--from".into(), text.clone(), "x".into()],
    ] {
        let finished = finish(pspnetd(&arguments)).expect(2);
        is_told("an argument", &finished.stderr);
        assert!(finished.stderr.contains("\n"), "clap's own lines stay: {}", finished.stderr);
    }
    let mut command = pspnetd(["check"]);
    command.env("PSPNETD_CAMERA_RATE", &text).env(format!("PSPNETD_{}", text.replace('=', "")), "1");
    both_are_harmless("the environment", &finish(command).expect(78));
}

#[test]
fn what_check_prints_reads_back_whatever_is_in_it() {
    let path = format!("replay:/nowhere/{}\"\\", hostile());
    let finished = words([&"check", &"--camera", &path, &"--model", &colours()]).expect(78);
    both_are_harmless("check", &finished);
    let table: toml::Table = toml::from_str(&finished.stdout).unwrap();
    assert_eq!(table["camera"]["source"].as_str(), Some(path.as_str()));
}

/// A program that says hostile things on both of its streams, then ends.
fn hostile_program(folder: &Path) -> String {
    let path = folder.join("camera.sh");
    fs::write(folder.join("words"), [hostile().as_bytes(), b"\0\xff\xfe\n"].concat()).unwrap();
    let folder = folder.display();
    fs::write(&path, format!("cat {folder}/words >&2; cat {folder}/words; sleep 0.2; exit 3\n")).unwrap();
    format!("command:sh {}", path.display())
}

#[test]
fn what_a_camera_program_says_is_shown_as_escapes() {
    let folder = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(support::LIMIT)).unwrap();
    let mut command = run(&colours(), &hostile_program(folder.path()));
    command.env("NOTIFY_SOCKET", folder.path().join("notify"));
    let web = serving(command);
    web.running.stderr.wait_for("camera: waiting:");
    // Only between two runs of the program is that the reason.
    let until = Instant::now() + support::LIMIT;
    let ready = loop {
        let text = web.get("/readyz").text();
        is_harmless("/readyz", &text);
        if text.contains(FORGED) || Instant::now() > until {
            break text;
        }
    };
    is_told("/readyz", &ready);
    is_told("the state", &web.get("/api/v1/state").text());
    // systemd takes every line as a word of its own.
    loop {
        let mut words = [0; 8192];
        let count = manager.recv(&mut words).unwrap();
        let words = std::str::from_utf8(&words[..count]).unwrap();
        let Some(status) = words.strip_prefix("STATUS=").filter(|status| status.contains(FORGED)) else { continue };
        assert!(!status.trim_end_matches('\n').contains('\n'), "{status}");
        is_harmless("STATUS", status);
        break;
    }
    let (finished, _) = web.running.stop(Signal::TERM);
    is_told("the log", &finished.expect(0).stderr);
}

#[test]
fn every_line_of_the_journal_has_its_priority() {
    let folder = hostile_model();
    let path = folder.path().join("journal");
    let file = fs::File::create(&path).unwrap();
    let metadata = file.metadata().unwrap();
    let mut command = with(run(&folder.path().join("model.tflite"), &replay("colours")), ["log.level=debug"]);
    command.env("JOURNAL_STREAM", format!("{}:{}", metadata.dev(), metadata.ino())).stderr(file);
    command.stdout(std::process::Stdio::null());
    Running::start_bare(&mut command).finish().expect(0);
    let text = fs::read_to_string(path).unwrap();
    is_harmless("the journal", &text);
    let has_priority = |line: &str| line.starts_with('<') && line.as_bytes().get(2) == Some(&b'>');
    assert!(text.lines().count() > 3 && text.lines().all(has_priority), "{text}");
    // What TensorFlow Lite prints past its error reporter.
    assert!(text.lines().any(|line| line.starts_with("<7>") && line.contains("XNNPACK delegate")), "{text}");
}

#[test]
fn names_of_devices_are_shown_as_escapes() {
    let tree = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &[u8]| {
        let path = tree.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let text = hostile();
    write("sys/firmware/devicetree/base/model", text.as_bytes());
    write("sys/class/thermal/thermal_zone0/type", text.as_bytes());
    write("sys/class/thermal/thermal_zone0/temp", b"52100\n");
    write("sys/class/hwmon/hwmon0/name", b"ina219\n");
    write("sys/class/hwmon/hwmon0/label", text.as_bytes());
    write("sys/class/hwmon/hwmon0/power1_label", text.as_bytes());
    write("sys/class/hwmon/hwmon0/power1_input", text.as_bytes());
    write(&format!("sys/bus/usb/devices/{text}/idVendor"), b"1a6e\n");
    write(&format!("sys/bus/usb/devices/{text}/idProduct"), b"089a\n");
    for arguments in [vec!["devices"], vec!["devices", "--json"]] {
        let mut command = pspnetd(&arguments);
        command.env("PSPNETD_ROOT", tree.path());
        let finished = finish(command).expect(0);
        both_are_harmless("devices", &finished);
        assert!(finished.stdout.contains("52.1"), "{}", finished.stdout);
    }
}

#[test]
fn a_report_shows_what_a_log_says_as_escapes() {
    let text = hostile();
    let record = |time: &str, more: Value| {
        let mut record = json!({"time": format!("2026-11-22T10:{time}Z"), "run": text});
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        format!("{record}\n")
    };
    let log = [
        record(
            "00:00",
            json!({"kind": "event", "what": "start", "state": "running", "host": text, "model": text,
            "version": text, "engine": {"kind": text}}),
        ),
        record("00:01", json!({"kind": "event", "what": "camera", "state": "waiting", "text": text})),
        record(
            "01:00",
            json!({"kind": "interval", "seconds": 60, "celsius": {(text.as_str()): 50.0},
            "engine": {"kind": text, "workers": 1, "up": 0, "reason": text}}),
        ),
        record("01:01", json!({"kind": "event", "what": text, "state": text, "text": text})),
    ];
    let (folder, path) = hostile_file(".jsonl", log.concat().as_bytes());
    let html = folder.path().join("r.html");
    let finished = words([&"report", &path, &"--html", &html]).expect(0);
    is_told("report", &finished.stdout);
    is_harmless("report", &finished.stderr);
    is_told("report --json", &words([&"report", &"--json", &path]).expect(0).stdout);
    both_are_harmless("report --compare", &words([&"report", &"--compare", &path, &path]).expect(0));
    let page = fs::read_to_string(html).unwrap();
    is_told("the page", &page);
    assert!(!page.contains("<i>"), "no markup of the log's");
}

/// A password in a camera's URL, as the program itself repeats it.
#[test]
fn secrets_of_a_command_line_are_shown_nowhere() {
    const SECRET: &str = "s3cretpass";
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("latency.jsonl");
    let program = folder.path().join("cam");
    fs::write(&program, "#!/bin/sh\necho \"opening $2 with $*\" >&2\nexit 3\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let url = format!("rtsp://joe:{SECRET}@127.0.0.1/1?token={SECRET}");
    let source = format!("command:{} -i {url} --password {SECRET} -u joe:{SECRET}", program.display());
    let setting = format!("telemetry.latency_log.path={}", log.display());
    let command = with(run(&colours(), &source), ["telemetry.latency_log.interval=1s", &setting, "log.level=debug"]);
    let web = serving(command);
    web.running.stderr.wait_for("camera: waiting:");
    let mut shown = vec![web.get("/readyz").text(), web.get("/api/v1/state").text()];
    assert!(shown[1].contains("***@127.0.0.1"), "{}", shown[1]);
    let (finished, _) = web.running.stop(Signal::TERM);
    let finished = finished.expect(0).says(["opening rtsp://***@127.0.0.1/1?token=*** with"]);
    shown.extend([finished.stderr, finished.stdout, fs::read_to_string(&log).unwrap()]);
    for finished in [
        words([&"report", &log]),
        words([&"report", &"--json", &log]),
        words([&"check", &"--model", &colours(), &"--camera", &source]),
        words([&"check", &"--model", &colours(), &"--camera", &format!("{source} '")]),
        words([&"top", &"--url", &format!("http://joe:{SECRET}@127.0.0.1:1")]),
        words([&"devices", &"--set", &format!("camera.rate={url}")]),
    ] {
        shown.extend([finished.stdout, finished.stderr]);
    }
    for text in shown {
        assert!(!text.contains(SECRET), "{text}");
    }
}

/// The path of a request in the log, at the level that shows it.
#[test]
fn what_a_stranger_asks_for_is_shown_as_escapes() {
    let web = serving(with(run(&colours(), "pattern:64x48"), ["log.level=debug"]));
    for path in ["/\u{202e}x\u{9b}2J", "/a%1b[31m", "/\u{1b}]0;t\u{7}"] {
        let reply: Reply =
            exchange(web.connect(), format!("GET {path} HTTP/1.1\r\nHost: x\u{1b}\r\nConnection: close\r\n\r\n"));
        is_harmless("the answer", &reply.text());
        let reply = exchange(web.connect(), format!("{path} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        is_harmless("the answer", &reply.text());
        web.get(&path.replace(|c: char| c.is_control(), ""));
    }
    let (finished, _) = web.running.stop(Signal::TERM);
    is_harmless("the log", &finished.expect(0).stderr);
}
