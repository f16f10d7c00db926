//! Why a command failed, and the exit code that tells a script (the codes of sysexits.h).

use crate::capture::CameraError;
use crate::config::ConfigError;
use crate::model::ModelError;
use crate::publish::http::HttpError;
use crate::publish::SinkError;

/// A command's failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    kind: Kind,
    message: String,
}

/// Kinds of failure, each with its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 65: a picture or label can't be used.
    Data,
    /// 66: an input is missing.
    NoInput,
    /// 69: a device isn't there now.
    Unavailable,
    /// 70: a fault of the program itself.
    Software,
    /// 74: reading or writing failed.
    Io,
    /// 78: the configuration or the model is wrong; starting again won't help.
    Config,
}

impl Failure {
    /// A failure of `kind` that `message` explains.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The process's exit code.
    pub const fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Data => 65,
            Kind::NoInput => 66,
            Kind::Unavailable => 69,
            Kind::Software => 70,
            Kind::Io => 74,
            Kind::Config => 78,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Kind::Config, error.to_string())
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Self::new(Kind::Config, error.to_string())
    }
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Self {
        Self::new(Kind::Config, error.to_string())
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        Self::new(Kind::Config, error.to_string())
    }
}

impl From<CameraError> for Failure {
    fn from(error: CameraError) -> Self {
        use crate::capture::CameraErrorKind;
        let kind = match error.kind {
            CameraErrorKind::Config => Kind::Config,
            CameraErrorKind::Retry => Kind::Unavailable,
        };
        Self::new(kind, format!("camera {error}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::new(Kind::Io, "standard output was closed by its reader"),
            _ => Self::new(Kind::Io, error.to_string()),
        }
    }
}
