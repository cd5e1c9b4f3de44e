//! Which model a turn goes on with when one cannot be used, and what is told of that.

use super::*;

const CLASSES: [ModelErrorClass; 9] = [
    ModelErrorClass::Unspecified,
    ModelErrorClass::Auth,
    ModelErrorClass::Billing,
    ModelErrorClass::RateLimit,
    ModelErrorClass::Unavailable,
    ModelErrorClass::InvalidRequest,
    ModelErrorClass::UnknownModel,
    ModelErrorClass::ContextOverflow,
    ModelErrorClass::Denied,
];

#[test]
fn another_model_is_asked_where_that_can_help_and_nowhere_else() {
    for class in CLASSES {
        let mut turn = turn_of(&["a/one", "b/two"]);
        let next = run(&mut turn, vec![text("hal"), error(class)]);
        if failure::passes_on(class) {
            assert_eq!((asks(&next), turn.model()), ("t1:1.1", 1), "{class:?}");
            turn.step(text("whole"));
            let Next::End(Ok(answer)) = turn.step(stop(StopReason::End)) else {
                panic!()
            };
            assert_eq!(
                (answer.text.as_str(), answer.model.as_str()),
                ("whole", "b/two")
            );
            assert_eq!(
                shown(&turn.events()),
                "whole",
                "what the first one said is taken back"
            );
        } else if class == ModelErrorClass::ContextOverflow {
            assert_eq!((asks(&next), turn.model()), ("t1:1.1", 0));
            assert!(turn.size().refused);
            assert_eq!(
                failure(turn.step(error(class))).code,
                "model.context_overflow"
            );
        } else {
            let failed = failure(next);
            assert_eq!(
                (failed.code.as_str(), turn.model()),
                (failure::of_model(class), 0)
            );
        }
    }
}

#[test]
fn when_no_model_is_left_the_first_ones_trouble_is_named_with_all_others() {
    let mut turn = turn_of(&["a/one", "b/two", "c/three"]);
    let inputs = vec![
        error(ModelErrorClass::Billing),
        error(ModelErrorClass::Auth),
        error(ModelErrorClass::UnknownModel),
    ];
    let failed = failure(run(&mut turn, inputs));
    assert_eq!(failed.code, "model.billing");
    for part in [
        "a/one: no Billing",
        "b/two: no Auth",
        "c/three: no UnknownModel",
    ] {
        assert!(failed.message.contains(part), "{}", failed.message);
    }
    let mut alone = super::turn();
    let failed = failure(run(&mut alone, vec![error(ModelErrorClass::Auth)]));
    assert_eq!(failed.message, "no Auth", "a single model's own words");
}

#[test]
fn a_worker_that_does_not_answer_makes_room_like_a_provider_that_is_down() {
    let mut turn = turn_of(&["a/one", "b/two"]);
    let lost = WAITS_MS.iter().map(|_| Input::Lost);
    let next = run(&mut turn, lost.chain([Input::Lost]).collect());
    assert_eq!((asks(&next), turn.model()), ("t1:1.1", 1));
}

#[test]
fn a_turn_stays_with_the_model_that_works() {
    let mut turn = turn_of(&["a/one", "b/two"]);
    let inputs = vec![
        error(ModelErrorClass::RateLimit),
        call("a", "{}"),
        stop(StopReason::ToolCalls),
        done("A"),
    ];
    let next = run(&mut turn, inputs);
    assert_eq!((asks(&next), turn.model()), ("t1:2", 1));
}

#[test]
fn a_summary_changes_the_request_and_counts_in_what_the_turn_used() {
    let mut turn = turn();
    turn.begin();
    let next = turn.compacted(Some(used(100, 10)));
    assert_eq!(asks(&next), "t1:1.1");
    assert!(turn.size().settled);
    turn.step(text("a"));
    turn.step(usage(5, 1));
    let Next::End(Ok(answer)) = turn.step(stop(StopReason::End)) else {
        panic!()
    };
    assert_eq!(answer.usage, Some(used(105, 11)));
    let mut turn = super::turn();
    turn.begin();
    assert_eq!(asks(&turn.compacted(None)), "t1:1", "nothing has changed");
}
