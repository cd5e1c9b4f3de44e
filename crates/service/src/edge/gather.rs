//! A stream that puts what is written in one round of the runtime into one write. HTTP/2 flushes the head of a call by
//! itself and its body in the next round; each flush would wake the other process for nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

/// Bytes that are held at most; more are written at once.
const MOST: usize = 64 * 1024;

/// The stream.
pub(super) struct Gather {
    stream: UnixStream,
    held: Vec<u8>,
    /// How much of `held` is written.
    written: usize,
    /// A flush was asked for in an earlier round.
    due: bool,
}

impl Gather {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            held: Vec::new(),
            written: 0,
            due: false,
        }
    }

    /// Writes what is held.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.held.len() {
            let left = &self.held[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.held.clear();
        // A large answer need not keep its room for ever.
        self.held.shrink_to(MOST);
        self.written = 0;
        self.due = false;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Gather {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Gather {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.held.len() >= MOST {
            ready!(self.drain(cx))?;
        }
        let mut taken = 0;
        for slice in slices {
            self.held.extend_from_slice(slice);
            taken += slice.len();
            if self.held.len() >= MOST {
                break;
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if !self.due {
            // Whoever is ready now may have more to say.
            self.due = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.drain(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn pair() -> (Gather, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        (Gather::new(near), far)
    }

    #[tokio::test]
    async fn what_is_written_in_one_round_arrives_together() {
        let (mut near, mut far) = pair();
        near.write_all(b"head ").await.unwrap();
        let mut buffer = [0; 64];
        // Nothing has left yet.
        assert!(far.try_read(&mut buffer).is_err());
        let more = async {
            near.write_all(b"body").await.unwrap();
            near.flush().await.unwrap();
        };
        let (count, ()) = tokio::join!(far.read(&mut buffer), more);
        assert_eq!(&buffer[..count.unwrap()], b"head body");
    }

    #[tokio::test]
    async fn a_flush_without_anything_held_waits_for_nobody() {
        let (mut near, _far) = pair();
        near.flush().await.unwrap();
        near.write_all(b"x").await.unwrap();
        near.flush().await.unwrap();
        near.flush().await.unwrap();
    }

    #[tokio::test]
    async fn more_than_is_held_arrives_whole_and_in_order() {
        let (mut near, mut far) = pair();
        let sent: Vec<u8> = (0..MOST * 5 + 7).map(|n| (n % 251) as u8).collect();
        let copy = sent.clone();
        let writing = tokio::spawn(async move {
            for part in copy.chunks(10_000) {
                near.write_all(part).await.unwrap();
            }
            near.shutdown().await.unwrap();
        });
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.unwrap();
        writing.await.unwrap();
        assert!(received == sent);
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_an_error() {
        let (mut near, far) = pair();
        drop(far);
        near.write_all(b"x").await.unwrap();
        assert!(near.flush().await.is_err());
    }
}
