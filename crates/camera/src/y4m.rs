//! Cuts a Y4M (YUV4MPEG2) stream into frames: uncompressed planar YUV with a one-line header, as `ffmpeg x.y4m` or
//! yuv4mpeg(5) tools write it. Never goes back, so that it reads pipes as well as files.

use std::io::{self, Read};

use pixels::frame::{Colorimetry, Layout, Matrix, PictureFormat, Range, Siting, Size};

use super::jpeg::{MAX_PIXELS, MAX_SIDE};
use super::window::Window;

/// What the stream starts with.
pub(super) const MAGIC: &[u8] = b"YUV4MPEG2 ";
const FRAME: &[u8] = b"FRAME";
/// Longest line, header or frame. Real ones have less than 200 bytes.
const MAX_LINE: usize = 4096;
/// Without a frame in so many bytes they are reported at once rather than at the next frame, which may never come.
const LONGEST_GAP: u64 = 64 << 20;
const COLOUR_SPACES: &str = "C420jpeg, C420mpeg2, C420paldv, C420, C411, C422, C444 and Cmono";

/// The frames of a stream, behind its header.
pub(super) struct Frames<R> {
    window: Window<R>,
    header: Header,
}

/// Why a stream can't be read as Y4M.
#[derive(Debug)]
pub(super) enum HeaderError {
    /// It can't be read at all.
    Io(io::Error),
    /// The header makes no sense; the text says what.
    Bad(String),
}

/// What [`Frames::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A whole frame.
    Frame,
    /// Bytes from `offset` on that should be a frame and aren't.
    Broken {
        /// Where they begin.
        offset: u64,
        /// What is wrong with them.
        reason: String,
    },
    /// The end of the stream.
    End,
}

impl<R: Read> Frames<R> {
    /// Reads the header.
    pub(super) fn open(mut window: Window<R>) -> Result<Self, HeaderError> {
        let Some(length) = line(&mut window).map_err(HeaderError::Io)? else {
            return Err(HeaderError::Bad("the Y4M header has no end".to_owned()));
        };
        let header = Header::parse(&window.bytes()[..length]).map_err(HeaderError::Bad)?;
        window.consume(length + 1);
        Ok(Self { window, header })
    }

    /// What the header says.
    pub(super) const fn header(&self) -> &Header {
        &self.header
    }

    /// Where the stream is looked at next.
    pub(super) const fn offset(&self) -> u64 {
        self.window.offset()
    }

    /// What the bytes come from.
    pub(super) const fn input(&self) -> &R {
        self.window.input()
    }

    /// Waits for the first byte of the next frame. False at the end of the stream.
    pub(super) fn find(&mut self) -> io::Result<bool> {
        self.window.fill(1)
    }

    /// Reads the next frame to `frame`, whose content is lost where the frame turns out to be broken.
    pub(super) fn next(&mut self, frame: &mut Vec<u8>) -> io::Result<Item> {
        let offset = self.offset();
        if !self.find()? {
            return Ok(Item::End);
        }
        let broken = |reason: String| Ok(Item::Broken { offset, reason });
        let Some(length) = line(&mut self.window)? else {
            let rest = self.window.bytes();
            if rest.len() < MAX_LINE && FRAME.starts_with(&rest[..rest.len().min(FRAME.len())]) {
                self.window.consume(rest.len());
                return broken("the data ends within the frame".to_owned());
            }
            return self.resynchronise(offset);
        };
        let Some(length) = self.skip_headers(offset, length)? else {
            return self.resynchronise(offset);
        };
        if !self.window.bytes()[..length].strip_prefix(FRAME).is_some_and(|rest| rest.is_empty() || rest[0] == b' ') {
            return self.resynchronise(offset);
        }
        self.window.consume(length + 1);
        let PictureFormat { layout, size, .. } = self.header.format;
        let needed = layout.bytes(size);
        frame.resize(needed, 0);
        let filled = self.window.read_to(frame)?;
        if filled < needed {
            return broken(format!("the data ends after {filled} of the frame's {needed} bytes"));
        }
        Ok(Item::Frame)
    }

    /// Passes over headers like the first, as streams have that were put one behind the other. Length of the line that
    /// follows; `None` when there is none.
    ///
    /// # Errors
    /// When the stream goes on in another format: its frames can't be cut by the first header.
    fn skip_headers(&mut self, offset: u64, mut length: usize) -> io::Result<Option<usize>> {
        while self.window.bytes()[..length].starts_with(MAGIC) {
            let Ok(header) = Header::parse(&self.window.bytes()[..length]) else { return Ok(None) };
            let (old, new) = (self.header.format, header.format);
            if old != new {
                let what = match old.size == new.size {
                    true => "its colour space".to_owned(),
                    false => format!("its size from {} to {}", old.size, new.size),
                };
                let reason = format!("byte {offset}: the stream changes {what}; a stream has one format");
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            self.window.consume(length + 1);
            let Some(next) = line(&mut self.window)? else { return Ok(None) };
            length = next;
        }
        Ok(Some(length))
    }

    /// Moves to the next `FRAME`, which may begin in what was taken for a line.
    fn resynchronise(&mut self, offset: u64) -> io::Result<Item> {
        self.window.consume(1);
        while self.window.fill(FRAME.len())? {
            let rest = self.window.bytes();
            let found = rest.windows(FRAME.len()).position(|bytes| bytes == FRAME);
            let passed = found.unwrap_or(rest.len() - (FRAME.len() - 1));
            self.window.consume(passed);
            if found.is_some() || self.offset() - offset > LONGEST_GAP {
                return Ok(Item::Broken { offset, reason: "no FRAME line where one should be".to_owned() });
            }
        }
        self.window.consume(self.window.bytes().len());
        Ok(Item::Broken { offset, reason: "no FRAME line where one should be".to_owned() })
    }
}

impl<R: Read + io::Seek> Frames<R> {
    /// Goes back to the frame at `offset`.
    pub(super) fn rewind_to(&mut self, offset: u64) -> io::Result<()> {
        self.window.rewind_to(offset)
    }
}

/// Length of the line that the window begins with, without its end. `None` when the stream, or the patience, ends first.
fn line<R: Read>(window: &mut Window<R>) -> io::Result<Option<usize>> {
    let mut seen = 0;
    while seen < MAX_LINE && window.fill(seen + 1)? {
        let rest = window.bytes();
        let look = rest.len().min(MAX_LINE);
        if let Some(at) = rest[seen..look].iter().position(|&byte| byte == b'\n') {
            return Ok(Some(seen + at));
        }
        seen = look;
    }
    Ok(None)
}

/// The first line.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    /// Of every frame.
    pub(super) format: PictureFormat,
    /// Frames per second; `None` where the stream says that it doesn't know.
    pub(super) fps: Option<f64>,
}

impl Header {
    /// Reads W, H, F, I, C and X; pixel aspect (A) makes no difference here.
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(line).map_err(|_| "the Y4M header is not text".to_owned())?;
        let (mut width, mut height, mut fps) = (None, None, None);
        let mut layout = Layout::YU12;
        let mut color = Colorimetry { matrix: Matrix::Bt601, range: Range::Limited, siting: Siting::Center };
        for word in text.split(' ').skip(1).filter(|word| !word.is_empty()) {
            let (tag, value) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
            match tag {
                "W" => width = Some(side("W", value)?),
                "H" => height = Some(side("H", value)?),
                "F" => fps = Some(rate(value)?),
                "I" => interlacing(value)?,
                "C" => (layout, color.siting) = colour_space(value)?,
                "X" if value == "COLORRANGE=FULL" => color.range = Range::Full,
                "X" if value == "COLORRANGE=LIMITED" => color.range = Range::Limited,
                // Unknown words are for others.
                _ => {}
            }
        }
        let (Some(width), Some(height)) = (width, height) else {
            return Err("the Y4M header names no width (W) or no height (H)".to_owned());
        };
        let size = Size::new(width, height);
        if size.pixels() > MAX_PIXELS {
            return Err(format!("the Y4M header announces {size} pixels, more than 64 megapixels"));
        }
        Ok(Self { format: PictureFormat { layout, size, color }, fps: fps.flatten() })
    }
}

fn side(tag: &str, value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(side @ 1..=MAX_SIDE) => Ok(side),
        _ => Err(format!("{tag}{value} in the Y4M header: expected 1 to {MAX_SIDE}")),
    }
}

fn rate(value: &str) -> Result<Option<f64>, String> {
    let parsed = value.split_once(':').and_then(|(n, d)| Some((n.parse::<u32>().ok()?, d.parse::<u32>().ok()?)));
    match parsed {
        Some((0, _) | (_, 0)) => Ok(None),
        Some((numerator, denominator)) => Ok(Some(f64::from(numerator) / f64::from(denominator))),
        None => Err(format!("F{value} in the Y4M header: expected frames and seconds, as in F30000:1001")),
    }
}

fn colour_space(value: &str) -> Result<(Layout, Siting), String> {
    Ok(match value {
        "420jpeg" | "420" => (Layout::YU12, Siting::Center),
        // PAL-DV puts each chroma line on a luma line, which nothing here tells apart: half a line at most.
        "420mpeg2" | "420paldv" => (Layout::YU12, Siting::Left),
        "411" => (Layout::Planar { h: 4, v: 1 }, Siting::Left),
        "422" => (Layout::Planar { h: 2, v: 1 }, Siting::Left),
        "444" => (Layout::Planar { h: 1, v: 1 }, Siting::Left),
        "mono" => (Layout::Grey, Siting::Left),
        other => return Err(refused_space(other)),
    })
}

/// Why the colour space is not taken, and how ffmpeg makes one that is.
fn refused_space(space: &str) -> String {
    let sampling = ["420", "411", "422", "444"].into_iter().find(|sampling| space.starts_with(sampling));
    let is_deep = |start: &str| space[start.len()..].trim_start_matches('p').parse::<u8>().is_ok();
    let (what, instead) = match sampling {
        Some("444") if space == "444alpha" => ("has transparency", "yuv444p".to_owned()),
        Some(sampling) if is_deep(sampling) => ("has more than 8 bits to the sample", format!("yuv{sampling}p")),
        None if space.strip_prefix("mono").is_some_and(|depth| depth.parse::<u8>().is_ok()) => {
            ("has more than 8 bits to the sample", "gray".to_owned())
        }
        _ => ("is not known", "yuv420p".to_owned()),
    };
    format!("colour space C{space} {what}: add -pix_fmt {instead} to ffmpeg's arguments (taken are {COLOUR_SPACES})")
}

/// Frames whose lines are of two moments, in turns, are no pictures.
fn interlacing(value: &str) -> Result<(), String> {
    match value {
        "t" | "b" | "m" => Err(format!(
            "I{value} in the Y4M header: the frames are interlaced, lines of two moments in turns; add -vf yadif to ffmpeg's arguments"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::window::tests::Drip;
    use super::*;

    fn parse(line: &str) -> Result<Header, String> {
        Header::parse(line.as_bytes())
    }

    #[test]
    fn headers_are_read() {
        let header =
            parse("YUV4MPEG2 W640 H480 F30000:1001 Ip A1:1 C420mpeg2 XYSCSS=420MPEG2 XCOLORRANGE=FULL").unwrap();
        assert_eq!(header.format.size, Size::new(640, 480));
        assert_eq!((header.format.layout, header.format.color.siting), (Layout::YU12, Siting::Left));
        assert_eq!(header.format.color.range, Range::Full);
        assert!((header.fps.unwrap() - 29.97).abs() < 0.001);
        let header = parse("YUV4MPEG2 H3 W5").unwrap();
        assert_eq!((header.format.layout, header.format.color.siting), (Layout::YU12, Siting::Center));
        assert_eq!((header.format.color.range, header.fps), (Range::Limited, None));
        assert_eq!(header.format.layout.bytes(header.format.size), 15 + 2 * 3 * 2);
        for (space, layout, bytes) in [
            ("C420jpeg", Layout::YU12, 27),
            ("C420paldv", Layout::YU12, 27),
            ("C420", Layout::YU12, 27),
            ("C411", Layout::Planar { h: 4, v: 1 }, 27),
            ("C422", Layout::Planar { h: 2, v: 1 }, 33),
            ("C444", Layout::Planar { h: 1, v: 1 }, 45),
            ("Cmono", Layout::Grey, 15),
        ] {
            let header = parse(&format!("YUV4MPEG2 W5 H3 {space}")).unwrap();
            assert_eq!(
                (header.format.layout, header.format.layout.bytes(header.format.size)),
                (layout, bytes),
                "{space}"
            );
        }
    }

    #[test]
    fn what_is_not_taken_is_refused_with_the_option_of_ffmpeg_that_helps() {
        for (words, option) in [
            ("C420p10", "-pix_fmt yuv420p "),
            ("C422p12", "-pix_fmt yuv422p "),
            ("C444p16", "-pix_fmt yuv444p "),
            ("C444alpha", "-pix_fmt yuv444p "),
            ("Cmono10", "-pix_fmt gray "),
            ("Cmono16", "-pix_fmt gray "),
            ("C410", "-pix_fmt yuv420p "),
            ("C440", "-pix_fmt yuv420p "),
            ("C", "-pix_fmt yuv420p "),
            ("Cm\u{f6}no", "-pix_fmt yuv420p "),
            ("It", "-vf yadif "),
            ("Ib", "-vf yadif "),
            ("Im C420", "-vf yadif "),
        ] {
            let error = parse(&format!("YUV4MPEG2 W4 H4 {words}")).unwrap_err();
            assert!(error.contains(option) && error.contains(words.split(' ').next().unwrap()), "{error}");
        }
        for words in ["Ip", "I?", "I"] {
            assert!(parse(&format!("YUV4MPEG2 W4 H4 {words}")).is_ok(), "{words}");
        }
    }

    #[test]
    fn a_second_header_is_passed_over_where_it_says_the_same_and_refused_where_it_does_not() {
        let stream = |second: &str| format!("YUV4MPEG2 W4 H2 Cmono\nFRAME\nabcdefgh{second}FRAME\nijklmnop");
        let frames = |second: &str| {
            let bytes = stream(second);
            let mut frames = Frames::open(Window::new(bytes.as_bytes())).unwrap();
            let mut frame = Vec::new();
            assert_eq!(frames.next(&mut frame).unwrap(), Item::Frame);
            frames.next(&mut frame).map(|item| (item, frame))
        };
        let good = (Item::Frame, b"ijklmnop".to_vec());
        assert_eq!(frames("YUV4MPEG2 W4 H2 F30:1 Cmono\n").unwrap(), good);
        assert_eq!(frames(&"YUV4MPEG2 W4 H2 Cmono\n".repeat(3)).unwrap(), good);
        let size = frames("YUV4MPEG2 W8 H1 Cmono\n").unwrap_err().to_string();
        assert!(size.contains("its size from 4x2 to 8x1"), "{size}");
        let space = frames("YUV4MPEG2 W4 H2 C420\n").unwrap_err().to_string();
        assert!(space.contains("its colour space"), "{space}");
        assert!(matches!(frames("YUV4MPEG2 W0 H2\n").unwrap().0, Item::Broken { .. }));
    }

    #[test]
    fn a_pipe_gives_the_same_as_a_file_however_it_is_cut() {
        let frame = |value: u8| [b"FRAME\n".as_slice(), &[value; 8]].concat();
        let bytes = [b"YUV4MPEG2 W4 H2 F25:1 Cmono\n", &frame(1)[..], b"??", &frame(2), &frame(3)[..9]].concat();
        for step in [1, 3, 5, 1000] {
            let mut frames = Frames::open(Window::new(Drip(&bytes, step))).unwrap();
            let mut frame = Vec::new();
            let mut next = || (frames.next(&mut frame).unwrap(), frame.first().copied());
            assert_eq!(next(), (Item::Frame, Some(1)), "{step}");
            assert!(matches!(next(), (Item::Broken { offset: 42, .. }, _)));
            assert_eq!(next(), (Item::Frame, Some(2)));
            assert!(matches!(next().0, Item::Broken { offset: 58, reason } if reason.contains("3 of the frame's 8")));
            assert_eq!(next().0, Item::End);
        }
    }
}
