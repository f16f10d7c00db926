//! From the configuration to the parts of a pipeline.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::clock::{Clock, SystemClock};
use base::failure::{Failure, SettingError};
use base::mailbox::Delivery;
use base::pause::Pause;
use camera::command::{self, CommandOptions, LogLimit};
use camera::v4l2::{self, Selector, V4l2Options};
use camera::{pattern, replay, CameraErrorKind, Rate, Source};
use model::{CurrentEdition, Edition};
use pixels::frame::Size;

use crate::config::{self, Config};
use crate::pipeline::{CameraMaker, Parts, Settings};
use crate::publish::gpio::{self, Controls, Panel};
use crate::publish::jsonl::JsonlSink;
use crate::publish::snapshot::SnapshotSink;
use crate::publish::{PictureGate, Sink};
use crate::runners::Runners;
use crate::scene::Scene;

/// Puts the parts together: loads the model, opens the sinks, tries the camera.
///
/// # Errors
/// What only another configuration can mend. A camera that isn't there now is no error: the pipeline waits for it.
pub fn parts(config: &Config) -> Result<Parts, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut runners = Runners::load(config)?;
    let crew = runners.crew()?;
    let Runners { edition, cpu, .. } = runners;
    let scene = scene(config, &edition)?;
    let open_camera = camera_maker(&config.camera, edition.io.input.size, &clock);
    let camera = match open_camera() {
        Ok(camera) => Some(camera),
        Err(error) if error.kind == CameraErrorKind::Config => return Err(error.into()),
        // The pipeline tries again at once, and tells.
        Err(_) => None,
    };
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if let Some(sink) = JsonlSink::open(&config.publish.jsonl)? {
        sinks.push(Box::new(sink));
    }
    let mut gates: Vec<Arc<dyn PictureGate>> = Vec::new();
    let mut snapshot = None;
    if let Some((sink, gate)) = SnapshotSink::open(&config.publish.snapshot, Arc::clone(&clock))? {
        sinks.push(Box::new(sink));
        gates.push(Arc::clone(&gate) as Arc<dyn PictureGate>);
        snapshot = Some(gate);
    }
    let settings = settings(config);
    let pause = Pause::default();
    Ok(Parts {
        camera,
        open_camera,
        editions: CurrentEdition::new(edition),
        cpu,
        crew,
        scene,
        sinks,
        pause,
        gates,
        snapshot,
        settings,
        clock,
    })
}

/// Takes the pins that `config` names, and adds their sink to `parts`. None where there is nothing to look after.
///
/// Pins that can't be had are no error: a warning says so.
pub(super) fn panel(config: &Config, parts: &mut Parts) -> Option<Panel> {
    let controls = Controls { pause: parts.pause.clone(), gate: parts.snapshot.clone() };
    let Some((panel, sink)) = gpio::open(&config.gpio, controls, &parts.clock) else { return None };
    parts.sinks.extend(sink.map(|sink| Box::new(sink) as Box<dyn Sink>));
    Some(panel)
}

/// The scene of `config`, for `edition`.
///
/// # Errors
/// When a rule names a class that the model doesn't have.
pub fn scene(config: &Config, edition: &Arc<Edition>) -> Result<Scene, SettingError> {
    Scene::new(&config.rules, gpio::alarm_rule(&config.gpio).into_iter().collect(), edition)
}

fn settings(config: &Config) -> Settings {
    let replayed = matches!(config.camera.source, Source::Replay(_));
    let waits = config.camera.rate == Rate::Max && (replayed || matches!(config.camera.source, Source::Pattern(_)));
    Settings {
        delivery: if waits { Delivery::Every } else { Delivery::Newest },
        fit: config.model.fit,
        mask: config.segment.mask,
        finite: replayed && !config.camera.repeat,
    }
}

/// What opens the configured camera. `wanted` is the model's input size: JPEG is decoded no larger than it needs.
pub fn camera_maker(config: &config::Camera, wanted: Size, clock: &Arc<dyn Clock>) -> CameraMaker {
    let (config, clock) = (config.clone(), Arc::clone(clock));
    let wanted = Some(wanted);
    if matches!(config.source, Source::Command(_)) && config.rate != Rate::Native {
        log::warn!("camera.rate has no effect on a command: its own arguments say how many frames it sends");
    }
    let limit = LogLimit::default();
    Arc::new(move || {
        let clock = Arc::clone(&clock);
        let device = match &config.source {
            Source::Pattern(size) => return pattern::open(*size, config.rate, clock),
            Source::Replay(path) => {
                let options = replay::ReplayOptions { rate: config.rate, repeat: config.repeat, wanted };
                return replay::open(path, &options, clock);
            }
            Source::Command(line) => {
                let options = CommandOptions {
                    line: line.clone(),
                    format: config.format.as_set().copied(),
                    size: config.size.as_set().copied(),
                    silent_after: patience(config.silent_after.0),
                    wanted,
                };
                return command::open(&options, &limit, &clock);
            }
            Source::Auto => Selector::Auto,
            Source::V4l2(path) => Selector::Path(path.clone()),
        };
        let options = V4l2Options {
            device,
            format: config.format.as_set().copied(),
            size: config.size.as_set().copied(),
            frame_rate: match config.rate {
                Rate::Native => None,
                Rate::Fps(rate) => Some(rate),
                // The fastest that the driver has.
                Rate::Max => Some(1000.0),
            },
            silent_after: patience(config.silent_after.0),
            wanted,
            stride: 0,
        };
        v4l2::open(&options, clock)
    })
}

/// How long a camera may be silent. As with other times of the configuration, zero turns it off.
fn patience(configured: Duration) -> Duration {
    if configured.is_zero() {
        return Duration::MAX;
    }
    configured
}

/// Says whether the files that are written could be opened, without making or changing one.
///
/// # Errors
/// The first that couldn't.
pub fn check_sinks(config: &Config) -> Result<(), SettingError> {
    let publish = &config.publish;
    check_file("publish.jsonl.path", &publish.jsonl.path)?;
    check_file("telemetry.latency_log.path", &config.telemetry.latency_log.path)?;
    let dir = &publish.snapshot.dir;
    if !dir.is_empty() {
        // A folder that isn't there is made at start, so the nearest one that is there counts.
        let nearest = Path::new(dir).ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
        takes_files(nearest).map_err(|error| SettingError {
            key: "publish.snapshot.dir".into(),
            value: dir.clone(),
            reason: error.to_string(),
        })?;
    }
    Ok(())
}

/// Whether the file at `text` could be appended to; true of one that is turned off, and of standard output.
fn check_file(key: &'static str, text: &str) -> Result<(), SettingError> {
    if ["", "-"].contains(&text) {
        return Ok(());
    }
    let path = Path::new(text);
    let outcome = match path.metadata() {
        Ok(meta) if meta.is_dir() => Err(std::io::ErrorKind::IsADirectory.into()),
        Ok(_) => writable(path),
        Err(_) => takes_files(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))),
    };
    outcome.map_err(|error| SettingError::new(key, text, error.to_string()))
}

fn writable(path: &Path) -> std::io::Result<()> {
    Ok(rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?)
}

fn takes_files(folder: &Path) -> std::io::Result<()> {
    match folder.metadata()?.is_dir() {
        true => writable(folder),
        false => Err(std::io::ErrorKind::NotADirectory.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_may_be_silent_for_ever_where_the_limit_is_zero() {
        assert_eq!(patience(Duration::ZERO), Duration::MAX);
        assert_eq!(patience(Duration::from_secs(5)), Duration::from_secs(5));
    }
}
