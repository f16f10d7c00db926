//! The JPEG decoder: libjpeg-turbo behind a shell that reuses its buffers, chooses the DCT scale and refuses bad frames.
//! docs/jpeg-decoder.md says why this library. Finding the frames in a stream is left to the sources, colour
//! conversion and resizing to `preprocess`.

mod findings;
mod library;
#[cfg(test)]
mod tests;

pub use findings::Findings;
use library::{Colour, Failure, Header, Library, Opened, PlaneMut};
use pixels::frame::{Colorimetry, Layout, Picture, PictureFormat, Plane, ShortPlane, Size};

/// Widest and highest picture that is decoded, so that a damaged header can't ask for all the memory there is.
pub const MAX_SIDE: usize = 16_384;
/// Most pixels that a decoded picture may have.
pub const MAX_PIXELS: usize = 64 << 20;

/// A progressive picture has about ten scans; every further one costs a pass over all coefficients.
const MAX_SCANS: u32 = 100;

/// What the inverse DCT can divide a picture's size by, beginning with the most.
const DIVISORS: [usize; 3] = [8, 4, 2];

/// Subsampling that is decoded to planes: pixels in each direction for each chroma sample.
const SUBSAMPLINGS: [(u8, u8); 6] = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (1, 4)];

/// Why a JPEG can't be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JpegError {
    /// The bytes aren't a whole, undamaged JPEG. Carries what was found, in words.
    #[error("{0}")]
    Corrupt(String),
    /// The header announces a picture that is too large.
    #[error("the header announces {0} pixels, more than {MAX_SIDE}x{MAX_SIDE} or 64 megapixels")]
    TooLarge(Size),
    /// A JPEG of a kind that isn't read.
    #[error("{0} JPEG is not supported")]
    Unsupported(&'static str),
    /// There is no memory for its pixels.
    #[error("there is no memory for {0} pixels")]
    NoMemory(Size),
    /// The decoder itself failed.
    #[error("the JPEG decoder failed: {0}")]
    Library(String),
}

impl From<ShortPlane> for JpegError {
    fn from(error: ShortPlane) -> Self {
        Self::Library(error.to_string())
    }
}

/// A decoded picture, lent from the decoder's buffer.
#[derive(Clone, Debug)]
pub struct Decoded<'a> {
    /// Planar YUV or GREY with [`Colorimetry::JPEG`]; RGB where the JPEG holds RGB or CMYK.
    pub picture: Picture<'a>,
    /// What the decoder found odd although the picture is whole.
    pub findings: Findings,
}

/// A JPEG decoder with its buffers.
#[derive(Debug)]
pub struct JpegDecoder {
    library: Library,
    wanted: Option<Size>,
    pixels: Vec<u8>,
}

impl JpegDecoder {
    /// A decoder that decodes at full size.
    ///
    /// # Errors
    /// When libjpeg-turbo finds no memory.
    pub fn new() -> Result<Self, JpegError> {
        let library = Library::new(MAX_SCANS);
        let library = library.ok_or_else(|| JpegError::Library("there is no memory for it".to_owned()))?;
        Ok(Self { library, wanted: None, pixels: Vec::new() })
    }

    /// Makes [`Self::decode`] decode at 1/2, 1/4 or 1/8 where the picture is then still at least `wanted` in both
    /// directions. `None` means full size.
    pub fn set_wanted(&mut self, wanted: Option<Size>) {
        self.wanted = wanted;
    }

    /// Decodes one JPEG into the decoder's own buffer and lends it. The buffer grows to the largest picture seen and is
    /// reused; nothing else is allocated on the Rust side for a frame without damage.
    ///
    /// Baseline and progressive JPEGs of 8 bits are read, with any subsampling. Frames without Huffman tables get the
    /// standard ones. The picture begins at the last SOI marker in front of its data. Bytes after its data are ignored, so the
    /// EOI marker may be missing; so are stray bytes in front of a marker.
    ///
    /// # Errors
    /// When the frame is truncated or damaged, even if the library could show some of it: half a picture with a grey rest
    /// would be segmented like a real one.
    pub fn decode(&mut self, jpeg: &[u8]) -> Result<Decoded<'_>, JpegError> {
        let raw = decode_raw(&mut self.library, jpeg, self.wanted, &mut self.pixels)?;
        let format = PictureFormat { layout: raw.layout, size: raw.size, color: Colorimetry::JPEG };
        let picture = match raw.layout {
            Layout::Planar { .. } | Layout::Grey => planar(&self.pixels, format)?,
            _ => Picture::contiguous(format, raw.size.width * 3, &self.pixels)?,
        };
        Ok(Decoded { picture: picture.reduced_from(raw.full_size), findings: raw.findings })
    }

    /// Decodes one JPEG at full size to packed RGB, chroma interpolated ("fancy upsampling"), as PIL and OpenCV do: for
    /// still pictures.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_rgb(&mut self, jpeg: &[u8]) -> Result<(Size, Vec<u8>), JpegError> {
        let opened = open(&mut self.library, jpeg)?;
        let size = opened.header().size();
        let mut pixels = Vec::new();
        pixels.try_reserve_exact(size.pixels() * 3).map_err(|_| JpegError::NoMemory(size))?;
        decode_packed(opened, 1, size, &mut pixels)?;
        pixels.truncate(size.pixels() * 3);
        Ok((size, pixels))
    }

    /// The size that the header announces. Nothing is decoded.
    ///
    /// # Errors
    /// When there is no whole header, or it announces a picture that is never decoded.
    pub fn size(&mut self, jpeg: &[u8]) -> Result<Size, JpegError> {
        open(&mut self.library, jpeg).map(|opened| opened.header().size())
    }
}

/// What [`decode_raw`] left in the buffer.
struct Raw {
    layout: Layout,
    size: Size,
    full_size: Size,
    findings: Findings,
}

/// Reads the header, and refuses what is never decoded.
fn open<'a>(library: &'a mut Library, jpeg: &'a [u8]) -> Result<Opened<'a>, JpegError> {
    let opened = library.read(jpeg).map_err(|failure| match failure {
        Failure::NoMemory => JpegError::Library("there is no memory for the header".to_owned()),
        other => JpegError::Corrupt(other.to_string()),
    })?;
    let header = opened.header();
    let size = header.size();
    if size.width > MAX_SIDE || size.height > MAX_SIDE || size.pixels() > MAX_PIXELS {
        return Err(JpegError::TooLarge(size));
    }
    if header.is_lossless() {
        return Err(JpegError::Unsupported("lossless"));
    }
    if header.precision != 8 {
        return Err(JpegError::Unsupported("a sample depth other than 8 bits in a"));
    }
    if header.colour() == Colour::Other {
        return Err(JpegError::Unsupported("this number of colour components in a"));
    }
    Ok(opened)
}

fn decode_raw(
    library: &mut Library,
    jpeg: &[u8],
    wanted: Option<Size>,
    pixels: &mut Vec<u8>,
) -> Result<Raw, JpegError> {
    let opened = open(library, jpeg)?;
    let header = opened.header();
    let full_size = header.size();
    let divisor = wanted.map_or(1, |wanted| divisor_for(full_size, wanted));
    let size = reduced(full_size, divisor);
    let layout = layout_of(header);
    let findings = match layout {
        Layout::Planar { h, v } => decode_planes(opened, divisor, size, (h.into(), v.into()), pixels)?,
        Layout::Grey => {
            grow(pixels, size.pixels());
            let plane = PlaneMut::new(&mut pixels[..], size.width, size.height);
            whole(opened.planes(divisor as u32, &mut [plane]), full_size)?
        }
        _ => decode_packed(opened, divisor, size, pixels)?,
    };
    Ok(Raw { layout, size, full_size, findings })
}

/// What a picture is decoded to.
fn layout_of(header: &Header) -> Layout {
    match (header.colour(), header.steps()) {
        (Colour::Grey, _) => Layout::Grey,
        (Colour::Ycc, Some((h, v))) if SUBSAMPLINGS.contains(&(h, v)) => Layout::Planar { h, v },
        _ => Layout::Rgb,
    }
}

/// The picture's size divided by `divisor`.
fn reduced(size: Size, divisor: usize) -> Size {
    Size::new(size.width.div_ceil(divisor), size.height.div_ceil(divisor))
}

/// The largest divisor at which `full` is still at least `wanted`.
fn divisor_for(full: Size, wanted: Size) -> usize {
    let is_enough = |size: Size| size.width >= wanted.width && size.height >= wanted.height;
    DIVISORS.into_iter().find(|&divisor| is_enough(reduced(full, divisor))).unwrap_or(1)
}

/// Grows `pixels` to at least `len` bytes.
fn grow(pixels: &mut Vec<u8>, len: usize) {
    if pixels.len() < len {
        pixels.resize(len, 0);
    }
}

/// The library's answer, unless what it found is damage.
fn whole(result: Result<Findings, Failure>, size: Size) -> Result<Findings, JpegError> {
    match result {
        Ok(findings) if findings.is_damage() => Err(JpegError::Corrupt(findings.to_string())),
        Ok(findings) => Ok(findings),
        Err(Failure::NoMemory) => Err(JpegError::NoMemory(size)),
        Err(other) => Err(JpegError::Corrupt(other.to_string())),
    }
}

/// Decodes to the planes that [`planar`] finds: one after another, the luma plane padded to whole chroma samples.
fn decode_planes(
    opened: Opened<'_>,
    divisor: usize,
    size: Size,
    (h, v): (usize, usize),
    pixels: &mut Vec<u8>,
) -> Result<Findings, JpegError> {
    let full_size = opened.header().size();
    let (stride, rows) = (size.width.div_ceil(h), size.height.div_ceil(v));
    grow(pixels, stride * rows * (h * v + 2));
    let (luma, chroma) = pixels.split_at_mut(stride * h * rows * v);
    let (blue, red) = chroma.split_at_mut(stride * rows);
    let mut planes = [
        PlaneMut::new(luma, stride * h, rows * v),
        PlaneMut::new(blue, stride, rows),
        PlaneMut::new(red, stride, rows),
    ];
    whole(opened.planes(divisor as u32, &mut planes), full_size)
}

/// Decodes to packed RGB in `pixels`.
fn decode_packed(opened: Opened<'_>, divisor: usize, size: Size, pixels: &mut Vec<u8>) -> Result<Findings, JpegError> {
    let full_size = opened.header().size();
    let is_ink = opened.header().colour() == Colour::Ink;
    let bytes = if is_ink { 4 } else { 3 };
    grow(pixels, size.pixels() * bytes);
    let room = PlaneMut::packed(&mut pixels[..], size.width, size.height, bytes);
    let findings = whole(opened.packed(divisor as u32, &room), full_size)?;
    if is_ink {
        // Every program in use writes CMYK JPEGs inverted (Adobe's convention): 255 is no ink.
        for pixel in 0..size.pixels() {
            let k = u32::from(pixels[pixel * 4 + 3]);
            for channel in 0..3 {
                let ink = u32::from(pixels[pixel * 4 + channel]);
                // At most 255 * 255 / 255. The write never overtakes the read: three bytes for four.
                pixels[pixel * 3 + channel] = ((ink * k + 127) / 255) as u8;
            }
        }
    }
    Ok(findings)
}

/// The planes as [`decode_planes`] leaves them.
fn planar(pixels: &[u8], format: PictureFormat) -> Result<Picture<'_>, ShortPlane> {
    let Layout::Planar { h, v } = format.layout else {
        return Picture::contiguous(format, format.size.width, pixels);
    };
    let (h, v) = (usize::from(h), usize::from(v));
    let (stride, rows) = (format.size.width.div_ceil(h), format.size.height.div_ceil(v));
    let (luma, chroma) = pixels.split_at(stride * h * rows * v);
    let (u, v) = chroma.split_at(stride * rows);
    Picture::new(
        format,
        [Plane { data: luma, stride: stride * h }, Plane { data: u, stride }, Plane { data: v, stride }],
    )
}
