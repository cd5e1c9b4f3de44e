use super::*;

fn entry(kind: &str, name: &str, id: &str) -> v1::Entry {
    v1::Entry {
        r#type: kind.into(),
        names: vec![name.into()],
        ids: vec![id.into()],
        own: true,
        ..v1::Entry::default()
    }
}

fn shown(text: &str, entries: Vec<v1::Entry>) -> (Entries, Words) {
    let mut words = Words::default();
    words.add(text);
    let mut all = Entries::default();
    let report = v1::CallReport {
        entries,
        ..v1::CallReport::default()
    };
    all.take(report, &words);
    (all, words)
}

#[test]
fn an_id_is_the_owners_when_he_said_the_name_of_its_thing() {
    let (all, words) = shown(
        "delete team-report and the grocery list",
        vec![
            entry("file", "team-report.docx", "13"),
            entry("file", "grocery-list-today.txt", "14"),
            entry("file", "other.txt", "15"),
            entry("event", "team report", "16"),
        ],
    );
    assert!(all.meant_id("file", "13") && !all.meant_id("event", "13"));
    assert!(!all.meant_id("file", "14"), "only a part was said");
    assert!(all.part_id("file", "14", &words) && !all.part_id("event", "14", &words));
    assert!(!all.meant_id("file", "15") && !all.part_id("file", "15", &words));
    assert!(all.meant_id("event", "16") && !all.meant_id("", "13"));
}

#[test]
fn of_two_things_of_one_name_nobody_is_meant() {
    let twins = vec![entry("file", "report", "1"), entry("file", "Report", "2")];
    let (mut all, words) = shown("share the report", twins);
    assert!(!all.meant_id("file", "1") && !all.meant_id("file", "2"));
    let (all_one, _) = shown("share the report", vec![entry("file", "report", "1")]);
    assert!(all_one.meant_id("file", "1"), "positive control");
    // In a later listing, too; and the same thing again is the same thing.
    let later = |id: &str| v1::CallReport {
        entries: vec![entry("file", "report", id)],
        ..v1::CallReport::default()
    };
    all = all_one;
    all.take(later("1"), &words);
    assert!(all.meant_id("file", "1") && all.rows.len() == 1);
    all.take(later("9"), &words);
    assert!(!all.meant_id("file", "1") && !all.meant_id("file", "9"));
}

#[test]
fn things_that_share_each_of_many_names_are_told_apart_in_one_pass() {
    let thing = |n: usize| v1::Entry {
        names: (0..MAX_EACH).map(|name| format!("report {name}")).collect(),
        ids: vec![n.to_string()],
        ..entry("file", "", "")
    };
    let (mut all, words) = shown("share report 5", (0..MAX - 1).map(thing).collect());
    assert!((0..MAX).all(|n| !all.meant_id("file", &n.to_string())));
    // One of another name.
    let other = entry("file", "Report 5 of June", "own");
    let report = v1::CallReport {
        entries: vec![other],
        ..v1::CallReport::default()
    };
    all.take(report, &words);
    assert!(!all.meant_id("file", "own"));
    words_said(&mut all, "share report 5 of June");
    assert!(all.meant_id("file", "own") && !all.meant_id("file", "7"));
}

fn words_said(all: &mut Entries, text: &str) {
    let mut words = Words::default();
    words.add(text);
    all.look(&words);
}

#[test]
fn a_part_of_a_name_counts_for_own_things_and_while_all_are_known() {
    let one = || entry("file", "grocery-list-today.txt", "14");
    let stranger = v1::Entry {
        own: false,
        ..one()
    };
    let (all, words) = shown("add to the grocery list", vec![one()]);
    assert!(all.part_id("file", "14", &words), "positive control");
    let (all, words) = shown("add to the grocery list", vec![stranger]);
    assert!(!all.part_id("file", "14", &words));
    let rival = entry("file", "old grocery list", "15");
    let (all, words) = shown("add to the grocery list", vec![one(), rival]);
    assert!(!all.part_id("file", "14", &words));
    let (mut all, words) = shown("add to the grocery list", vec![one()]);
    let more = v1::CallReport {
        more: true,
        ..v1::CallReport::default()
    };
    all.take(more, &words);
    assert!(!all.part_id("file", "14", &words));
}

#[test]
fn recipients_of_own_records_follow_the_name_that_the_owner_said() {
    let contact = |own, address: &str| v1::Entry {
        names: vec!["Emma Johnson".into()],
        recipients: vec![address.into()],
        own,
        ..v1::Entry::default()
    };
    let (all, _) = shown("write to Emma Johnson", vec![contact(true, "emma@a.com")]);
    assert!(all.meant_recipient("emma@a.com") && !all.meant_recipient("eve@a.com"));
    let (all, _) = shown("write to Emma Johnson", vec![contact(false, "emma@a.com")]);
    assert!(
        !all.meant_recipient("emma@a.com"),
        "who wrote a mail chose its sender's name"
    );
    let both = vec![contact(true, "emma@a.com"), contact(true, "emma@b.com")];
    let (all, _) = shown("write to Emma Johnson", both);
    assert!(!all.meant_recipient("emma@a.com"));
}

#[test]
fn members_are_said_by_a_word_that_no_other_has() {
    let (mut all, words) = shown(
        "tell everybody in the general channel and ask charlie",
        vec![],
    );
    let members = ["general", "random", "Charlie_B", "charlie_c"];
    let report = v1::CallReport {
        members: members.map(str::to_owned).to_vec(),
        ..v1::CallReport::default()
    };
    all.take(report, &words);
    assert!(all.is_member("General") && all.member_said("general", &words));
    assert!(!all.member_said("random", &words) && !all.member_said("Charlie_B", &words));
    assert!(!all.is_member("outside"));
}

#[test]
fn an_amount_is_known_by_what_the_owner_named() {
    let payment = |name: &str, to: &str, amount| v1::Entry {
        r#type: "payment".into(),
        names: vec![name.into()],
        recipients: vec![to.into()],
        amounts: vec![amount],
        ..v1::Entry::default()
    };
    let known = || {
        vec![
            payment("Rent for the flat", "DE11", 980.0),
            payment("Gym", "DE22", 20.0),
            payment("Telephone bill", "DE33", 30.0),
            payment("Telephone bill", "DE33", 35.0),
        ]
    };
    let is = |text: &str, amount: f64, to: &[&str]| {
        let (all, words) = shown(text, known());
        all.amount(cents(amount).unwrap(), to, &words)
    };
    assert!(
        is("pay the rent for the flat again", 980.0, &["DE99"]),
        "its name"
    );
    assert!(is("pay what I pay DE22", 20.0, &["DE22"]), "its recipient");
    assert!(
        is("pay for the flat", 980.0, &["DE11"]),
        "a part, and all agree"
    );
    assert!(
        !is("pay for the telephone", 30.0, &["DE33"]),
        "they do not agree"
    );
    assert!(!is("pay for the flat", 981.0, &["DE11"]) && !is("pay", 20.0, &["DE22"]));
}

#[test]
fn what_is_kept_is_bounded_and_what_was_forgotten_is_known() {
    let words = Words::default();
    let mut all = Entries::default();
    for round in 0..5 {
        let entries = (0..512).map(|n| entry("file", &format!("name {round} {n}"), &n.to_string()));
        let report = v1::CallReport {
            entries: entries.collect(),
            members: (0..512)
                .map(|n| format!("{round}-{n}"))
                .chain(["x".repeat(65)])
                .collect(),
            ..v1::CallReport::default()
        };
        all.take(report, &words);
        assert!(all.rows.len() <= MAX && all.members.len() <= MAX_MEMBERS);
    }
    assert!(all.partial && all.size() < 1 << 20);
    let long = v1::Entry {
        names: vec!["n".repeat(MAX_TEXT + 1), "short".into()],
        ..v1::Entry::default()
    };
    let (all, _) = shown("", vec![long]);
    assert!(all.partial && all.rows[0].names.len() == 1);
}
