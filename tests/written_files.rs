//! Files that the real binary writes and reads: never over an input, never through a link, never half; a size limit is an error
//! and no signal, a pipe holds nobody, and a report holds few files open.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/plugins.rs"]
mod plugins;
mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use rustix::fs::{mknodat, FileType, Mode, CWD};
use rustix::process::{prlimit, Pid, Resource, Rlimit};

use plugins::plugin;
use support::http::{serve, token_file};
use support::{colours, configured, finish, media, pspnetd, replay, run, with, Finished, Running, Signal};

fn report(words: &[&str]) -> Finished {
    let mut command = pspnetd(["report"]);
    command.args(words);
    finish(command)
}

fn interval(second: u32) -> String {
    format!(
        "{{\"time\":\"2026-11-22T10:{:02}:{:02}Z\",\"kind\":\"interval\",\"run\":\"a\",\"seconds\":1}}\n",
        second / 60,
        second % 60
    )
}

#[test]
fn a_report_is_never_written_over_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let [log, older, link, page] = ["log", "log.1", "link", "page.html"].map(path);
    fs::write(&older, interval(1)).unwrap();
    fs::write(&log, interval(2)).unwrap();
    symlink(&log, &link).unwrap();
    for html in [&log, &older, &link] {
        report(&[&log, "--html", html]).expect(65).says(["would overwrite", "name another file"]);
    }
    let hard = path("hard");
    fs::hard_link(&log, &hard).unwrap();
    report(&[&log, "--html", &hard]).expect(65);
    assert_eq!((fs::read_to_string(&log).unwrap(), fs::read_to_string(&older).unwrap()), (interval(2), interval(1)));
    // What is no log is replaced, and a link goes itself.
    symlink(&hard, &page).unwrap();
    fs::remove_file(&hard).unwrap();
    report(&[&log, "--html", &page]).expect(0);
    assert!(fs::read_to_string(&page).unwrap().starts_with("<!DOCTYPE html>"));
    assert!(fs::symlink_metadata(&page).unwrap().is_file() && !Path::new(&hard).exists());
    assert!(report(&[&log, "--html", "/dev/stdout"]).expect(0).stdout.contains("<!DOCTYPE html>"));
}

#[test]
fn masks_are_never_written_over_a_picture_or_through_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let predict = |pictures: &[&str]| {
        let mut command = pspnetd(["predict", "--model"]);
        command.arg(colours()).arg("-o").arg(folder.path()).args(pictures.iter().map(|name| path(name)));
        finish(command)
    };
    let original = fs::read(media("colours/1_vertical.png")).unwrap();
    for name in ["a.png", "a_mask.png"] {
        fs::write(path(name), &original).unwrap();
    }
    predict(&["a.png", "a_mask.png"]).expect(65).says(["a_mask.png would overwrite", "another folder"]);
    assert_eq!(fs::read(path("a_mask.png")).unwrap(), original);
    // Somebody else's links in the folder, where the mask and its unfinished file are to be.
    fs::write(path("victim"), "precious").unwrap();
    fs::remove_file(path("a_mask.png")).unwrap();
    for name in ["a_mask.png", "a_mask.png.partial", "a_overlay.png.partial"] {
        symlink(path("victim"), path(name)).unwrap();
    }
    predict(&["a.png"]).expect(0);
    assert_eq!(fs::read_to_string(path("victim")).unwrap(), "precious");
    assert!(fs::symlink_metadata(path("a_mask.png")).unwrap().is_file() && !path("a_mask.png.partial").exists());
}

#[test]
fn lines_are_never_written_into_what_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("clip.mjpeg");
    fs::copy(media("colours.mjpeg"), &clip).unwrap();
    let before = fs::read(&clip).unwrap();
    for key in ["publish.jsonl.path", "telemetry.latency_log.path"] {
        let command = run(&colours(), &format!("replay:{}", clip.display()));
        finish(with(command, [&format!("{key}={}", clip.display())])).expect(78).says([key, "which is read"]);
    }
    assert_eq!(fs::read(&clip).unwrap(), before);
    // What is found beside what is named, and what a rotation would rename a file to.
    let model = folder.path().join("model.tflite");
    fs::copy(colours(), &model).unwrap();
    let [manifest, picture, lines] = ["manifest.toml", "1.png", "lines"].map(|name| folder.path().join(name));
    fs::write(&manifest, "name = 'm'\n").unwrap();
    fs::copy(media("colours/1_vertical.png"), &picture).unwrap();
    for written in [&manifest, &picture] {
        let command = run(&model, &format!("replay:{}", folder.path().display()));
        finish(with(command, [&format!("publish.jsonl.path={}", written.display())]))
            .expect(78)
            .says(["which is read"]);
    }
    fs::write(&lines, "").unwrap();
    fs::rename(&clip, folder.path().join("lines.1")).unwrap();
    let command = run(&colours(), &format!("replay:{}.1", lines.display()));
    finish(with(command, [&format!("publish.jsonl.path={}", lines.display())])).expect(78).says(["which is read"]);
    assert_eq!(fs::read(folder.path().join("lines.1")).unwrap(), before);
    assert_eq!(fs::read_to_string(&manifest).unwrap(), "name = 'm'\n");
    let token = token_file(folder.path(), "correct-horse-battery-staple");
    let text = format!("[http]\ntoken_file = '{token}'\n[publish.jsonl]\npath = '{token}'\n");
    assert!(configured(&text).0.contains(":4: publish.jsonl.path"), "with the line");
}

#[test]
fn a_size_limit_is_an_error_of_the_file_and_no_signal() {
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("lines");
    let setting = format!("publish.jsonl.path={}", lines.display());
    let running = Running::start(with(run(&colours(), "pattern:64x48"), [&setting, "camera.rate=50"]));
    running.stderr.wait_for("camera: test pattern");
    let limit = |most| {
        let pid = Pid::from_raw(i32::try_from(running.id()).unwrap());
        prlimit(pid, Resource::Fsize, Rlimit { current: most, maximum: None }).unwrap();
    };
    limit(Some(2000));
    running.stderr.wait_for("lines are lost and counted");
    limit(None);
    running.stderr.wait_for("writing again");
    running.stop(Signal::TERM).0.expect(0);
    // A picture that doesn't fit leaves nothing behind. The limit is for shared memory too, so the model runs in the program.
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -f 1; exec \"$0\" predict --set engine.isolation=none -o \"$1\" --model \"$2\" \"$3\""]);
    command.arg(env!("CARGO_BIN_EXE_pspnetd")).arg(folder.path().join("out")).arg(colours());
    command.arg(media("colours/1_vertical.png")).env("PSPNETD_CONFIG", "/dev/null");
    finish(command).expect(74).says(["File too large"]);
    let left = fs::read_dir(folder.path().join("out")).unwrap();
    assert!(left.into_iter().all(|entry| !entry.unwrap().file_name().to_string_lossy().ends_with(".partial")));
}

#[test]
fn a_picture_that_becomes_a_pipe_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    fs::create_dir(&pictures).unwrap();
    for name in ["1.png", "2.png"] {
        fs::copy(media("colours/1_vertical.png"), pictures.join(name)).unwrap();
    }
    let camera = format!("replay:{}", pictures.display());
    let command = with(run(&colours(), &camera), ["camera.rate=20", "camera.loop=true"]);
    let running = Running::start(command);
    running.stdout.wait_for_count(2);
    fs::remove_file(pictures.join("2.png")).unwrap();
    mknodat(CWD, pictures.join("2.png"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    running.stderr.wait_for("2.png: it is a pipe");
    let lines = running.stdout.count();
    running.stdout.wait_for_count(lines + 10);
    running.stop(Signal::TERM).0.expect(0);
}

#[test]
fn what_should_be_a_model_or_a_manifest_and_is_a_pipe_holds_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = |name: &str| mknodat(CWD, folder.path().join(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let model = folder.path().join("model.tflite");
    fs::copy(colours(), &model).unwrap();
    pipe("manifest.toml");
    // As if there were none.
    finish(run(&model, &replay("colours"))).expect(0);
    fs::remove_file(&model).unwrap();
    pipe("model.tflite");
    finish(run(&model, &replay("colours"))).expect(78).says(["not a file"]);
}

/// What the real binary asks of the system, in order: the content of each file is on disk before it takes its name.
#[test]
fn masks_and_reports_are_on_disk_before_they_take_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let watched = |command: &mut Command| {
        let calls = path("calls");
        command.env("LD_PRELOAD", plugin("order")).env("ORDER_OF_CALLS", &calls);
        command.env("PSPNETD_CONFIG", "/dev/null");
        assert!(command.output().unwrap().status.success());
        let text = fs::read_to_string(&calls).unwrap();
        fs::remove_file(calls).unwrap();
        text
    };
    fs::write(path("log"), interval(1)).unwrap();
    let binary = env!("CARGO_BIN_EXE_pspnetd");
    let report = watched(Command::new(binary).arg("report").arg(path("log")).arg("--html").arg(path("page")));
    let picture = media("colours/1_vertical.png");
    let predict =
        watched(Command::new(binary).args(["predict", "--model"]).arg(colours()).arg("-o").arg(path("o")).arg(picture));
    for (calls, names) in [(report, vec!["page"]), (predict, vec!["1_vertical_mask.png", "1_vertical_overlay.png"])] {
        for name in names {
            let at = |call: String| calls.find(&call).unwrap_or_else(|| panic!("no {call:?} in {calls}"));
            let (synced, renamed) = (at(format!("/{name}.partial synced\n")), at(format!("/{name} renamed\n")));
            assert!(synced < renamed, "{calls}");
        }
    }
}

#[test]
fn a_library_in_the_folder_above_the_program_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("downloads");
    fs::create_dir(&inner).unwrap();
    let program = inner.join("pspnetd");
    fs::copy(env!("CARGO_BIN_EXE_pspnetd"), &program).unwrap();
    let planted = folder.path().join("libtensorflowlite_c.so");
    fs::write(&planted, "not to be opened").unwrap();
    let output = Command::new(program).arg("--version").env_remove("LD_LIBRARY_PATH").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() || said.contains("No such file"), "{said}");
    assert!(!said.contains("invalid ELF") && !said.contains("too short"), "{said}");
}

#[test]
fn a_report_of_many_rotated_files_holds_few_of_them_open() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    for number in 0..1500 {
        let name = if number == 0 { "log".to_owned() } else { format!("log.{number}") };
        fs::write(folder.path().join(name), interval(1500 - number)).unwrap();
    }
    // Nobody waits for what lies where the next would be.
    let pipe = folder.path().join("log.1500");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    report(&[log.to_str().unwrap()]).expect(74).says(["log.1500", "it is a pipe"]);
    fs::remove_file(pipe).unwrap();
    let limited = |words: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n 100; exec \"$0\" report --json {words}")]);
        command.arg(env!("CARGO_BIN_EXE_pspnetd")).arg(&log).arg(folder.path()).env("PSPNETD_CONFIG", "/dev/null");
        let finished = finish(command).expect(0);
        serde_json::from_str::<serde_json::Value>(&finished.stdout).unwrap()
    };
    let rotated = limited("\"$1\"");
    assert_eq!((&rotated["intervals"], &rotated["seconds"]), (&1500.into(), &1500.0.into()), "{rotated}");
    // The same where each is named, in whatever order: the oldest comes first.
    let named = limited("\"$2\"/log.7* \"$2\"/log");
    assert_eq!(named["intervals"], 1500, "{named}");
    assert_eq!(named["files"].as_array().unwrap().len(), 1500);
}

#[test]
fn a_token_over_plain_http_to_another_machine_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let token = token_file(folder.path(), "correct-horse-battery-staple");
    let web = serve([format!("http.token_file={token}")]).ready_with("correct-horse-battery-staple");
    let top = |url: &str| finish(pspnetd(["top", "--once", "--token-file", &token, "--url", url]));
    let here = top(&format!("http://{}", web.address)).expect(0);
    assert_eq!(here.stderr, "");
    // 127.0.0.1 under a name that could be any machine's; nothing resolves it.
    let there =
        top("http://camera.invalid:8088").expect(69).says(["warning: the token goes to http://camera.invalid:8088"]);
    assert!(!there.stderr.contains("battery"), "{}", there.stderr);
    web.ends_well();
}
