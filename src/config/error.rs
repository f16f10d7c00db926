//! What is wrong with the configuration, with the place where it stands.

use std::path::PathBuf;

use base::failure::{Failure, Kind};

/// What is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{}: can't read the configuration: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's text.
        reason: String,
        /// Whether a later try may go well.
        kind: Kind,
    },
    /// A place in the file is wrong.
    #[error("{}:{line}: {}{reason}", path.display(), Named(key))]
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key, or empty where the text isn't TOML at all.
        key: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// A setting from the command line or the environment is wrong.
    #[error("{origin}: {key}: {reason}")]
    Setting {
        /// `--set`, or the variable's name.
        origin: String,
        /// The key.
        key: String,
        /// What was found and what was expected.
        reason: String,
    },
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let kind = match &error {
            ConfigError::Read { kind, .. } => *kind,
            _ => Kind::Config,
        };
        Self::new(kind, error.to_string())
    }
}

struct Named<'a>(&'a str);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, "{}: ", self.0)
    }
}
