//! Which conversation a message belongs to: the agent that answers, and the session's key as the original writes it. What
//! a key is made of stands for one person, so two people never share one unless the file says that they are one.

use clawdbot_config::{DmScope, PeerKind, Sender};
use clawdbot_identity::{AgentId, Class, IdError, SessionKey};

use super::{Message, Place};
use crate::settings::{Channel, Route, Settings};

/// Discord's word for what is outside of servers.
const OUTSIDE: &str = "@me";

/// The key of a message's session; `is` tells whether an entry names its sender. Ids in which upper and lower case differ
/// are written in lower case: nobody can choose one that differs from another's in nothing else.
///
/// # Errors
/// When an id cannot be part of a key.
pub(super) fn key(
    settings: &Settings,
    channel: &Channel,
    message: &Message<'_>,
    class: Class,
    is: impl Fn(&Sender) -> bool,
) -> Result<SessionKey, IdError> {
    let (name, account) = (channel.name, message.account);
    let rest = match (class, message.place) {
        // The owner's own conversations are one, on whatever channel.
        (Class::Main, _) => settings.main_key.clone(),
        (Class::Guest, Place::Direct) => {
            let peer = linked(settings, channel, is).unwrap_or(message.sender.id);
            match settings.dm_scope {
                DmScope::PerPeer => format!("dm:{peer}"),
                // `main` joins the owner's own only.
                DmScope::Main | DmScope::PerChannelPeer => format!("{name}:dm:{peer}"),
                DmScope::PerAccountChannelPeer => format!("{name}:{account}:dm:{peer}"),
            }
        }
        (Class::Guest, Place::Group { id, thread }) => {
            let base = match in_server(channel, id) {
                Some((OUTSIDE, channel)) => format!("{name}:group:{channel}"),
                // The server stays in, since its rules hold for the channel.
                Some(_) => format!("{name}:channel:{id}"),
                None => format!("{name}:group:{id}"),
            };
            match (thread, name) {
                ("", _) => base,
                (topic, "telegram") => format!("{base}:topic:{topic}"),
                (thread, _) => format!("{base}:thread:{thread}"),
            }
        }
    };
    let agent = agent(settings, channel, message);
    SessionKey::parse(&format!("agent:{agent}:{}", rest.to_lowercase()))
}

/// Server and channel of a channel on Discord.
pub(super) fn in_server<'a>(channel: &Channel, id: &'a str) -> Option<(&'a str, &'a str)> {
    (channel.name == "discord")
        .then(|| id.split_once('/'))
        .flatten()
}

/// The person that the file says the sender is.
fn linked<'s>(
    settings: &'s Settings,
    channel: &Channel,
    is: impl Fn(&Sender) -> bool,
) -> Option<&'s str> {
    let links = (settings.dm_scope != DmScope::Main).then_some(&settings.links)?;
    let mut links = links.iter();
    let link = links.find(|(_, identities)| {
        let mut own = identities.iter();
        own.any(|identity| identity.channel() == channel.name && is(identity.sender()))
    });
    link.map(|(person, _)| person.as_str())
}

/// The agent that answers: that of the first binding that fits, else the default one.
pub(super) fn agent<'s>(
    settings: &'s Settings,
    channel: &Channel,
    message: &Message<'_>,
) -> &'s AgentId {
    let mut routes = settings.routes.iter();
    let route = routes.find(|route| {
        let account = route.account.as_deref();
        route.channel == channel.name
            && account.is_none_or(|own| own == message.account)
            && is_there(route, channel, message)
    });
    route.map_or(&settings.default_agent, |route| &route.agent)
}

fn is_there(route: &Route, channel: &Channel, message: &Message<'_>) -> bool {
    let (server, place) = match message.place {
        Place::Group { id, .. } => in_server(channel, id).unwrap_or(("", id)),
        Place::Direct => ("", ""),
    };
    let fits = |(kind, id): &(PeerKind, String)| match (kind, message.place) {
        (PeerKind::Dm, Place::Direct) => message.sender.ids().any(|own| own == id),
        (PeerKind::Group, Place::Group { .. }) => {
            place == id || message.chats.iter().any(|chat| chat == id)
        }
        (PeerKind::Channel, Place::Group { .. }) => !server.is_empty() && place == id,
        _ => false,
    };
    { route.server.as_ref() }.is_none_or(|own| own == server)
        && route.peer.as_ref().is_none_or(fits)
}
