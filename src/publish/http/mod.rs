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
mod predict;
mod predictor;
mod route;
mod server;
pub mod socket;
mod stream;
mod tls;
mod token;
mod watched;

pub use body::{whole, Body, Problem};
pub use predictor::Predictor;
pub use server::{Server, Services, Serving};

/// Something in `[http]` that can't work as configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {path}: {reason}")]
pub struct HttpError {
    /// The configuration key.
    pub key: &'static str,
    /// The file that it names.
    pub path: String,
    /// What is wrong and what to do.
    pub reason: String,
}

impl HttpError {
    fn new(key: &'static str, path: &str, reason: impl Into<String>) -> Self {
        Self { key, path: path.to_owned(), reason: reason.into() }
    }
}
