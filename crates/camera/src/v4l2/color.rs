//! What a driver's colour fields mean, with the defaults that V4L2 documents for the fields it leaves open.

use pixels::frame::{Colorimetry, Layout, Matrix, Range, Siting, Size};
use v4l::v4l_sys as sys;

/// The colour fields of `v4l2_pix_format`, as numbers: a driver may send ones that no header knows yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ColorFields {
    pub colorspace: u32,
    pub ycbcr_enc: u32,
    pub quantization: u32,
}

impl ColorFields {
    /// How to read the colours of an uncompressed picture.
    ///
    /// V4L2's own defaults (`V4L2_MAP_YCBCR_ENC_DEFAULT`, `V4L2_MAP_QUANTIZATION_DEFAULT`): BT.709 for the colour spaces
    /// Rec. 709 and DCI-P3, BT.601 for the others; limited range for YUV but for JPEG. Grey pictures count as no YUV there
    /// (`v4l2-ctl` and vivid agree), so their range is full by default. A driver that names no colour space
    /// at all gets BT.601 up to 576 rows and BT.709 above, as broadcast pictures have it. Of the matrices that the
    /// conversion doesn't have, BT.2020 and SMPTE 240M are nearest to BT.709.
    pub(super) fn resolve(self, layout: Layout, size: Size) -> Colorimetry {
        let high_definition = size.height > 576;
        let matrix = match self.ycbcr_enc {
            sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_601
            | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_XV601
            | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_SYCC => Matrix::Bt601,
            sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_709
            | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_XV709
            | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_BT2020
            | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_BT2020_CONST_LUM
            | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_SMPTE240M => Matrix::Bt709,
            _ => match self.colorspace {
                sys::v4l2_colorspace_V4L2_COLORSPACE_REC709
                | sys::v4l2_colorspace_V4L2_COLORSPACE_DCI_P3
                | sys::v4l2_colorspace_V4L2_COLORSPACE_BT2020
                | sys::v4l2_colorspace_V4L2_COLORSPACE_SMPTE240M => Matrix::Bt709,
                sys::v4l2_colorspace_V4L2_COLORSPACE_DEFAULT if high_definition => Matrix::Bt709,
                _ => Matrix::Bt601,
            },
        };
        let range = match self.quantization {
            sys::v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE => Range::Full,
            sys::v4l2_quantization_V4L2_QUANTIZATION_LIM_RANGE => Range::Limited,
            _ if layout == Layout::Grey || self.colorspace == sys::v4l2_colorspace_V4L2_COLORSPACE_JPEG => Range::Full,
            _ => Range::Limited,
        };
        // V4L2 says nothing of the siting; what sensors and USB cameras send is co-sited on the left.
        Colorimetry { matrix, range, siting: Siting::Left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VGA: Size = Size::new(640, 480);
    const HD: Size = Size::new(1280, 720);

    fn resolved(colorspace: u32, ycbcr_enc: u32, quantization: u32, size: Size) -> (Matrix, Range) {
        let color = ColorFields { colorspace, ycbcr_enc, quantization }.resolve(Layout::Yuyv, size);
        (color.matrix, color.range)
    }

    #[test]
    fn open_fields_get_the_documented_defaults() {
        // Colour spaces by number, as videodev2.h has them: 1 SMPTE 170M, 2 SMPTE 240M, 3 Rec. 709, 5 and 6 BT.470,
        // 7 JPEG, 8 sRGB, 9 opRGB, 10 BT.2020, 12 DCI-P3.
        for colorspace in [1, 5, 6, 8, 9] {
            assert_eq!(resolved(colorspace, 0, 0, HD), (Matrix::Bt601, Range::Limited), "{colorspace}");
        }
        for colorspace in [2, 3, 10, 12] {
            assert_eq!(resolved(colorspace, 0, 0, VGA), (Matrix::Bt709, Range::Limited), "{colorspace}");
        }
        assert_eq!(resolved(7, 0, 0, VGA), (Matrix::Bt601, Range::Full));
    }

    #[test]
    fn a_named_encoding_and_range_win_over_the_colour_space() {
        // An ordinary USB camera: sRGB primaries, BT.709 matrix named on its own.
        assert_eq!(resolved(8, 2, 0, VGA), (Matrix::Bt709, Range::Limited));
        assert_eq!(resolved(3, 1, 1, HD), (Matrix::Bt601, Range::Full));
        assert_eq!(resolved(7, 0, 2, VGA), (Matrix::Bt601, Range::Limited));
    }

    #[test]
    fn grey_is_full_range_unless_the_driver_says_otherwise() {
        let range = |quantization| {
            let fields = ColorFields { colorspace: 8, ycbcr_enc: 0, quantization };
            fields.resolve(Layout::Grey, VGA).range
        };
        assert_eq!([0, 1, 2].map(range), [Range::Full, Range::Full, Range::Limited]);
    }

    #[test]
    fn a_driver_that_says_nothing_is_read_as_broadcast() {
        assert_eq!(resolved(0, 0, 0, VGA).0, Matrix::Bt601);
        assert_eq!(resolved(0, 0, 0, HD).0, Matrix::Bt709);
    }

    #[test]
    fn unknown_numbers_fall_back() {
        assert_eq!(resolved(99, 99, 99, VGA), (Matrix::Bt601, Range::Limited));
    }
}
