//! [`Masker`]: a decoder that is made anew when the picture's place or the mask's size changes. Decoding itself is left to
//! [`Decoder`].

use super::{DecodeError, Decoder, OutputSpec, Region, Summary};
use crate::frame::Size;

/// Turns output tensors of one shape into class maps of any size. Allocates only when region or size change.
#[derive(Debug)]
pub struct Masker {
    spec: OutputSpec,
    ready: Option<(Decoder, Region)>,
}

impl Masker {
    /// A masker for tensors of `spec`.
    pub const fn new(spec: OutputSpec) -> Self {
        Self { spec, ready: None }
    }

    /// Decodes one tensor, whose `region` shows the picture, into a class map of `size`: `mask` gets a class id per pixel,
    /// `summary` its figures.
    ///
    /// # Errors
    /// As [`Decoder::new`] and [`Decoder::decode`]; the next tensor can be decoded all the same.
    pub fn decode(
        &mut self,
        output: &[u8],
        region: Region,
        size: Size,
        mask: &mut Vec<u8>,
        summary: &mut Summary,
    ) -> Result<(), DecodeError> {
        let (decoder, _) = match &mut self.ready {
            Some(ready) if ready.0.mask_size() == size && ready.1 == region => ready,
            stale => stale.insert((Decoder::new(self.spec, region, size)?, region)),
        };
        mask.resize(size.pixels(), 0);
        decoder.decode(output, mask, summary)
    }
}
