//! What the predictor and its process say to each other. A picture and a mask don't go through it: they lie in memory that comes
//! with the request.

use std::time::Duration;

use pixels::frame::Size;
use pixels::preprocess::{Fit, Normalisation};
use pixels::segment::Summary;
use serde::{Deserialize, Serialize};

use crate::one_picture::StepTimes;

/// What the process must know before the first picture.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct Settings {
    /// How a picture fits the model's input.
    pub(super) fit: Fit,
    /// What the model's input was trained on, where its manifest says so.
    pub(super) normalisation: Option<Normalisation>,
    /// The colour of each class.
    pub(super) palette: Vec<[u8; 3]>,
    /// The most pixels that a picture may have.
    pub(super) max_pixels: usize,
}

/// What is made of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(in crate::http) enum Wanted {
    /// Class areas and more, as JSON. The request comes with one descriptor: the picture.
    Figures,
    /// The class map as a palette PNG. The request comes with a second descriptor: where it is written to.
    Mask,
}

/// What became of a picture.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) enum Reply {
    /// What was wanted.
    Made(Made),
    /// The picture is larger than is taken: what it has.
    TooLarge(String),
    /// There is no memory for the picture now.
    NoMemory(String),
    /// The picture can't be decoded: why.
    Broken(String),
    /// It is not the picture's fault, as far as is known: why.
    Failed(String),
}

/// Figures of a picture that was run.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct Made {
    width: usize,
    height: usize,
    /// Pixels of each class id.
    counts: Vec<u64>,
    confidence: Option<f32>,
    /// Conversion, inference and decoding.
    nanoseconds: [u64; 3],
    /// How long the mask's PNG is; 0 where none was wanted.
    pub(super) mask_bytes: usize,
}

/// The same, as far as it can be true.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub(super) size: Size,
    pub(super) summary: Summary,
    pub(super) times: StepTimes,
}

impl Made {
    /// Figures of a picture of `size`.
    pub(super) fn new(size: Size, summary: &Summary, times: StepTimes, mask_bytes: usize) -> Self {
        let nanoseconds = [times.convert, times.infer, times.decode];
        Self {
            width: size.width,
            height: size.height,
            counts: summary.counts.into(),
            confidence: summary.confidence,
            nanoseconds: nanoseconds.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
            mask_bytes,
        }
    }

    /// The figures; None where no picture of at most `max_pixels` can have them, and no mask `max_mask` bytes. No time is longer
    /// than `limit`.
    pub(super) fn checked(&self, max_pixels: usize, max_mask: usize, limit: Duration) -> Option<Figures> {
        let pixels = self.width.checked_mul(self.height).filter(|&pixels| pixels <= max_pixels)?;
        let counts: [u64; 256] = self.counts.as_slice().try_into().ok()?;
        let sum = counts.iter().try_fold(0u64, |sum, &count| sum.checked_add(count));
        let is_share = self.confidence.is_none_or(|confidence| (0.0..=1.0).contains(&confidence));
        if sum != Some(pixels as u64) || !is_share || self.mask_bytes > max_mask {
            return None;
        }
        let [convert, infer, decode] = self.nanoseconds.map(|time| Duration::from_nanos(time).min(limit));
        Some(Figures {
            size: Size::new(self.width, self.height),
            summary: Summary { counts, confidence: self.confidence },
            times: StepTimes { convert, infer, decode },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    fn made() -> Made {
        let mut summary = Summary { confidence: Some(0.5), ..Summary::default() };
        summary.counts[3] = 12;
        Made::new(Size::new(4, 3), &summary, StepTimes::default(), 7)
    }

    #[test]
    fn figures_come_back_as_they_went() {
        let reply = Reply::Made(made());
        let bytes = serde_json::to_vec(&reply).unwrap();
        assert_eq!(serde_json::from_slice::<Reply>(&bytes).unwrap(), reply);
        let figures = made().checked(12, 7, LIMIT).unwrap();
        assert_eq!((figures.size, figures.summary.counts[3]), (Size::new(4, 3), 12));
    }

    #[test]
    fn figures_that_no_picture_has_are_none() {
        let counts = |counts: Vec<u64>| Made { counts, ..made() };
        let two = [vec![u64::MAX, 13], vec![0; 254]].concat();
        for (made, what) in [
            (Made { width: usize::MAX, ..made() }, "a width that overflows"),
            (Made { width: 5, ..made() }, "more pixels than classes"),
            (counts(vec![12]), "too few classes"),
            (counts(two), "a sum that overflows"),
            (Made { confidence: Some(1.5), ..made() }, "more than sure"),
            (Made { confidence: Some(f32::NAN), ..made() }, "no number"),
            (Made { mask_bytes: 8, ..made() }, "a mask that is too long"),
        ] {
            assert!(made.checked(100, 7, LIMIT).is_none(), "{what}");
        }
        assert!(made().checked(11, 7, LIMIT).is_none(), "too many pixels");
    }
}
