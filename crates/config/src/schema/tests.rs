//! Walks all rows: what each key accepts, what it says about anything else, and what it proposes for a slip.

use super::*;
use crate::json5;
use crate::path::Segment;
use crate::section::Section;
use crate::shape::{Cx, Kind};

/// A file that sets `path` to `value`, with nothing else in it but the keys that are needed on the way.
fn file(path: &ConfigPath, value: &str) -> String {
    path.segments()
        .iter()
        .rev()
        .fold(value.to_owned(), |inner, segment| match segment {
            Segment::Key(key) => format!("{{{key:?}: {inner}}}"),
            Segment::Index(_) => format!("[{inner}]"),
        })
}

/// What the schema alone says about a file: (path, message, help) of every mistake.
fn mistakes(file: &str) -> Vec<(String, String, String)> {
    let parsed = json5::parse(file).unwrap_or_else(|problem| panic!("{file}: {}", problem.message));
    let mut cx = Cx::default();
    Settings::decode(parsed.root, &mut cx);
    let said = cx.problems.into_iter();
    said.map(|problem| {
        (
            problem.path.to_string(),
            problem.message,
            problem.help.unwrap_or_default(),
        )
    })
    .collect()
}

const SAMPLES: &[(Kind, &str, &str)] = &[
    (Kind::Null, "null", "null"),
    (Kind::Bool, "true", "a boolean"),
    (Kind::Number, "1.5", "a number"),
    (Kind::String, "'text'", "a string"),
    (Kind::Array, "[]", "an array"),
    (Kind::Object, "{}", "an object"),
];

#[test]
fn every_key_loads_with_its_own_type_and_names_both_types_otherwise() {
    let rows = rows();
    assert!(rows.len() > 500, "{}", rows.len());
    for row in &rows {
        let path = row.sample.to_string();
        let good = file(&row.sample, &row.info.example);
        // Siblings that are needed may be missing; the key itself has to be in order.
        let wrong: Vec<_> = mistakes(&good)
            .into_iter()
            .filter(|(at, message, _)| at.starts_with(&path) || message.contains("unknown"))
            .collect();
        assert!(wrong.is_empty(), "{good}: {wrong:?}");
        for (kind, sample, found) in SAMPLES
            .iter()
            .filter(|(kind, ..)| !row.info.kinds.contains(kind))
        {
            let bad = file(&row.sample, sample);
            let said = mistakes(&bad);
            let wanted = format!("must be {}, not {found}", row.info.name);
            assert!(
                said.iter()
                    .any(|(at, message, _)| *at == path && *message == wanted),
                "{kind:?} {bad}: {said:?}"
            );
        }
    }
}

#[test]
fn every_key_is_proposed_for_a_slip_and_the_slip_is_refused() {
    for row in rows().iter().filter(|row| row.key.name.len() > 2) {
        // Two letters change places; where they are the same, one is dropped.
        let name = row.key.name;
        let (head, tail) = name.split_at(name.len() - 2);
        let mut swapped: Vec<char> = tail.chars().collect();
        swapped.swap(0, 1);
        let mut slip: String = head.chars().chain(swapped).collect();
        if slip == name {
            slip.pop();
        }
        let parent = row.sample.parent().unwrap();
        let said = mistakes(&file(&parent.join(&slip), "true"));
        let found = said
            .iter()
            .find(|(_, message, _)| message.contains(&format!("unknown key `{slip}`")));
        let (_, _, help) = found.unwrap_or_else(|| panic!("{}: {said:?}", row.shown));
        assert_eq!(*help, format!("did you mean `{name}`?"), "{}", row.shown);
    }
}

#[test]
fn every_default_is_valid_and_is_what_an_empty_file_gives() {
    for row in rows() {
        let default = (row.key.default)();
        if !default.is_null() && !row.shown.contains('<') && !row.shown.contains("[]") {
            let said = mistakes(&file(&row.sample, &default.to_string()));
            assert!(said.is_empty(), "{} = {default}: {said:?}", row.shown);
        }
    }
    let empty = json5::parse("{}").ok().unwrap();
    assert_eq!(
        Settings::decode(empty.root, &mut Cx::default()),
        Some(Settings::default())
    );
}

#[test]
fn every_effective_value_reads_back_as_the_same_value() {
    let read = |text: &str| {
        Settings::decode(json5::parse(text).ok().unwrap().root, &mut Cx::default()).unwrap()
    };
    for row in rows() {
        let text = file(&row.sample, &row.info.example);
        let first = read(&text);
        let again = read(&first.show().to_string());
        // A literal secret is shown as `[secret]`, which is a literal secret again.
        assert_eq!(first, again, "{text}");
    }
}

#[test]
fn every_refused_key_says_why() {
    fn visit<S: Section>(parent: &str) {
        let path: ConfigPath = parent.parse().unwrap();
        for (gone, why) in S::SPEC.refused {
            let place = path.join(gone);
            let said = mistakes(&file(&place, "{}"));
            let found = said.iter().find(|(at, message, help)| {
                *at == place.to_string() && message == "is not supported" && help == why
            });
            assert!(found.is_some(), "{parent}.{gone}: {said:?}");
            assert!(why.len() > 20);
        }
    }
    visit::<Settings>("");
    visit::<Gateway>("gateway");
    visit::<Channels>("channels");
    visit::<WhatsApp>("channels.whatsapp");
    visit::<WhatsApp>("channels.whatsapp.accounts.work");
    visit::<IMessage>("channels.imessage");
    visit::<AgentDefaults>("agents.defaults");
    visit::<Sandbox>("agents.defaults.sandbox");
    visit::<Sandbox>("agents.list[0].sandbox");
    visit::<Docker>("agents.defaults.sandbox.docker");
    visit::<Messages>("messages");
    visit::<Hooks>("hooks");
    visit::<HookMapping>("hooks.mappings[0]");
    visit::<Env>("env");
}

#[test]
fn every_other_spelling_means_its_key() {
    fn visit<S: Section>(parent: &str) {
        let parent: ConfigPath = parent.parse().unwrap();
        for (from, to) in S::SPEC.also {
            let path = |end: &str| {
                end.split('.')
                    .fold(parent.clone(), |path, key| path.join(key))
            };
            let rows = rows();
            let row = rows.iter().find(|row| row.sample == path(to)).unwrap();
            let read = |text: &str| {
                let mut cx = Cx::default();
                let settings = Settings::decode(json5::parse(text).ok().unwrap().root, &mut cx);
                assert!(cx.problems.is_empty(), "{text}: {}", cx.problems[0].message);
                (settings, cx.set.contains(&path(to)))
            };
            let (meant, _) = read(&file(&path(to), &row.info.example));
            assert_eq!(
                read(&file(&path(from), &row.info.example)),
                (meant, true),
                "{from}"
            );
        }
    }
    visit::<Settings>("");
    visit::<Gateway>("gateway");
    visit::<WhatsApp>("channels.whatsapp");
    visit::<Discord>("channels.discord");
    visit::<Telegram>("channels.telegram");
    visit::<Sandbox>("agents.defaults.sandbox");
}

#[test]
fn the_reference_names_every_key_and_every_rule() {
    let reference = reference_markdown();
    for row in rows() {
        let cell = format!("| `{}` |", row.shown.replace('|', "\\|"));
        assert_eq!(
            reference
                .lines()
                .filter(|line| line.starts_with(&cell))
                .count(),
            1,
            "{cell}"
        );
    }
    for rule in crate::rules::all() {
        assert!(
            reference.contains(&format!("| `{}` |", rule.id)),
            "{}",
            rule.id
        );
    }
    assert!(reference.contains("| `gateway.port` | an integer from 1 to 65535 | `18789` | TCP port of HTTP and WebSocket. | yes |"));
    assert!(reference.contains("| not yet (Discord) |"));
    for (written, means) in [
        ("agent", "agents.defaults"),
        ("channels.signal.dm.policy", "channels.signal.dmPolicy"),
        (
            "agents.defaults.sandbox.docker.network",
            "agents.defaults.sandbox.network",
        ),
    ] {
        assert!(
            reference.contains(&format!("| `{written}` | `{means}` |")),
            "{written}"
        );
    }
}

#[test]
fn the_paths_of_secrets_are_known() {
    let paths = secret_paths();
    for path in [
        "gateway.auth.token",
        "channels.telegram.botToken",
        "channels.telegram.accounts.<id>.botToken",
        "models.providers.<id>.apiKey",
        "models.providers.<id>.headers.<name>",
        "hooks.token",
    ] {
        assert!(
            paths.iter().any(|known| known == path),
            "{path} is not in {paths:?}"
        );
    }
    assert!(!paths.iter().any(|path| path.contains("tokenFile")));
}
