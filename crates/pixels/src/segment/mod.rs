//! From the model's output tensor to a class map of the picture: [`Decoder`], and the types that describe both ends.
//!
//! Logits are upsampled and turned into class ids in one pass ([`decode`]); an argmax that the graph
//! already holds is only resized (`labels`). Running the model and drawing the map are done elsewhere.

mod confidence;
pub mod decode;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod kernel;
mod labels;
mod mask_size;
mod masker;
#[cfg(target_arch = "aarch64")]
mod neon;
mod plan;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use crate::simd::Backend;
pub use decode::{DecodeError, Decoder};
pub use mask_size::MaskSize;
pub use masker::Masker;

/// Class id of mask pixels whose label is none: values outside `0..=254` in the output of a graph with an argmax.
pub const VOID: u8 = 255;

/// Element type of quantised logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScoreType {
    /// Signed bytes.
    Int8,
    /// Unsigned bytes.
    Uint8,
}

/// Element type of class ids that the graph itself computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LabelType {
    /// One byte.
    Uint8,
    /// Four bytes, little-endian, signed.
    Int32,
    /// Eight bytes, little-endian, signed.
    Int64,
}

impl LabelType {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Uint8 => 1,
            Self::Int32 => 4,
            Self::Int64 => 8,
        }
    }
}

/// What the elements of the output tensor mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OutputKind {
    /// Scores per class, NHWC `[1, height, width, classes]`; a logit is `scale * (value - zero_point)`.
    Logits {
        /// Element type.
        score: ScoreType,
        /// Number of classes, 2 to 255.
        classes: usize,
        /// Quantisation step. Only the confidence needs it.
        scale: f32,
        /// Value of logit 0. Neither the argmax nor the softmax depends on it.
        zero_point: i32,
    },
    /// Class ids `[1, height, width]`, with or without a last dimension of 1.
    Labels {
        /// Element type.
        label: LabelType,
    },
}

/// Shape and meaning of the output tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutputSpec {
    /// Rows of the grid, at the network's own stride.
    pub height: usize,
    /// Columns of the grid.
    pub width: usize,
    /// Elements.
    pub kind: OutputKind,
}

impl OutputSpec {
    /// Length of the tensor in bytes.
    pub const fn bytes(&self) -> usize {
        let cell = match self.kind {
            OutputKind::Logits { classes, .. } => classes,
            OutputKind::Labels { label } => label.bytes(),
        };
        self.height.saturating_mul(self.width).saturating_mul(cell)
    }
}

/// The part of the model's input that the picture covers, in fractions of the input's width and height. Letterboxed
/// pictures cover less than the whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Left edge, 0 to 1.
    pub x: f32,
    /// Upper edge, 0 to 1.
    pub y: f32,
    /// Width, more than 0; `x + width` is at most 1.
    pub width: f32,
    /// Height, more than 0; `y + height` is at most 1.
    pub height: f32,
}

impl Region {
    /// The picture fills the input.
    pub const WHOLE: Self = Self { x: 0.0, y: 0.0, width: 1.0, height: 1.0 };
}

impl Default for Region {
    fn default() -> Self {
        Self::WHOLE
    }
}

/// Figures of one decoded mask.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Mask pixels per class id; the sum is the number of pixels.
    pub counts: [u64; 256],
    /// Mean softmax probability of the winning class over the grid cells whose centre lies in the region. It is a figure
    /// at the network's stride, before upsampling. `None` where the graph gives labels only.
    pub confidence: Option<f32>,
}

impl Summary {
    /// Fraction of the mask that `class` covers, 0 to 1. 0 for ids past 255 and before anything was decoded.
    pub fn area(&self, class: usize) -> f64 {
        let pixels: u64 = self.counts.iter().sum();
        let count = self.counts.get(class).copied().unwrap_or(0);
        if pixels == 0 {
            return 0.0;
        }
        count as f64 / pixels as f64
    }
}

impl Default for Summary {
    fn default() -> Self {
        Self { counts: [0; 256], confidence: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_fractions_of_the_mask() {
        let mut summary = Summary::default();
        assert_eq!(summary.area(0), 0.0);
        summary.counts[2] = 30;
        summary.counts[VOID as usize] = 10;
        assert_eq!((summary.area(2), summary.area(255), summary.area(256)), (0.75, 0.25, 0.0));
    }

    #[test]
    fn lengths_follow_the_element_type() {
        let of = |kind| OutputSpec { height: 3, width: 5, kind }.bytes();
        let logits = OutputKind::Logits { score: ScoreType::Int8, classes: 7, scale: 1.0, zero_point: 0 };
        assert_eq!(of(logits), 105);
        assert_eq!(of(OutputKind::Labels { label: LabelType::Int64 }), 120);
        assert_eq!(of(OutputKind::Labels { label: LabelType::Uint8 }), 15);
    }
}
