//! Processes as the kernel sees them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// One process by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen(pub u32);

impl Seen {
    fn path(self, leaf: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{leaf}", self.0))
    }

    /// `/proc/PID/status`, by field.
    pub fn status(self) -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(self.path("status")).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
            .collect()
    }

    /// Hard and soft value of a row of `/proc/PID/limits`.
    pub fn limit(self, row: &str) -> Option<(String, String)> {
        let text = std::fs::read_to_string(self.path("limits")).ok()?;
        let rest = text
            .lines()
            .find_map(|line| line.strip_prefix(row))?
            .trim()
            .to_owned();
        let mut words = rest.split_whitespace().map(String::from);
        Some((words.next()?, words.next()?))
    }

    /// What the open descriptors point to; one that is closed meanwhile is not among them. Needs root for a process that is
    /// not dumpable.
    pub fn descriptors(self) -> std::io::Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.path("fd"))? {
            match std::fs::read_link(entry?.path()) {
                Ok(target) => found.push(target.to_string_lossy().into_owned()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// The environment; an error when the process is closed to this user.
    pub fn environment(self) -> std::io::Result<Vec<u8>> {
        std::fs::read(self.path("environ"))
    }

    /// The arguments.
    pub fn arguments(self) -> Vec<String> {
        let bytes = std::fs::read(self.path("cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.split_terminator('\0').map(String::from).collect()
    }

    /// Whether it runs: neither gone nor a corpse that nobody has collected.
    pub fn lives(self) -> bool {
        self.status()
            .get("State")
            .is_some_and(|state| !state.starts_with('Z'))
    }

    /// Sends a signal. One that has ended already is no failure.
    pub fn signal(self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0).unwrap()).unwrap();
        let _gone = kill_process(pid, signal);
    }

    /// Waits until it has ended. `false` when it has not within the time.
    pub fn ends_within(self, time: Duration) -> bool {
        eventually(time, || !self.lives())
    }
}

/// All processes whose program is one of the product's and that belong to a state directory.
pub fn of_state(state: &std::path::Path) -> Vec<Seen> {
    let needle = state.to_string_lossy().into_owned();
    let numbers = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .map(Seen)
        .filter(|seen| seen.arguments().iter().any(|a| a.contains(&needle)))
        .collect()
}

/// Polls until something is true, at most for the given time. The last look is after that time, however long this process
/// did not run meanwhile.
pub fn eventually(time: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    loop {
        let late = Instant::now() >= deadline;
        if holds() {
            return true;
        }
        if late {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
