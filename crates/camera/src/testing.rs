//! Pictures for tests of this crate and of others, and what cameras do to them.
#![allow(clippy::unwrap_used, unsafe_code)]

use std::ffi::c_int;

use turbojpeg::{Image, PixelFormat, Subsamp};
use turbojpeg_sys as sys;

use super::mjpeg::{Item, Splitter};
use super::window::Window;

/// Settings of [`compress_with`] that the turbojpeg crate doesn't have: MCUs in a restart interval.
pub const RESTART: u32 = sys::TJPARAM_TJPARAM_RESTARTBLOCKS;
/// 1 for a progressive JPEG.
pub const PROGRESSIVE: u32 = sys::TJPARAM_TJPARAM_PROGRESSIVE;
/// 1 for arithmetic coding.
pub const ARITHMETIC: u32 = sys::TJPARAM_TJPARAM_ARITHMETIC;
/// 1 for Huffman tables of the picture's own.
pub const OPTIMIZE: u32 = sys::TJPARAM_TJPARAM_OPTIMIZE;

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

/// A picture that compresses badly: the gradient with noise in every channel.
pub fn noisy(width: usize, height: usize) -> Vec<u8> {
    let noise = |at: usize| ((at as u32).wrapping_mul(2_654_435_761) >> 26) as u8;
    gradient(width, height).into_iter().enumerate().map(|(at, value)| value.saturating_add(noise(at))).collect()
}

/// `rgb` as a JPEG, with parameters of libjpeg-turbo's API: [`RESTART`] and the others of this module.
///
/// # Panics
/// Where libjpeg-turbo refuses it.
pub fn compress_with(
    rgb: &[u8],
    (width, height): (usize, usize),
    subsamp: Subsamp,
    settings: &[(u32, i32)],
) -> Vec<u8> {
    assert_eq!(rgb.len(), width * height * 3);
    let size = |value: usize| c_int::try_from(value).unwrap();
    let (mut data, mut length) = (std::ptr::null_mut(), 0);
    // SAFETY: the picture has as many bytes as its size says; the library allocates what it returns, which is copied and freed.
    unsafe {
        let handle = sys::tj3Init(sys::TJINIT_TJINIT_COMPRESS as c_int);
        assert!(!handle.is_null());
        let own = [(sys::TJPARAM_TJPARAM_QUALITY, 90), (sys::TJPARAM_TJPARAM_SUBSAMP, subsamp as i32)];
        for &(parameter, value) in own.iter().chain(settings) {
            assert_eq!(sys::tj3Set(handle, parameter as c_int, value), 0);
        }
        let rgb_format = sys::TJPF_TJPF_RGB as c_int;
        let outcome = sys::tj3Compress8(
            handle,
            rgb.as_ptr(),
            size(width),
            0,
            size(height),
            rgb_format,
            &raw mut data,
            &raw mut length,
        );
        assert_eq!(outcome, 0);
        let jpeg = std::slice::from_raw_parts(data, length as usize).to_vec();
        sys::tj3Free(data.cast());
        sys::tj3Destroy(handle);
        jpeg
    }
}

/// Offset of the first scan's data.
///
/// # Panics
/// Where `jpeg` isn't what an encoder writes.
pub fn scan_start(jpeg: &[u8]) -> usize {
    let mut at = 2;
    loop {
        assert_eq!(jpeg[at], 0xFF);
        let is_scan = jpeg[at + 1] == 0xDA;
        at += 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        if is_scan {
            return at;
        }
    }
}

/// What stands in front of the only scan of `jpeg`, and the data of its restart intervals without their markers.
///
/// # Panics
/// Where `jpeg` isn't what an encoder writes.
pub fn intervals(jpeg: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let start = scan_start(jpeg);
    let (mut found, mut begin) = (Vec::new(), start);
    for at in start..jpeg.len() - 1 {
        if jpeg[at] == 0xFF && matches!(jpeg[at + 1], 0xD0..=0xD7 | 0xD9) {
            found.push(jpeg[begin..at].to_vec());
            begin = at + 2;
        }
    }
    assert_eq!(begin, jpeg.len());
    (jpeg[..start].to_vec(), found)
}

/// The opposite of [`intervals`]: numbers the markers anew.
pub fn joined(header: &[u8], intervals: &[Vec<u8>]) -> Vec<u8> {
    let mut jpeg = header.to_vec();
    for (number, interval) in intervals.iter().enumerate() {
        jpeg.extend_from_slice(interval);
        let marker = if number + 1 == intervals.len() { 0xD9 } else { 0xD0 + (number % 8) as u8 };
        jpeg.extend_from_slice(&[0xFF, marker]);
    }
    jpeg
}

/// `jpeg` with a segment at `at`, where one segment ends and another begins.
///
/// # Panics
/// Where the payload is too long for a segment.
pub fn with_segment(jpeg: &[u8], at: usize, marker: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 2).unwrap();
    [&jpeg[..at], &[0xFF, marker], &length.to_be_bytes(), payload, &jpeg[at..]].concat()
}

/// `jpeg` without the DHT segments in front of its first scan, as Motion JPEG cameras leave them out.
///
/// # Panics
/// Where `jpeg` isn't what an encoder writes.
pub fn without_tables(jpeg: &[u8]) -> Vec<u8> {
    let (mut kept, mut at) = (jpeg[..2].to_vec(), 2);
    loop {
        assert_eq!(jpeg[at], 0xFF);
        let end = at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        match jpeg[at + 1] {
            0xC4 => {}
            0xDA => {
                kept.extend_from_slice(&jpeg[at..]);
                return kept;
            }
            _ => kept.extend_from_slice(&jpeg[at..end]),
        }
        at = end;
    }
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
