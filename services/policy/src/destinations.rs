//! Where each worker may connect to: its provider's or platform's address, and nowhere else. A provider without an
//! address and a channel that does not run have no list, and so no way out.

use clawdbot_identity::{Destination, HostName, InstanceName, Role};
use clawdbot_proto::v1::{AllowedDestination, InstanceReach, RoleDestinations};

use crate::settings::{Channel, Provider, Settings};

/// The lists for the dialer.
pub(crate) fn lists(settings: &Settings) -> Vec<RoleDestinations> {
    let models = settings.providers.iter().filter_map(provider);
    models
        .chain(settings.served().filter_map(channel))
        .collect()
}

/// How far each worker reaches, as a text that changes with its list and with nothing else.
pub(crate) fn reaches(settings: &Settings) -> Vec<InstanceReach> {
    let reach = |list: RoleDestinations| {
        let mut rows: Vec<_> = list
            .allowed
            .iter()
            .map(|to| format!("{}:{}:{}", to.host, to.port, to.private_allowed))
            .collect();
        rows.sort();
        InstanceReach {
            instance: list.role,
            reach: rows.join(" "),
        }
    };
    lists(settings).into_iter().map(reach).collect()
}

fn provider(provider: &Provider) -> Option<RoleDestinations> {
    let endpoint = provider.endpoint.as_ref()?;
    let near = endpoint.base_url.starts_with("http://");
    Some(RoleDestinations {
        role: Role::model(&InstanceName::from(&provider.id)).to_string(),
        // Naming an address is what permits it to be a private one; of those that are known only Ollama's is.
        allowed: vec![allowed(&endpoint.base_url, endpoint.named || near)?],
    })
}

fn channel(channel: &Channel) -> Option<RoleDestinations> {
    let mut list: Vec<_> = channel
        .accounts
        .iter()
        .filter_map(|account| allowed(&account.wire.api_root, account.api_root_named))
        .collect();
    list.sort_by(|a, b| {
        (&a.host, a.port, !a.private_allowed).cmp(&(&b.host, b.port, !b.private_allowed))
    });
    list.dedup_by(|b, a| (&a.host, a.port) == (&b.host, b.port));
    Some(RoleDestinations {
        role: Role::channel(&InstanceName::parse(channel.name).ok()?).to_string(),
        allowed: list,
    })
}

fn allowed(url: &str, private_allowed: bool) -> Option<AllowedDestination> {
    let destination = destination(url)?;
    Some(AllowedDestination {
        host: destination.host().to_string(),
        port: destination.port().into(),
        private_allowed,
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
    use crate::distil::tests::settings_of;

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
    fn a_worker_reaches_its_own_address_and_private_space_only_if_that_was_named() {
        let settings = settings_of(
            "{agents: {defaults: {model: {primary: 'anthropic/a', fallbacks: ['ollama/b', 'nobody/c']}}},
              models: {providers: {openai: {baseUrl: 'https://proxy.example:8443/v1'}, 'my-llm': {baseUrl: 'http://10.0.0.9:8000'}}},
              channels: {telegram: {accounts: {a: {apiRoot: 'http://127.0.0.1:8081'}, b: {}}, botToken: '${T}'}}}",
        );
        let shown: Vec<_> = lists(&settings)
            .into_iter()
            .flat_map(|list| {
                let row = move |to: AllowedDestination| {
                    format!(
                        "{} {}:{} {}",
                        list.role, to.host, to.port, to.private_allowed
                    )
                };
                list.allowed.into_iter().map(row)
            })
            .collect();
        assert_eq!(
            shown,
            [
                "model-anthropic api.anthropic.com:443 false",
                "model-my-llm 10.0.0.9:8000 true",
                "model-ollama 127.0.0.1:11434 true",
                "model-openai proxy.example:8443 true",
                "channel-telegram 127.0.0.1:8081 true",
                "channel-telegram api.telegram.org:443 false",
            ]
        );
    }

    #[test]
    fn the_reach_of_a_worker_changes_with_its_destinations_and_with_nothing_else() {
        let reach = |telegram: &str| {
            let settings = settings_of(&format!(
                "{{models: {{providers: {{box: {{baseUrl: 'http://10.0.0.9/v1', apiKey: 'k'}}}}}}, channels: {{telegram: {{{telegram}}}}}}}"
            ));
            let reaches = reaches(&settings);
            assert_eq!(reaches[0].instance, "model-box");
            assert_eq!(reaches[0].reach, "10.0.0.9:80:true");
            assert_eq!(reaches[1].instance, "channel-telegram");
            reaches[1].reach.clone()
        };
        let first = reach("accounts: {a: {apiRoot: 'http://127.0.0.1:1'}, b: {botToken: 'x'}}");
        assert_eq!(first, "127.0.0.1:1:true api.telegram.org:443:false");
        assert_eq!(
            first,
            reach("accounts: {b: {apiRoot: 'http://127.0.0.1:1/x'}, a: {botToken: 'y'}}")
        );
        assert_ne!(
            first,
            reach(
                "accounts: {a: {apiRoot: 'http://127.0.0.1:1'}, b: {apiRoot: 'http://127.0.0.1:1'}}"
            )
        );
    }

    #[test]
    fn without_a_provider_or_channel_in_the_configuration_nobody_may_connect_anywhere() {
        assert_eq!(lists(&settings_of("{}")), []);
    }
}
