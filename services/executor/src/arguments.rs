//! The arguments of a tool call: JSON that a model wrote, so anything at all. What is not one flat enough object is refused
//! before anybody looks into it; what is accepted has one spelling, which policy sees and the repeat check compares.

use serde_json::{Map, Value};

/// Bytes of one call's arguments.
const BYTES: usize = 256 << 10;
/// Objects and arrays that may be open at once.
const DEPTH: usize = 32;

/// The arguments of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    pub object: Map<String, Value>,
    /// Members in order, no spaces.
    pub canonical: String,
}

impl Arguments {
    /// Reads arguments; the error is a text for the model.
    pub fn parse(json: &str) -> Result<Self, String> {
        if json.len() > BYTES {
            return Err("the arguments are longer than 256 KiB".into());
        }
        // The parser itself gives up at a depth of 128.
        let value: Value = serde_json::from_str(json)
            .map_err(|error| format!("the arguments are not valid JSON: {error}"))?;
        if too_deep(&value, DEPTH) {
            return Err(format!(
                "the arguments are nested deeper than {DEPTH} levels"
            ));
        }
        let canonical = value.to_string();
        match value {
            Value::Object(object) => Ok(Self { object, canonical }),
            _ => Err("the arguments must be one JSON object, for instance {}".into()),
        }
    }
}

fn too_deep(value: &Value, left: usize) -> bool {
    match value {
        Value::Array(items) => left == 0 || items.iter().any(|item| too_deep(item, left - 1)),
        Value::Object(members) => {
            left == 0 || members.values().any(|member| too_deep(member, left - 1))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_arguments_have_one_spelling() {
        for json in [
            r#"{"a":1,"b":{"c":[2],"d":"ü"}}"#,
            r#" { "b": {"d":"\u00fc", "c": [ 2 ]}, "a" : 1 } "#,
        ] {
            let arguments = Arguments::parse(json).unwrap();
            assert_eq!(arguments.canonical, r#"{"a":1,"b":{"c":[2],"d":"ü"}}"#);
        }
        assert_eq!(
            Arguments::parse(r#"{"a":1,"a":2}"#).unwrap().canonical,
            r#"{"a":2}"#,
            "nothing is hidden in a pair"
        );
    }

    #[test]
    fn what_is_no_bounded_object_is_refused_with_words() {
        let nested = |depth: usize| {
            format!(
                "{{\"a\":{}{}}}",
                "[".repeat(depth - 1),
                "]".repeat(depth - 1)
            )
        };
        assert!(Arguments::parse(&nested(DEPTH)).is_ok(), "positive control");
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(BYTES));
        for (json, word) in [
            ("", "valid JSON"),
            ("{", "valid JSON"),
            ("{} {}", "valid JSON"),
            ("[]", "one JSON object"),
            ("null", "one JSON object"),
            ("\"{}\"", "one JSON object"),
            (&nested(DEPTH + 1), "deeper than 32"),
            (&nested(5000), "valid JSON"),
            (&long, "256 KiB"),
        ] {
            let error = Arguments::parse(json).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
