//! All protocols against the same content: identical events, whichever way the bytes come in, and no bytes that break a
//! reader.

use std::collections::VecDeque;

use clawdbot_fakes::provider::{Call, End, Format, Part, Reply};
use clawdbot_proto::v1::generate_event::Event;
use clawdbot_proto::v1::model_message::Message;
use clawdbot_proto::v1::{
    AssistantMessage, GenerateRequest, ModelFacts, ModelMessage, Parameters, StopReason, ToolCall,
    ToolResult, ToolSpec, UserMessage,
};
use serde_json::{Value, json};

use super::*;
use crate::fault::Kind;

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

#[test]
fn the_table_of_protocols_is_in_the_order_of_its_names() {
    for (api, _) in FORMATS {
        assert_eq!(Api::parse(api.name()), Some(api));
    }
    assert_eq!(Api::parse("google-generative-ai"), None);
}

#[test]
fn the_same_content_gives_the_same_events_in_every_protocol() {
    let replies = [
        rich(),
        Reply::text("Hello there, how are you?"),
        Reply {
            end: End::Length,
            ..Reply::text("cut off in the")
        },
        Reply::call("call_9", "status", "{\"a\":{\"b\":[]}}"),
    ];
    for reply in replies {
        let mut all = FORMATS.map(|(api, format)| {
            let stream = format.records(&reply, "m").concat();
            (api, common(whole(api, &stream)))
        });
        let (_, first) = std::mem::replace(&mut all[0], (Api::Anthropic, Vec::new()));
        assert!(matches!(first.last(), Some(Event::Stop(_))));
        for (api, events) in &all[1..] {
            assert_eq!(*events, first, "{}", api.name());
        }
    }
}

#[test]
fn events_do_not_depend_on_where_the_bytes_are_cut() {
    for (api, format) in FORMATS {
        let stream = format.records(&rich(), "m").concat();
        let expected = whole(api, &stream);
        let bytes = stream.as_bytes();
        for cut in 0..=bytes.len() {
            let (before, after) = bytes.split_at(cut);
            let (events, end) = decode(api, &[before, after]);
            assert_eq!(
                (&events, end),
                (&expected, Ok(())),
                "{} at {cut}",
                api.name()
            );
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(api, &single), (expected, Ok(())), "{}", api.name());
    }
}

#[test]
fn an_answer_that_stops_anywhere_before_its_end_is_an_error_and_has_no_stop() {
    for (api, format) in FORMATS {
        let records = format.records(&rich(), "m");
        // Chat completions say that they are complete before they say what they cost.
        let complete = match api {
            Api::Chat => 2,
            _ => 0,
        };
        let stream = records[..records.len() - complete].concat();
        let last = records[records.len() - complete - 1].len();
        for cut in 0..=stream.len() - last {
            let (events, end) = decode(api, &[&stream.as_bytes()[..cut]]);
            let fault = end.unwrap_err();
            assert!(
                matches!(fault.kind, Kind::Truncated | Kind::Malformed),
                "{} at {cut}: {fault:?}",
                api.name()
            );
            assert!(!events.iter().any(|event| matches!(event, Event::Stop(_))));
        }
    }
}

#[test]
fn unknown_records_pings_and_comments_change_nothing() {
    let plain = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let noisy = format!(
        ": OPENROUTER PROCESSING\n\n{}",
        plain.replace("\n\n", "\n\n: keep\n\ndata: {\"object\":\"x\"}\n\n")
    );
    assert_eq!(whole(Api::Chat, plain), whole(Api::Chat, &noisy));
    for (api, format) in FORMATS {
        if api == Api::Chat {
            continue;
        }
        let records = format.records(&rich(), "m");
        let odd = match api {
            Api::Ollama => "\n{\"moon\":1}\n".to_owned(),
            _ => "event: ping\ndata: {\"type\":\"ping\"}\n\nevent: moon\ndata: {\"type\":\"moon\",\"delta\":[3]}\n\n:\n\n".to_owned(),
        };
        let noisy: String = records.iter().map(|r| format!("{odd}{r}")).collect();
        assert_eq!(
            whole(api, &noisy),
            whole(api, &records.concat()),
            "{}",
            api.name()
        );
    }
}

#[test]
fn broken_arguments_go_on_as_they_are_and_missing_ones_become_an_object() {
    for (api, format) in FORMATS {
        let arguments = |text: &str| {
            let stream = format.records(&Reply::call("c", "t", text), "m").concat();
            match whole(api, &stream).pop_front() {
                Some(Event::ToolCall(call)) => call.arguments_json,
                other => panic!("{other:?}"),
            }
        };
        let broken = arguments("{\"city\": \"Par");
        assert!(
            json::object(&broken).is_none() && broken.contains("Par"),
            "{broken}"
        );
        if api != Api::Ollama {
            assert_eq!(arguments(""), "{}");
        }
    }
}

#[test]
fn nameless_calls_get_names_that_differ_within_an_answer_and_between_requests() {
    let stream = Format::Ollama.records(&rich(), "m").concat();
    let ids = |request: &str| {
        let mut decoder = Decoder::new(Api::Ollama, String::new(), request);
        let mut events = VecDeque::new();
        decoder.feed(stream.as_bytes(), &mut events).unwrap();
        let ids = events.into_iter().filter_map(|event| match event {
            Event::ToolCall(call) => Some(call.id),
            _ => None,
        });
        ids.collect::<Vec<_>>()
    };
    let (first, second) = (ids("r1"), ids("r2"));
    assert!(first.len() == 2 && first[0] != first[1] && first != second);
    assert_eq!(ids("r1"), first);
    assert!(first.iter().all(|id| history::call_id(id) == *id));
}

#[test]
fn an_error_record_is_the_provider_s_error_and_what_came_before_it_stays() {
    for (api, record) in [
        (
            Api::Anthropic,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"o\"}}\n\n",
        ),
        (
            Api::Chat,
            "data: {\"error\":{\"code\":529,\"message\":\"o\"},\"choices\":[{\"delta\":{},\"finish_reason\":\"error\"}]}\n\n",
        ),
        (
            Api::Responses,
            "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"overloaded_error\",\"message\":\"o\"}}}\n\n",
        ),
        (Api::Ollama, "{\"error\":\"the model is overloaded\"}\n"),
    ] {
        let format = FORMATS.iter().find(|(known, _)| *known == api).unwrap().1;
        let mut records = format.records(&Reply::text("one two three four five six"), "m");
        records.truncate(records.len() / 2 + 1);
        records.push(record.into());
        let (events, end) = decode(api, &[records.concat().as_bytes()]);
        assert_eq!(end.unwrap_err().kind, Kind::Overloaded, "{}", api.name());
        assert!(!events.is_empty());
    }
}

#[test]
fn every_reason_to_stop_has_its_neutral_name() {
    let anthropic = |reason: &str| {
        format!(
            "data: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"{reason}\"}}}}\n\ndata: {{\"type\":\"message_stop\"}}\n\n"
        )
    };
    let chat = |reason: &str| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]}}\n\ndata: [DONE]\n\n"
        )
    };
    let responses = |reason: &str| {
        format!(
            "data: {{\"type\":\"response.incomplete\",\"response\":{{\"incomplete_details\":{{\"reason\":\"{reason}\"}}}}}}\n\n"
        )
    };
    let ollama = |reason: &str| format!("{{\"done\":true,\"done_reason\":\"{reason}\"}}\n");
    for (api, stream, expected) in [
        (Api::Anthropic, anthropic("end_turn"), StopReason::End),
        (Api::Anthropic, anthropic("stop_sequence"), StopReason::End),
        (Api::Anthropic, anthropic("pause_turn"), StopReason::End),
        (Api::Anthropic, anthropic("max_tokens"), StopReason::Length),
        (
            Api::Anthropic,
            anthropic("model_context_window_exceeded"),
            StopReason::Length,
        ),
        (Api::Anthropic, anthropic("refusal"), StopReason::Refused),
        (Api::Anthropic, anthropic("tool_use"), StopReason::ToolCalls),
        (Api::Chat, chat("stop"), StopReason::End),
        (Api::Chat, chat("length"), StopReason::Length),
        (Api::Chat, chat("content_filter"), StopReason::Refused),
        (Api::Chat, chat("tool_calls"), StopReason::ToolCalls),
        (
            Api::Responses,
            responses("max_output_tokens"),
            StopReason::Length,
        ),
        (
            Api::Responses,
            responses("content_filter"),
            StopReason::Refused,
        ),
        (Api::Ollama, ollama("stop"), StopReason::End),
        (Api::Ollama, ollama("length"), StopReason::Length),
    ] {
        match whole(api, &stream).pop_back() {
            Some(Event::Stop(stop)) => assert_eq!(stop.reason(), expected, "{stream}"),
            other => panic!("{other:?}"),
        }
    }
}

fn message(message: Message) -> ModelMessage {
    ModelMessage {
        message: Some(message),
    }
}

fn user(text: &str) -> ModelMessage {
    message(Message::User(UserMessage { text: text.into() }))
}

/// A conversation with a finished tool call, as it is sent for the next answer.
fn conversation() -> GenerateRequest {
    let call = |id: &str, arguments: &str| ToolCall {
        id: id.into(),
        name: "weather".into(),
        arguments_json: arguments.into(),
    };
    let result = |id: &str, is_error| {
        message(Message::ToolResult(ToolResult {
            call_id: id.into(),
            name: "weather".into(),
            output: "sunny".into(),
            is_error,
        }))
    };
    GenerateRequest {
        request_id: "r1".into(),
        handle: "h".into(),
        model: "claude-opus-4-5".into(),
        system: "Be kind.".into(),
        messages: vec![
            user("weather?"),
            message(Message::Assistant(AssistantMessage {
                text: "Looking.".into(),
                tool_calls: vec![call("a.1", "{\"city\": 1}"), call("b", "{broken")],
                replay: None,
            })),
            result("a.1", false),
            result("b", true),
            user("and now?"),
        ],
        tools: vec![ToolSpec {
            name: "weather".into(),
            description: "d".into(),
            parameters_json: "{ \"type\": \"object\" }".into(),
        }],
        parameters: Some(Parameters {
            temperature: Some(0.5),
            top_p: None,
            max_output_tokens: 500,
            thinking: String::new(),
        }),
        cache_key: "session-1".into(),
        context_tokens: 8192,
    }
}

fn facts(model: &str, reasoning: bool) -> ModelFacts {
    ModelFacts {
        model: model.into(),
        max_output_tokens: 32_000,
        reasoning,
        ..Default::default()
    }
}

fn encoded(
    api: Api,
    version: &str,
    facts: Option<&ModelFacts>,
    request: &GenerateRequest,
) -> Value {
    let target = Target {
        api,
        provider: "p",
        version,
        official: false,
        facts,
    };
    serde_json::from_slice(&encode(&target, request).unwrap()).unwrap()
}

#[test]
fn anthropic_gets_results_in_one_message_and_marks_for_its_cache() {
    let body = encoded(Api::Anthropic, "2023-06-01", None, &conversation());
    let mark = json!({"type": "ephemeral"});
    let id = history::call_id("a.1").into_owned();
    assert_eq!(
        body,
        json!({
            "model": "claude-opus-4-5", "max_tokens": 500, "stream": true, "temperature": 0.5,
            "tools": [{"name": "weather", "description": "d", "input_schema": {"type": "object"}}],
            "system": [{"type": "text", "text": "Be kind.", "cache_control": mark}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "weather?"}]},
                {"role": "assistant", "content": [
                    {"type": "text", "text": "Looking."},
                    {"type": "tool_use", "id": id, "name": "weather", "input": {"city": 1}},
                    {"type": "tool_use", "id": "b", "name": "weather", "input": {}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": id, "content": "sunny", "is_error": false},
                    {"type": "tool_result", "tool_use_id": "b", "content": "sunny", "is_error": true},
                    {"type": "text", "text": "and now?", "cache_control": mark},
                ]},
            ],
        })
    );
}

#[test]
fn the_newer_anthropic_version_gets_no_sampling_parameters() {
    let mut request = conversation();
    for (version, present) in [("2023-06-01", true), ("2026-10-21", false)] {
        let body = encoded(Api::Anthropic, version, None, &request);
        assert_eq!(body.get("temperature").is_some(), present, "{version}");
    }
    request.parameters.as_mut().unwrap().temperature = None;
    request.parameters.as_mut().unwrap().top_p = Some(0.9);
    let body = encoded(Api::Anthropic, "2026-10-21", None, &request);
    assert!(body.get("top_p").is_none());
}

#[test]
fn thinking_takes_the_form_that_the_model_knows_and_only_where_it_can() {
    let mut request = conversation();
    request.messages = vec![user("hi")];
    let parameters = request.parameters.as_mut().unwrap();
    parameters.thinking = "high".into();
    parameters.max_output_tokens = 0;
    for (model, reasoning, expected) in [
        (
            "claude-opus-4-5",
            true,
            json!([{"type": "enabled", "budget_tokens": 16384}, null]),
        ),
        (
            "claude-opus-4-7",
            true,
            json!([{"type": "adaptive"}, {"effort": "high"}]),
        ),
        ("claude-opus-4-5", false, json!([null, null])),
    ] {
        request.model = model.into();
        let facts = facts(model, reasoning);
        let body = encoded(Api::Anthropic, "2023-06-01", Some(&facts), &request);
        assert_eq!(
            json!([body["thinking"], body["output_config"]]),
            expected,
            "{model}"
        );
        assert_eq!(body["max_tokens"], 32_000);
        assert_eq!(body.get("temperature").is_some(), !reasoning, "{model}");
    }
    // A budget stays below the limit of the answer, or there is none.
    request.model = "claude-opus-4-5".into();
    let facts = facts("claude-opus-4-5", true);
    for (limit, budget) in [(4096, json!(3072)), (1500, Value::Null)] {
        request.parameters.as_mut().unwrap().max_output_tokens = limit;
        let body = encoded(Api::Anthropic, "2023-06-01", Some(&facts), &request);
        assert_eq!(body["thinking"]["budget_tokens"], budget);
    }
    // Calls of another provider in the running turn come without thinking.
    let mut request = conversation();
    request.parameters.as_mut().unwrap().thinking = "low".into();
    request.parameters.as_mut().unwrap().max_output_tokens = 8000;
    let body = encoded(Api::Anthropic, "2023-06-01", Some(&facts), &request);
    assert_eq!(body["thinking"]["budget_tokens"], 2048, "a new question");
    request.messages.pop();
    let body = encoded(Api::Anthropic, "2023-06-01", Some(&facts), &request);
    assert!(body.get("thinking").is_none());
}

#[test]
fn chat_completions_get_calls_as_text_and_results_as_messages() {
    let body = encoded(Api::Chat, "", None, &conversation());
    let id = history::call_id("a.1").into_owned();
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}});
    assert_eq!(
        body,
        json!({
            "model": "claude-opus-4-5", "stream": true, "stream_options": {"include_usage": true},
            "temperature": 0.5, "max_tokens": 500,
            "tools": [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}}}],
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "weather?"},
                {"role": "assistant", "content": "Looking.", "tool_calls": [call(&id, "{\"city\": 1}"), call("b", "{}")]},
                {"role": "tool", "tool_call_id": id, "content": "sunny"},
                {"role": "tool", "tool_call_id": "b", "content": "sunny"},
                {"role": "user", "content": "and now?"},
            ],
        })
    );
}

#[test]
fn openai_itself_gets_the_names_that_only_it_knows_and_no_session_id() {
    let facts = facts("gpt-5", true);
    let mut request = conversation();
    request.model = "gpt-5".into();
    request.parameters.as_mut().unwrap().thinking = "minimal".into();
    let target = Target {
        api: Api::Chat,
        provider: "openai",
        version: "",
        official: true,
        facts: Some(&facts),
    };
    let body: Value = serde_json::from_slice(&encode(&target, &request).unwrap()).unwrap();
    assert_eq!(
        json!([
            body["max_completion_tokens"],
            body["reasoning_effort"],
            body["store"]
        ]),
        json!([500, "minimal", false])
    );
    for absent in ["max_tokens", "temperature"] {
        assert!(body.get(absent).is_none(), "{absent}");
    }
    let key = body["prompt_cache_key"].as_str().unwrap();
    assert!(key.len() == 16 && !key.contains("session"));
}

#[test]
fn responses_keep_nothing_at_the_provider() {
    let facts = facts("m", true);
    let mut request = conversation();
    request.parameters.as_mut().unwrap().thinking = "low".into();
    request.model = "m".into();
    let body = encoded(Api::Responses, "", Some(&facts), &request);
    assert_eq!(body["store"], false);
    assert_eq!(body["include"], json!(["reasoning.encrypted_content"]));
    assert_eq!(
        body["reasoning"],
        json!({"effort": "low", "summary": "auto"})
    );
    assert_eq!(body["instructions"], "Be kind.");
    assert_eq!(body["max_output_tokens"], 500);
    assert!(body.get("temperature").is_none() && body.get("previous_response_id").is_none());
    let id = history::call_id("a.1").into_owned();
    assert_eq!(
        body["input"],
        json!([
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": "Looking."},
            {"type": "function_call", "call_id": id, "name": "weather", "arguments": "{\"city\": 1}"},
            {"type": "function_call", "call_id": "b", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": id, "output": "sunny"},
            {"type": "function_call_output", "call_id": "b", "output": "sunny"},
            {"role": "user", "content": "and now?"},
        ])
    );
    let plain = encoded(Api::Responses, "", None, &request);
    assert!(plain.get("include").is_none() && plain.get("reasoning").is_none());
    assert_eq!(plain["temperature"], 0.5);
}

#[test]
fn ollama_gets_the_window_and_arguments_as_objects() {
    let body = encoded(Api::Ollama, "", None, &conversation());
    assert_eq!(
        body["options"],
        json!({"num_ctx": 8192, "num_predict": 500, "temperature": 0.5})
    );
    assert_eq!(body["truncate"], false);
    assert!(body.get("keep_alive").is_none() && body.get("think").is_none());
    assert_eq!(
        body["messages"][2],
        json!({"role": "assistant", "content": "Looking.", "tool_calls": [
            {"function": {"name": "weather", "arguments": {"city": 1}}},
            {"function": {"name": "weather", "arguments": {}}},
        ]})
    );
    assert_eq!(
        body["messages"][3],
        json!({"role": "tool", "content": "sunny", "tool_name": "weather"})
    );
}

#[test]
fn ollama_refuses_what_certainly_does_not_fit_before_it_would_be_cut_in_silence() {
    let target = Target {
        api: Api::Ollama,
        provider: "ollama",
        version: "",
        official: false,
        facts: None,
    };
    let mut request = conversation();
    request.context_tokens = 50;
    assert!(encode(&target, &request).is_err_and(|fault| fault.kind == Kind::Overflow));
    request.context_tokens = 0;
    assert!(
        encode(&target, &request).is_ok(),
        "an unknown window is the server's to judge"
    );
}

#[test]
fn levels_of_thinking_reach_ollama_as_it_knows_them() {
    let mut request = conversation();
    for (model, level, expected) in [
        ("qwen3", "high", json!(true)),
        ("qwen3", "off", json!(false)),
        ("gpt-oss:20b", "xhigh", json!("high")),
        ("gpt-oss:20b", "minimal", json!("low")),
        ("qwen3", "", Value::Null),
    ] {
        request.model = model.into();
        request.parameters.as_mut().unwrap().thinking = level.into();
        let facts = facts(model, true);
        let body = encoded(Api::Ollama, "", Some(&facts), &request);
        assert_eq!(body["think"], expected, "{model} {level}");
        assert!(
            encoded(Api::Ollama, "", None, &request)
                .get("think")
                .is_none()
        );
    }
}

/// The answer's events put into the conversation, as an agent does.
fn remembered(events: VecDeque<Event>) -> AssistantMessage {
    let mut message = AssistantMessage::default();
    for event in events {
        match event {
            Event::Text(delta) => message.text.push_str(&delta.text),
            Event::ToolCall(call) => message.tool_calls.push(call),
            Event::Replay(replay) => message.replay = Some(replay),
            _ => {}
        }
    }
    message
}

#[test]
fn sealed_thinking_goes_back_to_who_wrote_it_byte_for_byte_and_to_nobody_else() {
    let mut request = conversation();
    request.model = "m".into();
    for (api, format) in [
        (Api::Anthropic, Format::Anthropic),
        (Api::Responses, Format::Responses),
    ] {
        let stream = format.records(&rich(), "m").concat();
        let message_ = remembered(whole(api, &stream));
        let replay = message_.replay.clone().unwrap();
        assert_eq!(replay.origin, format!("p/m {}", api.name()));
        request.messages = vec![
            user("q"),
            message(Message::Assistant(message_.clone())),
            user("go on"),
        ];
        let sent = |model: &str, api: Api| {
            let target = Target {
                api,
                provider: "p",
                version: "",
                official: false,
                facts: None,
            };
            let request = GenerateRequest {
                model: model.into(),
                ..request.clone()
            };
            String::from_utf8(encode(&target, &request).unwrap()).unwrap()
        };
        let content = std::str::from_utf8(&replay.content).unwrap();
        let inner = content.trim_start_matches('[').trim_end_matches(']');
        assert!(sent("m", api).contains(inner), "{}", api.name());
        assert!(inner.contains("c2VhbA=="));
        assert!(!sent("other", api).contains("c2VhbA=="), "another model");
        for (other, _) in FORMATS.iter().filter(|(other, _)| *other != api) {
            let body = sent("m", *other);
            assert!(
                !body.contains("c2VhbA==") && body.contains("weather"),
                "{}",
                other.name()
            );
        }
    }
    for format in [Format::Anthropic, Format::Responses] {
        let api = if format == Format::Anthropic {
            Api::Anthropic
        } else {
            Api::Responses
        };
        let stream = format.records(&Reply::text("plain"), "m").concat();
        assert!(
            remembered(whole(api, &stream)).replay.is_none(),
            "text says it all"
        );
    }
}

#[test]
fn a_tool_whose_schema_is_no_object_is_named() {
    let mut request = conversation();
    request.tools[0].parameters_json = "[]".into();
    for (api, _) in FORMATS {
        let target = Target {
            api,
            provider: "p",
            version: "",
            official: false,
            facts: None,
        };
        let fault = encode(&target, &request).unwrap_err();
        assert!(fault.kind == Kind::Invalid && fault.detail.contains("weather"));
    }
}

#[test]
fn what_would_fill_the_memory_is_refused_while_it_comes_in() {
    let part = |n: usize| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"index\":0,\"function\":{{\"arguments\":\"{}\"}}}}]}}}}]}}\n\n",
            "x".repeat(n)
        )
    };
    let (_, end) = decode(
        Api::Chat,
        &[part(600_000).as_bytes(), part(600_000).as_bytes()],
    );
    assert_eq!(end.unwrap_err().kind, Kind::TooLarge);
    let many: String = (0..200)
        .map(|n| {
            format!(
                "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"index\":{n}}}]}}}}]}}\n\n"
            )
        })
        .collect();
    assert_eq!(
        decode(Api::Chat, &[many.as_bytes()]).1.unwrap_err().kind,
        Kind::TooLarge
    );
    let deep = format!("data: {}\n\n", "[".repeat(1 << 20));
    for api in [Api::Anthropic, Api::Chat, Api::Responses] {
        assert_eq!(
            decode(api, &[deep.as_bytes()]).1.unwrap_err().kind,
            Kind::Malformed
        );
    }
}

/// A generator whose numbers are always the same (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % below as u64).unwrap()
    }
}

#[test]
fn no_change_of_bytes_breaks_a_reader_or_makes_it_say_more_than_one_end() {
    let mut numbers = Numbers(7);
    for (api, format) in FORMATS {
        let stream = format.records(&rich(), "m").concat().into_bytes();
        for _ in 0..300 {
            let mut bytes = stream.clone();
            for _ in 0..=numbers.next(4) {
                let at = numbers.next(bytes.len());
                match numbers.next(4) {
                    0 => bytes[at] = u8::try_from(numbers.next(256)).unwrap(),
                    1 => drop(bytes.remove(at)),
                    2 => bytes.insert(at, b"\r\n:{}[]\",\0\xff"[numbers.next(11)]),
                    _ => {
                        let to = at + numbers.next(bytes.len() - at);
                        let part = bytes[at..to].to_vec();
                        bytes.splice(at..at, part);
                    }
                }
            }
            let cut = numbers.next(bytes.len());
            let (events, end) = decode(api, &[&bytes[..cut], &bytes[cut..]]);
            let stops = events
                .iter()
                .filter(|event| matches!(event, Event::Stop(_)));
            let (stops, last) = (stops.count(), events.back());
            assert!(stops <= 1 && (stops == 0 || matches!(last, Some(Event::Stop(_)))));
            assert_eq!(
                end.is_ok(),
                stops == 1,
                "{} {}",
                api.name(),
                String::from_utf8_lossy(&bytes)
            );
        }
    }
}
