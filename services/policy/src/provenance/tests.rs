use clawdbot_identity::AgentId;
use clawdbot_proto::v1::{ArgumentFact, ArgumentKind};

use super::*;
use crate::handle::Trace;

fn memory() -> Provenance {
    Provenance::over(Ledger::none())
}

fn grant(session: &str) -> Grant {
    let key = SessionKey::operator(&AgentId::main(), session).unwrap();
    Grant::operator(key, 1).of(Trace([1; 8]), "")
}

fn guest() -> Grant {
    let mut grant = grant("main");
    (grant.class, grant.standing) = (Class::Guest, Standing::Approved);
    grant
}

fn id(text: &str) -> MessageId {
    MessageId::parse(text).unwrap()
}

fn tool(text: &str) -> ToolName {
    ToolName::parse(text).unwrap()
}

fn facts(effect: Effect) -> v1::ToolFacts {
    let row = |name: &str, kind: ArgumentKind, of: &str| ArgumentFact {
        name: name.into(),
        kind: kind.into(),
        r#type: of.into(),
    };
    v1::ToolFacts {
        effect: effect.into(),
        groups: Vec::new(),
        arguments: vec![
            row("to", ArgumentKind::Recipient, ""),
            row("file", ArgumentKind::Id, "file"),
        ],
    }
}

fn asks(provenance: &Provenance, grant: &Grant, arguments: &str) -> bool {
    provenance.judge(grant, &facts(Effect::Egress), arguments) != Verdict::Allow
}

/// Decides a read and reports what it gave.
async fn read(
    provenance: &Provenance,
    grant: &Grant,
    arguments: &str,
    report: v1::CallReport,
) -> Vec<&'static str> {
    let (call, tool) = (id("turn:1"), tool("read"));
    provenance.allowed(grant, &call, &tool, &facts(Effect::Read), arguments);
    provenance
        .report(grant, &call, &tool, report)
        .await
        .unwrap()
}

fn labelled(label: Label, text: bool) -> v1::CallReport {
    v1::CallReport {
        ran: true,
        label: label.into(),
        text,
        ..v1::CallReport::default()
    }
}

const EVE: &str = r#"{"to":"eve@b.com"}"#;

#[tokio::test]
async fn what_others_wrote_taints_and_numbers_do_not() {
    for (label, text, expected) in [
        (Label::Typed, false, vec![]),
        (Label::Typed, true, vec!["tainted"]),
        (Label::Public, false, vec!["tainted"]),
        (Label::Private, true, vec!["tainted", "astray"]),
        (Label::Secret, true, vec!["tainted", "astray"]),
        (Label::Unspecified, false, vec!["tainted", "astray"]),
    ] {
        let provenance = memory();
        let grant = grant("main");
        let risen = read(&provenance, &grant, "{}", labelled(label, text)).await;
        assert_eq!(risen, expected, "{label:?}");
        assert_eq!(asks(&provenance, &grant, EVE), !expected.is_empty());
        let again = read(&provenance, &grant, "{}", labelled(label, text)).await;
        assert!(again.is_empty(), "a flag rises once");
    }
    let provenance = memory();
    let grant = grant("main");
    let named = v1::CallReport {
        members: vec!["a channel".into()],
        ..labelled(Label::Typed, false)
    };
    assert_eq!(read(&provenance, &grant, "{}", named).await, ["tainted"]);
}

#[tokio::test]
async fn a_private_read_that_the_owner_pointed_at_does_not_lead_astray() {
    let provenance = memory();
    let grant = grant("main");
    provenance.said(&grant, "what is in meeting notes?", true);
    let pointed = r#"{"file":"meeting-notes.txt"}"#;
    assert_eq!(
        read(&provenance, &grant, pointed, labelled(Label::Private, true)).await,
        ["tainted"]
    );
    let elsewhere = r#"{"file":"passwords.txt"}"#;
    assert_eq!(
        read(
            &provenance,
            &grant,
            elsewhere,
            labelled(Label::Private, true)
        )
        .await,
        ["astray"]
    );
}

#[tokio::test]
async fn a_call_under_the_id_of_another_hides_nothing_of_it() {
    for (first, second) in [
        ("passwords.txt", "meeting-notes.txt"),
        ("meeting-notes.txt", "passwords.txt"),
    ] {
        let provenance = memory();
        let grant = grant("main");
        provenance.said(&grant, "what is in meeting notes?", true);
        let (call, name) = (id("turn:1"), tool("read"));
        for file in [first, second] {
            let arguments = format!(r#"{{"file":"{file}"}}"#);
            provenance.allowed(&grant, &call, &name, &facts(Effect::Read), &arguments);
        }
        let report = labelled(Label::Private, true);
        let risen = provenance.report(&grant, &call, &name, report).await;
        assert_eq!(risen.unwrap(), ["tainted", "astray"], "{first}");
    }
    // One of another message is another call.
    let provenance = memory();
    let (old, new) = (grant("main"), grant("main").of(Trace([2; 8]), ""));
    provenance.said(&old, "what is in meeting notes?", true);
    let (call, name) = (id("turn:1"), tool("read"));
    for (grant, file) in [(&old, "passwords.txt"), (&new, "meeting-notes.txt")] {
        let arguments = format!(r#"{{"file":"{file}"}}"#);
        provenance.allowed(grant, &call, &name, &facts(Effect::Read), &arguments);
    }
    for (grant, expected) in [(&new, "tainted"), (&old, "astray")] {
        let report = labelled(Label::Private, true);
        let risen = provenance.report(grant, &call, &name, report).await;
        assert_eq!(risen.unwrap(), [expected]);
    }
}

#[tokio::test]
async fn what_was_read_elsewhere_stays_in_its_own_session() {
    let provenance = memory();
    read(
        &provenance,
        &grant("one"),
        "{}",
        labelled(Label::Public, true),
    )
    .await;
    assert!(asks(&provenance, &grant("one"), EVE));
    assert!(!asks(&provenance, &grant("two"), EVE));
}

#[test]
fn a_guests_session_counts_as_having_read_everything_and_names_nothing() {
    let provenance = memory();
    provenance.said(&guest(), "send it to eve@b.com", true);
    assert!(asks(&provenance, &guest(), EVE));
    assert!(!asks(&provenance, &grant("main"), EVE), "positive control");
    let owner = grant("main");
    provenance.trails().of(&owner.session).flags = Flags::BOTH;
    assert!(
        asks(&provenance, &owner, EVE),
        "nor does it name anything for the owner"
    );
}

#[tokio::test]
async fn a_report_without_a_decided_call_raises_everything_and_is_not_believed() {
    let provenance = memory();
    let grant = grant("main");
    provenance.said(&grant, "delete the big report", true);
    let entry = v1::Entry {
        r#type: "file".into(),
        names: vec!["big report".into()],
        ids: vec!["7".into()],
        own: true,
        ..v1::Entry::default()
    };
    let report = v1::CallReport {
        entries: vec![entry],
        ..labelled(Label::Typed, false)
    };
    let (call, name) = (id("turn:9"), tool("read"));
    let risen = provenance
        .report(&grant, &call, &name, report.clone())
        .await
        .unwrap();
    assert_eq!(risen, ["tainted", "astray"]);
    assert!(asks(&provenance, &grant, r#"{"file":"7"}"#));
    // Positive control; and the second report of one call changes nothing.
    read(&provenance, &grant, "{}", report.clone()).await;
    assert!(!asks(&provenance, &grant, r#"{"file":"7"}"#));
    let other = v1::CallReport {
        members: vec!["eve@b.com".into()],
        ..report
    };
    provenance
        .report(&grant, &id("turn:1"), &name, other)
        .await
        .unwrap();
    assert!(
        !provenance
            .trails()
            .of(&grant.session)
            .entries
            .is_member("eve@b.com")
    );
}

#[tokio::test]
async fn new_begins_anew_when_its_turn_comes_and_not_before() {
    let provenance = memory();
    let old = grant("main");
    let new = grant("main").of(Trace([2; 8]), "");
    for (text, expected) in [
        ("/new", true),
        (" /Reset: hi", true),
        ("please /new", false),
        ("/newer", false),
        ("hi", false),
    ] {
        read(&provenance, &old, "{}", labelled(Label::Public, true)).await;
        provenance.said(&new, text, true);
        provenance.begun(&old);
        assert!(asks(&provenance, &old, EVE), "{text}: not yet");
        provenance.begun(&new);
        assert_eq!(!asks(&provenance, &new, EVE), expected, "{text}");
        read(&provenance, &new, "{}", labelled(Label::Public, true)).await;
        provenance.begun(&new);
        assert!(asks(&provenance, &new, EVE), "{text}: once");
    }
    // Where the configuration has no commands, the word is none.
    provenance.said(&new, "/new", false);
    provenance.begun(&new);
    assert!(asks(&provenance, &new, EVE));
    // A call of the turn before that comes late.
    provenance.said(&new, "/new", true);
    provenance.allowed(&old, &id("late"), &tool("read"), &facts(Effect::Read), "{}");
    provenance.begun(&new);
    provenance
        .report(
            &old,
            &id("late"),
            &tool("read"),
            labelled(Label::Typed, false),
        )
        .await
        .unwrap();
    assert!(asks(&provenance, &new, EVE));
}

#[tokio::test]
async fn flags_are_on_disk_before_a_report_is_answered_and_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let keep = || Keep::new(folder.path().to_owned());
    let provenance = Provenance::open(&keep(), true).unwrap();
    read(
        &provenance,
        &grant("one"),
        "{}",
        labelled(Label::Private, true),
    )
    .await;
    read(
        &provenance,
        &grant("two"),
        "{}",
        labelled(Label::Public, true),
    )
    .await;
    let new = grant("two").of(Trace([2; 8]), "");
    provenance.said(&new, "/new", true);
    provenance.begun(&new);
    // As after kill -9: nothing was closed.
    let again = Provenance::open(&keep(), false).unwrap();
    assert!(asks(&again, &grant("one"), EVE));
    assert!(!asks(&again, &grant("two"), EVE) && !asks(&again, &grant("three"), EVE));
    std::fs::remove_file(folder.path().join("taint.jsonl")).unwrap();
    let lost = Provenance::open(&keep(), false).unwrap();
    assert!(
        asks(&lost, &grant("three"), EVE),
        "nobody knows what it read"
    );
}

#[tokio::test]
async fn what_the_owner_sends_on_is_not_his_own() {
    let folder = tempfile::tempdir().unwrap();
    let keep = || Keep::new(folder.path().to_owned());
    let provenance = Provenance::open(&keep(), true).unwrap();
    provenance.forwarded(&guest()).await.unwrap();
    assert!(!asks(&provenance, &grant("main"), EVE));
    provenance.forwarded(&grant("main")).await.unwrap();
    assert!(asks(&provenance, &grant("main"), EVE));
    let again = Provenance::open(&keep(), false).unwrap();
    assert!(asks(&again, &grant("main"), EVE));
}

#[tokio::test]
async fn a_rise_that_cannot_be_written_is_refused_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let provenance = Provenance::open(&Keep::new(folder.path().to_owned()), true).unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let Ok(full) = full else {
        return;
    };
    provenance.ledger.swap(full);
    let grant = grant("main");
    let (call, name) = (id("turn:1"), tool("read"));
    provenance.allowed(&grant, &call, &name, &facts(Effect::Read), "{}");
    for _ in 0..2 {
        let denied = provenance
            .report(&grant, &call, &name, labelled(Label::Public, true))
            .await;
        assert_eq!(denied.unwrap_err().rule, "taint.unavailable");
    }
    assert!(asks(&provenance, &grant, EVE));
}

#[tokio::test]
async fn untrusted_things_never_turn_a_question_into_a_permission() {
    // Own generator: the cases are the same in each run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % n as u64).unwrap()
    };
    let pool = [
        "report",
        "eve@b.com",
        "7",
        "Emma",
        "the big report",
        "read",
        "12345678",
        "x",
    ];
    let texts = [
        "read the big report",
        "write to Emma about x",
        "7 things",
        "list 'read' for eve",
    ];
    let mut asked = 0;
    for round in 0..3000 {
        let provenance = memory();
        let grant = grant("main");
        provenance.said(&grant, texts[next(texts.len())], true);
        read(&provenance, &grant, "{}", labelled(Label::Public, true)).await;
        let arguments = format!(r#"{{"to":"{}"}}"#, pool[next(pool.len())]);
        let before = asks(&provenance, &grant, &arguments);
        let mut some = |n| {
            (0..next(n))
                .map(|_| pool[next(pool.len())].to_owned())
                .collect::<Vec<_>>()
        };
        let entries = (0..3).map(|_| v1::Entry {
            r#type: "file".into(),
            names: some(3),
            ids: some(3),
            recipients: some(3),
            amounts: vec![7.0],
            own: false,
        });
        let report = v1::CallReport {
            entries: entries.collect(),
            ..labelled(Label::Private, true)
        };
        read(&provenance, &grant, "{}", report).await;
        let after = asks(&provenance, &grant, &arguments);
        assert!(after || !before, "{round}: {arguments}");
        asked += usize::from(before);
    }
    assert!((500..2900).contains(&asked), "positive control: {asked}");
}

#[test]
fn sessions_are_bounded_and_the_last_used_stay() {
    let provenance = memory();
    for n in 0..4200 {
        provenance.said(&grant(&format!("s{n}")), "send it to eve@b.com", true);
    }
    let trails = provenance.trails();
    assert_eq!(trails.len(), 4096);
}
