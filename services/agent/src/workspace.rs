//! The workspace's bootstrap files, looked at for each turn so that an edit counts at once, and read when they have changed.
//! Only regular files are read and only as far as they reach the prompt; a file that cannot be read is named in the log
//! once and the turn goes on.

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clawdbot_identity::Class;
use tracing::warn;

/// Name, and whether sessions of the class guest see it: long-term memory is the owner's.
const FILES: [(&str, bool); 7] = [
    ("AGENTS.md", true),
    ("SOUL.md", true),
    ("TOOLS.md", true),
    ("IDENTITY.md", true),
    ("USER.md", true),
    ("BOOTSTRAP.md", true),
    ("MEMORY.md", false),
];

/// A file that was written to this recently may be written to again without another time of change: file systems count in
/// steps, the coarsest that is common in two seconds.
const SETTLED: Duration = Duration::from_secs(3);
/// Files that are remembered: those of more workspaces than anybody has.
const REMEMBERED: usize = 64 * FILES.len();

/// A file's part of the prompt.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    pub name: &'static str,
    pub text: Arc<str>,
}

/// Makes the folder, for its owner alone, if there is nothing of that name.
pub fn make_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

/// The workspaces of one class: reads bootstrap files and remembers what it has complained about.
pub struct Workspace {
    class: Class,
    readable: Vec<PathBuf>,
    told: HashSet<PathBuf>,
    known: HashMap<PathBuf, Known>,
}

/// What was in a file; `None` where only white space was.
struct Known {
    stamp: Stamp,
    text: Option<Arc<str>>,
}

impl Workspace {
    /// Only what lies in the readable folders is read.
    pub fn new(readable: Vec<PathBuf>, class: Class) -> Self {
        Self {
            class,
            readable,
            told: HashSet::new(),
            known: HashMap::new(),
        }
    }

    /// The folder that the configuration means: a path without a `/` before it begins in the first of the readable ones,
    /// which an empty one is.
    pub fn folder(&self, configured: &str) -> String {
        let first = self.readable.first().map(PathBuf::as_path);
        let folder = match (configured, first) {
            (_, None) => PathBuf::from(configured),
            ("", Some(first)) => first.to_owned(),
            // An absolute path stays what it is.
            (folder, Some(first)) => first.join(folder),
        };
        folder.display().to_string()
    }

    /// The files that are there, in their fixed order, each cut at `max_chars` characters.
    pub fn read(&mut self, configured: &str, max_chars: usize) -> Vec<Part> {
        let folder = PathBuf::from(self.folder(configured));
        if !self.may_read(&folder) {
            self.tell_once(folder);
            return Vec::new();
        }
        let mut parts = Vec::new();
        for (name, for_guests) in FILES {
            if self.class == Class::Guest && !for_guests {
                continue;
            }
            let path = folder.join(name);
            match self.text(&path, max_chars, name) {
                Ok(None) => {}
                Ok(Some(text)) => parts.push(Part { name, text }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    if self.told.insert(path.clone()) {
                        warn!(file = %path.display(), %error, "a workspace file is left out of the prompt");
                    }
                }
            }
        }
        parts
    }

    /// What of a file reaches the prompt.
    fn text(&mut self, path: &Path, max_chars: usize, name: &str) -> io::Result<Option<Arc<str>>> {
        let now = Stamp::of(&fs::metadata(path)?, max_chars);
        if let Some(known) = self.known.get(path).filter(|known| known.stamp == now) {
            return Ok(known.text.clone());
        }
        let (metadata, text) = read_start(path, max_chars)?;
        let text = match text.trim().is_empty() {
            true => None,
            false => Some(capped(text, max_chars, name).into()),
        };
        let age = SystemTime::now().duration_since(metadata.modified()?);
        if age.is_ok_and(|age| age > SETTLED) {
            if self.known.len() >= REMEMBERED {
                self.known.clear();
            }
            let known = Known {
                stamp: Stamp::of(&metadata, max_chars),
                text: Option::clone(&text),
            };
            self.known.insert(path.into(), known);
        }
        Ok(text)
    }

    /// The process was confined to these folders before it knew the configuration.
    fn may_read(&self, folder: &Path) -> bool {
        self.readable
            .iter()
            .any(|readable| folder.starts_with(readable))
            && !folder.components().any(|part| part == Component::ParentDir)
    }

    fn tell_once(&mut self, folder: PathBuf) {
        if !self.told.contains(&folder) {
            warn!(
                folder = %folder.display(), readable = ?self.readable,
                "this workspace was named after the start, so its files are not in the prompt; stop clawdbot and start it again"
            );
            self.told.insert(folder);
        }
    }
}

/// By what a file is known to be the one that was read: where it is, how long, when it was written and when anything about
/// it was changed, in nanoseconds; and how much of it was wanted.
#[derive(PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    length: u64,
    written: (i64, i64),
    changed: (i64, i64),
    max_chars: usize,
}

impl Stamp {
    fn of(file: &Metadata, max_chars: usize) -> Self {
        Self {
            inode: (file.dev(), file.ino()),
            length: file.len(),
            written: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
            max_chars,
        }
    }
}

/// As much as `max_chars` characters can take, and a little more to see that there is more.
fn read_start(path: &Path, max_chars: usize) -> io::Result<(Metadata, String)> {
    // Without O_NONBLOCK a FIFO of that name would hold up every session.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let limit = (max_chars as u64).saturating_mul(4).saturating_add(4);
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    // Where the limit cut a character in two, that one lies beyond the cap.
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Ok((metadata, text))
}

fn capped(mut text: String, max_chars: usize, name: &str) -> String {
    // No text has more characters than bytes.
    if text.len() > max_chars
        && let Some((end, _)) = text.char_indices().nth(max_chars)
    {
        text.truncate(end);
        text.push_str(&format!(
            "\n[cut: only the first {max_chars} characters of {name} are shown]"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use clawdbot_identity::{DEFAULT_WORKSPACE, workspace};

    use super::*;

    fn folder_of(home: &Path, class: Class) -> PathBuf {
        workspace(DEFAULT_WORKSPACE, home.to_str().unwrap(), class).into()
    }

    fn home() -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("clawd");
        make_folder(&folder).unwrap();
        (home, folder)
    }

    fn read(home: &Path, class: Class, max: usize) -> Vec<Part> {
        Workspace::new(vec![folder_of(home, class)], class).read("", max)
    }

    #[test]
    fn files_come_in_their_fixed_order_and_absent_ones_are_no_matter() {
        let home = tempfile::tempdir().unwrap();
        for class in Class::ALL {
            assert!(
                read(home.path(), class, 100).is_empty(),
                "not even the folder is there"
            );
            let folder = folder_of(home.path(), class);
            make_folder(&folder).unwrap();
            for (name, _) in FILES.iter().rev() {
                std::fs::write(folder.join(name), format!("text of {name}")).unwrap();
            }
            std::fs::write(folder.join("SOUL.md"), " \n").unwrap();
            std::fs::write(folder.join("OTHER.md"), "x").unwrap();
        }
        let names = |class| -> Vec<_> {
            read(home.path(), class, 100)
                .iter()
                .map(|part| part.name)
                .collect()
        };
        let all = [
            "AGENTS.md",
            "TOOLS.md",
            "IDENTITY.md",
            "USER.md",
            "BOOTSTRAP.md",
            "MEMORY.md",
        ];
        assert_eq!(names(Class::Main), all);
        assert_eq!(names(Class::Guest), all[..5], "memory is the owner's");
    }

    #[test]
    fn the_cap_counts_characters_and_marks_the_cut() {
        let (home, folder) = home();
        let path = folder.join("AGENTS.md");
        for letter in ["x", "ü", "語", "🦞"] {
            std::fs::write(&path, letter.repeat(20_000)).unwrap();
            assert_eq!(
                *read(home.path(), Class::Main, 20_000)[0].text,
                *letter.repeat(20_000)
            );
            std::fs::write(&path, letter.repeat(20_001)).unwrap();
            let text = &read(home.path(), Class::Main, 20_000)[0].text;
            let (kept, marker) = text.split_once('\n').unwrap();
            assert_eq!(kept, letter.repeat(20_000));
            assert!(
                marker.contains("first 20000 characters of AGENTS.md"),
                "{marker}"
            );
        }
    }

    #[test]
    fn a_file_is_read_again_when_it_may_have_changed() {
        let (home, folder) = home();
        let path = folder.join("AGENTS.md");
        let mut workspace = Workspace::new(vec![folder_of(home.path(), Class::Main)], Class::Main);
        let mut text = |max| workspace.read("", max).pop().map(|part| part.text);
        let write_at = |text: &str, at: SystemTime| {
            fs::write(&path, text).unwrap();
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.set_modified(at).unwrap();
        };
        let write = |text: &str, age: u64| {
            write_at(text, SystemTime::now() - Duration::from_secs(age));
        };
        // Just written, however long this takes: it may be written to again in the same moment.
        write_at("one", SystemTime::now() + Duration::from_secs(600));
        assert!(!Arc::ptr_eq(&text(10).unwrap(), &text(10).unwrap()));
        write("two", 60);
        let first = text(10).unwrap();
        assert_eq!(&*first, "two");
        assert!(Arc::ptr_eq(&first, &text(10).unwrap()), "not read again");
        assert!(text(1).unwrap().starts_with("t\n"), "another limit counts");
        write("six", 60);
        assert_eq!(&*text(10).unwrap(), "six");
        write("ten", 120);
        assert_eq!(&*text(10).unwrap(), "ten", "an older file counts as well");
        fs::remove_file(&path).unwrap();
        assert_eq!(text(10), None);
        write(" ", 60);
        assert_eq!((text(10), text(10)), (None, None));
    }

    #[test]
    fn what_is_no_readable_text_file_is_passed_over() {
        let (home, folder) = home();
        std::fs::create_dir(folder.join("AGENTS.md")).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", folder.join("SOUL.md")).unwrap();
        let fifo = folder.join("TOOLS.md");
        let status = std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap();
        assert!(status.success());
        std::fs::write(folder.join("USER.md"), b"caf\xe9").unwrap();
        let parts = read(home.path(), Class::Main, 100);
        assert_eq!(parts.len(), 1);
        assert_eq!(&*parts[0].text, "caf\u{fffd}");
    }

    #[test]
    fn only_the_readable_folders_and_what_lies_in_them_are_read() {
        let (home, folder) = home();
        for place in [
            folder.clone(),
            folder.join("work"),
            home.path().join("other"),
        ] {
            make_folder(&place).unwrap();
            std::fs::write(place.join("AGENTS.md"), "x").unwrap();
        }
        let mut workspace = Workspace::new(vec![folder.clone()], Class::Main);
        let mut found = |path: &Path| workspace.read(path.to_str().unwrap(), 10).len();
        assert_eq!(found(&folder), 1);
        assert_eq!(found(&folder.join("work")), 1);
        assert_eq!(found(&home.path().join("other")), 0);
        assert_eq!(found(&folder.join("../other")), 0);
    }

    #[test]
    fn a_folder_is_made_for_its_owner_and_an_existing_one_is_left() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let folder = folder_of(home.path(), Class::Guest);
        make_folder(&folder).unwrap();
        let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(
            (mode & 0o777, folder.ends_with("clawd-guest")),
            (0o700, true)
        );
        make_folder(&folder).unwrap();
        assert!(make_folder(&home.path().join("no/such")).is_err());
    }

    #[test]
    fn a_path_without_a_root_begins_in_the_first_workspace() {
        let readable = vec!["/shared/main".into(), "/other".into()];
        let workspace = Workspace::new(readable, Class::Main);
        for (configured, folder) in [
            ("", "/shared/main"),
            ("helper", "/shared/main/helper"),
            ("/srv/x", "/srv/x"),
        ] {
            assert_eq!(workspace.folder(configured), folder);
        }
        assert!(workspace.may_read(Path::new("/shared/main/helper")));
        assert!(!workspace.may_read(Path::new("/shared/main/../guest")));
        assert_eq!(
            Workspace::new(Vec::new(), Class::Main).folder("helper"),
            "helper"
        );
    }
}
