//! One machine, from its start to its end.
//!
//! Each switch of systemd-nspawn has a reason. Its own filter (`SYSTEMD_SECCOMP`) would answer EPERM to Landlock and to
//! bpf, so that services inside were confined in word only. All capabilities are what a real machine's first process has;
//! without CAP_SYS_MODULE nothing tries to load modules. The host has no service manager to register with. The
//! controllers are made writable before systemd looks at them, which it does once: else limits are accepted and not
//! enforced. systemd 256 and later starts on the first version's controllers only when forced.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::groups::Groups;
use crate::roots::Suite;

/// Where each running machine has a folder: what it said at its start, and the number of its outer process.
const PLACE: &str = "/run/clawdbot-rig";
/// A machine takes a second; a loaded one has taken four.
const PATIENCE: Duration = Duration::from_secs(60);
/// A machine that does not end by itself is ended.
const GRACE: Duration = Duration::from_secs(10);
/// What was killed has to give back its memory first, on a computer that has much to do.
const LAST: Duration = Duration::from_secs(60);
/// Longest time that a command inside may take, in seconds.
const LIMIT: &str = "300";

/// Mounts are made in a namespace of their own and go with the last process in it, whatever ends it.
const START: &str = r#"
set -e
lower=$1 disk=$2 name=$3
shift 3
for group; do echo $$ >"$group/cgroup.procs"; done
mount -t tmpfs -o size=1g,mode=0755 rig "$disk"
mkdir "$disk/upper" "$disk/work" "$disk/root"
mount -t overlay -o "lowerdir=$lower,upperdir=$disk/upper,workdir=$disk/work" rig "$disk/root"
export SYSTEMD_SECCOMP=0
exec systemd-nspawn --quiet --directory="$disk/root" --machine="$name" --register=no --keep-unit --private-network \
  --capability=all --drop-capability=CAP_SYS_MODULE --console=pipe -- /bin/sh -c '
    for group in /sys/fs/cgroup/*; do
      if [ -d "$group" ]; then mount -o remount,rw,bind "$group"; fi
    done
    exec /usr/lib/systemd/systemd SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1 systemd.unified_cgroup_hierarchy=0'
"#;

/// A command joins the machine's groups, so that nothing of it outlives the machine, and then its namespaces. In some
/// hierarchies systemd-nspawn keeps a group for itself, and gives the machine one beside it.
const ENTER: &str = r#"
leader=$1
shift
while [ "$1" != -- ]; do
  top=$1
  if [ -d "$top/payload" ]; then top=$top/payload; fi
  echo $$ >"$top/cgroup.procs"
  shift
done
shift
exec nsenter --target "$leader" --all -- "$@"
"#;

/// Numbers the machines of this process.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// A running machine. Dropping it ends it, unless it was found or [`Rig::leave`] was called.
#[derive(Debug)]
pub struct Rig {
    name: String,
    groups: Groups,
    folder: PathBuf,
    /// The first process of the machine, as it is numbered outside.
    leader: Pid,
    /// The outer process, while it is this process's child.
    outer: Option<Child>,
    ends_with_this: bool,
}

impl Rig {
    /// Starts a machine that ends with this value, and waits until all of its services are up.
    ///
    /// # Errors
    /// When it cannot be started here; with what it said.
    pub fn boot(suite: Suite) -> Result<Self, String> {
        sweep();
        Self::boot_as(suite, &next_name(suite))
    }

    /// The same under a name by which [`Rig::find`] finds it.
    ///
    /// # Errors
    /// When it cannot be started here, or one of this name runs.
    pub fn boot_as(suite: Suite, name: &str) -> Result<Self, String> {
        Self::boot_from(&suite.root()?, name, false)
    }

    /// Starts a machine that ends with this value, with what [`Rig::keep`] put into the folder. To be measured, hence
    /// before all other work on this computer.
    ///
    /// # Errors
    /// When it cannot be started here; with what it said.
    pub fn boot_with(suite: Suite, kept: &Path) -> Result<Self, String> {
        let mut layers = kept.as_os_str().to_owned();
        layers.push(":");
        layers.push(suite.root()?);
        Self::boot_from(Path::new(&layers), &next_name(suite), true)
    }

    fn boot_from(root: &Path, name: &str, preferred: bool) -> Result<Self, String> {
        crate::possible()?;
        let groups = Groups::of(name)?;
        if !groups.processes().is_empty() {
            return Err(format!("{name} runs already"));
        }
        let folder = Path::new(PLACE).join(name);
        clear(&groups, &folder)?;
        groups.create()?;
        if preferred {
            groups.prefer().map_err(|error| error.to_string())?;
        }
        let outer = match start(name, root, &groups, &folder) {
            Ok(outer) => outer,
            Err(error) => {
                let _left = clear(&groups, &folder);
                return Err(error);
            }
        };
        let mut rig = Self {
            name: name.into(),
            groups,
            folder,
            leader: Pid::from_child(&outer),
            outer: Some(outer),
            ends_with_this: true,
        };
        rig.wait()?;
        Ok(rig)
    }

    /// A machine that another process started and left.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(name: &str) -> Result<Self, String> {
        let folder = Path::new(PLACE).join(name);
        let outer = fs::read_to_string(folder.join("outer")).ok();
        let outer = outer.and_then(|text| Pid::from_raw(text.parse().ok()?));
        let leader = outer.and_then(leader).ok_or_else(|| {
            format!("{name} does not run; `cargo xtask rig boot {name}` starts it")
        })?;
        Ok(Self {
            name: name.into(),
            groups: Groups::of(name)?,
            folder,
            leader,
            outer: None,
            ends_with_this: false,
        })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The control groups of all its processes.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Its first process, by the number that it has here.
    pub fn leader(&self) -> i32 {
        self.leader.as_raw_nonzero().get()
    }

    /// What it said at its start.
    pub fn console(&self) -> String {
        let text = fs::read(self.folder.join("console")).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// A command of root's inside, with nothing of this process's environment and no input. It is ended after some
    /// minutes.
    pub fn command<W: AsRef<OsStr>>(&self, words: &[W]) -> Command {
        let mut command = self.enter(&["timeout", "--kill-after=5", LIMIT]);
        command.args(words).stdin(Stdio::null());
        command
    }

    /// The same for a person at a terminal.
    pub fn shell(&self) -> Command {
        self.enter(&["bash", "-l"])
    }

    fn enter(&self, words: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", ENTER, "rig", &self.leader().to_string()])
            .args(self.groups.paths())
            .args(["--", "env", "-i"])
            .args([
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME=/root",
                "LANG=C.UTF-8",
                "SYSTEMD_COLORS=0",
                "SYSTEMD_PAGER=cat",
                "DEBIAN_FRONTEND=noninteractive",
            ])
            .arg(format!("TERM={}", terminal()))
            .args(words);
        command
    }

    /// Runs a command of root's inside to its end.
    ///
    /// # Errors
    /// When it cannot be started; a command that fails is no error.
    pub fn run<W: AsRef<OsStr>>(&self, words: &[W]) -> io::Result<Output> {
        self.command(words).output()
    }

    /// The same for lines of shell.
    ///
    /// # Errors
    /// As [`Rig::run`].
    pub fn sh(&self, script: &str) -> io::Result<Output> {
        self.run(&["sh", "-c", script])
    }

    /// A command of another user inside, with that user's groups.
    pub fn as_user(&self, user: &str, words: &[&str]) -> Command {
        let become_user = [
            "setpriv",
            "--reuid",
            user,
            "--regid",
            user,
            "--init-groups",
            "--reset-env",
            "--",
        ];
        self.command(&[&become_user, words].concat())
    }

    /// A file inside as it can be reached from here, for root. Absolute links on the way lead outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.leader())).join(inside.trim_start_matches('/'))
    }

    /// Copies a file into it, with its mode and for root; folders on the way are made.
    ///
    /// # Errors
    /// When the one cannot be read or the other not be written.
    pub fn copy_in(&self, from: &Path, to: &str) -> io::Result<()> {
        let to = self.path(to);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        // By another process: a program that this one holds open for writing could not be executed.
        let status = Command::new("cp").arg("--").args([from, &to]).status()?;
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "{} cannot be copied into {}",
                from.display(),
                self.name
            ))),
        }
    }

    /// Copies what it changed on its disk into a folder that does not exist yet, for [`Rig::boot_with`].
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn keep(&self, folder: &Path) -> io::Result<()> {
        let outer = fs::read_to_string(self.folder.join("outer"))?;
        let changes = self.folder.join("disk/upper");
        let changes = format!("/proc/{outer}/root{}", changes.display());
        let status = Command::new("cp")
            .args(["--archive", "--"])
            .args([Path::new(&changes), folder])
            .status()?;
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "the disk of {} cannot be copied",
                self.name
            ))),
        }
    }

    /// Installs a package with apt, as `apt install ./FILE` does, without asking: an edited file of its configuration
    /// stays.
    ///
    /// # Errors
    /// When it cannot be copied or apt not be started; what apt says is in the output.
    pub fn install(&self, deb: &Path) -> io::Result<Output> {
        let name = deb.file_name().unwrap_or_default().to_string_lossy();
        let inside = format!("/root/{name}");
        self.copy_in(deb, &inside)?;
        self.run(&[
            "apt-get",
            "install",
            "--yes",
            "--no-install-recommends",
            "-o",
            "Dpkg::Options::=--force-confold",
            &inside,
        ])
    }

    /// What a unit has said until now, one line for each entry.
    ///
    /// # Errors
    /// As [`Rig::run`].
    pub fn journal(&self, unit: &str) -> io::Result<String> {
        // What is on its way counts.
        self.run(&["journalctl", "--sync"])?;
        let output = self.run(&["journalctl", "--no-pager", "--output=cat", "--unit", unit])?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// From now on it outlives this value.
    pub fn leave(mut self) {
        self.ends_with_this = false;
    }

    /// Ends it and removes what it had: processes, control groups and its folder. Its mounts go with its processes.
    ///
    /// # Errors
    /// When something is left.
    pub fn halt(mut self) -> Result<(), String> {
        self.ends_with_this = false;
        self.end()
    }

    fn wait(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let outer = self.leader;
        loop {
            if let Some(Ok(Some(status))) = self.outer.as_mut().map(Child::try_wait) {
                return Err(format!(
                    "{} ended with {status}: {}",
                    self.name,
                    self.console()
                ));
            }
            if let Some(leader) = leader(outer) {
                self.leader = leader;
                let state = self.run(&["systemctl", "is-system-running"]);
                let state = state.map_err(|error| error.to_string())?.stdout;
                match String::from_utf8_lossy(&state).trim() {
                    "running" => return Ok(()),
                    "degraded" => return Err(self.complaint("has failed units")),
                    _ if Instant::now() > deadline => return Err(self.complaint("is not up")),
                    _ => {}
                }
            } else if Instant::now() > deadline {
                return Err(format!("{} has no systemd: {}", self.name, self.console()));
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn complaint(&self, what: &str) -> String {
        let units = self.run(&["systemctl", "--no-pager", "--failed"]);
        let units = units.map(|output| output.stdout).unwrap_or_default();
        format!(
            "{} {what}:\n{}\n{}",
            self.name,
            String::from_utf8_lossy(&units),
            self.console()
        )
    }

    fn end(&mut self) -> Result<(), String> {
        // Forced: services are ended with it. One that does not answer is killed below.
        let _killed_below = self.run(&["timeout", "5", "systemctl", "poweroff", "--force"]);
        let deadline = Instant::now() + GRACE;
        while !self.groups.processes().is_empty() && Instant::now() < deadline {
            sleep(Duration::from_millis(10));
        }
        let ended = clear(&self.groups, &self.folder);
        if let Some(mut outer) = self.outer.take() {
            let _reaped = outer.wait();
        }
        ended
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if self.ends_with_this {
            let _left = self.end();
        }
    }
}

fn next_name(suite: Suite) -> String {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{number}-{}", std::process::id(), suite.name())
}

fn terminal() -> String {
    std::env::var("TERM").unwrap_or_else(|_| "dumb".into())
}

fn start(name: &str, root: &Path, groups: &Groups, folder: &Path) -> Result<Child, String> {
    let said = |what: &Path, error: io::Error| format!("{}: {error}", what.display());
    let disk = folder.join("disk");
    fs::create_dir_all(&disk).map_err(|error| said(&disk, error))?;
    let console = folder.join("console");
    let log = fs::File::create(&console).map_err(|error| said(&console, error))?;
    let second = log.try_clone().map_err(|error| said(&console, error))?;
    let outer = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            START,
            "rig",
        ])
        .args([root, &disk])
        .arg(format!("rig-{name}"))
        .args(groups.paths())
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(second)
        // A person's interrupt is not for it.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("unshare: {error}"))?;
    let file = folder.join("outer");
    fs::write(&file, outer.id().to_string()).map_err(|error| said(&file, error))?;
    Ok(outer)
}

/// The first process of the machine whose outer process this is.
fn leader(outer: Pid) -> Option<Pid> {
    let outer = outer.as_raw_nonzero().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| fs::read_to_string(entry.path().join("status")).ok())
        .find_map(|status| first_of(&status, &outer))
}

/// The process of a `/proc/PID/status`, if it is the systemd that is first in its namespace and has this parent.
fn first_of(status: &str, outer: &str) -> Option<Pid> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim)
    };
    let first = field("NSpid:")?.split_whitespace().last() == Some("1");
    let fits = first && field("PPid:") == Some(outer) && field("Name:") == Some("systemd");
    fits.then(|| Pid::from_raw(field("Pid:")?.parse().ok()?))?
}

/// Ends what still runs in a machine's groups and removes them and its folder.
fn clear(groups: &Groups, folder: &Path) -> Result<(), String> {
    let deadline = Instant::now() + LAST;
    loop {
        let late = Instant::now() > deadline;
        let left = groups.processes();
        if left.is_empty() {
            match groups.remove() {
                Ok(()) => break,
                Err(error) if late => return Err(format!("control groups are left: {error}")),
                // A process may have moved between two groups while one after the other was looked at.
                Err(_) => {}
            }
        } else if late {
            return Err(format!("processes do not end: {left:?}"));
        }
        for pid in left.into_iter().filter_map(Pid::from_raw) {
            let _gone = kill_process(pid, Signal::KILL);
        }
        sleep(Duration::from_millis(10));
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Ends machines whose owner was ended by force: their names begin with its number.
fn sweep() {
    for name in Groups::names() {
        let owner = name.split('-').next().and_then(|word| word.parse().ok());
        let Some(owner) = owner.and_then(Pid::from_raw) else {
            continue;
        };
        if test_kill_process(owner) == Err(rustix::io::Errno::SRCH)
            && let Ok(groups) = Groups::of(&name)
        {
            let _left = clear(&groups, &Path::new(PLACE).join(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_process_is_the_systemd_below_the_outer_one() {
        let status = |name: &str, parent: u32, inside: &str| {
            format!("Name:\t{name}\nPid:\t42\nPPid:\t{parent}\nNSpid:\t42\t{inside}\n")
        };
        let found = first_of(&status("systemd", 7, "1"), "7");
        assert_eq!(found, Pid::from_raw(42));
        assert_eq!(first_of(&status("systemd", 8, "1"), "7"), None);
        assert_eq!(first_of(&status("sh", 7, "1"), "7"), None);
        assert_eq!(first_of(&status("systemd", 7, "2"), "7"), None);
        assert_eq!(first_of("", "7"), None);
    }
}
