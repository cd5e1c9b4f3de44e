//! The server's HTTP side: `/botTOKEN/METHOD`, parameters as JSON, form or query, the envelope around every answer, and the
//! poll that is held until there is something to say.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::bot::{Bot, Fault};
use super::methods::{self, Params, Refusal, refuse};

/// The server; clones share everything.
#[derive(Clone)]
pub struct Telegram {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    bots: Mutex<BTreeMap<String, Bot>>,
    changes: watch::Sender<u64>,
    /// Since the start; a higher number ends the server.
    stop: watch::Sender<bool>,
}

/// What a connection carries back; an error ends it without an answer.
type Reply = Result<Response<Full<Bytes>>, io::Error>;

impl Telegram {
    /// Listens on this address. Must be called inside a runtime.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn listen(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let telegram = Self {
            address: listener.local_addr()?,
            shared: Arc::new(Shared {
                bots: Mutex::default(),
                changes: watch::Sender::new(0),
                stop: watch::Sender::new(false),
            }),
        };
        tokio::spawn(accept(listener, telegram.clone()));
        Ok(telegram)
    }

    /// The same in a thread of its own, which goes on to the end of the process: for tests that wait without giving way.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn beside(address: SocketAddr) -> io::Result<Self> {
        let (listening, listens) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let telegram = Self::listen(address).await;
                if listening.send(telegram).is_ok() {
                    std::future::pending::<()>().await;
                }
                Ok::<_, io::Error>(())
            })
        });
        listens.recv().map_err(io::Error::other)?
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a bot with this token, or gives the one that is there to the closure, and tells everybody who waits.
    pub fn bot<R>(&self, token: &str, change: impl FnOnce(&mut Bot) -> R) -> R {
        let mut bots = self.bots();
        let number = token.split(':').next().and_then(|id| id.parse().ok());
        let bot = bots
            .entry(token.to_owned())
            .or_insert_with(|| Bot::new(number.unwrap_or(1), "fake_bot"));
        let result = change(bot);
        drop(bots);
        self.shared.changes.send_modify(|count| *count += 1);
        result
    }

    /// Waits until the bot is as wanted.
    pub async fn until(&self, token: &str, wanted: impl Fn(&Bot) -> bool) {
        let mut changes = self.shared.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if self.bots().get(token).is_some_and(&wanted) {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends every connection and stops listening.
    pub fn stop(&self) {
        self.shared.stop.send_replace(true);
    }

    fn bots(&self) -> MutexGuard<'_, BTreeMap<String, Bot>> {
        self.shared
            .bots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> Reply {
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let kind = request.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let form = kind.starts_with("application/x-www-form-urlencoded");
        let body = request
            .into_body()
            .collect()
            .await
            .map_err(io::Error::other)?;
        let params = params(&query, form, &body.to_bytes());
        let Some((token, method)) = path
            .strip_prefix("/bot")
            .and_then(|rest| rest.split_once('/'))
        else {
            return envelope(Err(refuse(404, "Not Found")));
        };
        let known = self.bots().get(token).map(|bot| bot.revoked);
        if known != Some(false) {
            return envelope(Err(refuse(401, "Unauthorized")));
        }
        let fault = self.bot(token, |bot| {
            bot.calls.push(method.to_owned());
            bot.fault(method)
        });
        match &fault {
            Some(Fault::DropBefore) => return Err(io::Error::other("dropped")),
            Some(Fault::Status(status)) => return page(*status),
            Some(Fault::TooFast(seconds)) => {
                let words = format!("Too Many Requests: retry after {seconds}");
                return envelope(Err((429, words, json!({ "retry_after": seconds }))));
            }
            Some(Fault::Refuse(code, words)) => return envelope(Err(refuse(*code, words))),
            Some(Fault::Slow(delay)) => tokio::time::sleep(*delay).await,
            Some(Fault::DropAfter) | None => {}
        }
        let result = match method.eq_ignore_ascii_case("getUpdates") {
            true => self.updates(token, &params).await,
            false => self.bot(token, |bot| methods::call(bot, method, &params)),
        };
        match fault {
            Some(Fault::DropAfter) => Err(io::Error::other("dropped")),
            _ => envelope(result),
        }
    }

    async fn updates(&self, token: &str, params: &Params) -> Result<Value, Refusal> {
        let offset = params.number("offset").unwrap_or(0);
        let limit = params.number("limit").unwrap_or(100).clamp(1, 100);
        let hold = params.number("timeout").unwrap_or(0).clamp(0, 50);
        let mine = self.bot(token, |bot| {
            if !bot.webhook.is_empty() {
                return Err(refuse(
                    409,
                    "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook \
                     first",
                ));
            }
            if let Some(list) = params.list("allowed_updates") {
                bot.allowed = (!list.is_empty()).then_some(list);
            }
            bot.polls += 1;
            Ok(bot.polls)
        })?;
        let end = Instant::now() + Duration::from_secs(hold.unsigned_abs());
        let mut changes = self.shared.changes.subscribe();
        loop {
            changes.borrow_and_update();
            let fetched = {
                let mut bots = self.bots();
                let bot = bots.get_mut(token).filter(|bot| !bot.revoked);
                let bot = bot.ok_or_else(|| refuse(401, "Unauthorized"))?;
                if bot.polls != mine {
                    return Err(refuse(
                        409,
                        "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
                    ));
                }
                bot.fetch(offset, usize::try_from(limit).unwrap_or(100))
            };
            if !fetched.is_empty() || Instant::now() >= end {
                self.shared.changes.send_modify(|count| *count += 1);
                return Ok(fetched.into());
            }
            let _late = timeout_at(end, changes.changed()).await;
        }
    }
}

async fn accept(listener: TcpListener, telegram: Telegram) {
    let mut stop = telegram.shared.stop.subscribe();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let telegram = telegram.clone();
        let mut stop = stop.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let telegram = telegram.clone();
                async move { telegram.answer(request).await }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                // How it ended is the client's business.
                _ = connection => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
    }
}

fn envelope(result: Result<Value, Refusal>) -> Reply {
    let (status, body) = match result {
        Ok(result) => (200, json!({ "ok": true, "result": result })),
        Err((code, description, parameters)) => {
            let mut body = json!({ "ok": false, "error_code": code, "description": description });
            if !parameters.is_null() {
                body["parameters"] = parameters;
            }
            (code, body)
        }
    };
    respond(status, "application/json", body.to_string())
}

fn page(status: u16) -> Reply {
    let body = format!("<html><head><title>{status}</title></head><body>nginx</body></html>");
    respond(status, "text/html", body)
}

pub(super) fn respond(status: u16, kind: &str, body: String) -> Reply {
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST))
        .header(CONTENT_TYPE, kind)
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)
}

fn params(query: &str, form: bool, body: &[u8]) -> Params {
    let mut all: Map<String, Value> = pairs(query.as_bytes());
    if form {
        all.append(&mut pairs(body));
    } else if let Ok(Value::Object(mut object)) = serde_json::from_slice(body) {
        all.append(&mut object);
    }
    Params(all)
}

/// `a=b&c=d` with `%20` and `+`.
fn pairs(text: &[u8]) -> Map<String, Value> {
    let pairs = text
        .split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let middle = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = pair.split_at(middle.unwrap_or(pair.len()));
        (
            unescape(name),
            Value::String(unescape(value.get(1..).unwrap_or_default())),
        )
    });
    decoded.collect()
}

fn unescape(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let hex = text
            .get(at + 1..at + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok());
        let value = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, value) {
            (b'%', Some(value)) => {
                bytes.push(value);
                at += 3;
            }
            (b'+', _) => {
                bytes.push(b' ');
                at += 1;
            }
            _ => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
