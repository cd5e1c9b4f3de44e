//! One call on an edge and its answer: the real client, table, server and codec between two threads that have a runtime
//! each, as two processes have. Beside it the same way for a few bytes without anything around them.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use clawdbot_identity::{Class, Role};
use clawdbot_proto::v1;
use clawdbot_proto::v1::sessions_client::SessionsClient;
use clawdbot_proto::v1::sessions_server::{Sessions, SessionsServer};
use clawdbot_service::{Edge, Router, serve_stream};
use tonic::{Request, Response, Status};

use crate::runtime;

/// Calls on one connection, each of which is served as that of a new client, so that the edge's rate (5000 and as many at
/// once) does not become the figure.
const PER_CONNECTION: usize = 400;

struct Known;

#[tonic::async_trait]
impl Sessions for Known {
    async fn resolve(
        &self,
        _: Request<v1::ResolveRequest>,
    ) -> Result<Response<v1::Session>, Status> {
        Ok(Response::new(v1::Session {
            session_key: "agent:main:main".into(),
            agent_id: "main".into(),
            class: v1::Class::Main.into(),
            standing: "owner".into(),
            ..v1::Session::default()
        }))
    }
}

/// Round trips of `Sessions.Resolve` on the edge agent-main → policy.
pub fn call(count: usize) -> Vec<Duration> {
    let (connections, arriving) = channel();
    let server = std::thread::spawn(move || serve(&arriving));
    let runtime = runtime();
    let (edge, handover) = Edge::handed(Role::agent(Class::Main), Role::policy());
    let mut client = SessionsClient::new(edge);
    let request = v1::ResolveRequest {
        handle: "a".repeat(120),
    };
    let mut took = Vec::with_capacity(count);
    runtime.block_on(async {
        while took.len() < count {
            let (ours, theirs) = UnixStream::pair().unwrap();
            handover.give(ours);
            connections.send(theirs).unwrap();
            // Opens the connection.
            client.resolve(request.clone()).await.unwrap();
            for _ in 0..PER_CONNECTION.min(count - took.len()) {
                let began = Instant::now();
                client.resolve(request.clone()).await.unwrap();
                took.push(began.elapsed());
            }
        }
    });
    drop((client, handover, connections));
    drop(runtime);
    server.join().unwrap();
    took
}

fn serve(arriving: &Receiver<UnixStream>) {
    let runtime = runtime();
    for stream in arriving {
        runtime.block_on(async {
            let router = Router::new().add(SessionsServer::new(Known));
            stream.set_nonblocking(true).unwrap();
            let stream = tokio::net::UnixStream::from_std(stream).unwrap();
            serve_stream(stream, Role::agent(Class::Main), Role::policy(), router).await;
        });
    }
}

/// Round trips of 128 bytes over a socket pair, with blocking reads.
pub fn bare(count: usize) -> Vec<Duration> {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let echo = std::thread::spawn(move || {
        let mut bytes = [0; 128];
        while theirs.read_exact(&mut bytes).is_ok() {
            theirs.write_all(&bytes).unwrap();
        }
    });
    let mut bytes = [7; 128];
    let took = (0..count)
        .map(|_| {
            let began = Instant::now();
            ours.write_all(&bytes).unwrap();
            ours.read_exact(&mut bytes).unwrap();
            began.elapsed()
        })
        .collect();
    drop(ours);
    echo.join().unwrap();
    took
}
