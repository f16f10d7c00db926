//! What is found out about a model file. How it is told is left to `show`.

use std::path::Path;

use model::edgetpu::{packages, Package, Verdict};
use model::tflite::Graph;
use model::{ModelError, ModelFile, Want};

/// A model file, whatever it is of.
pub(super) struct File {
    pub(super) model: ModelFile,
    /// Itself with manifest and other half, or why they can't be had.
    pair: Result<ModelFile, ModelError>,
}

impl File {
    pub(super) fn read(path: &Path) -> Result<Self, ModelError> {
        let model = ModelFile::alone(path)?;
        Ok(Self { model, pair: ModelFile::load_for(path, Want::Auto) })
    }
}

pub(super) struct Inspection<'f> {
    pub(super) model: &'f ModelFile,
    pub(super) graph: Graph<'f>,
    pub(super) verdict: Verdict,
    /// Of the operators that only an Edge TPU can run, in order.
    pub(super) packages: Vec<Option<Package>>,
    /// Why this program can't use the model.
    pub(super) unfit: Option<ModelError>,
    /// The file with its manifest and its other half, where nothing is wrong with them.
    pub(super) pair: Option<&'f ModelFile>,
    /// What has to be mended.
    pub(super) problems: Vec<ModelError>,
}

impl<'f> Inspection<'f> {
    /// # Errors
    /// When the file is damaged.
    pub(super) fn new(file: &'f File) -> Result<Self, ModelError> {
        let model = &file.model;
        let damaged = |what: &str, error: &dyn std::fmt::Display| {
            ModelError::unfit(&model.path, format!("{what} ({error})"), "a complete, valid .tflite file")
        };
        let graph = Graph::read(&model.bytes).map_err(|damage| damaged("a damaged TensorFlow Lite file", &damage))?;
        let mut problems: Vec<ModelError> = file.pair.as_ref().err().cloned().into_iter().collect();
        let packages = packages(&graph).unwrap_or_else(|damage| {
            problems.push(damaged("a damaged package for the Edge TPU", &damage));
            Vec::new()
        });
        Ok(Self {
            model,
            verdict: Verdict::new(&graph),
            graph,
            packages,
            unfit: model::io(model).err(),
            pair: file.pair.as_ref().ok(),
            problems,
        })
    }

    /// The other half's path and digest.
    pub(super) fn other_half(&self) -> Option<(&'f Path, &'f str)> {
        let pair = self.pair?;
        let compiled = pair.compiled.as_ref()?;
        Some(if pair.path == self.model.path { (&compiled.path, &compiled.sha256) } else { (&pair.path, &pair.sha256) })
    }
}
