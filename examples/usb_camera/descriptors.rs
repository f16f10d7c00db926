//! What the camera says of itself: the USB descriptors of a UVC 1.1 camera with one isochronous stream.
//! "USB Device Class Definition for Video Devices", chapter 3, and its payload documents for MJPEG and uncompressed video.

/// Number of the interface that streams. The one that controls is 0.
pub(crate) const STREAMING: u8 = 1;
/// Bytes of the largest packet: three of 1024 in each of the 8000 microframes of a second, the most that high speed allows.
pub(crate) const PACKET: u32 = 3072;
/// Intervals of 30 and 15 frames per second, in 100 ns.
pub(crate) const INTERVALS: [u32; 2] = [333_333, 666_666];

const ENDPOINT: u8 = 0x81;
const MAKER: &str = "pspnetd";
const PRODUCT: &str = "Board lab camera";

const CS_INTERFACE: u8 = 0x24;
const VIDEO: u8 = 0x0e;

/// How the pixels are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Mjpeg,
    Yuyv,
}

/// The formats by bFormatIndex - 1, and of each the sizes by bFrameIndex - 1.
pub(crate) const FORMATS: [(Format, &[(u16, u16)]); 2] =
    [(Format::Mjpeg, &[(640, 480), (1280, 720)]), (Format::Yuyv, &[(640, 480)])];

/// The most bytes that a frame may have. A JPEG is given as much as the pixels it stands for, as cameras do.
pub(crate) fn frame_bytes((width, height): (u16, u16)) -> u32 {
    u32::from(width) * u32::from(height) * 2
}

/// The descriptor of this kind and index, if there is one.
pub(crate) fn descriptor(kind: u8, index: u8, serial: &str) -> Option<Vec<u8>> {
    match (kind, index) {
        (1, 0) => Some(device()),
        (2, 0) => Some(configuration()),
        // US English.
        (3, 0) => Some(vec![4, 3, 0x09, 0x04]),
        (3, 1) => Some(string(MAKER)),
        (3, 2) => Some(string(PRODUCT)),
        (3, 3) => Some(string(serial)),
        _ => None,
    }
}

fn device() -> Vec<u8> {
    let mut out = vec![18, 1];
    put16(&mut out, 0x0200);
    // A device whose interfaces are grouped by association descriptors.
    out.extend([0xef, 2, 1, 64]);
    // The Linux Foundation's multifunction composite gadget.
    put16(&mut out, 0x1d6b);
    put16(&mut out, 0x0104);
    put16(&mut out, 0x0100);
    out.extend([1, 2, 3, 1]);
    out
}

fn string(text: &str) -> Vec<u8> {
    let mut out = vec![0, 3];
    text.encode_utf16().for_each(|unit| put16(&mut out, unit));
    out[0] = out.len() as u8;
    out
}

fn configuration() -> Vec<u8> {
    let mut out = vec![9, 2, 0, 0, 2, 1, 0, 0x80, 250];
    // Both interfaces are one video function.
    out.extend([8, 0x0b, 0, 2, VIDEO, 3, 0, 2]);
    out.extend([9, 4, 0, 0, 0, VIDEO, 1, 0, 2]);
    out.extend(control());
    out.extend([9, 4, STREAMING, 0, 0, VIDEO, 2, 0, 0]);
    out.extend(streaming());
    // The setting that streams. The other takes no bandwidth.
    out.extend([9, 4, STREAMING, 1, 1, VIDEO, 2, 0, 0]);
    out.extend([7, 5, ENDPOINT, 5]);
    // 1024 bytes, and two transactions more in a microframe.
    put16(&mut out, 2 << 11 | 1024);
    out.push(1);
    let length = out.len() as u16;
    out[2..4].copy_from_slice(&length.to_le_bytes());
    out
}

/// A lens that goes straight to the stream, with nothing that could be set.
fn control() -> Vec<u8> {
    let mut out = vec![13, CS_INTERFACE, 1];
    put16(&mut out, 0x0110);
    put16(&mut out, 0);
    put32(&mut out, 48_000_000);
    out.extend([1, STREAMING]);
    out.extend([18, CS_INTERFACE, 2, 1, 0x01, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0]);
    out.extend([9, CS_INTERFACE, 3, 2, 0x01, 0x01, 0, 1, 0]);
    let length = out.len() as u16;
    out[5..7].copy_from_slice(&length.to_le_bytes());
    out
}

fn streaming() -> Vec<u8> {
    let mut out =
        vec![13 + FORMATS.len() as u8, CS_INTERFACE, 1, FORMATS.len() as u8, 0, 0, ENDPOINT, 0, 2, 0, 0, 0, 1];
    out.extend(FORMATS.map(|_| 0));
    for (index, (format, sizes)) in (1..).zip(FORMATS) {
        let count = sizes.len() as u8;
        match format {
            Format::Mjpeg => out.extend([11, CS_INTERFACE, 6, index, count, 0, 1, 0, 0, 0, 0]),
            Format::Yuyv => {
                out.extend([27, CS_INTERFACE, 4, index, count]);
                out.extend(b"YUY2\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71");
                out.extend([16, 1, 0, 0, 0, 0]);
            }
        }
        for (index, &size) in (1..).zip(sizes) {
            out.extend(frame(format, index, size));
        }
        // sRGB's primaries and transfer function, BT.601's matrix.
        out.extend([6, CS_INTERFACE, 0x0d, 1, 1, 4]);
    }
    let length = out.len() as u16;
    out[4..6].copy_from_slice(&length.to_le_bytes());
    out
}

fn frame(format: Format, index: u8, size: (u16, u16)) -> Vec<u8> {
    let kind = if format == Format::Mjpeg { 7 } else { 5 };
    let mut out = vec![26 + 4 * INTERVALS.len() as u8, CS_INTERFACE, kind, index, 0];
    put16(&mut out, size.0);
    put16(&mut out, size.1);
    for interval in [INTERVALS[1], INTERVALS[0]] {
        put32(&mut out, (u64::from(frame_bytes(size)) * 8 * 10_000_000 / u64::from(interval)) as u32);
    }
    put32(&mut out, frame_bytes(size));
    put32(&mut out, INTERVALS[0]);
    out.push(INTERVALS.len() as u8);
    INTERVALS.iter().for_each(|interval| put32(&mut out, *interval));
    out
}

/// Appends as USB has its numbers, little-endian.
pub(crate) fn put16(out: &mut Vec<u8>, value: u16) {
    out.extend(value.to_le_bytes());
}

/// Appends as USB has its numbers, little-endian.
pub(crate) fn put32(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_le_bytes());
}
