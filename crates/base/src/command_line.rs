//! A program and its arguments in one line of text, split into words as a shell splits them. No shell ever sees it.

use std::fmt;
use std::str::FromStr;

use crate::text::masked;

/// A command line that is known to name a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    text: String,
    words: Vec<String>,
}

impl CommandLine {
    /// The program, as a path or as a name to be looked for in `PATH`.
    pub fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Its arguments.
    pub fn arguments(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// The program's name without its folders, for messages.
    pub fn name(&self) -> &str {
        self.program().rsplit('/').find(|part| !part.is_empty()).unwrap_or("command")
    }
}

impl FromStr for CommandLine {
    type Err = String;

    /// Words are parted by blanks; `'…'`, `"…"` and `\` keep blanks together; `#` before a word begins a comment.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some(words) = shlex::split(text) else {
            return Err(format!("command {text:?}: a quote is not closed, or nothing follows the last backslash"));
        };
        if words.first().is_none_or(String::is_empty) {
            return Err(format!("command {text:?} names no program"));
        }
        if text.contains('\0') {
            return Err(format!("command {text:?}: a zero byte can't be passed to a program"));
        }
        Ok(Self { text: text.trim().to_owned(), words })
    }
}

/// For people: without secrets.
impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_would() {
        let line: CommandLine = r#" /usr/bin/cam  -t 0 'a b' "c \" d" e\ f '' $HOME *.x a;b "#.parse().unwrap();
        assert_eq!((line.program(), line.name()), ("/usr/bin/cam", "cam"));
        assert_eq!(line.arguments(), ["-t", "0", "a b", "c \" d", "e f", "", "$HOME", "*.x", "a;b"]);
        assert_eq!(line.to_string().parse::<CommandLine>().unwrap().arguments(), line.arguments());
        let line: CommandLine = "sh -c 'rpicam-vid -o - | tee x' # a comment".parse().unwrap();
        assert_eq!(line.arguments(), ["-c", "rpicam-vid -o - | tee x"]);
    }

    #[test]
    fn passwords_are_passed_on_and_never_shown() {
        let line: CommandLine = "ffmpeg -i rtsp://joe:s3cret@cam/1 -".parse().unwrap();
        assert_eq!(line.arguments()[1], "rtsp://joe:s3cret@cam/1");
        assert_eq!(line.to_string(), "ffmpeg -i rtsp://***@cam/1 -");
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for (text, words) in [
            ("", "names no program"),
            ("   ", "names no program"),
            ("# rpicam-vid", "names no program"),
            ("'' -t 0", "names no program"),
            ("sh -c 'exit", "quote is not closed"),
            ("sh -c \"exit", "quote is not closed"),
            ("cam \\", "backslash"),
            ("cam a\0b", "zero byte"),
        ] {
            let error = text.parse::<CommandLine>().unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
