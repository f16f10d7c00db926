//! Reads one still picture from a file into packed RGB, upright as its EXIF says.
//! Lists of pictures and their pace are left to `replay`; JPEG decoding to `jpeg`.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use base::files;
use image::{ImageDecoder, ImageReader, Limits};
use pixels::frame::{Colorimetry, Layout, Picture, PictureFormat, ShortPlane, Size};
use pixels::orientation::Orientation;

use super::exif;
use super::jpeg::{JpegDecoder, JpegError, MAX_PIXELS, MAX_SIDE};

/// File name extensions of the pictures that [`load`] reads, in lower case. What a file holds decides, not its name; the
/// names only choose files in a folder.
pub const EXTENSIONS: [&str; 9] = ["bmp", "jpeg", "jpg", "pbm", "pgm", "png", "pnm", "ppm", "webp"];

/// How every JPEG begins.
pub(crate) const JPEG: [u8; 2] = [0xFF, 0xD8];

/// How every PNG begins.
const PNG: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// Largest file that is read.
const MAX_FILE: u64 = 256 << 20;

/// A picture of 8 bits per channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RgbPicture {
    /// Width and height.
    pub size: Size,
    /// Packed `R G B`, rows without padding.
    pub pixels: Vec<u8>,
}

impl RgbPicture {
    /// The picture as the rest of the program takes it.
    ///
    /// # Errors
    /// When `pixels` is too short for `size`.
    pub fn as_picture(&self) -> Result<Picture<'_>, ShortPlane> {
        let format = PictureFormat { layout: Layout::Rgb, size: self.size, color: Colorimetry::JPEG };
        Picture::contiguous(format, self.size.width * 3, &self.pixels)
    }
}

/// Why a picture can't be read. The path is left to the caller.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The file can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A JPEG that can't be decoded.
    #[error("JPEG: {0}")]
    Jpeg(#[from] JpegError),
    /// A PNG that can't be decoded.
    #[error("{0}")]
    Png(#[from] png::DecodingError),
    /// A picture of another kind that can't be decoded.
    #[error("{0}")]
    Image(#[from] image::ImageError),
    /// Not one of the formats that are read.
    #[error("not a picture in a format that is read ({})", EXTENSIONS.join(", "))]
    Unknown,
    /// More pixels than can be worth it.
    #[error("{0} pixels, more than {MAX_SIDE}x{MAX_SIDE} or 64 megapixels")]
    TooLarge(Size),
    /// There is no memory for its pixels.
    #[error("there is no memory for {0} pixels")]
    NoMemory(Size),
    /// More pixels than the caller takes.
    #[error("{0} = {count} pixels", count = .0.pixels())]
    TooManyPixels(Size),
    /// Few enough pixels, but they take more than four bytes for each that the caller takes.
    #[error("{size} pixels of 16 bits for each colour, which are {bytes} bytes")]
    TooDeep {
        /// What the header announces.
        size: Size,
        /// What they take.
        bytes: u64,
    },
}

/// Reads the picture at `path`: JPEG, PNG, BMP, PNM or WebP, told apart by content.
///
/// Alpha is dropped, not blended; 16 bits per channel become 8; palettes are expanded, grey becomes R = G = B. The
/// picture is turned upright as the orientation in its EXIF says (JPEG, PNG, WebP), so masks fit what viewers show.
///
/// # Errors
/// When the file can't be read, isn't a whole picture, or is larger than 256 MiB or 64 megapixels.
pub fn load(path: &Path) -> Result<RgbPicture, PictureError> {
    read(&mut JpegDecoder::new()?, File::open(path)?)
}

/// As [`load`], with a decoder that is used again, and without waiting for a pipe's writer.
pub(super) fn load_with(decoder: &mut JpegDecoder, path: &Path) -> Result<RgbPicture, PictureError> {
    read(decoder, files::open(path)?)
}

fn read(decoder: &mut JpegDecoder, file: File) -> Result<RgbPicture, PictureError> {
    let length = file.metadata()?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(MAX_FILE)).unwrap_or(0));
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is larger than 256 MiB").into());
    }
    if bytes.starts_with(&JPEG) {
        let (size, pixels) = decoder.decode_rgb(&bytes)?;
        return upright(RgbPicture { size, pixels }, exif::of_jpeg(&bytes));
    }
    if bytes.starts_with(&PNG) {
        return decode_png(&bytes, MAX_PIXELS);
    }
    let decoder = open(&bytes, Limits::default())?;
    let size = size_of(&decoder);
    if size.pixels() > MAX_PIXELS {
        return Err(PictureError::TooLarge(size));
    }
    rgb(decoder)
}

/// Reads the picture that `bytes` are, as [`load`] does, unless its header announces more than `most` pixels, or pixels that
/// take more than four bytes for each of those.
///
/// # Errors
/// When it isn't a whole picture, or too large. Nothing but the header is decoded before that is known.
pub fn decode(bytes: &[u8], most: usize) -> Result<RgbPicture, PictureError> {
    if bytes.starts_with(&JPEG) {
        let mut decoder = JpegDecoder::new()?;
        let size = decoder.size(bytes)?;
        if size.pixels() > most {
            return Err(PictureError::TooManyPixels(size));
        }
        let (size, pixels) = decoder.decode_rgb(bytes)?;
        return upright(RgbPicture { size, pixels }, exif::of_jpeg(bytes));
    }
    if bytes.starts_with(&PNG) {
        return decode_png(bytes, most);
    }
    let memory = most as u64 * 4;
    let mut limits = Limits::default();
    limits.max_alloc = Some(memory);
    let decoder = open(bytes, limits)?;
    let size = size_of(&decoder);
    if size.pixels() > most {
        return Err(PictureError::TooManyPixels(size));
    }
    if decoder.total_bytes() > memory {
        return Err(PictureError::TooDeep { size, bytes: decoder.total_bytes() });
    }
    rgb(decoder)
}

/// A PNG of at most `most` pixels, and of four bytes for each of those as it is stored. Its texts and its colour profile, which may
/// be larger than its pixels, are passed over.
fn decode_png(bytes: &[u8], most: usize) -> Result<RgbPicture, PictureError> {
    let mut options = png::DecodeOptions::default();
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    let mut decoder = png::Decoder::new_with_options(Cursor::new(bytes), options);
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info()?;
    let size = Size::new(reader.info().width as usize, reader.info().height as usize);
    if size.width > MAX_SIDE || size.height > MAX_SIDE || size.pixels() > MAX_PIXELS {
        return Err(PictureError::TooLarge(size));
    }
    if size.pixels() > most {
        return Err(PictureError::TooManyPixels(size));
    }
    let length = reader.output_buffer_size().ok_or(PictureError::TooLarge(size))?;
    if length > most.saturating_mul(4) {
        return Err(PictureError::TooDeep { size, bytes: length as u64 });
    }
    let mut stored = room(length, size)?;
    stored.resize(length, 0);
    reader.next_frame(&mut stored)?;
    let pixels = match reader.output_color_type() {
        (png::ColorType::Rgb, png::BitDepth::Eight) => stored,
        (color, depth) => {
            let mut pixels = room(size.pixels() * 3, size)?;
            append_rgb(&stored, color, depth, &mut pixels);
            pixels
        }
    };
    let orientation = reader.info().exif_metadata.as_deref().map(exif::of_tiff);
    upright(RgbPicture { size, pixels }, orientation.unwrap_or_default())
}

/// Turns a picture.
fn upright(picture: RgbPicture, orientation: Orientation) -> Result<RgbPicture, PictureError> {
    let RgbPicture { size: stored, pixels } = picture;
    if orientation == Orientation::UPRIGHT {
        return Ok(RgbPicture { size: stored, pixels });
    }
    let size = orientation.turn(stored);
    let mut turned = room(pixels.len(), size)?;
    for y in 0..size.height {
        for x in 0..size.width {
            let (x, y) = orientation.stored_at(stored, (x, y));
            turned.extend_from_slice(&pixels[(y * stored.width + x) * 3..][..3]);
        }
    }
    Ok(RgbPicture { size, pixels: turned })
}

/// Appends pixels of any kind that PNG has once it is expanded, as RGB of 8 bits. Alpha is dropped.
fn append_rgb(stored: &[u8], color: png::ColorType, depth: png::BitDepth, pixels: &mut Vec<u8>) {
    let bytes = if depth == png::BitDepth::Sixteen { 2 } else { 1 };
    // Of a sample, whose first byte is the upper one.
    let value = |sample: &[u8]| match *sample {
        [upper, lower] => ((u32::from(u16::from_be_bytes([upper, lower])) + 128) / 257) as u8,
        [value] => value,
        _ => 0,
    };
    for pixel in stored.chunks_exact(color.samples() * bytes) {
        let mut samples = pixel.chunks_exact(bytes).map(value);
        match color.samples() {
            1 | 2 => pixels.extend([samples.next().unwrap_or_default(); 3]),
            _ => pixels.extend(samples.take(3)),
        }
    }
}

/// Room for `bytes` of a picture of `size`.
fn room(bytes: usize, size: Size) -> Result<Vec<u8>, PictureError> {
    let mut room = Vec::new();
    room.try_reserve_exact(bytes).map_err(|_| PictureError::NoMemory(size))?;
    Ok(room)
}

/// The picture whose header was read.
fn rgb(mut decoder: impl ImageDecoder) -> Result<RgbPicture, PictureError> {
    let size = size_of(&decoder);
    let noted = decoder.orientation().ok().map(|noted| u16::from(noted.to_exif()));
    let orientation = noted.and_then(Orientation::from_exif).unwrap_or_default();
    // As they are stored, and as RGB, at the same time.
    let stored = usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX);
    let both = stored.saturating_add(size.pixels().saturating_mul(3));
    drop(room(both, size)?);
    let pixels = image::DynamicImage::from_decoder(decoder)?.into_rgb8().into_raw();
    upright(RgbPicture { size, pixels }, orientation)
}

/// The header of a picture that is no JPEG.
fn open(bytes: &[u8], mut limits: Limits) -> Result<impl ImageDecoder + '_, PictureError> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    if reader.format().is_none() {
        return Err(PictureError::Unknown);
    }
    let side = u32::try_from(MAX_SIDE).ok();
    (limits.max_image_width, limits.max_image_height) = (side, side);
    reader.limits(limits);
    Ok(reader.into_decoder()?)
}

fn size_of(decoder: &impl ImageDecoder) -> Size {
    let (width, height) = decoder.dimensions();
    Size::new(width as usize, height as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{encode, gradient};
    use image::{DynamicImage, ImageFormat, Luma, LumaA, Rgb, Rgba};
    use std::path::PathBuf;

    fn written(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn every_format_gives_the_same_pixels() {
        let dir = tempfile::tempdir().unwrap();
        let rgb = image::RgbImage::from_raw(13, 9, gradient(13, 9)).unwrap();
        let expected = RgbPicture { size: Size::new(13, 9), pixels: gradient(13, 9) };
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Pnm, ImageFormat::WebP] {
            // The name is wrong on purpose.
            let path = written(&dir, "picture.jpg", &encoded(&rgb.clone().into(), format));
            assert_eq!(load(&path).unwrap(), expected, "{format:?}");
        }
        let path = written(&dir, "picture.png", &encode(13, 9, turbojpeg::Subsamp::None));
        let picture = load(&path).unwrap();
        assert_eq!(picture.size, expected.size);
        assert_eq!(picture.as_picture().unwrap().format().layout, Layout::Rgb);
        for (found, wanted) in picture.pixels.iter().zip(&expected.pixels) {
            assert!(found.abs_diff(*wanted) < 12);
        }
    }

    #[test]
    fn pictures_are_turned_upright_as_their_exif_says() {
        let rgb = image::RgbImage::from_raw(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
        let expected = |number| {
            let (size, pixels) = match number {
                2 | 3 => (Size::new(2, 1), vec![4, 5, 6, 1, 2, 3]),
                5 | 6 => (Size::new(1, 2), vec![1, 2, 3, 4, 5, 6]),
                7 | 8 => (Size::new(1, 2), vec![4, 5, 6, 1, 2, 3]),
                _ => (Size::new(2, 1), vec![1, 2, 3, 4, 5, 6]),
            };
            RgbPicture { size, pixels }
        };
        for number in 0..=9 {
            let noted = exif::tests::tiff(number, number % 2 == 0);
            let (mut png, mut webp) = (Vec::new(), Vec::new());
            let mut encoder = image::codecs::png::PngEncoder::new(&mut png);
            image::ImageEncoder::set_exif_metadata(&mut encoder, noted.clone()).unwrap();
            rgb.write_with_encoder(encoder).unwrap();
            let mut encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut webp);
            image::ImageEncoder::set_exif_metadata(&mut encoder, noted).unwrap();
            rgb.write_with_encoder(encoder).unwrap();
            assert_eq!(decode(&png, 100).unwrap(), expected(number), "PNG, {number}");
            assert_eq!(decode(&webp, 100).unwrap(), expected(number), "WebP, {number}");
        }
    }

    #[test]
    fn a_jpeg_that_exif_turns_is_its_upright_copy() {
        let plain = encode(16, 8, turbojpeg::Subsamp::None);
        let noted = exif::tests::tiff(8, true);
        let length = (noted.len() as u16 + 8).to_be_bytes();
        let turned = [&plain[..2], &[0xFF, 0xE1], &length, b"Exif\0\0", &noted, &plain[2..]].concat();
        let (stored, upright) = (decode(&plain, 1000).unwrap(), decode(&turned, 1000).unwrap());
        assert_eq!((stored.size, upright.size), (Size::new(16, 8), Size::new(8, 16)));
        // Turned anticlockwise by 90 degrees: the last column is the first row.
        for y in 0..16 {
            for x in 0..8 {
                let pixel =
                    |picture: &RgbPicture, x, y| picture.pixels[(y * picture.size.width + x) * 3..][..3].to_vec();
                assert_eq!(pixel(&upright, x, y), pixel(&stored, 15 - y, x), "{x} {y}");
            }
        }
    }

    #[test]
    fn alpha_depth_grey_and_palette_become_rgb8() {
        let dir = tempfile::tempdir().unwrap();
        let pixel =
            |picture: DynamicImage| load(&written(&dir, "p.png", &encoded(&picture, ImageFormat::Png))).unwrap().pixels;
        let rgba = image::RgbaImage::from_pixel(1, 1, Rgba([10, 20, 30, 0]));
        assert_eq!(pixel(rgba.into()), [10, 20, 30]);
        let deep = image::ImageBuffer::from_pixel(1, 1, Rgb([0u16, 32_896, 65_535]));
        assert_eq!(pixel(DynamicImage::ImageRgb16(deep)), [0, 128, 255]);
        let grey = image::GrayImage::from_pixel(1, 1, Luma([77]));
        assert_eq!(pixel(grey.into()), [77, 77, 77]);
        let grey = image::GrayAlphaImage::from_pixel(1, 1, LumaA([77, 3]));
        assert_eq!(pixel(grey.into()), [77, 77, 77]);
        let mut palette = Vec::new();
        let mut encoder = png::Encoder::new(&mut palette, 2, 1);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(vec![1, 2, 3, 250, 251, 252]);
        encoder.write_header().unwrap().write_image_data(&[1, 0]).unwrap();
        assert_eq!(load(&written(&dir, "p.png", &palette)).unwrap().pixels, [250, 251, 252, 1, 2, 3]);
    }

    #[test]
    fn every_kind_of_png_is_what_it_was_by_image() {
        let dir = tempfile::tempdir().unwrap();
        let sample = |at: u32| (at * 7919 % 65_536) as u16;
        let kinds: [DynamicImage; 6] = [
            DynamicImage::ImageLuma8(image::ImageBuffer::from_fn(5, 3, |x, y| Luma([sample(x + y * 5) as u8]))),
            DynamicImage::ImageLuma16(image::ImageBuffer::from_fn(5, 3, |x, y| Luma([sample(x + y * 5)]))),
            DynamicImage::ImageLumaA16(image::ImageBuffer::from_fn(5, 3, |x, y| LumaA([sample(x + y * 5), 9]))),
            DynamicImage::ImageRgb16(image::ImageBuffer::from_fn(5, 3, |x, y| Rgb([sample(x), sample(y), 65_535]))),
            DynamicImage::ImageRgba8(image::ImageBuffer::from_fn(5, 3, |x, y| Rgba([x as u8, y as u8, 200, 0]))),
            DynamicImage::ImageRgba16(image::ImageBuffer::from_fn(5, 3, |x, y| Rgba([sample(x), 1, sample(y), 2]))),
        ];
        for picture in kinds {
            let found = load(&written(&dir, "p.png", &encoded(&picture, ImageFormat::Png))).unwrap();
            assert_eq!(found.pixels, picture.to_rgb8().into_raw(), "{:?}", picture.color());
        }
    }

    #[test]
    fn texts_in_a_png_take_no_memory_and_the_deep_and_the_wide_are_refused() {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(png::ColorType::Rgb);
        for number in 0..1000 {
            encoder.add_text_chunk(format!("k{number}"), "x".to_owned()).unwrap();
        }
        encoder.write_header().unwrap().write_image_data(&[1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(decode(&bytes, 2).unwrap().pixels, [1, 2, 3, 4, 5, 6]);
        assert!(matches!(decode(&bytes, 1), Err(PictureError::TooManyPixels(_))));
        let deep = encoded(&DynamicImage::new_rgba16(4, 4), ImageFormat::Png);
        assert!(matches!(decode(&deep, 16), Err(PictureError::TooDeep { bytes: 128, .. })));
        assert!(decode(&deep, 32).is_ok());
    }

    #[test]
    fn what_is_no_picture_is_an_error_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let error = |bytes: &[u8]| load(&written(&dir, "p.png", bytes)).unwrap_err().to_string();
        assert!(error(b"").contains("not a picture"), "{}", error(b""));
        assert!(error(b"hello").contains("not a picture"));
        let jpeg = encode(32, 32, turbojpeg::Subsamp::None);
        assert!(error(&jpeg[..jpeg.len() / 2]).contains("JPEG: "));
        let png = encoded(&DynamicImage::new_rgb8(8, 8), ImageFormat::Png);
        for cut in 8..png.len() - 12 {
            assert!(!error(&png[..cut]).is_empty());
        }
        // A PPM header that announces more than is allowed.
        assert!(!error(b"P6 60000 60000 255\n").is_empty());
        assert!(error(b"P6 16000 16000 255\n").contains("16000x16000"));
        assert!(matches!(load(&dir.path().join("missing.png")).unwrap_err(), PictureError::Io(_)));
        assert!(matches!(load(dir.path()).unwrap_err(), PictureError::Io(_)));
    }
}
