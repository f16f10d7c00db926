//! Times the preprocess pass per layout and backend, beside the crates `yuv` and `fast_image_resize` in sequence.
//!
//! The candidates take turns, so that a busy machine is busy for all of them; ratios are of medians. The number of
//! rounds can be given: `cargo bench --bench preprocess -- 2000`. `--json` times the first case only and ends with a line
//! of JSON for `scripts/bench`. `--turned` times turned pictures beside upright ones instead: the same resize, and what a
//! turn adds to it.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic)]

#[path = "support/peer.rs"]
mod peer;

use std::hint::black_box;
use std::time::{Duration, Instant};

use pixels::frame::{Colorimetry, Layout, Picture, PictureFormat, Size};
use pixels::orientation::{Flip, Orientation, Rotate};
use pixels::preprocess::{Backend, Fit, PixelMap, Preprocessor, Source};

use peer::{peer, picture, TARGET};

struct Candidate<'a> {
    name: String,
    run: Box<dyn FnMut() + 'a>,
    times: Vec<Duration>,
}

impl<'a> Candidate<'a> {
    fn new(name: String, run: impl FnMut() + 'a) -> Self {
        Self { name, run: Box::new(run), times: Vec::new() }
    }

    fn median_us(&mut self) -> f64 {
        self.times.sort_unstable();
        self.times[self.times.len() / 2].as_secs_f64() * 1e6
    }
}

/// Runs each once in every round.
fn take_turns(candidates: &mut [Candidate<'_>], rounds: usize) {
    for _ in 0..rounds {
        for candidate in &mut *candidates {
            let start = Instant::now();
            (candidate.run)();
            candidate.times.push(start.elapsed());
        }
    }
}

fn main() {
    let rounds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(500);
    let json = std::env::args().any(|argument| argument == "--json");
    if std::env::args().any(|argument| argument == "--turned") {
        turned(rounds);
        return;
    }
    let cases = [
        (Layout::Yuyv, 640, 480),
        (Layout::Uyvy, 640, 480),
        (Layout::Nv12, 640, 480),
        (Layout::YU12, 640, 480),
        (Layout::Planar { h: 2, v: 1 }, 640, 480),
        (Layout::Rgb, 640, 480),
        (Layout::Bgr, 640, 480),
        (Layout::Grey, 640, 480),
        (Layout::Yuyv, 384, 288),
        (Layout::Yuyv, 320, 240),
        (Layout::Yuyv, 1280, 720),
        (Layout::Nv12, 1920, 1080),
    ];
    for &(layout, width, height) in &cases[..if json { 1 } else { cases.len() }] {
        let format = PictureFormat { layout, size: Size::new(width, height), color: Colorimetry::default() };
        let (bytes, planes) = picture(format);
        let picture = Picture::contiguous(format, planes, &bytes).unwrap();
        let mut candidates: Vec<Candidate<'_>> = Backend::available()
            .map(|backend| {
                let mut pass =
                    Preprocessor::with_backend(format, TARGET, Fit::Stretch, PixelMap::Flip, 0, backend).unwrap();
                let mut tensor = vec![0; TARGET.pixels() * 3];
                Candidate::new(backend.to_string(), move || {
                    pass.run(black_box(&picture), &mut tensor).unwrap();
                    black_box(&mut tensor);
                })
            })
            .collect();
        if matches!(layout, Layout::Yuyv | Layout::Nv12 | Layout::YU12 | Layout::Rgb) {
            candidates.push(Candidate::new("yuv + fast_image_resize".into(), peer(picture)));
        }
        take_turns(&mut candidates, rounds);
        println!("{width}x{height} {layout} -> {TARGET} int8, {rounds} rounds");
        let (scalar, best) = (candidates[0].median_us(), Backend::detect().to_string());
        let best = candidates.iter_mut().find(|candidate| candidate.name == best).unwrap().median_us();
        for candidate in &mut candidates {
            let median = candidate.median_us();
            let min = candidate.times[0].as_secs_f64() * 1e6;
            println!(
                "  {:<24} min {min:8.1} us  median {median:8.1} us  scalar/this {:6.2}  this/best {:6.2}",
                candidate.name,
                scalar / median,
                median / best
            );
        }
        if json {
            let peer = candidates.last_mut().unwrap().median_us();
            let figure = |us: f64| serde_json::json!({ "median_ms": us / 1e3 });
            let report = serde_json::json!({
                "simd": figure(best), "scalar": figure(scalar), "yuv_fast_image_resize": figure(peer),
            });
            println!("{report}");
        }
    }
}

/// Times every turn with every backend. Where rows become columns, so do those of the tensor: 384x288 is 288x384 then.
fn turned(rounds: usize) {
    let turns = [
        (Rotate::None, Flip::Off),
        (Rotate::Half, Flip::Off),
        (Rotate::None, Flip::Horizontal),
        (Rotate::None, Flip::Vertical),
        (Rotate::Right, Flip::Off),
        (Rotate::Left, Flip::Off),
    ];
    let cases = [
        (Layout::Yuyv, 640, 480),
        (Layout::Nv12, 640, 480),
        (Layout::YU12, 640, 480),
        (Layout::Rgb, 640, 480),
        (Layout::Grey, 640, 480),
        (Layout::Yuyv, 384, 288),
        (Layout::Rgb, 384, 288),
        (Layout::Yuyv, 1280, 720),
        (Layout::Nv12, 1920, 1080),
    ];
    for (layout, width, height) in cases {
        let format = PictureFormat { layout, size: Size::new(width, height), color: Colorimetry::default() };
        let (bytes, stride) = picture(format);
        let picture = Picture::contiguous(format, stride, &bytes).unwrap();
        for backend in Backend::available() {
            let candidate = |(rotate, flip): (Rotate, Flip)| {
                let orientation = Orientation::new(rotate, flip);
                let picture = picture.turned(orientation);
                let target = orientation.turn(TARGET);
                let (source, map) = (Source::from(&picture), PixelMap::Flip);
                let mut pass = Preprocessor::with_backend(source, target, Fit::Stretch, map, 0, backend).unwrap();
                let mut tensor = vec![0; target.pixels() * 3];
                Candidate::new(format!("{rotate} {flip:?}"), move || {
                    pass.run(black_box(&picture), &mut tensor).unwrap();
                    black_box(&mut tensor);
                })
            };
            let mut candidates = turns.map(candidate);
            take_turns(&mut candidates, rounds);
            println!("{width}x{height} {layout}, {backend}, {rounds} rounds");
            let plain = candidates[0].median_us();
            let least = candidates[0].times[0].as_secs_f64();
            for candidate in &mut candidates {
                let median = candidate.median_us();
                println!(
                    "  {:<16} median {median:8.1} us, {:5.2} times plain; of the lowest times {:5.2}",
                    candidate.name,
                    median / plain,
                    candidate.times[0].as_secs_f64() / least
                );
            }
        }
    }
}
