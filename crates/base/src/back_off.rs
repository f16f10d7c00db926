//! Pauses between attempts that fail.

use std::time::Duration;

/// Pauses that start short, double with every failure, and never exceed a longest one.
#[derive(Debug)]
pub struct BackOff {
    first: Duration,
    next: Duration,
    longest: Duration,
}

impl BackOff {
    /// The first pause, unless another is asked for.
    pub const FIRST: Duration = Duration::from_millis(200);

    /// Pauses from 0.2 s up to `longest`.
    pub const fn new(longest: Duration) -> Self {
        Self::starting(Self::FIRST, longest)
    }

    /// Pauses from `first` up to `longest`.
    pub const fn starting(first: Duration, longest: Duration) -> Self {
        Self { first, next: first, longest }
    }

    /// Starts again with the first pause: an attempt has succeeded.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// The pause after an attempt that failed.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next.min(self.longest);
        self.next = pause.saturating_mul(2);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(back_off: &mut BackOff, count: usize) -> Vec<u128> {
        (0..count).map(|_| back_off.pause().as_millis()).collect()
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again_after_a_success() {
        let mut back_off = BackOff::new(Duration::from_secs(1));
        assert_eq!(millis(&mut back_off, 5), [200, 400, 800, 1000, 1000]);
        back_off.reset();
        assert_eq!(millis(&mut back_off, 2), [200, 400]);
        let mut slow = BackOff::starting(Duration::from_secs(5), Duration::from_secs(60));
        assert_eq!(millis(&mut slow, 6), [5000, 10_000, 20_000, 40_000, 60_000, 60_000]);
    }

    #[test]
    fn a_longest_pause_under_the_first_is_every_pause() {
        assert_eq!(millis(&mut BackOff::new(Duration::from_millis(50)), 3), [50, 50, 50]);
        assert_eq!(millis(&mut BackOff::new(Duration::MAX), 60).len(), 60);
    }
}
