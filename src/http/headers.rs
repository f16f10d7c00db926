//! Header fields that every answer has.

use hyper::body::Body as _;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, CACHE_CONTROL, CONTENT_SECURITY_POLICY, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};

use super::Body;
use crate::config::{Ancestor, Several};

/// For the buffers of nginx and of those who learned it from there: pass on what comes as it comes.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");
const FRAME_OPTIONS: HeaderName = HeaderName::from_static("x-frame-options");
/// The policy of what is no page.
const NO_PAGE: &str = "default-src 'none'";

/// Who may show what is served here in a frame.
#[derive(Clone, Debug)]
pub(super) struct Framing(String);

impl Framing {
    pub(super) fn by(ancestors: &Several<Ancestor>) -> Self {
        Self(ancestors.directive())
    }

    /// Adds it to the policy of an answer.
    fn add(&self, fields: &mut HeaderMap) {
        let policy = fields.get(CONTENT_SECURITY_POLICY).and_then(|policy| policy.to_str().ok()).unwrap_or(NO_PAGE);
        // Both are ASCII.
        if let Ok(policy) = HeaderValue::try_from(format!("{policy}; frame-ancestors {}", self.0)) {
            fields.insert(CONTENT_SECURITY_POLICY, policy);
        }
        // The older field knows everybody, nobody and the same site; where both are there, browsers obey the policy.
        if self.0 == "'none'" {
            fields.insert(FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        }
    }
}

/// What no handler needs to set; one that does is left its own.
const FIELDS: [(HeaderName, &str); 5] = [
    (HeaderName::from_static("x-content-type-options"), "nosniff"),
    (HeaderName::from_static("referrer-policy"), "no-referrer"),
    // Neither pages of others nor their scripts may have what is served here.
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    // What a camera sees, and figures of the moment.
    (CACHE_CONTROL, "no-store"),
];

/// Adds them. A 401 says what it wants, and an answer without an end that no proxy should hold it back.
pub(super) fn complete(response: &mut Response<Body>, framing: &Framing) {
    let wants_token = response.status() == StatusCode::UNAUTHORIZED;
    let is_endless = response.body().size_hint().exact().is_none();
    let fields = response.headers_mut();
    for (name, value) in FIELDS {
        fields.entry(name).or_insert(HeaderValue::from_static(value));
    }
    framing.add(fields);
    if is_endless {
        fields.insert(UNBUFFERED, HeaderValue::from_static("no"));
    }
    if wants_token {
        // Browsers ask for a name and a password at the first, programs know the second.
        fields.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"pspnetd\", charset=\"UTF-8\""));
        fields.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"pspnetd\""));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use http_body_util::BodyExt as _;
    use hyper::body::Frame;

    use super::super::body::{typed, whole};
    use super::*;

    fn none() -> Framing {
        Framing::by(&Several::default())
    }

    #[test]
    fn every_answer_has_the_fields_and_keeps_its_own() {
        let mut response = whole("text/plain", "x");
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        complete(&mut response, &none());
        let fields = response.headers();
        // Its type, its policy and who may frame it.
        assert_eq!(fields.len(), FIELDS.len() + 3);
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
            complete(&mut response, &none());
            let fields = response.headers().get_all(WWW_AUTHENTICATE);
            fields.iter().map(|field| field.to_str().unwrap().split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(wanted(StatusCode::UNAUTHORIZED), ["Basic", "Bearer"]);
        for status in [StatusCode::OK, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND] {
            assert_eq!(wanted(status), [""; 0], "{status}");
        }
    }

    #[test]
    fn the_policy_says_who_may_show_it_in_a_frame() {
        let told = |ancestors: &str, policy: Option<&'static str>| {
            let mut response = whole("text/plain", "x");
            if let Some(policy) = policy {
                response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
            }
            complete(&mut response, &Framing::by(&ancestors.parse().unwrap()));
            let fields = response.headers();
            let text = |name: HeaderName| fields.get(name).map(|field| field.to_str().unwrap().to_owned());
            assert_eq!(fields.get_all(CONTENT_SECURITY_POLICY).iter().count(), 1);
            (text(CONTENT_SECURITY_POLICY).unwrap(), text(FRAME_OPTIONS))
        };
        let deny = Some("DENY".to_owned());
        assert_eq!(told("none", None), ("default-src 'none'; frame-ancestors 'none'".to_owned(), deny.clone()));
        assert_eq!(told("none", Some("img-src 'self'")), ("img-src 'self'; frame-ancestors 'none'".to_owned(), deny));
        let some = "img-src 'self'; frame-ancestors 'self' https://a.example:8123".to_owned();
        assert_eq!(told("self https://a.example:8123", Some("img-src 'self'")), (some, None));
    }

    struct Endless;

    impl hyper::body::Body for Endless {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            Poll::Pending
        }
    }

    #[test]
    fn only_what_has_no_end_is_not_to_be_buffered() {
        let told = |mut response: Response<Body>| {
            complete(&mut response, &none());
            response.headers().get(UNBUFFERED).map(|field| field.to_str().unwrap().to_owned())
        };
        assert_eq!(told(whole("text/plain", "x")), None);
        assert_eq!(told(typed("text/plain", Endless.boxed())), Some("no".to_owned()));
    }
}
