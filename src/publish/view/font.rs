//! Letters of 5 by 7 dots, for the few words that are drawn into a picture: capitals, digits, and what stands in a time.

/// Dots from one letter's left edge to the next one's.
pub(super) const PITCH: usize = 6;
/// Dots from one line's upper edge to the next one's.
pub(super) const LINE: usize = 12;
/// Dots of a letter's height.
pub(super) const HEIGHT: usize = 7;

/// The dots of a letter that has none of its own here.
const UNKNOWN: [u8; 5] = [0x7F, 0x41, 0x41, 0x41, 0x7F];

/// Five columns each, from the left; the lowest bit is the top.
const LETTERS: [[u8; 5]; 26] = [
    [0x7E, 0x11, 0x11, 0x11, 0x7E],
    [0x7F, 0x49, 0x49, 0x49, 0x36],
    [0x3E, 0x41, 0x41, 0x41, 0x22],
    [0x7F, 0x41, 0x41, 0x22, 0x1C],
    [0x7F, 0x49, 0x49, 0x49, 0x41],
    [0x7F, 0x09, 0x09, 0x09, 0x01],
    [0x3E, 0x41, 0x49, 0x49, 0x7A],
    [0x7F, 0x08, 0x08, 0x08, 0x7F],
    [0x00, 0x41, 0x7F, 0x41, 0x00],
    [0x20, 0x40, 0x41, 0x3F, 0x01],
    [0x7F, 0x08, 0x14, 0x22, 0x41],
    [0x7F, 0x40, 0x40, 0x40, 0x40],
    [0x7F, 0x02, 0x0C, 0x02, 0x7F],
    [0x7F, 0x04, 0x08, 0x10, 0x7F],
    [0x3E, 0x41, 0x41, 0x41, 0x3E],
    [0x7F, 0x09, 0x09, 0x09, 0x06],
    [0x3E, 0x41, 0x51, 0x21, 0x5E],
    [0x7F, 0x09, 0x19, 0x29, 0x46],
    [0x46, 0x49, 0x49, 0x49, 0x31],
    [0x01, 0x01, 0x7F, 0x01, 0x01],
    [0x3F, 0x40, 0x40, 0x40, 0x3F],
    [0x1F, 0x20, 0x40, 0x20, 0x1F],
    [0x3F, 0x40, 0x38, 0x40, 0x3F],
    [0x63, 0x14, 0x08, 0x14, 0x63],
    [0x07, 0x08, 0x70, 0x08, 0x07],
    [0x61, 0x51, 0x49, 0x45, 0x43],
];

/// As [`LETTERS`].
const DIGITS: [[u8; 5]; 10] = [
    [0x3E, 0x51, 0x49, 0x45, 0x3E],
    [0x00, 0x42, 0x7F, 0x40, 0x00],
    [0x42, 0x61, 0x51, 0x49, 0x46],
    [0x21, 0x41, 0x45, 0x4B, 0x31],
    [0x18, 0x14, 0x12, 0x7F, 0x10],
    [0x27, 0x45, 0x45, 0x45, 0x39],
    [0x3C, 0x4A, 0x49, 0x49, 0x30],
    [0x01, 0x71, 0x09, 0x05, 0x03],
    [0x36, 0x49, 0x49, 0x49, 0x36],
    [0x06, 0x49, 0x49, 0x29, 0x1E],
];

/// The dots of `text`, a line from the left, as column and row from its upper left corner. Small letters are drawn as capitals.
pub(super) fn dots(text: &str) -> impl Iterator<Item = (usize, usize)> + '_ {
    text.chars().enumerate().flat_map(|(at, letter)| {
        columns(letter).into_iter().enumerate().flat_map(move |(column, bits)| {
            (0..HEIGHT).filter(move |row| bits >> row & 1 == 1).map(move |row| (at * PITCH + column, row))
        })
    })
}

fn columns(letter: char) -> [u8; 5] {
    let of = |table: &[[u8; 5]], first: u8| {
        let place = u8::try_from(letter.to_ascii_uppercase()).ok()?.checked_sub(first)?;
        table.get(usize::from(place)).copied()
    };
    match letter {
        ' ' => [0; 5],
        ':' => [0x00, 0x36, 0x36, 0x00, 0x00],
        '-' => [0x08; 5],
        _ => of(&LETTERS, b'A').or_else(|| of(&DIGITS, b'0')).unwrap_or(UNKNOWN),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn drawn(text: &str) -> Vec<String> {
        let dots: BTreeSet<_> = dots(text).collect();
        let row = |row| {
            (0..text.chars().count() * PITCH)
                .map(|x| if dots.contains(&(x, row)) { '#' } else { ' ' })
                .collect::<String>()
        };
        (0..HEIGHT).map(|y| row(y).trim_end().to_owned()).collect()
    }

    #[test]
    fn a_text_is_drawn_from_the_left() {
        let expected = [
            " ###          #   #####",
            "#   #  ##    ##   #",
            "#   #  ##     #   ####",
            "#   #         #       #",
            "#####  ##     #       #",
            "#   #  ##     #   #   #",
            "#   #        ###   ###",
        ];
        assert_eq!(drawn("A:15"), expected);
        assert_eq!(drawn("a:15"), drawn("A:15"));
    }

    #[test]
    fn no_two_letters_look_the_same_and_what_is_unknown_is_a_box() {
        let known: Vec<char> = ('A'..='Z').chain('0'..='9').chain([' ', ':', '-']).collect();
        let shapes: BTreeSet<[u8; 5]> = known.iter().map(|&letter| columns(letter)).collect();
        assert_eq!(shapes.len(), known.len());
        for unknown in ['é', '{', '@', '/', '[', '\u{1F4F7}', '\n'] {
            assert_eq!(columns(unknown), UNKNOWN, "{unknown:?}");
        }
        assert!(!shapes.contains(&UNKNOWN));
    }
}
