//! The stream of a Responses answer. Its finished items are kept as they are when there is reasoning among them.

use std::borrow::Cow;

use clawdbot_proto::v1::StopReason;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fault::{self, Fault};
use crate::wire::json;
use crate::wire::tally::{Events, Tally};

/// Bytes of finished items that are kept.
const KEPT: usize = 1 << 20;

/// Reads the records of one answer.
pub struct Reader {
    pub tally: Tally,
    /// The finished items, as JSON without the brackets around them.
    items: String,
    reasoned: bool,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    delta: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Done<'a> {
    #[serde(borrow)]
    item: &'a RawValue,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    call_id: Cow<'a, str>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    arguments: String,
}

#[derive(Deserialize)]
struct End<'a> {
    #[serde(borrow)]
    response: Ended<'a>,
}

#[derive(Deserialize)]
struct Ended<'a> {
    usage: Option<Used>,
    #[serde(borrow)]
    incomplete_details: Option<Incomplete<'a>>,
}

#[derive(Deserialize)]
struct Incomplete<'a> {
    #[serde(borrow, default)]
    reason: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Used {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    input_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

impl Reader {
    pub fn new(tally: Tally) -> Self {
        Self {
            tally,
            items: String::new(),
            reasoned: false,
        }
    }

    pub fn record(&mut self, event: &[u8], data: &[u8], out: &mut Events) -> Result<(), Fault> {
        let data = data.trim_ascii();
        // Some who copy the protocol end it like chat completions, after its own end.
        if self.tally.is_done() || data.is_empty() || data == b"[DONE]" {
            return Ok(());
        }
        let kind: Kind<'_> = json::parse(data)?;
        let kind = match kind.kind.is_empty() {
            true => event,
            false => kind.kind.as_bytes(),
        };
        match kind {
            b"response.output_text.delta" => {
                self.tally
                    .text(json::parse::<Delta<'_>>(data)?.delta, out)?;
            }
            b"response.refusal.delta" => {
                self.tally.stop = Some(StopReason::Refused);
                self.tally
                    .text(json::parse::<Delta<'_>>(data)?.delta, out)?;
            }
            b"response.reasoning_summary_text.delta" | b"response.reasoning_text.delta" => {
                self.tally
                    .thinking(json::parse::<Delta<'_>>(data)?.delta, out)?;
            }
            b"response.output_item.done" => {
                let done: Done<'_> = json::parse(data)?;
                self.item(done.item, out)?;
            }
            b"response.completed" | b"response.incomplete" => self.close(json::parse(data)?, out),
            b"response.failed" | b"error" => return Err(fault::of_event(data)),
            _ => {}
        }
        Ok(())
    }

    fn item(&mut self, raw: &RawValue, out: &mut Events) -> Result<(), Fault> {
        let item: Item<'_> = json::parse(raw.get().as_bytes())?;
        match &*item.kind {
            "function_call" => {
                self.tally
                    .call(&item.call_id, item.name, item.arguments, out)?;
            }
            "reasoning" => self.reasoned = true,
            "message" => {}
            // Of a kind that we never asked for.
            _ => return Ok(()),
        }
        if self.items.len() + raw.get().len() <= KEPT {
            if !self.items.is_empty() {
                self.items.push(',');
            }
            self.items.push_str(raw.get());
        } else {
            // Half a message is worse than one that is rebuilt from its text and calls.
            self.reasoned = false;
        }
        Ok(())
    }

    fn close(&mut self, end: End<'_>, out: &mut Events) {
        if let Some(used) = end.response.usage {
            let usage = &mut self.tally.usage;
            usage.input_tokens = used.input_tokens;
            usage.output_tokens = used.output_tokens;
            if let Some(details) = used.input_tokens_details {
                usage.cache_read_tokens = details.cached_tokens.unwrap_or(0);
                usage.cache_write_tokens = details.cache_write_tokens.unwrap_or(0);
            }
        }
        if let Some(incomplete) = end.response.incomplete_details {
            self.tally.stop = Some(match &*incomplete.reason {
                "content_filter" => StopReason::Refused,
                _ => StopReason::Length,
            });
        }
        let replay = self
            .reasoned
            .then(|| format!("[{}]", self.items).into_bytes());
        self.tally.finish(replay, out);
    }
}
