//! The JPEG decoder: libjpeg-turbo behind a shell that reuses its buffers, chooses the DCT scale and refuses bad frames.
//! docs/jpeg-decoder.md says why this library. Finding the frames in a stream is left to the sources, colour
//! conversion and resizing to `preprocess`.

mod huffman;

use pixels::frame::{Colorimetry, Layout, Picture, PictureFormat, Plane, ShortPlane, Size};
use turbojpeg::{Colorspace, DecompressHeader, Decompressor, Image, PixelFormat, ScalingFactor, Subsamp, YuvImage};

/// Widest and highest picture that is decoded, so that a damaged header can't ask for all the memory there is.
pub const MAX_SIDE: usize = 16_384;
/// Most pixels that a decoded picture may have.
pub const MAX_PIXELS: usize = 64 << 20;

/// A progressive picture has about ten scans; every further one costs a pass over all coefficients.
const MAX_SCANS: u32 = 100;

/// Some cameras end the scan with a few bytes of padding in front of the EOI marker. The picture is whole then. More
/// bytes than this mean that the decoder lost its place.
const MAX_PADDING: u32 = 16;

/// Why a JPEG can't be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JpegError {
    /// The bytes aren't a whole, undamaged JPEG. Carries libjpeg-turbo's own text.
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

impl From<turbojpeg::Error> for JpegError {
    fn from(error: turbojpeg::Error) -> Self {
        match error {
            turbojpeg::Error::TurboJpegError(text) => Self::Corrupt(text),
            other => Self::Library(other.to_string()),
        }
    }
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
    pub warning: Option<String>,
}

/// A JPEG decoder with its buffers.
#[derive(Debug)]
pub struct JpegDecoder {
    turbo: Decompressor,
    wanted: Option<Size>,
    pixels: Vec<u8>,
    patched: Vec<u8>,
}

impl JpegDecoder {
    /// A decoder that decodes at full size.
    ///
    /// # Errors
    /// When libjpeg-turbo finds no memory.
    pub fn new() -> Result<Self, JpegError> {
        Ok(Self { turbo: new_handle()?, wanted: None, pixels: Vec::new(), patched: Vec::new() })
    }

    /// Makes [`Self::decode`] decode at 1/2, 1/4 or 1/8 where the picture is then still at least `wanted` in both
    /// directions. `None` means full size.
    pub fn set_wanted(&mut self, wanted: Option<Size>) {
        self.wanted = wanted;
    }

    /// Decodes one JPEG into the decoder's own buffer and lends it. The buffer grows to the largest picture seen and is
    /// reused; nothing else is allocated on the Rust side for a frame without a fault.
    ///
    /// Baseline and progressive JPEGs of 8 bits are read, with any subsampling. Frames without Huffman tables get the
    /// standard ones; bytes after the end of the picture are ignored.
    ///
    /// # Errors
    /// When the frame is truncated or damaged, even if the library could show some of it: half a picture with a grey rest
    /// would be segmented like a real one.
    pub fn decode(&mut self, jpeg: &[u8]) -> Result<Decoded<'_>, JpegError> {
        let mended = huffman::with_tables(jpeg, &mut self.patched);
        let result = decode_raw(&mut self.turbo, mended, self.wanted, &mut self.pixels);
        let raw = or_renew(&mut self.turbo, result)?;
        let format = PictureFormat { layout: raw.layout, size: raw.size, color: Colorimetry::JPEG };
        let picture = match raw.layout {
            Layout::Planar { .. } | Layout::Grey => planar(&self.pixels, format)?,
            _ => Picture::contiguous(format, raw.size.width * 3, &self.pixels)?,
        };
        Ok(Decoded { picture: picture.reduced_from(raw.full_size), warning: raw.warning })
    }

    /// Decodes one JPEG at full size to packed RGB, chroma interpolated ("fancy upsampling"), as PIL and OpenCV do: for
    /// still pictures.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_rgb(&mut self, jpeg: &[u8]) -> Result<(Size, Vec<u8>), JpegError> {
        let mended = huffman::with_tables(jpeg, &mut self.patched);
        let result = decode_still(&mut self.turbo, mended);
        or_renew(&mut self.turbo, result)
    }
}

impl JpegDecoder {
    /// The size that the header announces. Nothing is decoded.
    ///
    /// # Errors
    /// When there is no whole header, or it announces a picture that is never decoded.
    pub fn size(&mut self, jpeg: &[u8]) -> Result<Size, JpegError> {
        let mended = huffman::with_tables(jpeg, &mut self.patched);
        let result = read_header(&mut self.turbo, mended).map(|header| Size::new(header.width, header.height));
        or_renew(&mut self.turbo, result)
    }
}

/// After an error in the header, libjpeg-turbo's handle stays in the middle of it and fails on every further picture.
/// A new one costs microseconds.
fn or_renew<T>(turbo: &mut Decompressor, result: Result<T, JpegError>) -> Result<T, JpegError> {
    if result.is_err() {
        *turbo = new_handle()?;
    }
    result
}

fn new_handle() -> Result<Decompressor, JpegError> {
    let mut turbo = Decompressor::new()?;
    turbo.set_scan_limit(MAX_SCANS)?;
    Ok(turbo)
}

/// What [`decode_raw`] left in the buffer.
struct Raw {
    layout: Layout,
    size: Size,
    full_size: Size,
    warning: Option<String>,
}

fn decode_raw(
    turbo: &mut Decompressor,
    jpeg: &[u8],
    wanted: Option<Size>,
    pixels: &mut Vec<u8>,
) -> Result<Raw, JpegError> {
    let header = read_header(turbo, jpeg)?;
    let full_size = Size::new(header.width, header.height);
    let scale = wanted.map_or(ScalingFactor::ONE, |wanted| scale_for(full_size, wanted));
    turbo.set_scaling_factor(scale)?;
    let size = Size::new(scale.scale(header.width), scale.scale(header.height));
    let subsamp = header.subsamp;
    let layout = match (header.colorspace, subsamp) {
        (Colorspace::Gray, Subsamp::Gray) => Layout::Grey,
        (_, Subsamp::Gray | Subsamp::Unknown) => Layout::Rgb,
        // The steps are 1, 2 or 4.
        (Colorspace::YCbCr, _) => Layout::Planar { h: subsamp.width() as u8, v: subsamp.height() as u8 },
        (_, _) => Layout::Rgb,
    };
    let warning = if layout == Layout::Rgb {
        decode_packed(turbo, jpeg, &header, size, pixels)?
    } else {
        grow(pixels, turbojpeg::yuv_pixels_len(size.width, 1, size.height, subsamp)?);
        let target = YuvImage { pixels: &mut pixels[..], width: size.width, align: 1, height: size.height, subsamp };
        harmless(turbo.decompress_to_yuv(jpeg, target))?
    };
    Ok(Raw { layout, size, full_size, warning })
}

fn decode_still(turbo: &mut Decompressor, jpeg: &[u8]) -> Result<(Size, Vec<u8>), JpegError> {
    let header = read_header(turbo, jpeg)?;
    turbo.set_scaling_factor(ScalingFactor::ONE)?;
    let size = Size::new(header.width, header.height);
    let mut pixels = Vec::new();
    pixels.try_reserve_exact(size.pixels() * 3).map_err(|_| JpegError::NoMemory(size))?;
    decode_packed(turbo, jpeg, &header, size, &mut pixels)?;
    pixels.truncate(size.pixels() * 3);
    Ok((size, pixels))
}

fn read_header(turbo: &mut Decompressor, jpeg: &[u8]) -> Result<DecompressHeader, JpegError> {
    let header = turbo.read_header(jpeg).map_err(|error| match error {
        // Only tables and no picture: the library gives -1 for the width.
        turbojpeg::Error::IntegerOverflow(_) => JpegError::Corrupt("there is no picture in it".to_owned()),
        other => other.into(),
    })?;
    let size = Size::new(header.width, header.height);
    if size.width > MAX_SIDE || size.height > MAX_SIDE || size.pixels() > MAX_PIXELS {
        return Err(JpegError::TooLarge(size));
    }
    if header.is_lossless {
        return Err(JpegError::Unsupported("lossless"));
    }
    Ok(header)
}

/// The smallest scale at which `full` is still at least `wanted`.
fn scale_for(full: Size, wanted: Size) -> ScalingFactor {
    [ScalingFactor::ONE_EIGHTH, ScalingFactor::ONE_QUARTER, ScalingFactor::ONE_HALF]
        .into_iter()
        .find(|scale| scale.scale(full.width) >= wanted.width && scale.scale(full.height) >= wanted.height)
        .unwrap_or(ScalingFactor::ONE)
}

/// Grows `pixels` to at least `len` bytes.
fn grow(pixels: &mut Vec<u8>, len: usize) {
    if pixels.len() < len {
        pixels.resize(len, 0);
    }
}

/// Decodes to packed RGB in `pixels` at the scale that `turbo` is set to.
fn decode_packed(
    turbo: &mut Decompressor,
    jpeg: &[u8],
    header: &DecompressHeader,
    size: Size,
    pixels: &mut Vec<u8>,
) -> Result<Option<String>, JpegError> {
    let is_cmyk = matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK);
    let format = if is_cmyk { PixelFormat::CMYK } else { PixelFormat::RGB };
    grow(pixels, size.pixels() * format.size());
    let pitch = size.width * format.size();
    let target = Image { pixels: &mut pixels[..], width: size.width, pitch, height: size.height, format };
    let warning = harmless(turbo.decompress(jpeg, target))?;
    if is_cmyk {
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
    Ok(warning)
}

/// Sorts the library's findings: it reports a warning as an error, after having decoded what it could.
fn harmless(result: turbojpeg::Result<()>) -> Result<Option<String>, JpegError> {
    match result {
        Ok(()) => Ok(None),
        // The text is that of the first warning, so the scan itself was decoded without one.
        Err(turbojpeg::Error::TurboJpegError(text)) if padding(&text).is_some_and(|bytes| bytes <= MAX_PADDING) => {
            Ok(Some(text))
        }
        Err(error) => Err(error.into()),
    }
}

/// The count in libjpeg-turbo's message about bytes between the scan and the EOI marker.
fn padding(text: &str) -> Option<u32> {
    text.strip_prefix("Corrupt JPEG data: ")?.strip_suffix(" extraneous bytes before marker 0xd9")?.parse().ok()
}

/// The planes as libjpeg-turbo leaves them: one after another, the luma plane padded to whole chroma samples.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{encode, gradient};

    /// Mean of every plane.
    fn means(picture: &Picture<'_>) -> Vec<f64> {
        let format = picture.format();
        (0..format.layout.planes())
            .map(|plane| {
                let (row, rows) = format.layout.plane_extent(plane, format.size);
                let sum: u64 = (0..rows).flat_map(|y| picture.row(plane, y)).map(|&b| u64::from(b)).sum();
                sum as f64 / (row * rows) as f64
            })
            .collect()
    }

    #[test]
    fn every_subsampling_at_every_scale_and_odd_sizes() {
        let mut decoder = JpegDecoder::new().unwrap();
        for subsamp in [
            Subsamp::Sub2x2,
            Subsamp::Sub2x1,
            Subsamp::None,
            Subsamp::Sub1x2,
            Subsamp::Sub4x1,
            Subsamp::Sub1x4,
            Subsamp::Gray,
        ] {
            for (width, height) in [(64, 64), (67, 45), (1, 1), (17, 130)] {
                let jpeg = encode(width, height, subsamp);
                decoder.set_wanted(None);
                let full = decoder.decode(&jpeg).unwrap();
                let format = full.picture.format();
                assert_eq!(
                    (format.size, full.picture.full_size()),
                    (Size::new(width, height), Size::new(width, height))
                );
                assert_eq!(format.color, Colorimetry::JPEG);
                let expected = match subsamp {
                    Subsamp::Gray => Layout::Grey,
                    other => Layout::Planar { h: other.width() as u8, v: other.height() as u8 },
                };
                assert_eq!(format.layout, expected);
                let full_means = means(&full.picture);
                // Top left corner of the gradient is blue, whose BT.601 luma is 29 of 255.
                assert!(full.picture.row(0, 0)[0].abs_diff(29) < 12, "{subsamp:?} {width}x{height}");
                for divisor in [2, 4, 8] {
                    let wanted = Size::new(width.div_ceil(divisor), height.div_ceil(divisor));
                    decoder.set_wanted(Some(wanted));
                    let scaled = decoder.decode(&jpeg).unwrap();
                    assert_eq!(scaled.picture.full_size(), Size::new(width, height));
                    let size = scaled.picture.format().size;
                    assert!(size.width >= wanted.width && size.height >= wanted.height);
                    // With whole blocks only; others weigh too much at the edges of a small picture.
                    if width == 64 {
                        assert_eq!(size, wanted);
                        for (a, b) in full_means.iter().zip(means(&scaled.picture)) {
                            assert!((a - b).abs() < 8.0, "{subsamp:?} {width}x{height} 1/{divisor}: {a} and {b}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_scale_never_goes_below_what_is_wanted() {
        let scale = |full: (usize, usize), wanted: (usize, usize)| {
            let scale = scale_for(Size::new(full.0, full.1), Size::new(wanted.0, wanted.1));
            scale.denom()
        };
        assert_eq!(scale((640, 480), (384, 288)), 1);
        assert_eq!(scale((768, 576), (384, 288)), 2);
        assert_eq!(scale((1280, 720), (384, 288)), 2);
        assert_eq!(scale((1280, 570), (384, 288)), 1);
        assert_eq!(scale((1920, 1080), (384, 270)), 4);
        assert_eq!(scale((8192, 8192), (64, 64)), 8);
        assert_eq!(scale((100, 100), (384, 288)), 1);
    }

    #[test]
    fn a_frame_without_huffman_tables_decodes_as_with_them() {
        let jpeg = encode(48, 32, Subsamp::Sub2x1);
        let (bare, tables) = huffman::strip_tables(&jpeg);
        assert!(!tables.is_empty());
        let mut decoder = JpegDecoder::new().unwrap();
        let expected: Vec<u8> = decoder.decode(&jpeg).unwrap().picture.planes()[0].data.to_vec();
        // A picture with tables of its own in between must not leave them behind.
        let mut compressor = turbojpeg::Compressor::new().unwrap();
        compressor.set_optimize(true).unwrap();
        let rgb = gradient(48, 32);
        let image = Image { pixels: &rgb[..], width: 48, pitch: 48 * 3, height: 32, format: PixelFormat::RGB };
        let optimized = compressor.compress_to_vec(image).unwrap();
        decoder.decode(&optimized).unwrap();
        assert_eq!(decoder.decode(&bare).unwrap().picture.planes()[0].data, expected);
        assert_eq!(decoder.decode_rgb(&bare).unwrap(), decoder.decode_rgb(&jpeg).unwrap());
    }

    #[test]
    fn a_truncated_frame_is_an_error_wherever_it_ends() {
        let jpeg = encode(64, 48, Subsamp::Sub2x2);
        let mut decoder = JpegDecoder::new().unwrap();
        for cut in 0..jpeg.len() - 2 {
            let error = decoder.decode(&jpeg[..cut]).unwrap_err();
            assert!(matches!(error, JpegError::Corrupt(_)), "cut at {cut}: {error}");
            assert!(decoder.decode_rgb(&jpeg[..cut]).is_err());
            // The end marker in place, data missing: what a camera sends when it ran out of USB bandwidth.
            let mut gap = jpeg[..cut].to_vec();
            gap.extend_from_slice(&[0xFF, 0xD9]);
            assert!(decoder.decode(&gap).is_err() || cut + 2 >= jpeg.len() - 2, "gap at {cut}");
        }
        assert!(decoder.decode(&jpeg).is_ok());
    }

    #[test]
    fn flipped_bytes_never_panic() {
        let jpeg = encode(40, 24, Subsamp::Sub2x2);
        let mut decoder = JpegDecoder::new().unwrap();
        for at in 0..jpeg.len() {
            for flip in [0x01, 0x80, 0xFF] {
                let mut bad = jpeg.clone();
                bad[at] ^= flip;
                let _ = decoder.decode(&bad);
                let _ = decoder.decode_rgb(&bad);
                assert_eq!(decoder.decode(&jpeg).map(|_| ()), Ok(()), "after byte {at} was flipped by {flip:#x}");
            }
        }
    }

    #[test]
    fn trailing_bytes_and_padding_before_the_end_are_accepted() {
        let jpeg = encode(40, 24, Subsamp::Sub2x2);
        let mut decoder = JpegDecoder::new().unwrap();
        let mut trailing = jpeg.clone();
        trailing.extend_from_slice(&[0; 700]);
        assert_eq!(decoder.decode(&trailing).unwrap().warning, None);
        let mut padded = jpeg[..jpeg.len() - 2].to_vec();
        padded.extend_from_slice(&[0, 0, 0, 0xFF, 0xD9]);
        let warning = decoder.decode(&padded).unwrap().warning.unwrap();
        assert!(warning.contains("2 extraneous bytes"), "{warning}");
        let mut lost = jpeg[..jpeg.len() - 2].to_vec();
        lost.extend_from_slice(&[0; 60]);
        lost.extend_from_slice(&[0xFF, 0xD9]);
        assert!(decoder.decode(&lost).is_err());
    }

    #[test]
    fn an_oversized_header_is_refused_before_anything_is_allocated() {
        let mut decoder = JpegDecoder::new().unwrap();
        for (width, height) in [(20_000u16, 8u16), (8, 20_000), (16_000, 16_000)] {
            let mut jpeg = encode(16, 16, Subsamp::Sub2x2);
            let sof = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
            jpeg[sof + 5..sof + 7].copy_from_slice(&height.to_be_bytes());
            jpeg[sof + 7..sof + 9].copy_from_slice(&width.to_be_bytes());
            let expected = JpegError::TooLarge(Size::new(width.into(), height.into()));
            assert_eq!(decoder.decode(&jpeg).unwrap_err(), expected);
            assert_eq!(decoder.decode_rgb(&jpeg).unwrap_err(), expected);
            assert_eq!(decoder.pixels.capacity(), 0);
        }
    }

    #[test]
    fn rgb_and_cmyk_fall_back_to_rgb() {
        let (width, height) = (32, 16);
        let rgb = gradient(width, height);
        let image = Image { pixels: &rgb[..], width, pitch: width * 3, height, format: PixelFormat::RGB };
        let mut compressor = turbojpeg::Compressor::new().unwrap();
        compressor.set_quality(98).unwrap();
        compressor.set_subsamp(Subsamp::None).unwrap();
        compressor.set_colorspace(Colorspace::RGB).unwrap();
        let as_rgb = compressor.compress_to_vec(image).unwrap();
        // Inverted CMYK with no black: the channels are red, green, blue, 255.
        let cmyk: Vec<u8> = rgb.chunks(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
        let image = Image { pixels: &cmyk[..], width, pitch: width * 4, height, format: PixelFormat::CMYK };
        compressor.set_colorspace(Colorspace::CMYK).unwrap();
        let as_cmyk = compressor.compress_to_vec(image).unwrap();
        let mut decoder = JpegDecoder::new().unwrap();
        for jpeg in [as_rgb, as_cmyk] {
            let decoded = decoder.decode(&jpeg).unwrap();
            assert_eq!(decoded.picture.format().layout, Layout::Rgb);
            for y in 0..height {
                let row = decoded.picture.row(0, y);
                for (found, expected) in row.iter().zip(&rgb[y * width * 3..]) {
                    assert!(found.abs_diff(*expected) < 8);
                }
            }
            let (size, pixels) = decoder.decode_rgb(&jpeg).unwrap();
            assert_eq!((size, pixels.len()), (Size::new(width, height), width * height * 3));
        }
    }

    #[test]
    fn still_pictures_come_in_full_size_rgb() {
        let jpeg = encode(50, 30, Subsamp::Sub2x2);
        let mut decoder = JpegDecoder::new().unwrap();
        decoder.set_wanted(Some(Size::new(5, 5)));
        let (size, pixels) = decoder.decode_rgb(&jpeg).unwrap();
        assert_eq!(size, Size::new(50, 30));
        for (found, expected) in pixels.iter().zip(gradient(50, 30)) {
            assert!(found.abs_diff(expected) < 16, "{found} {expected}");
        }
    }

    #[test]
    fn progressive_is_read_and_lossless_is_refused() {
        let rgb = gradient(32, 32);
        let image = || Image { pixels: &rgb[..], width: 32, pitch: 96, height: 32, format: PixelFormat::RGB };
        let mut compressor = turbojpeg::Compressor::new().unwrap();
        compressor.set_progressive(true).unwrap();
        let progressive = compressor.compress_to_vec(image()).unwrap();
        let mut decoder = JpegDecoder::new().unwrap();
        assert!(decoder.decode(&progressive).is_ok());
        let mut compressor = turbojpeg::Compressor::new().unwrap();
        compressor.set_lossless(true).unwrap();
        let lossless = compressor.compress_to_vec(image()).unwrap();
        assert_eq!(decoder.decode(&lossless).unwrap_err(), JpegError::Unsupported("lossless"));
    }

    #[test]
    fn the_buffer_is_reused() {
        let jpeg = encode(64, 48, Subsamp::Sub2x2);
        let mut decoder = JpegDecoder::new().unwrap();
        decoder.decode(&jpeg).unwrap();
        let (at, capacity) = (decoder.pixels.as_ptr(), decoder.pixels.capacity());
        for _ in 0..3 {
            decoder.decode(&jpeg).unwrap();
        }
        assert_eq!((decoder.pixels.as_ptr(), decoder.pixels.capacity()), (at, capacity));
    }
}
