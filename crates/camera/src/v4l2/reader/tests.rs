//! The reader on frames that a test scripts.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::VecDeque;
use std::io;

use base::clock::ManualClock;
use pixels::frame::{Colorimetry, Layout, Size};

use super::*;
use crate::testing::encode;

const MONOTONIC: u32 = sys::V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;

/// Frames that a test scripts; each grey frame is 4x2 pixels of its sequence number.
#[derive(Default)]
struct Script {
    waiting: VecDeque<Result<Filled, Errno>>,
    buffers: Vec<Vec<u8>>,
    requeued: Vec<usize>,
    failed: bool,
    count: usize,
}

impl Script {
    fn frame(&mut self, sequence: u32, flags: u32, bytes: &[u8]) {
        let index = self.buffers.len();
        self.buffers.push(bytes.to_vec());
        self.waiting.push_back(Ok(Filled::new(index, bytes.len(), flags, sequence, (0, 500_000))));
    }

    fn good(&mut self, sequence: u32) {
        self.frame(sequence, MONOTONIC, &[sequence as u8; 8]);
    }
}

impl Queue for Script {
    fn wait(&mut self, _: Duration) -> Result<Ready, Fault> {
        Ok(match (self.waiting.is_empty(), self.failed) {
            (_, true) => Ready::Failed,
            (true, _) => Ready::No,
            _ => Ready::Yes,
        })
    }

    fn dequeue(&mut self) -> Result<Option<Filled>, Fault> {
        let next = self.waiting.pop_front().transpose();
        next.map_err(|errno| Fault::in_call("VIDIOC_DQBUF")(errno.into()))
    }

    fn bytes<'a>(&'a self, filled: &'a Filled) -> &'a [u8] {
        &self.buffers[filled.index()]
    }

    fn requeue(&mut self, filled: Filled) -> Result<(), Fault> {
        self.requeued.push(filled.index());
        Ok(())
    }

    fn count(&self) -> usize {
        match self.count {
            0 => 4,
            count => count,
        }
    }
}

fn grey() -> Pixels {
    let format = PictureFormat { layout: Layout::Grey, size: Size::new(4, 2), color: Colorimetry::default() };
    Pixels::Plain { format, stride: 4 }
}

fn reader(script: Script, pixels: Pixels) -> (Reader<Script>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    clock.advance(Duration::from_secs(1));
    let silent = Duration::from_secs(3);
    let reader = Reader::new(script, pixels, clock.clone(), silent, PathBuf::from("/dev/video9"), "a camera".into());
    (reader, clock)
}

fn poll(reader: &mut Reader<Script>) -> (Result<Poll, CameraError>, Vec<(u8, FrameMeta)>) {
    let mut taken = Vec::new();
    let result = reader.poll(Duration::ZERO, &mut |frame| {
        taken.push((frame.picture.row(0, 0)[0], frame.meta));
    });
    (result, taken)
}

#[test]
fn the_newest_frame_wins_and_the_others_are_counted() {
    let mut script = Script::default();
    (7..10).for_each(|sequence| script.good(sequence));
    let (mut reader, _) = reader(script, grey());
    let (result, taken) = poll(&mut reader);
    assert_eq!(result, Ok(Poll::Taken));
    assert_eq!((taken.len(), taken[0].0, taken[0].1.sequence), (1, 9, 9));
    assert_eq!(reader.take_skipped(), 2);
    assert_eq!(reader.take_skipped(), 0);
    assert_eq!(reader.queue.requeued, [0, 1, 2]);
    assert_eq!(poll(&mut reader).0, Ok(Poll::Idle));
}

#[test]
fn an_endless_stream_does_not_hold_the_drain() {
    let mut script = Script::default();
    (0..9).for_each(|sequence| script.good(sequence));
    let (mut reader, _) = reader(script, grey());
    assert_eq!(poll(&mut reader).1[0].0, 3);
    assert_eq!(poll(&mut reader).1[0].0, 7);
}

#[test]
fn gaps_in_the_drivers_count_are_skipped_frames() {
    let mut script = Script::default();
    [5, 6, 9].into_iter().for_each(|sequence| script.good(sequence));
    let (mut reader, _) = reader(script, grey());
    assert_eq!(poll(&mut reader).1[0].1.sequence, 9);
    // 7 and 8 by the driver, 5 and 6 by us.
    assert_eq!(reader.take_skipped(), 4);
}

#[test]
fn a_faulty_frame_is_given_back_and_told() {
    let mut script = Script::default();
    script.frame(0, MONOTONIC | sys::V4L2_BUF_FLAG_ERROR, &[0; 8]);
    script.frame(1, MONOTONIC, &[0; 7]);
    script.good(2);
    let (mut reader, _) = reader(script, grey());
    let told = |result| match result {
        Ok(Poll::Corrupt(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert!(told(poll(&mut reader).0).contains("V4L2_BUF_FLAG_ERROR"));
    assert!(told(poll(&mut reader).0).contains("short frame of 7 bytes"));
    assert_eq!(reader.queue.requeued, [0, 1]);
    assert_eq!(poll(&mut reader).0, Ok(Poll::Taken));
    assert_eq!(reader.take_skipped(), 0);
}

#[test]
fn a_faulty_frame_behind_a_good_one_costs_neither() {
    let mut script = Script::default();
    script.good(0);
    script.frame(1, MONOTONIC | sys::V4L2_BUF_FLAG_ERROR, &[0; 8]);
    script.good(2);
    let (mut reader, _) = reader(script, grey());
    let (result, taken) = poll(&mut reader);
    assert_eq!((result, taken[0].0), (Ok(Poll::Taken), 0));
    assert!(matches!(poll(&mut reader).0, Ok(Poll::Corrupt(_))));
    assert_eq!(poll(&mut reader).1[0].0, 2);
    assert_eq!(reader.queue.requeued, [1, 0, 2]);
}

/// A plane: the bytes of a row, those from row to row, and its rows.
type Rows = (usize, usize, usize);

/// 4x2 pixels of each layout that needs no decoder: what the driver says of its rows, and the planes that this makes.
const PADDED: [(Layout, usize, &[Rows]); 7] = [
    (Layout::Grey, 6, &[(4, 6, 2)]),
    (Layout::Yuyv, 12, &[(8, 12, 2)]),
    (Layout::Uyvy, 9, &[(8, 9, 2)]),
    (Layout::Rgb, 16, &[(12, 16, 2)]),
    (Layout::Bgr, 16, &[(12, 16, 2)]),
    (Layout::Nv12, 6, &[(4, 6, 2), (4, 6, 1)]),
    (Layout::YU12, 6, &[(4, 6, 2), (2, 3, 1), (2, 3, 1)]),
];

/// A buffer of such planes up to its last pixel; each pixel's byte is the number of its row, padding is 255.
fn padded(planes: &[Rows]) -> Vec<u8> {
    let rows = planes.iter().flat_map(|&(bytes, stride, rows)| std::iter::repeat_n((bytes, stride), rows));
    let mut buffer: Vec<u8> = Vec::new();
    let mut end = 0;
    for (number, (bytes, stride)) in rows.enumerate() {
        buffer.extend(std::iter::repeat_n(number as u8, bytes));
        end = buffer.len();
        buffer.extend(std::iter::repeat_n(255, stride - bytes));
    }
    buffer.truncate(end);
    buffer
}

fn plain(layout: Layout, stride: usize) -> Pixels {
    let format = PictureFormat { layout, size: Size::new(4, 2), color: Colorimetry::default() };
    Pixels::Plain { format, stride }
}

#[test]
fn rows_lie_as_far_apart_as_the_driver_says() {
    for (layout, stride, planes) in PADDED {
        let mut script = Script::default();
        script.frame(0, MONOTONIC, &padded(planes));
        let (mut reader, _) = reader(script, plain(layout, stride));
        let mut rows = Vec::new();
        let result = reader.poll(Duration::ZERO, &mut |frame| {
            for (plane, &(_, _, count)) in planes.iter().enumerate() {
                rows.extend((0..count).map(|y| frame.picture.row(plane, y).to_vec()));
            }
        });
        assert_eq!(result, Ok(Poll::Taken), "{layout:?}");
        let widths = planes.iter().flat_map(|&(bytes, _, rows)| std::iter::repeat_n(bytes, rows));
        let expected: Vec<Vec<u8>> = widths.enumerate().map(|(number, bytes)| vec![number as u8; bytes]).collect();
        assert_eq!(rows, expected, "{layout:?}");
        assert_eq!(reader.format().unwrap().layout, layout);
    }
}

#[test]
fn a_frame_that_ends_before_its_last_padded_row_does_is_corrupt() {
    for (layout, stride, planes) in PADDED {
        let bytes = padded(planes);
        // It would be long enough for rows without padding.
        let pixels: usize = planes.iter().map(|&(bytes, _, rows)| bytes * rows).sum();
        let short = bytes.len() - 1;
        assert!(pixels <= short, "{layout:?}");
        let mut script = Script::default();
        script.frame(0, MONOTONIC, &bytes[..short]);
        let (mut reader, _) = reader(script, plain(layout, stride));
        let (result, taken) = poll(&mut reader);
        let Ok(Poll::Corrupt(reason)) = result else { panic!("{layout:?}: {result:?}") };
        assert!(reason.starts_with(&format!("short frame of {short} bytes: ")) && taken.is_empty(), "{reason}");
        assert_eq!(reader.queue.requeued, [0]);
    }
}

#[test]
fn what_is_no_jpeg_is_corrupt() {
    let mut script = Script::default();
    script.frame(0, MONOTONIC, &[0; 8]);
    script.frame(1, MONOTONIC, &[0xff, 0xd8, 0xff, 0xe0, 1, 2, 3]);
    let pixels = Pixels::Jpeg { decoder: Box::new(JpegDecoder::new().unwrap()), last: None };
    let (mut reader, _) = reader(script, pixels);
    assert_eq!(poll(&mut reader).0, Ok(Poll::Corrupt("a frame of 8 bytes that is no JPEG".into())));
    let (result, taken) = poll(&mut reader);
    assert!(matches!(result, Ok(Poll::Corrupt(_))) && taken.is_empty());
    assert_eq!((reader.queue.requeued.as_slice(), reader.format()), (&[0, 1][..], None));
}

#[test]
fn jpegs_that_are_whole_are_taken_whatever_is_odd_about_them() {
    let jpeg = encode(64, 48, turbojpeg::Subsamp::Sub2x1);
    let other = encode(32, 16, turbojpeg::Subsamp::Sub2x2);
    let bare = &jpeg[..jpeg.len() - 2];
    let comment = crate::testing::with_segment(&[], 0, 0xFE, b"of the next");
    let whole = [
        [&jpeg[..2], &jpeg].concat(),
        [bare, &[0; 4096]].concat(),
        [bare, &[0x55; 608], &comment, &[0xFF, 0xD9]].concat(),
        [bare, &comment].concat(),
        [bare, &other].concat(),
        [&jpeg[..], &other].concat(),
    ];
    let half = &jpeg[..jpeg.len() * 2 / 3];
    let cut = [half.to_vec(), [half, &[0; 30_000]].concat(), [half, &jpeg].concat()];
    let mut script = Script { count: 1, ..Script::default() };
    whole.iter().chain(&cut).enumerate().for_each(|(number, bytes)| script.frame(number as u32, MONOTONIC, bytes));
    let pixels = Pixels::Jpeg { decoder: Box::new(JpegDecoder::new().unwrap()), last: None };
    let (mut reader, _) = reader(script, pixels);
    for number in 0..whole.len() {
        let (result, taken) = poll(&mut reader);
        assert_eq!((result, taken.len()), (Ok(Poll::Taken), 1), "{number}");
        assert_eq!(reader.format().unwrap().size, Size::new(64, 48), "{number}");
    }
    for number in 0..cut.len() {
        let (result, taken) = poll(&mut reader);
        assert!(taken.is_empty(), "{number}");
        assert!(matches!(result, Ok(Poll::Corrupt(reason)) if reason.starts_with("damaged: ")), "{number}");
    }
}

#[test]
fn jpeg_frames_are_decoded_at_the_scale_that_the_model_needs() {
    let jpeg = encode(64, 48, turbojpeg::Subsamp::Sub2x1);
    let mut script = Script::default();
    script.frame(0, MONOTONIC, &jpeg);
    script.frame(1, MONOTONIC, &jpeg[..jpeg.len() / 2]);
    script.frame(2, MONOTONIC, &jpeg);
    let mut decoder = JpegDecoder::new().unwrap();
    decoder.set_wanted(Some(Size::new(32, 24)));
    let (mut reader, _) = reader(script, Pixels::Jpeg { decoder: Box::new(decoder), last: None });
    // The truncated one ends only in the decoder, so it is the newest of the first drain.
    reader.queue.count = 1;
    let results: Vec<_> = (0..3).map(|_| poll(&mut reader).0).collect();
    assert!(matches!(results[..], [Ok(Poll::Taken), Ok(Poll::Corrupt(_)), Ok(Poll::Taken)]), "{results:?}");
    assert_eq!(reader.queue.requeued, [0, 1, 2]);
    let expected =
        PictureFormat { layout: Layout::Planar { h: 2, v: 1 }, size: Size::new(32, 24), color: Colorimetry::JPEG };
    assert_eq!(reader.format(), Some(expected));
}

#[test]
fn silence_becomes_an_error_in_time() {
    let mut script = Script::default();
    script.good(0);
    let (mut reader, clock) = reader(script, grey());
    clock.advance(Duration::from_secs(2));
    assert_eq!(poll(&mut reader).0, Ok(Poll::Taken));
    clock.advance(Duration::from_millis(2999));
    assert_eq!(poll(&mut reader).0, Ok(Poll::Idle));
    clock.advance(Duration::from_millis(1));
    let error = poll(&mut reader).0.unwrap_err();
    assert_eq!(error.source_name, "/dev/video9");
    assert_eq!(error.reason, "silent: no frame for 3.0 s");
}

#[test]
fn a_driver_that_gave_up_is_an_error_and_no_endless_loop() {
    let (mut one, _) = reader(Script { failed: true, ..Script::default() }, grey());
    assert!(poll(&mut one).0.is_err());
    let mut script = Script::default();
    script.waiting.push_back(Err(Errno::NODEV));
    let (mut two, _) = reader(script, grey());
    let error = poll(&mut two).0.unwrap_err();
    assert!(error.to_string().contains("unplugged"), "{error}");
    let expected: io::Error = Errno::NODEV.into();
    assert_eq!(error.reason, format!("VIDIOC_DQBUF: {expected}"));
}

#[test]
fn stamps_of_another_clock_give_way_to_the_dequeue() {
    let dequeued = Instant::from_nanos(100_000_000_000);
    let at = |flags, stamp| captured(&Filled::new(0, 0, flags, 0, stamp), dequeued);
    assert_eq!(at(MONOTONIC, (99, 250_000)), Some(Instant::from_nanos(99_250_000_000)));
    assert_eq!(at(MONOTONIC, (100, 1)), Some(dequeued));
    assert_eq!(at(sys::V4L2_BUF_FLAG_TIMESTAMP_COPY, (99, 0)), None);
    assert_eq!(at(0, (1_700_000_000, 0)), None);
    assert_eq!(at(MONOTONIC, (0, 0)), None);
    assert_eq!(at(MONOTONIC, (-1, 0)), None);
    assert_eq!(at(MONOTONIC, (99, 1_000_000)), None);
    assert_eq!(at(MONOTONIC, (i64::MAX, 0)), None);
}

#[test]
fn the_count_survives_wrapping_restarts_and_drivers_that_never_count() {
    let mut sequence = Sequence::default();
    assert_eq!(sequence.next(u32::MAX - 1), (u64::from(u32::MAX) - 1, 0));
    assert_eq!(sequence.next(1), (u64::from(u32::MAX) + 2, 2));
    assert_eq!(sequence.next(0), (u64::from(u32::MAX) + 3, 0));
    assert_eq!(sequence.next(0), (u64::from(u32::MAX) + 4, 0));
}
