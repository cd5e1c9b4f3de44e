//! OpenAI chat completions, and those who copy it: OpenRouter, Groq, llama.cpp and many more. Only OpenAI's own server
//! gets what others might refuse.

mod reader;

use std::borrow::Cow;

use clawdbot_proto::v1::GenerateRequest;
use clawdbot_proto::v1::model_message::Message as Said;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Server, Target, history};
use crate::fault::{Fault, Kind};

pub use reader::Reader;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Option<String>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
enum Message<'a> {
    System {
        content: &'a str,
    },
    User {
        content: &'a str,
    },
    Assistant {
        content: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<Call<'a>>,
    },
    Tool {
        tool_call_id: Cow<'a, str>,
        content: &'a str,
    },
}

#[derive(Serialize)]
struct Call<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    function: CallFunction<'a>,
}

#[derive(Serialize)]
struct CallFunction<'a> {
    name: &'a str,
    /// JSON in a string.
    arguments: &'a str,
}

/// A tool as this protocol and Ollama's describe it.
#[derive(Serialize)]
pub struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a RawValue,
}

/// The tools of a request.
pub fn tools(request: &GenerateRequest) -> Result<Vec<Tool<'_>>, Fault> {
    let tools = request.tools.iter().map(|tool| {
        Ok(Tool {
            kind: "function",
            function: Function {
                name: &tool.name,
                description: &tool.description,
                parameters: history::schema(tool)?,
            },
        })
    });
    tools.collect()
}

/// How hard a reasoning model is asked to think, in words that it knows: three are known everywhere, those at either end
/// to some, and a model that others refuse a word gets the next one.
pub fn effort(target: &Target<'_>, model: &str, thinking: &str) -> Option<&'static str> {
    let name = model.rsplit('/').next().unwrap_or(model);
    let gpt = name.strip_prefix("gpt-");
    let version = gpt.and_then(|rest| rest.split('-').next()?.parse::<f32>().ok());
    let extreme = version >= Some(5.2) || name.contains("codex-max");
    let has = |word: &str| gpt.is_some_and(|rest| rest.split('-').any(|part| part == word));
    // Those for conversations think as they please.
    if !target.reasons() || has("chat") {
        return None;
    }
    let effort = match thinking {
        "minimal" if version == Some(5.0) && !has("codex") => "minimal",
        "minimal" | "low" => "low",
        "medium" => "medium",
        "xhigh" if extreme => "xhigh",
        "high" | "xhigh" => "high",
        _ => return None,
    };
    match has("pro") {
        // The first of these knows nothing else.
        true if effort != "xhigh" => Some("high"),
        _ => Some(effort),
    }
}

/// A session's name for a prompt cache: stable, and no session id of ours.
pub fn cache_key(target: &Target<'_>, request: &GenerateRequest) -> Option<String> {
    let named = target.server == Server::OpenAi && !request.cache_key.is_empty();
    named.then(|| format!("{:016x}", history::fnv(request.cache_key.as_bytes())))
}

pub fn encode(target: &Target<'_>, request: &GenerateRequest) -> Result<Vec<u8>, Fault> {
    let parameters = request.parameters.clone().unwrap_or_default();
    // Reasoning models of OpenAI refuse sampling parameters and the old name of the limit.
    let renamed = matches!(target.server, Server::OpenAi | Server::Azure);
    let strict = renamed && target.reasons();
    let call_id = match target.server {
        Server::Mistral => history::short_id,
        _ => history::call_id,
    };
    let limit = Some(parameters.max_output_tokens).filter(|limit| *limit > 0);
    let system = Some(request.system.as_str()).filter(|system| !system.is_empty());
    let mut messages: Vec<Message<'_>> = Vec::with_capacity(request.messages.len() + 1);
    messages.extend(system.map(|content| Message::System { content }));
    messages.extend(request.messages.iter().filter_map(|message| {
        Some(match message.message.as_ref()? {
            Said::User(said) => Message::User {
                content: &said.text,
            },
            Said::Assistant(said) => {
                let content = Some(said.text.as_str()).filter(|text| !text.is_empty());
                if content.is_none() && said.tool_calls.is_empty() {
                    return None;
                }
                let calls = said.tool_calls.iter().map(|call| Call {
                    id: call_id(&call.id),
                    kind: "function",
                    function: CallFunction {
                        name: &call.name,
                        arguments: history::arguments(&call.arguments_json).get(),
                    },
                });
                Message::Assistant {
                    content,
                    tool_calls: calls.collect(),
                }
            }
            Said::ToolResult(result) => Message::Tool {
                tool_call_id: call_id(&result.call_id),
                content: &result.output,
            },
        })
    }));
    let body = Body {
        model: &request.model,
        messages,
        stream: true,
        stream_options: StreamOptions {
            include_usage: true,
        },
        tools: tools(request)?,
        temperature: parameters.temperature.filter(|_| !strict),
        top_p: parameters.top_p.filter(|_| !strict),
        max_tokens: limit.filter(|_| !renamed),
        max_completion_tokens: limit.filter(|_| renamed),
        reasoning_effort: effort(target, &request.model, &parameters.thinking),
        store: (target.server == Server::OpenAi).then_some(false),
        prompt_cache_key: cache_key(target, request),
    };
    serde_json::to_vec(&body).map_err(|error| Fault::new(Kind::Invalid, error.to_string()))
}
