//! A stream of JPEGs, as a camera program writes it: cut into frames, each decoded.
#![no_main]

use camera::jpeg::JpegDecoder;
use camera::testing::cut_mjpeg;
use libfuzzer_sys::fuzz_target;

/// Larger pictures find nothing that these don't, and take long.
const MOST_PIXELS: usize = 1 << 16;

fuzz_target!(|stream: &[u8]| {
    let mut decoder = JpegDecoder::new().expect("there is memory for a decoder");
    for frame in cut_mjpeg(stream) {
        assert!(frame.len() <= stream.len());
        if decoder.size(&frame).is_ok_and(|size| size.width * size.height <= MOST_PIXELS) {
            let _ = decoder.decode(&frame);
        }
    }
});
