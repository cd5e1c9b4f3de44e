//! Rules about the rest: commands, sessions, providers, logs, hooks, variables, and old spellings.

use super::{BY_HAND, CRITICAL, Cure, Facts, Grade, Hits, INFO, Rule, WARN, at};
use crate::mask::looks_secret;
use crate::mention::Patterns;
use crate::path::ConfigPath;
use crate::schema::{GroupChat, MdnsMode, Redact, is_plain_and_remote};
use crate::secret::SecretField;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "commands.unsupported",
        grade: Grade::Error,
        key: "commands.bash",
        title: "Command that does not exist",
        why: "Whoever gets into a chat would get the machine.",
        remedy: "write false or remove the line: a chat never gets a shell, the configuration or its overrides",
        cure: Cure::Set("false"),
        check: |facts, hits| {
            let commands = &facts.settings.commands;
            hits.add_if(commands.bash, "commands.bash", "is not supported");
            hits.add_if(commands.config, "commands.config", "is not supported");
            hits.add_if(commands.debug, "commands.debug", "is not supported");
        },
    },
    Rule {
        id: "commands.no_access_groups",
        grade: Grade::Error,
        key: "commands.useAccessGroups",
        title: "Commands for everybody",
        why: "A stranger could end sessions and read the status.",
        remedy: "remove the line",
        cure: Cure::Set("true"),
        check: |facts, hits| {
            let off = !facts.settings.commands.use_access_groups;
            hits.add_if(
                off,
                "commands.useAccessGroups",
                "is false: strangers could use commands",
            );
        },
    },
    Rule {
        id: "session.identity_link_twice",
        grade: Grade::Error,
        key: "session.identityLinks",
        title: "One identity, two people",
        why: "Whose conversation it is would be a guess.",
        remedy: "name every identity once",
        cure: Cure::Run(BY_HAND),
        check: |facts, hits| {
            let links = &facts.settings.session.identity_links;
            let mut seen = std::collections::BTreeSet::new();
            for (person, identities) in links {
                for identity in identities.iter().filter(|identity| !seen.insert(*identity)) {
                    let path = at("session.identityLinks").join(person.as_str());
                    hits.add(path, format!("names {} a second time", identity.as_str()));
                }
            }
        },
    },
    Rule {
        id: "messages.mention_pattern_invalid",
        grade: WARN,
        key: "messages.groupChat.mentionPatterns",
        title: "A pattern without effect",
        why: "The bot does not hear what you wanted it to hear.",
        remedy: "write it without look-around and references back, or take it out; until then it is left out",
        cure: Cure::Run(BY_HAND),
        check: |facts, hits| {
            let list = |path: ConfigPath, chat: &GroupChat, hits: &mut Hits| {
                let patterns = chat.mention_patterns.as_deref().unwrap_or_default();
                for invalid in Patterns::compile(patterns).1 {
                    let mut path = path.join("mentionPatterns");
                    path.push_index(invalid.index);
                    hits.add(path, invalid.why);
                }
            };
            list(
                at("messages.groupChat"),
                &facts.settings.messages.group_chat,
                hits,
            );
            for (index, agent) in facts.settings.agents.list.iter().enumerate() {
                let mut path = at("agents.list");
                path.push_index(index);
                list(path.join("groupChat"), &agent.group_chat, hits);
            }
        },
    },
    Rule {
        id: "session.identity_link_owner",
        grade: Grade::Error,
        key: "session.identityLinks",
        title: "Somebody else becomes the owner",
        why: "Whoever holds the other account would be the owner.",
        remedy: "add every identity of the person to commands.ownerAllowFrom, or take the owner's out of the link",
        cure: Cure::Run(BY_HAND),
        check: |facts, hits| {
            let owners = facts.owners();
            for (person, identities) in &facts.settings.session.identity_links {
                let owner = identities.iter().any(|identity| owners.contains(identity));
                let other = identities
                    .iter()
                    .find(|identity| !owners.contains(identity));
                if let (true, Some(other)) = (owner, other) {
                    let detail = format!(
                        "links the owner with {}, who is not in commands.ownerAllowFrom",
                        other.as_str()
                    );
                    hits.add(at("session.identityLinks").join(person.as_str()), detail);
                }
            }
        },
    },
    Rule {
        id: "models.plain_http",
        grade: CRITICAL,
        key: "models.providers.<id>.baseUrl",
        title: "Clear text to the provider",
        why: "Whoever is on the way reads every message and the key.",
        remedy: "use https://",
        cure: Cure::Set("\"https://HOST\""),
        check: |facts, hits| {
            for (id, provider) in &facts.settings.models.providers {
                let plain = provider
                    .base_url
                    .as_ref()
                    .is_some_and(|url| is_plain_and_remote(url.as_str()));
                let path = at("models.providers").join(id.as_str()).join("baseUrl");
                hits.add_if(plain, path, "sends messages and the key in clear text");
            }
        },
    },
    Rule {
        id: "logging.redact_off",
        grade: CRITICAL,
        key: "logging.redactSensitive",
        title: "Secrets in logs",
        why: "Keys and tokens end up in files that are copied into reports of faults.",
        remedy: "remove the line",
        cure: Cure::Fix("\"all\""),
        check: |facts, hits| {
            let off = facts.settings.logging.redact_sensitive == Redact::Off;
            hits.add_if(off, "logging.redactSensitive", "is \"off\"");
        },
    },
    Rule {
        id: "hooks.no_token",
        grade: Grade::Error,
        key: "hooks.token",
        title: "Web hooks without a token",
        why: "Whoever reaches the port could give orders.",
        remedy: "set hooks.token to at least 24 random characters",
        cure: Cure::Run("clawdbot config set hooks.token '\"${CLAWDBOT_HOOKS_TOKEN}\"'"),
        check: |facts, hits| {
            let hooks = &facts.settings.hooks;
            hits.add_if(
                hooks.enabled && hooks.token.is_none(),
                "hooks.enabled",
                "is true and hooks.token is not set",
            );
        },
    },
    Rule {
        id: "hooks.token_too_short",
        grade: Grade::Error,
        key: "hooks.token",
        title: "Short token",
        why: "A short token can be found by trying.",
        remedy: "use at least 24 random characters: openssl rand -hex 24",
        cure: Cure::Set("\"${CLAWDBOT_HOOKS_TOKEN}\""),
        check: |facts, hits| {
            let token = facts.secrets.literal(&at("hooks.token"));
            hits.add_if(
                token.is_some_and(|token| token.len() < 24),
                "hooks.token",
                "has fewer than 24 characters",
            );
        },
    },
    Rule {
        id: "hooks.token_reuse_gateway_token",
        grade: Grade::Error,
        key: "hooks.token",
        title: "One token for two doors",
        why: "Every sender of a web hook would hold the owner's key.",
        remedy: "give the web hooks a token of their own",
        cure: Cure::Set("\"${CLAWDBOT_HOOKS_TOKEN}\""),
        check: |facts, hits| {
            let secret = |path: &str| facts.secrets.literal(&at(path));
            let hook = secret("hooks.token");
            let literal = hook.is_some()
                && (hook == secret("gateway.auth.token")
                    || hook == secret("gateway.auth.password"));
            let (hooks, auth) = (&facts.settings.hooks.token, &facts.settings.gateway.auth);
            let named = matches!(hooks, Some(SecretField::Reference(_)))
                && (*hooks == auth.token || *hooks == auth.password);
            hits.add_if(
                literal || named,
                "hooks.token",
                "is the gateway's, so every caller could log in as the owner",
            );
        },
    },
    Rule {
        id: "hooks.path_root",
        grade: Grade::Error,
        key: "hooks.path",
        title: "Web hooks everywhere",
        why: "A request for the web chat would be taken for a web hook.",
        remedy: "use a path of their own, for instance \"/hooks\"",
        cure: Cure::Set("\"/hooks\""),
        check: |facts, hits| {
            let root = facts
                .settings
                .hooks
                .path
                .as_str()
                .trim_matches('/')
                .is_empty();
            hits.add_if(root, "hooks.path", "is \"/\", which is the web chat's");
        },
    },
    Rule {
        id: "config.secrets.hooks_token_in_config",
        grade: INFO,
        key: "hooks.token",
        title: "Token in the file",
        why: "Whoever sees the file or a backup of it can send web hooks.",
        remedy: "write token: \"${NAME}\" or { source: \"file\", id: … }",
        cure: Cure::Set("\"${CLAWDBOT_HOOKS_TOKEN}\""),
        check: |facts, hits| {
            let literal = facts.settings.hooks.token == Some(SecretField::Literal);
            hits.add_if(
                literal,
                "hooks.token",
                "is written into the file in clear text",
            );
        },
    },
    Rule {
        id: "config.secrets.literal_in_config",
        grade: WARN,
        key: "models.providers.<id>.apiKey",
        title: "Secret in the file",
        why: "Whoever sees the file, a backup of it or your screen has the secret.",
        remedy: "write \"${NAME}\" or { source: \"file\", id: … }, or use clawdbot login",
        cure: Cure::Set("\"${NAME}\""),
        check: |facts, hits| {
            for (path, _) in &facts.secrets.literals {
                let own_rule = path.starts_with(&at("gateway.auth")) || *path == at("hooks.token");
                hits.add_if(
                    !own_rule,
                    path.clone(),
                    "is written into the file in clear text",
                );
            }
        },
    },
    Rule {
        id: "config.secrets.env_vars",
        grade: WARN,
        key: "env.vars",
        title: "Secret among the variables",
        why: "Every tool can read these variables.",
        remedy: "pass it at the start and write \"${NAME}\" in the setting that needs it: tools can read these variables",
        cure: Cure::Unset,
        check: |facts, hits| {
            for name in facts
                .settings
                .env
                .vars
                .keys()
                .filter(|name| looks_secret(name.as_str()))
            {
                hits.add(at("env.vars").join(name.as_str()), "looks like a secret");
            }
        },
    },
    Rule {
        id: "discovery.mdns_full_mode",
        grade: WARN,
        key: "discovery.mdns.mode",
        title: "Everything is announced",
        why: "Everybody in the same network learns what runs here and where.",
        remedy: "write mode: \"minimal\" or \"off\"",
        cure: Cure::Fix("\"minimal\""),
        check: |facts, hits| {
            let full = facts.settings.discovery.mdns.mode == MdnsMode::Full;
            hits.add_if(
                full,
                "discovery.mdns.mode",
                "is \"full\": the local network learns paths and host names",
            );
        },
    },
    Rule {
        id: "config.legacy_key",
        grade: WARN,
        key: "agents.defaults",
        title: "Old spelling",
        why: "Two words for one thing hide which of them counts.",
        remedy: "write agents: { defaults: { … } } instead of agent: { … }",
        cure: Cure::Run(BY_HAND),
        check: |facts: &Facts, hits| {
            hits.add_if(
                facts.moved.contains(&"agent"),
                "agents.defaults",
                "is spelt `agent` in the file, which is the old word for it",
            );
        },
    },
    Rule {
        id: "config.ignored_key",
        grade: INFO,
        key: "meta",
        title: "Setting without effect",
        why: "It looks as if it did something.",
        remedy: "remove it when you no longer need the file for the original",
        cure: Cure::Unset,
        check: |facts, hits| {
            for key in ["meta", "wizard", "update", "ui", "discovery.wideArea"] {
                hits.add_if(facts.is_set(key), key, "is ignored");
            }
        },
    },
];
