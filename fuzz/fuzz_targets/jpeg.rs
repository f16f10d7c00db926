//! The JPEGs of a camera, which the daemon itself decodes: two frames through one decoder, as in the daemon. The second must come
//! out as it does of a decoder that never saw the first.
#![no_main]

use camera::jpeg::{Findings, JpegDecoder, JpegError};
use libfuzzer_sys::{fuzz_target, Corpus};
use pixels::frame::{Picture, Plane, Size};

/// Larger pictures find nothing that these don't, and take long.
const MOST_PIXELS: usize = 1 << 20;
/// What a decoder is told that the network needs.
const WANTED: [Option<Size>; 4] = [
    None,
    Some(Size { width: 16, height: 16 }),
    Some(Size { width: 160, height: 96 }),
    Some(Size { width: 1024, height: 1024 }),
];

// Three bytes before the two frames: what the decoder is told, and where the second begins.
fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&[wanted, high, low], bytes)) = input.split_first_chunk() else { return Corpus::Reject };
    let cut = usize::from(u16::from_be_bytes([high, low]));
    let (first, second) = bytes.split_at(cut.min(bytes.len()));
    let mut decoder = decoder(wanted);
    if [first, second].iter().any(|jpeg| is_large(&mut decoder, jpeg)) {
        return Corpus::Reject;
    }
    let _ = summary(&mut decoder, first);
    let after_another = summary(&mut decoder, second);
    // What is wrong with it may be said in other words.
    assert_eq!(after_another.ok(), summary(&mut self::decoder(wanted), second).ok());
    let _ = decoder.decode_rgb(second);
    Corpus::Keep
});

fn decoder(wanted: u8) -> JpegDecoder {
    let mut decoder = JpegDecoder::new().expect("there is memory for a decoder");
    decoder.set_wanted(WANTED[usize::from(wanted) % WANTED.len()]);
    decoder
}

fn is_large(decoder: &mut JpegDecoder, jpeg: &[u8]) -> bool {
    decoder.size(jpeg).is_ok_and(|size| size.width * size.height > MOST_PIXELS)
}

/// Size, sum of all samples and findings of a picture. Reads each sample, so that one outside of the buffer is found.
fn summary(decoder: &mut JpegDecoder, jpeg: &[u8]) -> Result<(Size, u64, Findings), JpegError> {
    decoder.decode(jpeg).map(|decoded| (decoded.picture.format().size, sum(&decoded.picture), decoded.findings))
}

fn sum(picture: &Picture<'_>) -> u64 {
    let format = picture.format();
    let plane = |(index, plane): (usize, &Plane<'_>)| {
        // Behind its pixels a plane may go on.
        let (width, height) = format.layout.plane_extent(index, format.size);
        let rows = plane.data.chunks(plane.stride).take(height);
        rows.map(|row| row[..width].iter().map(|&sample| u64::from(sample)).sum::<u64>()).sum::<u64>()
    };
    picture.planes().iter().take(format.layout.planes()).enumerate().map(plane).sum()
}
