//! The group behind a session key. The key is sealed into the handle, so that no process can move a call elsewhere.

use clawdbot_identity::SessionKey;

/// Where a group's messages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub(crate) channel: &'a str,
    /// None where the key does not say it.
    pub(crate) account: Option<&'a str>,
    /// In lower case, like all of a key.
    pub(crate) id: &'a str,
    /// A topic or thread; empty: none.
    pub(crate) topic: &'a str,
}

/// The group of `agent:A:CHANNEL[:ACCOUNT]:group|channel:ID[:topic|thread:T]`.
pub(crate) fn place(session: &SessionKey) -> Option<Place<'_>> {
    let (channel, rest) = session.rest().split_once(':')?;
    let below = |text| {
        ["group:", "channel:"]
            .iter()
            .find_map(|kind| str::strip_prefix(text, kind))
    };
    let (account, tail) = match below(rest) {
        Some(tail) => (None, tail),
        None => {
            let (account, rest) = rest.split_once(':')?;
            (Some(account), below(rest)?)
        }
    };
    let cut = |word| str::rsplit_once(tail, word);
    let (id, topic) = cut(":topic:")
        .or_else(|| cut(":thread:"))
        .unwrap_or((tail, ""));
    Some(Place {
        channel,
        account,
        id,
        topic,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_in_every_form_of_a_key_and_nothing_else_is_one() {
        for (rest, expected) in [
            ("telegram:group:-100", Some(("telegram", None, "-100", ""))),
            (
                "telegram:group:-100:topic:3",
                Some(("telegram", None, "-100", "3")),
            ),
            (
                "telegram:work:group:-100",
                Some(("telegram", Some("work"), "-100", "")),
            ),
            (
                "discord:channel:9:thread:7",
                Some(("discord", None, "9", "7")),
            ),
            (
                "imessage:group:chat_id:5",
                Some(("imessage", None, "chat_id:5", "")),
            ),
            ("main", None),
            ("telegram:dm:42", None),
            ("telegram:work:dm:42", None),
            ("dm:42", None),
            ("subagent:1", None),
        ] {
            let key = SessionKey::parse(&format!("agent:main:{rest}")).unwrap();
            let found = place(&key);
            let found = found.map(|place| (place.channel, place.account, place.id, place.topic));
            assert_eq!(found, expected, "{rest}");
        }
    }
}
