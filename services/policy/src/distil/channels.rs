//! Channels: their accounts with the rules for admission, what their workers are told, how messages queue, and which
//! agent answers whom.

use std::collections::BTreeSet;

use clawdbot_config::{self as config, Account as _, Config, PeerKind, Sender};
use clawdbot_identity::{CHANNELS, Principal, principal};
use clawdbot_proto::v1;

use super::narrow;
use crate::settings::{Account, AccountRules, Channel, Group, Route};

/// The name of the account that has none.
pub(crate) const DEFAULT_ACCOUNT: &str = "default";

/// The channels that this build has a worker for.
const SERVED: &[&str] = &["telegram"];

/// The channels that are configured. An account that only a variable of the environment can give a token is not certain
/// yet.
pub(super) fn channels(config: &Config) -> Vec<Channel> {
    let absent = config::Telegram::default();
    let mut all = config.channels.accounts();
    if config.channels.telegram.is_none() {
        all.push(("telegram", None, absent.view()));
    }
    let channel = |name: &&'static str| channel(config, name, &all);
    CHANNELS.iter().filter_map(channel).collect()
}

fn channel(
    config: &Config,
    name: &'static str,
    all: &[config::NamedAccount<'_>],
) -> Option<Channel> {
    let own = || all.iter().filter(|(channel, ..)| *channel == name);
    let (_, _, base) = own().find(|(_, account, _)| account.is_none())?;
    // The rules of the file refuse that name; a second account under it would get the first one's rules.
    let doubled = |id: &config::AccountId| id.as_str() == DEFAULT_ACCOUNT;
    let accounts: Vec<_> = own()
        .filter(|(_, id, view)| view.enabled && !id.is_some_and(doubled))
        .map(|(_, id, view)| account(config, name, *id, view))
        .collect();
    let people = senders(&base.allow_from);
    (!accounts.is_empty()).then(|| Channel {
        name,
        served: SERVED.contains(&name),
        people: match people.as_slice() {
            [only] if is_chat(only) => Vec::new(),
            _ => people,
        },
        accounts,
    })
}

/// Whether an entry names a conversation, whoever is in it.
pub(crate) fn is_chat(entry: &Sender) -> bool {
    matches!(entry, Sender::Id(id) if id.starts_with("chat_") && id.contains(':'))
}

fn account(
    config: &Config,
    channel: &str,
    id: Option<&config::AccountId>,
    view: &config::AccountView<'_>,
) -> Account {
    let (mut certain, mut api_root_named) = (true, false);
    let mut wire = v1::ChannelAccount {
        account: id
            .map_or(DEFAULT_ACCOUNT, config::AccountId::as_str)
            .to_owned(),
        name: view.name.to_owned(),
        ..v1::ChannelAccount::default()
    };
    if channel == "telegram" {
        let absent = config::Telegram::default();
        let section = config.channels.telegram.as_ref();
        let own = match (section, id) {
            (None, _) => &absent,
            (Some(section), None) => &section.base,
            (Some(section), Some(id)) => section.accounts.get(id).unwrap_or(&absent),
        };
        let alone = section.is_some_and(|section| section.accounts.is_empty());
        certain = id.is_some() || alone || own.bot_token.is_some();
        api_root_named = own.api_root != absent.api_root;
        wire = telegram(wire, own);
    }
    let for_groups = view.group_allow_from.as_ref().unwrap_or(&view.allow_from);
    Account {
        wire,
        certain,
        api_root_named,
        rules: AccountRules {
            dm: view.dm_policy,
            allow_from: senders(&view.allow_from),
            group: view.group_policy,
            group_allow_from: senders(for_groups),
            groups: view.groups.iter().chain(&view.implied).map(group).collect(),
            trust_names: view.trust_names,
        },
    }
}

/// What Telegram's worker is told besides.
fn telegram(wire: v1::ChannelAccount, account: &config::Telegram) -> v1::ChannelAccount {
    let retry = &account.retry;
    v1::ChannelAccount {
        api_root: account.api_root.as_str().trim_end_matches('/').to_owned(),
        text_chunk_limit: narrow(account.text_chunk_limit.get()),
        chunk_mode: account.chunk_mode.as_str().to_owned(),
        reply_to_mode: account.reply_to_mode.as_str().to_owned(),
        stream_mode: account.stream_mode.as_str().to_owned(),
        media_max_mb: narrow(account.media_max_mb.get()),
        retry_attempts: narrow(retry.attempts.get()),
        retry_min_delay_ms: narrow(retry.min_delay_ms.get()),
        retry_max_delay_ms: narrow(retry.max_delay_ms.get()),
        retry_jitter: retry.jitter.get(),
        ..wire
    }
}

fn group(view: &config::GroupView<'_>) -> Group {
    Group {
        id: view.id.to_owned(),
        enabled: view.enabled,
        require_mention: view.require_mention,
        allow_from: view.allow_from.as_deref().map(senders),
        inside: view.inside.iter().map(group).collect(),
        only_listed: view.only_listed,
    }
}

fn senders(entries: &[&Sender]) -> Vec<Sender> {
    entries.iter().map(|entry| (*entry).clone()).collect()
}

/// How messages wait: one row for each channel that differs, then one for all.
pub(super) fn queue(config: &Config) -> Vec<v1::QueueRule> {
    let (queue, inbound) = (&config.messages.queue, &config.messages.inbound);
    let row = |channel: Option<config::ChannelName>| {
        let of = |map: &std::collections::BTreeMap<config::ChannelName, config::Int<0, 60000>>,
                  other: config::Int<0, 60000>| {
            let own = channel.and_then(|channel| map.get(&channel).copied());
            narrow(own.unwrap_or(other).get())
        };
        v1::QueueRule {
            channel: channel
                .map(|channel| channel.as_str().to_owned())
                .unwrap_or_default(),
            mode: channel
                .and_then(|channel| queue.by_channel.get(&channel).copied())
                .unwrap_or(queue.mode)
                .as_str()
                .to_owned(),
            debounce_ms: of(&queue.debounce_ms_by_channel, queue.debounce_ms),
            cap: narrow(queue.cap.get()),
            drop: queue.drop.as_str().to_owned(),
            inbound_debounce_ms: of(&inbound.by_channel, inbound.debounce_ms),
        }
    };
    let named: BTreeSet<_> = queue
        .by_channel
        .keys()
        .chain(queue.debounce_ms_by_channel.keys())
        .chain(inbound.by_channel.keys())
        .copied()
        .collect();
    named.into_iter().map(Some).chain([None]).map(row).collect()
}

/// Which agent answers whom. What says more stands first: somebody or a group, a server, an account; else as in the file.
pub(super) fn routes(config: &Config) -> Vec<Route> {
    let mut routes: Vec<_> = config.bindings.iter().map(route).collect();
    routes.sort_by_key(|route| match route {
        Route { peer: Some(_), .. } => 0,
        Route {
            server: Some(_), ..
        } => 1,
        Route {
            account: Some(_), ..
        } => 2,
        _ => 3,
    });
    routes
}

fn route(binding: &config::Binding) -> Route {
    let wanted = &binding.r#match;
    let channel = wanted.channel.as_str();
    // What is no id of the channel fits nobody.
    let id = |peer: &config::Peer| match peer.kind {
        PeerKind::Dm => Principal::listed(channel, &peer.id).map(|own| own.form()),
        PeerKind::Group => principal::group(channel, &peer.id),
        PeerKind::Channel => Ok(peer.id.clone()),
    };
    Route {
        agent: binding.agent_id.clone(),
        channel,
        account: match &wanted.account_id {
            None => Some(DEFAULT_ACCOUNT.to_owned()),
            Some(config::AccountOrAny::Any) => None,
            Some(config::AccountOrAny::Account(account)) => Some(account.as_str().to_owned()),
        },
        peer: { wanted.peer.as_ref() }
            .map(|peer| (peer.kind, id(peer).unwrap_or_else(|_| peer.id.clone()))),
        server: wanted.guild_id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use crate::distil::tests::reading;

    use super::*;

    /// Accounts that remain, by what the environment holds.
    fn accounts(section: &str, in_environment: bool) -> Vec<String> {
        let mut reading = reading(&format!("{{channels: {{{section}}}}}"));
        reading.settle(Some(in_environment), None);
        let channels = reading.settings.channels;
        channels
            .iter()
            .flat_map(|channel| &channel.accounts)
            .map(|account| account.wire.account.clone())
            .collect()
    }

    #[test]
    fn what_nobody_knows_yet_stays_as_it_was_and_is_remembered() {
        let text = "{channels: {telegram: {accounts: {work: {}}}}}";
        let settled = |is_set, before: Option<&crate::settings::Settings>| {
            let mut reading = reading(text);
            reading.settle(is_set, before);
            reading.settings
        };
        let runs = |settings: &crate::settings::Settings| {
            let channel = settings.channel("telegram");
            channel.is_some_and(|channel| channel.account(DEFAULT_ACCOUNT).is_some())
        };
        let (with, without) = (settled(Some(true), None), settled(Some(false), None));
        assert!(runs(&with) && !runs(&without));
        for (before, stays) in [(None, false), (Some(&with), true), (Some(&without), false)] {
            let unknown = settled(None, before);
            assert_eq!(runs(&unknown), stays);
            assert_eq!(unknown.is_unsettled("telegram", DEFAULT_ACCOUNT), !stays);
            assert!(!unknown.is_unsettled("telegram", "work"));
        }
        assert!(!without.is_unsettled("telegram", DEFAULT_ACCOUNT));
    }

    #[test]
    fn an_account_runs_when_the_section_or_the_environment_asks_for_it() {
        for (section, alone, with_token) in [
            ("", vec![], vec!["default"]),
            ("telegram: {}", vec!["default"], vec!["default"]),
            ("telegram: {enabled: false}", vec![], vec![]),
            (
                "telegram: {accounts: {work: {}}}",
                vec!["work"],
                vec!["default", "work"],
            ),
            (
                "telegram: {botToken: '${T}', accounts: {work: {}}}",
                vec!["default", "work"],
                vec!["default", "work"],
            ),
            (
                "telegram: {accounts: {work: {enabled: false}}}",
                vec![],
                vec!["default"],
            ),
            (
                "telegram: {enabled: false, accounts: {work: {enabled: true}}}",
                vec!["work"],
                vec!["work"],
            ),
        ] {
            assert_eq!(accounts(section, false), alone, "{section}");
            assert_eq!(accounts(section, true), with_token, "{section}");
        }
    }

    #[test]
    fn an_accounts_settings_arrive_and_lists_and_gates_inherit() {
        let mut reading = reading(
            "{channels: {telegram: {name: 'Home', botToken: '${T}', apiRoot: 'http://127.0.0.1:8081/', allowFrom: [1], dmPolicy: 'allowlist', trustNames: true,
                textChunkLimit: 100, chunkMode: 'newline', replyToMode: 'all', streamMode: 'off', retry: {attempts: 5},
                groups: {'*': {requireMention: false}, '-1': {topics: {'7': {}}}, '-2': {requireMention: true, topics: {'7': {allowFrom: ['@Bobby']}}}},
                accounts: {work: {groupAllowFrom: [2], groupPolicy: 'open'}}}}}",
        );
        reading.settle(Some(false), None);
        let channel = &reading.settings.channels[0];
        let home = &channel.accounts[0];
        assert_eq!(
            (
                home.wire.api_root.as_str(),
                home.wire.text_chunk_limit,
                home.wire.retry_attempts
            ),
            ("http://127.0.0.1:8081", 100, 5)
        );
        assert_eq!(
            (
                home.wire.chunk_mode.as_str(),
                home.wire.reply_to_mode.as_str(),
                home.wire.stream_mode.as_str(),
                home.wire.name.as_str()
            ),
            ("newline", "all", "off", "Home")
        );
        assert!(home.api_root_named && home.rules.trust_names);
        let one = vec![Sender::Id("1".to_owned())];
        assert_eq!(
            (
                &home.rules.allow_from,
                &home.rules.group_allow_from,
                &channel.people
            ),
            (&one, &one, &one)
        );
        let gate = |group: &str| {
            let group = home
                .rules
                .groups
                .iter()
                .find(|own| own.id == group)
                .unwrap();
            (
                group.require_mention,
                group.inside.first().map(|topic| topic.require_mention),
            )
        };
        assert_eq!(
            (gate("*"), gate("-1"), gate("-2")),
            ((false, None), (false, Some(false)), (true, Some(true)))
        );
        let topic = &home
            .rules
            .groups
            .iter()
            .find(|group| group.id == "-2")
            .unwrap()
            .inside[0];
        assert_eq!(
            topic.allow_from,
            Some(vec![Sender::Name("@bobby".to_owned())])
        );
        let work = &channel.accounts[1];
        assert_eq!(work.rules.group, config::GroupPolicy::Open);
        assert_eq!(
            (&work.rules.allow_from, &work.rules.group_allow_from),
            (&one, &vec![Sender::Id("2".to_owned())])
        );
    }

    #[test]
    fn a_channel_with_a_rule_of_its_own_stands_before_the_rest() {
        let queue = |text: &str| reading(&format!("{{messages: {{{text}}}}}")).settings.queue;
        let all = v1::QueueRule {
            mode: "collect".to_owned(),
            debounce_ms: 1000,
            cap: 20,
            drop: "summarize".to_owned(),
            ..v1::QueueRule::default()
        };
        assert_eq!(queue(""), std::slice::from_ref(&all));
        let telegram = v1::QueueRule {
            channel: "telegram".to_owned(),
            mode: "followup".to_owned(),
            debounce_ms: 0,
            inbound_debounce_ms: 30,
            ..all.clone()
        };
        assert_eq!(
            queue(
                "queue: {byChannel: {telegram: 'followup'}, debounceMsByChannel: {telegram: 0}}, inbound: {byChannel: {telegram: 30}}"
            ),
            [telegram, all]
        );
    }
}
