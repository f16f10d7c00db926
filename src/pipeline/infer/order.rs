//! Frames leave in the order in which they were taken, whichever lane was faster.

use crate::mailbox::{Outlet, Put};
use crate::pipeline::{Pool, ResultSlot};
use crate::shutdown::Shutdown;
use crate::telemetry::Counters;

/// What lanes hand their results to.
pub(super) struct Order {
    outlet: Outlet<ResultSlot>,
    results: Pool<ResultSlot>,
    /// The ticket whose turn it is.
    next: u64,
    /// Those that came before their turn. There are never more than there are result slots.
    early: Vec<(u64, Option<ResultSlot>)>,
}

impl Order {
    /// `most` is how many results exist.
    pub(super) fn new(outlet: Outlet<ResultSlot>, results: Pool<ResultSlot>, most: usize) -> Self {
        Self { outlet, results, next: 0, early: Vec::with_capacity(most) }
    }

    /// The frame with `ticket` is done; without a result it failed, and those behind it no longer wait.
    pub(super) fn finish(&mut self, ticket: u64, result: Option<ResultSlot>, counters: &Counters, shutdown: &Shutdown) {
        if ticket != self.next {
            self.early.push((ticket, result));
            return;
        }
        self.leave(result, counters, shutdown);
        while let Some(place) = self.early.iter().position(|(ticket, _)| *ticket == self.next) {
            let (_, result) = self.early.swap_remove(place);
            self.leave(result, counters, shutdown);
        }
    }

    fn leave(&mut self, result: Option<ResultSlot>, counters: &Counters, shutdown: &Shutdown) {
        self.next += 1;
        let Some(result) = result else { return };
        match self.outlet.put(result, shutdown) {
            Put::Stored => {}
            Put::Replaced(old) => {
                Counters::count(&counters.replaced);
                self.results.give_back(old);
            }
            Put::Closed(back) => self.results.give_back(back),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{mailbox, Delivery, Inlet, Take};
    use std::time::Duration;

    fn order() -> (Order, Inlet<ResultSlot>) {
        let (outlet, inlet) = mailbox(Delivery::Newest, 8);
        (Order::new(outlet, Pool::try_filled(8, || Ok(ResultSlot::new(0))).unwrap(), 8), inlet)
    }

    fn result(sequence: u64) -> Option<ResultSlot> {
        let mut slot = ResultSlot::new(0);
        slot.about.meta.sequence = sequence;
        Some(slot)
    }

    fn left(inlet: &Inlet<ResultSlot>) -> Vec<u64> {
        let shutdown = Shutdown::default();
        std::iter::from_fn(|| match inlet.take(Duration::ZERO, &shutdown) {
            Take::Item(slot) => Some(slot.about.meta.sequence),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn results_wait_for_their_turn() {
        let (mut order, inlet) = order();
        let (counters, shutdown) = (Counters::default(), Shutdown::default());
        let mut finish = |ticket, result| order.finish(ticket, result, &counters, &shutdown);
        finish(2, result(2));
        finish(1, result(1));
        assert_eq!(left(&inlet), [0u64; 0]);
        finish(0, result(0));
        assert_eq!(left(&inlet), [0, 1, 2]);
        finish(3, result(3));
        assert_eq!(left(&inlet), [3]);
    }

    #[test]
    fn a_frame_that_failed_holds_nobody_up() {
        let (mut order, inlet) = order();
        let (counters, shutdown) = (Counters::default(), Shutdown::default());
        let mut finish = |ticket, result| order.finish(ticket, result, &counters, &shutdown);
        finish(1, result(1));
        finish(2, None);
        finish(3, result(3));
        finish(0, None);
        assert_eq!(left(&inlet), [1, 3]);
    }
}
