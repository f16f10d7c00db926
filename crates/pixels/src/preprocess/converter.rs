//! [`Converter`]: pictures of whatever format comes to the input tensor of one model.

use super::{Fit, PixelMap, PreprocessError, Preprocessor, Rect};
use crate::frame::{Picture, Size};
use crate::segment::Region;

/// Value of the bars beside a letterboxed picture: middle grey.
pub const PAD: u8 = 128;

/// Writes pictures into one model's input tensor. It prepares itself anew when the format of the pictures, or how they lie, changes.
pub struct Converter {
    target: Size,
    fit: Fit,
    map: PixelMap,
    prepared: Option<Preprocessor>,
}

impl Converter {
    /// A converter for a model whose input has the size `target`. `map` turns pixel values into tensor values.
    pub const fn new(target: Size, fit: Fit, map: PixelMap) -> Self {
        Self { target, fit, map, prepared: None }
    }

    /// Writes `picture` into `tensor`, NHWC `[1, height, width, 3]`. Returns the part of the tensor that it covers.
    ///
    /// # Errors
    /// When a side of the picture is zero or too long, or the tensor has another size.
    pub fn convert(&mut self, picture: &Picture<'_>, tensor: &mut [u8]) -> Result<Region, PreprocessError> {
        let source = picture.into();
        let prepared = Preprocessor::renew(&mut self.prepared, source, self.target, self.fit, &self.map, PAD)?;
        prepared.run(picture, tensor)?;
        Ok(region(prepared.placement(), self.target))
    }
}

/// `placement` in fractions of `target`.
fn region(placement: Rect, target: Size) -> Region {
    let fraction = |part: usize, whole: usize| part as f32 / whole as f32;
    Region {
        x: fraction(placement.x, target.width),
        y: fraction(placement.y, target.height),
        width: fraction(placement.width, target.width),
        height: fraction(placement.height, target.height),
    }
}
