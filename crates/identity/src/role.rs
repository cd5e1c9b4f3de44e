//! Who a process is on an edge, and the trust class that some roles carry.
//! A role always comes from the descriptor a call arrived on, never from a message; the set of roles is closed.

use std::sync::Arc;

use crate::IdError;
use crate::name::{InstanceName, text_display, text_traits};

const WHAT: &str = "role";

/// What follows the family name in a role.
#[derive(Clone, Copy, PartialEq)]
enum Rest {
    Nothing,
    Class,
    Name,
}

const FAMILIES: &[(&str, Rest)] = &[
    ("gateway", Rest::Nothing),
    ("policy", Rest::Nothing),
    ("broker", Rest::Nothing),
    ("dialer", Rest::Nothing),
    ("agent", Rest::Class),
    ("model", Rest::Name),
    ("executor", Rest::Nothing),
    ("sandbox", Rest::Class),
    ("channel", Rest::Name),
    ("supervisor", Rest::Nothing),
    ("operator", Rest::Nothing),
    ("keyring", Rest::Nothing),
    ("docker", Rest::Nothing),
    ("journal", Rest::Nothing),
];

/// Who a process is on an edge: `gateway`, `agent-main`, `model-ollama`, …
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Role(Arc<str>);

text_traits!(Role);
text_display!(Role);

impl Role {
    /// Takes `text` if it names a role.
    ///
    /// # Errors
    /// When the family is unknown, or its class or name is missing, superfluous or invalid.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let (family, rest) = split(text);
        let Some((_, expected)) = FAMILIES.iter().find(|(name, _)| *name == family) else {
            return Err(IdError::new(
                WHAT,
                "must be gateway, policy, broker, dialer, agent-CLASS, model-NAME, executor, sandbox-CLASS, \
                 channel-NAME, supervisor, operator, keyring, docker or journal",
            ));
        };
        match (expected, rest) {
            (Rest::Nothing, None) => {}
            (Rest::Nothing, Some(_)) => {
                return Err(IdError::new(WHAT, "of this family must stand alone"));
            }
            (Rest::Class, Some(class)) if Class::parse(class).is_ok() => {}
            (Rest::Class, _) => {
                return Err(IdError::new(
                    WHAT,
                    "of this family must end in -main or -guest",
                ));
            }
            (Rest::Name, Some(name)) if InstanceName::parse(name).is_ok() => {}
            (Rest::Name, _) => {
                return Err(IdError::new(
                    WHAT,
                    "of this family must end in - and an instance name",
                ));
            }
        }
        Ok(Self(text.into()))
    }

    /// The front door.
    pub fn gateway() -> Self {
        Self("gateway".into())
    }

    /// The process that decides.
    pub fn policy() -> Self {
        Self("policy".into())
    }

    /// The keeper of credentials.
    pub fn broker() -> Self {
        Self("broker".into())
    }

    /// The only process that connects to the network.
    pub fn dialer() -> Self {
        Self("dialer".into())
    }

    /// The process that runs tool calls.
    pub fn executor() -> Self {
        Self("executor".into())
    }

    /// The process that starts the others in single-user mode.
    pub fn supervisor() -> Self {
        Self("supervisor".into())
    }

    /// The person at the command line.
    pub fn operator() -> Self {
        Self("operator".into())
    }

    /// Who passes the lines of the log on to operators.
    pub fn journal() -> Self {
        Self("journal".into())
    }

    /// The agent of a class.
    pub fn agent(class: Class) -> Self {
        Self(format!("agent-{class}").into())
    }

    /// The sandbox of a class.
    pub fn sandbox(class: Class) -> Self {
        Self(format!("sandbox-{class}").into())
    }

    /// The worker of one model provider.
    pub fn model(name: &InstanceName) -> Self {
        Self(format!("model-{name}").into())
    }

    /// The worker of one chat channel.
    pub fn channel(name: &InstanceName) -> Self {
        Self(format!("channel-{name}").into())
    }

    /// The part before the first `-`: `model` of `model-ollama`, all of `gateway`. It names the program.
    pub fn family(&self) -> &str {
        split(&self.0).0
    }

    /// The class of `agent-CLASS` and `sandbox-CLASS`.
    pub fn class(&self) -> Option<Class> {
        let (family, rest) = split(&self.0);
        let carries = FAMILIES.contains(&(family, Rest::Class));
        rest.filter(|_| carries)
            .and_then(|class| Class::parse(class).ok())
    }

    /// The NAME of `model-NAME` and `channel-NAME`.
    pub fn name(&self) -> Option<InstanceName> {
        let (family, rest) = split(&self.0);
        let carries = FAMILIES.contains(&(family, Rest::Name));
        rest.filter(|_| carries)
            .and_then(|name| InstanceName::parse(name).ok())
    }

    /// Whether a pattern of the edge table means this role: its exact text, or `FAMILY-*` for every role of a family
    /// that has more than one. No other use of `*` matches anything.
    pub fn matches(&self, pattern: &str) -> bool {
        match pattern.strip_suffix("-*") {
            Some(family) => split(&self.0).1.is_some() && self.family() == family,
            None => self.as_str() == pattern,
        }
    }
}

fn split(role: &str) -> (&str, Option<&str>) {
    match role.split_once('-') {
        Some((family, rest)) => (family, Some(rest)),
        None => (role, None),
    }
}

/// Trust class of a session: the owner's own, or everybody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// The owner's direct messages and the local operator.
    Main,
    /// Every other direct message and every group.
    Guest,
}

impl Class {
    /// Both, in the order in which they are listed to people.
    pub const ALL: [Self; 2] = [Self::Main, Self::Guest];

    /// Takes `main` or `guest`.
    ///
    /// # Errors
    /// For any other text.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        Self::ALL
            .into_iter()
            .find(|class| class.as_str() == text)
            .ok_or(IdError::new("class", "must be main or guest"))
    }

    /// `main` or `guest`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Guest => "guest",
        }
    }
}

impl AsRef<str> for Class {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Class {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_parses_with_exactly_what_it_carries() {
        for (family, rest) in FAMILIES {
            let alone = Role::parse(family);
            let main = Role::parse(&format!("{family}-main"));
            let other = Role::parse(&format!("{family}-ollama-2"));
            match rest {
                Rest::Nothing => {
                    assert!(alone.is_ok() && main.is_err() && other.is_err(), "{family}")
                }
                Rest::Class => {
                    assert!(alone.is_err() && main.is_ok() && other.is_err(), "{family}")
                }
                Rest::Name => assert!(alone.is_err() && main.is_ok() && other.is_ok(), "{family}"),
            }
            assert!(Role::parse(&format!("{family}-")).is_err(), "{family}");
        }
        for text in [
            "",
            "-",
            "Gateway",
            "root",
            "agent-Main",
            "model-*",
            "model-a/b",
            "gateway ",
        ] {
            assert!(Role::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn class_and_name_are_given_only_by_roles_that_carry_them() {
        let role = |text| Role::parse(text).unwrap();
        assert_eq!(role("agent-guest").class(), Some(Class::Guest));
        assert_eq!(role("sandbox-main").class(), Some(Class::Main));
        assert_eq!(role("agent-guest").name(), None);
        assert_eq!(role("model-main").class(), None);
        assert_eq!(role("model-my-llm").name().unwrap().as_str(), "my-llm");
        assert_eq!(role("channel-telegram").family(), "channel");
        assert_eq!(
            (role("policy").class(), role("policy").name()),
            (None, None)
        );
    }

    #[test]
    fn constructors_agree_with_parse() {
        let name = InstanceName::parse("ollama").unwrap();
        for role in [
            Role::gateway(),
            Role::policy(),
            Role::broker(),
            Role::dialer(),
            Role::executor(),
            Role::supervisor(),
            Role::operator(),
            Role::journal(),
            Role::agent(Class::Main),
            Role::sandbox(Class::Guest),
            Role::model(&name),
            Role::channel(&name),
        ] {
            assert_eq!(Role::parse(role.as_str()), Ok(role));
        }
    }

    #[test]
    fn patterns_match_one_role_or_one_family_and_never_everything() {
        let model = Role::parse("model-ollama").unwrap();
        let gateway = Role::parse("gateway").unwrap();
        assert!(
            model.matches("model-*") && model.matches("model-ollama") && gateway.matches("gateway")
        );
        for pattern in [
            "*",
            "",
            "-*",
            "mod*",
            "model",
            "model-",
            "model-o*",
            "agent-*",
            "model-*-*",
        ] {
            assert!(!model.matches(pattern), "{pattern}");
        }
        assert!(!gateway.matches("gateway-*") && !gateway.matches("*"));
    }
}
