//! Processes that a test left running. Linux gives them to this process when their parent ends, whatever group or
//! session they put themselves in, so none can hide.

/// A process that outlived the test that started it.
#[derive(Debug)]
pub struct Orphan {
    pub name: String,
    pub pid: i32,
}

#[cfg(target_os = "linux")]
pub use linux::{adopt, end, kill};

#[cfg(target_os = "linux")]
mod linux {
    use std::time::{Duration, Instant};

    use rustix::process::{
        Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
    };

    use super::Orphan;

    /// Whatever a killed supervisor started ends at once, as soon as a busy machine lets it. What has not by then stays.
    const GRACE: Duration = Duration::from_secs(30);

    /// From now on orphans become children of this process.
    pub fn adopt() {
        // Without it leftovers go unnoticed, which is what happens on other systems too.
        let _unnoticed = set_child_subreaper(Some(getpid()));
    }

    /// Waits for the orphans to end, kills those that do not and names them. No other child may be running.
    pub fn end() -> Vec<Orphan> {
        let deadline = Instant::now() + GRACE;
        loop {
            let left = living_children();
            if left.is_empty() {
                return left;
            }
            if Instant::now() >= deadline {
                // A killed one may leave children of its own.
                kill();
                return left;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills the orphans at once.
    pub fn kill() {
        loop {
            let left = living_children();
            if left.is_empty() {
                return;
            }
            for orphan in left {
                if let Some(pid) = Pid::from_raw(orphan.pid) {
                    let _ended_meanwhile = kill_process(pid, Signal::KILL);
                    let _reaped = waitpid(Some(pid), WaitOptions::empty());
                }
            }
        }
    }

    /// Collects the dead and names the others.
    fn living_children() -> Vec<Orphan> {
        let own = getpid().as_raw_nonzero().get();
        let mut living = Vec::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let Some(found) = child_of(own, &stat) else {
                continue;
            };
            let gone = Pid::from_raw(found.pid)
                .is_none_or(|pid| !matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None)));
            if !gone {
                living.push(found);
            }
        }
        living
    }

    /// The process of a line of /proc/PID/stat, if `parent` is its parent. Its name may contain anything.
    fn child_of(parent: i32, stat: &str) -> Option<Orphan> {
        let (pid, rest) = stat.split_once(" (")?;
        let (name, fields) = rest.rsplit_once(") ")?;
        let its_parent: i32 = fields.split(' ').nth(1)?.parse().ok()?;
        (its_parent == parent).then_some(Orphan {
            name: name.into(),
            pid: pid.parse().ok()?,
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_child_is_known_by_its_parent_whatever_its_name_is() {
            let orphan = child_of(7, "42 (a) S 1 (b) S 7 42 42 0 -1 4194304").unwrap();
            assert_eq!((orphan.name.as_str(), orphan.pid), ("a) S 1 (b", 42));
            assert!(child_of(8, "42 (a) S 7 42").is_none());
            assert!(child_of(7, "").is_none());
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub fn adopt() {}

#[cfg(not(target_os = "linux"))]
pub fn kill() {}

#[cfg(not(target_os = "linux"))]
pub fn end() -> Vec<Orphan> {
    Vec::new()
}
