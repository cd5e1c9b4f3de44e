//! What the fuzz targets look at: bodies of the HTTP interface, the login form, and frames of the WebSocket, up to the
//! question that they become. Plain functions of bytes; nothing here is used by the gateway.

use clawdbot_identity::AgentId;
use http::HeaderMap;
use serde_json::{Value, json};

use crate::front::api::fault::Fault;
use crate::front::api::{Ask, Stamp, chat, request, responses, target};
use crate::front::socket::wire;

/// What a body asks for.
#[derive(Debug)]
pub struct Asked {
    /// The model as it was named.
    pub model: String,
    /// The question.
    pub text: String,
    /// What goes to the system prompt.
    pub system: String,
}

/// A refusal: its status, and the body.
#[derive(Debug)]
pub struct Refused(pub u16, pub Value);

/// Reads a body of `/v1/chat/completions`.
///
/// # Errors
/// What the client is answered.
pub fn chat(body: &[u8]) -> Result<Asked, Refused> {
    let asked = request::parse::<chat::Body>(body).and_then(|body| body.ask(stamp()));
    asked.and_then(|(ask, _)| chosen(ask)).map_err(refused)
}

/// Reads a body of `/v1/responses`.
///
/// # Errors
/// What the client is answered.
pub fn responses(body: &[u8]) -> Result<Asked, Refused> {
    let asked = request::parse::<responses::Body>(body).and_then(|body| body.ask(stamp()));
    asked.and_then(|(ask, _)| chosen(ask)).map_err(refused)
}

/// Reads a frame of the WebSocket: id and method.
///
/// # Errors
/// The id to answer to, and the answer.
pub fn frame(text: &str) -> Result<(String, String), (String, String)> {
    match wire::request(text) {
        Ok(request) => Ok((request.id, request.method)),
        Err((id, error)) => Err((id.clone(), wire::response(&id, Err(error)))),
    }
}

/// The text of a field of a form.
pub fn form_field(value: &str) -> Option<String> {
    crate::front::login::decoded(value)
}

fn stamp() -> Stamp {
    Stamp {
        created: 0,
        id: "0".into(),
    }
}

/// The same with its session, which must be one.
fn chosen(ask: Ask) -> Result<Asked, Fault> {
    let agents = [AgentId::main()];
    target::choose(
        &agents,
        &HeaderMap::new(),
        &ask.model,
        ask.user.as_deref(),
        "0",
    )?;
    Ok(Asked {
        model: ask.model,
        text: ask.question.text,
        system: ask.question.extra_system,
    })
}

fn refused(fault: Fault) -> Refused {
    let body = json!({ "error": fault.error() });
    Refused(
        crate::front::reply::Reply::from(fault).status().as_u16(),
        body,
    )
}
