//! `--config` and `--set`, which every command has, and the configuration that they lead to.

use std::path::PathBuf;

use base::failure::Failure;
use base::logging;

use crate::config::{self, Config, Loaded, Override};

/// Arguments that every command has.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Settings {
    /// Configuration file; without it PSPNETD_CONFIG, then /etc/pspnetd/pspnetd.toml where it exists
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Set one key, such as --set camera.rate=max; can be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .ok_or_else(|| "expected KEY=VALUE, such as camera.rate=max".to_owned())
}

impl Settings {
    /// Loads the configuration and starts the log. `flags` are keys that a command has flags of their own for; they win.
    pub(super) fn load(&self, flags: &[(&str, &str, Option<String>)]) -> Result<Loaded, Failure> {
        let set = self.set.iter().map(|(key, value)| ("--set", key.as_str(), value.clone()));
        let flags = flags.iter().filter_map(|(origin, key, value)| value.clone().map(|value| (*origin, *key, value)));
        let overrides: Vec<Override> = set
            .chain(flags)
            .map(|(origin, key, value)| Override { origin: origin.to_owned(), key: key.to_owned(), value })
            .collect();
        // A value that isn't UTF-8 can't be meant by any key; made readable, it is refused with its variable's name.
        let readable = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let environment = std::env::vars_os().map(|(name, value)| (readable(name), readable(value)));
        let named = std::env::var_os("PSPNETD_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        let file = self.config.clone().or(named);
        let loaded = config::load(file.as_deref(), environment, &overrides)?;
        logging::start(loaded.config.log.level.as_str());
        infer::log_what_is_printed();
        for warning in &loaded.warnings {
            log::warn!("{warning}");
        }
        Ok(loaded)
    }

    /// Loads the configuration of a command that takes a model by `--model`.
    pub(super) fn load_with_model(&self, model: Option<String>) -> Result<Config, Failure> {
        Ok(self.load(&[("--model", "model.path", model)])?.config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_key_and_what_stands_behind_its_first_equals_sign() {
        for (text, key, value) in [
            ("camera.rate=max", "camera.rate", "max"),
            (" camera.rate = 5 ", "camera.rate", "5"),
            ("engine.options=a=b c=d", "engine.options", "a=b c=d"),
            ("publish.jsonl.path=", "publish.jsonl.path", ""),
        ] {
            assert_eq!(key_value(text), Ok((key.to_owned(), value.to_owned())));
        }
        for text in ["", "=", "=5", "camera.rate"] {
            assert!(key_value(text).unwrap_err().contains("expected KEY=VALUE"), "{text}");
        }
    }
}
