//! `cargo xtask rig`: machines with Debian and systemd, to try the installed product in by hand. The tests start their own.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use clawdbot_rig::{Rig, Suite};

use crate::{Done, peers};

/// One machine of each suite, by the suite's name.
pub fn run(words: &[&str]) -> Done {
    match words {
        ["make"] => make(&Suite::ALL),
        ["make", suite] => make(&[named(suite)?]),
        ["boot", suite] => {
            let suite = named(suite)?;
            make(&[suite])?;
            let began = Instant::now();
            let rig = Rig::boot_as(suite, suite.name())?;
            let took = began.elapsed().as_secs_f64();
            println!(
                "{} runs ({took:.1} s), first process {}",
                rig.name(),
                rig.leader()
            );
            rig.leave();
            Ok(0)
        }
        ["run", suite, rest @ ..] if !rest.is_empty() => {
            let rest = rest.strip_prefix(&["--"]).unwrap_or(rest);
            let rig = Rig::find(named(suite)?.name())?;
            finish(rig.command(rest).stdin(Stdio::inherit()))
        }
        ["shell", suite] => finish(&mut Rig::find(named(suite)?.name())?.shell()),
        ["copy", suite, from, to] => {
            let rig = Rig::find(named(suite)?.name())?;
            let copied = rig.copy_in(Path::new(from), to);
            copied.map(|()| 0).map_err(|error| error.to_string())
        }
        ["install", suite, deb] => {
            let rig = Rig::find(named(suite)?.name())?;
            let output = rig
                .install(Path::new(deb))
                .map_err(|error| error.to_string())?;
            print!("{}", String::from_utf8_lossy(&output.stdout));
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            Ok(code(output.status))
        }
        ["halt"] => halt(&Suite::ALL.map(Suite::name)),
        ["halt", suite] => halt(&[named(suite)?.name()]),
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

fn named(suite: &str) -> Result<Suite, String> {
    Suite::parse(suite).ok_or_else(|| {
        let known = Suite::ALL.map(Suite::name).join(" and ");
        format!("there is no suite {suite}; {known} are known")
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
    fn a_suite_that_is_not_known_is_refused_with_those_that_are() {
        assert_eq!(named("trixie"), Ok(Suite::Trixie));
        let error = named("sid").unwrap_err();
        assert!(error.contains("bookworm and trixie"), "{error}");
    }
}
