//! Finished rows that become columns: where the upright picture has the camera's rows as columns, they are kept until there
//! are as many as a tile has, and then written turned.
//!
//! Turning the finished rows is turning the least there is: the model's few pixels, as bytes.

use super::kernels::{Kernels, PAD};

/// Rows of a tile that SIMD kernels turn.
pub(super) const TILE: usize = 16;
/// Rows of a full strip. They become whole cache lines of the tensor, three of 64 bytes in each of its rows: lines that are written
/// in parts are fetched and put away once for each part.
const DEPTH: usize = 4 * TILE;
/// Columns that are turned before the next: as many as stay in the innermost cache while their tiles are written beside each other.
const BLOCK: usize = 96;

/// The last finished rows, each as red, green and blue apart.
pub(super) struct Strip {
    /// [`DEPTH`] slots of three components of `padded` bytes.
    slots: Vec<u8>,
    padded: usize,
    /// Pixels of a row.
    columns: usize,
    /// Offsets of the rows that are written next, in the order of the upright picture.
    offsets: Vec<usize>,
}

/// Rows that become columns: three components `apart` bytes from each other, at each of `offsets` in `slots`.
pub(super) struct Tile<'a> {
    pub(super) slots: &'a [u8],
    pub(super) offsets: &'a [usize],
    pub(super) apart: usize,
    /// Pixels of a row: rows of what is written.
    pub(super) columns: usize,
    /// Bytes from row to row there.
    pub(super) pitch: usize,
    /// The first column becomes the last row.
    pub(super) upwards: bool,
}

impl Tile<'_> {
    /// Where the row begins that `column` becomes.
    pub(super) fn row_of(&self, column: usize) -> usize {
        self.pitch * if self.upwards { self.columns - 1 - column } else { column }
    }
}

impl Strip {
    /// Room for rows of so many pixels.
    pub(super) fn new(columns: usize) -> Self {
        let padded = columns.next_multiple_of(PAD);
        Self { slots: vec![0; DEPTH * 3 * padded], padded, columns, offsets: Vec::with_capacity(DEPTH) }
    }

    /// Where row `row` is to be put: red, green and blue, padded to [`PAD`].
    pub(super) fn row(&mut self, row: usize) -> [&mut [u8]; 3] {
        let padded = self.padded;
        let slot = &mut self.slots[row % DEPTH * 3 * padded..][..3 * padded];
        let (red, rest) = slot.split_at_mut(padded);
        let (green, blue) = rest.split_at_mut(padded);
        [red, green, blue]
    }

    /// Writes the rows up to `row` once they are a full strip, or the last of `rows`, as columns into the upright picture
    /// that begins in `into`. The first tile of a last strip begins so much earlier as to be full: some columns are written twice.
    pub(super) fn put(
        &mut self,
        kernels: &Kernels,
        (row, rows): (usize, usize),
        [mirror_x, mirror_y]: [bool; 2],
        pitch: usize,
        into: &mut [u8],
    ) {
        let done = row + 1;
        if !done.is_multiple_of(DEPTH) && done != rows {
            return;
        }
        let new = (done - 1) % DEPTH + 1;
        let first = done.saturating_sub(new.next_multiple_of(TILE));
        let slot = 3 * self.padded;
        self.offsets.clear();
        self.offsets.extend((first..done).map(|row| row % DEPTH * slot));
        if mirror_x {
            self.offsets.reverse();
        }
        let left = if mirror_x { rows - done } else { first };
        let columns = self.columns.min(BLOCK);
        for block in 0..self.columns.div_ceil(BLOCK) {
            let column = (block * BLOCK).min(self.columns - columns);
            let top = if mirror_y { self.columns - columns - column } else { column };
            let slots = &self.slots[column..];
            for (tile, offsets) in self.offsets.chunks(TILE).enumerate() {
                let tile_left = left + tile * TILE;
                let tile = Tile { slots, offsets, apart: self.padded, columns, pitch, upwards: mirror_y };
                kernels.turn(&tile, &mut into[top * pitch + tile_left * 3..]);
            }
        }
    }
}
