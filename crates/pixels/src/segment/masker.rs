//! [`Masker`]: a decoder with the mask that it fills, made anew together when the picture's place or the mask's size
//! changes. Decoding itself is left to [`Decoder`].

use super::{DecodeError, Decoder, OutputSpec, Region, Summary};
use crate::frame::Size;

/// Turns output tensors of one shape into class maps of any size. Allocates only when region or size change.
#[derive(Debug)]
pub struct Masker {
    spec: OutputSpec,
    ready: Option<Ready>,
    summary: Summary,
}

/// Decoder and mask fit each other, so they come and go together.
#[derive(Debug)]
struct Ready {
    decoder: Decoder,
    region: Region,
    mask: Vec<u8>,
}

impl Masker {
    /// A masker for tensors of `spec`.
    pub fn new(spec: OutputSpec) -> Self {
        Self { spec, ready: None, summary: Summary::default() }
    }

    /// Decodes one tensor, whose `region` shows the picture, into a mask of `size`.
    ///
    /// # Errors
    /// As [`Decoder::new`] and [`Decoder::decode`]; the next tensor can be decoded all the same.
    pub fn decode(&mut self, output: &[u8], region: Region, size: Size) -> Result<(), DecodeError> {
        let ready = match &mut self.ready {
            Some(ready) if ready.decoder.mask_size() == size && ready.region == region => ready,
            stale => {
                let decoder = Decoder::new(self.spec, region, size)?;
                stale.insert(Ready { decoder, region, mask: vec![0; size.pixels()] })
            }
        };
        ready.decoder.decode(output, &mut ready.mask, &mut self.summary)
    }

    /// Class id per pixel of the last mask; empty before the first.
    pub fn mask(&self) -> &[u8] {
        self.ready.as_ref().map_or(&[], |ready| &ready.mask)
    }

    /// Figures of the last mask.
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LabelType, OutputKind};
    use super::*;

    #[test]
    fn sizes_may_change_and_one_that_cannot_be_spoils_nothing() {
        let kind = OutputKind::Labels { label: LabelType::Uint8 };
        let mut masker = Masker::new(OutputSpec { height: 1, width: 2, kind });
        assert!(masker.mask().is_empty());
        for (width, expected) in [(2, &[3, 4][..]), (4, &[3, 3, 4, 4]), (2, &[3, 4])] {
            masker.decode(&[3, 4], Region::WHOLE, Size::new(width, 1)).unwrap();
            assert_eq!(masker.mask(), expected);
            assert!(masker.decode(&[3, 4], Region::WHOLE, Size::new(0, 1)).is_err());
            masker.decode(&[3, 4], Region::WHOLE, Size::new(width, 1)).unwrap();
            assert_eq!(masker.summary().counts[3], width as u64 / 2);
        }
    }
}
