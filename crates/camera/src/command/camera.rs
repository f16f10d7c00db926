//! A program that runs, as a camera: takes the newest frame, decodes JPEG, and notices when the program ends or falls silent.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ChildStderr, ChildStdout};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use base::child::Listener;
use base::clock::{Clock, Instant};
use base::sync::lock;
use pixels::frame::{Frame, FrameMeta, Picture, PictureFormat, Size};

use super::super::jpeg::JpegDecoder;
use super::super::{Camera, CameraError, Poll};
use super::frames::{Expected, Found, Raw};
use super::process::Process;
use super::reader::{self, Arrived, Meeting, Taken};
use super::slant::Suspicion;
use super::{CommandOptions, LogLimit};

/// How long a program whose output has ended may take to end as well.
const LAST_MOMENTS: Duration = Duration::from_millis(100);
/// A program that lives shorter than this, one that takes a single picture for example, would fill the log with its starts and
/// ends. Longer than the 5 s after which rpicam-vid ends by itself where nobody says `-t 0`.
const PROVEN_AFTER: Duration = Duration::from_secs(10);

/// What was said of the frames. One for all runs of a program.
#[derive(Clone, Debug, Default)]
pub(super) struct Said(Arc<Mutex<Vec<String>>>);

impl Said {
    /// Whether that was not among the last things said: a program that sends several sizes in turn doesn't fill the log.
    fn is_news(&self, words: &str) -> bool {
        const REMEMBERED: usize = 16;
        let mut said = lock(&self.0);
        let known = said.iter().position(|said| said == words);
        let words = known.map_or_else(|| words.to_owned(), |at| said.remove(at));
        said.truncate(REMEMBERED - 1);
        said.insert(0, words);
        known.is_none()
    }
}

/// A program that runs.
pub(super) struct CommandCamera {
    process: Process,
    meeting: Arc<Meeting>,
    frames: Option<JoinHandle<()>>,
    words: Option<Listener>,
    decoder: JpegDecoder,
    expected: Expected,
    found: Option<Found>,
    /// Format and full size of the last frame.
    last: Option<(PictureFormat, Size)>,
    /// What the log says of it.
    said: Said,
    /// What it says of rows that seem to have another length.
    suspected: Said,
    suspicion: Suspicion,
    last_sign: Instant,
    clock: Arc<dyn Clock>,
    silent_after: Duration,
    source: String,
    name: String,
}

impl CommandCamera {
    /// A camera of a program that nobody reads yet.
    pub(super) fn new(
        options: &CommandOptions,
        process: Process,
        expected: Expected,
        decoder: JpegDecoder,
        limit: &LogLimit,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let name = options.line.name().to_owned();
        Self {
            process,
            meeting: Arc::default(),
            frames: None,
            words: None,
            decoder,
            expected,
            found: None,
            last: None,
            said: limit.said.clone(),
            suspected: limit.suspected.clone(),
            suspicion: Suspicion::default(),
            last_sign: clock.now(),
            clock: Arc::clone(clock),
            silent_after: options.silent_after,
            source: options.source(),
            name,
        }
    }

    /// Starts the threads that read the program's two streams.
    pub(super) fn read(&mut self, stdout: ChildStdout, stderr: ChildStderr, limit: &LogLimit) -> io::Result<()> {
        let name = speaker(&self.name);
        let log = move |line: &str| log::info!("{name}: {line}");
        self.words = Some(Listener::start("command-err", stderr, &limit.words, Arc::clone(&self.clock), log)?);
        self.frames = Some(reader::read_frames(stdout, self.expected, &self.meeting, &self.clock)?);
        Ok(())
    }

    fn retry(&self, reason: String, hint: &str) -> CameraError {
        CameraError::retry(&self.source, reason, hint)
    }

    fn last_words(&self) -> String {
        let lines = self.words.as_ref().map(Listener::last_lines).unwrap_or_default();
        lines.last().map(|line| format!("; it last said: {line}")).unwrap_or_default()
    }

    /// Ends the program, and the threads, which then have read the last of what it wrote.
    fn close(&mut self) {
        self.process.stop();
        self.meeting.stop();
        if let Some(words) = &mut self.words {
            words.stop();
        }
        if let Some(frames) = self.frames.take() {
            // A panic of it was printed by itself; there is nothing to add.
            let _ = frames.join();
        }
    }

    /// The program's output has ended, or the program.
    fn ended(&mut self) -> CameraError {
        let by_itself = self.process.wait(LAST_MOMENTS);
        let status = self.process.status();
        self.close();
        let what = match (by_itself, status) {
            (true, Some(status)) => format!("ended with {status}"),
            (true, None) => "has ended".to_owned(),
            (false, _) => "closed its standard output but went on running".to_owned(),
        };
        let hint = match status {
            Some(status) if status.success() => "a camera program must run until it is ended: rpicam-vid needs -t 0",
            Some(status) if status.signal() == Some(9) => {
                "another program killed it, or memory ran out: the service's (MemoryMax=, docs/install.md) or the system's (dmesg)"
            }
            Some(status) if status.code() == Some(127) => "127 is a shell's word for a program that it did not find",
            _ => "",
        };
        self.retry(format!("{what}{}", self.last_words()), hint)
    }

    fn idle(&mut self) -> Result<Poll, CameraError> {
        // Its children may hold the pipe open, but nobody sees to them any more.
        if self.process.has_ended() {
            return Err(self.ended());
        }
        if self.clock.now().since(self.last_sign) < self.silent_after {
            return Ok(Poll::Idle);
        }
        self.close();
        // The limit rather than the exact time, so that the same text comes every time and is logged once.
        let (limit, said) = (self.silent_after.as_secs_f64(), self.last_words());
        let hint = "check the camera's cable; a program that is slower on purpose needs a longer camera.silent_after";
        Err(self.retry(format!("silent: no frame for {limit} s{said}"), hint))
    }

    /// Rows seem to have `stride` bytes.
    fn suspect(&self, raw: Raw, stride: usize) {
        let Raw { format, stride: said } = raw;
        let words = format!(
            "command {}: the raw frames look slanted, as if their rows had about {stride} bytes instead of {said}; look at a \
             picture, and check camera.size ({}) and camera.stride ({said}): rows with padding need it",
            self.name, format.size
        );
        if self.suspected.is_news(&words) {
            log::warn!("camera: {words}");
        }
    }

    fn hand_over(&mut self, arrived: &Arrived, take: &mut dyn FnMut(&Frame<'_>)) -> Poll {
        let meta = FrameMeta { sequence: arrived.sequence, captured: arrived.at, dequeued: self.clock.now() };
        let picture = match self.found {
            Some(Found::Y4m(format)) => picture(Raw::packed(format), &arrived.bytes),
            Some(Found::Raw(raw)) => {
                if let Some(stride) = self.suspicion.of(&raw, &arrived.bytes) {
                    self.suspect(raw, stride);
                }
                picture(raw, &arrived.bytes)
            }
            Some(Found::Jpeg) | None => {
                self.decoder.decode(&arrived.bytes).map(|decoded| decoded.picture).map_err(|error| error.to_string())
            }
        };
        match picture {
            Ok(picture) => {
                let last = Some((picture.format(), picture.full_size()));
                if last != self.last {
                    self.last = last;
                    let words = describe(&self.name, self.found, self.expected, self.last);
                    if words != describe(&self.name, None, self.expected, None) && self.said.is_news(&words) {
                        log::info!("camera: {words}");
                    }
                }
                take(&Frame { picture, meta });
                Poll::Taken
            }
            Err(reason) => Poll::Corrupt(format!("frame {}: {reason}", arrived.sequence)),
        }
    }
}

impl Camera for CommandCamera {
    fn poll(&mut self, wait: Duration, take: &mut dyn FnMut(&Frame<'_>)) -> Result<Poll, CameraError> {
        let (taken, found) = self.meeting.take(wait);
        self.found = found;
        match taken {
            Taken::Frame(arrived) => {
                self.last_sign = self.clock.now();
                let poll = self.hand_over(&arrived, take);
                self.meeting.give_back(arrived.bytes);
                Ok(poll)
            }
            Taken::Fault(reason) => {
                self.last_sign = self.clock.now();
                Ok(Poll::Corrupt(reason))
            }
            Taken::Nothing => self.idle(),
            Taken::End(Ok(())) => Err(self.ended()),
            Taken::End(Err(refusal)) => {
                self.close();
                Err(self.retry(refusal.reason, &refusal.hint))
            }
        }
    }

    fn describe(&self) -> String {
        describe(&self.name, self.found, self.expected, self.last)
    }

    fn format(&self) -> Option<PictureFormat> {
        match (self.last, self.expected) {
            (Some((format, _)), _) | (None, Expected::Raw(Raw { format, .. })) => Some(format),
            (None, _) => None,
        }
    }

    fn take_skipped(&mut self) -> u64 {
        self.meeting.take_skipped()
    }

    fn proven_after(&self) -> Duration {
        PROVEN_AFTER
    }
}

impl Drop for CommandCamera {
    fn drop(&mut self) {
        self.close();
    }
}

fn picture(raw: Raw, bytes: &[u8]) -> Result<Picture<'_>, String> {
    Picture::contiguous(raw.format, raw.stride, bytes).map_err(|short| short.to_string())
}

/// What stands before each line of a program called `name`. The daemon's own lines about the camera begin with `camera:`, and
/// whoever reads them must not take the program's words for those.
fn speaker(name: &str) -> String {
    if name.split(':').next() == Some("camera") {
        format!("command {name}")
    } else {
        name.to_owned()
    }
}

/// "command rpicam-vid, MJPEG 640x480 YU12", as far as it is known.
fn describe(name: &str, found: Option<Found>, expected: Expected, last: Option<(PictureFormat, Size)>) -> String {
    let raw = |raw: Raw| {
        let Raw { format, stride } = raw;
        let rows = if raw == Raw::packed(format) { String::new() } else { format!(", rows of {stride} bytes") };
        format!("raw {} {}{rows}", format.size, format.layout)
    };
    let frames = match (found, last, expected) {
        (Some(Found::Jpeg), Some((format, full)), _) => format!("MJPEG {full} {}", format.layout),
        (Some(Found::Y4m(format)), ..) => format!("Y4M {} {}", format.size, format.layout),
        (Some(Found::Raw(found)), ..) | (_, _, Expected::Raw(found)) => raw(found),
        (_, _, Expected::Jpeg) | (Some(Found::Jpeg), ..) => "MJPEG".to_owned(),
        (None, _, Expected::Any) => "MJPEG or Y4M".to_owned(),
    };
    format!("command {name}, {frames}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_program_speaks_as_the_daemon_does() {
        assert_eq!(["rpicam-vid", "camera.sh", "my camera"].map(speaker), ["rpicam-vid", "camera.sh", "my camera"]);
        assert_eq!(speaker("camera"), "command camera");
        assert_eq!(speaker("camera: waiting"), "command camera: waiting");
    }
}
