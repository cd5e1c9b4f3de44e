//! What a turn promises, told as sequences of what happens and what comes next.

use clawdbot_proto::v1::generate_event::Event as Said;

use super::*;

fn turn() -> Turn {
    Turn::new(TurnId::parse("t1").unwrap(), "builtin/guide".into())
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
    }))
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
    assert_eq!(
        answer.usage,
        Some(v1::Usage {
            input_tokens: 5,
            output_tokens: 2
        })
    );
    let events = turn.events();
    assert_eq!((events.len(), shown(&events).as_str()), (2, "Hello"));
    assert_eq!(turn.items().len(), 1);
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
    assert_eq!(
        answer.usage,
        Some(v1::Usage {
            input_tokens: 3,
            output_tokens: 3
        })
    );
    assert_eq!(
        shown(&turn.events()),
        answer.text,
        "the stream says what the answer says"
    );
    let kinds: Vec<bool> = turn
        .items()
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
        .items()
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
        let items = turn.into_items();
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
    let [Item::Assistant(said)] = turn.items() else {
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
    let big = "x".repeat(TEXT_BYTES / 2 + 1);
    let cases: Vec<Vec<Input>> = vec![
        vec![text(&big), text(&big)],
        (0..=CALLS).map(|n| call("", &format!("[{n}]"))).collect(),
        vec![call("a", &"x".repeat(ARGUMENT_BYTES + 1))],
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
            done(&"ü".repeat(OUTPUT_BYTES)),
        ],
    );
    let Some(Item::Tool(result)) = turn.items().last() else {
        panic!()
    };
    assert!(result.output.len() < OUTPUT_BYTES + 64 && result.output.contains("[cut:"));
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
fn every_class_of_model_error_has_its_own_code() {
    let mut codes = std::collections::BTreeSet::new();
    for class in 0..=8 {
        let error = v1::ModelError {
            class,
            message: "m".into(),
            retry_after_seconds: 0,
        };
        let end = run(&mut turn(), vec![Input::Model(Said::Error(error))]);
        codes.insert(failure(end).code);
    }
    assert_eq!(codes.len(), 9);
    let error = v1::ModelError {
        class: 99,
        message: "m".into(),
        retry_after_seconds: 0,
    };
    let end = run(&mut turn(), vec![Input::Model(Said::Error(error))]);
    assert_eq!(failure(end).code, "model.failed");
}
