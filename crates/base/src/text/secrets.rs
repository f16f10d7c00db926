//! Secrets in text: who asks in a URL (`rtsp://name:password@camera/`, also without its scheme), passwords and tokens that follow
//! their name, and the credentials of an `Authorization` field.

use std::borrow::Cow;
use std::ops::Range;

/// What stands in place of a secret.
const MASK: &str = "***";

/// A name that ends so has a secret as its value.
const NAMES: [&str; 18] = [
    "token",
    "password",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "-pw",
    "_pw",
    "secret",
    "credentials",
    "apikey",
    "api-key",
    "api_key",
    "access-key",
    "access_key",
    "streamkey",
    "stream-key",
    "stream_key",
];
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
        let before = index.checked_sub(1).map(|before| &text[words[before].clone()]);
        secrets.extend(named(text, before, word, words.get(index + 1)));
        secrets.extend(userinfo_alone(text, word));
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

/// As [`masked`], for text that goes on where it was cut: a URL at its end may lack the `@` that tells of a password.
pub fn masked_cut(text: &str) -> Cow<'_, str> {
    let word = text.rsplit(ends_word).next().unwrap_or_default();
    let may_be_userinfo = |rest: &str| {
        let authority = rest.split('/').next().unwrap_or_default();
        let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        let is_whole = authority.len() < rest.len() && authority.rsplit_once(':').is_none_or(|(_, port)| is_port(port));
        !rest.is_empty() && !rest.contains('@') && !is_whole
    };
    match word.split_once("://").filter(|(_, rest)| may_be_userinfo(rest)) {
        Some((_, rest)) => Cow::Owned(format!("{}{MASK}", masked(&text[..text.len() - rest.len()]))),
        None => masked(text),
    }
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

/// What stands before the `@` of `name:password@host`, the scheme left out.
fn userinfo_alone(text: &str, word: &Range<usize>) -> Option<Range<usize>> {
    let this = &text[word.clone()];
    let (userinfo, host) = this.rsplit_once('@').filter(|_| !this.contains("://"))?;
    let (before, password) = userinfo.split_once(':')?;
    let from = before.rfind(['=', ',', '(', '[']).map_or(0, |at| at + 1);
    let name = &before[from..];
    let is_it = !name.is_empty()
        && !name.contains('/')
        && !password.is_empty()
        && host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[');
    is_it.then(|| word.start + from..word.start + userinfo.len())
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

/// The secrets that `word` has, or that `next` is because of it. `before` is the word before it.
fn named(text: &str, before: Option<&str>, word: &Range<usize>, next: Option<&Range<usize>>) -> Vec<Range<usize>> {
    let this = &text[word.clone()];
    let free = |range: &Range<usize>| (!text[range.clone()].starts_with(['-', '*'])).then(|| in_quotes(text, range));
    if this.starts_with('-') && !this.contains('=') {
        if USER_OPTIONS.contains(&this) {
            return next.filter(|next| text[(*next).clone()].contains(':')).and_then(free).into_iter().collect();
        }
        // curl takes `-uname:password` too.
        if let Some(value) = this.strip_prefix("-u").filter(|value| !value.starts_with(['-', ':', '*'])) {
            return value.contains(':').then(|| word.start + 2..word.end).into_iter().collect();
        }
        if is_secret(this) {
            return next.and_then(free).into_iter().collect();
        }
    }
    let scheme = this.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).to_ascii_lowercase();
    if SCHEMES.contains(&scheme.as_str()) {
        let is_field = before.is_some_and(|before| before.to_ascii_lowercase().ends_with("authorization:"));
        let is_any_length = is_field && scheme == "basic";
        let is_credentials = |next: &&Range<usize>| {
            (is_any_length || next.len() >= SHORTEST_CREDENTIALS) && !text[(*next).clone()].contains("://")
        };
        return next.filter(is_credentials).and_then(free).into_iter().collect();
    }
    match field(text, word, next) {
        Some(value) => free(&value).into_iter().collect(),
        None => assigned(text, word),
    }
}

/// All that stands in the quotes that `value` begins in, else `value`.
fn in_quotes(text: &str, value: &Range<usize>) -> Range<usize> {
    let quote = text[..value.start].chars().next_back().filter(|before| matches!(before, '"' | '\''));
    let end =
        quote.map_or(value.end, |quote| text[value.start..].find(quote).map_or(text.len(), |at| value.start + at));
    value.start..end
}

/// Whether what is called `name` is a secret.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    NAMES.iter().any(|ending| name.ends_with(ending))
}

/// The value of a field of a head or of JSON (`X-Api-Key: value`, `"password": "value"`) whose name is in `word`.
fn field(text: &str, word: &Range<usize>, next: Option<&Range<usize>>) -> Option<Range<usize>> {
    let is_name =
        |name: &str| is_secret(name) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let this = &text[word.clone()];
    if let Some((name, value)) = this.split_once(':') {
        // `token: ` can begin a message about a file of that name.
        let name = name.to_ascii_lowercase();
        let is_field = is_name(&name) && (name.starts_with("x-") || name.starts_with("pass"));
        let from = word.end - value.len();
        return if value.is_empty() { next.cloned() } else { Some(from..word.end) }.filter(|_| is_field);
    }
    let behind = text[word.end..].strip_prefix(['"', '\''])?.trim_start().strip_prefix(':')?.trim_start();
    let value = behind.strip_prefix(['"', '\''])?;
    let from = text.len() - value.len();
    let length = value.find(ends_word).unwrap_or(value.len());
    (is_name(this) && length > 0).then_some(from..from + length)
}

/// The values that follow `=`, as in `token=value`, also as one of several behind `?` or `&`.
fn assigned(text: &str, word: &Range<usize>) -> Vec<Range<usize>> {
    let this = &text[word.clone()];
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
        let is_user = USER_OPTIONS.contains(&name) && value.contains(':');
        if (is_secret(name) || is_user) && !value.is_empty() && value != MASK {
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
            ("curl -ujoe:s3cret --user=joe:x y", "curl -u*** --user=*** y"),
            ("rtsp-cam joe:s3cret@10.0.0.7:554/1", "rtsp-cam ***@10.0.0.7:554/1"),
            ("url=joe:p@ss@cam", "url=***@cam"),
            ("a,joe:p,ss@cam", "a,***@cam"),
            ("-H 'X-Api-Key: k1' -H \"X-Auth-Token:k2\"", "-H 'X-Api-Key: ***' -H \"X-Auth-Token:***\""),
            (
                "{\"user\": \"joe\", \"password\": \"a1\", \"n\": 3}",
                "{\"user\": \"joe\", \"password\": \"***\", \"n\": 3}",
            ),
            ("cam --password \"a b\" --size 3", "cam --password \"***\" --size 3"),
            ("{'secret':'a b'} password: x y", "{'secret':'***'} password: *** y"),
            ("Authorization: Basic YTpi", "Authorization: Basic ***"),
            ("http://cam/x?pwd=a&pass=b&n=1", "http://cam/x?pwd=***&pass=***&n=1"),
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
    fn a_url_that_is_cut_shows_nothing_of_its_password() {
        for (text, expected) in [
            ("open rtsp://joe:s3c", "open rtsp://***"),
            ("open rtsp://joe:pa/ss", "open rtsp://***"),
            ("open rtsp://cam:554/1", "open rtsp://cam:554/1"),
            ("a b://x/y c", "a b://x/y c"),
            ("rtsp://joe:x@cam/1", "rtsp://***@cam/1"),
        ] {
            assert_eq!(masked_cut(text), expected);
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
            "http.tls_key=/etc/key.pem",
            "10:00:00 me@example.org, model: x@y",
            "http.token_file /nowhere/token: No such file",
            "token: No such file",
            "'/x/token': No such file",
            "://",
            "://@x",
            "",
        ] {
            assert!(matches!(masked(text), Cow::Borrowed(_)), "{text}: {}", masked(text));
        }
    }
}
