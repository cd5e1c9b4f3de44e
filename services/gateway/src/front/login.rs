//! One-time login links. Looking at a link shows a button and uses nothing up, since mail programs and chats look at
//! links too; pressing it trades the code for a cookie.
#![allow(
    clippy::result_large_err,
    reason = "both sides of these results are answers"
)]

use http::{Request, StatusCode, header};
use hyper::body::Incoming;

use super::connection::Connection;
use super::reply::{self, Reply};
use super::{Front, access, body, pages};
use crate::limits;

/// The page with the button.
pub fn ask(query: &str) -> Reply {
    match form_value(query, "code") {
        Some(code) => reply::page(StatusCode::OK, pages::login(code)),
        None => reply::page(
            StatusCode::BAD_REQUEST,
            pages::no_login("This is not a whole login link."),
        ),
    }
}

/// Trades the code of the form for a cookie.
pub async fn log_in(
    front: &Front,
    connection: &Connection,
    request: Request<Incoming>,
    secure: bool,
) -> Result<Reply, Reply> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()?.split(';').next());
    if !kind.is_some_and(|kind| {
        kind.trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    }) {
        return Err(reply::plain(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The login form is sent as application/x-www-form-urlencoded.",
        ));
    }
    let body = body::read(request, limits::FORM_BYTES).await?;
    let text = std::str::from_utf8(&body).unwrap_or("");
    let Some(code) = form_value(text, "code") else {
        return Err(reply::page(
            StatusCode::BAD_REQUEST,
            pages::no_login("The login code is missing or malformed."),
        ));
    };
    let redeemed = front.0.access.redeem(code, connection.peer.ip()).await;
    let visit = match redeemed {
        Ok(Ok(visit)) => visit,
        Ok(Err(refusal)) => {
            let mut reply = reply::page(
                reply::refusal_status(&refusal, StatusCode::FORBIDDEN),
                pages::no_login(&refusal.message),
            );
            reply::retry_after(&mut reply, &refusal);
            return Err(reply);
        }
        Err(status) => {
            tracing::warn!(%status, "a login could not be checked");
            return Err(reply::page(
                StatusCode::SERVICE_UNAVAILABLE,
                pages::no_login("The login could not be checked just now."),
            ));
        }
    };
    let Some(cookie) = access::cookie(&visit, secure) else {
        tracing::error!("policy gave a visit key that does not fit into a cookie");
        return Err(reply::plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The login failed inside the gateway; its log says more.",
        ));
    };
    connection.authenticated();
    let mut reply = reply::see_other("/");
    reply::set(&mut reply, header::SET_COOKIE, &cookie);
    Ok(reply)
}

/// A form or query value of the alphabet of login codes.
fn form_value<'a>(form: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = form
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)?;
    pages::is_code(value).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_value_is_of_its_alphabet_or_nothing() {
        assert_eq!(form_value("a=1&code=Ab-_9&b", "code"), Some("Ab-_9"));
        for form in ["", "code", "code=", "code=a%20b", "xcode=a", "code=<"] {
            assert_eq!(form_value(form, "code"), None, "{form}");
        }
    }
}
