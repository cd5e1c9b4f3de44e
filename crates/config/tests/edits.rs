//! Thousands of random files, written in every way that JSON5 allows, with comments wherever one may stand. One change
//! each: the rest means what it meant, no comment is lost, and a second run changes nothing.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

use std::collections::BTreeMap;

use clawdbot_config::{ConfigPath, edit, parse};
use serde_json::{Value, json};

/// Settings that can be combined at will, with two values each.
fn settings() -> Vec<(&'static str, [Value; 2])> {
    vec![
        ("gateway.port", [json!(4000), json!(4001)]),
        ("gateway.mode", [json!("local"), json!("local")]),
        ("gateway.bind", [json!("loopback"), json!("loopback")]),
        ("gateway.reload.mode", [json!("hot"), json!("off")]),
        ("gateway.reload.debounceMs", [json!(1), json!(0)]),
        ("gateway.auth.rateLimit.maxAttempts", [json!(1), json!(2)]),
        (
            "gateway.auth.token",
            [json!("${ONE}"), json!({"source": "file", "id": "x"})],
        ),
        ("logging.level", [json!("debug"), json!("info")]),
        (
            "channels.telegram.allowFrom",
            [json!([1]), json!([1, "22", 3])],
        ),
        ("channels.telegram.historyLimit", [json!(3), json!(4)]),
        ("channels.telegram.botToken", [json!("${T}"), json!("${U}")]),
        (
            "channels.telegram.groups",
            [
                json!({"-1001": {"requireMention": true}}),
                json!({"*": {"requireMention": true}, "-7": {}}),
            ],
        ),
        (
            "channels.signal.dmPolicy",
            [json!("pairing"), json!("disabled")],
        ),
        (
            "agents.defaults.model",
            [
                json!("a/b"),
                json!({"primary": "c/d", "fallbacks": ["e/f"]}),
            ],
        ),
        ("agents.defaults.timeoutSeconds", [json!(5), json!(50)]),
        (
            "agents.list",
            [
                json!([{"id": "main"}]),
                json!([{"id": "x", "name": "it's \"X\""}, {"id": "y"}]),
            ],
        ),
        ("sandbox.require", [json!("full"), json!("available")]),
        ("$schema", [json!("a"), json!("b\n\\\u{202e}")]),
    ]
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.next().is_multiple_of(count)
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.next() as usize % of.len()]
    }
}

/// Writes a tree with all liberties. Comments are numbered; a comment inside a member bears its path.
struct Writer<'a> {
    random: &'a mut Random,
    newline: &'static str,
    json: bool,
    comments: bool,
    multi: bool,
    count: usize,
    text: String,
}

impl Writer<'_> {
    fn blank(&mut self, path: &str) {
        if self.random.one_in(3) {
            let space = *self.random.pick(&[" ", "  ", "\t"]);
            self.text.push_str(space);
        }
        if self.comments && self.random.one_in(4) {
            self.count += 1;
            match self.random.one_in(2) {
                true => self
                    .text
                    .push_str(&format!("/* #{} <{path}> {{,}} */", self.count)),
                false => {
                    let comment = format!("// #{} <{path}> ]'{}", self.count, self.newline);
                    self.text.push_str(&comment);
                }
            }
        }
    }

    fn quoted(&mut self, text: &str) {
        let plain = serde_json::to_string(text).unwrap();
        let single = !self.json && self.random.one_in(2) && !plain.contains(['\'', '\\']);
        match single {
            true => self.text.push_str(&format!("'{text}'")),
            false => self.text.push_str(&plain),
        }
    }

    fn separated(
        &mut self,
        count: usize,
        path: &str,
        depth: usize,
        mut each: impl FnMut(&mut Self, usize),
    ) {
        let lines = self.multi && !self.random.one_in(4);
        let end = |writer: &mut Self, depth: usize| {
            if lines {
                let newline = writer.newline;
                writer.text.push_str(newline);
                writer.text.push_str(&"  ".repeat(depth));
            }
        };
        for index in 0..count {
            end(self, depth + 1);
            self.blank(path);
            each(self, index);
            self.blank(path);
            if index + 1 < count || (!self.json && self.random.one_in(2)) {
                self.text.push(',');
                self.blank(path);
            }
        }
        end(self, depth);
        self.blank(path);
    }

    fn value(&mut self, value: &Value, path: &str, depth: usize) {
        match value {
            Value::String(text) => self.quoted(text),
            Value::Array(items) => {
                self.text.push('[');
                self.separated(items.len(), path, depth, |writer, index| {
                    writer.value(&items[index], path, depth + 1);
                });
                self.text.push(']');
            }
            Value::Object(members) => {
                let members: Vec<_> = members.iter().collect();
                self.text.push('{');
                self.separated(members.len(), path, depth, |writer, index| {
                    let (key, value) = members[index];
                    let below = ConfigPath::join(&path.parse().unwrap(), key).to_string();
                    let bare = key.chars().all(|c| c.is_ascii_alphabetic() || c == '$');
                    match bare && !writer.json && !writer.random.one_in(4) {
                        true => writer.text.push_str(key),
                        false => writer.quoted(key),
                    }
                    writer.blank(&below);
                    writer.text.push(':');
                    writer.blank(&below);
                    writer.value(value, &below, depth + 1);
                });
                self.text.push('}');
            }
            other => self.text.push_str(&other.to_string()),
        }
    }
}

fn put(tree: &mut Value, path: &str, value: Option<Value>) {
    let mut at = tree;
    let (above, last) = path.rsplit_once('.').unwrap_or(("", path));
    for key in above.split('.').filter(|key| !key.is_empty()) {
        if value.is_none() && at.get(key).is_none() {
            return;
        }
        at = at.as_object_mut().unwrap().entry(key).or_insert(json!({}));
    }
    match value {
        Some(value) => at[last] = value,
        None => drop(at.as_object_mut().unwrap().remove(last)),
    }
}

/// The comments by number, with the path of the member that they stand in.
fn comments(text: &str) -> BTreeMap<u32, String> {
    let parts = text.split('#').skip(1);
    parts
        .filter_map(|part| {
            let (number, rest) = part.split_once(" <")?;
            Some((number.parse().ok()?, rest.split_once('>')?.0.to_owned()))
        })
        .collect()
}

#[test]
fn a_change_keeps_everything_else_every_comment_and_the_line_ends() {
    let settings = settings();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for case in 0..2000 {
        let mut tree = json!({});
        for (path, values) in &settings {
            if random.one_in(3) {
                put(&mut tree, path, Some(random.pick(values).clone()));
            }
        }
        let newline = if random.one_in(3) { "\r\n" } else { "\n" };
        let (json, comments_too) = (random.one_in(3), !random.one_in(4));
        let multi = !random.one_in(4);
        let mut writer = Writer {
            random: &mut random,
            newline,
            json,
            comments: comments_too && !json,
            multi,
            count: 0,
            text: String::new(),
        };
        writer.blank("");
        writer.value(&tree, "", 0);
        writer.blank("");
        let before = writer.text;
        assert!(parse("c", before.as_bytes()).is_ok(), "{case}: {before}");
        let oracle: Value = json5::from_str(&before).unwrap();
        assert_eq!(oracle, tree, "{case}: {before}");

        let (path, values) = random.pick(&settings);
        let value = (!random.one_in(2)).then(|| random.pick(values).clone());
        let place: ConfigPath = path.parse().unwrap();
        let change = |text: &str| match &value {
            Some(value) => edit::set("c", text, &place, &value.to_string()),
            None => edit::unset("c", text, &place),
        };
        let after =
            change(&before).unwrap_or_else(|error| panic!("{case} {path}: {error}\n{before}"));
        let mut wanted = tree.clone();
        put(&mut wanted, path, value.clone());
        let shown = || format!("{case}: {path} {value:?}\n{before}\n---\n{after}");
        let found: Value = json5::from_str(&after).unwrap_or_else(|e| panic!("{e} {}", shown()));
        assert_eq!(found, wanted, "{}", shown());
        assert_eq!(change(&after).unwrap(), after, "{}", shown());
        if wanted == tree {
            assert_eq!(after, before, "{}", shown());
        }
        let left = comments(&after);
        for (number, stood_in) in comments(&before) {
            let own = stood_in == *path || stood_in.starts_with(path);
            assert!(own || left.contains_key(&number), "#{number} {}", shown());
        }
        let lone = after.replace("\r\n", "").contains(['\n', '\r']);
        assert!(newline == "\n" || !lone, "{}", shown());
        if json {
            let strict: Result<Value, _> = serde_json::from_str(&after);
            assert_eq!(strict.ok(), Some(wanted), "{}", shown());
        }
    }
}

#[test]
fn arbitrary_text_is_changed_rightly_or_refused_and_never_panics() {
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "gateway",
        "port",
        "'",
        "\"",
        "1",
        "// c\n",
        "/* c */",
        " ",
        "\n",
        "\r",
        "\u{2028}",
        "\u{feff}",
        "agent",
        "model",
        "'a/b'",
        "{gateway: {port: 1}}",
        "/*",
        "\\",
        "é",
        "null",
    ];
    let mut random = Random(7);
    let path: ConfigPath = "gateway.port".parse().unwrap();
    let mut changed = 0;
    for _ in 0..5_000 {
        let count = random.next() % 12;
        let text: String = (0..count).map(|_| *random.pick(&pieces)).collect();
        if let Ok(after) = edit::set("c", &text, &path, "4000") {
            let loaded = parse("c", after.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(loaded.get("gateway.port"), Some(json!(4000)), "{text:?}");
            changed += 1;
        }
        let _refused = edit::unset("c", &text, &path);
        let _shown = edit::diff("c", &text, "{}");
    }
    assert!(changed > 25, "{changed}");
}
