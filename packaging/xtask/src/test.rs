//! `cargo xtask test`: builds everything once and runs the test programs one after another, as a user without rights. A
//! file of `tests/` whose name begins with `root_` runs as root, with `--full`.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use clawdbot_rig::{Rig, Suite};

use crate::cargo::{self, Built, Kind};
use crate::outcome::{Failure, Outcome};
use crate::stage::Stage;
use crate::summary::Summary;
use crate::{Done, bench, fuzz, orphans, peers, rig, user};

/// Longest time that one test program may take; those with machines of their own take longest.
const LIMIT: Duration = Duration::from_secs(1500);
/// Begins the names of test programs that need root.
const NEEDS_ROOT: &str = "root_";
/// Begins the names of those that need machines with systemd.
const NEEDS_RIG: &str = "root_rig_";

/// What to run.
#[derive(Default)]
pub struct Options {
    pub full: bool,
    /// `package` for its own tests, `package/target` for one file of its `tests/`: nothing else is built and run.
    pub only: Option<String>,
    pub filter: Option<String>,
}

pub fn run(options: &Options) -> Done {
    if options.full && !user::is_root() {
        eprintln!("xtask: --full starts the assistant as root too, so it has to be run by root");
        return Ok(2);
    }
    let mut built = build(options.only.as_deref())?;
    built.sort_by(|a, b| {
        (a.kind.clone(), &a.package, &a.target).cmp(&(b.kind.clone(), &b.package, &b.target))
    });
    orphans::adopt();
    let mut summary = Summary::new();
    // Who asks for one file does not wait for what it may not need.
    let peers = match (options.full, &options.only) {
        (false, _) => None,
        (true, Some(_)) => peers::installed(),
        (true, None) => foreign(&mut summary),
    };
    let mut stage = Stage::new(&built, peers)?;
    let in_rig = |built: &Built| built.target.starts_with(NEEDS_RIG);
    let without = match options.full && built.iter().any(in_rig) {
        true => machines(&mut summary, &mut stage).err(),
        false => None,
    };
    for program in built.iter().filter(|program| program.harness) {
        match (&without, as_root(program) && !options.full) {
            (_, true) => skip_root(&mut summary, program, options),
            (Some(reason), _) if in_rig(program) => {
                summary.skip(&label(program), &program.target, reason);
            }
            _ => run_program(&mut summary, &stage, program, options.filter.as_deref()),
        }
    }
    if options.full && options.filter.is_none() && options.only.is_none() {
        benchmark(&mut summary, &stage, &built);
        documentation(&mut summary);
        fuzzing(&mut summary);
    }
    drop(stage);
    if options.full && std::env::var_os("CI").is_some_and(|value| value == "true") {
        summary.forbid_skips();
    }
    Ok(summary.close())
}

/// The package of the tests that start the product.
const PRODUCT: &str = "clawdbot-tests";

fn as_root(built: &Built) -> bool {
    built.kind == Kind::Test && built.target.starts_with(NEEDS_ROOT)
}

/// Tests of the whole product find its programs beside them; those of other packages need their own alone.
fn build(only: Option<&str>) -> Result<Vec<Built>, String> {
    let Some(only) = only else {
        return cargo::build(&["--workspace", "--lib", "--bins", "--tests"]);
    };
    match only.split_once('/') {
        Some((package, target)) => {
            let mut built = cargo::build(&["--workspace", "--bins", "--test", target])?;
            built.retain(|built| !built.harness || built.package == package);
            Ok(built)
        }
        None if only == PRODUCT => {
            let mut built = cargo::build(&["--workspace", "--bins"])?;
            built.retain(|built| !built.harness);
            built.extend(cargo::build(&["--package", only, "--tests"])?);
            Ok(built)
        }
        None => cargo::build(&["--package", only, "--tests"]),
    }
}

fn label(built: &Built) -> String {
    match built.kind {
        Kind::Library => format!("{} (lib)", built.package),
        Kind::Program => format!("{} (bin {})", built.package, built.target),
        Kind::Test => format!("{} ({})", built.package, built.target),
    }
}

/// What the harness is told to choose: nothing when the name of the whole program fits.
fn filter_within<'a>(label: &str, filter: Option<&'a str>) -> Option<&'a str> {
    filter.filter(|filter| !label.contains(filter))
}

fn skip_root(summary: &mut Summary, built: &Built, options: &Options) {
    let label = label(built);
    if filter_within(&label, options.filter.as_deref()).is_none() {
        let reason = if user::is_root() {
            "needs --full"
        } else {
            "needs root and --full"
        };
        summary.skip(&label, &built.target, reason);
    }
}

/// Runs a test program, or what fits the filter in it.
pub fn run_program(summary: &mut Summary, stage: &Stage, built: &Built, filter: Option<&str>) {
    let (label, as_root) = (label(built), as_root(built));
    let mut command = stage.command(built, as_root);
    command
        .arg("--show-output")
        .args(filter_within(&label, filter));
    measured(summary, &label, &mut command, &stage.log());
    if let Some(matrix) = stage.matrix(built, as_root) {
        summary.matrix(&label, matrix);
    }
}

/// Runs a test program until one of its tests fails; which test, and what it says.
///
/// # Errors
/// When the program cannot be run.
pub fn first_failure(stage: &Stage, built: &Built) -> Result<Option<String>, String> {
    let mut command = stage.command(built, as_root(built));
    command.args(["--nocapture", "--test-threads=2"]);
    let log = stage.log();
    let failed = |text: &str| text.contains(" ... FAILED") || text.contains("test result: FAILED");
    let ended = finish_unless(&mut command, &log, failed);
    orphans::kill();
    let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned();
    match ended {
        Ok(status) if status.success() => Ok(None),
        Ok(status) => Ok(Some(
            first_words(&text).unwrap_or_else(|| format!("ended with {status}")),
        )),
        Err(error) => Ok(Some(error)),
    }
}

/// What the first test to fail says: the line after `thread 'NAME' (1) panicked at FILE:LINE:`.
fn first_words(text: &str) -> Option<String> {
    let mut lines = text
        .lines()
        .skip_while(|line| !line.contains("panicked at "));
    let name = lines.next()?.split('\'').nth(1)?;
    let why: String = lines.next()?.chars().take(200).collect();
    Some(format!("{name}: {why}"))
}

/// Runs one command to its end, reads what it said and makes sure that nothing of it is left.
fn measured(summary: &mut Summary, label: &str, command: &mut Command, log: &std::path::Path) {
    summary.begin(label);
    let began = Instant::now();
    let ended = finish(command, log);
    let left = orphans::end();
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    let mut outcome = Outcome::read(&text);
    let trouble = match ended {
        Err(error) => Some(error),
        Ok(status) if outcome.failed.is_empty() && !(status.success() && outcome.finished) => {
            Some(format!("ended with {status} before it came to its result"))
        }
        Ok(_) => None,
    };
    if let Some(trouble) = trouble {
        outcome.failed.push(Failure {
            test: "the program itself".into(),
            output: format!("{text}\n{trouble}"),
        });
    }
    for orphan in left {
        let output = format!(
            "{} (process {}) was still running after the tests; it was killed",
            orphan.name, orphan.pid
        );
        outcome.failed.push(Failure {
            test: "leaves no process".into(),
            output,
        });
    }
    summary.end(label, outcome, began.elapsed());
}

/// Output goes to a file: a pipe would stay open as long as any process holds its end.
fn finish(command: &mut Command, log: &std::path::Path) -> Result<ExitStatus, String> {
    finish_unless(command, log, |_| false)
}

/// The same, but ends the command as soon as something holds of its output.
fn finish_unless(
    command: &mut Command,
    log: &std::path::Path,
    enough: impl Fn(&str) -> bool,
) -> Result<ExitStatus, String> {
    let file = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
    let second = file.try_clone().map_err(|error| error.to_string())?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(second)
        .spawn()
        .map_err(|error| format!("cannot be started: {error}"))?;
    let deadline = Instant::now() + LIMIT;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
                let said = std::fs::read(log).unwrap_or_default();
                if enough(&String::from_utf8_lossy(&said)) {
                    let _ended_meanwhile = child.kill();
                }
            }
            Ok(None) => {
                let _killed = child.kill();
                let _reaped = child.wait();
                return Err(format!(
                    "did not end within {} s; it was killed",
                    LIMIT.as_secs()
                ));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The examples in the documentation, among them those that must not compile.
fn documentation(summary: &mut Summary) {
    let mut command = cargo::command();
    command.args([
        "test",
        "--doc",
        "--workspace",
        "--locked",
        "--quiet",
        "--",
        "--format=pretty",
        "--show-output",
    ]);
    let log = std::env::temp_dir().join(format!("clawdbot-doc-tests.{}", std::process::id()));
    measured(summary, "examples in the documentation", &mut command, &log);
    let _gone = std::fs::remove_file(log);
}

/// Without them the tests that need them say that they are skipped, and this says why.
fn foreign(summary: &mut Summary) -> Option<PathBuf> {
    let label = "foreign programs for the tests";
    summary.begin(label);
    let began = Instant::now();
    let mut outcome = Outcome::default();
    let installed = peers::install();
    match &installed {
        Ok(_) => outcome.passed = 1,
        Err(output) => outcome.failed.push(Failure {
            test: "installs them".into(),
            output: output.clone(),
        }),
    }
    summary.end(label, outcome, began.elapsed());
    installed.ok()
}

/// The root file systems of the machines with systemd, and the package that is installed in them.
///
/// # Errors
/// Why no machine can be started here, where that is so: then nothing that needs one can be tested.
fn machines(summary: &mut Summary, stage: &mut Stage) -> Result<(), String> {
    clawdbot_rig::possible()?;
    rig::make(&Suite::ALL)?;
    Rig::boot(Suite::ALL[0])?.halt()?;
    let label = "package for the tests";
    summary.begin(label);
    let began = Instant::now();
    let mut outcome = Outcome::default();
    match stage.make_package() {
        Ok(()) => outcome.passed += 1,
        Err(output) => outcome.failed.push(Failure {
            test: "makes the package".into(),
            output,
        }),
    }
    summary.end(label, outcome, began.elapsed());
    Ok(())
}

/// Nothing is said about the figures, only that they can be taken: of the programs that are there, since to build them for
/// release takes longer than everything that is measured.
fn benchmark(summary: &mut Summary, stage: &Stage, built: &[Built]) {
    let label = "benchmark";
    summary.begin(label);
    let began = Instant::now();
    let mut outcome = Outcome::default();
    match bench::measure(stage, built, true) {
        Ok(_) => outcome.passed = 1,
        Err(output) => outcome.failed.push(Failure {
            test: "cargo xtask bench --quick".into(),
            output,
        }),
    }
    summary.end(label, outcome, began.elapsed());
}

/// Each target is a test.
fn fuzzing(summary: &mut Summary) {
    let label = "fuzzing";
    summary.begin(label);
    let began = Instant::now();
    let outcome = fuzz::outcome().unwrap_or_else(|output| Outcome {
        failed: vec![Failure {
            test: "cargo xtask fuzz".into(),
            output,
        }],
        ..Outcome::default()
    });
    summary.end(label, outcome, began.elapsed());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_fits_a_program_runs_all_of_it_and_another_is_left_to_the_harness() {
        assert_eq!(
            filter_within("clawdbot-gateway (lib)", Some("gateway")),
            None
        );
        assert_eq!(
            filter_within("clawdbot-gateway (lib)", Some("lane")),
            Some("lane")
        );
        assert_eq!(filter_within("clawdbot-gateway (lib)", None), None);
    }
}
