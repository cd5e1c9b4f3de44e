//! What a provider's error means. Providers agree on little: status, code, type and wording are looked at in this order of
//! trust, each as a table. Wordings are matched only where a provider gives nothing better.

use std::time::Duration;

use serde_json::Value;

use super::{Fault, Kind};
use crate::wire::json;

/// Statuses that stand behind the names in error bodies, for errors that come without a status: within a stream.
const NAMED: [(&str, u16); 22] = [
    ("invalid_request_error", 400),
    ("authentication_error", 401),
    ("invalid_api_key", 401),
    ("account_deactivated", 401),
    ("billing_error", 402),
    ("insufficient_quota", 402),
    ("billing_hard_limit_reached", 402),
    ("billing_not_active", 402),
    ("insufficient_credits", 402),
    ("permission_error", 403),
    ("not_found_error", 404),
    ("model_not_found", 404),
    ("conflict_error", 409),
    ("request_too_large", 413),
    ("context_length_exceeded", 413),
    ("exceed_context_size_error", 413),
    ("rate_limit_error", 429),
    ("rate_limit_exceeded", 429),
    ("api_error", 500),
    ("server_error", 500),
    ("timeout_error", 504),
    ("overloaded_error", 529),
];

/// A conversation that is too long, in the words of those who have no code for it.
const OVERFLOW: [&str; 16] = [
    "prompt is too long",
    "input is too long",
    "maximum context length",
    "context length exceeded",
    "context_length_exceeded",
    "exceeds the context window",
    "exceed context limit",
    "exceeds the available context size",
    "exceeds the context length",
    "greater than the context length",
    "context window exceeds",
    "exceeds the maximum number of tokens",
    "maximum prompt length is",
    "reduce the length of the messages",
    "exceeded model token limit",
    "context size has been exceeded",
];

const BILLING: [&str; 7] = [
    "credit balance",
    "insufficient credit",
    "insufficient balance",
    "insufficient funds",
    "exceeded your current quota",
    "payment required",
    "spending limit",
];

const AUTH: [&str; 5] = [
    "api key not valid",
    "invalid api key",
    "incorrect api key",
    "invalid x-api-key",
    "invalid bearer token",
];

const UNKNOWN_MODEL: [&str; 5] = [
    "not a valid model",
    "unknown model",
    "model not found",
    "invalid model name",
    "model_not_found",
];

/// What an answer with an error status means. `headers` gives a header's value as text.
pub fn of_answer<'a>(
    status: u16,
    headers: impl Fn(&str) -> Option<&'a str>,
    body: &[u8],
    now_unix: Duration,
) -> Fault {
    let said = Said::read(body);
    let kind = match is_page(body, headers("content-type")) {
        true => Kind::WebPage,
        false => kind(status, &said),
    };
    let again = match headers("x-should-retry") {
        Some("true") => true,
        Some("false") => false,
        _ => matches!(status, 408 | 409 | 429 | 500..) && kind != Kind::Billing,
    };
    let detail = match kind {
        // A page says nothing in a line that its status does not.
        Kind::WebPage => format!("status {status}"),
        _ if said.message.is_empty() => format!("status {status}"),
        _ => said.message,
    };
    Fault {
        kind,
        detail,
        retry_after: crate::retry::asked(&headers, now_unix),
        again,
    }
}

/// What an error within a stream means; `error` is the JSON of its record.
pub fn of_event(error: &[u8]) -> Fault {
    let said = Said::read(error);
    let status = said.status.unwrap_or(500);
    let kind = kind(status, &said);
    Fault {
        kind,
        again: matches!(status, 408 | 409 | 429 | 500..) && kind != Kind::Billing,
        detail: said.message,
        retry_after: None,
    }
}

/// Whether a body is made for a browser.
pub fn is_page(body: &[u8], content_type: Option<&str>) -> bool {
    let start = body.trim_ascii_start();
    let markup = |tag: &[u8]| {
        start
            .get(..tag.len())
            .is_some_and(|s| s.eq_ignore_ascii_case(tag))
    };
    markup(b"<!doctype")
        || markup(b"<html")
        || content_type.is_some_and(|kind| kind.starts_with("text/html")) && start.starts_with(b"<")
}

/// What an error body says.
#[derive(Default)]
struct Said {
    message: String,
    /// Codes and types, lower case.
    names: Vec<String>,
    /// A status that the body itself gives, as number or by a known name.
    status: Option<u16>,
}

impl Said {
    fn read(body: &[u8]) -> Self {
        let Ok(value) = json::parse::<Value>(body) else {
            // All of it: cut before the key is blanked, it could end in half a key.
            return Self {
                message: String::from_utf8_lossy(body).into_owned(),
                ..Self::default()
            };
        };
        let mut said = Self::default();
        said.collect(&value, 0);
        said.status = said.status.or_else(|| {
            let known = |name: &String| NAMED.iter().find(|(known, _)| known == name);
            // The most telling: a code beside a general type counts more than the type.
            let known = said.names.iter().filter_map(known);
            known
                .map(|(_, status)| *status)
                .max_by_key(|s| (*s != 400, *s))
        });
        said
    }

    /// Gathers from `{error: {...}}`, `{error: "text"}`, `{message}`, `{detail}`, `{response: {error}}` and lists of them.
    fn collect(&mut self, value: &Value, depth: u8) {
        if depth > 3 {
            return;
        }
        match value {
            Value::Array(values) => values
                .iter()
                .take(3)
                .for_each(|value| self.collect(value, depth + 1)),
            Value::Object(fields) => {
                for inner in ["error", "response"] {
                    match fields.get(inner) {
                        Some(Value::String(text)) => self.say(text),
                        Some(value) => self.collect(value, depth + 1),
                        None => {}
                    }
                }
                for text in ["message", "detail"] {
                    if let Some(Value::String(text)) = fields.get(text) {
                        self.say(text);
                    }
                }
                for name in ["code", "type"] {
                    match fields.get(name) {
                        Some(Value::String(name)) => self.names.push(name.to_lowercase()),
                        Some(Value::Number(code)) => {
                            let status = code.as_u64().and_then(|code| u16::try_from(code).ok());
                            self.status = self.status.or(status.filter(|s| (400..600).contains(s)));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn say(&mut self, text: &str) {
        if self.message.is_empty() {
            text.clone_into(&mut self.message);
        }
    }

    fn named(&self, names: &[&str]) -> bool {
        self.names.iter().any(|name| names.contains(&name.as_str()))
    }
}

fn kind(status: u16, said: &Said) -> Kind {
    let words = said.message.to_lowercase();
    let says = |table: &[&str]| table.iter().any(|text| words.contains(text));
    // "Too many tokens per minute" is about the pace, whatever else it says.
    if status != 429
        && (said.named(&["context_length_exceeded", "exceed_context_size_error"])
            || says(&OVERFLOW)
            || status == 413)
    {
        return Kind::Overflow;
    }
    if status == 402
        || said.named(&[
            "billing_error",
            "insufficient_quota",
            "billing_hard_limit_reached",
            "billing_not_active",
        ])
        || says(&BILLING)
    {
        return Kind::Billing;
    }
    let no_model = said.named(&["model_not_found"])
        || says(&UNKNOWN_MODEL)
        || words.contains("model")
            && (words.contains("not found")
                || words.contains("does not exist")
                || words.contains("not exist"));
    match status {
        401 => Kind::Auth,
        // Some answer so to a text that their moderation stops.
        403 if words.contains("moderation") || words.contains("flagged") => Kind::Invalid,
        // The key is good, only not for this model.
        403 if no_model => Kind::UnknownModel,
        403 => Kind::Auth,
        404 if no_model || said.named(&["not_found_error"]) => Kind::UnknownModel,
        404 | 405 => Kind::NoInterface,
        408 | 504 => Kind::Timeout,
        429 => Kind::RateLimit,
        529 => Kind::Overloaded,
        500.. if said.named(&["overloaded_error"]) || words.contains("overloaded") => {
            Kind::Overloaded
        }
        409 | 500.. => Kind::Server,
        _ if says(&AUTH) || said.named(&["invalid_api_key", "authentication_error"]) => Kind::Auth,
        _ if no_model => Kind::UnknownModel,
        _ => Kind::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> (Kind, bool) {
        let fault = of_answer(status, |_| None, body.as_bytes(), Duration::ZERO);
        (fault.kind, fault.again)
    }

    #[test]
    fn a_body_is_not_cut_before_the_key_in_it_is_blanked() {
        let body = format!("{}sk-ant-0123456789", " ".repeat(4090));
        let fault = of_answer(401, |_| None, body.as_bytes(), Duration::ZERO);
        assert!(fault.detail.ends_with("sk-ant-0123456789"));
    }

    #[test]
    fn every_provider_s_way_to_say_no_is_understood() {
        let rows: [(u16, &str, Kind, bool); 31] = [
            (
                401,
                r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
                Kind::Auth,
                false,
            ),
            (
                401,
                r#"{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
                Kind::Auth,
                false,
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key."}}]"#,
                Kind::Auth,
                false,
            ),
            (
                403,
                r#"{"type":"error","error":{"type":"permission_error","message":"no"}}"#,
                Kind::Auth,
                false,
            ),
            (
                403,
                r#"{"error":{"code":403,"message":"Input was flagged by moderation"}}"#,
                Kind::Invalid,
                false,
            ),
            (
                403,
                r#"{"error":{"message":"Project `p` does not have access to model `gpt-5`","type":"invalid_request_error","code":"model_not_found"}}"#,
                Kind::UnknownModel,
                false,
            ),
            (
                402,
                r#"{"error":{"code":402,"message":"Insufficient credits"}}"#,
                Kind::Billing,
                false,
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the API"}}"#,
                Kind::Billing,
                false,
            ),
            (
                429,
                r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#,
                Kind::Billing,
                false,
            ),
            (
                429,
                r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}"#,
                Kind::RateLimit,
                true,
            ),
            (
                429,
                r#"{"error":{"message":"Rate limit: reduce the length of the messages","code":"rate_limit_exceeded"}}"#,
                Kind::RateLimit,
                true,
            ),
            (
                529,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                Kind::Overloaded,
                true,
            ),
            (
                503,
                r#"{"error":{"message":"the engine is currently overloaded"}}"#,
                Kind::Overloaded,
                true,
            ),
            (
                500,
                r#"{"error":"llama runner process has terminated"}"#,
                Kind::Server,
                true,
            ),
            (502, "Bad Gateway", Kind::Server, true),
            (502, "<html><body>502</body></html>", Kind::WebPage, true),
            (
                504,
                r#"{"error":{"type":"timeout_error","message":"x"}}"#,
                Kind::Timeout,
                true,
            ),
            (409, "{}", Kind::Server, true),
            (
                404,
                r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"}}"#,
                Kind::UnknownModel,
                false,
            ),
            (
                404,
                r#"{"error":{"message":"The model `gpt-9` does not exist","code":"model_not_found"}}"#,
                Kind::UnknownModel,
                false,
            ),
            (
                404,
                r#"{"error":"model 'llama9' not found"}"#,
                Kind::UnknownModel,
                false,
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"x/y is not a valid model ID"}}"#,
                Kind::UnknownModel,
                false,
            ),
            (404, "404 page not found", Kind::NoInterface, false),
            (405, "", Kind::NoInterface, false),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
                Kind::Overflow,
                false,
            ),
            (
                400,
                r#"{"error":{"message":"This model's maximum context length is 8192 tokens","code":"context_length_exceeded"}}"#,
                Kind::Overflow,
                false,
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
                Kind::Overflow,
                false,
            ),
            (
                400,
                r#"{"error":"the input length exceeds the context length"}"#,
                Kind::Overflow,
                false,
            ),
            (
                413,
                r#"{"type":"error","error":{"type":"request_too_large","message":"x"}}"#,
                Kind::Overflow,
                false,
            ),
            (400, r#"{"detail":"bad tools"}"#, Kind::Invalid, false),
            (422, "", Kind::Invalid, false),
        ];
        for (status, body, kind, again) in rows {
            assert_eq!(of(status, body), (kind, again), "{status} {body}");
        }
    }

    #[test]
    fn the_provider_s_own_word_on_another_try_counts_most() {
        let with = |status, value| {
            of_answer(
                status,
                |name| (name == "x-should-retry").then_some(value),
                b"{}",
                Duration::ZERO,
            )
            .again
        };
        assert!(with(400, "true") && !with(500, "false") && with(500, "maybe"));
    }

    #[test]
    fn an_error_within_a_stream_is_told_by_its_names_or_its_number() {
        for (body, kind, again) in [
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                Kind::Overloaded,
                true,
            ),
            (
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"x"}}"#,
                Kind::Invalid,
                false,
            ),
            (
                r#"{"error":{"code":429,"message":"slow down"},"choices":[]}"#,
                Kind::RateLimit,
                true,
            ),
            (
                r#"{"error":{"code":"server_error","message":"x"}}"#,
                Kind::Server,
                true,
            ),
            (
                r#"{"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded","message":"x"}}}"#,
                Kind::RateLimit,
                true,
            ),
            (
                r#"{"type":"error","error":{"type":"invalid_request_error","code":"context_length_exceeded","message":"x"}}"#,
                Kind::Overflow,
                false,
            ),
            (
                r#"{"type":"error","code":"insufficient_quota","message":"x"}"#,
                Kind::Billing,
                false,
            ),
            (r#"{"error":"something broke"}"#, Kind::Server, true),
        ] {
            let fault = of_event(body.as_bytes());
            assert_eq!((fault.kind, fault.again), (kind, again), "{body}");
        }
    }

    #[test]
    fn a_body_that_nests_deep_or_is_no_json_is_taken_as_text() {
        let deep = "[".repeat(100_000);
        assert_eq!(of(400, &deep).0, Kind::Invalid);
        let fault = of_answer(500, |_| None, &[0xff, 0xfe], Duration::ZERO);
        assert_eq!(fault.detail, "\u{fffd}\u{fffd}");
    }
}
