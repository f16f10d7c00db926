//! The text of each panel.

use base::logging::LogLine;
use jiff::tz::TimeZone;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::app::App;
use super::theme::Theme;
use crate::telemetry::sensors::Rail;
use crate::telemetry::state::Area;

/// Lines of the panel of latency: title, heads, seven stages.
pub(super) const LATENCY_HEIGHT: u16 = 9;

/// A panel's title, as wide as the panel.
pub(super) fn title(text: &str, width: usize, theme: Theme) -> Line<'static> {
    let text = fit(&format!(" {text} "), width.saturating_sub(2), theme);
    let text = text.trim_end().to_owned() + " ";
    let rest = width.saturating_sub(cells(&text) + 2);
    let (before, after) = (theme.rule(2.min(width)), theme.rule(rest));
    Line::from(vec![Span::raw(before), Span::styled(text, theme.title()), Span::raw(after)])
}

/// Share of every class and group, with a bar and the last minutes.
pub(super) fn classes(app: &mut App, theme: Theme, area: Rect) -> Vec<Line<'static>> {
    let width = usize::from(area.width);
    let Some(result) = &app.state.result else {
        return vec![title("Classes", width, theme), Line::raw(" no result yet")];
    };
    let confidence = result.confidence.map(|share| format!(", confidence {:.0} %", share * 100.0)).unwrap_or_default();
    let age = if result.age_seconds >= 3.0 { format!(", {} old", duration(result.age_seconds)) } else { String::new() };
    let mut all: Vec<(String, &Area)> = result.classes.iter().map(|area| (area.name.clone(), area)).collect();
    if app.by_share {
        all.sort_by(|(_, one), (_, other)| other.share.total_cmp(&one.share));
    }
    all.extend(result.groups.iter().map(|area| (format!("[{}]", area.name), area)));
    let room = usize::from(area.height).saturating_sub(1);
    app.first_class = app.first_class.min(all.len().saturating_sub(room));
    let last = (app.first_class + room).min(all.len());
    let part =
        if room < all.len() { format!(" {}-{}/{}", app.first_class + 1, last, all.len()) } else { String::new() };
    let mut lines = vec![title(&format!("Classes{part}{age}{confidence}"), width, theme)];
    // Name, 8 for the share, the bar, the line over time.
    let longest = all.iter().map(|(name, _)| cells(name)).max().unwrap_or_default();
    let name_width = longest.min(16).min(width / 2);
    let rest = width.saturating_sub(name_width + 11);
    let line_width = if rest >= 16 { rest / 2 } else { 0 };
    let bar_width = rest - line_width;
    for (name, area) in &all[app.first_class..last] {
        let colour =
            app.state.model.classes.iter().find(|class| class.name == area.name).map(|class| class.color.as_str());
        let style = colour.filter(|_| !name.starts_with('[')).map(|colour| theme.class(colour)).unwrap_or_default();
        let series = app.history.classes.iter().find(|series| &series.name == name);
        let values = series.map(|series| series.values.as_slice()).unwrap_or_default();
        let recent = &values[values.len().saturating_sub(line_width)..];
        let bar = theme.bar(area.share, bar_width);
        lines.push(Line::from(vec![
            Span::raw(format!(" {} {:5.1} % ", fit(name, name_width, theme), area.share * 100.0)),
            Span::styled(pad(&bar, bar_width + 1), style),
            // The newest stands at the right.
            Span::raw(" ".repeat(line_width - recent.len())),
            Span::styled(theme.sparkline(recent), style),
        ]));
    }
    lines
}

/// Percentiles of every stage.
pub(super) fn latency(app: &App, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![title("Latency, ms", width, theme)];
    let head = format!(" {:<10}{:>7}{:>7}{:>7}{:>7}", "stage", "p50", "p90", "p99", "max");
    lines.push(Line::styled(fit(&head, width, theme), theme.quiet()));
    for stage in &app.state.latency {
        let figures = [stage.p50_ms, stage.p90_ms, stage.p99_ms, stage.max_ms].map(milliseconds);
        let text =
            format!(" {}{}", fit(&stage.stage, 10, theme), figures.map(|figure| format!("{figure:>7}")).concat());
        let is_whole = stage.stage == "end_to_end";
        let style = if is_whole { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() };
        lines.push(Line::styled(fit(&text, width, theme), style));
    }
    lines
}

/// Power, heat, clock, throttling, and what the process takes.
pub(super) fn board(app: &App, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![title("Board", width, theme)];
    let mut add = |head: &str, facts: Vec<String>, style: Style| {
        lines.extend(wrapped(head, &facts, width).iter().map(|line| Line::styled(fit(line, width, theme), style)));
    };
    let Some(board) = &app.state.board else {
        add("", vec!["no sensor was looked at (telemetry.sensors)".to_owned()], theme.quiet());
        return lines;
    };
    if !board.rails.is_empty() {
        let frame = figure(app.state.joules_per_frame, 3, " J/frame");
        add("power", vec![figure(board.watts, 3, " W"), frame, figure(board.joules, 0, " J")], Style::new());
        if board.rails.len() > 1 {
            let rail = |rail: &Rail| format!("{} {}", rail.name, figure(rail.watts, 3, " W"));
            add("rails", board.rails.iter().map(rail).collect(), Style::new());
        }
    }
    if !board.temperatures.is_empty() {
        let is_faulty = board.temperatures.iter().any(|one| one.fault.is_some());
        let all = board.temperatures.iter().map(|one| match one.fault {
            Some(_) => format!("{} FAULT", one.name),
            None => format!("{} {}", one.name, figure(one.celsius, 1, " °C")),
        });
        add("heat", all.collect(), if is_faulty { theme.warning() } else { Style::new() });
    }
    let mut facts: Vec<String> =
        board.cpu_hertz.iter().map(|hertz| format!("{:.0} MHz", *hertz as f64 / 1e6)).collect();
    let memory = board.process.resident_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20));
    facts.extend([format!("process {}", figure(app.process_percent, 0, " %")), figure(memory, 1, " MiB")]);
    add("cpu", facts, Style::new());
    if let Some(throttle) = &board.throttle {
        let style = if throttle.now.any() { theme.bad() } else { Style::new() };
        add("slowed", vec![format!("now: {}", throttle.now), format!("ever: {}", throttle.has_occurred)], style);
    }
    lines
}

/// Facts behind a head, in as many lines as they need.
fn wrapped(head: &str, facts: &[String], width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = if head.is_empty() { " ".to_owned() } else { format!(" {head:<7}") };
    let indent = cells(&line);
    for fact in facts {
        let is_first = cells(&line) == indent;
        if !is_first && cells(&line) + cells(fact) + 2 > width {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            line += fact;
        } else {
            line += if is_first { "" } else { "  " };
            line += fact;
        }
    }
    lines.push(line);
    lines
}

/// What became of frames, and what sinks lost.
pub(super) fn frames(app: &App, theme: Theme, width: usize) -> Line<'static> {
    let frames = &app.state.frames;
    let counts = [
        ("in", frames.frames_in),
        ("published", frames.published),
        ("replaced", frames.replaced),
        ("skipped", frames.skipped),
        ("corrupt", frames.corrupt),
        ("failed", frames.failed),
    ];
    let mut text = " frames".to_owned();
    for (name, count) in counts {
        text += &format!(" {name} {count}");
    }
    let lost: Vec<String> = app
        .state
        .sinks
        .iter()
        .filter(|sink| sink.dropped > 0)
        .map(|sink| format!("{} {}", sink.name, sink.dropped))
        .collect();
    let style = if lost.is_empty() { Style::new() } else { theme.warning() };
    if !lost.is_empty() {
        text = format!(" LOST by {};{}", lost.join(", "), text.trim_start_matches(" frames"));
    }
    Line::styled(fit(&text, width, theme), style)
}

/// The log's last lines, the newest at the bottom.
pub(super) fn events(app: &mut App, theme: Theme, area: Rect) -> Vec<Line<'static>> {
    let width = usize::from(area.width);
    let room = usize::from(area.height).saturating_sub(1);
    let all = &app.state.events;
    app.events_back = app.events_back.min(all.len().saturating_sub(room));
    let end = all.len() - app.events_back;
    let newer = if app.events_back > 0 { format!(", {} newer below", app.events_back) } else { String::new() };
    let mut lines = vec![title(&format!("Events (UTC){newer}"), width, theme)];
    let today = date(app.state.time);
    for event in &all[end.saturating_sub(room)..end] {
        lines.push(event_line(event, &today, theme, width));
    }
    lines
}

fn event_line(event: &LogLine, today: &str, theme: Theme, width: usize) -> Line<'static> {
    let time = event.time.to_zoned(TimeZone::UTC);
    let day = date(event.time);
    let day = if day == today { String::new() } else { format!("{day} ") };
    let (level, style) = match event.level.as_str() {
        "error" => ("ERROR ", theme.bad()),
        "warn" => ("WARN  ", theme.warning()),
        _ => ("", Style::new()),
    };
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    let text = format!(" {day}{hour:02}:{minute:02}:{second:02} {level}{}", event.text);
    Line::styled(fit(&text, width, theme), style)
}

fn date(time: jiff::Timestamp) -> String {
    let time = time.to_zoned(TimeZone::UTC);
    format!("{:02}-{:02}", time.month(), time.day())
}

/// `5 min 12 s`
pub(super) fn duration(seconds: f64) -> String {
    // A figure out of range is a fault elsewhere; as an integer it is cut to the range.
    let seconds = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

fn milliseconds(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value < 100.0 => format!("{value:.2}"),
        Some(value) if value < 10_000.0 => format!("{value:.0}"),
        Some(value) => format!("{:.0}s", value / 1000.0),
    }
}

fn figure(value: Option<f64>, decimals: usize, unit: &str) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}{unit}"))
}

/// Cells that a text takes.
fn cells(text: &str) -> usize {
    Span::raw(text).width()
}

/// The text in exactly `width` cells: cut, or with spaces.
pub(super) fn fit(text: &str, width: usize, theme: Theme) -> String {
    if cells(text) <= width {
        return pad(text, width);
    }
    let mut cut = String::new();
    let mut buffer = [0; 4];
    let mut taken = 0;
    for character in text.chars() {
        taken += cells(character.encode_utf8(&mut buffer));
        if taken + 1 > width {
            break;
        }
        cut.push(character);
    }
    if width > 0 {
        cut.push_str(theme.cut());
    }
    pad(&cut, width)
}

fn pad(text: &str, width: usize) -> String {
    text.to_owned() + &" ".repeat(width.saturating_sub(cells(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_by_cells_not_by_bytes() {
        let fit = |text, width| super::fit(text, width, Theme::plain());
        assert_eq!(fit("road", 6), "road  ");
        assert_eq!(fit("vegetation", 6), "veget…");
        assert_eq!(fit("日本語", 6), "日本語");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日… ");
        assert_eq!(fit("x", 0), "");
    }

    #[test]
    fn times_are_told_as_people_do() {
        for (seconds, text) in [
            (-1.0, "0 s"),
            (59.9, "59 s"),
            (312.4, "5 min 12 s"),
            (7260.0, "2 h 1 min"),
            (180_000.0, "2 d 2 h"),
            (f64::NAN, "0 s"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(duration(f64::INFINITY), format!("{} d 7 h", u64::MAX / 86_400));
        let times = [None, Some(0.05), Some(99.99), Some(123.4), Some(3_600_000.0)].map(milliseconds);
        assert_eq!(times, ["-", "0.05", "99.99", "123", "3600s"]);
    }
}
