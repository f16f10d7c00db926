//! A worker process that has turned hostile, as a compromised accelerator library would be: it can't bring the program down
//! through the memory that both share, and it can't act on the terminal from which the program was started.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unsafe_code)]

#[path = "support/plugins.rs"]
mod plugins;
mod support;

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use plugins::plugin;
use support::{colours, media, needs, run, with, Running, Signal};

/// `pspnetd run` of `model` with the plug-in `name`, which gets one option.
fn with_plugin(model: &Path, name: &str, option: &str, value: &Path) -> Command {
    let kind = format!("engine.kind=delegate:{}", plugin(name).display());
    let option = format!("engine.options={option}={}", value.display());
    with(run(model, "pattern:96x64"), [&kind, &option, "camera.rate=max", "log.level=debug"])
}

#[test]
fn a_worker_that_changes_its_answers_all_the_time_costs_wrong_masks_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let until = folder.path().join("now");
    // Its logits are far apart: what is the greatest at one moment is nothing compared with what may stand there at the next.
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/street-fast/model.tflite");
    let running = Running::start(with_plugin(&model, "scribbler", "until", &until));
    running.stdout.wait_for_record(0, "the worker's answer", |record| record["engine"]["ran"] == "delegate");
    // What isn't mapped can't be looked at twice.
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", running.id())).unwrap();
    assert!(maps.contains("memfd:pspnetd-inputs") && !maps.contains("memfd:pspnetd-output"), "{maps}");
    std::fs::write(until, "").unwrap();
    running.stderr.wait_for("scribbler: writing over 1 outputs");
    running.stdout.wait_for_count(running.stdout.count() + 200);
    let (finished, _) = running.stop(Signal::TERM);
    for record in finished.expect(0).records() {
        let sum: f64 = record["classes"].as_object().unwrap().values().map(|area| area.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 0.01, "{record}");
        let confidence = record["confidence"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&confidence), "{record}");
    }
}

/// A pseudo terminal: what a terminal window holds, and what a shell has.
fn terminal() -> (OwnedFd, OwnedFd, std::path::PathBuf) {
    let (mut window, mut shell) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: it writes two descriptors, which nobody else has.
    let (window, shell) = unsafe {
        assert_eq!(libc::openpty(&raw mut window, &raw mut shell, null, null.cast(), null.cast()), 0);
        (OwnedFd::from_raw_fd(window), OwnedFd::from_raw_fd(shell))
    };
    let path = std::fs::read_link(format!("/proc/self/fd/{}", shell.as_raw_fd())).unwrap();
    (window, shell, path)
}

/// Makes `command` start as from a shell in this terminal, which is its controlling terminal and its standard input.
fn in_terminal(command: &mut Command, shell: &OwnedFd) {
    command.stdin(Stdio::from(shell.try_clone().unwrap()));
    // SAFETY: two system calls between fork and exec.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// How many bytes whoever reads this terminal would get.
fn typed(shell: &OwnedFd) -> libc::c_int {
    let mut count = -1;
    // SAFETY: it writes one number.
    assert_eq!(unsafe { libc::ioctl(shell.as_raw_fd(), libc::FIONREAD, &raw mut count) }, 0);
    count
}

#[test]
fn a_worker_cannot_type_into_the_terminal_or_take_it() {
    let (_window, shell, path) = terminal();
    let mut command = with_plugin(&colours(), "typist", "terminal", &path);
    in_terminal(&mut command, &shell);
    let running = Running::start(command);
    running.stderr.wait_for("typist: open the terminal to write");
    running.stdout.wait_for_count(1);
    assert_eq!(typed(&shell), 0, "{}", running.stderr.text());
    let (finished, _) = running.stop(Signal::TERM);
    let mut finished =
        finished.expect(0).says(["typist: type there: EPERM", "typist: make it the controlling terminal: EPERM"]);
    let lacks_landlock = finished.stderr.contains("sandbox: landlock: this kernel has none");
    if lacks_landlock {
        finished = finished.says(["typist: open /dev/tty: ENXIO"]);
    }
    if needs::needs(
        !lacks_landlock,
        "this kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, and lsm=landlock,… at boot)",
    ) {
        let closed =
            ["open /dev/tty: EACCES", "open the terminal to read: EACCES", "open the terminal to write: EACCES"];
        finished.says(closed);
    }
}

#[test]
fn a_camera_program_has_no_terminal_either() {
    let (_window, shell, _) = terminal();
    let clip = media("colours.mjpeg");
    let camera = format!("command:sh -c '(: < /dev/tty) || echo it has none >&2; exec cat {}'", clip.display());
    let mut command = run(&colours(), &camera);
    in_terminal(&mut command, &shell);
    let running = Running::start(command);
    running.stderr.wait_for("it has none");
    running.stop(Signal::TERM).0.expect(0);
}
