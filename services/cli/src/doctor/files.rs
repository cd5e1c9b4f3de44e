//! Whose the files are and who else reaches them. A symbolic link is reported and never followed: whoever can place one
//! could otherwise have another file looked at, or its mode changed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clawdbot_config::Severity::{self, Critical, Info, Warn};

use super::check::{Check, Hit, Hits, Repair};
use super::facts::Facts;
use crate::place::word;

/// What a file is to the assistant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The state directory.
    State,
    /// The configuration file.
    Config,
    /// An old copy of the configuration file.
    Backup,
    /// The start environment of the service, which holds secrets.
    Environment,
    /// A folder of credentials.
    Credentials,
    /// A file with a credential or an encrypted vault.
    Secret,
    /// Conversations.
    Sessions,
    /// The log.
    Log,
    /// What one process keeps: approvals, the audit log, queues.
    Private,
    /// A folder above the state directory or the configuration file.
    Parent,
}

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    Link,
    Other,
}

/// One file as it lies there.
#[derive(Debug, Clone)]
pub struct FileFact {
    pub what: What,
    /// From here on no link is followed.
    pub base: PathBuf,
    /// Seen from `base`; empty for `base` itself.
    pub below: PathBuf,
    pub kind: Kind,
    /// The lower twelve bits.
    pub mode: u32,
    pub uid: u32,
}

impl FileFact {
    pub fn path(&self) -> PathBuf {
        match self.below.as_os_str().is_empty() {
            true => self.base.clone(),
            false => self.base.join(&self.below),
        }
    }
}

/// What can be wrong with a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aspect {
    Symlink,
    Owner,
    /// One of these bits is set that should not be.
    Bits(u32),
}

impl Aspect {
    const fn help(self) -> &'static str {
        match self {
            Self::Symlink => "put the real thing in place of the link, and see where it leads",
            Self::Owner => "give it to the user who runs the assistant",
            Self::Bits(_) => "take the rights of others away",
        }
    }

    const fn command(self, what: What) -> &'static str {
        match self {
            Self::Symlink => "readlink -f PATH",
            Self::Owner => "sudo chown \"$(id -un)\" PATH",
            Self::Bits(_) if matches!(what, What::Parent) => "chmod go-w PATH",
            Self::Bits(_) => "chmod go-rwx PATH",
        }
    }

    /// What lies above is not the assistant's.
    const fn fixes(self, what: What) -> bool {
        matches!(self, Self::Bits(_)) && !matches!(what, What::Parent)
    }
}

const SYMLINK: Aspect = Aspect::Symlink;
const OWNER: Aspect = Aspect::Owner;
const WORLD_WRITE: Aspect = Aspect::Bits(0o002);
const GROUP_WRITE: Aspect = Aspect::Bits(0o020);
const WRITE: Aspect = Aspect::Bits(0o022);
const WORLD_READ: Aspect = Aspect::Bits(0o004);
const GROUP_READ: Aspect = Aspect::Bits(0o040);
const READ: Aspect = Aspect::Bits(0o044);

/// Rows about files, of which everything but the aspect follows from what the file is, and the rest as it stands.
macro_rules! rows {
    ({ $($id:literal $severity:ident $what:ident $aspect:ident $title:literal $why:literal;)+ } $($more:tt)*) => {
        &[$(Check {
            id: $id,
            severity: $severity,
            title: $title,
            why: $why,
            help: $aspect.help(),
            command: $aspect.command(What::$what),
            fixes: $aspect.fixes(What::$what),
            look: |facts, hits| look(facts, hits, What::$what, $aspect, $severity),
        },)+ $($more)*]
    };
}

pub const CHECKS: &[Check] = rows! {{
    "fs.state_dir.symlink" Warn State SYMLINK
        "The state directory is a symbolic link" "Whoever owns the place of the link decides where everything is kept.";
    "fs.state_dir.perms_world_writable" Critical State WORLD_WRITE
        "Everybody can write to the state directory" "Every user of this machine can replace approvals, sessions and the configuration.";
    "fs.state_dir.perms_group_writable" Warn State GROUP_WRITE
        "A group can write to the state directory" "Every member of the group can replace approvals, sessions and the configuration.";
    "fs.state_dir.perms_readable" Warn State READ
        "Others can look into the state directory" "Names of conversations and channels are nobody else's business.";
    "fs.state_dir.owner" Critical State OWNER
        "The state directory is somebody else's" "Its owner can read and replace everything in it.";
    "fs.config.symlink" Warn Config SYMLINK
        "The configuration file is a symbolic link" "Whoever owns the place where it leads decides the rules.";
    "fs.config.perms_writable" Critical Config WRITE
        "Others can write to the configuration file" "Whoever writes it decides who is the owner.";
    "fs.config.perms_world_readable" Critical Config WORLD_READ
        "Everybody can read the configuration file" "It can hold tokens and passwords, and says whom the assistant obeys.";
    "fs.config.perms_group_readable" Warn Config GROUP_READ
        "A group can read the configuration file" "It can hold tokens and passwords, and says whom the assistant obeys.";
    "fs.config.owner" Critical Config OWNER
        "The configuration file is somebody else's" "Its owner decides who is the owner of the assistant.";
    "fs.config_backup.symlink" Warn Backup SYMLINK
        "An old copy of the configuration is a symbolic link" "Whoever owns the place where it leads decides what you go back to.";
    "fs.config_backup.perms_writable" Critical Backup WRITE
        "Others can write to an old copy of the configuration" "Whoever writes it decides what you go back to.";
    "fs.config_backup.perms_readable" Critical Backup READ
        "Others can read an old copy of the configuration" "It can hold tokens and passwords that are still good, and those that you took out of the file.";
    "fs.config_backup.owner" Critical Backup OWNER
        "An old copy of the configuration is somebody else's" "Its owner reads it and decides what you go back to.";
    "fs.environment.symlink" Warn Environment SYMLINK
        "The file of start variables is a symbolic link" "Whoever owns the place where it leads decides which keys are used.";
    "fs.environment.perms_writable" Critical Environment WRITE
        "Others can write to the file of start variables" "Whoever writes it chooses the keys and the gateway's password.";
    "fs.environment.perms_readable" Critical Environment READ
        "Others can read the file of start variables" "It holds keys, tokens and passwords in clear text.";
    "fs.environment.owner" Critical Environment OWNER
        "The file of start variables is somebody else's" "Its owner reads and chooses the keys.";
    "fs.credentials_dir.symlink" Warn Credentials SYMLINK
        "A folder of credentials is a symbolic link" "Whoever owns the place of the link decides where credentials are kept.";
    "fs.credentials_dir.perms_writable" Critical Credentials WRITE
        "Others can write to a folder of credentials" "A credential that was exchanged sends your messages to somebody else's account.";
    "fs.credentials_dir.perms_readable" Warn Credentials READ
        "Others can look into a folder of credentials" "Even their names tell which services you use.";
    "fs.credentials_dir.owner" Critical Credentials OWNER
        "A folder of credentials is somebody else's" "Its owner can read and exchange what lies in it.";
    "fs.auth_profiles.symlink" Warn Secret SYMLINK
        "A credential is a symbolic link" "Whoever owns the place where it leads decides which credential is used.";
    "fs.auth_profiles.perms_writable" Critical Secret WRITE
        "Others can write to a credential" "A credential that was exchanged sends your messages to somebody else's account.";
    "fs.auth_profiles.perms_readable" Warn Secret READ
        "Others can read a credential" "Whoever has it spends your money, and a copy of the vault can be attacked at leisure.";
    "fs.auth_profiles.owner" Critical Secret OWNER
        "A credential is somebody else's file" "Its owner can read and exchange it.";
    "fs.sessions_store.symlink" Warn Sessions SYMLINK
        "Conversations lie behind a symbolic link" "Whoever owns the place of the link decides where they are kept.";
    "fs.sessions_store.perms_writable" Critical Sessions WRITE
        "Others can write to conversations" "The assistant takes what it reads there for what was said.";
    "fs.sessions_store.perms_readable" Warn Sessions READ
        "Others can read conversations" "Everything that you told the assistant is in them.";
    "fs.log_file.symlink" Warn Log SYMLINK
        "The log is a symbolic link" "Whoever owns the place where it leads gets what is written.";
    "fs.log_file.perms_writable" Warn Log WRITE
        "Others can write to the log" "Whoever writes there can hide what happened.";
    "fs.log_file.perms_readable" Warn Log READ
        "Others can read the log" "It tells who writes to you and when.";
    "fs.private_dir.symlink" Warn Private SYMLINK
        "A folder or file of one process is a symbolic link" "Whoever owns the place of the link decides what the process finds.";
    "fs.private_dir.perms_writable" Critical Private WRITE
        "Others can write to what one process keeps" "Approvals, the audit log and waiting messages lie there.";
    "fs.private_dir.perms_readable" Warn Private READ
        "Others can look into what one process keeps" "It tells who may write to you and what is waiting.";
    "fs.private_dir.owner" Critical Private OWNER
        "What one process keeps is somebody else's" "Its owner can let himself in.";
    "fs.parents.perms_writable" Critical Parent WORLD_WRITE
        "Everybody can replace a folder above" "Whoever can rename that folder can put his own files in place of yours.";
    "fs.parents.perms_group_writable" Warn Parent GROUP_WRITE
        "A group can replace a folder above" "Every member of the group can put his own files in place of yours.";
    "fs.parents.owner" Critical Parent OWNER
        "A folder above is somebody else's" "Its owner can put his own files in place of yours.";
    }
    Check {
        id: "fs.synced_dir",
        severity: Warn,
        title: "The state directory is copied to somebody else's computer",
        why: "Conversations and credentials leave this machine, and two machines that write the same files damage them.",
        help: "keep it outside of folders that are synchronised",
        command: "mv PATH ~/.clawdbot",
        fixes: false,
        look: synced,
    },
    Check {
        id: "fs.unseen",
        severity: Info,
        title: "This user cannot look into a folder",
        why: "What lies there was not checked.",
        help: "run it as the user who runs the assistant, or as root",
        command: "sudo -u \"$(stat -c %U PATH)\" clawdbot doctor",
        fixes: false,
        look: |facts, hits| {
            let (told, closed): (Vec<_>, Vec<_>) = facts
                .unseen
                .iter()
                .partition(|path| **path == facts.place.config && facts.config_told.is_some());
            for path in told {
                let detail = "cannot be read: policy told what its rules find, and no more was looked at";
                hits.add(Hit::file(path, detail));
            }
            // One line for all of them: to another user most folders are closed.
            if let Some((first, others)) = closed.split_first() {
                let others: Vec<String> = others.iter().map(|path| path.display().to_string()).collect();
                let detail = match others.is_empty() {
                    true => "cannot be looked into".to_owned(),
                    false => format!("cannot be looked into, as {} more: {}", others.len(), others.join(", ")),
                };
                hits.add(Hit::file(first, detail));
            }
        },
    },
    Check {
        id: "fs.unchecked",
        severity: Info,
        title: "More files than are looked at",
        why: "Whose these are and who reads them was not checked.",
        help: "move away what is old, and look again",
        command: "ls -lA PATH",
        fixes: false,
        look: |facts, hits| {
            for (path, more) in &facts.unchecked {
                hits.add(Hit::file(path, format!("holds {more} more, which were not looked at")));
            }
        },
    },
};

/// Where the system's own configuration lies; its group may read it, since the process that does is not root.
pub const SYSTEM: &str = "/etc/clawdbot";
const SYSTEM_STATE: &str = "/var/lib/clawdbot";

/// The bits that nobody else should have.
fn forbidden(file: &FileFact) -> u32 {
    match file.what {
        What::Config | What::Secret if file.uid == 0 && file.base.starts_with(SYSTEM) => 0o037,
        // The broker's group reads what names of secrets mean there.
        What::Credentials if file.uid == 0 && file.base.starts_with(SYSTEM) => 0o027,
        // Processes of other users pass through it to their own folders.
        What::State if file.uid == 0 => 0o066,
        What::Parent => 0o022,
        _ => 0o077,
    }
}

fn look(facts: &Facts, hits: &mut Hits, what: What, aspect: Aspect, usual: Severity) {
    let state = facts.files.iter().find(|file| file.what == What::State);
    let state = state.filter(|state| state.kind != Kind::Link);
    // In system mode each folder is the user's of the process that writes it.
    let users = state.is_some_and(|state| state.uid == 0 && state.base == Path::new(SYSTEM_STATE));
    let trusted = |file: &FileFact| {
        let same = file.what != What::State && state.is_some_and(|state| state.uid == file.uid);
        // Root looks after everybody; whose the state directory is, is then not for root to doubt.
        let any = facts.me == 0 && file.what == What::State;
        file.uid == 0 || file.uid == facts.me || same || any || users && file.what != What::Parent
    };
    for file in facts.files.iter().filter(|file| file.what == what) {
        let (link, path) = (file.kind == Kind::Link, file.path());
        match aspect {
            Aspect::Symlink if link => {
                hits.add(Hit::file(
                    path,
                    "is a symbolic link; where it leads was not looked at",
                ));
            }
            Aspect::Owner if !link && !trusted(file) => hits.add(Hit {
                command: Some(format!(
                    "sudo chown {} {}",
                    facts.me,
                    word(&path.display().to_string())
                )),
                ..Hit::file(
                    path,
                    format!("belongs to the user with the number {}", file.uid),
                )
            }),
            Aspect::Bits(bits) if !link => {
                let (forbid, sticky) = (forbidden(file), file.mode & 0o1000 != 0);
                let open = file.mode & bits & forbid;
                // In a folder with the sticky bit only the owner of an entry can rename it.
                if open != 0 && !(what == What::Parent && sticky) {
                    let mut hit = too_open(file, forbid);
                    if let Some(wall) = wall(facts, file, open) {
                        hit.severity = Some(if usual == Critical { Warn } else { Info });
                        let _ = write!(
                            hit.detail,
                            "; only that {} is closed keeps others out",
                            wall.display()
                        );
                    }
                    hits.add(hit);
                }
            }
            Aspect::Symlink | Aspect::Owner | Aspect::Bits(_) => {}
        }
    }
}

/// A folder on the way to the file that nobody passes whom these bits of the file would let in.
fn wall(facts: &Facts, file: &FileFact, open: u32) -> Option<PathBuf> {
    // Whoever may replace an entry of a folder above need not pass the entry itself.
    if file.what == What::Parent {
        return None;
    }
    let pass = if open & 0o007 != 0 { 0o001 } else { 0o011 };
    let path = file.path();
    let mut folders = facts
        .files
        .iter()
        .filter(|folder| folder.kind == Kind::Folder);
    folders
        .find(|folder| {
            folder.mode & pass == 0 && path != folder.path() && path.starts_with(folder.path())
        })
        .map(FileFact::path)
}

fn too_open(file: &FileFact, forbid: u32) -> Hit {
    let path = file.path();
    let wanted = file.mode & !forbid;
    let detail = format!("has the mode {:04o}; {wanted:04o} is enough", file.mode);
    let command = format!("chmod {wanted:04o} {}", word(&path.display().to_string()));
    // What lies above is not the assistant's.
    let ours = file.what != What::Parent && matches!(file.kind, Kind::File | Kind::Folder);
    let repair = ours.then(|| Repair::Chmod {
        base: file.base.clone(),
        below: file.below.clone(),
        forbid,
    });
    Hit {
        command: Some(command),
        repair,
        ..Hit::file(path, detail)
    }
}

/// Parts of paths by which folders that are copied elsewhere are known, and by whom.
const SYNCED: &[(&str, &str)] = &[
    ("mobile documents", "iCloud"),
    ("icloud", "iCloud"),
    ("dropbox", "Dropbox"),
    ("google drive", "Google Drive"),
    ("googledrive", "Google Drive"),
    ("onedrive", "OneDrive"),
    ("nextcloud", "Nextcloud"),
    ("owncloud", "ownCloud"),
    ("syncthing", "Syncthing"),
];

fn synced(facts: &Facts, hits: &mut Hits) {
    for path in [&facts.place.state, &facts.place.config] {
        let by = path.iter().find_map(|part| {
            let part = part.to_string_lossy().to_lowercase();
            SYNCED.iter().find(|(name, _)| part.contains(name))
        });
        if let Some((_, by)) = by {
            hits.add(Hit::file(path, format!("lies in a folder of {by}")));
            // The file is in the directory in most cases.
            return;
        }
    }
}
