//! Names that users type, and what they most likely meant.

/// The known name that `key` was most likely meant to be, if any is near enough.
pub fn nearest<'a>(key: &str, known: &'a [String]) -> Option<&'a str> {
    near(key, known, 1).first().copied()
}

/// The known names that `key` may have been meant to be, at most `most`, the nearest first.
pub fn near<'a>(key: &str, known: &'a [String], most: usize) -> Vec<&'a str> {
    let key = key.to_lowercase();
    let score = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        let whole = strsim::jaro_winkler(&key, &candidate);
        // A right name under a wrong table is as good a hint as a typing slip.
        let last = |path: &str| path.rsplit('.').next().map(str::to_owned).unwrap_or_default();
        whole.max(0.95 * strsim::jaro_winkler(&last(&key), &last(&candidate)))
    };
    let scored = known.iter().map(|candidate| (score(candidate), candidate.as_str()));
    let mut scored: Vec<_> = scored.filter(|(score, _)| *score > 0.8).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(most).map(|(_, candidate)| candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_wrong_tables_find_their_key() {
        let known: Vec<String> = ["camera.rate", "camera.source", "publish.jsonl.path"].map(str::to_owned).into();
        assert_eq!(nearest("camera.raet", &known), Some("camera.rate"));
        assert_eq!(nearest("camra.source", &known), Some("camera.source"));
        assert_eq!(nearest("model.rate", &known), Some("camera.rate"));
        assert_eq!(nearest("RATE", &known), Some("camera.rate"));
        assert_eq!(nearest("zzz", &known), None);
        assert_eq!(near("camera.rase", &known, 3), ["camera.rate", "camera.source"]);
        assert_eq!(near("camera.rase", &known, 1), ["camera.rate"]);
        assert_eq!(near("zzz", &known, 3), [""; 0]);
    }
}
