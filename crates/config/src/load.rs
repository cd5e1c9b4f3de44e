//! From a file to a configuration. Refuses what is not a regular file of bearable size before it reads a byte, so that
//! no pipe or device can make the start hang.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::config::{Config, Loaded};
use crate::excerpt::Lines;
use crate::json5::{self, Parsed};
use crate::path::ConfigPath;
use crate::problem::{Problem, Span};
use crate::report::{LoadError, Place};
use crate::rules::{self, Facts, Finding};
use crate::schema::Settings;
use crate::shape::{Cx, Shape};

/// Largest file in bytes.
pub const MAX_SIZE: usize = 1 << 20;

/// Loads the file at `path`. Without a file the defaults hold.
///
/// # Errors
/// Every mistake of the file at once, or why it cannot be read.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    load_opened(path, open(path))
}

/// Opens whatever lies there; what is no file is refused when it is loaded.
///
/// # Errors
/// The system's answer.
pub fn open(path: &Path) -> io::Result<File> {
    // Without O_NONBLOCK opening a FIFO would wait for its writer.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// Loads the file that somebody else opened; `path` is where it lies. Not found means that the defaults hold.
///
/// # Errors
/// As [`load`].
pub fn load_opened(path: &Path, opened: io::Result<File>) -> Result<Loaded, LoadError> {
    let name = path.to_string_lossy();
    let text = match read(opened) {
        Ok(Some(text)) => text,
        Ok(None) => return parse(&name, b"{}"),
        Err((message, help)) => return Err(LoadError::unreadable(&name, message, help)),
    };
    let mut loaded = parse_in(&name, &text, path.parent())?;
    loaded.source = Some(path.to_owned());
    Ok(loaded)
}

/// Reads a configuration from its text; `name` is what messages call it.
///
/// # Errors
/// Every mistake at once.
pub fn parse(name: &str, text: &[u8]) -> Result<Loaded, LoadError> {
    parse_in(name, text, None)
}

/// As [`parse`], for a file in this directory.
pub(crate) fn parse_in(
    name: &str,
    bytes: &[u8],
    directory: Option<&Path>,
) -> Result<Loaded, LoadError> {
    if bytes.len() > MAX_SIZE {
        let (message, help) = too_big();
        return Err(LoadError::unreadable(name, message, help));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            // Up to the broken place the text with replacements is the same.
            let shown = Zeroizing::new(String::from_utf8_lossy(bytes).into_owned());
            let at = error.valid_up_to();
            let span = Span::new(at, at + '\u{fffd}'.len_utf8());
            let problem = Problem::at(span, format!("invalid UTF-8 at byte {at}"));
            let problem = problem.help("save the file in the encoding UTF-8");
            return Err(LoadError::new(name, &shown, vec![problem], 0));
        }
    };
    let parsed = json5::parse(text);
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(problem) => return Err(LoadError::new(name, text, vec![problem], 0)),
    };
    let Judged {
        settings,
        mut cx,
        refused,
        findings,
    } = Judged::of(text, parsed, directory);
    // A section with a mistake of its own holds defaults in its place, about which a rule has nothing to say.
    let wrong: Vec<_> = cx
        .problems
        .iter()
        .filter_map(|problem| problem.path.top().map(str::to_owned))
        .collect();
    for problem in refused {
        if problem
            .path
            .top()
            .is_none_or(|top| wrong.iter().all(|wrong| wrong != top))
        {
            cx.report(problem);
        }
    }
    match cx.problems.is_empty() {
        true => Ok(Loaded::new(
            Config::new(settings, cx.secrets),
            findings,
            cx.inactive,
        )),
        false => Err(LoadError::new(name, text, cx.problems, cx.more)),
    }
}

/// What was made of a text, and what is wrong with it.
struct Judged {
    settings: Settings,
    cx: Cx,
    /// What rules refuse.
    refused: Vec<Problem>,
    findings: Vec<Finding>,
}

impl Judged {
    fn of(text: &str, parsed: Parsed, directory: Option<&Path>) -> Self {
        let mut cx = Cx::default();
        for problem in parsed.duplicates {
            cx.report(problem);
        }
        let settings = Settings::decode(parsed.root, &mut cx).unwrap_or_default();
        let (refused, findings) = rules::check(&Facts::new(&settings, &cx, text, directory));
        Self {
            settings,
            cx,
            refused,
            findings,
        }
    }
}

/// Every mistake of a text, also those that are not told before others are corrected, and how many there are beyond
/// these; nothing when it is not JSON5.
pub(crate) fn mistakes(text: &str, directory: Option<&Path>) -> Option<(Vec<Problem>, usize)> {
    let judged = Judged::of(text, json5::parse(text).ok()?, directory);
    let (mut problems, more) = (judged.cx.problems, judged.cx.more);
    problems.extend(judged.refused);
    Some((problems, more))
}

/// Where the text sets each of these settings, or else what lies around it; nothing where it has neither.
pub fn locate(text: &str, paths: &[ConfigPath]) -> Vec<Option<Place>> {
    let Ok(parsed) = json5::parse(text) else {
        return vec![None; paths.len()];
    };
    let mut cx = Cx::default();
    // Only the places count here, whatever is wrong with the values.
    let _settings = Settings::decode(parsed.root, &mut cx);
    let lines = Lines::new(text);
    let place = |path| {
        let span = cx.set.find(path);
        (span != Span::default()).then(|| lines.place(span.start))
    };
    paths.iter().map(place).collect()
}

/// The text of the file that somebody opened; nothing when there is none.
///
/// # Errors
/// What is wrong with it, as one mistake.
pub fn read_text(
    path: &Path,
    opened: io::Result<File>,
) -> Result<Option<Zeroizing<Vec<u8>>>, LoadError> {
    read(opened)
        .map_err(|(message, help)| LoadError::unreadable(&path.to_string_lossy(), message, help))
}

fn too_big() -> (String, &'static str) {
    let message = format!("the file is larger than {MAX_SIZE} bytes");
    (
        message,
        "a configuration is a few kilobytes; this is probably another file",
    )
}

/// What is wrong, and what to do.
pub(crate) type Unreadable = (String, &'static str);

/// The bytes of the file that somebody opened; nothing when there is none.
pub(crate) fn read(opened: io::Result<File>) -> Result<Option<Zeroizing<Vec<u8>>>, Unreadable> {
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot_read(&error)),
    };
    let kind = file.metadata().map_err(|error| cannot_read(&error))?;
    if kind.is_dir() {
        let message = "this is a directory, not a file".to_owned();
        return Err((message, "name the file in it, usually clawdbot.json"));
    }
    if !kind.is_file() {
        let message = "this is not a regular file".to_owned();
        return Err((
            message,
            "the configuration cannot be a pipe, socket or device",
        ));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_SIZE.min(kind.len() as usize) + 2));
    let limit = MAX_SIZE as u64 + 1;
    file.by_ref()
        .take(limit)
        .read_to_end(&mut text)
        .map_err(|error| cannot_read(&error))?;
    if text.len() > MAX_SIZE {
        return Err(too_big());
    }
    Ok(Some(text))
}

fn cannot_read(error: &io::Error) -> Unreadable {
    let help = match error.kind() {
        ErrorKind::PermissionDenied => {
            "give the user who runs clawdbot the right to read it: mode 600, owned by that user"
        }
        _ if error.raw_os_error() == Some(libc::ELOOP) => {
            "the link leads back to itself: put the file in its place"
        }
        ErrorKind::NotADirectory => "a part of the path is a file, not a directory",
        _ => "check the path and the file system",
    };
    (format!("cannot read the file: {error}"), help)
}
