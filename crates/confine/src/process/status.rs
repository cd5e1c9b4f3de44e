//! The kernel's own view of this process, from `/proc/self/status`. The file is opened before the
//! confinement closes `/proc` and read again after it, so that what is reported is what is true.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The lines of `/proc/self/status` that tell how far a process is confined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// Real, effective, saved and file system user id.
    pub uids: [u32; 4],
    /// Real, effective, saved and file system group id.
    pub gids: [u32; 4],
    /// Number of threads.
    pub threads: u32,
    /// Inheritable capabilities.
    pub inheritable: u64,
    /// Permitted capabilities.
    pub permitted: u64,
    /// Effective capabilities.
    pub effective: u64,
    /// Capabilities that an exec could still give.
    pub bounding: u64,
    /// Ambient capabilities.
    pub ambient: u64,
    /// No exec gives privileges.
    pub no_new_privs: bool,
    /// 0 none, 1 strict, 2 filter.
    pub seccomp: u8,
    /// Number of filters in force; 0 also where the kernel does not count (before 5.9).
    pub filters: u32,
}

impl Status {
    /// Opens the file; keep it to read the status again when `/proc` is out of reach.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn open() -> io::Result<File> {
        File::open("/proc/self/status")
    }

    /// Reads the present status from the opened file.
    ///
    /// # Errors
    /// When it cannot be read, or `InvalidData` when a line is missing.
    pub fn read(file: &File) -> io::Result<Self> {
        let mut bytes = [0; 8192];
        let mut filled = 0;
        while let Some(space) = bytes.get_mut(filled..).filter(|space| !space.is_empty()) {
            match file.read_at(space, filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        let text = String::from_utf8_lossy(bytes.get(..filled).unwrap_or_default());
        Self::parse(&text).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "/proc/self/status lacks a line")
        })
    }

    /// Opens and reads in one step.
    ///
    /// # Errors
    /// As [`Status::open`] and [`Status::read`].
    pub fn now() -> io::Result<Self> {
        Self::read(&Self::open()?)
    }

    /// Reads the text of a `/proc/PID/status`; nothing when a line is missing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let line = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let ids = |name: &str| -> Option<[u32; 4]> {
            let numbers: Vec<u32> = line(name)?
                .split_whitespace()
                .map_while(|id| id.parse().ok())
                .collect();
            numbers.try_into().ok()
        };
        let set = |name: &str| u64::from_str_radix(line(name)?, 16).ok();
        Some(Self {
            uids: ids("Uid")?,
            gids: ids("Gid")?,
            threads: line("Threads")?.parse().ok()?,
            inheritable: set("CapInh")?,
            permitted: set("CapPrm")?,
            effective: set("CapEff")?,
            bounding: set("CapBnd")?,
            ambient: set("CapAmb")?,
            no_new_privs: line("NoNewPrivs")? == "1",
            // A kernel built without seccomp has no such line.
            seccomp: line("Seccomp")
                .and_then(|mode| mode.parse().ok())
                .unwrap_or(0),
            filters: line("Seccomp_filters")
                .and_then(|count| count.parse().ok())
                .unwrap_or(0),
        })
    }

    /// All capabilities that this process has or could use again, whatever the set; the bounding set
    /// gives nothing once there is no exec that could.
    #[must_use]
    pub fn capabilities(&self) -> u64 {
        self.inheritable | self.permitted | self.effective | self.ambient
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn the_present_status_is_read() {
        let status = Status::now().unwrap();
        assert_eq!(status.uids[0], rustix::process::getuid().as_raw());
        assert_eq!(status.gids[1], rustix::process::getegid().as_raw());
        assert!(status.threads >= 1);
    }

    #[test]
    fn a_status_with_a_missing_line_is_no_status() {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(Status::parse(&text).is_some());
        assert_eq!(Status::parse(&text.replace("CapBnd", "Other")), None);
    }
}
