//! `pspnetd top --once`: a line per fact, `key: value`. docs/top.md promises the keys.

use std::fmt::{Display, Write as _};

use base::failure::Failure;

use super::super::print_lines;
use crate::telemetry::sensors::Board;
use crate::telemetry::state::State;

pub(super) fn print(state: &State) -> Result<(), Failure> {
    Ok(print_lines(text(state).trim_end_matches('\n'))?)
}

/// Lines under construction.
#[derive(Default)]
struct Facts(String);

impl Facts {
    fn add(&mut self, key: &str, value: impl Display) {
        // Writing to a String can't fail.
        let _ = writeln!(self.0, "{key}: {value}");
    }

    /// A figure with so many decimals, or `unknown`.
    fn figure(&mut self, key: &str, value: Option<f64>, decimals: usize) {
        match value.filter(|value| value.is_finite()) {
            Some(value) => self.add(key, format_args!("{value:.decimals$}")),
            None => self.add(key, "unknown"),
        }
    }
}

/// A name as a part of a key: without spaces and colons.
fn part(name: &str) -> String {
    name.chars().map(|c| if c.is_whitespace() || c == ':' { '_' } else { c }).collect()
}

pub(super) fn text(state: &State) -> String {
    let mut facts = Facts::default();
    facts.add("version", &state.program.version);
    facts.add("pid", state.program.pid);
    facts.add("time", state.time);
    facts.add("started", state.program.started);
    facts.figure("uptime_seconds", Some(state.program.uptime_seconds), 1);
    facts.add("ready", if state.ready { "yes" } else { "no" });
    for reason in &state.reasons {
        facts.add("reason", reason);
    }
    facts.add("model", &state.model.name);
    facts.add("camera.state", state.camera.state.name());
    facts.add("camera.text", &state.camera.text);
    facts.add("camera.opens", state.camera.opens);
    let engine = &state.engine;
    facts.add("engine.kind", &engine.kind);
    facts.add("engine.workers", engine.workers);
    facts.add("engine.up", engine.up);
    if let Some(reason) = &engine.reason {
        facts.add("engine.reason", reason);
    }
    facts.add("engine.faults", engine.faults);
    facts.add("engine.starts", engine.starts);
    facts.add("engine.fallback_frames", engine.fallback_frames);
    facts.figure("fps", state.fps, 2);
    let frames = &state.frames;
    for (name, count) in [
        ("in", frames.frames_in),
        ("inferred", frames.inferred),
        ("published", frames.published),
        ("replaced", frames.replaced),
        ("skipped", frames.skipped),
        ("corrupt", frames.corrupt),
        ("failed", frames.failed),
    ] {
        facts.add(&format!("frames.{name}"), count);
    }
    for stage in &state.latency {
        let name = part(&stage.stage);
        facts.add(&format!("latency.{name}.n"), stage.n);
        let figures =
            [("p50_ms", stage.p50_ms), ("p90_ms", stage.p90_ms), ("p99_ms", stage.p99_ms), ("max_ms", stage.max_ms)];
        for (figure, value) in figures {
            facts.figure(&format!("latency.{name}.{figure}"), value, 2);
        }
    }
    add_result(&mut facts, state);
    if let Some(board) = &state.board {
        add_board(&mut facts, board);
    }
    facts.figure("joules_per_frame", state.joules_per_frame, 4);
    for sink in &state.sinks {
        facts.add(&format!("sink.{}.dropped", part(&sink.name)), sink.dropped);
    }
    for event in &state.events {
        facts.add("event", format_args!("{} {} {}", event.time, event.level, event.text));
    }
    facts.0
}

fn add_result(facts: &mut Facts, state: &State) {
    let Some(result) = &state.result else {
        facts.add("result.age_seconds", "unknown");
        return;
    };
    facts.figure("result.age_seconds", Some(result.age_seconds), 1);
    facts.add("result.sequence", result.sequence);
    facts.add("result.time", result.time);
    facts.figure("result.confidence", result.confidence, 4);
    for area in &result.classes {
        facts.figure(&format!("class.{}", part(&area.name)), Some(area.share), 6);
    }
    for area in &result.groups {
        facts.figure(&format!("group.{}", part(&area.name)), Some(area.share), 6);
    }
}

fn add_board(facts: &mut Facts, board: &Board) {
    for rail in &board.rails {
        let name = part(&rail.name);
        facts.figure(&format!("rail.{name}.volts"), rail.volts, 3);
        facts.figure(&format!("rail.{name}.amps"), rail.amps, 3);
        facts.figure(&format!("rail.{name}.watts"), rail.watts, 3);
        facts.figure(&format!("rail.{name}.joules"), rail.joules, 1);
    }
    facts.figure("watts", board.watts, 3);
    facts.figure("joules", board.joules, 1);
    for temperature in &board.temperatures {
        let name = part(&temperature.name);
        facts.figure(&format!("temperature.{name}.celsius"), temperature.celsius, 1);
        if let Some(fault) = &temperature.fault {
            facts.add(&format!("temperature.{name}.fault"), fault);
        }
    }
    facts.figure("cpu.hertz", board.cpu_hertz.map(|hertz| hertz as f64), 0);
    facts.figure("process.cpu_seconds", board.process.cpu_seconds, 1);
    facts.figure("process.resident_bytes", board.process.resident_bytes.map(|bytes| bytes as f64), 0);
    match &board.throttle {
        Some(throttle) => {
            facts.add("throttled.now", throttle.now);
            facts.add("throttled.has_occurred", throttle.has_occurred);
        }
        None => {
            facts.add("throttled.now", "unknown");
            facts.add("throttled.has_occurred", "unknown");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::example;

    const DOCS: &str = include_str!("../../../docs/top.md");

    #[test]
    fn every_line_is_a_key_and_a_value() {
        let mut state = example::state();
        state.result.as_mut().unwrap().classes[0].name = "wet: road\tλ".to_owned();
        let text = text(&state);
        for line in text.lines() {
            let (key, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
            assert!(!key.contains(char::is_whitespace) && !key.contains(':') && !value.is_empty(), "{line}");
        }
        let expected = [
            "ready: yes",
            "camera.state: running",
            "fps: 21.20",
            "frames.replaced: 88",
            "latency.infer.p99_ms: 51.14",
            "class.wet__road_λ: 0.412000",
            "group.vehicle: 0.040000",
            "rail.vdd_in.watts: 4.143",
            "temperature.apex_0.celsius: unknown",
            "throttled.has_occurred: under_voltage",
            "sink.jsonl.dropped: 3",
            "event: 2026-11-22T08:03:40Z warn edgetpu 2: no such device; plug it in again",
        ];
        for line in expected {
            assert!(text.lines().any(|written| written == line), "no {line:?} in\n{text}");
        }
    }

    #[test]
    fn what_is_unknown_is_called_so() {
        let mut state = example::state();
        (state.result, state.fps, state.joules_per_frame) = (None, None, None);
        state.latency[0].p50_ms = None;
        state.board.as_mut().unwrap().throttle = None;
        let unknown: Vec<String> =
            text(&state).lines().filter_map(|line| line.strip_suffix(": unknown").map(str::to_owned)).collect();
        let expected = [
            "fps",
            "latency.sensor.p50_ms",
            "result.age_seconds",
            "temperature.apex_0.celsius",
            "throttled.now",
            "throttled.has_occurred",
            "joules_per_frame",
        ];
        assert_eq!(unknown, expected);
        state.board = None;
        assert!(!text(&state).contains("watts"));
    }

    #[test]
    fn every_key_is_documented() {
        let documented: Vec<&str> = DOCS
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .flat_map(|row| row.split(" | ").next().unwrap_or_default().split(", "))
            .map(|key| key.trim_matches(|c| c == '`' || c == ' '))
            .collect();
        let general = |key: &str| {
            let parts: Vec<&str> = key.split('.').collect();
            match parts.as_slice() {
                ["class" | "group", ..] => format!("{}.NAME", parts[0]),
                ["latency", _, figure] => format!("latency.STAGE.{figure}"),
                ["rail" | "temperature" | "sink", _, figure] => format!("{}.NAME.{figure}", parts[0]),
                _ => key.to_owned(),
            }
        };
        let mut state = example::state();
        state.reasons.push("because".to_owned());
        for line in text(&state).lines() {
            let key = general(line.split(": ").next().unwrap());
            assert!(documented.contains(&key.as_str()), "{key} is not in docs/top.md: {documented:?}");
        }
    }
}
