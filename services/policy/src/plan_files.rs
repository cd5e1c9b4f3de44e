//! System mode: the folder in which the service manager sees what the plan names. An empty file starts a channel's worker,
//! and `settings` says what every process has to know before it can ask. Nobody else writes there; what is not ours is left
//! alone. A write that fails is a problem for the operator and changes no decision. The first folder is in memory;
//! the second, which has the settings alone, outlives the machine's end: what was required then is required until a word of
//! policy says otherwise.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clawdbot_service::system::{Settings as Levels, settings_text};
use tracing::{info, warn};

use crate::policy::lock;
use crate::settings::Settings;

const SETTINGS: &str = "settings";
/// What becomes [`SETTINGS`] when it is whole.
const FRESH: &str = "settings.new";
/// How the name of a flag begins.
const FLAG: &str = "channel-";
/// What the folder should hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wanted {
    /// None: whatever is there already.
    settings: Option<String>,
    flags: BTreeSet<String>,
}

/// What it holds.
#[derive(Debug, Default)]
struct Found {
    settings: Option<String>,
    names: BTreeSet<String>,
}

/// What brings one to the other.
#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    Remove(&'a str),
    Settings(&'a str),
    Flag(&'a str),
}

impl Step<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Remove(name) | Self::Flag(name) => name,
            Self::Settings(_) => SETTINGS,
        }
    }
}

/// Removals come first: nothing is started by a flag that is not wanted any more.
fn steps<'a>(wanted: &'a Wanted, found: &'a Found) -> Vec<Step<'a>> {
    let names = || found.names.iter().map(String::as_str);
    let over = names()
        .filter(|name| *name == FRESH || (name.starts_with(FLAG) && !wanted.flags.contains(*name)));
    let settings = wanted.settings.as_deref();
    let settings = settings.filter(|text| found.settings.as_deref() != Some(text));
    let missing = wanted.flags.iter().map(String::as_str);
    let missing = missing.filter(|name| !found.names.contains(*name));
    over.map(Step::Remove)
        .chain(settings.map(Step::Settings))
        .chain(missing.map(Step::Flag))
        .collect()
}

/// What somebody else put there.
fn foreign(found: &Found) -> impl Iterator<Item = &String> {
    let ours = |name: &str| name.starts_with(FLAG) || matches!(name, SETTINGS | FRESH);
    found.names.iter().filter(move |name| !ours(name))
}

/// The folders, and what they should hold.
#[derive(Default)]
pub(crate) struct PlanFiles {
    /// None in single-user mode, where the supervisor gets the plan itself. Only the first one has flags.
    folders: Vec<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// None until a file was judged: what an earlier start wrote counts until then.
    wanted: Option<Wanted>,
    trouble: Option<(u64, String)>,
    /// What was said to be somebody else's.
    told: BTreeSet<PathBuf>,
}

impl PlanFiles {
    pub(crate) fn new(folders: Vec<PathBuf>) -> Self {
        Self {
            folders,
            ..Self::default()
        }
    }

    /// A configuration comes into force: what it does not run any more is not started from here on. None: there is none, so
    /// nothing runs.
    pub(crate) fn withdraw(&self, next: Option<&Settings>, now_ms: u64) {
        let mut state = lock(&self.state);
        let flags = next.map(flags).unwrap_or_default();
        state.wanted.get_or_insert_default().flags = flags;
        self.bring(&mut state, false, now_ms);
    }

    /// It is in force: what it runs is started.
    pub(crate) fn publish(&self, settings: &Settings, now_ms: u64) {
        let mut state = lock(&self.state);
        let levels = Levels {
            log_level: settings.log_level.to_owned(),
            require_full: settings.sandbox_require == "full",
        };
        state.wanted = Some(Wanted {
            settings: Some(levels.to_string()),
            flags: flags(settings),
        });
        self.bring(&mut state, true, now_ms);
    }

    /// Mends what failed, and what somebody else changed.
    pub(crate) fn again(&self, now_ms: u64) {
        self.bring(&mut lock(&self.state), true, now_ms);
    }

    /// Since when the folder is not as it should be, and why.
    pub(crate) fn trouble(&self) -> Option<(u64, String)> {
        lock(&self.state).trouble.clone()
    }

    fn bring(&self, state: &mut State, make: bool, now_ms: u64) {
        let Some(wanted) = &state.wanted else {
            return;
        };
        let without_flags = Wanted {
            settings: wanted.settings.clone(),
            ..Wanted::default()
        };
        let mut failed = None;
        for (at, folder) in self.folders.iter().enumerate() {
            let wanted = if at == 0 { wanted } else { &without_flags };
            // Each is tried, whatever became of the others.
            failed = failed.or(bring_one(folder, wanted, make, &mut state.told));
        }
        state.trouble = match (failed, state.trouble.take()) {
            (None, None) => None,
            (None, Some(_)) => {
                info!("the plan's folder is as it should be again");
                None
            }
            (Some((path, error)), before) => {
                let why = format!("{}: {error}", path.display());
                if before.is_none() {
                    warn!(
                        error = why,
                        "ALARM: the service manager cannot be told what is to run"
                    );
                }
                Some((before.map_or(now_ms, |(since, _)| since), why))
            }
        };
    }
}

/// Does what leads to what is wanted in one folder; what failed first, and where.
fn bring_one(
    folder: &Path,
    wanted: &Wanted,
    make: bool,
    told: &mut BTreeSet<PathBuf>,
) -> Option<(PathBuf, io::Error)> {
    let found = match look(folder) {
        Ok(found) => found,
        Err(error) => return Some((folder.to_owned(), error)),
    };
    for name in foreign(&found) {
        if told.insert(folder.join(name)) {
            warn!(name, folder = %folder.display(), "left alone: a file that is not policy's");
        }
    }
    let mut failed = None;
    for step in steps(wanted, &found) {
        if make || matches!(step, Step::Remove(_)) {
            let error = take(folder, &step).err();
            failed = failed.or(error.map(|error| (folder.join(step.name()), error)));
        }
    }
    failed
}

/// The channels that run.
fn flags(settings: &Settings) -> BTreeSet<String> {
    let served = settings.served();
    served
        .map(|channel| format!("{FLAG}{}", channel.name))
        .collect()
}

fn look(folder: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        found.names.insert(name);
    }
    // What cannot be read as settings is written anew.
    found.settings = settings_text(&folder.join(SETTINGS)).ok();
    Ok(found)
}

/// Whoever starts reads what is whole: a text is written beside, and takes the old one's place when it is on the disk.
fn take(folder: &Path, step: &Step<'_>) -> io::Result<()> {
    let make = |name: &str, text: &str| -> io::Result<File> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(folder.join(name))?;
        file.write_all(text.as_bytes())?;
        Ok(file)
    };
    match step {
        Step::Remove(name) => gone(fs::remove_file(folder.join(name))),
        Step::Flag(name) => make(name, "").map(drop),
        Step::Settings(text) => {
            gone(fs::remove_file(folder.join(FRESH)))?;
            make(FRESH, text)?.sync_all()?;
            fs::rename(folder.join(FRESH), folder.join(SETTINGS))?;
            File::open(folder)?.sync_all()
        }
    }
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
