//! Every example of the user's guide loads, or is refused with the safe value named.
//! The files in `guide/` are the guide's own, word for word.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

use std::path::PathBuf;

use clawdbot_config::{
    DmPolicy, GroupPolicy, LoadError, Loaded, SandboxMode, SandboxScope, Sender, parse,
};

/// The examples, where the sources lie now. A path that was compiled in may be closed to whoever runs the test.
fn examples() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("tests/guide")
}

fn read(name: &str) -> Result<Loaded, LoadError> {
    let path = examples().join(format!("{name}.json5"));
    parse(name, &std::fs::read(path).unwrap())
}

fn loads(name: &str) -> Loaded {
    read(name).unwrap_or_else(|error| panic!("{}", error.render(false)))
}

fn finds(loaded: &Loaded, id: &str) -> bool {
    loaded.findings.iter().any(|finding| finding.id == id)
}

#[test]
fn all_examples_are_known_here() {
    let mut refused = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(examples()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.strip_suffix(".json5").unwrap().to_owned();
        count += 1;
        if read(&name).is_err() {
            refused.push(name);
        }
    }
    refused.sort();
    assert_eq!(count, 15);
    assert_eq!(refused, ["09-open-binding-bad", "10-no-authentication-bad"]);
}

#[test]
fn allow_lists() {
    let loaded = loads("01-allowlists");
    let whatsapp = &loaded.config.channels.whatsapp.as_ref().unwrap().base;
    let numbers: Vec<_> = whatsapp
        .allow_from
        .iter()
        .map(|entry| entry.sender().as_str())
        .collect();
    assert_eq!(numbers, ["+1234567890", "+0987654321"]);
    let telegram = &loaded.config.channels.telegram.as_ref().unwrap().base;
    assert_eq!(
        *telegram.allow_from[0].sender(),
        Sender::Name("@username".to_owned())
    );
    assert!(finds(&loaded, "channels.telegram.allowFrom.names"));
}

#[test]
fn pairing() {
    let loaded = loads("02-pairing");
    let discord = &loaded.config.channels.discord.as_ref().unwrap().base;
    assert_eq!(discord.dm_policy, DmPolicy::Pairing);
}

#[test]
fn mention_gate() {
    let loaded = loads("03-mention-gate");
    let whatsapp = &loaded.config.channels.whatsapp.as_ref().unwrap().base;
    assert!(whatsapp.groups.values().all(|group| group.require_mention));
    assert_eq!(whatsapp.group_policy, GroupPolicy::Allowlist);
    // Nobody may write there yet, which people take for a fault.
    assert!(finds(&loaded, "channels.whatsapp.groups.allowFrom.missing"));
}

#[test]
fn sandboxing() {
    for name in ["04-sandbox", "11-no-sandbox-good"] {
        let loaded = loads(name);
        let sandbox = &loaded.config.agents.defaults.sandbox;
        assert_eq!(sandbox.mode, SandboxMode::NonMain);
        assert_eq!(sandbox.scope, SandboxScope::Session);
        assert!(!finds(&loaded, "sandbox.mode_off"));
    }
    // The guide's bad example loads; what needs the sandbox is refused, and doctor says so.
    assert!(finds(&loads("11-no-sandbox-bad"), "sandbox.mode_off"));
}

#[test]
fn passwords() {
    for name in ["05-password", "10-no-authentication-good"] {
        let loaded = loads(name);
        assert_eq!(loaded.get("gateway.auth.mode").unwrap(), "password");
        assert!(finds(&loaded, "config.secrets.gateway_password_in_config"));
        assert!(!finds(&loaded, "gateway.password_too_short"));
    }
}

#[test]
fn all_security_features_in_the_guides_own_spelling() {
    let loaded = loads("06-all-features");
    assert_eq!(loaded.get("channels.whatsapp.dmPolicy").unwrap(), "pairing");
    assert_eq!(loaded.get("gateway.bind").unwrap(), "loopback");
    assert_eq!(loaded.get("agents.defaults.sandbox.mode").unwrap(), "all");
    let worth_it: Vec<_> = loaded.findings.iter().map(|finding| finding.id).collect();
    assert_eq!(worth_it, ["config.secrets.gateway_password_in_config"]);
}

#[test]
fn local_models_in_the_old_spelling() {
    let loaded = loads("07-local-only");
    let model = loaded.config.agents.defaults.model.primary.clone().unwrap();
    assert_eq!(model.to_string(), "ollama/llama3");
    assert_eq!(
        loaded.get("agents.defaults.model.primary").unwrap(),
        "ollama/llama3"
    );
}

#[test]
fn no_allow_list_stays_closed_and_is_reported() {
    let loaded = loads("08-no-allowlist-bad");
    let whatsapp = &loaded.config.channels.whatsapp.as_ref().unwrap().base;
    assert_eq!(whatsapp.dm_policy, DmPolicy::Pairing);
    assert!(whatsapp.allow_from.is_empty());
    assert!(finds(&loaded, "channels.whatsapp.dm.allowFrom.missing"));
    assert!(!finds(
        &loads("08-no-allowlist-good"),
        "channels.whatsapp.dm.allowFrom.missing"
    ));
}

#[test]
fn what_the_guide_calls_bad_about_the_gateway_is_refused_with_the_safe_value() {
    for (name, place, safe) in [
        (
            "09-open-binding-bad",
            "09-open-binding-bad:4:11: gateway.bind must not be \"all\"",
            "\"loopback\"",
        ),
        (
            "10-no-authentication-bad",
            "10-no-authentication-bad:4:19: gateway.auth.mode must not be \"none\"",
            "\"password\"",
        ),
    ] {
        let error = read(name).err().unwrap();
        assert_eq!(error.first(), place);
        assert!(error.render(false).contains(safe));
    }
    loads("09-open-binding-good");
}
