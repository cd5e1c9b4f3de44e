//! What is there to be attacked: a home of its own in a temporary folder, with a canary in every folder that somebody
//! owns, listeners of every kind, and a process of the same user that nothing protects.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clawdbot_attempts::{Column, Plan};

/// Everything below a state directory that somebody owns, and a folder that nobody does.
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
    NOBODY,
];
const NOBODY: &str = "none";
/// The folder of a state directory where the plans lie.
const PLANS: &str = "probe";
/// With a worker for every kind of row: the built-in model always runs.
const CONFIG: &str = "{channels: {telegram: {botToken: '1:abcdefghijklmnopqrstuvwxyz'}}}\n";
/// What says that it was run.
const SCRIPT: &str = "#!/bin/sh\necho 'got process.exec-own-file worked' >&2\n";

type Facts = BTreeMap<String, String>;

/// The scene. Nothing is left of it when it is dropped.
pub struct Scene {
    folder: Folder,
    facts: Facts,
    _neighbour: Neighbour,
    _listeners: Vec<OwnedFd>,
}

/// A folder of this user that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let mut number = [0; 8];
        getrandom::fill(&mut number).map_err(io::Error::from)?;
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
        let leaf = |name: &str| folder.0.join(name);
        for name in ["home/private", "open"] {
            private(&leaf(name))?;
        }
        let hidden = leaf("home/private/canary");
        canary(&leaf("home/private"))?;
        write(&leaf("open/script"), SCRIPT, 0o700)?;
        write(&leaf("program"), "a program\n", 0o600)?;
        symlink(&hidden, leaf("open/link-to-canary"))?;
        let (neighbour, mut facts) = Neighbour::start(probe, &hidden)?;
        let (listeners, addresses) = listen(&folder.0)?;
        facts.extend(addresses);
        let own = std::process::id();
        for (name, value) in [
            ("canary", text(&hidden)),
            ("program", text(&leaf("program"))),
            ("open-folder", text(&leaf("open"))),
            ("script", text(&leaf("open/script"))),
            ("runtime", text(&leaf("runtime"))),
            ("sibling", sibling.to_string()),
            // Nobody knows a place in its memory: any is as good, since nobody may look.
            ("sibling-address", "4096".to_owned()),
            ("parent", own.to_string()),
        ] {
            facts.insert(name.to_owned(), value);
        }
        Ok(Self {
            folder,
            facts,
            _neighbour: neighbour,
            _listeners: listeners,
        })
    }

    /// A state directory, a configuration and workspaces for a supervisor.
    ///
    /// # Errors
    /// When something cannot be made.
    pub fn home(&self, name: &str) -> io::Result<Home> {
        let state = self.folder.0.join(name);
        let hidden = self.folder.0.join("home/private/canary");
        for leaf in LEAVES {
            let leaf = state.join(leaf);
            private(&leaf)?;
            canary(&leaf)?;
            symlink(&hidden, leaf.join("link-to-canary"))?;
        }
        write(&state.join("gateway.log"), "", 0o600)?;
        write(&state.join("clawdbot.json"), CONFIG, 0o600)?;
        private(&state.join(PLANS))?;
        // Where the supervisor looks for workspaces, since it has no home directory in its environment.
        let work = PathBuf::from(format!("{}-work", state.display()));
        for workspace in ["clawd", "clawd-guest"] {
            private(&work.join(workspace))?;
            canary(&work.join(workspace))?;
        }
        let programs = self.folder.0.join(format!("{name}-programs"));
        private(&programs)?;
        Ok(Home {
            state,
            work,
            programs,
        })
    }

    /// Everything that attempts are aimed at, for one process.
    fn facts(&self, home: &Home, column: &Column) -> Facts {
        let mut facts = self.facts.clone();
        let own = match column.own {
            "" => home.state.join(NOBODY),
            own => home.state.join(own),
        };
        let ups = own.components().count().saturating_sub(1);
        let canary = facts.get("canary").cloned().unwrap_or_default();
        // The path begins at the root, where that many steps lead.
        let climb = format!("{}{canary}", vec![".."; ups].join("/"));
        for (name, value) in [
            ("state", text(&home.state)),
            ("config", text(&home.config())),
            ("operators", text(&home.state.join("run"))),
            ("workspace-main", text(&home.work.join("clawd"))),
            ("workspace-guest", text(&home.work.join("clawd-guest"))),
            ("canary-from-own", climb),
            ("own", text(&own)),
        ] {
            facts.insert(name.to_owned(), value);
        }
        if column.key == "dialer" {
            // An attempt may take a connection apart before it does what it is about.
            facts.insert("connect".to_owned(), "permitted".to_owned());
        }
        facts
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
        let mut plan = Plan::default();
        plan.world.facts = self.facts(home, column);
        plan.attempts = attempts;
        write(&home.state.join(PLANS).join(role), &plan.to_text(), 0o600)
    }
}

/// What one supervisor works with.
pub struct Home {
    /// The state directory.
    pub state: PathBuf,
    work: PathBuf,
    /// The folder for links to programs.
    pub programs: PathBuf,
}

impl Home {
    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.state.join("clawdbot.json")
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn canary(folder: &Path) -> io::Result<()> {
    write(&folder.join("canary"), "a canary\n", 0o600)
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(text.as_bytes())
}

/// Listeners and their addresses, as facts. Nobody takes the connections: that one could be made is all that counts.
fn listen(folder: &Path) -> io::Result<(Vec<OwnedFd>, Facts)> {
    let v4 = TcpListener::bind("127.0.0.1:0")?;
    let tcp = v4.local_addr()?.port();
    // Not every machine has it.
    let v6 = TcpListener::bind(("::1", tcp)).ok();
    let udp = UdpSocket::bind("127.0.0.1:0")?;
    let udp_port = udp.local_addr()?.port();
    let (bus, docker) = (folder.join("bus"), folder.join("docker.sock"));
    let datagrams = folder.join("datagrams");
    let name = format!("clawdbot-probe-{}-{tcp}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name)?;
    let mut listeners: Vec<OwnedFd> = vec![
        v4.into(),
        udp.into(),
        UnixListener::bind(&bus)?.into(),
        UnixListener::bind(&docker)?.into(),
        UnixDatagram::bind(&datagrams)?.into(),
        UnixListener::bind_addr(&address)?.into(),
    ];
    listeners.extend(v6.map(OwnedFd::from));
    let facts = [
        ("tcp", tcp.to_string()),
        ("udp", udp_port.to_string()),
        ("bus", text(&bus)),
        ("docker", text(&docker)),
        ("datagrams", text(&datagrams)),
        ("abstract", name),
    ];
    let facts = facts.map(|(name, value)| (name.to_owned(), value));
    Ok((listeners, facts.into()))
}

/// A process of the same user that nothing protects. It ends when its input does.
struct Neighbour(Child);

impl Neighbour {
    /// Starts it; what it says about itself are facts.
    fn start(probe: &Path, file: &Path) -> io::Result<(Self, Facts)> {
        let mut child = Command::new(probe)
            .arg("neighbour")
            .arg(file)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take();
        let neighbour = Self(child);
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let names = ["neighbour", "neighbour-address", "neighbour-fd"];
        let facts: Facts = { names.into_iter().zip(line.split_whitespace()) }
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        match facts.len() == names.len() {
            true => Ok((neighbour, facts)),
            false => Err(io::Error::other(format!(
                "{} does not say what it is",
                probe.display()
            ))),
        }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // One that is gone already is as good.
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}
