//! `[http]`: the web page, metrics and API, and who may have them.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use base::text_value;
use base::values::{Auto, Bytes};
use serde::{Deserialize, Serialize};

use super::sites::{Ancestor, HostName, Several};

/// The most pixels that any picture is decoded to.
const MOST_PIXELS: u32 = 64 << 20;

/// `[http]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address and port of the web page, metrics and API, such as `127.0.0.1:8088` or `[::]:8088`; `off`. Anything beyond this
    /// machine needs `http.token_file`.
    pub listen: Listen,
    /// Unix socket for `pspnetd top`: a path, or `off`. `auto` is `pspnetd.sock` in the service's runtime folder, else in the
    /// user's; where there is neither, off.
    pub socket: Auto<SocketPath>,
    /// A file whose first line is the token that every request must bring. Empty: no token, and only this machine is served.
    pub token_file: String,
    /// Names under which a proxy serves the page, such as `camera.example.org`, where it passes the browser's `Host` on and there
    /// is no token: a list, or a text with blanks between them.
    pub hosts: Several<HostName>,
    /// Sites whose pages may show this one in a frame, such as `http://homeassistant.local:8123`, or `self` for those of the same
    /// address: a list, or a text with blanks between them.
    pub frame_ancestors: Several<Ancestor>,
    /// Certificate chain (PEM) and key (PEM): with both, TLS is spoken.
    pub tls_certificate: String,
    /// See `tls_certificate`.
    pub tls_key: String,
    /// Serve what the camera sees: frames, masks, overlays and the live stream. Without it the page shows figures only.
    pub pictures: bool,
    /// The live stream has at most so many frames per second, whatever the camera's rate.
    pub stream_fps: StreamRate,
    /// Serve `POST /api/v1/predict`.
    pub predict: bool,
    /// Largest picture that `predict` takes.
    pub max_body: Bytes,
    /// Most pixels of a picture that `predict` takes, 1 to 67108864. A picture takes up to 11 bytes of memory for each while it
    /// is run.
    pub max_pixels: u32,
    /// Connections at the same time.
    pub max_connections: u16,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: Listen::Off,
            socket: Auto::Auto,
            token_file: String::new(),
            hosts: Several::default(),
            frame_ancestors: Several::default(),
            tls_certificate: String::new(),
            tls_key: String::new(),
            pictures: true,
            stream_fps: StreamRate(10.0),
            predict: true,
            max_body: Bytes(4 << 20),
            max_pixels: 1920 * 1080,
            max_connections: 64,
        }
    }
}

/// Where connections are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    #[default]
    Off,
    /// Here.
    At(SocketAddr),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected off, or an IP address with a port, such as 127.0.0.1:8088 or [::]:8088";
        match text {
            "off" | "" => Ok(Self::Off),
            _ => text.parse().map(Self::At).map_err(|_| format!("address {text:?}: {expected}")),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

/// The path of a Unix socket, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketPath {
    /// No socket.
    Off,
    /// This one.
    At(std::path::PathBuf),
}

impl FromStr for SocketPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" | "" => Ok(Self::Off),
            // The system's limit is 108 bytes with the end.
            _ if text.len() > 107 || text.contains('\0') => {
                Err(format!("socket {text:?}: expected off, or a path of at most 107 bytes"))
            }
            _ => Ok(Self::At(text.into())),
        }
    }
}

impl fmt::Display for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(path) => path.display().fmt(f),
        }
    }
}

/// Frames per second of the live stream, more than 0 and at most 60.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamRate(pub f64);

impl FromStr for StreamRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rate = text.parse().ok().filter(|rate| (0.1..=60.0).contains(rate));
        rate.map(Self).ok_or_else(|| format!("frame rate {text:?}: expected frames per second, 0.1 to 60"))
    }
}

impl fmt::Display for StreamRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_value!([] Listen, [] SocketPath, [] StreamRate);

impl Http {
    /// The first key that the others don't go with, and why.
    pub(super) fn contradiction(&self) -> Option<(&'static str, String)> {
        if let Listen::At(address) = self.listen {
            if !address.ip().is_loopback() && self.token_file.is_empty() {
                let reason = format!(
                    "{address} can be reached from other machines, which would see the camera: name a file with a token in \
                     http.token_file, or listen on 127.0.0.1"
                );
                return Some(("http.listen", reason));
            }
        }
        match (self.tls_certificate.is_empty(), self.tls_key.is_empty()) {
            (true, false) => Some(("http.tls_key", "a key is of no use without http.tls_certificate".to_owned())),
            (false, true) => Some(("http.tls_certificate", "a certificate needs its key: http.tls_key".to_owned())),
            _ => None,
        }
        .or_else(|| self.wrong_credential())
        .or_else(|| (self.max_body.0 == 0).then(|| ("http.max_body", "expected more than 0".to_owned())))
        .or_else(|| (self.max_connections == 0).then(|| ("http.max_connections", "expected 1 or more".to_owned())))
        .or_else(|| {
            let is_possible = (1..=MOST_PIXELS).contains(&self.max_pixels);
            (!is_possible).then(|| ("http.max_pixels", format!("expected 1 to {MOST_PIXELS}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(listen: &str) -> Http {
        Http { listen: listen.parse().unwrap(), ..Http::default() }
    }

    #[test]
    fn beyond_this_machine_there_must_be_a_token() {
        for safe in ["off", "127.0.0.1:8088", "[::1]:0", "127.9.9.9:1"] {
            assert_eq!(at(safe).contradiction(), None, "{safe}");
        }
        for open in ["0.0.0.0:8088", "[::]:8088", "192.168.1.2:80"] {
            let (key, reason) = at(open).contradiction().unwrap();
            assert!(key == "http.listen" && reason.contains("http.token_file"), "{reason}");
            assert_eq!(Http { token_file: "t".to_owned(), ..at(open) }.contradiction(), None);
        }
    }

    #[test]
    fn a_certificate_and_its_key_come_together() {
        let half = Http { tls_key: "k".to_owned(), ..at("off") };
        assert_eq!(half.contradiction().unwrap().0, "http.tls_key");
        let half = Http { tls_certificate: "c".to_owned(), ..at("off") };
        assert_eq!(half.contradiction().unwrap().0, "http.tls_certificate");
        let whole = Http { tls_key: "k".to_owned(), ..half };
        assert_eq!(whole.contradiction(), None);
    }

    #[test]
    fn addresses_paths_and_rates_parse_and_print_the_same() {
        for text in ["off", "127.0.0.1:8088", "[::]:80"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for text in ["localhost:8088", "127.0.0.1", ":80", "8088", "127.0.0.1:99999"] {
            assert!(text.parse::<Listen>().unwrap_err().contains("127.0.0.1:8088"), "{text}");
        }
        for text in ["0", "61", "nan", "-1", "fast"] {
            assert!(text.parse::<StreamRate>().is_err(), "{text}");
        }
        for text in ["0.1", "60"] {
            assert_eq!(text.parse::<StreamRate>().unwrap().to_string(), text);
        }
        for text in ["0.09", "60.1"] {
            assert!(text.parse::<StreamRate>().unwrap_err().contains("0.1 to 60"), "{text}");
        }
    }

    #[test]
    fn a_socket_has_a_path_of_at_most_107_bytes_or_is_off() {
        for off in ["off", ""] {
            assert_eq!(off.parse::<SocketPath>().unwrap(), SocketPath::Off);
        }
        assert_eq!(SocketPath::Off.to_string(), "off");
        let longest = "x".repeat(107);
        assert_eq!(longest.parse::<SocketPath>().unwrap().to_string(), longest);
        for bad in ["x".repeat(108), "a\0b".to_owned()] {
            assert!(bad.parse::<SocketPath>().unwrap_err().contains("at most 107 bytes"), "{bad}");
        }
        assert_eq!("".parse::<Listen>().unwrap(), Listen::Off);
    }

    #[test]
    fn there_is_a_connection_at_least() {
        for (connections, expected) in [(0, Some("http.max_connections")), (1, None), (64, None)] {
            let http = Http { max_connections: connections, ..at("off") };
            assert_eq!(http.contradiction().map(|(key, _)| key), expected, "{connections}");
        }
    }

    #[test]
    fn a_picture_has_a_pixel_and_no_more_than_are_decoded() {
        let wrong = Some("http.max_pixels");
        for (pixels, expected) in [(0, wrong), (1, None), (MOST_PIXELS, None), (MOST_PIXELS + 1, wrong)] {
            let http = Http { max_pixels: pixels, ..at("off") };
            assert_eq!(http.contradiction().map(|(key, _)| key), expected, "{pixels}");
        }
    }
}
