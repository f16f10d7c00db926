//! The decoder on pictures of every kind. Those of broken cameras are in `tests/cameras.rs`.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::testing::{encode, gradient, without_tables};
use turbojpeg::{Colorspace, Image, PixelFormat, Subsamp};

mod cameras;

/// Mean of every plane.
fn means(picture: &Picture<'_>) -> Vec<f64> {
    let format = picture.format();
    (0..format.layout.planes())
        .map(|plane| {
            let (row, rows) = format.layout.plane_extent(plane, format.size);
            let sum: u64 = (0..rows).flat_map(|y| picture.row(plane, y)).map(|&b| u64::from(b)).sum();
            sum as f64 / (row * rows) as f64
        })
        .collect()
}

#[test]
fn every_subsampling_at_every_scale_and_odd_sizes() {
    let mut decoder = JpegDecoder::new().unwrap();
    for subsamp in [
        Subsamp::Sub2x2,
        Subsamp::Sub2x1,
        Subsamp::None,
        Subsamp::Sub1x2,
        Subsamp::Sub4x1,
        Subsamp::Sub1x4,
        Subsamp::Gray,
    ] {
        for (width, height) in [(64, 64), (67, 45), (1, 1), (17, 130)] {
            let jpeg = encode(width, height, subsamp);
            decoder.set_wanted(None);
            let full = decoder.decode(&jpeg).unwrap();
            let format = full.picture.format();
            assert_eq!((format.size, full.picture.full_size()), (Size::new(width, height), Size::new(width, height)));
            assert_eq!(format.color, Colorimetry::JPEG);
            let expected = match subsamp {
                Subsamp::Gray => Layout::Grey,
                other => Layout::Planar { h: other.width() as u8, v: other.height() as u8 },
            };
            assert_eq!(format.layout, expected);
            let full_means = means(&full.picture);
            // Top left corner of the gradient is blue, whose BT.601 luma is 29 of 255.
            assert!(full.picture.row(0, 0)[0].abs_diff(29) < 12, "{subsamp:?} {width}x{height}");
            for divisor in [2, 4, 8] {
                let wanted = Size::new(width.div_ceil(divisor), height.div_ceil(divisor));
                decoder.set_wanted(Some(wanted));
                let scaled = decoder.decode(&jpeg).unwrap();
                assert_eq!(scaled.picture.full_size(), Size::new(width, height));
                let size = scaled.picture.format().size;
                assert!(size.width >= wanted.width && size.height >= wanted.height);
                // With whole blocks only; others weigh too much at the edges of a small picture.
                if width == 64 {
                    assert_eq!(size, wanted);
                    for (a, b) in full_means.iter().zip(means(&scaled.picture)) {
                        assert!((a - b).abs() < 8.0, "{subsamp:?} {width}x{height} 1/{divisor}: {a} and {b}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_scale_never_goes_below_what_is_wanted() {
    let scale = |full: (usize, usize), wanted: (usize, usize)| {
        divisor_for(Size::new(full.0, full.1), Size::new(wanted.0, wanted.1))
    };
    assert_eq!(scale((640, 480), (384, 288)), 1);
    assert_eq!(scale((768, 576), (384, 288)), 2);
    assert_eq!(scale((1280, 720), (384, 288)), 2);
    assert_eq!(scale((1280, 570), (384, 288)), 1);
    assert_eq!(scale((1920, 1080), (384, 270)), 4);
    assert_eq!(scale((8192, 8192), (64, 64)), 8);
    assert_eq!(scale((100, 100), (384, 288)), 1);
}

#[test]
fn a_frame_without_huffman_tables_decodes_as_with_them() {
    let jpeg = encode(48, 32, Subsamp::Sub2x1);
    let bare = without_tables(&jpeg);
    assert!(bare.len() < jpeg.len() - 400);
    let mut decoder = JpegDecoder::new().unwrap();
    let expected: Vec<u8> = decoder.decode(&jpeg).unwrap().picture.planes()[0].data.to_vec();
    // A picture with tables of its own in between must not leave them behind.
    let mut compressor = turbojpeg::Compressor::new().unwrap();
    compressor.set_optimize(true).unwrap();
    let rgb = gradient(48, 32);
    let image = Image { pixels: &rgb[..], width: 48, pitch: 48 * 3, height: 32, format: PixelFormat::RGB };
    let optimized = compressor.compress_to_vec(image).unwrap();
    decoder.decode(&optimized).unwrap();
    assert_eq!(decoder.decode(&bare).unwrap().picture.planes()[0].data, expected);
    assert_eq!(decoder.decode_rgb(&bare).unwrap(), decoder.decode_rgb(&jpeg).unwrap());
}

#[test]
fn a_truncated_frame_is_an_error_wherever_it_ends() {
    let jpeg = encode(64, 48, Subsamp::Sub2x2);
    let mut decoder = JpegDecoder::new().unwrap();
    // Without its last two bytes the picture lacks the end marker, and nothing else.
    for cut in 0..jpeg.len() - 2 {
        // With the end marker in place a camera sends this when it ran out of USB bandwidth.
        for end in [&[][..], &[0xFF], &[0xFF, 0xD9]] {
            let frame = [&jpeg[..cut], end].concat();
            let error = decoder.decode(&frame).unwrap_err();
            assert!(matches!(error, JpegError::Corrupt(_)), "cut at {cut}: {error}");
            assert!(decoder.decode_rgb(&frame).is_err());
        }
    }
    let expected = decoder.decode(&jpeg).unwrap().picture.planes()[0].data.to_vec();
    let decoded = decoder.decode(&jpeg[..jpeg.len() - 2]).unwrap();
    assert_eq!(decoded.picture.planes()[0].data, expected);
}

#[test]
fn flipped_bytes_never_panic() {
    let jpeg = encode(40, 24, Subsamp::Sub2x2);
    let mut decoder = JpegDecoder::new().unwrap();
    for at in 0..jpeg.len() {
        for flip in [0x01, 0x80, 0xFF] {
            let mut bad = jpeg.clone();
            bad[at] ^= flip;
            let _ = decoder.decode(&bad);
            let _ = decoder.decode_rgb(&bad);
            assert_eq!(decoder.decode(&jpeg).map(|_| ()), Ok(()), "after byte {at} was flipped by {flip:#x}");
        }
    }
}

#[test]
fn an_oversized_header_is_refused_before_anything_is_allocated() {
    let mut decoder = JpegDecoder::new().unwrap();
    for (width, height) in [(20_000u16, 8u16), (8, 20_000), (16_000, 16_000)] {
        let mut jpeg = encode(16, 16, Subsamp::Sub2x2);
        let sof = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
        jpeg[sof + 5..sof + 7].copy_from_slice(&height.to_be_bytes());
        jpeg[sof + 7..sof + 9].copy_from_slice(&width.to_be_bytes());
        let expected = JpegError::TooLarge(Size::new(width.into(), height.into()));
        assert_eq!(decoder.decode(&jpeg).unwrap_err(), expected);
        assert_eq!(decoder.decode_rgb(&jpeg).unwrap_err(), expected);
        assert_eq!(decoder.pixels.capacity(), 0);
    }
}

#[test]
fn rgb_and_cmyk_fall_back_to_rgb() {
    let (width, height) = (32, 16);
    let rgb = gradient(width, height);
    let image = Image { pixels: &rgb[..], width, pitch: width * 3, height, format: PixelFormat::RGB };
    let mut compressor = turbojpeg::Compressor::new().unwrap();
    compressor.set_quality(98).unwrap();
    compressor.set_subsamp(Subsamp::None).unwrap();
    compressor.set_colorspace(Colorspace::RGB).unwrap();
    let as_rgb = compressor.compress_to_vec(image).unwrap();
    // Inverted CMYK with no black: the channels are red, green, blue, 255.
    let cmyk: Vec<u8> = rgb.chunks(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
    let image = Image { pixels: &cmyk[..], width, pitch: width * 4, height, format: PixelFormat::CMYK };
    compressor.set_colorspace(Colorspace::CMYK).unwrap();
    let as_cmyk = compressor.compress_to_vec(image).unwrap();
    let mut decoder = JpegDecoder::new().unwrap();
    for jpeg in [as_rgb, as_cmyk] {
        let decoded = decoder.decode(&jpeg).unwrap();
        assert_eq!(decoded.picture.format().layout, Layout::Rgb);
        for y in 0..height {
            let row = decoded.picture.row(0, y);
            for (found, expected) in row.iter().zip(&rgb[y * width * 3..]) {
                assert!(found.abs_diff(*expected) < 8);
            }
        }
        let (size, pixels) = decoder.decode_rgb(&jpeg).unwrap();
        assert_eq!((size, pixels.len()), (Size::new(width, height), width * height * 3));
    }
}

#[test]
fn still_pictures_come_in_full_size_rgb() {
    let jpeg = encode(50, 30, Subsamp::Sub2x2);
    let mut decoder = JpegDecoder::new().unwrap();
    decoder.set_wanted(Some(Size::new(5, 5)));
    let (size, pixels) = decoder.decode_rgb(&jpeg).unwrap();
    assert_eq!(size, Size::new(50, 30));
    for (found, expected) in pixels.iter().zip(gradient(50, 30)) {
        assert!(found.abs_diff(expected) < 16, "{found} {expected}");
    }
}

#[test]
fn progressive_is_read_and_lossless_is_refused() {
    let rgb = gradient(32, 32);
    let image = || Image { pixels: &rgb[..], width: 32, pitch: 96, height: 32, format: PixelFormat::RGB };
    let mut compressor = turbojpeg::Compressor::new().unwrap();
    compressor.set_progressive(true).unwrap();
    let progressive = compressor.compress_to_vec(image()).unwrap();
    let mut decoder = JpegDecoder::new().unwrap();
    assert!(decoder.decode(&progressive).is_ok());
    let mut compressor = turbojpeg::Compressor::new().unwrap();
    compressor.set_lossless(true).unwrap();
    let lossless = compressor.compress_to_vec(image()).unwrap();
    assert_eq!(decoder.decode(&lossless).unwrap_err(), JpegError::Unsupported("lossless"));
}

#[test]
fn the_buffer_is_reused() {
    let jpeg = encode(64, 48, Subsamp::Sub2x2);
    let mut decoder = JpegDecoder::new().unwrap();
    decoder.decode(&jpeg).unwrap();
    let (at, capacity) = (decoder.pixels.as_ptr(), decoder.pixels.capacity());
    for _ in 0..3 {
        decoder.decode(&jpeg).unwrap();
    }
    assert_eq!((decoder.pixels.as_ptr(), decoder.pixels.capacity()), (at, capacity));
}
