//! Locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, also after a thread panicked while it held it. Every critical section of this program leaves its value
/// whole, so such a panic spoils nothing.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_elsewhere_leaves_the_value_usable() {
        let mutex = std::sync::Arc::new(Mutex::new(1));
        let theirs = std::sync::Arc::clone(&mutex);
        let thread = std::thread::spawn(move || {
            let mut value = lock(&theirs);
            *value = 2;
            panic!("while it is locked");
        });
        assert!(thread.join().is_err() && mutex.is_poisoned());
        assert_eq!(*lock(&mutex), 2);
    }
}
