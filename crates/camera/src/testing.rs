//! Pictures for tests of this crate and of others.
#![allow(clippy::unwrap_used)]

use turbojpeg::{Image, PixelFormat, Subsamp};

use super::mjpeg::{Item, Splitter};
use super::window::Window;

/// A smooth colour picture: red grows to the right, green downwards, blue falls to the right.
pub fn gradient(width: usize, height: usize) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            rgb.push((x * 255 / width.max(2)) as u8);
            rgb.push((y * 255 / height.max(2)) as u8);
            rgb.push(255 - (x * 255 / width.max(2)) as u8);
        }
    }
    rgb
}

/// `rgb` as a JPEG.
///
/// # Panics
/// Where libjpeg-turbo refuses it.
pub fn compress(rgb: &[u8], width: usize, height: usize, subsamp: Subsamp) -> Vec<u8> {
    let image = Image { pixels: rgb, width, pitch: width * 3, height, format: PixelFormat::RGB };
    turbojpeg::compress(image, 95, subsamp).unwrap().to_vec()
}

/// The [`gradient`] as a JPEG.
///
/// # Panics
/// As [`compress`].
pub fn encode(width: usize, height: usize, subsamp: Subsamp) -> Vec<u8> {
    compress(&gradient(width, height), width, height, subsamp)
}

/// The frames of `stream`, as replay and camera programs cut them out.
///
/// # Panics
/// Never: bytes in memory can be read.
pub fn cut_mjpeg(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut splitter = Splitter::new(Window::new(stream));
    let (mut frames, mut frame) = (Vec::new(), Vec::new());
    loop {
        match splitter.next(&mut frame).unwrap() {
            Item::Frame { .. } => frames.push(frame.clone()),
            Item::Broken { .. } => {}
            Item::End => return frames,
        }
    }
}
