//! Header fields that every answer has.

use hyper::header::{HeaderName, HeaderValue, CACHE_CONTROL, CONTENT_SECURITY_POLICY, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};

use super::Body;

/// What no handler needs to set; one that does is left its own.
const FIELDS: [(HeaderName, &str); 7] = [
    (HeaderName::from_static("x-content-type-options"), "nosniff"),
    (HeaderName::from_static("x-frame-options"), "DENY"),
    (HeaderName::from_static("referrer-policy"), "no-referrer"),
    // Neither pages of others nor their scripts may have what is served here.
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    // What a camera sees, and figures of the moment.
    (CACHE_CONTROL, "no-store"),
];

/// Adds them. A 401 says what it wants.
pub(super) fn complete(response: &mut Response<Body>) {
    let wants_token = response.status() == StatusCode::UNAUTHORIZED;
    let fields = response.headers_mut();
    for (name, value) in FIELDS {
        fields.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if wants_token {
        // Browsers ask for a name and a password at the first, programs know the second.
        fields.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"pspnetd\", charset=\"UTF-8\""));
        fields.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"pspnetd\""));
    }
}

#[cfg(test)]
mod tests {
    use super::super::whole;
    use super::*;

    #[test]
    fn every_answer_has_the_fields_and_keeps_its_own() {
        let mut response = whole("text/plain", "x");
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        complete(&mut response);
        let fields = response.headers();
        assert_eq!(fields.len(), FIELDS.len() + 1);
        for (name, expected) in FIELDS {
            let expected = if name == CACHE_CONTROL { "no-cache" } else { expected };
            assert_eq!(fields.get_all(&name).iter().collect::<Vec<_>>(), [expected], "{name}");
        }
    }

    #[test]
    fn only_a_401_says_what_it_wants() {
        let wanted = |status| {
            let mut response = whole("text/plain", "x");
            *response.status_mut() = status;
            complete(&mut response);
            let fields = response.headers().get_all(WWW_AUTHENTICATE);
            fields.iter().map(|field| field.to_str().unwrap().split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(wanted(StatusCode::UNAUTHORIZED), ["Basic", "Bearer"]);
        for status in [StatusCode::OK, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND] {
            assert_eq!(wanted(status), [""; 0], "{status}");
        }
    }
}
