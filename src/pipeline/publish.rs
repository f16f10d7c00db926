//! The publish thread: output to class map to sinks.

use std::sync::Arc;
use std::time::Duration;

use base::mailbox::{Inlet, Take};
use base::outbox::Closing;
use base::shutdown::TICK;
use pixels::segment::{DecodeError, Masker};

use super::{Beats, Ending, Pool, ResultSlot, Stage, Vitals};
use crate::publish::Sink;
use crate::scene::{Outcome, Scene};
use crate::telemetry::{Counters, Stage as Step};

/// Time that sinks get together when the program was told to stop. SIGTERM to exit takes less than 1 s.
const STOP_LIMIT: Duration = Duration::from_millis(400);

pub(super) struct PublishStage {
    stage: Stage,
    sinks: Vec<Box<dyn Sink>>,
    results: Pool<ResultSlot>,
    inlet: Inlet<ResultSlot>,
    scene: Scene,
    /// What decodes the edition of the last result, and what that came to.
    decoding: Option<(Masker, Outcome)>,
}

impl PublishStage {
    pub(super) fn new(
        stage: Stage,
        scene: Scene,
        sinks: Vec<Box<dyn Sink>>,
        results: Pool<ResultSlot>,
        inlet: Inlet<ResultSlot>,
    ) -> Self {
        Self { stage, sinks, results, inlet, scene, decoding: None }
    }

    /// Ends when the infer thread has ended and its last result is published.
    pub(super) fn run(&mut self) {
        loop {
            self.stage.vitals.beats.publish(self.stage.now());
            match self.inlet.take(TICK, &self.stage.shutdown) {
                Take::Item(mut slot) => {
                    if let Err(error) = self.publish(&mut slot) {
                        log::error!("decode: {error}");
                        Counters::count(&self.stage.vitals.counters.failed);
                    }
                    self.results.give_back(slot);
                }
                Take::Empty => {}
                Take::Closed => break,
            }
            if !self.stage.shutdown.is_pulled() && self.is_deserted() {
                log::error!("nobody can receive results any more; stopping");
                self.stage.vitals.end(Ending::SinksGone);
                self.stage.shutdown.pull();
            }
        }
        self.close();
    }

    fn publish(&mut self, slot: &mut ResultSlot) -> Result<(), DecodeError> {
        let about = &mut slot.about;
        let (clock, vitals) = (&self.stage.clock, &self.stage.vitals);
        // Whatever converted the frame has set it.
        let Some(edition) = &about.edition else { return Ok(()) };
        let decode_started = clock.now();
        let (masker, outcome) = match &mut self.decoding {
            Some((masker, outcome)) if Arc::ptr_eq(&outcome.edition, edition) => (masker, outcome),
            stale => {
                let masker = Masker::new(edition.io.output);
                let (masker, outcome) = stale.insert((masker, Outcome::empty(Arc::clone(edition))));
                (masker, outcome)
            }
        };
        outcome.size = about.mask_size.unwrap_or(edition.io.input.size);
        masker.decode(&slot.output, about.region, outcome.size, &mut outcome.mask, &mut outcome.summary)?;
        self.scene.look(outcome);
        let decoded = clock.now();

        let age = jiff::SignedDuration::try_from(decoded.since(about.meta.captured)).unwrap_or_default();
        outcome.time = clock.wall().checked_sub(age).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        outcome.sequence = about.meta.sequence;
        let journey = &mut outcome.journey;
        let timings = &mut journey.timings;
        timings.set(Step::Sensor, about.meta.dequeued.since(about.meta.captured));
        timings.set(Step::Convert, about.converted.since(about.meta.dequeued));
        timings.set(Step::Queue, slot.infer_started.since(about.converted));
        timings.set(Step::Infer, slot.infer_ended.since(slot.infer_started));
        timings.set(Step::Decode, decoded.since(decode_started));
        timings.set(Step::Publish, Duration::ZERO);
        timings.set(Step::EndToEnd, decoded.since(about.meta.captured));
        journey.counts = vitals.counters.read();
        journey.engine = vitals.engines.report();
        journey.worker = slot.engine;
        journey.dropped = note_dropped(&self.sinks, vitals);
        outcome.has_picture = about.has_picture;
        // Lent for the time of publishing.
        std::mem::swap(&mut outcome.picture, &mut about.picture);
        for sink in &mut self.sinks {
            sink.publish(outcome);
        }
        std::mem::swap(&mut outcome.picture, &mut about.picture);
        let published = clock.now();
        let timings = &mut outcome.journey.timings;
        timings.set(Step::Publish, published.since(decoded));
        timings.set(Step::EndToEnd, published.since(about.meta.captured));
        vitals.latency.record(timings);
        Counters::count(&vitals.counters.published);
        vitals.note_published();
        Ok(())
    }

    /// True where there were sinks for results and all of them are gone.
    fn is_deserted(&self) -> bool {
        let mut sinks = self.sinks.iter().filter(|sink| !sink.is_onlooker()).peekable();
        sinks.peek().is_some() && sinks.all(|sink| sink.health().gone)
    }

    fn close(&mut self) {
        let told = self.stage.shutdown.is_pulled();
        if !told {
            // Each sink gives up by itself when nothing goes out any more.
            self.stage.vitals.beats.publish(Beats::LAST);
        }
        let end = self.stage.now().after(STOP_LIMIT);
        let mut lost = 0;
        let sinks = std::mem::take(&mut self.sinks);
        let count = sinks.len();
        for (place, sink) in sinks.into_iter().enumerate() {
            let name = sink.name();
            // A sink that hangs leaves the others their share of the time.
            let left = u32::try_from(count - place).unwrap_or(u32::MAX);
            let share = end.since(self.stage.now()) / left;
            let closing = if told { Closing::Within(share) } else { Closing::Drain };
            let health = sink.close(closing);
            self.stage.vitals.set_dropped(place, health.dropped);
            if health.dropped > 0 {
                log::warn!("{name}: {} results were dropped in this run", health.dropped);
            }
            lost += health.dropped;
        }
        if !told {
            self.stage.vitals.end(Ending::SourceEnded { lost });
        }
    }
}

/// What the sinks have lost so far, which is noted for each.
fn note_dropped(sinks: &[Box<dyn Sink>], vitals: &Vitals) -> u64 {
    let each = sinks.iter().enumerate();
    each.map(|(place, sink)| {
        let dropped = sink.health().dropped;
        vitals.set_dropped(place, dropped);
        dropped
    })
    .sum()
}

#[cfg(test)]
mod tests;
