//! Rules about who may write to the bot, one row per rule and channel.

use super::{CRITICAL, Facts, Grade, Hits, INFO, Rule, WARN, at};
use crate::path::ConfigPath;
use crate::schema::{AccountView, DmPolicy, DmScope, GroupPolicy, is_plain_and_remote};
use crate::senders::Sender;

/// The rules that hold on every channel; `$channel` is part of their ids.
macro_rules! every_channel {
    ($channel:literal) => {
        &[
            Rule {
                id: concat!("channels.", $channel, ".dm.open_invalid"),
                grade: Grade::Error,
                key: concat!("channels.", $channel, ".dmPolicy"),
                title: "Open in one place only",
                remedy: "add \"*\" to allowFrom if you really want everybody, or write dmPolicy: \"pairing\"",
                check: |facts, hits| accounts(facts, $channel, |path, view| {
                    let invalid = view.dm_policy == DmPolicy::Open && !any(&view.allow_from);
                    hits.add_if(invalid, path.join("dmPolicy"), "is \"open\" and allowFrom does not contain \"*\"");
                }),
            },
            Rule {
                id: concat!("channels.", $channel, ".dm.wildcard_without_open"),
                grade: Grade::Error,
                key: concat!("channels.", $channel, ".allowFrom"),
                title: "Everybody in an allow list",
                remedy: "name the people; for everybody dmPolicy has to be \"open\" too",
                check: |facts, hits| accounts(facts, $channel, |path, view| {
                    let wildcard = view.dm_policy != DmPolicy::Open && any(&view.allow_from);
                    hits.add_if(wildcard, path.join("allowFrom"), "contains \"*\" and dmPolicy is not \"open\"");
                }),
            },
            Rule {
                id: concat!("channels.", $channel, ".dm.open"),
                grade: CRITICAL,
                key: concat!("channels.", $channel, ".dmPolicy"),
                title: "Anybody can write to the bot",
                remedy: "write dmPolicy: \"pairing\" and name people in allowFrom",
                check: |facts, hits| accounts(facts, $channel, |path, view| {
                    let open = view.dm_policy == DmPolicy::Open && any(&view.allow_from);
                    hits.add_if(open, path.join("dmPolicy"), "is \"open\": every stranger talks to the assistant");
                }),
            },
            Rule {
                id: concat!("channels.", $channel, ".dm.disabled"),
                grade: INFO,
                key: concat!("channels.", $channel, ".dmPolicy"),
                title: "No direct messages",
                remedy: "nothing, if that is what you want",
                check: |facts, hits| accounts(facts, $channel, |path, view| {
                    let disabled = view.dm_policy == DmPolicy::Disabled;
                    hits.add_if(disabled, path.join("dmPolicy"), "is \"disabled\", for you too");
                }),
            },
            Rule {
                id: concat!("channels.", $channel, ".dm.allowFrom.missing"),
                grade: WARN,
                key: concat!("channels.", $channel, ".allowFrom"),
                title: "No allow list",
                remedy: "name the people in allowFrom; until then everybody needs your approval",
                check: |facts, hits| accounts(facts, $channel, |path, view| {
                    let missing = view.allow_from.is_empty() && view.dm_policy != DmPolicy::Disabled;
                    let detail = match view.dm_policy {
                        DmPolicy::Allowlist => "names nobody in allowFrom, so every direct message is dropped",
                        _ => "names nobody in allowFrom, so every sender gets a pairing code",
                    };
                    hits.add_if(missing, path, detail);
                }),
            },
            Rule {
                id: concat!("channels.", $channel, ".scope_main_multiuser"),
                grade: WARN,
                key: "session.dmScope",
                title: "More than one person and one conversation",
                remedy: "write dmScope: \"per-channel-peer\"",
                check: |facts, hits| accounts(facts, $channel, |_, view| {
                    let merged = facts.settings.session.dm_scope == DmScope::Main;
                    let detail = concat!("is \"main\" with more than one person in channels.", $channel, ".allowFrom; only the owner's messages are joined");
                    hits.add_if(merged && view.allow_from.len() > 1, "session.dmScope", detail);
                }),
            },
            Rule {
                id: concat!("channels.", $channel, ".groups.open"),
                grade: CRITICAL,
                key: concat!("channels.", $channel, ".groupPolicy"),
                title: "Any group",
                remedy: "write groupPolicy: \"allowlist\" and list groups",
                check: |facts, hits| accounts(facts, $channel, |path, view| {
                    let open = view.group_policy == GroupPolicy::Open;
                    hits.add_if(open, path.join("groupPolicy"), "is \"open\": whoever adds the bot to a group can use it");
                }),
            },
            Rule {
                id: concat!("channels.", $channel, ".groups.allowFrom.wildcard"),
                grade: CRITICAL,
                key: concat!("channels.", $channel, ".groupAllowFrom"),
                title: "Everybody in groups",
                remedy: "name the people in groupAllowFrom",
                check: |facts, hits| accounts(facts, $channel, |path, view| {
                    hits.add_if(any(&view.group_allow_from), path.join("groupAllowFrom"), "contains \"*\": every member of a group talks to the assistant");
                }),
            },
            Rule {
                id: concat!("channels.", $channel, ".groups.allowFrom.missing"),
                grade: WARN,
                key: concat!("channels.", $channel, ".groupAllowFrom"),
                title: "Mute in groups",
                remedy: "name people in groupAllowFrom or allowFrom",
                check: |facts, hits| accounts(facts, $channel, |path, view| {
                    let nobody = view.group_allow_from.is_empty() && view.allow_from.is_empty();
                    let mute = !view.groups.is_empty() && view.group_policy == GroupPolicy::Allowlist && nobody;
                    hits.add_if(mute, path.join("groups"), "lists groups, but nobody is allowed to write there, so the bot stays silent");
                }),
            },
            Rule {
                id: concat!("channels.", $channel, ".groups.no_mention_gate"),
                grade: WARN,
                key: concat!("channels.", $channel, ".groups.<id|*>.requireMention"),
                title: "Answers everything",
                remedy: "write requireMention: true for \"*\" and set it to false for single groups",
                check: |facts, hits| accounts(facts, $channel, |path, view| {
                    let ungated = view.groups.iter().any(|group| group.id == "*" && !group.require_mention);
                    let path = path.join("groups").join("*").join("requireMention");
                    hits.add_if(ungated, path, "is false for every group: the assistant reads and answers all that is said");
                }),
            },
            Rule {
                id: concat!("channels.", $channel, ".config_writes"),
                grade: WARN,
                key: concat!("channels.", $channel, ".configWrites"),
                title: "Chat changes the configuration",
                remedy: "keep it off; use clawdbot config set",
                check: |facts, hits| accounts(facts, $channel, |path, view| {
                    hits.add_if(view.config_writes, path.join("configWrites"), "lets chat commands change this file");
                }),
            },
        ]
    };
}

pub(super) const RULES: &[&[Rule]] = &[
    every_channel!("whatsapp"),
    every_channel!("telegram"),
    every_channel!("discord"),
    every_channel!("signal"),
    every_channel!("imessage"),
    every_channel!("bluebubbles"),
    OWN,
];

/// Rules that only one channel has.
const OWN: &[Rule] = &[
    Rule {
        id: "channels.defaults.groups.open",
        grade: CRITICAL,
        key: "channels.defaults.groupPolicy",
        title: "Any group on every channel",
        remedy: "write groupPolicy: \"allowlist\"",
        check: |facts, hits| {
            let open = facts.settings.channels.defaults.group_policy == GroupPolicy::Open;
            hits.add_if(
                open,
                "channels.defaults.groupPolicy",
                "is \"open\": whoever adds the bot to a group can use it",
            );
        },
    },
    Rule {
        id: "channels.telegram.allowFrom.names",
        grade: WARN,
        key: "channels.telegram.allowFrom",
        title: "Names can change hands",
        remedy: "use numeric user ids; until the first message under a name is approved, pairing is needed",
        check: |facts, hits| names(facts, "telegram", hits),
    },
    Rule {
        id: "channels.discord.allowFrom.names",
        grade: WARN,
        key: "channels.discord.allowFrom",
        title: "Names can change hands",
        remedy: "use numeric user ids",
        check: |facts, hits| names(facts, "discord", hits),
    },
    Rule {
        id: "channels.telegram.trust_names",
        grade: WARN,
        key: "channels.telegram.trustNames",
        title: "Names are trusted",
        remedy: "use numeric user ids and remove trustNames",
        check: |facts, hits| {
            let trusted = facts
                .settings
                .channels
                .telegram
                .as_ref()
                .is_some_and(|channel| channel.base.trust_names);
            hits.add_if(
                trusted,
                "channels.telegram.trustNames",
                "lets in whoever holds a listed name today",
            );
        },
    },
    Rule {
        id: "channels.telegram.webhook_no_secret",
        grade: Grade::Error,
        key: "channels.telegram.webhookSecret",
        title: "Web hook without a secret",
        remedy: "set webhookSecret, so that only Telegram can call it",
        check: |facts, hits| {
            let Some(channel) = &facts.settings.channels.telegram else {
                return;
            };
            let base = [(at("channels.telegram"), &channel.base)];
            let named = channel
                .accounts
                .iter()
                .map(|(id, account)| (at("channels.telegram.accounts").join(id.as_str()), account));
            for (path, account) in base.into_iter().chain(named) {
                let open = account.webhook_url.is_some() && account.webhook_secret.is_none();
                hits.add_if(open, path.join("webhookUrl"), "is set and webhookSecret is not: anybody could send messages in another's name");
            }
        },
    },
    Rule {
        id: "channels.discord.allow_bots",
        grade: WARN,
        key: "channels.discord.allowBots",
        title: "Bots are answered",
        remedy: "keep it off; two bots can talk without end",
        check: |facts, hits| {
            let on = facts
                .settings
                .channels
                .discord
                .as_ref()
                .is_some_and(|channel| channel.base.allow_bots);
            hits.add_if(
                on,
                "channels.discord.allowBots",
                "lets other bots talk to the assistant",
            );
        },
    },
    Rule {
        id: "channels.discord.guilds.slug_keys",
        grade: WARN,
        key: "channels.discord.guilds",
        title: "Servers by name",
        remedy: "use the numeric ids of servers and channels",
        check: |facts, hits| {
            let Some(channel) = &facts.settings.channels.discord else {
                return;
            };
            let numeric = |id: &str| id == "*" || id.bytes().all(|b| b.is_ascii_digit());
            for (id, guild) in &channel.base.guilds {
                let path = at("channels.discord.guilds").join(id.as_str());
                let inner = guild.channels.keys().find(|id| !numeric(id.as_str()));
                let detail =
                    "names a server or channel by a name, which its administrators can change";
                match inner {
                    Some(inner) => hits.add(path.join("channels").join(inner.as_str()), detail),
                    None => hits.add_if(!numeric(id.as_str()), path, detail),
                }
            }
        },
    },
    Rule {
        id: "channels.signal.http_off_host",
        grade: CRITICAL,
        key: "channels.signal.httpUrl",
        title: "signal-cli on another machine",
        remedy: "run signal-cli here: its interface has no log-in",
        check: |facts, hits| {
            let Some(channel) = &facts.settings.channels.signal else {
                return;
            };
            let address = channel.base.http_url.as_str();
            hits.add_if(
                is_off_host(address),
                "channels.signal.httpUrl",
                "is on another machine: whoever reaches it sends in your name",
            );
        },
    },
    Rule {
        id: "channels.bluebubbles.plain_http",
        grade: WARN,
        key: "channels.bluebubbles.serverUrl",
        title: "Clear text to the Mac",
        remedy: "use https://",
        check: |facts, hits| {
            let url = facts
                .settings
                .channels
                .bluebubbles
                .as_ref()
                .and_then(|channel| channel.base.server_url.as_ref());
            let plain = url.is_some_and(|url| is_plain_and_remote(url.as_str()));
            hits.add_if(
                plain,
                "channels.bluebubbles.serverUrl",
                "sends the password in clear text",
            );
        },
    },
];

/// Calls `look` with every account of a channel and its path.
fn accounts(facts: &Facts, channel: &str, mut look: impl FnMut(ConfigPath, &AccountView)) {
    for (name, account, view) in &facts.accounts {
        if *name == channel {
            let path = at("channels").join(name);
            look(
                account.map_or(path.clone(), |id| path.join("accounts").join(id.as_str())),
                view,
            );
        }
    }
}

fn any(senders: &[&Sender]) -> bool {
    senders.contains(&&Sender::Any)
}

fn names(facts: &Facts, channel: &str, hits: &mut Hits) {
    accounts(facts, channel, |path, view| {
        for key in ["allowFrom", "groupAllowFrom"] {
            let list = if key == "allowFrom" {
                &view.allow_from
            } else {
                &view.group_allow_from
            };
            for (index, sender) in list.iter().enumerate() {
                if let Sender::Name(name) = sender {
                    let mut path = path.join(key);
                    path.push_index(index);
                    hits.add(path, format!("is {name}: whoever holds that name is meant"));
                }
            }
        }
    });
}

fn is_off_host(address: &str) -> bool {
    use crate::schema::{host, is_loopback, url};
    url(address)
        .is_some_and(|(_, authority, _)| host(authority).is_none_or(|host| !is_loopback(host)))
}
