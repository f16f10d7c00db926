//! `pspnetd bench`

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::clock::{Clock, SystemClock};
use base::failure::{Failure, Kind};
use base::shutdown::Shutdown;
use base::values::Auto;
use camera::{pattern, Camera, CameraError, Poll, Rate, Source};
use infer::EngineKind;
use pixels::frame::Size;
use serde_json::{json, Map, Value};

use super::settings::Settings;
use super::{print_json, print_line};
use crate::config::{Config, Gpio, Http, Jsonl, LatencyLog, Listen, Publish, SocketPath};
use crate::daemon::{assemble, camera_maker};
use crate::one_picture::PictureRunner;
use crate::pipeline::Pipeline;
use crate::plugs::PLUGS;

/// The picture where no camera is configured.
const PICTURE: Size = Size::new(640, 480);
/// Rounds that are not counted.
const WARM_UP: usize = 3;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// TensorFlow Lite model, int8
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    model: Option<String>,

    /// Where pictures come from: pattern:WxH or replay:PATH
    #[arg(long, value_name = "URI", default_value_t = format!("pattern:{PICTURE}"))]
    camera: String,

    /// Inference threads
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: Option<u8>,

    /// Seconds for each of the two parts, stages and pipeline
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,

    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    settings: Settings,
}

fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.1..=3600.0).contains(number));
    number.ok_or_else(|| "expected 0.1 to 3600".to_owned())
}

/// Times of one stage, sorted.
struct Times(Vec<Duration>);

impl Times {
    fn quantile(&self, q: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let index = (q * last as f64).round() as usize;
        self.0.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }

    fn json(&self) -> Value {
        json!({
            "n": self.0.len(),
            "min_ms": self.quantile(0.0),
            "median_ms": self.quantile(0.5),
            "p90_ms": self.quantile(0.9),
            "max_ms": self.quantile(1.0),
        })
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut config = args
        .settings
        .load(&[
            ("--model", "model.path", args.model.clone()),
            ("--camera", "camera.source", Some(args.camera.clone())),
            ("--threads", "model.threads", args.threads.map(|threads| threads.to_string())),
        ])?
        .config;
    if matches!(config.camera.source, Source::Auto | Source::V4l2(_) | Source::Command(_)) {
        return Err(Failure::new(
            Kind::Config,
            "--camera: a bench needs a source without a pace of its own: pattern:WxH or replay:PATH",
        ));
    }
    config.camera.rate = Rate::Max;
    config.camera.repeat = true;
    // Nobody listens.
    config.publish = Publish { jsonl: Jsonl { path: String::new(), ..Jsonl::default() }, ..Publish::default() };
    config.http = Http { listen: Listen::Off, socket: Auto::Set(SocketPath::Off), ..Http::default() };
    (config.gpio, config.telemetry.latency_log) = (Gpio::default(), LatencyLog::default());
    config.telemetry.interval.0 = Duration::ZERO;
    // Both parts measure the same engine, and only that: no mixture with the CPU, which fills in until a device is up.
    match config.engine.kind {
        EngineKind::Auto => config.engine.kind = EngineKind::Cpu,
        EngineKind::Cpu => {}
        EngineKind::EdgeTpu | EngineKind::Delegate(_) => config.engine.cpu_fallback = false,
    }

    let time = Duration::from_secs_f64(args.seconds);
    let stages = stages(&config, time)?;
    let rate = pipeline_rate(&config, time)?;
    if args.json {
        let stages: Map<String, Value> =
            stages.iter().map(|(name, times)| ((*name).to_owned(), times.json())).collect();
        print_json(json!({"stages": stages, "pipeline": {"frames_per_s": rate}}).to_string())?;
        return Ok(());
    }
    print_line(&format!("{:<11}{:>8}{:>11}{:>12}{:>11}", "stage", "n", "min ms", "median ms", "p90 ms"))?;
    for (name, times) in &stages {
        let [min, median, p90] = [0.0, 0.5, 0.9].map(|q| times.quantile(q));
        print_line(&format!("{name:<11}{:>8}{min:>11.3}{median:>12.3}{p90:>11.3}", times.0.len()))?;
    }
    print_line(&format!("pipeline   {rate:.2} frames per second"))?;
    Ok(())
}

/// Each stage alone, one after the other on one thread.
fn stages(config: &Config, time: Duration) -> Result<Vec<(&'static str, Times)>, Failure> {
    let mut runner = PictureRunner::load(config)?;
    let mut camera = open(config, &runner)?;
    let orientation = config.camera.orientation();
    let mut rows: [Vec<Duration>; 4] = Default::default();
    let start = Instant::now();
    let mut round = 0;
    while start.elapsed() < time || rows[0].is_empty() {
        let asked = Instant::now();
        let mut outcome = Ok(());
        let polled = camera.poll(Duration::from_secs(1), &mut |frame| {
            let source = asked.elapsed();
            outcome = runner.steps().run(&frame.picture.turned(orientation)).map(|times| {
                if round >= WARM_UP {
                    for (row, time) in rows.iter_mut().zip([source, times.convert, times.infer, times.decode]) {
                        row.push(time);
                    }
                }
            });
        });
        let polled = polled.map_err(Failure::from)?;
        outcome?;
        let given_up = rows[0].is_empty() && start.elapsed() > time + Duration::from_secs(10);
        if polled == Poll::End || given_up {
            return Err(Failure::new(Kind::Data, format!("{}: no frame of it can be used", config.camera.source)));
        }
        round += 1;
    }
    let names = ["source", "preprocess", "infer", "decode"];
    Ok(names
        .into_iter()
        .zip(rows)
        .map(|(name, mut row)| {
            row.sort_unstable();
            (name, Times(row))
        })
        .collect())
}

fn open(config: &Config, runner: &PictureRunner) -> Result<Box<dyn Camera>, CameraError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    match config.camera.source {
        Source::Pattern(size) => pattern::open(size, Rate::Max, clock),
        _ => camera_maker(&config.camera, runner.edition().io.input.size, &clock)(),
    }
}

/// Frames per second of the three threads together, without sinks.
fn pipeline_rate(config: &Config, time: Duration) -> Result<f64, Failure> {
    let shutdown = Shutdown::default();
    let pipeline =
        Pipeline::start(assemble(config, PLUGS, &shutdown)?.pipeline, &shutdown).map_err(Failure::no_thread)?;
    let published = || pipeline.vitals().counters.read().published;
    // The first frames pay for buffers and caches.
    let begun = Instant::now();
    while published() < WARM_UP as u64 && begun.elapsed() < Duration::from_secs(60) {
        pipeline.wait(Duration::from_millis(5));
    }
    let (start, before) = (Instant::now(), published());
    pipeline.wait(time);
    let rate = (published() - before) as f64 / start.elapsed().as_secs_f64();
    let engine = pipeline.vitals().engines.report();
    if !engine.is_cpu_alone() {
        log::info!("{engine}");
    }
    shutdown.pull();
    pipeline.wait(Duration::from_secs(10));
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_by_their_quantiles() {
        let times = Times((0..=100).map(Duration::from_millis).collect());
        assert_eq!(times.json(), json!({"n": 101, "min_ms": 0.0, "median_ms": 50.0, "p90_ms": 90.0, "max_ms": 100.0}));
        let one = Times(vec![Duration::from_micros(1500)]);
        assert_eq!(one.json(), json!({"n": 1, "min_ms": 1.5, "median_ms": 1.5, "p90_ms": 1.5, "max_ms": 1.5}));
        assert_eq!(Times(Vec::new()).json()["max_ms"], 0.0);
    }

    #[test]
    fn it_takes_a_tenth_of_a_second_to_an_hour() {
        assert_eq!(["0.1", "3600"].map(seconds), [Ok(0.1), Ok(3600.0)]);
        for text in ["0.09", "3601", "nan", "-1", ""] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
