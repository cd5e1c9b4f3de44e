//! What one message has brought so far, as a state machine without I/O. Streams may break and begin again, and text may
//! come twice; out of it the answer is shown exactly once.

use std::collections::HashSet;

use clawdbot_proto::v1::{Answer, ChatEvent, Failed, chat_event::Event};

/// What the person should see.
#[derive(Debug, PartialEq)]
pub enum Show {
    /// More of the answer, unsanitised.
    Text(String),
    /// What was shown of the answer does not count; it begins again.
    Again,
    /// Messages that are answered first.
    Ahead(u32),
    /// A tool began or ended: what to say about it, unsanitised.
    Tool(String),
    /// The connection is lost; the message is kept.
    Waiting,
    /// The running turn was asked to stop.
    Stopping,
}

/// How it ended.
#[derive(Debug, PartialEq)]
pub enum End {
    /// With an answer.
    Answer(Answer),
    /// Without one, for a reason.
    Failed(Failed),
}

/// One message on its way to an answer.
#[derive(Debug, Default)]
pub struct Turn {
    accepted: bool,
    /// Text that the person has seen since the answer last began.
    shown: String,
    /// Text that this stream has brought since the answer last began.
    received: String,
    tools: HashSet<(String, bool)>,
}

impl Turn {
    /// Whether the message is on disk at the gateway.
    pub fn accepted(&self) -> bool {
        self.accepted
    }

    /// A new stream begins: it tells the answer from its beginning, which may have been seen already.
    pub fn attach(&mut self) {
        self.received.clear();
    }

    /// Takes one event: what to show, and the end if it is the last one.
    pub fn event(&mut self, event: ChatEvent) -> (Vec<Show>, Option<End>) {
        let mut show = Vec::new();
        let end = match event.event {
            // Of a newer version: whatever it says, the answer will come.
            None => None,
            Some(Event::Accepted(accepted)) => {
                if !self.accepted && accepted.ahead > 0 {
                    show.push(Show::Ahead(accepted.ahead));
                }
                self.accepted = true;
                None
            }
            Some(Event::Delta(delta)) => {
                self.received.push_str(&delta.text);
                self.catch_up(&mut show);
                None
            }
            Some(Event::Restarted(_)) => {
                self.begin_again(&mut show);
                None
            }
            Some(Event::ToolStarted(tool)) => {
                if self.tools.insert((tool.call_id, false)) {
                    show.push(Show::Tool(format!(
                        "{} {}",
                        tool.tool,
                        on_one_line(&tool.summary)
                    )));
                }
                None
            }
            Some(Event::ToolFinished(tool)) => {
                if self.tools.insert((tool.call_id, true)) {
                    let how = if tool.is_error { "failed" } else { "done" };
                    show.push(Show::Tool(format!(
                        "{} {how}: {}",
                        tool.tool,
                        on_one_line(&tool.summary)
                    )));
                }
                None
            }
            Some(Event::Answer(answer)) => {
                self.complete(&answer.text, &mut show);
                Some(End::Answer(answer))
            }
            Some(Event::Failed(failed)) => Some(End::Failed(failed)),
        };
        (show, end)
    }

    /// Shows what was received and not yet seen. A stream that repeats what was seen shows nothing; one that tells
    /// something else begins again.
    fn catch_up(&mut self, show: &mut Vec<Show>) {
        if self.shown.starts_with(&self.received) {
            return;
        }
        if !self.received.starts_with(&self.shown) {
            show.push(Show::Again);
            self.shown.clear();
        }
        show.push(Show::Text(self.received[self.shown.len()..].to_owned()));
        self.shown.clone_from(&self.received);
    }

    fn begin_again(&mut self, show: &mut Vec<Show>) {
        if !self.shown.is_empty() {
            show.push(Show::Again);
        }
        self.shown.clear();
        self.received.clear();
    }

    /// The whole answer: shows the part that is missing. Text that was streamed between tool calls stands before it.
    fn complete(&mut self, text: &str, show: &mut Vec<Show>) {
        if self.shown.trim_end().ends_with(text.trim()) && !self.shown.is_empty() {
            return;
        }
        text.clone_into(&mut self.received);
        self.catch_up(show);
    }
}

/// Line breaks become spaces: a remark is one line.
fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clawdbot_proto::v1::{Accepted, Restarted, TextDelta, ToolFinished, ToolStarted};

    use super::*;

    fn event(event: Event) -> ChatEvent {
        ChatEvent { event: Some(event) }
    }

    fn delta(text: &str) -> ChatEvent {
        event(Event::Delta(TextDelta { text: text.into() }))
    }

    fn answer(text: &str) -> ChatEvent {
        event(Event::Answer(Answer {
            text: text.into(),
            ..Answer::default()
        }))
    }

    fn restarted() -> ChatEvent {
        event(Event::Restarted(Restarted {}))
    }

    /// What a person has before them: text, with `|` where the answer began again. `None` is a new stream.
    fn seen(events: Vec<Option<ChatEvent>>) -> String {
        let mut turn = Turn::default();
        let mut seen = String::new();
        for event in events {
            let Some(event) = event else {
                turn.attach();
                continue;
            };
            for show in turn.event(event).0 {
                match show {
                    Show::Text(text) => seen.push_str(&text),
                    Show::Again => seen.push('|'),
                    other => panic!("{other:?}"),
                }
            }
        }
        seen
    }

    #[test]
    fn an_answer_is_shown_once_however_it_comes() {
        let whole = vec![Some(answer("hello world"))];
        let streamed = vec![
            Some(delta("hello ")),
            Some(delta("world")),
            Some(answer("hello world")),
        ];
        let cut_short = vec![Some(delta("hello ")), Some(answer("hello world"))];
        let resumed = vec![
            Some(delta("hello ")),
            None,
            Some(delta("hel")),
            Some(delta("lo world")),
            Some(answer("hello world")),
        ];
        let resumed_late = vec![
            Some(delta("hello world")),
            None,
            Some(answer("hello world")),
        ];
        for events in [whole, streamed, cut_short, resumed, resumed_late] {
            assert_eq!(seen(events), "hello world");
        }
    }

    #[test]
    fn an_answer_that_begins_again_says_so_and_only_then() {
        assert_eq!(
            seen(vec![
                Some(delta("one")),
                Some(restarted()),
                Some(delta("two")),
                Some(answer("two"))
            ]),
            "one|two"
        );
        assert_eq!(
            seen(vec![
                Some(restarted()),
                Some(delta("two")),
                Some(answer("two"))
            ]),
            "two"
        );
        assert_eq!(
            seen(vec![
                Some(delta("one")),
                None,
                Some(delta("two")),
                Some(answer("two"))
            ]),
            "one|two"
        );
        assert_eq!(
            seen(vec![Some(delta("one")), Some(answer("two"))]),
            "one|two"
        );
    }

    #[test]
    fn text_between_tool_calls_is_not_repeated_by_the_answer() {
        assert_eq!(
            seen(vec![
                Some(delta("Looking.\n")),
                Some(delta("All well.\n")),
                Some(answer("All well."))
            ]),
            "Looking.\nAll well.\n"
        );
    }

    #[test]
    fn an_empty_answer_shows_nothing_and_ends() {
        let (show, end) = Turn::default().event(answer(""));
        assert_eq!(show, []);
        assert!(matches!(end, Some(End::Answer(_))));
    }

    #[test]
    fn a_failure_ends_with_its_reason() {
        let failed = Failed {
            code: "turn.timeout".into(),
            message: "too slow".into(),
        };
        assert_eq!(
            Turn::default()
                .event(event(Event::Failed(failed.clone())))
                .1,
            Some(End::Failed(failed))
        );
    }

    #[test]
    fn the_queue_and_each_tool_call_are_told_once() {
        let mut turn = Turn::default();
        let accepted = |known| {
            event(Event::Accepted(Accepted {
                message_id: "m".into(),
                known,
                ahead: 2,
            }))
        };
        let started = || {
            event(Event::ToolStarted(ToolStarted {
                call_id: "c".into(),
                tool: "t".into(),
                summary: "{}".into(),
            }))
        };
        let finished = || {
            event(Event::ToolFinished(ToolFinished {
                call_id: "c".into(),
                tool: "t".into(),
                is_error: true,
                summary: "no\n way".into(),
            }))
        };
        assert!(!turn.accepted());
        assert_eq!(turn.event(accepted(false)).0, [Show::Ahead(2)]);
        assert!(turn.accepted());
        assert_eq!(turn.event(started()).0, [Show::Tool("t {}".into())]);
        assert_eq!(
            turn.event(finished()).0,
            [Show::Tool("t failed: no way".into())]
        );
        turn.attach();
        for repeated in [accepted(true), started(), finished()] {
            assert_eq!(turn.event(repeated).0, []);
        }
    }
}
