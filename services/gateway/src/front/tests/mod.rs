//! The front door over real TCP. Requests are written byte for byte, so that what is tested is what arrives.

mod api;
mod chat;
mod http;
mod limits;
mod websocket;

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::testing::{TOKEN, World};

/// One raw connection.
struct Client {
    stream: TcpStream,
    address: SocketAddr,
}

/// One answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    /// The value of a header, by its lower-case name.
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Client {
    async fn new(world: &World) -> Self {
        let stream = TcpStream::connect(world.address).await.unwrap();
        Self {
            stream,
            address: world.address,
        }
    }

    async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        // The server may have hung up already; what it said is read next.
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Sends a request with a right Host header.
    async fn send(&mut self, line: &str, headers: &str, body: &str) {
        let host = self.address;
        let length = match body {
            "" => String::new(),
            body => format!("content-length: {}\r\n", body.len()),
        };
        let request = format!("{line} HTTP/1.1\r\nhost: {host}\r\n{headers}{length}\r\n{body}");
        self.write(request).await;
    }

    /// Reads one answer, of the length that it says.
    async fn answer(&mut self) -> Answer {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            let mut byte = [0];
            let n = self.stream.read(&mut byte).await.unwrap();
            assert!(n > 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&byte[..n]);
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer {
            status,
            head,
            body: String::new(),
        };
        let length = answer
            .header("content-length")
            .map_or(0, |n| n.parse().unwrap());
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.unwrap();
        answer.body = String::from_utf8(body).unwrap();
        answer
    }

    /// Sends and reads.
    async fn ask(&mut self, line: &str, headers: &str, body: &str) -> Answer {
        self.send(line, headers, body).await;
        self.answer().await
    }

    /// Whether the server hangs up without a further word.
    async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        match self.stream.read(&mut byte).await {
            Ok(n) => n == 0,
            Err(_) => true,
        }
    }
}

/// One request on a connection of its own.
async fn ask(world: &World, line: &str, headers: &str, body: &str) -> Answer {
    Client::new(world).await.ask(line, headers, body).await
}

fn bearer() -> String {
    format!("authorization: Bearer {TOKEN}\r\n")
}
