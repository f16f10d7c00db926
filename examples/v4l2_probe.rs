//! Opens a V4L2 camera as pspnetd does and tells what it sends: format, rate, counters, mean colour of eight strips.
//!
//! For trouble with a camera: `cargo run --example v4l2_probe -- --help`. Segments nothing, writes no file.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use base::clock::{Clock, Instant, SystemClock};
use camera::v4l2::{list, open, FourCc, Selector, V4l2Options};
use camera::{Camera, CameraError, Poll};
use clap::Parser;
use pixels::frame::{Colorimetry, Frame, Layout, Matrix, Picture, Range, Size};

/// Captures frames from a V4L2 camera and tells what came.
#[derive(Parser)]
struct Arguments {
    /// The device: a node or a link to one. Without it, the first usable camera.
    device: Option<PathBuf>,
    /// Pixel format, as in YUYV.
    #[arg(long)]
    format: Option<FourCc>,
    /// Width.
    #[arg(long, default_value_t = 640)]
    width: usize,
    /// Height.
    #[arg(long, default_value_t = 480)]
    height: usize,
    /// Bytes per row to ask the driver for; 0 leaves it to the driver.
    #[arg(long, default_value_t = 0)]
    stride: usize,
    /// Frames per second.
    #[arg(long)]
    rate: Option<f64>,
    /// Frames to capture.
    #[arg(long, default_value_t = 90)]
    frames: u64,
    /// Row whose colours are shown, as a share of the height.
    #[arg(long, default_value_t = 0.1)]
    row: f64,
    /// Opens the camera again this many times, a few frames each, and compares descriptors and mappings.
    #[arg(long, default_value_t = 0)]
    rounds: u32,
    /// Opens the camera again after an error, this many times, one second apart.
    #[arg(long, default_value_t = 0)]
    retries: u32,
    /// Seconds without a frame after which the camera counts as dead.
    #[arg(long, default_value_t = 5.0)]
    silent_after: f64,
    /// Milliseconds that one wait lasts at most.
    #[arg(long, default_value_t = 100)]
    wait: u64,
    /// Milliseconds that the use of each frame takes.
    #[arg(long, default_value_t = 0)]
    busy: u64,
    /// Lists the devices as JSON and ends.
    #[arg(long)]
    list: bool,
}

impl Arguments {
    fn options(&self) -> V4l2Options {
        V4l2Options {
            device: self.device.clone().map_or(Selector::Auto, Selector::Path),
            format: self.format,
            size: Some(Size::new(self.width, self.height)),
            frame_rate: self.rate,
            silent_after: Duration::from_secs_f64(self.silent_after),
            wanted: None,
            stride: self.stride,
            ..V4l2Options::default()
        }
    }
}

/// What was seen since the camera was opened.
#[derive(Default)]
struct Seen {
    frames: u64,
    idle: u64,
    corrupt: u64,
    first: Option<Instant>,
    last: Instant,
    latency: Duration,
    colors: Vec<[u8; 3]>,
}

impl Seen {
    fn note(&mut self, frame: &Frame<'_>, row: f64) {
        self.frames += 1;
        self.first.get_or_insert(frame.meta.captured);
        self.last = frame.meta.captured;
        self.latency = self.latency.max(frame.meta.dequeued.since(frame.meta.captured));
        self.colors = strips(&frame.picture, row);
    }

    fn print(&self, skipped: u64) {
        let time = self.last.since(self.first.unwrap_or_default()).as_secs_f64();
        let rate = if self.frames > 1 { (self.frames - 1) as f64 / time } else { 0.0 };
        let Self { frames, idle, corrupt, latency, .. } = self;
        let latency = latency.as_secs_f64() * 1e3;
        println!(
            "frames {frames}, {rate:.2} fps, skipped {skipped}, corrupt {corrupt}, idle waits {idle}, kernel to us at \
             most {latency:.1} ms"
        );
        println!("colours {:?}", self.colors);
    }
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let arguments = Arguments::parse();
    if arguments.list {
        for device in list() {
            println!("{}", serde_json::to_string(&device).unwrap_or_else(|error| error.to_string()));
        }
        return ExitCode::SUCCESS;
    }
    let mut tries = 0;
    loop {
        match run(&arguments) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => println!("error {error} [{:?}]", error.kind),
        }
        if tries == arguments.retries {
            return ExitCode::FAILURE;
        }
        tries += 1;
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn run(arguments: &Arguments) -> Result<(), CameraError> {
    if arguments.rounds > 0 {
        return rounds(arguments);
    }
    let mut camera = open(&arguments.options(), Arc::new(SystemClock))?;
    println!("open {}", camera.describe());
    let mut seen = Seen::default();
    let result = capture(camera.as_mut(), arguments, arguments.frames, &mut seen);
    seen.print(camera.take_skipped());
    result
}

fn capture(camera: &mut dyn Camera, arguments: &Arguments, frames: u64, seen: &mut Seen) -> Result<(), CameraError> {
    while seen.frames < frames {
        let polled = camera.poll(Duration::from_millis(arguments.wait), &mut |frame| {
            seen.note(frame, arguments.row);
            std::thread::sleep(Duration::from_millis(arguments.busy));
        })?;
        match polled {
            Poll::Taken => {}
            Poll::Idle => seen.idle += 1,
            Poll::Corrupt(reason) => {
                seen.corrupt += 1;
                if seen.corrupt == 1 {
                    println!("corrupt {reason}");
                }
            }
            Poll::End => break,
        }
    }
    Ok(())
}

fn rounds(arguments: &Arguments) -> Result<(), CameraError> {
    let count = |path: &str| match path {
        "/proc/self/fd" => std::fs::read_dir(path).map_or(0, Iterator::count),
        _ => std::fs::read_to_string(path).map_or(0, |text| text.lines().count()),
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut before = (0, 0);
    for round in 0..=arguments.rounds {
        let mut camera = open(&arguments.options(), Arc::clone(&clock))?;
        capture(camera.as_mut(), arguments, 3, &mut Seen::default())?;
        drop(camera);
        let now = (count("/proc/self/fd"), count("/proc/self/maps"));
        // The first round maps what the allocator keeps for good.
        if round == 0 {
            before = now;
        }
        if round == arguments.rounds {
            println!("rounds {round}: descriptors {} -> {}, mappings {} -> {}", before.0, now.0, before.1, now.1);
        }
    }
    Ok(())
}

/// Mean colour of the middle of eight equal strips, in a few rows of the picture.
fn strips(picture: &Picture<'_>, row: f64) -> Vec<[u8; 3]> {
    let Size { width, height } = picture.format().size;
    let top = ((height as f64 * row) as usize).min(height.saturating_sub(4));
    (0..8)
        .map(|strip| {
            let middle = width * (2 * strip + 1) / 16;
            let mut sum = [0u32; 3];
            let points = (0..4).flat_map(|y| (0..8).map(move |x| (x, y)));
            for (x, y) in points.clone() {
                let color = pixel(picture, (middle + x).saturating_sub(4), top + y);
                sum.iter_mut().zip(color).for_each(|(sum, value)| *sum += u32::from(value));
            }
            sum.map(|sum| (f64::from(sum) / points.clone().count() as f64).round() as u8)
        })
        .collect()
}

fn pixel(picture: &Picture<'_>, x: usize, y: usize) -> [u8; 3] {
    let format = picture.format();
    let row = picture.row(0, y);
    let pair = x / 2 * 4;
    let chroma = |plane: usize, h: usize, v: usize| picture.row(plane, y / v)[x / h];
    let [luma, u, v] = match format.layout {
        Layout::Rgb => return [row[x * 3], row[x * 3 + 1], row[x * 3 + 2]],
        Layout::Bgr => return [row[x * 3 + 2], row[x * 3 + 1], row[x * 3]],
        Layout::Yuyv => [row[x * 2], row[pair + 1], row[pair + 3]],
        Layout::Uyvy => [row[x * 2 + 1], row[pair], row[pair + 2]],
        Layout::Nv12 => {
            let row_uv = picture.row(1, y / 2);
            [row[x], row_uv[x / 2 * 2], row_uv[x / 2 * 2 + 1]]
        }
        Layout::Planar { h, v } => {
            let (h, v) = (usize::from(h), usize::from(v));
            [row[x], chroma(1, h, v), chroma(2, h, v)]
        }
        Layout::Grey => [row[x], 128, 128],
    };
    rgb(luma, u, v, format.color)
}

fn rgb(luma: u8, u: u8, v: u8, color: Colorimetry) -> [u8; 3] {
    let (kr, kb) = match color.matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
    };
    let (black, luma_span, chroma_span) = match color.range {
        Range::Limited => (16.0, 219.0, 224.0),
        Range::Full => (0.0, 255.0, 255.0),
    };
    let luma = (f64::from(luma) - black) / luma_span;
    let [u, v] = [u, v].map(|chroma| (f64::from(chroma) - 128.0) / chroma_span);
    let red = luma + 2.0 * (1.0 - kr) * v;
    let blue = luma + 2.0 * (1.0 - kb) * u;
    let green = (luma - kr * red - kb * blue) / (1.0 - kr - kb);
    [red, green, blue].map(|value| (value * 255.0).round().clamp(0.0, 255.0) as u8)
}
