//! Whom the unprivileged tests run as. Root gives up its rights for a number that nobody has, so that no other process
//! and no file belongs to it: what is found under that number afterwards came from the tests.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// Numbers that neither distributions nor systemd hand out.
const SPARE: std::ops::RangeInclusive<u32> = 60_600..=61_100;

/// Whether this is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A number that is neither in the files of users and groups nor has a process.
///
/// # Errors
/// When all are taken.
pub fn spare() -> Result<u32, String> {
    let files =
        ["/etc/passwd", "/etc/group"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let running = owners_of_processes();
    SPARE
        .clone()
        .find(|id| !running.contains(id) && files.iter().all(|file| !names(file, *id)))
        .ok_or_else(|| format!("all user ids of {SPARE:?} are taken"))
}

/// Whether a file in the form of /etc/passwd or /etc/group has a line with this number.
fn names(file: &str, id: u32) -> bool {
    let id = id.to_string();
    file.lines()
        .any(|line| line.split(':').nth(2) == Some(id.as_str()))
}

fn owners_of_processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|entry| entry.uid())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_when_a_line_has_it_in_its_third_field() {
        let file = "root:x:0:0:root:/root:/bin/sh\nbob:x:60600:60601::/home/bob:/bin/sh\n";
        assert!(names(file, 60_600));
        assert!(!names(file, 60_601));
        assert!(!names(file, 6060));
        assert!(SPARE.contains(&spare().unwrap()));
    }
}
