//! Edits by hand: what a person sees in the file afterwards. Thousands of others are in `tests/edits.rs`.

use super::*;

fn changed(text: &str, path: &str, value: &str) -> String {
    set("c.json", text, &path.into(), value).unwrap_or_else(|error| match error {
        EditError::Refused(error) => panic!("{}", error.render(false)),
        error => panic!("{error}"),
    })
}

fn without(text: &str, path: &str) -> String {
    unset("c.json", text, &path.into()).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(text: &str, path: &str, value: &str) -> String {
    let path: ConfigPath = path.parse().unwrap();
    set("c.json", text, &path, value).unwrap_err().to_string()
}

const FILE: &str = "\
// My configuration
{
  gateway: {
    port: 18789, // the usual one
    // bind: 'loopback',
  },
  /* channels */ channels: {
    telegram: { botToken: '${TELEGRAM_BOT_TOKEN}', allowFrom: [1, 2] },
  }, // and that is all
}
";

#[test]
fn a_value_is_replaced_where_it_stands() {
    assert_eq!(
        changed(FILE, "gateway.port", "4000"),
        FILE.replace("18789", "4000")
    );
    assert_eq!(
        changed(FILE, "channels.telegram.allowFrom[1]", "3"),
        FILE.replace("[1, 2]", "[1, 3]")
    );
    assert_eq!(
        changed(
            FILE,
            "channels.telegram.allowFrom",
            "[0, 1, 2, '@somebody']"
        ),
        FILE.replace("[1, 2]", "[0, 1, 2, '@somebody']")
    );
}

#[test]
fn what_is_new_goes_to_the_end_of_the_nearest_object_with_its_indentation_and_quotes() {
    assert_eq!(
        changed(FILE, "gateway.bind", "\"loopback\""),
        FILE.replace("'loopback',\n", "'loopback',\n    bind: 'loopback',\n")
    );
    assert_eq!(
        changed(FILE, "channels.telegram.dmPolicy", "\"pairing\""),
        FILE.replace("[1, 2] }", "[1, 2], dmPolicy: 'pairing' }")
    );
    assert_eq!(
        changed(FILE, "gateway.auth.rateLimit.maxAttempts", "5"),
        FILE.replace(
            "'loopback',\n",
            "'loopback',\n    auth: { rateLimit: { maxAttempts: 5 } },\n"
        )
    );
    assert_eq!(
        changed(FILE, "logging.level", "'debug'"),
        FILE.replace(
            "that is all\n",
            "that is all\n  logging: { level: 'debug' },\n"
        )
    );
}

#[test]
fn a_new_file_a_file_of_plain_json_and_one_with_other_line_ends_stay_what_they_are() {
    assert_eq!(
        changed("", "gateway.port", "4000"),
        "{\n  gateway: { port: 4000 },\n}\n"
    );
    let json = "{\r\n\t\"gateway\": {\r\n\t\t\"port\": 1\r\n\t}\r\n}\r\n";
    assert_eq!(
        changed(json, "gateway.bind", "'loopback'"),
        json.replace("1\r\n", "1,\r\n\t\t\"bind\": \"loopback\"\r\n")
    );
    let both = changed(json, "logging", "{level: 'info'}");
    assert_eq!(
        both,
        json.replace(
            "\t}\r\n}",
            "\t},\r\n\t\"logging\": { \"level\": \"info\" }\r\n}"
        )
    );
    assert_eq!(without(&both, "logging"), json);
    assert_eq!(
        changed("{}", "gateway.port", "2"),
        "{\n  gateway: { port: 2 },\n}"
    );
    assert_eq!(
        changed("{gateway: {}}", "gateway.port", "2"),
        "{gateway: { port: 2 }}"
    );
}

#[test]
fn what_does_not_fit_in_a_line_is_written_in_several() {
    let people: Vec<_> = (0..12).map(|n| format!("{}", 100_000_000 + n)).collect();
    let value = format!("{{allowFrom: [{}]}}", people.join(", "));
    let text = changed("{}\n", "channels.telegram", &value);
    assert_eq!(
        text,
        format!(
            "{{\n  channels: {{\n    telegram: {{\n      allowFrom: [\n        {},\n      ],\n    }},\n  }},\n}}\n",
            people.join(",\n        ")
        )
    );
}

#[test]
fn what_is_removed_takes_its_comma_and_its_line_along_and_no_comment() {
    assert_eq!(
        without(FILE, "gateway.port"),
        FILE.replace("port: 18789, // the", "// the")
    );
    assert_eq!(
        without(FILE, "channels"),
        "// My configuration\n{\n  gateway: {\n    port: 18789, // the usual one\n    // bind: 'loopback',\n  },\n  /* channels */ // and that is all\n}\n"
    );
    for (text, path, left) in [
        (
            "{gateway: {port: 1, bind: 'loopback'}}",
            "gateway.port",
            "{gateway: { bind: 'loopback'}}",
        ),
        (
            "{gateway: {port: 1, bind: 'loopback'}}",
            "gateway.bind",
            "{gateway: {port: 1}}",
        ),
        (
            "{ gateway: { port: 1 } }",
            "gateway.port",
            "{ gateway: {} }",
        ),
        ("{\n  gateway: {\n    port: 1,\n  },\n}", "gateway", "{}"),
        (
            "{\n  gateway: {},\n  logging: {}\n}",
            "logging",
            "{\n  gateway: {}\n}",
        ),
        (
            "{channels: {telegram: {allowFrom: [1,2,3]}}}",
            "channels.telegram.allowFrom[1]",
            "{channels: {telegram: {allowFrom: [1,3]}}}",
        ),
    ] {
        assert_eq!(without(text, path), left);
    }
    assert_eq!(without(FILE, "logging.level"), FILE, "it is not set");
}

#[test]
fn the_spelling_of_the_file_is_edited_whichever_is_asked_for() {
    let old = "{agent: {model: 'a/b'}, channels: {signal: {dm: {policy: 'pairing'}}}}";
    assert_eq!(
        changed(old, "agents.defaults.model.primary", "'c/d'"),
        old.replace("a/b", "c/d")
    );
    assert_eq!(
        changed(old, "agents.defaults.model.fallbacks", "['c/d']"),
        old.replace("'a/b'", "{ primary: 'a/b', fallbacks: ['c/d'] }")
    );
    for path in ["channels.signal.dmPolicy", "channels.signal.dm.policy"] {
        assert_eq!(
            changed(old, path, "'allowlist'"),
            old.replace("pairing", "allowlist")
        );
        assert!(without(old, path).contains("signal: {dm: {}}"));
    }
    assert_eq!(
        changed(old, "agents.defaults.timeoutSeconds", "60"),
        old.replace("'a/b'", "'a/b', timeoutSeconds: 60")
    );
    assert!(without(old, "agents.defaults.model.primary").starts_with("{agent: {}"));
    let both = "{channels: {signal: {dm: {policy: 'pairing'}, dmPolicy: 'pairing'}}}";
    assert_eq!(
        changed(both, "channels.signal.dmPolicy", "'allowlist'"),
        both.replace("pairing", "allowlist")
    );
    // Where nothing is there yet it is the canonical one.
    assert!(changed("{}", "agent.timeoutSeconds", "60").contains("agents: { defaults:"));
}

#[test]
fn a_second_run_changes_nothing() {
    for (path, value) in [
        ("gateway.port", "4000"),
        (
            "channels.telegram.accounts.work",
            "{allowFrom: [9007199254740993]}",
        ),
        ("agents.list[0]", "{id: 'main', model: 'a/b'}"),
    ] {
        let once = changed(FILE, path, value);
        assert_ne!(once, FILE);
        assert_eq!(changed(&once, path, value), once);
        let gone = without(&once, path);
        assert_eq!(without(&gone, path), gone);
    }
    // Two ids that are the same double are not the same id.
    let ids = |id: &str| format!("{{channels: {{telegram: {{allowFrom: [{id}]}}}}}}");
    assert_eq!(
        changed(
            &ids("9007199254740993"),
            "channels.telegram.allowFrom[0]",
            "9007199254740992"
        ),
        ids("9007199254740992")
    );
}

#[test]
fn an_object_is_changed_member_by_member_so_that_its_comments_stay() {
    let text =
        "{\n  gateway: {\n    // why\n    port: 1, // one\n    bind: 'loopback', // two\n  },\n}\n";
    assert_eq!(
        changed(text, "gateway", "{port: 2, reload: {mode: 'hot'}}"),
        "{\n  gateway: {\n    // why\n    port: 2, // one\n    // two\n    reload: { mode: 'hot' },\n  },\n}\n"
    );
}

#[test]
fn a_change_that_does_not_load_is_refused_with_the_place() {
    for (path, value, said) in [
        (
            "gateway.port",
            "70000",
            "c.json:4:11: gateway.port must be an integer from 1 to 65535",
        ),
        ("gateway.port", "NaN", "must be an integer"),
        ("gateway.bind", "'all'", "must not be \"all\""),
        ("gateway.bind", "nonsense", "the value is not JSON5"),
        ("gateway", "{port: 1, port: 2}", "set twice"),
        ("gateway.prot", "1", "did you mean gateway.port?"),
        ("port", "1", "there is no setting port"),
        (
            "channels.telegram.allowFrom[5]",
            "1",
            "has 2 entries; a new one is channels.telegram.allowFrom[2]",
        ),
        (
            "agents.list[1].id",
            "'x'",
            "has 0 entries; a new one is agents.list[0]",
        ),
        ("gateway.port.x", "1", "there is no setting gateway.port.x"),
    ] {
        let error = refusal(FILE, path, value);
        assert!(error.contains(said), "{path}: {error}");
    }
    assert!(
        refusal(
            "{gateway: {auth: {rateLimit: false}}}",
            "gateway.auth.rateLimit.maxAttempts",
            "1"
        )
        .contains("as a whole")
    );
    assert!(refusal("{gateway: ", "gateway.port", "1").starts_with("c.json:1:"));
    assert!(matches!(
        unset("c", FILE, &"gateway.prot".into()),
        Err(EditError::Place(_))
    ));
    // A key that the schema does not know is removed, which is the remedy.
    assert_eq!(
        without("{gateway: {prot: 1, port: 2}}", "gateway.prot"),
        "{gateway: { port: 2}}"
    );
    let twice = "{gateway: {port: 1, port: 2, bind: 'loopback'}}";
    assert_eq!(
        without(twice, "gateway.port"),
        "{gateway: { bind: 'loopback'}}"
    );
}

#[test]
fn a_secret_is_refused_as_an_argument_and_a_reference_to_one_is_not() {
    let literal = "'0123456789abcdef0123456789abcdef'";
    for (path, value) in [
        ("gateway.auth.token", literal.to_owned()),
        ("gateway", format!("{{auth: {{token: {literal}}}}}")),
    ] {
        let error = set("c", "{}", &path.into(), &value).unwrap_err();
        assert!(
            matches!(&error, EditError::Secret(path) if path.to_string() == "gateway.auth.token"),
            "{error}"
        );
        assert!(!error.to_string().contains("0123"));
    }
    changed("{}", "gateway.auth.token", "'${TOKEN}'");
    changed("{}", "gateway.auth.token", "{source: 'file', id: 'token'}");
    // One that is there already is no reason to refuse another change.
    let text = format!("{{gateway: {{auth: {{token: {literal}}}}}}}");
    changed(&text, "gateway.port", "2");
}

#[test]
fn what_a_person_types_without_quotes_is_a_text_where_it_can_be_nothing_else() {
    for (path, text, string, meant) in [
        ("gateway.bind", "lan", false, "\"lan\""),
        ("gateway.bind", "'loopback'", false, "'loopback'"),
        ("gateway.port", "4000", false, "4000"),
        ("gateway.port", "many", false, "many"),
        ("gateway.port", "4000", true, "\"4000\""),
        ("agents.list", "[{id: 'x'", false, "[{id: 'x'"),
        ("agents.defaults.model", "a/b", false, "\"a/b\""),
        ("agent.model", "a/b", false, "\"a/b\""),
        ("gateway.auth.token", "${TOKEN}", false, "\"${TOKEN}\""),
        (
            "gateway.bind",
            "a\"\u{202e}\u{1f600}",
            true,
            "\"a\\\"\\u202e\u{1f600}\"",
        ),
    ] {
        assert_eq!(typed(&path.into(), text, string), meant, "{path} {text}");
    }
}

#[test]
fn every_key_of_the_schema_can_be_set_and_unset() {
    let read = |text: &str| {
        let parsed = json5::parse(text).unwrap_or_else(|error| panic!("{text}: {}", error.message));
        Settings::decode(parsed.root, &mut Cx::default())
    };
    for row in schema::rows() {
        let path = &row.sample;
        let alone = path.segments().iter().rev();
        let alone = alone.fold(row.info.example.clone(), |inner, segment| match segment {
            Segment::Key(key) => format!("{{{key:?}: {inner}}}"),
            Segment::Index(_) => format!("[{inner}]"),
        });
        // The rules have a say about the whole file, not about the edit.
        let text = set_unchecked("c", "// first\n", path, &row.info.example);
        assert!(text.is_err(), "a comment is no file");
        let text = set_unchecked("c", FILE, path, &row.info.example).unwrap();
        for comment in [
            "// My configuration",
            "// the usual one",
            "/* channels */",
            "// and that is all",
        ] {
            assert!(
                text.contains(comment) || FILE_KEYS.contains(&row.shown.as_str()),
                "{path}: {text}"
            );
        }
        assert_eq!(
            set_unchecked("c", &text, path, &row.info.example).unwrap(),
            text,
            "{path}"
        );
        let new = set_unchecked("c", "", path, &row.info.example).unwrap();
        assert_eq!(read(&new), read(&alone), "{path}: {new}");
        let gone = unset_unchecked("c", &text, path).unwrap().unwrap();
        let (depth, _) = locate(&json5::parse(&gone).ok().unwrap().root, path.segments());
        assert!(depth < path.segments().len(), "{path}: {gone}");
        assert_eq!(unset_unchecked("c", &gone, path).unwrap(), None, "{path}");
    }
}

/// Objects that [`FILE`] has with comments in them, which go when the object is set as a whole.
const FILE_KEYS: &[&str] = &["gateway", "gateway.port"];
