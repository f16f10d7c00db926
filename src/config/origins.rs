//! Where each value of the configuration was set: on a line of the file, by a variable, or on the command line.

use std::path::PathBuf;

use base::failure::Failure;
use toml::de::DeTable;

use super::error::ConfigError;
use super::spans::{line_of, position};

/// Starts every environment variable of ours.
pub(super) const PREFIX: &str = "PSPNETD_";

/// One setting from the command line, such as `--set camera.rate=max`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// What the user typed it as, for messages: `--set` or `--model`.
    pub origin: String,
    /// `section.key`.
    pub key: String,
    /// The value as text.
    pub value: String,
}

/// Everything that sets values, for messages about a value that turns out to be wrong later.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    file: PathBuf,
    text: String,
    /// Names of the environment's variables that are keys.
    variables: Vec<String>,
    overrides: Vec<Override>,
}

/// One place where a value was set.
enum Origin {
    /// A line of the file, from 1.
    Line(usize),
    /// `--set`, or a variable with its name.
    Setting(String),
}

impl Origins {
    pub(super) fn new(file: PathBuf, text: String, variables: Vec<String>, overrides: &[Override]) -> Self {
        Self { file, text, variables, overrides: overrides.to_vec() }
    }

    /// Where `key` got its value; None of a default.
    fn of(&self, key: &str) -> Option<Origin> {
        let set = |setting: &&Override| setting.key == key;
        if let Some(setting) = self.overrides.iter().rev().find(set) {
            return Some(Origin::Setting(setting.origin.clone()));
        }
        if let Some(name) = self.variables.iter().find(|name| **name == variable_name(key)) {
            return Some(Origin::Setting(format!("environment {name}")));
        }
        let table = DeTable::parse(&self.text).ok()?;
        // A key that a named table lacks is missed where the table begins.
        let named = key.rsplit_once('.').map(|(table, _)| table).filter(|table| table.contains('.'));
        let at = [Some(key), named].into_iter().flatten().find_map(|path| position(table.get_ref(), path))?;
        Some(Origin::Line(line_of(&self.text, at)))
    }

    /// The error of a key that is right by itself and wrong beside others.
    pub(super) fn refuse(&self, key: &str, reason: String) -> ConfigError {
        let key = key.to_owned();
        match self.of(&key) {
            Some(Origin::Setting(origin)) => ConfigError::Setting { origin, key, reason },
            Some(Origin::Line(line)) => ConfigError::File { path: self.file.clone(), line, key, reason },
            None => ConfigError::File { path: self.file.clone(), line: 1, key, reason },
        }
    }

    /// `failure`, beginning with where its setting stands if it is one of a setting that is no default.
    #[must_use]
    pub fn locate(&self, failure: Failure) -> Failure {
        match failure.setting().and_then(|key| self.of(key)) {
            Some(Origin::Line(line)) => failure.inside(&format!("{}:{line}", self.file.display())),
            Some(Origin::Setting(origin)) => failure.inside(&origin),
            None => failure,
        }
    }
}

/// The variable that sets `key`.
pub(super) fn variable_name(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::failure::{Kind, SettingError};

    #[test]
    fn a_failure_says_where_its_setting_stands() {
        let text = "[rules.gate]\nabove = 0.5\n[publish.jsonl]\npath = '/x'\n[http]\nsocket = '/y'\n".to_owned();
        let set = |key: &str| Override { origin: "--set".to_owned(), key: key.to_owned(), value: String::new() };
        let variables = vec!["PSPNETD_HTTP_TOKEN_FILE".to_owned()];
        let origins = Origins::new("a.toml".into(), text, variables, &[set("http.socket")]);
        for (key, place) in [
            ("publish.jsonl.path", "a.toml:4: "),
            ("http.socket", "--set: "),
            ("http.token_file", "environment PSPNETD_HTTP_TOKEN_FILE: "),
            ("rules.gate.above", "a.toml:2: "),
            ("rules.gate.class", "a.toml:1: "),
            ("rules.yard.class", ""),
            ("http.tls_key", ""),
        ] {
            let failure = origins.locate(SettingError::new(key, "/z", "denied").into());
            assert_eq!(failure.to_string(), format!("{place}{key} /z: denied"));
            assert_eq!(failure.kind(), Kind::Config);
        }
        let other = Failure::new(Kind::Io, "http.socket: gone");
        assert_eq!(origins.locate(other.clone()), other);
    }
}
