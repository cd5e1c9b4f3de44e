//! Answers to `getUpdates`. However odd an update is, it becomes at most one message, whose names are bounded, whose notes
//! are single lines, and whose address leads back to its chat.

use clawdbot_channel_telegram::fuzzing::{self, Heard};
use clawdbot_proto::v1::ConversationKind;
use serde_json::Value;

const BOT: i64 = 7;

/// From bytes to messages for the gateway.
pub fn updates(bytes: &[u8]) -> bool {
    let Some(heard) = fuzzing::updates(bytes, BOT, "clawd_bot") else {
        return false;
    };
    let answer: Value = serde_json::from_slice(bytes).expect("what is taken is JSON");
    let count = answer["result"].as_array().map_or(0, Vec::len);
    assert!(heard.len() <= count);
    for one in &heard {
        look(one);
    }
    let text: usize = heard.iter().map(|one| one.message.text.len()).sum();
    assert!(
        text <= 4 * bytes.len() + 512 * count,
        "{text} of {}",
        bytes.len()
    );
    !heard.is_empty()
}

fn look(heard: &Heard) {
    let Heard {
        message,
        conversation,
        sender,
        notes,
        address_returns,
    } = heard;
    assert!(address_returns);
    let id = format!("{}:", conversation.id);
    assert!(message.event_id.starts_with(&id) && message.event_id.contains(":b7"));
    assert_eq!(
        (message.account.as_str(), message.handle.as_str()),
        ("a", "handle")
    );
    assert!(message.lane == conversation.id || message.lane.starts_with(&id));
    conversation.id.parse::<i64>().expect("a chat is a number");
    sender.id.parse::<i64>().expect("a sender is a number");
    for name in [&sender.username, &sender.display, &message.sender_name] {
        assert!(name.chars().count() <= 256);
    }
    assert!(message.sender_name.is_empty() || conversation.kind() == ConversationKind::Group);
    for note in notes {
        assert!(!note.chars().any(char::is_control), "{note:?}");
        assert!(note.starts_with('[') && note.ends_with(']'), "{note:?}");
    }
    assert!(!message.text.trim().is_empty());
}
