//! Reads one line from a terminal that does not show it. The terminal gets its old settings back however it ends, also
//! when a signal ends this program or Ctrl-C is typed, which arrives here as a character.

use std::io::{self, Write as _, stderr, stdin};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::{Zeroize, Zeroizing};

use super::secret::MAX;

/// What a character means.
#[derive(Debug, PartialEq, Eq)]
enum Typed {
    More,
    Done,
    Cancelled,
}

/// Asks. Nothing when the person gave up.
///
/// # Errors
/// When the terminal cannot be made silent: then nobody is asked.
pub(super) async fn ask(prompt: &str) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let silent = Silent::begin()?;
    // Whoever closed standard error is asked without a word.
    let _closed = write!(stderr(), "{prompt}").and_then(|()| stderr().flush());
    // A thread of its own, since a signal has to be seen meanwhile.
    let line = tokio::task::spawn_blocking(read_line).await;
    drop(silent);
    line.map_err(io::Error::other)?
}

fn read_line() -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut line = Line::new();
    let mut byte = Zeroizing::new([0]);
    loop {
        let typed = match rustix::io::read(stdin(), byte.as_mut_slice()) {
            Ok(0) => Typed::Cancelled,
            Ok(_) => line.take(byte[0]),
            Err(rustix::io::Errno::INTR) => Typed::More,
            Err(errno) => return Err(errno.into()),
        };
        match typed {
            Typed::More => {}
            Typed::Done => return Ok(Some(line.0)),
            Typed::Cancelled => return Ok(None),
        }
    }
}

/// What was typed so far.
struct Line(Zeroizing<Vec<u8>>);

impl Line {
    fn new() -> Self {
        // Room for all of it at once: a vector that grows leaves its contents behind.
        Self(Zeroizing::new(Vec::with_capacity(MAX + 1)))
    }

    fn take(&mut self, byte: u8) -> Typed {
        match byte {
            b'\n' | b'\r' => return Typed::Done,
            // Ctrl-C and Ctrl-\.
            0x03 | 0x1c => return Typed::Cancelled,
            // Ctrl-D ends a line, and nothing without one.
            0x04 if self.0.is_empty() => return Typed::Cancelled,
            0x04 => return Typed::Done,
            // Backspace takes the whole character.
            0x08 | 0x7f => while let Some(0x80..=0xbf) = self.0.pop() {},
            // Ctrl-U.
            0x15 => {
                self.0.zeroize();
                self.0.clear();
            }
            // What is too long already is refused later.
            _ if self.0.len() <= MAX => self.0.push(byte),
            _ => {}
        }
        Typed::More
    }
}

/// A terminal that shows nothing, until this is dropped.
struct Silent(Termios);

impl Silent {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut silent = before.clone();
        // Character by character: a line of the terminal's own has room for 4,095 bytes only.
        silent.local_modes.remove(
            LocalModes::ECHO
                | LocalModes::ECHONL
                | LocalModes::ICANON
                | LocalModes::ISIG
                | LocalModes::IEXTEN,
        );
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // A terminal that is gone needs no settings. What was typed after the line is dropped with it.
        let _gone = tcsetattr(stdin(), OptionalActions::Flush, &self.0);
        let _closed = writeln!(stderr());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(bytes: &[u8]) -> (Typed, Vec<u8>) {
        let mut line = Line::new();
        let mut last = Typed::More;
        for byte in bytes {
            last = line.take(*byte);
            if last != Typed::More {
                break;
            }
        }
        (last, line.0.to_vec())
    }

    #[test]
    fn keys_edit_end_and_cancel_the_line() {
        for (bytes, end, text) in [
            (&b"key\n"[..], Typed::Done, &b"key"[..]),
            (b"key\r", Typed::Done, b"key"),
            (b"kez\x7fy\n", Typed::Done, b"key"),
            (b"k\xc3\xa4\x08ey\n", Typed::Done, b"key"),
            (b"\x7f\x7fkey\n", Typed::Done, b"key"),
            (b"wrong\x15key\n", Typed::Done, b"key"),
            (b"key\x04", Typed::Done, b"key"),
            (b"\x04", Typed::Cancelled, b""),
            (b"key\x03", Typed::Cancelled, b"key"),
            (b"key", Typed::More, b"key"),
        ] {
            assert_eq!(typed(bytes), (end, text.to_vec()), "{bytes:?}");
        }
    }

    #[test]
    fn a_line_never_outgrows_its_room() {
        let mut line = Line::new();
        let room = line.0.capacity();
        for _ in 0..3 * MAX {
            line.take(b'x');
        }
        assert_eq!((line.0.len(), line.0.capacity()), (MAX + 1, room));
    }
}
