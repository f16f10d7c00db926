//! The token that a request must bring: its file, and the comparison.

use std::fmt;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base::failure::SettingError;
use base::files;
use base64::prelude::{Engine as _, BASE64_STANDARD};
use hyper::header::{HeaderMap, AUTHORIZATION};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::config::credentials::is_roots;

/// Less can be guessed.
const SHORTEST: usize = 16;

/// What is read of the file, and more than a request's head could carry.
const LONGEST: u64 = 4096;

/// A token. Only its digest is kept, so that a comparison takes the same time whatever is compared.
pub(super) struct Token(Digest);

type Digest = [u8; 32];

impl Token {
    /// Reads the first line of `path`; None where that is empty.
    ///
    /// # Errors
    /// A file that can't be read, or has no token that is good enough.
    pub(super) fn read(path: &str) -> Result<Option<Self>, SettingError> {
        if path.is_empty() {
            return Ok(None);
        }
        let wrong = |reason: String| SettingError::new("http.token_file", path, reason);
        let advice = format!("expected a file whose first line is a token of {SHORTEST} or more characters");
        let text = read_secret("http.token_file", LONGEST, path)
            .map_err(|error| wrong(format!("{error}; {advice}")).of(&error))?;
        let text = String::from_utf8(text).map_err(|_| wrong(format!("it is no text; {advice}")))?;
        let token = text.lines().next().unwrap_or_default().trim();
        if token.len() < SHORTEST {
            return Err(wrong(format!(
                "its first line has {} characters; {advice}, as `openssl rand -hex 32` makes one",
                token.chars().count()
            )));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong(
                "its first line has spaces or characters beyond ASCII, which requests can't carry".to_owned(),
            ));
        }
        Ok(Some(Self(digest(token.as_bytes()))))
    }

    /// What `headers` bring.
    pub(super) fn verdict(&self, headers: &HeaderMap) -> Credentials {
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else {
            return if headers.contains_key(AUTHORIZATION) { Credentials::Wrong } else { Credentials::Missing };
        };
        let brought = field.to_str().ok().and_then(brought);
        match brought.is_some_and(|brought| bool::from(digest(&brought).ct_eq(&self.0))) {
            true => Credentials::Right,
            false => Credentials::Wrong,
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// What a request brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credentials {
    Right,
    Wrong,
    Missing,
}

/// The token of `Bearer TOKEN`, or the password of `Basic`, whose user's name doesn't matter.
fn brought(field: &str) -> Option<Vec<u8>> {
    let (scheme, value) = field.split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.as_bytes().to_vec());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = BASE64_STANDARD.decode(value).ok()?;
    let colon = pair.iter().position(|&byte| byte == b':')?;
    Some(pair[colon + 1..].to_vec())
}

fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// A file's first `limit` bytes.
pub(super) fn read_file(limit: u64, path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = files::open(Path::new(path)).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied if is_roots(path) => {
            io::Error::new(error.kind(), format!("{error}: root alone reads that folder (sudo pspnetd check)"))
        }
        _ => error,
    })?;
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same for a secret. Says so where everybody on this machine can read it.
pub(super) fn read_secret(key: &str, limit: u64, path: &str) -> io::Result<Vec<u8>> {
    let bytes = read_file(limit, path)?;
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o022 != 0 {
        log::warn!("{key} {path}: others than its owner can change it; chmod go-w {path}");
    }
    if mode & 0o004 != 0 {
        log::warn!("{key} {path}: everybody on this machine can read it; chmod o= {path}");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    const SECRET: &str = "0123456789abcdef";

    fn token(text: &str) -> Result<Token, SettingError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Token::read(file.path().to_str().unwrap()).map(Option::unwrap)
    }

    #[test]
    fn the_first_line_is_the_token() {
        let token = token(&format!("  {SECRET}\t\r\nsomething else\n")).unwrap();
        assert_eq!(format!("{token:?}"), "Token");
        let verdict = |field: &str| {
            token.verdict(&HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(field).unwrap())]))
        };
        for right in [format!("Bearer {SECRET}"), format!("bearer  {SECRET}")] {
            assert_eq!(verdict(&right), Credentials::Right);
        }
        for user in ["", "me", "0123"] {
            let pair = BASE64_STANDARD.encode(format!("{user}:{SECRET}"));
            assert_eq!(verdict(&format!("Basic {pair}")), Credentials::Right);
        }
        let swapped = BASE64_STANDARD.encode(format!("{SECRET}:"));
        let wrong = ["", "Bearer", "Bearer ", "Bearer 0123456789abcdeF", SECRET, "Basic", "Basic !", "Digest x"];
        for wrong in
            wrong.map(str::to_owned).into_iter().chain([format!("Basic {swapped}"), format!("Bearer {SECRET}0")])
        {
            assert_eq!(verdict(&wrong), Credentials::Wrong, "{wrong}");
        }
        assert_eq!(token.verdict(&HeaderMap::new()), Credentials::Missing);
        let mut two = HeaderMap::new();
        for _ in 0..2 {
            two.append(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {SECRET}")).unwrap());
        }
        assert_eq!(token.verdict(&two), Credentials::Wrong);
    }

    #[test]
    fn a_token_that_can_be_guessed_or_sent_by_nobody_is_refused() {
        for bad in ["", "\n0123456789abcdef", "short", "0123456789 abcdef", "0123456789abcdéf"] {
            let error = token(bad).unwrap_err();
            assert_eq!(error.key, "http.token_file", "{bad}");
        }
        assert!(token("short").unwrap_err().reason.contains("5 characters"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Token::read("/nonexistent/token").unwrap_err().to_string();
        assert!(error.starts_with("http.token_file /nonexistent/token: ") && error.contains("first line"), "{error}");
        assert!(Token::read("/").unwrap_err().reason.contains("is a directory"));
        assert!(Token::read("").unwrap().is_none());
    }
}
