//! The decoder against an exact one, and all its backends against the scalar one.

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
    let texture = prop_oneof![Just(Texture::Random), Just(Texture::Ties), Just(Texture::Blocks), Just(Texture::Slopes)];
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

/// The mean softmax of the winning class over the grid cells whose centre the region covers, or in the one at its middle
/// where it covers none.
fn certainty(case: &Case, logits: &[u8]) -> f64 {
    let cells = |origin: f32, extent: f32, grid: usize| -> Vec<usize> {
        let first = f64::from(origin) * grid as f64;
        let last = first + f64::from(extent) * grid as f64;
        let covered: Vec<usize> = (0..grid).filter(|&i| (first..last).contains(&(i as f64 + 0.5))).collect();
        let middle = ((f64::from(origin) + f64::from(extent) * 0.5) * grid as f64) as usize;
        if covered.is_empty() {
            vec![middle.min(grid - 1)]
        } else {
            covered
        }
    };
    let columns = cells(case.region.x, case.region.width, case.grid.width);
    let rows = cells(case.region.y, case.region.height, case.grid.height);
    let mut sum = 0.0;
    for (y, x) in rows.iter().flat_map(|y| columns.iter().map(move |x| (y, x))) {
        let cell = &logits[(y * case.grid.width + x) * case.classes..][..case.classes];
        let value = |byte: &u8| match case.score {
            ScoreType::Int8 => f64::from(*byte as i8),
            ScoreType::Uint8 => f64::from(*byte),
        };
        let greatest = cell.iter().map(value).fold(f64::MIN, f64::max);
        sum += 1.0 / cell.iter().map(|byte| ((value(byte) - greatest) * f64::from(0.07f32)).exp()).sum::<f64>();
    }
    sum / (rows.len() * columns.len()) as f64
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
        // The table of exponentials has 23 bits, and a cell adds up to 255 of them.
        let (found, exact) = (f64::from(summary.confidence.unwrap()), certainty(&case, &logits));
        prop_assert!((found - exact).abs() < 255.0 / f64::from(1 << 23), "{} for {}", found, exact);
    }

    #[test]
    fn labels_are_those_of_the_cell_that_a_pixel_lies_in(case in case()) {
        let case = Case { classes: 1, ..case };
        let labels = case.logits();
        let kind = OutputKind::Labels { label: LabelType::Uint8 };
        let spec = OutputSpec { kind, ..case.spec() };
        let mut decoder = Decoder::new(spec, case.region, case.mask).unwrap();
        let (mut mask, mut summary) = (vec![9; case.mask.pixels()], Summary::default());
        decoder.decode(&labels, &mut mask, &mut summary).unwrap();
        let cell = |origin: f32, extent: f32, index: usize, mask: usize, grid: usize| {
            let fraction = f64::from(origin) + f64::from(extent) * (index as f64 + 0.5) / mask as f64;
            ((fraction * grid as f64) as usize).min(grid - 1)
        };
        let mut counts = [0; 256];
        for (at, &label) in mask.iter().enumerate() {
            counts[usize::from(label)] += 1;
            let (x, y) = (at % case.mask.width, at / case.mask.width);
            let column = cell(case.region.x, case.region.width, x, case.mask.width, case.grid.width);
            let row = cell(case.region.y, case.region.height, y, case.mask.height, case.grid.height);
            prop_assert_eq!(label, labels[row * case.grid.width + column], "at ({}, {})", x, y);
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
    for (x, width) in [(0.0, 0.0), (-0.1, 0.5), (0.6, 0.5), (f32::NAN, 0.5), (0.5, f32::NAN), (0.0, f32::INFINITY)] {
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
fn the_limits_themselves_are_taken() {
    let new = |spec, region, size| Decoder::new(spec, region, size).map(|_| ());
    let (whole, small) = (Region::WHOLE, Size::new(1, 1));
    for (width, height) in [(MAX_SIDE, 1), (1, MAX_SIDE)] {
        new(logits(width, height, 2), whole, small).unwrap();
        new(logits(1, 1, 2), whole, Size::new(width, height)).unwrap();
    }
    for (width, height) in [(MAX_SIDE + 1, 1), (1, MAX_SIDE + 1), (0, 1), (1, 0)] {
        let size = Size::new(width, height);
        let told = new(logits(width, height, 2), whole, small).unwrap_err();
        assert_eq!(told, DecodeError::Side { what: "output grid", size });
        let told = new(logits(1, 1, 2), whole, size).unwrap_err();
        assert_eq!(told, DecodeError::Side { what: "mask", size });
    }
    assert_eq!(MAX_SIDE, 16384);
    for classes in [2, 255] {
        new(logits(1, 1, classes), whole, small).unwrap();
    }
    // Edges may be past 1 by what sums of `f32` round to, and by no more.
    for (origin, extent, is_good) in
        [(0.0, 1.0, true), (0.999, 0.001, true), (0.5, 0.500_000_5, true), (0.5, 0.500_005, false), (1.0, 1e-3, false)]
    {
        for region in [Region { x: origin, width: extent, ..whole }, Region { y: origin, height: extent, ..whole }] {
            assert_eq!(new(logits(3, 3, 3), region, small).is_ok(), is_good, "{region:?}");
        }
    }
    let decoder = Decoder::with_backend(logits(3, 3, 3), whole, Size::new(4, 5), Backend::Scalar).unwrap();
    assert_eq!((decoder.mask_size(), decoder.backend()), (Size::new(4, 5), Backend::Scalar));
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
