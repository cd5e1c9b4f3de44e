//! Whose a secret is: one table from config path, and one from well-known environment name, to the one role that may have it.
//! A path or name without a row belongs to nobody and is refused; nobody can claim a secret by asking for it.

use clawdbot_identity::Role;

/// Config path and owner. `<id>` is one segment that the owner's name repeats, `*` any one segment.
pub const PATHS: &[(&str, &str)] = &[
    ("models.providers.<id>.apiKey", "model-<id>"),
    ("models.providers.<id>.headers.*", "model-<id>"),
    ("channels.telegram.botToken", "channel-telegram"),
    ("channels.telegram.accounts.*.botToken", "channel-telegram"),
    ("channels.telegram.webhookSecret", "channel-telegram"),
    (
        "channels.telegram.accounts.*.webhookSecret",
        "channel-telegram",
    ),
    ("channels.discord.token", "channel-discord"),
    ("channels.discord.accounts.*.token", "channel-discord"),
    ("channels.bluebubbles.password", "channel-bluebubbles"),
    (
        "channels.bluebubbles.accounts.*.password",
        "channel-bluebubbles",
    ),
    // What outsiders present to us: policy verifies it and nobody else has to know it.
    ("gateway.auth.*", "policy"),
    ("hooks.token", "policy"),
    // What the command line presents to a gateway elsewhere; no process of this machine needs it.
    ("gateway.remote.token", "operator"),
    ("gateway.remote.password", "operator"),
];

/// Environment name and owner. A final `*` stands for any rest of the name.
pub const NAMES: &[(&str, &str)] = &[
    ("ANTHROPIC_API_KEY", "model-anthropic"),
    ("ANTHROPIC_OAUTH_TOKEN", "model-anthropic"),
    ("OPENAI_API_KEY", "model-openai"),
    ("OLLAMA_API_KEY", "model-ollama"),
    ("OPENROUTER_API_KEY", "model-openrouter"),
    ("GEMINI_API_KEY", "model-google"),
    ("GROQ_API_KEY", "model-groq"),
    ("MISTRAL_API_KEY", "model-mistral"),
    ("XAI_API_KEY", "model-xai"),
    ("CEREBRAS_API_KEY", "model-cerebras"),
    ("TELEGRAM_BOT_TOKEN", "channel-telegram"),
    ("DISCORD_BOT_TOKEN", "channel-discord"),
    ("CLAWDBOT_GATEWAY_*", "policy"),
];

/// The owner of the secret at a config path such as `models.providers.ollama.apiKey`, written as the config crate writes
/// it: a key that is not one plain word stands in brackets, `channels.discord.accounts["my bot"].token`.
pub fn of_path(path: &str) -> Option<Role> {
    PATHS.iter().find_map(|(pattern, owner)| {
        let id = match_path(pattern, path)?;
        Role::parse(&owner.replace("<id>", id)).ok()
    })
}

/// The owner of a well-known environment variable. A variable that the config names in a secret field belongs to the
/// owner of that field instead, see [`of_path`].
pub fn of_name(name: &str) -> Option<Role> {
    let matches = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.len() > start.len() && name.starts_with(start),
        None => name == pattern,
    };
    NAMES
        .iter()
        .find(|(pattern, _)| matches(pattern))
        .and_then(|(_, owner)| Role::parse(owner).ok())
}

/// The segment that `<id>` stands for (empty without one), or nothing when the path does not fit.
fn match_path<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let (mut id, mut rest) = ("", Some(path));
    for wanted in pattern.split('.') {
        let segment;
        (segment, rest) = first_segment(rest?)?;
        match wanted {
            "<id>" => id = segment,
            "*" => {}
            _ if wanted == segment => {}
            _ => return None,
        }
    }
    rest.is_none().then_some(id)
}

/// The first segment of a path, and the rest if there is one. A segment in brackets keeps them, so that it equals no
/// word of the table and is no instance name.
fn first_segment(path: &str) -> Option<(&str, Option<&str>)> {
    let length = match path.strip_prefix("[\"") {
        Some(quoted) => "[\"".len() + end_of_quoted(quoted)?,
        None => path.find(['.', '[']).unwrap_or(path.len()),
    };
    let (segment, rest) = path.split_at(length);
    let rest = match (rest.strip_prefix('.'), rest.starts_with('[')) {
        (Some(rest), _) if !rest.starts_with('[') => Some(rest),
        (None, true) => Some(rest),
        (None, false) if rest.is_empty() => None,
        _ => return None,
    };
    (!segment.is_empty()).then_some((segment, rest))
}

/// Where a text ends whose first `"]` that is not escaped closes it.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    let quote = text.bytes().position(|b| {
        let closes = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        closes
    })?;
    text[quote..].starts_with("\"]").then_some(quote + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(role: Option<Role>) -> String {
        role.map_or("nobody".to_owned(), |role| role.to_string())
    }

    #[test]
    fn every_path_row_gives_its_owner_and_only_for_that_path() {
        for (pattern, expected) in PATHS {
            let path = pattern.replace("<id>", "my-llm").replace('*', "work");
            assert_eq!(
                owner(of_path(&path)),
                expected.replace("<id>", "my-llm"),
                "{path}"
            );
            let parent = path.rsplit_once('.').unwrap().0;
            for other in [
                format!("{path}.x"),
                format!("x.{path}"),
                path.to_uppercase(),
                format!("{path}."),
                parent.to_owned(),
            ] {
                assert_eq!(owner(of_path(&other)), "nobody", "{other}");
            }
        }
    }

    #[test]
    fn a_key_in_brackets_stands_for_one_segment_and_never_for_a_name() {
        for account in [
            "[\"my bot\"]",
            "[\"a.b\"]",
            "[\"x\\\"].token\"]",
            "[\"\\\\\"]",
        ] {
            let path = format!("channels.discord.accounts{account}.token");
            assert_eq!(owner(of_path(&path)), "channel-discord", "{path}");
        }
        assert_eq!(
            owner(of_path("models.providers.x.headers[\"x.y\"]")),
            "model-x"
        );
        for path in [
            "models.providers[\"x\"].apiKey",
            "channels[\"discord\"].token",
            "channels.discord.accounts[\"a\"]token",
            "channels.discord.accounts[\"a.token",
            "channels.discord.accounts.[\"a\"].token",
            "channels.discord.accounts[\"a\"b\"].token",
            "channels.discord.accounts[0].x.token",
        ] {
            assert_eq!(owner(of_path(path)), "nobody", "{path}");
        }
    }

    #[test]
    fn every_name_row_gives_its_owner_and_only_for_that_name() {
        for (pattern, expected) in NAMES {
            let name = pattern.replace('*', "TOKEN");
            assert_eq!(owner(of_name(&name)), *expected, "{name}");
            for other in [format!("X{name}"), name.to_lowercase(), String::new()] {
                assert_eq!(owner(of_name(&other)), "nobody", "{other}");
            }
            if !pattern.ends_with('*') {
                assert_eq!(owner(of_name(&format!("{name}_2"))), "nobody");
            }
        }
        assert_eq!(owner(of_name("CLAWDBOT_GATEWAY_")), "nobody");
    }

    #[test]
    fn a_secret_never_belongs_to_a_process_that_needs_none() {
        let named = |name: &str| name.replace("<id>", "x");
        for (row, owner) in PATHS.iter().chain(NAMES) {
            let role = Role::parse(&named(owner)).expect(row);
            assert!(
                ["model", "channel", "policy", "operator"].contains(&role.family()),
                "{row} must not go to {role}"
            );
        }
    }

    #[test]
    fn channels_without_a_secret_and_ids_that_are_no_names_have_no_owner() {
        for path in [
            "channels.whatsapp.token",
            "channels.telegram.token",
            "models.providers.../x.apiKey",
            "models.providers.A/B.apiKey",
            "models.providers.*.apiKey",
            "",
            "gateway.auth",
        ] {
            assert_eq!(owner(of_path(path)), "nobody", "{path}");
        }
    }
}
