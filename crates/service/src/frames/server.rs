//! The answering side of a frame edge. Whatever the table does not permit ends the connection: there is
//! no honest client that sends it. Requests above the rate wait.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;

use clawdbot_confine::frame::FrameReader;
use clawdbot_identity::Role;
use clawdbot_proto::edges;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tracing::warn;

use super::{FrameConnection, FrameMessage};
use crate::rate::Rates;

/// Requests of one connection that are answered at the same time; more of them wait.
const CONCURRENT: usize = 16;

pub(crate) type FrameHandler<Req, Rep> = Arc<
    dyn Fn(Role, Req) -> Pin<Box<dyn Future<Output = (Rep, Vec<OwnedFd>)> + Send>> + Send + Sync,
>;

/// Serves one connection of the given role until either side ends it.
pub(crate) async fn serve_frames<Req: FrameMessage, Rep: FrameMessage>(
    stream: UnixStream,
    client: Role,
    server: Role,
    handler: FrameHandler<Req, Rep>,
) {
    let connection = Arc::new(FrameConnection::from_stream(stream, FrameReader::new()));
    let mut rates = Rates::default();
    let slots = Arc::new(Semaphore::new(CONCURRENT));
    loop {
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
        let row = edges::method(client.as_str(), server.as_str(), request.row());
        let Some(row) = row.filter(|row| frame.payload.len() <= row.max as usize) else {
            warn!(%client, row = request.row(), "ended a frame edge after a request that the edge table does not permit");
            return;
        };
        rates.wait(row).await;
        if !frame.fds.is_empty() {
            warn!(%client, row = row.path, "ended a frame edge after a request with descriptors");
            return;
        }
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let (connection, handler, client) = (
            Arc::clone(&connection),
            Arc::clone(&handler),
            client.clone(),
        );
        tokio::spawn(async move {
            let id = request.id();
            let (mut reply, fds) = handler(client, request).await;
            reply.set_id(id);
            // A client that is gone needs no reply; the descriptors are closed.
            let _gone = connection.send(&reply.encode_to_vec(), fds).await;
            drop(slot);
        });
    }
}
