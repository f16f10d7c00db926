//! Pictures as cameras send them that don't keep to the standard: whole ones come out as they went in, and damaged ones are
//! refused. What each should be is decoded by the TurboJPEG API, which is what djpeg gives.

use super::*;
use crate::testing::{
    compress_with, intervals, joined, noisy, scan_start, with_segment, without_tables, ARITHMETIC, OPTIMIZE,
    PROGRESSIVE, RESTART,
};

const END: [u8; 2] = [0xFF, 0xD9];

/// A picture with restart intervals of two MCUs, 24 of them.
fn with_restarts() -> Vec<u8> {
    compress_with(&noisy(96, 128), (96, 128), Subsamp::Sub2x2, &[(RESTART, 2)])
}

fn plain() -> Vec<u8> {
    compress_with(&noisy(96, 80), (96, 80), Subsamp::Sub2x1, &[])
}

/// RGB pixels by the TurboJPEG API.
fn reference(jpeg: &[u8]) -> Vec<u8> {
    turbojpeg::decompress(jpeg, PixelFormat::RGB).unwrap().pixels
}

/// A decoder that has seen a picture with tables of its own.
fn used() -> JpegDecoder {
    let mut decoder = JpegDecoder::new().unwrap();
    let other = compress_with(&noisy(40, 40), (40, 40), Subsamp::None, &[(OPTIMIZE, 1), (RESTART, 3)]);
    decoder.decode(&other).unwrap();
    decoder
}

/// Fails unless `jpeg` is `clean` in every pixel, whole and at a quarter of its size.
#[track_caller]
fn expect_same(what: &str, jpeg: &[u8], clean: &[u8]) {
    let mut decoder = used();
    let rgb = decoder.decode_rgb(jpeg).unwrap_or_else(|error| panic!("{what}: {error}")).1;
    assert!(rgb == reference(clean), "{what}");
    for wanted in [None, Some(Size::new(10, 10))] {
        decoder.set_wanted(wanted);
        let clean = samples(&decoder.decode(clean).unwrap().picture);
        let decoded = decoder.decode(jpeg).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(samples(&decoded.picture) == clean, "{what}");
    }
}

/// Fails unless `jpeg` is refused as damaged, with `words` in the reason.
#[track_caller]
fn expect_damage(what: &str, jpeg: &[u8], words: &str) {
    let mut decoder = used();
    for error in [decoder.decode(jpeg).map(|_| ()).err(), decoder.decode_rgb(jpeg).map(|_| ()).err()] {
        let error = error.unwrap_or_else(|| panic!("{what} was taken"));
        assert!(matches!(error, JpegError::Corrupt(_)) && error.to_string().contains(words), "{what}: {error}");
    }
    assert!(decoder.decode(&plain()).is_ok());
}

/// Every sample that the picture has, plane by plane.
fn samples(picture: &Picture<'_>) -> Vec<u8> {
    let format = picture.format();
    let rows = |plane| (0..format.layout.plane_extent(plane, format.size).1).map(move |y| (plane, y));
    (0..format.layout.planes()).flat_map(rows).flat_map(|(plane, y)| picture.row(plane, y)).copied().collect()
}

#[test]
fn planes_are_those_of_the_turbojpeg_api() {
    let mut decoder = used();
    let mut turbo = turbojpeg::Decompressor::new().unwrap();
    let subsamps = [Subsamp::Sub2x2, Subsamp::Sub2x1, Subsamp::None, Subsamp::Sub1x2, Subsamp::Sub4x1, Subsamp::Gray];
    for (subsamp, (width, height)) in
        subsamps.into_iter().flat_map(|subsamp| [(96, 64), (67, 45), (17, 130), (1, 1)].map(|size| (subsamp, size)))
    {
        for settings in [&[][..], &[(RESTART, 3)], &[(PROGRESSIVE, 1)]] {
            let jpeg = compress_with(&noisy(width, height), (width, height), subsamp, settings);
            for divisor in [1, 2, 4, 8] {
                let scale = turbojpeg::ScalingFactor::new(1, divisor);
                turbo.set_scaling_factor(scale).unwrap();
                let size = reduced(Size::new(width, height), divisor);
                let mut pixels = vec![0; turbojpeg::yuv_pixels_len(size.width, 1, size.height, subsamp).unwrap()];
                let target = turbojpeg::YuvImage {
                    pixels: &mut pixels[..],
                    width: size.width,
                    align: 1,
                    height: size.height,
                    subsamp,
                };
                turbo.decompress_to_yuv(&jpeg, target).unwrap();
                decoder.set_wanted(Some(size));
                let picture = decoder.decode(&jpeg).unwrap().picture;
                let format = picture.format();
                // A picture of one pixel is large enough at every scale.
                if format.size == size && picture.full_size() == Size::new(width, height) && width > 1 {
                    let expected = planar(&pixels, format).unwrap();
                    assert!(
                        samples(&picture) == samples(&expected),
                        "{subsamp:?} {width}x{height} 1/{divisor} {settings:?}"
                    );
                } else {
                    assert_eq!(width, 1);
                }
            }
        }
    }
}

#[test]
fn stray_bytes_in_front_of_restart_markers_change_nothing() {
    let clean = with_restarts();
    let (header, parts) = intervals(&clean);
    assert_eq!(joined(&header, &parts), clean);
    let strays: [&[u8]; 7] =
        [&[0], &[0x12, 0x34, 0x56], &[0; 9], &[0xFF], &[0xFF; 8], &[0xFF, 0, 0xFF, 0], &[0x55; 300]];
    for stray in strays {
        for (name, every) in [("all", 1), ("every 8th", 8), ("the first", 1000)] {
            let mut dirty = parts.clone();
            dirty.iter_mut().step_by(every).for_each(|interval| interval.extend_from_slice(stray));
            let jpeg = joined(&header, &dirty);
            expect_same(&format!("{stray:02x?} before {name}"), &jpeg, &clean);
            expect_same(&format!("{stray:02x?} before {name}, no end"), &jpeg[..jpeg.len() - 2], &clean);
        }
    }
    // A marker behind the last interval, as some encoders write it.
    let end = clean.len() - 2;
    expect_same("a marker at the end", &[&clean[..end], &[0xFF, 0xD7], &END].concat(), &clean);
}

#[test]
fn the_picture_begins_at_the_last_soi() {
    let clean = plain();
    let thumbnail = encode(16, 16, Subsamp::Sub2x2);
    let exif = with_segment(&clean, 2, 0xE1, &[b"Exif\0\0", &thumbnail[..]].concat());
    expect_same("a thumbnail", &exif, &clean);
    let soi = &clean[..2];
    for (what, front) in [
        ("two", soi.to_vec()),
        ("four", soi.repeat(3)),
        ("fill bytes", vec![0xFF, 0xD8, 0xFF, 0xFF]),
        ("APP0 in between", with_segment(soi, 2, 0xE0, b"AVI1\0\0")),
        ("a comment with markers in it", with_segment(soi, 2, 0xFE, &[0xFF, 0xD9, 0xFF, 0xD8, 0xFF, 0xDA])),
        ("a thumbnail in between", exif[..exif.len() - clean.len() + 2].to_vec()),
        ("another picture's header", encode(16, 16, Subsamp::None)[..scan_start(&thumbnail) - 14].to_vec()),
    ] {
        expect_same(what, &[&front[..], &clean].concat(), &clean);
        expect_same(&format!("{what}, and a thumbnail"), &[&front[..], &exif].concat(), &clean);
        expect_same(&format!("{what}, no end"), &[&front[..], &clean[..clean.len() - 2]].concat(), &clean);
    }
}

#[test]
fn the_end_marker_may_be_missing() {
    for clean in [plain(), with_restarts(), compress_with(&noisy(50, 30), (50, 30), Subsamp::Gray, &[])] {
        let bare = &clean[..clean.len() - 2];
        for (what, behind) in [
            ("nothing", vec![]),
            ("half a marker", vec![0xFF]),
            ("padding", vec![0; 5000]),
            ("some padding", vec![0; 7]),
            ("fill bytes", vec![0xFF; 4000]),
            ("a comment", with_segment(&[], 0, 0xFE, b"of the next")),
            ("half a segment", vec![0xFF, 0xE1, 0x40, 0x00, 1, 2, 3]),
            ("the next picture", clean.clone()),
            ("the next picture's half", clean[..clean.len() / 2].to_vec()),
            ("text", b"\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n".to_vec()),
        ] {
            expect_same(what, &[bare, &behind].concat(), &clean);
            expect_same(&format!("{what} behind the end"), &[&clean[..], &behind].concat(), &clean);
        }
    }
}

#[test]
fn bytes_and_segments_between_scan_and_end_change_nothing() {
    let clean = plain();
    let bare = &clean[..clean.len() - 2];
    let thumbnail = encode(16, 16, Subsamp::Sub2x2);
    for stray in [&[][..], &[0; 4], &[0; 40], &[0x55; 608], &[0xFF, 0x3C, 0, 4, 1, 2], &[0xA5; 20_000]] {
        for segment in [vec![], with_segment(&[], 0, 0xFE, b"abcdef"), with_segment(&[], 0, 0xE1, &thumbnail)] {
            for dnl in [vec![], with_segment(&[], 0, 0xDC, &[0, 80])] {
                let what = format!("{} bytes, {} of segments", stray.len(), segment.len() + dnl.len());
                expect_same(&what, &[bare, &dnl, stray, &segment, &END].concat(), &clean);
                expect_same(&format!("{what}, no end"), &[bare, &dnl, &segment, stray].concat(), &clean);
            }
        }
    }
    let findings = used().decode(&[bare, &[0x55; 608], &END].concat()).unwrap().findings;
    assert!(!findings.is_damage());
}

#[test]
fn a_header_may_have_odd_values_and_strays() {
    let clean = plain();
    let mut odd = clean.clone();
    // The major version of JFIF.
    odd[11] = 7;
    expect_same("JFIF 7", &odd, &clean);
    let spectral = scan_start(&clean) - 3;
    odd[spectral..spectral + 2].copy_from_slice(&[1, 5]);
    expect_same("spectral selection", &odd, &clean);
    let dqt = clean.windows(2).position(|pair| pair == [0xFF, 0xDB]).unwrap();
    expect_same("strays", &[&clean[..dqt], &[1, 2, 3, 0xFF, 0], &clean[dqt..]].concat(), &clean);
}

#[test]
fn half_a_picture_is_refused_whatever_follows() {
    for clean in [plain(), with_restarts()] {
        let start = scan_start(&clean);
        for part in [1, 5, 10, 15, 19] {
            let cut = &clean[..start + (clean.len() - start) * part / 20];
            let zeros = |count| vec![0; count];
            for behind in [
                vec![],
                END.to_vec(),
                zeros(20),
                zeros(5000),
                zeros(100_000),
                [zeros(100_000), END.to_vec()].concat(),
                vec![0xFF; 100_000],
                clean.clone(),
                with_segment(&[], 0, 0xFE, b"abc"),
            ] {
                let length = behind.len();
                expect_damage(&format!("{part}/20 and {length} bytes"), &[cut, &behind].concat(), "damaged: ");
            }
        }
    }
    // Pictures whose own data end in zero bytes, by tables in which the shortest codes stand for nothing.
    let flat = compress_with(&vec![90; 640 * 64 * 3], (640, 64), Subsamp::Sub2x2, &[(OPTIMIZE, 1)]);
    assert!(flat.windows(100).any(|bytes| bytes == [0; 100]));
    expect_same("a flat picture", &flat[..flat.len() - 2], &flat);
}

#[test]
fn damaged_restart_intervals_are_refused() {
    let clean = with_restarts();
    let (header, parts) = intervals(&clean);
    let count = parts.len();
    let without = |from: usize, to: usize| joined(&header, &[&parts[..from], &parts[to..]].concat());
    for (from, to) in [(0, 1), (count - 1, count), (7, 9), (3, 11), (0, 16), (1, count)] {
        expect_damage(&format!("without {from} to {to}"), &without(from, to), "damaged: ");
    }
    // Markers of the removed intervals are missing as well.
    let mut gap = joined(&header, &parts[..7]);
    gap.truncate(gap.len() - 2);
    let rest = joined(&[], &parts);
    let at: usize = parts[..9].iter().map(|part| part.len() + 2).sum();
    expect_damage("two lost packets", &[&gap[..], &[0xFF, 0xD6], &rest[at..]].concat(), "JWRN_MUST_RESYNC");
    let mut changed = parts.clone();
    changed.insert(5, parts[5].clone());
    expect_damage("one twice", &joined(&header, &changed), "more restart intervals");
    let eight = [&parts[..8], &parts[..]].concat();
    expect_damage("eight twice", &joined(&header, &eight), "more restart intervals");
    for short in [0, 9, count - 1] {
        let mut changed = parts.clone();
        let half = changed[short].len() / 2;
        changed[short].truncate(half);
        expect_damage(&format!("interval {short} is short"), &joined(&header, &changed), "JWRN_HIT_MARKER");
    }
    let mut markers: Vec<usize> = (header.len()..clean.len() - 2)
        .filter(|&at| clean[at] == 0xFF && (0xD0..=0xD7).contains(&clean[at + 1]))
        .collect();
    markers.truncate(12);
    let (second, third) = (markers[1], markers[2]);
    let mut swapped = clean.clone();
    (swapped[second + 1], swapped[third + 1]) = (clean[third + 1], clean[second + 1]);
    expect_damage("two markers change places", &swapped, "JWRN_MUST_RESYNC");
    let twice = [&clean[..second], &clean[second..second + 2], &clean[second..]].concat();
    expect_damage("a marker twice", &twice, "JWRN_HIT_MARKER");
    let lost = [&clean[..second], &clean[second + 2..]].concat();
    expect_damage("a marker is lost", &lost, "JWRN_MUST_RESYNC");
}

/// A JPEG whose three components come in a scan each, out of three grey ones.
fn in_three_scans(planes: [&[u8]; 3]) -> Vec<u8> {
    let grey = |rgb: &[u8]| compress_with(rgb, (64, 48), Subsamp::Gray, &[]);
    let first = grey(planes[0]);
    let sof = first.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    let scan = scan_start(&first) - 10;
    let mut jpeg = first[..sof].to_vec();
    jpeg.extend([0xFF, 0xC0, 0, 17, 8, 0, 48, 0, 64, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]);
    jpeg.extend_from_slice(&first[sof + 13..scan]);
    for (component, plane) in (1..).zip(planes) {
        let one = grey(plane);
        jpeg.extend([0xFF, 0xDA, 0, 8, 1, component, 0, 0, 63, 0]);
        jpeg.extend_from_slice(&one[scan_start(&one)..one.len() - 2]);
    }
    jpeg.extend(END);
    jpeg
}

#[test]
fn several_scans_are_whole_only_with_all_of_them() {
    let (a, b, c) = (noisy(64, 48), gradient(64, 48), vec![120; 64 * 48 * 3]);
    let progressive = compress_with(&noisy(64, 48), (64, 48), Subsamp::Sub2x2, &[(PROGRESSIVE, 1)]);
    let restarts = compress_with(&noisy(64, 48), (64, 48), Subsamp::None, &[(PROGRESSIVE, 1), (RESTART, 5)]);
    for clean in [in_three_scans([&a, &b, &c]), progressive, restarts] {
        let bare = &clean[..clean.len() - 2];
        for behind in [&[][..], &[0xFF], &[0; 3000], &[0x55; 608], &[0xFF; 9]] {
            expect_same(&format!("{} bytes behind", behind.len()), &[bare, behind].concat(), &clean);
            expect_same(&format!("{} bytes before the end", behind.len()), &[bare, behind, &END].concat(), &clean);
        }
        expect_same("a comment", &with_segment(&clean, clean.len() - 2, 0xFE, b"abc"), &clean);
        expect_same("two SOI", &[&clean[..2], &clean].concat(), &clean);
        let mut decoder = used();
        for cut in (2..bare.len()).filter(|&cut| cut % 7 == 0 || bare[cut..].starts_with(&[0xFF])) {
            for behind in [&[][..], &END, &[0; 40], &[0; 9000]] {
                // A few bytes of the last scan can't be told from zeroes.
                if behind.starts_with(&[0]) && bare.len() - cut < 30 {
                    continue;
                }
                let frame = [&bare[..cut], behind].concat();
                assert!(
                    decoder.decode(&frame).is_err(),
                    "cut at {cut} of {}, {} bytes behind",
                    bare.len(),
                    behind.len()
                );
            }
        }
    }
}

#[test]
fn too_many_scans_are_refused() {
    let plane = noisy(64, 48);
    let jpeg = in_three_scans([&plane; 3]);
    let scan = [0xFF, 0xDA, 0, 8, 1, 3, 0, 0, 63, 0];
    let last = jpeg.windows(scan.len()).position(|bytes| bytes == scan).unwrap();
    let (front, scan) = (&jpeg[..last], &jpeg[last..jpeg.len() - 2]);
    let with = |scans: usize| [front, &scan.repeat(scans), &END].concat();
    assert!(used().decode(&with(50)).is_ok());
    expect_damage("a hundred scans too many", &with(200), "more scans");
}

#[test]
fn arithmetic_codes_need_their_end_marker() {
    for settings in [&[(ARITHMETIC, 1)][..], &[(ARITHMETIC, 1), (PROGRESSIVE, 1)]] {
        let clean = compress_with(&noisy(64, 48), (64, 48), Subsamp::Sub2x1, settings);
        expect_same("whole", &clean, &clean);
        expect_damage("no end", &clean[..clean.len() - 2], "no end marker");
        expect_damage("half", &clean[..clean.len() / 2], "damaged: ");
    }
}

#[test]
fn no_frame_is_decoded_with_tables_of_the_one_before() {
    let clean = plain();
    expect_same("no Huffman tables", &without_tables(&clean), &clean);
    let dqt = clean.windows(2).position(|pair| pair == [0xFF, 0xDB]).unwrap();
    let length = 2 + usize::from(u16::from_be_bytes([clean[dqt + 2], clean[dqt + 3]]));
    let without = [&clean[..dqt], &clean[dqt + length..]].concat();
    expect_damage("no quantisation table", &without, "quantisation tables are missing");
    let progressive = compress_with(&noisy(64, 48), (64, 48), Subsamp::Sub2x1, &[(PROGRESSIVE, 1)]);
    assert!(used().decode(&without_tables(&progressive)).is_err());
}

#[test]
fn what_has_no_height_yet_is_refused_with_the_reason() {
    let mut jpeg = plain();
    let sof = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    jpeg[sof + 5..sof + 7].fill(0);
    expect_damage("DNL", &with_segment(&jpeg, jpeg.len() - 2, 0xDC, &[0, 80]), "DNL");
    expect_damage("tables only", &[0xFF, 0xD8, 0xFF, 0xD9], "no picture");
    for bytes in [&b""[..], b"\xFF", b"\xFF\xD8", b"\xFF\xD8\xFF", b"hello", &[0xFF, 0xD8, 0xFF, 0xD8]] {
        expect_damage("hardly anything", bytes, "");
    }
}
