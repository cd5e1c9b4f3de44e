//! The programs of a package: built for it, or those that somebody names.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cargo;

/// Writes manual pages and completions, and is not in the package.
pub const PAGES: &str = "clawdbot-man";
/// The command line.
pub const COMMAND: &str = "clawdbot";
/// What only other programs start.
pub const DAEMONS: [&str; 13] = [
    "clawdbot-agent",
    "clawdbot-broker",
    "clawdbot-channel-telegram",
    "clawdbot-dialer",
    "clawdbot-executor",
    "clawdbot-gateway",
    "clawdbot-journal",
    "clawdbot-keyring",
    "clawdbot-model",
    "clawdbot-policy",
    "clawdbot-probe",
    "clawdbot-sandbox",
    "clawdbot-supervisor",
];
/// The profile of `Cargo.toml`: as released, with its symbols, which go into a package of their own.
const PROFILE: &str = "dist";

/// Where they are.
pub struct Programs(PathBuf);

impl Programs {
    /// Those in `folder`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn found(folder: &Path) -> Result<Self, String> {
        let folder =
            fs::canonicalize(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut wanted = DAEMONS.into_iter().chain([COMMAND, PAGES]);
        match wanted.find(|name| !folder.join(name).is_file()) {
            Some(name) => Err(format!("{} has no {name}", folder.display())),
            None => Ok(Self(folder)),
        }
    }

    /// Builds them; `afresh`, in an empty target folder that always has the same name.
    ///
    /// # Errors
    /// When something does not compile.
    pub fn build(afresh: bool, epoch: &str) -> Result<Self, String> {
        let mut target = cargo::target()?;
        if afresh {
            target.push("deb/target");
            let _none_yet = fs::remove_dir_all(&target);
        }
        let mut command = cargo::command();
        command
            .args(["build", "--locked", "--profile", PROFILE, "--bins"])
            .env("CARGO_TARGET_DIR", &target)
            // The day that `doctor` counts the age of the program from.
            .env("SOURCE_DATE_EPOCH", epoch);
        for package in cargo::product()?.iter().map(String::as_str).chain([PAGES]) {
            command.args(["--package", package]);
        }
        let maps = maps(&target);
        let mut flags: Vec<String> = maps
            .iter()
            .map(|(from, to)| format!("--remap-path-prefix={from}={to}"))
            .collect();
        // What a file of symbols is found by.
        flags.push("-Clink-arg=-Wl,--build-id=sha1".into());
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
        let c: Vec<String> = maps
            .iter()
            .map(|(from, to)| format!("-ffile-prefix-map={from}={to}"))
            .collect();
        command.env("CFLAGS", c.join(" "));
        let built = cargo::built_by(command)?;
        let folder = built.iter().find_map(|built| built.path.parent());
        Self::found(folder.ok_or("cargo built no program")?)
    }

    /// One of them.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Paths of this machine that compilers would write into the programs, and what they write instead. A later one counts
/// more.
fn maps(target: &Path) -> Vec<(String, &'static str)> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| {
            let home = std::env::var_os("HOME")?;
            Some(PathBuf::from(home).join(".cargo"))
        });
    let mut maps = vec![(cargo::root().display().to_string(), "/usr/src/clawdbot")];
    maps.extend(home.map(|home| (home.display().to_string(), "/usr/src/crates")));
    maps.push((target.display().to_string(), "/usr/src/build"));
    maps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_of_the_product_is_in_the_package() {
        let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
        let services = Path::new(&own).join("../../services");
        let mut programs = vec![COMMAND.to_owned(), "clawdbotctl".to_owned()];
        for folder in fs::read_dir(services).unwrap() {
            let folder = folder.unwrap().file_name().into_string().unwrap();
            if folder != "cli" {
                programs.push(format!("clawdbot-{folder}"));
            }
        }
        programs.sort();
        // The second name of the command line is a link.
        let mut packed: Vec<&str> = DAEMONS
            .into_iter()
            .chain([COMMAND, "clawdbotctl"])
            .collect();
        packed.sort_unstable();
        assert_eq!(packed, programs);
    }

    #[test]
    fn a_folder_without_all_programs_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Programs::found(folder.path()).is_err());
        for name in DAEMONS.into_iter().chain([COMMAND, PAGES]) {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert!(Programs::found(folder.path()).is_ok());
        fs::remove_file(folder.path().join(PAGES)).unwrap();
        let error = Programs::found(folder.path()).err().unwrap();
        assert!(error.contains(PAGES), "{error}");
    }
}
