//! An answer that is sent while it is written. The head of the answer waits for the first words, so that a turn that
//! fails before them gets a status of its own; what fails later is told in the stream. What was sent cannot be taken
//! back: when an answer begins again, it goes on only where it says the same.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use clawdbot_proto::v1;
use futures_util::Stream;
use futures_util::stream::unfold;
use hyper::body::{Body, Frame};
use tokio::time::{Instant, timeout_at};

use super::super::connection::Connection;
use super::super::metered::SharedPulse;
use super::super::reply::{self, Reply};
use super::fault::Fault;
use super::turn::Turn;
use crate::limits;
use crate::queue::Outcome;
use crate::turn_log::Step;

/// How an endpoint words an answer. Records are appended to `out`, each with its empty line.
pub trait Dialect: Send + 'static {
    /// The whole answer as one JSON text.
    fn whole(&self, answer: &v1::Answer) -> String;
    /// What comes before the first words.
    fn open(&mut self, out: &mut String);
    /// More text.
    fn delta(&mut self, text: &str, out: &mut String);
    /// The end; `told` is all the text that was sent.
    fn close(&mut self, told: &str, answer: &v1::Answer, out: &mut String);
    /// The end without an answer.
    fn fail(&mut self, told: &str, fault: &Fault, out: &mut String);
}

/// Keeps proxies and impatient clients on the line; a comment to everybody else.
const STILL_HERE: &str = ": still working\n\n";

/// Answers with the whole answer, once there is one.
///
/// # Errors
/// When there is none.
pub async fn whole(mut turn: Turn, dialect: impl Dialect) -> Result<Reply, Fault> {
    let answer = turn.answer().await?;
    Ok(reply::json_text(dialect.whole(&answer)))
}

/// Answers with a stream.
///
/// # Errors
/// When the turn fails before its first words and before a client would take the silence for a fault.
pub async fn stream(
    mut turn: Turn,
    dialect: impl Dialect,
    connection: &Connection,
) -> Result<Reply, Fault> {
    let patience = Instant::now() + limits::STILL_HERE;
    let first = loop {
        match timeout_at(patience, turn.next()).await {
            Err(_) => break None,
            Ok(None) => return Err(Fault::stopping()),
            Ok(Some(Step::End(Outcome::Failed(failed)))) => return Err(Fault::turn(&failed)),
            Ok(Some(step @ (Step::Text(_) | Step::End(_)))) => break Some(step),
            Ok(Some(Step::Restarted | Step::Started(_) | Step::Finished(_))) => {}
        }
    };
    let telling = Telling {
        turn,
        dialect,
        told: Told::default(),
        first,
        opened: false,
        over: false,
    };
    Ok(reply::events(Events {
        records: Box::pin(unfold(telling, Telling::next)),
        pulse: connection.pulse(),
    }))
}

/// A stream that is being told.
struct Telling<D> {
    turn: Turn,
    dialect: D,
    told: Told,
    /// What was heard before the stream began.
    first: Option<Step>,
    opened: bool,
    over: bool,
}

impl<D: Dialect> Telling<D> {
    /// The next records.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if self.over {
            return None;
        }
        let mut out = String::new();
        if !self.opened {
            self.opened = true;
            self.dialect.open(&mut out);
            if let Some(step) = self.first.take() {
                self.take(Some(step), &mut out);
            }
        }
        let patience = Instant::now() + limits::STILL_HERE;
        while out.is_empty() {
            match timeout_at(patience, self.turn.next()).await {
                Ok(step) => self.take(step, &mut out),
                Err(_) => out.push_str(STILL_HERE),
            }
        }
        Some((Bytes::from(out), self))
    }

    fn take(&mut self, step: Option<Step>, out: &mut String) {
        match step {
            Some(Step::Text(more)) => match self.told.hear(&more) {
                Ok("") => {}
                Ok(new) => self.dialect.delta(new, out),
                Err(Contradiction) => self.fail(&Fault::restarted(), out),
            },
            Some(Step::Restarted) => self.told.restart(),
            Some(Step::Started(_) | Step::Finished(_)) => {}
            Some(Step::End(Outcome::Answered(answer))) => match self.told.finish(&answer.text) {
                Ok(rest) => {
                    if !rest.is_empty() {
                        self.dialect.delta(rest, out);
                    }
                    self.over = true;
                    self.dialect.close(&self.told.text, &answer, out);
                }
                Err(Contradiction) => self.fail(&Fault::restarted(), out),
            },
            Some(Step::End(Outcome::Failed(failed))) => self.fail(&Fault::turn(&failed), out),
            None => self.fail(&Fault::stopping(), out),
        }
    }

    fn fail(&mut self, fault: &Fault, out: &mut String) {
        self.over = true;
        self.dialect.fail(&self.told.text, fault, out);
    }
}

/// What the client has of the answer, and how far an answer that began again agrees with it.
#[derive(Default)]
struct Told {
    text: String,
    /// So many bytes of `text` were heard since the answer began, or began again.
    heard: usize,
}

/// The answer says something else than what was told.
#[derive(Debug, PartialEq)]
struct Contradiction;

impl Told {
    /// Takes more text; gives what of it is new.
    fn hear<'a>(&mut self, more: &'a str) -> Result<&'a str, Contradiction> {
        let known = self.text.as_bytes().get(self.heard..).unwrap_or_default();
        let common = known.len().min(more.len());
        if known.get(..common) != more.as_bytes().get(..common) {
            return Err(Contradiction);
        }
        self.heard += common;
        let new = more.get(common..).unwrap_or_default();
        self.text.push_str(new);
        self.heard += new.len();
        Ok(new)
    }

    fn restart(&mut self) {
        self.heard = 0;
    }

    /// Takes the whole answer; gives what of it was not told.
    fn finish<'a>(&mut self, whole: &'a str) -> Result<&'a str, Contradiction> {
        let again = self.heard < self.text.len();
        match whole.strip_prefix(self.text.as_str()) {
            Some(rest) => {
                self.text.push_str(rest);
                Ok(rest)
            }
            // The agent trims what it keeps, and that is no other answer.
            None if !again || self.text.trim() == whole.trim() => Ok(""),
            None => Err(Contradiction),
        }
    }
}

/// The body of a streamed answer. It moves its connection's clockwork: silence is in order while nothing is left to send.
pub struct Events {
    records: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    pulse: SharedPulse,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.records.as_mut().poll_next(cx);
        match &next {
            Poll::Ready(Some(_)) => self.pulse.get().stream(Instant::now()),
            Poll::Ready(None) => self.pulse.get().answer(Instant::now()),
            Poll::Pending => {}
        }
        next.map(|record| record.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_begins_again_goes_on_where_it_says_the_same() {
        let mut told = Told::default();
        assert_eq!(told.hear("Héllo"), Ok("Héllo"));
        told.restart();
        assert_eq!(told.hear("Hé"), Ok(""));
        assert_eq!(told.hear("llo you"), Ok(" you"));
        assert_eq!(told.hear("!"), Ok("!"));
        assert_eq!(told.finish("Héllo you! Bye"), Ok(" Bye"));
        assert_eq!(told.text, "Héllo you! Bye");
    }

    #[test]
    fn an_answer_that_begins_again_and_says_something_else_is_a_contradiction() {
        for (again, whole) in [
            (&["Hex"][..], ""),
            (&["Hello", "x"], "Hellox"),
            (&["He"], "Help"),
            (&[], ""),
        ] {
            let mut told = Told::default();
            told.hear("Hello").unwrap();
            told.restart();
            let heard: Result<Vec<_>, _> = again.iter().map(|more| told.hear(more)).collect();
            let end = heard.and_then(|_| told.finish(whole));
            assert_eq!(end.is_err(), whole != "Hellox", "{again:?}");
        }
    }

    #[test]
    fn the_end_brings_what_was_not_streamed_and_nothing_twice() {
        for (streamed, whole, rest) in [
            ("", "all", "all"),
            ("al", "all", "l"),
            ("all", "all", ""),
            ("all \n", "all", ""),
        ] {
            let mut told = Told::default();
            told.hear(streamed).unwrap();
            assert_eq!(told.finish(whole), Ok(rest));
        }
        // The answer again, as an agent gives it that had answered before: without deltas.
        let mut told = Told::default();
        told.hear("al").unwrap();
        told.restart();
        assert_eq!(told.finish("all"), Ok("l"));
    }
}
