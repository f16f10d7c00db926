//! Which source samples make an output sample, and with which weights: one axis of one plane.
//!
//! Everything is worked out here once per format, so that the kernels only add up. They never see a coordinate.

/// Sum of the weights of an output sample; area averages have less. With it, sums of products with bytes fit 16 bits.
pub(super) const WEIGHT_SUM: u32 = 256;

/// Outputs that a [`Row`] packs together.
pub(super) const BLOCK: usize = 16;

/// Bits below the point of a sum that was multiplied by [`Scale::factor`].
pub(super) const SCALED_BITS: u32 = 6;

/// How a weighted sum of an area average becomes an average: `mulhrs(sum - bias, factor)` is `average - 128` in 1/64.
///
/// Weights that had to add up to [`WEIGHT_SUM`] would differ by 1 among samples that count the same, which is much
/// where each is small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    /// 128 times the sum of the weights; as a 16-bit word, 32768 is its own negative.
    pub(super) bias: i16,
    /// The reciprocal of the sum of the weights.
    pub(super) factor: i16,
}

/// One axis of a plane: where it lies below the axis of the tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    /// Samples of the plane.
    pub(super) samples: usize,
    /// Pixels of the picture along the axis; `samples * step`, or less where the size is odd.
    pub(super) pixels: usize,
    /// Pixels per sample.
    pub(super) step: usize,
    /// Samples are on the first of their pixels, not in the middle of them.
    pub(super) left: bool,
    /// Output samples.
    pub(super) outputs: usize,
    /// The axis runs against that of the upright picture: weights are rounded as they are along that.
    pub(super) mirrored: bool,
}

/// Taps of every output along an axis, all with the same even number of taps.
#[derive(Clone, Debug)]
pub(super) struct Taps {
    /// Taps per output.
    pub(super) count: usize,
    /// Source indices, `count` per output. Those past the end of the plane have no weight.
    pub(super) index: Vec<usize>,
    /// Weights, `count` per output.
    pub(super) weight: Vec<u8>,
    /// One per output where the weights don't add up to [`WEIGHT_SUM`]: area averages.
    pub(super) scale: Option<Vec<Scale>>,
}

impl Axis {
    /// Bilinear down to half size, the average over the exact area below that.
    pub(super) fn taps(&self) -> Taps {
        if self.pixels > 2 * self.step * self.outputs {
            self.area()
        } else {
            self.bilinear()
        }
    }

    /// True if every output is the sample of the same index.
    pub(super) fn is_identity(&self) -> bool {
        self.step == 1 && self.pixels == self.outputs
    }

    /// Distance of the first sample's centre from where it would be if it lay in the middle of its pixels.
    fn shift(&self) -> f64 {
        if self.left {
            0.5 - 0.5 / self.step as f64
        } else {
            0.0
        }
    }

    fn bilinear(&self) -> Taps {
        let mut taps = Taps { count: 2, index: Vec::new(), weight: Vec::new(), scale: None };
        let last = self.samples - 1;
        for output in 0..self.outputs {
            // One division of whole numbers: exact wherever the result is a whole number or a plain fraction.
            let centre = ((2 * output + 1) * self.pixels) as f64 / (2 * self.outputs * self.step) as f64;
            let position = (centre - 0.5 + self.shift()).clamp(0.0, last as f64);
            let mut index = position as usize;
            let right = (position - index as f64) * f64::from(WEIGHT_SUM);
            // A half goes to the sample that is later in the upright picture.
            let mut right = if self.mirrored { (right - 0.5).ceil() } else { right.round() } as u32;
            if right == WEIGHT_SUM {
                (index, right) = (index + 1, 0);
            }
            if right == 0 {
                // A weight of 256 is no byte: the same sample twice, half each.
                taps.index.extend([index, index]);
                taps.weight.extend([128, 128]);
            } else {
                taps.index.extend([index, index + 1]);
                taps.weight.extend([(WEIGHT_SUM - right) as u8, right as u8]);
            }
        }
        taps
    }

    fn area(&self) -> Taps {
        let edge = |output: usize| (output * self.pixels) as f64 / (self.outputs * self.step) as f64 + self.shift();
        let end = |to: f64| (to.ceil() as usize).min(self.samples);
        let spans: Vec<(f64, f64)> = (0..self.outputs).map(|output| (edge(output), edge(output + 1))).collect();
        let count = spans.iter().map(|&(from, to)| end(to) - from as usize).max().unwrap_or(0);
        // Whole samples all get the same weight, and the sum is what it is: see `Scale`. Where that weight would be less
        // than 1, some samples get none.
        let shrink = self.pixels as f64 / (self.outputs * self.step) as f64;
        let whole = (f64::from(WEIGHT_SUM - 1) / shrink).floor();
        let count = count.next_multiple_of(2);
        let mut taps = Taps { count, index: Vec::new(), weight: Vec::new(), scale: Some(Vec::new()) };
        for (from, to) in spans {
            // The last sample stands for what lies past the edge.
            let cut = |index: usize| {
                if index >= self.samples {
                    to
                } else {
                    (index as f64).clamp(from, to)
                }
            };
            let weight = |index: usize| {
                if whole >= 1.0 {
                    ((cut(index + 1) - cut(index)) * whole).round() as u8
                } else {
                    let running = |index| ((cut(index) - from) / shrink * f64::from(WEIGHT_SUM)).round();
                    (running(index + 1) - running(index)) as u8
                }
            };
            let mut sum = 0;
            for index in (from as usize..).take(count) {
                taps.index.push(index);
                taps.weight.push(weight(index));
                sum += u32::from(weight(index));
            }
            if let Some(scale) = &mut taps.scale {
                scale.push(Scale::new(sum));
            }
        }
        taps
    }
}

impl Scale {
    fn new(sum: u32) -> Self {
        let factor = f64::from(1u32 << (15 + SCALED_BITS)) / f64::from(sum);
        Self { bias: (sum * 128) as i16, factor: factor.round() as i16 }
    }
}

/// Taps of the rows of a plane.
#[derive(Clone, Debug)]
pub(super) struct Column {
    taps: Taps,
    /// First and last row with a weight, per output row. Neither ever goes back.
    needed: Vec<(usize, usize)>,
}

impl Column {
    pub(super) fn new(axis: &Axis) -> Self {
        let mut taps = axis.taps();
        let mut needed = Vec::with_capacity(axis.outputs);
        for (index, weight) in taps.index.chunks_mut(taps.count).zip(taps.weight.chunks(taps.count)) {
            let used = || index.iter().zip(weight).filter(|(_, &weight)| weight > 0).map(|(&index, _)| index);
            let (first, last) = (used().min().unwrap_or(0), used().max().unwrap_or(0));
            for index in index {
                *index = (*index).clamp(first, last);
            }
            needed.push((first, last));
        }
        Self { taps, needed }
    }

    /// Rows that must be at hand at the same time.
    pub(super) fn window(&self) -> usize {
        self.needed.iter().map(|&(first, last)| last - first + 1).max().unwrap_or(1)
    }

    /// Taps per output row.
    pub(super) fn count(&self) -> usize {
        self.taps.count
    }

    /// First and last source row of an output row.
    pub(super) fn needed(&self, output: usize) -> (usize, usize) {
        self.needed[output]
    }

    /// Source rows, weights and scale of an output row.
    pub(super) fn taps(&self, output: usize) -> (&[usize], &[u8], Option<Scale>) {
        let range = output * self.taps.count..(output + 1) * self.taps.count;
        let scale = self.taps.scale.as_ref().map(|scale| scale[output]);
        (&self.taps.index[range.clone()], &self.taps.weight[range], scale)
    }
}

/// Taps of the samples of a row, packed for byte shuffles, 16 outputs to a block in two halves of 8.
///
/// An output is the sum over pairs of taps. A half loads 16 bytes at its base, at 16 bytes further and so on, and picks
/// each output's two bytes with one mask per load; a mask byte of 0xff picks nothing. The next pair of taps is the same
/// two bytes further, with the same masks. For a shrink of 2 or less one load and one pair do.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Per block: where each half starts to load.
    pub(super) base: Vec<[u32; 2]>,
    /// Per block: `loads` masks for both halves.
    pub(super) mask: Vec<[u8; 32]>,
    /// Per block: `pairs` sets of weights for both halves.
    pub(super) weight: Vec<[u8; 32]>,
    /// Per block: biases and factors of area averages; empty for bilinear taps, which have one load and one pair.
    pub(super) scale: Vec<[[i16; BLOCK]; 2]>,
    /// 16-byte loads per half and pair.
    pub(super) loads: usize,
    /// Pairs of taps per output.
    pub(super) pairs: usize,
    /// Bytes that a source row must have so that no load leaves it.
    pub(super) reach: usize,
}

impl Row {
    /// With `reversed` the last output comes first.
    pub(super) fn new(axis: &Axis, reversed: bool) -> Self {
        let Taps { count, index, weight, scale } = axis.taps();
        let pairs = count / 2;
        // Outputs that only fill the last block repeat the last real one.
        let source = |output: usize| {
            let output = output.min(axis.outputs - 1);
            if reversed {
                axis.outputs - 1 - output
            } else {
                output
            }
        };
        let tap = |output: usize, tap: usize| source(output) * count + tap;
        // Lowest and highest output of a half.
        let ends = |half: usize| if reversed { (half * 8 + 7, half * 8) } else { (half * 8, half * 8 + 7) };
        let halves = axis.outputs.div_ceil(BLOCK) * 2;
        let span = (0..halves).map(|half| index[tap(ends(half).1, 1)] + 1 - index[tap(ends(half).0, 0)]).max();
        let loads = span.unwrap_or(1).div_ceil(16);
        let blocks = halves / 2;
        let scale = scale.map_or(Vec::new(), |scale| {
            let block = |block: usize| {
                let at = |lane: usize| scale[source(block * BLOCK + lane)];
                [std::array::from_fn(|lane| at(lane).bias), std::array::from_fn(|lane| at(lane).factor)]
            };
            (0..blocks).map(block).collect()
        });
        let mut row = Self {
            base: vec![[0; 2]; blocks],
            mask: vec![[0xff; 32]; blocks * loads],
            weight: vec![[0; 32]; blocks * pairs],
            scale,
            loads,
            pairs,
            reach: 0,
        };
        for half in 0..halves {
            let (block, side) = (half / 2, half % 2);
            let base = index[tap(ends(half).0, 0)];
            row.base[block][side] = base as u32;
            row.reach = row.reach.max(base + 2 * (pairs - 1) + 16 * loads);
            for output in 0..8 {
                for end in 0..2 {
                    let offset = index[tap(half * 8 + output, end)] - base;
                    row.mask[block * loads + offset / 16][side * 16 + output * 2 + end] = (offset % 16) as u8;
                    for pair in 0..pairs {
                        row.weight[block * pairs + pair][side * 16 + output * 2 + end] =
                            weight[tap(half * 8 + output, pair * 2 + end)];
                    }
                }
            }
        }
        row
    }

    /// Outputs, with those that fill the last block.
    pub(super) fn padded(&self) -> usize {
        self.base.len() * BLOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All pairs of small lengths, with the steps and sitings of chroma.
    fn axes() -> impl Iterator<Item = Axis> {
        let lengths = (1..=40usize).flat_map(|pixels| (1..=40).map(move |outputs| (pixels, outputs)));
        lengths.chain([(640, 384), (1920, 384), (480, 288), (4000, 10), (5, 999)]).flat_map(|(pixels, outputs)| {
            [(1, false), (2, false), (2, true), (4, true)].map(|(step, left)| Axis {
                samples: pixels.div_ceil(step),
                pixels,
                step,
                left,
                outputs,
                mirrored: false,
            })
        })
    }

    #[test]
    fn weights_add_up_to_what_the_kernels_rely_on() {
        for axis in axes() {
            let taps = axis.taps();
            assert_eq!(taps.count % 2, 0);
            for (output, (index, weight)) in
                taps.index.chunks(taps.count).zip(taps.weight.chunks(taps.count)).enumerate()
            {
                let sum: u32 = weight.iter().map(|&weight| u32::from(weight)).sum();
                match &taps.scale {
                    None => assert_eq!(sum, WEIGHT_SUM, "{axis:?}"),
                    Some(scale) => {
                        assert!((WEIGHT_SUM / 2 - 2..=WEIGHT_SUM).contains(&sum), "{sum} {axis:?}");
                        assert_eq!(scale[output].bias as u16, (sum * 128) as u16);
                    }
                }
                let outside = index.iter().zip(weight).find(|&(&index, &weight)| weight > 0 && index >= axis.samples);
                assert_eq!(outside, None, "{axis:?}");
            }
        }
    }

    #[test]
    fn rows_are_needed_in_order_and_fit_the_window() {
        for axis in axes() {
            let column = Column::new(&axis);
            let mut before = (0, 0);
            for output in 0..axis.outputs {
                let (first, last) = column.needed(output);
                assert!(first >= before.0 && last >= before.1 && first <= last && last < axis.samples, "{axis:?}");
                assert!(last - first < column.window());
                before = (first, last);
            }
        }
    }

    #[test]
    fn halving_takes_the_mean_of_two() {
        let axis = Axis { samples: 8, pixels: 8, step: 1, left: false, outputs: 4, mirrored: false };
        let taps = axis.taps();
        assert_eq!(taps.index, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(taps.weight, [128; 8]);
    }

    #[test]
    fn whole_samples_of_an_area_weigh_the_same() {
        let axis = Axis { samples: 10, pixels: 10, step: 1, left: false, outputs: 4, mirrored: false };
        let taps = axis.taps();
        assert_eq!(taps.weight, [102, 102, 51, 0, 51, 102, 102, 0, 102, 102, 51, 0, 51, 102, 102, 0]);
        assert_eq!(taps.index[4..8], [2, 3, 4, 5]);
    }

    #[test]
    fn left_chroma_lies_on_its_first_pixel() {
        // Same size, half as many samples: every second pixel is a sample, the others lie between two.
        let axis = Axis { samples: 4, pixels: 8, step: 2, left: true, outputs: 8, mirrored: false };
        let taps = axis.taps();
        assert_eq!(taps.index, [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3]);
        assert_eq!(taps.weight, [128; 16]);
    }

    #[test]
    fn a_mild_shrink_takes_one_load_and_one_pair() {
        for (pixels, outputs) in [(640, 384), (768, 384), (100, 384), (767, 384)] {
            let row =
                Row::new(&Axis { samples: pixels, pixels, step: 1, left: false, outputs, mirrored: false }, false);
            assert_eq!((row.loads, row.pairs), (1, 1));
        }
    }
}
