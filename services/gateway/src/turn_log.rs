//! What is known of one turn, for any number of readers. Readers pull at their own pace: nothing is queued for them,
//! so a slow or stuck one costs nobody memory or time, and one that comes late reads from the beginning.

use std::sync::{Mutex, PoisonError};

use clawdbot_identity::Handle;
use clawdbot_proto::v1;
use tokio::sync::watch;

use crate::limits;
use crate::queue::{Outcome, Question, Waiting};

/// One turn: whose it is, what has been streamed, how it ended.
pub struct TurnLog {
    /// The row it belongs to.
    pub turn: Waiting,
    state: watch::Sender<State>,
    stop: watch::Sender<bool>,
    /// The question, as long as nobody needed it; one that is not here is on the disk.
    fresh: Mutex<Option<(Handle, Question)>>,
    /// Held by whoever puts a message into the turn, so that they come in order.
    pub steering: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// Grows when the answer begins again and what was streamed does not count any more.
    generation: u32,
    entries: Vec<Entry>,
    bytes: usize,
    outcome: Option<Outcome>,
}

enum Entry {
    Text(String),
    Started(v1::ToolStarted),
    Finished(v1::ToolFinished),
}

/// What a reader is told next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// More text; one step may carry what came in many.
    Text(String),
    /// What was read so far does not count: the answer begins again.
    Restarted,
    /// A tool call began.
    Started(v1::ToolStarted),
    /// A tool call ended.
    Finished(v1::ToolFinished),
    /// The end. It is the last step.
    End(Outcome),
}

impl TurnLog {
    /// The log of a turn that has not begun.
    pub fn new(turn: Waiting) -> Self {
        Self {
            turn,
            state: watch::Sender::default(),
            stop: watch::Sender::default(),
            fresh: Mutex::default(),
            steering: tokio::sync::Mutex::default(),
        }
    }

    /// The same with its question at hand.
    pub fn with_question(turn: Waiting, fresh: Option<(Handle, Question)>) -> Self {
        Self {
            fresh: Mutex::new(fresh),
            ..Self::new(turn)
        }
    }

    /// The question, if it is at hand. It is given once.
    pub fn take_question(&self) -> Option<(Handle, Question)> {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.take()
    }

    /// The answer so far, of at most `limit` bytes, and the number of its beginning.
    pub fn so_far(&self, limit: usize) -> Option<(u32, String)> {
        let state = self.state.borrow();
        let texts = || {
            state.entries.iter().filter_map(|entry| match entry {
                Entry::Text(text) => Some(text.as_str()),
                _ => None,
            })
        };
        let length: usize = texts().map(str::len).sum();
        (length <= limit).then(|| (state.generation, texts().collect()))
    }

    /// Adds streamed text.
    pub fn text(&self, more: &str) {
        self.add(more.len(), |entries| match entries.last_mut() {
            Some(Entry::Text(text)) => text.push_str(more),
            _ => entries.push(Entry::Text(more.to_owned())),
        });
    }

    /// Notes that a tool call began.
    pub fn tool_started(&self, note: v1::ToolStarted) {
        let size = note.call_id.len() + note.tool.len() + note.summary.len();
        self.add(size, |entries| entries.push(Entry::Started(note)));
    }

    /// Notes that a tool call ended.
    pub fn tool_finished(&self, note: v1::ToolFinished) {
        let size = note.call_id.len() + note.tool.len() + note.summary.len();
        self.add(size, |entries| entries.push(Entry::Finished(note)));
    }

    // Past the limit a turn streams no more; its end, with the whole answer, always comes.
    fn add(&self, size: usize, add: impl FnOnce(&mut Vec<Entry>)) {
        self.state.send_if_modified(|state| {
            let room = size > 0 && state.bytes + size <= limits::LOG_BYTES;
            if room {
                state.bytes += size;
                add(&mut state.entries);
            }
            room
        });
    }

    /// Forgets what was streamed, if anything was.
    pub fn restart(&self) {
        self.state.send_if_modified(|state| {
            let streamed = !state.entries.is_empty();
            if streamed {
                state.generation += 1;
                state.entries.clear();
                state.bytes = 0;
            }
            streamed
        });
    }

    /// Gives the turn its end.
    pub fn finish(&self, outcome: Outcome) {
        self.state
            .send_modify(|state| state.outcome = Some(outcome));
    }

    /// Whether there is an end.
    pub fn has_ended(&self) -> bool {
        self.state.borrow().outcome.is_some()
    }

    /// Asks the turn to end.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Whether somebody asked the turn to end.
    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Returns when somebody asked the turn to end.
    pub async fn stopped(&self) {
        // The sender lives as long as `self`.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Returns the end, once there is one.
    pub async fn ended(&self) -> Option<Outcome> {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| state.outcome.is_some()).await;
        ended.ok()?.outcome.clone()
    }

    /// A reader that begins at the beginning.
    pub fn read(&self) -> Reader {
        Reader {
            state: self.state.subscribe(),
            at: Position::default(),
        }
    }
}

/// Reads one turn.
pub struct Reader {
    state: watch::Receiver<State>,
    at: Position,
}

#[derive(Default)]
struct Position {
    generation: u32,
    entry: usize,
    offset: usize,
    ended: bool,
}

impl Reader {
    /// What comes next; waits for it. `None` after the end, and when the gateway stops before there is one.
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Step> {
        loop {
            if self.at.ended {
                return None;
            }
            let step = self.at.step(&self.state.borrow_and_update());
            if step.is_some() {
                return step;
            }
            self.state.changed().await.ok()?;
        }
    }
}

impl Position {
    fn step(&mut self, state: &State) -> Option<Step> {
        if self.generation != state.generation {
            let had_read = self.entry > 0 || self.offset > 0;
            *self = Self {
                generation: state.generation,
                ..Self::default()
            };
            // Who had read nothing has nothing to forget.
            if had_read {
                return Some(Step::Restarted);
            }
        }
        while let Some(entry) = state.entries.get(self.entry) {
            match entry {
                Entry::Text(text) => {
                    let more = &text[self.offset..];
                    if !more.is_empty() {
                        self.offset = text.len();
                        return Some(Step::Text(more.to_owned()));
                    }
                    // The last text may still grow.
                    if self.entry + 1 == state.entries.len() {
                        break;
                    }
                    self.entry += 1;
                    self.offset = 0;
                }
                Entry::Started(note) => {
                    self.entry += 1;
                    return Some(Step::Started(note.clone()));
                }
                Entry::Finished(note) => {
                    self.entry += 1;
                    return Some(Step::Finished(note.clone()));
                }
            }
        }
        let end = state.outcome.clone()?;
        self.ended = true;
        Some(Step::End(end))
    }
}

#[cfg(test)]
pub mod tests {
    use clawdbot_identity::{Class, InstanceName, MessageId, SessionKey, TurnId};

    use super::*;
    use crate::queue::{Kind, Place, RowId, Source};

    /// The log of a turn of a Telegram chat.
    pub fn log_of_chat() -> TurnLog {
        TurnLog::new(Waiting {
            source: Source::Channel(InstanceName::parse("telegram").unwrap()),
            place: Some(Place {
                account: "default".into(),
                address: b"a".to_vec(),
                lane: "a".into(),
                sender: String::new(),
                mark: "m".into(),
            }),
            ..log().turn
        })
    }

    fn log() -> TurnLog {
        TurnLog::new(Waiting {
            row: RowId(1),
            message_id: MessageId::parse("m1").unwrap(),
            turn_id: TurnId::parse("t1").unwrap(),
            session_key: SessionKey::parse("agent:main:main").unwrap(),
            class: Class::Main,
            source: Source::Operator,
            place: None,
            kind: Kind::Question,
            joined: false,
        })
    }

    fn answer(text: &str) -> Outcome {
        Outcome::Answered(v1::Answer {
            text: text.into(),
            ..Default::default()
        })
    }

    fn text(text: &str) -> Option<Step> {
        Some(Step::Text(text.into()))
    }

    fn started(id: &str) -> v1::ToolStarted {
        v1::ToolStarted {
            call_id: id.into(),
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn a_reader_gets_everything_in_order_whenever_it_comes() {
        let log = log();
        let mut early = log.read();
        log.text("He");
        assert_eq!(early.next().await, text("He"));
        log.text("llo");
        log.tool_started(started("c"));
        log.text("you");
        assert_eq!(early.next().await, text("llo"));
        log.finish(answer("Hello you"));
        let mut late = log.read();
        assert_eq!(late.next().await, text("Hello"));
        for reader in [&mut early, &mut late] {
            assert_eq!(reader.next().await, Some(Step::Started(started("c"))));
            assert_eq!(reader.next().await, text("you"));
            assert_eq!(reader.next().await, Some(Step::End(answer("Hello you"))));
            assert_eq!(reader.next().await, None);
        }
    }

    #[tokio::test]
    async fn a_restart_is_told_to_those_only_who_had_read_something() {
        let log = log();
        let (mut reads, mut sleeps) = (log.read(), log.read());
        log.restart();
        log.text("wrong");
        assert_eq!(reads.next().await, text("wrong"));
        log.restart();
        log.text("right");
        assert_eq!(reads.next().await, Some(Step::Restarted));
        assert_eq!(reads.next().await, text("right"));
        assert_eq!(sleeps.next().await, text("right"));
    }

    #[tokio::test]
    async fn a_waiting_reader_wakes_and_ends_when_the_turn_is_given_up() {
        let log = log();
        let mut reader = log.read();
        let waits = tokio::spawn(async move { (reader.next().await, reader.next().await) });
        tokio::task::yield_now().await;
        log.text("x");
        tokio::task::yield_now().await;
        drop(log);
        assert_eq!(waits.await.unwrap(), (text("x"), None));
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_and_the_end_still_comes() {
        let log = log();
        let piece = "x".repeat(1024 * 1024);
        for _ in 0..10 {
            log.text(&piece);
        }
        log.finish(answer("all"));
        let mut reader = log.read();
        let Some(Step::Text(kept)) = reader.next().await else {
            panic!("no text")
        };
        assert_eq!(kept.len(), limits::LOG_BYTES);
        assert_eq!(reader.next().await, Some(Step::End(answer("all"))));
    }
}
