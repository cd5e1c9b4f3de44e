//! What ends a danger: a value, the default, or a command. `doctor --fix` writes only values that take nothing away
//! that its owner may want, and never one that decides who gets in, where a door stands or whether there is a sandbox.

use super::{Grade, Rule, Severity, all};
use crate::edit;
use crate::path::ConfigPath;

/// The file opened in the owner's editor, for what no single change ends.
pub(crate) const BY_HAND: &str = "\"${EDITOR:-vi}\" \"$(clawdbot config path)\"";

/// What ends a danger, at the path of its finding. It loses nothing that the owner wrote but what is wrong: a list keeps
/// its other entries, and what no single value ends is changed by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cure {
    /// This value, in JSON5, which `doctor --fix` may write.
    Fix(&'static str),
    /// This value, in JSON5, which is for the owner to choose. What is written in capitals is for him to fill in.
    Set(&'static str),
    /// This value, in JSON5, for the setting of this name beside it, which is for the owner to choose.
    Beside(&'static str, &'static str),
    /// These entries, in JSON5, in the list at this path, together with those that it has.
    Add(&'static str, &'static [&'static str]),
    /// This entry, in JSON5, in place of `"*"` in the list.
    Name(&'static str),
    /// The default: the file says nothing about it.
    Unset,
    /// A command; `PATH` in it stands for the path.
    Run(&'static str),
    /// A command for this one place.
    Own(String),
}

impl Cure {
    /// This value at this one place.
    pub(super) fn set(path: &str, value: &str) -> Self {
        Self::Own(set(path, value))
    }

    /// This value, and the old word for the setting goes.
    pub(super) fn set_instead(old: &ConfigPath, path: &ConfigPath, value: &str) -> Self {
        let unset = Self::Unset.command(&old.to_string(), "");
        Self::Own(format!("{unset} && {}", set(&path.to_string(), value)))
    }

    /// The command for the setting at `path` of a file with this text.
    pub fn command(&self, path: &str, text: &str) -> String {
        match self {
            Self::Fix(value) | Self::Set(value) => set(path, value),
            Self::Beside(name, value) => {
                let parent = path.parse::<ConfigPath>().ok();
                let parent = parent.and_then(|path| path.parent()).unwrap_or_default();
                set(&parent.join(name).to_string(), value)
            }
            Self::Add(list, entries) => set(list, &edit::with_entries(text, list, entries)),
            Self::Name(entry) => set(path, &edit::with_a_name(text, path, entry)),
            Self::Unset => format!("clawdbot config unset {}", quoted(path)),
            Self::Run(command) => match command.split_once("PATH") {
                // What follows the path belongs to it.
                Some((before, rest)) => {
                    let end = rest.find(' ').unwrap_or(rest.len());
                    let (tail, after) = rest.split_at(end);
                    format!("{before}{}{after}", quoted(&format!("{path}{tail}")))
                }
                None => (*command).to_owned(),
            },
            Self::Own(command) => command.clone(),
        }
    }
}

/// The command that gives a setting a value.
fn set(path: &str, value: &str) -> String {
    format!("clawdbot config set {} {}", quoted(path), quoted(value))
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:=+,@".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// What there is to know about a rule, for the documentation and for whoever fixes.
#[derive(Debug, Clone)]
pub struct AboutRule {
    /// Its id.
    pub id: &'static str,
    /// How bad a hit is.
    pub severity: Severity,
    /// What becomes of a file that breaks it.
    pub effect: &'static str,
    /// The setting it is about.
    pub key: &'static str,
    /// What it is about, in a few words.
    pub title: &'static str,
    /// Why it matters, in one sentence.
    pub why: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// What does it.
    pub cure: Cure,
}

/// Every rule.
pub fn about_rules() -> impl Iterator<Item = AboutRule> {
    all().map(|rule| {
        let &Rule {
            id,
            grade,
            key,
            title,
            why,
            remedy,
            ref cure,
            ..
        } = rule;
        let cure = cure.clone();
        let (severity, effect) = match grade {
            Grade::Error => (Severity::Critical, "refuses the file"),
            Grade::Accept => (Severity::Critical, "refuses the file, can be accepted"),
            Grade::Find(Severity::Critical) => (Severity::Critical, "critical finding"),
            Grade::Find(Severity::Warn) => (Severity::Warn, "warning"),
            Grade::Find(Severity::Info) => (Severity::Info, "note"),
        };
        AboutRule {
            id,
            severity,
            effect,
            key,
            title,
            why,
            remedy,
            cure,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cure_is_a_command_that_a_shell_takes_as_it_is_meant() {
        for (cure, path, command) in [
            (
                Cure::Set("\"pairing\""),
                "channels.signal.dmPolicy",
                "clawdbot config set channels.signal.dmPolicy '\"pairing\"'",
            ),
            (Cure::Fix("true"), "a.b", "clawdbot config set a.b true"),
            (
                Cure::Unset,
                "models.providers[\"it's\"].x",
                "clawdbot config unset 'models.providers[\"it'\\''s\"].x'",
            ),
            (
                Cure::Run("clawdbot config set PATH.mode '\"none\"'"),
                "agents.list[0].sandbox.network",
                "clawdbot config set 'agents.list[0].sandbox.network.mode' '\"none\"'",
            ),
            (Cure::Run("clawdbot up"), "a", "clawdbot up"),
            (
                Cure::Beside("mode", "\"all\""),
                "agents.list[0].sandbox.docker",
                "clawdbot config set 'agents.list[0].sandbox.mode' '\"all\"'",
            ),
        ] {
            assert_eq!(cure.command(path, ""), command);
        }
    }

    #[test]
    fn what_is_fixed_without_asking_decides_no_door_no_sandbox_and_nobodys_admission() {
        let fixed: Vec<_> = about_rules()
            .filter(|rule| matches!(rule.cure, Cure::Fix(_)))
            .collect();
        assert!(fixed.len() > 10);
        for rule in fixed {
            // What refuses a file is for its owner to correct.
            assert!(rule.effect != "refuses the file", "{}", rule.id);
            for word in [
                "dmPolicy",
                "bind",
                "auth.token",
                "auth.password",
                "sandbox.mode",
                "allowFrom",
            ] {
                assert!(!rule.key.ends_with(word), "{}", rule.id);
            }
        }
    }

    #[test]
    fn every_rule_says_why_and_how_in_one_sentence_each() {
        for rule in about_rules() {
            assert!(
                rule.why.ends_with('.') && rule.why.matches(". ").count() == 0,
                "{}: {}",
                rule.id,
                rule.why
            );
            assert!(!rule.cure.command(rule.key, "").is_empty());
        }
    }
}
