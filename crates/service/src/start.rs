//! A process before its confinement. What it may touch later is in its profile and nowhere else: its
//! own directories are made here, and a place that the profile does not name cannot be asked for.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use clawdbot_confine::landlock::FileRule;
use clawdbot_confine::profile::{Mode, Place, Profile};
use clawdbot_identity::Role;
use clawdbot_proto::v1::Setup;

use tracing::warn;

use crate::inherit::{Inherited, Way};
use crate::places::Places;
use crate::{StartError, folders};

/// What `prepare` works with: settings, descriptors and the profile's places.
pub struct Start {
    pub(crate) inherited: Inherited,
    pub(crate) profile: &'static Profile,
    pub(crate) mode: Mode,
    places: Places,
}

impl Start {
    pub(crate) fn new(mut inherited: Inherited, profile: &'static Profile) -> Self {
        for warning in inherited.warnings.drain(..) {
            warn!("{warning}");
        }
        let mode = match inherited.way {
            Way::Control { .. } => Mode::Single,
            Way::Sockets { .. } => Mode::System,
        };
        Self {
            places: Places::of(&inherited),
            inherited,
            profile,
            mode,
        }
    }

    /// Who this process is on its edges.
    #[must_use]
    pub fn role(&self) -> &Role {
        &self.inherited.role
    }

    /// A service manager started this process and gives it what it needs; otherwise the supervisor does.
    #[must_use]
    pub fn has_manager(&self) -> bool {
        self.mode == Mode::System
    }

    /// State directory, configuration path and the other settings.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.inherited.setup
    }

    /// A descriptor that was handed over under a name, once.
    pub fn take_file(&mut self, name: &str) -> Option<OwnedFd> {
        self.inherited.brought.files.remove(name)
    }

    /// The process's own directory `STATE/leaf`, which the start has made and checked. `leaf` may have
    /// several parts.
    ///
    /// # Errors
    /// When the profile does not name it.
    pub fn state(&self, leaf: &str) -> Result<PathBuf, StartError> {
        let named = self.own_leaves().any(|own| own == leaf);
        if named {
            return Ok(self.places.state.join(leaf));
        }
        let profile = self.profile.name;
        Err(StartError::config(format!(
            "the profile {profile} does not name STATE/{leaf}; add it to crates/confine/profiles/{profile}.toml"
        )))
    }

    /// A place of the profile's file rows, where this start has it.
    #[must_use]
    pub fn place(&self, place: Place) -> Option<PathBuf> {
        self.places(place).into_iter().next()
    }

    /// The same for one that is several paths.
    #[must_use]
    pub fn places(&self, place: Place) -> Vec<PathBuf> {
        let mut rows = self.profile.files(self.mode);
        let named = rows.any(|row| row.place == place);
        match named {
            true => self.places.paths(place),
            false => Vec::new(),
        }
    }

    /// The folders that whoever started the process names as the workspaces of its class, or the default.
    #[must_use]
    pub fn workspaces(&self) -> &[PathBuf] {
        &self.places.workspaces
    }

    /// Leaves workspaces out of what may be read.
    pub fn keep_workspaces(&mut self, keep: impl FnMut(&PathBuf) -> bool) {
        self.places.workspaces.retain(keep);
    }

    fn own_leaves(&self) -> impl Iterator<Item = String> {
        let rows = self.profile.files(self.mode);
        rows.filter_map(|row| match row.place {
            Place::State(leaf) => Some(self.places.leaf(leaf)),
            _ => None,
        })
    }

    /// Makes the directories in STATE that the profile names, if they are missing, and checks them.
    pub(crate) fn make_directories(&self) -> Result<(), StartError> {
        let make = match self.mode {
            Mode::Single => folders::single,
            Mode::System => folders::shared,
        };
        self.own_leaves()
            .try_for_each(|leaf| make(&self.places.state, &leaf))
    }

    /// The profile's rows as rules for this process.
    pub(crate) fn rules(&self) -> Result<Vec<FileRule>, StartError> {
        let mut rules = Vec::new();
        for row in self.profile.files(self.mode) {
            let paths = self.places.paths(row.place);
            if paths.is_empty() && !row.optional {
                return Err(StartError::config(format!(
                    "{}: {}: there is no such place in this start",
                    row.source, row.place
                )));
            }
            rules.extend(paths.into_iter().map(|path| FileRule::of_row(row, path)));
        }
        Ok(rules)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Notifier;
    use crate::callers::Callers;
    use crate::notify::Target;

    fn start(role: &str, state: &Path) -> Start {
        let inherited = Inherited {
            role: Role::parse(role).unwrap(),
            setup: Setup {
                state_dir: state.to_str().unwrap().to_owned(),
                config_path: state.join("clawdbot.json").to_str().unwrap().to_owned(),
                home_dir: "/home/somebody".into(),
                ..Setup::default()
            },
            notifier: Notifier::new(Target::Nobody),
            way: Way::Sockets {
                runtime: "/run/nowhere".into(),
                callers: Callers::this_user(false),
            },
            orphaned: std::sync::Arc::default(),
            brought: crate::inherit::Brought::default(),
            warnings: Vec::new(),
        };
        Start::new(inherited, clawdbot_confine::profile(role).unwrap())
    }

    #[test]
    fn directories_of_the_profile_are_made_and_no_others_can_be_had() {
        let scratch = tempfile::tempdir().unwrap();
        let start = start("agent-guest", scratch.path());
        start.make_directories().unwrap();
        let path = start.state("sessions/guest").unwrap();
        assert_eq!(path, scratch.path().join("sessions/guest"));
        assert!(path.is_dir());
        for foreign in ["sessions/main", "sessions", "credentials", "", ".."] {
            let error = start.state(foreign).unwrap_err();
            assert_eq!(error.code(), 78);
            let said = error.to_string();
            assert!(
                said.contains("crates/confine/profiles/agent.toml"),
                "{said}"
            );
        }
    }

    #[test]
    fn the_rules_are_those_of_the_profile() {
        let scratch = tempfile::tempdir().unwrap();
        let shown = |start: &Start| {
            let rules = start.rules().unwrap();
            rules
                .iter()
                .map(|rule| format!("{rule:?}"))
                .collect::<Vec<_>>()
        };
        let mut agent = start("agent-main", scratch.path());
        let rules = shown(&agent);
        let has = |rules: &[String], path: &str, access: &str| {
            let found = |rule: &&String| rule.contains(path) && rule.contains(access);
            rules.iter().filter(found).count() == 1
        };
        assert!(has(&rules, "sessions/main\"", "ReadWriteDir"), "{rules:?}");
        assert!(
            has(&rules, "\"/home/somebody/clawd\"", "ReadDir,"),
            "{rules:?}"
        );
        assert!(has(&rules, "\"/run/nowhere\"", "Connect"), "{rules:?}");
        assert_eq!(rules.len(), 3);
        agent.keep_workspaces(|_| false);
        assert_eq!(shown(&agent).len(), 2);
        // Nobody handed a descriptor of the run directory over.
        let policy = shown(&start("policy", scratch.path()));
        assert!(!policy.iter().any(|rule| rule.contains("RemoveFiles")));
        let config = format!("{:?}", scratch.path());
        assert!(has(&policy, &config, "Read,"), "{policy:?}");
    }
}
