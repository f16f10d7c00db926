//! [`Edition`]: one loaded model with everything that is known of it.

use std::sync::{Arc, Mutex};

use base::failure::{Failure, Kind};
use base::sync::lock;
use pixels::preprocess::{Normalisation, PixelMap};
use pixels::segment::OutputKind;

use crate::{InputSpec, LabelMap, ModelFile, ModelIo};

/// One loaded model: its bytes, both of its ends, its classes, and which runtime runs it. An edition never changes. One
/// `Arc<Edition>` travels with each frame, so whatever looks at a frame's result has the names of that frame's own classes, and
/// a model is replaced between two frames by handing out another edition.
#[derive(Clone, Debug)]
pub struct Edition {
    /// A short name: the manifest's, or the file's own.
    pub name: String,
    /// The file with its bytes and digest, its manifest and its compiled half.
    pub file: ModelFile,
    /// The name of the runtime that runs it.
    pub runtime: &'static str,
    /// Both ends.
    pub io: ModelIo,
    /// Names, colours and groups of its classes.
    pub labels: LabelMap,
    /// Pixel values to tensor values.
    pub pixel_map: PixelMap,
}

impl Edition {
    /// The edition of `file`, whose ends are `io`, run by `runtime`.
    ///
    /// # Errors
    /// When the manifest names another number of classes than the model has.
    pub fn new(file: ModelFile, runtime: &'static str, io: ModelIo) -> Result<Self, Failure> {
        let classes = match io.output.kind {
            OutputKind::Logits { classes, .. } => Some(classes),
            OutputKind::Labels { .. } => None,
        };
        let labels = LabelMap::new(classes, file.manifest.as_ref())
            .map_err(|error| Failure::new(Kind::Config, format!("model {}: {error}", file.path.display())))?;
        let pixel_map = pixel_map(&io.input, &file);
        Ok(Self { name: file.name(), file, runtime, io, labels, pixel_map })
    }

    /// What its model was trained on, where the manifest says so.
    pub fn normalisation(&self) -> Option<Normalisation> {
        normalisation(&self.file)
    }

    /// An edition without a file, for tests.
    #[cfg(any(test, feature = "testing"))]
    pub fn of(name: &str, io: ModelIo, labels: LabelMap) -> Self {
        let file = ModelFile {
            path: format!("{name}.tflite").into(),
            bytes: Arc::from([]),
            sha256: String::new(),
            manifest: None,
            is_compiled: false,
            compiled: None,
        };
        Self { name: name.to_owned(), file, runtime: "none", io, labels, pixel_map: PixelMap::Identity }
    }
}

/// Which edition runs now. Clones share it. Replacing it is one write: the next frame carries the new edition, and each stage
/// prepares itself when it sees that.
#[derive(Clone, Debug)]
pub struct CurrentEdition(Arc<Mutex<Arc<Edition>>>);

impl CurrentEdition {
    /// Begins with `edition`.
    pub fn new(edition: Arc<Edition>) -> Self {
        Self(Arc::new(Mutex::new(edition)))
    }

    /// The edition that runs now.
    pub fn now(&self) -> Arc<Edition> {
        Arc::clone(&lock(&self.0))
    }

    /// Lets `edition` run from the next frame on.
    pub fn replace(&self, edition: Arc<Edition>) {
        *lock(&self.0) = edition;
    }
}

fn pixel_map(input: &InputSpec, file: &ModelFile) -> PixelMap {
    PixelMap::new(input.signed, input.scale, input.zero_point, normalisation(file).as_ref())
}

fn normalisation(file: &ModelFile) -> Option<Normalisation> {
    let entry = file.manifest.as_ref()?.input;
    entry.mean.zip(entry.std).map(|(mean, std)| Normalisation { mean, std })
}
