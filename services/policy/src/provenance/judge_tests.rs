use clawdbot_proto::v1::ArgumentFact;
use serde_json::json;

use super::*;

fn facts(effect: Effect, arguments: &[(&str, ArgumentKind, &str)]) -> ToolFacts {
    let arguments = arguments.iter().map(|(name, kind, of)| ArgumentFact {
        name: (*name).into(),
        kind: (*kind).into(),
        r#type: (*of).into(),
    });
    ToolFacts {
        effect: effect.into(),
        groups: Vec::new(),
        arguments: arguments.collect(),
    }
}

fn send() -> ToolFacts {
    facts(
        Effect::Egress,
        &[
            ("to", ArgumentKind::Recipient, ""),
            ("body", ArgumentKind::Content, ""),
            ("when", ArgumentKind::Free, ""),
            ("attachments", ArgumentKind::Id, "file"),
            ("attachments.type", ArgumentKind::Free, ""),
            ("attachments.file_id", ArgumentKind::Id, "file"),
        ],
    )
}

fn one(effect: Effect, kind: ArgumentKind) -> ToolFacts {
    facts(effect, &[("x", kind, "")])
}

const TAINTED: Flags = Flags {
    tainted: true,
    astray: false,
};

fn ask(text: &str, flags: Flags, facts: &ToolFacts, arguments: Value) -> Vec<String> {
    let mut words = Words::default();
    words.add(text);
    let Value::Object(arguments) = arguments else {
        panic!("{arguments}");
    };
    reasons(&words, &Entries::default(), flags, facts, &arguments)
}

#[test]
fn every_row_of_the_decision_table() {
    let mine = json!({"x": "a@b.com"});
    let other = json!({"x": "eve@b.com"});
    for (effect, clean, named, unnamed) in [
        (Effect::Read, "", "", ""),
        (Effect::Confined, "", "", ""),
        (Effect::Write, "", "", "you did not name eve@b.com"),
        (Effect::Egress, "", "", "you did not name eve@b.com"),
        (Effect::Unspecified, "", "", "you did not name eve@b.com"),
        (
            Effect::Destroy,
            "",
            "it cannot be undone",
            "you did not name eve@b.com; it cannot be undone",
        ),
    ] {
        let facts = one(effect, ArgumentKind::Recipient);
        let asked = |flags, arguments: &Value| {
            ask("it is for a@b.com", flags, &facts, arguments.clone()).join("; ")
        };
        assert_eq!(asked(Flags::default(), &other), clean, "{effect:?}");
        assert_eq!(asked(TAINTED, &mine), named, "{effect:?}");
        assert_eq!(asked(TAINTED, &other), unnamed, "{effect:?}");
    }
}

#[test]
fn each_kind_of_argument_has_its_own_way_to_be_the_owners() {
    use ArgumentKind as K;
    let text = "On June 13 send 50 to Alice and 'read-1'. Look at https://www.site.com/a?b=c, site.org; set it to s3cret, call it meeting notes. ID 12345678";
    for (kind, value, fine) in [
        (K::Recipient, json!("Alice"), true),
        (K::Recipient, json!("read-1"), true),
        (K::Recipient, json!("On"), false),
        (K::Recipient, json!("notes"), false),
        (K::Recipient, json!(["Alice", "Eve"]), false),
        (K::Recipient, json!({"Eve": true}), false),
        (K::Id, json!("13"), false),
        (K::Id, json!(13), false),
        (K::Id, json!("12345678"), true),
        (K::Url, json!("https://www.site.com/a?b=c"), true),
        (K::Url, json!("https://www.site.com/a"), true),
        (K::Url, json!("site.org/page"), true),
        (K::Url, json!("https://www.site.com/a?b=d"), false),
        (K::Url, json!("https://www.site.com@evil.com/"), false),
        (K::Url, json!("https://evil.com\\@www.site.com/"), false),
        (K::Url, json!("https://www.site.com.evil.com/"), false),
        (K::Url, json!("https://site.com/"), false),
        (
            K::Url,
            json!(format!("https://www.site.com/{}", "x".repeat(64))),
            false,
        ),
        (K::Url, json!("javascript:alert(1)"), false),
        (K::Path, json!("meeting-notes.txt"), true),
        (K::Path, json!("../meeting-notes.txt"), false),
        (K::Path, json!("other notes"), false),
        (K::Value, json!("s3cret"), true),
        (K::Value, json!("read-1"), true),
        (K::Value, json!("meeting"), false),
        (K::Value, json!("s4cret"), false),
        (K::Amount, json!(50), true),
        (K::Amount, json!("50.00"), true),
        (K::Amount, json!(51), false),
        (K::Amount, json!("much"), false),
        (K::Free, json!("whatever"), true),
        (K::Content, json!("whatever"), true),
        (K::Command, json!(["ls"]), false),
        (K::Unspecified, json!("Eve"), false),
        (K::Unspecified, json!("Alice"), true),
        (K::Recipient, Value::Null, true),
    ] {
        let found = ask(
            text,
            TAINTED,
            &one(Effect::Write, kind),
            json!({"x": value}),
        );
        assert_eq!(found.is_empty(), fine, "{kind:?} {value}: {found:?}");
    }
}

#[test]
fn an_argument_that_nobody_described_is_a_recipient() {
    let asked = |arguments| ask("send it to Alice", TAINTED, &send(), arguments);
    assert!(asked(json!({"to": "Alice", "body": "hi", "when": "x"})).is_empty());
    for arguments in [
        json!({"bcc": "Eve"}),
        json!({"attachments.type": "Eve"}),
        json!({"attachments": [{"type": "x", "file_id": "13"}]}),
        json!({"attachments": [{"secret": true}]}),
    ] {
        assert_eq!(asked(arguments.clone()).len(), 1, "{arguments}");
    }
    assert!(asked(json!({"attachments": [{"type": "x"}]})).is_empty());
}

#[test]
fn a_link_in_content_needs_a_host_of_the_owners() {
    let asked = |effect, body: &str| {
        let facts = one(effect, ArgumentKind::Content);
        ask(
            "send site.com to all",
            TAINTED,
            &facts,
            json!({"x": [body]}),
        )
        .join("; ")
    };
    for effect in [Effect::Write, Effect::Egress] {
        assert_eq!(asked(effect, "look at https://site.com/x"), "");
        assert_eq!(
            asked(effect, "look at evil.com, https://evil.com/x"),
            "the link to evil.com is not from you"
        );
    }
}

#[test]
fn after_straying_only_dictated_content_leaves() {
    let asked = |flags, effect, body: &str| {
        let facts = one(effect, ArgumentKind::Content);
        !ask("say that it is late", flags, &facts, json!({"x": body})).is_empty()
    };
    assert!(!asked(TAINTED, Effect::Egress, "c2VjcmV0"));
    assert!(asked(Flags::BOTH, Effect::Egress, "c2VjcmV0"));
    assert!(!asked(Flags::BOTH, Effect::Egress, "It is late!"));
    assert!(
        !asked(Flags::BOTH, Effect::Write, "c2VjcmV0"),
        "it stays with the owner"
    );
}

#[test]
fn a_question_is_bounded_and_shows_no_controls() {
    let many: Vec<_> = (0..1000).map(|n| format!("eve{n}@b.com")).collect();
    let found = ask("x", TAINTED, &send(), json!({"to": many}));
    assert_eq!(found, ["it names more than 256 things"]);
    let few: Vec<_> = (0..100)
        .map(|n| format!("eve{n}\u{202e}@b.com{}", "x".repeat(200)))
        .collect();
    let found = ask("x", TAINTED, &send(), json!({"to": few}));
    assert_eq!(found.len(), MAX_REASONS);
    assert!(
        found
            .iter()
            .all(|reason| reason.chars().count() < 120 && !reason.contains('\u{202e}'))
    );
}

#[test]
fn a_read_is_pointed_at_when_all_it_was_given_is_named() {
    let mut words = Words::default();
    words.add("what is in meeting notes of 2024-05-15");
    let is = |value: Value| pointed(&words, value.as_object().unwrap());
    assert!(is(
        json!({"file": "meeting-notes.txt", "day": "2024-05-15", "all": true})
    ));
    assert!(!is(json!({})) && !is(json!({"all": true})));
    assert!(!is(
        json!({"file": "meeting-notes.txt", "other": "secrets.txt"})
    ));
}
