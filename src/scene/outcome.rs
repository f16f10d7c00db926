//! [`Outcome`]: what one frame came to, and how it got there.

use std::sync::Arc;

use jiff::Timestamp;
use model::Edition;
use pixels::frame::Size;
use pixels::segment::Summary;

use super::rules::Verdict;
use super::Areas;
use crate::telemetry::Journey;

/// What one frame came to. It is the whole product of the pipeline: sinks read it, and work nothing out themselves. One value
/// is filled again for every frame, so that nothing is allocated.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The model that the frame went through. Class ids, areas and rules are in its terms.
    pub edition: Arc<Edition>,
    /// Number of the frame as its source counts them.
    pub sequence: u64,
    /// When the picture was taken.
    pub time: Timestamp,
    /// Size of the class map, and of the picture where there is one.
    pub size: Size,
    /// Class id per pixel, row by row.
    pub mask: Vec<u8>,
    /// The picture in RGB, when a sink asked for it; otherwise whatever an earlier frame left here.
    pub(crate) picture: Vec<u8>,
    pub(crate) has_picture: bool,
    /// Pixels per class, and confidence.
    pub summary: Summary,
    /// How much each class and each group covers.
    pub areas: Areas,
    /// What each rule says, in the order of their names.
    pub rules: Vec<Verdict>,
    /// How the frame got here.
    pub journey: Journey,
}

impl Outcome {
    /// An outcome to be filled, of a class map without pixels.
    pub fn empty(edition: Arc<Edition>) -> Self {
        Self {
            areas: Areas::of(&edition.labels, &Summary::default()),
            edition,
            sequence: 0,
            time: Timestamp::UNIX_EPOCH,
            size: Size::new(0, 0),
            mask: Vec::new(),
            picture: Vec::new(),
            has_picture: false,
            summary: Summary::default(),
            rules: Vec::new(),
            journey: Journey::default(),
        }
    }

    /// The picture in RGB at the class map's size, when a sink asked for it.
    pub fn picture(&self) -> Option<&[u8]> {
        self.has_picture.then_some(self.picture.as_slice())
    }

    /// What the rule called `name` says; None where there is no such rule.
    pub fn rule(&self, name: &str) -> Option<&Verdict> {
        self.rules.iter().find(|verdict| verdict.name == name)
    }
}
