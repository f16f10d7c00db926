//! Gives a source without a clock of its own (files, the test pattern) the beat of a live camera.
//! What a frame is and where it comes from is left to the [`Sequence`].

use std::sync::Arc;
use std::time::Duration;

use base::clock::{Clock, Instant};
use pixels::frame::{Frame, FrameMeta, Picture, PictureFormat};

use super::{Camera, CameraError, Poll};
use crate::Rate;

/// Rate of a source that doesn't say its own: raw MJPEG, pictures.
pub const DEFAULT_FPS: f64 = 10.0;

/// Frames per second beyond which a rate is taken for a mistake.
const MAX_FPS: f64 = 1000.0;

/// At [`Rate::Max`], the pause between the corrupt frames of a source that repeats and has no good one.
const BARREN_PAUSE: Duration = Duration::from_millis(100);

/// What a step through a source came upon.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Advance {
    /// A frame, not yet decoded.
    Ready,
    /// A place where a frame should be, but none that can be used; the text says which and why.
    Corrupt(String),
    /// Nothing more.
    End,
}

/// Frames in a fixed order.
pub(super) trait Sequence: Send {
    /// Steps to the next frame without decoding it. The frame before stays readable if this returns [`Advance::End`].
    ///
    /// # Errors
    /// When the source can't go on.
    fn advance(&mut self) -> Result<Advance, CameraError>;

    /// Decodes the frame that [`Self::advance`] stepped to.
    ///
    /// # Errors
    /// When it is corrupt; the text says which frame it is.
    fn picture(&mut self) -> Result<Picture<'_>, String>;

    /// Goes back to before the first frame.
    ///
    /// # Errors
    /// When the source can't.
    fn rewind(&mut self) -> Result<(), CameraError>;

    /// Frames per second as the source says itself.
    fn native_fps(&self) -> Option<f64>;

    /// File name or the like, for messages.
    fn name(&self) -> String;

    /// What it is, for the log: "MJPEG clip x.mjpeg, 640x480".
    fn describe(&self) -> String;

    /// Format of the frames where all have the same.
    fn format(&self) -> Option<PictureFormat>;
}

/// A [`Sequence`] as a [`Camera`].
pub(super) struct Paced<S> {
    source: S,
    clock: Arc<dyn Clock>,
    /// Nanoseconds from frame to frame; `None` at [`Rate::Max`].
    period: Option<f64>,
    repeat: bool,
    /// When frame 0 was due.
    start: Option<Instant>,
    /// Number of the frame that comes next.
    next: u64,
    skipped: u64,
    ended: bool,
    /// Frames of this pass through the source, and whether one of them was handed over.
    in_pass: u64,
    pass_is_good: bool,
    /// At [`Rate::Max`]: a whole pass gave nothing, so the next attempt waits until this time.
    pause_until: Option<Instant>,
    is_barren: bool,
}

impl<S: Sequence> Paced<S> {
    /// # Errors
    /// When `rate` makes no sense.
    pub(super) fn new(source: S, rate: Rate, repeat: bool, clock: Arc<dyn Clock>) -> Result<Self, CameraError> {
        let fps = match rate {
            Rate::Max => None,
            Rate::Native => Some(source.native_fps().unwrap_or(DEFAULT_FPS)),
            Rate::Fps(fps) => Some(fps),
        };
        if let Some(fps) = fps.filter(|fps| !(*fps > 0.0 && *fps <= MAX_FPS)) {
            let reason = format!("a rate of {fps} frames per second is not possible");
            let hint = format!("more than 0, at most {MAX_FPS}, or max");
            return Err(CameraError::config(source.name(), reason, hint));
        }
        Ok(Self {
            source,
            clock,
            period: fps.map(|fps| 1e9 / fps),
            repeat,
            start: None,
            next: 0,
            skipped: 0,
            ended: false,
            in_pass: 0,
            pass_is_good: false,
            pause_until: None,
            is_barren: false,
        })
    }

    /// When frame `index` is due. Computed from the start every time, so rounding doesn't add up.
    fn due(start: Instant, period: f64, index: u64) -> Instant {
        start.after(Duration::from_nanos((index as f64 * period) as u64))
    }

    /// Waits until the next frame is due. `None` when that takes longer than `wait`.
    fn wait_until_due(&mut self, wait: Duration) -> Option<()> {
        let now = self.clock.now();
        let start = *self.start.get_or_insert(now);
        let due = match self.period {
            Some(period) => Self::due(start, period, self.next),
            None => self.pause_until.unwrap_or(now),
        };
        if due > now {
            std::thread::sleep(due.since(now).min(wait));
            if self.clock.now() < due {
                return None;
            }
        }
        Some(())
    }

    /// Frames after the next one that are due as well.
    fn frames_late(&self, now: Instant) -> u64 {
        let (Some(period), Some(start)) = (self.period, self.start) else { return 0 };
        let newest = (now.since(start).as_nanos() as f64 / period) as u64;
        newest.saturating_sub(self.next)
    }

    /// One step, back to the first frame after the last where the source repeats.
    fn step(&mut self) -> Result<Advance, CameraError> {
        loop {
            let advance = self.source.advance()?;
            if advance != Advance::End {
                self.next += 1;
                self.in_pass += 1;
                return Ok(advance);
            }
            if !self.repeat {
                return Ok(Advance::End);
            }
            if self.in_pass == 0 {
                return Err(CameraError::retry(self.source.name(), "there is no frame in it any more", ""));
            }
            self.is_barren = !self.pass_is_good;
            (self.in_pass, self.pass_is_good) = (0, false);
            self.source.rewind()?;
        }
    }

    fn corrupt(&mut self, reason: String) -> Poll {
        self.pause_until = self.is_barren.then(|| self.clock.now().after(BARREN_PAUSE));
        Poll::Corrupt(reason)
    }
}

impl<S: Sequence> Camera for Paced<S> {
    fn poll(&mut self, wait: Duration, take: &mut dyn FnMut(&Frame<'_>)) -> Result<Poll, CameraError> {
        if self.ended {
            return Ok(Poll::End);
        }
        let entered = self.clock.now();
        if self.wait_until_due(wait).is_none() {
            return Ok(Poll::Idle);
        }
        let mut late = self.frames_late(self.clock.now());
        let mut has_frame = false;
        loop {
            match self.step()? {
                Advance::Ready => {}
                Advance::Corrupt(reason) => {
                    self.skipped += u64::from(has_frame);
                    return Ok(self.corrupt(reason));
                }
                Advance::End => {
                    self.ended = true;
                    if !has_frame {
                        return Ok(Poll::End);
                    }
                    // The last frame was passed over for a newer one, but there is none.
                    break;
                }
            }
            self.skipped += u64::from(has_frame);
            has_frame = true;
            // A source slower than its own rate must still hand over frames, and this call must end in time.
            if late == 0 || self.clock.now().since(entered) > wait {
                break;
            }
            late -= 1;
        }

        let sequence = self.next - 1;
        let dequeued = self.clock.now();
        let captured = match (self.period, self.start) {
            (Some(period), Some(start)) => Self::due(start, period, sequence),
            _ => dequeued,
        };
        match self.source.picture() {
            Ok(picture) => {
                take(&Frame { picture, meta: FrameMeta { sequence, captured, dequeued } });
                self.pass_is_good = true;
                (self.is_barren, self.pause_until) = (false, None);
                Ok(Poll::Taken)
            }
            Err(reason) => Ok(self.corrupt(reason)),
        }
    }

    fn describe(&self) -> String {
        let source = self.source.describe();
        let repeat = if self.repeat { ", repeated" } else { "" };
        match self.period {
            Some(period) if period > 1e9 => format!("{source}, a frame every {} s{repeat}", period / 1e9),
            Some(period) => format!("{source}, {} fps{repeat}", (1e11 / period).round() / 100.0),
            None => format!("{source}, as fast as it goes{repeat}"),
        }
    }

    fn format(&self) -> Option<PictureFormat> {
        self.source.format()
    }

    fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use base::clock::{ManualClock, SystemClock};
    use pixels::frame::{Colorimetry, Layout, Size};

    /// What a poll gave: the sequence number of a frame, or how it ended without one.
    pub(crate) fn poll_once(camera: &mut dyn Camera) -> Result<FrameMeta, Poll> {
        let mut meta = None;
        match camera.poll(Duration::ZERO, &mut |frame| meta = Some(frame.meta)).unwrap() {
            Poll::Taken => Ok(meta.unwrap()),
            other => Err(other),
        }
    }

    /// Frames of one pixel that holds the frame's number; some are broken.
    struct Numbers {
        at: usize,
        count: usize,
        broken: Vec<usize>,
        undecodable: Vec<usize>,
        decoded: Arc<std::sync::Mutex<Vec<usize>>>,
        pixel: [u8; 1],
    }

    impl Sequence for Numbers {
        fn advance(&mut self) -> Result<Advance, CameraError> {
            if self.at == self.count {
                return Ok(Advance::End);
            }
            self.at += 1;
            if self.broken.contains(&(self.at - 1)) {
                return Ok(Advance::Corrupt(format!("frame {}", self.at - 1)));
            }
            Ok(Advance::Ready)
        }

        fn picture(&mut self) -> Result<Picture<'_>, String> {
            let index = self.at - 1;
            self.decoded.lock().unwrap().push(index);
            if self.undecodable.contains(&index) {
                return Err(format!("frame {index}"));
            }
            self.pixel = [index as u8];
            Picture::contiguous(self.format().unwrap(), 1, &self.pixel).map_err(|e| e.to_string())
        }

        fn rewind(&mut self) -> Result<(), CameraError> {
            self.at = 0;
            Ok(())
        }

        fn native_fps(&self) -> Option<f64> {
            None
        }

        fn name(&self) -> String {
            "numbers".to_owned()
        }

        fn describe(&self) -> String {
            "numbers".to_owned()
        }

        fn format(&self) -> Option<PictureFormat> {
            let color = Colorimetry::default();
            Some(PictureFormat { layout: Layout::Grey, size: Size::new(1, 1), color })
        }
    }

    fn numbers(count: usize) -> Numbers {
        let decoded = Arc::default();
        Numbers { at: 0, count, broken: Vec::new(), undecodable: Vec::new(), decoded, pixel: [0] }
    }

    fn paced(source: Numbers, rate: Rate, repeat: bool) -> (Paced<Numbers>, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(5));
        (Paced::new(source, rate, repeat, clock.clone()).unwrap(), clock)
    }

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn frames_come_when_they_are_due_and_not_before() {
        let (mut camera, clock) = paced(numbers(3), Rate::Fps(100.0), false);
        let start = clock.now();
        assert_eq!(poll_once(&mut camera).unwrap().captured, start);
        assert_eq!(poll_once(&mut camera), Err(Poll::Idle));
        clock.advance(MS(9));
        assert_eq!(poll_once(&mut camera), Err(Poll::Idle));
        clock.advance(MS(4));
        let meta = poll_once(&mut camera).unwrap();
        assert_eq!((meta.sequence, meta.captured, meta.dequeued), (1, start.after(MS(10)), start.after(MS(13))));
        // Not 10 ms after the last one was taken, but 20 ms after the start.
        clock.advance(MS(7));
        assert_eq!(poll_once(&mut camera).unwrap().sequence, 2);
        clock.advance(MS(10));
        assert_eq!(poll_once(&mut camera), Err(Poll::End));
        assert_eq!(poll_once(&mut camera), Err(Poll::End));
        assert_eq!(camera.take_skipped(), 0);
    }

    #[test]
    fn an_odd_rate_does_not_drift() {
        let (mut camera, clock) = paced(numbers(200), Rate::Fps(30_000.0 / 1001.0), true);
        let start = clock.now();
        poll_once(&mut camera).unwrap();
        clock.advance(Duration::from_secs(1001) + MS(1));
        let meta = poll_once(&mut camera).unwrap();
        assert_eq!(meta.sequence, 30_000);
        assert!(start.after(Duration::from_secs(1001)).since(meta.captured) < Duration::from_micros(1));
    }

    #[test]
    fn a_late_consumer_gets_the_newest_and_the_rest_is_never_decoded() {
        let source = numbers(10);
        let decoded = source.decoded.clone();
        let (mut camera, clock) = paced(source, Rate::Native, false);
        assert_eq!(poll_once(&mut camera).unwrap().sequence, 0);
        clock.advance(MS(450));
        let meta = poll_once(&mut camera).unwrap();
        assert_eq!((meta.sequence, meta.dequeued.since(meta.captured)), (4, MS(50)));
        assert_eq!((camera.take_skipped(), camera.take_skipped()), (3, 0));
        // Past the end: the last frame is the newest there is.
        clock.advance(Duration::from_secs(60));
        assert_eq!(poll_once(&mut camera).unwrap().sequence, 9);
        assert_eq!(camera.take_skipped(), 4);
        assert_eq!(poll_once(&mut camera), Err(Poll::End));
        assert_eq!(*decoded.lock().unwrap(), [0, 4, 9]);
    }

    #[test]
    fn max_delivers_every_frame_however_slow_the_consumer() {
        let (mut camera, clock) = paced(numbers(4), Rate::Max, false);
        for sequence in 0..4 {
            clock.advance(Duration::from_secs(9));
            let meta = poll_once(&mut camera).unwrap();
            assert_eq!((meta.sequence, meta.captured), (sequence, clock.now()));
        }
        assert_eq!(poll_once(&mut camera), Err(Poll::End));
        assert_eq!(camera.take_skipped(), 0);
    }

    #[test]
    fn corrupt_frames_keep_their_number() {
        let mut source = numbers(4);
        (source.broken, source.undecodable) = (vec![1], vec![2]);
        let (mut camera, _clock) = paced(source, Rate::Max, false);
        assert_eq!(poll_once(&mut camera).unwrap().sequence, 0);
        assert_eq!(poll_once(&mut camera), Err(Poll::Corrupt("frame 1".to_owned())));
        assert_eq!(poll_once(&mut camera), Err(Poll::Corrupt("frame 2".to_owned())));
        assert_eq!(poll_once(&mut camera).unwrap().sequence, 3);
    }

    #[test]
    fn a_skipped_frame_is_counted_also_before_a_corrupt_one() {
        let mut source = numbers(6);
        source.broken = vec![2];
        let (mut camera, clock) = paced(source, Rate::Native, false);
        poll_once(&mut camera).unwrap();
        clock.advance(MS(450));
        assert_eq!(poll_once(&mut camera), Err(Poll::Corrupt("frame 2".to_owned())));
        assert_eq!(camera.take_skipped(), 1);
        assert_eq!(poll_once(&mut camera).unwrap().sequence, 4);
        assert_eq!(camera.take_skipped(), 1);
    }

    #[test]
    fn a_repeat_goes_on_counting() {
        let (mut camera, _clock) = paced(numbers(3), Rate::Max, true);
        for sequence in 0..10 {
            assert_eq!(poll_once(&mut camera).unwrap().sequence, sequence);
        }
    }

    #[test]
    fn a_repeat_without_a_good_frame_is_slowed_down() {
        for undecodable in [false, true] {
            let mut source = numbers(2);
            if undecodable {
                source.undecodable = vec![0, 1];
            } else {
                source.broken = vec![0, 1];
            }
            let (mut camera, clock) = paced(source, Rate::Max, true);
            for _ in 0..3 {
                assert!(matches!(poll_once(&mut camera), Err(Poll::Corrupt(_))));
            }
            for _ in 0..3 {
                assert_eq!(poll_once(&mut camera), Err(Poll::Idle));
                clock.advance(MS(100));
                assert!(matches!(poll_once(&mut camera), Err(Poll::Corrupt(_))));
            }
        }
    }

    #[test]
    fn an_empty_repeat_is_an_error() {
        let (mut camera, _clock) = paced(numbers(0), Rate::Max, true);
        let error = camera.poll(Duration::ZERO, &mut |_| {}).unwrap_err();
        assert_eq!(error.kind, crate::CameraErrorKind::Retry);
    }

    #[test]
    fn a_rate_that_makes_no_sense_is_refused() {
        for fps in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e6] {
            let clock = Arc::new(ManualClock::default());
            let error = Paced::new(numbers(1), Rate::Fps(fps), false, clock).err().unwrap();
            assert_eq!(error.kind, crate::CameraErrorKind::Config, "{error}");
        }
    }

    #[test]
    fn a_poll_waits_no_longer_than_it_may() {
        let mut camera = Paced::new(numbers(2), Rate::Fps(0.01), false, Arc::new(SystemClock)).unwrap();
        poll_once(&mut camera).unwrap();
        let start = std::time::Instant::now();
        assert_eq!(camera.poll(MS(20), &mut |_| {}), Ok(Poll::Idle));
        assert!(start.elapsed() >= MS(20) && start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn the_description_names_the_rate() {
        let (camera, _) = paced(numbers(1), Rate::Fps(30_000.0 / 1001.0), true);
        assert_eq!(camera.describe(), "numbers, 29.97 fps, repeated");
        let (camera, _) = paced(numbers(1), Rate::Max, false);
        assert_eq!(camera.describe(), "numbers, as fast as it goes");
    }
}
