//! What the camera sees, and what it makes of it where it is told to misbehave.

use std::io;

use turbojpeg::{Image, PixelFormat, Subsamp};

use super::descriptors::Format;

/// Stripes from the left: how many sixths of the width, and the colour. The shares differ, so that classes that were mixed
/// up are seen, and so are swapped chroma planes, which would exchange red and blue.
const STRIPES: [(usize, [u8; 3]); 3] = [(3, [255, 0, 0]), (2, [0, 255, 0]), (1, [0, 0, 255])];

const HUFFMAN_TABLES: u8 = 0xc4;
const START_OF_SCAN: u8 = 0xda;
const QUALITY: i32 = 90;

/// What is wrong with the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing.
    Good,
    /// JPEGs without Huffman tables, as many cameras send them.
    Bare,
    /// Bytes behind the end of the picture, as of cameras that fill up their last packet.
    Padded,
    /// The second half of each frame is lost, and nobody says so.
    Truncated,
    /// Each frame is marked as faulty in its packets' headers.
    Faulty,
    /// Frames without a byte.
    Empty,
    /// Frames whose bytes are no picture.
    Noise,
    /// Nothing is sent.
    Silent,
}

impl Mode {
    /// The mode of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "good" => Self::Good,
            "bare" => Self::Bare,
            "padded" => Self::Padded,
            "truncated" => Self::Truncated,
            "faulty" => Self::Faulty,
            "empty" => Self::Empty,
            "noise" => Self::Noise,
            "silent" => Self::Silent,
            _ => return None,
        })
    }
}

/// The frame's bytes. Fails where libjpeg-turbo does.
pub(crate) fn frame(format: Format, (width, height): (u16, u16)) -> io::Result<Vec<u8>> {
    let (width, height) = (usize::from(width), usize::from(height));
    match format {
        Format::Mjpeg => {
            let row: Vec<u8> = (0..width).flat_map(|x| colour(x, width)).collect();
            let pixels = row.repeat(height);
            let image = Image { pixels: &pixels[..], width, pitch: width * 3, height, format: PixelFormat::RGB };
            Ok(turbojpeg::compress(image, QUALITY, Subsamp::Sub2x1).map_err(io::Error::other)?.to_vec())
        }
        Format::Yuyv => {
            let row: Vec<u8> = (0..width / 2).flat_map(|pair| yuyv(colour(pair * 2, width))).collect();
            Ok(row.repeat(height))
        }
    }
}

/// The same frame, spoiled as `mode` says.
pub(crate) fn spoiled(mut frame: Vec<u8>, mode: Mode) -> Vec<u8> {
    match mode {
        Mode::Good | Mode::Faulty => {}
        Mode::Bare => frame = without_tables(&frame),
        Mode::Padded => frame.extend([0; 500]),
        Mode::Truncated => frame.truncate(frame.len() / 2),
        Mode::Noise => (0u8..=255).cycle().zip(&mut frame).for_each(|(noise, byte)| *byte = noise),
        Mode::Empty | Mode::Silent => frame.clear(),
    }
    frame
}

fn colour(x: usize, width: usize) -> [u8; 3] {
    let mut sixths = 0;
    for (share, colour) in STRIPES {
        sixths += share;
        if x * 6 < width * sixths {
            return colour;
        }
    }
    STRIPES[STRIPES.len() - 1].1
}

/// Two pixels of this colour: BT.601, limited range.
fn yuyv([red, green, blue]: [u8; 3]) -> [u8; 4] {
    let [red, green, blue] = [red, green, blue].map(f64::from);
    let luma = 16.0 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255.0;
    let cb = 128.0 + (-37.797 * red - 74.203 * green + 112.0 * blue) / 255.0;
    let cr = 128.0 + (112.0 * red - 93.786 * green - 18.214 * blue) / 255.0;
    [luma, cb, luma, cr].map(|value| value.round() as u8)
}

/// `jpeg` without its DHT segments. Frames that are no JPEG stay as they are.
fn without_tables(jpeg: &[u8]) -> Vec<u8> {
    let mut out = jpeg.get(..2).unwrap_or(jpeg).to_vec();
    let mut rest = jpeg.get(2..).unwrap_or_default();
    while let [0xff, kind, high, low, ..] = *rest {
        let length = 2 + usize::from(u16::from_be_bytes([high, low]));
        if kind == START_OF_SCAN || length > rest.len() {
            break;
        }
        if kind != HUFFMAN_TABLES {
            out.extend_from_slice(&rest[..length]);
        }
        rest = &rest[length..];
    }
    out.extend_from_slice(rest);
    out
}
