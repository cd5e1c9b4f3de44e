//! The schema accepts what the loader accepts and refuses what the loader refuses for its kind. The validator here knows
//! the words that the schema uses and fails on any other.

use super::*;
use crate::path::{ConfigPath, Segment};
use crate::schema;

struct Validator {
    document: Json,
    /// Missing keys count.
    required: bool,
}

impl Validator {
    fn new(required: bool) -> Self {
        let document = schema::json_schema();
        Self { document, required }
    }

    /// Whether a file is accepted, read by another parser than ours.
    fn accepts(&self, text: &str) -> bool {
        let value: Json = json5::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        self.fits(&self.document, &value)
    }

    fn fits(&self, schema: &Json, value: &Json) -> bool {
        let schema = match schema {
            Json::Bool(all) => return *all,
            schema => schema.as_object().unwrap(),
        };
        schema.iter().all(|(word, rule)| match word.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "writeOnly" => true,
            "$ref" => {
                let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                self.fits(&self.document["$defs"][name], value)
            }
            "anyOf" => rule
                .as_array()
                .unwrap()
                .iter()
                .any(|way| self.fits(way, value)),
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "type" => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "null" => value.is_null(),
                "number" => value.is_number(),
                "integer" => value.is_u64() || value.is_i64(),
                other => panic!("{other}"),
            },
            "minimum" => value
                .as_f64()
                .is_none_or(|value| value >= rule.as_f64().unwrap()),
            "maximum" => value
                .as_f64()
                .is_none_or(|value| value <= rule.as_f64().unwrap()),
            "pattern" => true,
            "items" => value
                .as_array()
                .is_none_or(|items| items.iter().all(|item| self.fits(rule, item))),
            "properties" => value.as_object().is_none_or(|members| {
                let known = members
                    .iter()
                    .filter_map(|(key, value)| Some((rule.get(key)?, value)));
                known
                    .into_iter()
                    .all(|(rule, value)| self.fits(rule, value))
            }),
            "additionalProperties" => value.as_object().is_none_or(|members| {
                let known = |key: &str| {
                    schema
                        .get("properties")
                        .is_some_and(|all| all.get(key).is_some())
                };
                members
                    .iter()
                    .all(|(key, value)| known(key) || self.fits(rule, value))
            }),
            "required" => {
                let missing = |key: &Json| value.get(key.as_str().unwrap()).is_none();
                !self.required
                    || !value.is_object()
                    || !rule.as_array().unwrap().iter().any(missing)
            }
            other => panic!("{other}"),
        })
    }
}

fn file(path: &ConfigPath, value: &str) -> String {
    let steps = path.segments().iter().rev();
    steps.fold(value.to_owned(), |inner, segment| match segment {
        Segment::Key(key) => format!("{{{key:?}: {inner}}}"),
        Segment::Index(_) => format!("[{inner}]"),
    })
}

#[test]
fn the_schema_takes_each_key_with_its_own_kind_and_no_other() {
    let schema = Validator::new(false);
    let samples = [
        (Kind::Null, "null"),
        (Kind::Bool, "true"),
        (Kind::Number, "1.5"),
        (Kind::String, "'text'"),
        (Kind::Array, "[]"),
        (Kind::Object, "{}"),
    ];
    for row in schema::rows() {
        let good = file(&row.sample, &row.info.example);
        assert!(schema.accepts(&good), "{good}");
        for (_, sample) in samples
            .iter()
            .filter(|(kind, _)| !row.info.kinds.contains(kind))
        {
            let bad = file(&row.sample, sample);
            assert!(!schema.accepts(&bad), "{bad}");
        }
        let default = (row.key.default)();
        if !default.is_null() {
            let text = file(&row.sample, &default.to_string());
            assert!(schema.accepts(&text), "{text}");
        }
        for (from, to) in row.info.also {
            let spelt = |path: &str| {
                path.split('.')
                    .fold(row.sample.clone(), |at, key| at.join(key))
            };
            let example = schema::info_at(&spelt(to)).unwrap().example;
            let text = file(&spelt(from), &example);
            assert!(schema.accepts(&text), "{text}");
        }
        let parent = row.sample.parent().unwrap();
        if !row.info.kinds.contains(&Kind::Null) {
            let strange = file(&parent.join("no-such-key"), "1");
            assert!(!schema.accepts(&strange), "{strange}");
        }
    }
}

#[test]
fn bounds_words_and_missing_keys_are_in_the_schema() {
    let schema = Validator::new(true);
    for (text, accepted) in [
        ("{}", true),
        ("{$schema: 'x', gateway: {port: 1}}", true),
        ("{gateway: {port: 0}}", false),
        ("{gateway: {port: 65536}}", false),
        ("{gateway: {port: 1.5}}", false),
        ("{gateway: {bind: 'lan'}}", true),
        ("{gateway: {bind: 'all'}}", false),
        ("{gateway: {auth: {rateLimit: false}}}", true),
        ("{gateway: {auth: {rateLimit: true}}}", false),
        (
            "{gateway: {auth: {token: {source: 'file', id: 'x'}}}}",
            true,
        ),
        (
            "{gateway: {auth: {token: {source: 'exec', id: 'x'}}}}",
            false,
        ),
        ("{gateway: {auth: {token: {id: 'x'}}}}", false),
        ("{agents: {list: [{}]}}", false),
        ("{agents: {list: [{id: 'x', model: 'a/b'}]}}", true),
        ("{agent: {model: {primary: 'a/b'}}}", true),
        (
            "{agent: {sandbox: {perSession: true, docker: {network: 'none'}}}}",
            true,
        ),
        ("{channels: {telegram: {dm: {policy: 'pairing'}}}}", true),
        ("{channels: {telegram: {dm: {policy: 'everybody'}}}}", false),
        ("{channels: {telegram: {dm: {polcy: 'pairing'}}}}", false),
        (
            "{channels: {discord: {dm: {policy: 'pairing', groupEnabled: true}}}}",
            true,
        ),
        ("{session: {owner: ['telegram:1']}}", true),
        ("{commands: {native: 'auto'}}", true),
        ("{commands: {native: 'never'}}", false),
        ("{dangerous: {accept: ['no.such.rule']}}", false),
        ("{meta: {anything: [1]}}", true),
        ("{browser: {}}", false),
    ] {
        assert_eq!(schema.accepts(text), accepted, "{text}");
    }
}

#[test]
fn the_examples_of_the_guide_obey_the_schema_but_for_those_that_it_calls_wrong() {
    let schema = Validator::new(true);
    let root = std::path::PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let mut refused = Vec::new();
    for entry in std::fs::read_dir(root.join("tests/guide")).unwrap() {
        let path = entry.unwrap().path();
        if !schema.accepts(&std::fs::read_to_string(&path).unwrap()) {
            refused.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
        }
    }
    refused.sort();
    assert_eq!(refused, ["09-open-binding-bad", "10-no-authentication-bad"]);
}

#[test]
fn the_schema_is_small_enough_to_read_and_says_what_each_key_does() {
    let document = schema::json_schema();
    let text = serde_json::to_string_pretty(&document).unwrap();
    assert!(text.len() < 400_000, "{}", text.len());
    let port = &document["properties"]["gateway"]["properties"]["port"];
    assert_eq!(port["default"], 18789);
    assert_eq!(port["description"], "TCP port of HTTP and WebSocket.");
    assert!(text.contains("Not active yet: "));
    assert!(text.contains("\"writeOnly\": true"));
}
