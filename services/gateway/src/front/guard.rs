//! Under which names the front door may be addressed, and from which pages. A name that is not ours means that
//! somebody's page was pointed at this machine (DNS rebinding). Passing here grants nothing: being local is no right.

use std::net::{IpAddr, SocketAddr};

use http::uri::Authority;

/// Why a request is not for this front door, in words for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misaddressed {
    /// The Host header is missing, comes twice, or is no host name.
    #[error("The request needs exactly one valid Host header.")]
    Malformed,
    /// The name, address or port is another's.
    #[error(
        "The gateway does not answer under this host name or port. Open it by the address that `clawdbot open` prints; \
         to reach it under another name, list that page's origin in gateway.allowedOrigins."
    )]
    Foreign,
}

/// Checks a Host header against the address that the connection came in on and the configured names.
///
/// # Errors
/// When the front door may not be addressed so.
pub fn check_host(
    host: Option<&str>,
    local: SocketAddr,
    allowed: &[String],
) -> Result<(), Misaddressed> {
    let text = host.ok_or(Misaddressed::Malformed)?;
    let authority: Authority = text.parse().map_err(|_| Misaddressed::Malformed)?;
    if text.contains('@') || authority.host().is_empty() || text.ends_with(':') {
        return Err(Misaddressed::Malformed);
    }
    let name = authority.host().to_ascii_lowercase();
    let own_port = authority.port_u16().unwrap_or(80) == local.port();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let own_name = match bare.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback() || ip.to_canonical() == local.ip().to_canonical(),
        Err(_) => name == "localhost",
    };
    // A proxy in front passes its own name and port on.
    let listed = allowed.iter().any(|entry| {
        let entry = entry.to_ascii_lowercase();
        let port_fits = authority.port().is_none() || own_port;
        entry == text.to_ascii_lowercase() || (entry == name && port_fits)
    });
    match (own_name && own_port) || listed {
        true => Ok(()),
        false => Err(Misaddressed::Foreign),
    }
}

/// Whether a page of `origin` may act here: no page at all, one of the front door's own, or a configured one. `host` is
/// the Host header, which was checked before.
pub fn origin_allowed(origin: Option<&str>, host: &str, allowed: &[String]) -> bool {
    let Some(origin) = origin else {
        return true;
    };
    let own = origin
        .strip_prefix("http://")
        .is_some_and(|rest| rest.eq_ignore_ascii_case(host));
    let listed = |entry: &String| entry.trim_end_matches('/').eq_ignore_ascii_case(origin);
    own || allowed.iter().any(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_names_and_addresses_with_the_right_port_are_answered() {
        let allowed = [
            "chat.example.org".to_owned(),
            "other.example:8443".to_owned(),
        ];
        let foreign = Err(Misaddressed::Foreign);
        let malformed = Err(Misaddressed::Malformed);
        for (local, host, expected) in [
            ("127.0.0.1:18789", "127.0.0.1:18789", Ok(())),
            ("127.0.0.1:18789", "LocalHost:18789", Ok(())),
            ("127.0.0.1:18789", "[::1]:18789", Ok(())),
            ("127.0.0.1:18789", "127.8.8.8:18789", Ok(())),
            ("127.0.0.1:80", "localhost", Ok(())),
            ("192.0.2.7:18789", "192.0.2.7:18789", Ok(())),
            ("[2001:db8::7]:18789", "[2001:db8::7]:18789", Ok(())),
            ("[::ffff:192.0.2.7]:18789", "192.0.2.7:18789", Ok(())),
            ("127.0.0.1:18789", "chat.example.org", Ok(())),
            ("127.0.0.1:18789", "Chat.Example.Org:18789", Ok(())),
            ("127.0.0.1:18789", "other.example:8443", Ok(())),
            ("127.0.0.1:18789", "evil.example:18789", foreign),
            ("127.0.0.1:18789", "localhost.evil.example:18789", foreign),
            ("127.0.0.1:18789", "127.0.0.1.evil.example:18789", foreign),
            ("127.0.0.1:18789", "127.0.0.1:80", foreign),
            ("127.0.0.1:18789", "127.0.0.1", foreign),
            ("127.0.0.1:18789", "192.0.2.7:18789", foreign),
            ("192.0.2.7:18789", "192.0.2.8:18789", foreign),
            ("127.0.0.1:18789", "chat.example.org:1", foreign),
            ("127.0.0.1:18789", "other.example", foreign),
            ("127.0.0.1:18789", "localhost.:18789", foreign),
            ("127.0.0.1:18789", "user@localhost:18789", malformed),
            ("127.0.0.1:18789", "localhost:", malformed),
            ("127.0.0.1:18789", "", malformed),
            ("127.0.0.1:18789", "a b", malformed),
        ] {
            let local = local.parse().unwrap();
            assert_eq!(check_host(Some(host), local, &allowed), expected, "{host}");
        }
        let local = "127.0.0.1:1".parse().unwrap();
        assert_eq!(check_host(None, local, &[]), malformed);
    }

    #[test]
    fn only_own_and_listed_pages_may_act() {
        let allowed = ["https://chat.example.org".to_owned()];
        let host = "127.0.0.1:18789";
        for (origin, expected) in [
            (None, true),
            (Some("http://127.0.0.1:18789"), true),
            (Some("https://chat.example.org"), true),
            (Some("https://Chat.example.org"), true),
            (Some("http://127.0.0.1:3000"), false),
            (Some("http://localhost:18789"), false),
            (Some("https://127.0.0.1:18789"), false),
            (Some("http://chat.example.org"), false),
            (Some("https://chat.example.org.evil.example"), false),
            (Some("null"), false),
            (Some(""), false),
        ] {
            assert_eq!(
                origin_allowed(origin, host, &allowed),
                expected,
                "{origin:?}"
            );
        }
    }
}
