//! `kind = "area"`: on while a class, or a group of classes, covers enough of the picture.

use base::failure::SettingError;
use base::names::nearest;
use base::values::Fraction;
use model::{Edition, LabelMap};
use serde::{Deserialize, Serialize};

use crate::scene::{Outcome, area_of};
use super::{Judgement, Rule, RuleKind};

/// Names that a message lists at most.
const LISTED: usize = 20;

/// What the rule looks for.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The class, or else the group of classes.
    pub class: String,
    /// The share of the picture, more than 0 and up to 1, from which on the rule is on.
    pub above: Fraction,
}

impl Default for Settings {
    fn default() -> Self {
        Self { class: String::new(), above: Fraction(0.1) }
    }
}

impl RuleKind for Settings {
    fn rule(&self, edition: &Edition, key: &dyn Fn(&'static str) -> String) -> Result<Box<dyn Rule>, SettingError> {
        let classes = find(&self.class, &edition.labels)
            .map_err(|reason| SettingError::new(key("class"), format!("{:?}", self.class), reason))?;
        Ok(Box::new(Area { classes, above: self.above.0 }))
    }
}

/// The rule for one edition.
#[derive(Debug)]
struct Area {
    classes: Vec<u8>,
    above: f64,
}

impl Rule for Area {
    fn judge(&mut self, outcome: &Outcome) -> Judgement {
        let share = area_of(&self.classes, &outcome.summary);
        Judgement { is_on: share >= self.above, share }
    }
}

/// The ids of the class, or else of the group's classes, called `name`; otherwise the nearest name that there is.
fn find(name: &str, labels: &LabelMap) -> Result<Vec<u8>, String> {
    let class = (0..=u8::MAX).zip(labels.names()).find(|(_, class)| *class == name).map(|(id, _)| vec![id]);
    let group = || labels.groups().iter().find(|group| group.name == name).map(|group| group.classes.clone());
    class.or_else(group).ok_or_else(|| {
        let groups = labels.groups().iter().map(|group| &group.name).filter(|group| !labels.names().contains(group));
        let names: Vec<String> = labels.names().iter().chain(groups).cloned().collect();
        let hint = nearest(name, &names).map_or_else(
            || {
                let more = if names.len() > LISTED { ", …" } else { "" };
                format!("it has {}{more}", names.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", "))
            },
            |near| format!("did you mean {near}?"),
        );
        if name.is_empty() {
            return format!("expected a class or a group of the model; {hint}");
        }
        format!("the model has no class or group of that name; {hint}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::testing::{classes, judged, named};

    fn labels() -> LabelMap {
        named(&["person/alive", "road/flat", "dog/alive", "alive/flat"])
    }

    #[test]
    fn a_class_or_a_group_is_found_and_a_class_comes_first() {
        let found = ["dog", "flat", "alive"].map(|name| find(name, &labels()).unwrap());
        assert_eq!(found, [vec![2], vec![1, 3], vec![3]]);
    }

    #[test]
    fn an_unknown_class_is_refused_with_the_nearest() {
        let said = |name, labels: &LabelMap| find(name, labels).unwrap_err();
        assert_eq!(
            said("persn", &labels()),
            "the model has no class or group of that name; did you mean person?"
        );
        assert!(said("zebra", &labels()).ends_with("it has person, road, dog, alive, flat"));
        assert!(said("", &labels()).starts_with("expected a class or a group of the model; it has person"));
        // A model that doesn't say how many classes it has.
        let error = said("zebra", &LabelMap::new(None, None).unwrap());
        assert!(error.contains("class_19, …") && !error.contains("class_20"), "{error}");
        assert!(said("zebra", &classes(20)).ends_with(", class_19"));
    }

    #[test]
    fn it_is_on_from_the_very_share_on() {
        // Of four pixels: road, and "alive" of the same group; 255 is void and counts for the whole.
        for (counts, share, is_on) in
            [([(0, 4), (1, 0)], 0.0, false), ([(0, 3), (3, 1)], 0.25, true), ([(2, 3), (255, 1)], 0.0, false)]
        {
            let outcome = judged("[r]\nclass = 'flat'\nabove = 0.25", Vec::new(), labels(), &counts).unwrap();
            assert_eq!(outcome.rule("r").unwrap().judgement, Judgement { is_on, share }, "{counts:?}");
        }
    }

    #[test]
    fn the_error_of_a_rule_names_its_key() {
        let error = judged("[gate]\nclass = 'zebra'", Vec::new(), labels(), &[]).unwrap_err().to_string();
        assert!(error.starts_with("rules.gate.class \"zebra\": the model has no class"), "{error}");
    }
}
