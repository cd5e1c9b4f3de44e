//! The address of a service as the configuration writes it: `https://host[:port][/path]`, or `http://` where the
//! configuration says so itself. Anything else in it (user name, query, fragment) is refused, not dropped.

use clawdbot_identity::{Destination, HostName};

/// A parsed base address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    tls: bool,
    destination: Destination,
    path: String,
}

/// Why an address cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a base address is https://host[:port][/path] without query or user name: {0}")]
pub struct BaseUrlError(&'static str);

impl BaseUrl {
    /// Parses an address; slashes at its end are dropped.
    ///
    /// # Errors
    /// With the part that does not fit; the address is not repeated.
    pub fn parse(text: &str) -> Result<Self, BaseUrlError> {
        let (tls, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(BaseUrlError("it must start with https:// or http://")),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#\\\"<>".contains(&byte);
        if !path.bytes().all(plain) {
            return Err(BaseUrlError("the path has a character that it cannot have"));
        }
        let bad_host = BaseUrlError("the host or port is not valid");
        let with_port = match authority.rsplit_once(':') {
            Some((_, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => true,
            // The last colon of an IPv6 address.
            _ if authority.ends_with(']') => false,
            Some(_) => return Err(bad_host),
            None => false,
        };
        let destination = match with_port {
            true => Destination::parse(authority),
            false => {
                let host = authority
                    .strip_prefix('[')
                    .and_then(|a| a.strip_suffix(']'));
                HostName::parse(host.unwrap_or(authority))
                    .and_then(|host| Destination::new(host, if tls { 443 } else { 80 }))
            }
        };
        Ok(Self {
            tls,
            destination: destination.map_err(|_| bad_host)?,
            path: path.trim_end_matches('/').to_owned(),
        })
    }

    /// Whether TLS is spoken.
    #[must_use]
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// Host and port.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// The path before every request's own: empty, or with a slash in front and none at its end.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_host_port_and_path_are_told_apart() {
        for (text, tls, destination, path) in [
            ("https://api.example.com", true, "api.example.com:443", ""),
            (
                "https://api.example.com/v1/",
                true,
                "api.example.com:443",
                "/v1",
            ),
            ("http://127.0.0.1:11434/v1", false, "127.0.0.1:11434", "/v1"),
            ("http://localhost", false, "localhost:80", ""),
            (
                "https://[2606:4700::1111]/a/b",
                true,
                "[2606:4700::1111]:443",
                "/a/b",
            ),
            ("http://[::1]:8080", false, "[::1]:8080", ""),
        ] {
            let url = BaseUrl::parse(text).unwrap();
            assert_eq!(url.tls(), tls, "{text}");
            assert_eq!(url.destination().to_string(), destination, "{text}");
            assert_eq!(url.path(), path, "{text}");
        }
    }

    #[test]
    fn what_is_more_or_less_than_an_address_is_refused() {
        for text in [
            "",
            "api.example.com",
            "ftp://api.example.com",
            "https://",
            "https://user@api.example.com",
            "https://user:pw@api.example.com",
            "https://api.example.com:",
            "https://api.example.com:0",
            "https://api.example.com:99999",
            "https://api.example.com/?key=1",
            "https://api.example.com/#x",
            "https://api.example.com/a b",
            "https://api.example.com/a\r\nx: y",
        ] {
            assert!(BaseUrl::parse(text).is_err(), "{text}");
        }
    }
}
