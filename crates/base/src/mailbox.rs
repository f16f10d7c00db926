//! The channel that replaces: a newer item takes the place of an older one that nobody took. It holds one item, or one for
//! each of several takers' fellows that work side by side.
//!
//! Nothing queues up between the stages, so latency can't grow under load; only the frame rate falls. For sources that
//! wait for the pipeline ([`Delivery::Every`]) the same mailbox blocks instead of replacing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{
    bounded, select, Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, TrySendError,
};

use crate::shutdown::{Shutdown, TICK};

/// What happens to an item that nobody has taken when the next one comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The newer one replaces it: live cameras.
    Newest,
    /// The sender waits: sources that go as fast as the pipeline.
    Every,
}

/// The putting end.
#[derive(Debug)]
pub struct Outlet<T> {
    sender: Sender<T>,
    // The same channel's other end, to take an item back that is being replaced. It also keeps the channel connected: an
    // outlet learns of a dead taker through the shutdown token, which a dying thread pulls.
    taker: Receiver<T>,
    delivery: Delivery,
    is_over: Arc<AtomicBool>,
}

/// The taking end.
#[derive(Debug)]
pub struct Inlet<T> {
    receiver: Receiver<T>,
    is_over: Arc<AtomicBool>,
}

/// How a put ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Put<T> {
    /// The item lies in the mailbox, which had room.
    Stored,
    /// The item lies in the mailbox; this one, the oldest there, was not taken in time.
    Replaced(T),
    /// The program stops; the item comes back.
    Closed(T),
}

/// How a take ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Take<T> {
    /// The item.
    Item(T),
    /// Nothing came in time.
    Empty,
    /// The sender is gone and nothing is left.
    Closed,
}

/// A mailbox for `places` items: one, unless results come in bursts.
pub fn mailbox<T>(delivery: Delivery, places: usize) -> (Outlet<T>, Inlet<T>) {
    let (sender, receiver) = bounded(places.max(1));
    let is_over = Arc::new(AtomicBool::new(false));
    let outlet = Outlet { sender, taker: receiver.clone(), delivery, is_over: Arc::clone(&is_over) };
    (outlet, Inlet { receiver, is_over })
}

impl<T> Drop for Outlet<T> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}

impl<T> Outlet<T> {
    /// True once everything was taken. What lies there may still be replaced.
    pub fn is_empty(&self) -> bool {
        self.sender.is_empty()
    }

    /// Puts `item` in. Blocks only for [`Delivery::Every`], and then no longer than until `shutdown`.
    pub fn put(&self, item: T, shutdown: &Shutdown) -> Put<T> {
        match self.delivery {
            Delivery::Newest => self.replace(item),
            Delivery::Every => self.wait(item, shutdown),
        }
    }

    fn replace(&self, mut item: T) -> Put<T> {
        let mut replaced = None;
        loop {
            match self.sender.try_send(item) {
                Ok(()) => return replaced.map_or(Put::Stored, Put::Replaced),
                Err(TrySendError::Disconnected(back)) => return Put::Closed(back),
                Err(TrySendError::Full(back)) => {
                    item = back;
                    // Only this thread puts, so after one take there is room and the loop ends with the next turn.
                    if let Ok(old) = self.taker.try_recv() {
                        replaced = Some(old);
                    }
                }
            }
        }
    }

    fn wait(&self, mut item: T, shutdown: &Shutdown) -> Put<T> {
        while !shutdown.is_pulled() {
            match self.sender.send_timeout(item, TICK) {
                Ok(()) => return Put::Stored,
                Err(SendTimeoutError::Timeout(back)) => item = back,
                Err(SendTimeoutError::Disconnected(back)) => return Put::Closed(back),
            }
        }
        Put::Closed(item)
    }
}

impl<T> Inlet<T> {
    /// True once nothing is left and nothing will come: for who can't take anything now.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst) && self.receiver.is_empty()
    }

    /// Takes the item, waiting at most `wait`, and less when the program stops.
    pub fn take(&self, wait: Duration, shutdown: &Shutdown) -> Take<T> {
        match self.receiver.try_recv() {
            Ok(item) => return Take::Item(item),
            Err(TryRecvError::Disconnected) => return Take::Closed,
            Err(TryRecvError::Empty) => {}
        }
        if shutdown.is_pulled() {
            // The token's channel is ready for ever now; only the mailbox is worth waiting for.
            return match self.receiver.recv_timeout(wait) {
                Ok(item) => Take::Item(item),
                Err(RecvTimeoutError::Timeout) => Take::Empty,
                Err(RecvTimeoutError::Disconnected) => Take::Closed,
            };
        }
        select! {
            recv(self.receiver) -> item => item.map_or(Take::Closed, Take::Item),
            recv(shutdown.channel()) -> _ => Take::Empty,
            default(wait) => Take::Empty,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(5);

    #[test]
    fn a_newer_item_replaces_an_older_one() {
        let (outlet, inlet) = mailbox(Delivery::Newest, 1);
        let shutdown = Shutdown::default();
        assert_eq!(outlet.put(1, &shutdown), Put::Stored);
        assert_eq!(outlet.put(2, &shutdown), Put::Replaced(1));
        assert_eq!(inlet.take(SHORT, &shutdown), Take::Item(2));
        assert_eq!(inlet.take(SHORT, &shutdown), Take::Empty);
    }

    #[test]
    fn with_more_places_the_oldest_is_replaced() {
        let (outlet, inlet) = mailbox(Delivery::Newest, 2);
        let shutdown = Shutdown::default();
        assert_eq!([1, 2].map(|item| outlet.put(item, &shutdown)), [Put::Stored, Put::Stored]);
        assert_eq!(outlet.put(3, &shutdown), Put::Replaced(1));
        drop(outlet);
        assert!(!inlet.is_over());
        assert_eq!([(); 2].map(|()| inlet.take(SHORT, &shutdown)), [Take::Item(2), Take::Item(3)]);
        assert!(inlet.is_over());
    }

    #[test]
    fn every_item_arrives_in_order_when_the_sender_waits() {
        let (outlet, inlet) = mailbox(Delivery::Every, 1);
        let shutdown = Shutdown::default();
        let stop = shutdown.clone();
        let sender = std::thread::spawn(move || {
            for n in 0..200 {
                assert_eq!(outlet.put(n, &stop), Put::Stored);
            }
        });
        let mut seen = Vec::new();
        loop {
            match inlet.take(Duration::from_secs(5), &shutdown) {
                Take::Item(n) => seen.push(n),
                Take::Closed => break,
                Take::Empty => panic!("the sender stalled"),
            }
        }
        sender.join().unwrap();
        assert_eq!(seen, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn after_a_pull_what_lies_there_is_still_taken() {
        for delivery in [Delivery::Newest, Delivery::Every] {
            let (outlet, inlet) = mailbox(delivery, 1);
            let shutdown = Shutdown::default();
            assert!(outlet.is_empty());
            assert_eq!(outlet.put(1, &shutdown), Put::Stored);
            assert!(!outlet.is_empty());
            shutdown.pull();
            assert_eq!(inlet.take(SHORT, &shutdown), Take::Item(1));
            assert_eq!(inlet.take(SHORT, &shutdown), Take::Empty);
            assert!(!inlet.is_over());
            drop(outlet);
            assert_eq!(inlet.take(SHORT, &shutdown), Take::Closed);
            assert!(inlet.is_over());
        }
    }

    #[test]
    fn a_mailbox_has_at_least_one_place() {
        let places = |places| mailbox::<u8>(Delivery::Newest, places).0.sender.capacity();
        assert_eq!([0, 1, 3].map(places), [1, 1, 3].map(Some));
    }

    #[test]
    fn a_pull_frees_a_waiting_sender() {
        let (outlet, _inlet) = mailbox(Delivery::Every, 1);
        let shutdown = Shutdown::default();
        assert_eq!(outlet.put(1, &shutdown), Put::Stored);
        let stop = shutdown.clone();
        let sender = std::thread::spawn(move || outlet.put(2, &stop));
        shutdown.pull();
        assert_eq!(sender.join().unwrap(), Put::Closed(2));
    }
}
