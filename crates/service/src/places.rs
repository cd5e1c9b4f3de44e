//! What the words of a profile's places mean in this process.

use std::path::{Path, PathBuf};

use clawdbot_confine::profile::Place;
use clawdbot_identity::{DEFAULT_WORKSPACE, workspace};

use crate::inherit::{Inherited, Way};
use crate::system::plan_folder;

/// The folders that only a start knows.
pub(crate) struct Places {
    pub(crate) state: PathBuf,
    pub(crate) workspaces: Vec<PathBuf>,
    config: PathBuf,
    /// What follows the family in the role.
    instance: String,
    /// A descriptor of the run directory came in.
    run: bool,
    edges: Option<PathBuf>,
    credentials: Option<PathBuf>,
}

impl Places {
    pub(crate) fn of(inherited: &Inherited) -> Self {
        let (role, setup) = (&inherited.role, &inherited.setup);
        let mut workspaces: Vec<_> = setup.workspaces.iter().map(PathBuf::from).collect();
        if let (Some(class), true) = (role.class(), workspaces.is_empty()) {
            workspaces.push(workspace(DEFAULT_WORKSPACE, &setup.home_dir, class).into());
        }
        let instance = role.as_str().strip_prefix(role.family());
        Self {
            state: PathBuf::from(&setup.state_dir),
            workspaces,
            config: PathBuf::from(&setup.config_path),
            instance: instance
                .unwrap_or_default()
                .trim_start_matches('-')
                .to_owned(),
            run: inherited.brought.files.contains_key("run"),
            credentials: inherited.brought.credentials.clone(),
            edges: match &inherited.way {
                Way::Control { .. } => None,
                Way::Sockets { runtime, .. } => Some(runtime.clone()),
            },
        }
    }

    /// The path of a folder in STATE.
    pub(crate) fn leaf(&self, leaf: &str) -> String {
        leaf.replace("INSTANCE", &self.instance)
    }

    /// The paths of a place; none where this start has no such place.
    pub(crate) fn paths(&self, place: Place) -> Vec<PathBuf> {
        match place {
            Place::State(leaf) => vec![self.state.join(self.leaf(leaf))],
            Place::Config => config_folders(&self.config),
            Place::Workspace => self.workspaces.clone(),
            Place::Run if self.run => vec![self.state.join("run")],
            Place::Run => Vec::new(),
            Place::Edges => self.edges.iter().cloned().collect(),
            Place::Plan => { self.edges.iter() }
                .flat_map(|edges| [edges, &self.state])
                .map(|place| plan_folder(place))
                .collect(),
            Place::Secrets => { self.config.parent().into_iter() }
                .map(|folder| folder.join("secrets"))
                .collect(),
            Place::Credentials => self.credentials.iter().cloned().collect(),
            Place::Path(path) => vec![PathBuf::from(path)],
        }
    }
}

/// The folder of the configuration file, and that of what a symbolic link leads to, as far as they are
/// there.
#[must_use]
pub fn config_folders(config: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| path.parent().map(Path::to_owned);
    let mut folders: Vec<_> = parent(config).into_iter().collect();
    if let Some(real) = config.canonicalize().ok().as_deref().and_then(parent)
        && !folders
            .iter()
            .any(|folder| folder.canonicalize().is_ok_and(|known| known == real))
    {
        folders.push(real);
    }
    folders.retain(|folder| folder.is_dir());
    folders
}
