//! What is in the package: one list, with where it comes from and its mode.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::Recipe;
use super::control;
use super::libraries;
use super::programs::{COMMAND, DAEMONS, PAGES, Programs};
use super::tool;
use crate::cargo;

const LIBEXEC: &str = "usr/libexec/clawdbot";

/// Folders of the repository whose files are taken as they are, with all below them.
const FOLDERS: [(&str, &str); 4] = [
    ("systemd/system", "usr/lib/systemd/system"),
    ("systemd/user", "usr/lib/systemd/user"),
    ("systemd/sysusers.d", "usr/lib/sysusers.d"),
    ("systemd/tmpfiles.d", "usr/lib/tmpfiles.d"),
];

/// Single files of the repository, and their modes.
const FILES: [(&str, &str, u32); 4] = [
    // The installation lets the one user in who reads it.
    (
        "packaging/deb/clawdbot.json",
        "etc/clawdbot/clawdbot.json",
        0o640,
    ),
    // The installation copies it to where AppArmor looks, if its version understands it.
    (
        "packaging/deb/apparmor",
        "usr/share/clawdbot/apparmor/clawdbot-sandbox",
        0o644,
    ),
    (
        "packaging/deb/copyright",
        "usr/share/doc/clawdbot/copyright",
        0o644,
    ),
    (
        "packaging/deb/lintian-overrides",
        "usr/share/lintian/overrides/clawdbot",
        0o644,
    ),
];

/// What the program of pages writes: its folder there, the folder in the package, whether it is packed.
const WRITTEN: [(&str, &str, bool); 6] = [
    ("man1", "usr/share/man/man1", true),
    ("man5", "usr/share/man/man5", true),
    ("man8", "usr/share/man/man8", true),
    ("bash", "usr/share/bash-completion/completions", false),
    ("zsh", "usr/share/zsh/vendor-completions", false),
    ("fish", "usr/share/fish/vendor_completions.d", false),
];

/// Second names: the link and what it leads to.
const LINKS: [(&str, &str); 2] = [
    ("usr/bin/clawdbotctl", "clawdbot"),
    ("usr/share/man/man1/clawdbotctl.1.gz", "clawdbot.1.gz"),
];

/// Puts everything into the tree.
///
/// # Errors
/// When something is missing or cannot be copied.
pub fn fill(tree: &Tree, programs: &Programs, recipe: &Recipe) -> Result<(), String> {
    let repository = cargo::root();
    tree.copy(
        &programs.path(COMMAND),
        &format!("usr/bin/{COMMAND}"),
        0o755,
    )?;
    for name in DAEMONS {
        tree.copy(&programs.path(name), &format!("{LIBEXEC}/{name}"), 0o755)?;
    }
    for (from, to) in FOLDERS {
        tree.copy_all(&repository.join(from), to, false)?;
    }
    for (from, to, mode) in FILES {
        tree.copy(&repository.join(from), to, mode)?;
    }
    let scratch = tool::Scratch::new(tree.root())?;
    let date = tool::date(&recipe.epoch, "+%Y-%m-%d")?;
    tool::run(
        tool::command(programs.path(PAGES))
            .arg(scratch.path())
            .arg(date),
    )?;
    for (from, to, packed) in WRITTEN {
        tree.copy_all(&scratch.path().join(from), to, packed)?;
    }
    drop(scratch);
    let changelog = gzip(control::changelog(recipe)?.as_bytes())?;
    tree.put("usr/share/doc/clawdbot/changelog.gz", &changelog, 0o644)?;
    if recipe.shipped {
        let libraries = gzip(libraries::text()?.as_bytes())?;
        tree.put("usr/share/doc/clawdbot/libraries.gz", &libraries, 0o644)?;
    }
    for (from, to) in LINKS {
        tree.link(from, to)?;
    }
    Ok(())
}

/// Takes the symbols out of the programs.
///
/// # Errors
/// When one is no program.
pub fn strip(tree: &Tree) -> Result<(), String> {
    for program in tree.programs()? {
        tool::run(
            tool::command("strip")
                .args(["--strip-unneeded", "--remove-section=.comment"])
                .arg(program),
        )?;
    }
    Ok(())
}

/// Puts the symbols of the programs into a tree of their own; the ids that they are found by.
///
/// # Errors
/// When a program has no id.
pub fn split(tree: &Tree, symbols: &Tree) -> Result<Vec<String>, String> {
    let mut ids = Vec::new();
    for program in tree.programs()? {
        let notes = tool::text(tool::command("readelf").arg("--notes").arg(&program))?;
        let id = notes
            .lines()
            .find_map(|line| line.trim().strip_prefix("Build ID: "));
        let id = id.ok_or_else(|| format!("{} has no build id", program.display()))?;
        let (folder, name) = id.split_at_checked(2).ok_or("a build id is too short")?;
        let path = symbols.make(&format!("usr/lib/debug/.build-id/{folder}/{name}.debug"))?;
        tool::run(
            tool::command("objcopy")
                .args(["--only-keep-debug", "--compress-debug-sections"])
                .arg(&program)
                .arg(&path),
        )?;
        set_mode(&path, 0o644)?;
        usable(&path, id)?;
        ids.push(id.to_owned());
    }
    strip(tree)?;
    // As dpkg's own tools do: one page of documentation for both.
    symbols.link("usr/share/doc/clawdbot-dbgsym", "clawdbot")?;
    ids.sort();
    Ok(ids)
}

/// A debugger takes a file of symbols for a program with the same id, and finds lines in it.
fn usable(symbols: &Path, id: &str) -> Result<(), String> {
    let said = tool::text(
        tool::command("readelf")
            .args(["--wide", "--notes", "--sections"])
            .arg(symbols),
    )?;
    let parts = [&format!("Build ID: {id}"), ".debug_line", ".symtab"];
    match parts.iter().find(|part| !said.contains(**part)) {
        None => Ok(()),
        Some(part) => Err(format!("{} has no {part}", symbols.display())),
    }
}

/// Always the same bytes: no name and no time in it.
fn gzip(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut child = tool::command("gzip")
        .args(["-9n"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("gzip: {error}"))?;
    let mut input = child.stdin.take().ok_or("gzip takes no input")?;
    let text = text.to_owned();
    // Both ends at once: a pipe holds only so much.
    let writer = std::thread::spawn(move || input.write_all(&text));
    let output = child
        .wait_with_output()
        .map_err(|error| format!("gzip: {error}"))?;
    match writer.join() {
        Ok(Ok(())) if output.status.success() => Ok(output.stdout),
        _ => Err("gzip failed".into()),
    }
}

/// The folder that becomes a package.
pub struct Tree(PathBuf);

impl Tree {
    /// Nothing is in it yet.
    pub fn new(root: PathBuf) -> Self {
        Self(root)
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The place of a file, with the folders above it.
    fn make(&self, to: &str) -> Result<PathBuf, String> {
        let mut path = self.0.clone();
        let (folders, name) = to.rsplit_once('/').unwrap_or(("", to));
        for folder in [""].into_iter().chain(folders.split('/')) {
            path.push(folder);
            if !path.is_dir() {
                fs::create_dir_all(&path)
                    .map_err(|error| format!("{}: {error}", path.display()))?;
            }
            set_mode(&path, 0o755)?;
        }
        Ok(path.join(name))
    }

    /// A file with this text.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, to: &str, text: &[u8], mode: u32) -> Result<(), String> {
        let path = self.make(to)?;
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        set_mode(&path, mode)
    }

    fn copy(&self, from: &Path, to: &str, mode: u32) -> Result<(), String> {
        let path = self.make(to)?;
        fs::copy(from, &path).map_err(|error| format!("{}: {error}", from.display()))?;
        set_mode(&path, mode)
    }

    /// All files below a folder, links as links.
    fn copy_all(&self, from: &Path, to: &str, packed: bool) -> Result<(), String> {
        let wrong = |error: std::io::Error| format!("{}: {error}", from.display());
        for entry in fs::read_dir(from).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            let (kind, path) = (entry.file_type().map_err(wrong)?, entry.path());
            let name = entry.file_name().to_string_lossy().into_owned();
            let to = format!("{to}/{name}");
            if kind.is_dir() {
                self.copy_all(&path, &to, packed)?;
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).map_err(wrong)?;
                self.link(&to, &target.to_string_lossy())?;
            } else if packed {
                let text = fs::read(&path).map_err(wrong)?;
                self.put(&format!("{to}.gz"), &gzip(&text)?, 0o644)?;
            } else {
                self.copy(&path, &to, 0o644)?;
            }
        }
        Ok(())
    }

    fn link(&self, from: &str, to: &str) -> Result<(), String> {
        let path = self.make(from)?;
        symlink(to, &path).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The programs in it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn programs(&self) -> Result<Vec<PathBuf>, String> {
        let mut files = self.files()?;
        files.retain(|path| path.starts_with("usr/bin/") || path.starts_with(LIBEXEC));
        Ok(files.iter().map(|path| self.0.join(path)).collect())
    }

    /// The paths of all files without what dpkg reads, sorted; no links.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn files(&self) -> Result<Vec<String>, String> {
        Ok(self
            .walk()?
            .into_iter()
            .filter(|(_, size)| size.is_some())
            .map(|(path, _)| path)
            .collect())
    }

    /// Bytes of all files.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn bytes(&self) -> Result<u64, String> {
        Ok(self.walk()?.iter().filter_map(|(_, size)| *size).sum())
    }

    /// As `Installed-Size` counts: whole kibibytes, one for whatever is no file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn kilobytes(&self) -> Result<u64, String> {
        let sizes = self
            .walk()?
            .into_iter()
            .map(|(_, size)| size.map_or(1, |size| size.div_ceil(1024)));
        Ok(sizes.sum())
    }

    /// Everything but what dpkg reads: its path, and the size of a file.
    fn walk(&self) -> Result<Vec<(String, Option<u64>)>, String> {
        let mut found = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
            for entry in fs::read_dir(&folder).map_err(wrong)? {
                let path = entry.map_err(wrong)?.path();
                let name = path
                    .strip_prefix(&self.0)
                    .unwrap_or(&path)
                    .display()
                    .to_string();
                let meta = fs::symlink_metadata(&path).map_err(wrong)?;
                if name == "DEBIAN" {
                    continue;
                }
                found.push((name, meta.is_file().then_some(meta.len())));
                if meta.is_dir() {
                    folders.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Whatever the umask says.
fn set_mode(path: &Path, mode: u32) -> Result<(), String> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_knows_its_files_and_what_they_take_up() {
        let folder = tempfile::tempdir().unwrap();
        let tree = Tree::new(folder.path().join("t"));
        tree.put("usr/bin/b", &[0; 1025], 0o755).unwrap();
        tree.put("usr/bin/a", b"x", 0o755).unwrap();
        tree.put("usr/share/doc", b"x", 0o640).unwrap();
        tree.link("usr/bin/c", "a").unwrap();
        tree.put("DEBIAN/control", b"x", 0o644).unwrap();
        assert_eq!(
            tree.files().unwrap(),
            ["usr/bin/a", "usr/bin/b", "usr/share/doc"]
        );
        assert_eq!(tree.bytes().unwrap(), 1027);
        // Three folders and a link.
        assert_eq!(tree.kilobytes().unwrap(), 1 + 2 + 1 + 4);
        assert_eq!(tree.programs().unwrap().len(), 2);
        let mode = |path: &str| {
            let meta = fs::symlink_metadata(tree.root().join(path)).unwrap();
            meta.permissions().mode() & 0o777
        };
        assert_eq!(
            (mode("usr/share/doc"), mode("usr/bin/a"), mode("usr")),
            (0o640, 0o755, 0o755)
        );
    }

    #[test]
    fn folders_are_copied_with_links_and_packed_where_that_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("from");
        fs::create_dir_all(from.join("x.wants")).unwrap();
        fs::write(from.join("x.target"), "[Unit]").unwrap();
        symlink("../y@.path", from.join("x.wants/y@z.path")).unwrap();
        let tree = Tree::new(folder.path().join("t"));
        tree.copy_all(&from, "lib", false).unwrap();
        let link = fs::read_link(tree.root().join("lib/x.wants/y@z.path")).unwrap();
        assert_eq!(link, Path::new("../y@.path"));
        tree.copy_all(&from, "man", true).unwrap();
        assert!(
            tree.files()
                .unwrap()
                .contains(&"man/x.target.gz".to_owned())
        );
        assert!(
            tree.copy_all(&folder.path().join("none"), "x", false)
                .is_err()
        );
    }
}
