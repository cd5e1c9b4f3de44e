//! `POST /v1/responses`: what it takes, and how it words an answer. Nothing is kept under a response's id, so what refers
//! to one is refused.

use std::fmt::{Arguments, Write as _};

use clawdbot_proto::v1;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::fault::Fault;
use super::prompt::{Content, Conversation};
use super::request::{Knobs, Unused, refuse_used};
use super::stream::Dialect;
use super::{Ask, Quoted, Stamp};

/// The body. What is not listed is ignored, as hints to the provider's own service are.
#[derive(Deserialize)]
pub struct Body {
    model: Option<String>,
    input: Option<Input>,
    instructions: Option<String>,
    stream: Option<bool>,
    max_output_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    reasoning: Option<Reasoning>,
    user: Option<String>,
    metadata: Option<serde_json::Map<String, Value>>,
    text: Option<TextOptions>,
    #[serde(default)]
    previous_response_id: Unused,
    #[serde(default)]
    conversation: Unused,
    #[serde(default)]
    prompt: Unused,
    #[serde(default)]
    background: Unused,
    #[serde(default)]
    tools: Unused,
    #[serde(default)]
    tool_choice: Unused,
    #[serde(default)]
    top_logprobs: Unused,
}

#[derive(Deserialize)]
struct Reasoning {
    effort: Option<String>,
}

#[derive(Deserialize)]
struct TextOptions {
    #[serde(default)]
    format: Unused,
}

/// A string, or items.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or an array of items")]
enum Input {
    Text(String),
    Items(Vec<Item>),
}

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: Option<String>,
    role: Option<String>,
    #[serde(default)]
    content: Option<ItemContent>,
}

/// Items that are no messages have contents of other forms.
#[derive(Deserialize)]
#[serde(untagged)]
enum ItemContent {
    Known(Content),
    Other(IgnoredAny),
}

impl Body {
    /// What is asked, and how to word the answer.
    ///
    /// # Errors
    /// With the parameter that will not do.
    pub fn ask(self, stamp: Stamp) -> Result<(Ask, Response), Fault> {
        let format = self.text.map_or(Unused::default(), |text| text.format);
        refuse_used(&[
            ("previous_response_id", self.previous_response_id),
            ("conversation", self.conversation),
            ("prompt", self.prompt),
            ("background", self.background),
            ("tools", self.tools),
            ("tool_choice", self.tool_choice),
            ("top_logprobs", self.top_logprobs),
            ("text.format", format),
        ])?;
        let effort = self.reasoning.and_then(|reasoning| reasoning.effort);
        let knobs = Knobs {
            temperature: self.temperature,
            top_p: self.top_p,
            max_tokens: ("max_output_tokens", self.max_output_tokens),
            effort: ("reasoning.effort", effort.as_deref()),
        };
        let parameters = knobs.parameters()?;
        let mut conversation = Conversation::default();
        if let Some(text) = self.instructions.as_deref().filter(|text| !text.is_empty()) {
            conversation.instruct(text);
        }
        match self.input {
            None => {}
            Some(Input::Text(text)) => {
                let content = Content::from(text.as_str());
                conversation.add("user", None, content, || "input".into())?;
            }
            Some(Input::Items(items)) => {
                for (number, item) in items.into_iter().enumerate() {
                    add(&mut conversation, item, number)?;
                }
            }
        }
        let mut question = conversation.into_question("input")?;
        question.parameters = parameters;
        let model = self.model.unwrap_or_else(|| super::target::MODEL.into());
        let asked = json!({
            "background": false,
            "conversation": null,
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "max_tool_calls": null,
            "metadata": self.metadata.unwrap_or_default(),
            "model": model,
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "reasoning": { "effort": effort, "summary": null },
            "service_tier": "default",
            "store": false,
            "temperature": self.temperature,
            "text": { "format": { "type": "text" } },
            "tool_choice": "auto",
            "tools": [],
            "top_logprobs": 0,
            "top_p": self.top_p,
            "truncation": "disabled",
            "user": self.user,
        });
        let response = Response {
            item: stamp.name("msg_"),
            stamp,
            asked,
            sequence: 0,
        };
        let ask = Ask {
            model,
            user: self.user,
            stream: self.stream == Some(true),
            question,
        };
        Ok((ask, response))
    }
}

fn add(conversation: &mut Conversation, item: Item, number: usize) -> Result<(), Fault> {
    let place = || format!("input[{number}]");
    match item.kind.as_deref() {
        None | Some("message") => {}
        // Another model's thoughts mean nothing to this one.
        Some("reasoning") => return Ok(()),
        Some(kind) => {
            let message =
                format!("Items of type {kind:?} are not supported here; send messages only.");
            return Err(Fault::invalid(place(), message));
        }
    }
    let Some(role) = item.role else {
        let message = "A message needs a role: system, developer, user or assistant.";
        return Err(Fault::invalid(format!("{}.role", place()), message));
    };
    let content = match item.content {
        None => Content::default(),
        Some(ItemContent::Known(content)) => content,
        Some(ItemContent::Other(_)) => {
            let message = "The content must be a string or an array of parts.";
            return Err(Fault::invalid(format!("{}.content", place()), message));
        }
    };
    conversation.add(&role, None, content, place)
}

/// Words one answer.
pub struct Response {
    stamp: Stamp,
    /// Id of the one message.
    item: String,
    /// What every response object repeats of the request.
    asked: Value,
    sequence: u64,
}

impl Response {
    fn record(&mut self, kind: &str, members: Arguments, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{},{members}}}\n\n",
            self.sequence
        );
        self.sequence += 1;
    }

    fn object(&self, status: &str, changes: Value) -> Value {
        let mut object = self.asked.clone();
        let state = json!({
            "id": self.stamp.name("resp_"),
            "object": "response",
            "created_at": self.stamp.created,
            "status": status,
            "error": null,
            "incomplete_details": null,
            "output": [],
            "usage": null,
        });
        for part in [state, changes] {
            if let (Value::Object(object), Value::Object(part)) = (&mut object, part) {
                object.extend(part);
            }
        }
        object
    }

    fn part(&self, text: &str) -> Value {
        json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
    }

    fn message(&self, status: &str, text: &str) -> Value {
        json!({
            "id": self.item,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [self.part(text)],
        })
    }

    /// The whole response and its status.
    fn ended(&self, text: &str, answer: &v1::Answer) -> (&'static str, Value) {
        let usage = answer.usage.unwrap_or_default();
        let (status, details) = match answer.cut {
            true => ("incomplete", json!({ "reason": "max_output_tokens" })),
            false => ("completed", Value::Null),
        };
        let changes = json!({
            "incomplete_details": details,
            "output": [self.message(status, text)],
            "usage": {
                "input_tokens": usage.input_tokens,
                "input_tokens_details": { "cached_tokens": usage.cache_read_tokens },
                "output_tokens": usage.output_tokens,
                "output_tokens_details": { "reasoning_tokens": 0 },
                "total_tokens": usage.input_tokens.saturating_add(usage.output_tokens),
            },
        });
        (status, self.object(status, changes))
    }
}

impl Dialect for Response {
    fn whole(&self, answer: &v1::Answer) -> String {
        self.ended(&answer.text, answer).1.to_string()
    }

    fn open(&mut self, out: &mut String) {
        let object = self.object("in_progress", json!({}));
        for kind in ["response.created", "response.in_progress"] {
            self.record(kind, format_args!("\"response\":{object}"), out);
        }
        let mut item = self.message("in_progress", "");
        item["content"] = json!([]);
        let added = format_args!("\"output_index\":0,\"item\":{item}");
        self.record("response.output_item.added", added, out);
        let (id, part) = (self.item.clone(), self.part(""));
        let added = format_args!(
            "\"item_id\":\"{id}\",\"output_index\":0,\"content_index\":0,\"part\":{part}"
        );
        self.record("response.content_part.added", added, out);
    }

    fn delta(&mut self, text: &str, out: &mut String) {
        let (id, text) = (self.item.clone(), Quoted(text));
        let delta = format_args!(
            "\"item_id\":\"{id}\",\"output_index\":0,\"content_index\":0,\"delta\":{text},\"logprobs\":[]"
        );
        self.record("response.output_text.delta", delta, out);
    }

    fn close(&mut self, told: &str, answer: &v1::Answer, out: &mut String) {
        let place = format!(
            "\"item_id\":\"{}\",\"output_index\":0,\"content_index\":0",
            self.item
        );
        let text = Quoted(told);
        let done = format_args!("{place},\"text\":{text},\"logprobs\":[]");
        self.record("response.output_text.done", done, out);
        let part = self.part(told);
        let done = format_args!("{place},\"part\":{part}");
        self.record("response.content_part.done", done, out);
        let (status, object) = self.ended(told, answer);
        let item = &object["output"][0];
        let done = format_args!("\"output_index\":0,\"item\":{item}");
        self.record("response.output_item.done", done, out);
        let kind = format!("response.{status}");
        self.record(&kind, format_args!("\"response\":{object}"), out);
    }

    fn fail(&mut self, told: &str, fault: &Fault, out: &mut String) {
        let output = match told {
            "" => json!([]),
            told => json!([self.message("incomplete", told)]),
        };
        let error = json!({ "code": fault.code(), "message": fault.message() });
        let object = self.object("failed", json!({ "error": error, "output": output }));
        self.record(
            "response.failed",
            format_args!("\"response\":{object}"),
            out,
        );
    }
}
