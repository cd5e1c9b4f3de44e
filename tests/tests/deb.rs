//! The Debian package as `cargo xtask deb` makes it from the programs that are there: what is in it, that it is packed the
//! same way each time, that it keeps Debian's rules, and that what is in it works from where it lies. Nothing is compiled:
//! whether two builds for release are equal and small enough is seen by `cargo xtask deb --twice` alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use clawdbot_tests::{binary, skip};
use tempfile::TempDir;

const VERSION: &str = "9.8.7";

/// The package, and what it unpacks to. None where packages cannot be made.
static PACKAGE: LazyLock<Option<Package>> = LazyLock::new(Package::build);

struct Package {
    folder: TempDir,
    file: PathBuf,
    said: String,
}

/// A line of the package's list.
struct Entry {
    mode: String,
    owner: String,
    path: String,
    link: Option<String>,
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|place| place.join(program).exists())
}

/// The output of a command that has to succeed.
#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {out}{err}");
    out
}

impl Package {
    /// The package for the test of this name, which says that it is skipped where there is none.
    fn find(test: &str) -> Option<&'static Self> {
        if PACKAGE.is_none() {
            skip(test, "dpkg-deb, objcopy or gzip is not installed");
        }
        PACKAGE.as_ref()
    }

    fn build() -> Option<Self> {
        if !["dpkg-deb", "objcopy", "gzip"].iter().all(|tool| has(tool)) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let xtask = binary("xtask");
        let sources = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
        let said = output(
            Command::new(&xtask)
                .args(["deb", "--twice", "--version", VERSION, "--programs"])
                .arg(xtask.parent().unwrap())
                .arg("--out")
                .arg(folder.path())
                .env(
                    "CARGO_MANIFEST_DIR",
                    Path::new(&sources).join("../packaging/xtask"),
                )
                .env("SOURCE_DATE_EPOCH", "1700000000"),
        );
        let found = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let file = found.filter(|path| path.extension().is_some_and(|ending| ending == "deb"));
        let [file] = file.collect::<Vec<_>>().try_into().unwrap();
        let package = Self { folder, file, said };
        let root = package.root();
        output(package.dpkg(&["--raw-extract"]).arg(&root));
        Some(package)
    }

    /// What it unpacks to.
    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn dpkg(&self, words: &[&str]) -> Command {
        let mut command = Command::new("dpkg-deb");
        command.args(words).arg(&self.file);
        command
    }

    fn field(&self, name: &str) -> String {
        output(self.dpkg(&["--field"]).arg(name)).trim().to_owned()
    }

    fn list(&self) -> Vec<Entry> {
        let list = output(&mut self.dpkg(&["--contents"]));
        let entry = |line: &str| {
            let mut words = line.splitn(6, ' ').filter(|word| !word.is_empty());
            let (mode, owner) = (words.next().unwrap(), words.next().unwrap());
            // Then the size, padded, the day, the time and the path.
            let path = line.split_once(" ./").map(|(_, path)| path).unwrap();
            let (path, link) = match path.split_once(" -> ") {
                Some((path, link)) => (path, Some(link.to_owned())),
                None => (path, None),
            };
            Entry {
                mode: mode.to_owned(),
                owner: owner.to_owned(),
                path: path.to_owned(),
                link,
            }
        };
        list.lines().map(entry).collect()
    }

    /// All files below a folder.
    fn below(&self, folder: &str) -> Vec<PathBuf> {
        let read = fs::read_dir(self.root().join(folder)).unwrap();
        read.map(|entry| entry.unwrap().path()).collect()
    }
}

#[test]
fn the_same_programs_packed_twice_are_the_same_bytes_and_the_sizes_are_told() {
    let Some(package) =
        Package::find("the_same_programs_packed_twice_are_the_same_bytes_and_the_sizes_are_told")
    else {
        return;
    };
    assert!(
        package.said.contains("a second build gave the same bytes"),
        "{}",
        package.said
    );
    assert!(package.said.contains(" MB, installed "), "{}", package.said);
    let list = output(&mut package.dpkg(&["--contents"]));
    for line in list.lines() {
        assert!(line.contains(" 2023-11-14 "), "{line}");
    }
}

#[test]
fn nothing_in_it_belongs_to_anybody_but_root_or_has_a_mode_that_it_should_not_have() {
    let Some(package) = Package::find(
        "nothing_in_it_belongs_to_anybody_but_root_or_has_a_mode_that_it_should_not_have",
    ) else {
        return;
    };
    let list = package.list();
    assert!(list.len() > 100, "{}", list.len());
    for entry in &list {
        let Entry { mode, path, .. } = entry;
        let program = path.starts_with("usr/bin/") || path.starts_with("usr/libexec/clawdbot/");
        let wanted = match (entry.link.is_some(), path.ends_with('/') || path.is_empty()) {
            (true, _) => "lrwxrwxrwx",
            (_, true) => "drwxr-xr-x",
            _ if program => "-rwxr-xr-x",
            _ if path == "etc/clawdbot/clawdbot.json" => "-rw-r-----",
            _ => "-rw-r--r--",
        };
        assert_eq!(
            (mode.as_str(), entry.owner.as_str()),
            (wanted, "root/root"),
            "{path}"
        );
        let known = ["etc/clawdbot/", "usr/"]
            .iter()
            .any(|top| path.starts_with(top) || top.starts_with(path.as_str()));
        assert!(known, "{path}");
    }
    let link = |path: &str| {
        list.iter()
            .find(|entry| entry.path == path)
            .unwrap()
            .link
            .as_deref()
    };
    assert_eq!(link("usr/bin/clawdbotctl"), Some("clawdbot"));
    assert_eq!(
        link("usr/share/man/man1/clawdbotctl.1.gz"),
        Some("clawdbot.1.gz")
    );
}

#[test]
fn dpkg_is_told_what_it_needs_to_know() {
    let Some(package) = Package::find("dpkg_is_told_what_it_needs_to_know") else {
        return;
    };
    assert_eq!(package.field("Package"), "clawdbot");
    assert_eq!(package.field("Version"), VERSION);
    let depends = package.field("Depends");
    for part in ["libc6 (>= 2.", "systemd (>= 252)"] {
        assert!(depends.contains(part), "{depends}");
    }
    let own = fs::read(binary("clawdbot")).unwrap();
    let architecture = match own[18] {
        62 => "amd64",
        183 => "arm64",
        other => panic!("machine {other}"),
    };
    assert_eq!(package.field("Architecture"), architecture);
    assert!(package.field("Installed-Size").parse::<u64>().unwrap() > 10_000);
    let control = package.root().join("DEBIAN");
    assert_eq!(
        fs::read_to_string(control.join("conffiles")).unwrap(),
        "/etc/clawdbot/clawdbot.json\n"
    );
    // Every file but the one that dpkg watches otherwise has its sum, and the sums are right.
    let sums = fs::read_to_string(control.join("md5sums")).unwrap();
    let named: BTreeSet<&str> = sums
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(_, path)| path)
        .collect();
    let list = package.list();
    let files = list.iter().filter(|entry| {
        entry.link.is_none() && !entry.path.ends_with('/') && !entry.path.is_empty()
    });
    let mut files: BTreeSet<&str> = files.map(|entry| entry.path.as_str()).collect();
    assert!(files.remove("etc/clawdbot/clawdbot.json"));
    assert_eq!(named, files);
    output(
        Command::new("md5sum")
            .args(["--check", "--strict", "--quiet", "DEBIAN/md5sums"])
            .current_dir(package.root()),
    );
}

#[test]
fn the_programs_work_from_there_under_both_names_and_without_their_symbols() {
    let Some(package) =
        Package::find("the_programs_work_from_there_under_both_names_and_without_their_symbols")
    else {
        return;
    };
    let root = package.root();
    for name in ["clawdbot", "clawdbotctl"] {
        let program = root.join("usr/bin").join(name);
        let said = output(Command::new(&program).arg("--version"));
        assert!(said.starts_with("clawdbot "), "{said}");
        let config = root.join("etc/clawdbot/clawdbot.json");
        let said = output(
            Command::new(&program)
                .args(["config", "validate", "--config"])
                .arg(config),
        );
        assert!(
            said.starts_with("valid: ") && !said.contains("finding"),
            "{said}"
        );
    }
    for program in package
        .below("usr/libexec/clawdbot")
        .into_iter()
        .chain([root.join("usr/bin/clawdbot")])
    {
        let sections = output(Command::new("objdump").arg("-h").arg(&program));
        assert!(
            sections.contains(".text") && !sections.contains(".debug_info"),
            "{}",
            program.display()
        );
    }
}

#[test]
fn every_unit_starts_a_program_of_the_package_and_names_a_page_of_it() {
    let Some(package) =
        Package::find("every_unit_starts_a_program_of_the_package_and_names_a_page_of_it")
    else {
        return;
    };
    let root = package.root();
    let mut started = BTreeSet::new();
    for unit in package
        .below("usr/lib/systemd/system")
        .into_iter()
        .chain(package.below("usr/lib/systemd/user"))
    {
        if unit.is_dir() {
            continue;
        }
        // A template names program and page by its instance.
        let text = fs::read_to_string(&unit).unwrap().replace("%i", "telegram");
        for line in text.lines() {
            if let Some(command) = line.strip_prefix("ExecStart=") {
                // With a dash, a failure of the program is none of the unit.
                let program = command.trim_start_matches('-').split(' ').next().unwrap();
                // A template may name the program by its instance.
                let path = root.join(program.trim_start_matches('/'));
                assert!(path.exists(), "{}: {line}", unit.display());
                started.insert(program.to_owned());
            }
            for page in line
                .split([' ', '='])
                .filter_map(|word| word.strip_prefix("man:clawdbot"))
            {
                let (name, section) = page.trim_end_matches(')').split_once('(').unwrap();
                let path = format!("usr/share/man/man{section}/clawdbot{name}.{section}.gz");
                assert!(root.join(&path).exists(), "{}: {line}", unit.display());
            }
        }
    }
    assert!(started.len() > 5, "{started:?}");
    for program in package.below("usr/libexec/clawdbot") {
        let name = program.file_name().unwrap().to_string_lossy().into_owned();
        let page = root.join(format!("usr/share/man/man8/{name}.8.gz"));
        assert!(page.exists(), "{}", page.display());
    }
}

#[test]
fn completions_are_those_that_the_program_prints() {
    let Some(package) = Package::find("completions_are_those_that_the_program_prints") else {
        return;
    };
    let root = package.root();
    for (shell, place) in [
        ("bash", "usr/share/bash-completion/completions/clawdbot"),
        ("zsh", "usr/share/zsh/vendor-completions/_clawdbot"),
        ("fish", "usr/share/fish/vendor_completions.d/clawdbot.fish"),
    ] {
        let printed =
            output(Command::new(root.join("usr/bin/clawdbot")).args(["completions", shell]));
        let packed = fs::read_to_string(root.join(place)).unwrap();
        assert_eq!(printed.trim_end(), packed.trim_end(), "{shell}");
    }
}

#[test]
fn lintian_has_nothing_to_say() {
    let test = "lintian_has_nothing_to_say";
    let Some(package) = Package::find(test) else {
        return;
    };
    if !has("lintian") {
        skip(test, "lintian is not installed");
        return;
    }
    let checked = Command::new("lintian")
        .args([
            "--allow-root",
            "--fail-on=error,warning",
            "--tag-display-limit=0",
        ])
        .arg(&package.file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && said.trim().is_empty(), "{said}");
    // Without the overrides it does find what they explain: it looked.
    let checked = Command::new("lintian")
        .args(["--allow-root", "--no-override", "--tag-display-limit=0"])
        .arg(&package.file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(said.contains("non-standard-file-perm"), "{said}");
}
