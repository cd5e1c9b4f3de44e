//! Rules about who may write to the bot, one row per rule and channel.

use clawdbot_identity::Principal;

use super::{BY_HAND, CRITICAL, Cure, Facts, Grade, Hits, INFO, Rule, WARN, at};
use crate::mention::Patterns;
use crate::path::ConfigPath;
use crate::schema::{
    AccountView, Channel, DmPolicy, DmScope, GroupPolicy, GroupView, host, is_loopback,
    is_plain_and_remote, url,
};
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
                why: "Whether everybody or somebody is meant would be a guess.",
                remedy: "add \"*\" to allowFrom if you really want everybody, or write dmPolicy: \"pairing\"",
                cure: Cure::Set("\"pairing\""),
                check: |facts, hits| accounts(facts, $channel, |path, view| {
                    let invalid = view.dm_policy == DmPolicy::Open && !any(&view.allow_from);
                    hits.add_if(invalid, path.join("dmPolicy"), "is \"open\" and allowFrom does not contain \"*\"");
                }),
            },
            Rule {
                id: concat!("channels.", $channel, ".account_default"),
                grade: Grade::Error,
                key: concat!("channels.", $channel, ".accounts"),
                title: "The usual account in a second place",
                why: "Two accounts of one name would share rules and tokens.",
                remedy: concat!("write the settings of the default account directly under channels.", $channel, ", or give this account another name"),
                cure: Cure::Run(BY_HAND),
                check: |facts, hits| named_default(facts, $channel, hits),
            },
            Rule {
                id: concat!("channels.", $channel, ".dm.wildcard_without_open"),
                grade: Grade::Error,
                key: concat!("channels.", $channel, ".allowFrom"),
                title: "Everybody in an allow list",
                why: "It lets in everybody or nobody, depending on who reads it.",
                remedy: "name the people; for everybody dmPolicy has to be \"open\" too",
                cure: Cure::Name("\"ID\""),
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
                why: "Strangers spend your money, and can try to talk the assistant into anything.",
                remedy: "write dmPolicy: \"pairing\" and name people in allowFrom",
                cure: Cure::Run(BY_HAND),
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
                why: "You cannot reach the assistant there either.",
                remedy: "nothing, if that is what you want",
                cure: Cure::Set("\"pairing\""),
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
                why: "Whoever finds the bot can ask you to be let in.",
                remedy: "name the people in allowFrom; until then everybody needs your approval",
                cure: Cure::Run("clawdbot config set PATH.allowFrom '[\"ID\"]'"),
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
                id: concat!("channels.", $channel, ".dm.scope_main_multiuser"),
                grade: WARN,
                key: "session.dmScope",
                title: "More than one person and one conversation",
                why: "What one person tells the assistant, it can tell the others.",
                remedy: "write dmScope: \"per-channel-peer\"",
                cure: Cure::Set("\"per-channel-peer\""),
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
                why: "Strangers in a group that you never saw talk to the assistant.",
                remedy: "write groupPolicy: \"allowlist\" and list groups",
                cure: Cure::Fix("\"allowlist\""),
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
                why: "Every member, and whoever joins later, talks to the assistant.",
                remedy: "name the people in groupAllowFrom",
                cure: Cure::Name("\"ID\""),
                check: |facts, hits| accounts(facts, $channel, |path, view| {
                    hits.add_if(view.group_allow_from.as_deref().is_some_and(any), path.join("groupAllowFrom"), "contains \"*\": every member of a group talks to the assistant");
                    for group in &view.groups {
                        let path = path.join(group.section).join(group.id);
                        let inner = group.inside.iter().map(|inner| (path.join(inner.section).join(inner.id), inner));
                        for (path, place) in inner.chain([(path.clone(), group)]) {
                            let key = if place.section == "groups" || place.section == "topics" { "allowFrom" } else { "users" };
                            hits.add_if(place.allow_from.as_deref().is_some_and(any), path.join(key), "contains \"*\": every member talks to the assistant");
                        }
                    }
                }),
            },
            Rule {
                id: concat!("channels.", $channel, ".groups.allowFrom.missing"),
                grade: WARN,
                key: concat!("channels.", $channel, ".groupAllowFrom"),
                title: "Mute in groups",
                why: "A silent bot looks broken, and what people open then is often too much.",
                remedy: "name people in groupAllowFrom or allowFrom",
                cure: Cure::Beside("groupAllowFrom", "[\"ID\"]"),
                check: |facts, hits| accounts(facts, $channel, |path, view| {
                    let nobody = view.group_allow_from.as_ref().unwrap_or(&view.allow_from).is_empty();
                    let names = |place: &GroupView| place.allow_from.as_ref().is_some_and(|list| !list.is_empty());
                    let listed = |group: &GroupView| names(group) || group.inside.iter().any(names);
                    let mute = view.group_policy == GroupPolicy::Allowlist && nobody && !view.groups.iter().any(listed);
                    let section = view.groups.first().map(|group| group.section);
                    hits.add_if(mute && section.is_some(), path.join(section.unwrap_or_default()), "lists groups, but nobody is allowed to write there, so the bot stays silent");
                }),
            },
            Rule {
                id: concat!("channels.", $channel, ".groups.no_mention_gate"),
                grade: WARN,
                key: concat!("channels.", $channel, ".groups.<id|*>.requireMention"),
                title: "Answers everything",
                why: "It answers, at your cost, what is said among others.",
                remedy: "write requireMention: true for \"*\" and set it to false for single groups",
                cure: Cure::Set("true"),
                check: |facts, hits| accounts(facts, $channel, |path, view| {
                    for group in view.groups.iter().filter(|group| group.id == "*" && !group.require_mention) {
                        let path = path.join(group.section).join("*").join("requireMention");
                        hits.add(path, "is false for every group: the assistant reads and answers all that is said");
                    }
                }),
            },
            Rule {
                id: concat!("channels.", $channel, ".config_writes"),
                grade: WARN,
                key: concat!("channels.", $channel, ".configWrites"),
                title: "Chat changes the configuration",
                why: "A stolen chat account could rewrite the rules that guard the assistant.",
                remedy: "keep it off; use clawdbot config set",
                cure: Cure::Fix("false"),
                check: |facts, hits| accounts(facts, $channel, |path, view| {
                    hits.add_if(view.config_writes, path.join("configWrites"), "lets chat commands change this file");
                }),
            },
        ]
    };
}

/// The rules of the channels that know people by telephone number.
macro_rules! every_phone {
    ($channel:literal) => {
        &[Rule {
            id: concat!("channels.", $channel, ".allowFrom.number"),
            grade: WARN,
            key: concat!("channels.", $channel, ".allowFrom"),
            title: "A phone number that is nobody's",
            why: "Nobody has such a number, so whoever is meant is not let in.",
            remedy: "write the number with + and its country code, for instance \"+15555550100\"",
            cure: Cure::Run(BY_HAND),
            check: |facts, hits| doubtful(facts, $channel, hits),
        }]
    };
}

pub(super) const RULES: &[&[Rule]] = &[
    every_channel!("whatsapp"),
    every_channel!("telegram"),
    every_channel!("discord"),
    every_channel!("signal"),
    every_channel!("imessage"),
    every_channel!("bluebubbles"),
    every_phone!("whatsapp"),
    every_phone!("signal"),
    every_phone!("imessage"),
    every_phone!("bluebubbles"),
    OWN,
];

/// Rules that only one channel has.
const OWN: &[Rule] = &[
    Rule {
        id: "channels.defaults.groups.open",
        grade: CRITICAL,
        key: "channels.defaults.groupPolicy",
        title: "Any group on every channel",
        why: "Strangers in a group that you never saw talk to the assistant.",
        remedy: "write groupPolicy: \"allowlist\"",
        cure: Cure::Fix("\"allowlist\""),
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
        why: "A name that is given up can be taken by somebody else.",
        remedy: "use numeric user ids; until the first message under a name is approved, pairing is needed",
        cure: Cure::Set("ID"),
        check: |facts, hits| names(facts, "telegram", hits),
    },
    Rule {
        id: "channels.discord.allowFrom.names",
        grade: WARN,
        key: "channels.discord.allowFrom",
        title: "Names can change hands",
        why: "A name that is given up can be taken by somebody else.",
        remedy: "use numeric user ids",
        cure: Cure::Set("\"ID\""),
        check: |facts, hits| names(facts, "discord", hits),
    },
    Rule {
        id: "channels.telegram.trust_names",
        grade: WARN,
        key: "channels.telegram.trustNames",
        title: "Names are trusted",
        why: "A name that is given up can be taken by somebody else, who is then let in.",
        remedy: "use numeric user ids and remove trustNames",
        cure: Cure::Set("false"),
        check: |facts, hits| {
            for (path, account) in each("telegram", &facts.settings.channels.telegram) {
                let path = path.join("trustNames");
                hits.add_if(
                    account.trust_names,
                    path,
                    "lets in whoever holds a listed name today",
                );
            }
        },
    },
    Rule {
        id: "channels.telegram.webhook_no_secret",
        grade: Grade::Error,
        key: "channels.telegram.webhookSecret",
        title: "Web hook without a secret",
        why: "Whoever finds the address could write in the owner's name.",
        remedy: "set webhookSecret, so that only Telegram can call it",
        cure: Cure::Beside("webhookSecret", "\"${TELEGRAM_WEBHOOK_SECRET}\""),
        check: |facts, hits| {
            for (path, account) in each("telegram", &facts.settings.channels.telegram) {
                let open = account.webhook_url.is_some() && account.webhook_secret.is_none();
                let detail = "is set and webhookSecret is not: anybody could send messages in another's name";
                hits.add_if(open, path.join("webhookUrl"), detail);
            }
        },
    },
    Rule {
        id: "channels.discord.allow_bots",
        grade: WARN,
        key: "channels.discord.allowBots",
        title: "Bots are answered",
        why: "Two bots that answer each other do so until the money is gone.",
        remedy: "keep it off; two bots can talk without end",
        cure: Cure::Set("false"),
        check: |facts, hits| {
            for (path, account) in each("discord", &facts.settings.channels.discord) {
                let path = path.join("allowBots");
                hits.add_if(
                    account.allow_bots,
                    path,
                    "lets other bots talk to the assistant",
                );
            }
        },
    },
    Rule {
        id: "channels.discord.guilds.slug_keys",
        grade: WARN,
        key: "channels.discord.guilds",
        title: "Servers by name",
        why: "A name can be given to another place, so it never stands for one.",
        remedy: "use the numeric ids of servers and channels",
        cure: Cure::Run(BY_HAND),
        check: |facts, hits| {
            let detail = "is a name, which others can take; no server and no channel is known by its name, so these rules hold nowhere";
            named_places(facts, |path, _| hits.add(path, detail));
        },
    },
    Rule {
        id: "channels.discord.guilds.names_beside_star",
        grade: Grade::Error,
        key: "channels.discord.guilds",
        title: "What is forbidden under a name",
        why: "What you forbid has to stay forbidden whatever a place is called.",
        remedy: "write the numeric id instead of the name, or remove \"*\"",
        cure: Cure::Run(BY_HAND),
        check: |facts, hits| {
            let detail = "is a name beside \"*\": what it forbids would be permitted by \"*\", since nothing is known by its name";
            named_places(facts, |path, star| hits.add_if(star, path, detail));
        },
    },
    Rule {
        id: "channels.discord.guilds.twice",
        grade: Grade::Error,
        key: "channels.discord.groups",
        title: "A server in two places",
        why: "Which of the two rules counts would be a guess.",
        remedy: "keep the server under guilds",
        cure: Cure::Run(BY_HAND),
        check: |facts, hits| {
            for (path, account) in each("discord", &facts.settings.channels.discord) {
                for id in account
                    .groups
                    .keys()
                    .filter(|id| account.guilds.contains_key(id))
                {
                    let path = path.join("groups").join(id.as_str());
                    hits.add(
                        path,
                        "stands under guilds, too, so one of them would have no effect",
                    );
                }
            }
        },
    },
    Rule {
        id: "channels.mention_impossible",
        grade: WARN,
        key: "messages.groupChat.mentionPatterns",
        title: "Groups that can never be answered",
        why: "A silent bot looks broken, and what people open then is often too much.",
        remedy: "give the agent a name (agents.list[].identity.name) or write messages.groupChat.mentionPatterns",
        cure: Cure::Add(
            "messages.groupChat.mentionPatterns",
            &["\"\\\\bNAME\\\\b\""],
        ),
        check: |facts, hits| {
            let shared = &facts.settings.messages.group_chat;
            let agents = &facts.settings.agents.list;
            let mut each = agents
                .iter()
                .map(Some)
                .chain(agents.is_empty().then_some(None));
            if each.any(|agent| !Patterns::of(agent, shared).is_empty()) {
                return;
            }
            for channel in ["signal", "imessage", "bluebubbles"] {
                accounts(facts, channel, |path, view| {
                    let gated = view
                        .groups
                        .iter()
                        .any(|group| group.enabled && group.require_mention);
                    let detail = "waits for a mention, which this service does not mark, and nothing says which words are one";
                    hits.add_if(gated, path.join("groups"), detail);
                });
            }
        },
    },
    Rule {
        id: "channels.signal.http_off_host",
        grade: CRITICAL,
        key: "channels.signal.httpUrl",
        title: "signal-cli on another machine",
        why: "signal-cli asks nobody who he is, and gives away your messages.",
        remedy: "run signal-cli here: its interface has no log-in",
        cure: Cure::Set("\"http://127.0.0.1:8080\""),
        check: |facts, hits| {
            for (path, account) in each("signal", &facts.settings.channels.signal) {
                let away = is_off_host(account.http_url.as_str());
                let detail = "is on another machine: whoever reaches it sends in your name";
                hits.add_if(away, path.join("httpUrl"), detail);
            }
        },
    },
    Rule {
        id: "channels.bluebubbles.plain_http",
        grade: WARN,
        key: "channels.bluebubbles.serverUrl",
        title: "Clear text to the Mac",
        why: "Whoever is on the way reads the password and every message.",
        remedy: "use https://",
        cure: Cure::Set("\"https://HOST\""),
        check: |facts, hits| {
            for (path, account) in each("bluebubbles", &facts.settings.channels.bluebubbles) {
                let url = account.server_url.as_ref();
                let plain = url.is_some_and(|url| is_plain_and_remote(url.as_str()));
                hits.add_if(
                    plain,
                    path.join("serverUrl"),
                    "sends the password in clear text",
                );
            }
        },
    },
];

/// The accounts of one channel with all that they have.
pub(super) fn each<'a, A>(name: &str, channel: &'a Option<Channel<A>>) -> Vec<(ConfigPath, &'a A)> {
    let Some(channel) = channel else {
        return Vec::new();
    };
    let path = at("channels").join(name);
    let named = channel
        .accounts
        .iter()
        .map(|(id, account)| (path.join("accounts").join(id.as_str()), account));
    let named: Vec<_> = named.collect();
    std::iter::once((path, &channel.base))
        .chain(named)
        .collect()
}

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

/// `default` is what the account without a name is called: two of that name would share rules and tokens.
fn named_default(facts: &Facts, channel: &str, hits: &mut Hits) {
    for (name, account, _) in &facts.accounts {
        if let Some(account) =
            account.filter(|account| *name == channel && account.as_str() == "default")
        {
            let path = at("channels").join(name).join("accounts");
            let detail = "is the name of the account that has none";
            hits.add(path.join(account.as_str()), detail);
        }
    }
}

/// The lists of an account with their keys.
fn lists<'v>(view: &'v AccountView<'_>) -> [(&'static str, &'v [&'v Sender]); 2] {
    [
        ("allowFrom", &view.allow_from),
        (
            "groupAllowFrom",
            view.group_allow_from.as_deref().unwrap_or_default(),
        ),
    ]
}

fn doubtful(facts: &Facts, channel: &str, hits: &mut Hits) {
    let doubt = |sender: &Sender| Principal::listed(channel, sender.as_str()).ok()?.doubt();
    accounts(facts, channel, |path, view| {
        for (key, list) in lists(view) {
            for (index, sender) in list.iter().enumerate() {
                let mut path = path.join(key);
                path.push_index(index);
                if let Some(doubt) = doubt(sender) {
                    hits.add(path, doubt);
                }
            }
        }
    });
    for (index, owner) in facts.owners().iter().enumerate() {
        let mut path = at("commands.ownerAllowFrom");
        path.push_index(index);
        if let (true, Some(doubt)) = (owner.channel() == channel, doubt(owner.sender())) {
            hits.add(path, doubt);
        }
    }
}

fn any(senders: &[&Sender]) -> bool {
    senders.contains(&&Sender::Any)
}

fn names(facts: &Facts, channel: &str, hits: &mut Hits) {
    accounts(facts, channel, |path, view| {
        for (key, list) in lists(view) {
            let first = list
                .iter()
                .position(|sender| matches!(sender, Sender::Name(_)));
            if let Some(index) = first {
                let name = list[index].as_str();
                let mut path = path.join(key);
                path.push_index(index);
                hits.add(
                    path,
                    format!("is {name}: whoever holds such a name is meant"),
                );
            }
        }
    });
}

/// Calls `look` with every server and channel of Discord that is listed by a name, and whether `*` stands beside it.
fn named_places(facts: &Facts, mut look: impl FnMut(ConfigPath, bool)) {
    accounts(facts, "discord", |path, view| {
        named_among(&path, &view.groups, &mut look);
        for group in &view.groups {
            let path = path.join(group.section).join(group.id);
            named_among(&path, &group.inside, &mut look);
        }
    });
}

fn named_among(path: &ConfigPath, places: &[GroupView], look: &mut impl FnMut(ConfigPath, bool)) {
    let star = places.iter().any(|place| place.id == "*");
    let named = |id: &str| id != "*" && !id.bytes().all(|b| b.is_ascii_digit());
    for place in places.iter().filter(|place| named(place.id)) {
        look(path.join(place.section).join(place.id), star);
    }
}

fn is_off_host(address: &str) -> bool {
    url(address)
        .is_some_and(|(_, authority, _)| host(authority).is_none_or(|host| !is_loopback(host)))
}
