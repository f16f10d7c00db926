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

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;
    use crate::capture::CameraErrorKind;

    #[test]
    fn every_kind_has_the_exit_code_that_the_help_names() {
        let codes = [Kind::Data, Kind::NoInput, Kind::Unavailable, Kind::Software, Kind::Io, Kind::Config]
            .map(|kind| Failure::new(kind, "x").exit_code());
        assert_eq!(codes, [65, 66, 69, 70, 74, 78]);
    }

    #[test]
    fn every_error_of_a_part_has_its_kind_and_keeps_its_words() {
        let camera = |kind| {
            let (source_name, reason) = ("v4l2:/x".to_owned(), "busy".to_owned());
            Failure::from(CameraError { source_name, reason, hint: String::new(), kind })
        };
        let config = ConfigError::Read { path: "/x".into(), reason: "denied".to_owned() };
        let sink = SinkError { key: "publish.jsonl.path", path: "/x".to_owned(), reason: "denied".to_owned() };
        let failed = |kind: io::ErrorKind| Failure::from(io::Error::from(kind));
        let missing = io::Error::from(io::ErrorKind::NotFound).to_string();
        let http = crate::publish::http::Server::open(&crate::config::Http {
            listen: "127.0.0.1:0".parse().unwrap(),
            token_file: "/nonexistent".to_owned(),
            ..crate::config::Http::default()
        });
        for (failure, kind, words) in [
            (camera(CameraErrorKind::Config), Kind::Config, "camera v4l2:/x: busy"),
            (camera(CameraErrorKind::Retry), Kind::Unavailable, "camera v4l2:/x: busy"),
            (config.into(), Kind::Config, "/x: can't read the configuration: denied"),
            (ModelError::unfit(Path::new("/x"), "a", "b").into(), Kind::Config, "model /x: a; expected b"),
            (sink.into(), Kind::Config, "publish.jsonl.path /x: denied"),
            (http.unwrap_err().into(), Kind::Config, "http.token_file /nonexistent: "),
            (failed(io::ErrorKind::NotFound), Kind::Io, &missing),
            (failed(io::ErrorKind::BrokenPipe), Kind::Io, "standard output was closed by its reader"),
        ] {
            assert_eq!(failure.kind, kind, "{failure}");
            assert!(failure.to_string().starts_with(words), "{failure}");
        }
    }
}
