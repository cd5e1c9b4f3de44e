//! `POST /v1/chat/completions`: what it takes, and how it words an answer.

use clawdbot_proto::v1;
use serde::Deserialize;

use super::fault::Fault;
use super::prompt::{Content, Conversation};
use super::request::{Knobs, Unused, refuse_used};
use super::stream::Dialect;
use super::{Ask, Quoted, Stamp};

/// The body. What is not listed is ignored, as hints to the provider's own service are.
#[derive(Deserialize)]
pub struct Body {
    model: Option<String>,
    #[serde(default)]
    messages: Vec<Message>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    reasoning_effort: Option<String>,
    user: Option<String>,
    n: Option<u64>,
    #[serde(default)]
    tools: Unused,
    #[serde(default)]
    functions: Unused,
    #[serde(default)]
    tool_choice: Unused,
    #[serde(default)]
    function_call: Unused,
    #[serde(default)]
    logprobs: Unused,
    #[serde(default)]
    top_logprobs: Unused,
    #[serde(default)]
    logit_bias: Unused,
    #[serde(default)]
    presence_penalty: Unused,
    #[serde(default)]
    frequency_penalty: Unused,
    #[serde(default)]
    stop: Unused,
    #[serde(default)]
    response_format: Unused,
    #[serde(default)]
    modalities: Unused,
    #[serde(default)]
    audio: Unused,
    #[serde(default)]
    web_search_options: Unused,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    name: Option<String>,
    #[serde(default)]
    content: Content,
}

impl Body {
    /// What is asked, and how to word the answer.
    ///
    /// # Errors
    /// With the parameter that will not do.
    pub fn ask(self, stamp: Stamp) -> Result<(Ask, Chat), Fault> {
        refuse_used(&[
            ("tools", self.tools),
            ("functions", self.functions),
            ("tool_choice", self.tool_choice),
            ("function_call", self.function_call),
            ("logprobs", self.logprobs),
            ("top_logprobs", self.top_logprobs),
            ("logit_bias", self.logit_bias),
            ("presence_penalty", self.presence_penalty),
            ("frequency_penalty", self.frequency_penalty),
            ("stop", self.stop),
            ("response_format", self.response_format),
            ("modalities", self.modalities),
            ("audio", self.audio),
            ("web_search_options", self.web_search_options),
        ])?;
        if self.n.is_some_and(|n| n != 1) {
            return Err(Fault::invalid("n", "There is one answer; n must be 1."));
        }
        let knobs = Knobs {
            temperature: self.temperature,
            top_p: self.top_p,
            max_tokens: match self.max_completion_tokens {
                None => ("max_tokens", self.max_tokens),
                tokens => ("max_completion_tokens", tokens),
            },
            effort: ("reasoning_effort", self.reasoning_effort.as_deref()),
        };
        let parameters = knobs.parameters()?;
        let mut conversation = Conversation::default();
        for (number, message) in self.messages.into_iter().enumerate() {
            let place = || format!("messages[{number}]");
            conversation.add(
                &message.role,
                message.name.as_deref(),
                message.content,
                place,
            )?;
        }
        let mut question = conversation.into_question("messages")?;
        question.parameters = parameters;
        let model = self.model.unwrap_or_else(|| super::target::MODEL.into());
        let with_usage = self
            .stream_options
            .is_some_and(|options| options.include_usage == Some(true));
        let chat = Chat {
            head: format!(
                r#"{{"id":{},"object":"chat.completion.chunk","created":{},"model":{},"choices":"#,
                Quoted(&stamp.name("chatcmpl-")),
                stamp.created,
                Quoted(&model),
            ),
            model: model.clone(),
            stamp,
            with_usage,
        };
        let ask = Ask {
            model,
            user: self.user,
            stream: self.stream == Some(true),
            question,
        };
        Ok((ask, chat))
    }
}

/// Words one answer.
pub struct Chat {
    stamp: Stamp,
    model: String,
    /// The beginning of every chunk.
    head: String,
    with_usage: bool,
}

impl Chat {
    fn chunk(&self, choices: &[&str], out: &mut String) {
        out.push_str("data: ");
        out.push_str(&self.head);
        out.extend(choices.iter().copied());
        out.push_str(match self.with_usage {
            true => ",\"usage\":null}\n\n",
            false => "}\n\n",
        });
    }
}

impl Dialect for Chat {
    fn whole(&self, answer: &v1::Answer) -> String {
        format!(
            r#"{{"id":{},"object":"chat.completion","created":{},"model":{},"choices":[{{"index":0,"message":{{"role":"assistant","content":{},"refusal":null}},"logprobs":null,"finish_reason":"{}"}}],"usage":{}}}"#,
            Quoted(&self.stamp.name("chatcmpl-")),
            self.stamp.created,
            Quoted(&self.model),
            Quoted(&answer.text),
            finish_reason(answer),
            usage(answer),
        )
    }

    fn open(&mut self, out: &mut String) {
        let role = r#"[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]"#;
        self.chunk(&[role], out);
    }

    fn delta(&mut self, text: &str, out: &mut String) {
        let text = Quoted(text).to_string();
        let pieces = [
            r#"[{"index":0,"delta":{"content":"#,
            &text,
            r#"},"logprobs":null,"finish_reason":null}]"#,
        ];
        self.chunk(&pieces, out);
    }

    fn close(&mut self, _: &str, answer: &v1::Answer, out: &mut String) {
        let pieces = [
            r#"[{"index":0,"delta":{},"logprobs":null,"finish_reason":""#,
            finish_reason(answer),
            r#""}]"#,
        ];
        self.chunk(&pieces, out);
        if self.with_usage {
            let usage = usage(answer);
            for piece in ["data: ", &self.head, "[],\"usage\":", &usage, "}\n\n"] {
                out.push_str(piece);
            }
        }
        out.push_str("data: [DONE]\n\n");
    }

    fn fail(&mut self, _: &str, fault: &Fault, out: &mut String) {
        let record = serde_json::json!({ "error": fault.error() });
        out.push_str(&format!("data: {record}\n\n"));
    }
}

fn finish_reason(answer: &v1::Answer) -> &'static str {
    match answer.cut {
        true => "length",
        false => "stop",
    }
}

fn usage(answer: &v1::Answer) -> String {
    let usage = answer.usage.unwrap_or_default();
    format!(
        r#"{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{}}}}}"#,
        usage.input_tokens,
        usage.output_tokens,
        usage.input_tokens.saturating_add(usage.output_tokens),
        usage.cache_read_tokens,
    )
}
