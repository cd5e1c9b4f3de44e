//! The steps against a table of lists, alone and in pairs, and the rules of each step.

use std::collections::BTreeSet;

use clawdbot_config::tool_names;
use clawdbot_identity::{Class, SessionKey};
use serde_json::{Value, json};

use super::*;
use crate::distil::tests::reading;

const GROUP: &str = "agent:work:telegram:group:-1";

struct Who {
    session: &'static str,
    sender: &'static str,
    provider: Provider<'static>,
}

const IN_GROUP: Who = Who {
    session: GROUP,
    sender: "7",
    provider: Provider::Known("ollama"),
};

fn lists(config: &Value) -> Lists {
    reading(&config.to_string()).settings.tools
}

fn asking<T>(who: &Who, look: impl FnOnce(&Asker<'_>) -> T) -> T {
    let session = SessionKey::parse(who.session).unwrap();
    look(&Asker {
        class: match session.rest().contains(':') {
            true => Class::Guest,
            false => Class::Main,
        },
        session: &session,
        sender: who.sender,
        provider: who.provider,
        is_named: &|name| name == "@pinned",
    })
}

fn named(name: &str) -> Tool<'_> {
    Tool { name, groups: &[] }
}

/// What may be called, and a tool that nobody knows.
fn allowed(lists: &Lists, who: &Who) -> BTreeSet<String> {
    let names = tool_names().chain(["send_money"]);
    asking(who, |asker| {
        let found = explain(lists, asker, names.map(named));
        for line in &found.tools {
            let judged = judge(lists, asker, named(&line.tool));
            assert_eq!(judged.is_ok(), line.allowed, "explained as decided");
            if let Err(denied) = judged {
                for part in [&line.tool, who.session, &line.source, &line.remedy] {
                    assert!(denied.message.contains(part), "{part}: {}", denied.message);
                }
            }
        }
        let allowed = found.tools.into_iter().filter(|line| line.allowed);
        allowed.map(|line| line.tool).collect()
    })
}

/// Every list that the chain has: the place it belongs to, so that two of the same place do not meet, and what it says.
fn rows() -> Vec<(&'static str, Value)> {
    let agent = |tools: Value| json!({"agents": {"list": [{"id": "work", "tools": tools}]}});
    let group = |rules: Value| json!({"channels": {"telegram": {"groups": {"-1": rules}}}});
    vec![
        ("profile", json!({"tools": {"profile": "minimal"}})),
        ("profile", json!({"tools": {"profile": "coding"}})),
        ("profile", json!({"tools": {"profile": "messaging"}})),
        (
            "provider",
            json!({"tools": {"byProvider": {"ollama": {"profile": "coding"}}}}),
        ),
        (
            "provider",
            json!({"tools": {"byProvider": {"ollama": {"allow": ["group:fs", "exec"]}}}}),
        ),
        (
            "provider",
            json!({"tools": {"byProvider": {"ollama": {"deny": ["group:web"]}}}}),
        ),
        (
            "allow",
            json!({"tools": {"allow": ["group:fs", "sessions_*"]}}),
        ),
        (
            "deny",
            json!({"tools": {"deny": ["write", "group:automation"]}}),
        ),
        (
            "agent",
            agent(json!({"allow": ["read", "exec", "message"]})),
        ),
        ("agent", agent(json!({"deny": ["exec"]}))),
        (
            "agent",
            agent(json!({"byProvider": {"ollama": {"deny": ["read"]}}})),
        ),
        (
            "group",
            group(json!({"tools": {"deny": ["group:runtime", "group:plugins"]}})),
        ),
        (
            "group",
            group(json!({"toolsBySender": {"7": {"allow": ["group:sessions", "write"]}}})),
        ),
        (
            "group",
            json!({"channels": {"telegram": {"groups": {"*": {"tools": {"profile": "messaging"}}}}}}),
        ),
        (
            "sandbox",
            json!({"agents": {"defaults": {"sandbox": {"mode": "all"}}}}),
        ),
    ]
}

/// Lays one configuration over another.
fn join(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                join(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

/// Everything is allowed where nothing else is said.
fn open() -> Value {
    json!({
        "tools": {"profile": "full"},
        "agents": {"defaults": {"sandbox": {"mode": "off"}}, "list": [{"id": "work"}]},
    })
}

fn with(rows: &[&Value]) -> BTreeSet<String> {
    let mut config = open();
    for row in rows {
        join(&mut config, row);
    }
    allowed(&lists(&config), &IN_GROUP)
}

#[test]
fn each_list_takes_away_and_two_of_them_take_away_both() {
    let (rows, everything) = (rows(), with(&[]));
    assert_eq!(everything.len(), tool_names().count() + 1);
    let alone: Vec<_> = rows.iter().map(|(_, row)| with(&[row])).collect();
    for (at, one) in alone.iter().enumerate() {
        assert!(one.len() < everything.len(), "{}", rows[at].1);
        for (other_at, other) in alone.iter().enumerate().take(at) {
            if rows[at].0 != rows[other_at].0 {
                let both = with(&[&rows[other_at].1, &rows[at].1]);
                let expected: BTreeSet<_> = one.intersection(other).cloned().collect();
                assert_eq!(both, expected, "{} {}", rows[at].1, rows[other_at].1);
            }
        }
    }
}

#[test]
fn no_list_ever_adds_to_what_the_others_leave() {
    let rows = rows();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for _ in 0..400 {
        let mut places = BTreeSet::new();
        let mut chosen = Vec::new();
        for _ in 0..6 {
            let (place, row) = &rows[random(rows.len())];
            if places.insert(*place) {
                chosen.push(row);
            }
        }
        let all = with(&chosen);
        for left_out in 0..chosen.len() {
            let mut fewer = chosen.clone();
            fewer.remove(left_out);
            assert!(all.is_subset(&with(&fewer)), "{chosen:?}");
        }
    }
}

#[test]
fn the_owner_begins_with_coding_and_everybody_else_with_messaging() {
    let lists = lists(&json!({}));
    let may = |session, tool| {
        let who = Who {
            session,
            ..IN_GROUP
        };
        asking(&who, |asker| judge(&lists, asker, named(tool)).is_ok())
    };
    for (tool, owner, guest) in [
        ("exec", true, false),
        ("read", true, false),
        ("image", true, false),
        ("session_status", true, true),
        ("sessions_list", true, true),
        ("sessions_spawn", true, false),
        ("web_fetch", false, false),
        ("gateway", false, false),
        ("send_money", false, false),
    ] {
        assert_eq!(may("agent:main:main", tool), owner, "{tool}");
        assert_eq!(may("agent:main:telegram:group:-1", tool), guest, "{tool}");
        assert_eq!(may("agent:main:telegram:dm:5", tool), guest, "{tool}");
    }
}

#[test]
fn an_agents_profile_and_also_allow_stand_in_place_of_everybodys() {
    let config = |tools: Value, own: Value| {
        let mut config = open();
        join(
            &mut config,
            &json!({"tools": tools, "agents": {"list": [{"id": "work", "tools": own}]}}),
        );
        lists(&config)
    };
    for (tools, own, tool, may) in [
        (json!({"profile": "minimal"}), json!({}), "exec", false),
        (
            json!({"profile": "minimal"}),
            json!({"profile": "coding"}),
            "exec",
            true,
        ),
        (
            json!({"profile": "full"}),
            json!({"profile": "minimal"}),
            "exec",
            false,
        ),
        (
            json!({"profile": "minimal", "alsoAllow": ["exec"]}),
            json!({}),
            "exec",
            true,
        ),
        (
            json!({"profile": "minimal", "alsoAllow": ["exec"]}),
            json!({"alsoAllow": ["read"]}),
            "exec",
            false,
        ),
        (
            json!({"profile": "minimal"}),
            json!({"alsoAllow": ["exec"]}),
            "exec",
            true,
        ),
        (
            json!({"profile": "minimal", "deny": ["exec"]}),
            json!({"profile": "full"}),
            "exec",
            false,
        ),
        // Whoever may run commands may patch files.
        (json!({"allow": ["exec"]}), json!({}), "apply_patch", true),
        (json!({"allow": ["exec"]}), json!({}), "write", false),
        (
            json!({"allow": ["exec"], "deny": ["apply_patch"]}),
            json!({}),
            "apply_patch",
            false,
        ),
    ] {
        let lists = config(tools.clone(), own.clone());
        let judged = asking(&IN_GROUP, |asker| judge(&lists, asker, named(tool)).is_ok());
        assert_eq!(judged, may, "{tools} {own} {tool}");
    }
}

#[test]
fn in_a_group_the_most_specific_list_counts() {
    let deny = |tool: &str| json!({"tools": {"deny": [tool]}});
    let rules = json!({
        "*": {"tools": {"deny": ["read"]}, "toolsBySender": {"8": {"deny": ["write"]}}},
        "-1": {
            "tools": {"deny": ["edit"]},
            "toolsBySender": {"7": {"deny": ["exec"]}, "@pinned": {"deny": ["cron"]}, "@other": {"deny": ["process"]}},
            "topics": {"3": deny("image")},
        },
        "-2": {"toolsBySender": {"7": {"deny": ["process"]}}},
    });
    let mut config = open();
    join(
        &mut config,
        &json!({"channels": {"telegram": {"groups": rules}}}),
    );
    let lists = lists(&config);
    let denied = |session, sender| {
        let who = Who {
            session,
            sender,
            ..IN_GROUP
        };
        let all: BTreeSet<_> = tool_names().map(str::to_owned).collect();
        let left = allowed(&lists, &who);
        all.difference(&left).cloned().collect::<Vec<_>>().join(" ")
    };
    for (session, sender, expected) in [
        ("agent:work:telegram:group:-1", "7", "exec"),
        ("agent:work:telegram:group:-1:topic:3", "7", "image"),
        ("agent:work:telegram:group:-1:topic:4", "7", "exec"),
        ("agent:work:telegram:group:-2", "7", "process"),
        ("agent:work:telegram:group:-2", "8", "write"),
        ("agent:work:telegram:group:-2", "9", "read"),
        ("agent:work:telegram:group:-3", "8", "write"),
        ("agent:work:telegram:group:-3", "", "read"),
        ("agent:work:telegram:default:group:-3", "", "read"),
        ("agent:work:telegram:work:group:-3", "", ""),
        ("agent:work:signal:group:-3", "", ""),
        ("agent:work:main", "7", ""),
    ] {
        assert_eq!(denied(session, sender), expected, "{session} {sender}");
    }
    // A name counts for whom the owner approved under it.
    assert_eq!(denied("agent:work:telegram:group:-1", "9"), "cron");
}

#[test]
fn several_accounts_in_one_group_each_take_away() {
    let mut config = open();
    let tools = |tool: &str| json!({"groups": {"-1": {"tools": {"deny": [tool]}}}});
    let mut telegram = tools("read");
    join(
        &mut telegram,
        &json!({"botToken": "${T}", "accounts": {"work": tools("write")}}),
    );
    join(&mut config, &json!({"channels": {"telegram": telegram}}));
    let left = allowed(&lists(&config), &IN_GROUP);
    assert!(!left.contains("read") && !left.contains("write") && left.contains("exec"));
    let of_work = Who {
        session: "agent:work:telegram:work:group:-1",
        ..IN_GROUP
    };
    let left = allowed(&lists(&config), &of_work);
    assert!(left.contains("read") && !left.contains("write"));
}

#[test]
fn the_sandbox_has_lists_of_its_own() {
    let sandbox = |mode: &str, tools: Value| {
        let mut config = open();
        join(
            &mut config,
            &json!({
                "agents": {"defaults": {"sandbox": {"mode": mode}}},
                "tools": {"sandbox": {"tools": tools}},
            }),
        );
        lists(&config)
    };
    for (mode, tools, tool, main, guest) in [
        ("off", json!({}), "browser", true, true),
        ("non-main", json!({}), "browser", true, false),
        ("all", json!({}), "browser", false, false),
        ("all", json!({}), "exec", true, true),
        ("all", json!({}), "message", false, false),
        (
            "all",
            json!({"alsoAllow": ["message"]}),
            "message",
            true,
            true,
        ),
        ("all", json!({"allow": ["read"]}), "exec", false, false),
        ("all", json!({"allow": ["read"]}), "image", true, true),
        (
            "all",
            json!({"allow": ["read"], "deny": ["image"]}),
            "image",
            false,
            false,
        ),
        ("all", json!({"allow": []}), "message", true, true),
        ("all", json!({"allow": []}), "browser", false, false),
        (
            "all",
            json!({"allow": [], "deny": []}),
            "browser",
            true,
            true,
        ),
        ("non-main", json!({"deny": ["exec"]}), "exec", true, false),
    ] {
        let lists = sandbox(mode, tools.clone());
        for (session, may) in [("agent:work:main", main), (GROUP, guest)] {
            let who = Who {
                session,
                ..IN_GROUP
            };
            let judged = asking(&who, |asker| judge(&lists, asker, named(tool)).is_ok());
            assert_eq!(judged, may, "{mode} {tools} {tool} {session}");
        }
    }
}

#[test]
fn a_sub_agent_has_no_sessions_and_no_timed_jobs() {
    let who = Who {
        session: "agent:work:subagent:1",
        ..IN_GROUP
    };
    let left = allowed(&lists(&open()), &who);
    for (tool, may) in [
        ("exec", true),
        ("read", true),
        ("sessions_spawn", false),
        ("session_status", false),
        ("cron", false),
        ("memory_get", false),
    ] {
        assert_eq!(left.contains(tool), may, "{tool}");
    }
}

#[test]
fn a_tool_that_nobody_knows_needs_a_list_that_means_it() {
    for (tools, may) in [
        (json!({"profile": "coding"}), false),
        (json!({"profile": "full"}), true),
        (
            json!({"profile": "coding", "alsoAllow": ["group:plugins"]}),
            true,
        ),
        (
            json!({"profile": "coding", "alsoAllow": ["group:clawdbot"]}),
            false,
        ),
        (json!({"profile": "coding", "alsoAllow": ["*"]}), true),
        (json!({"profile": "full", "deny": ["group:plugins"]}), false),
    ] {
        let lists = lists(&json!({"tools": tools}));
        let main = Who {
            session: "agent:main:main",
            ..IN_GROUP
        };
        let judged = asking(&main, |asker| {
            judge(&lists, asker, named("send_money")).is_ok()
        });
        assert_eq!(judged, may, "{tools}");
    }
}

#[test]
fn a_tool_is_in_the_groups_that_its_process_names() {
    let groups = ["group:fs".to_owned()];
    let tool = Tool {
        name: "grep_files",
        groups: &groups,
    };
    for (tools, may) in [
        (json!({"profile": "coding"}), true),
        (json!({"profile": "messaging"}), false),
        (json!({"profile": "full", "deny": ["group:fs"]}), false),
        (json!({"profile": "full", "deny": ["group:web"]}), true),
    ] {
        let lists = lists(&json!({"tools": tools}));
        let main = Who {
            session: "agent:main:main",
            ..IN_GROUP
        };
        assert_eq!(
            asking(&main, |asker| judge(&lists, asker, tool).is_ok()),
            may,
            "{tools}"
        );
    }
}

#[test]
fn while_nobody_knows_whose_model_asks_every_providers_list_holds() {
    let config = json!({"tools": {"byProvider": {"ollama": {"deny": ["exec"]}, "openai": {"deny": ["read"]}}}});
    let lists = lists(&config);
    let may = |provider, tool| {
        let main = Who {
            session: "agent:main:main",
            provider,
            ..IN_GROUP
        };
        asking(&main, |asker| judge(&lists, asker, named(tool)).is_ok())
    };
    for (provider, exec, read) in [
        (Provider::Known("ollama"), false, true),
        (Provider::Known("openai"), true, false),
        (Provider::Known("anthropic"), true, true),
        (Provider::Unknown, false, false),
    ] {
        assert_eq!(
            (may(provider, "exec"), may(provider, "read")),
            (exec, read),
            "{provider:?}"
        );
    }
    let marks = ["ollama", "openai", "openai"].map(|provider| {
        let main = Who {
            session: "agent:main:main",
            provider: Provider::Known(provider),
            ..IN_GROUP
        };
        asking(&main, |asker| mark(&lists, asker))
    });
    assert!(marks[0] != marks[1] && marks[1] == marks[2]);
}

#[test]
fn a_name_that_means_no_tool_is_a_mistake_wherever_it_stands() {
    for config in [
        json!({"tools": {"allow": ["exce"]}}),
        json!({"tools": {"byProvider": {"ollama": {"deny": ["exce"]}}}}),
        json!({"tools": {"sandbox": {"tools": {"allow": ["exce"]}}}}),
        json!({"agents": {"list": [{"id": "work", "tools": {"alsoAllow": ["exce"]}}]}}),
        json!({"channels": {"telegram": {"groups": {"-1": {"tools": {"deny": ["exce"]}}}}}}),
        json!({"channels": {"telegram": {"groups": {"-1": {"toolsBySender": {"7": {"deny": ["exce"]}}}}}}}),
    ] {
        let text = config.to_string();
        let wrong = clawdbot_config::parse("test.json", text.as_bytes())
            .err()
            .unwrap();
        assert!(wrong.render(false).contains("\"exec\""), "{text}");
        let right = text.replace("exce", "exec");
        assert!(
            clawdbot_config::parse("test.json", right.as_bytes()).is_ok(),
            "{right}"
        );
    }
}
