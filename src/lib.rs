//! pspnetd watches a camera with an int8 PSPNet and tells what covers the picture and how long each step took.
//!
//! The parts that know nothing of the daemon are crates of their own, under `crates/`: what all stand on (`base`), pixels
//! (`pixels`), cameras (`camera`), models as files (`model`), and what runs them (`infer`). This crate puts them together:
//! [`pipeline`] moves the frames, [`publish`] hands results on, [`telemetry`] measures, [`daemon`] runs all of it.
//! `docs/design.md` describes how they fit together.

pub mod cli;
pub mod config;
pub mod daemon;
mod http;
#[cfg(test)]
#[path = "../tests/support/needs.rs"]
mod needs;
mod one_picture;
pub mod pipeline;
pub mod plugs;
pub mod publish;
pub mod report;
mod runners;
pub mod scene;
pub mod telemetry;
