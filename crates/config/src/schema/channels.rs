//! `channels`: who may write to the bot on which chat service, and how it answers there.
//! Closed by default: strangers have to pair, groups have to be listed, and in groups the bot has to be mentioned.

use std::collections::BTreeMap;

use clawdbot_identity::CHANNELS;
use serde_json::Value as Json;

use super::gateway::{host, is_loopback, url};
use super::services::{BlueBubbles, Discord, IMessage, Signal, Telegram, WhatsApp};
use super::tools::ToolPolicy;
use crate::json5::{Member, Node, Object, Value};
use crate::section::{self, Section, overlay, section};
use crate::senders::*;
use crate::shape::{Child, Cx, Info, Shape, Step};
use crate::types::{Amount, Int, MapKey, choice, names, texts};

choice! {
    /// What happens to a direct message of somebody unknown.
    DmPolicy {
        /// He gets a pairing code that the owner can approve.
        Pairing = "pairing",
        /// It is dropped unless he is in `allowFrom`.
        Allowlist = "allowlist",
        /// Everybody may write; needs `"*"` in `allowFrom`.
        Open = "open",
        /// Nobody may write.
        Disabled = "disabled",
    }
}

choice! {
    /// Which groups are listened to.
    GroupPolicy {
        /// Listed groups and listed senders.
        Allowlist = "allowlist",
        /// Every group that somebody adds the bot to.
        Open = "open",
        /// None.
        Disabled = "disabled",
    }
}

choice! {
    /// Where a long answer may be split.
    ChunkMode {
        /// At the length limit.
        Length = "length",
        /// At blank lines first.
        Newline = "newline",
    }
}

texts! {
    /// The name of one of several accounts of a channel.
    AccountId: "1 to 64 characters of a-z, 0-9, _ and -, starting with a letter or digit", "work", is_account;
    /// An http:// or https:// address.
    HttpUrl: "an http:// or https:// address", "https://api.example.org", is_http_url, matches "^https?://";
}

fn is_account(text: &str) -> bool {
    clawdbot_identity::AgentId::parse(text).is_ok()
}

pub(super) fn is_http_url(text: &str) -> bool {
    url(text).is_some_and(|(scheme, _, _)| matches!(scheme, "http" | "https"))
}

/// Whether an address leaves this machine in clear text.
pub(crate) fn is_plain_and_remote(address: &str) -> bool {
    url(address).is_some_and(|(scheme, authority, _)| {
        matches!(scheme, "http" | "ws") && host(authority).is_none_or(|host| !is_loopback(host))
    })
}

impl AccountId {
    fn key(text: &str) -> Option<Self> {
        is_account(text).then(|| Self::from_checked(text))
    }
}

impl MapKey for AccountId {
    const SHOWN: &'static str = "<id>";
    const SAMPLE: &'static str = "work";

    fn parse_key(text: &str) -> Result<Self, String> {
        let rule =
            "must be 1 to 64 characters of a-z, 0-9, _ and -, starting with a letter or digit";
        Self::key(text).ok_or_else(|| rule.to_owned())
    }

    fn as_key(&self) -> &str {
        self.as_str()
    }
}

names! {
    clawdbot_identity::AgentId, "<agent>", "main";
    clawdbot_identity::ProviderId, "<id>", "ollama";
    clawdbot_identity::ModelRef, "<provider/model>", "ollama/llama3";
}

section! {
    /// The chat channels.
    Channels {
        /// What holds for channels that say nothing else.
        "defaults" defaults: ChannelDefaults;
        /// WhatsApp, as a linked device.
        "whatsapp" whatsapp: Option<Channel<WhatsApp>>, later "WhatsApp";
        /// A Telegram bot.
        "telegram" telegram: Option<Channel<Telegram>>;
        /// A Discord bot.
        "discord" discord: Option<Channel<Discord>>, later "Discord";
        /// Signal, through signal-cli.
        "signal" signal: Option<Channel<Signal>>, later "Signal";
        /// iMessage, on a Mac.
        "imessage" imessage: Option<Channel<IMessage>>, later "iMessage";
        /// iMessage, through a BlueBubbles server.
        "bluebubbles" bluebubbles: Option<Channel<BlueBubbles>>, later "BlueBubbles";
    }
    refuse {
        "slack" => "Slack is not supported; the channels are whatsapp, telegram, discord, signal, imessage and bluebubbles",
        "msteams" => "Microsoft Teams is not supported; the channels are whatsapp, telegram, discord, signal, imessage and bluebubbles",
        "googlechat" => "Google Chat is not supported; the channels are whatsapp, telegram, discord, signal, imessage and bluebubbles",
        "matrix" => "Matrix is not supported; the channels are whatsapp, telegram, discord, signal, imessage and bluebubbles",
    }
    before spread_group_policy;
}

section! {
    /// What holds for channels that say nothing else.
    ChannelDefaults {
        /// Which groups are listened to.
        "groupPolicy" group_policy: GroupPolicy = GroupPolicy::Allowlist;
    }
}

section! {
    /// Tries to deliver a message.
    Retry {
        /// Tries altogether.
        "attempts" attempts: Int<1, 10> = Int::new(3);
        /// First pause in milliseconds.
        "minDelayMs" min_delay_ms: Int<0, 60000> = Int::new(500);
        /// Longest pause in milliseconds.
        "maxDelayMs" max_delay_ms: Int<0, 600000> = Int::new(30000);
        /// How much pauses vary, as a part of their length.
        "jitter" jitter: Amount = Amount::new(0.1);
    }
}

/// Defines a group section: one place on a channel where several people write.
macro_rules! group {
    ($group:ident, $sender:ty $(, inside $inner:ident)? { $($more:tt)* }) => {
        impl $group {
            fn view<'a>(&'a self, section: &'static str, id: &'a str) -> GroupView<'a> {
                GroupView {
                    section,
                    id,
                    enabled: self.enabled,
                    require_mention: self.require_mention,
                    allow_from: self.allow_from.as_deref().map(|list| senders(list, <$sender>::sender)),
                    tools: self.tools.as_ref(),
                    tools_by_sender: self.tools_by_sender.iter().map(|(who, tools)| (who.sender(), tools)).collect(),
                    inside: Vec::from_iter(std::iter::empty()
                        $(.chain(self.$inner.iter().map(|(id, own)| own.view(stringify!($inner), id.as_key()))))?),
                    only_listed: false,
                }
            }
        }

        section! {
            /// One group.
            $group {
                /// Listen to it.
                "enabled" enabled: bool = true;
                /// Answer only when the bot is mentioned or answered. What a group does not say is as in `*`, what a topic does
                /// not say as in its group.
                "requireMention" require_mention: bool = true;
                /// What the assistant may use here.
                "tools" tools: Option<ToolPolicy>;
                /// The same for single senders.
                "toolsBySender" tools_by_sender: BTreeMap<$sender, ToolPolicy>;
                /// Who is answered here; nobody when empty. When unset, as in what is around it: a group, then `groupAllowFrom`.
                "allowFrom" allow_from: Option<Vec<$sender>>;
                /// Added to the assistant's instructions here.
                "systemPrompt" system_prompt: Option<String>, later "instructions for single groups";
                $($more)*
            }
            refuse { "skills" => "there are no skills; remove the key" }
        }
    };
}

pub(super) use group;

/// Defines a channel: the keys that all have, with the channel's own identities and limits, and those of its own.
macro_rules! channel {
    (
        $(#[doc = $about:literal])+
        $name:ident, $sender:ty, groups $groups:ty,
        text $text:literal of $text_max:literal, history $history:literal, media $media:literal MB
        { $($more:tt)* }
        also { $($also:tt)* }
        refuse { $($refuse:tt)* }
        $(view $own:path)?
    ) => {
        section! {
            $(#[doc = $about])+
            $name {
                /// Run the channel.
                "enabled" enabled: bool = true;
                /// What this account is called in messages to the owner.
                "name" name: Option<String>;
                /// What happens to a direct message of somebody unknown.
                "dmPolicy" dm_policy: DmPolicy = DmPolicy::Pairing;
                /// Who may write direct messages.
                "allowFrom" allow_from: Vec<$sender>;
                /// Which groups are listened to; `channels.defaults.groupPolicy` when unset.
                "groupPolicy" group_policy: GroupPolicy = GroupPolicy::Allowlist;
                /// Who is answered in groups; `allowFrom` when unset, nobody when empty.
                "groupAllowFrom" group_allow_from: Option<Vec<$sender>>;
                /// The groups; when there is any, all others are ignored.
                "groups" groups: $groups;
                /// Longest message in characters, up to what the service takes.
                "textChunkLimit" text_chunk_limit: Int<1, $text_max> = Int::new($text);
                /// Where a long answer is split.
                "chunkMode" chunk_mode: ChunkMode = ChunkMode::Length;
                /// Skipped group messages that the next answer sees.
                "historyLimit" history_limit: Int<0, 1000> = Int::new($history), later "group history";
                /// Turns of a direct conversation that the assistant sees; all when unset.
                "dmHistoryLimit" dm_history_limit: Option<Int<0, 10000>>, later "history limits";
                /// Largest file that is fetched, in MB.
                "mediaMaxMb" media_max_mb: Int<1, 2000> = Int::new($media), later "files";
                /// Send an answer in blocks while it is written.
                "blockStreaming" block_streaming: bool = false, later "block streaming";
                /// Tries to deliver a message.
                "retry" retry: Retry;
                /// Let chat commands of this channel change the configuration.
                "configWrites" config_writes: bool = false, later "configuration by chat command";
                $($more)*
            }
            also { "dm.policy" => "dmPolicy", "dm.allowFrom" => "allowFrom", $($also)* }
            refuse { $($refuse)* }
            before spread_mention_gate;
        }

        impl Account for $name {
            fn view(&self) -> AccountView<'_> {
                let view = AccountView {
                    enabled: self.enabled,
                    name: self.name.as_deref().unwrap_or_default(),
                    dm_policy: self.dm_policy,
                    allow_from: senders(&self.allow_from, <$sender>::sender),
                    group_policy: self.group_policy,
                    group_allow_from: self.group_allow_from.as_deref().map(|list| senders(list, <$sender>::sender)),
                    groups: self.groups.iter().map(|(id, group)| group.view("groups", id.as_key())).collect(),
                    implied: Vec::new(),
                    trust_names: false,
                    config_writes: self.config_writes,
                };
                $(let view = $own(self, view);)?
                view
            }
        }
    };
}

pub(super) use channel;

/// What all channels have in common, for whoever treats them alike.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountView<'a> {
    /// Run it.
    pub enabled: bool,
    /// What it is called; may be empty.
    pub name: &'a str,
    /// What happens to a direct message of somebody unknown.
    pub dm_policy: DmPolicy,
    /// Who may write direct messages.
    pub allow_from: Vec<&'a Sender>,
    /// Which groups are listened to.
    pub group_policy: GroupPolicy,
    /// Who is answered in groups; unset: whoever may write direct messages.
    pub group_allow_from: Option<Vec<&'a Sender>>,
    /// The groups; when there is any, all others are ignored.
    pub groups: Vec<GroupView<'a>>,
    /// Further ones that nobody has to list.
    pub implied: Vec<GroupView<'a>>,
    /// Trust names that can change hands.
    pub trust_names: bool,
    /// Let chat commands change the configuration.
    pub config_writes: bool,
}

/// What all groups have in common; a server with channels is a group with others inside.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupView<'a> {
    /// The key under which it stands.
    pub section: &'static str,
    /// The id, or `*`.
    pub id: &'a str,
    /// Listen to it.
    pub enabled: bool,
    /// Answer only when the bot is mentioned.
    pub require_mention: bool,
    /// Who is answered here; unset: as in what is around it.
    pub allow_from: Option<Vec<&'a Sender>>,
    /// What the assistant may use.
    pub tools: Option<&'a ToolPolicy>,
    /// The same for single senders.
    pub tools_by_sender: Vec<(&'a Sender, &'a ToolPolicy)>,
    /// Topics, or channels of a server.
    pub inside: Vec<GroupView<'a>>,
    /// Whether all is ignored that is not listed inside.
    pub only_listed: bool,
}

pub(super) fn senders<T>(entries: &[T], sender: fn(&T) -> &Sender) -> Vec<&Sender> {
    entries.iter().map(sender).collect()
}

/// An account of a channel.
pub trait Account {
    /// What it has in common with all others.
    fn view(&self) -> AccountView<'_>;
}

/// An account with its place: channel, name (nothing for the channel's own), and view.
pub type NamedAccount<'a> = (&'static str, Option<&'a AccountId>, AccountView<'a>);

impl Channels {
    /// All accounts of all channels.
    pub fn accounts(&self) -> Vec<NamedAccount<'_>> {
        let mut all = Vec::new();
        add("whatsapp", &self.whatsapp, &mut all);
        add("telegram", &self.telegram, &mut all);
        add("discord", &self.discord, &mut all);
        add("signal", &self.signal, &mut all);
        add("imessage", &self.imessage, &mut all);
        add("bluebubbles", &self.bluebubbles, &mut all);
        all
    }
}

fn add<'a, A: Account>(
    name: &'static str,
    channel: &'a Option<Channel<A>>,
    all: &mut Vec<NamedAccount<'a>>,
) {
    if let Some(channel) = channel {
        all.push((name, None, channel.base.view()));
        all.extend(
            channel
                .accounts
                .iter()
                .map(|(id, account)| (name, Some(id), account.view())),
        );
    }
}

/// A channel with its accounts. `base` is the account without a name; every named one inherits what it does not say
/// itself, but never a secret.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Channel<A> {
    /// The channel's own settings.
    pub base: A,
    /// Further accounts by name.
    pub accounts: BTreeMap<AccountId, A>,
}

impl<A: Section> Shape for Channel<A> {
    fn info() -> Info {
        let mut info = A::info();
        info.children.push(Child {
            step: Step::Key(accounts_key::<A>().name),
            key: Some(accounts_key::<A>()),
            info: BTreeMap::<AccountId, A>::info,
        });
        info
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        let span = node.span;
        let Value::Object(mut object) = node.value else {
            cx.wrong_type::<Self>(&node);
            return None;
        };
        let accounts = object.remove("accounts");
        section::normalise::<A>(&mut object, cx);
        let inherited = heritage::<A>(&object);
        cx.taken = vec!["accounts"];
        let base = section::decode_object(object, span, cx);
        let Some(mut accounts) = accounts else {
            let accounts = BTreeMap::new();
            return Some(Self { base, accounts });
        };
        let span = accounts.key_span;
        let accounts = cx.below("accounts", |cx| {
            cx.set.add(cx.path.clone(), accounts.node.span);
            if let Value::Object(entries) = &mut accounts.node.value
                && section::affordable(&inherited, entries.0.len(), span, cx)
            {
                for entry in &mut entries.0 {
                    if let Value::Object(own) = &mut entry.node.value {
                        cx.below(&entry.key, |cx| section::normalise::<A>(own, cx));
                        let missing = inherited
                            .0
                            .iter()
                            .filter(|member| own.get(&member.key).is_none());
                        let missing: Vec<_> = missing.cloned().collect();
                        own.0.extend(missing);
                    }
                }
            }
            BTreeMap::decode(accounts.node, cx)
        })?;
        Some(Self { base, accounts })
    }

    fn show(&self) -> Json {
        let mut shown = self.base.show();
        if let (Json::Object(shown), false) = (&mut shown, self.accounts.is_empty()) {
            shown.insert("accounts".to_owned(), self.accounts.show());
        }
        shown
    }
}

fn accounts_key<A: Section>() -> &'static crate::shape::Key {
    const {
        &crate::shape::Key {
            name: "accounts",
            doc: " Further accounts by name. Each inherits what it does not say itself, but never a secret.",
            required: false,
            later: None,
            info: BTreeMap::<AccountId, A>::info,
            default: || Json::Null,
        }
    }
}

/// What accounts inherit: everything that the rows do not mark as secret.
fn heritage<A: Section>(object: &Object) -> Object {
    let secret = |name: &str| {
        let mut keys = A::SPEC.keys.iter();
        keys.any(|key| key.name == name && (key.info)().secret)
    };
    let open = object.0.iter().filter(|member| !secret(&member.key));
    Object(open.cloned().collect())
}

/// `requireMention` of the group `*` goes to every group, and that of a group to those inside, that have none of their own.
pub(super) fn spread_mention_gate(channel: &mut Object, _: &mut Cx) {
    for (groups, inside) in [("groups", "topics"), ("guilds", "channels")] {
        if let Some(groups) = channel.object_mut(groups) {
            spread_gate(groups, inside);
        }
    }
}

fn spread_gate(groups: &mut Object, inside: &str) {
    let everywhere = groups
        .object_mut("*")
        .and_then(|group| gate(group))
        .map(|gate| Object(vec![gate]));
    for member in &mut groups.0 {
        let Value::Object(group) = &mut member.node.value else {
            continue;
        };
        if let Some(everywhere) = &everywhere {
            overlay(everywhere, group);
        }
        let Some(gate) = gate(group).map(|gate| Object(vec![gate])) else {
            continue;
        };
        for inner in group
            .object_mut(inside)
            .into_iter()
            .flat_map(|inner| &mut inner.0)
        {
            if let Value::Object(inner) = &mut inner.node.value {
                overlay(&gate, inner);
            }
        }
    }
}

fn gate(group: &Object) -> Option<Member> {
    group.get("requireMention").cloned()
}

/// `channels.defaults.groupPolicy` goes to every channel that has none of its own.
fn spread_group_policy(channels: &mut Object, _: &mut Cx) {
    let Some(mut defaults) = channels.get("defaults").cloned() else {
        return;
    };
    let Value::Object(defaults) = &mut defaults.node.value else {
        return;
    };
    let Some(policy) = defaults.remove("groupPolicy") else {
        return;
    };
    for name in CHANNELS {
        if let Some(channel) = channels.object_mut(name) {
            overlay(&Object(vec![policy.clone()]), channel);
        }
    }
}
