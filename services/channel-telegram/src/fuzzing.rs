//! What the fuzz targets look at: the way from an answer of `getUpdates` to messages for the gateway as if policy admitted
//! everybody, and from Markdown to what is sent. Plain functions of bytes; nothing here is used by the worker.

use clawdbot_channel::{Chunking, parse_markdown};
use clawdbot_proto::v1::admit_sender_reply::Outcome;
use clawdbot_proto::v1::{Admission, Conversation, Inbound, Sender};
use serde_json::Value;

use crate::address::Address;
use crate::admit::{Verdict, verdict};
use crate::album;
use crate::client::result_of;
use crate::incoming::{Incoming, Me, Said};
use crate::poll::read_all;
use crate::render::render;

/// One message and what policy would be asked about it.
pub struct Heard {
    /// As the gateway gets it.
    pub message: Inbound,
    /// Where.
    pub conversation: Conversation,
    /// Who.
    pub sender: Sender,
    /// Lines before the words: what is answered, what is attached.
    pub notes: Vec<String>,
    /// Whether the address comes back as it went.
    pub address_returns: bool,
}

/// The messages in an answer to `getUpdates`, for a bot with this id and name; nothing for an answer that holds no list.
pub fn updates(answer: &[u8], bot: i64, username: &str) -> Option<Vec<Heard>> {
    let Ok(Value::Array(batch)) = result_of(answer)? else {
        return None;
    };
    let me = Me {
        id: bot,
        username: username.to_owned(),
    };
    let heard = album::join(read_all(&batch, &me)).into_iter();
    let heard = heard.filter_map(|incoming| match incoming {
        Incoming::Said(said) => heard_of(*said),
        Incoming::Moved { .. } | Incoming::Nothing => None,
    });
    Some(heard.collect())
}

fn heard_of(said: Said) -> Option<Heard> {
    let admission = Admission {
        handle: "handle".into(),
        ..Admission::default()
    };
    let Verdict::Admitted(message) = verdict("a", &said, Some(Outcome::Admission(admission)))
    else {
        return None;
    };
    Some(Heard {
        address_returns: Address::decode(&message.address).as_ref() == Some(&said.address),
        message: *message,
        conversation: said.conversation,
        sender: said.sender,
        notes: [said.context, said.attachments].concat(),
    })
}

/// The messages that a text becomes, at most `limit` UTF-16 units each: HTML, and the same as plain text.
pub fn messages(markdown: &str, limit: usize, chunking: Chunking) -> Vec<(String, String)> {
    let pieces = parse_markdown(markdown).split(limit, chunking);
    let rendered = pieces.iter().map(|piece| {
        let rendered = render(piece);
        (rendered.html, rendered.plain)
    });
    rendered.collect()
}
