//! Tests of the whole pass: SIMD against scalar, known colours, letterbox, refusals.

use proptest::prelude::*;

use super::*;
use crate::frame::{Colorimetry, Matrix, Plane, Range, Siting};

/// A picture that owns its bytes.
pub(super) struct Owned {
    pub(super) format: PictureFormat,
    planes: Vec<(Vec<u8>, usize)>,
}

impl Owned {
    /// `byte(plane, x, y)` fills rows that are `padding` bytes longer than their pixels, except the last.
    pub(super) fn new(format: PictureFormat, padding: usize, mut byte: impl FnMut(usize, usize, usize) -> u8) -> Self {
        let planes = (0..format.layout.planes()).map(|plane| {
            let (bytes, rows) = format.layout.plane_extent(plane, format.size);
            let stride = bytes + padding;
            let data = (0..stride * (rows - 1) + bytes).map(|at| byte(plane, at % stride, at / stride)).collect();
            (data, stride)
        });
        Self { format, planes: planes.collect() }
    }

    pub(super) fn picture(&self) -> Picture<'_> {
        let mut planes = [Plane::default(); 3];
        for (plane, (data, stride)) in planes.iter_mut().zip(&self.planes) {
            *plane = Plane { data, stride: *stride };
        }
        Picture::new(self.format, planes).unwrap()
    }
}

pub(super) fn random_bytes(seed: u64) -> impl FnMut(usize, usize, usize) -> u8 {
    let mut state = seed | 1;
    move |_, _, _| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Extremes more often than chance has them: they are where sums overflow.
        match state >> 61 {
            0 => 0,
            1 => 255,
            _ => (state >> 32) as u8,
        }
    }
}

pub(super) const LAYOUTS: [Layout; 12] = [
    Layout::Yuyv,
    Layout::Uyvy,
    Layout::Nv12,
    Layout::Rgb,
    Layout::Bgr,
    Layout::Grey,
    Layout::Planar { h: 1, v: 1 },
    Layout::Planar { h: 1, v: 2 },
    Layout::Planar { h: 2, v: 1 },
    Layout::Planar { h: 2, v: 2 },
    Layout::Planar { h: 4, v: 1 },
    Layout::Planar { h: 4, v: 2 },
];

pub(super) fn color() -> impl Strategy<Value = Colorimetry> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(hd, full, center)| Colorimetry {
        matrix: if hd { Matrix::Bt709 } else { Matrix::Bt601 },
        range: if full { Range::Full } else { Range::Limited },
        siting: if center { Siting::Center } else { Siting::Left },
    })
}

fn size() -> impl Strategy<Value = Size> {
    let small = || (1..=70usize, 1..=70usize);
    let large = prop_oneof![Just((641, 479)), Just((97, 3)), Just((3, 97)), Just((320, 240)), Just((1283, 31))];
    prop_oneof![6 => small(), 1 => large].prop_map(|(width, height)| Size::new(width, height))
}

fn map() -> impl Strategy<Value = PixelMap> {
    prop_oneof![
        Just(PixelMap::Identity),
        Just(PixelMap::Flip),
        any::<u8>().prop_map(|key| {
            let mut tables = Box::new([[0; 256]; 3]);
            for (index, entry) in tables.iter_mut().flatten().enumerate() {
                *entry = (index * 7 + index / 256) as u8 ^ key;
            }
            PixelMap::Table(tables)
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_backend_equals_the_scalar_reference(
        layout in proptest::sample::select(&LAYOUTS[..]),
        size in size(),
        target in size(),
        same_size in proptest::bool::weighted(0.1),
        color in color(),
        orientation in proptest::sample::select(&Orientation::ALL[..]),
        letterbox in any::<bool>(),
        map in map(),
        padding in prop_oneof![Just(0usize), 1..40usize],
        seed in any::<u64>(),
    ) {
        let target = if same_size { orientation.turn(size) } else { target };
        let fit = if letterbox { Fit::Letterbox } else { Fit::Stretch };
        let owned = Owned::new(PictureFormat { layout, size, color }, padding, random_bytes(seed));
        let picture = owned.picture().turned(orientation);
        let run = |backend| {
            let mut pass =
                Preprocessor::with_backend(Source::from(&picture), target, fit, map.clone(), 114, backend).unwrap();
            let mut tensor = vec![0xa5; target.pixels() * 3];
            pass.run(&picture, &mut tensor).unwrap();
            // A second picture must not see the first.
            let mut again = vec![0x5a; target.pixels() * 3];
            pass.run(&picture, &mut again).unwrap();
            assert_eq!(tensor, again);
            tensor
        };
        let reference = run(Backend::Scalar);
        for backend in Backend::available() {
            prop_assert!(run(backend) == reference, "{} differs", backend);
        }
    }
}

fn format(layout: Layout, width: usize, height: usize) -> PictureFormat {
    PictureFormat { layout, size: Size::new(width, height), color: Colorimetry::default() }
}

/// Y, U, V bytes of pure red, green, blue, white and black, computed from the standards' definitions.
fn encode(rgb: [f64; 3], color: Colorimetry) -> [u8; 3] {
    let (kr, kb) = if color.matrix == Matrix::Bt601 { (0.299, 0.114) } else { (0.2126, 0.0722) };
    let y = kr * rgb[0] + (1.0 - kr - kb) * rgb[1] + kb * rgb[2];
    let (u, v) = ((rgb[2] - y) / (2.0 - 2.0 * kb), (rgb[0] - y) / (2.0 - 2.0 * kr));
    let (black, luma, chroma) = if color.range == Range::Limited { (16.0, 219.0, 224.0) } else { (0.0, 255.0, 255.0) };
    let byte = |value: f64| value.round().clamp(0.0, 255.0) as u8;
    [byte(black + luma * y), byte(128.0 + chroma * u), byte(128.0 + chroma * v)]
}

#[test]
fn known_colours_come_out() {
    for matrix in [Matrix::Bt601, Matrix::Bt709] {
        for range in [Range::Limited, Range::Full] {
            for bits in 0..8u8 {
                let rgb = [0, 1, 2].map(|bit| f64::from(bits >> bit & 1));
                let color = Colorimetry { matrix, range, siting: Siting::Left };
                let yuv = encode(rgb, color);
                let format = PictureFormat { layout: Layout::Planar { h: 1, v: 1 }, size: Size::new(5, 5), color };
                let owned = Owned::new(format, 0, |plane, _, _| yuv[plane]);
                for backend in Backend::available() {
                    let target = Size::new(3, 7);
                    let mut pass =
                        Preprocessor::with_backend(format, target, Fit::Stretch, PixelMap::Identity, 0, backend)
                            .unwrap();
                    let mut tensor = vec![0; 63];
                    pass.run(&owned.picture(), &mut tensor).unwrap();
                    for (at, &byte) in tensor.iter().enumerate() {
                        let expected = rgb[at % 3] * 255.0;
                        assert!((f64::from(byte) - expected).abs() <= 2.0, "{color:?} {rgb:?}: {:?}", &tensor[..3]);
                    }
                }
            }
        }
    }
}

#[test]
fn a_copy_at_the_same_size_is_exact() {
    let owned = Owned::new(format(Layout::Bgr, 37, 11), 5, random_bytes(7));
    for backend in Backend::available() {
        let mut pass =
            Preprocessor::with_backend(owned.format, Size::new(37, 11), Fit::Letterbox, PixelMap::Flip, 0, backend)
                .unwrap();
        let mut tensor = vec![0; 37 * 11 * 3];
        pass.run(&owned.picture(), &mut tensor).unwrap();
        for y in 0..11 {
            let bgr = owned.picture().row(0, y).chunks(3);
            let expected: Vec<u8> =
                bgr.flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]).map(|byte| byte ^ 0x80).collect();
            assert_eq!(&tensor[y * 37 * 3..][..37 * 3], expected);
        }
    }
}

#[test]
fn a_letterbox_keeps_proportions_and_paints_the_bars() {
    let owned = Owned::new(format(Layout::Grey, 40, 20), 0, |_, _, _| 235);
    let mut pass = Preprocessor::new(owned.format, Size::new(30, 30), Fit::Letterbox, PixelMap::Flip, 100).unwrap();
    assert_eq!(pass.placement(), Rect { x: 0, y: 7, width: 30, height: 15 });
    let mut tensor = vec![1; 2700];
    pass.run(&owned.picture(), &mut tensor).unwrap();
    for (y, row) in tensor.chunks(90).enumerate() {
        let expected = if (7..22).contains(&y) { 127 } else { 100 ^ 0x80 };
        assert!(row.iter().all(|&byte| byte == expected), "row {y}: {row:?}");
    }
    let tall = format(Layout::Grey, 9, 4000);
    let pass = Preprocessor::new(tall, Size::new(32, 32), Fit::Letterbox, PixelMap::Flip, 0).unwrap();
    assert_eq!(pass.placement(), Rect { x: 15, y: 0, width: 1, height: 32 });
    let pass = Preprocessor::new(tall, Size::new(31, 17), Fit::Stretch, PixelMap::Flip, 0).unwrap();
    assert_eq!(pass.placement(), Rect { x: 0, y: 0, width: 31, height: 17 });
}

#[test]
fn what_does_not_fit_is_refused() {
    let good = format(Layout::Yuyv, 4, 4);
    let new = |source, target| Preprocessor::new(source, target, Fit::Stretch, PixelMap::Identity, 0).map(|_| ());
    let one = Size::new(1, 1);
    assert!(matches!(new(format(Layout::Yuyv, 0, 4), one), Err(PreprocessError::Size { what: "a picture", .. })));
    assert!(matches!(new(format(Layout::Grey, 4, MAX_SIDE + 1), one), Err(PreprocessError::Size { .. })));
    assert!(matches!(new(good, Size::new(3, 0)), Err(PreprocessError::Size { what: "a tensor", .. })));
    let odd = format(Layout::Planar { h: 0, v: 1 }, 4, 4);
    assert!(matches!(new(odd, one), Err(PreprocessError::ChromaSteps { .. })));

    let mut pass = Preprocessor::new(good, Size::new(2, 2), Fit::Stretch, PixelMap::Identity, 0).unwrap();
    let mut tensor = [9; 12];
    let other = Owned::new(format(Layout::Uyvy, 4, 4), 0, |_, _, _| 0);
    assert!(matches!(pass.run(&other.picture(), &mut tensor), Err(PreprocessError::Format { .. })));
    let right = Owned::new(good, 0, |_, _, _| 0);
    let short = pass.run(&right.picture(), &mut tensor[..11]);
    assert_eq!(short, Err(PreprocessError::TensorLength { expected: 12, found: 11 }));
    assert_eq!(tensor, [9; 12], "untouched");
    pass.run(&right.picture(), &mut tensor).unwrap();
}

#[test]
fn a_foreign_backend_is_refused() {
    let foreign = if cfg!(target_arch = "x86_64") { Backend::Neon } else { Backend::Avx2 };
    let source = format(Layout::Grey, 4, 4);
    let made = Preprocessor::with_backend(source, Size::new(2, 2), Fit::Stretch, PixelMap::Flip, 0, foreign);
    assert_eq!(made.map(|_| ()), Err(PreprocessError::Backend(foreign)));
    assert!(Backend::available().any(|backend| backend == Backend::detect()));
}
