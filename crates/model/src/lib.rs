//! The model as a file: bytes, digest, manifest, its compiled half, and where to look for one. Running it is left to `infer`.

mod contract;
pub mod edgetpu;
mod edition;
mod flatbuffer;
pub mod labels;
pub mod manifest;
pub(crate) mod pair;
pub mod tflite;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::failure::{Failure, Kind};
use sha2::{Digest, Sha256};

pub use contract::{check, io, InputSpec, ModelIo, TensorInfo, TensorType};
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
    /// The manifest is wrong, or doesn't belong to the file.
    #[error("manifest {}: {reason}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong, with the line where there is one.
        reason: String,
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
    let unreadable = |reason: String| ModelError::Read { path: path.to_path_buf(), reason };
    let meta = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if !meta.is_file() {
        return Err(unreadable("not a file; expected a .tflite file".to_owned()));
    }
    if meta.len() > LARGEST {
        return Err(unreadable(format!("{} bytes; expected at most {LARGEST}", meta.len())));
    }
    let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let sha256 = hex(&Sha256::digest(&bytes));
    Ok((bytes, sha256))
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

/// The model to take where there are several and none is named: it suits every board.
const PREFERRED: &str = "street-fast";

/// The model that runs when none is configured: `models/street-fast`, or else the first `models/*/model.tflite` by name,
/// in the installed place, in the folders above the program (a build tree), or in the current folder.
///
/// # Errors
/// When there is none, with the places that were searched.
pub fn find_default() -> Result<PathBuf, ModelError> {
    let mut places = vec![PathBuf::from("/var/lib/pspnetd/models"), PathBuf::from("/usr/share/pspnetd/models")];
    if let Ok(program) = std::env::current_exe() {
        places.extend(program.ancestors().skip(1).take(4).map(|folder| folder.join("models")));
    }
    places.push(PathBuf::from("models"));
    places.iter().find_map(|place| first_model(place)).ok_or_else(|| ModelError::NoneFound {
        searched: places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", "),
    })
}

fn first_model(place: &Path) -> Option<PathBuf> {
    let mut models: Vec<PathBuf> = std::fs::read_dir(place)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("model.tflite")))
        .filter(|path| path.is_file())
        .collect();
    models.sort_by_key(|path| (!path.parent().is_some_and(|folder| folder.ends_with(PREFERRED)), path.clone()));
    models.into_iter().next()
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Self::new(Kind::Config, error.to_string())
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

    #[test]
    fn the_preferred_model_comes_first_then_the_alphabet() {
        let folder = tempfile::tempdir().unwrap();
        let add = |name: &str| {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            std::fs::write(folder.path().join(name).join("model.tflite"), b"").unwrap();
        };
        let chosen = || first_model(folder.path()).map(|path| path.strip_prefix(folder.path()).unwrap().to_owned());
        assert_eq!(chosen(), None);
        add("street-nano");
        add("street-accurate");
        assert_eq!(chosen().unwrap(), Path::new("street-accurate/model.tflite"));
        add("street-fast");
        assert_eq!(chosen().unwrap(), Path::new("street-fast/model.tflite"));
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
