//! What a pixel value becomes in the tensor: the last step of the pass, decided once from the model's quantisation.
//!
//! Most models need a plain byte operation; only those trained on normalised pixels need a table.

/// What the model was trained on: `real = (pixel - mean) / std` per channel, pixels 0..=255, in the order R, G, B.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Normalisation {
    /// Subtracted from the pixel.
    pub mean: [f32; 3],
    /// Divides the difference. Not zero.
    pub std: [f32; 3],
}

/// How a pixel value 0..=255 becomes a byte of the tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PixelMap {
    /// The byte itself.
    Identity,
    /// The upper bit flipped: `q = pixel - 128` as int8.
    Flip,
    /// One table each for R, G and B.
    Table(Box<[[u8; 256]; 3]>),
}

impl PixelMap {
    /// The map into a tensor of `q = real / scale + zero_point`, int8 if `signed`, else uint8.
    ///
    /// Without a normalisation the whole pixel range is the whole tensor range, which is what a model means that was
    /// calibrated on its pictures. A table that does no more than a byte operation becomes that byte operation.
    pub fn new(signed: bool, scale: f32, zero_point: i32, normalisation: Option<&Normalisation>) -> Self {
        let plain = if signed { Self::Flip } else { Self::Identity };
        let Some(Normalisation { mean, std }) = normalisation else {
            return plain;
        };
        let (low, high) = if signed { (-128.0, 127.0) } else { (0.0, 255.0) };
        let mut tables = Box::new([[0u8; 256]; 3]);
        for (table, (&mean, &std)) in tables.iter_mut().zip(mean.iter().zip(std)) {
            for (pixel, entry) in (0u8..=255).zip(table.iter_mut()) {
                let real = (f64::from(pixel) - f64::from(mean)) / f64::from(std);
                let q = (real / f64::from(scale)).round() + f64::from(zero_point);
                // The cast saturates, takes NaN to zero, and the low byte of a negative value is its int8.
                *entry = (q.clamp(low, high) as i32) as u8;
            }
        }
        for simple in [Self::Identity, Self::Flip] {
            let same =
                |table: &[u8; 256]| (0u8..=255).zip(table).all(|(pixel, &entry)| simple.apply(0, pixel) == entry);
            if tables.iter().all(same) {
                return simple;
            }
        }
        Self::Table(tables)
    }

    /// The byte for value `pixel` of `channel` (0 = R, 1 = G, 2 = B).
    pub fn apply(&self, channel: usize, pixel: u8) -> u8 {
        match self {
            Self::Identity => pixel,
            Self::Flip => pixel ^ 0x80,
            Self::Table(tables) => tables[channel][usize::from(pixel)],
        }
    }

    /// The bits that the kernels flip while they write pixels; a table is applied afterwards.
    pub(super) const fn flip(&self) -> u8 {
        match self {
            Self::Identity | Self::Table(_) => 0,
            Self::Flip => 0x80,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_normalisation_is_a_byte_operation() {
        assert_eq!(PixelMap::new(false, 1.0 / 128.0, 127, None), PixelMap::Identity);
        assert_eq!(PixelMap::new(true, 1.0 / 255.0, -128, None), PixelMap::Flip);
    }

    #[test]
    fn a_table_that_is_plain_collapses() {
        let unit = Normalisation { mean: [0.0; 3], std: [255.0; 3] };
        assert_eq!(PixelMap::new(true, 1.0 / 255.0, -128, Some(&unit)), PixelMap::Flip);
        assert_eq!(PixelMap::new(false, 1.0 / 255.0, 0, Some(&unit)), PixelMap::Identity);
        let centred = Normalisation { mean: [128.0; 3], std: [128.0; 3] };
        assert_eq!(PixelMap::new(true, 1.0 / 128.0, 0, Some(&centred)), PixelMap::Flip);
    }

    #[test]
    fn tables_follow_the_formula_per_channel() {
        let normalisation = Normalisation { mean: [0.0, 100.0, 127.5], std: [1.0, 50.0, 127.5] };
        let map = PixelMap::new(true, 0.5, 3, Some(&normalisation));
        assert_eq!(map.apply(0, 10), 23);
        assert_eq!(map.apply(0, 200), 127, "saturates");
        assert_eq!(map.apply(1, 0) as i8, -1);
        assert_eq!(map.apply(1, 200) as i8, 7);
        assert_eq!(map.apply(2, 0) as i8, 1);
    }

    #[test]
    fn nonsense_does_not_panic() {
        let zero = Normalisation { mean: [0.0; 3], std: [0.0; 3] };
        assert!(matches!(PixelMap::new(false, 0.0, 0, Some(&zero)), PixelMap::Table(_)));
    }
}
