//! The control side of the program: the same things a test does through the library, as JSON over HTTP on a port of its own.
//!
//! `POST /bot {token, username?, webhook?, revoked?, without_drafts?, next_update?, block?, migrate? [from, to]}` ·
//! `POST /write {token, kind?, message}` gives `{message_id}` · `POST /update {token, update}` gives `{update_id}` ·
//! `POST /fault {token, method, fault, value?, times?}` · `POST /sent {token}` gives what the bot has in its chats.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::bot::{Bot, Fault, Sent};
use super::server::{Telegram, respond};

/// Answers control calls until the end of the process.
///
/// # Errors
/// When the address is taken.
pub async fn serve_control(address: SocketAddr, telegram: Telegram) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let telegram = telegram.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let telegram = telegram.clone();
                async move {
                    let path = request.uri().path().to_owned();
                    let body = request
                        .into_body()
                        .collect()
                        .await
                        .map_err(io::Error::other)?;
                    let order = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
                    let (status, answer) = match obey(&telegram, &path, &order) {
                        Some(answer) => (200, answer),
                        None => (400, json!({ "error": "not understood" })),
                    };
                    respond(status, "application/json", answer.to_string())
                }
            });
            // How it ended is the client's business.
            let _ended = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn obey(telegram: &Telegram, path: &str, order: &Value) -> Option<Value> {
    let token = order["token"].as_str()?;
    match path {
        "/bot" => telegram.bot(token, |bot| change(bot, order)),
        "/write" => {
            let kind = order["kind"].as_str().unwrap_or("message");
            let message = order["message"].as_object()?.clone();
            let id = telegram.bot(token, |bot| bot.write(kind, message.into()));
            Some(json!({ "message_id": id }))
        }
        "/update" => {
            let update = order["update"].as_object()?.clone();
            let id = telegram.bot(token, |bot| bot.queue(update.into()));
            Some(json!({ "update_id": id }))
        }
        "/fault" => {
            let fault = fault(order)?;
            let method = order["method"].as_str().unwrap_or_default().to_owned();
            let times = u32::try_from(order["times"].as_u64().unwrap_or(1)).ok()?;
            telegram.bot(token, |bot| {
                bot.faults.push_back((method, fault, times.max(1)))
            });
            Some(json!({}))
        }
        "/sent" => Some(telegram.bot(token, |bot| {
            json!({
                "sent": bot.sent.iter().map(shown).collect::<Vec<_>>(),
                "drafts": bot.drafts,
                "actions": bot.actions,
                "pending": bot.pending(),
                "confirmed": bot.confirmed,
                "calls": bot.calls.len(),
                "commands": bot.commands,
            })
        })),
        _ => None,
    }
}

fn change(bot: &mut Bot, order: &Value) -> Option<Value> {
    if let Some(username) = order["username"].as_str() {
        bot.username = username.to_owned();
    }
    if let Some(url) = order["webhook"].as_str() {
        bot.webhook = url.to_owned();
    }
    bot.revoked = order["revoked"].as_bool().unwrap_or(bot.revoked);
    bot.without_drafts = order["without_drafts"]
        .as_bool()
        .unwrap_or(bot.without_drafts);
    if let Some(next) = order["next_update"].as_i64() {
        bot.jump(next);
    }
    bot.blocked.extend(order["block"].as_i64());
    if let (Some(from), Some(to)) = (order["migrate"][0].as_i64(), order["migrate"][1].as_i64()) {
        bot.migrate(from, to);
    }
    Some(json!({ "id": bot.id }))
}

fn fault(order: &Value) -> Option<Fault> {
    let number = order["value"].as_u64();
    Some(match order["fault"].as_str()? {
        "drop_before" => Fault::DropBefore,
        "drop_after" => Fault::DropAfter,
        "status" => Fault::Status(u16::try_from(number?).ok()?),
        "too_fast" => Fault::TooFast(number?),
        "slow_ms" => Fault::Slow(Duration::from_millis(number?)),
        _ => return None,
    })
}

fn shown(sent: &Sent) -> Value {
    json!({
        "chat": sent.chat,
        "message": sent.message,
        "topic": sent.topic,
        "text": sent.text,
        "reply_to": sent.reply_to,
        "edits": sent.edits,
    })
}
