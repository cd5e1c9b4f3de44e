//! System mode: each process has folders of its own, by its profile, and nobody else's user may own them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clawdbot_config::Severity::Critical;
use clawdbot_confine::landlock::Access;
use clawdbot_confine::profile;
use clawdbot_confine::profile::Mode;
use clawdbot_identity::{Class, Role};
use clawdbot_service::system;

use crate::doctor::check::{Check, Hit, Hits};
use crate::doctor::facts::Facts;
use crate::place::word;

/// A folder that one user writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFolder {
    pub path: PathBuf,
    /// Whose it is by the tables.
    pub user: String,
    /// Whose it is; nothing where it is not there or cannot be seen.
    pub uid: Option<u32>,
}

pub const CHECKS: &[Check] = &[Check {
    id: "fs.own_dir.owner",
    severity: Critical,
    title: "The folder of a process is somebody else's",
    why: "The process cannot keep anything there, and whoever owns it can replace what it finds.",
    help: "give it back",
    command: "sudo systemd-tmpfiles --create clawdbot.conf",
    fixes: false,
    look: |facts, hits| {
        for folder in &facts.running.folders {
            let wanted = facts.running.accounts.uid(&folder.user);
            if let (Some(uid), Some(wanted)) = (folder.uid, wanted)
                && uid != wanted
            {
                add(facts, hits, folder, uid);
            }
        }
    },
}];

fn add(facts: &Facts, hits: &mut Hits, folder: &OwnFolder, uid: u32) {
    let known = facts.running.accounts.user(uid);
    let is = known.map_or_else(|| format!("the user with id {uid}"), str::to_owned);
    let path = word(&folder.path.display().to_string());
    hits.add(Hit {
        command: Some(format!("sudo chown -R {0}:{0} {path}", folder.user)),
        ..Hit::file(
            &folder.path,
            format!("it belongs to {is} instead of {}", folder.user),
        )
    });
}

/// What each installed process writes to, and the workspaces, below these two places.
pub fn look(state: &Path, workspaces: &Path) -> Vec<OwnFolder> {
    let mut wanted: Vec<(PathBuf, String)> = Vec::new();
    for role in system::roles() {
        let Some(profile) = profile(role.as_str()) else {
            continue;
        };
        let own = profile
            .files(Mode::System)
            .filter(|row| row.access == Access::ReadWriteDir);
        for row in own {
            let place = row.place.to_string();
            if let Some(below) = place.strip_prefix("STATE/") {
                let name = role.as_str().split_once('-').map_or("", |(_, name)| name);
                wanted.push((
                    state.join(below.replace("INSTANCE", name)),
                    system::user_of(&role),
                ));
            }
        }
    }
    for class in Class::ALL {
        let user = system::user_of(&Role::sandbox(class));
        wanted.push((workspaces.join(class.as_str()), user));
    }
    let folders = wanted.into_iter().map(|(path, user)| OwnFolder {
        uid: fs::symlink_metadata(&path)
            .ok()
            .filter(fs::Metadata::is_dir)
            .map(|found| found.uid()),
        path,
        user,
    });
    folders.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_of_the_profiles_are_looked_at_with_whose_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path();
        fs::create_dir_all(state.join("sessions/guest")).unwrap();
        fs::create_dir_all(state.join("work/main")).unwrap();
        let folders = look(state, &state.join("work"));
        let of = |below: &str| {
            let path = state.join(below);
            let found = folders.iter().find(|folder| folder.path == path);
            found.unwrap_or_else(|| panic!("{below} is nobody's: {folders:?}"))
        };
        for (below, user, there) in [
            ("queue", "clawdbot-gateway", false),
            ("audit", "clawdbot-policy", false),
            ("pairing", "clawdbot-policy", false),
            ("credentials", "clawdbot-broker", false),
            ("sessions/guest", "clawdbot-agent-guest", true),
            ("channels/telegram", "clawdbot-channel-telegram", false),
            ("work/main", "clawdbot-sandbox-main", true),
        ] {
            assert_eq!(
                (of(below).user.as_str(), of(below).uid.is_some()),
                (user, there)
            );
        }
        let me = rustix::process::geteuid().as_raw();
        assert_eq!(of("work/main").uid, Some(me));
        assert!(
            folders
                .iter()
                .all(|folder| !folder.path.to_string_lossy().contains("INSTANCE"))
        );
    }
}
