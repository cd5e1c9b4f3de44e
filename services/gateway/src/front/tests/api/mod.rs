//! The interface for other programs, byte for byte.

mod asked;
mod door;
mod lives;
mod worded;

use std::sync::Arc;

use clawdbot_proto::v1;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::{Answer, Client, ask, bearer};
use crate::testing::{World, snapshot};

const CHAT: &str = "POST /v1/chat/completions";
const RESPONSES: &str = "POST /v1/responses";

fn endpoints(chat_completions: bool, responses: bool) -> Option<Arc<v1::Snapshot>> {
    snapshot(|slice| {
        slice.endpoints = Some(v1::Endpoints {
            chat_completions,
            responses,
        });
        slice.agents = vec!["main".into(), "home".into()];
        slice.max_concurrent = 128;
    })
}

async fn world() -> (tempfile::TempDir, World) {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    world.config.send_replace(endpoints(true, true));
    world.front.desk().turns().set_max(128);
    (dir, world)
}

fn headers() -> String {
    format!("{}content-type: application/json\r\n", bearer())
}

fn chat(text: &str) -> String {
    json!({ "model": "clawdbot", "messages": [{ "role": "user", "content": text }] }).to_string()
}

fn chat_stream(text: &str) -> String {
    let mut body: Value = serde_json::from_str(&chat(text)).unwrap();
    body["stream"] = true.into();
    body.to_string()
}

async fn post(world: &World, line: &str, body: &str) -> Answer {
    ask(world, line, &headers(), body).await
}

/// The `error` object of an answer.
fn error(answer: &Answer) -> Value {
    let body: Value = serde_json::from_str(&answer.body).expect(&answer.body);
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    for member in ["message", "type", "param", "code"] {
        assert!(body["error"].get(member).is_some(), "{body}");
    }
    body["error"].clone()
}

/// A text with random ids and times made the same.
fn masked(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let run = rest
            .find(|c: char| !c.is_ascii_hexdigit())
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(run.max(first.len_utf8()));
        out.push_str(match word.len() {
            32 => "ID",
            10 if word.bytes().all(|b| b.is_ascii_digit()) => "TIME",
            _ => word,
        });
        rest = after;
    }
    out
}

impl Client {
    /// The next chunk of a streamed answer; `None` after the last.
    async fn chunk(&mut self) -> Option<String> {
        let mut line = String::new();
        while !line.ends_with("\r\n") {
            line.push(char::from(self.stream.read_u8().await.ok()?));
        }
        let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        self.stream.read_exact(&mut chunk).await.unwrap();
        chunk.truncate(length);
        (length > 0).then(|| String::from_utf8(chunk).unwrap())
    }

    async fn chunks(&mut self) -> String {
        let mut all = String::new();
        while let Some(chunk) = self.chunk().await {
            all.push_str(&chunk);
        }
        all
    }
}

/// A streamed answer: its head, and the connection that brings the rest.
async fn stream(world: &World, line: &str, body: &str) -> (Answer, Client) {
    let mut client = Client::new(world).await;
    let head = client.ask(line, &headers(), body).await;
    (head, client)
}

async fn until_nothing_is_pending(world: &World) {
    while world.front.status().pending > 0 {
        tokio::task::yield_now().await;
    }
}
