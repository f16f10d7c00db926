//! The table of runtimes: what runs which model file. A new runtime is one file with a [`Runtime`] in it, and one line in
//! [`RUNTIMES`].

use model::tflite::Needs;
use model::{ModelError, ModelFile, ModelIo};

use crate::{tflite, Engine};

/// Makes an engine for a file, with so many threads.
pub type MakeEngine = fn(&ModelFile, usize) -> Result<Box<dyn Engine>, ModelError>;

/// Something that runs models of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Runtime {
    /// Its name in messages and in an edition.
    pub name: &'static str,
    /// What it expects of a file, for the message where no runtime takes one.
    pub expects: &'static str,
    /// Whether a file is of its kind, told from the first bytes; otherwise what the file is instead. A file that it claims can
    /// still turn out to be damaged.
    pub claims: fn(&ModelFile) -> Result<(), &'static str>,
    /// Refuses a file with values that the runtime can't survive, without running it. Returns what memory the
    /// model needs.
    pub vet: fn(&ModelFile) -> Result<Needs, ModelError>,
    /// Both ends of a file, without running it.
    pub io: fn(&ModelFile) -> Result<ModelIo, ModelError>,
    /// An engine on the CPU, in this process, with so many threads.
    pub engine: MakeEngine,
}

/// Every runtime, in the order in which they are asked.
pub const RUNTIMES: &[Runtime] = &[tflite::RUNTIME];

/// The runtime that runs `file`.
///
/// # Errors
/// When none does: what the file is, and what is expected.
pub fn runtime_of(file: &ModelFile) -> Result<&'static Runtime, ModelError> {
    choose(RUNTIMES, file)
}

fn choose<'a>(runtimes: &'a [Runtime], file: &ModelFile) -> Result<&'a Runtime, ModelError> {
    let mut found: Vec<&str> = Vec::new();
    for runtime in runtimes {
        match (runtime.claims)(file) {
            Ok(()) => return Ok(runtime),
            Err(instead) if !found.contains(&instead) => found.push(instead),
            Err(_) => {}
        }
    }
    let expected: Vec<&str> = runtimes.iter().map(|runtime| runtime.expects).collect();
    Err(ModelError::unfit(&file.path, found.join(", "), expected.join(", or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> (tempfile::TempDir, ModelFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m");
        std::fs::write(&path, bytes).unwrap();
        let file = ModelFile::load(&path).unwrap();
        (folder, file)
    }

    const OTHER: Runtime = Runtime {
        name: "other",
        expects: "another kind of file",
        claims: |file| if file.bytes.starts_with(b"other") { Ok(()) } else { Err("no other file") },
        ..tflite::RUNTIME
    };

    #[test]
    fn the_first_runtime_that_claims_a_file_runs_it() {
        let table = [tflite::RUNTIME, OTHER];
        let chosen = |bytes: &[u8]| {
            let (_folder, file) = file(bytes);
            choose(&table, &file).map(|runtime| runtime.name).map_err(|error| error.to_string())
        };
        assert_eq!(chosen(b"\x1c\0\0\0TFL3"), Ok("tflite"));
        assert_eq!(chosen(b"other things"), Ok("other"));
        let error = chosen(b"\x7fELF and more").unwrap_err();
        assert!(
            error.contains("no TFL3 mark), no other file; expected an int8 model in a .tflite file, or another"),
            "{error}"
        );
        assert!(chosen(b"").unwrap_err().contains("an empty file"));
    }
}
