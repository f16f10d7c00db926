//! Names that users type, and what they most likely meant.

/// The known name that `key` was most likely meant to be, if any is near enough.
pub fn nearest<'a>(key: &str, known: &'a [String]) -> Option<&'a str> {
    let key = key.to_lowercase();
    let score = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        let whole = strsim::jaro_winkler(&key, &candidate);
        // A right name under a wrong table is as good a hint as a typing slip.
        let last = |path: &str| path.rsplit('.').next().map(str::to_owned).unwrap_or_default();
        whole.max(0.95 * strsim::jaro_winkler(&last(&key), &last(&candidate)))
    };
    known
        .iter()
        .map(|candidate| (score(candidate), candidate.as_str()))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
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
    }
}
