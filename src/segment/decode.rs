//! [`Decoder`]: checks what it is given, picks the fastest way the CPU has, and fills the [`Summary`].
//!
//! The ways themselves are in `scalar` (the specification), `kernel` (the same in vectors) and `labels`.
#![allow(unsafe_code)]

use super::confidence::Confidence;
use super::labels::Labels;
use super::plan::{Plan, Span};
use super::scalar::Grid;
use super::{OutputKind, OutputSpec, Region, ScoreType, Summary};
use crate::frame::Size;
use crate::simd::Backend;

/// Longest side of a grid or mask.
pub const MAX_SIDE: usize = 16384;

impl Backend {
    /// 16-bit lanes of its vectors.
    const fn lanes(self) -> usize {
        match self {
            Self::Scalar => 1,
            Self::Sse41 | Self::Neon => 8,
            Self::Avx2 => 16,
        }
    }
}

/// Why an output can't be decoded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A side is 0 or longer than [`MAX_SIDE`].
    #[error("{what} of {size} has a side that is not 1 to {MAX_SIDE}")]
    Side {
        /// `output grid` or `mask`.
        what: &'static str,
        /// Its size.
        size: Size,
    },
    /// Class ids must fit a byte beside [`VOID`](super::VOID), and one class is no segmentation.
    #[error("logits of {0} classes; 2 to 255 can be decoded")]
    Classes(usize),
    /// The quantisation step is not a positive number.
    #[error("logits have a quantisation scale of {0}; it must be more than 0")]
    Scale(f32),
    /// The region is empty, not a number, or reaches outside the input.
    #[error("the picture can't cover {}x{} at ({}, {}) of the model's input: must be within 0 to 1, and not empty",
        .0.width, .0.height, .0.x, .0.y)]
    Region(Region),
    /// This CPU lacks the instructions.
    #[error("this CPU can't decode with {0}")]
    Backend(Backend),
    /// The tensor has another length than its description.
    #[error("output tensor has {found} bytes, expected {expected}")]
    OutputLength {
        /// Bytes that the [`OutputSpec`] asks for.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// The mask buffer has another length than its size.
    #[error("mask has {found} pixels, expected {expected}")]
    MaskLength {
        /// Pixels that the mask's size asks for.
        expected: usize,
        /// Pixels there are.
        found: usize,
    },
}

/// Turns output tensors of one shape into class maps of one size. Everything is allocated in advance.
#[derive(Debug)]
pub struct Decoder {
    spec: OutputSpec,
    mask: Size,
    backend: Backend,
    method: Method,
}

#[derive(Debug)]
enum Method {
    Logits(Box<Logits>),
    Labels(Labels),
}

#[derive(Debug)]
struct Logits {
    plan: Plan,
    work: Work,
    confidence: Confidence,
}

/// Scratch memory of the backend.
#[derive(Debug)]
enum Work {
    /// One blended grid row.
    Scalar(Vec<i16>),
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    Vector(Box<super::kernel::Work>),
}

impl Decoder {
    /// A decoder for tensors of `spec`, whose `region` shows the picture, into masks of size `mask`.
    ///
    /// # Errors
    /// When a side is 0 or too long, the classes are not 2 to 255, or the region or scale make no sense.
    pub fn new(spec: OutputSpec, region: Region, mask: Size) -> Result<Self, DecodeError> {
        Self::with_backend(spec, region, mask, Backend::detect())
    }

    /// The same with a backend of the caller's choice.
    ///
    /// # Errors
    /// As [`Decoder::new`], and when this CPU lacks the backend's instructions.
    pub fn with_backend(spec: OutputSpec, region: Region, mask: Size, backend: Backend) -> Result<Self, DecodeError> {
        let grid = Size::new(spec.width, spec.height);
        for (what, size) in [("output grid", grid), ("mask", mask)] {
            let fits = 1..=MAX_SIDE;
            if !fits.contains(&size.width) || !fits.contains(&size.height) {
                return Err(DecodeError::Side { what, size });
            }
        }
        if !backend.is_available() {
            return Err(DecodeError::Backend(backend));
        }
        let (horizontal, vertical) = spans(region)?;
        let method = match spec.kind {
            OutputKind::Labels { label } => {
                let (grid, mask) = ((spec.width, spec.height), (mask.width, mask.height));
                Method::Labels(Labels::new(label, grid, (horizontal, vertical), mask))
            }
            OutputKind::Logits { score, classes, scale, .. } => {
                if !(2..=255).contains(&classes) {
                    return Err(DecodeError::Classes(classes));
                }
                if !(scale.is_finite() && scale > 0.0) {
                    return Err(DecodeError::Scale(scale));
                }
                let flip = match score {
                    ScoreType::Int8 => 0,
                    ScoreType::Uint8 => 0x80,
                };
                let grid = Grid { width: spec.width, height: spec.height, classes, flip };
                let plan =
                    Plan::new(grid, horizontal.taps(mask.width, grid.width), vertical.taps(mask.height, grid.height));
                let work = match backend {
                    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
                    Backend::Sse41 | Backend::Avx2 | Backend::Neon => {
                        Work::Vector(Box::new(super::kernel::Work::new(&plan, backend.lanes())))
                    }
                    _ => Work::Scalar(vec![0; grid.width * classes]),
                };
                let confidence = Confidence::new(scale, horizontal.cells(grid.width), vertical.cells(grid.height));
                Method::Logits(Box::new(Logits { plan, work, confidence }))
            }
        };
        Ok(Self { spec, mask, backend, method })
    }

    /// Size of the masks.
    pub const fn mask_size(&self) -> Size {
        self.mask
    }

    /// The instructions in use. Labels are decoded without any.
    pub const fn backend(&self) -> Backend {
        self.backend
    }

    /// Decodes one tensor. `output` is its raw little-endian bytes; `mask` gets a class id per pixel, row by row;
    /// `summary` is overwritten. Allocates nothing.
    ///
    /// # Errors
    /// When a buffer has another length than the decoder was made for. Nothing is written then.
    pub fn decode(&mut self, output: &[u8], mask: &mut [u8], summary: &mut Summary) -> Result<(), DecodeError> {
        let (expected, found) = (self.spec.bytes(), output.len());
        if expected != found {
            return Err(DecodeError::OutputLength { expected, found });
        }
        let (expected, found) = (self.mask.pixels(), mask.len());
        if expected != found {
            return Err(DecodeError::MaskLength { expected, found });
        }
        summary.counts.fill(0);
        summary.confidence = match &mut self.method {
            Method::Labels(labels) => {
                labels.render(output, mask, &mut summary.counts);
                None
            }
            Method::Logits(logits) => {
                let Logits { plan, work, confidence } = &mut **logits;
                match work {
                    Work::Scalar(blended) => super::scalar::render(plan, output, blended, mask, &mut summary.counts),
                    #[cfg(target_arch = "x86_64")]
                    Work::Vector(work) => {
                        let counts = &mut summary.counts;
                        // SAFETY: `with_backend` refused backends that the CPU lacks.
                        unsafe {
                            match self.backend {
                                Backend::Avx2 => super::x86::render_avx2(plan, work, output, mask, counts),
                                _ => super::x86::render_sse41(plan, work, output, mask, counts),
                            }
                        }
                    }
                    #[cfg(target_arch = "aarch64")]
                    // SAFETY: `with_backend` refused backends that the CPU lacks.
                    Work::Vector(work) => unsafe {
                        super::neon::render_neon(plan, work, output, mask, &mut summary.counts);
                    },
                }
                Some(confidence.mean(plan.grid, output))
            }
        };
        Ok(())
    }
}

/// The two axes of a region that lies inside the input. Edges may be past 1 by what `f32` sums round to.
fn spans(region: Region) -> Result<(Span, Span), DecodeError> {
    let span = |origin: f32, extent: f32| {
        let inside = origin >= 0.0 && extent > 0.0 && origin + extent <= 1.0 + 1e-6;
        inside.then_some(Span { origin, extent }).ok_or(DecodeError::Region(region))
    };
    Ok((span(region.x, region.width)?, span(region.y, region.height)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::segment::LabelType;

    /// How the logits of a test look.
    #[derive(Clone, Copy, Debug)]
    enum Texture {
        Random,
        /// Few distinct values: ties everywhere.
        Ties,
        /// Areas of one class each, as real models give them.
        Blocks,
        /// Slopes that differ a little from class to class.
        Slopes,
    }

    #[derive(Clone, Debug)]
    struct Case {
        grid: Size,
        classes: usize,
        score: ScoreType,
        region: Region,
        mask: Size,
        texture: Texture,
        seed: u64,
    }

    impl Case {
        fn spec(&self) -> OutputSpec {
            let (score, classes) = (self.score, self.classes);
            let kind = OutputKind::Logits { score, classes, scale: 0.07, zero_point: 3 };
            OutputSpec { height: self.grid.height, width: self.grid.width, kind }
        }

        fn logits(&self) -> Vec<u8> {
            let mut state = self.seed | 1;
            let mut random = move || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 24) as u32
            };
            let salt = random();
            let mut logits = Vec::with_capacity(self.spec().bytes());
            for y in 0..self.grid.height {
                for x in 0..self.grid.width {
                    for class in 0..self.classes {
                        let noise = random();
                        let value = match self.texture {
                            Texture::Random => noise as u8,
                            Texture::Ties => [0, 127, 128, 255, 7][noise as usize % 2 + salt as usize % 4],
                            Texture::Blocks => {
                                let patch = (y / 4 * 7 + x / 5 * 3 + salt as usize) % self.classes;
                                (if patch == class { 60 } else { 20 }) + (noise % 16) as u8
                            }
                            Texture::Slopes => {
                                let direction = (class as u32).wrapping_mul(salt | 1);
                                (x as u32 * (direction >> 7 & 15) + y as u32 * (direction >> 3 & 15)) as u8
                            }
                        };
                        logits.push(value);
                    }
                }
            }
            logits
        }

        fn decode(&self, backend: Backend) -> (Vec<u8>, Summary) {
            let mut decoder = Decoder::with_backend(self.spec(), self.region, self.mask, backend).unwrap();
            let (mut mask, mut summary) = (vec![251; self.mask.pixels()], Summary::default());
            // Twice: scratch memory that one frame leaves behind must not reach the next.
            for _ in 0..2 {
                decoder.decode(&self.logits(), &mut mask, &mut summary).unwrap();
            }
            (mask, summary)
        }
    }

    fn side(longest: usize) -> impl Strategy<Value = usize> {
        prop_oneof![1 => Just(1), 1 => 1..4usize, 8 => 1..=longest]
    }

    fn region() -> impl Strategy<Value = Region> {
        let part = (0.0..0.9f32, 0.05..1.0f32);
        let part = part.prop_map(|(origin, extent)| (origin, extent.min(1.0 - origin)));
        let parts = (part.clone(), part);
        let parts = parts.prop_map(|((x, width), (y, height))| Region { x, y, width, height });
        prop_oneof![Just(Region::WHOLE), parts]
    }

    fn case() -> impl Strategy<Value = Case> {
        let classes = prop_oneof![3 => 2..=40usize, 1 => Just(16), 1 => Just(150), 1 => Just(255)];
        let texture =
            prop_oneof![Just(Texture::Random), Just(Texture::Ties), Just(Texture::Blocks), Just(Texture::Slopes)];
        let score = prop_oneof![Just(ScoreType::Int8), Just(ScoreType::Uint8)];
        let mask = (side(90), side(90)).prop_map(|(width, height)| Size::new(width, height));
        let grid = (side(20), side(20)).prop_map(|(width, height)| Size::new(width, height));
        (grid, classes, score, region(), mask, texture, any::<u64>()).prop_map(
            |(grid, classes, score, region, mask, texture, seed)| Case {
                grid,
                classes,
                score,
                region,
                mask,
                texture,
                seed,
            },
        )
    }

    /// Upsampled logits of all classes at a mask pixel, in quantisation steps, exactly.
    fn exact(case: &Case, logits: &[u8], x: usize, y: usize) -> Vec<f64> {
        let axis = |origin: f32, extent: f32, index: usize, mask: usize, grid: usize| {
            let fraction = f64::from(origin) + f64::from(extent) * (index as f64 + 0.5) / mask as f64;
            let position = (fraction * grid as f64 - 0.5).clamp(0.0, (grid - 1) as f64);
            let cell = position.floor();
            (cell as usize, (cell as usize + 1).min(grid - 1), position - cell)
        };
        let (left, right, tx) = axis(case.region.x, case.region.width, x, case.mask.width, case.grid.width);
        let (upper, lower, ty) = axis(case.region.y, case.region.height, y, case.mask.height, case.grid.height);
        let value = |row: usize, column: usize, class: usize| {
            let byte = logits[(row * case.grid.width + column) * case.classes + class];
            match case.score {
                ScoreType::Int8 => f64::from(byte as i8),
                ScoreType::Uint8 => f64::from(byte),
            }
        };
        let blend = |a: f64, b: f64, t: f64| a + (b - a) * t;
        let at = |class| {
            let vertical = |column| blend(value(upper, column, class), value(lower, column, class), ty);
            blend(vertical(left), vertical(right), tx)
        };
        (0..case.classes).map(at).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(target_arch = "x86_64") { 1500 } else { 500 }))]

        #[test]
        fn every_backend_equals_the_scalar_one(case in case()) {
            let (mask, summary) = case.decode(Backend::Scalar);
            prop_assert_eq!(summary.counts.iter().sum::<u64>(), case.mask.pixels() as u64);
            for backend in Backend::available() {
                let (found, figures) = case.decode(backend);
                if let Some(at) = mask.iter().zip(&found).position(|(a, b)| a != b) {
                    let (x, y) = (at % case.mask.width, at / case.mask.width);
                    prop_assert!(false, "{} at ({}, {}): {} for {}", backend, x, y, found[at], mask[at]);
                }
                prop_assert_eq!(&figures, &summary, "{}", backend);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn the_scalar_backend_is_right_but_for_rounding(case in case()) {
            let logits = case.logits();
            let (mask, summary) = case.decode(Backend::Scalar);
            let mut counts = [0; 256];
            for (at, &class) in mask.iter().enumerate() {
                counts[usize::from(class)] += 1;
                let exact = exact(&case, &logits, at % case.mask.width, at / case.mask.width);
                let greatest = exact.iter().copied().fold(f64::MIN, f64::max);
                // The bound that `scalar` derives.
                prop_assert!(greatest - exact[usize::from(class)] < 3.0 / 64.0, "pixel {}: {:?}", at, exact);
            }
            prop_assert_eq!(counts, summary.counts);
        }
    }

    fn logits(width: usize, height: usize, classes: usize) -> OutputSpec {
        let kind = OutputKind::Logits { score: ScoreType::Int8, classes, scale: 0.1, zero_point: 0 };
        OutputSpec { height, width, kind }
    }

    #[test]
    fn two_columns_meet_where_their_lines_cross() {
        // Class 0 falls from 10 to 0, class 1 rises from 0 to 30: they cross at a quarter of the way. Pixel centres of
        // a mask of 8 are at -1/4 (clamped to 0), 0 (clamped), 1/8, 3/8, 5/8, 7/8, 1, 1.
        for backend in Backend::available() {
            let mut decoder = Decoder::with_backend(logits(2, 1, 2), Region::WHOLE, Size::new(8, 1), backend).unwrap();
            let (mut mask, mut summary) = ([9; 8], Summary::default());
            decoder.decode(&[10, 0, 0, 30], &mut mask, &mut summary).unwrap();
            assert_eq!(mask, [0, 0, 0, 1, 1, 1, 1, 1], "{backend}");
            assert_eq!((summary.counts[0], summary.counts[1]), (3, 5));
            // Mean of 1 / (1 + exp(-1)) and 1 / (1 + exp(-3)).
            assert!((summary.confidence.unwrap() - 0.841_816_4).abs() < 1e-6);
        }
    }

    #[test]
    fn ties_go_to_the_lowest_class() {
        for backend in Backend::available() {
            let mut decoder = Decoder::with_backend(logits(1, 2, 20), Region::WHOLE, Size::new(3, 5), backend).unwrap();
            let (mut mask, mut summary) = ([9; 15], Summary::default());
            let mut tensor = [0x80; 40];
            tensor[3] = 50;
            tensor[17] = 50;
            tensor[20 + 17] = 50;
            tensor[20 + 18] = 50;
            decoder.decode(&tensor, &mut mask, &mut summary).unwrap();
            // Class 3 ties with 17 in the upper grid row only; the first mask row lies on it, the second a tenth below.
            assert_eq!(mask, [3, 3, 3, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17, 17], "{backend}");
        }
    }

    #[test]
    fn a_letterbox_leaves_its_bars_out() {
        let region = Region { x: 0.0, y: 0.25, width: 1.0, height: 0.5 };
        let mut decoder = Decoder::new(logits(3, 4, 2), region, Size::new(3, 2)).unwrap();
        let (mut mask, mut summary) = ([9; 6], Summary::default());
        let row = |class: usize| [if class == 0 { 100u8 } else { 0 }, if class == 0 { 0 } else { 100 }].repeat(3);
        let tensor = [row(1), row(0), row(0), row(1)].concat();
        decoder.decode(&tensor, &mut mask, &mut summary).unwrap();
        assert_eq!(mask, [0; 6]);
        let certain = summary.confidence.unwrap();
        assert!((certain - 1.0 / (1.0 + (-10f32).exp())).abs() < 1e-6);
    }

    #[test]
    fn labels_have_no_confidence() {
        let spec = OutputSpec { height: 1, width: 2, kind: OutputKind::Labels { label: LabelType::Uint8 } };
        let mut decoder = Decoder::new(spec, Region::WHOLE, Size::new(4, 2)).unwrap();
        let (mut mask, mut summary) = ([9; 8], Summary { confidence: Some(1.0), ..Summary::default() });
        decoder.decode(&[4, 255], &mut mask, &mut summary).unwrap();
        assert_eq!(mask, [4, 4, 255, 255, 4, 4, 255, 255]);
        assert_eq!((summary.counts[4], summary.counts[255], summary.confidence), (4, 4, None));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let size = Size::new(4, 4);
        let new = |spec, region, size| Decoder::new(spec, region, size).map(|_| ()).unwrap_err();
        let whole = Region::WHOLE;
        assert!(matches!(new(logits(0, 3, 3), whole, size), DecodeError::Side { what: "output grid", .. }));
        assert!(matches!(new(logits(3, 3, 3), whole, Size::new(3, 0)), DecodeError::Side { what: "mask", .. }));
        assert!(matches!(new(logits(usize::MAX, 3, 3), whole, size), DecodeError::Side { .. }));
        assert_eq!(new(logits(3, 3, 1), whole, size), DecodeError::Classes(1));
        assert_eq!(new(logits(3, 3, 256), whole, size), DecodeError::Classes(256));
        for (x, width) in [(0.0, 0.0), (-0.1, 0.5), (0.6, 0.5), (f32::NAN, 0.5), (0.5, f32::NAN), (0.0, f32::INFINITY)]
        {
            let region = Region { x, width, ..whole };
            assert!(matches!(new(logits(3, 3, 3), region, size), DecodeError::Region(_)), "{region:?}");
            let region = Region { y: x, height: width, ..whole };
            assert!(matches!(new(logits(3, 3, 3), region, size), DecodeError::Region(_)), "{region:?}");
        }
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let kind = OutputKind::Logits { score: ScoreType::Int8, classes: 3, scale, zero_point: 0 };
            assert!(matches!(new(OutputSpec { kind, ..logits(3, 3, 3) }, whole, size), DecodeError::Scale(_)));
        }
        let missing = Backend::ALL.into_iter().find(|backend| !backend.is_available()).unwrap();
        let error = Decoder::with_backend(logits(3, 3, 3), whole, size, missing).map(|_| ()).unwrap_err();
        assert_eq!(error, DecodeError::Backend(missing));
    }

    #[test]
    fn buffers_of_another_length_are_refused() {
        let mut decoder = Decoder::new(logits(3, 2, 4), Region::WHOLE, Size::new(5, 5)).unwrap();
        let (mut mask, mut summary) = ([9; 25], Summary::default());
        let error = decoder.decode(&[0; 23], &mut mask, &mut summary).unwrap_err();
        assert_eq!(error.to_string(), "output tensor has 23 bytes, expected 24");
        let error = decoder.decode(&[0; 24], &mut mask[..24], &mut summary).unwrap_err();
        assert_eq!(error, DecodeError::MaskLength { expected: 25, found: 24 });
        assert_eq!(mask, [9; 25]);
    }
}
