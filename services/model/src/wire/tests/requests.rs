//! Requests become bodies.

use clawdbot_proto::v1::model_message::Message;
use clawdbot_proto::v1::{
    AssistantMessage, ModelMessage, Parameters, ToolResult, ToolSpec, UserMessage,
};
use serde_json::json;

use super::*;
use crate::fault::Kind;

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
        server: Server::Other,
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
fn parameters_stay_within_what_the_protocol_and_the_model_take() {
    let mut request = conversation();
    request.messages = vec![user("hi")];
    let mut sent = |api, model: &str, parameters: Parameters| {
        request.model = model.into();
        request.parameters = Some(parameters);
        let facts = facts(model, !model.contains("4-1"));
        encoded(api, "2023-06-01", Some(&facts), &request)
    };
    let warm = |temperature| Parameters {
        temperature: Some(temperature),
        ..Default::default()
    };
    for (model, asked, expected) in [
        ("claude-opus-4-6", 0.7, json!(0.7)),
        ("claude-opus-4-6", 1.5, json!(1.0)),
        ("claude-opus-4-7", 0.7, Value::Null),
    ] {
        let body = sent(Api::Anthropic, model, warm(asked));
        assert_eq!(body["temperature"], expected, "{model} {asked}");
    }
    let body = sent(Api::Chat, "gpt-4-1", warm(1.5));
    assert_eq!(body["temperature"], 1.5, "others go up to two");

    for (asked, expected) in [(0, Value::Null), (10, json!(16)), (17, json!(17))] {
        let parameters = Parameters {
            max_output_tokens: asked,
            ..Default::default()
        };
        let body = sent(Api::Responses, "gpt-5", parameters);
        assert_eq!(body["max_output_tokens"], expected);
    }

    for (api, model, level, expected) in [
        (Api::Anthropic, "claude-opus-4-6", "xhigh", "high"),
        (Api::Anthropic, "claude-opus-4-7", "xhigh", "xhigh"),
        (Api::Anthropic, "claude-opus-4-7", "minimal", "low"),
        (Api::Responses, "gpt-5-mini", "minimal", "minimal"),
        (Api::Responses, "gpt-5-codex", "minimal", "low"),
        (Api::Responses, "gpt-5", "xhigh", "high"),
        (Api::Responses, "gpt-5.1", "minimal", "low"),
        (Api::Responses, "gpt-5.1-codex-max", "xhigh", "xhigh"),
        (Api::Responses, "gpt-5.2", "xhigh", "xhigh"),
        (Api::Responses, "gpt-5-pro", "low", "high"),
        (Api::Responses, "o3", "minimal", "low"),
        (Api::Chat, "o4-mini", "xhigh", "high"),
        (Api::Chat, "openai/gpt-5", "minimal", "minimal"),
        (Api::Chat, "gpt-oss-120b", "medium", "medium"),
        (Api::Chat, "gpt-5.1-chat-latest", "low", ""),
    ] {
        let thinking = Parameters {
            thinking: level.into(),
            ..Default::default()
        };
        let body = sent(api, model, thinking);
        let effort = match api {
            Api::Anthropic => &body["output_config"]["effort"],
            Api::Responses => &body["reasoning"]["effort"],
            _ => &body["reasoning_effort"],
        };
        assert_eq!(
            effort.as_str().unwrap_or_default(),
            expected,
            "{model} {level}"
        );
    }
}

#[test]
fn mistral_gets_ids_of_calls_in_the_only_form_that_it_takes() {
    let sent = |server| {
        let target = Target {
            api: Api::Chat,
            provider: "p",
            version: "",
            server,
            facts: None,
        };
        let body: Value =
            serde_json::from_slice(&encode(&target, &conversation()).unwrap()).unwrap();
        let messages = body["messages"].clone();
        let called = messages[2]["tool_calls"][0]["id"].as_str().unwrap();
        assert_eq!(messages[3]["tool_call_id"], called, "{server:?}");
        called.to_owned()
    };
    let short = sent(Server::Mistral);
    assert!(short.len() == 9 && short.bytes().all(|b| b.is_ascii_alphanumeric()));
    assert_eq!(sent(Server::Other), history::call_id("a.1"));
}

#[test]
fn servers_are_told_by_host_and_mistral_also_by_its_id() {
    for (provider, host, server) in [
        ("x", "api.openai.com", Server::OpenAi),
        ("openai", "127.0.0.1", Server::Other),
        ("x", "me.openai.azure.com", Server::Azure),
        ("x", "openai.azure.com.example.org", Server::Other),
        ("x", "api.mistral.ai", Server::Mistral),
        ("mistral", "proxy.example", Server::Mistral),
    ] {
        assert_eq!(Server::of(provider, host), server, "{provider} {host}");
    }
}

#[test]
fn azure_gets_the_new_name_of_the_limit_and_nothing_else_of_openai_s_own() {
    let facts = facts("o3", true);
    let target = Target {
        api: Api::Chat,
        provider: "azure",
        version: "",
        server: Server::Azure,
        facts: Some(&facts),
    };
    let mut request = conversation();
    request.model = "o3".into();
    let body: Value = serde_json::from_slice(&encode(&target, &request).unwrap()).unwrap();
    assert_eq!(body["max_completion_tokens"], 500);
    for absent in ["max_tokens", "temperature", "store", "prompt_cache_key"] {
        assert!(body.get(absent).is_none(), "{absent}");
    }
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
        server: Server::OpenAi,
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
    assert_eq!(body["reasoning"], json!({"effort": "low"}));
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
        server: Server::Other,
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
                server: Server::Other,
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
            server: Server::Other,
            facts: None,
        };
        let fault = encode(&target, &request).unwrap_err();
        assert!(fault.kind == Kind::Invalid && fault.detail.contains("weather"));
    }
}
