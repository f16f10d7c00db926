//! Runs one conversion or one decoding again and again, so that an emulator can count its instructions:
//! `scripts/bench-pixels-aarch64`.
//!
//! `--list` prints every case with its candidates; `--count CASE CANDIDATE ROUNDS` runs one.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic)]

// As the program calls it.
extern crate pspnetd_pixels as pixels;

#[path = "../../../benches/support/peer.rs"]
mod peer;

use std::hint::black_box;

use pixels::frame::{Colorimetry, Layout, Picture, PictureFormat, Size};
use pixels::orientation::{Flip, Orientation, Rotate};
use pixels::preprocess::{Fit, PixelMap, Preprocessor, Source};
use pixels::segment::{Backend, Decoder, OutputKind, OutputSpec, Region, ScoreType, Summary};

use peer::{peer, picture, TARGET};

/// Output of a real model for a real frame; see `benches/data/README.md` of the program.
static LOGITS: &[u8] = include_bytes!("../../../benches/data/walkway_logits_36x48x11.i8");

/// The two crates, where they have what the case needs.
const CRATES: &str = "crates";

struct Conversion {
    name: &'static str,
    layout: Layout,
    size: Size,
    rotate: Rotate,
    flip: Flip,
}

const fn upright(name: &'static str, layout: Layout, width: usize, height: usize) -> Conversion {
    Conversion { name, layout, size: Size::new(width, height), rotate: Rotate::None, flip: Flip::Off }
}

const fn turned(name: &'static str, layout: Layout, rotate: Rotate, flip: Flip) -> Conversion {
    Conversion { name, layout, size: Size::new(640, 480), rotate, flip }
}

const CONVERSIONS: [Conversion; 14] = [
    upright("640x480-YUYV", Layout::Yuyv, 640, 480),
    upright("640x480-NV12", Layout::Nv12, 640, 480),
    upright("640x480-YU12", Layout::YU12, 640, 480),
    upright("640x480-RGB3", Layout::Rgb, 640, 480),
    upright("640x480-GREY", Layout::Grey, 640, 480),
    upright("640x480-YUV411P", Layout::Planar { h: 4, v: 1 }, 640, 480),
    upright("384x288-YUYV", Layout::Yuyv, 384, 288),
    upright("320x240-YUYV", Layout::Yuyv, 320, 240),
    upright("1280x720-YUYV", Layout::Yuyv, 1280, 720),
    upright("1920x1080-NV12", Layout::Nv12, 1920, 1080),
    turned("640x480-YUYV-180", Layout::Yuyv, Rotate::Half, Flip::Off),
    turned("640x480-YUYV-90", Layout::Yuyv, Rotate::Right, Flip::Off),
    turned("640x480-YUYV-270", Layout::Yuyv, Rotate::Left, Flip::Off),
    turned("640x480-YUYV-mirrored", Layout::Yuyv, Rotate::None, Flip::Horizontal),
];

/// Decoding of real logits.
const DECODING: &str = "decode-640x480";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().position(|argument| argument == "--count") {
        Some(at) => {
            let [case, candidate, rounds] = [1, 2, 3].map(|next| arguments[at + next].as_str());
            let mut run = candidate_of(case, candidate).unwrap_or_else(|| panic!("no {case} {candidate}"));
            (0..rounds.parse().unwrap()).for_each(|_| run());
        }
        None => list(),
    }
}

fn list() {
    let backends: Vec<String> = Backend::available().map(|backend| backend.to_string()).collect();
    for conversion in CONVERSIONS {
        let crates = if has_peer(&conversion) { CRATES } else { "" };
        println!("{} {} {crates}", conversion.name, backends.join(" "));
    }
    println!("{DECODING} {}", backends.join(" "));
}

/// The crates know no turn on the way; a copy of the picture would have to be turned as well.
fn has_peer(conversion: &Conversion) -> bool {
    let is_known = matches!(conversion.layout, Layout::Yuyv | Layout::Nv12 | Layout::YU12 | Layout::Rgb);
    is_known && (conversion.rotate, conversion.flip) == (Rotate::None, Flip::Off)
}

fn candidate_of(case: &str, candidate: &str) -> Option<Box<dyn FnMut()>> {
    let backend = Backend::available().find(|backend| backend.to_string() == candidate);
    if case == DECODING {
        return Some(decoding(backend?));
    }
    let conversion = CONVERSIONS.into_iter().find(|conversion| conversion.name == case)?;
    let format = PictureFormat { layout: conversion.layout, size: conversion.size, color: Colorimetry::default() };
    let (bytes, stride) = picture(format);
    // It lives as long as the program.
    let picture = Picture::contiguous(format, stride, Vec::leak(bytes)).unwrap();
    if candidate == CRATES && has_peer(&conversion) {
        return Some(Box::new(peer(picture)));
    }
    let orientation = Orientation::new(conversion.rotate, conversion.flip);
    let (picture, target) = (picture.turned(orientation), orientation.turn(TARGET));
    let (source, map) = (Source::from(&picture), PixelMap::Flip);
    let mut pass = Preprocessor::with_backend(source, target, Fit::Stretch, map, 0, backend?).unwrap();
    let mut tensor = vec![0; target.pixels() * 3];
    Some(Box::new(move || {
        pass.run(black_box(&picture), &mut tensor).unwrap();
        black_box(&mut tensor);
    }))
}

fn decoding(backend: Backend) -> Box<dyn FnMut()> {
    let kind = OutputKind::Logits { score: ScoreType::Int8, classes: 11, scale: 0.093_909_9, zero_point: -6 };
    let spec = OutputSpec { height: 36, width: 48, kind };
    let size = Size::new(640, 480);
    let mut decoder = Decoder::with_backend(spec, Region::WHOLE, size, backend).unwrap();
    let (mut mask, mut summary) = (vec![0; size.pixels()], Summary::default());
    Box::new(move || {
        decoder.decode(black_box(LOGITS), black_box(&mut mask), &mut summary).unwrap();
    })
}
