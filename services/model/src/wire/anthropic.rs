//! Anthropic Messages, versions 2023-06-01 and 2026-10-21. The newer one refuses sampling parameters even at their default
//! values, so they are left out there. The stable prefix (tools, system prompt) and the newest message are marked for the
//! prompt cache.

mod reader;

use std::borrow::Cow;

use clawdbot_proto::v1::model_message::Message as Said;
use clawdbot_proto::v1::{GenerateRequest, Parameters};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Target, history};
use crate::fault::{Fault, Kind};

pub use reader::Reader;

/// The version that still takes sampling parameters.
const SAMPLING_VERSION: &str = "2023-06-01";
/// The protocol wants a limit for every answer; this one is for models that nobody knows.
const ANSWER: u32 = 8192;
/// The least that may be thought, and what an answer keeps beside its thinking, tokens.
const LEAST_BUDGET: u32 = 1024;

/// From this version on a model chooses by itself how much it thinks, and refuses a number of tokens sooner or later.
const ADAPTIVE: (u32, u32) = (4, 6);
/// From this version on it knows the highest level of thinking.
const EXTREME: (u32, u32) = (4, 7);
/// From this version on it takes no sampling parameters, whichever version of the protocol is spoken.
const UNSAMPLED: (u32, u32) = (4, 7);

/// Level of thinking: what newer models call it, and the tokens that older ones get for it.
const LEVELS: [(&str, &str, u32); 5] = [
    ("minimal", "low", 1024),
    ("low", "low", 2048),
    ("medium", "medium", 8192),
    ("high", "high", 16_384),
    ("xhigh", "xhigh", 24_576),
];

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(flatten)]
    thinking: Thinking,
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
    description: &'a str,
    input_schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<Cache>,
}

#[derive(Serialize, Clone, Copy)]
#[serde(tag = "type", rename = "ephemeral")]
struct Cache {}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Content<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Blocks(Vec<Block<'a>>),
    /// As the provider wrote it.
    Raw(&'a RawValue),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<Cache>,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: &'a str,
        input: &'a RawValue,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: &'a str,
        is_error: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<Cache>,
    },
}

#[derive(Serialize, Default)]
struct Thinking {
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<Effort>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Mode {
    Adaptive,
    Enabled { budget_tokens: u32 },
}

#[derive(Serialize)]
struct Effort {
    effort: &'static str,
}

pub fn encode(target: &Target<'_>, request: &GenerateRequest) -> Result<Vec<u8>, Fault> {
    let parameters = request.parameters.clone().unwrap_or_default();
    let origin = target.origin(&request.model);
    let mut tools = request
        .tools
        .iter()
        .map(|tool| {
            Ok(Tool {
                name: &tool.name,
                description: &tool.description,
                input_schema: history::schema(tool)?,
                cache_control: None,
            })
        })
        .collect::<Result<Vec<_>, Fault>>()?;
    let system: Vec<Block<'_>> = says(&request.system)
        .map(|text| Block::Text {
            text,
            cache_control: Some(Cache {}),
        })
        .into_iter()
        .collect();
    // Tools come before the system prompt in the prefix, so that one mark after both is enough.
    if let Some(last) = tools.last_mut().filter(|_| system.is_empty()) {
        last.cache_control = Some(Cache {});
    }
    let mut messages = messages(request, &origin);
    if let Some(Content::Blocks(blocks)) = messages.last_mut().map(|message| &mut message.content)
        && let Some(Block::Text { cache_control, .. } | Block::ToolResult { cache_control, .. }) =
            blocks.last_mut()
    {
        *cache_control = Some(Cache {});
    }
    let (max_tokens, thinking) = thinking(target, request, &parameters, &origin);
    let sampling = target.version == SAMPLING_VERSION
        && version(&request.model) < UNSAMPLED
        && thinking.thinking.is_none();
    let body = Body {
        model: &request.model,
        max_tokens,
        stream: true,
        tools,
        system,
        messages,
        // Others go up to two.
        temperature: parameters
            .temperature
            .filter(|_| sampling)
            .map(|temperature| temperature.min(1.0)),
        // Newer models take one of the two.
        top_p: parameters
            .top_p
            .filter(|_| sampling && parameters.temperature.is_none()),
        thinking,
    };
    serde_json::to_vec(&body).map_err(|error| Fault::new(Kind::Invalid, error.to_string()))
}

/// Text that the protocol takes: it refuses blocks without any.
fn says(text: &str) -> Option<&str> {
    (!text.trim_ascii().is_empty()).then_some(text)
}

/// All results of one round stand in one message of the user's, and before any text; neighbours of one role are joined.
fn messages<'a>(request: &'a GenerateRequest, origin: &str) -> Vec<Message<'a>> {
    let mut messages: Vec<Message<'a>> = Vec::with_capacity(request.messages.len());
    let mut own_ids = false;
    let user = |messages: &mut Vec<Message<'a>>, block| match messages.last_mut() {
        Some(Message {
            role: "user",
            content: Content::Blocks(blocks),
        }) => blocks.push(block),
        _ => messages.push(Message {
            role: "user",
            content: Content::Blocks(vec![block]),
        }),
    };
    for message in &request.messages {
        match &message.message {
            Some(Said::User(said)) => {
                if let Some(text) = says(&said.text) {
                    let cache_control = None;
                    user(
                        &mut messages,
                        Block::Text {
                            text,
                            cache_control,
                        },
                    );
                }
            }
            Some(Said::ToolResult(result)) => user(
                &mut messages,
                Block::ToolResult {
                    tool_use_id: id(&result.call_id, own_ids),
                    content: &result.output,
                    is_error: result.is_error,
                    cache_control: None,
                },
            ),
            Some(Said::Assistant(said)) => {
                let kept = history::replay(said, origin);
                own_ids = kept.is_some();
                let content = match kept {
                    Some(raw) => Content::Raw(raw),
                    None => {
                        let text = says(&said.text).map(|text| Block::Text {
                            text,
                            cache_control: None,
                        });
                        let calls = said.tool_calls.iter().map(|call| Block::ToolUse {
                            id: id(&call.id, false),
                            name: &call.name,
                            input: history::arguments(&call.arguments_json),
                        });
                        let blocks: Vec<_> = text.into_iter().chain(calls).collect();
                        if blocks.is_empty() {
                            continue;
                        }
                        Content::Blocks(blocks)
                    }
                };
                messages.push(Message {
                    role: "assistant",
                    content,
                });
            }
            None => {}
        }
    }
    messages
}

/// Ids that stand in a replayed message stay as the provider made them.
fn id(id: &str, own: bool) -> Cow<'_, str> {
    match own {
        true => Cow::Borrowed(id),
        false => history::call_id(id),
    }
}

/// The limit of the answer, and how much is thought before it.
fn thinking(
    target: &Target<'_>,
    request: &GenerateRequest,
    parameters: &Parameters,
    origin: &str,
) -> (u32, Thinking) {
    let most = target.facts.map_or(0, |facts| facts.max_output_tokens);
    let max_tokens = match (parameters.max_output_tokens, most) {
        (0, 0) => ANSWER,
        (0, most) => most,
        (asked, 0) => asked,
        (asked, most) => asked.min(most),
    };
    let level = LEVELS
        .iter()
        .find(|(level, ..)| *level == parameters.thinking);
    let Some((_, effort, budget)) = level.filter(|_| target.reasons()) else {
        return (max_tokens, Thinking::default());
    };
    let version = version(&request.model);
    if version >= ADAPTIVE {
        let effort = match *effort {
            "xhigh" if version < EXTREME => "high",
            effort => effort,
        };
        let thinking = Thinking {
            thinking: Some(Mode::Adaptive),
            output_config: Some(Effort { effort }),
        };
        return (max_tokens, thinking);
    }
    // In the middle of a turn the older form wants the thinking that came before the calls, which another provider's
    // calls do not have.
    let budget = (*budget).min(max_tokens.saturating_sub(LEAST_BUDGET));
    if budget < LEAST_BUDGET || !history::turn_has_replays(request, origin) {
        return (max_tokens, Thinking::default());
    }
    let thinking = Thinking {
        thinking: Some(Mode::Enabled {
            budget_tokens: budget,
        }),
        output_config: None,
    };
    (max_tokens, thinking)
}

/// The version in a Claude's name; of others nothing is known.
fn version(model: &str) -> (u32, u32) {
    let Some(name) = model
        .rsplit('/')
        .next()
        .and_then(|m| m.strip_prefix("claude-"))
    else {
        return (0, 0);
    };
    // "opus-4-7-20260101": numbers that are no date, in their order.
    let mut numbers = name
        .split(['-', '.'])
        .filter_map(|part| part.parse::<u32>().ok())
        .filter(|number| *number < 1000);
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_every_form_of_a_name() {
        for (model, expected) in [
            ("claude-3-7-sonnet-20250219", (3, 7)),
            ("claude-sonnet-4-20250514", (4, 0)),
            ("claude-opus-4-5", (4, 5)),
            ("claude-opus-4-7-20260401", (4, 7)),
            ("claude-sonnet-5", (5, 0)),
            ("anthropic/claude-opus-4.7", (4, 7)),
            ("llama3", (0, 0)),
        ] {
            assert_eq!(version(model), expected, "{model}");
        }
    }
}
