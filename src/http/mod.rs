//! The web page, metrics and API, over TCP and over a Unix socket.
//!
//! One thread serves every connection. It only reads what [`crate::telemetry::state::Observe`] puts together, so nothing
//! that a client does can hold the pipeline.

mod access;
mod api;
mod body;
mod connection;
mod connections;
mod headers;
mod listener;
mod metrics;
mod origin;
mod page;
mod pictures;
mod plug;
mod predict;
mod predictor;
mod refusal;
mod route;
mod server;
pub(crate) mod socket;
mod stream;
mod tls;
mod token;
mod watched;

pub(crate) use body::{whole, Body, Problem};
pub(crate) use plug::HttpPlug;
pub(crate) use predictor::picture_service;
use predictor::Predictor;
use server::{Server, Services};
