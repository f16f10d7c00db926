//! Which grid rows and columns each mask row and column lies between, worked out once per decoder.
//!
//! This is the only floating-point part of the decoding, and it uses only operations that IEEE 754 rounds exactly, so
//! that every machine gets the same plan.

use std::ops::Range;

/// Most mask rows that are drawn together; bounds the scratch memory.
pub(super) const BAND: usize = 32;

/// What a decoder knows of its logits before the first frame.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) grid: Grid,
    /// For each mask column and mask row, where it lies.
    pub(super) xs: Vec<Tap>,
    pub(super) ys: Vec<Tap>,
    /// The same in runs; those of rows, called bands, have at most [`BAND`] rows.
    pub(super) columns: Vec<Run>,
    pub(super) rows: Vec<Run>,
}

impl Plan {
    /// The plan for the taps of both axes.
    pub(super) fn new(grid: Grid, xs: Vec<Tap>, ys: Vec<Tap>) -> Self {
        let (columns, rows) = (runs(&xs, usize::MAX), runs(&ys, BAND));
        Self { grid, xs, ys, columns, rows }
    }
}

/// One axis of the region: where it starts and how far it goes, in fractions of the grid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) origin: f32,
    pub(super) extent: f32,
}

impl Span {
    /// Position of the centre of mask pixel `index` of `mask`, in grid cells from the grid's edge.
    fn position(self, index: usize, mask: usize, grid: usize) -> f64 {
        let fraction = f64::from(self.origin) + f64::from(self.extent) * (index as f64 + 0.5) / mask as f64;
        fraction * grid as f64
    }

    /// For each mask pixel the grid cell that its centre lies in.
    pub(super) fn nearest(self, mask: usize, grid: usize) -> Vec<u32> {
        (0..mask).map(|i| (self.position(i, mask, grid) as usize).min(grid - 1) as u32).collect()
    }

    /// For each mask pixel the two cells whose centres it lies between, with half-pixel centres and clamped edges, as
    /// OpenCV's `INTER_LINEAR` and TensorFlow's `half_pixel_centers=True` have it.
    pub(super) fn taps(self, mask: usize, grid: usize) -> Vec<Tap> {
        let tap = |i| {
            let position = (self.position(i, mask, grid) - 0.5).clamp(0.0, (grid - 1) as f64);
            let steps = (position * 32768.0).round() as u32;
            Tap { cell: steps >> 15, t: (steps & 0x7fff) as i16 }
        };
        (0..mask).map(tap).collect()
    }

    /// The grid cells whose centres lie in the span; the one in its middle if there are none.
    pub(super) fn cells(self, grid: usize) -> Range<usize> {
        let first = f64::from(self.origin) * grid as f64;
        let last = first + f64::from(self.extent) * grid as f64;
        let centre_from = |edge: f64| ((edge - 0.5).ceil().max(0.0) as usize).min(grid);
        let (start, end) = (centre_from(first), centre_from(last));
        if start < end {
            return start..end;
        }
        let middle = self.position(0, 1, grid) as usize;
        let middle = middle.min(grid - 1);
        middle..middle + 1
    }
}

/// Between which two grid cells a mask pixel lies: a value there is `v[cell] + (v[cell + 1] - v[cell]) * t / 32768`,
/// where the cell after the last repeats the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tap {
    pub(super) cell: u32,
    pub(super) t: i16,
}

/// Mask pixels `start..end` of one axis, all between grid cells `cell` and `cell + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) cell: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Groups neighbouring pixels that lie between the same cells, at most `longest` of them.
fn runs(taps: &[Tap], longest: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (index, tap) in taps.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if run.cell == tap.cell as usize && index - run.start < longest => run.end = index + 1,
            _ => runs.push(Run { cell: tap.cell as usize, start: index, end: index + 1 }),
        }
    }
    runs
}

/// A grid of logits as the tensor holds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) classes: usize,
    /// 0 for int8, 0x80 for uint8.
    pub(super) flip: u8,
}

impl Grid {
    /// The bytes of grid row `y`.
    pub(super) fn row(self, output: &[u8], y: usize) -> &[u8] {
        let bytes = self.width * self.classes;
        &output[y * bytes..(y + 1) * bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Span = Span { origin: 0.0, extent: 1.0 };

    #[test]
    fn doubling_puts_pixels_at_quarters() {
        let taps: Vec<_> = WHOLE.taps(4, 2).iter().map(|tap| (tap.cell, tap.t)).collect();
        assert_eq!(taps, [(0, 0), (0, 8192), (0, 24576), (1, 0)]);
        assert_eq!(runs(&WHOLE.taps(4, 2), 4), [Run { cell: 0, start: 0, end: 3 }, Run { cell: 1, start: 3, end: 4 }]);
        assert_eq!(WHOLE.nearest(4, 2), [0, 0, 1, 1]);
    }

    #[test]
    fn shrinking_samples_between_centres() {
        let taps: Vec<_> = WHOLE.taps(2, 4).iter().map(|tap| (tap.cell, tap.t)).collect();
        assert_eq!(taps, [(0, 16384), (2, 16384)]);
        assert_eq!(WHOLE.nearest(1, 3), [1]);
    }

    #[test]
    fn a_region_reads_its_own_part_of_the_grid() {
        let half = Span { origin: 0.5, extent: 0.5 };
        let taps: Vec<_> = half.taps(2, 4).iter().map(|tap| (tap.cell, tap.t)).collect();
        assert_eq!(taps, [(2, 0), (3, 0)]);
        assert_eq!(half.nearest(4, 4), [2, 2, 3, 3]);
        assert_eq!(half.cells(4), 2..4);
        assert_eq!(WHOLE.cells(4), 0..4);
        assert_eq!(Span { origin: 0.3, extent: 0.1 }.cells(2), 0..1);
    }
}
