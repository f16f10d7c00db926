//! The orientation that a camera noted in a still picture: the one field of EXIF (CIPA DC-008) that is read.
//!
//! What can't be read says nothing: a picture without a good note is upright.

use pixels::orientation::Orientation;

/// The tag of the orientation.
const TAG: u16 = 0x0112;
/// The type of its value, a 16-bit number.
const SHORT: u16 = 3;
/// What some programs write in its place, a 32-bit number.
const LONG: u16 = 4;
/// What EXIF begins with within a JPEG.
const NAME: &[u8] = b"Exif\0\0";

/// The orientation that a JPEG's header notes.
pub(super) fn of_jpeg(bytes: &[u8]) -> Orientation {
    segments(bytes).find_map(|segment| segment.strip_prefix(NAME)).map_or(Orientation::UPRIGHT, of_tiff)
}

/// What the APP1 segments of a JPEG's header hold.
fn segments(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    let next = move || loop {
        let [0xFF, marker, after @ ..] = rest else { return None };
        match *marker {
            // Any number of these may stand before a marker.
            0xFF => rest = &rest[1..],
            // Those without a length.
            0x01 | 0xD0..=0xD8 => rest = after,
            // The scan, or the end.
            0xD9 | 0xDA => return None,
            other => {
                let length = usize::from(u16::from_be_bytes([*after.first()?, *after.get(1)?]));
                let segment = after.get(2..length)?;
                rest = &after[length..];
                if other == 0xE1 {
                    return Some(segment);
                }
            }
        }
    };
    std::iter::from_fn(next)
}

/// The orientation in EXIF's own form, which is TIFF.
pub(super) fn of_tiff(bytes: &[u8]) -> Orientation {
    read(bytes).and_then(Orientation::from_exif).unwrap_or_default()
}

fn read(bytes: &[u8]) -> Option<u16> {
    let is_big = match bytes.get(..2)? {
        b"MM" => true,
        b"II" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let pair = <[u8; 2]>::try_from(bytes.get(at..at.checked_add(2)?)?).ok()?;
        Some(if is_big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) })
    };
    let long = |at: usize| {
        let (first, second) = (u32::from(short(at)?), u32::from(short(at + 2)?));
        Some(if is_big { first << 16 | second } else { second << 16 | first })
    };
    if short(2)? != 42 {
        return None;
    }
    let table = usize::try_from(long(4)?).ok()?;
    let entries = usize::from(short(table)?);
    let entry = (0..entries).map(|entry| table.saturating_add(2 + 12 * entry)).find(|&at| short(at) == Some(TAG))?;
    match short(entry + 2)? {
        SHORT => short(entry + 8),
        LONG => u16::try_from(long(entry + 8)?).ok(),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// EXIF with one field before the orientation.
    pub(crate) fn tiff(orientation: u16, is_big: bool) -> Vec<u8> {
        let short = |value: u16| if is_big { value.to_be_bytes() } else { value.to_le_bytes() };
        let long = |value: u32| if is_big { value.to_be_bytes() } else { value.to_le_bytes() };
        let order = if is_big { b"MM" } else { b"II" };
        let entry = |tag: u16, value: u16| [&short(tag)[..], &short(SHORT), &long(1), &short(value), &[0, 0]].concat();
        let table = [&short(2)[..], &entry(0x0100, 6), &entry(TAG, orientation), &long(0)].concat();
        [order, &short(42)[..], &long(8), &table].concat()
    }

    /// A JPEG's header with `exif` behind another segment, with fill bytes before it.
    fn jpeg(exif: &[u8]) -> Vec<u8> {
        let length = (exif.len() as u16 + 8).to_be_bytes();
        [&[0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 1, 2, 0xFF, 0xFF, 0xFF, 0xE1][..], &length, NAME, exif, &[0xFF, 0xDA]].concat()
    }

    #[test]
    fn both_orders_of_bytes_are_read() {
        for is_big in [false, true] {
            for number in 0..=9 {
                let expected = Orientation::from_exif(number).unwrap_or_default();
                let exif = tiff(number, is_big);
                assert_eq!(of_tiff(&exif), expected);
                assert_eq!(of_jpeg(&jpeg(&exif)), expected, "{number}");
            }
        }
    }

    #[test]
    fn a_number_of_32_bits_is_read_as_well() {
        for is_big in [false, true] {
            let mut exif = tiff(6, is_big);
            let value =
                if is_big { [0, LONG as u8, 0, 0, 0, 1, 0, 0, 0, 6] } else { [LONG as u8, 0, 1, 0, 0, 0, 6, 0, 0, 0] };
            // The second entry, behind its tag.
            exif[10 + 12 + 2..][..10].copy_from_slice(&value);
            assert_eq!(of_tiff(&exif), Orientation::from_exif(6).unwrap());
        }
    }

    #[test]
    fn what_is_cut_or_damaged_says_nothing_and_never_panics() {
        let whole = jpeg(&tiff(6, false));
        let turned = Orientation::from_exif(6).unwrap();
        for cut in 0..whole.len() - 2 {
            assert_eq!(of_jpeg(&whole[..cut]), Orientation::UPRIGHT, "{cut}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                let _ = of_jpeg(&damaged);
            }
        }
        assert_eq!(of_jpeg(&whole), turned);
        let mut scan_first = vec![0xFF, 0xD8, 0xFF, 0xDA, 0, 2];
        scan_first.extend(&whole[2..]);
        assert_eq!(of_jpeg(&scan_first), Orientation::UPRIGHT);
    }
}
