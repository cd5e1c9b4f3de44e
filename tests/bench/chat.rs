//! A message from the operator's socket to the answer: gateway, policy, agent, model and back, with every write to the
//! disk on the way.

use std::path::Path;
use std::time::{Duration, Instant};

use clawdbot_proto::v1::chat_event::Event;
use clawdbot_tests::Conversation;

use crate::runtime;

/// Sends messages one after another in one session.
pub fn messages(state: &Path, count: usize) -> Vec<Duration> {
    runtime().block_on(async {
        let mut talk = Conversation::at(state);
        // The first one also makes the session and the connections.
        one(&mut talk, "first").await;
        let mut took = Vec::with_capacity(count);
        for number in 0..count {
            took.push(one(&mut talk, &format!("bench-{number}")).await);
        }
        took
    })
}

/// One message and its answer.
pub async fn one(talk: &mut Conversation, id: &str) -> Duration {
    let began = Instant::now();
    let events = talk.send(id, "bench", "hello").await.unwrap();
    let took = began.elapsed();
    assert!(
        matches!(events.last(), Some(Event::Answer(_))),
        "{id}: {events:?}"
    );
    took
}
