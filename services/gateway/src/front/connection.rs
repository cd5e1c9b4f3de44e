//! One connection: HTTP/1.1 until it ends, is overdue, or turns into a WebSocket. Whatever ends it, the last answer is
//! given time to arrive.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::census::Place;
use super::metered::{Metered, SharedPulse};
use super::{Front, reply, routes, socket};
use crate::limits;

/// What the requests of one connection share.
pub struct Connection {
    /// Where it comes from.
    pub peer: SocketAddr,
    /// The address that it came in on.
    pub local: SocketAddr,
    place: Place,
    pulse: SharedPulse,
    upgrade: Mutex<Option<Upgrade>>,
}

/// What is known when a connection turns into a WebSocket.
pub struct Upgrade {
    /// The visit key, if a credential came with the request.
    pub key: Option<String>,
}

impl Connection {
    /// A right credential was shown on it.
    pub fn authenticated(&self) {
        self.place.authenticated();
        self.pulse.get().authenticate();
    }

    /// Until when a credential has to be shown.
    pub fn stranger_until(&self) -> Instant {
        self.pulse.get().stranger_until()
    }

    /// The answer takes as long as an agent takes.
    pub fn working(&self) {
        self.pulse.get().work(Instant::now());
    }

    /// The clockwork, for an answer that comes bit by bit.
    pub fn pulse(&self) -> SharedPulse {
        self.pulse.clone()
    }

    /// The answer to this request will be followed by WebSocket frames.
    pub fn upgrade(&self, upgrade: Upgrade) {
        *self.upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgrade);
    }
}

enum End {
    /// By itself, by an error that was answered, or to become a WebSocket.
    Itself,
    /// Its time was over.
    Overdue,
}

/// Serves a connection to its end.
pub async fn serve(
    front: Front,
    stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    place: Place,
) {
    let pulse = SharedPulse::new();
    let connection = Arc::new(Connection {
        peer,
        local,
        place,
        pulse: pulse.clone(),
        upgrade: Mutex::new(None),
    });
    let service = {
        let (front, connection, pulse) = (front.clone(), Arc::clone(&connection), pulse.clone());
        service_fn(move |request| {
            pulse.get().request(Instant::now());
            let (front, connection, pulse) =
                (front.clone(), Arc::clone(&connection), pulse.clone());
            Box::pin(async move {
                let reply = routes::answer(&front, &connection, request).await;
                pulse.get().answer(Instant::now());
                Ok::<_, Infallible>(reply)
            })
        })
    };
    let io = TokioIo::new(Metered::new(stream, pulse.clone()));
    let mut http = http1::Builder::new()
        .max_headers(limits::HEADERS)
        .max_buf_size(limits::HEAD_BYTES)
        // The clockwork is ours: it also bounds bodies, answers and silence.
        .header_read_timeout(None)
        .serve_connection(io, service);

    let mut over = Box::pin(front.over());
    let mut alarm = Box::pin(sleep_until(pulse.get().deadline()));
    let mut ending = false;
    let end = poll_fn(|cx| {
        if !ending && over.as_mut().poll(cx).is_ready() {
            ending = true;
            std::pin::Pin::new(&mut http).graceful_shutdown();
        }
        // An error has been answered by hyper where there was somebody to answer.
        if http.poll_without_shutdown(cx).is_ready() {
            return Poll::Ready(End::Itself);
        }
        loop {
            let deadline = pulse.get().deadline();
            if alarm.deadline() != deadline {
                alarm.as_mut().reset(deadline);
            }
            match alarm.as_mut().poll(cx) {
                Poll::Ready(()) if pulse.get().deadline() <= Instant::now() => {
                    return Poll::Ready(End::Overdue);
                }
                Poll::Ready(()) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;

    let parts = http.into_parts();
    let mut stream = parts.io.into_inner();
    match end {
        End::Overdue => {
            if !pulse.get().is_answering() {
                let said = stream.write_all(reply::TOO_LATE);
                let _ = timeout(limits::LINGER.0, said).await;
            }
        }
        End::Itself => {
            let upgrade = connection
                .upgrade
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(upgrade) = upgrade {
                stream =
                    socket::converse(&front, &connection, stream, &parts.read_buf, upgrade).await;
            }
        }
    }
    linger(stream.into_inner()).await;
}

/// Hangs up so that what was sent arrives: closing while the peer still sends would make the kernel answer with a
/// reset, and the peer could lose our last words.
async fn linger(mut stream: TcpStream) {
    let (time, bytes) = limits::LINGER;
    let _ = timeout(time, async {
        stream.shutdown().await?;
        let mut scrap = [0; 4096];
        let mut left = bytes;
        while left > 0 {
            match stream.read(&mut scrap).await? {
                0 => break,
                n => left = left.saturating_sub(n),
            }
        }
        Ok::<_, std::io::Error>(())
    })
    .await;
}
