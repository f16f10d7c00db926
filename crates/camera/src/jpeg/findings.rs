//! What was found while a picture was decoded, which of it is damage, and how it is told.
//! Counting it is left to `native/jpeg.c`.

use std::fmt;

/// What the decoder came upon in one picture: libjpeg's warnings, counted by their codes, and what libjpeg fills in without a
/// warning. `struct pspnetd_jpeg_findings` of `native/jpeg.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub(super) extraneous: u32,
    pub(super) extraneous_bytes: u32,
    pub(super) odd_header: u32,
    pub(super) ended_early: u32,
    pub(super) bad_codes: u32,
    pub(super) out_of_step: u32,
    pub(super) inconsistent_scans: u32,
    pub(super) other: u32,
    pub(super) other_code: u32,
    pub(super) without_end: u32,
    pub(super) missing_scans: u32,
    pub(super) decoded_padding: u32,
    pub(super) surplus_intervals: u32,
    pub(super) without_quantisation: u32,
    pub(super) unknown_end: u32,
}

impl Findings {
    /// Whether pixels are missing or wrong. The rest is harmless: the picture is whole, whatever stands between its parts.
    pub fn is_damage(&self) -> bool {
        self.damage().iter().any(|&(count, ..)| count > 0)
    }

    /// What is damage: how often, in words, and libjpeg's name of the warning where it is one.
    fn damage(&self) -> [(u32, &'static str, &'static str); 10] {
        [
            (self.ended_early, "the data end before the picture does", "JWRN_HIT_MARKER"),
            (self.bad_codes, "codes that don't exist", "JWRN_HUFF_BAD_CODE"),
            (self.out_of_step, "restart markers are missing or out of order", "JWRN_MUST_RESYNC"),
            (self.inconsistent_scans, "scans don't fit together", "JWRN_BOGUS_PROGRESSION"),
            (self.other, "a warning of libjpeg that isn't known here", ""),
            (self.missing_scans, "scans are missing", ""),
            (self.decoded_padding, "the data end before the picture does, and zero bytes follow", ""),
            (self.surplus_intervals, "there are more restart intervals than the picture has", ""),
            (self.without_quantisation, "quantisation tables are missing", ""),
            (self.unknown_end, "there is no end marker, without which the data may be cut", ""),
        ]
    }

    /// What is harmless, as [`Self::damage`].
    fn oddities(&self) -> [(u32, &'static str, &'static str); 3] {
        [
            (self.extraneous, "stray bytes in front of a marker", "JWRN_EXTRANEOUS_DATA"),
            (self.odd_header, "unusual values in the header", ""),
            (self.without_end, "no end marker", ""),
        ]
    }
}

/// What is damage, in words; then what else was found.
impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        for (group, start) in [(&self.damage()[..], "damaged: "), (&self.oddities()[..], "besides: ")] {
            let mut start = start;
            for &(count, words, code) in group.iter().filter(|&&(count, ..)| count > 0) {
                write!(f, "{before}{start}{words}")?;
                match (code, count) {
                    ("", _) => {}
                    (_, 1) => write!(f, " ({code})")?,
                    _ => write!(f, " ({code}, {count} times)")?,
                }
                (before, start) = ("; ", "");
            }
        }
        match self.other {
            0 => Ok(()),
            _ => write!(f, "; its code is {}", self.other_code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_comes_first_with_libjpegs_names_and_how_often() {
        let mut findings = Findings { extraneous: 3, without_end: 1, odd_header: 1, ..Findings::default() };
        assert!(!findings.is_damage());
        assert_eq!(
            findings.to_string(),
            "besides: stray bytes in front of a marker (JWRN_EXTRANEOUS_DATA, 3 times); unusual values in the header; \
             no end marker"
        );
        (findings.odd_header, findings.extraneous, findings.ended_early, findings.out_of_step) = (0, 1, 1, 7);
        assert!(findings.is_damage());
        assert_eq!(
            findings.to_string(),
            "damaged: the data end before the picture does (JWRN_HIT_MARKER); restart markers are missing or out of order \
             (JWRN_MUST_RESYNC, 7 times); besides: stray bytes in front of a marker (JWRN_EXTRANEOUS_DATA); no end marker"
        );
    }

    #[test]
    fn what_is_not_known_is_damage_and_is_told_by_its_number() {
        let findings = Findings { other: 1, other_code: 130, ..Findings::default() };
        assert!(findings.is_damage());
        assert_eq!(findings.to_string(), "damaged: a warning of libjpeg that isn't known here; its code is 130");
        assert_eq!(Findings::default().to_string(), "");
    }
}
