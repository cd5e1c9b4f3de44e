//! Judging the author of an accepted message again, at each use of what it earned: a handle lives for days, and who was
//! put out meanwhile can do nothing more with it. What he had then counts as far as he would still get it.

use clawdbot_config::Sender;
use clawdbot_identity::{Class, SessionKey};

use super::{Message, People, Verdict, View, judge, session};
use crate::denied::Denied;
use crate::handle::Standing;
use crate::settings::{Channel, Settings};

/// What an accepted message has earned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Had<'a> {
    pub(crate) class: Class,
    pub(crate) session: &'a SessionKey,
    pub(crate) standing: Standing,
}

/// What its author is worth now, at most what he was then.
///
/// # Errors
/// With the rule `session.revoked`.
pub(crate) fn again(
    settings: &Settings,
    channel: &Channel,
    people: &impl People,
    message: &Message<'_>,
    had: Had<'_>,
) -> Result<Standing, Denied> {
    let (class, key, standing) = match judge(settings, channel, people, message) {
        Verdict::Admit {
            class,
            session,
            standing,
        } => (class, session, standing),
        Verdict::Pair { .. } => {
            return Err(revoked("the approval of whoever wrote this is over"));
        }
        Verdict::Ignore(denied) => {
            let why = format!(
                "whoever wrote this may no longer write there: {}",
                denied.message
            );
            return Err(revoked(&why));
        }
    };
    let key = match (had.class, class) {
        (Class::Main, Class::Guest) => {
            return Err(revoked("whoever wrote this is no longer the owner"));
        }
        // He has become the owner meanwhile; what he began as a guest goes on as that.
        (Class::Guest, Class::Main) => as_guest(settings, channel, people, message)?,
        _ => key,
    };
    if key != *had.session {
        return Err(revoked(
            "the configuration gives whoever wrote this another conversation now",
        ));
    }
    Ok(had.standing.max(standing))
}

fn as_guest(
    settings: &Settings,
    channel: &Channel,
    people: &impl People,
    message: &Message<'_>,
) -> Result<SessionKey, Denied> {
    let account = channel.account(message.account);
    let is = |entry: &Sender| {
        let view = account.map(|account| View {
            rules: &account.rules,
            people,
            sender: message.sender,
            chats: message.chats,
        });
        view.is_some_and(|view| view.is(entry))
    };
    session::key(settings, channel, message, Class::Guest, is)
        .map_err(|error| revoked(&error.to_string()))
}

fn revoked(why: &str) -> Denied {
    Denied::new("session.revoked", why)
}
