//! The folders: a home with a canary, workspaces, a state directory with a canary wherever somebody owns something.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use clawdbot_attempts::{Column, Place};

use crate::sockets::{self, Listener};

/// Everything below the state directory that somebody owns.
const LEAVES: &[&str] = &[
    "queue",
    "pairing",
    "audit",
    "credentials",
    "secrets",
    "sessions/main",
    "sessions/guest",
    "agents/main",
    "agents/guest",
    "channels/telegram",
    "run",
    "none",
];

/// Where one process has what is its own.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Its state directory.
    pub state: &'a Path,
    /// Its configuration file.
    pub config: &'a Path,
    /// The operator's sockets.
    pub operators: &'a Path,
}

/// The surroundings in one folder.
#[derive(Debug)]
pub struct Set {
    folder: PathBuf,
    facts: BTreeMap<String, String>,
}

fn folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

fn canary(folder: &Path) -> io::Result<()> {
    let path = folder.join("canary");
    fs::write(&path, "a canary\n")?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

fn script(path: &Path) -> io::Result<()> {
    let text = "#!/bin/sh\necho 'got process.exec-own-file worked' >&2\n";
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Every folder of a state directory that somebody owns, with a canary and a link that leads out of it.
///
/// # Errors
/// When something cannot be written.
pub fn furnish(state: &Path, outside: &Path) -> io::Result<()> {
    for name in LEAVES {
        let leaf = state.join(name);
        folder(&leaf)?;
        canary(&leaf)?;
        // It may be there already.
        let _there = symlink(outside, leaf.join("link-to-canary"));
    }
    let mut log = fs::OpenOptions::new();
    log.create(true).append(true);
    log.open(state.join("gateway.log")).map(drop)
}

impl Set {
    /// Makes it in `place`, with listeners of every kind. Nobody takes what connects to them.
    ///
    /// # Errors
    /// When something cannot be made.
    pub fn build(place: &Path) -> io::Result<(Self, Vec<Listener>)> {
        let leaf = |name: &str| place.join(name);
        let folders = ["home", "home/private", "home/clawd", "home/clawd-guest"];
        for name in folders.into_iter().chain(["open"]) {
            folder(&leaf(name))?;
        }
        for name in ["home/private", "home/clawd", "home/clawd-guest"] {
            canary(&leaf(name))?;
        }
        script(&leaf("open/script"))?;
        fs::write(leaf("program"), "a program\n")?;
        let outside = leaf("home/private/canary");
        let _there = symlink(&outside, leaf("open/link-to-canary"));
        let (addresses, listeners) = sockets::open_all(place)?;
        let mut facts: BTreeMap<String, String> = addresses
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        for (name, path) in [
            ("canary", outside),
            ("program", leaf("program")),
            ("open-folder", leaf("open")),
            ("script", leaf("open/script")),
            ("workspace-main", leaf("home/clawd")),
            ("workspace-guest", leaf("home/clawd-guest")),
            ("runtime", leaf("runtime")),
        ] {
            facts.insert(name.into(), text(&path));
        }
        let set = Self {
            folder: place.to_owned(),
            facts,
        };
        Ok((set, listeners))
    }

    /// The folder that everything lies in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file that is handed over open.
    #[must_use]
    pub fn canary(&self) -> PathBuf {
        self.folder.join("home/private/canary")
    }

    /// The home directory that processes are told of.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// One of the facts; empty where there is none of that name.
    #[must_use]
    pub fn fact(&self, name: &str) -> &str {
        self.facts.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Adds or replaces one.
    pub fn tell(&mut self, name: &str, value: impl ToString) {
        self.facts.insert(name.into(), value.to_string());
    }

    /// Everything that attempts are aimed at, for one process that has a folder of its own at `own`.
    #[must_use]
    pub fn facts(&self, places: &Places<'_>, own: &Path) -> BTreeMap<String, String> {
        let mut facts = self.facts.clone();
        let ups = own.components().count().saturating_sub(1);
        let canary = self.canary();
        let below_root = canary.strip_prefix("/").unwrap_or(&canary);
        let climb = format!("{}/{}", vec![".."; ups].join("/"), below_root.display());
        for (name, value) in [
            ("state", text(places.state)),
            ("config", text(places.config)),
            ("operators", text(places.operators)),
            ("canary-from-own", climb),
            ("own", text(own)),
        ] {
            facts.insert(name.into(), value);
        }
        facts
    }

    /// Where a service keeps what is its own; an empty folder for who keeps nothing.
    #[must_use]
    pub fn own(column: &Column, state: &Path) -> PathBuf {
        match column.own {
            "" => state.join("none"),
            own => state.join(own),
        }
    }

    /// Whether an attempt may take a connection apart before it does what it is about.
    #[must_use]
    pub fn may_disconnect(column: &Column) -> bool {
        column.place == Place::System || column.key == "dialer"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_up_from_the_own_folder_leads_to_the_canary() {
        let scratch = tempfile::tempdir().unwrap();
        let (set, listeners) = Set::build(scratch.path()).unwrap();
        assert!(listeners.len() >= 6);
        let state = scratch.path().join("state");
        furnish(&state, &set.canary()).unwrap();
        let own = state.join("sessions/main");
        let places = Places {
            state: &state,
            config: &state.join("clawdbot.json"),
            operators: &state.join("run"),
        };
        let facts = set.facts(&places, &own);
        let up = own.join(&facts["canary-from-own"]);
        assert_eq!(fs::read_to_string(up).unwrap(), "a canary\n");
        let link = own.join("link-to-canary");
        assert_eq!(fs::read_to_string(link).unwrap(), "a canary\n");
        assert_eq!(facts["state"], state.to_str().unwrap());
    }
}
