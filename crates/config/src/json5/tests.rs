use super::*;

fn text(problem: &Problem) -> String {
    format!(
        "{}..{} {}",
        problem.span.start, problem.span.end, problem.message
    )
}

fn refused(source: &str) -> String {
    match parse(source) {
        Ok(_) => "accepted".to_owned(),
        Err(problem) => text(&problem),
    }
}

/// The value as the oracle would have it; integers and floats are one kind of number there.
fn plain(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number { float, .. } => (*float).into(),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(object) => {
            let members = object
                .0
                .iter()
                .map(|member| (member.key.clone(), plain(&member.node)));
            serde_json::Value::Object(members.collect())
        }
    }
}

fn floats(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value as Json;
    match value {
        Json::Number(number) => number.as_f64().into(),
        Json::Array(items) => items.into_iter().map(floats).collect(),
        Json::Object(members) => Json::Object(
            members
                .into_iter()
                .map(|(key, value)| (key, floats(value)))
                .collect(),
        ),
        other => other,
    }
}

fn agrees(source: &str) {
    let ours = parse(source);
    let oracle = ::json5::from_str::<serde_json::Value>(source);
    match (ours, oracle) {
        (Ok(ours), Ok(oracle)) => assert_eq!(plain(&ours.root), floats(oracle), "{source:?}"),
        (Err(_), Err(_)) => {}
        (ours, oracle) => panic!(
            "{source:?}: ours {:?}, oracle {oracle:?}",
            ours.map(|ours| plain(&ours.root))
                .map_err(|problem| text(&problem))
        ),
    }
}

#[test]
fn the_json5_crate_agrees_on_every_corner_of_the_grammar() {
    let values = [
        "null",
        "true",
        "false",
        "NaN",
        "+NaN",
        "Infinity",
        "-Infinity",
        "0",
        "-0",
        "+1",
        "1.5",
        ".5",
        "5.",
        "-.5",
        "1e3",
        "1E+3",
        "1e-3",
        "0x1F",
        "0XfF",
        "-0x10",
        "0xCCCCCCCCCCCC2484",
        "0x20000000000001",
        "0xffffffffffffffffff",
        "9007199254740993",
        "1e400",
        "''",
        "\"\"",
        "'a\"b'",
        "\"a'b\"",
        "'\\b\\f\\n\\r\\t\\v\\0\\'\\\"\\\\\\/\\a'",
        "'\\x41\\u00e9\\uD83D\\uDE00'",
        "'a\\\nb'",
        "'a\\\r\nb'",
        "'a\\\u{2028}b'",
        "'\u{2028}'",
        "'\t'",
        "[]",
        "[1,]",
        "[1,2,[3]]",
        "{}",
        "{a:1,}",
        "{'a b':1, \"c\":2, $d_1:3, \u{e4}:4, \\u0061b:5}",
        "/* c */ 1 // d",
        "// c\n1",
        "\u{feff}1",
        "\u{a0}\u{2003}\u{3000}1",
        "{a:{b:[{c:null}]}}",
        "[/**/]",
        "{null:1,true:2,NaN:3}",
        // What has to be refused.
        "",
        " ",
        "// only",
        "1 2",
        "{",
        "[",
        "{a}",
        "{a:}",
        "{a:1 b:2}",
        "{,}",
        "[,]",
        "[1,,2]",
        "{a:1,,}",
        "'",
        "'a",
        "'a\nb'",
        "\"a\rb\"",
        "'\\1'",
        "'\\01'",
        "'\\x4'",
        "'\\u12'",
        "'\\ud800'",
        "'\\ud800\\u0041'",
        "'\\udc00'",
        "01",
        "-01",
        "00",
        "1.e",
        "1e",
        "1e+",
        ".",
        "-",
        "+",
        "--1",
        "0x",
        "0xg",
        "1a",
        "1_000",
        "0x1.5",
        "1.2.3",
        "nul",
        "undefined",
        "Nan",
        "infinity",
        "{1:2}",
        "{a-b:1}",
        "{:1}",
        "/* open",
        "/",
        "{a:1}}",
        "]",
        "}",
        "'a' 'b'",
        "- 1",
        "\\u0061",
        "{\\u0031a:1}",
    ];
    for value in values {
        agrees(value);
        agrees(&format!("[{value}]"));
        agrees(&format!("{{x: {value}}}"));
        agrees(&format!(" /*c*/\n{value}\r\n//e"));
    }
}

/// A small generator with a fixed seed: values in random spelling, one in three with a random slip.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn blank(&mut self) -> &'static str {
        self.pick(&[
            "", "", " ", "\n", "\t", "/* x */", "// y\n", "\r\n", "\u{a0}",
        ])
    }

    fn value(&mut self, depth: usize, out: &mut String) {
        out.push_str(self.blank());
        match self.below(if depth == 0 { 3 } else { 5 }) {
            0 => out.push_str(self.pick(&[
                "null",
                "true",
                "false",
                "Infinity",
                "-Infinity",
                "'x'",
                "\"\\u0041\"",
                "'\\\n'",
            ])),
            1 => out.push_str(self.pick(&[
                "0",
                "12",
                "-3",
                "+4.5",
                ".25",
                "6.",
                "7e2",
                "8E-1",
                "0xAB",
                "-0x0f",
                "123456789012345678",
            ])),
            2 => {
                let quote = self.pick(&["'", "\""]);
                out.push_str(quote);
                for _ in 0..self.below(6) {
                    out.push_str(self.pick(&[
                        "a",
                        "ß",
                        "\u{1F600}",
                        "\\n",
                        "\\t",
                        "\\\\",
                        "\\x7e",
                        "\\u20ac",
                        "\\'",
                        "\\\"",
                        "\\q",
                        "\\0",
                        " ",
                    ]));
                }
                out.push_str(quote);
            }
            3 => self.list('[', ']', depth, out),
            _ => self.list('{', '}', depth, out),
        }
        out.push_str(self.blank());
    }

    fn list(&mut self, open: char, close: char, depth: usize, out: &mut String) {
        out.push(open);
        let count = self.below(4);
        for index in 0..count {
            out.push_str(self.blank());
            if open == '{' {
                // Distinct keys: the oracle keeps the last of equal ones, we report them.
                let key = self.pick(&["k", "'k", "\"k", "$k", "_k", "k\\u0061"]);
                let quote = key
                    .chars()
                    .next()
                    .filter(|c| matches!(c, '\'' | '"'))
                    .map_or(String::new(), String::from);
                out.push_str(&format!("{key}{index}{quote}{}:", self.blank()));
            }
            self.value(depth - 1, out);
            if index + 1 < count || self.below(3) == 0 {
                out.push(',');
            }
        }
        out.push_str(self.blank());
        out.push(close);
    }
}

#[test]
fn the_json5_crate_agrees_on_random_documents_and_random_slips() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut accepted = 0;
    for round in 0..6000 {
        let mut source = String::new();
        random.value(4, &mut source);
        if round % 3 == 0 && !source.is_empty() {
            let places: Vec<usize> = source.char_indices().map(|(at, _)| at).collect();
            let at = places[random.below(places.len())];
            match random.below(3) {
                0 => drop(source.remove(at)),
                1 => source.insert_str(
                    at,
                    random.pick(&[",", ":", "}", "]", "{", "'", "\"", "\\", "0", "-", "e", "x"]),
                ),
                _ => source.truncate(at),
            }
        }
        // A slip can make two keys equal, which is ours to report.
        match parse(&source) {
            Ok(parsed) if !parsed.duplicates.is_empty() => continue,
            Ok(_) => accepted += 1,
            Err(_) => {}
        }
        agrees(&source);
    }
    assert!(accepted > 3000, "{accepted}");
}

#[test]
fn every_value_and_key_keeps_its_place() {
    let source = "{ab: [1, 'x'], \"c\": {d: true}}";
    let Value::Object(root) = parse(source).ok().unwrap().root.value else {
        panic!("no object");
    };
    let part = |span: Span| &source[span.start..span.end];
    assert_eq!(part(root.0[0].key_span), "ab");
    assert_eq!(part(root.0[0].node.span), "[1, 'x']");
    assert_eq!(part(root.0[1].key_span), "\"c\"");
    assert_eq!(part(root.0[1].node.span), "{d: true}");
    let Value::Array(items) = &root.0[0].node.value else {
        panic!("no array");
    };
    assert_eq!(part(items[1].span), "'x'");
}

#[test]
fn integers_stay_exact_where_a_double_is_not() {
    for (source, wanted) in [
        ("1234567890123456789", Some(1_234_567_890_123_456_789)),
        ("-1001234567890123", Some(-1_001_234_567_890_123)),
        ("0x10", Some(16)),
        ("1e3", Some(1000)),
        ("18789.0", Some(18789)),
        ("1.5", None),
        ("1e300", None),
        ("NaN", None),
    ] {
        let Value::Number { integer, .. } = parse(source).ok().unwrap().root.value else {
            panic!("no number");
        };
        assert_eq!(integer, wanted, "{source}");
    }
}

#[test]
fn mistakes_name_their_place() {
    for (source, wanted) in [
        ("{a: 1\n b: 2}", "7..8 expected `,` or `}`, found `b`"),
        ("{a: }", "4..5 expected a value, found `}`"),
        ("{a 1}", "3..4 expected `:` after the key, found `1`"),
        ("{a: yes}", "4..7 this word is not a value"),
        ("{a: 'x}", "4..7 this string is never closed"),
        ("{a: 012}", "4..7 a number must not start with 0"),
        ("{a: 12x}", "4..7 this is not a number"),
        ("{a: '\\1'}", "5..7 this escape does not exist in JSON5"),
        ("{a: 1} x", "7..8 expected the end of the file, found `x`"),
        (
            "{a: [1",
            "6..6 expected `,` or `]`, found the end of the file",
        ),
        ("/* x", "0..2 this comment is never closed"),
        (
            "{\u{202e}a: 1}",
            "1..4 expected a key or `}`, found `\\u{202e}`",
        ),
    ] {
        assert_eq!(refused(source), wanted, "{source}");
    }
}

#[test]
fn an_open_bracket_is_pointed_at() {
    let problem = parse("{a: [1, {b: 2}").err().unwrap();
    let (span, text) = *problem.note.unwrap();
    assert_eq!((span.start, text), (4, "this bracket is never closed"));
}

#[test]
fn sixty_four_levels_load_and_one_more_is_refused() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(refused(&nested(MAX_DEPTH)), "accepted");
    assert_eq!(
        refused(&nested(MAX_DEPTH + 1)),
        "64..65 nested deeper than 64 levels"
    );
    // Five thousand objects end at the same place, without recursion into them.
    assert!(refused(&"{a:".repeat(5000)).ends_with("nested deeper than 64 levels"));
}

#[test]
fn a_key_that_is_set_twice_names_both_places_and_the_first_counts() {
    let source = "{a: 1, 'b': 2, \"a\": 3, \\u0061: 4}";
    let parsed = parse(source).ok().unwrap();
    assert_eq!(plain(&parsed.root), serde_json::json!({"a": 1.0, "b": 2.0}));
    let places: Vec<_> = parsed
        .duplicates
        .iter()
        .map(|problem| (problem.span.start, problem.note.as_ref().unwrap().0.start))
        .collect();
    assert_eq!(places, [(15, 1), (23, 1)]);
}
