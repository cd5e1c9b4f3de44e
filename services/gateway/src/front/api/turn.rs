//! The turn of one request. It belongs to the client that asked: when that client is gone before the end, the turn is
//! stopped, since nobody else waits for its answer.

use std::sync::Arc;

use clawdbot_proto::v1;
use tokio::runtime::Handle;

use super::super::Front;
use super::super::connection::Connection;
use super::fault::Fault;
use super::{Pass, Question, Wanted};
use crate::desk::{Decided, Sent, Visitor};
use crate::queue::Outcome;
use crate::turn_log::{Reader, Step, TurnLog};
use crate::wording;

/// A turn that runs, or has ended.
pub struct Turn {
    front: Front,
    running: Option<(Arc<TurnLog>, Reader)>,
    ended: Option<Outcome>,
}

impl Turn {
    /// Hands a question in. A remembered pass that has ended is replaced once.
    ///
    /// # Errors
    /// When it is not accepted.
    pub async fn begin(
        front: &Front,
        connection: &Connection,
        mut pass: Pass,
        wanted: Wanted,
        id: &str,
        question: Question,
    ) -> Result<Self, Fault> {
        loop {
            let sent = send(front, &pass, wanted.clone(), id, question.clone()).await?;
            match sent {
                Ok(turn) => return Ok(turn),
                // A password is not hashed again because of what is refused for another reason.
                Err(refusal) if !refusal.rule.starts_with("visit.") => {
                    return Err(Fault::admission(&refusal));
                }
                Err(refusal) => match front.0.keys.renew(front, connection, &pass).await? {
                    Some(fresh) => pass = fresh,
                    None => return Err(Fault::admission(&refusal)),
                },
            }
        }
    }

    fn new(front: &Front, sent: Sent) -> Self {
        let (running, ended) = match sent {
            Sent::Running { log, .. } => {
                let reader = log.read();
                (Some((log, reader)), None)
            }
            Sent::Settled(_, _, outcome) => (None, Some(outcome)),
            Sent::Stopped(ids) => (None, Some(told(wording::stopped(ids.len())))),
            Sent::Told(_, text) => (None, Some(told(text))),
        };
        Self {
            front: front.clone(),
            running,
            ended,
        }
    }

    /// What comes next; `None` when the gateway stops before the end. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Step> {
        if let Some(outcome) = self.ended.take() {
            return Some(Step::End(outcome));
        }
        let (log, reader) = self.running.as_mut()?;
        let step = tokio::select! {
            biased;
            step = reader.next() => step?,
            () = self.front.over() => return None,
        };
        if let Step::End(_) = &step {
            self.front.desk().turns().delivered(log.turn.row);
            self.running = None;
        }
        Some(step)
    }

    /// The end.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn answer(&mut self) -> Result<v1::Answer, Fault> {
        loop {
            match self.next().await {
                Some(Step::End(Outcome::Answered(answer))) => return Ok(answer),
                Some(Step::End(Outcome::Failed(failed))) => return Err(Fault::turn(&failed)),
                Some(_) => {}
                None => return Err(Fault::stopping()),
            }
        }
    }
}

/// An answer that no model gave.
fn told(text: String) -> Outcome {
    Outcome::Answered(v1::Answer {
        text,
        ..Default::default()
    })
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (Some((log, _)), Ok(runtime)) = (self.running.take(), Handle::try_current()) else {
            return;
        };
        let turns = self.front.desk().turns().clone();
        runtime.spawn(async move {
            let turn = &log.turn;
            turns.stop(&turn.session_key, Some(&turn.message_id)).await;
        });
    }
}

/// In a task of its own: a client that hangs up just now must not leave a turn behind that nobody stops.
async fn send(
    front: &Front,
    pass: &Pass,
    wanted: Wanted,
    id: &str,
    question: Question,
) -> Result<Decided<Turn>, Fault> {
    let (front, visitor, id) = (front.clone(), Visitor::Api(pass.key.clone()), id.to_owned());
    let sent = tokio::spawn(async move {
        let sent = front.desk().send(&visitor, wanted, &id, question).await?;
        Ok(sent.map(|sent| Turn::new(&front, sent)))
    });
    let sent = sent
        .await
        .unwrap_or_else(|_| Err(tonic::Status::internal("the request ended early")));
    sent.map_err(|status| Fault::status(&status))
}
