//! Puts a changed text in the place of a configuration file: whole or not at all, with its mode and owner, the old text
//! kept under a number for its owner alone. Refuses a file that somebody else changed meanwhile and a link that leads out
//! of its directory, where the owner of the link need not be the owner of the file. Every new file gets a name that nobody
//! has, so that nothing of somebody else's is replaced and no link is followed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::load;

/// Old texts that are kept.
const BACKUPS: usize = 5;
/// Backups have smaller numbers; what looks like a date is somebody else's.
const NUMBERS: u64 = 1_000_000;
/// Names that are tried for a new file.
const TRIES: u64 = 1000;
/// For nobody but the owner.
const PRIVATE: u32 = 0o600;
/// For the owner's group to read as well.
const READABLE: u32 = 0o640;

/// Whose a new file is.
#[derive(Clone, Copy)]
enum Owner<'a> {
    /// Whoever makes it.
    Own,
    /// The owner and group of this one.
    Of(&'a fs::Metadata),
    /// Whoever makes it, and this group.
    Group(u32),
}

/// Why a file was not read or replaced.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SaveError {
    message: String,
    /// What to do.
    pub help: &'static str,
}

impl SaveError {
    fn new(message: String, help: &'static str) -> Self {
        Self { message, help }
    }
}

fn failed(doing: &str, path: &Path) -> impl Fn(io::Error) -> SaveError {
    let what = format!("cannot {doing} {}", path.display());
    move |error| {
        let help = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "do it as the user to whom the folder belongs, or give that right to this one"
            }
            io::ErrorKind::ReadOnlyFilesystem => "the file system is mounted for reading only",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "make room on the disk and try again"
            }
            io::ErrorKind::NotFound => "make what is missing, or remove the link that leads to it",
            _ => "check the path and the file system",
        };
        SaveError::new(format!("{what}: {error}"), help)
    }
}

/// The text of the file that is to be changed; empty when there is none.
///
/// # Errors
/// When it is no file, not text, too big or cannot be read.
pub fn read(file: &Path) -> Result<String, SaveError> {
    let told = |message| format!("{}: {message}", file.display());
    let bytes = load::read(load::open(file))
        .map_err(|(message, help)| SaveError::new(told(message), help))?;
    let bytes = bytes.unwrap_or_default();
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let message = format!("invalid UTF-8 at byte {}", error.valid_up_to());
        SaveError::new(told(message), "save the file in the encoding UTF-8")
    })?;
    Ok(text.to_owned())
}

/// Replaces the text `before` of the file by `after`, whole or not at all, with its mode and owner; keeps the old one as
/// `NAME.bak.N`, which nobody but the owner reads, and gives that path, or nothing when there was no file.
///
/// # Errors
/// When it has changed meanwhile, leads elsewhere by a link, or cannot be written.
pub fn save(file: &Path, before: &str, after: &str) -> Result<Option<PathBuf>, SaveError> {
    replace(file, before, after, None)
}

/// The same; a file that was not there is readable for this group.
///
/// # Errors
/// As for [`save`].
pub fn save_for(
    file: &Path,
    before: &str,
    after: &str,
    readers: u32,
) -> Result<Option<PathBuf>, SaveError> {
    replace(file, before, after, Some(readers))
}

fn replace(
    file: &Path,
    before: &str,
    after: &str,
    readers: Option<u32>,
) -> Result<Option<PathBuf>, SaveError> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed("make", folder))?;
    // One change at a time; the lock ends with the descriptor.
    let lock = File::open(folder).map_err(failed("open", folder))?;
    lock.lock().map_err(failed("lock", folder))?;
    let file = &target(file, folder)?;
    if read(file)? != before {
        return Err(SaveError::new(
            format!(
                "{} was changed at the same time by somebody else; nothing is written",
                file.display()
            ),
            "try again",
        ));
    }
    if before == after {
        return Ok(None);
    }
    let old = match fs::metadata(file) {
        Ok(old) => Some(old),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed("read", file)(error)),
    };
    let backup = match &old {
        Some(old) => Some(keep(file, before, old)?),
        None => None,
    };
    let owner = match (&old, readers) {
        (Some(old), _) => Owner::Of(old),
        (None, Some(group)) => Owner::Group(group),
        (None, None) => Owner::Own,
    };
    let mode = match owner {
        Owner::Of(old) => old.mode() & 0o777,
        Owner::Group(_) => READABLE,
        Owner::Own => PRIVATE,
    };
    let names = (1..TRIES).map(|number| beside(file, &format!(".new.{number}")));
    let fresh = write(names, after, owner, mode)?;
    fs::rename(&fresh, file)
        .map_err(failed("replace", file))
        .inspect_err(|_| drop(fs::remove_file(&fresh)))?;
    lock.sync_all().map_err(failed("sync", folder))?;
    Ok(backup)
}

/// The file itself, or that which a link in its own directory means.
fn target(file: &Path, folder: &Path) -> Result<PathBuf, SaveError> {
    if !fs::symlink_metadata(file).is_ok_and(|meta| meta.is_symlink()) {
        return Ok(file.to_owned());
    }
    let real = file.canonicalize().map_err(failed("follow", file))?;
    let home = folder.canonicalize().map_err(failed("follow", folder))?;
    match real.parent() == Some(&home) {
        true => Ok(real),
        false => Err(SaveError::new(
            format!(
                "{} is a link to {}, in another directory",
                file.display(),
                real.display()
            ),
            "name that file with --config, or put a file in the place of the link",
        )),
    }
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    file.with_file_name(name)
}

/// Writes a new file under the first of these names that nobody has, with this mode and the owner of the old one, and has
/// it on the disk.
fn write(
    names: impl Iterator<Item = PathBuf>,
    text: &str,
    owner: Owner<'_>,
    mode: u32,
) -> Result<PathBuf, SaveError> {
    let (path, file) = create(names)?;
    fill(&path, &file, text, owner, mode).inspect_err(|_| drop(fs::remove_file(&path)))?;
    Ok(path)
}

fn create(names: impl Iterator<Item = PathBuf>) -> Result<(PathBuf, File), SaveError> {
    for path in names {
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(PRIVATE);
        match opened.open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("write", &path)(error)),
        }
    }
    Err(SaveError::new(
        "every name for a new file beside the configuration is taken".to_owned(),
        "move away what is old there",
    ))
}

fn fill(
    path: &Path,
    mut file: &File,
    text: &str,
    owner: Owner<'_>,
    mode: u32,
) -> Result<(), SaveError> {
    let new = file.metadata().map_err(failed("write", path))?;
    let differs = |old: u32, new: u32| (old != new).then_some(old);
    let wanted = match owner {
        Owner::Own => None,
        Owner::Of(old) => Some((differs(old.uid(), new.uid()), differs(old.gid(), new.gid()))),
        Owner::Group(group) => Some((None, differs(group, new.gid()))),
    };
    if let Some((user, group)) = wanted {
        let given = fchown(file, user, group);
        // A group without rights may be another one.
        if given.is_err() && (user.is_some() || mode & 0o070 != 0) {
            return Err(SaveError::new(
                format!(
                    "{} cannot be given the owner of the old file, so nothing is changed",
                    path.display()
                ),
                "do it as that user or as root",
            ));
        }
    }
    file.set_permissions(fs::Permissions::from_mode(mode))
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all())
        .map_err(failed("write", path))
}

/// Keeps the old text under the next number and drops what is too old.
fn keep(file: &Path, text: &str, old: &fs::Metadata) -> Result<PathBuf, SaveError> {
    let found = numbers(file).map_err(failed("list the backups of", file))?;
    // After the last that has a free number after it.
    let next = |number: u64| (number + 1 < NUMBERS).then(|| number + 1);
    let names = found.iter().rev().map(|(number, _)| *number).chain([0]);
    let names = names.filter_map(next);
    let names = names.map(|number| beside(file, &format!(".bak.{number}")));
    let path = write(names, text, Owner::Of(old), PRIVATE)?;
    let own: Vec<u64> = { found.iter().filter(|(_, file)| *file) }
        .map(|(number, _)| *number)
        .collect();
    let surplus = (own.len() + 1).saturating_sub(BACKUPS);
    for number in &own[..surplus] {
        let path = beside(file, &format!(".bak.{number}"));
        fs::remove_file(&path).map_err(failed("remove the old backup", &path))?;
    }
    Ok(path)
}

/// The numbers of the backups, in order, and whether it is a file that has the name.
fn numbers(file: &Path) -> io::Result<Vec<(u64, bool)>> {
    let folder = file.parent().filter(|path| !path.as_os_str().is_empty());
    let prefix = beside(file, ".bak.");
    let prefix = prefix.file_name().unwrap_or_default().to_string_lossy();
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(&*prefix));
        // Only names that are written here: no sign, no leading zero, not too large.
        let number = number.and_then(|text| Some((text, text.parse::<u64>().ok()?)));
        let number = number.filter(|(text, n)| n.to_string() == *text && *n < NUMBERS);
        if let Some((_, number)) = number {
            numbers.push((number, entry.file_type()?.is_file()));
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::Barrier;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_change_keeps_the_mode_and_for_the_owner_alone_the_old_text_and_leaves_nothing_else_behind()
    {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clawdbot.json");
        fs::write(&file, "one").unwrap();
        for mode in [0o600, 0o644, 0o400] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let text = read(&file).unwrap();
            let backup = save(&file, &text, &format!("{text}+")).unwrap().unwrap();
            assert_eq!(fs::read_to_string(&backup).unwrap(), text);
            for (path, mode) in [(&file, mode), (&backup, 0o600)] {
                assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, mode);
            }
        }
        assert_eq!(read(&file).unwrap(), "one+++");
        assert_eq!(
            names(folder.path()),
            [
                "clawdbot.json",
                "clawdbot.json.bak.1",
                "clawdbot.json.bak.2",
                "clawdbot.json.bak.3"
            ]
        );
        assert_eq!(save(&file, "one+++", "one+++").unwrap(), None);
        assert_eq!(names(folder.path()).len(), 4, "no change, no backup");
    }

    #[test]
    fn the_owner_stays_or_nothing_changes() {
        use std::os::unix::fs::chown;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.json");
        fs::write(&file, "old").unwrap();
        let own = fs::metadata(&file).unwrap();
        // Only root can give a file away; for everybody else the owner is the own one.
        let (user, group) = match chown(&file, Some(12_345), Some(12_346)) {
            Ok(()) => (12_345, 12_346),
            Err(_) => (own.uid(), own.gid()),
        };
        let backup = save(&file, "old", "new").unwrap().unwrap();
        for path in [&file, &backup] {
            let meta = fs::metadata(path).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (user, group));
        }
    }

    #[test]
    fn the_last_five_texts_are_kept_and_what_only_looks_like_a_backup_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.json");
        let strange = ["c.json.bak.007", "c.json.bak.x", "c.json.bak", "x.bak.1"];
        for name in strange {
            fs::write(folder.path().join(name), name).unwrap();
        }
        for number in 0..9 {
            let text = read(&file).unwrap();
            save(&file, &text, &number.to_string()).unwrap();
        }
        let found = names(folder.path());
        let backups: Vec<_> = (4..9).map(|n| format!("c.json.bak.{n}")).collect();
        for name in backups.iter().map(String::as_str).chain(strange) {
            assert!(found.iter().any(|found| found == name), "{name}: {found:?}");
        }
        assert_eq!(found.len(), 1 + 5 + strange.len());
        assert_eq!(
            fs::read_to_string(folder.path().join("c.json.bak.8")).unwrap(),
            "7"
        );
    }

    #[test]
    fn nothing_of_somebody_elses_is_replaced_followed_or_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.json");
        let theirs = folder.path().join("theirs");
        // Among them dates, the largest number there is, a folder, and links with and without an end.
        let names_of_others = [
            "c.json.new",
            "c.json.new.1",
            "c.json.bak.20240101",
            "c.json.bak.18446744073709551615",
            "c.json.bak.1000000",
            "theirs",
        ];
        for name in names_of_others {
            fs::write(folder.path().join(name), name).unwrap();
        }
        fs::create_dir(folder.path().join("c.json.bak.3")).unwrap();
        symlink(&theirs, folder.path().join("c.json.bak.4")).unwrap();
        symlink("nowhere", folder.path().join("c.json.bak.5")).unwrap();
        symlink(&theirs, folder.path().join("c.json.new.2")).unwrap();
        fs::write(&file, "0").unwrap();
        for number in 1..10 {
            let text = read(&file).unwrap();
            let backup = save(&file, &text, &number.to_string()).unwrap().unwrap();
            assert_eq!(fs::read_to_string(&backup).unwrap(), text);
            assert_eq!(backup, beside(&file, &format!(".bak.{}", number + 5)));
        }
        for name in names_of_others {
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), name);
        }
        assert!(!folder.path().join("nowhere").exists());
        // The file, five backups, and what was there before.
        assert_eq!(
            names(folder.path()).len(),
            1 + 5 + names_of_others.len() + 4
        );
        // Where the last number is taken, the next free one below is.
        fs::write(folder.path().join("c.json.bak.999999"), "theirs").unwrap();
        let backup = save(&file, "9", "10").unwrap().unwrap();
        assert_eq!(backup, beside(&file, ".bak.15"));
        assert_eq!(
            fs::read_to_string(folder.path().join("c.json.bak.999999")).unwrap(),
            "theirs"
        );
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone_and_so_is_a_directory_that_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state/clawdbot.json");
        assert_eq!(save(&file, "", "{}\n").unwrap(), None);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            fs::metadata(file.parent().unwrap()).unwrap().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn what_somebody_else_wrote_meanwhile_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.json");
        fs::write(&file, "theirs").unwrap();
        let error = save(&file, "before", "mine").unwrap_err().to_string();
        assert!(error.contains("at the same time"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "theirs");
        assert_eq!(names(folder.path()), ["c.json"]);
    }

    #[test]
    fn a_file_that_was_not_there_is_readable_for_whom_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.json");
        let group = fs::metadata(folder.path()).unwrap().gid();
        save_for(&file, "", "{}", group).unwrap();
        let made = fs::metadata(&file).unwrap();
        assert_eq!((made.mode() & 0o777, made.gid()), (0o640, group));
        // What is there keeps what it has.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        save_for(&file, "{}", "{ }", group).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn of_two_changes_at_the_same_time_one_is_made_and_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.json");
        fs::write(&file, "old").unwrap();
        let barrier = Barrier::new(8);
        let one = |number: usize| {
            barrier.wait();
            save(&file, "old", &format!("new {number}")).is_ok()
        };
        let made = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|n| scope.spawn(move || one(n))).collect();
            let done = all.into_iter().map(|thread| thread.join().unwrap());
            done.filter(|made| *made).count()
        });
        assert_eq!(made, 1);
        assert_eq!(names(folder.path()), ["c.json", "c.json.bak.1"]);
    }

    #[test]
    fn a_link_is_followed_in_its_directory_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let link = folder.path().join("clawdbot.json");
        let near = folder.path().join("real.json");
        let far = elsewhere.path().join("real.json");
        for real in [&near, &far] {
            fs::write(real, "old").unwrap();
        }
        symlink("real.json", &link).unwrap();
        save(&link, "old", "new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&near).unwrap(), "new");
        fs::remove_file(&link).unwrap();
        symlink(&far, &link).unwrap();
        let error = save(&link, "old", "new").unwrap_err().to_string();
        assert!(error.contains("another directory"), "{error}");
        assert_eq!(fs::read_to_string(&far).unwrap(), "old");
        assert_eq!(names(elsewhere.path()), ["real.json"]);
    }

    #[test]
    fn what_is_no_small_text_file_is_not_edited() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).is_err());
        let file = folder.path().join("c.json");
        fs::write(&file, b"\xff").unwrap();
        assert!(read(&file).is_err());
        fs::write(&file, " ".repeat(load::MAX_SIZE + 1)).unwrap();
        let error = read(&file).unwrap_err();
        assert!(error.to_string().contains("larger") && error.help.contains("another file"));
        // What is large is that, whatever is in it.
        fs::write(&file, [0xff; load::MAX_SIZE + 1]).unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("larger"));
        fs::write(&file, "{}").unwrap();
        assert_eq!(read(&file).unwrap(), "{}");
    }
}
