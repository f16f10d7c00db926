//! One picture through a model, without threads: the same conversion, engine and decoding as the pipeline's, for the commands
//! that work on pictures and for pictures that are posted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::failure::{Failure, Kind};
use camera::picture::RgbPicture;
use infer::Engine;
use model::{Edition, ModelIo};
use pixels::frame::Picture;
use pixels::preprocess::{Converter, Fit, PixelMap};
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

/// The steps of a picture through one model: conversion, engine, class map.
pub(crate) struct PictureSteps {
    engine: Box<dyn Engine>,
    tensor: Vec<u8>,
    output: Vec<u8>,
    converter: Converter,
    masker: Masker,
    mask: Vec<u8>,
    summary: Summary,
}

impl PictureSteps {
    /// The steps for a model whose ends are `io`, on `engine`.
    pub(crate) fn new(engine: Box<dyn Engine>, io: &ModelIo, fit: Fit, pixel_map: PixelMap) -> Self {
        Self {
            engine,
            tensor: vec![0; io.input.bytes()],
            output: vec![0; io.output.bytes()],
            converter: Converter::new(io.input.size, fit, pixel_map),
            masker: Masker::new(io.output),
            mask: Vec::new(),
            summary: Summary::default(),
        }
    }

    /// The class map of the last picture, at its own size.
    pub(crate) fn mask(&self) -> &[u8] {
        &self.mask
    }

    /// Gives the memory of the last picture's class map back.
    pub(crate) fn forget_mask(&mut self) {
        self.mask = Vec::new();
    }

    /// Figures of the last picture.
    pub(crate) const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Runs a loaded picture.
    ///
    /// # Errors
    /// When the picture is larger than the conversion or the memory takes, or the engine fails.
    pub(crate) fn run_rgb(&mut self, picture: &RgbPicture) -> Result<StepTimes, Failure> {
        let view = picture.as_picture().map_err(|error| Failure::new(Kind::Data, error.to_string()))?;
        self.run(&view)
    }

    /// Runs a picture of any layout; the class map gets the picture's size.
    ///
    /// # Errors
    /// As [`PictureSteps::run_rgb`].
    pub(crate) fn run(&mut self, picture: &Picture<'_>) -> Result<StepTimes, Failure> {
        let bad = |error: &dyn std::fmt::Display| Failure::new(Kind::Data, error.to_string());
        let size = picture.upright_size();
        let more = size.pixels().saturating_sub(self.mask.len());
        let reserved = self.mask.try_reserve_exact(more);
        reserved
            .map_err(|_| Failure::new(Kind::Data, format!("there is no memory for a class map of {size} pixels")))?;
        let start = Instant::now();
        let region = self.converter.convert(picture, &mut self.tensor).map_err(|error| bad(&error))?;
        let converted = Instant::now();
        self.engine
            .infer(&self.tensor, &mut self.output)
            .map_err(|error| Failure::new(Kind::Software, error.to_string()))?;
        let inferred = Instant::now();
        self.masker
            .decode(&self.output, region, size, &mut self.mask, &mut self.summary)
            .map_err(|error| bad(&error))?;
        Ok(StepTimes { convert: converted - start, infer: inferred - converted, decode: inferred.elapsed() })
    }
}

/// Runs pictures through one edition, one after the other.
pub(crate) struct PictureRunner {
    edition: Arc<Edition>,
    steps: PictureSteps,
}

impl PictureRunner {
    /// Loads the model of `config` on the engine of `config`.
    ///
    /// # Errors
    /// As [`Runners::load`] and [`Runners::engine`].
    pub(crate) fn load(config: &Config) -> Result<Self, Failure> {
        let mut runners = Runners::load(config)?;
        let engine = runners.engine()?;
        log::info!("model: {}", engine.describe());
        let edition = runners.edition;
        let steps = PictureSteps::new(engine, &edition.io, config.model.fit, edition.pixel_map.clone());
        Ok(Self { edition, steps })
    }

    /// The model.
    pub(crate) const fn edition(&self) -> &Arc<Edition> {
        &self.edition
    }

    /// What it runs pictures through.
    pub(crate) const fn steps(&mut self) -> &mut PictureSteps {
        &mut self.steps
    }

    /// The class map of the last picture, at its own size.
    pub(crate) fn mask(&self) -> &[u8] {
        self.steps.mask()
    }

    /// Figures of the last picture.
    pub(crate) const fn summary(&self) -> &Summary {
        self.steps.summary()
    }

    /// How much of the last picture each class covers.
    pub(crate) fn areas(&self) -> Areas {
        Areas::of(&self.edition.labels, self.summary())
    }
}
