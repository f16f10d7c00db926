//! The token that every wait takes.
//!
//! One [`Shutdown`] exists per run. Any holder may pull it; every blocking wait of the program either takes the token's
//! channel into its `select!` or has a time limit of at most [`TICK`], after which it looks at the token.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, Sender};

use crate::sync::lock;

/// The longest time a wait may last before it looks at the token again.
pub const TICK: Duration = Duration::from_millis(100);

/// A shared, one-way switch from "running" to "stopping".
#[derive(Clone, Debug)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    stopping: AtomicBool,
    // Nothing is ever sent: dropping the sender wakes every receiver at once.
    sender: Mutex<Option<Sender<()>>>,
    receiver: Receiver<()>,
}

impl Default for Shutdown {
    fn default() -> Self {
        // One place rather than none: a `select!` that blocks on a channel without a place allocates every time.
        let (sender, receiver) = bounded(1);
        Self { inner: Arc::new(Inner { stopping: AtomicBool::new(false), sender: Mutex::new(Some(sender)), receiver }) }
    }
}

impl Shutdown {
    /// Asks everybody to stop. Further calls change nothing.
    pub fn pull(&self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
        let mut sender = lock(&self.inner.sender);
        drop(sender.take());
    }

    /// True once somebody pulled.
    pub fn is_pulled(&self) -> bool {
        self.inner.stopping.load(Ordering::SeqCst)
    }

    /// A channel that is disconnected, and therefore ready, once somebody pulled: for `crossbeam_channel::select!`.
    pub fn channel(&self) -> &Receiver<()> {
        &self.inner.receiver
    }

    /// Sleeps for `time`, or less when somebody pulls. True when the program stops.
    pub fn sleep(&self, time: Duration) -> bool {
        match self.inner.receiver.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => self.is_pulled(),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_pull_ends_a_sleep_at_once() {
        let shutdown = Shutdown::default();
        let other = shutdown.clone();
        let start = Instant::now();
        let sleeper = std::thread::spawn(move || other.sleep(Duration::from_secs(60)));
        shutdown.pull();
        assert!(sleeper.join().unwrap());
        assert!(start.elapsed() < Duration::from_secs(30));
        assert!(shutdown.is_pulled());
    }

    #[test]
    fn a_sleep_without_a_pull_says_so() {
        assert!(!Shutdown::default().sleep(Duration::from_millis(1)));
    }
}
