//! `cargo xtask rig`: machines with Debian and systemd, to try the installed product in by hand. The tests start their own.
//! A machine is called by its suite, or by its suite and a word of one's own: `trixie`, `trixie-upgrade`.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use clawdbot_rig::{Rig, Suite};

use crate::{Done, peers};

/// What the words after `rig` say.
pub fn run(words: &[&str]) -> Done {
    match words {
        ["make"] => make(&Suite::ALL),
        ["make", suite] => make(&[suite_of(suite)?]),
        ["boot", name] => {
            let suite = suite_of(name)?;
            make(&[suite])?;
            let began = Instant::now();
            let rig = Rig::boot_as(suite, name)?;
            let took = began.elapsed().as_secs_f64();
            println!(
                "{} runs ({took:.1} s), first process {}",
                rig.name(),
                rig.leader()
            );
            rig.leave();
            Ok(0)
        }
        ["run", name, rest @ ..] if !rest.is_empty() => {
            let rest = rest.strip_prefix(&["--"]).unwrap_or(rest);
            let rig = Rig::find(name)?;
            finish(rig.command(rest).stdin(Stdio::inherit()))
        }
        ["shell", name] => finish(&mut Rig::find(name)?.shell()),
        ["copy", name, from, to] => {
            let rig = Rig::find(name)?;
            let copied = rig.copy_in(Path::new(from), to);
            copied.map(|()| 0).map_err(|error| error.to_string())
        }
        ["install", name, deb] => {
            let rig = Rig::find(name)?;
            let output = rig
                .install(Path::new(deb))
                .map_err(|error| error.to_string())?;
            print!("{}", String::from_utf8_lossy(&output.stdout));
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            Ok(code(output.status))
        }
        ["halt"] => halt(&Suite::ALL.map(Suite::name)),
        ["halt", name] => halt(&[name]),
        _ => crate::usage(),
    }
}

/// Makes root file systems, with what that needs here.
///
/// # Errors
/// When packages cannot be had.
pub fn make(suites: &[Suite]) -> Done {
    peers::need(&clawdbot_rig::NEEDS)?;
    for suite in suites {
        clawdbot_rig::make(*suite)?;
    }
    Ok(0)
}

fn halt(names: &[&str]) -> Done {
    for name in names {
        match Rig::find(name) {
            Ok(rig) => rig.halt()?,
            Err(error) if names.len() == 1 => return Err(error),
            Err(_) => {}
        }
    }
    Ok(0)
}

fn suite_of(name: &str) -> Result<Suite, String> {
    let (suite, word) = name.split_once('-').unwrap_or((name, "x"));
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let suite = Suite::parse(suite).filter(|_| !word.is_empty() && word.chars().all(plain));
    suite.ok_or_else(|| {
        let known = Suite::ALL.map(Suite::name).join(" or ");
        format!("{name}: a machine is called {known}, or that with a word after a hyphen")
    })
}

fn finish(command: &mut Command) -> Done {
    let status = command.status();
    status.map(code).map_err(|error| error.to_string())
}

fn code(status: ExitStatus) -> u8 {
    status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_begins_with_a_suite() {
        assert_eq!(suite_of("trixie"), Ok(Suite::Trixie));
        assert_eq!(suite_of("bookworm-2"), Ok(Suite::Bookworm));
        for name in ["sid", "trixie-", "trixie-../x", "1-trixie", ""] {
            let error = suite_of(name).unwrap_err();
            assert!(error.contains("bookworm or trixie"), "{error}");
        }
    }
}
