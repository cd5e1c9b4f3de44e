//! Bad input: each gives a clear mistake, and nothing hangs, crashes or recurses without end.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use clawdbot_config::{LoadError, MAX_SIZE, load, parse};

fn refused(text: &[u8]) -> LoadError {
    parse("bad", text).err().unwrap_or_else(|| panic!("loads"))
}

fn cannot_load(path: &Path) -> LoadError {
    load(path)
        .err()
        .unwrap_or_else(|| panic!("{} loads", path.display()))
}

#[test]
fn five_thousand_nested_objects() {
    let text = format!("{{gateway:{}", "{a:".repeat(5000));
    let error = refused(text.as_bytes());
    assert!(error.first().starts_with("bad:1:"), "{}", error.first());
    assert!(error.first().ends_with("nested deeper than 64 levels"));
    assert!(error.render(false).len() < 1000);
}

#[test]
fn a_hundred_levels_are_refused_where_they_get_too_deep_and_sixty_four_are_not() {
    for (open, close) in [("{a:", "}"), ("[", "]")] {
        let nested = |levels: usize| {
            let (open, close) = (open.repeat(levels), close.repeat(levels));
            format!("{{meta: {open}1{close}}}")
        };
        assert!(parse("deep", nested(63).as_bytes()).is_ok());
        let error = refused(nested(100).as_bytes());
        assert!(error.first().ends_with("nested deeper than 64 levels"));
        let column = 8 + 63 * open.len();
        assert!(
            error.first().starts_with(&format!("bad:1:{column}:")),
            "{}",
            error.first()
        );
    }
}

#[test]
fn ten_megabytes_are_refused_before_they_are_read_whatever_is_in_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clawdbot.json");
    for piece in [
        "{a:",
        "'",
        "/*",
        "{gateway:{port:1}},",
        "\\",
        "1",
        "\u{202e}",
        "\0",
    ] {
        let text = piece.repeat(10_000_000 / piece.len());
        std::fs::write(&path, &text).unwrap();
        let error = cannot_load(&path);
        assert!(
            error.first().contains("larger than 1048576 bytes"),
            "{piece:?}"
        );
        assert!(error.render(false).len() < 1000);
        // As much of it as is read at all, cut off in the middle.
        let end = text.floor_char_boundary(MAX_SIZE);
        assert!(
            refused(&text.as_bytes()[..end]).render(false).len() < 5000,
            "{piece:?}"
        );
    }
}

#[test]
fn a_key_that_is_set_twice_is_refused_wherever_it_stands_and_names_both_places() {
    for text in [
        "{gateway: {port: 1}, gateway: {port: 1}}",
        "{gateway: {port: 1, 'port': 1}}",
        "{channels: {telegram: {groups: {'*': {}, '*': {}}}}}",
        "{meta: {a: 1, a: 2}}",
        "{gateway: {port: 1, p\\u006frt: 2}}",
    ] {
        let error = refused(text.as_bytes());
        assert!(error.first().ends_with("is set twice"), "{}", error.first());
        let shown = error.render(false);
        assert!(shown.contains("note: first set here: bad:1:"), "{shown}");
    }
}

#[test]
fn nothing_that_is_not_a_number_counts_as_one() {
    for value in [
        "NaN",
        "Infinity",
        "-Infinity",
        "+NaN",
        "1e999",
        "-0.5",
        "1.5",
        "0x1ffffffffffffffff",
    ] {
        let error = refused(format!("{{gateway: {{port: {value}}}}}").as_bytes());
        let said = "gateway.port must be an integer from 1 to 65535";
        assert!(error.first().contains(said), "{value}: {}", error.first());
    }
    let budget =
        |value: &str| format!("{{agents: {{defaults: {{budget: {{dailyUsd: {value}}}}}}}}}");
    for value in ["NaN", "Infinity", "-Infinity", "1e999", "-1"] {
        let error = refused(budget(value).as_bytes());
        assert!(error.first().contains("must be a number from 0"), "{value}");
    }
    assert!(parse("good", budget("1e3").as_bytes()).is_ok());
}

#[test]
fn an_id_beyond_what_a_double_holds_is_exact_or_has_to_be_quoted() {
    // 2^53 + 1, which a double turns into 2^53.
    let exact = "9007199254740993";
    for (channel, id, quoted) in [
        ("telegram", exact, false),
        ("telegram", "9223372036854775808", true),
        ("telegram", "1e30", true),
        ("discord", "1234567890123456789", true),
        ("discord", "18446744073709551615", true),
    ] {
        let file = |id: &str| format!("{{channels: {{{channel}: {{allowFrom: [{id}]}}}}}}");
        let path = format!("channels.{channel}.allowFrom[0]");
        match quoted {
            false => {
                let loaded = parse("good", file(id).as_bytes()).unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(loaded.get(&path).unwrap(), id);
            }
            true => {
                let shown = refused(file(id).as_bytes()).render(false);
                assert!(shown.contains(&format!("{path} must be ")), "{shown}");
                assert!(shown.contains("help: write it in quotes"), "{shown}");
            }
        }
        if !id.contains('e') && !id.starts_with("9223372036854775808") {
            let loaded = parse("good", file(&format!("'{id}'")).as_bytes());
            assert_eq!(
                loaded.unwrap_or_else(|e| panic!("{e}")).get(&path).unwrap(),
                id
            );
        }
    }
    // As a key, too.
    let guild = "{channels: {discord: {guilds: {1234567890123456789: {}}}}}";
    let shown = refused(guild.as_bytes()).render(false);
    assert!(
        shown.contains("begins with a digit or - needs quotes"),
        "{shown}"
    );
}

#[test]
fn invalid_utf8_names_its_line() {
    let error = refused(b"{\n  gateway: {\n    bind: 'l\xffn',\n  }\n}");
    assert_eq!(error.first(), "bad:3:13: invalid UTF-8 at byte 27");
    assert!(error.render(false).contains("bind: 'l\u{fffd}n'"));
}

#[test]
fn a_byte_order_mark_is_tolerated_and_counts_as_nothing() {
    assert!(parse("bom", "\u{feff}{gateway: {port: 1024}}".as_bytes()).is_ok());
    assert_eq!(
        refused("\u{feff}{x: 1}".as_bytes()).mistakes()[0]
            .place
            .unwrap()
            .column,
        2
    );
}

#[test]
fn control_and_bidi_characters_are_shown_escaped() {
    for text in [
        "{gateway: {bind: 'l\u{202e}an'}}",
        "{'\u{1b}[2Jx': 1}",
        "{gateway: \u{2066}1}",
        "{\u{0}: 1}",
        "{gateway: {bind: '\u{7f}\u{9b}'}}",
    ] {
        let error = refused(text.as_bytes());
        for shown in [
            error.render(false),
            error.first(),
            error.to_json().to_string(),
        ] {
            assert!(
                shown
                    .chars()
                    .all(|c| c == '\n' || !clawdbot_identity::text::is_deceptive(c)),
                "{shown:?}"
            );
        }
        assert!(error.render(false).contains("\\u{"));
    }
}

#[test]
fn a_name_of_the_file_cannot_play_tricks_either() {
    let error = parse("a\u{1b}[2J\nb", b"{x:1}").err().unwrap();
    assert_eq!(error.first(), "a\\u{1b}[2J\\nb:1:2: unknown key `x`");
}

#[test]
fn a_file_full_of_mistakes_is_bounded() {
    let members: Vec<_> = (0..20_000)
        .map(|index| format!("\"key-{index}\": 1"))
        .collect();
    let error = refused(format!("{{{}}}", members.join(",")).as_bytes());
    assert_eq!(error.mistakes().len(), 50);
    let shown = error.render(false);
    assert!(shown.len() < 50_000);
    assert!(
        shown.contains("50 mistakes in bad and 19950 more"),
        "{}",
        &shown[shown.len() - 100..]
    );
}

#[test]
fn lists_and_what_is_inherited_are_bounded() {
    let people = |count: usize| {
        (1..=count)
            .map(|id| id.to_string())
            .collect::<Vec<_>>()
            .join(",")
    };
    let file = |people: &str, accounts: usize| {
        let accounts: Vec<_> = (0..accounts)
            .map(|index| format!("a{index}:{{}}"))
            .collect();
        format!(
            "{{channels:{{telegram:{{allowFrom:[{people}],accounts:{{{}}}}}}}}}",
            accounts.join(",")
        )
    };
    assert!(parse("big", file(&people(10_000), 10).as_bytes()).is_ok());
    assert!(
        refused(file(&people(10_001), 0).as_bytes())
            .first()
            .ends_with("has 10001 entries, more than 10000")
    );
    let error = refused(file(&people(10_000), 1000).as_bytes());
    assert!(
        error
            .first()
            .contains("channels.telegram.accounts has 1000 entries that inherit"),
        "{}",
        error.first()
    );
}

#[test]
fn a_huge_key_is_cut() {
    let error = refused(format!("{{{}: 1}}", "k".repeat(500_000)).as_bytes());
    assert!(error.render(false).len() < 1000);
}

#[test]
fn the_size_is_bounded() {
    let just = format!("{{}}{}", " ".repeat(MAX_SIZE - 2));
    assert!(parse("big", just.as_bytes()).is_ok());
    assert!(
        refused(format!("{just} ").as_bytes())
            .first()
            .contains("larger than 1048576 bytes")
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clawdbot.json");
    std::fs::write(&path, format!("{just} ")).unwrap();
    assert!(cannot_load(&path).first().contains("larger than"));
    std::fs::write(&path, just).unwrap();
    assert!(load(&path).is_ok());
}

#[test]
fn no_file_means_defaults() {
    let directory = tempfile::tempdir().unwrap();
    let loaded =
        load(&directory.path().join("clawdbot.json")).unwrap_or_else(|error| panic!("{error}"));
    assert!(loaded.source.is_none() && loaded.findings.is_empty() && loaded.inactive().is_empty());
    assert_eq!(loaded.get("gateway.port").unwrap(), 18789);
    assert_eq!(loaded.get("gateway.bind").unwrap(), "loopback");
    assert_eq!(
        loaded.get("agents.defaults.sandbox.mode").unwrap(),
        "non-main"
    );
    assert_eq!(loaded.get("session.dmScope").unwrap(), "per-channel-peer");
    assert_eq!(
        loaded
            .get("gateway.http.endpoints.toolsInvoke.enabled")
            .unwrap(),
        false
    );
}

#[test]
fn what_is_no_file_is_refused_without_waiting_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let error = cannot_load(directory.path());
    assert!(
        error.first().ends_with("this is a directory, not a file"),
        "{}",
        error.first()
    );
    assert!(error.render(false).contains("help: "));
    let fifo = directory.path().join("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    assert!(
        cannot_load(&fifo)
            .first()
            .ends_with("this is not a regular file")
    );
    assert!(
        cannot_load(Path::new("/dev/zero"))
            .first()
            .ends_with("this is not a regular file")
    );
    let file = directory.path().join("file");
    std::fs::write(&file, "{}").unwrap();
    assert!(
        cannot_load(&file.join("clawdbot.json"))
            .render(false)
            .contains("is a file, not a directory")
    );
    assert!(load(&file).is_ok());
}

#[test]
fn an_unreadable_file_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clawdbot.json");
    std::fs::write(&path, "{}").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads what it likes; then the file of mode 0 loads, which is just as true.
    match std::fs::File::open(&path) {
        Ok(_) => assert!(load(&path).is_ok()),
        Err(_) => {
            let error = cannot_load(&path);
            assert!(
                error.first().contains("cannot read the file"),
                "{}",
                error.first()
            );
            assert!(error.render(false).contains("mode 600"));
        }
    }
}
