//! The effective configuration: what inherits from what, what is not active yet, and what `config get` answers.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

use clawdbot_config::{Loaded, parse};
use serde_json::{Value, json};

fn load(text: &str) -> Loaded {
    parse("test", text.as_bytes()).unwrap_or_else(|error| panic!("{}", error.render(false)))
}

fn get(text: &str, path: &str) -> Option<Value> {
    load(text).get(path)
}

#[test]
fn get_tells_set_unset_and_unknown_apart() {
    assert_eq!(
        get("{gateway:{port:1024}}", "gateway.port"),
        Some(json!(1024))
    );
    assert_eq!(get("{}", "gateway.port"), Some(json!(18789)));
    assert_eq!(get("{}", "gateway.customBindHost"), Some(Value::Null));
    assert_eq!(get("{}", "channels.telegram.allowFrom"), Some(Value::Null));
    assert_eq!(get("{}", "agents.list[3].id"), Some(Value::Null));
    for path in [
        "gateway.prot",
        "banana",
        "gateway.port.x",
        "agents.list.id",
        "gateway..port",
    ] {
        assert_eq!(get("{}", path), None, "{path}");
    }
    let models = "{agents:{defaults:{models:{'ollama/llama3.1':{alias:'l'}}}}}";
    assert_eq!(
        get(models, "agents.defaults.models[\"ollama/llama3.1\"].alias"),
        Some(json!("l"))
    );
    assert_eq!(
        get("{agents:{list:[{id:'a'},{id:'b'}]}}", "agents.list[1].id"),
        Some(json!("b"))
    );
    assert_eq!(get("{}", "").unwrap(), load("{}").to_json());
}

#[test]
fn accounts_inherit_what_they_do_not_say() {
    let text = "{channels:{telegram:{dm:{policy:'allowlist'},allowFrom:[1],historyLimit:7,
                 accounts:{work:{allowFrom:[2]},home:{dmPolicy:'disabled'}}}}}";
    for (path, wanted) in [
        ("work.dmPolicy", json!("allowlist")),
        ("work.allowFrom", json!(["2"])),
        ("work.historyLimit", json!(7)),
        ("home.dmPolicy", json!("disabled")),
        ("home.allowFrom", json!(["1"])),
    ] {
        assert_eq!(
            get(text, &format!("channels.telegram.accounts.{path}")),
            Some(wanted),
            "{path}"
        );
    }
}

#[test]
fn channels_inherit_the_group_policy_and_agents_the_sandbox() {
    let text = "{channels:{defaults:{groupPolicy:'disabled'},signal:{},discord:{groupPolicy:'allowlist',accounts:{a:{}}}}}";
    assert_eq!(
        get(text, "channels.signal.groupPolicy"),
        Some(json!("disabled"))
    );
    assert_eq!(
        get(text, "channels.discord.groupPolicy"),
        Some(json!("allowlist"))
    );
    assert_eq!(
        get(text, "channels.discord.accounts.a.groupPolicy"),
        Some(json!("allowlist"))
    );
    let text = "{agents:{defaults:{sandbox:{mode:'all',docker:{memory:'2g',cpus:2}}},list:[{id:'a',sandbox:{limits:{cpus:1}}},{id:'b'}]}}";
    assert_eq!(get(text, "agents.list[0].sandbox.mode"), Some(json!("all")));
    assert_eq!(
        get(text, "agents.list[0].sandbox.limits"),
        Some(json!({"memory": "2g", "pids": 256, "cpus": 1.0}))
    );
    assert_eq!(get(text, "agents.list[1].sandbox"), Some(Value::Null));
}

#[test]
fn both_spellings_with_the_same_value_are_fine() {
    for (text, path, wanted) in [
        (
            "{channels:{signal:{dm:{policy:'disabled'},dmPolicy:'disabled'}}}",
            "channels.signal.dmPolicy",
            json!("disabled"),
        ),
        (
            "{channels:{discord:{dm:{allowFrom:['somebody'],enabled:false},allowFrom:['somebody']}}}",
            "channels.discord.dm.enabled",
            json!(false),
        ),
        (
            "{agent:{model:'ollama/a'},agents:{defaults:{model:{primary:'ollama/a'}}}}",
            "agents.defaults.model.primary",
            json!("ollama/a"),
        ),
        (
            "{agent:{timeoutSeconds:9,sandbox:{mode:'all'}},agents:{defaults:{sandbox:{scope:'agent'}}}}",
            "agents.defaults.sandbox.scope",
            json!("agent"),
        ),
        (
            "{session:{owner:['telegram:1']},commands:{ownerAllowFrom:['telegram:1']}}",
            "commands.ownerAllowFrom",
            json!(["telegram:1"]),
        ),
        (
            "{agents:{defaults:{sandbox:{network:{mode:'none'},docker:{network:'none'}}}}}",
            "agents.defaults.sandbox.network.mode",
            json!("none"),
        ),
        (
            "{gateway:{controlUi:{allowedOrigins:['https://a.example']}}}",
            "gateway.allowedOrigins",
            json!(["https://a.example"]),
        ),
    ] {
        assert_eq!(get(text, path), Some(wanted), "{text}");
    }
    for text in [
        "{channels:{signal:{dm:{policy:'disabled'},dmPolicy:'pairing'}}}",
        "{session:{owner:['telegram:1']},commands:{ownerAllowFrom:['telegram:2']}}",
        "{agents:{defaults:{sandbox:{network:{mode:'none'},docker:{network:'bridge'}}}}}",
    ] {
        let error = parse("test", text.as_bytes()).err().unwrap();
        assert!(
            error
                .first()
                .contains("two spellings with different values"),
            "{}",
            error.first()
        );
    }
}

#[test]
fn what_works_is_active_and_the_rest_is_listed_once() {
    let active = "{gateway:{port:1024,bind:'lan',http:{endpoints:{chatCompletions:{enabled:true}}},auth:{token:'${T}',rateLimit:{maxAttempts:3}},allowedOrigins:[],reload:{mode:'off'}},
        agents:{defaults:{model:'builtin/guide',workspace:'~/w',timeoutSeconds:5,verboseDefault:'on',models:{'ollama/a':{alias:'a',params:{temperature:0.5}}},
            compaction:{reserveTokens:1},contextPruning:{mode:'cache-ttl'},thinkingDefault:'low',maxConcurrent:2},
            list:[{id:'a',model:{primary:'anthropic/claude-x',fallbacks:['ollama/llama3']}}]},
        channels:{telegram:{botToken:'${B}',allowFrom:[1],groups:{'-1':{requireMention:false,topics:{'3':{enabled:false}}}},accounts:{work:{}}}},
        models:{providers:{box:{baseUrl:'http://127.0.0.1:1/v1',api:'openai-completions',models:[{id:'x'}]}}},auth:{order:{anthropic:['anthropic:a']}},
        messages:{queue:{mode:'followup'},inbound:{debounceMs:5},responsePrefix:'>'},pairing:{approvalTtl:'30d'},
        commands:{ownerAllowFrom:['telegram:1']},bindings:[{agentId:'a',match:{channel:'telegram'}}],
        logging:{level:'debug'},sandbox:{require:'full'},dangerous:{accept:[]}}";
    assert_eq!(load(active).inactive(), []);
    let custom = "{gateway:{bind:'custom',customBindHost:'127.0.0.1',auth:{password:'${P}'}}}";
    assert_eq!(load(custom).inactive(), []);
    let later = "{channels:{telegram:{proxy:'socks5://127.0.0.1:1',accounts:{a:{historyLimit:1}}},signal:{historyLimit:1}},models:{providers:{a:{}}},tools:{exec:{ask:'always'}},
        gateway:{tls:{},bind:'auto',auth:{token:'${T}',allowTailscale:false}},agents:{defaults:{sandbox:{mode:'all'},model:{primary:'ollama/llama3',fallbacks:['a/x']}},list:[{id:'b',model:'openia/gpt'}]}}";
    let mut listed: Vec<_> = load(later)
        .inactive()
        .iter()
        .map(|key| format!("{}: {}", key.path, key.feature))
        .collect();
    listed.sort();
    assert_eq!(
        listed,
        [
            "agents.defaults.model: a provider without an address (models.providers.<id>.baseUrl)",
            "agents.defaults.sandbox: the tool sandbox",
            "agents.list.b.model: a provider without an address (models.providers.<id>.baseUrl)",
            "channels.signal: Signal",
            "channels.telegram.accounts.a.historyLimit: group history",
            "channels.telegram.accounts.a.proxy: proxies",
            "channels.telegram.proxy: proxies",
            "gateway.auth.allowTailscale: Tailscale",
            "gateway.bind: Tailscale",
            "gateway.tls: TLS on the listener",
            "tools.exec: commands",
        ]
    );
}

#[test]
fn numbers_keep_every_digit_of_a_chat_id() {
    assert_eq!(
        get(
            "{channels:{telegram:{allowFrom:[9007199254740993]}}}",
            "channels.telegram.allowFrom"
        ),
        Some(json!(["9007199254740993"]))
    );
    let error = parse(
        "test",
        b"{channels:{discord:{allowFrom:[123456789012345678]}}}",
    )
    .err()
    .unwrap();
    assert_eq!(
        error.mistakes()[0].help.as_deref(),
        Some("write it in quotes")
    );
}
