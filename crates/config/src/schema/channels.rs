//! `channels`: who may write to the bot on which chat service, and how it answers there.
//! Closed by default: strangers have to pair, groups have to be listed, and in groups the bot has to be mentioned.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::gateway::{FilePath, host, is_loopback, url};
use super::tools::ToolPolicy;
use crate::json5::{Node, Object, Value};
use crate::secret::SecretField;
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

choice! {
    /// Which parts of an answer quote the message that it answers.
    ReplyTo {
        /// None.
        Off = "off",
        /// The first one.
        First = "first",
        /// Every one.
        All = "all",
    }
}

choice! {
    /// Whether a Telegram draft shows the answer while it is written.
    StreamMode {
        /// No.
        Off = "off",
        /// As it comes.
        Partial = "partial",
        /// In blocks.
        Block = "block",
    }
}

choice! {
    /// How iMessage sends.
    MessageService {
        /// By iMessage or SMS, as the Mac decides.
        Auto = "auto",
        /// By iMessage.
        IMessage = "imessage",
        /// By SMS.
        Sms = "sms",
    }
}

texts! {
    /// The name of one of several accounts of a channel.
    AccountId: "1 to 64 characters of a-z, 0-9, _ and -, starting with a letter or digit", "work", is_account;
    /// An http:// or https:// address.
    HttpUrl: "an http:// or https:// address", "https://api.example.org", is_http_url;
    /// An https:// address.
    HttpsUrl: "an https:// address", "https://bot.example.org/hook", |text| is_http_url(text) && text.starts_with("https:");
    /// Where signal-cli answers.
    DaemonUrl: "an http:// address or a unix: path", "http://127.0.0.1:8080", |text| {
        is_http_url(text) || text.strip_prefix("unix:").is_some_and(|path| path.starts_with('/'))
    };
    /// A proxy.
    ProxyUrl: "an http:// or socks5:// address", "socks5://127.0.0.1:1080", |text| {
        url(text).is_some_and(|(scheme, _, _)| matches!(scheme, "http" | "https" | "socks5"))
    };
    /// A program: its name or path, never a command line.
    Program: "the name or absolute path of a program, without arguments", "signal-cli", |text| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+');
        !text.is_empty() && !text.starts_with('-') && text.chars().all(allowed) && (text.starts_with('/') || !text.contains('/'))
    };
}

fn is_account(text: &str) -> bool {
    clawdbot_identity::AgentId::parse(text).is_ok()
}

fn is_http_url(text: &str) -> bool {
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
        "whatsapp" whatsapp: Option<Channel<WhatsApp>>;
        /// A Telegram bot.
        "telegram" telegram: Option<Channel<Telegram>>;
        /// A Discord bot.
        "discord" discord: Option<Channel<Discord>>;
        /// Signal, through signal-cli.
        "signal" signal: Option<Channel<Signal>>;
        /// iMessage, on a Mac.
        "imessage" imessage: Option<Channel<IMessage>>;
        /// iMessage, through a BlueBubbles server.
        "bluebubbles" bluebubbles: Option<Channel<BlueBubbles>>;
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
    ($group:ident, $sender:ty { $($more:tt)* }) => {
        section! {
            /// One group.
            $group {
                /// Listen to it.
                "enabled" enabled: bool = true;
                /// Answer only when the bot is mentioned.
                "requireMention" require_mention: bool = true;
                /// What the assistant may use here.
                "tools" tools: Option<ToolPolicy>;
                /// The same for single senders.
                "toolsBySender" tools_by_sender: BTreeMap<$sender, ToolPolicy>;
                /// Who is answered here; `groupAllowFrom` when empty.
                "allowFrom" allow_from: Vec<$sender>;
                /// Added to the assistant's instructions here.
                "systemPrompt" system_prompt: Option<String>;
                $($more)*
            }
            refuse { "skills" => "there are no skills; remove the key" }
        }
    };
}

group! { WhatsAppGroupRules, WhatsAppSender {} }
group! { TelegramGroupRules, TelegramSender {
    /// Topics of a forum, by thread id.
    "topics" topics: BTreeMap<TelegramGroup, TelegramTopic>;
} }
group! { SignalGroupRules, SignalSender {} }
group! { IMessageGroupRules, IMessageSender {} }
group! { TelegramTopic, TelegramSender {} }

/// Defines a channel: the keys that all have, with the channel's own identities and limits, and those of its own.
macro_rules! channel {
    (
        $(#[doc = $about:literal])+
        $name:ident, $sender:ty, groups $groups:ty,
        text $text:literal of $text_max:literal, history $history:literal, media $media:literal MB
        { $($more:tt)* }
        also { $($also:tt)* }
        refuse { $($refuse:tt)* }
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
                /// Who is answered in groups; `allowFrom` when empty.
                "groupAllowFrom" group_allow_from: Vec<$sender>;
                /// The groups; when there is any, all others are ignored.
                "groups" groups: $groups;
                /// Longest message in characters, up to what the service takes.
                "textChunkLimit" text_chunk_limit: Int<1, $text_max> = Int::new($text);
                /// Where a long answer is split.
                "chunkMode" chunk_mode: ChunkMode = ChunkMode::Length;
                /// Skipped group messages that the next answer sees.
                "historyLimit" history_limit: Int<0, 1000> = Int::new($history);
                /// Turns of a direct conversation that the assistant sees; all when unset.
                "dmHistoryLimit" dm_history_limit: Option<Int<0, 10000>>;
                /// Largest file that is fetched, in MB.
                "mediaMaxMb" media_max_mb: Int<1, 2000> = Int::new($media);
                /// Send an answer in blocks while it is written.
                "blockStreaming" block_streaming: bool = false;
                /// Tries to deliver a message.
                "retry" retry: Retry;
                /// Let chat commands of this channel change the configuration.
                "configWrites" config_writes: bool = false;
                $($more)*
            }
            also { "dm.policy" => "dmPolicy", "dm.allowFrom" => "allowFrom", $($also)* }
            refuse { $($refuse)* }
        }

        impl Account for $name {
            fn view(&self) -> AccountView<'_> {
                AccountView {
                    dm_policy: self.dm_policy,
                    allow_from: self.allow_from.iter().map(|entry| entry.sender()).collect(),
                    group_policy: self.group_policy,
                    group_allow_from: self.group_allow_from.iter().map(|entry| entry.sender()).collect(),
                    groups: self.groups.iter().map(|(id, group)| GroupView {
                        id: id.as_key(),
                        require_mention: group.require_mention,
                        tools: group.tools.as_ref(),
                    }).collect(),
                    config_writes: self.config_writes,
                }
            }
        }
    };
}

/// What all channels have in common, for whoever treats them alike.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountView<'a> {
    /// What happens to a direct message of somebody unknown.
    pub dm_policy: DmPolicy,
    /// Who may write direct messages.
    pub allow_from: Vec<&'a Sender>,
    /// Which groups are listened to.
    pub group_policy: GroupPolicy,
    /// Who is answered in groups.
    pub group_allow_from: Vec<&'a Sender>,
    /// The groups.
    pub groups: Vec<GroupView<'a>>,
    /// Let chat commands change the configuration.
    pub config_writes: bool,
}

/// What all groups have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupView<'a> {
    /// The id, or `*`.
    pub id: &'a str,
    /// Answer only when the bot is mentioned.
    pub require_mention: bool,
    /// What the assistant may use.
    pub tools: Option<&'a ToolPolicy>,
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

channel! {
    /// WhatsApp, as a linked device.
    WhatsApp, WhatsAppSender, groups BTreeMap<WhatsAppGroup, WhatsAppGroupRules>,
    text 4000 of 65536, history 50, media 50 MB
    {
        /// Show the sender that his message was read.
        "sendReadReceipts" send_read_receipts: bool = true;
        /// The linked number is the owner's own, who writes to himself.
        "selfChatMode" self_chat_mode: bool = false;
        /// Reaction to a message that will be answered.
        "ackReaction" ack_reaction: Option<AckReaction>;
        /// Put before every answer.
        "messagePrefix" message_prefix: Option<String>;
        /// Wait this long for more messages of the same sender, in milliseconds.
        "debounceMs" debounce_ms: Int<0, 60000> = Int::new(0);
    }
    also {}
    refuse { "authDir" => "the keys of the linked device are kept by the broker, not in a directory; remove the key" }
}

section! {
    /// Reaction to a message that will be answered.
    AckReaction {
        /// The emoji.
        "emoji" emoji: Option<String>;
        /// In direct conversations.
        "direct" direct: bool = true;
        /// In groups.
        "group" group: AckInGroups = AckInGroups::Mentions;
    }
    string "emoji";
}

choice! {
    /// Which group messages get a reaction.
    AckInGroups {
        /// All that are seen.
        Always = "always",
        /// Those that mention the bot.
        Mentions = "mentions",
        /// None.
        Never = "never",
    }
}

channel! {
    /// A Telegram bot.
    Telegram, TelegramSender, groups BTreeMap<TelegramGroup, TelegramGroupRules>,
    text 4000 of 4096, history 50, media 5 MB
    {
        /// The bot's token; TELEGRAM_BOT_TOKEN when unset.
        "botToken" bot_token: Option<SecretField>;
        /// A file that holds the token.
        "tokenFile" token_file: Option<FilePath>;
        /// The Bot API server.
        "apiRoot" api_root: HttpUrl = HttpUrl::from_checked("https://api.telegram.org");
        /// Trust @names in `allowFrom` without pairing, although names can change hands.
        "trustNames" trust_names: bool = false;
        /// Receive by web hook at this address instead of polling.
        "webhookUrl" webhook_url: Option<HttpsUrl>;
        /// What Telegram has to send along with each call.
        "webhookSecret" webhook_secret: Option<SecretField>;
        /// Which parts of an answer quote the message.
        "replyToMode" reply_to_mode: ReplyTo = ReplyTo::First;
        /// Show the answer in a draft while it is written.
        "streamMode" stream_mode: StreamMode = StreamMode::Partial;
        /// A proxy for this channel.
        "proxy" proxy: Option<ProxyUrl>;
    }
    also {}
    refuse {}
}

channel! {
    /// A Discord bot.
    Discord, DiscordSender, groups BTreeMap<DiscordPlace, DiscordGroupRules>,
    text 2000 of 2000, history 20, media 8 MB
    {
        /// The bot's token; DISCORD_BOT_TOKEN when unset.
        "token" token: Option<SecretField>;
        /// Direct messages.
        "dm" dm: DiscordDm;
        /// The servers; when there is any, all others are ignored.
        "guilds" guilds: BTreeMap<DiscordPlace, Guild>;
        /// Privileged intents.
        "intents" intents: Intents;
        /// Answer other bots.
        "allowBots" allow_bots: bool = false;
        /// Which parts of an answer quote the message.
        "replyToMode" reply_to_mode: ReplyTo = ReplyTo::Off;
        /// Approval of commands by direct message.
        "execApprovals" exec_approvals: DiscordApprovals;
    }
    also {}
    refuse {}
}

group! { DiscordGroupRules, DiscordSender {} }

section! {
    /// Direct messages on Discord.
    DiscordDm {
        /// Take direct messages at all.
        "enabled" enabled: bool = true;
        /// Take messages of group conversations.
        "groupEnabled" group_enabled: bool = false;
        /// The group conversations; all when empty.
        "groupChannels" group_channels: Vec<DiscordSender>;
    }
}

section! {
    /// Privileged intents, which have to be switched on in Discord's developer portal too.
    Intents {
        /// See who is online.
        "presence" presence: bool = false;
        /// See members come and go.
        "guildMembers" guild_members: bool = false;
    }
}

section! {
    /// Approval of commands by direct message on Discord.
    DiscordApprovals {
        /// Ask there.
        "enabled" enabled: bool = false;
        /// Whom to ask.
        "approvers" approvers: Vec<DiscordSender>;
        /// Only for these agents.
        "agentFilter" agent_filter: Vec<clawdbot_identity::AgentId>;
        /// Only for sessions whose key contains one of these.
        "sessionFilter" session_filter: Vec<String>;
    }
}

section! {
    /// A Discord server.
    Guild {
        /// Its short name.
        "slug" slug: Option<String>;
        /// Who is answered; everybody in a listed channel when empty.
        "users" users: Vec<DiscordSender>;
        /// Answer only when the bot is mentioned.
        "requireMention" require_mention: bool = true;
        /// What the assistant may use here.
        "tools" tools: Option<ToolPolicy>;
        /// The same for single senders.
        "toolsBySender" tools_by_sender: BTreeMap<DiscordSender, ToolPolicy>;
        /// The channels; when there is any, all others are ignored.
        "channels" channels: BTreeMap<DiscordPlace, GuildChannel>;
    }
}

section! {
    /// A channel of a Discord server.
    GuildChannel {
        /// Listen to it.
        "allow" allow: bool = true;
        /// Listen to it; the same as `allow`, both have to be true.
        "enabled" enabled: bool = true;
        /// Who is answered here.
        "users" users: Vec<DiscordSender>;
        /// Answer only when the bot is mentioned.
        "requireMention" require_mention: bool = true;
        /// What the assistant may use here.
        "tools" tools: Option<ToolPolicy>;
        /// Added to the assistant's instructions here.
        "systemPrompt" system_prompt: Option<String>;
    }
    refuse { "skills" => "there are no skills; remove the key" }
}

channel! {
    /// Signal, through signal-cli.
    Signal, SignalSender, groups BTreeMap<SignalGroup, SignalGroupRules>,
    text 4000 of 4000, history 50, media 8 MB
    {
        /// The bot's own number.
        "account" account: Option<SignalSender>;
        /// Where signal-cli answers.
        "httpUrl" http_url: DaemonUrl = DaemonUrl::from_checked("http://127.0.0.1:8080");
        /// The program.
        "cliPath" cli_path: Program = Program::from_checked("signal-cli");
        /// Start the program.
        "autoStart" auto_start: bool = true;
        /// Show the sender that his message was read.
        "sendReadReceipts" send_read_receipts: bool = false;
    }
    also {}
    refuse {}
}

channel! {
    /// iMessage, on a Mac.
    IMessage, IMessageSender, groups BTreeMap<IMessageGroup, IMessageGroupRules>,
    text 4000 of 65536, history 50, media 16 MB
    {
        /// The helper program.
        "cliPath" cli_path: Program = Program::from_checked("imsg");
        /// The message store.
        "dbPath" db_path: Option<FilePath>;
        /// How to send.
        "service" service: MessageService = MessageService::Auto;
        /// Fetch attachments.
        "includeAttachments" include_attachments: bool = false;
    }
    also {}
    refuse { "remoteHost" => "no other host is reached from a channel; run the gateway on the Mac, or use bluebubbles" }
}

channel! {
    /// iMessage, through a BlueBubbles server.
    BlueBubbles, IMessageSender, groups BTreeMap<IMessageGroup, IMessageGroupRules>,
    text 4000 of 65536, history 50, media 8 MB
    {
        /// The server.
        "serverUrl" server_url: Option<HttpUrl>;
        /// Its password.
        "password" password: Option<SecretField>;
    }
    also {}
    refuse {}
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
        if let Value::Object(entries) = &mut accounts.node.value {
            for entry in &mut entries.0 {
                if let Value::Object(own) = &mut entry.node.value {
                    section::normalise::<A>(own, cx);
                    let missing = inherited
                        .0
                        .iter()
                        .filter(|member| own.get(&member.key).is_none());
                    let missing: Vec<_> = missing.cloned().collect();
                    own.0.extend(missing);
                }
            }
        }
        let accounts = cx.below("accounts", |cx| {
            cx.set.add(cx.path.clone(), accounts.node.span);
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
