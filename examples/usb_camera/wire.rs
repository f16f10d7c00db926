//! The USB/IP protocol between the kernel's virtual host controller and a device: requests read, answers written. All
//! numbers are big-endian. Documentation/usb/usbip_protocol.rst.

use std::io::{self, Read, Write};

const CMD_SUBMIT: u32 = 1;
const CMD_UNLINK: u32 = 2;
const RET_SUBMIT: u32 = 3;
const RET_UNLINK: u32 = 4;
const HEADER_BYTES: usize = 48;
const PACKET_BYTES: usize = 16;
/// The kernel's uvcvideo asks for 32 at once.
const MOST_PACKETS: u32 = 1024;
/// The largest transfer that any driver asks this device for is some 100 kB.
const MOST_BYTES: u32 = 1 << 20;
const DIRECTION_OUT: u32 = 0;

/// Kernel's number for a request that the device refused: EPIPE.
pub(crate) const STALLED: i32 = -32;
/// Kernel's number for a request that was taken back: ECONNRESET.
const TAKEN_BACK: i32 = -104;

/// What the host asks for.
#[derive(Debug)]
pub(crate) enum Request {
    /// A transfer.
    Submit(Transfer),
    /// Takes back the transfer of number `of`.
    Unlink { number: u32, of: u32 },
}

/// One transfer that the host waits for.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) number: u32,
    pub(crate) endpoint: u32,
    /// Of a control transfer: bmRequestType, bRequest, wValue, wIndex, wLength.
    pub(crate) setup: [u8; 8],
    /// What the host sends along.
    pub(crate) data: Vec<u8>,
    /// Room in bytes of each isochronous packet.
    pub(crate) packets: Vec<u32>,
}

/// Reads the next request. Blocks until it is there; an error of kind `UnexpectedEof` means that the host has gone.
pub(crate) fn read(host: &mut impl Read) -> io::Result<Request> {
    let mut header = [0; HEADER_BYTES];
    host.read_exact(&mut header)?;
    let number = word(&header, 1);
    match word(&header, 0) {
        CMD_UNLINK => Ok(Request::Unlink { number, of: word(&header, 5) }),
        CMD_SUBMIT => {
            let (direction, endpoint, length) = (word(&header, 3), word(&header, 4), word(&header, 6));
            let mut data = Vec::new();
            if direction == DIRECTION_OUT {
                data.resize(limited(length, MOST_BYTES)? as usize, 0);
                host.read_exact(&mut data)?;
            }
            // Of control transfers the field is no count.
            let count = if endpoint == 0 { 0 } else { limited(word(&header, 8), MOST_PACKETS)? };
            let mut packets = Vec::new();
            for _ in 0..count {
                let mut packet = [0; PACKET_BYTES];
                host.read_exact(&mut packet)?;
                packets.push(word(&packet, 1));
            }
            let mut setup = [0; 8];
            setup.copy_from_slice(&header[40..]);
            Ok(Request::Submit(Transfer { number, endpoint, setup, data, packets }))
        }
        other => Err(io::Error::new(io::ErrorKind::InvalidData, format!("the host sent a command of kind {other}"))),
    }
}

/// Answers a control transfer: with `data` for the host, or with nothing but `status`. `taken` is how much of the host's
/// data was used.
pub(crate) fn answer(host: &mut impl Write, number: u32, status: i32, taken: usize, data: &[u8]) -> io::Result<()> {
    let length = taken.max(data.len()) as u32;
    let mut out = header(RET_SUBMIT, number, &[status as u32, length, 0, 0, 0]);
    out.extend_from_slice(data);
    host.write_all(&out)
}

/// Answers an isochronous transfer: packet after packet what it holds, and nothing for those that are left over.
pub(crate) fn answer_packets(host: &mut impl Write, transfer: &Transfer, packets: &[Vec<u8>]) -> io::Result<()> {
    let length: usize = packets.iter().map(Vec::len).sum();
    let count = transfer.packets.len() as u32;
    let mut out = header(RET_SUBMIT, transfer.number, &[0, length as u32, 0, count, 0]);
    out.reserve(length + transfer.packets.len() * PACKET_BYTES);
    for packet in packets {
        out.extend_from_slice(packet);
    }
    let mut offset = 0;
    for (index, room) in transfer.packets.iter().enumerate() {
        let actual = packets.get(index).map_or(0, Vec::len) as u32;
        for field in [offset, *room, actual, 0] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        offset += room;
    }
    host.write_all(&out)
}

/// Answers that a transfer was taken back, or, if it was not `found`, that its answer is on the way already.
pub(crate) fn answer_unlink(host: &mut impl Write, number: u32, found: bool) -> io::Result<()> {
    let status = if found { TAKEN_BACK } else { 0 };
    host.write_all(&header(RET_UNLINK, number, &[status as u32]))
}

fn header(command: u32, number: u32, fields: &[u32]) -> Vec<u8> {
    // Device, direction and endpoint are left to the host, which knows them by the number.
    let mut out: Vec<u8> =
        [command, number, 0, 0, 0].iter().chain(fields).flat_map(|field| field.to_be_bytes()).collect();
    out.resize(HEADER_BYTES, 0);
    out
}

fn word(bytes: &[u8], index: usize) -> u32 {
    bytes[index * 4..index * 4 + 4].iter().fold(0, |word, byte| (word << 8) | u32::from(*byte))
}

fn limited(value: u32, most: u32) -> io::Result<u32> {
    if value <= most {
        return Ok(value);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("the host asks for {value}, more than {most}")))
}
