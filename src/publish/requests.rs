//! What a plug may ask of others: a pause, a snapshot.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use base::clock::Instant;
use base::pause::Pause;

use super::PictureGate;

/// What anybody may ask for. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// Closes and opens the camera.
    pub pause: Pause,
    /// A snapshot of the next frame. Where snapshots are turned off nobody hears it.
    pub snapshot: Arc<SnapshotGate>,
}

/// Tells the capture thread when the next picture is due.
#[derive(Debug, Default)]
pub struct SnapshotGate {
    due_nanos: AtomicU64,
}

impl SnapshotGate {
    /// Asks for a picture of the next frame, whatever the interval. The interval counts from that picture on.
    pub fn ask(&self) {
        self.postpone(Instant::default());
    }

    /// The next picture is due at `due`.
    pub(super) fn postpone(&self, due: Instant) {
        self.due_nanos.store(due.as_nanos(), Ordering::Relaxed);
    }
}

impl PictureGate for SnapshotGate {
    fn is_due(&self, now: Instant) -> bool {
        now.as_nanos() >= self.due_nanos.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_picture_that_is_asked_for_does_not_wait_for_the_interval() {
        let gate = SnapshotGate::default();
        let now = Instant::from_nanos(1_000_000_000);
        gate.postpone(now.after(Duration::from_secs(10)));
        assert!(!gate.is_due(now));
        gate.ask();
        assert!(gate.is_due(now));
        gate.postpone(now.after(Duration::from_secs(10)));
        assert!(!gate.is_due(now.after(Duration::from_secs(9))));
    }
}
