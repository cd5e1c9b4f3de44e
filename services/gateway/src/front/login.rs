//! Signing a browser in: by one-time link, token or password. Looking at a link shows a button and uses nothing up, since
//! mail programs and chats look at links too. What is right is traded for a cookie.
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

/// What a form shows.
#[derive(PartialEq)]
enum Shown {
    /// The code of a login link.
    Code(String),
    /// A token or password.
    Word(String),
    /// Neither, or something that cannot be read.
    Nothing,
}

impl Shown {
    fn of(form: &str) -> Self {
        if let Some(code) = form_value(form, "code") {
            return Self::Code(code.to_owned());
        }
        let word = field(form, "password").and_then(decoded);
        word.filter(|word| !word.is_empty())
            .map_or(Self::Nothing, Self::Word)
    }
}

/// Trades what the form shows for a cookie.
pub async fn log_in(
    front: &Front,
    connection: &Connection,
    request: Request<Incoming>,
    auth_mode: &str,
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
    let form = std::str::from_utf8(&body).unwrap_or("");
    let (peer, access) = (connection.peer.ip(), &front.0.access);
    let shown = Shown::of(form);
    let judged = match &shown {
        Shown::Nothing => {
            return Err(reply::page(
                StatusCode::BAD_REQUEST,
                pages::no_login("The form did not arrive as it should."),
            ));
        }
        Shown::Code(code) => access.redeem(code, peer).await,
        Shown::Word(word) => {
            let credential = access::credential(auth_mode, word.clone());
            access.verify(credential, peer).await
        }
    };
    // Whoever came by a link needs a new one; whoever typed may type again.
    let (no, again) = match shown {
        Shown::Word(_) => (StatusCode::UNAUTHORIZED, true),
        _ => (StatusCode::FORBIDDEN, false),
    };
    let page = |why: &str| match again {
        true => pages::stranger(auth_mode, Some(why)),
        false => pages::no_login(why),
    };
    let visit = match judged {
        Ok(Ok(visit)) => visit,
        Ok(Err(refusal)) => {
            let status = reply::refusal_status(&refusal, no);
            let mut reply = reply::page(status, page(&refusal.message));
            reply::retry_after(&mut reply, &refusal);
            return Err(reply);
        }
        Err(status) => {
            tracing::warn!(%status, "a login could not be checked");
            return Err(reply::page(
                StatusCode::SERVICE_UNAVAILABLE,
                page("The login could not be checked just now."),
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

/// A field of a form or query, as it is written there.
fn field<'a>(form: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// A form or query value of the alphabet of login codes.
fn form_value<'a>(form: &'a str, name: &str) -> Option<&'a str> {
    field(form, name).filter(|value| pages::is_code(value))
}

/// The text of a field (WHATWG URL, application/x-www-form-urlencoded); `None` when its bytes are no UTF-8.
pub fn decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after
            .get(..2)
            .filter(|two| *first == b'%' && two.iter().all(u8::is_ascii_hexdigit))
            .and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        bytes.push(match (digits, first) {
            (Some(byte), _) => byte,
            (None, b'+') => b' ',
            (None, byte) => *byte,
        });
        rest = &after[if digits.is_some() { 2 } else { 0 }..];
    }
    String::from_utf8(bytes).ok()
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

    #[test]
    fn a_password_comes_out_as_it_was_typed() {
        for (form, word) in [
            ("password=a+b%2B%25%C3%A9", "a b+%é"),
            ("x=1&password=100%&y", "100%"),
            ("password=%4", "%4"),
            ("password=%g1%2b", "%g1+"),
        ] {
            assert!(Shown::of(form) == Shown::Word(word.into()), "{form}");
        }
        for form in ["", "password=", "password", "password=%FF", "code=%3C"] {
            assert!(Shown::of(form) == Shown::Nothing, "{form}");
        }
    }
}
