//! Messages, leases and health against a gateway, a broker and a policy that are played.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use clawdbot_identity::Role;
use clawdbot_proto::v1::channel_desk_server::{ChannelDesk, ChannelDeskServer};
use clawdbot_proto::v1::health_server::HealthServer;
use clawdbot_proto::v1::leases_server::{Leases, LeasesServer};
use clawdbot_proto::v1::{self, ChannelOrder, DeliverReply, Done, LeaseVersion};
use clawdbot_service::testing::{Link, connect};
use clawdbot_service::{Edge, Router};
use tokio::sync::mpsc;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::*;
use crate::{Health, Lease, follow_leases};

fn worker() -> Role {
    Role::parse("channel-telegram").unwrap()
}

/// A gateway that has room for so many messages in each call.
struct Desk {
    room: Mutex<VecDeque<u32>>,
    seen: mpsc::UnboundedSender<Vec<String>>,
}

#[tonic::async_trait]
impl ChannelDesk for Desk {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<ChannelOrder, Status>> + Send>>;

    async fn deliver(
        &self,
        request: Request<v1::DeliverRequest>,
    ) -> Result<Response<DeliverReply>, Status> {
        let messages = request.into_inner().messages;
        let ids = messages.iter().map(|message| message.event_id.clone());
        self.seen.send(ids.collect()).unwrap();
        let room = self.room.lock().unwrap().pop_front();
        let Some(room) = room else {
            return Err(Status::unavailable("later"));
        };
        let state = |index: usize| match (index as u32) < room {
            true => ReceiptState::Accepted,
            false => ReceiptState::Full,
        };
        let receipts = (0..messages.len()).map(|index| Receipt {
            state: state(index).into(),
            message: String::new(),
        });
        Ok(Response::new(DeliverReply {
            receipts: receipts.collect(),
            credit: 0,
        }))
    }

    async fn attach(
        &self,
        _: Request<v1::AttachRequest>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn report(&self, _: Request<v1::SendReport>) -> Result<Response<Done>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

fn message(id: &str) -> Inbound {
    Inbound {
        event_id: id.into(),
        ..Inbound::default()
    }
}

#[tokio::test]
async fn what_found_no_room_is_delivered_again_when_there_is_credit() {
    let (seen_in, mut seen) = mpsc::unbounded_channel();
    let desk = Desk {
        room: Mutex::new([2, 0, 9].into()),
        seen: seen_in,
    };
    let router = Router::new().add(ChannelDeskServer::new(desk));
    let edge = connect(&worker(), &Role::gateway(), router).unwrap();
    let credit = Credit::default();
    let news = credit.clone();
    let delivered = tokio::spawn(async move {
        deliver(
            &edge,
            &credit,
            vec![message("a"), message("b"), message("c")],
        )
        .await
    });
    assert_eq!(seen.recv().await.unwrap(), ["a", "b", "c"]);
    tokio::task::yield_now().await;
    assert!(seen.try_recv().is_err(), "no credit, no call");
    for _ in 0..2 {
        loop {
            news.set(1);
            tokio::task::yield_now().await;
            if let Ok(ids) = seen.try_recv() {
                assert_eq!(ids, ["c"]);
                break;
            }
        }
    }
    let receipts = delivered.await.unwrap();
    assert!(
        receipts
            .iter()
            .all(|receipt| receipt.state() == ReceiptState::Accepted)
    );
}

#[test]
fn a_batch_is_bounded_in_number_and_bytes() {
    let messages: Vec<Inbound> = (0..250).map(|_| message("x")).collect();
    let open: Vec<usize> = (0..250).collect();
    assert_eq!(batch(&open, &messages).len(), 100);
    let large = Inbound {
        text: "x".repeat(2 << 20),
        ..Inbound::default()
    };
    let messages = vec![large; 3];
    assert_eq!(batch(&[0, 1, 2], &messages), [0]);
    assert_eq!(batch(&[1, 2], &messages), [1]);
}

/// A broker whose token the test changes.
struct Broker(watch::Sender<Option<&'static str>>);

#[tonic::async_trait]
impl Leases for Broker {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<LeaseVersion, Status>> + Send>>;

    async fn lease(
        &self,
        _: Request<v1::LeaseRequest>,
    ) -> Result<Response<v1::LeaseReply>, Status> {
        match *self.0.borrow() {
            None => Err(Status::not_found("set channels.telegram.botToken")),
            Some(token) => Ok(Response::new(v1::LeaseReply {
                secrets: vec![v1::LeasedSecret {
                    profile: "default".into(),
                    secret: token.into(),
                }],
                version: token.len() as u64,
                headers: Vec::new(),
                audience: String::new(),
            })),
        }
    }

    async fn watch(
        &self,
        _: Request<v1::WatchLeaseRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let versions = WatchStream::new(self.0.subscribe());
        Ok(Response::new(Box::pin(versions.map(|token| {
            let version = token.map_or(0, |token| token.len() as u64);
            Ok(LeaseVersion { version })
        }))))
    }
}

#[tokio::test]
async fn a_new_token_is_leased_and_a_withdrawn_one_is_dropped() {
    let token = watch::Sender::new(None);
    let router = || Router::new().add(LeasesServer::new(Broker(token.clone())));
    let link = Link::new(&worker(), &Role::broker());
    link.reconnect(router()).await.unwrap();
    let mut lease = follow_leases(link.edge());
    let no_lease = |lease: &Lease| matches!(lease, Lease::None(why) if why.contains("botToken"));
    lease.wait_for(no_lease).await.unwrap();
    token.send_replace(Some("first"));
    let held = |version| move |lease: &Lease| matches!(lease, Lease::Held(held) if held.version == version);
    lease.wait_for(held(5)).await.unwrap();
    token.send_replace(Some("second"));
    let now = lease.wait_for(held(6)).await.unwrap().clone();
    let Lease::Held(leased) = now else { panic!() };
    assert!(leased.secrets["default"].is(b"second"));
    // The connection over which the first one came is given up for another.
    link.reconnect(router()).await.unwrap();
    token.send_replace(None);
    lease.wait_for(no_lease).await.unwrap();
}

struct Policy(mpsc::UnboundedSender<v1::HealthReport>);

#[tonic::async_trait]
impl clawdbot_proto::v1::health_server::Health for Policy {
    async fn report(&self, report: Request<v1::HealthReport>) -> Result<Response<Done>, Status> {
        self.0.send(report.into_inner()).unwrap();
        Ok(Response::new(Done {}))
    }
}

#[tokio::test]
async fn problems_are_told_once_and_again_after_a_start_of_policy() {
    let (told_in, mut told) = mpsc::unbounded_channel();
    let router = || Router::new().add(HealthServer::new(Policy(told_in.clone())));
    let link = Link::new(&worker(), &Role::policy());
    link.reconnect(router()).await.unwrap();
    let edge: Edge = link.edge();
    let health = Health::start(edge);
    let codes = |report: &v1::HealthReport| -> Vec<String> {
        report.problems.iter().map(|p| p.code.clone()).collect()
    };
    assert_eq!(told.recv().await.unwrap(), v1::HealthReport::default());
    health.begin(7, ["default".to_owned()]);
    let begun = told.recv().await.unwrap();
    assert_eq!((begun.lease_version, begun.checked), (7, false));
    health.problem("default", "channel.auth_revoked", "log in again");
    let broken = told.recv().await.unwrap();
    assert_eq!(
        (codes(&broken), broken.checked),
        (vec!["channel.auth_revoked".into()], true)
    );
    health.problem("default", "channel.auth_revoked", "log in again");
    link.reconnect(router()).await.unwrap();
    assert_eq!(told.recv().await.unwrap(), broken, "told to the new one");
    health.begin(8, ["default".to_owned()]);
    let renewed = told.recv().await.unwrap();
    assert_eq!((codes(&renewed), renewed.checked), (codes(&broken), false));
    health.works("default");
    let works = told.recv().await.unwrap();
    assert_eq!(
        (works.problems.len(), works.checked, works.lease_version),
        (0, true, 8)
    );
    let _alive = Arc::new(health);
}
