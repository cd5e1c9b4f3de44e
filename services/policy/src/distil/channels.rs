//! Channels: their accounts with the rules for admission, what their workers are told, how messages queue, and which
//! agent answers whom.

use std::collections::BTreeSet;

use clawdbot_config::{self as config, Config, Sender};
use clawdbot_proto::v1;

use super::narrow;
use crate::settings::{Account, AccountRules, Channel, Group, Route};

/// The name of the account that has none.
pub(crate) const DEFAULT_ACCOUNT: &str = "default";

/// The channels that may run. An account that only a variable of the environment can give a token is not certain yet.
pub(super) fn channels(config: &Config) -> Vec<Channel> {
    let section = config.channels.telegram.as_ref();
    let (absent, nobody) = (
        config::Channel::<config::Telegram>::default(),
        section.is_none(),
    );
    let section = section.unwrap_or(&absent);
    let base = &section.base;
    let certain = !nobody && (section.accounts.is_empty() || base.bot_token.is_some());
    // The rules of the file refuse that name; a second account under it would get the first one's rules.
    let named = { section.accounts.iter() }
        .filter(|(id, _)| id.as_str() != DEFAULT_ACCOUNT)
        .map(|(id, account)| telegram(id.as_str(), account, true));
    let accounts: Vec<_> = std::iter::once(telegram(DEFAULT_ACCOUNT, base, certain))
        .chain(named)
        .flatten()
        .collect();
    if accounts.is_empty() {
        return Vec::new();
    }
    vec![Channel {
        name: "telegram",
        people: senders(&base.allow_from),
        accounts,
    }]
}

fn telegram(name: &str, account: &config::Telegram, certain: bool) -> Option<Account> {
    if !account.enabled {
        return None;
    }
    let retry = &account.retry;
    let wire = v1::ChannelAccount {
        account: name.to_owned(),
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
        name: account.name.clone().unwrap_or_default(),
    };
    let group = |(id, group): (&config::TelegramGroup, &config::TelegramGroupRules)| Group {
        id: id.as_str().to_owned(),
        enabled: group.enabled,
        require_mention: group.require_mention,
        allow_from: senders(&group.allow_from),
        topics: group
            .topics
            .iter()
            .map(|(id, topic)| Group {
                id: id.as_str().to_owned(),
                enabled: topic.enabled,
                require_mention: topic.require_mention,
                allow_from: senders(&topic.allow_from),
                topics: Vec::new(),
            })
            .collect(),
    };
    let group_allow_from = match account.group_allow_from.is_empty() {
        true => &account.allow_from,
        false => &account.group_allow_from,
    };
    Some(Account {
        certain,
        api_root_named: account.api_root != config::Telegram::default().api_root,
        rules: AccountRules {
            dm: account.dm_policy,
            allow_from: senders(&account.allow_from),
            group: account.group_policy,
            group_allow_from: senders(group_allow_from),
            groups: account.groups.iter().map(group).collect(),
            trust_names: account.trust_names,
        },
        wire,
    })
}

fn senders(entries: &[config::TelegramSender]) -> Vec<Sender> {
    entries.iter().map(|entry| entry.sender().clone()).collect()
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

/// Which agent answers whom.
pub(super) fn routes(config: &Config) -> Vec<Route> {
    let route = |binding: &config::Binding| {
        let wanted = &binding.r#match;
        Route {
            agent: binding.agent_id.clone(),
            channel: wanted.channel.as_str(),
            account: match &wanted.account_id {
                None => Some(DEFAULT_ACCOUNT.to_owned()),
                Some(config::AccountOrAny::Any) => None,
                Some(config::AccountOrAny::Account(account)) => Some(account.as_str().to_owned()),
            },
            peer: wanted
                .peer
                .as_ref()
                .map(|peer| (peer.kind, peer.id.clone())),
        }
    };
    // Servers exist on Discord only, so a row that names one fits nothing here.
    let fits = |binding: &&config::Binding| binding.r#match.guild_id.is_none();
    config.bindings.iter().filter(fits).map(route).collect()
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
                group.topics.first().map(|topic| topic.require_mention),
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
            .topics[0];
        assert_eq!(topic.allow_from, [Sender::Name("@bobby".to_owned())]);
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
