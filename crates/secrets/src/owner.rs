//! Whose a secret is and what for: one table from config path, and one from well-known environment name, to the one role
//! that may have it. A path or name without a row belongs to nobody and is refused; nobody can claim a secret by asking
//! for it.

use clawdbot_identity::Role;

/// The profile of a secret that nobody named.
pub const DEFAULT_PROFILE: &str = "default";

/// What a secret is to its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    /// What it logs in with, by the name of the profile or account; [`DEFAULT_PROFILE`] unless named.
    Login(String),
    /// A header that goes along with every call, by its name.
    Header(String),
    /// Something that no process uses yet.
    Later,
}

/// A column of [`PATHS`]: what becomes a [`Use`] once the path's own words are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The owner's one unnamed login.
    Login,
    /// A login that the segment `*` names.
    NamedLogin,
    /// A header that the segment `*` names.
    Header,
    /// Something that no process uses yet.
    Later,
}

/// Config path, owner, and what it is for. `<id>` is one segment that the owner's name repeats, `*` any one segment.
pub const PATHS: &[(&str, &str, Kind)] = &[
    ("models.providers.<id>.apiKey", "model-<id>", Kind::Login),
    (
        "models.providers.<id>.headers.*",
        "model-<id>",
        Kind::Header,
    ),
    (
        "channels.telegram.botToken",
        "channel-telegram",
        Kind::Login,
    ),
    (
        "channels.telegram.accounts.*.botToken",
        "channel-telegram",
        Kind::NamedLogin,
    ),
    (
        "channels.telegram.webhookSecret",
        "channel-telegram",
        Kind::Later,
    ),
    (
        "channels.telegram.accounts.*.webhookSecret",
        "channel-telegram",
        Kind::Later,
    ),
    ("channels.discord.token", "channel-discord", Kind::Login),
    (
        "channels.discord.accounts.*.token",
        "channel-discord",
        Kind::NamedLogin,
    ),
    (
        "channels.bluebubbles.password",
        "channel-bluebubbles",
        Kind::Login,
    ),
    (
        "channels.bluebubbles.accounts.*.password",
        "channel-bluebubbles",
        Kind::NamedLogin,
    ),
    // What outsiders present to us: policy verifies it and nobody else has to know it.
    ("gateway.auth.*", "policy", Kind::Later),
    ("hooks.token", "policy", Kind::Later),
    // What the command line presents to a gateway elsewhere; no process of this machine needs it.
    ("gateway.remote.token", "operator", Kind::Later),
    ("gateway.remote.password", "operator", Kind::Later),
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
    place(path).map(|(owner, _)| owner)
}

/// As [`of_path`], with what the secret is for.
pub fn place(path: &str) -> Option<(Role, Use)> {
    PATHS.iter().find_map(|(pattern, owner, kind)| {
        let found = match_path(pattern, path)?;
        let owner = Role::parse(&owner.replace("<id>", found.id)).ok()?;
        let what = match kind {
            Kind::Login => Use::Login(DEFAULT_PROFILE.to_owned()),
            Kind::NamedLogin => Use::Login(plain(found.any)),
            Kind::Header => Use::Header(plain(found.any)),
            Kind::Later => Use::Later,
        };
        Some((owner, what))
    })
}

/// Where the configuration holds a role's unnamed login. `None` means that the role logs in nowhere, so that nothing is
/// kept for it.
pub fn login_path(role: &Role) -> Option<String> {
    PATHS.iter().find_map(|(pattern, owner, kind)| {
        let id = match owner.strip_suffix("<id>") {
            Some(family) => role.as_str().strip_prefix(family)?,
            None if *owner == role.as_str() => "",
            None => return None,
        };
        (*kind == Kind::Login).then(|| pattern.replace("<id>", id))
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

/// The segments that `<id>` and `*` stand for; empty without one.
#[derive(Default)]
struct Found<'a> {
    id: &'a str,
    any: &'a str,
}

/// What the marks of a pattern stand for, or nothing when the path does not fit.
fn match_path<'a>(pattern: &str, path: &'a str) -> Option<Found<'a>> {
    let (mut found, mut rest) = (Found::default(), Some(path));
    for wanted in pattern.split('.') {
        let segment;
        (segment, rest) = first_segment(rest?)?;
        match wanted {
            "<id>" => found.id = segment,
            "*" => found.any = segment,
            _ if wanted == segment => {}
            _ => return None,
        }
    }
    rest.is_none().then_some(found)
}

/// The key that a segment stands for: one in brackets loses them and its escapes.
fn plain(segment: &str) -> String {
    let quoted = segment
        .strip_prefix("[\"")
        .and_then(|rest| rest.strip_suffix("\"]"));
    let Some(quoted) = quoted else {
        return segment.to_owned();
    };
    let mut key = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => key.extend(chars.next()),
            _ => key.push(c),
        }
    }
    key
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
        for (pattern, expected, _) in PATHS {
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
    fn a_login_is_named_by_its_account_and_a_header_by_its_key() {
        let login = |name: &str| Some(Use::Login(name.to_owned()));
        for (path, expected) in [
            ("models.providers.openai.apiKey", login("default")),
            ("channels.telegram.botToken", login("default")),
            ("channels.telegram.accounts.work.botToken", login("work")),
            (
                r#"channels.discord.accounts["my \"b\\t\""].token"#,
                login(r#"my "b\t""#),
            ),
            (
                "models.providers.openai.headers.x-api-version",
                Some(Use::Header("x-api-version".to_owned())),
            ),
            ("channels.telegram.webhookSecret", Some(Use::Later)),
            ("gateway.auth.token", Some(Use::Later)),
            ("nonsense", None),
        ] {
            assert_eq!(place(path).map(|(_, what)| what), expected, "{path}");
        }
    }

    #[test]
    fn only_who_logs_in_somewhere_has_a_place_for_a_login() {
        for (role, expected) in [
            ("model-my-llm", Some("models.providers.my-llm.apiKey")),
            ("channel-telegram", Some("channels.telegram.botToken")),
            ("channel-discord", Some("channels.discord.token")),
            ("channel-bluebubbles", Some("channels.bluebubbles.password")),
            ("channel-signal", None),
            ("policy", None),
            ("operator", None),
            ("agent-main", None),
        ] {
            let found = login_path(&Role::parse(role).unwrap());
            assert_eq!(found.as_deref(), expected, "{role}");
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
        let paths = PATHS.iter().map(|(row, owner, _)| (row, owner));
        for (row, owner) in paths.chain(NAMES.iter().map(|(row, owner)| (row, owner))) {
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
