//! pspnetd watches a camera with an int8 PSPNet and tells what covers the picture and how long each step took.
//!
//! The modules follow the frame: [`capture`] takes it from the camera, `preprocess` makes it a tensor, `infer` runs the
//! model, `segment` turns logits into a class map, `publish` hands the result on, and `telemetry` measures all of it.
//! `docs/design.md` describes how they fit together.

pub mod capture;
mod child;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod failure;
pub mod frame;
mod holders;
pub mod infer;
mod lines;
pub mod loaded;
pub mod logging;
pub mod mailbox;
pub mod model;
#[cfg(test)]
#[path = "../tests/support/needs.rs"]
mod needs;
pub mod pause;
pub mod pipeline;
pub mod preprocess;
mod priority;
pub mod publish;
pub mod report;
pub mod score;
pub mod segment;
pub mod shutdown;
pub mod simd;
pub mod still;
pub mod telemetry;
