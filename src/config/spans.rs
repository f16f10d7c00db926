//! Positions in a TOML text: which line a byte stands on, which key a value belongs to, which keys nobody knows.

use std::ops::Range;

use toml::de::{DeTable, DeValue};
use toml::Spanned;

use super::keys::join;
use super::named::{is_name, is_open, NamedSection};

/// What is wrong with a key, whatever its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The configuration doesn't have it.
    Unknown,
    /// It is a section there, and something else in the file.
    NoSection,
    /// It belongs to a named table, and stands where the tables are.
    NoName,
    /// A named table can't have this name.
    BadName,
}

/// A key of the file that can't stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misplaced {
    pub(super) fault: Fault,
    /// The key with its tables, such as `camera.rat`.
    pub(super) path: String,
    /// Where the key stands.
    pub(super) at: Range<usize>,
}

/// The first key of `table` that doesn't fit `known`, a table that has every key.
pub(super) fn first_misplaced(table: &DeTable<'_>, known: &toml::Table) -> Option<Misplaced> {
    let mut found: Vec<Misplaced> = Vec::new();
    collect_misplaced(table, known, "", &mut found);
    found.into_iter().min_by_key(|key| key.at.start)
}

fn collect_misplaced(table: &DeTable<'_>, known: &toml::Table, prefix: &str, found: &mut Vec<Misplaced>) {
    for (key, value) in table {
        let path = join(prefix, key.get_ref());
        match (known.get(key.get_ref().as_ref()), value.get_ref()) {
            (_, DeValue::Table(inner)) if is_open(&path) => {
                let bad = inner.keys().filter(|name| !is_name(name.get_ref()));
                found.extend(bad.map(|name| Misplaced {
                    fault: Fault::BadName,
                    path: join(&path, name.get_ref()),
                    at: name.span(),
                }));
            }
            _ if is_open(&path) => found.push(Misplaced { fault: Fault::NoSection, path, at: key.span() }),
            (None, _) => found.push(Misplaced { fault: Fault::Unknown, path, at: key.span() }),
            (Some(toml::Value::Table(_)), DeValue::Table(inner)) if NamedSection::at(&path).is_some() => {
                collect_misplaced_in_named(inner, &path, found);
            }
            (Some(toml::Value::Table(known)), DeValue::Table(inner)) => collect_misplaced(inner, known, &path, found),
            (Some(toml::Value::Table(_)), _) => found.push(Misplaced { fault: Fault::NoSection, path, at: key.span() }),
            _ => {}
        }
    }
}

/// The same in the tables of the section at `path`, which have names of the user's own.
fn collect_misplaced_in_named(tables: &DeTable<'_>, path: &str, found: &mut Vec<Misplaced>) {
    let Some(section) = NamedSection::at(path) else { return };
    for (name, value) in tables {
        let path = join(path, name.get_ref());
        let misplaced = |fault| Misplaced { fault, path: path.clone(), at: name.span() };
        match value.get_ref() {
            _ if !is_name(name.get_ref()) => found.push(misplaced(Fault::BadName)),
            DeValue::Table(entries) => {
                // Only what is text can choose other keys.
                let text = |value: &DeValue<'_>| match value {
                    DeValue::String(text) => Some(toml::Value::String(text.clone().into_owned())),
                    _ => None,
                };
                let texts = entries
                    .iter()
                    .filter_map(|(key, value)| Some((key.get_ref().clone().into_owned(), text(value.get_ref())?)));
                collect_misplaced(entries, &section.keys(&texts.collect()), &path, found);
            }
            _ if section.keys(&toml::Table::new()).contains_key(name.get_ref().as_ref()) => {
                found.push(misplaced(Fault::NoName));
            }
            _ => found.push(misplaced(Fault::NoSection)),
        }
    }
}

/// The innermost key whose value contains byte `at`.
pub(super) fn key_at(table: &DeTable<'_>, at: usize) -> Option<String> {
    fn inner(table: &DeTable<'_>, at: usize, prefix: &str) -> Option<String> {
        table.iter().find_map(|(key, value)| {
            let path = join(prefix, key.get_ref());
            match value.get_ref() {
                DeValue::Table(table) => inner(table, at, &path).or_else(|| covers(value, at).then_some(path)),
                _ => covers(value, at).then_some(path),
            }
        })
    }
    inner(table, at, "")
}

/// Where the key `path`, such as `camera.rate`, stands.
pub(super) fn position(table: &DeTable<'_>, path: &str) -> Option<usize> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let (key, value) = table.iter().find(|(key, _)| key.get_ref().as_ref() == first)?;
    match (rest, value.get_ref()) {
        (None, _) => Some(key.span().start),
        (Some(rest), DeValue::Table(inner)) => position(inner, rest),
        _ => None,
    }
}

fn covers(value: &Spanned<DeValue<'_>>, at: usize) -> bool {
    value.span().contains(&at)
}

/// The line, from 1, that byte `at` of `text` stands on.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|&byte| byte == b'\n').count() + 1
}

/// Every key of `table` that holds a value rather than a table, with its tables: `camera.rate`.
pub(super) fn leaf_keys(table: &toml::Table) -> Vec<String> {
    fn inner(table: &toml::Table, prefix: &str, keys: &mut Vec<String>) {
        for (key, value) in table {
            let path = join(prefix, key);
            match value {
                toml::Value::Table(table) => inner(table, &path, keys),
                _ => keys.push(path),
            }
        }
    }
    let mut keys = Vec::new();
    inner(table, "", &mut keys);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_found_with_its_line() {
        let text = "[camera]\nsource = 'auto'\n\n[camera.x]\ny = 1\n";
        let known = toml::from_str::<toml::Table>("[camera]\nsource = ''\n").unwrap();
        let unknown = first_misplaced(DeTable::parse(text).unwrap().get_ref(), &known).unwrap();
        assert_eq!((unknown.path.as_str(), unknown.fault), ("camera.x", Fault::Unknown));
        for text in ["camera = ['auto']\n", "[[camera]]\nsource = 'auto'\n", "camera = 3\n"] {
            let misplaced = first_misplaced(DeTable::parse(text).unwrap().get_ref(), &known).unwrap();
            assert_eq!((misplaced.path.as_str(), misplaced.fault), ("camera", Fault::NoSection), "{text}");
        }
        assert_eq!(line_of(text, unknown.at.start), 4);
    }

    #[test]
    fn a_key_knows_its_place() {
        let text = "[a.b]\nc = 12\nd = 'x'\n[e]\nd = 1";
        let table = DeTable::parse(text).unwrap();
        let line = |path| position(table.get_ref(), path).map(|at| line_of(text, at));
        assert_eq!([line("a.b.d"), line("e.d"), line("e.c"), line("a.b.c.x")], [Some(3), Some(5), None, None]);
    }

    #[test]
    fn a_value_knows_its_key() {
        let text = "[a.b]\nc = 12\nd = 'x'\n";
        let table = DeTable::parse(text).unwrap();
        assert_eq!(key_at(table.get_ref(), text.find("12").unwrap()).unwrap(), "a.b.c");
    }
}
