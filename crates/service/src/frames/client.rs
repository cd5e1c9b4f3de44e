//! The calling side of a frame edge: any number of calls at a time, paired by number, repeated after
//! the server's restart as the edge table says.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use clawdbot_confine::frame::FrameReader;
use clawdbot_identity::Role;
use clawdbot_proto::edges::{self, Retry};
use tokio::sync::{Mutex, oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::{FrameConnection, FrameMessage};
use crate::notify::Why;
use crate::source::Source;

/// How long a call waits for a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Servers in a row that a call is tried at.
const TRIES: u32 = 8;
/// Pause before the second of them; it doubles with each, as on every other edge.
const PAUSE: Duration = Duration::from_millis(10);

/// Why a call brought no reply.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The edge table has no row for it.
    #[error("{0} may not call this at {1}")]
    NotPermitted(Role, Role),
    /// The peer is not there, or went before it answered.
    #[error("{0} cannot be reached")]
    Unavailable(Role),
    /// The request cannot be sent.
    #[error(transparent)]
    Io(#[from] io::Error),
}

type Reply<Rep> = (Rep, Vec<OwnedFd>);
/// The calls that wait for their replies; `None` when the connection has ended.
type Waiting<Rep> = Option<HashMap<u64, oneshot::Sender<Reply<Rep>>>>;

/// One frame edge from this process to a server. Cheap to clone; all clones share the connection.
pub struct FrameClient<Req, Rep> {
    inner: Arc<Inner<Rep>>,
    request: std::marker::PhantomData<fn(Req)>,
}

impl<Req, Rep> Clone for FrameClient<Req, Rep> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            request: std::marker::PhantomData,
        }
    }
}

struct Inner<Rep> {
    client: Role,
    server: Role,
    source: Source,
    next_id: AtomicU64,
    live: Mutex<Option<Live<Rep>>>,
}

struct Live<Rep> {
    connection: Arc<FrameConnection>,
    waiting: Arc<StdMutex<Waiting<Rep>>>,
}

impl<Rep> Clone for Live<Rep> {
    fn clone(&self) -> Self {
        Self {
            connection: Arc::clone(&self.connection),
            waiting: Arc::clone(&self.waiting),
        }
    }
}

impl<Req: FrameMessage, Rep: FrameMessage> FrameClient<Req, Rep> {
    pub(crate) fn new(client: Role, server: Role, source: Source) -> Self {
        let inner = Inner {
            client,
            server,
            source,
            next_id: AtomicU64::new(1),
            live: Mutex::new(None),
        };
        Self {
            inner: Arc::new(inner),
            request: std::marker::PhantomData,
        }
    }

    /// Changes whenever the peer was started anew.
    #[must_use]
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.inner.source.generation()
    }

    /// Sends a request and waits for its reply and the descriptors that come with it.
    ///
    /// # Errors
    /// When the edge table does not permit it, or the peer went before it answered.
    pub async fn call(&self, mut request: Req) -> Result<Reply<Rep>, FrameError> {
        let inner = &self.inner;
        let row = edges::method(inner.client.as_str(), inner.server.as_str(), request.row())
            .ok_or_else(|| FrameError::NotPermitted(inner.client.clone(), inner.server.clone()))?;
        for number in 0..TRIES {
            if let Some(doublings) = number.checked_sub(1) {
                sleep(PAUSE * (1 << doublings)).await;
            }
            request.set_id(inner.next_id.fetch_add(1, Ordering::Relaxed));
            let live = timeout(PATIENCE, inner.connection())
                .await
                .map_err(|_| FrameError::Unavailable(inner.server.clone()))??;
            if let Some(reply) = live.ask(&request).await? {
                return Ok(reply);
            }
            if row.retry == Retry::No {
                break;
            }
        }
        Err(FrameError::Unavailable(inner.server.clone()))
    }
}

impl<Rep: FrameMessage> Inner<Rep> {
    async fn connection(self: &Arc<Self>) -> Result<Live<Rep>, FrameError> {
        let mut live = self.live.lock().await;
        let stream = match self.source.newer() {
            Some(stream) => stream?,
            None => {
                if let Some(open) = live.as_ref().filter(|open| open.lock().is_some()) {
                    return Ok(open.clone());
                }
                self.source.next().await?
            }
        };
        let fresh = Live {
            connection: Arc::new(FrameConnection::from_stream(stream, FrameReader::new())),
            waiting: Arc::new(StdMutex::new(Some(HashMap::new()))),
        };
        tokio::spawn(read_replies(fresh.clone(), Arc::clone(self)));
        *live = Some(fresh.clone());
        Ok(fresh)
    }
}

impl<Rep: FrameMessage> Live<Rep> {
    /// `None` when the connection ended before the reply came.
    async fn ask<Req: FrameMessage>(
        &self,
        request: &Req,
    ) -> Result<Option<Reply<Rep>>, FrameError> {
        let (sender, receiver) = oneshot::channel();
        match self.lock().as_mut() {
            Some(waiting) => waiting.insert(request.id(), sender),
            None => return Ok(None),
        };
        let _waits = Waits {
            live: self,
            id: request.id(),
        };
        match self
            .connection
            .send(&request.encode_to_vec(), Vec::new())
            .await
        {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error.into()),
            Err(_) => return Ok(None),
        }
        Ok(receiver.await.ok())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<Rep>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that waits; one that is given up leaves nothing behind.
struct Waits<'a, Rep> {
    live: &'a Live<Rep>,
    id: u64,
}

impl<Rep> Drop for Waits<'_, Rep> {
    fn drop(&mut self) {
        let mut waiting = self
            .live
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = waiting.as_mut() {
            waiting.remove(&self.id);
        }
    }
}

async fn read_replies<Rep: FrameMessage>(live: Live<Rep>, inner: Arc<Inner<Rep>>) {
    loop {
        let frame = match live.connection.receive().await {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(error) => {
                warn!(server = %inner.server, %error, "a frame edge broke");
                break;
            }
        };
        let Ok(reply) = Rep::decode(frame.payload.as_slice()) else {
            warn!(server = %inner.server, "a frame edge carried an unreadable reply");
            break;
        };
        inner.source.answered();
        let waiting = live
            .lock()
            .as_mut()
            .and_then(|waiting| waiting.remove(&reply.id()));
        if let Some(waiting) = waiting {
            // A caller that gave up closes the descriptors by dropping them.
            let _gone = waiting.send((reply, frame.fds));
        }
    }
    *live.lock() = None;
    // One that was replaced ends because of that.
    let current = inner.live.lock().await;
    let is_current = |current: &Live<Rep>| Arc::ptr_eq(&current.waiting, &live.waiting);
    if current.as_ref().is_some_and(is_current) {
        inner.source.ended(Why::Lost);
    }
}
