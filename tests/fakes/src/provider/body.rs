//! The body of an answer: records at a pace, then one of several ends.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Sleep, sleep};

/// What comes after the last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The declared end.
    End,
    /// The connection breaks.
    Cut,
    /// Nothing, for ever.
    Silence,
}

/// Records, each a piece of its own.
pub struct Records {
    records: VecDeque<Bytes>,
    /// How often the last record is said again.
    repeats: u32,
    gap: Duration,
    pause: Option<Pin<Box<Sleep>>>,
    after: After,
    flushed: bool,
}

impl Records {
    pub fn new(records: impl IntoIterator<Item = Bytes>, after: After) -> Self {
        Self {
            records: records.into_iter().collect(),
            repeats: 0,
            gap: Duration::ZERO,
            pause: None,
            after,
            flushed: false,
        }
    }

    /// Waits before the first record, and between any two.
    pub fn paced(mut self, first: Duration, gap: Duration) -> Self {
        self.gap = gap;
        self.pause = (!first.is_zero()).then(|| Box::pin(sleep(first)));
        self
    }

    /// Says the last record so many times more.
    pub fn repeating(mut self, times: u32) -> Self {
        self.repeats = times;
        self
    }
}

impl Body for Records {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        if self.records.len() == 1 && self.repeats > 0 {
            self.repeats -= 1;
            return Poll::Ready(self.records.front().cloned().map(|r| Ok(Frame::data(r))));
        }
        let after = self.after;
        match self.records.pop_front() {
            Some(record) => {
                if !self.gap.is_zero() {
                    self.pause = Some(Box::pin(sleep(self.gap)));
                }
                Poll::Ready(Some(Ok(Frame::data(record))))
            }
            None => match after {
                After::End => Poll::Ready(None),
                // Whoever waits is asked again after what was said has left.
                After::Cut if !std::mem::replace(&mut self.flushed, true) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                After::Cut => Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
                After::Silence => Poll::Pending,
            },
        }
    }
}
