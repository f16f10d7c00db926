//! How a picture lies in memory, and how it is turned upright: `camera.rotate`, `camera.flip`, EXIF.
//!
//! Turning pixels is left to `preprocess`, which does it on the way into the tensor.

use std::fmt;
use std::str::FromStr;

use base::values::Text;
use serde::{de, Deserialize, Deserializer, Serialize, Serializer};

use crate::size::Size;

/// How the upright picture comes of the stored one: rows become columns or not, then left and right are exchanged or not,
/// then top and bottom. Those are all eight ways in which a rectangle can lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Orientation {
    swap: bool,
    mirror_x: bool,
    mirror_y: bool,
}

impl Orientation {
    /// The stored picture is upright.
    pub const UPRIGHT: Self = Self { swap: false, mirror_x: false, mirror_y: false };

    /// All of them.
    pub const ALL: [Self; 8] = {
        let mut all = [Self::UPRIGHT; 8];
        let mut bits = 0;
        while bits < 8 {
            all[bits] = Self { swap: bits & 1 != 0, mirror_x: bits & 2 != 0, mirror_y: bits & 4 != 0 };
            bits += 1;
        }
        all
    };

    /// First the rotation, then the flip.
    pub const fn new(rotate: Rotate, flip: Flip) -> Self {
        let (swap, mirror_x, mirror_y) = match rotate {
            Rotate::None => (false, false, false),
            Rotate::Right => (true, true, false),
            Rotate::Half => (false, true, true),
            Rotate::Left => (true, false, true),
        };
        match flip {
            Flip::Off => Self { swap, mirror_x, mirror_y },
            Flip::Horizontal => Self { swap, mirror_x: !mirror_x, mirror_y },
            Flip::Vertical => Self { swap, mirror_x, mirror_y: !mirror_y },
        }
    }

    /// The orientation with this number in EXIF (CIPA DC-008, tag 0x0112). `None` for numbers that it doesn't define.
    pub const fn from_exif(number: u16) -> Option<Self> {
        let (swap, mirror_x, mirror_y) = match number {
            1 => (false, false, false),
            2 => (false, true, false),
            3 => (false, true, true),
            4 => (false, false, true),
            5 => (true, false, false),
            6 => (true, true, false),
            7 => (true, true, true),
            8 => (true, false, true),
            _ => return None,
        };
        Some(Self { swap, mirror_x, mirror_y })
    }

    /// This orientation, and then the other.
    #[must_use]
    pub const fn then(self, next: Self) -> Self {
        let (mirror_x, mirror_y) =
            if next.swap { (self.mirror_y, self.mirror_x) } else { (self.mirror_x, self.mirror_y) };
        Self { swap: self.swap != next.swap, mirror_x: mirror_x != next.mirror_x, mirror_y: mirror_y != next.mirror_y }
    }

    /// Whether rows of the stored picture are columns of the upright one.
    pub const fn is_swapped(self) -> bool {
        self.swap
    }

    /// Whether left and right are exchanged, after rows and columns are.
    pub const fn is_mirrored_across(self) -> bool {
        self.mirror_x
    }

    /// Whether top and bottom are exchanged, after rows and columns are.
    pub const fn is_mirrored_down(self) -> bool {
        self.mirror_y
    }

    /// The size of the upright picture of a stored one of `size`, and the other way round.
    #[must_use]
    pub const fn turn(self, size: Size) -> Size {
        if self.swap {
            Size::new(size.height, size.width)
        } else {
            size
        }
    }

    /// Where in a stored picture of `stored` the pixel `(x, y)` of the upright one lies.
    pub const fn stored_at(self, stored: Size, (x, y): (usize, usize)) -> (usize, usize) {
        let Size { width, height } = self.turn(stored);
        let x = if self.mirror_x { width - 1 - x } else { x };
        let y = if self.mirror_y { height - 1 - y } else { y };
        if self.swap {
            (y, x)
        } else {
            (x, y)
        }
    }
}

/// Degrees by which a picture is turned clockwise to be upright.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rotate {
    /// 0
    #[default]
    None,
    /// 90
    Right,
    /// 180
    Half,
    /// 270
    Left,
}

impl Rotate {
    const fn degrees(self) -> u16 {
        match self {
            Self::None => 0,
            Self::Right => 90,
            Self::Half => 180,
            Self::Left => 270,
        }
    }
}

impl fmt::Display for Rotate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.degrees().fmt(f)
    }
}

impl FromStr for Rotate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "0" => Ok(Self::None),
            "90" => Ok(Self::Right),
            "180" => Ok(Self::Half),
            "270" => Ok(Self::Left),
            _ => Err(format!("rotation {text:?}: expected 0, 90, 180 or 270, degrees clockwise")),
        }
    }
}

impl<'de> Deserialize<'de> for Rotate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Rotate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.degrees())
    }
}

/// How a picture is mirrored after it was turned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Flip {
    /// Not at all.
    #[default]
    Off,
    /// Left and right are exchanged.
    Horizontal,
    /// Top and bottom are exchanged.
    Vertical,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The letters of an upright picture of a stored one, row by row.
    fn upright(stored: &[&str], orientation: Orientation) -> Vec<String> {
        let size = Size::new(stored[0].len(), stored.len());
        let Size { width, height } = orientation.turn(size);
        let letter = |x, y| {
            let (x, y) = orientation.stored_at(size, (x, y));
            char::from(stored[y].as_bytes()[x])
        };
        (0..height).map(|y| (0..width).map(|x| letter(x, y)).collect()).collect()
    }

    const STORED: [&str; 2] = ["abc", "def"];

    #[test]
    fn rotations_are_clockwise_and_come_before_the_flip() {
        for (rotate, flip, expected) in [
            (Rotate::None, Flip::Off, &["abc", "def"][..]),
            (Rotate::Right, Flip::Off, &["da", "eb", "fc"]),
            (Rotate::Half, Flip::Off, &["fed", "cba"]),
            (Rotate::Left, Flip::Off, &["cf", "be", "ad"]),
            (Rotate::None, Flip::Horizontal, &["cba", "fed"]),
            (Rotate::None, Flip::Vertical, &["def", "abc"]),
            (Rotate::Right, Flip::Horizontal, &["ad", "be", "cf"]),
            (Rotate::Left, Flip::Vertical, &["ad", "be", "cf"]),
        ] {
            assert_eq!(upright(&STORED, Orientation::new(rotate, flip)), expected, "{rotate} {flip:?}");
        }
    }

    #[test]
    fn the_numbers_of_exif_are_those_of_its_table() {
        // Where row 0 and column 0 of the stored picture lie in the upright one.
        let expected: [&[&str]; 8] = [
            &["abc", "def"],
            &["cba", "fed"],
            &["fed", "cba"],
            &["def", "abc"],
            &["ad", "be", "cf"],
            &["da", "eb", "fc"],
            &["fc", "eb", "da"],
            &["cf", "be", "ad"],
        ];
        for (number, expected) in (1..).zip(expected) {
            assert_eq!(upright(&STORED, Orientation::from_exif(number).unwrap()), expected, "{number}");
        }
        assert_eq!([0, 9, 65535].map(Orientation::from_exif), [None; 3]);
    }

    #[test]
    fn one_after_the_other_is_what_their_sum_gives() {
        for first in Orientation::ALL {
            for second in Orientation::ALL {
                let between = upright(&STORED, first);
                let rows: Vec<&str> = between.iter().map(String::as_str).collect();
                assert_eq!(upright(&rows, second), upright(&STORED, first.then(second)), "{first:?} {second:?}");
            }
        }
    }

    #[test]
    fn a_rotation_is_read_and_others_are_refused_with_the_list() {
        for degrees in ["0", "90", "180", "270"] {
            assert_eq!(degrees.parse::<Rotate>().unwrap().to_string(), degrees);
        }
        assert!("45".parse::<Rotate>().unwrap_err().contains("0, 90, 180 or 270"));
    }
}
