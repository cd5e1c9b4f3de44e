//! Asks policy whether somebody may talk. Policy is asked until it answers: nothing is decided here in its absence.

use std::time::{Duration, Instant};

use clawdbot_channel::{Backoff, random};
use clawdbot_proto::v1::admit_sender_reply::Outcome;
use clawdbot_proto::v1::channels_client::ChannelsClient;
use clawdbot_proto::v1::{AdmitSenderRequest, Inbound};
use clawdbot_service::Edge;
use tracing::{debug, info, warn};

use crate::incoming::Said;

/// What policy is shown of a message: for commands, patterns that stand for a mention, and what its owner named.
const TEXT_BYTES: usize = 32 << 10;

/// What policy said.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// To the gateway with it.
    Admitted(Box<Inbound>),
    /// This text goes back and nothing else happens.
    Answered(String),
    /// Nothing happens.
    Ignored,
}

/// Asks about one message of an account's.
pub(crate) async fn admit(policy: &Edge, account: &str, said: &Said, backlog: bool) -> Verdict {
    let request = AdmitSenderRequest {
        account: account.to_owned(),
        event_id: said.event_id.clone(),
        conversation: Some(said.conversation.clone()),
        sender: Some(said.sender.clone()),
        mentioned: said.mentioned,
        replies_to_bot: said.replies_to_bot,
        backlog,
        text: said.words[..said.words.floor_char_boundary(TEXT_BYTES)].to_owned(),
        marks_mentions: true,
        forwarded: said.forwarded,
        quoted: said.quoted,
    };
    let mut channels = ChannelsClient::new(policy.clone());
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    loop {
        match channels.admit(request.clone()).await {
            Ok(reply) => return verdict(account, said, reply.into_inner().outcome),
            Err(status) if status.code() == tonic::Code::InvalidArgument => {
                warn!(event = %said.event_id, message = %status.message(), "policy cannot read a message's sender");
                return Verdict::Ignored;
            }
            Err(status) => {
                warn!(code = ?status.code(), "policy does not answer; messages wait");
                tokio::time::sleep(backoff.failed(Instant::now(), random())).await;
            }
        }
    }
}

pub(crate) fn verdict(account: &str, said: &Said, outcome: Option<Outcome>) -> Verdict {
    match outcome {
        Some(Outcome::Admission(admission)) => {
            info!(event = %said.event_id, trace = admission.trace, "a message comes in");
            Verdict::Admitted(Box::new(Inbound {
                account: account.to_owned(),
                event_id: said.event_id.clone(),
                handle: admission.handle,
                text: said.text(),
                address: said.address.encode(),
                lane: said.address.lane(),
                at_ms: u64::try_from(said.date).unwrap_or(0).saturating_mul(1000),
                sender_name: said.sender_name(),
            }))
        }
        Some(Outcome::Answer(text)) => Verdict::Answered(text),
        Some(Outcome::Ignored(refusal)) => {
            info!(event = %said.event_id, rule = %refusal.rule, "ignored a message");
            Verdict::Ignored
        }
        None => {
            debug!(event = %said.event_id, "policy gave no verdict");
            Verdict::Ignored
        }
    }
}
