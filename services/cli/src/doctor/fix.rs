//! `--fix`: first a plan, which changes nothing, then, when it was agreed to, the changes. They write single values into the
//! configuration, with all of its comments and a backup, and take rights on files away. Nothing is ever deleted or opened
//! up, no symbolic link is followed, and a second run has nothing left to do.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use clawdbot_config::edit;
use clawdbot_identity::text::sanitize_line;
use rustix::fs::{Mode, OFlags, fchmod, open, openat};
use serde_json::{Value, json};

use super::check::{Found, Repair};
use crate::out::Style;

/// What would be done.
#[derive(Default)]
pub struct Plan {
    before: String,
    after: String,
    modes: Vec<Chmod>,
    outcome: Outcome,
}

struct Chmod {
    id: String,
    base: PathBuf,
    below: PathBuf,
    forbid: u32,
}

/// What was done, or would be.
#[derive(Default)]
pub struct Outcome {
    pub applied: bool,
    /// A person has seen what changes already.
    pub shown: bool,
    pub changes: Vec<Change>,
    /// Of the configuration file.
    pub diff: String,
    pub backup: Option<PathBuf>,
    /// Id and reason.
    pub failed: Vec<(String, String)>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub id: String,
    /// A setting or a file.
    pub target: String,
    pub from: String,
    pub to: String,
}

/// What ends the findings, or only those of one id; `text` is the configuration file as it stands.
pub fn plan(findings: &[Found], only: Option<&str>, config: &Path, text: &str) -> Plan {
    let name = config.to_string_lossy();
    let mut plan = Plan {
        before: text.to_owned(),
        after: text.to_owned(),
        ..Plan::default()
    };
    for found in findings
        .iter()
        .filter(|found| only.is_none_or(|only| only == found.id))
    {
        match &found.repair {
            None => {}
            Some(Repair::Set { path, value }) => match edit::set(&name, &plan.after, path, value) {
                Ok(after) if after == plan.after => {}
                Ok(after) => {
                    plan.after = after;
                    plan.change(found, path.to_string(), String::new(), (*value).to_owned());
                }
                Err(error) => plan
                    .outcome
                    .failed
                    .push((found.id.clone(), error.to_string())),
            },
            Some(Repair::Chmod {
                base,
                below,
                forbid,
            }) => plan.chmod(found, base, below, *forbid),
        }
    }
    plan.outcome.diff = edit::diff(&name, &plan.before, &plan.after);
    plan
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.outcome.changes.is_empty()
    }

    /// What is shown before the question, and then not again.
    pub fn show(&mut self, style: Style) -> String {
        self.outcome.shown = true;
        self.outcome.lines(style)
    }

    /// The plan as what it would do.
    pub fn dry(self) -> Outcome {
        self.outcome
    }

    fn change(&mut self, found: &Found, target: String, from: String, to: String) {
        self.outcome.changes.push(Change {
            id: found.id.clone(),
            target,
            from,
            to,
        });
    }

    /// One change of a file's mode, however many findings want it.
    fn chmod(&mut self, found: &Found, base: &Path, below: &Path, forbid: u32) {
        if self
            .modes
            .iter()
            .any(|mode| mode.base == base && mode.below == below)
        {
            return;
        }
        let target = shown(base, below);
        match opened(base, below).and_then(|file| modes(&file, forbid)) {
            Ok((from, to)) if from == to => {}
            Ok((from, to)) => {
                self.change(found, target, format!("{from:04o}"), format!("{to:04o}"));
                self.modes.push(Chmod {
                    id: found.id.clone(),
                    base: base.to_owned(),
                    below: below.to_owned(),
                    forbid,
                });
            }
            Err(error) => {
                let reason = format!("{target}: {error}");
                self.outcome.failed.push((found.id.clone(), reason));
            }
        }
    }

    /// Does it.
    pub fn apply(self, config: &Path) -> Outcome {
        let Self {
            before,
            after,
            modes,
            mut outcome,
        } = self;
        outcome.applied = true;
        // Modes first: the new file has that of the old one.
        for mode in modes {
            if let Err(error) = mode.apply() {
                let target = shown(&mode.base, &mode.below);
                outcome.changes.retain(|change| change.target != target);
                outcome.failed.push((mode.id, format!("{target}: {error}")));
            }
        }
        if before != after {
            match edit::save(config, &before, &after) {
                Ok(backup) => outcome.backup = backup,
                Err(error) => {
                    outcome.changes.retain(|change| !change.from.is_empty());
                    outcome.diff.clear();
                    let reason = format!("{error}; {}", error.help);
                    outcome.failed.push(("config".to_owned(), reason));
                }
            }
        }
        outcome
    }
}

impl Chmod {
    fn apply(&self) -> io::Result<()> {
        let file = opened(&self.base, &self.below)?;
        let (from, to) = modes(&file, self.forbid)?;
        match from == to {
            true => Ok(()),
            false => Ok(fchmod(&file, Mode::from_raw_mode(to as _))?),
        }
    }
}

/// The path as it is shown, without a slash at its end.
fn shown(base: &Path, below: &Path) -> String {
    let path: PathBuf = base.join(below).components().collect();
    path.display().to_string()
}

/// The file itself, by a way on which nothing below `base`, and not its last part either, is a symbolic link.
fn opened(base: &Path, below: &Path) -> io::Result<File> {
    const FLAGS: OFlags = OFlags::RDONLY
        .union(OFlags::NOFOLLOW)
        .union(OFlags::NONBLOCK)
        .union(OFlags::CLOEXEC);
    let mut file: OwnedFd = open(base, FLAGS, Mode::empty())?;
    for part in below.components() {
        let Component::Normal(name) = part else {
            return Err(io::Error::other("not a plain path"));
        };
        file = openat(&file, name, FLAGS, Mode::empty())?;
    }
    Ok(file.into())
}

/// The mode as it is, and as it should be. A file with a second name is somebody else's affair too.
fn modes(file: &File, forbid: u32) -> io::Result<(u32, u32)> {
    let found = file.metadata()?;
    match () {
        () if found.is_dir() || found.is_file() && found.nlink() == 1 => {
            let mode = found.mode() & 0o7777;
            Ok((mode, mode & !forbid))
        }
        () if found.is_file() => Err(io::Error::other("has a second name (a hard link)")),
        () => Err(io::Error::other("is neither a file nor a folder")),
    }
}

impl Outcome {
    pub fn json(&self) -> Value {
        let changes = self.changes.iter();
        let changes: Vec<Value> = changes
            .map(|change| json!({ "id": change.id, "target": change.target, "from": change.from, "to": change.to }))
            .collect();
        let failed = self.failed.iter();
        let failed: Vec<Value> = failed
            .map(|(id, reason)| json!({ "id": id, "reason": reason }))
            .collect();
        json!({
            "applied": self.applied,
            "changes": changes,
            "diff": self.diff,
            "backup": self.backup.as_ref().map(|path| path.display().to_string()),
            "failed": failed,
        })
    }

    /// What changes, and what cannot.
    fn lines(&self, style: Style) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        if !self.diff.is_empty() {
            let _ = writeln!(
                text,
                "{}",
                clawdbot_identity::text::sanitize_block(self.diff.trim_end())
            );
        }
        for change in self.changes.iter().filter(|change| !change.from.is_empty()) {
            let Change {
                target, from, to, ..
            } = change;
            let _ = writeln!(text, "mode {from} -> {to}  {}", sanitize_line(target));
        }
        text + &self.failures(style)
    }

    fn failures(&self, style: Style) -> String {
        let failed = self.failed.iter().map(|(id, reason)| {
            let reason = sanitize_line(reason);
            format!("{} {id}: {reason}\n", style.red("not fixed:"))
        });
        failed.collect()
    }

    /// What is shown before the findings.
    pub fn text(&self, style: Style) -> String {
        let all = self.failed.is_empty();
        let verdict = match (self.changes.is_empty(), self.applied) {
            (true, _) if all => "nothing to fix",
            (true, _) => "nothing was fixed",
            (false, true) if all => "fixed",
            (false, true) => "not all of it was fixed",
            (false, false) => "nothing was changed yet: add --yes to do it",
        };
        let backup = self.backup.as_ref().map_or_else(String::new, |backup| {
            let backup = sanitize_line(&backup.display().to_string()).into_owned();
            format!("; the file as it was: {backup}")
        });
        // What failed came after the question.
        let lines = match self.shown {
            true => self.failures(style),
            false => self.lines(style),
        };
        format!("{lines}{}\n\n", style.bold(&format!("{verdict}{backup}")))
    }
}
