//! Cuts a stream of bytes into JPEGs by their marker segments: files of them, and what a camera program writes.
//! Decoding them, and whether a frame without its end is whole, is left to `capture::jpeg`.

use std::io::{self, Read, Seek};

use super::window::Window;

/// What a buffer for a frame starts with, so that frames of ordinary cameras never make it grow.
pub(super) const BUFFER: usize = 256 << 10;
/// What a JPEG starts with: SOI, and the first byte of the next marker.
pub(super) const MAGIC: &[u8] = &[0xFF, 0xD8, 0xFF];
/// A frame longer than this has lost its end.
const MAX_FRAME: usize = 32 << 20;
/// What a JPEG ends with.
pub(super) const EOI: [u8; 2] = [0xFF, 0xD9];
const SOS: u8 = 0xDA;
/// SOF markers, but for three that are something else: the header of the picture itself.
const SOF: std::ops::RangeInclusive<u8> = 0xC0..=0xCF;
/// Markers of that range that are no SOF: DHT, JPG, DAC.
const NO_SOF: [u8; 3] = [0xC4, 0xC8, 0xCC];
/// Longest SOS segment: four components.
const MAX_SOS: usize = 14;
/// Stray bytes that may stand between two segments of a header.
const MAX_STRAY: usize = 64;
/// Bytes between two frames that are passed over in silence: padding, or the part headers of an HTTP stream.
const MAX_GAP: u64 = 1024;
/// Without a frame in so many bytes they are reported at once rather than at the next frame, which may never come.
const LONGEST_GAP: u64 = 1 << 20;

/// What [`Splitter::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A frame from SOI to EOI, or to the next SOI or the end of the data where EOI is missing.
    Frame {
        /// Where it begins.
        offset: u64,
    },
    /// Bytes that should be a frame and aren't.
    Broken {
        /// Where they begin.
        offset: u64,
        /// What is wrong with them.
        reason: String,
    },
    /// The end of the stream.
    End,
}

/// Cuts a stream of bytes into JPEGs.
pub(super) struct Splitter<R> {
    window: Window<R>,
    /// The last frame was broken: what follows is the rest of it.
    is_lost: bool,
}

/// Why a frame can't be cut out, and how far behind its start to look for the next.
struct Fault {
    reason: String,
    resume: usize,
}

/// How far [`Splitter::walk`] has come in a frame.
struct Place {
    /// The 0xFF of a marker, or some byte of a scan.
    at: usize,
    /// Where the last segment begins. Its length may be wrong, those before it led to a marker.
    segment: usize,
    has_sof: bool,
    has_scan: bool,
}

impl Place {
    /// Behind SOI.
    const START: Self = Self { at: MAGIC.len() - 1, segment: MAGIC.len() - 1, has_sof: false, has_scan: false };
}

/// How the search for the next SOI ended.
enum Search {
    Found,
    /// Not yet; the stream goes on.
    Longer,
    End,
}

impl<R: Read> Splitter<R> {
    pub(super) const fn new(window: Window<R>) -> Self {
        Self { window, is_lost: false }
    }

    /// What the bytes come from.
    pub(super) const fn input(&self) -> &R {
        self.window.input()
    }

    /// Where the stream is looked at next.
    pub(super) const fn offset(&self) -> u64 {
        self.window.offset()
    }

    /// Copies the next frame to `frame`, which stays as it is when there is none.
    pub(super) fn next(&mut self, frame: &mut Vec<u8>) -> io::Result<Item> {
        match self.find()? {
            Some(other) => Ok(other),
            None => self.cut(frame),
        }
    }

    /// Moves to the start of the next frame. Anything but `None` is what stands in the way.
    pub(super) fn find(&mut self) -> io::Result<Option<Item>> {
        loop {
            let gap_start = self.offset();
            let (search, is_padding) = self.find_start()?;
            let gap = self.offset() - gap_start;
            if gap > MAX_GAP && !is_padding && !std::mem::take(&mut self.is_lost) {
                return Ok(Some(Item::Broken { offset: gap_start, reason: format!("{gap} bytes that are no frame") }));
            }
            match search {
                Search::Found => return Ok(None),
                Search::End => return Ok(Some(Item::End)),
                Search::Longer => {}
            }
        }
    }

    /// Copies the frame that [`Self::find`] moved to.
    pub(super) fn cut(&mut self, frame: &mut Vec<u8>) -> io::Result<Item> {
        match self.walk()? {
            Ok(length) => {
                let offset = self.offset();
                frame.clear();
                frame.extend_from_slice(&self.window.bytes()[..length]);
                self.window.consume(length);
                self.is_lost = false;
                Ok(Item::Frame { offset })
            }
            Err(Fault { reason, resume }) => {
                let offset = self.offset();
                self.window.consume(resume.min(self.window.bytes().len()));
                self.is_lost = true;
                Ok(Item::Broken { offset, reason })
            }
        }
    }

    /// Moves to the next SOI marker that another marker follows, or to the end, or past [`LONGEST_GAP`]. Tells which, and
    /// whether only padding was passed.
    fn find_start(&mut self) -> io::Result<(Search, bool)> {
        let begin = self.offset();
        let mut is_padding = true;
        while self.window.fill(MAGIC.len())? {
            let rest = self.window.bytes();
            let found = rest.windows(MAGIC.len()).position(|bytes| bytes == MAGIC);
            let passed = found.unwrap_or(rest.len() - (MAGIC.len() - 1));
            is_padding &= rest[..passed].iter().all(|&byte| byte == 0 || byte == 0xFF);
            self.window.consume(passed);
            if found.is_some() {
                return Ok((Search::Found, is_padding));
            }
            if self.offset() - begin > LONGEST_GAP {
                return Ok((Search::Longer, is_padding));
            }
        }
        Ok((Search::End, is_padding))
    }

    /// Length of the frame that the window begins with. Passes over what stands in front of a second SOI.
    fn walk(&mut self) -> io::Result<Result<usize, Fault>> {
        let mut place = Place::START;
        let reason = loop {
            let at = place.at;
            if at > MAX_FRAME {
                break format!("no end within {} MiB", MAX_FRAME >> 20);
            }
            if !self.window.fill(at + 2)? {
                // Perhaps only the EOI is missing. The decoder knows whether the scan is whole.
                if place.has_scan {
                    return Ok(Ok(without_gap(self.window.bytes()).len()));
                }
                break "the data ends within the frame".to_owned();
            }
            match [self.window.bytes()[at], self.window.bytes()[at + 1]] {
                // Markers may be preceded by any number of 0xFF.
                [0xFF, 0xFF] => place.at += 1,
                [0xFF, 0x01 | 0xD0..=0xD7] => place.at += 2,
                [0xFF, 0xD9] => return Ok(Ok(at + 2)),
                [0xFF, 0xD8] if self.window.fill(at + MAGIC.len())? && self.is_magic(at) => {
                    if place.has_scan {
                        return Ok(Ok(without_gap(&self.window.bytes()[..at]).len()));
                    }
                    if place.has_sof {
                        break format!(
                            "a new frame begins at byte {}, before this one ends",
                            self.offset() + at as u64
                        );
                    }
                    // Nothing of a picture has come yet: some cameras write the marker twice.
                    self.window.consume(at);
                    place = Place::START;
                }
                // A byte 0xFF of the scan itself.
                [0xFF, 0x00] if place.has_scan => place.at += 2,
                [0xFF, _] if place.has_scan => self.pass_trailer(&mut place)?,
                [0xFF, code] if code != 0x00 && code != 0xD8 => match self.pass_segment(&mut place)? {
                    None => {}
                    Some(reason) => break reason,
                },
                _ if place.has_scan => place.at += find_ff(&self.window.bytes()[at..]),
                _ => match self.pass_strays(&mut place)? {
                    None => {}
                    Some(reason) => break reason,
                },
            }
        };
        let resume = if place.has_scan || place.has_sof && self.is_magic(place.at) { place.at } else { place.segment };
        Ok(Err(Fault { reason, resume }))
    }

    /// Whether SOI and another marker stand at `at`, as far as has been read.
    fn is_magic(&self, at: usize) -> bool {
        self.window.bytes().get(at..).is_some_and(|rest| rest.starts_with(MAGIC))
    }

    /// Length of the segment at `at`, its marker left out; `None` where the data end before.
    fn length(&mut self, at: usize) -> io::Result<Option<usize>> {
        Ok(self.window.fill(at + 4)?.then(|| {
            let bytes = &self.window.bytes()[at + 2..];
            usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
        }))
    }

    /// Passes over a segment of the header. Anything but `None` is what is wrong with it.
    fn pass_segment(&mut self, place: &mut Place) -> io::Result<Option<String>> {
        let Place { at, .. } = *place;
        place.segment = at;
        let code = self.window.bytes()[at + 1];
        let Some(length) = self.length(at)? else { return Ok(Some("the data ends within the frame".to_owned())) };
        if length < 2 || code == SOS && length > MAX_SOS {
            return Ok(Some(format!("segment of {length} bytes at byte {}", self.offset() + at as u64)));
        }
        place.has_sof |= SOF.contains(&code) && !NO_SOF.contains(&code);
        place.has_scan = code == SOS;
        place.at += 2 + length;
        Ok(None)
    }

    /// Passes over bytes of the header that are no segment, as decoders do. Many of them, or a frame that begins within the
    /// last segment, mean that this one was cut.
    fn pass_strays(&mut self, place: &mut Place) -> io::Result<Option<String>> {
        let Place { at, segment, .. } = *place;
        self.window.fill(at + MAX_STRAY)?;
        let bytes = self.window.bytes();
        let strays = &bytes[at..bytes.len().min(at + MAX_STRAY)];
        let marker = strays.windows(2).position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xFF));
        let is_cut = bytes[segment..at].windows(MAGIC.len()).any(|window| window == MAGIC);
        match marker {
            // At the SOI of something that isn't followed by another marker: pass over that as well.
            Some(0) if !is_cut => place.at += 2,
            Some(count) if !is_cut => place.at += count,
            _ => {
                let here = self.offset() + at as u64;
                return Ok(Some(format!("{:#04x} at byte {here}, where a marker should be", strays[0])));
            }
        }
        Ok(None)
    }

    /// Passes over a marker behind a scan: with its segment, if it is one that may stand there and another marker follows, or
    /// a scan. Otherwise it is one of the stray bytes that some cameras send there.
    fn pass_trailer(&mut self, place: &mut Place) -> io::Result<()> {
        let at = place.at;
        let code = self.window.bytes()[at + 1];
        place.at += 2;
        // DHT, DAC, SOS, DQT, DNL, DRI, APPn, COM.
        if !matches!(code, 0xC4 | 0xCC | 0xDA..=0xDD | 0xE0..=0xEF | 0xFE) {
            return Ok(());
        }
        let Some(length) = self.length(at)?.filter(|&length| length >= 2) else { return Ok(()) };
        let end = at + 2 + length;
        if !self.window.fill(end + 1)? {
            return Ok(());
        }
        let bytes = self.window.bytes();
        let is_segment = match code {
            SOS => (1..=4).any(|count| bytes[at + 4] == count && length == 6 + 2 * usize::from(count)),
            _ => bytes[end] == 0xFF,
        };
        if is_segment {
            (place.segment, place.at) = (at, end);
        }
        Ok(())
    }
}

impl<R: Read + Seek> Splitter<R> {
    pub(super) fn rewind(&mut self) -> io::Result<()> {
        self.is_lost = false;
        self.window.rewind_to(0)
    }
}

/// A frame without EOI, less what stands between it and the next: the header of a part of an HTTP stream, or of a chunk of an AVI
/// file. They would be decoded in the place of the data that a cut frame lacks.
fn without_gap(frame: &[u8]) -> &[u8] {
    if let [frame @ .., b'0'..=b'9', b'0'..=b'9', b'd', b'b' | b'c', _, _, _, _] = frame {
        return frame;
    }
    if !frame.ends_with(b"\n\r\n") && !frame.ends_with(b"\n\n") {
        return frame;
    }
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\r' | b'\n' | b'\t');
    let most = frame.len().saturating_sub(MAX_GAP as usize);
    let begin = frame.iter().rposition(|byte| !is_text(byte)).map_or(0, |last| last + 1).max(most);
    let is_boundary = |at: &usize| frame[*at..].starts_with(b"--");
    let is_line = |at: &usize| is_boundary(at) && *at > begin && frame[at - 1] == b'\n';
    // The last at the beginning of a line. Where there is none, the scan's last bytes may look like text.
    let found = (begin..frame.len()).rev().find(is_line).or_else(|| (begin..frame.len()).find(is_boundary));
    let Some(boundary) = found else { return frame };
    let frame = &frame[..boundary];
    let frame = frame.strip_suffix(b"\n").unwrap_or(frame);
    frame.strip_suffix(b"\r").unwrap_or(frame)
}

/// Index of the first 0xFF, or the length. Looks at blocks first: the compiler makes one comparison of each.
fn find_ff(bytes: &[u8]) -> usize {
    let blocks = bytes.chunks_exact(32).take_while(|block| !block.iter().fold(false, |any, &b| any | (b == 0xFF)));
    let done = blocks.count() * 32;
    bytes[done..].iter().position(|&b| b == 0xFF).map_or(bytes.len(), |index| done + index)
}

#[cfg(test)]
mod tests;
