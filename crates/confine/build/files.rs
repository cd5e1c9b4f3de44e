//! One row of files: `[single:|system:] PLACE[?]`. A place is a path, or a word for what only the start
//! knows; `?` lets it be absent.

use super::{Mistake, Mode, names};

/// What may be done at a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Access {
    /// Key of the list.
    pub(super) name: &'static str,
    /// The library's word for it.
    pub(super) variant: &'static str,
}

pub(super) const ACCESSES: &[Access] = &[
    Access {
        name: "own",
        variant: "ReadWriteDir",
    },
    Access {
        name: "read",
        variant: "Read",
    },
    Access {
        name: "list",
        variant: "ReadDir",
    },
    Access {
        name: "remove",
        variant: "RemoveFiles",
    },
    Access {
        name: "connect",
        variant: "Connect",
    },
];

pub(super) fn access_names() -> Vec<&'static str> {
    ACCESSES.iter().map(|access| access.name).collect()
}

/// Words for places that the start knows, and the library's for them.
const WORDS: &[(&str, &str)] = &[
    ("CONFIG", "Config"),
    ("CREDENTIALS", "Credentials"),
    ("EDGES", "Edges"),
    (PLAN, "Plan"),
    ("RUN", "Run"),
    ("SECRETS", "Secrets"),
    ("WORKSPACE", "Workspace"),
];

/// Policy's folder for the service manager, which is made for it.
const PLAN: &str = "PLAN";
/// Before the name of a folder in the state directory.
const STATE: &str = "STATE/";
/// Stands in such a name for the instance of the process.
const INSTANCE: &str = "INSTANCE";

/// A place that a process may reach.
#[derive(Debug)]
pub(super) struct FileRow {
    /// File and line.
    pub(super) at: String,
    /// As it is written, without prefix and `?`.
    pub(super) place: String,
    pub(super) access: &'static Access,
    pub(super) optional: bool,
    pub(super) mode: Option<Mode>,
}

pub(super) fn read(text: &str, at: &str, access: &'static Access) -> Result<FileRow, Mistake> {
    parse(text, at, access).map_err(|message| Mistake::new(at, format!("`{text}`: {message}")))
}

fn parse(text: &str, at: &str, access: &'static Access) -> Result<FileRow, String> {
    let (mode, place) = match text.split_once(':') {
        Some((prefix, rest)) => {
            let mode = Mode::of_prefix(prefix.trim());
            (
                Some(mode.ok_or("the prefix is neither `single` nor `system`")?),
                rest,
            )
        }
        None => (None, text),
    };
    let place = place.trim();
    let (place, optional) = match place.strip_suffix('?') {
        Some(place) => (place, true),
        None => (place, false),
    };
    check(place)?;
    if access.name == "own" && place != PLAN && !place.starts_with(STATE) {
        return Err("only folders in STATE, and PLAN, are a process's own".to_owned());
    }
    Ok(FileRow {
        at: at.to_owned(),
        place: place.to_owned(),
        access,
        optional,
        mode,
    })
}

fn check(place: &str) -> Result<(), String> {
    if let Some(path) = place.strip_prefix('/') {
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        return match path.split('/').all(plain) {
            true => Ok(()),
            false => Err("a path has no empty parts, no `.` and no `..`".to_owned()),
        };
    }
    if let Some(leaf) = place.strip_prefix(STATE) {
        let plain = |part: &str| {
            let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            part == INSTANCE || (!part.is_empty() && part.chars().all(letters))
        };
        return match leaf.split('/').all(plain) {
            true => Ok(()),
            false => Err(format!(
                "the parts after {STATE} are small letters, digits and `-`, or {INSTANCE}"
            )),
        };
    }
    if WORDS.iter().any(|(word, _)| *word == place) {
        return Ok(());
    }
    let known = WORDS.iter().map(|(word, _)| *word).chain([STATE]);
    Err(names::unknown("place", place, known))
}

impl FileRow {
    /// The library's value for the place.
    pub(super) fn variant(&self) -> String {
        if let Some(leaf) = self.place.strip_prefix(STATE) {
            return format!("State({leaf:?})");
        }
        let word = WORDS.iter().find(|(word, _)| *word == self.place);
        word.map_or_else(
            || format!("Path({:?})", self.place),
            |(_, variant)| (*variant).to_owned(),
        )
    }

    /// Whether the other row permits nothing beyond this one.
    pub(super) fn covers(&self, other: &FileRow) -> bool {
        let beneath = other.place.strip_prefix(self.place.as_str());
        self.access == other.access
            && (self.mode.is_none() || self.mode == other.mode)
            && beneath.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}
