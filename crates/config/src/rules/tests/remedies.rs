//! Every printed command, run: it ends its finding, and everything else of the file is still there.

use std::collections::BTreeSet;

use super::*;
use crate::edit;
use crate::json5;
use crate::path::ConfigPath;

/// A finding as somebody sees it who runs its command.
#[derive(Debug, Clone)]
struct Seen {
    id: &'static str,
    path: String,
    command: String,
    severity: Severity,
}

/// Everything that rules say of a file, whether it loads or not.
fn seen(text: &str) -> Vec<Seen> {
    let mut cx = Cx::default();
    let parsed = json5::parse(text).unwrap_or_else(|error| panic!("{error:?} {text}"));
    let settings = Settings::decode(parsed.root, &mut cx).unwrap();
    assert!(cx.problems.is_empty(), "{:?} {text}", cx.problems);
    let (refused, findings) = check(&Facts::new(&settings, &cx, text, None));
    let refused = refused.into_iter().map(|problem| {
        let (id, cure) = *problem.rule.unwrap();
        let path = problem.path.to_string();
        Seen {
            id,
            command: cure.command(&path, text),
            path,
            severity: Severity::Critical,
        }
    });
    let findings = findings.into_iter().map(|finding| Seen {
        id: finding.id,
        command: finding.cure.command(&finding.path, text),
        path: finding.path,
        severity: finding.severity,
    });
    refused.chain(findings).collect()
}

/// The words of a command as a shell takes them.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => quoted = !quoted,
            '\\' if !quoted => words.last_mut().unwrap().extend(chars.next()),
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    assert!(!quoted, "{command}");
    words
}

/// What somebody fills in.
fn filled(command: &str, channel: &str) -> String {
    let who = PEOPLE.iter().find(|(name, ..)| *name == channel);
    let who = who.map_or("7", |who| who.1.trim_matches('\''));
    let words = [
        ("ADDRESS", "10.0.0.9"),
        ("/HOST:/INSIDE:ro", "/srv/mine:/mine:ro"),
        ("HOST", "host.example"),
        ("\\\\bNAME\\\\b", "\\\\bother\\\\b"),
        ("${NAME}", "${SOME_NAME}"),
        ("\"ID\"", &format!("\"{who}\"")),
        (" ID", &format!(" {who}")),
    ];
    { words.iter() }.fold(command.to_owned(), |text, (word, by)| {
        text.replace(word, by)
    })
}

/// The file after the command.
pub(super) fn run(text: &str, command: &str) -> Result<String, String> {
    let mut text = text.to_owned();
    for one in command.split(" && ") {
        let words = words(one);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let done = match words[..] {
            ["clawdbot", "config", "set", path, value] => {
                edit::set("test", &text, &path.parse().unwrap(), value)
            }
            ["clawdbot", "config", "unset", path] => {
                edit::unset("test", &text, &path.parse().unwrap())
            }
            _ => panic!("{one} is no change of the file"),
        };
        text = done.map_err(|error| match error {
            edit::EditError::Refused(error) => error.render(false),
            error => error.to_string(),
        })?;
    }
    Ok(text)
}

/// What a file says, in any order: the path of each value, where an entry of a list is known by what it is.
fn leaves(text: &str) -> Vec<String> {
    fn add(at: &str, value: &serde_json::Value, all: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(members) => {
                for (key, value) in members {
                    add(&format!("{at}.{key}"), value, all);
                }
            }
            serde_json::Value::Array(items) => {
                for item in items {
                    add(&format!("{at}[]"), item, all);
                }
            }
            value => all.push(format!("{at} = {value}")),
        }
    }
    let mut all = Vec::new();
    add("", &::json5::from_str(text).unwrap(), &mut all);
    all
}

/// The file with entries of its owner in every list that it has, and settings of his beside them.
fn with_own(file: &str) -> String {
    let own = [
        ("deny:[", "deny:['web_fetch',"),
        (
            "allowedOrigins:[",
            "allowedOrigins:['https://mine.example',",
        ),
        ("trustedProxies:[", "trustedProxies:['10.9.9.9',"),
        ("binds:[", "binds:['/mine:/own:ro',"),
        ("tools:{profile", "tools:{deny:['web_fetch'],profile"),
        ("tools:{alsoAllow", "tools:{deny:['web_fetch'],alsoAllow"),
        ("mentionPatterns:[]", "mentionPatterns:['(']"),
        ("limits:{", "limits:{memory:'1g',"),
        ("docker:{", "docker:{image:'mine',"),
        ("env:{vars:{", "env:{vars:{MINE:'1',"),
        ("env:{MY", "env:{MINE:'1',MY"),
    ];
    let mut file = file.to_owned();
    for (from, to) in own {
        file = file.replacen(from, to, 1);
    }
    for (channel, a, b, _) in PEOPLE {
        if file.contains(&format!("{channel}:")) {
            file = file.replace("['*']", &format!("[{b},'*',{a}]"));
        }
    }
    match file.contains("logging:{") {
        true => file.replacen("logging:{", "logging:{level:'debug',", 1),
        false => format!("{{logging:{{level:'debug'}},{}", &file[1..]),
    }
}

/// What shows, by its nature, when something else is ended, and why.
const FOLLOWS: &[(&str, &str, &str)] = &[
    (
        "gateway.bind_no_auth",
        "gateway.loopback_no_auth",
        "a password is for the owner to choose",
    ),
    (
        "dm.disabled",
        "dm.allowFrom.missing",
        "who may write is for the owner to say",
    ),
    (
        "groups.open",
        "groups.allowFrom.missing",
        "who may write is for the owner to say",
    ),
    (
        "groups.no_mention_gate",
        "channels.mention_impossible",
        "the name is for the owner to say",
    ),
    (
        "security.exposure.open_groups_with_runtime_or_fs",
        "groups.open",
        "it is reported when the file loads",
    ),
];

#[test]
fn every_printed_command_ends_its_finding_and_loses_nothing_else() {
    let (mut tried, mut with_entries, mut wrong) = (BTreeSet::new(), 0, Vec::new());
    for (id, bad, _) in cases() {
        for file in [bad.clone(), with_own(&bad)] {
            let before = seen(&file);
            let Some(one) = before.iter().find(|one| one.id == id) else {
                assert_ne!(file, bad, "{id}: {file}");
                continue;
            };
            let rule = all().find(|rule| rule.id == id).unwrap();
            let command = &one.command;
            if command.contains("EDITOR") {
                assert_eq!(rule.cure, Cure::Run(BY_HAND));
                continue;
            }
            let channel = one.path.split('.').nth(1).unwrap_or_default();
            let channel = match one.path.starts_with("tools.elevated") {
                true => one.path.split('.').nth(3).unwrap_or_default(),
                false => channel,
            };
            let command = filled(command, channel);
            let after = match run(&file, &command) {
                Ok(after) => after,
                Err(error) => {
                    wrong.push(format!("{id}: {command} in {file}\n{error}"));
                    continue;
                }
            };
            let told = || format!("{id}: {command}\n{file}\n{after}");
            let left = seen(&after);
            let same = |a: &Seen, b: &Seen| (a.id, &a.path) == (b.id, &b.path);
            if left.iter().any(|other| same(one, other)) {
                wrong.push(format!("it stays: {}", told()));
            }
            for new in left
                .iter()
                .filter(|new| !before.iter().any(|old| same(old, new)))
            {
                let follows = FOLLOWS
                    .iter()
                    .any(|(of, what, _)| id.ends_with(of) && new.id.ends_with(what));
                if !follows && new.severity != Severity::Info {
                    wrong.push(format!("{new:?} follows {}", told()));
                }
            }
            let kept = leaves(&after);
            let mut rest = kept.clone();
            let lost: Vec<_> = leaves(&file)
                .into_iter()
                .filter(|leaf| match rest.iter().position(|kept| kept == leaf) {
                    Some(place) => {
                        rest.swap_remove(place);
                        false
                    }
                    None => true,
                })
                .collect();
            // One value is what is wrong, and what stood for it in a text is spelt out elsewhere.
            let most = command.matches(" && ").count() + 1;
            if lost.len() > most {
                wrong.push(format!("{lost:?} is lost: {}", told()));
            }
            with_entries += usize::from(file != bad);
            tried.insert(id.clone());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(
        tried.len() > 100 && with_entries > 100,
        "{} {with_entries}",
        tried.len()
    );
}

#[test]
fn three_mistakes_are_corrected_by_three_printed_commands_in_any_order() {
    let file = "{\n  // mine\n  gateway: { bind: 'lan', trustedProxies: ['10.0.0.1', '0.0.0.0/0'] },\n  hooks: { path: '/' },\n  tools: { deny: ['web_fetch'], profile: 'coding' },\n  channels: { signal: { groupPolicy: 'open' } },\n}\n";
    let wrong = |text: &str| crate::parse("test", text.as_bytes()).err();
    let commands: Vec<String> = wrong(file)
        .unwrap()
        .mistakes()
        .iter()
        .map(|mistake| {
            let cure = mistake.cure.as_ref();
            let cure = cure.unwrap_or_else(|| panic!("{}", mistake.message));
            cure.command(&mistake.path, file)
        })
        .collect();
    assert_eq!(commands.len(), 4);
    let mut orders: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in &commands {
        let longer = orders.iter().flat_map(|order| {
            let rest = (0..commands.len()).filter(|next| !order.contains(next));
            rest.map(|next| [&order[..], &[next]].concat())
        });
        orders = longer.collect();
    }
    assert_eq!(orders.len(), 24);
    for order in orders {
        let mut text = file.to_owned();
        for (done, next) in order.iter().enumerate() {
            text = run(&text, &commands[*next]).unwrap();
            let left = wrong(&text).map_or(0, |error| error.mistakes().len());
            assert_eq!(left, commands.len() - done - 1, "{text}");
        }
        for kept in ["// mine", "'10.0.0.1'", "'web_fetch'"] {
            assert!(text.contains(kept), "{text}");
        }
    }
}

#[test]
fn an_edit_never_adds_a_mistake_to_those_that_are_there() {
    let path = |path: &str| path.parse::<ConfigPath>().unwrap();
    let file = "{gateway: {bind: 'lan', prot: 1}, hooks: {path: '/'}, bindings: [{agentId: 'x', match: {channel: 'signal'}}, {agentId: 'y', match: {channel: 'signal'}}]}";
    for (at, value) in [
        ("gateway.port", "'x'"),
        ("gateway.trustedProxies", "['::/0']"),
        // Another mistake in the place of one that is there, and the same in another place.
        ("hooks.token", "'${T}'"),
        ("bindings[2]", "{agentId: 'z', match: {channel: 'signal'}}"),
        ("commands.bash", "true"),
    ] {
        let done = edit::set("test", file, &path(at), value);
        // The positive control: this one adds none.
        assert_eq!(done.is_ok(), at == "hooks.token", "{at}");
    }
    // One that is hidden behind another of its section is none that the edit adds.
    let shown = edit::unset("test", file, &path("gateway.prot")).unwrap();
    assert!(shown.contains("bind: 'lan'"));
    // What moves up in a list is not new there.
    let shorter = edit::unset("test", file, &path("bindings[0]")).unwrap();
    assert!(shorter.contains("'y'") && !shorter.contains("'x'"));
    assert!(edit::set("test", file, &path("bindings[0].agentId"), "'main'").is_ok());
    // Nor does a file that was good become bad.
    assert!(edit::set("test", "{}", &path("gateway.bind"), "'lan'").is_err());
    assert!(
        edit::unset(
            "test",
            "{gateway: {bind: 'lan', auth: {token: '${T}'}}}",
            &path("gateway.auth.token")
        )
        .is_err()
    );
}
