//! What is there to be attacked, in a temporary folder: a home with a canary, a state directory for each supervisor,
//! listeners of every kind, and a process of the same user that nothing protects.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clawdbot_attempts::{Column, Plan};
use clawdbot_scene::{Listener, Neighbour, PLANS, Places, Set, furnish};

/// With a worker of every kind: the built-in model always runs.
const CONFIG: &str = "{channels: {telegram: {botToken: '1:abcdefghijklmnopqrstuvwxyz'}}}\n";

/// The scene. Nothing is left of it when it is dropped.
pub struct Scene {
    folder: Folder,
    set: Set,
    _neighbour: Neighbour,
    _listeners: Vec<Listener>,
}

/// A folder of this user that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let mut number = [0; 8];
        getrandom::fill(&mut number).map_err(|error| io::Error::other(error.to_string()))?;
        let name = format!("clawdbot-probe-{:016x}", u64::from_ne_bytes(number));
        let path = fs::canonicalize(std::env::temp_dir())?.join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in a folder for what may go.
        let _left = fs::remove_dir_all(&self.0);
    }
}

impl Scene {
    /// Sets it up. `sibling`: another process of the same user.
    ///
    /// # Errors
    /// When something cannot be made.
    pub fn new(probe: &Path, sibling: u32) -> io::Result<Self> {
        let folder = Folder::new()?;
        let (mut set, listeners) = Set::build(&folder.0)?;
        let (neighbour, facts) = Neighbour::start(probe, &set.canary())?;
        for (name, value) in facts {
            set.tell(name, value);
        }
        set.tell("sibling", sibling);
        // Nobody knows a place in its memory. Any is as good, since nobody may look.
        set.tell("sibling-address", 4096);
        Ok(Self {
            folder,
            set,
            _neighbour: neighbour,
            _listeners: listeners,
        })
    }

    /// A state directory and a configuration for a supervisor.
    ///
    /// # Errors
    /// When something cannot be made.
    pub fn home(&self, name: &str) -> io::Result<Home> {
        let home = Home {
            state: self.folder.0.join(name),
            programs: self.folder.0.join(format!("{name}-programs")),
            workspace: self.set.home().join("clawd"),
        };
        for folder in [&home.state, &home.programs, &home.state.join(PLANS)] {
            DirBuilder::new().mode(0o700).create(folder)?;
        }
        furnish(&home.state, &self.set.canary())?;
        write(&home.config(), CONFIG)?;
        Ok(home)
    }

    /// Writes down for a role what its process is to try.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn plan(
        &self,
        home: &Home,
        column: &Column,
        role: &str,
        attempts: Vec<String>,
    ) -> io::Result<()> {
        let places = Places {
            state: &home.state,
            config: &home.config(),
            operators: &home.state.join("run"),
        };
        let mut plan = Plan::default();
        plan.world.facts = self.set.facts(&places, &Set::own(column, &home.state));
        if Set::may_disconnect(column) {
            let fact = ("connect".to_owned(), "permitted".to_owned());
            plan.world.facts.extend([fact]);
        }
        plan.attempts = attempts;
        write(&home.state.join(PLANS).join(role), &plan.to_text())
    }
}

/// What one supervisor works with.
pub struct Home {
    /// The state directory.
    pub state: PathBuf,
    /// The folder for links to programs.
    pub programs: PathBuf,
    /// The owner's workspace.
    pub workspace: PathBuf,
}

impl Home {
    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.state.join("clawdbot.json")
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}
