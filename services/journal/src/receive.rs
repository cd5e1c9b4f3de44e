//! The one request of a connection: a line, within a time and a length.

use std::io::{self, ErrorKind, Read as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use clawdbot_service::system::{REQUEST_MAX, Reading};

/// Why a request is none. The words go to whoever asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Nobody can be answered.
    Broken(ErrorKind),
    /// Its line ended too late or never.
    Late,
    /// It is something else.
    Other,
}

impl Refused {
    pub(crate) fn words(&self) -> &'static str {
        match self {
            Self::Broken(_) => "the connection is broken",
            Self::Late => "no whole request came in time",
            Self::Other => {
                "the request is none: it is \"back\", \"back SECONDS\" or \"follow\", and a line break"
            }
        }
    }
}

/// Waits for the request as long as `patience` lasts, however slowly it comes.
pub(crate) fn receive(stream: &UnixStream, patience: Duration) -> Result<Reading, Refused> {
    let broken = |error: io::Error| Refused::Broken(error.kind());
    stream.set_nonblocking(false).map_err(broken)?;
    let end = Instant::now() + patience;
    let mut line = Vec::with_capacity(REQUEST_MAX);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Refused::Late);
        }
        stream.set_read_timeout(Some(left)).map_err(broken)?;
        let mut part = [0; REQUEST_MAX];
        match (&*stream).read(&mut part) {
            Ok(0) => return Err(Refused::Late),
            Ok(read) => line.extend(part.iter().take(read)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(Refused::Late);
            }
            Err(error) => return Err(broken(error)),
        }
        if line.len() > REQUEST_MAX {
            return Err(Refused::Other);
        }
        if line.contains(&b'\n') {
            let text = std::str::from_utf8(&line).ok();
            let request = text.and_then(|text| text.strip_suffix('\n'));
            return request.and_then(Reading::parse).ok_or(Refused::Other);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn sent(bytes: &[u8]) -> Result<Reading, Refused> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (&theirs).write_all(bytes).unwrap();
        receive(&ours, PATIENCE)
    }

    #[test]
    fn a_line_is_a_request_also_when_it_comes_in_parts() {
        assert_eq!(sent(b"follow\n"), Ok(Reading::Follow));
        assert_eq!(sent(b"back 7\n"), Ok(Reading::Back { since: Some(7) }));
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let writer = std::thread::spawn(move || {
            for byte in b"back\n" {
                (&theirs).write_all(&[*byte]).unwrap();
            }
            theirs
        });
        assert_eq!(receive(&ours, PATIENCE), Ok(Reading::Back { since: None }));
        drop(writer.join().unwrap());
    }

    #[test]
    fn what_is_no_request_is_refused_whole() {
        for bytes in [
            &b"\n"[..],
            b"follow\nfollow\n",
            b"follow\n ",
            b"back \xff\n",
            b"back 1\r\n",
            b"--unit=ssh.service\n",
            b"back 00000000000000000000000000000000\n",
            &[b'x'; 4096],
        ] {
            assert_eq!(sent(bytes), Err(Refused::Other), "{bytes:?}");
        }
    }

    #[test]
    fn a_request_that_never_ends_is_given_up() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (&theirs).write_all(b"follow").unwrap();
        let short = Duration::from_millis(50);
        assert_eq!(receive(&ours, short), Err(Refused::Late));
        assert_eq!(receive(&ours, Duration::ZERO), Err(Refused::Late));
        drop(theirs);
        assert_eq!(receive(&ours, PATIENCE), Err(Refused::Late));
    }
}
