//! What slows a Raspberry Pi down, by the best of what tells: the firmware's throttle word (a file of older kernels, else a
//! command), and the kernel's own alarm of under-voltage.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::clock::Instant;

use super::command::Repeated;
use super::health::Health;
use super::options::{SensorCommand, SensorOptions};
use super::{files, Causes, Throttle};

const COMMAND: &str = "vcgencmd get_throttled";
/// Time between two runs of the command, which is a process each time. The kernel asks the firmware as often.
const SHORTEST: Duration = Duration::from_secs(2);

/// What tells of it, and what it told so far.
pub(super) struct Throttling {
    /// `get_throttled` of the firmware's device; Raspberry Pi's kernels had it until 6.12.
    word: Option<PathBuf>,
    /// `in0_lcrit_alarm` of the hwmon chip `rpi_volt`: the voltage was too low within the last two seconds.
    alarm: Option<PathBuf>,
    command: Option<Repeated<u32>>,
    health: Health,
    /// Seen by this program: the kernel clears the firmware's own memory of it.
    seen: Causes,
    has_told: bool,
}

impl Throttling {
    pub(super) fn new(config: &SensorOptions, interval: Duration, model: &str, root: &Path) -> Self {
        let line = match config.throttle_command.as_set() {
            Some(SensorCommand::Off) => None,
            Some(SensorCommand::Run(line)) => Some(line.clone()),
            None => (files::is_pi(model) && word(root).is_none()).then(|| COMMAND.parse().ok()).flatten(),
        };
        let every = interval.max(SHORTEST);
        Self {
            word: None,
            alarm: None,
            command: line.map(|line| Repeated::start("throttled", line, every, answer)),
            health: Health::default(),
            seen: Causes::default(),
            has_told: false,
        }
    }

    pub(super) fn search(&mut self, root: &Path) {
        self.word = word(root);
        let chips = files::folders(root, "sys/class/hwmon", "hwmon");
        let is_volt = |folder: &PathBuf| files::text(&folder.join("name")).as_deref() == Ok("rpi_volt");
        self.alarm = chips.into_iter().find(is_volt).map(|folder| folder.join("in0_lcrit_alarm"));
    }

    /// What is known now; None where nothing tells.
    pub(super) fn look(&mut self, now: Instant) -> Option<Throttle> {
        // What was asked for by name comes first.
        let word = match (&self.command, &self.word) {
            (Some(command), _) => Some(command.latest()),
            (None, Some(path)) => Some(files::text(path).and_then(|text| parse(&text))),
            (None, None) => None,
        };
        let alarm = self.alarm.as_ref().map(|path| files::number(path));
        let mut throttle: Option<Throttle> = None;
        let mut reason = None;
        match word {
            Some(Ok(word)) => throttle = Some(Throttle { now: causes(word), has_occurred: causes(word >> 16) }),
            Some(Err(error)) => reason = Some(error),
            None => {}
        }
        match alarm {
            Some(Ok(alarm)) => throttle.get_or_insert_default().now.under_voltage |= alarm != 0,
            Some(Err(error)) => reason = reason.or(Some(error)),
            None => {}
        }
        match (throttle, reason) {
            (Some(_), _) => self.health.good("throttling"),
            // A command tells of its own failures.
            (None, Some(reason)) if self.has_told && self.command.is_none() => {
                self.health.failed("throttling", reason, now);
            }
            (None, reason) => self.health.quiet(reason.unwrap_or_default()),
        }
        let throttle = throttle.as_mut()?;
        self.has_told = true;
        self.seen = union(self.seen, throttle.now);
        self.seen = union(self.seen, throttle.has_occurred);
        throttle.has_occurred = self.seen;
        Some(*throttle)
    }

    /// The command has answered or failed.
    pub(super) fn has_heard(&self) -> bool {
        self.command.as_ref().is_none_or(Repeated::has_tried)
    }

    pub(super) fn describe(&self) -> Option<String> {
        let what = match (&self.command, &self.word, &self.alarm) {
            (Some(command), _, alarm) => match (command.latest(), alarm) {
                (Ok(_), _) => "by command".to_owned(),
                (Err(reason), Some(_)) => format!("under-voltage alone (hwmon rpi_volt); {reason}"),
                (Err(reason), None) => reason,
            },
            (None, Some(path), _) => path.display().to_string(),
            (None, None, Some(_)) => "under-voltage alone (hwmon rpi_volt)".to_owned(),
            (None, None, None) => return None,
        };
        Some(format!("throttling: {what}"))
    }
}

/// `/sys/devices/platform/soc/soc:firmware/get_throttled`, `…/soc@107c000000/soc@107c000000:firmware/…`
fn word(root: &Path) -> Option<PathBuf> {
    let platform = "sys/devices/platform";
    let parents =
        files::folders(root, platform, "").into_iter().map(|folder| format!("{platform}/{}", files::name(&folder)));
    let mut folders = [platform.to_owned()].into_iter().chain(parents);
    folders.find_map(|parent| {
        let firmware =
            files::folders(root, &parent, "").into_iter().filter(|path| files::name(path).contains("firmware"));
        firmware.map(|path| path.join("get_throttled")).find(|path| path.is_file())
    })
}

/// The word in what the command printed: `throttled=0x50005`.
fn answer(text: &str) -> Result<u32, String> {
    parse(text.trim().trim_start_matches("throttled="))
}

/// A word in hexadecimal, with 0x or without.
fn parse(text: &str) -> Result<u32, String> {
    let digits = text.trim().trim_start_matches("0x");
    u32::from_str_radix(digits, 16).map_err(|_| {
        let said: String = text.chars().take(100).collect();
        format!("expected a throttle word such as 50005 (hexadecimal), found {said:?}")
    })
}

const fn causes(bits: u32) -> Causes {
    Causes {
        under_voltage: bits & 1 != 0,
        frequency_capped: bits & 2 != 0,
        throttled: bits & 4 != 0,
        soft_temperature_limit: bits & 8 != 0,
    }
}

const fn union(a: Causes, b: Causes) -> Causes {
    Causes {
        under_voltage: a.under_voltage || b.under_voltage,
        frequency_capped: a.frequency_capped || b.frequency_capped,
        throttled: a.throttled || b.throttled,
        soft_temperature_limit: a.soft_temperature_limit || b.soft_temperature_limit,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, Tree};
    use super::super::throttled_line;
    use super::*;

    #[test]
    fn words_are_read_as_the_file_and_the_command_print_them() {
        assert_eq!((parse("50005\n"), parse("0"), parse("0x50005")), (Ok(0x50005), Ok(0), Ok(0x50005)));
        assert_eq!(answer("throttled=0x80008\n"), Ok(0x80008));
        for text in ["", "error=1 error_msg=\"Command not registered\"", "throttled=", "123456789"] {
            let error = answer(text).unwrap_err();
            assert!(error.contains("expected a throttle word"), "{error}");
        }
    }

    const WORD: &str = "sys/devices/platform/soc/soc:firmware/get_throttled";

    /// With a command in place of the one that `model` has, where there is one.
    fn throttling(tree: &Tree, model: &str, command: Option<&str>) -> Throttling {
        let mut config = SensorOptions::default();
        if let Some(command) = command {
            config.throttle_command = command.parse().unwrap();
        }
        let mut throttling = Throttling::new(&config, Duration::from_secs(1), model, tree.root());
        throttling.search(tree.root());
        throttling
    }

    fn told(throttling: &mut Throttling) -> String {
        throttled_line(throttling.look(at(0)).as_ref())
    }

    #[test]
    fn what_was_asked_for_by_name_comes_before_the_word_and_a_command_runs_on_a_pi_without_it() {
        let tree = Tree::new();
        assert!(throttling(&tree, "Raspberry Pi 4", None).command.is_some());
        assert!(throttling(&tree, "Coral Dev Board", None).command.is_none());
        // A process each time, so not more often than the kernel asks the firmware.
        for (interval, every) in [(1, 2), (2, 2), (3, 3)] {
            let asked = Throttling::new(
                &SensorOptions::default(),
                Duration::from_secs(interval),
                "Raspberry Pi 4",
                tree.root(),
            );
            assert_eq!(asked.command.unwrap().every(), Duration::from_secs(every));
        }
        assert!(throttling(&tree, "Raspberry Pi 4", Some("off")).command.is_none());
        tree.write(WORD, "1");
        assert!(throttling(&tree, "Raspberry Pi 4", None).command.is_none());
        let mut word = throttling(&tree, "", Some("off"));
        assert!(word.has_heard());
        assert_eq!(told(&mut word), "throttled now=under_voltage has_occurred=under_voltage");
        let mut asked = throttling(&tree, "", Some("echo throttled=0x20000"));
        while !asked.has_heard() {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(told(&mut asked), "throttled now=none has_occurred=frequency_capped");
        assert_eq!(asked.describe().as_deref(), Some("throttling: by command"));
    }

    #[test]
    fn the_alarm_adds_under_voltage_to_what_else_is_known() {
        let tree = Tree::new();
        let mut all = throttling(&tree, "", Some("off"));
        assert_eq!((all.look(at(0)), all.describe()), (None, None));
        tree.chip(0, "other", "x", &[("in0_lcrit_alarm", "1")]);
        all.search(tree.root());
        assert_eq!(all.look(at(0)), None, "of another chip");
        tree.chip(1, "rpi_volt", "y", &[("in0_lcrit_alarm", "0")]);
        tree.write(WORD, "80002");
        all.search(tree.root());
        assert_eq!(
            told(&mut all),
            "throttled now=frequency_capped has_occurred=frequency_capped,soft_temperature_limit"
        );
        assert!(all.describe().unwrap().ends_with("/soc:firmware/get_throttled"));
        tree.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", 1);
        let both = "throttled now=under_voltage,frequency_capped \
                    has_occurred=under_voltage,frequency_capped,soft_temperature_limit";
        assert_eq!(told(&mut all), both);
        // The word's own bit is not taken back by an alarm that is over.
        tree.write(WORD, "1");
        tree.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", 0);
        assert!(told(&mut all).starts_with("throttled now=under_voltage has"));
        // Where the one can't be read, the other is enough.
        tree.write(WORD, "x");
        assert!(told(&mut all).starts_with("throttled now=none has_occurred=under_voltage,frequency_capped"));
        tree.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "x");
        assert_eq!(told(&mut all), "throttled now=unknown has_occurred=unknown");
        assert!(all.health.reason().unwrap().starts_with("expected a throttle word"), "the first reason");
    }

    #[test]
    fn the_log_tells_what_told_once_and_fails() {
        let tree = Tree::new();
        tree.write(WORD, "x");
        let mut all = throttling(&tree, "", Some("off"));
        let mut look = |text: &str| {
            tree.write(WORD, text);
            (0..3).for_each(|second| _ = all.look(at(1000 * second)));
            all.health.is_told()
        };
        assert_eq!(["x", "0", "x", "0"].map(&mut look), [false, false, true, false]);
        // A command tells of its own failures.
        let mut asked = throttling(&tree, "", Some("false"));
        asked.has_told = true;
        (0..3).for_each(|second| _ = asked.look(at(1000 * second)));
        assert!(!asked.health.is_told() && asked.health.reason().is_some());
    }

    #[test]
    fn each_cause_of_two_looks_is_kept() {
        let one = |bit: u32| causes(1 << bit);
        for bit in 0..4 {
            assert_eq!(union(one(bit), Causes::default()), one(bit));
            assert_eq!(union(Causes::default(), one(bit)), one(bit));
        }
        assert_eq!(union(Causes::default(), Causes::default()), Causes::default());
    }

    #[test]
    fn bits_have_their_meaning() {
        assert_eq!(causes(0b1111).named().map(|(_, is_on)| is_on), [true; 4]);
        for (bit, name) in
            ["under_voltage", "frequency_capped", "throttled", "soft_temperature_limit"].iter().enumerate()
        {
            assert_eq!(causes(1 << bit).to_string(), *name);
        }
        assert_eq!(causes(0xffff_0000 | 5).to_string(), "under_voltage,throttled");
    }
}
