//! Where each model worker may connect to: the address that the configuration gives its provider, else the provider's
//! own. A provider that the configuration never names has no list, and so no way out.

use clawdbot_identity::{Destination, HostName, InstanceName, Role};
use clawdbot_proto::v1::{AllowedDestination, RoleDestinations};

use crate::settings::{Provider, Settings};

/// Provider, base address, and whether that lies on this machine.
const DEFAULTS: &[(&str, &str, bool)] = &[
    ("anthropic", "https://api.anthropic.com", false),
    ("openai", "https://api.openai.com", false),
    ("ollama", "http://127.0.0.1:11434", true),
];

/// The base address of a provider that the configuration gives none.
pub(crate) fn default_url(provider: &str) -> Option<&'static str> {
    DEFAULTS
        .iter()
        .find(|row| row.0 == provider)
        .map(|row| row.1)
}

/// The lists for the dialer.
pub(crate) fn lists(settings: &Settings) -> Vec<RoleDestinations> {
    settings.providers.iter().filter_map(list).collect()
}

fn list(provider: &Provider) -> Option<RoleDestinations> {
    let default = DEFAULTS.iter().find(|row| row.0 == provider.id.as_str());
    let (url, private_allowed) = match (&provider.base_url, default) {
        // Naming an address is what permits it to be a private one.
        (Some(url), _) => (url.as_str(), true),
        (None, Some((_, url, local))) => (*url, *local),
        (None, None) => return None,
    };
    let destination = destination(url)?;
    Some(RoleDestinations {
        role: Role::model(&InstanceName::from(&provider.id)).to_string(),
        allowed: vec![AllowedDestination {
            host: destination.host().to_string(),
            port: destination.port().into(),
            private_allowed,
        }],
    })
}

/// The host of an http or https address, IPv6 without brackets.
pub(crate) fn host(url: &str) -> Option<String> {
    destination(url).map(|destination| destination.host().to_string())
}

/// Host and port of an http or https address; the port is the scheme's own unless it is given.
fn destination(url: &str) -> Option<Destination> {
    let (scheme, rest) = url.split_once("://")?;
    let port = match scheme.to_ascii_lowercase().as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    if authority.contains('@') {
        return None;
    }
    let bare = authority
        .rsplit_once(':')
        .is_none_or(|(_, after)| after.ends_with(']'));
    match bare {
        true => Destination::new(HostName::parse(authority).ok()?, port).ok(),
        false => Destination::parse(authority).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::{defaults, provider};

    #[test]
    fn addresses_give_host_and_port_and_everything_odd_gives_nothing() {
        for (url, expected) in [
            ("https://api.openai.com/v1", Some("api.openai.com:443")),
            ("HTTP://Box.Example:8080", Some("box.example:8080")),
            ("http://127.0.0.1?x", Some("127.0.0.1:80")),
            ("http://[fd00::1]", Some("[fd00::1]:80")),
            ("https://[fd00::1]:8443/", Some("[fd00::1]:8443")),
            ("ftp://a.example", None),
            ("a.example", None),
            ("https://", None),
            ("https://user@a.example", None),
            ("https://a.example:", None),
            ("https://a.example:0", None),
            ("https://a.example:70000", None),
            ("https://fd00::1", None),
            ("https://0x7f.1", None),
        ] {
            assert_eq!(
                destination(url).map(|d| d.to_string()).as_deref(),
                expected,
                "{url}"
            );
        }
    }

    #[test]
    fn a_worker_reaches_its_providers_address_and_private_space_only_if_named() {
        let providers = vec![
            provider("anthropic", None),
            provider("openai", Some("https://proxy.example:8443/v1")),
            provider("ollama", None),
            provider("my-llm", Some("http://10.0.0.9:8000")),
            provider("unknown", None),
        ];
        let settings = Settings {
            providers,
            ..defaults()
        };
        let shown: Vec<_> = lists(&settings)
            .into_iter()
            .map(|list| {
                (
                    list.role,
                    list.allowed[0].host.clone(),
                    list.allowed[0].port,
                    list.allowed[0].private_allowed,
                )
            })
            .collect();
        let row = |role: &str, host: &str, port, private| {
            (role.to_owned(), host.to_owned(), port, private)
        };
        assert_eq!(
            shown,
            [
                row("model-anthropic", "api.anthropic.com", 443, false),
                row("model-openai", "proxy.example", 8443, true),
                row("model-ollama", "127.0.0.1", 11434, true),
                row("model-my-llm", "10.0.0.9", 8000, true),
            ]
        );
    }

    #[test]
    fn without_a_provider_in_the_configuration_nobody_may_connect_anywhere() {
        assert_eq!(lists(&defaults()), []);
    }
}
