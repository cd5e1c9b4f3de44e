//! Rules about the front door: who can reach it and what they have to show.

use super::{CRITICAL, Cure, Facts, Grade, Hits, INFO, Rule, WARN, at};
use crate::path::ConfigPath;
use crate::schema::{AuthMode, Bind, TailscaleMode, is_plain_and_remote};
use crate::secret::SecretField;

/// A log-in with a password needs one.
const PASSWORD: Cure = Cure::Run(
    "clawdbot config set gateway.auth.password '\"${CLAWDBOT_GATEWAY_PASSWORD}\"' && clawdbot config set gateway.auth.mode '\"password\"'",
);

/// Without Tailscale nobody can be let in by it.
const NO_TAILSCALE: Cure = Cure::Run(
    "clawdbot config set gateway.auth.allowTailscale false && clawdbot config set gateway.tailscale.mode '\"off\"'",
);

/// Closes the door to other machines; an address that is named for it would have no effect any more.
fn loopback(facts: &Facts) -> Cure {
    match facts.settings.gateway.custom_bind_host {
        Some(_) => Cure::Run(
            "clawdbot config set gateway.bind '\"loopback\"' && clawdbot config unset gateway.customBindHost",
        ),
        None => Cure::Run("clawdbot config set gateway.bind '\"loopback\"'"),
    }
}

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "gateway.port_privileged",
        grade: WARN,
        key: "gateway.port",
        title: "Port below 1024",
        why: "Without that privilege the front door never opens.",
        remedy: "use a port from 1024, for instance 18789; a lower one needs a privilege that no process here has",
        cure: Cure::Set("18789"),
        check: |facts, hits| {
            let port = facts.settings.gateway.port.get();
            hits.add_if(
                port < 1024,
                "gateway.port",
                format!("is {port}, which only a privileged program may bind"),
            );
        },
    },
    Rule {
        id: "gateway.bind_no_auth",
        grade: Grade::Error,
        key: "gateway.bind",
        title: "Reachable without log-in",
        why: "Whoever reaches the port would be the owner.",
        remedy: "write auth: { token: \"${CLAWDBOT_GATEWAY_TOKEN}\" } or a password beside it, or bind: \"loopback\"",
        cure: Cure::Set("\"loopback\""),
        check: |facts, hits| {
            let gateway = &facts.settings.gateway;
            let named = match gateway.auth.mode {
                AuthMode::Token => {
                    facts.is_set("gateway.auth.token") || facts.is_set("gateway.auth.mode")
                }
                AuthMode::Password => gateway.auth.password.is_some(),
            };
            let bind = gateway.bind.as_str();
            let detail = format!(
                "is \"{bind}\", which other machines can reach, and the file sets no token or password"
            );
            if gateway.off_loopback() && !named {
                hits.add_with(loopback(facts), "gateway.bind", detail);
            }
        },
    },
    Rule {
        id: "gateway.loopback_no_auth",
        grade: WARN,
        key: "gateway.auth.password",
        title: "No password yet",
        why: "Without a password nobody can sign in, not even you.",
        remedy: "set gateway.auth.password, or start with CLAWDBOT_GATEWAY_PASSWORD",
        cure: Cure::Run(
            "clawdbot config set gateway.auth.password '\"${CLAWDBOT_GATEWAY_PASSWORD}\"'",
        ),
        check: |facts, hits| {
            let gateway = &facts.settings.gateway;
            let missing =
                gateway.auth.mode == AuthMode::Password && gateway.auth.password.is_none();
            hits.add_if(
                missing && !gateway.off_loopback(),
                "gateway.auth.mode",
                "is \"password\" and the file sets none, so nobody can log in unless the environment does",
            );
        },
    },
    Rule {
        id: "gateway.bind_off_loopback",
        grade: WARN,
        key: "gateway.bind",
        title: "Reachable from other machines",
        why: "Every machine in reach can try passwords, and every mistake of the front door.",
        remedy: "bind: \"loopback\" with an SSH tunnel or Tailscale exposes less",
        cure: Cure::Set("\"loopback\""),
        check: |facts, hits| {
            let gateway = &facts.settings.gateway;
            let detail = format!(
                "is \"{}\", so other machines can try to log in",
                gateway.bind.as_str()
            );
            if gateway.off_loopback() {
                hits.add_with(loopback(facts), "gateway.bind", detail);
            }
        },
    },
    Rule {
        id: "gateway.custom_bind_host_missing",
        grade: Grade::Error,
        key: "gateway.customBindHost",
        title: "No address to bind",
        why: "Without an address there is nothing to listen on.",
        remedy: "set gateway.customBindHost to an IP address of this machine",
        cure: Cure::Run("clawdbot config set gateway.customBindHost '\"ADDRESS\"'"),
        check: |facts, hits| {
            let gateway = &facts.settings.gateway;
            let missing = gateway.bind == Bind::Custom && gateway.custom_bind_host.is_none();
            hits.add_if(
                missing,
                "gateway.bind",
                "is \"custom\" and gateway.customBindHost is not set",
            );
        },
    },
    Rule {
        id: "gateway.custom_bind_host_unused",
        grade: WARN,
        key: "gateway.customBindHost",
        title: "Address without effect",
        why: "The front door listens elsewhere than the file seems to say.",
        remedy: "write bind: \"custom\", or remove customBindHost",
        cure: Cure::Unset,
        check: |facts, hits| {
            let gateway = &facts.settings.gateway;
            let unused = gateway.bind != Bind::Custom && gateway.custom_bind_host.is_some();
            hits.add_if(
                unused,
                "gateway.customBindHost",
                "has no effect without bind: \"custom\"",
            );
        },
    },
    Rule {
        id: "gateway.bind_all_interfaces",
        grade: Grade::Accept,
        key: "gateway.customBindHost",
        title: "Every interface",
        why: "On a machine with a public address the whole internet can try to sign in.",
        remedy: "name one address of this machine",
        cure: Cure::Set("\"127.0.0.1\""),
        check: |facts, hits| {
            let gateway = &facts.settings.gateway;
            let all = gateway
                .custom_bind_host
                .is_some_and(|host| host.is_unspecified());
            hits.add_if(
                all,
                "gateway.customBindHost",
                "means every interface, the internet's among them",
            );
        },
    },
    Rule {
        id: "gateway.token_too_short",
        grade: CRITICAL,
        key: "gateway.auth.token",
        title: "Short token",
        why: "A short token can be found by trying, and whoever has it is the owner.",
        remedy: "use at least 24 random characters: openssl rand -hex 24",
        cure: Cure::Set("\"${CLAWDBOT_GATEWAY_TOKEN}\""),
        check: |facts, hits| {
            let length = literal_length(facts, "gateway.auth.token");
            let short = length.is_some_and(|length| length < 24);
            grade_by_exposure(
                short,
                facts,
                "gateway.auth.token",
                "has fewer than 24 characters",
                hits,
            );
        },
    },
    Rule {
        id: "gateway.token_weak",
        grade: CRITICAL,
        key: "gateway.auth.token",
        title: "Guessable token",
        why: "Such a token is among the first that are tried, and whoever has it is the owner.",
        remedy: "use at least 24 random characters: openssl rand -hex 24",
        cure: Cure::Set("\"${CLAWDBOT_GATEWAY_TOKEN}\""),
        check: |facts, hits| {
            let token = facts.secrets.literal(&at("gateway.auth.token"));
            grade_by_exposure(
                token.is_some_and(is_weak),
                facts,
                "gateway.auth.token",
                "can be guessed",
                hits,
            );
        },
    },
    Rule {
        id: "gateway.password_too_short",
        grade: CRITICAL,
        key: "gateway.auth.password",
        title: "Short password",
        why: "A short password can be found by trying, and whoever has it is the owner.",
        remedy: "use at least 12 characters; four random words are good",
        cure: Cure::Set("\"${CLAWDBOT_GATEWAY_PASSWORD}\""),
        check: |facts, hits| {
            let length = literal_length(facts, "gateway.auth.password");
            let short = length.is_some_and(|length| length < 12);
            grade_by_exposure(
                short,
                facts,
                "gateway.auth.password",
                "has fewer than 12 characters",
                hits,
            );
        },
    },
    Rule {
        id: "config.secrets.gateway_password_in_config",
        grade: WARN,
        key: "gateway.auth.password",
        title: "Password in the file",
        why: "Whoever sees the file, a backup of it or your screen can sign in.",
        remedy: "write password: \"${CLAWDBOT_GATEWAY_PASSWORD}\" or { source: \"file\", id: … }",
        cure: Cure::Set("\"${CLAWDBOT_GATEWAY_PASSWORD}\""),
        check: |facts, hits| literal_in_file(facts, "gateway.auth.password", hits),
    },
    Rule {
        id: "config.secrets.gateway_token_in_config",
        grade: WARN,
        key: "gateway.auth.token",
        title: "Token in the file",
        why: "Whoever sees the file, a backup of it or your screen can sign in.",
        remedy: "leave it out to have one generated, or write token: \"${CLAWDBOT_GATEWAY_TOKEN}\"",
        cure: Cure::Set("\"${CLAWDBOT_GATEWAY_TOKEN}\""),
        check: |facts, hits| literal_in_file(facts, "gateway.auth.token", hits),
    },
    Rule {
        id: "gateway.auth_no_rate_limit",
        grade: CRITICAL,
        key: "gateway.auth.rateLimit",
        title: "No limit on attempts",
        why: "Without a limit a program tries thousands of passwords a minute.",
        remedy: "remove the line: 10 wrong attempts a minute are allowed by default",
        cure: Cure::Fix("{ maxAttempts: 10 }"),
        check: |facts, hits| {
            let off = facts.settings.gateway.auth.rate_limit.on().is_none();
            hits.add_if(
                off,
                "gateway.auth.rateLimit",
                "is off, so passwords can be tried without end",
            );
        },
    },
    Rule {
        id: "gateway.allow_tailscale_without_serve",
        grade: Grade::Error,
        key: "gateway.auth.allowTailscale",
        title: "Tailscale log-in without Tailscale",
        why: "The log-in would rest on a header that anybody can send.",
        remedy: "write tailscale: { mode: \"serve\" }, or remove allowTailscale",
        cure: Cure::Set("false"),
        check: |facts, hits| {
            let gateway = &facts.settings.gateway;
            let without =
                gateway.auth.allow_tailscale && gateway.tailscale.mode != TailscaleMode::Serve;
            hits.add_if(
                without,
                "gateway.auth.allowTailscale",
                "only works with tailscale.mode \"serve\"",
            );
        },
    },
    Rule {
        id: "gateway.allow_tailscale",
        grade: WARN,
        key: "gateway.auth.allowTailscale",
        title: "Log-in by Tailscale",
        why: "Everybody in the tailnet is then the owner.",
        remedy: "keep it off unless everybody in the tailnet is you",
        cure: Cure::Set("false"),
        check: |facts, hits| {
            let on = facts.settings.gateway.auth.allow_tailscale;
            hits.add_if(
                on,
                "gateway.auth.allowTailscale",
                "lets in whom Tailscale vouches for, without token or password",
            );
        },
    },
    Rule {
        id: "gateway.trusted_proxies_any",
        grade: Grade::Error,
        key: "gateway.trustedProxies",
        title: "Everybody is a proxy",
        why: "An attacker would choose the address that limits and logs see.",
        remedy: "name the addresses of your proxies, and nothing that means everybody",
        cure: Cure::Unset,
        check: |facts, hits| {
            for (index, network) in facts.settings.gateway.trusted_proxies.iter().enumerate() {
                let any = network.parts().is_some_and(|(_, bits)| bits == 0);
                hits.add_if(
                    any,
                    item("gateway.trustedProxies", index),
                    "believes what anybody says about his address",
                );
            }
        },
    },
    Rule {
        id: "gateway.control_ui.allowed_origins_wildcard",
        grade: Grade::Error,
        key: "gateway.allowedOrigins",
        title: "Any web page may connect",
        why: "A page in your browser could use the session that you are signed in with.",
        remedy: "name the origins, for instance \"https://chat.example.org\"",
        cure: Cure::Unset,
        check: |facts, hits| {
            for (index, origin) in facts.settings.gateway.allowed_origins.iter().enumerate() {
                let any = origin.as_str() == "*";
                hits.add_if(
                    any,
                    item("gateway.allowedOrigins", index),
                    "lets any web page that you visit connect",
                );
            }
        },
    },
    Rule {
        id: "gateway.tailscale_bind",
        grade: Grade::Error,
        key: "gateway.tailscale.mode",
        title: "Published twice",
        why: "Other machines would reach the port past Tailscale.",
        remedy: "write bind: \"loopback\"; Tailscale connects to it from this machine",
        cure: Cure::Run("clawdbot config set gateway.bind '\"loopback\"'"),
        check: |facts, hits| {
            let gateway = &facts.settings.gateway;
            let mode = gateway.tailscale.mode;
            let detail = format!(
                "is \"{}\", which needs gateway.bind \"loopback\"",
                mode.as_str()
            );
            if mode != TailscaleMode::Off && gateway.off_loopback() {
                hits.add_with(loopback(facts), "gateway.tailscale.mode", detail);
            }
        },
    },
    Rule {
        id: "gateway.tailscale_funnel_password",
        grade: Grade::Error,
        key: "gateway.tailscale.mode",
        title: "On the internet without a password",
        why: "Everybody in the world could try to sign in, and a token is not made for that.",
        remedy: "write auth: { mode: \"password\", password: … }",
        cure: Cure::Run("clawdbot config set gateway.auth.mode '\"password\"'"),
        check: |facts, hits| {
            let gateway = &facts.settings.gateway;
            let open = gateway.tailscale.mode == TailscaleMode::Funnel
                && gateway.auth.mode != AuthMode::Password;
            let detail = "is \"funnel\", which needs auth.mode \"password\"";
            match gateway.auth.password.is_some() {
                true => hits.add_if(open, "gateway.tailscale.mode", detail),
                false if open => hits.add_with(PASSWORD, "gateway.tailscale.mode", detail),
                false => {}
            }
        },
    },
    Rule {
        id: "gateway.tailscale_funnel",
        grade: CRITICAL,
        key: "gateway.tailscale.mode",
        title: "On the internet",
        why: "Everybody in the world can try to sign in.",
        remedy: "use mode \"serve\", which stays inside the tailnet",
        cure: Cure::Set("\"serve\""),
        check: |facts, hits| {
            let funnel = facts.settings.gateway.tailscale.mode == TailscaleMode::Funnel;
            hits.add_if(
                funnel,
                "gateway.tailscale.mode",
                "publishes the gateway to the internet",
            );
        },
    },
    Rule {
        id: "gateway.tailscale_serve",
        grade: INFO,
        key: "gateway.tailscale.mode",
        title: "In the tailnet",
        why: "Everybody in the tailnet can try to sign in.",
        remedy: "nothing, if that is what you want",
        cure: Cure::Set("\"off\""),
        check: |facts, hits| {
            let gateway = &facts.settings.gateway;
            let (path, detail) = (
                "gateway.tailscale.mode",
                "publishes the gateway to the tailnet",
            );
            match gateway.tailscale.mode == TailscaleMode::Serve {
                true if gateway.auth.allow_tailscale => hits.add_with(NO_TAILSCALE, path, detail),
                serve => hits.add_if(serve, path, detail),
            }
        },
    },
    Rule {
        id: "gateway.tls_incomplete",
        grade: Grade::Error,
        key: "gateway.tls.enabled",
        title: "TLS without a certificate",
        why: "Without a certificate no browser gets in.",
        remedy: "set certPath and keyPath, or autoGenerate: true",
        cure: Cure::Run("clawdbot config set gateway.tls.autoGenerate true"),
        check: |facts, hits| {
            let tls = &facts.settings.gateway.tls;
            let complete = tls.auto_generate || tls.cert_path.is_some() && tls.key_path.is_some();
            hits.add_if(
                tls.enabled && !complete,
                "gateway.tls.enabled",
                "is true and there is no certificate",
            );
        },
    },
    Rule {
        id: "gateway.plain_http_off_loopback",
        grade: WARN,
        key: "gateway.tls.enabled",
        title: "Clear text in the network",
        why: "Whoever is on the way reads the messages and the token.",
        remedy: "use Tailscale or an SSH tunnel, or tls: { enabled: true, … }",
        cure: Cure::Run("clawdbot config set gateway.bind '\"loopback\"'"),
        check: |facts, hits| {
            let gateway = &facts.settings.gateway;
            let plain =
                gateway.off_loopback() && !gateway.tls.enabled && gateway.bind != Bind::Tailnet;
            if plain {
                let detail = "is reachable from other machines in clear text";
                hits.add_with(loopback(facts), "gateway.bind", detail);
            }
        },
    },
    Rule {
        id: "gateway.remote_plain_ws",
        grade: WARN,
        key: "gateway.remote.url",
        title: "Clear text to the remote gateway",
        why: "Whoever is on the way reads the token, and is then the owner.",
        remedy: "use wss://, or transport \"ssh\"",
        cure: Cure::Set("\"wss://HOST\""),
        check: |facts, hits| {
            let url = facts.settings.gateway.remote.url.as_ref();
            let plain = url.is_some_and(|url| is_plain_and_remote(url.as_str()));
            hits.add_if(plain, "gateway.remote.url", "sends the token in clear text");
        },
    },
    Rule {
        id: "gateway.http.exposed",
        grade: WARN,
        key: "gateway.http.endpoints.<name>.enabled",
        title: "HTTP interface in the network",
        why: "The interface acts as the owner for whoever has the token.",
        remedy: "bind: \"loopback\", or keep the interface off",
        cure: Cure::Set("false"),
        check: |facts, hits| {
            let gateway = &facts.settings.gateway;
            let endpoints = &gateway.http.endpoints;
            for (name, endpoint) in [
                ("chatCompletions", &endpoints.chat_completions),
                ("responses", &endpoints.responses),
                ("toolsInvoke", &endpoints.tools_invoke),
            ] {
                let path = format!("gateway.http.endpoints.{name}.enabled");
                let exposed = endpoint.enabled && gateway.off_loopback();
                hits.add_if(
                    exposed,
                    path.as_str(),
                    "lets other machines use the assistant as its owner",
                );
            }
        },
    },
    Rule {
        id: "gateway.tools_invoke_http.enabled",
        grade: WARN,
        key: "gateway.http.endpoints.toolsInvoke.enabled",
        title: "Tools over HTTP",
        why: "Neither a model nor a person looks at such a call before it happens.",
        remedy: "keep it off unless a program of yours needs it",
        cure: Cure::Set("false"),
        check: |facts, hits| {
            let on = facts.settings.gateway.http.endpoints.tools_invoke.enabled;
            hits.add_if(
                on,
                "gateway.http.endpoints.toolsInvoke.enabled",
                "lets whoever has the token call tools without a model",
            );
        },
    },
];

/// Off loopback the file is refused, on it that is only a finding.
fn grade_by_exposure(broken: bool, facts: &Facts, path: &str, detail: &str, hits: &mut Hits) {
    if broken {
        match facts.settings.gateway.off_loopback() {
            true => hits.add_as(Grade::Error, path, detail),
            false => hits.add(path, detail),
        }
    }
}

fn literal_length(facts: &Facts, path: &str) -> Option<usize> {
    let literal = facts.secrets.literal(&at(path))?;
    std::str::from_utf8(literal)
        .ok()
        .map(|text| text.chars().count())
}

fn literal_in_file(facts: &Facts, path: &str, hits: &mut Hits) {
    let auth = &facts.settings.gateway.auth;
    let field = if path.ends_with("token") {
        &auth.token
    } else {
        &auth.password
    };
    hits.add_if(
        field == &Some(SecretField::Literal),
        path,
        "is written into the file in clear text",
    );
}

/// Few different characters, or words of examples.
fn is_weak(token: &[u8]) -> bool {
    let mut different = token.to_vec();
    different.sort_unstable();
    different.dedup();
    let lower = token.to_ascii_lowercase();
    let contains = |word: &&str| {
        lower
            .windows(word.len())
            .any(|window| window == word.as_bytes())
    };
    different.len() < 8
        || [
            "changeme",
            "example",
            "your-token",
            "password",
            "secret-token",
            "0123456789",
        ]
        .iter()
        .any(contains)
}

fn item(path: &str, index: usize) -> ConfigPath {
    let mut path = at(path);
    path.push_index(index);
    path
}
