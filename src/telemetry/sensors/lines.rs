//! The log's lines about the board, as docs/log.md describes them: `key=value`, units in the names, `unknown` for what is
//! not known now, and no line for what this board never had.

use super::{Board, Rail, Throttle};

const MIB: f64 = (1u64 << 20) as f64;

/// The time that a group of lines is about.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Interval {
    /// How long it was.
    pub seconds: f64,
    /// Frames that went through the model in it.
    pub inferred: u64,
}

/// The lines for an interval that began with the look `before` and ended with the look `board`. Volts, amperes, watts, °C
/// and hertz are of the last look; joules and per cent of the whole interval.
pub fn lines(board: &Board, before: &Board, interval: &Interval) -> Vec<String> {
    let rail = |rail: &Rail| {
        let earlier = before.rails.iter().find(|other| other.name == rail.name);
        rail_line(rail, earlier)
    };
    let mut lines: Vec<String> = board.rails.iter().filter_map(rail).collect();
    lines.extend(total_lines(board, before, interval));
    for temperature in &board.temperatures {
        lines.push(format!("thermal sensor={} celsius={}", temperature.name, fixed(temperature.celsius, 1)));
    }
    lines.push(cpu_line(board, before, interval));
    lines
}

/// Joules of the total from the look `before` to the look `board`. None where a counted rail was not known at one of them:
/// its joules are missing in the sum.
pub fn joules(board: &Board, before: &Board) -> Option<f64> {
    // The first look of a counter has no watts yet, but misses nothing.
    let was_known = before.watts.is_some() || before.joules.is_none_or(|joules| joules == 0.0);
    let is_whole = was_known && board.watts.is_some();
    gained(board.joules, before.joules, board.watts).filter(|_| is_whole)
}

/// The same per frame of those `inferred` in between; None without any.
pub fn joules_per_frame(board: &Board, before: &Board, inferred: u64) -> Option<f64> {
    joules(board, before).filter(|_| inferred > 0).map(|joules| joules / inferred as f64)
}

/// The line about what slows the board down, for the moment when it changes.
pub fn throttled_line(throttle: Option<&Throttle>) -> String {
    throttle.map_or_else(
        || "throttled now=unknown has_occurred=unknown".to_owned(),
        |throttle| format!("throttled now={} has_occurred={}", throttle.now, throttle.has_occurred),
    )
}

fn rail_line(rail: &Rail, before: Option<&Rail>) -> Option<String> {
    let had_volts = before.is_some_and(|before| before.volts.is_some());
    let mut line = format!("power rail={}", rail.name);
    // A processor's counter has neither volts nor amperes.
    if !rail.source.starts_with("powercap") {
        line.push_str(&format!(" volts={}", fixed(rail.volts, 3)));
    }
    // A voltage that no current belongs to, as that of a Pi 5's supply.
    if rail.joules.is_none() && rail.watts.is_none() {
        return (rail.volts.is_some() || had_volts).then_some(line);
    }
    if !rail.source.starts_with("powercap") {
        line.push_str(&format!(" amps={}", fixed(rail.amps, 3)));
    }
    let joules = gained(rail.joules, before.and_then(|before| before.joules), rail.watts);
    line.push_str(&format!(" watts={} joules={}", fixed(rail.watts, 3), fixed(joules, 1)));
    Some(line)
}

fn total_lines(board: &Board, before: &Board, interval: &Interval) -> Vec<String> {
    if board.joules.is_none() && board.watts.is_none() {
        return Vec::new();
    }
    let gained = gained(board.joules, before.joules, board.watts);
    let per_frame = joules_per_frame(board, before, interval.inferred);
    vec![
        format!("power rail=total watts={} joules={}", fixed(board.watts, 3), fixed(gained, 1)),
        format!(
            "energy joules_per_frame={} joules={} frames={}",
            fixed(per_frame, 3),
            fixed(gained, 1),
            interval.inferred
        ),
    ]
}

fn cpu_line(board: &Board, before: &Board, interval: &Interval) -> String {
    let mut line = "cpu".to_owned();
    if board.cpu_hertz.is_some() || before.cpu_hertz.is_some() {
        let hertz = board.cpu_hertz.map_or_else(|| "unknown".to_owned(), |hertz| hertz.to_string());
        line.push_str(&format!(" hertz={hertz}"));
    }
    // Before the first look it took what it took by then.
    let earlier = before.process.cpu_seconds.unwrap_or(0.0);
    let seconds = board.process.cpu_seconds.filter(|_| interval.seconds > 0.0);
    let percent = seconds.map(|seconds| (seconds - earlier).max(0.0) / interval.seconds * 100.0);
    let mib = board.process.resident_bytes.map(|bytes| bytes as f64 / MIB);
    line.push_str(&format!(" process_percent={} resident_mib={}", fixed(percent, 1), fixed(mib, 1)));
    line
}

/// What a sum of joules gained. Not known where nothing was known all the time: the power isn't now, and nothing came.
fn gained(now: Option<f64>, before: Option<f64>, watts: Option<f64>) -> Option<f64> {
    let gained = now? - before.unwrap_or(0.0);
    (watts.is_some() || gained > 0.0).then_some(gained.max(0.0))
}

/// A value with so many digits behind the point, never `-0.0`; `unknown`.
fn fixed(value: Option<f64>, digits: usize) -> String {
    let Some(value) = value else {
        return "unknown".to_owned();
    };
    let text = format!("{value:.digits$}");
    let is_zero = text.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.'));
    if is_zero {
        text.trim_start_matches('-').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Causes, Process, Temperature};
    use super::*;

    #[test]
    fn a_line_of_a_rail_has_what_the_rail_can_have() {
        let rail = |source: &str, volts, amps, watts, joules| {
            let (name, source) = ("x".to_owned(), source.to_owned());
            Rail { name, source, counted: true, volts, amps, watts, joules }
        };
        let (full, voltage) = (
            rail("hwmon ina219", Some(5.0), Some(1.0), Some(5.0), Some(40.0)),
            rail("pmic", Some(5.1), None, None, None),
        );
        let unknown = Rail { volts: None, amps: None, watts: None, ..full.clone() };
        let before = Rail { joules: Some(30.0), ..full.clone() };
        let counter = rail("powercap intel-rapl:0", None, None, Some(5.0), Some(40.0));
        let (nothing, no_counter) = (rail("pmic", None, None, None, None), rail("powercap x", None, None, None, None));
        for (rail, before, expected) in [
            (&full, Some(&before), Some("power rail=x volts=5.000 amps=1.000 watts=5.000 joules=10.0")),
            (&full, None, Some("power rail=x volts=5.000 amps=1.000 watts=5.000 joules=40.0")),
            (&full, Some(&full), Some("power rail=x volts=5.000 amps=1.000 watts=5.000 joules=0.0")),
            // What came before it was lost is told, and nothing is made of a time in which nothing was known.
            (&unknown, Some(&before), Some("power rail=x volts=unknown amps=unknown watts=unknown joules=10.0")),
            (&unknown, Some(&unknown), Some("power rail=x volts=unknown amps=unknown watts=unknown joules=unknown")),
            (
                &Rail { joules: None, ..full.clone() },
                None,
                Some("power rail=x volts=5.000 amps=1.000 watts=5.000 joules=unknown"),
            ),
            (&counter, Some(&before), Some("power rail=x watts=5.000 joules=10.0")),
            // A voltage alone has a line as long as it was there.
            (&voltage, None, Some("power rail=x volts=5.100")),
            (&nothing, Some(&voltage), Some("power rail=x volts=unknown")),
            (&nothing, Some(&nothing), None),
            (&nothing, None, None),
            (&no_counter, None, None),
        ] {
            assert_eq!(rail_line(rail, before).as_deref(), expected, "{rail:?} {before:?}");
        }
    }

    #[test]
    fn joules_of_the_total_are_known_where_it_was_known_all_the_time() {
        let board = |watts, joules| Board { watts, joules, ..Board::default() };
        for (now, before, expected) in [
            (board(Some(5.0), Some(40.0)), board(Some(5.0), Some(30.0)), Some(10.0)),
            (board(None, Some(40.0)), board(Some(5.0), Some(30.0)), None),
            (board(Some(5.0), Some(40.0)), board(None, Some(30.0)), None),
            // Before the first look, or at the first look of a counter, nothing is missing yet.
            (board(Some(5.0), Some(40.0)), board(None, None), Some(40.0)),
            (board(Some(5.0), Some(40.0)), board(None, Some(0.0)), Some(40.0)),
            (board(Some(5.0), None), board(Some(5.0), None), None),
            (board(Some(5.0), Some(30.0)), board(Some(5.0), Some(40.0)), Some(0.0)),
        ] {
            assert_eq!(joules(&now, &before), expected, "{now:?} {before:?}");
            let per_frame = expected.map(|joules| joules / 4.0);
            assert_eq!((joules_per_frame(&now, &before, 4), joules_per_frame(&now, &before, 0)), (per_frame, None));
        }
    }

    #[test]
    fn a_board_has_a_line_for_each_thing_of_it() {
        let rail = |name: &str, joules| Rail {
            name: name.to_owned(),
            source: "powercap x".to_owned(),
            watts: Some(1.0),
            joules: Some(joules),
            ..Rail::default()
        };
        let degrees = |name: &str, celsius| Temperature { name: name.to_owned(), celsius, fault: None };
        let before = Board {
            rails: vec![rail("b", 20.0), rail("a", 10.0)],
            watts: Some(2.0),
            joules: Some(30.0),
            process: Process { cpu_seconds: Some(1.0), resident_bytes: None },
            ..Board::default()
        };
        let board = Board {
            rails: vec![rail("a", 11.0), rail("b", 22.0)],
            watts: Some(2.5),
            joules: Some(36.0),
            temperatures: vec![degrees("soc", Some(52.14)), degrees("apex_0", None)],
            cpu_hertz: Some(1_500_000_000),
            throttle: None,
            process: Process { cpu_seconds: Some(3.0), resident_bytes: Some(3 << 19) },
        };
        let expected = [
            "power rail=a watts=1.000 joules=1.0",
            "power rail=b watts=1.000 joules=2.0",
            "power rail=total watts=2.500 joules=6.0",
            "energy joules_per_frame=0.500 joules=6.0 frames=12",
            "thermal sensor=soc celsius=52.1",
            "thermal sensor=apex_0 celsius=unknown",
            "cpu hertz=1500000000 process_percent=20.0 resident_mib=1.5",
        ];
        assert_eq!(lines(&board, &before, &Interval { seconds: 10.0, inferred: 12 }), expected);
        // A total that is known at last, but was not measured yet; and one that was measured once.
        for (watts, joules, expected) in [
            (
                Some(2.0),
                None,
                &[
                    "power rail=total watts=2.000 joules=unknown",
                    "energy joules_per_frame=unknown joules=unknown frames=0",
                ][..],
            ),
            (
                None,
                Some(2.0),
                &["power rail=total watts=unknown joules=2.0", "energy joules_per_frame=unknown joules=2.0 frames=0"],
            ),
            (None, None, &[]),
        ] {
            let board = Board { watts, joules, ..Board::default() };
            assert_eq!(total_lines(&board, &Board::default(), &Interval::default()), expected);
        }
    }

    #[test]
    fn the_processors_line_has_what_is_known() {
        let board = |cpu_hertz, cpu_seconds, resident_bytes| Board {
            cpu_hertz,
            process: Process { cpu_seconds, resident_bytes },
            ..Board::default()
        };
        let none = board(None, None, None);
        for (now, before, seconds, expected) in [
            (
                board(Some(7), Some(1.5), Some(1 << 20)),
                &none,
                10.0,
                "cpu hertz=7 process_percent=15.0 resident_mib=1.0",
            ),
            (board(None, Some(1.5), None), &none, 10.0, "cpu process_percent=15.0 resident_mib=unknown"),
            (
                board(None, Some(1.5), None),
                &board(Some(7), Some(2.0), None),
                10.0,
                "cpu hertz=unknown process_percent=0.0 resident_mib=unknown",
            ),
            (board(None, Some(1.5), None), &none, 0.0, "cpu process_percent=unknown resident_mib=unknown"),
            (none.clone(), &none, 10.0, "cpu process_percent=unknown resident_mib=unknown"),
        ] {
            assert_eq!(cpu_line(&now, before, &Interval { seconds, inferred: 0 }), expected);
        }
    }

    #[test]
    fn a_value_is_never_less_than_nothing_where_it_is_nothing() {
        let text = [Some(-0.04), Some(-0.06), Some(0.04), Some(10.0), Some(-10.0), None].map(|value| fixed(value, 1));
        assert_eq!(text, ["0.0", "-0.1", "0.0", "10.0", "-10.0", "unknown"]);
        assert_eq!((fixed(Some(-0.4), 0), fixed(Some(-0.0), 3)), ("0".to_owned(), "0.000".to_owned()));
    }

    #[test]
    fn what_slows_a_board_down_is_told_by_its_names() {
        let (now, has_occurred) = (
            Causes { frequency_capped: true, ..Causes::default() },
            Causes { throttled: true, under_voltage: true, ..Causes::default() },
        );
        let line = throttled_line(Some(&Throttle { now, has_occurred }));
        assert_eq!(line, "throttled now=frequency_capped has_occurred=under_voltage,throttled");
        assert!(now.any() && !Causes::default().any());
    }
}
