//! The server: what it was told to say next, in the protocol of the path that was asked.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::body::{After, Records};
use super::{Fault, Format, Reply, Step, faults};

/// Largest request, bytes.
const REQUEST: usize = 64 << 20;
/// Requests that are remembered.
const KEPT: usize = 10_000;

/// How fast it speaks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    /// Before the first record.
    pub first: Duration,
    /// Between two records.
    pub gap: Duration,
}

/// A request as it came in.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Path and query.
    pub path: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, `null` where there was none.
    pub body: Value,
    /// Number of the connection that it came over, from 1.
    pub connection: u64,
}

/// The provider. It ends with its last clone.
#[derive(Clone)]
pub struct Provider {
    shared: Arc<Shared>,
    address: SocketAddr,
    _serving: Arc<JoinSet<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// Connections that are open.
    open: watch::Sender<u64>,
    /// Requests that were read.
    requests: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    steps: VecDeque<Step>,
    seen: Vec<Seen>,
    key: Option<String>,
    pace: Pace,
    /// Whether requests are kept; a bench does without.
    forgetful: bool,
    /// Pieces of an answer to somebody who told it nothing.
    words: Option<usize>,
    /// Those who wait for an answer wait for its end.
    held: Option<watch::Sender<()>>,
}

impl Provider {
    /// Listens on a free port of loopback. Must be called inside a runtime.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> io::Result<Self> {
        Self::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Listens on an address. Must be called inside a runtime.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn listen(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            open: watch::Sender::new(0),
            requests: watch::Sender::new(0),
        });
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            shared,
            address,
            _serving: Arc::new(serving),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds an answer to the next requests for one.
    pub fn then(&self, step: Step) {
        self.state().steps.push_back(step);
    }

    /// Adds a good answer.
    pub fn reply(&self, reply: Reply) {
        self.then(Step::Reply(reply));
    }

    /// Adds a misbehaviour.
    pub fn fault(&self, fault: Fault) {
        self.then(Step::Fault(fault));
    }

    /// Takes back the next answer, if one was left.
    pub fn forget(&self) -> Option<Step> {
        self.state().steps.pop_front()
    }

    /// From now on requests need this key.
    pub fn require_key(&self, key: &str) {
        self.state().key = Some(key.into());
    }

    /// How fast it speaks from now on.
    pub fn pace(&self, pace: Pace) {
        self.state().pace = pace;
    }

    /// Lets everybody who asks from now on wait for an answer until this is taken back.
    pub fn hold(&self, hold: bool) {
        let mut state = self.state();
        let held = state.held.take();
        state.held = hold.then(|| held.unwrap_or_default());
    }

    /// Keeps no requests, and answers those who told it nothing with so many words.
    pub fn bench(&self, words: usize) {
        let mut state = self.state();
        state.forgetful = true;
        state.words = Some(words);
    }

    /// Every request so far, up to ten thousand.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// Requests for an answer so far, without those for lists.
    #[must_use]
    pub fn asked(&self) -> Vec<Seen> {
        let mut seen = self.seen();
        seen.retain(|seen| !seen.body.is_null());
        seen
    }

    /// Number of open connections, to be waited for.
    #[must_use]
    pub fn open(&self) -> watch::Receiver<u64> {
        self.shared.open.subscribe()
    }

    /// Number of requests that were read, to be waited for.
    #[must_use]
    pub fn requests(&self) -> watch::Receiver<u64> {
        self.shared.requests.subscribe()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut number = 0;
    while let Ok((stream, _)) = listener.accept().await {
        number += 1;
        // What cannot be set only costs time.
        let _slower = stream.set_nodelay(true);
        connections.spawn(connection(stream, Arc::clone(&shared), number));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, number: u64) {
    shared.open.send_modify(|open| *open += 1);
    let answering = Arc::clone(&shared);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&answering);
        async move { answer(&shared, request, number).await }
    });
    // However it ends: clients may go at any time, and some faults break it from here.
    let _ended = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    shared.open.send_modify(|open| *open -= 1);
}

/// An error ends the connection without a byte.
async fn answer(
    shared: &Shared,
    request: Request<Incoming>,
    connection: u64,
) -> Result<Response<Records>, io::Error> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, REQUEST).collect().await;
    let body = body.map_err(io::Error::other)?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = head.uri.path();
    let (step, pace, allowed, held) = {
        let mut state = shared.state();
        let allowed = match &state.key {
            Some(key) => is_key(&head.headers, key),
            None => true,
        };
        let asks = head.method == Method::POST && Format::of_path(path).is_some();
        let step = match asks && allowed {
            true => state
                .steps
                .pop_front()
                .unwrap_or_else(|| improvise(&body, state.words)),
            false => Step::Reply(Reply::default()),
        };
        if !state.forgetful && state.seen.len() < KEPT {
            state.seen.push(Seen {
                path: head.uri.to_string(),
                headers: head.headers.clone(),
                body: body.clone(),
                connection,
            });
        }
        // With the request, so that whoever has seen it knows whether it waits.
        let held = state.held.as_ref().map(watch::Sender::subscribe);
        (step, state.pace, allowed, held)
    };
    shared.requests.send_modify(|requests| *requests += 1);
    if let Some(mut held) = held {
        // Nothing is ever sent: its end is the news.
        let _taken_back = held.changed().await;
    }
    let format = Format::of_path(path);
    if !allowed {
        let format = format.unwrap_or(match head.headers.contains_key("anthropic-version") {
            true => Format::Anthropic,
            false => Format::Chat,
        });
        return misbehave(format, Fault::status(401), &body).await;
    }
    match (&head.method, format) {
        (&Method::POST, Some(format)) => match step {
            Step::Reply(reply) => Ok(speak(format, &reply, &body, pace)),
            Step::Fault(fault) => misbehave(format, fault, &body).await,
        },
        (&Method::GET, _) if path.ends_with("/models") => Ok(json_answer(
            200,
            &json!({"object": "list", "data": [{"id": "fake", "object": "model", "type": "model"}]}),
        )),
        (&Method::GET, _) if path == "/api/tags" => {
            Ok(json_answer(200, &json!({"models": [{"name": "fake"}]})))
        }
        _ => Ok(json_answer(404, &json!({"error": "404 page not found"}))),
    }
}

fn is_key(headers: &HeaderMap, key: &str) -> bool {
    let is = |name: HeaderName, value: &str| {
        let found = headers.get(name).and_then(|found| found.to_str().ok());
        found == Some(value)
    };
    is(AUTHORIZATION, &format!("Bearer {key}")) || is(HeaderName::from_static("x-api-key"), key)
}

/// The answer to somebody who told nothing: a fault that the last message asks for, a call of a tool that it names with
/// `call NAME {json}`, or its own words.
fn improvise(body: &Value, words: Option<usize>) -> Step {
    if let Some(words) = words {
        return Step::Reply(Reply::text(&"word ".repeat(words)));
    }
    let messages = body["messages"]
        .as_array()
        .or_else(|| body["input"].as_array());
    let last = messages
        .and_then(|messages| messages.last())
        .unwrap_or(body);
    let text = last_text(last);
    if let Some(fault) = Fault::named(&text) {
        return Step::Fault(fault);
    }
    let call = text
        .strip_prefix("call ")
        .and_then(|call| call.split_once(' '));
    if let (Some((name, arguments)), false) = (call, body["tools"].is_null()) {
        return Step::Reply(Reply::call("call_fake_1", name, arguments));
    }
    Step::Reply(Reply::text(&format!("You said: {text}")))
}

/// The text of a message in any of the protocols; of its last block, where it has several.
fn last_text(message: &Value) -> String {
    for name in ["content", "text", "output", "input"] {
        match &message[name] {
            Value::String(text) => return text.clone(),
            Value::Array(blocks) => return blocks.last().map(last_text).unwrap_or_default(),
            _ => {}
        }
    }
    String::new()
}

fn wants_stream(format: Format, body: &Value) -> bool {
    body["stream"].as_bool().unwrap_or(format == Format::Ollama)
}

fn speak(format: Format, reply: &Reply, body: &Value, pace: Pace) -> Response<Records> {
    let model = body["model"].as_str().unwrap_or("fake");
    if !wants_stream(format, body) {
        return json_answer(200, &format.whole(reply, model));
    }
    let records = format.records(reply, model).into_iter().map(Bytes::from);
    stream(
        format,
        Records::new(records, After::End).paced(pace.first, pace.gap),
    )
}

fn stream(format: Format, records: Records) -> Response<Records> {
    let mut response = Response::new(records);
    let kind = HeaderValue::from_static(format.stream_type());
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn plain(status: u16, kind: &'static str, body: impl Into<Bytes>) -> Response<Records> {
    let mut response = Response::new(Records::new([body.into()], After::End));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn json_answer(status: u16, value: &Value) -> Response<Records> {
    plain(status, "application/json", value.to_string())
}

async fn misbehave(
    format: Format,
    fault: Fault,
    body: &Value,
) -> Result<Response<Records>, io::Error> {
    const PAGE: &str =
        "<!DOCTYPE html>\n<html><body><h1>Please log in to the network</h1></body></html>";
    let model = body["model"].as_str().unwrap_or("fake");
    let good = || {
        let records = format.records(&Reply::text("one two three four"), model);
        records.into_iter().map(Bytes::from).collect::<Vec<_>>()
    };
    // All but the records that end an answer.
    let begun = |after| {
        let mut records = good();
        records.truncate(match format {
            Format::Anthropic => 4,
            Format::Chat => 3,
            Format::Responses => 6,
            Format::Ollama => 2,
        });
        stream(format, Records::new(records, after))
    };
    Ok(match fault {
        Fault::Status {
            status,
            kind,
            message,
            headers,
        } => {
            let body = faults::body(format, status, kind, &message);
            let mut response = json_answer(status, &body);
            for (name, value) in headers {
                if let Ok(value) = HeaderValue::from_str(&value) {
                    response.headers_mut().insert(name, value);
                }
            }
            response
        }
        Fault::Html => plain(200, "text/html", PAGE),
        Fault::HtmlError => plain(502, "text/html", PAGE),
        Fault::Cut => begun(After::Cut),
        Fault::Short => begun(After::End),
        Fault::HangUp => return Err(io::ErrorKind::ConnectionReset.into()),
        Fault::HugeLine => {
            let start = match format {
                Format::Ollama => "{\"message\":{\"content\":\"",
                _ => "data: ",
            };
            let piece = Bytes::from(vec![b'x'; 64 << 10]);
            let records = Records::new([start.into(), piece], After::End);
            stream(format, records.repeating(1600))
        }
        Fault::HeadBomb => {
            let mut response = begun(After::End);
            let value = HeaderValue::from_static(
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            );
            for _ in 0..2000 {
                response
                    .headers_mut()
                    .append(HeaderName::from_static("x-bomb"), value.clone());
            }
            response
        }
        Fault::Gzip => {
            // The beginning of a real one; nobody should come as far as to unpack it.
            let packed: &[u8] = &[
                0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 0xff, 0xec, 0xc1, 1, 1, 0, 0,
            ];
            let mut response = plain(200, format.stream_type(), packed);
            let gzip = HeaderValue::from_static("gzip");
            response.headers_mut().insert(CONTENT_ENCODING, gzip);
            response
        }
        Fault::BrokenCall => {
            let reply = Reply::call("call_broken", "lookup", "{\"city\": \"Par");
            let records = format.records(&reply, model).into_iter().map(Bytes::from);
            stream(format, Records::new(records, After::End))
        }
        Fault::UnknownEvents => {
            let mut records = format.unknown_records();
            for record in format.records(&Reply::text("one two three four"), model) {
                records.push(record);
                records.extend(format.unknown_records());
            }
            let records = records.into_iter().map(Bytes::from);
            stream(format, Records::new(records, After::End))
        }
        Fault::BadRecord => {
            let mut records = good();
            let bad = match format {
                Format::Ollama => "{\"message\":{\"content\":\n",
                _ => "data: {\"type\":\"content_block_delta\",\"del\n\n",
            };
            records.insert(1, bad.into());
            stream(format, Records::new(records, After::End))
        }
        Fault::Stall => begun(After::Silence),
        Fault::Silence => std::future::pending::<Result<_, Infallible>>()
            .await
            .unwrap_or_else(|never| match never {}),
        Fault::Redirect => {
            let mut response = plain(307, "text/plain", "elsewhere");
            let to = HeaderValue::from_static("http://169.254.169.254/latest/meta-data");
            response.headers_mut().insert(LOCATION, to);
            response
        }
        Fault::ErrorInStream => {
            let mut records = good();
            records.truncate(4);
            records.push(format.error_record().into());
            stream(format, Records::new(records, After::End))
        }
        Fault::ErrorAtOnce => {
            let record = Bytes::from(format.error_record());
            stream(format, Records::new([record], After::End))
        }
        Fault::NoStream => json_answer(200, &format.whole(&Reply::text("one two"), model)),
    })
}
