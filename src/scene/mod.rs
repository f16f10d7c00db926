//! What a class map means: how much of the picture each class covers, and what the owner's rules say of that. Its product is
//! one [`Outcome`] per frame, which every sink reads.

mod areas;
mod outcome;
pub mod rules;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

use base::failure::SettingError;
use model::Edition;

pub use areas::{area_of, object, Areas};
pub use outcome::Outcome;
use rules::{OwnRule, RuleBook, Rules};

/// Turns class maps into what they mean, frame after frame.
#[derive(Debug)]
pub struct Scene {
    rules: RuleBook,
    /// The edition that the rules were made for.
    edition: Arc<Edition>,
}

impl Scene {
    /// A scene with the user's `rules`, and those that other sections of the configuration ask for.
    ///
    /// # Errors
    /// When a rule names a class that `edition` doesn't have.
    pub fn new(rules: &Rules, own: Vec<OwnRule>, edition: &Arc<Edition>) -> Result<Self, SettingError> {
        let mut rules = RuleBook::new(rules, own);
        rules.prepare(edition)?;
        Ok(Self { rules, edition: Arc::clone(edition) })
    }

    /// Fills in what the class map of `outcome` means, from its edition and its summary.
    pub fn look(&mut self, outcome: &mut Outcome) {
        if !Arc::ptr_eq(&self.edition, &outcome.edition) {
            self.edition = Arc::clone(&outcome.edition);
            if let Err(error) = self.rules.prepare(&self.edition) {
                // Whoever offers an edition asks first; a rule without its class says nothing.
                log::error!("rules: off: {error}");
                self.rules.clear();
            }
        }
        outcome.areas.measure(&outcome.edition.labels, &outcome.summary);
        self.rules.judge(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::testing::{edition, named};

    #[test]
    fn a_frame_of_another_edition_is_judged_by_the_classes_of_that_edition() {
        let rules: Rules = toml::from_str("[gate]\nclass = 'person'\nabove = 0.5").unwrap();
        let [one, other, without] =
            [["person", "road"], ["road", "person"], ["road", "car"]].map(|names| edition(named(&names)));
        let mut scene = Scene::new(&rules, Vec::new(), &one).unwrap();
        let mut is_on = |edition: &Arc<Edition>, counts: &[(usize, u64)]| {
            let mut outcome = Outcome::empty(Arc::clone(edition)).seen(counts);
            scene.look(&mut outcome);
            outcome.rule("gate").map(|verdict| verdict.judgement.is_on)
        };
        for (edition, counts, expected) in [
            (&one, [(0, 3), (1, 1)], Some(true)),
            (&other, [(0, 3), (1, 1)], Some(false)),
            (&other, [(0, 1), (1, 3)], Some(true)),
            // A rule without its class says nothing, and is back with it.
            (&without, [(0, 1), (1, 3)], None),
            (&one, [(0, 1), (1, 3)], Some(false)),
        ] {
            assert_eq!(is_on(edition, &counts), expected, "{counts:?}");
        }
    }
}
