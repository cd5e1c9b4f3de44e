//! A copy of programs and sources that everybody can read and nobody can write. A checkout may lie where only its owner
//! can go (root's own folder, a build server's), and then no test that has given up root's rights could start there.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cargo::{self, Built};
use crate::{deb, user};

/// Where a stage may lie: on a disk first, since programs are large.
const PLACES: [&str; 2] = ["/var/tmp", "/tmp"];
const PREFIX: &str = "clawdbot-stage.";

/// The copy, and scratch folders for whoever runs what is in it. Dropping it removes all.
pub struct Stage {
    folder: PathBuf,
    /// The product's programs in it.
    names: Vec<String>,
    /// Whom the unprivileged programs run as: a spare number for root, nobody else for a person.
    pub tester: Option<u32>,
    /// Where foreign programs lie, if any were asked for.
    peers: Option<PathBuf>,
    /// The product as a package, once it was asked for.
    package: Option<PathBuf>,
}

impl Stage {
    /// Copies the product, all programs of `built` and the sources of the workspace.
    ///
    /// # Errors
    /// When no place is found where the tester can start programs.
    pub fn new(built: &[Built], peers: Option<PathBuf>) -> Result<Self, String> {
        let tester = user::is_root().then(user::spare).transpose()?;
        let mut refused = String::new();
        for place in PLACES.map(Path::new) {
            remove_stale(place);
            match Self::at(place, tester, built, peers.clone()) {
                Ok(stage) => return Ok(stage),
                Err(error) => refused.push_str(&format!("\n  {}: {error}", place.display())),
            }
        }
        Err(format!(
            "there is no folder from which tests can be started:{refused}"
        ))
    }

    fn at(
        place: &Path,
        tester: Option<u32>,
        built: &[Built],
        peers: Option<PathBuf>,
    ) -> io::Result<Self> {
        let folder = place.join(format!("{PREFIX}{}", std::process::id()));
        // Fails if the name is taken, by whatever.
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let names = built
            .iter()
            .filter(|built| !built.harness)
            .map(|built| built.target.clone())
            .collect();
        let stage = Self {
            folder,
            names,
            tester,
            peers,
            package: None,
        };
        stage.fill(built)?;
        open_to_all(&stage.folder)?;
        stage.try_out()?;
        Ok(stage)
    }

    /// Makes a package of the programs in it, for tests that install it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_package(&mut self) -> Result<(), String> {
        let package = deb::of(&self.folder.join("bin"), &self.folder.join("deb"))?;
        self.package = Some(package);
        Ok(())
    }

    fn fill(&self, built: &[Built]) -> io::Result<()> {
        for folder in ["bin", "tests"] {
            make(&self.folder.join(folder))?;
        }
        for program in built {
            self.provide(&program.path, &self.program(program))?;
        }
        copy_sources(&cargo::root(), &self.folder.join("src"))?;
        for (name, owner) in [("user", self.tester), ("root", None)] {
            for leaf in ["", "home", "tmp"] {
                let path = self.folder.join(name).join(leaf);
                make(&path)?;
                if owner.is_some() && !leaf.is_empty() {
                    chown(&path, owner, owner)?;
                }
            }
        }
        // What root starts gives up its rights and still has to get at its files.
        fs::set_permissions(self.folder.join("root/tmp"), Permissions::from_mode(0o1777))
    }

    /// Starts a program as the tester: a folder can be readable and its programs still not executable.
    fn try_out(&self) -> io::Result<()> {
        if self.tester.is_none() {
            return Ok(());
        }
        // Not by name: the build may have put another program in this one's place.
        let own = if cfg!(target_os = "linux") {
            "/proc/self/exe".into()
        } else {
            std::env::current_exe()?
        };
        let copy = self.folder.join("xtask");
        publish(&own, &copy)?;
        let mut command = Command::new(copy);
        self.as_tester(&mut command);
        let status = command.arg("help").stdout(Stdio::null()).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!(
                "a program ends with {status} there"
            )))
        }
    }

    /// A person's tests run as that person: a link is enough. Root's get a second name for the program where that is
    /// possible and everybody may run it, else a copy.
    fn provide(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.tester.is_none() {
            return symlink(from, to);
        }
        publish(from, to)
    }

    /// Where a program lies: the product's under their names, tests under those that cargo gave them.
    pub fn program(&self, built: &Built) -> PathBuf {
        match (built.harness, built.path.file_name()) {
            (true, Some(name)) => self.folder.join("tests").join(name),
            _ => self.folder.join("bin").join(&built.target),
        }
    }

    /// A command in the place of `built`'s package, with an environment of its own: nothing of the person who tests, no
    /// key and no configuration, gets into a test.
    pub fn command(&self, built: &Built, as_root: bool) -> Command {
        let mut command = Command::new(self.program(built));
        let own = self.own(as_root);
        let package = self.folder.join("src").join(
            built
                .folder
                .strip_prefix(cargo::root())
                .unwrap_or(Path::new("")),
        );
        command
            .env_clear()
            .current_dir(&package)
            .env("CARGO_MANIFEST_DIR", &package);
        for name in [
            "PATH",
            "LANG",
            "LC_ALL",
            "RUST_BACKTRACE",
            "RUST_TEST_THREADS",
            "CI",
        ] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("HOME", own.join("home"))
            .env("TMPDIR", own.join("tmp"))
            .env("CLAWDBOT_MATRIX", self.matrix_path(built, as_root));
        let programs = self.folder.join("bin");
        for name in &self.names {
            command.env(format!("CARGO_BIN_EXE_{name}"), programs.join(name));
        }
        command.env("CLAWDBOT_BIN_DIR", programs);
        if let Some(peers) = &self.peers {
            command.env("CLAWDBOT_PEERS", peers);
        }
        if let Some(package) = &self.package {
            command.env("CLAWDBOT_DEB", package);
        }
        if !as_root {
            self.as_tester(&mut command);
        }
        command
    }

    fn own(&self, as_root: bool) -> PathBuf {
        self.folder.join(if as_root { "root" } else { "user" })
    }

    fn matrix_path(&self, built: &Built, as_root: bool) -> PathBuf {
        let name = format!("matrix-{}", built.target);
        self.own(as_root).join("tmp").join(name)
    }

    /// What a program wrote to be shown at the end of the run.
    pub fn matrix(&self, built: &Built, as_root: bool) -> Option<String> {
        let text = fs::read(self.matrix_path(built, as_root)).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    fn as_tester(&self, command: &mut Command) {
        if let Some(id) = self.tester {
            // The standard library gives up root's further groups together with this.
            command.uid(id).gid(id);
        }
    }

    /// A file for output, outside of what a tester can reach.
    pub fn log(&self) -> PathBuf {
        self.folder.join("output")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("xtask: {} stays behind: {error}", self.folder.display());
        }
    }
}

fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    open_to_all(path)
}

/// Whatever the umask says.
fn open_to_all(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// A program that everybody may run, whatever they may do where it came from.
fn publish(from: &Path, to: &Path) -> io::Result<()> {
    let mode = fs::metadata(from)?.permissions().mode();
    if mode & 0o777 == 0o755 && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to)?;
    open_to_all(to)
}

/// Everything but what cargo built and what git keeps.
pub fn copy_sources(from: &Path, to: &Path) -> io::Result<()> {
    make(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let target = to.join(&name);
        if kind.is_file() {
            fs::copy(entry.path(), &target)?;
            let mode = if entry.metadata()?.permissions().mode() & 0o111 == 0 {
                0o644
            } else {
                0o755
            };
            fs::set_permissions(&target, Permissions::from_mode(mode))?;
        } else if kind.is_dir() && name != ".git" && !entry.path().join("CACHEDIR.TAG").exists() {
            copy_sources(&entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Removes what a run left behind that was ended by force.
fn remove_stale(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .and_then(|pid| pid.parse().ok());
        let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) else {
            continue;
        };
        if rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
            // Somebody else's is not ours to remove.
            let _not_ours = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn sources_are_copied_without_what_cargo_built_and_readable_for_all() {
        let (from, to) = (scratch(), scratch());
        for folder in ["a/b", "target/debug", ".git"] {
            fs::create_dir_all(from.path().join(folder)).unwrap();
        }
        for file in ["a/b/x", "target/CACHEDIR.TAG", "target/debug/y", ".git/z"] {
            fs::write(from.path().join(file), file).unwrap();
        }
        fs::set_permissions(from.path().join("a/b/x"), Permissions::from_mode(0o600)).unwrap();
        let copy = to.path().join("copy");
        copy_sources(from.path(), &copy).unwrap();
        assert_eq!(fs::read_to_string(copy.join("a/b/x")).unwrap(), "a/b/x");
        assert_eq!(
            fs::metadata(copy.join("a/b/x"))
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o644
        );
        assert!(!copy.join("target").exists() && !copy.join(".git").exists());
    }

    #[test]
    fn a_program_that_only_its_owner_may_run_is_copied_so_that_everybody_may() {
        let folder = scratch();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, "program").unwrap();
        fs::set_permissions(&from, Permissions::from_mode(0o700)).unwrap();
        publish(&from, &to).unwrap();
        assert_eq!(
            fs::metadata(&to).unwrap().permissions().mode() & 0o777,
            0o755
        );
        assert_eq!(
            fs::metadata(&from).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn what_a_dead_run_left_behind_goes_and_a_living_one_stays() {
        let place = scratch();
        let dead = place.path().join(format!("{PREFIX}999999999"));
        let living = place.path().join(format!("{PREFIX}{}", std::process::id()));
        for folder in [&dead, &living] {
            fs::create_dir(folder).unwrap();
        }
        remove_stale(place.path());
        assert!(!dead.exists());
        assert!(living.exists());
    }
}
