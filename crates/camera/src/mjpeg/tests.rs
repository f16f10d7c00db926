//! Streams that are cut into frames, of cameras that keep to the standard and of others.
#![allow(clippy::unwrap_used)]

use super::super::window::tests::Drip;
use super::*;
use crate::jpeg::JpegDecoder;
use crate::testing::{compress, encode, scan_start, with_segment};
use turbojpeg::Subsamp;

/// Frames and faults of a stream that is read in pieces of `step` bytes.
fn split_in(bytes: &[u8], step: usize) -> Vec<(u64, Result<Vec<u8>, String>)> {
    let mut splitter = Splitter::new(Window::new(Drip(bytes, step)));
    let (mut frame, mut found) = (Vec::new(), Vec::new());
    loop {
        match splitter.next(&mut frame).unwrap() {
            Item::Frame { offset } => found.push((offset, Ok(frame.clone()))),
            Item::Broken { offset, reason } => found.push((offset, Err(reason))),
            Item::End => {
                assert_eq!(splitter.next(&mut frame).unwrap(), Item::End);
                return found;
            }
        }
    }
}

fn split(bytes: &[u8]) -> Vec<(u64, Result<Vec<u8>, String>)> {
    let found = split_in(bytes, usize::MAX);
    assert_eq!(found, split_in(bytes, 97));
    found
}

fn jpeg() -> Vec<u8> {
    encode(32, 24, Subsamp::Sub2x2)
}

/// Whether each frame of a stream can be decoded; `None` where what was found is none.
fn decoded(bytes: &[u8]) -> Vec<Option<bool>> {
    let mut decoder = JpegDecoder::new().unwrap();
    split(bytes).into_iter().map(|(_, item)| item.ok().map(|frame| decoder.decode(&frame).is_ok())).collect()
}

#[test]
fn frames_are_cut_at_their_own_markers() {
    let plain = jpeg();
    // Noise makes 0xFF bytes in the scan.
    let noise: Vec<u8> = (0..64 * 64 * 3u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let noisy = compress(&noise, 64, 64, Subsamp::None);
    assert!(noisy.windows(2).any(|pair| pair == [0xFF, 0x00]));
    let thumbnail = with_segment(&plain, 2, 0xE1, &plain);
    let comment = with_segment(&plain, 2, 0xFE, &[0xFF, 0xD9, 0xFF, 0xD8, 0xFF, 0xC0]);
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for frame in [&plain, &noisy, &thumbnail, &comment, &plain] {
        expected.push((bytes.len() as u64, Ok(frame.clone())));
        bytes.extend_from_slice(frame);
    }
    for step in [1, 2, 3, 4096, usize::MAX] {
        assert_eq!(split_in(&bytes, step), expected);
    }
}

#[test]
fn restart_markers_and_fill_bytes_do_not_end_a_frame() {
    let frame = [
        0xFF, 0xD8, 0xFF, 0xFF, 0xDB, 0, 3, 9, 0xFF, 0xDA, 0, 2, 1, 0xFF, 0xD0, 2, 0xFF, 0, 3, 0xFF, 0xD7, 0xFF, 0xFF,
        0xFF, 0xD9,
    ];
    assert_eq!(split(&frame), [(0, Ok(frame.to_vec()))]);
}

#[test]
fn padding_and_short_part_headers_between_frames_are_passed_over() {
    let frame = jpeg();
    let header = b"\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n";
    let bytes = [header, &frame[..], &[0; 5000], &frame, header, &frame, &[0xFF; 3000]].concat();
    let found = split(&bytes);
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|(_, item)| item.as_ref() == Ok(&frame)));
}

#[test]
fn a_long_run_of_other_bytes_is_reported() {
    let frame = jpeg();
    let bytes = [&frame[..], &[7; 2000], &frame, &[7; 2000]].concat();
    let found = split(&bytes);
    assert_eq!(found[1], (frame.len() as u64, Err("2000 bytes that are no frame".to_owned())));
    assert_eq!(found[2].1.as_ref(), Ok(&frame));
    assert!(found[3].1.is_err());
    assert_eq!(found.len(), 4);
}

#[test]
fn a_stream_without_frames_is_reported_while_it_goes_on() {
    let found = split_in(&vec![7; 3 << 20], usize::MAX);
    assert!(found.len() >= 2, "{}", found.len());
    assert!(found.iter().all(|(_, item)| item.as_ref().is_err_and(|reason| reason.contains("no frame"))));
    assert!(split_in(&vec![0; 3 << 20], usize::MAX).is_empty(), "padding is silent");
}

#[test]
fn a_truncated_frame_costs_only_itself() {
    let frame = jpeg();
    let scan = scan_start(&frame);
    let mut decoder = JpegDecoder::new().unwrap();
    for cut in 3..frame.len() - 2 {
        let bytes = [&frame[..], &frame[..cut], &frame, &frame].concat();
        let found = split(&bytes);
        let is_good = |(_, item): &(u64, Result<Vec<u8>, String>)| item.as_ref() == Ok(&frame);
        assert!(is_good(&found[0]) && found.last().is_some_and(is_good), "cut at {cut}");
        // A segment that was cut may end where a marker of the next frame happens to stand; a scan can't.
        if cut >= scan {
            assert_eq!(found[1], (frame.len() as u64, Ok(frame[..cut].to_vec())));
            assert!(decoder.decode(&frame[..cut]).is_err());
            assert_eq!((found.len(), found.iter().filter(|item| is_good(item)).count()), (4, 3), "cut at {cut}");
        }
    }
}

#[test]
fn the_next_frame_or_the_end_ends_a_frame_without_end() {
    let frame = jpeg();
    let bare = &frame[..frame.len() - 2];
    let thumbnail = with_segment(&frame, 2, 0xE1, &frame);
    let thumbnail = &thumbnail[..thumbnail.len() - 2];
    let found = split(&[bare, bare, thumbnail, &frame, thumbnail, bare].concat());
    let frames: Vec<&[u8]> = found.iter().map(|(_, item)| &item.as_ref().unwrap()[..]).collect();
    assert_eq!(frames, [bare, bare, thumbnail, &frame, thumbnail, bare]);
    assert_eq!(found[3].0, (bare.len() * 2 + thumbnail.len()) as u64);
    // Half a marker at the end.
    assert_eq!(split(&[bare, &[0xFF]].concat()), [(0, Ok([bare, &[0xFF]].concat()))]);
    assert_eq!(decoded(&[bare, &[0xFF]].concat()), [Some(true)]);
}

#[test]
fn what_stands_behind_the_scan_belongs_to_its_frame() {
    let frame = jpeg();
    let bare = &frame[..frame.len() - 2];
    let comment = with_segment(&[], 0, 0xFE, &[1, 2, 0xFF, 0xD8, 0xFF, 0xD9]);
    let thumbnail = with_segment(&[], 0, 0xE1, &frame);
    let strays: [&[u8]; 6] =
        [&[], &[0x55; 608], &[0xFF, 0x3C, 0, 4], &[0xFF, 0xE1, 0x50, 0], &[0xFF, 0xD8, 1], &[0; 4000]];
    for stray in strays {
        for segment in [&[][..], &comment, &thumbnail] {
            for end in [&[][..], &[0xFF, 0xD9]] {
                let one = [bare, stray, segment, end].concat();
                let bytes = [&one[..], &one, &frame].concat();
                assert_eq!(decoded(&bytes), [Some(true); 3], "{stray:02x?} {} {end:?}", segment.len());
                assert_eq!(split(&bytes)[1], (one.len() as u64, Ok(one)));
            }
        }
    }
}

#[test]
fn a_second_soi_begins_the_frame() {
    let frame = jpeg();
    let soi = &frame[..2];
    let app = with_segment(soi, 2, 0xE0, b"AVI1\0\0");
    for front in [soi, &soi.repeat(3), &app, &with_segment(soi, 2, 0xFE, &[0xFF, 0xD8, 0xFF, 0xD9])] {
        let one = [front, &frame].concat();
        let found = split(&[&one[..], &one, &frame].concat());
        assert_eq!(found.iter().map(|(_, item)| item.clone()).collect::<Vec<_>>(), vec![Ok(frame.clone()); 3]);
        assert_eq!(found[1].0, (one.len() + front.len()) as u64);
    }
    // Behind the header of a picture it is the beginning of the next.
    let header = &frame[..scan_start(&frame) - 14];
    let found = split(&[&frame, header, &frame].concat());
    assert_eq!(found.len(), 3);
    assert!(found[1].1.as_ref().is_err_and(|reason| reason.contains("a new frame begins at byte")), "{found:?}");
    assert_eq!(found[2], ((frame.len() + header.len()) as u64, Ok(frame)));
}

#[test]
fn gaps_between_frames_without_end_are_not_decoded() {
    let frame = jpeg();
    let bare = &frame[..frame.len() - 2];
    let part = b"\r\n--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 1234\r\n\r\n";
    let chunk = b"00dc\x34\x12\0\0";
    for gap in [&part[..], &part[2..], b"--x\nA: b\n\n", chunk] {
        let found = split(&[bare, gap, bare, gap, &frame, gap, bare].concat());
        let lengths: Vec<usize> = found.iter().map(|(_, item)| item.as_ref().unwrap().len()).collect();
        assert_eq!(lengths, [bare, bare, &frame, bare].map(<[u8]>::len), "{}", gap.escape_ascii());
        // Text would be decoded in the place of what was lost.
        for lost in 1..80 {
            let cut = &bare[..bare.len() - lost];
            assert_eq!(
                decoded(&[bare, gap, cut, gap, &frame].concat()),
                [Some(true), Some(false), Some(true)],
                "{lost}"
            );
        }
    }
    assert_eq!(without_gap(b"a\n\r\n"), b"a\n\r\n");
    assert_eq!(without_gap(b"--\r\n\r\n"), b"");
}

#[test]
fn strays_in_a_header_are_left_to_the_decoder() {
    let frame = jpeg();
    let dqt = frame.windows(2).position(|pair| pair == [0xFF, 0xDB]).unwrap();
    for strays in [&[1, 2, 3][..], &[0xFF, 0], &[7; 60]] {
        let one = [&frame[..dqt], strays, &frame[dqt..]].concat();
        assert_eq!(decoded(&[&frame[..], &one, &frame].concat()), [Some(true); 3], "{strays:02x?}");
    }
    let lost = [&frame[..dqt], &[7; 900], &frame[dqt..]].concat();
    let found = split(&[&frame[..], &lost, &frame].concat());
    assert!(found[1].1.as_ref().is_err_and(|reason| reason.contains("where a marker should be")), "{found:?}");
    assert!(found.last().is_some_and(|(_, item)| item.as_ref() == Ok(&frame)));
}

#[test]
fn a_wrong_segment_length_costs_only_that_frame() {
    let frame = jpeg();
    let mut bad = frame.clone();
    (bad[4], bad[5]) = (0x7F, 0xFF);
    let found = split(&[&bad[..], &frame, &frame].concat());
    assert_eq!(found.len(), 3);
    assert!(found[0].1.is_err() && found[1].1.is_ok() && found[2].1.is_ok());
}

#[test]
fn find_ff_finds_the_first() {
    for len in 0..100 {
        let mut bytes = vec![0xFE; len];
        assert_eq!(find_ff(&bytes), len);
        for at in (0..len).rev() {
            bytes[at] = 0xFF;
            assert_eq!(find_ff(&bytes), at);
        }
    }
}
