//! [`Areas`]: how much of the picture each class, and each group of classes, covers. Nothing else works areas out.

use base::rounding::rounded;
use model::LabelMap;
use pixels::segment::Summary;

/// Fractions of one class map, to six digits.
#[derive(Debug, Default, PartialEq)]
pub struct Areas {
    /// By class id. None where the number of classes is unknown and this one doesn't occur.
    classes: Vec<Option<f64>>,
    /// In the label map's order.
    groups: Vec<f64>,
    /// Pixels without a class, where there are any.
    void: Option<f64>,
}

impl Clone for Areas {
    fn clone(&self) -> Self {
        Self { classes: self.classes.clone(), groups: self.groups.clone(), void: self.void }
    }

    /// Into the memory that is there.
    fn clone_from(&mut self, source: &Self) {
        self.classes.clone_from(&source.classes);
        self.groups.clone_from(&source.groups);
        self.void = source.void;
    }
}

impl Areas {
    /// The areas of a class map with these figures.
    pub fn of(labels: &LabelMap, summary: &Summary) -> Self {
        let mut areas = Self::default();
        areas.measure(labels, summary);
        areas
    }

    /// Takes the areas of another class map. Allocates only where that has more classes or groups than any before.
    pub fn measure(&mut self, labels: &LabelMap, summary: &Summary) {
        let pixels = summary.counts.iter().sum::<u64>();
        let named: u64 = summary.counts.iter().take(labels.len()).sum();
        self.void = (pixels > named).then(|| share(pixels - named, pixels));
        let counts = summary.counts.iter().take(labels.len());
        self.classes.clear();
        self.classes.extend(counts.map(|&count| (labels.is_known() || count > 0).then(|| share(count, pixels))));
        self.groups.clear();
        self.groups.extend(labels.groups().iter().map(|group| area_of(&group.classes, summary)));
    }

    /// Each class that is worth naming, and `void` where there are pixels without a class. `labels` are those that the areas
    /// were measured with.
    pub fn classes<'a>(&'a self, labels: &'a LabelMap) -> impl Iterator<Item = (&'a str, f64)> {
        let classes = labels.names().iter().zip(&self.classes);
        let named = classes.filter_map(|(name, area)| Some((name.as_str(), (*area)?)));
        named.chain(self.void.map(|area| ("void", area)))
    }

    /// By how much the share of any class or group, or of what has no class, differs from that in `other`: at most 1.
    pub fn change(&self, other: &Self) -> f64 {
        let mut most = moved(self.void, other.void);
        for index in 0..self.classes.len().max(other.classes.len()) {
            let of = |areas: &Self| areas.classes.get(index).copied().flatten();
            most = most.max(moved(of(self), of(other)));
        }
        for (group, other) in self.groups.iter().zip(&other.groups) {
            most = most.max(moved(Some(*group), Some(*other)));
        }
        most
    }

    /// What the classes of each group cover together.
    pub fn groups<'a>(&'a self, labels: &'a LabelMap) -> impl Iterator<Item = (&'a str, f64)> {
        labels.groups().iter().map(|group| group.name.as_str()).zip(self.groups.iter().copied())
    }
}

/// Fraction of the class map that `classes` cover together, to six digits.
pub fn area_of(classes: &[u8], summary: &Summary) -> f64 {
    let count = classes.iter().map(|&class| summary.counts[usize::from(class)]).sum();
    share(count, summary.counts.iter().sum())
}

/// How far a share moved. One that isn't there is 0.
fn moved(from: Option<f64>, to: Option<f64>) -> f64 {
    // In millionths, which is what shares are rounded to, so that 0.55 is as far from 0.5 as from 0.6.
    rounded((from.unwrap_or(0.0) - to.unwrap_or(0.0)).abs(), 1e6)
}

fn share(count: u64, pixels: u64) -> f64 {
    rounded(count as f64 / pixels.max(1) as f64, 1e6)
}

/// Areas as a JSON object.
pub fn object<'a>(areas: impl Iterator<Item = (&'a str, f64)>) -> serde_json::Value {
    areas.map(|(name, area)| (name.to_owned(), serde_json::json!(area))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Manifest;

    fn summary(counts: &[(usize, u64)]) -> Summary {
        let mut summary = Summary::default();
        counts.iter().for_each(|&(id, count)| summary.counts[id] = count);
        summary
    }

    #[test]
    fn every_known_class_has_its_area_and_what_is_none_is_void_where_there_is_any() {
        let areas = |classes, counts: &[(usize, u64)]| {
            let labels = LabelMap::new(classes, None).unwrap();
            object(Areas::of(&labels, &summary(counts)).classes(&labels)).to_string()
        };
        assert_eq!(areas(Some(2), &[]), r#"{"class_0":0.0,"class_1":0.0}"#);
        assert_eq!(areas(Some(2), &[(0, 1), (1, 2)]), r#"{"class_0":0.333333,"class_1":0.666667}"#);
        assert_eq!(
            areas(Some(2), &[(0, 1), (2, 1), (255, 1)]),
            r#"{"class_0":0.333333,"class_1":0.0,"void":0.666667}"#
        );
        // Where their number is not known, those that occur, also where that rounds to nothing.
        assert_eq!(areas(None, &[(3, 1), (7, 3)]), r#"{"class_3":0.25,"class_7":0.75}"#);
        assert_eq!(areas(None, &[(3, 1), (7, 9_999_999)]), r#"{"class_3":0.0,"class_7":1.0}"#);
    }

    #[test]
    fn an_area_is_rounded_to_six_digits_and_of_no_pixels_zero() {
        let summary = summary(&[(0, 1), (1, 1), (255, 1)]);
        let areas = [&[0][..], &[0, 1], &[7], &[]].map(|classes| area_of(classes, &summary));
        assert_eq!(areas, [0.333_333, 0.666_667, 0.0, 0.0]);
        assert_eq!(area_of(&[0], &Summary::default()), 0.0);
    }

    #[test]
    fn a_group_covers_what_its_classes_cover_together() {
        let class = |name: &str, group: &str| format!("[[classes]]\nname = '{name}'\ngroup = '{group}'\n");
        let classes =
            [class("car", "vehicle"), class("road", "flat"), class("bus", "vehicle"), class("van", "vehicle")];
        let manifest: Manifest = toml::from_str(&format!("name = 'm'\n{}", classes.concat())).unwrap();
        let labels = LabelMap::new(Some(4), Some(&manifest)).unwrap();
        let groups = |summary| Areas::of(&labels, &summary).groups(&labels).map(|(_, area)| area).collect::<Vec<_>>();
        assert_eq!(groups(Summary::default()), [0.0, 0.0]);
        // Two sixths: the sum is rounded, not what is summed, which would make 2 x 0.166667.
        assert_eq!(groups(summary(&[(0, 1), (1, 1), (2, 1), (255, 3)])), [0.333_333, 0.166_667]);
        let names: Vec<_> = labels.groups().iter().map(|group| group.name.as_str()).collect();
        let areas = Areas::of(&labels, &Summary::default());
        assert_eq!(areas.groups(&labels).map(|(name, _)| name).collect::<Vec<_>>(), names);
    }

    #[test]
    fn areas_of_another_edition_are_measured_anew() {
        let (three, two) = (LabelMap::new(Some(3), None).unwrap(), LabelMap::new(Some(2), None).unwrap());
        let mut areas = Areas::of(&three, &summary(&[(2, 4)]));
        areas.measure(&two, &summary(&[(0, 1), (1, 3)]));
        assert_eq!(areas, Areas::of(&two, &summary(&[(0, 1), (1, 3)])));
        assert_eq!(areas.classes(&two).collect::<Vec<_>>(), [("class_0", 0.25), ("class_1", 0.75)]);
    }
}
