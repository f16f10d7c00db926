//! Outcomes for tests of whatever reads them.

use std::sync::Arc;

use base::failure::SettingError;
use model::{Edition, InputSpec, LabelMap, Manifest, ModelIo};
use pixels::frame::Size;
use pixels::segment::{LabelType, OutputKind, OutputSpec};

use super::{Areas, Outcome};

/// An edition called `m` with these classes, whose ends don't matter.
pub(crate) fn edition(labels: LabelMap) -> Arc<Edition> {
    let size = Size::new(4, 4);
    let input = InputSpec { size, signed: false, scale: 1.0, zero_point: 0 };
    let output = OutputSpec { height: 4, width: 4, kind: OutputKind::Labels { label: LabelType::Uint8 } };
    Arc::new(Edition::of("m", ModelIo { input, output }, labels))
}

/// Labels of so many classes without names.
pub(crate) fn classes(count: usize) -> LabelMap {
    LabelMap::new(Some(count), None).unwrap()
}

/// Labels with these names; those with a group behind a `/` belong to it.
pub(crate) fn named(names: &[&str]) -> LabelMap {
    let class = |name: &&str| match name.split_once('/') {
        Some((name, group)) => format!("[[classes]]\nname = '{name}'\ngroup = '{group}'\n"),
        None => format!("[[classes]]\nname = '{name}'\n"),
    };
    let manifest = format!("name = 'm'\n{}", names.iter().map(class).collect::<String>());
    let manifest: Manifest = toml::from_str(&manifest).unwrap();
    LabelMap::new(Some(names.len()), Some(&manifest)).unwrap()
}

impl Outcome {
    /// An outcome of frame 0 at the start of 1970, with two classes, of which nothing was seen.
    pub(crate) fn example() -> Self {
        Self::empty(edition(classes(2)))
    }

    /// With so many pixels of each class.
    pub(crate) fn seen(mut self, counts: &[(usize, u64)]) -> Self {
        counts.iter().for_each(|&(id, count)| self.summary.counts[id] = count);
        self.areas = Areas::of(&self.edition.labels, &self.summary);
        self
    }

    /// With a class map of `size` that is `class` all over, and a picture that is `grey` all over where there is one.
    pub(crate) fn sized(mut self, size: Size, class: u8, grey: Option<u8>) -> Self {
        self.size = size;
        self.mask = vec![class; size.pixels()];
        self.has_picture = grey.is_some();
        self.picture = grey.map(|grey| vec![grey; size.pixels() * 3]).unwrap_or_default();
        self
    }
}

/// What a scene with `rules` (TOML) and `own` ones says of one frame of `labels` with so many pixels of each class.
pub(crate) fn judged(
    rules: &str,
    own: Vec<super::OwnRule>,
    labels: LabelMap,
    counts: &[(usize, u64)],
) -> Result<Outcome, SettingError> {
    let edition = edition(labels);
    let mut scene = super::Scene::new(&toml::from_str(rules).unwrap(), own, &edition)?;
    let mut outcome = Outcome::empty(edition).seen(counts);
    scene.look(&mut outcome);
    Ok(outcome)
}
