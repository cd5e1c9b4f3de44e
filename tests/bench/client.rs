//! The plainest client of a streamed chat completion: one connection, one question at a time, and when the first word and
//! the end arrived. The provider and the product are asked by the same code, so its own cost cancels out.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What a question took.
pub struct Took {
    /// To the first word.
    pub first: Duration,
    /// To the end of the answer.
    pub whole: Duration,
}

/// Whom to ask.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    /// Gateway token or provider key.
    pub token: String,
}

/// A connection that stays open.
pub struct Client {
    stream: TcpStream,
    target: Target,
    buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(target: &Target) -> io::Result<Self> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            target: target.clone(),
            buffer: Vec::with_capacity(64 * 1024),
        })
    }

    /// Asks; with a `user` the conversation goes on, else it is a new one.
    ///
    /// # Errors
    /// When the answer is no complete stream.
    pub async fn ask(&mut self, model: &str, text: &str, user: Option<&str>) -> io::Result<Took> {
        let user = user.map_or_else(String::new, |user| format!(r#","user":"{user}""#));
        let messages = format!(r#"{{"role":"user","content":"{text}"}}"#);
        self.send(model, &messages, &user).await
    }

    /// Asks with so many messages before the question, as a client does that keeps the conversation itself.
    ///
    /// # Errors
    /// When the answer is no complete stream.
    pub async fn ask_after(&mut self, model: &str, history: usize) -> io::Result<Took> {
        let answer = "word ".repeat(20);
        let one = |number: usize| match number % 2 {
            0 => r#"{"role":"user","content":"hello"},"#.to_owned(),
            _ => format!(r#"{{"role":"assistant","content":"{answer}"}},"#),
        };
        let messages: String = (0..history).map(one).collect();
        let messages = format!(r#"{messages}{{"role":"user","content":"hello"}}"#);
        self.send(model, &messages, "").await
    }

    async fn send(&mut self, model: &str, messages: &str, more: &str) -> io::Result<Took> {
        let body = format!(r#"{{"model":"{model}","stream":true,"messages":[{messages}]{more}}}"#);
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.target.address,
            self.target.token,
            body.len()
        );
        let began = Instant::now();
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        let mut first = None;
        // The end of the last chunk; nothing of another answer can follow it.
        while !self.buffer.ends_with(b"0\r\n\r\n") {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::Error::other(self.shown("ended early")));
            }
            if first.is_none() && has_word(&self.buffer) {
                first = Some(began.elapsed());
            }
        }
        let complete =
            self.buffer.starts_with(b"HTTP/1.1 200") && contains(&self.buffer, b"[DONE]");
        match (first, complete) {
            (Some(first), true) => Ok(Took {
                first,
                whole: began.elapsed(),
            }),
            _ => Err(io::Error::other(self.shown("is no whole stream"))),
        }
    }

    fn shown(&self, what: &str) -> String {
        let text = String::from_utf8_lossy(&self.buffer);
        format!("an answer of {} {what}: {text:.400}", self.target.address)
    }
}

/// Whether a record with some text has arrived.
fn has_word(bytes: &[u8]) -> bool {
    const BEGIN: &[u8] = br#""content":""#;
    bytes
        .windows(BEGIN.len() + 1)
        .any(|window| window.starts_with(BEGIN) && !window.ends_with(b"\""))
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
