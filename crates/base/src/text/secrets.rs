//! Secrets in text: who asks in a URL (`rtsp://name:password@camera/`), passwords and tokens that follow their name, and the
//! credentials of an `Authorization` field.

use std::borrow::Cow;
use std::ops::Range;

/// What stands in place of a secret.
const MASK: &str = "***";

/// A name that ends so has a secret as its value.
const NAMES: [&str; 10] =
    ["token", "password", "passwd", "passphrase", "secret", "apikey", "api-key", "api_key", "-pw", "_pw"];
/// Options whose value is `name:password`.
const USER_OPTIONS: [&str; 4] = ["-u", "--user", "-U", "--proxy-user"];
/// The kinds of credentials of an `Authorization` field.
const SCHEMES: [&str; 3] = ["bearer", "basic", "digest"];
/// A shorter word behind a scheme is a word of a sentence.
const SHORTEST_CREDENTIALS: usize = 8;

/// `text` with `***` in place of secrets.
pub fn masked(text: &str) -> Cow<'_, str> {
    let mut secrets: Vec<Range<usize>> = Vec::new();
    for (at, separator) in text.match_indices("://") {
        secrets.extend(userinfo(text, at + separator.len()));
    }
    let words = words(text);
    for (index, word) in words.iter().enumerate() {
        let next = words.get(index + 1);
        secrets.extend(named(text, word, next));
    }
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    secrets.sort_by_key(|secret| secret.start);
    let (mut out, mut end) = (String::with_capacity(text.len()), 0);
    for secret in secrets {
        if secret.end <= end {
            continue;
        }
        if secret.start >= end {
            out.push_str(&text[end..secret.start]);
            out.push_str(MASK);
        }
        end = secret.end;
    }
    out.push_str(&text[end..]);
    Cow::Owned(out)
}

fn ends_word(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>')
}

/// What stands before the `@` of the URL whose host would begin at `start`.
fn userinfo(text: &str, start: usize) -> Option<Range<usize>> {
    let rest = &text[start..];
    let rest = &rest[..rest.find(ends_word).unwrap_or(rest.len())];
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let end = authority.rfind('@').or_else(|| {
        // A password with a slash in it: what stands behind the colon is no port.
        let (_, port) = authority.rsplit_once(':')?;
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) || authority.starts_with('[');
        if is_port {
            None
        } else {
            rest.rfind('@')
        }
    })?;
    (end > 0 && &authority[..end.min(authority.len())] != MASK).then_some(start..start + end)
}

/// Where each word lies.
fn words(text: &str) -> Vec<Range<usize>> {
    let start = text.as_ptr() as usize;
    let range = |word: &str| {
        let from = word.as_ptr() as usize - start;
        from..from + word.len()
    };
    text.split(ends_word).filter(|word| !word.is_empty()).map(range).collect()
}

/// The secrets that `word` has, or that `next` is because of it.
fn named(text: &str, word: &Range<usize>, next: Option<&Range<usize>>) -> Vec<Range<usize>> {
    let this = &text[word.clone()];
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        NAMES.iter().any(|ending| name.ends_with(ending))
    };
    let free = |range: &Range<usize>| (!text[range.clone()].starts_with(['-', '*'])).then(|| range.clone());
    if this.starts_with('-') && !this.contains('=') {
        if USER_OPTIONS.contains(&this) {
            return next.filter(|next| text[(*next).clone()].contains(':')).and_then(free).into_iter().collect();
        }
        if is_secret(this) {
            return next.and_then(free).into_iter().collect();
        }
    }
    let scheme = this.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).to_ascii_lowercase();
    if SCHEMES.contains(&scheme.as_str()) {
        let long = next.filter(|next| next.len() >= SHORTEST_CREDENTIALS && !text[(*next).clone()].contains("://"));
        return long.and_then(free).into_iter().collect();
    }
    // `token=value`, also as one of several behind `?` or `&`.
    let mut found = Vec::new();
    for (at, _) in this.match_indices('=') {
        let name = this[..at].rsplit(['?', '&', ';', ',', '=', '/', '#']).next().unwrap_or_default();
        let from = word.start + at + 1;
        let value = &text[from..];
        // A value in quotes is the next word.
        let (from, value) = match value.strip_prefix(['"', '\'']) {
            Some(quoted) => (from + 1, quoted.split(['"', '\'']).next().unwrap_or_default()),
            None => {
                (from, value.split(|c| ends_word(c) || matches!(c, '&' | ';' | ',' | ')')).next().unwrap_or_default())
            }
        };
        if is_secret(name) && !value.is_empty() && value != MASK {
            found.push(from..from + value.len());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_what_stands_around_them_stays() {
        for (text, expected) in [
            ("ffmpeg -i rtsp://joe:s3cret@10.0.0.7:554/a?b=1 -f x -", "ffmpeg -i rtsp://***@10.0.0.7:554/a?b=1 -f x -"),
            ("'rtsp://joe:p@ss@cam/x': refused", "'rtsp://***@cam/x': refused"),
            ("rtsp://joe:pa/ss?w@cam/x", "rtsp://***@cam/x"),
            ("http://token@host http://a:b@c", "http://***@host http://***@c"),
            ("curl -u joe:s3cret http://cam/x", "curl -u *** http://cam/x"),
            ("cam --token abc --size 3", "cam --token *** --size 3"),
            ("cam --password=abc, and more", "cam --password=***, and more"),
            ("http://cam/x?user=joe&password=a1&n=3", "http://cam/x?user=joe&password=***&n=3"),
            ("rtspsrc user-id=joe user-pw=abc ! x", "rtspsrc user-id=joe user-pw=*** ! x"),
            ("x password=\"a b\" y", "x password=\"***\" y"),
            ("-H 'Authorization: Bearer 0123456789abcdef'", "-H 'Authorization: Bearer ***'"),
            ("api_key='k'", "api_key='***'"),
        ] {
            assert_eq!(masked(text), expected);
            assert_eq!(masked(expected), expected, "a second time");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "http.token_file=/etc/pspnetd/token",
            "name the file of its http.token_file with --token-file",
            "a token is needed: Authorization: Bearer TOKEN, or the token as the password of any user",
            "http://127.0.0.1:8088/a@b",
            "http://[::1]:8088/",
            "https://example.org/@name and me@example.org",
            "tokens = 3, key=value, --user joe",
            "://",
            "://@x",
            "",
        ] {
            assert!(matches!(masked(text), Cow::Borrowed(_)), "{text}: {}", masked(text));
        }
    }
}
