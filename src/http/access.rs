//! Who is answered.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::clock::{Clock, Instant};
use base::sync::lock;
use hyper::{Request, StatusCode};

use super::origin::{self, Names};
use super::route::Route;
use super::token::{Credentials, Token};
use super::Problem;
use crate::config::{HostName, Several};

/// Who is at the other end; over the Unix socket nobody in particular.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) Option<SocketAddr>);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("the socket"),
        }
    }
}

/// Wrong tokens are told once in this time, with their number.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The rule of one address or socket.
pub(super) struct Access {
    rule: Rule,
    sites: Sites,
}

/// The sites of others that the configuration names.
#[derive(Clone, Debug, Default)]
pub(super) struct Sites {
    /// Names of a proxy.
    pub(super) hosts: Several<HostName>,
    /// Some may show the page in a frame; the answer says which.
    pub(super) framed: bool,
}

/// What a request that may be answered brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    /// The token.
    Token,
    /// Nothing, or nothing is needed.
    Nothing,
}

enum Rule {
    /// Whoever may open the socket, but not the pages of others in the browser behind a tunnel to it.
    Socket,
    /// Programs of this machine, but not the pages of others in its browsers.
    ThisMachine,
    /// Whoever has the token.
    Holders { token: Arc<Token>, failures: Mutex<Failures>, clock: Arc<dyn Clock> },
}

#[derive(Debug, Default)]
struct Failures {
    untold: u64,
    told: Option<Instant>,
}

impl Access {
    /// The Unix socket's, which has its file's permissions.
    pub(super) const fn local(sites: Sites) -> Self {
        Self { rule: Rule::Socket, sites }
    }

    /// An address's. Without a token it is one of this machine (`http.listen` sees to that).
    pub(super) fn network(token: Option<Arc<Token>>, clock: Arc<dyn Clock>, sites: Sites) -> Self {
        let holders = |token| Rule::Holders { token, failures: Mutex::default(), clock };
        Self { rule: token.map_or(Rule::ThisMachine, holders), sites }
    }

    /// Whether `request` may be answered, and whether it brought the token.
    ///
    /// # Errors
    /// The answer instead.
    pub(super) fn check<B>(&self, request: &Request<B>, route: Option<Route>, peer: Peer) -> Result<Brought, Problem> {
        let names = match &self.rule {
            Rule::Socket => Names::NoDomain,
            Rule::ThisMachine => Names::ThisMachine,
            Rule::Holders { .. } => Names::Any,
        };
        origin::check_host(request, names, &self.sites.hosts)?;
        origin::check_site(request, route, self.sites.framed)?;
        let Rule::Holders { token, failures, clock } = &self.rule else { return Ok(Brought::Nothing) };
        let credentials = token.verdict(request.headers());
        if credentials != Credentials::Right && route.is_some_and(|route| !route.needs_token()) {
            return Ok(Brought::Nothing);
        }
        match credentials {
            Credentials::Right => return Ok(Brought::Token),
            Credentials::Wrong => {
                let mut failures = lock(failures);
                if let Some(count) = failures.count(clock.now()) {
                    let more = if count > 1 { format!(" ({count} since the last such line)") } else { String::new() };
                    log::warn!("http: {peer} brought a wrong token{more}");
                }
            }
            // Every browser's first request: no reason for a line.
            Credentials::Missing => {}
        }
        let reason = "a token is needed: Authorization: Bearer TOKEN, or the token as the password of any user";
        Err(Problem::new(StatusCode::UNAUTHORIZED, reason))
    }
}

impl Failures {
    /// Counts one; how many there were since the last line, when another line is due.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.untold += 1;
        if self.told.is_some_and(|told| now.since(told) < TOLD_EVERY) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn rules() -> [Access; 3] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), TOKEN).unwrap();
        let token = Token::read(file.path().to_str().unwrap()).unwrap().map(Arc::new);
        let clock = Arc::new(base::clock::ManualClock::default());
        let sites = Sites { hosts: "cam.example.org".parse().unwrap(), framed: false };
        let network = |token| Access::network(token, clock.clone(), sites.clone());
        [Access::local(sites.clone()), network(None), network(token)]
    }

    #[test]
    fn the_socket_this_machine_and_the_holders_of_a_token_are_answered_by_their_own_rules() {
        let bearer = |token: &str| format!("authorization: Bearer {token}");
        let (right, wrong) = (bearer(TOKEN), bearer("0123456789abcdeF"));
        let foreign = "sec-fetch-site: cross-site";
        // The answer of each rule; 0 where the request may be made.
        let cases: [(Option<Route>, &[&str], [u16; 3]); 13] = [
            (Some(Route::State), &["host: localhost"], [0, 0, 401]),
            (Some(Route::State), &["host: anything"], [0, 403, 401]),
            (Some(Route::State), &["host: camera.example"], [403, 403, 401]),
            (Some(Route::State), &["host: cam.example.org"], [0, 0, 401]),
            (Some(Route::State), &["host: localhost", &right], [0, 0, 0]),
            (Some(Route::State), &["host: camera.example", &right], [403, 403, 0]),
            (Some(Route::State), &["host: localhost", &wrong], [0, 0, 401]),
            (Some(Route::State), &["host: localhost", &right, foreign], [403, 403, 403]),
            (Some(Route::State), &[&right], [400, 400, 400]),
            (Some(Route::Live), &["host: localhost"], [0, 0, 0]),
            (Some(Route::Live), &["host: localhost", foreign], [403, 403, 403]),
            (None, &["host: localhost"], [0, 0, 401]),
            (None, &["host: localhost", &right], [0, 0, 0]),
        ];
        let rules = rules();
        for (route, fields, expected) in cases {
            let fields = fields.iter().map(|field| field.split_once(": ").unwrap());
            let request = fields.fold(Request::get("/"), |request, (name, value)| request.header(name, value));
            let request = request.body(()).unwrap();
            let status =
                |access: &Access| access.check(&request, route, Peer(None)).map_or_else(|no| no.status.as_u16(), |_| 0);
            assert_eq!([0, 1, 2].map(|rule| status(&rules[rule])), expected, "{route:?}, {:?}", request.headers());
        }
    }

    #[test]
    fn wrong_tokens_are_told_once_a_minute_with_their_number() {
        let mut failures = Failures::default();
        let start = Instant::from_nanos(0);
        assert_eq!(failures.count(start), Some(1));
        for second in 1..60 {
            assert_eq!(failures.count(start.after(Duration::from_secs(second))), None);
        }
        assert_eq!(failures.count(start.after(Duration::from_secs(60))), Some(60));
    }
}
