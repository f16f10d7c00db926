//! What was said of a camera when it was opened, so that one that is opened again and again says it once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use base::sync::lock;
use log::Level;

type Line = (Level, String);

static SAID: Mutex<BTreeMap<PathBuf, Vec<Line>>> = Mutex::new(BTreeMap::new());

/// Logs `lines`, unless they are the same as at the last opening of the camera `name`: then they go to the debug log.
pub(super) fn say(name: &Path, lines: &[Line]) {
    let is_news = is_news(name, lines);
    for (level, line) in lines {
        log::log!(if is_news { *level } else { Level::Debug }, "{line}");
    }
}

fn is_news(name: &Path, lines: &[Line]) -> bool {
    let mut said = lock(&SAID);
    if said.get(name).map_or(lines.is_empty(), |said| said == lines) {
        return false;
    }
    said.insert(name.to_owned(), lines.to_vec());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_are_said_once_until_others_come() {
        let (a, b) = (Path::new("/dev/pspnetd-said-a"), Path::new("/dev/pspnetd-said-b"));
        let words = |text: &str| vec![(Level::Warn, text.to_owned())];
        assert!(!is_news(a, &[]));
        assert_eq!([a, a, b, b].map(|name| is_news(name, &words("x"))), [true, false, true, false]);
        assert!(is_news(a, &words("y")));
        // All is well, and later it is not.
        assert!(is_news(a, &[]));
        assert!(is_news(a, &words("y")));
    }
}
