//! Holds the turned pass to the pass over a picture that was turned before, pixel by pixel.

use proptest::prelude::*;

use super::tests::{random_bytes, Owned};
use super::*;
use crate::frame::{Colorimetry, Matrix, Plane, Range, Siting};

/// A copy of a picture with planes, or with one byte or three to the pixel, that is stored upright.
fn copied(owned: &Owned, orientation: Orientation) -> Owned {
    let PictureFormat { layout, size, color } = owned.format;
    let upright = match layout {
        Layout::Planar { h, v } if orientation.is_swapped() => Layout::Planar { h: v, v: h },
        other => other,
    };
    let format = PictureFormat { layout: upright, size: orientation.turn(size), color };
    let picture = owned.picture();
    Owned::new(format, 0, |plane, at, y| {
        let (bytes, rows) = layout.plane_extent(plane, size);
        let samples = if layout.is_yuv() { 1 } else { 3 };
        let stored = Size::new(bytes / samples, rows);
        let (x, y) = orientation.stored_at(stored, (at / samples, y));
        picture.row(plane, y)[x * samples + at % samples]
    })
}

/// What the scalar pass makes of a picture that lies so.
fn tensor(owned: &Owned, orientation: Orientation, target: Size, fit: Fit) -> Vec<u8> {
    let picture = owned.picture().turned(orientation);
    let source = Source::from(&picture);
    let mut pass = Preprocessor::with_backend(source, target, fit, PixelMap::Identity, 77, Backend::Scalar).unwrap();
    let mut tensor = vec![0; target.pixels() * 3];
    pass.run(&picture, &mut tensor).unwrap();
    tensor
}

fn layout() -> impl Strategy<Value = Layout> {
    let step = || prop_oneof![Just(1u8), Just(2), Just(4)];
    prop_oneof![
        Just(Layout::Grey),
        Just(Layout::Rgb),
        Just(Layout::Bgr),
        (step(), step()).prop_map(|(h, v)| Layout::Planar { h, v }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_turned_picture_gives_what_its_turned_copy_gives(
        layout in layout(),
        // Whole chroma samples: what lies on an edge in part lies on the other edge of the copy.
        size in (1..=20usize, 1..=20usize).prop_map(|(width, height)| Size::new(4 * width, 4 * height)),
        target in (1..=50usize, 1..=50usize).prop_map(|(width, height)| Size::new(width, height)),
        same_size in proptest::bool::weighted(0.2),
        orientation in proptest::sample::select(&Orientation::ALL[..]),
        letterbox in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let color = Colorimetry { matrix: Matrix::Bt709, range: Range::Limited, siting: Siting::Center };
        let target = if same_size { orientation.turn(size) } else { target };
        let fit = if letterbox { Fit::Letterbox } else { Fit::Stretch };
        let owned = Owned::new(PictureFormat { layout, size, color }, 3, random_bytes(seed));
        let turned = tensor(&owned, orientation, target, fit);
        let copy = tensor(&copied(&owned, orientation), Orientation::UPRIGHT, target, fit);
        // Where rows are columns, what is rounded between the passes is of the other axis: 1 more or less of Y, U and V each.
        let exact = !orientation.is_swapped() || (same_size && matches!(layout, Layout::Grey | Layout::Rgb | Layout::Bgr));
        let most = match layout {
            _ if exact => 0,
            Layout::Grey => 2,
            Layout::Rgb | Layout::Bgr => 1,
            _ => 4,
        };
        let differs = |(a, b): (&u8, &u8)| a.abs_diff(*b);
        let largest = turned.iter().zip(&copy).map(differs).max();
        prop_assert!(largest <= Some(most), "{largest:?} {layout} {orientation:?}");
    }
}

#[test]
fn a_picture_that_lies_otherwise_is_refused() {
    let format = PictureFormat { layout: Layout::Grey, size: Size::new(4, 4), color: Colorimetry::default() };
    let owned = Owned::new(format, 0, |_, _, _| 0);
    let [upright, turned] = [Orientation::ALL[0], Orientation::ALL[1]];
    let mut pass = Preprocessor::new(format, Size::new(2, 2), Fit::Stretch, PixelMap::Identity, 0).unwrap();
    let refused = pass.run(&owned.picture().turned(turned), &mut [0; 12]);
    assert_eq!(refused, Err(PreprocessError::Orientation { expected: upright, found: turned }));
}

#[test]
fn the_bars_of_a_letterbox_lie_beside_the_upright_picture() {
    let format = PictureFormat { layout: Layout::Grey, size: Size::new(40, 20), color: Colorimetry::default() };
    let source = Source { format, orientation: Orientation::ALL[1] };
    let pass = Preprocessor::new(source, Size::new(30, 30), Fit::Letterbox, PixelMap::Identity, 0).unwrap();
    assert_eq!(pass.placement(), Rect { x: 7, y: 0, width: 15, height: 30 });
}

/// A tile of many rows and columns, with room around it that must stay as it is.
#[test]
fn tiles_are_turned_into_their_place_alone() {
    for backend in Backend::available() {
        let kernels = backend.kernels().unwrap();
        for (rows, columns) in [(1, 1), (3, 40), (16, 7), (16, 16), (16, 33), (16, 64), (16, 95)] {
            for upwards in [false, true] {
                let apart = columns + 3;
                let slots: Vec<u8> = (0..rows * 3 * apart).map(|at| (at * 31 % 251) as u8).collect();
                let offsets: Vec<usize> = (0..rows).rev().map(|row| row * 3 * apart).collect();
                let pitch = rows * 3 + 5;
                let tile = strip::Tile { slots: &slots, offsets: &offsets, apart, columns, pitch, upwards };
                let mut into = vec![0xee; (columns - 1) * pitch + rows * 3];
                kernels.turn(&tile, &mut into);
                for (y, line) in into.chunks(pitch).enumerate() {
                    let column = if upwards { columns - 1 - y } else { y };
                    for (at, &byte) in line.iter().enumerate() {
                        let expected = match offsets.get(at / 3) {
                            Some(offset) => slots[offset + at % 3 * apart + column],
                            None => 0xee,
                        };
                        assert_eq!(byte, expected, "{backend} {rows}x{columns} {upwards}, row {y}, byte {at}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_plane_is_read_by_its_stride_when_it_is_turned() {
    let bytes: Vec<u8> = (0..3 * 10).collect();
    let format = PictureFormat { layout: Layout::Grey, size: Size::new(4, 3), color: Colorimetry::JPEG };
    let plane = Plane { data: &bytes, stride: 10 };
    let picture = Picture::new(format, [plane, Plane::default(), Plane::default()]).unwrap();
    let half = Orientation::from_exif(3).unwrap();
    let picture = picture.turned(half);
    let mut pass =
        Preprocessor::new(Source::from(&picture), Size::new(4, 3), Fit::Stretch, PixelMap::Identity, 0).unwrap();
    let mut tensor = [0; 36];
    pass.run(&picture, &mut tensor).unwrap();
    let reds: Vec<u8> = tensor.iter().step_by(3).copied().collect();
    assert_eq!(reds, [23, 22, 21, 20, 13, 12, 11, 10, 3, 2, 1, 0]);
}
