//! Inlets before a file and before a pipe that nobody reads yet.

use std::path::Path;
use std::thread;
use std::time::Duration;

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
    // Until somebody reads the pipe no buffer comes back.
    let inlets = Writer::start(&place(&path, SyncPolicy::Never), &[1, 2]).unwrap();
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
fn a_buffer_that_comes_back_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l");
    let mut target = Target::open(&place(&path, SyncPolicy::Never)).unwrap();
    let mut line = Line::default();
    for text in ["first\n", "second\n"] {
        line.bytes.extend_from_slice(text.as_bytes());
        assert_eq!(target.carry(&mut line), Fate::Carried);
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "first\nsecond\n");
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
        let mut line = Line { bytes: b"x\n".to_vec(), is_synced };
        let was_synced = target.is_synced_by(|target| assert_eq!(target.carry(&mut line), Fate::Carried));
        assert_eq!(was_synced, expected, "{is_synced} {policy:?}");
    }
    let (mut inlet, mut lines) = detached(2);
    assert!(inlet.put(true, |line| line.push(b'x')) && put(&mut inlet, "y"));
    assert_eq!(
        [lines.next(), lines.next(), lines.next()],
        [Some(("x\n".into(), true)), Some(("y\n".into(), false)), None]
    );
}
