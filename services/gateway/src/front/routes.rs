//! What can be asked over HTTP. A request is looked at in this order: is it meant for us, does it carry a credential
//! where none belongs, does the path exist, may this page ask it, who asks.
#![allow(
    clippy::result_large_err,
    reason = "both sides of these results are answers"
)]

use clawdbot_proto::v1;
use http::header::{self, HeaderMap};
use http::{Method, Request, StatusCode, Version};
use http_body_util::Either;
use hyper::body::Incoming;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::connection::{Connection, Upgrade};
use super::reply::{self, Reply};
use super::{Front, access, api, assets, body, guard, login, pages};
use crate::limits;

/// Path, and what it may be asked with.
const ROUTES: &[(&str, &[Method])] = &[
    ("/", &[Method::GET, Method::HEAD]),
    ("/healthz", &[Method::GET, Method::HEAD]),
    ("/login", &[Method::GET, Method::HEAD, Method::POST]),
    ("/logout", &[Method::POST]),
    ("/ws", &[Method::GET]),
];

/// What the files of the chat page may be asked with. They are no secret.
const ASSET_METHODS: &[Method] = &[Method::GET, Method::HEAD];

/// Names under which people put credentials into addresses, where logs and histories keep them.
const CREDENTIAL_PARAMETERS: &[&str] = &["token", "password", "access_token", "auth", "key"];

/// Answers one request.
pub async fn answer(front: &Front, connection: &Connection, request: Request<Incoming>) -> Reply {
    match route(front, connection, request).await {
        Ok(reply) | Err(reply) => reply,
    }
}

/// Either way an answer; `Err` is for leaving early.
async fn route(
    front: &Front,
    connection: &Connection,
    request: Request<Incoming>,
) -> Result<Reply, Reply> {
    let slice = front.slice();
    let host = check_host(slice.as_deref(), connection, &request)?;
    if request.uri().path().starts_with(api::PREFIX) {
        return Ok(api::answer(front, connection, slice.as_deref(), &host, request).await);
    }
    if body::is_too_large(&request, limits::BODY_BYTES) {
        return Err(body::too_large(limits::BODY_BYTES));
    }
    if has_credential_parameter(request.uri().query().unwrap_or("")) {
        return Err(reply::plain(
            StatusCode::BAD_REQUEST,
            "A token or password in the address is refused: addresses are kept in logs and histories. \
             Use `clawdbot open`, or the Authorization header.",
        ));
    }
    let path = request.uri().path().to_owned();
    let asset = assets::at(&path);
    let route = ROUTES.iter().find(|(known, _)| *known == path);
    let Some(methods) = asset
        .map(|_| ASSET_METHODS)
        .or(route.map(|(_, methods)| *methods))
    else {
        return Err(reply::plain(StatusCode::NOT_FOUND, "Not Found"));
    };
    if !methods.contains(request.method()) {
        let mut reply = reply::plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        let allow: Vec<_> = methods.iter().map(Method::as_str).collect();
        reply::set(&mut reply, header::ALLOW, &allow.join(", "));
        return Err(reply);
    }
    if let Some(asset) = asset {
        let exact = asset.is_exact(request.uri().query());
        let known = single(request.headers(), header::IF_NONE_MATCH);
        return Ok(reply::asset(asset, exact, known));
    }
    if path == "/healthz" {
        return Ok(health(slice.is_some()));
    }
    let Some(slice) = slice else {
        return Err(reply::plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "There is no valid configuration yet. `clawdbot config validate` shows what is wrong with it.",
        ));
    };
    let upgrades = wants_websocket(request.headers());
    let origin = if upgrades || request.method() == Method::POST {
        check_origin(&slice, &request, &host)?
    } else {
        None
    };
    match (path.as_str(), request.method()) {
        ("/", _) if !upgrades => home(front, connection, &slice, request.headers()).await,
        ("/" | "/ws", _) => websocket(front, connection, &slice, &request).await,
        ("/login", &Method::POST) => {
            let secure = origin.is_some_and(|origin| origin.starts_with("https://"));
            login::log_in(front, connection, request, &slice.auth_mode, secure).await
        }
        ("/login", _) => Ok(login::ask(request.uri().query().unwrap_or(""))),
        _ => {
            let mut reply = reply::see_other("/");
            reply::set(&mut reply, header::SET_COOKIE, &access::no_cookie());
            Ok(reply)
        }
    }
}

/// The Host header, if the request is meant for this front door.
fn check_host<B>(
    slice: Option<&v1::GatewaySlice>,
    connection: &Connection,
    request: &Request<B>,
) -> Result<String, Reply> {
    let host = single(request.headers(), header::HOST);
    let allowed = slice.map_or(&[][..], |slice| &slice.allowed_hosts);
    let checked = guard::check_host(host, connection.local, allowed);
    // A whole address in the request line must not say something else than the header.
    let agrees = request
        .uri()
        .authority()
        .is_none_or(|authority| host.is_some_and(|h| h.eq_ignore_ascii_case(authority.as_str())));
    match (checked, host) {
        (Ok(()), Some(host)) if agrees => Ok(host.to_owned()),
        (Err(error @ guard::Misaddressed::Foreign), _) => {
            Err(reply::plain(StatusCode::FORBIDDEN, &error.to_string()))
        }
        _ => Err(reply::plain(
            StatusCode::BAD_REQUEST,
            &guard::Misaddressed::Malformed.to_string(),
        )),
    }
}

/// The Origin header, if a page of that origin may act here.
pub fn check_origin<B>(
    slice: &v1::GatewaySlice,
    request: &Request<B>,
    host: &str,
) -> Result<Option<String>, Reply> {
    let headers = request.headers();
    let origin = single(headers, header::ORIGIN);
    let readable = origin.is_some() || !headers.contains_key(header::ORIGIN);
    match readable && guard::origin_allowed(origin, host, &slice.allowed_origins) {
        true => Ok(origin.map(str::to_owned)),
        false => Err(reply::plain(
            StatusCode::FORBIDDEN,
            "This page may not act here. If it is yours, list its origin in gateway.allowedOrigins.",
        )),
    }
}

/// The value of a header that comes exactly once and is readable.
fn single(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?;
    match all.next() {
        None => first.to_str().ok(),
        Some(_) => None,
    }
}

/// Whether a query carries a credential.
pub fn has_credential_parameter(query: &str) -> bool {
    query.split('&').any(|pair| {
        let name = pair.split('=').next().unwrap_or("");
        CREDENTIAL_PARAMETERS
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
    })
}

fn health(works: bool) -> Reply {
    let (status, word) = match works {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    reply::json(status, &serde_json::json!({ "status": word }))
}

async fn home(
    front: &Front,
    connection: &Connection,
    slice: &v1::GatewaySlice,
    headers: &HeaderMap,
) -> Result<Reply, Reply> {
    let key = match bearer_key(front, connection, slice, headers).await? {
        Some(key) => Some(key),
        None => session_key(front, connection, headers).await?,
    };
    Ok(match key {
        Some(_) => reply::chat(),
        None => {
            let page = pages::stranger(&slice.auth_mode, None);
            let mut reply = reply::page(StatusCode::UNAUTHORIZED, page);
            reply::set(&mut reply, header::WWW_AUTHENTICATE, "Bearer");
            reply
        }
    })
}

/// The visit that a bearer word opens, if there is one; a wrong one ends the request.
async fn bearer_key(
    front: &Front,
    connection: &Connection,
    slice: &v1::GatewaySlice,
    headers: &HeaderMap,
) -> Result<Option<String>, Reply> {
    let word = match access::bearer(headers) {
        None => return Ok(None),
        Some(None) => {
            return Err(reply::unauthorized(
                "Authorization must have the form: Bearer TOKEN",
            ));
        }
        Some(Some(word)) => word,
    };
    let credential = access::credential(&slice.auth_mode, word);
    let verified = front.0.access.verify(credential, connection.peer.ip());
    match verified
        .await
        .map_err(|status| reply::unreachable(&status))?
    {
        Ok(visit) => {
            connection.authenticated();
            Ok(Some(visit.key))
        }
        Err(refusal) => Err(reply::refused(&refusal)),
    }
}

/// The visit of the cookie, if it is still one.
async fn session_key(
    front: &Front,
    connection: &Connection,
    headers: &HeaderMap,
) -> Result<Option<String>, Reply> {
    let Some(key) = access::cookie_key(headers) else {
        return Ok(None);
    };
    let checked = front.0.access.check(&key, connection.peer.ip());
    match checked
        .await
        .map_err(|status| reply::unreachable(&status))?
    {
        Ok(_) => {
            connection.authenticated();
            Ok(Some(key))
        }
        Err(refusal) if refusal.retry_after_seconds > 0 => Err(reply::refused(&refusal)),
        Err(_) => Ok(None),
    }
}

fn wants_websocket(headers: &HeaderMap) -> bool {
    lists(headers, header::UPGRADE, "websocket")
}

/// Whether a comma-separated header names a word.
fn lists(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(word))
}

async fn websocket(
    front: &Front,
    connection: &Connection,
    slice: &v1::GatewaySlice,
    request: &Request<Incoming>,
) -> Result<Reply, Reply> {
    let headers = request.headers();
    let version = single(headers, header::SEC_WEBSOCKET_VERSION);
    if !wants_websocket(headers) || version != Some("13") {
        let mut reply = reply::plain(
            StatusCode::UPGRADE_REQUIRED,
            "This address speaks WebSocket, version 13.",
        );
        reply::set(&mut reply, header::UPGRADE, "websocket");
        reply::set(&mut reply, header::CONNECTION, "upgrade");
        reply::set(&mut reply, header::SEC_WEBSOCKET_VERSION, "13");
        return Err(reply);
    }
    let nonce = single(headers, header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    let well_formed = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && lists(headers, header::CONNECTION, "upgrade");
    let (Some(nonce), true) = (nonce, well_formed) else {
        return Err(reply::plain(
            StatusCode::BAD_REQUEST,
            "The WebSocket handshake is malformed.",
        ));
    };
    let key = match bearer_key(front, connection, slice, headers).await? {
        Some(key) => Some(key),
        None => session_key(front, connection, headers).await?,
    };
    connection.upgrade(Upgrade { key });
    let mut reply = Reply::new(Either::Left(Default::default()));
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    reply::set(&mut reply, header::UPGRADE, "websocket");
    reply::set(&mut reply, header::CONNECTION, "upgrade");
    reply::set(
        &mut reply,
        header::SEC_WEBSOCKET_ACCEPT,
        &derive_accept_key(nonce.as_bytes()),
    );
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_addresses_are_noticed_and_login_codes_are_not() {
        for query in [
            "token=x",
            "a=b&Token=x",
            "password",
            "access_token=",
            "KEY=1",
        ] {
            assert!(has_credential_parameter(query), "{query}");
        }
        for query in ["", "code=x", "tokens=1", "a=token"] {
            assert!(!has_credential_parameter(query), "{query}");
        }
    }
}
