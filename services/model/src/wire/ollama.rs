//! Ollama's own protocol: one JSON object a line. It is used instead of the one that Ollama copies from OpenAI because only
//! here the size of the window can be said, without which a long prompt is cut in silence.

use std::borrow::Cow;

use clawdbot_proto::v1::model_message::Message as Said;
use clawdbot_proto::v1::{GenerateRequest, StopReason};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::warn;

use super::tally::{Events, Tally};
use super::{Target, chat, history, json};
use crate::fault::{self, Fault, Kind};

/// Bytes of a token that no tokenizer exceeds for long: a prompt that is larger by this measure does not fit for certain.
const BYTES_PER_TOKEN: usize = 8;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<chat::Tool<'a>>,
    stream: bool,
    /// Newer servers refuse a prompt that does not fit instead of cutting it; older ones pass the field over.
    truncate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    think: Option<Think<'a>>,
    options: Options,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Think<'a> {
    Whether(bool),
    Level(&'a str),
}

#[derive(Serialize)]
struct Options {
    #[serde(skip_serializing_if = "Option::is_none")]
    num_ctx: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_predict: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_name: Option<&'a str>,
}

#[derive(Serialize)]
struct Call<'a> {
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    /// An object, not a string.
    arguments: &'a RawValue,
}

fn message<'a>(role: &'static str, content: &'a str) -> Message<'a> {
    Message {
        role,
        content,
        tool_calls: Vec::new(),
        tool_name: None,
    }
}

pub fn encode(target: &Target<'_>, request: &GenerateRequest) -> Result<Vec<u8>, Fault> {
    let parameters = request.parameters.clone().unwrap_or_default();
    let some = |value: u32| Some(value).filter(|value| *value > 0);
    let system = Some(request.system.as_str()).filter(|system| !system.is_empty());
    let mut messages = Vec::with_capacity(request.messages.len() + 1);
    messages.extend(system.map(|system| message("system", system)));
    messages.extend(request.messages.iter().filter_map(|said| {
        Some(match said.message.as_ref()? {
            Said::User(said) => message("user", &said.text),
            Said::Assistant(said) => Message {
                tool_calls: said
                    .tool_calls
                    .iter()
                    .map(|call| Call {
                        function: Function {
                            name: &call.name,
                            arguments: history::arguments(&call.arguments_json),
                        },
                    })
                    .collect(),
                ..message("assistant", &said.text)
            },
            Said::ToolResult(result) => Message {
                tool_name: Some(&result.name),
                ..message("tool", &result.output)
            },
        })
    }));
    let body = Body {
        model: &request.model,
        messages,
        tools: chat::tools(request)?,
        stream: true,
        truncate: false,
        think: think(target, &request.model, &parameters.thinking),
        options: Options {
            num_ctx: some(request.context_tokens),
            num_predict: some(parameters.max_output_tokens),
            temperature: parameters.temperature,
            top_p: parameters.top_p,
        },
    };
    let body =
        serde_json::to_vec(&body).map_err(|error| Fault::new(Kind::Invalid, error.to_string()))?;
    let window = request.context_tokens as usize;
    if window > 0 && body.len() / BYTES_PER_TOKEN > window {
        return Err(Fault::new(
            Kind::Overflow,
            format!("{} KiB do not fit into {window} tokens", body.len() >> 10),
        ));
    }
    Ok(body)
}

/// Models that cannot think answer an error when they are told to.
fn think<'a>(target: &Target<'_>, model: &str, level: &'a str) -> Option<Think<'a>> {
    if !target.reasons() {
        return None;
    }
    match level {
        "" => None,
        "off" => Some(Think::Whether(false)),
        // One family knows levels, and has three of them.
        level if model.starts_with("gpt-oss") => Some(Think::Level(match level {
            "minimal" => "low",
            "xhigh" => "high",
            level => level,
        })),
        _ => Some(Think::Whether(true)),
    }
}

/// Reads the lines of one answer.
pub struct Reader {
    pub tally: Tally,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    message: Option<Answered<'a>>,
    #[serde(default)]
    done: bool,
    #[serde(borrow, default)]
    done_reason: Option<Cow<'a, str>>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    thinking: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<Called<'a>>>,
}

#[derive(Deserialize)]
struct Called<'a> {
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    function: CalledFunction<'a>,
}

#[derive(Deserialize)]
struct CalledFunction<'a> {
    name: String,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

impl Reader {
    pub fn new(tally: Tally) -> Self {
        Self { tally }
    }

    pub fn record(&mut self, line: &[u8], out: &mut Events) -> Result<(), Fault> {
        if self.tally.is_done() {
            return Ok(());
        }
        let read: Line<'_> = json::parse(line)?;
        if read.error.is_some_and(|error| error.get() != "null") {
            return Err(fault::of_event(line));
        }
        if let Some(said) = read.message {
            if let Some(thought) = said.thinking {
                self.tally.thinking(thought, out)?;
            }
            if let Some(text) = said.content {
                self.tally.text(text, out)?;
            }
            for call in said.tool_calls.unwrap_or_default() {
                let arguments = call.function.arguments.map_or("", RawValue::get);
                self.tally
                    .call(&call.id, call.function.name, arguments.to_owned(), out)?;
            }
        }
        if read.done {
            let usage = &mut self.tally.usage;
            usage.input_tokens = read.prompt_eval_count.unwrap_or(0);
            usage.output_tokens = read.eval_count.unwrap_or(0);
            let reason = read.done_reason.unwrap_or_default();
            if reason == "load" {
                warn!("the server loaded the model and answered nothing");
            }
            self.tally.stop = Some(match &*reason {
                "length" => StopReason::Length,
                _ => StopReason::End,
            });
            self.tally.finish(None, out);
        }
        Ok(())
    }
}
