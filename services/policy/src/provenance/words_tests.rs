use super::*;

fn said(text: &str) -> Words {
    let mut words = Words::default();
    words.add(text);
    words
}

#[test]
fn a_value_is_named_only_as_a_token_of_its_own() {
    let words = said(
        "Send it to ann@example.com, then to file-13.txt on June 13. Pay v1.2 (x_y) and \u{c4}pfel-Gmbh.",
    );
    for value in [
        "ann@example.com",
        "ANN@example.com ",
        "file-13.txt",
        "13",
        "v1.2",
        "x_y",
        "\u{e4}pfel-gmbh",
        "June 13",
    ] {
        assert!(words.named(value), "{value}");
    }
    for value in [
        "nn@example.com",
        "example.com",
        "ann",
        "file",
        "13.txt",
        "v1",
        "1.2",
        "x",
        "\u{430}nn@example.com",
        "pfel-gmbh",
        "",
        "  ",
    ] {
        assert!(!words.named(value), "{value}");
    }
}

#[test]
fn nothing_is_named_across_two_messages_and_the_oldest_go_first() {
    let mut words = said("give it to Mr");
    words.add("Smith wants it");
    assert!(words.named("Smith") && words.phrase("to mr"));
    assert!(!words.named("Mr\nSmith") && !words.phrase("mr smith"));
    assert!(!words.distinct("Smith"), "a message begins a sentence");
    words.add(&"word ".repeat(MAX / 5));
    assert!(words.named("word") && !words.named("Smith"));
    assert!(words.size <= MAX && words.tokens.len() == 1);
    let long = said(&format!("first {}last", "\u{e4}".repeat(MAX)));
    assert!(long.size <= MAX && !long.named("first"));
    let mut twice = said("the same");
    twice.add("the same");
    assert_eq!(twice.messages.len(), 1);
}

#[test]
fn numbers_are_read_with_commas_and_cents() {
    let found = numbers("Pay 1,200.50 or 7. Not v3 but 12.345 and 0.1");
    let expected = [0.1, 3.0, 7.0, 12.35, 1200.5].map(|n| cents(n).unwrap());
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!((cents(f64::NAN), cents(1e30)), (None, None));
}

#[test]
fn a_name_is_distinct_when_the_owner_can_have_meant_nothing_else_by_it() {
    let words = said(
        "Read the content and greet Alice Smith. Can Bob come? Ask (dave), 'erin' and x7\nFrank too",
    );
    for value in ["Alice Smith", "Bob", "dave", "erin", "x7", "a@b"] {
        assert!(words.distinct(value), "{value}");
    }
    for value in [
        "Read",
        "content",
        "Can",
        "greet",
        "alice smith",
        "Frank",
        "Ali",
    ] {
        assert!(!words.distinct(value), "{value}");
    }
}

#[test]
fn a_name_that_leads_elsewhere_is_not_named_by_its_words() {
    let words = said("write to meeting notes and to docs/plan.txt");
    for value in [
        "meeting-notes.txt",
        "Meeting Notes",
        "docs/plan.txt",
        "plan",
    ] {
        assert!(words.called(value), "{value}");
    }
    for value in [
        "../meeting-notes.txt",
        "meeting/notes",
        "a\\meeting notes",
        "notes of a meeting",
        "to",
        "",
    ] {
        assert!(!words.called(value), "{value}");
    }
}

#[test]
fn only_the_owners_own_words_are_dictated() {
    let words = said("Tell her that I am late because of the train");
    assert!(words.dictated("I am late because of the train!"));
    assert!(words.dictated("") && words.dictated("at an to"));
    assert!(!words.dictated("I am late because of the storm"));
}

#[test]
fn phrases_end_where_words_do() {
    assert!(contains_phrase("buy milk now", "milk now"));
    assert!(!contains_phrase("buy milky now", "milk"));
    assert!(!contains_phrase("buy milk", ""));
    assert!(contains_phrase("a aa a", "a") && !contains_phrase("aa", "a"));
    assert_eq!(fold(" Grocery_list--Today.txt "), "grocery list today txt");
    assert_eq!(
        (bare("a.b.txt"), bare("a.toolong"), bare("a.")),
        ("a.b", "a.toolong", "a.")
    );
}
