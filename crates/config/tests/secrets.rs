//! Secrets: taken once, named by reference, and never shown, whatever else is wrong with the file.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

use clawdbot_config::{AuthSecret, Source, parse};

const LITERAL: &str = "s3cr3t-v4lue-9f8a7b6c5d4e";

#[test]
fn literals_are_taken_once_and_leave_nothing_behind() {
    let text = format!(
        "{{gateway:{{auth:{{token:'{LITERAL}'}}}}, models:{{providers:{{'my-llm':{{apiKey:'{LITERAL}1',headers:{{'X-Team':'{LITERAL}2'}}}}}}}},
          channels:{{telegram:{{botToken:'{LITERAL}3',accounts:{{work:{{botToken:'{LITERAL}4'}},home:{{}}}}}}}}}}"
    );
    let mut loaded = parse("test", text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let taken: Vec<_> = loaded.config.take_literals();
    let mut shown: Vec<_> = taken
        .iter()
        .map(|(path, bytes)| (path.to_string(), String::from_utf8(bytes.to_vec()).unwrap()))
        .collect();
    shown.sort();
    // An account without a token of its own does not get the channel's.
    assert_eq!(
        shown,
        [
            (
                "channels.telegram.accounts.work.botToken".to_owned(),
                format!("{LITERAL}4")
            ),
            (
                "channels.telegram.botToken".to_owned(),
                format!("{LITERAL}3")
            ),
            (
                "models.providers.my-llm.apiKey".to_owned(),
                format!("{LITERAL}1")
            ),
            (
                "models.providers.my-llm.headers.X-Team".to_owned(),
                format!("{LITERAL}2")
            ),
        ]
    );
    assert!(loaded.config.take_literals().is_empty());
    // The gateway's own stay, since policy verifies them.
    assert!(
        matches!(loaded.config.gateway_token(), AuthSecret::Literal(bytes) if bytes == LITERAL.as_bytes())
    );
    assert!(matches!(
        loaded.config.gateway_password(),
        AuthSecret::Unset
    ));
    for text in [
        loaded.to_json().to_string(),
        format!("{:?}", *loaded.config),
        format!("{:?}", loaded.findings),
    ] {
        assert!(!text.contains("s3cr3t"), "{text}");
    }
    assert_eq!(
        loaded.get("models.providers.my-llm.apiKey").unwrap(),
        "[secret]"
    );
    assert_eq!(loaded.get("gateway.auth.token").unwrap(), "[secret]");
}

#[test]
fn references_are_listed_with_their_source() {
    let text = "{gateway:{auth:{password:'${GATEWAY_PW}'}}, hooks:{token:{source:'file',id:'hooks.token'}},
                 models:{providers:{a:{apiKey:{source:'keyring',id:'a'}},b:{apiKey:{source:'vault',id:'b'}},c:{apiKey:{source:'systemd',id:'c'}}}}}";
    let loaded = parse("test", text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let references: Vec<_> = loaded
        .config
        .references()
        .iter()
        .map(|(path, to)| (path.to_string(), to.source, to.id.as_str()))
        .collect();
    assert_eq!(
        references,
        [
            (
                "gateway.auth.password".to_owned(),
                Source::Env,
                "GATEWAY_PW"
            ),
            ("models.providers.a.apiKey".to_owned(), Source::Keyring, "a"),
            ("models.providers.b.apiKey".to_owned(), Source::Vault, "b"),
            ("models.providers.c.apiKey".to_owned(), Source::Systemd, "c"),
            ("hooks.token".to_owned(), Source::File, "hooks.token"),
        ]
    );
    assert!(
        matches!(loaded.config.gateway_password(), AuthSecret::Reference(to) if to.id == "GATEWAY_PW")
    );
    assert_eq!(loaded.get("gateway.auth.mode").unwrap(), "password");
}

#[test]
fn what_is_no_secret_and_no_name_is_refused() {
    for (secret, message) in [
        ("''", "must not be empty"),
        ("'abc\\n'", "must not contain control characters"),
        ("' abc'", "begin or end with a space"),
        ("'${lower}'", "must name a variable"),
        ("'${}'", "must name a variable"),
        ("'x${NAME}'", "not a mixture"),
        ("'${A}${B}'", "must name a variable"),
        ("5", "must be a secret"),
        ("{source:'env'}", "needs the key `id`"),
        ("{id:'x'}", "needs the key `source`"),
        ("{source:'env',id:'lower'}", "must name a variable"),
        ("{source:'file',id:'../x'}", "by a plain name"),
        ("{source:'file',id:'a/b'}", "by a plain name"),
        ("{source:'file',id:'.hidden'}", "by a plain name"),
        ("{source:'file',id:''}", "by a plain name"),
        ("{source:'exec',id:'x'}", "must not be \"exec\""),
        (
            "{source:'env',provider:'p',id:'X'}",
            "provider is not supported",
        ),
        ("{source:'env',id:'X',x:1}", "unknown key `x`"),
    ] {
        let text = format!("{{hooks:{{token:{secret}}}}}");
        let error = parse("test", text.as_bytes())
            .err()
            .unwrap_or_else(|| panic!("loads: {text}"));
        assert!(
            error.mistakes()[0].message.contains(message),
            "{text}: {}",
            error.first()
        );
        assert_eq!(error.mistakes().len(), 1, "{}", error.render(false));
    }
}

#[test]
fn a_variable_outside_a_secret_is_refused() {
    for text in [
        "{gateway:{bind:'${BIND}'}}",
        "{agents:{defaults:{workspace:'~/${DIR}'}}}",
        "{channels:{telegram:{groups:{'*':{systemPrompt:'be ${MOOD}'}}}}}",
        "{channels:{telegram:{allowFrom:['${ME}']}}}",
        "{agents:{defaults:{model:'${MODEL}'}}}",
        "{env:{vars:{A:'${B}'}}}",
    ] {
        let error = parse("test", text.as_bytes())
            .err()
            .unwrap_or_else(|| panic!("loads: {text}"));
        assert!(
            error.first().contains("must not use ${…}"),
            "{}",
            error.first()
        );
    }
    assert!(parse("test", b"{env:{vars:{A:'$B {c} ${'}}}").is_ok());
}

#[test]
fn no_mistake_shows_a_secret() {
    for text in [
        // Beside the mistake, as the mistake, twice, in a comment, in a broken file.
        "{gateway: {auth: {token: 'LITERAL'}, prot: 1}}",
        "{gateway: {auth: {tokn: 'LITERAL'}}}",
        "{gateway: {auth: {pasword: 'LITERAL'}}}",
        "{gateway: {auth: {token: ['LITERAL']}}}",
        "{gateway: {auth: {token: {value: 'LITERAL'}}}}",
        "{gateway: {auth: {token: ' LITERAL'}}}",
        "{gateway: {auth: {token: 'LITERAL', token: 'LITERAL'}}}",
        "{gateway: {auth: {token: 'LITERAL' mode: 'token'}}}",
        "{gateway: {auth: {token: 'LITERAL}}}",
        "{gateway: {auth: {token 'LITERAL'}}}",
        "{gateway: {auth: {token: LITERAL}}}",
        "{gateway: {auth: {token: 'LITERAL'}}, hooks: {token: 'LITERAL'}} // x",
        "{gateway: {auth: {token: 'LITERAL', x: 1 /* LITERAL */}}}",
        "{hooks: {token: 'x${LITERAL}'}}",
        "{models: {providers: {a: {apiKey: 'LITERAL', headers: {'x-y': 'LITERAL', 'x y': 'LITERAL'}}}}}",
        "{env: {vars: {MY_SECRET: 'LITERAL', '1': 'x'}}}",
        "{apiKey: 'LITERAL'}",
        "{hooks: {token: 'LITERAL'}, gateway: {bind: 'lan', auth: {token: 'LITERAL'}}, x: 1}",
    ] {
        let text = text.replace("LITERAL", LITERAL);
        let error = parse("test", text.as_bytes())
            .err()
            .unwrap_or_else(|| panic!("loads: {text}"));
        for shown in [
            error.render(false),
            error.render(true),
            error.to_json().to_string(),
            format!("{error:?}"),
            error.to_string(),
        ] {
            assert!(!shown.contains("s3cr3t"), "{text}\n{shown}");
        }
    }
    // The rest of the line can still be read.
    let error = parse(
        "test",
        format!("{{hooks: {{token: '{LITERAL}', pth: '/h'}}}}").as_bytes(),
    )
    .err()
    .unwrap();
    assert!(
        error
            .render(false)
            .contains("{hooks: {token: '***', pth: '/h'}}")
    );
}
