//! A check as a row: id, how bad a hit is, why it matters, what ends it, and the function that looks. Looking is pure: it
//! sees [`Facts`] that were gathered before, so that every row is tried in tests without a file or a clock.

use std::path::PathBuf;

use clawdbot_config::{ConfigPath, Severity};

use super::facts::Facts;
use super::{
    backups, environment, exposure, files, live, models, people, probe, running, summary, version,
};
use crate::place::word;

/// One row.
pub struct Check {
    pub id: &'static str,
    /// How bad a hit is, unless the hit itself says otherwise.
    pub severity: Severity,
    /// What it is about, in a few words.
    pub title: &'static str,
    /// Why it matters, in one sentence.
    pub why: &'static str,
    /// What to do, in words.
    pub help: &'static str,
    /// What does it; `PATH` stands for where it was found, `UNIT` for the unit.
    pub command: &'static str,
    /// Whether `--fix` ends it.
    pub fixes: bool,
    pub look: fn(&Facts, &mut Hits),
}

/// For rows that something else than the gathered facts raises.
pub fn elsewhere(_: &Facts, _: &mut Hits) {}

/// Every row but those of the configuration's own rules.
pub fn all() -> impl Iterator<Item = &'static Check> {
    [
        FILE,
        files::CHECKS,
        backups::CHECKS,
        environment::CHECKS,
        people::CHECKS,
        models::CHECKS,
        exposure::CHECKS,
        version::CHECKS,
        summary::CHECKS,
    ]
    .into_iter()
    .flatten()
    .chain(of_what_runs())
    .chain(probe::CHECKS)
}

/// Those of them that are about what runs: they see nothing before it was looked at.
pub fn of_what_runs() -> impl Iterator<Item = &'static Check> {
    std::iter::once(live::CHECKS)
        .chain(running::CHECKS.iter().copied())
        .flatten()
}

/// The configuration file as such.
const FILE: &[Check] = &[INVALID, UNSET];

/// A mistake in the file that no rule with an id of its own is about.
pub const INVALID: Check = Check {
    id: "config.invalid",
    severity: Severity::Critical,
    title: "the configuration is not valid",
    why: "Nothing works until the file loads.",
    help: "correct the file",
    command: "\"${EDITOR:-vi}\" \"$(clawdbot config path)\"",
    fixes: false,
    look: elsewhere,
};

/// A variable that the file names and nobody set.
pub const UNSET: Check = Check {
    id: "config.unset",
    severity: Severity::Critical,
    title: "the configuration names a variable that is not set",
    why: "The assistant refuses to start without the secret that the file promises.",
    help: "set it where `clawdbot up` is started, or take it out of the file",
    command: "clawdbot config unset PATH",
    fixes: false,
    look: elsewhere,
};

/// What a row saw.
#[derive(Default)]
pub struct Hits(pub Vec<Hit>);

impl Hits {
    pub fn add(&mut self, hit: Hit) {
        self.0.push(hit);
    }
}

/// One thing that a row saw.
#[derive(Default)]
pub struct Hit {
    /// In place of the row's `<channel>`.
    pub channel: Option<&'static str>,
    pub severity: Option<Severity>,
    /// The setting, or nothing.
    pub path: String,
    pub spot: Option<Spot>,
    /// In place of the row's `UNIT`: names as a shell takes them.
    pub unit: Option<String>,
    pub detail: String,
    /// In place of the row's.
    pub command: Option<String>,
    pub repair: Option<Repair>,
}

impl Hit {
    /// About a setting; its place in the file is looked up later.
    pub fn setting(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            detail: detail.into(),
            ..Self::default()
        }
    }

    /// About a file.
    pub fn file(path: impl Into<PathBuf>, detail: impl Into<String>) -> Self {
        Self {
            spot: Some(Spot {
                file: path.into(),
                at: None,
            }),
            detail: detail.into(),
            ..Self::default()
        }
    }
}

/// Where something was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    pub file: PathBuf,
    /// Line and column, from 1.
    pub at: Option<(usize, usize)>,
}

impl std::fmt::Display for Spot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.at {
            Some((line, column)) => write!(f, "{}:{line}:{column}", self.file.display()),
            None => write!(f, "{}", self.file.display()),
        }
    }
}

/// What `--fix` does about a finding. It writes a value or takes rights away; it never deletes and never gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// Writes this JSON5 value.
    Set {
        path: ConfigPath,
        value: &'static str,
    },
    /// Takes these bits from the mode of `below`, seen from `base`.
    Chmod {
        base: PathBuf,
        below: PathBuf,
        forbid: u32,
    },
}

/// One finding, whoever made it.
#[derive(Debug)]
pub struct Found {
    pub id: String,
    pub severity: Severity,
    /// The setting.
    pub path: String,
    pub spot: Option<Spot>,
    pub title: String,
    pub detail: String,
    pub why: String,
    pub help: String,
    pub command: String,
    pub repair: Option<Repair>,
    /// Several lines that are rendered already.
    pub excerpt: Option<String>,
}

impl Check {
    /// What the row says of a hit.
    pub fn found(&self, hit: Hit) -> Found {
        let about = match &hit.spot {
            Some(spot) => spot.file.display().to_string(),
            None => hit.path.clone(),
        };
        let unit = hit.unit.unwrap_or_else(|| "UNIT".to_owned());
        Found {
            id: match hit.channel {
                Some(channel) => self.id.replace("<channel>", channel),
                None => self.id.to_owned(),
            },
            severity: hit.severity.unwrap_or(self.severity),
            command: hit.command.unwrap_or_else(|| {
                let command = self.command.replace("UNIT", &unit);
                command.replace("PATH", &word(&about))
            }),
            path: hit.path,
            spot: hit.spot,
            title: self.title.to_owned(),
            detail: hit.detail,
            why: self.why.to_owned(),
            help: self.help.to_owned(),
            repair: hit.repair,
            excerpt: None,
        }
    }
}
