//! Why a command failed, and the exit code that tells a script (the codes of sysexits.h).

use std::borrow::Cow;
use std::io;

use rustix::io::Errno;

/// A command's failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    kind: Kind,
    message: String,
    /// The configuration key that it is about.
    setting: Option<Cow<'static, str>>,
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

impl Kind {
    /// The kind of a file's failure that the configuration names: [`Kind::Io`] where a later try may go well, so that the service
    /// is started again, as after an error of the disk or when the system is short of memory or descriptors.
    pub fn of_file(error: &io::Error) -> Self {
        let passing = [
            Errno::IO,
            Errno::NOMEM,
            Errno::AGAIN,
            Errno::INTR,
            Errno::NFILE,
            Errno::MFILE,
            Errno::BUSY,
            Errno::TIMEDOUT,
            Errno::STALE,
            Errno::NODEV,
        ];
        match Errno::from_io_error(error) {
            Some(errno) if passing.contains(&errno) => Self::Io,
            _ => Self::Config,
        }
    }
}

impl Failure {
    /// A failure of `kind` that `message` explains.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), setting: None }
    }

    /// A thread that the system refuses.
    #[allow(clippy::needless_pass_by_value)] // for `map_err`
    pub fn no_thread(error: std::io::Error) -> Self {
        Self::new(Kind::Software, format!("threads can't be started: {error}"))
    }

    /// Its kind.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The configuration key that it is about, if it is about one.
    pub fn setting(&self) -> Option<&str> {
        self.setting.as_deref()
    }

    /// The same failure, its message beginning with the `place` where what it is about stands.
    #[must_use]
    pub fn inside(self, place: &str) -> Self {
        Self { message: format!("{place}: {}", self.message), ..self }
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

/// A setting that can't work as configured: an output that can't be opened, a file that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {value}: {reason}")]
pub struct SettingError {
    /// The configuration key.
    pub key: Cow<'static, str>,
    /// Its value, most often a path.
    pub value: String,
    /// What is wrong and what to do.
    pub reason: String,
    /// Whether starting again may help.
    pub kind: Kind,
}

impl SettingError {
    /// An error of `key`.
    pub fn new(key: impl Into<Cow<'static, str>>, value: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into(), reason: reason.into(), kind: Kind::Config }
    }

    /// The same, where it comes of `error`.
    #[must_use]
    pub fn of(self, error: &io::Error) -> Self {
        Self { kind: Kind::of_file(error), ..self }
    }
}

impl From<SettingError> for Failure {
    fn from(error: SettingError) -> Self {
        Self { setting: Some(error.key.clone()), ..Self::new(error.kind, error.to_string()) }
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

    use super::*;

    #[test]
    fn every_kind_has_the_exit_code_that_the_help_names() {
        let codes = [Kind::Data, Kind::NoInput, Kind::Unavailable, Kind::Software, Kind::Io, Kind::Config]
            .map(|kind| Failure::new(kind, "x").exit_code());
        assert_eq!(codes, [65, 66, 69, 70, 74, 78]);
    }

    #[test]
    fn every_error_has_its_kind_and_keeps_its_words() {
        let failed = |kind: io::ErrorKind| Failure::from(io::Error::from(kind));
        let missing = io::Error::from(io::ErrorKind::NotFound).to_string();
        for (failure, kind, words) in [
            (
                SettingError::new("publish.jsonl.path", "/x", "denied").into(),
                Kind::Config,
                "publish.jsonl.path /x: denied",
            ),
            (failed(io::ErrorKind::NotFound), Kind::Io, missing.as_str()),
            (failed(io::ErrorKind::BrokenPipe), Kind::Io, "standard output was closed by its reader"),
        ] {
            assert_eq!((failure.kind(), failure.to_string().as_str()), (kind, words));
        }
    }
}
