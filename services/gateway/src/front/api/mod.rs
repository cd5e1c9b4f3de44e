//! The HTTP interface for other programs, in the shapes of the OpenAI API: chat completions, responses and the list of
//! models. Every refusal has the shape that its SDKs read; what cannot be honoured is refused by name, not ignored.

pub mod chat;
pub mod fault;
mod keys;
mod models;
mod prompt;
pub mod request;
pub mod responses;
mod stream;
pub mod target;
mod turn;

use std::fmt;

use clawdbot_proto::v1;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::connection::Connection;
use super::reply::{self, Reply};
use super::{Front, body, routes};
use crate::desk::{Question, Wanted};
use crate::{clock, limits};
use fault::Fault;
use keys::Pass;
use stream::Dialect;
use turn::Turn;

pub use keys::Keys;
pub use stream::Events;
pub use target::is_one_shot;

/// Everything below this path is answered here.
pub const PREFIX: &str = "/v1/";

/// Says which request it was, for people who look into logs.
const REQUEST_ID: header::HeaderName = header::HeaderName::from_static("x-request-id");

/// What can be asked.
enum Endpoint<'a> {
    Chat,
    Responses,
    Models,
    Model(&'a str),
}

impl<'a> Endpoint<'a> {
    fn at(path: &'a str) -> Option<Self> {
        Some(match path.strip_prefix(PREFIX)? {
            "chat/completions" => Self::Chat,
            "responses" => Self::Responses,
            "models" => Self::Models,
            rest => Self::Model(rest.strip_prefix("models/")?),
        })
    }

    fn method(&self) -> Method {
        match self {
            Self::Chat | Self::Responses => Method::POST,
            Self::Models | Self::Model(_) => Method::GET,
        }
    }

    /// Whether the configuration turns it on, and which setting does.
    fn enabled(&self, endpoints: &v1::Endpoints) -> (bool, &'static str) {
        match self {
            Self::Chat => (endpoints.chat_completions, "chatCompletions"),
            Self::Responses => (endpoints.responses, "responses"),
            Self::Models | Self::Model(_) => (
                endpoints.chat_completions || endpoints.responses,
                "chatCompletions",
            ),
        }
    }
}

/// What a body asks for.
pub struct Ask {
    pub model: String,
    pub user: Option<String>,
    stream: bool,
    pub question: Question,
}

/// When a request came, and its id.
pub struct Stamp {
    pub created: u64,
    pub id: String,
}

impl Stamp {
    fn new() -> Result<Self, Fault> {
        Ok(Self {
            created: clock::now_ms() / 1000,
            id: clock::random_id()
                .map_err(|error| Fault::status(&tonic::Status::internal(error.to_string())))?,
        })
    }

    /// The id of one of the request's things.
    fn name(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.id)
    }
}

/// A text as a JSON string.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&serde_json::to_string(self.0).map_err(|_| fmt::Error)?)
    }
}

/// Answers a request below [`PREFIX`], whose Host header is `host` and was checked.
pub async fn answer(
    front: &Front,
    connection: &Connection,
    slice: Option<&v1::GatewaySlice>,
    host: &str,
    request: Request<Incoming>,
) -> Reply {
    let stamp = match Stamp::new() {
        Ok(stamp) => stamp,
        Err(fault) => return fault.into(),
    };
    let name = stamp.name("req_");
    let answered = respond(front, connection, slice, host, request, stamp).await;
    let mut reply = answered.unwrap_or_else(Reply::from);
    reply::set(&mut reply, REQUEST_ID, &name);
    reply
}

async fn respond(
    front: &Front,
    connection: &Connection,
    slice: Option<&v1::GatewaySlice>,
    host: &str,
    request: Request<Incoming>,
    stamp: Stamp,
) -> Result<Reply, Fault> {
    let path = request.uri().path().to_owned();
    let Some(endpoint) = Endpoint::at(&path) else {
        return Err(Fault::no_path(format!("There is nothing at {path}.")));
    };
    let slice = slice.ok_or_else(Fault::unconfigured)?;
    let (enabled, setting) = endpoint.enabled(&slice.endpoints.unwrap_or_default());
    if !enabled {
        return Err(Fault::no_path(format!(
            "This interface is off. gateway.http.endpoints.{setting}.enabled turns it on."
        )));
    }
    let method = endpoint.method();
    if *request.method() != method {
        let mut reply = Reply::from(Fault::method(method.as_str()));
        reply::set(&mut reply, header::ALLOW, method.as_str());
        return Ok(reply);
    }
    if routes::has_credential_parameter(request.uri().query().unwrap_or("")) {
        return Err(Fault::malformed(
            "A token or password in the address is refused: addresses are kept in logs and histories. \
             Use the Authorization header.",
        ));
    }
    if routes::check_origin(slice, &request, host).is_err() {
        return Err(Fault::foreign_page());
    }
    if body::is_too_large(&request, limits::BODY_BYTES) {
        return Err(Fault::too_large(limits::BODY_BYTES));
    }
    if method == Method::POST && !is_json(&request) {
        return Err(Fault::media_type());
    }
    let keys = &front.0.keys;
    let pass = keys
        .pass(front, connection, &slice.auth_mode, request.headers())
        .await?;
    let agents = target::agents(&slice.agents);
    match endpoint {
        Endpoint::Models => {
            keys.check(front, connection, pass).await?;
            Ok(reply::json(StatusCode::OK, &models::list(&agents)))
        }
        Endpoint::Model(id) => {
            keys.check(front, connection, pass).await?;
            Ok(reply::json(StatusCode::OK, &models::one(id, &agents)?))
        }
        Endpoint::Chat | Endpoint::Responses => {
            let (head, body) = request.into_parts();
            let body = read(body).await?;
            let choose = |ask: &Ask, id: &str| {
                target::choose(&agents, &head.headers, &ask.model, ask.user.as_deref(), id)
            };
            let id = stamp.id.clone();
            if let Endpoint::Chat = endpoint {
                let (ask, dialect) = request::parse::<chat::Body>(&body)?.ask(stamp)?;
                let wanted = choose(&ask, &id)?;
                work(front, connection, pass, wanted, &id, ask, dialect).await
            } else {
                let (ask, dialect) = request::parse::<responses::Body>(&body)?.ask(stamp)?;
                let wanted = choose(&ask, &id)?;
                work(front, connection, pass, wanted, &id, ask, dialect).await
            }
        }
    }
}

/// Has the question answered.
async fn work(
    front: &Front,
    connection: &Connection,
    pass: Pass,
    wanted: Wanted,
    id: &str,
    ask: Ask,
    dialect: impl Dialect,
) -> Result<Reply, Fault> {
    // From here on it takes as long as the agent takes.
    connection.working();
    let turn = Turn::begin(front, connection, pass, wanted, id, ask.question).await?;
    match ask.stream {
        true => stream::stream(turn, dialect, connection).await,
        false => stream::whole(turn, dialect).await,
    }
}

async fn read(body: Incoming) -> Result<bytes::Bytes, Fault> {
    match Limited::new(body, limits::BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Fault::too_large(limits::BODY_BYTES)),
        Err(_) => Err(Fault::malformed("The request body is cut or malformed.")),
    }
}

/// A page of another origin can send everything but this without asking first.
fn is_json(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()?.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
