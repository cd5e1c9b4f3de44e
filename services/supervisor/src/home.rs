//! Whose processes these are, and where their state lies. Root becomes an ordinary user at once and for
//! good; a state directory that others could write is refused, since everything in it is trusted.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clawdbot_confine::process::{self, User};
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::options::Options;

/// How long a start waits for the last process of an earlier run to end.
const LEFTOVERS: Duration = Duration::from_secs(3);

/// Why nothing was started.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) remedy: String,
    /// Exit status.
    pub(crate) code: u8,
}

impl Refusal {
    pub(crate) fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            remedy: remedy.into(),
            code: 1,
        }
    }

    pub(crate) fn io(what: &str, error: &io::Error, remedy: &str) -> Self {
        Self::new(format!("{what}: {error}"), remedy)
    }
}

/// Started by root: becomes the ordinary user that `--user` names, by default `clawdbot` or `nobody`,
/// after making the state directory for it. Anybody else stays who they are, without what a session left them of root's
/// rights: service managers of users pass CAP_WAKE_ALARM on.
pub(crate) fn become_ordinary(options: &Options) -> Result<(), Refusal> {
    if !rustix::process::geteuid().is_root() {
        return match &options.user {
            Some(user) => Err(Refusal::new(
                format!("--user {user} works for root only"),
                "leave it out: everything runs as you",
            )),
            None => process::assert_identity().map_err(|error| Refusal::new(error.to_string(), "")),
        };
    }
    let user = ordinary_user(options.user.as_deref())?;
    for directory in [options.state_dir.clone(), work_dir(&options.state_dir)] {
        make_for(&directory, &user)?;
    }
    process::drop_to(user.uid, user.gid).map_err(|error| {
        Refusal::new(
            format!("cannot become user {}: {error}", user.name),
            "start it as that user",
        )
    })
}

fn ordinary_user(wanted: Option<&str>) -> Result<User, Refusal> {
    let lookup = |name: &str| {
        process::lookup_user(name).map_err(|e| Refusal::io("/etc/passwd", &e, "mend the file"))
    };
    let found = match wanted {
        Some(name) => lookup(name)?,
        None => match lookup("clawdbot")? {
            None => lookup("nobody")?,
            found => found,
        },
    };
    let name = wanted.unwrap_or("nobody");
    match found {
        Some(user) if user.uid != 0 => Ok(user),
        Some(_) => Err(Refusal::new(
            format!("user {name} is root by another name"),
            "name an ordinary user with --user",
        )),
        None => Err(Refusal::new(
            format!("there is no user {name} in /etc/passwd"),
            "name an ordinary user with --user",
        )),
    }
}

fn make_for(directory: &Path, user: &User) -> Result<(), Refusal> {
    let shown = directory.display();
    match DirBuilder::new()
        .recursive(false)
        .mode(0o700)
        .create(directory)
    {
        Ok(()) => give(directory, user)
            .map_err(|e| Refusal::io(&format!("cannot give {shown} to {}", user.name), &e, "")),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(directory)
                .map_err(|e| Refusal::io(&shown.to_string(), &e, "choose another --state-dir"))?;
            if found.is_dir() && found.uid() == user.uid {
                return Ok(());
            }
            Err(Refusal::new(
                format!(
                    "{shown} does not belong to user {}, who runs everything",
                    user.name
                ),
                format!(
                    "chown -R {} {shown}, or choose another --state-dir or --user",
                    user.name
                ),
            ))
        }
        Err(error) => Err(Refusal::io(
            &format!("cannot make {shown}"),
            &error,
            "make its parent directory, or choose another --state-dir",
        )),
    }
}

/// Gives a directory that was just made to its user. It is looked at through a descriptor: whoever may
/// write to its parent could have put another one in its place.
fn give(directory: &Path, user: &User) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let open = rustix::fs::open(directory, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&open)?;
    if found.st_uid != 0 || found.st_mode & 0o077 != 0 {
        return Err(io::Error::other("somebody changed it meanwhile"));
    }
    fchown(&open, Some(user.uid), Some(user.gid))
}

/// Where workspaces lie when there is no home directory: beside the state, since the state is no place
/// for what tools may write.
pub(crate) fn work_dir(state_dir: &Path) -> PathBuf {
    let mut name = state_dir.as_os_str().to_owned();
    name.push("-work");
    PathBuf::from(name)
}

/// Makes or checks the state directory: a directory of this user that nobody else can write.
pub(crate) fn check_state(state_dir: &Path) -> Result<(), Refusal> {
    let shown = state_dir.display().to_string();
    match DirBuilder::new().mode(0o700).create(state_dir) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(Refusal::io(
                &format!("cannot make {shown}"),
                &error,
                "make its parent directory, or choose another with --state-dir",
            ));
        }
    }
    let found = fs::metadata(state_dir)
        .map_err(|e| Refusal::io(&shown, &e, "choose another with --state-dir"))?;
    if !found.is_dir() {
        return Err(Refusal::new(
            format!("{shown} is not a directory"),
            "move it away, or choose another with --state-dir",
        ));
    }
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != own {
        return Err(Refusal::new(
            format!(
                "{shown} belongs to user {}, and this is user {own}",
                found.uid()
            ),
            format!("as root: chown -R {own} {shown}, or choose another with --state-dir"),
        ));
    }
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(Refusal::new(
            format!(
                "others can write to {shown} (mode {mode:04o}), so nothing in it can be trusted"
            ),
            format!("look through it, then: chmod 700 {shown}"),
        ));
    }
    if mode & 0o055 != 0 {
        fs::set_permissions(state_dir, fs::Permissions::from_mode(0o700))
            .map_err(|e| Refusal::io(&format!("cannot set mode 0700 on {shown}"), &e, ""))?;
    }
    Ok(())
}

/// The lock that keeps a second start away from the same state. It is held as long as any process of
/// this run that could still tidy up.
pub(crate) fn lock(run_dir: &Path) -> Result<File, Refusal> {
    let path = run_dir.join("lock");
    let shown = path.display().to_string();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| Refusal::io(&shown, &e, "mend the state directory"))?;
    let deadline = Instant::now() + LEFTOVERS;
    while let Err(errno) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if errno != rustix::io::Errno::WOULDBLOCK {
            return Err(Refusal::io(
                &shown,
                &errno.into(),
                "mend the state directory",
            ));
        }
        let holder = fs::read_to_string(&path).unwrap_or_default();
        if is_running(holder.trim()) || Instant::now() >= deadline {
            return Err(Refusal::new(
                format!(
                    "clawdbot is already running here (process {})",
                    holder.trim()
                ),
                "talk to it with `clawdbot chat`, or stop it first",
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = std::process::id().to_string();
    file.set_len(0)
        .and_then(|()| io::Write::write_all(&mut &file, pid.as_bytes()))
        .map_err(|e| Refusal::io(&shown, &e, "make room on the disk"))?;
    Ok(file)
}

fn is_running(pid: &str) -> bool {
    let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_state_directory_is_made_private() {
        let scratch = tempfile::tempdir().unwrap();
        let state = scratch.path().join("state");
        check_state(&state).unwrap();
        assert_eq!(
            fs::metadata(&state).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn a_state_directory_that_others_can_write_is_refused_with_the_remedy() {
        let scratch = tempfile::tempdir().unwrap();
        for mode in [0o770, 0o777, 0o702] {
            fs::set_permissions(scratch.path(), fs::Permissions::from_mode(mode)).unwrap();
            let refusal = check_state(scratch.path()).unwrap_err();
            assert!(
                refusal.remedy.contains("chmod 700"),
                "{mode:o}: {}",
                refusal.remedy
            );
        }
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
        check_state(scratch.path()).unwrap();
        assert_eq!(
            fs::metadata(scratch.path()).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn a_file_in_the_place_of_the_state_directory_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let state = scratch.path().join("state");
        fs::write(&state, "").unwrap();
        assert!(
            check_state(&state)
                .unwrap_err()
                .message
                .contains("not a directory")
        );
    }

    #[test]
    fn a_second_start_on_the_same_state_is_refused_at_once_while_the_first_runs() {
        let scratch = tempfile::tempdir().unwrap();
        let first = lock(scratch.path()).unwrap();
        let refusal = lock(scratch.path()).unwrap_err();
        assert!(
            refusal.message.contains(&std::process::id().to_string()),
            "{}",
            refusal.message
        );
        drop(first);
        lock(scratch.path()).unwrap();
    }
}
