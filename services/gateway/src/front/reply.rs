//! Answers of the front door: few kinds, all with the same headers, none kept by a cache or shown in a foreign frame.

use bytes::Bytes;
use clawdbot_proto::v1;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{Either, Full};
use tokio::net::TcpStream;
use tonic::Status;

use super::api::Events;
use super::assets::{self, Asset};

/// An answer.
pub type Reply = Response<Body>;
/// Its body: all there is, or what comes bit by bit.
pub type Body = Either<Full<Bytes>, Events>;

/// What a page may do: look like ours and send a form to us.
const PAGE_RULES: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; \
    frame-ancestors 'none'";
/// What the chat may do besides: run our scripts, talk to us, show its own small pictures. No text becomes markup.
const CHAT_RULES: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// A line of text.
pub fn plain(status: StatusCode, text: &str) -> Reply {
    with_body(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

/// A page.
pub fn page(status: StatusCode, html: String) -> Reply {
    with_body(status, "text/html; charset=utf-8", html)
}

/// The chat page.
pub fn chat() -> Reply {
    let mut reply = page(StatusCode::OK, assets::chat().to_owned());
    set(&mut reply, header::CONTENT_SECURITY_POLICY, CHAT_RULES);
    reply
}

/// A file of the chat page: for ever under the address of its content, else asked for again each time. `known` is what
/// the browser says it has.
pub fn asset(asset: &'static Asset, exact: bool, known: Option<&str>) -> Reply {
    let tag = format!("\"{}\"", asset.hash);
    let same = known.is_some_and(|known| known.split(',').any(|one| one.trim() == tag));
    let (status, text) = match same {
        true => (StatusCode::NOT_MODIFIED, ""),
        false => (StatusCode::OK, asset.text.as_str()),
    };
    let mut reply = with_body(status, asset.kind, text);
    let keep = match exact {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    set(&mut reply, header::CACHE_CONTROL, keep);
    set(&mut reply, header::ETAG, &tag);
    reply
}

/// A JSON text.
pub fn json(status: StatusCode, value: &serde_json::Value) -> Reply {
    with_body(status, "application/json", value.to_string())
}

/// A JSON text that is written already.
pub fn json_text(text: String) -> Reply {
    with_body(StatusCode::OK, "application/json", text)
}

/// Server-sent events. Proxies that would collect them first are told not to.
pub fn events(events: Events) -> Reply {
    let mut reply = with_body(StatusCode::OK, "text/event-stream; charset=utf-8", "");
    *reply.body_mut() = Either::Right(events);
    let name = HeaderName::from_static("x-accel-buffering");
    set(&mut reply, name, "no");
    reply
}

/// An error for programs, in the form that API clients know.
pub fn error(status: StatusCode, kind: &str, message: &str) -> Reply {
    json(
        status,
        &serde_json::json!({ "error": { "message": message, "type": kind } }),
    )
}

/// Sends the browser elsewhere, with GET.
pub fn see_other(place: &'static str) -> Reply {
    let mut reply = plain(StatusCode::SEE_OTHER, place);
    set(&mut reply, header::LOCATION, place);
    reply
}

/// Sets one header. A value that is no header value is left out; all of ours are.
pub fn set(reply: &mut Reply, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

fn with_body(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(body.into())));
    *reply.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not no-referrer: under it a browser says `Origin: null` when it posts our own login form.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CONTENT_SECURITY_POLICY, PAGE_RULES),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        set(&mut reply, name, value);
    }
    reply
}

/// A credential is missing or wrong.
pub fn unauthorized(message: &str) -> Reply {
    let mut reply = error(StatusCode::UNAUTHORIZED, "unauthorized", message);
    set(&mut reply, header::WWW_AUTHENTICATE, "Bearer");
    reply
}

/// Policy's refusal of a credential, for programs.
pub fn refused(refusal: &v1::Refusal) -> Reply {
    match refusal_status(refusal, StatusCode::UNAUTHORIZED) {
        StatusCode::UNAUTHORIZED => unauthorized(&refusal.message),
        status => {
            let mut reply = error(status, "rate_limited", &refusal.message);
            retry_after(&mut reply, refusal);
            reply
        }
    }
}

/// 429 when waiting helps, else `otherwise`.
pub fn refusal_status(refusal: &v1::Refusal, otherwise: StatusCode) -> StatusCode {
    match refusal.retry_after_seconds {
        0 => otherwise,
        _ => StatusCode::TOO_MANY_REQUESTS,
    }
}

/// Says how long to wait, when waiting helps.
pub fn retry_after(reply: &mut Reply, refusal: &v1::Refusal) {
    if refusal.retry_after_seconds > 0 {
        let seconds = refusal.retry_after_seconds.to_string();
        set(reply, header::RETRY_AFTER, &seconds);
    }
}

/// Policy could not be asked.
pub fn unreachable(status: &Status) -> Reply {
    tracing::warn!(%status, "a credential could not be checked");
    let message = "The credential could not be checked just now; try again.";
    let mut reply = error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
    set(&mut reply, header::RETRY_AFTER, "1");
    reply
}

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 10\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 46\r\n\r\n\
    Too many connections; try again in a moment.\r\n";

/// What a connection gets whose request did not come in time.
pub const TOO_LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 46\r\n\r\n\
    The request or its credential came too late.\r\n";

/// Says that there is no room, as far as that goes without waiting, and hangs up.
pub fn turn_away(stream: TcpStream) {
    // Read what is there, so that closing does not turn into a reset that overtakes the answer.
    let mut scrap = [0; 2048];
    let _ = stream.try_read(&mut scrap);
    let _ = stream.try_write(FULL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_answers_have_the_length_they_say() {
        for text in [FULL, TOO_LATE] {
            let text = std::str::from_utf8(text).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}", body.len())));
        }
    }
}
