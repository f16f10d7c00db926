//! Reads and merges the layers: command line over environment over file over default.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use base::failure::Kind;
use base::names::nearest;
use serde::Deserialize;
use toml::de::DeTable;

use super::credentials::PREFIX as PREFIX_OF_CREDENTIALS;
use super::error::ConfigError;
use super::named::{is_key, open_key, wrong_values, NAMED, NAME_EXPECTED, OPEN};
use super::origins::{variable_name, Origins, Override, PREFIX};
use super::outputs::overwritten;
use super::spans::{first_misplaced, key_at, leaf_keys, line_of, position, Fault};
use super::Config;

/// Where the file is looked for when none is named.
const INSTALLED: &str = "/etc/pspnetd/pspnetd.toml";
/// Files past this are refused: `/dev/zero` would never end.
const LARGEST: u64 = 1 << 20;
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

/// Keys of which only some kinds of value name a path, and what those begin with.
const PATHS_OF_A_KIND: [(&str, &[&str]); 3] =
    [("camera.source", &["replay:", "v4l2:"]), ("engine.kind", &["delegate:"]), ("engine.library", &[""])];

/// The merged configuration and what was seen on the way.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The effective configuration.
    pub config: Config,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Things that are probably mistakes but don't stop the program.
    pub warnings: Vec<String>,
    /// Where its values were set.
    pub origins: Origins,
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
    // The file's values were right as they stand there. From the root a socket's path may be too long.
    let path = file.clone().unwrap_or_default();
    let mut config = deserialize(&table)
        .map_err(|reason| Origins::new(path.clone(), text.clone(), Vec::new(), &[]).refuse("http.socket", reason))?;
    let mut warnings = Vec::new();
    for (name, value) in variables.iter().filter(|(name, _)| !NOT_KEYS.contains(&name.as_str())) {
        let key = known.iter().find(|key| variable_name(key) == *name).cloned();
        let Some(key) = key.or_else(|| open_key(name, variable_name)) else {
            let hint = named_variable(name).unwrap_or_else(|| {
                let names: Vec<String> = known.iter().map(|key| variable_name(key)).collect();
                did_you_mean(name, &names)
            });
            warnings.push(format!("environment: {name} is no known setting{hint}"));
            continue;
        };
        let setting = Override { origin: format!("environment {name}"), key, value: value.clone() };
        config = apply(&mut table, &setting)?;
    }
    for setting in overrides {
        let refused =
            |reason: String| ConfigError::Setting { origin: setting.origin.clone(), key: setting.key.clone(), reason };
        match is_key(&table, &setting.key) {
            Some(outcome) => {
                outcome.map_err(|(reason, keys)| {
                    let hint = if keys.is_empty() { String::new() } else { did_you_mean(&setting.key, &keys) };
                    refused(format!("{reason}{hint}"))
                })?;
            }
            None if known.contains(&setting.key) => {}
            None => return Err(refused(format!("unknown key{}", did_you_mean(&setting.key, &known)))),
        }
        config = apply(&mut table, setting)?;
    }
    let contradiction = config
        .gpio
        .contradiction(&config.publish)
        .or_else(|| config.engine.contradiction())
        .or_else(|| config.telemetry.contradiction(&config.publish))
        .or_else(|| config.http.contradiction())
        .or_else(|| overwritten(&config, file.as_deref()));
    let names = variables.into_iter().map(|(name, _)| name).collect();
    let origins = Origins::new(path, text, names, overrides);
    if let Some((key, reason)) = contradiction {
        return Err(origins.refuse(key, reason));
    }
    Ok(Loaded { config, file, warnings, origins })
}

/// What to do instead of a variable for a key of a named table: a table's name can't be told from the key's by underscores.
fn named_variable(variable: &str) -> Option<String> {
    let section = NAMED.iter().map(|section| section.name);
    let section = section.into_iter().find(|name| {
        variable.strip_prefix(&variable_name(name)).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    })?;
    Some(format!("; a variable can't set [{section}.NAME], `--set {section}.NAME.KEY=VALUE` can"))
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
    let (first, rest) = key.split_once('.').unwrap_or((key, ""));
    let sections: Vec<String> = NAMED.iter().map(|section| section.name.to_owned()).collect();
    if let Some(section) = nearest(first, &sections).filter(|section| *section != first || rest.is_empty()) {
        return format!(
            "; its tables have names that you choose: [{section}.NAME], or `--set {section}.NAME.KEY=VALUE`"
        );
    }
    let open = OPEN.iter().filter(|_| !key.starts_with(PREFIX)).map(|section| (*section).to_owned());
    let known: Vec<String> = known.iter().cloned().chain(open).collect();
    nearest(key, &known)
        .map_or_else(|| "; `pspnetd check --keys` lists them all".to_owned(), |near| format!("; did you mean {near}?"))
}

/// The file's text, and what it says.
fn read_file(path: &Path, defaults: &toml::Table, known: &[String]) -> Result<(String, toml::Table), ConfigError> {
    let unreadable = |reason: String, kind: Kind| ConfigError::Read { path: path.to_path_buf(), reason, kind };
    let failed = |error: std::io::Error| unreadable(error.to_string(), Kind::of_file(&error));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LARGEST {
        let reason = format!("it is larger than {LARGEST} bytes, which no configuration is");
        return Err(unreadable(reason, Kind::Config));
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
            Fault::Unknown => {
                let table = toml::from_str::<toml::Table>(&text).unwrap_or_default();
                let keys = is_key(&table, &misplaced.path).and_then(Result::err).map(|(_, keys)| keys);
                format!("unknown key{}", did_you_mean(&misplaced.path, keys.as_deref().unwrap_or(known)))
            }
            Fault::NoSection => format!("expected a section, written [{}]", misplaced.path),
            Fault::NoName => {
                let section = misplaced.path.split('.').next().unwrap_or_default();
                format!("it belongs to a table with a name that you choose, written [{section}.NAME]")
            }
            Fault::BadName => NAME_EXPECTED.to_owned(),
        };
        return Err(wrong(misplaced.at.start, misplaced.path, reason));
    }
    let mut table = toml::from_str::<toml::Table>(&text).map_err(|error| from_toml(&error, String::new()))?;
    let place = |key: &str| position(parsed.get_ref(), key).unwrap_or_default();
    if let Some((key, reason)) = wrong_values(&table).into_iter().min_by_key(|(key, _)| place(key)) {
        return Err(wrong(place(&key), key, reason));
    }
    toml::from_str::<Config>(&text).map_err(|error| {
        let key = error.span().and_then(|span| key_at(parsed.get_ref(), span.start)).unwrap_or_default();
        from_toml(&error, key)
    })?;
    let folder = path.parent().unwrap_or(Path::new("")).to_str().ok_or_else(|| {
        unreadable("the name of its folder isn't UTF-8, which every path in it must be".to_owned(), Kind::Config)
    })?;
    anchor_paths(&mut table, folder);
    Ok((text, table))
}

/// Makes the file's relative paths mean what they would mean in the file's own folder.
fn anchor_paths(table: &mut toml::Table, folder: &str) {
    // Both are text, so nothing is lost.
    let anchored = |text: &str| Path::new(folder).join(text).to_string_lossy().into_owned();
    for key in PATH_KEYS {
        if let Some(toml::Value::String(text)) = lookup(table, key) {
            if !["", "-", "auto", "off"].contains(&text.as_str()) && !text.starts_with(PREFIX_OF_CREDENTIALS) {
                *text = anchored(text);
            }
        }
    }
    for (key, kinds) in PATHS_OF_A_KIND {
        let Some(toml::Value::String(text)) = lookup(table, key) else { continue };
        let path = kinds.iter().find_map(|kind| Some((kind, text.strip_prefix(kind)?)));
        // Without a slash a library is a name, which the dynamic loader looks for.
        if let Some((kind, path)) = path.filter(|(_, path)| key == "camera.source" || path.contains('/')) {
            *text = format!("{kind}{}", anchored(path));
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
mod tests;
