//! The configured size of the class map.

use std::fmt;
use std::str::FromStr;

use base::text_value;

use crate::frame::Size;

/// Size of the class map: `picture` (the camera's own), or `WxH`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaskSize {
    /// As large as the camera's picture.
    #[default]
    Picture,
    /// This size.
    Fixed(Size),
}

impl FromStr for MaskSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "picture" => Ok(Self::Picture),
            _ => text.parse().map(Self::Fixed).map_err(|reason: String| format!("{reason}, or picture")),
        }
    }
}

impl fmt::Display for MaskSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Picture => f.write_str("picture"),
            Self::Fixed(size) => size.fmt(f),
        }
    }
}

text_value!([] MaskSize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_s_own_size_or_another_is_taken() {
        for text in ["picture", "1x1"] {
            assert_eq!(text.parse::<MaskSize>().unwrap().to_string(), text);
        }
        for text in ["auto", "0x1"] {
            assert!(text.parse::<MaskSize>().unwrap_err().ends_with("or picture"), "{text}");
        }
    }
}
