//! The publish thread: output to class map to sinks, and the latency lines.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Ending, Pool, ResultSlot, Stage};
use crate::clock::Instant;
use crate::frame::Size;
use crate::mailbox::{Inlet, Take};
use crate::model::LabelMap;
use crate::publish::{Closing, Published, Sink};
use crate::segment::{DecodeError, Masker, OutputSpec};
use crate::shutdown::TICK;
use crate::telemetry::{Counters, Counts, Recorder, Stage as Step, Timings};

/// Time that sinks get together when the program was told to stop. SIGTERM to exit takes less than 1 s.
const STOP_LIMIT: Duration = Duration::from_millis(400);
/// Time between two updates of the speed in `STATUS=`.
const SPEED_EVERY: Duration = Duration::from_secs(2);

pub(super) struct PublishStage {
    stage: Stage,
    output: OutputSpec,
    labels: LabelMap,
    model_name: String,
    sinks: Vec<Box<dyn Sink>>,
    results: Pool<ResultSlot>,
    inlet: Inlet<ResultSlot>,
    masker: Masker,
    recorder: Option<Recorder>,
    speed_from: (Instant, u64),
}

impl PublishStage {
    pub(super) fn new(
        stage: Stage,
        output: OutputSpec,
        labels: LabelMap,
        model_name: String,
        sinks: Vec<Box<dyn Sink>>,
        results: Pool<ResultSlot>,
        inlet: Inlet<ResultSlot>,
    ) -> Self {
        let now = stage.now();
        let recorder = Recorder::new(stage.settings.interval, now)
            .inspect_err(|error| log::error!("telemetry: {error}; there will be no latency lines"))
            .ok();
        Self {
            stage,
            output,
            labels,
            model_name,
            sinks,
            results,
            inlet,
            masker: Masker::new(output),
            recorder,
            speed_from: (now, 0),
        }
    }

    /// Ends when the infer thread has ended and its last result is published.
    pub(super) fn run(mut self) {
        loop {
            let now = self.stage.now();
            self.stage.shared.beats.publish(now);
            self.report(now);
            match self.inlet.take(TICK, &self.stage.shutdown) {
                Take::Item(slot) => {
                    if let Err(error) = self.publish(&slot) {
                        log::error!("decode: {error}");
                        Counters::count(&self.stage.shared.counters.failed);
                    }
                    self.results.give_back(slot);
                }
                Take::Empty => {}
                Take::Closed => break,
            }
            if !self.sinks.is_empty() && self.sinks.iter().all(|sink| sink.health().gone) {
                log::error!("nobody can receive results any more; stopping");
                self.stage.shared.end(Ending::SinksGone);
                self.stage.shutdown.pull();
            }
        }
        self.close();
    }

    fn publish(&mut self, slot: &ResultSlot) -> Result<(), DecodeError> {
        let about = &slot.about;
        let clock = &self.stage.clock;
        let decode_started = clock.now();
        let mask_size = about.mask_size.unwrap_or(Size::new(self.output.width, self.output.height));
        self.masker.decode(&slot.output, about.region, mask_size)?;
        let decoded = clock.now();

        let mut timings = Timings::default();
        timings.set(Step::Sensor, about.meta.dequeued.since(about.meta.captured));
        timings.set(Step::Convert, about.converted.since(about.meta.dequeued));
        timings.set(Step::Queue, slot.infer_started.since(about.converted));
        timings.set(Step::Infer, slot.infer_ended.since(slot.infer_started));
        timings.set(Step::Decode, decoded.since(decode_started));
        timings.set(Step::EndToEnd, decoded.since(about.meta.captured));
        let age = jiff::SignedDuration::try_from(decoded.since(about.meta.captured)).unwrap_or_default();
        let result = Published {
            sequence: about.meta.sequence,
            time: clock.wall().checked_sub(age).unwrap_or(jiff::Timestamp::UNIX_EPOCH),
            model: &self.model_name,
            labels: &self.labels,
            summary: self.masker.summary(),
            timings: &timings,
            counts: &self.stage.shared.counters.read(),
            engine: &self.stage.shared.engines.report(),
            worker: slot.engine,
            dropped: self.sinks.iter().map(|sink| sink.health().dropped).sum(),
            mask: self.masker.mask(),
            mask_size,
            picture: about.has_picture.then_some(about.picture.as_slice()),
        };
        for sink in &mut self.sinks {
            sink.publish(&result);
        }
        let published = clock.now();
        timings.set(Step::Publish, published.since(decoded));
        timings.set(Step::EndToEnd, published.since(about.meta.captured));
        if let Some(recorder) = &mut self.recorder {
            recorder.record(&timings);
        }
        Counters::count(&self.stage.shared.counters.published);
        self.stage.shared.note_published();
        Ok(())
    }

    fn report(&mut self, now: Instant) {
        let counters = &self.stage.shared.counters;
        let Some(recorder) = &mut self.recorder else { return };
        let (since, before) = self.speed_from;
        let elapsed = now.since(since);
        if elapsed >= SPEED_EVERY {
            let published = counters.published.load(Ordering::Relaxed);
            let fps = (published - before) as f64 / elapsed.as_secs_f64();
            self.stage.shared.set_speed(fps, recorder.end_to_end_p50());
            self.speed_from = (now, published);
        }
        let lines = recorder.interval_lines(now, &counters.read()).unwrap_or_default();
        for line in &lines {
            log::info!("{line}");
        }
        if !lines.is_empty() {
            self.log_engine();
        }
    }

    /// Nothing where the CPU alone runs the model: then there is nothing to tell.
    fn log_engine(&self) {
        let report = self.stage.shared.engines.report();
        if !report.is_cpu_alone() {
            log::info!("{report}");
        }
    }

    fn close(mut self) {
        let told = self.stage.shutdown.is_pulled();
        let closing = if told { Closing::Within(STOP_LIMIT) } else { Closing::Drain };
        let mut lost = 0;
        for sink in std::mem::take(&mut self.sinks) {
            let name = sink.name();
            let health = sink.close(closing);
            if health.dropped > 0 {
                log::warn!("{name}: {} results were dropped in this run", health.dropped);
            }
            lost += health.dropped;
        }
        if let Some(recorder) = &self.recorder {
            let counts: Counts = self.stage.shared.counters.read();
            for row in recorder.table(self.stage.clock.now(), &counts) {
                log::info!("{row}");
            }
            self.log_engine();
        }
        if !told {
            self.stage.shared.end(Ending::SourceEnded { lost });
        }
    }
}
