//! The model as a file: bytes, digest, manifest, its compiled half, and where to look for one. Running it is left to `infer`.

mod contract;
pub mod edgetpu;
mod edition;
mod flatbuffer;
pub mod labels;
pub mod manifest;
pub(crate) mod pair;
pub mod tflite;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::failure::{Failure, Kind};
use base::files;
use sha2::{Digest, Sha256};

pub use contract::{check, io, vet, InputSpec, ModelIo, TensorInfo, TensorType};
pub use edition::{CurrentEdition, Edition};
pub use labels::{Group, LabelMap};
pub use manifest::Manifest;
pub use pair::{Compiled, Want};

/// Files past this are refused before they are read.
const LARGEST: u64 = 512 << 20;

/// A model that was read and whose manifest, if there is one, agrees with it.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// The whole file. It is kept in memory, so a file that is replaced under a running daemon can't hurt.
    pub bytes: Arc<[u8]>,
    /// SHA-256 of the bytes, in hex.
    pub sha256: String,
    /// What stands beside it.
    pub manifest: Option<Manifest>,
    /// This is a compiled file, which only an Edge TPU can run, and there is none for the CPU.
    pub is_compiled: bool,
    /// What the Edge TPU's compiler made of this CPU file.
    pub compiled: Option<Compiled>,
}

/// Why a model can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// No model was named and none was found.
    #[error("no model: none is configured and none was found in {searched}; set model.path or give --model FILE")]
    NoneFound {
        /// The places, for the message.
        searched: String,
    },
    /// The file can't be read.
    #[error("model {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's text.
        reason: String,
        /// Whether a later try may go well.
        kind: Kind,
    },
    /// The file is no model that can run here.
    #[error("model {}: {found}; expected {expected}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What was wanted.
        expected: String,
    },
    /// There is no process to run it in, which is not the model's fault.
    #[error("model {}: {reason}", path.display())]
    Process {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The manifest is wrong, or doesn't belong to the file.
    #[error("manifest {}: {reason}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong, with the line where there is one.
        reason: String,
        /// Whether a later try may go well.
        kind: Kind,
    },
}

impl ModelError {
    /// A file that can't run here.
    pub fn unfit(path: &Path, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::Unfit { path: path.to_path_buf(), found: found.into(), expected: expected.into() }
    }
}

impl ModelFile {
    /// Reads the model for the CPU at `path` and the manifest beside it.
    ///
    /// # Errors
    /// As [`ModelFile::load_for`].
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        Self::load_for(path, Want::Cpu)
    }

    /// A short name for log lines: the manifest's, or the file's own.
    pub fn name(&self) -> String {
        let stem = || self.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        self.manifest.as_ref().map_or_else(stem, |manifest| manifest.name.clone())
    }
}

/// The bytes of a file, of whatever kind, and their SHA-256 in hex.
fn read(path: &Path) -> Result<(Vec<u8>, String), ModelError> {
    let unreadable = |reason: String, kind: Kind| ModelError::Read { path: path.to_path_buf(), reason, kind };
    let failed = |error: std::io::Error| unreadable(error.to_string(), Kind::of_file(&error));
    let unfit = |reason: String| unreadable(reason, Kind::Config);
    let meta = std::fs::metadata(path)
        .map_err(|error| unreadable(format!("{error}{}", advice(path, error.kind())), Kind::of_file(&error)))?;
    if path.join("saved_model.pb").is_file() {
        let how = "TFLiteConverter.from_saved_model converts it, with representative pictures for int8";
        return Err(unfit(format!("a folder with a SavedModel of TensorFlow; expected a .tflite file: {how}")));
    }
    if !meta.is_file() {
        return Err(unfit("not a file; expected a .tflite file".to_owned()));
    }
    if meta.len() > LARGEST {
        return Err(unfit(format!("{} bytes; expected at most {LARGEST}", meta.len())));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
    let file = files::open(path).map_err(failed)?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    let sha256 = hex(&Sha256::digest(&bytes));
    Ok((bytes, sha256))
}

/// What to do about a model that can't be read, where that is known: the Debian package had `street-*` in it once.
fn advice(path: &Path, error: ErrorKind) -> &'static str {
    if error == ErrorKind::NotFound && path.starts_with(INSTALLED) && is_restricted(path) {
        "; the Debian package pspnetd-models-street installs it"
    } else {
        ""
    }
}

/// Whether edgetpu_compiler made it, damaged or not: it has the one operator that only an Edge TPU runs.
pub fn is_compiled(bytes: &[u8]) -> bool {
    let operator = tflite::EDGETPU_OPERATOR.as_bytes();
    bytes.windows(operator.len()).any(|window| window == operator)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Where the Debian packages put models.
const INSTALLED: &str = "/usr/share/pspnetd/models";

/// The model to take where there are several and none is named: it suits every board.
const PREFERRED: &str = "scene-fast";

/// What the folders of models begin with whose weights are for research and non-commercial use only.
const RESTRICTED: &str = "street-";

/// The model that runs when none is configured: `models/scene-fast`, or else the first `models/*/model.tflite` by name,
/// in the installed place, in the folders above the program (a build tree), or in the current folder. A `street-*` is taken
/// only where none of these places has another model, and with a warning.
///
/// # Errors
/// When there is none, with the places that were searched.
pub fn find_default() -> Result<PathBuf, ModelError> {
    let mut places = vec![PathBuf::from("/var/lib/pspnetd/models"), PathBuf::from(INSTALLED)];
    if let Ok(program) = std::env::current_exe() {
        places.extend(program.ancestors().skip(1).take(4).map(|folder| folder.join("models")));
    }
    places.push(PathBuf::from("models"));
    let path = default_among(&places).ok_or_else(|| ModelError::NoneFound {
        searched: places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", "),
    })?;
    if is_restricted(&path) {
        let path = path.display();
        log::warn!("{path}: no other model was found; its weights are for research and non-commercial use only");
    }
    Ok(path)
}

/// The first place with a model decides, unless it has restricted ones alone and a later place has others.
fn default_among(places: &[PathBuf]) -> Option<PathBuf> {
    let mut firsts = places.iter().filter_map(|place| first_model(place));
    let first = firsts.next()?;
    Some(if is_restricted(&first) { firsts.find(|path| !is_restricted(path)).unwrap_or(first) } else { first })
}

fn first_model(place: &Path) -> Option<PathBuf> {
    let models = std::fs::read_dir(place)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("model.tflite")))
        .filter(|path| path.is_file());
    models.min_by_key(|path| (is_restricted(path), folder_name(path) != PREFERRED, path.clone()))
}

fn is_restricted(model: &Path) -> bool {
    folder_name(model).starts_with(RESTRICTED)
}

fn folder_name(model: &Path) -> Cow<'_, str> {
    model.parent().and_then(Path::file_name).map(OsStr::to_string_lossy).unwrap_or_default()
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        let kind = match &error {
            ModelError::Process { .. } => Kind::Unavailable,
            ModelError::Read { kind, .. } | ModelError::Manifest { kind, .. } => *kind,
            _ => Kind::Config,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.tflite");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    /// An empty model file in `place`.
    fn add(place: &Path, name: &str) {
        std::fs::create_dir_all(place.join(name)).unwrap();
        std::fs::write(place.join(name).join("model.tflite"), b"").unwrap();
    }

    #[test]
    fn the_preferred_model_comes_first_then_the_alphabet_and_restricted_ones_last() {
        let folder = tempfile::tempdir().unwrap();
        let chosen = || first_model(folder.path()).map(|path| folder_name(&path).into_owned());
        assert_eq!(chosen(), None);
        for (added, wanted) in [
            ("street-nano", "street-nano"),
            ("street-fast", "street-fast"),
            ("yard", "yard"),
            ("scene-nano", "scene-nano"),
            ("scene-accurate", "scene-accurate"),
            ("scene-fast", "scene-fast"),
        ] {
            add(folder.path(), added);
            assert_eq!(chosen().as_deref(), Some(wanted));
        }
    }

    #[test]
    fn the_first_place_decides_unless_it_has_restricted_models_alone() {
        let folder = tempfile::tempdir().unwrap();
        let places = ["own", "none", "installed", "tree"].map(|name| folder.path().join(name));
        let chosen = || default_among(&places).map(|path| path.strip_prefix(folder.path()).unwrap().to_owned());
        assert_eq!(chosen(), None);
        for (place, added, wanted) in [
            (2, "street-nano", "installed/street-nano"),
            (0, "street-fast", "own/street-fast"),
            (3, "scene-fast", "tree/scene-fast"),
            (2, "zoo", "installed/zoo"),
            (0, "yard", "own/yard"),
        ] {
            add(&places[place], added);
            assert_eq!(chosen(), Some(Path::new(wanted).join("model.tflite")));
        }
    }

    #[test]
    fn what_is_no_file_and_what_is_no_model_are_named() {
        let (folder, path) = model(b"\x7fELF and more");
        assert!(ModelFile::load(folder.path()).unwrap_err().to_string().contains("not a file"));
        assert!(ModelFile::alone(&path).unwrap_err().to_string().contains("no TFL3 mark"));
        let marks = [&b""[..], b"TFL3", b"\x1c\0\0\0TFL4", b"\x1c\0\0\0TFL3"].map(tflite::check_mark);
        let none = Err("not a TensorFlow Lite file (no TFL3 mark)");
        assert_eq!(marks, [Err("an empty file"), none, none, Ok(())]);
    }

    #[test]
    fn a_missing_model_that_has_a_package_of_its_own_is_named_with_it() {
        let reason = |path: &str| ModelFile::load(Path::new(path)).unwrap_err().to_string();
        let missing = "No such file or directory (os error 2)";
        for (path, hint) in [
            // A name that no package has, so that none can be installed here.
            (
                "/usr/share/pspnetd/models/street-none/model.tflite",
                "; the Debian package pspnetd-models-street installs it",
            ),
            ("/usr/share/pspnetd/models/scene-none/model.tflite", ""),
            ("/var/lib/pspnetd/models/street-none/model.tflite", ""),
        ] {
            assert_eq!(reason(path), format!("model {path}: {missing}{hint}"));
        }
    }

    #[test]
    fn a_compiled_model_is_sent_back_with_advice() {
        let (_folder, path) = model(b"\x1c\0\0\0TFL3.....edgetpu-custom-op....");
        let text = ModelFile::load(&path).unwrap_err().to_string();
        assert!(text.contains("compiled for the Edge TPU") && text.contains("without _edgetpu"), "{text}");
    }

    #[test]
    fn the_digest_is_the_usual_one() {
        let (_folder, path) = model(b"\x1c\0\0\0TFL3");
        let loaded = ModelFile::load(&path).unwrap();
        assert_eq!(loaded.sha256, "368044902ecf8fefba0dce61da4452643b6390818d6bd6a4a9b6a998813957ab");
        assert_eq!(loaded.name(), "model");
    }
}
