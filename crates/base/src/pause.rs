//! The switch between watching and resting.
//!
//! One [`Pause`] exists per run. Whoever holds it may toggle it; the capture thread looks at it with every turn of its loop,
//! gives the camera up while it is on, and opens it again afterwards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// A shared switch, off at first.
#[derive(Clone, Debug, Default)]
pub struct Pause {
    on: Arc<AtomicBool>,
}

impl Pause {
    /// Turns it over. True where it is on now.
    pub fn toggle(&self) -> bool {
        !self.on.fetch_not(Ordering::SeqCst)
    }

    /// True while the camera should rest.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_toggle_turns_it_over_for_everybody() {
        let pause = Pause::default();
        let other = pause.clone();
        assert!(!other.is_on());
        assert!(pause.toggle());
        assert!(other.is_on());
        assert!(!other.toggle());
        assert!(!pause.is_on());
    }
}
