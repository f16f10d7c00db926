//! Times the preprocess pass per layout and backend, beside the crates `yuv` and `fast_image_resize` in sequence.
//!
//! The candidates take turns, so that a busy machine is busy for all of them; ratios are of medians. The number of
//! rounds can be given: `cargo bench --bench preprocess -- 2000`. `--json` times the first case only and ends with a line
//! of JSON for `scripts/bench`.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use pixels::frame::{Colorimetry, Layout, Picture, PictureFormat, Size};
use pixels::preprocess::{Backend, Fit, PixelMap, Preprocessor};
use yuv::{YuvBiPlanarImage, YuvConversionMode, YuvPackedImage, YuvPlanarImage, YuvRange, YuvStandardMatrix};

const TARGET: Size = Size::new(384, 288);

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

fn main() {
    let rounds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(500);
    let json = std::env::args().any(|argument| argument == "--json");
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
        for _ in 0..rounds {
            for candidate in &mut candidates {
                let start = Instant::now();
                (candidate.run)();
                candidate.times.push(start.elapsed());
            }
        }
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

/// A picture of soft shapes and some noise, its planes one after the other, and the stride of the first.
fn picture(format: PictureFormat) -> (Vec<u8>, usize) {
    let stride = format.layout.plane_extent(0, format.size).0;
    let extents = (0..format.layout.planes()).map(|plane| format.layout.plane_extent(plane, format.size));
    let total = extents.map(|(bytes, rows)| bytes * rows).sum();
    let mut noise = 1u32;
    let byte = |at: usize| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (x, y) = (at % stride, at / stride);
        ((x * 3 / 16 + y / 2) as u32 + (noise >> 28)) as u8
    };
    ((0..total).map(byte).collect(), stride)
}

/// What a program does with the two crates: to RGB at full size, resize, flip the upper bit.
fn peer<'a>(picture: Picture<'a>) -> impl FnMut() + 'a {
    let PictureFormat { layout, size, .. } = picture.format();
    let (width, height) = (size.width as u32, size.height as u32);
    let mut rgb = vec![0u8; size.pixels() * 3];
    let mut small = Image::new(TARGET.width as u32, TARGET.height as u32, PixelType::U8x3);
    let shrinks_much = size.width > 2 * TARGET.width;
    let filter = if shrinks_much {
        ResizeAlg::Convolution(FilterType::Box)
    } else {
        ResizeAlg::Interpolation(FilterType::Bilinear)
    };
    let options = ResizeOptions::new().resize_alg(filter);
    let mut resizer = Resizer::new();
    move || {
        let [first, second, third] = *black_box(picture.planes());
        let (range, matrix) = (YuvRange::Limited, YuvStandardMatrix::Bt601);
        let stride = |plane: pixels::frame::Plane<'_>| plane.stride as u32;
        let source = match layout {
            Layout::Yuyv => {
                let image = YuvPackedImage { yuy: first.data, yuy_stride: stride(first), width, height };
                yuv::yuyv422_to_rgb(&image, &mut rgb, width * 3, range, matrix).unwrap();
                &rgb
            }
            Layout::Nv12 => {
                let image = YuvBiPlanarImage {
                    y_plane: &first.data[..size.pixels()],
                    y_stride: stride(first),
                    uv_plane: second.data,
                    uv_stride: stride(second),
                    width,
                    height,
                };
                yuv::yuv_nv12_to_rgb(&image, &mut rgb, width * 3, range, matrix, YuvConversionMode::Balanced).unwrap();
                &rgb
            }
            Layout::YU12 => {
                let image = YuvPlanarImage {
                    y_plane: &first.data[..size.pixels()],
                    y_stride: stride(first),
                    u_plane: &second.data[..size.pixels() / 4],
                    u_stride: stride(second),
                    v_plane: third.data,
                    v_stride: stride(third),
                    width,
                    height,
                };
                yuv::yuv420_to_rgb(&image, &mut rgb, width * 3, range, matrix).unwrap();
                &rgb
            }
            _ => first.data,
        };
        let source = ImageRef::new(width, height, source, PixelType::U8x3).unwrap();
        resizer.resize(&source, &mut small, &options).unwrap();
        for byte in small.buffer_mut() {
            *byte ^= 0x80;
        }
        black_box(small.buffer());
    }
}
