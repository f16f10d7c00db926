//! Lights, relays and buttons as the user meets them on a machine without such pins: one warning and a run that goes on;
//! and what is refused before anything starts. What the pins do is in the unit tests of `publish::gpio`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{colours, configured, finish, grouped_colours, needs, pspnetd, replay, run, run_and_check, with};

const WARNING: &str = "gpio: no lights and buttons: ";

/// On a Raspberry Pi these tests would switch what is wired to it: they are left out there.
#[track_caller]
fn has_pins() -> bool {
    let model = std::fs::read_to_string("/sys/firmware/devicetree/base/model").unwrap_or_default();
    let has = model.contains("Raspberry Pi") || std::path::Path::new("/dev/gpiomem").exists();
    !needs::suits(!has, "this machine has pins, and something may be wired to them")
}

#[test]
fn a_machine_without_pins_says_so_once_and_everything_else_goes_on() {
    if has_pins() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let snapshots = format!("publish.snapshot.dir={}", folder.path().display());
    let command = with(
        run(&colours(), &replay("colours.mjpeg")),
        [
            "camera.rate=max",
            "gpio.heartbeat=17",
            "gpio.alarm=27",
            "gpio.alarm_class=red",
            "gpio.alarm_active=low",
            "gpio.button=22",
            &snapshots,
        ],
    );
    let finished = finish(command).expect(0).says([WARNING, "everything else goes on", "WARN"]);
    assert_eq!(finished.records().len(), 5);
    assert_eq!(finished.stderr.matches("gpio:").count(), 1, "{}", finished.stderr);
}

#[test]
fn without_a_pin_nothing_is_said_or_tried() {
    let command = with(run(&colours(), &replay("colours.mjpeg")), ["camera.rate=max", "gpio.alarm_class=nosuch"]);
    let finished = finish(command).expect(0);
    assert!(!finished.stderr.contains("gpio"), "{}", finished.stderr);
}

#[test]
fn a_bench_leaves_the_pins_alone() {
    let mut command = pspnetd(["bench", "--seconds", "0.1", "--threads", "1", "--model"]);
    command.arg(colours()).env("PSPNETD_GPIO_HEARTBEAT", "17");
    let finished = finish(command).expect(0);
    assert!(!finished.stderr.contains("gpio"), "{}", finished.stderr);
}

#[test]
fn wrong_values_are_refused_with_line_key_and_what_is_expected() {
    for (text, expected) in [
        ("heartbeat = 28", "gpio.heartbeat: pin \"28\": expected a BCM number, 0 to 27, or off"),
        ("alarm = 'GPIO4'", "gpio.alarm: pin \"GPIO4\": expected a BCM number, 0 to 27, or off"),
        ("button = -1", "gpio.button: pin \"-1\": expected a BCM number, 0 to 27, or off"),
        ("button = true", "gpio.button: invalid type: boolean `true`, expected a string or a number"),
        ("alarm_above = 1.5", "gpio.alarm_above: fraction \"1.5\": expected more than 0 and at most 1"),
        ("alarm_above = 0", "gpio.alarm_above: fraction \"0\": expected more than 0 and at most 1"),
        ("alarm_hold = '-2s'", "gpio.alarm_hold: time \"-2s\": expected seconds"),
        ("alarm_active = 'up'", "gpio.alarm_active: unknown variant `up`, expected `high` or `low`"),
        ("alarm_class = 3", "gpio.alarm_class: invalid type: integer `3`, expected a string"),
        ("button_pull = 'none'", "gpio.button_pull: unknown variant `none`, expected `up` or `down`"),
        ("button_action = 'stop'", "gpio.button_action: unknown variant `stop`, expected `snapshot` or `pause`"),
        ("hartbeat = 4", "gpio.hartbeat: unknown key; did you mean gpio.heartbeat?"),
    ] {
        let (words, path) = configured(&format!("[gpio]\n{text}\n"));
        assert!(words.starts_with(&format!("pspnetd: {}:2: {expected}", path.display())), "{words}");
    }
    let words = run_and_check(&[], &[("PSPNETD_GPIO_ALARM", "99")], 78);
    assert!(words.contains("environment PSPNETD_GPIO_ALARM: gpio.alarm: pin \"99\": expected"), "{words}");
}

#[test]
fn settings_that_cannot_be_together_are_refused_with_the_line_of_one() {
    for (text, expected) in [
        (
            "[gpio]\nheartbeat = 17\nalarm = '17'\nalarm_class = 'red'\n",
            ":3: gpio.alarm: pin 17 is gpio.heartbeat already",
        ),
        ("[gpio]\nalarm = 4\n", ":2: gpio.alarm: gpio.alarm_class is empty"),
        ("[gpio]\n\nbutton = 4\n", ":3: gpio.button: the button takes snapshots, but publish.snapshot.dir is empty"),
    ] {
        let (words, _) = configured(text);
        assert!(words.contains(expected), "{words}");
    }
    let words = run_and_check(&["--set", "gpio.heartbeat=5", "--set", "gpio.button=5"], &[], 78);
    assert!(words.starts_with("pspnetd: --set: gpio.button: pin 5 is gpio.heartbeat already"), "{words}");
}

#[test]
fn a_class_that_the_model_does_not_have_is_refused_with_the_nearest() {
    let model = colours();
    let refused = |class: &str| {
        let class = format!("gpio.alarm_class={class}");
        let model = ["--model", model.to_str().unwrap(), "--camera", "pattern:64x64"];
        run_and_check(&[&model[..], &["--set", "gpio.alarm=27", "--set", &class]].concat(), &[], 78)
    };
    assert_eq!(
        refused("yelow"),
        "pspnetd: --set: gpio.alarm_class \"yelow\": the model has no class or group of that name; did you mean yellow?"
    );
    assert!(refused("zzz").contains("it has black, white, red"), "{}", refused("zzz"));
}

#[test]
fn a_group_raises_the_alarm_as_well_and_check_says_what_the_pins_are() {
    if has_pins() {
        return;
    }
    let model = grouped_colours();
    let mut command = pspnetd(["check", "--camera", "pattern:64x64", "--set", "gpio.alarm=27", "--model"]);
    command.arg(model.path().join("model.tflite")).args(["--set", "gpio.alarm_class=primary"]);
    let said = finish(command).expect(0).stdout;
    assert!(said.contains("\n# gpio: without lights and buttons: "), "{said}");
    let table: toml::Table = said.parse().unwrap();
    assert_eq!(table["gpio"]["alarm"].as_str(), Some("27"));
    assert_eq!(table["gpio"]["heartbeat"].as_str(), Some("off"));
}
