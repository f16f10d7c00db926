//! Pictures for those who look at them over HTTP: the camera's, the class map, overlays.
//!
//! While nobody looks, nothing is converted, copied or encoded. While somebody does, the publish thread copies a result now
//! and then, and the thread `view` draws and encodes it, once for each layer that is watched, however many watch. It gives
//! way to the pipeline, and the pipeline never waits for it: what it has no time for is skipped.

mod encoder;
mod gallery;
mod pace;

use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use base::clock::{Clock, Instant};
use base::outbox::{Closing, OutboxHealth};
use crossbeam_channel::{bounded, Receiver, Sender};

use super::{PictureGate, Sink};
use crate::config::Http;
use crate::scene::Outcome;
use encoder::{Encoder, Shot};
use gallery::Shared;
use pace::Pace;

pub use gallery::{Encoded, Gallery, Layer, NoPicture, Opacity, Viewer};

/// Results under way to the encoder: one that is encoded, and the next.
const SHOTS: usize = 2;

/// What [`open`] makes: the pipeline's half as a sink, the gate that asks for pictures, and where they are looked at.
pub type View = (Box<dyn Sink>, Arc<dyn PictureGate>, Arc<Gallery>);

/// Starts the thread `view`, which sleeps until somebody looks.
///
/// # Errors
/// When the system refuses the thread.
pub fn open(config: &Http, clock: Arc<dyn Clock>) -> io::Result<View> {
    let shared = Arc::new(Shared::default());
    let (full, shots) = bounded::<Shot>(SHOTS);
    let (back, free) = bounded::<Shot>(SHOTS);
    for _ in 0..SHOTS {
        // The channel has room for all of them.
        let _ = back.try_send(Shot::default());
    }
    let encoder = Encoder::new(Arc::clone(&shared));
    let (spare, returned) = (free.clone(), back.clone());
    let work = move || encoder.run(&shots, &returned, &spare);
    thread::Builder::new().name("view".to_owned()).spawn(work)?;
    let every = Duration::from_secs_f64(1.0 / config.stream_fps.0);
    let gate = Arc::new(ViewGate { shared: Arc::clone(&shared), free: free.clone(), pace: Pace::new(every) });
    let gallery = Arc::new(Gallery::new(Arc::clone(&shared)));
    let sink = ViewSink { shared, full, free, back, pace: Pace::new(every), clock };
    Ok((Box::new(sink), gate, gallery))
}

/// Asks for the pictures of frames that somebody will look at.
struct ViewGate {
    shared: Arc<Shared>,
    free: Receiver<Shot>,
    pace: Pace,
}

impl PictureGate for ViewGate {
    fn is_due(&self, now: Instant) -> bool {
        // With no buffer free the encoder has more than it can do.
        self.shared.wants_picture()
            && self.pace.is_due(now, self.shared.hurry(self.pace.every()))
            && !self.free.is_empty()
    }

    fn taken(&self, converted: Instant) {
        // It may have been another gate that asked.
        if self.pace.is_due(converted, self.shared.hurry(self.pace.every())) {
            self.pace.take(converted);
        }
    }
}

/// The half in the publish thread.
struct ViewSink {
    shared: Arc<Shared>,
    full: Sender<Shot>,
    free: Receiver<Shot>,
    back: Sender<Shot>,
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
        let wants_picture = self.shared.wants_picture();
        let picture = outcome.picture().filter(|_| wants_picture);
        // Where pictures are wanted, the mask comes with the next one; by itself it would take a picture's turn.
        if picture.is_none() && (wants_picture || !self.shared.wants_mask()) {
            return;
        }
        // The gate has the exact pace. This one is for pictures that another sink asked for, and for masks; a frame may have
        // been faster on its way here than the one before.
        let (now, every) = (self.clock.now(), self.pace.every());
        if !self.pace.is_due(now, self.shared.hurry(every).max(every / 2)) {
            return;
        }
        let Ok(mut shot) = self.free.try_recv() else { return };
        shot.take(outcome, picture);
        self.pace.take(now);
        if let Err(unsent) = self.full.try_send(shot) {
            // The thread is gone; it has said why.
            let _ = self.back.try_send(unsent.into_inner());
        }
    }

    /// What is skipped is nothing lost: whoever looks gets the newest.
    fn health(&self) -> OutboxHealth {
        OutboxHealth::default()
    }

    fn close(self: Box<Self>, _closing: Closing) -> OutboxHealth {
        self.shared.close();
        OutboxHealth::default()
    }
}

#[cfg(test)]
mod tests;
