//! Requests that a browser makes for somebody else's page.
//!
//! A page from anywhere can make a browser ask this machine. It must get nothing: neither by a name of its own that resolves to
//! this machine (DNS rebinding), nor by a link to a picture or a form that posts here.
//!
//! `Host` alone says which name was asked for. What a proxy adds (`X-Forwarded-…`, `Forwarded`) counts for nothing: without a
//! proxy a page could write it.

use std::net::IpAddr;

use hyper::header::{HeaderName, HOST, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{Method, Request, StatusCode, Version};

use super::route::Route;
use super::Problem;
use crate::config::{HostName, Several};

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names by which one may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// All of them.
    Any,
    /// `localhost` and IP addresses.
    ThisMachine,
    /// Those, and words that are no domain, as scripts make them up for a Unix socket. A domain can be somebody else's also
    /// here: behind a tunnel to the socket there may be a browser.
    NoDomain,
}

/// Whether the request says which host it is for, by one of `names` or of a proxy's names, `hosts`.
///
/// # Errors
/// The answer instead.
pub(super) fn check_host<B>(request: &Request<B>, names: Names, hosts: &Several<HostName>) -> Result<(), Problem> {
    let bad = |reason: &str| Err(Problem::new(StatusCode::BAD_REQUEST, reason));
    let mut fields = request.headers().get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return bad("the request has more than one Host");
    }
    if field.is_none() && request.version() >= Version::HTTP_11 {
        return bad("the request has no Host");
    }
    let written = match field.map(|field| field.to_str()) {
        Some(Err(_)) => return bad("the request's Host is no text"),
        Some(Ok(text)) => Some(text),
        None => None,
    };
    let target = request.uri().authority().map(Authority::as_str);
    // Old programs send none, browsers always do.
    let is_known = |host: &str| match names {
        Names::Any => true,
        Names::ThisMachine => names_this_machine(host),
        Names::NoDomain => names_this_machine(host) || !host.contains('.'),
    };
    let is_fine = |host: &str| is_known(host) || hosts.0.iter().any(|name| name.is(host));
    if !written.is_none_or(is_fine) || !target.is_none_or(is_fine) {
        let reason = match names {
            Names::NoDomain => {
                "over the socket this is served to http://localhost only, not under the name of a domain: name a proxy's in \
                 http.hosts"
            }
            _ => {
                "without a token this is served to http://localhost and to IP addresses only, not under another name: \
                 name a proxy's in http.hosts, or set http.token_file to open it further"
            }
        };
        return Err(Problem::new(StatusCode::FORBIDDEN, reason));
    }
    Ok(())
}

/// `localhost` or an IP address, with or without a port.
fn names_this_machine(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, rest)) => (address, Some(rest.strip_prefix(':').unwrap_or("x"))),
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let is_port = port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    is_port && (name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok())
}

/// Whether a browser makes the request for a page that is served here, or for nobody's (its address was typed). `framed`: pages
/// of others may show this one in a frame, if the answer's policy names them.
///
/// # Errors
/// The answer instead.
pub(super) fn check_site<B>(request: &Request<B>, route: Option<Route>, framed: bool) -> Result<(), Problem> {
    let text = |name: &HeaderName| request.headers().get(name).map(|field| field.to_str().unwrap_or("?"));
    let forbidden = |reason: &str| Err(Problem::new(StatusCode::FORBIDDEN, reason));
    let site = text(&SITE);
    let is_foreign = site.is_some_and(|site| !["same-origin", "none"].contains(&site));
    if is_foreign && !is_link(request, route) && !(framed && is_frame(request, route)) {
        return forbidden("the page of another site asks for this; only the page that is served here may");
    }
    // Browsers leave Sec-Fetch-Site out over plain HTTP, but say where a form comes from.
    let is_plain = [Method::GET, Method::HEAD].contains(request.method());
    // Where it is there, it compares with the address that the browser asked, which a proxy may have replaced in Host.
    let is_own = site == Some("same-origin");
    if let Some(origin) = text(&ORIGIN).filter(|_| !is_plain && !is_own) {
        let host = request.uri().authority().map(Authority::as_str).or_else(|| text(&HOST));
        let is_same = origin.split_once("://").is_some_and(|(_, origin)| Some(origin) == host);
        if !is_same {
            return forbidden("the page of another site posts this; only the page that is served here may");
        }
    }
    Ok(())
}

/// A link to the page itself is followed from anywhere: that tells the other site nothing.
fn is_link<B>(request: &Request<B>, route: Option<Route>) -> bool {
    let is = |name: &'static str, value: &str| request.headers().get(name).is_some_and(|field| field == value);
    let is_page = route.is_some() && request.uri().path() == "/";
    is_page && is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document")
}

/// The page, or its stream alone, in a frame. Whether that is shown the browser decides, by the answer's `frame-ancestors`; the
/// page around it can't look inside.
fn is_frame<B>(request: &Request<B>, route: Option<Route>) -> bool {
    let is = |name: &'static str, value: &str| request.headers().get(name).is_some_and(|field| field == value);
    let is_shown = matches!(route, Some(Route::Page | Route::Stream));
    is_shown && is("sec-fetch-mode", "navigate") && (is("sec-fetch-dest", "iframe") || is("sec-fetch-dest", "frame"))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    /// Without names of a proxy.
    fn check_host(request: &Request<()>, names: Names) -> Result<(), Problem> {
        super::check_host(request, names, &Several::default())
    }

    /// In nobody's frame.
    fn check_site(request: &Request<()>, route: Option<Route>) -> Result<(), Problem> {
        super::check_site(request, route, false)
    }

    fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> Request<()> {
        let builder = Request::builder().method(method).uri(target);
        fields.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(()).unwrap()
    }

    fn host(fields: &[(&str, &str)]) -> Option<u16> {
        check_host(&request("GET", "/", fields), Names::ThisMachine).err().map(|problem| problem.status.as_u16())
    }

    #[test]
    fn only_names_that_nobody_else_can_have_are_served() {
        for fine in ["localhost", "LOCALHOST:8088", "127.0.0.1", "127.0.0.1:8088", "[::1]", "[::1]:8088", "192.168.1.2"]
        {
            assert_eq!(host(&[("host", fine)]), None, "{fine}");
        }
        let foreign =
            ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "localhost:80@evil", "x:1"];
        for foreign in foreign.into_iter().chain(["[::1", "[::1]x", "localhost:8x", "127.1", "0x7f000001"]) {
            assert_eq!(host(&[("host", foreign)]), Some(403), "{foreign}");
        }
        assert_eq!(host(&[]), Some(400));
        assert_eq!(host(&[("host", "localhost"), ("host", "localhost")]), Some(400));
        let absolute = request("GET", "http://evil.example/", &[("host", "localhost")]);
        assert_eq!(check_host(&absolute, Names::ThisMachine).unwrap_err().status, StatusCode::FORBIDDEN);
        assert!(check_host(&absolute, Names::Any).is_ok(), "whoever has the token may use any name");
        let local = request("GET", "http://localhost/", &[("host", "evil.example")]);
        assert_eq!(check_host(&local, Names::ThisMachine).unwrap_err().status, StatusCode::FORBIDDEN);
        let mut no_text = request("GET", "/", &[]);
        no_text.headers_mut().insert(HOST, HeaderValue::from_bytes(b"local\xFFhost").unwrap());
        assert_eq!(check_host(&no_text, Names::Any).unwrap_err().status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn an_old_program_may_leave_the_host_out_and_must_not_name_another() {
        let mut old = request("GET", "/", &[]);
        *old.version_mut() = Version::HTTP_10;
        assert!(check_host(&old, Names::ThisMachine).is_ok());
        old.headers_mut().insert(HOST, HeaderValue::from_static("evil.example"));
        assert_eq!(check_host(&old, Names::ThisMachine).unwrap_err().status, StatusCode::FORBIDDEN);
    }

    #[test]
    fn behind_a_tunnel_to_the_socket_no_domain_is_served() {
        let status = |host| {
            let request = request("GET", "/api/v1/state", &[("host", host)]);
            check_host(&request, Names::NoDomain).err().map(|problem| problem.status.as_u16())
        };
        for fine in ["x", "", "anything", "localhost", "localhost:8088", "127.0.0.1:8088", "[::1]:8088"] {
            assert_eq!(status(fine), None, "{fine}");
        }
        for foreign in
            ["evil.example", "evil.example:8088", "evil.", "127.0.0.1.evil.example", "localhost:80@evil.example"]
        {
            assert_eq!(status(foreign), Some(403), "{foreign}");
        }
    }

    #[test]
    fn the_names_of_a_proxy_are_served_and_what_it_says_of_others_counts_for_nothing() {
        let hosts: Several<HostName> = "cam.example.org".parse().unwrap();
        let status = |names, fields: &[(&str, &str)]| {
            let outcome = super::check_host(&request("GET", "/", fields), names, &hosts);
            outcome.err().map(|problem| problem.status.as_u16())
        };
        for names in [Names::ThisMachine, Names::NoDomain] {
            for fine in ["cam.example.org", "cam.example.org:8443", "localhost", "192.168.1.2:80"] {
                assert_eq!(status(names, &[("host", fine)]), None, "{fine}");
            }
            for foreign in ["evil.example", "cam.example.org.evil.example"] {
                let forwarded = ["x-forwarded-host", "x-forwarded-server", "forwarded", "x-original-host"];
                for said in forwarded {
                    assert_eq!(status(names, &[("host", foreign), (said, "cam.example.org")]), Some(403), "{foreign}");
                }
            }
        }
    }

    #[test]
    fn a_frame_of_another_site_gets_the_page_and_its_stream_where_that_is_allowed() {
        let frame = |site, mode, dest| [("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
        let may = |route: Route, fields: &[(&str, &str)], framed| {
            super::check_site(&request("GET", "/", fields), Some(route), framed).is_ok()
        };
        for site in ["cross-site", "same-site"] {
            for dest in ["iframe", "frame"] {
                for route in [Route::Page, Route::Stream] {
                    assert!(
                        may(route, &frame(site, "navigate", dest), true)
                            && !may(route, &frame(site, "navigate", dest), false)
                    );
                }
                for route in [Route::State, Route::Frame, Route::Metrics, Route::Predict, Route::Live] {
                    assert!(!may(route, &frame(site, "navigate", dest), true), "{route:?}");
                }
            }
            for (mode, dest) in [("no-cors", "image"), ("cors", "empty"), ("navigate", "embed"), ("navigate", "object")]
            {
                assert!(!may(Route::Stream, &frame(site, mode, dest), true), "{mode} {dest}");
            }
        }
    }

    #[test]
    fn behind_a_proxy_that_replaces_host_the_page_itself_may_post() {
        let post = |site| {
            let fields = [("host", "127.0.0.1:8088"), ("origin", "https://cam.example.org"), ("sec-fetch-site", site)];
            check_site(&request("POST", "/api/v1/predict", &fields), Some(Route::Predict)).is_ok()
        };
        assert!(post("same-origin"));
        for foreign in ["none", "same-site", "cross-site", ""] {
            assert!(!post(foreign), "{foreign}");
        }
    }

    #[test]
    fn pages_of_others_get_nothing() {
        let site = |fields: &[(&str, &str)]| check_site(&request("GET", "/livez", fields), Some(Route::Live));
        assert!(site(&[]).is_ok());
        assert!(site(&[("sec-fetch-site", "same-origin")]).is_ok());
        assert!(site(&[("sec-fetch-site", "none")]).is_ok());
        for foreign in ["cross-site", "same-site", "whatever", ""] {
            assert!(site(&[("sec-fetch-site", foreign)]).is_err(), "{foreign}");
        }
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        assert!(site(&link).is_err(), "a link is for the page only");
        assert!(check_site(&request("GET", "/", &link), Some(Route::Live)).is_ok());
        let frame = [link[0], link[1], ("sec-fetch-dest", "iframe")];
        assert!(check_site(&request("GET", "/", &frame), Some(Route::Live)).is_err());
        let fetched = [link[0], ("sec-fetch-mode", "cors"), link[2]];
        assert!(check_site(&request("GET", "/", &fetched), Some(Route::Live)).is_err());
        assert!(check_site(&request("GET", "/", &link), None).is_err(), "there is no page");
    }

    #[test]
    fn forms_of_others_are_not_taken() {
        let post = |origin| {
            let fields = [("host", "192.168.1.2:8088"), ("origin", origin)];
            check_site(&request("POST", "/api/v1/predict", &fields), Some(Route::Predict))
        };
        assert!(post("http://192.168.1.2:8088").is_ok() && post("https://192.168.1.2:8088").is_ok());
        for foreign in ["null", "http://evil.example", "http://192.168.1.2", "", "192.168.1.2:8088"] {
            assert!(post(foreign).is_err(), "{foreign}");
        }
        // The target's own authority counts before Host, and what only reads needs no origin.
        let fields = [("host", "x"), ("origin", "http://192.168.1.2:8088")];
        assert!(check_site(&request("POST", "http://192.168.1.2:8088/", &fields), None).is_ok());
        assert!(check_site(&request("POST", "/", &fields), None).is_err());
        for method in ["GET", "HEAD"] {
            assert!(check_site(&request(method, "/", &fields), None).is_ok(), "{method}");
        }
    }
}
