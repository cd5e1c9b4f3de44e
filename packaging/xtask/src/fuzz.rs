//! `cargo xtask fuzz`: libFuzzer looks for bytes that break a promise of `tests/fuzz`. The compiler that builds everything
//! else builds this too, told to count which edges of the code run; the runtime needs a C++ compiler. What it finds on its
//! way stays in a scratch folder; what broke a promise is kept, and how to see it again is said.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::outcome::{Failure, Outcome};
use crate::{Done, cargo, peers};

/// Which edges ran and which values were compared: as cargo-fuzz has it, without its need for a nightly compiler.
const COVERAGE: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// For one input: seconds, megabytes of the process, bytes.
const LIMITS: [&str; 3] = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=16384"];
/// How long a target may take beside its time: to read its seeds, and to end.
const GRACE: Duration = Duration::from_secs(120);
/// What a folder of seeds may hold: files, bytes. A test says the same.
const SEEDS: (usize, u64) = (40, 100 << 10);

/// What to run.
pub struct Options {
    /// None means all.
    pub names: Vec<String>,
    pub seconds: u32,
    /// Where the mutations begin: the same number tries the same inputs in the same order.
    pub seed: u32,
    pub jobs: usize,
    /// Whether what covered something new becomes seeds.
    pub keep: bool,
}

impl Options {
    /// Reads a command line; nothing when it cannot be understood.
    pub fn parse(words: &[&str]) -> Option<Self> {
        let mut options = Self {
            names: Vec::new(),
            seconds: 60,
            seed: 1,
            jobs: 2,
            keep: false,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--seconds" => options.seconds = words.next()?.parse().ok().filter(|n| *n > 0)?,
                "--seed" => options.seed = words.next()?.parse().ok().filter(|n| *n > 0)?,
                "--jobs" => options.jobs = words.next()?.parse().ok().filter(|n| *n > 0)?,
                "--keep" => options.keep = true,
                flag if flag.starts_with('-') => return None,
                name => options.names.push(name.to_owned()),
            }
        }
        Some(options)
    }
}

/// What came of one target.
struct Row {
    name: String,
    runs: u64,
    speed: u64,
    /// Edges that the seeds reach, and those that were reached in the end.
    edges: (u64, u64),
    /// Inputs that each reach something of their own: seeds, and in the end.
    corpus: (u64, u64),
    /// Nothing when every promise held.
    trouble: Option<String>,
}

pub fn run(options: &Options) -> Done {
    let rows = table(options)?;
    let failed = rows.iter().filter(|row| row.trouble.is_some()).count();
    println!("{} targets, {failed} failed", rows.len());
    Ok(u8::from(failed > 0))
}

/// One target is one test.
pub fn outcome() -> Result<Outcome, String> {
    let options = Options::parse(&[]).ok_or("the defaults are options")?;
    let mut outcome = Outcome::default();
    for row in table(&options)? {
        match row.trouble {
            None => outcome.passed += 1,
            Some(output) => outcome.failed.push(Failure {
                test: row.name,
                output,
            }),
        }
    }
    Ok(outcome)
}

/// Builds, runs, and prints a line for each target as it ends.
fn table(options: &Options) -> Result<Vec<Row>, String> {
    let corpus = cargo::root().join("tests/fuzz/corpus");
    let names = chosen(&corpus, &options.names)?;
    let target = cargo::target()?.join("fuzz");
    let work = Work {
        program: build(&target)?,
        corpus,
        scratch: memory().join(format!("clawdbot-fuzz.{}", std::process::id())),
        findings: target.join("findings"),
    };
    make(&work.findings)?;
    println!(
        "{:<12} {:>11} {:>8} {:>15} {:>13}  result",
        "target", "runs", "runs/s", "edges", "corpus"
    );
    let waiting = Mutex::new(VecDeque::from(names));
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                while let Some(name) = lock(&waiting).pop_front() {
                    let row = work.row(name, options);
                    println!("{}", row.line());
                    lock(&done).push(row);
                }
            });
        }
    });
    let _gone = fs::remove_dir_all(&work.scratch);
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// A folder in memory, where there is one: many thousand small files are made and removed.
fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    match memory.is_dir() {
        true => memory,
        false => std::env::temp_dir(),
    }
}

/// The targets are the folders of seeds; a test holds that.
fn chosen(corpus: &Path, wanted: &[String]) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(name)) {
        return Err(format!(
            "there is no target {unknown}; there are: {}",
            names.join(", ")
        ));
    }
    if !wanted.is_empty() {
        names.retain(|name| wanted.contains(name));
    }
    Ok(names)
}

/// The program that holds all targets.
fn build(target: &Path) -> Result<PathBuf, String> {
    peers::need(&[(&["c++", "--version"], "g++")])?;
    let folder = cargo::root().join("tests/fuzz/targets");
    // The versions are those of everything else; cargo adds what the package itself pins.
    fs::copy(cargo::root().join("Cargo.lock"), folder.join("Cargo.lock"))
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut command = cargo::command();
    command
        .args(["build", "--release", "--manifest-path"])
        .arg(folder.join("Cargo.toml"))
        // Named, so that programs of the build itself are left as they are.
        .args(["--target", &cargo::host()?, "--target-dir"])
        .arg(target)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", COVERAGE);
    let built = cargo::built_by(command)?;
    let program = built
        .into_iter()
        .find(|built| built.target == "clawdbot-fuzz-targets");
    program
        .map(|built| built.path)
        .ok_or_else(|| "cargo built no fuzz targets".into())
}

/// Where everything lies.
struct Work {
    program: PathBuf,
    corpus: PathBuf,
    scratch: PathBuf,
    findings: PathBuf,
}

impl Work {
    fn row(&self, name: String, options: &Options) -> Row {
        let log = self.scratch.join(&name).join("log");
        let ended = self.fuzz(&name, options, &log);
        let text = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
        let mut row = Row::read(name, &text);
        row.trouble = match ended {
            Ok(true) if options.keep => self.keep(&row.name).err(),
            Ok(true) => None,
            Ok(false) => Some(self.explain(&row.name, &text)),
            Err(error) => Some(error),
        };
        row
    }

    fn command(&self, name: &str) -> Command {
        let mut command = cargo::clean(&self.program);
        command
            .env("CLAWDBOT_FUZZ", name)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null());
        command
    }

    /// Whether it ran its time without a finding.
    fn fuzz(&self, name: &str, options: &Options, log: &Path) -> Result<bool, String> {
        let grown = self.scratch.join(name).join("grown");
        make(&grown)?;
        let file = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        let second = file.try_clone().map_err(|error| error.to_string())?;
        let mut child = self
            .command(name)
            .args(LIMITS)
            .arg(format!("-max_total_time={}", options.seconds))
            .arg(format!("-seed={}", options.seed))
            .arg("-print_final_stats=1")
            .arg(format!(
                "-artifact_prefix={}/{name}-",
                self.findings.display()
            ))
            .arg(&grown)
            .arg(self.corpus.join(name))
            .stdout(file)
            .stderr(second)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        let deadline = Instant::now() + Duration::from_secs(options.seconds.into()) + GRACE;
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status.success()),
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Ok(None) => {
                    let _killed = child.kill();
                    let _reaped = child.wait();
                    return Err("it did not end after its time; it was killed".into());
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// What was said last, and how to see it again.
    fn explain(&self, name: &str, log: &str) -> String {
        let panic = log.find("\nthread ").or_else(|| log.find("==ERROR"));
        let said = log[panic.unwrap_or(0)..].trim_start();
        let said: String = said.chars().take(4000).collect();
        match log.rsplit_once("Test unit written to ") {
            Some((_, rest)) => {
                let path = rest.lines().next().unwrap_or_default();
                let program = self.program.display();
                format!(
                    "{said}\nit is kept; to see it again: CLAWDBOT_FUZZ={name} {program} {path}"
                )
            }
            None => said,
        }
    }

    /// Adds what reaches something new to the seeds, the smallest first, as far as there is room.
    fn keep(&self, name: &str) -> Result<(), String> {
        let folder = self.scratch.join(name);
        let (seeds, merged) = (self.corpus.join(name), folder.join("merged"));
        make(&merged)?;
        for (path, _) in files(&seeds)? {
            if let Some(file) = path.file_name() {
                fs::copy(&path, merged.join(file)).map_err(|error| error.to_string())?;
            }
        }
        let status = self
            .command(name)
            .args(LIMITS)
            .arg("-merge=1")
            .args([&merged, &folder.join("grown")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(format!("what was found could not be merged: {status}")),
            Err(error) => return Err(error.to_string()),
        }
        let known = files(&seeds)?;
        let (mut count, mut bytes) = (known.len(), known.iter().map(|(_, size)| size).sum::<u64>());
        for (path, size) in files(&merged)? {
            let Some(file) = path.file_name() else {
                continue;
            };
            if seeds.join(file).exists() {
                continue;
            }
            (count, bytes) = (count + 1, bytes + size);
            if count > SEEDS.0 || bytes > SEEDS.1 {
                break;
            }
            fs::copy(&path, seeds.join(file)).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl Row {
    /// Reads what libFuzzer says of itself.
    fn read(name: String, log: &str) -> Self {
        let number = |text: &str, label: &str| -> Option<u64> {
            let (_, rest) = text.rsplit_once(label)?;
            let rest = rest.trim_start();
            let end = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            rest[..end].parse().ok()
        };
        let seeds = log
            .lines()
            .find(|line| line.contains("\tINITED"))
            .unwrap_or_default();
        let pair = |label: &str| {
            let first = number(seeds, label).unwrap_or(0);
            (first, number(log, label).unwrap_or(first))
        };
        Self {
            runs: number(log, "stat::number_of_executed_units:").unwrap_or(0),
            speed: number(log, "stat::average_exec_per_sec:").unwrap_or(0),
            edges: pair(" cov: "),
            corpus: pair(" corp: "),
            trouble: None,
            name,
        }
    }

    fn line(&self) -> String {
        let pair = |(from, to): (u64, u64)| format!("{from} > {to}");
        let result = match &self.trouble {
            None => "ok".to_owned(),
            Some(trouble) => format!("FAILED\n{trouble}"),
        };
        format!(
            "{:<12} {:>11} {:>8} {:>15} {:>13}  {result}",
            self.name,
            self.runs,
            self.speed,
            pair(self.edges),
            pair(self.corpus)
        )
    }
}

/// The files of a folder with their sizes, the smallest first.
fn files(folder: &Path) -> Result<Vec<(PathBuf, u64)>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        all.push((entry.path(), entry.metadata().map_err(failed)?.len()));
    }
    all.sort_unstable_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    Ok(all)
}

fn make(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

/// A thread that panicked left nothing half done in there.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "INFO: seed corpus: files: 3\n#4\tINITED cov: 120 ft: 300 corp: 3/90b exec/s: 0 rss: 40Mb\n\
        #9\tNEW    cov: 125 ft: 310 corp: 4/91b lim: 90\n#1000\tDONE   cov: 130 ft: 320 corp: 5/99b\n\
        stat::number_of_executed_units: 1000\nstat::average_exec_per_sec:     500\n";

    #[test]
    fn growth_is_read_from_what_the_fuzzer_says() {
        let row = Row::read("x".into(), LOG);
        assert_eq!((row.runs, row.speed), (1000, 500));
        assert_eq!((row.edges, row.corpus), ((120, 130), (3, 5)));
        assert!(row.line().contains("120 > 130") && row.line().ends_with("ok"));
        let nothing = Row::read("x".into(), "");
        assert_eq!((nothing.runs, nothing.edges), (0, (0, 0)));
    }

    #[test]
    fn options_are_names_numbers_above_zero_and_known_flags() {
        let options = Options::parse(&[
            "json5",
            "--seconds",
            "5",
            "--seed",
            "7",
            "--jobs",
            "1",
            "dns",
        ]);
        let options = options.unwrap();
        assert_eq!(options.names, ["json5", "dns"]);
        assert_eq!((options.seconds, options.seed), (5, 7));
        assert_eq!((options.jobs, options.keep), (1, false));
        assert!(Options::parse(&["--keep"]).unwrap().keep);
        for wrong in [
            &["--seconds"][..],
            &["--seconds", "0"],
            &["--jobs", "x"],
            &["--fast"],
        ] {
            assert!(Options::parse(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn a_target_that_does_not_exist_is_named_with_those_that_do() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["dns", "json5"] {
            make(&folder.path().join(name)).unwrap();
        }
        let chosen = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
            chosen(folder.path(), &wanted)
        };
        assert_eq!(chosen(&[]).unwrap(), ["dns", "json5"]);
        assert_eq!(chosen(&["json5"]).unwrap(), ["json5"]);
        let error = chosen(&["sse"]).unwrap_err();
        assert!(
            error.contains("sse") && error.contains("dns, json5"),
            "{error}"
        );
    }
}
