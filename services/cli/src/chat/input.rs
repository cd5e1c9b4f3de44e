//! Where messages come from: a line editor on a terminal, plain lines elsewhere. Reading blocks, so it happens on a
//! thread of its own, one line for each request; signals and the end of the assistant are noticed meanwhile.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, BufRead, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};
use tokio::sync::oneshot;

/// Longest message, bytes; the gateway takes no longer one.
pub const MAX_MESSAGE: usize = 256 * 1024;
/// Lines that the history keeps.
const HISTORY: usize = 1000;

/// One attempt to read a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Given {
    /// A line without its line break.
    Line(String),
    /// Ctrl-C at the prompt: the line was thrown away.
    Cleared,
    /// A line that cannot be a message; the reason.
    Refused(String),
    /// There is no more.
    End,
}

type Answer = oneshot::Sender<io::Result<Given>>;

/// Reads messages one at a time.
pub struct Input {
    requests: mpsc::Sender<Answer>,
    /// What the terminal was like; the thread may be in the middle of a line when the program leaves.
    before: Option<Termios>,
}

impl Input {
    /// A line editor with `prompt`. The history is kept in `history`, readable by this user only.
    ///
    /// # Errors
    /// When there is no usable terminal.
    pub fn terminal(prompt: &'static str, history: PathBuf) -> io::Result<Self> {
        let before = tcgetattr(io::stdin().as_fd()).ok();
        let mut editor = editor(&history).map_err(io::Error::other)?;
        let requests = reader(move || edited(&mut editor, prompt, &history))?;
        Ok(Self { requests, before })
    }

    /// The lines of standard input.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn lines() -> io::Result<Self> {
        let requests = reader(|| line_of(&mut io::stdin().lock()))?;
        Ok(Self {
            requests,
            before: None,
        })
    }

    /// The next line. Dropping the future loses the line that is being read.
    ///
    /// # Errors
    /// When reading fails.
    pub async fn next(&self) -> io::Result<Given> {
        let (answer, answered) = oneshot::channel();
        if self.requests.send(answer).is_err() {
            return Ok(Given::End);
        }
        answered.await.unwrap_or(Ok(Given::End))
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Without a terminal there is nothing to restore.
            let _gone = tcsetattr(io::stdin().as_fd(), OptionalActions::Now, before);
        }
    }
}

fn reader(
    mut read: impl FnMut() -> io::Result<Given> + Send + 'static,
) -> io::Result<mpsc::Sender<Answer>> {
    let (requests, requested) = mpsc::channel::<Answer>();
    thread::Builder::new().name("input".into()).spawn(move || {
        for answer in requested {
            // Nobody waits any more when the program leaves.
            let _left = answer.send(read());
        }
    })?;
    Ok(requests)
}

type LineEditor = Editor<(), FileHistory>;

fn editor(history: &Path) -> rustyline::Result<LineEditor> {
    let config = Config::builder()
        .max_history_size(HISTORY)?
        .history_ignore_space(true)
        .build();
    let mut editor = Editor::with_config(config)?;
    // No history is a pity, not a failure: the state directory may not be ours to write to.
    if private(history).is_ok() {
        let _unreadable = editor.load_history(history);
    }
    Ok(editor)
}

/// Makes sure that the file is there and nobody else's to read. Root keeps none where another user could put a link in
/// its place.
fn private(file: &Path) -> io::Result<()> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    if directory.metadata()?.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let open = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(nofollow)
        .open(file)?;
    open.set_permissions(Permissions::from_mode(0o600))
}

fn edited(editor: &mut LineEditor, prompt: &str, history: &Path) -> io::Result<Given> {
    match editor.readline(prompt) {
        Ok(line) => {
            if !line.trim().is_empty() && editor.add_history_entry(&line).unwrap_or(false) {
                let _full = private(history).map(|()| editor.append_history(history));
            }
            Ok(checked(line))
        }
        Err(ReadlineError::Interrupted) => Ok(Given::Cleared),
        Err(ReadlineError::Eof) => Ok(Given::End),
        Err(ReadlineError::Io(error)) => Err(error),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn checked(line: String) -> Given {
    match line.len() {
        0..=MAX_MESSAGE => Given::Line(line),
        _ => Given::Refused(too_long()),
    }
}

/// One line. A longer one than a message may be is refused, and read to its end without being kept.
fn line_of(input: &mut impl BufRead) -> io::Result<Given> {
    let mut line = Vec::new();
    // One byte more than fits, and the line break.
    input
        .by_ref()
        .take(MAX_MESSAGE as u64 + 2)
        .read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(Given::End);
    }
    let whole = line.pop_if(|last| *last == b'\n').is_some();
    if !whole && line.len() > MAX_MESSAGE {
        input.skip_until(b'\n')?;
        return Ok(Given::Refused(too_long()));
    }
    Ok(String::from_utf8(line).map_or_else(
        |_| Given::Refused("the line is not valid UTF-8".into()),
        checked,
    ))
}

/// The whole of `input` as one message.
///
/// # Errors
/// When it cannot be read; the inner error says why it cannot be a message.
pub fn whole(input: impl io::Read) -> io::Result<Result<String, String>> {
    let mut bytes = Vec::new();
    input.take(MAX_MESSAGE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(match bytes.len() {
        0..=MAX_MESSAGE => {
            String::from_utf8(bytes).map_err(|_| "the message is not valid UTF-8".to_owned())
        }
        _ => Err(too_long()),
    })
}

/// Why a message is too long.
pub fn too_long() -> String {
    format!("a message has at most {} KiB", MAX_MESSAGE / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_one_by_one_and_the_last_needs_no_break() {
        let mut input = "one\ntwo\r\n\nthree".as_bytes();
        for expected in ["one", "two\r", "", "three"] {
            assert_eq!(line_of(&mut input).unwrap(), Given::Line(expected.into()));
        }
        assert_eq!(line_of(&mut input).unwrap(), Given::End);
    }

    #[test]
    fn a_line_that_is_too_long_or_not_text_is_refused_and_the_next_one_is_read() {
        let fits = "x".repeat(MAX_MESSAGE);
        let mut bytes = format!("{fits}x\n{fits}\n{fits}{fits}{fits}\n").into_bytes();
        bytes.extend(b"\xff\xfe\nnext\n");
        let mut input = bytes.as_slice();
        assert_eq!(line_of(&mut input).unwrap(), Given::Refused(too_long()));
        assert_eq!(line_of(&mut input).unwrap(), Given::Line(fits));
        assert_eq!(line_of(&mut input).unwrap(), Given::Refused(too_long()));
        assert!(
            matches!(line_of(&mut input).unwrap(), Given::Refused(why) if why.contains("UTF-8"))
        );
        assert_eq!(line_of(&mut input).unwrap(), Given::Line("next".into()));
    }

    #[test]
    fn a_message_from_standard_input_is_bounded_and_must_be_text() {
        assert_eq!(whole("a\nb\n".as_bytes()).unwrap(), Ok("a\nb\n".into()));
        assert_eq!(
            whole("x".repeat(MAX_MESSAGE).as_bytes())
                .unwrap()
                .map(|text| text.len()),
            Ok(MAX_MESSAGE)
        );
        assert_eq!(
            whole("x".repeat(MAX_MESSAGE + 1).as_bytes()).unwrap(),
            Err(too_long())
        );
        assert!(whole(&b"\xff"[..]).unwrap().is_err());
    }

    #[test]
    fn the_history_is_this_users_alone_and_never_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cli-history");
        std::fs::write(&file, "old\n").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        private(&file).unwrap();
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "old\n");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(private(&link).is_err());
    }

    #[test]
    fn there_is_no_history_in_a_directory_of_somebody_else() {
        let directory = tempfile::tempdir().unwrap();
        let others = match rustix::process::geteuid().is_root() {
            true => {
                std::os::unix::fs::chown(&directory, Some(65534), None).unwrap();
                directory.path()
            }
            false => Path::new("/"),
        };
        let refused = private(&others.join("cli-history")).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(!others.join("cli-history").exists());
    }
}
