//! How a conversation is found again: what the gateway keeps for this worker and gives back with every order.

use serde::{Deserialize, Serialize};

/// The topic of a forum that has no number of its own: left out when sending, named when typing.
const GENERAL: i64 = 1;

/// A chat, the topic in it, and the message that asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address {
    /// Chat id.
    #[serde(rename = "c")]
    pub(crate) chat: i64,
    /// Topic, in a forum.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(crate) topic: Option<i64>,
    /// Message id.
    #[serde(rename = "m")]
    pub(crate) message: i64,
}

impl Address {
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Three numbers always serialize.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The topic to name when sending.
    pub(crate) fn topic_to_send(&self) -> Option<i64> {
        self.topic.filter(|topic| *topic != GENERAL)
    }

    /// The conversation as a word.
    pub(crate) fn lane(&self) -> String {
        match self.topic {
            Some(topic) => format!("{}:{topic}", self.chat),
            None => self.chat.to_string(),
        }
    }
}

/// Groups and channels have negative ids.
pub(crate) fn is_group_lane(lane: &str) -> bool {
    lane.starts_with('-')
}

/// `CHAT:MESSAGE:bBOT`, the name of a message among all events of an account. In private chats messages are numbered for
/// each bot, so that another bot of the same account has the same numbers for others.
pub(crate) fn event_id(bot: i64, chat: i64, message: i64) -> String {
    format!("{chat}:{message}:b{bot}")
}

/// The message id in an event id of this chat.
pub(crate) fn message_of(event_id: &str) -> Option<i64> {
    event_id.split(':').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_as_it_went_and_names_its_lane() {
        for (topic, lane, to_send) in [
            (None, "-1001", None),
            (Some(1), "-1001:1", None),
            (Some(7), "-1001:7", Some(7)),
        ] {
            let address = Address {
                chat: -1001,
                topic,
                message: 5,
            };
            assert_eq!(Address::decode(&address.encode()), Some(address.clone()));
            assert_eq!(address.lane(), lane);
            assert_eq!(address.topic_to_send(), to_send);
        }
        assert_eq!(Address::decode(b"x"), None);
        assert!(is_group_lane("-1001:7") && !is_group_lane("42"));
    }

    #[test]
    fn an_event_id_holds_the_message_that_a_reply_quotes() {
        assert_eq!(message_of(&event_id(7, -1001, 42)), Some(42));
        assert_eq!(message_of("-1001:42:b7:e9"), Some(42));
        assert_eq!(message_of("current"), None);
    }
}
