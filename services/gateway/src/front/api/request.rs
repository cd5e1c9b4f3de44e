//! Bodies of requests: bounded before they are read, typed, and blamed by name. A parameter that asks for something
//! that is not there is refused; one that asks for what happens anyway is not.

use std::fmt;

use clawdbot_proto::v1::Parameters;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::fault::Fault;
use crate::limits;

/// Reads a JSON object.
///
/// # Errors
/// When it nests too deep, is no JSON object, or a member has a wrong type; then that member is named.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    if let Err(error) = clawdbot_http::json_depth(body, limits::JSON_DEPTH) {
        return Err(Fault::malformed(error.to_string()));
    }
    let Ok(text) = std::str::from_utf8(body) else {
        return Err(Fault::malformed("The body must be UTF-8."));
    };
    // A type that is read by its names would take an array as well.
    if !text.trim_start().starts_with('{') {
        return Err(Fault::malformed("The body must be one JSON object."));
    }
    serde_json::from_str(text).map_err(|error| match culprit::<T>(text) {
        Some(name) => Fault::invalid(name, error.to_string()),
        None => Fault::malformed(format!("The body is no valid JSON: {error}")),
    })
}

/// The first member that cannot be read, of a body that is JSON otherwise.
fn culprit<T: DeserializeOwned>(body: &str) -> Option<String> {
    let members: Map<String, Value> = serde_json::from_str(body).ok()?;
    members.into_iter().find_map(|(name, value)| {
        let alone = Map::from_iter([(name.clone(), value)]);
        let wrong = serde_json::from_value::<T>(Value::Object(alone)).is_err();
        wrong.then_some(name)
    })
}

/// A parameter that is not honoured: whether its value asks for anything. Nothing, `false`, zero, what is empty, and the
/// words for the default do not.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Unused(bool);

/// Words that ask for what happens anyway.
const DEFAULTS: &[&str] = &["", "none", "auto", "text", "default", "disabled"];

impl<'de> Deserialize<'de> for Unused {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnusedVisitor).map(Self)
    }
}

struct UnusedVisitor;

impl<'de> Visitor<'de> for UnusedVisitor {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E>(self, value: bool) -> Result<bool, E> {
        Ok(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<bool, E> {
        Ok(value != 0)
    }

    fn visit_u64<E>(self, value: u64) -> Result<bool, E> {
        Ok(value != 0)
    }

    fn visit_f64<E>(self, value: f64) -> Result<bool, E> {
        Ok(value != 0.0)
    }

    fn visit_str<E>(self, value: &str) -> Result<bool, E> {
        Ok(!DEFAULTS.contains(&value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let mut asks = false;
        while let Some(Unused(one)) = seq.next_element()? {
            asks |= one;
        }
        Ok(asks)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut asks = false;
        while let Some((_, Unused(one))) = map.next_entry::<IgnoredAny, _>()? {
            asks |= one;
        }
        Ok(asks)
    }
}

/// Refuses the first parameter of a list that asks for something.
///
/// # Errors
/// With its name.
pub fn refuse_used(parameters: &[(&'static str, Unused)]) -> Result<(), Fault> {
    match parameters.iter().find(|(_, Unused(asks))| *asks) {
        Some((name, _)) => Err(Fault::unsupported(*name)),
        None => Ok(()),
    }
}

/// What a client wants of the model, with the names of the endpoint's parameters for the limits and the effort.
pub struct Knobs<'a> {
    /// 0 to 2.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// At least 1.
    pub max_tokens: (&'static str, Option<u64>),
    /// One of `EFFORTS`.
    pub effort: (&'static str, Option<&'a str>),
}

/// Names of the reasoning effort, there and here.
const EFFORTS: &[(&str, &str)] = &[
    ("none", "off"),
    ("minimal", "minimal"),
    ("low", "low"),
    ("medium", "medium"),
    ("high", "high"),
    ("xhigh", "xhigh"),
    ("max", "xhigh"),
];

impl Knobs<'_> {
    /// The parameters of a turn.
    ///
    /// # Errors
    /// When one is outside of its range.
    pub fn parameters(&self) -> Result<Parameters, Fault> {
        Ok(Parameters {
            temperature: within("temperature", self.temperature, 2)?,
            top_p: within("top_p", self.top_p, 1)?,
            max_output_tokens: match self.max_tokens {
                (_, None) => 0,
                (name, Some(0)) => return Err(Fault::invalid(name, "It must be at least 1.")),
                (_, Some(tokens)) => u32::try_from(tokens).unwrap_or(u32::MAX),
            },
            thinking: match self.effort {
                (_, None) => String::new(),
                (name, Some(word)) => {
                    let known = EFFORTS.iter().find(|(theirs, _)| *theirs == word);
                    let (_, ours) = known.ok_or_else(|| {
                        let words: Vec<_> = EFFORTS.iter().map(|(theirs, _)| *theirs).collect();
                        Fault::invalid(name, format!("It must be one of {}.", words.join(", ")))
                    })?;
                    (*ours).to_owned()
                }
            },
        })
    }
}

fn within(name: &str, value: Option<f64>, most: u8) -> Result<Option<f64>, Fault> {
    match value {
        Some(value) if !(0.0..=f64::from(most)).contains(&value) => {
            Err(Fault::invalid(name, format!("It must be 0 to {most}.")))
        }
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Body {
        #[serde(default)]
        unused: Unused,
        number: Option<u32>,
    }

    #[test]
    fn what_asks_for_nothing_is_not_refused() {
        for (value, asks) in [
            ("null", false),
            ("false", false),
            ("true", true),
            ("0", false),
            ("0.0", false),
            ("-1", true),
            ("2", true),
            ("0.5", true),
            ("\"\"", false),
            ("\"none\"", false),
            ("\"auto\"", false),
            ("\"required\"", true),
            ("[]", false),
            ("[\"text\"]", false),
            ("[\"text\", \"audio\"]", true),
            ("{}", false),
            (r#"{"type": "text"}"#, false),
            (r#"{"type": "json_object"}"#, true),
            (r#"[{"type": "function"}]"#, true),
            (r#"{"50256": -100}"#, true),
        ] {
            let body: Body = parse(format!("{{\"unused\": {value}}}").as_bytes()).unwrap();
            let refused = refuse_used(&[("unused", body.unused)]);
            assert_eq!(refused.is_err(), asks, "{value}");
        }
    }

    #[test]
    fn a_wrong_body_is_blamed_by_member_or_place() {
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(64), "]".repeat(64));
        for (text, code, word) in [
            (r#"{"number": "one"}"#, "invalid_value", "expected u32"),
            (
                r#"{"number": 1, "number": 2}"#,
                "invalid_request_error",
                "duplicate",
            ),
            (r#"{"number": 1"#, "invalid_request_error", "line 1"),
            ("[]", "invalid_request_error", "object"),
            ("", "invalid_request_error", "object"),
            (
                "{\"unused\": \"\u{0}\"}",
                "invalid_request_error",
                "control",
            ),
            (&deep, "invalid_request_error", "deep"),
        ] {
            let fault = parse::<Body>(text.as_bytes()).unwrap_err();
            assert_eq!(fault.code(), code, "{text}");
            assert!(fault.message().contains(word), "{fault:?}");
        }
        let fault = parse::<Body>(br#"{"more": 1, "number": -1}"#).unwrap_err();
        assert_eq!(fault.error()["param"], "number");
        assert!(parse::<Body>(b"{\"a\": \"\xff\"}").is_err());
        assert_eq!(parse::<Body>(br#" {"number": 7}"#).unwrap().number, Some(7));
    }

    #[test]
    fn knobs_have_ranges_and_efforts_have_names() {
        let knobs = Knobs {
            temperature: Some(2.0),
            top_p: Some(0.0),
            max_tokens: ("max_tokens", Some(u64::MAX)),
            effort: ("reasoning_effort", Some("max")),
        };
        let parameters = knobs.parameters().unwrap();
        assert_eq!(parameters.max_output_tokens, u32::MAX);
        assert_eq!(parameters.thinking, "xhigh");
        for (wrong, param) in [
            (
                Knobs {
                    temperature: Some(2.1),
                    ..knobs
                },
                "temperature",
            ),
            (
                Knobs {
                    temperature: None,
                    top_p: Some(-0.1),
                    ..knobs
                },
                "top_p",
            ),
            (
                Knobs {
                    max_tokens: ("max_tokens", Some(0)),
                    ..knobs
                },
                "max_tokens",
            ),
            (
                Knobs {
                    effort: ("reasoning_effort", Some("harder")),
                    ..knobs
                },
                "reasoning_effort",
            ),
        ] {
            let fault = wrong.parameters().unwrap_err();
            assert_eq!(fault.error()["param"], param);
        }
    }
}
