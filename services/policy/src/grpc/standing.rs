//! Whether what a handle says still holds. Every use of it is judged by what is in force at that moment: the
//! configuration, the approvals, the credential of the front door.

use clawdbot_identity::{Class, Handle, Role};

use super::Services;
use crate::admission::{self, Had, Message, Person, Place};
use crate::denied::Denied;
use crate::handle::{Grant, Written};
use crate::policy::{InForce, unix_ms, unix_seconds};
use crate::rules;
use crate::settings::{Channel, Settings};

impl Services {
    /// What a handle stands for, if its bearer may use it now.
    pub(super) fn session(&self, handle: &Handle, bearer: Class) -> Result<Grant, Denied> {
        self.stands(self.opened(handle, bearer)?)
    }

    /// The same without a look at its author: what he has used already is settled all the same.
    pub(super) fn opened(&self, handle: &Handle, bearer: Class) -> Result<Grant, Denied> {
        let current = self.0.current()?;
        let grant = Grant::open(&self.0.handles, handle, bearer, unix_seconds())?;
        rules::agent(&current.settings, &grant.session)?;
        Ok(grant)
    }

    /// What a handle that came in by a door stands for.
    pub(super) fn session_at(&self, handle: &Handle, door: &Role) -> Result<Grant, Denied> {
        self.0.current()?;
        self.stands(Grant::open_at(
            &self.0.handles,
            handle,
            door,
            unix_seconds(),
        )?)
    }

    /// A grant as far as it holds now.
    pub(super) fn stands(&self, grant: Grant) -> Result<Grant, Denied> {
        let current = self.0.current()?;
        rules::agent(&current.settings, &grant.session)?;
        match grant.door.name() {
            None => self.visits(&grant).map(|()| grant),
            Some(channel) => self.writes(&current, channel.as_str(), grant),
        }
    }

    /// The operator at the front door: what opened it still does. At the local socket nothing can change.
    fn visits(&self, grant: &Grant) -> Result<(), Denied> {
        let Some(opened) = grant.credential else {
            return Ok(());
        };
        let credential = self.0.door().credential();
        match credential.is_some_and(|credential| credential.tag() == opened) {
            true => Ok(()),
            false => Err(Denied::new(
                "session.revoked",
                "the token or password that let this message in was replaced; sign in again",
            )),
        }
    }

    fn writes(&self, current: &InForce, channel: &str, grant: Grant) -> Result<Grant, Denied> {
        let settings = &current.settings;
        let Written {
            account,
            username,
            group,
            thread,
            chats,
            also,
        } = &grant.written;
        let channel = channel_of(settings, channel, account)?;
        let message = Message {
            account,
            place: match (group, chats.first()) {
                (true, Some(id)) => Place::Group { id, thread },
                _ => Place::Direct,
            },
            chats,
            sender: Person {
                id: &grant.sender,
                also,
                username,
                is_bot: false,
                is_anonymous: false,
            },
            // It was for the assistant, and no message is judged that is not there any more.
            mentioned: true,
            replies_to_bot: false,
            marks_mentions: true,
            backlog: false,
            text: "",
        };
        let had = Had {
            class: grant.class,
            session: &grant.session,
            standing: grant.standing,
        };
        // Whom the configuration itself lets in does not depend on the book.
        let (book, trouble) = match self.0.people.book() {
            Ok(book) => (book, None),
            Err(denied) => (Default::default(), Some(denied)),
        };
        let view = book.view(channel.name, account, unix_ms(), settings.approval_ttl);
        let standing = admission::again(settings, channel, &view, &message, had)
            .map_err(|denied| trouble.unwrap_or(denied))?;
        Ok(Grant { standing, ..grant })
    }
}

/// A channel that runs.
///
/// # Errors
/// With the rule `channel.off`, or `channel.unsettled` while nobody knows.
pub(super) fn channel_of<'s>(
    settings: &'s Settings,
    channel: &str,
    account: &str,
) -> Result<&'s Channel, Denied> {
    if settings.is_unsettled(channel, account) {
        return Err(Denied::new(
            "channel.unsettled",
            "the broker, which knows whether there is a token for this account, does not answer yet",
        ));
    }
    settings
        .channel(channel)
        .ok_or_else(|| Denied::new("channel.off", "the configuration does not run this channel"))
}
