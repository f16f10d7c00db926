//! Notices raw frames whose rows have another length than was said: a wrong size, or padding that nobody told of.
//!
//! Where the length is wrong each row begins a little further than the one above, so the picture looks slanted. The row below
//! a byte is then not at the said distance but at another, at which bytes are much more alike. Natural pictures at the right
//! length have no such distance, and neither has noise or an even surface.

use pixels::frame::Layout;

use super::frames::Raw;

/// Frames that are looked at; both must say the same.
const FRAMES: u8 = 2;
/// Places that are compared, and bytes at each.
const PLACES: usize = 64;
const BYTES: usize = 16;
/// Mean differences below this are an even surface.
const LEAST: u32 = 2;

/// What the first frames of a stream let suspect.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    looked: u8,
    stride: Option<usize>,
}

impl Suspicion {
    /// Looks at a frame, if it is one of the first. The bytes that its rows seem to have, once that is sure enough to be told.
    pub(super) fn of(&mut self, raw: &Raw, frame: &[u8]) -> Option<usize> {
        if self.looked == FRAMES {
            return None;
        }
        self.looked += 1;
        let seen = likely_stride(raw, frame);
        let before = std::mem::replace(&mut self.stride, seen);
        seen.filter(|_| self.looked == FRAMES && before == seen)
    }
}

/// The stride at which the rows of the first plane fit much better than at the one that was said.
fn likely_stride(raw: &Raw, frame: &[u8]) -> Option<usize> {
    let &Raw { format, stride } = raw;
    let rows = format.size.height;
    if rows < 16 || stride < 16 {
        return None;
    }
    // Of the first half: where rows are shorter than was said, other things follow the first plane.
    let plane = frame.get(..stride * rows)?;
    let end = plane.len() / 2 - BYTES;
    let pixel = match format.layout {
        Layout::Yuyv | Layout::Uyvy => 4,
        Layout::Rgb | Layout::Bgr => 3,
        Layout::Grey | Layout::Nv12 | Layout::Planar { .. } => 1,
    };
    let difference =
        |distance: usize| (0..PLACES).map(|place| difference(plane, start(place, end, stride), distance)).sum();
    let own: u32 = difference(stride);
    // Along a row or down, neighbours differ about as much.
    if own < LEAST * (PLACES * BYTES) as u32 || own * 5 < difference(pixel) * 6 {
        return None;
    }
    // Beyond these, a picture of level stripes has bytes that are twice as alike: in the same row, or two rows below.
    let lengths = stride * 5 / 8..=stride * 11 / 8;
    let (least, length) = lengths.map(|length| (difference(length), length)).min()?;
    if 2 * least >= own {
        return None;
    }
    // One pixel more or less may fit as well; padding makes whole multiples of a power of two.
    let about = length - pixel..=length + pixel;
    about.filter(|&length| difference(length) * 5 <= least * 6).max_by_key(|length| length.trailing_zeros())
}

/// Where place `place` begins, before `end`: even steps down the picture, and elsewhere in the row each time.
fn start(place: usize, end: usize, stride: usize) -> usize {
    // The golden ratio spreads any number of places.
    let across = place * 40_503 % 65_536 * stride / 65_536;
    (place * end / PLACES + across).min(end)
}

/// Sum of the differences between bytes and those `distance` further.
fn difference(plane: &[u8], start: usize, distance: usize) -> u32 {
    let (here, there) = (&plane[start..][..BYTES], &plane[start + distance..][..BYTES]);
    here.iter().zip(there).map(|(&a, &b)| u32::from(a.abs_diff(b))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixels::frame::{Colorimetry, PictureFormat, Size};

    const LAYOUTS: [Layout; 4] = [Layout::Grey, Layout::YU12, Layout::Yuyv, Layout::Rgb];

    /// Pictures that were taken of the world, with the sizes that they are cut to.
    fn pictures() -> Vec<image::RgbImage> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../kit/exam");
        let mut pictures = Vec::new();
        for set in std::fs::read_dir(folder).unwrap() {
            let Ok(files) = std::fs::read_dir(set.unwrap().path()) else { continue };
            for file in files {
                let path = file.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "jpg") {
                    let picture = crate::picture::load(&path).unwrap();
                    let Size { width, height } = picture.size;
                    pictures.push(image::RgbImage::from_raw(width as u32, height as u32, picture.pixels).unwrap());
                }
            }
        }
        assert!(pictures.len() >= 10, "{}", pictures.len());
        pictures
    }

    /// A frame whose rows have `padding` more bytes than their pixels. Chroma, which nobody looks at in planes, is grey.
    fn frame(picture: &image::RgbImage, layout: Layout, padding: usize) -> (Raw, Vec<u8>) {
        let size = Size::new(picture.width() as usize & !3, picture.height() as usize & !3);
        let packed = Raw::packed(PictureFormat { layout, size, color: Colorimetry::JPEG });
        let raw = Raw { stride: packed.stride + padding, ..packed };
        let mut bytes = vec![128; raw.bytes()];
        let luma = |[r, g, b]: [u8; 3]| ((77 * u32::from(r) + 150 * u32::from(g) + 29 * u32::from(b)) >> 8) as u8;
        for (x, y, pixel) in picture.enumerate_pixels() {
            let (x, y) = (x as usize, y as usize);
            if x < size.width && y < size.height {
                let row = &mut bytes[y * raw.stride..][..raw.stride];
                match layout {
                    Layout::Rgb => row[x * 3..][..3].copy_from_slice(&pixel.0),
                    Layout::Yuyv => {
                        let [r, g, b] = pixel.0.map(i32::from);
                        let difference = if x % 2 == 0 { b - g } else { r - g };
                        (row[2 * x], row[2 * x + 1]) = (luma(pixel.0), (128 + difference / 2) as u8);
                    }
                    _ => row[x] = luma(pixel.0),
                }
            }
        }
        (raw, bytes)
    }

    /// The frame as it is taken where `said` is taken for its stride, with bytes of the next frame where it is too short.
    fn taken_for(said: usize, (raw, bytes): &(Raw, Vec<u8>)) -> Option<usize> {
        let raw = Raw { stride: said, ..*raw };
        let taken: Vec<u8> = bytes.iter().copied().cycle().take(raw.bytes()).collect();
        likely_stride(&raw, &taken)
    }

    #[test]
    fn rows_of_another_length_are_found_and_those_of_the_right_one_are_left_alone() {
        let (mut found, mut tried) = (0, 0);
        for picture in pictures() {
            for layout in LAYOUTS {
                for padding in [0, 32, 64] {
                    let frame = frame(&picture, layout, padding);
                    let stride = frame.0.stride;
                    assert_eq!(taken_for(stride, &frame), None, "{layout}, {padding}: the right stride");
                    for said in [stride - 32, stride - 64, stride + 48, stride + stride / 4] {
                        tried += 1;
                        match taken_for(said, &frame) {
                            Some(seen) if seen == stride => found += 1,
                            None => {}
                            Some(seen) => assert!(seen.abs_diff(stride) <= 4, "{layout}: {seen} seen, {stride} right"),
                        }
                    }
                }
            }
        }
        assert!(found * 100 >= tried * 95, "{found} of {tried}");
    }

    #[test]
    fn pictures_that_are_none_of_the_world_are_left_alone() {
        let mut noise = 1u32;
        let mut noise = move || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        };
        let mut noisy = vec![0; 640 * 480];
        noisy.fill_with(&mut noise);
        let drawn = |pixel: &dyn Fn(usize, usize) -> u8| (0..640 * 480).map(|at| pixel(at % 640, at / 640)).collect();
        let pictures: [(&str, Vec<u8>); 10] = [
            ("noise", noisy),
            ("black", vec![0; 640 * 480]),
            ("grey", vec![120; 640 * 480]),
            ("ramp across", drawn(&|x, _| (x * 255 / 640) as u8)),
            ("ramp down", drawn(&|_, y| (y * 255 / 480) as u8)),
            ("columns", drawn(&|x, _| if x % 20 < 10 { 30 } else { 200 })),
            ("rows", drawn(&|_, y| if y % 20 < 10 { 30 } else { 200 })),
            ("thin rows", drawn(&|_, y| if y % 2 < 1 { 30 } else { 200 })),
            ("squares", drawn(&|x, y| if (x / 16 + y / 16) % 2 == 0 { 30 } else { 200 })),
            ("slope", drawn(&|x, y| if (x + y) % 40 < 20 { 30 } else { 200 })),
        ];
        for (name, pixels) in pictures {
            let format = PictureFormat { layout: Layout::Grey, size: Size::new(640, 480), color: Colorimetry::JPEG };
            assert_eq!(likely_stride(&Raw::packed(format), &pixels), None, "{name}");
        }
    }

    #[test]
    fn it_is_told_once_and_only_when_two_frames_agree() {
        let slanted = frame(&pictures()[0], Layout::Grey, 64);
        let Raw { format, stride } = slanted.0;
        let said = Raw::packed(format);
        let even = vec![7; said.bytes()];
        let taken = &slanted.1[..said.bytes()];
        let told = |frames: &[&[u8]]| -> Vec<Option<usize>> {
            let mut suspicion = Suspicion::default();
            frames.iter().map(|frame| suspicion.of(&said, frame)).collect()
        };
        assert_eq!(told(&[taken, taken, taken]), [None, Some(stride), None]);
        assert_eq!(told(&[&even, taken, taken]), [None, None, None]);
        assert_eq!(told(&[taken, &even, taken]), [None, None, None]);
    }

    #[test]
    fn frames_that_are_too_small_are_left_alone() {
        for (width, height) in [(1, 1), (16, 1), (1, 16), (15, 100), (100, 15), (16, 16), (17, 31)] {
            let format =
                PictureFormat { layout: Layout::Rgb, size: Size::new(width, height), color: Colorimetry::JPEG };
            let raw = Raw::packed(format);
            let bytes: Vec<u8> = (0..raw.bytes()).map(|at| (at * 89 % 256) as u8).collect();
            assert!(likely_stride(&raw, &bytes).is_none_or(|stride| stride != raw.stride));
            assert_eq!(likely_stride(&raw, &bytes[..raw.bytes() - 1]), None);
        }
    }
}
