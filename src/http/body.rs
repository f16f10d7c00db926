//! Bodies of answers, and answers that say what went wrong.

use std::io;

use base::text::shown;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{HeaderValue, CONTENT_TYPE};
use hyper::{Response, StatusCode};

/// The body of an answer: whole, or a stream.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// A whole body with its type.
pub(crate) fn whole(content_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    typed(content_type, Full::new(bytes.into()).map_err(|never| match never {}).boxed())
}

/// A body with its type.
pub(crate) fn typed(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Why a request has no answer, as `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The status.
    pub status: StatusCode,
    /// What was wrong, what was expected, what to do.
    pub detail: String,
}

impl Problem {
    /// A problem of `status` that `detail` explains.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    /// The body.
    pub(crate) fn text(&self) -> String {
        let title = self.status.canonical_reason().unwrap_or("error");
        let detail = shown(&self.detail);
        serde_json::json!({ "title": title, "status": self.status.as_u16(), "detail": detail }).to_string()
    }

    /// The answer.
    pub(crate) fn response(&self) -> Response<Body> {
        let mut response = whole("application/problem+json", self.text());
        *response.status_mut() = self.status;
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_where_and_why_in_json() {
        let problem = Problem::new(StatusCode::NOT_FOUND, "no \"x\"");
        assert_eq!(problem.text(), r#"{"title":"Not Found","status":404,"detail":"no \"x\""}"#);
        let response = problem.response();
        assert_eq!(
            (response.status().as_u16(), &response.headers()[CONTENT_TYPE]),
            (404, &HeaderValue::from_static("application/problem+json"))
        );
    }
}
