//! `pspnetd devices`

use std::path::Path;
use std::time::Duration;

use base::clock::SystemClock;
use base::failure::{Failure, Kind};
use camera::v4l2::{self, ControlInfo, ControlKind, DeviceInfo, Extent, Interval, Rates, SizeInfo};
use infer::edgetpu::{self, Found, Survey};
use infer::worker::probe;
use infer::EngineKind;
use serde::Serialize;

use super::settings::Settings;
use super::{print_json, print_line};
use crate::telemetry::sensors::{Board, Sensors};

/// Time for the library to list its devices, which it does without opening one.
const LIMIT: Duration = Duration::from_secs(10);

/// Time for sensors that need some: a command, a counter.
const SENSOR_LIMIT: Duration = Duration::from_secs(5);

const NO_SENSOR: &str = "no sensor of power, heat, clock or throttling: docs/sensors.md says what is looked for";
const NO_EDGE_TPU: &str = "no Edge TPU: no USB device 1a6e:089a or 18d1:9302, no /dev/apex_0";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,

    /// List the controls of each camera too: exposure, focus and whatever else [camera.controls] can set
    #[arg(long)]
    controls: bool,

    #[command(flatten)]
    settings: Settings,
}

/// `--json`
#[derive(Serialize)]
struct All {
    cameras: Vec<DeviceInfo>,
    edge_tpus: Survey,
    sensors: FoundSensors,
}

/// What measures on this board, and what it measures now.
#[derive(Serialize)]
struct FoundSensors {
    /// A line for each.
    found: Vec<String>,
    /// Their values.
    now: Board,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let config = args.settings.load(&[])?.config;
    let engine = config.engine;
    let root = edgetpu::root();
    let sight = edgetpu::look(&root);
    // Without a device, its library is nobody's concern who did not ask for it. It is asked in a process of its own.
    let is_asked = !sight.is_empty() || engine.kind == EngineKind::EdgeTpu;
    let library = Path::new(&engine.library);
    let answer = is_asked.then(|| probe(library, LIMIT));
    let mut sensors = Sensors::new(&config.telemetry.sensor_options(), &root);
    let now = sensors.settle(&SystemClock, SENSOR_LIMIT);
    let sensors = FoundSensors { found: sensors.describe(), now };
    let cameras = if args.controls { v4l2::list_with_controls() } else { v4l2::list() };
    let all = All { cameras, edge_tpus: Survey::new(&root, &sight, library, answer), sensors };
    if args.json {
        let text =
            serde_json::to_string_pretty(&all).map_err(|error| Failure::new(Kind::Software, error.to_string()))?;
        print_json(text)?;
        return Ok(());
    }
    if all.cameras.is_empty() {
        print_line("no V4L2 devices: nothing at /dev/video*. Is the camera plugged in, and the driver loaded?")?;
    }
    for device in &all.cameras {
        describe(device)?;
    }
    describe_edge_tpus(&all.edge_tpus)?;
    describe_sensors(&all.sensors)
}

fn describe_sensors(sensors: &FoundSensors) -> Result<(), Failure> {
    if sensors.found.is_empty() {
        print_line(NO_SENSOR)?;
    }
    for line in &sensors.found {
        print_line(line)?;
    }
    Ok(())
}

fn describe_edge_tpus(survey: &Survey) -> Result<(), Failure> {
    if survey.devices.is_empty() {
        print_line(
            &survey
                .problem
                .as_ref()
                .map_or_else(|| NO_EDGE_TPU.to_owned(), |problem| format!("no Edge TPU: {problem}")),
        )?;
    }
    for found in &survey.devices {
        describe_edge_tpu(found)?;
    }
    if let Some(library) = &survey.library {
        let version = library.version.as_deref().unwrap_or("it does not tell its version");
        let state =
            library.unusable.as_ref().map_or_else(|| version.to_owned(), |reason| format!("not usable: {reason}"));
        print_line(&format!("Edge TPU library {}: {state}", library.library.display()))?;
    }
    Ok(())
}

fn describe_edge_tpu(found: &Found) -> Result<(), Failure> {
    // A card's path is its node.
    let node = (found.node != found.path).then(|| found.node.display().to_string());
    let mut about: Vec<String> = node.into_iter().collect();
    about.extend(found.id.map(str::to_owned));
    about.extend(found.speed_mbit_per_s.map(|speed| format!("{speed} Mbit/s")));
    about.extend(found.temperature_c.map(|temperature| format!("{temperature:.1} °C")));
    let usable = found.unusable.as_ref().map_or_else(|| "usable".to_owned(), |reason| format!("not usable: {reason}"));
    print_line(&format!("{}  Edge TPU at {} ({}): {usable}", found.device, found.path.display(), about.join(", ")))?;
    print_line(&format!("    --set engine.device={}", found.device))?;
    for remark in &found.remarks {
        print_line(&format!("    {remark}"))?;
    }
    Ok(())
}

fn describe(device: &DeviceInfo) -> Result<(), Failure> {
    let usable = device.unusable.as_ref().map_or_else(|| "usable".to_owned(), |reason| format!("not usable: {reason}"));
    print_line(&format!("{}  {} ({}, {}): {usable}", device.path.display(), device.card, device.driver, device.bus))?;
    for name in &device.stable_names {
        print_line(&format!("    --camera v4l2:{}", name.display()))?;
    }
    for format in &device.formats {
        let taken = if format.taken { "" } else { " (not taken)" };
        print_line(&format!("    {} {}{taken}", format.fourcc, format.description))?;
        for size in &format.sizes {
            print_line(&format!("        {}", describe_size(size)))?;
        }
    }
    if let Some(controls) = &device.controls {
        print_line(if controls.is_empty() { "    no controls" } else { "    [camera.controls]" })?;
        for control in controls {
            print_line(&format!("        {}", describe_control(control)))?;
        }
    }
    Ok(())
}

fn describe_control(control: &ControlInfo) -> String {
    let value = |value: i64| match control.kind {
        ControlKind::Boolean => (value != 0).to_string(),
        _ => control.shown(value),
    };
    let mut about = vec![control.expected()];
    if !matches!(control.kind, ControlKind::Button | ControlKind::Text) {
        about.push(format!("default {}", value(control.default)));
        about.extend(control.value.map(|now| format!("now {}", value(now))));
    }
    let states = [
        (control.read_only, "read-only"),
        (control.inactive, "without effect while another control decides it"),
        (control.grabbed, "held by another program or the stream"),
    ];
    about.extend(states.iter().filter(|(is_so, _)| *is_so).map(|(_, words)| (*words).to_owned()));
    format!("{}: {}", control.name, about.join("; "))
}

fn describe_size(size: &SizeInfo) -> String {
    let extent = match size.extent {
        Extent::Discrete { width, height } => format!("{width}x{height}"),
        Extent::Stepwise { min_width, max_width, min_height, max_height, .. } => {
            format!("{min_width}x{min_height} to {max_width}x{max_height}")
        }
    };
    let rates = match &size.rates {
        Rates::Discrete(intervals) if intervals.is_empty() => return extent,
        Rates::Discrete(intervals) => intervals.iter().map(|interval| rate(*interval)).collect::<Vec<_>>().join(", "),
        Rates::Range { slowest, fastest } => format!("{} to {}", rate(*slowest), rate(*fastest)),
    };
    format!("{extent}: {rates} fps")
}

fn rate(interval: Interval) -> String {
    let text = format!("{:.2}", interval.rate());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
