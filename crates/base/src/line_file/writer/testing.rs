//! Inlets without a thread, for tests of this crate and of others.
#![allow(clippy::unwrap_used)]

use super::*;

/// An inlet in place of whose thread the test takes the lines, and says when that has ended.
pub(super) fn by_hand(queue: usize) -> (Inlet, Receiver<Line>, Sender<()>) {
    let ((full, lines), (back, free), (finish, finished)) = (bounded(queue), bounded(queue), bounded(0));
    let (counts, open) = (Arc::default(), Arc::new(AtomicUsize::new(1)));
    let (made, dropped, said) = Default::default();
    (Inlet { name: "test", full, free, back, made, queue, dropped, said, counts, open, finished }, lines, finish)
}

/// An inlet whose lines are not written: each comes out with whether it is to be synced.
pub fn detached(queue: usize) -> (Inlet, impl Iterator<Item = (String, bool)>) {
    let (inlet, lines, _) = by_hand(queue);
    let next = move || lines.try_recv().ok();
    (inlet, std::iter::from_fn(next).map(|line| (String::from_utf8(line.bytes).unwrap(), line.is_synced)))
}
