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
    use crate::report::tests::{example, read};
    use crate::report::Range;

    #[test]
    fn durations_have_two_units() {
        let all = [0.25, 59.9, 60.0, 3_599.0, 3_600.0, 86_399.0, 93_784.5, 2_592_000.0].map(duration);
        let expected =
            ["0.2 s", "59.9 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "23 h 59 min", "1 d 2 h", "30 d 0 h"];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_headline_counts_its_intervals_and_runs() {
        let mut figures = read(&example(), Range::default()).unwrap().figures;
        (figures.intervals, figures.seconds) = (1, 60.0);
        figures.runs.truncate(1);
        let line = "2026-11-22 10:00:00 to 2026-11-22 10:06:00 UTC, 1 interval (1 min 0 s), 1 run";
        assert_eq!(headline(&figures), line);
        figures.from = None;
        assert_eq!(headline(&figures), "no interval lies in this time");
    }

    #[test]
    fn what_ran_is_that_of_the_last_run_that_tells_it() {
        let mut figures = read(&example(), Range::default()).unwrap().figures;
        "2.0".clone_into(&mut figures.runs[1].version);
        assert!(about(&figures).unwrap().ends_with(", pspnetd 2.0"));
        let [_, last] = &mut figures.runs[..] else { panic!("two runs") };
        (last.host, last.model, last.engine) = Default::default();
        assert_eq!(about(&figures).unwrap(), "board unknown, model unknown, engine unknown, pspnetd 2.0");
        last_version(&mut figures, 1).clear();
        assert_eq!(about(&figures).unwrap(), "board pi, model m, engine edgetpu, pspnetd 1.2.3");
        last_version(&mut figures, 0).clear();
        assert_eq!(about(&figures), None);
    }

    fn last_version(figures: &mut Figures, index: usize) -> &mut String {
        &mut figures.runs[index].version
    }

    #[test]
    fn forty_outages_are_listed_and_the_others_counted() {
        let mut figures = read(&example(), Range::default()).unwrap().figures;
        let one = figures.outages[0].clone();
        for (n, left_out, listed, last) in [
            (0, 0, 0, "outages: none"),
            (40, 0, 40, "  2026-11-22 10:01:30  2026-11-22 10:01:45      15.0 s  camera away: <gone>"),
            (41, 0, 40, "  and 1 more; --json lists up to 20,000"),
            (40, 2, 40, "  and 2 more; --json lists up to 20,000"),
            (43, 2, 40, "  and 5 more; --json lists up to 20,000"),
        ] {
            (figures.outages, figures.outages_left_out) = (vec![one.clone(); n], left_out);
            let lines = outages(&figures);
            assert_eq!(lines.iter().filter(|line| line.contains("15.0 s  camera")).count(), listed);
            assert_eq!((lines[1].as_str(), lines.last().unwrap().as_str()), ("restarts: 1", last));
        }
        figures.runs.clear();
        assert_eq!(outages(&figures)[1], "restarts: 0");
    }

    #[test]
    fn what_is_unknown_is_said_so() {
        let unknown =
            Power { joules: None, joules_per_frame: None, mean_watts: None, max_watts: Some(4.5), known: 0.0 };
        let line = "power: unknown W mean, 4.500 W max, unknown J per frame, unknown kJ, known for 0.0 % of the time";
        assert_eq!(power(&unknown), line);
        // Where it is known nearly all the time, that is worth no words.
        for (known, words) in [(0.995, ""), (0.9949, ", known for 99.5 % of the time")] {
            assert!(power(&Power { known, ..unknown.clone() }).ends_with(&format!("unknown kJ{words}")));
        }
        let mut figures = read(&example(), Range::default()).unwrap().figures;
        (figures.throttled_minutes, figures.power, figures.fps) = (None, None, None);
        figures.remarks = vec!["one".to_owned(), "two".to_owned()];
        let lines = lines(&figures);
        assert!(
            lines.contains(&"throttled: unknown".to_owned()) && !lines.iter().any(|line| line.starts_with("power: "))
        );
        assert!(lines.contains(&"frames: 1110 in, 1000 inferred, 670 published, unknown per second".to_owned()));
        assert_eq!(lines[lines.len() - 3..], ["", "note: one", "note: two"]);
        assert_eq!(milliseconds(None), "-");
    }
}
