//! What other crates log, such as rustls about each connection that it refuses. It is for developers: level `debug` at most,
//! and so many lines a minute. At the other levels only their number is told.

use std::time::Duration;

use crate::clock::Instant;

/// The program's own crate, and how the names of the others begin. Everything else is a library.
const OURS: &str = "pspnetd";
/// Lines of libraries in a [`MINUTE`].
const MOST: u32 = 20;
const MINUTE: Duration = Duration::from_secs(60);

/// Whether a record of `target` comes from a library.
pub(super) fn is_foreign(target: &str) -> bool {
    let name = target.split("::").next().unwrap_or_default();
    !name.strip_prefix(OURS).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// What libraries logged in this minute.
#[derive(Debug)]
pub(super) struct Foreign {
    since: Option<Instant>,
    shown: u32,
    /// Not shown, and not told yet.
    untold: u64,
}

/// What becomes of a library's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Show,
    /// It is counted.
    Hide,
    /// So many were not shown since that was told last.
    Tell(u64),
}

impl Foreign {
    pub(super) const fn new() -> Self {
        Self { since: None, shown: 0, untold: 0 }
    }

    /// Decides about a record that comes `now`, at a level that is shown or not.
    pub(super) fn judge(&mut self, is_shown: bool, now: Instant) -> Verdict {
        let is_new_minute = self.since.is_none_or(|since| now.since(since) >= MINUTE);
        if is_new_minute {
            (self.since, self.shown) = (Some(now), 0);
        }
        if is_shown && self.shown < MOST {
            self.shown += 1;
            return Verdict::Show;
        }
        self.untold += 1;
        // Once a minute; those that come later in it are told with the first of another.
        if is_new_minute || (is_shown && self.shown == MOST) {
            self.shown = self.shown.saturating_add(1);
            return Verdict::Tell(std::mem::take(&mut self.untold));
        }
        Verdict::Hide
    }
}

impl Verdict {
    /// What is told in place of a record of `target`.
    pub(super) fn words(self, target: &str) -> Option<String> {
        let Self::Tell(count) = self else { return None };
        let library = target.split("::").next().unwrap_or_default();
        Some(format!(
            "libraries, {library} last: {count} lines not shown (log.level = \"debug\" shows {MOST} a minute)"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn every_crate_of_this_program_is_known_as_ours() {
        let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for folder in std::fs::read_dir(crates).unwrap() {
            let text = std::fs::read_to_string(folder.unwrap().path().join("Cargo.toml")).unwrap();
            let name = text.lines().find_map(|line| line.strip_prefix("name = \"")).unwrap().trim_end_matches('"');
            let module = name.replace('-', "_");
            assert!(!is_foreign(&format!("{module}::x")), "{name} counts as a library");
        }
        assert!(!is_foreign(super::super::FIGURES) && !is_foreign("pspnetd") && !is_foreign(module_path!()));
        assert!(is_foreign("rustls::msgs::handshake") && is_foreign("") && is_foreign("pspnetdx"));
    }

    #[test]
    fn warnings_are_told_once_a_minute_by_their_number() {
        let mut foreign = Foreign::new();
        assert_eq!(foreign.judge(false, at(0)), Verdict::Tell(1));
        assert!((0..1000).all(|_| foreign.judge(false, at(59)) == Verdict::Hide));
        assert_eq!(foreign.judge(false, at(60)), Verdict::Tell(1001));
    }

    #[test]
    fn a_flood_at_a_level_that_is_shown_is_limited() {
        let mut foreign = Foreign::new();
        let verdicts: Vec<Verdict> = (0..100).map(|_| foreign.judge(true, at(0))).collect();
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Show).count(), MOST as usize);
        assert_eq!(verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Tell(_))).count(), 1);
        assert_eq!(foreign.judge(true, at(61)), Verdict::Show);
    }
}
