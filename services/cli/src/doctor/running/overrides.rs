//! Sockets and slices over which somebody put something, by the files that lie there: to ask the service manager about each
//! of them would take longer than everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::apply::MARK;

/// Where the package has its units; the second is the old name of the first.
const PACKAGE: [&str; 2] = ["usr/lib/systemd/system", "lib/systemd/system"];
/// Where others have theirs. What lies in a later one wins.
const OTHERS: [&str; 5] = [
    "usr/local/lib/systemd/system",
    "run/systemd/system",
    "etc/systemd/system",
    "run/systemd/system.control",
    "etc/systemd/system.control",
];

/// A unit of the package with what was put over it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overridden {
    pub id: String,
    /// The file that stands in place of the shipped one.
    pub replaced: Option<String>,
    /// In the order in which they are read.
    pub drop_ins: Vec<String>,
}

/// The sockets and slices of ours over which something was put. What `clawdbot apply` writes is passed over: it follows the
/// configuration, which is judged by itself.
pub fn look(root: &Path) -> Vec<Overridden> {
    let shipped = PACKAGE.iter().flat_map(|folder| names(&root.join(folder)));
    let shipped: BTreeSet<String> = shipped.filter(|name| is_watched(name)).collect();
    let others: Vec<_> = OTHERS
        .iter()
        .map(|folder| (*folder, names(&root.join(folder))))
        .collect();
    let one = |id: String| {
        let replaced = others.iter().filter(|(_, names)| names.contains(&id));
        let mut replaced = replaced.map(|(folder, _)| format!("/{folder}/{id}"));
        let mut drop_ins = BTreeMap::new();
        for name in families(&id) {
            for (folder, names) in &others {
                if names.contains(&name) {
                    drop_ins.extend(files(root, &format!("/{folder}/{name}")));
                }
            }
        }
        Overridden {
            replaced: replaced.next_back(),
            drop_ins: drop_ins.into_values().collect(),
            id,
        }
    };
    let found = shipped.into_iter().map(one);
    found
        .filter(|unit| unit.replaced.is_some() || !unit.drop_ins.is_empty())
        .collect()
}

fn is_watched(name: &str) -> bool {
    name.starts_with("clawdbot") && (name.ends_with(".socket") || name.ends_with(".slice"))
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// The folders of a unit's drop-ins: that of all of its kind, those of each beginning of its name, and its own. What lies in
/// a later one wins.
fn families(id: &str) -> Vec<String> {
    let (name, kind) = id.rsplit_once('.').unwrap_or((id, ""));
    let heads = name.match_indices('-').map(|(at, _)| &name[..=at]);
    let own = heads.chain([name]).map(|head| format!("{head}.{kind}.d"));
    [format!("{kind}.d")].into_iter().chain(own).collect()
}

/// Drop-ins of one folder by their names, as the service manager sorts them.
fn files(root: &Path, folder: &str) -> Vec<(String, String)> {
    let inside = names(&root.join(folder.trim_start_matches('/')));
    let files = inside.into_iter().filter(|name| name.ends_with(".conf"));
    files
        .map(|name| (name.clone(), format!("{folder}/{name}")))
        .collect()
}

/// Whether a file is one that `clawdbot apply` wrote.
pub fn is_applied(text: &str) -> bool {
    text.lines().next() == Some(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_over_sockets_and_slices_is_found_in_the_order_in_which_it_is_read() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "usr/lib/systemd/system/clawdbot-policy-from-gateway.socket",
            "usr/lib/systemd/system/clawdbot-policy.service",
            "usr/lib/systemd/system/clawdbot.slice",
            "usr/lib/systemd/system/clawdbot-model.slice",
            "usr/lib/systemd/system/other.socket",
            "etc/systemd/system/other.socket.d/a.conf",
            "etc/systemd/system/clawdbot-mine.socket",
            "etc/systemd/system/clawdbot-policy.service.d/a.conf",
            "etc/systemd/system/clawdbot.slice",
            "run/systemd/system/clawdbot-policy-from-gateway.socket.d/b.conf",
            "etc/systemd/system/clawdbot-policy-from-gateway.socket.d/b.conf",
            "etc/systemd/system/clawdbot-policy-from-gateway.socket.d/readme",
            "run/systemd/system/socket.d/c.conf",
            "etc/systemd/system.control/clawdbot-.socket.d/a.conf",
            "etc/systemd/system/clawdbot-other-.socket.d/a.conf",
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let socket = Overridden {
            id: "clawdbot-policy-from-gateway.socket".into(),
            replaced: None,
            drop_ins: vec![
                "/etc/systemd/system.control/clawdbot-.socket.d/a.conf".into(),
                "/etc/systemd/system/clawdbot-policy-from-gateway.socket.d/b.conf".into(),
                "/run/systemd/system/socket.d/c.conf".into(),
            ],
        };
        let slice = Overridden {
            id: "clawdbot.slice".into(),
            replaced: Some("/etc/systemd/system/clawdbot.slice".into()),
            drop_ins: Vec::new(),
        };
        assert_eq!(look(root.path()), [socket, slice]);
        assert!(is_applied(&format!("{MARK}\n[Socket]\n")));
        assert!(!is_applied("[Socket]\n"));
    }
}
