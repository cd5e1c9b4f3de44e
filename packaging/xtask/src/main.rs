//! The project's own commands. They need a Rust tool chain and a C compiler and nothing else; what they build goes where
//! cargo is told to put it (`CARGO_TARGET_DIR`, by default `target/`).
#![allow(clippy::print_stdout, clippy::print_stderr)] // Talking to a person is what this program does.

mod bench;
mod budget;
mod cargo;
mod deb;
mod docs;
mod dojo;
mod escape;
mod fuzz;
mod marks;
mod minimal;
mod orphans;
mod outcome;
mod peers;
mod protections;
mod rig;
mod stage;
mod summary;
mod test;
mod units;
mod up;
mod user;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  up [-- ARGUMENTS]        builds the assistant, starts it and opens a chat; ARGUMENTS go to `clawdbot up`
  test [--full] [--only PACKAGE[/FILE]] [FILTER]
                           builds and runs the tests, all of them or those whose name contains FILTER
                           --full: as root; also what needs root, foreign programs as peers (installed from the
                           package registries), the examples in the documentation, the benchmark
                           --only: of one package, or one file of its tests/, without foreign programs
  bench [--quick] [--write]  measures a release build; --write puts the table into docs/performance.md
  bench agentdojo [--write]  measures what passes policy when a model obeys every injected text (AgentDojo, installed from
                           PyPI into the target folder) and checks the limits; --write puts the table into docs/agentdojo.md
  bench system [--deb FILE] [--quick] [--write]
                           measures the package, or FILE, in machines with Debian 12 and 13 and systemd: start, doctor, memory;
                           --write puts the table into docs/performance.md (as root)
  deb [--programs FOLDER] [--out FOLDER] [--version V] [--twice]
                           builds the Debian package and the one of its debug symbols, into target/deb or FOLDER
                           --programs: from programs that are there, without their symbols and without a limit of its size
                           --version: as another version than the sources'; --twice: also sees that two builds are equal
  docs [--check]           writes the generated pages of docs/ and the units in systemd/, or says which are out of date
  units [--write]          has systemd check the units and say how exposed each is, against limits; --write puts the table
                           into docs/hardening.md
  fuzz [TARGET…] [--seconds N] [--seed N] [--jobs N] [--keep]
                           looks for bytes that break a parser's promise, 60 s for each target, two at a time;
                           --seed: begins elsewhere, so that it tries other bytes; --keep makes seeds of what reached new code
  escape [--root]          tries in each process's real confinement whatever a hijacked one would, and prints the
                           matrices of what came of it; --root: as root, also what only root can try
  minimal [--profile NAME] [--from ROW] [ROW…]
                           leaves out each row of the system call filters in turn, or those whose name contains a ROW,
                           and lists those whose loss no test notices; --profile: in one profile only; --from: goes on
                           with the first such row, with the results of an earlier run for those before it
  rig make [SUITE]         makes the root file systems of Debian 12 (bookworm) and 13 (trixie) for machines with systemd, in
                           /var/cache (as root, like all of these)
  rig boot NAME            starts such a machine, which runs until `rig halt [NAME]`; it is called bookworm or trixie, or for
                           more than one trixie-WORD
  rig run NAME [--] COMMAND…, rig shell NAME, rig copy NAME FILE PATH, rig install NAME FILE.deb
                           in it: runs a command with its exit status, gives a shell, copies a file, installs a package
  peers                    installs the foreign programs that --full needs, and prints where (as root)
  budget [--write]         counts what the processes of the trusted base consist of, and holds it against the limits and
                           against what the README shows; --write puts it there
  protections [NAME…]      takes one protection after another out of a copy of the sources and sees that a test misses it
                           (as root)";

/// What a command ends with: its exit status, or a sentence about what stopped it.
type Done = Result<u8, String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(status) => ExitCode::from(status),
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Done {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["up"] => up::run(&[]),
        ["up", "--", rest @ ..] => up::run(rest),
        ["test", rest @ ..] => match test_options(rest) {
            Some(options) => test::run(&options),
            None => usage(),
        },
        ["bench", "agentdojo"] => dojo::run(false),
        ["bench", "agentdojo", "--write"] => dojo::run(true),
        ["bench", "system", rest @ ..] => match bench::System::read(rest) {
            Some(options) => bench::system(&options),
            None => usage(),
        },
        ["bench", rest @ ..] if only(rest, &["--quick", "--write"]) => {
            bench::run(rest.contains(&"--quick"), rest.contains(&"--write"))
        }
        ["fuzz", rest @ ..] => match fuzz::Options::parse(rest) {
            Some(options) => fuzz::run(&options),
            None => usage(),
        },
        ["deb", rest @ ..] => match deb::Options::read(rest) {
            Some(options) => deb::run(&options),
            None => usage(),
        },
        ["docs"] => docs::run(false),
        ["docs", "--check"] => docs::run(true),
        ["units"] => units::run(false),
        ["units", "--write"] => units::run(true),
        ["budget"] => budget::run(false),
        ["budget", "--write"] => budget::run(true),
        ["escape"] => escape::run(false),
        ["escape", "--root"] => escape::run(true),
        ["minimal", rest @ ..] => match minimal::Options::read(rest) {
            Some(options) => minimal::run(&options),
            None => usage(),
        },
        ["protections", rest @ ..] if rest.iter().all(|word| !word.starts_with('-')) => {
            protections::run(rest)
        }
        ["peers"] => peers::install().map(|place| {
            println!("{}", place.display());
            0
        }),
        ["rig", rest @ ..] => rig::run(rest),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(0)
        }
        _ => usage(),
    }
}

fn usage() -> Done {
    eprintln!("{USAGE}");
    Ok(2)
}

fn only(words: &[&str], known: &[&str]) -> bool {
    words.iter().all(|word| known.contains(word))
}

fn test_options(words: &[&str]) -> Option<test::Options> {
    let mut options = test::Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--full" => options.full = true,
            "--only" => options.only = Some((*words.next()?).to_owned()),
            flag if flag.starts_with('-') => return None,
            filter if options.filter.is_none() => options.filter = Some(filter.to_owned()),
            _ => return None,
        }
    }
    Some(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_takes_one_filter_and_known_flags_only() {
        let options = test_options(&["--full", "lane"]).unwrap();
        assert!(options.full);
        assert_eq!(options.filter.as_deref(), Some("lane"));
        assert!(test_options(&[]).is_some());
        assert!(test_options(&["--fast"]).is_none());
        assert!(test_options(&["a", "b"]).is_none());
        let options = test_options(&["--only", "clawdbot-tests/kill", "lane"]).unwrap();
        assert_eq!(options.only.as_deref(), Some("clawdbot-tests/kill"));
        assert!(test_options(&["--only"]).is_none());
    }
}
