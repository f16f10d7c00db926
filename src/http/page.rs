//! The page at `/`: one file with its style and script inside, and the policy that lets nothing else run.

use std::sync::OnceLock;

use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;
use hyper::header::{HeaderValue, CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use hyper::Response;
use sha2::{Digest as _, Sha256};

use super::{whole, Body};

const PAGE: &str = include_str!("page.html");

/// The page.
pub(super) fn reply() -> Response<Body> {
    static POLICY: OnceLock<Option<HeaderValue>> = OnceLock::new();
    let mut response = whole("text/html; charset=utf-8", PAGE);
    let headers = response.headers_mut();
    // After an update the program has another page.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Some(policy) = POLICY.get_or_init(|| HeaderValue::try_from(policy(PAGE)).ok()) {
        headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
    }
    response
}

/// What a browser may do for `page`: run the scripts and styles that stand in it, known by their digests, and talk to where it
/// came from. No markup is ever made from text (trusted types), whatever a class or a log line is called.
fn policy(page: &str) -> String {
    let [scripts, styles] = ["script", "style"].map(|name| digests(page, name));
    format!(
        "default-src 'none'; script-src{scripts}; style-src{styles}; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

/// ` 'sha256-…'` for the text of each element of this name.
fn digests(page: &str, name: &str) -> String {
    let (open, close) = (format!("<{name}"), format!("</{name}>"));
    let elements = page.split(open.as_str()).skip(1).filter_map(|rest| {
        let (_, inside) = rest.split_once('>')?;
        inside.split_once(close.as_str()).map(|(text, _)| text)
    });
    elements.map(|text| format!(" 'sha256-{}'", STANDARD.encode(Sha256::digest(text)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_has_the_digest_of_each_inline_part() {
        // echo -n 'a{}' | openssl dgst -sha256 -binary | base64
        let policy = policy("<style>a{}</style><p><script type=\"module\">let b = '<i>';</script>");
        assert!(policy.contains("style-src 'sha256-X1RutGBrXCt9KkSaXMK7tHftWiRscFHOhxsS8tv8hBk='"), "{policy}");
        assert!(policy.contains("script-src 'sha256-jA3WIda5C9J7zzMC043bjQC7GKXX8TX/P/UgCqXmGYo='"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn the_page_has_one_script_and_one_style_and_loads_nothing() {
        assert_eq!([digests(PAGE, "script"), digests(PAGE, "style")].map(|all| all.matches("sha256").count()), [1, 1]);
        for outside in ["http://", "https://", "src=\"", "@import", "url("] {
            let found = PAGE.replace("http://www.w3.org/2000/svg", "").contains(outside);
            assert!(!found, "page.html has {outside}");
        }
        // Behind a proxy it may lie in a folder.
        for absolute in ["href=\"/", "address('/", "address(`/", "fetch('", "fetch(`"] {
            assert!(!PAGE.contains(absolute), "page.html has {absolute}");
        }
        for risky in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=\"", " onclick="]
        {
            assert!(!PAGE.contains(risky), "page.html has {risky}");
        }
    }

    #[test]
    fn the_page_is_small() {
        assert!(PAGE.len() < 60_000, "page.html has {} bytes", PAGE.len());
    }

    #[test]
    fn the_answer_has_its_type_and_its_policy() {
        let response = reply();
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(!policy.contains("frame-ancestors"), "who may frame it is added for every answer");
    }
}
