//! A model for the CPU and what the Edge TPU's compiler made of it: which file belongs to which, and whether they agree.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::manifest::{self, file_name, Manifest};
use super::tflite::{check_mark, Graph, Tensor, EXPECTED};
use super::{is_compiled, read, ModelError, ModelFile};

/// What a model is to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The CPU, or a delegate that takes models for the CPU. A compiled file beside the model is not looked at.
    Cpu,
    /// An Edge TPU; the CPU where there is a file for it too.
    EdgeTpu,
    /// Whatever there is a file for.
    Auto,
}

/// A file that the Edge TPU's compiler made.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// Where it was read from.
    pub path: PathBuf,
    /// The whole file.
    pub bytes: Arc<[u8]>,
    /// SHA-256 of the bytes, in hex.
    pub sha256: String,
}

/// What the compiler adds to a file's stem.
const SUFFIX: &str = "_edgetpu";
/// What makes a compiled file, in a checkout of this project.
pub(super) const COMPILE: &str = "kit/compile_edgetpu.sh";

impl ModelFile {
    /// Reads the model at `path`, the manifest beside it and, unless only the CPU is wanted, its other half. `path` may name
    /// either half: the result's own file is the one for the CPU, and the compiled one where there is none.
    ///
    /// The compiled half is the file that the manifest's `[edgetpu]` names, or else `<stem>_edgetpu.tflite`.
    ///
    /// # Errors
    /// When a file can't be read, is damaged, disagrees with the manifest or with its other half, or
    /// can't run where it is wanted.
    pub fn load_for(path: &Path, want: Want) -> Result<Self, ModelError> {
        let (bytes, sha256) = read(path)?;
        if is_compiled(&bytes) {
            return Self::with_cpu_half(Compiled { path: path.to_path_buf(), bytes: bytes.into(), sha256 }, want);
        }
        let found = manifest::beside(path, None)?;
        if let Some((at, manifest)) = &found {
            manifest.check_digest(at, &manifest.file, path, &sha256)?;
        }
        let mut file = Self::plain(path, bytes, sha256);
        if want != Want::Cpu {
            file.compiled = file.compiled_half(found.as_ref())?;
            if file.compiled.is_none() && want == Want::EdgeTpu {
                return Err(no_compiled_half(path));
            }
        }
        file.manifest = found.map(|(_, manifest)| manifest);
        file.check_agreement()?;
        Ok(file)
    }

    /// Reads the TensorFlow Lite file at `path`, whatever it is of, without what belongs to it.
    ///
    /// # Errors
    /// When it can't be read, or isn't TensorFlow Lite.
    pub fn alone(path: &Path) -> Result<Self, ModelError> {
        let (bytes, sha256) = read_tflite(path)?;
        Ok(Self { is_compiled: is_compiled(&bytes), ..Self::plain(path, bytes, sha256) })
    }

    fn plain(path: &Path, bytes: Vec<u8>, sha256: String) -> Self {
        let path = path.to_path_buf();
        Self { path, bytes: bytes.into(), sha256, manifest: None, is_compiled: false, compiled: None }
    }

    /// The half for the CPU, if there is one.
    pub fn for_cpu(&self) -> Option<&Self> {
        (!self.is_compiled).then_some(self)
    }

    /// The half for an Edge TPU as a file of its own, if there is one.
    pub fn for_edgetpu(&self) -> Option<Self> {
        if self.is_compiled {
            return Some(self.clone());
        }
        let Compiled { path, bytes, sha256 } = self.compiled.clone()?;
        Some(Self { path, bytes, sha256, manifest: self.manifest.clone(), is_compiled: true, compiled: None })
    }

    fn with_cpu_half(compiled: Compiled, want: Want) -> Result<Self, ModelError> {
        let name = file_name(&compiled.path);
        let found = match manifest::beside(&compiled.path, Some(&source_path(&compiled.path))) {
            // Whatever is wrong with the manifest, this file is the wrong one.
            Err(_) if want == Want::Cpu => None,
            found => found?,
        };
        let named =
            found.as_ref().map(|(_, manifest)| &manifest.file.path).filter(|&path| !path.is_empty() && *path != name);
        let source = named.map_or_else(|| source_path(&compiled.path), |named| compiled.path.with_file_name(named));
        let is_there = source != compiled.path && source.is_file();
        if want == Want::Cpu {
            let which =
                if is_there { source.display().to_string() } else { format!("the file without {SUFFIX} in its name") };
            return Err(ModelError::unfit(
                &compiled.path,
                "a model compiled for the Edge TPU, which the CPU can't run",
                format!("the CPU model it was compiled from ({which}), or engine.kind = \"edgetpu\""),
            ));
        }
        if let Some((at, manifest)) = &found {
            let entry = if manifest.file.path == name { &manifest.file } else { &manifest.edgetpu };
            manifest.check_digest(at, entry, &compiled.path, &compiled.sha256)?;
        }
        if !is_there {
            if named.is_some() {
                log::warn!("{}: its CPU model {} is not there", compiled.path.display(), source.display());
            }
            let Compiled { path, bytes, sha256 } = compiled;
            parse(&path, &bytes)?;
            let manifest = found.map(|(_, manifest)| manifest);
            return Ok(Self { path, bytes, sha256, manifest, is_compiled: true, compiled: None });
        }
        let (bytes, sha256) = read_tflite(&source)?;
        if is_compiled(&bytes) {
            return Err(ModelError::unfit(
                &source,
                "a model compiled for the Edge TPU",
                format!("the CPU model that {name} was compiled from"),
            ));
        }
        if let Some((at, manifest)) = &found {
            manifest.check_digest(at, &manifest.file, &source, &sha256)?;
        }
        let manifest = found.map(|(_, manifest)| manifest);
        let compiled = Some(compiled);
        let file = Self { path: source, bytes: bytes.into(), sha256, manifest, is_compiled: false, compiled };
        file.check_agreement()?;
        Ok(file)
    }

    /// The compiled half of this CPU file. None where nothing names it and none lies beside.
    fn compiled_half(&self, found: Option<&(PathBuf, Manifest)>) -> Result<Option<Compiled>, ModelError> {
        let named = found.filter(|(_, manifest)| !manifest.edgetpu.path.is_empty());
        let path = named.map_or_else(
            || compiled_path(&self.path),
            |(_, manifest)| self.path.with_file_name(&manifest.edgetpu.path),
        );
        match named {
            None if !path.is_file() => return Ok(None),
            Some((at, _)) if !path.is_file() => {
                let reason = format!(
                    "edgetpu: {} is not there; put it beside the model, or take the section out",
                    path.display()
                );
                return Err(manifest::wrong(at, reason));
            }
            _ => {}
        }
        let (bytes, sha256) = read_tflite(&path)?;
        if !is_compiled(&bytes) {
            return Err(ModelError::unfit(
                &path,
                "a model that is not compiled for the Edge TPU",
                format!("what edgetpu_compiler made of {} ({COMPILE} runs it)", file_name(&self.path)),
            ));
        }
        if let Some((at, manifest)) = found {
            manifest.check_digest(at, &manifest.edgetpu, &path, &sha256)?;
        }
        Ok(Some(Compiled { path, bytes: bytes.into(), sha256 }))
    }

    fn check_agreement(&self) -> Result<(), ModelError> {
        let Some(compiled) = &self.compiled else { return Ok(()) };
        let theirs = parse(&compiled.path, &compiled.bytes)?;
        let ours = parse(&self.path, &self.bytes)?;
        let differences = differences(&theirs, &ours, &file_name(&self.path));
        if differences.is_empty() {
            return Ok(());
        }
        let expected = format!("what was compiled from {0}: compile it again ({COMPILE} {0})", self.path.display());
        Err(ModelError::unfit(&compiled.path, differences.join("; "), expected))
    }
}

/// As [`read`], of a file that must be TensorFlow Lite's.
fn read_tflite(path: &Path) -> Result<(Vec<u8>, String), ModelError> {
    let (bytes, sha256) = read(path)?;
    check_mark(&bytes).map_err(|found| ModelError::unfit(path, found, EXPECTED))?;
    Ok((bytes, sha256))
}

fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<Graph<'a>, ModelError> {
    Graph::read(bytes).map_err(|damage| {
        ModelError::unfit(path, format!("a damaged TensorFlow Lite file ({damage})"), "a complete, valid .tflite file")
    })
}

fn no_compiled_half(path: &Path) -> ModelError {
    let beside = file_name(&compiled_path(path));
    ModelError::unfit(
        path,
        format!("a model for the CPU, without one for the Edge TPU ({beside}) beside it"),
        format!("a compiled half: {COMPILE} {} makes it; or engine.kind = \"cpu\"", path.display()),
    )
}

/// What `compiled` has at its ends that `cpu` hasn't, one phrase each; none where they agree. `name` is the CPU file's.
pub(crate) fn differences(compiled: &Graph<'_>, cpu: &Graph<'_>, name: &str) -> Vec<String> {
    let inputs = end("input", compiled.input_tensors().collect(), cpu.input_tensors().collect(), name);
    inputs
        .into_iter()
        .chain(end("output", compiled.output_tensors().collect(), cpu.output_tensors().collect(), name))
        .collect()
}

fn end(end: &str, theirs: Vec<&Tensor<'_>>, ours: Vec<&Tensor<'_>>, name: &str) -> Vec<String> {
    if theirs.len() != ours.len() {
        return vec![format!("its number of {end}s is {}, {name}'s is {}", theirs.len(), ours.len())];
    }
    let told = |tensor: &Tensor<'_>| match tensor.quantisation {
        Some((scale, zero_point)) => format!("{tensor} with scale {scale} and zero point {zero_point}"),
        None => format!("{tensor} without a scale"),
    };
    let differ = |(theirs, ours): &(&Tensor<'_>, &Tensor<'_>)| {
        theirs.kind != ours.kind || theirs.shape != ours.shape || !same(theirs.quantisation, ours.quantisation)
    };
    let pairs = theirs.into_iter().zip(ours).filter(differ);
    pairs.map(|(theirs, ours)| format!("its {end} is {}, {name}'s is {}", told(theirs), told(ours))).collect()
}

/// Exactly the same; a scale that is no number is the same as itself.
fn same(a: Option<(f32, i64)>, b: Option<(f32, i64)>) -> bool {
    let exact = |pair: Option<(f32, i64)>| pair.map(|(scale, zero_point)| (scale.to_bits(), zero_point));
    exact(a) == exact(b)
}

/// Where the compiler puts what it makes of `path`.
pub(super) fn compiled_path(path: &Path) -> PathBuf {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!("{stem}{SUFFIX}.tflite"))
}

/// What `path` was compiled from, by its name; `path` itself where the name doesn't say.
fn source_path(path: &Path) -> PathBuf {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    stem.strip_suffix(SUFFIX).map_or_else(|| path.to_path_buf(), |stem| path.with_file_name(format!("{stem}.tflite")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Same ends as the colour model's, and one operator that only an Edge TPU can run.
    const COMPILED: &str = "refused_edgetpu";

    /// A folder with files of tests/models, and a manifest where `manifest` is not empty.
    fn folder(files: &[(&str, &str)], manifest: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, source) in files {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/models/{source}.tflite"));
            std::fs::copy(source, folder.path().join(name)).unwrap();
        }
        if !manifest.is_empty() {
            std::fs::write(folder.path().join("manifest.toml"), manifest).unwrap();
        }
        folder
    }

    const PAIR: [(&str, &str); 2] = [("model.tflite", "colours_96x64_int8"), ("model_edgetpu.tflite", COMPILED)];

    #[track_caller]
    fn refusal(folder: &tempfile::TempDir, name: &str, want: Want) -> String {
        ModelFile::load_for(&folder.path().join(name), want).unwrap_err().to_string()
    }

    #[track_caller]
    fn loaded(folder: &tempfile::TempDir, name: &str, want: Want) -> ModelFile {
        ModelFile::load_for(&folder.path().join(name), want).unwrap()
    }

    fn name(path: &Path) -> String {
        file_name(path)
    }

    #[test]
    fn either_half_leads_to_the_pair() {
        let folder = folder(&PAIR, "");
        for want in [Want::EdgeTpu, Want::Auto] {
            for half in ["model.tflite", "model_edgetpu.tflite"] {
                let file = loaded(&folder, half, want);
                assert_eq!((name(&file.path).as_str(), file.is_compiled), ("model.tflite", false));
                assert_eq!(name(&file.compiled.as_ref().unwrap().path), "model_edgetpu.tflite");
                assert_eq!(file.for_cpu().unwrap().sha256, file.sha256);
                let compiled = file.for_edgetpu().unwrap();
                assert!(compiled.is_compiled && compiled.for_cpu().is_none() && is_compiled(&compiled.bytes));
                assert_eq!(compiled.for_edgetpu().unwrap().sha256, compiled.sha256);
            }
        }
        assert!(loaded(&folder, "model.tflite", Want::Cpu).compiled.is_none());
    }

    #[test]
    fn a_half_alone_is_taken_where_it_can_run() {
        let folder = folder(&[("a.tflite", "colours_96x64_int8"), ("b.tflite", COMPILED)], "");
        assert!(loaded(&folder, "a.tflite", Want::Auto).for_edgetpu().is_none());
        for want in [Want::Auto, Want::EdgeTpu] {
            assert!(loaded(&folder, "b.tflite", want).for_cpu().is_none());
        }
        let words = refusal(&folder, "a.tflite", Want::EdgeTpu);
        assert!(words.contains("without one for the Edge TPU (a_edgetpu.tflite) beside it"), "{words}");
        assert!(words.contains("expected a compiled half: kit/compile_edgetpu.sh"), "{words}");
        let words = refusal(&folder, "b.tflite", Want::Cpu);
        assert!(words.contains("compiled for the Edge TPU") && words.contains("without _edgetpu"), "{words}");
    }

    #[test]
    fn a_compiled_half_on_the_cpu_is_refused_with_the_name_of_the_other() {
        let words = refusal(&folder(&PAIR, ""), "model_edgetpu.tflite", Want::Cpu);
        assert!(words.contains("which the CPU can't run; expected the CPU model") && words.contains("/model.tflite)"));
        let named = "name = 'm'\n[file]\npath = 'm8.tflite'\n[edgetpu]\npath = 'c.tflite'\n";
        let folder = folder(&[("m8.tflite", "colours_96x64_int8"), ("c.tflite", COMPILED)], named);
        assert!(refusal(&folder, "c.tflite", Want::Cpu).contains("/m8.tflite)"));
    }

    #[test]
    fn the_manifest_names_both_halves_and_serves_both() {
        let files = [("m8.tflite", "colours_96x64_int8"), ("c.tflite", COMPILED)];
        let folder = folder(&files, "name = 'm'\n[file]\npath = 'm8.tflite'\n[edgetpu]\npath = 'c.tflite'\n");
        for half in ["m8.tflite", "c.tflite"] {
            let file = loaded(&folder, half, Want::EdgeTpu);
            assert_eq!((file.name().as_str(), name(&file.path).as_str()), ("m", "m8.tflite"));
            assert_eq!(name(&file.compiled.as_ref().unwrap().path), "c.tflite");
            assert_eq!(file.for_edgetpu().unwrap().name(), "m");
        }
        std::fs::remove_file(folder.path().join("m8.tflite")).unwrap();
        assert_eq!(loaded(&folder, "c.tflite", Want::EdgeTpu).name(), "m", "names without the CPU half");
        std::fs::rename(folder.path().join("c.tflite"), folder.path().join("other_edgetpu.tflite")).unwrap();
        assert_eq!(loaded(&folder, "other_edgetpu.tflite", Want::EdgeTpu).manifest, None, "it is another's");
    }

    #[test]
    fn a_manifest_that_names_one_half_serves_the_other_by_its_name() {
        let manifest = "name = 'm'\n[file]\npath = 'model.tflite'\n";
        assert_eq!(loaded(&folder(&PAIR, manifest), "model_edgetpu.tflite", Want::Auto).name(), "m");
        let folder = folder(&PAIR, "");
        std::fs::write(folder.path().join("model.toml"), "name = 'own'\n").unwrap();
        assert_eq!(loaded(&folder, "model_edgetpu.tflite", Want::Auto).name(), "own");
    }

    #[test]
    fn digests_of_both_halves_are_checked() {
        let digest = |name: &str| loaded(&folder(&PAIR, ""), name, Want::Auto).sha256;
        let ours = digest("model.tflite");
        let theirs = loaded(&folder(&PAIR, ""), "model.tflite", Want::Auto).compiled.unwrap().sha256;
        let manifest = |cpu: &str, edgetpu: &str| {
            format!("name = 'm'\n[file]\nsha256 = '{cpu}'\n[edgetpu]\nsha256 = '{edgetpu}'\n")
        };
        for half in ["model.tflite", "model_edgetpu.tflite"] {
            assert!(loaded(&folder(&PAIR, &manifest(&ours, &theirs)), half, Want::Auto).compiled.is_some());
            for want in [Want::Auto, Want::EdgeTpu] {
                let words = refusal(&folder(&PAIR, &manifest(&ours, "00")), half, want);
                assert!(words.contains("edgetpu: the compiled model's digest is"), "{words}");
                let words = refusal(&folder(&PAIR, &manifest("00", &theirs)), half, want);
                assert!(
                    words.contains("the model's digest is") && words.contains("model.tflite is damaged"),
                    "{words}"
                );
            }
        }
        assert!(loaded(&folder(&PAIR, &manifest(&ours, "00")), "model.tflite", Want::Cpu).compiled.is_none());
    }

    #[test]
    fn what_the_manifest_names_must_be_there_and_compiled() {
        let section = |path: &str| format!("name = 'm'\n[file]\npath = 'model.tflite'\n[edgetpu]\npath = '{path}'\n");
        let words = refusal(&folder(&PAIR, &section("gone.tflite")), "model.tflite", Want::Auto);
        assert!(
            words.contains("gone.tflite is not there; put it beside the model, or take the section out"),
            "{words}"
        );
        for path in ["model.tflite", "../model_edgetpu.tflite"] {
            let words = refusal(&folder(&PAIR, &section(path)), "model.tflite", Want::Cpu);
            assert!(words.contains("expected the name of another file"), "{words}");
        }
        let twice = [("model.tflite", "colours_96x64_int8"), ("model_edgetpu.tflite", "colours_96x64_int8")];
        let words = refusal(&folder(&twice, ""), "model.tflite", Want::Auto);
        assert!(
            words.contains("_edgetpu.tflite: a model that is not compiled")
                && words.contains("what edgetpu_compiler made")
        );
        let twice = [("model.tflite", COMPILED), ("model_edgetpu.tflite", COMPILED)];
        let words = refusal(&folder(&twice, ""), "model_edgetpu.tflite", Want::Auto);
        assert!(words.contains("/model.tflite: a model compiled for the Edge TPU; expected the CPU model"), "{words}");
    }

    #[test]
    fn halves_that_differ_are_refused_with_every_difference() {
        let other = |source: &str| {
            let folder = folder(&[("model.tflite", source), ("model_edgetpu.tflite", COMPILED)], "");
            let words = refusal(&folder, "model.tflite", Want::Auto);
            assert_eq!(words, refusal(&folder, "model_edgetpu.tflite", Want::EdgeTpu));
            assert!(words.contains("_edgetpu.tflite: its ") && words.contains("compile it again"), "{words}");
            words
        };
        let words = other("colours_320x240_int8");
        assert!(
            words.contains("its input is int8 [1, 64, 96, 3] with scale 0.003921569 and zero point -128"),
            "{words}"
        );
        assert!(
            words.contains("model.tflite's is int8 [1, 240, 320, 3]") && words.contains("its output is"),
            "{words}"
        );
        let words = other("colours_96x64_uint8");
        assert!(
            words.contains("model.tflite's is uint8 [1, 64, 96, 3] with scale 0.003921569 and zero point 0"),
            "{words}"
        );
        assert!(other("colours_96x64_int8_signed").contains("model.tflite's is int8 [1, 64, 96, 3] with scale 0.007"));
        assert!(other("refused_two_outputs").contains("its number of outputs is 1, model.tflite's is 2"));
        assert!(other("unscaled_96x64_int8").contains("without a scale"));
    }

    #[test]
    fn a_damaged_half_is_refused_wherever_it_could_run() {
        let folder = folder(&PAIR, "");
        let path = folder.path().join("model_edgetpu.tflite");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [b"\xff\xff\xff\x7fTFL3", &whole[8..]].concat()).unwrap();
        for (half, want) in
            [("model.tflite", Want::Auto), ("model.tflite", Want::EdgeTpu), ("model_edgetpu.tflite", Want::Auto)]
        {
            let words = refusal(&folder, half, want);
            assert!(words.contains("_edgetpu.tflite: a damaged TensorFlow Lite file (its structure"), "{words}");
        }
        loaded(&folder, "model.tflite", Want::Cpu);
        std::fs::write(&path, b"").unwrap();
        assert!(refusal(&folder, "model.tflite", Want::Auto).contains("_edgetpu.tflite: an empty file"));
    }
}
