//! The one door for text from outside: names of models, files, classes and devices, keys and values of files, what children
//! and strangers say.
//!
//! What a terminal obeys, what would begin a line of its own, and what turns or hides the text around it becomes an escape;
//! what is secret becomes `***`. The log ([`crate::logging`]) and `main` pass everything through [`shown`], so that nobody
//! else has to. Text of several lines of our own escapes the foreign parts of it with [`Foreign`] or [`shown`] as they are
//! put in. Escaping what is escaped changes nothing.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

mod secrets;

pub use secrets::{is_secret, masked, masked_cut};

/// Control characters (C0, DEL, C1), line and paragraph separators, and characters that turn (bidi) or hide the text around
/// them, or have no width.
pub fn is_harmful(c: char) -> bool {
    let hides = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    c.is_control() || hides
}

/// Appends `text` to `out` with escapes for what is harmful. A tab becomes a space.
fn escape_text(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '\t' => out.push(' '),
            harmful if is_harmful(harmful) => out.extend(harmful.escape_default()),
            other => out.push(other),
        }
    }
}

/// Appends `bytes` to `out`: what is harmful and what is no UTF-8 as escapes.
pub fn escape(bytes: &[u8], out: &mut String) {
    for chunk in bytes.utf8_chunks() {
        escape_text(chunk.valid(), out);
        out.extend(chunk.invalid().iter().flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from));
    }
}

/// `text` on one line, with escapes for what is harmful.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    escape_text(text, &mut out);
    Cow::Owned(out)
}

/// `text` as it may be shown to anybody: on one line, without what is harmful, without secrets.
pub fn shown(text: &str) -> Cow<'_, str> {
    match escaped(text) {
        Cow::Borrowed(text) => masked(text),
        Cow::Owned(text) => Cow::Owned(masked(&text).into_owned()),
    }
}

/// The same for text of several lines of our own: their breaks stay.
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    if !text.contains('\n') {
        return shown(text);
    }
    Cow::Owned(text.split('\n').map(shown).collect::<Vec<_>>().join("\n"))
}

/// A foreign part of a text of several lines: shown without breaks, harm or secrets.
#[derive(Clone, Copy, Debug)]
pub struct Foreign<T>(pub T);

impl<T: fmt::Display> fmt::Display for Foreign<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&shown(&self.0.to_string()))
    }
}

/// Replaces what is harmful in JSON, from byte `from` on, by `\uXXXX`: the values stay what they are, and the text obeys
/// nobody. JSON has such characters only in its strings; C0 is escaped there already.
pub fn escape_json(json: &mut Vec<u8>, from: usize) {
    let is_plain = |byte: &u8| byte.is_ascii() && *byte != 0x7f;
    let Some(tail) = json.get(from..).filter(|tail| !tail.iter().all(is_plain)) else { return };
    let Ok(text) = std::str::from_utf8(tail) else { return };
    let is_hidden = |c: char| is_harmful(c) && !('\0'..=' ').contains(&c);
    if !text.chars().any(is_hidden) {
        return;
    }
    let mut escaped = String::with_capacity(text.len() + 32);
    for c in text.chars() {
        if is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String can't fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    json.truncate(from);
    json.extend_from_slice(escaped.as_bytes());
}

/// The same of JSON as text.
pub fn plain_json(json: String) -> String {
    let mut bytes = json.into_bytes();
    escape_json(&mut bytes, 0);
    // It was text, and only escapes were put in.
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_obeys_becomes_an_escape_and_everything_else_stays() {
        let harmful = "\u{1b}[31m\u{9b}2J\u{1b}]0;t\u{7}\r\n\u{7f}\u{202e}x\u{2066}\u{200b}\u{2028}\u{feff}\u{e0041}";
        assert_eq!(
            escaped(harmful),
            "\\u{1b}[31m\\u{9b}2J\\u{1b}]0;t\\u{7}\\r\\n\\u{7f}\\u{202e}x\\u{2066}\\u{200b}\\u{2028}\\u{feff}\\u{e0041}"
        );
        assert!(matches!(escaped("räd Ω \\n 東京 👩"), Cow::Borrowed(_)));
        let mut text = String::new();
        escape(b"a\tb\xff\x00", &mut text);
        assert_eq!(text, "a b\\xff\\u{0}");
    }

    #[test]
    fn lines_of_our_own_stay_and_foreign_ones_do_not() {
        let text = format!("one: {}\n  two", Foreign("a\nb\u{1b}"));
        assert_eq!(text, "one: a\\nb\\u{1b}\n  two");
        assert_eq!(shown_lines(&text), text);
        assert_eq!(shown_lines("a\u{7}\nb\r\n"), "a\\u{7}\nb\\r\n");
        assert_eq!(format!("{:<6}|", Foreign("a\n")), "a\\n   |");
    }

    #[test]
    fn json_keeps_its_values_and_loses_what_is_obeyed() {
        let value = "\u{1b}\u{7f}\u{9b}\u{202e}\u{e0041}é\n";
        let mut json = format!("kept\u{7f}{{\"a\":\"\\u001b{}\\n\"}}\n", &value[1..value.len() - 1]).into_bytes();
        escape_json(&mut json, 5);
        let text = String::from_utf8(json).unwrap();
        assert_eq!(text, "kept\u{7f}{\"a\":\"\\u001b\\u007f\\u009b\\u202e\\udb40\\udc41é\\n\"}\n");
    }

    proptest! {
        #[test]
        fn nothing_harmful_is_left_and_a_second_time_changes_nothing(bytes in prop::collection::vec(any::<u8>(), 0..64), text in any::<String>()) {
            let mut out = String::new();
            escape(&bytes, &mut out);
            escape(text.as_bytes(), &mut out);
            prop_assert!(!out.chars().any(is_harmful));
            prop_assert!(matches!(escaped(&out), Cow::Borrowed(_)));
            let all = shown(&text);
            prop_assert!(!all.chars().any(is_harmful));
            prop_assert_eq!(shown(&all), all.as_ref());
        }
    }
}
