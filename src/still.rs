//! One picture through the model, without threads: the same conversion, engine and decoding as the pipeline's, for the
//! commands that work on pictures.

use std::time::{Duration, Instant};

use base::failure::{Failure, Kind};
use camera::picture::RgbPicture;
use infer::Engine;
use pixels::frame::Picture;
use pixels::preprocess::{Fit, Preprocessor};
use pixels::segment::{Masker, Summary};

use crate::config::Config;
use crate::loaded::LoadedModel;
use crate::pipeline::{region, PAD};

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
    engine: Box<dyn Engine>,
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
    /// As [`LoadedModel::read`] and [`LoadedModel::engine`].
    pub fn new(config: &Config) -> Result<Self, Failure> {
        let mut model = LoadedModel::read(config)?;
        let engine = model.engine()?;
        log::info!("model: {}", engine.describe());
        let io = &model.io;
        Ok(Self {
            engine,
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
        let target = self.model.io.input.size;
        let map = &self.model.pixel_map;
        let converter = Preprocessor::renew(&mut self.converter, picture.format(), target, self.fit, map, PAD)
            .map_err(|error| bad(&error))?;
        converter.run(picture, &mut self.tensor).map_err(|error| bad(&error))?;
        let placement = region(converter.placement(), target);
        let converted = Instant::now();
        self.engine
            .infer(&self.tensor, &mut self.output)
            .map_err(|error| Failure::new(Kind::Software, error.to_string()))?;
        let inferred = Instant::now();
        self.masker.decode(&self.output, placement, picture.full_size()).map_err(|error| bad(&error))?;
        Ok(StillTimes { convert: converted - start, infer: inferred - converted, decode: inferred.elapsed() })
    }
}
