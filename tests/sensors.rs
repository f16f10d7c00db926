//! The sensors of boards that are trees of files, by `pspnetd devices`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{symlink, PermissionsExt as _};
use std::path::PathBuf;
use std::process::Command;

use serde_json::{json, Value};

use support::{finish, pspnetd};

/// What `vcgencmd pmic_read_adc` prints on a Raspberry Pi 5.
const PMIC: &str = "   3V7_WL_SW_A current(0)=0.07709848A
     3V3_SYS_A current(1)=0.04782057A
     1V8_SYS_A current(2)=0.11515970A
    DDR_VDD2_A current(3)=0.00780744A
    DDR_VDDQ_A current(4)=0.00000000A
     1V1_SYS_A current(5)=0.17664330A
      0V8_SW_A current(6)=0.33084030A
    VDD_CORE_A current(7)=0.94657990A
     3V3_DAC_A current(17)=0.00146520A
     3V3_ADC_A current(18)=0.00140415A
     0V8_AON_A current(16)=0.00494505A
        HDMI_A current(22)=0.01697190A
   3V7_WL_SW_V volt(8)=3.69049700V
     3V3_SYS_V volt(9)=3.29982600V
     1V8_SYS_V volt(10)=1.79633500V
    DDR_VDD2_V volt(11)=1.10805800V
    DDR_VDDQ_V volt(12)=0.60329610V
     1V1_SYS_V volt(13)=1.10146400V
      0V8_SW_V volt(14)=0.80219700V
    VDD_CORE_V volt(15)=0.72097620V
     3V3_DAC_V volt(20)=3.30402600V
     3V3_ADC_V volt(21)=3.29670000V
     0V8_AON_V volt(19)=0.79941320V
        HDMI_V volt(23)=5.11612000V
       EXT5V_V volt(24)=5.11478000V
        BATT_V volt(25)=0.01880340V
";

/// A board.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new(model: &str) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        tree.write("sys/firmware/devicetree/base/model", &format!("{model}\0"));
        tree.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
        tree.write("sys/class/thermal/thermal_zone0/temp", "52100\n");
        tree.write("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", "1500000\n");
        tree.write("sys/class/hwmon/hwmon0/name", "cpu_thermal\n");
        tree.write("sys/class/hwmon/hwmon0/temp1_input", "52100\n");
        tree.write("sys/class/hwmon/hwmon1/name", "rpi_volt\n");
        tree.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0\n");
        fs::create_dir(tree.0.path().join("bin")).unwrap();
        tree
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// An INA219 on bus 1 at 0x40 as the kernel's hwmon driver shows it.
    fn ina219(&self) {
        for (file, text) in
            [("name", "ina219"), ("in1_input", "5100"), ("curr1_input", "800"), ("power1_input", "4080000")]
        {
            self.write(&format!("sys/class/hwmon/hwmon2/{file}"), &format!("{text}\n"));
        }
        self.write("sys/bus/i2c/devices/1-0040/name", "ina219\n");
        symlink("../../../bus/i2c/devices/1-0040", self.0.path().join("sys/class/hwmon/hwmon2/device")).unwrap();
    }

    /// A program of that name, which is the first that is found.
    fn program(&self, name: &str, script: &str) {
        let path = self.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }

    /// The board's own vcgencmd.
    fn vcgencmd(&self) {
        self.write("pmic", PMIC);
        let file = self.0.path().join("pmic").display().to_string();
        let script =
            format!("case $1 in pmic_read_adc) cat {file};; get_throttled) echo throttled=0x50000;; *) exit 1;; esac");
        self.program("vcgencmd", &script);
    }

    fn command(&self, settings: &[&str]) -> Command {
        let mut command = pspnetd(["devices"]);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PSPNETD_ROOT", self.0.path());
        command.env("PATH", format!("{}:{path}", self.0.path().join("bin").display()));
        for setting in settings {
            command.args(["--set", setting]);
        }
        command
    }

    fn json(&self, settings: &[&str]) -> Value {
        let mut command = self.command(settings);
        command.arg("--json");
        serde_json::from_str::<Value>(&finish(command).expect(0).stdout).unwrap()["sensors"].clone()
    }
}

fn near(value: &Value, expected: f64) {
    let value = value.as_f64().unwrap_or_else(|| panic!("{value} is not {expected}"));
    assert!((value - expected).abs() < 1e-4, "{value} is not {expected}");
}

fn rail<'a>(sensors: &'a Value, name: &str) -> &'a Value {
    let mut rails = sensors["now"]["rails"].as_array().unwrap().iter();
    rails.find(|rail| rail["name"] == name).unwrap_or_else(|| panic!("no rail {name}: {sensors}"))
}

#[test]
fn a_pi_4_with_an_ina219_shows_power_heat_clock_and_throttling() {
    let tree = Tree::new("Raspberry Pi 4 Model B Rev 1.5");
    tree.ina219();
    tree.write("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n");
    let sensors = tree.json(&[]);
    near(&sensors["now"]["watts"], 4.08);
    assert_eq!(sensors["now"]["temperatures"], json!([{ "name": "soc", "celsius": 52.1, "fault": null }]));
    assert_eq!(sensors["now"]["cpu_hertz"], 1_500_000_000u64);
    assert_eq!(sensors["now"]["throttle"]["now"]["under_voltage"], true);
    assert_eq!(sensors["now"]["throttle"]["now"]["frequency_capped"], false);
    assert!(sensors["now"]["process"]["resident_bytes"].as_u64().unwrap() > 1 << 20, "{sensors}");
    let text = finish(tree.command(&[])).expect(0).stdout;
    for line in [
        "power rail ina219@1-0040 (hwmon ina219): 5.100 V, 0.800 A, 4.080 W; in the total\n",
        "temperature soc (thermal zone cpu-thermal): 52.1 °C\n",
        "cpu clock (cpufreq, 1 policies): 1500 MHz\n",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
}

#[test]
fn a_pi_5_asks_its_power_chip_and_its_firmware() {
    let tree = Tree::new("Raspberry Pi 5 Model B Rev 1.0");
    tree.vcgencmd();
    let sensors = tree.json(&[]);
    let rails = sensors["now"]["rails"].as_array().unwrap();
    assert_eq!(rails.len(), 14, "{sensors}");
    near(&rail(&sensors, "VDD_CORE")["watts"], 0.682_461_574);
    // The supply's voltage has no current: it is shown, and no part of the total.
    assert_eq!((&rail(&sensors, "EXT5V")["watts"], &rail(&sensors, "EXT5V")["counted"]), (&Value::Null, &json!(false)));
    near(&rail(&sensors, "EXT5V")["volts"], 5.114_78);
    let counted = rails.iter().filter(|rail| rail["counted"] == true);
    near(&sensors["now"]["watts"], counted.map(|rail| rail["watts"].as_f64().unwrap()).sum());
    let throttle = &sensors["now"]["throttle"];
    assert_eq!((&throttle["now"]["throttled"], &throttle["has_occurred"]["throttled"]), (&json!(false), &json!(true)));
    // An INA219 in the supply's wire measures the whole board, and comes before it.
    tree.ina219();
    near(&tree.json(&[])["now"]["watts"], 4.08);
    // Commands that are off are not run.
    let sensors = tree.json(&["telemetry.pmic_command=off", "telemetry.throttle_command=off"]);
    assert_eq!(sensors["now"]["rails"].as_array().unwrap().len(), 1);
    assert_eq!(sensors["now"]["throttle"]["has_occurred"]["throttled"], false, "under-voltage alone is known");
}

#[test]
fn a_pi_4_runs_no_power_chips_command() {
    let tree = Tree::new("Raspberry Pi 4 Model B Rev 1.5");
    tree.vcgencmd();
    let sensors = tree.json(&[]);
    assert_eq!(sensors["now"]["rails"], json!([]));
    assert_eq!(sensors["now"]["throttle"]["has_occurred"]["under_voltage"], true, "of the word: {sensors}");
}

#[test]
fn a_command_that_fails_is_told_with_its_words_and_ends_nothing() {
    let tree = Tree::new("Raspberry Pi 5 Model B Rev 1.0");
    for (script, words) in [
        (
            "echo 'Can not open /dev/vcio_gencmd: Permission denied' >&2; exit 1",
            "exit status: 1: Can not open /dev/vcio_gencmd",
        ),
        ("echo 'error=1 error_msg=\"Command not registered\"'", "it printed no rail"),
        ("kill -SEGV $$", "signal: 11"),
        ("yes", "more than 16384 bytes"),
        ("sleep 600", "no end after 2 s"),
    ] {
        tree.program("vcgencmd", script);
        let finished = finish(tree.command(&[])).expect(0);
        assert!(
            finished.stdout.contains("power rails of the power chip: vcgencmd pmic_read_adc: "),
            "{}",
            finished.stdout
        );
        assert!(finished.stdout.contains(words), "no {words:?} in\n{}", finished.stdout);
        assert!(
            finished.stdout.contains("throttling: under-voltage alone (hwmon rpi_volt); vcgencmd"),
            "{}",
            finished.stdout
        );
        assert!(finished.stdout.contains("52.1 °C"), "the others go on: {}", finished.stdout);
    }
    // A program that isn't there.
    fs::remove_file(tree.0.path().join("bin/vcgencmd")).unwrap();
    let named = tree.command(&["telemetry.pmic_command=/nonexistent/vcgencmd x", "telemetry.throttle_command=off"]);
    let text = finish(named).expect(0).stdout;
    assert!(text.contains("/nonexistent/vcgencmd x: there is no such program"), "{text}");
}

#[test]
fn a_processors_counter_is_looked_at_twice() {
    let tree = Tree::new("");
    for (file, text) in [("name", "package-0"), ("energy_uj", "5000000"), ("max_energy_range_uj", "262143328850")] {
        tree.write(&format!("sys/class/powercap/intel-rapl:0/{file}"), text);
    }
    let sensors = tree.json(&[]);
    assert_eq!((&sensors["now"]["watts"], &sensors["now"]["joules"]), (&json!(0.0), &json!(0.0)), "{sensors}");
    assert_eq!(rail(&sensors, "package-0")["volts"], Value::Null);
}

#[test]
fn an_edge_tpu_that_does_not_answer_is_a_fault_and_no_temperature() {
    let tree = Tree::new("");
    tree.write("sys/class/apex/apex_0/temp", "-89700\n");
    let finished = finish(tree.command(&["log.level=warn"])).expect(0);
    let words = "temperature apex_0 (Edge TPU card): -89.7 °C can't be: the device does not answer any more";
    assert!(finished.stdout.contains(words), "{}", finished.stdout);
    let apex = &tree.json(&[])["now"]["temperatures"][1];
    assert_eq!((&apex["name"], &apex["celsius"]), (&json!("apex_0"), &Value::Null));
    assert!(apex["fault"].as_str().unwrap().starts_with("-89.7 °C can't be"), "{apex}");
}

#[test]
fn rails_that_a_board_does_not_have_are_told_with_those_it_has() {
    let tree = Tree::new("");
    tree.ina219();
    let finished = finish(tree.command(&["telemetry.power_rails=vdd_in,ina219@1-0040"])).expect(0);
    let words = "this board has no vdd_in now, so that the total is unknown. Its rails: ina219@1-0040";
    assert_eq!(finished.stderr.matches(words).count(), 1, "{}", finished.stderr);
    assert_eq!(tree.json(&["telemetry.power_rails=vdd_in,ina219@1-0040"])["now"]["watts"], Value::Null);
}

#[test]
fn a_board_without_sensors_is_told_so() {
    let tree = Tree(tempfile::tempdir().unwrap());
    let text = finish(tree.command(&[])).expect(0).stdout;
    assert!(
        text.ends_with("no sensor of power, heat, clock or throttling: docs/sensors.md says what is looked for\n"),
        "{text}"
    );
    let sensors = tree.json(&[]);
    assert_eq!(
        (&sensors["found"], &sensors["now"]["rails"], &sensors["now"]["throttle"]),
        (&json!([]), &json!([]), &Value::Null)
    );
}
