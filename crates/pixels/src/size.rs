//! Width and height.

use std::fmt;
use std::str::FromStr;

use base::text_value;

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Size {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Size {
    /// A size of `width` by `height` pixels.
    pub const fn new(width: usize, height: usize) -> Self {
        Self { width, height }
    }

    /// Number of pixels.
    pub const fn pixels(self) -> usize {
        self.width * self.height
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const LIMIT: std::ops::RangeInclusive<usize> = 1..=16_384;
        text.split_once('x')
            .and_then(|(w, h)| Some(Size::new(w.parse().ok()?, h.parse().ok()?)))
            .filter(|size| LIMIT.contains(&size.width) && LIMIT.contains(&size.height))
            .ok_or_else(|| format!("size {text:?}: expected WIDTHxHEIGHT, each 1 to 16384, such as 640x480"))
    }
}

text_value!([] Size);
