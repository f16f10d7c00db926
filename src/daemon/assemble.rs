//! From the configuration to everything that a run is made of.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use base::clock::{Clock, SystemClock};
use base::failure::{Failure, Kind, SettingError};
use base::mailbox::Delivery;
use base::shutdown::Shutdown;
use camera::command::{self, CommandOptions, LogLimit};
use camera::v4l2::{self, Selector, V4l2Options};
use camera::{pattern, replay, CameraErrorKind, Rate, Source};
use model::{CurrentEdition, Edition};
use pixels::frame::Size;

use super::live::Live;
use crate::config::{self, Config};
use crate::pipeline::{tensor_slots, CameraMaker, EngineStatus, Parts, Settings, Vitals};
use crate::publish::plug::{Context, Plug, Start};
use crate::publish::requests::Requests;
use crate::publish::{gpio, Journal};
use crate::runners::Runners;
use crate::scene::Scene;
use crate::telemetry::state::Observe;
use crate::telemetry::HistogramError;

/// What a run is made of, built and not started.
pub struct Assembly {
    /// The pipeline's parts, with the sinks and gates of every plug.
    pub pipeline: Parts,
    /// What takes the records of each interval.
    pub journals: Vec<Box<dyn Journal>>,
    /// What starts the threads of the plugs.
    pub starts: Vec<Start>,
    pub(super) live: Arc<Live>,
}

/// Builds a run with `plugs`: loads the model, tries the camera, builds each plug in its order.
///
/// # Errors
/// What only another configuration can mend. A camera that isn't there now is no error: the pipeline waits for it.
pub fn assemble(config: &Config, plugs: &[&dyn Plug], shutdown: &Shutdown) -> Result<Assembly, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut runners = Runners::load_for(config, &tensor_slots)?;
    let crew = runners.crew()?;
    let Runners { edition, cpu, .. } = runners;
    let open_camera = camera_maker(&config.camera, edition.io.input.size, &clock);
    let camera = match open_camera() {
        Ok(camera) => Some(camera),
        Err(error) if error.kind == CameraErrorKind::Config => return Err(error.into()),
        // The pipeline tries again at once, and tells.
        Err(_) => None,
    };
    let engine = crew.as_ref().map_or("cpu", |crew| crew.kind);
    let workers = crew.as_ref().map_or(0, |crew| crew.jobs.len());
    let no_memory = |error: HistogramError| Failure::new(Kind::Software, error.to_string());
    let vitals = Vitals::new(clock.now(), EngineStatus::new(engine, workers, cpu.is_some())).map_err(no_memory)?;
    let vitals = Arc::new(vitals);
    let editions = CurrentEdition::new(Arc::clone(&edition));
    let frame_time = frame_time(config.camera.rate);
    let live = Live::new(Arc::clone(&vitals), Arc::clone(&clock), editions.clone(), frame_time).map_err(no_memory)?;
    let live = Arc::new(live);
    let context = Context {
        config,
        clock: Arc::clone(&clock),
        shutdown: shutdown.clone(),
        editions: editions.clone(),
        engine,
        observe: Arc::clone(&live) as Arc<dyn Observe>,
        requests: Requests::default(),
    };
    let mut pipeline = Parts {
        camera,
        open_camera,
        editions,
        cpu,
        crew,
        scene: scene(config, &edition)?,
        // The state comes first: a sink that asks for it while it takes a result finds that result there.
        sinks: vec![Box::new(live.sink())],
        pause: context.requests.pause.clone(),
        gates: Vec::new(),
        vitals,
        settings: settings(config),
        clock,
    };
    let (mut journals, mut starts) = (Vec::new(), Vec::new());
    for plug in plugs {
        let plugged = plug.build(&context)?;
        pipeline.sinks.extend(plugged.sinks);
        pipeline.gates.extend(plugged.gate);
        journals.extend(plugged.journal);
        starts.extend(plugged.start);
    }
    Ok(Assembly { pipeline, journals, starts, live })
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
        orientation: config.camera.orientation(),
        fit: config.model.fit,
        mask: config.segment.mask,
        finite: replayed && !config.camera.repeat,
    }
}

/// What opens the configured camera. `wanted` is the model's input size, for upright pictures: JPEG is decoded no larger than it
/// needs.
pub fn camera_maker(config: &config::Camera, wanted: Size, clock: &Arc<dyn Clock>) -> CameraMaker {
    let (config, clock) = (config.clone(), Arc::clone(clock));
    let wanted = Some(config.orientation().turn(wanted));
    if matches!(config.source, Source::Command(_)) && config.rate != Rate::Native {
        log::warn!("camera.rate has no effect on a command: its own arguments say how many frames it sends");
    }
    if !config.controls.is_empty() && !matches!(config.source, Source::Auto | Source::V4l2(_)) {
        log::warn!("[camera.controls] has no effect: only V4L2 cameras have controls, and camera.source names none");
    }
    if !matches!(config.source, Source::Command(_)) && config.stride.as_set().is_some() {
        log::warn!("camera.stride is for a command's raw frames and has no effect on {}", config.source);
    }
    let limit = LogLimit::default();
    // What the configuration asks of a camera's controls is held to what the camera has at the start. A daemon that runs goes on.
    let is_start = AtomicBool::new(true);
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
                    stride: config.stride.as_set().copied(),
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
            controls: config.controls.clone(),
            strict: is_start.swap(false, Ordering::Relaxed),
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

/// The longest time between two frames that is no reason for worry by itself.
fn frame_time(rate: Rate) -> Duration {
    match rate {
        Rate::Fps(rate) => Duration::from_secs_f64(1.0 / rate),
        Rate::Native | Rate::Max => Duration::ZERO,
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

    #[test]
    fn frames_that_are_asked_for_rarely_are_that_far_apart() {
        assert_eq!(frame_time(Rate::Fps(0.05)), Duration::from_secs(20));
        assert_eq!(frame_time(Rate::Fps(25.0)), Duration::from_millis(40));
        assert_eq!([Rate::Native, Rate::Max].map(frame_time), [Duration::ZERO; 2]);
    }
}
