//! What the model says in a round: what of it people see, and how a round becomes an entry or is taken back.

use clawdbot_proto::v1;
use clawdbot_proto::v1::run_event::Event;

use super::{Footer, Next, TEXT_BYTES, Turn};
use crate::tokens;
use crate::transcript::{Assistant, End, Failure, Item};

/// Between the texts of two rounds.
const SEPARATOR: &str = "\n\n";

impl Turn {
    pub(super) fn hear(&mut self, text: &str) -> Next {
        if self.said.len() + self.text.len() + text.len() > TEXT_BYTES {
            return self.flooded("more than 1 MiB of text");
        }
        self.text.push_str(text);
        let first = self.voice.shown().is_empty();
        let more = self.voice.hear(text);
        self.show(first, more);
        Next::Listen
    }

    /// Tells people more of this round.
    pub(super) fn show(&mut self, first: bool, text: String) {
        if text.is_empty() {
            return;
        }
        if first && !self.said.is_empty() {
            self.tell_text(SEPARATOR.into());
        }
        self.tell_text(text);
    }

    /// The round has said all.
    pub(super) fn end_voice(&mut self) {
        let first = self.voice.shown().is_empty();
        let rest = self.voice.end();
        self.show(first, rest);
    }

    pub(super) fn close_voice(&mut self) {
        let voice = std::mem::take(&mut self.voice);
        if !self.said.is_empty() && !voice.shown().is_empty() {
            self.said.push_str(SEPARATOR);
        }
        self.said.push_str(voice.shown());
        if let Some(target) = voice.reply_to() {
            self.reply_to = Some(target.into());
        }
    }

    pub(super) fn tell_text(&mut self, text: String) {
        self.events.push(Event::Delta(v1::TextDelta { text }));
    }

    /// Calls that are not made, and the message as it was written, since that has them too.
    pub(super) fn drop_calls(&mut self) {
        if !self.calls.is_empty() {
            self.replay = None;
        }
        self.calls.clear();
    }

    pub(super) fn answer(&mut self, end: End) -> Next {
        let silent = self.voice.is_silent() && self.said.is_empty();
        if self.said.is_empty() && self.voice.shown().is_empty() && !silent {
            return self.fail(Failure::new(
                "model.empty",
                "The model gave an empty answer. Ask again, or choose another model with /model.",
            ));
        }
        let usage = tokens::sum(self.used, self.usage);
        let mut answer = v1::Answer {
            model: self.models[self.model].clone(),
            usage: Some(usage),
            silent,
            absorbed: self.absorbed.clone(),
            cut: end == End::Length,
            ..v1::Answer::default()
        };
        let (item, text) = self.close_round(end);
        answer.text = text;
        answer.reply_to = self.reply_to.clone().unwrap_or_default();
        if !silent && let Some(line) = footer(self.footer, &answer) {
            answer.text.push_str(&line);
            self.tell_text(line);
        }
        self.items.push(Item::Assistant(Assistant {
            answer: Some(answer.clone()),
            ..item
        }));
        Next::End(Ok(answer))
    }

    /// What this round said, as an entry; makes room for the next. Also everything that was shown so far.
    pub(super) fn close_round(&mut self, end: End) -> (Assistant, String) {
        self.close_voice();
        let replay = self.replay.take();
        let usage = std::mem::take(&mut self.usage);
        self.used = tokens::sum(self.used, usage);
        let item = Assistant {
            text: std::mem::take(&mut self.text),
            calls: std::mem::take(&mut self.calls),
            model: self.models[self.model].clone(),
            usage,
            end,
            replay: replay.filter(|_| !std::mem::take(&mut self.renamed)),
            answer: None,
        };
        (item, self.said.clone())
    }

    /// What this round said so far does not count.
    pub(super) fn take_back(&mut self) {
        self.calls.clear();
        // It was paid for.
        self.used = tokens::sum(self.used, std::mem::take(&mut self.usage));
        self.replay = None;
        self.renamed = false;
        self.text.clear();
        if !std::mem::take(&mut self.voice).shown().is_empty() {
            self.events.push(Event::Restarted(v1::Restarted {}));
            if !self.said.is_empty() {
                let said = self.said.clone();
                self.tell_text(said);
            }
        }
    }
}

/// What is added to an answer.
fn footer(footer: Footer, answer: &v1::Answer) -> Option<String> {
    let usage = answer.usage?;
    let tokens = format!(
        "{SEPARATOR}Usage: {} in / {} out",
        usage.input_tokens, usage.output_tokens
    );
    match footer {
        Footer::None => None,
        Footer::Tokens => Some(tokens),
        Footer::Full => {
            let cost = usage
                .cost_microusd
                .map(|cost| format!(" · {}", tokens::dollars(cost)));
            Some(format!(
                "{tokens}{} · {}",
                cost.unwrap_or_default(),
                answer.model
            ))
        }
    }
}
