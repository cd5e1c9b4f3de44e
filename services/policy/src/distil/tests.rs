//! What a file means to policy.

use super::*;
use crate::settings::Route;
use crate::settings::tests::{agent, defaults};

pub(crate) fn reading(text: &str) -> Reading {
    let loaded = config::parse("test.json", text.as_bytes());
    distil(loaded.unwrap_or_else(|error| panic!("{}", error.render(false))))
        .ok()
        .unwrap()
}

/// The settings where the environment holds nothing.
pub(crate) fn settings_of(text: &str) -> Settings {
    let mut reading = reading(text);
    reading.settle(Some(false), None);
    reading.settings
}

fn value(secret: &HeldSecret) -> String {
    match &secret.value {
        HeldValue::Literal(literal) => {
            literal.expose(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
        }
        HeldValue::Reference { source, id } => format!("{source}:{id}"),
    }
}

#[test]
fn an_empty_file_means_the_defaults() {
    let Reading { auth, secrets, .. } = reading("{}");
    assert_eq!(settings_of("{}"), defaults());
    assert!(matches!(
        (auth.mode, auth.token, auth.password),
        (AuthMode::Token, Given::Nothing, Given::Nothing)
    ));
    assert!(secrets.is_empty());
}

#[test]
fn every_setting_that_policy_uses_arrives() {
    let settings = reading(
        r#"{
        gateway: {
            port: 2000, bind: "custom", customBindHost: "10.0.0.1", allowedOrigins: ["https://a.example"],
            auth: { token: "5f8e1c0a9b7d4632f1e0c9d8a7b6e5f4", rateLimit: { maxAttempts: 3, windowSeconds: 30, lockoutSeconds: 90 } },
            reload: { mode: "off", debounceMs: 7 }, http: { endpoints: { chatCompletions: { enabled: true } } },
        },
        agents: {
            defaults: {
                model: { primary: "ollama/llama3", fallbacks: ["openai/gpt"] }, workspace: "~/work", timeoutSeconds: 60,
                maxConcurrent: 2, verboseDefault: "full", models: { "anthropic/claude": { alias: "best" } },
                sandbox: { mode: "all", scope: "agent" },
            },
            list: [{ id: "helper", name: "Helper", model: "builtin/guide", workspace: "/srv/helper" }, { id: "second" }],
        },
        models: { providers: { ollama: { baseUrl: "http://10.0.0.5:11434", api: "openai-completions" } } },
        tools: { allow: ["group:fs"], deny: ["exec"] },
        logging: { level: "debug" },
        sandbox: { require: "full" },
        messages: { responsePrefix: "[bot]" },
        commands: { ownerAllowFrom: ["telegram:42"] },
        pairing: { approvalTtl: "1h" },
        bindings: [
            { agentId: "second", match: { channel: "telegram", peer: { kind: "group", id: "-5" } } },
            { agentId: "helper", match: { channel: "telegram", accountId: "*" } },
            { agentId: "helper", match: { channel: "telegram", accountId: "work" } },
            { agentId: "helper", match: { channel: "discord", guildId: "1" } },
        ],
    }"#,
    )
    .settings;
    let defaults_of = |id: &str| {
        let model = |text| clawdbot_identity::ModelRef::parse(text).unwrap();
        Agent {
            model: Some(model("ollama/llama3")),
            fallbacks: vec![model("openai/gpt")],
            workspace: Some("~/work".to_owned()),
            ..agent(id)
        }
    };
    let helper = Agent {
        name: "Helper".to_owned(),
        model: Some(clawdbot_identity::ModelRef::parse("builtin/guide").unwrap()),
        workspace: Some("/srv/helper".to_owned()),
        ..defaults_of("helper")
    };
    assert_eq!(
        settings.agents,
        [helper, defaults_of("second"), defaults_of("main")]
    );
    assert_eq!(settings.default_agent.as_str(), "helper");
    let answers: Vec<_> = settings
        .providers
        .iter()
        .map(|own| {
            (
                own.id.as_str(),
                own.endpoint
                    .as_ref()
                    .map(|end| (end.base_url.as_str(), end.api, end.named)),
            )
        })
        .collect();
    assert_eq!(
        answers,
        [
            (
                "anthropic",
                Some(("https://api.anthropic.com", "anthropic-messages", false))
            ),
            ("builtin", None),
            (
                "ollama",
                Some(("http://10.0.0.5:11434", "openai-completions", true))
            ),
            (
                "openai",
                Some(("https://api.openai.com/v1", "openai-responses", false))
            ),
        ]
    );
    assert_eq!(
        settings.providers[0].endpoint.as_ref().unwrap().api_version,
        "2023-06-01"
    );
    assert_eq!(
        (
            settings.endpoints.chat_completions,
            settings.endpoints.responses,
            settings.response_prefix.as_str()
        ),
        (true, false, "[bot]")
    );
    assert_eq!(settings.owners.as_ref().unwrap()[0].as_str(), "telegram:42");
    assert_eq!(settings.approval_ttl, Some(Duration::from_secs(3600)));
    let route =
        |agent: &str, account: Option<&str>, peer: Option<(config::PeerKind, &str)>| Route {
            agent: AgentId::parse(agent).unwrap(),
            channel: "telegram",
            account: account.map(str::to_owned),
            peer: peer.map(|(kind, id)| (kind, id.to_owned())),
            server: None,
        };
    assert_eq!(
        settings.routes,
        [
            route(
                "second",
                Some("default"),
                Some((config::PeerKind::Group, "-5"))
            ),
            Route {
                channel: "discord",
                server: Some("1".to_owned()),
                ..route("helper", Some("default"), None)
            },
            route("helper", Some("work"), None),
            route("helper", None, None),
        ]
    );
    assert_eq!(settings.bind, Bind::Custom("10.0.0.1".parse().unwrap()));
    let limit = Limit {
        max_attempts: 3,
        window: Duration::from_secs(30),
        lockout: Duration::from_secs(90),
    };
    assert_eq!((settings.port, settings.limit), (2000, Some(limit)));
    assert_eq!(
        settings.reload,
        Reload {
            live: false,
            debounce: Duration::from_millis(7)
        }
    );
    assert_eq!(settings.allowed_origins, ["https://a.example"]);
    assert_eq!(
        (
            settings.timeout_seconds,
            settings.max_concurrent,
            settings.verbose_default
        ),
        (60, 2, true)
    );
    assert_eq!(
        (settings.log_level, settings.sandbox_require),
        ("debug", "full")
    );
    assert_eq!(
        (settings.sandbox_mode, settings.sandbox_scope),
        ("all", "agent")
    );
    assert_eq!(
        (
            settings.aliases[0].0.as_str(),
            settings.aliases[0].1.as_str()
        ),
        ("best", "anthropic/claude")
    );
    assert_eq!(
        (
            settings.tools.base.allow.len(),
            settings.tools.base.deny.len()
        ),
        (1, 1)
    );
}

#[test]
fn the_log_in_comes_from_where_the_file_says() {
    let token = |text: &str| {
        reading(&format!("{{gateway: {{auth: {{token: {text}}}}}}}"))
            .auth
            .token
    };
    assert!(
        matches!(token(r#""5f8e1c0a9b7d4632f1e0c9d8a7b6e5f4""#), Given::Literal(bytes) if bytes.len() == 32)
    );
    assert!(
        matches!(token(r#""${CLAWDBOT_GATEWAY_TOKEN}""#), Given::Environment(name) if name == "CLAWDBOT_GATEWAY_TOKEN")
    );
    assert!(matches!(
        token(r#"{source: "vault", id: "x"}"#),
        Given::Elsewhere("the vault")
    ));
    let auth = reading(r#"{gateway: {auth: {password: "a long password"}}}"#).auth;
    assert!(matches!(
        (auth.mode, auth.password),
        (AuthMode::Password, Given::Literal(_))
    ));
}

#[test]
fn workers_secrets_leave_and_policys_own_stay() {
    let reading = reading(
        r#"{
        gateway: { auth: { token: "5f8e1c0a9b7d4632f1e0c9d8a7b6e5f4" } },
        models: { providers: { openai: { apiKey: "sk-1" }, anthropic: { apiKey: "${MY_KEY}" } } },
        channels: { telegram: { botToken: { source: "file", id: "bot" } } },
        hooks: { token: "a5f8e1c0a9b7d4632f1e0c9d8a7b6e5f" },
    }"#,
    );
    let shown: Vec<_> = reading
        .secrets
        .iter()
        .map(|secret| (secret.path.as_str(), value(secret)))
        .collect();
    let expected = [
        ("models.providers.openai.apiKey", "sk-1"),
        ("channels.telegram.botToken", "file:bot"),
        ("models.providers.anthropic.apiKey", "env:MY_KEY"),
    ];
    assert!(
        expected
            .iter()
            .all(|(path, value)| shown.contains(&(path, (*value).to_owned()))),
        "{shown:?}"
    );
    assert_eq!(shown.len(), expected.len());
    assert_eq!(
        reading.names().collect::<Vec<_>>(),
        [("models.providers.anthropic.apiKey", "MY_KEY")]
    );
}

#[test]
fn a_bad_file_gives_the_first_error_in_one_line_and_all_of_them_rendered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clawdbot.json");
    std::fs::write(&path, "{ gatway: {}, agnts: {} }").unwrap();
    let trouble = read(&path, File::open(&path)).err().unwrap();
    assert!(
        trouble.first.contains("clawdbot.json:1:3") && !trouble.first.contains('\n'),
        "{}",
        trouble.first
    );
    assert!(
        trouble.rendered.contains("gatway") && trouble.rendered.contains("agnts"),
        "{}",
        trouble.rendered
    );
    let none = folder.path().join("none.json");
    assert!(read(&none, File::open(&none)).is_ok());
}
