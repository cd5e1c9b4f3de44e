//! Whether this version is out of date, without asking anybody: by the day it was built on and by what the package manager
//! already knows. A clock that is wrong, or a program that does not know its day, raises nothing.

use std::cmp::Ordering;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use clawdbot_config::Severity::{Info, Warn};

use super::check::{Check, Hit, Hits};
use super::facts::{Facts, read_small};

/// The first line of the package's paragraphs.
const HEAD: &str = "Package: clawdbot\n";
const UPGRADE: &str = "sudo apt-get update && sudo apt-get install --only-upgrade clawdbot";
/// After so many days a program is old.
const OLD_DAYS: u64 = 180;
/// After so many days what the package manager knows is old.
const STALE_DAYS: u64 = 30;
/// The largest list of packages that is searched: the program comes from a small source of its own, and not from a
/// distribution, whose lists are ten times as large.
const MAX_LIST: u64 = 4 << 20;
const MAX_LISTS: usize = 128;
const DAY: u64 = 24 * 60 * 60;

/// What is known of this program's age. Seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    pub now_s: u64,
    pub built_s: Option<u64>,
    /// The version that the package manager installed; nothing when it did not.
    pub installed: Option<String>,
    /// The newest version in its lists.
    pub candidate: Option<String>,
    /// When it last looked for new lists.
    pub lists_s: Option<u64>,
}

pub const CHECKS: &[Check] = &[
    Check {
        id: "version.outdated",
        severity: Warn,
        title: "This version is old",
        why: "Holes that were found since then are closed in newer versions only.",
        help: "install a newer version from where this one came from",
        command: "clawdbot --version",
        fixes: false,
        look: outdated,
    },
    Check {
        id: "version.lists_stale",
        severity: Info,
        title: "Nobody looked for a newer version lately",
        why: "The package manager only knows what it was told last.",
        help: "fetch the lists of packages",
        command: "sudo apt-get update",
        fixes: false,
        look: |facts, hits| {
            let known = &facts.version;
            let age = known.lists_s.map(|lists| days(known.now_s, lists));
            if let (Some(age), Some(_)) = (age.filter(|age| *age > STALE_DAYS), &known.installed) {
                hits.add(Hit::setting(
                    "",
                    format!("the lists of packages are {age} days old"),
                ));
            }
        },
    },
];

/// Looks at this program and at the package manager's files.
pub fn gather(now_s: u64) -> Version {
    Version {
        now_s,
        built_s: built(),
        ..packages(
            Path::new("/var/lib/dpkg/status"),
            Path::new("/var/lib/apt/lists"),
        )
    }
}

/// The day that the build was told to stand for, or that of the file: packages keep it.
fn built() -> Option<u64> {
    let told = option_env!("SOURCE_DATE_EPOCH").and_then(|text| text.parse().ok());
    told.or_else(|| {
        let own = std::env::current_exe().ok()?;
        u64::try_from(fs::metadata(own).ok()?.mtime()).ok()
    })
}

fn packages(status: &Path, lists: &Path) -> Version {
    let installed = read_small(status, 64 << 20)
        .ok()
        .and_then(|text| versions(&text).next());
    let mut known = Version {
        installed,
        ..Version::default()
    };
    if known.installed.is_none() {
        return known;
    }
    let seconds = |found: &fs::Metadata| u64::try_from(found.mtime()).ok();
    known.lists_s = fs::metadata(lists).ok().as_ref().and_then(seconds);
    let entries = fs::read_dir(lists)
        .into_iter()
        .flatten()
        .flatten()
        .take(MAX_LISTS);
    for path in entries.map(|entry| entry.path()) {
        let is_list = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().ends_with("_Packages"));
        let Some(text) = is_list.then(|| read_small(&path, MAX_LIST).ok()).flatten() else {
            continue;
        };
        for version in versions(&text) {
            if known
                .candidate
                .as_deref()
                .is_none_or(|best| compare(best, &version) == Ordering::Less)
            {
                known.candidate = Some(version);
            }
        }
    }
    known
}

/// The versions of the package in a file of paragraphs.
fn versions(text: &str) -> impl Iterator<Item = String> {
    text.match_indices(HEAD).filter_map(|(at, _)| {
        let begins = at == 0 || text[..at].ends_with('\n');
        let rest = begins.then(|| &text[at..])?;
        let paragraph = rest.split("\n\n").next()?;
        let removed = paragraph
            .lines()
            .any(|line| line.starts_with("Status:") && !line.ends_with(" installed"));
        let version = paragraph
            .lines()
            .find_map(|line| line.strip_prefix("Version: "));
        version
            .filter(|_| !removed)
            .map(|version| version.trim().to_owned())
    })
}

fn days(now_s: u64, then_s: u64) -> u64 {
    now_s.saturating_sub(then_s) / DAY
}

fn outdated(facts: &Facts, hits: &mut Hits) {
    let known = &facts.version;
    let command = known.installed.is_some().then(|| UPGRADE.to_owned());
    if let (Some(installed), Some(candidate)) = (&known.installed, &known.candidate)
        && compare(installed, candidate) == Ordering::Less
    {
        let detail =
            format!("{installed} is installed and {candidate} is in the lists of packages");
        return hits.add(Hit {
            command,
            ..Hit::setting("", detail)
        });
    }
    let age = known.built_s.map(|built| days(known.now_s, built));
    if let Some(age) = age.filter(|age| *age > OLD_DAYS) {
        hits.add(Hit {
            command,
            ..Hit::setting(
                "",
                format!("{} was built {age} days ago", env!("CARGO_PKG_VERSION")),
            )
        });
    }
}

/// Which of two versions is newer, as the package manager of Debian orders them.
fn compare(a: &str, b: &str) -> Ordering {
    let split = |version: &str| {
        let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
        (
            epoch.parse::<u64>().unwrap_or(0),
            upstream.to_owned(),
            revision.to_owned(),
        )
    };
    let (a, b) = (split(a), split(b));
    a.0.cmp(&b.0)
        .then_with(|| part(&a.1, &b.1))
        .then_with(|| part(&a.2, &b.2))
}

/// Text and numbers in turn. `~` comes before everything, even the end, and letters before other signs.
fn part(mut a: &str, mut b: &str) -> Ordering {
    let weight = |c: Option<char>| match c {
        Some('~') => -1,
        None => 0,
        Some(c) if c.is_ascii_digit() => 0,
        Some(c) if c.is_ascii_alphabetic() => c as i64,
        Some(c) => c as i64 + 256,
    };
    while !a.is_empty() || !b.is_empty() {
        loop {
            let (first, second) = (a.chars().next(), b.chars().next());
            let text = |c: Option<char>| c.is_some_and(|c| !c.is_ascii_digit());
            if !text(first) && !text(second) {
                break;
            }
            match weight(first).cmp(&weight(second)) {
                Ordering::Equal => {
                    a = &a[first.map_or(0, char::len_utf8)..];
                    b = &b[second.map_or(0, char::len_utf8)..];
                }
                unequal => return unequal,
            }
        }
        let number = |text: &str| {
            let end = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            (end, text[..end].trim_start_matches('0').to_owned())
        };
        let ((a_end, first), (b_end, second)) = (number(a), number(b));
        match first
            .len()
            .cmp(&second.len())
            .then_with(|| first.cmp(&second))
        {
            Ordering::Equal => (a, b) = (&a[a_end..], &b[b_end..]),
            unequal => return unequal,
        }
    }
    Ordering::Equal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_the_package_manager_does() {
        for (older, newer) in [
            ("0.1.0", "0.1.1"),
            ("0.9", "0.10"),
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0a"),
            ("1.0-1", "1.0-2"),
            ("9.9", "1:0.1"),
            ("1.0+b1", "1.0.1"),
            ("2026.1.9", "2026.1.10"),
        ] {
            assert_eq!(compare(older, newer), Ordering::Less, "{older} {newer}");
            assert_eq!(compare(newer, older), Ordering::Greater, "{older} {newer}");
            assert_eq!(compare(newer, newer), Ordering::Equal);
        }
        assert_eq!(compare("1.0", "1.00"), Ordering::Equal);
    }

    #[test]
    fn the_package_managers_own_files_say_what_is_installed_and_what_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let (status, lists) = (folder.path().join("status"), folder.path().join("lists"));
        fs::create_dir(&lists).unwrap();
        let paragraph = |name: &str, status: &str, version: &str| {
            format!(
                "Package: {name}\n{status}Version: {version}\nDescription: x\n Package: clawdbot\n\n"
            )
        };
        let write = |installed: &str| {
            let text = [
                paragraph("clawdbot-other", "Status: install ok installed\n", "9"),
                paragraph("clawdbot", installed, "0.1.0-1"),
            ];
            fs::write(&status, text.concat()).unwrap();
        };
        write("Status: install ok installed\n");
        let list = [
            paragraph("clawdbot", "", "0.3.0-1"),
            paragraph("clawdbot", "", "0.2.0-1"),
        ];
        fs::write(lists.join("repo_Packages"), list.concat()).unwrap();
        fs::write(lists.join("repo_Release"), paragraph("clawdbot", "", "9.9")).unwrap();
        let known = packages(&status, &lists);
        assert_eq!(known.installed.as_deref(), Some("0.1.0-1"));
        assert_eq!(known.candidate.as_deref(), Some("0.3.0-1"));
        assert!(known.lists_s.is_some());
        write("Status: deinstall ok config-files\n");
        assert_eq!(packages(&status, &lists).installed, None);
        assert_eq!(packages(Path::new("/nowhere"), &lists), Version::default());
    }
}
