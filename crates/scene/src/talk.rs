//! How a probe in a unit and who started it talk: lines of text over a UNIX socket, descriptors beside them.
//!
//! ```text
//! probe: plan                     answer: the plan's text
//! probe: need WORD                answer: names between colons, and a descriptor for each
//! probe: got ATTEMPT OUTCOME      or `not-started` in its place
//! probe: said LINE                what a process that did not start had to say
//! probe: done
//! ```

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use clawdbot_attempts::Needs;
use clawdbot_confine::frame::{self, FrameReader, Progress};

/// Instead of an outcome: the process that was to make the attempt did not start.
pub const NOT_STARTED: &str = "not-started";

/// One end.
pub struct Talk {
    stream: UnixStream,
    reader: FrameReader,
}

impl Talk {
    /// This end of a connection.
    #[must_use]
    pub fn over(stream: UnixStream) -> Self {
        Self {
            stream,
            reader: FrameReader::new(),
        }
    }

    /// Connects to who listens there.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn to(path: &Path) -> io::Result<Self> {
        UnixStream::connect(path).map(Self::over)
    }

    /// Says a line.
    ///
    /// # Errors
    /// When the other end is gone.
    pub fn say(&self, line: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        frame::send(&self.stream, line.as_bytes(), fds)
    }

    /// The next line; `None` when the other end is gone.
    ///
    /// # Errors
    /// When it breaks the framing or sends no text.
    pub fn hear(&mut self) -> io::Result<Option<(String, Vec<OwnedFd>)>> {
        match self.reader.read_from(&self.stream)? {
            Progress::Frame(frame) => {
                let text = String::from_utf8(frame.payload).map_err(io::Error::other)?;
                Ok(Some((text, frame.fds)))
            }
            Progress::Closed => Ok(None),
        }
    }

    /// Says a line and hears the answer.
    ///
    /// # Errors
    /// When the other end is gone.
    pub fn ask(&mut self, line: &str) -> io::Result<(String, Vec<OwnedFd>)> {
        self.say(line, &[])?;
        self.hear()?
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

const WORDS: [(Needs, &str); 5] = [
    (Needs::Nothing, "nothing"),
    (Needs::Accepted, "accepted"),
    (Needs::Dialled, "dialled"),
    (Needs::Edge, "edge"),
    (Needs::File, "file"),
];

/// What an attempt needs, in a word.
#[must_use]
pub fn need_word(needs: Needs) -> &'static str {
    let known = WORDS.iter().find(|(known, _)| *known == needs);
    known.map_or("nothing", |(_, word)| word)
}

/// The same the other way round.
#[must_use]
pub fn need_of(word: &str) -> Option<Needs> {
    let known = WORDS.iter().find(|(_, known)| *known == word);
    known.map(|(needs, _)| *needs)
}
