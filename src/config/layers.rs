//! Reads and merges the layers: command line over environment over file over default.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::DeTable;

use super::spans::{first_misplaced, key_at, leaf_keys, line_of, nearest, position, Fault};
use super::Config;

/// Where the file is looked for when none is named.
const INSTALLED: &str = "/etc/pspnetd/pspnetd.toml";
/// Files past this are refused: `/dev/zero` would never end.
const LARGEST: u64 = 1 << 20;
/// Starts every environment variable of ours.
const PREFIX: &str = "PSPNETD_";
/// Variables with the prefix that are not keys.
const NOT_KEYS: [&str; 2] = ["PSPNETD_CONFIG", "PSPNETD_ROOT"];
/// Keys of the file whose relative paths are meant from the file's own folder.
const PATH_KEYS: [&str; 8] = [
    "model.path",
    "publish.jsonl.path",
    "publish.snapshot.dir",
    "telemetry.latency_log.path",
    "http.socket",
    "http.token_file",
    "http.tls_certificate",
    "http.tls_key",
];

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

/// The merged configuration and what was seen on the way.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The effective configuration.
    pub config: Config,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Things that are probably mistakes but don't stop the program.
    pub warnings: Vec<String>,
}

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

struct Named<'a>(&'a str);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, "{}: ", self.0)
    }
}

/// Reads `file` (or the installed one where it exists), then applies the environment and `overrides` in order.
///
/// # Errors
/// The first thing that is wrong, with file, line and key.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &[Override],
) -> Result<Loaded, ConfigError> {
    let defaults = toml::Table::try_from(Config::default()).unwrap_or_default();
    let known = leaf_keys(&defaults);
    let mut variables: Vec<(String, String)> =
        environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();

    let file = file.map(Path::to_path_buf).or_else(|| Some(PathBuf::from(INSTALLED)).filter(|path| path.exists()));

    let (text, mut table) = match &file {
        Some(path) => read_file(path, &defaults, &known)?,
        None => (String::new(), toml::Table::new()),
    };
    let mut config = deserialize(&table).unwrap_or_default();
    let mut warnings = Vec::new();
    for (name, value) in variables.iter().filter(|(name, _)| !NOT_KEYS.contains(&name.as_str())) {
        let Some(key) = known.iter().find(|key| variable_name(key) == *name) else {
            let names: Vec<String> = known.iter().map(|key| variable_name(key)).collect();
            warnings.push(format!("environment: {name} is no known setting{}", did_you_mean(name, &names)));
            continue;
        };
        let setting = Override { origin: format!("environment {name}"), key: key.clone(), value: value.clone() };
        config = apply(&mut table, &setting)?;
    }
    for setting in overrides {
        if !known.contains(&setting.key) {
            return Err(ConfigError::Setting {
                origin: setting.origin.clone(),
                key: setting.key.clone(),
                reason: format!("unknown key{}", did_you_mean(&setting.key, &known)),
            });
        }
        config = apply(&mut table, setting)?;
    }
    let contradiction = config
        .gpio
        .contradiction(&config.publish)
        .or_else(|| config.engine.contradiction())
        .or_else(|| config.telemetry.contradiction(&config.publish))
        .or_else(|| config.http.contradiction());
    if let Some((key, reason)) = contradiction {
        let set_by = |origin: String| ConfigError::Setting { origin, key: key.to_owned(), reason: reason.clone() };
        let setting = overrides.iter().rev().find(|setting| setting.key == key).map(|setting| setting.origin.clone());
        let variable = || variables.iter().find(|(name, _)| *name == variable_name(key));
        let origin = setting.or_else(|| variable().map(|(name, _)| format!("environment {name}")));
        return Err(origin.map_or_else(|| in_file(file.as_deref(), &text, key, &reason), set_by));
    }
    Ok(Loaded { config, file, warnings })
}

/// The error of a key of the file that is right by itself.
fn in_file(file: Option<&Path>, text: &str, key: &str, reason: &str) -> ConfigError {
    let at = DeTable::parse(text).ok().and_then(|table| position(table.get_ref(), key)).unwrap_or(0);
    let path = file.unwrap_or(Path::new("")).to_path_buf();
    ConfigError::File { path, line: line_of(text, at), key: key.to_owned(), reason: reason.to_owned() }
}

fn variable_name(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

fn did_you_mean(key: &str, known: &[String]) -> String {
    let inside: Vec<&str> = known
        .iter()
        .filter(|known| known.strip_prefix(key).is_some_and(|rest| rest.starts_with(['.', '_'])))
        .map(String::as_str)
        .collect();
    if !inside.is_empty() {
        return format!("; it is a section with {}", inside.join(", "));
    }
    nearest(key, known)
        .map_or_else(|| "; `pspnetd check --keys` lists them all".to_owned(), |near| format!("; did you mean {near}?"))
}

/// The file's text, and what it says.
fn read_file(path: &Path, defaults: &toml::Table, known: &[String]) -> Result<(String, toml::Table), ConfigError> {
    let unreadable = |reason: String| ConfigError::Read { path: path.to_path_buf(), reason };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > LARGEST {
        return Err(unreadable(format!("it is larger than {LARGEST} bytes, which no configuration is")));
    }
    let wrong = |at: usize, key: String, reason: String| ConfigError::File {
        path: path.to_path_buf(),
        line: line_of(&text, at),
        key,
        reason,
    };
    let from_toml = |error: &toml::de::Error, key: String| {
        wrong(error.span().map_or(0, |span| span.start), key, error.message().trim_end().replace('\n', "; "))
    };
    let parsed = DeTable::parse(&text).map_err(|error| from_toml(&error, String::new()))?;
    if let Some(misplaced) = first_misplaced(parsed.get_ref(), defaults) {
        let reason = match misplaced.fault {
            Fault::Unknown => format!("unknown key{}", did_you_mean(&misplaced.path, known)),
            Fault::NoSection => format!("expected a section, written [{}]", misplaced.path),
        };
        return Err(wrong(misplaced.at.start, misplaced.path, reason));
    }
    toml::from_str::<Config>(&text).map_err(|error| {
        let key = error.span().and_then(|span| key_at(parsed.get_ref(), span.start)).unwrap_or_default();
        from_toml(&error, key)
    })?;
    let mut table = toml::from_str::<toml::Table>(&text).map_err(|error| from_toml(&error, String::new()))?;
    anchor_paths(&mut table, path.parent().unwrap_or(Path::new("")));
    Ok((text, table))
}

/// Makes the file's relative paths mean what they would mean in the file's own folder.
fn anchor_paths(table: &mut toml::Table, folder: &Path) {
    let anchored = |text: &str| folder.join(text).to_string_lossy().into_owned();
    for key in PATH_KEYS {
        if let Some(toml::Value::String(text)) = lookup(table, key) {
            if !["", "-", "auto", "off"].contains(&text.as_str()) {
                *text = anchored(text);
            }
        }
    }
    if let Some(toml::Value::String(text)) = lookup(table, "camera.source") {
        if let Some(path) = text.strip_prefix("replay:") {
            *text = format!("replay:{}", anchored(path));
        }
    }
}

fn lookup<'a>(table: &'a mut toml::Table, key: &str) -> Option<&'a mut toml::Value> {
    match key.split_once('.') {
        None => table.get_mut(key),
        Some((first, rest)) => lookup(table.get_mut(first)?.as_table_mut()?, rest),
    }
}

/// Sets one key, reading the value as TOML where that fits the key and as plain text otherwise.
fn apply(table: &mut toml::Table, setting: &Override) -> Result<Config, ConfigError> {
    let as_toml = toml::from_str::<toml::Table>(&format!("v = {}", setting.value))
        .ok()
        .filter(|parsed| parsed.len() == 1)
        .and_then(|mut parsed| parsed.remove("v"));
    let as_text = toml::Value::String(setting.value.clone());
    let mut reason = String::new();
    for value in as_toml.into_iter().chain([as_text]) {
        let mut attempt = table.clone();
        insert(&mut attempt, &setting.key, value);
        match deserialize(&attempt) {
            Ok(config) => {
                *table = attempt;
                return Ok(config);
            }
            Err(error) if reason.is_empty() => reason = error,
            Err(_) => {}
        }
    }
    Err(ConfigError::Setting { origin: setting.origin.clone(), key: setting.key.clone(), reason })
}

fn insert(table: &mut toml::Table, key: &str, value: toml::Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let toml::Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

fn deserialize(table: &toml::Table) -> Result<Config, String> {
    Config::deserialize(table.clone()).map_err(|error| error.message().trim_end().replace('\n', "; "))
}

#[cfg(test)]
mod tests {
    use super::super::values::{Rate, Source};
    use super::*;
    use std::io::Write;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn set(key: &str, value: &str) -> Override {
        Override { origin: "--set".to_owned(), key: key.to_owned(), value: value.to_owned() }
    }

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_layer_wins_over_the_one_below() {
        let file = file("[camera]\nrate = 5\nsource = 'pattern:8x8'\n[telemetry]\ninterval = '2s'\n");
        let load = |env, set: &[Override]| load(Some(file.path()), env, set).unwrap().config;
        assert_eq!(load(env(&[]), &[]).camera.rate, Rate::Fps(5.0));
        let variables = env(&[("PSPNETD_CAMERA_RATE", "7"), ("PATH", "/bin")]);
        assert_eq!(load(variables.clone(), &[]).camera.rate, Rate::Fps(7.0));
        let config = load(variables, &[set("camera.rate", "max"), set("camera.loop", "true")]);
        assert_eq!(config.camera.rate, Rate::Max);
        assert!(config.camera.repeat);
        assert_eq!(config.camera.source, Source::Pattern(crate::frame::Size::new(8, 8)));
    }

    #[test]
    fn an_unknown_key_names_file_line_and_the_nearest_key() {
        let file = file("# a comment\n[camera]\nrat = 5\n");
        let error = load(Some(file.path()), env(&[]), &[]).unwrap_err().to_string();
        let expected = format!("{}:3: camera.rat: unknown key; did you mean camera.rate?", file.path().display());
        assert_eq!(error, expected);
    }

    #[test]
    fn a_wrong_value_names_line_and_key() {
        let file = file("[model]\nthreads = 0\n");
        let error = load(Some(file.path()), env(&[]), &[]).unwrap_err().to_string();
        assert!(error.contains(":2: model.threads: threads \"0\": expected 1 to 64"), "{error}");
    }

    #[test]
    fn text_that_is_no_toml_names_the_line() {
        let file = file("[camera]\nrate = = 3\n");
        let error = load(Some(file.path()), env(&[]), &[]).unwrap_err();
        assert!(matches!(error, ConfigError::File { line: 2, .. }), "{error:?}");
    }

    #[test]
    fn a_wrong_setting_names_its_origin() {
        let error = load(None, env(&[]), &[set("camera.rate", "quick")]).unwrap_err().to_string();
        assert!(error.starts_with("--set: camera.rate: frame rate \"quick\""), "{error}");
        let error = load(None, env(&[]), &[set("camera.raet", "1")]).unwrap_err().to_string();
        assert!(error.ends_with("did you mean camera.rate?"), "{error}");
        let error = load(None, env(&[]), &[set("publish.jsonl", "x")]).unwrap_err().to_string();
        assert!(
            error.contains("unknown key; it is a section with publish.jsonl.keep, publish.jsonl.max_bytes"),
            "{error}"
        );
        let error = load(None, env(&[("PSPNETD_CAMERA_LOOP", "maybe")]), &[]).unwrap_err().to_string();
        assert!(error.starts_with("environment PSPNETD_CAMERA_LOOP: camera.loop:"), "{error}");
    }

    #[test]
    fn settings_that_contradict_each_other_name_the_place_of_one() {
        let file = file("[gpio]\nheartbeat = 17\n\nbutton = 17\n");
        let said = |env, set: &[Override]| load(Some(file.path()), env, set).unwrap_err().to_string();
        assert!(said(env(&[]), &[]).contains(":4: gpio.button: pin 17 is gpio.heartbeat already"));
        let variables = env(&[("PSPNETD_GPIO_BUTTON", "17")]);
        assert!(said(variables, &[]).starts_with("environment PSPNETD_GPIO_BUTTON: gpio.button: pin 17"));
        assert!(said(env(&[]), &[set("gpio.button", "17")]).starts_with("--set: gpio.button: pin 17"));
        // What another layer mends is no contradiction.
        assert!(load(Some(file.path()), env(&[]), &[set("gpio.button", "off")]).is_ok());
    }

    #[test]
    fn a_strange_variable_is_only_a_warning() {
        let loaded = load(None, env(&[("PSPNETD_CAMERA_RAET", "1")]), &[]).unwrap();
        assert!(loaded.warnings[0].contains("did you mean PSPNETD_CAMERA_RATE?"), "{:?}", loaded.warnings);
    }

    #[test]
    fn paths_in_a_file_start_from_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.toml");
        std::fs::write(&path, "[model]\npath='m.tflite'\n[camera]\nsource='replay:clip'\n").unwrap();
        let config = load(Some(&path), env(&[]), &[]).unwrap().config;
        assert_eq!(config.camera.source, Source::Replay(folder.path().join("clip")));
        assert_eq!(config.model.path.as_set().unwrap().0, folder.path().join("m.tflite"));
    }

    #[test]
    fn the_effective_configuration_reads_back_as_itself() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
    }
}
