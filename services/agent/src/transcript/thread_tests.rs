//! What a transcript in memory promises.

use clawdbot_identity::SessionKey;

use super::super::entry::{Assistant, Change, Compaction, End, Failure};
use super::*;

pub fn thread() -> Thread {
    let key = SessionKey::parse("agent:main:main").unwrap();
    Thread::new(Header::new("s1".into(), &key, "/w".into(), 1))
}

fn turn(id: &str) -> TurnId {
    TurnId::parse(id).unwrap()
}

pub fn user(text: &str) -> Item {
    Item::User {
        text: text.into(),
        message: None,
    }
}

pub fn usage() -> v1::Usage {
    v1::Usage {
        input_tokens: 2,
        output_tokens: 3,
        ..v1::Usage::default()
    }
}

pub fn said(text: &str, end: End) -> Item {
    Item::Assistant(Assistant {
        text: text.into(),
        calls: Vec::new(),
        model: "builtin/guide".into(),
        usage: usage(),
        end,
        replay: None,
        answer: Some(v1::Answer {
            text: text.into(),
            model: "builtin/guide".into(),
            usage: Some(usage()),
            ..v1::Answer::default()
        }),
    })
}

/// The same from a provider that does not count.
pub fn unmeasured(text: &str) -> Item {
    match said(text, End::Stop) {
        Item::Assistant(said) => Item::Assistant(Assistant {
            usage: v1::Usage::default(),
            ..said
        }),
        other => other,
    }
}

/// The model asks for a tool.
pub fn calling(id: &str) -> Item {
    Item::Assistant(Assistant {
        text: String::new(),
        calls: vec![v1::ToolCall {
            id: id.into(),
            name: "t".into(),
            arguments_json: "{}".into(),
        }],
        model: "builtin/guide".into(),
        usage: v1::Usage::default(),
        end: End::ToolUse,
        replay: None,
        answer: None,
    })
}

pub fn result(output: &str) -> Item {
    Item::Tool(v1::ToolResult {
        call_id: "c".into(),
        name: "t".into(),
        output: output.into(),
        is_error: false,
    })
}

/// Appends as the agent does and returns the bytes.
pub fn append(thread: &mut Thread, items: Vec<(Option<&str>, Item)>) -> Vec<u8> {
    let mut batch = Batch::new(thread);
    for (n, (id, item)) in items.into_iter().enumerate() {
        let name = format!("e{}-{n}", thread.bytes);
        batch.push(name, 7, Origin::Owner, id.map(turn), item);
    }
    let bytes = batch.bytes.clone();
    batch.commit(thread);
    bytes
}

pub fn texts(messages: &[v1::ModelMessage]) -> Vec<&str> {
    messages
        .iter()
        .map(|message| match message.message.as_ref().unwrap() {
            v1::model_message::Message::User(m) => m.text.as_str(),
            v1::model_message::Message::Assistant(m) => m.text.as_str(),
            v1::model_message::Message::ToolResult(m) => m.output.as_str(),
        })
        .collect()
}

#[test]
fn an_answered_turn_is_found_where_it_stands_in_the_file() {
    let mut thread = thread();
    let mut file = append(&mut thread, vec![(Some("t1"), user("q"))]);
    assert_eq!(thread.known(&turn("t1")), Known::Asked);
    file.extend(append(
        &mut thread,
        vec![(Some("t1"), said("a", End::Stop))],
    ));
    let Known::Ended(at) = thread.known(&turn("t1")) else {
        panic!()
    };
    let line = &file[at.start as usize..at.end as usize];
    let outcome = line::read(line).unwrap().outcome().unwrap();
    assert!(matches!(outcome, Outcome::Answered(answer) if answer.text == "a"));
    assert_eq!(thread.known(&turn("t2")), Known::Nothing);
    assert_eq!(thread.bytes, file.len() as u64);
    assert_eq!(thread.answered_by.as_deref(), Some("builtin/guide"));
}

#[test]
fn a_failed_turn_runs_again_from_its_question_and_a_stopped_one_does_not() {
    let mut thread = thread();
    append(&mut thread, vec![(Some("t1"), user("q"))]);
    let failed = said("half", End::Failed(Failure::new("model.unavailable", "x")));
    append(&mut thread, vec![(Some("t1"), failed)]);
    assert_eq!(thread.known(&turn("t1")), Known::Asked);
    thread.resume().unwrap();
    assert_eq!(texts(&thread.window.messages(1000)), ["q"]);
    append(&mut thread, vec![(Some("t1"), said("a", End::Stop))]);
    assert_eq!(
        texts(&thread.window.messages(1000)),
        ["q", "a"],
        "the failed branch is left"
    );
    assert_eq!(thread.resume(), None);

    let stopped = said("", End::Failed(Failure::new(Failure::STOPPED, "x")));
    append(
        &mut thread,
        vec![(Some("t2"), user("r")), (Some("t2"), stopped)],
    );
    assert!(matches!(thread.known(&turn("t2")), Known::Ended(_)));
    assert_eq!(texts(&thread.window.messages(1000)), ["q", "a", "r"]);
}

#[test]
fn a_turn_goes_on_after_what_is_on_record_of_it() {
    let mut thread = thread();
    let steered = Item::User {
        text: "wait".into(),
        message: Some("m1".into()),
    };
    append(
        &mut thread,
        vec![
            (Some("t1"), user("q")),
            (None, calling("c1")),
            (None, result("one")),
            (None, steered),
            (None, calling("c2")),
            (
                Some("t1"),
                said("", End::Failed(Failure::new("model.unavailable", "x"))),
            ),
        ],
    );
    let progress = thread.resume().unwrap();
    assert_eq!((progress.texts.len(), progress.calls), (2, 1));
    assert_eq!(progress.waiting.len(), 1);
    assert_eq!(progress.waiting[0].id, "c2");
    assert_eq!(progress.absorbed, ["m1"]);
    assert_eq!(
        texts(&thread.window.messages(1000)),
        ["q", "", "one", "wait", ""]
    );
    append(&mut thread, vec![(None, result("two"))]);
    assert!(thread.resume().unwrap().waiting.is_empty());
}

#[test]
fn a_question_that_others_followed_is_not_resumed() {
    let mut thread = thread();
    append(&mut thread, vec![(Some("t1"), user("q"))]);
    append(&mut thread, vec![(Some("t2"), user("r"))]);
    assert_eq!(thread.known(&turn("t1")), Known::Nothing);
    assert_eq!(
        texts(&thread.window.messages(1000)),
        ["q", "r"],
        "but the model still sees it"
    );
}

#[test]
fn commands_change_settings_and_never_reach_the_model() {
    let mut thread = thread();
    let command = |change| Item::Command {
        question: "/x".into(),
        answer: "done".into(),
        change,
    };
    let set = Change {
        model: Some("a/b".into()),
        verbose: Some("full".into()),
        thinking: Some("high".into()),
        usage: Some("tokens".into()),
    };
    append(&mut thread, vec![(Some("t1"), command(set))]);
    let settings = Settings {
        model: Some("a/b".into()),
        verbose: Some("full".into()),
        thinking: Some("high".into()),
        usage: Some("tokens".into()),
    };
    assert_eq!(thread.settings, settings);
    assert!(matches!(thread.known(&turn("t1")), Known::Ended(_)));
    let unset = Change {
        model: Some(String::new()),
        ..Change::default()
    };
    append(&mut thread, vec![(Some("t2"), command(unset))]);
    let settings = Settings {
        model: None,
        ..settings
    };
    assert_eq!(thread.settings, settings);
    assert!(thread.window.messages(1000).is_empty());
    assert_eq!(thread.totals.messages, 0);
}

#[test]
fn everything_that_was_used_counts_summaries_included() {
    let mut thread = thread();
    append(
        &mut thread,
        vec![(None, user("q")), (None, said("a", End::Stop))],
    );
    let compaction = Item::Compaction(Compaction {
        summary: "s".into(),
        first_kept: String::new(),
        tokens_before: 9,
        origins: [Origin::Owner].into(),
        usage: usage(),
    });
    append(&mut thread, vec![(None, compaction)]);
    assert_eq!(thread.totals.usage, tokens::sum(usage(), usage()));
    assert_eq!((thread.totals.messages, thread.totals.compactions), (2, 1));
}
