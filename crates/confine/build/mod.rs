//! Turns the texts of `profiles/` into constant tables. A mistake ends the build and names the file, the
//! line and what would be right: unknown names, rows that say nothing new, rows that cannot match, calls
//! of one architecture without their counterpart on the other. The test of the mistakes calls this too.

mod check;
mod cover;
mod emit;
mod files;
mod names;
mod reader;
mod row;

use std::fmt;

use files::FileRow;
use reader::Reader;
use row::Row;

/// Sections that profiles include; the other files are profiles.
const SECTIONS: &[&str] = &["base", "offline", "files", "secrets"];

const LIMITS: &[&str] = &["core", "nofile", "fsize", "memlock"];

/// Where the files lie, as messages and tables name it.
const FOLDER: &str = "crates/confine/profiles";

/// What is wrong with a profile, and where.
#[derive(Debug)]
pub struct Mistake {
    at: String,
    message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

impl Mistake {
    fn new(at: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            message: message.into(),
        }
    }
}

/// How the processes are run, as in the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Single,
    System,
}

impl Mode {
    /// The mode of a prefix, before which there is no other one.
    fn of_prefix(prefix: &str) -> Option<Self> {
        match prefix {
            "single" => Some(Self::Single),
            "system" => Some(Self::System),
            _ => None,
        }
    }
}

/// One file: a section that profiles share, or a profile.
struct Part {
    name: String,
    filter: bool,
    own_network: bool,
    connect_tcp: bool,
    includes: Vec<(String, String)>,
    limits: Vec<(String, u64)>,
    rows: Vec<Row>,
    files: Vec<FileRow>,
}

impl Part {
    fn is_section(&self) -> bool {
        SECTIONS.contains(&self.name.as_str())
    }
}

/// The tables of all files, given as name without ending and text.
///
/// # Errors
/// The first mistake.
pub fn generate(files: &[(String, String)]) -> Result<String, Mistake> {
    let parts = files
        .iter()
        .map(|(name, text)| read(name, text))
        .collect::<Result<Vec<_>, _>>()?;
    check::all(&parts)?;
    Ok(emit::tables(&parts))
}

fn read(name: &str, text: &str) -> Result<Part, Mistake> {
    let reader = Reader::new(name, text);
    let document = reader.document()?;
    let mut part = Part {
        name: name.to_owned(),
        filter: true,
        own_network: true,
        connect_tcp: false,
        includes: Vec::new(),
        limits: Vec::new(),
        rows: Vec::new(),
        files: Vec::new(),
    };
    let mut namespace = None;
    let section = part.is_section();
    for (key, value) in document.get_ref() {
        match key.get_ref().as_ref() {
            "include" if !section => part.includes = reader.strings(value)?,
            "filter" if !section => part.filter = reader.boolean(value)?,
            "network" if !section => {
                for (key, value) in reader.table(value)? {
                    match key.get_ref().as_ref() {
                        "namespace" => {
                            namespace = Some(reader.one_of(value, &["host", "own"])? == "own");
                        }
                        "connect_tcp" => part.connect_tcp = reader.boolean(value)?,
                        _ => return Err(reader.unknown(key, &["namespace", "connect_tcp"])),
                    }
                }
            }
            "calls" => {
                for (key, value) in reader.table(value)? {
                    let refuse = match key.get_ref().as_ref() {
                        "allow" => false,
                        "refuse" => true,
                        _ => return Err(reader.unknown(key, &["allow", "refuse"])),
                    };
                    for (text, at) in reader.strings(value)? {
                        part.rows.extend(row::read(&text, &at, refuse)?);
                    }
                }
            }
            "files" => {
                for (key, value) in reader.table(value)? {
                    let access = files::ACCESSES
                        .iter()
                        .find(|access| access.name == key.get_ref().as_ref())
                        .ok_or_else(|| reader.unknown(key, &files::access_names()))?;
                    for (text, at) in reader.strings(value)? {
                        part.files.push(files::read(&text, &at, access)?);
                    }
                }
            }
            "limits" => {
                for (key, value) in reader.table(value)? {
                    let limit = key.get_ref().as_ref();
                    if !LIMITS.contains(&limit) {
                        return Err(reader.unknown(key, LIMITS));
                    }
                    part.limits.push((limit.to_owned(), reader.number(value)?));
                }
            }
            _ if section => return Err(reader.unknown(key, &["calls", "files", "limits"])),
            _ => {
                let known = ["calls", "files", "filter", "include", "limits", "network"];
                return Err(reader.unknown(key, &known));
            }
        }
    }
    // Who has no filter works in the host's network unless it says otherwise.
    part.own_network = namespace.unwrap_or(part.filter);
    Ok(part)
}
