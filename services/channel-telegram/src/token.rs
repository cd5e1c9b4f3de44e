//! A bot's token. Telegram wants it in the path of every request, so paths are made here and nowhere else, are never shown,
//! and whatever comes back is blanked of the token before anybody reads it.

use std::sync::Arc;

use bytes::Bytes;
use clawdbot_http::BaseUrl;
use clawdbot_identity::text::sanitize_line;
use clawdbot_secrets::{Secret, redact};
use http::{Method, Request, header};

/// Longest text of Telegram's that reaches a log or a report, characters.
const SHOWN: usize = 200;

/// A token of the form `NUMBER:LETTERS`.
#[derive(Clone)]
pub(crate) struct Token(Arc<Secret>);

/// A token that cannot stand in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bot token does not have the form 123456789:ABC-def that @BotFather gives out")]
pub(crate) struct TokenError;

impl Token {
    /// Checks the form.
    pub(crate) fn new(secret: Arc<Secret>) -> Result<Self, TokenError> {
        let fits = secret.expose(|bytes| {
            let colon = bytes.iter().position(|byte| *byte == b':')?;
            let (number, rest) = (&bytes[..colon], &bytes[colon + 1..]);
            let word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
            let valid = !number.is_empty()
                && number.iter().all(u8::is_ascii_digit)
                && (1..=256).contains(&rest.len())
                && rest.iter().all(word);
            valid.then_some(())
        });
        fits.map(|()| Self(secret)).ok_or(TokenError)
    }

    /// A call of `method` with a JSON body.
    pub(crate) fn request(&self, base: &BaseUrl, method: &str, body: Bytes) -> Request<Bytes> {
        let path = self.0.expose(|bytes| {
            let token = String::from_utf8_lossy(bytes);
            format!("{}/bot{token}/{method}", base.path())
        });
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        // Base, token and method hold only characters that a path may have.
        request.unwrap_or_default()
    }

    /// Somebody else's words in one short line, without the token.
    pub(crate) fn blank(&self, text: &str) -> String {
        let text = redact::text(text, &[&self.0]);
        let line = sanitize_line(&text);
        line.chars().take(SHOWN).collect()
    }

    /// Whether it is the same token.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.0.expose(|bytes| other.0.is(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn token(text: &str) -> Result<Token, TokenError> {
        let secret = Secret::new(text.as_bytes().to_vec().into()).unwrap();
        Token::new(Arc::new(secret))
    }

    #[test]
    fn only_what_botfather_gives_out_is_a_token() {
        assert!(token("123456789:AAE-x_y").is_ok());
        for text in [
            "", "abc", "123:", ":abc", "12a:abc", "1:a/b", "1:a?b", "1:a b", "1:a\n",
        ] {
            assert!(token(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_token_is_in_the_path_and_in_no_words() {
        let token = token("123456789:AAExyz").unwrap();
        let base = BaseUrl::parse("http://127.0.0.1:1/api").unwrap();
        let request = token.request(&base, "getMe", Bytes::new());
        assert_eq!(request.uri().path(), "/api/bot123456789:AAExyz/getMe");
        let said = token.blank("bad /bot123456789:AAExyz/getMe\nx");
        assert_eq!(said, "bad /bot[secret]/getMe\\nx");
        assert_eq!(token.blank(&"y".repeat(999)).len(), SHOWN);
    }
}
