//! Values of `[http]` that name other places of the web: who may show the page in a frame, and the names of a proxy.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The longest name that DNS has.
const LONGEST_NAME: usize = 253;

/// Several values: a list of texts, or one text with blanks between them. `none` and the empty text are an empty list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Several<T>(pub Vec<T>);

impl<T> Default for Several<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: FromStr<Err = String>> FromStr for Several<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::default()),
            _ => text.split_whitespace().map(str::parse).collect::<Result<_, _>>().map(Self),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Several<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.0.split_first() else { return f.write_str("none") };
        first.fmt(f)?;
        rest.iter().try_for_each(|value| write!(f, " {value}"))
    }
}

impl<T: fmt::Display> Serialize for Several<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: FromStr<Err = String>> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListOrText(PhantomData))
    }
}

struct ListOrText<T>(PhantomData<T>);

impl<'de, T: FromStr<Err = String>> Visitor<'de> for ListOrText<T> {
    type Value = Several<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts, or one text with blanks between the values")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Several<T>, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Several<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(text) = list.next_element::<String>()? {
            values.push(text.parse().map_err(de::Error::custom)?);
        }
        Ok(Several(values))
    }
}

/// Who may show the page in a frame: a site, or `self` for whatever has the page's own scheme, name and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ancestor {
    /// `self`
    Own,
    /// Scheme, name and, where it isn't the scheme's own, port.
    Site(String),
}

impl FromStr for Ancestor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "self" {
            return Ok(Self::Own);
        }
        let wrong = |reason: &str| {
            format!("site {text:?}: {reason}; expected self, or scheme, name and port, such as http://192.168.1.5:8123")
        };
        let site = text.to_ascii_lowercase();
        let rest = ["http://", "https://"].iter().find_map(|scheme| site.strip_prefix(scheme));
        let rest = rest.ok_or_else(|| wrong("it doesn't begin with http:// or https://"))?;
        // As it stands in a browser's address bar.
        let place = rest.strip_suffix('/').unwrap_or(rest);
        if place.contains('/') {
            return Err(wrong("a site has no path"));
        }
        if place.starts_with('[') {
            return Err(wrong("browsers compare no IPv6 addresses here: use a name"));
        }
        let (name, port) = place.split_once(':').map_or((place, None), |(name, port)| (name, Some(port)));
        check_name(name).map_err(wrong)?;
        let is_port =
            |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse().is_ok_and(|port: u16| port > 0);
        if !port.is_none_or(is_port) {
            return Err(wrong("its port is no number from 1 to 65535"));
        }
        Ok(Self::Site(site.strip_suffix('/').unwrap_or(&site).to_owned()))
    }
}

impl fmt::Display for Ancestor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "self",
            Self::Site(site) => site,
        })
    }
}

impl Several<Ancestor> {
    /// The value of the directive `frame-ancestors` of a Content-Security-Policy.
    pub fn directive(&self) -> String {
        let source = |ancestor: &Ancestor| match ancestor {
            Ancestor::Own => "'self'".to_owned(),
            Ancestor::Site(site) => site.clone(),
        };
        let sources: Vec<String> = self.0.iter().map(source).collect();
        if sources.is_empty() {
            "'none'".to_owned()
        } else {
            sources.join(" ")
        }
    }
}

/// A name under which a proxy serves the page, in small letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// Whether a request's `Host`, with or without a port, is this name.
    pub fn is(&self, host: &str) -> bool {
        let (name, port) = host.split_once(':').unwrap_or((host, ""));
        name.eq_ignore_ascii_case(&self.0) && port.bytes().all(|byte| byte.is_ascii_digit())
    }
}

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected a name without scheme, port and path, such as camera.example.org";
        match check_name(text) {
            Ok(()) => Ok(Self(text.to_ascii_lowercase())),
            Err(reason) => Err(format!("host {text:?}: {reason}; {expected}")),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `name` is a host's, as it stands in a header: letters, digits, hyphens and points.
fn check_name(name: &str) -> Result<(), &'static str> {
    let is_label = |label: &str| {
        let is_inside = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        is_inside && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.contains('*') {
        return Err("there is no * for all names");
    }
    if !name.is_ascii() {
        return Err("letters beyond ASCII are written as the name's xn-- form");
    }
    if name.is_empty() || name.len() > LONGEST_NAME || !name.split('.').all(is_label) {
        return Err("it has no name of letters, digits, hyphens and points");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ancestors(text: &str) -> Result<Several<Ancestor>, String> {
        text.parse()
    }

    #[test]
    fn sites_parse_and_become_a_directive() {
        for (text, directive) in [
            ("none", "'none'"),
            ("", "'none'"),
            ("self", "'self'"),
            ("https://Dash.example.org", "https://dash.example.org"),
            ("http://192.168.1.5:8123/", "http://192.168.1.5:8123"),
            (
                "  self   http://homeassistant.local:8123\thttps://a ",
                "'self' http://homeassistant.local:8123 https://a",
            ),
        ] {
            assert_eq!(ancestors(text).unwrap().directive(), directive, "{text}");
        }
        let printed = ancestors("self https://A.example:1/").unwrap().to_string();
        assert_eq!(printed, "self https://a.example:1");
        assert_eq!(
            (ancestors(&printed), Several::<Ancestor>::default().to_string()),
            (ancestors("self https://a.example:1"), "none".to_owned())
        );
    }

    #[test]
    fn nothing_gets_into_the_policy_that_is_no_site() {
        for (text, reason) in [
            ("dash.example.org", "http:// or https://"),
            ("ftp://a", "http:// or https://"),
            ("*", "http:// or https://"),
            ("'self'", "http:// or https://"),
            ("self none", "http:// or https://"),
            ("https://*.example.org", "no * for all"),
            ("https://", "letters, digits"),
            ("https://a;script-src", "letters, digits"),
            ("https://a,b", "letters, digits"),
            ("https://a_b", "letters, digits"),
            ("https://-a", "letters, digits"),
            ("https://a..b", "letters, digits"),
            ("https://u@a", "letters, digits"),
            ("https://café.example", "xn--"),
            ("https://[::1]:80", "IPv6"),
            ("https://a/b", "no path"),
            ("https://a//", "no path"),
            ("https://a:", "65535"),
            ("https://a:0", "65535"),
            ("https://a:65536", "65535"),
            ("https://a:+1", "65535"),
            ("https://a:1:2", "65535"),
        ] {
            let error = ancestors(text).unwrap_err();
            assert!(error.contains(reason) && error.contains("http://192.168.1.5:8123"), "{text}: {error}");
        }
        assert!(ancestors(&format!("https://{}", "a".repeat(254))).is_err());
    }

    #[test]
    fn a_list_and_a_text_are_the_same() {
        #[derive(Debug, Deserialize, Serialize)]
        struct Section {
            sites: Several<Ancestor>,
        }
        let read = |value: &str| toml::from_str::<Section>(&format!("sites = {value}")).map(|section| section.sites);
        let both = ancestors("self http://a:1").unwrap();
        assert_eq!(read("['self', 'http://a:1/']").unwrap(), both);
        assert_eq!(read("'self http://a:1'").unwrap(), both);
        assert_eq!(read("[]").unwrap(), Several::default());
        assert_eq!(toml::to_string(&Section { sites: both }).unwrap(), "sites = \"self http://a:1\"\n");
        // In a list each is one value, so nothing is cut apart.
        for wrong in ["['self http://a']", "['none']", "[\"https://a\\n; x\"]", "[1]", "1", "true"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_host_is_a_name_with_any_port() {
        let name: HostName = "Cam.example.org".parse().unwrap();
        for same in ["cam.example.org", "CAM.example.org:8443", "cam.example.org:"] {
            assert!(name.is(same), "{same}");
        }
        for other in [
            "",
            "example.org",
            "cam.example.org.evil.example",
            "cam.example.org:80@evil.example",
            "cam.example.org:x",
            "xcam.example.org",
        ] {
            assert!(!name.is(other), "{other}");
        }
        assert_eq!(name.to_string(), "cam.example.org");
        for wrong in ["https://cam.example.org", "cam.example.org:443", "*.example.org", "cam/x", "a b", "", "a\nb"] {
            let error = wrong.parse::<HostName>().unwrap_err();
            assert!(error.contains("such as camera.example.org"), "{wrong}: {error}");
        }
    }
}
