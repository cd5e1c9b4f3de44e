//! What the checks look at, gathered once: the configuration, files as they lie there, names in the environment, who was
//! approved, how old the program is. Reads nothing without a bound, follows no link, and needs no running process; what was
//! measured of what runs is put beside it afterwards.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clawdbot_config::{LoadError, Loaded, edit};
use clawdbot_proto::v1::ConfigFindings;
use zeroize::Zeroizing;

use super::files::{FileFact, Kind, SYSTEM, What};
use super::people::{self, People};
use super::running::Running;
use super::version::{self, Version};
use crate::check::unset;
use crate::place::Place;
use crate::remote;

/// Entries of a folder that are looked at; the rest is counted.
const MAX_ENTRIES: usize = 4096;

/// So much of old copies of the configuration is looked at, bytes.
const MAX_COPIES: u64 = 8 << 20;

/// All that is known without asking a process.
pub struct Facts {
    pub place: Place,
    /// Whoever looks.
    pub me: u32,
    pub config: Result<Loaded, LoadError>,
    /// In system mode only root and policy read the configuration: nothing is said of what was not seen.
    pub config_unseen: bool,
    /// What policy told of it then, once it was asked.
    pub config_told: Option<ConfigFindings>,
    /// The file as it stands, for places and for changes; empty when there is none or it cannot be read.
    pub text: Zeroizing<String>,
    /// Settings whose variable is not set, with its name.
    pub unset: Vec<(String, String)>,
    pub files: Vec<FileFact>,
    /// Folders that this user cannot look into.
    pub unseen: Vec<PathBuf>,
    /// Folders with more entries than are looked at, and how many more.
    pub unchecked: Vec<(PathBuf, usize)>,
    /// Old copies of the configuration that hold a secret in clear text.
    pub telling: Vec<PathBuf>,
    /// Names of variables that hold secrets of the assistant.
    pub variables: Vec<String>,
    pub people: People,
    pub version: Version,
    /// What was measured of what runs; nothing before it was looked at.
    pub running: Running,
}

impl Facts {
    /// Looks at this machine.
    pub fn gather(place: &Place) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_s = now.map_or(0, |now| now.as_secs());
        let names = std::env::vars_os().filter(|(_, value)| !value.is_empty());
        let names = names.filter_map(|(name, _)| name.into_string().ok());
        Self::of(place, Path::new(SYSTEM), names, version::gather(now_s))
    }

    /// The same with what lies outside of the two places handed in.
    pub fn of(
        place: &Place,
        system: &Path,
        names: impl Iterator<Item = String>,
        version: Version,
    ) -> Self {
        let config = clawdbot_config::load(&place.config);
        let text = clawdbot_config::read_text(&place.config, clawdbot_config::open(&place.config));
        let text = match text {
            Ok(Some(bytes)) => Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()),
            _ => Zeroizing::default(),
        };
        let unset = config
            .as_ref()
            .map_or_else(|_| Vec::new(), |loaded| unset(place, loaded));
        let mut look = Look::default();
        look.all(place, system);
        let config_unseen = remote::is_closed(place);
        if config_unseen {
            look.unseen.push(place.config.clone());
        }
        let people = people::read(&place.state);
        let variables = names.filter(|name| super::environment::is_ours(name));
        Self {
            place: place.clone(),
            me: rustix::process::geteuid().as_raw(),
            config,
            config_unseen,
            config_told: None,
            text,
            unset,
            files: look.files,
            unseen: look.unseen,
            unchecked: look.unchecked,
            telling: look.telling,
            variables: variables.collect(),
            people,
            version,
            running: Running::default(),
        }
    }
}

#[derive(Default)]
struct Look {
    files: Vec<FileFact>,
    unseen: Vec<PathBuf>,
    unchecked: Vec<(PathBuf, usize)>,
    telling: Vec<PathBuf>,
}

/// Folders of the state directory, what they are, and what lies in them. What is written only by its own process and read
/// by nobody else is private.
const FOLDERS: &[(&str, What, What)] = &[
    ("credentials", What::Credentials, What::Secret),
    ("secrets", What::Credentials, What::Secret),
    ("sessions", What::Sessions, What::Sessions),
    ("agents", What::Private, What::Private),
    ("pairing", What::Private, What::Private),
    ("audit", What::Private, What::Private),
    ("queue", What::Private, What::Private),
    ("channels", What::Private, What::Private),
];

impl Look {
    fn all(&mut self, place: &Place, system: &Path) {
        let state = &place.state;
        self.parents(state);
        if place.config.parent() != Some(state) {
            self.parents(&place.config);
        }
        self.at(What::Config, &place.config, Path::new(""));
        self.backups(&place.config);
        self.at(
            What::Environment,
            &system.join("environment"),
            Path::new(""),
        );
        self.folder(
            What::Credentials,
            What::Secret,
            &system.join("secrets"),
            Path::new(""),
            1,
        );
        if self.at(What::State, state, Path::new("")) != Some(Kind::Folder) {
            return;
        }
        for (name, folder, inside) in FOLDERS {
            self.folder(*folder, *inside, state, Path::new(name), 2);
        }
        for name in self.names(state, "gateway.log") {
            self.at(What::Log, state, &name);
        }
    }

    /// Old copies of the configuration, whoever made them, and what an interrupted change left behind.
    fn backups(&mut self, config: &Path) {
        let Some(folder) = config.parent() else {
            return;
        };
        // A link in its own folder has the copies of the file that it means.
        let real = fs::canonicalize(config).ok();
        let real = real.filter(|real| real.parent() == fs::canonicalize(folder).ok().as_deref());
        let names: BTreeSet<_> = [Some(config), real.as_deref()]
            .into_iter()
            .filter_map(|path| Some(path?.file_name()?.to_string_lossy().into_owned()))
            .collect();
        let heads = names
            .iter()
            .flat_map(|name| [".bak", ".new"].map(|ending| format!("{name}{ending}")));
        let (mut left, mut unread) = (MAX_COPIES, 0);
        for head in heads {
            for copy in self.names(folder, &head) {
                if self.at(What::Backup, folder, &copy) != Some(Kind::File) {
                    continue;
                }
                let path = folder.join(copy);
                // What this user cannot read tells him no secret.
                let text = read_small(&path, clawdbot_config::MAX_SIZE as u64);
                let text = Zeroizing::new(text.unwrap_or_default());
                match left.checked_sub(text.len() as u64) {
                    Some(rest) => left = rest,
                    None => {
                        unread += 1;
                        continue;
                    }
                }
                if edit::tells_secret(&text, "") {
                    self.telling.push(path);
                }
            }
        }
        if unread > 0 {
            self.unchecked.push((folder.to_owned(), unread));
        }
    }

    /// What lies at a place; nothing when nothing does.
    fn at(&mut self, what: What, base: &Path, below: &Path) -> Option<Kind> {
        let path = match below.as_os_str().is_empty() {
            true => base.to_owned(),
            false => base.join(below),
        };
        let found = fs::symlink_metadata(&path).ok()?;
        let kind = kind(&found);
        self.files.push(FileFact {
            what,
            base: base.to_owned(),
            below: below.to_owned(),
            kind,
            mode: found.mode() & 0o7777,
            uid: found.uid(),
        });
        Some(kind)
    }

    fn folder(&mut self, what: What, inside: What, base: &Path, below: &Path, depth: u8) {
        if self.at(what, base, below) != Some(Kind::Folder) {
            return;
        }
        for name in self.names(&base.join(below), "") {
            let below = below.join(name);
            let path = base.join(&below);
            let is_folder = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
            match is_folder && depth > 1 {
                true => self.folder(what, inside, base, &below, depth - 1),
                false => {
                    self.at(inside, base, &below);
                }
            }
        }
    }

    /// Names in a folder that begin like this, in order.
    fn names(&mut self, folder: &Path, head: &str) -> Vec<PathBuf> {
        match fs::read_dir(folder) {
            Ok(entries) => {
                let names = entries.flatten().map(|entry| entry.file_name());
                let mut names =
                    names.filter(|name| name.as_encoded_bytes().starts_with(head.as_bytes()));
                let mut first: Vec<PathBuf> = names
                    .by_ref()
                    .take(MAX_ENTRIES)
                    .map(PathBuf::from)
                    .collect();
                let more = names.count();
                if more > 0 {
                    self.unchecked.push((folder.to_owned(), more));
                }
                first.sort_unstable();
                first
            }
            Err(error) => {
                if error.kind() == ErrorKind::PermissionDenied {
                    self.unseen.push(folder.to_owned());
                }
                Vec::new()
            }
        }
    }

    /// The folders above, where links on the way are resolved: these are the system's, not ours.
    fn parents(&mut self, path: &Path) {
        let Some(real) = path
            .parent()
            .and_then(|parent| fs::canonicalize(parent).ok())
        else {
            return;
        };
        for parent in real.ancestors() {
            let known = |file: &FileFact| file.what == What::Parent && file.base == parent;
            if !self.files.iter().any(known) {
                self.at(What::Parent, parent, Path::new(""));
            }
        }
    }
}

fn kind(found: &Metadata) -> Kind {
    match found.file_type() {
        kind if kind.is_symlink() => Kind::Link,
        kind if kind.is_dir() => Kind::Folder,
        kind if kind.is_file() => Kind::File,
        _ => Kind::Other,
    }
}

/// The text of a regular file that is no larger than `limit`, no link followed at its end.
pub fn read_small(path: &Path, limit: u64) -> std::io::Result<String> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let found = file.metadata()?;
    if !found.is_file() || found.len() > limit {
        return Err(std::io::Error::other("not a file of bearable size"));
    }
    let mut text = String::new();
    file.take(limit).read_to_string(&mut text)?;
    Ok(text)
}
