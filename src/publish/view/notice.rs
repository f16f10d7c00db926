//! Pictures of words, which a stream shows while no picture comes: that the camera is waited for, paused and the like, and when
//! the last picture was taken.
//!
//! They say no more than that. What the camera saw is not in them, since it may have been paused so that nobody sees it, and
//! neither is the reason in the camera's own words, which can have addresses in it.

use std::io;

use bytes::Bytes;
use jiff::Timestamp;
use pixels::frame::Size;
use tokio::sync::Mutex;

use super::{font, jpeg};
use crate::telemetry::state::{CameraState, State};

/// As long as this, those who look share one, seconds.
const SHARED: f64 = 2.0;
/// The most pixels of a notice, and its longest side: what cameras have.
const MOST_PIXELS: usize = 3840 * 2160;
const LONGEST_SIDE: usize = 16_384;
/// The size where no result has told one yet.
const FIRST: Size = Size::new(640, 480);
/// Smaller than this, words can't be read: the picture is made larger by a whole number.
const LEAST: Size = Size::new(320, 48);
const GROUND: u8 = 26;
const INK: u8 = 224;

/// A picture that says why none comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// JPEG.
    pub bytes: Bytes,
    /// One word: a state of the camera, or `no-result` where the camera runs.
    pub word: &'static str,
    /// When it was made.
    pub time: Timestamp,
}

/// Makes them, and keeps the newest for those who look at the same time.
#[derive(Debug, Default)]
pub(super) struct Notices(Mutex<Option<(Notice, Said)>>);

/// What a notice tells of.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Said {
    word: &'static str,
    last: Option<Timestamp>,
    size: Size,
    uptime: f64,
}

impl Said {
    /// None while all is well.
    fn of(state: &State) -> Option<Self> {
        if state.ready {
            return None;
        }
        let word = match state.camera.state {
            CameraState::Running => "no-result",
            other => other.name(),
        };
        let size = state.result.as_ref().map(|result| Size::new(result.width, result.height));
        let last = state.result.as_ref().map(|result| result.time);
        Some(Self { word, last, size: enlarged(size.unwrap_or(FIRST)), uptime: state.program.uptime_seconds })
    }

    /// Whether a notice of `self` will do for `now`.
    fn will_do(&self, now: &Self) -> bool {
        (0.0..SHARED).contains(&(now.uptime - self.uptime)) && *self == Self { uptime: self.uptime, ..*now }
    }
}

impl Notices {
    /// Says what `state` tells; None while all is well. It is drawn on a thread of its own: on a small board that takes longer
    /// than others should wait.
    ///
    /// # Errors
    /// The encoder's.
    pub(super) async fn of(&self, state: &State) -> io::Result<Option<Notice>> {
        let Some(said) = Said::of(state) else { return Ok(None) };
        let mut newest = self.0.lock().await;
        if let Some((notice, _)) = newest.as_ref().filter(|(_, before)| before.will_do(&said)) {
            return Ok(Some(notice.clone()));
        }
        let lines = lines(&said, state);
        let drawn = move || jpeg::encode(&mut jpeg::compressor()?, &draw(&lines, said.size), said.size);
        let bytes = tokio::task::spawn_blocking(drawn).await.map_err(io::Error::other)??;
        let notice = Notice { bytes, word: said.word, time: state.time };
        *newest = Some((notice.clone(), said));
        Ok(Some(notice))
    }
}

fn lines(said: &Said, state: &State) -> Vec<String> {
    let title = match state.camera.state {
        CameraState::Opening => "opening the camera",
        CameraState::Running => "no new picture",
        CameraState::Damaged => "only damaged pictures",
        CameraState::Waiting => "waiting for the camera",
        CameraState::Paused => "the camera is paused",
    };
    let mut lines = vec![title.to_owned()];
    match (&state.result, said.last) {
        (Some(result), Some(time)) => {
            lines.push(format!("last picture {} ago", duration(result.age_seconds)));
            lines.push(time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
        }
        _ => lines.push("no picture yet".to_owned()),
    }
    lines
}

fn duration(seconds: f64) -> String {
    // Never negative; what is too large is the largest.
    let all = seconds as u64;
    let (days, hours, minutes) = (all / 86_400, all / 3600 % 24, all / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{all} s"),
        (0, 0, _) => format!("{minutes} min {} s", all % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// The size of a notice for pictures of `size`: of the same shape, large enough for words, and never large.
fn enlarged(size: Size) -> Size {
    let Size { width, height } = if size.pixels() == 0 { FIRST } else { size };
    // The smallest number of parts of each side that makes it small enough.
    let parts = (width.saturating_mul(height).div_ceil(MOST_PIXELS) - 1).isqrt() + 1;
    let (width, height) = (width.div_ceil(parts), height.div_ceil(parts));
    let times = LEAST.width.div_ceil(width).max(LEAST.height.div_ceil(height));
    let size = Size::new(width * times, height * times);
    if size.pixels() > 2 * MOST_PIXELS || size.width.max(size.height) > LONGEST_SIDE {
        return FIRST;
    }
    size
}

/// RGB: the lines in the middle, as large as they fit.
fn draw(lines: &[String], size: Size) -> Vec<u8> {
    let mut pixels = vec![GROUND; size.pixels() * 3];
    let longest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(1) * font::PITCH;
    let tall = lines.len() * font::LINE;
    let scale = (size.width * 9 / 10 / longest).min(size.height * 9 / 10 / tall).max(1);
    let top = size.height.saturating_sub(tall * scale) / 2;
    for (number, line) in lines.iter().enumerate() {
        let left = size.width.saturating_sub(line.chars().count() * font::PITCH * scale) / 2;
        let upper = top + (number * font::LINE + (font::LINE - font::HEIGHT) / 2) * scale;
        for (x, y) in font::dots(line) {
            for row in upper + y * scale..upper + (y + 1) * scale {
                let from = left + x * scale;
                let to = (from + scale).min(size.width);
                let dots = (row * size.width + from) * 3..(row * size.width + to) * 3;
                // What lies outside is left out.
                pixels.get_mut(dots).unwrap_or_default().fill(INK);
            }
        }
    }
    pixels
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use camera::jpeg::JpegDecoder;

    use super::*;
    use crate::telemetry::example;
    use crate::telemetry::state::LastResult;

    fn waiting() -> State {
        let mut state = example::state();
        state.ready = false;
        state.camera.state = CameraState::Waiting;
        state.camera.text = "no camera at rtsp://user:secret@192.168.1.7".to_owned();
        let time = "2026-03-01T12:03:25Z".parse().unwrap();
        state.result = Some(LastResult { time, age_seconds: 155.4, width: 640, height: 480, ..LastResult::default() });
        state
    }

    /// The lines that a picture shows, read back dot by dot. `texts` are those that may be there.
    fn shows(jpeg: &[u8], texts: &[&str]) -> Size {
        let (size, pixels) = JpegDecoder::new().unwrap().decode_rgb(jpeg).unwrap();
        let lines: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        let expected = draw(&lines, size);
        let ink = |pixels: &[u8]| -> BTreeSet<usize> {
            (0..size.pixels()).filter(|at| pixels[at * 3 + 1] > (GROUND + INK) / 2).collect()
        };
        let (found, expected) = (ink(&pixels), ink(&expected));
        assert!(!expected.is_empty() && found == expected, "{} dots, expected {}", found.len(), expected.len());
        size
    }

    #[tokio::test]
    async fn it_says_what_is_wrong_and_when_the_last_picture_was_taken() {
        let last = ["last picture 2 min 35 s ago", "2026-03-01 12:03:25 UTC"];
        for (camera, title, word) in [
            (CameraState::Waiting, "waiting for the camera", "waiting"),
            (CameraState::Paused, "the camera is paused", "paused"),
            (CameraState::Damaged, "only damaged pictures", "damaged"),
            (CameraState::Opening, "opening the camera", "opening"),
            (CameraState::Running, "no new picture", "no-result"),
        ] {
            let mut state = waiting();
            state.camera.state = camera;
            let notice = Notices::default().of(&state).await.unwrap().unwrap();
            assert_eq!((notice.word, notice.time), (word, state.time));
            assert_eq!(shows(&notice.bytes, &[title, last[0], last[1]]), Size::new(640, 480), "{word}");
            state.result = None;
            let notice = Notices::default().of(&state).await.unwrap().unwrap();
            assert_eq!(shows(&notice.bytes, &[title, "no picture yet"]), FIRST, "{word}");
        }
    }

    #[tokio::test]
    async fn while_all_is_well_there_is_none() {
        let notices = Notices::default();
        assert!(example::state().ready);
        assert_eq!(notices.of(&example::state()).await.unwrap(), None);
        assert!(notices.0.lock().await.is_none(), "something was drawn");
    }

    #[tokio::test]
    async fn those_who_look_at_the_same_time_share_one() {
        type Change = fn(&mut State);
        let changes: [(Change, bool); 5] = [
            (|state| state.program.uptime_seconds += 1.9, true),
            (|state| state.program.uptime_seconds += 2.1, false),
            (|state| state.camera.state = CameraState::Paused, false),
            (|state| state.result.as_mut().unwrap().width = 320, false),
            (|state| state.result = None, false),
        ];
        for (number, (change, is_shared)) in changes.into_iter().enumerate() {
            let notices = Notices::default();
            let mut state = waiting();
            let before = notices.of(&state).await.unwrap().unwrap();
            change(&mut state);
            let after = notices.of(&state).await.unwrap().unwrap();
            assert_eq!(after.bytes.as_ptr() == before.bytes.as_ptr(), is_shared, "change {number}");
        }
    }

    #[test]
    fn a_small_picture_is_made_large_enough_for_words_and_keeps_its_shape() {
        for (from, to) in [
            ((96, 64), (384, 256)),
            ((320, 240), (320, 240)),
            ((1920, 1080), (1920, 1080)),
            ((24, 18), (336, 252)),
            ((1000, 10), (5000, 50)),
            ((0, 0), (640, 480)),
            // Too narrow for words at any size, or large without need.
            ((2, 16_000), (640, 480)),
            ((1, 16_384), (640, 480)),
            ((16_384, 1), (640, 480)),
            ((7680, 4320), (3840, 2160)),
            ((16_384, 16_384), (2731, 2731)),
            ((16_384, 12), (640, 480)),
        ] {
            assert_eq!(enlarged(Size::new(from.0, from.1)), Size::new(to.0, to.1), "{from:?}");
        }
        // Every letter of the longest lines is inside.
        let lines =
            ["waiting for the camera", "last picture 59 min 59 s ago", "2026-03-01 12:03:25 UTC"].map(str::to_owned);
        let dots: usize = lines.iter().map(|line| font::dots(line).count()).sum();
        for size in [LEAST, Size::new(320, 240), Size::new(384, 256)] {
            let scale = if size.width == 384 { 2 } else { 1 };
            let ink = draw(&lines, size).chunks(3).filter(|pixel| pixel[0] == INK).count();
            assert_eq!(ink, dots * scale * scale, "{size:?}");
        }
    }

    #[test]
    fn times_are_told_in_two_units() {
        for (seconds, text) in [
            (0.0, "0 s"),
            (59.9, "59 s"),
            (60.0, "1 min 0 s"),
            (3599.0, "59 min 59 s"),
            (3600.0, "1 h 0 min"),
            (86_399.0, "23 h 59 min"),
            (200_000.0, "2 d 7 h"),
            (-1.0, "0 s"),
            (f64::NAN, "0 s"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
