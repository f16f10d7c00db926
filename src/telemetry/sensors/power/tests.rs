//! Which rails make the total, and what becomes of their power, through trees of files.

use base::values::Seconds;

use super::super::tests::{at, counting, near, off, Tree};
use super::super::Sensors;
use super::*;

/// Rails of this board, looked for once; a look is due every second.
fn power(tree: &Tree, config: &SensorOptions) -> Power {
    let mut power = Power::new(config, Duration::from_secs(1), "");
    power.search(tree.root());
    power
}

fn counted(power: &Power) -> Vec<&str> {
    power.rails.iter().filter(|held| held.last.counted).map(|held| held.name.as_str()).collect()
}

#[test]
fn the_supply_of_all_others_is_known_by_its_name() {
    for (name, expected) in [
        ("VDD_IN", true),
        ("POM_5V_IN", true),
        ("vin", true),
        ("VIN@1-0040", true),
        ("vdd_in@1-0040", true),
        ("main", false),
        ("vin2", false),
        ("VDD_IN_2", false),
        ("in", false),
        ("cpu@vdd_in", false),
    ] {
        assert_eq!(is_input(name), expected, "{name}");
    }
}

#[test]
fn rails_of_the_best_kind_make_the_total() {
    let chip = |number: u32, device: &'static str, label: &'static str| {
        move |tree: &Tree| {
            tree.ina219(number, device, 5000, 1000);
            tree.write(&format!("sys/class/hwmon/hwmon{number}/label"), label);
        }
    };
    let (first, second) = (chip(1, "1-0040", "a"), chip(2, "1-0041", "b"));
    let (input, other_input) = (chip(3, "1-0042", "vdd_in"), chip(4, "1-0043", "pom_in"));
    let battery = |tree: &Tree| tree.chip(9, "BAT0", "x_in", &[("power1_input", "1"), ("label", "bat_in")]);
    let package = |tree: &Tree| tree.rapl("intel-rapl:0", "package_in", 1);
    let (core, memory) =
        (|tree: &Tree| tree.rapl("intel-rapl:0:0", "core", 1), |tree: &Tree| tree.rapl("intel-rapl:0:1", "dram", 1));
    for (parts, expected) in [
        (&[] as &[&dyn Fn(&Tree)], &[] as &[&str]),
        (&[&battery, &core], &[]),
        (&[&package, &memory, &core, &battery], &["package_in", "dram"]),
        (&[&first, &second, &package, &battery], &["a", "b"]),
        // An input is the whole of the chips' others, and only of those.
        (&[&first, &input, &second], &["vdd_in"]),
        (&[&first, &input, &other_input], &["vdd_in", "pom_in"]),
        (&[&first, &battery], &["a"]),
    ] {
        let tree = Tree::new();
        parts.iter().for_each(|part| part(&tree));
        assert_eq!(counted(&power(&tree, &off())), expected);
    }
}

#[test]
fn a_total_is_known_where_all_of_its_rails_are() {
    let tree = Tree::new();
    let mut power = power(&tree, &off());
    assert_eq!(power.look(at(0)).1, None, "without a rail");
    tree.ina219(1, "1-0040", 5000, 0);
    power.search(tree.root());
    assert_eq!(power.look(at(0)).1, Some(0.0));
    for (milliamps, expected) in [(1000, Some(5.0)), (-19, Some(0.0)), (-20, Some(0.0)), (-21, None)] {
        tree.ina219(1, "1-0040", 5000, milliamps);
        assert_eq!(power.look(at(1000)).1, expected, "{milliamps}");
    }
    tree.ina219(1, "1-0040", 5000, 1000);
    tree.ina219(2, "1-0041", 5000, 2000);
    power.search(tree.root());
    near(power.look(at(2000)).1, 15.0);
    tree.remove("sys/class/hwmon/hwmon2/power1_input");
    assert_eq!(power.look(at(3000)).1, None);
    // Of rails that are named, every one must be there.
    for (names, expected) in [("ina219@1-0040", Some(5.0)), ("ina219@1-0040, x", None), ("x", None)] {
        assert_eq!(super::tests::power(&tree, &counting(names)).look(at(0)).1, expected, "{names}");
    }
}

#[test]
fn joules_of_the_total_are_those_of_its_rails_alone() {
    let tree = Tree::new();
    let files = [
        ("in1_label", "VDD_IN"),
        ("in1_input", "5000"),
        ("curr1_input", "1000"),
        ("in2_input", "5000"),
        ("curr2_input", "600"),
    ];
    tree.chip(1, "ina3221", "1-0040", &files);
    let mut chip = power(&tree, &off());
    assert_eq!(chip.look(at(0)).2, Some(0.0), "measured once");
    let (rails, _, joules) = chip.look(at(2000));
    near(joules, 10.0);
    near(rails[0].joules, 10.0);
    near(rails[1].joules, 6.0);
    let tree = Tree::new();
    let rapl = |joules: u64| {
        tree.rapl("intel-rapl:0", "package-0", 1_000_000 * joules);
        tree.rapl("intel-rapl:0:0", "core", 3_000_000 * joules);
    };
    rapl(1);
    let mut counter = power(&tree, &off());
    assert!(!counter.is_counting());
    assert_eq!((counter.look(at(0)).2, counter.is_counting()), (Some(0.0), true));
    rapl(11);
    let (rails, watts, joules) = counter.look(at(2000));
    near(watts, 5.0);
    near(joules, 10.0);
    near(rails[1].joules, 30.0);
    assert!(!counter.is_counting());
    rapl(12);
    near(counter.look(at(3000)).2, 11.0);
    // Nothing that counts has ever told anything.
    let tree = Tree::new();
    tree.chip(9, "BAT0", "x", &[("power1_input", "1000000")]);
    let mut battery = power(&tree, &off());
    battery.look(at(0));
    assert_eq!(battery.look(at(1000)).2, None);
    assert!(!battery.is_counting());
}

#[test]
fn five_looks_may_fail_before_energy_has_a_gap() {
    let tree = Tree::new();
    tree.ina219(1, "1-0040", 5000, 1000);
    // Where nothing is to be looked at, it is looked at once a second all the same.
    for (interval, milliseconds, joules) in
        [(1, 5000, 25.0), (1, 5001, 0.0), (2, 10_000, 50.0), (2, 10_001, 0.0), (0, 5000, 25.0), (0, 5001, 0.0)]
    {
        let config = SensorOptions { interval: Seconds::new(interval), ..off() };
        let mut sensors = Sensors::new(&config, tree.root());
        sensors.look(at(0));
        near(sensors.look(at(milliseconds)).joules, joules);
    }
}

#[test]
fn a_power_that_flows_backwards_is_told_when_it_lasts_and_apart_from_a_rail_that_fails() {
    let tree = Tree::new();
    let look = |power: &mut Power, milliamps: i32, second: u64| {
        tree.ina219(1, "1-0040", 5000, milliamps);
        power.look(at(1000 * second));
        power.rails[0].reversed.is_told()
    };
    tree.ina219(1, "1-0040", 5000, 1000);
    let mut power = power(&tree, &off());
    // Noise is no direction, and counts as a power of nothing.
    assert_eq!([-10, 0, -10].map(|milliamps| look(&mut power, milliamps, 0)), [false; 3]);
    assert_eq!(power.rails[0].last.joules, Some(0.0));
    // Two may be chance, three are not.
    assert_eq!([-1000, -1000, -1000].map(|milliamps| look(&mut power, milliamps, 1)), [false, false, true]);
    near(power.rails[0].last.watts, -5.0);
    assert!(!look(&mut power, 1000, 2) && !power.rails[0].health.is_told());
    tree.remove("sys/class/hwmon/hwmon1/power1_input");
    (4..7).for_each(|second| drop(power.look(at(1000 * second))));
    assert!(power.rails[0].health.is_told() && !power.rails[0].reversed.is_told());
}

#[test]
fn a_rail_is_told_with_what_is_known_of_it() {
    let tree = Tree::new();
    tree.ina219(1, "1-0040", 5000, 1000);
    tree.chip(9, "BAT0", "x", &[("power1_input", "1500000")]);
    let mut power = power(&tree, &off());
    let new =
        ["power rail ina219@1-0040 (hwmon ina219): unknown; in the total", "power rail BAT0@x (hwmon BAT0): unknown"];
    assert_eq!(power.describe(), new);
    power.look(at(0));
    let known = "power rail ina219@1-0040 (hwmon ina219): 5.000 V, 1.000 A, 5.000 W; in the total";
    assert_eq!(power.describe(), [known, "power rail BAT0@x (hwmon BAT0): 1.500 W"]);
    tree.remove("sys/class/hwmon/hwmon1/power1_input");
    power.look(at(1000));
    let [rail, _] = &power.describe()[..] else { panic!("two rails") };
    assert!(rail.starts_with("power rail ina219@1-0040 (hwmon ina219): not readable: /"), "{rail}");
    assert!(rail.ends_with("; in the total"), "{rail}");
}

#[test]
fn a_new_rail_is_told_and_none_is_called_as_the_total_is() {
    let tree = Tree::new();
    tree.ina219(1, "1-0040", 5000, 1000);
    tree.write("sys/class/hwmon/hwmon1/label", "total");
    let mut power = Power::new(&off(), Duration::from_secs(1), "");
    assert_eq!(power.search(tree.root()), ["power rail total@1-0040 (hwmon ina219)"]);
    assert_eq!(power.search(tree.root()), [""; 0]);
    tree.ina219(2, "1-0041", 5000, 1000);
    assert_eq!(power.search(tree.root()), ["power rail ina219@1-0041 (hwmon ina219)"]);
    assert_eq!(counted(&power), ["total@1-0040", "ina219@1-0041"]);
}

#[test]
fn names_that_no_rail_has_are_told_once_when_everything_has_answered() {
    let tree = Tree::new();
    let mut quiet = power(&tree, &off());
    assert!(!quiet.is_complaint_due);
    quiet.look(at(0));
    let mut wanted = power(&tree, &counting("x"));
    assert!(wanted.is_complaint_due && wanted.has_heard());
    wanted.look(at(0));
    assert!(!wanted.is_complaint_due);
    let complaint = |names: &str| power(&tree, &counting(names)).complaint();
    let words = |missing: &str, there: &str| {
        Some(format!("this board has no {missing} now, so that the total is unknown. Its rails: {there}"))
    };
    assert_eq!(complaint("x"), words("x", "none"));
    tree.ina219(1, "1-0040", 5000, 1000);
    tree.ina219(2, "1-0041", 5000, 1000);
    assert_eq!(complaint("x, ina219@1-0041, y"), words("x, y", "ina219@1-0040, ina219@1-0041"));
    assert_eq!((complaint("ina219@1-0041"), quiet.complaint()), (None, None));
    // A command may yet tell of the rail that is missed.
    let config = SensorOptions { pmic_command: "sleep 600".parse().unwrap(), ..counting("x") };
    let mut asked = Power::new(&config, Duration::from_secs(1), "");
    asked.look(at(0));
    assert!(asked.is_complaint_due && !asked.has_heard());
}

#[test]
fn a_power_chip_is_asked_on_a_board_that_has_one_and_where_that_is_wanted() {
    let is_asked = |model: &str, command: Option<&str>| {
        let mut config = SensorOptions::default();
        if let Some(command) = command {
            config.pmic_command = command.parse().unwrap();
        }
        let power = Power::new(&config, Duration::from_secs(3), model);
        power.pmic.is_some_and(|asked| asked.every() == Duration::from_secs(3))
    };
    assert!(is_asked("Raspberry Pi 5 Model B Rev 1.0", None) && !is_asked("Raspberry Pi 4", None));
    assert!(!is_asked("Raspberry Pi 5 Model B Rev 1.0", Some("off")) && is_asked("", Some("true")));
}

#[test]
fn the_power_chips_rails_are_taken_as_soon_as_it_answers_and_its_failure_is_told_once_for_all() {
    let config = |command: &str| SensorOptions { pmic_command: command.parse().unwrap(), ..off() };
    let heard = |command: &str| {
        let power = Power::new(&config(command), Duration::from_secs(3600), "");
        while !power.has_heard() {
            std::thread::sleep(Duration::from_millis(5));
        }
        power
    };
    let mut power = heard("printf 'A_A current(0)=2A\nA_V volt(0)=3V\nEXT5V_V volt(1)=5.1V\n'");
    let (rails, watts, _) = power.look(at(0));
    assert_eq!(
        rails.iter().map(|rail| (rail.name.as_str(), rail.counted)).collect::<Vec<_>>(),
        [("A", true), ("EXT5V", false)]
    );
    near(watts, 6.0);
    near(power.look(at(1000)).2, 6.0);
    // Its own thread says that it failed.
    power.pmic = heard("false").pmic;
    (2..6).for_each(|second| drop(power.look(at(1000 * second))));
    let held = &power.rails[0];
    assert!(!held.health.is_told() && held.health.reason().unwrap().starts_with("false: exit status: 1"));
    let last = power.describe().pop().unwrap();
    assert!(last.starts_with("power rails of the power chip: false: exit status: 1"), "{last}");
}
