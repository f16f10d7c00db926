//! Class maps and overlays as PNG files.
//!
//! A mask is an 8-bit palette PNG whose pixel values are the class ids. An overlay is the picture with the classes'
//! colours laid over it.

use std::io::{self, Write};
use std::path::Path;

use base::files;
use model::labels::Palette;
use model::LabelMap;
use pixels::frame::Size;

/// How much of an overlay is class colour where nobody says, in 1/256.
const OPACITY: u16 = 128;

/// Lays the classes' colours over `picture` (RGB, the mask's size), half and half.
pub fn overlay(picture: &mut [u8], mask: &[u8], labels: &LabelMap) {
    blend(picture, mask, &labels.colors(), OPACITY);
}

/// Lays the classes' colours over `picture` (RGB, the mask's size). `opacity`: how much of the result is colour, in 1/256,
/// at most 256.
pub fn blend(picture: &mut [u8], mask: &[u8], palette: &Palette, opacity: u16) {
    let opacity = opacity.min(256);
    let shares = palette.map(|color| color.map(|channel| u16::from(channel) * opacity));
    for (pixel, &id) in picture.chunks_exact_mut(3).zip(mask) {
        for (channel, share) in pixel.iter_mut().zip(shares[usize::from(id)]) {
            // At most 255 * 256, so the high byte is the result.
            *channel = (u16::from(*channel) * (256 - opacity) + share).to_be_bytes()[0];
        }
    }
}

/// A class map as the bytes of a palette PNG.
///
/// # Errors
/// When the mask doesn't have `size`, or PNG can't hold it.
pub fn encode_mask(mask: &[u8], size: Size, palette: &Palette) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    encode(&mut bytes, mask, size, png::ColorType::Indexed, |encoder| encoder.set_palette(palette.concat()))?;
    Ok(bytes)
}

/// Writes a class map as a palette PNG.
///
/// # Errors
/// The system's.
pub fn write_mask(path: &Path, mask: &[u8], size: Size, labels: &LabelMap) -> io::Result<()> {
    let bytes = encode_mask(mask, size, &labels.colors())?;
    files::write(path, |file| file.write_all(&bytes))
}

/// Writes an RGB picture.
///
/// # Errors
/// The system's.
pub fn write_rgb(path: &Path, pixels: &[u8], size: Size) -> io::Result<()> {
    files::write(path, |file| {
        encode(file, pixels, size, png::ColorType::Rgb, |encoder| encoder.set_compression(png::Compression::Fast))
    })
}

fn encode<W: Write>(
    to: W,
    pixels: &[u8],
    size: Size,
    color: png::ColorType,
    adjust: impl FnOnce(&mut png::Encoder<'_, W>),
) -> io::Result<()> {
    let side = |side: usize| u32::try_from(side).map_err(|_| io::Error::other("picture too large for PNG"));
    let mut encoder = png::Encoder::new(to, side(size.width)?, side(size.height)?);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    adjust(&mut encoder);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_reads_back_as_its_class_ids() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.png");
        let labels = LabelMap::new(Some(3), None).unwrap();
        let mask = [0, 1, 2, 255, 1, 0];
        write_mask(&path, &mask, Size::new(3, 2), &labels).unwrap();
        let mut reader =
            png::Decoder::new(io::BufReader::new(std::fs::File::open(&path).unwrap())).read_info().unwrap();
        assert_eq!(reader.info().color_type, png::ColorType::Indexed);
        assert_eq!(reader.info().palette.as_ref().unwrap()[3..6], labels.color(1));
        let mut pixels = [0; 6];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels, mask);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_overlay_is_half_picture_and_half_colour() {
        let labels = LabelMap::new(Some(1), None).unwrap();
        let mut picture = [100, 0, 255];
        overlay(&mut picture, &[0], &labels);
        let [red, green, blue] = labels.color(0).map(u16::from);
        assert_eq!(picture.map(u16::from), [(100 + red) / 2, green / 2, (255 + blue) / 2]);
    }

    #[test]
    fn an_overlay_can_be_all_picture_or_all_colour() {
        let labels = LabelMap::new(Some(1), None).unwrap();
        for (opacity, expected) in [(0, [100, 0, 255]), (256, labels.color(0)), (999, labels.color(0))] {
            let mut picture = [100, 0, 255];
            blend(&mut picture, &[0], &labels.colors(), opacity);
            assert_eq!(picture, expected, "{opacity}");
        }
    }

    #[test]
    fn a_picture_that_cannot_be_put_in_its_place_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        write_rgb(&path, &[1, 2, 3], Size::new(1, 1)).unwrap();
        let mut reader =
            png::Decoder::new(io::BufReader::new(std::fs::File::open(&path).unwrap())).read_info().unwrap();
        let mut pixels = [0; 3];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!((pixels, reader.info().color_type), ([1, 2, 3], png::ColorType::Rgb));
        // Neither a picture of another size, nor a folder in its place.
        assert!(write_rgb(&path, &[1, 2], Size::new(1, 1)).is_err());
        std::fs::create_dir(folder.path().join("d.png")).unwrap();
        assert!(write_rgb(&folder.path().join("d.png"), &[1, 2, 3], Size::new(1, 1)).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(path.metadata().unwrap().len() > 0, "the former one stays");
    }

    #[test]
    fn a_mask_of_another_size_is_an_error() {
        let palette = LabelMap::new(Some(1), None).unwrap().colors();
        assert!(encode_mask(&[0; 5], Size::new(3, 2), &palette).is_err());
        assert!(encode_mask(&[], Size::new(0, 0), &palette).is_err());
    }
}
