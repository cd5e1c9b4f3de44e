//! Peers that do not behave: what the calling side makes of a server's goodbye, silence and noise, and the answering side of
//! a client's.

use std::os::unix::net::UnixStream as StdStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use clawdbot_identity::Role;
use clawdbot_proto::v1::access_client::AccessClient;
use clawdbot_proto::v1::config_client::ConfigClient;
use clawdbot_proto::v1::{VerifyRequest, WatchRequest};
use h2::RecvStream;
use h2::server::{Connection, SendResponse};
use http::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Code;

use super::{Edge, Router, serve_stream};
use crate::notify::Why;
use crate::source::{Slot, Source};

/// Far above what anything takes.
const LONG: Duration = Duration::from_secs(30);

/// An edge, the far ends of its connections, and why it asked for each but the first. A new one is there as soon as it is
/// asked for.
struct Far {
    edge: Edge,
    ends: mpsc::UnboundedReceiver<UnixStream>,
    asked: Arc<Mutex<Vec<Why>>>,
}

fn adopt(stream: StdStream) -> UnixStream {
    stream.set_nonblocking(true).unwrap();
    UnixStream::from_std(stream).unwrap()
}

impl Far {
    fn new() -> Self {
        let (sender, ends) = mpsc::unbounded_channel();
        let asked: Arc<Mutex<Vec<Why>>> = Arc::default();
        let (give, fresh) = mpsc::unbounded_channel();
        let noted = Arc::clone(&asked);
        let slot = Arc::new(Slot::asking(Box::new(move |why| {
            noted.lock().unwrap().push(why);
            give.send(()).unwrap();
        })));
        tokio::spawn(feed(Arc::clone(&slot), sender, fresh));
        Self {
            edge: Edge::new(Role::gateway(), Role::policy(), Source::Handed(slot)),
            ends,
            asked,
        }
    }

    async fn serve(&mut self) -> Connection<UnixStream, Bytes> {
        let end = timeout(LONG, self.ends.recv()).await;
        let end = end.expect("nobody asks for another connection").unwrap();
        h2::server::handshake(end).await.unwrap()
    }

    fn client(&self) -> AccessClient<Edge> {
        AccessClient::new(self.edge.clone())
    }
}

async fn feed(
    slot: Arc<Slot>,
    ends: mpsc::UnboundedSender<UnixStream>,
    mut wanted: mpsc::UnboundedReceiver<()>,
) {
    loop {
        let (near, far) = StdStream::pair().unwrap();
        slot.hand_over(near);
        if ends.send(adopt(far)).is_err() || wanted.recv().await.is_none() {
            return;
        }
    }
}

type Call = (Request<RecvStream>, SendResponse<Bytes>);

/// The next call, with a connection that goes on by itself.
async fn next(connection: &mut Connection<UnixStream, Bytes>) -> Call {
    connection.accept().await.unwrap().unwrap()
}

/// An answer without a message.
fn answer(respond: &mut SendResponse<Bytes>, extra: &str) {
    let head = Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", "5")
        .header("x-extra", extra);
    respond.send_response(head.body(()).unwrap(), true).unwrap();
}

#[tokio::test]
async fn a_call_leaves_a_server_that_said_goodbye_while_it_still_answers_others() {
    let mut far = Far::new();
    let mut policy = ConfigClient::new(far.edge.clone());
    let held = tokio::spawn(async move { policy.watch(WatchRequest {}).await });
    let mut first = far.serve().await;
    let _held_call = next(&mut first).await;
    first.graceful_shutdown();
    let mut client = far.client();
    // Calls that the goodbye meets on their way are not answered.
    let ended = tokio::spawn(async move { while let Some(Ok(_)) = first.accept().await {} });
    let calling = tokio::spawn(async move { client.verify(VerifyRequest::default()).await });
    let mut second = far.serve().await;
    let (_, mut respond) = next(&mut second).await;
    answer(&mut respond, "");
    let serving = tokio::spawn(async move { second.accept().await.map(drop) });
    let answered = calling.await.unwrap().map(drop).unwrap_err();
    assert_eq!(answered.code(), Code::NotFound);
    assert_eq!(*far.asked.lock().unwrap(), [Why::Lost]);
    assert!(
        !held.is_finished() && !ended.is_finished(),
        "the old one goes on"
    );
    serving.abort();
}

#[tokio::test]
async fn who_hangs_up_says_so_and_it_is_no_loss() {
    let mut far = Far::new();
    for _ in 0..2 {
        let mut client = far.client();
        let called = tokio::spawn(async move { client.verify(VerifyRequest::default()).await });
        let mut server = far.serve().await;
        let (_, mut respond) = next(&mut server).await;
        answer(&mut respond, "");
        let serving = tokio::spawn(async move { server.accept().await.is_none() });
        called.await.unwrap().map(drop).unwrap_err();
        far.edge.hang_up().await;
        assert!(serving.await.unwrap(), "the connection ends");
    }
    assert_eq!(*far.asked.lock().unwrap(), [Why::GivenUp; 2]);
}

#[tokio::test]
async fn an_answer_with_an_endless_head_is_no_answer() {
    for (length, code) in [(8 << 10, Code::NotFound), (64 << 10, Code::Unavailable)] {
        let far = Far::new();
        let mut client = far.client();
        let called = tokio::spawn(async move { client.verify(VerifyRequest::default()).await });
        let mut ends = far.ends;
        let serving = tokio::spawn(async move {
            // The client may leave it at that, and with it the connection.
            while let Some(end) = ends.recv().await {
                let mut server = h2::server::handshake(end).await.unwrap();
                while let Some(Ok((_, mut respond))) = server.accept().await {
                    answer(&mut respond, &"x".repeat(length));
                }
            }
        });
        let answered = called.await.unwrap().map(drop).unwrap_err();
        assert_eq!(answered.code(), code, "{length}");
        serving.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_begins_no_stream_is_not_waited_for_for_ever() {
    let mut far = Far::new();
    let mut policy = ConfigClient::new(far.edge.clone());
    let called = tokio::spawn(async move { policy.watch(WatchRequest {}).await.map(drop) });
    let mut server = far.serve().await;
    let _never_answered = next(&mut server).await;
    let serving = tokio::spawn(async move { server.accept().await.map(drop) });
    let late = called.await.unwrap().unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late:?}");
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn a_call_does_not_wait_for_ever_for_a_server_that_takes_one_at_a_time() {
    let mut far = Far::new();
    let mut first = ConfigClient::new(far.edge.clone());
    let held = tokio::spawn(async move {
        let stream = first.watch(WatchRequest {}).await.unwrap();
        stream.into_inner().message().await.map(drop)
    });
    let end = far.ends.recv().await.unwrap();
    let mut builder = h2::server::Builder::new();
    let builder = builder.max_concurrent_streams(1);
    let mut server = builder.handshake::<_, Bytes>(end).await.unwrap();
    let (_, mut respond) = next(&mut server).await;
    let head = Response::builder().header("content-type", "application/grpc");
    let _stream = respond
        .send_response(head.body(()).unwrap(), false)
        .unwrap();
    let serving = tokio::spawn(async move { server.accept().await.map(drop) });
    let mut second = ConfigClient::new(far.edge.clone());
    let refused = second.watch(WatchRequest {}).await.map(drop).unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(!held.is_finished() && !serving.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_come_to_its_beginning_is_ended_and_a_silent_one_waits() {
    let (near, far) = StdStream::pair().unwrap();
    let serving = serve_stream(adopt(far), Role::gateway(), Role::policy(), Router::new());
    let serving = tokio::spawn(serving);
    let mut near = adopt(near);
    tokio::time::sleep(LONG).await;
    assert!(!serving.is_finished());
    near.write_all(b"PRI * HT").await.unwrap();
    let mut end = Vec::new();
    near.read_to_end(&mut end).await.unwrap();
    serving.await.unwrap();
}

/// A whole beginning of HTTP/2: one that is cut off would be given up after a while, and its place with it.
const BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// How many more connections a server takes.
async fn taken(router: &Router, client: &Role, wanted: usize) -> Vec<UnixStream> {
    let mut taken = Vec::new();
    for _ in 0..wanted {
        let (near, far) = StdStream::pair().unwrap();
        let (client, router) = (client.clone(), router.clone());
        tokio::spawn(serve_stream(adopt(far), client, Role::policy(), router));
        let mut near = adopt(near);
        // The answer: its settings, or its end.
        let _ended = near.write_all(BEGINNING).await;
        if near.read_u8().await.is_ok() {
            taken.push(near);
        }
    }
    taken
}

#[tokio::test]
async fn a_client_has_so_many_connections_and_takes_none_from_another() {
    let router = Router::new();
    let held = taken(&router, &Role::gateway(), 200).await;
    assert_eq!(held.len(), 64);
    let other = taken(&router, &Role::executor(), 3).await;
    assert_eq!(other.len(), 3);
}
