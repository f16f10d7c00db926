//! The latency log: a file of JSON Lines that keeps whole histograms, for `pspnetd report`.
//!
//! One record per interval, one per event (start, stop, camera, engine, throttling), and one per frame on demand. A thread
//! of its own writes them ([`base::line_file`]); nobody waits for it. `docs/latency-log.md` describes the format, [`lines`]
//! makes it.

mod frames;
pub mod lines;
mod run_info;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base::failure::{Failure, SettingError};
use base::line_file::{check as check_path, Inlet, Place, SyncPolicy, Writer};
use base::outbox::Closing;
use base::sync::lock;
use model::Edition;

use crate::config::{LatencyLog as Config, Sync};
use crate::publish::plug::{Context, Plug, Plugged};
use crate::publish::{Journal, Sink};
use crate::telemetry::{EventRecord, IntervalRecord};
use lines::Writing;
pub use run_info::RunInfo;

/// Records of intervals and events that may wait for a slow disk.
const QUEUE: usize = 64;
/// Records of frames that may.
const FRAMES_QUEUE: usize = 1024;
const KEY: &str = "telemetry.latency_log.path";

/// An open latency log.
pub struct LatencyLog {
    inlet: Inlet,
    /// Until somebody takes the sink for frames.
    frames: Mutex<Option<Inlet>>,
    run: String,
    opened: Instant,
    writing: Writing,
}

impl LatencyLog {
    /// Its name in the log and among the sinks.
    pub const NAME: &'static str = "latency_log";

    /// Opens the file, starts the writer, and writes the `start` event. None where `config` turns the log off.
    ///
    /// # Errors
    /// When the path can't be written for a reason that waiting doesn't mend.
    pub fn open(config: &Config, about: &RunInfo) -> Result<Option<Self>, SettingError> {
        if config.path.is_empty() {
            return Ok(None);
        }
        refuse_standard_output(config)?;
        let queues: &[usize] = if config.frames { &[QUEUE, FRAMES_QUEUE] } else { &[QUEUE] };
        let mut inlets = Writer::start(&place(config), queues)?.into_iter();
        // One for each queue.
        let Some(inlet) = inlets.next() else { return Ok(None) };
        Ok(Some(Self::begin(inlet, inlets.next(), config, about)))
    }

    fn begin(inlet: Inlet, frames: Option<Inlet>, config: &Config, about: &RunInfo) -> Self {
        let mut log = Self {
            inlet,
            frames: Mutex::new(frames),
            run: about.run_id(),
            opened: Instant::now(),
            writing: Writing::default(),
        };
        let interval = config.interval.0.as_secs_f64();
        log.inlet.put(true, |line| lines::start(line, &log.run, interval, about));
        log
    }

    /// The sink for a record per frame, where the configuration wants that; once. It is closed before the log is.
    pub fn frames(&self) -> Option<Box<dyn Sink>> {
        let inlet = lock(&self.frames).take()?;
        Some(Box::new(frames::FramesSink::new(inlet, self.run.clone())))
    }
}

impl Journal for LatencyLog {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn interval(&mut self, record: &IntervalRecord<'_>) {
        let uptime = self.opened.elapsed();
        let Self { inlet, writing, run, .. } = self;
        inlet.put(true, |line| writing.interval(line, run, uptime, record));
    }

    fn event(&mut self, event: &EventRecord<'_>) {
        let uptime = self.opened.elapsed();
        let Self { inlet, run, .. } = self;
        inlet.put(true, |line| lines::event(line, run, uptime, event));
    }

    /// Those of frames are the sink's.
    fn lost(&self) -> u64 {
        self.inlet.health().dropped
    }

    fn close(self: Box<Self>, limit: Duration) -> u64 {
        let this = *self;
        if let Some(unused) = this.frames.into_inner().unwrap_or_else(PoisonError::into_inner) {
            unused.close(Closing::Within(Duration::ZERO));
        }
        this.inlet.close(Closing::Within(limit)).dropped
    }
}

fn refuse_standard_output(config: &Config) -> Result<(), SettingError> {
    if config.path == "-" {
        let reason = "standard output is for publish.jsonl; name a file".to_owned();
        return Err(SettingError::new(KEY, config.path.clone(), reason));
    }
    Ok(())
}

/// The latency log as a plug.
#[derive(Debug)]
pub struct LatencyLogPlug;

impl Plug for LatencyLogPlug {
    fn name(&self) -> &'static str {
        "sinks"
    }

    fn check(&self, config: &crate::config::Config, _edition: Option<&Edition>) -> Result<Option<String>, Failure> {
        let config = &config.telemetry.latency_log;
        if !config.path.is_empty() {
            refuse_standard_output(config)?;
            check_path(&place(config))?;
        }
        Ok(None)
    }

    fn build(&self, context: &Context<'_>) -> Result<Plugged, Failure> {
        let about = RunInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            model: context.editions.now().name.clone(),
            started: context.clock.wall(),
            engine: context.engine.to_owned(),
        };
        let Some(log) = LatencyLog::open(&context.config.telemetry.latency_log, &about)? else {
            return Ok(Plugged::default());
        };
        let sinks = log.frames().into_iter().collect();
        Ok(Plugged { sinks, journal: Some(Box::new(log)), ..Plugged::default() })
    }
}

fn place(config: &Config) -> Place {
    Place {
        name: LatencyLog::NAME,
        key: KEY,
        path: config.path.clone(),
        max_bytes: config.max_bytes,
        max_age: config.max_age,
        keep: config.keep,
        sync: match config.sync {
            Sync::Interval => SyncPolicy::OnDemand,
            Sync::Rotate => SyncPolicy::AtRotation,
            Sync::Never => SyncPolicy::Never,
        },
    }
}

#[cfg(test)]
mod tests;
