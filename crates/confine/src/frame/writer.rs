//! The writing half: a queue that never waits and a `send` that does. Descriptors go with
//! the first byte of their frame and are closed here once the kernel has taken them.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::{HEADER, MAX_DESCRIPTORS, Violation, check};

/// The bytes of a frame: header and payload.
fn encode(payload: &[u8], count: usize) -> Result<Vec<u8>, Violation> {
    check(payload.len(), count)?;
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.push(u8::try_from(count).unwrap_or(u8::MAX));
    bytes.extend_from_slice(payload);
    Ok(bytes)
}

/// Sends one frame and waits until the kernel has taken all of it, also on a non-blocking socket.
/// The descriptors are duplicated into the message; the caller keeps its own.
///
/// # Errors
/// A [`Violation`] for a frame beyond the limits, before anything is sent; the kernel's answers.
pub fn send(socket: impl AsFd, payload: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = encode(payload, fds.len())?;
    let socket = socket.as_fd();
    let mut sent = 0;
    while sent < bytes.len() {
        let with = if sent == 0 { fds } else { &[] };
        let rest = bytes.get(sent..).unwrap_or_default();
        match transmit(socket, rest, with, SendFlags::empty()) {
            Ok(count) => sent += count,
            Err(Errno::AGAIN) => wait_writable(socket)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn wait_writable(socket: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        match poll(
            &mut [PollFd::from_borrowed_fd(socket, PollFlags::OUT)],
            None,
        ) {
            Err(Errno::INTR) => {}
            other => return Ok(other.map(|_| ())?),
        }
    }
}

/// One `sendmsg` without SIGPIPE; may take only a part of the bytes, but all descriptors.
fn transmit(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<usize, Errno> {
    #[cfg(target_os = "linux")]
    let flags = flags | SendFlags::NOSIGNAL;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    loop {
        let result = if fds.is_empty() {
            // Not `sendmsg`: only the processes that hand over descriptors have that call.
            rustix::net::send(socket, bytes, flags)
        } else {
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(Errno::INVAL);
            }
            sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)
        };
        match result {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

#[derive(Debug)]
struct Pending {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

/// Frames that wait for a socket to take them. Its length is the caller's to bound.
#[derive(Debug, Default)]
pub struct FrameWriter {
    queue: VecDeque<Pending>,
}

impl FrameWriter {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a frame. The descriptors stay open here until they are sent.
    ///
    /// # Errors
    /// A [`Violation`] for a frame beyond the limits; nothing is queued then.
    pub fn push(&mut self, payload: &[u8], fds: Vec<OwnedFd>) -> Result<(), Violation> {
        let bytes = encode(payload, fds.len())?;
        self.queue.push_back(Pending {
            bytes,
            sent: 0,
            fds,
        });
        Ok(())
    }

    /// Sends as much as the socket takes without waiting, even if it is a blocking one. `Ok` means that the queue is empty.
    ///
    /// # Errors
    /// `WouldBlock` when the socket is full: call again when it is writable (fit for tokio's
    /// `try_io`); the kernel's answers otherwise.
    pub fn flush(&mut self, socket: impl AsFd) -> io::Result<()> {
        let socket = socket.as_fd();
        while let Some(front) = self.queue.front_mut() {
            let fds: Vec<BorrowedFd<'_>> = front.fds.iter().map(AsFd::as_fd).collect();
            let rest = front.bytes.get(front.sent..).unwrap_or_default();
            front.sent += transmit(socket, rest, &fds, SendFlags::DONTWAIT)?;
            front.fds.clear();
            if front.sent >= front.bytes.len() {
                self.queue.pop_front();
            }
        }
        Ok(())
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Number of frames that wait, the one being sent included.
    pub fn len(&self) -> usize {
        self.queue.len()
    }
}
