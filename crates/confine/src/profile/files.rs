//! The places of a profile: paths, and words for what only the start of a process knows.

use std::fmt;

use super::Mode;
use crate::landlock::Access;

/// Where files lie that a process may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A folder in the state directory, by its path in there; `INSTANCE` stands for the instance of the
    /// process. The start makes it, for this user alone.
    State(&'static str),
    /// The folder of the configuration file, and for a symbolic link the folder of what it leads to.
    Config,
    /// The workspaces of the process's class.
    Workspace,
    /// The folder of the operator's sockets, for the process that got a descriptor of it.
    Run,
    /// The folder of the edges' sockets.
    Edges,
    /// The folder where policy says to the service manager what is to run.
    Plan,
    /// The secrets beside the configuration that are files of their own.
    Secrets,
    /// The folder of what the service manager provides as credentials.
    Credentials,
    /// A path.
    Path(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::State(leaf) => write!(f, "STATE/{leaf}"),
            Place::Config => f.write_str("CONFIG"),
            Place::Workspace => f.write_str("WORKSPACE"),
            Place::Run => f.write_str("RUN"),
            Place::Edges => f.write_str("EDGES"),
            Place::Plan => f.write_str("PLAN"),
            Place::Secrets => f.write_str("SECRETS"),
            Place::Credentials => f.write_str("CREDENTIALS"),
            Place::Path(path) => f.write_str(path),
        }
    }
}

/// A place that may be reached, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRow {
    /// Where.
    pub place: Place,
    /// What may be done there.
    pub access: Access,
    /// It may be absent, which permits nothing.
    pub optional: bool,
    /// Only in this mode.
    pub mode: Option<Mode>,
    /// File and line that the row comes from.
    pub source: &'static str,
}

impl fmt::Display for FileRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(mode) = self.mode {
            write!(f, "{}: ", mode.as_str())?;
        }
        write!(f, "{} {}", self.access.as_str(), self.place)
    }
}
