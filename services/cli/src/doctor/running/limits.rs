//! Whether the limits of memory and tasks in a unit hold for its process: the service manager accepts them also where the
//! kernel has no controller to enforce them.

use std::fs;
use std::path::{Path, PathBuf};

use super::Running;
use super::weaker::assignments;

/// A control group's controller, what the unit calls its limit, and the file that holds it: in a tree of its own (v1), and
/// in the one of all controllers (v2).
pub const LIMITS: [(&str, &str, &str, &str); 2] = [
    ("memory", "MemoryMax", "memory.limit_in_bytes", "memory.max"),
    ("pids", "TasksMax", "pids.max", "pids.max"),
];
/// From so many bytes on the first version of control groups means none.
const NONE: u64 = 1 << 62;

/// The services whose process has no limit although the unit has one, each with the limit's name.
pub fn look(root: &Path, running: &Running) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    for unit in running.units.iter().flatten().filter(|unit| unit.runs()) {
        let groups = fs::read_to_string(root.join(format!("proc/{}/cgroup", unit.pid)));
        let Ok(groups) = groups else { continue };
        let texts = { std::iter::once(&unit.fragment).chain(&unit.drop_ins) }
            .filter_map(|path| running.unit_files.get(path));
        let rows: Vec<_> = { texts.flat_map(|text| assignments("Service", text)) }.collect();
        for (controller, name, old, new) in LIMITS {
            let wanted = rows.iter().rfind(|(known, _)| known == name);
            let wanted = wanted.is_some_and(|(_, is)| !matches!(is.as_str(), "" | "infinity"));
            let Some((folder, file)) = group(&groups, controller, old, new) else {
                continue;
            };
            let folder = root.join("sys/fs/cgroup").join(folder);
            // A group that cannot be seen from here says nothing.
            if wanted && folder.is_dir() && !is_limited(&folder.join(file)) {
                found.push((unit.id.clone(), name));
            }
        }
    }
    found
}

/// Where a process's group of this controller is, and the file in it.
fn group<'a>(
    groups: &str,
    controller: &str,
    old: &'a str,
    new: &'a str,
) -> Option<(PathBuf, &'a str)> {
    let rows = || {
        groups
            .lines()
            .filter_map(|row| row.split_once(':')?.1.split_once(':'))
    };
    let below = |path: &str| path.trim_start_matches('/').to_owned();
    let own = rows().find(|(names, _)| names.split(',').any(|name| name == controller));
    match own {
        Some((names, path)) => Some((Path::new(names).join(below(path)), old)),
        None => {
            let (_, path) = rows().find(|(names, _)| names.is_empty())?;
            Some((PathBuf::from(below(path)), new))
        }
    }
}

fn is_limited(file: &Path) -> bool {
    let limit = fs::read_to_string(file).unwrap_or_default();
    limit.trim().parse::<u64>().is_ok_and(|limit| limit < NONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::UnitFact;

    /// What is found of a unit with both limits, in groups of these lines with these files.
    fn found(groups: &str, files: &[(&str, &str)]) -> Vec<&'static str> {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/7/cgroup", groups);
        for (path, text) in files {
            write(&format!("sys/fs/cgroup/{path}"), text);
        }
        let unit = UnitFact {
            id: "clawdbot-policy.service".into(),
            active: "active".into(),
            pid: 7,
            fragment: "/u".into(),
            drop_ins: vec!["/d".into()],
            ..UnitFact::default()
        };
        let texts = [
            ("/u", "[Service]\nMemoryMax=256M\nTasksMax=32\n"),
            ("/d", "[Service]\nTasksMax=64\n"),
        ];
        let running = Running {
            units: Some(vec![unit]),
            unit_files: texts.map(|(path, text)| (path.into(), text.into())).into(),
            ..Running::default()
        };
        look(root.path(), &running)
            .into_iter()
            .map(|one| one.1)
            .collect()
    }

    #[test]
    fn a_limit_that_no_controller_enforces_is_found_in_either_version_of_control_groups() {
        let both = ["MemoryMax", "TasksMax"];
        let none = [""; 0];
        let v2 = "0::/a.slice/x.service\n";
        let limits = [
            ("a.slice/x.service/memory.max", "268435456\n"),
            ("a.slice/x.service/pids.max", "64\n"),
        ];
        assert_eq!(found(v2, &limits), none);
        assert_eq!(found(v2, &limits[..1]), ["TasksMax"]);
        assert_eq!(
            found(v2, &[("a.slice/x.service/cgroup.procs", "7\n")]),
            both
        );
        let open = limits.map(|(path, _)| (path, "max\n"));
        assert_eq!(found(v2, &open), both);
        let v1 = "9:name=systemd:/a\n8:pids:/b\n4:memory,x:/c\n0::/a\n";
        let limits = [
            ("memory,x/c/memory.limit_in_bytes", "268435456\n"),
            ("pids/b/pids.max", "64\n"),
        ];
        assert_eq!(found(v1, &limits), none);
        let open = [
            ("memory,x/c/memory.limit_in_bytes", "9223372036854771712\n"),
            ("pids/b/pids.max", "max\n"),
        ];
        assert_eq!(found(v1, &open), both);
        // Where nothing can be seen nothing is said.
        assert_eq!(found(v2, &[]), none);
        assert_eq!(found("", &[]), none);
    }
}
