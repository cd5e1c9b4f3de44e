//! Messages on their way to the gateway: in batches, again when it had no room, until every one of them is on its disk or
//! refused for good. Only then may the platform be told.

use std::time::{Duration, Instant};

use clawdbot_proto::v1::channel_desk_client::ChannelDeskClient;
use clawdbot_proto::v1::{DeliverRequest, Inbound, Receipt, ReceiptState};
use clawdbot_service::Edge;
use prost::Message as _;
use tokio::sync::watch;
use tracing::warn;

use crate::{Backoff, random};

/// Messages in one request, and its bytes; the edge takes a little more.
const MOST: usize = 100;
const BYTES: usize = 3 << 20;
/// How long room is waited for before asking anyway: an order that brings credit may have been lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many messages the gateway takes now.
#[derive(Debug, Clone)]
pub struct Credit(watch::Sender<u32>);

impl Default for Credit {
    /// One message may be tried before the gateway has said anything.
    fn default() -> Self {
        Self(watch::Sender::new(1))
    }
}

impl Credit {
    /// The gateway said how many.
    pub fn set(&self, messages: u32) {
        self.0.send_replace(messages);
    }

    /// Waits until there is room, or for so long that asking is better.
    pub async fn wait(&self) {
        let mut news = self.0.subscribe();
        let _late = tokio::time::timeout(PATIENCE, news.wait_for(|credit| *credit > 0)).await;
    }
}

/// Delivers messages; the receipts are in their order and none of them says FULL. Does not return before.
pub async fn deliver(edge: &Edge, credit: &Credit, messages: Vec<Inbound>) -> Vec<Receipt> {
    let mut desk = ChannelDeskClient::new(edge.clone());
    let mut receipts = vec![Receipt::default(); messages.len()];
    let mut open: Vec<usize> = (0..messages.len()).collect();
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    while !open.is_empty() {
        credit.wait().await;
        let batch = batch(&open, &messages);
        let request = DeliverRequest {
            messages: batch.iter().map(|index| messages[*index].clone()).collect(),
        };
        match desk.deliver(request).await {
            Ok(reply) => {
                let reply = reply.into_inner();
                credit.set(reply.credit);
                let full = take(&batch, reply.receipts, &mut receipts);
                if full == batch.len() {
                    // Not even one: until there is news.
                    credit.set(0);
                }
                open.retain(|index| !is_final(receipts[*index].state()));
            }
            // The gateway will never take this request, so asking again would stop everything behind it.
            Err(status) if status.code() == tonic::Code::InvalidArgument => {
                warn!(message = %status.message(), "the gateway refused messages");
                for index in batch {
                    receipts[index] = refused(status.message());
                }
                open.retain(|index| !is_final(receipts[*index].state()));
            }
            Err(status) => {
                let pause = backoff.failed(Instant::now(), random());
                warn!(code = ?status.code(), "the gateway took no messages; trying again");
                tokio::time::sleep(pause).await;
            }
        }
    }
    receipts
}

/// The first open messages that fit into a request; one that is too long alone goes alone and is refused there.
fn batch(open: &[usize], messages: &[Inbound]) -> Vec<usize> {
    let mut bytes = 0;
    let mut batch = Vec::new();
    for &index in open.iter().take(MOST) {
        bytes += messages[index].encoded_len() + 8;
        if bytes > BYTES && !batch.is_empty() {
            break;
        }
        batch.push(index);
    }
    batch
}

/// Takes the receipts over and counts those that say FULL. A receipt that is missing or says nothing counts as FULL.
fn take(batch: &[usize], given: Vec<Receipt>, receipts: &mut [Receipt]) -> usize {
    let mut taken = 0;
    for (&index, receipt) in batch.iter().zip(given) {
        taken += usize::from(is_final(receipt.state()));
        receipts[index] = receipt;
    }
    batch.len() - taken
}

fn is_final(state: ReceiptState) -> bool {
    matches!(
        state,
        ReceiptState::Accepted | ReceiptState::Known | ReceiptState::Refused
    )
}

fn refused(message: &str) -> Receipt {
    Receipt {
        state: ReceiptState::Refused.into(),
        message: message.to_owned(),
    }
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
