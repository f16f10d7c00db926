//! The outboxes before a [`Target`]: lines that are written by its thread.

use std::io;

use super::{Place, Target};
use crate::failure::SettingError;
use crate::outbox::{Carrier, Closing, Fate, Outbox, OutboxHealth, Words};

/// Starts the thread.
#[derive(Debug)]
pub struct Writer;

/// Where lines are handed to the writer's thread.
#[derive(Debug)]
pub struct Inlet(Outbox<Line>);

/// One line on its way to the file.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    is_synced: bool,
}

impl Writer {
    /// Opens `place` and starts the thread before it; one inlet for each entry of `queues`, which is how many lines may wait
    /// there. The thread ends with the last of them.
    ///
    /// # Errors
    /// When the path can't be written for a reason that waiting doesn't mend.
    pub fn start(place: &Place, queues: &[usize]) -> Result<Vec<Inlet>, SettingError> {
        let target = Target::open(place)?;
        let no_thread = |error: io::Error| {
            SettingError::new(place.key, place.path.clone(), format!("no thread can be started: {error}")).of(&error)
        };
        let outboxes = Outbox::start(words(place.name), queues, target).map_err(no_thread)?;
        Ok(outboxes.into_iter().map(Inlet).collect())
    }
}

fn words(name: &'static str) -> Words {
    Words { name, items: "lines", slow: "the reader or the disk is slower than the frames", rest_after: None }
}

impl Inlet {
    /// Hands over the line that `fill` writes, with its newline, or drops and counts it. True when it was taken. A line that
    /// `is_synced` is on the disk before the next, where the file's policy has that.
    pub fn put(&mut self, is_synced: bool, fill: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.0.put(|line| {
            line.is_synced = is_synced;
            fill(&mut line.bytes);
            line.bytes.push(b'\n');
        })
    }

    /// Lines that were dropped or lost, and whether nothing can ever be written again.
    pub fn health(&self) -> OutboxHealth {
        self.0.health()
    }

    /// Waits until what was handed over is written, as far as `closing` allows; with the last inlet, until the file is
    /// synced as well.
    pub fn close(self, closing: Closing) -> OutboxHealth {
        self.0.close(closing)
    }
}

impl Carrier<Line> for Target {
    fn carry(&mut self, line: &mut Line) -> Fate {
        let is_written = self.write(&line.bytes);
        if is_written && line.is_synced {
            self.sync_on_demand();
        }
        line.bytes.clear();
        match is_written {
            true => Fate::Carried,
            false if self.is_gone() => Fate::Gone,
            false => Fate::Lost,
        }
    }

    fn finish(&mut self) {
        Self::finish(self);
    }
}

/// An inlet whose lines are not written: each comes out with whether it is to be synced.
#[cfg(any(test, feature = "testing"))]
pub fn detached(queue: usize) -> (Inlet, impl Iterator<Item = (String, bool)>) {
    struct Taken(Option<(String, bool)>);
    impl Carrier<Line> for Taken {
        fn carry(&mut self, line: &mut Line) -> Fate {
            self.0 = Some((String::from_utf8_lossy(&std::mem::take(&mut line.bytes)).into_owned(), line.is_synced));
            Fate::Carried
        }
    }
    let (outbox, by_hand) = Outbox::by_hand(words("test"), queue);
    let next = move || {
        let mut taken = Taken(None);
        by_hand.carry(&mut taken);
        taken.0
    };
    (Inlet(outbox), std::iter::from_fn(next))
}

#[cfg(test)]
mod tests;
