//! Histograms as they lie in the log: HdrHistogram's V2 encoding in base64, read without making a histogram of each.
//!
//! The library's reader makes a histogram with all of its 23,000 counters of each; a month of logs has 300,000. Here only the
//! counters that are not zero are handed on. The library's own reader is the test's measure.

use base64::prelude::{Engine as _, BASE64_STANDARD};

/// `0x1c849303` with the counters' word size 1 (LEB128) in bits 4 to 7.
const COOKIE: u32 = 0x1c84_9313;
const HEADER: usize = 40;
/// Three significant digits: 2048 sub-buckets, half of which each further bucket adds.
const HALF_BITS: u32 = 10;
/// Bucket 53 holds the largest value that has 64 bits.
const HIGHEST_INDEX: u64 = 54 << HALF_BITS;

/// Reads a histogram and hands each of its values, with its count, to `found`: the index of its counter, the highest value
/// that the counter stands for, and how many there are.
///
/// # Errors
/// What is wrong with it; some of it may have been handed on then.
pub(super) fn read(
    text: &str,
    buffer: &mut Vec<u8>,
    mut found: impl FnMut(usize, u64, u64),
) -> Result<(), &'static str> {
    buffer.clear();
    BASE64_STANDARD.decode_vec(text, buffer).map_err(|_| "the histogram is no base64")?;
    let word = |at: usize| buffer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let short = "the histogram is too short";
    if word(0).ok_or(short)? != COOKIE {
        return Err("the histogram is not in HdrHistogram's V2 encoding");
    }
    let length = word(4).ok_or(short)? as usize;
    // Digits, then the lowest value, of 64 bits: another unit or resolution can't be added to ours.
    if (word(12), word(16), word(20)) != (Some(3), Some(0), Some(1)) {
        return Err("the histogram has another resolution");
    }
    let mut counters = buffer.get(HEADER..HEADER + length).ok_or(short)?;
    let mut index: u64 = 0;
    while !counters.is_empty() {
        let count = zig_zag(&mut counters).ok_or(short)?;
        if count > 0 {
            let at = usize::try_from(index).map_err(|_| short)?;
            found(at, highest_value(index), count.unsigned_abs());
        }
        index += if count < 0 { count.unsigned_abs() } else { 1 };
        if index > HIGHEST_INDEX {
            return Err("the histogram has too many counters");
        }
    }
    Ok(())
}

/// The highest value that the counter with this index stands for.
pub(super) const fn highest_value(index: u64) -> u64 {
    let bucket = (index >> HALF_BITS).saturating_sub(1);
    let sub = index - (bucket << HALF_BITS);
    (sub << bucket) + ((1 << bucket) - 1)
}

/// A LEB128 number of at most nine bytes, the last of which has eight bits; zig-zag makes it signed.
fn zig_zag(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for position in 0..9 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = if position == 8 { byte } else { byte & 0x7f };
        value |= u64::from(bits) << (7 * position);
        if position == 8 || byte & 0x80 == 0 {
            break;
        }
    }
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::{Serializer as _, V2Serializer};
    use hdrhistogram::Histogram;
    use proptest::prelude::*;

    use super::*;

    fn encoded(histogram: &Histogram<u64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(histogram, &mut bytes).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn what_the_library_wrote_is_read_as_the_library_reads_it(
            values in proptest::collection::vec((0_u64..3_600_000_000, 1_u64..1 << 40), 1..60),
        ) {
            let mut histogram = Histogram::<u64>::new_with_max(3_600_000_000, 3).unwrap();
            values.iter().for_each(|&(value, count)| histogram.record_n(value >> (count % 32), count).unwrap());
            let mut sum = Histogram::<u64>::new_with_max(3_600_000_000, 3).unwrap();
            let mut indices = Vec::new();
            read(&BASE64_STANDARD.encode(encoded(&histogram)), &mut Vec::new(), |index, value, count| {
                sum.record_n(value.min(3_600_000_000), count).unwrap();
                indices.push(index);
            }).unwrap();
            prop_assert!(indices.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(sum, histogram);
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), as_header: bool) {
            if as_header {
                let header = encoded(&Histogram::new_with_max(3_600_000_000, 3).unwrap());
                bytes.splice(0..0, header[..HEADER].iter().copied());
                let length = (bytes.len() - HEADER) as u32;
                bytes[4..8].copy_from_slice(&length.to_be_bytes());
            }
            let _ = read(&BASE64_STANDARD.encode(bytes), &mut Vec::new(), |_, _, _| {});
        }
    }

    #[test]
    fn numbers_are_read_as_zig_zag_leb128() {
        for (bytes, expected, rest) in [
            (&[0][..], Some(0), 0),
            (&[1, 7], Some(-1), 1),
            (&[2], Some(1), 0),
            (&[0x7f], Some(-64), 0),
            (&[0x80, 1, 0], Some(64), 1),
            (&[0xff, 0xff, 3], Some(-32_768), 0),
            // The ninth byte has eight bits, so that no tenth follows.
            (&[0xff; 10], Some(i64::MIN), 1),
            (&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Some(i64::MAX), 0),
            (&[], None, 0),
            (&[0x80, 0x80], None, 0),
        ] {
            let mut left = bytes;
            assert_eq!((zig_zag(&mut left), left.len()), (expected, rest), "{bytes:?}");
        }
    }

    #[test]
    fn a_counter_has_its_index_and_value_after_those_that_are_passed_over() {
        let mut header = encoded(&Histogram::new_with_max(3_600_000_000, 3).unwrap());
        header.truncate(HEADER);
        let mut found = |counters: &[u8]| {
            header[7] = counters.len() as u8;
            let text = BASE64_STANDARD.encode([&header[..], counters].concat());
            let mut all = Vec::new();
            read(&text, &mut Vec::new(), |index, value, count| all.push((index, value, count))).map(|()| all)
        };
        // A zero counts nothing, -3 passes over three counters.
        assert_eq!(found(&[0, 2, 5, 4]), Ok(vec![(1, 1, 1), (5, 5, 2)]));
        // Up to the first counter that lies beyond 63 bits: 54 << 10 of them, as -55,296.
        let passed = |less: u8| [0xff - less, 0xdf, 6];
        assert_eq!(found(&passed(0)), Ok(vec![]));
        assert_eq!(found(&[&passed(2)[..], &[2]].concat()), Ok(vec![(55_295, i64::MAX.unsigned_abs(), 1)]));
        assert_eq!(found(&[&passed(0)[..], &[2]].concat()), Err("the histogram has too many counters"));
        assert_eq!([0, 1023, 1024, 2047, 2048, 3071, 3072].map(highest_value), [0, 1023, 1024, 2047, 2049, 4095, 4099]);
    }

    #[test]
    fn damaged_ones_are_refused() {
        let mut histogram = Histogram::<u64>::new_with_max(3_600_000_000, 3).unwrap();
        histogram.record(47_000).unwrap();
        let whole = encoded(&histogram);
        let reason = |bytes: &[u8]| read(&BASE64_STANDARD.encode(bytes), &mut Vec::new(), |_, _, _| {}).unwrap_err();
        assert_eq!(reason(b""), "the histogram is too short");
        assert_eq!(reason(&whole[..whole.len() - 1]), "the histogram is too short");
        assert_eq!(reason(&[b"x", &whole[1..]].concat()), "the histogram is not in HdrHistogram's V2 encoding");
        let coarse = encoded(&Histogram::new_with_max(3_600_000_000, 2).unwrap());
        assert_eq!(reason(&coarse), "the histogram has another resolution");
        assert_eq!(read("*", &mut Vec::new(), |_, _, _| {}), Err("the histogram is no base64"));
    }
}
