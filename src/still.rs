//! One picture through the model, without threads: the same conversion, engine and decoding as the pipeline's, for the
//! commands that work on pictures.

use std::time::{Duration, Instant};

use crate::capture::picture::RgbPicture;
use crate::config::values::Auto;
use crate::config::{self, Config};
use crate::failure::{Failure, Kind};
use crate::frame::Picture;
use crate::infer::{default_threads, Engine, InputSpec, TfliteEngine};
use crate::model::{find_default, LabelMap, ModelFile};
use crate::pipeline::{region, PAD};
use crate::preprocess::{Fit, Normalisation, PixelMap, Preprocessor};
use crate::segment::{Masker, OutputKind, Summary};

/// A model that is ready to run, with everything that is known of it.
pub struct LoadedModel {
    /// The file and its manifest.
    pub file: ModelFile,
    /// The engine.
    pub engine: Box<dyn Engine>,
    /// Names and colours.
    pub labels: LabelMap,
    /// Pixel values to tensor values.
    pub pixel_map: PixelMap,
    /// Inference threads.
    pub threads: usize,
}

impl LoadedModel {
    /// Loads the model that `config` names, or the default one.
    ///
    /// # Errors
    /// When there is none, or it can't run here.
    pub fn new(config: &config::Model) -> Result<Self, Failure> {
        let path = match &config.path {
            Auto::Auto => find_default()?,
            Auto::Set(path) => path.0.clone(),
        };
        let threads = config.threads.as_set().map_or_else(default_threads, |threads| threads.0);
        let file = ModelFile::load(&path)?;
        let engine: Box<dyn Engine> = Box::new(TfliteEngine::new(&file, threads)?);
        let classes = match engine.io().output.kind {
            OutputKind::Logits { classes, .. } => Some(classes),
            OutputKind::Labels { .. } => None,
        };
        let labels = LabelMap::new(classes, file.manifest.as_ref())
            .map_err(|error| Failure::new(Kind::Config, format!("model {}: {error}", path.display())))?;
        let pixel_map = pixel_map(&engine.io().input, &file);
        Ok(Self { file, engine, labels, pixel_map, threads })
    }
}

fn pixel_map(input: &InputSpec, file: &ModelFile) -> PixelMap {
    let entry = file.manifest.as_ref().map(|manifest| manifest.input).unwrap_or_default();
    let normalisation = entry.mean.zip(entry.std).map(|(mean, std)| Normalisation { mean, std });
    PixelMap::new(input.signed, input.scale, input.zero_point, normalisation.as_ref())
}

/// Time that each step of one picture took.
#[derive(Clone, Copy, Debug, Default)]
pub struct StillTimes {
    /// Picture to tensor.
    pub convert: Duration,
    /// The model.
    pub infer: Duration,
    /// Output to class map.
    pub decode: Duration,
}

/// Runs pictures through a model, one after the other.
pub struct Still {
    model: LoadedModel,
    fit: Fit,
    tensor: Vec<u8>,
    output: Vec<u8>,
    converter: Option<Preprocessor>,
    masker: Masker,
}

impl Still {
    /// Loads the model of `config`.
    ///
    /// # Errors
    /// As [`LoadedModel::new`].
    pub fn new(config: &Config) -> Result<Self, Failure> {
        let model = LoadedModel::new(&config.model)?;
        let io = model.engine.io();
        Ok(Self {
            tensor: vec![0; io.input.bytes()],
            output: vec![0; io.output.bytes()],
            converter: None,
            masker: Masker::new(io.output),
            fit: config.model.fit,
            model,
        })
    }

    /// The model.
    pub const fn model(&self) -> &LoadedModel {
        &self.model
    }

    /// The class map of the last picture, at its own size.
    pub fn mask(&self) -> &[u8] {
        self.masker.mask()
    }

    /// Class areas of the last picture.
    pub const fn summary(&self) -> &Summary {
        self.masker.summary()
    }

    /// Runs a loaded picture.
    ///
    /// # Errors
    /// When the picture is larger than the conversion takes, or the engine fails.
    pub fn run_rgb(&mut self, picture: &RgbPicture) -> Result<StillTimes, Failure> {
        let view = picture.as_picture().map_err(|error| Failure::new(Kind::Data, error.to_string()))?;
        self.run(&view)
    }

    /// Runs a picture of any layout; the class map gets the picture's size.
    ///
    /// # Errors
    /// As [`Still::run_rgb`].
    pub fn run(&mut self, picture: &Picture<'_>) -> Result<StillTimes, Failure> {
        let bad = |error: &dyn std::fmt::Display| Failure::new(Kind::Data, error.to_string());
        let start = Instant::now();
        let target = self.model.engine.io().input.size;
        let map = &self.model.pixel_map;
        let converter = Preprocessor::renew(&mut self.converter, picture.format(), target, self.fit, map, PAD)
            .map_err(|error| bad(&error))?;
        converter.run(picture, &mut self.tensor).map_err(|error| bad(&error))?;
        let placement = region(converter.placement(), target);
        let converted = Instant::now();
        self.model
            .engine
            .infer(&self.tensor, &mut self.output)
            .map_err(|error| Failure::new(Kind::Software, error.to_string()))?;
        let inferred = Instant::now();
        self.masker.decode(&self.output, placement, picture.full_size()).map_err(|error| bad(&error))?;
        Ok(StillTimes { convert: converted - start, infer: inferred - converted, decode: inferred.elapsed() })
    }
}
