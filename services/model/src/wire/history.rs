//! What all protocols need from the conversation before they write it down: ids that every provider takes, messages that
//! this provider wrote itself, and JSON to be embedded as it is.

use std::borrow::Cow;

use clawdbot_proto::v1::model_message::Message;
use clawdbot_proto::v1::{AssistantMessage, GenerateRequest, ToolSpec};
use serde_json::value::RawValue;

use super::json;
use crate::fault::{Fault, Kind};

/// Longest id of a tool call that every provider takes.
const ID: usize = 64;
const SHORT: usize = 9;

/// FNV-1a: a stable short name for a longer text. Nothing depends on its strength.
pub fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// An id of a tool call as any provider takes it: the fall-back model of another provider gets ids that it did not make.
pub fn call_id(id: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    match !id.is_empty() && id.len() <= ID && id.bytes().all(plain) {
        true => Cow::Borrowed(id),
        false => Cow::Owned(format!("call_{:016x}", fnv(id.as_bytes()))),
    }
}

/// An id of a tool call as Mistral takes it: nine letters and digits.
pub fn short_id(id: &str) -> Cow<'_, str> {
    if id.len() == SHORT && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Cow::Borrowed(id);
    }
    let mut left = fnv(id.as_bytes());
    let digits = (0..SHORT).map(|_| {
        let digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[(left % 36) as usize];
        left /= 36;
        char::from(digit)
    });
    Cow::Owned(digits.collect())
}

/// The message as this very provider, model and protocol wrote it, if that was kept.
pub fn replay<'a>(message: &'a AssistantMessage, origin: &str) -> Option<&'a RawValue> {
    let replay = message.replay.as_ref()?;
    if replay.origin != origin {
        return None;
    }
    let raw: &RawValue = json::parse(&replay.content).ok()?;
    raw.get().starts_with('[').then_some(raw)
}

/// Arguments of a past call: a JSON object. Whatever else a model wrote was refused then, and no provider takes it back.
pub fn arguments(text: &str) -> &RawValue {
    json::object(text).unwrap_or_else(|| json::empty())
}

/// A tool's schema, as it is.
pub fn schema(tool: &ToolSpec) -> Result<&RawValue, Fault> {
    json::object(&tool.parameters_json).ok_or_else(|| {
        Fault::new(
            Kind::Invalid,
            format!("the parameters of tool {} are no JSON object", tool.name),
        )
    })
}

/// Whether the tool calls since the last thing a person said all come with the provider's own record of them. Without it
/// some refuse to go on thinking in the middle of a turn.
pub fn turn_has_replays(request: &GenerateRequest, origin: &str) -> bool {
    let turn = request
        .messages
        .iter()
        .rev()
        .take_while(|message| !matches!(message.message, Some(Message::User(_))));
    turn.filter_map(|message| match &message.message {
        Some(Message::Assistant(assistant)) if !assistant.tool_calls.is_empty() => Some(assistant),
        _ => None,
    })
    .all(|assistant| replay(assistant, origin).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_other_providers_become_harmless_and_stay_pairs() {
        assert_eq!(call_id("toolu_01A-b"), "toolu_01A-b");
        for odd in ["", "a.b:c", "é", &"x".repeat(65)] {
            let made = call_id(odd);
            assert_eq!(made, call_id(odd));
            assert_eq!(call_id(&made), made, "{odd}");
        }
        assert_ne!(call_id("a.b"), call_id("a:b"));
    }

    #[test]
    fn short_ids_stay_pairs_and_are_not_made_twice() {
        assert_eq!(short_id("aB3dE6gH9"), "aB3dE6gH9");
        for other in ["", "toolu_01A-b", "call_1", "a.b:c", "nine-char"] {
            let made = short_id(other);
            assert!(made.len() == 9 && made.bytes().all(|b| b.is_ascii_alphanumeric()));
            assert_eq!(made, short_id(other));
            assert_eq!(short_id(&made), made, "{other}");
        }
        assert_ne!(short_id("call_1"), short_id("call_2"));
    }

    #[test]
    fn broken_arguments_of_the_past_become_an_empty_object() {
        assert_eq!(arguments("{\"a\":1}").get(), "{\"a\":1}");
        for broken in ["", "{\"a\":", "[1]", "null"] {
            assert_eq!(arguments(broken).get(), "{}");
        }
    }
}
