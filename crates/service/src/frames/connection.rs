//! One connected stream that carries frames, inside the runtime.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;

use clawdbot_confine::frame::{Frame, FrameReader, FrameWriter, Progress};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

/// Sends and receives frames; both may happen at the same time.
pub struct FrameConnection {
    stream: UnixStream,
    reader: Mutex<FrameReader>,
    writer: Mutex<FrameWriter>,
}

impl FrameConnection {
    /// Takes over a connected stream.
    ///
    /// # Errors
    /// When the runtime cannot watch it.
    pub fn new(stream: StdStream) -> io::Result<Self> {
        Self::resume(stream, FrameReader::new())
    }

    /// Takes over a stream from which `reader` has read already.
    pub(crate) fn resume(stream: StdStream, reader: FrameReader) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::from_stream(UnixStream::from_std(stream)?, reader))
    }

    pub(crate) fn from_stream(stream: UnixStream, reader: FrameReader) -> Self {
        Self {
            stream,
            reader: Mutex::new(reader),
            writer: Mutex::new(FrameWriter::new()),
        }
    }

    /// The next frame; `None` when the peer ended the connection between two frames.
    ///
    /// # Errors
    /// When the peer broke the framing or the connection; it is of no further use then.
    pub async fn receive(&self) -> io::Result<Option<Frame>> {
        let mut reader = self.reader.lock().await;
        loop {
            self.stream.readable().await?;
            let read = self.stream.try_io(Interest::READABLE, || {
                match reader.read_from(&self.stream)? {
                    Progress::Frame(frame) => Ok(Some(frame)),
                    Progress::Closed => Ok(None),
                }
            });
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    /// Sends one frame with its descriptors, which are closed here afterwards.
    ///
    /// # Errors
    /// When the frame is too large or the connection is broken.
    pub async fn send(&self, payload: &[u8], fds: Vec<OwnedFd>) -> io::Result<()> {
        let mut writer = self.writer.lock().await;
        writer.push(payload, fds)?;
        while !writer.is_empty() {
            self.stream.writable().await?;
            match self
                .stream
                .try_io(Interest::WRITABLE, || writer.flush(&self.stream))
            {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => done?,
            }
        }
        Ok(())
    }
}
