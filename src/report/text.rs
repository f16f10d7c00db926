//! The report for a terminal.

use jiff::Timestamp;

use super::figures::{Figures, Power, StageFigures};
use super::outages::{Kind, Outage};

/// More outages than this are only summed up; `--json` has them all.
const MOST_OUTAGES: usize = 40;

/// The lines of a report.
pub(super) fn lines(figures: &Figures) -> Vec<String> {
    let mut lines = vec![headline(figures)];
    lines.extend(about(figures));
    lines.push(String::new());
    lines.extend(table(&figures.stages));
    lines.push(String::new());
    lines.extend(frames(figures));
    lines.extend(figures.power.iter().map(power));
    for sensor in &figures.temperatures {
        lines.push(format!(
            "temperature {}: {:.1} °C mean, {:.1} °C max",
            sensor.name, sensor.mean_celsius, sensor.max_celsius
        ));
    }
    lines.push(match figures.throttled_minutes {
        Some(minutes) => format!("throttled: {minutes:.1} min"),
        None => "throttled: unknown".to_owned(),
    });
    lines.extend(outages(figures));
    if !figures.remarks.is_empty() {
        lines.push(String::new());
        lines.extend(figures.remarks.iter().map(|remark| format!("note: {remark}")));
    }
    lines
}

/// From when to when, and how much of it.
pub(super) fn headline(figures: &Figures) -> String {
    let (Some(from), Some(to)) = (figures.from, figures.to) else {
        return "no interval lies in this time".to_owned();
    };
    let plural = |n: usize, word: &str| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
    let intervals = plural(usize::try_from(figures.intervals).unwrap_or(usize::MAX), "interval");
    let length = duration(figures.seconds);
    format!("{} to {} UTC, {intervals} ({length}), {}", time(from), time(to), plural(figures.runs.len(), "run"))
}

/// What ran: board, model, engine, version.
pub(super) fn about(figures: &Figures) -> Option<String> {
    let run = figures.runs.iter().rev().find(|run| !run.version.is_empty())?;
    let known = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
    let [host, model, engine] = [&run.host, &run.model, &run.engine].map(|text| known(text));
    Some(format!("board {host}, model {model}, engine {engine}, pspnetd {}", run.version))
}

fn table(stages: &[StageFigures]) -> Vec<String> {
    let mut rows = vec![format!(
        "{:<11}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}",
        "stage", "n", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"
    )];
    rows.extend(stages.iter().map(|stage| {
        let StageFigures { p50_ms, p90_ms, p99_ms, p999_ms, max_ms, .. } = stage;
        let [p50, p90, p99, p999, max] = [p50_ms, p90_ms, p99_ms, p999_ms, max_ms].map(|ms| milliseconds(*ms));
        format!("{:<11}{:>11}{p50:>11}{p90:>11}{p99:>11}{p999:>11}{max:>11}", stage.stage, stage.n)
    }));
    rows
}

/// Milliseconds; `-` where there were no frames.
pub(super) fn milliseconds(ms: Option<f64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2}"))
}

/// Frames and what became of those that were lost.
pub(super) fn frames(figures: &Figures) -> [String; 2] {
    let counts = &figures.frames;
    let fps = figures.fps.map_or_else(|| "unknown".to_owned(), |fps| format!("{fps:.2}"));
    let (n, inferred, published) = (counts.frames_in, counts.inferred, counts.published);
    let (replaced, skipped, corrupt, failed) = (counts.replaced, counts.skipped, counts.corrupt, counts.failed);
    let sinks = figures.sinks_dropped;
    [
        format!("frames: {n} in, {inferred} inferred, {published} published, {fps} per second"),
        format!("drops: {replaced} replaced, {skipped} skipped, {corrupt} corrupt, {failed} failed, {sinks} by sinks"),
    ]
}

/// Power in one line.
pub(super) fn power(power: &Power) -> String {
    let figure = |value: Option<f64>, digits: usize, unit: &str| {
        value.map_or_else(|| format!("unknown {unit}"), |value| format!("{value:.digits$} {unit}"))
    };
    let kilojoules = power.joules.map(|joules| joules / 1000.0);
    let known = if power.known < 0.995 {
        format!(", known for {:.1} % of the time", power.known * 100.0)
    } else {
        String::new()
    };
    format!(
        "power: {} mean, {} max, {}, {}{known}",
        figure(power.mean_watts, 3, "W"),
        figure(power.max_watts, 3, "W"),
        figure(power.joules_per_frame, 4, "J per frame"),
        figure(kilojoules, 3, "kJ"),
    )
}

fn outages(figures: &Figures) -> Vec<String> {
    let mut lines = vec![String::new()];
    let restarts = figures.runs.len().saturating_sub(1);
    lines.push(format!("restarts: {restarts}"));
    if figures.outages.is_empty() {
        lines.push("outages: none".to_owned());
        return lines;
    }
    let sums = Kind::ALL.into_iter().filter_map(|kind| {
        let (n, seconds) = figures.total(kind);
        (n > 0).then(|| format!("{n} × {} ({})", kind.name(), duration(seconds)))
    });
    lines.push(format!("outages: {}", sums.collect::<Vec<_>>().join(", ")));
    lines.push(format!("  {:<19}  {:<19}  {:>10}  what", "from (UTC)", "to", "for"));
    lines.extend(figures.outages.iter().take(MOST_OUTAGES).map(outage));
    let more = figures.outages.len().saturating_sub(MOST_OUTAGES) as u64 + figures.outages_left_out;
    if more > 0 {
        lines.push(format!("  and {more} more; --json lists up to 20,000"));
    }
    lines
}

fn outage(outage: &Outage) -> String {
    let to = outage.to.map_or_else(|| "lasts".to_owned(), time);
    let text = if outage.text.is_empty() { String::new() } else { format!(": {}", outage.text) };
    let (from, length) = (time(outage.from), duration(outage.seconds));
    format!("  {from:<19}  {to:<19}  {length:>10}  {}{text}", outage.kind.name())
}

/// A time to the second.
pub(super) fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A duration in its two largest units.
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min {} s", whole % 60),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        let all = [0.25, 59.9, 60.0, 3_599.0, 3_600.0, 86_399.0, 2_592_000.0].map(duration);
        assert_eq!(all, ["0.2 s", "59.9 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "23 h 59 min", "30 d 0 h"]);
    }

    #[test]
    fn what_is_unknown_is_said_so() {
        let unknown =
            Power { joules: None, joules_per_frame: None, mean_watts: None, max_watts: Some(4.5), known: 0.0 };
        let line = "power: unknown W mean, 4.500 W max, unknown J per frame, unknown kJ, known for 0.0 % of the time";
        assert_eq!(power(&unknown), line);
        assert_eq!(milliseconds(None), "-");
    }
}
