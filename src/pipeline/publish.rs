//! The publish thread: output to class map to sinks.

use std::time::Duration;

use base::mailbox::{Inlet, Take};
use base::outbox::Closing;
use base::shutdown::TICK;
use model::LabelMap;
use pixels::frame::Size;
use pixels::segment::{DecodeError, Masker, OutputSpec};

use super::{Ending, Pool, ResultSlot, Stage};
use crate::publish::{Published, Sink};
use crate::telemetry::{Counters, Stage as Step, Timings};

/// Time that sinks get together when the program was told to stop. SIGTERM to exit takes less than 1 s.
const STOP_LIMIT: Duration = Duration::from_millis(400);

pub(super) struct PublishStage {
    stage: Stage,
    output: OutputSpec,
    labels: LabelMap,
    model_name: String,
    sinks: Vec<Box<dyn Sink>>,
    results: Pool<ResultSlot>,
    inlet: Inlet<ResultSlot>,
    masker: Masker,
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
        Self { stage, output, labels, model_name, sinks, results, inlet, masker: Masker::new(output) }
    }

    /// Ends when the infer thread has ended and its last result is published.
    pub(super) fn run(&mut self) {
        loop {
            self.stage.shared.beats.publish(self.stage.now());
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
            if self.is_deserted() {
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
            dropped: self.dropped(),
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
        self.stage.shared.latency.record(&timings);
        Counters::count(&self.stage.shared.counters.published);
        self.stage.shared.note_published();
        Ok(())
    }

    /// True where there were sinks for results and all of them are gone.
    fn is_deserted(&self) -> bool {
        let mut sinks = self.sinks.iter().filter(|sink| !sink.is_onlooker()).peekable();
        sinks.peek().is_some() && sinks.all(|sink| sink.health().gone)
    }

    /// What the sinks have lost so far, which is noted for each.
    fn dropped(&self) -> u64 {
        let each = self.sinks.iter().enumerate();
        each.map(|(place, sink)| {
            let dropped = sink.health().dropped;
            self.stage.shared.set_dropped(place, dropped);
            dropped
        })
        .sum()
    }

    fn close(&mut self) {
        let told = self.stage.shutdown.is_pulled();
        let closing = if told { Closing::Within(STOP_LIMIT) } else { Closing::Drain };
        let mut lost = 0;
        for (place, sink) in std::mem::take(&mut self.sinks).into_iter().enumerate() {
            let name = sink.name();
            let health = sink.close(closing);
            self.stage.shared.set_dropped(place, health.dropped);
            if health.dropped > 0 {
                log::warn!("{name}: {} results were dropped in this run", health.dropped);
            }
            lost += health.dropped;
        }
        if !told {
            self.stage.shared.end(Ending::SourceEnded { lost });
        }
    }
}

#[cfg(test)]
mod tests;
