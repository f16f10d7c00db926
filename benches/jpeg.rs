//! Compares JPEG decoders on the bundled clip: docs/jpeg-decoder.md has the figures and what follows from them.
//! The decoders take turns frame by frame, so that a busy machine slows all of them alike.
//!
//! `taskset -c 0 cargo bench --bench jpeg` prints medians on one core (`jpeg-decoder` can't do without threads of its
//! own); `jpeg --count NAME FRAMES` decodes that many frames with one decoder and nothing else, for counting
//! instructions (scripts/bench-jpeg-aarch64).
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use camera::jpeg::JpegDecoder;
use pixels::frame::Size;
use turbojpeg::{Image, PixelFormat, Subsamp, YuvImage};
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

type Decode = Box<dyn FnMut(&[u8])>;

/// The candidates by name. The first is what the program uses, by libjpeg's own API; the second does the same by the TurboJPEG API.
fn decoders() -> Vec<(&'static str, Decode)> {
    let mut ours = JpegDecoder::new().unwrap();
    let mut turbo = turbojpeg::Decompressor::new().unwrap();
    let mut rgb = Vec::new();
    let mut planar = turbojpeg::Decompressor::new().unwrap();
    let mut planes = Vec::new();
    vec![
        ("turbojpeg-yuv", Box::new(move |jpeg| _ = black_box(ours.decode(jpeg).unwrap()))),
        (
            "turbojpeg-api-yuv",
            Box::new(move |jpeg| {
                let header = planar.read_header(jpeg).unwrap();
                let (width, height, subsamp) = (header.width, header.height, header.subsamp);
                planes.resize(turbojpeg::yuv_pixels_len(width, 1, height, subsamp).unwrap(), 0);
                let target = YuvImage { pixels: &mut planes[..], width, align: 1, height, subsamp };
                planar.decompress_to_yuv(jpeg, target).unwrap();
                black_box(&planes);
            }),
        ),
        (
            "turbojpeg-rgb",
            Box::new(move |jpeg| {
                let header = turbo.read_header(jpeg).unwrap();
                let (width, height) = (header.width, header.height);
                rgb.resize(width * height * 3, 0);
                let target = Image { pixels: &mut rgb[..], width, pitch: width * 3, height, format: PixelFormat::RGB };
                turbo.decompress(jpeg, target).unwrap();
                black_box(&rgb);
            }),
        ),
        ("zune-jpeg-ycbcr", zune(ColorSpace::YCbCr)),
        ("zune-jpeg-rgb", zune(ColorSpace::RGB)),
        ("jpeg-decoder-rgb", Box::new(|jpeg| drop(black_box(jpeg_decoder::Decoder::new(jpeg).decode().unwrap())))),
    ]
}

fn zune(space: ColorSpace) -> Decode {
    let mut pixels = Vec::new();
    Box::new(move |jpeg| {
        let options = DecoderOptions::default().jpeg_set_out_colorspace(space);
        let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
        decoder.decode_headers().unwrap();
        pixels.resize(decoder.output_buffer_size().unwrap(), 0);
        decoder.decode_into(&mut pixels).unwrap();
        black_box(&pixels);
    })
}

/// The clip's frames. It has no thumbnails, so the start marker tells them apart.
fn frames() -> Vec<Vec<u8>> {
    let clip = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/media/walkway.mjpeg")).unwrap();
    let mut starts: Vec<usize> = (0..clip.len() - 2).filter(|&at| clip[at..at + 3] == [0xFF, 0xD8, 0xFF]).collect();
    starts.push(clip.len());
    starts.windows(2).map(|pair| clip[pair[0]..pair[1]].to_vec()).collect()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

/// Medians in milliseconds; every decoder decodes every frame `rounds` times, in turn.
fn measure(decoders: &mut [(&'static str, Decode)], frames: &[Vec<u8>], rounds: usize) -> Vec<(&'static str, f64)> {
    let mut times = vec![Vec::new(); decoders.len()];
    for round in 0..=rounds {
        for frame in frames {
            for ((_, decode), times) in decoders.iter_mut().zip(&mut times) {
                let start = Instant::now();
                decode(frame);
                if round > 0 {
                    times.push(start.elapsed());
                }
            }
        }
    }
    decoders.iter().zip(times).map(|((name, _), times)| (*name, median(times))).collect()
}

fn print(title: &str, medians: &[(&str, f64)]) {
    println!("{title}");
    for (name, ms) in medians {
        println!("  {name:18} {ms:7.3} ms  {:5.2}x", ms / medians[0].1);
    }
}

/// 1280x720 as cameras send it (4:2:2): the clip's first frame at twice its size, cut to the height.
fn hd_frame(clip: &[u8]) -> Vec<u8> {
    let (width, height) = (1280, 960);
    let mut pixels = vec![0; width * height * 3];
    let target = Image { pixels: &mut pixels[..], width, pitch: width * 3, height, format: PixelFormat::RGB };
    let mut turbo = turbojpeg::Decompressor::new().unwrap();
    turbo.set_scaling_factor(turbojpeg::ScalingFactor::TWO).unwrap();
    turbo.decompress(clip, target).unwrap();
    let top = 120 * width * 3;
    let cut = Image { pixels: &pixels[top..], width, pitch: width * 3, height: 720, format: PixelFormat::RGB };
    turbojpeg::compress(cut, 90, Subsamp::Sub2x1).unwrap().to_vec()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let frames = frames();
    if let [_, name, count] = &arguments[..] {
        let (_, mut decode) = decoders().into_iter().find(|(known, _)| known == name).unwrap();
        let count = count.parse().unwrap();
        frames.iter().cycle().take(count).for_each(|frame| decode(frame));
        return;
    }
    // `cargo test --benches` only wants to know that it runs.
    let rounds = if arguments.iter().any(|argument| argument == "--bench") { 5 } else { 1 };
    let medians = measure(&mut decoders(), &frames, rounds);
    print(&format!("640x480, {} frames of tests/media/walkway.mjpeg, {rounds} rounds:", frames.len()), &medians);

    let scales = [("1280x720", None), ("at 1/2", Some((640, 360))), ("at 1/4", Some((320, 180)))];
    let mut scaled: Vec<(&str, Decode)> = Vec::new();
    for (name, wanted) in scales {
        let mut decoder = JpegDecoder::new().unwrap();
        decoder.set_wanted(wanted.map(|(width, height)| Size::new(width, height)));
        scaled.push((name, Box::new(move |jpeg| _ = black_box(decoder.decode(jpeg).unwrap()))));
    }
    let hd = hd_frame(&frames[0]);
    let title = format!("turbojpeg-yuv, 1280x720 4:2:2, {} KiB, by DCT scale:", hd.len() / 1024);
    print(&title, &measure(&mut scaled, &[hd], rounds * 60));
}
