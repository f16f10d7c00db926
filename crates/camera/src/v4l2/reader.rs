//! From filled buffers to frames: waits, drains to the newest, checks, decodes JPEG, gives the buffers back, counts.
//!
//! Works on any [`Queue`], so that its tests need no device. Errors end it: who owns it opens the device anew.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::clock::{Clock, Instant};
use log::Level;
use pixels::frame::{Frame, FrameMeta, Picture, PictureFormat};
use rustix::io::Errno;
use v4l::v4l_sys as sys;

use super::errors::Fault;
use super::pace::{News, Pace};
use super::ring::{Filled, Queue, Ready};
use super::said::say;
use crate::jpeg::JpegDecoder;
use crate::{Camera, CameraError, Poll};

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
    pace: Option<Pace>,
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
            pace: None,
        }
    }

    /// Says when the camera sends fewer frames than `rate` per second, to which it was set.
    pub(super) fn expecting(mut self, rate: Option<f64>) -> Self {
        self.pace = rate.map(Pace::new);
        self
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
        let mut came = 0;
        // Bounded, because a camera that is faster than we are would fill the buffers again for ever.
        for _ in 0..self.queue.count().max(1) {
            let Some(filled) = self.queue.dequeue()? else {
                break;
            };
            came += 1;
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
        if came >= self.queue.count() {
            // There was no room for more.
            self.pace.iter_mut().for_each(Pace::disturbed);
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
        if let Some(news) = self.pace.as_mut().and_then(|pace| pace.frame(sequence, dequeued)) {
            self.say(news);
        }
        let stamp = captured(filled, dequeued);
        if stamp.is_none() && !self.odd_stamps {
            self.odd_stamps = true;
            let device = self.device.display();
            let line = format!(
                "{device}: the driver's time stamps are not of the monotonic clock; latency counts from the dequeue"
            );
            say(&self.device.join("time stamps"), &[(Level::Warn, line)]);
        }
        FrameMeta { sequence, captured: stamp.unwrap_or(dequeued), dequeued }
    }
}

impl<Q: Queue> Reader<Q> {
    fn say(&self, news: News) {
        let device = self.device.display();
        let set = self.pace.as_ref().map_or(0.0, Pace::set);
        match news {
            News::Slow(rate) => log::warn!(
                "{device}: the camera sends {rate:.1} frames per second where {set:.1} are set: in low light it exposes for \
                 longer (with a fixed exposure, or exposure_dynamic_framerate off, in [camera.controls] it keeps the rate); \
                 a slow USB port or hub does the same"
            ),
            News::Well(rate) => {
                log::info!("{device}: the camera sends {rate:.1} frames per second again, of {set:.1} that are set");
            }
        }
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
mod tests;
