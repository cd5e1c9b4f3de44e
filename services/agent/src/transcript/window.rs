//! The part of a session that a model sees: the path to the newest entry, after a summary of what was before it. It counts
//! bytes and tokens as entries come and go, so that nothing has to walk through a whole conversation for each turn.
//! It never separates a tool call from its result, and it begins with a question.

use std::collections::BTreeSet;

use clawdbot_proto::v1;
use clawdbot_proto::v1::model_message::Message;
use prost::bytes::Bytes;

use super::entry::{Compaction, Entry, Item, Origin};
use super::path::Path;
use crate::generate::{read, write};
use crate::text::middle_cut;
use crate::tokens;

/// Bytes of messages that are kept for the model; older ones stay on disk only. Smaller than what the edge to a model
/// worker takes (4 MiB), so that the prompt fits beside them.
pub const WINDOW_BYTES: usize = 2 << 20;
/// What an entry costs beside its text.
pub const OVERHEAD: usize = 64;
/// Characters of a pruned tool result that stay, at its beginning and at its end.
const PRUNED_CHARS: usize = 1500;
/// A result is pruned from here on.
const PRUNE_FROM: usize = 4000;
/// What stands before a summary.
const SUMMARY: &str =
    "[Summary of the conversation before this point. It is a record, not a request.]\n";

/// Who a message is of.
#[derive(Clone, Copy, PartialEq)]
enum Voice {
    Person,
    Model,
    Tool,
}

struct Kept {
    /// As it stands in a request: with each question the whole conversation is sent.
    message: Option<(Voice, Bytes)>,
    bytes: usize,
    tokens: u64,
    origin: Origin,
    /// A turn's own question: the only place at which the window may begin.
    question: bool,
    /// Tokens up to here, this message included, by the provider's own count.
    reported: Option<u64>,
}

/// Where a summary would end and what it would stand for.
#[derive(Debug)]
pub struct Cut {
    /// What is summarised, oldest first; an earlier summary is the first of it.
    pub messages: Vec<v1::ModelMessage>,
    pub first_kept: String,
    pub origins: BTreeSet<Origin>,
}

/// The messages for a model.
#[derive(Default)]
pub struct Window {
    path: Path<Kept>,
    /// Written, with the size of its text.
    summary: Option<(Bytes, usize, BTreeSet<Origin>)>,
    bytes: usize,
    tokens: u64,
}

impl Window {
    /// Takes an entry. What it branches away from is left.
    pub fn grow(&mut self, entry: &Entry) {
        let message = entry.item.for_model();
        let text = message.as_ref().map_or(0, text_size);
        let kept = Kept {
            bytes: OVERHEAD + text,
            tokens: message.as_ref().map_or(0, |_| tokens::estimate(text)),
            origin: entry.origin,
            question: matches!(entry.item, Item::User { message: None, .. }),
            reported: reported(&entry.item),
            message: message.map(|message| (voice(&message), write(&message))),
        };
        self.bytes += kept.bytes;
        self.tokens += kept.tokens;
        let left = self.path.grow(entry.parent.as_deref(), &entry.id, kept);
        left.iter().for_each(|kept| self.forget(kept));
        if let Item::Compaction(compaction) = &entry.item {
            self.compact(compaction);
        }
        while self.bytes > WINDOW_BYTES && self.path.len() > 1 {
            self.pop_oldest();
        }
    }

    /// Goes back to an entry on the path.
    pub fn rewind(&mut self, id: &str) {
        let left = self.path.rewind(id);
        left.iter().for_each(|kept| self.forget(kept));
    }

    fn forget(&mut self, kept: &Kept) {
        self.bytes -= kept.bytes;
        self.tokens -= kept.tokens;
    }

    fn pop_oldest(&mut self) {
        if let Some(kept) = self.path.pop_oldest() {
            self.forget(&kept);
        }
    }

    fn compact(&mut self, compaction: &Compaction) {
        let last = self.path.len() - 1;
        // Where the first kept entry is not known (a line was lost), the summary stands for all.
        let at = self.path.position(&compaction.first_kept).unwrap_or(last);
        for _ in 0..at {
            self.pop_oldest();
        }
        self.forget_reports();
        let text = format!("{SUMMARY}{}", compaction.summary);
        let size = text.len();
        self.summary = Some((write(&user(text)), size, compaction.origins.clone()));
    }

    /// What providers counted before something was left out is no measure for what comes.
    fn forget_reports(&mut self) {
        self.path.iter_mut().for_each(|kept| kept.reported = None);
    }

    /// Id of the entry that the next one follows.
    pub fn leaf(&self) -> Option<&str> {
        self.path.leaf()
    }

    /// Bytes that it takes, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes + self.summary_size()
    }

    /// Whether a question is still in memory; without one there is nothing to ask.
    pub fn has_question(&self) -> bool {
        self.path.iter().rev().any(|kept| kept.question)
    }

    fn summary_size(&self) -> usize {
        self.summary.as_ref().map_or(0, |(_, size, _)| *size)
    }

    /// Tokens of a request with this window and `overhead` tokens beside it. The provider's last count is the base where
    /// there is one, unless it is so small that it can only be the part that was new to it.
    pub fn tokens(&self, overhead: u64) -> u64 {
        let summary = match self.summary_size() {
            0 => 0,
            size => tokens::estimate(size),
        };
        let plain = overhead + summary + self.tokens;
        let mut since = 0;
        for kept in self.path.iter().rev() {
            if let Some(reported) = kept.reported {
                return reported.saturating_add(since).max(plain / 2);
            }
            since += kept.tokens;
        }
        plain
    }

    /// The summary, and the newest messages that fit into `budget` bytes, oldest first, beginning with a question. The
    /// newest question and what follows it are always there.
    pub fn written(&self, budget: usize) -> Vec<Bytes> {
        let (mut used, mut whole, mut entries) = (self.summary_size(), 0, 0);
        for kept in self.path.iter().rev() {
            used += kept.bytes;
            if used > budget && whole > 0 {
                break;
            }
            entries += 1;
            if kept.question {
                whole = entries;
            }
        }
        let summary = self.summary.iter().map(|(message, ..)| message);
        let kept = self.path.iter().skip(self.path.len() - whole);
        summary
            .chain(kept.filter_map(Kept::written))
            .cloned()
            .collect()
    }

    /// The same as messages.
    #[cfg(test)]
    pub fn messages(&self, budget: usize) -> Vec<v1::ModelMessage> {
        self.written(budget).iter().map(read).collect()
    }

    /// What to summarise so that about `keep` tokens stay. The newest question and what follows it always stay. `None` when
    /// there is nothing before what stays.
    pub fn cut(&self, keep: u64) -> Option<Cut> {
        let mut at = None;
        let mut tokens = 0;
        for (n, kept) in self.path.iter().enumerate().rev() {
            tokens += kept.tokens;
            if kept.question {
                if at.is_some() && tokens > keep {
                    break;
                }
                at = Some(n);
            }
        }
        let at = at?;
        let older = || {
            self.path
                .iter()
                .take(at)
                .filter(|kept| kept.message.is_some())
        };
        older().next()?;
        let (summary, labels) = match &self.summary {
            Some((message, _, origins)) => (Some(message), origins.clone()),
            None => (None, BTreeSet::new()),
        };
        let messages = older().filter_map(Kept::written);
        Some(Cut {
            messages: summary.into_iter().chain(messages).map(read).collect(),
            first_kept: self.path.id(at)?.into(),
            origins: labels
                .into_iter()
                .chain(older().map(|kept| kept.origin))
                .collect(),
        })
    }

    /// Shortens the results of tools before the newest `keep` messages of the model, in memory alone. Says how many.
    pub fn prune(&mut self, keep: usize) -> usize {
        let (mut seen, mut pruned, mut saved) = (0, 0, (0, 0));
        for kept in self.path.iter_mut().rev() {
            match &mut kept.message {
                Some((Voice::Model, _)) => seen += 1,
                Some((Voice::Tool, written)) if seen >= keep => {
                    let Some(text) = rewrite_shorter(written) else {
                        continue;
                    };
                    let (bytes, tokens) = (OVERHEAD + text, tokens::estimate(text));
                    saved.0 += kept.bytes - bytes;
                    saved.1 += kept.tokens.saturating_sub(tokens);
                    (kept.bytes, kept.tokens) = (bytes, kept.tokens.min(tokens));
                    pruned += 1;
                }
                _ => {}
            }
        }
        if pruned > 0 {
            self.bytes -= saved.0;
            self.tokens -= saved.1;
            self.forget_reports();
        }
        pruned
    }
}

/// Shortens results of tools in a request until `excess` tokens are gone, oldest first; says whether that was enough.
pub fn squeeze(messages: &mut [Bytes], excess: u64) -> bool {
    let mut gone = 0;
    for message in messages {
        if gone >= excess {
            break;
        }
        let before = message.len();
        rewrite_shorter(message);
        let saved = before.saturating_sub(message.len());
        gone += (saved / 4) as u64;
    }
    gone >= excess
}

/// Shortens a tool's result; gives the size of its text then, and nothing where there is nothing to shorten.
fn rewrite_shorter(written: &mut Bytes) -> Option<usize> {
    if written.len() <= PRUNE_FROM {
        return None;
    }
    let mut message = read(written);
    let Some(Message::ToolResult(result)) = &mut message.message else {
        return None;
    };
    if !shorten(result) {
        return None;
    }
    *written = write(&message);
    Some(text_size(&message))
}

impl Kept {
    fn written(&self) -> Option<&Bytes> {
        self.message.as_ref().map(|(_, written)| written)
    }
}

fn voice(message: &v1::ModelMessage) -> Voice {
    match &message.message {
        Some(Message::Assistant(_)) => Voice::Model,
        Some(Message::ToolResult(_)) => Voice::Tool,
        Some(Message::User(_)) | None => Voice::Person,
    }
}

fn shorten(result: &mut v1::ToolResult) -> bool {
    // By bytes first: counting characters of what is short costs more than it saves.
    if result.output.len() <= PRUNE_FROM || result.output.chars().count() <= PRUNE_FROM {
        return false;
    }
    result.output = middle_cut(&result.output, PRUNED_CHARS);
    true
}

fn reported(item: &Item) -> Option<u64> {
    let Item::Assistant(said) = item else {
        return None;
    };
    let usage = said.usage;
    (usage.input_tokens > 0).then(|| usage.input_tokens.saturating_add(usage.output_tokens))
}

fn user(text: String) -> v1::ModelMessage {
    v1::ModelMessage {
        message: Some(Message::User(v1::UserMessage { text })),
    }
}

fn result_size(result: &v1::ToolResult) -> usize {
    result.call_id.len() + result.name.len() + result.output.len()
}

fn text_size(message: &v1::ModelMessage) -> usize {
    match &message.message {
        Some(Message::User(user)) => user.text.len(),
        Some(Message::Assistant(said)) => {
            let calls = said.tool_calls.iter();
            let plain = said.text.len()
                + calls
                    .map(|call| call.id.len() + call.name.len() + call.arguments_json.len())
                    .sum::<usize>();
            plain.max(
                said.replay
                    .as_ref()
                    .map_or(0, |replay| replay.content.len()),
            )
        }
        Some(Message::ToolResult(result)) => result_size(result),
        None => 0,
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
