//! Whom each worker's secrets are for, as one text that stands in the worker's slice and goes to the broker beside the
//! secrets. The two take different ways, so a worker compares them: a key never goes to a server it was not given for.

use clawdbot_identity::{InstanceName, Role};
use clawdbot_proto::v1::Audience;

use crate::settings::{Channel, Endpoint, Settings};

/// The audience of every worker that has one.
pub(crate) fn all(settings: &Settings) -> Vec<Audience> {
    let models = settings.providers.iter().filter_map(|provider| {
        let role = Role::model(&InstanceName::from(&provider.id));
        Some((role, of_model(provider.endpoint.as_ref()?)))
    });
    let channels = settings.served().filter_map(|channel| {
        let role = Role::channel(&InstanceName::parse(channel.name).ok()?);
        Some((role, of_channel(channel)))
    });
    models
        .chain(channels)
        .map(|(role, audience)| Audience {
            role: role.to_string(),
            audience,
        })
        .collect()
}

/// A provider's server, and the protocol, which decides where in a request the key stands.
pub(crate) fn of_model(endpoint: &Endpoint) -> String {
    format!("{} {}", endpoint.base_url, endpoint.api)
}

/// Each account's server.
pub(crate) fn of_channel(channel: &Channel) -> String {
    let mut servers: Vec<_> = channel
        .accounts
        .iter()
        .map(|account| format!("{} {}", account.wire.account, account.wire.api_root))
        .collect();
    servers.sort();
    servers.join("\n")
}

#[cfg(test)]
mod tests {
    use clawdbot_proto::v1::snapshot::Slice;

    use super::*;
    use crate::distil::tests::settings_of;
    use crate::slices::{self, Place};

    fn in_slice(settings: &Settings, role: &str) -> String {
        match slices::of(&Role::parse(role).unwrap(), settings, &Place::default()) {
            Some(Slice::Model(slice)) => slice.audience,
            Some(Slice::Channel(slice)) => slice.audience,
            _ => panic!("{role} has no audience"),
        }
    }

    #[test]
    fn the_broker_and_the_worker_are_told_the_same() {
        let settings = settings_of(
            "{agent: {model: 'openai/gpt-5'}, models: {providers: {box: {baseUrl: 'http://10.0.0.9/v1'}, void: {}}},
              channels: {telegram: {botToken: '${T}', accounts: {b: {}, a: {apiRoot: 'http://127.0.0.1:1'}}}}}",
        );
        let all = all(&settings);
        let roles: Vec<_> = all.iter().map(|one| one.role.as_str()).collect();
        assert_eq!(roles, ["model-box", "model-openai", "channel-telegram"]);
        for Audience { role, audience } in &all {
            assert!(!audience.is_empty());
            assert_eq!(*audience, in_slice(&settings, role));
        }
        for role in ["model-void", "model-builtin", "channel-discord"] {
            assert_eq!(in_slice(&settings, role), "", "{role}");
        }
    }

    #[test]
    fn it_changes_with_the_server_and_with_nothing_else() {
        let model = |text: &str| {
            let settings = settings_of(&format!("{{models: {{providers: {{box: {{{text}}}}}}}}}"));
            in_slice(&settings, "model-box")
        };
        let first = model("baseUrl: 'http://a.example/v1', apiKey: 'one'");
        assert_eq!(
            first,
            model("baseUrl: 'http://a.example/v1', apiKey: 'two'")
        );
        for other in [
            "baseUrl: 'https://a.example/v1'",
            "baseUrl: 'http://a.example/v2'",
            "baseUrl: 'http://a.example/v1', api: 'anthropic-messages'",
        ] {
            assert_ne!(first, model(other), "{other}");
        }
        let channel = |text: &str| {
            let settings = settings_of(&format!(
                "{{channels: {{telegram: {{accounts: {{{text}}}}}}}}}"
            ));
            in_slice(&settings, "channel-telegram")
        };
        let first =
            channel("a: {apiRoot: 'http://127.0.0.1:1', botToken: 'one'}, b: {botToken: 'x'}");
        let same = channel(
            "b: {botToken: 'y', name: 'B'}, a: {apiRoot: 'http://127.0.0.1:1', botToken: 'two'}",
        );
        assert_eq!(first, same);
        let crossed =
            channel("b: {apiRoot: 'http://127.0.0.1:1', botToken: 'x'}, a: {botToken: 'one'}");
        assert_ne!(first, crossed);
    }
}
