//! What people see when their file is wrong, word for word.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

use clawdbot_config::{LoadError, parse};

fn error(text: &str) -> LoadError {
    match parse("clawdbot.json", text.as_bytes()) {
        Err(error) => error,
        Ok(_) => panic!("loads: {text}"),
    }
}

fn shows(text: &str, wanted: &str) {
    assert_eq!(
        error(text).render(false).trim_end(),
        wanted.trim(),
        "{text}"
    );
}

#[test]
fn all_mistakes_of_a_file_at_once_in_its_order() {
    shows(
        r#"{
  gateway: { prot: 18789, bind: "lam", port: "18789" },
  agents: {
    defaults: { model: "llama3", timeoutSeconds: 0 },
  },
  tools: { deny: ["exce"] },
  bindings: [{ agentId: "wrok", match: { channel: "telegram" } }],
}"#,
        r#"
clawdbot.json:2:14: gateway has the unknown key `prot`
  2 |   gateway: { prot: 18789, bind: "lam", port: "18789" },
    |              ^^^^
help: did you mean `port`?

clawdbot.json:2:33: gateway.bind must be one of "loopback", "lan", "tailnet", "custom", "auto", not "lam"
  2 |   gateway: { prot: 18789, bind: "lam", port: "18789" },
    |                                 ^^^^^
help: did you mean "lan"?

clawdbot.json:2:46: gateway.port must be an integer from 1 to 65535, not a string
  2 |   gateway: { prot: 18789, bind: "lam", port: "18789" },
    |                                              ^^^^^^^
help: write it without quotes

clawdbot.json:4:24: agents.defaults.model.primary must have the form provider/model, for instance ollama/llama3
  4 |     defaults: { model: "llama3", timeoutSeconds: 0 },
    |                        ^^^^^^^^

clawdbot.json:4:50: agents.defaults.timeoutSeconds must be an integer from 1 to 86400, not 0
  4 |     defaults: { model: "llama3", timeoutSeconds: 0 },
    |                                                  ^

clawdbot.json:6:19: tools.deny[0] names the tool "exce", which does not exist
  6 |   tools: { deny: ["exce"] },
    |                   ^^^^^^
help: did you mean "exec"?

clawdbot.json:7:25: bindings[0].agentId names the agent "wrok", which does not exist
  7 |   bindings: [{ agentId: "wrok", match: { channel: "telegram" } }],
    |                         ^^^^^^
help: name an agent of agents.list, or main

7 mistakes in clawdbot.json
"#,
    );
}

#[test]
fn syntax() {
    shows(
        "{\n  gateway: {\n    port: 1\n    bind: 'lan'\n  }\n}",
        "
clawdbot.json:4:5: expected `,` or `}`, found `b`
  4 |     bind: 'lan'
    |     ^

1 mistake in clawdbot.json
",
    );
    shows(
        "{\n  gateway: {\n    port: 1,\n",
        "
clawdbot.json:4:1: expected a key or `}`, found the end of the file
  4 | 
    | ^
note: this bracket is never closed: clawdbot.json:2:12

1 mistake in clawdbot.json
",
    );
}

#[test]
fn duplicate_keys_name_both_places() {
    shows(
        "{\n  gateway: { port: 1 },\n  \"gateway\": { port: 2 },\n}",
        "
clawdbot.json:3:3: the key `gateway` is set twice
  3 |   \"gateway\": { port: 2 },
    |   ^^^^^^^^^
note: first set here: clawdbot.json:2:3
help: keep one of the two

1 mistake in clawdbot.json
",
    );
}

#[test]
fn two_spellings_with_different_values() {
    shows(
        "{agent: {model: 'ollama/a'},\n agents: {defaults: {model: {primary: 'ollama/b'}}}}",
        "
clawdbot.json:1:17: agents.defaults.model.primary is set in two spellings with different values
  1 | {agent: {model: 'ollama/a'},
    |                 ^^^^^^^^^^
note: the other value: clawdbot.json:2:39
help: keep one of the two

1 mistake in clawdbot.json
",
    );
}

#[test]
fn a_rule_that_can_be_accepted_says_how() {
    shows(
        "{agents: {defaults: {sandbox: {docker: {user: 'root'}}}}}",
        "
clawdbot.json:1:47: agents.defaults.sandbox.docker.user is root, one kernel mistake away from this machine's root
  1 | {agents: {defaults: {sandbox: {docker: {user: 'root'}}}}}
    |                                               ^^^^^^
help: write user: \"1000:1000\"; if you want it all the same: dangerous: { accept: [\"sandbox.docker_user_root\"] }

1 mistake in clawdbot.json
",
    );
}

#[test]
fn colour_only_on_request_and_the_same_text_otherwise() {
    let error = error("{gateway: {prot: 1}}");
    let (plain, coloured) = (error.render(false), error.render(true));
    assert!(!plain.contains('\u{1b}'));
    assert!(coloured.contains("\u{1b}[31m^^^^\u{1b}[0m"));
    let mut stripped = coloured;
    for code in ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[31m", "\u{1b}[36m"] {
        stripped = stripped.replace(code, "");
    }
    assert_eq!(stripped, plain);
}

#[test]
fn one_line_and_json() {
    let error = error("{agents: {prot: 1}, gateway: {bind: 'lan'}}");
    assert_eq!(
        error.first(),
        "clawdbot.json:1:11: agents has the unknown key `prot`"
    );
    assert_eq!(error.to_string(), error.first());
    assert_eq!(
        error.to_json(),
        serde_json::json!({
            "file": "clawdbot.json",
            "errors": [
                {"line": 1, "column": 11, "path": "agents", "message": "agents has the unknown key `prot`", "help": "valid keys: defaults, list"},
                {
                    "line": 1, "column": 37, "path": "gateway.bind", "rule": "gateway.bind_no_auth",
                    "message": "gateway.bind is \"lan\", which other machines can reach, and the file sets no token or password",
                    "help": "write auth: { token: \"${CLAWDBOT_GATEWAY_TOKEN}\" } or a password beside it, or bind: \"loopback\"",
                },
            ],
            "more": 0,
        })
    );
}

#[test]
fn help_for_what_people_write() {
    for (text, message, help) in [
        ("{gateway:{port:0}}", "not 0", ""),
        ("{gateway:{port:70000}}", "not 70000", ""),
        ("{gateway:{port:1.5}}", "not 1.5", ""),
        (
            "{gateway:{bind:'0.0.0.0'}}",
            "must not be \"0.0.0.0\"",
            "write \"loopback\"",
        ),
        (
            "{gateway:{bind:'any'}}",
            "must not be \"any\"",
            "write \"loopback\"",
        ),
        (
            "{gateway:{bind:'custom',customBindHost:'myhost'}}",
            "must be an IP address",
            "192.168.1.10",
        ),
        (
            "{gateway:{token:'x'}}",
            "gateway.token is not supported",
            "auth: { token",
        ),
        (
            "{gateway:{rateLimit:{}}}",
            "gateway has the unknown key `rateLimit`",
            "belongs to `gateway.auth.rateLimit`",
        ),
        (
            "{banana:1}",
            "unknown key `banana`",
            "valid keys: $schema, gateway, channels",
        ),
        (
            "{channels:{telegram:{dm:{polcy:'open'}}}}",
            "channels.telegram.dm has the unknown key `polcy`",
            "did you mean `policy`?",
        ),
        (
            "{channels:{discord:{dm:{polcy:'open'}}}}",
            "channels.discord.dm has the unknown key `polcy`",
            "did you mean `policy`?",
        ),
        (
            "{channels:{telegram:{dm:5}}}",
            "channels.telegram.dm must be an object, not an integer",
            "",
        ),
        (
            "{channels:{telegram:{allowFrom:'@somebody'}}}",
            "must be an array",
            "put it in brackets",
        ),
        (
            "{channels:{whatsapp:{allowFrom:[15555550100]}}}",
            "a string), not an integer",
            "write it in quotes",
        ),
        (
            "{channels:{whatsapp:{allowFrom:['1555']}}}",
            "must be a phone number with +",
            "+15555550100",
        ),
        (
            "{channels:{slack:{}}}",
            "channels.slack is not supported",
            "whatsapp, telegram",
        ),
        (
            "{channels:{whatsapp:{authDir:'/x'}}}",
            "is not supported",
            "broker",
        ),
        (
            "{commands:{ownerAllowFrom:['123']}}",
            "CHANNEL:IDENTITY",
            "telegram:123456789",
        ),
        (
            "{agents:{defaults:{sandbox:{network:'host'}}}}",
            "must not be \"host\"",
            "\"none\" or \"allowlist\"",
        ),
        (
            "{agents:{defaults:{sandbox:{docker:{network:'container:x'}}}}}",
            "must be one of \"none\"",
            "allowed: ",
        ),
        (
            "{agents:{defaults:{sandbox:{docker:{capAdd:['ALL']}}}}}",
            "is not supported",
            "on purpose",
        ),
        (
            "{agents:{defaults:{sandbox:{perSession:true,scope:'shared'}}}}",
            "`perSession` and `scope`",
            "keep `scope`",
        ),
        (
            "{agents:{list:[{name:'x'}]}}",
            "agents.list[0] needs the key `id`",
            "",
        ),
        (
            "{agents:{list:[{id:'No'}]}}",
            "agents.list[0].id must be 1 to 64 characters",
            "",
        ),
        (
            "{agents:{defaults:{model:5}}}",
            "agents.defaults.model must be a string or an object, not an integer",
            "in quotes",
        ),
        (
            "{agents:{defaults:{heartbeat:{every:'often'}}}}",
            "must be a length of time",
            "\"30m\"",
        ),
        (
            "{$include:'x.json'}",
            "$include is not supported",
            "one file",
        ),
        (
            "{secrets:{providers:{}}}",
            "secrets is not supported",
            "{source, id}",
        ),
        (
            "{env:{shellEnv:{enabled:true}}}",
            "env.shellEnv is not supported",
            "no log-in shell",
        ),
        ("{browser:{}}", "browser is not supported", "browser"),
        (
            "{tools:{exec:{host:'node'}}}",
            "must not be \"node\"",
            "no remote nodes",
        ),
        (
            "{channels:{signal:{textChunkLimit:5000}}}",
            "must be an integer from 1 to 4000, not 5000",
            "",
        ),
        (
            "{channels:{signal:{cliPath:'sh -c x'}}}",
            "without arguments",
            "signal-cli",
        ),
        (
            "{channels:{telegram:{accounts:{'Not Good':{}}}}}",
            "has the key `Not Good`: it must be 1 to 64",
            "",
        ),
        ("[]", "must be an object, not an array", ""),
        ("", "the file is empty", "write {}"),
    ] {
        let error = error(text);
        let mistake = &error.mistakes()[0];
        assert!(
            mistake.message.contains(message),
            "{text}: {}",
            mistake.message
        );
        assert!(
            mistake.help.clone().unwrap_or_default().contains(help),
            "{text}: {:?}",
            mistake.help
        );
        assert_eq!(error.mistakes().len(), 1, "{text}: {}", error.render(false));
    }
}

#[test]
fn a_finding_names_the_place_of_its_setting_or_of_what_lies_around_it() {
    let text =
        "{\n  logging: { redactSensitive: 'off' },\n  channels: {\n    telegram: {},\n  },\n}";
    let loaded = parse("c.json", text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let place = |id: &str| {
        let found = loaded.findings.iter().find(|finding| finding.id == id);
        let place = found
            .unwrap_or_else(|| panic!("{:?}", loaded.findings))
            .place;
        place.map(|place| (place.line, place.column))
    };
    assert_eq!(place("logging.redact_off"), Some((2, 31)));
    assert_eq!(
        place("channels.telegram.dm.allowFrom.missing"),
        Some((4, 15))
    );
    assert!(
        loaded
            .findings
            .iter()
            .all(|finding| !finding.why.is_empty())
    );
}
