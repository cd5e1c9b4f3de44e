//! Who may talk through a channel: one pure function from the rules, what is known of people, and the facts of a message
//! to a verdict. Default deny: what no rule lets in stays out, and bots and people without an identity always do.

use clawdbot_config::{DmPolicy, GroupPolicy, PeerKind, Sender};
use clawdbot_identity::{AgentId, Class, SessionKey};

use crate::denied::Denied;
use crate::distil::DEFAULT_ACCOUNT;
use crate::handle::Standing;
use crate::settings::{AccountRules, Channel, Group, Settings};

/// A message as its worker describes it; ids have the channel's form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) account: &'a str,
    pub(crate) place: Place<'a>,
    pub(crate) sender: Person<'a>,
    pub(crate) mentioned: bool,
    pub(crate) replies_to_bot: bool,
    pub(crate) backlog: bool,
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
    /// In lower case, without @; may be empty. It may change hands.
    pub(crate) username: &'a str,
    pub(crate) is_bot: bool,
    pub(crate) is_anonymous: bool,
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
    };
    let outcome = match message.place {
        Place::Direct => direct(settings, channel, &view, message),
        Place::Group { id, thread } => group(&view, id, thread, message).map(|standing| Entry {
            class: Class::Guest,
            standing,
        }),
    };
    match outcome {
        Ok(entry) => admit(settings, channel, message, entry),
        Err(verdict) => verdict,
    }
}

struct Entry {
    class: Class,
    standing: Standing,
}

struct View<'a, P> {
    rules: &'a AccountRules,
    people: &'a P,
    sender: Person<'a>,
}

impl<P: People> View<'_, P> {
    /// Whether an entry names the sender himself: his id, or a name that was pinned to it.
    fn is(&self, entry: &Sender) -> bool {
        match entry {
            Sender::Any => false,
            Sender::Id(id) => id == self.sender.id,
            Sender::Name(name) => self.people.pinned(name) == Some(self.sender.id),
        }
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
        list.iter().any(|entry| self.is(entry))
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
    if view.lists(&rules.allow_from) || view.people.is_approved(view.sender.id) {
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
    match (settings.owners.as_slice(), channel.people.as_slice()) {
        ([], [only]) => view.is(only),
        (owners, _) => owners
            .iter()
            .any(|owner| owner.channel() == channel.name && view.is(owner.sender())),
    }
}

fn group<P: People>(
    view: &View<'_, P>,
    id: &str,
    thread: &str,
    message: &Message<'_>,
) -> Result<Standing, Verdict> {
    let rules = view.rules;
    if rules.group == GroupPolicy::Disabled {
        return Err(ignore(
            "group.disabled",
            "groups are switched off (groupPolicy)",
        ));
    }
    let find = |groups: &[Group], id: &str| groups.iter().position(|group| group.id == id);
    let row = find(&rules.groups, id).or_else(|| find(&rules.groups, "*"));
    let row = row.map(|at| &rules.groups[at]);
    if row.is_none() && !rules.groups.is_empty() {
        return Err(ignore("group.not_listed", "the group is not in groups"));
    }
    let topic = row.and_then(|row| find(&row.topics, thread).map(|at| &row.topics[at]));
    let rows = || topic.into_iter().chain(row);
    if rows().any(|row| !row.enabled) {
        return Err(ignore(
            "group.off",
            "the group or topic is switched off (enabled)",
        ));
    }
    let own = rows()
        .map(|row| &row.allow_from)
        .find(|list| !list.is_empty());
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
    let gated = rows().next().is_none_or(|row| row.require_mention);
    if gated && !message.mentioned && !message.replies_to_bot {
        return Err(ignore(
            "group.no_mention",
            "the bot is not mentioned (requireMention)",
        ));
    }
    Ok(match listed {
        true => Standing::Approved,
        false => Standing::Stranger,
    })
}

fn admit(
    settings: &Settings,
    channel: &Channel,
    message: &Message<'_>,
    Entry { class, standing }: Entry,
) -> Verdict {
    let agent = agent(settings, channel, message);
    let (name, sender) = (channel.name, message.sender.id);
    let session = match (class, message.place) {
        (Class::Main, _) => Ok(SessionKey::main(agent)),
        (Class::Guest, Place::Direct) if message.account == DEFAULT_ACCOUNT => {
            SessionKey::parse(&format!("agent:{agent}:{name}:dm:{sender}"))
        }
        (Class::Guest, Place::Direct) => SessionKey::parse(&format!(
            "agent:{agent}:{name}:{}:dm:{sender}",
            message.account
        )),
        (Class::Guest, Place::Group { id, thread: "" }) => {
            SessionKey::parse(&format!("agent:{agent}:{name}:group:{id}"))
        }
        (Class::Guest, Place::Group { id, thread }) => {
            SessionKey::parse(&format!("agent:{agent}:{name}:group:{id}:topic:{thread}"))
        }
    };
    match session {
        Ok(session) => Verdict::Admit {
            class,
            session,
            standing,
        },
        Err(error) => ignore("session.key", &error.to_string()),
    }
}

/// The agent that answers: that of the first binding that fits, else the default one.
fn agent<'s>(settings: &'s Settings, channel: &Channel, message: &Message<'_>) -> &'s AgentId {
    let here = match message.place {
        Place::Direct => (PeerKind::Dm, message.sender.id),
        Place::Group { id, .. } => (PeerKind::Group, id),
    };
    settings
        .routes
        .iter()
        .find(|route| {
            let account = route
                .account
                .as_deref()
                .is_none_or(|own| own == message.account);
            let peer = route
                .peer
                .as_ref()
                .is_none_or(|(kind, id)| (*kind, id.as_str()) == here);
            route.channel == channel.name && account && peer
        })
        .map_or(&settings.default_agent, |route| &route.agent)
}

fn ignore(rule: &'static str, message: &str) -> Verdict {
    Verdict::Ignore(Denied::new(rule, message))
}

#[cfg(test)]
mod tests;
