//! Inlets before a pipe that nobody reads yet, and before the test itself in place of the writer's thread.

use std::path::Path;

use super::testing::by_hand;
use super::*;
use crate::line_file::SyncPolicy;
use crate::values::{Bytes, Seconds};

/// So long nothing takes, however slow the machine is.
const LIMIT: Duration = Duration::from_secs(60);

fn place(path: &Path, sync: SyncPolicy) -> Place {
    Place {
        name: "test",
        key: "test.path",
        path: path.display().to_string(),
        max_bytes: Bytes(0),
        max_age: Seconds::new(0),
        keep: 0,
        sync,
    }
}

fn put(inlet: &mut Inlet, text: &str) -> bool {
    inlet.put(false, |line| line.extend_from_slice(text.as_bytes()))
}

#[test]
fn each_inlet_has_buffers_of_its_own_and_every_line_that_it_took_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    // Until somebody reads the pipe no buffer comes back. A queue of 0 has one all the same.
    let inlets = Writer::start(&place(&path, SyncPolicy::Never), &[0, 2]).unwrap();
    let [mut first, mut second] = <[Inlet; 2]>::try_from(inlets).ok().unwrap();
    assert_eq!([put(&mut first, "a"), put(&mut first, "lost")], [true, false]);
    assert_eq!([put(&mut second, "b"), put(&mut second, "c"), put(&mut second, "lost")], [true, true, false]);
    let lost = OutboxHealth { dropped: 1, gone: false };
    assert_eq!((first.health(), second.health()), (lost, lost));
    let reader = thread::spawn(move || std::fs::read_to_string(path).unwrap());
    assert_eq!((first.close(Closing::Within(LIMIT)), second.close(Closing::Within(LIMIT))), (lost, lost));
    assert_eq!(reader.join().unwrap(), "a\nb\nc\n");
}

#[test]
fn a_buffer_that_comes_back_is_empty_and_takes_the_next_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l");
    let mut target = Target::open(&place(&path, SyncPolicy::Never)).unwrap();
    let (mut inlet, lines, _finish) = by_hand(1);
    for text in ["first", "second"] {
        assert!(put(&mut inlet, text));
        assert!(!put(&mut inlet, "lost") && inlet.said, "a silence is said once");
        write_line(&mut target, lines.try_recv().unwrap());
    }
    assert!(put(&mut inlet, "third") && !inlet.said && inlet.made == 1);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "first\nsecond\n");
    // Two found no buffer, and the third was not written.
    drop(lines);
    assert_eq!(inlet.close(Closing::Within(Duration::ZERO)), OutboxHealth { dropped: 3, gone: false });
}

#[test]
fn a_line_that_cannot_be_written_or_handed_over_is_lost_once() {
    let mut target = Target::open(&place(Path::new("/dev/full"), SyncPolicy::Never)).unwrap();
    let (mut inlet, lines, finish) = by_hand(4);
    assert!(put(&mut inlet, "no room") && put(&mut inlet, "no room"));
    assert_eq!(inlet.health().dropped, 0);
    lines.try_iter().for_each(|line| write_line(&mut target, line));
    assert_eq!(inlet.health().dropped, 2);
    // A writer that has ended takes no more.
    drop((lines, finish));
    assert!(!put(&mut inlet, "late"));
    assert_eq!(inlet.health().dropped, 3);
    assert_eq!(inlet.close(Closing::Within(LIMIT)), OutboxHealth { dropped: 3, gone: false });
}

#[test]
fn a_line_is_synced_where_it_asks_for_that_and_the_file_has_that() {
    let folder = tempfile::tempdir().unwrap();
    for (is_synced, policy, expected) in [
        (true, SyncPolicy::OnDemand, true),
        (false, SyncPolicy::OnDemand, false),
        (true, SyncPolicy::AtRotation, false),
    ] {
        let mut target = Target::open(&place(&folder.path().join("l"), policy)).unwrap();
        let (mut inlet, lines, _finish) = by_hand(1);
        assert!(inlet.put(is_synced, |line| line.push(b'x')));
        let line = lines.try_recv().unwrap();
        assert_eq!(target.is_synced_by(|target| write_line(target, line)), expected, "{is_synced} {policy:?}");
    }
}

#[test]
fn the_last_inlet_waits_for_the_end_of_the_writer_and_the_others_for_their_lines_alone() {
    let close = |inlet: Inlet| thread::spawn(move || inlet.close(Closing::Within(Duration::MAX)));
    // Another inlet is open, and the writer goes on.
    let (mut first, lines, _goes_on) = by_hand(1);
    first.open.fetch_add(1, Ordering::Relaxed);
    assert!(put(&mut first, "a"));
    let counts = Arc::clone(&first.counts);
    let closing = close(first);
    thread::sleep(LOOK_EVERY * 3);
    assert!(!closing.is_finished(), "its line is not written yet");
    drop(lines);
    counts.written.fetch_add(1, Ordering::Relaxed);
    assert_eq!(closing.join().unwrap(), OutboxHealth::default());
    // The last one has nothing to be written, but the file is not synced yet.
    let (last, _lines, finish) = by_hand(1);
    let closing = close(last);
    thread::sleep(LOOK_EVERY * 3);
    assert!(!closing.is_finished(), "the writer has not ended yet");
    drop(finish);
    assert_eq!(closing.join().unwrap(), OutboxHealth::default());
}

#[test]
fn an_end_that_may_wait_for_nothing_says_what_is_not_written() {
    let (mut inlet, lines, _finish) = by_hand(3);
    (0..3).for_each(|_| assert!(put(&mut inlet, "a")));
    let (told, closed) = bounded(1);
    thread::spawn(move || told.send(inlet.close(Closing::Within(Duration::ZERO))));
    assert_eq!(closed.recv_timeout(LIMIT), Ok(OutboxHealth { dropped: 3, gone: false }));
    drop(lines);
}

#[test]
fn a_drain_is_stalled_when_nothing_was_written_for_five_seconds() {
    let start = Instant::now();
    let at = |milliseconds| start + Duration::from_millis(milliseconds);
    let mut progress = Progress { done: 7, since: start };
    for (milliseconds, done, is_stalled) in [
        (0, 7, false),
        (5000, 7, false),
        (5001, 7, true),
        // What is written begins the time anew.
        (5002, 8, false),
        (10_002, 8, false),
        (10_003, 8, true),
    ] {
        assert_eq!(progress.is_stalled(done, at(milliseconds)), is_stalled, "{milliseconds} ms");
    }
}
