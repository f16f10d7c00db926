//! Cuts frames into packets and fills the host's transfers with them, a frame per interval.

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::control::Choice;
use super::descriptors::PACKET;
use super::picture::{frame, spoiled, Mode};
use super::wire::{answer_packets, Transfer};

/// Each packet starts with the header's length and its flags. Time stamps are left out: the host would compare them with the
/// number of the USB frame, which the virtual controller has not.
const HEADER_BYTES: usize = 2;
const TOGGLE: u8 = 1;
const END_OF_FRAME: u8 = 1 << 1;
const ERROR: u8 = 1 << 6;
const END_OF_HEADER: u8 = 1 << 7;

/// The streaming endpoint.
#[derive(Default)]
pub(crate) struct Stream {
    choice: Option<Choice>,
    /// The picture in the chosen format.
    picture: Vec<u8>,
    /// When the next frame begins.
    due: Option<Instant>,
    toggle: u8,
    /// What is left of the frame that is being sent.
    packets: VecDeque<Vec<u8>>,
    transfers: VecDeque<Transfer>,
}

impl Stream {
    /// Streams as `choice` says, or not at all. Tells whether that is news; fails where there is no such picture.
    pub(crate) fn choose(&mut self, choice: Option<Choice>, now: Instant) -> io::Result<bool> {
        if choice == self.choice {
            return Ok(false);
        }
        self.choice = choice;
        self.packets.clear();
        self.due = choice.is_some().then_some(now);
        self.picture = match choice {
            Some(choice) => frame(choice.format, choice.size)?,
            None => Vec::new(),
        };
        Ok(true)
    }

    /// When [`Stream::begin`] has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A transfer that the host waits for.
    pub(crate) fn add(&mut self, transfer: Transfer) {
        self.transfers.push_back(transfer);
    }

    /// Forgets the transfer of this number. Tells whether it was there.
    pub(crate) fn remove(&mut self, number: u32) -> bool {
        let before = self.transfers.len();
        self.transfers.retain(|transfer| transfer.number != number);
        self.transfers.len() < before
    }

    /// Begins the next frame if it is time. Tells whether it did.
    pub(crate) fn begin(&mut self, mode: Mode, now: Instant) -> bool {
        let (Some(choice), Some(due)) = (self.choice, self.due) else { return false };
        if now < due {
            return false;
        }
        let interval = Duration::from_nanos(u64::from(choice.interval) * 100);
        // A camera does not make up for frames that it could not send.
        self.due = Some((due + interval).max(now));
        if !self.packets.is_empty() {
            // The host has not taken the last one yet.
            return false;
        }
        if mode != Mode::Silent {
            self.cut(mode);
        }
        true
    }

    fn cut(&mut self, mode: Mode) {
        let frame = spoiled(self.picture.clone(), mode);
        let error = if mode == Mode::Faulty { ERROR } else { 0 };
        let flags = END_OF_HEADER | self.toggle | error;
        self.toggle ^= TOGGLE;
        let mut chunks: Vec<&[u8]> = frame.chunks(PACKET as usize - HEADER_BYTES).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let last = chunks.len() - 1;
        for (index, chunk) in chunks.into_iter().enumerate() {
            let end = if index == last { END_OF_FRAME } else { 0 };
            let mut packet = Vec::with_capacity(HEADER_BYTES + chunk.len());
            packet.extend([HEADER_BYTES as u8, flags | end]);
            packet.extend_from_slice(chunk);
            self.packets.push_back(packet);
        }
    }

    /// Fills transfers as far as there are packets and transfers. A frame's end completes a transfer that has room left: the
    /// host has each frame at once.
    pub(crate) fn send(&mut self, host: &mut UnixStream) -> io::Result<()> {
        while !self.packets.is_empty() {
            let Some(transfer) = self.transfers.pop_front() else { break };
            let mut sent = Vec::new();
            for room in &transfer.packets {
                match self.packets.front() {
                    Some(packet) if packet.len() <= *room as usize => sent.extend(self.packets.pop_front()),
                    _ => break,
                }
            }
            if sent.is_empty() && !transfer.packets.is_empty() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the host's packets are too small"));
            }
            answer_packets(host, &transfer, &sent)?;
        }
        Ok(())
    }
}
