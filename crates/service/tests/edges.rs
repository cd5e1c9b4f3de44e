//! Edges over real socketpairs: what the table does not permit is refused, and a lost call is repeated
//! exactly as its row says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clawdbot_identity::Role;
use clawdbot_proto::v1::access_client::AccessClient;
use clawdbot_proto::v1::access_server::{Access, AccessServer};
use clawdbot_proto::v1::config_client::ConfigClient;
use clawdbot_proto::v1::config_server::{Config, ConfigServer};
use clawdbot_proto::v1::*;
use clawdbot_service::testing::{Link, connect};
use clawdbot_service::{Router, caller};
use tokio::sync::{Notify, mpsc};
use tonic::{Code, Request, Response, Status};

/// A policy that counts calls and can be told to hold them.
#[derive(Clone, Default)]
struct FakePolicy {
    calls: Arc<AtomicU32>,
    arrived: Arc<Notify>,
    held: Arc<Option<Notify>>,
}

impl FakePolicy {
    fn holding() -> Self {
        Self {
            held: Arc::new(Some(Notify::new())),
            ..Self::default()
        }
    }

    fn router(&self) -> Router {
        Router::new()
            .add(AccessServer::new(self.clone()))
            .add(ConfigServer::new(self.clone()))
    }

    async fn count(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.arrived.notify_one();
        if let Some(held) = &*self.held {
            held.notified().await;
        }
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }
}

fn visit(key: &str) -> VerifyReply {
    let visit = Visit {
        key: key.into(),
        ttl_seconds: 1,
    };
    VerifyReply {
        outcome: Some(verify_reply::Outcome::Visit(visit)),
    }
}

#[tonic::async_trait]
impl Access for FakePolicy {
    async fn verify(
        &self,
        request: Request<VerifyRequest>,
    ) -> Result<Response<VerifyReply>, Status> {
        let role = caller(&request)?;
        self.count().await;
        Ok(Response::new(visit(role.as_str())))
    }

    async fn check_key(
        &self,
        request: Request<CheckKeyRequest>,
    ) -> Result<Response<VerifyReply>, Status> {
        self.count().await;
        Ok(Response::new(visit(&request.into_inner().key)))
    }

    async fn redeem(&self, _: Request<RedeemRequest>) -> Result<Response<VerifyReply>, Status> {
        self.count().await;
        Ok(Response::new(visit("redeemed")))
    }

    async fn admit_operator(
        &self,
        _: Request<AdmitOperatorRequest>,
    ) -> Result<Response<AdmitReply>, Status> {
        self.count().await;
        Ok(Response::new(AdmitReply::default()))
    }

    async fn present(&self, _: Request<PresentRequest>) -> Result<Response<AdmitReply>, Status> {
        self.count().await;
        Ok(Response::new(AdmitReply::default()))
    }
}

type Snapshots = tokio_stream::wrappers::ReceiverStream<Result<Snapshot, Status>>;

#[tonic::async_trait]
impl Config for FakePolicy {
    type WatchStream = Snapshots;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Snapshots>, Status> {
        self.count().await;
        let (sender, receiver) = mpsc::channel(4);
        let snapshot = Snapshot {
            log_level: String::new(),
            sandbox_require: String::new(),
            revision: u64::from(self.calls()),
            slice: None,
        };
        sender
            .send(Ok(snapshot))
            .await
            .map_err(|_| Status::cancelled(""))?;
        tokio::spawn(async move {
            sender.closed().await;
        });
        Ok(Response::new(receiver.into()))
    }
}

fn request() -> VerifyRequest {
    VerifyRequest::default()
}

#[tokio::test]
async fn a_call_carries_the_role_of_its_stream() {
    let policy = FakePolicy::default();
    let edge = connect(&Role::gateway(), &Role::policy(), policy.router()).unwrap();
    let reply = AccessClient::new(edge)
        .verify(request())
        .await
        .unwrap()
        .into_inner();
    let Some(verify_reply::Outcome::Visit(visit)) = reply.outcome else {
        panic!("refused")
    };
    assert_eq!(visit.key, "gateway");
}

#[tokio::test]
async fn the_server_refuses_what_has_no_row_whatever_the_client_thinks() {
    let policy = FakePolicy::default();
    // The client believes to be the gateway, the stream belongs to the executor.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let theirs = tokio::net::UnixStream::from_std(theirs).unwrap();
    let role = Role::executor();
    tokio::spawn(clawdbot_service::serve_stream(
        theirs,
        role,
        Role::policy(),
        policy.router(),
    ));
    let (edge, handover) = clawdbot_service::Edge::handed(Role::gateway(), Role::policy());
    handover.give(ours);
    let refused = AccessClient::new(edge)
        .verify(request())
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(policy.calls(), 0);
}

#[tokio::test]
async fn the_client_does_not_even_send_what_has_no_row() {
    let policy = FakePolicy::default();
    let edge = connect(&Role::executor(), &Role::policy(), policy.router()).unwrap();
    let refused = AccessClient::new(edge)
        .verify(request())
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_request_longer_than_its_row_is_refused_and_the_longest_passes() {
    let policy = FakePolicy::default();
    let edge = connect(&Role::gateway(), &Role::policy(), policy.router()).unwrap();
    let mut client = AccessClient::new(edge);
    // Field header and length take three bytes of the 1024.
    let longest = CheckKeyRequest {
        key: "k".repeat(1024 - 3),
    };
    client.check_key(longest).await.unwrap();
    let too_long = CheckKeyRequest {
        key: "k".repeat(1024 - 2),
    };
    let refused = client.check_key(too_long).await.map(drop).unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert_eq!(policy.calls(), 1);
    client.check_key(CheckKeyRequest::default()).await.unwrap();
}

/// A call whose message comes in these parts, each after a pause, and then either its end or nothing more. Its status.
#[allow(clippy::unwrap_used)]
async fn slowly(policy: &FakePolicy, parts: &[&[u8]], pause: Duration, ends: bool) -> String {
    let (near, far) = tokio::net::UnixStream::pair().unwrap();
    let server = (Role::gateway(), Role::policy(), policy.router());
    tokio::spawn(clawdbot_service::serve_stream(
        far, server.0, server.1, server.2,
    ));
    let (sender, connection) = h2::client::handshake(near).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://edge/clawdbot.v1.Access/CheckKey")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let mut sender = sender.ready().await.unwrap();
    let (answer, mut body) = sender
        .send_request(request.body(()).unwrap(), false)
        .unwrap();
    for part in parts {
        tokio::time::sleep(pause).await;
        body.send_data(part.to_vec().into(), false).unwrap();
    }
    if ends {
        body.send_data(Vec::new().into(), true).unwrap();
    }
    let (head, mut body) = answer.await.unwrap().into_parts();
    while let Some(data) = body.data().await {
        body.flow_control()
            .release_capacity(data.unwrap().len())
            .unwrap();
    }
    let trailers = body.trailers().await.unwrap().unwrap_or_default();
    let status = head.headers.get("grpc-status");
    let status = status.or(trailers.get("grpc-status")).unwrap();
    status.to_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_come_to_its_end_is_given_up_and_a_slow_one_is_not() {
    let policy = FakePolicy::default();
    // Field 1, a string of one byte.
    let parts: [&[u8]; 3] = [b"\0\0\0\0", b"\x03\x0a", b"\x01k"];
    let pause = Duration::from_secs(3);
    assert_eq!(slowly(&policy, &parts, pause, true).await, "0");
    assert_eq!(policy.calls(), 1);
    assert_eq!(slowly(&policy, &parts, pause, false).await, "4");
    assert_eq!(policy.calls(), 1, "no service sees half a request");
}

#[tokio::test(start_paused = true)]
async fn more_calls_than_the_rate_are_refused_until_a_second_has_passed() {
    let policy = FakePolicy::default();
    let edge = connect(&Role::gateway(), &Role::policy(), policy.router()).unwrap();
    let mut client = AccessClient::new(edge);
    for _ in 0..50 {
        client.verify(request()).await.unwrap();
    }
    let refused = client.verify(request()).await.map(drop).unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    client.check_key(CheckKeyRequest::default()).await.unwrap();
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    client.verify(request()).await.unwrap();
}

#[tokio::test]
async fn a_call_waits_for_a_server_that_is_not_there_yet() {
    let link = Link::new(&Role::gateway(), &Role::policy());
    let edge = link.edge();
    let call = tokio::spawn(async move { AccessClient::new(edge).verify(request()).await });
    tokio::task::yield_now().await;
    link.reconnect(FakePolicy::default().router())
        .await
        .unwrap();
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_safe_call_that_was_lost_is_asked_again_at_the_next_server() {
    let (first, second) = (FakePolicy::holding(), FakePolicy::default());
    let link = Link::new(&Role::gateway(), &Role::policy());
    link.reconnect(first.router()).await.unwrap();
    let edge = link.edge();
    let call = tokio::spawn(async move { AccessClient::new(edge).verify(request()).await });
    first.arrived.notified().await;
    link.reconnect(second.router()).await.unwrap();
    call.await.unwrap().unwrap();
    assert_eq!((first.calls(), second.calls()), (1, 1));
}

#[tokio::test]
async fn a_call_that_may_not_be_repeated_ends_unavailable() {
    let (first, second) = (FakePolicy::holding(), FakePolicy::default());
    let link = Link::new(&Role::gateway(), &Role::policy());
    link.reconnect(first.router()).await.unwrap();
    let edge = link.edge();
    let call = tokio::spawn(async move {
        AccessClient::new(edge)
            .redeem(RedeemRequest::default())
            .await
    });
    first.arrived.notified().await;
    link.reconnect(second.router()).await.unwrap();
    let lost = call.await.unwrap().map(drop).unwrap_err();
    assert_eq!(lost.code(), Code::Unavailable);
    assert_eq!(second.calls(), 0);
    AccessClient::new(link.edge())
        .redeem(RedeemRequest::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_stream_whose_server_dies_ends_unavailable_and_can_be_asked_for_again() {
    let policy = FakePolicy::default();
    let link = Link::new(&Role::supervisor(), &Role::policy());
    link.reconnect(policy.router()).await.unwrap();
    let mut client = ConfigClient::new(link.edge());
    let mut stream = client.watch(WatchRequest {}).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().revision, 1);
    link.cut().await;
    let lost = stream.message().await.unwrap_err();
    assert_eq!(lost.code(), Code::Unavailable, "{lost:?}");
    link.reconnect(policy.router()).await.unwrap();
    let mut stream = client.watch(WatchRequest {}).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().revision, 2);
}

#[tokio::test]
async fn the_slice_is_kept_fresh_over_a_restart_of_policy() {
    let policy = FakePolicy::default();
    let link = Link::new(&Role::supervisor(), &Role::policy());
    let mut slice = clawdbot_service::follow_config(link.edge());
    assert!(slice.borrow_and_update().is_none());
    for revision in 1..=2 {
        link.reconnect(policy.router()).await.unwrap();
        slice.changed().await.unwrap();
        assert_eq!(
            slice.borrow_and_update().as_ref().unwrap().revision,
            revision
        );
    }
}

#[tokio::test]
async fn each_life_of_the_server_is_a_new_generation() {
    let link = Link::new(&Role::policy(), &Role::broker());
    let mut generation = link.edge().generation();
    link.reconnect(Router::new()).await.unwrap();
    generation.changed().await.unwrap();
    link.reconnect(Router::new()).await.unwrap();
    generation.changed().await.unwrap();
    assert_eq!(*generation.borrow(), 2);
}
