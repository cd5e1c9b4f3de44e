//! The control groups of a machine: one in each hierarchy, below the top. The machine's processes see theirs as the top, so
//! that systemd leaves no group anywhere else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const TOP: &str = "/sys/fs/cgroup";
/// Begins the name of every group.
const PREFIX: &str = "clawdbot-rig.";

/// The most of the processors that the kernel lets a group have; 1024 is usual.
const MOST_SHARES: &str = "262144";

/// The groups of one machine.
#[derive(Debug)]
pub struct Groups(Vec<PathBuf>);

impl Groups {
    /// The hierarchies of this machine.
    ///
    /// # Errors
    /// When they are laid out in a way in which a machine would not enforce what it is told: memory and task limits need
    /// the first version's controllers here, and address filters the second's hierarchy.
    pub fn hierarchies() -> Result<Vec<PathBuf>, String> {
        if !Path::new(TOP).join("unified/cgroup.procs").exists() {
            return Err(format!(
                "needs control groups in the hybrid layout at {TOP}"
            ));
        }
        let entries = fs::read_dir(TOP).map_err(|error| format!("{TOP}: {error}"))?;
        let mut found: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            // A group of this one takes no process before it is given processors, and systemd makes none in it.
            .filter(|entry| !entry.file_name().to_string_lossy().contains("cpuset"))
            .map(|entry| entry.path())
            .filter(|path| path.join("cgroup.procs").exists())
            .collect();
        found.sort();
        Ok(found)
    }

    /// The groups of a machine of this name, whether they exist or not.
    ///
    /// # Errors
    /// As [`Groups::hierarchies`].
    pub fn of(name: &str) -> Result<Self, String> {
        let group = format!("{PREFIX}{name}");
        Ok(Self(
            Self::hierarchies()?
                .into_iter()
                .map(|hierarchy| hierarchy.join(&group))
                .collect(),
        ))
    }

    /// The names of all machines that have a group.
    pub fn names() -> Vec<String> {
        let entries = fs::read_dir(Path::new(TOP).join("unified"));
        let mut names: Vec<String> = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                name.to_str()?.strip_prefix(PREFIX).map(String::from)
            })
            .collect();
        names.sort();
        names
    }

    /// Where they are.
    pub fn paths(&self) -> &[PathBuf] {
        &self.0
    }

    /// Makes them.
    ///
    /// # Errors
    /// When one exists or cannot be made.
    pub fn create(&self) -> Result<(), String> {
        for group in &self.0 {
            fs::create_dir(group).map_err(|error| format!("{}: {error}", group.display()))?;
        }
        Ok(())
    }

    /// Has their processes go before all others of this computer, for who measures how long something takes.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn prefer(&self) -> io::Result<()> {
        let shares = self.0.iter().map(|group| group.join("cpu.shares"));
        let mut shares = shares.filter(|shares| shares.exists());
        shares.try_for_each(|shares| fs::write(shares, MOST_SHARES))
    }

    /// The processes in them and below.
    pub fn processes(&self) -> Vec<i32> {
        let mut found = Vec::new();
        for group in &self.0 {
            collect(group, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Removes them and all below. They have to be empty. What another process has removed meanwhile is none that is left.
    ///
    /// # Errors
    /// When one is left.
    pub fn remove(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|group| remove(group))
    }
}

fn below(group: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}

fn collect(group: &Path, into: &mut Vec<i32>) {
    let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    into.extend(listed.lines().filter_map(|line| line.parse::<i32>().ok()));
    for group in below(group) {
        collect(&group, into);
    }
}

fn remove(group: &Path) -> io::Result<()> {
    for group in below(group) {
        remove(&group)?;
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
