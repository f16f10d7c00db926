//! `manifest.toml`: what a model file can't say of itself: names, groups, colours, version, digest, how pixels become
//! numbers, what it was trained on and how well it did.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use base::failure::Kind;
use base::files;
use serde::Deserialize;

use super::contract::MOST_CLASSES;
use super::ModelError;

/// What the manifest beside a model says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Short name, for log lines.
    pub name: String,
    /// Version, in the author's own scheme.
    #[serde(default)]
    pub version: String,
    /// SPDX expression or a sentence.
    #[serde(default)]
    pub licence: String,
    /// What the model is for.
    #[serde(default)]
    pub description: String,
    /// The file that it describes.
    #[serde(default)]
    pub file: FileEntry,
    /// What the Edge TPU's compiler made of that file.
    #[serde(default)]
    pub edgetpu: FileEntry,
    /// The input's real values.
    #[serde(default)]
    pub input: InputEntry,
    /// The classes in the order of the logits.
    #[serde(default)]
    pub classes: Vec<ClassEntry>,
    /// How it came about.
    #[serde(default)]
    pub training: TrainingEntry,
    /// Figures of its author's judging, by free names; all are finite.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
}

/// `[file]` and `[edgetpu]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileEntry {
    /// Name of the model file beside the manifest. Empty fits any; in `[edgetpu]`, `<stem>_edgetpu.tflite`.
    pub path: String,
    /// SHA-256 in hex. Empty is not checked.
    pub sha256: String,
}

/// `[input]`: real = (pixel - mean) / std, per channel R, G, B, for pixels 0..=255.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InputEntry {
    /// Subtracted from a pixel.
    pub mean: Option<[f32; 3]>,
    /// What the difference is divided by.
    pub std: Option<[f32; 3]>,
}

/// One of `[[classes]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassEntry {
    /// The name in every output.
    pub name: String,
    /// `#rrggbb` in masks and overlays.
    pub color: Option<Color>,
    /// The group that it belongs to, not empty.
    pub group: Option<String>,
}

/// `[training]`. What is empty is not said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingEntry {
    /// Name of the data that the weights come from.
    pub data: String,
    /// The data's licence: SPDX expression or a sentence.
    pub licence: String,
    /// What its authors ask to be cited.
    pub citation: String,
    /// The command that made the model.
    pub command: String,
}

/// A colour, written `#rrggbb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color(pub [u8; 3]);

impl<'de> Deserialize<'de> for Color {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.strip_prefix('#')
            .filter(|digits| digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .map(|value| {
                let [_, red, green, blue] = value.to_be_bytes();
                Self([red, green, blue])
            })
            .ok_or_else(|| serde::de::Error::custom(format!("color {text:?}: expected #rrggbb")))
    }
}

/// The manifest that belongs to the model at `model`, and its path: `<stem>.toml` beside it, or `manifest.toml` there unless
/// that names another file. None where there is neither. `source` is where the CPU model that a compiled `model` was made of
/// would lie; its manifest is this one's.
///
/// # Errors
/// When a manifest can't be read or understood.
pub(super) fn beside(model: &Path, source: Option<&Path>) -> Result<Option<(PathBuf, Manifest)>, ModelError> {
    let own = model.with_extension("toml");
    if own.is_file() {
        let manifest = Manifest::read(&own)?.check(&own)?;
        return Ok(Some((own, manifest)));
    }
    let sources = source.map(|source| source.with_extension("toml"));
    let shared = model.with_file_name("manifest.toml");
    for path in sources.into_iter().chain([shared]).filter(|path| path.is_file()) {
        let manifest = Manifest::read(&path)?;
        if manifest.describes(&file_name(model), source) {
            let manifest = manifest.check(&path)?;
            return Ok(Some((path, manifest)));
        }
        let FileEntry { path: described, .. } = &manifest.file;
        log::warn!("{} describes {described}, not {}: ignored", path.display(), file_name(model));
    }
    Ok(None)
}

impl Manifest {
    fn describes(&self, name: &str, source: Option<&Path>) -> bool {
        let (file, edgetpu) = (&self.file.path, &self.edgetpu.path);
        match source {
            None => file.is_empty() || file == name,
            Some(_) if !edgetpu.is_empty() => edgetpu == name || file == name,
            Some(source) => file.is_empty() || file == name || *file == file_name(source),
        }
    }

    fn read(path: &Path) -> Result<Self, ModelError> {
        let text = files::open(path).and_then(io::read_to_string).map_err(|error| ModelError::Manifest {
            path: path.to_path_buf(),
            reason: error.to_string(),
            kind: Kind::of_file(&error),
        })?;
        toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            wrong(path, format!("line {line}: {}", error.message().trim_end().replace('\n', "; ")))
        })
    }

    /// Holds the digest `sha256` of the file at `model` to `entry` of the manifest at `path`.
    pub(super) fn check_digest(
        &self,
        path: &Path,
        entry: &FileEntry,
        model: &Path,
        sha256: &str,
    ) -> Result<(), ModelError> {
        let said = &entry.sha256;
        if said.is_empty() || said.eq_ignore_ascii_case(sha256) {
            return Ok(());
        }
        let which = if std::ptr::eq(entry, &self.edgetpu) { "edgetpu: the compiled model" } else { "the model" };
        Err(wrong(
            path,
            format!(
                "{which}'s digest is {sha256}, the manifest says {said}: {} is damaged or another version; put the right \
                 file there, or write the manifest anew",
                file_name(model)
            ),
        ))
    }

    fn check(self, path: &Path) -> Result<Self, ModelError> {
        let compiled = &self.edgetpu.path;
        if compiled.contains('/') || !compiled.is_empty() && *compiled == self.file.path {
            let reason = format!("edgetpu: path {compiled:?}; expected the name of another file beside the model");
            return Err(wrong(path, reason));
        }
        if self.input.mean.is_some() != self.input.std.is_some() {
            return Err(wrong(path, "input: mean and std go together; one is missing".to_owned()));
        }
        let numbers = self.input.mean.iter().chain(&self.input.std).flatten();
        if numbers.clone().any(|value| !value.is_finite()) || self.input.std.iter().flatten().any(|&std| std <= 0.0) {
            return Err(wrong(path, "input: mean must be finite and std positive".to_owned()));
        }
        if self.classes.len() > MOST_CLASSES {
            return Err(wrong(path, format!("{} classes; expected at most {MOST_CLASSES}", self.classes.len())));
        }
        for (index, class) in self.classes.iter().enumerate() {
            if self.classes[..index].iter().any(|earlier| earlier.name == class.name) {
                return Err(wrong(path, format!("classes: {:?} is there twice", class.name)));
            }
            if class.group.as_deref() == Some("") {
                return Err(wrong(path, format!("classes: the group of {:?} is empty; leave it out", class.name)));
            }
        }
        if let Some((name, value)) = self.metrics.iter().find(|(_, value)| !value.is_finite()) {
            return Err(wrong(path, format!("metrics: {name} is {value}; expected a finite number")));
        }
        Ok(self)
    }
}

/// A manifest that says something wrong.
pub(super) fn wrong(path: &Path, reason: String) -> ModelError {
    ModelError::Manifest { path: PathBuf::from(path), reason, kind: Kind::Config }
}

/// The name of a file without its folders.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(text: &str) -> Result<Option<Manifest>, ModelError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("manifest.toml"), text).unwrap();
        let model = folder.path().join("model.tflite");
        let Some((path, manifest)) = super::beside(&model, None)? else { return Ok(None) };
        manifest.check_digest(&path, &manifest.file, &model, "abc")?;
        Ok(Some(manifest))
    }

    #[test]
    fn a_whole_manifest_reads() {
        let manifest = beside(
            "name = 'm'\nversion = '2'\n[file]\npath = 'model.tflite'\nsha256 = 'ABC'\n\
             [input]\nmean = [1, 2.5, 3]\nstd = [1.0, 1.0, 2.0]\n\
             [[classes]]\nname = 'sky'\ncolor = '#0A0b0c'\n[[classes]]\nname = 'road'\ngroup = 'flat'\n\
             [training]\ndata = 'CamVid'\nlicence = 'research'\ncitation = 'Brostow 2009'\ncommand = 'kit train'\n\
             [metrics]\nmiou_heldout = 64.2\n'pictures judged' = 233\n",
        )
        .unwrap()
        .unwrap();
        assert_eq!(manifest.classes[0].color, Some(Color([10, 11, 12])));
        assert_eq!(manifest.input.mean, Some([1.0, 2.5, 3.0]));
        assert_eq!((manifest.classes[0].group.as_deref(), manifest.classes[1].group.as_deref()), (None, Some("flat")));
        let TrainingEntry { data, licence, citation, command } = &manifest.training;
        assert_eq!([data, licence, citation, command], ["CamVid", "research", "Brostow 2009", "kit train"]);
        let metrics: Vec<(&str, f64)> = manifest.metrics.iter().map(|(name, &value)| (name.as_str(), value)).collect();
        assert_eq!(metrics, [("miou_heldout", 64.2), ("pictures judged", 233.0)]);
    }

    #[test]
    fn faults_name_line_and_reason() {
        let text = |toml: &str| beside(toml).unwrap_err().to_string();
        assert!(text("name = 'm'\nnam = 1\n").contains("line 2: unknown field `nam`"));
        assert!(text("name = 'm'\n[[classes]]\nname = 'a'\ncolor = 'red'\n").contains("line 4: color \"red\""));
        assert!(text("name = 'm'\n[file]\nsha256 = 'f'\n").contains("the model's digest is abc"));
        assert!(text("name = 'm'\n[input]\nmean = [0,0,0]\n").contains("go together"));
        assert!(text("name = 'm'\n[input]\nmean = [0,0,0]\nstd = [1,0,1]\n").contains("std positive"));
        assert!(text("name = 'm'\n[[classes]]\nname='a'\n[[classes]]\nname='a'\n").contains("there twice"));
        let class = |rest: &str| text(&format!("name = 'm'\n[[classes]]\nname = 'a'\n{rest}\n"));
        assert!(class("groups = 'b'").contains("line 4: unknown field `groups`"));
        assert!(class("group = 7").contains("line 4: invalid type: integer `7`, expected a string"));
        assert!(class("group = ''").contains("the group of \"a\" is empty"));
        assert!(text("name = 'm'\n[training]\ndata = 'x'\nlicense = 'y'\n").contains("line 4: unknown field `license`"));
        assert!(text("name = 'm'\n[training]\ndata = ['x']\n").contains("line 3: invalid type: sequence"));
        assert!(text("name = 'm'\n[metrics]\nmiou = '64'\n").contains("line 3: invalid type: string \"64\""));
        for value in ["inf", "-inf", "nan"] {
            let text = text(&format!("name = 'm'\n[metrics]\nmiou = 64\nms = {value}\n"));
            assert!(text.contains("metrics: ms is ") && text.contains("finite number"), "{text}");
        }
    }

    #[test]
    fn classes_are_as_many_as_a_mask_tells_apart() {
        let of = |count: usize| {
            let classes: String = (0..count).map(|id| format!("[[classes]]\nname = '{id}'\n")).collect();
            beside(&format!("name = 'm'\n{classes}"))
        };
        assert_eq!(of(255).unwrap().unwrap().classes.len(), 255);
        assert!(of(256).unwrap_err().to_string().contains("256 classes; expected at most 255"));
    }

    #[test]
    fn a_manifest_of_another_file_is_ignored() {
        assert_eq!(beside("name = 'm'\n[file]\npath = 'other.tflite'\n").unwrap(), None);
    }
}
