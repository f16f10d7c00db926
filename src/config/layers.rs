//! Reads and merges the layers: command line over environment over file over default.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use base::failure::{Failure, Kind};
use base::names::nearest;
use serde::Deserialize;
use toml::de::DeTable;

use super::spans::{first_misplaced, key_at, leaf_keys, line_of, position, Fault};
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

/// Keys of which only some kinds of value name a path, and what those begin with.
const PATHS_OF_A_KIND: [(&str, &[&str]); 3] =
    [("camera.source", &["replay:", "v4l2:"]), ("engine.kind", &["delegate:"]), ("engine.library", &[""])];

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

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Kind::Config, error.to_string())
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
    let mut config = deserialize(&table).map_err(|reason| in_file(file.as_deref(), &text, "http.socket", &reason))?;
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
mod tests {
    use super::*;
    use camera::{Rate, Source};
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
        assert_eq!(config.camera.source, Source::Pattern(pixels::frame::Size::new(8, 8)));
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

    /// Keys that name a path, with values of the file and what they mean; `@` is the file's folder.
    const PATHS: [(&str, &[(&str, &str)]); 11] = [
        ("model.path", &[("m.tflite", "@/m.tflite"), ("/m", "/m"), ("auto", "auto")]),
        ("publish.jsonl.path", &[("logs/x", "@/logs/x"), ("/x", "/x"), ("-", "-"), ("", "")]),
        ("publish.snapshot.dir", &[("pictures", "@/pictures"), ("../x", "@/../x"), ("/x", "/x"), ("", "")]),
        ("telemetry.latency_log.path", &[("x.jsonl", "@/x.jsonl"), ("/x", "/x"), ("-", "-"), ("", "")]),
        ("http.socket", &[("s.sock", "@/s.sock"), ("/s", "/s"), ("auto", "auto"), ("off", "off"), ("", "off")]),
        ("http.token_file", &[("token", "@/token"), ("/t", "/t"), ("", "")]),
        ("http.tls_certificate", &[("c.pem", "@/c.pem"), ("/c", "/c"), ("", "")]),
        ("http.tls_key", &[("k.pem", "@/k.pem"), ("/k", "/k"), ("", "")]),
        (
            "camera.source",
            &[
                ("replay:clip", "replay:@/clip"),
                ("replay:/clip", "replay:/clip"),
                ("v4l2:by-id/x", "v4l2:@/by-id/x"),
                ("v4l2:/dev/video0", "v4l2:/dev/video0"),
                ("/dev/video0", "v4l2:/dev/video0"),
                ("command:a/b -o x", "command:a/b -o x"),
                ("pattern:64x48", "pattern:64x48"),
                ("auto", "auto"),
            ],
        ),
        (
            "engine.kind",
            &[
                ("delegate:lib/x.so", "delegate:@/lib/x.so"),
                ("delegate:./x.so", "delegate:@/./x.so"),
                ("delegate:/x.so", "delegate:/x.so"),
                ("delegate:x.so", "delegate:x.so"),
                ("cpu", "cpu"),
                ("edgetpu", "edgetpu"),
                ("auto", "auto"),
            ],
        ),
        (
            "engine.library",
            &[
                ("lib/x.so", "@/lib/x.so"),
                ("./x.so", "@/./x.so"),
                ("/usr/lib/x.so", "/usr/lib/x.so"),
                ("libedgetpu.so.1", "libedgetpu.so.1"),
            ],
        ),
    ];

    /// All other keys. A new key stands here or above.
    const NO_PATHS: &str = "camera.format camera.loop camera.rate camera.silent_after camera.size engine.cpu_fallback \
        engine.deadline engine.device engine.longest_pause engine.options engine.start_limit engine.workers gpio.alarm \
        gpio.alarm_above gpio.alarm_active gpio.alarm_class gpio.alarm_hold gpio.button gpio.button_action \
        gpio.button_pull gpio.heartbeat http.listen http.max_body http.max_connections http.pictures http.predict \
        http.stream_fps log.level model.fit model.threads publish.jsonl.keep publish.jsonl.max_bytes \
        publish.jsonl.queue publish.snapshot.interval publish.snapshot.keep segment.mask telemetry.interval \
        telemetry.latency_log.frames telemetry.latency_log.interval telemetry.latency_log.keep \
        telemetry.latency_log.max_age telemetry.latency_log.max_bytes telemetry.latency_log.sync \
        telemetry.pmic_command telemetry.power_rails telemetry.sensors telemetry.throttle_command";

    /// `key` as the effective configuration has it.
    fn effective(config: &Config, key: &str) -> String {
        let mut table = toml::Table::try_from(config).unwrap();
        lookup(&mut table, key).unwrap().as_str().unwrap().to_owned()
    }

    #[test]
    fn a_file_of_a_mebibyte_is_read_and_a_larger_one_is_not() {
        for (length, is_read) in [(LARGEST, true), (LARGEST + 1, false)] {
            let start = "[camera]\nrate = 5\n#";
            let file = file(&(start.to_owned() + &"x".repeat(length as usize - start.len())));
            let loaded = load(Some(file.path()), env(&[]), &[]);
            assert_eq!(loaded.is_ok_and(|loaded| loaded.config.camera.rate == Rate::Fps(5.0)), is_read, "{length}");
        }
    }

    #[test]
    fn every_path_in_a_file_starts_from_its_folder_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let (path, at) = (folder.path().join("p.toml"), folder.path().to_str().unwrap());
        // What goes with the keys that don't go alone.
        let with = |key: &str| match key {
            "http.tls_key" => "http.tls_certificate = '/c'\n",
            "http.tls_certificate" => "http.tls_key = '/k'\n",
            _ => "",
        };
        for (key, values) in PATHS {
            for (value, expected) in values {
                let with = if value.is_empty() { "" } else { with(key) };
                std::fs::write(&path, format!("{key} = '{value}'\n{with}")).unwrap();
                let config = load(Some(&path), env(&[]), &[]).unwrap().config;
                assert_eq!(effective(&config, key), expected.replace('@', at), "{key} = {value:?}");
            }
        }
    }

    #[test]
    fn a_socket_whose_path_is_too_long_from_the_root_names_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.toml");
        std::fs::write(&path, format!("[camera]\nrate = 5\n[http]\nsocket = '{}'\n", "x".repeat(107))).unwrap();
        let error = load(Some(&path), env(&[]), &[]).unwrap_err().to_string();
        assert!(error.contains(":4: http.socket: socket ") && error.contains("at most 107 bytes"), "{error}");
    }

    #[test]
    fn every_key_is_known_to_name_a_path_or_not() {
        let mut listed: Vec<&str> = PATHS.iter().map(|(key, _)| *key).chain(NO_PATHS.split_whitespace()).collect();
        let mut known = leaf_keys(&toml::Table::try_from(Config::default()).unwrap());
        listed.sort_unstable();
        known.sort_unstable();
        assert_eq!(listed, known);
    }

    #[test]
    fn paths_of_other_layers_stay_as_they_are() {
        let file = file("");
        for (key, values) in PATHS {
            let value = values[0].0;
            let with = match key {
                "http.tls_key" => vec![set("http.tls_certificate", "c")],
                "http.tls_certificate" => vec![set("http.tls_key", "k")],
                _ => Vec::new(),
            };
            let config = load(Some(file.path()), env(&[]), &[&with[..], &[set(key, value)]].concat()).unwrap().config;
            assert_eq!(effective(&config, key), value, "--set");
            let variable = [(variable_name(key), value.to_owned())];
            let config = load(Some(file.path()), variable, &with).unwrap().config;
            assert_eq!(effective(&config, key), value, "environment");
        }
    }

    #[test]
    fn the_effective_configuration_reads_back_as_itself() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
    }
}
