//! `cargo xtask protections`: takes one protection after another out of a copy of the sources and sees that a named test
//! fails then. A protection that nothing misses is either not there or not tested, and both are a failure of this command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::{Done, cargo, stage};

/// A protection, how it is taken out, and who has to notice.
struct Protection {
    name: &'static str,
    /// Where it is in force.
    file: &'static str,
    /// What stands there exactly once.
    find: &'static str,
    replace: &'static str,
    /// Package of the test, `package/target` for a file of `tests/`.
    within: &'static str,
    test: &'static str,
}

const fn row(
    name: &'static str,
    file: &'static str,
    [find, replace]: [&'static str; 2],
    within: &'static str,
    test: &'static str,
) -> Protection {
    Protection {
        name,
        file,
        find,
        replace,
        within,
        test,
    }
}

const PROTECTIONS: &[Protection] = &[
    row(
        "landlock",
        "crates/confine/src/confine.rs",
        [
            "let files = landlock::restrict(rules, profile.connect_tcp)?;",
            "let files = landlock::LandlockStatus { abi: 7, ..Default::default() };",
        ],
        "clawdbot-tests/escape",
        "nobody_gets_more_than_the_table_says_and_outside_everything_works",
    ),
    row(
        "filter",
        "crates/confine/src/confine.rs",
        [
            "seccomp_applied = seccomp::apply(&compiled)?;",
            "seccomp_applied = !compiled.programs().is_empty();",
        ],
        "clawdbot-confine",
        "every_process_is_confined_as_its_kernel_says_itself",
    ),
    row(
        "not dumpable",
        "crates/confine/src/confine.rs",
        ["step(\"forbid dumps\", not_dumpable())?;", ""],
        "clawdbot-confine",
        "every_process_is_confined_as_its_kernel_says_itself",
    ),
    row(
        "no new privileges",
        "crates/confine/src/confine.rs",
        ["step(\"forbid new privileges\", no_new_privs())?;", ""],
        "clawdbot-confine",
        "every_process_is_confined_as_its_kernel_says_itself",
    ),
    row(
        "no core file",
        "crates/confine/src/confine.rs",
        [
            "step(\"set limits\", profile.limits().apply())?;\n    step(\"forbid dumps",
            "step(\"forbid dumps",
        ],
        "clawdbot-confine",
        "every_process_is_confined_as_its_kernel_says_itself",
    ),
    row(
        "network of its own",
        "crates/confine/src/confine/network.rs",
        [
            "libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET)",
            "libc::unshare(libc::CLONE_NEWUSER)",
        ],
        "clawdbot-confine",
        "a_process_that_leaves_is_alone_and_has_gained_nothing",
    ),
    row(
        "capabilities given up",
        "crates/confine/src/confine/network.rs",
        [
            "    give_up_all_capabilities()?;\n    Ok(Some(mapped))",
            "    Ok(Some(mapped))",
        ],
        "clawdbot-confine",
        "every_process_is_confined_as_its_kernel_says_itself",
    ),
    row(
        "socket rule",
        "crates/confine/profiles/offline.toml",
        [
            "  \"system: connect\",\n]\nrefuse = [\n  # The self-test tries AF_INET (and AF_UNIX in single-user mode).\n  \"single: socket -> EPERM\",\n",
            "  \"system: connect\", \"single: socket(arg0 == AF_INET)\",\n]\nrefuse = [\n  \"single: socket(arg0 != AF_INET) -> EPERM\",\n",
        ],
        "clawdbot-confine",
        "sockets_are_made_by_the_dialer_alone_and_only_plain_ones",
    ),
    row(
        "argument rule",
        "crates/confine/profiles/base.toml",
        ["\"mprotect(arg2 & PROT_EXEC == 0)\"", "\"mprotect\""],
        "clawdbot-tests/escape",
        "nobody_gets_more_than_the_table_says_and_outside_everything_works",
    ),
    row(
        "closed descriptors",
        "crates/service/src/inherit/system.rs",
        ["fd::close_from(&keep)", "Ok::<(), io::Error>(drop(keep))"],
        "clawdbot-tests/system_mode",
        "what_the_manager_left_open_is_closed",
    ),
    row(
        "wiped secrets",
        "crates/confine/src/memory.rs",
        ["        self.wipe();\n", ""],
        "clawdbot-confine",
        "a_secret_is_wiped_when_it_is_released",
    ),
    row(
        "edge table",
        "proto/edges.toml",
        [
            "{ name = \"Tools.Decide\", max",
            "{ name = \"Access.CheckKey\", max = 1024, rate = 10, retry = \"safe\" },\n  { name = \"Tools.Decide\", max",
        ],
        "clawdbot-tests/docs",
        "the_generated_pages_are_current",
    ),
    row(
        "emptied environment",
        "crates/service/src/inherit/system.rs",
        ["    process::env_wipe();\n", ""],
        "clawdbot-tests/system_mode",
        "the_manager_s_variables_do_not_stay",
    ),
    row(
        "wiped memory",
        "crates/confine/src/wipe.rs",
        ["unsafe { block.write_bytes(0, layout.size()) };", ""],
        "clawdbot-confine",
        "what_was_freed_is_wiped_and_what_was_moved_as_well",
    ),
    row(
        "class of a handle",
        "services/policy/src/handle.rs",
        ["if grant.class != bearer {", "if false {"],
        "clawdbot-policy",
        "a_handle_of_another_class_is_refused_both_ways",
    ),
    row(
        "list of destinations",
        "services/dialer/src/rules.rs",
        [
            "DIALLING.contains(&role.family())",
            "!role.family().is_empty()",
        ],
        "clawdbot-dialer",
        "a_push_with_one_bad_row_is_refused_wholly",
    ),
    row(
        "private addresses",
        "services/dialer/src/rules.rs",
        [
            "space == Space::Public || (space == Space::Private && private == Private::Allowed);",
            "space == Space::Public || private == private;",
        ],
        "clawdbot-dialer",
        "of_an_answer_only_what_may_be_dialled_is_kept",
    ),
    row(
        "the unit's own network",
        "packaging/units/src/services.rs",
        [
            "return unit\n            .set(\"PrivateNetwork\", \"yes\")",
            "return unit",
        ],
        "clawdbot-units/units",
        "no_service_lacks_a_line_of_the_block_that_confines",
    ),
    row(
        "who may connect to an edge's socket",
        "packaging/units/src/sockets.rs",
        [
            ".set(\"SocketMode\", \"0660\")",
            ".set(\"SocketMode\", \"0666\")",
        ],
        "clawdbot-units/units",
        "a_socket_is_root_s_and_its_callers_and_nobody_else_s",
    ),
    row(
        "the dialer's unit keeps metadata services out",
        "packaging/units/src/addresses.rs",
        ["\"169.254.0.0/16\"", "\"169.254.0.0/32\""],
        "clawdbot-units",
        "metadata_neighbours_and_groups_are_out_and_what_somebody_may_dial_is_in",
    ),
];

/// Runs those whose name contains one of `wanted`, or all.
pub fn run(wanted: &[&str]) -> Done {
    let chosen: Vec<&Protection> = PROTECTIONS
        .iter()
        .filter(|row| wanted.is_empty() || wanted.iter().any(|word| row.name.contains(word)))
        .collect();
    if chosen.is_empty() {
        return Err("there is no protection of this name".into());
    }
    let copy = Copy::new()?;
    let mut status = 0;
    // What fails with everything in place says nothing when it fails without.
    for row in &chosen {
        if copy.test(row)? != Verdict::Passes {
            println!("{:<24} {} does not pass as things are", row.name, row.test);
            status = 1;
        }
    }
    if status != 0 {
        return Ok(status);
    }
    for row in &chosen {
        let path = copy.sources.join(row.file);
        let whole = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", row.file))?;
        let without = without(row, &whole)?;
        write(&path, &without)?;
        let verdict = copy.test(row);
        write(&path, &whole)?;
        let words = match verdict? {
            Verdict::Fails => "missed by",
            Verdict::Passes => "NOT MISSED by",
            Verdict::Broken => "cannot be built without; rewrite the row of",
        };
        status |= u8::from(words != "missed by");
        println!("{:<24} {words} {} in {}", row.name, row.test, row.within);
    }
    Ok(status)
}

/// The file without the protection.
fn without(row: &Protection, whole: &str) -> Result<String, String> {
    match whole.matches(row.find).count() {
        1 => Ok(whole.replace(row.find, row.replace)),
        found => Err(format!(
            "{}: `{}` stands {found} times in {}, not once; rewrite the row",
            row.name, row.find, row.file
        )),
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

#[derive(PartialEq, Eq)]
enum Verdict {
    Passes,
    Fails,
    Broken,
}

/// The sources once more, with what is built of them.
struct Copy {
    sources: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn new() -> Result<Self, String> {
        let place = cargo::target()?.join("protections");
        let sources = place.join("src");
        let failed = |error: std::io::Error| format!("{}: {error}", sources.display());
        if sources.exists() {
            fs::remove_dir_all(&sources).map_err(failed)?;
        }
        fs::create_dir_all(&place).map_err(failed)?;
        stage::copy_sources(&cargo::root(), &sources).map_err(failed)?;
        Ok(Self {
            sources,
            target: place.join("target"),
        })
    }

    /// Runs one test on what the sources are at the moment.
    fn test(&self, row: &Protection) -> Result<Verdict, String> {
        let mut command = cargo::clean(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .current_dir(&self.sources)
            .env("CARGO_TARGET_DIR", &self.target)
            .args(["xtask", "test", "--full", "--only", row.within, row.test])
            .stdin(Stdio::null());
        let output = command
            .output()
            .map_err(|error| format!("cargo cannot be started: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        // With the modules that it is in.
        let failed = |line: &str| line.starts_with("FAILED ") && line.contains(row.test);
        Ok(match text.lines().next_back().and_then(counts) {
            Some((1.., 0)) => Verdict::Passes,
            Some(_) if text.lines().any(failed) => Verdict::Fails,
            _ => {
                let said = String::from_utf8_lossy(&output.stderr);
                eprintln!("{text}\n{said}");
                Verdict::Broken
            }
        })
    }
}

/// Passed and failed of `3 passed, 1 failed, 0 skipped`.
fn counts(line: &str) -> Option<(usize, usize)> {
    let mut numbers = line
        .split(", ")
        .map(|part| part.split(' ').next()?.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protection_stands_where_its_row_says() {
        for row in PROTECTIONS {
            let whole = fs::read_to_string(cargo::root().join(row.file)).unwrap();
            assert_ne!(without(row, &whole).unwrap(), whole, "{}", row.name);
        }
    }

    #[test]
    fn the_last_line_of_a_run_is_understood() {
        assert_eq!(counts("3 passed, 1 failed, 0 skipped"), Some((3, 1)));
        assert_eq!(counts("xtask: the build failed"), None);
    }
}
