//! The test picture: eight colour bars and a white block that moves, for trying the program without a camera.
//! Its pace is left to `paced`.

use std::sync::Arc;

use base::clock::Clock;
use pixels::frame::{Colorimetry, Layout, Matrix, Picture, PictureFormat, Range, Siting, Size};

use super::jpeg::{MAX_PIXELS, MAX_SIDE};
use super::paced::{Advance, Paced, Sequence};
use super::{Camera, CameraError};
use crate::Rate;

/// The bars from left to right as `[R, G, B]`, 75 % of full brightness: white, yellow, cyan, green, magenta, red, blue,
/// black. Bar `i` of a picture `w` wide starts at column `2 * (i * ceil(w / 2) / 8)`.
pub const BARS_RGB: [[u8; 3]; 8] =
    [[191, 191, 191], [191, 191, 0], [0, 191, 191], [0, 191, 0], [191, 0, 191], [191, 0, 0], [0, 0, 191], [0, 0, 0]];

/// The bars as `[Y, U, V]`, BT.601, limited range, rounded from [`BARS_RGB`].
pub const BARS_YUV: [[u8; 3]; 8] = [
    [180, 128, 128],
    [161, 44, 142],
    [131, 156, 44],
    [112, 72, 58],
    [84, 184, 198],
    [65, 100, 212],
    [35, 212, 114],
    [16, 128, 128],
];

/// The moving block: white, `[255, 255, 255]` in RGB.
pub const BLOCK_YUV: [u8; 3] = [235, 128, 128];

/// Frames per second at [`Rate::Native`].
pub const NATIVE_FPS: f64 = 30.0;

/// Smallest side: an eighth of it is the block's, which needs two columns.
const MIN_SIDE: usize = 16;

/// Opens a test picture of `size` that never ends: YUYV, BT.601, limited range.
///
/// The block is an eighth of the picture wide and high. In frame `n` it stands [`block_position`] `(size, n)`.
///
/// # Errors
/// When `size` or `rate` makes no sense.
pub fn open(size: Size, rate: Rate, clock: Arc<dyn Clock>) -> Result<Box<dyn Camera>, CameraError> {
    Ok(Box::new(Paced::new(Pattern::new(size)?, rate, false, clock)?))
}

/// Width and height of the block in a picture of `size`; the width is even.
pub const fn block_size(size: Size) -> Size {
    Size::new(size.width / 16 * 2, size.height / 8)
}

/// Left column (even) and top row of the block in frame `sequence`: it runs to the right by two columns a frame, and
/// starts again one block lower.
pub const fn block_position(size: Size, sequence: u64) -> (usize, usize) {
    let block = block_size(size);
    let columns = ((size.width - block.width) / 2 + 1) as u64;
    let rows = (size.height / block.height) as u64;
    let (x, y) = (sequence % columns, sequence / columns % rows);
    (x as usize * 2, y as usize * block.height)
}

struct Pattern {
    format: PictureFormat,
    /// One row of bars; all rows are alike.
    bars: Vec<u8>,
    pixels: Vec<u8>,
    /// Number of the next frame.
    next: u64,
    /// Where the block stands in `pixels`.
    drawn: Option<(usize, usize)>,
}

impl Pattern {
    fn new(size: Size) -> Result<Self, CameraError> {
        let is_possible = size.width >= MIN_SIDE
            && size.height >= MIN_SIDE
            && size.width <= MAX_SIDE
            && size.height <= MAX_SIDE
            && size.pixels() <= MAX_PIXELS;
        if !is_possible {
            let hint = format!("{MIN_SIDE}x{MIN_SIDE} to {MAX_SIDE}x{MAX_SIDE}, at most 64 megapixels");
            return Err(CameraError::config(format!("pattern:{size}"), "a picture of this size is not possible", hint));
        }
        let color = Colorimetry { matrix: Matrix::Bt601, range: Range::Limited, siting: Siting::Left };
        let format = PictureFormat { layout: Layout::Yuyv, size, color };
        let pairs = size.width.div_ceil(2);
        let bars: Vec<u8> = (0..pairs)
            .flat_map(|pair| {
                // The bar whose first pair, `bar * pairs / 8`, is the last one not after this pair.
                let [y, u, v] = BARS_YUV[((pair + 1) * 8 - 1) / pairs.max(1)];
                [y, u, y, v]
            })
            .collect();
        let pixels = bars.repeat(size.height);
        Ok(Self { format, bars, pixels, next: 0, drawn: None })
    }

    /// Lets `bytes` write every row of the block at `(x, y)`, with the bars that belong there at hand.
    fn fill(&mut self, (x, y): (usize, usize), bytes: impl Fn(&mut [u8], &[u8])) {
        let block = block_size(self.format.size);
        let stride = self.bars.len();
        let columns = x * 2..(x + block.width) * 2;
        for row in y..y + block.height {
            let target = &mut self.pixels[row * stride..][columns.clone()];
            bytes(target, &self.bars[columns.clone()]);
        }
    }
}

impl Sequence for Pattern {
    fn advance(&mut self) -> Result<Advance, CameraError> {
        self.next += 1;
        Ok(Advance::Ready)
    }

    fn picture(&mut self) -> Result<Picture<'_>, String> {
        if let Some(old) = self.drawn {
            self.fill(old, |target, bars| target.copy_from_slice(bars));
        }
        let position = block_position(self.format.size, self.next.saturating_sub(1));
        let [y, u, v] = BLOCK_YUV;
        self.fill(position, |target, _| {
            for pair in target.chunks_exact_mut(4) {
                pair.copy_from_slice(&[y, u, y, v]);
            }
        });
        self.drawn = Some(position);
        Picture::contiguous(self.format, self.bars.len(), &self.pixels).map_err(|error| error.to_string())
    }

    fn rewind(&mut self) -> Result<(), CameraError> {
        self.next = 0;
        Ok(())
    }

    fn native_fps(&self) -> Option<f64> {
        Some(NATIVE_FPS)
    }

    fn name(&self) -> String {
        format!("pattern:{}", self.format.size)
    }

    fn describe(&self) -> String {
        format!("test pattern, {} {}", self.format.size, self.format.layout)
    }

    fn format(&self) -> Option<PictureFormat> {
        Some(self.format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::ManualClock;
    use std::time::Duration;

    #[test]
    fn the_constants_agree_with_bt601() {
        for (rgb, yuv) in BARS_RGB.iter().zip(BARS_YUV).chain([(&[255, 255, 255], BLOCK_YUV)]) {
            let [r, g, b] = rgb.map(|c: u8| f64::from(c) / 255.0);
            let luma = 0.299 * r + 0.587 * g + 0.114 * b;
            let expected = [
                16.0 + 219.0 * luma,
                128.0 + 224.0 * (b - luma) / (2.0 - 2.0 * 0.114),
                128.0 + 224.0 * (r - luma) / (2.0 - 2.0 * 0.299),
            ];
            assert_eq!(yuv.map(f64::from), expected.map(f64::round), "{rgb:?}");
        }
    }

    #[test]
    fn bars_stand_where_the_docs_say_and_the_block_moves() {
        for size in [Size::new(640, 480), Size::new(17, 16), Size::new(101, 37), Size::new(16, 16)] {
            let mut pattern = Pattern::new(size).unwrap();
            for sequence in 0..50 {
                pattern.advance().unwrap();
                let (left, top) = block_position(size, sequence);
                let block = block_size(size);
                let picture = pattern.picture().unwrap();
                for y in 0..size.height {
                    let row = picture.row(0, y);
                    for x in 0..size.width {
                        let is_block =
                            (left..left + block.width).contains(&x) && (top..top + block.height).contains(&y);
                        let bar = (0..8).rev().find(|i| x >= 2 * (i * size.width.div_ceil(2) / 8)).unwrap();
                        let pair = &row[x / 2 * 4..][..4];
                        let found = [pair[x % 2 * 2], pair[1], pair[3]];
                        assert_eq!(
                            found,
                            if is_block { BLOCK_YUV } else { BARS_YUV[bar] },
                            "{size} {sequence} {x},{y}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_block_stays_inside_for_ever() {
        for size in [Size::new(16, 16), Size::new(101, 37), Size::new(640, 480)] {
            let block = block_size(size);
            for sequence in (0..20_000).chain(u64::MAX - 10..=u64::MAX) {
                let (x, y) = block_position(size, sequence);
                assert!(x % 2 == 0 && x + block.width <= size.width && y + block.height <= size.height);
            }
        }
    }

    #[test]
    fn it_runs_at_thirty_frames_per_second() {
        let clock = Arc::new(ManualClock::default());
        let mut camera = open(Size::new(64, 48), Rate::Native, clock.clone()).unwrap();
        let mut sequences = Vec::new();
        for _ in 0..100 {
            let mut take = |frame: &pixels::frame::Frame<'_>| sequences.push(frame.meta.sequence);
            camera.poll(Duration::ZERO, &mut take).unwrap();
            clock.advance(Duration::from_millis(10));
        }
        assert_eq!(sequences, (0..30).collect::<Vec<_>>());
        assert_eq!(camera.describe(), "test pattern, 64x48 YUYV, 30 fps");
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for size in [Size::new(0, 0), Size::new(15, 16), Size::new(16, 20_000), Size::new(16_000, 16_000)] {
            let error = open(size, Rate::Max, Arc::new(ManualClock::default())).err().unwrap();
            assert_eq!(error.kind, crate::CameraErrorKind::Config);
        }
    }
}
