//! The unit of a user's own service manager, as text, and whether somebody changed it since it was written here: the first
//! line has the digest of the rest. Only lines that hold in such a manager and that the sandbox of a tool call, which makes
//! namespaces of its own, can live with; the processes confine themselves.

use std::path::Path;

use sha2::{Digest as _, Sha256};

const HEAD: &str = "# Written by `clawdbot service install`; changes belong into a drop-in (systemctl --user edit clawdbot.service). ";

/// The unit that the package has for such a manager; its program is where the package puts it.
const SHIPPED: &str = include_str!("../../../../systemd/user/clawdbot.service");

/// Its line for the program.
const CALL: &str = "\nExecStart=/usr/bin/clawdbot up\n";

/// What is at the place of the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Written here, and as it was written.
    Ours,
    /// Somebody else's, or changed.
    Theirs,
}

/// The unit that runs `program` with these arguments and `up`.
pub fn text(program: &Path, arguments: &[String]) -> String {
    let mut words = vec![quoted(&program.display().to_string())];
    words.extend(arguments.iter().map(|argument| quoted(argument)));
    words.push("up".to_owned());
    // Its first line says who wrote the file.
    let body = SHIPPED.split_once('\n').map_or(SHIPPED, |(_, body)| body);
    let body = body.replace(CALL, &format!("\nExecStart={}\n", words.join(" ")));
    format!("{HEAD}sha256={}\n{body}", digest(&body))
}

/// Whether a unit starts `up` with exactly these arguments.
pub fn starts(text: &str, arguments: &[String]) -> bool {
    let words: String = arguments.iter().map(|word| quoted(word) + " ").collect();
    let tail = words + "up";
    text.lines().any(|line| {
        let call = line.strip_prefix("ExecStart=").unwrap_or_default();
        let program = call.split_once("\" ").or_else(|| call.split_once(' '));
        program.is_some_and(|(_, rest)| rest.trim_end() == tail)
    })
}

/// Whether a file is as it was written here.
pub fn whose(text: &str) -> Whose {
    let ours = text.split_once('\n').is_some_and(|(head, body)| {
        head.strip_prefix(HEAD)
            .and_then(|rest| rest.strip_prefix("sha256="))
            .is_some_and(|sum| sum == digest(body))
    });
    if ours { Whose::Ours } else { Whose::Theirs }
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// One word of a command line in a unit file (systemd.service(5), "Command lines"; systemd.unit(5), "Specifiers").
fn quoted(word: &str) -> String {
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '%' | '$' => text.extend([c, c]),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_packages_unit_with_another_program() {
        let unit = text(Path::new("/opt/clawdbot"), &[]);
        let (shipped, ours): (Vec<_>, Vec<_>) = SHIPPED
            .lines()
            .skip(1)
            .zip(unit.lines().skip(1))
            .filter(|(shipped, ours)| shipped != ours)
            .unzip();
        assert_eq!(shipped, ["ExecStart=/usr/bin/clawdbot up"]);
        assert_eq!(ours, ["ExecStart=\"/opt/clawdbot\" up"]);
        assert_eq!(unit.lines().count(), SHIPPED.lines().count());
        assert!(unit.starts_with(HEAD) && !unit.contains("xtask"), "{unit}");
    }

    #[test]
    fn a_change_of_the_unit_shows() {
        let unit = text(Path::new("/usr/bin/clawdbot"), &[]);
        assert!(
            unit.contains("\nExecStart=\"/usr/bin/clawdbot\" up\n"),
            "{unit}"
        );
        assert!(unit.contains("\nRestartPreventExitStatus=78\n"));
        assert_eq!(whose(&unit), Whose::Ours);
        for changed in [
            unit.replace("RestartSec=2s", "RestartSec=9s"),
            format!("{unit}\n"),
            unit.replacen("sha256=", "sha256=0", 1),
            "[Unit]\n".to_owned(),
            String::new(),
        ] {
            assert_eq!(whose(&changed), Whose::Theirs, "{changed}");
        }
    }

    #[test]
    fn no_word_of_the_command_means_something_to_the_service_manager() {
        let words = [
            "--state-dir".to_owned(),
            "/a b/100% \"$HOME\" \\".to_owned(),
        ];
        let unit = text(Path::new("/opt/my bot/clawdbot"), &words);
        assert!(
            unit.contains(
                "ExecStart=\"/opt/my bot/clawdbot\" \"--state-dir\" \"/a b/100%% \\\"$$HOME\\\" \\\\\" up\n"
            ),
            "{unit}"
        );
    }
}
