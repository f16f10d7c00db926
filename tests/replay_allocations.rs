//! After its first frames a source allocates nothing more, so that a daemon that runs for months keeps its size.
//! Counts on the Rust side only; what libjpeg-turbo takes and gives back inside a frame is its own.
#![allow(clippy::unwrap_used)]

#[path = "support/counting.rs"]
mod counting;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use base::clock::SystemClock;
use camera::replay::{self, ReplayOptions};
use camera::{pattern, Camera, Poll, Rate};
use pixels::frame::Size;

use counting::ALLOCATIONS;

/// Allocations in `frames` polls that each take a frame.
fn allocations(camera: &mut dyn Camera, frames: usize) -> u64 {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..frames {
        assert_eq!(camera.poll(Duration::ZERO, &mut |_| {}).unwrap(), Poll::Taken);
    }
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

// One test, so that no other thread allocates meanwhile.
#[test]
fn a_source_that_is_warm_allocates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let y4m = dir.path().join("clip.y4m");
    let mut bytes = b"YUV4MPEG2 W64 H48 F25:1 C420mpeg2\n".to_vec();
    for value in 0..20u8 {
        bytes.extend_from_slice(b"FRAME\n");
        bytes.extend(std::iter::repeat_n(value, 64 * 48 * 3 / 2));
    }
    std::fs::write(&y4m, bytes).unwrap();

    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media/walkway.mjpeg");
    let clock = Arc::new(SystemClock);
    for wanted in [None, Some(Size::new(320, 240))] {
        let options = ReplayOptions { rate: Rate::Max, repeat: true, wanted };
        for path in [&clip, &y4m] {
            let mut camera = replay::open(path, &options, clock.clone()).unwrap();
            allocations(&mut *camera, 10);
            // Three times round the clip, over its end as well.
            assert_eq!(allocations(&mut *camera, 450), 0, "{}", camera.describe());
        }
    }
    let mut camera = pattern::open(Size::new(640, 480), Rate::Max, clock).unwrap();
    allocations(&mut *camera, 10);
    assert_eq!(allocations(&mut *camera, 1000), 0);
}
