//! Leases and dials are on record once, whoever is started anew meanwhile.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use clawdbot_proto::v1::journal_server::{Journal, JournalServer};
use clawdbot_service::Router;
use clawdbot_service::testing::Link;
use futures_util::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status};

use super::*;
use crate::bench::{Bench, role};

fn at(number: u64, at_ms: u64) -> Cursor {
    Cursor { number, at_ms }
}

#[test]
fn an_event_is_new_unless_the_same_one_is_on_record() {
    let take = |missed| Step::Take { missed };
    // Nothing is on record.
    let mut place = Place::new(Cursor::default());
    assert_eq!(place.after(), 0);
    assert_eq!(place.step(at(1, 10)), take(0));
    assert_eq!(place.step(at(2, 11)), take(0));
    assert_eq!(place.step(at(5, 12)), take(2));
    assert_eq!(place.after(), 5);
    // The other side goes on.
    let mut place = Place::new(at(5, 12));
    assert_eq!(place.after(), 4);
    assert_eq!(place.step(at(5, 12)), Step::Skip);
    assert_eq!(place.step(at(6, 13)), take(0));
    // It goes on and has forgotten the one on record.
    let mut place = Place::new(at(5, 12));
    assert_eq!(place.step(at(8, 13)), take(2));
    // It was started anew, and is beyond.
    let mut place = Place::new(at(5, 12));
    assert_eq!(place.step(at(5, 99)), Step::Again);
    assert_eq!(place.after(), 0);
    assert_eq!(place.step(at(1, 90)), take(0));
    // It was started anew, and is not there yet.
    let mut place = Place::new(at(5, 12));
    assert_eq!(place.step(at(1, 90)), take(0));
    assert_eq!(place.step(at(2, 91)), take(0));
    // Of one event.
    let mut place = Place::new(at(1, 12));
    assert_eq!(place.after(), 0);
    assert_eq!(place.step(at(1, 99)), take(0));
}

/// A broker with a journal.
#[derive(Clone, Default)]
struct Teller(Arc<Mutex<Vec<v1::JournalEvent>>>);

#[tonic::async_trait]
impl Journal for Teller {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::JournalEvent, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<v1::WatchJournalRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let events = self.0.lock().unwrap().clone();
        let newest = events.last().map_or(0, |event| event.number);
        let after = request.into_inner().after;
        let after = if after > newest { 0 } else { after };
        let rest = events.into_iter().filter(move |event| event.number > after);
        let rest = stream::iter(rest.map(Ok).collect::<Vec<_>>());
        Ok(Response::new(Box::pin(rest.chain(stream::pending()))))
    }
}

impl Teller {
    fn router(&self) -> Router {
        Router::new().add(JournalServer::new(self.clone()))
    }

    fn with(start: u64, events: &[(&str, &str, &str)]) -> Self {
        let event =
            |(number, (what, subject, refused)): (u64, &(&str, &str, &str))| v1::JournalEvent {
                number,
                at_ms: start + number,
                what: (*what).to_owned(),
                role: "model-openai".to_owned(),
                subject: (*subject).to_owned(),
                refused: (*refused).to_owned(),
            };
        Self(Arc::new(Mutex::new((1..).zip(events).map(event).collect())))
    }
}

/// What is on record, once there are so many.
async fn recorded(bench: &Bench, count: usize) -> Vec<String> {
    loop {
        let all = bench.decisions();
        if all.len() >= count {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or("").to_owned();
            return all
                .iter()
                .map(|line| {
                    format!(
                        "{} {} {}",
                        text(&line["request"]),
                        text(&line["subject"]),
                        text(&line["rule"])
                    )
                })
                .collect();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn leases_are_on_record_once_over_restarts_of_broker_and_policy() {
    let bench = Bench::new("{}").await;
    let before = bench.decisions().len();
    let first = Teller::with(
        1000,
        &[
            ("lease", "default", ""),
            ("put", "model-openai/default", ""),
        ],
    );
    let link = Link::new(&role("policy"), &role("broker"));
    link.reconnect(first.router()).await.unwrap();
    let edge = link.edge();
    tokio::select! {
        never = follow_broker(&bench.policy, &edge) => match never {},
        all = recorded(&bench, before + 2) => {
            assert_eq!(all[before..], ["lease default ", "credential-put model-openai/default "]);
        }
    }
    // Policy is started anew: the same broker tells one thing that is new.
    let bench = bench.restarted().await;
    let third = v1::JournalEvent {
        number: 3,
        at_ms: 2000,
        what: "lease".to_owned(),
        role: "model-openai".to_owned(),
        subject: String::new(),
        refused: "lease.none".to_owned(),
    };
    first.0.lock().unwrap().push(third);
    link.reconnect(first.router()).await.unwrap();
    let edge = link.edge();
    tokio::select! {
        never = follow_broker(&bench.policy, &edge) => match never {},
        all = recorded(&bench, before + 3) => assert_eq!(all[before + 2..], ["lease  lease.none"]),
    }
    // Another broker: all that it knows is new.
    let other = Teller::with(
        5000,
        &[
            ("unlock", "vault", ""),
            ("remove", "a/b", ""),
            ("lease", "x", ""),
            ("lease", "y", ""),
        ],
    );
    let bench = bench.restarted().await;
    link.reconnect(other.router()).await.unwrap();
    let edge = link.edge();
    tokio::select! {
        never = follow_broker(&bench.policy, &edge) => match never {},
        all = recorded(&bench, before + 7) => assert_eq!(
            all[before + 3..],
            ["vault-unlock vault ", "credential-remove a/b ", "lease x ", "lease y "]
        ),
    }
}

#[tokio::test]
async fn what_is_dialled_again_and_again_is_counted() {
    let bench = Bench::new("{}").await;
    let before = bench.decisions().len();
    let event = |number, host: &str, refused: &str, count| v1::DialEvent {
        number,
        at_ms: number,
        role: "model-openai".to_owned(),
        host: host.to_owned(),
        port: 443,
        refused: refused.to_owned(),
        count,
    };
    for one in [
        event(1, "a.example", "", 1),
        event(2, "a.example", "", 3),
        event(3, "b.example", "dial.not_listed", 1),
    ] {
        note_dial(&bench.policy, at(one.number, one.at_ms), &one, 0);
    }
    assert_eq!(
        recorded(&bench, before + 2).await[before..],
        ["dial a.example:443 ", "dial b.example:443 dial.not_listed"]
    );
    bench.policy.end_record();
    let counted = bench.decisions().pop().unwrap();
    assert_eq!(
        (&counted["count"], &counted["subject"]),
        (&3.into(), &"a.example:443".into())
    );
    assert_eq!(lock(&bench.policy.audit).seen(Origin::Dialer), at(3, 3));
}
