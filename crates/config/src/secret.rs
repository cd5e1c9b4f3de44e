//! Secrets of the file. A field only says where its secret comes from; literals lie in one table, from which policy
//! takes them. Refuses `${…}` that is not the whole value, and names that could lead out of the secrets directory.

use std::fmt;

use serde_json::Value as Json;
use zeroize::Zeroizing;

use crate::json5::{Node, Value};
use crate::path::ConfigPath;
use crate::section::{self, section};
use crate::shape::{Cx, Info, Kind, Shape};
use crate::types::choice;

choice! {
    /// Where a secret is kept.
    Source {
        /// A variable of the start environment.
        Env = "env",
        /// A file in the secrets directory.
        File = "file",
        /// The keyring of the login session.
        Keyring = "keyring",
        /// A credential that the service manager passes.
        Systemd = "systemd",
        /// The broker's own vault.
        Vault = "vault",
    }
    refuse {
        "exec" => "programs are not run to get secrets; use \"env\", \"file\", \"keyring\", \"systemd\" or \"vault\"",
    }
}

/// Names a secret without holding it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRef {
    /// Where to look.
    pub source: Source,
    /// What to look for: a plain name, for `env` of upper-case letters, digits and `_`.
    pub id: String,
}

/// A setting whose value is a secret. It never holds the secret itself.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretField {
    /// Written into the file; its bytes are in the configuration's table of literals until they are taken.
    Literal,
    /// Kept elsewhere.
    Reference(SecretRef),
}

impl fmt::Debug for SecretField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The secrets of one file by path. It has no `Debug` and no `Clone`.
#[derive(Default)]
pub(crate) struct SecretTable {
    pub literals: Vec<(ConfigPath, Zeroizing<Vec<u8>>)>,
    pub references: Vec<(ConfigPath, SecretRef)>,
}

impl SecretTable {
    pub fn literal(&self, path: &ConfigPath) -> Option<&[u8]> {
        let found = self.literals.iter().find(|(at, _)| at == path);
        found.map(|(_, bytes)| bytes.as_slice())
    }
}

section! {
    /// A reference to a secret that is kept elsewhere.
    SecretObject {
        /// Where the secret is kept.
        @required "source" source: Source = Source::Env;
        /// Its name there.
        @required "id" id: String;
    }
    refuse {
        "provider" => "there are no secret providers to name; `source` and `id` say it all",
    }
}

impl Shape for SecretField {
    fn info() -> Info {
        let mut info = Info::new(
            &[Kind::String, Kind::Object],
            "a secret (a string, \"${NAME}\", or an object {source, id})",
            "\"${SOME_NAME}\"",
        );
        info.secret = true;
        info
    }

    fn decode(node: Node, cx: &mut Cx) -> Option<Self> {
        let span = node.span;
        let reference = match node.value {
            Value::String(text) => match text.split_once("${") {
                None => return literal(&text, span, cx),
                Some(("", name)) if name.ends_with('}') => SecretRef {
                    source: Source::Env,
                    id: name[..name.len() - 1].to_owned(),
                },
                Some(_) => {
                    cx.fail(
                        span,
                        "must be the secret itself or one whole \"${NAME}\", not a mixture",
                    );
                    return None;
                }
            },
            Value::Object(_) => {
                let before = cx.problems.len();
                let SecretObject { source, id } = section::decode(node, cx)?;
                if cx.problems.len() > before {
                    return None;
                }
                SecretRef { source, id }
            }
            _ => {
                cx.wrong_type::<Self>(&node);
                return None;
            }
        };
        if let Err(rule) = check_id(&reference) {
            cx.fail(span, rule);
            return None;
        }
        cx.secrets
            .references
            .push((cx.path.clone(), reference.clone()));
        Some(Self::Reference(reference))
    }

    fn show(&self) -> Json {
        match self {
            Self::Literal => "[secret]".into(),
            Self::Reference(SecretRef { source, id }) => {
                serde_json::json!({"source": source.as_str(), "id": id})
            }
        }
    }
}

/// What the object that names a secret looks like.
pub(crate) fn reference() -> Info {
    SecretObject::info()
}

fn literal(text: &str, span: crate::problem::Span, cx: &mut Cx) -> Option<SecretField> {
    if text.is_empty() {
        cx.fail(span, "must not be empty").help =
            Some("leave the key out, or write \"${NAME}\"".to_owned());
        return None;
    }
    if text.chars().any(char::is_control) || text.trim() != text {
        cx.fail(
            span,
            "must not contain control characters nor begin or end with a space",
        )
        .help = Some("a line break or space was probably copied along".to_owned());
        return None;
    }
    let bytes = Zeroizing::new(text.as_bytes().to_vec());
    cx.secrets.literals.push((cx.path.clone(), bytes));
    Some(SecretField::Literal)
}

fn check_id(reference: &SecretRef) -> Result<(), &'static str> {
    let id = reference.id.as_bytes();
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"._-".contains(b);
    match reference.source {
        Source::Env if is_env_name(&reference.id) => Ok(()),
        Source::Env => {
            Err("must name a variable of A-Z, 0-9 and _ that does not start with a digit")
        }
        _ if id.len() <= 128 && id.iter().all(plain) && !id.starts_with(b".") && !id.is_empty() => {
            Ok(())
        }
        _ => Err(
            "must name a secret by a plain name: 1 to 128 of A-Z, a-z, 0-9, ., _ and -, not starting with a point",
        ),
    }
}

/// Whether this can be the name of an environment variable that we look up.
pub(crate) fn is_env_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    (1..=128).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with(|c: char| c.is_ascii_digit())
}
