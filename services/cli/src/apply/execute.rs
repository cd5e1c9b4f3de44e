//! Does the steps, in order, and stops at the first that fails: the files come first, so that what runs goes on running
//! when one cannot be written. A file is replaced whole, by a name that nobody has.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use clawdbot_identity::text::sanitize_line;
use clawdbot_service::system::TARGET;

use super::plan::Step;
use super::wanted::USERS;
use crate::failure::Failure;
use crate::manager::{Manager, program, run};

/// For everybody to read: nothing in these files is secret, and the service manager is not the only reader.
const MODE: u32 = 0o644;

/// Does all of them, and tells each on standard error if `tell`. After one that fails only the start is still done where
/// something was stopped, so that what can run does.
///
/// # Errors
/// The first that fails.
pub fn all(steps: &[Step], tell: bool) -> Result<(), Failure> {
    each(steps, |step| {
        if tell {
            // Nobody has to read it.
            let _unread = writeln!(io::stderr(), "{}", sanitize_line(&step.text()));
        }
        one(step)
    })
}

fn each(steps: &[Step], mut act: impl FnMut(&Step) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut stopped = false;
    for step in steps {
        stopped |= matches!(step, Step::Stop(_));
        if let Err(failure) = act(step) {
            if stopped && steps.contains(&Step::Start) && *step != Step::Start {
                // The first failure is the one to tell.
                let _second = act(&Step::Start);
            }
            return Err(failure);
        }
    }
    Ok(())
}

fn one(step: &Step) -> Result<(), Failure> {
    let failed = |path: &Path, error: &io::Error, runs: &str| {
        Failure::new("apply.write", format!("{}: {error}", path.display())).remedy(format!(
            "make it writable for root, then apply again; {runs}"
        ))
    };
    match step {
        Step::Write(path, text) => {
            write(path, text).map_err(|error| failed(path, &error, "what runs goes on running"))
        }
        Step::Remove(path) => remove(path)
            .map_err(|error| failed(path, &error, "what was stopped for it is started as it was")),
        Step::Users => {
            let mut command = program("systemd-sysusers");
            command.arg(USERS);
            run(&mut command, &format!("systemd-sysusers {USERS}")).map(drop)
        }
        Step::Reload => Manager::System.act(&["daemon-reload"]),
        Step::Stop(units) => {
            // Quietly: else each service is looked at for who could start it, socket by socket.
            let mut arguments = vec!["--quiet", "stop", "--"];
            arguments.extend(units.iter().map(String::as_str));
            Manager::System.act(&arguments)
        }
        Step::Start => Manager::System.act(&["start", "--", TARGET]),
    }
}

/// Puts a file there, whole or not at all, and makes its folder where that is missing.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    if !folder.exists() {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // No unit has such a name, so nobody reads a half-written one.
    let fresh = folder.join(format!(".{name}.new"));
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(&fresh)?;
    let written = file
        .set_permissions(Permissions::from_mode(MODE))
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&fresh, path));
    written.inspect_err(|_| drop(fs::remove_file(&fresh)))
}

/// Removes a file, and its folder of drop-ins when nothing else is in there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let folder = path
        .parent()
        .filter(|folder| folder.extension().is_some_and(|end| end == "d"));
    match folder.map(fs::remove_dir) {
        Some(Err(error))
            if !matches!(
                error.kind(),
                ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound
            ) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.socket.d/50-clawdbot-apply.conf");
        write(&path, "one").unwrap();
        write(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, "theirs").unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&elsewhere, &path).unwrap();
        symlink(
            &elsewhere,
            path.with_file_name(".50-clawdbot-apply.conf.new"),
        )
        .unwrap();
        write(&path, "three").unwrap();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "theirs");
        assert!(!path.is_symlink());
    }

    #[test]
    fn what_was_stopped_is_started_again_whatever_fails_after_it() {
        let stop = Step::Stop(vec!["x.socket".into()]);
        let steps = [Step::Users, stop, Step::Reload, Step::Start];
        // The step that fails, and those that are tried.
        for (fails, tried) in [
            (None, &[0, 1, 2, 3][..]),
            (Some(0), &[0]),
            (Some(1), &[0, 1, 3]),
            (Some(2), &[0, 1, 2, 3]),
            (Some(3), &[0, 1, 2, 3]),
        ] {
            let mut acts = Vec::new();
            let result = each(&steps, |step| {
                let at = steps.iter().position(|known| known == step).unwrap();
                acts.push(at);
                match Some(at) == fails {
                    true => Err(Failure::new("x", "no")),
                    false => Ok(()),
                }
            });
            assert_eq!(result.is_err(), fails.is_some());
            assert_eq!(acts, tried);
        }
    }

    #[test]
    fn an_empty_folder_of_drop_ins_goes_with_its_last_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.socket.d/a.conf");
        let other = path.with_file_name("b.conf");
        write(&path, "").unwrap();
        write(&other, "").unwrap();
        remove(&path).unwrap();
        assert!(other.exists());
        remove(&other).unwrap();
        assert!(!other.parent().unwrap().exists());
        remove(&other).unwrap();
    }
}
