//! One picture through a model, without threads: the same conversion, engine and decoding as the pipeline's, for the commands
//! that work on pictures and for pictures that are posted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::failure::{Failure, Kind};
use camera::picture::RgbPicture;
use infer::Engine;
use model::Edition;
use pixels::frame::Picture;
use pixels::preprocess::{Converter, Fit};
use pixels::segment::{Masker, Summary};

use crate::config::Config;
use crate::runners::Runners;
use crate::scene::Areas;

/// Time that each step of one picture took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StepTimes {
    /// Picture to tensor.
    pub convert: Duration,
    /// The model.
    pub infer: Duration,
    /// Output to class map.
    pub decode: Duration,
}

/// Runs pictures through one edition, one after the other.
pub(crate) struct PictureRunner {
    edition: Arc<Edition>,
    engine: Box<dyn Engine>,
    tensor: Vec<u8>,
    output: Vec<u8>,
    converter: Converter,
    masker: Masker,
    mask: Vec<u8>,
    summary: Summary,
}

impl PictureRunner {
    /// Loads the model of `config` on the engine of `config`.
    ///
    /// # Errors
    /// As [`Runners::load`] and [`Runners::engine`].
    pub(crate) fn load(config: &Config) -> Result<Self, Failure> {
        let mut runners = Runners::load(config)?;
        let engine = runners.engine()?;
        Ok(Self::new(runners.edition, engine, config.model.fit))
    }

    /// Runs pictures through `edition` on `engine`.
    pub(crate) fn new(edition: Arc<Edition>, engine: Box<dyn Engine>, fit: Fit) -> Self {
        log::info!("model: {}", engine.describe());
        let io = &edition.io;
        Self {
            engine,
            tensor: vec![0; io.input.bytes()],
            output: vec![0; io.output.bytes()],
            converter: Converter::new(io.input.size, fit, edition.pixel_map.clone()),
            masker: Masker::new(io.output),
            mask: Vec::new(),
            summary: Summary::default(),
            edition,
        }
    }

    /// The model.
    pub(crate) const fn edition(&self) -> &Arc<Edition> {
        &self.edition
    }

    /// The class map of the last picture, at its own size.
    pub(crate) fn mask(&self) -> &[u8] {
        &self.mask
    }

    /// Figures of the last picture.
    pub(crate) const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// How much of the last picture each class covers.
    pub(crate) fn areas(&self) -> Areas {
        Areas::of(&self.edition.labels, &self.summary)
    }

    /// Runs a loaded picture.
    ///
    /// # Errors
    /// When the picture is larger than the conversion takes, or the engine fails.
    pub(crate) fn run_rgb(&mut self, picture: &RgbPicture) -> Result<StepTimes, Failure> {
        let view = picture.as_picture().map_err(|error| Failure::new(Kind::Data, error.to_string()))?;
        self.run(&view)
    }

    /// Runs a picture of any layout; the class map gets the picture's size.
    ///
    /// # Errors
    /// As [`PictureRunner::run_rgb`].
    pub(crate) fn run(&mut self, picture: &Picture<'_>) -> Result<StepTimes, Failure> {
        let bad = |error: &dyn std::fmt::Display| Failure::new(Kind::Data, error.to_string());
        let start = Instant::now();
        let region = self.converter.convert(picture, &mut self.tensor).map_err(|error| bad(&error))?;
        let converted = Instant::now();
        self.engine
            .infer(&self.tensor, &mut self.output)
            .map_err(|error| Failure::new(Kind::Software, error.to_string()))?;
        let inferred = Instant::now();
        self.masker
            .decode(&self.output, region, picture.full_size(), &mut self.mask, &mut self.summary)
            .map_err(|error| bad(&error))?;
        Ok(StepTimes { convert: converted - start, infer: inferred - converted, decode: inferred.elapsed() })
    }
}
