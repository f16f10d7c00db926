//! What the panel needs of a board: the [`Board`] trait. The Raspberry Pi's is in `pi`; tests have one of their own.

use crate::config::Pull;

/// Pins by their BCM numbers. Nothing here waits.
pub(super) trait Board: Send {
    /// Makes `pin` an output that has the level `high` from its first moment on.
    ///
    /// # Errors
    /// When the pin can't be had: why, and what to do.
    fn make_output(&mut self, pin: u8, high: bool) -> Result<(), String>;

    /// Makes `pin` an input with a resistor of its own.
    ///
    /// # Errors
    /// When the pin can't be had: why, and what to do.
    fn make_input(&mut self, pin: u8, pull: Pull) -> Result<(), String>;

    /// Sets the level of an output. Other pins are left alone.
    fn write(&mut self, pin: u8, high: bool);

    /// The level of an input. A pin that isn't one is low.
    fn is_high(&self, pin: u8) -> bool;
}

#[cfg(test)]
pub(super) mod fake {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A board that tests look at and press the buttons of, by a clone.
    #[derive(Clone, Default)]
    pub(in super::super) struct FakeBoard {
        busy: Option<u8>,
        fails: Arc<AtomicBool>,
        state: Arc<Mutex<State>>,
    }

    #[derive(Default)]
    struct State {
        outputs: BTreeMap<u8, bool>,
        inputs: BTreeMap<u8, bool>,
        writes: Vec<(u8, bool)>,
    }

    impl FakeBoard {
        /// A board on which somebody else has `pin`.
        pub(in super::super) fn with_busy(pin: u8) -> Self {
            Self { busy: Some(pin), ..Self::default() }
        }

        /// The level of an output; None for other pins.
        pub(in super::super) fn level(&self, pin: u8) -> Option<bool> {
            self.state.lock().unwrap().outputs.get(&pin).copied()
        }

        /// Every level that outputs were given, in order, the first ones included.
        pub(in super::super) fn writes(&self) -> Vec<(u8, bool)> {
            self.state.lock().unwrap().writes.clone()
        }

        /// The next look at an input panics.
        pub(in super::super) fn fail(&self) {
            self.fails.store(true, Ordering::SeqCst);
        }

        /// Gives a pin a level from outside.
        pub(in super::super) fn drive(&self, pin: u8, high: bool) {
            self.state.lock().unwrap().inputs.insert(pin, high);
        }
    }

    impl Board for FakeBoard {
        fn make_output(&mut self, pin: u8, high: bool) -> Result<(), String> {
            if self.busy == Some(pin) {
                return Err(format!("pin {pin} is busy"));
            }
            let mut state = self.state.lock().unwrap();
            state.outputs.insert(pin, high);
            state.writes.push((pin, high));
            Ok(())
        }

        fn make_input(&mut self, pin: u8, pull: Pull) -> Result<(), String> {
            if self.busy == Some(pin) {
                return Err(format!("pin {pin} is busy"));
            }
            // What nobody drives has the resistor's level.
            self.state.lock().unwrap().inputs.entry(pin).or_insert(pull == Pull::Up);
            Ok(())
        }

        fn write(&mut self, pin: u8, high: bool) {
            let mut state = self.state.lock().unwrap();
            assert!(state.outputs.contains_key(&pin), "pin {pin} is no output");
            state.outputs.insert(pin, high);
            state.writes.push((pin, high));
        }

        fn is_high(&self, pin: u8) -> bool {
            assert!(!self.fails.load(Ordering::SeqCst), "the test breaks the board");
            self.state.lock().unwrap().inputs[&pin]
        }
    }
}
