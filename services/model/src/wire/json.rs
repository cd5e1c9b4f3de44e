//! JSON from outside: bounded in depth before anything recursive looks at it. Sizes are bounded by whoever cut the record.

use clawdbot_http::json_depth;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fault::{Fault, Kind};

/// Levels of nesting. Tool schemas of real programs stay below twenty.
const DEPTH: usize = 64;

/// Parses one JSON text.
///
/// # Errors
/// A `Malformed` fault that does not repeat the text.
pub fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Fault> {
    json_depth(text, DEPTH).map_err(|error| Fault::passing(Kind::Malformed, error.to_string()))?;
    serde_json::from_slice(text).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => "a record has another shape than expected",
            _ => "a record is not JSON",
        };
        Fault::passing(
            Kind::Malformed,
            format!("{what}, column {}", error.column()),
        )
    })
}

/// `text` as a JSON object to be sent as it is, or nothing when it is none.
pub fn object(text: &str) -> Option<&RawValue> {
    json_depth(text.as_bytes(), DEPTH).ok()?;
    let raw = serde_json::from_str::<&RawValue>(text).ok()?;
    raw.get().starts_with('{').then_some(raw)
}

/// `{}`, as it is sent.
pub fn empty() -> &'static RawValue {
    static EMPTY: std::sync::OnceLock<Box<RawValue>> = std::sync::OnceLock::new();
    EMPTY.get_or_init(|| RawValue::from_string("{}".into()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_objects_of_bounded_depth_are_passed_on_as_they_are() {
        assert_eq!(object(" {\"a\" : 1} ").unwrap().get(), "{\"a\" : 1}");
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(64), "]".repeat(64));
        for text in ["", "[1]", "1", "{", "{\"a\":}", "{} {}", deep.as_str()] {
            assert!(object(text).is_none(), "{text}");
        }
        assert_eq!(empty().get(), "{}");
    }
}
