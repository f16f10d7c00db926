//! The colour step: from resized luma and chroma to red, green and blue, in 16-bit fixed point.
//!
//! All backends do the same integer operations, so that they agree bit for bit. This file has the numbers.

use crate::frame::{Colorimetry, Layout, Matrix, Range};

/// Bits below the point of the sums: 1/32 of a pixel value.
pub(super) const FRACTION_BITS: u32 = 5;

/// What stands in the resized rows, and how it becomes red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    /// Red, green, blue: nothing to do.
    Rgb,
    /// Luma only, in the first row.
    Grey(Luma),
    /// Luma and two chroma rows.
    Yuv(Luma, Chroma),
}

/// `luma = mulhrs((y - 128) * 256, gain) + offset` in 1/32, where `mulhrs(a, b) = (a * b + 0x4000) >> 15`.
///
/// The factor is the sum of the weights of the resize: its sums come here unrounded. That makes the gain Q12. The
/// offset holds the black level, the 128 and the half for rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Luma {
    pub(super) gain: i16,
    pub(super) offset: i16,
}

/// Added to luma: each is `mulhrs((u - 128) * 256, gain)`, or the same of v.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chroma {
    pub(super) red_v: i16,
    pub(super) green_u: i16,
    pub(super) green_v: i16,
    pub(super) blue_u: i16,
}

impl Colour {
    pub(super) fn new(layout: Layout, color: Colorimetry) -> Self {
        if !layout.is_yuv() {
            return Self::Rgb;
        }
        let (black, luma_scale, chroma_scale) = match color.range {
            Range::Limited => (16.0, 255.0 / 219.0, 255.0 / 224.0),
            Range::Full => (0.0, 1.0, 1.0),
        };
        let gain = |gain: f64| (gain * 4096.0).round() as i16;
        let one = f64::from(1 << FRACTION_BITS);
        let offset = ((128.0 - black) * luma_scale * one + one / 2.0).round() as i16;
        let luma = Luma { gain: gain(luma_scale), offset };
        if layout == Layout::Grey {
            return Self::Grey(luma);
        }
        // Share of red and of blue in luma: ITU-R BT.601-7 section 2.5.1, ITU-R BT.709-6 item 3.2.
        let (red, blue) = match color.matrix {
            Matrix::Bt601 => (0.299, 0.114),
            Matrix::Bt709 => (0.2126, 0.0722),
        };
        let green = 1.0 - red - blue;
        let chroma = Chroma {
            red_v: gain(2.0 * (1.0 - red) * chroma_scale),
            green_u: gain(-2.0 * (1.0 - blue) * blue / green * chroma_scale),
            green_v: gain(-2.0 * (1.0 - red) * red / green * chroma_scale),
            blue_u: gain(2.0 * (1.0 - blue) * chroma_scale),
        };
        Self::Yuv(luma, chroma)
    }
}
