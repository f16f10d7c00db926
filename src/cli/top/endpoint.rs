//! Where the daemon is, and the token for it.

use std::fmt;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base::failure::{Failure, Kind};
use base::values::Auto;
use hyper::header::HeaderValue;
use hyper::Uri;

use crate::config::{Http, Listen, SocketPath};
use crate::http::socket::socket_path;

/// Where the packaged service has its socket.
const SERVICE: &str = "/run/pspnetd/pspnetd.sock";

/// The daemon's address, and what it wants to see.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) at: At,
    /// `Bearer …`
    pub(super) token: Option<HeaderValue>,
}

/// A place to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// The first of these where somebody answers.
    Sockets(Vec<PathBuf>),
    /// Host (a name, or an address without brackets) and port.
    Tcp(String, u16),
}

impl Endpoint {
    /// The daemon that `config` configures. `token` is what the command line brings.
    pub(super) fn of(config: &Http, token: Option<HeaderValue>) -> Result<Self, Failure> {
        match (&config.socket, config.listen) {
            (Auto::Set(SocketPath::At(path)), _) => Ok(Self { at: At::Sockets(vec![path.clone()]), token }),
            (Auto::Auto, _) => Ok(Self { at: At::Sockets(usual(socket_path(&config.socket))), token }),
            (Auto::Set(SocketPath::Off), Listen::At(address)) if config.tls_certificate.is_empty() => {
                let host = match address.ip() {
                    IpAddr::V4(ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
                    IpAddr::V6(ip) if ip.is_unspecified() => "::1".to_owned(),
                    ip => ip.to_string(),
                };
                let with_credentials = config.with_credentials();
                let config = &with_credentials
                    .map_err(|(key, reason)| Failure::new(Kind::Config, format!("{key}: {reason}")))?;
                let configured = || (!config.token_file.is_empty()).then(|| read_token(Path::new(&config.token_file)));
                let token = token.map_or_else(|| configured().transpose(), |token| Ok(Some(token)))?;
                Ok(Self { at: At::Tcp(host, address.port()), token })
            }
            _ => Err(Failure::new(
                Kind::Config,
                "http.socket is off in the configuration, and there is no http.listen that could be used instead: set \
                 http.socket = \"auto\", or name the daemon with --socket or --url",
            )),
        }
    }
}

impl Endpoint {
    /// What to say before the token leaves this machine where others can read it.
    pub(super) fn warning(&self) -> Option<String> {
        let At::Tcp(host, _) = &self.at else { return None };
        if self.token.is_none() || is_this_machine(host) {
            return None;
        }
        Some(format!(
            "the token goes to {} over plain HTTP, where whoever is on the way can read it: better a tunnel (ssh -L \
             8088:/run/pspnetd/pspnetd.sock DEVICE) and http://127.0.0.1:8088, without a token",
            self.at
        ))
    }
}

/// Whether `host` is an address of this machine's own, or `localhost`. Other names count as other machines.
fn is_this_machine(host: &str) -> bool {
    let Ok(address) = host.parse::<IpAddr>() else { return host.eq_ignore_ascii_case("localhost") };
    // What is sent to an address of one's own comes from that address. Nothing is sent here.
    let from = || {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect((address, 9))?;
        socket.local_addr()
    };
    address.is_loopback() || from().is_ok_and(|from| from.ip() == address)
}

/// Where a daemon that chose its socket itself may have it: where one of this user has it first, then the service.
fn usual(own: Option<PathBuf>) -> Vec<PathBuf> {
    let service = Some(PathBuf::from(SERVICE)).filter(|service| own.as_ref() != Some(service));
    own.into_iter().chain(service).collect()
}

/// The header for the token in the first line of a file.
pub(super) fn read_token(path: &Path) -> Result<HeaderValue, Failure> {
    let wrong = |reason: String| Failure::new(Kind::Config, format!("token file {}: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() {
        return Err(wrong("its first line is empty; the token belongs there".to_owned()));
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| wrong("its first line has characters that no token has".to_owned()))?;
    header.set_sensitive(true);
    Ok(header)
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |reason: &str| format!("{reason}; expected http://HOST:PORT, such as http://127.0.0.1:8088");
        let uri: Uri = text.parse().map_err(|error| wrong(&format!("no URL ({error})")))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(
                "https is not spoken here: use the socket on the device (ssh DEVICE pspnetd top), or a tunnel to it \
                            (ssh -L 8088:/run/pspnetd/pspnetd.sock DEVICE) and http://127.0.0.1:8088"
                    .to_owned(),
            ),
            _ => return Err(wrong("no http:// at its start")),
        }
        if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err(wrong("there is a path in it"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("no host in it"))?;
        // What is neither host nor port, such as a user's name, and ports out of range are no part of what hyper gives.
        let authority = uri.authority().map(hyper::http::uri::Authority::as_str).unwrap_or_default();
        let port = match authority.strip_prefix(host) {
            Some("") => Some(80),
            Some(port) => port.strip_prefix(':').and_then(|digits| digits.parse().ok()),
            None => None,
        };
        let port = port.ok_or_else(|| wrong("the part behind http:// is no host and port"))?;
        Ok(Self::Tcp(host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
    }
}

impl At {
    /// For the Host header.
    pub(super) fn authority(&self) -> String {
        match self {
            Self::Sockets(_) => "localhost".to_owned(),
            Self::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp(host, port) => format!("{host}:{port}"),
        }
    }
}

/// The socket, or the URL.
impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sockets(paths) => {
                let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
                f.write_str(&paths.join(" or "))
            }
            Self::Tcp(..) => write!(f, "http://{}", self.authority()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_a_port() {
        let at = |text: &str| text.parse::<At>();
        assert_eq!(at("http://127.0.0.1:8088"), Ok(At::Tcp("127.0.0.1".to_owned(), 8088)));
        assert_eq!(at("http://camera-1/"), Ok(At::Tcp("camera-1".to_owned(), 80)));
        let six = at("http://[::1]:8088/").unwrap();
        assert_eq!(six, At::Tcp("::1".to_owned(), 8088));
        assert_eq!(six.to_string(), "http://[::1]:8088");
        for wrong in [
            "",
            "127.0.0.1:8088",
            "ftp://a",
            "http://",
            "http://a/b",
            "http://a?b",
            "http://a:99999",
            "http://u:p@a",
            "/run/x",
        ] {
            let reason = at(wrong).unwrap_err();
            assert!(reason.contains("http://HOST:PORT"), "{wrong}: {reason}");
        }
        assert!(at("https://camera-1").unwrap_err().contains("ssh"));
    }

    #[test]
    fn the_configuration_leads_to_the_daemon() {
        let of = |socket: &str, listen: &str| {
            let http = Http { socket: socket.parse().unwrap(), listen: listen.parse().unwrap(), ..Http::default() };
            Endpoint::of(&http, None).map(|endpoint| endpoint.at)
        };
        assert_eq!(of("/s", "127.0.0.1:80").unwrap(), At::Sockets(vec!["/s".into()]));
        assert_eq!(of("off", "127.0.0.1:80").unwrap(), At::Tcp("127.0.0.1".to_owned(), 80));
        assert_eq!(of("off", "[::]:81").unwrap(), At::Tcp("::1".to_owned(), 81));
        let failure = of("off", "off").unwrap_err();
        assert!(failure.exit_code() == 78 && failure.to_string().contains("--socket"), "{failure}");
        let own = PathBuf::from("/run/user/1000/pspnetd.sock");
        assert_eq!(usual(Some(own.clone())), [own, SERVICE.into()]);
        assert_eq!(usual(None), [PathBuf::from(SERVICE)]);
        assert_eq!(usual(Some(SERVICE.into())), [PathBuf::from(SERVICE)]);
    }

    #[test]
    fn a_token_that_leaves_this_machine_is_warned_of() {
        let warning = |url: &str, token: Option<HeaderValue>| Endpoint { at: url.parse().unwrap(), token }.warning();
        let token = || Some(HeaderValue::from_static("Bearer x"));
        for here in ["http://127.0.0.1:1", "http://127.9.9.9", "http://[::1]:8088", "http://LOCALHOST:2"] {
            assert_eq!(warning(here, token()), None, "{here}");
        }
        for there in
            ["http://192.0.2.7:8088", "http://camera-1", "http://[2001:db8::1]", "http://localhost.example.org"]
        {
            let words = warning(there, token()).unwrap();
            assert!(words.contains(there) && words.contains("ssh -L"), "{words}");
            assert_eq!(warning(there, None), None, "{there}");
        }
    }

    #[test]
    fn a_token_is_the_first_line_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read_token(&path)
        };
        let token = read(b" secret-secret \nnot this\n").unwrap();
        assert_eq!(token.to_str().unwrap(), "Bearer secret-secret");
        assert!(!format!("{token:?}").contains("secret"));
        for wrong in [b"".as_slice(), b"\nx", b"a\x01b", b"\xff"] {
            let failure = read(wrong).unwrap_err();
            assert!(failure.exit_code() == 78 && failure.to_string().contains("token"), "{failure}");
        }
        assert!(read_token(Path::new("/nowhere")).unwrap_err().to_string().contains("/nowhere"));
    }
}
