//! Who may talk through a channel: one pure function from the rules, what is known of people, and the facts of a message
//! to a verdict. Default deny: what no rule lets in stays out, and bots and people without an identity always do. All
//! channels have the same rules; what differs between them is how they are written down.

use clawdbot_config::{DmPolicy, GroupPolicy, Sender};
use clawdbot_identity::Class;
use clawdbot_identity::SessionKey;
use clawdbot_identity::command::{self, Who};

use crate::denied::Denied;
use crate::distil::is_chat;
use crate::handle::Standing;
use crate::settings::{AccountRules, Channel, Group, Settings};

mod again;
mod session;

pub(crate) use again::{Had, again};

/// A message as its worker describes it; ids have the channel's form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) account: &'a str,
    pub(crate) place: Place<'a>,
    /// All ids of the conversation.
    pub(crate) chats: &'a [String],
    pub(crate) sender: Person<'a>,
    pub(crate) mentioned: bool,
    pub(crate) replies_to_bot: bool,
    /// Whether the platform marks mentions at all.
    pub(crate) marks_mentions: bool,
    pub(crate) backlog: bool,
    /// What was written, or its beginning.
    pub(crate) text: &'a str,
}

/// Where it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    Direct,
    /// The thread is empty outside of topics.
    Group {
        id: &'a str,
        thread: &'a str,
    },
}

/// Who wrote it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Person<'a> {
    pub(crate) id: &'a str,
    /// Other ids of the same person. Lists may name any of them; a conversation has the first.
    pub(crate) also: &'a [String],
    /// In lower case, without @; may be empty. It may change hands.
    pub(crate) username: &'a str,
    pub(crate) is_bot: bool,
    pub(crate) is_anonymous: bool,
}

impl<'a> Person<'a> {
    fn ids(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        std::iter::once(self.id).chain(self.also.iter().map(String::as_str))
    }
}

/// What the pairing store knows of one account.
pub(crate) trait People {
    /// Whether the owner has approved of a person, and that still holds.
    fn is_approved(&self, id: &str) -> bool;
    /// Whose a name was when the owner approved of it.
    fn pinned(&self, name: &str) -> Option<&str>;
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes to this session.
    Admit {
        class: Class,
        session: SessionKey,
        standing: Standing,
    },
    /// The sender has to be approved first. The listed name under which he came is pinned then.
    Pair { name: Option<String> },
    /// It is dropped.
    Ignore(Denied),
}

/// Judges a message.
pub(crate) fn judge(
    settings: &Settings,
    channel: &Channel,
    people: &impl People,
    message: &Message<'_>,
) -> Verdict {
    let Some(account) = channel.account(message.account) else {
        return ignore(
            "channel.account",
            "the configuration does not run this account",
        );
    };
    if message.sender.is_bot {
        return ignore("sender.bot", "bots are not answered");
    }
    if message.sender.is_anonymous {
        return ignore(
            "sender.anonymous",
            "the sender writes as a group or channel, so nobody knows who it is",
        );
    }
    let view = View {
        rules: &account.rules,
        people,
        sender: message.sender,
        chats: message.chats,
    };
    let outcome = match message.place {
        Place::Direct => direct(settings, channel, &view, message),
        Place::Group { id, thread } => group(channel, &view, id, thread).and_then(|entered| {
            if !entered.gated || is_called(settings, channel, message, &entered)? {
                return Ok(Entry {
                    class: Class::Guest,
                    standing: entered.standing,
                });
            }
            Err(ignore(
                "group.no_mention",
                "the bot is not mentioned (requireMention)",
            ))
        }),
    };
    match outcome {
        Ok(Entry { class, standing }) => {
            match session::key(settings, channel, message, class, |entry| view.is(entry)) {
                Ok(session) => Verdict::Admit {
                    class,
                    session,
                    standing,
                },
                Err(error) => ignore("session.key", &error.to_string()),
            }
        }
        Err(verdict) => verdict,
    }
}

struct Entry {
    class: Class,
    standing: Standing,
}

/// What lets somebody write in a group.
struct Entered {
    standing: Standing,
    /// Whether the bot has to be mentioned.
    gated: bool,
}

struct View<'a, P> {
    rules: &'a AccountRules,
    people: &'a P,
    sender: Person<'a>,
    chats: &'a [String],
}

impl<P: People> View<'_, P> {
    /// Whether an entry names the sender himself: one of his ids, or a name that was pinned to one.
    fn is(&self, entry: &Sender) -> bool {
        let mut ids = self.sender.ids();
        match entry {
            Sender::Any => false,
            Sender::Id(id) => ids.any(|own| own == id),
            Sender::Name(name) => ids.any(|own| self.people.pinned(name) == Some(own)),
        }
    }

    /// Whether the owner has approved of the sender, under the id that he had then.
    fn is_approved(&self) -> bool {
        self.sender.ids().any(|id| self.people.is_approved(id))
    }

    /// Whether an entry names the conversation, whoever writes in it.
    fn is_here(&self, entry: &Sender) -> bool {
        is_chat(entry) && self.chats.iter().any(|chat| chat == entry.as_str())
    }

    /// The listed name that the sender bears today, if it is nobody's yet.
    fn unpinned<'l>(&self, list: &'l [Sender]) -> Option<&'l str> {
        list.iter().find_map(|entry| match entry {
            Sender::Name(name)
                if !self.sender.username.is_empty()
                    && name.strip_prefix('@') == Some(self.sender.username)
                    && self.people.pinned(name).is_none() =>
            {
                Some(name.as_str())
            }
            _ => None,
        })
    }

    /// Whether a list lets the sender in, `*` apart.
    fn lists(&self, list: &[Sender]) -> bool {
        list.iter()
            .any(|entry| self.is(entry) || self.is_here(entry))
            || (self.rules.trust_names && self.unpinned(list).is_some())
    }
}

fn direct<P: People>(
    settings: &Settings,
    channel: &Channel,
    view: &View<'_, P>,
    message: &Message<'_>,
) -> Result<Entry, Verdict> {
    let rules = view.rules;
    if rules.dm == DmPolicy::Disabled {
        return Err(ignore(
            "dm.disabled",
            "direct messages are switched off (dmPolicy)",
        ));
    }
    if is_owner(settings, channel, view) {
        return Ok(Entry {
            class: Class::Main,
            standing: Standing::Owner,
        });
    }
    let guest = |standing| {
        Ok(Entry {
            class: Class::Guest,
            standing,
        })
    };
    if view.lists(&rules.allow_from) || view.is_approved() {
        return guest(Standing::Approved);
    }
    let everybody = rules.allow_from.contains(&Sender::Any);
    let name = view.unpinned(&rules.allow_from);
    match rules.dm {
        DmPolicy::Open if everybody => guest(Standing::Stranger),
        // A listed name is worth asking the owner about, whoever bears it.
        DmPolicy::Pairing => pair(message, name),
        _ if name.is_some() => pair(message, name),
        _ => Err(ignore("dm.not_listed", "the sender is not in allowFrom")),
    }
}

fn pair<T>(message: &Message<'_>, name: Option<&str>) -> Result<T, Verdict> {
    Err(match message.backlog {
        true => ignore(
            "pairing.backlog",
            "the sender is not approved, and the message is older than the connection",
        ),
        false => Verdict::Pair {
            name: name.map(str::to_owned),
        },
    })
}

/// Whether the sender is the owner: named as such, else the single person that the channel's own list names.
fn is_owner<P: People>(settings: &Settings, channel: &Channel, view: &View<'_, P>) -> bool {
    match (&settings.owners, channel.people.as_slice()) {
        (Some(owners), _) => owners
            .iter()
            .any(|owner| owner.channel() == channel.name && view.is(owner.sender())),
        (None, [only]) => view.is(only),
        (None, _) => false,
    }
}

fn group<P: People>(
    channel: &Channel,
    view: &View<'_, P>,
    id: &str,
    thread: &str,
) -> Result<Entered, Verdict> {
    let rules = view.rules;
    if rules.group == GroupPolicy::Disabled {
        return Err(ignore(
            "group.disabled",
            "groups are switched off (groupPolicy)",
        ));
    }
    let not_listed = || ignore("group.not_listed", "the group is not in groups");
    // A channel of a server stands inside of it, a topic inside of its group.
    let (outer, inner) = session::in_server(channel, id).unwrap_or((id, thread));
    let row = find(&rules.groups, |own| {
        own == outer || view.chats.iter().any(|chat| chat == own)
    });
    if row.is_none() && !rules.groups.is_empty() {
        return Err(not_listed());
    }
    let within = row
        .filter(|_| !inner.is_empty())
        .and_then(|row| find(&row.inside, |own| own == inner));
    if within.is_none() && row.is_some_and(|row| row.only_listed) {
        return Err(not_listed());
    }
    let rows = || within.into_iter().chain(row);
    if rows().any(|row| !row.enabled) {
        return Err(ignore(
            "group.off",
            "the group or topic is switched off (enabled)",
        ));
    }
    let own = rows().find_map(|row| row.allow_from.as_ref());
    let list = own.unwrap_or(&rules.group_allow_from);
    let listed = view.lists(list);
    // An open group asks nobody, unless it has a list of its own.
    let open = rules.group == GroupPolicy::Open && own.is_none();
    if !(listed || open || list.contains(&Sender::Any)) {
        return Err(ignore(
            "group.sender",
            "the sender is not among those who are answered in this group (groupAllowFrom)",
        ));
    }
    Ok(Entered {
        standing: match listed {
            true => Standing::Approved,
            false => Standing::Stranger,
        },
        gated: rows().next().is_none_or(|row| row.require_mention),
    })
}

/// The row of a place, else that of all others.
fn find(groups: &[Group], is: impl Fn(&str) -> bool) -> Option<&Group> {
    let named = groups.iter().find(|group| is(&group.id));
    named.or_else(|| groups.iter().find(|group| group.id == "*"))
}

/// Whether a message in a group is for the bot: it is mentioned or answered, by a pattern too, or somebody who is allowed
/// here gives a command.
///
/// # Errors
/// When nobody could tell, since the platform marks nothing and there are no patterns.
fn is_called(
    settings: &Settings,
    channel: &Channel,
    message: &Message<'_>,
    entered: &Entered,
) -> Result<bool, Verdict> {
    if message.mentioned || message.replies_to_bot {
        return Ok(true);
    }
    let commands = settings.commands && entered.standing == Standing::Approved;
    let command = commands.then(|| command::read(message.text)).flatten();
    if command.is_some_and(|(row, _)| row.is_for(Who::Approved)) {
        return Ok(true);
    }
    let id = session::agent(settings, channel, message);
    let agent = settings.agents.iter().find(|agent| agent.id == *id);
    let patterns = agent.map(|agent| &agent.mention);
    if patterns.is_none_or(|patterns| patterns.is_empty()) && !message.marks_mentions {
        return Err(ignore(
            "group.no_detection",
            "nothing tells whether the bot is mentioned: this platform does not mark it and there are no mentionPatterns",
        ));
    }
    Ok(patterns.is_some_and(|patterns| patterns.hit(message.text)))
}

fn ignore(rule: &'static str, message: &str) -> Verdict {
    Verdict::Ignore(Denied::new(rule, message))
}

#[cfg(test)]
mod channels_tests;
#[cfg(test)]
mod lists_tests;
#[cfg(test)]
mod places_tests;
#[cfg(test)]
mod sequences_tests;
#[cfg(test)]
mod tests;
