//! What each layer changes, and what is said of what is wrong in it.

use std::io::Write;

use camera::{Rate, Source};

use super::*;

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
    assert!(error.contains("unknown key; it is a section with publish.jsonl.interval, publish.jsonl.keep"), "{error}");
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
const NO_PATHS: &str =
    "camera.flip camera.format camera.loop camera.rate camera.rotate camera.silent_after camera.size \
    camera.stride engine.cpu_fallback engine.deadline engine.device engine.isolation engine.longest_pause \
    engine.options engine.start_limit engine.workers gpio.alarm gpio.alarm_above gpio.alarm_active \
    gpio.alarm_class gpio.alarm_hold gpio.button gpio.button_action gpio.button_pull gpio.heartbeat \
    http.frame_ancestors http.hosts http.listen http.max_body http.max_connections http.max_pixels http.pictures \
    http.predict http.stream_fps log.level model.fit model.threads publish.jsonl.interval publish.jsonl.keep \
    publish.jsonl.max_bytes publish.jsonl.min_change publish.jsonl.queue publish.snapshot.interval \
    publish.snapshot.keep segment.mask telemetry.interval telemetry.latency_log.frames \
    telemetry.latency_log.interval telemetry.latency_log.keep telemetry.latency_log.max_age \
    telemetry.latency_log.max_bytes telemetry.latency_log.sync telemetry.pmic_command telemetry.power_rails \
    telemetry.sensors telemetry.throttle_command";

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
fn a_credential_is_no_relative_path() {
    let file = file("[http]\ntoken_file = 'credential:token'\n");
    let config = load(Some(file.path()), env(&[]), &[]).unwrap().config;
    assert_eq!(config.http.token_file, "credential:token");
    let error = load(Some(file.path()), env(&[]), &[set("http.token_file", "credential:../x")]).unwrap_err();
    assert!(error.to_string().contains("http.token_file: credential \"../x\": expected"), "{error}");
}

#[test]
fn the_effective_configuration_reads_back_as_itself() {
    let text = toml::to_string(&Config::default()).unwrap();
    assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
}

#[test]
fn named_tables_are_read_set_and_named_in_errors_with_their_line() {
    let text = "[rules.gate]\nclass = 'person'\nabove = 0.2\n\n[rules.yard]\nclass = 'car'\n";
    let given = file(text);
    let load = |set: &[Override]| load(Some(given.path()), env(&[]), set);
    let rules = |set: &[Override]| toml::Value::try_from(load(set).unwrap().config.rules).unwrap();
    assert_eq!(rules(&[])["gate"]["above"].as_str(), Some("0.2"));
    let both = [set("rules.gate.above", "0.3"), set("rules.new.class", "dog")];
    assert_eq!(
        (rules(&both)["gate"]["above"].as_str(), rules(&both)["new"]["class"].as_str()),
        (Some("0.3"), Some("dog"))
    );
    let said = |set| load(&[set]).unwrap_err().to_string();
    assert_eq!(
        said(set("rules.gate.abov", "1")),
        "--set: rules.gate.abov: unknown key; did you mean rules.gate.above?"
    );
    assert!(said(set("rules.gate.above", "2")).starts_with("--set: rules.gate.above: fraction \"2\""));
    assert!(said(set("rules.a b.above", "1")).contains("expected letters, digits, - and _"));
    assert!(said(set("rules.gate", "0.2")).contains("it is a section with rules.gate.above, "));
    for key in ["rules", "rule.gate.class"] {
        assert!(said(set(key, "3")).contains(": unknown key; its tables have names that you choose"), "{key}");
    }
    let variables = env(&[("PSPNETD_RULES_GATE_ABOVE", "0.5")]);
    let warnings = super::load(Some(given.path()), variables, &[]).unwrap().warnings;
    assert_eq!(
        warnings,
        ["environment: PSPNETD_RULES_GATE_ABOVE is no known setting; a variable can't set [rules.NAME], \
             `--set rules.NAME.KEY=VALUE` can"]
    );
    for (line, wrong, words) in [
        (3, "above = 7", "rules.gate.above: fraction \"7\": expected more than 0"),
        (3, "abuve = 0.2", "rules.gate.abuve: unknown key; did you mean rules.gate.above?"),
        (3, "kind = 'sound'", "rules.gate.kind: unknown kind of rule \"sound\"; expected area"),
    ] {
        let given = file(&text.replacen("above = 0.2", wrong, 1));
        let error = super::load(Some(given.path()), env(&[]), &[]).unwrap_err().to_string();
        assert!(error.contains(&format!(":{line}: {words}")), "{error}");
    }
    for (text, words) in [
        ("[rules.'a b']\nclass = 'x'\n", ":1: rules.a b: invalid name"),
        ("[rules]\ngate = 3\n", ":2: rules.gate: expected a section, written [rules.gate]"),
        (
            "[rules]\nkind = 'area'\n",
            ":2: rules.kind: it belongs to a table with a name that you choose, written [rules.NAME]",
        ),
        ("[rule.gate]\nclass = 'x'\n", ":1: rule: unknown key; its tables have names that you choose: [rules.NAME]"),
    ] {
        let given = file(text);
        let error = super::load(Some(given.path()), env(&[]), &[]).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
