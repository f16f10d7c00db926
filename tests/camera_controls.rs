//! `[camera.controls]` through the real binary: what is set, when and in which order, and what is said of what can't be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::{json, Value};

use support::fake_v4l2::FakeV4l2;
use support::{colours, file, finish, pspnetd, run, Finished, Running, Signal};

/// A USB camera as uvcvideo shows it since Linux 5.14. Types: 1 integer, 2 boolean, 3 menu, 4 button, 5 integer of 64 bits, 8
/// bits. Flags: 2 grabbed, 4 read-only, 8 changes others.
const CAMERA: &str = "format YUYV 64x48 30
control 980900 1 0 255 1 128 0 Brightness
control 98090c 2 0 1 1 1 0 White Balance, Automatic
control 980913 1 0 255 1 16 0 Gain
control 980918 3 0 2 1 1 0 Power Line Frequency
item 980918 0 Disabled
item 980918 1 50 Hz
item 980918 2 60 Hz
control 98091a 1 2000 6500 10 4600 0 White Balance Temperature
active 98091a 98090c 0
control 98091b 1 0 7 1 2 4 Sharpness
control 9a0901 3 0 3 1 3 8 Auto Exposure
item 9a0901 1 Manual Mode
item 9a0901 3 Aperture Priority Mode
control 9a0902 1 3 2047 1 250 0 Exposure Time, Absolute
active 9a0902 9a0901 1
control 9a0903 2 0 1 1 1 0 Exposure, Dynamic Framerate
control 9a0908 1 -36000 36000 3600 0 0 Pan, Absolute
control 9a0910 2 0 1 1 0 2 Privacy
control 9a0925 4 0 0 0 0 0 Autofocus Now
control 9f0902 5 0 1099511627776 1 0 0 Pixel Rate
";

/// `pspnetd check` of the camera with a configuration of `text`, which is a file's.
#[track_caller]
fn check(fake: &FakeV4l2, text: &str) -> Option<(Finished, String)> {
    let (_folder, path) = file("pspnetd.toml", text.as_bytes());
    let path = path.to_str().unwrap();
    let mut command = pspnetd(["check", "--config", path, "--camera", "v4l2:/dev/video0", "--model"]);
    command.arg(colours());
    Some((finish(fake.command(&command)?), path.to_owned()))
}

/// What was set at the camera, in order.
fn set(fake: &FakeV4l2) -> Vec<String> {
    let log = fake.log(0);
    log.lines().filter_map(|line| line.strip_prefix("S_CTRL ")).map(str::to_owned).collect()
}

fn camera(more: &str) -> FakeV4l2 {
    let fake = FakeV4l2::new();
    fake.plug(0, &format!("{CAMERA}{more}"));
    fake
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in\n{text}");
    }
}

#[test]
fn controls_are_set_between_the_format_and_the_stream_automatic_modes_first() {
    let fake = camera("");
    let text = "[camera.controls]
brightness = 100
exposure_time_absolute = 120
white_balance_temperature = 5000
auto_exposure = 'Manual Mode'
white_balance_automatic = false
power_line_frequency = '60 hz'
pan_absolute = -7200
autofocus_now = true
pixel_rate = 1000000000000
";
    let Some((finished, _)) = check(&fake, text) else { return };
    let finished = finished.expect(0);
    let log = fake.log(0);
    let lines: Vec<&str> = log.lines().collect();
    let expected = [
        "open",
        "S_FMT YUYV 64x48",
        "S_PARM 1/30",
        "S_CTRL 0x9a0901 1 ok",
        "S_CTRL 0x98090c 0 ok",
        "S_CTRL 0x9a0925 1 ok",
        "S_CTRL 0x980900 100 ok",
        "S_CTRL 0x9a0902 120 ok",
        "S_CTRL 0x9a0908 -7200 ok",
        "S_CTRL 0x9f0902 1000000000000 ok",
        "S_CTRL 0x980918 2 ok",
        "S_CTRL 0x98091a 5000 ok",
        "STREAMON",
        "STREAMOFF",
        "close",
    ];
    assert_eq!(sorted(&lines[3..12]), sorted(&expected[3..12]), "{log}");
    assert_eq!((&lines[..3], &lines[12..]), (&expected[..3], &expected[12..]));
    let at = |control: &str| lines.iter().position(|line| line.contains(control)).unwrap();
    assert!(at("0x9a0901") < at("0x9a0902") && at("0x98090c") < at("0x98091a"), "{log}");
    says(
        &finished.stdout,
        &[
            "[camera.controls]\n",
            "brightness = 100\n",
            "auto_exposure = \"Manual Mode\"\n",
            "auto_exposure 1 (Manual Mode)",
        ],
    );
    says(&finished.stdout, &["power_line_frequency 2 (60 Hz)", "white_balance_temperature 5000"]);
}

fn sorted(lines: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    lines.sort();
    lines
}

#[test]
fn the_names_of_other_kernels_and_drivers_without_extended_controls_work_as_well() {
    let fake = camera("without ext-controls\n");
    let text = "[camera.controls]\nexposure_auto = 1\nexposure_absolute = 99\nexposure_auto_priority = false\n";
    let Some((finished, _)) = check(&fake, text) else { return };
    finished.expect(0);
    assert_eq!(set(&fake), ["0x9a0901 1 ok", "0x9a0903 0 ok", "0x9a0902 99 ok"]);
}

#[test]
fn what_the_camera_does_not_have_or_take_is_exit_78_with_its_line() {
    for (control, reason) in [
        ("gian = 3", "the camera has no such control; did you mean gain?"),
        ("gain = 256", "expected 0 to 255; the default is 16"),
        ("gain = true", "expected 0 to 255"),
        ("gain = 'much'", "expected 0 to 255"),
        ("white_balance_automatic = 2", "expected true or false; the default is true"),
        ("power_line_frequency = 7", "expected 0 (Disabled), 1 (50 Hz), 2 (60 Hz); the default is 1 (50 Hz)"),
        ("power_line_frequency = '55 Hz'", "expected 0 (Disabled), 1 (50 Hz), 2 (60 Hz)"),
        ("auto_exposure = 2", "expected 1 (Manual Mode), 3 (Aperture Priority Mode)"),
        ("sharpness = 3", "read-only"),
        ("pan_absolute = 40000", "expected -36000 to 36000 in steps of 3600"),
        ("autofocus_now = false", "expected true"),
        ("pixel_rate = -1", "expected 0 to 1099511627776"),
        (
            "exposure_time_absolute = 100",
            "while auto_exposure decides it, now 3 (Aperture Priority Mode): set auto_exposure = 1",
        ),
        (
            "white_balance_temperature = 3000",
            "while white_balance_automatic decides it, now 1: set white_balance_automatic = 0",
        ),
    ] {
        let fake = camera("");
        let text = format!("[camera.controls]\nbrightness = 100\n{control}\n");
        let Some((finished, path)) = check(&fake, &text) else { return };
        let (name, value) = control.split_once(" = ").unwrap();
        let value = value.replace('\'', "\"");
        let last = finished.expect(78).stderr.lines().last().unwrap().to_owned();
        says(&last, &[&format!("{path}:3: camera.controls.{name} {value}: /dev/video0: "), reason]);
        assert!(!fake.log(0).contains("STREAMON"), "{}", fake.log(0));
    }
    let fake = camera("fail S_CTRL:0x980913 34\n");
    let (finished, _) = check(&fake, "[camera.controls]\ngain = 3\n").unwrap();
    says(
        &finished.expect(78).stderr,
        &["camera.controls.gain 3", "the camera refused it (Numerical result out of range"],
    );
}

#[test]
fn run_ends_with_what_check_says() {
    let fake = camera("");
    let command = |subcommand| {
        let mut command = pspnetd([subcommand, "--camera", "v4l2:/dev/video0", "--set", "camera.controls.gain=999"]);
        command.arg("--model").arg(colours());
        command
    };
    let Some(check) = fake.command(&command("check")) else { return };
    let check = finish(check).expect(78);
    let run = finish(fake.command(&command("run")).unwrap()).expect(78);
    let last = |finished: &Finished| finished.stderr.lines().last().unwrap().to_owned();
    assert_eq!(last(&run), last(&check));
    says(&last(&run), &["--set: camera.controls.gain 999: "]);
}

#[test]
fn what_another_program_holds_is_a_warning_and_frames_come() {
    let fake = camera("");
    let Some(mut command) = fake.command(&run(&colours(), "v4l2:/dev/video0")) else { return };
    command.args(["--set", "camera.controls.privacy=true", "--set", "camera.controls.gain=20"]);
    let running = Running::start(command);
    running.stdout.wait_for_count(3);
    let finished = running.stop(Signal::TERM).0.expect(0);
    let words = "WARN ";
    says(
        &finished.stderr,
        &[words, "camera.controls.privacy true: ", "another program holds this control", "; gain 20"],
    );
    assert_eq!(set(&fake)[0], "0x980913 20 ok");
}

#[test]
fn every_opening_sets_them_and_what_is_refused_then_is_a_warning_said_once() {
    let fake = camera("");
    let Some(mut command) = fake.command(&run(&colours(), "v4l2:/dev/video0")) else { return };
    command.args(["--set", "camera.controls.gain=20", "--set", "camera.controls.brightness=9"]);
    let running = Running::start(command);
    running.stdout.wait_for_count(3);
    fake.unplug(0);
    running.stderr.wait_for("camera: waiting: ");
    // Another camera, which knows no gain, and ends its stream again and again.
    let without = CAMERA.replace("control 980913 1 0 255 1 16 0 Gain\n", "");
    fake.plug(0, &format!("{without}fail DQBUF 5\n"));
    let openings = |log: &str| log.matches("STREAMON").count();
    fake.wait_for(0, "STREAMON", 4);
    fake.plug(0, &without);
    let seen = running.stdout.count();
    running.stdout.wait_for_count(seen + 3);
    let finished = running.stop(Signal::TERM).0.expect(0);
    let refused = "camera.controls.gain 20: the camera has no such control";
    assert_eq!(finished.stderr.matches(refused).count(), 1, "{}", finished.stderr);
    let log = fake.log(0);
    assert_eq!(log.matches("S_CTRL 0x980900 9 ok").count(), openings(&log), "{log}");
}

#[test]
fn a_camera_that_forgets_when_its_stream_starts_is_set_again() {
    let fake = camera("resets\n");
    let Some((finished, _)) = check(&fake, "[camera.controls]\ngain = 20\n") else { return };
    let finished = finished.expect(0);
    assert!(!finished.stderr.contains("WARN"), "{}", finished.stderr);
    let log = fake.log(0);
    let after = log.split_once("STREAMON").unwrap().1;
    assert!(after.contains("S_CTRL 0x980913 20 ok"), "{log}");
}

#[test]
fn what_the_camera_rounds_is_said() {
    let fake = camera("");
    let text = "[camera.controls]\nwhite_balance_automatic = false\nwhite_balance_temperature = 4321\n";
    let Some((finished, _)) = check(&fake, text) else { return };
    let finished = finished.expect(0);
    says(&finished.stderr, &["camera.controls.white_balance_temperature 4321: the camera made it 4320"]);
}

#[test]
fn devices_lists_controls_with_range_default_and_state() {
    let fake = camera("");
    // A node that is no camera has none.
    fake.plug(1, "caps 800000\n");
    let Some(command) = fake.command(&pspnetd(["devices", "--controls"])) else { return };
    let text = finish(command).expect(0).stdout;
    says(
        &text,
        &[
            "    [camera.controls]\n",
            "        gain: 0 to 255; default 16; now 16\n",
            "        white_balance_automatic: true or false; default true; now true\n",
            "        power_line_frequency: 0 (Disabled), 1 (50 Hz), 2 (60 Hz); default 1 (50 Hz); now 1 (50 Hz)\n",
            "        sharpness: 0 to 7; default 2; now 2; read-only\n",
            "        exposure_time_absolute: 3 to 2047; default 250; now 250; without effect while another control decides it\n",
            "        pan_absolute: -36000 to 36000 in steps of 3600; default 0; now 0\n",
            "        autofocus_now: true, which presses it whenever the camera is opened\n",
        ],
    );
    let listed = |arguments: &[&str]| -> Value {
        let finished = finish(fake.command(&pspnetd(arguments)).unwrap()).expect(0);
        serde_json::from_str(&finished.stdout).unwrap()
    };
    let all = listed(&["devices", "--controls", "--json"]);
    let controls = all["cameras"][0]["controls"].as_array().unwrap();
    let menu = controls.iter().find(|control| control["name"] == "auto_exposure").unwrap();
    let items = json!([{"index": 1, "text": "Manual Mode"}, {"index": 3, "text": "Aperture Priority Mode"}]);
    assert_eq!(
        (&menu["kind"], &menu["default"], &menu["value"], &menu["items"]),
        (&json!("menu"), &json!(3), &json!(3), &items)
    );
    assert_eq!(all["cameras"][1].get("controls"), None);
    assert_eq!(listed(&["devices", "--json"])["cameras"][0].get("controls"), None);
    assert!(set(&fake).is_empty());
}

#[test]
fn every_layer_sets_controls_and_slips_have_their_line() {
    let fake = camera("");
    let (_folder, path) = file("pspnetd.toml", b"[camera.controls]\ngain = 1\nbrightness = 2\n");
    let mut command = pspnetd(["check", "--config", path.to_str().unwrap(), "--camera", "auto"]);
    command.args(["--set", "camera.controls.brightness=3", "--model"]).arg(colours());
    command.env("PSPNETD_CAMERA_CONTROLS_GAIN", "4");
    let Some(command) = fake.command(&command) else { return };
    finish(command).expect(0);
    assert_eq!(set(&fake), ["0x980900 3 ok", "0x980913 4 ok"]);
    for (text, line, words) in [
        ("[camera.controls]\n'a b' = 1\n", 2, "camera.controls.a b: invalid name"),
        ("[camera]\ncontrols = 3\n", 2, "expected a section, written [camera.controls]"),
        ("[camera.control]\ngain = 1\n", 1, "camera.control: unknown key; did you mean camera.controls?"),
        ("[camera.controls]\ngain = 1.5\n", 2, "a whole number, true, false, or the words of a menu's entry"),
        ("[camera.controls.gain]\nx = 1\n", 1, "a whole number"),
    ] {
        let (said, path) = support::configured(text);
        says(&said, &[&format!("{}:{line}: ", path.display()), words]);
    }
    let said = support::run_and_check(&["--set", "camera.controls=3"], &[], 78);
    says(&said, &["--set: camera.controls: it is a section"]);
}

#[test]
fn sources_without_controls_are_told() {
    let mut command = pspnetd(["check", "--camera", "pattern:64x48", "--set", "camera.controls.gain=1", "--model"]);
    command.arg(colours());
    finish(command).expect(0).says(["[camera.controls] has no effect: only V4L2 cameras have controls"]);
}
