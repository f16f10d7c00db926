//! Holds the scalar reference itself to a floating-point ideal, written from the definitions and nothing else.

use super::tests::{random_bytes, Owned, LAYOUTS};
use super::*;
use crate::frame::{Colorimetry, Matrix, Range, Siting};

/// Sample `(x, y)` of component `component` (Y, U, V or R, G, B), beyond the edges the nearest.
fn sample(picture: &Picture<'_>, component: usize, x: isize, y: isize) -> f64 {
    let format = picture.format();
    let (sx, sy) = steps(format.layout, component);
    let x = x.clamp(0, format.size.width.div_ceil(sx) as isize - 1) as usize;
    let y = y.clamp(0, format.size.height.div_ceil(sy) as isize - 1) as usize;
    let (plane, at) = match format.layout {
        Layout::Yuyv => (0, [2 * x, 4 * x + 1, 4 * x + 3][component]),
        Layout::Uyvy => (0, [2 * x + 1, 4 * x, 4 * x + 2][component]),
        Layout::Nv12 => [(0, x), (1, 2 * x), (1, 2 * x + 1)][component],
        Layout::Planar { .. } => (component, x),
        Layout::Rgb => (0, 3 * x + component),
        Layout::Bgr => (0, 3 * x + 2 - component),
        Layout::Grey => (0, x),
    };
    f64::from(picture.row(plane, y)[at])
}

/// Pixels per sample across and down.
fn steps(layout: Layout, component: usize) -> (usize, usize) {
    match layout {
        _ if component == 0 => (1, 1),
        Layout::Yuyv | Layout::Uyvy => (2, 1),
        Layout::Nv12 => (2, 2),
        Layout::Planar { h, v } => (usize::from(h), usize::from(v)),
        _ => (1, 1),
    }
}

/// Indices and weights along an axis for output `output` of `outputs`, given the pixels, the step and the position of
/// the samples within it.
fn weights(pixels: usize, step: usize, left: bool, outputs: usize, output: usize) -> Vec<(isize, f64)> {
    let step = step as f64;
    let shrink = pixels as f64 / outputs as f64;
    // Centre of sample c on the pixel axis, where pixel 0 spans 0..1.
    let centre = |c: f64| {
        if left {
            c * step + 0.5
        } else {
            (c + 0.5) * step
        }
    };
    if shrink / step <= 2.0 {
        let position = ((output as f64 + 0.5) * shrink - centre(0.0)) / step;
        let index = position.floor();
        let right = position - index;
        vec![(index as isize, 1.0 - right), (index as isize + 1, right)]
    } else {
        let (from, to) = (output as f64 * shrink, (output as f64 + 1.0) * shrink);
        let overlap = |c: isize| {
            let middle = centre(c as f64);
            ((middle + step / 2.0).min(to) - (middle - step / 2.0).max(from)).max(0.0) / (to - from)
        };
        let around = (from / step) as isize - 2..(to / step) as isize + 3;
        around.map(|c| (c, overlap(c))).filter(|&(_, weight)| weight > 0.0).collect()
    }
}

fn component(picture: &Picture<'_>, component: usize, target: Size, x: usize, y: usize) -> f64 {
    let PictureFormat { layout, size, color } = picture.format();
    let (sx, sy) = steps(layout, component);
    let left = color.siting == Siting::Left && sx > 1;
    let across = weights(size.width, sx, left, target.width, x);
    let mut sum = 0.0;
    for (row, down) in weights(size.height, sy, false, target.height, y) {
        for &(column, weight) in &across {
            sum += down * weight * sample(picture, component, column, row);
        }
    }
    sum
}

fn rgb(picture: &Picture<'_>, target: Size, x: usize, y: usize) -> [f64; 3] {
    let PictureFormat { layout, color, .. } = picture.format();
    let part = |index| component(picture, index, target, x, y);
    let (black, luma, chroma) = if color.range == Range::Limited { (16.0, 219.0, 224.0) } else { (0.0, 255.0, 255.0) };
    let (kr, kb) = if color.matrix == Matrix::Bt601 { (0.299, 0.114) } else { (0.2126, 0.0722) };
    let rgb = match layout {
        Layout::Rgb | Layout::Bgr => [part(0), part(1), part(2)],
        Layout::Grey => [(part(0) - black) * 255.0 / luma; 3],
        _ => {
            let y = (part(0) - black) * 255.0 / luma;
            let (u, v) = ((part(1) - 128.0) * 255.0 / chroma, (part(2) - 128.0) * 255.0 / chroma);
            let (red, blue) = (y + (2.0 - 2.0 * kr) * v, y + (2.0 - 2.0 * kb) * u);
            [red, (y - kr * red - kb * blue) / (1.0 - kr - kb), blue]
        }
    };
    rgb.map(|value| value.clamp(0.0, 255.0))
}

/// Largest and mean difference of the scalar reference from the ideal, for a picture that lies so.
fn difference(owned: &Owned, orientation: Orientation, target: Size) -> (f64, f64) {
    let picture = owned.picture().turned(orientation);
    let source = Source::from(&picture);
    let mut pass =
        Preprocessor::with_backend(source, target, Fit::Stretch, PixelMap::Identity, 0, Backend::Scalar).unwrap();
    let mut tensor = vec![0; target.pixels() * 3];
    pass.run(&picture, &mut tensor).unwrap();
    let (mut max, mut sum) = (0f64, 0.0);
    for (at, pixel) in tensor.chunks(3).enumerate() {
        // The ideal knows the picture as it is stored.
        let stored = orientation.turn(target);
        let (x, y) = orientation.stored_at(stored, (at % target.width, at / target.width));
        let ideal = rgb(&picture, stored, x, y);
        for (ideal, &byte) in ideal.iter().zip(pixel) {
            let error = (ideal - f64::from(byte)).abs();
            max = max.max(error);
            sum += error;
        }
    }
    (max, sum / tensor.len() as f64)
}

#[test]
fn the_reference_is_near_the_ideal() {
    // Halves, up-scaling, two sides of the change to area averaging, odd ratios, one axis each way.
    let targets = [(48, 36), (24, 18), (23, 17), (97, 80), (20, 100), (95, 7), (9, 5), (61, 3)];
    for layout in LAYOUTS {
        for (matrix, range, siting) in [
            (Matrix::Bt601, Range::Limited, Siting::Left),
            (Matrix::Bt709, Range::Limited, Siting::Center),
            (Matrix::Bt601, Range::Full, Siting::Center),
            (Matrix::Bt709, Range::Full, Siting::Left),
        ] {
            let color = Colorimetry { matrix, range, siting };
            let format = PictureFormat { layout, size: Size::new(61, 47), color };
            let noise = Owned::new(format, 3, random_bytes(11));
            let turns = Orientation::ALL.into_iter().cycle().skip(1);
            for ((width, height), turned) in targets.into_iter().zip(turns) {
                for orientation in [Orientation::UPRIGHT, turned] {
                    let (max, mean) = difference(&noise, orientation, Size::new(width, height));
                    let what = format!("{layout} {color:?} {orientation:?} to {width}x{height}");
                    assert!(max <= 3.0 && mean <= 0.6, "{max} {mean}: {what}");
                }
            }
        }
    }
}
