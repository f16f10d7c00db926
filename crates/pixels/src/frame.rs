//! Pixel layouts, pictures in memory, and what is known about a frame besides its pixels.

use std::fmt;

use base::clock::Instant;

use crate::orientation::Orientation;
pub use crate::size::Size;

/// How the bytes of an uncompressed picture are arranged. Names follow V4L2's where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `YUYV`: packed 4:2:2, bytes `Y0 U Y1 V`. One plane.
    Yuyv,
    /// `UYVY`: packed 4:2:2, bytes `U Y0 V Y1`. One plane.
    Uyvy,
    /// `NV12`: a Y plane, then a plane of interleaved `U V` at half width and half height.
    Nv12,
    /// Three planes Y, U, V; the chroma planes are smaller by the two steps. `YU12` is `Planar { h: 2, v: 2 }`,
    /// 4:2:2 is `{ h: 2, v: 1 }`, 4:4:4 is `{ h: 1, v: 1 }`. Steps are 1, 2 or 4; odd sizes round up.
    Planar {
        /// Luma columns per chroma column.
        h: u8,
        /// Luma rows per chroma row.
        v: u8,
    },
    /// `RGB3`: packed, bytes `R G B`. One plane.
    Rgb,
    /// `BGR3`: packed, bytes `B G R`. One plane.
    Bgr,
    /// `GREY`: luma only. One plane. Read as red = green = blue.
    Grey,
}

impl Layout {
    /// `YU12`, also called I420.
    pub const YU12: Self = Self::Planar { h: 2, v: 2 };

    /// Number of planes that a [`Picture`] of this layout carries.
    pub const fn planes(self) -> usize {
        match self {
            Self::Yuyv | Self::Uyvy | Self::Rgb | Self::Bgr | Self::Grey => 1,
            Self::Nv12 => 2,
            Self::Planar { .. } => 3,
        }
    }

    /// Bytes that hold one row of plane `plane` without padding, and the number of such rows.
    pub const fn plane_extent(self, plane: usize, size: Size) -> (usize, usize) {
        let Size { width, height } = size;
        match self {
            Self::Yuyv | Self::Uyvy => (width.div_ceil(2) * 4, height),
            Self::Rgb | Self::Bgr => (width * 3, height),
            Self::Grey => (width, height),
            Self::Nv12 if plane == 0 => (width, height),
            Self::Nv12 => (width.div_ceil(2) * 2, height.div_ceil(2)),
            Self::Planar { .. } if plane == 0 => (width, height),
            Self::Planar { h, v } => (width.div_ceil(h as usize), height.div_ceil(v as usize)),
        }
    }

    /// Bytes of a whole picture whose planes follow each other without padding.
    pub fn bytes(self, size: Size) -> usize {
        let plane = |plane| {
            let (row, rows) = self.plane_extent(plane, size);
            row * rows
        };
        (0..self.planes()).map(plane).sum()
    }

    /// Bytes from row to row of plane `plane` where those of the first plane are `stride` bytes apart, as V4L2 and libcamera lay
    /// out their pictures: a plane with fewer samples to the row has shorter rows in proportion.
    pub const fn plane_stride(self, plane: usize, stride: usize) -> usize {
        match self {
            Self::Planar { h, .. } if plane > 0 => stride.div_ceil(h as usize),
            _ => stride,
        }
    }

    /// Bytes of a whole picture whose planes follow each other, with rows of `stride` bytes in the first.
    pub fn bytes_in_rows(self, size: Size, stride: usize) -> usize {
        (0..self.planes()).map(|plane| self.plane_stride(plane, stride) * self.plane_extent(plane, size).1).sum()
    }

    /// True for the layouts that carry luma and chroma rather than red, green and blue.
    pub const fn is_yuv(self) -> bool {
        !matches!(self, Self::Rgb | Self::Bgr)
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yuyv => f.write_str("YUYV"),
            Self::Uyvy => f.write_str("UYVY"),
            Self::Nv12 => f.write_str("NV12"),
            Self::Planar { h: 2, v: 2 } => f.write_str("YU12"),
            Self::Planar { h: 2, v: 1 } => f.write_str("YUV422P"),
            Self::Planar { h: 4, v: 1 } => f.write_str("YUV411P"),
            Self::Planar { h: 1, v: 1 } => f.write_str("YUV444P"),
            Self::Planar { h, v } => write!(f, "YUV planar {h}x{v}"),
            Self::Rgb => f.write_str("RGB3"),
            Self::Bgr => f.write_str("BGR3"),
            Self::Grey => f.write_str("GREY"),
        }
    }
}

/// The matrix that turns luma and chroma into red, green and blue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Matrix {
    /// ITU-R BT.601: standard definition, JPEG.
    #[default]
    Bt601,
    /// ITU-R BT.709: high definition.
    Bt709,
}

/// Which byte values mean black and white.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Range {
    /// Luma 16..=235, chroma 16..=240.
    #[default]
    Limited,
    /// 0..=255, as in JPEG.
    Full,
}

/// Where chroma samples lie between the luma samples of a subsampled picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Siting {
    /// On the left luma column, vertically in the middle: MPEG-2, and what cameras send.
    #[default]
    Left,
    /// In the middle of the luma samples both ways: JPEG.
    Center,
}

/// How to read the colours of a picture. Ignored for [`Layout::Rgb`] and [`Layout::Bgr`]; [`Layout::Grey`] uses `range`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Colorimetry {
    /// Luma and chroma to red, green and blue.
    pub matrix: Matrix,
    /// Black and white levels.
    pub range: Range,
    /// Position of the chroma samples.
    pub siting: Siting,
}

impl Colorimetry {
    /// What JPEG prescribes (JFIF): BT.601, full range, centred chroma.
    pub const JPEG: Self = Self { matrix: Matrix::Bt601, range: Range::Full, siting: Siting::Center };
}

/// Everything about a picture but its bytes. Pictures of equal formats can share one prepared conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PictureFormat {
    /// Arrangement of the bytes.
    pub layout: Layout,
    /// Pixels.
    pub size: Size,
    /// Meaning of the bytes.
    pub color: Colorimetry,
}

/// One plane of a picture: rows of bytes, `stride` bytes apart.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plane<'a> {
    /// First row first. The last row may end where its pixels end.
    pub data: &'a [u8],
    /// Bytes from the start of one row to the start of the next.
    pub stride: usize,
}

/// A borrowed, uncompressed picture whose planes are known to be large enough.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    format: PictureFormat,
    planes: [Plane<'a>; 3],
    full_size: Size,
    orientation: Orientation,
}

/// A plane that is too short for the picture it should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("plane {plane} of a {size} {layout} picture has {found} bytes in rows of {stride}, needs {needed}")]
pub struct ShortPlane {
    /// Index of the plane.
    pub plane: usize,
    /// What the picture should be.
    pub size: Size,
    /// How it should be arranged.
    pub layout: Layout,
    /// Bytes from row to row.
    pub stride: usize,
    /// Bytes there are.
    pub found: usize,
    /// Bytes that the size asks for.
    pub needed: usize,
}

impl<'a> Picture<'a> {
    /// Checks that `planes` (as many as the layout has; further ones are ignored) hold a picture of `format`.
    pub fn new(format: PictureFormat, planes: [Plane<'a>; 3]) -> Result<Self, ShortPlane> {
        for (index, plane) in planes.iter().enumerate().take(format.layout.planes()) {
            let (row, rows) = format.layout.plane_extent(index, format.size);
            let needed = if rows == 0 { 0 } else { plane.stride * (rows - 1) + row };
            if plane.stride < row || plane.data.len() < needed {
                return Err(ShortPlane {
                    plane: index,
                    size: format.size,
                    layout: format.layout,
                    stride: plane.stride,
                    found: plane.data.len(),
                    needed: needed.max(row),
                });
            }
        }
        Ok(Self { format, planes, full_size: format.size, orientation: Orientation::UPRIGHT })
    }

    /// A picture whose planes follow each other in one buffer, the first with rows of `stride` bytes, the chroma planes
    /// with rows in proportion, as V4L2 lays out its single-planar formats.
    pub fn contiguous(format: PictureFormat, stride: usize, data: &'a [u8]) -> Result<Self, ShortPlane> {
        let mut planes = [Plane::default(); 3];
        let mut rest = data;
        let count = format.layout.planes();
        for (index, plane) in planes.iter_mut().enumerate().take(count) {
            let (_, rows) = format.layout.plane_extent(index, format.size);
            let stride = format.layout.plane_stride(index, stride);
            *plane = Plane { data: rest, stride };
            if index + 1 < count {
                rest = rest.get(stride * rows..).unwrap_or(&[]);
            }
        }
        Self::new(format, planes)
    }

    /// Everything but the bytes.
    pub const fn format(&self) -> PictureFormat {
        self.format
    }

    /// The same picture, known to have been decoded at a reduced scale from one of `full_size`.
    #[must_use]
    pub const fn reduced_from(self, full_size: Size) -> Self {
        Self { full_size, ..self }
    }

    /// Size of the picture as the camera sent it: larger than the format's where it was decoded at a reduced scale.
    pub const fn full_size(&self) -> Size {
        self.full_size
    }

    /// The same picture, known to lie as `orientation` says when it is turned as it was said before.
    #[must_use]
    pub const fn turned(self, orientation: Orientation) -> Self {
        Self { orientation: self.orientation.then(orientation), ..self }
    }

    /// How the picture is turned upright. Planes, rows and [`Self::format`] are those of the picture as it is stored.
    pub const fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// Size of the upright picture, at full scale.
    pub const fn upright_size(&self) -> Size {
        self.orientation.turn(self.full_size)
    }

    /// The planes; those past the layout's count are empty.
    pub const fn planes(&self) -> &[Plane<'a>; 3] {
        &self.planes
    }

    /// Row `y` of plane `plane`, without padding.
    pub fn row(&self, plane: usize, y: usize) -> &'a [u8] {
        let (bytes, _) = self.format.layout.plane_extent(plane, self.format.size);
        let Plane { data, stride } = self.planes[plane];
        &data[y * stride..y * stride + bytes]
    }
}

/// When a frame was taken and how it came here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameMeta {
    /// Number of the frame as its source counts them, from 0.
    pub sequence: u64,
    /// When the picture was taken: the kernel's time stamp, or the moment a replayed frame was due.
    pub captured: Instant,
    /// When it was handed to us.
    pub dequeued: Instant,
}

/// A frame as a camera hands it over: the picture is borrowed from the camera's own buffer.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The pixels.
    pub picture: Picture<'a>,
    /// When and which.
    pub meta: FrameMeta,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(layout: Layout, width: usize, height: usize) -> PictureFormat {
        PictureFormat { layout, size: Size::new(width, height), color: Colorimetry::default() }
    }

    #[test]
    fn extents_round_odd_sizes_up() {
        let size = Size::new(5, 3);
        assert_eq!(Layout::Yuyv.plane_extent(0, size), (12, 3));
        assert_eq!(Layout::Nv12.plane_extent(1, size), (6, 2));
        assert_eq!(Layout::YU12.plane_extent(2, size), (3, 2));
        assert_eq!(Layout::Rgb.plane_extent(0, size), (15, 3));
    }

    #[test]
    fn a_short_plane_is_named() {
        let data = vec![0u8; 4 * 8 + 3];
        let error = Picture::contiguous(format(Layout::Grey, 8, 5), 8, &data).unwrap_err();
        assert_eq!((error.plane, error.found, error.needed), (0, 35, 40));
        let data = vec![0u8; 8 * 4 + 4 * 2 + 7];
        let error = Picture::contiguous(format(Layout::YU12, 8, 4), 8, &data).unwrap_err();
        assert_eq!(error.plane, 2);
    }

    #[test]
    fn the_last_row_may_end_with_its_pixels() {
        let data: Vec<u8> = (0..10 * 2 + 6).collect();
        let picture = Picture::contiguous(format(Layout::Grey, 6, 3), 10, &data).unwrap();
        assert_eq!(picture.row(0, 2), &[20, 21, 22, 23, 24, 25]);
    }

    #[test]
    fn nv12_chroma_keeps_the_stride() {
        let data: Vec<u8> = (0..8 * 2 + 6).collect();
        let picture = Picture::contiguous(format(Layout::Nv12, 6, 2), 8, &data).unwrap();
        assert_eq!(picture.row(1, 0), &[16, 17, 18, 19, 20, 21]);
    }

    #[test]
    fn sizes_are_1_to_16384_each_way() {
        for text in ["1x1", "16384x16384"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        for text in ["0x1", "1x0", "16385x1", "1x16385", "1x", "x1", "1X1", "1x1x1"] {
            assert!(text.parse::<Size>().unwrap_err().contains("WIDTHxHEIGHT"), "{text}");
        }
    }
}
