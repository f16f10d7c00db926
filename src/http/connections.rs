//! The places for connections: how many there are, who has them, and who gives one up when all are taken.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use base::clock::Clock;
use base::sync::lock;

use super::watched::{Standing, Verdict, Watch};

/// Connections that are told why they are not served, at the same time; more are closed without a word.
const REFUSALS: usize = 16;

/// Places beyond the fixed number, for those who come when all are taken: who shows the token stays, who asks whether the
/// program lives is answered, everybody else is told that there is no place.
const KEPT: usize = 16;

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

    /// A place for a new connection. When all are taken, the one that is idle or slow longest gives its up; where there is
    /// none, one of the places that are kept. None where those are taken by holders of the token.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Place> {
        let mut table = self.table();
        if table.is_closed {
            return None;
        }
        let now = self.clock.now();
        let of = |watch: &Watch, standing| watch.standing() == standing;
        let stranger = |watch: &Watch| of(watch, Standing::Stranger).then(|| watch.idleness(now)).flatten();
        let mut standing = Standing::Stranger;
        if table.open.len() - table.guests() >= self.places && !table.give_up(stranger) {
            standing = Standing::Guest;
            // Of the guests, which show nothing, the one that has done so longest goes.
            let guest = |watch: &Watch| of(watch, Standing::Guest).then(|| watch.age(now));
            let is_full = table.open.len() >= self.places + KEPT;
            if is_full && !table.give_up(guest) && !table.give_up(|watch| watch.idleness(now)) {
                return None;
            }
        }
        table.last += 1;
        let (id, watch) = (table.last, Watch::new(Arc::clone(&self.clock), standing));
        table.open.insert(id, Arc::clone(&watch));
        Some(Place { connections: Arc::clone(self), id, watch })
    }

    /// The peer of `watch` has shown the token: as a guest it has the place of one that has not.
    pub(super) fn has_shown_token(&self, watch: &Watch) {
        let mut table = self.table();
        let now = self.clock.now();
        if watch.standing() == Standing::Guest {
            table.give_up(|other| {
                (other.standing() == Standing::Stranger).then(|| (other.idleness(now), other.age(now)))
            });
        }
        watch.set_standing(Standing::Holder);
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

impl Table {
    /// Connections that are in the places that are kept.
    fn guests(&self) -> usize {
        self.open.values().filter(|watch| watch.standing() == Standing::Guest).count()
    }

    /// Cuts the connection that `most` gives the most of, if it gives any; of several the oldest.
    fn give_up<T: Ord>(&mut self, most: impl Fn(&Watch) -> Option<T>) -> bool {
        let candidates = self.open.iter().filter_map(|(&id, watch)| Some((most(watch)?, Reverse(id))));
        let Some((_, Reverse(id))) = candidates.max() else { return false };
        if let Some(watch) = self.open.remove(&id) {
            watch.cut(Verdict::Evicted);
        }
        true
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
    fn where_all_are_busy_strangers_come_and_go_as_guests_and_holders_stay() {
        let (clock, connections) = two();
        let busy: Vec<_> = (0..2).map(|_| connections.admit().unwrap()).collect();
        busy.iter().for_each(|place| place.watch.has_request());
        let guests: Vec<_> = (0..KEPT)
            .map(|_| {
                clock.advance(Duration::from_millis(1));
                connections.admit().unwrap()
            })
            .collect();
        assert!(guests.iter().all(|place| place.watch.standing() == Standing::Guest && !is_evicted(place)));
        // The next has the place of the first of them.
        let next = connections.admit().unwrap();
        assert!(is_evicted(&guests[0]) && !is_evicted(&guests[1]) && !is_evicted(&busy[0]));
        // With the token it has the place of a stranger, though that has a request.
        connections.has_shown_token(&next.watch);
        assert_eq!(busy.iter().filter(|place| is_evicted(place)).count(), 1);
        connections.has_shown_token(&guests[1].watch);
        assert!(busy.iter().all(is_evicted) && next.watch.standing() == Standing::Holder);
        // What is kept for holders is for strangers no more once holders have it.
        [&next, &guests[1]].iter().for_each(|place| place.watch.has_request());
        guests[2..].iter().for_each(|place| connections.has_shown_token(&place.watch));
        guests[2..].iter().for_each(|place| place.watch.has_request());
        let last: Vec<_> = std::iter::from_fn(|| connections.admit()).take(KEPT).collect();
        assert!(last[..KEPT - 2].iter().all(is_evicted) && last[KEPT - 2..].iter().all(|place| !is_evicted(place)));
        assert!(!is_evicted(&next) && guests[1..].iter().all(|place| !is_evicted(place)));
    }

    #[test]
    fn a_stranger_that_takes_nothing_goes_and_a_holder_that_does_so_stays() {
        let (clock, connections) = two();
        let [stranger, holder] = [(); 2].map(|()| connections.admit().unwrap());
        connections.has_shown_token(&holder.watch);
        for place in [&stranger, &holder] {
            place.watch.has_request();
            place.watch.has_answer(false);
            place.watch.is_blocked();
        }
        assert_eq!(connections.admit().unwrap().watch.standing(), Standing::Guest, "not at once");
        clock.advance(Duration::from_secs(1));
        let next = connections.admit().unwrap();
        assert!(is_evicted(&stranger) && !is_evicted(&holder) && next.watch.standing() == Standing::Stranger);
    }

    #[test]
    fn where_no_place_is_left_it_is_told() {
        let (_clock, connections) = two();
        let holders = std::iter::from_fn(|| {
            let place = connections.admit()?;
            connections.has_shown_token(&place.watch);
            place.watch.has_request();
            Some(place)
        });
        let busy: Vec<_> = holders.take(100).collect();
        assert!(connections.admit().is_none() && busy.len() == 2 + KEPT);
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
