//! `session`, `messages` and `pairing`: how conversations are kept apart, collected, reset and kept.
//! Everybody has a conversation of his own by default; only the owner's own conversations can be one.

use std::collections::BTreeMap;

use super::agents::{GroupChat, TimeSpan};
use super::tools::ChannelName;
use crate::section::section;
use crate::senders::Identity;
use crate::types::{Int, MapKey, choice, texts};

choice! {
    /// Which direct messages are one conversation.
    DmScope {
        /// All of the owner's; everybody else has his own per channel.
        Main = "main",
        /// Those of one person, on whatever channel.
        PerPeer = "per-peer",
        /// Those of one person on one channel.
        PerChannelPeer = "per-channel-peer",
        /// Those of one person on one account of a channel.
        PerAccountChannelPeer = "per-account-channel-peer",
    }
}

choice! {
    /// When a conversation starts anew.
    ResetMode {
        /// At a fixed hour.
        Daily = "daily",
        /// After a pause.
        Idle = "idle",
    }
}

choice! {
    /// Whether something may be sent.
    SendAction {
        /// Yes.
        Allow = "allow",
        /// No.
        Deny = "deny",
    }
}

choice! {
    /// A kind of conversation.
    ChatType {
        /// Direct.
        Direct = "direct",
        /// A group.
        Group = "group",
        /// A channel of a server.
        Channel = "channel",
    }
}

choice! {
    /// What happens to messages that come while a turn runs.
    QueueMode {
        /// They are the next turn together.
        Collect = "collect",
        /// Each is a turn of its own.
        Followup = "followup",
        /// They go into the running turn.
        Steer = "steer",
        /// Both.
        SteerBacklog = "steer-backlog",
        /// The running turn ends.
        Interrupt = "interrupt",
    }
}

choice! {
    /// What goes when the queue is full.
    QueueDrop {
        /// The old ones, as a summary.
        Summarize = "summarize",
        /// The oldest one.
        Old = "old",
        /// The new one.
        New = "new",
    }
}

choice! {
    /// Which messages get a reaction at once.
    AckScope {
        /// Those in groups that mention the bot.
        GroupMentions = "group-mentions",
        /// All in groups.
        GroupAll = "group-all",
        /// Direct ones.
        Direct = "direct",
        /// All.
        All = "all",
    }
}

texts! {
    /// A chat command that resets: one word.
    Trigger: "one word", "/new", |text| {
        !text.is_empty() && text.len() <= 64 && text.chars().all(|c| !c.is_whitespace() && !c.is_control())
    };
    /// The last part of the main session's key.
    MainKey: "1 to 64 characters of a-z, 0-9, _ and -, starting with a letter or digit", "main", |text| {
        clawdbot_identity::AgentId::parse(text).is_ok()
    };
    /// A person who is known under several identities. A name of digits could be somebody's number.
    PersonName: "1 to 64 characters of a-z, 0-9, _ and -, starting with a letter or digit and not all digits", "alice", is_person;
}

fn is_person(text: &str) -> bool {
    let name = clawdbot_identity::AgentId::parse(text).is_ok();
    name && !text.bytes().all(|b| b.is_ascii_digit())
}

impl MapKey for PersonName {
    const SHOWN: &'static str = "<person>";
    const SAMPLE: &'static str = "alice";

    fn parse_key(text: &str) -> Result<Self, String> {
        match is_person(text) {
            true => Ok(Self::from_checked(text)),
            false => Err("must be 1 to 64 characters of a-z, 0-9, _ and -, starting with a letter or digit and not all digits".to_owned()),
        }
    }

    fn as_key(&self) -> &str {
        self.as_str()
    }
}

section! {
    /// How conversations are kept apart, reset and kept.
    Session {
        /// Which direct messages are one conversation.
        "dmScope" dm_scope: DmScope = DmScope::PerChannelPeer;
        /// Identities that are the same person.
        "identityLinks" identity_links: BTreeMap<PersonName, Vec<Identity>>;
        /// When a conversation starts anew.
        "reset" reset: Reset, later "session settings";
        /// The same for kinds of conversations.
        "resetByType" reset_by_type: ResetByType, later "session settings";
        /// The same for channels.
        "resetByChannel" reset_by_channel: BTreeMap<ChannelName, Reset>, later "session settings";
        /// Words that reset, besides /new and /reset.
        "resetTriggers" reset_triggers: Vec<Trigger>, later "session settings";
        /// Where the assistant may send of its own accord.
        "sendPolicy" send_policy: SendPolicy, later "session settings";
        /// The last part of the main session's key.
        "mainKey" main_key: MainKey = MainKey::from_checked("main");
        /// How long conversations are kept.
        "retention" retention: Retention, later "session settings";
    }
}

section! {
    /// When a conversation starts anew; with both, whichever comes first.
    Reset {
        /// The kind of rule.
        "mode" mode: ResetMode = ResetMode::Daily;
        /// The hour for `daily`, 0 to 23, in this machine's time.
        "atHour" at_hour: Int<0, 23> = Int::new(4);
        /// The pause for `idle`, in minutes.
        "idleMinutes" idle_minutes: Option<Int<1, 525600>>;
    }
}

section! {
    /// Reset rules for kinds of conversations.
    ResetByType {
        /// Direct conversations.
        "dm" dm: Option<Reset>;
        /// Groups.
        "group" group: Option<Reset>;
        /// Threads.
        "thread" thread: Option<Reset>;
    }
}

section! {
    /// Where the assistant may send of its own accord.
    SendPolicy {
        /// What holds when no rule fits.
        "default" default: SendAction = SendAction::Allow;
        /// The rules; one that denies wins.
        "rules" rules: Vec<SendRule>;
    }
}

section! {
    /// One rule.
    SendRule {
        /// What it does.
        @required "action" action: SendAction = SendAction::Deny;
        /// Where it fits; everywhere when unset.
        "match" r#match: SendMatch;
    }
}

section! {
    /// Where a rule fits; all that is said has to.
    SendMatch {
        /// The channel.
        "channel" channel: Option<ChannelName>;
        /// The kind of conversation.
        "chatType" chat_type: Option<ChatType>;
        /// The beginning of the session's key.
        "keyPrefix" key_prefix: Option<String>;
    }
}

section! {
    /// How long conversations are kept.
    Retention {
        /// In days.
        "maxAgeDays" max_age_days: Int<1, 36500> = Int::new(90);
        /// On disk altogether, in MB.
        "maxDiskMb" max_disk_mb: Int<1, 10000000> = Int::new(512);
        /// Keep them at all.
        "persist" persist: bool = true;
    }
}

section! {
    /// How messages are collected and answered.
    Messages {
        /// Messages that come while a turn runs.
        "queue" queue: Queue;
        /// Messages that come shortly after one another.
        "inbound" inbound: Inbound;
        /// Groups.
        "groupChat" group_chat: GroupChat;
        /// Put before every answer.
        "responsePrefix" response_prefix: Option<String>;
        /// Reaction to a message that will be answered.
        "ackReaction" ack_reaction: Option<String>, later "reactions";
        /// Which messages get it.
        "ackReactionScope" ack_reaction_scope: AckScope = AckScope::GroupMentions, later "reactions";
    }
    refuse { "tts" => "answers are not spoken; remove the key" }
}

section! {
    /// Messages that come while a turn runs.
    Queue {
        /// What happens to them.
        "mode" mode: QueueMode = QueueMode::Collect;
        /// The same for channels.
        "byChannel" by_channel: BTreeMap<ChannelName, QueueMode>;
        /// Quiet time before they are taken, in milliseconds.
        "debounceMs" debounce_ms: Int<0, 60000> = Int::new(1000);
        /// The same for channels.
        "debounceMsByChannel" debounce_ms_by_channel: BTreeMap<ChannelName, Int<0, 60000>>;
        /// Messages that may wait.
        "cap" cap: Int<1, 1000> = Int::new(20);
        /// What goes when there are more.
        "drop" drop: QueueDrop = QueueDrop::Summarize;
    }
}

section! {
    /// Messages that come shortly after one another.
    Inbound {
        /// They are one when less than this lies between them, in milliseconds.
        "debounceMs" debounce_ms: Int<0, 60000> = Int::new(0);
        /// The same for channels.
        "byChannel" by_channel: BTreeMap<ChannelName, Int<0, 60000>>;
    }
}

section! {
    /// Approval of senders.
    Pairing {
        /// How long an approval holds; for ever when unset.
        "approvalTtl" approval_ttl: Option<TimeSpan>;
    }
}
