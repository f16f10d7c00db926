//! Models whose graph ends in an argmax: class ids of any integer type, resized to the mask by nearest neighbour.
//!
//! Values that no mask byte can hold become [`VOID`].

use super::plan::Span;
use super::{LabelType, VOID};

/// The plan for one grid, region and mask.
#[derive(Debug)]
pub(super) struct Labels {
    label: LabelType,
    width: usize,
    /// Grid column of each mask column, and grid row of each mask row.
    columns: Vec<u32>,
    rows: Vec<u32>,
    /// How many mask columns each grid column fills.
    weights: Vec<u32>,
    /// Class ids of one grid row.
    line: Vec<u8>,
}

impl Labels {
    /// Prepares for a grid of `width` by `height` labels and a mask of `mask_width` by `mask_height` pixels.
    pub(super) fn new(
        label: LabelType,
        (width, height): (usize, usize),
        (horizontal, vertical): (Span, Span),
        (mask_width, mask_height): (usize, usize),
    ) -> Self {
        let columns = horizontal.nearest(mask_width, width);
        let mut weights = vec![0; width];
        for &column in &columns {
            weights[column as usize] += 1;
        }
        let rows = vertical.nearest(mask_height, height);
        Self { label, width, columns, rows, weights, line: vec![0; width] }
    }

    /// Writes the mask and adds its pixels per class to `counts`.
    pub(super) fn render(&mut self, output: &[u8], mask: &mut [u8], counts: &mut [u64; 256]) {
        let row_bytes = self.width * self.label.bytes();
        let mask_width = self.columns.len();
        let mut y = 0;
        while y < self.rows.len() {
            let row = self.rows[y];
            let repeats = self.rows[y..].iter().take_while(|&&other| other == row).count();
            self.read(&output[row as usize * row_bytes..][..row_bytes]);
            for (&id, &weight) in self.line.iter().zip(&self.weights) {
                counts[usize::from(id)] += u64::from(weight) * repeats as u64;
            }
            let start = y * mask_width;
            for (pixel, &column) in mask[start..start + mask_width].iter_mut().zip(&self.columns) {
                *pixel = self.line[column as usize];
            }
            for copy in 1..repeats {
                mask.copy_within(start..start + mask_width, start + copy * mask_width);
            }
            y += repeats;
        }
    }

    /// Fills `line` with the class ids of one grid row.
    fn read(&mut self, bytes: &[u8]) {
        match self.label {
            LabelType::Uint8 => self.line.copy_from_slice(bytes),
            LabelType::Int32 => {
                for (id, &value) in self.line.iter_mut().zip(bytes.as_chunks().0) {
                    *id = class_id(i64::from(i32::from_le_bytes(value)));
                }
            }
            LabelType::Int64 => {
                for (id, &value) in self.line.iter_mut().zip(bytes.as_chunks().0) {
                    *id = class_id(i64::from_le_bytes(value));
                }
            }
        }
    }
}

fn class_id(label: i64) -> u8 {
    u8::try_from(label).unwrap_or(VOID)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Span = Span { origin: 0.0, extent: 1.0 };

    fn render(label: LabelType, grid: (usize, usize), mask: (usize, usize), output: &[u8]) -> (Vec<u8>, [u64; 256]) {
        let (mut pixels, mut counts) = (vec![77; mask.0 * mask.1], [0; 256]);
        Labels::new(label, grid, (WHOLE, WHOLE), mask).render(output, &mut pixels, &mut counts);
        (pixels, counts)
    }

    #[test]
    fn every_type_reads_the_same() {
        let ids = [3i64, 0, 254, 11, 1, 2];
        let bytes: Vec<u8> = ids.iter().map(|&id| id as u8).collect();
        let words: Vec<u8> = ids.iter().flat_map(|&id| (id as i32).to_le_bytes()).collect();
        let longs: Vec<u8> = ids.iter().flat_map(|&id| id.to_le_bytes()).collect();
        let expected = [3, 3, 0, 0, 254, 254, 3, 3, 0, 0, 254, 254, 11, 11, 1, 1, 2, 2];
        for (label, output) in [(LabelType::Uint8, bytes), (LabelType::Int32, words), (LabelType::Int64, longs)] {
            let (mask, counts) = render(label, (3, 2), (6, 3), &output);
            // Row 1 of 3 has its centre on the edge between the two grid rows, which belongs to the lower one.
            assert_eq!(mask[..6], expected[..6], "{label:?}");
            assert_eq!(mask[12..], expected[12..], "{label:?}");
            assert_eq!(mask[6..12], expected[12..], "{label:?}");
            assert_eq!((counts[3], counts[11], counts.iter().sum::<u64>()), (2, 4, 18));
        }
    }

    #[test]
    fn labels_without_a_class_are_void() {
        let values = [-1i64, 255, 256, 1 << 32, i64::MIN, 254];
        let output: Vec<u8> = values.iter().flat_map(|&id| id.to_le_bytes()).collect();
        let (mask, counts) = render(LabelType::Int64, (6, 1), (6, 1), &output);
        assert_eq!(mask, [VOID, VOID, VOID, VOID, VOID, 254]);
        assert_eq!((counts[255], counts[254]), (5, 1));
    }

    #[test]
    fn shrinking_skips_and_counts_only_what_it_takes() {
        let output: Vec<u8> = (0..25).collect();
        let (mask, counts) = render(LabelType::Uint8, (5, 5), (2, 1), &output);
        assert_eq!(mask, [11, 13]);
        assert_eq!((counts[11], counts[13], counts.iter().sum::<u64>()), (1, 1, 2));
    }
}
