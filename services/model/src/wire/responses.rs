//! OpenAI Responses, without anything kept at the provider: `store` is off, and reasoning comes back to us encrypted and
//! goes along with the next request.

mod reader;

use std::borrow::Cow;

use clawdbot_proto::v1::GenerateRequest;
use clawdbot_proto::v1::model_message::Message as Said;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Target, chat, history, json};
use crate::fault::{Fault, Kind};

pub use reader::Reader;

/// The least limit of an answer that the protocol takes, tokens.
const LEAST: u32 = 16;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    instructions: &'a str,
    input: Vec<Item<'a>>,
    stream: bool,
    store: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    include: &'static [&'static str],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Reasoning>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Option<String>,
}

#[derive(Serialize)]
struct Reasoning {
    effort: &'static str,
}

#[derive(Serialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    description: &'a str,
    parameters: &'a RawValue,
    strict: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Item<'a> {
    Message {
        role: &'static str,
        content: &'a str,
    },
    Call {
        #[serde(rename = "type")]
        kind: &'static str,
        call_id: Cow<'a, str>,
        name: &'a str,
        arguments: &'a str,
    },
    Output {
        #[serde(rename = "type")]
        kind: &'static str,
        call_id: Cow<'a, str>,
        output: &'a str,
    },
    /// As the provider wrote it.
    Raw(&'a RawValue),
}

pub fn encode(target: &Target<'_>, request: &GenerateRequest) -> Result<Vec<u8>, Fault> {
    let parameters = request.parameters.clone().unwrap_or_default();
    let reasons = target.reasons();
    let tools = request.tools.iter().map(|tool| {
        Ok(Tool {
            kind: "function",
            name: &tool.name,
            description: &tool.description,
            parameters: history::schema(tool)?,
            // The schemas of our tools are not written for the strict subset.
            strict: false,
        })
    });
    let effort = chat::effort(target, &request.model, &parameters.thinking);
    let body = Body {
        model: &request.model,
        instructions: &request.system,
        input: input(request, &target.origin(&request.model)),
        stream: true,
        store: false,
        include: match reasons {
            true => &["reasoning.encrypted_content"],
            false => &[],
        },
        tools: tools.collect::<Result<_, Fault>>()?,
        temperature: parameters.temperature.filter(|_| !reasons),
        top_p: parameters.top_p.filter(|_| !reasons),
        max_output_tokens: Some(parameters.max_output_tokens)
            .filter(|limit| *limit > 0)
            .map(|limit| limit.max(LEAST)),
        // Without a summary: nobody reads it, and it is refused to those who have not shown who they are.
        reasoning: effort.map(|effort| Reasoning { effort }),
        prompt_cache_key: chat::cache_key(target, request),
    };
    serde_json::to_vec(&body).map_err(|error| Fault::new(Kind::Invalid, error.to_string()))
}

fn input<'a>(request: &'a GenerateRequest, origin: &str) -> Vec<Item<'a>> {
    let mut items = Vec::with_capacity(request.messages.len());
    let mut own_ids = false;
    for message in &request.messages {
        match &message.message {
            Some(Said::User(said)) => items.push(Item::Message {
                role: "user",
                content: &said.text,
            }),
            Some(Said::ToolResult(result)) => items.push(Item::Output {
                kind: "function_call_output",
                // What answers a replayed call bears the id that stands there.
                call_id: match own_ids {
                    true => Cow::Borrowed(&result.call_id),
                    false => history::call_id(&result.call_id),
                },
                output: &result.output,
            }),
            Some(Said::Assistant(said)) => {
                let kept = history::replay(said, origin);
                let kept =
                    kept.and_then(|raw| json::parse::<Vec<&RawValue>>(raw.get().as_bytes()).ok());
                own_ids = kept.is_some();
                if let Some(kept) = kept {
                    items.extend(kept.into_iter().map(Item::Raw));
                    continue;
                }
                if !said.text.is_empty() {
                    items.push(Item::Message {
                        role: "assistant",
                        content: &said.text,
                    });
                }
                items.extend(said.tool_calls.iter().map(|call| Item::Call {
                    kind: "function_call",
                    call_id: history::call_id(&call.id),
                    name: &call.name,
                    arguments: history::arguments(&call.arguments_json).get(),
                }));
            }
            None => {}
        }
    }
    items
}
