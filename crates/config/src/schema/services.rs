//! What each chat service has of its own: groups, log-in, program or server.
//! Refuses key directories, remote hosts and command lines: a channel reaches its service and nothing else.

use std::collections::BTreeMap;

use super::channels::*;
use super::gateway::{FilePath, url};
use super::tools::ToolPolicy;
use crate::secret::SecretField;
use crate::section::section;
use crate::senders::*;
use crate::types::{Int, MapKey, choice, texts};

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
    /// An https:// address.
    HttpsUrl: "an https:// address", "https://bot.example.org/hook", |text| is_http_url(text) && text.starts_with("https:"), matches "^https://";
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

group! { WhatsAppGroupRules, WhatsAppSender {} }
group! { TelegramGroupRules, TelegramSender, inside topics {
    /// Topics of a forum, by thread id.
    "topics" topics: BTreeMap<TelegramGroup, TelegramTopic>;
} }
group! { SignalGroupRules, SignalSender {} }
group! { IMessageGroupRules, IMessageSender {} }
group! { TelegramTopic, TelegramSender {} }

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
        "tokenFile" token_file: Option<FilePath>, later "token files";
        /// The Bot API server.
        "apiRoot" api_root: HttpUrl = HttpUrl::from_checked("https://api.telegram.org");
        /// Trust @names in `allowFrom` without pairing, although names can change hands.
        "trustNames" trust_names: bool = false;
        /// Receive by web hook at this address instead of polling.
        "webhookUrl" webhook_url: Option<HttpsUrl>, later "Telegram web hooks";
        /// What Telegram has to send along with each call.
        "webhookSecret" webhook_secret: Option<SecretField>, later "Telegram web hooks";
        /// Which parts of an answer quote the message.
        "replyToMode" reply_to_mode: ReplyTo = ReplyTo::First;
        /// Show the answer in a draft while it is written.
        "streamMode" stream_mode: StreamMode = StreamMode::Partial;
        /// A proxy for this channel.
        "proxy" proxy: Option<ProxyUrl>, later "proxies";
    }
    also {}
    refuse {}
    view telegram_view
}

fn telegram_view<'a>(own: &'a Telegram, view: AccountView<'a>) -> AccountView<'a> {
    AccountView {
        trust_names: own.trust_names,
        ..view
    }
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
    view discord_view
}

/// Servers and group conversations as groups. What Discord has outside of servers counts as a server called `@me`, which
/// is how Discord writes it.
fn discord_view<'a>(own: &'a Discord, view: AccountView<'a>) -> AccountView<'a> {
    let groups: Vec<_> = { own.guilds.iter() }
        .map(|(id, guild)| guild.view(id.as_key()))
        .chain(view.groups)
        .collect();
    let only = users(&own.dm.group_channels);
    let inside = { only.iter().flatten() }.map(|channel| plain("channels", channel.as_str()));
    let outside = GroupView {
        enabled: own.dm.group_enabled,
        only_listed: only.is_some(),
        inside: inside.collect(),
        ..plain("dm", "@me")
    };
    // Without a list every server counts, and one more row must not change that.
    let every = groups.is_empty().then(|| plain("guilds", "*"));
    AccountView {
        dm_policy: match own.dm.enabled {
            true => view.dm_policy,
            false => DmPolicy::Disabled,
        },
        groups,
        implied: every.into_iter().chain([outside]).collect(),
        ..view
    }
}

fn users(list: &Option<Vec<DiscordSender>>) -> Option<Vec<&Sender>> {
    { list.as_deref() }.map(|list| senders(list, DiscordSender::sender))
}

/// A place without rules of its own.
fn plain<'a>(section: &'static str, id: &'a str) -> GroupView<'a> {
    GroupView {
        section,
        id,
        enabled: true,
        require_mention: true,
        allow_from: None,
        tools: None,
        tools_by_sender: Vec::new(),
        inside: Vec::new(),
        only_listed: false,
    }
}

impl Guild {
    fn view<'a>(&'a self, id: &'a str) -> GroupView<'a> {
        let channel = |(id, channel): (&'a DiscordPlace, &'a GuildChannel)| GroupView {
            enabled: channel.allow && channel.enabled,
            require_mention: channel.require_mention,
            allow_from: users(&channel.users),
            tools: channel.tools.as_ref(),
            ..plain("channels", id.as_key())
        };
        GroupView {
            require_mention: self.require_mention,
            allow_from: users(&self.users),
            tools: self.tools.as_ref(),
            tools_by_sender: { self.tools_by_sender.iter() }
                .map(|(who, tools)| (who.sender(), tools))
                .collect(),
            inside: self.channels.iter().map(channel).collect(),
            only_listed: !self.channels.is_empty(),
            ..plain("guilds", id)
        }
    }
}

group! { DiscordGroupRules, DiscordSender {} }

section! {
    /// Direct messages on Discord.
    DiscordDm {
        /// Take direct messages at all.
        "enabled" enabled: bool = true;
        /// Take messages of group conversations.
        "groupEnabled" group_enabled: bool = false;
        /// The group conversations; all when unset, none when empty.
        "groupChannels" group_channels: Option<Vec<DiscordSender>>;
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
        /// Who is answered; `groupAllowFrom` when unset, nobody when empty.
        "users" users: Option<Vec<DiscordSender>>;
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
        /// Who is answered here; those of the server when unset, nobody when empty.
        "users" users: Option<Vec<DiscordSender>>;
        /// Answer only when the bot is mentioned; as in the server when unset.
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
