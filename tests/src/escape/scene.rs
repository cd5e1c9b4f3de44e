//! The surroundings in which processes are taken over: a state directory with a canary in every folder,
//! workspaces, a neighbour of the same user, listeners.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use clawdbot_attempts::{Column, Place, Plan};

use super::sockets;
use crate::binary;

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
    folder: PathBuf,
    state: PathBuf,
    facts: BTreeMap<String, String>,
    neighbour: Child,
    plans: AtomicU32,
}

fn folder(path: &Path) {
    fs::create_dir_all(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
}

fn canary(folder: &Path) {
    let path = folder.join("canary");
    fs::write(&path, "a canary\n").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn script(path: &Path) {
    fs::write(
        path,
        "#!/bin/sh\necho 'got process.exec-own-file worked' >&2\n",
    )
    .unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Every folder that somebody owns, with a canary and a link that leads out of it.
pub fn furnish(state: &Path, outside: &Path) {
    for name in LEAVES {
        folder(&state.join(name));
        canary(&state.join(name));
        let _there = symlink(outside, state.join(name).join("link-to-canary"));
    }
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(state.join("gateway.log"));
    drop(log.unwrap());
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
        for name in [
            "home",
            "home/private",
            "home/clawd",
            "home/clawd-guest",
            "open",
            "plans",
            "tool",
        ] {
            folder(&leaf(name));
        }
        for name in ["home/private", "home/clawd", "home/clawd-guest"] {
            canary(&leaf(name));
        }
        script(&leaf("open/script"));
        script(&leaf("tool/script"));
        folder(&leaf("tool/own"));
        fs::copy(binary("clawdbot-attempt"), leaf("tool/attempt")).unwrap();
        fs::write(leaf("program"), "a program\n").unwrap();
        furnish(state, &leaf("home/private/canary"));
        for own in ["tool/own", "open"] {
            let _there = symlink(
                leaf("home/private/canary"),
                leaf(own).join("link-to-canary"),
            );
        }
        let (neighbour, mut facts) = neighbour(&leaf("home/private/canary"));
        facts.extend(
            sockets::open_all(place)
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        if let Some(docker) = &around.docker {
            facts.insert("docker".into(), docker.to_string_lossy().into_owned());
        }
        edges(&leaf("runtime"));
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        for (name, value) in [
            ("canary", text(leaf("home/private/canary"))),
            ("program", text(leaf("program"))),
            ("open-folder", text(leaf("open"))),
            ("script", text(leaf("open/script"))),
            ("workspace-main", text(leaf("home/clawd"))),
            ("workspace-guest", text(leaf("home/clawd-guest"))),
            ("runtime", text(leaf("runtime"))),
            ("sibling", around.sibling.to_string()),
            ("sibling-address", around.sibling_address.to_string()),
            ("parent", std::process::id().to_string()),
        ] {
            facts.insert(name.into(), value);
        }
        Self {
            folder: place.clone(),
            state: state.clone(),
            facts,
            neighbour,
            plans: AtomicU32::new(0),
        }
    }

    /// The file that is handed over open.
    pub fn canary(&self) -> PathBuf {
        self.folder.join("home/private/canary")
    }

    /// The workspace of a tool call.
    pub fn tool(&self) -> PathBuf {
        self.folder.join("tool")
    }

    /// The home directory that processes are told of.
    pub fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// One of the facts.
    pub fn fact(&self, name: &str) -> &str {
        &self.facts[name]
    }

    /// The state directory of a process: the product's, but one for each user in system mode.
    pub fn state(&self, column: Option<&Column>) -> PathBuf {
        match column {
            Some(column) if column.place == Place::System => {
                self.folder.join("system").join(column.key)
            }
            _ => self.state.clone(),
        }
    }

    /// The configuration: in system mode it has a folder of its own.
    pub fn config(&self, column: Option<&Column>) -> PathBuf {
        let folder = match column {
            Some(column) if column.place == Place::System => {
                self.folder.join("etc").join(column.key)
            }
            _ => self.state(column),
        };
        folder.join("clawdbot.json")
    }

    /// The folder that everything lies in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Everything that attempts are aimed at, for one process.
    fn facts(&self, column: Option<&Column>) -> BTreeMap<String, String> {
        let mut facts = self.facts.clone();
        let state = self.state(column);
        let text = |path: &Path| path.to_string_lossy().into_owned();
        facts.insert("state".into(), text(&state));
        facts.insert("config".into(), text(&self.config(column)));
        let operators = match column.map(|column| column.place) {
            Some(Place::System) => self.folder.join("operators"),
            _ => state.join("run"),
        };
        facts.insert("operators".into(), text(&operators));
        let tool = column.is_some_and(|column| column.place == Place::Tool);
        let own = match column {
            Some(_) if tool => self.tool().join("own"),
            Some(column) if !column.own.is_empty() => state.join(column.own),
            Some(_) => state.join("none"),
            None => self.folder.join("open"),
        };
        let ups = own.components().count() - 1;
        let canary = self.canary();
        let below_root = canary.strip_prefix("/").unwrap();
        let climb = format!("{}/{}", vec![".."; ups].join("/"), below_root.display());
        facts.insert("canary-from-own".into(), climb);
        facts.insert("own".into(), text(&own));
        if column.is_some_and(|column| column.place == Place::System || column.key == "dialer") {
            // An attempt may take a connection apart before it does what it is about.
            facts.insert("connect".into(), "permitted".into());
        }
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
            _ => self.folder.join("plans"),
        };
        let path = folder.join(format!("plan-{number}"));
        fs::write(&path, plan.to_text()).unwrap();
        path
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _gone = self.neighbour.kill();
        let _gone = self.neighbour.wait();
    }
}

/// A process of the same user that nothing protects, and what it says about itself.
fn neighbour(file: &Path) -> (Child, BTreeMap<String, String>) {
    let mut child = Command::new(binary("clawdbot-attempt"))
        .arg("neighbour")
        .arg(file)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let names = ["neighbour", "neighbour-address", "neighbour-fd"];
    let facts = names.into_iter().zip(line.split_whitespace());
    let facts = facts
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    (child, facts)
}

/// The sockets of every edge that has a row in the attempts, as system mode has them.
fn edges(runtime: &Path) {
    for edge in EDGES {
        let path = runtime.join(format!("{edge}.sock"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        sockets::listen_at(&path);
    }
}

/// Server and client of the edges that are attacked.
pub const EDGES: &[&str] = &[
    "gateway/channel-telegram",
    "policy/gateway",
    "policy/executor",
    "policy/channel-telegram",
    "broker/policy",
    "broker/model-openai",
    "broker/channel-telegram",
    "dialer/policy",
    "dialer/model-openai",
    "agent-main/gateway",
    "agent-guest/gateway",
    "model-openai/agent-main",
    "executor/agent-main",
];
