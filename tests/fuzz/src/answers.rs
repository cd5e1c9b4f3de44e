//! Answers of model providers. The events do not depend on how the bytes are cut; an answer has one end, which is its
//! last event, or is an error; sizes are bounded; what was answered can be said to the provider again; and what a person is
//! told of an error is one line without the key.

use std::sync::OnceLock;

use clawdbot_identity::text::is_deceptive;
use clawdbot_model::fuzzing;
use clawdbot_proto::v1::generate_event::Event;
use clawdbot_proto::v1::model_message::Message;
use clawdbot_proto::v1::{
    AssistantMessage, GenerateRequest, ModelMessage, ToolResult, UserMessage,
};
use clawdbot_secrets::Secret;
use serde_json::Value;

use crate::pieces::cuts;

/// The key, which a provider may repeat.
const KEY: &str = "sk-canary-0123456789";
/// So much of it gives it away.
const TELLING: usize = 12;
/// Longest sentence for a person, bytes.
const SENTENCE: usize = 4096;
/// Statuses that mean different things.
const STATUSES: [u16; 12] = [400, 401, 402, 403, 404, 408, 413, 418, 429, 500, 503, 529];

/// An answer, read in each protocol.
pub fn answers(bytes: &[u8]) -> bool {
    let complete = (0..fuzzing::PROTOCOLS).filter(|protocol| answer(*protocol, bytes));
    complete.count() > 0
}

fn answer(protocol: usize, bytes: &[u8]) -> bool {
    let (events, end) = fuzzing::answer(protocol, &[bytes], &[key()]);
    cuts(bytes, |pieces| {
        let (others, other) = fuzzing::answer(protocol, pieces, &[key()]);
        assert_eq!((&others, &other), (&events, &end));
    });
    let stops = events
        .iter()
        .filter(|event| matches!(event, Event::Stop(_)))
        .count();
    assert!(stops <= 1 && (stops == 0) != matches!(events.last(), Some(Event::Stop(_))));
    assert_eq!(end.is_ok(), stops == 1, "{end:?}");
    match end {
        Ok(()) => again(protocol, &events),
        Err(sentence) => harmless(&sentence, bytes),
    }
    let size: usize = events.iter().map(size_of_event).sum();
    // Ids of nameless calls are made here.
    assert!(
        size <= 2 * bytes.len() + 64 * events.len() + 4096,
        "{size} of {}",
        bytes.len()
    );
    stops == 1
}

fn size_of_event(event: &Event) -> usize {
    match event {
        Event::Text(delta) => delta.text.len(),
        Event::Thinking(delta) => delta.text.len(),
        Event::ToolCall(call) => {
            assert!(!call.id.is_empty() && !call.arguments_json.is_empty());
            call.id.len() + call.name.len() + call.arguments_json.len()
        }
        // It holds all of the above once more, escaped.
        Event::Replay(replay) => replay.content.len() / 8,
        _ => 0,
    }
}

/// The next request holds the answer, and is JSON.
fn again(protocol: usize, events: &[Event]) {
    let mut said = AssistantMessage::default();
    let mut messages = Vec::new();
    for event in events {
        match event {
            Event::Text(delta) => said.text.push_str(&delta.text),
            Event::ToolCall(call) => {
                said.tool_calls.push(call.clone());
                messages.push(Message::ToolResult(ToolResult {
                    call_id: call.id.clone(),
                    name: call.name.clone(),
                    output: "done".into(),
                    is_error: false,
                }));
            }
            Event::Replay(replay) => {
                let content: Value =
                    serde_json::from_slice(&replay.content).expect("what is replayed is JSON");
                assert!(content.is_array(), "{content}");
                said.replay = Some(replay.clone());
            }
            _ => {}
        }
    }
    let user = || Message::User(UserMessage { text: "hi".into() });
    messages.insert(0, user());
    messages.insert(1, Message::Assistant(said));
    messages.push(user());
    let request = GenerateRequest {
        model: "m".into(),
        messages: messages
            .into_iter()
            .map(|message| ModelMessage {
                message: Some(message),
            })
            .collect(),
        ..GenerateRequest::default()
    };
    let body = fuzzing::request(protocol, &request).expect("an answer can be said again");
    let body: Value = serde_json::from_slice(&body).expect("a request is JSON");
    assert!(body.is_object());
}

/// Bodies of answers with an error status.
pub fn refusal(bytes: &[u8]) -> bool {
    let echoed = [bytes, KEY.as_bytes(), bytes].concat();
    for status in STATUSES {
        for body in [bytes, &echoed] {
            let sentence = fuzzing::refusal(status, body, &[key()]);
            harmless(&sentence, bytes);
        }
    }
    !bytes.trim_ascii().is_empty()
}

/// `sent` are the bytes of the other side without the key that was put there.
fn harmless(sentence: &str, sent: &[u8]) {
    assert!(
        !sentence.is_empty() && sentence.len() <= SENTENCE,
        "{}",
        sentence.len()
    );
    assert!(!sentence.chars().any(is_deceptive), "{sentence:?}");
    assert!(!sentence.contains(KEY), "{sentence}");
    let telling = &KEY[..TELLING];
    // A part of the key that was sent as a part is no key, and what is escaped is another text.
    if !sent.windows(TELLING).any(|part| part == telling.as_bytes()) && !sent.contains(&b'\\') {
        assert!(!sentence.contains(telling), "{sentence}");
    }
}

fn key() -> &'static Secret {
    static SECRET: OnceLock<Secret> = OnceLock::new();
    SECRET.get_or_init(|| Secret::new(KEY.as_bytes().to_vec().into()).expect("memory for a secret"))
}
