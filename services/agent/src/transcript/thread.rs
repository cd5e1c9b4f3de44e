//! What a transcript says now: the window of messages for the model, the settings, the counts, and which turns are
//! answered. It is built by reading a file line by line or by appending; both go through the same function.

use std::collections::VecDeque;
use std::ops::Range;

use clawdbot_identity::TurnId;
use clawdbot_proto::v1;

use super::entry::{Entry, Item, Origin, Outcome};
use super::line::{self, Header};
use super::path::Path;

/// Bytes of messages that are kept for the model; older ones stay on disk only. Smaller than what the edge to a model
/// worker takes (4 MiB), so that the prompt and the turn's own messages fit beside them.
pub const WINDOW_BYTES: usize = 2 << 20;
/// Answered turns that are remembered. The gateway runs one turn of a session at a time, so it asks again for the last.
const TURNS: usize = 1000;
/// What an entry costs beside its text.
const OVERHEAD: usize = 64;

/// Counts over the whole file, branches that were left included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub messages: u32,
    pub input_tokens: u64,
    pub output_tokens: u64,
}

/// What commands of the chat have set for this session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// provider/model.
    pub model: Option<String>,
    /// off, on or full.
    pub verbose: Option<String>,
}

/// What is known of a turn id.
#[derive(Debug, PartialEq, Eq)]
pub enum Known {
    /// It ended; its last entry stands in these bytes of the file.
    Ended(Range<u64>),
    /// The question with this entry id is the last one and has no answer that counts.
    Asked(String),
    Nothing,
}

/// One session's transcript in memory.
pub struct Thread {
    pub header: Header,
    /// Length of the file; zero while there is none.
    pub bytes: u64,
    /// Whether the file's name is known to be on disk, not only in memory.
    pub name_synced: bool,
    pub totals: Totals,
    pub settings: Settings,
    /// Milliseconds since 1970.
    pub updated_ms: u64,
    path: Path<(Option<v1::ModelMessage>, usize)>,
    window: usize,
    ended: VecDeque<(TurnId, Range<u64>)>,
    question: Option<(TurnId, String)>,
}

impl Thread {
    /// A session of which nothing is on disk yet.
    pub fn new(header: Header) -> Self {
        Self {
            updated_ms: header.at_ms(),
            header,
            bytes: 0,
            name_synced: false,
            totals: Totals::default(),
            settings: Settings::default(),
            path: Path::default(),
            window: 0,
            ended: VecDeque::new(),
            question: None,
        }
    }

    /// Takes an entry that stands in `at` of the file.
    pub fn apply(&mut self, entry: Entry, at: Range<u64>) {
        self.bytes = at.end;
        self.updated_ms = self.updated_ms.max(entry.at_ms);
        match &entry.item {
            Item::Assistant(said) => {
                self.totals.input_tokens += said.usage.input_tokens;
                self.totals.output_tokens += said.usage.output_tokens;
            }
            Item::Command { change, .. } => {
                if let Some(model) = &change.model {
                    self.settings.model = Some(model.clone()).filter(|model| !model.is_empty());
                }
                if let Some(level) = &change.verbose {
                    self.settings.verbose = Some(level.clone());
                }
            }
            Item::User { .. } => {
                self.question = entry.turn.clone().map(|turn| (turn, entry.id.clone()));
            }
            Item::Tool(_) | Item::Other => {}
        }
        if !matches!(entry.item, Item::Command { .. } | Item::Other) {
            self.totals.messages = self.totals.messages.saturating_add(1);
        }
        let counts = match entry.outcome() {
            Some(Outcome::Answered(_)) => true,
            Some(Outcome::Failed(failure)) => failure.is_final(),
            None => false,
        };
        if let Some(turn) = entry.turn.clone().filter(|_| counts) {
            self.ended.push_back((turn, at));
            if self.ended.len() > TURNS {
                self.ended.pop_front();
            }
        }
        self.remember(&entry);
    }

    fn remember(&mut self, entry: &Entry) {
        let message = entry.item.for_model();
        let size = OVERHEAD + message.as_ref().map_or(0, text_size);
        self.window += size;
        let left = self
            .path
            .grow(entry.parent.as_deref(), &entry.id, (message, size));
        self.window -= left.iter().map(|(_, size)| size).sum::<usize>();
        while self.window > WINDOW_BYTES && self.path.len() > 1 {
            self.window -= self.path.pop_oldest().map_or(0, |(_, size)| size);
        }
    }

    /// What is known of a turn id.
    pub fn known(&self, turn: &TurnId) -> Known {
        if let Some((_, at)) = self.ended.iter().rev().find(|(id, _)| id == turn) {
            return Known::Ended(at.clone());
        }
        match &self.question {
            Some((asked, entry)) if asked == turn => Known::Asked(entry.clone()),
            _ => Known::Nothing,
        }
    }

    /// Id of the entry that the next one follows.
    pub fn leaf(&self) -> Option<&str> {
        self.path.leaf()
    }

    /// The newest messages that fit into `budget` bytes, oldest first, beginning with a question. The newest question
    /// and what follows it are always there.
    pub fn messages(&self, budget: usize) -> Vec<v1::ModelMessage> {
        let is_question = |message: &v1::ModelMessage| {
            matches!(message.message, Some(v1::model_message::Message::User(_)))
        };
        let mut taken = Vec::new();
        let (mut used, mut whole) = (0, 0);
        for (message, size) in self.path.iter().rev() {
            used += size;
            if used > budget && whole > 0 {
                break;
            }
            if let Some(message) = message {
                taken.push(message.clone());
                if is_question(message) {
                    whole = taken.len();
                }
            }
        }
        taken.truncate(whole);
        taken.reverse();
        taken
    }

    /// Bytes of memory that this session takes, roughly.
    pub fn weight(&self) -> usize {
        self.window + self.ended.len() * OVERHEAD
    }
}

fn text_size(message: &v1::ModelMessage) -> usize {
    use v1::model_message::Message;
    match &message.message {
        Some(Message::User(user)) => user.text.len(),
        Some(Message::Assistant(said)) => {
            let calls = said.tool_calls.iter();
            said.text.len()
                + calls
                    .map(|call| call.id.len() + call.name.len() + call.arguments_json.len())
                    .sum::<usize>()
        }
        Some(Message::ToolResult(result)) => {
            result.call_id.len() + result.name.len() + result.output.len()
        }
        None => 0,
    }
}

/// Entries on their way to the file, each the child of the one before.
pub struct Batch {
    pub bytes: Vec<u8>,
    /// Where in the file the batch begins.
    pub at: u64,
    end: u64,
    entries: Vec<(Entry, Range<u64>)>,
    leaf: Option<String>,
}

impl Batch {
    /// Begins after `parent`. The header goes first when there is no file yet.
    pub fn new(thread: &Thread, parent: Option<String>) -> Self {
        let bytes = match thread.bytes {
            0 => thread.header.to_line(),
            _ => Vec::new(),
        };
        Self {
            end: thread.bytes + bytes.len() as u64,
            bytes,
            at: thread.bytes,
            entries: Vec::new(),
            leaf: parent,
        }
    }

    /// Adds an entry of the moment `at_ms` under the name `id`.
    pub fn push(
        &mut self,
        id: String,
        at_ms: u64,
        origin: Origin,
        turn: Option<TurnId>,
        item: Item,
    ) {
        let entry = Entry {
            parent: self.leaf.replace(id.clone()),
            id,
            at_ms,
            origin,
            turn,
            item,
        };
        let start = self.end;
        self.bytes.extend(line::write(&entry));
        self.end = self.at + self.bytes.len() as u64;
        self.entries.push((entry, start..self.end));
    }

    /// The batch is in the file: the thread takes its entries.
    pub fn commit(self, thread: &mut Thread) {
        thread.bytes = self.end;
        for (entry, at) in self.entries {
            thread.apply(entry, at);
        }
    }
}

#[cfg(test)]
pub mod tests {
    use clawdbot_identity::SessionKey;

    use super::super::entry::{Assistant, Change, End, Failure};
    use super::*;

    pub fn thread() -> Thread {
        let key = SessionKey::parse("agent:main:main").unwrap();
        Thread::new(Header::new("s1".into(), &key, "/w".into(), 1))
    }

    fn turn(id: &str) -> TurnId {
        TurnId::parse(id).unwrap()
    }

    fn user(text: &str) -> Item {
        Item::User { text: text.into() }
    }

    fn said(text: &str, end: End) -> Item {
        let usage = v1::Usage {
            input_tokens: 2,
            output_tokens: 3,
        };
        Item::Assistant(Assistant {
            text: text.into(),
            calls: Vec::new(),
            model: "builtin/guide".into(),
            usage,
            end,
            answer: Some((text.into(), usage)),
        })
    }

    /// Appends as the agent does and returns the bytes.
    pub fn append(
        thread: &mut Thread,
        parent: Option<String>,
        items: Vec<(Option<&str>, Item)>,
    ) -> Vec<u8> {
        let mut batch = Batch::new(thread, parent);
        for (n, (id, item)) in items.into_iter().enumerate() {
            let name = format!("e{}-{n}", thread.bytes);
            batch.push(name, 7, Origin::Owner, id.map(turn), item);
        }
        let bytes = batch.bytes.clone();
        batch.commit(thread);
        bytes
    }

    fn texts(messages: &[v1::ModelMessage]) -> Vec<&str> {
        messages
            .iter()
            .map(|message| match message.message.as_ref().unwrap() {
                v1::model_message::Message::User(m) => m.text.as_str(),
                v1::model_message::Message::Assistant(m) => m.text.as_str(),
                v1::model_message::Message::ToolResult(m) => m.output.as_str(),
            })
            .collect()
    }

    #[test]
    fn an_answered_turn_is_found_where_it_stands_in_the_file() {
        let mut thread = thread();
        let mut file = append(&mut thread, None, vec![(Some("t1"), user("q"))]);
        assert!(matches!(thread.known(&turn("t1")), Known::Asked(_)));
        let leaf = thread.leaf().map(Into::into);
        file.extend(append(
            &mut thread,
            leaf,
            vec![(Some("t1"), said("a", End::Stop))],
        ));
        let Known::Ended(at) = thread.known(&turn("t1")) else {
            panic!()
        };
        let line = &file[at.start as usize..at.end as usize];
        let outcome = line::read(line).unwrap().outcome().unwrap();
        assert!(matches!(outcome, Outcome::Answered(answer) if answer.text == "a"));
        assert_eq!(thread.known(&turn("t2")), Known::Nothing);
        assert_eq!(thread.bytes, file.len() as u64);
    }

    #[test]
    fn a_failed_turn_runs_again_from_its_question_and_a_stopped_one_does_not() {
        let mut thread = thread();
        append(&mut thread, None, vec![(Some("t1"), user("q"))]);
        let question = thread.leaf().unwrap().to_owned();
        let failed = said("", End::Failed(Failure::new("model.unavailable", "x")));
        append(
            &mut thread,
            Some(question.clone()),
            vec![(Some("t1"), failed)],
        );
        assert_eq!(thread.known(&turn("t1")), Known::Asked(question.clone()));
        append(
            &mut thread,
            Some(question),
            vec![(Some("t1"), said("a", End::Stop))],
        );
        assert_eq!(
            texts(&thread.messages(1000)),
            ["q", "a"],
            "the failed branch is left"
        );

        let leaf = thread.leaf().map(Into::into);
        let stopped = said("", End::Failed(Failure::new(Failure::STOPPED, "x")));
        append(
            &mut thread,
            leaf,
            vec![(Some("t2"), user("r")), (Some("t2"), stopped)],
        );
        assert!(matches!(thread.known(&turn("t2")), Known::Ended(_)));
        assert_eq!(texts(&thread.messages(1000)), ["q", "a", "r"]);
    }

    #[test]
    fn a_question_that_others_followed_is_not_resumed() {
        let mut thread = thread();
        append(&mut thread, None, vec![(Some("t1"), user("q"))]);
        let leaf = thread.leaf().map(Into::into);
        append(&mut thread, leaf, vec![(Some("t2"), user("r"))]);
        assert_eq!(thread.known(&turn("t1")), Known::Nothing);
        assert_eq!(
            texts(&thread.messages(1000)),
            ["q", "r"],
            "but the model still sees it"
        );
    }

    #[test]
    fn commands_change_settings_and_never_reach_the_model() {
        let mut thread = thread();
        let command = |change| Item::Command {
            question: "/x".into(),
            answer: "done".into(),
            change,
        };
        let set = Change {
            model: Some("a/b".into()),
            verbose: Some("full".into()),
        };
        append(&mut thread, None, vec![(Some("t1"), command(set))]);
        assert_eq!(thread.settings.model.as_deref(), Some("a/b"));
        assert_eq!(thread.settings.verbose.as_deref(), Some("full"));
        assert!(matches!(thread.known(&turn("t1")), Known::Ended(_)));
        let unset = Change {
            model: Some(String::new()),
            verbose: None,
        };
        let leaf = thread.leaf().map(Into::into);
        append(&mut thread, leaf, vec![(Some("t2"), command(unset))]);
        assert_eq!(thread.settings.model, None);
        assert_eq!(thread.settings.verbose.as_deref(), Some("full"));
        assert!(thread.messages(1000).is_empty());
        assert_eq!(thread.totals.messages, 0);
    }

    #[test]
    fn the_window_begins_with_a_question_and_always_holds_the_newest() {
        let mut thread = thread();
        for n in 0..10 {
            let leaf = thread.leaf().map(Into::into);
            let (q, a) = (format!("q{n}"), format!("a{n}"));
            append(
                &mut thread,
                leaf,
                vec![(None, user(&q)), (None, said(&a, End::Stop))],
            );
        }
        let each = OVERHEAD + 2;
        assert_eq!(texts(&thread.messages(each * 5)), ["q8", "a8", "q9", "a9"]);
        assert_eq!(texts(&thread.messages(0)), ["q9", "a9"]);
        assert_eq!(thread.totals.messages, 20);
        assert_eq!(
            (thread.totals.input_tokens, thread.totals.output_tokens),
            (20, 30)
        );
    }

    #[test]
    fn memory_does_not_grow_with_the_transcript() {
        let mut thread = thread();
        let long = "x".repeat(WINDOW_BYTES / 8);
        for n in 0..40 {
            let leaf = thread.leaf().map(Into::into);
            let id = format!("t{n}");
            append(
                &mut thread,
                leaf,
                vec![(Some(&id), user(&long)), (Some(&id), said("a", End::Stop))],
            );
        }
        assert!(thread.window <= WINDOW_BYTES && thread.path.len() < 20);
        assert!(thread.bytes > 2 * WINDOW_BYTES as u64);
        let counted: usize = thread.path.iter().map(|(_, size)| size).sum();
        assert_eq!(thread.window, counted);
    }
}
