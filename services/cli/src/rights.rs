//! What this person may do in system mode: root everything, members of the group `clawdbot` whatever goes over the
//! operator sockets, everybody else nothing. Each refusal is one sentence and the command that ends it.

use std::path::Path;

use clawdbot_identity::text::sanitize_line;
use clawdbot_service::system::OPERATORS;
use rustix::process::{getegid, geteuid, getgroups, getuid};

use crate::accounts::Accounts;
use crate::failure::Failure;
use crate::place::word;

/// Exit status: needs root, or the group `clawdbot`.
pub const EXIT_RIGHTS: u8 = 77;
/// The code of a refusal that another group would end.
const GROUP: &str = "rights.group";

/// What a person is to the group of operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Membership {
    /// In it.
    Member,
    /// In it, but since this log-in began.
    NotYet,
    /// Not in it.
    Outsider,
}

/// Whether this is root.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// What only root may do, refused to everybody else.
///
/// # Errors
/// Exit status 77 with the same command behind `sudo`.
pub fn root_only(what: &str) -> Result<(), Failure> {
    match is_root() {
        true => Ok(()),
        false => Err(needs_root(what, &as_typed(std::env::args()))),
    }
}

fn needs_root(what: &str, typed: &str) -> Failure {
    Failure::new("rights.root", format!("{what} needs root"))
        .exit(EXIT_RIGHTS)
        .remedy(format!("sudo {typed}"))
}

/// This call as a shell takes it.
pub fn typed() -> String {
    as_typed(std::env::args())
}

fn as_typed(arguments: impl IntoIterator<Item = String>) -> String {
    let mut words = arguments.into_iter();
    let program = words.next().unwrap_or_default();
    let program = Path::new(&program)
        .file_name()
        .map_or("clawdbot".into(), |name| name.to_string_lossy());
    let words = words.map(|argument| word(&argument));
    [word(&program)]
        .into_iter()
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Why an operator socket or a file for operators could not be opened.
pub fn refused(path: &Path) -> Failure {
    refused_by(Path::new("/etc"), getuid().as_raw(), path)
}

fn refused_by(etc: &Path, uid: u32, path: &Path) -> Failure {
    let accounts = Accounts::read(etc);
    let user = accounts
        .user(uid)
        .map_or_else(|| uid.to_string(), str::to_owned);
    let mut groups: Vec<u32> = getgroups()
        .unwrap_or_default()
        .iter()
        .map(|id| id.as_raw())
        .collect();
    groups.push(getegid().as_raw());
    explain(path, &user, membership(&accounts, &user, &groups))
}

fn explain(path: &Path, user: &str, membership: Membership) -> Failure {
    let shown = path.display();
    let user = sanitize_line(user);
    let failure = match membership {
        Membership::Outsider => Failure::new(
            GROUP,
            format!("{user} is not in the group {OPERATORS}, whose members may use the assistant of this machine"),
        )
        .remedy(format!(
            "sudo usermod -aG {OPERATORS} {}, then log in again",
            word(&user)
        )),
        Membership::NotYet => Failure::new(
            GROUP,
            format!("{user} is in the group {OPERATORS}, but this log-in is older than that"),
        )
        .remedy(format!(
            "log in again, or for this terminal: newgrp {OPERATORS}"
        )),
        Membership::Member => Failure::new(
            "rights.mode",
            format!("{shown} is closed to members of the group {OPERATORS}, for whom it is"),
        )
        .remedy("sudo clawdbot doctor shows what is set wrong"),
    };
    failure.exit(EXIT_RIGHTS)
}

/// By the lists of this machine and the groups that this process has.
fn membership(accounts: &Accounts, user: &str, groups: &[u32]) -> Membership {
    match accounts.gid(OPERATORS) {
        Some(id) if groups.contains(&id) => Membership::Member,
        Some(_) if accounts.members(OPERATORS).iter().any(|name| name == user) => {
            Membership::NotYet
        }
        _ => Membership::Outsider,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_file_and_this_login_say_who_is_a_member() {
        let file = |text: &str| Accounts::parse("", text);
        let known = file("root:x:0:\nclawdbot-policy:x:990:\nclawdbot:x:991:ann,bob\n");
        for (user, groups, expected) in [
            ("ann", &[1000, 991][..], Membership::Member),
            ("bob", &[1000], Membership::NotYet),
            ("eve", &[1000, 990], Membership::Outsider),
            ("an", &[1000], Membership::Outsider),
        ] {
            assert_eq!(membership(&known, user, groups), expected, "{user}");
        }
        for none in ["", "clawdbot:x:odd:ann"] {
            assert_eq!(membership(&file(none), "ann", &[0]), Membership::Outsider);
        }
    }

    #[test]
    fn each_refusal_is_a_sentence_with_what_ends_it() {
        let path = Path::new("/run/clawdbot/operator/policy.sock");
        for (membership, message, remedy) in [
            (
                Membership::Outsider,
                "ann is not in the group clawdbot",
                "sudo usermod -aG clawdbot ann, then log in again",
            ),
            (Membership::NotYet, "older than that", "log in again"),
            (
                Membership::Member,
                "/run/clawdbot/operator/policy.sock is closed",
                "doctor",
            ),
        ] {
            let failure = explain(path, "ann", membership);
            assert_eq!(failure.exit, 77);
            assert!(failure.message.contains(message), "{}", failure.message);
            assert!(failure.remedy.unwrap().contains(remedy));
        }
    }

    #[test]
    fn sudo_stands_before_exactly_what_was_typed() {
        let words = ["/usr/bin/clawdbotctl", "config", "set", "a", "it's {b: 1}"];
        let failure = needs_root("this", &as_typed(words.map(String::from)));
        assert_eq!(failure.exit, 77);
        assert_eq!(
            failure.remedy.unwrap(),
            "sudo clawdbotctl config set a 'it'\\''s {b: 1}'"
        );
    }

    #[test]
    fn a_line_in_another_encoding_hides_nobody() {
        let etc = tempfile::tempdir().unwrap();
        let latin = |text: &str| [b"jos\xe9:x:7:7:Jos\xe9:/:/bin/sh\n", text.as_bytes()].concat();
        let write = |name: &str, text: &str| std::fs::write(etc.path().join(name), latin(text));
        write("passwd", "ann:x:1000:1000::/home/ann:/bin/sh\n").unwrap();
        write("group", "clawdbot:x:4294967290:ann\n").unwrap();
        let failure = refused_by(etc.path(), 1000, Path::new("/run/x.sock"));
        assert!(
            failure
                .message
                .starts_with("ann is in the group clawdbot, but"),
            "{}",
            failure.message
        );
    }
}
