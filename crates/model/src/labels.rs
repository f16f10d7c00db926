//! The label map: a name and a colour for each class id, and the groups that classes belong to.

use super::contract::MOST_CLASSES;
use super::manifest::{ClassEntry, Manifest};

/// A colour (R, G, B) for every value that a mask can have.
pub type Palette = [[u8; 3]; 256];

/// Names and colours by class id, and the groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMap {
    names: Vec<String>,
    palette: Vec<[u8; 3]>,
    groups: Vec<Group>,
    known: bool,
}

/// Classes that the manifest puts together under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The name in every output.
    pub name: String,
    /// Class ids, ascending.
    pub classes: Vec<u8>,
}

/// A manifest that names another number of classes than the model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the manifest names {named} classes, the model's output has {found}")]
pub struct ClassCountError {
    named: usize,
    found: usize,
}

impl LabelMap {
    /// The label map of a model with `classes` classes; `None` where the model itself doesn't say (labels instead of
    /// logits). Classes without a name in the manifest are called `class_0`, `class_1` and so on.
    ///
    /// # Errors
    /// When the manifest names another number of classes.
    pub fn new(classes: Option<usize>, manifest: Option<&Manifest>) -> Result<Self, ClassCountError> {
        let entries = manifest.map_or(&[][..], |manifest| &manifest.classes);
        let named = (!entries.is_empty()).then_some(entries.len());
        if let (Some(found), Some(named)) = (classes, named) {
            if found != named {
                return Err(ClassCountError { named, found });
            }
        }
        let count = classes.or(named).unwrap_or(MOST_CLASSES);
        let names = (0..count)
            .map(|id| entries.get(id).map_or_else(|| format!("class_{id}"), |entry| entry.name.clone()))
            .collect();
        let palette = (0..count)
            .map(|id| entries.get(id).and_then(|entry| entry.color).map_or_else(|| default_color(id), |color| color.0))
            .collect();
        Ok(Self { names, palette, groups: groups(entries), known: classes.or(named).is_some() })
    }

    /// Number of classes; 255 where neither model nor manifest says.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True for a label map without classes.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// False where the number of classes is unknown; then only classes that occur are worth naming.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Names by class id.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Colours (R, G, B) by class id.
    pub fn palette(&self) -> &[[u8; 3]] {
        &self.palette
    }

    /// Groups in the order in which the manifest first names them. A class without a group is in none of them.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The colours of all mask values, see [`LabelMap::color`].
    pub fn colors(&self) -> Palette {
        let mut colors = [[0; 3]; 256];
        for (color, class) in colors.iter_mut().zip(&self.palette) {
            *color = *class;
        }
        colors
    }

    /// The colour of any mask value; ids without a class (void) are black.
    pub fn color(&self, id: u8) -> [u8; 3] {
        self.palette.get(usize::from(id)).copied().unwrap_or_default()
    }
}

fn groups(entries: &[ClassEntry]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (id, entry) in (0..=u8::MAX).zip(entries) {
        let Some(name) = &entry.group else { continue };
        match groups.iter_mut().find(|group| group.name == *name) {
            Some(group) => group.classes.push(id),
            None => groups.push(Group { name: name.clone(), classes: vec![id] }),
        }
    }
    groups
}

/// A colour for a class that has none: hues a golden angle apart, so that neighbours differ whatever the count.
fn default_color(id: usize) -> [u8; 3] {
    const GOLDEN_ANGLE: f32 = 137.507_77;
    // Class ids are below 256, so the conversion is exact.
    let id = u16::try_from(id).unwrap_or(u16::MAX);
    let hue = (f32::from(id) * GOLDEN_ANGLE) % 360.0 / 60.0;
    let value = if id % 2 == 0 { 230.0 } else { 170.0 };
    let rising = value * (1.0 - (hue % 2.0 - 1.0).abs());
    let (red, green, blue) = match hue {
        h if h < 1.0 => (value, rising, 0.0),
        h if h < 2.0 => (rising, value, 0.0),
        h if h < 3.0 => (0.0, value, rising),
        h if h < 4.0 => (0.0, rising, value),
        h if h < 5.0 => (rising, 0.0, value),
        _ => (value, 0.0, rising),
    };
    // Each is between 0 and 230.
    [red, green, blue].map(|channel| channel as u8)
}

#[cfg(test)]
mod tests {
    use super::super::manifest::Color;
    use super::*;

    fn manifest(names: &[&str]) -> Manifest {
        let entry = |name: &&str| ClassEntry { name: (*name).to_owned(), color: Some(Color([1, 2, 3])), group: None };
        Manifest {
            name: "m".to_owned(),
            version: String::new(),
            licence: String::new(),
            description: String::new(),
            file: Default::default(),
            edgetpu: Default::default(),
            input: Default::default(),
            classes: names.iter().map(entry).collect(),
            training: Default::default(),
            metrics: Default::default(),
        }
    }

    #[test]
    fn names_come_from_the_manifest_or_from_the_id() {
        let map = LabelMap::new(Some(2), Some(&manifest(&["sky", "road"]))).unwrap();
        assert_eq!(map.names(), ["sky", "road"]);
        assert_eq!(map.color(1), [1, 2, 3]);
        assert_eq!(map.color(255), [0, 0, 0]);
        let map = LabelMap::new(Some(3), None).unwrap();
        assert_eq!(map.names()[2], "class_2");
    }

    #[test]
    fn counts_must_agree() {
        let error = LabelMap::new(Some(3), Some(&manifest(&["sky", "road"]))).unwrap_err();
        assert_eq!(error.to_string(), "the manifest names 2 classes, the model's output has 3");
        assert!(LabelMap::new(None, Some(&manifest(&["sky"]))).unwrap().is_known());
        let unknown = LabelMap::new(None, None).unwrap();
        assert_eq!((unknown.is_known(), unknown.len()), (false, 255));
    }

    #[test]
    fn groups_come_in_the_order_of_their_first_class() {
        let mut manifest = manifest(&["sky", "car", "road", "bus", "path"]);
        for (class, group) in [(1, "vehicle"), (2, "flat"), (3, "vehicle"), (4, "flat")] {
            manifest.classes[class].group = Some(group.to_owned());
        }
        let map = LabelMap::new(Some(5), Some(&manifest)).unwrap();
        let group = |name: &str, classes: [u8; 2]| Group { name: name.to_owned(), classes: classes.to_vec() };
        assert_eq!(map.groups(), [group("vehicle", [1, 3]), group("flat", [2, 4])]);
        assert_eq!(LabelMap::new(Some(2), None).unwrap().groups(), []);
    }

    #[test]
    fn default_colors_differ() {
        let map = LabelMap::new(Some(40), None).unwrap();
        let mut colors = map.palette().to_vec();
        colors.sort_unstable();
        colors.dedup();
        assert_eq!(colors.len(), 40);
    }
}
