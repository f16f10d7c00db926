//! A camera that is a program: it writes frames to its standard output, MJPEG, Y4M or raw. This is how a Raspberry Pi's own
//! camera is used, by way of rpicam-vid.
//!
//! The parts: `process` starts and ends the program, `frames` cuts what it writes, `reader` keeps the newest frame, `camera`
//! makes frames of it and notices the end, `slant` notices rows of another length than was said. What it says goes into the log by way of `child`. Opening again after an error is
//! left to the pipeline.

mod camera;
mod frames;
mod process;
mod reader;
mod slant;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base::child;
use base::clock::Clock;
use base::command_line::CommandLine;
use pixels::frame::{Colorimetry, Layout, PictureFormat, Size};

use self::camera::{CommandCamera, Said};
use self::frames::{Expected, Raw};
use self::process::Process;
use super::jpeg::{JpegDecoder, MAX_PIXELS};
use super::{Camera, CameraError};
use crate::{FourCc, Stride};

/// Which program, and what it sends.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandOptions {
    /// The program and its arguments.
    pub line: CommandLine,
    /// What it sends: `None` tells MJPEG and Y4M by their first bytes; `MJPG`, or a raw format, which needs a size.
    pub format: Option<FourCc>,
    /// Size of its raw frames.
    pub size: Option<Size>,
    /// Bytes from row to row of its raw frames, of the first plane; `None`: rows have no padding.
    pub stride: Option<Stride>,
    /// A program that sends no frame for this long is taken for dead.
    pub silent_after: Duration,
    /// Size of the model's input: JPEG pictures that are much larger are decoded at reduced scale.
    pub wanted: Option<Size>,
}

impl CommandOptions {
    /// The name in messages.
    fn source(&self) -> String {
        format!("command:{}", self.line.name())
    }

    fn expected(&self) -> Result<Expected, CameraError> {
        let wrong = |reason: String, hint: &str| Err(CameraError::config(self.source(), reason, hint));
        let not_raw = |expected| match self.stride {
            None => Ok(expected),
            Some(_) => wrong(
                "camera.stride is for raw frames: MJPEG and Y4M have no padding".to_owned(),
                "leave camera.stride out, or say what the raw frames are: camera.format and camera.size",
            ),
        };
        let Some(format) = self.format else { return not_raw(Expected::Any) };
        let Some(layout) = format.layout() else {
            if [b"MJPG", b"JPEG"].contains(&&format.0) {
                return not_raw(Expected::Jpeg);
            }
            let taken: Vec<_> = FourCc::TAKEN.iter().map(FourCc::to_string).collect();
            return wrong(format!("pixel format {format} is not taken"), &format!("taken are {}", taken.join(", ")));
        };
        let Some(size) = self.size else {
            return wrong(
                format!(
                    "camera.format = \"{format}\" needs camera.size: nothing in raw frames says how large they are"
                ),
                "the size that the program is told to send, such as camera.size = \"640x480\"",
            );
        };
        if size.pixels() > MAX_PIXELS {
            return wrong(format!("there are no pictures of {size}: that is more than 64 megapixels"), "");
        }
        if layout == Layout::Nv12 && size.width % 2 == 1 {
            return wrong(format!("camera.size = \"{size}\": NV12 frames have an even width"), "");
        }
        // What rpicam-vid's --codec yuv420 sends (libcamera's "sYCC"), and what a JPEG would hold.
        let packed = Raw::packed(PictureFormat { layout, size, color: Colorimetry::JPEG });
        let stride = self.stride.map_or(packed.stride, |Stride(bytes)| bytes);
        if stride < packed.stride {
            return wrong(
                format!(
                    "camera.stride = {stride} is less than a row of {size} {format}, which has {} bytes",
                    packed.stride
                ),
                "it is the bytes of a row with its padding",
            );
        }
        Ok(Expected::Raw(Raw { stride, ..packed }))
    }
}

/// How much of what a program says, and of what is said of it, still goes into the log. One for all runs of it, so that a
/// program that fails again and again doesn't fill the log.
#[derive(Clone, Debug, Default)]
pub struct LogLimit {
    words: child::LogLimit,
    said: Said,
    suspected: Said,
}

/// Starts the program. Frames are waited for by [`Camera::poll`].
///
/// The system kills the program when the calling thread ends, so that thread must outlive the camera.
///
/// # Errors
/// [`CameraError::config`] when there is no such program, it may not be run, or its frames are not described;
/// [`CameraError::retry`] when the system has no room for it now.
pub fn open(
    options: &CommandOptions,
    limit: &LogLimit,
    clock: &Arc<dyn Clock>,
) -> Result<Box<dyn Camera>, CameraError> {
    let source = options.source();
    let expected = options.expected()?;
    let mut decoder = JpegDecoder::new().map_err(|error| CameraError::retry(&source, error.to_string(), ""))?;
    decoder.set_wanted(options.wanted);
    let started = Process::start(&options.line);
    let (process, stdout, stderr) = started.map_err(|error| not_started(&source, &options.line, &error))?;
    let mut camera = CommandCamera::new(options, process, expected, decoder, limit, clock);
    // Dropped where a thread can't be started, the camera ends the program and the other thread.
    let no_thread = |error: io::Error| CameraError::retry(&source, error.to_string(), "");
    camera.read(stdout, stderr, limit).map_err(no_thread)?;
    Ok(Box::new(camera))
}

fn not_started(source: &str, line: &CommandLine, error: &io::Error) -> CameraError {
    let program = line.program();
    let reason = format!("{program:?} can't be started: {error}");
    match error.kind() {
        io::ErrorKind::NotFound => {
            let hint = if program.starts_with("rpicam-") || program.starts_with("libcamera-") {
                "install the package rpicam-apps or rpicam-apps-lite"
            } else if program.contains('/') {
                "there is no such file, or what its first line names is not there"
            } else {
                "there is no such program in PATH: install it, or give its whole path"
            };
            CameraError::config(source, reason, hint)
        }
        io::ErrorKind::PermissionDenied => CameraError::config(
            source,
            reason,
            "it must be a program that the user of this service may run (chmod a+rx), and lie outside /home, which the \
             installed service can't read",
        ),
        io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput | io::ErrorKind::ArgumentListTooLong => {
            CameraError::config(source, reason, "")
        }
        _ => CameraError::retry(source, reason, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CameraErrorKind, Poll};
    use base::clock::SystemClock;
    use pixels::frame::Frame;
    use std::time::Instant;

    /// More than a loaded machine needs.
    const LIMIT: Duration = Duration::from_secs(30);

    fn options(line: &str) -> CommandOptions {
        let line = line.parse().unwrap();
        CommandOptions { line, format: None, size: None, stride: None, silent_after: LIMIT, wanted: None }
    }

    fn raw(line: &str, format: &[u8; 4], size: Size) -> CommandOptions {
        CommandOptions { format: Some(FourCc(*format)), size: Some(size), ..options(line) }
    }

    fn start(options: &CommandOptions) -> Result<Box<dyn Camera>, CameraError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        open(options, &LogLimit::default(), &clock)
    }

    /// What comes until something other than "nothing yet" does: a picture's first bytes by plane, or how it ended.
    fn next(camera: &mut dyn Camera) -> Result<Vec<u8>, Result<Poll, CameraError>> {
        let start = Instant::now();
        let mut seen = Vec::new();
        loop {
            let polled = camera.poll(Duration::from_millis(100), &mut |frame| {
                let planes = frame.picture.format().layout.planes();
                seen = (0..planes).map(|plane| frame.picture.row(plane, 0)[0]).collect();
                assert!(frame.meta.captured <= frame.meta.dequeued);
            });
            match polled {
                Ok(Poll::Taken) => return Ok(seen),
                Ok(Poll::Idle) => assert!(start.elapsed() < LIMIT),
                other => return Err(other),
            }
        }
    }

    fn error(camera: &mut dyn Camera) -> CameraError {
        match next(camera) {
            Err(Err(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_raw_layout_is_cut_in_its_own_length() {
        let size = Size::new(4, 2);
        for (format, bytes, planes) in [
            (b"YU12", "aaaaaaaabbcc", "abc"),
            (b"NV12", "aaaaaaaabcbc", "ab"),
            (b"YUYV", "abacabacabacabac", "a"),
            (b"UYVY", "babacacababacaca", "b"),
            (b"RGB3", "rgbrgbrgbrgbrgbrgbrgbrgb", "r"),
            (b"BGR3", "bgrbgrbgrbgrbgrbgrbgrbgr", "b"),
            (b"GREY", "yyyyyyyy", "y"),
        ] {
            let line = format!("sh -c 'printf {bytes}; sleep 0.3; printf {bytes}{bytes}x; exec sleep 60'");
            let mut camera = start(&raw(&line, format, size)).unwrap();
            assert_eq!(camera.format().unwrap().size, size);
            assert!(camera.describe().starts_with("command sh, raw 4x2 "), "{}", camera.describe());
            assert_eq!(next(camera.as_mut()).unwrap(), planes.as_bytes(), "{line}");
            assert_eq!(next(camera.as_mut()).unwrap(), planes.as_bytes());
        }
    }

    #[test]
    fn a_slow_reader_gets_the_newest_and_holds_nobody() {
        // More than any pipe holds: the program ends, although nothing was taken yet.
        let line = "sh -c 'head -c 8000000 /dev/zero; printf 1111; echo done >&2; exec sleep 60'";
        let mut camera = start(&raw(line, b"GREY", Size::new(2, 2))).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        let start = Instant::now();
        let mut skipped = 0;
        while next(camera.as_mut()).unwrap() != b"1" {
            assert!(start.elapsed() < LIMIT);
            skipped += camera.take_skipped();
        }
        skipped += camera.take_skipped();
        assert!(skipped > 1_000_000, "{skipped} of 2000000");
    }

    #[test]
    fn a_program_that_ends_is_an_error_with_its_last_words() {
        for (script, words, hint) in [
            ("echo one >&2; echo two >&2; exit 3", "ended with exit status: 3; it last said: two", ""),
            ("exit 0", "ended with exit status: 0", "-t 0"),
            ("kill -9 $$", "ended with signal: 9 (SIGKILL)", "MemoryMax="),
            ("no-such-camera", "ended with exit status: 127; it last said: ", "127"),
            ("exec >&-; exec sleep 60", "closed its standard output", ""),
            ("printf abc; exit 1", "ended with exit status: 1", ""),
            ("sleep 60 & exit 2", "ended with exit status: 2", ""),
        ] {
            let line = format!("sh -c '{script}'");
            let mut camera = start(&options(&line)).unwrap();
            let mut error = error(camera.as_mut());
            if script.contains("abc") {
                assert!(error.reason.contains("neither MJPEG nor Y4M"), "{error}");
                error.reason = words.to_owned();
            }
            assert!(error.reason.contains(words) && error.hint.contains(hint), "{script}: {error}");
            assert_eq!((error.kind, error.source_name.as_str()), (CameraErrorKind::Retry, "command:sh"));
        }
    }

    #[test]
    fn a_frame_that_is_cut_by_the_end_is_corrupt() {
        let mut camera = start(&raw("printf 1111222", b"GREY", Size::new(2, 2))).unwrap();
        // The good frame may be taken before the rest is there, or after.
        let mut came = [next(camera.as_mut()), next(camera.as_mut())];
        came.sort_by_key(Result::is_err);
        assert_eq!(came[0], Ok(b"1".to_vec()));
        let Err(Ok(Poll::Corrupt(reason))) = &came[1] else { panic!("{came:?}") };
        assert!(reason.contains("after 3 of the frame's 4 bytes"), "{reason}");
        assert!(error(camera.as_mut()).reason.contains("exit status: 0"));
    }

    #[test]
    fn the_time_of_a_frame_is_that_of_its_first_byte() {
        let line = "sh -c 'printf 1111; sleep 0.3; printf 22; sleep 0.5; printf 22; exec sleep 60'";
        let mut camera = start(&raw(line, b"GREY", Size::new(2, 2))).unwrap();
        assert_eq!(next(camera.as_mut()).unwrap(), b"1");
        let (start, mut took) = (Instant::now(), None);
        while took.is_none() {
            let mut take = |frame: &Frame<'_>| took = Some(frame.meta.dequeued.since(frame.meta.captured));
            camera.poll(Duration::from_millis(100), &mut take).unwrap();
            assert!(start.elapsed() < LIMIT);
        }
        assert!(took.unwrap() >= Duration::from_millis(450), "{took:?}");
    }

    #[test]
    fn a_silent_program_is_given_up() {
        let silent_after = Duration::from_millis(300);
        let mut camera =
            start(&CommandOptions { silent_after, ..options("sh -c 'echo hm >&2; exec sleep 60'") }).unwrap();
        let error = error(camera.as_mut());
        assert!(
            error.reason.starts_with("silent: no frame for 0.3 s") && error.reason.ends_with("said: hm"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_is_a_configuration_error() {
        let vga = Size::new(640, 480);
        for (options, words) in [
            (options("pspnetd-no-such-program"), "no such program in PATH"),
            (options("/nonexistent/cam"), "there is no such file"),
            (options("rpicam-vid-not-installed -t 0"), "rpicam-apps"),
            (options("/dev/null"), "chmod"),
            (CommandOptions { format: Some(FourCc(*b"YU12")), ..options("cat") }, "needs camera.size"),
            (raw("cat", b"H264", vga), "taken are YUYV"),
            (raw("cat", b"NV12", Size::new(641, 480)), "even width"),
            (raw("cat", b"GREY", Size::new(16384, 16384)), "64 megapixels"),
            (CommandOptions { stride: Some(Stride(1279)), ..raw("cat", b"YUYV", vga) }, "which has 1280 bytes"),
            (CommandOptions { stride: Some(Stride(640)), ..raw("cat", b"MJPG", vga) }, "camera.stride is for raw"),
            (CommandOptions { stride: Some(Stride(640)), ..options("cat") }, "camera.stride is for raw"),
        ] {
            let error = start(&options).err().unwrap();
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.kind, CameraErrorKind::Config, "{error}");
        }
    }
}
