//! Pictures for those who look at them over HTTP: the camera's, the class map, overlays.
//!
//! While nobody looks, nothing is converted, copied or encoded. While somebody does, the publish thread copies a result now
//! and then, and the thread `view` draws and encodes it, once for each layer that is watched, however many watch. It gives
//! way to the pipeline, and the pipeline never waits for it: what it has no time for is skipped. Where no result comes, a
//! viewer asks for a notice instead, a picture of words that says so.

mod encoder;
mod font;
mod gallery;
mod jpeg;
mod notice;
mod pace;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base::clock::{Clock, Instant};
use base::outbox::{Closing, Outbox, OutboxHealth, Room, Words};

use super::{PictureGate, Sink};
use crate::config::Http;
use crate::scene::Outcome;
use encoder::{Encoder, Shot};
use gallery::Audience;
use pace::Pace;

pub use gallery::{Encoded, Gallery, Layer, NoPicture, Opacity, Viewer};
pub use notice::Notice;

/// Results under way to the encoder: one that is encoded, and the next.
const SHOTS: usize = 2;
const WORDS: Words = Words {
    name: "view",
    items: "pictures",
    slow: "the encoder has more than it can do",
    rest_after: Some(Duration::from_secs(10)),
};

/// What [`open`] makes: the pipeline's half as a sink, the gate that asks for pictures, and where they are looked at.
pub type View = (Box<dyn Sink>, Arc<dyn PictureGate>, Arc<Gallery>);

/// Starts the thread `view`, which sleeps until somebody looks.
///
/// # Errors
/// When the system refuses the thread.
pub fn open(config: &Http, clock: Arc<dyn Clock>) -> io::Result<View> {
    let audience = Arc::new(Audience::default());
    let outbox = Outbox::start(WORDS, &[SHOTS], Encoder::new(Arc::clone(&audience)))?;
    let outbox = outbox.into_iter().next().ok_or(io::ErrorKind::OutOfMemory)?;
    let every = Duration::from_secs_f64(1.0 / config.stream_fps.0);
    let gate = Arc::new(ViewGate { audience: Arc::clone(&audience), room: outbox.room(), pace: Pace::new(every) });
    let gallery = Arc::new(Gallery::new(Arc::clone(&audience)));
    let sink = ViewSink { audience, outbox, pace: Pace::new(every), clock };
    Ok((Box::new(sink), gate, gallery))
}

/// Asks for the pictures of frames that somebody will look at.
struct ViewGate {
    audience: Arc<Audience>,
    room: Room<Shot>,
    pace: Pace,
}

impl PictureGate for ViewGate {
    fn is_due(&self, now: Instant) -> bool {
        // Without room the encoder has more than it can do.
        self.audience.wants_picture()
            && self.pace.is_due(now, self.audience.hurry(self.pace.every()))
            && self.room.is_there()
    }

    fn taken(&self, converted: Instant) {
        // It may have been another gate that asked.
        if self.pace.is_due(converted, self.audience.hurry(self.pace.every())) {
            self.pace.take(converted);
        }
    }
}

/// The half in the publish thread.
struct ViewSink {
    audience: Arc<Audience>,
    outbox: Outbox<Shot>,
    pace: Pace,
    clock: Arc<dyn Clock>,
}

impl Sink for ViewSink {
    fn name(&self) -> &'static str {
        "view"
    }

    fn is_onlooker(&self) -> bool {
        true
    }

    fn publish(&mut self, outcome: &Outcome) {
        let wants_picture = self.audience.wants_picture();
        let picture = outcome.picture().filter(|_| wants_picture);
        // Where pictures are wanted, the mask comes with the next one; by itself it would take a picture's turn.
        if picture.is_none() && (wants_picture || !self.audience.wants_mask()) {
            return;
        }
        // The gate has the exact pace. This one is for pictures that another sink asked for, and for masks; a frame may have
        // been faster on its way here than the one before.
        let (now, every) = (self.clock.now(), self.pace.every());
        if !self.pace.is_due(now, self.audience.hurry(every).max(every / 2)) {
            return;
        }
        if self.outbox.offer(|shot| shot.take(outcome, picture)) {
            self.pace.take(now);
        }
    }

    /// What is skipped is nothing lost: whoever looks gets the newest.
    fn health(&self) -> OutboxHealth {
        OutboxHealth::default()
    }

    fn close(self: Box<Self>, _closing: Closing) -> OutboxHealth {
        self.audience.close();
        OutboxHealth::default()
    }
}

#[cfg(test)]
mod tests;
