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
