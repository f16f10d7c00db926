//! The places for connections: how many there are, who has them, and who gives one up when all are taken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use base::clock::Clock;
use base::sync::lock;

use super::watched::{Verdict, Watch};

/// Connections that are told why they are not served, at the same time; more are closed without a word.
const REFUSALS: usize = 16;

/// A fixed number of places.
pub(super) struct Connections {
    places: usize,
    clock: Arc<dyn Clock>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    open: HashMap<u64, Arc<Watch>>,
    last: u64,
    refusals: usize,
    is_closed: bool,
}

impl Connections {
    pub(super) fn new(places: usize, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { places, clock, table: Mutex::default() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    /// A place for a new connection. When all are taken, the one that is idle longest gives its up; None where none is idle.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Place> {
        let mut table = self.table();
        if table.is_closed {
            return None;
        }
        if table.open.len() >= self.places {
            let now = self.clock.now();
            let idle = table.open.iter().filter_map(|(&id, watch)| Some((watch.idleness(now)?, id)));
            let (_, id) = idle.max()?;
            if let Some(watch) = table.open.remove(&id) {
                watch.cut(Verdict::Evicted);
            }
        }
        table.last += 1;
        let (id, watch) = (table.last, Watch::new(Arc::clone(&self.clock)));
        table.open.insert(id, Arc::clone(&watch));
        Some(Place { connections: Arc::clone(self), id, watch })
    }

    /// Leave to tell a connection that there is no place.
    pub(super) fn refusal(self: &Arc<Self>) -> Option<Refusal> {
        let mut table = self.table();
        if table.is_closed || table.refusals >= REFUSALS {
            return None;
        }
        table.refusals += 1;
        Some(Refusal(Arc::clone(self)))
    }

    /// Cuts every connection that is past one of its limits.
    pub(super) fn sweep(&self) {
        let now = self.clock.now();
        self.table().open.values().for_each(|watch| watch.check(now));
    }

    /// Takes no more, and tells all to end.
    pub(super) fn close(&self) {
        let mut table = self.table();
        table.is_closed = true;
        table.open.values().for_each(|watch| watch.cut(Verdict::Stopping));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table().open.is_empty()
    }
}

/// A connection's place, free again when this is dropped.
pub(super) struct Place {
    connections: Arc<Connections>,
    id: u64,
    pub(super) watch: Arc<Watch>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.table().open.remove(&self.id);
    }
}

/// See [`Connections::refusal`].
pub(super) struct Refusal(Arc<Connections>);

impl Drop for Refusal {
    fn drop(&mut self) {
        self.0.table().refusals -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use super::*;
    use base::clock::ManualClock;

    fn two() -> (Arc<ManualClock>, Arc<Connections>) {
        let clock = Arc::new(ManualClock::default());
        (clock.clone(), Connections::new(2, clock))
    }

    fn is_evicted(place: &Place) -> bool {
        pin!(place.watch.is_evicted()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_one_that_is_idle_longest_goes() {
        let (clock, connections) = two();
        let first = connections.admit().unwrap();
        first.watch.is_open();
        clock.advance(Duration::from_secs(1));
        let second = connections.admit().unwrap();
        second.watch.is_open();
        clock.advance(Duration::from_secs(1));
        // It had a request in between, so it is the second that has been idle for longer.
        first.watch.is_open();
        let third = connections.admit().unwrap();
        assert!(is_evicted(&second) && !is_evicted(&first));
        third.watch.has_request();
        assert!(connections.admit().is_some_and(|fourth| is_evicted(&first) && !is_evicted(&fourth)));
        assert!(!is_evicted(&third));
        drop((first, second));
        assert_eq!(connections.table().open.len(), 1, "a place that was given up is not given up twice");
    }

    #[test]
    fn one_without_a_request_goes_before_one_whose_request_is_slow() {
        let (clock, connections) = two();
        let slow = connections.admit().unwrap();
        slow.watch.has_read();
        clock.advance(Duration::from_secs(5));
        let idle = connections.admit().unwrap();
        clock.advance(Duration::from_secs(1));
        let third = connections.admit().unwrap();
        assert!(is_evicted(&idle) && !is_evicted(&slow));
        third.watch.has_request();
        let _fourth = connections.admit().unwrap();
        assert!(is_evicted(&slow) && !is_evicted(&third));
    }

    #[test]
    fn where_all_are_busy_there_is_no_place_until_one_ends() {
        let (_clock, connections) = two();
        let busy: Vec<_> = (0..2).map(|_| connections.admit().unwrap()).collect();
        busy.iter().for_each(|place| place.watch.has_request());
        assert!(connections.admit().is_none());
        let refusals: Vec<_> = std::iter::from_fn(|| connections.refusal()).take(100).collect();
        assert_eq!(refusals.len(), REFUSALS);
        drop((busy, refusals));
        assert!(connections.admit().is_some() && connections.refusal().is_some());
    }

    #[test]
    fn after_the_end_nobody_is_admitted() {
        let (_clock, connections) = two();
        let place = connections.admit().unwrap();
        connections.close();
        assert!(connections.admit().is_none() && connections.refusal().is_none() && !connections.is_empty());
        drop(place);
        assert!(connections.is_empty());
    }
}
