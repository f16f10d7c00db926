//! Outboxes without a thread, for tests of this crate and of others.

use super::*;

impl<T: Default + Send + 'static> Outbox<T> {
    /// An outbox in place of whose thread the test carries the items.
    pub fn by_hand(words: Words, queue: usize) -> (Self, ByHand<T>) {
        let ((full, items), (back, free), (finish, finished)) = (bounded(queue), bounded(queue), bounded(0));
        let (counts, open) = (Arc::default(), Arc::new(AtomicUsize::new(1)));
        let (made, dropped, last_drop) = Default::default();
        let outbox = Self { words, full, free, back, made, queue, dropped, last_drop, counts, open, finished };
        (outbox, ByHand { items, _finish: finish })
    }
}

/// Stands in for the thread; when it is dropped, the thread has ended.
#[derive(Debug)]
pub struct ByHand<T> {
    items: Receiver<Item<T>>,
    _finish: Sender<()>,
}

impl<T> ByHand<T> {
    /// Carries the next item; false where none waits.
    pub fn carry(&self, carrier: &mut impl Carrier<T>) -> bool {
        let Ok(item) = self.items.try_recv() else { return false };
        carry(carrier, item);
        true
    }
}
