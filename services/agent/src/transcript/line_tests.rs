//! What stands on disk and comes back from it.

use super::super::entry::Change;
use super::*;

fn entry(item: Item, turn: Option<&str>) -> Entry {
    Entry {
        id: "aaaa0001".into(),
        parent: Some("aaaa0000".into()),
        at_ms: 1_769_500_000_123,
        origin: Origin::Owner,
        turn: turn.map(|t| TurnId::parse(t).unwrap()),
        item,
    }
}

fn used() -> v1::Usage {
    v1::Usage {
        input_tokens: 30,
        output_tokens: 4,
        cache_read_tokens: 20,
        cache_write_tokens: 5,
        cost_microusd: Some(7),
    }
}

fn said(text: &str, end: End, answer: Option<&str>) -> Assistant {
    let answer = answer.map(|answer| v1::Answer {
        text: answer.into(),
        model: "ollama/org/m:1".into(),
        usage: Some(used()),
        cut: end == End::Length,
        absorbed: vec!["m1".into()],
        reply_to: "current".into(),
        silent: answer.is_empty(),
    });
    Assistant {
        text: text.into(),
        calls: Vec::new(),
        model: "ollama/org/m:1".into(),
        usage: used(),
        end,
        replay: None,
        answer,
    }
}

#[test]
fn every_kind_of_entry_comes_back_as_it_was_written() {
    let call = v1::ToolCall {
        id: "c1".into(),
        name: "session_status".into(),
        arguments_json: r#"{"a":[1,"ü"]}"#.into(),
    };
    let mut calling = said("let me look", End::ToolUse, None);
    calling.calls.push(call);
    calling.replay = Some(v1::Replay {
        origin: "ollama/org/m:1 x".into(),
        content: "{\"b\":1, \"a\" : \"ü\"}".into(),
    });
    let stopped = Failure::new(Failure::STOPPED, "stopped");
    let timeout = Failure::new(Failure::TIMEOUT, "too slow");
    for (item, turn) in [
        (
            Item::User {
                text: "a\u{202e}\n\"ü\u{0}".into(),
                message: None,
            },
            Some("t1"),
        ),
        (
            Item::User {
                text: "wait".into(),
                message: Some("m1".into()),
            },
            None,
        ),
        (
            Item::Compaction(Compaction {
                summary: "so far".into(),
                first_kept: "aaaa0000".into(),
                tokens_before: 9,
                origins: [Origin::Owner, Origin::Web].into(),
                usage: used(),
            }),
            None,
        ),
        (
            Item::Assistant(said("NO_REPLY", End::Stop, Some(""))),
            Some("t1"),
        ),
        (
            Item::Assistant(said("hi", End::Stop, Some("hi"))),
            Some("t1"),
        ),
        (
            Item::Assistant(said("b", End::Length, Some("a\n\nb"))),
            Some("t1"),
        ),
        (
            Item::Assistant(said("", End::Failed(stopped), Some(""))),
            Some("t1"),
        ),
        (
            Item::Assistant(said("par", End::Failed(timeout), Some("par"))),
            Some("t1"),
        ),
        (Item::Assistant(calling), None),
        (
            Item::Tool(v1::ToolResult {
                call_id: "c1".into(),
                name: "session_status".into(),
                output: "ok".into(),
                is_error: true,
            }),
            None,
        ),
        (
            Item::Command {
                question: "/model x".into(),
                answer: "set".into(),
                change: Change {
                    model: Some("a/b".into()),
                    thinking: Some("high".into()),
                    ..Change::default()
                },
            },
            Some("t2"),
        ),
    ] {
        let entry = entry(item, turn);
        let line = write(&entry);
        assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1, "one line");
        assert_eq!(read(&line), Some(entry));
    }
}

#[test]
fn the_shape_is_the_originals() {
    let question = Item::User {
        text: "hi".into(),
        message: None,
    };
    let user = write(&entry(question, Some("t1")));
    let json: Value = serde_json::from_slice(&user).unwrap();
    assert_eq!(json["type"], "message");
    assert_eq!(json["parentId"], "aaaa0000");
    assert_eq!(json["timestamp"], "2026-01-27T07:46:40.123Z");
    assert_eq!(json["turnId"], "t1");
    assert_eq!(json["origin"], "owner");
    assert_eq!(json["message"]["role"], "user");
    assert_eq!(json["message"]["content"][0]["text"], "hi");
    assert_eq!(json["message"]["timestamp"], 1_769_500_000_123_u64);
    let answer = write(&entry(
        Item::Assistant(said("x", End::Stop, Some("x"))),
        Some("t1"),
    ));
    let json: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(json["message"]["provider"], "ollama");
    assert_eq!(json["message"]["model"], "org/m:1");
    assert_eq!(json["message"]["stopReason"], "stop");
    let usage = &json["message"]["usage"];
    assert_eq!(
        (&usage["input"], &usage["cacheRead"]),
        (&5.into(), &20.into())
    );
    assert_eq!(usage["totalTokens"], 34);
    assert_eq!(json["outcome"]["answer"], Value::Null, "not said twice");
    assert!(answer.starts_with(br#"{"type":"message","id":"#));
}

#[test]
fn lines_of_the_original_are_read() {
    let read = |line: &str| read(line.as_bytes()).unwrap();
    let entry = read(
        r#"{"type":"message","id":"u1","parentId":null,"timestamp":"2026-01-27T10:00:00Z","message":{"role":"user","content":"hi"}}"#,
    );
    let hi = Item::User {
        text: "hi".into(),
        message: None,
    };
    assert_eq!(entry.item, hi);
    assert_eq!((entry.parent, entry.origin), (None, Origin::Web));
    let entry = read(
        r#"{"type":"message","id":"a1","parentId":"u1","timestamp":"x","message":{"role":"assistant","content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"yes"}],"api":"x","provider":"p","model":"m","usage":{"input":1,"output":2,"cacheRead":0,"cost":{"total":0.1}},"stopReason":"stop"}}"#,
    );
    let Item::Assistant(said) = entry.item else {
        panic!()
    };
    assert_eq!((said.text.as_str(), said.usage.output_tokens), ("yes", 2));
    let entry = read(
        r#"{"type":"compaction","id":"c","parentId":"a1","timestamp":"x","summary":"s","firstKeptEntryId":"u1","tokensBefore":9}"#,
    );
    let Item::Compaction(compaction) = entry.item else {
        panic!()
    };
    assert_eq!(compaction.first_kept, "u1");
    assert_eq!(
        compaction.origins,
        [Origin::Web].into(),
        "nobody vouches for it"
    );
    for other in [
        r#"{"type":"compaction","id":"c","parentId":"a1","timestamp":"x","summary":"s"}"#,
        r#"{"type":"message","id":"b","parentId":"c","message":{"role":"bashExecution","command":"ls"}}"#,
    ] {
        assert_eq!(read(other).item, Item::Other);
    }
    assert_eq!(super::read(b"{\"type\":\"mess"), None);
    assert_eq!(super::read(b"[1]"), None);
}

#[test]
fn a_header_names_its_session_or_is_none() {
    let key = SessionKey::parse("agent:main:main").unwrap();
    let header = Header::new("id-1".into(), &key, "/w".into(), 5);
    assert_eq!(Header::parse(&header.to_line()), Some(header.clone()));
    assert_eq!((header.key(), header.at_ms()), (Some(key), 5));
    for line in [
        r#"{"type":"session","id":"x","timestamp":"t","cwd":"/"}"#,
        r#"{"type":"session","id":"x","timestamp":"t","cwd":"/","sessionKey":"Bad"}"#,
        r#"{"type":"message","id":"x","timestamp":"t","cwd":"/","sessionKey":"agent:main:main"}"#,
        "{",
    ] {
        assert_eq!(Header::parse(line.as_bytes()), None, "{line}");
    }
}

#[test]
fn arguments_are_canonical_and_what_is_no_object_is_kept_as_text() {
    assert_eq!(
        arguments_value(r#"{"b":1,"a":2}"#).to_string(),
        r#"{"a":2,"b":1}"#
    );
    assert_eq!(arguments_value("[").to_string(), r#"{"invalid":"["}"#);
}

#[test]
fn times_beyond_the_notation_do_not_end_the_process() {
    assert_eq!(timestamp(u64::MAX), "9999-12-31T23:59:59.999Z");
    assert_eq!(milliseconds("nonsense"), 0);
}
