//! Frames leave in the order in which they were taken, whichever lane was faster.

use base::mailbox::{Outlet, Put};
use base::shutdown::Shutdown;

use crate::pipeline::{Pool, ResultSlot};
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
    use crate::pipeline::testing::{pool, result_slot};
    use base::mailbox::{mailbox, Delivery, Inlet, Take};
    use std::time::Duration;

    /// An order of 8 results, in front of a mailbox with so many places.
    struct Rig {
        order: Order,
        results: Pool<ResultSlot>,
        inlet: Inlet<ResultSlot>,
        counters: Counters,
        shutdown: Shutdown,
    }

    impl Rig {
        fn new(delivery: Delivery, places: usize) -> Self {
            let (outlet, inlet) = mailbox(delivery, places);
            let results = pool(8, result_slot);
            let order = Order::new(outlet, results.clone(), 8);
            Self { order, results, inlet, counters: Counters::default(), shutdown: Shutdown::default() }
        }

        /// The frame with this ticket, which is its number as well, is done.
        fn finish(&mut self, ticket: u64) {
            let mut result = self.results.take(Duration::ZERO).unwrap();
            result.about.meta.sequence = ticket;
            self.order.finish(ticket, Some(result), &self.counters, &self.shutdown);
        }

        fn fail(&mut self, ticket: u64) {
            self.order.finish(ticket, None, &self.counters, &self.shutdown);
        }

        /// What has left, whose slots go back as when it was published.
        fn left(&self) -> Vec<u64> {
            std::iter::from_fn(|| match self.inlet.take(Duration::ZERO, &self.shutdown) {
                Take::Item(slot) => {
                    let sequence = slot.about.meta.sequence;
                    self.results.give_back(slot);
                    Some(sequence)
                }
                _ => None,
            })
            .collect()
        }

        /// Result slots that nobody has.
        fn free(&self) -> usize {
            self.results.take.len()
        }
    }

    #[test]
    fn results_wait_for_their_turn() {
        let mut rig = Rig::new(Delivery::Newest, 8);
        rig.finish(2);
        rig.finish(1);
        assert_eq!(rig.left(), [0u64; 0]);
        rig.finish(0);
        assert_eq!(rig.left(), [0, 1, 2]);
        rig.finish(3);
        assert_eq!(rig.left(), [3]);
        assert_eq!((rig.counters.read().replaced, rig.free()), (0, 8));
    }

    #[test]
    fn a_frame_that_failed_holds_nobody_up() {
        let mut rig = Rig::new(Delivery::Newest, 8);
        rig.finish(1);
        rig.fail(2);
        rig.finish(3);
        rig.fail(0);
        assert_eq!(rig.left(), [1, 3]);
        assert_eq!(rig.free(), 8);
    }

    #[test]
    fn a_result_that_is_replaced_is_counted_and_its_slot_given_back() {
        let mut rig = Rig::new(Delivery::Newest, 2);
        for (ticket, (replaced, free)) in [(0, 7), (0, 6), (1, 6), (2, 6)].into_iter().enumerate() {
            rig.finish(ticket as u64);
            assert_eq!((rig.counters.read().replaced, rig.free()), (replaced, free), "after {ticket}");
        }
        assert_eq!(rig.left(), [2, 3], "the oldest go first");
        // Also those that leave together, when the first of them comes.
        for ticket in [7, 6, 5, 4] {
            rig.finish(ticket);
        }
        assert_eq!((rig.counters.read().replaced, rig.free()), (4, 6));
        assert_eq!(rig.left(), [6, 7]);
    }

    #[test]
    fn a_result_that_nobody_takes_before_the_stop_is_given_back_and_not_replaced() {
        let mut rig = Rig::new(Delivery::Every, 1);
        rig.finish(0);
        rig.shutdown.pull();
        rig.finish(1);
        assert_eq!((rig.counters.read().replaced, rig.free()), (0, 7));
        assert_eq!(rig.left(), [0]);
    }
}
