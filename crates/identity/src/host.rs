//! Hosts and destinations: what the dialer is asked for and compares with a role's list.
//! One host has one spelling; forms that other programs read as an address (`0x7f.1`, `127.1`) are refused as names.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;

use crate::IdError;
use crate::name::{text_display, text_traits};

const HOST: &str = "host name";
const DESTINATION: &str = "destination";

/// A DNS name in lower case without a final dot, or an IP address in its canonical form, IPv6 without brackets and an
/// IPv4-mapped IPv6 address as the IPv4 address that it reaches.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Arc<str>);

text_traits!(HostName);
text_display!(HostName);

impl HostName {
    /// Takes a DNS name (RFC 1123: letters, digits and hyphens) or an IP address, IPv6 with or without brackets.
    ///
    /// # Errors
    /// When it is neither, has a final dot or a zone, or is longer than 253 characters (63 a label).
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if let Some(inner) = text.strip_prefix('[') {
            return inner
                .strip_suffix(']')
                .and_then(|inner| inner.parse::<Ipv6Addr>().ok())
                .map(|ip| Self::from(IpAddr::V6(ip)))
                .ok_or(IdError::new(
                    HOST,
                    "in brackets must be an IPv6 address without a zone",
                ));
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::from(ip));
        }
        if !(1..=253).contains(&text.len()) {
            return Err(IdError::new(HOST, "must have 1 to 253 characters"));
        }
        if text.ends_with('.') {
            return Err(IdError::new(HOST, "must not end in a dot"));
        }
        if !text.is_ascii() {
            return Err(IdError::new(
                HOST,
                "must be ASCII; write an international name in its xn-- form",
            ));
        }
        let name = text.to_ascii_lowercase();
        if !name.split('.').all(is_label) {
            return Err(IdError::new(
                HOST,
                "must be labels of 1 to 63 letters, digits and inner hyphens, joined by dots",
            ));
        }
        if name.rsplit('.').next().is_some_and(reads_as_number) {
            return Err(IdError::new(
                HOST,
                "must not end in a number unless it is a full IP address",
            ));
        }
        Ok(Self(name.into()))
    }

    /// The address, when the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
}

impl From<IpAddr> for HostName {
    fn from(ip: IpAddr) -> Self {
        Self(ip.to_canonical().to_string().into())
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The rule by which URL parsers and inet_aton take a name for an IPv4 address (WHATWG URL, "ends in a number").
fn reads_as_number(label: &str) -> bool {
    let hex = label
        .strip_prefix("0x")
        .is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    hex || label.bytes().all(|b| b.is_ascii_digit())
}

/// A host and a TCP port: `api.anthropic.com:443`, `[::1]:11434`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    host: HostName,
    port: NonZeroU16,
}

impl Destination {
    /// Joins a host and a port.
    ///
    /// # Errors
    /// When the port is 0.
    pub fn new(host: HostName, port: u16) -> Result<Self, IdError> {
        match NonZeroU16::new(port) {
            Some(port) => Ok(Self { host, port }),
            None => Err(IdError::new(
                DESTINATION,
                "must have a port from 1 to 65535",
            )),
        }
    }

    /// Takes `HOST:PORT`; IPv6 needs its brackets.
    ///
    /// # Errors
    /// When the port is missing or not a plain number from 1 to 65535, or the host is invalid.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let form = IdError::new(
            DESTINATION,
            "must have the form HOST:PORT, with an IPv6 address in brackets",
        );
        let (host, port) = text.rsplit_once(':').ok_or(form)?;
        if host.contains(':') && !host.starts_with('[') {
            return Err(form);
        }
        let digits = port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
        let port = port.parse().ok().filter(|_| digits).unwrap_or(0);
        Self::new(HostName::parse(host)?, port)
    }

    /// Where to.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// 1 to 65535.
    pub fn port(&self) -> u16 {
        self.port.get()
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.as_str().contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Destination({self})")
    }
}

impl FromStr for Destination {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_spelling() {
        for (text, host) in [
            ("API.Anthropic.com", "api.anthropic.com"),
            ("localhost", "localhost"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("2001:DB8:0:0::1", "2001:db8::1"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("3com.example", "3com.example"),
        ] {
            let parsed = HostName::parse(text).expect(text);
            assert_eq!(parsed.as_str(), host);
            assert_eq!(HostName::parse(parsed.as_str()), Ok(parsed));
        }
        assert_eq!(
            HostName::parse("[::1]").unwrap().ip(),
            Some(IpAddr::V6(Ipv6Addr::LOCALHOST))
        );
        assert_eq!(HostName::parse("localhost").unwrap().ip(), None);
    }

    #[test]
    fn names_that_others_read_as_an_address_or_not_at_all_are_refused() {
        let label = format!("{}.example", "a".repeat(64));
        let long = ["a".repeat(63).as_str(); 4].join(".");
        for text in [
            "",
            ".",
            "example.com.",
            "a..b",
            "-a.b",
            "a-.b",
            "a_b.c",
            "a b",
            "a\n",
            "127.1",
            "2130706433",
            "0x7f.1",
            "a.0x7f",
            "a.0x",
            "256.1.1.1",
            "01.2.3.4",
            "[::1",
            "::1]",
            "[127.0.0.1]",
            "fe80::1%eth0",
            "bücher.example",
            "a/b",
            "user@host",
            "host:443",
            "*.example.com",
            label.as_str(),
            long.as_str(),
        ] {
            assert!(HostName::parse(text).is_err(), "{text:?}");
        }
        assert!(
            HostName::parse(&long[..253]).is_ok(),
            "the longest name is 253 characters"
        );
    }

    #[test]
    fn destinations_keep_brackets_and_ports_in_order() {
        for (text, shown, port) in [
            ("API.openai.com:443", "api.openai.com:443", 443),
            ("[::1]:11434", "[::1]:11434", 11434),
            ("10.0.0.1:65535", "10.0.0.1:65535", 65535),
        ] {
            let parsed = Destination::parse(text).expect(text);
            assert_eq!((parsed.to_string().as_str(), parsed.port()), (shown, port));
            assert_eq!(Destination::parse(shown), Ok(parsed));
        }
        for text in [
            "a",
            "a:",
            ":443",
            "a:0",
            "a:65536",
            "a:+443",
            "a:0443",
            "a: 443",
            "::1:443",
            "::1",
            "[::1]",
            "http://a:80",
        ] {
            assert!(Destination::parse(text).is_err(), "{text:?}");
        }
    }
}
