//! What reaches the model of a conversation, and what is counted of it.

use super::super::entry::{Compaction, End, Item, Origin};
use super::super::thread::tests::{append, calling, result, said, texts, thread, unmeasured, user};
use super::super::thread::{Batch, Thread};
use super::*;

fn talk(thread: &mut Thread, turns: std::ops::Range<usize>) {
    for n in turns {
        let (q, a) = (format!("q{n}"), format!("a{n}"));
        append(thread, vec![(None, user(&q)), (None, unmeasured(&a))]);
    }
}

fn compaction(cut: Cut) -> Item {
    Item::Compaction(Compaction {
        summary: "so far".into(),
        first_kept: cut.first_kept,
        tokens_before: 0,
        origins: cut.origins,
        usage: v1::Usage::default(),
    })
}

fn counted(window: &Window) -> (usize, u64) {
    let kept = || window.path.iter();
    (
        kept().map(|kept| kept.bytes).sum(),
        kept().map(|kept| kept.tokens).sum(),
    )
}

#[test]
fn the_window_begins_with_a_question_and_always_holds_the_newest() {
    let mut thread = thread();
    talk(&mut thread, 0..10);
    let each = OVERHEAD + 2;
    let messages = |budget| thread.window.messages(budget);
    assert_eq!(texts(&messages(each * 5)), ["q8", "a8", "q9", "a9"]);
    assert_eq!(texts(&messages(0)), ["q9", "a9"]);
    assert_eq!(messages(1 << 20).len(), 20);
}

#[test]
fn memory_does_not_grow_with_the_transcript() {
    let mut thread = thread();
    let long = "x".repeat(WINDOW_BYTES / 8);
    for _ in 0..40 {
        append(
            &mut thread,
            vec![(None, user(&long)), (None, said("a", End::Stop))],
        );
    }
    let window = &thread.window;
    assert!(window.bytes <= WINDOW_BYTES && window.path.len() < 20);
    assert!(thread.bytes > 2 * WINDOW_BYTES as u64);
    assert_eq!((window.bytes, window.tokens), counted(window));
}

#[test]
fn a_summary_takes_the_place_of_what_it_stands_for() {
    let mut thread = thread();
    talk(&mut thread, 0..6);
    append(&mut thread, vec![(None, user("now"))]);
    let cut = thread.window.cut(5 * 5).unwrap();
    let summarised = ["q0", "a0", "q1", "a1", "q2", "a2", "q3", "a3"];
    assert_eq!(texts(&cut.messages), summarised);
    append(&mut thread, vec![(None, compaction(cut))]);
    append(&mut thread, vec![(None, said("then", End::Stop))]);
    let messages = thread.window.messages(1 << 20);
    let seen = texts(&messages);
    assert!(seen[0].ends_with("so far"));
    assert_eq!(seen[1..], ["q4", "a4", "q5", "a5", "now", "then"]);
    assert_eq!(
        (thread.window.bytes, thread.window.tokens),
        counted(&thread.window)
    );

    talk(&mut thread, 7..9);
    let cut = thread.window.cut(0).unwrap();
    let again = texts(&cut.messages);
    assert!(
        again[0].ends_with("so far"),
        "a summary is part of the next one"
    );
    assert_eq!(
        again[1..],
        ["q4", "a4", "q5", "a5", "now", "then", "q7", "a7"]
    );
}

#[test]
fn a_cut_is_made_at_questions_only_and_never_takes_the_newest() {
    let mut thread = thread();
    let asked = |thread: &mut Thread, name: &str| {
        let steered = Item::User {
            text: "steered".into(),
            message: Some("m".into()),
        };
        let round = vec![
            (None, user(name)),
            (None, calling("c")),
            (None, result("r")),
            (None, steered),
            (None, calling("c")),
            (None, result("r")),
        ];
        append(thread, round);
    };
    asked(&mut thread, "one");
    for keep in [0, 5, 1000] {
        assert!(
            thread.window.cut(keep).is_none(),
            "there is only one question"
        );
    }
    asked(&mut thread, "two");
    asked(&mut thread, "three");
    for keep in 0..200 {
        let Some(cut) = thread.window.cut(keep) else {
            continue;
        };
        let messages = cut.messages.len();
        assert!(messages == 6 || messages == 12, "{keep}: {messages}");
    }
    assert_eq!(thread.window.cut(0).unwrap().messages.len(), 12);
}

#[test]
fn a_summary_inherits_the_labels_of_all_that_it_stands_for() {
    let mut thread = thread();
    let label = |thread: &mut Thread, origin, item| {
        let mut batch = Batch::new(thread);
        batch.push(format!("l{}", thread.bytes), 1, origin, None, item);
        batch.commit(thread);
    };
    label(&mut thread, Origin::Owner, user("q"));
    label(&mut thread, Origin::Web, result("page"));
    label(&mut thread, Origin::Owner, user("q2"));
    let cut = thread.window.cut(0).unwrap();
    assert_eq!(cut.origins, [Origin::Owner, Origin::Web].into());
    label(&mut thread, Origin::Agent, compaction(cut));
    label(&mut thread, Origin::Group, user("q3"));
    label(&mut thread, Origin::Owner, user("q4"));
    let cut = thread.window.cut(0).unwrap();
    let all = [Origin::Owner, Origin::Web, Origin::Group];
    assert_eq!(cut.origins, all.into());
}

#[test]
fn the_providers_own_count_is_the_base_of_the_estimate() {
    let mut thread = thread();
    append(&mut thread, vec![(None, user(&"x".repeat(4000)))]);
    let plain = thread.window.tokens(100);
    assert_eq!(plain, 100 + 1004);
    let measured = |input| match said("", End::Stop) {
        Item::Assistant(mut said) => {
            said.usage.input_tokens = input;
            said.usage.output_tokens = 10;
            Item::Assistant(said)
        }
        other => other,
    };
    append(
        &mut thread,
        vec![(None, measured(1500)), (None, user("next"))],
    );
    assert_eq!(thread.window.tokens(100), 1510 + 5);
    append(&mut thread, vec![(None, measured(7)), (None, user("next"))]);
    assert!(
        thread.window.tokens(100) > 500,
        "a server that counts only what was new to it is not believed"
    );
}

#[test]
fn old_results_are_shortened_in_memory_and_new_ones_stay() {
    let mut thread = thread();
    let long = "y".repeat(10_000);
    for _ in 0..4 {
        append(
            &mut thread,
            vec![
                (None, user("q")),
                (None, calling("c")),
                (None, result(&long)),
                (None, said("a", End::Stop)),
            ],
        );
    }
    let before = thread.window.bytes();
    assert_eq!(thread.window.prune(3), 3);
    assert_eq!(thread.window.prune(3), 0, "once");
    let messages = thread.window.messages(1 << 20);
    let lengths: Vec<_> = texts(&messages)
        .into_iter()
        .map(str::len)
        .filter(|length| *length > 1000)
        .collect();
    assert!(
        lengths[..3].iter().all(|length| *length < 3100),
        "{lengths:?}"
    );
    assert_eq!(lengths[3..], [10_000]);
    assert!(thread.window.bytes() < before - 20_000);
    assert_eq!(
        (thread.window.bytes, thread.window.tokens),
        counted(&thread.window)
    );
}

#[test]
fn a_result_is_shortened_only_as_far_as_needed() {
    let long = || match result(&"y".repeat(10_000)).for_model() {
        Some(message) => message,
        None => panic!(),
    };
    let mut messages = vec![write(&long()), write(&long())];
    assert!(squeeze(&mut messages, 1000));
    let left: Vec<_> = messages.iter().map(read).collect();
    assert!(texts(&left)[0].len() < 10_000);
    assert_eq!(texts(&left)[1].len(), 10_000);
    assert!(
        !squeeze(&mut messages, 5000),
        "there is not so much to save"
    );
}
