//! The ChannelDesk service. Which channel calls follows from the edge; that a message may come in at all follows from
//! its handle, about which policy is asked every time.

use std::collections::HashMap;
use std::pin::Pin;

use clawdbot_identity::{Handle, MessageId, TurnId};
use clawdbot_proto::v1;
use clawdbot_proto::v1::access_client::AccessClient;
use clawdbot_proto::v1::admit_reply::Outcome as Admittance;
use clawdbot_proto::v1::channel_desk_server::ChannelDesk;
use clawdbot_service::{Edge, caller};
use futures_util::Stream;
use futures_util::future::try_join_all;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use super::Channels;
use crate::desk::{Decided, Session, admitted, check_text};
use crate::queue::{
    Delivered, Delivery, Fate, Message, Place, Question, QueueError, Report, Source,
};
use crate::turns::Turns;
use crate::{clock, limits, wording};

/// The desk where channels' workers come.
pub struct Desk {
    turns: Turns,
    policy: Edge,
}

impl Desk {
    /// A desk in front of these turns.
    pub fn new(turns: Turns, policy: Edge) -> Self {
        Self { turns, policy }
    }

    fn channels(&self) -> &Channels {
        self.turns.channels()
    }

    /// What policy says of all handles of a delivery, each asked for once.
    async fn present(
        &self,
        channel: &str,
        inbound: &[v1::Inbound],
    ) -> Result<HashMap<String, Decided<Session>>, Status> {
        let mut handles: Vec<_> = inbound.iter().map(|m| m.handle.clone()).collect();
        handles.sort_unstable();
        handles.dedup();
        let asked = handles.into_iter().filter(|h| Handle::parse(h).is_ok());
        let asked = asked.map(|handle| async {
            let request = v1::PresentRequest {
                handle: handle.clone(),
                channel: channel.to_owned(),
            };
            // Without a decision nothing is refused: the worker comes again with the same.
            let reply = AccessClient::new(self.policy.clone())
                .present(request)
                .await
                .map_err(|status| Status::unavailable(status.message()))?;
            let decided = match reply.into_inner().outcome {
                Some(Admittance::Refusal(refusal)) => Err(refusal),
                Some(Admittance::Admission(admission)) => Ok(admitted(&admission)?),
                Some(Admittance::Answer(_)) | None => {
                    return Err(Status::internal(
                        "policy answered with an outcome that is not known here",
                    ));
                }
            };
            Ok::<_, Status>((handle, decided))
        });
        Ok(try_join_all(asked).await?.into_iter().collect())
    }
}

/// A message that keeps the rules, or the rule that it breaks.
fn checked(source: &Source, inbound: v1::Inbound) -> Result<Unadmitted, String> {
    let id = |what: &str, text: &str| {
        MessageId::parse(text).map_err(|e| format!("{what}: {}", e.rule()))
    };
    id("account", &inbound.account)?;
    id("lane", &inbound.lane)?;
    check_text(&inbound.text).map_err(|status| status.message().to_owned())?;
    if inbound.address.len() > limits::ADDRESS_BYTES {
        return Err(format!(
            "an address has at most {} bytes, this one has {}",
            limits::ADDRESS_BYTES,
            inbound.address.len()
        ));
    }
    Ok(Unadmitted {
        source: source.clone(),
        event_id: id("event id", &inbound.event_id)?,
        handle: Handle::parse(&inbound.handle).map_err(|e| e.to_string())?,
        text: inbound.text,
        place: Place {
            account: inbound.account,
            address: inbound.address,
            lane: inbound.lane,
            sender: wording::name(&inbound.sender_name),
            // Policy tells with its word on the handle.
            mark: String::new(),
        },
    })
}

struct Unadmitted {
    source: Source,
    event_id: MessageId,
    handle: Handle,
    text: String,
    place: Place,
}

impl Unadmitted {
    fn delivery(self, session: Option<&Session>, turn_id: TurnId) -> Delivery {
        match session {
            Some(session) => Delivery::Message(Box::new(Message {
                source: self.source,
                message_id: self.event_id,
                turn_id,
                session: String::new(),
                session_key: session.key.clone(),
                class: session.class,
                handle: self.handle,
                question: Question::from(self.text),
                place: Some(Place {
                    mark: session.mark.clone(),
                    ..self.place
                }),
            })),
            None => Delivery::Refused {
                source: self.source,
                account: self.place.account,
                event_id: self.event_id,
                turn_id,
            },
        }
    }
}

fn receipt(state: v1::ReceiptState, message: impl Into<String>) -> v1::Receipt {
    v1::Receipt {
        state: state.into(),
        message: message.into(),
    }
}

type Orders = Pin<Box<dyn Stream<Item = Result<v1::ChannelOrder, Status>> + Send>>;

#[tonic::async_trait]
impl ChannelDesk for Desk {
    type AttachStream = Orders;

    async fn deliver(
        &self,
        request: Request<v1::DeliverRequest>,
    ) -> Result<Response<v1::DeliverReply>, Status> {
        let channel = caller(&request)?.to_string();
        let source = Source::parse(&channel).map_err(|e| Status::internal(e.to_string()))?;
        let inbound = request.into_inner().messages;
        if inbound.len() > limits::DELIVERY {
            let rule = format!(
                "at most {} messages at once, these are {}",
                limits::DELIVERY,
                inbound.len()
            );
            return Err(Status::invalid_argument(rule));
        }
        if self.channels().is_over() || !self.turns.is_ruled() {
            let when = "the gateway starts or stops; deliver again";
            return Err(Status::unavailable(when));
        }
        let decided = self.present(&channel, &inbound).await?;
        // Receipts in the order of the request; those of messages that are delivered are filled in below.
        let mut receipts = Vec::with_capacity(inbound.len());
        let (mut deliveries, mut places) = (Vec::new(), Vec::new());
        for message in inbound {
            match checked(&source, message) {
                Err(rule) => {
                    warn!(%channel, %rule, "refused a message that breaks a rule");
                    receipts.push(receipt(v1::ReceiptState::Refused, rule));
                }
                Ok(message) => {
                    let decided = decided.get(message.handle.as_str());
                    let session = decided.and_then(|decided| decided.as_ref().ok());
                    let refusal = decided.and_then(|decided| decided.as_ref().err());
                    let refusal = refusal.map_or("", |refusal| &refusal.message);
                    places.push(receipts.len());
                    receipts.push(receipt(v1::ReceiptState::Refused, refusal));
                    let turn_id = clock::turn_id().map_err(|e| Status::internal(e.to_string()))?;
                    let trace = session.map_or("", |session| session.trace.as_str());
                    info!(%channel, event = %message.event_id, turn = %turn_id, trace, "a message is delivered");
                    deliveries.push(message.delivery(session, turn_id));
                }
            }
        }
        let room = self.channels().room(&channel);
        let delivered = self.turns.deliver(deliveries, room).await;
        let delivered = delivered.map_err(unavailable)?;
        for (place, delivered) in places.into_iter().zip(delivered) {
            receipts[place] = match delivered {
                Delivered::New(_) => receipt(v1::ReceiptState::Accepted, ""),
                Delivered::Known => receipt(v1::ReceiptState::Known, ""),
                Delivered::Full => {
                    receipt(v1::ReceiptState::Full, "too many messages wait already")
                }
                Delivered::Refused => {
                    let message = std::mem::take(&mut receipts[place].message);
                    let before = "this message was refused before";
                    let message = if message.is_empty() {
                        before.into()
                    } else {
                        message
                    };
                    receipt(v1::ReceiptState::Refused, message)
                }
            };
        }
        let credit = self.channels().credit(&channel);
        Ok(Response::new(v1::DeliverReply { receipts, credit }))
    }

    async fn attach(
        &self,
        request: Request<v1::AttachRequest>,
    ) -> Result<Response<Orders>, Status> {
        let channel = caller(&request)?.to_string();
        let accounts = request.into_inner().accounts;
        let orders = self.channels().attach(&channel, accounts);
        Ok(Response::new(Box::pin(orders)))
    }

    async fn report(&self, request: Request<v1::SendReport>) -> Result<Response<v1::Done>, Status> {
        let channel = caller(&request)?.to_string();
        let report = request.into_inner();
        let outbox_id = TurnId::parse(&report.outbox_id)
            .map_err(|e| Status::invalid_argument(format!("outbox id: {}", e.rule())))?;
        let fate = match report.disposition() {
            v1::Disposition::Done => Fate::Done,
            v1::Disposition::Unknown => Fate::Unknown,
            v1::Disposition::Rejected => Fate::Rejected,
            v1::Disposition::NotStarted => Fate::Again,
            v1::Disposition::Unspecified => {
                return Err(Status::invalid_argument(
                    "a disposition that is not known here",
                ));
            }
        };
        let error = match (report.error_class.as_str(), report.message.as_str()) {
            ("", message) => message.to_owned(),
            (class, message) => format!("{class}: {message}"),
        };
        let report = Report {
            channel,
            outbox_id,
            fate,
            error,
        };
        self.channels().report(report).await.map_err(unavailable)?;
        Ok(Response::new(v1::Done {}))
    }
}

/// Whatever the queue lacks, the worker comes again with the same.
fn unavailable(error: QueueError) -> Status {
    match error {
        QueueError::DiskFull => Status::resource_exhausted(error.to_string()),
        QueueError::Database(_) | QueueError::Damaged(_) | QueueError::Stopped => {
            Status::unavailable(error.to_string())
        }
    }
}
