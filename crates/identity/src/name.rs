//! The names that are one word of a small alphabet, as one table of rows: type, kind, rule, check.
//! Nothing is trimmed, lower-cased or repaired here; a text that does not fit is refused.

use std::fmt;
use std::sync::Arc;

use crate::IdError;

/// What every name has: text out, text in through the type's own `parse`.
macro_rules! text_traits {
    ($name:ident) => {
        impl $name {
            /// The name as text, exactly what `parse` accepts again.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::IdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }
    };
}

macro_rules! text_display {
    ($name:ident) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($name)).field(&&*self.0).finish()
            }
        }
    };
}

pub(crate) use {text_display, text_traits};

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident: $what:literal, $rule:literal, $check:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            #[doc = concat!("Takes `text` if it is a valid ", $what, ".\n\n# Errors\nA ", $what, " ", $rule, ".")]
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let check: fn(&str) -> bool = $check;
                match check(text) {
                    true => Ok(Self(text.into())),
                    false => Err(IdError::new($what, $rule)),
                }
            }
        }

        text_traits!($name);
    )*};
}

names! {
    /// A model provider of the config, `models.providers.<id>`: `anthropic`, `ollama`, …
    ProviderId: "provider id",
        "must be 1 to 32 characters of a-z, 0-9, _ and -, starting with a letter or digit",
        |text| slug(text, 32);
    /// The NAME in `model-NAME` and `channel-NAME`.
    InstanceName: "instance name",
        "must be 1 to 32 characters of a-z, 0-9, _ and -, starting with a letter or digit",
        |text| slug(text, 32);
    /// An agent of the config, `agents.list[].id`.
    AgentId: "agent id",
        "must be 1 to 64 characters of a-z, 0-9, _ and -, starting with a letter or digit",
        |text| slug(text, 64);
    /// A tool as the model names it: `session_status`.
    ToolName: "tool name",
        "must be 1 to 64 characters of a-z, 0-9 and _, starting with a letter",
        |text| slug(text, 64) && text.starts_with(|c: char| c.is_ascii_lowercase()) && !text.contains('-');
    /// Names one accepted message; opaque, made by whoever accepted it.
    MessageId: "message id",
        "must be 1 to 128 characters of A-Z, a-z, 0-9, _, ., : and -",
        opaque_id;
    /// Names one turn of an agent; asking again with the same one gives the same answer.
    TurnId: "turn id",
        "must be 1 to 128 characters of A-Z, a-z, 0-9, _, ., : and -",
        opaque_id;
    /// An opaque session handle that policy made. Whoever holds it may act in that session, so it is never shown:
    /// `Debug` prints `[handle]` and there is no `Display`.
    Handle: "session handle",
        "must be 1 to 3072 characters of A-Z, a-z, 0-9, _ and -",
        |text| within(text, 3072, |b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
}

text_display!(ProviderId);
text_display!(InstanceName);
text_display!(AgentId);
text_display!(ToolName);
text_display!(MessageId);
text_display!(TurnId);

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[handle]")
    }
}

impl AgentId {
    /// The agent that exists without any configuration.
    pub fn main() -> Self {
        Self("main".into())
    }
}

/// A provider's worker carries the provider's name.
impl From<&ProviderId> for InstanceName {
    fn from(id: &ProviderId) -> Self {
        Self(id.0.clone())
    }
}

fn within(text: &str, max: usize, allowed: fn(u8) -> bool) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(allowed)
}

pub(crate) fn slug(text: &str, max: usize) -> bool {
    within(text, max, |b| {
        b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b)
    }) && !text.starts_with(['_', '-'])
}

fn opaque_id(text: &str) -> bool {
    within(text, 128, |b| {
        b.is_ascii_alphanumeric() || b"_.:-".contains(&b)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parse = fn(&str) -> Result<(), IdError>;

    /// Kind, parser, texts that are taken, longest length, texts that are refused.
    type Row = (
        &'static str,
        Parse,
        &'static [&'static str],
        usize,
        &'static [&'static str],
    );

    const ROWS: &[Row] = &[
        (
            "provider id",
            |t| ProviderId::parse(t).map(drop),
            &["a", "0", "my_llm-2"],
            32,
            &["A", "-a", "_a", "a.b", "a/b"],
        ),
        (
            "instance name",
            |t| InstanceName::parse(t).map(drop),
            &["telegram", "9"],
            32,
            &["Tele", "-t", "a*", "../a"],
        ),
        (
            "agent id",
            |t| AgentId::parse(t).map(drop),
            &["main", "a_b-c"],
            64,
            &["Main", "-a", "a:b", "ä"],
        ),
        (
            "tool name",
            |t| ToolName::parse(t).map(drop),
            &["exec", "session_status", "a1"],
            64,
            &["1a", "_a", "a-b", "Exec"],
        ),
        (
            "message id",
            |t| MessageId::parse(t).map(drop),
            &["telegram:1.2-3_X"],
            128,
            &["a/b", "a\u{e9}", "a\0"],
        ),
        (
            "turn id",
            |t| TurnId::parse(t).map(drop),
            &["T.1:2"],
            128,
            &["a/b", "a+b"],
        ),
        (
            "session handle",
            |t| Handle::parse(t).map(drop),
            &["aZ09_-"],
            3072,
            &["a=", "a+b", "a.b"],
        ),
    ];

    #[test]
    fn every_name_takes_its_alphabet_up_to_its_length_and_nothing_else() {
        for (what, parse, good, max, bad) in ROWS {
            for text in *good {
                assert_eq!(parse(text), Ok(()), "{what} {text:?}");
            }
            assert_eq!(parse(&"a".repeat(*max)), Ok(()), "{what}");
            let long = "a".repeat(max + 1);
            for text in bad.iter().copied().chain(["", " a", "a\n", long.as_str()]) {
                let error = parse(text).expect_err(text);
                assert_eq!(error.what(), *what);
                assert!(
                    error
                        .to_string()
                        .starts_with(&format!("{what} must be 1 to {max} ")),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn a_handle_is_never_printed() {
        assert_eq!(
            format!("{:?}", Handle::parse("c2VjcmV0").unwrap()),
            "[handle]"
        );
        assert_eq!(format!("{:?}", AgentId::main()), "AgentId(\"main\")");
    }
}
