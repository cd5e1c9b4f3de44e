//! All protocols against the same content: identical events, whichever way the bytes come in, and no bytes that break a
//! reader.

mod answers;
mod hostile;
mod requests;

use std::collections::VecDeque;

use clawdbot_fakes::provider::{Call, End, Format, Part, Reply};
use clawdbot_proto::v1::ToolCall;
use clawdbot_proto::v1::generate_event::Event;
use serde_json::Value;

use super::*;

const FORMATS: [(Api, Format); 4] = [
    (Api::Anthropic, Format::Anthropic),
    (Api::Chat, Format::Chat),
    (Api::Responses, Format::Responses),
    (Api::Ollama, Format::Ollama),
];

fn decode(api: Api, pieces: &[&[u8]]) -> (VecDeque<Event>, Result<(), Fault>) {
    let mut decoder = Decoder::new(api, format!("p/m {}", api.name()), "r1");
    let mut events = VecDeque::new();
    for piece in pieces {
        if let Err(fault) = decoder.feed(piece, &mut events) {
            return (events, Err(fault));
        }
    }
    let end = decoder.end(&mut events);
    (events, end)
}

fn whole(api: Api, stream: &str) -> VecDeque<Event> {
    let (events, end) = decode(api, &[stream.as_bytes()]);
    assert_eq!(end, Ok(()), "{}", api.name());
    events
}

/// Text, thinking, two calls and odd characters, as a provider may send it.
fn rich() -> Reply {
    let pieces = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let call = |id: &str, name: &str, arguments: &str| {
        Part::Call(Call {
            id: id.into(),
            name: name.into(),
            arguments: arguments.into(),
        })
    };
    Reply {
        parts: vec![
            Part::Thinking {
                pieces: pieces(&["Let me ", "see 🦀\n"]),
                seal: "c2VhbA==".into(),
            },
            Part::Text(pieces(&[
                "It is ",
                "\"žluťoučký\" ",
                "日本\r\n",
                "\\u0000 \u{1}",
            ])),
            call("call_1", "weather", "{\"city\":\"Paříž\",\"days\":[1,2]}"),
            call("call_2", "time", "{}"),
        ],
        end: End::Complete,
        input_tokens: 120,
        cached_tokens: 100,
        output_tokens: 33,
    }
}

/// Less of the same, for tests that read it thousands of times.
fn small() -> Reply {
    let mut reply = rich();
    reply.parts = vec![
        Part::Text(vec!["é".into(), "\"🦀\r\n".into()]),
        Part::Call(Call {
            id: "c1".into(),
            name: "t".into(),
            arguments: "{\"a\":\"é\"}".into(),
        }),
    ];
    reply
}

/// What every protocol can say: ids of calls and what is for one provider only are left out.
fn common(events: VecDeque<Event>) -> Vec<Event> {
    let keep = |event: Event| match event {
        Event::Replay(_) => None,
        Event::ToolCall(call) => Some(Event::ToolCall(ToolCall {
            id: String::new(),
            arguments_json: serde_json::from_str::<Value>(&call.arguments_json)
                .unwrap()
                .to_string(),
            ..call
        })),
        Event::Usage(mut usage) => {
            usage.cache_read_tokens = 0;
            Some(Event::Usage(usage))
        }
        other => Some(other),
    };
    events.into_iter().filter_map(keep).collect()
}
