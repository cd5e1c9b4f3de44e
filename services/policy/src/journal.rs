//! Writes down what broker and dialer did: leases and dials are theirs to decide, and the audit log is policy's. Each event
//! is written once over all restarts of either side, as long as the other side still knows it.

use std::convert::Infallible;
use std::time::Duration;

use clawdbot_audit::Cursor;
use clawdbot_proto::v1::journal_client::JournalClient;
use clawdbot_proto::v1::{
    self, DialerReply, DialerRequest, EventsAfter, WatchJournalRequest, dialer_reply,
    dialer_request,
};
use clawdbot_service::{Edge, FrameClient};
use tokio::time::sleep;
use tracing::debug;

use crate::audit::Origin;
use crate::policy::{Policy, lock};
use crate::record::Decision;

/// Pauses between tries that failed; the last one repeats.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

/// Where a follower stands.
#[derive(Debug)]
struct Place {
    /// The event on record.
    seen: Cursor,
    /// Number of the last event that came.
    last: u64,
    /// The first event is to show whether the other side is still the one whose event is on record.
    asks: bool,
}

/// What to do with an event.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is on record.
    Skip,
    /// The other side was started anew: everything that it knows is new.
    Again,
    /// It is new, and so many before it are no longer known.
    Take { missed: u64 },
}

impl Place {
    fn new(seen: Cursor) -> Self {
        Self {
            seen,
            last: seen.number,
            asks: seen.number > 0,
        }
    }

    /// Behind which number to ask.
    fn after(&self) -> u64 {
        match self.asks {
            true => self.seen.number - 1,
            false => self.last,
        }
    }

    fn step(&mut self, event: Cursor) -> Step {
        if std::mem::take(&mut self.asks) && event.number == self.seen.number {
            if event == self.seen {
                return Step::Skip;
            }
            self.last = 0;
            if event.number > 1 {
                return Step::Again;
            }
        }
        let before = match event.number > self.last {
            true => self.last,
            false => 0,
        };
        self.last = event.number;
        Step::Take {
            missed: event.number.saturating_sub(before + 1),
        }
    }
}

/// Follows the broker's events for ever.
pub(crate) async fn follow_broker(policy: &Policy, broker: &Edge) -> Infallible {
    let mut failures = 0;
    loop {
        match watch(policy, broker, &mut failures).await {
            Ok(()) => {}
            Err(status) => debug!(code = ?status.code(), "the broker tells no events"),
        }
        sleep(PAUSES[failures.min(PAUSES.len() - 1)]).await;
        failures += 1;
    }
}

async fn watch(policy: &Policy, broker: &Edge, failures: &mut usize) -> Result<(), tonic::Status> {
    let mut place = Place::new(lock(&policy.audit).seen(Origin::Broker));
    let mut client = JournalClient::new(broker.clone());
    'again: loop {
        let after = place.after();
        let watching = client.watch(WatchJournalRequest { after }).await?;
        let mut events = watching.into_inner();
        while let Some(event) = events.message().await? {
            *failures = 0;
            let at = Cursor {
                number: event.number,
                at_ms: event.at_ms,
            };
            match place.step(at) {
                Step::Skip => {}
                Step::Again => continue 'again,
                Step::Take { missed } => note_broker(policy, at, &event, missed),
            }
        }
        return Ok(());
    }
}

fn note_broker(policy: &Policy, at: Cursor, event: &v1::JournalEvent, missed: u64) {
    let request = match event.what.as_str() {
        "lease" => "lease",
        "put" => "credential-put",
        "remove" => "credential-remove",
        "unlock" => "vault-unlock",
        _ => "credential",
    };
    note_missed(policy, Origin::Broker, request, missed);
    let decision = Decision {
        request,
        refused: Some(event.refused.as_str()).filter(|rule| !rule.is_empty()),
        role: &event.role,
        subject: &event.subject,
        ..Decision::default()
    };
    policy.note_from(Origin::Broker, at, &decision);
}

/// That events happened of which nobody knows any more.
fn note_missed(policy: &Policy, from: Origin, request: &'static str, count: u64) {
    if count > 0 {
        let decision = Decision {
            request,
            refused: Some("audit.missed"),
            count: u32::try_from(count).unwrap_or(u32::MAX),
            ..Decision::default()
        };
        policy.told(from, &decision);
    }
}

/// Follows the dialer's events for ever.
pub(crate) async fn follow_dialer(
    policy: &Policy,
    dialer: &FrameClient<DialerRequest, DialerReply>,
) -> Infallible {
    let mut started = dialer.generation();
    let mut failures = 0;
    loop {
        started.borrow_and_update();
        let lost = tokio::select! {
            lost = fetch(policy, dialer, &mut failures) => lost,
            // Numbers begin anew; a call that was repeated at the new process would wait for the old ones.
            Ok(()) = started.changed() => continue,
        };
        debug!(why = lost, "the dialer tells no events");
        sleep(PAUSES[failures.min(PAUSES.len() - 1)]).await;
        failures += 1;
    }
}

/// Fetches events until that fails, and says why.
async fn fetch(
    policy: &Policy,
    dialer: &FrameClient<DialerRequest, DialerReply>,
    failures: &mut usize,
) -> String {
    let mut place = Place::new(lock(&policy.audit).seen(Origin::Dialer));
    loop {
        let request = EventsAfter {
            number: place.after(),
        };
        let request = DialerRequest {
            id: 0,
            request: Some(dialer_request::Request::Events(request)),
        };
        let events = match dialer.call(request).await {
            Ok((reply, _)) => match reply.outcome {
                Some(dialer_reply::Outcome::Events(events)) => events.events,
                _ => return "it answered something else than events".to_owned(),
            },
            Err(error) => return error.to_string(),
        };
        *failures = 0;
        for event in events {
            let at = Cursor {
                number: event.number,
                at_ms: event.at_ms,
            };
            match place.step(at) {
                Step::Skip => {}
                Step::Again => break,
                Step::Take { missed } => note_dial(policy, at, &event, missed),
            }
        }
    }
}

fn note_dial(policy: &Policy, at: Cursor, event: &v1::DialEvent, missed: u64) {
    note_missed(policy, Origin::Dialer, "dial", missed);
    let subject = format!("{}:{}", event.host, event.port);
    let decision = Decision {
        request: "dial",
        refused: Some(event.refused.as_str()).filter(|rule| !rule.is_empty()),
        role: &event.role,
        subject: &subject,
        // Of one that stands for itself nothing is said.
        count: event.count.saturating_sub(1),
        ..Decision::default()
    };
    policy.note_from(Origin::Dialer, at, &decision);
}

#[cfg(test)]
mod tests;
