//! What a pass must know of the pictures that it takes.

use crate::frame::{Picture, PictureFormat};
use crate::orientation::Orientation;

/// The pictures that a pass takes: what they are, and how they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The picture as it is stored.
    pub format: PictureFormat,
    /// How it is turned upright.
    pub orientation: Orientation,
}

impl From<PictureFormat> for Source {
    /// Pictures that lie upright.
    fn from(format: PictureFormat) -> Self {
        Self { format, orientation: Orientation::UPRIGHT }
    }
}

impl From<&Picture<'_>> for Source {
    fn from(picture: &Picture<'_>) -> Self {
        Self { format: picture.format(), orientation: picture.orientation() }
    }
}
