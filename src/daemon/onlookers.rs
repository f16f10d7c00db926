//! Those who watch the pipeline: state, monitor, latency log, server. Made ready before it starts, since some of them are
//! sinks, and started beside it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base::clock::Clock;
use base::failure::{Failure, Kind};
use base::shutdown::Shutdown;
use camera::Rate;
use infer::edgetpu::root;
use model::CurrentEdition;

use super::live::{Live, Seen, SeenSink};
use super::monitor::Monitor;
use crate::config::Config;
use crate::http::{Predictor, Server, Services, Serving};
use crate::pipeline::{Parts, Shared};
use crate::publish::latency_log::{LatencyLog, RunInfo};
use crate::publish::view::{self, Gallery};
use crate::telemetry::state::Observe;

/// What is ready to watch a pipeline.
pub(super) struct Onlookers {
    seen: Arc<Seen>,
    log: Option<LatencyLog>,
    server: Option<Server>,
    gallery: Option<Arc<Gallery>>,
    editions: CurrentEdition,
    clock: Arc<dyn Clock>,
}

/// What watches one.
pub(super) struct Watching {
    monitor: Monitor,
    _serving: Option<Serving>,
}

impl Onlookers {
    /// Reads what the server needs, opens the latency log, and adds the sinks and gates of all of them to `parts`.
    ///
    /// # Errors
    /// What only another configuration can mend, or a thread that the system refuses.
    pub(super) fn prepare(config: &Config, parts: &mut Parts) -> Result<Self, Failure> {
        let clock = Arc::clone(&parts.clock);
        let seen = Arc::<Seen>::default();
        parts.sinks.push(Box::new(SeenSink::new(Arc::clone(&seen), Arc::clone(&clock))));
        let server = Server::open(&config.http)?;
        let gallery = match &server {
            Some(_) if config.http.pictures => Some(show_pictures(config, parts).map_err(no_thread)?),
            _ => None,
        };
        let log = latency_log(config, parts)?;
        parts.sinks.extend(log.as_ref().and_then(LatencyLog::frames));
        Ok(Self { seen, log, server, gallery, editions: parts.editions.clone(), clock })
    }

    /// Starts their threads beside the pipeline that `shared` tells of.
    ///
    /// # Errors
    /// A thread that the system refuses.
    pub(super) fn start(self, config: &Config, shared: &Arc<Shared>, shutdown: &Shutdown) -> Result<Watching, Failure> {
        let Self { seen, log, server, gallery, editions, clock } = self;
        let frame_time = frame_time(config.camera.rate);
        let live = Live::new(Arc::clone(shared), Arc::clone(&clock), editions.clone(), seen, frame_time)
            .map_err(|error| Failure::new(Kind::Software, error.to_string()))?;
        let live = Arc::new(live);
        let monitor = Monitor::start(&live, log, &config.telemetry, &root(), &clock, shutdown).map_err(no_thread)?;
        let predictor = config.http.predict.then(|| Arc::new(Predictor::new(&config.http, config.model.fit, editions)));
        let services = Services { observed: live as Arc<dyn Observe>, gallery, predictor };
        let serving = server.map(|server| server.start(services, shutdown)).transpose().map_err(no_thread)?;
        Ok(Watching { monitor, _serving: serving })
    }
}

impl Watching {
    /// Tells of the last interval and of the whole run. The server, which knows of the stop by itself, ends when this is
    /// dropped.
    pub(super) fn finish(self) {
        self.monitor.finish();
    }
}

/// The failure of a thread that can't be started.
#[allow(clippy::needless_pass_by_value)] // for `map_err`
pub(super) fn no_thread(error: io::Error) -> Failure {
    Failure::new(Kind::Software, format!("threads can't be started: {error}"))
}

/// Lets the pipeline give its pictures to those who ask for them.
fn show_pictures(config: &Config, parts: &mut Parts) -> io::Result<Arc<Gallery>> {
    let (sink, gate, gallery) = view::open(&config.http, Arc::clone(&parts.clock))?;
    parts.sinks.push(sink);
    parts.gates.push(gate);
    Ok(gallery)
}

/// The latency log, where there is to be one.
fn latency_log(config: &Config, parts: &Parts) -> Result<Option<LatencyLog>, Failure> {
    let about = RunInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        model: parts.editions.now().name.clone(),
        started: parts.clock.wall(),
        engine: parts.crew.as_ref().map_or("cpu", |crew| crew.kind).to_owned(),
    };
    Ok(LatencyLog::open(&config.telemetry.latency_log, &about)?)
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
    fn frames_that_are_asked_for_rarely_are_that_far_apart() {
        assert_eq!(frame_time(Rate::Fps(0.05)), Duration::from_secs(20));
        assert_eq!(frame_time(Rate::Fps(25.0)), Duration::from_millis(40));
        assert_eq!([Rate::Native, Rate::Max].map(frame_time), [Duration::ZERO; 2]);
    }
}
