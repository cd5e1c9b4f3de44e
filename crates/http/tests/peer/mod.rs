//! Servers that say exactly what a test tells them to, and remember what they were told.
#![allow(dead_code)] // each test file uses its part

use std::time::Duration;

use bytes::Bytes;
use clawdbot_http::Connection;
use clawdbot_identity::Destination;
use http::Request;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub fn get(target: &str) -> Request<Bytes> {
    Request::get(target).body(Bytes::new()).unwrap()
}

/// Reads up to the blank line, and the body that `content-length` announces.
pub async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut seen = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            });
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
            return text;
        }
    }
}

/// What a server does on a connection when it has given its replies.
#[derive(Clone, Copy)]
pub enum Then {
    /// Hangs up at once.
    Close,
    /// Waits until the client hangs up.
    Wait,
    /// Reads one more request and hangs up without a byte.
    Ignore,
}

/// Answers each connection's requests with the replies in turn.
pub async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    replies: &[Vec<u8>],
    then: Then,
    told: &UnboundedSender<String>,
) {
    for reply in replies {
        let _ = told.send(read_head(&mut stream).await);
        let _ = stream.write_all(reply).await;
        let _ = stream.flush().await;
    }
    match then {
        Then::Close => drop(stream.shutdown().await),
        Then::Wait => while stream.read(&mut [0; 64]).await.is_ok_and(|n| n > 0) {},
        Then::Ignore => drop(read_head(&mut stream).await),
    }
}

/// A plain server on loopback.
pub struct Peer {
    destination: Destination,
    told: UnboundedReceiver<String>,
    closed: UnboundedReceiver<()>,
}

impl Peer {
    pub async fn new<R: Into<Vec<u8>>>(replies: impl IntoIterator<Item = R>, then: Then) -> Self {
        let replies: Vec<Vec<u8>> = replies.into_iter().map(Into::into).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let destination = Destination::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        let (tell, told) = unbounded_channel();
        let (close, closed) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, &replies, then, &tell).await;
                let _ = close.send(());
            }
        });
        Self {
            destination,
            told,
            closed,
        }
    }

    pub async fn answering<R: Into<Vec<u8>>>(replies: impl IntoIterator<Item = R>) -> Self {
        Self::new(replies, Then::Close).await
    }

    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    pub async fn socket(&self) -> TcpStream {
        TcpStream::connect(self.destination.to_string())
            .await
            .unwrap()
    }

    pub async fn connect(&self) -> Connection {
        Connection::plain(self.socket().await, &self.destination)
            .await
            .unwrap()
    }

    /// The next request that the server got, head and body.
    pub async fn seen(&mut self) -> String {
        self.told.recv().await.unwrap()
    }

    /// Waits until the server is done with a connection.
    pub async fn closed(&mut self) {
        self.closed.recv().await.unwrap();
    }
}

/// A connection to a server that says `start` to the first request and then keeps saying `again`, each after `pause`.
pub async fn dripping(start: &'static str, again: &'static str, pause: Duration) -> Connection {
    let (near, mut far) = tokio::io::duplex(4096);
    tokio::spawn(async move {
        read_head(&mut far).await;
        far.write_all(start.as_bytes()).await.unwrap();
        loop {
            tokio::time::sleep(pause).await; // of the paused clock
            if far.write_all(again.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    Connection::plain(near, &Destination::parse("silent.example:80").unwrap())
        .await
        .unwrap()
}

/// A connection to a server that says `start` and nothing more.
pub async fn silent_after(start: &'static str) -> Connection {
    dripping(start, "", Duration::from_secs(3600)).await
}
