//! Answers the host's control requests: descriptors, the alternate setting that starts and stops the stream, and the
//! negotiation of format, size and rate. "USB Device Class Definition for Video Devices" 1.1, chapter 4.

use std::fmt;

use super::descriptors::{descriptor, frame_bytes, put16, put32, Format, FORMATS, INTERVALS, PACKET, STREAMING};

const GET_STATUS: u8 = 0;
const GET_DESCRIPTOR: u8 = 6;
const GET_CONFIGURATION: u8 = 8;
const SET_INTERFACE: u8 = 11;

const SET_CUR: u8 = 0x01;
const GET_CUR: u8 = 0x81;
const GET_MIN: u8 = 0x82;
const GET_MAX: u8 = 0x83;
const GET_LEN: u8 = 0x85;
const GET_INFO: u8 = 0x86;
const GET_DEF: u8 = 0x87;

const PROBE: u16 = 1;
const COMMIT: u16 = 2;
/// Bytes of the probe and commit controls in version 1.1.
const PROBE_BYTES: u16 = 34;

/// What the host has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) format: Format,
    pub(crate) size: (u16, u16),
    /// In 100 ns.
    pub(crate) interval: u32,
    indices: (u8, u8),
}

impl Choice {
    /// What the camera makes of the indices and the interval that the host proposes.
    fn nearest(format: u8, frame: u8, interval: u32) -> Self {
        let format_index = format.clamp(1, FORMATS.len() as u8);
        let (format, sizes) = FORMATS[usize::from(format_index) - 1];
        let frame_index = frame.clamp(1, sizes.len() as u8);
        let interval = INTERVALS.into_iter().find(|known| *known >= interval).unwrap_or(INTERVALS[INTERVALS.len() - 1]);
        Self { format, size: sizes[usize::from(frame_index) - 1], interval, indices: (format_index, frame_index) }
    }

    fn bytes(self) -> Vec<u8> {
        // Bit 0 of the hint: the interval is kept.
        let mut out = vec![1, 0, self.indices.0, self.indices.1];
        put32(&mut out, self.interval);
        // Key frames, quality, window, delay: none of these formats has them.
        (0..5).for_each(|_| put16(&mut out, 0));
        put32(&mut out, frame_bytes(self.size));
        put32(&mut out, PACKET);
        put32(&mut out, 48_000_000);
        out.extend([0; 4]);
        out
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = 1e7 / f64::from(self.interval);
        write!(out, "{:?} {}x{} at {rate:.0} frames per second", self.format, self.size.0, self.size.1)
    }
}

/// The answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done, or this for the host.
    Good(Vec<u8>),
    /// The device does not know the request.
    Stall,
}

/// The control endpoint's memory.
pub(crate) struct Control {
    serial: String,
    probed: Choice,
    committed: Choice,
    streams: bool,
}

impl Control {
    /// As after plugging in.
    pub(crate) fn new(serial: &str) -> Self {
        let choice = Choice::nearest(1, 1, INTERVALS[0]);
        Self { serial: serial.to_owned(), probed: choice, committed: choice, streams: false }
    }

    /// What the host wants streamed now.
    pub(crate) fn streaming(&self) -> Option<Choice> {
        self.streams.then_some(self.committed)
    }

    /// Answers one request; `data` came with it.
    pub(crate) fn answer(&mut self, setup: [u8; 8], data: &[u8]) -> Answer {
        let [kind, request, value_low, value_high, index_low, _, length_low, length_high] = setup;
        let answer = match kind & 0x60 {
            0 => self.standard(request, value_high, value_low, index_low),
            // Class requests to the streaming interface. The one that controls has nothing to set.
            0x20 if kind & 0x1f == 1 && index_low == STREAMING => self.class(request, u16::from(value_high), data),
            _ => Answer::Stall,
        };
        match answer {
            Answer::Good(mut bytes) => {
                bytes.truncate(usize::from(u16::from_le_bytes([length_low, length_high])));
                Answer::Good(bytes)
            }
            Answer::Stall => Answer::Stall,
        }
    }

    fn standard(&mut self, request: u8, value_high: u8, value_low: u8, index: u8) -> Answer {
        Answer::Good(match request {
            GET_STATUS => vec![0, 0],
            GET_DESCRIPTOR => match descriptor(value_high, value_low, &self.serial) {
                Some(bytes) => bytes,
                None => return Answer::Stall,
            },
            GET_CONFIGURATION => vec![1],
            SET_INTERFACE => {
                if index == STREAMING {
                    self.streams = value_low == 1;
                }
                Vec::new()
            }
            // Set the configuration, set and clear features: there is nothing to do.
            _ => Vec::new(),
        })
    }

    fn class(&mut self, request: u8, selector: u16, data: &[u8]) -> Answer {
        if selector != PROBE && selector != COMMIT {
            return Answer::Stall;
        }
        Answer::Good(match request {
            SET_CUR => {
                let [_, _, format, frame, a, b, c, d, ..] = *data else { return Answer::Stall };
                self.probed = Choice::nearest(format, frame, u32::from_le_bytes([a, b, c, d]));
                if selector == COMMIT {
                    self.committed = self.probed;
                }
                Vec::new()
            }
            GET_CUR if selector == COMMIT => self.committed.bytes(),
            GET_CUR => self.probed.bytes(),
            GET_MIN | GET_DEF => Choice { interval: INTERVALS[0], ..self.probed }.bytes(),
            GET_MAX => Choice { interval: INTERVALS[INTERVALS.len() - 1], ..self.probed }.bytes(),
            GET_LEN => PROBE_BYTES.to_le_bytes().to_vec(),
            // It can be got and set.
            GET_INFO => vec![3],
            _ => return Answer::Stall,
        })
    }
}
