//! How sure the model is: the mean softmax probability of the winning class over the grid.
//!
//! Integers throughout, from a table of 256 exponentials, so that every backend and architecture gives the same bits.
//! It is taken at the network's stride: the upsampled mask has no probabilities of its own.

use std::ops::Range;

use super::plan::Grid;

/// Fraction bits of the table. 255 classes at 1.0 still fit 32 bits.
const TABLE_BITS: u32 = 23;
/// Fraction bits of a probability.
const PROBABILITY_BITS: u32 = 31;

/// The table of one quantisation scale and the cells to look at.
#[derive(Debug)]
pub(super) struct Confidence {
    /// `exp(-k * scale)` at index `k`.
    table: Box<[u32; 256]>,
    columns: Range<usize>,
    rows: Range<usize>,
}

impl Confidence {
    /// Prepares for logits of step `scale` and the grid cells `columns` x `rows`, both not empty.
    pub(super) fn new(scale: f32, columns: Range<usize>, rows: Range<usize>) -> Self {
        let one = f64::from(1u32 << TABLE_BITS);
        let table = std::array::from_fn(|k| (exp_negative(f64::from(scale) * k as f64) * one).round() as u32);
        Self { table: Box::new(table), columns, rows }
    }

    /// The mean over the cells of `1 / sum(exp(logit - greatest logit))`.
    pub(super) fn mean(&self, grid: Grid, output: &[u8]) -> f32 {
        let mut total = 0u64;
        for y in self.rows.clone() {
            let row = grid.row(output, y);
            let cells = &row[self.columns.start * grid.classes..self.columns.end * grid.classes];
            for cell in cells.chunks_exact(grid.classes) {
                let greatest = cell.iter().fold(0, |greatest, &byte| (byte ^ grid.flip ^ 0x80).max(greatest));
                let term = |&byte: &u8| self.table[usize::from(greatest - (byte ^ grid.flip ^ 0x80))];
                let sum = u64::from(cell.iter().map(term).sum::<u32>());
                total += ((1 << (TABLE_BITS + PROBABILITY_BITS)) + sum / 2) / sum;
            }
        }
        let cells = self.columns.len() * self.rows.len();
        (total as f64 / (cells as f64 * f64::from(1u32 << PROBABILITY_BITS))) as f32
    }
}

/// `exp(-x)` for `x >= 0` by operations that IEEE 754 rounds exactly; the C library's differs between machines.
fn exp_negative(x: f64) -> f64 {
    if x > 64.0 {
        return 0.0;
    }
    let (mut reduced, mut squarings) = (x, 0);
    while reduced > 0.25 {
        reduced *= 0.5;
        squarings += 1;
    }
    let mut sum = 1.0;
    for n in (1..=14).rev() {
        sum = 1.0 - sum * reduced / f64::from(n);
    }
    (0..squarings).fold(sum, |power, _| power * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(width: usize, height: usize, classes: usize, flip: u8) -> Grid {
        Grid { width, height, classes, flip }
    }

    #[test]
    fn the_exponential_is_the_exponential() {
        for step in 0..6000 {
            let x = f64::from(step) * 0.01;
            assert!((exp_negative(x) / (-x).exp() - 1.0).abs() < 1e-12, "{x}");
        }
        assert_eq!(exp_negative(f64::INFINITY), 0.0);
    }

    #[test]
    fn equal_logits_share_the_probability() {
        let confidence = Confidence::new(0.1, 0..2, 0..1);
        assert_eq!(confidence.mean(grid(2, 1, 4, 0), &[5; 8]), 0.25);
        assert_eq!(confidence.mean(grid(2, 1, 4, 0x80), &[200; 8]), 0.25);
    }

    #[test]
    fn it_is_the_mean_softmax_of_the_winner() {
        let logits: Vec<u8> = (0..6 * 5 * 9u32).map(|i| (i.wrapping_mul(2654435761) >> 24) as u8).collect();
        for (flip, zero) in [(0, 0.0), (0x80, 128.0)] {
            let confidence = Confidence::new(0.02, 1..5, 2..4);
            let mut sum = 0.0;
            for cell in (2..4).flat_map(|y| (1..5).map(move |x| (y * 6 + x) * 9)) {
                let signed = |byte: u8| f64::from((byte ^ flip) as i8) + zero;
                let exps: Vec<f64> = logits[cell..cell + 9].iter().map(|&b| (signed(b) * 0.02).exp()).collect();
                sum += exps.iter().copied().fold(0.0, f64::max) / exps.iter().sum::<f64>();
            }
            let found = f64::from(confidence.mean(grid(6, 5, 9, flip), &logits));
            assert!((found - sum / 8.0).abs() < 1e-6, "{found} {}", sum / 8.0);
        }
    }

    #[test]
    fn many_classes_at_no_scale_do_not_overflow() {
        let confidence = Confidence::new(1e-9, 0..1, 0..1);
        let found = confidence.mean(grid(1, 1, 255, 0), &[0x80; 255]);
        assert!((found * 255.0 - 1.0).abs() < 1e-5);
    }
}
