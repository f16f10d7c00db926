//! Pixels to JPEG, as everything that is looked at is encoded.

use std::io;

use bytes::Bytes;
use pixels::frame::Size;
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

/// A JPEG quality at which a live picture shows no blocks.
const QUALITY: i32 = 80;

/// What encodes.
pub(super) fn compressor() -> io::Result<Compressor> {
    let made = || {
        let mut jpeg = Compressor::new()?;
        jpeg.set_quality(QUALITY)?;
        jpeg.set_subsamp(Subsamp::Sub2x2)?;
        Ok::<_, turbojpeg::Error>(jpeg)
    };
    made().map_err(io::Error::other)
}

/// RGB pixels as a JPEG.
pub(super) fn encode(jpeg: &mut Compressor, pixels: &[u8], size: Size) -> io::Result<Bytes> {
    let Size { width, height } = size;
    let image = Image { pixels, width, pitch: width * 3, height, format: PixelFormat::RGB };
    jpeg.compress_to_vec(image).map(Bytes::from).map_err(io::Error::other)
}
