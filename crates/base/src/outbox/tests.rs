//! Outboxes before a carrier that does what the test says, and before the test itself in place of the thread.

use super::*;

/// So long nothing takes, however slow the machine is.
const LIMIT: Duration = Duration::from_secs(60);

const WORDS: Words = Words { name: "test", items: "things", slow: "it is too slow", rest_after: None };

/// Carries each item when the test lets it, notes what it carried, and answers with this.
struct Told {
    go_on: Receiver<()>,
    carried: Sender<Vec<u8>>,
    fate: Fate,
}

impl Carrier<Vec<u8>> for Told {
    fn carry(&mut self, item: &mut Vec<u8>) -> Fate {
        let _ = self.go_on.recv();
        let _ = self.carried.send(std::mem::take(item));
        self.fate
    }

    fn finish(&mut self) {
        let _ = self.carried.send(b"finished".to_vec());
    }
}

fn put(outbox: &mut Outbox<Vec<u8>>, text: &str) -> bool {
    outbox.put(|item| item.extend_from_slice(text.as_bytes()))
}

/// Outboxes of bytes.
type Outboxes = Vec<Outbox<Vec<u8>>>;

/// Outboxes with these queues, what lets the carrier go on, and what it carried.
fn start(queues: &[usize], fate: Fate) -> (Outboxes, Sender<()>, Receiver<Vec<u8>>) {
    let ((go, go_on), (carried, taken)) = (bounded(100), bounded(100));
    (Outbox::start(WORDS, queues, Told { go_on, carried, fate }).unwrap(), go, taken)
}

#[test]
fn each_outbox_has_items_of_its_own_and_everything_that_was_taken_is_carried() {
    // A queue of 0 has one item all the same.
    let (outboxes, go, taken) = start(&[0, 2], Fate::Carried);
    let [mut first, mut second] = <[Outbox<_>; 2]>::try_from(outboxes).ok().unwrap();
    assert_eq!([put(&mut first, "a"), put(&mut first, "lost")], [true, false]);
    assert_eq!([put(&mut second, "b"), put(&mut second, "c"), put(&mut second, "lost")], [true, true, false]);
    let lost = OutboxHealth { dropped: 1, gone: false };
    assert_eq!((first.health(), second.health()), (lost, lost));
    drop(go);
    assert_eq!((first.close(Closing::Within(LIMIT)), second.close(Closing::Within(LIMIT))), (lost, lost));
    assert_eq!(taken.iter().collect::<Vec<_>>(), [&b"a"[..], b"b", b"c", b"finished"]);
}

/// Carries and answers with this.
struct Always(Fate);

impl Carrier<Vec<u8>> for Always {
    fn carry(&mut self, item: &mut Vec<u8>) -> Fate {
        item.clear();
        self.0
    }
}

#[test]
fn an_item_that_comes_back_is_taken_again_before_another_is_made_and_a_thread_that_has_ended_is_gone() {
    let (mut outbox, by_hand) = Outbox::by_hand(WORDS, 1);
    for dropped in [1, 2] {
        assert!(put(&mut outbox, "taken"));
        assert!(!put(&mut outbox, "lost"));
        assert_eq!((outbox.health().dropped, outbox.made.load(Ordering::Relaxed)), (dropped, 1));
        assert!(by_hand.carry(&mut Always(Fate::Carried)) && !by_hand.carry(&mut Always(Fate::Carried)));
    }
    // A thread that has ended takes no more.
    drop(by_hand);
    assert!(!put(&mut outbox, "late"));
    assert_eq!(outbox.close(Closing::Within(LIMIT)), OutboxHealth { dropped: 3, gone: true });
}

#[test]
fn drops_that_follow_each_other_are_told_once() {
    let (mut outbox, _by_hand) = Outbox::<Vec<u8>>::by_hand(WORDS, 1);
    let start = Instant::now();
    let is_told = |seconds| outbox.begins_spell(start + Duration::from_secs(seconds));
    assert_eq!([0, 1, 10, 20, 31, 32].map(is_told), [true, false, false, false, true, false]);
}

#[test]
fn what_is_offered_in_vain_is_no_loss() {
    let (mut outbox, by_hand) = Outbox::<Vec<u8>>::by_hand(WORDS, 1);
    let room = outbox.room();
    assert!(room.is_there() && outbox.offer(|_| ()));
    assert!(!room.is_there() && !outbox.offer(|_| ()) && outbox.last_drop.is_none());
    assert!(by_hand.carry(&mut Always(Fate::Carried)) && room.is_there());
    assert_eq!(outbox.health(), OutboxHealth::default());
}

#[test]
fn what_is_lost_is_counted_and_what_is_gone_stays_gone() {
    let (mut outbox, by_hand) = Outbox::by_hand(WORDS, 3);
    for (fate, dropped, gone) in [(Fate::Carried, 0, false), (Fate::Lost, 1, false), (Fate::Gone, 2, true)] {
        assert!(put(&mut outbox, "x") && by_hand.carry(&mut Always(fate)));
        assert_eq!(outbox.health(), OutboxHealth { dropped, gone }, "{fate:?}");
    }
}

#[test]
fn the_last_outbox_waits_for_the_end_of_the_thread_and_the_others_for_their_items_alone() {
    let close = |outbox: Outbox<Vec<u8>>| thread::spawn(move || outbox.close(Closing::Within(Duration::MAX)));
    // Another outbox is open, and the thread goes on.
    let (mut first, by_hand) = Outbox::by_hand(WORDS, 1);
    first.open.fetch_add(1, Ordering::Relaxed);
    assert!(put(&mut first, "a"));
    let closing = close(first);
    thread::sleep(LOOK_EVERY * 3);
    assert!(!closing.is_finished(), "its item is not carried yet");
    assert!(by_hand.carry(&mut Always(Fate::Carried)));
    assert_eq!(closing.join().unwrap(), OutboxHealth::default());
    // The last one has nothing to be carried, but the thread has not finished yet.
    let (last, by_hand) = Outbox::by_hand(WORDS, 1);
    let closing = close(last);
    thread::sleep(LOOK_EVERY * 3);
    assert!(!closing.is_finished(), "the thread has not ended yet");
    drop(by_hand);
    assert_eq!(closing.join().unwrap(), OutboxHealth::default());
}

#[test]
fn an_end_that_may_wait_for_nothing_says_what_is_not_carried() {
    let (mut outbox, _by_hand) = Outbox::by_hand(WORDS, 3);
    (0..3).for_each(|_| assert!(put(&mut outbox, "a")));
    let (told, closed) = bounded(1);
    thread::spawn(move || told.send(outbox.close(Closing::Within(Duration::ZERO))));
    assert_eq!(closed.recv_timeout(LIMIT), Ok(OutboxHealth { dropped: 3, gone: false }));
}

#[test]
fn items_that_lie_unused_are_freed_after_a_rest_and_made_again() {
    struct Resting(Sender<()>);
    impl Carrier<Vec<u8>> for Resting {
        fn carry(&mut self, _item: &mut Vec<u8>) -> Fate {
            Fate::Carried
        }

        fn rest(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (tell, rests) = bounded(10);
    let words = Words { rest_after: Some(Duration::from_millis(20)), ..WORDS };
    let mut outbox = Outbox::start(words, &[2], Resting(tell)).unwrap().pop().unwrap();
    // Before the first item there is nothing to rest from.
    assert_eq!(rests.recv_timeout(Duration::from_millis(100)), Err(RecvTimeoutError::Timeout));
    for _ in 0..2 {
        assert!(put(&mut outbox, "x"));
        rests.recv_timeout(LIMIT).unwrap();
        let start = Instant::now();
        while outbox.made.load(Ordering::Relaxed) > 0 {
            assert!(start.elapsed() < LIMIT);
            thread::yield_now();
        }
        // One rest, not one after the other.
        assert_eq!(rests.recv_timeout(Duration::from_millis(100)), Err(RecvTimeoutError::Timeout));
    }
}

#[test]
fn a_drain_is_stalled_when_nothing_was_carried_for_five_seconds() {
    let start = Instant::now();
    let at = |milliseconds| start + Duration::from_millis(milliseconds);
    let mut progress = Progress { done: 7, since: start };
    for (milliseconds, done, is_stalled) in [
        (0, 7, false),
        (5000, 7, false),
        (5001, 7, true),
        // What is carried begins the time anew.
        (5002, 8, false),
        (10_002, 8, false),
        (10_003, 8, true),
    ] {
        assert_eq!(progress.is_stalled(done, at(milliseconds)), is_stalled, "{milliseconds} ms");
    }
}
