//! What the chat commands promise.

use clawdbot_identity::SessionKey;
use clawdbot_proto::v1;

use super::*;
use crate::transcript::tests::{append, said, thread, user};
use crate::transcript::{End, Settings, Thread};

fn slice() -> AgentSlice {
    AgentSlice {
        agents: vec![v1::AgentProfile {
            id: "main".into(),
            model: "builtin/guide".into(),
            ..Default::default()
        }],
        aliases: vec![
            v1::ModelAlias {
                alias: "helper".into(),
                model: "builtin/guide".into(),
            },
            v1::ModelAlias {
                alias: "opus".into(),
                model: "anthropic/claude-opus-4-5".into(),
            },
        ],
        providers: vec!["builtin".into()],
        models: vec![v1::ModelFacts {
            model: "builtin/guide".into(),
            context_window: 8192,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn answer_in(thread: &Thread, text: &str) -> Reply {
    let slice = slice();
    let key = SessionKey::parse("agent:main:main").unwrap();
    let view = View {
        slice: &slice,
        profile: &slice.agents[0],
        key: &key,
        standing: "owner",
        class: "main",
        thread,
        means: &[],
    };
    let (command, argument) = parse(text, "owner", &slice).unwrap();
    view.answer(command, argument, "done")
}

fn answer(settings: &Settings, text: &str) -> Reply {
    let mut thread = thread();
    thread.settings = settings.clone();
    answer_in(&thread, text)
}

#[test]
fn what_the_table_gives_to_the_agent_is_answered_here_for_those_who_may() {
    let on = slice();
    let off = AgentSlice {
        commands_off: true,
        ..slice()
    };
    for row in COMMANDS {
        for standing in ["owner", "approved", "stranger"] {
            for name in row.names {
                let text = format!("/{name} a b");
                let ours = row.by == By::Agent && row.is_for(Who::of(standing));
                let expected = ours.then_some((row.command, "a b"));
                assert_eq!(parse(&text, standing, &on), expected, "{name} {standing}");
                assert_eq!(parse(&text, standing, &off), None);
            }
        }
    }
    for text in ["", "/stop", "/statusx", "status", "/approve x", "/queue"] {
        assert_eq!(parse(text, "owner", &on), None, "{text:?}");
    }
}

#[test]
fn a_setting_before_a_message_holds_for_the_message_alone() {
    let slice = slice();
    let change = |model: &str, thinking: &str, verbose: &str| {
        let set = |value: &str| Some(value.to_owned()).filter(|value| !value.is_empty());
        Change {
            model: set(model),
            thinking: set(thinking),
            verbose: set(verbose),
            usage: None,
        }
    };
    for (text, expected, rest) in [
        ("/think high why?", change("", "high", ""), "why?"),
        (
            "/t: MED why? so\nlong",
            change("", "medium", ""),
            "why? so\nlong",
        ),
        (
            "/think off /verbose on /model helper go on",
            change("builtin/guide", "off", "on"),
            "go on",
        ),
        ("/think high /status", change("", "high", ""), "/status"),
        ("/think high", Change::default(), "/think high"),
        ("/think about it", Change::default(), "/think about it"),
        ("/model opus hello", Change::default(), "/model opus hello"),
        ("/usage full x", Change::default(), "/usage full x"),
        ("why? /think high", Change::default(), "why? /think high"),
    ] {
        assert_eq!(inline(text, &slice), (expected, rest), "{text}");
    }
}

#[test]
fn a_model_is_chosen_by_reference_alias_or_default() {
    let none = Settings::default();
    for (text, model) in [
        ("/model builtin/guide", "builtin/guide"),
        ("/model Builtin/guide", "builtin/guide"),
        ("/model HELPER", "builtin/guide"),
        ("/model default", ""),
    ] {
        assert_eq!(
            answer(&none, text).change.model.as_deref(),
            Some(model),
            "{text}"
        );
    }
    for text in [
        "/model",
        "/model opus",
        "/model gpt",
        "/model openai/gpt-5",
        "/model a b",
    ] {
        let reply = answer(&none, text);
        assert_eq!(reply.change, Change::default(), "{text}");
        assert!(
            reply.text.contains("default, helper, builtin/…"),
            "{}",
            reply.text
        );
        assert!(
            !reply.text.contains("opus,"),
            "only what can be used is offered"
        );
    }
    let set = Settings {
        model: Some("builtin/other".into()),
        ..Settings::default()
    };
    let shown = answer(&set, "/model").text;
    assert!(shown.starts_with("Model: builtin/other."));
}

#[test]
fn levels_are_taken_from_their_lists_only() {
    let none = Settings::default();
    for level in VERBOSE {
        let reply = answer(&none, &format!("/verbose {}", level.to_uppercase()));
        assert_eq!(reply.change.verbose.as_deref(), Some(level));
    }
    for level in USAGE {
        let reply = answer(&none, &format!("/usage {level}"));
        assert_eq!(reply.change.usage.as_deref(), Some(level));
    }
    for (word, level) in THINKING {
        let reply = answer(&none, &format!("/think {word}"));
        assert_eq!(reply.change.thinking.as_deref(), Some(level));
    }
    for (text, levels) in [
        ("/verbose loud", "on, off or full"),
        ("/usage much", "off, tokens or full"),
        ("/think hard", "xhigh or default"),
    ] {
        let reply = answer(&none, text);
        assert_eq!(reply.change, Change::default());
        assert!(reply.text.contains(levels), "{}", reply.text);
    }
    let set = Settings {
        verbose: Some("full".into()),
        thinking: Some("xhigh".into()),
        usage: Some("tokens".into()),
        model: None,
    };
    for (text, level) in [
        ("/verbose", ": full"),
        ("/think", ": xhigh"),
        ("/usage", ": tokens"),
    ] {
        assert!(answer(&set, text).text.contains(level), "{text}");
    }
}

#[test]
fn status_whoami_and_help_say_what_they_promise() {
    let mut thread = thread();
    append(
        &mut thread,
        vec![(Some("t1"), user("q")), (Some("t1"), said("a", End::Stop))],
    );
    thread.totals.usage.cost_microusd = Some(12_300);
    thread.totals.usage.cache_read_tokens = 1;
    thread.totals.compactions = 2;
    let status = answer_in(&thread, "/status").text;
    for part in [
        "Model: builtin/guide\n",
        "agent:main:main",
        "class main",
        "s1",
        "Messages: 2",
        "2 in, 3 out, 1 of them from the cache, $0.0123",
        "of 8192, summarised 2 times",
        "Thinking: the model's default",
        "shown: off",
    ] {
        assert!(status.contains(part), "{part}: {status}");
    }
    thread.answered_by = Some("b/fallback".into());
    let status = answer_in(&thread, "/status").text;
    assert!(
        status.contains("the last answer is from b/fallback"),
        "{status}"
    );
    let none = Settings::default();
    assert!(answer(&none, "/whoami").text.contains("the owner"));
    let help = answer(&none, "/help").text;
    assert!(COMMANDS.iter().all(|row| help.contains(row.form)));
    for standing in ["approved", "stranger"] {
        let help = super::help(standing);
        for row in COMMANDS {
            let may = row.is_for(Who::of(standing));
            assert_eq!(help.contains(row.what), may, "{} {standing}", row.form);
        }
    }
}

#[test]
fn the_status_says_what_is_left_of_the_budgets() {
    let (slice, key, thread) = (
        slice(),
        SessionKey::parse("agent:main:main").unwrap(),
        thread(),
    );
    let row = |of: &str, what: &str, used, limit| v1::BudgetRow {
        of: of.into(),
        what: what.into(),
        used,
        limit,
        ..Default::default()
    };
    let means = [
        row("run", "calls", 0, 20),
        row("day", "tokens", 600, 1000),
        row("month", "microusd", 1_230_000, 5_000_000),
        row("sender", "tokens", 7, 9),
    ];
    let status = |means: &[v1::BudgetRow]| {
        let view = View {
            slice: &slice,
            profile: &slice.agents[0],
            key: &key,
            standing: "owner",
            class: "main",
            thread: &thread,
            means,
        };
        view.answer(Command::Status, "", "").text
    };
    let line = "Budget: 20 calls for one message; 600 of 1000 tokens today; $1.2300 of $5.0000 this month; 7 of your 9 tokens today";
    assert!(
        status(&means).lines().any(|own| own == line),
        "{}",
        status(&means)
    );
    assert!(!status(&[]).contains("Budget"));
}
