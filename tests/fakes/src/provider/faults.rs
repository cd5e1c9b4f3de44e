//! Ways to misbehave. Each has a name, so that a client of the stand-alone program can ask for one in its message.

use serde_json::{Value, json};

use super::Format;

/// One way to misbehave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// An error status with the protocol's own body, and headers.
    Status {
        /// HTTP status.
        status: u16,
        /// Type or code of the error, in the protocol's words.
        kind: &'static str,
        /// What it says.
        message: String,
        /// Headers of the answer.
        headers: Vec<(&'static str, String)>,
    },
    /// A web page with status 200.
    Html,
    /// A web page with status 502.
    HtmlError,
    /// A good beginning, then the connection ends.
    Cut,
    /// A good beginning, then a declared end, without the protocol's last record.
    Short,
    /// The connection ends before the first byte.
    HangUp,
    /// 100 MB on one line.
    HugeLine,
    /// Headers without end.
    HeadBomb,
    /// A body of zeros under gzip.
    Gzip,
    /// A tool call whose arguments are no JSON.
    BrokenCall,
    /// A good answer with records that no client knows.
    UnknownEvents,
    /// A record that is no JSON.
    BadRecord,
    /// A good beginning, then silence.
    Stall,
    /// No byte at all, for ever.
    Silence,
    /// A redirect.
    Redirect,
    /// An error record in a stream that began well.
    ErrorInStream,
    /// An error record as the first of a stream.
    ErrorAtOnce,
    /// The answer in one JSON text although a stream was asked for.
    NoStream,
}

/// Names for messages: `fault:NAME`.
const NAMES: [(&str, Fault); 16] = [
    ("html", Fault::Html),
    ("html-error", Fault::HtmlError),
    ("cut", Fault::Cut),
    ("short", Fault::Short),
    ("hang-up", Fault::HangUp),
    ("huge-line", Fault::HugeLine),
    ("head-bomb", Fault::HeadBomb),
    ("gzip", Fault::Gzip),
    ("broken-call", Fault::BrokenCall),
    ("unknown-events", Fault::UnknownEvents),
    ("bad-record", Fault::BadRecord),
    ("stall", Fault::Stall),
    ("silence", Fault::Silence),
    ("redirect", Fault::Redirect),
    ("error-in-stream", Fault::ErrorInStream),
    ("no-stream", Fault::NoStream),
];

impl Fault {
    /// The fault that a message asks for with `fault:NAME`; NAME may be a status, and `429+3` means with a pause of 3 s.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let name = text.split_once("fault:")?.1;
        let name = name.split_whitespace().next().unwrap_or("");
        if let Some((_, fault)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Some(fault.clone());
        }
        let (status, pause) = match name.split_once('+') {
            Some((status, pause)) => (status, Some(pause)),
            None => (name, None),
        };
        let fault = Self::status(status.parse().ok().filter(|s| (400..600).contains(s))?);
        Some(match pause {
            Some(pause) => fault.with_header("retry-after", pause),
            None => fault,
        })
    }

    /// An error status with the usual words.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let (kind, message) = match status {
            401 => ("authentication_error", "invalid x-api-key"),
            402 => ("billing_error", "insufficient credits"),
            403 => ("permission_error", "not for this key"),
            404 => ("not_found_error", "model: not found"),
            413 => ("request_too_large", "request exceeds the maximum size"),
            429 => ("rate_limit_error", "too many requests"),
            529 => ("overloaded_error", "Overloaded"),
            500.. => ("api_error", "internal server error"),
            _ => ("invalid_request_error", "bad request"),
        };
        Self::Status {
            status,
            kind,
            message: message.into(),
            headers: Vec::new(),
        }
    }

    /// A conversation that does not fit.
    #[must_use]
    pub fn overflow() -> Self {
        Self::Status {
            status: 400,
            kind: "invalid_request_error",
            message: "prompt is too long: 210000 tokens > 200000 maximum".into(),
            headers: Vec::new(),
        }
    }

    /// The same, saying something else. Other faults have no words.
    #[must_use]
    pub fn saying(self, text: &str) -> Self {
        match self {
            Self::Status {
                status,
                kind,
                headers,
                ..
            } => Self::Status {
                status,
                kind,
                message: text.into(),
                headers,
            },
            other => other,
        }
    }

    /// The same with one more header. Other faults choose their own headers.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Status { headers, .. } = &mut self {
            headers.push((name, value.into()));
        }
        self
    }
}

/// An error in the protocol's own form.
pub(super) fn body(format: Format, status: u16, kind: &str, message: &str) -> Value {
    match format {
        Format::Anthropic => json!({
            "type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fake",
        }),
        Format::Chat | Format::Responses => {
            let code = match status {
                401 => "invalid_api_key",
                402 => "insufficient_quota",
                404 => "model_not_found",
                429 => "rate_limit_exceeded",
                500.. => "server_error",
                _ => kind,
            };
            json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
        }
        Format::Ollama => json!({"error": message}),
    }
}
