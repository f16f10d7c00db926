//! Boards as trees of files, through [`Sensors`] as a whole.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// A tree of files in place of `/sys`.
pub(super) struct Tree(tempfile::TempDir);

impl Tree {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn write(&self, path: &str, text: impl std::fmt::Display) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    pub(super) fn remove(&self, path: &str) {
        let path = self.root().join(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }

    /// A chip on a bus with its hwmon folder, and the files in it.
    pub(super) fn chip(&self, number: u32, name: &str, device: &str, files: &[(&str, &str)]) {
        let folder = format!("sys/class/hwmon/hwmon{number}");
        self.write(&format!("{folder}/name"), name);
        for (file, text) in files {
            self.write(&format!("{folder}/{file}"), text);
        }
        self.write(&format!("sys/bus/i2c/devices/{device}/name"), name);
        let link = self.root().join(&folder).join("device");
        if !link.exists() {
            symlink(format!("../../../bus/i2c/devices/{device}"), link).unwrap();
        }
    }

    pub(super) fn ina219(&self, number: u32, device: &str, millivolts: i32, milliamps: i32) {
        let watts = millivolts * milliamps.abs();
        let values = [millivolts.to_string(), milliamps.to_string(), watts.to_string()];
        let files = [("in1_input", &*values[0]), ("curr1_input", &*values[1]), ("power1_input", &*values[2])];
        self.chip(number, "ina219", device, &files);
    }

    pub(super) fn zone(&self, number: u32, kind: &str, millidegrees: i32) {
        self.write(&format!("sys/class/thermal/thermal_zone{number}/type"), kind);
        self.write(&format!("sys/class/thermal/thermal_zone{number}/temp"), millidegrees);
    }

    pub(super) fn rapl(&self, zone: &str, name: &str, microjoules: u64) {
        self.write(&format!("sys/class/powercap/{zone}/name"), name);
        self.write(&format!("sys/class/powercap/{zone}/energy_uj"), microjoules);
        self.write(&format!("sys/class/powercap/{zone}/max_energy_range_uj"), 262_143_328_850u64);
    }

    pub(super) fn sensors(&self) -> Sensors {
        Sensors::new(&off(), self.root())
    }
}

/// No command is run.
pub(super) fn off() -> SensorOptions {
    let (pmic_command, throttle_command) = ("off".parse().unwrap(), "off".parse().unwrap());
    SensorOptions { pmic_command, throttle_command, ..SensorOptions::default() }
}

pub(super) fn counting(names: &str) -> SensorOptions {
    SensorOptions { power_rails: names.parse().unwrap(), ..off() }
}

pub(super) fn at(milliseconds: u64) -> Instant {
    Instant::from_nanos(milliseconds * 1_000_000)
}

fn names(board: &Board) -> Vec<&str> {
    board.rails.iter().map(|rail| rail.name.as_str()).collect()
}

fn counted(board: &Board) -> Vec<&str> {
    board.rails.iter().filter(|rail| rail.counted).map(|rail| rail.name.as_str()).collect()
}

pub(super) fn near(value: Option<f64>, expected: f64) {
    let value = value.unwrap();
    assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
}

#[test]
fn an_empty_board_has_no_values_and_no_lines_but_the_process() {
    let tree = Tree::new();
    let mut sensors = tree.sensors();
    let before = sensors.look(at(0));
    let board = sensors.look(at(1000));
    assert!(board.rails.is_empty() && board.temperatures.is_empty() && sensors.describe().is_empty(), "{board:?}");
    assert_eq!((board.watts, board.joules, board.cpu_hertz, board.throttle), (None, None, None, None));
    let lines = lines(&board, &before, &Interval { seconds: 1.0, inferred: 3 });
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("cpu process_percent=") && lines[0].contains(" resident_mib="), "{lines:?}");
}

#[test]
fn an_ina219_gives_the_boards_power_and_energy() {
    let tree = Tree::new();
    tree.ina219(2, "1-0040", 5100, 800);
    let mut sensors = tree.sensors();
    let before = sensors.look(at(0));
    for second in 1..=10 {
        sensors.look(at(1000 * second));
    }
    tree.ina219(2, "1-0040", 5100, 1000);
    let board = sensors.look(at(11_000));
    let rail = &board.rails[0];
    assert_eq!((rail.name.as_str(), rail.source.as_str(), rail.counted), ("ina219@1-0040", "hwmon ina219", true));
    near(rail.volts, 5.1);
    near(rail.amps, 1.0);
    near(board.watts, 5.1);
    near(board.joules, 10.0 * 4.08 + 4.59);
    assert_eq!(
        lines(&board, &before, &Interval { seconds: 11.0, inferred: 100 })[..3],
        [
            "power rail=ina219@1-0040 volts=5.100 amps=1.000 watts=5.100 joules=45.4",
            "power rail=total watts=5.100 joules=45.4",
            "energy joules_per_frame=0.454 joules=45.4 frames=100",
        ]
    );
    let idle = lines(&board, &before, &Interval { seconds: 11.0, inferred: 0 });
    assert_eq!(idle[2], "energy joules_per_frame=unknown joules=45.4 frames=0");
}

#[test]
fn a_chip_that_vanishes_is_unknown_and_found_again_under_another_number() {
    let tree = Tree::new();
    tree.ina219(2, "1-0040", 5000, 1000);
    let mut sensors = tree.sensors();
    let mut before = Board::default();
    for second in 0..5 {
        before = sensors.look(at(1000 * second));
    }
    near(before.joules, 20.0);
    tree.remove("sys/class/hwmon/hwmon2");
    let mut board = Board::default();
    for second in 5..30 {
        board = sensors.look(at(1000 * second));
    }
    assert_eq!((board.watts, board.rails[0].volts), (None, None));
    near(board.joules, 20.0);
    let interval = Interval { seconds: 25.0, inferred: 10 };
    assert_eq!(
        lines(&board, &before, &interval)[..3],
        [
            "power rail=ina219@1-0040 volts=unknown amps=unknown watts=unknown joules=unknown",
            "power rail=total watts=unknown joules=unknown",
            "energy joules_per_frame=unknown joules=unknown frames=10",
        ]
    );
    let told = sensors.describe();
    assert!(told[0].contains("not readable: ") && told[0].contains("No such file"), "{told:?}");
    tree.ina219(7, "1-0040", 5000, 1000);
    before = board.clone();
    for second in 30..=41 {
        board = sensors.look(at(1000 * second));
    }
    assert_eq!(names(&board), ["ina219@1-0040"]);
    near(board.watts, 5.0);
    // It is found within ten seconds, and what it took meanwhile is not made up.
    let gained = board.joules.unwrap() - 20.0;
    assert!((0.0..=55.0).contains(&gained) && gained % 5.0 == 0.0, "{gained}");
    let line = &lines(&board, &before, &Interval { seconds: 12.0, inferred: 10 })[2];
    assert!(line.starts_with("energy joules_per_frame=unknown joules="), "a part of its joules is missing: {line}");
}

#[test]
fn an_ina3221_has_a_rail_for_each_channel_and_its_input_is_the_total() {
    let tree = Tree::new();
    let files = [
        ("in1_label", "VDD_IN"),
        ("in1_input", "5000"),
        ("curr1_input", "2000"),
        ("in2_label", "VDD_CPU_GPU_CV"),
        ("in2_input", "5000"),
        ("curr2_input", "600"),
        ("in3_input", "5008"),
        ("curr3_input", "0"),
        ("in3_enable", "0"),
        ("in4_input", "20"),
        ("curr4_input", "1"),
    ];
    tree.chip(1, "ina3221", "1-0040", &files[..9]);
    // The shunts' own voltages are channels of the file names only.
    tree.write("sys/class/hwmon/hwmon1/in5_input", 12);
    let mut sensors = tree.sensors();
    let board = sensors.look(at(0));
    assert_eq!(names(&board), ["VDD_IN", "VDD_CPU_GPU_CV"], "the third channel is switched off");
    assert_eq!(counted(&board), ["VDD_IN"]);
    near(board.watts, 10.0);
    near(board.rails[1].watts, 3.0);
    // Without labels they are named by chip and channel, and all count.
    let tree = Tree::new();
    let files = [("in1_input", "5000"), ("curr1_input", "100"), ("in2_input", "3300"), ("curr2_input", "1000")];
    tree.chip(1, "ina3221", "1-0040", &files);
    let board = tree.sensors().look(at(0));
    assert_eq!(counted(&board), ["ina3221@1-0040:1", "ina3221@1-0040:2"]);
    near(board.watts, 3.8);
}

#[test]
fn two_chips_with_one_label_are_told_apart_and_named_rails_make_the_total() {
    let tree = Tree::new();
    for (number, device) in [(1, "1-0040"), (2, "1-0041")] {
        tree.ina219(number, device, 5000, 1000 * i32::try_from(number).unwrap());
        tree.write(&format!("sys/class/hwmon/hwmon{number}/label"), "vdd main");
    }
    tree.chip(3, "ina226", "1-0045", &[("in1_input", "12000"), ("curr1_input", "500"), ("power1_input", "6000000")]);
    let board = tree.sensors().look(at(0));
    assert_eq!(names(&board), ["vdd_main", "vdd_main@1-0041", "ina226@1-0045"]);
    near(board.watts, 21.0);
    let mut sensors = Sensors::new(&counting("vdd_main@1-0041, ina226@1-0045"), tree.root());
    let board = sensors.look(at(0));
    assert_eq!(counted(&board), ["vdd_main@1-0041", "ina226@1-0045"]);
    near(board.watts, 16.0);
    // A name that isn't there leaves the total unknown, but the rails known.
    let board = Sensors::new(&counting("vdd_main, vdd_usb"), tree.root()).look(at(0));
    assert_eq!((counted(&board), board.watts), (vec!["vdd_main"], None));
}

#[test]
fn power_that_flows_backwards_is_shown_and_never_counted() {
    let tree = Tree::new();
    tree.ina219(1, "1-0040", 5000, -400);
    let mut sensors = tree.sensors();
    let board = (0..5).map(|second| sensors.look(at(1000 * second))).last().unwrap();
    near(board.rails[0].amps, -0.4);
    near(board.rails[0].watts, -2.0);
    assert_eq!((board.watts, board.rails[0].joules), (None, None));
    // A trifle of it is the shunt's noise.
    tree.ina219(1, "1-0040", 5000, -2);
    assert_eq!(sensors.look(at(5000)).watts, Some(0.0));
}

#[test]
fn the_iio_driver_of_the_same_chips_is_read_with_its_scales() {
    let tree = Tree::new();
    let folder = "sys/devices/platform/i2c-1/1-0040/iio:device0";
    for (file, value) in [
        ("name", "ina219"),
        ("in_voltage0_raw", "800"),
        ("in_voltage0_scale", "0.010000000"),
        ("in_voltage1_raw", "1275"),
        ("in_voltage1_scale", "4.000000000"),
        ("in_power2_raw", "204"),
        ("in_power2_scale", "20.000000000"),
        ("in_current3_raw", "800"),
        ("in_current3_scale", "1.000000000"),
    ] {
        tree.write(&format!("{folder}/{file}"), value);
    }
    fs::create_dir_all(tree.root().join("sys/bus/iio/devices")).unwrap();
    symlink(format!("../../../../{folder}"), tree.root().join("sys/bus/iio/devices/iio:device0")).unwrap();
    let board = tree.sensors().look(at(0));
    assert_eq!((names(&board), board.rails[0].source.as_str()), (vec!["ina219@1-0040"], "iio ina219"));
    near(board.rails[0].volts, 5.1);
    near(board.rails[0].amps, 0.8);
    near(board.watts, 4.08);
}

#[test]
fn a_processors_counters_give_power_across_their_end() {
    let tree = Tree::new();
    tree.write("sys/class/powercap/intel-rapl/enabled", 1);
    tree.rapl("intel-rapl:0", "package-0", 262_140_000_000);
    tree.rapl("intel-rapl:0:0", "core", 5_000_000);
    tree.rapl("intel-rapl:0:1", "dram", 1_000_000);
    tree.rapl("intel-rapl:1", "psys", 9_000_000);
    tree.rapl("intel-rapl-mmio:0", "package-0", 262_140_000_000);
    let mut sensors = tree.sensors();
    let before = sensors.look(at(0));
    assert_eq!(names(&before), ["package-0", "psys", "core", "dram"]);
    assert_eq!((counted(&before), before.watts, before.joules), (vec!["package-0", "dram"], None, Some(0.0)));
    // 3.32885 J up to the end, 6.67115 J from there.
    tree.rapl("intel-rapl:0", "package-0", 6_671_150);
    tree.rapl("intel-rapl:0:1", "dram", 3_000_000);
    let board = sensors.look(at(1000));
    near(board.rails[0].watts, 10.0);
    near(board.watts, 12.0);
    near(board.joules, 12.0);
    let lines = lines(&board, &before, &Interval { seconds: 1.0, inferred: 4 });
    assert_eq!(lines[0], "power rail=package-0 watts=10.000 joules=10.0");
    assert_eq!(lines[5], "energy joules_per_frame=3.000 joules=12.0 frames=4");
}

#[test]
fn chips_come_before_the_processors_counters_and_others_count_only_by_name() {
    let tree = Tree::new();
    tree.rapl("intel-rapl:0", "package-0", 1_000_000);
    tree.chip(0, "BAT0", "PNP0C0A:00", &[("in0_input", "12000"), ("power1_input", "9000000")]);
    assert_eq!(counted(&tree.sensors().look(at(0))), ["package-0"]);
    tree.ina219(1, "1-0040", 5000, 1000);
    assert_eq!(counted(&tree.sensors().look(at(0))), ["ina219@1-0040"]);
    let board = Sensors::new(&counting("BAT0@PNP0C0A:00"), tree.root()).look(at(0));
    near(board.watts, 9.0);
}

#[test]
fn temperatures_are_named_by_what_they_measure_the_processors_first() {
    let tree = Tree::new();
    tree.zone(0, "gpu-thermal", 48_000);
    tree.zone(1, "cpu-thermal", 52_100);
    // The kernel's own second view of the zone, a chip on I2C, an SSD, a slow bus.
    tree.chip(0, "cpu_thermal", "thermal_zone1", &[("temp1_input", "52100")]);
    tree.chip(1, "tmp105", "1-0048", &[("temp1_input", "23500")]);
    tree.chip(2, "nvme", "nvme0", &[("temp1_input", "40000"), ("temp1_label", "Composite"), ("temp2_input", "41000")]);
    tree.chip(3, "w1_slave_temp", "28-0000", &[("temp1_input", "20000")]);
    tree.write("sys/class/apex/apex_0/temp", 48_250);
    let mut sensors = tree.sensors();
    let board = sensors.look(at(0));
    let seen: Vec<_> = board.temperatures.iter().map(|one| (one.name.as_str(), one.celsius.unwrap())).collect();
    let expected = [
        ("soc", 52.1),
        ("gpu-thermal", 48.0),
        ("tmp105@1-0048", 23.5),
        ("nvme@nvme0:Composite", 40.0),
        ("nvme@nvme0:temp2", 41.0),
        ("apex_0", 48.25),
    ];
    assert_eq!(seen, expected);
    assert_eq!(board.soc_celsius(), Some(52.1));
    let lines = lines(&board, &board, &Interval { seconds: 1.0, inferred: 0 });
    assert_eq!(lines[0], "thermal sensor=soc celsius=52.1");
    assert_eq!(sensors.describe()[0], "temperature soc (thermal zone cpu-thermal): 52.1 °C");
}

#[test]
fn an_impossible_temperature_is_a_fault_and_no_value() {
    let tree = Tree::new();
    tree.zone(0, "cpu-thermal", 50_000);
    tree.write("sys/class/apex/apex_0/temp", 48_250);
    let mut sensors = tree.sensors();
    let apex = |board: &Board| board.temperatures[1].clone();
    assert_eq!(apex(&sensors.look(at(0))).celsius, Some(48.25));
    for impossible in [-89_700, -274_000, 200_000, -55_001] {
        tree.write("sys/class/apex/apex_0/temp", impossible);
        let board = sensors.look(at(1000));
        let (celsius, fault) = (apex(&board).celsius, apex(&board).fault.unwrap());
        assert!(celsius.is_none() && fault.contains("°C can't be"), "{fault}");
        let lines = lines(&board, &board, &Interval { seconds: 1.0, inferred: 0 });
        assert_eq!(lines[1], "thermal sensor=apex_0 celsius=unknown");
    }
    tree.write("sys/class/apex/apex_0/temp", 0);
    assert_eq!(apex(&sensors.look(at(2000))), Temperature { name: "apex_0".into(), celsius: Some(0.0), fault: None });
    // Gone for good: unknown, without a fault.
    tree.remove("sys/class/apex/apex_0");
    assert_eq!(apex(&sensors.look(at(20_000))), Temperature { name: "apex_0".into(), celsius: None, fault: None });
}

#[test]
fn a_zone_that_never_answered_is_not_there_until_it_does() {
    let tree = Tree::new();
    tree.write("sys/class/thermal/thermal_zone0/type", "iwlwifi_1");
    tree.write("sys/class/thermal/thermal_zone0/temp", "");
    let mut sensors = tree.sensors();
    assert!(sensors.look(at(0)).temperatures.is_empty());
    tree.zone(0, "iwlwifi_1", 41_000);
    assert_eq!(sensors.look(at(1000)).temperatures[0].celsius, Some(41.0));
}

#[test]
fn amds_processor_is_found_without_a_zone_and_intels_cores_are_one() {
    let tree = Tree::new();
    tree.chip(0, "k10temp", "0000:00:18.3", &[("temp1_input", "61250"), ("temp1_label", "Tctl")]);
    assert_eq!(tree.sensors().look(at(0)).soc_celsius(), Some(61.25));
    let tree = Tree::new();
    let files = [
        ("temp1_input", "55000"),
        ("temp1_label", "Package id 0"),
        ("temp2_input", "54000"),
        ("temp2_label", "Core 0"),
    ];
    tree.chip(0, "coretemp", "coretemp.0", &files);
    let board = tree.sensors().look(at(0));
    assert_eq!((board.soc_celsius(), board.temperatures.len()), (Some(55.0), 1));
    tree.zone(0, "x86_pkg_temp", 56_000);
    let board = tree.sensors().look(at(0));
    assert_eq!((board.soc_celsius(), board.temperatures.len()), (Some(56.0), 1));
}

#[test]
fn the_fastest_clock_counts() {
    let tree = Tree::new();
    tree.write("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", 1_500_000);
    tree.write("sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq", 2_400_000);
    let mut sensors = tree.sensors();
    let board = sensors.look(at(0));
    assert_eq!(board.cpu_hertz, Some(2_400_000_000));
    tree.write("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", "<unknown>");
    tree.write("sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq", 0);
    let now = sensors.look(at(1000));
    assert_eq!(now.cpu_hertz, None);
    let lines = lines(&now, &board, &Interval { seconds: 1.0, inferred: 0 });
    assert!(lines[0].starts_with("cpu hertz=unknown process_percent="), "{lines:?}");
}

#[test]
fn the_throttle_word_is_found_wherever_the_firmware_is() {
    for folder in ["soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware", "soc:firmware"] {
        let tree = Tree::new();
        let file = format!("sys/devices/platform/{folder}/get_throttled");
        tree.write(&file, "50005");
        let mut sensors = tree.sensors();
        let throttle = sensors.look(at(0)).throttle;
        assert_eq!(
            throttled_line(throttle.as_ref()),
            "throttled now=under_voltage,throttled has_occurred=under_voltage,throttled"
        );
        // The kernel asks the firmware to forget every two seconds; this program doesn't.
        tree.write(&file, "80008");
        sensors.look(at(1000));
        tree.write(&file, "0");
        assert_eq!(
            throttled_line(sensors.look(at(2000)).throttle.as_ref()),
            "throttled now=none has_occurred=under_voltage,throttled,soft_temperature_limit"
        );
        tree.write(&file, "what");
        assert_eq!(sensors.look(at(3000)).throttle, None);
    }
    assert_eq!(throttled_line(None), "throttled now=unknown has_occurred=unknown");
}

#[test]
fn a_kernel_without_the_word_tells_of_under_voltage_alone() {
    let tree = Tree::new();
    tree.chip(1, "rpi_volt", "raspberrypi-hwmon", &[("in0_lcrit_alarm", "0")]);
    let mut sensors = tree.sensors();
    assert_eq!(sensors.look(at(0)).throttle, Some(Throttle::default()));
    tree.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", 1);
    assert_eq!(sensors.look(at(1000)).throttle.unwrap().now.to_string(), "under_voltage");
    tree.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", 0);
    let throttle = sensors.look(at(2000)).throttle.unwrap();
    assert_eq!((throttle.now.any(), throttle.has_occurred.to_string()), (false, "under_voltage".to_owned()));
    assert_eq!(sensors.describe(), ["throttling: under-voltage alone (hwmon rpi_volt)"]);
}

#[test]
fn a_board_full_of_sensors_is_limited() {
    let tree = Tree::new();
    for number in 0..200 {
        tree.zone(number, &format!("zone-{number}"), 40_000);
        tree.ina219(number, &format!("{number}-0040"), 5000, 100);
    }
    let board = tree.sensors().look(at(0));
    assert_eq!((board.rails.len(), board.temperatures.len()), (MOST, MOST));
}

#[test]
fn nonsense_in_every_file_is_no_value_and_no_panic() {
    let texts =
        ["", "\u{0}", "nan", "-", "99999999999999999999999", "1e400", "-9223372036854775808", "\u{feff}5", "=,\""];
    for text in texts {
        let tree = Tree::new();
        let nonsense =
            ["in1_input", "curr1_input", "power1_input", "temp1_input", "label", "in1_label", "in0_lcrit_alarm"];
        tree.chip(0, "ina219", "1-0040", &nonsense.map(|file| (file, text)));
        tree.chip(1, text, "1-0041", &nonsense.map(|file| (file, text)));
        tree.chip(2, "rpi_volt", "1-0042", &nonsense.map(|file| (file, text)));
        for file in ["name", "energy_uj", "max_energy_range_uj"] {
            tree.write(&format!("sys/class/powercap/intel-rapl:0/{file}"), text);
        }
        tree.write("sys/class/thermal/thermal_zone0/type", text);
        tree.write("sys/class/thermal/thermal_zone0/temp", text);
        tree.write("sys/class/apex/apex_0/temp", text);
        tree.write("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", text);
        tree.write("sys/devices/platform/soc/soc:firmware/get_throttled", text);
        tree.write("sys/firmware/devicetree/base/model", text);
        let mut sensors = tree.sensors();
        let boards: Vec<Board> = (0..3).map(|second| sensors.look(at(second * 1000))).collect();
        let lines = lines(&boards[2], &boards[0], &Interval { seconds: 2.0, inferred: 1 });
        for line in lines.iter().chain(&sensors.describe()) {
            assert!(!line.contains("NaN") && !line.contains("inf"), "{line}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
        for temperature in &boards[2].temperatures {
            assert_eq!(temperature.celsius, None, "{text:?}");
        }
    }
}

#[test]
fn what_came_since_is_looked_for_every_ten_seconds() {
    let tree = Tree::new();
    let mut sensors = tree.sensors();
    sensors.look(at(5000));
    tree.zone(0, "cpu-thermal", 50_000);
    for (milliseconds, expected) in [(14_999, 0), (15_000, 1)] {
        assert_eq!(sensors.look(at(milliseconds)).temperatures.len(), expected);
    }
    tree.zone(1, "gpu-thermal", 50_000);
    assert_eq!([24_999, 25_000].map(|milliseconds| sensors.look(at(milliseconds)).temperatures.len()), [1, 2]);
}

#[test]
fn a_program_that_looks_once_waits_for_what_takes_time_but_not_longer_than_it_may() {
    // Its time stands still, so that waiting for anything would have no end.
    let (clock, hour) = (base::clock::ManualClock::default(), Duration::from_secs(3600));
    let tree = Tree::new();
    tree.zone(0, "cpu-thermal", 50_000);
    assert_eq!(tree.sensors().settle(&clock, hour).soc_celsius(), Some(50.0));
    let never = || "sleep 600".parse().unwrap();
    for config in
        [SensorOptions { pmic_command: never(), ..off() }, SensorOptions { throttle_command: never(), ..off() }]
    {
        assert_eq!(Sensors::new(&config, tree.root()).settle(&clock, Duration::ZERO).soc_celsius(), Some(50.0));
    }
    let answers = SensorOptions { pmic_command: "echo X_V volt(0)=5V".parse().unwrap(), ..off() };
    assert_eq!(names(&Sensors::new(&answers, tree.root()).settle(&clock, hour)), ["X"]);
}
