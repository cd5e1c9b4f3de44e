//! A peer that ends at once, as its callers see it and as often as they start it. Time is virtual.
#![cfg(feature = "grpc")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clawdbot_identity::Role;
use clawdbot_proto::v1::access_client::AccessClient;
use clawdbot_proto::v1::config_client::ConfigClient;
use clawdbot_proto::v1::config_server::{Config, ConfigServer};
use clawdbot_proto::v1::{
    DialerReply, DialerRequest, EventsAfter, Snapshot, VerifyRequest, WatchRequest, dialer_request,
};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tonic::{Code, Request, Response, Status};

use super::*;
use crate::source::Source;
use crate::{Edge, FrameClient, Router, follow_config, serve_stream};

/// What the tries of one call make of a peer that ends at once.
const OF_ONE_CALL: usize = 8;
const TEN_MINUTES: Duration = Duration::from_secs(600);

/// A socket whose server ends whenever it is started.
struct Broken {
    starts: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Broken {
    fn at(path: &Path) -> Self {
        let socket = UnixListener::bind(path).unwrap();
        let starts = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&starts);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                drop(stream);
            }
        });
        Self { starts, serving }
    }

    fn starts(&self) -> usize {
        self.starts.load(Ordering::Relaxed)
    }

    /// Its socket goes, too.
    async fn stop(self, path: &Path) {
        self.serving.abort();
        let _aborted = self.serving.await;
        std::fs::remove_file(path).unwrap();
    }
}

/// One slice, then nothing more.
struct Slices;

#[tonic::async_trait]
impl Config for Slices {
    type WatchStream = tokio_stream::wrappers::ReceiverStream<Result<Snapshot, Status>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let _room = sender.send(Ok(Snapshot::default())).await;
        tokio::spawn(async move { sender.closed().await });
        Ok(Response::new(receiver.into()))
    }
}

/// Serves the next connection.
async fn serve_one(socket: &UnixListener) -> JoinHandle<()> {
    let (stream, _) = socket.accept().await.unwrap();
    let router = Router::new().add(ConfigServer::new(Slices));
    tokio::spawn(serve_stream(
        stream,
        Role::gateway(),
        Role::policy(),
        router,
    ))
}

fn edge(path: &Path) -> Edge {
    let source = Source::activating(path.to_owned());
    Edge::new(Role::gateway(), Role::policy(), source)
}

async fn refused(edge: &Edge) -> Status {
    let mut client = ConfigClient::new(edge.clone());
    let refused = client.watch(WatchRequest {}).await.map(drop).unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    refused
}

#[tokio::test(start_paused = true)]
async fn the_pauses_double_up_to_ten_seconds_and_an_answer_ends_them() {
    let pace = Pace::default();
    let mut pauses = Vec::new();
    for _ in 0..40 {
        pace.tried(true);
        pauses.push(pace.tries().left().as_millis());
        pace.rested().await;
        assert!(pace.turn().await.is_ok());
    }
    assert_eq!(pauses[..4], [10, 20, 40, 80]);
    assert_eq!(pauses[9..12], [5_120, 10_000, 10_000]);
    assert_eq!(pauses[39], 10_000);
    pace.tried(true);
    let early = pace.turn().await.unwrap_err().to_string();
    assert!(early.contains("in 10 s"), "{early}");
    pace.answered();
    assert!(pace.tries().left().is_zero());
    pace.tried(true);
    assert_eq!(pace.tries().left(), FIRST);
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_lets_nobody_connect_is_tried_each_second_and_counts_apart() {
    let pace = Pace::default();
    for _ in 0..40 {
        pace.tried(false);
    }
    assert_eq!(pace.tries().left(), REFUSED);
    let early = pace.turn().await.unwrap_err().to_string();
    assert!(early.contains("socket"), "{early}");
    pace.rested().await;
    pace.tried(true);
    assert_eq!(pace.tries().left(), FIRST);
}

#[tokio::test(start_paused = true)]
async fn a_call_makes_all_its_tries_and_the_next_ends_at_once_without_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.sock");
    let broken = Broken::at(&path);
    let edge = edge(&path);
    refused(&edge).await;
    assert_eq!(broken.starts(), OF_ONE_CALL);
    let before = Instant::now();
    let said = refused(&edge).await;
    assert!(said.message().contains("as soon as"), "{said:?}");
    assert_eq!((broken.starts(), before.elapsed()), (8, Duration::ZERO));
    // A call that may not be repeated is made once, when there is a next time.
    edge.rested().await;
    let mut client = AccessClient::new(edge.clone());
    let asked = client.verify(VerifyRequest::default()).await;
    assert!(asked.is_err());
    assert!(broken.starts() > OF_ONE_CALL);
}

#[tokio::test(start_paused = true)]
async fn who_follows_a_peer_that_ends_at_once_starts_it_a_few_times_a_minute_and_hears_when_it_works()
 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.sock");
    let broken = Broken::at(&path);
    let edge = edge(&path);
    let mut slices = follow_config(edge.clone());
    sleep(TEN_MINUTES).await;
    let starts = broken.starts();
    assert!((60..80).contains(&starts), "{starts}");

    broken.stop(&path).await;
    let socket = UnixListener::bind(&path).unwrap();
    let serving = serve_one(&socket).await;
    slices.changed().await.unwrap();
    assert!(slices.borrow().is_some());
    // It worked: its next life is found as soon as anybody looks.
    serving.abort();
    let _aborted = serving.await;
    let before = Instant::now();
    let serving = serve_one(&socket).await;
    slices.changed().await.unwrap();
    assert!(before.elapsed() < Duration::from_millis(100));
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn the_operator_s_calls_and_those_over_handed_streams_keep_no_such_pause() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.sock");
    let broken = Broken::at(&path);
    let edge = Edge::to_path(path, Role::gateway(), Role::policy(), LONGEST);
    for calls in 1..=3 {
        refused(&edge).await;
        assert_eq!(broken.starts(), calls * OF_ONE_CALL);
        let before = Instant::now();
        edge.rested().await;
        assert_eq!(before.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn frame_edges_keep_the_same_pauses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dialer.sock");
    let broken = Broken::at(&path);
    let source = Source::activating(path);
    let client: FrameClient<DialerRequest, DialerReply> =
        FrameClient::new(Role::policy(), Role::dialer(), source);
    let begun = Instant::now();
    while begun.elapsed() < TEN_MINUTES {
        let request = dialer_request::Request::Events(EventsAfter { number: 0 });
        let request = DialerRequest {
            id: 0,
            request: Some(request),
        };
        client.call(request).await.unwrap_err();
        sleep(Duration::from_millis(50)).await;
    }
    let starts = broken.starts();
    assert!((60..80).contains(&starts), "{starts}");
}
