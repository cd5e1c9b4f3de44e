//! Who started the launcher. The service manager names the class as the only argument; then it must be
//! that class's user who runs, lest a unit that was changed lends one class's files to the other.

/// Whose program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Main,
    Guest,
}

impl Class {
    /// The user whom the package makes for it.
    pub fn user(self) -> &'static str {
        match self {
            Self::Main => "clawdbot-sandbox-main",
            Self::Guest => "clawdbot-sandbox-guest",
        }
    }
}

/// Who started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starter {
    /// A process of single-user mode, over descriptor 3, as the same user.
    Executor,
    /// The service manager, for one connection.
    Manager(Class),
}

impl Starter {
    /// Reads the arguments.
    ///
    /// # Errors
    /// What they should be.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        match arguments {
            [] => Ok(Self::Executor),
            [class] if class == "main" => Ok(Self::Manager(Class::Main)),
            [class] if class == "guest" => Ok(Self::Manager(Class::Guest)),
            _ => Err("takes one argument at most, the class: main or guest".to_owned()),
        }
    }
}

/// Whether the user who runs is the class's.
///
/// # Errors
/// Who it is, who it should be, and what to do.
pub fn belongs_to(user: &str, known: Option<u32>, own: u32) -> Result<(), String> {
    match known {
        Some(uid) if uid == own => Ok(()),
        Some(uid) => Err(format!(
            "this is user {own}, and only {user} (user {uid}) may start this; `systemctl cat` its unit shows which file sets another User="
        )),
        None => Err(format!(
            "there is no user {user}; `systemd-sysusers` makes the users of the package"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_is_the_only_argument_there_is() {
        let parse = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|word| (*word).to_owned()).collect();
            Starter::parse(&list)
        };
        assert_eq!(parse(&[]), Ok(Starter::Executor));
        assert_eq!(parse(&["main"]), Ok(Starter::Manager(Class::Main)));
        assert_eq!(parse(&["guest"]), Ok(Starter::Manager(Class::Guest)));
        for wrong in [&["Main"][..], &[""], &["main", "guest"], &["--help"]] {
            assert!(parse(wrong).unwrap_err().contains("main or guest"));
        }
    }

    #[test]
    fn nobody_but_the_classs_own_user_will_do() {
        let user = Class::Guest.user();
        assert_eq!(belongs_to(user, Some(990), 990), Ok(()));
        let other = belongs_to(user, Some(990), 991).unwrap_err();
        assert!(
            other.contains("user 991") && other.contains("User="),
            "{other}"
        );
        let none = belongs_to(user, None, 990).unwrap_err();
        assert!(none.contains("systemd-sysusers"), "{none}");
    }
}
