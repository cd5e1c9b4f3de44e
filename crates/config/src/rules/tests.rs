//! Every rule both ways: a file that breaks it and one, as near as possible, that does not.

use super::*;
use crate::{Loaded, parse};

/// (rule, a file that breaks it, a file that does not)
const CASES: &[(&str, &str, &str)] = &[
    (
        "gateway.port_privileged",
        "{gateway:{port:80}}",
        "{gateway:{port:1024}}",
    ),
    (
        "gateway.bind_no_auth",
        "{gateway:{bind:'lan'}}",
        "{gateway:{bind:'lan',auth:{token:'${T}'}}}",
    ),
    (
        "gateway.bind_no_auth",
        "{gateway:{bind:'tailnet'}}",
        "{gateway:{bind:'loopback'}}",
    ),
    (
        "gateway.bind_no_auth",
        "{gateway:{bind:'custom',customBindHost:'10.0.0.1'}}",
        "{gateway:{bind:'custom',customBindHost:'127.0.0.1'}}",
    ),
    (
        "gateway.bind_no_auth",
        "{gateway:{bind:'lan',auth:{mode:'password'}}}",
        "{gateway:{bind:'lan',auth:{mode:'token'}}}",
    ),
    (
        "gateway.loopback_no_auth",
        "{gateway:{auth:{mode:'password'}}}",
        "{gateway:{auth:{mode:'password',password:'${P}'}}}",
    ),
    (
        "gateway.bind_off_loopback",
        "{gateway:{bind:'lan',auth:{token:'${T}'}}}",
        "{gateway:{auth:{token:'${T}'}}}",
    ),
    (
        "gateway.custom_bind_host_missing",
        "{gateway:{bind:'custom',auth:{token:'${T}'}}}",
        "{gateway:{bind:'custom',customBindHost:'::1'}}",
    ),
    (
        "gateway.custom_bind_host_unused",
        "{gateway:{customBindHost:'10.0.0.1'}}",
        "{gateway:{bind:'custom',customBindHost:'127.0.0.1'}}",
    ),
    (
        "gateway.bind_all_interfaces",
        "{gateway:{bind:'custom',customBindHost:'0.0.0.0',auth:{token:'${T}'}}}",
        "{gateway:{bind:'custom',customBindHost:'10.0.0.1',auth:{token:'${T}'}}}",
    ),
    (
        "gateway.bind_all_interfaces",
        "{gateway:{bind:'custom',customBindHost:'::',auth:{token:'${T}'}}}",
        "{gateway:{bind:'custom',customBindHost:'::1'}}",
    ),
    (
        "gateway.token_too_short",
        "{gateway:{auth:{token:'abcdefghijklmnopqrstuvw'}}}",
        "{gateway:{auth:{token:'abcdefghijklmnopqrstuvwx'}}}",
    ),
    (
        "gateway.token_weak",
        "{gateway:{auth:{token:'aaaaaaaaaaaaaaaaaaaaaaaaaaaa'}}}",
        "{gateway:{auth:{token:'9f8a7b6c5d4e3f2a1b0c9d8e'}}}",
    ),
    (
        "gateway.password_too_short",
        "{gateway:{auth:{password:'12345678901'}}}",
        "{gateway:{auth:{password:'123456789012'}}}",
    ),
    (
        "config.secrets.gateway_password_in_config",
        "{gateway:{auth:{password:'123456789012'}}}",
        "{gateway:{auth:{password:'${P}'}}}",
    ),
    (
        "config.secrets.gateway_token_in_config",
        "{gateway:{auth:{token:'9f8a7b6c5d4e3f2a1b0c9d8e'}}}",
        "{gateway:{auth:{token:{source:'file',id:'t'}}}}",
    ),
    (
        "gateway.auth_no_rate_limit",
        "{gateway:{auth:{rateLimit:false}}}",
        "{gateway:{auth:{rateLimit:{maxAttempts:3}}}}",
    ),
    (
        "gateway.allow_tailscale_without_serve",
        "{gateway:{auth:{allowTailscale:true}}}",
        "{gateway:{auth:{allowTailscale:true},tailscale:{mode:'serve'}}}",
    ),
    (
        "gateway.allow_tailscale",
        "{gateway:{auth:{allowTailscale:true},tailscale:{mode:'serve'}}}",
        "{gateway:{tailscale:{mode:'serve'}}}",
    ),
    (
        "gateway.trusted_proxies_any",
        "{gateway:{trustedProxies:['0.0.0.0/0']}}",
        "{gateway:{trustedProxies:['10.0.0.0/8']}}",
    ),
    (
        "gateway.trusted_proxies_any",
        "{gateway:{trustedProxies:['::/0']}}",
        "{gateway:{trustedProxies:['::1']}}",
    ),
    (
        "gateway.control_ui.allowed_origins_wildcard",
        "{gateway:{allowedOrigins:['*']}}",
        "{gateway:{allowedOrigins:['https://a.example']}}",
    ),
    (
        "gateway.tailscale_bind",
        "{gateway:{bind:'lan',auth:{token:'${T}'},tailscale:{mode:'serve'}}}",
        "{gateway:{tailscale:{mode:'serve'}}}",
    ),
    (
        "gateway.tailscale_funnel_password",
        "{gateway:{tailscale:{mode:'funnel'}}}",
        "{gateway:{tailscale:{mode:'funnel'},auth:{password:'${P}'}}}",
    ),
    (
        "gateway.tailscale_funnel",
        "{gateway:{tailscale:{mode:'funnel'},auth:{password:'${P}'}}}",
        "{gateway:{tailscale:{mode:'serve'}}}",
    ),
    (
        "gateway.tailscale_serve",
        "{gateway:{tailscale:{mode:'serve'}}}",
        "{gateway:{tailscale:{mode:'off'}}}",
    ),
    (
        "gateway.tls_incomplete",
        "{gateway:{tls:{enabled:true,certPath:'/c'}}}",
        "{gateway:{tls:{enabled:true,certPath:'/c',keyPath:'/k'}}}",
    ),
    (
        "gateway.plain_http_off_loopback",
        "{gateway:{bind:'lan',auth:{token:'${T}'}}}",
        "{gateway:{bind:'lan',auth:{token:'${T}'},tls:{enabled:true,autoGenerate:true}}}",
    ),
    (
        "gateway.remote_plain_ws",
        "{gateway:{remote:{url:'ws://a.example'}}}",
        "{gateway:{remote:{url:'ws://127.0.0.1:18789'}}}",
    ),
    (
        "gateway.http.exposed",
        "{gateway:{bind:'lan',auth:{token:'${T}'},http:{endpoints:{responses:{enabled:true}}}}}",
        "{gateway:{http:{endpoints:{responses:{enabled:true}}}}}",
    ),
    (
        "gateway.tools_invoke_http.enabled",
        "{gateway:{http:{endpoints:{toolsInvoke:{enabled:true}}}}}",
        "{gateway:{http:{endpoints:{responses:{enabled:true}}}}}",
    ),
    (
        "channels.defaults.groups.open",
        "{channels:{defaults:{groupPolicy:'open'}}}",
        "{channels:{defaults:{groupPolicy:'disabled'}}}",
    ),
    (
        "channels.telegram.allowFrom.names",
        "{channels:{telegram:{allowFrom:['@somebody']}}}",
        "{channels:{telegram:{allowFrom:[123]}}}",
    ),
    (
        "channels.discord.allowFrom.names",
        "{channels:{discord:{dm:{allowFrom:['somebody']}}}}",
        "{channels:{discord:{dm:{allowFrom:['123456789012345678']}}}}",
    ),
    (
        "channels.telegram.trust_names",
        "{channels:{telegram:{trustNames:true}}}",
        "{channels:{telegram:{trustNames:false}}}",
    ),
    (
        "channels.telegram.webhook_no_secret",
        "{channels:{telegram:{webhookUrl:'https://a.example/h'}}}",
        "{channels:{telegram:{webhookUrl:'https://a.example/h',webhookSecret:'${S}'}}}",
    ),
    (
        "channels.telegram.webhook_no_secret",
        "{channels:{telegram:{webhookSecret:'${S}',accounts:{a:{webhookUrl:'https://a.example/h'}}}}}",
        "{channels:{telegram:{accounts:{a:{webhookUrl:'https://a.example/h',webhookSecret:'${S}'}}}}}",
    ),
    (
        "channels.discord.allow_bots",
        "{channels:{discord:{allowBots:true}}}",
        "{channels:{discord:{}}}",
    ),
    (
        "channels.discord.guilds.slug_keys",
        "{channels:{discord:{guilds:{'my-server':{}}}}}",
        "{channels:{discord:{guilds:{'123':{channels:{'456':{}}}}}}}",
    ),
    (
        "channels.discord.guilds.slug_keys",
        "{channels:{discord:{guilds:{'123':{channels:{general:{}}}}}}}",
        "{channels:{discord:{guilds:{'*':{}}}}}",
    ),
    (
        "channels.signal.http_off_host",
        "{channels:{signal:{httpUrl:'http://10.0.0.2:8080'}}}",
        "{channels:{signal:{httpUrl:'unix:/run/signal.sock'}}}",
    ),
    (
        "channels.bluebubbles.plain_http",
        "{channels:{bluebubbles:{serverUrl:'http://mac.example'}}}",
        "{channels:{bluebubbles:{serverUrl:'https://mac.example'}}}",
    ),
    (
        "agents.workspace_in_state",
        "{agents:{defaults:{workspace:'~/.clawdbot/work'}}}",
        "{agents:{defaults:{workspace:'~/clawd'}}}",
    ),
    (
        "agents.workspace_in_state",
        "{agents:{list:[{id:'a',workspace:'/'}]}}",
        "{agents:{list:[{id:'a',workspace:'/srv/a'}]}}",
    ),
    (
        "agents.workspace_in_state",
        "{agents:{defaults:{workspace:'/srv/../var/lib/clawdbot'}}}",
        "{agents:{defaults:{workspace:'/var/lib/clawdbot-work/main'}}}",
    ),
    (
        "agents.verbose_full",
        "{agents:{defaults:{verboseDefault:'full'}}}",
        "{agents:{defaults:{verboseDefault:'on'}}}",
    ),
    (
        "agents.heartbeat_no_budget",
        "{agents:{defaults:{heartbeat:{every:'30m'}}}}",
        "{agents:{defaults:{heartbeat:{every:'30m'},budget:{dailyUsd:1}}}}",
    ),
    (
        "agents.duplicate_id",
        "{agents:{list:[{id:'a'},{id:'a'}]}}",
        "{agents:{list:[{id:'a'},{id:'b'}]}}",
    ),
    (
        "agents.two_defaults",
        "{agents:{list:[{id:'a',default:true},{id:'b',default:true}]}}",
        "{agents:{list:[{id:'a',default:true},{id:'b'}]}}",
    ),
    (
        "agents.unknown_id",
        "{bindings:[{agentId:'x',match:{channel:'telegram'}}]}",
        "{bindings:[{agentId:'main',match:{channel:'telegram'}}]}",
    ),
    (
        "agents.unknown_id",
        "{hooks:{mappings:[{agentId:'x'}]}}",
        "{agents:{list:[{id:'x'}]},hooks:{mappings:[{agentId:'x'}]}}",
    ),
    (
        "agents.unknown_id",
        "{approvals:{exec:{agentFilter:['x']}}}",
        "{approvals:{exec:{agentFilter:['main']}}}",
    ),
    (
        "sandbox.mode_off",
        "{agents:{defaults:{sandbox:{mode:'off'}}}}",
        "{agents:{defaults:{sandbox:{mode:'all'}}}}",
    ),
    (
        "sandbox.mode_off",
        "{agents:{list:[{id:'a',sandbox:{mode:'off'}}]}}",
        "{agents:{list:[{id:'a',sandbox:{}}]}}",
    ),
    (
        "sandbox.docker_config_mode_off",
        "{agents:{defaults:{sandbox:{mode:'off',docker:{dns:[]}}}}}",
        "{agents:{defaults:{sandbox:{docker:{dns:[]}}}}}",
    ),
    (
        "sandbox.scope_shared",
        "{agents:{defaults:{sandbox:{perSession:false}}}}",
        "{agents:{defaults:{sandbox:{perSession:true}}}}",
    ),
    (
        "sandbox.workspace_rw",
        "{agents:{defaults:{sandbox:{workspaceAccess:'rw'}}}}",
        "{agents:{defaults:{sandbox:{workspaceAccess:'rw',mode:'all'}}}}",
    ),
    (
        "sandbox.limits_off",
        "{agents:{defaults:{sandbox:{docker:{memory:'0'}}}}}",
        "{agents:{defaults:{sandbox:{docker:{memory:'1g'}}}}}",
    ),
    (
        "sandbox.limits_off",
        "{agents:{defaults:{sandbox:{limits:{pids:0}}}}}",
        "{agents:{defaults:{sandbox:{limits:{pids:1}}}}}",
    ),
    (
        "sandbox.limits_off",
        "{agents:{defaults:{sandbox:{limits:{cpus:0}}}}}",
        "{agents:{defaults:{sandbox:{limits:{cpus:0.5}}}}}",
    ),
    (
        "sandbox.allowlist_empty",
        "{agents:{defaults:{sandbox:{network:'allowlist'}}}}",
        "{agents:{defaults:{sandbox:{network:{mode:'allowlist',allow:['pypi.org:443']}}}}}",
    ),
    (
        "sandbox.network_bridge",
        "{agents:{defaults:{sandbox:{docker:{network:'bridge'}}}}}",
        "{agents:{defaults:{sandbox:{docker:{network:'none'}}}}}",
    ),
    (
        "sandbox.docker_user_root",
        "{agents:{defaults:{sandbox:{docker:{user:'root'}}}}}",
        "{agents:{defaults:{sandbox:{docker:{user:'1000'}}}}}",
    ),
    (
        "sandbox.docker_user_root",
        "{agents:{defaults:{sandbox:{docker:{user:'0:0'}}}}}",
        "{agents:{defaults:{sandbox:{docker:{user:'10:0'}}}}}",
    ),
    (
        "sandbox.docker_root_writable",
        "{agents:{defaults:{sandbox:{docker:{readOnlyRoot:false}}}}}",
        "{agents:{defaults:{sandbox:{docker:{readOnlyRoot:true}}}}}",
    ),
    (
        "sandbox.docker_env_secrets",
        "{agents:{defaults:{sandbox:{docker:{env:{MY_API_KEY:'x'}}}}}}",
        "{agents:{defaults:{sandbox:{docker:{env:{LANG:'C'}}}}}}",
    ),
    (
        "sandbox.bind_mount_non_absolute",
        "{agents:{defaults:{sandbox:{docker:{binds:['data:/data']}}}}}",
        "{agents:{defaults:{sandbox:{docker:{binds:['/data:/data']}}}}}",
    ),
    (
        "sandbox.bind_mount_non_absolute",
        "{agents:{defaults:{sandbox:{docker:{binds:['/a/../b:/data']}}}}}",
        "{agents:{defaults:{sandbox:{docker:{binds:['/a..b:/data']}}}}}",
    ),
    (
        "sandbox.bind_mount_writable",
        "{agents:{defaults:{sandbox:{docker:{binds:['/data:/data:rw']}}}}}",
        "{agents:{defaults:{sandbox:{docker:{binds:['/data:/data']}}}}}",
    ),
    (
        "sandbox.dangerous_seccomp_profile",
        "{agents:{defaults:{sandbox:{docker:{seccompProfile:'unconfined'}}}}}",
        "{agents:{defaults:{sandbox:{docker:{seccompProfile:'/etc/p.json'}}}}}",
    ),
    (
        "sandbox.dangerous_apparmor_profile",
        "{agents:{defaults:{sandbox:{docker:{apparmorProfile:'Unconfined'}}}}}",
        "{agents:{defaults:{sandbox:{docker:{apparmorProfile:'mine'}}}}}",
    ),
    (
        "tools.allow_and_also_allow",
        "{tools:{allow:['exec'],alsoAllow:['read']}}",
        "{tools:{alsoAllow:['read']}}",
    ),
    (
        "tools.allow_and_also_allow",
        "{tools:{byProvider:{ollama:{allow:['exec'],alsoAllow:['read']}}}}",
        "{tools:{byProvider:{ollama:{allow:['exec']}}}}",
    ),
    (
        "tools.allow_and_also_allow",
        "{channels:{telegram:{groups:{'*':{tools:{allow:['exec'],alsoAllow:['read']}}}}}}",
        "{channels:{telegram:{groups:{'*':{tools:{allow:['exec']}}}}}}",
    ),
    (
        "tools.allow_and_also_allow",
        "{channels:{discord:{guilds:{'1':{channels:{'2':{tools:{allow:['exec'],alsoAllow:['read']}}}}}}}}",
        "{channels:{discord:{guilds:{'1':{tools:{allow:['exec']}}}}}}",
    ),
    (
        "security.exposure.open_groups_with_elevated",
        "{tools:{elevated:{enabled:true}},channels:{signal:{groupPolicy:'open'}}}",
        "{tools:{elevated:{enabled:true}},channels:{signal:{}}}",
    ),
    (
        "security.exposure.open_groups_with_runtime_or_fs",
        "{tools:{profile:'coding'},channels:{signal:{groupPolicy:'open'}}}",
        "{tools:{profile:'coding',deny:['group:runtime','group:fs']},channels:{signal:{groupPolicy:'open'}}}",
    ),
    (
        "security.exposure.open_groups_with_runtime_or_fs",
        "{tools:{alsoAllow:['bash']},channels:{defaults:{groupPolicy:'open'},signal:{}}}",
        "{channels:{defaults:{groupPolicy:'open'},signal:{}}}",
    ),
    (
        "tools.exec.security_full_configured",
        "{tools:{exec:{security:'full'}}}",
        "{tools:{exec:{security:'deny'}}}",
    ),
    (
        "tools.exec.full_without_asking",
        "{tools:{exec:{security:'full',ask:'off'}}}",
        "{tools:{exec:{security:'full'}}}",
    ),
    (
        "tools.exec.host_sandbox_no_sandbox_defaults",
        "{tools:{exec:{host:'sandbox'}},agents:{defaults:{sandbox:{mode:'off'}}}}",
        "{tools:{exec:{host:'gateway'}},agents:{defaults:{sandbox:{mode:'off'}}}}",
    ),
    (
        "approvals.exec.target_group",
        "{approvals:{exec:{targets:[{channel:'telegram',to:'-100123'}]}}}",
        "{approvals:{exec:{targets:[{channel:'telegram',to:'123'}]}}}",
    ),
    (
        "approvals.exec.approver_not_owner",
        "{approvals:{exec:{approvers:['telegram:1']}}}",
        "{commands:{ownerAllowFrom:['telegram:1']},approvals:{exec:{approvers:['telegram:tg:1']}}}",
    ),
    (
        "commands.unsupported",
        "{commands:{bash:true}}",
        "{commands:{bash:false,config:false,debug:false}}",
    ),
    (
        "commands.unsupported",
        "{commands:{config:true}}",
        "{commands:{restart:true}}",
    ),
    (
        "commands.unsupported",
        "{commands:{debug:true}}",
        "{commands:{text:false}}",
    ),
    (
        "commands.no_access_groups",
        "{commands:{useAccessGroups:false}}",
        "{commands:{useAccessGroups:true}}",
    ),
    (
        "session.identity_link_owner",
        "{commands:{ownerAllowFrom:['telegram:1']},session:{identityLinks:{a:['telegram:1','telegram:2']}}}",
        "{commands:{ownerAllowFrom:['telegram:1']},session:{identityLinks:{a:['telegram:3','telegram:2']}}}",
    ),
    (
        "models.plain_http",
        "{models:{providers:{x:{baseUrl:'http://a.example/v1'}}}}",
        "{models:{providers:{x:{baseUrl:'http://localhost:11434/v1'}}}}",
    ),
    (
        "logging.redact_off",
        "{logging:{redactSensitive:'off'}}",
        "{logging:{redactSensitive:'tools'}}",
    ),
    (
        "hooks.no_token",
        "{hooks:{enabled:true}}",
        "{hooks:{enabled:true,token:'${H}'}}",
    ),
    (
        "hooks.token_too_short",
        "{hooks:{token:'abcdefghijklmnopqrstuvw'}}",
        "{hooks:{token:'abcdefghijklmnopqrstuvwx'}}",
    ),
    (
        "hooks.token_reuse_gateway_token",
        "{hooks:{token:'9f8a7b6c5d4e3f2a1b0c9d8e'},gateway:{auth:{token:'9f8a7b6c5d4e3f2a1b0c9d8e'}}}",
        "{hooks:{token:'9f8a7b6c5d4e3f2a1b0c9d8f'},gateway:{auth:{token:'9f8a7b6c5d4e3f2a1b0c9d8e'}}}",
    ),
    (
        "hooks.token_reuse_gateway_token",
        "{hooks:{token:'${T}'},gateway:{auth:{token:'${T}'}}}",
        "{hooks:{token:'${H}'},gateway:{auth:{token:'${T}'}}}",
    ),
    (
        "hooks.path_root",
        "{hooks:{path:'/'}}",
        "{hooks:{path:'/h'}}",
    ),
    (
        "config.secrets.hooks_token_in_config",
        "{hooks:{token:'abcdefghijklmnopqrstuvwx'}}",
        "{hooks:{token:'${H}'}}",
    ),
    (
        "config.secrets.literal_in_config",
        "{models:{providers:{x:{apiKey:'sk-1'}}}}",
        "{models:{providers:{x:{apiKey:'${K}'}}}}",
    ),
    (
        "config.secrets.env_vars",
        "{env:{vars:{GITHUB_TOKEN:'x'}}}",
        "{env:{vars:{EDITOR:'vi'}}}",
    ),
    (
        "discovery.mdns_full_mode",
        "{discovery:{mdns:'full'}}",
        "{discovery:{mdns:{mode:'minimal'}}}",
    ),
    (
        "config.legacy_key",
        "{agent:{model:'ollama/llama3'}}",
        "{agents:{defaults:{model:'ollama/llama3'}}}",
    ),
    (
        "config.ignored_key",
        "{meta:{lastTouchedVersion:'1'}}",
        "{}",
    ),
    (
        "config.ignored_key",
        "{discovery:{wideArea:{enabled:true}}}",
        "{discovery:{}}",
    ),
];

/// What a channel's lists can name: somebody, somebody else, and a group.
const PEOPLE: &[(&str, &str, &str, &str)] = &[
    (
        "whatsapp",
        "'+15555550100'",
        "'+15555550101'",
        "'120363000000000000@g.us'",
    ),
    ("telegram", "1", "2", "'-1001'"),
    (
        "discord",
        "'123456789012345678'",
        "'123456789012345679'",
        "'123'",
    ),
    (
        "signal",
        "'+15555550100'",
        "'+15555550101'",
        "'group:abcdefghijklmnop'",
    ),
    (
        "imessage",
        "'+15555550100'",
        "'me@example.org'",
        "'chat_id:1'",
    ),
    (
        "bluebubbles",
        "'+15555550100'",
        "'me@example.org'",
        "'chat_id:1'",
    ),
];

/// The rules that hold on every channel: the part of the id after the channel, and what to write into the channel.
const CHANNEL_CASES: &[(&str, &str, &str)] = &[
    (
        "dm.open_invalid",
        "dmPolicy:'open',allowFrom:[SOMEBODY]",
        "dmPolicy:'open',allowFrom:['*']",
    ),
    (
        "dm.open_invalid",
        "accounts:{work:{dm:{policy:'open'}}}",
        "accounts:{work:{dm:{policy:'open',allowFrom:['*']}}}",
    ),
    (
        "dm.wildcard_without_open",
        "allowFrom:['*']",
        "allowFrom:[SOMEBODY]",
    ),
    (
        "dm.open",
        "dm:{policy:'open',allowFrom:['*']}",
        "dm:{policy:'pairing',allowFrom:[SOMEBODY]}",
    ),
    (
        "dm.disabled",
        "dmPolicy:'disabled'",
        "dmPolicy:'allowlist',allowFrom:[SOMEBODY]",
    ),
    ("dm.allowFrom.missing", "", "allowFrom:[SOMEBODY]"),
    (
        "dm.allowFrom.missing",
        "dmPolicy:'allowlist'",
        "dmPolicy:'disabled'",
    ),
    (
        "groups.open",
        "groupPolicy:'open'",
        "groupPolicy:'allowlist'",
    ),
    (
        "groups.allowFrom.wildcard",
        "groupAllowFrom:['*']",
        "groupAllowFrom:[SOMEBODY]",
    ),
    (
        "groups.allowFrom.missing",
        "groups:{GROUP:{}}",
        "groups:{GROUP:{}},allowFrom:[SOMEBODY]",
    ),
    (
        "groups.no_mention_gate",
        "groups:{'*':{requireMention:false}}",
        "groups:{GROUP:{requireMention:false}}",
    ),
    ("config_writes", "configWrites:true", "configWrites:false"),
];

fn cases() -> Vec<(String, String, String)> {
    let mut cases: Vec<_> = CASES
        .iter()
        .map(|(id, bad, good)| (id.to_string(), bad.to_string(), good.to_string()))
        .collect();
    for (channel, a, b, group) in PEOPLE {
        let file = |inside: &str| {
            let inside = inside.replace("SOMEBODY", a).replace("GROUP", group);
            format!("{{channels:{{{channel}:{{{inside}}}}}}}")
        };
        for (id, bad, good) in CHANNEL_CASES {
            cases.push((format!("channels.{channel}.{id}"), file(bad), file(good)));
        }
        let scope = |scope: &str| {
            format!(
                "{{session:{{dmScope:'{scope}'}},channels:{{{channel}:{{allowFrom:[{a},{b}]}}}}}}"
            )
        };
        cases.push((
            format!("channels.{channel}.scope_main_multiuser"),
            scope("main"),
            scope("per-peer"),
        ));
        let elevated =
            |people: &str| format!("{{tools:{{elevated:{{allowFrom:{{{channel}:[{people}]}}}}}}}}");
        let many = |count: usize| elevated(&vec![*a; count].join(","));
        let id = |end: &str| format!("tools.elevated.allowFrom.{channel}.{end}");
        cases.push((id("wildcard"), elevated("'*'"), elevated(a)));
        cases.push((id("large"), many(26), many(25)));
    }
    for (bad, good) in [
        ("/var/run/docker.sock", "/srv/run"),
        ("/", "/srv"),
        ("/etc", "/srv/etc"),
        ("/etc/ssl", "/etcetera"),
        ("/proc/1", "/process"),
        ("/sys", "/system"),
        ("/dev", "/development"),
        ("/root", "/rooted"),
        ("~/.ssh", "~/ssh"),
        ("/home/u/.aws", "/home/u/aws"),
        ("~/.gnupg/x", "~/gnupg"),
        ("~/.clawdbot", "~/clawd"),
        ("/var/lib/clawdbot/credentials", "/var/lib/other"),
        ("/home/u", "/home/u/data"),
        ("//etc//", "/opt"),
        ("/var/lib", "/var/cache"),
    ] {
        let file = |host: &str| {
            format!("{{agents:{{defaults:{{sandbox:{{docker:{{binds:['{host}:/data']}}}}}}}}}}")
        };
        cases.push((
            "sandbox.dangerous_bind_mount".to_owned(),
            file(bad),
            file(good),
        ));
    }
    cases
}

/// The ids of all rules that a file breaks, refused or not.
fn broken(file: &str) -> Vec<String> {
    let loaded = parse("test", file.as_bytes());
    match loaded {
        Ok(loaded) => loaded
            .findings
            .iter()
            .map(|finding| finding.id.to_owned())
            .collect(),
        Err(error) => {
            let ids = error
                .mistakes()
                .iter()
                .map(|mistake| mistake.rule.unwrap_or(&mistake.message).to_owned());
            ids.collect()
        }
    }
}

fn loaded(file: &str) -> Loaded {
    parse("test", file.as_bytes()).unwrap_or_else(|error| panic!("{}", error.render(false)))
}

#[test]
fn every_rule_holds_both_ways() {
    let cases = cases();
    for (id, bad, good) in &cases {
        let rule = all()
            .find(|rule| rule.id == id)
            .unwrap_or_else(|| panic!("no rule {id}"));
        assert!(
            broken(bad).contains(id),
            "{id} does not see {bad}: {:?}",
            broken(bad)
        );
        assert!(!broken(good).contains(id), "{id} refuses {good}");
        // What refuses a file does so, what only reports lets it load.
        let refuses = matches!(rule.grade, Grade::Error | Grade::Accept);
        assert_eq!(
            parse("test", bad.as_bytes()).is_err(),
            refuses,
            "{id} {bad}"
        );
        // The other file is good altogether, so that it shows this rule and no other.
        loaded(good);
    }
    for rule in all() {
        assert!(
            cases.iter().any(|(id, _, _)| id == rule.id),
            "{} has no case",
            rule.id
        );
    }
}

#[test]
fn ids_are_unique_and_rows_are_complete() {
    let mut ids: Vec<_> = all().map(|rule| rule.id).collect();
    ids.sort_unstable();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count);
    let rows = crate::schema::rows();
    for rule in all() {
        assert!(
            !rule.title.is_empty() && !rule.remedy.is_empty(),
            "{}",
            rule.id
        );
        let key = rule.key.replace("<name>", "responses");
        assert!(
            rows.iter().any(|row| row.shown == key),
            "{}: the schema has no {}",
            rule.id,
            rule.key
        );
    }
}

#[test]
fn what_can_be_accepted_loads_when_it_is_named_and_is_reported() {
    for rule in all().filter(|rule| rule.grade == Grade::Accept) {
        let (_, bad, _) = cases()
            .into_iter()
            .find(|(id, _, _)| id == rule.id)
            .unwrap();
        let accepting = |id: &str| format!("{{dangerous:{{accept:['{id}']}},{}", &bad[1..]);
        let loaded = loaded(&accepting(rule.id));
        let finding = loaded
            .findings
            .iter()
            .find(|finding| finding.id == rule.id)
            .unwrap();
        assert_eq!(finding.severity, Severity::Critical, "{}", rule.id);
        // Accepting another rule does not help.
        let other = all()
            .find(|other| other.grade == Grade::Accept && other.id != rule.id)
            .unwrap();
        assert!(
            parse("test", accepting(other.id).as_bytes()).is_err(),
            "{}",
            rule.id
        );
    }
}

#[test]
fn what_cannot_be_accepted_is_refused_by_name() {
    for (id, help) in [
        (
            "gateway.trusted_proxies_any",
            "name the addresses of your proxies",
        ),
        ("logging.redact_off", "nothing to accept"),
        (
            "sandbox.docker_user_rot",
            "did you mean \"sandbox.docker_user_root\"?",
        ),
        ("banana", "rules that can be accepted: "),
    ] {
        let file = format!("{{dangerous:{{accept:['{id}']}}}}");
        let error = parse("test", file.as_bytes()).err().unwrap();
        let given = error.mistakes()[0].help.clone().unwrap();
        assert!(given.contains(help), "{id}: {given}");
    }
}

#[test]
fn short_secrets_refuse_the_file_only_where_others_can_try_them() {
    for secret in [
        "token:'short'",
        "token:'aaaaaaaaaaaaaaaaaaaaaaaaaaaa'",
        "password:'short'",
    ] {
        let file = |bind: &str| format!("{{gateway:{{bind:'{bind}',auth:{{{secret}}}}}}}");
        assert!(parse("test", file("lan").as_bytes()).is_err(), "{secret}");
        let worst = loaded(&file("loopback")).findings[0].clone();
        assert_eq!(worst.severity, Severity::Critical, "{secret}");
    }
}

#[test]
fn sandbox_off_is_critical_as_soon_as_groups_are_admitted() {
    let severity = |channels: &str| {
        let file =
            format!("{{agents:{{defaults:{{sandbox:{{mode:'off'}}}}}},channels:{{{channels}}}}}");
        let findings = loaded(&file).findings;
        findings
            .iter()
            .find(|finding| finding.id == "sandbox.mode_off")
            .unwrap()
            .severity
    };
    assert_eq!(severity(""), Severity::Warn);
    assert_eq!(severity("signal:{}"), Severity::Warn);
    assert_eq!(severity("signal:{groups:{'*':{}}}"), Severity::Critical);
    assert_eq!(severity("discord:{guilds:{'1':{}}}"), Severity::Critical);
}

#[test]
fn a_mistake_that_accounts_inherit_is_reported_once() {
    let file = "{channels:{signal:{dmPolicy:'open',accounts:{a:{},b:{},c:{dmPolicy:'pairing'}}}}}";
    let error = parse("test", file.as_bytes()).err().unwrap();
    assert_eq!(error.mistakes().len(), 1, "{}", error.render(false));
    assert_eq!(error.mistakes()[0].path, "channels.signal.dmPolicy");
}

#[test]
fn the_configurations_own_directory_is_no_workspace() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clawdbot.json");
    let write = |workspace: &std::path::Path| {
        std::fs::write(
            &path,
            format!("{{agents:{{defaults:{{workspace:{workspace:?}}}}}}}"),
        )
        .unwrap();
        crate::load(&path)
    };
    assert!(write(&directory.path().join("work")).is_err());
    assert!(write(std::path::Path::new("/srv/work")).is_ok());
}
