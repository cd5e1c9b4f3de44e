//! A stream that wakes nobody for nothing. What is written in one round of the runtime leaves in one write: HTTP/2 flushes the
//! head of a call by itself and its body in the next round. And the kernel is asked for room only while there is none: on a
//! UNIX socket it would tell of room each time the peer has read something.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream as StdStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

/// Bytes that are held at most; more are written at once.
const MOST: usize = 64 * 1024;
/// Bytes of one read.
const READ: usize = 64 * 1024;

/// The stream. One task reads and writes it.
pub(super) struct Gather {
    socket: Arc<StdStream>,
    /// None only after an error.
    watch: Option<AsyncFd<Arc<StdStream>>>,
    /// Whether it is also watched for room.
    for_room: bool,
    held: Vec<u8>,
    /// How much of `held` is written.
    written: usize,
    /// A flush was asked for in an earlier round.
    due: bool,
}

impl Gather {
    /// Must be called inside the runtime.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        let mut gather = Self {
            socket: Arc::new(stream.into_std()?),
            watch: None,
            for_room: false,
            held: Vec::new(),
            written: 0,
            due: false,
        };
        gather.watch_for(false)?;
        Ok(gather)
    }

    /// Watches the socket anew. Whoever waits for it has to be polled again.
    fn watch_for(&mut self, room: bool) -> io::Result<()> {
        // It can be watched once at a time.
        drop(self.watch.take());
        let interest = match room {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        #[expect(
            deprecated,
            reason = "what takes its place is unsafe, since a type could show another descriptor later; a stream does not"
        )]
        let watch = AsyncFd::with_interest(Arc::clone(&self.socket), interest)?;
        self.watch = Some(watch);
        self.for_room = room;
        Ok(())
    }

    /// Writes something of what is held.
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.for_room {
            match (&*self.socket).write(&self.held[self.written..]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.watch_for(true)?;
                    cx.waker().wake_by_ref();
                }
                done => return Poll::Ready(done),
            }
        }
        let watch = self.watch.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        loop {
            let mut room = ready!(watch.poll_write_ready(cx))?;
            let left = &self.held[self.written..];
            if let Ok(done) = room.try_io(|watch| (&**watch.get_ref()).write(left)) {
                return Poll::Ready(done);
            }
        }
    }

    /// Writes what is held.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.held.len() {
            match ready!(self.send(cx)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if self.for_room {
            self.watch_for(false)?;
            cx.waker().wake_by_ref();
        }
        // Secrets come this way, too.
        self.held.fill(0);
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
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let watch = self.watch.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        loop {
            let mut ready = ready!(watch.poll_read_ready(cx))?;
            let room = buffer.remaining().min(READ);
            let part = buffer.initialize_unfilled_to(room);
            match ready.try_io(|watch| (&**watch.get_ref()).read(part)) {
                Ok(Ok(count)) => {
                    // Less than there was room for: that was all.
                    if (1..room).contains(&count) {
                        ready.clear_ready();
                    }
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_nothing_there) => {}
            }
        }
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
        Poll::Ready(self.socket.shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn pair() -> (Gather, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        (Gather::new(near).unwrap(), far)
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
    async fn what_the_peer_sends_is_read_while_its_own_reading_is_waited_for() {
        let (near, mut far) = pair();
        let (mut near_in, mut near_out) = tokio::io::split(near);
        let sent = vec![7; MOST * 20];
        let mut received = vec![0; sent.len()];
        let mut word = [0; 4];
        let writing = async {
            near_out.write_all(&sent).await.unwrap();
            near_out.flush().await.unwrap();
        };
        let reading = async {
            // More is written than fits, and the far end takes nothing before this has arrived.
            far.write_all(b"word").await.unwrap();
            near_in.read_exact(&mut word).await.unwrap();
            far.read_exact(&mut received).await.unwrap();
            far.write_all(b"more").await.unwrap();
            near_in.read_exact(&mut word).await.unwrap();
        };
        tokio::join!(writing, reading);
        assert!(received == sent && &word == b"more");
        drop(far);
        assert_eq!(near_in.read(&mut word).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_an_error() {
        let (mut near, far) = pair();
        drop(far);
        near.write_all(b"x").await.unwrap();
        assert!(near.flush().await.is_err());
    }
}
