//! The surroundings in which processes are taken over: a state directory with a canary in every folder,
//! workspaces, a neighbour of the same user, listeners.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use clawdbot_attempts::{Column, Place, Plan};
use clawdbot_scene::{Listener, Neighbour, Places, Set, edges, furnish};

use crate::binary;

/// What is there already: the product beside which processes are taken over.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// A folder of the user who attacks.
    pub folder: PathBuf,
    /// The product's state directory.
    pub state: PathBuf,
    /// A process of the product.
    pub sibling: u32,
    /// A place in its memory; where nobody knows one, any.
    pub sibling_address: u64,
    /// Where a container engine listens, if not in the folder.
    pub docker: Option<PathBuf>,
}

/// The scene; the neighbour goes when it is dropped.
pub struct Scene {
    set: Set,
    state: PathBuf,
    _neighbour: Neighbour,
    plans: AtomicU32,
}

/// Takes whoever connects, for as long as the test runs.
fn welcome(listener: Listener) {
    std::thread::spawn(move || while listener.welcome().is_ok() {});
}

/// A UNIX listener that takes everybody.
pub fn listen_at(path: &Path) {
    welcome(Listener::Unix(UnixListener::bind(path).unwrap()));
}

impl Scene {
    /// Sets it up.
    pub fn new(around: &Surroundings) -> Self {
        let Surroundings {
            folder: place,
            state,
            ..
        } = around;
        let leaf = |name: &str| place.join(name);
        let (mut set, listeners) = Set::build(place).unwrap();
        let edges = edges(&leaf("runtime")).unwrap();
        listeners.into_iter().chain(edges).for_each(welcome);
        for name in ["plans", "tool", "tool/own"] {
            fs::create_dir_all(leaf(name)).unwrap();
            fs::set_permissions(leaf(name), fs::Permissions::from_mode(0o700)).unwrap();
        }
        fs::copy(set.fact("script"), leaf("tool/script")).unwrap();
        fs::copy(binary("clawdbot-attempt"), leaf("tool/attempt")).unwrap();
        furnish(state, &set.canary()).unwrap();
        let _there = symlink(set.canary(), leaf("tool/own/link-to-canary"));
        let program = binary("clawdbot-attempt");
        let (neighbour, facts) = Neighbour::start(&program, &set.canary()).unwrap();
        for (name, value) in facts {
            set.tell(name, value);
        }
        if let Some(docker) = &around.docker {
            set.tell("docker", docker.display());
        }
        set.tell("sibling", around.sibling);
        set.tell("sibling-address", around.sibling_address);
        set.tell("parent", std::process::id());
        Self {
            set,
            state: state.clone(),
            _neighbour: neighbour,
            plans: AtomicU32::new(0),
        }
    }

    /// The file that is handed over open.
    pub fn canary(&self) -> PathBuf {
        self.set.canary()
    }

    /// The workspace of a tool call.
    pub fn tool(&self) -> PathBuf {
        self.folder().join("tool")
    }

    /// The home directory that processes are told of.
    pub fn home(&self) -> PathBuf {
        self.set.home()
    }

    /// One of the facts.
    pub fn fact(&self, name: &str) -> &str {
        self.set.fact(name)
    }

    /// The state directory of a process: the product's, but one for each user in system mode.
    pub fn state(&self, column: Option<&Column>) -> PathBuf {
        match column {
            Some(column) if column.place == Place::System => {
                self.folder().join("system").join(column.key)
            }
            _ => self.state.clone(),
        }
    }

    /// The configuration: in system mode it has a folder of its own.
    pub fn config(&self, column: Option<&Column>) -> PathBuf {
        let folder = match column {
            Some(column) if column.place == Place::System => {
                self.folder().join("etc").join(column.key)
            }
            _ => self.state(column),
        };
        folder.join("clawdbot.json")
    }

    /// The folder that everything lies in.
    pub fn folder(&self) -> &Path {
        self.set.folder()
    }

    /// Everything that attempts are aimed at, for one process.
    fn facts(&self, column: Option<&Column>) -> BTreeMap<String, String> {
        let (state, config) = (self.state(column), self.config(column));
        let operators = match column.map(|column| column.place) {
            Some(Place::System) => self.folder().join("operators"),
            _ => state.join("run"),
        };
        let tool = column.is_some_and(|column| column.place == Place::Tool);
        let own = match column {
            Some(_) if tool => self.tool().join("own"),
            Some(column) => Set::own(column, &state),
            None => self.folder().join("open"),
        };
        let places = Places {
            state: &state,
            config: &config,
            operators: &operators,
        };
        let mut facts = self.set.facts(&places, &own);
        if column.is_some_and(Set::may_disconnect) {
            facts.insert("connect".into(), "permitted".into());
        }
        let text = |path: &Path| path.to_string_lossy().into_owned();
        if tool {
            facts.insert("script".into(), text(&self.tool().join("script")));
            // It may have one, so that what can be done with one counts.
            facts.insert("pidfd".into(), "permitted".into());
        }
        facts
    }

    /// Writes a plan; `None` for a control.
    pub fn plan(
        &self,
        column: Option<&Column>,
        attempts: &[&str],
        change: impl FnOnce(&mut Plan),
    ) -> PathBuf {
        let mut plan = Plan::default();
        plan.world.facts = self.facts(column);
        // Where nothing is refused an attempt must not spoil what others are aimed at.
        plan.world.free = column.is_none_or(|column| column.place == Place::Supervisor);
        plan.attempts = attempts.iter().map(|name| (*name).to_owned()).collect();
        change(&mut plan);
        let number = self.plans.fetch_add(1, Ordering::Relaxed);
        let folder = match column {
            Some(column) if column.place == Place::Tool => self.tool(),
            _ => self.folder().join("plans"),
        };
        let path = folder.join(format!("plan-{number}"));
        fs::write(&path, plan.to_text()).unwrap();
        path
    }
}
