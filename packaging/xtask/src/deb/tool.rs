//! The programs that a package is made with, and the time that it is made at.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cargo;
use crate::peers;

/// A command that works when the Debian package is there, and the package.
const NEEDED: [(&[&str], &str); 3] = [
    (&["dpkg-deb", "--version"], "dpkg"),
    (&["objcopy", "--version"], "binutils"),
    (&["gzip", "--version"], "gzip"),
];

/// Installs what is missing.
///
/// # Errors
/// When that is not possible, as for anybody but root.
pub fn install() -> Result<(), String> {
    peers::need(&NEEDED)
}

/// What judges a package that is shipped.
const JUDGE: [(&[&str], &str); 1] = [(&["lintian", "--version"], "lintian")];

/// Has lintian look at packages.
///
/// # Errors
/// What it has to say of errors and warnings that no override explains.
pub fn judge(packages: &[PathBuf]) -> Result<(), String> {
    peers::need(&JUDGE)?;
    let said = command("lintian")
        .args([
            "--allow-root",
            "--fail-on=error,warning",
            "--tag-display-limit=0",
        ])
        .args(packages)
        .output()
        .map_err(|error| format!("lintian: {error}"))?;
    match said.status.success() {
        true => Ok(()),
        false => Err(format!(
            "lintian says:\n{}{}",
            String::from_utf8_lossy(&said.stdout),
            String::from_utf8_lossy(&said.stderr)
        )),
    }
}

/// A command that says the same whatever language somebody speaks.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = cargo::clean(program);
    command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command
}

/// Runs a command to its end; what it wrote.
///
/// # Errors
/// When it fails.
pub fn run(command: &mut Command) -> Result<Vec<u8>, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(format!(
            "{name} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

/// The same, as text.
///
/// # Errors
/// When it fails.
pub fn text(command: &mut Command) -> Result<String, String> {
    Ok(String::from_utf8_lossy(&run(command)?)
        .trim_end()
        .to_owned())
}

/// `SOURCE_DATE_EPOCH`, else the time of the last commit.
///
/// # Errors
/// When neither is known.
pub fn epoch() -> Result<String, String> {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok();
    let epoch = match given {
        Some(epoch) => epoch,
        None => text(
            command("git")
                // Root may build in somebody else's checkout.
                .args(["-c", "safe.directory=*", "log", "-1", "--format=%ct"])
                .current_dir(cargo::root()),
        )
        .map_err(|error| {
            format!("the time of the last commit is not known, set SOURCE_DATE_EPOCH; {error}")
        })?,
    };
    match epoch.parse::<u32>() {
        Ok(_) => Ok(epoch),
        Err(_) => Err(format!("{epoch:?} is no time in seconds since 1970")),
    }
}

/// A time as `date` writes it.
///
/// # Errors
/// When there is no `date` that knows the form.
pub fn date(epoch: &str, form: &str) -> Result<String, String> {
    text(command("date").args(["-u", &format!("--date=@{epoch}"), form]))
}

/// A folder that goes when it is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// An empty one in `place`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(place: &Path) -> Result<Self, String> {
        let folder = place.join(format!(".stage.{}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("xtask: {} stays behind: {error}", self.0.display());
        }
    }
}
