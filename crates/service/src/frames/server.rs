//! The answering side of a frame edge. Whatever the table does not permit ends the connection: there is
//! no honest client that sends it. Requests above the rate wait, and those of one client for each other.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;

use clawdbot_confine::frame::FrameReader;
use clawdbot_identity::Role;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;

use super::{FrameConnection, FrameMessage};
use crate::gate::Gates;

/// Requests of one client that are answered at the same time; more of them wait.
pub(crate) const CONCURRENT: usize = 16;

pub(crate) type FrameHandler<Req, Rep> = Arc<
    dyn Fn(Role, Req) -> Pin<Box<dyn Future<Output = (Rep, Vec<OwnedFd>)> + Send>> + Send + Sync,
>;

/// Serves one connection of the given role until either side ends it.
pub(crate) async fn serve_frames<Req: FrameMessage, Rep: FrameMessage>(
    stream: UnixStream,
    client: Role,
    server: Role,
    gates: Gates,
    handler: FrameHandler<Req, Rep>,
) {
    let gate = gates.of(&client, &server);
    let Some(_place) = gate.connect() else {
        if gate.is_news(Instant::now()) {
            warn!(%client, "refused a connection of a client that has too many");
        }
        return;
    };
    let connection = Arc::new(FrameConnection::from_stream(stream, FrameReader::new()));
    // What is asked on a connection ends with it.
    let mut asked = JoinSet::new();
    loop {
        while asked.try_join_next().is_some() {}
        let frame = match connection.receive().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return,
            Err(error) => {
                warn!(%client, %error, "a frame edge broke");
                return;
            }
        };
        let Ok(request) = Req::decode(frame.payload.as_slice()) else {
            warn!(%client, "ended a frame edge after an unreadable request");
            return;
        };
        let Some(row) = gate
            .row(request.row())
            .filter(|row| frame.payload.len() <= row.max as usize)
        else {
            warn!(%client, row = request.row(), "ended a frame edge after a request that the edge table does not permit");
            return;
        };
        gate.wait(row).await;
        if !frame.fds.is_empty() {
            warn!(%client, row = row.path, "ended a frame edge after a request with descriptors");
            return;
        }
        let Ok(slot) = Arc::clone(&gate.calls).acquire_owned().await else {
            return;
        };
        let (connection, handler, client) = (
            Arc::clone(&connection),
            Arc::clone(&handler),
            client.clone(),
        );
        asked.spawn(async move {
            let id = request.id();
            let (mut reply, fds) = handler(client, request).await;
            reply.set_id(id);
            // A client that is gone needs no reply; the descriptors are closed.
            let _gone = connection.send(&reply.encode_to_vec(), fds).await;
            drop(slot);
        });
    }
}
