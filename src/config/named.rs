//! Sections whose tables have names that the user chooses, such as `[rules.NAME]`. The name is part of each key, so that an
//! error names one of several tables, and `--set rules.NAME.above=…` reaches it. And open sections, whose keys are those of the
//! user's device.

use serde::Deserialize as _;
use toml::{Table, Value};

use super::keys::join;
use crate::scene::rules::{RuleSettings, DEFAULT_KIND};

/// A section of named tables.
pub(super) struct NamedSection {
    /// The section: `rules`.
    pub(super) name: &'static str,
    /// Every key that a table with these entries may have, with its default.
    template: fn(&Table) -> Table,
    /// Whether these entries are right together; otherwise what is wrong.
    check: fn(Table) -> Result<(), String>,
}

/// Every section of named tables.
pub(super) const NAMED: &[NamedSection] = &[NamedSection {
    name: "rules",
    template: rule,
    check: |table| RuleSettings::deserialize(table).map(drop).map_err(|error| error.message().trim_end().to_owned()),
}];

/// Sections with keys that only a device knows: any name can be one.
pub(super) const OPEN: &[&str] = &["camera.controls"];

/// Whether `path` is an open section.
pub(super) fn is_open(path: &str) -> bool {
    OPEN.contains(&path)
}

/// The key in an open section that the rest of a variable's name means, if it means one: these keys have no capitals.
pub(super) fn open_key(variable: &str, name_of: impl Fn(&str) -> String) -> Option<String> {
    OPEN.iter().find_map(|section| {
        let name = variable.strip_prefix(&name_of(section))?.strip_prefix('_')?.to_lowercase();
        is_name(&name).then(|| join(section, &name))
    })
}

/// Which keys a rule has depends on its kind.
fn rule(entries: &Table) -> Table {
    let kind = entries.get("kind").and_then(Value::as_str).unwrap_or(DEFAULT_KIND);
    let template = RuleSettings::template(kind).or_else(|| RuleSettings::template(DEFAULT_KIND));
    template.and_then(|template| Table::try_from(template).ok()).unwrap_or_default()
}

impl NamedSection {
    /// The section at `path`, if that is one.
    pub(super) fn at(path: &str) -> Option<&'static Self> {
        NAMED.iter().find(|section| section.name == path)
    }

    /// The keys of a table with these entries.
    pub(super) fn keys(&self, entries: &Table) -> Table {
        (self.template)(entries)
    }
}

/// Whether a table can have this name; its keys must stand on a command line, in a topic and in a log line.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// What is said of a name that no table can have.
pub(super) const NAME_EXPECTED: &str = "invalid name; expected letters, digits, - and _";

/// The section, name and key of a path such as `rules.gate.above`; without a key it is empty.
fn parts(path: &str) -> Option<(&'static NamedSection, &str, &str)> {
    let (section, rest) = path.split_once('.')?;
    let (name, key) = rest.split_once('.').unwrap_or((rest, ""));
    Some((NamedSection::at(section)?, name, key))
}

/// Whether `path` is a key of a named table, where the configuration so far is `table`. None where it is in no such section;
/// otherwise whether it can be set, or why not and which keys there are.
pub(super) fn is_key(table: &Table, path: &str) -> Option<Result<(), (String, Vec<String>)>> {
    if is_open(path) {
        return Some(Err((format!("it is a section; set one of its keys: {path}.NAME=VALUE"), Vec::new())));
    }
    if let Some(name) = OPEN.iter().find_map(|section| path.strip_prefix(section)?.strip_prefix('.')) {
        return Some(if is_name(name) { Ok(()) } else { Err((NAME_EXPECTED.to_owned(), Vec::new())) });
    }
    let (section, name, key) = parts(path)?;
    if !is_name(name) {
        return Some(Err((NAME_EXPECTED.to_owned(), Vec::new())));
    }
    let entries = table.get(section.name).and_then(|section| section.get(name)).and_then(Value::as_table);
    let known = section.keys(entries.unwrap_or(&Table::new()));
    if known.contains_key(key) {
        return Some(Ok(()));
    }
    let prefix = join(section.name, name);
    Some(Err(("unknown key".to_owned(), known.keys().map(|key| join(&prefix, key)).collect())))
}

/// Keys of named tables of `table` whose value can't be, each with the reason. A table whose values are right one by one but
/// not together stands with its own path.
pub(super) fn wrong_values(table: &Table) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    for section in NAMED {
        let tables = table.get(section.name).and_then(Value::as_table);
        for (name, entries) in tables.into_iter().flatten() {
            let Some(entries) = entries.as_table() else { continue };
            let path = join(section.name, name);
            let before = wrong.len();
            for (key, value) in entries {
                let mut one = section.keys(entries);
                one.insert(key.clone(), value.clone());
                if let Err(reason) = (section.check)(one) {
                    wrong.push((join(&path, key), reason));
                }
            }
            if wrong.len() == before {
                wrong.extend((section.check)(entries.clone()).err().map(|reason| (path, reason)));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_stand_in_a_key() {
        assert!(["gate", "person-at-gate", "A_1"].into_iter().all(is_name));
        assert!(!["", "a.b", "a b", "gpio.alarm", "tür"].into_iter().any(is_name));
    }

    #[test]
    fn a_key_is_known_by_the_table_that_it_is_in() {
        let table: Table = toml::from_str("[rules.gate]\nclass = 'a'").unwrap();
        assert_eq!(is_key(&table, "rules.gate.above"), Some(Ok(())));
        // Also of a table that isn't there yet.
        assert_eq!(is_key(&table, "rules.yard.kind"), Some(Ok(())));
        assert_eq!(is_key(&table, "camera.rate"), None);
        let (_, known) = is_key(&table, "rules.gate").unwrap().unwrap_err();
        assert_eq!(known.len(), 3, "{known:?}");
        let (reason, known) = is_key(&table, "rules.gate.abov").unwrap().unwrap_err();
        assert_eq!((reason.as_str(), known.len()), ("unknown key", 3));
        assert!(known.contains(&"rules.gate.above".to_owned()), "{known:?}");
        assert_eq!(is_key(&table, "rules.a b.above").unwrap().unwrap_err().0, NAME_EXPECTED);
    }

    #[test]
    fn any_name_is_a_key_of_an_open_section() {
        let table = Table::new();
        assert_eq!(is_key(&table, "camera.controls.gain"), Some(Ok(())));
        assert_eq!(is_key(&table, "camera.controls.a.b").unwrap().unwrap_err().0, NAME_EXPECTED);
        assert!(is_key(&table, "camera.controls").unwrap().unwrap_err().0.contains("it is a section"));
        assert_eq!(is_key(&table, "camera.controlsx"), None);
        let name_of = |section: &str| section.replace('.', "_").to_uppercase();
        let key = |variable| open_key(variable, name_of);
        assert_eq!(key("CAMERA_CONTROLS_FOCUS_ABSOLUTE").as_deref(), Some("camera.controls.focus_absolute"));
        assert_eq!([key("CAMERA_CONTROLS"), key("CAMERA_CONTROLS_"), key("CAMERA_RATE")], [None, None, None]);
    }

    #[test]
    fn each_wrong_value_has_its_key() {
        let wrong = |text: &str| wrong_values(&toml::from_str(text).unwrap());
        assert_eq!(wrong("[rules.gate]\nclass = 'a'\nabove = 0.5\n[rules.yard]\n"), []);
        let found = wrong("[rules.gate]\nclass = 3\nabove = 2\n[rules.yard]\nkind = 'sound'");
        let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["rules.gate.above", "rules.gate.class", "rules.yard.kind"]);
        assert!(found[0].1.contains("fraction \"2\": expected more than 0 and at most 1"), "{found:?}");
        assert!(found[2].1.contains("unknown kind of rule \"sound\"; expected area"), "{found:?}");
    }
}
