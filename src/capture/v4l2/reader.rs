//! From filled buffers to frames: waits, drains to the newest, checks, decodes JPEG, gives the buffers back, counts.
//!
//! Works on any [`Queue`], so that its tests need no device. Errors end it: who owns it opens the device anew.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use v4l::v4l_sys as sys;

use super::errors::Fault;
use super::ring::{Filled, Queue, Ready};
use crate::capture::jpeg::JpegDecoder;
use crate::capture::{Camera, CameraError, Poll};
use crate::clock::{Clock, Instant};
use crate::frame::{Frame, FrameMeta, Picture, PictureFormat};

/// The last second whose nanoseconds fit into 64 bits.
const LATEST_SECOND: u64 = u64::MAX / 1_000_000_000 - 1;
/// A frame that is older than this when it comes bears no true stamp: the driver left it out or its counter wrapped.
const OLDEST: Duration = Duration::from_secs(60);

/// How the bytes of a buffer become a picture.
pub(super) enum Pixels {
    /// They are one.
    Plain {
        /// What the driver set.
        format: PictureFormat,
        /// Bytes from row to row.
        stride: usize,
    },
    /// They are a JPEG.
    Jpeg {
        /// Boxed: it is much larger than the other variant.
        decoder: Box<JpegDecoder>,
        /// What came out of it last.
        last: Option<PictureFormat>,
    },
}

/// A streaming camera.
pub(super) struct Reader<Q> {
    queue: Q,
    pixels: Pixels,
    /// A JPEG, copied out of the driver's buffer.
    jpeg: Vec<u8>,
    clock: Arc<dyn Clock>,
    device: PathBuf,
    description: String,
    silent_after: Duration,
    last_sign: Instant,
    sequence: Sequence,
    skipped: u64,
    /// A faulty frame that came right behind the one that was handed over.
    faulty: Option<String>,
    odd_stamps: bool,
}

/// Why a [`Reader`] can't go on.
enum Failure {
    Driver(Fault),
    Silent(Duration),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Driver(fault)
    }
}

impl<Q: Queue> Reader<Q> {
    pub(super) fn new(
        queue: Q,
        pixels: Pixels,
        clock: Arc<dyn Clock>,
        silent_after: Duration,
        device: PathBuf,
        description: String,
    ) -> Self {
        let last_sign = clock.now();
        Self {
            queue,
            pixels,
            jpeg: Vec::new(),
            clock,
            device,
            description,
            silent_after,
            last_sign,
            sequence: Sequence::default(),
            skipped: 0,
            faulty: None,
            odd_stamps: false,
        }
    }

    fn poll_queue(&mut self, wait: Duration, take: &mut dyn FnMut(&Frame<'_>)) -> Result<Poll, Failure> {
        if let Some(reason) = self.faulty.take() {
            return Ok(Poll::Corrupt(reason));
        }
        let ready = self.queue.wait(wait)?;
        if ready == Ready::No {
            return self.idle();
        }
        let mut newest: Option<(Filled, FrameMeta)> = None;
        // Bounded, because a camera that is faster than we are would fill the buffers again for ever.
        for _ in 0..self.queue.count().max(1) {
            let Some(filled) = self.queue.dequeue()? else {
                break;
            };
            let meta = self.meta(&filled);
            if let Some(reason) = flaw(&self.pixels, &filled, self.queue.bytes(&filled)) {
                self.queue.requeue(filled)?;
                if newest.is_none() {
                    return Ok(Poll::Corrupt(reason));
                }
                self.faulty = Some(reason);
                break;
            }
            if let Some((older, _)) = newest.replace((filled, meta)) {
                self.skipped += 1;
                self.queue.requeue(older)?;
            }
        }
        match newest {
            Some((filled, meta)) => self.hand_over(filled, meta, take),
            // Polling again would return at once and for ever.
            None if ready == Ready::Failed => Err(Fault::in_call("poll")(Errno::IO.into()).into()),
            None => self.idle(),
        }
    }

    fn hand_over(
        &mut self,
        filled: Filled,
        meta: FrameMeta,
        take: &mut dyn FnMut(&Frame<'_>),
    ) -> Result<Poll, Failure> {
        let bytes = self.queue.bytes(&filled);
        let outcome = match &mut self.pixels {
            Pixels::Plain { format, stride } => match Picture::contiguous(*format, *stride, bytes) {
                Ok(picture) => {
                    take(&Frame { picture, meta });
                    Poll::Taken
                }
                Err(short) => Poll::Corrupt(short.to_string()),
            },
            Pixels::Jpeg { decoder, last } => {
                // Copied once, before it is decoded: every process that may open the camera may also map this buffer and write
                // to it, and the decoder reads the header several times and relies on finding the same.
                self.jpeg.clear();
                self.jpeg.extend_from_slice(bytes);
                // The driver has its buffer back before the frame is decoded.
                self.queue.requeue(filled)?;
                return Ok(match decoder.decode(&self.jpeg) {
                    Ok(decoded) => {
                        *last = Some(decoded.picture.format());
                        take(&Frame { picture: decoded.picture, meta });
                        Poll::Taken
                    }
                    Err(error) => Poll::Corrupt(error.to_string()),
                });
            }
        };
        self.queue.requeue(filled)?;
        Ok(outcome)
    }

    fn idle(&self) -> Result<Poll, Failure> {
        let silent = self.clock.now().since(self.last_sign);
        if silent < self.silent_after {
            return Ok(Poll::Idle);
        }
        Err(Failure::Silent(silent))
    }

    fn meta(&mut self, filled: &Filled) -> FrameMeta {
        let dequeued = self.clock.now();
        self.last_sign = dequeued;
        let (sequence, missed) = self.sequence.next(filled.sequence);
        self.skipped += missed;
        let stamp = captured(filled, dequeued);
        if stamp.is_none() && !self.odd_stamps {
            self.odd_stamps = true;
            log::warn!(
                "{}: the driver's time stamps are not of the monotonic clock; latency counts from the dequeue",
                self.device.display()
            );
        }
        FrameMeta { sequence, captured: stamp.unwrap_or(dequeued), dequeued }
    }
}

impl<Q: Queue> Camera for Reader<Q> {
    fn poll(&mut self, wait: Duration, take: &mut dyn FnMut(&Frame<'_>)) -> Result<Poll, CameraError> {
        self.poll_queue(wait, take).map_err(|failure| match failure {
            Failure::Driver(fault) => fault.into_camera_error(&self.device),
            Failure::Silent(time) => CameraError::retry(
                self.device.display().to_string(),
                format!("silent: no frame for {:.1} s", time.as_secs_f64()),
                "check cable and power supply; a camera that is slower on purpose needs a longer limit",
            ),
        })
    }

    fn describe(&self) -> String {
        self.description.clone()
    }

    fn format(&self) -> Option<PictureFormat> {
        match &self.pixels {
            Pixels::Plain { format, .. } => Some(*format),
            Pixels::Jpeg { last, .. } => *last,
        }
    }

    fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }
}

/// Why a filled buffer holds no usable frame, as far as that shows without decoding it.
fn flaw(pixels: &Pixels, filled: &Filled, bytes: &[u8]) -> Option<String> {
    if filled.flags & sys::V4L2_BUF_FLAG_ERROR != 0 {
        return Some("the driver marked the frame as faulty (V4L2_BUF_FLAG_ERROR)".into());
    }
    match pixels {
        Pixels::Plain { format, stride } => {
            let short = Picture::contiguous(*format, *stride, bytes).err();
            short.map(|short| format!("short frame of {} bytes: {short}", filled.used))
        }
        Pixels::Jpeg { .. } if bytes.starts_with(&[0xff, 0xd8]) => None,
        Pixels::Jpeg { .. } => Some(format!("a frame of {} bytes that is no JPEG", filled.used)),
    }
}

/// When the picture was taken, if the driver's stamp is of the monotonic clock.
fn captured(filled: &Filled, dequeued: Instant) -> Option<Instant> {
    if filled.flags & sys::V4L2_BUF_FLAG_TIMESTAMP_MASK != sys::V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC {
        return None;
    }
    let seconds = u64::try_from(filled.stamp.0).ok().filter(|seconds| *seconds <= LATEST_SECOND)?;
    let microseconds = u64::try_from(filled.stamp.1).ok().filter(|microseconds| *microseconds < 1_000_000)?;
    // Some drivers stamp a little ahead of the clock: no frame was taken after it came.
    let stamp = Instant::from_timeval(seconds, microseconds).min(dequeued);
    (dequeued.since(stamp) <= OLDEST).then_some(stamp)
}

/// The driver's 32-bit count of frames made a 64-bit one, with what is missing between two frames.
#[derive(Debug, Default)]
struct Sequence {
    last: Option<(u32, u64)>,
}

impl Sequence {
    /// A larger gap is no loss: the driver counts from the start again, or doesn't count at all.
    const LARGEST_GAP: u32 = 100_000;

    /// Number of this frame, and how many frames the driver dropped before it.
    fn next(&mut self, raw: u32) -> (u64, u64) {
        let (number, missed) = match self.last {
            None => (u64::from(raw), 0),
            Some((last, number)) => {
                let step = raw.wrapping_sub(last);
                let missed = if (1..=Self::LARGEST_GAP).contains(&step) { u64::from(step) - 1 } else { 0 };
                (number + 1 + missed, missed)
            }
        };
        self.last = Some((raw, number));
        (number, missed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::capture::jpeg::tests::encode;
    use crate::clock::ManualClock;
    use crate::frame::{Colorimetry, Layout, Size};
    use std::collections::VecDeque;
    use std::io;

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
        let reader =
            Reader::new(script, pixels, clock.clone(), silent, PathBuf::from("/dev/video9"), "a camera".into());
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
}
