//! What a turn promises, told as sequences of what happens and what comes next.

use clawdbot_proto::v1::generate_event::Event as Said;

use super::*;

mod models;

fn turn() -> Turn {
    turn_of(&["builtin/guide"])
}

fn turn_of(models: &[&str]) -> Turn {
    let models = models.iter().map(|model| (*model).into()).collect();
    Turn::new(TurnId::parse("t1").unwrap(), models, Footer::None)
}

fn text(text: &str) -> Input {
    Input::Model(Said::Text(v1::TextDelta { text: text.into() }))
}

fn stop(reason: StopReason) -> Input {
    Input::Model(Said::Stop(v1::Stop {
        reason: reason.into(),
    }))
}

fn usage(input: u64, output: u64) -> Input {
    Input::Model(Said::Usage(v1::Usage {
        input_tokens: input,
        output_tokens: output,
        ..v1::Usage::default()
    }))
}

fn used(input: u64, output: u64) -> v1::Usage {
    v1::Usage {
        input_tokens: input,
        output_tokens: output,
        ..v1::Usage::default()
    }
}

fn call(id: &str, arguments: &str) -> Input {
    Input::Model(Said::ToolCall(v1::ToolCall {
        id: id.into(),
        name: "session_status".into(),
        arguments_json: arguments.into(),
    }))
}

fn done(output: &str) -> Input {
    Input::Called {
        output: output.into(),
        is_error: false,
    }
}

fn error(class: ModelErrorClass) -> Input {
    Input::Model(Said::Error(v1::ModelError {
        class: class.into(),
        message: format!("no {class:?}"),
        ..v1::ModelError::default()
    }))
}

fn asks(next: &Next) -> &str {
    match next {
        Next::Ask { request_id, .. } => request_id,
        other => panic!("not asked: {other:?}"),
    }
}

fn run(turn: &mut Turn, inputs: Vec<Input>) -> Next {
    let mut last = turn.begin();
    for input in inputs {
        last = turn.step(input);
    }
    last
}

fn failure(next: Next) -> Failure {
    match next {
        Next::End(Err(failure)) => failure,
        other => panic!("not failed: {other:?}"),
    }
}

/// What a client shows that follows the events.
fn shown(events: &[Event]) -> String {
    let mut shown = String::new();
    for event in events {
        match event {
            Event::Delta(delta) => shown.push_str(&delta.text),
            Event::Restarted(_) => shown.clear(),
            _ => {}
        }
    }
    shown
}

#[test]
fn text_becomes_the_answer_and_is_streamed_on_the_way() {
    let mut turn = turn();
    let end = run(
        &mut turn,
        vec![
            text("Hel"),
            text(""),
            text("lo"),
            usage(5, 2),
            stop(StopReason::End),
        ],
    );
    let Next::End(Ok(answer)) = end else { panic!() };
    assert_eq!(
        (answer.text.as_str(), answer.model.as_str()),
        ("Hello", "builtin/guide")
    );
    assert_eq!(answer.usage, Some(used(5, 2)));
    let events = turn.events();
    assert_eq!((events.len(), shown(&events).as_str()), (2, "Hello"));
    assert_eq!(turn.take_items().len(), 1);
}

#[test]
fn calls_run_one_after_the_other_and_then_the_model_goes_on() {
    let mut turn = turn();
    let next = run(
        &mut turn,
        vec![
            text("look"),
            call("a", "{}"),
            call("b", r#"{"x":1}"#),
            usage(1, 1),
            stop(StopReason::ToolCalls),
        ],
    );
    assert!(matches!(next, Next::Invoke { call_id, call } if call_id == "t1:1" && call.id == "a"));
    let next = turn.step(done("A"));
    assert!(matches!(next, Next::Invoke { call_id, call } if call_id == "t1:2" && call.id == "b"));
    let next = turn.step(done("B"));
    assert_eq!(
        next,
        Next::Ask {
            request_id: "t1:2".into(),
            wait: Duration::ZERO
        }
    );
    turn.step(text("all good"));
    turn.step(usage(2, 2));
    let Next::End(Ok(answer)) = turn.step(stop(StopReason::End)) else {
        panic!()
    };
    assert_eq!(answer.text, "look\n\nall good");
    assert_eq!(answer.usage, Some(used(3, 3)));
    assert_eq!(
        shown(&turn.events()),
        answer.text,
        "the stream says what the answer says"
    );
    let kinds: Vec<bool> = turn
        .take_items()
        .iter()
        .map(|item| matches!(item, Item::Tool(_)))
        .collect();
    assert_eq!(kinds, [false, true, true, false]);
}

#[test]
fn a_lost_stream_is_asked_again_under_the_same_id_and_begins_again() {
    let mut turn = turn();
    let next = run(
        &mut turn,
        vec![
            call("a", "{}"),
            stop(StopReason::ToolCalls),
            done("A"),
            text("hal"),
            Input::Lost,
        ],
    );
    assert_eq!(
        next,
        Next::Ask {
            request_id: "t1:2".into(),
            wait: Duration::from_millis(50)
        }
    );
    let Next::End(Ok(answer)) = ({
        turn.step(text("whole"));
        turn.step(stop(StopReason::End))
    }) else {
        panic!()
    };
    assert_eq!(answer.text, "whole");
    let events = turn.events();
    assert_eq!(
        events
            .iter()
            .filter(|event| matches!(event, Event::Restarted(_)))
            .count(),
        1
    );
    assert_eq!(shown(&events), "whole");
}

#[test]
fn what_earlier_rounds_said_is_shown_again_after_a_restart() {
    let mut turn = turn();
    run(
        &mut turn,
        vec![
            text("one"),
            call("a", "{}"),
            stop(StopReason::ToolCalls),
            done("A"),
            text("tw"),
            Input::Lost,
            text("two"),
        ],
    );
    let Next::End(Ok(answer)) = turn.step(stop(StopReason::End)) else {
        panic!()
    };
    assert_eq!(answer.text, "one\n\ntwo");
    assert_eq!(shown(&turn.events()), "one\n\ntwo");
}

#[test]
fn an_answer_that_broke_off_is_asked_for_again_and_then_told_as_it_is() {
    let broke_off = || {
        Input::Model(Said::Error(v1::ModelError {
            class: ModelErrorClass::Unavailable.into(),
            message: "it broke off".into(),
            again: true,
            ..v1::ModelError::default()
        }))
    };
    let mut turn = turn();
    turn.begin();
    for _ in 0..BREAKS {
        turn.step(text("hal"));
        assert_eq!(asks(&turn.step(broke_off())), "t1:1");
    }
    turn.step(text("whole"));
    assert_eq!(shown(&turn.events()), "whole");
    let failure = failure(turn.step(broke_off()));
    assert_eq!(
        (failure.code.as_str(), failure.message.as_str()),
        ("model.unavailable", "it broke off")
    );
}

#[test]
fn losses_are_waited_out_longer_and_longer_and_then_given_up() {
    let mut turn = turn();
    let mut waits = Vec::new();
    let end = loop {
        match turn.step(Input::Lost) {
            Next::Ask { request_id, wait } => {
                assert_eq!(request_id, "t1:1");
                waits.push(u64::try_from(wait.as_millis()).unwrap());
            }
            other => break other,
        }
    };
    assert_eq!(waits, WAITS_MS);
    assert_eq!(failure(end).code, "model.unavailable");
    assert!(
        turn.events().is_empty(),
        "nothing was shown, so nothing restarts"
    );
}

#[test]
fn the_third_equal_call_ends_the_turn_whatever_its_spelling() {
    let mut turn = turn();
    let mut next = turn.begin();
    for (n, spelling) in [
        r#"{"a":1,"b":2}"#,
        r#"{"b":2,"a":1}"#,
        r#"{ "a": 1, "b": 2 }"#,
    ]
    .iter()
    .enumerate()
    {
        assert!(matches!(next, Next::Ask { .. }), "round {n}");
        turn.step(call("", spelling));
        next = turn.step(stop(StopReason::ToolCalls));
        if matches!(next, Next::Invoke { .. }) {
            next = turn.step(done("x"));
        }
    }
    assert_eq!(failure(next).code, "turn.loop");
    let results = turn
        .take_items()
        .iter()
        .filter(|item| matches!(item, Item::Tool(_)))
        .count();
    assert_eq!(results, 3, "the call that was not made has a result too");
}

#[test]
fn different_calls_may_go_on_for_fifty_rounds() {
    let mut turn = turn();
    for n in 0.. {
        turn.step(call("", &format!("[{n}]")));
        turn.step(stop(StopReason::ToolCalls));
        match turn.step(done("x")) {
            Next::Ask { .. } => {}
            end => {
                assert_eq!((failure(end).code.as_str(), n), ("turn.rounds", 49));
                break;
            }
        }
    }
}

#[test]
fn stopping_and_time_leave_a_transcript_that_every_provider_takes() {
    for (input, code) in [
        (Input::Stopped, Failure::STOPPED),
        (Input::TimedOut, Failure::TIMEOUT),
    ] {
        let mut turn = turn();
        let calls = vec![
            call("a", "{}"),
            call("b", "[1]"),
            stop(StopReason::ToolCalls),
        ];
        run(&mut turn, calls);
        assert_eq!(failure(turn.step(input)).code, code);
        let items = turn.take_items();
        let results: Vec<_> = items
            .iter()
            .filter_map(|item| match item {
                Item::Tool(result) => Some((result.call_id.as_str(), result.is_error)),
                _ => None,
            })
            .collect();
        assert_eq!(results, [("a", true), ("b", true)]);
        let Some(Item::Assistant(last)) = items.last() else {
            panic!()
        };
        assert!(matches!(&last.end, End::Failed(failure) if failure.code == code));
    }
    let mut turn = turn();
    run(
        &mut turn,
        vec![text("half"), call("a", "{}"), Input::Stopped],
    );
    let items = turn.take_items();
    let [Item::Assistant(said)] = &items[..] else {
        panic!()
    };
    assert_eq!(
        (said.text.as_str(), said.calls.len()),
        ("half", 0),
        "an unmade call is not kept"
    );
}

#[test]
fn a_flood_is_cut_off() {
    const CALLS: usize = 32;
    let big = "x".repeat(TEXT_BYTES / 2 + 1);
    let cases: Vec<Vec<Input>> = vec![
        vec![text(&big), text(&big)],
        (0..=CALLS).map(|n| call("", &format!("[{n}]"))).collect(),
        vec![call("a", &"x".repeat((256 << 10) + 1))],
    ];
    for inputs in cases {
        assert_eq!(failure(run(&mut turn(), inputs)).code, "model.oversize");
    }
    let mut turn = turn();
    run(
        &mut turn,
        vec![
            call("a", "{}"),
            stop(StopReason::ToolCalls),
            done(&"ü".repeat(64 << 10)),
        ],
    );
    let items = turn.take_items();
    let Some(Item::Tool(result)) = items.last() else {
        panic!()
    };
    assert!(result.output.len() < (64 << 10) + 64 && result.output.contains("[cut:"));
}

#[test]
fn a_cut_off_answer_makes_no_call_and_an_empty_one_is_a_failure() {
    let mut turn = turn();
    let end = run(
        &mut turn,
        vec![text("par"), call("a", "{\"x\":"), stop(StopReason::Length)],
    );
    assert!(matches!(end, Next::End(Ok(answer)) if answer.text == "par"));
    for (inputs, code) in [
        (vec![stop(StopReason::End)], "model.empty"),
        (vec![stop(StopReason::Refused)], "model.refused"),
        (
            vec![text("x"), stop(StopReason::Unspecified)],
            "model.failed",
        ),
        (vec![Input::Rejected("no".into())], "model.failed"),
    ] {
        assert_eq!(failure(run(&mut super::tests::turn(), inputs)).code, code);
    }
}

#[test]
fn silence_is_an_answer_without_text() {
    for parts in [vec!["NO_REPLY"], vec!["NO", "_RE", "PLY\n"]] {
        let mut turn = turn();
        let inputs = parts.iter().map(|part| text(part));
        let end = run(&mut turn, inputs.chain([stop(StopReason::End)]).collect());
        let Next::End(Ok(answer)) = end else { panic!() };
        assert!(answer.silent && answer.text.is_empty());
        assert!(turn.events().is_empty(), "not even a part of it is shown");
        let items = turn.take_items();
        let Some(Item::Assistant(said)) = items.last() else {
            panic!()
        };
        assert_eq!(
            said.text.trim(),
            "NO_REPLY",
            "the record keeps what the model said"
        );
    }
    let mut turn = turn();
    let inputs = vec![
        text("I look."),
        call("a", "{}"),
        stop(StopReason::ToolCalls),
        done("A"),
        text("NO_REPLY"),
    ];
    run(&mut turn, inputs);
    let Next::End(Ok(answer)) = turn.step(stop(StopReason::End)) else {
        panic!()
    };
    assert_eq!((answer.text.as_str(), answer.silent), ("I look.", false));
    assert_eq!(shown(&turn.events()), "I look.");
}

#[test]
fn a_quoted_message_is_named_beside_the_text() {
    let mut turn = turn();
    let inputs = vec![
        text("[[reply"),
        text("_to:42]] he"),
        text("llo"),
        stop(StopReason::End),
    ];
    let Next::End(Ok(answer)) = run(&mut turn, inputs) else {
        panic!()
    };
    assert_eq!(
        (answer.text.as_str(), answer.reply_to.as_str()),
        ("hello", "42")
    );
    assert_eq!(shown(&turn.events()), "hello");
}

#[test]
fn an_answer_that_was_cut_says_so() {
    for (reason, cut) in [(StopReason::Length, true), (StopReason::End, false)] {
        let end = run(&mut turn(), vec![text("x"), stop(reason)]);
        assert!(matches!(end, Next::End(Ok(answer)) if answer.cut == cut));
    }
}

#[test]
fn what_was_used_is_added_to_the_answer_where_that_is_wanted() {
    for (footer, line) in [
        (Footer::None, ""),
        (Footer::Tokens, "\n\nUsage: 5 in / 2 out"),
        (Footer::Full, "\n\nUsage: 5 in / 2 out · $0.0007 · a/b"),
    ] {
        let mut turn = Turn::new(TurnId::parse("t1").unwrap(), vec!["a/b".into()], footer);
        let priced = Input::Model(Said::Usage(v1::Usage {
            cost_microusd: Some(700),
            ..used(5, 2)
        }));
        let end = run(&mut turn, vec![text("hi"), priced, stop(StopReason::End)]);
        let Next::End(Ok(answer)) = end else { panic!() };
        assert_eq!(answer.text, format!("hi{line}"));
        assert_eq!(shown(&turn.events()), answer.text);
    }
}

fn steered(id: &str) -> Vec<Steered> {
    vec![Steered {
        id: id.into(),
        text: format!("text of {id}"),
    }]
}

#[test]
fn a_message_that_comes_in_is_read_after_the_call_that_runs() {
    let mut turn = turn();
    let calls = vec![call("a", "{}"), call("b", "[1]"), call("c", "[2]")];
    run(
        &mut turn,
        calls
            .into_iter()
            .chain([stop(StopReason::ToolCalls)])
            .collect(),
    );
    turn.steer(steered("m1"));
    turn.steer(steered("m1"));
    turn.take_items();
    let next = turn.step(done("A"));
    assert_eq!(asks(&next), "t1:2");
    let items = turn.take_items();
    let outputs: Vec<_> = items
        .iter()
        .map(|item| match item {
            Item::Tool(result) => (result.output.as_str(), result.is_error),
            Item::User { text, message } => (text.as_str(), message.as_deref() != Some("m1")),
            other => panic!("{other:?}"),
        })
        .collect();
    let skipped = ("skipped: a new message came in", true);
    assert_eq!(
        outputs,
        [("A", false), skipped, skipped, ("text of m1", false)]
    );
    turn.steer(steered("m1"));
    turn.step(text("x"));
    let Next::End(Ok(answer)) = turn.step(stop(StopReason::End)) else {
        panic!()
    };
    assert_eq!(answer.absorbed, ["m1"]);
}

#[test]
fn a_message_that_reached_no_request_is_not_absorbed_and_changes_no_repeated_request() {
    let mut turn = turn();
    turn.begin();
    turn.steer(steered("m1"));
    assert_eq!(asks(&turn.step(Input::Lost)), "t1:1");
    assert!(turn.take_items().is_empty());
    turn.step(text("x"));
    let Next::End(Ok(answer)) = turn.step(stop(StopReason::End)) else {
        panic!()
    };
    assert!(answer.absorbed.is_empty());
}

#[test]
fn a_message_as_its_provider_wrote_it_is_kept_unless_it_no_longer_fits() {
    let replay = || {
        Input::Model(Said::Replay(v1::Replay {
            origin: "a/b x".into(),
            content: b"[1]".to_vec(),
        }))
    };
    let kept = |inputs: Vec<Input>| {
        let mut turn = turn();
        run(&mut turn, inputs);
        match turn.take_items().remove(0) {
            Item::Assistant(said) => said.replay.is_some(),
            other => panic!("{other:?}"),
        }
    };
    let tools = || stop(StopReason::ToolCalls);
    assert!(kept(vec![call("a", "{}"), replay(), tools()]));
    assert!(kept(vec![text("x"), replay(), stop(StopReason::End)]));
    assert!(
        !kept(vec![call("", "{}"), replay(), tools()]),
        "the call has another id"
    );
    let cut = vec![
        text("x"),
        call("a", "{}"),
        replay(),
        stop(StopReason::Length),
    ];
    assert!(!kept(cut), "the call is not made");
    assert!(!kept(vec![
        text("x"),
        replay(),
        error(ModelErrorClass::Denied)
    ]));
}
