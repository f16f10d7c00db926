//! Pictures to convert, and what a program does with the crates `yuv` and `fast_image_resize` instead.

use std::hint::black_box;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use pixels::frame::{Layout, Picture, PictureFormat, Size};
use yuv::{YuvBiPlanarImage, YuvConversionMode, YuvPackedImage, YuvPlanarImage, YuvRange, YuvStandardMatrix};

/// The input of a model.
pub(super) const TARGET: Size = Size::new(384, 288);

/// A picture of soft shapes and some noise, its planes one after the other, and the stride of the first.
pub(super) fn picture(format: PictureFormat) -> (Vec<u8>, usize) {
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
pub(super) fn peer<'a>(picture: Picture<'a>) -> impl FnMut() + 'a {
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
